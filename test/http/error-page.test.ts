import { describe, expect, test } from 'bun:test';
import { openDatabase } from '../../src/store/database.ts';
import { cloneDatabase, type Edition, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { findFaintTexts, openSite, openTab, shows, useBrowser } from '../fixtures/browser.ts';
import { Gate } from '../fixtures/http-gate.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';
const EDITION: Edition = 'plain';

useBrowser();

async function withServer(
  body: (server: TestServer, database: TestDatabase) => Promise<void>,
): Promise<void> {
  const database = await cloneDatabase(EDITION);
  try {
    await using server = await startServer(database.url);
    await body(server, database);
  } finally {
    await database.drop();
  }
}

interface Scenario {
  name: string;
  path: string;
  init?: RequestInit;
  status: number;
  title: string;
  says: string;
}

const form = (body: string): RequestInit => ({
  method: 'POST',
  body,
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
});

const SCENARIOS: Scenario[] = [
  {
    ...{ name: 'nothing', path: '/nope', status: 404, title: 'Not found' },
    says: 'There is nothing at this address',
  },
  {
    ...{ name: 'no such file', path: '/assets/x.js', status: 404, title: 'Not found' },
    says: 'There is no such file',
  },
  {
    ...{ name: 'no such symbol of the API', path: '/api/v1/instruments/NOPE', status: 404 },
    ...{ title: 'Not found', says: 'There is no symbol' },
  },
  {
    ...{ name: 'a bad parameter', path: '/trades?symbol=AAPL&limit=x', status: 422 },
    ...{ title: 'Not understood', says: 'Limit is' },
  },
  {
    ...{ name: 'another method', path: '/dashboard/system', init: { method: 'PUT' }, status: 405 },
    ...{ title: 'Not possible here', says: 'GET, HEAD is' },
  },
  {
    ...{ name: 'a form of another site', path: '/dashboard/findings/1', status: 403 },
    init: { ...form('decision=accept'), headers: { 'sec-fetch-site': 'cross-site' } },
    ...{ title: 'Not allowed', says: 'A page of another site sent this' },
  },
  {
    ...{ name: 'no form', path: '/dashboard/findings/1', status: 415 },
    init: { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } },
    ...{ title: 'Not understood', says: 'Send the form of the page.' },
  },
  {
    ...{ name: 'a large form', path: '/dashboard/findings/1', status: 413 },
    init: form(`note=${'x'.repeat(20_000)}`),
    ...{ title: 'Too large', says: 'The form must be at most 16384 bytes.' },
  },
];

describe('an error', () => {
  test('is a page for a browser, and JSON for everybody else', async () => {
    await withServer(async (server) => {
      for (const { name, path, init, status, title, says } of SCENARIOS) {
        const ask = (accept?: string, more: Record<string, string> = {}) => {
          const headers = { ...init?.headers, ...(accept && { accept }), ...more };
          return server.get(path, { ...init, headers });
        };
        const page = await ask(BROWSER, { 'x-request-id': 'id-1' });
        expect([name, page.status]).toEqual([name, status]);
        expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
        expect(page.headers.get('x-request-id')).toBe('id-1');
        expect(page.headers.get('content-security-policy')).toContain("default-src 'self'");
        expect(page.headers.get('vary')).toContain('accept');
        expect(page.headers.get('allow')).toBe(status === 405 ? 'GET, HEAD' : null);
        const html = await page.text();
        expect(html).toContain(`<h1>${title}</h1>`);
        expect(html).toContain(says);
        expect(html).toContain('id-1');
        expect(html).not.toContain('http-equiv="refresh"');

        const programs: [accept: string | undefined, more?: Record<string, string>][] = [
          [undefined],
          ['*/*'],
          ['application/json'],
          ['application/json, text/html;q=0.9'],
          ['application/json, text/html'],
          ['text/html;q=0'],
          ['text/event-stream'],
          [BROWSER, { 'hx-request': 'true' }],
        ];
        for (const [accept, more] of programs) {
          const answer = await ask(accept, more);
          expect([name, accept, answer.status]).toEqual([name, accept, status]);
          expect(answer.headers.get('content-type')).toStartWith('application/json');
          expect(Object.keys((await answer.json()) as object)).toEqual(['error', 'request_id']);
        }
      }
      expect(server.lines.filter((line) => line.includes('ERROR'))).toEqual([]);
    });
  });

  test('repeats what was sent as text', async () => {
    await withServer(async (server) => {
      const hostile = '<img src=x onerror=alert(1)>';
      const path = `/trades?symbol=${encodeURIComponent(hostile)}`;
      const html = await (await server.get(path, { headers: { accept: BROWSER } })).text();
      expect(html).toContain('&lt;img src=x');
      expect(html).not.toContain('<img');
    });
  });

  test('of our own shows nothing of the inside, and is in the log', async () => {
    await withServer(async (server, database) => {
      await database.sql`drop table audit_log cascade`;
      server.lines.length = 0;
      const headers = { accept: BROWSER, 'x-request-id': 'of-ours' };
      const response = await server.get('/api/v1/audit', { headers });
      expect(response.status).toBe(500);
      const html = await response.text();
      expect(html).toContain('<h1>An error of marketd itself</h1>');
      expect(html).toContain('of-ours');
      expect(html).not.toMatch(/relation|audit_log|\.ts\b|select /);
      expect(server.lines).toHaveLength(1);
      expect(server.lines[0]).toContain('"request_id":"of-ours"');
    });
  });
});

describe('in a browser', () => {
  test('an error looks like the other pages, in both themes and on a narrow screen', async () => {
    await withServer(async (server) => {
      for (const colorScheme of ['dark', 'light'] as const) {
        const { page, problems, hosts, close } = await openTab({
          colorScheme,
          viewport: { width: 360, height: 700 },
        });
        await page.goto(`${server.url}/nope`);
        await shows(page, 'h1', 'Not found');
        expect(await page.locator('nav[aria-label="Pages"] a').count()).toBeGreaterThan(5);
        expect(await page.evaluate(findFaintTexts)).toEqual([]);
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect(width).toBeLessThanOrEqual(360);
        // The browser itself says that the address answered 404.
        expect(problems.filter((text) => !text.includes('404'))).toEqual([]);
        expect([...hosts]).toEqual([new URL(server.url).host]);
        await page.getByRole('link', { name: 'System' }).click();
        await shows(page, 'h1', 'System');
        await close();
      }
    });
  });

  test('a page that is asked for while the database is away comes by itself', async () => {
    const database = await cloneDatabase(EDITION);
    const gate = new Gate();
    const pools = openDatabase(gate.open(database.url), 2);
    const context = makeAppContext(pools, EDITION);
    const site = await openSite(context);
    const { page, close } = await openTab();
    try {
      gate.close();
      const away = await page.goto(`${site.url}/dashboard/system`);
      expect(away!.status()).toBe(503);
      expect(away!.headers()['retry-after']).toBe('5');
      await shows(page, 'h1', 'The database is away');
      // A form is not sent again by itself.
      const sent = await fetch(`${site.url}/dashboard/findings/1`, {
        ...form('decision=accept'),
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: BROWSER },
      });
      expect(sent.status).toBe(503);
      const html = await sent.text();
      expect(html).toContain('nothing was changed');
      expect(html).not.toContain('http-equiv="refresh"');
      // Nor is an answer of the API a page for a program.
      const program = await fetch(`${site.url}/api/v1/audit`);
      expect([program.status, program.headers.get('retry-after')]).toEqual([503, '2']);
      const opened = await fetch(`${site.url}/api/v1/audit`, { headers: { accept: BROWSER } });
      expect(opened.status).toBe(503);
      expect(await opened.text()).toContain('http-equiv="refresh" content="5"');
      gate.open(database.url);
      await shows(page, 'h1', 'System');
    } finally {
      await close();
      await site.stop();
      await pools.close();
      gate.close();
      await database.drop();
    }
  });
});
