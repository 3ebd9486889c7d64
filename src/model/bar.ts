/**
 * Bars in columns. A bar is one row of each array; prices are what was traded (raw), in USD.
 * Columns, not objects: validation of 3 million bars a second needs them, and they go into
 * binary COPY as they are.
 */
export interface BarColumns {
  length: number;
  /** The session the bar belongs to, as days since 1970-01-01 (see session.ts). */
  session: Int32Array;
  open: Float64Array;
  high: Float64Array;
  low: Float64Array;
  close: Float64Array;
  /** Shares; a double, because fractional since 2026 and above 2^31 long before. */
  volume: Float64Array;
  /** Volume-weighted average price; NaN where the provider gave none. */
  vwap: Float64Array;
  /** Trades in the bar; NaN where the provider gave none. */
  tradeCount: Float64Array;
}

/** A row that could not become a bar. Kept in `rejected_rows`; never thrown away. */
export interface RejectedRow {
  /** As the provider spells it; empty when the row did not even say. */
  symbol: string;
  /** 'YYYY-MM-DD' when the row said which session, else undefined. */
  session?: string;
  reason: string;
  /** The row as it came, at most 1,000 characters. */
  raw: string;
}

/** Columns for `length` bars, all zero except vwap and tradeCount, which are NaN (not given). */
export function makeBars(length: number): BarColumns {
  return {
    length,
    session: new Int32Array(length),
    open: new Float64Array(length),
    high: new Float64Array(length),
    low: new Float64Array(length),
    close: new Float64Array(length),
    volume: new Float64Array(length),
    vwap: new Float64Array(length).fill(Number.NaN),
    tradeCount: new Float64Array(length).fill(Number.NaN),
  };
}

/** Some rows of some columns. */
export interface BarPick {
  bars: BarColumns;
  rows: ArrayLike<number>;
}

/** The picked bars, one pick after the other, as new columns. */
export function gatherBars(picks: readonly BarPick[]): BarColumns {
  const gathered = makeBars(picks.reduce((length, { rows }) => length + rows.length, 0));
  let i = 0;
  for (const { bars, rows } of picks) {
    for (let j = 0; j < rows.length; j++) copyBar(bars, rows[j], gathered, i++);
  }
  return gathered;
}

/** The bars at `rows`, in that order, as new columns. */
export function pickBars(bars: BarColumns, rows: ArrayLike<number>): BarColumns {
  return gatherBars([{ bars, rows }]);
}

/** The first `length` bars as new columns. */
export function firstBars(bars: BarColumns, length: number): BarColumns {
  return pickBars(
    bars,
    Array.from({ length }, (_, row) => row),
  );
}

/** Copies one bar over another. */
export function copyBar(source: BarColumns, from: number, target: BarColumns, to: number): void {
  target.session[to] = source.session[from];
  target.open[to] = source.open[from];
  target.high[to] = source.high[from];
  target.low[to] = source.low[from];
  target.close[to] = source.close[from];
  target.volume[to] = source.volume[from];
  target.vwap[to] = source.vwap[from];
  target.tradeCount[to] = source.tradeCount[from];
}
