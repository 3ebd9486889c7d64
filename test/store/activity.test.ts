import { expect, test } from 'bun:test';
import { ActivityReader } from '../../src/store/activity.ts';
import { cancelJobRequest, insertJobRequest } from '../../src/store/job-requests.ts';
import { finishRun, insertRun, LEAD_LOCK, leaseLock, updateRun } from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';

describeEditions('what is under way', (database) => {
  const sql = () => database().sql;
  const counts = { requests: 0, inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
  const start = () => insertRun(sql(), { job: 'backfill', origin: 'command', total: 9 });
  const backfill = {
    ...{ symbols: null, timeframe: '1d', firstSession: '2020-01-02', lastSession: null },
    retryEmpty: false,
  };

  test('is remembered while nothing runs, until something is announced', async () => {
    const reader = new ActivityReader(sql());
    reader.isTrusted = true;
    const first = await reader.select();
    expect(first).toEqual({ runs: [], requests: [] });
    const runId = await start();
    expect(await reader.select()).toBe(first);
    reader.clear();
    expect((await reader.select()).runs).toMatchObject([{ runId, state: 'running', done: 0 }]);
    // Progress is not announced.
    await updateRun(sql(), runId, { ...counts, done: 4 });
    expect((await reader.select()).runs).toMatchObject([{ runId, done: 4 }]);
    await finishRun(sql(), runId, 'succeeded', null);
    const ended = await reader.select();
    expect(ended.runs).toMatchObject([{ runId, state: 'succeeded' }]);
    expect(await reader.select()).toBe(ended);
  });

  test('has what operators asked for and has not ended, the oldest first', async () => {
    const reader = new ActivityReader(sql());
    reader.isTrusted = true;
    const ask = (firstSession: string) =>
      insertJobRequest(
        sql(),
        { kind: 'backfill', actor: 'page', arguments: { ...backfill, firstSession } },
        Date.now(),
      );
    const [one, two, three] = [
      await ask('2020-01-02'),
      await ask('2021-01-04'),
      await ask('2022-01-03'),
    ];
    await cancelJobRequest(sql(), two.requestId, 'page', Date.now());
    const open = async () => (await reader.select()).requests.map(({ requestId }) => requestId);
    expect(await open()).toEqual([one.requestId, three.requestId]);
    // Nothing is remembered while something waits.
    await cancelJobRequest(sql(), one.requestId, 'page', Date.now());
    expect(await open()).toEqual([three.requestId]);
    await cancelJobRequest(sql(), three.requestId, 'page', Date.now());
  });

  test('has a request that is open, however many newer ones have ended', async () => {
    const reader = new ActivityReader(sql());
    reader.isTrusted = true;
    const ask = (firstSession: string) =>
      insertJobRequest(
        sql(),
        { kind: 'backfill', actor: 'page', arguments: { ...backfill, firstSession } },
        Date.now(),
      );
    const { requestId } = await ask('2019-01-02');
    await sql()`
      insert into job_requests (kind, arguments, state, actor, requested_at, finished_at)
      select kind, arguments, 'succeeded', actor, now(), now()
      from job_requests, generate_series(1, 300) where request_id = ${requestId}`;
    expect((await reader.select()).requests.map((one) => one.requestId)).toEqual([requestId]);
    await cancelJobRequest(sql(), requestId, 'page', Date.now());
  });

  test('knows whether a process leads', async () => {
    const reader = new ActivityReader(sql());
    expect(await reader.isLed()).toBe(false);
    const lease = await leaseLock(database().url, LEAD_LOCK);
    expect(await reader.isLed()).toBe(true);
    // Believed for a while, where changes are announced.
    reader.isTrusted = true;
    await lease?.release();
    expect(await reader.isLed()).toBe(true);
    expect(await new ActivityReader(sql()).isLed()).toBe(false);
  });

  test('knows how large the database is, and does not count again for each page', async () => {
    const reader = new ActivityReader(sql());
    const bytes = await reader.selectSize();
    expect(bytes).toBeGreaterThan(1_000_000);
    await sql()`create table ballast as select generate_series(1, 100000) as i`;
    expect(await reader.selectSize()).toBe(bytes);
    expect(await new ActivityReader(sql()).selectSize()).toBeGreaterThan(bytes);
  });
});
