import { type BarColumns, copyBar, makeBars } from './bar.ts';

/** Bars below a day. `session` is the date in New York on which the bar begins. */
export interface IntradayBars extends BarColumns {
  /** When the bar begins, epoch ms UTC; the bar is [ts, ts + timeframe). */
  ts: Float64Array;
}

export function makeIntradayBars(length: number): IntradayBars {
  return { ...makeBars(length), ts: new Float64Array(length) };
}

/** Copies one bar over another. */
export function copyIntradayBar(
  source: IntradayBars,
  from: number,
  target: IntradayBars,
  to: number,
): void {
  copyBar(source, from, target, to);
  target.ts[to] = source.ts[from];
}

/** Some rows of some columns. */
export interface IntradayPick {
  bars: IntradayBars;
  rows: ArrayLike<number>;
}

/** The picked bars, one pick after the other, as new columns. */
export function gatherIntradayBars(picks: readonly IntradayPick[]): IntradayBars {
  const gathered = makeIntradayBars(picks.reduce((length, { rows }) => length + rows.length, 0));
  let i = 0;
  for (const { bars, rows } of picks) {
    for (let j = 0; j < rows.length; j++) copyIntradayBar(bars, rows[j], gathered, i++);
  }
  return gathered;
}

/** The first `length` bars as new columns. */
export function firstIntradayBars(bars: IntradayBars, length: number): IntradayBars {
  return gatherIntradayBars([{ bars, rows: Array.from({ length }, (_, row) => row) }]);
}

/** The timeframes that are stored below a day, and their length. */
export const INTRADAY_MS = { '1m': 60_000, '1h': 3_600_000 } as const;
export type StoredIntraday = keyof typeof INTRADAY_MS;
