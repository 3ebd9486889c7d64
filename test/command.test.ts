import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseRange } from '../src/command/backfill.ts';
import { COMMANDS } from '../src/command.ts';
import { parseConfig } from '../src/config.ts';
import { InputError } from '../src/errors.ts';
import { cloneDatabase, describeEditions, emptyDatabase } from './database.ts';
import { API_KEY, barRequests, marketBars, misbehaveFor } from './fixtures/backfill-world.ts';
import { type Environment, type Finished, runCli, SOURCES } from './fixtures/cli-process.ts';
import { misbehave, startVendorServer, type VendorServer } from './vendor-server.ts';

const NOWHERE = 'postgres://marketd:hidden-password@127.0.0.1:1/marketd';
const RANGE = ['--from', '2024-01-02', '--to', '2024-01-31'];
const SESSIONS = 21;

let folder = '';
let vendor: VendorServer;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-command-'));
  const bars = marketBars(['AAA', 'BBB', 'CCC'], '2024-01-02', '2024-01-31');
  vendor = startVendorServer({ bars, key: API_KEY });
});
afterAll(async () => {
  await vendor.stop();
  rmSync(folder, { recursive: true, force: true });
});

const settings = (url: string, change: Environment = {}): Environment => ({
  DATABASE_URL: url,
  POLYGON_API_KEY: API_KEY,
  POLYGON_BASE_URL: vendor.url,
  POLYGON_REQUESTS_PER_MINUTE: '6000',
  ...change,
});

function expectNoSecret({ out, err }: Finished): void {
  expect(out + err).not.toContain(API_KEY);
  expect(out + err).not.toContain('hidden-password');
}

describe('marketd', () => {
  test('explains itself, and every command', async () => {
    const overview = await runCli(['--help']);
    expect(overview).toMatchObject({ code: 0, err: '' });
    const pages = await Promise.all(COMMANDS.map(({ name }) => runCli([name, '--help'])));
    for (const [i, { name, summary }] of COMMANDS.entries()) {
      expect(overview.out).toContain(`${name} `);
      expect(overview.out).toContain(summary);
      expect(pages[i]).toMatchObject({ code: 0, err: '' });
      expect(pages[i].out).toStartWith(`usage: marketd ${name}`);
    }
    expect(COMMANDS.map(({ name }) => name)).toContain('serve');
  });

  test('says its version, and needs a command', async () => {
    const version = await runCli(['--version']);
    expect(version.code).toBe(0);
    expect(version.out).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
    const bare = await runCli([]);
    expect(bare.code).toBe(2);
    expect(bare.out).toContain('usage: marketd COMMAND');
  });

  const misuses: [args: string[], says: string][] = [
    [['bakcfill'], 'there is no command "bakcfill"; there are: serve, migrate'],
    [['backfill', 'AAA', '--form', '2024-01-02'], "Unknown option '--form'"],
    [['serve', '--port', '1'], "Unknown option '--port'"],
    [['migrate', 'now'], "Unexpected argument 'now'"],
    [['doctor', '--verbose'], "Unknown option '--verbose'"],
    [['backfill'], 'name symbols, or say --all'],
    [['backfill', 'AAA', '--all'], 'name symbols or say --all'],
    [['backfill', 'A A'], '"A A" is not a symbol'],
    [['backfill', 'AAA', '--days', '3', '--years', '2'], 'one of --from, --days and --years'],
    [['backfill', 'AAA', '--from', '2024-01-02', '--days', '3'], 'one of --from, --days'],
    [['backfill', 'AAA', '--to', '2024-01-02'], '--to needs --from'],
    [['backfill', 'AAA', '--from', '2024-02-02', '--to', '2024-02-01'], 'lies before --from'],
    [['backfill', 'AAA', '--from', '2190-01-02'], '--from (2190-01-02) lies in the future'],
    [['backfill', 'AAA', '--from', '2024-02-30'], '--from must be a date that exists'],
    [['backfill', 'AAA', '--from', '2024-01-02', '--to', 'friday'], '--to must be a date'],
    [['backfill', 'AAA', '--days', '0'], '--days must be a whole number from 1'],
    [['backfill', 'AAA', '--days', '1.5'], '--days must be a whole number'],
    [['backfill', 'AAA', '--years', 'all'], '--years must be a whole number from 1 to 50'],
    [['symbols'], 'symbols add, remove, list, import, rename, map, lineage, show'],
    [['symbols', 'delete', 'AAA'], 'symbols add, remove, list, import, rename, map, lineage, show'],
    [['symbols', 'add'], 'name the symbols to add'],
    [['symbols', 'add', 'AAPL', '<b>'], '"<b>" is not a symbol'],
    [['import'], 'name the files to import'],
    [['import', 'x.csv', '--symbol', '..'], '".." is not a symbol'],
  ];
  test('ends with 2 and says what is wrong with how it was called', async () => {
    const results = await Promise.all(
      misuses.map(([args]) => runCli(args, { DATABASE_URL: NOWHERE, POLYGON_API_KEY: API_KEY })),
    );
    for (const [i, [args, says]] of misuses.entries()) {
      const { code, out, err } = results[i];
      expect({ args, code, out }).toEqual({ args, code: 2, out: '' });
      expect(err).toStartWith(`marketd ${args[0]}: `);
      expect(err).toContain(says);
      expect(err).toContain(`see \`marketd ${args[0]} --help\``);
      expectNoSecret(results[i]);
    }
  }, 60_000);

  test('ends with 2 for a setting that is wrong, and names it', async () => {
    const { code, err } = await runCli(['doctor'], { API_PORT: '70000', LOG_LEVEL: 'loud' });
    expect(code).toBe(2);
    expect(err).toContain('configuration is wrong: API_PORT');
    expect(err).toContain('LOG_LEVEL');
    const twice = await runCli(['doctor'], {
      POLYGON_API_KEY: API_KEY,
      POLYGON_API_KEY_FILE: '/x',
    });
    expect(twice.code).toBe(2);
    expect(twice.err).toContain('set POLYGON_API_KEY or POLYGON_API_KEY_FILE, not both');
    expectNoSecret(twice);
  });

  test('ends with 1 when the database is away, and says what to look at', async () => {
    const environment = settings(NOWHERE);
    for (const args of [['migrate'], ['symbols', 'list'], ['backfill', 'AAA'], ['serve']]) {
      const result = await runCli(args, environment);
      expect({ args, code: result.code, out: result.out }).toEqual({ args, code: 1, out: '' });
      expect(result.err).toContain('cannot reach the database (ECONNREFUSED)');
      expect(result.err).toContain('is DATABASE_URL right?');
      expectNoSecret(result);
    }
  });
});

describe('the range of a backfill', () => {
  const config = parseConfig({ BACKFILL_YEARS: '3' });
  const nowMs = Date.parse('2024-03-01T03:00:00Z'); // still 29 February in New York
  test('is that of the settings, the days, the years or the dates', () => {
    const range = (options: Parameters<typeof parseRange>[0]) => parseRange(options, config, nowMs);
    expect(range({})).toEqual({ firstSession: '2021-02-28' });
    expect(range({ years: '4' })).toEqual({ firstSession: '2020-02-29' });
    expect(range({ days: '1' })).toEqual({ firstSession: '2024-02-28' });
    expect(range({ from: '2024-02-29' })).toMatchObject({ firstSession: '2024-02-29' });
    expect(range({ from: '2024-01-02', to: '2024-01-02' })).toEqual({
      firstSession: '2024-01-02',
      lastSession: '2024-01-02',
    });
    expect(() => range({ from: '2024-03-01' })).toThrow(InputError); // tomorrow there
  });
});

describeEditions('commands', (database) => {
  test('migrate brings an empty database up to date, and is idle the second time', async () => {
    const empty = await emptyDatabase(database().edition);
    try {
      const before = await runCli(['symbols', 'list'], { DATABASE_URL: empty.url });
      expect(before.code).toBe(1);
      expect(before.err).toContain('the database is empty: run `marketd migrate` first');
      const first = await runCli(['migrate'], { DATABASE_URL: empty.url });
      expect(first.code).toBe(0);
      expect(first.out).toContain('applied 0001_schema.sql\n');
      expect(first.out).toMatch(new RegExp(`schema version \\d+, edition ${empty.edition}\n$`));
      const second = await runCli(['migrate'], { DATABASE_URL: empty.url });
      expect(second).toMatchObject({ code: 0, err: '' });
      expect(second.out).not.toContain('applied');
    } finally {
      await empty.drop();
    }
  });

  test('a schema that is newer than the program is refused by every command', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      await clone.sql`
        insert into schema_migrations (version, name, hash) values (9999, '9999_future.sql', 'x')`;
      for (const args of [['migrate'], ['symbols', 'list'], ['backfill', 'AAA'], ['serve']]) {
        const { code, err } = await runCli(args, settings(clone.url, { API_PORT: '0' }));
        expect({ args, code }).toEqual({ args, code: 1 });
        expect(err).toContain("schema version 9999 (9999_future.sql), newer than this program's");
        expect(err).toContain('run the newer marketd');
      }
    } finally {
      await clone.drop();
    }
  });

  test('symbols are added, listed, imported from a file and removed', async () => {
    const clone = await cloneDatabase(database().edition);
    const symbols = (...args: string[]) => runCli(['symbols', ...args], settings(clone.url));
    try {
      expect((await symbols('list')).out).toContain('no symbols yet: marketd symbols add AAPL');
      expect(await symbols('add', 'AAPL', 'BRK.B')).toMatchObject({ code: 0, out: '2 added\n' });
      expect((await symbols('add', 'AAPL', 'ABRpD')).out).toBe('1 added, 1 tracked already\n');
      const list = join(folder, 'list.txt');
      writeFileSync(list, '# mine\nMSFT\n\nAAPL\n');
      expect((await symbols('import', list)).out).toBe('1 added, 1 tracked already\n');
      const table = join(folder, 'table.csv');
      writeFileSync(table, 'name,symbol\nFirst,TSLA\nSecond,NVDA\n');
      expect((await symbols('import', table)).out).toBe('2 added\n');
      const wrong = join(folder, 'wrong.txt');
      writeFileSync(wrong, 'GOOD\nNOT GOOD\n');
      const refused = await symbols('import', wrong);
      expect(refused.code).toBe(2);
      expect(refused.err).toContain(`${wrong}, line 2: "NOT GOOD" is not a symbol`);
      const absent = await symbols('import', join(folder, 'absent.txt'));
      expect(absent).toMatchObject({ code: 2 });
      expect(absent.err).toContain('there is no file');
      const removed = await symbols('remove', 'TSLA', 'ZZZ');
      expect(removed).toMatchObject({ code: 2, out: '1 removed; their data stays\n' });
      expect(removed.err).toContain('not tracked: ZZZ');
      const { out } = await symbols('list', '--json');
      const details: { symbol: string; tracked: boolean }[] = JSON.parse(out);
      const tracked = details.filter((one) => one.tracked).map((one) => one.symbol);
      expect(tracked.sort()).toEqual(['AAPL', 'ABRpD', 'BRK.B', 'MSFT', 'NVDA']);
      expect((await symbols('list')).out).toMatch(/^symbol +name +records/);
      expect((await symbols('import', '--listed')).out).toBe('3 added\n');
    } finally {
      await clone.drop();
    }
  });

  test('a dry run says what it would cost, asks for no bars and writes nothing', async () => {
    const clone = await cloneDatabase(database().edition);
    const sent = vendor.requests.length;
    try {
      const environment = settings(clone.url, { POLYGON_REQUESTS_PER_MINUTE: '5' });
      const args = ['backfill', 'AAA', 'BBB', 'CCC', ...RANGE, '--dry-run'];
      const plain = await runCli(args, environment);
      expect(plain.code).toBe(0);
      expect(plain.out).toBe(
        '9 requests, about 2 minutes on your plan\n' +
          `for ${3 * SESSIONS} missing bars of 3 symbols: ` +
          '3 by symbol, 1 splits, 2 dividends, 3 names\n',
      );
      const json = await runCli([...args, '--json'], environment);
      expect(JSON.parse(json.out)).toMatchObject({ symbols: 3, minutes: 2 });
      expect(vendor.requests).toHaveLength(sent);
      const [rows] = await clone.sql`
        select (select count(*) from instruments) + (select count(*) from job_runs)
               + (select count(*) from coverage) as count`;
      expect(rows).toEqual({ count: 0 });
    } finally {
      await clone.drop();
    }
  });

  test('backfill prints plain lines where no bar can be drawn, and its result', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const first = await runCli(['backfill', 'AAA', ...RANGE], settings(clone.url));
      expect(first.code).toBe(0);
      expect(first.out).toMatch(/^21 bars new, 0 changed, 0 unchanged, 0 rows rejected, \d req/);
      expect(first.err).toMatch(/^backfill: 1 of 4 \(symbols\), 1 requests, 0 bars new\n/);
      expect(first.err).toMatch(/backfill: 4 of 4 \(AAA\), 4 requests/);
      expect(first.err).not.toContain('\x1b');
      expectNoSecret(first);
      const again = await runCli(['backfill', '--all', ...RANGE], settings(clone.url));
      expect(again).toMatchObject({
        code: 0,
        out: 'nothing is missing: no request was sent\n',
        err: '',
      });
      const json = await runCli(['backfill', 'BBB', ...RANGE, '--json'], settings(clone.url));
      expect(json.code).toBe(0);
      expect(JSON.parse(json.out)).toMatchObject({ inserted: SESSIONS, failures: [] });
      const dry = await runCli(['backfill', '--all', ...RANGE, '--dry-run'], settings(clone.url));
      expect(dry.out).toBe('nothing to ask for: 0 requests\n');
    } finally {
      await clone.drop();
    }
  });

  test('backfill draws a bar on a terminal', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const command = [...SOURCES, 'backfill', 'AAA', ...RANGE].join(' ');
      const { code, out } = await runCli(
        ['-qec', command, '/dev/null'],
        settings(clone.url, { TERM: 'xterm' }),
        { command: ['script'] },
      );
      expect(code).toBe(0);
      expect(out).toContain('\r\x1b[2K[');
      expect(out).toContain('] 100% ');
      expect(out).toContain('21 bars new');
      expect(out).not.toContain('backfill: ');
    } finally {
      await clone.drop();
    }
  });

  test('backfill ends with 3 when the vendor refuses the key, or fails a symbol', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const wrong = { POLYGON_API_KEY: 'not-the-key-7788' };
      const refused = await runCli(['backfill', 'AAA', ...RANGE], settings(clone.url, wrong));
      expect(refused).toMatchObject({ code: 3, out: '' });
      expect(refused.err).toContain('answered 401, Unknown API Key');
      expect(refused.err).not.toContain('not-the-key-7788');
      misbehaveFor(vendor, { '/ticker/GONE/range': misbehave.wrongTicker('OTHER') });
      const some = await runCli(['backfill', 'AAA', 'GONE', ...RANGE], settings(clone.url));
      expect(some.code).toBe(3);
      expect(some.out).toContain('21 bars new');
      expect(some.err).toContain('failed: GONE: asked for GONE, answered for OTHER');
      expectNoSecret(some);
      const none = await runCli(['backfill', 'AAA'], { DATABASE_URL: clone.url });
      expect(none.code).toBe(2);
      expect(none.err).toContain('no provider: set POLYGON_API_KEY');
    } finally {
      await clone.drop();
    }
  });

  test('the key goes to the vendor in a header, not in an address', async () => {
    const clone = await cloneDatabase(database().edition);
    try {
      const sent = vendor.requests.length;
      const key = join(folder, 'key');
      writeFileSync(key, `${API_KEY}\n`);
      const environment = { POLYGON_API_KEY: undefined, POLYGON_API_KEY_FILE: key };
      const result = await runCli(
        ['backfill', 'CCC', ...RANGE],
        settings(clone.url, { ...environment, LOG_LEVEL: 'DEBUG' }),
      );
      expect(result.code).toBe(0);
      expectNoSecret(result);
      const requests = vendor.requests.slice(sent);
      expect(requests).toHaveLength(4);
      expect(requests.every((line) => line.endsWith('(key right)'))).toBe(true);
      expect(requests.join()).not.toContain(API_KEY);
      expect(barRequests(vendor).join()).toContain('adjusted=false');
    } finally {
      await clone.drop();
    }
  });
});
