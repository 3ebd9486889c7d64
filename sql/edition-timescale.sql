-- TimescaleDB, either license: what grows with time as hypertables. Existing rows are moved. Run
-- again after every migration: what is a hypertable already stays as it is.
-- Daily bars in five-year chunks: a symbol's five years then touch two chunks, and planning stays
-- below a millisecond (a chunk a day costs seconds). 500 symbols are 4 million minutes a month,
-- 450 MB with their key; a year of their hours is 0.9 million.
-- Foreign keys between hypertables are not used, so order does not matter.
select create_hypertable(t.name::regclass, by_range(t.dimension, t.span),
  migrate_data => true, if_not_exists => true, create_default_indexes => false)
from (values
  ('bars_1d', 'session', interval '5 years'),
  ('bars_1m', 'ts', interval '1 month'),
  ('bars_1h', 'ts', interval '1 year'),
  ('trades', 'ts', interval '1 week'),
  ('snapshots', 'ts', interval '1 month')) as t(name, dimension, span)
where to_regclass(t.name) is not null;

insert into settings values ('edition', 'timescale-apache')
on conflict (name) do update set value = excluded.value;
