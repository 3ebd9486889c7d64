import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProviderError } from '../../src/errors.ts';
import { planRequest } from '../../src/ingest/backfill.ts';
import { importFiles } from '../../src/ingest/import.ts';
import { importTrades } from '../../src/ingest/import-trades.ts';
import { refreshLineage } from '../../src/ingest/lineage.ts';
import { parseMapFile } from '../../src/providers/map-file.ts';
import { renameSymbol, selectSymbolRanges, upsertLineages } from '../../src/store/symbol-ranges.ts';
import { selectInstruments, upsertSymbols } from '../../src/store/symbols.ts';
import { EDITIONS } from '../database.ts';
import {
  barRequests,
  CALENDAR,
  dailyBars,
  openWorld,
  selectStates,
  type World,
} from '../fixtures/backfill-world.ts';
import { failureOf } from '../fixtures/warehouse.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const base = { now: '2024-03-01T23:00:00Z', firstSession: '2022-05-02' };
const CHANGE = { actor: 'cli tester', nowMs: Date.parse(base.now) };
const LAST = '2024-03-01';
const MAPS = join(SHARED_DATA, 'corporate_actions/lean_map_files');
const RAW = join(SHARED_DATA, 'daily/lean_raw');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-identity-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

/** Reads map files and stores what they say. */
function mapAll({ sql }: World, names: readonly string[], split = false) {
  const lineages = names.map((name) => parseMapFile(name, readFileSync(join(MAPS, name), 'utf8')));
  return upsertLineages(sql, lineages, { ...CHANGE, split, action: 'symbol.map' });
}

const load = (world: World, names: readonly string[]) =>
  importFiles(
    world.context,
    names.map((name) => join(RAW, name)),
    { provider: 'lean' },
  );

/** What is held of each instrument: its latest symbol, count, first and last session. */
async function selectHeld({ sql }: World): Promise<string[]> {
  const rows = await sql<{ line: string }[]>`
    select (select symbol from symbol_ranges r where r.instrument_id = b.instrument_id
            order by valid_to desc limit 1)
           || ' ' || count(*) || ' ' || min(session) || ' ' || max(session) as line
    from bars_1d b group by instrument_id order by min(session), 1`;
  return rows.map(({ line }) => line);
}

const selectRejected = async ({ sql }: World) => {
  const rows = await sql`
    select symbol, session, reason, raw from rejected_rows order by session, symbol`;
  return rows.map((row) => ({ ...row }));
};

for (const edition of EDITIONS) {
  describe(`identity (${edition})`, () => {
    test('both companies that were FB are held apart, mapped before or after', async () => {
      await using before = await openWorld(edition, base);
      await mapAll(before, ['fb.csv', 'fb.1.csv']);
      const report = await load(before, ['fb.csv']);
      const apart = await selectHeld(before);
      expect(apart).toHaveLength(2);
      const [old, young] = apart.map((line) => line.split(' '));
      expect([old[0], old[2], old[3]]).toEqual(['FB', '1999-09-29', '2003-03-28']);
      expect([young[0], young[2], young[3]]).toEqual(['FB', '2012-05-18', '2021-03-31']);
      expect(Number(old[1]) + Number(young[1])).toBe(report.inserted);
      expect(report.rejected).toBe(0);

      await using after = await openWorld(edition, base);
      await load(after, ['fb.csv']);
      expect(await selectHeld(after)).toHaveLength(1);
      await mapAll(after, ['fb.csv', 'fb.1.csv'], true);
      expect(await selectHeld(after)).toEqual(apart);
      const days = ({ sql }: World) => sql`
        select symbol, time, open, close, volume from market_data order by time`;
      expect([...(await days(after))]).toEqual([...(await days(before))]);
    });

    test('history follows Washington Mutual, Google and QQQ through their symbols', async () => {
      await using world = await openWorld(edition, base);
      await mapAll(world, ['wm.csv', 'googl.csv', 'goog.csv', 'tfcfa.csv', 'bac.csv']);
      await load(world, ['uw.csv', 'wmi.csv', 'goog.csv', 'googl.csv', 'goocv.csv']);
      expect((await selectHeld(world)).map((line) => line.replace(/ \d+ /, ' '))).toEqual([
        'WM 1998-01-02 2009-08-04',
        'GOOGL 2004-08-19 2021-03-31',
        'GOOG 2014-03-27 2021-03-31',
      ]);
      // The views show each bar under the symbol of its day, and once.
      const shown = await world.sql`
        select symbol, count(*) as count, min(time)::date as first, max(time)::date as last
        from market_data group by symbol order by 3, 1`;
      expect(shown.map((row) => `${row.symbol} ${row.first} ${row.last}`)).toEqual([
        'UW 1998-01-02 1998-07-16',
        'WMI 1998-07-17 2009-08-04',
        'GOOG 2004-08-19 2021-03-31',
        'GOOCV 2014-03-27 2014-04-02',
        'GOOGL 2014-04-03 2021-03-31',
      ]);
      const [{ count }] = await world.sql`select count(*) as count from bars_1d`;
      expect(shown.reduce((sum, row) => sum + row.count, 0)).toBe(count);
    });

    test('rows of a day on which nobody had the symbol are rejected with the reason', async () => {
      await using world = await openWorld(edition, base);
      await mapAll(world, ['fb.csv', 'fb.1.csv']);
      const report = await importFiles(
        world.context,
        [
          write(
            'mixed.csv',
            'date,open,high,low,close,volume,symbol\n' +
              '2003-03-28,1,2,1,2,10,FB\n2003-03-31,1,2,1,2,10,FB\n2012-05-18,4,5,4,5,10,FB\n' +
              '2012-05-17,1,2,x,2,10,FB\n2003-03-27,1,2,x,2,10,FB\n',
          ),
        ],
        { provider: 'file' },
      );
      expect(report).toMatchObject({ inserted: 2, rejected: 3, added: [] });
      const rejected = await selectRejected(world);
      expect(rejected.map(({ session }) => session)).toEqual([
        ...['2003-03-27', '2003-03-31', '2012-05-17'],
      ]);
      expect(rejected[1]).toEqual({
        ...{ symbol: 'FB', session: '2003-03-31', raw: 'FB,2003-03-31,1,2,1,2,10' },
        reason:
          'nobody had the symbol on 2003-03-31, only 1999-09-29 to 2003-03-28, since 2012-05-18',
      });
      const [{ id }] = await world.sql`
        select instrument_id as id from rejected_rows where session = '2003-03-27'`;
      const [old] = await selectSymbolRanges(world.sql, ['FB']);
      expect(id).toBe(old.instrumentId);
    });

    test('minutes and trades go to whoever had the symbol on their day in New York', async () => {
      await using world = await openWorld(edition, base);
      const { sql, context } = world;
      await upsertSymbols(sql, ['OLD']);
      await renameSymbol(sql, { from: 'OLD', to: 'NEW', on: '2022-06-09' }, CHANGE);
      const former = { from: '2022-06-10' };
      await upsertSymbols(sql, ['OLD'], { isTracked: false, former });
      const minutes = write(
        'minutes.csv',
        'symbol,time,open,high,low,close,volume\n' +
          'OLD,2022-06-08T19:59:00Z,1,1,1,1,5\nNEW,2022-06-09T13:30:00Z,2,2,2,2,5\n' +
          'OLD,2022-06-09T13:30:00Z,3,3,3,3,5\nOLD,2022-06-10T13:30:00Z,4,4,4,4,5\n',
      );
      const bars = await importFiles(context, [minutes], { provider: 'file', bars: '1m' });
      expect(bars).toMatchObject({ inserted: 3, rejected: 1 });
      const trades = write(
        'trades.csv',
        'symbol,timestamp,price,size\n' +
          // 03:00 UTC is still the evening before in New York.
          'OLD,2022-06-09T03:00:00Z,1,1\nNEW,2022-06-09T13:30:00Z,2,1\n' +
          'OLD,2022-06-09T13:30:00Z,3,1\nOLD,2022-06-10T13:30:00Z,4,1\n',
      );
      const options = { provider: 'file', calendar: CALENDAR, now: context.now };
      const report = await importTrades(sql, [trades], options);
      expect(report).toMatchObject({ inserted: 3, rejected: 1, added: [] });
      for (const [table, column] of [
        ['bars_1m', 'close'],
        ['trades', 'price'],
      ]) {
        const rows = await sql<{ values: number[] }[]>`
          select array_agg(${sql(column)} order by ts) as values from ${sql(table)}
          group by instrument_id order by min(ts)`;
        expect(rows.map(({ values }) => values)).toEqual([[1, 2], [4]]);
      }
      expect((await selectRejected(world)).map(({ reason, raw }) => [reason, raw])).toEqual([
        [
          'nobody had the symbol on 2022-06-09, only until 2022-06-08, since 2022-06-10',
          'OLD,2022-06-09T13:30:00.000Z,3,3,3,3,5',
        ],
        [
          'nobody had the symbol on 2022-06-09, only until 2022-06-08, since 2022-06-10',
          '2022-06-09T13:30:00.000000Z price,size,sequence=3,1,0',
        ],
      ]);
    });

    test('each part of a history is asked for by the symbol of its time', async () => {
      const bars = new Map([
        ['FB', dailyBars('2022-05-02', '2022-06-08')],
        ['META', dailyBars('2022-06-09', '2024-03-01')],
      ]);
      await using world = await openWorld(edition, { ...base, bars });
      await upsertSymbols(world.sql, ['FB']);
      await renameSymbol(world.sql, { from: 'FB', to: 'META', on: '2022-06-09' }, CHANGE);
      const report = await world.backfill(['META']);
      expect(report).toMatchObject({ failures: [], rejected: 0 });
      const asked = barRequests(world.vendor()).map((line) => line.split('?')[0]);
      expect(asked.sort()).toEqual([
        'GET /v2/aggs/ticker/FB/range/1/day/2022-05-02/2022-06-08',
        'GET /v2/aggs/ticker/META/range/1/day/2022-06-09/2024-03-01',
      ]);
      expect(report.inserted).toBe(dailyBars('2022-05-02', '2024-03-01').length);
      expect(await selectStates(world.sql, 'META')).toEqual([
        ...['2022-05-02..2024-02-22 complete', '2024-02-22..2024-03-04 complete'],
      ]);
      expect((await world.backfill(['META'])).requests).toBe(0);
    });

    test('a session of the market is matched by the symbols of that day', async () => {
      const { firstSession } = base;
      const names = ['FB', 'S1', 'S2', 'S3', 'S4'];
      const until = names.map((name) => [name, dailyBars(firstSession, '2022-06-08')] as const);
      const bars = new Map<string, ReturnType<typeof dailyBars>>(until);
      bars.set('META', dailyBars('2022-06-09', '2022-06-10', 500));
      // Another company takes the old symbol at once.
      bars.set('FB', [
        ...dailyBars(firstSession, '2022-06-08'),
        ...dailyBars('2022-06-09', '2022-06-10'),
      ]);
      for (const name of names.slice(1)) bars.set(name, dailyBars(firstSession, '2022-06-10'));
      await using world = await openWorld(edition, {
        now: '2022-06-10T23:00:00Z',
        firstSession,
        bars,
      });
      const request = { firstSession: '2022-06-08' };
      await upsertSymbols(world.sql, ['FB']);
      await renameSymbol(world.sql, { from: 'FB', to: 'META', on: '2022-06-09' }, CHANGE);
      await world.backfill(['META', ...names.slice(1)], request);
      expect(barRequests(world.vendor()).every((line) => line.includes('/grouped/'))).toBe(true);
      const rows = await world.sql`
        select session, open from bars_1d join symbol_ranges using (instrument_id)
        where symbol = 'META' order by session`;
      const wanted = [...dailyBars('2022-06-08', '2022-06-08'), ...(bars.get('META') ?? [])];
      expect([...rows]).toEqual(
        wanted.map(({ session, open }) => ({ session, open: open as number })),
      );
    });

    test('sessions outside of its symbols are not asked for', async () => {
      await using world = await openWorld(edition, { ...base, firstSession: '1998-01-02' });
      await mapAll(world, ['fb.csv', 'fb.1.csv', 'twx.csv']);
      await renameSymbol(world.sql, { from: 'FB', to: 'META', on: '2022-06-09' }, CHANGE);
      const planOf = async (symbols: string[], lastSession?: string) => {
        const request = { firstSession: '1998-01-02', lastSession, symbols };
        const { plan } = await planRequest(world.context, { ...request, origin: 'command' });
        const { describe } = plan;
        const ranges = plan.ranges.map(({ providerSymbol, firstDay, lastDay }) =>
          [providerSymbol, ...[firstDay, lastDay].map(dateOf)].join(' '),
        );
        return { ranges, describe: describe.map(({ providerSymbol }) => providerSymbol) };
      };
      expect(await planOf(['META'])).toEqual({
        ranges: ['FB 2012-05-18 2022-06-08', 'META 2022-06-09 2024-03-01'],
        describe: ['META'],
      });
      expect(await planOf(['FB'], '2003-03-28')).toEqual({
        ranges: ['FB 1999-09-29 2003-03-28'],
        describe: [],
      });
      expect(await planOf(['TWX'], '2018-06-15')).toEqual({
        ranges: ['AOL 1998-01-02 2003-10-15', 'TWX 2003-10-16 2018-06-15'],
        describe: [],
      });
    });

    test('a provider’s lineage is stored, and its earlier symbols filled', async () => {
      const bars = new Map([
        ['FB', dailyBars('2022-05-02', '2022-06-08')],
        ['META', dailyBars('2022-06-09', '2024-03-01')],
      ]);
      const changes = new Map([
        [
          'META',
          [
            { date: '2022-06-09', ticker: 'META' },
            { date: '2012-05-18', ticker: 'FB' },
            { date: '2027-01-04', ticker: 'LATER' },
          ],
        ],
        ['OLD', [{ date: '2003-09-10', ticker: 'OLD' }]],
      ]);
      await using world = await openWorld(edition, { ...base, bars, changes });
      const { sql, context } = world;
      await world.backfill(['META', 'OLD', 'GONE']);
      const settled = ['2022-06-09..2024-02-22 complete', '2024-02-22..2024-03-04 complete'];
      expect(await selectStates(sql, 'META')).toEqual([
        '2022-05-02..2022-06-09 vendor_empty',
        ...settled,
      ]);
      const ask = async (symbol: string) => {
        const [instrument] = await selectInstruments(sql, { symbols: [symbol] });
        return refreshLineage(context, instrument, { actor: 'cli tester', split: false });
      };
      expect((await ask('META')).report).toMatchObject({ isChanged: true });
      expect((await ask('META')).report).toMatchObject({ isChanged: false });
      expect(await ask('GONE')).toEqual({ symbol: 'GONE', lineage: null, report: null });
      expect((await ask('OLD')).lineage?.ranges).toEqual([
        { symbol: 'OLD', startDay: -Infinity, endDay: Infinity, source: 'polygon' },
      ]);
      const rows = await sql`
        select symbol, valid_from, valid_to, source, figi, lineage_at
        from symbol_ranges join instruments using (instrument_id)
        where figi = 'BBG-META' order by valid_from`;
      const asked = { source: 'polygon', figi: 'BBG-META', lineage_at: new Date(base.now) };
      expect([...rows]).toEqual([
        { symbol: 'FB', valid_from: '2012-05-18', valid_to: '2022-06-09', ...asked },
        { symbol: 'META', valid_from: '2022-06-09', valid_to: 'infinity', ...asked },
      ]);
      const report = await world.backfill(['META']);
      expect(report.inserted).toBe(dailyBars('2022-05-02', '2022-06-08').length);
      expect(await selectStates(sql, 'META')).toEqual([
        ...['2022-05-02..2024-02-22 complete', '2024-02-22..2024-03-04 complete'],
      ]);
    });

    test('what was fetched of another company under a symbol is asked for anew', async () => {
      const other = { open: 15, high: 16, low: 14, close: 15 };
      const own = { open: 300, high: 301, low: 299, close: 300 };
      const days = (first: string, last: string, prices: typeof own) =>
        dailyBars(first, last).map((bar) => ({ ...bar, ...prices }));
      const bars = new Map([
        ['FB', days('2022-05-02', '2022-06-08', own)],
        // A fund of that symbol, until it gave it up.
        ['META', [...days('2022-05-02', '2022-05-31', other), ...days('2022-06-09', LAST, own)]],
      ]);
      const changes = ['FB', 'META'].map((ticker, i) => {
        return { ticker, date: ['2012-05-18', '2022-06-09'][i] };
      });
      const vendor = { bars, changes: new Map([['META', changes]]) };
      await using world = await openWorld(edition, { ...base, ...vendor });
      const { sql } = world;
      await world.backfill(['META']);
      const [instrument] = await selectInstruments(sql, { symbols: ['META'] });
      await refreshLineage(world.context, instrument, { actor: 'cli tester', split: false });
      await world.backfill(['META']);
      const rows = await sql`select open, count(*) as count from bars_1d group by open`;
      expect([...rows]).toEqual([{ open: 300, count: dailyBars('2022-05-02', LAST).length }]);
      const sent = world.vendor().requests.length;
      await world.backfill(['META']);
      expect(world.vendor().requests).toHaveLength(sent);
    });

    test('a provider that fails, or contradicts what is held, changes nothing', async () => {
      const changes = new Map([['META', [{ date: '2022-06-09', ticker: 'META' }]]]);
      const bars = new Map([['META', dailyBars('2022-05-02', '2024-03-01')]]);
      await using world = await openWorld(edition, { ...base, bars, changes });
      await world.backfill(['META']);
      const [instrument] = await selectInstruments(world.sql, { symbols: ['META'] });
      const ask = (split: boolean) =>
        refreshLineage(world.context, instrument, { actor: 'cli tester', split });
      expect(await failureOf(ask(false))).toContain('from 2022-05-02 to 2022-06-08');
      world.vendor().respond(() => Response.json({ status: 'OK', results: { events: 'none' } }));
      expect(await ask(false).catch((error) => error)).toBeInstanceOf(ProviderError);
      const [range] = await selectSymbolRanges(world.sql, ['META']);
      expect(range).toMatchObject({ startDay: -Infinity, source: null });
      expect((await ask(true)).report?.moved).toHaveLength(1);
      expect((await selectHeld(world)).map((line) => line.replace(/ \d+ /, ' '))).toEqual([
        ...['META 2022-05-02 2022-06-08', 'META 2022-06-09 2024-03-01'],
      ]);
    });
  });
}

const dateOf = (day: number) => new Date(day * 86_400_000).toISOString().slice(0, 10);
