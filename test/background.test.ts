import { expect, test } from 'bun:test';
import { type BackgroundOptions, startBackground } from '../src/background.ts';
import { parseConfig } from '../src/config.ts';
import { insertJobRequest, selectJobRequest } from '../src/store/job-requests.ts';
import { updateTimeframes, upsertSymbols } from '../src/store/symbols.ts';
import { describeEditions } from './database.ts';
import { openWorld, type World } from './fixtures/backfill-world.ts';
import { calendar, flatBar, sessionsFrom } from './fixtures/bars.ts';
import { until } from './fixtures/http-server.ts';
import { readSpyMinutes } from './fixtures/minutes.ts';
import { addInstrument, ingest } from './fixtures/warehouse.ts';
import { ManualClock } from './vendor-server.ts';
import { makeChart, RECORDED_TS, startYahooServer } from './yahoo-server.ts';

describeEditions('jobs in the background', (database) => {
  /** Starts them at an instant of the market's day, and leads. */
  async function start(world: World, at: string, settings: Record<string, string>) {
    const clock = new ManualClock(at);
    const lines: string[] = [];
    const options: BackgroundOptions = {
      ...{ config: parseConfig(settings), database: world.context.database, calendar, clock },
      ...{ isDemo: false, backfill: undefined, firstSession: () => '2024-05-17' },
      daysAgo: () => '2024-05-17',
      log: (level, message) => void lines.push(`${level} ${message}`),
    };
    return { clock, lines, options };
  }

  test('quotes are collected while the market is open, and once after the close', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2025-10-29T19:30:00Z', firstSession: '2025-10-29' },
    });
    await upsertSymbols(world.context.database.write, ['AAPL', 'MSFT']);
    const yahoo = startYahooServer();
    const { clock, options } = await start(world, '2025-10-29T19:30:00Z', {
      ...{ QUOTES: 'yahoo', YAHOO_BASE_URL: yahoo.url, YAHOO_REQUESTS_PER_MINUTE: '6000' },
    });
    const background = await startBackground(options);
    try {
      expect(background.marketJobs.map(({ name }) => name)).toEqual(['quotes']);
      const [{ job }] = background.marketJobs;
      await until(() => (job.state().phase === 'sleeping' ? true : undefined));
      // Twenty minutes after the close Yahoo, which is a quarter of an hour late, shows it.
      await until(async () => {
        clock.advance(60_000);
        await Bun.sleep(0);
        return job.state().lastRun?.isLast ? true : undefined;
      });
      expect(job.state().lastError).toBeNull();
      const [snapshot] = await world.sql`
        select ts, provider from snapshots join symbol_ranges using (instrument_id)
        where symbol = 'AAPL' order by ts desc limit 1`;
      expect(snapshot).toEqual({ ts: new Date(RECORDED_TS), provider: 'yahoo' });
      expect(job.state().wakesAt?.toISOString()).toBe('2025-10-30T13:30:00.000Z');
    } finally {
      await background.stop();
      await yahoo.stop();
    }
  });

  test('stored bars are compared with Yahoo’s on Sunday morning', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2025-10-26T05:58:00Z', firstSession: '2025-10-20' },
    });
    const { sql } = world;
    const sessions = sessionsFrom('2025-10-06', 15);
    const bars = sessions.map((session) => flatBar(session));
    const receivedAt = Date.parse('2025-10-25T02:00:00Z');
    await ingest(sql, await addInstrument(sql, 'AAPL'), bars, {}, { receivedAt });
    const yahoo = startYahooServer();
    yahoo.charts.set('AAPL', makeChart('AAPL', bars));
    const { clock, options } = await start(world, '2025-10-26T05:58:00Z', {
      ...{ RECONCILE: 'yahoo', YAHOO_BASE_URL: yahoo.url, YAHOO_REQUESTS_PER_MINUTE: '6000' },
    });
    const background = await startBackground(options);
    try {
      // Quotes are off: reconciliation is nothing that follows the market's hours.
      expect(background.marketJobs).toEqual([]);
      const run = await until(async () => {
        clock.advance(60_000);
        const [row] = await sql`
          select state, origin, scheduled_for, done from job_runs
          where job = 'reconcile' and state <> 'running'`;
        return row;
      });
      const due = new Date('2025-10-26T06:00:00Z');
      expect(run).toEqual({ state: 'succeeded', origin: 'schedule', scheduled_for: due, done: 1 });
      const [result] = await sql`
        select verdict, compared, seed, end_session from reconciliations`;
      expect(result).toEqual({
        ...{ verdict: 'agree', compared: 15, seed: 2912, end_session: '2025-10-24' },
      });
    } finally {
      await background.stop();
      await yahoo.stop();
    }
  });

  test('who is never up on Sundays has them compared when it is', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2025-10-28T12:00:00Z', firstSession: '2025-10-20' },
    });
    const { sql } = world;
    await sql`
      insert into job_runs (job, origin, state, worker, started_at)
      values ('backfill', 'start', 'succeeded', 'here:1', '2025-10-20T12:00:00Z')`;
    const { clock, options } = await start(world, '2025-10-28T12:00:00Z', { RECONCILE: 'yahoo' });
    const background = await startBackground(options);
    try {
      const run = await until(async () => {
        clock.advance(60_000);
        const [row] = await sql`
          select origin, scheduled_for from job_runs
          where job = 'reconcile' and state <> 'running'`;
        return row;
      });
      expect(run).toEqual({ origin: 'catch-up', scheduled_for: new Date('2025-10-26T06:00:00Z') });
    } finally {
      await background.stop();
    }
  });

  test('an operator’s reconciliation is run when it is asked for', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2025-10-28T12:00:00Z', firstSession: '2025-10-20' },
    });
    const { sql } = world;
    const held = sessionsFrom('2025-10-06', 15).map((session) => flatBar(session));
    const receivedAt = Date.parse('2025-10-25T02:00:00Z');
    await ingest(sql, await addInstrument(sql, 'AAPL'), held, {}, { receivedAt });
    const yahoo = startYahooServer();
    yahoo.charts.set('AAPL', makeChart('AAPL', held));
    const { options } = await start(world, '2025-10-28T12:00:00Z', {
      ...{ RECONCILE: 'yahoo', YAHOO_BASE_URL: yahoo.url, YAHOO_REQUESTS_PER_MINUTE: '6000' },
    });
    const background = await startBackground(options);
    try {
      const atMs = Date.parse('2025-10-28T12:00:00Z');
      const asked = { kind: 'reconcile', arguments: null, actor: 'page 127.0.0.1' } as const;
      const { requestId } = await insertJobRequest(sql, asked, atMs);
      const done = await until(async () => {
        background.wake();
        const request = await selectJobRequest(sql, requestId);
        return request?.finishedAt ? request : undefined;
      });
      expect(done).toMatchObject({ state: 'succeeded', message: '1 symbol compared' });
      const [run] = await sql`select job, origin from job_runs where run_id = ${done.runId}`;
      expect(run).toEqual({ job: 'reconcile', origin: 'operator' });
    } finally {
      await background.stop();
      await yahoo.stop();
    }
  });

  test('minutes are collected while the market is open', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2024-05-17T14:00:30Z', firstSession: '2024-05-17' },
      minutes: new Map([['SPY', readSpyMinutes()]]),
    });
    const { write } = world.context.database;
    await upsertSymbols(write, ['SPY']);
    await updateTimeframes(write, ['SPY'], ['1m']);
    const { clock, options } = await start(world, '2024-05-17T14:00:30Z', {});
    const background = await startBackground({ ...options, backfill: world.context });
    try {
      await background.scheduler?.caughtUp;
      const bars = async () => {
        const [row] = await world.sql`select count(*)::int as bars from bars_1m`;
        return row.bars as number;
      };
      const night = await bars();
      world.setNow('2024-05-17T14:10:30Z');
      await until(async () => {
        clock.advance(60_000);
        return (await bars()) > night ? true : undefined;
      });
      expect(await bars()).toBe(night + 10);
    } finally {
      await background.stop();
    }
  });

  test('without a schedule there are none', async () => {
    await using world = await openWorld(database().edition, {
      ...{ now: '2024-05-17T14:00:30Z', firstSession: '2024-05-17' },
    });
    const { options } = await start(world, '2024-05-17T14:00:30Z', {
      ...{ SCHEDULER: 'off', SYNTHETIC: 'on', QUOTES: 'yahoo', RECONCILE: 'yahoo' },
    });
    const background = await startBackground({ ...options, backfill: world.context });
    expect([background.scheduler, background.marketJobs]).toEqual([undefined, []]);
    await background.stop();
  });
});
