import { afterEach, describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { makeCalendar } from '../../src/model/session.ts';
import {
  makeYahoo,
  type Yahoo,
  type YahooOptions,
  yahooSymbol,
} from '../../src/providers/yahoo.ts';
import { toTarget } from '../../src/providers/yahoo-session.ts';
import { ManualClock, makeInstantClock, misbehave as network } from '../vendor-server.ts';
import {
  type Fields,
  misbehave,
  RECORDED_AT,
  RECORDED_TS,
  recorded,
  recordedChart,
  recordedQuotes,
  startYahooServer,
  type YahooServer,
} from '../yahoo-server.ts';

const calendar = makeCalendar();
const CHART_MISSING = ['market_cap', 'pe_ratio', 'market_state'];

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface World {
  server: YahooServer;
  yahoo: Yahoo;
  lines: string[];
}

function connect(options: Partial<YahooOptions> = {}): World {
  const server = startYahooServer();
  stops.push(server.stop);
  const lines: string[] = [];
  const yahoo = makeYahoo({
    baseUrl: server.url,
    requestsPerMinute: 6_000,
    calendar,
    clock: makeInstantClock(RECORDED_AT),
    log: (level, message) => lines.push(`${level} ${message}`),
    ...options,
  });
  return { server, yahoo, lines };
}

async function failure(promise: Promise<unknown>): Promise<ProviderError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ProviderError);
  return error as ProviderError;
}

/** A recorded quote with some fields changed. */
function change(server: YahooServer, symbol: string, fields: Fields): void {
  server.quotes.set(symbol, { ...server.quotes.get(symbol), ...fields });
}

async function fetchOne({ yahoo }: World, symbol = 'AAPL') {
  const { snapshots } = await yahoo.fetchSnapshots([symbol]);
  expect(snapshots.map((one) => one.symbol)).toEqual([symbol]);
  return snapshots[0].snapshot;
}

/** Makes the crumb unattainable, so that charts are asked for. */
function withoutCrumb(server: YahooServer): void {
  server.respond('crumb', misbehave.text(''), true);
}

describe('a quote', () => {
  test('as it was recorded becomes a snapshot, many with one request', async () => {
    const { server, yahoo } = connect();
    const answer = await yahoo.fetchSnapshots(['MSFT', 'AAPL']);
    expect(answer.snapshots.map(({ symbol }) => symbol)).toEqual(['MSFT', 'AAPL']);
    const { meta, ...values } = answer.snapshots[1].snapshot;
    expect(values).toEqual({
      ...{ ts: Date.parse(RECORDED_TS), price: 269.7, open: 269.275, dayHigh: 271.41 },
      ...{ dayLow: 267.11, previousClose: 269, volume: 43_332_154 },
      ...{ marketCap: 4_002_453_389_312, peRatio: 40.925644 },
    });
    expect(meta).toMatchObject({
      ...{ source: 'yahoo', timestamp: RECORDED_TS, volume: 43_332_154, open: 269.275 },
      ...{ close: 269.7, day_high: 271.41, day_low: 267.11, previous_close: 269 },
      ...{ market_cap: 4_002_453_389_312, pe_ratio: 40.925644, transactions: null, vwap: null },
      ...{ currency: 'USD', exchange: 'NasdaqGS', market_state: 'POSTPOST' },
      ...{ fifty_two_week_high: 271.41, fifty_two_week_low: 169.21, name: 'Apple Inc.' },
      ...{ post_market_price: 270.75, post_market_timestamp: '2025-10-29T23:59:56.000Z' },
    });
    expect(meta).not.toHaveProperty('pre_market_price'); // not given
    expect(answer).toMatchObject({ failures: [], rejected: [], droppedRows: 0, missing: null });
    expect(server.requests).toEqual(['cookie', 'crumb', 'quote MSFT,AAPL']);
    expect(yahoo.requestCount()).toBe(3);
    await yahoo.fetchSnapshots(['AAPL']);
    expect(server.requests.slice(3)).toEqual(['quote AAPL']); // cookie and crumb are kept
  });

  test('a hundred symbols a request', async () => {
    const { server, yahoo } = connect();
    const symbols = Array.from({ length: 101 }, (_, i) => `S${i}`);
    const { failures } = await yahoo.fetchSnapshots([...symbols, 'S0']);
    expect(failures).toHaveLength(101);
    const sizes = server.requests.slice(2).map((line) => line.split(',').length);
    expect(sizes).toEqual([100, 1]);
  });

  test('keeps what it learned when a later request fails', async () => {
    const { server, yahoo } = connect();
    const more = Array.from({ length: 100 }, (_, i) => `S${i}`);
    server.respond('quote', (request) =>
      request.url.includes('AAPL') ? undefined : new Response('', { status: 500 }),
    );
    const { snapshots, failures } = await yahoo.fetchSnapshots(['AAPL', ...more]);
    expect(snapshots.map(({ symbol }) => symbol)).toEqual(['AAPL']);
    expect(failures.filter(({ error }) => error.includes('answered 500'))).toEqual([
      { symbol: 'S99', error: 'Yahoo /v7/finance/quote: answered 500' },
    ]);
  });

  test('of every recorded kind is read', async () => {
    const world = connect();
    const files = ['QQQ', 'BABA', 'ABBV'].map((name) => `fixtures/quote-${name}.json`);
    files.push('legacy/quote-marketState-REGULAR.fake.json', 'fixtures/quote-AAPL-BABA.json');
    const quotes = files.flatMap((file) => recordedQuotes(`node-yahoo-finance2/${file}`));
    for (const quote of quotes) {
      world.server.quotes.set(String(quote.symbol), quote);
      const snapshot = await fetchOne(world, String(quote.symbol));
      expect(snapshot).toMatchObject({
        price: quote.regularMarketPrice,
        open: quote.regularMarketOpen,
        previousClose: quote.regularMarketPreviousClose,
        ts: Number(quote.regularMarketTime) * 1_000,
        marketCap: quote.marketCap,
        peRatio: quote.trailingPE ?? null,
      });
    }
    expect(world.lines).toEqual([]);
  });

  test('in pence stays in pence, and says so', async () => {
    const world = connect();
    const [quote] = recordedQuotes(
      'node-yahoo-finance2/legacy/quote-marketState-REGULAR.fake.json',
    );
    world.server.quotes.set('OCDO.L', quote);
    const { price, peRatio, meta } = await fetchOne(world, 'OCDO.L');
    expect({ price, peRatio, currency: meta.currency }).toEqual({
      ...{ price: 2621.46, peRatio: null, currency: 'GBp' },
    });
    expect(meta.pe_ratio).toBeNull();
  });

  test('of an index has zeros where it has no prices: they are none', async () => {
    const world = connect();
    const [quote] = recordedQuotes('node-yahoo-finance2/fixtures/quote-^VXAPL.json');
    world.server.quotes.set('^VXAPL', quote);
    const { meta, ...values } = await fetchOne(world, '^VXAPL');
    expect(values).toMatchObject({
      ...{ price: 23.77, open: null, dayHigh: null, dayLow: null, volume: 0, marketCap: null },
    });
    expect(meta).not.toHaveProperty('bid');
    expect(meta).not.toHaveProperty('fifty_two_week_low');
    expect(world.lines).toEqual([]);
  });

  test('that is null, or not there, is null and never zero', async () => {
    const world = connect();
    change(world.server, 'AAPL', {
      ...{ regularMarketVolume: null, marketCap: undefined, trailingPE: null },
      ...{ regularMarketDayHigh: null, regularMarketPreviousClose: null },
    });
    const { meta, ...values } = await fetchOne(world);
    expect(values).toMatchObject({
      ...{ price: 269.7, volume: null, marketCap: null, peRatio: null, dayHigh: null },
      previousClose: null,
    });
    expect(meta).toMatchObject({ volume: null, market_cap: null, pe_ratio: null, day_high: null });
    expect(world.lines).toEqual([]);
  });

  test('is read from text when that is a number, and only then', async () => {
    const world = connect();
    change(world.server, 'AAPL', {
      ...{ regularMarketPrice: '269.7', regularMarketVolume: '4.3e7', marketCap: '1,234' },
      ...{ trailingPE: 'Infinity', regularMarketOpen: '12abc', regularMarketDayLow: -1 },
    });
    const snapshot = await fetchOne(world);
    expect(snapshot).toMatchObject({
      ...{ price: 269.7, volume: 43_000_000, marketCap: null, peRatio: null, open: null },
      dayLow: null,
    });
    await fetchOne(world);
    expect(world.lines).toEqual([
      'WARNING Yahoo: AAPL: no value can be read in regularMarketOpen, marketCap, trailingPE, ' +
        'regularMarketDayLow: stored as null',
    ]); // once, not every minute
  });

  test('of an infinite number is null', async () => {
    const world = connect();
    const text = JSON.stringify({ quoteResponse: { result: [world.server.quotes.get('AAPL')] } });
    const infinite = text.replace('"marketCap":4002453389312', '"marketCap":1e999');
    world.server.respond('quote', misbehave.text(infinite));
    expect((await fetchOne(world)).marketCap).toBeNull();
  });

  const NO_PRICE: [what: string, fields: Fields, reason: string][] = [
    ['null', { regularMarketPrice: null }, 'there is no price above 0'],
    ['zero', { regularMarketPrice: 0 }, 'there is no price above 0'],
    ['negative', { regularMarketPrice: -3 }, 'there is no price above 0'],
    ['without a time', { regularMarketTime: null }, 'there is no regularMarketTime'],
    [
      'timed in milliseconds',
      { regularMarketTime: 1_761_768_001_000 },
      'regularMarketTime is 1761768001000: evidently milliseconds, not seconds',
    ],
    ['timed at 0', { regularMarketTime: 0 }, 'regularMarketTime is 0: no instant'],
  ];
  test.each(NO_PRICE)(
    'with a price that is %s is rejected with its reason',
    async (_, fields, reason) => {
      const { server, yahoo } = connect();
      change(server, 'AAPL', fields);
      const { snapshots, rejected } = await yahoo.fetchSnapshots(['AAPL', 'MSFT']);
      expect(snapshots.map(({ symbol }) => symbol)).toEqual(['MSFT']);
      expect(rejected).toMatchObject([{ symbol: 'AAPL', reason }]);
      expect(rejected[0].raw).toContain('Apple');
      expect(rejected[0].raw.length).toBeLessThanOrEqual(1_000);
    },
  );

  test('of a symbol that Yahoo does not know is named', async () => {
    const { server, yahoo } = connect();
    const [gone] = recordedQuotes('node-yahoo-finance2/fixtures/quote-BRKS.json');
    server.quotes.set('BRKS', gone); // of type NONE
    const { snapshots, failures } = await yahoo.fetchSnapshots(['AAPL', 'BRKS', 'NOPE']);
    expect(snapshots.map(({ symbol }) => symbol)).toEqual(['AAPL']);
    expect(failures).toEqual([
      { symbol: 'BRKS', error: 'Yahoo does not know BRKS' },
      { symbol: 'NOPE', error: 'Yahoo does not know NOPE' },
    ]);
  });

  test('that comes twice, unasked for, or is no object is not mistaken for another', async () => {
    const { server, yahoo } = connect();
    const [aapl, msft] = ['AAPL', 'MSFT'].map((symbol) => server.quotes.get(symbol));
    const again = { ...aapl, regularMarketPrice: 1 };
    const result = ['text', null, 7, [], {}, aapl, again, msft];
    server.respond('quote', misbehave.json({ quoteResponse: { result, error: null } }));
    const { snapshots, failures } = await yahoo.fetchSnapshots(['AAPL']);
    expect(snapshots.map(({ symbol, snapshot }) => [symbol, snapshot.price])).toEqual([
      ['AAPL', 269.7],
    ]);
    expect(failures).toEqual([]);
  });
});

describe('the session', () => {
  const BAD_CRUMBS: [string, string, number, string][] = [
    ['empty', '', 200, 'the crumb is empty'],
    ['HTML', '<html><body>Sign in</body></html>', 200, 'the crumb is HTML'],
    ['"Too Many Requests"', 'Too Many Requests\r\n', 200, 'the crumb is "Too Many Requests"'],
    ['JSON', '{"finance":{"result":null}}', 200, 'the crumb is JSON'],
    ['a sentence', 'please come back later', 200, 'the crumb is some other text'],
    ['refused', 'nothing here', 404, 'answered 404'],
  ];
  test.each(BAD_CRUMBS)(
    'a crumb that is %s is refused and not kept',
    async (_, text, status, why) => {
      const clock = new ManualClock(RECORDED_AT);
      const { server, yahoo, lines } = connect({ clock });
      server.respond('crumb', misbehave.text(text, status));
      const answer = await yahoo.fetchSnapshots(['AAPL']);
      const reason = `Yahoo /v1/test/getcrumb: ${why}`;
      expect(answer.missing).toEqual({ fields: CHART_MISSING, reason });
      expect(answer.snapshots[0].snapshot).toMatchObject({ price: 269.7, marketCap: null });
      expect(lines).toEqual([
        `WARNING ${reason}; the charts are used, without market_cap, pe_ratio, market_state`,
      ]);
      expect(server.requests).toEqual(['cookie', 'crumb', 'chart AAPL']);
      // Not asked for at every round; and then from the beginning.
      expect((await yahoo.fetchSnapshots(['AAPL'])).missing?.reason).toBe(reason);
      clock.advance(600_000);
      expect((await yahoo.fetchSnapshots(['AAPL'])).missing).toBeNull();
      expect(server.requests.slice(3)).toEqual(['chart AAPL', 'cookie', 'crumb', 'quote AAPL']);
      expect(yahoo.breaker().phase).toBe('closed');
    },
  );

  test('without a cookie there is no crumb', async () => {
    const { server, yahoo } = connect();
    server.respond('cookie', misbehave.html());
    const { missing, snapshots } = await yahoo.fetchSnapshots(['AAPL']);
    expect(missing?.reason).toStartWith('Yahoo gives no session: ');
    expect(snapshots).toHaveLength(1);
    expect(server.requests).toEqual(['cookie', 'chart AAPL']);
  });

  test('a crumb that is not valid any more is fetched anew, once', async () => {
    const { server, yahoo } = connect();
    await yahoo.fetchSnapshots(['AAPL']);
    server.crumb = 'another0ne';
    const answer = await yahoo.fetchSnapshots(['AAPL']);
    expect(answer).toMatchObject({ missing: null, snapshots: [{ symbol: 'AAPL' }] });
    expect(server.requests.slice(3)).toEqual([...['quote AAPL', 'cookie', 'crumb', 'quote AAPL']]);
  });

  const REFUSALS: [string, string][] = [
    ['401_unauthorized_invalid_crumb', 'Invalid Crumb'],
    ['401_unauthorized_invalid_cookie', 'Invalid Cookie'],
    ['401_unauthorized_feature', 'User is unable to access this feature'],
  ];
  test.each(REFUSALS)('%s, again and again: the charts do', async (name, said) => {
    const { server, yahoo } = connect();
    server.respond('quote', misbehave.recordedError(name, 401), true);
    const { missing, snapshots } = await yahoo.fetchSnapshots(['AAPL']);
    expect(missing?.reason).toBe(`Yahoo /v7/finance/quote: answered 401, ${said}`);
    expect(snapshots).toHaveLength(1);
    expect(server.requests).toEqual([
      ...['cookie', 'crumb', 'quote AAPL', 'cookie', 'crumb', 'quote AAPL', 'chart AAPL'],
    ]);
  });

  test('never shows the crumb', async () => {
    const { server, yahoo, lines } = connect();
    server.respond('quote', misbehave.html());
    const error = await failure(yahoo.fetchSnapshots(['AAPL']));
    server.respond('quote', misbehave.recordedError('401_unauthorized_invalid_crumb', 401), true);
    const { missing } = await yahoo.fetchSnapshots(['AAPL']);
    expect(JSON.stringify([error.message, error.body, lines, missing])).not.toContain(server.crumb);
  });

  const API = 'https://query1.finance.yahoo.com/v1/test/getcrumb?a=1';
  const PAGE = 'https://finance.yahoo.com/quote/AAPL';
  test.each([
    [
      API,
      'https://query2.finance.yahoo.com',
      'https://query2.finance.yahoo.com/v1/test/getcrumb?a=1',
    ],
    [PAGE, 'https://query2.finance.yahoo.com', PAGE],
    [API, 'http://127.0.0.1:9/yahoo/', 'http://127.0.0.1:9/yahoo/v1/test/getcrumb?a=1'],
    [PAGE, 'http://127.0.0.1:9', 'http://127.0.0.1:9/quote/AAPL'],
    ['https://guce.yahoo.com/x', 'http://127.0.0.1:9', 'http://127.0.0.1:9/x'],
  ])('asks for %s, when told %s, at %s', (url, baseUrl, target) => {
    expect(toTarget(new URL(url), baseUrl).href).toBe(target);
  });

  test.each([
    'https://evil.example/guce.yahoo.com',
    'http://guce.yahoo.com/',
    'https://ayahoo.com/',
  ])('does not follow a redirect to %s', (url) => {
    expect(() => toTarget(new URL(url), 'https://query2.finance.yahoo.com')).toThrow(
      'it redirects to',
    );
  });
});

describe('a refusal', () => {
  const BODIES: [string, Parameters<YahooServer['respond']>[1], string][] = [
    ['HTML', misbehave.html(), 'the answer is HTML'],
    ['half of it', network.truncatedJson(), 'the answer is no JSON, or only the beginning of it'],
    ['other JSON', misbehave.json({ somethingWeird: true }), "JSON, but not Yahoo's"],
    ['a list', misbehave.json([1, 2]), "JSON, but not Yahoo's"],
    [
      'an error of its own',
      misbehave.json(recorded('node-yahoo-finance2/legacy/pageWithUnknownError.json')),
      "I'm made up",
    ],
  ];
  test.each(BODIES)('%s instead of quotes', async (_, next, message) => {
    const { server, yahoo } = connect();
    server.respond('quote', next);
    const error = await failure(yahoo.fetchSnapshots(['AAPL']));
    expect(error.kind).toBe('garbage');
    expect(error.message).toContain(message);
  });

  test.each([429, 200, 599])(
    '"Too Many Requests" with status %i: nothing is sent for a growing time',
    async (status) => {
      const clock = new ManualClock(RECORDED_AT);
      const { server, yahoo, lines } = connect({ clock });
      server.respond('quote', misbehave.tooMany(status), true);
      const error = await failure(yahoo.fetchSnapshots(['AAPL']));
      expect(error.kind).toBe('rate_limited');
      expect(yahoo.breaker()).toMatchObject({
        phase: 'open',
        until: new Date(Date.parse(RECORDED_AT) + 60_000),
      });
      const sent = server.requests.length;
      const refusal = await failure(yahoo.fetchSnapshots(['AAPL']));
      expect(refusal.message).toStartWith('Yahoo is left alone until 2025-10-30T00:06:00.000Z');
      expect(refusal.message).toContain('Too Many Requests');
      expect(server.requests).toHaveLength(sent);
      clock.advance(60_000);
      await failure(yahoo.fetchSnapshots(['AAPL', 'MSFT'])); // the one try
      expect(server.requests).toHaveLength(sent + 1);
      expect(yahoo.breaker().until).toEqual(new Date(clock.now() + 120_000));
      server.behave();
      clock.advance(120_000);
      expect((await yahoo.fetchSnapshots(['AAPL'])).snapshots).toHaveLength(1);
      expect(yahoo.breaker().phase).toBe('closed');
      expect(lines.at(-1)).toBe('INFO Yahoo answers again');
    },
  );

  test.each([
    ['7200', '2025-10-30T02:05:00.000Z'],
    ['Thu, 30 Oct 2025 01:00:00 GMT', '2025-10-30T01:00:00.000Z'],
  ])('Retry-After %s is honored', async (retryAfter, until) => {
    const { server, yahoo } = connect({ clock: new ManualClock(RECORDED_AT) });
    server.respond('crumb', misbehave.tooMany(429, retryAfter));
    await failure(yahoo.fetchSnapshots(['AAPL']));
    expect(yahoo.breaker().until?.toISOString()).toBe(until);
  });

  test('five in a row open the breaker', async () => {
    const { server, yahoo } = connect({ clock: new ManualClock(RECORDED_AT) });
    server.respond('quote', misbehave.html(503), true);
    for (let i = 0; i < 5; i++) {
      expect((await failure(yahoo.fetchSnapshots(['AAPL']))).message).toBe(
        'Yahoo /v7/finance/quote: answered 503',
      );
    }
    expect(yahoo.breaker()).toMatchObject({ phase: 'open', failuresInARow: 5 });
  });

  test('a connection that is cut, and an answer that never comes', async () => {
    const { server, yahoo } = connect({ timeoutMs: 300 });
    await yahoo.fetchSnapshots(['AAPL']);
    server.respond('quote', network.reset(), true); // Bun itself asks again once
    expect((await failure(yahoo.fetchSnapshots(['AAPL']))).kind).toBe('unavailable');
    server.behave();
    server.respond('quote', network.hang());
    expect((await failure(yahoo.fetchSnapshots(['AAPL']))).message).toBe(
      'Yahoo /v7/finance/quote: no complete answer within 300 ms',
    );
    server.respond('quote', network.endlessBody());
    const error = await failure(yahoo.fetchSnapshots(['AAPL']));
    expect(['garbage', 'unavailable']).toContain(error.kind);
  });

  test('stops when it is told to, whatever it waits for', async () => {
    const { server, yahoo } = connect();
    const abort = new AbortController();
    const reason = new Error('told to stop');
    server.respond('quote', (_, honest) => {
      abort.abort(reason);
      return honest();
    });
    const error = await yahoo.fetchSnapshots(['AAPL'], abort.signal).catch((e: unknown) => e);
    expect(error).toBe(reason);
    expect(yahoo.breaker()).toMatchObject({ phase: 'closed', failuresInARow: 0 });
  });

  test('one limit for all requests, cookie and crumb included', async () => {
    const clock = new ManualClock(RECORDED_AT);
    const { server, yahoo } = connect({ clock, requestsPerMinute: 3 });
    await yahoo.fetchSnapshots(['AAPL']);
    const second = yahoo.fetchSnapshots(['AAPL']);
    await clock.asleep();
    expect(server.requests).toHaveLength(3);
    clock.advance(61_000);
    await second;
    expect(server.requests).toHaveLength(4);
  });
});

describe('a chart', () => {
  async function fetchCharts(world: World, symbols: string[]) {
    withoutCrumb(world.server);
    return world.yahoo.fetchSnapshots(symbols);
  }

  test('as it was recorded says of the day what the quote does, as far as it goes', async () => {
    const world = connect();
    const quote = await fetchOne(world, 'MSFT');
    const other = connect();
    const { snapshots, missing } = await fetchCharts(other, ['MSFT']);
    const { snapshot } = snapshots[0];
    expect(missing?.fields).toEqual(CHART_MISSING);
    const same = ['ts', 'price', 'open', 'dayHigh', 'previousClose', 'volume'] as const;
    for (const name of same) expect(snapshot[name]).toBe(quote[name]);
    expect(snapshot).toMatchObject({ dayLow: 536.729, marketCap: null, peRatio: null });
    expect(snapshot.meta).toMatchObject({
      ...{ currency: 'USD', market_cap: null, pe_ratio: null, fifty_two_week_high: 555.45 },
    });
  });

  test('rows outside of the day are dropped and counted, as is what would be of them', async () => {
    // A day later, before the open: the day asked for is still the one that was recorded.
    const same = connect({ clock: makeInstantClock('2025-10-30T13:29:00Z') });
    expect(await fetchCharts(same, ['AAPL'])).toMatchObject({
      ...{ droppedRows: 0, snapshots: [{ snapshot: { open: 269.275, previousClose: 269 } }] },
    });
    // After the open the recorded row is of another day: its open is not today's.
    const next = connect({ clock: makeInstantClock('2025-10-30T13:31:00Z') });
    const { droppedRows, snapshots } = await fetchCharts(next, ['AAPL']);
    expect(droppedRows).toBe(1);
    expect(snapshots[0].snapshot).toMatchObject({ price: 269.7, open: null, previousClose: null });
  });

  test('without rows and currency has its price', async () => {
    const world = connect({ clock: makeInstantClock('2025-06-13T18:00:00Z') });
    const chart = recordedChart('chart_LUCYW_null_currency_no_timestamps.json');
    world.server.charts.set('LUCYW', chart);
    const { snapshots } = await fetchCharts(world, ['LUCYW']);
    expect(snapshots[0].snapshot).toMatchObject({ price: 0.1246, open: null, volume: 4152 });
    expect(snapshots[0].snapshot.meta).not.toHaveProperty('currency');
  });

  test('with nulls and text in its rows has no open', async () => {
    for (const open of [null, 'Infinity', 0]) {
      const world = connect();
      const chart = world.server.charts.get('AAPL');
      const last = (chart?.timestamp?.length ?? 0) - 1;
      if (chart) chart.indicators.quote[0].open[last] = open;
      const { snapshots } = await fetchCharts(world, ['AAPL']);
      expect(snapshots[0].snapshot).toMatchObject({ price: 269.7, open: null });
    }
  });

  const EMPTY: [string, unknown, number, string][] = [
    ['no result', { chart: { result: [], error: null } }, 200, 'the chart of AAPL is empty'],
    ['no meta', { chart: { result: [{}], error: null } }, 200, 'the chart of AAPL is empty'],
    ['null', { chart: { result: null, error: null } }, 200, "JSON, but not Yahoo's"],
    [
      'its error',
      recorded('errors/404_chart_not_found.json'),
      404,
      'No data found, symbol may be delisted',
    ],
    [
      'its error with status 200',
      recorded('errors/404_chart_not_found.json'),
      200,
      'No data found, symbol may be delisted',
    ],
    [
      'another symbol',
      { chart: { result: [{ meta: { symbol: 'MSFT', regularMarketPrice: 1 } }] } },
      200,
      'the chart is of MSFT',
    ],
  ];
  test.each(EMPTY)('with %s fails by itself: the others are kept', async (_, body, status, why) => {
    const world = connect();
    world.server.respond('chart', (request) =>
      request.url.includes('AAPL') ? Response.json(body, { status }) : undefined,
    );
    const { snapshots, failures } = await fetchCharts(world, ['AAPL', 'MSFT']);
    expect(snapshots.map(({ symbol }) => symbol)).toEqual(['MSFT']);
    expect(failures).toEqual([{ symbol: 'AAPL', error: expect.stringContaining(why) }]);
  });

  test('without a price is rejected', async () => {
    const world = connect();
    const meta = { symbol: 'AAPL', regularMarketTime: 1_761_768_001 };
    const body = { chart: { result: [{ meta, indicators: { quote: [{}] } }], error: null } };
    world.server.respond('chart', misbehave.json(body));
    const { rejected } = await fetchCharts(world, ['AAPL']);
    expect(rejected).toMatchObject([{ symbol: 'AAPL', reason: 'there is no price above 0' }]);
  });

  test('that is refused ends the round, and what was fetched before is kept', async () => {
    const world = connect({ clock: new ManualClock(RECORDED_AT) });
    world.server.respond('chart', (request) =>
      request.url.includes('MSFT')
        ? misbehave.tooMany()(request, async () => new Response())
        : undefined,
    );
    const { snapshots, failures } = await fetchCharts(world, ['AAPL', 'MSFT', 'NVDA']);
    expect(snapshots.map(({ symbol }) => symbol)).toEqual(['AAPL']);
    expect(failures.map(({ symbol }) => symbol)).toEqual(['MSFT', 'NVDA']);
    expect(world.server.requests).not.toContain('chart NVDA');
    const alone = connect();
    alone.server.respond('chart', misbehave.tooMany());
    withoutCrumb(alone.server);
    expect((await failure(alone.yahoo.fetchSnapshots(['AAPL', 'MSFT']))).kind).toBe('rate_limited');
  });
});

describe('the spelling', () => {
  const SPELLINGS = {
    ...{ AAPL: 'AAPL', 'BRK.B': 'BRK-B', 'BF.A': 'BF-A', 'BRK-B': 'BRK-B', ABRpD: 'ABR-PD' },
    ...{ 'BTC/USD': 'BTC-USD', 'ACHR.WS': 'ACHR-WT', 'AAC.U': 'AAC-UN', 'OCDO.L': 'OCDO.L' },
    ...{ 'RY.TO': 'RY.TO', AAp: 'AA-P' },
  };
  test.each(Object.entries(SPELLINGS))('%s is %s', (symbol, spelling) => {
    expect(yahooSymbol(symbol)).toBe(spelling);
  });
});
