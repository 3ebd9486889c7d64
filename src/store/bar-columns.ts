import { type BarColumns, makeBars } from '../model/bar.ts';
import type { IntradayBars, StoredIntraday } from '../model/intraday.ts';
import { type AnySql, decodeFloats, decodeInstants, decodeIntegers } from './database.ts';

/** How columns of bars come out of the database: as bytes, never as row objects. */

/** Bars of one instrument as stored: ascending, unique, with score and flags. */
export interface StoredBars extends BarColumns {
  score: Float64Array;
  flags: Int32Array;
  /** 1 where the bar is final. */
  isFinal: Int32Array;
}

/** The same below a day. */
export interface StoredIntradayBars extends StoredBars, IntradayBars {
  /** PART of model/session-part.ts. */
  part: Int32Array;
}

export function makeStoredBars(length: number): StoredBars {
  return {
    ...makeBars(length),
    score: new Float64Array(length),
    flags: new Int32Array(length),
    isFinal: new Int32Array(length),
  };
}

export function makeStoredIntraday(length: number): StoredIntradayBars {
  return {
    ...makeStoredBars(length),
    ts: new Float64Array(length),
    part: new Int32Array(length),
  };
}

/** Rows [first, end) in the same memory. */
export function sliceIntraday(
  bars: StoredIntradayBars,
  first: number,
  end: number,
): StoredIntradayBars {
  const part = <T extends Float64Array | Int32Array>(column: T) => column.subarray(first, end) as T;
  return {
    length: end - first,
    ts: part(bars.ts),
    session: part(bars.session),
    open: part(bars.open),
    high: part(bars.high),
    low: part(bars.low),
    close: part(bars.close),
    volume: part(bars.volume),
    vwap: part(bars.vwap),
    tradeCount: part(bars.tradeCount),
    score: part(bars.score),
    flags: part(bars.flags),
    part: part(bars.part),
    isFinal: part(bars.isFinal),
  };
}

const COUNT_MAX = 2_147_483_647;

/** Whether a count of trades can be stored; what cannot is stored as not given. */
export const isTradeCount = (count: number) => Number.isInteger(count) && count <= COUNT_MAX;

export const INTRADAY_TABLES: Record<StoredIntraday, string> = { '1m': 'bars_1m', '1h': 'bars_1h' };

export interface BarColumnBytes {
  session: Uint8Array;
  open: Uint8Array;
  high: Uint8Array;
  low: Uint8Array;
  close: Uint8Array;
  volume: Uint8Array;
  vwap: Uint8Array;
  trade_count: Uint8Array;
  score: Uint8Array;
  flags: Uint8Array;
  is_final: Uint8Array;
}

export interface IntradayColumnBytes extends BarColumnBytes {
  ts: Uint8Array;
  part: Uint8Array;
}

/** The columns of ordered rows, each as one value. */
export const barColumns = (sql: AnySql) => sql`
    string_agg(int4send(session - date '1970-01-01'), '') as session,
    string_agg(float8send(open), '') as open,
    string_agg(float8send(high), '') as high,
    string_agg(float8send(low), '') as low,
    string_agg(float8send(close), '') as close,
    string_agg(float8send(volume), '') as volume,
    string_agg(float8send(coalesce(vwap, 'NaN')), '') as vwap,
    string_agg(float8send(coalesce(trade_count, 'NaN'::float8)), '') as trade_count,
    string_agg(float8send(score), '') as score,
    string_agg(int4send(flags), '') as flags,
    string_agg(int4send(is_final::int), '') as is_final`;

/** The same of bars below a day. */
export const intradayColumns = (sql: AnySql) => sql`
    ${barColumns(sql)},
    string_agg(timestamptz_send(ts), '') as ts,
    string_agg(int4send(part), '') as part`;

/** The rows that `barColumns` gave. */
export function decodeStoredBars(row: BarColumnBytes): StoredBars {
  const session = decodeIntegers(row.session);
  return {
    length: session.length,
    session,
    open: decodeFloats(row.open),
    high: decodeFloats(row.high),
    low: decodeFloats(row.low),
    close: decodeFloats(row.close),
    volume: decodeFloats(row.volume),
    vwap: decodeFloats(row.vwap),
    tradeCount: decodeFloats(row.trade_count),
    score: decodeFloats(row.score),
    flags: decodeIntegers(row.flags),
    isFinal: decodeIntegers(row.is_final),
  };
}

/** The rows that `intradayColumns` gave. */
export function decodeIntraday(row: IntradayColumnBytes): StoredIntradayBars {
  return {
    ...decodeStoredBars(row),
    ts: decodeInstants(row.ts),
    part: decodeIntegers(row.part),
  };
}
