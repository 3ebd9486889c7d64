import { afterEach, describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, ProviderError } from '../../src/errors.ts';
import type { BarColumns } from '../../src/model/bar.ts';
import { toDate } from '../../src/model/session.ts';
import { makePolygon, type PolygonOptions, parseNextUrl } from '../../src/providers/polygon.ts';
import type { Provider } from '../../src/providers/provider.ts';
import {
  loadSp500,
  type Misbehavior,
  makeInstantClock,
  misbehave,
  SHARED_DATA,
  startVendorServer,
  type VendorBar,
  type VendorOptions,
  type VendorServer,
} from '../vendor-server.ts';

const KEY = 'k3y-th4t-nobody-may-see';
const NOW = '2024-05-06T22:00:00Z';
const PAYLOADS = join(SHARED_DATA, 'polygon');

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function serve(options: VendorOptions = {}): VendorServer {
  const server = startVendorServer({ key: KEY, ...options });
  stops.push(server.stop);
  return server;
}

function connect(server: VendorServer, options: Partial<PolygonOptions> = {}): Provider {
  return makePolygon({
    baseUrl: server.url,
    apiKey: KEY,
    requestsPerMinute: 1_000,
    timeoutMs: 5_000,
    clock: makeInstantClock(NOW),
    ...options,
  });
}

/** A payload as it was recorded, but for the one option that we always ask for differently. */
function payload(path: string): Misbehavior {
  const text = readFileSync(join(PAYLOADS, path), 'utf8');
  return () => new Response(text.replace(/"adjusted": ?true/, '"adjusted":false'));
}

const answerWith =
  (body: unknown, status = 200): Misbehavior =>
  () =>
    Response.json(body, { status });

async function failure(promise: Promise<unknown>): Promise<ProviderError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ProviderError);
  expect(JSON.stringify([(error as Error).message, (error as ProviderError).body])).not.toContain(
    KEY,
  );
  return error as ProviderError;
}

function rowsOf(bars: BarColumns) {
  return Array.from({ length: bars.length }, (_, i) => [
    toDate(bars.session[i]),
    bars.open[i],
    bars.high[i],
    bars.low[i],
    bars.close[i],
    bars.volume[i],
    bars.vwap[i],
    bars.tradeCount[i],
  ]);
}

const RECORDED = 'recorded_openbb/AAPL_day_2023-01-01_2023-01-10_asc.json';
const AAPL_SESSIONS = ['03', '04', '05', '06', '09', '10'].map((day) => `2023-01-${day}`);
const GROUPED_EXAMPLE = 'openapi_examples/v2__aggs__grouped__locale__us__market__stocks__date.json';

/** What `rowsOf` gives for a payload whose rows are of these sessions. */
function expectedRows(path: string, sessions: string[]) {
  const { results } = JSON.parse(readFileSync(join(PAYLOADS, path), 'utf8')) as {
    results: Record<string, number>[];
  };
  return results.map(({ o, h, l, c, v, vw, n }, i) => [sessions[i], o, h, l, c, v, vw, n]);
}

const sessionsOf = (bars: BarColumns) => Array.from(bars.session, toDate);

const bar = (session: string, close: number, rest: Partial<VendorBar> = {}): VendorBar => ({
  session,
  open: close - 1,
  high: close + 1,
  low: close - 2,
  close,
  volume: 1_000,
  ...rest,
});

const WEEK = ['2024-04-29', '2024-04-30', '2024-05-01', '2024-05-02', '2024-05-03'];
const week = (first = 100) => WEEK.map((session, i) => bar(session, first + i));
const RANGE = { firstSession: WEEK[0], lastSession: WEEK[4] };
const AAPL = { symbol: 'AAPL', ...RANGE };

describe('bars of a symbol', () => {
  test('are those of a recorded answer', async () => {
    const server = serve();
    server.respond(payload(RECORDED));
    const answer = await connect(server).fetchBars({
      symbol: 'AAPL',
      firstSession: '2023-01-01',
      lastSession: '2023-01-10',
    });
    expect(answer.rejected).toEqual([]);
    expect(rowsOf(answer.bars)).toEqual(expectedRows(RECORDED, AAPL_SESSIONS));
  });

  test('are asked for unadjusted, all at once, with the key in a header only', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    const provider = connect(server, { baseUrl: `${server.url}/` });
    await provider.fetchBars(AAPL);
    expect(server.requests).toEqual([
      'GET /v2/aggs/ticker/AAPL/range/1/day/2024-04-29/2024-05-03' +
        '?adjusted=false&sort=asc&limit=50000 (key right)',
    ]);
    expect(provider.requestCount()).toBe(1);
  });

  test('belong to the New York date, in summer and in winter', async () => {
    const sessions = ['2024-03-08', '2024-03-11', '2023-11-03', '2023-11-06'].sort();
    const server = serve({ bars: new Map([['AAPL', sessions.map((s) => bar(s, 100))]]) });
    const range = { symbol: 'AAPL', firstSession: '2023-01-01', lastSession: '2024-05-06' };
    const { bars, rejected } = await connect(server).fetchBars(range);
    expect(sessionsOf(bars)).toEqual(sessions);
    expect(rejected).toEqual([]);
  });

  test('of a vendor without vwap and trade count have none', async () => {
    const server = serve({ bars: new Map([['AAPL', week().slice(0, 1)]]) });
    const { bars } = await connect(server).fetchBars(AAPL);
    expect(rowsOf(bars)).toEqual([['2024-04-29', 99, 101, 98, 100, 1_000, NaN, NaN]]);
  });

  test('may be delayed, and have volumes with a fraction', async () => {
    const server = serve({ bars: new Map([['AAPL', [bar(WEEK[0], 100, { volume: 1234.5 })]]]) });
    server.respond(misbehave.delayed());
    const { bars } = await connect(server).fetchBars(AAPL);
    expect(bars.volume[0]).toBe(1234.5);
  });

  test.each(['BRK.B', 'ABRpD', 'X:BTCUSD', 'BC/PA', 'A B', '100%'])('of %p', async (symbol) => {
    const server = serve({ bars: new Map([[symbol, week()]]) });
    const { bars } = await connect(server).fetchBars({ symbol, ...RANGE });
    expect(bars.length).toBe(5);
  });

  test.each(['', '.', '..', '\ud800'])(
    'of %p are not asked for: it is another path',
    async (symbol) => {
      const server = serve();
      const error = await failure(connect(server).fetchBars({ symbol, ...RANGE }));
      expect(error.kind).toBe('bad_request');
      expect(server.requests).toEqual([]);
    },
  );

  test('are none when there are no results', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    const provider = connect(server);
    const none = await provider.fetchBars({ symbol: 'NONE', ...RANGE });
    expect(none.bars.length).toBe(0);
    server.respond(misbehave.emptyResults());
    expect((await provider.fetchBars(AAPL)).bars.length).toBe(0);
  });

  test('of the future are not asked for', async () => {
    const clock = makeInstantClock('2024-05-03T03:00:00Z'); // still 2 May in New York
    const server = serve({ bars: new Map([['AAPL', week()]]), today: '2024-05-02' });
    const provider = connect(server, { clock });
    const { bars } = await provider.fetchBars({ ...AAPL, lastSession: '2025-01-01' });
    expect(sessionsOf(bars)).toEqual(WEEK.slice(0, 4));
    expect(server.requests[0]).toContain('/range/1/day/2024-04-29/2024-05-02?');
    const future = { ...AAPL, firstSession: '2024-05-03' };
    expect((await provider.fetchBars(future)).bars.length).toBe(0);
    expect(server.requests).toHaveLength(1);
  });

  test('of real symbols are those of the file they come from', async () => {
    const isGood = (row: VendorBar) => row.open !== null && row.high !== null;
    const all = [...loadSp500()].filter(([, rows], i) => i % 20 === 0 || !rows.every(isGood));
    const provider = connect(serve({ bars: new Map(all) }));
    const rejected: string[] = [];
    for (const [symbol, rows] of all) {
      const range = { symbol, firstSession: '2013-02-08', lastSession: '2018-02-07' };
      const answer = await provider.fetchBars(range);
      const good = rows.filter(isGood);
      const { session, close, volume } = answer.bars;
      expect(Array.from(session, toDate).join()).toBe(good.map((row) => row.session).join());
      expect(close.join()).toBe(good.map((row) => row.close).join());
      expect(volume.join()).toBe(good.map((row) => row.volume).join());
      rejected.push(...answer.rejected.map((row) => `${row.symbol} ${row.session} ${row.reason}`));
    }
    expect(rejected).toHaveLength(11);
    expect(rejected).toContain('DHR 2016-01-12 o is null: expected number, received null');
  }, 30_000);
});

describe('a row that is no bar', () => {
  const bad: [string, unknown, string][] = [
    ['c', null, 'c is null: expected number, received null'],
    ['o', 'NaN', 'o is "NaN": expected number, received string'],
    ['h', undefined, 'h is missing: expected number, received undefined'],
    ['v', '1000', 'v is "1000": expected number, received string'],
    ['l', [1], 'l is [1]: expected number, received array'],
  ];
  test.each(bad)('because %s is %p is rejected, the others stay', async (name, value, reason) => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    server.respond(misbehave.field(1, name, value));
    const { bars, rejected } = await connect(server).fetchBars(AAPL);
    expect(sessionsOf(bars)).toEqual([WEEK[0], WEEK[2], WEEK[3], WEEK[4]]);
    expect(bars.close[1]).toBe(102);
    expect(rejected).toHaveLength(1);
    expect(rejected[0]).toMatchObject({ symbol: 'AAPL', session: WEEK[1], reason });
    const raw = { v: 1_000, o: 100, c: 101, h: 102, l: 99, t: 1714449600000, [name]: value };
    expect(JSON.parse(rejected[0].raw)).toEqual(JSON.parse(JSON.stringify(raw)));
  });

  test('because it is null, or has no time', async () => {
    const server = serve();
    const row = { v: 1, o: 1, c: 1, h: 1, l: 1 };
    const results = [null, row, { ...row, t: '2024-04-29' }];
    server.respond(answerWith({ ticker: 'AAPL', status: 'OK', results }));
    const { bars, rejected } = await connect(server).fetchBars(AAPL);
    expect(bars.length).toBe(0);
    expect(rejected.map(({ session, reason }) => [session, reason])).toEqual([
      [undefined, 'the row is null: expected object, received null'],
      [undefined, 't is missing: expected number, received undefined'],
      [undefined, 't is "2024-04-29": expected number, received string'],
    ]);
  });

  test('because nobody asked for its session', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    server.respond(misbehave.field(0, 't', 1714363200)); // seconds, where there should be ms
    server.respond(misbehave.field(0, 't', 1e300));
    server.respond(misbehave.field(0, 't', -9e13));
    const provider = connect(server);
    const { bars, rejected } = await provider.fetchBars(AAPL);
    expect(sessionsOf(bars)).toEqual(WEEK.slice(1));
    expect(bars.close[0]).toBe(101);
    expect(rejected[0]).toMatchObject({
      symbol: 'AAPL',
      session: '1970-01-20',
      reason: 't is 1714363200, session 1970-01-20: not what was asked for',
    });
    for (const t of ['1e+300', '-90000000000000']) {
      const answer = await provider.fetchBars(AAPL);
      expect(answer.bars.length).toBe(4);
      expect(answer.rejected[0].session).toBeUndefined();
      expect(answer.rejected[0].reason).toBe(`t is ${t}: not what was asked for`);
    }
  });

  test('is not one with an impossible price or volume: that is for the validator', async () => {
    const odd = { open: -1, high: 1, low: 5, close: 0, volume: -7 };
    const server = serve({ bars: new Map([['AAPL', [bar(WEEK[0], 100, odd)]]]) });
    const { bars, rejected } = await connect(server).fetchBars(AAPL);
    expect(rejected).toEqual([]);
    expect(rowsOf(bars)).toEqual([[WEEK[0], -1, 1, 5, 0, -7, NaN, NaN]]);
  });
});

describe('pages', () => {
  test('are followed to the last, with the key', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]), pageSize: 2 });
    const provider = connect(server);
    const { bars } = await provider.fetchBars(AAPL);
    expect(sessionsOf(bars)).toEqual(WEEK);
    expect([...bars.close]).toEqual([100, 101, 102, 103, 104]);
    expect(provider.requestCount()).toBe(3);
    expect(server.requests.filter((request) => request.endsWith('(key right)'))).toHaveLength(3);
  });

  test('with a key in their address are asked for without it', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]), pageSize: 3 });
    const addresses: string[] = [];
    server.respond((request) => {
      addresses.push(request.url);
      return undefined;
    });
    server.respond(async (_request, honest) => {
      const body = (await (await honest()).json()) as { next_url: string };
      const next_url = `${body.next_url}&apiKey=${KEY}&APIKEY=${KEY}`;
      return Response.json({ ...body, next_url });
    });
    const { bars } = await connect(server).fetchBars(AAPL);
    expect(sessionsOf(bars)).toEqual(WEEK);
    expect(addresses).toHaveLength(2);
    expect(addresses.join()).not.toContain(KEY);
  });

  test('on another host are not asked for: they would get the key', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    const other = serve();
    for (const address of [`${other.url}/v2/x`, 'https://api.massive.com:443:443/v2/x', 'x']) {
      server.respond(misbehave.nextUrl(`${address}?apiKey=${KEY}`));
      const error = await failure(connect(server).fetchBars(AAPL));
      expect(error.kind).toBe('garbage');
      expect(error.message).toContain('the next page is not on the same host');
    }
    expect(other.requests).toEqual([]);
  });

  test('may go on under the vendor’s other name', () => {
    const next = 'https://u:p@api.massive.com/v2/x?cursor=1&apiKey=secret#top';
    const clean = 'https://api.massive.com/v2/x?cursor=1';
    expect(parseNextUrl(next, 'https://api.polygon.io')?.href).toBe(clean);
    expect(parseNextUrl(next, 'https://api.massive.com')?.href).toBe(clean);
    expect(parseNextUrl(next, 'http://127.0.0.1:1')).toBeUndefined();
    expect(parseNextUrl('http://api.polygon.io/v2/x', 'https://api.polygon.io')).toBeUndefined();
    expect(parseNextUrl('https://api.polygon.io.evil/x', 'https://api.polygon.io')).toBeUndefined();
  });

  test('that come again are garbage', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    server.respond(misbehave.repeatingCursor());
    const error = await failure(connect(server).fetchBars(AAPL));
    expect(error.kind).toBe('garbage');
    expect(error.message).toContain('was there before');
    expect(server.requests).toHaveLength(1);
  });

  test('that do not go on are garbage, whatever their cursor', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    let page = 0;
    const always: Misbehavior = (request, honest) =>
      misbehave.nextUrl(`${request.url}&page=${++page}`)(request, honest);
    for (let i = 0; i < 5; i++) server.respond(always);
    const error = await failure(connect(server).fetchBars(AAPL));
    expect(error.kind).toBe('garbage');
    expect(error.message).toContain('does not go on');
    expect(server.requests).toHaveLength(2);
  });

  test('that are empty and have a next one are garbage', async () => {
    const server = serve();
    const next_url = `${server.url}/v2/next`;
    server.respond(answerWith({ ticker: 'AAPL', status: 'OK', results: [], next_url }));
    expect((await failure(connect(server).fetchBars(AAPL))).kind).toBe('garbage');
    expect(server.requests).toHaveLength(1);
  });

  test('of a list end after a thousand', async () => {
    const server = serve();
    let page = 0;
    const always: Misbehavior = () =>
      Response.json({ status: 'OK', next_url: `${server.url}/stocks/v1/splits?cursor=${page++}` });
    for (let i = 0; i < 1_001; i++) server.respond(always);
    const provider = connect(server, { requestsPerMinute: 60_000 });
    const all = { firstExDate: '2020-01-01', lastExDate: '2024-01-01' };
    const error = await failure(provider.fetchSplits(all));
    expect(error.message).toContain('more than 1000 pages');
    expect(server.requests).toHaveLength(1_000);
  });
});

describe('an answer that is not what was asked for', () => {
  const wrong: [string, Misbehavior, string][] = [
    ['of another symbol', misbehave.wrongTicker('MSFT'), 'asked for AAPL, answered for MSFT'],
    ['in another case', misbehave.wrongTicker('Aapl'), 'asked for AAPL, answered for Aapl'],
    ['that is adjusted', misbehave.adjusted(), 'adjusted is true: expected false'],
    ['without symbol', answerWith({ status: 'OK', results: [] }), 'ticker is missing'],
    ['with an error', answerWith({ status: 'ERROR', ticker: 'AAPL' }), 'status is "ERROR"'],
    ['that is an array', answerWith([]), 'the row is []'],
    ['with odd results', answerWith({ status: 'OK', ticker: 'AAPL', results: {} }), 'results is'],
  ];
  test.each(wrong)(
    '%s is garbage, and not asked for again',
    async (_name, misbehavior, message) => {
      const server = serve({ bars: new Map([['AAPL', week()]]) });
      server.respond(misbehavior);
      const error = await failure(connect(server).fetchBars(AAPL));
      expect(error.kind).toBe('garbage');
      expect(error.message).toContain(message);
      expect(error.body?.length).toBeGreaterThan(1);
      expect(server.requests).toHaveLength(1);
    },
  );
});

describe('the market of a session', () => {
  const market = new Map([
    ['KIMpL', [bar('2020-10-14', 25, { vwap: 25.5, tradeCount: 74 })]],
    ['TANH', [bar('2020-10-13', 23), bar('2020-10-14', 24)]],
    ['VSAT', [bar('2020-10-13', 34)]],
  ]);

  test('is that of the official example', async () => {
    const server = serve();
    server.respond(payload(GROUPED_EXAMPLE));
    const answer = await connect(server).fetchGroupedBars('2020-10-14');
    expect(answer.symbols).toEqual(['KIMpL', 'TANH', 'VSAT']);
    expect(answer.rejected).toEqual([]);
    const sessions = Array(3).fill('2020-10-14');
    expect(rowsOf(answer.bars)).toEqual(expectedRows(GROUPED_EXAMPLE, sessions));
  });

  test('is asked for with one request, unadjusted and without OTC', async () => {
    const server = serve({ bars: market });
    const answer = await connect(server).fetchGroupedBars('2020-10-14');
    expect(answer.symbols).toEqual(['KIMpL', 'TANH']);
    expect([...answer.bars.close]).toEqual([25, 24]);
    expect([answer.bars.vwap[0], answer.bars.tradeCount[0]]).toEqual([25.5, 74]);
    expect(server.requests).toEqual([
      'GET /v2/aggs/grouped/locale/us/market/stocks/2020-10-14' +
        '?adjusted=false&include_otc=false (key right)',
    ]);
  });

  test('has no bars of other sessions', async () => {
    const server = serve({ bars: market });
    server.respond(misbehave.field(0, 't', Date.parse('2020-10-13T20:00:00Z')));
    const answer = await connect(server).fetchGroupedBars('2020-10-14');
    expect(answer.symbols).toEqual(['TANH']);
    expect([...answer.bars.close]).toEqual([24]);
    expect(answer.rejected).toHaveLength(1);
    expect(answer.rejected[0]).toMatchObject({ symbol: 'KIMpL', session: '2020-10-13' });
  });

  test('keeps bad rows under their symbol', async () => {
    const server = serve({ bars: market });
    server.respond(misbehave.field(1, 'h', null));
    server.respond(misbehave.field(1, 'T', undefined));
    const provider = connect(server);
    const first = await provider.fetchGroupedBars('2020-10-14');
    expect(first.symbols).toEqual(['KIMpL']);
    expect(first.rejected[0]).toMatchObject({ symbol: 'TANH', session: '2020-10-14' });
    const second = await provider.fetchGroupedBars('2020-10-14');
    expect(second.rejected[0]).toMatchObject({ symbol: '', session: '2020-10-14' });
    expect(second.rejected[0].reason).toBe('T is missing: expected string, received undefined');
  });

  test('of the future is not asked for; of a holiday it is empty', async () => {
    const server = serve({ bars: market });
    const provider = connect(server);
    const future = await provider.fetchGroupedBars('2024-05-07');
    expect([future.bars.length, future.symbols]).toEqual([0, []]);
    expect(server.requests).toEqual([]);
    expect((await provider.fetchGroupedBars('2020-12-25')).bars.length).toBe(0);
  });

  test('is garbage when it is adjusted', async () => {
    const server = serve({ bars: market });
    server.respond(misbehave.adjusted());
    expect((await failure(connect(server).fetchGroupedBars('2020-10-14'))).kind).toBe('garbage');
  });
});

const SPLITS = [
  { id: 'E1', ticker: 'AAPL', execution_date: '2020-08-31', split_from: 1, split_to: 4 },
  { id: 'E2', ticker: 'AMZN', execution_date: '2022-06-06', split_from: 1, split_to: 20 },
  { id: 'E3', ticker: 'BRW', execution_date: '2022-05-20', split_from: 2, split_to: 1 },
];
const DIVIDENDS = [
  {
    id: 'D1',
    ticker: 'AAPL',
    ex_dividend_date: '2023-08-11',
    cash_amount: 0.24,
    currency: 'USD',
    declaration_date: '2023-08-03',
    record_date: '2023-08-14',
    pay_date: '2023-08-17',
    frequency: 4,
  },
  { id: 'D2', ticker: 'AAPL', ex_dividend_date: '2023-11-10', cash_amount: 0.24 },
];
const ALL = { firstExDate: '2000-01-01', lastExDate: '2024-12-31' };

describe('splits', () => {
  test('of a symbol', async () => {
    const server = serve({ splits: SPLITS });
    const answer = await connect(server).fetchSplits({ symbol: 'AAPL', ...ALL });
    expect(answer).toEqual({
      rejected: [],
      actions: [
        {
          kind: 'split',
          providerActionId: 'E1',
          symbol: 'AAPL',
          exDate: '2020-08-31',
          splitFrom: 1,
          splitTo: 4,
          subtype: null,
        },
      ],
    });
    expect(server.requests).toEqual([
      'GET /stocks/v1/splits?ticker=AAPL&execution_date.gte=2000-01-01' +
        '&execution_date.lte=2024-12-31&limit=5000&sort=execution_date.asc (key right)',
    ]);
  });

  test('of the whole market, page by page', async () => {
    const server = serve({ splits: SPLITS, pageSize: 1 });
    const { actions } = await connect(server).fetchSplits(ALL);
    expect(actions.map(({ symbol }) => symbol)).toEqual(['AAPL', 'BRW', 'AMZN']);
    expect(server.requests).toHaveLength(3);
  });

  test('come from the old endpoint where there is no other, which is learned once', async () => {
    const server = serve({ splits: SPLITS, dividends: DIVIDENDS, isOld: true });
    const provider = connect(server);
    expect((await provider.fetchSplits(ALL)).actions).toHaveLength(3);
    expect((await provider.fetchSplits({ symbol: 'BRW', ...ALL })).actions).toHaveLength(1);
    expect((await provider.fetchDividends(ALL)).actions).toHaveLength(2);
    expect(server.requests.map((request) => request.split(/[ ?]/)[1])).toEqual([
      '/stocks/v1/splits',
      '/v3/reference/splits',
      '/v3/reference/splits',
      '/stocks/v1/dividends',
      '/v3/reference/dividends',
    ]);
    expect(server.requests[1]).toContain('&limit=1000&sort=execution_date&order=asc');
  });

  test('of an answer that was recorded before there were ids have stable ones', async () => {
    const server = serve();
    server.respond(payload('client_python_mocks/v3__reference__splits.json'));
    const { actions, rejected } = await connect(server).fetchSplits(ALL);
    expect(rejected).toEqual([]);
    expect(actions).toHaveLength(10);
    expect(actions[3]).toMatchObject({ symbol: 'SHOP', providerActionId: 'SHOP 2022-06-29' });
    expect(new Set(actions.map((action) => action.providerActionId)).size).toBe(10);
    expect(actions[7]).toMatchObject({ splitFrom: 2, splitTo: 1 });
  });

  test('have their kind, and whole numbers where the vendor rounded a quotient', async () => {
    const server = serve({
      splits: [
        { ...SPLITS[0], split_to: 7.00000700001, adjustment_type: 'forward_split' },
        { ...SPLITS[0], id: 'E9', split_to: 1.0085, adjustment_type: 'stock_dividend' },
      ],
    });
    const { actions } = await connect(server).fetchSplits({ symbol: 'AAPL', ...ALL });
    expect(actions).toMatchObject([
      { splitFrom: 1, splitTo: 7, subtype: 'forward_split' },
      { splitFrom: 1, splitTo: 1.0085, subtype: 'stock_dividend' },
    ]);
  });

  test('that cannot be, or were not asked for, are rejected', async () => {
    const server = serve();
    const [good] = SPLITS;
    const results = [
      good,
      { ...good, split_from: 0 },
      { ...good, execution_date: '2020-02-30' },
      { ...good, ticker: 'MSFT' },
      { ...good, execution_date: '1999-12-31' },
    ];
    server.respond(answerWith({ status: 'OK', results }));
    const { actions, rejected } = await connect(server).fetchSplits({ symbol: 'AAPL', ...ALL });
    expect(actions).toHaveLength(1);
    expect(rejected.map(({ symbol, session, reason }) => [symbol, session, reason])).toEqual([
      ['AAPL', '2020-08-31', 'split_from is 0: Too small: expected number to be >0'],
      ['AAPL', undefined, 'execution_date is "2020-02-30": expected YYYY-MM-DD'],
      ['MSFT', '2020-08-31', 'not what was asked for'],
      ['AAPL', '1999-12-31', 'not what was asked for'],
    ]);
  });

  test('that the plan does not include are not asked for elsewhere', async () => {
    const server = serve({ splits: SPLITS });
    server.respond(misbehave.notEntitled());
    expect((await failure(connect(server).fetchSplits(ALL))).kind).toBe('not_entitled');
    expect(server.requests).toHaveLength(1);
  });
});

describe('dividends', () => {
  test('have their kind, in the words of either endpoint', async () => {
    const server = serve({ dividends: [{ ...DIVIDENDS[0], distribution_type: 'special' }] });
    const { actions } = await connect(server).fetchDividends(ALL);
    expect(actions).toMatchObject([{ subtype: 'special' }]);
    server.respond(payload('client_python_mocks/v3__reference__dividends.json'));
    const wide = { firstExDate: '2020-01-01', lastExDate: '2030-12-31' };
    const old = await connect(server).fetchDividends(wide);
    expect(new Set(old.actions.map(({ subtype }) => subtype))).toEqual(new Set(['CD']));
  });

  test('of a symbol', async () => {
    const server = serve({ dividends: DIVIDENDS });
    const answer = await connect(server).fetchDividends({ symbol: 'AAPL', ...ALL });
    expect(answer).toEqual({
      rejected: [],
      actions: [
        {
          kind: 'dividend',
          providerActionId: 'D1',
          symbol: 'AAPL',
          exDate: '2023-08-11',
          cashAmount: 0.24,
          currency: 'USD',
          declaredDate: '2023-08-03',
          recordDate: '2023-08-14',
          payDate: '2023-08-17',
          frequency: 4,
          subtype: null,
        },
        {
          kind: 'dividend',
          providerActionId: 'D2',
          symbol: 'AAPL',
          exDate: '2023-11-10',
          cashAmount: 0.24,
          currency: null,
          declaredDate: null,
          recordDate: null,
          payDate: null,
          frequency: null,
          subtype: null,
        },
      ],
    });
    expect(server.requests).toEqual([
      'GET /stocks/v1/dividends?ticker=AAPL&ex_dividend_date.gte=2000-01-01' +
        '&ex_dividend_date.lte=2024-12-31&limit=5000&sort=ex_dividend_date.asc (key right)',
    ]);
  });

  test('of a recorded answer', async () => {
    const server = serve();
    server.respond(payload('client_python_mocks/v3__reference__dividends.json'));
    const range = { firstExDate: '2000-01-01', lastExDate: '2030-01-01' };
    const { actions, rejected } = await connect(server).fetchDividends(range);
    expect(rejected).toEqual([]);
    expect(actions[0]).toMatchObject({ symbol: 'CSSEN', exDate: '2025-06-12', frequency: 4 });
    expect(new Set(actions.map((action) => action.providerActionId)).size).toBe(actions.length);
  });

  test('without an amount are rejected', async () => {
    const server = serve();
    const results = [
      { ...DIVIDENDS[0], cash_amount: -1 },
      { ...DIVIDENDS[0], frequency: 2.5 },
    ];
    server.respond(answerWith({ status: 'OK', results }));
    const { actions, rejected } = await connect(server).fetchDividends(ALL);
    expect(actions).toEqual([]);
    expect(rejected.map((row) => row.reason.split(':')[0])).toEqual([
      'cash_amount is -1',
      'frequency is 2.5',
    ]);
    expect(rejected[0]).toMatchObject({ symbol: 'AAPL', session: '2023-08-11' });
  });
});

describe('symbols', () => {
  test('are described as in the official example', async () => {
    const server = serve();
    server.respond(payload('openapi_examples/v3__reference__tickers__ticker.json'));
    expect(await connect(server).fetchSymbol('AAPL')).toEqual({
      symbol: 'AAPL',
      name: 'Apple Inc.',
      exchange: 'XNAS',
      assetType: 'CS',
      listedOn: '1980-12-12',
      delistedOn: null,
    });
    expect(server.requests).toEqual(['GET /v3/reference/tickers/AAPL (key right)']);
  });

  test('that are gone have a last day', async () => {
    const delisted_utc = '2022-10-27T04:00:00Z';
    const server = serve({ tickers: [{ ticker: 'TWTR', delisted_utc, active: false }] });
    expect(await connect(server).fetchSymbol('TWTR')).toEqual({
      symbol: 'TWTR',
      name: null,
      exchange: null,
      assetType: null,
      listedOn: null,
      delistedOn: '2022-10-27',
    });
  });

  test('that nobody knows are undefined; those of another name are garbage', async () => {
    const server = serve({ tickers: [{ ticker: 'META' }] });
    const provider = connect(server);
    expect(await provider.fetchSymbol('FB')).toBeUndefined();
    server.respond(answerWith({ status: 'OK', results: { ticker: 'META' } }));
    expect((await failure(provider.fetchSymbol('FB'))).kind).toBe('garbage');
  });

  const meta = { symbol: 'META', since: '2022-06-11' };
  const fb = { symbol: 'FB', since: '2012-05-18' };

  test('were others before, as in the official examples', async () => {
    const server = serve();
    server.respond(
      payload('client_python_mocks/vX__reference__tickers__META__events&types=ticker_change.json'),
    );
    expect(await connect(server).fetchSymbolChanges('META')).toEqual({
      ...{ name: 'Meta Platforms, Inc. Class A Common Stock', figi: 'BBG000MM2P62' },
      ...{ changes: [fb, meta], knownSince: '2003-09-10' },
    });
    expect(server.requests).toEqual([
      'GET /vX/reference/tickers/META/events?types=ticker_change (key right)',
    ]);
    server.respond(payload('openapi_examples/vX__reference__tickers__id__events.json'));
    expect(await connect(server).fetchSymbolChanges('META')).toMatchObject({
      ...{ figi: null, changes: [fb, { ...meta, since: '2022-06-09' }] },
    });
  });

  test('of which no change is known are undefined', async () => {
    expect(await connect(serve()).fetchSymbolChanges('NONE')).toBeUndefined();
  });

  test.each([
    ['of another company', [{ date: '2012-05-18', ticker: 'FB' }]],
    [
      'two of one day',
      [
        { date: '2022-06-09', ticker: 'META' },
        { date: '2022-06-09', ticker: 'FB' },
      ],
    ],
    ['of a day that is none', [{ date: '2022-06-31', ticker: 'META' }]],
    ['without a symbol', [{ date: '2022-06-09', ticker: '' }]],
  ])('that change in a way that cannot be are garbage: %s', async (_what, changes) => {
    const server = serve({ changes: new Map([['META', changes]]) });
    const error = await failure(connect(server).fetchSymbolChanges('META'));
    expect(error.kind).toBe('garbage');
  });

  test('are listed page by page', async () => {
    const tickers = ['A', 'AA', 'ABRpD'].map((ticker) => ({ ticker, type: 'CS' }));
    const server = serve({ tickers: [...tickers, { ticker: 'OLD', active: false }], pageSize: 2 });
    const pages: string[][] = [];
    for await (const page of connect(server).fetchSymbols()) pages.push(page.map((s) => s.symbol));
    expect(pages).toEqual([['A', 'AA'], ['ABRpD']]);
    expect(server.requests[0]).toBe(
      'GET /v3/reference/tickers?market=stocks&active=true&limit=1000&sort=ticker&order=asc ' +
        '(key right)',
    );
  });

  test('of a recorded list', async () => {
    const server = serve();
    server.respond(payload('openapi_examples/v3__reference__tickers.json'));
    const pages = connect(server).fetchSymbols()[Symbol.asyncIterator]();
    expect((await pages.next()).value).toEqual([
      {
        symbol: 'A',
        name: 'Agilent Technologies Inc.',
        exchange: 'XNYS',
        assetType: 'CS',
        listedOn: null,
        delistedOn: null,
      },
    ]);
    // Its next page is on the vendor's host, which is not the one we asked.
    await failure(Promise.resolve(pages.next()));
  });
});

describe('a refusal', () => {
  const recorded: Record<string, string> = {
    '400_ERROR_ticker_incorrectly_formatted.json': 'bad_request',
    '401_ERROR_key_not_provided.json': 'unauthorized',
    '401_legacy_message_only.json': 'unauthorized',
    '403_NOT_AUTHORIZED_not_entitled.json': 'not_entitled',
    '403_NOT_AUTHORIZED_today_before_eod.json': 'too_early',
    '404_NOT_FOUND_data_not_found.json': 'not_found',
    '429_ERROR_max_requests.json': 'rate_limited',
  };

  test('was recorded for each kind', () => {
    expect(readdirSync(join(PAYLOADS, 'errors')).sort()).toEqual(Object.keys(recorded));
  });

  test.each(Object.entries(recorded))('%s is %s, in the vendor’s words', async (file, kind) => {
    const text = readFileSync(join(PAYLOADS, 'errors', file), 'utf8');
    const said = JSON.parse(text) as { error?: string; message?: string };
    const server = serve();
    const status = Number(file.slice(0, 3));
    for (let i = 0; i < 5; i++) server.respond(() => new Response(text, { status }));
    const error = await failure(connect(server).fetchBars(AAPL));
    expect(error.kind as string).toBe(kind);
    expect(error.message).toContain(`answered ${status}, ${said.message ?? said.error}`);
    expect(error.body).toBe(text);
    expect(server.requests).toHaveLength(kind === 'rate_limited' ? 5 : 1);
  });

  test.each(['Unknown API Key', 'API Key was not provided'])('403 %p', async (error) => {
    const server = serve();
    server.respond(answerWith({ status: 'ERROR', error }, 403));
    expect((await failure(connect(server).fetchBars(AAPL))).kind).toBe('unauthorized');
  });

  test('403 of a proxy in between says nothing about the plan', async () => {
    const server = serve();
    server.respond(() => new Response('<html>Forbidden by policy</html>', { status: 403 }));
    const error = await failure(connect(server).fetchBars(AAPL));
    expect(error.kind).toBe('unavailable');
    expect(error.body).toContain('Forbidden by policy');
  });

  test('of a wrong key', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]) });
    const error = await failure(connect(server, { apiKey: 'wrong' }).fetchBars(AAPL));
    expect(error.kind).toBe('unauthorized');
    expect(server.requests).toHaveLength(1);
    expect(server.requests[0]).toEndWith('(key wrong)');
  });

  test('of a range that is too old for the plan', async () => {
    const server = serve({ bars: new Map([['AAPL', week()]]), entitledSince: WEEK[1] });
    const provider = connect(server);
    expect((await failure(provider.fetchBars(AAPL))).kind).toBe('not_entitled');
    const { bars } = await provider.fetchBars({ ...AAPL, firstSession: WEEK[1] });
    expect(bars.length).toBe(4);
  });
});

test('an abort ends whatever is under way', async () => {
  const server = serve();
  const abort = new AbortController();
  server.respond((request, honest) => {
    abort.abort(new Error('stop'));
    return misbehave.hang()(request, honest);
  });
  const { fetchBars } = connect(server);
  await expect(fetchBars(AAPL, abort.signal)).rejects.toThrow('stop');
});

test.each(['', 'two words', 'k\n', 'schlüssel'])('%p is no key', (apiKey) => {
  const attempt = () => connect(serve(), { apiKey });
  expect(attempt).toThrow(InputError);
  expect(attempt).not.toThrow('schl');
});

test('it says who it is', () => {
  const provider = connect(serve(), { requestsPerMinute: 5 });
  const { name, isSynthetic, requestsPerMinute } = provider;
  expect({ name, isSynthetic, requestsPerMinute }).toEqual({
    name: 'polygon',
    isSynthetic: false,
    requestsPerMinute: 5,
  });
  expect(provider.requestCount()).toBe(0);
});
