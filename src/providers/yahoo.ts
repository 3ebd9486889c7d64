import { z } from 'zod';
import { errorMessage, ProviderError } from '../errors.ts';
import type { RejectedRow } from '../model/bar.ts';
import { EPOCH_UNITS, epochUnit } from '../model/instant.ts';
import { type Calendar, newYorkDay, newYorkInstant } from '../model/session.ts';
import { type MetaValue, makeSnapshot, type Snapshot } from '../model/snapshot.ts';
import { type Breaker, type BreakerState, makeBreaker } from './breaker.ts';
import { type Clock, makeLimiter, systemClock } from './http.ts';
import { parseEnvelope, parseNumber, unwiden } from './yahoo-answer.ts';
import { fetchYahooHistory, type HistoryRange, type YahooHistory } from './yahoo-history.ts';
import { CrumbError, makeYahooSession, type YahooSession } from './yahoo-session.ts';

/**
 * Snapshots and daily bars from Yahoo, whose API is unofficial: asked gently, believed little.
 * `v7/finance/quote` has all fields of many symbols in one answer and needs a cookie and a crumb;
 * without those the chart of each symbol has the prices of the day, and `missing` names what is
 * not in it.
 */
export interface Yahoo {
  /** Stored beside every snapshot. */
  readonly name: 'yahoo';
  /** Requests sent since it was made, those for cookie and crumb included. */
  requestCount(): number;
  breaker(): BreakerState;
  /**
   * The latest snapshot of each symbol, spelled Yahoo's way; no symbol twice.
   * @throws ProviderError when Yahoo refuses, is away, or is left alone; the signal's reason.
   */
  fetchSnapshots(symbols: readonly string[], signal?: AbortSignal): Promise<SnapshotAnswer>;
  /**
   * Daily bars as they were traded, with what Yahoo lists of splits and dividends.
   * @throws ProviderError as above, and when the symbol is not known or its chart is none of
   *   daily bars in USD; the signal's reason.
   */
  fetchHistory(symbol: string, range: HistoryRange, signal?: AbortSignal): Promise<YahooHistory>;
}

export interface SnapshotAnswer {
  snapshots: { symbol: string; snapshot: Snapshot }[];
  /** Symbols that Yahoo does not know, or whose answer was none. */
  failures: { symbol: string; error: string }[];
  /** Answers that are no snapshot: no price, no time. */
  rejected: RejectedRow[];
  /** Rows of charts that lie outside of the day that was asked for; not used. */
  droppedRows: number;
  /** Fields of all snapshots that could not be asked for, and why; null when all were. */
  missing: { fields: readonly string[]; reason: string } | null;
}

export interface YahooOptions {
  baseUrl: string;
  requestsPerMinute: number;
  calendar: Calendar;
  timeoutMs?: number;
  clock?: Clock;
  log?: (level: 'INFO' | 'WARNING', message: string, fields?: object) => void;
}

const TIMEOUT_MS = 15_000;
const SYMBOLS_PER_REQUEST = 100;
/** A minute, then doubled up to half an hour. */
const BREAKER = { failuresMax: 5, openMs: 60_000, openMsMax: 1_800_000 };
/** Without a crumb one is asked for again this often; the charts do meanwhile. */
const CRUMB_RETRY_MS = 600_000;
/** What the chart does not say. */
const CHART_MISSING = ['market_cap', 'pe_ratio', 'market_state'] as const;

export function makeYahoo(options: YahooOptions): Yahoo {
  const { baseUrl, requestsPerMinute, timeoutMs = TIMEOUT_MS, clock = systemClock, log } = options;
  const breaker = makeBreaker({ name: 'Yahoo', ...BREAKER, clock, log });
  const limiter = makeLimiter(requestsPerMinute, clock);
  const session = makeYahooSession({ baseUrl, timeoutMs, limiter, breaker, clock });
  const client = new YahooClient(session, breaker, options.calendar, clock, log);
  return {
    name: 'yahoo',
    requestCount: session.requestCount,
    breaker: breaker.state,
    fetchSnapshots: (symbols, signal) => client.fetchSnapshots(symbols, signal),
    fetchHistory: (symbol, range, signal) =>
      fetchYahooHistory(session, symbol, { ...range, nowMs: clock.now() }, signal),
  };
}

/**
 * How Yahoo spells a symbol of the US market: BRK.B is BRK-B, ABRpD is ABR-PD, BTC/USD is BTC-USD.
 * Other endings after a point name an exchange, and stay (OCDO.L). Exceptions: provider_symbols.
 */
export function yahooSymbol(symbol: string): string {
  return symbol
    .replaceAll('/', '-')
    .replace(/^([A-Z]+)p([A-Z]?)$/, '$1-P$2')
    .replace(/\.([A-E])$/, '-$1')
    .replace(/\.WS$/, '-WT')
    .replace(/\.U$/, '-UN');
}

class YahooClient {
  #crumbRetryAt = 0;
  #crumbReason = '';
  /** Said once each: they come with every answer. */
  readonly #odd = new Set<string>();

  constructor(
    readonly session: YahooSession,
    readonly breaker: Breaker,
    readonly calendar: Calendar,
    readonly clock: Clock,
    readonly log: YahooOptions['log'],
  ) {}

  async fetchSnapshots(
    symbols: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<SnapshotAnswer> {
    const answer: SnapshotAnswer = {
      ...{ snapshots: [], failures: [], rejected: [], droppedRows: 0, missing: null },
    };
    let rest = [...new Set(symbols)];
    while (rest.length > 0 && this.clock.now() >= this.#crumbRetryAt) {
      const batch = rest.slice(0, SYMBOLS_PER_REQUEST);
      try {
        const quotes = await this.#fetchQuotes(batch, signal);
        if (!quotes) break;
        this.#addQuotes(answer, batch, quotes);
      } catch (error) {
        // What was learned until now is kept, unless that is nothing.
        if (!(error instanceof ProviderError) || answer.snapshots.length === 0) throw error;
        const why = errorMessage(error);
        answer.failures.push(...rest.map((symbol) => ({ symbol, error: why })));
        return answer;
      }
      rest = rest.slice(batch.length);
    }
    if (rest.length > 0) {
      answer.missing = { fields: CHART_MISSING, reason: this.#crumbReason };
      await this.#addCharts(answer, rest, signal);
    }
    return answer;
  }

  /** Undefined when there is no crumb to be had; one that is refused is fetched anew once. */
  async #fetchQuotes(
    symbols: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<unknown[] | undefined> {
    for (let attempts = 1; ; attempts++) {
      try {
        return parseEnvelope(await this.session.fetchQuote(symbols, signal), 'quoteResponse');
      } catch (error) {
        if (!(error instanceof CrumbError)) throw error;
        this.session.renew();
        if (error.isRefusal && attempts === 1) continue;
        this.#crumbRetryAt = this.clock.now() + CRUMB_RETRY_MS;
        this.#crumbReason = error.message;
        const fields = CHART_MISSING.join(', ');
        this.log?.('WARNING', `${error.message}; the charts are used, without ${fields}`);
        return undefined;
      }
    }
  }

  #addQuotes(answer: SnapshotAnswer, symbols: readonly string[], quotes: readonly unknown[]) {
    const bySymbol = new Map<string, Fields>();
    for (const quote of quotes) {
      const { data } = Fields.safeParse(quote);
      const symbol = data?.symbol;
      // A quote that nobody asked for is not ours; of two, the first one counts.
      if (data && typeof symbol === 'string' && !bySymbol.has(symbol)) bySymbol.set(symbol, data);
    }
    for (const symbol of symbols) {
      const fields = bySymbol.get(symbol);
      if (fields && fields.quoteType !== 'NONE') this.#add(answer, symbol, parseQuote(fields));
      else answer.failures.push({ symbol, error: `Yahoo does not know ${symbol}` });
    }
  }

  /** One after the other; the first failure that is not the symbol's own ends it. */
  async #addCharts(
    answer: SnapshotAnswer,
    symbols: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const span = latestDay(this.calendar, this.clock.now());
    for (const symbol of symbols) {
      try {
        const charts = await this.session.fetchChart(symbol, span, signal);
        const [chart] = parseEnvelope(charts, 'chart');
        const { data } = Chart.safeParse(chart);
        if (!data) throw new ProviderError(`the chart of ${symbol} is empty`, 'garbage');
        const { symbol: other = symbol } = data.meta;
        if (other !== symbol) throw new ProviderError(`the chart is of ${other}`, 'garbage');
        const parsed = parseChart(data, span);
        answer.droppedRows += parsed.droppedRows;
        this.#add(answer, symbol, parsed);
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        const isOver = error.kind === 'rate_limited' || this.breaker.state().phase === 'open';
        if (isOver && answer.snapshots.length === 0) throw error;
        answer.failures.push({ symbol, error: errorMessage(error) });
      }
    }
  }

  #add(answer: SnapshotAnswer, symbol: string, { parsed, odd }: Parsed): void {
    const news = odd.filter((name) => !this.#odd.has(`${symbol} ${name}`));
    for (const name of news) this.#odd.add(`${symbol} ${name}`);
    if (news.length > 0) {
      const names = news.join(', ');
      this.log?.('WARNING', `Yahoo: ${symbol}: no value can be read in ${names}: stored as null`);
    }
    if ('snapshot' in parsed) answer.snapshots.push({ symbol, snapshot: parsed.snapshot });
    else answer.rejected.push({ symbol, ...parsed });
  }
}

/** The New York day of the latest session that has opened: [startMs, endMs). */
function latestDay(calendar: Calendar, nowMs: number): { startMs: number; endMs: number } {
  const today = newYorkDay(nowMs);
  let day = calendar.sessionAt(calendar.sessionsBefore(today + 1) - 1);
  if (calendar.openMs(day) > nowMs) day = calendar.sessionAt(calendar.sessionsBefore(day) - 1);
  return { startMs: newYorkInstant(day, 0), endMs: newYorkInstant(day + 1, 0) };
}

// -------------------------------------------------------------------------- parsing

interface Parsed {
  parsed: { snapshot: Snapshot } | { reason: string; raw: string };
  /** Fields with something that is no value. */
  odd: string[];
}

/** Reads fields, and remembers those in which there is something else. */
class FieldReader {
  readonly odd: string[] = [];

  constructor(readonly fields: Fields) {}

  number(name: string): number | null {
    const value = parseNumber(this.fields[name]);
    if (value === undefined) this.odd.push(name);
    return value ?? null;
  }

  /** A price, or what is made of prices: 0 stands for "none" (the open and low of an index). */
  positive(name: string): number | null {
    const value = this.number(name);
    if (value !== null && value < 0) this.odd.push(name);
    return value !== null && value > 0 ? value : null;
  }

  /** Shares: 0 is a value. */
  count(name: string): number | null {
    const value = this.number(name);
    if (value !== null && value < 0) this.odd.push(name);
    return value !== null && value >= 0 ? value : null;
  }

  text(name: string): string | null {
    const value = this.fields[name];
    return typeof value === 'string' && value.trim() !== '' ? value.trim() : null;
  }

  /** Epoch ms of a field in seconds, or why it is none. */
  instant(name: string): number | string {
    const seconds = this.number(name);
    if (seconds === null) return `there is no ${name}`;
    const unit = epochUnit(seconds);
    if (unit === 's') return Math.round(seconds * 1_000);
    const what = unit ? `evidently ${EPOCH_UNITS[unit].name}, not seconds` : 'no instant';
    return `${name} is ${seconds}: ${what}`;
  }

  instantText(name: string): string | null {
    const ms = this.fields[name] === undefined ? null : this.instant(name);
    return typeof ms === 'number' ? new Date(ms).toISOString() : null;
  }
}

/** What the answers of both endpoints have, under the same names. */
function parseCommon(reader: FieldReader): Record<string, MetaValue> {
  return {
    provider_symbol: reader.text('symbol'),
    name: reader.text('longName') ?? reader.text('shortName'),
    currency: reader.text('currency'),
    fifty_two_week_high: reader.positive('fiftyTwoWeekHigh'),
    fifty_two_week_low: reader.positive('fiftyTwoWeekLow'),
    exchange: reader.text('fullExchangeName'),
  };
}

function parseQuote(fields: Fields): Parsed {
  const reader = new FieldReader(fields);
  const rest = {
    ...parseCommon(reader),
    quote_type: reader.text('quoteType'),
    market_state: reader.text('marketState'),
    change: reader.number('regularMarketChange'),
    change_percent: reader.number('regularMarketChangePercent'),
    bid: reader.positive('bid'),
    bid_size: reader.positive('bidSize'),
    ask: reader.positive('ask'),
    ask_size: reader.positive('askSize'),
    pre_market_price: reader.positive('preMarketPrice'),
    pre_market_timestamp: reader.instantText('preMarketTime'),
    post_market_price: reader.positive('postMarketPrice'),
    post_market_timestamp: reader.instantText('postMarketTime'),
    average_volume_3_months: reader.count('averageDailyVolume3Month'),
    average_volume_10_days: reader.count('averageDailyVolume10Day'),
    fifty_day_average: reader.positive('fiftyDayAverage'),
    two_hundred_day_average: reader.positive('twoHundredDayAverage'),
    shares_outstanding: reader.positive('sharesOutstanding'),
    eps_trailing: reader.number('epsTrailingTwelveMonths'),
    eps_forward: reader.number('epsForward'),
    forward_pe: reader.number('forwardPE'),
    price_to_book: reader.number('priceToBook'),
    book_value: reader.number('bookValue'),
    dividend_rate: reader.number('dividendRate'),
    dividend_yield: reader.number('dividendYield'),
    delay_minutes: reader.count('exchangeDataDelayedBy'),
  };
  return finish(reader, rest, {
    open: reader.positive('regularMarketOpen'),
    previousClose: reader.positive('regularMarketPreviousClose'),
    marketCap: reader.positive('marketCap'),
    peRatio: reader.number('trailingPE') || null, // a price above 0 makes no ratio of 0
  });
}

/**
 * A chart of one day. Its first row of that day has the open; `chartPreviousClose` is the close
 * before the day that was asked for, and so the previous one only when the price is of that day.
 */
function parseChart(
  { meta, timestamp, indicators }: Chart,
  { startMs, endMs }: { startMs: number; endMs: number },
): Parsed & { droppedRows: number } {
  const reader = new FieldReader(meta);
  const stamps = (timestamp ?? []).map((seconds) => (parseNumber(seconds) ?? Number.NaN) * 1_000);
  const isWithin = (ms: number) => ms >= startMs && ms < endMs;
  const row = stamps.findIndex(isWithin);
  const droppedRows = stamps.filter((ms) => !isWithin(ms)).length;
  const priceAt = reader.instant('regularMarketTime');
  const isOfDay = typeof priceAt === 'number' && isWithin(priceAt) && row >= 0;
  const columns = new FieldReader({ open: isOfDay ? indicators?.quote?.[0]?.open?.[row] : null });
  const result = finish(reader, parseCommon(reader), {
    open: unwiden(columns.positive('open')),
    previousClose: isOfDay ? unwiden(reader.positive('chartPreviousClose')) : null,
    marketCap: null,
    peRatio: null,
  });
  return { ...result, odd: [...result.odd, ...columns.odd], droppedRows };
}

function finish(
  reader: FieldReader,
  rest: Record<string, MetaValue>,
  values: Pick<Snapshot, 'open' | 'previousClose' | 'marketCap' | 'peRatio'>,
): Parsed {
  const price = reader.positive('regularMarketPrice');
  const ts = reader.instant('regularMarketTime');
  const reason = price === null ? 'there is no price above 0' : ts;
  const { odd } = reader;
  if (price === null || typeof ts === 'string') {
    const raw = JSON.stringify(reader.fields).slice(0, 1_000);
    return { parsed: { reason: String(reason), raw }, odd };
  }
  const snapshot = makeSnapshot(
    'yahoo',
    ts,
    {
      ...values,
      price,
      dayHigh: reader.positive('regularMarketDayHigh'),
      dayLow: reader.positive('regularMarketDayLow'),
      volume: reader.count('regularMarketVolume'),
    },
    rest,
  );
  return { parsed: { snapshot }, odd };
}

// ------------------------------------------------------------------- Yahoo's own words

const Fields = z.record(z.string(), z.unknown());
type Fields = z.infer<typeof Fields>;

const Chart = z.object({
  meta: Fields,
  timestamp: z.array(z.unknown()).nullish(),
  indicators: z
    .object({ quote: z.array(z.object({ open: z.array(z.unknown()).nullish() })).nullish() })
    .nullish(),
});
type Chart = z.infer<typeof Chart>;
