import { describe, expect, test } from 'bun:test';
import {
  findHoles,
  planRepair,
  type RepairPlan,
  type RepairRequest,
  runRepair,
} from '../../src/ingest/repair.ts';
import { toDay } from '../../src/model/session.ts';
import type { Sql } from '../../src/store/database.ts';
import { renameSymbol } from '../../src/store/symbol-ranges.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { EDITIONS } from '../database.ts';
import {
  barRequests,
  CALENDAR,
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  selectStates,
  selectVersions,
  type World,
} from '../fixtures/backfill-world.ts';
import { flatBar } from '../fixtures/bars.ts';
import { readSpyMinutes } from '../fixtures/minutes.ts';
import { failureOf, ingest } from '../fixtures/warehouse.ts';
import { misbehave } from '../vendor-server.ts';

const HORIZON = '2024-01-02';
const LAST = '2024-03-01';
/** Two hours after the close of Friday 1 March. */
const NOW = '2024-03-01T23:00:00Z';
const base = { now: NOW, firstSession: HORIZON };
const REQUEST: RepairRequest = { timeframe: '1d', horizon: HORIZON };

const sessionsOf = (first: string, last: string) =>
  CALENDAR.sessions(toDay(first), toDay(last)).length;

/** What a symbol lacks, a line each. */
const lines = ({ symbols }: Pick<RepairPlan, 'symbols'>, symbol: string) =>
  symbols
    .find((one) => one.symbol === symbol)
    ?.ranges.map(({ start, end, sessions, state, place, isDue }) =>
      [`${start}..${end}`, sessions, state, place, ...(isDue ? ['due'] : [])].join(' '),
    );

const asked = (world: World) =>
  barRequests(world.vendor()).map((line) => /\/range\/1\/\w+\/([^?]+)/.exec(line)?.[1] ?? line);

async function deleteBars(sql: Sql, symbol: string, ...sessions: string[]): Promise<void> {
  await sql`
    delete from bars_1d b using symbol_ranges r
    where b.instrument_id = r.instrument_id and r.symbol = ${symbol}
      and b.session = any(${sessions}::date[])`;
}

async function idOf(sql: Sql, symbol: string): Promise<number> {
  const [row] = await sql<{ id: number }[]>`
    select instrument_id as id from symbol_ranges where symbol = ${symbol}`;
  return row.id;
}

for (const edition of EDITIONS) {
  describe(`repair (${edition})`, () => {
    test('fills what is older, inside and newer, and asks for nothing twice', async () => {
      const bars = new Map([['AAA', dailyBars(HORIZON, LAST)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA'], { firstSession: '2024-01-16', lastSession: '2024-01-19' });
      await world.backfill(['AAA'], { firstSession: '2024-02-05', lastSession: '2024-02-09' });
      await deleteBars(world.sql, 'AAA', '2024-02-06', '2024-02-07');
      const report = await runRepair(world.context, REQUEST);
      expect(lines(report, 'AAA')).toEqual([
        `${HORIZON}..2024-01-12 9 unfetched older due`,
        '2024-01-22..2024-02-02 10 unfetched inside due',
        '2024-02-06..2024-02-07 2 missing inside due',
        `2024-02-12..${LAST} 14 unfetched newer due`,
      ]);
      expect(report.symbols[0]).toMatchObject({ held: 7, lacking: 35, due: 35, phantoms: [] });
      expect(report.backfill).toMatchObject({ inserted: 35, changed: 0, failures: [] });
      expect(report.left).toEqual({ requests: 0, sessions: 0 });
      const [{ count }] = await world.sql`select count(*) from bars_1d`;
      expect(count).toBe(sessionsOf(HORIZON, LAST));
      const before = await selectVersions(world.sql);
      const sent = world.vendor().requests.length;
      const again = await runRepair(world.context, REQUEST);
      expect(lines(again, 'AAA')).toEqual([]);
      expect(again.backfill).toMatchObject({ runId: null, requests: 0 });
      expect(world.vendor().requests).toHaveLength(sent);
      expect(await selectVersions(world.sql)).toEqual(before);
    });

    test('days on which it had no symbol yet, or no more, are no holes', async () => {
      const bars = new Map([['AAA', dailyBars(HORIZON, LAST)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await upsertSymbols(world.sql, ['AAA']);
      const name = { from: 'AAA', to: 'BBB', on: '2024-02-05' };
      await renameSymbol(world.sql, name, { actor: 'cli tester', nowMs: Date.parse(NOW) });
      const later = { isTracked: true, former: { from: '2024-02-20' } };
      await upsertSymbols(world.sql, ['AAA'], later);
      const plan = await planRepair(world.context, { ...REQUEST, symbols: ['AAA'] });
      expect(lines(plan, 'AAA')).toEqual([`2024-02-20..${LAST} 9 unfetched all due`]);
      expect(plan.whole.dueSessions).toBe(9);
    });

    test('that is only planned asks nobody and writes nothing', async () => {
      const bars = new Map([['AAA', dailyBars(HORIZON, LAST)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA'], { lastSession: '2024-02-09' });
      await deleteBars(world.sql, 'AAA', '2024-01-10');
      const before = await selectVersions(world.sql);
      const sent = world.vendor().requests.length;
      const plan = await planRepair(world.context, REQUEST);
      expect(lines(plan, 'AAA')).toEqual([
        '2024-01-10..2024-01-10 1 missing inside due',
        `2024-02-12..${LAST} 14 unfetched newer due`,
      ]);
      expect(plan.whole.dueSessions).toBe(15);
      expect(plan.whole.requests.range + plan.whole.requests.grouped).toBe(1);
      expect(plan.affordable).toBe(plan.whole);
      expect(world.vendor().requests).toHaveLength(sent);
      expect(await selectVersions(world.sql)).toEqual(before);
    });

    test('a bar that is lost, and that the provider does not have either, is empty', async () => {
      const all = dailyBars(HORIZON, LAST);
      await using world = await openWorld(edition, { ...base, bars: new Map([['AAA', all]]) });
      await world.backfill(['AAA']);
      await deleteBars(world.sql, 'AAA', '2024-02-06');
      const bars = all.filter(({ session }) => session !== '2024-02-06');
      await world.replaceVendor({ bars: new Map([['AAA', bars]]) });
      const report = await runRepair(world.context, REQUEST);
      expect(lines(report, 'AAA')).toEqual(['2024-02-06..2024-02-06 1 missing inside due']);
      expect(asked(world)).toEqual(['2024-02-06/2024-02-06']);
      const again = await runRepair(world.context, REQUEST);
      expect(lines(again, 'AAA')).toEqual(['2024-02-06..2024-02-06 1 vendor_empty inside']);
      expect(again.symbols[0].ranges[0].retryAt).toBe(Date.parse(NOW) + 20 * 3_600_000);
      expect(again.backfill.requests).toBe(0);
      world.setNow('2024-03-02T19:01:00Z');
      const third = await runRepair(world.context, REQUEST);
      expect(lines(third, 'AAA')).toEqual(['2024-02-06..2024-02-06 1 vendor_empty inside due']);
      expect(asked(world)).toHaveLength(2);
    });

    test('does not ask again for what may have been restated', async () => {
      await using world = await openWorld(edition, {
        ...base,
        bars: new Map([['AAA', dailyBars(HORIZON, '2024-03-04')]]),
      });
      await world.backfill(['AAA']);
      world.setNow('2024-03-04T23:00:00Z');
      await runRepair(world.context, REQUEST);
      expect(asked(world).at(-1)).toBe('2024-03-04/2024-03-04');
    });

    test('says what the plan with the provider does not include, and leaves it alone', async () => {
      const bars = new Map([['AAA', dailyBars(HORIZON, LAST)]]);
      const entitledSince = '2024-02-01';
      await using world = await openWorld(edition, { ...base, bars, entitledSince });
      await upsertSymbols(world.context.database.write, ['AAA']);
      const report = await runRepair(world.context, REQUEST);
      expect(report.symbols[0].ranges).toMatchObject([{ place: 'all', state: 'unfetched' }]);
      expect(report.left.requests).toBe(0);
      const again = await runRepair(world.context, REQUEST);
      expect(again.backfill.requests).toBe(0);
      expect(lines(again, 'AAA')?.every((line) => line.endsWith('not_entitled older'))).toBe(true);
      expect(again.symbols[0].ranges[0].message).toMatch(/the plan .* does not include/);
    });

    test('knows the listing: what lies before it is no hole', async () => {
      const bars = new Map([['AAA', dailyBars('2024-02-01', LAST)]]);
      const named = { name: 'A', exchange: 'XNAS', assetType: 'CS', isActive: true };
      const tickers = [{ symbol: 'AAA', ...named, listedOn: '2024-02-01' }];
      await using world = await openWorld(edition, { ...base, bars, tickers: tickers as never });
      await upsertSymbols(world.context.database.write, ['AAA']);
      await world.sql`update instruments set listed_on = '2024-02-01', described_at = now()`;
      const report = await runRepair(world.context, REQUEST);
      expect(lines(report, 'AAA')).toEqual([`2024-02-01..${LAST} 21 unfetched all due`]);
      expect(asked(world)).toEqual([`2024-02-01/${LAST}`]);
    });

    test('asks for what was taken for earlier than the listing, and is not', async () => {
      const bars = new Map([['AAA', dailyBars('2024-01-08', LAST)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA']);
      const id = await idOf(world.sql, 'AAA');
      await world.sql`
        update coverage set state = 'before_listing', retry_at = null
        where instrument_id = ${id} and dataset = '1d' and state = 'vendor_empty'`;
      await world.sql`update instruments set listed_on = '2024-01-04'`;
      const plan = await planRepair(world.context, REQUEST);
      expect(lines(plan, 'AAA')).toEqual(['2024-01-04..2024-01-05 2 unfetched older due']);
      await runRepair(world.context, REQUEST);
      expect(await selectStates(world.sql, 'AAA')).toContain('2024-01-04..2024-01-08 vendor_empty');
    });

    test('looks at all that a symbol holds, and no further back than was said', async () => {
      const bars = marketBars(['AAA', 'BBB'], '2023-11-01', LAST);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA'], { firstSession: '2023-11-01', lastSession: '2023-11-10' });
      await world.backfill(['BBB'], { firstSession: '2024-02-26' });
      const holes = await findHoles(world.context, REQUEST);
      expect(lines({ symbols: holes }, 'AAA')).toEqual([
        `2023-11-13..${LAST} ${sessionsOf('2023-11-13', LAST)} unfetched newer due`,
      ]);
      expect(lines({ symbols: holes }, 'BBB')?.[0]).toStartWith(`${HORIZON}..2024-02-23`);
      const some = { ...REQUEST, firstSession: '2024-01-16', lastSession: '2024-01-17' };
      const narrow = await findHoles(world.context, some);
      expect(lines({ symbols: narrow }, 'AAA')).toEqual([
        '2024-01-16..2024-01-17 2 unfetched all due',
      ]);
      const report = await runRepair(world.context, REQUEST);
      expect(report.backfill.inserted).toBe(
        sessionsOf('2023-11-13', LAST) + sessionsOf(HORIZON, '2024-02-23'),
      );
      expect(await selectStates(world.sql, 'BBB')).not.toContain('2023');
      expect((await selectStates(world.sql, 'BBB'))[0]).toStartWith(HORIZON);
    });

    test('spends no more than its budget, newest first, and goes on next time', async () => {
      const symbols = ['AAA', 'BBB', 'CCC'];
      const bars = marketBars(symbols, HORIZON, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(symbols, { firstSession: '2024-01-16', lastSession: '2024-01-17' });
      for (const symbol of symbols) {
        await deleteBars(world.sql, symbol, symbol === 'CCC' ? '2024-01-17' : '2024-01-16');
      }
      const request = { ...REQUEST, symbols, lastSession: '2024-01-17', requestsMax: 1 };
      const limited = { ...request, firstSession: '2024-01-16' };
      const sent = world.vendor().requests.length;
      const first = await runRepair(world.context, limited);
      expect(first.whole.requests.total).toBe(2);
      expect(first.affordable.requests.total).toBe(1);
      expect(world.vendor().requests).toHaveLength(sent + 1);
      expect(first.left.requests).toBe(1);
      const lost = await findHoles(world.context, limited);
      // The newest session was the one of CCC.
      expect(lost.map(({ lacking }) => lacking)).toEqual([1, 1, 0]);
      const second = await runRepair(world.context, limited);
      expect(second.left).toEqual({ requests: 0, sessions: 0 });
      expect(world.vendor().requests).toHaveLength(sent + 2);
    });

    test('stops learning what the plan includes when the budget is used up', async () => {
      const bars = new Map([['AAA', dailyBars('2022-01-03', LAST)]]);
      const entitledSince = '2023-09-01';
      await using world = await openWorld(edition, { ...base, bars, entitledSince });
      await upsertSymbols(world.context.database.write, ['AAA']);
      await world.sql`update instruments set listed_on = '2010-01-04', described_at = now()`;
      const request = { ...REQUEST, horizon: '2022-01-03', requestsMax: 3 };
      let sent = 0;
      let runs = 0;
      for (let left = Number.POSITIVE_INFINITY; left > 0 && runs < 20; runs++) {
        const report = await runRepair(world.context, request);
        const now = world.vendor().requests.length;
        expect(now - sent).toBeLessThanOrEqual(3);
        sent = now;
        left = report.left.requests;
      }
      expect(runs).toBeLessThan(10);
      const [{ count }] =
        await world.sql`select count(*) from bars_1d where session >= '2023-09-11'`;
      expect(count).toBe(sessionsOf('2023-09-11', LAST));
      const states = await selectStates(world.sql, 'AAA');
      expect(states[0]).toMatch(/^2022-01-03\.\..* not_entitled$/);
    });

    test('reports bars on closed days, and leaves them', async () => {
      const bars = new Map([['AAA', dailyBars(HORIZON, LAST)]]);
      await using world = await openWorld(edition, { ...base, bars });
      await world.backfill(['AAA']);
      const id = await idOf(world.sql, 'AAA');
      const phantoms = ['2024-01-15', '2024-02-10'].map((day) => flatBar(day));
      const write = world.context.database.write;
      await ingest(write, id, phantoms, { symbol: 'AAA' }, { provider: 'polygon' });
      const before = await selectVersions(world.sql);
      const report = await runRepair(world.context, REQUEST);
      expect(report.symbols[0]).toMatchObject({
        ...{ lacking: 0, due: 0, phantoms: ['2024-01-15', '2024-02-10'] },
        held: sessionsOf(HORIZON, LAST),
      });
      expect(await selectVersions(world.sql)).toEqual(before);
    });

    test('goes on with other symbols when one fails, and says what is left', async () => {
      const bars = marketBars(['AAA', 'BBB'], HORIZON, LAST);
      await using world = await openWorld(edition, { ...base, bars });
      await upsertSymbols(world.context.database.write, ['AAA', 'BBB']);
      misbehaveFor(world.vendor(), { '/ticker/AAA/range': misbehave.wrongTicker('ZZZ') });
      const report = await runRepair(world.context, { ...REQUEST, symbols: ['AAA', 'BBB'] });
      expect(report.backfill.failures.map(({ symbol }) => symbol)).toEqual(['AAA']);
      expect(report.backfill.inserted).toBe(sessionsOf(HORIZON, LAST));
      expect(report.left).toMatchObject({ sessions: sessionsOf(HORIZON, LAST) });
      expect(report.left.requests).toBeGreaterThan(0);
    });

    test('of minutes finds sessions without any, and not the one being made', async () => {
      const minutes = new Map([['SPY', readSpyMinutes()]]);
      const now = '2024-05-17T15:00:00Z';
      await using world = await openWorld(edition, { now, firstSession: '2024-05-06', minutes });
      await upsertSymbols(world.context.database.write, ['SPY']);
      await world.backfill(['SPY'], { timeframe: '1m', lastSession: '2024-05-10' });
      await world.sql`delete from bars_1m where session = '2024-05-08'`;
      const request: RepairRequest = {
        ...{ timeframe: '1m', horizon: '2024-05-06', symbols: ['SPY'] },
      };
      const report = await runRepair(world.context, request);
      expect(lines(report, 'SPY')).toEqual([
        '2024-05-08..2024-05-08 1 missing inside due',
        '2024-05-13..2024-05-17 5 unfetched newer due',
      ]);
      const [{ days }] = await world.sql`select count(distinct session) as days from bars_1m`;
      expect(days).toBe(10);
      const sent = world.vendor().requests.length;
      expect(lines(await runRepair(world.context, request), 'SPY')).toEqual([]);
      expect(world.vendor().requests).toHaveLength(sent);
    });

    test('of a symbol that is not known is refused', async () => {
      await using world = await openWorld(edition, base);
      const request = { ...REQUEST, symbols: ['NOPE'] };
      expect(await failureOf(runRepair(world.context, request))).toContain(
        'there is no symbol NOPE here: add it with marketd symbols add',
      );
      expect(world.vendor().requests).toEqual([]);
    });
  });
}
