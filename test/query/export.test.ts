import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExportPlan, exportFile, parsePlan } from '../../src/command/export.ts';
import { InputError } from '../../src/errors.ts';
import { type ExportRequest, readExport } from '../../src/query/export.ts';
import {
  EXPORT_DATASETS,
  type ExportDataset,
  exportTable,
} from '../../src/query/export-columns.ts';
import { openPool } from '../../src/store/database.ts';
import { renameSymbol } from '../../src/store/symbol-ranges.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { cloneDatabase, describeEditions, emptyDatabase, type TestDatabase } from '../database.ts';
import { calendar, flatBar } from '../fixtures/bars.ts';
import {
  fillAll,
  loadScript,
  selectRows,
  selectStatus,
  TABLES,
} from '../fixtures/exported-rows.ts';
import { addInstrument, failureOf, ingest } from '../fixtures/warehouse.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-export-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const newPath = (extension: string) => join(folder, `${++files}.${extension}`);

describeEditions('an export', (database) => {
  beforeAll(() => fillAll(database().sql));

  /** Writes a file and gives its path. */
  async function write(options: Parameters<typeof parsePlan>[0], extension = 'sql') {
    const output = newPath(extension);
    const plan: ExportPlan = parsePlan({ output, ...options });
    const report = await exportFile(database().sql, calendar, plan);
    return { output, report, text: readFileSync(output, 'utf8') };
  }

  async function withDatabase(other: TestDatabase, body: (other: TestDatabase) => Promise<void>) {
    try {
      await body(other);
    } finally {
      await other.drop();
    }
  }

  const request = (dataset: ExportDataset, change: Partial<ExportRequest> = {}): ExportRequest => ({
    ...{ table: exportTable(dataset), layout: 'csv', statementTimeoutMs: 10_000, pageRows: 5000 },
    ...change,
  });

  async function readLines(dataset: ExportDataset, change: Partial<ExportRequest> = {}) {
    return readExport(database().sql, request(dataset, change), async ({ pages }) => {
      const texts: string[] = [];
      for await (const page of pages()) texts.push(new TextDecoder().decode(page.text));
      return texts.join('\n');
    });
  }

  test('knows all columns of its tables', async () => {
    for (const dataset of EXPORT_DATASETS) {
      const { table, tableColumns } = exportTable(dataset);
      const columns = await database().sql`
        select column_name as name, is_nullable = 'YES' as "isNullable",
               replace(data_type, 'timestamp with time zone', 'timestamptz') as type
        from information_schema.columns
        where table_name = ${table} and table_schema = 'public' and column_name <> 'instrument_id'
        order by 1`;
      const ours = [...tableColumns].sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(ours).toEqual(columns.map((row) => ({ ...row })) as typeof ours);
    }
  });

  for (const dataset of EXPORT_DATASETS) {
    test(`as SQL loads into a marketd with other instruments: ${dataset}`, async () => {
      const { sql, edition } = database();
      const { output, report } = await write({ timeframe: dataset, 'batch-size': '37' });
      await withDatabase(await cloneDatabase(edition), async (other) => {
        await upsertSymbols(other.sql, ['ZZZ', 'AAA', 'YYY']);
        const [{ id }] = await other.sql`select instrument_id as id from symbol_ranges
          where symbol = 'AAA'`;
        expect(loadScript(other.url, output)).toBe('');
        const rows = await selectRows(other.sql, TABLES[dataset]);
        expect(rows).toHaveLength(report.rows);
        expect(rows).toEqual(await selectRows(sql, TABLES[dataset]));
        const { timeframe } = exportTable(dataset);
        expect(await selectStatus(other.sql, timeframe)).toEqual(
          await selectStatus(sql, timeframe),
        );
        const [made] = await other.sql`
          select name, exchange, listed_on, is_tracked from instruments i
          join symbol_ranges r using (instrument_id) where r.symbol = 'BRK.B'`;
        expect(made).toEqual({
          name: 'O\'Neil "BRK.B"\n& Co',
          exchange: 'XNYS',
          listed_on: '1999-01-04',
          is_tracked: false,
        });
        const known = await other.sql`select from symbol_ranges where instrument_id = ${id}`;
        expect(known).toHaveLength(1); // found, not made once more
        loadScript(other.url, output);
        expect(await selectRows(other.sql, TABLES[dataset])).toEqual(rows);
        await upsertSymbols(other.sql, ['WWW']); // numbers go on behind those that the script drew
      });
    });

    test(`as SQL loads into a database without tables: ${dataset}`, async () => {
      const { sql, edition } = database();
      const { output } = await write({ timeframe: dataset });
      await withDatabase(await emptyDatabase(edition), async (other) => {
        expect(loadScript(other.url, output)).toBe('');
        const rows = await selectRows(other.sql, TABLES[dataset]);
        expect(rows).toEqual(await selectRows(sql, TABLES[dataset]));
        loadScript(other.url, output);
        expect(await selectRows(other.sql, TABLES[dataset])).toHaveLength(rows.length);
        const key = await other.sql`
          select from pg_constraint where conrelid = ${TABLES[dataset]}::regclass
            and contype = 'p'`;
        expect(key).toHaveLength(1);
      });
    });

    test(`is the same whatever its pages: ${dataset}`, async () => {
      const whole = await readLines(dataset);
      for (const pageRows of [1, 2, 7]) {
        expect(await readLines(dataset, { pageRows })).toBe(whole);
      }
    });
  }

  test('as SQL has as many rows in a statement as are asked for', async () => {
    const { text, report } = await write({ timeframe: '1m', 'batch-size': '300' });
    const statements = text.split('insert into bars_1m').slice(1);
    const rows = statements.map((statement) => statement.match(/^\('/gm)?.length);
    expect(rows).toEqual([300, 300, 300, 100]);
    expect(report.rows).toBe(1000);
    const one = await write({ timeframe: 'snapshots', 'batch-size': '1' });
    expect(one.text.split('insert into snapshots').slice(1)).toHaveLength(one.report.rows);
  });

  test('as SQL brings the coverage of its range, which another warehouse trusts', async () => {
    const range = { from: '2022-01-15', to: '2022-02-06' }; // Saturday and Sunday
    const { output } = await write({ ...range, symbols: 'AAA' });
    await withDatabase(await cloneDatabase(database().edition), async (other) => {
      loadScript(other.url, output);
      loadScript(other.url, output);
      const rows = await other.sql`
        select start_session, end_session, state, detail, asked_at::text as asked
        from coverage order by 1`;
      const detail = "it's nothing";
      expect(rows.map((row) => ({ ...row }))).toEqual([
        ...[{ start_session: '2022-01-18', end_session: '2022-02-01', state: 'complete' }].map(
          (row) => ({ ...row, detail: null, asked: '2024-03-01 23:00:00.123456+00' }),
        ),
        ...[{ start_session: '2022-02-01', end_session: '2022-02-07', state: 'vendor_empty' }].map(
          (row) => ({ ...row, detail, asked: '2024-03-01 23:00:00+00' }),
        ),
      ]);
    });
    const some = await write({ where: 'close > 100' });
    expect(some.text).not.toContain('exported_coverage');
  });

  test('as SQL does not mix made-up and real data', async () => {
    const { output } = await write({ symbols: 'AAA' });
    await withDatabase(await cloneDatabase(database().edition), async (other) => {
      await upsertSymbols(other.sql, ['AAA']);
      await other.sql`
        insert into instrument_status (instrument_id, timeframe, records, is_synthetic)
        select instrument_id, '1m', 1, true from symbol_ranges`;
      expect(() => loadScript(other.url, output)).toThrow('made-up and real data do not mix: AAA');
      expect(await selectRows(other.sql, 'bars_1d')).toEqual([]);
    });
  });

  test('sees one instant, whatever is committed meanwhile', async () => {
    const before = await readLines('trades');
    const { sql, url } = database();
    const writer = openPool(url, { connections: 1 });
    let found = '';
    await readExport(sql, request('trades', { pageRows: 10 }), async ({ pages }) => {
      const texts: string[] = [];
      for await (const page of pages()) {
        if (texts.length === 0) {
          await writer`
            insert into trades select '2024-04-01', 1, 1, 1, now(), instrument_id, 7, 'late'
            from instruments`;
        }
        texts.push(new TextDecoder().decode(page.text));
      }
      found = texts.join('\n');
    });
    await writer`delete from trades where provider = 'late'`;
    await writer.end();
    expect(found).toBe(before);
  });

  test('of a range has both ends, days are those of New York', async () => {
    const { sql } = database();
    const sessions = async (dataset: ExportDataset, from: string, to: string) => {
      const lines = (await readLines(dataset, { from, to, symbols: ['AAA'] })).split('\n');
      return lines.filter(Boolean).map((line) => line.split(','));
    };
    const daily = await sessions('1d', '2022-03-01', '2022-03-31');
    const wanted = await sql`
      select session from bars_1d join symbol_ranges using (instrument_id)
      where symbol = 'AAA' and session between '2022-03-01' and '2022-03-31' order by 1`;
    expect(daily.map(([, date]) => date)).toEqual(wanted.map(({ session }) => session));
    const hours = await sessions('1h', '2024-03-10', '2024-03-10'); // a day of 23 hours
    expect(hours).toHaveLength(23);
    expect([hours[0][1], hours[22][1]]).toEqual(['2024-03-10T05:00:00Z', '2024-03-11T03:00:00Z']);
    expect(new Set(hours.map(([, , session]) => session))).toEqual(new Set(['2024-03-10']));
  });

  test('of unknown symbols is refused, of all is of those that hold rows', async () => {
    const failure = readLines('1d', { symbols: ['AAA', 'NOPE', 'aaa'] });
    expect(await failureOf(failure)).toContain('unknown: NOPE, aaa;');
    await readLines('1d', { symbols: ['NOPE'] }).catch((error) => {
      expect(error).toBeInstanceOf(InputError);
    });
    await upsertSymbols(database().sql, ['EMPTY']);
    const all = (await readLines('1d')).split('\n').map((line) => line.split(',')[0]);
    expect([...new Set(all)]).toEqual(['AAA', 'BRK.B']);
    expect(await readLines('1d', { symbols: ['EMPTY'] })).toBe('');
  });

  test('names whoever has a symbol at the end of the range, and nobody twice', async () => {
    await withDatabase(await cloneDatabase(database().edition), async ({ sql }) => {
      const old = await addInstrument(sql, 'VXX');
      await ingest(sql, old, [flatBar('2019-01-28'), flatBar('2019-01-29')]);
      await sql`update symbol_ranges set valid_to = '2019-01-30' where instrument_id = ${old}`;
      const young = await addInstrument(sql, 'VXXB');
      await ingest(sql, young, [flatBar('2019-01-29'), flatBar('2019-05-02')]);
      const change = { actor: 'cli tester', nowMs: Date.parse('2024-03-01T23:00:00Z') };
      await renameSymbol(sql, { from: 'VXXB', to: 'VXX', on: '2019-05-02' }, change);
      const lines = (part: Partial<ExportRequest>) =>
        readExport(sql, request('1d', part), async ({ pages }) => {
          const found: string[] = [];
          for await (const { text } of pages()) {
            const rows = new TextDecoder().decode(text).split('\n');
            found.push(...rows.map((line) => line.split(',').slice(0, 2).join(' ')));
          }
          return found;
        });
      const days = (symbol: string, ...dates: string[]) => dates.map((date) => `${symbol} ${date}`);
      expect(await lines({})).toEqual([
        ...days('VXX', '2019-01-29', '2019-05-02'),
        ...days('VXX.20190129', '2019-01-28', '2019-01-29'),
      ]);
      expect(await lines({ symbols: ['VXX'] })).toEqual(days('VXX', '2019-01-29', '2019-05-02'));
      expect(await lines({ to: '2019-01-29' })).toEqual([
        ...days('VXX', '2019-01-28', '2019-01-29'),
        ...days('VXXB', '2019-01-29'),
      ]);
      expect(await lines({ to: '2019-01-29', symbols: ['VXX'] })).toEqual(
        days('VXX', '2019-01-28', '2019-01-29'),
      );
      expect(await failureOf(lines({ symbols: ['VXXB'] }))).toContain('unknown: VXXB;');
      const between = lines({ to: '2019-03-01', symbols: ['VXX'] });
      expect(await failureOf(between)).toContain('unknown on 2019-03-01: VXX;');
    });
  });

  test('that has to wait too long for a statement gives up', async () => {
    const { sql, url } = database();
    const locker = openPool(url, { connections: 1 });
    await locker.begin(async (tx) => {
      await tx`lock table bars_1d in access exclusive mode`;
      const failure = await failureOf(readLines('1d', { statementTimeoutMs: 100 }));
      expect(failure).toBe(
        'a statement took longer than 0.1 s: allow it more with --statement-timeout, or ask for ' +
          'less',
      );
    });
    await locker.end();
    expect(await sql`show statement_timeout`).toEqual([{ statement_timeout: '10min' }] as never);
  });

  test('can neither write, nor be cut short without saying so', async () => {
    const write = readExport(database().sql, request('1d'), async ({ tx }) => {
      await tx`delete from bars_1d`;
    });
    expect(await failureOf(write)).toContain('in a read-only transaction');
    const abort = new AbortController();
    const stopped = readExport(
      database().sql,
      request('trades', { pageRows: 5, signal: abort.signal }),
      async ({ pages }) => {
        for await (const _ of pages()) abort.abort(new Error('stopped by SIGINT'));
      },
    );
    expect(await failureOf(stopped)).toBe('stopped by SIGINT');
    expect((await readLines('trades')).split('\n').length).toBeGreaterThan(400);
  });
});
