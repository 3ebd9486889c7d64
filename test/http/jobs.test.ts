import { afterAll, beforeAll, expect, test } from 'bun:test';
import { parseConfig } from '../../src/config.ts';
import { makeApp } from '../../src/http/app.ts';
import { makeCalendar, toDate } from '../../src/model/session.ts';
import { serve } from '../../src/serve.ts';
import { openDatabase } from '../../src/store/database.ts';
import { cloneDatabase, describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { API_KEY, marketBars } from '../fixtures/backfill-world.ts';
import { startCli } from '../fixtures/cli-process.ts';
import { until } from '../fixtures/http-server.ts';
import { type Misbehavior, startVendorServer, type VendorServer } from '../vendor-server.ts';

/** The last sessions whose bars a vendor has. */
const calendar = makeCalendar();
const latest = calendar.latestSession(Date.now(), 3_600_000);
const position = calendar.sessionIndex(latest);
const LAST = toDate(latest);
const FIRST = toDate(calendar.sessionAt(position - 19));
const SESSIONS = 20;
const SYMBOLS = ['AAA', 'BBB', 'CCC'];

const ALL = { symbols: SYMBOLS, first_session: FIRST };

interface Job {
  id: number;
  state: string;
  actor: string;
  message: string | null;
  run_id: number | null;
  started_at: string | null;
  cancel_requested_at: string | null;
  is_led: boolean;
  run: { state: string; origin: string; done: number; total: number; inserted: number } | null;
  failure_count: number;
  failures: { symbol: string; status: number; body: string; message: string }[];
}

/** Answers the first question for BBB never, and every later one as it should be. */
function holdBack(vendor: VendorServer): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isAsked = false;
  const hold: Misbehavior = ({ url }) => {
    if (isAsked || !url.includes('/ticker/BBB/range')) return undefined;
    isAsked = true;
    resolve();
    return Promise.withResolvers<Response>().promise;
  };
  vendor.respond(hold);
  return promise;
}

const send = (method: string, body?: object, headers: Record<string, string> = {}) => ({
  ...{ method, headers: { 'content-type': 'application/json', ...headers } },
  body: body && JSON.stringify(body),
});

function settings(databaseUrl: string, vendor: VendorServer): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    POLYGON_API_KEY: API_KEY,
    POLYGON_BASE_URL: vendor.url,
    POLYGON_REQUESTS_PER_MINUTE: '6000',
    BATCH_COMMIT_SIZE: '1',
    API_PORT: '0',
  };
}

const getJob = async (base: string, id: number): Promise<Job> => {
  const response = await fetch(`${base}/api/v1/admin/jobs/${id}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Job;
};

const untilState = (base: string, id: number, state: string) =>
  until(async () => {
    const job = await getJob(base, id);
    return job.state === state ? job : undefined;
  });

const start = async (base: string, body: object): Promise<Job> => {
  const response = await fetch(`${base}/api/v1/admin/jobs`, send('POST', body));
  expect(response.status).toBe(202);
  const job = (await response.json()) as Job;
  expect(response.headers.get('location')).toBe(`/api/v1/admin/jobs/${job.id}`);
  return job;
};

describeEditions('jobs of a server that leads', (database) => {
  const vendor = startVendorServer({ bars: marketBars(SYMBOLS, FIRST, LAST), key: API_KEY });
  const lines: string[] = [];
  let server: Awaited<ReturnType<typeof serve>>;
  let pools: ReturnType<typeof openDatabase>;

  beforeAll(async () => {
    const config = parseConfig(settings(database().url, vendor));
    pools = openDatabase(database().url, config.DATABASE_CONNECTIONS);
    const log = (level: string, message: string) => void lines.push(`${level} ${message}`);
    server = await serve({ config, database: pools, isDemo: false, log });
    await server.ready;
  });
  afterAll(async () => {
    await server?.stop();
    await pools?.close();
    await vendor.stop();
  });

  const bars = async () => {
    const rows = await database().sql<{ symbol: string; count: number }[]>`
      select symbol, count(*) as count from bars_1d join symbol_ranges using (instrument_id)
      group by symbol order by symbol collate "C"`;
    return rows.map(({ symbol, count }) => `${symbol} ${count}`);
  };

  test('previewed, started, watched, cancelled; the next one fetches the rest', async () => {
    const body = { kind: 'backfill', arguments: ALL };
    const path = `${server.url}/api/v1/admin/jobs/preview`;
    const cost = await (await fetch(path, send('POST', body))).json();
    expect(cost).toMatchObject({ symbols: 3, due_sessions: 3 * SESSIONS });
    expect(cost).toMatchObject({ requests: { describe: 3 }, requests_per_minute: 6000 });
    expect(cost.requests.total).toBeGreaterThan(6);

    const asked = holdBack(vendor);
    const { id, actor, state } = await start(server.url, body);
    expect([actor, state]).toEqual(['http 127.0.0.1', 'queued']);
    await asked;
    const running = await until(async () => {
      const job = await getJob(server.url, id);
      return job.run && job.run.inserted > 0 ? job : undefined;
    });
    expect(running).toMatchObject({ state: 'running', is_led: true });
    expect(running.run).toMatchObject({ state: 'running', origin: 'operator' });
    expect(running.run?.done).toBeGreaterThan(0);
    expect(running.run?.done).toBeLessThan(running.run?.total ?? 0);

    const told = await fetch(`${server.url}/api/v1/admin/jobs/${id}`, send('DELETE'));
    expect(told.status).toBe(200);
    const cancelled = await untilState(server.url, id, 'cancelled');
    expect(cancelled.message).toBe('cancelled by http 127.0.0.1; what was committed stays');
    expect(cancelled.run?.state).toBe('interrupted');
    const kept = await bars();
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.join()).not.toContain('BBB');

    const next = await start(server.url, body);
    const done = await untilState(server.url, next.id, 'succeeded');
    expect(done.run).toMatchObject({ state: 'succeeded', total: done.run?.done });
    expect(await bars()).toEqual(SYMBOLS.map((symbol) => `${symbol} ${SESSIONS}`));
    const late = await fetch(`${server.url}/api/v1/admin/jobs/${next.id}`, send('DELETE'));
    expect([late.status, (await late.json()).error.code]).toEqual([409, 'ended']);
  });

  test('a failed request is shown with the vendor’s words, and no key', async () => {
    vendor.respond(({ url }) =>
      url.includes('/ticker/DDD/range')
        ? Response.json({ message: `No DDD for ${API_KEY}` }, { status: 404 })
        : undefined,
    );
    const named = { ...ALL, symbols: ['DDD'] };
    const { id } = await start(server.url, { kind: 'backfill', arguments: named });
    const job = await untilState(server.url, id, 'failed');
    expect(job.failure_count).toBe(1);
    expect(job.failures).toMatchObject([{ symbol: 'DDD', status: 404, dataset: '1d' }] as never);
    expect(job.failures[0].body).toBe('{"message":"No DDD for ********"}');
    const none = await fetch(`${server.url}/api/v1/admin/jobs/${id}?failures=0`);
    expect(await none.json()).toMatchObject({ failure_count: 1, failures: [] });
    expect(JSON.stringify([job, lines])).not.toContain(API_KEY);
  });
});

describeEditions('jobs of a server that is killed', (database) => {
  test('are taken over by the next one, which asks for the rest', async () => {
    const { edition } = database();
    const clone = await cloneDatabase(edition);
    const vendor = startVendorServer({ bars: marketBars(SYMBOLS, FIRST, LAST), key: API_KEY });
    const environment = settings(clone.url, vendor);
    try {
      const asked = holdBack(vendor);
      const first = startCli(['serve'], environment);
      const [, url] = await first.waitFor(/serving on (http:\S+)/);
      const { id } = await start(url, { kind: 'backfill', arguments: ALL });
      await asked;
      await until(async () => ((await getJob(url, id)).run?.inserted ? true : undefined));
      first.kill('SIGKILL');
      await first.finished;
      const [left] = await clone.sql`select state, run_id from job_requests`;
      expect(left.state).toBe('running');

      const second = startCli(['serve'], environment);
      const [, next] = await second.waitFor(/serving on (http:\S+)/);
      const done = await untilState(next, id, 'succeeded');
      expect(done.run_id).not.toBe(left.run_id);
      const [dead] = await clone.sql`
        select state, error from job_runs where run_id = ${left.run_id}`;
      expect(dead).toEqual({
        ...{ state: 'interrupted', error: 'the process ended before the run did' },
      });
      const [stored] = await clone.sql`select count(*) as bars from bars_1d`;
      expect(stored.bars).toBe(3 * SESSIONS);
      second.kill('SIGTERM');
      expect((await second.finished).code).toBe(0);
    } finally {
      await vendor.stop();
      await clone.drop();
    }
  });
});

describeEditions('jobs where nobody leads', (database) => {
  let pools: ReturnType<typeof openDatabase>;
  let app: ReturnType<typeof makeApp>;
  beforeAll(() => {
    pools = openDatabase(database().url);
    app = makeApp(makeAppContext(pools, database().edition));
  });
  afterAll(() => pools?.close());

  const call = async (path: string, init?: RequestInit) => {
    const url = `http://127.0.0.1/api/v1/admin/jobs${path}`;
    const response = await app.handle(new Request(url, init));
    return { status: response.status, body: await response.json() };
  };
  const post = (body: object) => call('', send('POST', body));

  test('wait, can be cancelled, and it is said that nobody leads', async () => {
    const asked = { kind: 'backfill', arguments: { ...ALL, symbols: null } };
    const { status, body } = await post(asked);
    expect(status).toBe(202);
    expect(body).toMatchObject({
      ...{ kind: 'backfill', state: 'queued', actor: 'http', started_at: null, run_id: null },
      arguments: {
        ...{ symbols: null, timeframe: '1d', first_session: FIRST, last_session: null },
        retry_empty: false,
      },
    });
    expect((await post(asked)).body.id).toBe(body.id);
    const detail = await call(`/${body.id}`);
    expect(detail.body).toMatchObject({ is_led: false, run: null, failures: [] });
    const cancelled = await call(`/${body.id}`, send('DELETE'));
    expect(cancelled).toMatchObject({ status: 200, body: { state: 'cancelled' } });
    expect(await call(`/${body.id}`, send('DELETE'))).toEqual(cancelled);
    const audit = await app.handle(new Request('http://127.0.0.1/api/v1/audit?limit=2'));
    const { entries } = (await audit.json()) as { entries: { action: string; target: string }[] };
    expect(entries.map(({ action, target }) => `${action} ${target}`)).toEqual([
      `job.cancel backfill 1d of all symbols from ${FIRST}`,
      `job.start backfill 1d of all symbols from ${FIRST}`,
    ]);
  });

  test('are listed, the newest first, page by page', async () => {
    const ids: number[] = [];
    for (const symbol of ['L1', 'L2', 'L3']) {
      const named = { ...ALL, symbols: [symbol] };
      ids.unshift((await post({ kind: 'repair', arguments: named })).body.id);
    }
    const first = await call('?limit=2');
    expect(first.body).toMatchObject({ is_led: false, limit: 2, count: 2 });
    expect(first.body.jobs.map(({ id }: Job) => id)).toEqual(ids.slice(0, 2));
    const second = await call(`?limit=2&cursor=${first.body.next_cursor}`);
    expect(second.body.jobs[0].id).toBe(ids[2]);
    const last = await call('?limit=1000');
    expect(last.body.next_cursor).toBeNull();
  });

  test('cannot be previewed by a process without a provider', async () => {
    const asked = send('POST', { kind: 'backfill', arguments: ALL });
    expect(await call('/preview', asked)).toMatchObject({
      ...{ status: 409, body: { error: { code: 'no_provider' } } },
    });
  });

  const wrong: [what: string, body: object, field: string, message: string][] = [
    ['no kind', { arguments: ALL }, 'kind', 'must be backfill or repair or reconcile'],
    ['another kind', { kind: 'delete' }, 'kind', 'must be backfill'],
    ['no arguments', { kind: 'backfill' }, 'first_session', 'needs arguments'],
    ['a reconciliation with any', { kind: 'reconcile', arguments: ALL }, 'kind', 'its own sample'],
    ['arguments that are a list', { kind: 'backfill', arguments: [] }, 'arguments', 'an object'],
    ['a field nobody knows', { kind: 'backfill', from: 1 }, 'from', 'is not known'],
    ['such an argument', { kind: 'backfill', arguments: { ...ALL, x: 1 } }, 'x', 'is not known'],
    ['nobody named', { kind: 'backfill', arguments: { first_session: FIRST } }, 'symbols', 'null'],
    ['a text for symbols', { kind: 'repair', arguments: { symbols: 'A' } }, 'symbols', 'a list'],
    ['no first session', { kind: 'repair', arguments: { symbols: null } }, 'first_session', 'miss'],
    [
      ...([
        'a number for one',
        { kind: 'repair', arguments: { symbols: null, first_session: 1 } },
      ] as const),
      ...(['first_session', 'no text'] as const),
    ],
    [
      ...(['no yes or no', { kind: 'backfill', arguments: { ...ALL, retry_empty: 1 } }] as const),
      ...(['retry_empty', 'true or false'] as const),
    ],
    [
      ...(['a timeframe', { kind: 'backfill', arguments: { ...ALL, timeframe: '5m' } }] as const),
      ...(['timeframe', 'one that is stored'] as const),
    ],
    [
      ...([
        'a date',
        { kind: 'backfill', arguments: { ...ALL, last_session: '2999-01-01' } },
      ] as const),
      ...(['last_session', 'in the future'] as const),
    ],
  ];
  for (const [what, body, field, message] of wrong) {
    test(`refused: ${what}`, async () => {
      const before = await call('?limit=1');
      const answer = await post(body);
      expect(answer.status).toBe(422);
      expect(answer.body.error).toMatchObject({ code: 'invalid_parameter', field });
      expect(answer.body.error.message).toContain(message);
      expect(await call('?limit=1')).toEqual(before);
    });
  }

  test('refused: a preview of a reconciliation', async () => {
    const answer = await call('/preview', send('POST', { kind: 'reconcile' }));
    expect(answer).toMatchObject({ status: 422, body: { error: { field: 'kind' } } });
  });

  const errors: [path: string, init: RequestInit | undefined, status: number, code: string][] = [
    ['/999999', undefined, 404, 'unknown_job'],
    ['/999999', send('DELETE'), 404, 'unknown_job'],
    ['/x', undefined, 422, 'invalid_parameter'],
    ['/0', send('DELETE'), 422, 'invalid_parameter'],
    ['?limit=0', undefined, 422, 'invalid_parameter'],
    ['?limit=1&limit=2', undefined, 422, 'invalid_parameter'],
    ['?cursor=x', undefined, 422, 'invalid_parameter'],
    ['/1?failures=1001', undefined, 422, 'invalid_parameter'],
    ['', { method: 'POST', body: '{}' }, 415, 'unsupported_type'],
    ['', { ...send('POST'), body: '[1]' }, 400, 'malformed'],
    ['', send('POST', { kind: 'x'.repeat(70_000) }), 413, 'too_large'],
    ['', send('POST', {}, { 'sec-fetch-site': 'cross-site' }), 403, 'cross_site'],
    ['/preview', send('POST', {}, { origin: 'https://evil.example' }), 403, 'cross_site'],
    ['/1', send('DELETE', undefined, { 'sec-fetch-site': 'same-site' }), 403, 'cross_site'],
  ];
  for (const [path, init, status, code] of errors) {
    test(`${init?.method ?? 'GET'} ${path.slice(0, 20)} answers ${status} ${code}`, async () => {
      const answer = await call(path, init);
      expect([answer.status, answer.body.error.code]).toEqual([status, code]);
    });
  }
});
