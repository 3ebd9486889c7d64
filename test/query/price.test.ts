import { expect, test } from 'bun:test';
import {
  selectLatestIngestion,
  selectLatestPrice,
  selectListedInstruments,
} from '../../src/query/price.ts';
import type { Sql, Transaction } from '../../src/store/database.ts';
import { insertEvents, type NewEvent } from '../../src/store/events.ts';
import { deleteSymbols, upsertDescriptions } from '../../src/store/symbols.ts';
import { upsertLastTrades } from '../../src/store/trades.ts';
import { describeEditions } from '../database.ts';
import { calendar } from '../fixtures/bars.ts';
import { addBars, addDailyBar, addSnapshot, addTrades } from '../fixtures/price-rows.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

/** Friday evening in New York. */
const NOW = Date.parse('2026-11-20T23:30:00Z');
const micros = (instant: string) => Date.parse(instant) * 1000;

/** What a test stores of an instrument, by its part before the close of 2026-11-20 (21:00 UTC). */
type Store = (sql: Sql, id: number) => Promise<void>;

const trade = (ts: string, price = 1, change: object = {}): Store => {
  return (sql, id) => addTrades(sql, id, [{ ts, price, ...change }]);
};
const minute = (ts: string, close = 2, change: object = {}): Store => {
  return (sql, id) => addBars(sql, id, '1m', [{ ts, close, ...change }]);
};
const hour = (ts: string, close = 5): Store => {
  return (sql, id) => addBars(sql, id, '1h', [{ ts, close }]);
};
const snapshot = (ts: string, price = 3, change: object = {}): Store => {
  return (sql, id) => addSnapshot(sql, id, { ts, price, ...change });
};
const daily = (session: string, close = 4, change: object = {}): Store => {
  return (sql, id) => addDailyBar(sql, id, { session, close, ...change });
};

const CASES: [what: string, stored: Store[], price: object][] = [
  [
    'the only trade',
    [trade('2026-11-20T15:00:00.123456Z', 185.42, { size: 12.5 })],
    {
      source: 'trade',
      timeframe: null,
      session: null,
      micros: micros('2026-11-20T15:00:00.123Z') + 456,
      price: 185.42,
      volume: 12.5,
      provider: 'vendor',
      isSynthetic: false,
    },
  ],
  [
    'the only minute bar, from its end on',
    [minute('2026-11-20T15:00:00Z', 7)],
    {
      source: 'bar',
      timeframe: '1m',
      session: null,
      micros: micros('2026-11-20T15:01:00Z'),
      price: 7,
      volume: 500,
      provider: 'vendor',
      isSynthetic: false,
    },
  ],
  [
    'the only snapshot, whose volume it did not say',
    [snapshot('2026-11-20T15:00:00Z', 8)],
    {
      source: 'snapshot',
      timeframe: null,
      session: null,
      micros: micros('2026-11-20T15:00:00Z'),
      price: 8,
      volume: null,
      provider: 'yahoo',
      isSynthetic: false,
    },
  ],
  [
    'the only daily bar, from the close of its session on',
    [daily('2026-11-20', 9)],
    {
      source: 'daily_bar',
      timeframe: '1d',
      session: '2026-11-20',
      micros: micros('2026-11-20T21:00:00Z'),
      price: 9,
      volume: 1e6,
      provider: 'vendor',
      isSynthetic: false,
    },
  ],
  ['an hour’s bar, from its end on', [hour('2026-11-20T15:00:00Z')], { source: 'bar', price: 5 }],
  [
    'a trade after the minute’s end',
    [trade('2026-11-20T15:01:00.000001Z'), minute('2026-11-20T15:00:00Z')],
    { source: 'trade', price: 1 },
  ],
  [
    'a minute after the trade',
    [trade('2026-11-20T15:00:59.999999Z'), minute('2026-11-20T15:00:00Z')],
    { source: 'bar', price: 2 },
  ],
  [
    'a snapshot after both',
    [
      trade('2026-11-20T15:00:59Z'),
      minute('2026-11-20T15:00:00Z'),
      snapshot('2026-11-20T15:01:01Z'),
    ],
    { source: 'snapshot', price: 3 },
  ],
  [
    'the trade, of all at one instant',
    [
      snapshot('2026-11-20T21:00:00Z'),
      daily('2026-11-20'),
      minute('2026-11-20T20:59:00Z'),
      trade('2026-11-20T21:00:00Z'),
    ],
    { source: 'trade', price: 1 },
  ],
  [
    'the minute bar rather than the day’s that ends with it',
    [daily('2026-11-20'), minute('2026-11-20T20:59:00Z')],
    { source: 'bar', timeframe: '1m', price: 2 },
  ],
  [
    'a daily close rather than trades of years ago',
    [daily('2026-11-20'), trade('2013-10-07T20:00:00Z')],
    { source: 'daily_bar', price: 4 },
  ],
  [
    'a bar that is not over yet, from when it was received on',
    [
      minute('2026-11-20T15:00:00Z', 2, { receivedAt: '2026-11-20T15:00:20Z' }),
      trade('2026-11-20T15:00:20.000001Z'),
    ],
    { source: 'trade', price: 1 },
  ],
  [
    'a daily bar that was received before the close, from then on',
    [
      daily('2026-11-20', 4, { receivedAt: '2026-11-20T18:00:00Z' }),
      snapshot('2026-11-20T18:00:01Z'),
    ],
    { source: 'snapshot', price: 3 },
  ],
  [
    'an early close',
    [daily('2025-11-28'), trade('2025-11-28T18:00:00.000001Z')],
    { source: 'trade', price: 1 },
  ],
  [
    'a daily bar of a Saturday, from 16:00 on',
    [daily('2026-11-14', 6, { score: 0.8 })],
    { source: 'daily_bar', price: 6, micros: micros('2026-11-14T21:00:00Z') },
  ],
  [
    'the bar before one that its score excludes',
    [minute('2026-11-20T15:00:00Z', 2), minute('2026-11-20T15:01:00Z', 99, { score: 0.4 })],
    { source: 'bar', price: 2, micros: micros('2026-11-20T15:01:00Z') },
  ],
  [
    'the last of the trades of one instant',
    [
      trade('2026-11-20T15:00:00Z', 11, { sequence: 2 }),
      trade('2026-11-20T15:00:00Z', 12, { sequence: 10 }),
      trade('2026-11-20T15:00:00Z', 13, { sequence: 9 }),
    ],
    { source: 'trade', price: 12 },
  ],
  [
    'the last trade that may set a close',
    [
      trade('2026-11-20T15:00:00Z', 11, { updates: 1 }),
      trade('2026-11-20T15:00:01Z', 12, { updates: 6 }),
      trade('2026-11-20T15:00:02Z', 13, { updates: 0 }),
    ],
    { source: 'trade', price: 11 },
  ],
  [
    'one of years ago, when there is no newer one',
    [trade('2013-10-07T20:00:00Z'), minute('2013-10-07T19:58:00Z')],
    { source: 'trade', price: 1 },
  ],
  [
    'right at the border of what is recent: a bar that goes on after a trade',
    [hour('2026-11-10T23:00:00Z'), trade('2026-11-10T23:45:00Z')],
    { source: 'bar', timeframe: '1h', price: 5 },
  ],
  [
    'a made-up trade, and says so',
    [trade('2026-11-20T15:00:00Z', 11, { provider: 'synthetic' })],
    { source: 'trade', provider: 'synthetic', isSynthetic: true },
  ],
  [
    'a made-up daily bar, and says so',
    [daily('2026-11-20', 4, { isMadeUp: true })],
    { source: 'daily_bar', provider: 'synthetic', isSynthetic: true },
  ],
];

describeEditions('the latest price', (database) => {
  let number = 0;
  const add = () => addInstrument(database().sql, `P${++number}`);

  for (const [what, stored, expected] of CASES) {
    test(`is ${what}`, async () => {
      const { sql } = database();
      const id = await add();
      for (const store of stored) await store(sql, id);
      expect(await selectLatestPrice(sql, calendar, id, NOW)).toMatchObject(expected);
      const other = await selectLatestPrice(sql, calendar, await add(), NOW);
      expect(other).toBeUndefined(); // and of nobody else
    });
  }

  test('is none where nothing with a price is stored', async () => {
    const { sql } = database();
    const id = await add();
    expect(await selectLatestPrice(sql, calendar, id, NOW)).toBeUndefined();
    await trade('2026-11-20T15:00:00Z', 1, { updates: 4 })(sql, id);
    await minute('2026-11-20T15:00:00Z', 1, { score: 0 })(sql, id);
    await daily('2026-11-20', 1, { score: 0.49 })(sql, id);
    expect(await selectLatestPrice(sql, calendar, id, NOW)).toBeUndefined();
  });

  test('is one statement that reads the ends of indexes, and sorts no table', async () => {
    const { sql } = database();
    const id = await add();
    const first = NOW - 40_001 * 300_000;
    for (const other of [id, await add()]) {
      await sql`
        insert into trades (instrument_id, ts, sequence, price, size, updates, provider,
          ts_received)
        select ${other}, ${new Date(first)}::timestamptz + n * interval '5 minutes', 1, 100, 1, 7,
               'vendor', now()
        from generate_series(1, 40000) n`;
      await sql`
        insert into bars_1m (instrument_id, ts, ts_received, open, high, low, close, volume, score,
          flags, session, part, is_final, provider)
        select ${other}, ${new Date(first)}::timestamptz + n * interval '5 minutes', now(), 1, 1, 1,
               1, 1, 1, 0, '2026-06-01', 1, true, 'vendor'
        from generate_series(1, 40000) n`;
      await sql`
        insert into snapshots (instrument_id, ts, price, ts_received, provider, meta)
        select ${other}, ${new Date(first)}::timestamptz + n * interval '65 minutes', 1, now(),
               'yahoo', '{}'
        from generate_series(1, 3000) n`;
    }
    await sql`analyze trades, bars_1m, snapshots`;
    const plans = await explain(sql, (on) => selectLatestPrice(on, calendar, id, NOW));
    expect(plans).toHaveLength(2); // of what is recent, and of all when nothing is
    for (const plan of plans) {
      for (const table of ['trades', 'bars_1m', 'snapshots']) {
        // Backwards, as far as the first row: a hypertable's older chunks are not even opened.
        const looks = plan.filter((line) => new RegExp(`using \\S*${table}_pkey`).test(line));
        const found = looks.filter((line) => !/never executed|rows=0/.test(line));
        const look = expect.stringMatching(/Index Scan Backward.*actual rows=1(\.00)? /);
        expect([table, found]).toEqual([table, [look]]);
      }
      const bulk = /Seq Scan on (trades|bars_1m|snapshots|_hyper)|Sort Key: (trades|bars_1m|snap)/;
      expect(plan.filter((line) => bulk.test(line))).toEqual([]);
      expect(readBlocks(plan)).toBeLessThan(100);
    }
    const chunks = (plan: string[]) => new Set(plan.join().match(/_hyper_\w+_chunk/g)).size;
    expect(chunks(plans[0]!)).toBeLessThanOrEqual(8);
    if (database().edition !== 'plain') expect(chunks(plans[1]!)).toBeGreaterThan(20);
  });
});

/** The plans of statements, line by line, taken on their way to the server. */
async function explain(sql: Sql, run: (sql: Sql) => Promise<unknown>): Promise<string[][]> {
  const plans: string[][] = [];
  const explainOne = async (text: string, values: never[] = []) => {
    const lines = await sql.unsafe(`explain (analyze, buffers, timing off) ${text}`, values);
    plans.push(lines.map((line) => line['QUERY PLAN'] as string));
    return [{ micros: 0, session: null }]; // as if it were old
  };
  const tagged = (parts: TemplateStringsArray, ...values: never[]) =>
    explainOne(
      parts.reduce((all, part, i) => `${all}$${i}${part}`),
      values,
    );
  await run(Object.assign(tagged, { unsafe: explainOne }) as unknown as Sql);
  return plans;
}

/** Blocks that a plan has read, its planning left out. */
function readBlocks(plan: readonly string[]): number {
  const [, hit, , read] = /Buffers: shared hit=(\d+)( read=(\d+))?/.exec(plan.join('\n'))!;
  return Number(hit) + Number(read ?? 0);
}

describeEditions('the list of instruments', (database) => {
  test('has those that are tracked and those of which anything is held', async () => {
    const { sql } = database();
    const ids = new Map<string, number>();
    for (const symbol of ['TRACKED', 'abc', 'NAMED', 'BLANK', 'TRADED', 'SHOWN', 'GONE']) {
      ids.set(symbol, await addInstrument(sql, symbol));
    }
    await trade('2026-11-20T15:00:00Z')(sql, ids.get('TRADED')!);
    await snapshot('2026-11-20T15:00:00Z')(sql, ids.get('SHOWN')!);
    await sql`update instruments set name = '  ' where instrument_id = ${ids.get('BLANK')!}`;
    const rest = { exchange: null, assetType: null, listedOn: null, delistedOn: null };
    await upsertDescriptions(sql, [
      { instrumentId: ids.get('NAMED')!, name: 'Named <b>Inc.</b>', ...rest },
    ]);
    await deleteSymbols(sql, ['TRADED', 'SHOWN', 'GONE']);
    const listed = await selectListedInstruments(sql);
    expect(listed.map(({ symbol, name }) => [symbol, name])).toEqual([
      ['BLANK', 'BLANK'],
      ['NAMED', 'Named <b>Inc.</b>'],
      ['SHOWN', 'SHOWN'],
      ['TRACKED', 'TRACKED'],
      ['TRADED', 'TRADED'],
      ['abc', 'abc'],
    ]);
    for (const { createdAt } of listed)
      expect(Date.now() - createdAt.getTime()).toBeWithin(-60_000, 600_000);
  });
});

describeEditions('the latest ingestion', (database) => {
  const commit = (events: Partial<NewEvent>[]) =>
    database().sql.begin((tx) =>
      insertEvents(
        tx as unknown as Transaction,
        events.map((event) => {
          return { kind: 'trade', instrumentId: 1, symbol: 'A', data: {}, ...event } as NewEvent;
        }),
      ),
    );
  const latest = () => selectLatestIngestion(database().sql);
  const newestAt = async () => {
    const [row] = await database().sql`select max(ts_committed) as at from events`;
    return row!.at as Date;
  };

  test('is unknown while nothing was committed', async () => {
    expect(await latest()).toEqual({ at: null, tradeCount: 0 });
  });

  /** Trades of an ingest: their count is left behind in the transaction that stores them. */
  const store = (count: number) =>
    database().sql.begin((tx) => upsertLastTrades(tx as unknown as Transaction, count));

  test('counts the trades of the latest transaction that had any', async () => {
    await store(3);
    expect((await latest()).tradeCount).toBe(3);
    await store(15_001);
    const { at, tradeCount } = await latest();
    expect(tradeCount).toBe(15_001);
    expect(Math.abs(at!.getTime() - Date.now())).toBeLessThan(60_000);
  });

  test('is also that of bars and snapshots, which leave the count of trades alone', async () => {
    const before = await latest();
    await commit([{ kind: 'bars', data: { count: 7 } }, { kind: 'snapshot' }]);
    const after = await latest();
    expect(after).toEqual({ at: await newestAt(), tradeCount: 15_001 });
    expect(after.at!.getTime()).toBeGreaterThanOrEqual(before.at!.getTime());
  });

  test('reads two rows, however long the log is', async () => {
    const { sql } = database();
    await sql`
      insert into events (event_id, instrument_id, kind, symbol, data, ts_committed)
      select nextval('event_ids'), 1, 'bars', 'A', '{"count":1}', now()
      from generate_series(1, 100000)`;
    await sql`analyze events`;
    expect((await latest()).tradeCount).toBe(15_001);
    const [plan] = (await explain(sql, selectLatestIngestion)) as [string[]];
    expect(plan.filter((line) => /Seq Scan on events|Sort {2}/.test(line))).toEqual([]);
    expect(readBlocks(plan)).toBeLessThan(20); // of over 1,000
  });
});
