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
}

export type CorporateAction = Split | Dividend;

/** New shares for one old share: 4 for a 4-for-1 split, 0.1 for a 1-for-10 reverse split. */
export function splitRatio(split: Pick<Split, 'splitFrom' | 'splitTo'>): number {
  return split.splitTo / split.splitFrom;
}
