-- TimescaleDB, either license: daily bars as a hypertable. Five-year chunks: a symbol's five years
-- then touch two chunks, and planning stays below a millisecond (a chunk a day costs seconds).
-- Existing rows are moved. Foreign keys between hypertables are not used, so order does not matter.
-- Run again after every migration: what is a hypertable already stays as it is.
select create_hypertable('bars_1d', by_range('session', interval '5 years'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);
-- 500 symbols are 4 million minutes a month, 450 MB with their key; a year of hours is 0.9 million.
select create_hypertable('bars_1m', by_range('ts', interval '1 month'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);
select create_hypertable('bars_1h', by_range('ts', interval '1 year'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);
select create_hypertable('trades', by_range('ts', interval '1 week'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);
select create_hypertable('snapshots', by_range('ts', interval '1 month'),
  migrate_data => true, if_not_exists => true, create_default_indexes => false);

insert into settings values ('edition', 'timescale-apache')
on conflict (name) do update set value = excluded.value;
