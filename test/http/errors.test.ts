import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPool } from '../../src/store/database.ts';
import { startEmbedded } from '../../src/store/embedded.ts';
import { migrate } from '../../src/store/migrate.ts';
import { cloneDatabase, describeEditions, TEST_SETTINGS } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { Gate } from '../fixtures/http-gate.ts';
import {
  fillWarehouse,
  SECRET_KEY,
  startServer,
  storeAnswers,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';

setDefaultTimeout(60_000);

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** What lies inside: stacks, statements, names of relations, paths, addresses, secrets. */
const INSIDE = [
  /\bat \S+ \(|node_modules|\.tsx?\b|\/src\/|stack/i,
  /\bselect\b|\binsert\b|\brelation\b|instrument_status|pg_|postgres|127\.0\.0\.1/i,
  new RegExp(SECRET_KEY),
];

const SECURITY = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'same-origin',
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
};

function expectSecurity(response: Response): void {
  for (const [name, value] of Object.entries(SECURITY)) {
    expect([name, response.headers.get(name)]).toEqual([name, value]);
  }
  expect(response.headers.get('x-powered-by')).toBeNull();
  expect(response.headers.get('server')).toBeNull();
}

interface Problem {
  error: { code: string; message: string; field?: string };
  request_id: string;
}

/** Reads an error, which has one shape and shows nothing of the inside. */
async function readProblem(response: Response, isInput = false): Promise<Problem> {
  const text = await response.text();
  expect(response.headers.get('content-type')).toStartWith('application/json');
  expect(text.length).toBeLessThan(800);
  // What the caller sent is repeated to him; SQL in it is his.
  for (const pattern of isInput ? INSIDE.slice(2) : INSIDE) expect(text).not.toMatch(pattern);
  const body = JSON.parse(text) as Problem;
  expect(Object.keys(body)).toEqual(['error', 'request_id']);
  const { error, request_id } = body;
  expect(Object.keys(error).filter((name) => name !== 'field')).toEqual(['code', 'message']);
  expect(response.headers.get('x-request-id')).toBe(request_id);
  expectSecurity(response);
  return body;
}

interface Scenario {
  name: string;
  method?: string;
  path: string;
  status: number;
  code: string;
  field?: string;
  says: string | RegExp;
  allow?: string;
  body?: string;
}

const RANGE = 'start=2023-01-03&end=2023-01-09';
const of = (symbol: string, query = RANGE) => `/api/v1/historical/${symbol}?${query}`;
const withQuery = (query: string) => of('AAPL', `${RANGE}&${query}`);

function badParameter(name: string, query: string, field: string, says: string | RegExp): Scenario {
  const path = of('AAPL', query);
  return { name, path, status: 422, code: 'invalid_parameter', field, says };
}

const DATE = /written YYYY-MM-DD|a time needs its zone, for example 2024-01-31T14:30:00Z/;
const SCORE = 'a number from 0 to 1';
const badDates: [name: string, start: string][] = [
  ['a month that is none', '2024-13-01'],
  ['29 February of a year without it', '2023-02-29'],
  ['31 April', '2023-04-31'],
  ['day 0', '2023-01-00'],
  ['no dashes', '20240101'],
  ['an instant without its zone', '2023-01-03T00:00:00'],
  ['another order', '03-01-2023'],
  ['slashes', '2023/01/03'],
  ['one digit', '2023-1-3'],
  ['five digits', '12023-01-03'],
  ['nothing', ''],
  ['a space', '%202023-01-03'],
  ['a word', 'yesterday'],
  ['NUL at the end', '2023-01-03%00'],
  ['a newline at the end', '2023-01-03%0A'],
  ['bad percent signs', '%ZZ'],
  ['bytes that are no UTF-8', '%FF%FE'],
  ['SQL', "2023-01-03';drop%20table%20bars_1d--"],
  ['other digits', '%D9%A2%D9%A0%D9%A2%D9%A3-01-03'],
  ['10,000 characters', '2'.repeat(10_000)],
];

const PARAMETERS: Scenario[] = [
  ...badDates.map(([name, start]) =>
    badParameter(`start: ${name}`, `start=${start}&end=2024-12-31`, 'start', DATE),
  ),
  ...badDates.map(([name, end]) =>
    badParameter(`end: ${name}`, `start=2023-01-03&end=${end}`, 'end', DATE),
  ),
  badParameter('no start', 'end=2023-01-03', 'start', /^start is missing: .*YYYY-MM-DD/),
  badParameter('no end', 'start=2023-01-03', 'end', /^end is missing: .*YYYY-MM-DD/),
  badParameter('no parameter at all', '', 'start', /^start is missing/),
  badParameter('a name in capitals', 'START=2023-01-03&end=2023-01-03', 'start', /missing/),
  badParameter(
    'end before start',
    'start=2023-01-04&end=2023-01-03',
    'end',
    'end (2023-01-03) lies before start (2023-01-04)',
  ),
  ...['start=2023-01-03', 'end=2023-01-09', 'timeframe=1d&timeframe=1w'].map((twice) =>
    badParameter(`${twice} again`, `${RANGE}&${twice}`, twice.split('=')[0]!, /more than once/),
  ),
  ...['min_quality=0&min_quality=1', 'validated_only=true&validated_only=false'].map((twice) =>
    badParameter(`${twice}`, `${RANGE}&${twice}`, twice.split('=')[0]!, /more than once/),
  ),
  ...['0m', '90s', '25h', '1.5h', '1D', '1M', '2d', '', 'x', '1d%20'].map((timeframe) =>
    badParameter(
      `timeframe ${JSON.stringify(timeframe)}`,
      `${RANGE}&timeframe=${timeframe}`,
      'timeframe',
      'one of 1d, 1w, 1mo, or a whole number of minutes or hours from 1m to 24h',
    ),
  ),
  ...['3', 'x', '-1', '1.0001', 'NaN', '', 'Infinity', '1e999', '0,9', '90%25'].map((score) =>
    badParameter(
      `min_quality ${JSON.stringify(score)}`,
      `${RANGE}&min_quality=${score}`,
      'min_quality',
      SCORE,
    ),
  ),
  ...['maybe', '', '2', 'null', 'truee'].map((flag) =>
    badParameter(
      `validated_only ${JSON.stringify(flag)}`,
      `${RANGE}&validated_only=${flag}`,
      'validated_only',
      'true or false',
    ),
  ),
  badParameter('format', `${RANGE}&format=xml`, 'format', 'json or csv'),
  badParameter(
    'adjustment',
    `${RANGE}&adjustment=true`,
    'adjustment',
    'must be raw or split or all',
  ),
  badParameter('adjust_asof', `${RANGE}&adjustment=all&adjust_asof=5`, 'adjust_asof', 'YYYY-MM-DD'),
  badParameter('adjust_asof', `${RANGE}&adjust_asof=2020-01-01`, 'adjust_asof', 'split or all'),
  badParameter(
    'known_at',
    `${RANGE}&known_at=2020-01-01T10:00`,
    'known_at',
    'a time needs its zone',
  ),
  badParameter(
    'dividend_method',
    `${RANGE}&adjustment=all&dividend_method=x`,
    'dividend_method',
    'previous_close or ex_close',
  ),
  badParameter(
    'dividend_method',
    `${RANGE}&adjustment=split&dividend_method=ex_close`,
    'dividend_method',
    'adjustment=all',
  ),
  badParameter('known_at', `${RANGE}&known_at=2049-01-01`, 'known_at', 'still to come'),
  badParameter('asof', `${RANGE}&asof=yesterday`, 'asof', 'YYYY-MM-DD'),
  badParameter('include_partial', `${RANGE}&include_partial=2`, 'include_partial', 'true or false'),
];

const JUNK = [
  ...['a%2Fb%2F..%2F%2F', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '%2F', 'AAPL%2F', '-AAPL', 'A..B'],
  ...['%00', 'A%00B', '%ZZ', '%', 'AAPL%', '%FF', '%E2%82%AC', '%20AAPL', 'AAPL%0d%0aX-Evil:1'],
  ...["A';drop%20table%20bars_1d--", '%3Cscript%3E', '__proto__', 'A*', 'A'.repeat(33)],
  'A'.repeat(10_000),
];

const SYMBOLS: Scenario[] = [
  ...JUNK.map((symbol) => ({
    name: `symbol ${symbol.slice(0, 40)}`,
    path: of(symbol),
    status: 422,
    code: 'invalid_parameter',
    field: 'symbol',
    says: /is not a symbol: letters and digits, .* at most 32 characters/,
  })),
  ...['NOPE', 'abrpd', 'AAPLX', 'BTC-USD', 'toString', 'constructor', 'a%2Fb'].map((symbol) => ({
    name: `symbol ${symbol}`,
    path: of(symbol),
    status: 404,
    code: 'unknown_symbol',
    field: 'symbol',
    says: /there is no symbol .* \/api\/v1\/symbols lists what there is/,
  })),
];

const nothing = (path: string, method = 'GET', body?: string): Scenario => ({
  name: `${method} ${path}`,
  method,
  path,
  status: 404,
  code: 'not_found',
  says: 'see /docs',
  body,
});

const ADDRESSES: Scenario[] = [
  ...['/nope', '/api', '/api/v1', '/api/v2/status', '/api/v1/historical', '/api/v1/historical/'],
  ...['/health/x', '/API/V1/STATUS', '/.env', '/.git/config', '/%00', '/%ZZ'],
  ...['/docs/_raw', '/docs/_page', '/docs/_raw/', '/docs/_raw?x', '/docs/assets/..%2f..%2fx'],
  ...['/docs/%5Fraw', '/docs//_raw', of('BTC/USD')],
]
  .map((path) => nothing(path))
  .concat(['POST', 'HEAD', 'DELETE'].map((method) => nothing('/docs/_raw', method)))
  .concat([nothing('/nope', 'POST'), nothing('/nope', 'HEAD')]);

const wrongMethod = (path: string, method: string, allow: string, body?: string): Scenario => ({
  name: `${method} ${path}`,
  method,
  path,
  status: 405,
  code: 'method_not_allowed',
  says: `${method} is not possible at this address; ${allow} is`,
  allow,
  body,
});

const READ = 'GET, HEAD';
const METHODS: Scenario[] = [
  ...['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) =>
    wrongMethod('/health', method, READ),
  ),
  wrongMethod('/health/', 'POST', READ),
  wrongMethod(of('AAPL'), 'POST', READ, '{"start":'),
  wrongMethod(of('BTC%2FUSD'), 'DELETE', READ),
  wrongMethod('/api/v1/status', 'DELETE', READ),
  wrongMethod('/docs', 'POST', READ),
  wrongMethod('/dashboard/system', 'POST', READ),
  wrongMethod('/api/v1/admin/findings', 'GET', 'POST'),
  wrongMethod('/api/v1/admin/findings', 'PUT', 'POST'),
];

describeEditions('errors', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    await fillWarehouse(database().sql);
    server = await startServer(database().url);
  });
  afterAll(async () => {
    await server?.stop();
  });

  for (const scenario of [...PARAMETERS, ...SYMBOLS, ...ADDRESSES, ...METHODS]) {
    const { name, path, method, body, status, code, field, says } = scenario;
    test(`${status}: ${name.slice(0, 80)}`, async () => {
      const headers = { 'content-type': 'application/json' };
      const response = await server.get(path, { method, body, ...(body && { headers }) });
      expect(response.status).toBe(status);
      expect(response.headers.get('allow')).toBe(scenario.allow ?? null);
      if (method === 'HEAD') return; // the status is all there is
      const problem = await readProblem(response, status === 422);
      expect(problem.error.code).toBe(code);
      expect(problem.error.field).toBe(field);
      if (typeof says === 'string') expect(problem.error.message).toContain(says);
      else expect(problem.error.message).toMatch(says);
      expect(problem.request_id).toMatch(UUID);
    });
  }

  test('none of them is an error of ours: the log is empty, and the tables are there', async () => {
    expect(server.lines.filter((line) => line.includes('ERROR'))).toEqual([]);
    const [row] = await database().sql`select count(*)::int as bars from bars_1d`;
    expect(row!.bars).toBeGreaterThan(400);
  });

  test('the parts of an address are not taken for another', async () => {
    const sent = ['curl', '-s', '--path-as-is', '-g', '-w', '\n%{http_code}'];
    const ask = async (path: string) =>
      (await new Response(Bun.spawn([...sent, `${server.url}${path}`]).stdout).text()).split('\n');
    const paths = ['/../../etc/passwd', '/docs/./_raw', '/x/../docs/_raw', '/assets/../x'];
    for (const path of paths) {
      const [body, status] = await ask(path);
      expect([path, status]).toEqual([path, '404']);
      expect(JSON.parse(body!).error.code).toBe('not_found');
    }
    const [body, status] = await ask(of('..'));
    expect([status, JSON.parse(body!).error.field]).toEqual(['422', 'symbol']);
  });

  describe('the request id', () => {
    for (const id of ['abc-1', 'A.b_c', 'x'.repeat(64), crypto.randomUUID()]) {
      test(`${id.slice(0, 20)} is repeated`, async () => {
        for (const path of ['/nope', of('NOPE'), of('AAPL', 'start=x')]) {
          const response = await server.get(path, { headers: { 'x-request-id': id } });
          expect((await readProblem(response)).request_id).toBe(id);
        }
      });
    }

    for (const id of ['', '<b>hi', 'a b', 'x'.repeat(65), '"; drop', 'é', 'a/b', '{"a":1}']) {
      test(`${JSON.stringify(id.slice(0, 20))} is replaced`, async () => {
        const response = await server.get('/nope', { headers: { 'x-request-id': id } });
        expect((await readProblem(response)).request_id).toMatch(UUID);
      });
    }
  });

  test('every kind of answer has the security headers', async () => {
    const assetsOf = async (path: string) =>
      (await (await server.get(path)).text()).match(/\/assets\/[\w.-]+/g)!;
    const assets = [...(await assetsOf('/dashboard')), ...(await assetsOf('/docs'))];
    const paths = ['/', '/health', '/api/v1/status', '/api/v1/symbols', '/api/v1/symbols/detailed'];
    paths.push(of('AAPL'), of('EMPTY'), withQuery('format=csv'), '/docs', '/docs/json');
    paths.push('/dashboard', '/dashboard/system', '/favicon.ico', ...assets);
    for (const path of paths) {
      for (const method of ['GET', 'HEAD']) {
        const response = await server.get(path, { method });
        expect([path, response.status]).toEqual([path, 200]);
        expectSecurity(response);
        await response.arrayBuffer();
      }
    }
    const headers = { 'if-none-match': (await server.get(of('AAPL'))).headers.get('etag')! };
    const unchanged = await server.get(of('AAPL'), { headers });
    expect(unchanged.status).toBe(304);
    expectSecurity(unchanged);
  });
});

describe('an error of our own', () => {
  test('says nothing of the inside, and is logged with the id of the request', async () => {
    const database = await cloneDatabase('plain');
    try {
      await fillWarehouse(database.sql);
      await using server = await startServer(database.url);
      await database.sql`drop table bars_1d cascade`;
      await database.sql`drop table instrument_status cascade`;
      const paths = [of('AAPL'), '/health', '/api/v1/status', '/api/v1/symbols'];
      for (const [i, path] of [...paths, '/api/v1/symbols/detailed'].entries()) {
        const id = `request-${i}`;
        server.lines.length = 0;
        const response = await server.get(path, { headers: { 'x-request-id': id } });
        expect([path, response.status]).toEqual([path, 500]);
        const problem = await readProblem(response);
        expect(problem).toEqual({
          error: { code: 'internal', message: 'an error of marketd itself; its log has it' },
          request_id: id,
        });
        expect(server.lines).toHaveLength(1);
        const [line] = server.lines;
        expect(line).toMatch(/ ERROR +relation "\w+" does not exist/);
        expect(line).toContain(`"request_id":"${id}","path":"${path.split('?')[0]}"`);
        expect(line).toContain('"stack":');
        expect(line).not.toContain(SECRET_KEY);
      }
    } finally {
      await database.drop();
    }
  });
});

describe('the database', () => {
  test('goes and comes back: 503 in between, nothing stale, and nobody has to help', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'marketd-away-'));
    const options = { dataDir, database: 'marketd', settings: TEST_SETTINGS };
    const gate = new Gate();
    let embedded = await startEmbedded(options);
    let server: TestServer | undefined;
    try {
      const sql = openPool(embedded.url);
      await migrate(sql);
      await fillWarehouse(sql);
      await sql.end();
      server = await startServer(gate.open(embedded.url));
      const port = new URL(server.config.DATABASE_URL!).port;
      const paths = [of('AAPL'), '/api/v1/status', '/api/v1/symbols', '/api/v1/symbols/detailed'];
      for (const path of [...paths, ...paths]) {
        const response = await server.get(path);
        expect([path, response.status]).toEqual([path, 200]);
        await response.arrayBuffer();
      }
      const count = async () => {
        const response = await server!.get(of('AAPL', 'start=2023-12-29&end=2024-01-05'));
        return response.ok ? ((await response.json()) as { count: number }).count : undefined;
      };
      expect(await count()).toBe(1);

      gate.close();
      await embedded.stop();
      await until(async () => ((await count()) === undefined ? true : undefined));
      for (const path of paths) {
        const response = await server.get(path);
        expect([path, response.status]).toEqual([path, 503]);
        expect(response.headers.get('retry-after')).toBe('2');
        const { error } = await readProblem(response, true);
        expect(error.code).toBe('database_away');
        expect(error.message).not.toContain(port);
      }
      const health = await server.get('/health');
      expect(health.status).toBe(503);
      expectSecurity(health);
      expect(await health.json()).toEqual({
        status: 'unhealthy',
        service: 'marketd',
        version: expect.any(String),
        database: 'unreachable',
        edition: 'plain',
        timestamp: expect.any(String),
        scheduler_running: false,
        last_trade_count: 0,
        last_ingestion: null,
      });
      for (const path of ['/', '/docs/json', '/nope', of('AAPL', 'start=x')]) {
        expect((await server.get(path)).status).toBeLessThan(500); // they need no database
      }

      // While we were cut off another process has added a bar: nobody told us.
      embedded = await startEmbedded(options);
      const other = openPool(embedded.url);
      await storeAnswers(other, [{ symbol: 'AAPL', bars: [flatBar('2024-01-02')] }]);
      await other.end();
      expect(await count()).toBeUndefined();
      gate.open(embedded.url);
      expect(await until(count)).toBe(2);
      for (const path of [...paths, '/health']) {
        const response = await until(async () => {
          const found = await server!.get(path);
          return found.ok ? found : undefined;
        });
        await response.arrayBuffer();
      }
      expect(await (await server.get('/health')).json()).toMatchObject({ status: 'healthy' });
    } finally {
      await server?.stop();
      gate.close();
      await embedded.stop();
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
