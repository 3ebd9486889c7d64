import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import {
  cancelJobRequest,
  checkArguments,
  countRequestFailures,
  describeJob,
  finishJobRequest,
  insertJobRequest,
  insertRequestFailure,
  leaseJobRequest,
  type RawArguments,
  requeueAbandoned,
  selectJobRequest,
  selectJobRequests,
  selectQueued,
  selectRequestFailures,
  updateRequestMessage,
  updateRequestRun,
} from '../../src/store/job-requests.ts';
import { closeDeadRuns, insertRun, isLed, leaseLock } from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';
import { ChangeLog } from '../fixtures/change-log.ts';

const NOW = Date.parse('2024-03-02T04:00:00Z');
const ASKED: RawArguments = {
  symbols: ['MSFT', 'AAPL', 'MSFT'],
  timeframe: '1d',
  firstSession: '2024-01-02',
  lastSession: null,
  retryEmpty: false,
};

describe('arguments', () => {
  test('have each symbol once, in order', () => {
    expect(checkArguments(ASKED, NOW)).toEqual({
      ...{ symbols: ['AAPL', 'MSFT'], timeframe: '1d', firstSession: '2024-01-02' },
      ...{ lastSession: null, retryEmpty: false },
    });
    expect(checkArguments({ ...ASKED, symbols: null }, NOW).symbols).toBeNull();
  });

  test('may end today in New York, and not tomorrow', () => {
    // Friday evening there.
    expect(checkArguments({ ...ASKED, lastSession: '2024-03-01' }, NOW).lastSession).toBe(
      '2024-03-01',
    );
  });

  const bad: [string, Partial<RawArguments>, string, string][] = [
    ['a timeframe that is made of others', { timeframe: '5m' }, 'timeframe', '1d, 1h, 1m'],
    ['no date', { firstSession: '2024-02-30' }, 'first_session', 'must be a date that exists'],
    ['an empty date', { firstSession: '' }, 'first_session', 'must be a date that exists'],
    ['a first session to come', { firstSession: '2024-03-02' }, 'first_session', 'in the future'],
    ['a last session to come', { lastSession: '2024-03-02' }, 'last_session', 'in the future'],
    ['a last session that is none', { lastSession: 'x' }, 'last_session', 'must be a date'],
    ['an end before the beginning', { lastSession: '2024-01-01' }, 'last_session', 'lies before'],
    ['no symbol', { symbols: [] }, 'symbols', 'name at least one'],
    ['what is no symbol', { symbols: ['AAPL', '<b>'] }, 'symbols', 'is not a symbol'],
    [
      'too many symbols',
      { symbols: Array.from({ length: 1_001 }, (_, i) => `S${i}`) },
      ...(['symbols', 'at most 1000'] as const),
    ],
  ];
  for (const [what, change, field, message] of bad) {
    test(`refuse ${what}`, () => {
      const check = () => checkArguments({ ...ASKED, ...change }, NOW);
      expect(check).toThrow(InputError);
      expect(check).toThrow(message);
      try {
        check();
      } catch (error) {
        expect((error as InputError).field).toBe(field);
      }
    });
  }

  test('in words', () => {
    const asked = checkArguments({ ...ASKED, symbols: ['D', 'C', 'B', 'A'] }, NOW);
    expect(describeJob({ kind: 'backfill', arguments: asked })).toBe(
      'backfill 1d of A, B, C and 1 more from 2024-01-02',
    );
    const all = { ...asked, symbols: null, lastSession: '2024-01-31' };
    expect(describeJob({ kind: 'repair', arguments: all })).toBe(
      'repair 1d of all symbols from 2024-01-02 to 2024-01-31',
    );
    expect(describeJob({ kind: 'reconcile', arguments: null })).toBe('reconcile');
  });
});

describeEditions('requests of operators', (database) => {
  const sql = () => database().sql;
  const actor = 'page 127.0.0.1';
  const ask = (change: Partial<RawArguments> = {}, kind: 'backfill' | 'repair' = 'backfill') =>
    insertJobRequest(sql(), { kind, arguments: { ...ASKED, ...change }, actor }, NOW);
  const askOther = (symbol: string) => ask({ symbols: [symbol] });
  const state = async (id: number) => {
    const request = await selectJobRequest(sql(), id);
    return request && [request.state, request.message];
  };
  const audit = async (id: number) => {
    const rows = await sql()`
      select actor, action, target, ts from audit_log
      where (detail ->> 'request_id')::bigint = ${id} order by audit_id`;
    return rows.map((row) => `${row.actor} ${row.action} ${row.target}`);
  };

  test('are queued, in the audit log, and told to every process', async () => {
    const log = new ChangeLog(database().url);
    await log.nextOf('trust');
    const request = await ask();
    await log.nextOf('jobs');
    await log.close();
    expect(request).toMatchObject({
      ...{ kind: 'backfill', state: 'queued', actor, requestedAt: new Date(NOW) },
      ...{ startedAt: null, finishedAt: null, cancelRequestedAt: null, runId: null },
      message: null,
    });
    expect(request.arguments).toEqual(checkArguments(ASKED, NOW));
    expect(await selectJobRequest(sql(), request.requestId)).toEqual(request);
    expect(await audit(request.requestId)).toEqual([
      `${actor} job.start backfill 1d of AAPL, MSFT from 2024-01-02`,
    ]);
    expect(await selectJobRequest(sql(), 999_999)).toBeUndefined();
  });

  test('that ask for the same and wait are one', async () => {
    const [first, ...rest] = await Promise.all(
      Array.from({ length: 6 }, () => ask({ symbols: ['ONE', 'TWO'] })),
    );
    expect(rest.map(({ requestId }) => requestId)).toEqual(rest.map(() => first.requestId));
    expect(await audit(first.requestId)).toHaveLength(1);
    const repair = await ask({ symbols: ['ONE', 'TWO'] }, 'repair');
    expect(repair.requestId).not.toBe(first.requestId);
    expect((await ask({ symbols: ['ONE'] })).requestId).not.toBe(first.requestId);
    await leaseJobRequest(sql(), first.requestId, NOW);
    expect((await ask({ symbols: ['ONE', 'TWO'] })).requestId).not.toBe(first.requestId);
    await requeueAbandoned(sql(), undefined, NOW);
  });

  test('are refused where they cannot be', async () => {
    const insert = (kind: 'backfill' | 'repair' | 'reconcile', raw: RawArguments | null) =>
      insertJobRequest(sql(), { kind, arguments: raw, actor }, NOW);
    await expect(insert('backfill', null)).rejects.toThrow('a backfill needs arguments');
    await expect(insert('reconcile', ASKED)).rejects.toThrow('draws its own sample');
    await expect(insert('repair', { ...ASKED, retryEmpty: true })).rejects.toThrow(
      'is for backfills',
    );
    await expect(insert('backfill', { ...ASKED, timeframe: '1w' })).rejects.toThrow('timeframe is');
    expect(await insert('reconcile', null)).toMatchObject({ arguments: null, state: 'queued' });
  });

  test('are listed, the newest first, page by page', async () => {
    const made = [await askOther('L1'), await askOther('L2'), await askOther('L3')];
    const ids = made.map(({ requestId }) => requestId).reverse();
    const first = await selectJobRequests(sql(), { limit: 2 });
    expect(first.map(({ requestId }) => requestId)).toEqual(ids.slice(0, 2));
    const next = await selectJobRequests(sql(), { limit: 1, before: ids[1] });
    expect(next.map(({ requestId }) => requestId)).toEqual(ids.slice(2));
    const queued = (await selectQueued(sql(), 1_000)).map(({ requestId }) => requestId);
    expect(queued).toEqual(queued.toSorted((a, b) => a - b));
    expect(queued).toContain(ids[0]);
  });

  test('that are cancelled while they wait never begin', async () => {
    const { requestId } = await askOther('C1');
    const cancelled = await cancelJobRequest(sql(), requestId, 'http 10.0.0.1', NOW + 5);
    expect(cancelled).toMatchObject({
      ...{ state: 'cancelled', message: 'cancelled by http 10.0.0.1 before it began' },
      ...{ finishedAt: new Date(NOW + 5), cancelRequestedAt: new Date(NOW + 5), startedAt: null },
    });
    expect(await leaseJobRequest(sql(), requestId, NOW)).toBeUndefined();
    expect(await cancelJobRequest(sql(), requestId, actor, NOW + 9)).toEqual(cancelled);
    expect((await audit(requestId)).map((line) => line.split(' ')[2])).toEqual([
      ...['job.start', 'job.cancel'],
    ]);
    expect(await cancelJobRequest(sql(), 999_999, actor, NOW)).toBeUndefined();
  });

  test('that run are told to end, by whoever leads', async () => {
    const lead = await leaseLock(database().url, 'scheduler');
    expect(await isLed(sql())).toBe(true);
    const { requestId } = await askOther('C2');
    const taken = (await leaseJobRequest(sql(), requestId, NOW))!;
    const told = await cancelJobRequest(sql(), requestId, actor, NOW + 5);
    expect(told).toMatchObject({ state: 'running', cancelRequestedAt: new Date(NOW + 5) });
    expect(await cancelJobRequest(sql(), requestId, actor, NOW + 9)).toEqual(told);
    expect(await audit(requestId)).toHaveLength(2);
    // The process is stopped before it looks: what was cancelled does not come back.
    await finishJobRequest(sql(), taken, { state: 'queued', message: 'stopped' }, NOW + 20);
    expect(await state(requestId)).toEqual(['cancelled', `cancelled by ${actor}`]);
    await lead?.release();
  });

  test('that nobody runs any more are cancelled at once', async () => {
    expect(await isLed(sql())).toBe(false);
    const { requestId } = await askOther('C3');
    await leaseJobRequest(sql(), requestId, NOW);
    await cancelJobRequest(sql(), requestId, actor, NOW + 5);
    expect(await state(requestId)).toEqual(['cancelled', `cancelled by ${actor}`]);
  });

  test('are taken up by one of many, and closed by whoever did so last', async () => {
    const { requestId } = await askOther('T1');
    const all = await Promise.all(
      Array.from({ length: 5 }, () => leaseJobRequest(sql(), requestId, NOW)),
    );
    const [first, ...others] = all.filter((one) => one !== undefined);
    expect(others).toEqual([]);
    const runId = await insertRun(sql(), { job: 'backfill', origin: 'operator', total: 1 });
    await updateRequestRun(sql(), first, runId);
    expect(await selectJobRequest(sql(), requestId)).toMatchObject({ runId, state: 'running' });
    expect(await requeueAbandoned(sql(), requestId, NOW)).toEqual([]);
    const [back] = await requeueAbandoned(sql(), undefined, NOW);
    expect(back).toMatchObject({ requestId, state: 'queued', startedAt: null, runId });
    expect(back.message).toBe('the process that ran it ended: it goes on where it was');
    const second = (await leaseJobRequest(sql(), requestId, NOW))!;
    await finishJobRequest(sql(), first, { state: 'failed', message: 'late' }, NOW);
    expect(await state(requestId)).toEqual(['running', null]);
    await finishJobRequest(sql(), second, { state: 'succeeded', message: 'done' }, NOW);
    expect(await state(requestId)).toEqual(['succeeded', 'done']);
    const ended = await cancelJobRequest(sql(), requestId, actor, NOW);
    expect(ended?.state).toBe('succeeded');
  });

  test('that end every process that runs them are given up', async () => {
    const { requestId } = await askOther('D1');
    for (let death = 1; death < 5; death++) {
      await leaseJobRequest(sql(), requestId, NOW);
      await requeueAbandoned(sql(), undefined, NOW);
      expect((await state(requestId))?.[0]).toBe('queued');
    }
    await leaseJobRequest(sql(), requestId, NOW);
    await requeueAbandoned(sql(), undefined, NOW);
    expect(await state(requestId)).toEqual([
      ...['failed', 'the process that ran it ended 5 times: it is not tried again'],
    ]);
  });

  test('say what they wait for, while they do', async () => {
    const { requestId } = await askOther('W1');
    await updateRequestMessage(sql(), requestId, 'waits for run 7');
    expect(await state(requestId)).toEqual(['queued', 'waits for run 7']);
    await leaseJobRequest(sql(), requestId, NOW);
    expect(await state(requestId)).toEqual(['running', null]);
    await updateRequestMessage(sql(), requestId, 'waits');
    expect(await state(requestId)).toEqual(['running', null]);
    await requeueAbandoned(sql(), undefined, NOW);
  });

  test('leave the failures of their runs, without keys', async () => {
    const runId = await insertRun(sql(), { job: 'failing', origin: 'operator', total: 1 });
    const failure = {
      ...{ runId, symbol: 'AAPL', dataset: '1d', kind: 'not_found', status: 404 },
      ...{ firstSession: '2024-01-02', lastSession: '2024-01-31' },
      message: 'https://x/?apiKey=abcDEF123: answered 404',
      body: `\0{"next_url":"https://x/v3?cursor=1&apiKey=abcDEF123"}${'z'.repeat(2_000)}`,
    };
    await insertRequestFailure(sql(), failure, NOW);
    const market = {
      firstSession: null,
      lastSession: null,
      symbol: null,
      status: null,
      body: null,
    };
    await insertRequestFailure(sql(), { ...failure, ...market }, NOW + 1);
    const [first, second] = await selectRequestFailures(sql(), { runId, limit: 10 });
    expect(first).toMatchObject({
      ...failure,
      at: new Date(NOW),
      message: first.message,
      body: first.body,
    });
    expect(first.message).toBe('https://x/?apiKey=********: answered 404');
    expect(first.body).toStartWith('\uFFFD{"next_url":"https://x/v3?cursor=1&apiKey=********"}zzz');
    expect(first.body).toHaveLength(1_024);
    expect(second).toMatchObject(market);
    expect(await countRequestFailures(sql(), runId)).toBe(2);
    const after = first.failureId;
    expect(await selectRequestFailures(sql(), { runId, limit: 10, after })).toEqual([second]);
    expect(await selectRequestFailures(sql(), { runId: 999_999, limit: 10 })).toEqual([]);
  });

  test('all runs under a lock are closed when their process is gone', async () => {
    const jobs = ['backfill', 'backfill 1m'];
    for (const job of jobs) await insertRun(sql(), { job, origin: 'operator', total: 1 });
    const open = async () => {
      const rows = await sql()<{ job: string }[]>`
        select job from job_runs where state = 'running' and job like 'backfill%' order by job`;
      return rows.map(({ job }) => job);
    };
    const lease = await leaseLock(database().url, 'backfill');
    await closeDeadRuns(database().url, sql(), 'backfill', jobs);
    expect(await open()).toEqual(jobs);
    await lease?.release();
    await closeDeadRuns(database().url, sql(), 'backfill', jobs);
    expect(await open()).toEqual([]);
  });
});
