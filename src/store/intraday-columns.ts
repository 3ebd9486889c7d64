import { type IntradayBars, makeIntradayBars, type StoredIntraday } from '../model/intraday.ts';
import { type AnySql, decodeFloats, decodeInstants, decodeIntegers } from './database.ts';

/** How columns of bars below a day come out of the database: as bytes, never as row objects. */

/** Bars below a day of one instrument as stored: ascending by ts, unique, with score and flags. */
export interface StoredIntradayBars extends IntradayBars {
  score: Float64Array;
  flags: Int32Array;
  /** PART of model/session-part.ts. */
  part: Int32Array;
  /** 1 where the bar is final. */
  isFinal: Int32Array;
}

export function makeStoredIntraday(length: number): StoredIntradayBars {
  return {
    ...makeIntradayBars(length),
    score: new Float64Array(length),
    flags: new Int32Array(length),
    part: new Int32Array(length),
    isFinal: new Int32Array(length),
  };
}

export const INTRADAY_TABLES: Record<StoredIntraday, string> = { '1m': 'bars_1m', '1h': 'bars_1h' };

export interface IntradayColumnBytes {
  ts: Uint8Array;
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
  part: Uint8Array;
  is_final: Uint8Array;
}

/** The columns of ordered rows, each as one value. */
export const intradayColumns = (sql: AnySql) => sql`
    string_agg(timestamptz_send(ts), '') as ts,
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
    string_agg(int4send(part), '') as part,
    string_agg(int4send(is_final::int), '') as is_final`;

/** The rows that `intradayColumns` gave. */
export function decodeIntraday(row: IntradayColumnBytes): StoredIntradayBars {
  const ts = decodeInstants(row.ts);
  return {
    length: ts.length,
    ts,
    session: decodeIntegers(row.session),
    open: decodeFloats(row.open),
    high: decodeFloats(row.high),
    low: decodeFloats(row.low),
    close: decodeFloats(row.close),
    volume: decodeFloats(row.volume),
    vwap: decodeFloats(row.vwap),
    tradeCount: decodeFloats(row.trade_count),
    score: decodeFloats(row.score),
    flags: decodeIntegers(row.flags),
    part: decodeIntegers(row.part),
    isFinal: decodeIntegers(row.is_final),
  };
}
