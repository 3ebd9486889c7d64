import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { AppContext } from '../../src/http/app.ts';
import { makeApp } from '../../src/http/app.ts';
import type { Diagnosis } from '../../src/http/operations.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { bytes, SystemFragment } from '../../views/system.tsx';
import { cloneDatabase, describeEditions, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { openSite, openTab, overflow, shows, useBrowser } from '../fixtures/browser.ts';
import { fillWarehouse, SECRET_KEY, startServer, until } from '../fixtures/http-server.ts';

const PATH = '/dashboard/system';

useBrowser();

/** Text of a page without its tags. */
const textOf = (html: string) =>
  html
    .replace(/<[^>]+>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();

describe('bytes', () => {
  const cases: [value: number, text: string][] = [
    [0, '0 bytes'],
    [1, '1 bytes'],
    [1023, '1,023 bytes'],
    [1024, '1.0 kB'],
    [1536, '1.5 kB'],
    [102_400, '100 kB'],
    [1_048_576, '1.0 MB'],
    [216 * 1_048_576, '216 MB'],
    [1_073_741_824, '1.0 GB'],
    [5 * 1024 ** 4, '5.0 TB'],
    [5000 * 1024 ** 4, '5,000 TB'],
  ];
  for (const [value, text] of cases) {
    test(`${value} are ${text}`, () => {
      expect(bytes(value)).toBe(text);
    });
  }
});

describeEditions('the system page', (database) => {
  test('of a server says what doctor says, worst first, and no secret', async () => {
    await fillWarehouse(database().sql);
    await using server = await startServer(database().url, { ALLOWED_HOSTS: 'desk' });
    const html = await (await server.get(PATH)).text();
    const text = textOf(html);
    expect(text).toContain('1 warning. What mends each is said with it.');
    const [examination] = html.split('id="process"');
    const states = [...examination.matchAll(/class="badge \w+">(\w+)</g)].map(([, word]) => word);
    expect(states).toEqual(['Warning', ...Array(7).fill('Ok')]);
    expect(text).toMatch(/sessions behind: run marketd backfill --all /);
    expect(html).toContain('<code>marketd backfill --all</code>');
    const isPlain = database().edition === 'plain';
    expect(text).toContain(isPlain ? 'PostgreSQL PostgreSQL 1' : 'TimescaleDB (Apache) PostgreSQL');
    expect(text).toMatch(isPlain ? /Database size/ : /TimescaleDB 2\.\d+/);
    expect(text).toContain(`Bun ${Bun.version}`);
    expect(text).toContain(`Process ${process.pid} since`);
    expect(text).toMatch(/bars_1d 446 [\d.]+ kB/);
    // Settings: what is set comes first, and what it would be otherwise stands beside it.
    const settings = text.slice(text.indexOf('Settings Set by'));
    expect(settings).toContain('POLYGON_API_KEY ******** Set (not set)');
    expect(settings).toContain('ALLOWED_HOSTS desk Set (not set)');
    expect(settings).toContain('SCHEDULER off Set on');
    expect(settings).toContain('BACKFILL_YEARS 5 default');
    expect(settings.lastIndexOf(' Set ')).toBeLessThan(settings.indexOf(' default '));
    expect(html).not.toContain(SECRET_KEY);
  });
});

describe('the part that is polled', () => {
  let clone: TestDatabase;
  let database: Database;
  beforeAll(async () => {
    clone = await cloneDatabase('plain');
    database = openDatabase(clone.url, 3);
  });
  afterAll(async () => {
    await database?.close();
    await clone?.drop();
  });
  const makeContext = (changes: Partial<AppContext['operations']> = {}) => {
    const context = makeAppContext(database, 'plain');
    context.operations = { ...context.operations, ...changes };
    return context;
  };
  const sound: Diagnosis = { check: 'clock', state: 'ok', message: 'agrees' };

  test('is empty, and less than 300 bytes with its headers, while nothing changed', async () => {
    const site = await openSite(makeContext({ diagnose: async () => [sound] }));
    try {
      const ask = async (path: string, ...more: string[]) =>
        new Response(Bun.spawn(['curl', '-si', ...more, `${site.url}${path}`]).stdout).text();
      // Memory and connections settle.
      const unchanged = await until(async () => {
        const first = await ask(`${PATH}/status`);
        expect(first).toContain('content-security-policy'.replace(/\b\w/g, (c) => c.toUpperCase()));
        const tag = /^etag: (.*)\r$/im.exec(first)![1];
        const again = await ask(`${PATH}/status`, '-H', `if-none-match: ${tag}`);
        return again.includes(' 304 ') ? again : undefined;
      });
      expect(unchanged.length).toBeLessThan(300);
      expect(unchanged).toMatch(/etag: W\/"/i);
      expect(unchanged).not.toMatch(/policy|nosniff|frame/i);
    } finally {
      await site.stop();
    }
  });

  test('examines at most every half minute, and at once when the page is loaded', async () => {
    let examinations = 0;
    const diagnose = async () => {
      examinations++;
      return [sound];
    };
    const app = makeApp(makeContext({ diagnose }));
    const ask = async (path: string) => {
      const response = await app.handle(new Request(`http://localhost${path}`));
      expect(response.status).toBe(200);
      return response.text();
    };
    await Promise.all(Array.from({ length: 5 }, () => ask(`${PATH}/status`)));
    expect(examinations).toBe(1);
    await ask(PATH);
    expect(examinations).toBe(2);
    await ask(`${PATH}/status`);
    expect(examinations).toBe(2);
  });

  test('asks again after an examination that failed', async () => {
    let examinations = 0;
    const diagnose = async () => {
      if (++examinations === 1) throw new Error('it stumbled');
      return [sound];
    };
    const app = makeApp(makeContext({ diagnose }));
    const statuses: number[] = [];
    for (let i = 0; i < 2; i++) {
      statuses.push((await app.handle(new Request(`http://localhost${PATH}/status`))).status);
    }
    expect(statuses).toEqual([500, 200]);
  });

  test('is this element again, and says that all is well', async () => {
    const app = makeApp(makeContext({ diagnose: async () => [sound] }));
    const html = await (await app.handle(new Request(`http://localhost${PATH}/status`))).text();
    expect(html).toStartWith('<div id="system"');
    expect(html).toContain(`hx-get="${PATH}/status"`);
    expect(textOf(html)).toContain('Sound Everything that was looked at is as it should be.');
  });

  test('says which is worst, and escapes what others wrote', async () => {
    const hostile = '<img src=x onerror=alert(1)>`<script>x</script>`';
    const diagnoses: Diagnosis[] = [
      sound,
      { check: 'data', state: 'warning', message: hostile },
      { check: hostile, state: 'problem', message: 'none: set `A` or `B`' },
    ];
    const context = makeContext({
      diagnose: async () => diagnoses,
      settings: { [hostile]: hostile },
      defaultSettings: { [hostile]: '' },
    });
    const html = await (
      await makeApp(context).handle(new Request(`http://localhost${PATH}`))
    ).text();
    expect(html).not.toMatch(/<img|<script>x/);
    expect(html).toContain('<code>A</code>');
    expect(textOf(html)).toContain('Problem 1 problem and 1 warning.');
    expect(html.indexOf('badge bad')).toBeLessThan(html.indexOf('badge attention'));
    expect(html.indexOf('badge attention')).toBeLessThan(html.indexOf('badge good'));
  });

  test('says how much a compressed table was, and is', async () => {
    const instant = new Date('2026-01-05T00:00:00Z');
    const server = {
      ...{ postgres: '17.6', timescale: '2.29.2', schema: 6, migratedAt: instant },
      ...{ startedAt: instant, connections: 3, connectionsMax: 100, leader: null },
    };
    const compressed = { chunks: 3, beforeBytes: 216 * 1024 ** 2, afterBytes: 66 * 1024 ** 2 };
    const table = { name: 'bars_1d', rows: 1_300_000, isCounted: true, chunks: 6, compressed };
    const view = {
      ...{ diagnoses: [], server, edition: 'TimescaleDB (Community)', databaseBytes: 1e8 },
      tables: [{ ...table, dataBytes: compressed.afterBytes, indexBytes: 1024 ** 2 }],
      process: {
        ...{ version: '0', bun: '1', startedAt: instant, pid: 1, memoryBytes: 1, delayMs: 0 },
      },
      scheduler: { status: 'standby', nextRun: null },
      caches: [],
    };
    const html = await SystemFragment({ view, pollSeconds: 10 });
    expect(textOf(html)).toContain(
      'bars_1d 1,300,000 66.0 MB 1.0 MB 67.0 MB 6 3 chunks, 216 MB to 66.0 MB, 3.3 to 1',
    );
  });

  test('follows what changes while the page is open, also on a narrow screen', async () => {
    const diagnoses: Diagnosis[] = [
      { check: 'provider', state: 'problem', message: 'none: set POLYGON_API_KEY' },
    ];
    const context = makeContext({ diagnose: async () => diagnoses });
    const site = await openSite(context);
    const { page, problems, close } = await openTab({ viewport: { width: 360, height: 700 } });
    try {
      await page.goto(`${site.url}${PATH}`);
      await shows(page, 'h1', 'System');
      await shows(page, '.badge', 'Stopped');
      expect(await overflow(page)).toBe(0);
      context.scheduler = () => ({ status: 'running', nextRun: new Date('2027-01-05T02:00:00Z') });
      await shows(page, '.badge', 'Running');
      await shows(page, '.tile', '2027-01-05 02:00 UTC');
      expect(problems).toEqual([]);
    } finally {
      await close();
      await site.stop();
    }
  });
});
