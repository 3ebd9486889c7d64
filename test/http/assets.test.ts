import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { brotliDecompressSync } from 'node:zlib';
import { cloneDatabase, type TestDatabase } from '../database.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';

/** All that the overview loads, compressed for a browser that is far away. */
const OVERVIEW_BYTES_MAX = 60 * 1024;

describe('the files of pages', () => {
  let database: TestDatabase;
  let server: TestServer;
  beforeAll(async () => {
    database = await cloneDatabase('plain');
    server = await startServer(database.url);
  });
  afterAll(async () => {
    await server?.stop();
    await database?.drop();
  });

  const filesOf = async (path: string) => {
    const html = await (await server.get(path)).text();
    return [...new Set(html.match(/\/assets\/[\w.-]+/g))];
  };
  /** As it is on the wire. */
  const load = async (path: string, accepted: string, headers: Record<string, string> = {}) => {
    const sent = { ...headers, 'accept-encoding': accepted };
    const response = await server.get(path, { headers: sent, decompress: false } as RequestInit);
    return { response, bytes: await response.bytes() };
  };

  test('of the overview are 60 KB together, without the chart library', async () => {
    const files = await filesOf('/dashboard');
    expect(files.length).toBeGreaterThan(3);
    expect(files.filter((path) => /chart/.test(path))).toEqual([]);
    for (const coding of ['gzip', 'br']) {
      let sum = 0;
      for (const path of files) sum += (await load(path, coding)).bytes.length;
      expect(sum).toBeGreaterThan(5_000);
      expect(sum).toBeLessThanOrEqual(OVERVIEW_BYTES_MAX);
    }
  });

  test('are sent in the coding that is asked for, and are the same in each', async () => {
    for (const path of [...(await filesOf('/dashboard')), ...(await filesOf('/docs'))]) {
      const plain = await load(path, 'identity');
      expect(plain.response.headers.get('content-encoding')).toBeNull();
      const tags = [plain.response.headers.get('etag')];
      for (const [accepted, coding] of [
        ['gzip, deflate', 'gzip'],
        ['gzip, deflate, br, zstd', 'br'],
      ] as const) {
        const { response, bytes } = await load(path, accepted);
        expect([path, response.status]).toEqual([path, 200]);
        expect(response.headers.get('content-encoding')).toBe(coding);
        expect(response.headers.get('vary')).toBe('accept-encoding');
        expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
        expect(response.headers.get('content-type')).toMatch(
          /^(text\/(css|javascript)|image\/svg)/,
        );
        const body = coding === 'gzip' ? Bun.gunzipSync(bytes) : brotliDecompressSync(bytes);
        expect(Buffer.compare(body, plain.bytes)).toBe(0);
        tags.push(response.headers.get('etag'));
      }
      expect(new Set(tags).size).toBe(3);
    }
  });

  test('are not sent again to who has them', async () => {
    for (const path of [(await filesOf('/dashboard'))[0], '/favicon.ico']) {
      for (const coding of ['identity', 'gzip']) {
        const first = await load(path, coding);
        const tag = first.response.headers.get('etag')!;
        for (const known of [tag, `W/${tag}`, `"other", ${tag}`]) {
          const again = await load(path, coding, { 'if-none-match': known });
          expect([again.response.status, again.bytes.length]).toEqual([304, 0]);
        }
        const other = await load(path, coding, { 'if-none-match': '"other"' });
        expect(other.response.status).toBe(200);
      }
    }
  });

  test('answer HEAD without a body', async () => {
    const [path] = await filesOf('/dashboard');
    const whole = await load(path, 'gzip');
    const head = await server.get(path, {
      method: 'HEAD',
      headers: { 'accept-encoding': 'gzip' },
      decompress: false,
    } as RequestInit);
    expect(head.status).toBe(200);
    expect((await head.bytes()).length).toBe(0);
    for (const name of ['etag', 'content-type', 'content-encoding', 'cache-control']) {
      expect(head.headers.get(name)).toBe(whole.response.headers.get(name));
    }
  });

  test('are asked for at once by many, and compressed once', async () => {
    const script = (await filesOf('/docs')).find((path) => /swagger-ui-\w+\.js$/.test(path))!;
    const all = await Promise.all(Array.from({ length: 8 }, () => load(script, 'br')));
    expect(new Set(all.map(({ bytes }) => Bun.hash(bytes))).size).toBe(1);
  });

  test('of another version, or that are none, are not there', async () => {
    const [path] = await filesOf('/dashboard');
    const wrong = [
      path.replace(/-[0-9a-f]{12}/, '-000000000000'),
      path.replace(/-[0-9a-f]{12}/, ''),
      '/assets/x.js',
      '/assets/..%2Fapp.css',
      '/assets/%00',
    ];
    for (const one of wrong) {
      const response = await server.get(one);
      expect([one, response.status]).toEqual([one, 404]);
      expect(await response.json()).toMatchObject({ error: { code: 'not_found' } });
    }
  });
});
