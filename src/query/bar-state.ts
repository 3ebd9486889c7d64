/** What a stored bar says at some time, apart from which bar it is. */
export interface BarState {
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  tradeCount: number | null;
  score: number;
  /** Bits of model/quality.ts. */
  flags: number;
  isFinal: boolean;
  provider: string;
  /** When its values were received. */
  receivedAt: Date;
}

/** The same as the database gives it. */
export interface BarStateRow {
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  trade_count: number | null;
  score: number;
  flags: number;
  is_final: boolean;
  provider: string;
  ts_received: Date;
}

export function toBarState(row: BarStateRow): BarState {
  const { open, high, low, close, volume, vwap, score, flags, provider } = row;
  return {
    ...{ open, high, low, close, volume, vwap, tradeCount: row.trade_count, score, flags },
    ...{ isFinal: row.is_final, provider, receivedAt: row.ts_received },
  };
}
