import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../src/errors.ts';
import { type ImportOptions, importFiles } from '../../src/ingest/import.ts';
import { FLAG } from '../../src/model/quality.ts';
import { cloneDatabase, EDITIONS } from '../database.ts';
import {
  barRequests,
  dailyBars,
  openWorld,
  selectContent,
  selectStates,
  selectVersions,
  type World,
} from '../fixtures/backfill-world.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const base = { now: '2024-03-01T23:00:00Z', firstSession: '2024-01-02' };
const HEADER = 'date,open,high,low,close,volume,symbol';
const DAILY = join(SHARED_DATA, 'daily');
const SP500 = join(DAILY, 'sp500_5yr_2013_2018/all_stocks_5yr.csv');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-import-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
/** Writes a file of its own and returns its path. */
function write(content: string | Uint8Array, name = `bars-${++files}.csv`): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** A CSV of plausible bars. */
function csvOf(symbol: string, first: string, last: string): string {
  const rows = dailyBars(first, last).map(({ session, open, high, low, close, volume }) =>
    [session, open, high, low, close, volume, symbol].join(),
  );
  return `${[HEADER, ...rows].join('\n')}\n`;
}

const load = (world: World, paths: string | string[], options: Partial<ImportOptions> = {}) =>
  importFiles(world.context, [paths].flat(), { provider: 'file', ...options });

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  return (error as Error).message;
}

const selectRejected = async ({ sql }: World) => {
  const rows = await sql`
    select symbol, session, reason, provider, dataset from rejected_rows order by rejected_id`;
  return rows.map((row) => ({ ...row }));
};

for (const edition of EDITIONS) {
  describe(`import (${edition})`, () => {
    test('stores every bar, does not track its symbol, and covers its sessions', async () => {
      await using world = await openWorld(edition, base);
      const path = write(csvOf('AAA', '2024-01-02', '2024-01-31'));
      const report = await load(world, path);
      expect(report).toEqual({
        files: 1,
        rows: 21,
        symbols: 1,
        added: ['AAA'],
        inserted: 21,
        changed: 0,
        unchanged: 0,
        rejected: 0,
      });
      const [instrument] = await world.sql`select is_tracked from instruments`;
      expect(instrument).toEqual({ is_tracked: false });
      expect(await selectStates(world.sql, 'AAA')).toEqual(['2024-01-02..2024-02-01 complete']);
      const [bar] = await world.sql`
        select open, high, low, close, volume, provider, is_final, score from bars_1d
        where session = '2024-01-31'`;
      const wanted = dailyBars('2024-01-31', '2024-01-31').map(
        ({ open, high, low, close, volume }) => ({ open, high, low, close, volume }),
      );
      expect(bar).toEqual({ ...wanted[0], provider: 'file', is_final: true, score: 1 });
    });

    test('importing twice changes nothing', async () => {
      await using world = await openWorld(edition, base);
      const path = write(csvOf('AAA', '2024-01-02', '2024-02-29'));
      const first = await load(world, path);
      const before = await selectVersions(world.sql);
      const again = await load(world, path);
      expect(again).toMatchObject({ inserted: 0, changed: 0, unchanged: first.inserted });
      expect(again.added).toEqual([]);
      expect(await selectVersions(world.sql)).toEqual(before);
    });

    test('imported sessions are not asked of the vendor', async () => {
      const bars = new Map([['AAA', dailyBars('2024-01-02', '2024-03-01')]]);
      await using world = await openWorld(edition, { ...base, bars });
      await load(world, write(csvOf('AAA', '2024-01-02', '2024-01-31')));
      const report = await world.backfill(['AAA']);
      expect(report).toMatchObject({ failures: [], changed: 0, unchanged: 0, inserted: 21 });
      const asked = barRequests(world.vendor());
      expect(asked).toHaveLength(1);
      expect(asked[0]).toContain('/range/1/day/2024-02-01/2024-03-01');
      const providers = await world.sql`
        select provider, count(*) from bars_1d group by 1 order by 1`;
      expect([...providers]).toEqual([
        { provider: 'file', count: 21 },
        { provider: 'polygon', count: 21 },
      ]);
    });

    test('other values replace the stored ones, which are kept as revisions', async () => {
      await using world = await openWorld(edition, base);
      await load(world, write(csvOf('AAA', '2024-01-02', '2024-01-31')));
      const row = '2024-01-09,100,120,90,110,5000000,AAA';
      const report = await load(world, write(`${HEADER}\n${row}\n`));
      expect(report).toMatchObject({ rows: 1, changed: 1, inserted: 0 });
      const revisions = await world.sql`select session, provider from bar_revisions`;
      expect([...revisions]).toEqual([{ session: '2024-01-09', provider: 'file' }]);
      const [bar] = await world.sql`select close from bars_1d where session = '2024-01-09'`;
      expect(bar).toEqual({ close: 110 });
    });

    test('rows that are no bars are rejected with their reason, the others stored', async () => {
      await using world = await openWorld(edition, base);
      const path = write(
        [
          HEADER,
          '2024-01-03,10,11,9,10.5,1000,AAA',
          '2024-01-02,10,11,9,10.5,1000,AAA', // before the row above: stored all the same
          '2024-01-03,10,11,9,10.5,1000,AAA',
          '2024-01-03,10,11,9,10.75,1000,AAA',
          '2024-01-04,NaN,11,9,10.5,1000,AAA',
          '2024-01-05,10,11,9,,1000,AAA',
          '2024-01-08,10,11,9,10.5,-5,AAA', // stored, never served as validated
          '2024-02-30,10,11,9,10.5,1000,AAA',
          '2024-01-09,10,11,9,10.5,1000,A A',
          '2024-01-10,10,11,9',
          '2030-01-02,10,11,9,10.5,1000,AAA',
          '',
        ].join('\n'),
      );
      const report = await load(world, path);
      expect(report).toMatchObject({ rows: 11, inserted: 3, rejected: 8, added: ['AAA'] });
      const stored = await world.sql`select session, score, flags from bars_1d order by 1`;
      expect([...stored]).toEqual([
        { session: '2024-01-02', score: 1, flags: 0 },
        { session: '2024-01-03', score: 1, flags: 0 },
        { session: '2024-01-08', score: 0, flags: FLAG.volumeNegative },
      ]);
      const rejected = await selectRejected(world);
      const reasons = rejected.map(
        ({ symbol, session, reason }) => `${symbol} ${session} ${reason}`,
      );
      expect(reasons.sort()).toEqual([
        expect.stringMatching(/^ 2024-01-10 line 11: 4 cells, where there are 7 columns/),
        expect.stringMatching(/^A A 2024-01-09 line 10: symbol is "A A"/),
        expect.stringMatching(/^AAA 2024-01-03 duplicate of another row/),
        expect.stringMatching(/^AAA 2024-01-03 second bar for the session/),
        expect.stringMatching(/^AAA 2024-01-04 line 6: open is "NaN", not a number/),
        expect.stringMatching(/^AAA 2024-01-05 line 7: close is empty/),
        expect.stringMatching(/^AAA 2030-01-02 the session lies in the future/),
        expect.stringMatching(/^AAA null line 9: date is "2024-02-30"/),
      ]);
      await load(world, path);
      expect(await selectRejected(world)).toHaveLength(8); // seen again, not kept twice
      const [seen] = await world.sql`select min(seen_count) as seen from rejected_rows`;
      expect(seen).toEqual({ seen: 2 });
    });

    test('a flat file of the vendor, also gzipped', async () => {
      const sample = join(SHARED_DATA, 'polygon/flatfile_sample/day_aggs_v1_one_row_20250929.csv');
      const now = '2025-10-01T23:00:00Z';
      await using world = await openWorld(edition, { ...base, now });
      const plain = await load(world, sample);
      expect(plain).toMatchObject({ rows: 1, inserted: 1, rejected: 0 });
      const text = await Bun.file(sample).text();
      const cells = text.trim().split('\n')[1].split(',');
      const names = text.trim().split('\n')[0].split(',');
      const cell = (name: string) => cells[names.indexOf(name)];
      const [bar] = await world.sql`
        select symbol, session, open, close, volume, trade_count
        from bars_1d join symbol_ranges using (instrument_id)`;
      expect(bar).toEqual({
        symbol: cell('ticker'),
        session: '2025-09-29',
        open: Number(cell('open')),
        close: Number(cell('close')),
        volume: Number(cell('volume')),
        trade_count: Number(cell('transactions')),
      });
      const zipped = await load(world, write(Bun.gzipSync(Buffer.from(text)), '2025-09-29.csv.gz'));
      expect(zipped).toMatchObject({ rows: 1, unchanged: 1, inserted: 0 });
    });

    test('a torn file among good ones changes nothing', async () => {
      await using world = await openWorld(edition, base);
      const good = write(csvOf('AAA', '2024-01-02', '2024-01-31'));
      const whole = Bun.gzipSync(Buffer.from(csvOf('BBB', '2023-01-03', '2024-01-31')));
      const torn = write(whole.subarray(0, whole.length - 200), 'torn.csv.gz');
      const message = await refusal(load(world, [good, torn]));
      expect(message).toContain(torn);
      expect(message).toContain('the gzip stream ends early or is damaged');
      const empty = { bars: [], coverage: [], rejected: [], status: [] };
      expect(await selectContent(world.sql)).toEqual(empty);
      const [known] = await world.sql`select count(*) as count from instruments`;
      expect(known).toEqual({ count: 0 });
    });

    const refused: [name: string, content: string | Uint8Array, says: RegExp][] = [
      ['a missing column', 'date,open,high,low,volume,symbol\n', /column close is missing/],
      ['an empty file', '', /is empty/],
      ['a file without header', '2024-01-02,1,2,1,2,100\n', /has no header/],
      ['a zip archive', 'PK\x03\x04....', /is a zip archive/],
      [
        'bars of minutes',
        `${HEADER}\n2024-01-02T09:30:00,1,2,1,2,5,AAA\n2024-01-02T09:31:00,1,2,1,2,5,AAA\n`,
        /these are not daily bars/,
      ],
      ['days before months', `${HEADER}\n31/01/2024,1,2,1,2,5,AAA\n`, /dates are M\/D\/Y/],
    ];
    for (const [name, content, says] of refused) {
      test(`${name} is refused by the name of the file`, async () => {
        await using world = await openWorld(edition, base);
        const path = write(content);
        const message = await refusal(load(world, path));
        expect(message).toContain(path);
        expect(message).toMatch(says);
        const [bars] = await world.sql`select count(*) as count from bars_1d`;
        expect(bars).toEqual({ count: 0 });
      });
    }

    test('a provider name that is none is refused', async () => {
      await using world = await openWorld(edition, base);
      const path = write(csvOf('AAA', '2024-01-02', '2024-01-05'));
      const message = await refusal(load(world, path, { provider: 'No Name' }));
      expect(message).toContain('provider must be');
    });

    test('synthetic bars and those of a file are not mixed', async () => {
      const path = write(csvOf('AAA', '2024-01-02', '2024-01-05'));
      await using world = await openWorld(edition, base);
      await load(world, path);
      await world.sql`update instrument_status set is_synthetic = true`;
      const other = write(csvOf('AAA', '2024-01-08', '2024-01-09'));
      expect(await refusal(load(world, other))).toContain('holds synthetic data');
    });

    const layouts: [path: string, options: Partial<ImportOptions>, symbol: string][] = [
      ['av_adjusted_2018/daily_adjusted_AAPL.csv', {}, 'AAPL'],
      ['av_adjusted_2020_12/daily_NFLX_api.csv', {}, 'NFLX'],
      ['av_adjusted_2021_excel/daily_adjusted_DIS.csv', {}, 'DIS'],
      ['av_raw_2023/daily_META.csv', {}, 'META'],
      ['djia_2006_2018_googlefinance/KO_2006-01-01_to_2018-01-01.csv', {}, 'KO'],
      ['lean_raw/aaa.csv', {}, 'AAA'],
      ['yahoo_old_mixed/tidyquant_FANG_2013_2016.csv', {}, 'FB'],
      ['yahoo_sp500_2016_2021/AAPL_data.csv', {}, 'AAPL'],
      ['yahoo_split_adjusted/backtestingpy_GOOG.csv', { symbol: 'GOOG' }, 'GOOG'],
      ['yahoo_html_scrape_2020/daily_AMZN.csv', {}, 'AMZN'],
      [
        'noheader_2016_2025/AAPL_daily.csv',
        { columns: 'date,open,high,low,close,volume', symbol: 'AAPL' },
        'AAPL',
      ],
    ];
    test('recognizes the layouts that others write', async () => {
      await using world = await openWorld(edition, { ...base, now: '2026-01-05T23:00:00Z' });
      for (const [path, options, symbol] of layouts) {
        const report = await load(world, join(DAILY, path), options);
        const { rows, inserted, changed, unchanged, rejected } = report;
        expect({ path, rows: inserted + changed + unchanged + rejected }).toEqual({ path, rows });
        expect({ path, isMostlyStored: rejected < 0.02 * rows }).toEqual({
          path,
          isMostlyStored: true,
        });
        const [bars] = await world.sql`
          select count(*) as count from bars_1d join symbol_ranges using (instrument_id)
          where symbol = ${symbol} and score > 0`;
        expect(bars.count).toBeGreaterThan(0);
      }
    });
  });
}

describe('marketd import', () => {
  test('loads five years of the S&P 500, and again without a change', async () => {
    const database = await cloneDatabase('plain');
    try {
      const environment = { DATABASE_URL: database.url };
      const first = await runCli(['import', SP500, '--json'], environment);
      expect(first.code).toBe(0);
      const report = JSON.parse(first.out);
      expect(report).toMatchObject({ rows: 619_040, symbols: 505, files: 1, changed: 0 });
      expect(report).toMatchObject({ inserted: 619_029, rejected: 11 });
      expect(report.added).toHaveLength(505);
      const again = await runCli(['import', SP500], environment);
      expect(again.code).toBe(0);
      expect(again.out).toContain(
        '619,040 rows of 505 symbols: 0 bars new, 0 changed, 619,029 unchanged, 11 rejected',
      );
      expect(again.out).toContain('select * from rejected_rows');
      const [state] = await database.sql`
        select (select count(*) from bars_1d) as bars,
               (select count(*) from bars_1d where score = 0) as excluded,
               (select count(*) from rejected_rows) as rejected,
               (select count(*) from instruments where is_tracked) as tracked`;
      expect(state).toEqual({ bars: 619_029, excluded: 12, rejected: 11, tracked: 0 });
    } finally {
      await database.drop();
    }
  }, 120_000);

  test('a torn file ends with exit code 2, its name and nothing stored', async () => {
    const database = await cloneDatabase('plain');
    try {
      const whole = Bun.gzipSync(Buffer.from(csvOf('AAA', '2020-01-02', '2024-01-31')));
      const path = write(whole.subarray(0, whole.length / 2), 'torn-cli.csv.gz');
      const { code, out, err } = await runCli(['import', path], { DATABASE_URL: database.url });
      expect(code).toBe(2);
      expect(out).toBe('');
      expect(err).toContain(`marketd import: ${path}: the gzip stream ends early`);
      const [bars] = await database.sql`select count(*) as count from bars_1d`;
      expect(bars).toEqual({ count: 0 });
    } finally {
      await database.drop();
    }
  });

  test('says whose symbols are new, and how to have them filled', async () => {
    const database = await cloneDatabase('plain');
    try {
      const path = write(csvOf('AAA', '2024-01-02', '2024-01-31'));
      const { code, out } = await runCli(['import', path, '--provider', 'mine'], {
        DATABASE_URL: database.url,
      });
      expect(code).toBe(0);
      expect(out).toContain('21 rows of 1 symbols: 21 bars new');
      expect(out).toContain('1 symbols are new (AAA)');
      expect(out).toContain('marketd symbols add');
      const [bar] = await database.sql`select distinct provider from bars_1d`;
      expect(bar).toEqual({ provider: 'mine' });
    } finally {
      await database.drop();
    }
  });
});
