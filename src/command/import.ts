import { InputError } from '../errors.ts';
import type { BackfillContext } from '../ingest/backfill.ts';
import { type ImportReport, importFiles } from '../ingest/import.ts';
import { importActions } from '../ingest/import-actions.ts';
import { importTrades } from '../ingest/import-trades.ts';
import { EPOCH_UNITS, type EpochUnit } from '../model/instant.ts';
import type { Calendar } from '../model/session.ts';
import { sniffFile } from '../providers/minute-file.ts';
import { STAMP_ZONES, type StampZone } from '../providers/stamp.ts';
import { backfillContext } from '../serve.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol, TRACKED_TIMEFRAMES } from '../store/symbols.ts';
import type { Log } from '../telemetry.ts';
import type { Warehouse } from '../warehouse.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';

export const importCommand: Command = {
  name: 'import',
  summary: 'load bars, trades, splits and dividends from CSV files, also gzipped',
  usage: `usage: marketd import FILE... [OPTION...]

Recognizes by the header what a file holds, and its columns. Daily bars: symbol, date, open, high,
low, close, volume and, when there are, vwap and transactions; among others the flat files
day_aggs_v1. Minutes the same with a time; among others the flat files minute_aggs_v1. Trades:
symbol, timestamp (or datetime_et, sip_timestamp ...), price, size and, when there are, exchange,
conditions, sequence; among others the flat files trades_v1. Splits and dividends: symbol, ex_date
(or date), split_coefficient (or split_from and split_to), dividend_amount. Raw prices are expected.
A file that is torn or malformed changes nothing; importing it again changes nothing.

  --symbol SYMBOL  for files without a symbol column (default: from the file's name)
  --columns LIST   for files without a header: date,open,high,low,close,volume
  --timeframe T    of bars below a day: 1m (default) or 1h
  --stamp END      which end of such a bar its time is: start (default) or end
  --zone ZONE      whose local times without a zone are: America/New_York or UTC
  --unit UNIT      what numeric times count: s, ms, us or ns (default: by their size; seconds must
                   be said)
  --provider NAME  stored beside every row (default: file; csv for splits and dividends)
  --json           print JSON`,
  run: runImport,
};

const OPTIONS = {
  symbol: { type: 'string' },
  columns: { type: 'string' },
  timeframe: { type: 'string' },
  stamp: { type: 'string' },
  zone: { type: 'string' },
  unit: { type: 'string' },
  provider: { type: 'string' },
  json: { type: 'boolean' },
} as const;

interface Values {
  symbol?: string;
  columns?: string;
  timeframe?: StoredTimeframe;
  stamp?: 'start' | 'end';
  zone?: StampZone;
  unit?: EpochUnit;
  provider?: string;
  json?: boolean;
}

async function runImport(args: readonly string[], context: CommandContext): Promise<number> {
  const { values: given, positionals } = parse(args, OPTIONS, true);
  if (positionals.length === 0) throw new InputError('name the files to import');
  if (given.symbol !== undefined) checkSymbol(given.symbol);
  const values: Values = {
    ...given,
    timeframe: parseWord(given.timeframe, 'timeframe', TRACKED_TIMEFRAMES),
    stamp: parseWord(given.stamp, 'stamp', ['start', 'end']),
    zone: parseWord(given.zone, 'zone', STAMP_ZONES),
    unit: parseWord(given.unit, 'unit', Object.keys(EPOCH_UNITS) as EpochUnit[]),
  };
  const kind = await detectKind(positionals, values);
  const { terminal } = context;
  const log = commandLog(context, true);
  return withWarehouse(context, log, async (warehouse) => {
    await checkSchema(warehouse.database.read);
    const calendar = await loadCalendar(warehouse.database.read);
    const load = { context, warehouse, log, calendar, paths: positionals, values };
    const report = await loadKind(load, kind);
    if (values.json) terminal.out(JSON.stringify(report, null, 2));
    else describeReport(report, kind, terminal.out);
    return 0;
  });
}

/** @throws InputError */
function parseWord<T extends string>(
  text: string | undefined,
  name: string,
  allowed: readonly T[],
): T | undefined {
  const word = allowed.find((one) => one === text);
  if (text === undefined || word) return word;
  throw new InputError(`--${name} must be ${allowed.join(' or ')}, not ${text}`, name);
}

type StoredTimeframe = (typeof TRACKED_TIMEFRAMES)[number];
type FileKind = Awaited<ReturnType<typeof sniffFile>>;

/** In words. */
const KINDS: Record<FileKind, string> = {
  daily: 'daily bars',
  intraday: 'bars below a day',
  trades: 'trades',
  actions: 'splits and dividends',
};

/**
 * What the files hold.
 * @throws InputError when it is not the same, not what was said, or a file cannot be read.
 */
async function detectKind(
  paths: readonly string[],
  { columns, timeframe }: Values,
): Promise<FileKind> {
  const kinds: FileKind[] = [];
  for (const path of paths) kinds.push(await sniffFile(path, columns));
  const [kind] = kinds;
  const other = kinds.findIndex((one) => one !== kind);
  if (other >= 0) {
    throw new InputError(
      `${paths[0]} holds ${KINDS[kind]} and ${paths[other]} ${KINDS[kinds[other]]}: ` +
        'import them one by one',
    );
  }
  const isSaidDaily = timeframe === '1d';
  if (timeframe === undefined || (isSaidDaily ? 'daily' : 'intraday') === kind) return kind;
  throw new InputError(
    `--timeframe says ${timeframe}, and ${paths[0]} looks like ${KINDS[kind]}`,
    'timeframe',
  );
}

interface Load {
  context: CommandContext;
  warehouse: Warehouse;
  log: Log;
  calendar: Calendar;
  paths: readonly string[];
  values: Values;
}

function loadKind(load: Load, kind: FileKind): Promise<ImportReport> {
  if (kind === 'trades') return loadTrades(load);
  return kind === 'actions' ? loadActions(load) : loadBars(load, kind);
}

/** What a backfill works with, for files: there is nobody to ask. */
function fileContext({ context, warehouse, log, calendar }: Load, provider: string) {
  const nobody = { name: provider } as BackfillContext['provider'];
  return backfillContext(context.config, warehouse.database, nobody, calendar, log);
}

function loadActions(load: Load) {
  const { symbol, provider = 'csv', columns } = load.values;
  if (columns !== undefined) {
    throw new InputError('--columns is for bars and trades: these files need a header', 'columns');
  }
  return importActions(fileContext(load, provider), load.paths, { provider, symbol });
}

function loadBars(load: Load, kind: FileKind) {
  const { paths, values } = load;
  const { symbol, columns, provider = 'file', timeframe = '1m', stamp, zone, unit } = values;
  const backfill = fileContext(load, provider);
  const bars = kind === 'daily' ? '1d' : timeframe;
  if (unit !== undefined && unit !== 's') {
    throw new InputError(`--unit ${unit} is for trades; of bars only s has to be said`, 'unit');
  }
  return importFiles(backfill, paths, { provider, symbol, columns, bars, stamp, zone, unit });
}

function loadTrades({ warehouse, calendar, paths, values }: Load) {
  const { symbol, columns, zone, unit, provider = 'file' } = values;
  const options = { calendar, now: Date.now, provider, symbol, columns, zone, unit };
  return importTrades(warehouse.database.write, paths, options);
}

function describeReport(report: ImportReport, kind: FileKind, out: (text: string) => void): void {
  const { rows, symbols, inserted, changed, unchanged, rejected, added } = report;
  const noun = kind === 'trades' || kind === 'actions' ? KINDS[kind] : 'bars';
  out(
    `${group(rows)} rows of ${group(symbols)} symbols: ${group(inserted)} ${noun} new, ` +
      `${group(changed)} changed, ${group(unchanged)} unchanged, ${group(rejected)} rejected`,
  );
  if (rejected > 0) out('the rejected rows and why: select * from rejected_rows');
  if (added.length === 0) return;
  const some = added.slice(0, 5).join(' ');
  out(
    `${group(added.length)} symbols are new (${some}${added.length > 5 ? ' ...' : ''}); to ` +
      'have them filled every night: marketd symbols add SYMBOL',
  );
}
