import type { PriceAction } from './adjustment.ts';
import type { BarColumns } from './bar.ts';

/** Raw daily prices of two sources beside each other, and how far apart is apart. */

export const RECONCILED_FIELDS = ['open', 'high', 'low', 'close'] as const;
export type ReconciledField = (typeof RECONCILED_FIELDS)[number];

/** |theirs / ours - 1|: up to the first it agrees, above the others it differs, conflicts. */
export const PRICE_TOLERANCES = { agree: 0.002, differ: 0.005, conflict: 0.05 } as const;
export type FieldVerdict = 'agree' | 'near' | 'differ' | 'conflict';

/** Against whom the evidence is; 'unclear' when there is none. */
export type Side = 'ours' | 'theirs' | 'unclear';

/** One side of a comparison. */
export interface ReconciledSide {
  /** For people: 'polygon', 'yahoo', a file's name. */
  name: string;
  /** Ascending, no session twice. */
  bars: BarColumns;
  /** Splits and dividends it knows of; null when it does not list any. Raw amounts. */
  actions: readonly PriceAction[] | null;
  /** Findings of its bars, as bits; of stored bars only. */
  flags?: ArrayLike<number>;
}

/** Sessions of both sides, by position in their bars. */
export interface Pairs {
  ours: number[];
  theirs: number[];
  /** Days since 1970-01-01. */
  days: number[];
}

/** What a relative difference of exactly a tolerance misses it by, as a double. */
export const NOISE = 1e-9;

/** How far a price is from ours. */
export function judgePrice(ours: number, theirs: number): FieldVerdict {
  const distance = Math.abs(theirs - ours) * (1 - NOISE);
  if (ours === theirs) return 'agree';
  if (!(ours > 0)) return 'conflict';
  if (distance <= PRICE_TOLERANCES.agree * ours) return 'agree';
  if (distance <= PRICE_TOLERANCES.differ * ours) return 'near';
  return distance <= PRICE_TOLERANCES.conflict * ours ? 'differ' : 'conflict';
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
