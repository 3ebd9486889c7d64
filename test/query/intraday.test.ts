import { expect, test } from 'bun:test';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { NO_STEPS } from '../../src/model/adjustment.ts';
import { gatherIntradayBars, type IntradayBars } from '../../src/model/intraday.ts';
import { newYorkInstant, toDay } from '../../src/model/session.ts';
import { BarReader } from '../../src/query/bars.ts';
import { makeDerive } from '../../src/query/derived.ts';
import { IntradayReader } from '../../src/query/intraday.ts';
import type { ResolvedSymbol } from '../../src/query/symbols.ts';
import { makeView, type ViewRequest } from '../../src/query/view.ts';
import type { Sql } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { calendar } from '../fixtures/bars.ts';
import { toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, ingestOptions } from '../fixtures/warehouse.ts';

const DAY = '2024-02-29';
const at = (clock: string, day = DAY) => {
  const [hour, minute] = clock.split(':').map(Number);
  return newYorkInstant(toDay(day), 60 * hour + minute);
};

/** Minutes of a session from one time of the day until before another. */
function minutes(from: string, until: string, day = DAY) {
  const price = { open: 100, high: 101, low: 99, close: 100, vwap: 100 };
  const found = [];
  for (let ts = at(from, day); ts < at(until, day); ts += 60_000) {
    found.push({ ts, ...price, volume: 10, tradeCount: 1 });
  }
  return toIntradayColumns(found);
}

const pickIntraday = (bars: IntradayBars, isWanted: (ts: number) => boolean) =>
  gatherIntradayBars([{ bars, rows: [...bars.ts.keys()].filter((row) => isWanted(bars.ts[row])) }]);

interface Answer {
  count: number;
  data: { time: string; is_final: boolean; flags: string[] }[];
  excluded: { count: number; bars: { time: string; reason: string }[] };
}

const decode = (body: Uint8Array) => JSON.parse(new TextDecoder().decode(body)) as Answer;

describeEditions('bars below a day', (database) => {
  const sql = (): Sql => database().sql;

  const resolve = async (name: string): Promise<ResolvedSymbol> => {
    const symbol = `${name}${database().edition.length}`;
    const instrumentId = await addInstrument(sql(), symbol);
    return { instrumentId, symbol, name: null, listedOn: null, middle: null };
  };
  /** Asks for a day at an instant and stores what came. */
  const store = async (
    { instrumentId, symbol }: ResolvedSymbol,
    bars: ReturnType<typeof minutes>,
    receivedAt: number,
    day = DAY,
    timeframe: '1m' | '1h' = '1m',
  ) => {
    const asked = [{ firstDay: toDay(day), lastDay: toDay(day) }];
    const item = { instrumentId, symbol, bars, rejected: [], listedOn: null, asked };
    const options = ingestOptions({ receivedAt, settledBefore: toDay('2024-02-01') });
    await ingestIntraday(sql(), [item], { ...options, timeframe });
  };
  const query = (nowMs: number, request: ViewRequest = {}) => ({
    ...{ timeframe: '60m', minutes: 60, start: DAY, end: DAY, sessions: 'regular' as const },
    ...{ startMs: at('00:00'), endMs: newYorkInstant(toDay(DAY) + 1, 0), anchor: undefined },
    ...{ closingAuction: false, minScore: 0, validatedOnly: false },
    view: makeView(calendar, nowMs, 0, request),
  });
  const hours = async (symbol: ResolvedSymbol, nowMs: number, request: ViewRequest = {}) => {
    const reader = new IntradayReader(sql(), calendar, 0);
    const { body } = await reader.select(symbol, query(nowMs, request));
    const { count, excluded } = decode(body);
    return [count, excluded.count];
  };
  const daily = async (symbol: ResolvedSymbol, nowMs: number, request: ViewRequest = {}) => {
    const intraday = new IntradayReader(sql(), calendar, 0);
    const derive = makeDerive(sql(), intraday, calendar, () => nowMs);
    const reader = new BarReader(sql(), calendar, 0, derive);
    const answer = await reader.select(symbol, {
      ...{ timeframe: '1d', startDay: toDay('2024-01-01'), endDay: toDay(DAY) },
      ...{ minScore: 0, validatedOnly: false },
      view: makeView(calendar, nowMs, 0, request),
    });
    const { count, excluded } = decode(answer.body);
    return [count, excluded.count];
  };

  test('are finished as far as their session was asked for, also on a later day', async () => {
    const symbol = await resolve('LATE');
    await store(symbol, minutes('09:30', '15:00'), at('15:00'));
    const [hour, next] = [at('15:45'), at('12:00', '2024-03-01')];
    // 14:30 to 15:30 has the half of its minutes.
    for (const nowMs of [hour, next]) {
      expect(await hours(symbol, nowMs)).toEqual([5, 1]);
      expect(await hours(symbol, nowMs, { includePartial: true })).toEqual([6, 0]);
    }
    expect(await daily(symbol, next)).toEqual([0, 1]);
    expect(await daily(symbol, next, { includePartial: true })).toEqual([1, 0]);
    await store(symbol, minutes('09:30', '16:00'), next);
    expect(await hours(symbol, next)).toEqual([7, 0]);
    expect(await daily(symbol, next)).toEqual([1, 0]);
    // As it was known, whatever came since.
    for (const knownAtMs of [hour, next - 1]) {
      expect(await hours(symbol, next, { knownAtMs })).toEqual([5, 1]);
    }
    expect(await daily(symbol, next, { knownAtMs: next - 1 })).toEqual([0, 1]);
    expect(await hours(symbol, next, { knownAtMs: next })).toEqual([7, 0]);
    expect(await daily(symbol, next, { knownAtMs: next })).toEqual([1, 0]);
  });

  test('are not kept with factors that were read before a change was told', async () => {
    const symbol = await resolve('RACE');
    const next = at('12:00', '2024-03-01');
    await store(symbol, minutes('09:30', '16:00'), at('18:00'));
    const reader = new IntradayReader(sql(), calendar, 1_000_000);
    reader.isTrusted = true;
    const asked = query(next, { adjustment: 'split' });
    const gate = Promise.withResolvers<typeof NO_STEPS>();
    const both = [1, 2].map(() => reader.select(symbol, asked, () => gate.promise));
    reader.drop([symbol.instrumentId]);
    gate.resolve(NO_STEPS);
    await Promise.all(both);
    expect(reader.recall(symbol, asked)).toBeUndefined();
    await reader.select(symbol, asked, async () => NO_STEPS);
    await reader.select(symbol, asked, async () => NO_STEPS);
    expect(reader.recall(symbol, asked)).toBeDefined();
  });

  test('of the past are of the hours that were there before the minutes came', async () => {
    const symbol = await resolve('SOURCE');
    const [evening, next] = [at('18:00'), at('12:00', '2024-03-01')];
    const all = minutes('10:00', '16:00');
    const hourly = pickIntraday(all, (ts) => ts % 3_600_000 === 0);
    await store(symbol, hourly, evening, DAY, '1h');
    const before = await hours(symbol, evening);
    expect(before).toEqual([6, 0]);
    await store(symbol, all, next);
    expect(await hours(symbol, next)).toEqual([7, 0]);
    expect(await hours(symbol, next, { knownAtMs: evening })).toEqual(before);
  });

  test('make the days of a month of the past in one reading', async () => {
    const symbol = await resolve('MONTH');
    const days = ['2024-02-26', '2024-02-27', '2024-02-28', DAY];
    for (const day of days) await store(symbol, minutes('09:30', '16:00', day), at('18:00'), day);
    const intraday = new IntradayReader(sql(), calendar, 0);
    let readings = 0;
    const read = intraday.minutes.bind(intraday);
    intraday.minutes = (...range) => {
      readings++;
      return read(...range);
    };
    const knownAtMs = at('12:00', '2024-03-01');
    const derive = makeDerive(sql(), intraday, calendar, () => knownAtMs);
    const { bars } = await derive(symbol.instrumentId, knownAtMs)(new Int32Array(0));
    expect([...bars.session.slice(0, bars.length)]).toEqual(days.map(toDay));
    expect(readings).toBe(1);
  });
});
