import pLimit from 'p-limit';
import { ProviderError, type ProviderErrorKind } from '../errors.ts';

/** Time, as far as limits and waits need it; a test passes its own. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /** Rejects with the signal's reason as soon as it fires. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export type ProviderLog = (level: 'DEBUG' | 'WARNING', message: string, fields?: object) => void;

/** What a vendor means by an answer that is not 200. */
export interface Refusal {
  kind?: ProviderErrorKind;
  /** The vendor's own sentence. */
  message?: string;
}

export interface HttpOptions {
  headers: Record<string, string>;
  /** Never shown: taken out of every message and every body that is kept. */
  secrets: readonly string[];
  /** Requests in any 60 seconds; undefined: no limit. */
  requestsPerMinute: number | undefined;
  /** For one attempt, from its first byte to the last of the body. */
  timeoutMs: number;
  parseRefusal?: (status: number, body: string) => Refusal;
  clock?: Clock;
  log?: ProviderLog;
  random?: () => number;
  bodyBytesMax?: number;
}

export interface HttpClient {
  /** Attempts sent so far: what the vendor counts. */
  requestCount(): number;
  /**
   * The JSON at a URL, asked for as often as it takes.
   * @throws ProviderError, or the signal's reason when it fires.
   */
  fetchJson(url: URL, signal?: AbortSignal): Promise<unknown>;
  /** The text without the secrets. */
  redact(text: string): string;
}

const ATTEMPTS_MAX = 5;
/** An answer that cannot be read is asked for twice more: it may have been cut on its way. */
const GARBAGE_ATTEMPTS_MAX = 3;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
const RETRY_AFTER_MAX_MS = 300_000;
/** The minute, and a quarter of a second that one request may travel longer than a later one. */
const WINDOW_MS = 60_250;
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const KEPT_BODY_LENGTH = 1_024;
const CONCURRENCY = 8;

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    return untilAborted(promise, signal).finally(() => clearTimeout(timer));
  },
};

/** The way any vendor is asked: limited, retried, timed, and with the key kept out of sight. */
export function makeHttpClient(options: HttpOptions): HttpClient {
  const { clock = systemClock, random = Math.random, log } = options;
  const limiter = makeLimiter(options.requestsPerMinute, clock);
  const slots = pLimit(CONCURRENCY);
  let requests = 0;

  async function attempt(url: URL, signal: AbortSignal | undefined): Promise<Outcome> {
    await limiter.take(signal);
    requests++;
    const start = clock.now();
    const outcome = await send(url, options, signal).then(
      (reply) => parseReply(url, reply, options, clock),
      (error: unknown) => parseFailure(url, error, options),
    );
    const answer = 'value' in outcome ? 'answered' : outcome.error.message;
    const asked = redact(url.pathname + url.search, options);
    log?.('DEBUG', `${asked}: ${answer}`, { milliseconds: Math.round(clock.now() - start) });
    return outcome;
  }

  async function fetchJson(url: URL, signal?: AbortSignal): Promise<unknown> {
    for (let attempts = 1; ; attempts++) {
      const outcome = await untilAborted(
        slots(() => attempt(url, signal)),
        signal,
      );
      if ('value' in outcome) return outcome.value;
      const { error, pauseMs } = outcome;
      if (pauseMs !== undefined) limiter.pause(pauseMs);
      if (attempts >= outcome.attemptsMax) throw attempts === 1 ? error : giveUp(error, attempts);
      const backoffMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempts - 1));
      const waitMs = pauseMs ?? Math.round(random() * backoffMs);
      log?.('WARNING', `${error.message}; asking again`, { attempts, waitMs });
      if (pauseMs === undefined) await clock.sleep(waitMs, signal);
    }
  }

  return { requestCount: () => requests, fetchJson, redact: (text) => redact(text, options) };
}

function giveUp(error: ProviderError, attempts: number): ProviderError {
  const { message, kind, body, status } = error;
  return new ProviderError(`${message} (${attempts} attempts)`, kind, body, status);
}

/** Rejects with the signal's reason when it fires before the promise is settled. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

// --------------------------------------------------------------------------- limits

export interface Limiter {
  /** Waits for permission to send one request. */
  take(signal: AbortSignal | undefined): Promise<void>;
  /** Lets nobody send for so long. */
  pause(ms: number): void;
}

/**
 * A rolling window: a burst of N is let through at once, and never more than N in any minute.
 * What is counted is when a request was really sent, so a pause cannot pile up a second burst.
 */
export function makeLimiter(requestsPerMinute: number | undefined, clock: Clock): Limiter {
  const sent = new Float64Array(requestsPerMinute ?? 0).fill(Number.NEGATIVE_INFINITY);
  let next = 0;
  let pausedUntil = Number.NEGATIVE_INFINITY;
  return {
    async take(signal) {
      for (;;) {
        signal?.throwIfAborted();
        const oldest = sent.length > 0 ? sent[next] : Number.NEGATIVE_INFINITY;
        const waitMs = Math.max(pausedUntil, oldest + WINDOW_MS) - clock.now();
        if (!(waitMs > 0)) break;
        await clock.sleep(waitMs, signal);
      }
      if (sent.length === 0) return;
      sent[next] = clock.now();
      next = (next + 1) % sent.length;
    },
    pause(ms) {
      pausedUntil = Math.max(pausedUntil, clock.now() + ms);
    },
  };
}

/** Milliseconds a Retry-After header asks for, at most `maxMs`; undefined: it says nothing. */
export function parseRetryAfter(
  header: string | null,
  now: number,
  maxMs = RETRY_AFTER_MAX_MS,
): number | undefined {
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.min(maxMs, Math.max(0, ms));
}

// --------------------------------------------------------------------- one attempt

type Outcome =
  | { value: unknown }
  | {
      error: ProviderError;
      /** How many times such a request is sent before it is given up. */
      attemptsMax: number;
      /** Nobody sends for so long; undefined: back off as usual. */
      pauseMs?: number;
    };

interface Reply {
  status: number;
  retryAfter: string | null;
  location: string | null;
  /** Undefined when it is too large. */
  body: string | undefined;
}

class TimeoutError extends Error {}

/** Sends one request. Headers and body together have `timeoutMs`, however busily they trickle. */
async function send(
  url: URL,
  { headers, timeoutMs, bodyBytesMax = BODY_BYTES_MAX }: HttpOptions,
  signal: AbortSignal | undefined,
): Promise<Reply> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new TimeoutError()), timeoutMs);
  const stop = () => abort.abort(signal?.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  try {
    // A redirect could carry the key to another host: it is an answer like any other.
    const response = await fetch(url, { headers, redirect: 'manual', signal: abort.signal });
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      location: response.headers.get('location'),
      body: await readBody(response, bodyBytesMax),
    };
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
    abort.abort(); // lets go of a body that was not read to its end
  }
}

/** The body as text; undefined when it is larger than `bytesMax`. */
export async function readBody(response: Response, bytesMax: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const chunk = await reader?.read();
    if (!chunk || chunk.done) break;
    chunks.push(chunk.value);
    bytes += chunk.value.byteLength;
    if (bytes > bytesMax) return undefined;
  }
  return Buffer.concat(chunks, bytes).toString('utf8');
}

function parseReply(url: URL, reply: Reply, options: HttpOptions, clock: Clock): Outcome {
  const { status, body } = reply;
  if (body === undefined) {
    const limit = options.bodyBytesMax ?? BODY_BYTES_MAX;
    const message = `${describe(url)}: the answer is larger than ${limit} bytes`;
    return { error: new ProviderError(message, 'garbage', undefined, status), attemptsMax: 1 };
  }
  if (status === 200) {
    try {
      return { value: JSON.parse(body) };
    } catch {
      const message = `${describe(url)}: the answer is not JSON, or only the beginning of it`;
      const error = new ProviderError(message, 'garbage', keepBody(body, options), status);
      return { error, attemptsMax: GARBAGE_ATTEMPTS_MAX };
    }
  }
  const refusal = options.parseRefusal?.(status, body);
  const kind = refusal?.kind ?? statusKind(status);
  const words = refusal?.message ?? (reply.location === null ? '' : 'a redirect');
  const said = redact(words, options).slice(0, KEPT_BODY_LENGTH);
  const message = `${describe(url)}: answered ${status}${said && `, ${said}`}`;
  const kept = keepBody(body, options);
  const error = new ProviderError(redact(message, options), kind, kept, status);
  const isPassing = status === 429 || status === 408 || status >= 500;
  const retryAfterMs = isPassing ? parseRetryAfter(reply.retryAfter, clock.now()) : undefined;
  return {
    error,
    attemptsMax: isPassing ? ATTEMPTS_MAX : 1,
    pauseMs: retryAfterMs ?? (status === 429 ? WINDOW_MS : undefined),
  };
}

function statusKind(status: number): ProviderErrorKind {
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'not_entitled';
  if (status === 404) return 'not_found';
  if (status === 400) return 'bad_request';
  if (status === 429) return 'rate_limited';
  return 'unavailable';
}

/** What went wrong below HTTP. The error's own text is not shown: it may quote a header. */
function parseFailure(url: URL, error: unknown, { timeoutMs }: HttpOptions): Outcome {
  const { code, name } = error as NodeJS.ErrnoException;
  const what =
    error instanceof TimeoutError
      ? `no complete answer within ${timeoutMs} ms`
      : `the connection failed (${code ?? name})`;
  return {
    error: new ProviderError(`${describe(url)}: ${what}`, 'unavailable'),
    attemptsMax: ATTEMPTS_MAX,
  };
}

/** Host and path. The query stays out: pages carry cursors as long as a screen. */
function describe(url: URL): string {
  return `${url.host}${url.pathname}`;
}

function keepBody(body: string, options: HttpOptions): string {
  // Longer than what is kept, so that a secret across the cut is found as well.
  return redact(body.slice(0, 2 * KEPT_BODY_LENGTH), options).slice(0, KEPT_BODY_LENGTH);
}

/** Without secrets, and without NUL: what a vendor says is stored, and no text there has one. */
function redact(text: string, { secrets }: HttpOptions): string {
  const plain = text.replaceAll('\0', '\uFFFD');
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '********'), plain);
}
