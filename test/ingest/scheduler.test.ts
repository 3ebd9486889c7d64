import { describe, expect, test } from 'bun:test';
import type { BackfillReport } from '../../src/ingest/backfill.ts';
import { lastDue, type Scheduler, startScheduler } from '../../src/ingest/scheduler.ts';
import { insertRun, leaseLock } from '../../src/store/jobs.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { EDITIONS } from '../database.ts';
import {
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  selectRunLines,
  type World,
} from '../fixtures/backfill-world.ts';

const FIRST = '2024-02-20';
const LAST = '2024-03-04';
/** Saturday, two hours after the nightly run of Friday's session was due. */
const NOW = '2024-03-02T04:00:00Z';
const TUESDAY = '2024-03-05T04:00:00Z';

const iso = (date: Date | null) => date?.toISOString();

async function openNight(edition: (typeof EDITIONS)[number], key?: string): Promise<World> {
  const bars = marketBars(['AAA', 'BBB'], FIRST, LAST);
  const world = await openWorld(edition, { now: NOW, firstSession: FIRST, bars, key });
  await upsertSymbols(world.context.database.write, ['AAA', 'BBB']);
  return world;
}

interface Started extends AsyncDisposable {
  scheduler: Scheduler;
  reports: BackfillReport[];
  /** Resolves with the next report. */
  reported: Promise<BackfillReport>;
}

function start(world: World): Started {
  const reports: BackfillReport[] = [];
  const { promise, resolve } = Promise.withResolvers<BackfillReport>();
  const scheduler = startScheduler(world.context, {
    hour: 2,
    minute: 0,
    firstSession: () => FIRST,
    onReport: (report) => {
      reports.push(report);
      resolve(report);
    },
  });
  return {
    scheduler,
    reports,
    reported: promise,
    [Symbol.asyncDispose]: () => scheduler.stop(),
  };
}

const selectScheduled = async ({ sql }: World) => {
  const rows = await sql<{ scheduled_for: Date | null }[]>`
    select scheduled_for from job_runs order by run_id`;
  return rows.map((row) => iso(row.scheduled_for));
};

describe('the last time that a night was due', () => {
  const cases: [now: string, hour: number, minute: number, due: string][] = [
    ['2024-03-02T04:00:00Z', 2, 0, '2024-03-02T02:00:00.000Z'],
    ['2024-03-02T02:00:00Z', 2, 0, '2024-03-02T02:00:00.000Z'],
    ['2024-03-02T01:59:59.999Z', 2, 0, '2024-03-01T02:00:00.000Z'],
    ['2024-03-01T00:10:00Z', 23, 45, '2024-02-29T23:45:00.000Z'],
    ['2024-01-01T00:00:00Z', 0, 0, '2024-01-01T00:00:00.000Z'],
    ['2024-01-01T00:00:00Z', 0, 1, '2023-12-31T00:01:00.000Z'],
  ];
  for (const [now, hour, minute, due] of cases) {
    test(`at ${now}, of ${hour}:${minute}`, () => {
      expect(iso(lastDue(Date.parse(now), hour, minute))).toBe(due);
    });
  }
});

for (const edition of EDITIONS) {
  describe(`scheduler (${edition})`, () => {
    test('fills a fresh warehouse at once, and says when the next night is', async () => {
      await using world = await openNight(edition);
      await using started = start(world);
      await started.scheduler.caughtUp;
      expect(started.scheduler.state()).toBe('running');
      expect(iso(started.scheduler.nextRun())).toBe('2024-03-03T02:00:00.000Z');
      expect(await selectRunLines(world.sql)).toEqual(['start succeeded']);
      expect(await selectScheduled(world)).toEqual(['2024-03-02T02:00:00.000Z']);
      const [row] = await world.sql`
        select count(*) as bars, max(session) as latest from bars_1d`;
      expect(row).toEqual({
        bars: 2 * dailyBars(FIRST, '2024-03-01').length,
        latest: '2024-03-01',
      });
      expect(started.reports).toHaveLength(1);
    });

    test('catches up with a missed night, and does no night twice', async () => {
      await using world = await openNight(edition);
      {
        await using started = start(world);
        await started.scheduler.caughtUp;
      }
      {
        await using again = start(world);
        await again.scheduler.caughtUp;
        expect(again.reports).toEqual([]);
      }
      expect(await selectRunLines(world.sql)).toEqual(['start succeeded']);
      world.setNow(TUESDAY);
      await using late = start(world);
      await late.scheduler.caughtUp;
      expect(late.reports).toMatchObject([{ inserted: 2 }]);
      expect(await selectRunLines(world.sql)).toEqual(['start succeeded', 'catch-up succeeded']);
      expect((await selectScheduled(world)).at(-1)).toBe('2024-03-05T02:00:00.000Z');
    });

    test('runs when the hour has come, with the hour it was meant for', async () => {
      await using world = await openNight(edition);
      await using started = start(world);
      await started.scheduler.caughtUp;
      world.setNow('2024-03-05T01:59:59.950Z'); // a timer may fire a little early
      await started.scheduler.tick();
      expect(await selectRunLines(world.sql)).toEqual(['start succeeded', 'schedule succeeded']);
      expect((await selectScheduled(world)).at(-1)).toBe('2024-03-05T02:00:00.000Z');
      expect(started.reports.at(-1)).toMatchObject({ inserted: 2, failures: [] });
    });

    test('records a night in which nothing was missing', async () => {
      await using world = await openNight(edition);
      await using started = start(world);
      await started.scheduler.caughtUp;
      const sent = world.vendor().requests.length;
      await started.scheduler.tick();
      expect(world.vendor().requests).toHaveLength(sent);
      expect(await selectRunLines(world.sql)).toEqual(['start succeeded', 'schedule succeeded']);
    });

    test('never runs two at once', async () => {
      await using world = await openNight(edition);
      await using started = start(world);
      await Promise.all([started.scheduler.tick(), started.scheduler.caughtUp]);
      await Promise.all([started.scheduler.tick(), started.scheduler.tick()]);
      const [overlap] = await world.sql`
        select count(*) as count from job_runs a join job_runs b on a.run_id < b.run_id
        where b.started_at < a.finished_at or a.state <> 'succeeded' or b.state <> 'succeeded'`;
      expect(overlap).toEqual({ count: 0 });
      expect((await selectRunLines(world.sql)).length).toBeGreaterThanOrEqual(3);
    });

    test('a night waits while another backfill is under way, and is none that failed', async () => {
      await using world = await openNight(edition);
      const lease = await leaseLock(world.url, 'backfill');
      await using started = start(world);
      await started.scheduler.caughtUp;
      expect(world.logs.join('\n')).toContain('INFO the nightly backfill waits: another backfill');
      expect(world.logs.join('\n')).not.toContain('ERROR');
      await lease?.release();
      await started.scheduler.tick();
      expect(await selectRunLines(world.sql)).toEqual(['schedule succeeded']);
    });

    test('closes the runs of every timeframe that a dead process left open', async () => {
      await using world = await openNight(edition);
      for (const job of ['backfill 1m', 'backfill 1h']) {
        await insertRun(world.sql, { job, origin: 'operator', total: 1 });
      }
      await using started = start(world);
      await started.scheduler.caughtUp;
      expect(await selectRunLines(world.sql)).toEqual([
        ...['operator interrupted', 'operator interrupted', 'start succeeded'],
      ]);
    });

    test('a night that failed altogether is caught up after a restart', async () => {
      await using world = await openNight(edition, 'another key');
      {
        await using started = start(world);
        await started.scheduler.caughtUp;
        expect(world.logs.join('\n')).toContain('ERROR the nightly backfill failed');
      }
      expect(await selectRunLines(world.sql)).toEqual(['start failed']);
      await world.replaceVendor({ bars: marketBars(['AAA', 'BBB'], FIRST, LAST) });
      await using started = start(world);
      await started.scheduler.caughtUp;
      expect((await selectRunLines(world.sql))[1]).toEndWith(' succeeded');
      const [row] = await world.sql`select count(*) > 0 as any from bars_1d`;
      expect(row.any).toBe(true);
    });

    test('a night in which one symbol failed is done', async () => {
      await using world = await openNight(edition);
      misbehaveFor(world.vendor(), {
        '/ticker/BBB/range': () => Response.json({ message: 'No.' }, { status: 404 }),
      });
      {
        await using started = start(world);
        await started.scheduler.caughtUp;
        expect(started.reports).toMatchObject([{ failures: [{ symbol: 'BBB' }] }]);
        expect(world.logs.join('\n')).toContain('WARNING 1 symbols failed');
      }
      await using again = start(world);
      await again.scheduler.caughtUp;
      expect(await selectRunLines(world.sql)).toEqual(['start failed']);
    });

    test('stop() ends the run that is under way', async () => {
      await using world = await openNight(edition);
      const asked = Promise.withResolvers<void>();
      misbehaveFor(world.vendor(), {
        '/ticker/': () => {
          asked.resolve();
          return Promise.withResolvers<Response>().promise;
        },
      });
      const { scheduler } = start(world);
      await asked.promise;
      await scheduler.stop();
      expect(scheduler.state()).toBe('stopped');
      expect(scheduler.nextRun()).toBeNull();
      const [run] = await world.sql`select state, error from job_runs`;
      expect(run).toEqual({ state: 'interrupted', error: 'marketd is stopping' });
      await scheduler.caughtUp;
      await world.replaceVendor({ bars: marketBars(['AAA', 'BBB'], FIRST, LAST) });
      await using next = start(world);
      await next.scheduler.caughtUp;
      expect(next.reports).toHaveLength(1); // an interrupted night is not a night that was done
    });

    test('of two, one leads; the other takes over when its connection is cut', async () => {
      await using world = await openNight(edition);
      await using first = start(world);
      await first.scheduler.caughtUp;
      await using second = start(world);
      await second.scheduler.caughtUp;
      expect([first, second].map(({ scheduler }) => scheduler.state())).toEqual([
        'running',
        'standby',
      ]);
      await second.scheduler.tick();
      expect(second.reports).toEqual([]);
      world.setNow(TUESDAY); // whoever takes over has a night to catch up with
      const cut = await world.sql`
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where application_name = 'marketd scheduler' and datname = current_database()`;
      expect(cut).toHaveLength(1);
      expect(await second.reported).toMatchObject({ inserted: 2 });
      expect([first, second].map(({ scheduler }) => scheduler.state())).toEqual([
        'standby',
        'running',
      ]);
      expect(world.logs.join('\n')).toContain('lost the lead');
      const runs = await selectRunLines(world.sql);
      expect(runs.map((line) => line.split(' ')[0])).toEqual(['start', 'catch-up']);
    });

    test('of two, the other takes over when the one that leads stops', async () => {
      await using world = await openNight(edition);
      await using first = start(world);
      await first.scheduler.caughtUp;
      await using second = start(world);
      await second.scheduler.caughtUp;
      world.setNow(TUESDAY);
      await first.scheduler.stop();
      expect(await second.reported).toMatchObject({ inserted: 2 });
      expect(second.scheduler.state()).toBe('running');
      expect(first.reports).toHaveLength(1);
      expect((await selectRunLines(world.sql)).length).toBe(2);
    });
  });
}
