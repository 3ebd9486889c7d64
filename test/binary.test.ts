import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { upsertSymbols } from '../src/store/symbols.ts';
import { VERSION } from '../src/version.ts';
import { cloneDatabase, describeEditions, emptyDatabase } from './database.ts';
import { dailyBars } from './fixtures/backfill-world.ts';
import { BINARY, buildBinary, type Environment, runCli, startCli } from './fixtures/cli-process.ts';

/** The executable alone in a folder, as somebody has it who downloaded it. */
let folder = '';
let command: string[] = [];
beforeAll(() => {
  buildBinary();
  folder = mkdtempSync(join(tmpdir(), 'marketd-binary-'));
  command = [join(folder, 'marketd')];
  copyFileSync(BINARY, command[0]);
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (args: string[], environment?: Environment) =>
  runCli(args, environment, { command, cwd: folder });

const SERVING = /serving on (http:\S+)/;

async function startServing(environment: Environment) {
  const child = startCli(
    ['serve'],
    { API_PORT: '0', SCHEDULER: 'off', ...environment },
    {
      command,
      cwd: folder,
    },
  );
  const [, url] = await child.waitFor(SERVING);
  return { child, url };
}

async function fetchText(url: string): Promise<{ status: number; type: string; text: string }> {
  const response = await fetch(url);
  const type = response.headers.get('content-type') ?? '';
  return { status: response.status, type, text: await response.text() };
}

function writeBars(name: string): string {
  const path = join(folder, name);
  const rows = dailyBars('2024-01-02', '2024-01-31').map(
    ({ session, open, high, low, close, volume }) =>
      [session, open, high, low, close, volume].join(),
  );
  writeFileSync(path, `${['date,open,high,low,close,volume', ...rows].join('\n')}\n`);
  return path;
}

describe('the executable, alone in a folder', () => {
  test('says its version and explains itself', async () => {
    expect(readdirSync(folder)).toContain('marketd');
    const version = await run(['--version']);
    expect(version).toMatchObject({ code: 0, err: '' });
    expect(version.out).toStartWith(VERSION.split(/[ +]/)[0]);
    expect((await run(['--help'])).out).toContain('usage: marketd COMMAND');
  });

  test('does not take settings from the folder it is started in', async () => {
    const file = join(folder, '.env');
    writeFileSync(file, 'API_PORT=4321\nPOLYGON_API_KEY=from-the-folder\nNODE_ENV=test\n');
    try {
      const { code, out } = await run(['doctor', '--config']);
      expect(code).toBe(0);
      expect(out).toContain('API_PORT=8000\n');
      expect(out).toContain('POLYGON_API_KEY=(not set)\n');
      expect(out).not.toContain('4321');
    } finally {
      rmSync(file);
    }
  });
});

describeEditions('the executable', (database) => {
  test('brings an empty database up to date', async () => {
    const empty = await emptyDatabase(database().edition);
    try {
      const first = await run(['migrate'], { DATABASE_URL: empty.url });
      expect(first).toMatchObject({ code: 0, err: '' });
      expect(first.out).toContain('applied 0001_schema.sql');
      expect(first.out).toContain(`edition ${empty.edition}`);
      const [tables] = await empty.sql`
        select to_regclass('bars_1d') is not null as bars,
               (select count(*) > 0 from quality_rules) as rules`;
      expect(tables).toEqual({ bars: true, rules: true });
    } finally {
      await empty.drop();
    }
  });

  test('imports, serves what it imported, and ends well on SIGTERM', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const imported = await run(['import', writeBars('AAA.csv')], { DATABASE_URL: clone.url });
      expect(imported).toMatchObject({ code: 0 });
      const { child, url } = await startServing({ DATABASE_URL: clone.url });
      const health = await fetch(`${url}/health`);
      expect(health.status).toBe(200);
      expect(await health.json()).toMatchObject({ status: 'healthy', service: 'marketd' });
      const status = await (await fetch(`${url}/api/v1/status`)).json();
      expect(status).toMatchObject({ database: { total_records: 21, symbols_available: 1 } });
      const range = 'start=2024-01-01&end=2024-01-31';
      const answer = await (await fetch(`${url}/api/v1/historical/AAA?${range}`)).json();
      expect(answer).toMatchObject({ symbol: 'AAA', count: 21, timeframe: '1d' });
      expect(answer.data[0]).toMatchObject({ open: dailyBars('2024-01-02', '2024-01-02')[0].open });
      const unknown = await fetch(`${url}/api/v1/historical/ZZZ?${range}`);
      expect(unknown.status).toBe(404);
      child.kill('SIGTERM');
      const { code, err } = await child.finished;
      expect(code).toBe(0);
      expect(err).toContain('SIGTERM: finishing what is under way');
      await expect(fetch(`${url}/health`)).rejects.toThrow();
    } finally {
      await clone.drop();
    }
  });

  test('carries its documentation and its pages', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const { child, url } = await startServing({ DATABASE_URL: clone.url });
      const page = await fetchText(`${url}/docs`);
      expect(page.status).toBe(200);
      expect(page.type).toContain('text/html');
      const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link);
      const assets = links.filter((link) => /\.(js|css|png|svg)(\?|$)/.test(link));
      expect(assets.length).toBeGreaterThan(1);
      for (const asset of assets) {
        const address = new URL(asset, `${url}/docs`);
        expect(address.origin).toBe(url); // nothing is fetched from anybody else
        const found = await fetchText(address.href);
        expect({ asset, status: found.status }).toEqual({ asset, status: 200 });
        expect(found.text.length).toBeGreaterThan(50);
      }
      const document = await (await fetch(`${url}/docs/json`)).json();
      expect(document.openapi).toStartWith('3.');
      expect(Object.keys(document.paths)).toContain('/api/v1/historical/{symbol}');
      const dashboard = await fetchText(`${url}/dashboard`);
      expect(dashboard.status).toBe(200);
      expect(dashboard.type).toContain('text/html');
      child.kill('SIGTERM');
      expect((await child.finished).code).toBe(0);
    } finally {
      await clone.drop();
    }
  });

  test('refuses a port that is taken', async () => {
    const clone = await cloneDatabase(database().edition);
    const other = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('') });
    try {
      const { code, err } = await run(['serve'], {
        DATABASE_URL: clone.url,
        API_PORT: String(other.port),
        SCHEDULER: 'off',
      });
      expect(code).toBe(2);
      expect(err).toContain(`port ${other.port} on 127.0.0.1 is taken`);
    } finally {
      await other.stop(true);
      await clone.drop();
    }
  });

  test('refuses to be reached from outside unless that is meant', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const outside = { DATABASE_URL: clone.url, API_HOST: '0.0.0.0', API_PORT: '0' };
      const refused = await run(['serve'], { ...outside, SCHEDULER: 'off' });
      expect(refused.code).toBe(2);
      expect(refused.err).toContain('API_HOST 0.0.0.0 can be reached from other machines');
      expect(refused.err).toContain('AUTH=off');
      const { child, url } = await startServing({ ...outside, AUTH: 'off' });
      const { port } = new URL(url);
      expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
      child.kill('SIGINT');
      expect((await child.finished).code).toBe(0);
    } finally {
      await clone.drop();
    }
  });

  test('refuses a database without a schema, until told to make it', async () => {
    const empty = await emptyDatabase(database().edition);
    try {
      const settings = { DATABASE_URL: empty.url, API_PORT: '0', SCHEDULER: 'off' };
      const refused = await run(['serve'], settings);
      expect(refused.code).toBe(1);
      expect(refused.err).toContain('run `marketd migrate` first');
      const child = startCli(['serve', '--migrate'], settings, { command, cwd: folder });
      await child.waitFor(SERVING);
      const [row] = await empty.sql`select count(*) as symbols from instruments`;
      expect(row.symbols).toBeGreaterThan(0); // those a new warehouse tracks
      child.kill('SIGTERM');
      expect((await child.finished).code).toBe(0);
    } finally {
      await empty.drop();
    }
  });

  test('says that nobody fills the history when there is no key', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      await upsertSymbols(clone.sql, ['AAA']);
      const { child } = await startServing({ DATABASE_URL: clone.url, SCHEDULER: 'on' });
      expect((await child.waitFor(/WARNING.*no provider.*/))[0]).toContain('POLYGON_API_KEY');
      child.kill('SIGTERM');
      expect((await child.finished).code).toBe(0);
      const [tracked] = await clone.sql`select count(*) as count from instruments`;
      expect(tracked).toEqual({ count: 1 }); // the default symbols are for an empty one
    } finally {
      await clone.drop();
    }
  });
});
