import { describe, expect, test } from 'bun:test';
import { parseConfig } from '../src/config.ts';
import { diagnose, type Finding } from '../src/doctor.ts';
import { openDatabase } from '../src/store/database.ts';
import { upsertSymbols } from '../src/store/symbols.ts';
import type { Warehouse } from '../src/warehouse.ts';
import { cloneDatabase, EDITIONS, type Edition, emptyDatabase } from './database.ts';
import { dailyBars, openWorld } from './fixtures/backfill-world.ts';
import { runCli } from './fixtures/cli-process.ts';

const KEY = 'doctor-key-0123456789';

async function examine(
  url: string,
  environment: Record<string, string> = { POLYGON_API_KEY: KEY },
  change: Partial<Warehouse> = {},
): Promise<Finding[]> {
  const database = openDatabase(url, 2);
  const close = () => database.close();
  try {
    return await diagnose(
      { database, isEmbedded: false, isDemo: false, dataDir: undefined, close, ...change },
      parseConfig(environment),
    );
  } finally {
    await close();
  }
}

const find = (findings: Finding[], check: string) => findings.find((one) => one.check === check);

async function withClone(edition: Edition, body: (url: string) => Promise<void>): Promise<void> {
  const clone = await cloneDatabase(edition);
  try {
    await body(clone.url);
  } finally {
    await clone.drop();
  }
}

for (const edition of EDITIONS) {
  describe(`doctor (${edition})`, () => {
    test('finds a new warehouse sound, and says what to do next', async () => {
      await withClone(edition, async (url) => {
        const findings = await examine(url);
        expect(findings.filter(({ state }) => state === 'problem')).toEqual([]);
        expect(find(findings, 'database')?.message).toMatch(
          /^PostgreSQL 1\d.* \(from DATABASE_URL/,
        );
        expect(find(findings, 'clock')?.state).toBe('ok');
        expect(find(findings, 'edition')?.message).toStartWith(edition);
        expect(find(findings, 'schema')?.state).toBe('ok');
        expect(find(findings, 'provider')?.message).toContain('5 requests a minute');
        expect(find(findings, 'calendar')?.message).toStartWith('XNYS until 20');
        expect(find(findings, 'symbols')).toMatchObject({ state: 'warning' });
        expect(find(findings, 'symbols')?.message).toContain('marketd symbols add');
        expect(find(findings, 'data')?.message).toContain('marketd backfill --all');
        expect(JSON.stringify(findings)).not.toContain(KEY);
      });
    });

    test('a missing schema is a problem, and the end of the examination', async () => {
      const empty = await emptyDatabase(edition);
      try {
        const findings = await examine(empty.url);
        expect(findings.at(-1)).toEqual({
          check: 'schema',
          state: 'problem',
          message: 'the database is empty: run `marketd migrate` first',
        });
      } finally {
        await empty.drop();
      }
    });

    test('no provider is a problem; made-up data is a warning', async () => {
      await withClone(edition, async (url) => {
        const none = find(await examine(url, {}), 'provider');
        expect(none).toMatchObject({ state: 'problem' });
        expect(none?.message).toContain('POLYGON_API_KEY');
        const demo = find(await examine(url, {}, { isDemo: true }), 'provider');
        expect(demo).toMatchObject({ state: 'warning' });
        expect(demo?.message).toContain('synthetic');
      });
    });

    test('data that is sessions behind is a warning that says how many', async () => {
      const bars = new Map([['AAA', dailyBars('2024-01-02', '2024-03-01')]]);
      const options = { now: '2024-03-01T23:00:00Z', firstSession: '2024-01-02', bars };
      await using world = await openWorld(edition, options);
      await world.backfill(['AAA']);
      const data = find(await examine(world.url), 'data');
      expect(data).toMatchObject({ state: 'warning' });
      expect(data?.message).toMatch(/^42 bars to 2024-03-01, \d+ sessions behind: run `marketd/);
      expect(find(await examine(world.url), 'symbols')).toMatchObject({
        state: 'ok',
        message: '1 tracked',
      });
    });

    test('data of the latest session is fine', async () => {
      const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
      const bars = new Map([['AAA', dailyBars('2024-01-02', yesterday)]]);
      const now = new Date().toISOString();
      await using world = await openWorld(edition, { now, firstSession: '2024-01-02', bars });
      await world.backfill(['AAA']);
      expect(find(await examine(world.url), 'data')).toMatchObject({ state: 'ok' });
    });

    test('ends with 0 when all is well and with 1 when something is a problem', async () => {
      await withClone(edition, async (url) => {
        const database = openDatabase(url, 2);
        await upsertSymbols(database.write, ['AAPL']);
        await database.close();
        const sound = await runCli(['doctor'], { DATABASE_URL: url, POLYGON_API_KEY: KEY });
        expect(sound).toMatchObject({ code: 0, err: '' });
        expect(sound.out).toMatch(/^ok {7}database {2}PostgreSQL/);
        expect(sound.out).toMatch(/^ok {7}symbols {3}1 tracked$/m);
        const ill = await runCli(['doctor', '--json'], { DATABASE_URL: url });
        expect(ill.code).toBe(1);
        const report = JSON.parse(ill.out);
        expect(report.ok).toBe(false);
        const problems = report.findings.filter((one: Finding) => one.state === 'problem');
        expect(problems.map((one: Finding) => one.check)).toEqual(['provider']);
      });
    });
  });
}

describe('marketd doctor', () => {
  test('says that the database cannot be reached, and ends with 1', async () => {
    const url = 'postgres://marketd:hidden-password@127.0.0.1:1/marketd';
    const { code, out, err } = await runCli(['doctor', '--json'], {
      DATABASE_URL: url,
      POLYGON_API_KEY: KEY,
    });
    expect(code).toBe(1);
    expect(JSON.parse(out)).toEqual({
      ok: false,
      findings: [
        { check: 'database', state: 'problem', message: expect.stringContaining('ECONNREFUSED') },
      ],
    });
    expect(out + err).not.toContain('hidden-password');
  });

  test('--config prints every setting with the secrets masked', async () => {
    const environment = {
      DATABASE_URL: 'postgres://marketd:hidden-password@127.0.0.1:1/marketd',
      POLYGON_API_KEY: KEY,
      SYMBOLS: 'AAPL, BRK.B',
    };
    const { code, out, err } = await runCli(['doctor', '--config'], environment);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('DATABASE_URL=postgres://marketd:********@127.0.0.1:1/marketd\n');
    expect(out).toContain('POLYGON_API_KEY=********\n');
    expect(out).toContain('SYMBOLS=AAPL,BRK.B\n');
    expect(out).toContain('API_PORT=8000\n');
    expect(out).toContain('MARKETD_DATA_DIR=(not set)\n'); // what may be set is listed as well
    expect(out).not.toContain('hidden-password');
    expect(out).not.toContain(KEY);
    const json = await runCli(['doctor', '--config', '--json'], environment);
    const settings = JSON.parse(json.out);
    expect(settings).toMatchObject({ POLYGON_API_KEY: '********', API_PORT: '8000' });
    expect(json.out).not.toContain('hidden-password');
    expect(json.out).not.toContain(KEY);
  });
});
