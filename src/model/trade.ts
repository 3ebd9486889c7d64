/**
 * Trades in columns: a trade is one element of each. Prices as traded, in USD; sizes in shares.
 */
export interface TradeColumns {
  length: number;
  /** When it was executed, epoch microseconds UTC. */
  ts: Float64Array;
  /** Orders trades of one instant: the vendor's number, or the position among them. */
  sequence: Float64Array;
  price: Float64Array;
  size: Float64Array;
  /** What of a bar the trade may change: bits of UPDATES. */
  updates: Uint8Array;
  /** The exchange as the provider names it; null when it did not say. */
  exchange: (string | null)[];
  /** Sale conditions as the provider writes them; null when there are none. */
  conditions: (string | null)[];
}

/** What of a bar a trade may change, by its sale conditions. */
export const UPDATES = { openClose: 1, highLow: 2, volume: 4, all: 7 } as const;

export function makeTrades(length: number): TradeColumns {
  return {
    length,
    ts: new Float64Array(length),
    sequence: new Float64Array(length),
    price: new Float64Array(length),
    size: new Float64Array(length),
    updates: new Uint8Array(length).fill(UPDATES.all),
    exchange: new Array(length).fill(null),
    conditions: new Array(length).fill(null),
  };
}

/** Some rows of some columns. */
export interface TradeRows {
  trades: TradeColumns;
  rows: readonly number[];
}

/** The picked trades, one pick after the other, as new columns. */
export function gatherTrades(picks: readonly TradeRows[]): TradeColumns {
  const gathered = makeTrades(picks.reduce((length, { rows }) => length + rows.length, 0));
  let i = 0;
  for (const { trades, rows } of picks) {
    for (const row of rows) {
      copyTrade(trades, row, gathered, i++);
    }
  }
  return gathered;
}

/** The trades at `rows`, in that order, as new columns. */
export function pickTrades(trades: TradeColumns, rows: readonly number[]): TradeColumns {
  return gatherTrades([{ trades, rows }]);
}

/** Copies one trade over another. */
export function copyTrade(
  source: TradeColumns,
  from: number,
  target: TradeColumns,
  to: number,
): void {
  target.ts[to] = source.ts[from];
  target.sequence[to] = source.sequence[from];
  target.price[to] = source.price[from];
  target.size[to] = source.size[from];
  target.updates[to] = source.updates[from];
  target.exchange[to] = source.exchange[from];
  target.conditions[to] = source.conditions[from];
}
