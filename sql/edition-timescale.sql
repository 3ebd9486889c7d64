-- TimescaleDB, either license: daily bars as a hypertable. Five-year chunks: a symbol's five years
-- then touch two chunks, and planning stays below a millisecond (a chunk a day costs seconds).
-- Existing rows are moved. Foreign keys between hypertables are not used, so order does not matter.
select create_hypertable('bars_1d', by_range('session', interval '5 years'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);

insert into settings values ('edition', 'timescale-apache')
on conflict (name) do update set value = excluded.value;
