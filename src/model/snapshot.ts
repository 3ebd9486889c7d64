/**
 * What a provider showed of an instrument at an instant: the day so far, and what it knows of the
 * company. Prices in the currency that `meta.currency` names, as they were given (GBp stays GBp).
 * What the provider did not say is null, never zero.
 */
export interface Snapshot extends SnapshotValues {
  /** When it was so, by the provider; epoch ms. */
  ts: number;
  meta: SnapshotMeta;
}

/** The values that have a column of their own. */
export interface SnapshotValues {
  /** Of the last trade in regular hours; after the close, the close. */
  price: number;
  open: number | null;
  dayHigh: number | null;
  dayLow: number | null;
  /** The close of the session before. */
  previousClose: number | null;
  /** Shares, of the day. */
  volume: number | null;
  marketCap: number | null;
  /** Price by earnings of the last twelve months. */
  peRatio: number | null;
}

export type MetaValue = string | number | boolean | null;

/** Under the names of the market-hours pipeline: all of these are there, null when not given. */
export interface SnapshotMeta {
  source: string;
  /** ISO 8601. */
  timestamp: string;
  volume: number | null;
  open: number | null;
  /** Of the day so far, which is the price. */
  close: number;
  day_high: number | null;
  day_low: number | null;
  previous_close: number | null;
  market_cap: number | null;
  pe_ratio: number | null;
  transactions: null;
  vwap: null;
  /** What else was given: currency, exchange, market_state, fifty_two_week_high ... */
  [name: string]: MetaValue;
}

/** A snapshot with its metadata; of the rest, what is null is left out. */
export function makeSnapshot(
  source: string,
  ts: number,
  values: SnapshotValues,
  rest: Record<string, MetaValue>,
): Snapshot {
  const given = Object.entries(rest).filter(([, value]) => value !== null);
  const meta: SnapshotMeta = {
    ...Object.fromEntries(given),
    source,
    timestamp: new Date(ts).toISOString(),
    volume: values.volume,
    open: values.open,
    close: values.price,
    day_high: values.dayHigh,
    day_low: values.dayLow,
    previous_close: values.previousClose,
    market_cap: values.marketCap,
    pe_ratio: values.peRatio,
    transactions: null,
    vwap: null,
  };
  return { ts, ...values, meta };
}
