/** Splits and dividends as the exchange announces them; adjustment happens when bars are read. */

export interface Split {
  kind: 'split';
  /** The provider's own id of the event. */
  providerActionId: string;
  symbol: string;
  /** First session that trades at the new price, 'YYYY-MM-DD'. */
  exDate: string;
  splitFrom: number;
  splitTo: number;
  /** As the provider calls it ('forward_split', 'stock_dividend'); null when it does not say. */
  subtype?: string | null;
}

export interface Dividend {
  kind: 'dividend';
  providerActionId: string;
  symbol: string;
  exDate: string;
  cashAmount: number;
  currency: string | null;
  declaredDate: string | null;
  recordDate: string | null;
  payDate: string | null;
  /** Payments a year as the provider counts them; null when it does not say. */
  frequency: number | null;
  /** As the provider calls it ('recurring', 'special'); null when it does not say. */
  subtype?: string | null;
}

export type CorporateAction = Split | Dividend;

/** New shares for one old share: 4 for a 4-for-1 split, 0.1 for a 1-for-10 reverse split. */
export function splitRatio(split: Pick<Split, 'splitFrom' | 'splitTo'>): number {
  return split.splitTo / split.splitFrom;
}

/** What a quotient of a number with six digits is off by, at most: 1 / 0.142857 is 7.000007. */
const NOISE = 2e-6;
/** In a ratio that is off by noise, one of the numbers is at most this; in an exact one, this. */
const NOISY_MAX = 20;
const EXACT_MAX = 100;
/** Beyond it every number is near a whole one, which then means nothing. */
const DISTANCE_MAX = 1e-3;

/**
 * A ratio that arrives as one number, new shares for an old one, as the whole numbers it was made
 * of: 7.00000700001 is 7 for 1, 1.5 is 3 for 2, 0.333333 is 1 for 3. One that is no such quotient
 * (1.0085, a stock dividend) stays as it is, for 1.
 */
export function toRatio(value: number): { splitFrom: number; splitTo: number } {
  const isReverse = value < 1;
  const large = isReverse ? 1 / value : value;
  for (let small = 1; small <= EXACT_MAX; small++) {
    const whole = Math.round(large * small);
    const distance = Math.abs(large * small - whole);
    const noise = small <= NOISY_MAX ? Math.min(NOISE * whole, DISTANCE_MAX) : 1e-12 * whole;
    if (distance > noise) continue;
    return isReverse ? { splitFrom: whole, splitTo: small } : { splitFrom: small, splitTo: whole };
  }
  return { splitFrom: 1, splitTo: value };
}

/** The same of a pair, 1 : 7.00000700001; whole numbers, and what is no such quotient, stay. */
export function toWholeRatio(splitFrom: number, splitTo: number) {
  if (Number.isInteger(splitFrom) && Number.isInteger(splitTo)) return { splitFrom, splitTo };
  const whole = toRatio(splitTo / splitFrom);
  return Number.isInteger(whole.splitTo) ? whole : { splitFrom, splitTo };
}

/** Whose word an action is. */
export interface ActionSource {
  kind: 'split' | 'dividend';
  provider: string;
  /** Place of the provider among those whose daily bars are held, from 1; null: holds none. */
  providerRank: number | null;
}

/**
 * What counts of the actions of one instrument when several providers tell of it: of each kind the
 * actions of one provider only, so that nothing is adjusted twice. It is the one whose daily bars
 * came first, because its splits are the ones its prices show; else the first by name.
 */
export function ofOneProvider<Action extends ActionSource>(actions: readonly Action[]): Action[] {
  const chosen = new Map<string, Action>();
  for (const action of actions) {
    const best = chosen.get(action.kind);
    if (best === undefined || isPreferred(action, best)) chosen.set(action.kind, action);
  }
  return actions.filter(({ kind, provider }) => chosen.get(kind)?.provider === provider);
}

function isPreferred(a: ActionSource, b: ActionSource): boolean {
  const rankA = a.providerRank ?? Number.POSITIVE_INFINITY;
  const rankB = b.providerRank ?? Number.POSITIVE_INFINITY;
  return rankA === rankB ? a.provider < b.provider : rankA < rankB;
}
