import { type BarColumns, makeBars } from './bar.ts';

/** Bars below a day. `session` is the date in New York on which the bar begins. */
export interface IntradayBars extends BarColumns {
  /** When the bar begins, epoch ms UTC; the bar is [ts, ts + timeframe). */
  ts: Float64Array;
}

export function makeIntradayBars(length: number): IntradayBars {
  return { ...makeBars(length), ts: new Float64Array(length) };
}

/** The timeframes that are stored below a day, and their length. */
export const INTRADAY_MS = { '1m': 60_000, '1h': 3_600_000 } as const;
export type StoredIntraday = keyof typeof INTRADAY_MS;
