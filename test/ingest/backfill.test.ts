import { describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { BackfillBusyError, planRequest } from '../../src/ingest/backfill.ts';
import { FLAG } from '../../src/model/quality.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import type { Sql } from '../../src/store/database.ts';
import { EDITIONS } from '../database.ts';
import {
  barRequests,
  CALENDAR,
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  selectRunLines,
  selectStates,
  selectVersions,
} from '../fixtures/backfill-world.ts';
import { loadSp500, type Misbehavior, misbehave, startVendorServer } from '../vendor-server.ts';

const FIRST = '2024-01-02';
const LAST = '2024-03-01';
const SESSIONS = CALENDAR.sessions(toDay(FIRST), toDay(LAST)).length;
/** An hour and more after the close of Friday 1 March. */
const NOW = '2024-03-01T23:00:00Z';
const NEXT_SESSION = '2024-03-04';
const NEXT_NIGHT = '2024-03-04T23:00:00Z';

const base = { now: NOW, firstSession: FIRST };

async function countBars(sql: Sql, symbol: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*) from bars_1d join symbol_ranges using (instrument_id) where symbol = ${symbol}`;
  return row.count;
}

const rangeOf = (line: string) => /\/range\/1\/day\/([^?]+)/.exec(line)?.[1];

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error) => error,
  );
}

for (const edition of EDITIONS) {
  describe(`backfill (${edition})`, () => {
    test('stores what the vendor has, with coverage, counters and its record', async () => {
      const bars = marketBars(['AAA', 'BBB'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      const report = await world.backfill(['AAA', 'BBB']);
      expect(report).toMatchObject({
        inserted: 2 * SESSIONS,
        changed: 0,
        unchanged: 0,
        rejected: 0,
        failures: [],
        dueSessions: 2 * SESSIONS,
        entitledFrom: null,
      });
      expect(report.requests).toBe(world.vendor().requests.length);
      const stored = await world.sql`
        select session, open, high, low, close, volume, vwap, trade_count as "tradeCount"
        from bars_1d join symbol_ranges using (instrument_id)
        where symbol = 'BBB' order by session`;
      expect([...stored].map((row) => ({ ...row }))).toEqual(bars.get('BBB') ?? []);
      const [run] = await world.sql`
        select state, origin, job, total, done, requests, inserted, error from job_runs`;
      expect(run).toMatchObject({ state: 'succeeded', origin: 'command', job: 'backfill' });
      expect(run).toMatchObject({ inserted: 2 * SESSIONS, requests: report.requests, error: null });
      expect(run.done).toBe(run.total);
      const states = await selectStates(world.sql, 'AAA');
      expect(states.every((line) => line.endsWith(' complete'))).toBe(true);
      expect(states[0].startsWith(FIRST)).toBe(true);
      const [status] = await world.sql`
        select records, first_session, latest_session, last_backfill_ok from instrument_status
        join symbol_ranges using (instrument_id) where symbol = 'AAA'`;
      expect(status).toEqual({
        records: SESSIONS,
        first_session: FIRST,
        latest_session: LAST,
        last_backfill_ok: true,
      });
    });

    test('a second run sends no request and changes no row', async () => {
      const bars = marketBars(['AAA', 'BBB'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA', 'BBB']);
      const before = await selectVersions(world.sql);
      const sent = world.vendor().requests.length;
      const report = await world.backfill(['AAA', 'BBB']);
      expect(report).toMatchObject({ runId: null, requests: 0, inserted: 0, dueSessions: 0 });
      expect(world.vendor().requests).toHaveLength(sent);
      expect(await selectVersions(world.sql)).toEqual(before);
      expect(await selectRunLines(world.sql)).toEqual(['command succeeded']);
    });

    test('asks only for what an earlier, shorter run left out', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA'], { firstSession: '2024-02-01', lastSession: '2024-02-09' });
      await world.backfill(['AAA'], { lastSession: '2024-02-09' });
      expect(barRequests(world.vendor()).map(rangeOf)).toEqual([
        '2024-02-01/2024-02-09',
        `${FIRST}/2024-01-31`,
      ]);
      expect(await countBars(world.sql, 'AAA')).toBe(
        CALENDAR.sessions(toDay(FIRST), toDay('2024-02-09')).length,
      );
    });

    test('a session without a bar is asked again once its time has come', async () => {
      const all = dailyBars(FIRST, LAST);
      const missing = '2024-01-16';
      const bars = new Map([['AAA', all.filter(({ session }) => session !== missing)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA']);
      expect(await selectStates(world.sql, 'AAA')).toContain(
        `${missing}..2024-01-17 vendor_empty`,
      );
      expect((await world.backfill(['AAA'])).requests).toBe(0);
      await world.replaceVendor({ bars: new Map([['AAA', all]]) });
      world.setNow('2024-03-02T18:59:00Z'); // a minute before 20 hours have gone by
      expect((await world.backfill(['AAA'])).requests).toBe(0);
      world.setNow('2024-03-02T19:01:00Z');
      const report = await world.backfill(['AAA']);
      expect(report).toMatchObject({ inserted: 1, changed: 0 });
      expect(world.vendor().requests.map(rangeOf)).toEqual([`${missing}/${missing}`]);
      expect(await countBars(world.sql, 'AAA')).toBe(SESSIONS);
      expect(await selectStates(world.sql, 'AAA')).not.toContain(
        `${missing}..2024-01-17 vendor_empty`,
      );
    });

    test('what stays empty is asked ever less often, and at once when told to', async () => {
      const bars = new Map([['AAA', dailyBars(FIRST, LAST).slice(1)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA']);
      world.setNow('2024-03-02T19:01:00Z');
      expect((await world.backfill(['AAA'])).requests).toBe(1);
      world.setNow('2024-03-03T19:01:00Z'); // a day later: 40 hours have to go by now
      expect((await world.backfill(['AAA'])).requests).toBe(0);
      expect((await world.backfill(['AAA'], { retryEmpty: true })).requests).toBeGreaterThan(0);
    });

    test('a new session has the last seven asked again, and only those', async () => {
      await using world = await openWorld(edition, {
        ...base,
        bars: new Map([['AAA', dailyBars(FIRST, LAST)]]),
      });
      await world.backfill(['AAA']);
      const restated = dailyBars(FIRST, NEXT_SESSION).map((bar) =>
        bar.session === '2024-02-28' || bar.session === '2024-02-15'
          ? { ...bar, volume: 7_654_321 }
          : bar,
      );
      await world.replaceVendor({ bars: new Map([['AAA', restated]]) });
      world.setNow(NEXT_NIGHT);
      const report = await world.backfill(['AAA']);
      expect(report).toMatchObject({ inserted: 1, changed: 1, unchanged: 6 });
      expect(barRequests(world.vendor()).map(rangeOf)).toEqual([`2024-02-22/${NEXT_SESSION}`]);
      const revisions = await world.sql`select session, volume, is_final from bar_revisions`;
      expect([...revisions]).toEqual([
        { session: '2024-02-28', volume: 1_000_000 + toDay('2024-02-28'), is_final: false },
      ]);
      const now = await world.sql`
        select session, volume from bars_1d where volume = 7654321 order by session`;
      expect([...now].map(({ session }) => session)).toEqual(['2024-02-28']);
      const [final] = await world.sql`
        select max(session) filter (where is_final) as last,
               min(session) filter (where not is_final) as next from bars_1d`;
      expect(final).toEqual({ last: '2024-02-22', next: '2024-02-23' });
    });

    test('a night of several hundred symbols is a handful of requests', async () => {
      const symbols = Array.from({ length: 300 }, (_, i) => `S${String(i).padStart(3, '0')}`);
      const first = '2024-02-20';
      const bars = marketBars(symbols, first, LAST);
      await using world = await openWorld(edition, { ...base, firstSession: first, bars });
      const sessions = CALENDAR.sessions(toDay(first), toDay(LAST)).length;
      const filled = await world.backfill(symbols);
      expect(filled).toMatchObject({ inserted: 300 * sessions, failures: [] });
      await world.replaceVendor({ bars: marketBars(symbols, first, NEXT_SESSION) });
      world.setNow(NEXT_NIGHT);
      const night = await world.backfill(symbols, { symbols: undefined });
      expect(night).toMatchObject({ inserted: 300, unchanged: 300 * 7, changed: 0 });
      const asked = barRequests(world.vendor());
      expect(asked.every((line) => line.includes('/v2/aggs/grouped/'))).toBe(true);
      expect(asked).toHaveLength(8);
      expect(world.vendor().requests).toHaveLength(10); // and the splits, and the dividends
    });

    test('a symbol that a grouped answer leaves out is empty, the others are stored', async () => {
      const symbols = Array.from({ length: 20 }, (_, i) => `S${i}`);
      const bars = marketBars(symbols, '2024-02-28', LAST);
      bars.set('S7', []);
      const options = { ...base, firstSession: '2024-02-28', bars };
      await using world = await openWorld(edition, options);
      await world.backfill(symbols);
      expect(barRequests(world.vendor()).every((line) => line.includes('grouped'))).toBe(true);
      const states = await selectStates(world.sql, 'S7');
      expect(states).toEqual([`2024-02-28..${NEXT_SESSION} vendor_empty`]);
      expect(await countBars(world.sql, 'S6')).toBe(3);
      expect(await countBars(world.sql, 'S7')).toBe(0);
    });
  });

  describe(`refusals (${edition})`, () => {
    test('a wrong key stops the run, which says so', async () => {
      const bars = marketBars(['AAA', 'BBB'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars, key: 'another key' });
      const error = await rejection(world.backfill(['AAA', 'BBB']));
      expect(error).toBeInstanceOf(ProviderError);
      expect(error).toMatchObject({ kind: 'unauthorized' });
      expect(world.vendor().requests).toHaveLength(1);
      const [run] = await world.sql`select state, error, finished_at from job_runs`;
      expect(run.state).toBe('failed');
      expect(run.error).toContain('Unknown API Key');
      expect(run.finished_at).toBeInstanceOf(Date);
      expect(await selectStates(world.sql, 'AAA')).toEqual([]);
    });

    test('a key refused midway stops the run and keeps what has come', async () => {
      const symbols = ['AAA', 'BBB', 'CCC', 'DDD', 'EEE', 'FFF'];
      const bars = marketBars(symbols, FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      misbehaveFor(world.vendor(), {
        '/ticker/FFF/range': () => Response.json({ error: 'Unknown API Key' }, { status: 401 }),
      });
      const error = await rejection(world.backfill(symbols));
      expect(error).toMatchObject({ name: 'ProviderError', kind: 'unauthorized' });
      expect(await countBars(world.sql, 'AAA')).toBe(SESSIONS);
      expect(await countBars(world.sql, 'FFF')).toBe(0);
      expect(await selectRunLines(world.sql)).toEqual(['command failed']);
    });

    test('what the plan includes is found by halving, once for all symbols', async () => {
      const symbols = ['AAA', 'BBB', 'CCC', 'DDD', 'EEE', 'FFF', 'GGG'];
      const first = '2022-01-03';
      const since = '2023-03-06';
      const bars = marketBars(symbols, first, LAST);
      const options = { ...base, firstSession: first, bars, entitledSince: since };
      await using world = await openWorld(edition, options);
      const report = await world.backfill(symbols);
      expect(report.failures).toEqual([]);
      const from = report.entitledFrom ?? '';
      expect(from >= since && toDay(from) - toDay(since) <= 8).toBe(true);
      const ranges = barRequests(world.vendor()).map((line) => rangeOf(line) ?? '');
      const refused = ranges.filter((range) => range < since);
      expect(refused.length).toBeLessThanOrEqual(4 + 7); // four at once, then halving by one
      const asked = barRequests(world.vendor()).filter((line) => line.includes('/GGG/'));
      expect(asked).toHaveLength(1);
      const boundary = toDate(CALENDAR.sessionAt(CALENDAR.sessionsBefore(toDay(from))));
      for (const symbol of symbols) {
        const states = await selectStates(world.sql, symbol);
        expect(states[0]).toBe(`${first}..${boundary} not_entitled`);
        expect(states.slice(1).every((line) => line.endsWith(' complete'))).toBe(true);
        const stored = CALENDAR.sessions(toDay(from), toDay(LAST)).length;
        expect(await countBars(world.sql, symbol)).toBe(stored);
      }
      expect((await world.backfill(symbols)).requests).toBe(0);
      await world.backfill(['NEW'], {}); // learned in an earlier run: not asked of it at all
      const newcomer = barRequests(world.vendor()).filter((line) => line.includes('/NEW/'));
      expect(newcomer.map(rangeOf)).toEqual([`${boundary}/${LAST}`]);
    });

    test('one symbol that is refused altogether does not hold up another', async () => {
      const first = '2022-01-03';
      const symbols = ['AAA', 'BBB'];
      const bars = marketBars(symbols, first, LAST);
      const options = { ...base, firstSession: first, bars, entitledSince: '2023-03-06' };
      await using world = await openWorld(edition, options);
      misbehaveFor(world.vendor(), { '/ticker/BBB/range': misbehave.notEntitled() });
      const report = await world.backfill(symbols);
      expect(report.failures).toEqual([]);
      expect(await countBars(world.sql, 'AAA')).toBeGreaterThan(0);
      const states = await selectStates(world.sql, 'BBB');
      expect(states.every((line) => line.endsWith(' not_entitled'))).toBe(true);
      expect(states[0].startsWith(first)).toBe(true);
      expect((await world.backfill(symbols)).requests).toBe(0);
    });

    test('a session that is not out yet is left for later, without a failure', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      misbehaveFor(world.vendor(), { [`/${LAST}?`]: misbehave.beforeEndOfDay() });
      const report = await world.backfill(['AAA']);
      expect(report).toMatchObject({ failures: [], inserted: SESSIONS - 1 });
      expect((await selectStates(world.sql, 'AAA')).at(-1)).toBe(`2024-02-22..${LAST} complete`);
      const alone = await world.backfill(['AAA']); // nothing is left to ask but that session
      expect(alone).toMatchObject({ failures: [], inserted: 0 });
      await world.replaceVendor({ bars });
      expect(await world.backfill(['AAA'])).toMatchObject({ failures: [], inserted: 1 });
      expect(await countBars(world.sql, 'AAA')).toBe(SESSIONS);
    });

    test('nor is one that is asked for the whole market', async () => {
      const symbols = Array.from({ length: 20 }, (_, i) => `S${i}`);
      const bars = marketBars(symbols, '2024-02-28', LAST);
      const options = { ...base, firstSession: '2024-02-28', bars };
      await using world = await openWorld(edition, options);
      misbehaveFor(world.vendor(), { [`/stocks/${LAST}?`]: misbehave.beforeEndOfDay() });
      const report = await world.backfill(symbols);
      expect(report).toMatchObject({ failures: [], inserted: 40 });
      expect(await selectStates(world.sql, 'S3')).toEqual([`2024-02-28..${LAST} complete`]);
      await world.replaceVendor({ bars });
      expect(await world.backfill(symbols)).toMatchObject({ failures: [], inserted: 20 });
    });
  });
}
