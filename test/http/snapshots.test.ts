import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Transaction } from '../../src/store/database.ts';
import { upsertSnapshots } from '../../src/store/snapshots.ts';
import { describeEditions } from '../database.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';
import { snapshotOf } from '../fixtures/quotes-world.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

const EARLIER = '2025-10-29T19:00:00.000Z';
const LATER = '2025-10-29T20:00:01.000Z';

describeEditions('GET /api/v1/snapshots', (database) => {
  let server: TestServer;

  beforeAll(async () => {
    const { sql, url } = database();
    const [aapl, brk] = [await addInstrument(sql, 'AAPL'), await addInstrument(sql, 'BRK.B')];
    await addInstrument(sql, 'NONE');
    const values = { price: 269.7, open: 269.275, dayHigh: 271.41, marketCap: 4e12 };
    const store = (instrumentId: number, price: number, ts: string) =>
      sql.begin((tx) =>
        upsertSnapshots(
          tx as unknown as Transaction,
          [{ instrumentId, snapshot: snapshotOf({ ...values, price }, ts) }],
          { provider: 'yahoo', receivedAt: Date.parse(LATER) + 30_000 },
        ),
      );
    await store(aapl, 270, EARLIER);
    await store(aapl, 269.7, LATER);
    await store(brk, 480, EARLIER);
    server = await startServer(url);
  });
  afterAll(() => server?.stop());

  interface Answer {
    count: number;
    snapshots: Record<string, unknown>[];
    error: { code: string; field: string };
  }
  const get = async (query = '') => {
    const response = await server.get(`/api/v1/snapshots${query}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };

  test('has the newest of each symbol, with nulls for what was not said', async () => {
    const { status, body } = await get();
    expect(status).toBe(200);
    expect(body.count).toBe(2);
    expect(body.snapshots.map(({ symbol, price }) => [symbol, price])).toEqual([
      ['AAPL', 269.7],
      ['BRK.B', 480],
    ]);
    expect(body.snapshots[0]).toMatchObject({
      ...{ timestamp: LATER, received_at: '2025-10-29T20:00:31.000Z', provider: 'yahoo' },
      ...{ open: 269.275, day_high: 271.41, day_low: null, previous_close: null, volume: null },
      ...{ market_cap: 4e12, pe_ratio: null },
      meta: { source: 'yahoo', currency: 'USD', market_cap: 4e12, day_low: null },
    });
    expect(body.snapshots[0].age_seconds).toBeGreaterThan(1_000_000);
  });

  test('of named symbols has these, without those that have none', async () => {
    expect((await get('?symbols=aapl,NONE')).body.snapshots).toMatchObject([{ symbol: 'AAPL' }]);
    expect((await get('?symbols=NONE')).body).toEqual({ count: 0, snapshots: [] } as never);
  });

  test.each([
    ['?symbols=AAPL,NOPE', 404, 'unknown_symbol'],
    ['?symbols=', 422, 'invalid_parameter'],
    ['?symbols=AAPL,', 422, 'invalid_parameter'],
    ["?symbols=A';drop%20table%20snapshots", 422, 'invalid_parameter'],
    ['?symbols=AAPL&symbols=MSFT', 422, 'invalid_parameter'],
  ])('%s is refused', async (query, status, code) => {
    const answer = await get(query);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ code, field: 'symbols' });
  });
});
