import type { BarColumns, RejectedRow } from '../model/bar.ts';
import type { Dividend, Split } from '../model/corporate-action.ts';
import type { IntradayBars, StoredIntraday } from '../model/intraday.ts';

/**
 * Who we ask for market data. An object that satisfies this type is a provider; it speaks our
 * words at its edge and the vendor's inside. Every method throws ProviderError and nothing else
 * (AbortError when `signal` fires).
 */
export interface Provider {
  /** Stored beside every bar: 'polygon', 'synthetic'. */
  readonly name: string;
  /** True when the prices are made up. Shown wherever the data is shown. */
  readonly isSynthetic: boolean;
  /** The plan's limit, for the budget preview; undefined when there is none. */
  readonly requestsPerMinute: number | undefined;
  /** Requests sent since the provider was made, retries and pages included. */
  requestCount(): number;
  /** Daily bars of one symbol, both sessions inclusive ('YYYY-MM-DD'). */
  fetchBars(range: BarsRange, signal?: AbortSignal): Promise<BarsAnswer>;
  /** Minute or hour bars of one symbol for whole days in New York, all parts of the day. */
  fetchIntradayBars(range: IntradayRange, signal?: AbortSignal): Promise<IntradayAnswer>;
  /** The daily bars of the whole market for one session. */
  fetchGroupedBars(session: string, signal?: AbortSignal): Promise<GroupedBarsAnswer>;
  fetchSplits(query: ActionQuery, signal?: AbortSignal): Promise<ActionsAnswer<Split>>;
  fetchDividends(query: ActionQuery, signal?: AbortSignal): Promise<ActionsAnswer<Dividend>>;
  /** What the provider knows of one symbol; undefined when it does not know it. */
  fetchSymbol(symbol: string, signal?: AbortSignal): Promise<ListedSymbol | undefined>;
  /**
   * The symbols that whoever has this one had, as the provider spells them; undefined when it does
   * not know.
   */
  fetchSymbolChanges(symbol: string, signal?: AbortSignal): Promise<SymbolChanges | undefined>;
  /** Every active US stock the provider lists, page by page. */
  fetchSymbols(signal?: AbortSignal): AsyncIterable<ListedSymbol[]>;
}

export interface BarsRange {
  symbol: string;
  firstSession: string;
  lastSession: string;
}

export interface IntradayRange extends BarsRange {
  timeframe: StoredIntraday;
}

export interface IntradayAnswer {
  /** In the order the provider sent them; duplicates are still there. */
  bars: IntradayBars;
  rejected: RejectedRow[];
}

export interface BarsAnswer {
  /** In the order the provider sent them; duplicates are still there. */
  bars: BarColumns;
  rejected: RejectedRow[];
}

export interface GroupedBarsAnswer extends BarsAnswer {
  /** symbols[i] is the symbol of bar i, exactly as the provider spells it (case matters). */
  symbols: string[];
}

export interface ActionQuery {
  /** One symbol, or the whole market when undefined. */
  symbol?: string;
  /** Ex-dates, both inclusive, 'YYYY-MM-DD'. */
  firstExDate: string;
  lastExDate: string;
}

export interface ActionsAnswer<Action> {
  actions: Action[];
  rejected: RejectedRow[];
}

export interface SymbolChanges {
  name: string | null;
  /** Composite FIGI. */
  figi: string | null;
  /** Ascending and of different days; each holds until the next one. */
  changes: { symbol: string; since: string }[];
  /** Where what the provider knows begins: whoever had a symbol then may have had it before. */
  knownSince: string;
}

export interface ListedSymbol {
  symbol: string;
  name: string | null;
  /** MIC of the primary exchange, e.g. XNAS. */
  exchange: string | null;
  /** The provider's type code, e.g. CS (common stock), ETF. */
  assetType: string | null;
  /** First session on the exchange; null when the provider does not say. */
  listedOn: string | null;
  /** Last session on the exchange; null while listed. */
  delistedOn: string | null;
}
