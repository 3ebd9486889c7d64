import { expect, test } from 'bun:test';
import type { IngestCount } from '../../src/ingest/ingest.ts';
import {
  type IntradayItem,
  type IntradayOptions,
  ingestIntraday,
} from '../../src/ingest/intraday.ts';
import { DEFAULT_THRESHOLDS, FLAG } from '../../src/model/quality.ts';
import { toDay } from '../../src/model/session.ts';
import { openDatabase, type Sql } from '../../src/store/database.ts';
import { selectInstruments, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { calendar } from '../fixtures/bars.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import type { VendorMinute } from '../vendor-server.ts';

const MINUTES = readSpyMinutes();
const DAY = '2024-02-20';
const minutesOf = (date: string) =>
  MINUTES.filter(({ ts }) => new Date(ts - 5 * 3_600_000).toISOString().startsWith(date));
const FIRST_DAY = minutesOf(DAY);

const OPTIONS: IntradayOptions = {
  timeframe: '1m',
  provider: 'polygon',
  isSynthetic: false,
  receivedAt: Date.parse('2024-06-03T12:00:00Z'),
  calendar,
  thresholds: DEFAULT_THRESHOLDS,
  settledBefore: toDay('2024-05-24'),
};

/** A quiet minute of the session of `DAY`, `index` minutes after 09:30. */
function minute(index: number, change: Partial<VendorMinute> = {}): VendorMinute {
  const ts = Date.parse('2024-02-20T14:30:00Z') + index * 60_000;
  return { ts, open: 100, high: 100, low: 100, close: 100, volume: 1000, ...change };
}

describeEditions('bars below a day', (database) => {
  async function open() {
    const { url, sql } = database();
    await sql`truncate instruments, symbol_ranges, bars_1m, bars_1h, bars_1d, bar_revisions,
      coverage, instrument_status, rejected_rows, events restart identity cascade`;
    const pools = openDatabase(url, 2);
    await upsertSymbols(pools.write, ['SPY']);
    const [{ instrumentId }] = await selectInstruments(sql, { symbols: ['SPY'] });
    return {
      sql,
      instrumentId,
      ingest: async (
        minutes: readonly VendorMinute[],
        item: Partial<IntradayItem> = {},
        options: Partial<IntradayOptions> = {},
      ): Promise<IngestCount> => {
        const bars = toIntradayColumns(minutes);
        const whole = { instrumentId, symbol: 'SPY', bars, rejected: [], listedOn: null, ...item };
        const counts = await ingestIntraday(pools.write, [whole], { ...OPTIONS, ...options });
        return counts.get(instrumentId) as IngestCount;
      },
      [Symbol.asyncDispose]: () => pools.close(),
    };
  }

  const rows = (sql: Sql) => sql`
    select ts, open, high, low, close, volume, vwap, trade_count, session, part, score, flags,
           is_final, provider
    from bars_1m order by ts`;

  test('are stored as they came, each in its part of the day', async () => {
    await using world = await open();
    const count = await world.ingest(FIRST_DAY);
    expect(count).toEqual({ inserted: 810, changed: 0, unchanged: 0, rejected: 0 });
    const stored = await rows(world.sql);
    expect(stored.length).toBe(FIRST_DAY.length);
    stored.forEach((row, i) => {
      const { ts, open, high, low, close, volume, vwap, tradeCount } = FIRST_DAY[i];
      expect(row).toMatchObject({
        ...{ ts: new Date(ts), open, high, low, close, volume, vwap, trade_count: tradeCount },
        ...{ session: DAY, score: 1, flags: 0, is_final: true, provider: 'polygon' },
      });
    });
    const parts = await world.sql`
      select part, count(*)::int as bars, min(ts) as first, max(ts) as last from bars_1m
      group by part order by part`;
    expect([...parts]).toEqual([
      {
        ...{ part: 0, bars: expect.any(Number) },
        ...{ first: new Date('2024-02-20T09:00:00Z'), last: new Date('2024-02-20T14:29:00Z') },
      },
      {
        ...{ part: 1, bars: 390 },
        ...{ first: new Date('2024-02-20T14:30:00Z'), last: new Date('2024-02-20T20:59:00Z') },
      },
      {
        ...{ part: 2, bars: expect.any(Number) },
        ...{ first: new Date('2024-02-20T21:00:00Z'), last: expect.any(Date) },
      },
    ]);
  });

  test('change nothing when they come again, in whatever order and parts', async () => {
    await using world = await open();
    await world.ingest(FIRST_DAY);
    const before = await rows(world.sql);
    const again = await world.ingest([...FIRST_DAY].reverse());
    expect(again).toEqual({ inserted: 0, changed: 0, unchanged: 810, rejected: 0 });
    const [{ version }] = await world.sql`select version from instrument_status`;
    expect(await world.ingest(FIRST_DAY.slice(100, 200))).toMatchObject({ unchanged: 100 });
    expect([...(await rows(world.sql))]).toEqual([...before]);
    expect(await world.sql`select version from instrument_status`).toMatchObject([{ version }]);
    expect(await world.sql`select count(*)::int as n from bar_revisions`).toMatchObject([{ n: 0 }]);
  });

  test('score the same in one batch as minute by minute', async () => {
    await using world = await open();
    const jump = minute(40, { open: 120, high: 120, low: 120, close: 120, volume: 1100 });
    const loud = minute(60, { open: 100, high: 100, low: 100, close: 100, volume: 9000 });
    const day = Array.from({ length: 80 }, (_, i) => {
      if (i === 40) return jump;
      return i === 60 ? loud : minute(i, i > 40 && i < 60 ? same(120) : {});
    });
    await world.ingest(day);
    const whole = await rows(world.sql);
    await world.sql`truncate bars_1m, instrument_status`;
    for (const part of [day.slice(0, 40), day.slice(61), day.slice(40, 61)]) {
      await world.ingest(part);
    }
    expect([...(await rows(world.sql))]).toEqual([...whole]);
    expect(whole[40]).toMatchObject({ flags: FLAG.gap | FLAG.gapUnexplained, score: 0.8 });
    expect(whole[60]).toMatchObject({ flags: FLAG.gap | FLAG.gapVolume, score: 1 });
    expect(whole.filter(({ flags }) => flags !== 0)).toHaveLength(2);
  });

  const same = (price: number) => ({ open: price, high: price, low: price, close: price });

  test('of the next session are no gap, however far they open', async () => {
    await using world = await open();
    const next = minute(24 * 60, same(150));
    await world.ingest([minute(0), minute(1), next]);
    expect((await rows(world.sql)).map(({ flags }) => flags)).toEqual([0, 0, 0]);
  });

  test('that are impossible score 0, those of a closed day are flagged', async () => {
    await using world = await open();
    const holiday = { ...minute(0), ts: Date.parse('2024-02-19T15:00:00Z') };
    const night = { ...minute(0), ts: Date.parse('2024-02-20T08:00:00Z') };
    await world.ingest([minute(0, { high: 99 }), minute(1, { volume: -1 }), holiday, night]);
    expect((await rows(world.sql)).map(({ score, flags, part }) => [score, flags, part])).toEqual([
      [0.8, FLAG.offSession, 3],
      [0.8, FLAG.offSession, 3],
      [0, FLAG.highTooLow | FLAG.highBelowLow, 1],
      [0, FLAG.volumeNegative, 1],
    ]);
  });

  test('leave their old values behind when they are restated', async () => {
    await using world = await open();
    await world.ingest([minute(0), minute(1)]);
    const later = { receivedAt: OPTIONS.receivedAt + 1000 };
    const change = minute(1, { close: 100.5, high: 100.5, vwap: 100.2, tradeCount: 7 });
    const count = await world.ingest([minute(0), change], {}, later);
    expect(count).toEqual({ inserted: 0, changed: 1, unchanged: 1, rejected: 0 });
    const [, second] = await rows(world.sql);
    expect(second).toMatchObject({ close: 100.5, vwap: 100.2, trade_count: 7 });
    const revisions = await world.sql`select * from bar_revisions`;
    expect(revisions).toHaveLength(1);
    expect(revisions[0]).toMatchObject({
      ...{ timeframe: '1m', session: DAY, ts: new Date(change.ts), close: 100, vwap: null },
      ...{ ts_received: new Date(OPTIONS.receivedAt), ts_replaced: new Date(later.receivedAt) },
    });
    // A row that does not say what is known already says nothing new.
    expect(await world.ingest([minute(1, { close: 100.5, high: 100.5 })])).toMatchObject({
      unchanged: 1,
    });
  });

  test('that are none are kept with the reason', async () => {
    await using world = await open();
    const { ts } = minute(5);
    const count = await world.ingest([
      minute(0),
      minute(0),
      minute(0, { close: 99, low: 99 }),
      { ...minute(5), ts: ts + 30_000 },
      { ...minute(5), ts: Date.parse('2024-06-04T15:00:00Z') },
      { ...minute(5), ts: Date.parse('1989-06-05T15:00:00Z') },
    ]);
    expect(count).toEqual({ inserted: 1, changed: 0, unchanged: 0, rejected: 5 });
    const rejected = await world.sql`
      select dataset, symbol, session, reason from rejected_rows order by reason`;
    expect(rejected.map(({ reason }) => reason)).toEqual([
      'duplicate of another row of the same answer',
      'second bar for the instant in the same answer, with other values; the first was kept',
      'the bar does not begin on a whole minute',
      'the bar lies before 1990-01-01, where the calendar begins',
      'the bar lies in the future',
    ]);
    expect(new Set(rejected.map(({ dataset, symbol }) => `${dataset} ${symbol}`))).toEqual(
      new Set(['1m SPY']),
    );
  });

  test('are counted, covered and announced in the same transaction', async () => {
    await using world = await open();
    const asked = [{ firstDay: toDay(DAY), lastDay: toDay('2024-02-21') }];
    await world.ingest(FIRST_DAY, { asked });
    const [status] = await world.sql`select * from instrument_status`;
    expect(status).toMatchObject({
      ...{ timeframe: '1m', records: 810, validated_records: 810, is_synthetic: false },
      ...{ first_session: DAY, latest_session: DAY, providers: ['polygon'], version: 1 },
    });
    const coverage = await world.sql`
      select dataset, start_session, end_session, state from coverage order by start_session`;
    expect([...coverage]).toEqual([
      { dataset: '1m', start_session: DAY, end_session: '2024-02-21', state: 'complete' },
      {
        dataset: '1m',
        start_session: '2024-02-21',
        end_session: '2024-02-22',
        state: 'vendor_empty',
      },
    ]);
    expect(await world.sql`select kind, symbol, data::jsonb as data from events`).toMatchObject([
      {
        ...{ kind: 'bars', symbol: 'SPY' },
        data: { timeframe: '1m', count: 810, first: '2024-02-20T09:00:00.000Z' },
      },
    ]);
    await world.ingest([minute(0, { close: 499.9, open: 499.9, high: 499.9, low: 499.9 })]);
    const [last] = await world.sql`
      select kind, data::jsonb as data from events order by event_id desc limit 1`;
    expect(last).toMatchObject({
      kind: 'bar',
      data: { timeframe: '1m', time: '2024-02-20T14:30:00.000Z', close: 499.9, is_final: true },
    });
  });

  test('made up never meet real ones, of whatever timeframe', async () => {
    await using world = await open();
    await world.ingest([minute(0)]);
    const hour = { ...minute(0), ts: Date.parse('2024-02-20T15:00:00Z') };
    const made = { timeframe: '1h', isSynthetic: true, provider: 'synthetic' } as const;
    expect(world.ingest([hour], {}, made)).rejects.toThrow(
      'SPY holds real data: synthetic data is not mixed with it; use another database',
    );
    expect(await world.sql`select count(*)::int as n from bars_1h`).toMatchObject([{ n: 0 }]);
    await world.ingest([hour], {}, { timeframe: '1h' });
    expect(await world.sql`select part, session from bars_1h`).toMatchObject([
      { part: 1, session: DAY },
    ]);
  });

  test('are final once the window of revisions lies behind them, and then stay it', async () => {
    await using world = await open();
    await world.ingest([minute(0)], {}, { settledBefore: toDay(DAY) });
    expect(await rows(world.sql)).toMatchObject([{ is_final: false }]);
    expect(await world.ingest([minute(0)])).toMatchObject({ unchanged: 1 });
    expect(await rows(world.sql)).toMatchObject([{ is_final: true }]);
    await world.ingest([minute(0)], {}, { settledBefore: toDay(DAY) });
    expect(await rows(world.sql)).toMatchObject([{ is_final: true }]);
  });
});
