/** How a symbol is, in a word: the most serious thing that can be said of it. */

/** Most serious first. */
export const SYMBOL_STATES = [
  ...(['failed', 'poor', 'stale', 'incomplete', 'review'] as const),
  ...(['no_bars', 'not_tracked', 'good'] as const),
] as const;
export type SymbolState = (typeof SYMBOL_STATES)[number];

/** Those that somebody has to do something about. */
export const TROUBLED_STATES: readonly SymbolState[] = SYMBOL_STATES.slice(0, 5);

/** What is known of one symbol, from counters. */
export interface SymbolFacts {
  isTracked: boolean;
  /** Whether the last backfill could not fill it. */
  hasFailed: boolean;
  /** Bars of any timeframe. */
  records: number;
  /** Of its daily bars; null when there are none. */
  validationRatePct: number | null;
  /** Published sessions after its last bar; null when it has none. */
  sessionsBehind: number | null;
  /** Sessions of its history that have no bar and should, those after its last bar left out. */
  holes: number;
  /** Sessions of its history. */
  sessions: number;
}

/** A symbol with less of its bars validated is to be looked at. */
export const REVIEW_RATE_PCT = 95;
const POOR_RATE_PCT = 80;
/** Between a session and the night's run everything is one session behind. */
export const STALE_SESSIONS = 2;
/** With more of its sessions without a bar its history is incomplete. */
const HOLES_SHARE = 0.02;

/** The one state of a symbol. */
export function judgeSymbol(facts: SymbolFacts): SymbolState {
  const { isTracked, records, validationRatePct, sessionsBehind, holes, sessions } = facts;
  const rate = validationRatePct ?? 100;
  if (isTracked && facts.hasFailed) return 'failed';
  if (records === 0) return 'no_bars';
  if (rate < POOR_RATE_PCT) return 'poor';
  if (isTracked && (sessionsBehind ?? 0) >= STALE_SESSIONS) return 'stale';
  if (isTracked && holes > HOLES_SHARE * sessions) return 'incomplete';
  if (rate < REVIEW_RATE_PCT) return 'review';
  return isTracked ? 'good' : 'not_tracked';
}
