import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { hostname } from 'node:os';
import { makeHostCheck } from '../../src/http/allowed-host.ts';
import { HttpError } from '../../src/http/errors.ts';
import { cloneDatabase, type TestDatabase } from '../database.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';

function refusal(host: string, path = '/', allowed: string[] = []): HttpError | undefined {
  try {
    makeHostCheck(allowed)(new Request(`http://127.0.0.1${path}`, { headers: { host } }));
  } catch (error) {
    expect(error).toBeInstanceOf(HttpError);
    return error as HttpError;
  }
  return undefined;
}

describe('the host of a request', () => {
  const good = [
    ...['127.0.0.1', '127.0.0.1:8000', '192.168.1.20:8000', '[::1]', '[::1]:8000', '[fe80::1]:80'],
    ...['localhost', 'localhost:8000', 'LOCALHOST:8000', 'localhost.', 'marketd.localhost:1'],
    ...[hostname(), `${hostname().toUpperCase()}:8000`],
  ];
  for (const host of good) {
    test(`${host} means this machine`, () => {
      expect(refusal(host)).toBeUndefined();
    });
  }

  const bad = [
    ...['evil.example', 'evil.example:8000', 'localhost.evil.example', 'notlocalhost'],
    ...['127.0.0.1.evil.example', '127.0.0.1.nip.io', '1.2.3.4.5', 'a b', '@', ':8000', '/x'],
    ...[`${hostname()}.evil.example`, 'market.lan.evil.example', 'xmarket.lan'],
  ];
  for (const host of bad) {
    test(`${host} does not, and the answer names the setting`, () => {
      const found = refusal(host, '/', ['market.lan']);
      expect(found).toMatchObject({ status: 421, code: 'unknown_host' });
      expect(found!.message).toContain('ALLOWED_HOSTS');
    });
  }

  test('may be one that the operator has listed', () => {
    for (const host of ['market.lan', 'Market.LAN:8000', 'market.lan.']) {
      expect(refusal(host, '/', ['market.lan', 'other'])).toBeUndefined();
    }
  });

  test('does not matter for the files of pages, which are public', () => {
    expect(refusal('evil.example', '/assets/app-0.css')).toBeUndefined();
    expect(refusal('evil.example', '/assetsx')).toBeDefined();
    expect(refusal('evil.example', '/x/assets/')).toBeDefined();
  });

  test('is asked of all that are not remembered, however many there are', () => {
    const check = makeHostCheck([]);
    const ask = (host: string) => check(new Request('http://127.0.0.1/', { headers: { host } }));
    for (let i = 0; i < 3_000; i++) ask(`10.0.${i >> 8}.${i & 255}:8000`);
    expect(() => ask('10.0.0.1:8000')).not.toThrow();
    expect(() => ask('evil.example')).toThrow(HttpError);
    expect(() => ask('evil.example')).toThrow(HttpError);
  });
});

describe('a page of another site whose name is made to mean this address', () => {
  let database: TestDatabase;
  let server: TestServer;
  beforeAll(async () => {
    database = await cloneDatabase('plain');
    server = await startServer(database.url, { ALLOWED_HOSTS: 'Market.LAN, desk' });
  });
  afterAll(async () => {
    await server?.stop();
    await database?.drop();
  });

  /** fetch takes the host from the address; curl says what it is told. */
  async function ask(host: string, path: string, ...more: string[]): Promise<[number, string]> {
    const command = ['curl', '-s', '-H', `host: ${host}`, '-w', '\n%{http_code}', ...more];
    const sent = Bun.spawn([...command, `${server.url}${path}`]);
    const text = await new Response(sent.stdout).text();
    const end = text.lastIndexOf('\n');
    return [Number(text.slice(end + 1)), text.slice(0, end)];
  }

  test('reads nothing', async () => {
    const range = 'start=2023-01-03&end=2023-01-09';
    const paths = ['/', '/health', '/api/v1/symbols', '/dashboard', '/dashboard/system', '/docs'];
    for (const path of [...paths, '/docs/json', `/api/v1/historical/AAPL?${range}`, '/nope']) {
      const [status, body] = await ask('evil.example:8000', path);
      expect([path, status]).toEqual([path, 421]);
      expect(JSON.parse(body).error.code).toBe('unknown_host');
    }
    expect((await ask('localhost', '/health'))[0]).toBe(200);
    expect((await ask('market.lan:8000', '/health'))[0]).toBe(200);
    expect((await ask('desk', '/health'))[0]).toBe(200);
  });

  test('changes nothing, although it says that it is ours', async () => {
    const host = 'evil.example:8000';
    const like = ['-H', `origin: http://${host}`, '-H', 'sec-fetch-site: same-origin'];
    const json = [...like, '-H', 'content-type: application/json', '-d', '{"symbols":["EVIL"]}'];
    for (const path of [
      '/api/v1/admin/symbols',
      '/dashboard/symbols/add',
      '/dashboard/findings/1',
    ]) {
      const [status] = await ask(host, path, ...json);
      expect([path, status]).toEqual([path, 421]);
    }
    const rows = await database.sql`select from audit_log`;
    expect(rows).toHaveLength(0);
  });

  test('sees a page that says so, with its style', async () => {
    const [status, html] = await ask('evil.example', '/dashboard', '-H', 'accept: text/html');
    expect(status).toBe(421);
    expect(html).toContain('<h1>Unknown host</h1>');
    expect(html).toContain('ALLOWED_HOSTS');
    const style = /\/assets\/app-\w+\.css/.exec(html)![0];
    expect((await ask('evil.example', style))[0]).toBe(200);
  });
});
