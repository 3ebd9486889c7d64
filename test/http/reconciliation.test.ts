import { afterAll, beforeAll, expect, test } from 'bun:test';
import Ajv from 'ajv';
import { reconcileBars } from '../../src/model/reconciliation.ts';
import { toDay } from '../../src/model/session.ts';
import { finishRun, insertRun } from '../../src/store/jobs.ts';
import { insertReconciliation } from '../../src/store/reconciliation.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom, toColumns } from '../fixtures/bars.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';
import { dividendOf, scale, splitOf } from '../fixtures/other-source.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

interface OpenApi {
  paths: Record<
    string,
    { get: { responses: Record<number, { content: Record<string, { schema: object }> }> } }
  >;
}

const FORMATS = { date: true, 'date-time': true } as const;

/** The schema with every object closed: a field that is not documented is an error. */
function close(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(close);
  if (typeof schema !== 'object' || schema === null) return schema;
  const closed = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, close(value)]),
  );
  return closed.type === 'object' ? { ...closed, additionalProperties: false } : closed;
}

const HOSTILE = '<img src=x onerror=alert(1)>';
const bars = sessionsFrom('2024-03-04', 20).map((session) => flatBar(session));
const RANGE = { firstDay: toDay('2024-03-01'), lastDay: toDay('2024-03-29') };

/** What is found when a low is off. */
function found(name: string, low = 100, last = '') {
  const other = bars.map((bar, i) => (i === 3 ? { ...bar, low } : bar));
  return reconcileBars(
    { name: 'polygon', bars: toColumns(bars), actions: [dividendOf('2024-03-13', 0.25)] },
    { name, bars: toColumns(scale(other, 2, last)), actions: [splitOf('2024-03-20', 1, 2)] },
    RANGE,
  );
}

describeEditions('reconciliation over HTTP', (database) => {
  let server: TestServer;

  beforeAll(async () => {
    const { sql, url } = database();
    server = await startServer(url);
    const ids = [await addInstrument(sql, 'AAPL'), await addInstrument(sql, 'BRK.B')];
    const split = await addInstrument(sql, 'SPLIT');
    await addInstrument(sql, 'NONE');
    for (const [week, low] of [100, 80].entries()) {
      const run = { job: 'reconcile', origin: 'schedule', total: 2 } as const;
      const runId = await insertRun(sql, run);
      for (const instrumentId of ids) {
        const isFailure = instrumentId === ids[1] && week === 1;
        await insertReconciliation(sql, {
          ...{ instrumentId, runId, ts: new Date(Date.UTC(2024, 2, 31 + 7 * week, 6)) },
          ...{ source: 'yahoo', seed: 7, startSession: '2024-03-01', endSession: '2024-03-29' },
          result: isFailure ? { error: `Yahoo chart: ${HOSTILE}` } : found('yahoo', low),
        });
      }
      if (week === 0) {
        await insertReconciliation(sql, {
          ...{ instrumentId: split, runId, ts: new Date('2024-03-31T06:00:00Z'), source: 'b.csv' },
          ...{ seed: null, startSession: '2024-03-01', endSession: '2024-03-29' },
          result: found('b.csv', 100, '2024-03-20'),
        });
      }
      await finishRun(sql, runId, week === 1 ? 'failed' : 'succeeded', week === 1 ? HOSTILE : null);
    }
  });
  afterAll(() => server?.stop());

  interface Answer {
    count: number;
    results: Record<string, unknown>[];
    error: { code: string; field: string; message: string };
  }
  const get = async (query = '') => {
    const response = await server.get(`/api/v1/reconciliation${query}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };

  test('has all results, newest first', async () => {
    const { status, body } = await get();
    expect(status).toBe(200);
    expect(body.count).toBe(5);
    expect(body.results.map(({ symbol, verdict }) => [symbol, verdict])).toEqual([
      ['AAPL', 'conflict'],
      ['BRK.B', 'failed'],
      ['AAPL', 'agree'],
      ['BRK.B', 'agree'],
      ['SPLIT', 'conflict'],
    ]);
    expect(body.results[4]).toMatchObject({
      explanations: [{ cause: 'split', end: '2024-03-19', splits: [{ listed_by: 'theirs' }] }],
      actions: [{ kind: 'split' }, { kind: 'dividend', ours: 0.25, theirs: null }],
    });
    expect(body.results[0]).toMatchObject({
      ...{ checked_at: '2024-04-07T06:00:00.000Z', source: 'yahoo', seed: 7, compared: 20 },
      ...{ start_date: '2024-03-01', end_date: '2024-03-29', side: 'theirs', error: null },
      fields: { low: { agree: 19, near: 0, differ: 0, conflict: 1 }, open: { agree: 20 } },
      only_ours: { count: 0, sessions: [] },
      odd_bars: { ours: 0, theirs: 1, unclear: 0 },
      worst: [{ session: '2024-03-07', field: 'low', ours: 100, theirs: 80, side: 'theirs' }],
    });
    expect(body.results[1]).toMatchObject({ fields: null, worst: [], compared: 0 });
  });

  test('of a symbol, and as many as wanted', async () => {
    expect((await get('?symbol=brk.b')).body.results.map(({ verdict }) => verdict)).toEqual([
      ...['failed', 'agree'],
    ]);
    expect((await get('?symbol=AAPL&limit=1')).body.results).toMatchObject([
      { symbol: 'AAPL', verdict: 'conflict' },
    ]);
    expect((await get('?symbol=NONE')).body).toEqual({ count: 0, results: [] } as never);
  });

  test.each([
    ['?symbol=NOPE', 404, 'unknown_symbol', 'symbol'],
    ['?symbol=', 422, 'invalid_parameter', 'symbol'],
    ["?symbol=A';drop%20table%20reconciliations", 422, 'invalid_parameter', 'symbol'],
    ['?symbol=AAPL&symbol=NONE', 422, 'invalid_parameter', 'symbol'],
    ['?limit=0', 422, 'invalid_parameter', 'limit'],
    ['?limit=501', 422, 'invalid_parameter', 'limit'],
    ['?limit=ten', 422, 'invalid_parameter', 'limit'],
  ])('%s is refused', async (query, status, code, field) => {
    const answer = await get(query);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ code, field });
  });

  test('is described as it is, with every field', async () => {
    const document = await server.json<OpenApi>('/docs/json');
    const { responses } = document.paths['/api/v1/reconciliation'].get;
    const validate = new Ajv({ strict: false, formats: FORMATS }).compile(
      close(responses[200].content['application/json'].schema) as object,
    );
    validate((await get()).body);
    expect(validate.errors ?? []).toEqual([]);
  });

  test('the page has the latest result of each symbol, the worst first', async () => {
    const response = await server.get('/dashboard/reconciliation');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const page = await response.text();
    expect(page).toStartWith('<!doctype html>');
    expect(page).toContain('hx-get="/dashboard/reconciliation/status"');
    const rows = page.split('<tr').map((row) => row.replace(/<[^>]*>/g, ' '));
    const position = (words: RegExp) => rows.findIndex((row) => words.test(row));
    expect(position(/AAPL.*Conflict.*the source.*79 of 80.*0 \/ 0.*yahoo/s)).toBeGreaterThan(0);
    expect(position(/BRK\.B.*Failed/s)).toBeGreaterThan(position(/AAPL.*Conflict/s));
    expect(page).toContain('2024-03-07 low: ours 100, theirs 80: yahoo is 2');
    // Text of others is text.
    expect(page).not.toContain(HOSTILE);
    expect(page).toContain('&lt;img src=x');
  });

  test('the part that is polled answers 304 while nothing changes', async () => {
    const path = '/dashboard/reconciliation/status';
    const first = await server.get(path);
    const part = await first.text();
    expect(part).not.toContain('<html');
    expect(part).toContain('Conflict');
    const etag = first.headers.get('etag')!;
    const second = await server.get(path, { headers: { 'if-none-match': etag } });
    expect(second.status).toBe(304);
    await insertRun(database().sql, { job: 'reconcile', origin: 'command', total: 1 });
    const third = await server.get(path, { headers: { 'if-none-match': etag } });
    expect(third.status).toBe(200);
    expect(await third.text()).toContain('Running');
  });
});

describeEditions('reconciliation before there was any', (database) => {
  test('says what to type', async () => {
    await using server = await startServer(database().url);
    const page = await (await server.get('/dashboard/reconciliation')).text();
    expect(page).toContain('Nothing was compared yet');
    expect(page).toContain('marketd reconcile');
    expect(await server.json('/api/v1/reconciliation')).toEqual({ count: 0, results: [] });
  });
});

describeEditions('a comparison from the page', (database) => {
  const PATH = '/dashboard/reconciliation';
  const send = (server: TestServer, headers: Record<string, string> = {}) =>
    server.get(`${PATH}/compare`, {
      method: 'POST',
      redirect: 'manual',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    });
  const HTMX = { 'hx-request': 'true' };
  /** Nothing is asked of it: no process runs jobs here. */
  const NOBODY = 'http://127.0.0.1:9';
  const requests = () => database().sql`select kind, arguments, actor, state from job_requests`;

  test('is not offered without a second source, and what it takes is said', async () => {
    await using server = await startServer(database().url);
    const page = await (await server.get(PATH)).text();
    expect(page).not.toContain('Compare now');
    expect(page).toContain('RECONCILE=yahoo');
    const refused = await send(server);
    expect(refused.status).toBe(422);
    expect(await refused.text()).toContain('There is no second source');
    expect([...(await requests())]).toEqual([]);
  });

  test('is put in the queue once, and the page says so until it has ended', async () => {
    const { sql, url } = database();
    await using server = await startServer(url, { RECONCILE: 'yahoo', YAHOO_BASE_URL: NOBODY });
    expect(await (await server.get(PATH)).text()).toContain('Compare now');
    const crossed = await send(server, { 'sec-fetch-site': 'cross-site' });
    expect(crossed.status).toBe(403);
    const answer = await (await send(server, HTMX)).text();
    expect(answer).toContain('is in the queue: a comparison');
    expect(answer).toContain('waits for a process that runs jobs');
    expect(answer).not.toContain('Compare now');
    expect((await send(server)).status).toBe(303);
    expect([...(await requests())]).toEqual([
      { kind: 'reconcile', arguments: null, actor: 'page 127.0.0.1', state: 'queued' },
    ] as never);
    await sql`update job_requests set state = 'succeeded', finished_at = now()`;
    expect(await (await server.get(PATH)).text()).toContain('Compare now');
  });
});

describeEditions('reconciliation of more symbols than the page shows', (database) => {
  test('counts all of them, and says that these are the worst', async () => {
    const { sql, url } = database();
    const runId = await insertRun(sql, { job: 'reconcile', origin: 'command', total: 201 });
    const ids = Array.from({ length: 201 }, (_, i) => i + 1);
    await sql`
      insert into instruments (instrument_id, is_tracked) overriding system value
      select unnest(${ids}::int[]), true`;
    await sql`
      insert into symbol_ranges (instrument_id, symbol)
      select n, 'S' || n from unnest(${ids}::int[]) as n`;
    await sql`
      insert into reconciliations
        (instrument_id, run_id, ts, source, start_session, end_session, verdict, error)
      select n, ${runId}, now(), 'b.csv', '2024-03-01', '2024-03-29', 'failed', 'away'
      from unnest(${ids}::int[]) as n`;
    await using server = await startServer(url);
    const page = await (await server.get('/dashboard/reconciliation')).text();
    const text = page.replace(/<[^>]*>/g, '').replace(/\s+/g, ' ');
    expect(page.match(/<th scope="row">/g)).toHaveLength(200);
    expect(text).toContain('Latest results 201');
    expect(text).toContain('The 200 of 201 that need attention most.');
  });
});
