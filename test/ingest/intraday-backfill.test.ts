import { expect, test } from 'bun:test';
import { planRequest } from '../../src/ingest/backfill.ts';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { collectIntraday, startScheduler } from '../../src/ingest/scheduler.ts';
import { leaseLock } from '../../src/store/jobs.ts';
import { updateTimeframes, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { openWorld, type World } from '../fixtures/backfill-world.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import { misbehave } from '../vendor-server.ts';

const MINUTES = readSpyMinutes();
const FIRST = '2024-02-20';
const LAST = '2024-05-17';
/** Requests for bars, without those for names. */
const asked = (world: World) =>
  world
    .vendor()
    .requests.filter((line) => line.includes('/range/'))
    .map((line) => /range\/1\/(\w+)\/([\d-]+)\/([\d-]+)/.exec(line)?.slice(1).join(' '));

describeEditions('a backfill of bars below a day', (database) => {
  const open = (options = {}) =>
    openWorld(database().edition, {
      now: '2024-06-03T12:00:00Z',
      firstSession: FIRST,
      minutes: new Map([['SPY', MINUTES]]),
      ...options,
    });
  const fill = { timeframe: '1m', lastSession: LAST } as const;

  test('asks in chunks that the vendor does not cut, newest first, and never twice', async () => {
    await using world = await open();
    const report = await world.backfill(['SPY'], fill);
    expect(report).toMatchObject({ inserted: MINUTES.length, rejected: 0, failures: [] });
    // 63 sessions: fifty, and the thirteen before them.
    expect(asked(world)).toEqual(['minute 2024-03-08 2024-05-17', 'minute 2024-02-20 2024-03-07']);
    const sent = world.vendor().requests.length;
    const again = await world.backfill(['SPY'], fill);
    expect(again).toMatchObject({ runId: null, requests: 0 });
    expect(world.vendor().requests).toHaveLength(sent);
    const [{ job, state }] = await world.sql`select job, state from job_runs`;
    expect([job, state]).toEqual(['backfill 1m', 'succeeded']);
  });

  test('says beforehand what it costs', async () => {
    await using world = await open();
    const request = { ...fill, firstSession: FIRST, symbols: ['SPY'], origin: 'command' } as const;
    const { plan } = await planRequest(world.context, request);
    expect(plan.requests).toMatchObject({ range: 2, grouped: 0, splits: 0, dividends: 0 });
    expect(plan.dueSessions).toBe(63);
  });

  test('follows the pages of an answer', async () => {
    await using world = await open({ pageSize: 7_000 });
    expect(await world.backfill(['SPY'], fill)).toMatchObject({ inserted: MINUTES.length });
    const [{ count }] = await world.sql`select count(*)::int as count from bars_1m`;
    expect(count).toBe(MINUTES.length);
    expect(world.vendor().requests.length).toBeGreaterThan(7);
  });

  test('goes on where it failed, and asks for nothing that is there', async () => {
    await using world = await open();
    world
      .vendor()
      .respond((request, honest) =>
        request.url.includes('2024-02-20')
          ? misbehave.wrongTicker('QQQ')(request, honest)
          : undefined,
      );
    const first = await world.backfill(['SPY'], fill);
    expect(first.failures).toHaveLength(1);
    expect(first.failures[0].error).toContain('asked for SPY, answered for QQQ');
    const sent = asked(world).length;
    const second = await world.backfill(['SPY'], fill);
    expect(second.failures).toEqual([]);
    expect(asked(world).slice(sent)).toEqual(['minute 2024-02-20 2024-03-07']);
    expect(first.inserted + second.inserted).toBe(MINUTES.length);
  });

  test('keeps hours apart from minutes', async () => {
    await using world = await open();
    const report = await world.backfill(['SPY'], { ...fill, timeframe: '1h' });
    const hours = new Set(MINUTES.map(({ ts }) => Math.floor(ts / 3_600_000)));
    expect(report.inserted).toBe(hours.size);
    expect(asked(world)[0]).toStartWith('hour ');
    const [row] = await world.sql`
      select part, volume from bars_1h where ts = '2024-02-20T14:00:00Z'`;
    const mixed = MINUTES.filter(({ ts }) => {
      return ts >= Date.parse('2024-02-20T14:00Z') && ts < Date.parse('2024-02-20T15:00Z');
    });
    // 09:00 New York mixes pre-market and regular trading, and counts as regular.
    expect(row.part).toBe(1);
    expect(row.volume).toBe(mixed.reduce((sum, { volume }) => sum + (volume ?? 0), 0));
    const coverage = await world.sql`select distinct dataset from coverage`;
    expect([...coverage]).toEqual([{ dataset: '1h' }]);
  });

  test('of a session under way takes what has ended, whenever it is asked', async () => {
    await using world = await open({ now: '2024-05-17T14:00:30Z' });
    const before = (instant: string) =>
      MINUTES.filter(({ ts }) => {
        return ts >= Date.parse('2024-05-17T04:00Z') && ts + 60_000 <= Date.parse(instant);
      }).length;
    const today = { timeframe: '1m', firstSession: LAST } as const;
    const first = await world.backfill(['SPY'], today);
    // The vendor knows the whole day; what had not ended by then is not taken.
    expect(first.inserted).toBe(before('2024-05-17T14:00:30Z'));
    world.setNow('2024-05-17T14:05:30Z');
    const second = await world.backfill(['SPY'], today);
    expect(second).toMatchObject({ inserted: 5, changed: 0 });
    const [status] = await world.sql`
      select state, is_settled from coverage where start_session = ${LAST}`;
    expect(status).toEqual({ state: 'complete', is_settled: false });
    // After the close and the vendor's delay it is asked once more, and then left alone.
    world.setNow('2024-05-18T02:00:00Z');
    const night = await world.backfill(['SPY'], today);
    expect(night.inserted + second.inserted + first.inserted).toBe(before('2024-05-18T02:00:00Z'));
    const sent = world.vendor().requests.length;
    expect(await world.backfill(['SPY'], today)).toMatchObject({ requests: 0, runId: null });
    expect(world.vendor().requests).toHaveLength(sent);
  });

  test('asks for the rest of a session of which a file had a part', async () => {
    await using world = await open();
    const { database: pools, calendar, thresholds } = world.context;
    await upsertSymbols(pools.write, ['SPY']);
    const noon = MINUTES.filter(({ ts }) => {
      return ts >= Date.parse('2024-02-20T17:00Z') && ts < Date.parse('2024-02-20T17:10Z');
    });
    const bars = toIntradayColumns(noon);
    await ingestIntraday(
      pools.write,
      [{ instrumentId: 1, symbol: 'SPY', bars, rejected: [], listedOn: null }],
      {
        ...{ timeframe: '1m', provider: 'file', isSynthetic: false, calendar, thresholds },
        ...{ receivedAt: Date.parse('2024-06-03T11:00:00Z'), settledBefore: 30_000 },
      },
    );
    const report = await world.backfill(['SPY'], { ...fill, lastSession: FIRST });
    expect(report).toMatchObject({ inserted: 800, unchanged: 10, changed: 0 });
    expect(await world.backfill(['SPY'], { ...fill, lastSession: FIRST })).toMatchObject({
      requests: 0,
    });
  });

  test('of all symbols takes those that are tracked in the timeframe', async () => {
    await using world = await open();
    await world.backfill(['SPY', 'QQQ'], { ...fill, lastSession: FIRST });
    await world.sql`update instruments set timeframes = '{1d,1m}' where instrument_id = 1`;
    const { instruments } = await planRequest(world.context, {
      ...fill,
      firstSession: FIRST,
      origin: 'schedule',
    });
    expect(instruments.map(({ symbol }) => symbol)).toEqual(['SPY']);
  });

  test('does not ask for what the plan was found not to include', async () => {
    await using world = await open({ entitledSince: '2024-04-01' });
    const report = await world.backfill(['SPY'], fill);
    expect(report.entitledFrom).not.toBeNull();
    const [{ first }] = await world.sql`select min(session) as first from bars_1m`;
    expect(first >= '2024-04-01' && first <= '2024-04-10').toBe(true);
    const refused = await world.sql`
      select state from coverage where dataset = '1m' and start_session = ${FIRST}`;
    expect([...refused]).toEqual([{ state: 'not_entitled' }]);
    const sent = world.vendor().requests.length;
    await world.backfill(['SPY'], fill);
    expect(world.vendor().requests).toHaveLength(sent);
  });

  test('is part of the night, for those that are tracked in it', async () => {
    await using world = await open();
    await upsertSymbols(world.context.database.write, ['SPY', 'QQQ']);
    await updateTimeframes(world.context.database.write, ['SPY'], ['1d', '1m']);
    const scheduler = startScheduler(world.context, {
      ...{ hour: 2, minute: 0, firstSession: () => '2024-05-31' },
      firstIntradaySession: () => LAST,
    });
    await scheduler.caughtUp;
    await scheduler.stop();
    const runs = await world.sql`select job, state from job_runs order by run_id`;
    expect(runs.map(({ job, state }) => `${job} ${state}`)).toEqual([
      'backfill succeeded',
      'backfill 1m succeeded',
    ]);
    const [{ symbols }] = await world.sql`
      select array_agg(distinct instrument_id) as symbols from bars_1m`;
    expect(symbols).toEqual([1]);
  });

  test('is collected while the session goes on, unless a backfill is under way', async () => {
    await using world = await open({ now: '2024-05-17T14:00:30Z' });
    const { write } = world.context.database;
    await upsertSymbols(write, ['SPY']);
    await updateTimeframes(write, ['SPY'], ['1m']);
    const { signal } = new AbortController();
    await collectIntraday(world.context, signal);
    const count = async () => {
      const [row] = await world.sql`select count(*)::int as bars from bars_1m`;
      return row.bars as number;
    };
    const first = await count();
    expect(first).toBe(221);
    world.setNow('2024-05-17T14:07:00Z');
    const lease = await leaseLock(world.url, 'backfill');
    await collectIntraday(world.context, signal);
    expect(await count()).toBe(first);
    expect(world.logs.join()).toContain('1m bars are not collected now: another backfill');
    await lease?.release();
    await collectIntraday(world.context, signal);
    expect(await count()).toBe(first + 7);
  });

  test('knows only the timeframes that are stored', async () => {
    await using world = await open();
    const { write } = world.context.database;
    await upsertSymbols(write, ['SPY']);
    expect(updateTimeframes(write, ['SPY'], ['1d', '5m'])).rejects.toThrow(
      '"5m" is not a timeframe that is stored: those are 1d, 1h, 1m',
    );
    await updateTimeframes(write, ['SPY'], ['1m']);
    const [row] = await world.sql`select timeframes from instruments`;
    expect(row.timeframes).toEqual(['1d', '1m']);
  });
});
