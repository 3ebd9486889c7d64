import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { newYorkInstant, toDay } from '../src/model/session.ts';
import type { Clock } from '../src/providers/http.ts';

/**
 * A vendor on 127.0.0.1: a real HTTP server that answers as Polygon (Massive) does, in the shapes
 * that were recorded there, and that misbehaves on demand. `bun test/vendor-server.ts --sp500`
 * runs it as a process of its own and prints its address.
 */
export interface VendorServer {
  url: string;
  /** One line a request: method, path and query without the key, and whether the key was right. */
  requests: string[];
  /**
   * Puts a misbehavior in line. The first in line that gives a response is used up by it; one that
   * gives undefined lets the request pass and stays in line.
   */
  respond(next: Misbehavior): void;
  stop(): Promise<void>;
}

/** `honest` is the answer that a well-behaved vendor would give to this request. */
export type Misbehavior = (
  request: Request,
  honest: () => Promise<Response>,
) => Response | undefined | Promise<Response | undefined>;

/** Read at every request: a test may change the object, and with it what the vendor says. */
export interface VendorOptions {
  /** By symbol. To change bars, set another list. */
  bars?: ReadonlyMap<string, readonly VendorBar[]>;
  /** Minutes by symbol, ascending; hours are made of them. */
  minutes?: ReadonlyMap<string, readonly VendorMinute[]>;
  splits?: readonly VendorSplit[];
  dividends?: readonly VendorDividend[];
  /** The list of stocks; made from the symbols of `bars` when missing. */
  tickers?: readonly VendorTicker[];
  /** Changes of symbols by any symbol of whoever had them, in any order. */
  changes?: ReadonlyMap<string, readonly VendorChange[]>;
  /** The right key; undefined: none is asked for. */
  key?: string;
  /** Rows a page, whatever limit was asked for. */
  pageSize?: number;
  /** The plan includes data from this date on ('YYYY-MM-DD'). */
  entitledSince?: string;
  /** Latest date that has been published: a request for today's is refused before end of day. */
  publishedUntil?: string;
  /** A range that ends after this date is refused, as dates of the future are. */
  today?: string;
  /** Whether /stocks/v1/splits and /stocks/v1/dividends answer 404, as before February 2026. */
  isOld?: boolean;
  port?: number;
  /** Makes every answer's bytes at the start, for a benchmark, instead of when first asked for. */
  isPrepared?: boolean;
}

/** `ts` is when the minute begins, epoch ms. */
export interface VendorMinute extends Omit<VendorBar, 'session'> {
  ts: number;
}

/** A missing price is served as null. */
export interface VendorBar {
  session: string;
  open: number | null;
  high: number | null;
  low: number | null;
  close: number | null;
  volume: number | null;
  vwap?: number;
  tradeCount?: number;
}

export interface VendorSplit {
  id?: string;
  ticker: string;
  execution_date: string;
  split_from: number;
  split_to: number;
  adjustment_type?: string;
}

export interface VendorDividend {
  id?: string;
  ticker: string;
  ex_dividend_date: string;
  cash_amount: number;
  currency?: string;
  declaration_date?: string;
  record_date?: string;
  pay_date?: string;
  frequency?: number;
  distribution_type?: string;
}

export interface VendorChange {
  date: string;
  ticker: string;
}

export interface VendorTicker {
  ticker: string;
  name?: string;
  market?: string;
  primary_exchange?: string;
  type?: string;
  active?: boolean;
  list_date?: string;
  delisted_utc?: string;
}

export function startVendorServer(options: VendorOptions = {}): VendorServer {
  const market = new Market(options);
  const requests: string[] = [];
  const line: Misbehavior[] = [];
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: options.port ?? 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const access = checkKey(request, options.key);
      requests.push(`${request.method} ${withoutKey(request.url)} (key ${access})`);
      const honest = async () =>
        access === 'right' ? market.answer(new URL(request.url)) : refuseKey(access);
      for (const [position, misbehave] of line.entries()) {
        const response = await misbehave(request, honest);
        if (!response) continue;
        line.splice(position, 1);
        return response;
      }
      return honest();
    },
  });
  const url = `http://127.0.0.1:${server.port}`;
  market.url = url;
  return { url, requests, respond: (next) => line.push(next), stop: () => server.stop(true) };
}

type Access = 'right' | 'wrong' | 'missing';

function checkKey(request: Request, key: string | undefined): Access {
  if (key === undefined) return 'right';
  const bearer = request.headers.get('authorization')?.replace(/^Bearer /, '');
  const given = bearer ?? new URL(request.url).searchParams.get('apiKey');
  if (given === null) return 'missing';
  return given === key ? 'right' : 'wrong';
}

function refuseKey(access: Access): Response {
  const error = access === 'wrong' ? 'Unknown API Key' : 'API Key was not provided';
  return Response.json({ status: 'ERROR', request_id: REQUEST_ID, error }, { status: 401 });
}

function withoutKey(address: string): string {
  const url = new URL(address);
  url.searchParams.delete('apiKey');
  return url.pathname + url.search;
}

// --------------------------------------------------------------------- misbehaviors

const REQUEST_ID = '6a7e466379af0a71039d60cc78e72282';
const HTML = '<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>';
const PLAN = 'Please upgrade your plan at https://massive.com/pricing';

const refuse = (status: number, body: object, headers: Record<string, string> = {}) =>
  Response.json(body, { status, headers });

const notAuthorized = (message: string) =>
  refuse(403, { status: 'NOT_AUTHORIZED', request_id: REQUEST_ID, message: `${message} ${PLAN}` });

/** The honest answer with its body changed. */
const changed =
  (change: (body: Record<string, unknown>) => void): Misbehavior =>
  async (_request, honest) => {
    const body = (await (await honest()).json()) as Record<string, unknown>;
    change(body);
    return Response.json(body);
  };

/** What vendors, proxies and networks do, ready-made. */
export const misbehave = {
  html: (): Misbehavior => () => new Response(HTML, { headers: { 'content-type': 'text/html' } }),
  truncatedJson: (): Misbehavior => async (_request, honest) => {
    const text = await (await honest()).text();
    return new Response(text.slice(0, text.length / 2));
  },
  /** As fast as it is read. */
  endlessBody: (): Misbehavior => () => {
    const chunk = new Uint8Array(65_536).fill(32);
    return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) }));
  },
  /** A byte every 10 ms: never silent, never done. */
  tricklingBody: (): Misbehavior => () => {
    let timer: Timer;
    return new Response(
      new ReadableStream({
        start(controller) {
          timer = setInterval(() => controller.enqueue(new Uint8Array([32])), 10);
        },
        cancel: () => clearInterval(timer),
      }),
    );
  },
  /** Headers and half of the body, then the connection is gone. */
  reset: (): Misbehavior => async (_request, honest) => {
    const bytes = await (await honest()).bytes();
    let isSent = false;
    return new Response(
      new ReadableStream({
        pull(controller) {
          if (isSent) controller.error();
          else controller.enqueue(bytes.subarray(0, bytes.length / 2));
          isSent = true;
        },
      }),
    );
  },
  hang: (): Misbehavior => () => Promise.withResolvers<Response>().promise,
  tooManyRequests:
    (retryAfter?: string): Misbehavior =>
    () =>
      refuse(
        429,
        {
          status: 'ERROR',
          request_id: REQUEST_ID,
          error:
            "You've exceeded the maximum requests per minute, please wait or upgrade your " +
            'subscription to continue. https://polygon.io/pricing',
        },
        retryAfter === undefined ? {} : { 'retry-after': retryAfter },
      ),
  serverError:
    (status = 500, retryAfter?: string): Misbehavior =>
    () =>
      new Response(HTML, { status, headers: retryAfter ? { 'retry-after': retryAfter } : {} }),
  notEntitled: (): Misbehavior => () => notAuthorized('You are not entitled to this data.'),
  beforeEndOfDay: (): Misbehavior => () => earlyRefusal(),
  nextUrl: (nextUrl: string): Misbehavior =>
    changed((body) => {
      body.next_url = nextUrl;
    }),
  /** The next page is the one that was asked for. */
  repeatingCursor: (): Misbehavior => (request, honest) =>
    misbehave.nextUrl(request.url)(request, honest),
  wrongTicker: (ticker: string): Misbehavior =>
    changed((body) => {
      body.ticker = ticker;
    }),
  adjusted: (): Misbehavior =>
    changed((body) => {
      body.adjusted = true;
    }),
  /** One field of one row is another value. */
  field: (row: number, name: string, value: unknown): Misbehavior =>
    changed((body) => {
      (body.results as Record<string, unknown>[])[row][name] = value;
    }),
  nullPrice: (row = 0): Misbehavior => misbehave.field(row, 'c', null),
  emptyResults: (): Misbehavior =>
    changed((body) => {
      Object.assign(body, { queryCount: 0, resultsCount: 0, results: undefined, count: undefined });
    }),
  delayed: (): Misbehavior =>
    changed((body) => {
      body.status = 'DELAYED';
    }),
};

// --------------------------------------------------------------------------- market

/** The bars of one symbol as JSON bytes, so that a range of them is a part of an array. */
interface Book {
  days: Int32Array;
  /** Rows with a comma between; row i is bytes[starts[i] .. starts[i + 1] - 1). */
  bytes: Uint8Array;
  starts: Int32Array;
}

const encoder = new TextEncoder();

class Market {
  url = '';
  readonly #books = new WeakMap<readonly VendorBar[], Book>();

  constructor(readonly options: VendorOptions) {
    if (options.isPrepared) for (const symbol of options.bars?.keys() ?? []) this.#book(symbol);
  }

  #book(symbol: string): Book | undefined {
    const bars = this.options.bars?.get(symbol);
    if (!bars) return undefined;
    const book = this.#books.get(bars) ?? makeBook(bars);
    this.#books.set(bars, book);
    return book;
  }

  /** What the plan does not include, though the request is right. */
  #refusal(firstDay: number, lastDay: number): Response | undefined {
    const { today, entitledSince, publishedUntil } = this.options;
    if (Number.isNaN(firstDay) || Number.isNaN(lastDay)) return badRequest('Could not parse date');
    if (today !== undefined && lastDay > toDay(today)) return planRefusal();
    if (entitledSince !== undefined && firstDay < toDay(entitledSince)) return planRefusal();
    const isEarly = publishedUntil !== undefined && lastDay > toDay(publishedUntil);
    return isEarly ? earlyRefusal() : undefined;
  }

  answer(url: URL): Response {
    const path = url.pathname.split('/').slice(1).map(decodeURIComponent);
    const route = path.join('/');
    const query = withCursor(url);
    if (/^v2\/aggs\/ticker\/.*\/range\/1\/day\/[^/]+\/[^/]+$/.test(route)) {
      return this.#range(path[3], path[7], path[8], query);
    }
    const span = /^v2\/aggs\/ticker\/.*\/range\/1\/(minute|hour)\/[^/]+\/[^/]+$/.exec(route)?.[1];
    if (span) return this.#intraday(path[3], span, path[7], path[8], query);
    if (route.startsWith('v2/aggs/grouped/locale/us/market/stocks/')) {
      return this.#grouped(path[7], query);
    }
    if (path[0] === 'v3' && path[1] === 'reference' && path[2] === 'tickers') {
      return path.length > 3 ? this.#details(path[3]) : this.#tickers(url, query);
    }
    if (/^vX\/reference\/tickers\/.+\/events$/.test(route)) return this.#events(path[3]);
    const isCurrent = /^stocks\/v1\/(splits|dividends)$/.test(route) && !this.options.isOld;
    if (isCurrent || /^v3\/reference\/(splits|dividends)$/.test(route)) {
      const limitMax = isCurrent ? 5_000 : 1_000;
      return path[2] === 'splits'
        ? this.#list(url, query, limitMax, this.options.splits ?? [], 'execution_date')
        : this.#list(url, query, limitMax, this.options.dividends ?? [], 'ex_dividend_date');
    }
    return notFound('Data not found.');
  }

  #events(ticker: string): Response {
    const changes = this.options.changes?.get(ticker);
    if (!changes) return notFound('Ticker not found.');
    const events = changes.map(({ date, ticker }) => ({
      ...{ ticker_change: { ticker }, type: 'ticker_change', date },
    }));
    const results = { name: `${ticker} Inc.`, composite_figi: `BBG-${ticker}`, events };
    return Response.json({ results, status: 'OK', request_id: REQUEST_ID });
  }

  #range(ticker: string, from: string, to: string, query: URLSearchParams): Response {
    const { pageSize = 50_000 } = this.options;
    const firstDay = parseDay(from);
    const lastDay = parseDay(to);
    const refusal = this.#refusal(firstDay, lastDay);
    if (refusal) return refusal;
    const isAdjusted = query.get('adjusted') !== 'false';
    const book = this.#book(ticker);
    const start = book ? rowsBefore(book.days, firstDay) : 0;
    const end = book ? rowsBefore(book.days, lastDay + 1) : 0;
    const stop = Math.min(end, start + Math.min(pageSize, Number(query.get('limit') ?? 5_000)));
    const head = { ticker, queryCount: stop - start, resultsCount: stop - start };
    if (!book || start === stop) {
      return Response.json({ ...head, adjusted: isAdjusted, status: 'OK', request_id: REQUEST_ID });
    }
    const tail = { status: 'OK', request_id: REQUEST_ID, count: stop - start, next_url: '' };
    if (stop < end) {
      const next = newYorkInstant(book.days[stop], 0);
      const path = `/v2/aggs/ticker/${encodeURIComponent(ticker)}/range/1/day/${next}/${to}`;
      tail.next_url = `${this.url}${path}?cursor=${btoa(query.toString())}`;
    }
    return json(
      `${JSON.stringify({ ...head, adjusted: isAdjusted }).slice(0, -1)},"results":[`,
      book.bytes.subarray(book.starts[start], book.starts[stop] - 1),
      `],${JSON.stringify({ ...tail, next_url: tail.next_url || undefined }).slice(1)}`,
    );
  }

  /** As the vendor does it: the limit counts minutes, also of hours, which it cuts on the clock. */
  #intraday(ticker: string, span: string, from: string, to: string, query: URLSearchParams) {
    const firstDay = parseDay(from);
    const lastDay = parseDay(to);
    const refusal = this.#refusal(firstDay, lastDay);
    if (refusal) return refusal;
    const isContinued = /^\d{12,}$/.test(from);
    const startMs = isContinued ? Number(from) : newYorkInstant(firstDay, 0);
    const endMs = newYorkInstant(lastDay + 1, 0);
    const all = (this.options.minutes?.get(ticker) ?? []).filter(
      ({ ts }) => ts >= startMs && ts < endMs,
    );
    const limit = Math.min(this.options.pageSize ?? 50_000, Number(query.get('limit') ?? 5_000));
    const minutes = all.slice(0, limit);
    const rows = span === 'minute' ? minutes : toHours(minutes);
    const adjusted = query.get('adjusted') !== 'false';
    const head = { ticker, queryCount: minutes.length, resultsCount: rows.length, adjusted };
    const path = `/v2/aggs/ticker/${encodeURIComponent(ticker)}/range/1/${span}`;
    const rest = all[limit];
    const cursor = `?cursor=${btoa(query.toString())}`;
    return Response.json({
      ...head,
      results:
        rows.length === 0
          ? undefined
          : rows.map((row) => JSON.parse(toRow({ ...row, session: '' }, row.ts))),
      status: 'OK',
      request_id: REQUEST_ID,
      count: rows.length,
      next_url: rest && `${this.url}${path}/${rest.ts}/${to}${cursor}`,
    });
  }

  #grouped(date: string, query: URLSearchParams): Response {
    const day = toDay(date);
    const refusal = this.#refusal(day, day);
    if (refusal) return refusal;
    const rows: string[] = [];
    for (const [symbol, list] of this.options.bars ?? []) {
      const found = list.find((bar) => bar.session === date);
      if (found) rows.push(toRow(found, newYorkInstant(day, 16 * 60), symbol));
    }
    const adjusted = query.get('adjusted') !== 'false';
    const counts = { queryCount: rows.length, resultsCount: rows.length, adjusted };
    const tail = { status: 'OK', request_id: REQUEST_ID };
    if (rows.length === 0) return Response.json({ ...counts, ...tail });
    return json(
      `${JSON.stringify(counts).slice(0, -1)},"results":[`,
      encoder.encode(rows.join()),
      `],${JSON.stringify({ ...tail, count: rows.length }).slice(1)}`,
    );
  }

  #list<Row extends { ticker: string }>(
    url: URL,
    query: URLSearchParams,
    limitMax: number,
    all: readonly Row[],
    dateField: keyof Row & string,
  ): Response {
    const limit = Number(query.get('limit') ?? 10);
    if (limit > limitMax) return badRequest(`limit: must be at most ${limitMax}`);
    const found = all
      .filter((row) => query.get('ticker') === null || row.ticker === query.get('ticker'))
      .filter((row) => String(row[dateField]) >= (query.get(`${dateField}.gte`) ?? ''))
      .filter((row) => String(row[dateField]) <= (query.get(`${dateField}.lte`) ?? '9999'))
      .sort((a, b) => (a[dateField] < b[dateField] ? -1 : 1));
    return this.#page(url, query, limit, found);
  }

  #page(url: URL, query: URLSearchParams, limit: number, all: readonly object[]): Response {
    const start = Number(query.get('page_marker') ?? 0);
    const stop = start + Math.min(limit, this.options.pageSize ?? limit);
    const body = { results: all.slice(start, stop), status: 'OK', request_id: REQUEST_ID };
    if (stop >= all.length) return Response.json(body);
    query.set('page_marker', String(stop));
    const next_url = `${this.url}${url.pathname}?cursor=${btoa(query.toString())}`;
    return Response.json({ ...body, next_url });
  }

  #allTickers(): readonly VendorTicker[] {
    const listed = [...(this.options.bars?.keys() ?? [])]
      .sort()
      .map((ticker) => ({ ticker, name: ticker }));
    return this.options.tickers ?? listed;
  }

  #tickers(url: URL, query: URLSearchParams): Response {
    const defaults = { market: 'stocks', locale: 'us', active: true, currency_name: 'usd' };
    const all = this.#allTickers().map((ticker) => ({ ...defaults, ...ticker }));
    const found = all.filter(({ active }) => String(active) === (query.get('active') ?? 'true'));
    return this.#page(url, query, Number(query.get('limit') ?? 100), found);
  }

  #details(ticker: string): Response {
    const results = this.#allTickers().find((row) => row.ticker === ticker);
    if (!results) return notFound('Ticker not found.');
    return Response.json({ results, status: 'OK', request_id: REQUEST_ID });
  }
}

const planRefusal = () => notAuthorized("Your plan doesn't include this data timeframe.");
const earlyRefusal = () => notAuthorized("Attempted to request today's data before end of day.");
const notFound = (message: string) =>
  refuse(404, { status: 'NOT_FOUND', request_id: REQUEST_ID, message });
const badRequest = (error: string) =>
  refuse(400, { status: 'ERROR', request_id: REQUEST_ID, error });

/** The query; of a later page the one of the first, which is in the cursor. */
function withCursor(url: URL): URLSearchParams {
  const cursor = url.searchParams.get('cursor');
  return new URLSearchParams(cursor === null ? url.searchParams : atob(cursor));
}

function toHours(minutes: readonly VendorMinute[]): VendorMinute[] {
  const hours = Map.groupBy(minutes, ({ ts }) => Math.floor(ts / 3_600_000));
  return [...hours].map(([hour, bars]) => ({
    ts: hour * 3_600_000,
    open: bars[0].open,
    high: Math.max(...bars.map(({ high }) => high ?? 0)),
    low: Math.min(...bars.map(({ low }) => low ?? Number.POSITIVE_INFINITY)),
    close: bars[bars.length - 1].close,
    volume: bars.reduce((sum, { volume }) => sum + (volume ?? 0), 0),
    tradeCount: bars.reduce((sum, { tradeCount }) => sum + (tradeCount ?? 0), 0),
  }));
}

/** A day, from a date or from the milliseconds that a next_url has. */
function parseDay(text: string): number {
  if (!/^\d{12,}$/.test(text)) return toDay(text);
  return toDay(new Date(Number(text)).toISOString().slice(0, 10));
}

function rowsBefore(days: Int32Array, day: number): number {
  let low = 0;
  let high = days.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (days[middle] < day) low = middle + 1;
    else high = middle;
  }
  return low;
}

function json(head: string, rows: Uint8Array, tail: string): Response {
  const bytes = Buffer.concat([encoder.encode(head), rows, encoder.encode(tail)]);
  return new Response(bytes, { headers: { 'content-type': 'application/json' } });
}

/** In order of session. The bars as they came are kept as they are when they are in order. */
function sorted(bars: readonly VendorBar[]): readonly VendorBar[] {
  const isAscending = bars.every((bar, i) => i === 0 || bars[i - 1].session <= bar.session);
  return isAscending ? bars : bars.toSorted((a, b) => (a.session < b.session ? -1 : 1));
}

function makeBook(unsorted: readonly VendorBar[]): Book {
  const bars = sorted(unsorted);
  const days = Int32Array.from(bars, (bar) => toDay(bar.session));
  const starts = new Int32Array(bars.length + 1);
  const rows = bars.map((bar, i) => {
    const row = toRow(bar, newYorkInstant(days[i], 0));
    starts[i + 1] = starts[i] + row.length + 1;
    return row;
  });
  return { days, bytes: encoder.encode(rows.join()), starts };
}

/** A row as the vendor writes it: fields in its order, volumes from a million on as 1.2e+06. */
function toRow(bar: VendorBar, t: number, ticker?: string): string {
  const { open, high, low, close, volume, vwap, tradeCount } = bar;
  const fields = [
    ticker === undefined ? '' : `"T":${JSON.stringify(ticker)},`,
    `"v":${volume === null ? null : toGoNumber(volume)},`,
    vwap === undefined ? '' : `"vw":${vwap},`,
    `"o":${open},"c":${close},"h":${high},"l":${low},"t":${t}`,
    tradeCount === undefined ? '' : `,"n":${tradeCount}`,
  ];
  return `{${fields.join('')}}`;
}

function toGoNumber(value: number): string {
  if (value < 1e6) return String(value);
  return value.toExponential().replace(/e\+(\d)$/, 'e+0$1');
}

// --------------------------------------------------------------------------- clocks

/** A clock on which waiting takes no time; `waits` are the milliseconds that were asked for. */
export function makeInstantClock(start: string): Clock & { waits: number[] } {
  let time = Date.parse(start);
  const waits: number[] = [];
  return {
    waits,
    now: () => time,
    async sleep(ms, signal) {
      signal?.throwIfAborted();
      waits.push(ms);
      time += ms;
    },
  };
}

/** A clock that stands still until it is told to go on. */
export class ManualClock implements Clock {
  #time: number;
  #sleepers: { until: number; wake: () => void }[] = [];
  #watchers: { count: number; resolve: () => void }[] = [];

  constructor(start: string) {
    this.#time = Date.parse(start);
  }

  now(): number {
    return this.#time;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { until: this.#time + ms, wake: resolve };
    this.#sleepers.push(sleeper);
    signal?.addEventListener('abort', () => {
      this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
      reject(signal.reason);
    });
    for (const { count, resolve: seen } of this.#watchers) {
      if (this.#sleepers.length >= count) seen();
    }
    return promise;
  }

  /** Resolves once so many are asleep. */
  asleep(count = 1): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#sleepers.length >= count) resolve();
    else this.#watchers.push({ count, resolve });
    return promise;
  }

  advance(ms: number): void {
    this.#time += ms;
    const due = this.#sleepers.filter(({ until }) => until <= this.#time);
    this.#sleepers = this.#sleepers.filter(({ until }) => until > this.#time);
    for (const { wake } of due) wake();
  }
}

// ----------------------------------------------------------------------------- data

/** Real data for tests, which stays outside of the project. */
export const SHARED_DATA = resolve(import.meta.dir, '../../shared/data');

/** 505 symbols, 2013-02-08 to 2018-02-07; the prices that the file leaves empty are null. */
export function loadSp500(): Map<string, VendorBar[]> {
  const path = resolve(SHARED_DATA, 'daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
  if (!existsSync(path)) throw new Error(`the test data is missing: ${path}`);
  const bars = new Map<string, VendorBar[]>();
  const number = (cell: string) => (cell === '' ? null : Number(cell));
  for (const line of readFileSync(path, 'utf8').split('\n').slice(1)) {
    if (line === '') continue;
    const [session, open, high, low, close, volume, name] = line.trim().split(',');
    const list = bars.get(name) ?? [];
    bars.set(name, list);
    list.push({
      session,
      open: number(open),
      high: number(high),
      low: number(low),
      close: number(close),
      volume: number(volume),
    });
  }
  return bars;
}

if (import.meta.main) {
  const option = (name: string) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? undefined : process.argv[at + 1];
  };
  const server = startVendorServer({
    port: Number(option('--port') ?? 0),
    key: option('--key'),
    bars: process.argv.includes('--sp500') ? loadSp500() : undefined,
    isPrepared: true,
  });
  console.log(server.url);
}
