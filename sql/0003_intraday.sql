-- Bars below a day, trades, snapshots of quotes, and the log of what was committed.

-- One bar of a minute: [ts, ts + 1 minute). `session` is its date in New York, `part` what of the
-- day it belonged to as the calendar was known when it was stored: 0 pre-market, 1 regular,
-- 2 after hours, 3 closed. Raw prices, in USD; flags are the bits of quality_rules.
create table bars_1m (
  ts            timestamptz not null,
  ts_received   timestamptz not null,
  open          double precision not null,
  high          double precision not null,
  low           double precision not null,
  close         double precision not null,
  volume        double precision not null,
  score         double precision not null,
  instrument_id integer not null,
  flags         integer not null,
  session       date not null,
  part          smallint not null check (part between 0 and 3),
  is_final      boolean not null,
  provider      text not null,
  trade_count   integer,
  vwap          double precision,
  primary key (instrument_id, ts),
  constraint bars_1m_finite check (
    greatest(open, high, low, close, volume, vwap) < 'infinity'
    and least(open, high, low, close, volume, vwap) > '-infinity'),
  constraint bars_1m_score check (score between 0 and 1),
  constraint bars_1m_ohlc check (
    score = 0 or (low > 0 and volume >= 0
      and low <= least(open, close) and high >= greatest(open, close)))
);

-- The same for hours as the vendor cuts them: on the clock, so that 09:00 mixes pre-market and
-- regular trading. Such an hour counts as regular.
create table bars_1h (
  ts            timestamptz not null,
  ts_received   timestamptz not null,
  open          double precision not null,
  high          double precision not null,
  low           double precision not null,
  close         double precision not null,
  volume        double precision not null,
  score         double precision not null,
  instrument_id integer not null,
  flags         integer not null,
  session       date not null,
  part          smallint not null check (part between 0 and 3),
  is_final      boolean not null,
  provider      text not null,
  trade_count   integer,
  vwap          double precision,
  primary key (instrument_id, ts),
  constraint bars_1h_finite check (
    greatest(open, high, low, close, volume, vwap) < 'infinity'
    and least(open, high, low, close, volume, vwap) > '-infinity'),
  constraint bars_1h_score check (score between 0 and 1),
  constraint bars_1h_ohlc check (
    score = 0 or (low > 0 and volume >= 0
      and low <= least(open, close) and high >= greatest(open, close)))
);

-- Trades as they were reported. `sequence` orders those of one instant: the vendor's own number,
-- or the position among the trades of that instant. `updates` says what of a bar the trade may
-- change, by its conditions: 1 open and close, 2 high and low, 4 volume.
create table trades (
  ts            timestamptz not null,
  sequence      bigint not null,
  price         double precision not null,
  size          double precision not null,
  ts_received   timestamptz not null,
  instrument_id integer not null,
  updates       smallint not null default 7 check (updates between 0 and 7),
  provider      text not null,
  exchange      text,
  conditions    text,
  primary key (instrument_id, ts, sequence),
  constraint trades_price check (price > 0 and price < 'infinity'),
  constraint trades_size check (size > 0 and size < 'infinity')
);

-- What a provider showed of an instrument at an instant. What it did not say is null, never zero.
-- `meta` repeats all of it with the rest, under the names that the market-hours pipeline used.
create table snapshots (
  ts             timestamptz not null,
  price          double precision not null check (price > 0 and price < 'infinity'),
  open           double precision,
  day_high       double precision,
  day_low        double precision,
  previous_close double precision,
  volume         double precision,
  market_cap     double precision,
  pe_ratio       double precision,
  ts_received    timestamptz not null,
  instrument_id  integer not null,
  provider       text not null,
  meta           jsonb not null,
  primary key (instrument_id, ts, provider)
);
create index snapshots_meta on snapshots using gin (meta);

-- What was committed, in the order of the commits: the live stream reads it, so that a client that
-- was away misses nothing. Numbers are drawn under a lock that is held until the commit.
create sequence event_ids;
create table events (
  event_id      bigint primary key,
  instrument_id integer not null,
  kind          text not null,                          -- trade, bar, snapshot, or a batch of them
  symbol        text not null,
  data          text not null,                          -- JSON
  ts_committed  timestamptz not null
);

-- The market-hours pipeline's table: daily, hourly and minute bars and snapshots. unix_time is in
-- seconds: when the bar begins (a session's midnight UTC), or when the snapshot was taken.
create or replace view stocks as
  select r.symbol as ticker,
         extract(epoch from b.session)::bigint as unix_time,
         b.high, b.low, b.vwap as avg, b.close as sale,
         jsonb_build_object(
           'source', b.provider, 'timeframe', '1d', 'volume', b.volume, 'open', b.open,
           'close', b.close, 'day_high', b.high, 'day_low', b.low, 'previous_close', null,
           'market_cap', null, 'pe_ratio', null, 'vwap', b.vwap, 'transactions', b.trade_count,
           'timestamp', b.session, 'quality_score', b.score) as meta
  from bars_1d b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id and b.session >= r.valid_from and b.session < r.valid_to
  union all
  select r.symbol, extract(epoch from b.ts)::bigint, b.high, b.low, b.vwap, b.close,
         jsonb_build_object(
           'source', b.provider, 'timeframe', b.timeframe, 'volume', b.volume, 'open', b.open,
           'close', b.close, 'day_high', null, 'day_low', null, 'previous_close', null,
           'market_cap', null, 'pe_ratio', null, 'vwap', b.vwap, 'transactions', b.trade_count,
           'timestamp', b.ts, 'quality_score', b.score)
  from (select '1h' as timeframe, h.* from bars_1h h
        union all select '1m', m.* from bars_1m m) b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id and b.session >= r.valid_from and b.session < r.valid_to
  union all
  select r.symbol, extract(epoch from s.ts)::bigint, s.day_high, s.day_low, null, s.price, s.meta
  from snapshots s
  join symbol_ranges r
    on r.instrument_id = s.instrument_id
   and (s.ts at time zone 'America/New_York')::date >= r.valid_from
   and (s.ts at time zone 'America/New_York')::date < r.valid_to;
