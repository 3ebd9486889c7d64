import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { decideFindings } from '../../src/store/decisions.ts';
import { cancelJobRequest, insertJobRequest } from '../../src/store/job-requests.ts';
import { finishRun, insertRun } from '../../src/store/jobs.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  fillWarehouse,
  startServer,
  storeAnswers,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';

/** The overview of a server that listens for what any process changes. */
describeEditions('the overview of a server', (clone) => {
  let database: Database;
  let server: TestServer;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    await fillWarehouse(database.write);
    server = await startServer(clone().url);
    await settle();
  });
  afterAll(async () => {
    await server?.stop();
    await database?.close();
  });

  const poll = (etag?: string) =>
    server.get('/dashboard/status', { headers: etag ? { 'if-none-match': etag } : {} });

  /** Waits until nothing changes any more; the tag of what there is. */
  const settle = async (): Promise<string> => {
    const tag = (await poll()).headers.get('etag')!;
    return (await poll(tag)).status === 304 ? tag : settle();
  };

  /** What the overview says once it has heard of a change. */
  const after = async (change: () => Promise<unknown>): Promise<string> => {
    const tag = await settle();
    await change();
    return until(async () => {
      const answer = await poll(tag);
      return answer.status === 304 ? undefined : answer.text();
    });
  };

  test('is made from memory while nothing changes', async () => {
    const tag = await settle();
    // Whoever asked for any of it now would fail.
    const tables = ['instruments', 'instrument_status', 'job_runs', 'job_requests', 'bars_1d'];
    for (const table of tables) {
      await clone().sql`alter table ${clone().sql(table)} rename to ${clone().sql(`${table}_x`)}`;
    }
    try {
      const same = await poll(tag);
      expect([same.status, await same.text()]).toEqual([304, '']);
      const page = await server.get('/dashboard');
      expect([page.status, (await page.text()).includes('BRK.B')]).toEqual([200, true]);
    } finally {
      for (const table of tables) {
        await clone().sql`alter table ${clone().sql(`${table}_x`)} rename to ${clone().sql(table)}`;
      }
    }
  });

  test('says in few bytes that nothing changed', async () => {
    const { status, headers } = await poll(await settle());
    const line = 'HTTP/1.1 304 Not Modified\r\n\r\n';
    const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`);
    expect(status).toBe(304);
    expect(line.length + lines.join('').length).toBeLessThan(300);
  });

  test('hears of bars, and draws them', async () => {
    const bars = sessionsFrom('2023-12-01', 20).map((session) => flatBar(session));
    const html = await after(() => storeAnswers(database.write, [{ symbol: 'UNASKED', bars }]));
    const row = html.slice(html.indexOf('>UNASKED<')).split('</tr>')[0];
    expect(row).toContain('<polyline');
    expect(row).toContain('2023-12-29');
  });

  test('hears of a close that is another now, though no counter is', async () => {
    const [last] = sessionsFrom('2023-12-29', 1);
    const bar = (close: number) => flatBar(last, { close, high: close + 1 });
    await after(() => storeAnswers(database.write, [{ symbol: 'EMPTY', bars: [bar(101)] }]));
    const change = () => storeAnswers(database.write, [{ symbol: 'EMPTY', bars: [bar(101.5)] }]);
    const html = await after(change);
    expect(html.slice(html.indexOf('>EMPTY<')).split('</tr>')[0]).toContain('101.5');
  });

  test('hears of symbols', async () => {
    expect(await after(() => upsertSymbols(database.write, ['YOUNG']))).toContain('>YOUNG<');
  });

  test('hears of decisions about findings, also of such that are about no bar', async () => {
    const open = (html: string) => Number(/>(\d+) findings?</.exec(html)?.[1]);
    const before = open(await (await poll()).text());
    const [bar] = await clone().sql`
      select finding_id as id from findings
      where state = 'open' and kind = 'volume_drought' limit 1`;
    const decide = (id: number) =>
      decideFindings(
        database.write,
        { findingIds: [id], decision: 'accept', actor: 'test', note: 'seen' },
        Date.now(),
      );
    expect(open(await after(() => decide(bar.id)))).toBe(before - 1);
    const [made] = await clone().sql`
      insert into findings (instrument_id, timeframe, session, kind, digest, ts_found)
      select instrument_id, '1d', '2023-03-01', 'possible_split', 'x', now()
      from findings where finding_id = ${bar.id} returning finding_id as id, instrument_id`;
    await clone().sql`select pg_notify('marketd', ${`bars ${made.instrument_id}`})`;
    await until(async () => (open(await (await poll()).text()) === before ? true : undefined));
    const reject = () =>
      decideFindings(
        database.write,
        { findingIds: [made.id], decision: 'reject', actor: 'test' },
        Date.now(),
      );
    expect(open(await after(reject))).toBe(before - 1);
  });

  test('hears of runs and of what operators ask for', async () => {
    let runId = 0;
    const begun = await after(async () => {
      runId = await insertRun(database.write, { job: 'backfill', origin: 'command', total: 8 });
    });
    expect(begun).toContain('A backfill is running: 0 of 8 requests are done.');
    await finishRun(database.write, runId, 'succeeded', null);
    await until(async () => ((await (await poll()).text()).includes('is running') ? undefined : 1));
    const asked = {
      ...{ symbols: ['AAPL'], timeframe: '1d', firstSession: '2022-01-03', lastSession: null },
      retryEmpty: false,
    };
    let requestId = 0;
    const waiting = await after(async () => {
      const job = { kind: 'backfill' as const, actor: 'test', arguments: asked };
      requestId = (await insertJobRequest(database.write, job, Date.now())).requestId;
    });
    expect(waiting).toContain('A backfill waits, and no process runs jobs now.');
    await cancelJobRequest(database.write, requestId, 'test', Date.now());
    await until(async () => ((await (await poll()).text()).includes('waits, and') ? undefined : 1));
  });
});
