import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ingestTrades } from '../../src/ingest/trades.ts';
import {
  type CandleInterval,
  candleStart,
  parseInterval,
} from '../../src/model/candle-interval.ts';
import { makeTrades } from '../../src/model/trade.ts';
import { readTradeFile } from '../../src/providers/trade-file.ts';
import { type CandleQuery, selectCandles } from '../../src/query/candles.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import { cloneDatabase, EDITIONS, type TestDatabase } from '../database.ts';
import { calendar } from '../fixtures/bars.ts';
import { IBM, loadTradeFiles } from '../fixtures/real-trades.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

interface Candle {
  symbol: string;
  interval: string;
  ts: string;
  timestamp: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  trade_count: number;
}

interface Stored {
  instrumentId: number;
  symbol: string;
}

const of = (text: string) => parseInterval(text) as CandleInterval;
const micros = (text: string) => Date.parse(text) * 1000;
const DAY = { start: micros('2013-10-11T04:00Z'), end: micros('2013-10-12T04:00Z') };

interface Trade {
  /** ISO, UTC. */
  at: string;
  price?: number;
  size?: number;
  updates?: number;
  sequence?: number;
}

async function store(sql: Sql, one: Stored, trades: readonly Trade[]): Promise<void> {
  const columns = makeTrades(trades.length);
  trades.forEach(({ at, price = 10, size = 100, updates = 7, sequence }, i) => {
    columns.ts[i] = micros(at);
    columns.price[i] = price;
    columns.size[i] = size;
    columns.updates[i] = updates;
    columns.sequence[i] = sequence ?? Number.NaN;
  });
  const options = { provider: 'vendor', isSynthetic: false, receivedAt: Date.now() };
  await ingestTrades(sql, [{ ...one, trades: columns }], options);
}

const databases: { edition: string; database: TestDatabase; sql: Sql; ibm: Stored }[] = [];
let count = 0;

beforeAll(async () => {
  for (const edition of EDITIONS) {
    const database = await cloneDatabase(edition);
    const { sql } = database;
    await loadTradeFiles(sql, IBM);
    const instrumentId = await addInstrument(sql, 'IBM');
    databases.push({ edition, database, sql, ibm: { instrumentId, symbol: 'IBM' } });
  }
}, 600_000);
afterAll(async () => {
  for (const { database } of databases) await database.drop();
});

async function newInstrument(sql: Sql): Promise<Stored> {
  const symbol = `C${++count}`;
  return { instrumentId: await addInstrument(sql, symbol), symbol };
}

async function page(sql: Sql, one: Stored, interval: string, query: Partial<CandleQuery> = {}) {
  const asked = { interval: of(interval), start: null, end: null, limit: 1000, ...query };
  const found = await selectCandles(sql, one, asked);
  const candles = JSON.parse(`[${found.rows}]`) as Candle[];
  expect(found.count).toBe(candles.length);
  expect(found.isSynthetic).toBe(false);
  return { candles, nextMs: found.nextMs, text: found.rows };
}

/** All candles of a range, following the pages. */
async function walk(sql: Sql, one: Stored, interval: string, limit: number, range = DAY) {
  const pieces: string[] = [];
  let start = range.start;
  for (let more = true; more; ) {
    const { text, nextMs, candles } = await page(sql, one, interval, { ...range, start, limit });
    expect(candles.length).toBeLessThanOrEqual(limit);
    if (text !== '') pieces.push(text);
    more = nextMs !== null;
    if (nextMs !== null) {
      expect(nextMs * 1000).toBeGreaterThan(start);
      start = nextMs * 1000;
    }
  }
  return pieces.join(',');
}

/** Candles by hand, from the file. */
async function makeCandles(interval: string): Promise<Candle[]> {
  const made = new Map<
    number,
    { prices: number[]; range: number[]; sizes: number[]; value: number }
  >();
  for await (const { trades } of readTradeFile(IBM, { calendar })) {
    const { length, ts, price, size, updates } = trades.get('IBM')!;
    for (let i = 0; i < length; i++) {
      const start = candleStart(of(interval), Math.floor(ts[i]! / 1000));
      const one = made.get(start) ?? { prices: [], range: [], sizes: [], value: 0 };
      made.set(start, one);
      if (updates[i]! & 1) one.prices.push(price[i]!);
      if (updates[i]! & 2) one.range.push(price[i]!);
      if (updates[i]! & 4) {
        one.sizes.push(size[i]!);
        one.value += price[i]! * size[i]!;
      }
    }
  }
  const starts = [...made.keys()].sort((a, b) => a - b);
  return starts.flatMap((start) => {
    const { prices, range, sizes, value } = made.get(start)!;
    if (prices.length === 0) return [];
    const volume = sizes.reduce((sum, size) => sum + size, 0);
    const ts = `${new Date(start).toISOString().slice(0, 19)}Z`;
    return {
      ...{ symbol: 'IBM', interval, ts, timestamp: ts, open: prices[0]! },
      ...{ high: Math.max(...range, ...prices), low: Math.min(...range, ...prices) },
      ...{ close: prices.at(-1)!, volume, vwap: value / volume, trade_count: sizes.length },
    };
  });
}

const INTERVALS = ['1s', '15s', '1m', '5m', '30m', '1h', '45m', '2h', '65m', '195m', '1d', '1w'];

describe('candles of real trades', () => {
  for (const interval of INTERVALS) {
    test(`${interval} are those made by hand, the same bytes on every edition`, async () => {
      const expected = await makeCandles(interval);
      const range = interval === '1w' ? { ...DAY, start: micros('2013-10-07T04:00Z') } : DAY;
      const texts: string[] = [];
      for (const { sql, ibm } of databases) {
        const text = await walk(sql, ibm, interval, 10_000, range);
        texts.push(text);
        const candles = JSON.parse(`[${text}]`) as Candle[];
        const bare = (all: Candle[]) => all.map(({ vwap, ...rest }) => rest);
        expect(bare(candles)).toEqual(bare(expected));
        const isNear = candles.map(({ vwap }, i) => Math.abs(vwap! - expected[i]!.vwap!) < 6e-5);
        expect(isNear.every(Boolean)).toBe(true);
      }
      expect(new Set(texts).size).toBe(1);
    });
  }

  test('are the same however the pages are cut', async () => {
    for (const { sql, ibm } of databases) {
      for (const [interval, limits] of [
        ['5m', [1, 7, 100]],
        ['65m', [1, 2, 5]],
        ['2h', [1, 3]],
        ['1d', [1]],
      ] as const) {
        const whole = await walk(sql, ibm, interval, 10_000);
        for (const limit of limits) {
          const text = await walk(sql, ibm, interval, limit);
          expect([interval, limit, text === whole]).toEqual([interval, limit, true]);
        }
      }
    }
  });

  test('are whole: those that begin in [start, end), whatever is asked for', async () => {
    for (const { sql, ibm } of databases) {
      const whole = (await page(sql, ibm, '5m', DAY)).candles;
      const inside = (from: string, to: string) =>
        whole.filter(
          ({ ts }) => Date.parse(ts) >= Date.parse(from) && Date.parse(ts) < Date.parse(to),
        );
      for (const [from, to] of [
        ['2013-10-11T13:30:00Z', '2013-10-11T14:00:00Z'],
        ['2013-10-11T13:31:07Z', '2013-10-11T13:59:59.999Z'],
        ['2013-10-11T13:30:00.001Z', '2013-10-11T13:55:00.001Z'],
      ] as const) {
        const range = { start: micros(from), end: micros(to) };
        expect((await page(sql, ibm, '5m', range)).candles).toEqual(inside(from, to));
      }
    }
  });

  test('without start are the last ones', async () => {
    for (const { sql, ibm } of databases) {
      const whole = (await page(sql, ibm, '1m', DAY)).candles;
      for (const limit of [1, 5, 100, 1000]) {
        const { candles, nextMs } = await page(sql, ibm, '1m', { limit });
        expect([candles, nextMs]).toEqual([whole.slice(-limit), null]);
      }
      const end = '2013-10-11T15:00:00Z';
      const before = whole.filter(({ ts }) => ts < end).slice(-10);
      const last = await page(sql, ibm, '1m', { end: micros(end), limit: 10 });
      expect(last.candles).toEqual(before);
      expect((await page(sql, ibm, '1d')).candles).toEqual(
        (await page(sql, ibm, '1d', DAY)).candles,
      );
      expect((await page(sql, ibm, '65m', { limit: 2 })).candles).toHaveLength(2);
    }
  });

  test('do not depend on the plan', async () => {
    const settings = [
      { enable_hashagg: 'off' },
      { enable_sort: 'off', enable_indexscan: 'off' },
      { enable_seqscan: 'off', enable_bitmapscan: 'off' },
      { parallel_setup_cost: '0', parallel_tuple_cost: '0', min_parallel_table_scan_size: '0' },
      { work_mem: '64kB' },
    ];
    const texts = new Set<string>();
    for (const { sql, ibm, database } of databases) {
      texts.add((await page(sql, ibm, '1m', DAY)).text);
      for (const setting of settings) {
        const url = new URL(database.url);
        const options = Object.entries(setting).map(([name, value]) => `-c ${name}=${value}`);
        url.searchParams.set('options', options.join(' '));
        const pool = openPool(url.toString(), { connections: 1, pipeline: false });
        const [name, value] = Object.entries(setting)[0]!;
        const [shown] = await pool<{ now: string }[]>`select current_setting(${name}) as now`;
        expect(shown!.now).toBe(value);
        texts.add((await page(pool, ibm, '1m', DAY)).text);
        await pool.end();
      }
    }
    expect(texts.size).toBe(1);
  });
});

describe('a candle', () => {
  const NOON = '2024-03-01T17:00';
  const each = (name: string, body: (sql: Sql, one: Stored) => Promise<void>) =>
    test(name, async () => {
      for (const { sql } of databases) await body(sql, await newInstrument(sql));
    });
  const short = ({ open, high, low, close, volume, vwap, trade_count }: Candle) =>
    [open, high, low, close, volume, vwap, trade_count].join(' ');

  each(
    'opens and closes by instant and number, whatever order trades come in',
    async (sql, one) => {
      await store(sql, one, [{ at: `${NOON}:30Z`, price: 12, sequence: 2 }]);
      expect((await page(sql, one, '1m')).candles.map(short)).toEqual(['12 12 12 12 100 12 1']);
      await store(sql, one, [{ at: `${NOON}:30Z`, price: 13, sequence: 10 }]);
      await store(sql, one, [{ at: `${NOON}:30Z`, price: 11, sequence: 1 }]);
      expect((await page(sql, one, '1m')).candles.map(short)).toEqual(['11 13 11 13 300 12 3']);
      await store(sql, one, [
        { at: `${NOON}:29.999Z`, price: 9 },
        { at: `${NOON}:30.001Z`, price: 8 },
      ]);
      expect((await page(sql, one, '1m')).candles.map(short)).toEqual(['9 13 8 8 500 10.6 5']);
    },
  );

  each('takes of each trade what it may change', async (sql, one) => {
    const changes = [0, 6, 7, 4, 2, 1, 5, 3, 0];
    await store(
      sql,
      one,
      changes.map((updates, i) => ({
        at: `${NOON}:0${i}Z`,
        price: 10 + i,
        size: 10 ** i,
        updates,
      })),
    );
    // Open and close of 12 (7) and 17 (3); high and low of 11 (6) and 17; volume of 6, 7, 4 and 5.
    const volume = 10 + 100 + 1000 + 1_000_000;
    const value = 11 * 10 + 12 * 100 + 13 * 1000 + 16 * 1_000_000;
    expect((await page(sql, one, '1m')).candles.map(short)).toEqual([
      `12 17 11 17 ${volume} ${Math.round((value / volume) * 1e4) / 1e4} 4`,
    ]);
  });

  each('reaches as far as its open and close', async (sql, one) => {
    await store(sql, one, [
      { at: `${NOON}:01Z`, price: 5, updates: 1 },
      { at: `${NOON}:02Z`, price: 7, updates: 2 },
      { at: `${NOON}:03Z`, price: 9, updates: 1 },
    ]);
    expect((await page(sql, one, '1m')).candles.map(short)).toEqual(['5 9 5 9 0  0']);
  });

  each('is not there where no trade may open one', async (sql, one) => {
    await store(sql, one, [
      { at: `${NOON}:01Z`, updates: 6 },
      { at: '2024-03-01T17:01:01Z' },
      { at: '2024-03-01T17:02:01Z', updates: 0 },
    ]);
    const { candles } = await page(sql, one, '1m', { start: micros(`${NOON}Z`) });
    expect(candles.map(({ ts }) => ts)).toEqual(['2024-03-01T17:01:00Z']);
  });

  each('adds fractions of shares exactly', async (sql, one) => {
    const trades = Array.from({ length: 1000 }, (_, i) => ({
      at: `${NOON}:00.${String(i).padStart(3, '0')}Z`,
      size: 0.1,
    }));
    await store(sql, one, trades);
    expect((await page(sql, one, '1m')).candles.map(short)).toEqual(['10 10 10 10 100 10 1000']);
  });

  each('of a day or a week is New York’s, also when clocks change', async (sql, one) => {
    const hours = [
      ...['2023-11-04T13:00Z', '2023-11-05T03:59Z', '2023-11-05T04:00Z', '2023-11-05T05:30Z'],
      ...['2023-11-05T06:30Z', '2023-11-06T04:59Z', '2023-11-06T05:00Z', '2024-03-10T07:30Z'],
      ...['2024-03-11T03:59Z', '2024-03-11T04:00Z'],
    ];
    await store(
      sql,
      one,
      hours.map((at) => ({ at })),
    );
    const all = { start: micros('2023-10-30T00:00Z'), end: micros('2024-04-01T00:00Z') };
    const starts = async (interval: string) => {
      const { candles } = await page(sql, one, interval, all);
      return candles.map(({ ts, trade_count }) => `${ts.slice(0, 16)} ${trade_count}`);
    };
    expect(await starts('1d')).toEqual([
      ...['2023-11-04T04:00 2', '2023-11-05T04:00 4', '2023-11-06T05:00 1', '2024-03-10T05:00 2'],
      '2024-03-11T04:00 1',
    ]);
    expect(await starts('1w')).toEqual(
      [
        ...['2023-10-30T04:00 6', '2023-11-06T05:00 1', '2024-03-04T05:00 2', '2024-03-11T04:00 1'],
      ].slice(0, 4),
    );
    // 00:00 to 02:00 of that night lasts three hours.
    expect((await starts('2h')).slice(2, 3)).toEqual(['2023-11-05T04:00 3']);
    expect((await starts('1h')).slice(2, 5)).toEqual([
      ...['2023-11-05T04:00 1', '2023-11-05T05:00 1', '2023-11-05T06:00 1'],
    ]);
  });

  each('of a sparse symbol: pages go on across years', async (sql, one) => {
    const years = Array.from({ length: 20 }, (_, i) => `${2004 + i}-05-03T15:00:00Z`);
    await store(
      sql,
      one,
      years.map((at) => ({ at })),
    );
    const range = { start: micros('2000-01-01T00:00Z'), end: micros('2030-01-01T00:00Z') };
    for (const interval of ['1s', '1m', '2h', '1d']) {
      for (const limit of [3, 100]) {
        const text = await walk(sql, one, interval, limit, range);
        expect([interval, limit, JSON.parse(`[${text}]`).length]).toEqual([interval, limit, 20]);
      }
    }
    const { candles } = await page(sql, one, '1s', { limit: 3 });
    expect(candles.map(({ ts }) => ts)).toEqual(years.slice(-3));
  });

  each('there is none of a symbol without trades, or of a range without', async (sql, one) => {
    expect(await page(sql, one, '1m')).toEqual({ candles: [], nextMs: null, text: '' });
    expect(await page(sql, one, '1d', DAY)).toEqual({ candles: [], nextMs: null, text: '' });
    await store(sql, one, [{ at: `${NOON}Z` }]);
    expect((await page(sql, one, '1m', DAY)).candles).toEqual([]);
    expect((await page(sql, one, '1m', { end: DAY.end })).candles).toEqual([]);
    expect((await page(sql, one, '1m', { start: DAY.start })).candles).toHaveLength(1);
  });
});
