import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { newYorkInstant, toDay } from '../src/model/session.ts';
import type { Bar } from './fixtures/bars.ts';
import { type Misbehavior, SHARED_DATA } from './vendor-server.ts';

/**
 * Yahoo on 127.0.0.1: a real HTTP server with the answers that were recorded there, a cookie and
 * a crumb that must be right, and that misbehaves on demand.
 */
export interface YahooServer {
  url: string;
  /** One line a request: what was asked for, without the crumb. */
  requests: string[];
  /** v7 quotes by Yahoo's symbol; a test may change them. */
  quotes: Map<string, Fields>;
  /** Bodies of v8 charts by Yahoo's symbol. */
  charts: Map<string, ChartBody>;
  /** What is right from now on; whoever has another one is refused. */
  crumb: string;
  /**
   * Puts a misbehavior in line for requests of a kind; the first in line that gives a response is
   * used up by it, unless it is to stay (`isLasting`).
   */
  respond(kind: RequestKind, next: Misbehavior, isLasting?: boolean): void;
  /** Behaves from now on. */
  behave(): void;
  stop(): Promise<void>;
}

export type Fields = Record<string, unknown>;
export type RequestKind = 'cookie' | 'crumb' | 'quote' | 'chart';

export interface ChartBody {
  meta: Fields;
  timestamp?: unknown[] | null;
  indicators: { quote: Record<string, unknown[]>[] };
  events?: { splits?: Record<string, Fields>; dividends?: Record<string, Fields> };
}

const FOLDER = join(SHARED_DATA, 'yahoo');
const COOKIE = 'A3=d=recorded; Max-Age=31557600; Domain=.yahoo.com; Path=/; SameSite=None';

/** A recorded body: as it is, or taken out of the request and response that it came with. */
export function recorded(path: string): unknown {
  const body = JSON.parse(readFileSync(join(FOLDER, path), 'utf8'));
  return body.response ? body.response.bodyJson : body;
}

export const recordedText = (path: string) => readFileSync(join(FOLDER, path), 'utf8');

/** The recorded quotes of a file. */
export function recordedQuotes(path: string): Fields[] {
  return (recorded(path) as { quoteResponse: { result: Fields[] } }).quoteResponse.result;
}

/** The one recorded chart of a file. */
export function recordedChart(path: string): ChartBody {
  return (recorded(path) as { chart: { result: ChartBody[] } }).chart.result[0];
}

/** AAPL and MSFT on the evening of this day, as both endpoints had them. */
export const RECORDED_AT = '2025-10-30T00:05:00Z';
/** When their regular trading ended: what `regularMarketTime` says. */
export const RECORDED_TS = '2025-10-29T20:00:01.000Z';

export function startYahooServer(): YahooServer {
  const quotes = new Map<string, Fields>();
  for (const quote of recordedQuotes('yfinance-rs/quote_v7_AAPL-MSFT.json')) {
    quotes.set(String(quote.symbol), quote);
  }
  const charts = new Map<string, ChartBody>();
  for (const symbol of ['AAPL', 'MSFT']) {
    charts.set(symbol, recordedChart(`yfinance-rs/history_chart_${symbol}.json`));
  }
  const line: { kind: RequestKind; next: Misbehavior; isLasting: boolean }[] = [];
  const requests: string[] = [];
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const address = new URL(request.url);
      const kind = kindOf(address.pathname);
      requests.push(describeRequest(kind, address));
      const honest = async () => answer(yahoo, kind, request);
      for (const waiting of line) {
        if (waiting.kind !== kind) continue;
        const response = await waiting.next(request, honest);
        if (!response) continue;
        if (!waiting.isLasting) line.splice(line.indexOf(waiting), 1);
        return response;
      }
      return honest();
    },
  });
  const yahoo: YahooServer = {
    url: `http://127.0.0.1:${server.port}`,
    requests,
    quotes,
    charts,
    crumb: 'r3c0rd3d.Crumb',
    respond: (kind, next, isLasting = false) => line.push({ kind, next, isLasting }),
    behave: () => line.splice(0),
    stop: () => server.stop(true),
  };
  return yahoo;
}

function kindOf(pathname: string): RequestKind {
  if (pathname === '/v1/test/getcrumb') return 'crumb';
  if (pathname === '/v7/finance/quote') return 'quote';
  return pathname.startsWith('/v8/finance/chart/') ? 'chart' : 'cookie';
}

function describeRequest(kind: RequestKind, { pathname, searchParams }: URL): string {
  if (kind === 'quote') return `quote ${searchParams.get('symbols')}`;
  if (kind === 'chart') return `chart ${decodeURIComponent(pathname.split('/').at(-1) ?? '')}`;
  return kind;
}

function answer(yahoo: YahooServer, kind: RequestKind, request: Request): Response {
  const { pathname, searchParams } = new URL(request.url);
  const hasCookie = request.headers.get('cookie')?.includes('A3=d=recorded') === true;
  if (kind === 'cookie') {
    return new Response('<html><body>AAPL</body></html>', { headers: { 'set-cookie': COOKIE } });
  }
  if (kind === 'crumb') return hasCookie ? new Response(yahoo.crumb) : refuse('invalid_cookie');
  if (kind === 'quote') {
    if (!hasCookie) return refuse('invalid_cookie');
    if (searchParams.get('crumb') !== yahoo.crumb) return refuse('invalid_crumb');
    const symbols = searchParams.get('symbols')?.split(',') ?? [];
    const result = symbols.flatMap((symbol) => yahoo.quotes.get(symbol) ?? []);
    return Response.json({ quoteResponse: { result, error: null } });
  }
  const chart = yahoo.charts.get(decodeURIComponent(pathname.split('/').at(-1) ?? ''));
  if (!chart) return new Response(recordedText('errors/404_chart_not_found.json'), { status: 404 });
  const [from, to] = ['period1', 'period2'].map((name) => Number(searchParams.get(name)));
  return Response.json({ chart: { result: [cutChart(chart, from, to)], error: null } });
}

function refuse(what: 'invalid_cookie' | 'invalid_crumb'): Response {
  return new Response(recordedText(`errors/401_unauthorized_${what}.json`), { status: 401 });
}

/**
 * The rows of [from, to), and the close before them. Like Yahoo it adds the live row, whatever was
 * asked for: the last recorded one, when it is the instant of the price.
 */
function cutChart(chart: ChartBody, from: number, to: number): ChartBody {
  const { meta, timestamp } = chart;
  if (!timestamp) return chart;
  const isWanted = (row: number) => {
    const seconds = Number(timestamp[row]);
    return (seconds >= from && seconds < to) || seconds === meta.regularMarketTime;
  };
  const rows = timestamp.map((_, row) => row).filter(isWanted);
  const quote = chart.indicators.quote[0];
  const before = timestamp.findLastIndex((seconds) => Number(seconds) < from);
  const columns = Object.entries(quote).map(([name, values]) => [name, rows.map((i) => values[i])]);
  const events = Object.entries(chart.events ?? {}).map(([kind, all]) => {
    const isIn = ([seconds]: [string, Fields]) => Number(seconds) >= from && Number(seconds) < to;
    return [kind, Object.fromEntries(Object.entries(all).filter(isIn))];
  });
  return {
    meta: { ...meta, ...(before >= 0 && { chartPreviousClose: quote.close[before] }) },
    timestamp: rows.map((row) => timestamp[row]),
    indicators: { quote: [Object.fromEntries(columns)] },
    ...(events.length > 0 && { events: Object.fromEntries(events) }),
  };
}

export interface ChartActions {
  splits?: readonly { exDate: string; splitFrom: number; splitTo: number }[];
  /** Raw amounts. */
  dividends?: readonly { exDate: string; cashAmount: number }[];
}

/** The chart of raw bars as Yahoo has it: adjusted for all splits, in single floats. */
export function makeChart(
  symbol: string,
  bars: readonly Bar[],
  { splits = [], dividends = [] }: ChartActions = {},
): ChartBody {
  const later = (date: string) =>
    splits
      .filter(({ exDate }) => exDate > date)
      .reduce((ratio, { splitFrom, splitTo }) => (ratio * splitTo) / splitFrom, 1);
  const column = (read: (bar: Bar, ratio: number) => number) =>
    bars.map((bar) => Math.fround(read(bar, later(bar.session))));
  return {
    meta: { symbol, currency: 'USD', dataGranularity: '1d', exchangeTimezoneName: NEW_YORK },
    timestamp: bars.map(({ session }) => openOf(session)),
    indicators: {
      quote: [
        {
          open: column(({ open }, ratio) => open / ratio),
          high: column(({ high }, ratio) => high / ratio),
          low: column(({ low }, ratio) => low / ratio),
          close: column(({ close }, ratio) => close / ratio),
          volume: bars.map(({ session, volume }) => Math.round(volume * later(session))),
        },
      ],
    },
    events: {
      splits: byOpen(splits, ({ splitFrom: denominator, splitTo: numerator }) => {
        return { numerator, denominator, splitRatio: `${numerator}:${denominator}` };
      }),
      dividends: byOpen(dividends, ({ exDate, cashAmount }) => {
        return { amount: cashAmount / later(exDate) };
      }),
    },
  };
}

const NEW_YORK = 'America/New_York';
const openOf = (session: string) => newYorkInstant(toDay(session), 570) / 1_000;

function byOpen<T extends { exDate: string }>(events: readonly T[], read: (event: T) => Fields) {
  return Object.fromEntries(
    events.map((event) => {
      const date = openOf(event.exDate);
      return [date, { date, ...read(event) }];
    }),
  );
}

const HTML = '<!doctype html><html><body>Will be right back...</body></html>';

/** Ways in which Yahoo misbehaves. */
export const misbehave = {
  html:
    (status = 200): Misbehavior =>
    () =>
      new Response(HTML, { status, headers: { 'content-type': 'text/html' } }),
  text:
    (text: string, status = 200): Misbehavior =>
    () =>
      new Response(text, { status }),
  json:
    (body: unknown, status = 200): Misbehavior =>
    () =>
      Response.json(body, { status }),
  /** As it was recorded. */
  tooMany: (status = 429, retryAfter?: string): Misbehavior => {
    const text = recordedText('errors/429_edge_too_many_requests.txt');
    const headers: HeadersInit = retryAfter === undefined ? {} : { 'retry-after': retryAfter };
    return () => new Response(text, { status, headers });
  },
  recordedError:
    (name: string, status: number): Misbehavior =>
    () =>
      new Response(recordedText(`errors/${name}.json`), { status }),
};
