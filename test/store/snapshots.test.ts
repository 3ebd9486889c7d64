import { expect, test } from 'bun:test';
import { selectLatestSnapshots } from '../../src/query/snapshots.ts';
import type { Transaction } from '../../src/store/database.ts';
import { leaseLock } from '../../src/store/jobs.ts';
import {
  type SnapshotRow,
  selectCollectorHolder,
  upsertSnapshots,
} from '../../src/store/snapshots.ts';
import { describeEditions } from '../database.ts';
import { snapshotOf } from '../fixtures/quotes-world.ts';
import { addInstrument, failureOf } from '../fixtures/warehouse.ts';

const FIRST = '2025-10-29T19:30:00.000Z';
const SECOND = '2025-10-29T19:31:00.000Z';
const RECEIVED = Date.parse('2025-10-29T19:31:05Z');

describeEditions('snapshots', (database) => {
  const sql = () => database().sql;
  const store = async (rows: SnapshotRow[], receivedAt = RECEIVED, provider = 'yahoo') => {
    const written = await sql().begin((tx) =>
      upsertSnapshots(tx as unknown as Transaction, rows, { provider, receivedAt }),
    );
    return written;
  };
  const rowsOf = async (id: number) => {
    const rows = await sql()`
      select ts, price, open, volume, market_cap, pe_ratio, ts_received, meta from snapshots
      where instrument_id = ${id} order by ts, provider`;
    return rows.map((row) => ({ ...row }));
  };

  test('are stored once, whatever is asked for how often', async () => {
    const instrumentId = await addInstrument(sql(), 'SNA');
    const row = { instrumentId, snapshot: snapshotOf({ volume: 7, marketCap: 5e12 }, FIRST) };
    expect(await store([row])).toEqual([{ instrumentId, ts: Date.parse(FIRST), isNew: true }]);
    expect(await store([row], RECEIVED + 60_000)).toEqual([]);
    expect(await rowsOf(instrumentId)).toEqual([
      {
        ...{ ts: new Date(FIRST), price: 100, open: null, volume: 7, market_cap: 5e12 },
        ...{ pe_ratio: null, ts_received: new Date(RECEIVED), meta: row.snapshot.meta },
      },
    ]);
  });

  test('are changed when their instant has other values, alone or in their metadata', async () => {
    const instrumentId = await addInstrument(sql(), 'SNB');
    await store([{ instrumentId, snapshot: snapshotOf({}, FIRST) }]);
    const changed = snapshotOf({ price: 101 }, FIRST);
    const later = RECEIVED + 1_000;
    expect(await store([{ instrumentId, snapshot: changed }], later)).toMatchObject([
      { isNew: false },
    ]);
    const talked = snapshotOf({ price: 101 }, FIRST, { market_state: 'POST' });
    expect(await store([{ instrumentId, snapshot: talked }], later + 1)).toHaveLength(1);
    const [row, ...others] = await rowsOf(instrumentId);
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      ...{ price: 101, ts_received: new Date(later + 1) },
      meta: { currency: 'USD', market_state: 'POST', close: 101 },
    });
  });

  test('keep what is known of their instant when an answer knows less', async () => {
    const instrumentId = await addInstrument(sql(), 'SNC');
    const full = snapshotOf({ marketCap: 4e12, peRatio: 40, open: 99, volume: 5 }, FIRST);
    await store([{ instrumentId, snapshot: full }]);
    expect(await store([{ instrumentId, snapshot: snapshotOf({}, FIRST, {}) }])).toEqual([]);
    const more = snapshotOf({ volume: 6 }, FIRST, {});
    expect(await store([{ instrumentId, snapshot: more }])).toMatchObject([{ isNew: false }]);
    expect(await rowsOf(instrumentId)).toMatchObject([
      {
        ...{ market_cap: 4e12, pe_ratio: 40, open: 99, volume: 6 },
        meta: { market_cap: 4e12, pe_ratio: 40, open: 99, volume: 6, currency: 'USD' },
      },
    ]);
  });

  test('that arrive late are stored too; the latest stays the latest', async () => {
    const instrumentId = await addInstrument(sql(), 'SND');
    await store([{ instrumentId, snapshot: snapshotOf({ price: 2, dayHigh: 3 }, SECOND) }]);
    expect(
      await store([{ instrumentId, snapshot: snapshotOf({ price: 1 }, FIRST) }]),
    ).toMatchObject([{ isNew: true }]);
    const [latest] = await selectLatestSnapshots(sql(), [instrumentId]);
    expect(latest).toMatchObject({
      ...{ symbol: 'SND', instrumentId, price: 2, dayHigh: 3, peRatio: null, provider: 'yahoo' },
      ...{ ts: new Date(SECOND), receivedAt: new Date(RECEIVED) },
      meta: { source: 'yahoo', day_high: 3 },
    });
  });

  test('of several instruments are written together, each as it needs', async () => {
    const [a, b, c] = await Promise.all(
      ['SNE', 'SNF', 'SNG'].map((symbol) => addInstrument(sql(), symbol)),
    );
    const row = (instrumentId: number, price: number) => ({
      instrumentId,
      snapshot: snapshotOf({ price }, FIRST),
    });
    await store([row(a, 1), row(b, 2)]);
    const written = await store([row(a, 1), row(b, 3), row(c, 4)]);
    expect(written.sort((x, y) => x.instrumentId - y.instrumentId)).toEqual(
      [
        { instrumentId: b, ts: Date.parse(FIRST), isNew: false },
        { instrumentId: c, ts: Date.parse(FIRST), isNew: true },
      ].sort((x, y) => x.instrumentId - y.instrumentId),
    );
    expect(await store([])).toEqual([]);
  });

  test('of two providers stand side by side', async () => {
    const instrumentId = await addInstrument(sql(), 'SNH');
    const row = { instrumentId, snapshot: snapshotOf({}, FIRST) };
    await store([row]);
    expect(await store([row], RECEIVED, 'other')).toMatchObject([{ isNew: true }]);
    expect(await rowsOf(instrumentId)).toHaveLength(2);
    expect(await store([row], RECEIVED, 'other')).toEqual([]);
  });

  test('refuse a price that is none', async () => {
    const instrumentId = await addInstrument(sql(), 'SNI');
    for (const price of [0, -1, Number.POSITIVE_INFINITY]) {
      const row = { instrumentId, snapshot: snapshotOf({ price }, FIRST) };
      expect(await failureOf(store([row]))).toContain('price');
    }
    expect(await selectLatestSnapshots(sql(), [instrumentId])).toEqual([]);
  });

  test('are selected by symbol, the newest of each', async () => {
    const [z, a] = [await addInstrument(sql(), 'SZZ'), await addInstrument(sql(), 'SAA')];
    await addInstrument(sql(), 'SNONE');
    for (const instrumentId of [z, a]) {
      await store([{ instrumentId, snapshot: snapshotOf({}, FIRST) }]);
      await store([{ instrumentId, snapshot: snapshotOf({ price: 5 }, SECOND) }]);
    }
    const some = await selectLatestSnapshots(sql(), [z, a]);
    expect(some.map(({ symbol, price }) => [symbol, price])).toEqual([
      ['SAA', 5],
      ['SZZ', 5],
    ]);
    const all = (await selectLatestSnapshots(sql())).map(({ symbol }) => symbol);
    expect(all).toContain('SAA');
    expect(all).not.toContain('SNONE');
  });

  test('appear in the view of the market-hours pipeline, under its names', async () => {
    const instrumentId = await addInstrument(sql(), 'SVW');
    const values = { price: 269.7, open: 269.275, dayHigh: 271.41, dayLow: 267.11 };
    const more = { previousClose: 269, volume: 43_332_154, marketCap: 4e12, peRatio: 40.9 };
    await store([{ instrumentId, snapshot: snapshotOf({ ...values, ...more }, FIRST) }]);
    const rows = await sql()`
      select * from stocks where ticker = 'SVW' and meta @> '{"source": "yahoo"}'`;
    expect(rows.map((row) => ({ ...row }))).toEqual([
      {
        ...{ ticker: 'SVW', unix_time: Date.parse(FIRST) / 1000 },
        ...{ high: 271.41, low: 267.11, avg: null, sale: 269.7 },
        meta: {
          ...{ source: 'yahoo', volume: 43_332_154, open: 269.275, close: 269.7 },
          ...{ day_high: 271.41, day_low: 267.11, previous_close: 269, market_cap: 4e12 },
          ...{ pe_ratio: 40.9, timestamp: FIRST, transactions: null, vwap: null },
          currency: 'USD',
        },
      },
    ]);
  });

  test('are found by what is in their metadata through its index', async () => {
    const instrumentId = await addInstrument(sql(), 'SGN');
    // A row that is found among many: on a handful of rows any index is a detour.
    await sql()`
      insert into snapshots (instrument_id, ts, price, ts_received, provider, meta)
      select ${instrumentId}, timestamptz '2025-10-01' + n * interval '1 second', 1, now(), 'other',
             jsonb_build_object('source', 'other', 'number', n)
      from generate_series(1, 30000) n`;
    await store([{ instrumentId, snapshot: snapshotOf({ price: 77 }, FIRST) }]);
    await sql()`vacuum analyze snapshots`; // what is pending in the index makes it dear
    const condition = '{"source":"yahoo"}';
    const found = await sql()`
      select price from snapshots
      where instrument_id = ${instrumentId} and meta @> ${condition}::text::jsonb`;
    expect([...found]).toEqual([{ price: 77 }]);
    const plan = await sql().unsafe(`explain select * from snapshots where meta @> '${condition}'`);
    const text = plan.map((row) => row['QUERY PLAN']).join('\n');
    expect(text).toContain('Bitmap Index Scan');
    expect(text).toMatch(/snapshots_meta/);
  });

  test('the collector that holds the lock is found', async () => {
    const { url } = database();
    expect(await selectCollectorHolder(sql(), 'quotes')).toBeUndefined();
    const other = await leaseLock(url, 'something else');
    expect(await selectCollectorHolder(sql(), 'quotes')).toBeUndefined();
    const lease = await leaseLock(url, 'quotes');
    const holder = await selectCollectorHolder(sql(), 'quotes');
    expect(holder?.since).toBeInstanceOf(Date);
    expect(holder?.worker).toBeNull();
    await sql()`
      insert into job_runs (job, origin, state, worker, started_at)
      values ('quotes', 'command', 'running', 'there:42', clock_timestamp())`;
    expect((await selectCollectorHolder(sql(), 'quotes'))?.worker).toBe('there:42');
    await Promise.all([lease?.release(), other?.release()]);
    expect(await selectCollectorHolder(sql(), 'quotes')).toBeUndefined();
  });
});
