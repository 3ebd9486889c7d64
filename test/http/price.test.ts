import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Transaction } from '../../src/store/database.ts';
import { insertEvents } from '../../src/store/events.ts';
import { deleteSymbols, upsertSymbols } from '../../src/store/symbols.ts';
import { upsertLastTrades } from '../../src/store/trades.ts';
import { describeEditions } from '../database.ts';
import {
  fillWarehouse,
  LAST,
  startServer,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';
import { addBars, addSnapshot, addTrades } from '../fixtures/price-rows.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

interface Price {
  symbol: string;
  price: number;
  volume: number | null;
  timestamp: string;
  source: string;
  timeframe: string | null;
  session: string | null;
  provider: string;
  age_seconds: number;
  synthetic: boolean;
}

interface Problem {
  error: { code: string; message: string; field?: string };
  request_id: string;
}

const price = (symbol: string) => `/price/latest?symbol=${symbol}`;
const HOSTILE = '<script>alert(1)</script>';

/** An instant some seconds ago, to the microsecond. */
const ago = (seconds: number) => {
  return `${new Date(Date.now() - seconds * 1000).toISOString().slice(0, -1)}456Z`;
};

describeEditions('prices and instruments', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    const { sql } = database();
    await fillWarehouse(sql);
    await upsertSymbols(sql, ['LEFT'], { isTracked: false });
    server = await startServer(database().url);
  });
  afterAll(async () => {
    await server?.stop();
  });

  const json = <T>(path: string): Promise<T> => server.json(path);

  describe('GET /price/latest', () => {
    test('has the fields of the contract, first and in its order, and what was added', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'TRADED');
      const at = ago(90);
      await addTrades(sql, id, [{ ts: at, price: 185.42, size: 45_678.9 }]);
      const answer = await json<Price>(price('TRADED'));
      expect(Object.keys(answer).slice(0, 4)).toEqual(['symbol', 'price', 'volume', 'timestamp']);
      expect(answer).toEqual({
        symbol: 'TRADED',
        price: 185.42,
        volume: 45_678.9,
        timestamp: at,
        source: 'trade',
        timeframe: null,
        session: null,
        provider: 'vendor',
        age_seconds: expect.any(Number),
        synthetic: false,
      });
      expect(answer.age_seconds).toBeWithin(90, 150);
    });

    test('follows what comes in: a minute’s bar, then a snapshot, then a trade', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'LIVE');
      await addBars(sql, id, '1m', [{ ts: ago(240), close: 11, receivedAt: ago(0) }]);
      expect(await json<Price>(price('LIVE'))).toMatchObject({ source: 'bar', price: 11 });
      await addSnapshot(sql, id, { ts: ago(60), price: 12 });
      const shown = await json<Price>(price('LIVE'));
      expect(shown).toMatchObject({ source: 'snapshot', price: 12, volume: null });
      await addTrades(sql, id, [{ ts: ago(1), price: 13, provider: 'synthetic' }]);
      const made = await json<Price>(price('LIVE'));
      expect(made).toMatchObject({ source: 'trade', price: 13, provider: 'synthetic' });
      expect(made.synthetic).toBe(true);
    });

    test('of a symbol with daily bars only is the last close, of its session', async () => {
      const answer = await json<Price>(price('AAPL'));
      const [row] = await database().sql`
        select close, volume from bars_1d join symbol_ranges using (instrument_id)
        where symbol = 'AAPL' and session = ${LAST}`;
      expect(answer).toMatchObject({
        symbol: 'AAPL',
        price: row!.close,
        volume: row!.volume,
        timestamp: `${LAST}T21:00:00.000000Z`,
        source: 'daily_bar',
        timeframe: '1d',
        session: LAST,
        provider: 'polygon',
      });
      expect(answer.age_seconds).toBeGreaterThan(86_400 * 365);
    });

    test('finds a symbol as the other routes do', async () => {
      for (const [asked, found] of [
        ['aapl', 'AAPL'],
        ['brk.b', 'BRK.B'],
        ['BTC/USD', 'BTC/USD'],
        ['BTC%2FUSD', 'BTC/USD'],
        ['ABRpD', 'ABRpD'],
      ] as const) {
        expect((await json<Price>(price(asked))).symbol).toBe(found);
      }
    });

    const refused: [path: string, status: number, code: string, says: RegExp][] = [
      ['/price/latest', 422, 'invalid_parameter', /symbol is missing/],
      ['/price/latest?symbols=AAPL', 422, 'invalid_parameter', /symbol is missing/],
      [price(''), 422, 'invalid_parameter', /"" is not a symbol/],
      [price('AAPL,MSFT'), 422, 'invalid_parameter', /"AAPL,MSFT" is not a symbol/],
      [price('AAPL&symbol=MSFT'), 422, 'invalid_parameter', /more than once/],
      [price('A'.repeat(33)), 422, 'invalid_parameter', /at most 32 characters/],
      [price(encodeURIComponent(HOSTILE)), 422, 'invalid_parameter', /is not a symbol/],
      [price("AAPL'%20or%20'1'='1"), 422, 'invalid_parameter', /is not a symbol/],
      [price('%00'), 422, 'invalid_parameter', /is not a symbol/],
      [price('NOPE'), 404, 'unknown_symbol', /there is no symbol "NOPE" here/],
      [
        price('abrpd'),
        404,
        'unknown_symbol',
        /there is no symbol "abrpd" here \(ABRpD and ABRPD are two\)/,
      ],
      [price('UNASKED'), 404, 'no_price', /no price of UNASKED is stored/],
      [price('LEFT'), 404, 'no_price', /no price of LEFT is stored/],
      [price('BAD'), 404, 'no_price', /no price of BAD/],
    ];
    for (const [path, status, code, says] of refused) {
      test(`${status} ${code}: ${path.slice(0, 60)}`, async () => {
        const response = await server.get(path);
        expect([path, response.status]).toEqual([path, status]);
        const problem = (await response.json()) as Problem;
        expect(problem.error).toMatchObject({ code, field: 'symbol' });
        expect(problem.error.message).toMatch(says);
        expect(problem.error.message).not.toMatch(/select|relation|bars_|\n/);
      });
    }
  });

  describe('GET /symbols', () => {
    test('lists what is tracked and what is held, with a name and an instant each', async () => {
      const { sql } = database();
      await upsertSymbols(sql, ['HOSTILE']);
      await sql`
        update instruments set name = ${HOSTILE}, ts_created = '2024-01-02T03:04:05.678Z'
        from symbol_ranges r
        where r.instrument_id = instruments.instrument_id and symbol = 'HOSTILE'`;
      await deleteSymbols(sql, ['MSFT', 'EMPTY']);
      type List = {
        symbols: { symbol: string; name: string; created_at: string }[];
        count: number;
      };
      const answer = await json<List>('/symbols');
      expect(Object.keys(answer)).toEqual(['symbols', 'count']);
      const names = answer.symbols.map(({ symbol }) => symbol);
      expect(names).toEqual([...names].sort());
      expect(answer.count).toBe(names.length);
      expect(names).toEqual(expect.arrayContaining(['AAPL', 'MSFT', 'UNASKED', 'BTC/USD']));
      expect(names).not.toContain('EMPTY'); // nothing is held, and nobody tracks it any more
      expect(names).not.toContain('LEFT');
      for (const listed of answer.symbols) {
        expect(Object.keys(listed)).toEqual(['symbol', 'name', 'created_at']);
        expect(listed.name.length).toBeGreaterThan(0);
        expect(listed.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      }
      expect(answer.symbols.find(({ symbol }) => symbol === 'AAPL')!.name).toBe('AAPL');
      expect(answer.symbols.find(({ symbol }) => symbol === 'HOSTILE')).toEqual({
        symbol: 'HOSTILE',
        name: HOSTILE,
        created_at: '2024-01-02T03:04:05.678Z',
      });
    });
  });

  describe('GET /health', () => {
    type Health = { last_trade_count: number; last_ingestion: string | null };

    test('counts the trades that came in last, and says when anything did', async () => {
      const { sql } = database();
      const before = await json<Health>('/health');
      expect(before.last_trade_count).toBe(0);
      const events = (kind: 'trade' | 'bar', count: number) =>
        sql.begin(async (transaction) => {
          const tx = transaction as unknown as Transaction;
          if (kind === 'trade') await upsertLastTrades(tx, count);
          const one = { kind, instrumentId: 1, symbol: 'AAPL', data: {} };
          await insertEvents(tx, new Array(count).fill(one));
        });
      const committed = async () => {
        const [row] = await sql<{ at: Date }[]>`select max(ts_committed) as at from events`;
        return row!.at.toISOString();
      };
      await events('trade', 150);
      expect(await json<Health>('/health')).toMatchObject({ last_trade_count: 150 });
      await events('bar', 3);
      expect(await json<Health>('/health')).toMatchObject({
        last_trade_count: 150,
        last_ingestion: await committed(),
      });
    });

    test('takes a backfill for an ingestion when it is the newest', async () => {
      const { sql } = database();
      const at = new Date(Date.now() + 60_000);
      await sql`
        insert into job_runs (job, origin, state, worker, started_at, finished_at)
        values ('backfill', 'command', 'succeeded', 'test', ${at}, ${at})`;
      await sql`select pg_notify('marketd', 'runs')`;
      const answer = await until(async () => {
        const found = await json<Health>('/health');
        return found.last_ingestion === at.toISOString() ? found : undefined;
      });
      expect(answer.last_trade_count).toBe(150);
    });
  });
});
