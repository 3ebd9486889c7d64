import { basename, extname } from 'node:path';
import { errorMessage, InputError } from '../errors.ts';
import {
  ADJUSTMENTS,
  type Adjustment,
  DIVIDEND_METHODS,
  type DividendMethod,
} from '../model/adjustment.ts';
import { type Calendar, newYorkDay, toDate, toDay } from '../model/session.ts';
import {
  type ExportPage,
  type ExportRequest,
  type ExportSource,
  FIRST_CONDITION_PARAMETER,
  readExport,
} from '../query/export.ts';
import type { AppliedAdjustments } from '../query/export-adjusted.ts';
import {
  EXPORT_DATASETS,
  type ExportDataset,
  type ExportTable,
  exportTable,
} from '../query/export-columns.ts';
import { InsertWriter, scriptHead, scriptTail } from '../query/export-script.ts';
import { parseWhere } from '../query/where.ts';
import { loadCalendar } from '../store/calendar.ts';
import { isDatabaseAway, type Sql } from '../store/database.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol } from '../store/symbols.ts';
import { printProgress, type Terminal } from '../terminal.ts';
import {
  abortOnSignal,
  type Command,
  type CommandContext,
  checkDate,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';
import { type ExportFile, openExportFile } from './export-file.ts';
import { ParquetEncoder } from './parquet.ts';

export const exportCommand: Command = {
  name: 'export',
  summary: 'write bars, trades or snapshots to a CSV, NDJSON, SQL or Parquet file',
  usage: `usage: marketd export -o FILE [--symbols A,B | --all] [RANGE] [OPTION...]

Writes what is stored, as it was at one instant, in constant memory. FILE appears when it is whole
(until then it is FILE.part), or not at all; what is there already is replaced with --force only.

  -o, --output FILE  where to; - is stdout
  --format F         csv, ndjson, sql or parquet (default: by FILE's name, else sql)
                     a name that ends in .gz is compressed, as bars.csv.gz; not parquet, which
                     compresses itself
  --symbols A,B      whose rows (default, and --all: every symbol that has any), by the symbols
                     that they have at --to, else now; of two of one symbol the earlier one is
                     written with its last day behind it, VXX.20190129
  --timeframe T      1d (default), 1h, 1m, trades or snapshots
  --from DATE        first session (YYYY-MM-DD, New York); --to DATE the last one, inclusive
  --where CONDITION  only rows for which it holds, over the columns of the file:
                       "close > 100 and symbol in ('AAPL', 'MSFT') and flags = ''"
                     ${"flags are names joined by spaces: flags like '%gap%'; meta ->> 'source'"}
                     with = <> < <= > >= + - * / %, and or not, in, between, like, ilike, is null,
                     abs ceil floor length lower round upper
  --adjustment A     of bars: raw (default, as traded), split (prices and volume in today's shares)
                     or all (splits and dividends), as the API has it; not for sql
  --adjust-asof DATE only splits and dividends with an ex-date up to then are known (default: today)
  --dividend-method M  with all: previous_close (default) or ex_close
  --batch-size N     rows of an INSERT, and rows read at a time: 1 to 100000 (default: 1000 for
                     sql, else 5000)
  --statement-timeout T  give up when reading one batch takes longer: 500ms, 300s (default), 10m
  --force            replace FILE
  --json             print the report as JSON

sql is a script for psql that loads into marketd and into a database without tables: instruments
are found or made by symbol, rows that are there stay, counters and coverage are brought up to date.
csv is what \`marketd import\` reads. Exit codes: 0 written (also when no row matched: the file then
has its header only), 1 it could not be written or read to the end, 2 bad usage.`,
  run: runExport,
};

const FORMATS = ['csv', 'ndjson', 'sql', 'parquet'] as const;
export type ExportFormat = (typeof FORMATS)[number];

const EXPORT_OPTIONS = {
  output: { type: 'string', short: 'o' },
  format: { type: 'string' },
  symbols: { type: 'string' },
  all: { type: 'boolean' },
  timeframe: { type: 'string', default: '1d' },
  from: { type: 'string' },
  to: { type: 'string' },
  where: { type: 'string' },
  adjustment: { type: 'string', default: 'raw' },
  'adjust-asof': { type: 'string' },
  'dividend-method': { type: 'string' },
  'batch-size': { type: 'string' },
  'statement-timeout': { type: 'string', default: '300s' },
  force: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const BATCH_ROWS_MAX = 100_000;
const INSERT_ROWS = 1_000;
/** 400 KB of text: larger pages are no faster. */
const PAGE_ROWS = 5_000;

/** What is to be exported, and to where. */
export interface ExportPlan {
  output: string;
  format: ExportFormat;
  isGzip: boolean;
  isForced: boolean;
  table: ExportTable;
  symbols?: readonly string[];
  from?: string;
  to?: string;
  where?: string;
  /** Undefined: bars as they are stored. */
  adjustment?: AdjustmentPlan;
  batchRows: number;
  statementTimeoutMs: number;
}

export interface AdjustmentPlan {
  adjustment: Exclude<Adjustment, 'raw'>;
  dividendMethod: DividendMethod;
  /** 'YYYY-MM-DD'; undefined: today. */
  asof?: string;
}

/** What was done to the bars of a file, in the words of the API. */
export interface AdjustmentReport {
  adjustment: Exclude<Adjustment, 'raw'>;
  dividend_method?: DividendMethod;
  adjust_asof: string;
  /** Ex-dates whose splits and dividends were applied. */
  adjustments: number;
  /** Dividends that could not be applied; the first of them are named. */
  adjustments_skipped: { count: number; actions: AppliedAdjustments['actions'] };
}

export interface ExportReport extends Partial<AdjustmentReport> {
  file: string;
  format: ExportFormat;
  timeframe: ExportDataset;
  /** Symbols of which there is a row. */
  symbols: number;
  rows: number;
  /** Of the file, compressed when it is. */
  bytes: number;
}

// ------------------------------------------------------------------------- options

type ExportValues = {
  [name in keyof typeof EXPORT_OPTIONS]?: (typeof EXPORT_OPTIONS)[name]['type'] extends 'boolean'
    ? boolean
    : string;
};

/** @throws InputError that names the option. */
export function parsePlan(values: ExportValues): ExportPlan {
  const output = values.output ?? '';
  if (output === '') throw new InputError('say where to: -o FILE, or -o - for stdout', 'o');
  if (values.symbols !== undefined && values.all) {
    throw new InputError('say --symbols or --all, not both');
  }
  const { format, isGzip } = parseFormat(output, values.format);
  const { from, to } = values;
  for (const [name, date] of [['from', from] as const, ['to', to] as const]) {
    if (date !== undefined) checkDate(date, name);
  }
  if (from !== undefined && to !== undefined && to < from) {
    throw new InputError(`--to (${to}) lies before --from (${from})`);
  }
  const table = exportTable(parseDataset(values.timeframe ?? '1d'));
  const plan = {
    ...{ output, format, isGzip, isForced: values.force === true, table, from, to },
    symbols: values.symbols?.split(',').map((symbol) => checkSymbol(symbol.trim(), 'symbols')),
    where: values.where,
    adjustment: parseAdjustment(values, format, table),
    batchRows: parseBatch(values['batch-size'], format === 'sql' ? INSERT_ROWS : PAGE_ROWS),
    statementTimeoutMs: parseTimeout(values['statement-timeout'] ?? '300s'),
  };
  // Nothing is opened for a condition that makes no sense.
  if (plan.where !== undefined) parseWhere(plan.where, table, FIRST_CONDITION_PARAMETER);
  return plan;
}

const EXTENSIONS: Record<string, ExportFormat> = {
  ...{ '.csv': 'csv', '.ndjson': 'ndjson', '.jsonl': 'ndjson', '.sql': 'sql' },
  '.parquet': 'parquet',
};
/** Names that promise what is not written here. */
const FOREIGN =
  /^\.(json|tsv|xlsx?|ods|zip|bz2|xz|zst|lz4|7z|tar|arrow|feather|orc|avro|db|sqlite)$/;

function parseFormat(output: string, given: string | undefined) {
  const isGzip = /\.gz$/i.test(output);
  const extension = extname(isGzip ? output.slice(0, -3) : output).toLowerCase();
  const known = FORMATS.find((format) => format === given);
  if (given !== undefined && known === undefined) {
    throw new InputError(`--format must be one of ${FORMATS.join(', ')}, not ${given}`, 'format');
  }
  if (known === undefined && FOREIGN.test(extension)) {
    throw new InputError(
      `${basename(output)} does not say which format: name it .csv, .ndjson, .sql or .parquet ` +
        '(.gz may follow), or say --format',
      'format',
    );
  }
  const format = known ?? EXTENSIONS[extension] ?? 'sql';
  if (format === 'parquet' && isGzip) {
    throw new InputError('parquet compresses itself: name the file .parquet, without .gz', 'o');
  }
  return { format, isGzip };
}

function parseDataset(text: string): ExportDataset {
  const dataset = EXPORT_DATASETS.find((one) => one === text);
  if (dataset !== undefined) return dataset;
  throw new InputError(
    `--timeframe must be one that is stored, ${EXPORT_DATASETS.join(', ')}, not ${text}`,
    'timeframe',
  );
}

function parseAdjustment(
  values: ExportValues,
  format: ExportFormat,
  { dataset, noun }: ExportTable,
): AdjustmentPlan | undefined {
  const asof = values['adjust-asof'];
  const method = values['dividend-method'];
  const adjustment = parseWord(values.adjustment ?? 'raw', 'adjustment', ADJUSTMENTS);
  if (asof !== undefined && adjustment === 'raw') {
    throw new InputError(
      '--adjust-asof says which splits and dividends are known: it is for --adjustment split ' +
        'or all',
      'adjust-asof',
    );
  }
  if (method !== undefined && adjustment !== 'all') {
    throw new InputError(
      '--dividend-method says how dividends are applied: it is for --adjustment all',
      'dividend-method',
    );
  }
  if (adjustment === 'raw') return undefined;
  if (dataset === 'trades' || dataset === 'snapshots') {
    throw new InputError(
      `--adjustment is for bars; ${noun} are exported as they are`,
      'adjustment',
    );
  }
  if (format === 'sql') {
    throw new InputError(
      '--adjustment is for csv, ndjson and parquet: sql is a script that loads into marketd, ' +
        'which holds raw bars and adjusts them when they are read',
      'adjustment',
    );
  }
  if (asof !== undefined) checkDate(asof, 'adjust-asof');
  const dividendMethod = parseWord(method ?? 'previous_close', 'dividend-method', DIVIDEND_METHODS);
  return { adjustment, dividendMethod, asof };
}

function parseWord<const T extends string>(text: string, name: string, words: readonly T[]): T {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new InputError(`--${name} must be one of ${words.join(', ')}, not ${text}`, name);
}

function parseBatch(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const rows = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (rows >= 1 && rows <= BATCH_ROWS_MAX) return rows;
  throw new InputError(
    `--batch-size must be a whole number from 1 to ${BATCH_ROWS_MAX}, not ${text}`,
    'batch-size',
  );
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const TIMEOUT_MS_MAX = 24 * 3_600_000;

function parseTimeout(text: string): number {
  const [, count, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? [];
  const ms = Number(count) * UNITS_MS[unit];
  if (ms >= 1 && ms <= TIMEOUT_MS_MAX) return ms;
  throw new InputError(
    `--statement-timeout must be a time from 1ms to 24h, as 500ms, 300s or 10m, not ${text}`,
    'statement-timeout',
  );
}

// --------------------------------------------------------------------------- files

export interface ExportOptions {
  signal?: AbortSignal;
  onProgress?: (progress: ExportProgress) => void;
  /** Epoch ms; Date.now when missing. */
  now?: () => number;
}

export interface ExportProgress {
  /** Of all rows, or of all symbols where rows are chosen by a range or a condition. */
  done: number;
  total: number;
  rows: number;
  current: string;
}

/**
 * Exports to a file. When anything fails the file is as it was before, or still not there.
 * @throws InputError, or Error that says what could not be read or written.
 */
export async function exportFile(
  write: Sql,
  calendar: Calendar,
  plan: ExportPlan,
  options: ExportOptions = {},
): Promise<ExportReport> {
  const { format, table, where, batchRows } = plan;
  const nowMs = (options.now ?? Date.now)();
  const asof = plan.adjustment?.asof ?? toDate(newYorkDay(nowMs));
  const request: ExportRequest = {
    ...{ table, symbols: plan.symbols, from: plan.from, to: plan.to, signal: options.signal },
    layout: format === 'parquet' ? 'columns' : format,
    condition:
      where === undefined ? undefined : parseWhere(where, table, FIRST_CONDITION_PARAMETER),
    statementTimeoutMs: plan.statementTimeoutMs,
    pageRows: batchRows,
    adjustment: plan.adjustment && { ...plan.adjustment, asofDay: toDay(asof), calendar, nowMs },
  };
  let applied: AppliedAdjustments | undefined;
  const symbols = new Set<string>();
  let rows = 0;
  const count = (page: ExportPage) => {
    rows += page.rows;
    symbols.add(page.instrument.symbol);
  };
  try {
    const bytes = await readExport(write, request, async (source) => {
      const file = await openExportFile(plan.output, plan);
      try {
        const pages = watch(source, request, count, options.onProgress);
        await writeRows(file, source, pages, { request, calendar, plan });
        ({ applied } = source);
        options.signal?.throwIfAborted();
        return await file.finish();
      } catch (error) {
        await file.abandon();
        throw error;
      }
    });
    const { dataset } = table;
    return {
      ...{ file: plan.output, format, timeframe: dataset, symbols: symbols.size, rows, bytes },
      ...(plan.adjustment && applied && describeApplied(plan.adjustment, asof, applied)),
    };
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    throw new Error(`the database went away after ${group(rows)} rows: ${errorMessage(error)}`);
  }
}

function describeApplied(
  { adjustment, dividendMethod }: AdjustmentPlan,
  asof: string,
  { applied, skipped, actions }: AppliedAdjustments,
): AdjustmentReport {
  return {
    adjustment,
    ...(adjustment === 'all' && { dividend_method: dividendMethod }),
    ...{ adjust_asof: asof, adjustments: applied },
    adjustments_skipped: { count: skipped, actions },
  };
}

/** The pages of a source, counted as they pass. */
async function* watch(
  source: ExportSource,
  { from, to, condition }: ExportRequest,
  count: (page: ExportPage) => void,
  onProgress: ExportOptions['onProgress'],
): AsyncGenerator<ExportPage, void, undefined> {
  const { instruments } = source;
  const isWhole = from === undefined && to === undefined && condition === undefined;
  const records = isWhole ? instruments.reduce((sum, one) => sum + one.records, 0) : 0;
  const total = records > 0 ? records : instruments.length;
  const position = new Map(instruments.map((one, i) => [one.symbol, i]));
  let rows = 0;
  for await (const page of source.pages()) {
    count(page);
    yield page;
    rows += page.rows;
    const { symbol } = page.instrument;
    onProgress?.({
      // The last is said once, below.
      done: Math.min(total - 1, records > 0 ? rows : (position.get(symbol) ?? 0)),
      ...{ total, rows, current: symbol },
    });
  }
  onProgress?.({ done: total, total, rows, current: 'all' });
}

interface Writing {
  request: ExportRequest;
  calendar: Calendar;
  plan: ExportPlan;
}

async function writeRows(
  file: ExportFile,
  source: ExportSource,
  pages: AsyncIterable<ExportPage>,
  { request, calendar, plan }: Writing,
): Promise<void> {
  const { format, table, batchRows } = plan;
  if (format === 'parquet') {
    const encoder = new ParquetEncoder(table.columns);
    for await (const page of pages) await file.write(encoder.add(page.columns, page.rows));
    await file.write(encoder.finish());
    return;
  }
  if (format === 'sql') {
    await file.write(encode(await scriptHead(source, request, calendar)));
    const inserts = new InsertWriter(table, batchRows);
    for await (const page of pages) {
      for (const part of inserts.add(page.text, page.rows)) await file.write(part);
    }
    for (const part of inserts.end()) await file.write(part);
    await file.write(encode(scriptTail(table)));
    return;
  }
  if (format === 'csv') {
    await file.write(encode(`${table.columns.map(({ name }) => name).join(',')}\n`));
  }
  for await (const page of pages) {
    await file.write(page.text);
    await file.write(LINE_END);
  }
}

const encode = (text: string) => new TextEncoder().encode(text);
const LINE_END = encode('\n');

// ------------------------------------------------------------------------- command

async function runExport(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parse(args, EXPORT_OPTIONS);
  const plan = parsePlan(values);
  const { terminal } = context;
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    await checkSchema(database.read);
    const calendar = await loadCalendar(database.read);
    const signal = abortOnSignal();
    const progress = printProgress<ExportProgress>(terminal, {
      line: ({ rows, current }) => `export: ${group(rows)} rows (${current})`,
      beside: ({ rows, current }) => `${group(rows)} rows  ${current}`,
    });
    const report = await exportFile(database.write, calendar, plan, {
      signal,
      onProgress: (value) => progress.show(value),
    }).finally(() => progress.end());
    printReport(report, plan, terminal, values.json === true);
    return 0;
  });
}

/** On stdout; on stderr when that is where the rows went. */
function printReport(
  report: ExportReport,
  { output, table }: ExportPlan,
  terminal: Terminal,
  asJson: boolean,
): void {
  const { rows, symbols, bytes } = report;
  const of = `${group(symbols)} ${symbols === 1 ? 'symbol' : 'symbols'}`;
  const what =
    rows === 0
      ? `no rows: no ${table.noun} are held of that`
      : `${group(rows)} ${table.noun} of ${of}`;
  const where = output === '-' ? 'stdout' : output;
  const written = `${what}; ${group(bytes)} bytes written to ${where}`;
  const words = [written, ...adjustmentLines(report)].join('\n');
  const text = asJson ? JSON.stringify(report, null, 2) : words;
  if (output === '-') terminal.err(`${text}\n`);
  else terminal.out(text);
}

const SKIPPED_SHOWN_MAX = 10;

function adjustmentLines(report: ExportReport): string[] {
  const { adjustment, adjust_asof: asof, adjustments = 0, adjustments_skipped: skipped } = report;
  if (!adjustment || !skipped) return [];
  const what = adjustment === 'all' ? 'splits and dividends' : 'splits';
  const line = `adjusted for ${what} of ${group(adjustments)} ex-dates, as of ${asof}`;
  if (skipped.count === 0) return [line];
  const shown = skipped.actions.slice(0, SKIPPED_SHOWN_MAX);
  const left = skipped.count - shown.length;
  return [
    `${line}; ${group(skipped.count)} could not be applied:`,
    ...shown.map((one) => `  ${one.symbol} ${one.ex_date} ${one.kind}: ${one.reason}`),
    ...(left > 0 ? [`  and ${group(left)} more`] : []),
  ];
}
