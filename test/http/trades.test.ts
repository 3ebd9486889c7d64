import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { describeEditions } from '../database.ts';
import { dividend, split, storeActions } from '../fixtures/corporate-actions.ts';
import { startServer, type TestServer, until } from '../fixtures/http-server.ts';
import { addDailyBar, addTrades } from '../fixtures/price-rows.ts';
import { IBM, IBM_ROWS, loadTradeFiles } from '../fixtures/real-trades.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

interface TradesAnswer {
  symbol: string;
  start: string | null;
  end: string | null;
  limit: number;
  count: number;
  trades: { price: number; timestamp: string; sequence: number }[];
  next_cursor: string | null;
}

interface CandlesAnswer extends Omit<TradesAnswer, 'trades'> {
  interval: string;
  candles: { ts: string; open: number }[];
}

interface Problem {
  error: { code: string; message: string; field?: string };
}

const cursorOf = (text: string) => Buffer.from(text).toString('base64url');
const INSTANT = '2024-03-01T15:00:00.123456Z';

describeEditions('trades and candles over HTTP', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    const { sql } = database();
    await loadTradeFiles(sql, IBM);
    await addInstrument(sql, 'EMPTY');
    const id = await addInstrument(sql, 'BRK.B');
    const at = (second: number) => `2024-03-01T15:00:0${second}Z`;
    await addTrades(sql, id, [
      ...[0, 1, 2, 3, 4].map((sequence) => ({ ts: INSTANT, sequence, price: 10 + sequence })),
      { ts: at(1), price: 1234.5678, size: 0.25 },
      { ts: at(2), sequence: 9_007_199_254_740_991, price: 0.0001 },
      { ts: at(3), price: 3 },
    ]);
    const madeUp = await addInstrument(sql, 'DEMO');
    await addTrades(sql, madeUp, [{ ts: INSTANT, price: 5, provider: 'synthetic' }]);
    await sql`
      update trades set exchange = '"<b>\\', conditions = 'é' where instrument_id = ${madeUp}`;
    server = await startServer(database().url);
  });
  afterAll(async () => {
    await server?.stop();
  });

  const json = async <T>(path: string): Promise<T> => {
    const response = await server.get(path);
    expect([path, response.status]).toEqual([path, 200]);
    expect(response.headers.get('content-type')).toBe('application/json');
    return (await response.json()) as T;
  };
  const trades = (query: string) => json<TradesAnswer>(`/trades?${query}`);
  const candles = (query: string) => json<CandlesAnswer>(`/candles?${query}`);

  describe('GET /trades', () => {
    test('has every field of a trade, its numbers as they are stored', async () => {
      const answer = await trades('symbol=DEMO&limit=5');
      expect(answer).toEqual({
        symbol: 'DEMO',
        start: null,
        end: null,
        limit: 5,
        count: 1,
        trades: [
          {
            symbol: 'DEMO',
            price: 5,
            volume: 100,
            size: 100,
            timestamp: INSTANT,
            sequence: 1,
            exchange: '"<b>\\',
            conditions: 'é',
            provider: 'synthetic',
            synthetic: true,
          },
        ],
        next_cursor: null,
      } as never);
      const { trades: real } = await trades('symbol=brk.b&start=2024-03-01T15:00:01Z');
      expect(real).toMatchObject([
        { symbol: 'BRK.B', price: 1234.5678, size: 0.25, volume: 0.25, synthetic: false },
        { price: 0.0001, sequence: 9_007_199_254_740_991, exchange: null, conditions: null },
        { price: 3, timestamp: '2024-03-01T15:00:03.000000Z' },
      ] as never);
    });

    const RANGES: [query: string, prices: number[]][] = [
      [`start=${INSTANT}&end=2024-03-01T15:00:01Z`, [10, 11, 12, 13, 14]],
      [`start=2024-03-01T15:00:00.123457Z&end=2024-03-01T15:00:02Z`, [1234.5678]],
      [`start=2024-03-01T15:00:00Z&end=${INSTANT}`, []],
      ['start=2024-03-01T15:00:01Z&end=2024-03-01T15:00:03Z', [1234.5678, 0.0001]],
      ['start=2024-03-01T10:00:01-05:00&end=2024-03-01T10:00:02-05:00', [1234.5678]],
      ['start=2024-03-01&end=2024-03-02&limit=2', [10, 11]],
      ['start=2024-03-02', []],
      ['limit=2', [0.0001, 3]], // the latest, in order of time
      ['end=2024-03-01T15:00:02Z&limit=2', [14, 1234.5678]],
      ['limit=1000', [10, 11, 12, 13, 14, 1234.5678, 0.0001, 3]],
    ];
    for (const [query, prices] of RANGES) {
      test(`?${query}`, async () => {
        const answer = await trades(`symbol=BRK.B&${query}`);
        expect(answer.trades.map(({ price }) => price)).toEqual(prices);
        expect(answer.count).toBe(prices.length);
      });
    }

    test('says the range as it was understood; dates begin at midnight in New York', async () => {
      const answer = await trades('symbol=BRK.B&start=2024-03-01&end=2024-07-01');
      expect(answer).toMatchObject({
        start: '2024-03-01T05:00:00.000000Z',
        end: '2024-07-01T04:00:00.000000Z',
        limit: 100,
      });
    });

    for (const limit of [1, 2, 3, 5, 1000]) {
      test(`walking by ${limit} gives every trade once, also of one instant`, async () => {
        const found: number[] = [];
        let cursor: string | null = null;
        do {
          const next: string = cursor === null ? '' : `&cursor=${cursor}`;
          const answer = await trades(`symbol=BRK.B&start=2024-03-01&limit=${limit}${next}`);
          expect(answer.trades.length).toBeLessThanOrEqual(limit);
          found.push(...answer.trades.map(({ price }) => price));
          cursor = answer.next_cursor;
        } while (cursor !== null);
        expect(found).toEqual([10, 11, 12, 13, 14, 1234.5678, 0.0001, 3]);
      });
    }

    test('walking through a day of real trades', async () => {
      const keys: string[] = [];
      let cursor: string | null = null;
      do {
        const next: string = cursor === null ? 'start=2013-10-11' : `cursor=${cursor}`;
        const answer = await trades(`symbol=IBM&end=2013-10-12&limit=997&${next}`);
        keys.push(
          ...answer.trades.map((t) => `${t.timestamp} ${String(t.sequence).padStart(3, '0')}`),
        );
        cursor = answer.next_cursor;
      } while (cursor !== null);
      expect(keys.length).toBe(IBM_ROWS);
      expect(new Set(keys).size).toBe(IBM_ROWS);
      expect(keys).toEqual([...keys].sort());
    });

    test('of a known symbol without any is empty', async () => {
      for (const query of ['symbol=EMPTY', 'symbol=EMPTY&start=2024-01-01&end=2024-02-01']) {
        expect(await trades(query)).toMatchObject({ count: 0, trades: [], next_cursor: null });
      }
    });
  });

  describe('GET /candles', () => {
    test('has every field of a candle', async () => {
      const answer = await candles('symbol=BRK.B&interval=1m');
      expect(answer).toEqual({
        symbol: 'BRK.B',
        interval: '1m',
        start: null,
        end: null,
        limit: 1000,
        synthetic: false,
        count: 1,
        candles: [
          {
            symbol: 'BRK.B',
            interval: '1m',
            ts: '2024-03-01T15:00:00Z',
            timestamp: '2024-03-01T15:00:00Z',
            open: 10,
            high: 1234.5678,
            low: 0.0001,
            close: 3,
            volume: 700.25,
            vwap: 9.4376,
            trade_count: 8,
          },
        ],
        next_cursor: null,
      } as never);
    });

    test('of made-up trades are labelled', async () => {
      for (const range of ['', '&start=2024-03-01']) {
        const answer = await candles(`symbol=DEMO&interval=1m${range}`);
        expect(answer).toMatchObject({ synthetic: true, count: 1 } as never);
      }
    });

    test('are adjusted for splits and dividends that are known', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'SPLIT');
      await addTrades(sql, id, [
        ...[
          { ts: '2024-03-05T15:00:00Z', price: 100 },
          { ts: '2024-03-06T15:00:00Z', price: 26 },
        ],
        { ts: '2024-03-07T15:00:00Z', price: 24 },
      ]);
      await addDailyBar(sql, id, { session: '2024-03-06', close: 25 });
      const eur = { currency: 'EUR' };
      await storeActions(sql, id, [
        ...[split('2024-03-06', 1, 4), dividend('2024-03-07', 1), dividend('2024-03-05', 1, eur)],
      ]);
      const ask = async (query: string) =>
        candles(`symbol=SPLIT&start=2024-03-01&end=2024-03-09&${query}`);
      const raw = await until(async () => {
        const response = await server.get('/candles?symbol=SPLIT&start=2024-03-01&interval=1d');
        return response.status === 404 ? undefined : ((await response.json()) as CandlesAnswer);
      });
      expect(raw.candles.map(({ open }) => open)).toEqual([100, 26, 24]);
      expect(raw).not.toHaveProperty('adjustment');
      expect(await ask('interval=1d&adjustment=raw')).toEqual(await ask('interval=1d'));

      const all = await ask('interval=1d&adjustment=all&adjust_asof=2024-04-01');
      expect(all).toMatchObject({
        ...{ adjustment: 'all', dividend_method: 'previous_close', adjust_asof: '2024-04-01' },
        adjustments: 2,
        adjustments_skipped: [{ ex_date: '2024-03-05', kind: 'dividend' }],
        candles: [
          { open: 24, volume: 400, vwap: 24 },
          { open: 24.96, volume: 100, vwap: 24.96 },
          { open: 24, volume: 100, vwap: 24 },
        ],
      } as never);
      const week = await ask('interval=1w&adjustment=split');
      expect(week).toMatchObject({
        ...{ adjustment: 'split', adjustments: 1, count: 1 },
        candles: [{ open: 25, high: 26, low: 24, close: 24, volume: 600, vwap: 25 }],
      } as never);
      const before = await ask('interval=1d&adjustment=split&adjust_asof=2024-03-05');
      expect(before.candles.map(({ open }) => open)).toEqual([100, 26, 24]);
      const page = await ask('interval=1d&adjustment=all&limit=1');
      const next = await ask(`interval=1d&adjustment=all&limit=1&cursor=${page.next_cursor}`);
      expect(next.candles).toMatchObject([{ open: 24.96 }]);
      const method = 'adjustment=all&dividend_method=ex_close&interval=1d';
      expect(await ask(method)).toMatchObject({
        ...{ dividend_method: 'ex_close', adjustments: 1 },
        adjustments_skipped: [{ ex_date: '2024-03-05' }, { ex_date: '2024-03-07' }],
      } as never);
    });

    test('walking gives every candle once', async () => {
      const whole = await candles('symbol=IBM&interval=5m&start=2013-10-11&end=2013-10-12');
      expect(whole.count).toBeGreaterThan(80);
      const found: object[] = [];
      let cursor: string | null = null;
      do {
        const next: string = cursor === null ? '' : `&cursor=${cursor}`;
        const range = 'start=2013-10-11&end=2013-10-12&limit=9';
        const answer = await candles(`symbol=IBM&interval=5m&${range}${next}`);
        found.push(...answer.candles);
        cursor = answer.next_cursor;
      } while (cursor !== null);
      expect(found).toEqual(whole.candles);
    });

    test('begin in [start, end)', async () => {
      const range = 'start=2013-10-11T09:30:00-04:00&end=2013-10-11T09:33:00-04:00';
      const { candles: found, interval } = await candles(`symbol=IBM&${range}`);
      expect(interval).toBe('1m');
      expect(found.map(({ ts }) => ts.slice(11, 16))).toEqual(['13:30', '13:31', '13:32']);
    });

    test('late trades change the candle when it is asked for again', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'LATE');
      const add = (ts: string, price: number) => addTrades(sql, id, [{ ts, price }]);
      const query = 'symbol=LATE&interval=1m';
      await add('2024-03-01T15:00:30Z', 5);
      const first = await until(async () => {
        const response = await server.get(`/candles?${query}`);
        return response.status === 404 ? undefined : ((await response.json()) as CandlesAnswer);
      });
      expect(first.candles).toMatchObject([{ open: 5 }]);
      await add('2024-03-01T15:00:10Z', 4);
      expect((await candles(query)).candles).toMatchObject([{ open: 4 }]);
      const again = await candles(query);
      expect(again).toEqual(await candles(query));
    });

    test('an answer has a tag, and is compressed when asked', async () => {
      const path = '/candles?symbol=IBM&interval=1m&start=2013-10-11&end=2013-10-12';
      const plain = await server.get(path, { headers: { 'accept-encoding': 'identity' } });
      const etag = plain.headers.get('etag')!;
      const headers = { 'if-none-match': etag, 'accept-encoding': 'identity' };
      expect((await server.get(path, { headers })).status).toBe(304);
      const zipped = await server.get(path, { headers: { 'accept-encoding': 'gzip' } });
      expect(zipped.headers.get('content-encoding')).toBe('gzip');
      expect(await zipped.text()).toBe(await plain.text());
    });
  });

  describe('bad requests', () => {
    const BOTH: [query: string, status: number, field: string, says: RegExp][] = [
      ['', 422, 'symbol', /symbol is missing/],
      ['symbol=', 422, 'symbol', /is not a symbol/],
      ['symbol=%3Cb%3E', 422, 'symbol', /is not a symbol/],
      ['symbol=NOPE', 404, 'symbol', /there is no symbol "NOPE"/],
      ['symbol=IBM&symbol=IBM', 422, 'symbol', /more than once/],
      ['symbol=IBM&limit=0', 422, 'limit', /a whole number from 1 to 1000/],
      ['symbol=IBM&limit=-1', 422, 'limit', /a whole number from 1 to/],
      ['symbol=IBM&limit=1.5', 422, 'limit', /a whole number from 1 to/],
      ['symbol=IBM&limit=ten', 422, 'limit', /a whole number from 1 to/],
      ['symbol=IBM&limit=', 422, 'limit', /a whole number from 1 to/],
      ['symbol=IBM&start=2013-10-11T09:30:00', 422, 'start', /needs its zone, for example 2024/],
      ['symbol=IBM&end=2013-10-11%2009:30', 422, 'end', /needs its zone, for example 2024/],
      ['symbol=IBM&start=1381152600', 422, 'start', /a date.*or an instant/],
      ['symbol=IBM&start=2013-02-30', 422, 'start', /a date.*or an instant/],
      ['symbol=IBM&start=2013-10-12&end=2013-10-11', 422, 'end', /lies before start/],
      ['symbol=IBM&start=2013-10-11&end=2013-10-11', 422, 'end', /the range is empty/],
      ['symbol=IBM&cursor=', 422, 'cursor', /give next_cursor of the answer before/],
      ['symbol=IBM&cursor=garbage', 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${cursorOf('x1.1.1')}`, 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${cursorOf('t1.1')}`, 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${cursorOf('t1.1.-1')}`, 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${'A'.repeat(200)}`, 422, 'cursor', /malformed/],
    ];
    const TRADES: typeof BOTH = [
      ['symbol=IBM&limit=1001', 422, 'limit', /from 1 to 1000$/],
      [`symbol=IBM&cursor=${cursorOf('c1.60000')}`, 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${cursorOf('t1.9007199254740991.0')}`, 422, 'cursor', /end of time/],
    ];
    const CANDLES: typeof BOTH = [
      ['symbol=IBM&limit=10001', 422, 'limit', /from 1 to 10000$/],
      ['symbol=IBM&interval=7m', 422, 'interval', /"7m": it must be .*divide an hour/],
      ['symbol=IBM&interval=', 422, 'interval', /it must be/],
      ['symbol=IBM&interval=0s', 422, 'interval', /it must be/],
      ['symbol=IBM&interval=1mo', 422, 'interval', /it must be/],
      ['symbol=IBM&adjustment=both', 422, 'adjustment', /must be raw or split or all$/],
      ['symbol=IBM&adjust_asof=2024-01-02', 422, 'adjust_asof', /for adjustment=split or all$/],
      [
        ...(['symbol=IBM&adjustment=all&adjust_asof=2024-02-30', 422, 'adjust_asof'] as const),
        /a date that exists/,
      ],
      [
        ...(['symbol=IBM&adjustment=split&dividend_method=ex_close', 422] as const),
        ...(['dividend_method', /it is for adjustment=all$/] as const),
      ],
      [
        ...(['symbol=IBM&adjustment=all&dividend_method=x', 422, 'dividend_method'] as const),
        /must be previous_close or ex_close/,
      ],
      [`symbol=IBM&cursor=${cursorOf('t1.1.1')}`, 422, 'cursor', /malformed/],
      [`symbol=IBM&cursor=${cursorOf('c1.60001')}`, 422, 'cursor', /no candle of 1m begins there/],
      [`symbol=IBM&cursor=${cursorOf('c1.9007199254740991')}`, 422, 'cursor', /end of time/],
    ];
    const all = [
      ...[...BOTH, ...TRADES].map((one) => ['/trades', one] as const),
      ...[...BOTH, ...CANDLES].map((one) => ['/candles', one] as const),
    ];
    for (const [path, [query, status, field, says]] of all) {
      test(`${path}?${query.slice(0, 80)}`, async () => {
        const response = await server.get(`${path}?${query}`);
        const body = (await response.json()) as Problem;
        expect([response.status, body.error.field]).toEqual([status, field]);
        expect(body.error.message).toMatch(says);
        expect(JSON.stringify(body)).not.toMatch(/select |at .*\.ts:/);
      });
    }
  });
});
