import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { makeApp } from '../../src/http/app.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { cloneDatabase, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { fillWarehouse } from '../fixtures/http-server.ts';

/** What holds of every address, also of those that are still to come. */
describe('every route', () => {
  let clone: TestDatabase;
  let database: Database;
  let app: ReturnType<typeof makeApp>;
  const logged: string[] = [];

  beforeAll(async () => {
    clone = await cloneDatabase('plain');
    database = openDatabase(clone.url);
    await fillWarehouse(database.write);
    const log = (_level: string, message: string) => void logged.push(message);
    app = makeApp(makeAppContext(database, clone.edition, { log }));
  });
  afterAll(async () => {
    await database?.close();
    await clone?.drop();
  });

  const isRead = (method: string) => ['GET', 'HEAD', 'OPTIONS'].includes(method);
  const routes = (isWanted: (method: string) => boolean) =>
    app.routes.filter(({ method, path }) => isWanted(method) && !path.startsWith('/assets/'));
  const VALUES: Record<string, string> = { symbol: 'AAPL', id: '1', date: '2024-01-05', run: '1' };
  const fill = (path: string, value?: string) =>
    path.replace(/:(\w+)\??/g, (_, name) => encode(value ?? VALUES[name] ?? '1'));
  const send = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    app.handle(new Request(`http://127.0.0.1:8000${path}`, { method, headers, body }));

  async function selectContent(): Promise<unknown> {
    const [row] = await clone.sql`
      select (select count(*) from audit_log) as audit, (select count(*) from job_requests) as jobs,
             (select count(*) from calendar_overrides) as overrides,
             (select md5(string_agg(i::text, ',' order by instrument_id))
              from instruments i) as rest`;
    return row;
  }

  test('refuses what a page of another site sends, and changes nothing', async () => {
    const host = '127.0.0.1:8000';
    const types = [
      ['application/x-www-form-urlencoded', 'symbols=EVIL&symbol=AAPL&do=remove&decision=accept'],
      ['application/json', '{"symbols":["EVIL"]}'],
      ['text/plain', '{"symbols":["EVIL"]}'],
      ['multipart/form-data; boundary=x', '--x--'],
    ];
    const strangers: Record<string, string>[] = [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'null' },
      { origin: 'https://evil.example' },
      { origin: `http://${host}.evil.example` },
      { 'sec-fetch-site': 'same-origin', origin: 'http://127.0.0.1:9000' },
    ];
    const changing = routes((method) => !isRead(method));
    expect(changing.length).toBeGreaterThan(15);
    const before = await selectContent();
    for (const { method, path } of changing) {
      for (const [type, body] of types) {
        for (const stranger of strangers) {
          const headers = { host, 'content-type': type, ...stranger };
          const { status } = await send(method, fill(path), headers, body);
          expect([method, path, type, stranger, status]).toEqual([
            ...[method, path, type, stranger, 403],
          ]);
        }
      }
    }
    expect(await selectContent()).toEqual(before);
  });

  test('is refused under the name of another host, also to be read', async () => {
    for (const { method, path } of routes(() => true)) {
      const { status } = await send(method, fill(path), { host: 'evil.example:8000' });
      expect([method, path, status]).toEqual([method, path, 421]);
    }
  });

  const HOSTILE = [
    ...[
      '\0',
      'A\0B',
      "'; drop table bars_1d; --",
      '"><script>alert(1)</script>',
      '\\',
      '%',
      '../..',
    ],
    ...['\uD800', '-1', '9'.repeat(40), 'x'.repeat(3_000), '{}', '2024-02-30', '0000-01-01'],
  ];
  const DATES = ['start', 'end', 'from', 'to', 'date', 'asof', 'as_of', 'known_at', 'session'];
  const NAMES = [
    ...[
      'q',
      'sort',
      'dir',
      'page',
      'state',
      'kind',
      'symbol',
      'symbols',
      'timeframe',
      'job',
      'year',
    ],
    ...[
      'after',
      'before',
      'order',
      'open',
      'close',
      'reason',
      'range',
      'adjustment',
      'bars',
      'cursor',
    ],
    ...['limit', 'step', 'grade', 'run', 'request', 'finding', 'batch', 'back', 'note', 'decision'],
    ...['do', 'matching', 'retry', 'load', 'timeframes', 'checked', 'id', 'tracked', 'failures'],
  ];

  test('answers an address with anything in it, and never by an error of its own', async () => {
    for (const { path } of routes((method) => method === 'GET')) {
      if (path === '/api/v1/stream') continue; // an answer without an end
      const addresses = [
        ...(path.includes(':') ? HOSTILE.map((value) => fill(path, value)) : []),
        ...NAMES.map((name) => `${fill(path)}?${name}=${encode('A\0B')}`),
        ...DATES.map((name) => `${fill(path)}?${name}=0000-01-01`),
      ];
      for (const address of addresses) {
        const { status } = await send('GET', address, { accept: 'text/html' });
        expect([address, status >= 500]).toEqual([address, false]);
      }
    }
    expect(logged).toEqual([]);
  });

  test('takes a form with anything in it, and never with an error of its own', async () => {
    for (const { method, path } of routes((method) => !isRead(method))) {
      if (!path.startsWith('/dashboard')) continue;
      for (const value of HOSTILE) {
        for (const usual of ['', ...Object.keys(USUAL)]) {
          const fields = [...NAMES, ...DATES].map((name) => [name, value]);
          const sent = new Map([...fields, [usual, USUAL[usual] ?? '']] as [string, string][]);
          const body = [...sent].map(([name, text]) => `${name}=${encode(text)}`).join('&');
          const headers = { 'content-type': 'application/x-www-form-urlencoded' };
          const { status } = await send(method, fill(path), headers, body);
          expect([path, value, usual, status >= 500]).toEqual([path, value, usual, false]);
        }
      }
    }
    expect(logged).toEqual([]);
  });

  test('reads no more of a body than is allowed, and waits for no more of it', async () => {
    const start = (controller: ReadableStreamDefaultController) => {
      controller.enqueue(new Uint8Array(2_000_000)); // and then nothing, and no end either
    };
    const isSent = (method: string) => !isRead(method) && method !== 'DELETE';
    for (const { method, path } of routes(isSent)) {
      for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
        const headers = { 'content-type': type };
        const body = new ReadableStream({ start });
        const address = `http://127.0.0.1:8000${fill(path)}`;
        const { status } = await app.handle(new Request(address, { method, headers, body }));
        expect([path, type, [413, 415].includes(status)]).toEqual([path, type, true]);
      }
    }
  });

  test('has no link to another host, however it is asked for', async () => {
    const response = await send('GET', '//evil.example/x', { accept: 'text/html' });
    expect(response.status).toBe(404);
    const links = [...(await response.text()).matchAll(/(?:href|src|action)="([^"]*)"/g)];
    expect(links.length).toBeGreaterThan(5);
    for (const [, address] of links) expect(address).toMatch(/^(\/(?!\/)|#)/);
  });
});

/** As a browser writes it: half of a character becomes another one. */
const encode = (text: string) => encodeURIComponent(text.toWellFormed());

/** What lets a form come further. */
const USUAL: Record<string, string> = {
  ...{ do: 'remove', decision: 'annotate', kind: 'closed', date: '2027-05-05', timeframe: '1d' },
  ...{ finding: '1', run: '1', request: '1', symbol: 'AAPL', symbols: 'AAPL', batch: '1' },
};
