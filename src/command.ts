import { parseArgs } from 'node:util';
import { type Config, describeConfig } from './config.ts';
import { diagnose } from './doctor.ts';
import { DatabaseError, errorMessage, InputError } from './errors.ts';
import {
  type BackfillContext,
  type BackfillReport,
  type BackfillRequest,
  planRequest,
  runBackfill,
} from './ingest/backfill.ts';
import { importFiles } from './ingest/import.ts';
import { describeBudget, planMinutes } from './ingest/plan.ts';
import { toDay } from './model/session.ts';
import { selectSymbolDetails } from './query/symbols.ts';
import { backfillContext, makeProvider, serve, yearsAgo } from './serve.ts';
import { loadCalendar } from './store/calendar.ts';
import { checkSchema, migrate } from './store/migrate.ts';
import { checkSymbol, deleteSymbols, hasInstruments, upsertSymbols } from './store/symbols.ts';
import { type Log, makeLog } from './telemetry.ts';
import { formatTable, makeProgress, type Terminal } from './terminal.ts';
import { openWarehouse, type Warehouse } from './warehouse.ts';

export interface CommandContext {
  config: Config;
  terminal: Terminal;
}

export interface Command {
  name: string;
  summary: string;
  usage: string;
  /** @returns the exit code. */
  run(args: readonly string[], context: CommandContext): Promise<number>;
}

/** Every command, in the order of `marketd --help`. */
export const COMMANDS: readonly Command[] = [
  {
    name: 'serve',
    summary: 'serve the API and the dashboard, and fill the history every night',
    usage: `usage: marketd serve [--migrate]

Serves on API_HOST:API_PORT (127.0.0.1:8000). Without DATABASE_URL it runs a PostgreSQL of its own
in MARKETD_DATA_DIR, and without POLYGON_API_KEY fills it with synthetic data, labelled as such.

  --migrate   bring the database's schema up to date first`,
    run: runServe,
  },
  {
    name: 'migrate',
    summary: "bring the database's schema up to date",
    usage: `usage: marketd migrate

Applies what is missing, under a lock; safe to run again and from many machines. Moves a database
up to TimescaleDB when the extension has become available.`,
    run: runMigrate,
  },
  {
    name: 'doctor',
    summary: 'look for what is wrong and say what mends it',
    usage: `usage: marketd doctor [--config] [--json]

Exit code 0 when nothing is a problem, else 1.

  --config    print the settings in force, secrets masked
  --json      print JSON`,
    run: runDoctor,
  },
  {
    name: 'symbols',
    summary: 'add, remove, list and import the symbols that are tracked',
    usage: `usage: marketd symbols add SYMBOL...
       marketd symbols remove SYMBOL...      stop tracking; data stays
       marketd symbols list [--json]
       marketd symbols import FILE           one symbol a line, or a CSV with a column "symbol"
       marketd symbols import --listed       every active stock that the provider lists

Symbols are case-sensitive, as exchanges spell them: AAPL, BRK.B, ABRpD.`,
    run: runSymbols,
  },
  {
    name: 'backfill',
    summary: 'fetch what is missing of the history',
    usage: `usage: marketd backfill SYMBOL... [RANGE] [OPTION...]
       marketd backfill --all [RANGE] [OPTION...]

Asks for the sessions that coverage says are missing, and only for them; may be killed and run
again at any time. Symbols that are not tracked yet are added.

  --all            every tracked symbol
  --from DATE      first session (YYYY-MM-DD); with --to DATE, the last one
  --days N         the last N days
  --years N        the last N years (default: BACKFILL_YEARS, 5)
  --retry-empty    ask again for what was empty or refused, although its time has not come
  --dry-run        print what it would cost, and ask for no bars
  --json           print JSON`,
    run: runBackfillCommand,
  },
  {
    name: 'import',
    summary: 'load bars from CSV files, also gzipped',
    usage: `usage: marketd import FILE... [OPTION...]

Recognizes the columns by their header: symbol, date, open, high, low, close, volume and, when there
are, vwap and transactions; among others the flat files day_aggs_v1. Raw prices are expected. A file
that is torn or malformed changes nothing.

  --symbol SYMBOL  for files without a symbol column (default: from the file's name)
  --columns LIST   for files without a header: date,open,high,low,close,volume
  --provider NAME  stored beside every bar (default: file)
  --json           print JSON`,
    run: runImport,
  },
];

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>;

/** @throws InputError for an unknown option or one without its value. */
function parse<T extends Options>(args: readonly string[], options: T, allowPositionals = false) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals, strict: true });
  } catch (error) {
    throw new InputError(errorMessage(error).replace(/\. To specify a positional.*$/s, ''));
  }
}

function commandLog({ config, terminal }: CommandContext, isQuiet: boolean): Log {
  const secrets = [config.POLYGON_API_KEY, password(config.DATABASE_URL)];
  return makeLog({
    level: isQuiet && config.LOG_LEVEL === 'INFO' ? 'WARNING' : config.LOG_LEVEL,
    secrets: secrets.filter((secret) => secret !== undefined),
    write: terminal.err,
    isJournal: config.JOURNAL_STREAM !== undefined,
  });
}

function password(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined;
  return decodeURIComponent(new URL(url).password) || undefined;
}

/** Opens the warehouse for the time of a command. */
async function withWarehouse<T>(
  context: CommandContext,
  log: Log,
  body: (warehouse: Warehouse) => Promise<T>,
): Promise<T> {
  const warehouse = await openWarehouse(context.config, log);
  try {
    return await body(warehouse);
  } finally {
    await warehouse.close();
  }
}

async function runServe(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parse(args, { migrate: { type: 'boolean' } });
  const { config, terminal } = context;
  const log = commandLog(context, false);
  const stopping = stopSignal();
  return withWarehouse(context, log, async (warehouse) => {
    const { database, isDemo, isEmbedded } = warehouse;
    if (values.migrate) await migrate(database.write);
    await checkSchema(database.read);
    await addDefaultSymbols(warehouse, config);
    const progress = makeProgress(terminal);
    const server = await serve({
      config,
      database,
      isDemo,
      log,
      onProgress: (value) => progress.show(value),
      onReport: (report) => {
        progress.end();
        log('INFO', describeReport(report));
      },
    });
    if (isEmbedded) log('INFO', `embedded PostgreSQL, data in ${warehouse.dataDir}`);
    if (isDemo) log('WARNING', 'demo: the data is SYNTHETIC; set POLYGON_API_KEY for real data');
    log('INFO', `serving on ${server.url}`);
    await Promise.race([server.ready, stopping]);
    if (isEmbedded) {
      terminal.out(`
  dashboard   ${server.url}/dashboard
  API docs    ${server.url}/docs
  example     ${server.url}${exampleQuery()}
${isDemo ? '\n  The data is SYNTHETIC. Ctrl+C stops; the data stays.' : '\n  Ctrl+C stops.'}
`);
    }
    const reason = await stopping;
    log('INFO', `${reason}: finishing what is under way`);
    await server.stop();
    return 0;
  });
}

/** The last year of a symbol that every new warehouse has. */
function exampleQuery(): string {
  const now = Date.now();
  return `/api/v1/historical/AAPL?start=${yearsAgo(1, now)}&end=${yearsAgo(0, now)}`;
}

/** Resolves with the name of the first signal that asks to stop. A second one ends at once. */
function stopSignal(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let isStopping = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1);
      isStopping = true;
      resolve(signal);
    });
  }
  return promise;
}

async function addDefaultSymbols({ database }: Warehouse, config: Config): Promise<void> {
  if (await hasInstruments(database.read)) return;
  await upsertSymbols(database.write, config.SYMBOLS);
}

async function runMigrate(args: readonly string[], context: CommandContext): Promise<number> {
  parse(args, {});
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    const report = await migrate(database.write);
    for (const name of report.applied) context.terminal.out(`applied ${name}`);
    context.terminal.out(`schema version ${report.version}, edition ${report.edition}`);
    return 0;
  });
}

async function runDoctor(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parse(args, { config: { type: 'boolean' }, json: { type: 'boolean' } });
  const { config, terminal } = context;
  if (values.config) {
    const lines = describeConfig(config);
    if (values.json) terminal.out(JSON.stringify(lines, null, 2));
    else for (const [name, value] of Object.entries(lines)) terminal.out(`${name}=${value}`);
    return 0;
  }
  const findings = await withWarehouse(context, commandLog(context, true), (warehouse) =>
    diagnose(warehouse, config),
  ).catch((error) => {
    if (!(error instanceof DatabaseError)) throw error;
    return [{ check: 'database', state: 'problem' as const, message: error.message }];
  });
  const isSound = findings.every(({ state }) => state !== 'problem');
  if (values.json) terminal.out(JSON.stringify({ ok: isSound, findings }, null, 2));
  else {
    for (const { check, state, message } of findings) {
      terminal.out(`${state.padEnd(8)} ${check.padEnd(9)} ${message}`);
    }
  }
  return isSound ? 0 : 1;
}

async function runSymbols(args: readonly string[], context: CommandContext): Promise<number> {
  const [action, ...rest] = args;
  const options = { json: { type: 'boolean' }, listed: { type: 'boolean' } } as const;
  const { values, positionals } = parse(rest, options, true);
  const log = commandLog(context, true);
  if (!['add', 'remove', 'list', 'import'].includes(action ?? '')) {
    throw new InputError(`say what to do: symbols add, remove, list or import`);
  }
  if (action === 'add' || action === 'remove') {
    if (positionals.length === 0) throw new InputError(`name the symbols to ${action}`);
    for (const symbol of positionals) checkSymbol(symbol);
  }
  return withWarehouse(context, log, async (warehouse) => {
    await checkSchema(warehouse.database.read);
    if (action === 'add') return addSymbols(warehouse, positionals, context.terminal);
    if (action === 'remove') return removeSymbols(warehouse, positionals, context.terminal);
    if (action === 'list') return listSymbols(warehouse, values.json === true, context.terminal);
    if (values.listed) return importListed(warehouse, context, log);
    if (positionals.length !== 1) throw new InputError('name the file to import, or say --listed');
    const symbols = await readSymbols(positionals[0]);
    return addSymbols(warehouse, symbols, context.terminal);
  });
}

async function addSymbols({ database }: Warehouse, symbols: readonly string[], terminal: Terminal) {
  const added = await upsertSymbols(database.write, symbols);
  const known = new Set(symbols).size - added.length;
  terminal.out(`${added.length} added${known > 0 ? `, ${known} tracked already` : ''}`);
  return 0;
}

async function removeSymbols(
  { database }: Warehouse,
  symbols: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const removed = await deleteSymbols(database.write, symbols);
  const unknown = symbols.filter((symbol) => !removed.includes(symbol));
  terminal.out(`${removed.length} removed; their data stays`);
  if (unknown.length === 0) return 0;
  throw new InputError(`not tracked: ${unknown.join(', ')}`);
}

async function listSymbols({ database }: Warehouse, asJson: boolean, terminal: Terminal) {
  const details = await selectSymbolDetails(database.read);
  if (asJson) {
    terminal.out(JSON.stringify(details, null, 2));
    return 0;
  }
  if (details.length === 0) {
    terminal.out('no symbols yet: marketd symbols add AAPL');
    return 0;
  }
  const header = ['symbol', 'name', 'records', 'valid %', 'first', 'latest', 'tracked'];
  const rows = details.map((detail) => [
    detail.symbol,
    (detail.name ?? '').slice(0, 32),
    detail.records,
    detail.validation_rate_pct,
    detail.start_date ?? '-',
    detail.end_date ?? '-',
    detail.tracked ? 'yes' : 'no',
  ]);
  terminal.out(formatTable(header, rows));
  return 0;
}

async function importListed(warehouse: Warehouse, context: CommandContext, log: Log) {
  const { provider } = await makeContext(warehouse, context.config, log);
  const symbols: string[] = [];
  for await (const page of provider.fetchSymbols()) {
    symbols.push(...page.map((listed) => listed.symbol));
  }
  return addSymbols(warehouse, symbols, context.terminal);
}

/** Symbols of a text file: its column "symbol" (or "ticker"), else the first one. */
async function readSymbols(path: string): Promise<string[]> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new InputError(`there is no file ${path}`);
  const lines = (await file.text())
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const header = lines[0]?.toLowerCase().split(',') ?? [];
  const column = header.findIndex((name) => name === 'symbol' || name === 'ticker');
  const rows = column >= 0 ? lines.slice(1) : lines;
  const symbols = rows.map((line) => line.split(',')[Math.max(0, column)].trim());
  if (symbols.length === 0) throw new InputError(`${path} names no symbol`);
  symbols.forEach((symbol, i) => {
    try {
      checkSymbol(symbol);
    } catch (error) {
      throw new InputError(`${path}, symbol ${i + 1}: ${errorMessage(error)}`);
    }
  });
  return symbols;
}

async function makeContext(
  warehouse: Warehouse,
  config: Config,
  log: Log,
): Promise<BackfillContext> {
  const { database, isDemo } = warehouse;
  await checkSchema(database.read);
  const calendar = await loadCalendar(database.read);
  const provider = makeProvider(config, calendar, isDemo, log);
  if (!provider) {
    throw new InputError('no provider: set POLYGON_API_KEY (or POLYGON_API_KEY_FILE)');
  }
  return backfillContext(config, database, provider, calendar, log);
}

const BACKFILL_OPTIONS = {
  all: { type: 'boolean' },
  from: { type: 'string' },
  to: { type: 'string' },
  days: { type: 'string' },
  years: { type: 'string' },
  'retry-empty': { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

interface RangeOptions {
  from?: string;
  to?: string;
  days?: string;
  years?: string;
}

function parseCount(text: string, name: string, max: number): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= max) return count;
  throw new InputError(`--${name} must be a whole number from 1 to ${max}, not ${text}`);
}

function checkDate(text: string, name: string): string {
  if (!Number.isNaN(toDay(text))) return text;
  throw new InputError(`--${name} must be a date that exists, YYYY-MM-DD, not ${text}`);
}

/** The range of a backfill. @throws InputError */
export function parseRange(
  { from, to, days, years }: RangeOptions,
  config: Config,
  nowMs: number,
): { firstSession: string; lastSession?: string } {
  const given = [from, days, years].filter((value) => value !== undefined).length;
  if (given > 1) throw new InputError('say one of --from, --days and --years');
  if (to !== undefined && from === undefined) throw new InputError('--to needs --from');
  const today = yearsAgo(0, nowMs);
  if (from !== undefined) {
    const firstSession = checkDate(from, 'from');
    const lastSession = to === undefined ? undefined : checkDate(to, 'to');
    if (lastSession !== undefined && lastSession < firstSession) {
      throw new InputError(`--to (${to}) lies before --from (${from})`);
    }
    if (firstSession > today) throw new InputError(`--from (${from}) lies in the future`);
    return { firstSession, lastSession };
  }
  if (days !== undefined) {
    const count = parseCount(days, 'days', 20_000);
    return { firstSession: yearsAgo(0, nowMs - count * 86_400_000) };
  }
  const count = years === undefined ? config.BACKFILL_YEARS : parseCount(years, 'years', 50);
  return { firstSession: yearsAgo(count, nowMs) };
}

async function runBackfillCommand(
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { values, positionals } = parse(args, BACKFILL_OPTIONS, true);
  const { config, terminal } = context;
  if (positionals.length === 0 && !values.all) {
    throw new InputError('name symbols, or say --all for every tracked one');
  }
  if (positionals.length > 0 && values.all) throw new InputError('name symbols or say --all');
  const symbols = values.all ? undefined : positionals.map((symbol) => checkSymbol(symbol));
  const range = parseRange(values, config, Date.now());
  const log = commandLog(context, true);
  return withWarehouse(context, log, async (warehouse) => {
    const backfill = await makeContext(warehouse, config, log);
    const request: BackfillRequest = {
      ...range,
      symbols,
      origin: 'command',
      retryEmpty: values['retry-empty'],
    };
    if (values['dry-run']) {
      return printBudget(backfill, request, terminal, values.json === true);
    }
    if (symbols) await upsertSymbols(warehouse.database.write, symbols);
    const abort = new AbortController();
    void stopSignal().then((signal) => abort.abort(new Error(`stopped by ${signal}`)));
    const progress = makeProgress(terminal);
    const report = await runBackfill(backfill, {
      ...request,
      signal: abort.signal,
      onProgress: (value) => progress.show(value),
    }).finally(() => progress.end());
    if (values.json) terminal.out(JSON.stringify(report, null, 2));
    else printReport(report, terminal);
    return report.failures.length > 0 ? 3 : 0;
  });
}

async function printBudget(
  backfill: BackfillContext,
  request: BackfillRequest,
  terminal: Terminal,
  asJson: boolean,
): Promise<number> {
  const { plan, instruments } = await planRequest(backfill, request);
  const perMinute = backfill.provider.requestsPerMinute;
  const { requests, dueSessions } = plan;
  if (asJson) {
    const minutes = planMinutes(requests.total, perMinute);
    const budget = { symbols: instruments.length, due_sessions: dueSessions, requests, minutes };
    terminal.out(JSON.stringify(budget, null, 2));
    return 0;
  }
  terminal.out(describeBudget(requests.total, perMinute));
  if (requests.total === 0) return 0;
  const parts = [
    `${requests.range} by symbol`,
    `${requests.grouped} by session (whole market)`,
    `${requests.splits} splits`,
    `${requests.dividends} dividends`,
    `${requests.describe} names`,
  ].filter((part) => !part.startsWith('0 '));
  const missing = dueSessions.toLocaleString('en-US');
  terminal.out(`for ${missing} missing bars of ${instruments.length} symbols: ${parts.join(', ')}`);
  return 0;
}

const group = (value: number) => value.toLocaleString('en-US');

function describeReport(report: BackfillReport): string {
  const { inserted, changed, unchanged, rejected, requests } = report;
  if (report.runId === null) return 'nothing is missing: no request was sent';
  return (
    `${group(inserted)} bars new, ${group(changed)} changed, ${group(unchanged)} unchanged, ` +
    `${group(rejected)} rows rejected, ${group(requests)} requests`
  );
}

function printReport(report: BackfillReport, terminal: Terminal): void {
  terminal.out(describeReport(report));
  if (report.entitledFrom !== null) {
    terminal.out(`your plan includes data from ${report.entitledFrom} on; older was refused`);
  }
  for (const { symbol, error } of report.failures.slice(0, 20)) {
    terminal.err(`failed: ${symbol}: ${error}\n`);
  }
  const more = report.failures.length - 20;
  if (more > 0) terminal.err(`... and ${more} more; see backfill_history\n`);
}

async function runImport(args: readonly string[], context: CommandContext): Promise<number> {
  const options = {
    symbol: { type: 'string' },
    columns: { type: 'string' },
    provider: { type: 'string', default: 'file' },
    json: { type: 'boolean' },
  } as const;
  const { values, positionals } = parse(args, options, true);
  if (positionals.length === 0) throw new InputError('name the files to import');
  if (values.symbol !== undefined) checkSymbol(values.symbol);
  const { config, terminal } = context;
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    await checkSchema(database.read);
    const calendar = await loadCalendar(database.read);
    const nobody = { name: values.provider } as BackfillContext['provider'];
    const backfill = backfillContext(config, database, nobody, calendar, log);
    const report = await importFiles(backfill, positionals, {
      provider: values.provider,
      symbol: values.symbol,
      columns: values.columns,
    });
    if (values.json) {
      terminal.out(JSON.stringify(report, null, 2));
      return 0;
    }
    const { rows, symbols, inserted, changed, unchanged, rejected, added } = report;
    terminal.out(
      `${group(rows)} rows of ${group(symbols)} symbols: ${group(inserted)} bars new, ` +
        `${group(changed)} changed, ${group(unchanged)} unchanged, ${group(rejected)} rejected`,
    );
    if (rejected > 0) terminal.out('the rejected rows and why: select * from rejected_rows');
    if (added.length > 0) {
      const some = added.slice(0, 5).join(' ');
      terminal.out(
        `${group(added.length)} symbols are new (${some}${added.length > 5 ? ' ...' : ''}); to ` +
          'have them filled every night: marketd symbols add SYMBOL',
      );
    }
    return 0;
  });
}
