import { errorMessage, ProviderError } from '../errors.ts';
import { type Breaker, RateLimitError } from './breaker.ts';
import { type Clock, type Limiter, parseRetryAfter, readBody } from './http.ts';

/**
 * The way Yahoo is asked. The library yahoo-finance2 holds the session: cookies, the consent pages
 * of Europe, the crumb, the addresses. Measured of 4.0.2: all it sends goes through a `fetch` of
 * ours, hence to any host; of its hundred packages four get into the executable (its own and the
 * cookie jar's, 1.1 MB, loaded in 30 ms when Yahoo is first asked); it writes no file and sends
 * nothing on being loaded. But it takes any text for a crumb and never asks for another, fails a
 * whole answer for one null, and reads the text '1,234' as 1. So the limiter, the breaker and all
 * checks are in our `fetch`, and answers are read here: the library does not get to see them.
 */
export interface YahooSession {
  /** Attempts sent so far, cookies and crumbs included. */
  requestCount(): number;
  /** The JSON of v7/finance/quote. @throws ProviderError; CrumbError when there is no session. */
  fetchQuote(symbols: readonly string[], signal: AbortSignal | undefined): Promise<unknown>;
  /** The JSON of v8/finance/chart, daily rows of [startMs, endMs). @throws ProviderError */
  fetchChart(
    symbol: string,
    span: { startMs: number; endMs: number },
    signal: AbortSignal | undefined,
  ): Promise<unknown>;
  /** Forgets cookies and crumb. */
  renew(): void;
}

/** No cookie or crumb to be had, or (`isRefusal`) those we have are refused. */
export class CrumbError extends ProviderError {
  constructor(
    message: string,
    body?: string,
    readonly isRefusal = false,
  ) {
    super(message, 'unauthorized', body);
  }
}

export interface SessionOptions {
  /** Of the API. When the host is not Yahoo's own, pages for cookies are looked for there too. */
  baseUrl: string;
  timeoutMs: number;
  limiter: Limiter;
  breaker: Breaker;
  clock: Clock;
}

type LibraryFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

interface Library {
  quote(symbols: string[], options: object, module: object): Promise<unknown>;
  chart(symbol: string, options: object, module: object): Promise<unknown>;
}

const BODY_BYTES_MAX = 8 * 1024 * 1024;
const KEPT_BODY_LENGTH = 1_024;
const RETRY_AFTER_MAX_MS = 86_400_000;
const CRUMB_LENGTH_MAX = 64;
const QUOTE_PATH = '/v7/finance/quote';
const CHART_PATH = '/v8/finance/chart/';
const CRUMB_PATH = '/v1/test/getcrumb';
/** What the library is told was answered, whatever was. */
const BLANK = {
  quote: '{"quoteResponse":{"result":[],"error":null}}',
  chart: '{"chart":{"result":[{"meta":{},"indicators":{"quote":[{}]}}],"error":null}}',
};

export function makeYahooSession(options: SessionOptions): YahooSession {
  let library: Promise<Library> | undefined;
  let requests = 0;

  const ask = async (
    call: (library: Library, module: object) => Promise<unknown>,
    signal: AbortSignal | undefined,
  ): Promise<unknown> => {
    library ??= loadLibrary();
    let answer: { value: unknown } | undefined;
    let failure: unknown;
    const fetch: LibraryFetch = async (input, init) => {
      try {
        const url = new URL(input instanceof Request ? input.url : input);
        const reply = await askYahoo(url, init, options, signal, () => requests++);
        if ('value' in reply) answer = reply;
        return 'value' in reply ? new Response(reply.blank) : reply.page;
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    try {
      await call(await library, { fetch, validateResult: false });
    } catch (error) {
      signal?.throwIfAborted();
      if (failure !== undefined) throw failure;
      // Of the answer it has nothing to say; what is left are cookies and crumb.
      if (!answer) throw new CrumbError(`Yahoo gives no session: ${errorMessage(error)}`);
    }
    if (!answer) throw new CrumbError('Yahoo gives no session: nothing was asked');
    return answer.value;
  };

  return {
    requestCount: () => requests,
    fetchQuote: (symbols, signal) =>
      ask((yahoo, module) => yahoo.quote([...symbols], {}, module), signal),
    fetchChart: (symbol, { startMs, endMs }, signal) => {
      const span = { period1: new Date(startMs), period2: new Date(endMs) };
      const query = { ...span, interval: '1d', includePrePost: false, return: 'object' };
      return ask((yahoo, module) => yahoo.chart(encodeURIComponent(symbol), query, module), signal);
    },
    renew: () => {
      library = undefined;
    },
  };
}

/** The library with a cookie jar of its own; its default one is shared by the whole process. */
async function loadLibrary(): Promise<Library> {
  const [{ default: createYahooFinance }, { ExtendedCookieJar }, chart, quote] = await Promise.all([
    import('yahoo-finance2/createYahooFinance'),
    import('yahoo-finance2/lib/cookieJar'),
    import('yahoo-finance2/modules/chart'),
    import('yahoo-finance2/modules/quote'),
  ]);
  const YahooFinance = createYahooFinance({
    modules: { chart: chart.default, quote: quote.default },
  });
  const silent = () => {};
  const logger = { info: silent, warn: silent, error: silent, debug: silent, dir: silent };
  return new YahooFinance({
    cookieJar: new ExtendedCookieJar(),
    logger,
    versionCheck: false, // it would ask the package registry whenever an answer is odd
  }) as unknown as Library;
}

// ----------------------------------------------------------------------- one request

type Asked =
  | { value: unknown /** For the library. */; blank: string }
  /** A page on the way to cookie and crumb: the library reads its headers. */
  | { page: Response };

async function askYahoo(
  url: URL,
  init: RequestInit | undefined,
  options: SessionOptions,
  signal: AbortSignal | undefined,
  onSend: () => void,
): Promise<Asked> {
  const target = toTarget(url, options.baseUrl);
  return options.breaker.run(async () => {
    await options.limiter.take(signal);
    onSend();
    const { response, body } = await send(target, init, options, signal);
    checkStatus(url, response, body, options.clock);
    const { pathname } = url;
    const kind = pathname === QUOTE_PATH ? 'quote' : 'chart';
    if (kind === 'quote' || pathname.startsWith(CHART_PATH)) {
      return { value: parseJson(url, response, body), blank: BLANK[kind] };
    }
    if (pathname === CRUMB_PATH) checkCrumb(url, response, body);
    const { status } = response;
    const page = new Response(status === 204 || status === 304 ? null : body, { status });
    for (const name of ['location', 'set-cookie']) {
      const values = name === 'location' ? [response.headers.get(name)] : setCookies(response);
      for (const value of values) if (value !== null) page.headers.append(name, value);
    }
    return { page };
  });
}

const setCookies = ({ headers }: Response): string[] => headers.getSetCookie();

const isYahoo = (host: string) => host === 'yahoo.com' || host.endsWith('.yahoo.com');

/**
 * Where a request really goes: the API to the base URL, and all else as well, below its path,
 * unless it is Yahoo's own.
 * @throws ProviderError when a redirect leads out of Yahoo.
 */
export function toTarget(url: URL, baseUrl: string): URL {
  const base = new URL(baseUrl);
  const isApi = /^query\d\.finance\.yahoo\.com$/.test(url.hostname);
  if (isApi || !isYahoo(base.hostname)) {
    const path = `${base.pathname.replace(/\/$/, '')}${url.pathname}${url.search}`;
    return new URL(path, base.origin);
  }
  if (url.protocol === 'https:' && isYahoo(url.hostname)) return url;
  throw new CrumbError(`Yahoo gives no session: it redirects to ${url.host}`);
}

const describe = (url: URL) => `Yahoo ${url.pathname}`;

class TimeoutError extends Error {}

/** Headers and body together have `timeoutMs`. The library's own headers carry the cookies. */
async function send(
  url: URL,
  init: RequestInit | undefined,
  { timeoutMs }: SessionOptions,
  signal: AbortSignal | undefined,
): Promise<{ response: Response; body: string }> {
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(new TimeoutError()), timeoutMs);
  const signals = signal ? [timer.signal, signal] : [timer.signal];
  const abort = AbortSignal.any(signals);
  const { method, headers, body: form } = init ?? {};
  try {
    const request = { method, headers, body: form, redirect: 'manual', signal: abort } as const;
    const response = await fetch(url, request);
    const body = await readBody(response, BODY_BYTES_MAX);
    if (body !== undefined) return { response, body };
    throw new ProviderError(`${describe(url)}: the answer is too large`, 'garbage');
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ProviderError) throw error;
    const { code, name } = error as NodeJS.ErrnoException;
    const why = timer.signal.aborted
      ? `no complete answer within ${timeoutMs} ms`
      : `the connection failed (${code ?? name})`;
    throw new ProviderError(`${describe(url)}: ${why}`, 'unavailable');
  } finally {
    clearTimeout(timeout);
  }
}

const keep = (body: string) => body.slice(0, KEPT_BODY_LENGTH);

/** "Edge: Too Many Requests" comes with any status, also 200. */
const isTooMany = (body: string) => body.length < 2_000 && /too many requests/i.test(body);

/** @throws ProviderError for what has the same meaning whatever was asked for. */
function checkStatus(url: URL, { status, headers }: Response, body: string, clock: Clock): void {
  const isCrumb = url.pathname === CRUMB_PATH;
  if (status === 429 || (isTooMany(body) && !isCrumb)) {
    const retryAfter = parseRetryAfter(headers.get('retry-after'), clock.now(), RETRY_AFTER_MAX_MS);
    const message = `${describe(url)}: answered ${status}, Too Many Requests`;
    throw new RateLimitError(message, retryAfter, keep(body));
  }
  if (status >= 500 || status === 408) {
    throw new ProviderError(`${describe(url)}: answered ${status}`, 'unavailable', keep(body));
  }
}

/** @throws CrumbError when the text is none. */
function checkCrumb(url: URL, { status }: Response, body: string): void {
  const crumb = body.trim();
  const wrong =
    (status !== 200 && `answered ${status}${describeError(body)}`) ||
    (crumb === '' && 'the crumb is empty') ||
    (isTooMany(crumb) && 'the crumb is "Too Many Requests"') ||
    (crumb.includes('<') && 'the crumb is HTML') ||
    (crumb.startsWith('{') && `the crumb is JSON${describeError(body)}`) ||
    ((crumb.length > CRUMB_LENGTH_MAX || /\s/.test(crumb)) && 'the crumb is some other text');
  if (wrong) throw new CrumbError(`${describe(url)}: ${wrong}`, keep(body));
}

/** Yahoo's own sentence, from any of its error bodies. */
function describeError(body: string): string {
  try {
    const [answer] = Object.values(JSON.parse(body) as Record<string, unknown>);
    const { error } = answer as { error?: { description?: unknown } };
    return typeof error?.description === 'string' ? `, ${error.description}` : '';
  } catch {
    return '';
  }
}

/** The JSON of an answer of the API. @throws ProviderError */
function parseJson(url: URL, { status }: Response, body: string): unknown {
  const said = `${describe(url)}: answered ${status}${describeError(body)}`;
  if (status === 401 || status === 403) throw new CrumbError(said, keep(body), true);
  if (status === 404) throw new ProviderError(said, 'not_found', keep(body));
  if (status === 400 || status === 422) throw new ProviderError(said, 'bad_request', keep(body));
  if (status !== 200) throw new ProviderError(said, 'unavailable', keep(body));
  try {
    return JSON.parse(body);
  } catch {
    const what = /^\s*</.test(body) ? 'HTML' : 'no JSON, or only the beginning of it';
    throw new ProviderError(`${describe(url)}: the answer is ${what}`, 'garbage', keep(body));
  }
}
