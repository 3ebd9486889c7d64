// https://massive.com/docs/rest/stocks (Massive was Polygon.io until 30 October 2025)
import { z } from 'zod';
import { InputError, ProviderError } from '../errors.ts';
import { type BarColumns, firstBars, makeBars, type RejectedRow } from '../model/bar.ts';
import { type Dividend, type Split, toWholeRatio } from '../model/corporate-action.ts';
import { firstIntradayBars, INTRADAY_MS, makeIntradayBars } from '../model/intraday.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import {
  type Clock,
  type HttpClient,
  makeHttpClient,
  type ProviderLog,
  type Refusal,
  systemClock,
} from './http.ts';
import type {
  ActionQuery,
  ActionsAnswer,
  BarsAnswer,
  GroupedBarsAnswer,
  IntradayAnswer,
  IntradayRange,
  ListedSymbol,
  Provider,
  SymbolChanges,
} from './provider.ts';

export interface PolygonOptions {
  baseUrl: string;
  apiKey: string;
  requestsPerMinute: number;
  timeoutMs: number;
  clock?: Clock;
  log?: ProviderLog;
}

/** One company under two names: a page of the one may go on at the other. */
const VENDOR_HOSTS = ['api.massive.com', 'api.polygon.io'];
/** The longest list there is, every dividend since 2003 at 1,000 a page, takes about 700. */
const PAGES_MAX = 1_000;
const RAW_LENGTH_MAX = 1_000;

/**
 * Polygon.io, now Massive: unadjusted bars of days, hours and minutes, splits, dividends and the
 * list of stocks.
 * @throws InputError when the key cannot be one.
 */
export function makePolygon(options: PolygonOptions): Provider {
  const { apiKey, requestsPerMinute, timeoutMs, clock = systemClock, log } = options;
  if (!/^[\x21-\x7e]+$/.test(apiKey)) {
    throw new InputError(
      'the Polygon key is empty, or has spaces or other characters that no key has',
      'POLYGON_API_KEY',
    );
  }
  const http = makeHttpClient({
    headers: { authorization: `Bearer ${apiKey}`, accept: 'application/json' },
    secrets: [apiKey],
    requestsPerMinute,
    timeoutMs,
    parseRefusal,
    clock,
    log,
  });
  const api: Api = { http, baseUrl: options.baseUrl.replace(/\/+$/, ''), missing: new Set() };
  const today = () => newYorkDay(clock.now());
  return {
    name: 'polygon',
    isSynthetic: false,
    requestsPerMinute,
    requestCount: http.requestCount,
    async fetchBars({ symbol, firstSession, lastSession }, signal) {
      // A date of the future is refused as if the plan did not include it.
      const range = {
        firstDay: toDay(firstSession),
        lastDay: Math.min(toDay(lastSession), today()),
      };
      if (!(range.firstDay <= range.lastDay)) return { bars: makeBars(0), rejected: [] };
      return toBars(symbol, await fetchRange(api, symbol, 'day', range, signal), range);
    },
    async fetchIntradayBars(asked, signal) {
      const lastDay = Math.min(toDay(asked.lastSession), today());
      const range = { firstDay: toDay(asked.firstSession), lastDay };
      if (!(range.firstDay <= lastDay)) return { bars: makeIntradayBars(0), rejected: [] };
      return fetchIntraday(api, asked, range, clock.now(), signal);
    },
    async fetchGroupedBars(session, signal) {
      if (!(toDay(session) <= today())) return { bars: makeBars(0), rejected: [], symbols: [] };
      return fetchGrouped(api, session, signal);
    },
    fetchSplits: (query, signal) => fetchActions(api, SPLITS, query, signal),
    fetchDividends: (query, signal) => fetchActions(api, DIVIDENDS, query, signal),
    fetchSymbol: (symbol, signal) => fetchSymbol(api, symbol, signal),
    fetchSymbolChanges: (symbol, signal) => fetchSymbolChanges(api, symbol, signal),
    fetchSymbols: (signal) => fetchSymbols(api, signal),
  };
}

interface Api {
  http: HttpClient;
  baseUrl: string;
  /** Endpoints that this host does not have: their predecessors are asked. */
  missing: Set<string>;
}

// ------------------------------------------------------------------------- requests

function toUrl({ baseUrl }: Api, path: string, query: Record<string, string | undefined>): URL {
  const url = new URL(baseUrl + path);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** A symbol as a part of a path; '.' and '..' would name another path, whatever their encoding. */
function toSegment(symbol: string): string {
  if (!/^\.{0,2}$/.test(symbol) && symbol.isWellFormed()) return encodeURIComponent(symbol);
  throw new ProviderError(`${JSON.stringify(symbol)} is no symbol`, 'bad_request');
}

/** An answer that is JSON, but not what is documented. A next_url in it may hold our key. */
function garbage({ http }: Api, message: string, body: unknown): ProviderError {
  const kept = http.redact(JSON.stringify(body)).slice(0, 1_024);
  return new ProviderError(http.redact(message), 'garbage', kept, 200);
}

/** The first thing that is wrong, with the value that is: 'c is null: expected number'. */
function describeIssue({ issues: [issue] }: z.ZodError, value: unknown): string {
  let found = value;
  for (const key of issue.path) found = (found as Record<PropertyKey, unknown> | undefined)?.[key];
  const name = issue.path.length === 0 ? 'the row' : issue.path.join('.');
  const what = found === undefined ? 'missing' : JSON.stringify(found).slice(0, 100);
  return `${name} is ${what}: ${issue.message.replace('Invalid input: ', '')}`;
}

function parseEnvelope<T>(api: Api, schema: z.ZodType<T>, url: URL, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw garbage(api, `${url.pathname}: ${describeIssue(parsed.error, body)}`, body);
}

async function* fetchPages<T extends Page>(
  api: Api,
  first: URL,
  schema: z.ZodType<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  const seen = new Set<string>();
  for (let url: URL | undefined = first; url !== undefined; ) {
    seen.add(url.href);
    const page: T = parseEnvelope(api, schema, url, await api.http.fetchJson(url, signal));
    yield page;
    if (!page.next_url) return;
    url = parseNextUrl(page.next_url, api.baseUrl);
    const problem = describeLoop(url, seen);
    if (problem) throw garbage(api, `${first.pathname}: ${problem}`, { next_url: page.next_url });
  }
}

function describeLoop(next: URL | undefined, seen: ReadonlySet<string>): string | undefined {
  if (!next) return 'the next page is not on the same host, or its address is malformed';
  if (seen.has(next.href)) return 'the next page is one that was there before';
  return seen.size < PAGES_MAX ? undefined : `there are more than ${PAGES_MAX} pages`;
}

/**
 * The address of a next page, without a key; undefined when it is malformed or on a host that is
 * not the vendor's: our key goes with every request.
 */
export function parseNextUrl(nextUrl: string, baseUrl: string): URL | undefined {
  const base = new URL(baseUrl);
  const url = URL.parse(nextUrl);
  const isVendor = (host: URL) => host.protocol === 'https:' && VENDOR_HOSTS.includes(host.host);
  if (!url || !(url.origin === base.origin || (isVendor(url) && isVendor(base)))) return undefined;
  url.username = '';
  url.password = '';
  url.hash = '';
  for (const name of [...url.searchParams.keys()]) {
    if (name.toLowerCase() === 'apikey') url.searchParams.delete(name);
  }
  return url;
}

const UNKNOWN_KEY = /unknown api key|api key was not provided/i;
const TOO_EARLY = /before end of day/i;

function parseRefusal(status: number, body: string): Refusal {
  const { error, message = error } = RefusalBody.safeParse(parseJson(body)).data ?? {};
  // A 403 that is not the vendor's own (a proxy, a firewall) says nothing about the plan.
  if (message === undefined) return status === 403 ? { kind: 'unavailable' } : {};
  if (status === 403 && UNKNOWN_KEY.test(message)) return { kind: 'unauthorized', message };
  if (status === 403 && TOO_EARLY.test(message)) return { kind: 'too_early', message };
  return { message };
}

// ----------------------------------------------------------------------------- rows

interface Rows<Row> {
  rows: Row[];
  rejected: RejectedRow[];
}

/** One parse for all rows when all are good, as they are; else one for each, to keep the good. */
function parseRows<Row>(
  { row, rows }: RowSchemas<Row>,
  results: readonly unknown[],
  reject: (value: unknown, reason: string) => RejectedRow,
): Rows<Row> {
  const all = rows.safeParse(results);
  if (all.success) return { rows: all.data, rejected: [] };
  const good: Row[] = [];
  const rejected: RejectedRow[] = [];
  for (const value of results) {
    const parsed = row.safeParse(value);
    if (parsed.success) good.push(parsed.data);
    else rejected.push(reject(value, describeIssue(parsed.error, value)));
  }
  return { rows: good, rejected };
}

function toRejected(symbol: unknown, session: unknown, reason: string, row: unknown): RejectedRow {
  return {
    symbol: typeof symbol === 'string' ? symbol : '',
    session: typeof session === 'string' && !Number.isNaN(toDay(session)) ? session : undefined,
    reason,
    raw: JSON.stringify(row).slice(0, RAW_LENGTH_MAX),
  };
}

/** The session a `t` falls on as a date; undefined when it is no time at all. */
function toSession(t: unknown): string | undefined {
  const isInstant = typeof t === 'number' && t >= 0 && t < 1e14;
  return isInstant ? toDate(newYorkDay(t)) : undefined;
}

// ----------------------------------------------------------------------------- bars

interface DayRange {
  firstDay: number;
  lastDay: number;
}

/** The rows of a range, whatever they turn out to be. Dates are New York's. */
async function fetchRange(
  api: Api,
  symbol: string,
  span: 'day' | 'hour' | 'minute',
  range: DayRange,
  signal: AbortSignal | undefined,
): Promise<Rows<Aggregate>> {
  const dates = `${toDate(range.firstDay)}/${toDate(range.lastDay)}`;
  const path = `/v2/aggs/ticker/${toSegment(symbol)}/range/1/${span}/${dates}`;
  const url = toUrl(api, path, { adjusted: 'false', sort: 'asc', limit: '50000' });
  const found: Rows<Aggregate> = { rows: [], rejected: [] };
  let lastT = Number.NEGATIVE_INFINITY;
  for await (const page of fetchPages(api, url, RangePage, signal)) {
    if (page.ticker !== symbol) {
      throw garbage(api, `asked for ${symbol}, answered for ${page.ticker}`, page);
    }
    const { rows, rejected } = parseAggregates(symbol, page.results ?? []);
    const t = rows.reduce((latest, row) => Math.max(latest, row.t), Number.NEGATIVE_INFINITY);
    if (rows.length === 0 ? page.next_url : t <= lastT) {
      throw garbage(api, `${symbol}: a page does not go on where the one before it ended`, page);
    }
    lastT = t;
    found.rows = found.rows.length === 0 ? rows : found.rows.concat(rows);
    found.rejected = found.rejected.concat(rejected);
  }
  return found;
}

async function fetchIntraday(
  api: Api,
  { symbol, timeframe }: IntradayRange,
  range: DayRange,
  now: number,
  signal: AbortSignal | undefined,
): Promise<IntradayAnswer> {
  const span = timeframe === '1m' ? 'minute' : 'hour';
  const { rows, rejected } = await fetchRange(api, symbol, span, range, signal);
  const bars = makeIntradayBars(rows.length);
  let size = 0;
  for (const row of rows) {
    // What still grows is no bar yet; it comes whole when it is asked for again.
    if (row.t + INTRADAY_MS[timeframe] > now) continue;
    const day = newYorkDay(row.t);
    const isAsked = day >= range.firstDay && day <= range.lastDay;
    if (!isAsked || row.t % INTRADAY_MS[timeframe] !== 0) {
      const session = toSession(row.t);
      const what = isAsked ? `does not begin a ${span}` : 'is not what was asked for';
      rejected.push(toRejected(symbol, session, `t is ${row.t}: it ${what}`, row));
      continue;
    }
    bars.ts[size] = row.t;
    putBar(bars, size++, day, row);
  }
  return { bars: size === rows.length ? bars : firstIntradayBars(bars, size), rejected };
}

function putBar(bars: BarColumns, i: number, day: number, row: Aggregate): void {
  bars.session[i] = day;
  bars.open[i] = row.o;
  bars.high[i] = row.h;
  bars.low[i] = row.l;
  bars.close[i] = row.c;
  bars.volume[i] = row.v;
  if (row.vw != null) bars.vwap[i] = row.vw;
  if (row.n != null) bars.tradeCount[i] = row.n;
}

/** The rows of a range answer, checked. */
export function parseAggregates(symbol: string, results: readonly unknown[]): Rows<Aggregate> {
  return parseRows(AGGREGATES, results, (value, reason) =>
    toRejected(symbol, toSession((value as Partial<Aggregate> | null)?.t), reason, value),
  );
}

async function fetchGrouped(
  api: Api,
  session: string,
  signal: AbortSignal | undefined,
): Promise<GroupedBarsAnswer> {
  const path = `/v2/aggs/grouped/locale/us/market/stocks/${session}`;
  const url = toUrl(api, path, { adjusted: 'false', include_otc: 'false' });
  const page = parseEnvelope(api, GroupedPage, url, await api.http.fetchJson(url, signal));
  const found = parseRows(GROUPED_AGGREGATES, page.results ?? [], (value, reason) => {
    const { T, t } = (value ?? {}) as Partial<GroupedAggregate>;
    return toRejected(T, toSession(t), reason, value);
  });
  const day = toDay(session);
  const symbols: string[] = [];
  const answer = toBars('', found, { firstDay: day, lastDay: day }, symbols);
  return { ...answer, symbols };
}

/**
 * Bars in columns; rows outside of the range are rejected. `t` is midnight in New York in a range
 * answer and 16:00 in a grouped one: the date there is the session in either case.
 * @param symbols takes the symbol of each bar when the rows have their own.
 */
export function toBars(
  symbol: string,
  { rows, rejected }: Rows<Aggregate | GroupedAggregate>,
  { firstDay, lastDay }: DayRange,
  symbols?: string[],
): BarsAnswer {
  const bars = makeBars(rows.length);
  let size = 0;
  for (const row of rows) {
    const day = newYorkDay(row.t);
    const rowSymbol = 'T' in row ? row.T : symbol;
    if (!(day >= firstDay && day <= lastDay)) {
      const session = toSession(row.t);
      const found = session === undefined ? `${row.t}` : `${row.t}, session ${session}`;
      const reason = `t is ${found}: not what was asked for`;
      rejected.push(toRejected(rowSymbol, session, reason, row));
      continue;
    }
    putBar(bars, size++, day, row);
    symbols?.push(rowSymbol);
  }
  return { bars: size === rows.length ? bars : firstBars(bars, size), rejected };
}

// ---------------------------------------------------------------- corporate actions

/** How splits or dividends are asked for and read. */
interface ActionEndpoint<Row, Action> {
  path: string;
  /** Answers on hosts that do not have `path`; deprecated in February 2026. */
  deprecatedPath: string;
  dateField: string;
  schemas: RowSchemas<Row>;
  exDate: (row: Partial<Row>) => string | undefined;
  parse: (row: Row) => Action;
}

async function fetchActions<Row extends { ticker: string }, Action>(
  api: Api,
  endpoint: ActionEndpoint<Row, Action>,
  query: ActionQuery,
  signal: AbortSignal | undefined,
): Promise<ActionsAnswer<Action>> {
  if (!api.missing.has(endpoint.path)) {
    const order = { limit: '5000', sort: `${endpoint.dateField}.asc` };
    try {
      return await fetchActionPages(api, endpoint, endpoint.path, order, query, signal);
    } catch (error) {
      if (!(error instanceof ProviderError) || error.kind !== 'not_found') throw error;
      api.missing.add(endpoint.path);
    }
  }
  const order = { limit: '1000', sort: endpoint.dateField, order: 'asc' };
  return fetchActionPages(api, endpoint, endpoint.deprecatedPath, order, query, signal);
}

async function fetchActionPages<Row extends { ticker: string }, Action>(
  api: Api,
  { dateField, schemas, exDate, parse }: ActionEndpoint<Row, Action>,
  path: string,
  order: Record<string, string>,
  { symbol, firstExDate, lastExDate }: ActionQuery,
  signal: AbortSignal | undefined,
): Promise<ActionsAnswer<Action>> {
  const range = { [`${dateField}.gte`]: firstExDate, [`${dateField}.lte`]: lastExDate };
  const url = toUrl(api, path, { ticker: symbol, ...range, ...order });
  const answer: ActionsAnswer<Action> = { actions: [], rejected: [] };
  for await (const page of fetchPages(api, url, ListPage, signal)) {
    const { rows, rejected } = parseRows(schemas, page.results ?? [], (value, reason) => {
      const row = (value ?? {}) as Partial<Row>;
      return toRejected(row.ticker, exDate(row), reason, value);
    });
    answer.rejected.push(...rejected);
    for (const row of rows) {
      const date = exDate(row) ?? '';
      const isAsked = symbol === undefined || row.ticker === symbol;
      if (isAsked && date >= firstExDate && date <= lastExDate) answer.actions.push(parse(row));
      else answer.rejected.push(toRejected(row.ticker, date, 'not what was asked for', row));
    }
  }
  return answer;
}

function parseSplit(row: SplitRow): Split {
  return {
    kind: 'split',
    providerActionId: row.id ?? `${row.ticker} ${row.execution_date}`,
    symbol: row.ticker,
    exDate: row.execution_date,
    ...toWholeRatio(row.split_from, row.split_to),
    subtype: row.adjustment_type ?? null,
  };
}

function parseDividend(row: DividendRow): Dividend {
  return {
    kind: 'dividend',
    providerActionId:
      row.id ?? `${row.ticker} ${row.ex_dividend_date} ${row.dividend_type} ${row.cash_amount}`,
    symbol: row.ticker,
    exDate: row.ex_dividend_date,
    cashAmount: row.cash_amount,
    currency: row.currency ?? null,
    declaredDate: row.declaration_date ?? null,
    recordDate: row.record_date ?? null,
    payDate: row.pay_date ?? null,
    frequency: row.frequency ?? null,
    subtype: row.distribution_type ?? row.dividend_type ?? null,
  };
}

// -------------------------------------------------------------------------- symbols

async function fetchSymbol(
  api: Api,
  symbol: string,
  signal: AbortSignal | undefined,
): Promise<ListedSymbol | undefined> {
  const url = toUrl(api, `/v3/reference/tickers/${toSegment(symbol)}`, {});
  try {
    const { results } = parseEnvelope(api, DetailsPage, url, await api.http.fetchJson(url, signal));
    if (results.ticker === symbol) return parseTicker(results);
    throw garbage(api, `asked for ${symbol}, answered for ${results.ticker}`, results);
  } catch (error) {
    if (error instanceof ProviderError && error.kind === 'not_found') return undefined;
    throw error;
  }
}

/** The vendor's records begin then: symbols of long before are dated so. */
const CHANGES_SINCE = '2003-09-10';

/** The endpoint is experimental, and comes newest first. */
async function fetchSymbolChanges(
  api: Api,
  symbol: string,
  signal: AbortSignal | undefined,
): Promise<SymbolChanges | undefined> {
  const path = `/vX/reference/tickers/${toSegment(symbol)}/events`;
  const url = toUrl(api, path, { types: 'ticker_change' });
  try {
    const body = await api.http.fetchJson(url, signal);
    const { results } = parseEnvelope(api, EventsPage, url, body);
    const changes = results.events
      .filter(({ type }) => type === 'ticker_change')
      .map(({ date, ticker_change }) => ({ symbol: ticker_change?.ticker ?? '', since: date }))
      .sort((a, b) => (a.since < b.since ? -1 : 1));
    const isTwice = changes.some(({ since }, i) => i > 0 && since === changes[i - 1].since);
    const isNamed = changes.every((change) => change.symbol !== '');
    if (isTwice || !isNamed || !changes.some((change) => change.symbol === symbol)) {
      throw garbage(api, `${path}: the changes are not those of ${symbol}, each of a day`, body);
    }
    const { name = null, composite_figi: figi = null } = results;
    return { name, figi, changes, knownSince: CHANGES_SINCE };
  } catch (error) {
    if (error instanceof ProviderError && error.kind === 'not_found') return undefined;
    throw error;
  }
}

async function* fetchSymbols(
  api: Api,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedSymbol[], void, undefined> {
  const query = { market: 'stocks', active: 'true', limit: '1000', sort: 'ticker', order: 'asc' };
  const url = toUrl(api, '/v3/reference/tickers', query);
  for await (const page of fetchPages(api, url, TickersPage, signal)) {
    yield (page.results ?? []).map(parseTicker);
  }
}

function parseTicker(row: TickerRow): ListedSymbol {
  return {
    symbol: row.ticker,
    name: row.name ?? null,
    exchange: row.primary_exchange ?? null,
    assetType: row.type ?? null,
    listedOn: row.list_date ?? null,
    // Midnight of the last day, in New York or in UTC: the date is the same.
    delistedOn: row.delisted_utc?.slice(0, 10) ?? null,
  };
}

// ------------------------------------------------------------------ the vendor's own

/** Rows are checked all at once and, only when that fails, one by one. */
interface RowSchemas<Row> {
  row: z.ZodType<Row>;
  rows: z.ZodType<Row[]>;
}

const rowSchemas = <Row>(row: z.ZodType<Row>): RowSchemas<Row> => ({ row, rows: z.array(row) });

const isoDate = z.string().refine((text) => !Number.isNaN(toDay(text)), 'expected YYYY-MM-DD');

/** `results` and `next_url` are left out when there are none. Plans with delay get DELAYED. */
const page = { status: z.enum(['OK', 'DELAYED']), next_url: z.string().nullish() };
const results = z.array(z.unknown()).nullish();

interface Page {
  next_url?: string | null | undefined;
}

const RangePage = z.object({
  ...page,
  ticker: z.string(),
  adjusted: z.literal(false).optional(),
  results,
});

const GroupedPage = z.object({ ...page, adjusted: z.literal(false).optional(), results });

/** `n` and `vw` are left out for bars that have none; `v` has a fraction since February 2026. */
const Aggregate = z.object({
  o: z.number(),
  h: z.number(),
  l: z.number(),
  c: z.number(),
  v: z.number(),
  t: z.number(),
  vw: z.number().nullish(),
  n: z.number().nullish(),
});
type Aggregate = z.infer<typeof Aggregate>;
const AGGREGATES = rowSchemas(Aggregate);

const GroupedAggregate = z.object({ T: z.string().min(1), ...Aggregate.shape });
type GroupedAggregate = z.infer<typeof GroupedAggregate>;
const GROUPED_AGGREGATES = rowSchemas(GroupedAggregate);

const ListPage = z.object({ ...page, results });

/** `id` is missing in old answers only. */
const SplitRow = z.object({
  id: z.string().min(1).optional(),
  ticker: z.string().min(1),
  execution_date: isoDate,
  split_from: z.number().positive(),
  split_to: z.number().positive(),
  adjustment_type: z.string().nullish(),
});
type SplitRow = z.infer<typeof SplitRow>;

const SPLITS: ActionEndpoint<SplitRow, Split> = {
  path: '/stocks/v1/splits',
  deprecatedPath: '/v3/reference/splits',
  dateField: 'execution_date',
  schemas: rowSchemas(SplitRow),
  exDate: (row) => row.execution_date,
  parse: parseSplit,
};

/**
 * `frequency` 0 is a single payment. `distribution_type` (recurring, special) is in current answers
 * only, `dividend_type` (CD, SC) in deprecated ones.
 */
const DividendRow = z.object({
  id: z.string().min(1).optional(),
  ticker: z.string().min(1),
  ex_dividend_date: isoDate,
  cash_amount: z.number().nonnegative(),
  currency: z.string().nullish(),
  declaration_date: isoDate.nullish(),
  record_date: isoDate.nullish(),
  pay_date: isoDate.nullish(),
  frequency: z.int().nullish(),
  dividend_type: z.string().nullish(),
  distribution_type: z.string().nullish(),
});
type DividendRow = z.infer<typeof DividendRow>;

const DIVIDENDS: ActionEndpoint<DividendRow, Dividend> = {
  path: '/stocks/v1/dividends',
  deprecatedPath: '/v3/reference/dividends',
  dateField: 'ex_dividend_date',
  schemas: rowSchemas(DividendRow),
  exDate: (row) => row.ex_dividend_date,
  parse: parseDividend,
};

const TickerRow = z.object({
  ticker: z.string().min(1),
  name: z.string().nullish(),
  primary_exchange: z.string().nullish(),
  type: z.string().nullish(),
  list_date: isoDate.nullish(),
  delisted_utc: z.iso.datetime({ offset: true }).nullish(),
});
type TickerRow = z.infer<typeof TickerRow>;

/** Other types of events may be added; `composite_figi` and `cik` are often missing. */
const EventsPage = z.object({
  status: page.status,
  results: z.object({
    name: z.string().nullish(),
    composite_figi: z.string().nullish(),
    events: z.array(
      z.object({
        type: z.string(),
        date: isoDate,
        ticker_change: z.object({ ticker: z.string() }).nullish(),
      }),
    ),
  }),
});

const TickersPage = z.object({ ...page, results: z.array(TickerRow).nullish() });
const DetailsPage = z.object({ status: page.status, results: TickerRow });

/** `error` beside status ERROR, `message` beside NOT_AUTHORIZED and NOT_FOUND, and alone. */
const RefusalBody = z.object({ error: z.string().optional(), message: z.string().optional() });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
