-- The names that analysts' SQL already uses, over the tables of 0001.

create function quality_notes(flags integer) returns text
  language sql stable parallel safe
  as $$
    select string_agg(message, '; ' order by bit) from quality_rules where bit & flags <> 0
  $$;

create view market_data as
  select b.session::timestamp at time zone 'UTC' as time, r.symbol,
         b.open, b.high, b.low, b.close, b.volume,
         b.provider as source,
         b.score >= 0.85 as validated,
         b.score as quality_score,
         quality_notes(b.flags) as validation_notes,
         b.flags & 64 <> 0 as gap_detected,
         b.flags & 6144 <> 0 as volume_anomaly,
         b.ts_received as fetched_at
  from bars_1d b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id and b.session >= r.valid_from and b.session < r.valid_to;

-- One row for each rule that a stored bar did not pass.
create view validation_log as
  select b.ts_received as timestamp, r.symbol, q.name as check_name,
         false as passed,
         b.session || ': ' || q.message as error_message,
         b.score as quality_score,
         b.session
  from bars_1d b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id and b.session >= r.valid_from and b.session < r.valid_to
  join quality_rules q on q.bit & b.flags <> 0
  where b.flags <> 0;

create view backfill_history as
  select r.symbol, b.start_session as start_date, b.end_session as end_date,
         b.inserted + b.changed as records_imported,
         b.ts_finished as backfill_timestamp,
         b.ok as success,
         b.error as error_details,
         b.run_id
  from backfill_results b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id
   and b.end_session >= r.valid_from and b.end_session < r.valid_to;

create view symbol_status as
  select r.symbol,
         s.last_backfill_at as last_backfill_date,
         s.last_backfill_ok as last_backfill_success,
         s.latest_score as last_validation_score,
         (now() at time zone 'America/New_York')::date - s.latest_session as data_freshness_days,
         s.latest_session as latest_date_in_db,
         s.records, s.validated_records, s.gaps_flagged, s.volume_anomalies, s.first_session
  from instrument_status s
  join symbol_ranges r on r.instrument_id = s.instrument_id and r.valid_to = 'infinity'
  where s.timeframe = '1d';

-- The market-hours pipeline's table. unix_time is the session's midnight UTC, in seconds.
create view stocks as
  select r.symbol as ticker,
         extract(epoch from b.session)::bigint as unix_time,
         b.high, b.low, b.vwap as avg, b.close as sale,
         jsonb_build_object(
           'source', b.provider, 'volume', b.volume, 'open', b.open, 'close', b.close,
           'day_high', b.high, 'day_low', b.low, 'vwap', b.vwap, 'transactions', b.trade_count,
           'timestamp', b.session, 'quality_score', b.score) as meta
  from bars_1d b
  join symbol_ranges r
    on r.instrument_id = b.instrument_id and b.session >= r.valid_from and b.session < r.valid_to;
