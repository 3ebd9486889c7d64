import { describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { BackfillBusyError, planRequest } from '../../src/ingest/backfill.ts';
import { FLAG } from '../../src/model/quality.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import type { Sql } from '../../src/store/database.ts';
import { EDITIONS } from '../database.ts';
import {
  API_KEY,
  barRequests,
  CALENDAR,
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  selectContent,
  selectRunLines,
  selectStates,
  selectVersions,
  type World,
} from '../fixtures/backfill-world.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { startCli } from '../fixtures/cli-process.ts';
import {
  loadSp500,
  type Misbehavior,
  misbehave,
  startVendorServer,
  type VendorBar,
} from '../vendor-server.ts';

const FIRST = '2024-01-02';
const LAST = '2024-03-01';
const SESSIONS = CALENDAR.sessions(toDay(FIRST), toDay(LAST)).length;
/** An hour and more after the close of Friday 1 March. */
const NOW = '2024-03-01T23:00:00Z';
const NEXT_SESSION = '2024-03-04';
const NEXT_NIGHT = '2024-03-04T23:00:00Z';

let loaded: Map<string, VendorBar[]> | undefined;
const sp500 = () => {
  loaded ??= loadSp500();
  return loaded;
};

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
      expect(await selectStates(world.sql, 'AAA')).toContain(`${missing}..2024-01-17 vendor_empty`);
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

  describe(`failures of one symbol (${edition})`, () => {
    const kinds: Record<string, [misbehavior: () => Misbehavior, says: RegExp]> = {
      'an unknown symbol': [
        () => () =>
          Response.json({ status: 'NOT_FOUND', message: 'Data not found.' }, { status: 404 }),
        /answered 404, Data not found/,
      ],
      'a page of HTML': [misbehave.html, /not JSON/],
      'half of an answer': [misbehave.truncatedJson, /not JSON, or only the beginning/],
      'another symbol’s answer': [() => misbehave.wrongTicker('ZZZ'), /asked for BAD, answered/],
      'adjusted prices': [misbehave.adjusted, /adjusted is true/],
      'a cut connection': [misbehave.reset, /connection failed/],
      'a server that says nothing': [misbehave.hang, /no complete answer within 150 ms/],
      'a body without end': [misbehave.endlessBody, /no complete answer within|larger than/],
      'a body that trickles': [misbehave.tricklingBody, /no complete answer within 150 ms/],
      'a server error that stays': [() => misbehave.serverError(503), /answered 503/],
      'a page that comes again': [misbehave.repeatingCursor, /there before/],
    };
    for (const [name, [make, says]] of Object.entries(kinds)) {
      test(`${name} fails that symbol only`, async () => {
        const symbols = ['AAA', 'BAD', 'CCC'];
        const bars = marketBars(symbols, FIRST, LAST);
        await using world = await openWorld(edition, { ...base, bars, timeoutMs: 150 });
        misbehaveFor(world.vendor(), { '/ticker/BAD/range': make() });
        const report = await world.backfill(symbols);
        expect(report.failures.map(({ symbol }) => symbol)).toEqual(['BAD']);
        expect(report.failures[0].error).toMatch(says);
        expect(report.inserted).toBe(2 * SESSIONS);
        expect(await countBars(world.sql, 'AAA')).toBe(SESSIONS);
        expect(await countBars(world.sql, 'CCC')).toBe(SESSIONS);
        expect(await countBars(world.sql, 'BAD')).toBe(0);
        expect(await selectStates(world.sql, 'BAD')).toEqual([]);
        const history = await world.sql`
          select symbol, success, error_details as error from backfill_history order by 1`;
        expect([...history]).toEqual([
          { symbol: 'AAA', success: true, error: null },
          { symbol: 'BAD', success: false, error: report.failures[0].error },
          { symbol: 'CCC', success: true, error: null },
        ]);
        expect(await selectRunLines(world.sql)).toEqual(['command failed']);
        await world.replaceVendor({ bars });
        expect(await world.backfill(symbols)).toMatchObject({ failures: [], inserted: SESSIONS });
      });
    }

    test('a symbol the vendor has nothing of is empty, not a failure', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      const report = await world.backfill(['AAA', 'NONE']);
      expect(report).toMatchObject({ failures: [], inserted: SESSIONS });
      const states = await selectStates(world.sql, 'NONE');
      expect(states).toEqual([`${FIRST}..2024-02-22 vendor_empty`, expect.any(String)]);
      expect(states[1]).toEndWith('vendor_empty');
    });

    test('a next page on another host is not followed', async () => {
      const thief = startVendorServer({ bars: marketBars(['BAD'], FIRST, LAST) });
      const bars = marketBars(['AAA', 'BAD'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      const next = `${thief.url}/v2/aggs/ticker/BAD/range/1/day/${FIRST}/${LAST}`;
      misbehaveFor(world.vendor(), { '/ticker/BAD/range': misbehave.nextUrl(next) });
      const report = await world.backfill(['AAA', 'BAD']);
      expect(report.failures).toMatchObject([{ symbol: 'BAD' }]);
      expect(report.failures[0].error).toContain('not on the same host');
      expect(thief.requests).toEqual([]);
      expect(await countBars(world.sql, 'BAD')).toBe(0);
      await thief.stop();
    });

    test('a vendor that is away altogether is given up after five failures in a row', async () => {
      const symbols = Array.from({ length: 12 }, (_, i) => `S${i}`);
      await using world = await openWorld(edition, { ...base });
      await world.vendor().stop();
      const error = await rejection(world.backfill(symbols));
      expect(error).toBeInstanceOf(ProviderError);
      const { message } = error as Error;
      expect(message).toMatch(/^5 failures in a row, the last: .*the connection failed/);
      expect(message.match(/in a row/g)).toHaveLength(1);
      const [run] = await world.sql`select state, error from job_runs`;
      expect(run).toEqual({ state: 'failed', error: message });
      const [failed] = await world.sql`
        select count(*) as symbols, count(*) filter (where error like '%in a row%') as echoes
        from backfill_results where not ok`;
      expect(failed.echoes).toBe(0);
      expect(failed.symbols).toBeGreaterThanOrEqual(5);
      expect(failed.symbols).toBeLessThanOrEqual(8); // three more may be under way
    });

    test('a row without a price is kept apart, and coverage says why there is no bar', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      misbehaveFor(world.vendor(), { '/ticker/AAA/range': misbehave.nullPrice(9) });
      const { session } = (bars.get('AAA') ?? [])[9];
      const report = await world.backfill(['AAA']);
      expect(report).toMatchObject({ failures: [], inserted: SESSIONS - 1, rejected: 1 });
      const rejected = await world.sql`
        select symbol, session, reason, provider, dataset, raw like '%"c":null%' as raw
        from rejected_rows`;
      expect([...rejected]).toEqual([
        {
          symbol: 'AAA',
          session,
          reason: expect.stringContaining('c is null'),
          provider: 'polygon',
          dataset: '1d',
          raw: true,
        },
      ]);
      const [covered] = await world.sql`
        select state, detail from coverage where dataset = '1d' and start_session = ${session}`;
      expect(covered.state).toBe('vendor_empty');
      expect(covered.detail).toContain('the row was rejected: c is null');
    });
  });

  describe(`corporate actions and listings (${edition})`, () => {
    test('a split that is delivered later explains the gap of its day', async () => {
      const halved = dailyBars(FIRST, NEXT_SESSION).map((bar) =>
        bar.session < '2024-02-29'
          ? bar
          : {
              ...bar,
              open: Number(bar.open) / 2,
              high: Number(bar.high) / 2,
              low: Number(bar.low) / 2,
              close: Number(bar.close) / 2,
            },
      );
      const bars = new Map([['AAA', halved]]);
      await using world = await openWorld(edition, { ...base, bars });
      const selectDay = () =>
        world.sql`select score, flags from bars_1d where session = '2024-02-29'`;
      await world.backfill(['AAA']);
      expect([...(await selectDay())]).toEqual([
        { score: 0.8, flags: FLAG.gap | FLAG.gapUnexplained },
      ]);
      const split = { ticker: 'AAA', execution_date: '2024-02-29', split_from: 1, split_to: 2 };
      const dividend = { ticker: 'AAA', ex_dividend_date: '2024-02-26', cash_amount: 0.24 };
      await world.replaceVendor({
        bars,
        splits: [{ id: 's1', ...split }],
        dividends: [{ id: 'd1', currency: 'USD', ...dividend }],
      });
      world.setNow(NEXT_NIGHT);
      expect((await world.backfill(['AAA'])).failures).toEqual([]);
      expect([...(await selectDay())]).toEqual([{ score: 1, flags: FLAG.gap | FLAG.gapSplit }]);
      const actions = await world.sql`
        select kind, ex_date, split_from, split_to, cash_amount, currency
        from corporate_actions order by kind desc`;
      expect([...actions]).toEqual([
        {
          kind: 'split',
          ex_date: '2024-02-29',
          split_from: 1,
          split_to: 2,
          cash_amount: null,
          currency: null,
        },
        {
          kind: 'dividend',
          ex_date: '2024-02-26',
          split_from: null,
          split_to: null,
          cash_amount: 0.24,
          currency: 'USD',
        },
      ]);
      const [status] = await world.sql`
        select records, validated_records, gaps_flagged from instrument_status`;
      expect(status).toEqual({
        records: SESSIONS + 1,
        validated_records: SESSIONS + 1,
        gaps_flagged: 1,
      });
      expect((await world.backfill(['AAA'])).requests).toBe(0);
    });

    test('splits that cannot be had fail the run, not the bars', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      misbehaveFor(world.vendor(), { '/stocks/v1/splits': misbehave.html() });
      const report = await world.backfill(['AAA']);
      expect(report.failures).toMatchObject([{ symbol: 'AAA' }]);
      expect(report.failures[0].error).toStartWith('splits: ');
      expect(report.inserted).toBe(SESSIONS);
      expect(await selectStates(world.sql, 'AAA', 'splits')).toEqual([]);
      await world.replaceVendor({ bars });
      expect(await world.backfill(['AAA'])).toMatchObject({ failures: [], inserted: 0 });
      expect(barRequests(world.vendor())).toEqual([]);
      expect((await selectStates(world.sql, 'AAA', 'splits'))[0]).toStartWith(FIRST);
    });

    test('sessions before the listing are known not to exist', async () => {
      const listed = '2024-02-01';
      const bars = new Map([['AAA', dailyBars(listed, LAST)]]);
      const tickers = [
        {
          ticker: 'AAA',
          name: 'Triple A',
          primary_exchange: 'XNAS',
          type: 'CS',
          list_date: listed,
        },
      ];
      await using world = await openWorld(edition, { ...base, bars, tickers });
      await world.backfill(['AAA']);
      const states = await selectStates(world.sql, 'AAA');
      expect(states[0]).toBe(`${FIRST}..${listed} before_listing`);
      expect(states.slice(1).every((line) => line.endsWith(' complete'))).toBe(true);
      const [instrument] = await world.sql`
        select name, exchange, asset_type, listed_on from instruments`;
      expect(instrument).toEqual({
        name: 'Triple A',
        exchange: 'XNAS',
        asset_type: 'CS',
        listed_on: listed,
      });
      world.setNow('2024-06-01T00:00:00Z');
      const { plan } = await planRequest(world.context, {
        symbols: ['AAA'],
        firstSession: '2020-01-02',
        lastSession: '2024-01-31',
        origin: 'command',
      });
      expect(plan).toMatchObject({ dueSessions: 0, requests: { total: 0 } });
    });
  });

  describe(`runs that are cut short (${edition})`, () => {
    test('of two at once the second is told that one is running', async () => {
      const bars = marketBars(['AAA'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      const asked = Promise.withResolvers<void>();
      const mayGoOn = Promise.withResolvers<void>();
      misbehaveFor(world.vendor(), {
        '/ticker/AAA/range': async (_request, honest) => {
          asked.resolve();
          await mayGoOn.promise;
          return honest();
        },
      });
      const first = world.backfill(['AAA']);
      await asked.promise;
      expect(await rejection(world.backfill(['AAA']))).toBeInstanceOf(BackfillBusyError);
      mayGoOn.resolve();
      expect(await first).toMatchObject({ inserted: SESSIONS });
      expect(barRequests(world.vendor())).toHaveLength(1);
      expect(await selectRunLines(world.sql)).toEqual(['command succeeded']);
      expect((await world.backfill(['AAA'])).runId).toBeNull(); // the lock was let go of
    });

    test('one that is stopped keeps what has come and says so', async () => {
      const bars = marketBars(['AAA', 'BBB'], FIRST, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      const abort = new AbortController();
      const before = Promise.withResolvers<void>();
      misbehaveFor(world.vendor(), {
        '/ticker/BBB/range': async (request, honest) => {
          await before.promise;
          abort.abort(new Error('stopped by SIGTERM'));
          return misbehave.hang()(request, honest);
        },
      });
      const run = world.backfill(['AAA', 'BBB'], {
        signal: abort.signal,
        onProgress: ({ current }) => {
          if (current === 'AAA') before.resolve();
        },
      });
      expect(await rejection(run)).toMatchObject({ message: 'stopped by SIGTERM' });
      const [record] = await world.sql`select state, error from job_runs`;
      expect(record).toEqual({ state: 'interrupted', error: 'stopped by SIGTERM' });
      expect(await countBars(world.sql, 'AAA')).toBe(SESSIONS);
      expect(await countBars(world.sql, 'BBB')).toBe(0);
      await world.replaceVendor({ bars });
      await world.backfill(['AAA', 'BBB']);
      expect(barRequests(world.vendor()).some((line) => line.includes('/AAA/'))).toBe(false);
      expect(await countBars(world.sql, 'BBB')).toBe(SESSIONS);
      expect(await selectRunLines(world.sql)).toEqual(['command interrupted', 'command succeeded']);
    });

    test('one that was killed goes on where it was', async () => {
      const bars = new Map([...sp500()].slice(0, 120));
      const symbols = [...bars.keys()];
      const options = { now: '2018-02-08T00:00:00Z', firstSession: '2013-02-08', bars };
      await using whole = await openWorld(edition, options);
      await using world = await openWorld(edition, options);
      const args = ['backfill', '--from', '2013-02-08', '--to', '2018-02-07', ...symbols];
      const run = (of: World) =>
        startCli(args, {
          DATABASE_URL: of.url,
          POLYGON_API_KEY: API_KEY,
          POLYGON_BASE_URL: of.vendor().url,
          POLYGON_REQUESTS_PER_MINUTE: '60000',
        });
      expect(await run(whole).finished).toMatchObject({ code: 0 });
      const log = new ChangeLog(world.url);
      await log.nextOf('trust');
      const victim = run(world);
      let answered = 0;
      misbehaveFor(world.vendor(), {
        '/range/1/day/': async (_request, honest) => {
          if (++answered <= 80) return honest();
          await log.nextOf('bars'); // something was committed
          victim.kill('SIGKILL');
          return Promise.withResolvers<Response>().promise;
        },
      });
      expect((await victim.finished).code).not.toBe(0);
      await log.close();
      // The server ends the transaction of a client that is gone before it lets go of its lock.
      await world.sql.begin(async (tx) => {
        await tx`select pg_advisory_xact_lock(hashtext('marketd'), hashtext('backfill'))`;
      });
      const committed = await world.sql<{ symbol: string }[]>`
        select distinct symbol from coverage join symbol_ranges using (instrument_id)
        where dataset = '1d'`;
      expect(committed.length).toBeGreaterThan(10);
      expect(committed.length).toBeLessThan(81);
      expect(await selectRunLines(world.sql)).toEqual(['command running']);
      await world.replaceVendor({ bars });
      expect(await run(world).finished).toMatchObject({ code: 0 });
      const asked = barRequests(world.vendor());
      expect(asked).toHaveLength(symbols.length - committed.length);
      for (const { symbol } of committed) {
        expect(asked.some((line) => line.includes(`/ticker/${symbol}/`))).toBe(false);
      }
      expect(await selectContent(world.sql)).toEqual(await selectContent(whole.sql));
      expect(await selectRunLines(world.sql)).toEqual(['command interrupted', 'command succeeded']);
    });

    test('one that gets SIGTERM ends well, and what was committed stays', async () => {
      const bars = new Map([...sp500()].slice(0, 40));
      const options = { now: '2018-02-08T00:00:00Z', firstSession: '2013-02-08', bars };
      await using world = await openWorld(edition, options);
      const symbols = [...bars.keys()];
      const child = startCli(
        ['backfill', '--from', '2013-02-08', '--to', '2018-02-07', ...symbols],
        {
          DATABASE_URL: world.url,
          POLYGON_API_KEY: API_KEY,
          POLYGON_BASE_URL: world.vendor().url,
          POLYGON_REQUESTS_PER_MINUTE: '60000',
        },
      );
      let answered = 0;
      misbehaveFor(world.vendor(), {
        '/range/1/day/': (_request, honest) => {
          if (++answered <= 30) return honest();
          if (answered === 31) child.kill('SIGTERM'); // a second one would end it at once
          return Promise.withResolvers<Response>().promise;
        },
      });
      const { code, err } = await child.finished;
      expect(code).toBe(1);
      expect(err).toContain('stopped by SIGTERM');
      const [run] = await world.sql`select state, error, inserted from job_runs`;
      expect(run).toMatchObject({ state: 'interrupted', error: 'stopped by SIGTERM' });
      const [stored] = await world.sql`
        select count(*) as bars, count(distinct instrument_id) as symbols from bars_1d`;
      expect(stored.symbols).toBeGreaterThanOrEqual(20);
      expect(run.inserted).toBe(stored.bars);
    });
  });
}

describe('five years of the S&P 500', () => {
  test('every row is stored, or rejected with its reason', async () => {
    const bars = sp500();
    const first = '2013-02-08';
    await using world = await openWorld('plain', {
      now: '2018-02-08T00:00:00Z',
      firstSession: first,
      bars,
    });
    const symbols = [...bars.keys()];
    const report = await world.backfill(symbols);
    expect(report).toMatchObject({ failures: [], inserted: 619_029, rejected: 11, changed: 0 });
    const stored = await world.sql<{ symbol: string; sessions: string[] }[]>`
      select symbol, array_agg(session::text order by session) as sessions
      from bars_1d join symbol_ranges using (instrument_id) group by symbol`;
    const rejected = await world.sql<{ symbol: string; session: string; reason: string }[]>`
      select symbol, session, reason from rejected_rows`;
    expect(rejected).toHaveLength(11);
    expect(rejected.every(({ reason }) => / is null: expected number/.test(reason))).toBe(true);
    const have = new Map(stored.map(({ symbol, sessions }) => [symbol, sessions]));
    for (const { symbol, session } of rejected) have.get(symbol)?.push(session);
    expect(have.size).toBe(505);
    let rows = 0;
    for (const [symbol, list] of bars) {
      rows += list.length;
      const wanted = list.map(({ session }) => session).sort();
      expect(have.get(symbol)?.sort()).toEqual(wanted);
    }
    expect(rows).toBe(619_040);
    const [scores] = await world.sql`
      select count(*) filter (where score = 0) as excluded from bars_1d`;
    expect(scores).toEqual({ excluded: 12 });
    expect((await world.backfill(symbols)).requests).toBe(0);
  }, 120_000);
});
