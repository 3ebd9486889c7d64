import type { PendingQuery, Row } from 'postgres';
import { type AdjustmentSteps, NO_STEPS } from '../model/adjustment.ts';
import {
  addCandles,
  type CandleInterval,
  candleStart,
  candleStarts,
  nextCandleStart,
} from '../model/candle-interval.ts';
import { newYorkInstant } from '../model/session.ts';
import { type Sql, toTimestamp } from '../store/database.ts';
import { roundedPrice, roundedVolume } from './rounded.ts';

export interface CandleQuery {
  interval: CandleInterval;
  /** Epoch microseconds; candles that begin in [start, end). Without start the last before end. */
  start: number | null;
  end: number | null;
  /** Candles in the answer at most. */
  limit: number;
  /** By which the trades of each day in New York are multiplied; they are as traded without. */
  steps?: AdjustmentSteps;
}

export interface CandlePage {
  /** JSON objects, separated by commas. */
  rows: string;
  count: number;
  /** Where the rest begins, epoch ms; null when nothing is left. */
  nextMs: number | null;
  /** True when the trades are made up. */
  isSynthetic: boolean;
}

const EMPTY: CandlePage = { rows: '', count: 0, nextMs: null, isSynthetic: false };

/**
 * Candles aggregated from the trades as they are stored now, ascending; a bucket without a trade
 * that may set open and close has none. Each candle is whole whatever range is asked for, so that
 * asking again, or in other pieces, gives the same.
 */
export async function selectCandles(
  sql: Sql,
  { instrumentId, symbol }: { instrumentId: number; symbol: string },
  query: CandleQuery,
): Promise<CandlePage> {
  const { interval } = query;
  const ceiling = (micros: number | null) =>
    micros === null ? null : nextCandleStart(interval, Math.ceil(micros / 1000));
  const range = { startMs: ceiling(query.start), endMs: ceiling(query.end) };
  if (range.startMs === null)
    return selectLatest(sql, { instrumentId, symbol }, range.endMs, query);
  const bounds = await selectFirstBounds(sql, instrumentId, range.startMs, range.endMs, query);
  if (!bounds) return EMPTY;
  const row = await selectPage(sql, { instrumentId, symbol }, query, bounds, range.endMs, false);
  const page = { rows: row.rows ?? '', count: row.count, isSynthetic: row.synthetic };
  if (row.next !== null) return { ...page, nextMs: row.next * 1000 };
  return { ...page, nextMs: row.has_more ? bounds.endMs : null };
}

/** How far back the last candles are looked for, until there are enough. */
const REACHES = [1, 8, 64];

async function selectLatest(
  sql: Sql,
  one: { instrumentId: number; symbol: string },
  endMs: number | null,
  query: CandleQuery,
): Promise<CandlePage> {
  let page = EMPTY;
  for (const reach of REACHES) {
    const bounds = await selectLastBounds(sql, one.instrumentId, endMs, query, reach);
    if (!bounds) break;
    const row = await selectPage(sql, one, query, bounds, endMs, true);
    page = {
      rows: row.rows ?? '',
      count: row.count,
      nextMs: null,
      isSynthetic: row.synthetic,
    };
    if (row.count >= query.limit || bounds.isAll) break;
  }
  return page;
}

/** The first (last) candles of a span, no more than the limit. */
async function selectPage(
  sql: Sql,
  { instrumentId, symbol }: { instrumentId: number; symbol: string },
  { interval, limit, steps = NO_STEPS }: CandleQuery,
  bounds: Bounds,
  rangeEndMs: number | null,
  isLatest: boolean,
): Promise<PageRow> {
  const { endMs } = bounds;
  const isAdjusted = steps.exDay.length > 0;
  const [row] = await sql<PageRow[]>`
    with ${aggregates(sql, instrumentId, interval, bounds, steps)},
    ${isAdjusted ? adjusted(sql, interval, bounds, steps) : sql``}
    candles as materialized (
      select bucket, ${candleLine(sql, symbol, interval, isAdjusted)} as line,
             row_number() over (order by bucket ${isLatest ? sql`desc` : sql`asc`}) as position
      from ${isAdjusted ? sql`adjusted` : sql`whole`})
    select string_agg(line, ',' order by bucket) filter (where position <= ${limit}) as rows,
           least(count(*), ${limit})::int as count,
           extract(epoch from min(bucket) filter (where position > ${limit}))::float8 as next,
           exists (select from trades
                   where instrument_id = ${instrumentId} and ts >= ${at(sql, endMs)}
                     and ts < ${at(sql, rangeEndMs)}) as has_more,
           exists (select from instrument_status
                   where instrument_id = ${instrumentId} and timeframe = 'trade'
                     and is_synthetic) as synthetic
    from candles`;
  return row;
}

interface PageRow {
  rows: string | null;
  count: number;
  /** When the first candle that found no place begins, epoch seconds. */
  next: number | null;
  has_more: boolean;
  synthetic: boolean;
}

/** An instant (epoch ms) as an expression; null: the end of time. */
const at = (sql: Sql, ms: number | null) =>
  toTimestamp(sql, ms === null ? Number.POSITIVE_INFINITY : ms * 1000);

interface Bounds {
  startMs: number;
  endMs: number;
}

/** Trades that are looked at for each candle of a page at most, where they are sparse. */
const TRADES_EACH = 20;
const TRADES_MAX = 50_000;
/** Buckets on the wall clock that are told the database one by one. */
const WALL_BUCKETS_MAX = 20_000;
const reachOf = (limit: number) => Math.max(limit, Math.min(limit * TRADES_EACH, TRADES_MAX));

/**
 * What a page is made from: as many buckets as it may hold candles from the first trade on, or
 * some trades for each, whichever reaches further. So neither a busy nor a quiet symbol makes the
 * database read more than it must.
 */
async function selectFirstBounds(
  sql: Sql,
  instrumentId: number,
  startMs: number,
  endMs: number | null,
  { interval, limit }: CandleQuery,
): Promise<Bounds | undefined> {
  const range = sql`instrument_id = ${instrumentId} and ts >= ${at(sql, startMs)}
    and ts < ${at(sql, endMs)}`;
  const [found] = await sql<{ first: number | null; beyond: number | null }[]>`
    select (select (extract(epoch from ts) * 1000000)::bigint from trades
            where ${range}
            order by ts limit 1) as first,
           (select (extract(epoch from ts) * 1000000)::bigint from trades
            where ${range}
            order by ts offset ${reachOf(limit)} limit 1) as beyond`;
  if (found.first === null) return undefined;
  const first = candleStart(interval, Math.floor(found.first / 1000));
  let end = addCandles(interval, first, limit);
  if (found.beyond === null) end = endMs ?? Number.POSITIVE_INFINITY;
  else end = Math.max(end, candleStart(interval, Math.floor(found.beyond / 1000)));
  end = Math.min(end, endMs ?? Number.POSITIVE_INFINITY);
  if (interval.clockMs === null) end = Math.min(end, addCandles(interval, first, WALL_BUCKETS_MAX));
  if (end < Number.POSITIVE_INFINITY) return { startMs: first, endMs: end };
  const last = await selectLast(sql, instrumentId, null);
  return last === null ? undefined : { startMs: first, endMs: bucketEnd(interval, last) };
}

/** The same from the other end, `reach` times as far. */
async function selectLastBounds(
  sql: Sql,
  instrumentId: number,
  endMs: number | null,
  { interval, limit }: CandleQuery,
  reach: number,
): Promise<(Bounds & { isAll: boolean }) | undefined> {
  const last = await selectLast(sql, instrumentId, endMs);
  if (last === null) return undefined;
  const [found] = await sql<{ first: number; beyond: number | null }[]>`
    select (select (extract(epoch from ts) * 1000000)::bigint from trades
            where instrument_id = ${instrumentId} and ts < ${at(sql, endMs)}
            order by ts limit 1) as first,
           (select (extract(epoch from ts) * 1000000)::bigint from trades
            where instrument_id = ${instrumentId} and ts < ${at(sql, endMs)}
            order by ts desc offset ${reachOf(limit) * reach} limit 1) as beyond`;
  const startOf = (micros: number) => candleStart(interval, Math.floor(micros / 1000));
  const byTime = addCandles(interval, startOf(last), 1 - limit * reach);
  const first = startOf(found.first);
  const wanted = Math.min(startOf(found.beyond ?? found.first), byTime);
  const least =
    interval.clockMs === null ? addCandles(interval, startOf(last), -WALL_BUCKETS_MAX) : first;
  const startMs = Math.max(first, least, wanted);
  return { startMs, endMs: bucketEnd(interval, last), isAll: startMs === first };
}

/** The last trade before an instant, epoch microseconds. */
async function selectLast(sql: Sql, instrumentId: number, endMs: number | null) {
  const [row] = await sql<{ last: number }[]>`
    select (extract(epoch from ts) * 1000000)::bigint as last from trades
    where instrument_id = ${instrumentId} and ts < ${at(sql, endMs)}
    order by ts desc limit 1`;
  return row?.last ?? null;
}

const bucketEnd = (interval: CandleInterval, micros: number) =>
  addCandles(interval, candleStart(interval, Math.floor(micros / 1000)), 1);

/**
 * One statement for every edition, which gives the same bytes whatever plan it is run by. The
 * trades are read once for all but open and close; these are then looked up at the first and last
 * instants of all candles at once, where the numbers of the trades decide. Of SPY's 250,000 trades
 * of a session that takes 0.24 s, little more than the aggregate without open and close (0.2 s);
 * the least and greatest of [instant, number, price] in one pass take 0.36 s, windows 0.6 s, and
 * arrays in the order of a sorted subquery are no faster and promise nothing. The halves are put
 * together by grouping, for the planner would join them row by row. Sizes and values are added up
 * as whole millionths, for sums of doubles depend on their order.
 */
function aggregates(
  sql: Sql,
  instrumentId: number,
  interval: CandleInterval,
  bounds: Bounds,
  steps: AdjustmentSteps,
) {
  const range = sql`instrument_id = ${instrumentId} and ts >= ${at(sql, bounds.startMs)}
    and ts < ${at(sql, bounds.endMs)}`;
  const bucket = bucketOf(sql, interval, bounds, steps);
  // Of a part of a week that sets no open the other parts may.
  const having = steps.exDay.length > 0 ? sql`` : sql`having max(open) is not null`;
  return sql`
    aggregated as materialized (
      select ${bucket} as bucket,
             min(ts) filter (where updates & 1 <> 0) as first_ts,
             max(ts) filter (where updates & 1 <> 0) as last_ts,
             max(price) filter (where updates & 2 <> 0) as high,
             min(price) filter (where updates & 2 <> 0) as low,
             coalesce(sum((size * 1000000)::bigint) filter (where updates & 4 <> 0), 0)
               as millionths,
             sum((price * size * 1000000)::bigint) filter (where updates & 4 <> 0) as value,
             count(*) filter (where updates & 4 <> 0) as trades
      from trades where ${range} group by 1),
    edges as (
      select ${bucket} as bucket,
             (min(array[date_part('epoch', ts), sequence, price]))[3] as open,
             (max(array[date_part('epoch', ts), sequence, price]))[3] as close
      from trades
      where ${range} and updates & 1 <> 0
        and ts = any(array(select first_ts from aggregated union all
                           select last_ts from aggregated))
      group by 1),
    whole as (
      select bucket, max(open) as open, max(high) as high, max(low) as low, max(close) as close,
             max(millionths) as millionths, max(value) as value, max(trades) as trades
      from (select bucket, null::float8 as open, high, low, null::float8 as close, millionths,
                   value, trades from aggregated
            union all
            select bucket, open, null, null, close, null, null, null from edges) halves
      group by bucket ${having})`;
}

/**
 * Candles of adjusted trades, made of those as traded: all trades of a day are multiplied alike, so
 * each is multiplied as a whole. Only a week may hold days on both sides of an ex-date: it was cut
 * there, and its parts are put together again. What no factor changes stays as it is.
 */
function adjusted(sql: Sql, interval: CandleInterval, bounds: Bounds, steps: AdjustmentSteps) {
  const exSeconds = exInstants(steps).map((ms) => ms / 1000);
  const factor = (values: Float64Array) => sql`(${[...values, 1]}::float8[])
    [width_bucket(date_part('epoch', bucket), ${exSeconds}::float8[]) + 1]`;
  const weeks = candleStarts(interval, bounds.startMs, bounds.endMs).map((ms) => ms / 1000);
  const begin = interval.isWeek ? wallBucket(sql, sql`bucket`, weeks) : sql`bucket`;
  const price = (name: string) =>
    sql.unsafe(`case when price = 1 then ${name} else ${roundedPrice(`(${name} * price)`)} end`);
  return sql`
    factors as materialized (
      select *, ${factor(steps.price)} as price, ${factor(steps.volume)} as shares from whole),
    parts as materialized (
      select ${begin} as bucket, bucket as part, price = 1 and shares = 1 as is_raw,
             ${price('open')} as open, ${price('high')} as high, ${price('low')} as low,
             ${price('close')} as close, millionths, value, trades,
             millionths::float8 * shares as adjusted_millionths,
             value::float8 * price * shares as adjusted_value
      from factors),
    together as (
      select bucket, (array_agg(open order by part) filter (where open is not null))[1] as open,
             max(high) as high, min(low) as low,
             (array_agg(close order by part desc) filter (where close is not null))[1] as close,
             bool_and(is_raw) as is_raw, sum(millionths) as millionths, sum(value) as value,
             sum(adjusted_millionths order by part) as adjusted_millionths,
             sum(adjusted_value order by part) as adjusted_value, sum(trades) as trades
      from parts group by bucket),
    adjusted as (
      select *, adjusted_millionths / 1000000 as volume,
             adjusted_value / nullif(adjusted_millionths, 0) as vwap
      from together where open is not null),`;
}

const exInstants = ({ exDay }: AdjustmentSteps) =>
  Array.from(exDay, (day) => newYorkInstant(day, 0));

/** A candle as JSON, its numbers as the database prints them. */
function candleLine(sql: Sql, symbol: string, interval: CandleInterval, isAdjusted: boolean) {
  const head = `{"symbol":${JSON.stringify(symbol)},"interval":"${interval.text}","ts":"`;
  const moment = sql`to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
  const rawVolume = sql`trim_scale(millionths / 1000000.0)`;
  const rawVwap = sql`trim_scale(round(value / nullif(millionths, 0), 4))::text`;
  const volume = isAdjusted
    ? sql`case when is_raw then ${rawVolume}::text
               else (${sql.unsafe(roundedVolume('volume'))})::text end`
    : rawVolume;
  const vwap = isAdjusted
    ? sql`case when is_raw then ${rawVwap} else (${sql.unsafe(roundedPrice('vwap'))})::text end`
    : rawVwap;
  return sql`
    ${head} || ${moment} || '","timestamp":"' || ${moment} || '","open":' || open
    || ',"high":' || greatest(high, open, close)
    || ',"low":' || least(low, open, close) || ',"close":' || close
    || ',"volume":' || ${volume}
    || ',"vwap":' || coalesce(${vwap}, 'null')
    || ',"trade_count":' || trades || '}'`;
}

/**
 * The bucket of a trade: by arithmetic on the clock, by search where New York's days decide. A week
 * ends at each ex-date as well.
 */
function bucketOf(
  sql: Sql,
  interval: CandleInterval,
  { startMs, endMs }: Bounds,
  steps: AdjustmentSteps,
) {
  const { clockMs } = interval;
  if (clockMs !== null) {
    const length = `${clockMs / 1000} seconds`;
    return sql`date_bin(${length}::interval, ts, '2000-01-01 00:00:00+00'::timestamptz)`;
  }
  const starts = candleStarts(interval, startMs, endMs);
  const cuts = interval.isWeek
    ? exInstants(steps).filter((ms) => ms > startMs && ms < endMs && !starts.includes(ms))
    : [];
  const seconds = [...starts, ...cuts].sort((a, b) => a - b).map((ms) => ms / 1000);
  return wallBucket(sql, sql`ts`, seconds);
}

const wallBucket = (sql: Sql, instant: PendingQuery<Row[]>, starts: readonly number[]) =>
  sql`to_timestamp((${starts}::float8[])
    [width_bucket(date_part('epoch', ${instant}), ${starts}::float8[])])`;
