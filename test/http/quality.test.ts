import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeEditions } from '../database.ts';
import {
  fillWarehouse,
  LAST,
  SYMBOLS,
  startServer,
  type TestServer,
} from '../fixtures/http-server.ts';

interface Answer {
  published_session: string;
  total: { symbols: number; grade: string; verdict: string; timeframes: { records: number }[] };
  sort: string;
  limit: number;
  offset: number;
  count: number;
  symbols: { symbol: string; grade: string; verdict: string; latest_session: string }[];
  error: { code: string; field: string };
}

describeEditions('GET /api/v1/quality', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    await fillWarehouse(database().sql);
    server = await startServer(database().url);
  });
  afterAll(() => server?.stop());

  const get = async (query = '') => {
    const response = await server.get(`/api/v1/quality${query}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };
  const names = async (query: string) =>
    (await get(query)).body.symbols.map(({ symbol }) => symbol);

  test('judges every symbol and all of them', async () => {
    const { status, body } = await get();
    expect(status).toBe(200);
    expect(body).toMatchObject({ sort: 'worst', limit: 100, offset: 0, count: SYMBOLS.length });
    expect(body.published_session > LAST).toBe(true);
    expect(body.total).toMatchObject({ symbols: SYMBOLS.length, grade: 'poor' });
    const [{ records }] = await database().sql`select count(*) as records from bars_1d`;
    expect(body.total.timeframes).toMatchObject([{ timeframe: '1d', records }]);
    const grades = body.symbols.map(({ grade }) => grade);
    expect(new Set(grades)).toEqual(new Set(['poor', 'empty']));
    expect(grades).toEqual([...grades].sort((a, b) => (a < b ? 1 : a > b ? -1 : 0)));
  });

  test('of one symbol is as of all', async () => {
    const whole = (await get()).body.symbols.find(({ symbol }) => symbol === 'AAPL');
    const { body } = await get('?symbol=aapl');
    expect(body.symbols).toEqual([whole!]);
    expect(body).toMatchObject({ count: 1, total: { symbols: 1 } });
    const [{ open }] = await database().sql`
      select count(*) as open from findings f join symbol_ranges using (instrument_id)
      where symbol = 'AAPL' and state = 'open'`;
    expect(open).toBeGreaterThan(4);
    expect(whole).toMatchObject({ latest_session: LAST, findings: { open } });
  });

  test('comes in pages, in an order', async () => {
    const sorted = await names('?sort=symbol');
    expect(sorted).toEqual([...SYMBOLS].sort());
    expect(await names('?sort=symbol&limit=3&offset=2')).toEqual(sorted.slice(2, 5));
    expect(await names('?sort=symbol&offset=9')).toEqual(sorted.slice(9));
    const beyond = (await get('?offset=1000')).body;
    expect(beyond).toMatchObject({ count: 0, symbols: [], total: { symbols: SYMBOLS.length } });
  });

  test.each([
    ['?symbol=NOPE', 404, 'unknown_symbol', 'symbol'],
    ['?symbol=', 422, 'invalid_parameter', 'symbol'],
    ['?sort=best', 422, 'invalid_parameter', 'sort'],
    ['?limit=0', 422, 'invalid_parameter', 'limit'],
    ['?limit=10001', 422, 'invalid_parameter', 'limit'],
    ['?offset=-1', 422, 'invalid_parameter', 'offset'],
    ['?sort=symbol&sort=worst', 422, 'invalid_parameter', 'sort'],
  ])('%s is refused', async (query, status, code, field) => {
    const answer = await get(query);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ code, field });
  });
});
