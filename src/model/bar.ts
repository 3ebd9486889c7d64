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

/** The bars at `rows`, in that order, as new columns. */
export function pickBars(bars: BarColumns, rows: ArrayLike<number>): BarColumns {
  const picked = makeBars(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    picked.session[i] = bars.session[row];
    picked.open[i] = bars.open[row];
    picked.high[i] = bars.high[row];
    picked.low[i] = bars.low[row];
    picked.close[i] = bars.close[row];
    picked.volume[i] = bars.volume[row];
    picked.vwap[i] = bars.vwap[row];
    picked.tradeCount[i] = bars.tradeCount[row];
  }
  return picked;
}
