import { type BarColumns, makeBars } from '../model/bar.ts';
import type { Dividend, Split } from '../model/corporate-action.ts';
import { gatherIntradayBars } from '../model/intraday.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import { type Clock, systemClock } from './http.ts';
import type { ActionQuery, BarsAnswer, ListedSymbol, Provider } from './provider.ts';
import { makeMinutes, toVendorTimeframe } from './synthetic-minutes.ts';

/**
 * Made-up prices, for trying marketd without a key. The same seed gives the same bars for ever,
 * whichever range is asked for and on whichever day. Real sessions only, and only those that have
 * closed. So that there is something to see, faults and events are planted (`listPlants`).
 */
export interface SyntheticOptions {
  seed: number;
  calendar: Calendar;
  clock?: Clock;
}

/** The first session that has bars. */
export const SYNTHETIC_FIRST_SESSION = '2015-01-02';

interface Listing {
  name: string;
  exchange: string;
  assetType: 'CS' | 'ETF';
  /** Price at the start of 2015; of symbols that split, the price right after a split. */
  price: number;
  /** Growth a year, apart from splits. */
  growth: number;
  /** Standard deviation of a day's move. */
  volatility: number;
  /** Traded a day, in million dollars. */
  turnover: number;
}

const stock = (
  name: string,
  exchange: string,
  price: number,
  growth: number,
  volatility: number,
  turnover: number,
): Listing => ({ name, exchange, assetType: 'CS', price, growth, volatility, turnover });

const fund = (...listing: Parameters<typeof stock>): Listing => ({
  ...stock(...listing),
  assetType: 'ETF',
});

/** What the provider lists. Any other symbol that is asked for gets a history too. */
const LISTINGS: Readonly<Record<string, Listing>> = {
  AAPL: stock('Apple Inc.', 'XNAS', 75, 0, 0.014, 9_000),
  MSFT: stock('Microsoft Corporation', 'XNAS', 150, 0.1, 0.013, 7_500),
  GOOGL: stock('Alphabet Inc. Class A', 'XNAS', 65, 0.1, 0.015, 4_500),
  AMZN: stock('Amazon.com, Inc.', 'XNAS', 80, 0.1, 0.016, 8_000),
  NVDA: stock('NVIDIA Corporation', 'XNAS', 60, 0, 0.02, 25_000),
  TSLA: stock('Tesla, Inc.', 'XNAS', 120, 0, 0.02, 20_000),
  META: stock('Meta Platforms, Inc. Class A', 'XNAS', 200, 0.1, 0.018, 7_000),
  NFLX: stock('Netflix, Inc.', 'XNAS', 250, 0.08, 0.018, 2_500),
  AMD: stock('Advanced Micro Devices, Inc.', 'XNAS', 150, 0, 0.02, 7_000),
  CRM: stock('Salesforce, Inc.', 'XNYS', 120, 0.08, 0.015, 1_600),
  SPY: fund('SPDR S&P 500 ETF Trust', 'ARCX', 250, 0.08, 0.009, 35_000),
  QQQ: fund('Invesco QQQ Trust', 'XNAS', 200, 0.09, 0.011, 18_000),
  IWM: fund('iShares Russell 2000 ETF', 'ARCX', 120, 0.05, 0.011, 6_000),
  EEM: fund('iShares MSCI Emerging Markets ETF', 'ARCX', 38, 0.02, 0.01, 1_300),
  VTI: fund('Vanguard Total Stock Market ETF', 'ARCX', 130, 0.08, 0.009, 900),
};

// -------------------------------------------------------------------------- planted

export type Plant =
  | { kind: 'split'; symbol: string; session: string; splitFrom: number; splitTo: number }
  | { kind: 'dividend'; symbol: string; session: string; cashAmount: number; frequency: number }
  | {
      kind: 'gap' | 'volume_spike' | 'missing_session' | 'impossible_bar';
      symbol: string;
      session: string;
    };

/** Every five years: any span of that length holds each of these splits once. */
const SPLIT_CYCLE_YEARS = 5;
const SPLITS = [
  // Since the price is the same after every split, it rises (or falls) by the ratio in between.
  { symbol: 'AAPL', yearInCycle: 0, month: 8, nth: 10, splitFrom: 1, splitTo: 4 },
  { symbol: 'TSLA', yearInCycle: 2, month: 8, nth: 12, splitFrom: 1, splitTo: 3 },
  { symbol: 'AMD', yearInCycle: 3, month: 3, nth: 8, splitFrom: 5, splitTo: 1 },
  { symbol: 'NVDA', yearInCycle: 4, month: 6, nth: 6, splitFrom: 1, splitTo: 10 },
];

const DIVIDENDS = [
  { symbol: 'AAPL', months: [2, 5, 8, 11], nth: 7, cashAmount: 0.24 },
  { symbol: 'MSFT', months: [2, 5, 8, 11], nth: 13, cashAmount: 0.75 },
  { symbol: 'SPY', months: [3, 6, 9, 12], nth: 14, cashAmount: 1.6 },
  { symbol: 'QQQ', months: [3, 6, 9, 12], nth: 15, cashAmount: 0.65 },
  { symbol: 'IWM', months: [3, 6, 9, 12], nth: 16, cashAmount: 0.6 },
  { symbol: 'VTI', months: [3, 6, 9, 12], nth: 17, cashAmount: 0.85 },
  { symbol: 'EEM', months: [6, 12], nth: 12, cashAmount: 0.4 },
];

const FAULTS = [
  /** Opens a fifth above the close before it, at an ordinary volume and without any news. */
  { kind: 'gap', symbol: 'NFLX', month: 4, nth: 8 },
  /** Sixteen times the usual volume at an ordinary price. */
  { kind: 'volume_spike', symbol: 'CRM', month: 9, nth: 15 },
  /** No bar, although the exchange was open. */
  { kind: 'missing_session', symbol: 'IWM', month: 5, nth: 10 },
  /** A high below the close. */
  { kind: 'impossible_bar', symbol: 'EEM', month: 10, nth: 6 },
] as const;

const GAP_RATIO = 1.2;
const SPIKE_MULTIPLE = 16;

/** What is planted in a year, whatever the seed: always on the n-th session of a month. */
export function listPlants(year: number, calendar: Calendar): Plant[] {
  const on = (month: number, nth: number) => toDate(nthSession(calendar, year, month, nth));
  const splits = SPLITS.filter((split) => split.yearInCycle === year % SPLIT_CYCLE_YEARS);
  const plants: Plant[] = [
    ...splits.map(({ symbol, month, nth, splitFrom, splitTo }) => {
      return { kind: 'split' as const, symbol, session: on(month, nth), splitFrom, splitTo };
    }),
    ...DIVIDENDS.flatMap(({ symbol, months, nth, cashAmount }) =>
      months.map((month) => {
        const session = on(month, nth);
        const frequency = months.length;
        return { kind: 'dividend' as const, symbol, session, cashAmount, frequency };
      }),
    ),
    ...FAULTS.map(({ kind, symbol, month, nth }) => ({ kind, symbol, session: on(month, nth) })),
  ];
  return plants
    .filter(({ session }) => session >= SYNTHETIC_FIRST_SESSION)
    .sort((a, b) => (a.session < b.session ? -1 : 1));
}

function nthSession(calendar: Calendar, year: number, month: number, nth: number): number {
  const first = toDay(`${year}-${String(month).padStart(2, '0')}-01`);
  return calendar.sessionAt(calendar.sessionsBefore(first) + nth - 1);
}

// ------------------------------------------------------------------------- provider

export function makeSynthetic(options: SyntheticOptions): Provider {
  const { calendar, clock = systemClock } = options;
  const paths = new Map<string, { lastDay: number; bars: BarColumns }>();
  const latestDay = () => calendar.latestSession(clock.now(), 0);

  function pathOf(symbol: string): BarColumns {
    const lastDay = latestDay();
    const known = paths.get(symbol);
    if (known?.lastDay === lastDay) return known.bars;
    const bars = makePath(symbol, lastDay, options);
    paths.set(symbol, { lastDay, bars });
    return bars;
  }

  function actionsIn(query: ActionQuery): Plant[] {
    const last = [query.lastExDate, toDate(latestDay())].sort()[0];
    const plants: Plant[] = [];
    for (let year = FIRST_YEAR; year <= Number(last.slice(0, 4)); year++) {
      plants.push(...listPlants(year, calendar));
    }
    return plants
      .filter(({ symbol }) => query.symbol === undefined || query.symbol === symbol)
      .filter(({ session }) => session >= query.firstExDate && session <= last);
  }

  return {
    name: 'synthetic',
    isSynthetic: true,
    requestsPerMinute: undefined,
    requestCount: () => 0,
    async fetchBars({ symbol, firstSession, lastSession }, signal) {
      signal?.throwIfAborted();
      return sliceBars(pathOf(symbol), toDay(firstSession), toDay(lastSession));
    },
    async fetchIntradayBars({ symbol, timeframe, firstSession, lastSession }, signal) {
      signal?.throwIfAborted();
      const { bars: daily } = sliceBars(pathOf(symbol), toDay(firstSession), toDay(lastSession));
      const picks = Array.from({ length: daily.length }, (_, row) => {
        const random = makeRandom(hash(options.seed, `${symbol} minutes`), daily.session[row]);
        const minutes = makeMinutes(daily, row, calendar, random);
        const bars = toVendorTimeframe(minutes, timeframe);
        return { bars, rows: Array.from({ length: bars.length }, (_, i) => i) };
      });
      return { bars: gatherIntradayBars(picks), rejected: [] };
    },
    async fetchGroupedBars(session, signal) {
      signal?.throwIfAborted();
      // Symbols of no list were asked for before, by name: they belong to the market as well.
      const all = new Set([...Object.keys(LISTINGS), ...paths.keys()]);
      return groupBars([...all].sort(), toDay(session), pathOf);
    },
    async fetchSplits(query, signal) {
      signal?.throwIfAborted();
      return { actions: actionsIn(query).flatMap(parseSplit), rejected: [] };
    },
    async fetchDividends(query, signal) {
      signal?.throwIfAborted();
      return { actions: actionsIn(query).flatMap(parseDividend), rejected: [] };
    },
    fetchSymbol: async (symbol) => describeSymbol(symbol),
    fetchSymbolChanges: async () => undefined,
    async *fetchSymbols() {
      yield Object.keys(LISTINGS).sort().map(describeSymbol);
    },
  };
}

function describeSymbol(symbol: string): ListedSymbol {
  const listing = Object.hasOwn(LISTINGS, symbol) ? LISTINGS[symbol] : undefined;
  return {
    symbol,
    name: `${listing?.name ?? symbol} (synthetic)`,
    exchange: listing?.exchange ?? null,
    assetType: listing?.assetType ?? null,
    listedOn: SYNTHETIC_FIRST_SESSION,
    delistedOn: null,
  };
}

function sliceBars(bars: BarColumns, firstDay: number, lastDay: number): BarsAnswer {
  const start = rowsBefore(bars, firstDay);
  const end = Math.max(start, rowsBefore(bars, lastDay + 1));
  const columns = {
    length: end - start,
    session: bars.session.slice(start, end),
    open: bars.open.slice(start, end),
    high: bars.high.slice(start, end),
    low: bars.low.slice(start, end),
    close: bars.close.slice(start, end),
    volume: bars.volume.slice(start, end),
    vwap: bars.vwap.slice(start, end),
    tradeCount: bars.tradeCount.slice(start, end),
  };
  return { bars: columns, rejected: [] };
}

function rowsBefore({ length, session }: BarColumns, day: number): number {
  const row = session.findIndex((value) => value >= day);
  return row < 0 ? length : row;
}

function groupBars(symbols: string[], day: number, pathOf: (symbol: string) => BarColumns) {
  const found = symbols
    .map((symbol) => ({ symbol, ...sliceBars(pathOf(symbol), day, day) }))
    .filter(({ bars }) => bars.length === 1);
  const bars = makeBars(found.length);
  for (const [row, { bars: one }] of found.entries()) {
    bars.session[row] = day;
    for (const name of COLUMNS) bars[name][row] = one[name][0];
  }
  return { bars, rejected: [], symbols: found.map(({ symbol }) => symbol) };
}

const COLUMNS = ['open', 'high', 'low', 'close', 'volume', 'vwap', 'tradeCount'] as const;

function parseSplit(plant: Plant): Split[] {
  if (plant.kind !== 'split') return [];
  const { symbol, session, splitFrom, splitTo } = plant;
  const providerActionId = `split ${symbol} ${session}`;
  return [{ kind: 'split', providerActionId, symbol, exDate: session, splitFrom, splitTo }];
}

function parseDividend(plant: Plant): Dividend[] {
  if (plant.kind !== 'dividend') return [];
  const { symbol, session, cashAmount, frequency } = plant;
  const exDay = toDay(session);
  return [
    {
      kind: 'dividend',
      providerActionId: `dividend ${symbol} ${session}`,
      symbol,
      exDate: session,
      cashAmount,
      currency: 'USD',
      declaredDate: toDate(exDay - 14),
      recordDate: session,
      payDate: toDate(exDay + 21),
      frequency,
    },
  ];
}

// ----------------------------------------------------------------------------- path

const FIRST_DAY = toDay(SYNTHETIC_FIRST_SESSION);
const FIRST_YEAR = Number(SYNTHETIC_FIRST_SESSION.slice(0, 4));
const DAYS_A_YEAR = 365.25;
/** Part of its distance from the trend that a price keeps from one session to the next. */
const PERSISTENCE = 0.995;

/** All bars of a symbol up to a day. Each day has random numbers of its own, whatever the range. */
function makePath(symbol: string, lastDay: number, { seed, calendar }: SyntheticOptions) {
  const listing = Object.hasOwn(LISTINGS, symbol) ? LISTINGS[symbol] : inventListing(seed, symbol);
  const plants = plantsOf(symbol, lastDay, calendar);
  const trend = makeTrend(symbol, listing, calendar);
  const sessions = lastDay < FIRST_DAY ? [] : calendar.sessions(FIRST_DAY, lastDay);
  const bars = makeBars(sessions.length);
  const symbolSeed = hash(seed, symbol);
  let size = 0;
  let offset = 0;
  let close = trend(FIRST_DAY);
  for (const day of sessions) {
    const random = makeRandom(symbolSeed, day);
    const { ratio, cash, fault } = plants.get(day) ?? ORDINARY;
    const jump = fault === 'gap' ? GAP_RATIO : 1;
    const reference = (close / ratio - cash) * jump;
    offset = offset * PERSISTENCE + Math.log(jump) + listing.volatility * random();
    const open = reference * Math.exp(0.3 * listing.volatility * random());
    close = trend(day) * Math.exp(offset);
    if (fault === 'missing_session') continue;
    bars.session[size] = day;
    setPrices(bars, size, open, close, listing.volatility, random);
    setVolume(bars, size, listing, fault, calendar.isEarlyClose(day) ? 0.45 : 1, random);
    if (fault === 'impossible_bar') bars.high[size] = toCents(bars.close[size] - 0.5);
    size++;
  }
  return sliceBars({ ...bars, length: size }, FIRST_DAY, lastDay).bars;
}

interface PlantedDay {
  /** New shares for one old. */
  ratio: number;
  cash: number;
  fault: Plant['kind'] | undefined;
}

const ORDINARY: PlantedDay = { ratio: 1, cash: 0, fault: undefined };

function plantsOf(symbol: string, lastDay: number, calendar: Calendar): Map<number, PlantedDay> {
  const found = new Map<number, PlantedDay>();
  const lastYear = Number(toDate(lastDay).slice(0, 4));
  for (let year = FIRST_YEAR; year <= lastYear; year++) {
    for (const plant of listPlants(year, calendar)) {
      if (plant.symbol !== symbol) continue;
      const day = toDay(plant.session);
      const planted = { ...(found.get(day) ?? ORDINARY) };
      if (plant.kind === 'split') planted.ratio = plant.splitTo / plant.splitFrom;
      else if (plant.kind === 'dividend') planted.cash = plant.cashAmount;
      else planted.fault = plant.kind;
      found.set(day, planted);
    }
  }
  return found;
}

/** The price about which the bars of a symbol wander, by day. */
function makeTrend(symbol: string, { price, growth }: Listing, calendar: Calendar) {
  const split = SPLITS.find((candidate) => candidate.symbol === symbol);
  if (!split) return (day: number) => price * (1 + growth) ** ((day - FIRST_DAY) / DAYS_A_YEAR);
  const days: number[] = [];
  const lastYear = Number(toDate(calendar.lastDay).slice(0, 4));
  for (let year = FIRST_YEAR - SPLIT_CYCLE_YEARS; year <= lastYear; year++) {
    if (year % SPLIT_CYCLE_YEARS !== split.yearInCycle) continue;
    days.push(nthSession(calendar, year, split.month, split.nth));
  }
  return (day: number) => {
    const since = days.findLast((exDay) => exDay <= day) ?? day;
    const until = days.find((exDay) => exDay > day) ?? since + SPLIT_CYCLE_YEARS * DAYS_A_YEAR;
    return price * (split.splitTo / split.splitFrom) ** ((day - since) / (until - since));
  };
}

function inventListing(seed: number, symbol: string): Listing {
  const random = makeRandom(hash(seed, symbol), 0);
  const price = 60 * Math.exp(0.8 * random());
  return stock(symbol, '', price, 0.06, 0.015, 400 * Math.exp(random()));
}

function setPrices(
  bars: BarColumns,
  row: number,
  open: number,
  close: number,
  volatility: number,
  random: () => number,
): void {
  const above = 1 + 0.4 * volatility * Math.abs(random());
  const below = 1 - 0.4 * volatility * Math.abs(random());
  bars.open[row] = toCents(open);
  bars.high[row] = toCents(Math.max(open, close) * above);
  bars.low[row] = toCents(Math.min(open, close) * below);
  bars.close[row] = toCents(close);
  const mean = (bars.high[row] + bars.low[row] + bars.open[row] + bars.close[row]) / 4;
  bars.vwap[row] = Math.round(mean * 10_000) / 10_000;
}

function setVolume(
  bars: BarColumns,
  row: number,
  { turnover }: Listing,
  fault: PlantedDay['fault'],
  dayLength: number,
  random: () => number,
): void {
  const noise = Math.exp(0.25 * random());
  const usual = ((turnover * 1e6) / bars.close[row]) * dayLength;
  // At a gap the volume says nothing, or it would explain it.
  const multiple = fault === 'volume_spike' ? SPIKE_MULTIPLE : fault === 'gap' ? 1 : noise;
  bars.volume[row] = Math.round(usual * multiple);
  bars.tradeCount[row] = Math.round(bars.volume[row] / (90 + 20 * noise));
}

const toCents = (price: number) => Math.max(0.01, Math.round(price * 100) / 100);

// --------------------------------------------------------------------------- random

/** A number of 32 bits from a seed and a text. */
export function hash(seed: number, text: string): number {
  let state = seed | 0;
  for (let i = 0; i < text.length; i++) state = mix(state ^ text.charCodeAt(i));
  return state;
}

/** The finalizer of MurmurHash3: every bit of the input changes half of those of the output. */
function mix(value: number): number {
  let x = (value + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Random numbers of one day: mean 0, deviation 1, never beyond 3.5, so that no move is a gap. */
function makeRandom(symbolSeed: number, day: number): () => number {
  let state = mix(symbolSeed ^ Math.imul(day, 0x27d4eb2f));
  return () => {
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      state = mix(state);
      sum += (state >>> 0) / 0x1_0000_0000;
    }
    return (sum - 2) * Math.sqrt(3);
  };
}
