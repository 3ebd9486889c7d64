import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { exportFile, parsePlan } from '../../src/command/export.ts';
import { InputError } from '../../src/errors.ts';
import { toDay } from '../../src/model/session.ts';
import { type ExportRequest, readExport } from '../../src/query/export.ts';
import { exportTable } from '../../src/query/export-columns.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { calendar, eventfulBars, flatBar, seededRandom } from '../fixtures/bars.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { dividend, split, storeActions } from '../fixtures/corporate-actions.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';
import { addBars } from '../fixtures/price-rows.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-export-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const newPath = (extension: string) => join(folder, `${++files}.${extension}`);

type Options = Parameters<typeof parsePlan>[0];

describe('the adjustment of an export', () => {
  const refusal = (options: Options): string => {
    try {
      parsePlan({ output: 'x.csv', ...options });
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    throw new Error('they were accepted');
  };

  test('is of bars, in a format that is not loaded again', () => {
    for (const timeframe of ['trades', 'snapshots']) {
      expect(refusal({ adjustment: 'split', timeframe })).toBe(
        `--adjustment is for bars; ${timeframe} are exported as they are`,
      );
    }
    expect(refusal({ adjustment: 'all', output: 'x.sql' })).toContain(
      '--adjustment is for csv, ndjson and parquet: sql is a script that loads into marketd',
    );
    expect(parsePlan({ output: 'x.sql', adjustment: 'raw' }).adjustment).toBeUndefined();
  });

  test('has words of its own, and none that mean nothing', () => {
    expect(refusal({ adjustment: 'both' })).toBe(
      '--adjustment must be one of raw, split, all, not both',
    );
    const asof = 'says which splits and dividends are known: it is for --adjustment split or all';
    expect(refusal({ 'adjust-asof': '2024-01-02' })).toBe(`--adjust-asof ${asof}`);
    expect(refusal({ adjustment: 'all', 'adjust-asof': '2024-02-30' })).toContain(
      '--adjust-asof must be a date that exists',
    );
    for (const adjustment of ['raw', 'split']) {
      expect(refusal({ adjustment, 'dividend-method': 'ex_close' })).toBe(
        '--dividend-method says how dividends are applied: it is for --adjustment all',
      );
    }
    expect(refusal({ adjustment: 'all', 'dividend-method': 'x' })).toContain(
      '--dividend-method must be one of previous_close, ex_close, not x',
    );
    const plan = parsePlan({ output: 'x.csv', adjustment: 'all', 'adjust-asof': '2024-01-02' });
    expect(plan.adjustment).toEqual({
      ...{ adjustment: 'all', dividendMethod: 'previous_close', asof: '2024-01-02' },
    });
  });
});

const PRICES = ['open', 'high', 'low', 'close', 'volume', 'vwap'] as const;
type Row = Record<(typeof PRICES)[number], number | null> & Record<string, unknown>;

const numbersOf = (row: Row) => PRICES.map((name) => row[name]);

/** Prices with long fractions at some hours or minutes of each of the sessions. */
async function addOddBars(sql: Sql, id: number, timeframe: '1h' | '1m', days: readonly string[]) {
  const random = seededRandom(99);
  const bars = days.flatMap((day) =>
    ['15:00', '16:00', '19:00'].map((at) => ({
      ts: `${day}T${at}:00Z`,
      close: 1 + random() * 300,
      volume: Math.floor(random() * 1e6),
    })),
  );
  await addBars(sql, id, timeframe, bars);
}

describeEditions('an adjusted export', (database) => {
  const daily = eventfulBars('2022-01-03', 300, 77);
  const exDates = [40, 41, 120, 200, 290].map((i) => daily[i]!.session);
  let server: TestServer;

  beforeAll(async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'ACT');
    await ingest(sql, id, daily);
    const [first, second, third, fourth, fifth] = exDates;
    await storeActions(sql, id, [
      ...[split(first!, 1, 7), dividend(second!, 0.35), split(third!, 3, 2)],
      ...[dividend(fourth!, 1.5), split(fourth!, 1, 2), split(fifth!, 1, 20)],
      dividend(daily[250]!.session, 5, { currency: 'EUR' }),
    ]);
    const days = [30, 40, 41, 119, 120, 199, 200, 289, 290, 291].map((i) => daily[i]!.session);
    await addOddBars(sql, id, '1h', days);
    await addOddBars(sql, id, '1m', days);
    const plain = await addInstrument(sql, 'PLAIN');
    await ingest(sql, plain, eventfulBars('2022-01-03', 100, 5));
    server = await startServer(database().url);
  });
  afterAll(async () => {
    await server?.stop();
  });

  async function write(extension: string, options: Options = {}) {
    const output = newPath(extension);
    const plan = parsePlan({ output, symbols: 'ACT', adjustment: 'all', ...options });
    const report = await exportFile(database().sql, calendar, plan);
    return { output, report, text: readFileSync(output, 'utf8') };
  }

  const readJson = (text: string) =>
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Row);

  function readCsv(text: string): Row[] {
    const [head, ...lines] = text.trimEnd().split('\n');
    const names = head!.split(',');
    return lines.map((line) => {
      const cells = line.split(',').map((cell) => (cell === '' ? null : cell));
      const row = Object.fromEntries(names.map((name, i) => [name, cells[i] ?? null]));
      const numbers = PRICES.map((name) => [name, row[name] === null ? null : Number(row[name])]);
      return { ...row, ...Object.fromEntries(numbers) };
    });
  }

  async function readParquet(path: string): Promise<Row[]> {
    const bytes = readFileSync(path);
    const start = bytes.byteOffset;
    const file = bytes.buffer.slice(start, start + bytes.length) as ArrayBuffer;
    return (await parquetReadObjects({ file })) as Row[];
  }

  const VIEWS: Options[] = [
    { adjustment: 'split' },
    { adjustment: 'all' },
    { adjustment: 'all', 'dividend-method': 'ex_close' },
    { adjustment: 'all', 'adjust-asof': daily[199]!.session },
    { adjustment: 'split', 'adjust-asof': '2021-01-04' },
  ];

  for (const timeframe of ['1d', '1h', '1m'] as const) {
    for (const view of VIEWS) {
      const name = `${timeframe} ${Object.values(view).join(' ')}`;
      test(`has the numbers of the API: ${name}`, async () => {
        const query = new URLSearchParams({
          ...{ start: '2022-01-01', end: '2024-01-01', timeframe, validated_only: 'false' },
          ...{ include_partial: 'true', adjustment: view.adjustment! },
          ...(timeframe === '1d' ? {} : { session: 'all' }),
        });
        if (view['adjust-asof']) query.set('adjust_asof', view['adjust-asof']);
        if (view['dividend-method']) query.set('dividend_method', view['dividend-method']);
        const answer = await server.json<{
          data: Row[];
          adjustments: number;
          adjustments_skipped?: object[];
        }>(`/api/v1/historical/ACT?${query}`);
        const wanted = answer.data.map(numbersOf);
        expect(wanted).toHaveLength(timeframe === '1d' ? daily.length : 30);

        const csv = await write('csv', { timeframe, ...view });
        expect(readCsv(csv.text).map(numbersOf)).toEqual(wanted);
        const ndjson = await write('ndjson', { timeframe, ...view, 'batch-size': '7' });
        expect(readJson(ndjson.text).map(numbersOf)).toEqual(wanted);
        const parquet = await write('parquet', { timeframe, ...view });
        expect((await readParquet(parquet.output)).map(numbersOf)).toEqual(wanted);

        const skipped = answer.adjustments_skipped ?? [];
        expect(csv.report).toMatchObject({
          ...{ adjustment: view.adjustment, adjustments: answer.adjustments },
          adjustments_skipped: {
            count: skipped.length,
            actions: skipped.map((action) => ({ symbol: 'ACT', ...action })),
          },
        });
      });
    }
  }

  test('leaves as they are what is no price, and who has no events', async () => {
    const options = { symbols: 'ACT,PLAIN' };
    const raw = readCsv((await write('csv', { ...options, adjustment: 'raw' })).text);
    const adjusted = readCsv((await write('csv', options)).text);
    const others = (rows: Row[]) =>
      rows.map((row) => Object.entries(row).filter(([name]) => !PRICES.includes(name as never)));
    expect(others(adjusted)).toEqual(others(raw));
    const plain = { symbols: 'PLAIN' };
    const { text } = await write('csv', plain);
    expect(text).toBe((await write('csv', { ...plain, adjustment: 'raw' })).text);
  });

  test('is chosen from by its own columns, not by those stored', async () => {
    const all = readJson((await write('ndjson')).text);
    const raw = readJson((await write('ndjson', { adjustment: 'raw' })).text);
    const middle = all.map(({ close }) => close!).sort((a, b) => a - b)[150]!;
    const wanted = all.filter(({ close, vwap }) => close! < middle && vwap !== null);
    expect(raw.filter(({ close }) => close! < middle).length).not.toBe(150);
    const where = `close < ${middle} and avg is not null and symbol = 'ACT'`;
    expect(readJson((await write('ndjson', { where })).text)).toEqual(wanted);
    const volume = all[0]!.volume!;
    expect(volume).not.toBe(raw[0]!.volume);
    const one = readJson((await write('ndjson', { where: `volume = ${volume}` })).text);
    expect(one[0]).toEqual(all[0] as never);
  });

  test('says what it is adjusted for, as of when, and what could not be', async () => {
    const environment = { DATABASE_URL: database().url };
    const args = ['export', '-o', newPath('csv'), '--symbols', 'ACT', '--adjustment', 'all'];
    const asof = ['--adjust-asof', '2024-01-02', '--dividend-method', 'ex_close'];
    const { code, out } = await runCli([...args, ...asof], environment);
    const reason = 'paid in EUR, not in the currency of the prices';
    expect({ code, lines: out.trimEnd().split('\n').slice(1) }).toEqual({
      code: 0,
      lines: [
        'adjusted for splits and dividends of 5 ex-dates, as of 2024-01-02; ' +
          '1 could not be applied:',
        `  ACT ${daily[250]!.session} dividend: ${reason}`,
      ],
    });
    const json = await runCli([...args, ...asof, '--force', '--json'], environment);
    expect(JSON.parse(json.out)).toMatchObject({
      ...{ adjustment: 'all', dividend_method: 'ex_close', adjust_asof: '2024-01-02' },
      ...{ adjustments: 5, rows: daily.length },
      adjustments_skipped: {
        count: 1,
        actions: [{ symbol: 'ACT', ex_date: daily[250]!.session, kind: 'dividend', reason }],
      },
    });
    const split = await write('csv', { adjustment: 'split', 'adjust-asof': '2024-01-02' });
    expect(split.report).toMatchObject({ adjustments: 4, adjustments_skipped: { count: 0 } });
    expect(split.report).not.toHaveProperty('dividend_method');
    const raw = await write('csv', { adjustment: 'raw' });
    expect(raw.report).not.toHaveProperty('adjustments');
  });

  test('names a dividend of which no daily bar says how much it is', async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'HOURS');
    await addBars(sql, id, '1h', [
      { ts: '2024-01-09T15:00:00Z', close: 100 },
      { ts: '2024-01-10T15:00:00Z', close: 90 },
    ]);
    await storeActions(sql, id, [dividend('2024-01-09', 1), dividend('2024-01-10', 10)]);
    const { report, text } = await write('csv', { symbols: 'HOURS', timeframe: '1h' });
    expect(readCsv(text).map(({ close }) => close)).toEqual([100, 90]);
    const reason = 'there is no good daily bar before it, of whose close it would be a part';
    // Nothing is held before the first.
    expect(report.adjustments_skipped).toEqual({
      count: 1,
      actions: [{ symbol: 'HOURS', ex_date: '2024-01-10', kind: 'dividend', reason }],
    });
  });

  test('does not count a dividend by a close that is impossible, or of a closed day', async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'WRONG');
    const at = (session: string, close: number, change = {}) =>
      flatBar(session, { open: close, high: close, low: close, close, ...change });
    await ingest(sql, id, [
      ...[at('2024-01-09', 100), at('2024-01-10', 50, { high: 1 }), at('2024-01-13', 20)],
      at('2024-01-16', 90),
    ]);
    await storeActions(sql, id, [dividend('2024-01-16', 10)]);
    const { text } = await write('csv', { symbols: 'WRONG' });
    expect(readCsv(text).map(({ close }) => close)).toEqual([90, 45, 18, 90]);
  });

  test('takes a missing close from minutes, as the API does', async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'GAPPY');
    await ingest(sql, id, [flatBar('2024-01-09', { open: 5, high: 5, low: 5, close: 5 })]);
    await addBars(sql, id, '1m', [
      { ts: '2024-01-10T20:59:00Z', close: 100 },
      { ts: '2024-01-11T20:59:00Z', close: 90 },
    ]);
    await sql`
      insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
        provider, asked_at)
      values (${id}, '1m', '2024-01-10', '2024-01-12', 'complete', true, 'vendor', '2024-03-01')`;
    await storeActions(sql, id, [dividend('2024-01-11', 10)]);
    for (const method of ['previous_close', 'ex_close']) {
      const query = `start=2024-01-10&end=2024-01-11&timeframe=1m&adjustment=all`;
      const { data } = await server.json<{ data: Row[] }>(
        `/api/v1/historical/GAPPY?${query}&dividend_method=${method}&session=all`,
      );
      expect(data[0]!.close).not.toBe(100);
      const options = { symbols: 'GAPPY', timeframe: '1m', 'dividend-method': method };
      const { text } = await write('csv', options);
      expect(readCsv(text).map(numbersOf)).toEqual(data.map(numbersOf));
    }
  });

  test('sees the events of one instant', async () => {
    const { sql, url } = database();
    const ids = [await addInstrument(sql, 'EV1'), await addInstrument(sql, 'EV2')];
    for (const id of ids) await ingest(sql, id, [flatBar('2024-01-09'), flatBar('2024-01-10')]);
    const writer = openPool(url, { connections: 1 });
    const request: ExportRequest = {
      ...{ table: exportTable('1d'), layout: 'csv', statementTimeoutMs: 10_000, pageRows: 1 },
      symbols: ['EV1', 'EV2'],
      adjustment: {
        ...{ adjustment: 'split', dividendMethod: 'previous_close', calendar },
        ...{ asofDay: toDay('2024-02-01'), nowMs: Date.now() },
      },
    };
    const rows = await readExport(sql, request, async ({ pages }) => {
      const texts: string[] = [];
      for await (const { text } of pages()) {
        if (texts.length === 0) await storeActions(writer, ids[1]!, [split('2024-01-10', 1, 4)]);
        texts.push(new TextDecoder().decode(text));
      }
      return texts.map((text) => text.split(',')[5]);
    });
    await writer.end();
    expect(new Set(rows).size).toBe(1);
    const { text } = await write('csv', { symbols: 'EV2' });
    expect(new Set(readCsv(text).map(({ close }) => close)).size).toBe(2);
  });
});
