-- The data model, alike in every edition. What an edition adds (hypertables, compression) is in
-- sql/edition-*.sql. `instrument_id` leads every key, so that the tables can be distributed by it.

-- A company's or fund's one listing, whatever it is called at the time.
create table instruments (
  instrument_id integer generated always as identity primary key,
  name          text,
  exchange      text,                                   -- MIC
  asset_type    text,
  listed_on     date,                                   -- first session; null: not known
  delisted_on   date,                                   -- last session; null: still listed
  is_tracked    boolean not null default true,
  timeframes    text[] not null default '{1d}',
  described_at  timestamptz,                            -- when a provider last told us the above
  ts_created    timestamptz not null default now(),
  check (listed_on is null or delisted_on is null or listed_on <= delisted_on)
);

-- Which symbol meant which instrument, from the first session until (not including) the last.
create table symbol_ranges (
  instrument_id integer not null references instruments,
  symbol        text not null check (symbol <> ''),
  valid_from    date not null default '-infinity',
  valid_to      date not null default 'infinity',
  primary key (symbol, valid_from),
  check (valid_from < valid_to)
);
create unique index symbol_ranges_current on symbol_ranges (symbol) where valid_to = 'infinity';
create index symbol_ranges_instrument on symbol_ranges (instrument_id);
create index symbol_ranges_lower on symbol_ranges (lower(symbol));

-- Where a provider spells a symbol in its own way (BRK.B, BRK-B).
create table provider_symbols (
  instrument_id integer not null references instruments,
  provider      text not null,
  symbol        text not null,
  primary key (instrument_id, provider)
);

-- One bar for an instrument and a session. Raw prices, in USD. Flags are the bits of
-- quality_rules. NaN and infinity are refused; a bar that breaks the OHLC order may only be
-- stored with a score that keeps it out of every validated answer.
create table bars_1d (
  instrument_id integer not null,
  session       date not null,
  flags         integer not null,
  open          double precision not null,
  high          double precision not null,
  low           double precision not null,
  close         double precision not null,
  volume        double precision not null,
  score         double precision not null,
  ts_received   timestamptz not null,
  is_final      boolean not null,
  provider      text not null,
  -- Last, because reading whatever stands behind a null is slower.
  trade_count   integer,
  vwap          double precision,
  primary key (instrument_id, session),
  constraint bars_1d_finite check (
    greatest(open, high, low, close, volume, vwap) < 'infinity'
    and least(open, high, low, close, volume, vwap) > '-infinity'),
  constraint bars_1d_score check (score between 0 and 1),
  constraint bars_1d_ohlc check (
    score = 0 or (low > 0 and volume >= 0
      and low <= least(open, close) and high >= greatest(open, close)))
);

-- What a bar said before it was changed, and from when until when it said so.
create table bar_revisions (
  instrument_id integer not null,
  timeframe     text not null,
  session       date not null,
  ts            timestamptz,                            -- null: a daily bar
  flags         integer not null,
  trade_count   integer,
  open          double precision not null,
  high          double precision not null,
  low           double precision not null,
  close         double precision not null,
  volume        double precision not null,
  vwap          double precision,
  score         double precision not null,
  is_final      boolean not null,
  provider      text not null,
  ts_received   timestamptz not null,
  ts_replaced   timestamptz not null
);
create index bar_revisions_key
  on bar_revisions (instrument_id, timeframe, session, ts, ts_replaced);

-- The bits of `flags`: one row a rule. Same as QUALITY_RULES in src/model/quality.ts.
create table quality_rules (
  bit        integer primary key check (bit > 0),
  name       text not null unique,
  message    text not null,
  is_failure boolean not null,                          -- score 0
  deduction  double precision not null
);

-- Rows that are no bars: kept whole, with the reason, so that nothing is lost.
create table rejected_rows (
  rejected_id   bigint generated always as identity primary key,
  provider      text not null,
  dataset       text not null,                          -- '1d', 'splits', ...
  instrument_id integer references instruments,
  symbol        text not null,
  session       date,
  reason        text not null,
  raw           text not null,
  seen_count    integer not null default 1,
  ts_first_seen timestamptz not null default now(),
  ts_last_seen  timestamptz not null default now(),
  digest        bytea not null unique                   -- of all that identifies the row
);
create index rejected_rows_instrument on rejected_rows (instrument_id, session);

-- Splits and dividends. Withdrawn ones stay, with the instant.
create table corporate_actions (
  instrument_id      integer not null references instruments,
  kind               text not null check (kind in ('split', 'dividend')),
  ex_date            date not null,
  provider           text not null,
  provider_action_id text not null,
  split_from         double precision check (split_from > 0),
  split_to           double precision check (split_to > 0),
  cash_amount        double precision check (cash_amount >= 0),
  currency           text,
  declared_date      date,
  record_date        date,
  pay_date           date,
  frequency          integer,
  ts_received        timestamptz not null default now(),
  ts_withdrawn       timestamptz,
  primary key (instrument_id, kind, provider, provider_action_id),
  check ((kind = 'split') = (split_from is not null and split_to is not null)),
  check ((kind = 'dividend') = (cash_amount is not null))
);
create index corporate_actions_ex_date on corporate_actions (instrument_id, ex_date);

-- Which sessions were asked for, of whom, and with what answer. Ranges of one dataset do not
-- overlap. `end_session` is exclusive and is itself a session's label, so that ranges of
-- neighbouring sessions touch across weekends and holidays.
create table coverage (
  instrument_id integer not null references instruments,
  dataset       text not null,                          -- '1d', 'splits', 'dividends'
  start_session date not null,
  end_session   date not null,
  state         text not null
    check (state in ('complete', 'vendor_empty', 'not_entitled', 'before_listing')),
  is_settled    boolean not null,                       -- asked after the revision window
  provider      text not null,
  asked_at      timestamptz not null,
  attempts      integer not null default 1,
  retry_at      timestamptz,                            -- not asked again before; null: never
  detail        text,
  primary key (instrument_id, dataset, start_session),
  check (start_session < end_session)
);
create index coverage_refused on coverage (provider, dataset, end_session)
  where state = 'not_entitled';

-- Counters, kept in the transaction that changes rows: status never counts rows.
create table instrument_status (
  instrument_id      integer not null references instruments,
  timeframe          text not null,
  records            bigint not null default 0,
  validated_records  bigint not null default 0,
  excluded_records   bigint not null default 0,         -- score below 0.5
  gaps_flagged       bigint not null default 0,
  volume_anomalies   bigint not null default 0,
  score_sum          double precision not null default 0,
  first_session      date,
  latest_session     date,
  latest_score       double precision,
  providers          text[] not null default '{}',      -- whose bars are held
  is_synthetic       boolean not null default false,
  last_backfill_at   timestamptz,
  last_backfill_ok   boolean,
  version            bigint not null default 0,         -- grows with every change of a bar
  primary key (instrument_id, timeframe)
);

-- One execution of a job, and for a backfill what came of each instrument.
create table job_runs (
  run_id        bigint generated always as identity primary key,
  job           text not null,
  origin        text not null,                          -- schedule, catch-up, command, start
  state         text not null check (state in ('running', 'succeeded', 'failed', 'interrupted')),
  scheduled_for timestamptz,
  started_at    timestamptz not null default now(),
  finished_at   timestamptz,
  worker        text not null,                          -- host:pid
  total         integer,
  done          integer not null default 0,
  requests      integer not null default 0,
  inserted      bigint not null default 0,
  changed       bigint not null default 0,
  unchanged     bigint not null default 0,
  rejected      bigint not null default 0,
  error         text
);
create index job_runs_job on job_runs (job, started_at desc);

create table backfill_results (
  run_id        bigint not null references job_runs,
  instrument_id integer not null references instruments,
  start_session date not null,
  end_session   date not null,                          -- inclusive: what was asked for
  inserted      integer not null,
  changed       integer not null,
  unchanged     integer not null,
  rejected      integer not null,
  ok            boolean not null,
  error         text,
  ts_finished   timestamptz not null default now(),
  primary key (run_id, instrument_id)
);
create index backfill_results_instrument on backfill_results (instrument_id, ts_finished desc);

-- Closures and special hours that the rules in the program do not know.
create table calendar_overrides (
  date       date primary key,
  kind       text not null check (kind in ('closed', 'session')),
  open       time,                                      -- New York time
  close      time,
  reason     text not null,
  ts_created timestamptz not null default now(),
  check (kind = 'session' or (open is null and close is null)),
  check (open is null or close is null or open < close)
);

-- Small facts a process must agree on with the next one.
create table settings (
  name  text primary key,
  value text not null
);
