import { afterEach, describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import {
  type HttpClient,
  type HttpOptions,
  makeHttpClient,
  systemClock,
} from '../../src/providers/http.ts';
import {
  ManualClock,
  type Misbehavior,
  makeInstantClock,
  misbehave,
  startVendorServer,
  type VendorServer,
} from '../vendor-server.ts';

const START = '2024-05-06T14:00:00Z';
const KEY = 'k3y-th4t-nobody-may-see';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function serve(): VendorServer {
  const server = startVendorServer();
  stops.push(server.stop);
  return server;
}

function makeClient(options: Partial<HttpOptions> = {}): HttpClient {
  return makeHttpClient({
    headers: { authorization: `Bearer ${KEY}` },
    secrets: [KEY],
    requestsPerMinute: undefined,
    timeoutMs: 5_000,
    clock: makeInstantClock(START),
    random: () => 1,
    ...options,
  });
}

const list = (server: VendorServer) => new URL(`${server.url}/v3/reference/tickers?limit=1`);

async function failure(promise: Promise<unknown>): Promise<ProviderError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ProviderError);
  return error as ProviderError;
}

describe('the limit', () => {
  test('lets a burst through and never more than that in any minute', async () => {
    const server = serve();
    const clock = new ManualClock(START);
    const sentAt: number[] = [];
    const arrivals = Array.from({ length: 17 }, () => Promise.withResolvers<void>());
    const watch: Misbehavior = () => {
      sentAt.push(clock.now());
      arrivals[sentAt.length - 1].resolve();
      return undefined;
    };
    server.respond(watch);
    const client = makeClient({ clock, requestsPerMinute: 5 });
    const answers = Array.from({ length: 17 }, () => client.fetchJson(list(server)));
    for (const burst of [5, 10, 15]) {
      await arrivals[burst - 1].promise;
      await clock.asleep();
      expect(sentAt).toHaveLength(burst);
      clock.advance(59_999);
      expect(client.requestCount()).toBe(burst);
      clock.advance(251);
    }
    await Promise.all(answers);
    expect(sentAt).toHaveLength(17);
    const inWindow = sentAt.map((from) => sentAt.filter((t) => t >= from && t < from + 60_000));
    expect(Math.max(...inWindow.map((requests) => requests.length))).toBe(5);
  });

  test('counts the minute from when a request was sent, not from when it had to wait', async () => {
    const server = serve();
    const clock = makeInstantClock(START);
    const client = makeClient({ clock, requestsPerMinute: 2 });
    server.respond(misbehave.tooManyRequests('90'));
    await client.fetchJson(list(server)); // at 0 s, and at 90 s as told
    expect(clock.waits).toEqual([90_000]);
    await client.fetchJson(list(server)); // the second of the minute that began at 90 s
    expect(clock.waits).toEqual([90_000]);
    await client.fetchJson(list(server));
    expect(clock.waits).toEqual([90_000, 60_250]);
  });

  test('a request that is aborted in the queue sends nothing and holds up nobody', async () => {
    const server = serve();
    const clock = new ManualClock(START);
    const client = makeClient({ clock, requestsPerMinute: 1 });
    await client.fetchJson(list(server));
    const abort = new AbortController();
    const aborted = Promise.allSettled([
      client.fetchJson(list(server), abort.signal),
      client.fetchJson(list(server), abort.signal),
    ]);
    const last = client.fetchJson(list(server));
    await clock.asleep();
    abort.abort(new Error('enough'));
    const reasons = (await aborted).map((one) => one.status === 'rejected' && one.reason.message);
    expect(reasons).toEqual(['enough', 'enough']);
    await clock.asleep();
    expect(client.requestCount()).toBe(1);
    clock.advance(60_250);
    await last;
    expect(client.requestCount()).toBe(2);
  });

  test('without one nobody waits, but only 8 are under way at once', async () => {
    const server = serve();
    const clock = makeInstantClock(START);
    const client = makeClient({ clock });
    const { promise: gate, resolve: openGate } = Promise.withResolvers<void>();
    let open = 0;
    let sentWhenFull = 0;
    const hold: Misbehavior = async () => {
      if (++open === 8) {
        sentWhenFull = client.requestCount();
        openGate();
      }
      await gate;
      return undefined;
    };
    server.respond(hold);
    await Promise.all(Array.from({ length: 40 }, () => client.fetchJson(list(server))));
    expect(sentWhenFull).toBe(8);
    expect(client.requestCount()).toBe(40);
    expect(clock.waits).toEqual([]);
  });
});

describe('too many requests', () => {
  const waits: [string | undefined, number][] = [
    ['7', 7_000],
    ['0', 0],
    ['3600', 300_000],
    ['Mon, 06 May 2024 14:00:42 GMT', 42_000],
    ['Mon, 06 May 2024 13:00:00 GMT', 0],
    ['soon', 60_250],
    [undefined, 60_250],
  ];
  test.each(waits)('Retry-After %p is waited for %d ms', async (retryAfter, ms) => {
    const server = serve();
    const clock = makeInstantClock(START);
    server.respond(misbehave.tooManyRequests(retryAfter));
    await makeClient({ clock }).fetchJson(list(server));
    expect(clock.waits).toEqual(ms === 0 ? [] : [ms]);
    expect(server.requests).toHaveLength(2);
  });

  test('is everybody’s wait', async () => {
    const server = serve();
    const clock = new ManualClock(START);
    const client = makeClient({ clock });
    server.respond(misbehave.tooManyRequests('30'));
    const first = client.fetchJson(list(server));
    await clock.asleep();
    const second = client.fetchJson(list(server));
    clock.advance(29_999);
    await clock.asleep();
    expect(client.requestCount()).toBe(1);
    clock.advance(1);
    await Promise.all([first, second]);
    expect(client.requestCount()).toBe(3);
  });

  test('is given up after five attempts', async () => {
    const server = serve();
    for (let i = 0; i < 5; i++) server.respond(misbehave.tooManyRequests());
    const client = makeClient();
    const error = await failure(client.fetchJson(list(server)));
    expect(error.kind).toBe('rate_limited');
    expect(error.message).toEndWith('answered 429 (5 attempts)');
    expect(error.body).toContain('maximum requests per minute');
    expect(client.requestCount()).toBe(5);
  });
});

describe('a vendor in trouble', () => {
  test('is asked again after growing waits', async () => {
    const server = serve();
    const clock = makeInstantClock(START);
    for (const status of [500, 502, 503, 504]) server.respond(misbehave.serverError(status));
    const answer = await makeClient({ clock }).fetchJson(list(server));
    expect(answer).toMatchObject({ status: 'OK' });
    expect(clock.waits).toEqual([1_000, 2_000, 4_000, 8_000]);
  });

  test('waits are anywhere between nothing and that', async () => {
    const server = serve();
    const clock = makeInstantClock(START);
    for (let i = 0; i < 3; i++) server.respond(misbehave.serverError());
    const random = [0.5, 0, 0.25].values();
    await makeClient({ clock, random: () => random.next().value ?? 1 }).fetchJson(list(server));
    expect(clock.waits).toEqual([500, 0, 1_000]);
  });

  test('is given up after five attempts', async () => {
    const server = serve();
    for (let i = 0; i < 5; i++) server.respond(misbehave.serverError(503));
    const log: string[] = [];
    const client = makeClient({ log: (level, message) => log.push(`${level} ${message}`) });
    const error = await failure(client.fetchJson(list(server)));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toEndWith('/v3/reference/tickers: answered 503 (5 attempts)');
    expect(server.requests).toHaveLength(5);
    expect(log.filter((line) => line.startsWith('WARNING'))).toHaveLength(4);
    expect(log.filter((line) => line.startsWith('DEBUG'))).toHaveLength(5);
  });

  test('says how long with Retry-After', async () => {
    const server = serve();
    const clock = makeInstantClock(START);
    server.respond(misbehave.serverError(503, '20'));
    await makeClient({ clock }).fetchJson(list(server));
    expect(clock.waits).toEqual([20_000]);
  });

  test('a connection that breaks in the middle of the body is retried', async () => {
    const server = serve();
    server.respond(misbehave.reset());
    expect(await makeClient().fetchJson(list(server))).toMatchObject({ status: 'OK' });
    expect(server.requests).toHaveLength(2);
  });

  test('a connection that breaks before the headers is retried', async () => {
    let connections = 0;
    const listener = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        data(socket) {
          connections++;
          socket.terminate();
        },
      },
    });
    stops.push(async () => listener.stop(true));
    const url = new URL(`http://127.0.0.1:${listener.port}/`);
    const error = await failure(makeClient().fetchJson(url));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toEndWith('the connection failed (ECONNRESET) (5 attempts)');
    expect(connections).toBeGreaterThanOrEqual(5);
  });

  test('a host that does not listen is unavailable', async () => {
    const server = startVendorServer();
    await server.stop();
    const error = await failure(makeClient().fetchJson(list(server)));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toContain('ECONNREFUSED');
  });

  const neverDone: [string, Misbehavior][] = [
    ['never begins', misbehave.hang()],
    ['trickles for ever', misbehave.tricklingBody()],
  ];
  test.each(neverDone)('an answer that %s is cut', async (_name, misbehavior) => {
    const server = serve();
    for (let i = 0; i < 5; i++) server.respond(misbehavior);
    const error = await failure(makeClient({ timeoutMs: 60 }).fetchJson(list(server)));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toEndWith('no complete answer within 60 ms (5 attempts)');
    expect(server.requests).toHaveLength(5);
  });
});

describe('an answer that cannot be read', () => {
  test('once, is asked for again', async () => {
    const server = serve();
    server.respond(misbehave.truncatedJson());
    server.respond(misbehave.html());
    expect(await makeClient().fetchJson(list(server))).toMatchObject({ status: 'OK' });
    expect(server.requests).toHaveLength(3);
  });

  test('three times, is garbage, and its beginning is kept', async () => {
    const server = serve();
    const page = `<html>${'x'.repeat(5_000)}`;
    for (let i = 0; i < 3; i++) server.respond(() => new Response(page));
    const error = await failure(makeClient().fetchJson(list(server)));
    expect(error.kind).toBe('garbage');
    expect(error.message).toContain('not JSON');
    expect(error.body).toBe(page.slice(0, 1_024));
    expect(server.requests).toHaveLength(3);
  });

  test('an empty one as well', async () => {
    const server = serve();
    for (let i = 0; i < 3; i++) server.respond(() => new Response(''));
    expect((await failure(makeClient().fetchJson(list(server)))).kind).toBe('garbage');
  });

  test('because it is endless, is not read to the end', async () => {
    const server = serve();
    const { promise: hungUp, resolve: cancel } = Promise.withResolvers<void>();
    const pull = (controller: ReadableStreamDefaultController) =>
      controller.enqueue(new Uint8Array(65_536));
    server.respond(() => new Response(new ReadableStream({ pull, cancel })));
    const error = await failure(makeClient({ bodyBytesMax: 1_000_000 }).fetchJson(list(server)));
    expect(error.kind).toBe('garbage');
    expect(error.message).toContain('larger than 1000000 bytes');
    await hungUp;
    expect(server.requests).toHaveLength(1);
  });
});

describe('a refusal', () => {
  const kinds: [number, string][] = [
    [400, 'bad_request'],
    [401, 'unauthorized'],
    [403, 'not_entitled'],
    [404, 'not_found'],
    [410, 'unavailable'],
  ];
  test.each(kinds)('%d is %s, and not asked for again', async (status, kind) => {
    const server = serve();
    server.respond(() => new Response('no', { status }));
    const error = await failure(makeClient().fetchJson(list(server)));
    expect(error.kind as string).toBe(kind);
    expect(error.message).toEndWith(`answered ${status}`);
    expect(error.body).toBe('no');
    expect(server.requests).toHaveLength(1);
  });

  test('is what the vendor says it is', async () => {
    const server = serve();
    server.respond(() => new Response('come back tomorrow', { status: 403 }));
    const client = makeClient({
      parseRefusal: (status, body) => ({ kind: 'too_early', message: `${status} ${body}` }),
    });
    const error = await failure(client.fetchJson(list(server)));
    expect(error.kind).toBe('too_early');
    expect(error.message).toEndWith('answered 403, 403 come back tomorrow');
  });

  test('a redirect is not followed: the key would go with it', async () => {
    const server = serve();
    const other = serve();
    server.respond(() => Response.redirect(`${other.url}/v3/reference/tickers`, 302));
    const error = await failure(makeClient().fetchJson(list(server)));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toEndWith('answered 302, a redirect');
    expect(other.requests).toEqual([]);
  });
});

test('the key is in no message, body or log, even when the vendor repeats it', async () => {
  const server = serve();
  const echo: Misbehavior = (request) => {
    const key = request.headers.get('authorization');
    expect(key).toBe(`Bearer ${KEY}`);
    return new Response(`${'-'.repeat(1_010)}${key} is unknown`, { status: 500 });
  };
  for (let i = 0; i < 5; i++) server.respond(echo);
  const log: unknown[] = [];
  const client = makeClient({
    parseRefusal: (_status, body) => ({ message: body }),
    log: (...line) => log.push(line),
  });
  const error = await failure(client.fetchJson(list(server)));
  const shown = JSON.stringify([error.message, error.body, log]);
  // It stands where what is kept ends: not even its beginning is.
  expect(error.message).toEndWith('-Bearer ******* (5 attempts)');
  expect(error.body).toEndWith('-Bearer *******');
  expect(shown).not.toContain(KEY.slice(0, 6));
});

describe('an abort', () => {
  test('ends a request whose answer does not come', async () => {
    const server = serve();
    const abort = new AbortController();
    const { promise: hangsUp, resolve } = Promise.withResolvers<void>();
    server.respond((request) => {
      request.signal.addEventListener('abort', () => resolve());
      abort.abort(new Error('stop'));
      return misbehave.hang()(request, () => Promise.reject(new Error('not asked')));
    });
    const client = makeClient();
    await expect(client.fetchJson(list(server), abort.signal)).rejects.toThrow('stop');
    await hangsUp;
    expect(client.requestCount()).toBe(1);
  });

  test('ends the wait before another attempt', async () => {
    const server = serve();
    const clock = new ManualClock(START);
    server.respond(misbehave.serverError());
    const abort = new AbortController();
    const answer = makeClient({ clock }).fetchJson(list(server), abort.signal);
    await clock.asleep();
    abort.abort(new Error('stop'));
    await expect(answer).rejects.toThrow('stop');
    expect(server.requests).toHaveLength(1);
  });

  test('before the beginning sends nothing', async () => {
    const server = serve();
    const client = makeClient();
    await expect(client.fetchJson(list(server), AbortSignal.abort())).rejects.toThrow('abort');
    expect(server.requests).toEqual([]);
  });

  test('wakes a sleeper of the system clock', async () => {
    const abort = new AbortController();
    const sleep = systemClock.sleep(3_600_000, abort.signal);
    abort.abort(new Error('wake up'));
    await expect(sleep).rejects.toThrow('wake up');
  });
});
