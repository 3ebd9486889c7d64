import { describe, expect, test } from 'bun:test';
import { startJobQueue } from '../../src/ingest/job-queue.ts';
import { startLeader } from '../../src/ingest/leader.ts';
import {
  cancelJobRequest,
  countRequestFailures,
  insertJobRequest,
  type JobKind,
  type JobRequest,
  type RawArguments,
  selectJobRequest,
  selectRequestFailures,
} from '../../src/store/job-requests.ts';
import { insertRun, leaseLock, selectRun } from '../../src/store/jobs.ts';
import { EDITIONS } from '../database.ts';
import {
  API_KEY,
  barRequests,
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  selectRunLines,
  type World,
} from '../fixtures/backfill-world.ts';
import { until } from '../fixtures/http-server.ts';

const FIRST = '2024-02-20';
const LAST = '2024-03-01';
const NOW = '2024-03-02T04:00:00Z';
const SESSIONS = dailyBars(FIRST, LAST).length;
const SYMBOLS = ['AAA', 'BBB', 'CCC'];
const bars = marketBars(SYMBOLS, FIRST, LAST);

const actor = 'page 127.0.0.1';
const ALL: RawArguments = {
  ...{ symbols: SYMBOLS, timeframe: '1d', firstSession: FIRST, lastSession: null },
  retryEmpty: false,
};

/** A vendor that never answers the first time that it is asked for BBB. */
function holdBack(world: World): { asked: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isAsked = false;
  misbehaveFor(world.vendor(), {
    '/ticker/BBB/range': (_request, honest) => {
      if (isAsked) return honest();
      isAsked = true;
      resolve();
      return Promise.withResolvers<Response>().promise;
    },
  });
  return { asked: promise };
}

const ask = (world: World, change: Partial<RawArguments> = {}, kind: JobKind = 'backfill') =>
  insertJobRequest(
    world.sql,
    { kind, arguments: kind === 'reconcile' ? null : { ...ALL, ...change }, actor },
    world.context.now(),
  );

/** A process as far as this goes: it wants to lead, and runs what was asked for when it does. */
function start(
  world: World,
  {
    hasProvider = true,
    pollMs = 30,
    caughtUp,
  }: { hasProvider?: boolean; pollMs?: number; caughtUp?: Promise<void> } = {},
) {
  const { database, log, now } = world.context;
  const leader = startLeader({ url: world.url, log });
  const queue = startJobQueue({
    ...{ database, leader, now, log, pollMs, closesBackfills: true, reconcile: undefined },
    caughtUp,
    backfill: hasProvider ? world.context : undefined,
  });
  const stop = async () => {
    await queue.stop();
    await leader.stop();
  };
  return { queue, leader, stop, [Symbol.asyncDispose]: stop };
}

const look = async (world: World, requestId: number): Promise<JobRequest> => {
  const request = await selectJobRequest(world.sql, requestId);
  if (!request) throw new Error(`there is no request ${requestId}`);
  return request;
};

/** Resolves when a request is in a state, and says what it is to say. */
const untilState = (world: World, requestId: number, state: string, message = '') =>
  until(async () => {
    const request = await look(world, requestId);
    const isIt = request.state === state && (request.message ?? '').includes(message);
    return isIt ? request : undefined;
  });

async function countBars(world: World, symbol: string): Promise<number> {
  const [row] = await world.sql<{ count: number }[]>`
    select count(*) as count from bars_1d join symbol_ranges using (instrument_id)
    where symbol = ${symbol}`;
  return row.count;
}

for (const edition of EDITIONS) {
  const open = () => openWorld(edition, { now: NOW, firstSession: FIRST, bars, key: API_KEY });

  describe(`requests of operators (${edition})`, () => {
    test('a backfill adds the symbols, fills them, and says what came of it', async () => {
      await using world = await open();
      await using _process = start(world);
      const { requestId } = await ask(world);
      const done = await untilState(world, requestId, 'succeeded');
      expect(done.message).toMatch(
        new RegExp(`^${3 * SESSIONS} bars new, 0 changed, 0 rows rejected, \\d+ requests$`),
      );
      const run = await selectRun(world.sql, done.runId ?? 0);
      expect(run).toMatchObject({ job: 'backfill', origin: 'operator', state: 'succeeded' });
      expect(run?.inserted).toBe(3 * SESSIONS);
      const [tracked] = await world.sql`
        select count(*) as count from instruments where is_tracked`;
      expect(tracked).toEqual({ count: 3 });
      const again = await ask(world);
      const idle = await untilState(world, again.requestId, 'succeeded');
      expect([idle.runId, idle.message]).toEqual([
        ...[null, 'nothing is missing: no request was sent'],
      ]);
    });

    test('a repair fills what lacks, and refuses a symbol that is not known', async () => {
      await using world = await open();
      await world.backfill(['AAA']);
      await world.sql`delete from bars_1d where session = '2024-02-22'`;
      await using _process = start(world);
      const { requestId } = await ask(world, { symbols: ['AAA'] }, 'repair');
      const done = await untilState(world, requestId, 'succeeded');
      expect(done.message).toStartWith('1 bar new');
      expect(await countBars(world, 'AAA')).toBe(SESSIONS);
      const unknown = await ask(world, { symbols: ['NOPE'] }, 'repair');
      const refused = await untilState(world, unknown.requestId, 'refused');
      expect(refused.message).toContain('there is no symbol NOPE here');
      expect(refused.finishedAt).not.toBeNull();
    });

    test('run one after the other, and those that wait say for whom', async () => {
      await using world = await open();
      const { asked } = holdBack(world);
      await using _process = start(world);
      const first = await ask(world);
      await asked;
      const running = await look(world, first.requestId);
      expect(running).toMatchObject({ state: 'running', startedAt: new Date(NOW) });
      expect(await selectRun(world.sql, running.runId ?? 0)).toMatchObject({ state: 'running' });
      const second = await ask(world, { symbols: ['CCC'] });
      const third = await ask(world, { symbols: ['AAA'] });
      for (const { requestId } of [second, third]) {
        await untilState(world, requestId, 'queued', `waits for request ${first.requestId}`);
      }
      await cancelJobRequest(world.sql, third.requestId, actor, world.context.now());
      await cancelJobRequest(world.sql, first.requestId, actor, world.context.now());
      await untilState(world, second.requestId, 'succeeded');
      expect(await look(world, third.requestId)).toMatchObject({ startedAt: null, runId: null });
    });

    test('one that is cancelled keeps what it has; the next one asks for the rest', async () => {
      await using world = await open();
      world.context.batchRows = 1; // what has arrived is committed
      const { asked } = holdBack(world);
      await using process = start(world, { pollMs: 600_000 }); // only what it is told
      process.queue.wake();
      const { requestId } = await ask(world);
      await until(async () => {
        process.queue.wake();
        return (await look(world, requestId)).state === 'running' ? true : undefined;
      });
      await asked;
      await until(async () => ((await countBars(world, 'CCC')) > 0 ? true : undefined));
      await cancelJobRequest(world.sql, requestId, 'http 10.0.0.1', world.context.now());
      process.queue.wake();
      const done = await untilState(world, requestId, 'cancelled');
      expect(done.message).toBe('cancelled by http 10.0.0.1; what was committed stays');
      expect(await selectRun(world.sql, done.runId ?? 0)).toMatchObject({
        ...{ state: 'interrupted', error: 'cancelled by http 10.0.0.1' },
      });
      expect(await countBars(world, 'AAA')).toBe(SESSIONS);
      expect(await countBars(world, 'BBB')).toBe(0);
      await world.replaceVendor({ bars });
      const next = await ask(world);
      process.queue.wake();
      await untilState(world, next.requestId, 'succeeded');
      expect(await countBars(world, 'BBB')).toBe(SESSIONS);
      expect(barRequests(world.vendor()).every((line) => line.includes('/BBB/'))).toBe(true);
    });

    test('waits for a backfill of somebody else, and runs when that has ended', async () => {
      await using world = await open();
      const lease = await leaseLock(world.url, 'backfill');
      await using _process = start(world);
      const { requestId } = await ask(world);
      await untilState(world, requestId, 'queued', 'waits for another backfill');
      const runId = await insertRun(world.sql, { job: 'backfill', origin: 'command', total: 1 });
      const waits = `waits for run ${runId} (backfill, origin: command)`;
      await untilState(world, requestId, 'queued', waits);
      await lease?.release();
      await untilState(world, requestId, 'succeeded');
      expect(await selectRunLines(world.sql)).toEqual([
        ...['command interrupted', 'operator succeeded'],
      ]);
    });

    test('waits for the night that is caught up with', async () => {
      await using world = await open();
      const night = Promise.withResolvers<void>();
      await using _process = start(world, { caughtUp: night.promise });
      const { requestId } = await ask(world);
      await untilState(world, requestId, 'queued', 'waits for the nightly backfill');
      night.resolve();
      await untilState(world, requestId, 'succeeded');
    });

    test('waits where there is nobody to ask, and holds nobody else up', async () => {
      await using world = await open();
      await using _process = start(world, { hasProvider: false });
      const { requestId } = await ask(world);
      await untilState(world, requestId, 'queued', 'has no provider to ask: set POLYGON_API_KEY');
      const other = await ask(world, {}, 'reconcile');
      await untilState(world, other.requestId, 'queued', 'has no second source');
      expect(await selectRunLines(world.sql)).toEqual([]);
    });

    test('waits for a process that leads', async () => {
      await using world = await open();
      const lead = await leaseLock(world.url, 'scheduler');
      const { requestId } = await ask(world);
      await using standby = start(world);
      expect(standby.leader.isLeader()).toBe(false);
      expect((await look(world, requestId)).state).toBe('queued');
      await lead?.release();
      await untilState(world, requestId, 'succeeded');
    });

    test('goes back to the queue when the process is stopped', async () => {
      await using world = await open();
      const { asked } = holdBack(world);
      const process = start(world);
      const { requestId } = await ask(world);
      await asked;
      await process.stop();
      expect(await look(world, requestId)).toMatchObject({
        ...{ state: 'queued', startedAt: null, finishedAt: null },
        message: 'interrupted (marketd was stopped): it goes on where it was',
      });
      expect(await selectRunLines(world.sql)).toEqual(['operator interrupted']);
      await world.replaceVendor({ bars });
      await using _next = start(world);
      await untilState(world, requestId, 'succeeded');
    });

    test('goes on, here or there, when the connection of the one that leads is cut', async () => {
      await using world = await open();
      const { asked } = holdBack(world);
      await using first = start(world);
      const { requestId } = await ask(world);
      await asked;
      await using second = start(world);
      expect(second.leader.isLeader()).toBe(false);
      await world.sql`
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where application_name = 'marketd scheduler' and datname = current_database()`;
      const done = await untilState(world, requestId, 'succeeded');
      expect([first, second].filter(({ leader }) => leader.isLeader())).toHaveLength(1);
      expect(await selectRunLines(world.sql)).toEqual([
        ...['operator interrupted', 'operator succeeded'],
      ]);
      expect((await selectRun(world.sql, done.runId ?? 0))?.state).toBe('succeeded');
      for (const symbol of SYMBOLS) expect(await countBars(world, symbol)).toBe(SESSIONS);
    });

    test('a run that a dead process left open is closed, and its request goes on', async () => {
      await using world = await open();
      const { requestId } = await ask(world);
      const runId = await insertRun(world.sql, { job: 'backfill', origin: 'operator', total: 4 });
      await world.sql`
        update job_requests set state = 'running', attempts = 1, run_id = ${runId},
          started_at = now() where request_id = ${requestId}`;
      await using _process = start(world);
      const done = await untilState(world, requestId, 'succeeded');
      expect(done.runId).not.toBe(runId);
      expect(await selectRun(world.sql, runId)).toMatchObject({
        ...{ state: 'interrupted', error: 'the process ended before the run did' },
      });
      expect(world.logs.join('\n')).toContain('the process that ran it ended');
    });

    /** The database refuses each bar of BBB. */
    const refuseBars = async (world: World, errcode: string) => {
      await world.sql`
        create function refuse_bar() returns trigger language plpgsql as $$
        begin
          if exists (select from symbol_ranges n
                     where n.instrument_id = new.instrument_id and n.symbol = 'BBB') then
            raise exception 'no bar of BBB' using errcode = tg_argv[0];
          end if;
          return new;
        end $$`;
      await world.sql`
        create trigger refuse_bar before insert on bars_1d for each row
        execute function refuse_bar(${world.sql.unsafe(`'${errcode}'`)})`;
    };

    test('a fault that ends a run ends the request: it is not run again and again', async () => {
      await using world = await open();
      world.context.batchRows = 1; // committed while the others are still asked for
      await refuseBars(world, '23514');
      await using _process = start(world);
      const { requestId } = await ask(world);
      const done = await untilState(world, requestId, 'failed');
      expect(done.message).toContain('no bar of BBB');
      expect(await selectRunLines(world.sql)).toEqual(['operator failed']);
    });

    test('one that the database interrupts rests, and holds nobody else up', async () => {
      await using world = await open();
      world.context.batchRows = 1;
      await refuseBars(world, '57P02'); // as of a server that crashed over it
      await using process = start(world, { pollMs: 600_000 });
      const first = await ask(world);
      const wakeUntil = (requestId: number, state: string, message = '') =>
        until(async () => {
          process.queue.wake();
          const request = await look(world, requestId);
          const isIt = request.state === state && (request.message ?? '').includes(message);
          return isIt ? request : undefined;
        });
      await wakeUntil(first.requestId, 'queued', 'interrupted (no bar of BBB)');
      const second = await ask(world, { symbols: ['CCC'], firstSession: '2024-02-21' });
      await wakeUntil(second.requestId, 'succeeded');
      process.queue.wake();
      const third = await ask(world, { symbols: ['AAA'], firstSession: '2024-02-22' });
      await wakeUntil(third.requestId, 'succeeded');
      const operators = (await selectRunLines(world.sql)).filter((line) => line.includes('inter'));
      expect(operators).toEqual(['operator interrupted']);
      expect(await look(world, first.requestId)).toMatchObject({ state: 'queued' });
    });

    test('a vendor’s words that PostgreSQL cannot hold do not keep it open', async () => {
      await using world = await open();
      misbehaveFor(world.vendor(), {
        '/ticker/BBB/range': () =>
          Response.json({ error: `odd \0 words ${'x'.repeat(5_000)}` }, { status: 400 }),
      });
      await using _process = start(world);
      const { requestId } = await ask(world);
      const done = await untilState(world, requestId, 'failed');
      expect(done.message).toContain('odd \uFFFD words');
      expect(done.message?.length).toBeLessThan(2_000);
      for (const symbol of ['AAA', 'CCC']) expect(await countBars(world, symbol)).toBe(SESSIONS);
    });

    test('one that was cancelled and whose process is gone can be cancelled for good', async () => {
      await using world = await open();
      const { requestId } = await ask(world);
      await world.sql`
        update job_requests set state = 'running', attempts = 1, started_at = now()
        where request_id = ${requestId}`;
      const cancel = () =>
        cancelJobRequest(world.sql, requestId, 'http 10.0.0.1', world.context.now());
      const lead = await leaseLock(world.url, 'scheduler');
      expect(await cancel()).toMatchObject({ state: 'running', finishedAt: null });
      expect(await cancel()).toMatchObject({ state: 'running', finishedAt: null });
      await lead?.release();
      expect(await cancel()).toMatchObject({
        ...{ state: 'cancelled', message: 'cancelled by http 10.0.0.1' },
      });
      const entries = await world.sql`select from audit_log where action = 'job.cancel'`;
      expect(entries).toHaveLength(2);
    });

    test('goes on when the database was away in between', async () => {
      await using world = await open();
      const { asked } = holdBack(world);
      await using _process = start(world);
      const { requestId } = await ask(world);
      await asked;
      await world.sql`
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()`;
      await untilState(world, requestId, 'succeeded');
      for (const symbol of SYMBOLS) expect(await countBars(world, symbol)).toBe(SESSIONS);
    });
  });

  describe(`failed requests (${edition})`, () => {
    const failuresOf = async (world: World, request: JobRequest) => {
      const found = await selectRequestFailures(world.sql, {
        runId: request.runId ?? 0,
        limit: 99,
      });
      return found.map(({ failureId: _, runId: __, at: ___, ...rest }) => rest);
    };

    test('are kept in the vendor’s words, without a key', async () => {
      await using world = await open();
      const refusal = {
        message: `No bars: https://api/v2?apiKey=${API_KEY}`,
        next_url: 'https://api/v2?cursor=7&apiKey=another-key',
      };
      misbehaveFor(world.vendor(), {
        '/ticker/BBB/range': () => Response.json(refusal, { status: 404 }),
        'splits?': () => Response.json({ error: 'Not today.' }, { status: 400 }),
        '/tickers/CCC': () => new Response('<html>', { status: 200 }),
      });
      await using _process = start(world);
      const { requestId } = await ask(world);
      const done = await untilState(world, requestId, 'failed');
      expect(done.message).toStartWith('2 failed, first');
      const failures = await failuresOf(world, done);
      const of = (dataset: string) => failures.filter((one) => one.dataset === dataset);
      const [bar] = of('1d');
      expect(of('1d')).toHaveLength(1);
      expect(bar).toMatchObject({
        ...{ symbol: 'BBB', firstSession: FIRST, lastSession: LAST, kind: 'not_found' },
        status: 404,
      });
      expect(bar.message).toContain('answered 404, No bars');
      expect(JSON.parse(bar.body ?? '')).toEqual({
        message: 'No bars: https://api/v2?apiKey=********',
        next_url: 'https://api/v2?cursor=7&apiKey=********',
      });
      expect(of('splits')).toMatchObject([{ kind: 'bad_request', status: 400 }]);
      expect(of('splits')[0].body).toContain('Not today.');
      expect(JSON.stringify([failures, done, world.logs])).not.toContain(API_KEY);
      expect(JSON.stringify(failures)).not.toContain('another-key');
    });

    test('of a run with a great many the first thousand are kept', async () => {
      await using world = await open();
      const symbols = Array.from({ length: 1_005 }, (_, i) => `S${i}`);
      misbehaveFor(world.vendor(), { '/range/': () => Response.json({}, { status: 404 }) });
      const { runId, failures } = await world.backfill(symbols, { timeframe: '1h' });
      expect(failures).toHaveLength(1_005);
      expect(await countRequestFailures(world.sql, runId ?? 0)).toBe(1_000);
      const run = await selectRun(world.sql, runId ?? 0);
      expect(run?.error).toStartWith('1005 failed, first: ');
    });

    test('the one that ends the run is kept as well', async () => {
      await using world = await open();
      await world.replaceVendor({ bars, key: 'a key that is not ours' });
      await using _process = start(world);
      const { requestId } = await ask(world);
      const done = await untilState(world, requestId, 'failed', 'Unknown API Key');
      const failures = await failuresOf(world, done);
      expect(failures).toMatchObject([{ kind: 'unauthorized', status: 401 }]);
      expect(failures[0].body).toContain('Unknown API Key');
      expect(await selectRun(world.sql, done.runId ?? 0)).toMatchObject({ state: 'failed' });
    });
  });
}
