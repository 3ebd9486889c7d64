import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ingestTrades } from '../../src/ingest/trades.ts';
import { type AdjustmentSteps, NO_STEPS, roundPrice, stepOf } from '../../src/model/adjustment.ts';
import { type CandleInterval, parseInterval } from '../../src/model/candle-interval.ts';
import { newYorkDay, newYorkInstant, toDay } from '../../src/model/session.ts';
import { makeTrades, type TradeColumns } from '../../src/model/trade.ts';
import { type CandleQuery, selectCandles } from '../../src/query/candles.ts';
import type { Sql } from '../../src/store/database.ts';
import { cloneDatabase, EDITIONS, type TestDatabase } from '../database.ts';
import { seededRandom } from '../fixtures/bars.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

interface Candle {
  ts: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  trade_count: number;
}

const FIRST = toDay('2024-03-04'); // a Monday; clocks go forward in the week
const DAYS = 26;

/** A Wednesday, a Monday, a Sunday and a Thursday; the last factors are those of the last alone. */
const STEPS: AdjustmentSteps = {
  exDay: Int32Array.from(['2024-03-06', '2024-03-11', '2024-03-17', '2024-03-21'].map(toDay)),
  price: Float64Array.from([0.0123456789, 0.25, 0.49, 0.98]),
  volume: Float64Array.from([14, 4, 2, 1]),
  skipped: [],
};

/** Some 900 trades, of which some set no open, others no volume; and the same ones adjusted. */
function makeBoth(): { raw: TradeColumns; adjusted: TradeColumns } {
  const random = seededRandom(31);
  const count = 900;
  const [raw, adjusted] = [makeTrades(count), makeTrades(count)];
  const at = Array.from({ length: count }, () => random() * DAYS * 1440).sort((a, b) => a - b);
  at.forEach((minutes, i) => {
    const ms = newYorkInstant(FIRST, 0) + Math.floor(minutes * 60_000);
    const step = stepOf(STEPS, newYorkDay(ms));
    const price = 50 + Math.round(random() * 10_000) / 100;
    const size = Math.round(random() * 1e6) / 1e3;
    // Of two days nothing may set an open: a part of a week, and a whole day.
    const isOdd = ['2024-03-05', '2024-03-14'].map(toDay).includes(newYorkDay(ms));
    const updates = isOdd ? 6 : Math.floor(random() * 8);
    for (const [trades, factors] of [
      [raw, [1, 1]],
      [adjusted, [STEPS.price[step] ?? 1, STEPS.volume[step] ?? 1]],
    ] as const) {
      trades.ts[i] = ms * 1000;
      trades.price[i] = price * factors[0];
      trades.size[i] = size * factors[1];
      trades.updates[i] = updates;
      trades.sequence[i] = i;
    }
  });
  return { raw, adjusted };
}

const databases: { edition: string; database: TestDatabase; sql: Sql; ids: [number, number] }[] =
  [];

beforeAll(async () => {
  const both = makeBoth();
  for (const edition of EDITIONS) {
    const database = await cloneDatabase(edition);
    const { sql } = database;
    const ids: [number, number] = [
      await addInstrument(sql, 'RAW'),
      await addInstrument(sql, 'ADJ'),
    ];
    const options = { provider: 'vendor', isSynthetic: false, receivedAt: Date.now() };
    await ingestTrades(
      sql,
      [
        { instrumentId: ids[0], symbol: 'RAW', trades: both.raw },
        { instrumentId: ids[1], symbol: 'ADJ', trades: both.adjusted },
      ],
      options,
    );
    databases.push({ edition, database, sql, ids });
  }
}, 600_000);
afterAll(async () => {
  for (const { database } of databases) await database.drop();
});

const RANGE = { start: newYorkInstant(FIRST, 0) * 1000, end: newYorkInstant(FIRST + 40, 0) * 1000 };

async function read(
  sql: Sql,
  instrumentId: number,
  interval: string,
  change: Partial<CandleQuery> = {},
) {
  const parsed = parseInterval(interval) as CandleInterval;
  const query = { interval: parsed, ...RANGE, limit: 10_000, ...change };
  const page = await selectCandles(sql, { instrumentId, symbol: 'X' }, query);
  return { ...page, candles: JSON.parse(`[${page.rows}]`) as Candle[] };
}

const factorOf = ({ ts }: Candle) => STEPS.price[stepOf(STEPS, newYorkDay(Date.parse(ts)))] ?? 1;
const INTERVALS = ['1s', '5m', '1h', '45m', '2h', '65m', '1d', '1w'];

describe('adjusted candles', () => {
  for (const interval of INTERVALS) {
    test(`${interval} are those of adjusted trades, the same bytes on every edition`, async () => {
      const texts: string[] = [];
      for (const { sql, ids } of databases) {
        const adjusted = await read(sql, ids[0], interval, { steps: STEPS });
        texts.push(adjusted.rows);
        const { candles: wanted } = await read(sql, ids[1], interval);
        expect(wanted.length).toBeGreaterThan(3);
        expect(adjusted.candles.map(({ ts, trade_count: n }) => [ts, n])).toEqual(
          wanted.map(({ ts, trade_count: n }) => [ts, n]),
        );
        adjusted.candles.forEach((candle, i) => {
          for (const name of ['open', 'high', 'low', 'close', 'volume'] as const) {
            const error = Math.abs(candle[name] - wanted[i]![name]);
            expect(error).toBeLessThan(1e-5);
          }
          const vwap = wanted[i]!.vwap;
          if (vwap === null) expect(candle.vwap).toBeNull();
          else expect(Math.abs(candle.vwap! - vwap)).toBeLessThan(1e-4);
        });
      }
      expect(new Set(texts).size).toBe(1);
    });
  }

  for (const { index, edition } of EDITIONS.map((edition, index) => ({ edition, index }))) {
    test(`of a day are the raw ones times its factor, in ten digits: ${edition}`, async () => {
      const { sql, ids } = databases[index]!;
      for (const interval of INTERVALS.filter((one) => one !== '1w')) {
        const { candles: raw } = await read(sql, ids[0], interval);
        const { candles } = await read(sql, ids[0], interval, { steps: STEPS });
        const prices = ({ ts, open, high, low, close }: Candle) => [ts, open, high, low, close];
        const times = (one: Candle) => (price: string | number) =>
          typeof price === 'string' || factorOf(one) === 1
            ? price
            : roundPrice(price * factorOf(one));
        expect(candles.map(prices)).toEqual(raw.map((one) => prices(one).map(times(one))));
      }
    });

    test(`are as they were from the last ex-date on, and without one: ${edition}`, async () => {
      const { sql, ids } = databases[index]!;
      for (const interval of INTERVALS) {
        const { rows } = await read(sql, ids[0], interval);
        expect((await read(sql, ids[0], interval, { steps: NO_STEPS })).rows).toBe(rows);
        const start = newYorkInstant(toDay('2024-03-25'), 0) * 1000;
        const late = await read(sql, ids[0], interval, { start });
        expect(late.count).toBeGreaterThan(0);
        const adjusted = await read(sql, ids[0], interval, { start, steps: STEPS });
        expect(adjusted.rows).toBe(late.rows);
      }
    });

    test(`are the same whatever the pages, also the latest: ${edition}`, async () => {
      const { sql, ids } = databases[index]!;
      for (const interval of ['1h', '65m', '1d', '1w']) {
        const { rows } = await read(sql, ids[0], interval, { steps: STEPS });
        const pieces: string[] = [];
        let start: number | null = RANGE.start;
        while (start !== null) {
          const page = await read(sql, ids[0], interval, { start, limit: 3, steps: STEPS });
          expect(page.count).toBeLessThanOrEqual(3);
          if (page.rows !== '') pieces.push(page.rows);
          start = page.nextMs === null ? null : page.nextMs * 1000;
        }
        expect(pieces.join(',')).toBe(rows);
        const latest = await read(sql, ids[0], interval, { start: null, limit: 2, steps: STEPS });
        expect(latest.count).toBe(2);
        expect(rows).toEndWith(latest.rows);
      }
    });
  }
});
