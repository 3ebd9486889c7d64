import { describe, expect, test } from 'bun:test';
import { planRequest } from '../../src/ingest/backfill.ts';
import { FLAG } from '../../src/model/quality.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { EDITIONS } from '../database.ts';
import {
  dailyBars,
  marketBars,
  misbehaveFor,
  openWorld,
  type World,
} from '../fixtures/backfill-world.ts';
import { failureOf } from '../fixtures/warehouse.ts';
import { misbehave, type VendorDividend, type VendorSplit } from '../vendor-server.ts';

const FIRST = '2023-12-01';
/** Friday evening, an hour after the bars of the day are published. */
const NOW = '2024-03-01T23:00:00Z';
const LAST = '2024-03-01';
const base = { now: NOW, firstSession: FIRST };
const bars = marketBars(['AAA'], FIRST, '2024-04-30');

const splitOf = (execution_date: string, change: Partial<VendorSplit> = {}): VendorSplit => ({
  ...{ id: execution_date, ticker: 'AAA', execution_date, split_from: 1, split_to: 2 },
  ...change,
});
const dividendOf = (date: string, change: Partial<VendorDividend> = {}): VendorDividend => ({
  ...{ id: `${date} d`, ticker: 'AAA', ex_dividend_date: date, cash_amount: 0.25, currency: 'USD' },
  ...change,
});

/** All versions, by ex-date: what, and whether it was withdrawn or is doubted. */
async function versions(world: World): Promise<string[]> {
  const rows = await world.sql`
    select a.*, r.symbol from corporate_actions a
    join symbol_ranges r on r.instrument_id = a.instrument_id and r.valid_to = 'infinity'
    order by r.symbol collate "C", ex_date, version_id`;
  return rows.map((row) => {
    const value = row.split_to ?? row.cash_amount;
    const state = row.ts_withdrawn ? ' withdrawn' : row.ts_missing ? ' missing' : '';
    return `${row.symbol} ${row.ex_date} ${value}${state}`;
  });
}

const actionRequests = (world: World) =>
  world
    .vendor()
    .requests.filter((line) => line.startsWith('GET /stocks/v1/'))
    .map((line) => {
      const [, name, query] = /v1\/(\w+)\?(\S*)/.exec(line) ?? [];
      const dates = [...query.matchAll(/date\.[gl]te=([\d-]+)/g)].map(([, date]) => date);
      const ticker = /ticker=(\w+)/.exec(query)?.[1] ?? '*';
      return `${name} ${ticker} ${dates.join('..')}`;
    });

describe.each(EDITIONS)('corporate actions (%s)', (edition) => {
  test('are asked for again as a whole after a week, and corrections are learned', async () => {
    const splits = [splitOf('2023-12-11'), splitOf('2023-12-20')];
    await using world = await openWorld(edition, { ...base, bars, splits });
    await world.backfill(['AAA']);
    expect(actionRequests(world)).toEqual([
      'splits AAA 2023-12-01..2024-03-08',
      'dividends AAA 2023-12-01..2024-03-08',
    ]);
    await world.replaceVendor({
      bars,
      splits: [splits[1], splitOf('2023-12-11', { split_to: 3 })],
    });
    world.setNow('2024-03-07T23:00:00Z');
    await world.backfill(['AAA']);
    // Only what was not settled, as every night.
    expect(actionRequests(world)[0]).toBe('splits AAA 2024-02-22..2024-03-14');
    expect(await versions(world)).toEqual(['AAA 2023-12-11 2', 'AAA 2023-12-20 2']);
    await world.replaceVendor({
      bars,
      splits: [splits[1], splitOf('2023-12-11', { split_to: 3 })],
    });
    world.setNow('2024-03-08T23:00:00Z');
    const wanted = { firstSession: FIRST, symbols: ['AAA'], origin: 'command' as const };
    const { plan } = await planRequest(world.context, wanted);
    expect(plan.requests).toMatchObject({ range: 1, splits: 1, dividends: 1 });
    await world.backfill(['AAA']);
    expect(actionRequests(world)[0]).toBe('splits AAA 2023-12-01..2024-03-15');
    expect(await versions(world)).toEqual([
      'AAA 2023-12-11 2 withdrawn',
      'AAA 2023-12-11 3',
      'AAA 2023-12-20 2',
    ]);
    world.setNow('2024-03-08T23:30:00Z');
    expect((await world.backfill(['AAA'])).requests).toBe(0);
  });

  test('are withdrawn by the second answer without any, and explain gaps no more', async () => {
    const halved = dailyBars(FIRST, '2024-04-30').map((bar) =>
      bar.session < '2023-12-20'
        ? bar
        : {
            ...bar,
            ...{ open: Number(bar.open) / 2, high: Number(bar.high) / 2 },
            ...{ low: Number(bar.low) / 2, close: Number(bar.close) / 2 },
          },
    );
    const all = new Map([['AAA', halved]]);
    await using world = await openWorld(edition, {
      ...{ ...base, bars: all, splits: [splitOf('2023-12-20')] },
    });
    const flags = async () =>
      (await world.sql`select flags from bars_1d where session = '2023-12-20'`)[0].flags;
    await world.backfill(['AAA']);
    expect(await flags()).toBe(FLAG.gap | FLAG.gapSplit);
    await world.replaceVendor({ bars: all });
    world.setNow('2024-03-08T23:00:00Z');
    await world.backfill(['AAA']);
    expect(await versions(world)).toEqual(['AAA 2023-12-20 2 missing']);
    expect(await flags()).toBe(FLAG.gap | FLAG.gapSplit);
    world.setNow('2024-03-15T23:00:00Z');
    await world.backfill(['AAA']);
    expect(await versions(world)).toEqual(['AAA 2023-12-20 2 withdrawn']);
    expect(await flags()).toBe(FLAG.gap | FLAG.gapUnexplained);
  });

  test('are stored with the scores of the bars that they explain, or not at all', async () => {
    const halved = dailyBars(FIRST, '2024-04-30').map((bar) =>
      bar.session < '2023-12-20' ? bar : { ...bar, open: 50, high: 51, low: 49, close: 50 },
    );
    const all = new Map([['AAA', halved]]);
    await using world = await openWorld(edition, { ...base, bars: all });
    const flags = async () =>
      (await world.sql`select flags from bars_1d where session = '2023-12-20'`)[0].flags;
    await world.backfill(['AAA']);
    expect(await flags()).toBe(FLAG.gap | FLAG.gapUnexplained);
    await world.replaceVendor({ bars: all, splits: [splitOf('2023-12-20')] });
    world.setNow('2024-03-08T23:00:00Z');
    await world.sql.unsafe(`
      alter table findings add constraint no_end check (ts_resolved is null) not valid`);
    expect(await failureOf(world.backfill(['AAA']))).toContain('no_end');
    expect(await versions(world)).toEqual([]);
    await world.sql.unsafe('alter table findings drop constraint no_end');
    world.setNow('2024-03-09T23:00:00Z');
    await world.backfill(['AAA']);
    expect(await versions(world)).toEqual(['AAA 2023-12-20 2']);
    expect(await flags()).toBe(FLAG.gap | FLAG.gapSplit);
  });

  test('are not withdrawn by an answer with a row that cannot be read', async () => {
    const dividends = [dividendOf('2023-12-11'), dividendOf('2023-12-20')];
    await using world = await openWorld(edition, { ...base, bars, dividends });
    await world.backfill(['AAA']);
    world.setNow('2024-03-08T23:00:00Z');
    misbehaveFor(world.vendor(), { '/v1/dividends': misbehave.field(0, 'cash_amount', null) });
    await world.backfill(['AAA']);
    expect(await versions(world)).toEqual(['AAA 2023-12-11 0.25', 'AAA 2023-12-20 0.25']);
    const [row] = await world.sql`select dataset, session from rejected_rows`;
    expect(row).toEqual({ dataset: 'dividends', session: '2023-12-11' });
  });

  test('that are announced are known before the first session without it', async () => {
    const dividends = [dividendOf('2024-03-06'), dividendOf('2024-03-11')];
    await using world = await openWorld(edition, { ...base, bars, dividends });
    await world.backfill(['AAA']);
    expect(await versions(world)).toEqual(['AAA 2024-03-06 0.25']);
    await world.backfill(['BBB'], { lastSession: '2024-02-01' });
    expect(actionRequests(world).at(-1)).toBe('dividends BBB 2023-12-01..2024-02-01');
  });

  test('belong to whose symbol it was on the ex-date', async () => {
    const symbols = ['AAA', 'NEW', 'CCC', 'DDD', 'EEE', 'FFF'];
    const dividends = [
      dividendOf('2023-12-11', { id: '1', ticker: 'OLD' }),
      dividendOf('2023-12-11', { id: '2', ticker: 'NEW' }),
      dividendOf('2024-02-12', { id: '3', ticker: 'OLD' }),
      dividendOf('2024-02-12', { id: '4', ticker: 'NEW' }),
    ];
    await using world = await openWorld(edition, {
      ...{ ...base, bars: marketBars([...symbols, 'OLD'], FIRST, LAST), dividends },
    });
    const rename = async () => {
      const [{ id }] = await world.sql`
        update symbol_ranges set valid_from = '2024-01-16' where symbol = 'NEW'
        returning instrument_id as id`;
      await world.sql`
        insert into symbol_ranges (instrument_id, symbol, valid_from, valid_to)
        values (${id}, 'OLD', '2020-01-02', '2024-01-16')`;
    };
    await world.backfill(['AAA'], { lastSession: '2023-12-01' });
    await upsertSymbols(world.context.database.write, symbols);
    await rename();
    const count = world.vendor().requests.length;
    // By itself, and on the pages of the market.
    await world.backfill(['NEW']);
    expect(world.vendor().requests.length).toBeGreaterThan(count);
    expect(actionRequests(world).slice(-2)).toEqual([
      'dividends OLD 2023-12-01..2024-01-15',
      'dividends NEW 2024-01-16..2024-03-08',
    ]);
    const mine = ['NEW 2023-12-11 0.25', 'NEW 2024-02-12 0.25'];
    expect(await versions(world)).toEqual(mine);
    await world.sql`delete from corporate_actions`;
    await world.sql`delete from coverage where dataset <> '1d'`;
    await world.backfill(symbols, { firstSession: '2023-12-01' });
    expect(actionRequests(world).at(-1)).toBe('dividends * 2023-12-01..2024-03-08');
    expect(await versions(world)).toEqual(mine);
    const ids = await world.sql<{ id: string }[]>`
      select provider_action_id as id from corporate_actions order by ex_date`;
    expect(ids.map(({ id }) => id)).toEqual(['1', '4']);
  });

  test('are not doubted when the whole market has none for a month', async () => {
    const symbols = ['AAA', 'BBB', 'CCC', 'DDD', 'EEE', 'FFF'];
    const dividends = [dividendOf('2023-12-11')];
    await using world = await openWorld(edition, {
      ...{ ...base, bars: marketBars(symbols, FIRST, '2024-04-30'), dividends },
    });
    await world.backfill(symbols);
    expect(actionRequests(world)[1]).toBe('dividends * 2023-12-01..2024-03-08');
    await world.replaceVendor({ bars: marketBars(symbols, FIRST, '2024-04-30') });
    world.setNow('2024-03-08T23:00:00Z');
    await world.backfill(symbols);
    expect(actionRequests(world)[1]).toBe('dividends * 2023-12-01..2024-03-15');
    expect(await versions(world)).toEqual(['AAA 2023-12-11 0.25']);
  });
});
