import { afterEach, describe, expect, test } from 'bun:test';
import { hostname } from 'node:os';
import {
  type BackfillResult,
  closeDeadRuns,
  finishRun,
  insertRun,
  type Lease,
  leaseLock,
  selectLastScheduled,
  selectRun,
  selectRunJobs,
  selectRunPage,
  selectRunResults,
  selectRuns,
  selectUnderWay,
  updateRun,
  upsertBackfillResults,
} from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';
import { addInstrument, failureOf } from '../fixtures/warehouse.ts';

const NONE = { requests: 0, inserted: 0, changed: 0, unchanged: 0, rejected: 0 };

describeEditions('jobs', (database) => {
  const sql = () => database().sql;

  describe('lock', () => {
    const held: Lease[] = [];
    afterEach(async () => {
      await Promise.all(held.splice(0).map((lease) => lease.release()));
    });
    const take = async (name: string) => {
      const lease = await leaseLock(database().url, name);
      if (lease) held.push(lease);
      return lease;
    };
    const taken = async (name: string) => {
      const lease = await take(name);
      if (!lease) throw new Error(`the lock ${name} was not free`);
      return lease;
    };

    test('is held by one', async () => {
      const lease = await taken('one');
      expect(await take('one')).toBeUndefined();
      await lease.release();
      expect(lease.lost.aborted).toBe(false);
      expect(await take('one')).toBeDefined();
    });

    test('of another name is another lock', async () => {
      expect(await take('left')).toBeDefined();
      expect(await take('right')).toBeDefined();
    });

    test('goes to one of many that try at once', async () => {
      const leases = await Promise.all(Array.from({ length: 10 }, () => take('many')));
      expect(leases.filter((lease) => lease !== undefined).length).toBe(1);
    });

    test('is lost, and free, when the connection of its holder dies', async () => {
      const lease = await taken('dies');
      const lost = new Promise<unknown>((resolve) => {
        lease.lost.addEventListener('abort', () => resolve(lease.lost.reason));
      });
      const killed = await sql()`
        select pg_terminate_backend(pid, 5000) as gone from pg_stat_activity
        where datname = current_database() and application_name = 'marketd dies'`;
      expect(killed.map(({ gone }) => gone)).toEqual([true]);
      const reason = (await lost) as Error;
      expect(reason.message).toBe('the connection that held the lock "dies" was lost');
      expect(await take('dies')).toBeDefined();
    });

    test('leaves no connection behind when it is not free, or released', async () => {
      const lease = await taken('tidy');
      await take('tidy');
      await lease.release();
      const left = () => sql()`
        select from pg_stat_activity
        where datname = current_database() and application_name = 'marketd tidy'`;
      // A backend goes a moment after its connection; the time limit of the test ends the wait.
      while ((await left()).length > 0);
      expect((await left()).length).toBe(0);
    });

    test('of a server that cannot be reached is an error', async () => {
      const url = new URL(database().url);
      url.pathname = '/there_is_no_such_database';
      expect(await failureOf(leaseLock(url.toString(), 'x'))).toContain('does not exist');
    });
  });

  describe('run', () => {
    test('is recorded from its start to its end', async () => {
      const scheduledFor = new Date('2024-03-01T02:00:00Z');
      const job = 'recorded';
      const options = { job, origin: 'schedule' as const, scheduledFor, total: 12 };
      const runId = await insertRun(sql(), options);
      const [started] = await selectRuns(sql(), 1, job);
      expect(started).toEqual({
        ...{ runId, job, origin: 'schedule', state: 'running', scheduledFor, total: 12, done: 0 },
        ...{ startedAt: started.startedAt, finishedAt: null, error: null, ...NONE },
      });
      expect(started.startedAt).toBeInstanceOf(Date);
      const counts = {
        requests: 7,
        inserted: 6_000_000_000,
        changed: 5,
        unchanged: 4,
        rejected: 3,
      };
      await updateRun(sql(), runId, { ...counts, done: 8 });
      expect(await selectRuns(sql(), 1, job)).toEqual([{ ...started, ...counts, done: 8 }]);
      await finishRun(sql(), runId, 'failed', 'the vendor stayed away');
      const [finished] = await selectRuns(sql(), 1, job);
      expect(finished).toMatchObject({
        ...{ ...counts, state: 'failed', error: 'the vendor stayed away' },
      });
      expect(finished.finishedAt).toBeInstanceOf(Date);
      const [row] = await sql()`select worker from job_runs where run_id = ${runId}`;
      expect(row.worker).toBe(`${hostname()}:${process.pid}`);
    });

    test('that a dead process left open is closed by the next run of its job', async () => {
      const start = (job: string) => insertRun(sql(), { job, origin: 'start', total: 1 });
      const [dead, other] = [await start('dies'), await start('lives')];
      const next = await start('dies');
      const states = async () =>
        Object.fromEntries(
          (await sql()`select run_id, state from job_runs where job in ('dies', 'lives')`).map(
            ({ run_id, state }) => [run_id, state],
          ),
        );
      expect(await states()).toEqual({
        ...{ [dead]: 'interrupted', [other]: 'running', [next]: 'running' },
      });
      const [, closed] = await selectRuns(sql(), 2, 'dies');
      expect(closed).toMatchObject({
        runId: dead,
        error: 'the process ended before the run did',
      });
      expect(closed.finishedAt).toBeInstanceOf(Date);
      await finishRun(sql(), next, 'succeeded', null);
      await start('dies');
      expect((await states())[next]).toBe('succeeded');
    });

    test('that was left open is closed by a new leader, unless its process lives', async () => {
      const [dead, alive] = [
        await insertRun(sql(), { job: 'left-open', origin: 'schedule', total: 1 }),
        await insertRun(sql(), { job: 'still-open', origin: 'schedule', total: 1 }),
      ];
      const lease = await leaseLock(database().url, 'still-open');
      try {
        for (const job of ['left-open', 'still-open', 'never-ran']) {
          await closeDeadRuns(database().url, sql(), job);
        }
      } finally {
        await lease?.release();
      }
      const state = async (job: string) =>
        (await selectRuns(sql(), 1, job)).map((run) => [run.runId, run.state]);
      expect(await state('left-open')).toEqual([[dead, 'interrupted']]);
      expect(await state('still-open')).toEqual([[alive, 'running']]);
      const again = await leaseLock(database().url, 'left-open');
      await again?.release();
      expect(again).toBeDefined();
    });

    test('is listed newest first, and one that runs often hides no other', async () => {
      const ids: number[] = [];
      const jobs = ['list-a', 'list-b', 'backfill', 'backfill', 'backfill', 'list-a', 'list-a'];
      for (const job of jobs) {
        ids.push(await insertRun(sql(), { job, origin: 'command', total: 0 }));
      }
      const listed = async (limit: number, job?: string) =>
        (await selectRuns(sql(), limit, job)).map(({ runId }) => runId);
      const all = await listed(2);
      expect(all.filter((id) => ids.includes(id))).toEqual([ids[6], ids[4], ids[3], ids[1]]);
      expect(all).toEqual(all.toSorted((a, b) => b - a));
      expect(await listed(2, 'list-a')).toEqual([ids[6], ids[5]]);
      expect(await listed(10, 'list-b')).toEqual([ids[1]]);
      expect(await listed(10, 'list-c')).toEqual([]);
    });

    test('that was scheduled is remembered by when it was meant to start', async () => {
      expect(await selectLastScheduled(sql(), 'nightly')).toBeUndefined();
      const run = async (day: number, state: 'succeeded' | 'failed' | 'interrupted') => {
        const scheduledFor = new Date(Date.UTC(2024, 2, day, 2));
        const options = { job: 'nightly', origin: 'schedule' as const, scheduledFor, total: 0 };
        await finishRun(sql(), await insertRun(sql(), options), state, null);
      };
      const last = async () => (await selectLastScheduled(sql(), 'nightly'))?.toISOString();
      await run(1, 'succeeded');
      expect(await last()).toBe('2024-03-01T02:00:00.000Z');
      await run(3, 'failed');
      expect(await last()).toBe('2024-03-03T02:00:00.000Z');
      await run(4, 'interrupted');
      await run(2, 'succeeded');
      const byHand = { job: 'nightly', origin: 'command' as const, total: 0 };
      await finishRun(sql(), await insertRun(sql(), byHand), 'succeeded', null);
      expect(await last()).toBe('2024-03-03T02:00:00.000Z');
    });
  });

  describe('results of a backfill', () => {
    const result = (instrumentId: number, change: Partial<BackfillResult>): BackfillResult => ({
      ...{ instrumentId, startSession: '2024-01-02', endSession: '2024-01-31' },
      ...{ inserted: 1, changed: 2, unchanged: 3, rejected: 4, error: null },
      ...change,
    });
    const stored = async (runId: number) =>
      (
        await sql()`
          select instrument_id, start_session, end_session, inserted, changed, unchanged, rejected,
                 ok, error
          from backfill_results where run_id = ${runId} order by instrument_id`
      ).map((row) => Object.values(row));
    const newRun = () => insertRun(sql(), { job: 'backfill', origin: 'command', total: 1 });
    const lastOk = async (id: number) => {
      const [row] = await sql()`
        select last_backfill_ok as ok, last_backfill_at is not null as dated, records, version
        from instrument_status where instrument_id = ${id} and timeframe = '1d'`;
      return { ...row };
    };

    test('of one instrument in one run are added up', async () => {
      const [a, b] = [await addInstrument(sql(), 'RA'), await addInstrument(sql(), 'RB')];
      const runId = await newRun();
      await upsertBackfillResults(sql(), runId, [result(a, {}), result(b, { inserted: 9 })]);
      const later = { startSession: '2024-02-01', endSession: '2024-02-29', inserted: 100 };
      const earlier = { startSession: '2023-12-01', endSession: '2023-12-29' };
      await upsertBackfillResults(sql(), runId, [result(a, later)]);
      await upsertBackfillResults(sql(), runId, [result(a, earlier)]);
      expect(await stored(runId)).toEqual([
        [a, '2023-12-01', '2024-02-29', 102, 6, 9, 12, true, null],
        [b, '2024-01-02', '2024-01-31', 9, 2, 3, 4, true, null],
      ]);
      const next = await newRun();
      await upsertBackfillResults(sql(), next, [result(a, {})]);
      expect((await stored(next)).length).toBe(1);
      expect((await stored(runId)).length).toBe(2);
    });

    test('are not ok when one part failed, and keep the first error', async () => {
      const id = await addInstrument(sql(), 'RF');
      const runId = await newRun();
      await upsertBackfillResults(sql(), runId, [result(id, {})]);
      expect(await lastOk(id)).toEqual({ ok: true, dated: true, records: 0, version: 0 });
      await upsertBackfillResults(sql(), runId, [result(id, { error: 'first' })]);
      await upsertBackfillResults(sql(), runId, [result(id, { error: 'second' })]);
      expect((await stored(runId)).map((row) => row.slice(-2))).toEqual([[false, 'first']]);
      expect((await lastOk(id)).ok).toBe(false);
      await upsertBackfillResults(sql(), await newRun(), [result(id, {})]);
      expect((await lastOk(id)).ok).toBe(true);
    });

    test('stay not ok when another part of the same run goes well', async () => {
      const id = await addInstrument(sql(), 'RS');
      const runId = await newRun();
      await upsertBackfillResults(sql(), runId, [result(id, { error: 'no answer' })]);
      await upsertBackfillResults(sql(), runId, [result(id, {})]);
      expect((await stored(runId)).map((row) => row.slice(-2))).toEqual([[false, 'no answer']]);
      expect((await lastOk(id)).ok).toBe(false);
    });

    test('of nobody are nothing', async () => {
      const runId = await newRun();
      await upsertBackfillResults(sql(), runId, []);
      expect(await stored(runId)).toEqual([]);
    });

    test('are read by page, failed ones first, with the symbol of now, and searched', async () => {
      const runId = await newRun();
      const ids: number[] = [];
      for (const symbol of ['PgB', 'PgA', 'PgD', 'PgC']) {
        ids.push(await addInstrument(sql(), symbol));
      }
      const [b, a, d, c] = ids;
      const failed = { error: 'no answer' };
      await upsertBackfillResults(sql(), runId, [result(a, {}), result(b, {}), result(c, failed)]);
      await upsertBackfillResults(sql(), runId, [result(d, failed)]);
      await sql()`
        update symbol_ranges set valid_to = '2024-01-02' where instrument_id = ${a}`;
      await sql()`
        insert into symbol_ranges (instrument_id, symbol, valid_from)
        values (${a}, 'PgZ', '2024-01-02')`;
      const read = (q: string, limit: number, offset: number) =>
        selectRunResults(sql(), runId, { q, limit, offset });
      const names = ({ results }: { results: { symbol: string }[] }) =>
        results.map(({ symbol }) => symbol);
      const all = await read('', 10, 0);
      expect(names(all)).toEqual(['PgC', 'PgD', 'PgB', 'PgZ']);
      expect([all.total, all.failed]).toEqual([4, 2]);
      expect(all.results[0]).toMatchObject({ ...result(c, failed), symbol: 'PgC' });
      expect(names(await read('', 2, 1))).toEqual(['PgD', 'PgB']);
      const found = await read('gd', 10, 0);
      expect([names(found), found.total, found.failed]).toEqual([['PgD'], 1, 1]);
      // A wildcard is a letter like any other.
      expect((await read('%', 10, 0)).total).toBe(0);
      expect((await selectRunResults(sql(), 4_711_000, { q: '', limit: 1, offset: 0 })).total).toBe(
        0,
      );
    });
  });

  describe('runs', () => {
    test('are read by page, of a job, in a state, and one by one', async () => {
      await sql()`truncate job_runs cascade`;
      expect(await selectRunJobs(sql())).toEqual([]);
      const ids: number[] = [];
      for (const job of ['backfill', 'reconcile', 'backfill 1m', 'backfill', 'backfill']) {
        ids.push(await insertRun(sql(), { job, origin: 'operator', total: 3 }));
      }
      const [first, second, third, fourth, fifth] = ids;
      await finishRun(sql(), second, 'failed', 'no answer');
      const read = async (filter: Parameters<typeof selectRunPage>[1], limit = 10, offset = 0) => {
        const { runs, total } = await selectRunPage(sql(), filter, { limit, offset });
        return [runs.map(({ runId }) => runId), total];
      };
      expect(await read({})).toEqual([[fifth, fourth, third, second, first], 5]);
      expect(await read({}, 2, 1)).toEqual([[fourth, third], 5]);
      expect(await read({}, 2, 9)).toEqual([[], 5]);
      expect(await read({ job: 'backfill' })).toEqual([[fifth, fourth, first], 3]);
      expect(await read({ state: 'failed' })).toEqual([[second], 1]);
      expect(await read({ job: 'backfill', state: 'failed' })).toEqual([[], 0]);
      // The ones before are closed by the next of their job.
      const underWay = await selectUnderWay(sql());
      expect(underWay.map(({ runId }) => runId)).toEqual([third, fifth]);
      expect(await selectRunJobs(sql())).toEqual(['backfill', 'backfill 1m', 'reconcile']);
      const worker = `${hostname()}:${process.pid}`;
      expect(await selectRun(sql(), second)).toMatchObject({
        ...{ runId: second, job: 'reconcile', state: 'failed', error: 'no answer', worker },
      });
      expect(await selectRun(sql(), 4_711_000)).toBeUndefined();
    });
  });
});
