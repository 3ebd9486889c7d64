import { expect, test } from 'bun:test';
import { lastWeekly, startWeekly } from '../../src/ingest/weekly.ts';
import { until } from '../fixtures/http-server.ts';
import { ManualClock } from '../vendor-server.ts';

const SUNDAY = '2024-03-10T06:00:00.000Z';
const HOUR = 3_600_000;

test.each([
  ['2024-03-10T06:00:00Z', SUNDAY],
  ['2024-03-10T05:59:59Z', '2024-03-03T06:00:00.000Z'],
  ['2024-03-16T23:00:00Z', SUNDAY],
  ['2024-03-13T00:00:00Z', SUNDAY],
])('at %s the run of %s was due last', (now, due) => {
  expect(lastWeekly(Date.parse(now), 0, 6).toISOString()).toBe(due);
});

function start(at: string, change: { last?: string; isLeader?: boolean; failures?: number } = {}) {
  const clock = new ManualClock(at);
  const runs: string[] = [];
  const lines: string[] = [];
  const state = { isLeader: true, failures: 0, ...change };
  const job = startWeekly({
    ...{ name: 'reconcile', weekday: 0, hour: 6, clock },
    isLeader: () => state.isLeader,
    lastScheduled: async () => (state.last === undefined ? undefined : new Date(state.last)),
    run: async (_, { scheduledFor, origin }) => {
      runs.push(`${scheduledFor.toISOString()} ${origin}`);
      if (state.failures-- > 0) throw new Error('refused');
      state.last = scheduledFor.toISOString();
    },
    log: (level, message) => void lines.push(`${level} ${message}`),
  });
  /** Lets time go by, a minute at a time. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 60_000) {
      await clock.asleep();
      clock.advance(60_000);
    }
    await clock.asleep();
  };
  return { clock, job, runs, lines, state, pass };
}

test('runs once when the hour has come', async () => {
  const { job, runs, pass } = start('2024-03-10T05:58:00Z');
  await pass(HOUR);
  expect(runs).toEqual([`${SUNDAY} schedule`]);
  await job.stop();
});

test('catches up what was missed, but not before the very first', async () => {
  const missed = start('2024-03-12T12:00:00Z', { last: '2024-03-03T06:00:00Z' });
  await missed.pass(HOUR);
  expect(missed.runs).toEqual([`${SUNDAY} catch-up`]);
  await missed.job.stop();
  const fresh = start('2024-03-12T12:00:00Z');
  await fresh.pass(HOUR);
  expect(fresh.runs).toEqual([]);
  await fresh.job.stop();
});

test('does nothing when it is done, or another process leads', async () => {
  const done = start('2024-03-12T12:00:00Z', { last: SUNDAY });
  await done.pass(HOUR);
  expect(done.runs).toEqual([]);
  await done.job.stop();
  const { job, runs, state, pass } = start('2024-03-10T05:58:00Z', { isLeader: false });
  await pass(HOUR / 2);
  expect(runs).toEqual([]);
  state.isLeader = true;
  await pass(60_000);
  expect(runs).toEqual([`${SUNDAY} schedule`]);
  await job.stop();
});

test('tries again three times in all, an hour apart, and says so', async () => {
  const { job, runs, lines, pass } = start('2024-03-10T05:58:00Z', { failures: 9 });
  await pass(5 * HOUR);
  expect(runs).toEqual([`${SUNDAY} schedule`, `${SUNDAY} catch-up`, `${SUNDAY} catch-up`]);
  expect(lines).toEqual(Array(3).fill('ERROR reconcile: refused'));
  await job.stop();
});

test('a run that is under way is told to stop', async () => {
  let reason: unknown;
  let isRunning = false;
  const job = startWeekly({
    ...{ name: 'reconcile', weekday: 0, hour: 6, clock: new ManualClock(SUNDAY) },
    ...{ isLeader: () => true, log: () => {} },
    lastScheduled: async () => undefined,
    run: (signal) => {
      isRunning = true;
      const { promise, reject } = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => {
        reason = signal.reason;
        reject(signal.reason);
      });
      return promise;
    },
  });
  await until(() => isRunning || undefined);
  await job.stop();
  expect(String(reason)).toContain('marketd is stopping');
});
