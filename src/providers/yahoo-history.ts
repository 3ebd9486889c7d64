import { z } from 'zod';
import { ProviderError } from '../errors.ts';
import { type PriceAction, roundPrice, roundVolume } from '../model/adjustment.ts';
import { type BarColumns, makeBars } from '../model/bar.ts';
import { newYorkDay, newYorkInstant } from '../model/session.ts';
import { parseEnvelope, parseNumber, unwiden } from './yahoo-answer.ts';
import type { YahooSession } from './yahoo-session.ts';

/**
 * Daily history of Yahoo's charts, to check stored bars against; it is never stored as bars.
 *
 *   Yahoo's field          | here            | 0 is a value?
 *   timestamp              | session         | no: the open of the session, in seconds
 *   quote[0].open ... close| raw price       | no: a row without a price is a hole
 *   quote[0].volume        | raw volume      | yes
 *   events.splits          | split           | no
 *   events.dividends       | dividend        | no: an amount of 0 is none
 *
 * All prices, volumes and amounts come adjusted for every split until now. That is undone by the
 * splits of the same answer, for which it is asked until now, whichever range is wanted: of a
 * session those with a later ex-date. What the answer does not list cannot be undone; such a split
 * shows as a difference.
 */

export interface HistoryRange {
  /** Days since 1970-01-01, both inclusive. */
  firstDay: number;
  lastDay: number;
}

export interface YahooHistory {
  /** Raw, ascending, of the range; no session twice. */
  bars: BarColumns;
  /** Of all dates from the first day of the range until now; raw amounts. */
  actions: PriceAction[];
  /** Rows of the range without all prices: Yahoo fills some of them later. */
  holes: number;
}

type Split = Extract<PriceAction, { kind: 'split' }>;

const DAY_MS = 86_400_000;
const DAILY = '1d';

/**
 * Daily bars as they were traded.
 * @throws ProviderError when Yahoo does not know the symbol, or its answer is no daily chart of
 *   prices in USD; what the session throws.
 */
export async function fetchYahooHistory(
  session: YahooSession,
  symbol: string,
  range: HistoryRange & { nowMs: number },
  signal?: AbortSignal,
): Promise<YahooHistory> {
  const span = { startMs: newYorkInstant(range.firstDay, 0), endMs: range.nowMs + DAY_MS };
  const [answer] = parseEnvelope(await session.fetchChart(symbol, span, signal), 'chart');
  const { data } = Chart.safeParse(answer);
  if (!data) throw new ProviderError(`the chart of ${symbol} is empty`, 'garbage');
  checkMeta(symbol, data.meta);
  const splits = parseSplits(symbol, data);
  const { bars, holes } = parseRows(data, splits, range);
  return { bars, holes, actions: [...splits, ...parseDividends(symbol, data, splits)] };
}

/** @throws ProviderError for a chart that says something else than what was asked for. */
function checkMeta(symbol: string, meta: Chart['meta']): void {
  const { symbol: other = symbol, currency, dataGranularity = DAILY, exchangeTimezoneName } = meta;
  const wrong =
    (other !== symbol && `of ${other}`) ||
    (currency && currency !== 'USD' && `in ${currency}, not in USD`) ||
    // Over a long range Yahoo may answer with months.
    (dataGranularity !== DAILY && `of bars of ${dataGranularity}, not of days`) ||
    (exchangeTimezoneName &&
      exchangeTimezoneName !== 'America/New_York' &&
      `of an exchange in ${exchangeTimezoneName}, not in New York`);
  if (wrong) throw new ProviderError(`the chart of ${symbol} is ${wrong}`, 'garbage');
}

/** The New York day of seconds since 1970; undefined when they are none. */
function dayOf(seconds: unknown): number | undefined {
  const number = parseNumber(seconds);
  return number === null || number === undefined ? undefined : newYorkDay(number * 1_000);
}

/** What prices before the end of a day are multiplied by, to be raw again. */
function laterRatio(splits: readonly Split[], day: number): number {
  let ratio = 1;
  for (const split of splits) {
    if (split.exDay > day) ratio *= split.splitTo / split.splitFrom;
  }
  return ratio;
}

function parseRows(
  { timestamp, indicators }: Chart,
  splits: readonly Split[],
  { firstDay, lastDay }: HistoryRange,
): Pick<YahooHistory, 'bars' | 'holes'> {
  const quote = indicators?.quote?.[0] ?? {};
  const rows = new Map<number, { prices: number[]; volume: number } | undefined>();
  for (const [row, seconds] of (timestamp ?? []).entries()) {
    const day = dayOf(seconds);
    if (day === undefined || day < firstDay || day > lastDay) continue;
    const prices = [quote.open, quote.high, quote.low, quote.close].map((column) => {
      const price = parseNumber(column?.[row]);
      return price && price > 0 ? (unwiden(price) ?? Number.NaN) : Number.NaN;
    });
    const volume = parseNumber(quote.volume?.[row]) ?? Number.NaN;
    const isBar = !prices.some(Number.isNaN) && volume >= 0;
    // A session may come twice, the second time with what was shown last.
    if (isBar || !rows.has(day)) rows.set(day, isBar ? { prices, volume } : undefined);
  }
  const found = [...rows].sort(([a], [b]) => a - b);
  const held = found.flatMap(([day, row]) => (row ? [{ day, ...row }] : []));
  const bars = makeBars(held.length);
  for (const [i, { day, prices, volume }] of held.entries()) {
    const ratio = laterRatio(splits, day);
    bars.session[i] = day;
    bars.open[i] = roundPrice(prices[0] * ratio);
    bars.high[i] = roundPrice(prices[1] * ratio);
    bars.low[i] = roundPrice(prices[2] * ratio);
    bars.close[i] = roundPrice(prices[3] * ratio);
    bars.volume[i] = roundVolume(volume / ratio);
  }
  return { bars, holes: found.length - held.length };
}

/** @throws ProviderError when one cannot be read: then nothing can be undone. */
function parseSplits(symbol: string, { events }: Chart): Split[] {
  return Object.values(events?.splits ?? {}).map((event) => {
    const exDay = dayOf(event.date);
    const [splitTo, splitFrom] = [event.numerator, event.denominator].map(parseNumber);
    if (exDay !== undefined && splitTo && splitFrom && splitTo > 0 && splitFrom > 0) {
      return { kind: 'split', exDay, splitFrom, splitTo };
    }
    const shown = JSON.stringify(event).slice(0, 200);
    throw new ProviderError(`a split of ${symbol} cannot be read: ${shown}`, 'garbage');
  });
}

/** @throws ProviderError when one cannot be read. */
function parseDividends(symbol: string, { events, meta }: Chart, splits: readonly Split[]) {
  return Object.values(events?.dividends ?? {}).flatMap((event): PriceAction[] => {
    const exDay = dayOf(event.date);
    const amount = parseNumber(event.amount);
    if (exDay === undefined || typeof amount !== 'number' || amount < 0) {
      const shown = JSON.stringify(event).slice(0, 200);
      throw new ProviderError(`a dividend of ${symbol} cannot be read: ${shown}`, 'garbage');
    }
    if (amount === 0) return [];
    const cashAmount = roundPrice(amount * laterRatio(splits, exDay));
    return [{ kind: 'dividend', exDay, cashAmount, currency: meta.currency ?? null }];
  });
}

// ------------------------------------------------------------------- Yahoo's own words

const Column = z.array(z.unknown()).nullish();
const Event = z.record(z.string(), z.unknown());

const Chart = z.object({
  meta: z.object({
    symbol: z.string().optional(),
    currency: z.string().nullish(),
    dataGranularity: z.string().optional(),
    exchangeTimezoneName: z.string().optional(),
  }),
  timestamp: Column,
  indicators: z
    .object({
      quote: z
        .array(z.object({ open: Column, high: Column, low: Column, close: Column, volume: Column }))
        .nullish(),
    })
    .nullish(),
  events: z
    .object({
      splits: z.record(z.string(), Event).nullish(),
      dividends: z.record(z.string(), Event).nullish(),
    })
    .nullish(),
});
type Chart = z.infer<typeof Chart>;
