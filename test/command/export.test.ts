import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type FileMetaData, parquetMetadata, parquetReadObjects } from 'hyparquet';
import { type ExportProgress, exportFile, parsePlan } from '../../src/command/export.ts';
import { InputError } from '../../src/errors.ts';
import { EXPORT_DATASETS, type ExportDataset } from '../../src/query/export-columns.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import { cloneDatabase, describeEditions } from '../database.ts';
import { calendar } from '../fixtures/bars.ts';
import { runCli, startCli } from '../fixtures/cli-process.ts';
import { fillAll } from '../fixtures/exported-rows.ts';
import { addInstrument, failureOf } from '../fixtures/warehouse.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const SP500 = join(SHARED_DATA, 'daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
const SPY_MINUTES = join(SHARED_DATA, 'minute/polygon_SPY_1min_20240220_20240517.csv');
const IBM_TRADES = join(SHARED_DATA, 'trades/lean/ibm_20131007_trades.csv');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-export-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let folders = 0;
/** A folder of its own. */
function newFolder(): string {
  const path = join(folder, String(++folders));
  mkdirSync(path);
  return path;
}

describe('the options of an export', () => {
  const refusal = (options: Parameters<typeof parsePlan>[0]): string => {
    try {
      parsePlan({ output: 'x.csv', ...options });
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    throw new Error('they were accepted');
  };

  test('the format is said, or told by the name of the file', () => {
    const format = (output: string, given?: string) => {
      const plan = parsePlan({ output, format: given });
      return `${plan.format}${plan.isGzip ? ' gzip' : ''}`;
    };
    expect(format('a.csv')).toBe('csv');
    expect(format('A.CSV.GZ')).toBe('csv gzip');
    expect(format('a.ndjson')).toBe('ndjson');
    expect(format('a.jsonl.gz')).toBe('ndjson gzip');
    expect(format('a.sql')).toBe('sql');
    expect(format('a.parquet')).toBe('parquet');
    expect(format('backup')).toBe('sql');
    expect(format('-')).toBe('sql');
    expect(format('-', 'csv')).toBe('csv');
    expect(format('a.json', 'ndjson')).toBe('ndjson');
    expect(refusal({ output: 'a.parquet.gz' })).toContain('parquet compresses itself');
    expect(refusal({ output: 'a.json' })).toContain('a.json does not say which format');
    expect(refusal({ output: 'a.csv.zst' })).toContain('or say --format');
    expect(refusal({ format: 'xml' })).toBe(
      '--format must be one of csv, ndjson, sql, parquet, not xml',
    );
  });

  test('that are wrong are refused, with what is allowed', () => {
    expect(refusal({ output: undefined })).toContain('-o FILE, or -o - for stdout');
    expect(refusal({ timeframe: '5m' })).toContain('1d, 1h, 1m, trades, snapshots, not 5m');
    expect(refusal({ from: '2024-02-30' })).toContain('--from must be a date that exists');
    expect(refusal({ to: 'yesterday' })).toContain('--to must be a date that exists');
    expect(refusal({ from: '2024-02-02', to: '2024-02-01' })).toContain('lies before --from');
    expect(refusal({ symbols: 'AAPL,,MSFT' })).toContain('"" is not a symbol');
    expect(refusal({ symbols: 'AAPL', all: true })).toContain('--symbols or --all, not both');
    for (const size of ['0', '-1', '1e9', '1000000000', '1.5', 'many', '']) {
      expect(refusal({ 'batch-size': size })).toContain('a whole number from 1 to 100000');
    }
    for (const time of ['0s', '300', '25h', '-1s', '1d', 'forever']) {
      const message = refusal({ 'statement-timeout': time });
      expect(message).toContain('a time from 1ms to 24h, as 500ms, 300s or 10m');
    }
    expect(refusal({ where: '1=1; drop table bars_1d' })).toContain('";" is not allowed');
    expect(parsePlan({ output: 'a', 'statement-timeout': '5m' }).statementTimeoutMs).toBe(300_000);
    expect(parsePlan({ output: 'a' })).toMatchObject({ batchRows: 1000 });
    expect(parsePlan({ output: 'a.csv', symbols: 'A, B' })).toMatchObject({ symbols: ['A', 'B'] });
  });
});

/** RFC 4180, for texts of any kind. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  const cell = /("(?:[^"]|"")*"|[^,\n]*)(,|\n)/gy;
  for (let match = cell.exec(text); match; match = cell.exec(text)) {
    const [, value, end] = match;
    const isQuoted = value.startsWith('"');
    rows.at(-1)?.push(isQuoted ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end === '\n') rows.push([]);
  }
  return rows.slice(0, -1);
}

const readBuffer = (path: string): ArrayBuffer => {
  const bytes = readFileSync(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
};

async function readParquet(path: string) {
  const file = readBuffer(path);
  const rows: Record<string, unknown>[] = await parquetReadObjects({ file });
  return { rows, metadata: parquetMetadata(file) as FileMetaData };
}

describeEditions('marketd export', (database) => {
  beforeAll(() => fillAll(database().sql));

  const run = (...args: string[]) => runCli(['export', ...args], { DATABASE_URL: database().url });
  /** In this process, which is faster. */
  const write = (output: string, options: Parameters<typeof parsePlan>[0] = {}, sql?: Sql) =>
    exportFile(sql ?? database().sql, calendar, parsePlan({ output, ...options }));

  test('writes CSV, says what it wrote, and does not replace a file unless told', async () => {
    const path = join(newFolder(), 'bars.csv');
    const first = await run('-o', path, '--symbols', 'AAA', '--from', '2022-03-01');
    expect(first.code).toBe(0);
    const text = readFileSync(path, 'utf8');
    const lines = text.trimEnd().split('\n');
    const rows = lines.length - 1;
    expect(first.out).toBe(
      `${rows} daily bars of 1 symbol; ${text.length.toLocaleString('en-US')} bytes written to ` +
        `${path}\n`,
    );
    expect(lines[0]).toBe(
      'symbol,date,open,high,low,close,volume,vwap,trade_count,quality_score,validated,flags,' +
        'is_final,provider',
    );
    const [bar] = await database().sql`
      select open, close, volume from bars_1d join symbol_ranges using (instrument_id)
      where symbol = 'AAA' and session >= '2022-03-01' order by session limit 1`;
    const [symbol, date, open, , , close, volume] = lines[1].split(',');
    expect([symbol, Number(open), Number(close), Number(volume)]).toEqual([
      ...['AAA', bar.open, bar.close, bar.volume],
    ]);
    expect(date >= '2022-03-01').toBe(true);
    const again = await run('-o', path, '--symbols', 'BRK.B');
    expect(again).toMatchObject({ code: 2, out: '' });
    expect(again.err).toContain(`${path} is there already; say --force to replace it`);
    expect(readFileSync(path, 'utf8')).toBe(text);
    const forced = await run('-o', path, '--symbols', 'BRK.B', '--force', '--json');
    const report = JSON.parse(forced.out);
    expect(report).toEqual({
      ...{ file: path, format: 'csv', timeframe: '1d', symbols: 1, rows: expect.any(Number) },
      bytes: readFileSync(path).length,
    });
    expect(readFileSync(path, 'utf8')).toStartWith(`${lines[0]}\nBRK.B,`);
    expect(readdirSync(join(path, '..'))).toEqual(['bars.csv']);
  });

  test('writes to stdout, and reports on stderr then', async () => {
    const { code, out, err } = await run('-o', '-', '--format', 'ndjson', '--json');
    expect(code).toBe(0);
    const rows = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(err).toContain(`"rows": ${rows.length},`);
    expect(rows[0]).toMatchObject({ symbol: 'AAA', flags: [], is_final: true });
    const odd = rows.find(({ flags }) => flags.length > 1);
    expect(odd.flags).toContain('gap');
    expect(rows.some(({ vwap }) => vwap === null)).toBe(true);
  });

  test('ends when the reader of stdout goes away', async () => {
    const { url } = database();
    const args = ['export', '-o', '-', '--format', 'csv', '--timeframe', '1m', '--batch-size', '1'];
    const script = `set -o pipefail; "$@" | head -n 1; exit "\${PIPESTATUS[0]}"`;
    const program = [process.execPath, join(import.meta.dir, '../../src/main.ts')];
    const child = Bun.spawn(['bash', '-c', script, 'bash', ...program, ...args], {
      env: { PATH: process.env.PATH, HOME: '/nonexistent', DATABASE_URL: url },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, err] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect(await child.exited).toBe(1);
    expect(out).toStartWith('symbol,ts,session,part,open');
    expect(err).toContain('cannot write stdout: its reader went away');
  });

  test('says how far it is, of all rows or of the symbols of a range', async () => {
    const follow = async (options: Parameters<typeof parsePlan>[0]) => {
      const seen: ExportProgress[] = [];
      const plan = parsePlan({ output: '/dev/null', 'batch-size': '100', ...options });
      const report = await exportFile(database().sql, calendar, plan, {
        onProgress: (progress) => void seen.push(progress),
      });
      const shares = seen.map(({ done, total }) => done / total);
      expect(shares).toEqual([...shares].sort((a, b) => a - b));
      expect(shares.filter((share) => share === 1)).toHaveLength(1);
      expect(seen.at(-1)).toMatchObject({ rows: report.rows, current: 'all' });
      return seen;
    };
    const all = await follow({ timeframe: '1m' });
    expect(all.map(({ done }) => done)).toEqual([
      ...[100, 200, 300, 400, 500, 600, 700, 800, 900, 999, 1000],
    ]);
    const range = await follow({ timeframe: '1m', from: '2024-03-01' });
    expect(range.at(4)).toEqual({ done: 0, total: 2, rows: 500, current: 'AAA' });
    expect(range.at(5)).toEqual({ done: 1, total: 2, rows: 600, current: 'BRK.B' });
  });

  test('compresses by the name of the file', async () => {
    const path = newFolder();
    for (const name of ['a.csv', 'a.ndjson', 'a.sql']) {
      await write(join(path, name));
      const { bytes } = await write(join(path, `${name}.gz`));
      const packed = readFileSync(join(path, `${name}.gz`));
      expect(bytes).toBe(packed.length);
      expect(gunzipSync(packed)).toEqual(readFileSync(join(path, name)));
    }
  });

  test('writes a header only when no row matches, and says so', async () => {
    const path = newFolder();
    const { code, out } = await run('-o', join(path, 'a.csv'), '--where', 'close < 0');
    expect({ code, out }).toEqual({
      code: 0,
      out: expect.stringMatching(/^no rows: no daily bars .* written/),
    });
    expect(readFileSync(join(path, 'a.csv'), 'utf8').split('\n')).toHaveLength(2);
    const none = { where: 'close < 0' };
    await write(join(path, 'a.ndjson'), none);
    expect(readFileSync(join(path, 'a.ndjson'), 'utf8')).toBe('');
    await write(join(path, 'a.parquet'), none);
    const { rows, metadata } = await readParquet(join(path, 'a.parquet'));
    expect(rows).toEqual([]);
    expect(metadata.schema.map(({ name }) => name)).toContain('vwap');
    await write(join(path, 'a.csv.gz'), none);
    expect(gunzipSync(readFileSync(join(path, 'a.csv.gz')))).toEqual(
      readFileSync(join(path, 'a.csv')),
    );
  });

  /** A row of NDJSON as Parquet has it. */
  function asParquet(row: Record<string, unknown>): Record<string, unknown> {
    const cells = Object.entries(row).map(([name, value]) => {
      if (name === 'ts' || name === 'ts_received') return [name, new Date(value as string)];
      if (name === 'date' || name === 'session') return [name, new Date(`${value}T00:00:00Z`)];
      if (name === 'flags') return [name, (value as string[]).join(' ')];
      if (name === 'updates') return [name, BigInt(value as number)];
      if (name === 'meta') return [name, value];
      return [name, value];
    });
    return Object.fromEntries(cells);
  }

  for (const dataset of EXPORT_DATASETS) {
    test(`writes the same rows in every format: ${dataset}`, async () => {
      const path = newFolder();
      const options = { timeframe: dataset };
      const { rows: count } = await write(join(path, 'a.ndjson'), options);
      const lines = readFileSync(join(path, 'a.ndjson'), 'utf8').trimEnd().split('\n');
      expect(lines).toHaveLength(count);
      const rows = lines.map((line) => JSON.parse(line));
      await write(join(path, 'a.csv'), options);
      const [header, ...cells] = parseCsv(readFileSync(join(path, 'a.csv'), 'utf8'));
      expect(header).toEqual(Object.keys(rows[0]));
      expect(cells).toHaveLength(count);
      cells.forEach((row, i) => {
        const values = Object.values(rows[i]).map((value) => {
          if (Array.isArray(value)) return value.join(' ');
          if (value !== null && typeof value === 'object') return JSON.stringify(value);
          return value === null ? '' : String(value);
        });
        const found = row.map((cell, column) => {
          if (header[column] === 'meta') return JSON.stringify(JSON.parse(cell));
          const isNumber = typeof Object.values(rows[i])[column] === 'number';
          return isNumber ? String(Number(cell)) : cell;
        });
        expect(found).toEqual(values);
      });
      await write(join(path, 'a.parquet'), options);
      const parquet = await readParquet(join(path, 'a.parquet'));
      expect(parquet.rows).toHaveLength(count);
      parquet.rows.forEach((row, i) => {
        const wanted = asParquet(rows[i]);
        const found = { ...row };
        if (dataset === 'trades') {
          // JSON.parse rounds it; in the text it is exact.
          expect(lines[i]).toContain(`"sequence":${row.sequence},`);
          delete wanted.sequence;
          delete found.sequence;
        }
        if (dataset === 'snapshots') {
          found.meta = JSON.parse(row.meta as string);
          // What is not finite has no number in JSON.
          for (const name of ['day_high', 'pe_ratio'] as const) {
            if (wanted[name] === 'NaN') wanted[name] = null;
          }
          for (const name of Object.keys(wanted)) {
            if (wanted[name] === 'Infinity') wanted[name] = Number.POSITIVE_INFINITY;
          }
        }
        expect(found).toEqual(wanted);
      });
    });
  }

  test('writes Parquet with types, and instants to the microsecond', async () => {
    const path = join(newFolder(), 'a.parquet');
    await write(path, { timeframe: 'trades' });
    const file = readBuffer(path);
    const { schema, num_rows } = parquetMetadata(file);
    const types = Object.fromEntries(
      schema.map(({ name, type, logical_type }) => [name, [type, logical_type?.type]]),
    );
    expect(types).toMatchObject({
      ...{
        ts: ['INT64', 'TIMESTAMP'],
        price: ['DOUBLE', undefined],
        exchange: ['BYTE_ARRAY', 'STRING'],
      },
      sequence: ['INT64', undefined],
    });
    const ts = schema.find(({ name }) => name === 'ts')?.logical_type;
    expect(ts).toMatchObject({ isAdjustedToUTC: true, unit: 'MICROS' });
    const parsers = {
      timestampFromMicroseconds: (micros: bigint) => micros,
    };
    const rows = await parquetReadObjects({ file, columns: ['ts'], parsers: parsers as never });
    const stored = await database().sql`
      select (extract(epoch from ts) * 1000000)::bigint::text as ts
      from trades join symbol_ranges using (instrument_id)
      order by symbol, trades.ts, sequence`;
    expect(rows.map((row) => String(row.ts))).toEqual(stored.map((row) => row.ts));
    expect(Number(num_rows)).toBe(stored.length);
  });

  test('writes Parquet in row groups of bounded size', async () => {
    const clone = await cloneDatabase(database().edition);
    const path = join(newFolder(), 'a.parquet');
    try {
      const id = await addInstrument(clone.sql, 'BIG');
      await clone.sql`
        insert into bars_1m (instrument_id, ts, ts_received, open, high, low, close, volume, score,
          flags, session, part, is_final, provider)
        select ${id}, ts, ts, i, i, i, i, i, 1, 0, ts::date, 1, true, 'vendor'
        from generate_series(1, 120000) i,
             lateral (select timestamptz '2024-01-01' + i * interval '1 minute' as ts) t`;
      await write(path, { timeframe: '1m' }, clone.sql);
    } finally {
      await clone.drop();
    }
    const { rows, metadata } = await readParquet(path);
    expect(metadata.row_groups.map(({ num_rows }) => Number(num_rows))).toEqual([
      ...[20_000, 20_000, 20_000, 20_000, 20_000, 20_000],
    ]);
    expect(rows.map(({ close }) => close)).toEqual(
      Array.from({ length: 120_000 }, (_, i) => i + 1),
    );
  });

  test('leaves nothing on a full disk, and an existing file as it was', async () => {
    const path = newFolder();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path]);
    try {
      const file = join(path, 'a.csv');
      const message = /cannot write a\.csv: no space is left on the device \(after [\d,]+ bytes\)/;
      const first = await run('-o', file, '--timeframe', '1m');
      expect(first).toMatchObject({ code: 1, out: '', err: expect.stringMatching(message) });
      expect(readdirSync(path)).toEqual([]);
      writeFileSync(file, 'precious');
      const second = await run('-o', file, '--timeframe', '1m', '--force');
      expect(second).toMatchObject({ code: 1, out: '', err: expect.stringMatching(message) });
      expect(readdirSync(path)).toEqual(['a.csv']);
      expect(readFileSync(file, 'utf8')).toBe('precious');
      for (const name of ['a.csv.gz', 'a.ndjson', 'a.sql', 'a.parquet']) {
        writeFileSync(join(path, 'filler'), new Uint8Array(45_056));
        const failure = await failureOf(write(join(path, name), { timeframe: '1m', force: true }));
        expect(failure).toContain('no space is left on the device');
        expect(readdirSync(path).sort()).toEqual(['a.csv', 'filler']);
      }
    } finally {
      execFileSync('umount', [path]);
    }
    const device = await run('-o', '/dev/full', '--format', 'csv');
    expect(device.code).toBe(1);
    expect(device.err).toContain('cannot write full: no space is left on the device');
  });

  test('says where a file cannot be, before anything is read', async () => {
    const path = newFolder();
    const missing = await run('-o', join(path, 'nowhere/a.csv'));
    expect(missing).toMatchObject({ code: 2, out: '' });
    expect(missing.err).toContain(`there is no folder ${join(path, 'nowhere')}`);
    expect(existsSync(join(path, 'nowhere'))).toBe(false);
    expect(await failureOf(write(path, { format: 'csv' }))).toContain('is a folder');
    writeFileSync(join(path, 'file'), '');
    expect(await failureOf(write(join(path, 'file/a.csv')))).toContain('is no folder');
    expect(await failureOf(write(join(path, `${'a'.repeat(300)}.csv`)))).toContain('too long');
    writeFileSync(join(path, 'b.csv.part'), 'of another export');
    const busy = await failureOf(write(join(path, 'b.csv')));
    expect(busy).toContain('another export is writing it, or one was killed');
    expect(readFileSync(join(path, 'b.csv.part'), 'utf8')).toBe('of another export');
    await write(join(path, 'b.csv'), { force: true });
    expect(readdirSync(path).sort()).toEqual(['b.csv', 'file']);
    const unknown = await failureOf(write(join(path, 'c.csv'), { symbols: 'NOPE' }));
    expect(unknown).toContain('unknown: NOPE');
    expect(existsSync(join(path, 'c.csv.part'))).toBe(false);
  });

  test('replaces what a link points to, not the link', async () => {
    const path = newFolder();
    writeFileSync(join(path, 'real.csv'), 'old');
    symlinkSync('real.csv', join(path, 'link.csv'));
    await write(join(path, 'link.csv'), { force: true });
    expect(readFileSync(join(path, 'real.csv'), 'utf8')).toStartWith('symbol,date');
    expect(
      readdirSync(path, { withFileTypes: true }).filter((e) => e.isSymbolicLink()),
    ).toHaveLength(1);
  });

  test('leaves nothing when the database goes away', async () => {
    const path = newFolder();
    const { sql, url } = database();
    const victim = openPool(url, { connections: 1, applicationName: 'victim' });
    const file = join(path, 'a.csv');
    writeFileSync(file, 'precious');
    const plan = parsePlan({ output: file, timeframe: '1m', 'batch-size': '10', force: true });
    let rows = 0;
    const exported = exportFile(victim, calendar, plan, {
      onProgress: (progress) => {
        if (rows === 0) {
          void sql`
            select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'victim' and datname = current_database()`.execute();
        }
        ({ rows } = progress);
      },
    });
    expect(await failureOf(exported)).toMatch(/^the database went away after [\d,]+ rows: /);
    expect(rows).toBeLessThan(1000);
    await victim.end({ timeout: 1 });
    expect(readdirSync(path)).toEqual(['a.csv']);
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  test('leaves nothing when it is told to stop', async () => {
    const path = newFolder();
    const { url, sql } = database();
    const locker = openPool(url, { connections: 1 });
    await locker.begin(async (tx) => {
      // It is held up for as long as this transaction lasts.
      await tx`lock table trades in access exclusive mode`;
      const args = ['export', '-o', join(path, 'a.csv'), '--timeframe', 'trades'];
      const child = startCli(args, { DATABASE_URL: url });
      const isWaiting = async () => {
        const [{ count }] = await sql`
          select count(*) from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return count > 0;
      };
      while (!(await isWaiting()));
      child.kill('SIGTERM');
      const { code, err } = await child.finished;
      expect(code).toBe(1);
      expect(err).toContain('stopped by SIGTERM');
    });
    await locker.end();
    expect(readdirSync(path)).toEqual([]);
  });
});

describeEditions('what is exported as CSV', (database) => {
  /** Imports a file, exports it, imports that elsewhere: what both hold. */
  async function roundTrip(dataset: ExportDataset, table: string, ...imported: string[]) {
    const { url, sql, edition } = database();
    const first = await runCli(['import', ...imported], { DATABASE_URL: url });
    expect(first).toMatchObject({ code: 0, err: '' });
    const path = join(newFolder(), 'rows.csv.gz');
    const args = ['export', '-o', path, '--timeframe', dataset];
    expect((await runCli(args, { DATABASE_URL: url })).code).toBe(0);
    const other = await cloneDatabase(edition);
    try {
      const second = await runCli(['import', path], { DATABASE_URL: other.url });
      expect(second).toMatchObject({ code: 0, err: '' });
      return { here: await selectMarket(sql, table), there: await selectMarket(other.sql, table) };
    } finally {
      await other.drop();
    }
  }

  /** All but when it was received and by whom. */
  async function selectMarket(sql: Sql, table: string): Promise<string[]> {
    const rows = await sql<{ row: string }[]>`
      select r.symbol || ' ' || (to_jsonb(b) - '{instrument_id,ts_received}'::text[])::text as row
      from ${sql(table)} b join symbol_ranges r using (instrument_id)`;
    return rows.map(({ row }) => row).sort();
  }

  test('imports into an empty warehouse, equal row for row: daily bars', async () => {
    const path = join(newFolder(), 'daily.csv');
    const lines = readFileSync(SP500, 'utf8').split('\n');
    // The header, some symbols, and of the others the rows that break the rules of bars.
    const some = lines.slice(0, 15_000);
    writeFileSync(path, `${some.join('\n')}\n`);
    const { here, there } = await roundTrip('1d', 'bars_1d', path);
    expect(here.length).toBeGreaterThan(14_900);
    expect(there).toEqual(here);
  });

  test('imports into an empty warehouse, equal row for row: minute bars', async () => {
    const { here, there } = await roundTrip('1m', 'bars_1m', SPY_MINUTES);
    expect(here).toHaveLength(49_720);
    expect(there).toEqual(here);
  });

  test('imports into an empty warehouse, equal row for row: trades', async () => {
    const { here, there } = await roundTrip('trades', 'trades', IBM_TRADES, '--symbol', 'IBM');
    expect(here.length).toBeGreaterThan(19_000);
    expect(there).toEqual(here);
  });
});
