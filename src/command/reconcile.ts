import { InputError } from '../errors.ts';
import { makeYahooSource, readFileSource } from '../ingest/bar-source.ts';
import {
  type BarSource,
  type DayRange,
  type ReconcileContext,
  type ReconcileRequest,
  reconcileRange,
  runReconciliation,
} from '../ingest/reconcile.ts';
import { toDate, toDay } from '../model/session.ts';
import { makeYahoo } from '../providers/yahoo.ts';
import { selectPriceActions } from '../query/corporate-actions.ts';
import {
  describeReconciliation,
  type StoredReconciliation,
  selectReconciliations,
} from '../query/reconciliation.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol, selectInstruments } from '../store/symbols.ts';
import { formatTable, printProgress } from '../terminal.ts';
import {
  abortOnSignal,
  type Command,
  type CommandContext,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';

export const reconcileCommand: Command = {
  name: 'reconcile',
  summary: 'compare stored daily bars with a second source: Yahoo, or a CSV file',
  usage: `usage: marketd reconcile [--symbols AAPL,MSFT] [--from DATE] [--to DATE] [--json]
       marketd reconcile --sample 5 [--seed N] [OPTION...]
       marketd reconcile --file FILE [OPTION...]

Compares raw daily bars field by field: up to 0.2 % apart agree, more than 0.5 % differ, more than
5 % conflict. Says which side the evidence is against, since when, and whether a split or dividends
explain it. Yahoo's prices are adjusted for splits; that is undone by the splits Yahoo lists. Volume
has no part in the verdict. Results are stored (GET /api/v1/reconciliation, and the page
/dashboard/reconciliation); bars are never changed.

  --symbols LIST  of whom; else a sample, or with --file all of the file that are held
  --sample N      so many tracked symbols, those not checked for longest (default: 5)
  --seed N        the sample that was drawn with this number, which is printed
  --from DATE     first session (default: a year before the last; of a file its first)
  --to DATE       last session (default: the latest with bars; of a file its last)
  --file FILE     a CSV file of raw daily bars, of any layout that \`marketd import\` reads
  --columns LIST  for files without a header: date,open,high,low,close,volume
  --json          print JSON

Exit codes: 0 compared, whatever came of it; 1 another process is at it; 2 bad usage; 3 the source
failed, for some symbol or altogether.`,
  run: runReconcile,
};

const OPTIONS = {
  symbols: { type: 'string' },
  sample: { type: 'string' },
  seed: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  file: { type: 'string' },
  columns: { type: 'string' },
  json: { type: 'boolean' },
} as const;

const SAMPLE_DEFAULT = 5;
const SAMPLE_MAX = 10_000;
const SEED_MAX = 999_999_999;

interface Wanted {
  symbols: string[] | undefined;
  sample: number;
  seed: number;
  range: Partial<DayRange>;
  file: string | undefined;
  columns: string | undefined;
  isJson: boolean;
}

/** @throws InputError */
function parseWanted(args: readonly string[]): Wanted {
  const { values } = parse(args, OPTIONS);
  const { symbols, sample, seed, from, to, file, columns } = values;
  const isDrawn = sample !== undefined || seed !== undefined;
  if (symbols !== undefined && isDrawn) {
    throw new InputError('name --symbols, or have a --sample drawn: not both', 'sample');
  }
  if (file !== undefined && isDrawn) {
    throw new InputError(
      'of a --file all symbols are compared: name --symbols for fewer',
      'sample',
    );
  }
  if (columns !== undefined && file === undefined) {
    throw new InputError('--columns says what is in a --file', 'columns');
  }
  const range = { firstDay: parseDay(from, 'from'), lastDay: parseDay(to, 'to') };
  const { firstDay = 0, lastDay = Number.POSITIVE_INFINITY } = range;
  if (firstDay > lastDay) throw new InputError(`--from ${from} is after --to ${to}`, 'from');
  return {
    symbols: symbols?.split(',').map((symbol) => checkSymbol(symbol.trim(), 'symbols')),
    sample: parseCount(sample, 'sample', SAMPLE_MAX) ?? SAMPLE_DEFAULT,
    seed: parseCount(seed, 'seed', SEED_MAX) ?? 1 + Math.floor(Math.random() * SEED_MAX),
    range,
    file,
    columns,
    isJson: values.json === true,
  };
}

function parseDay(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const day = toDay(text);
  if (!Number.isNaN(day)) return day;
  throw new InputError(`--${name} must be a date, written 2024-01-31, not ${text}`, name);
}

function parseCount(text: string | undefined, name: string, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new InputError(`--${name} must be a whole number from 1 to ${max}, not ${text}`, name);
}

async function runReconcile(args: readonly string[], context: CommandContext): Promise<number> {
  const wanted = parseWanted(args);
  const { terminal, config } = context;
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    await checkSchema(database.read);
    const reconcile: ReconcileContext = {
      database,
      calendar: await loadCalendar(database.read),
      publishDelayMs: config.PUBLISH_DELAY_MINUTES * 60_000,
      now: Date.now,
      actionsOf: (instrumentId) => selectPriceActions(database.read, instrumentId),
      log,
    };
    const request = await makeRequest(wanted, reconcile, context);
    const progress = printProgress<{ done: number; total: number; symbol: string }>(terminal, {
      line: ({ done, total, symbol }) => `reconcile: ${done} of ${total} (${symbol})`,
      beside: ({ symbol }) => symbol,
    });
    const signal = abortOnSignal();
    const onProgress = terminal.isInteractive ? progress.show : undefined;
    const report = await runReconciliation(reconcile, { ...request, onProgress }, signal).finally(
      progress.end,
    );
    const { runId, requests } = report;
    const limit = Math.max(1, report.results.length);
    const results = await selectReconciliations(database.read, { runId, limit });
    const seed = 'seed' in request.which ? request.which.seed : null;
    if (wanted.isJson) {
      const shown = results.map(describeReconciliation);
      terminal.out(JSON.stringify({ run_id: runId, seed, requests, results: shown }, null, 2));
    } else terminal.out(describeResults(results, request, seed));
    return results.some(({ error }) => error !== null) ? 3 : 0;
  });
}

/** @throws InputError */
async function makeRequest(
  { symbols, sample, seed, range, file, columns }: Wanted,
  context: ReconcileContext,
  { config }: CommandContext,
): Promise<ReconcileRequest> {
  const origin = 'command';
  if (file === undefined) {
    const source: BarSource = makeYahooSource(
      makeYahoo({
        baseUrl: config.YAHOO_BASE_URL,
        requestsPerMinute: config.YAHOO_REQUESTS_PER_MINUTE,
        calendar: context.calendar,
        log: context.log,
      }),
    );
    const which = symbols ? { symbols } : { count: sample, seed };
    return { source, which, range: reconcileRange(context, range), origin };
  }
  const source = await readFileSource(file, { symbols, columns });
  const whole = reconcileRange(context, {
    firstDay: range.firstDay ?? source.range.firstDay,
    lastDay: range.lastDay ?? source.range.lastDay,
  });
  if (symbols) return { source, which: { symbols }, range: whole, origin };
  const day = toDate(whole.lastDay);
  const held = await selectInstruments(context.database.read, { symbols: source.symbols, day });
  if (held.length === 0) {
    const some = source.symbols.slice(0, 5).join(', ');
    throw new InputError(`no symbol of ${file} is held (it has ${some})`, 'file');
  }
  return { source, which: { symbols: held.map(({ symbol }) => symbol) }, range: whole, origin };
}

// --------------------------------------------------------------------------- printing

const WORST_SHOWN = 3;
const HEADER = [
  ...['symbol', 'verdict', 'who differs', 'agree', 'near', 'differ', 'conflict'],
  ...['sessions', 'only ours', 'only theirs', 'volume differs'],
];

function describeResults(
  results: readonly StoredReconciliation[],
  { source, range }: ReconcileRequest,
  seed: number | null,
): string {
  const [first, last] = [toDate(range.firstDay), toDate(range.lastDay)];
  const drawn = seed === null ? '' : `, drawn with --seed ${seed}`;
  const lines = [
    `${group(results.length)} symbols, ${first} to ${last}, against ${source.name}${drawn}`,
  ];
  if (results.length > 0) lines.push(formatTable(HEADER, results.map(toCells)));
  for (const result of results) lines.push(...describeRemarks(result));
  return lines.join('\n');
}

function toCells({ symbol, verdict, side, compared, found }: StoredReconciliation) {
  const sum = (name: 'agree' | 'near' | 'differ' | 'conflict') =>
    Object.values(found?.fields ?? {}).reduce((total, field) => total + field[name], 0);
  return [
    ...[symbol, verdict, side ?? '-', sum('agree'), sum('near'), sum('differ'), sum('conflict')],
    ...[compared, found?.only_ours.count ?? 0, found?.only_theirs.count ?? 0],
    found?.volume.differ ?? 0,
  ];
}

/** What there is to say of a symbol beyond its counts; nothing when all is well. */
function describeRemarks({ symbol, found, error }: StoredReconciliation): string[] {
  if (!found) return [`${symbol}: failed: ${error}`];
  const lines = found.explanations.map(({ sentence }) => `${symbol}: ${sentence}`);
  for (const { session, field, ours, theirs, difference, why } of found.worst.slice(
    0,
    WORST_SHOWN,
  )) {
    const by = difference === null ? '' : ` (${(100 * difference).toFixed(2)} %)`;
    const other = Number(theirs.toPrecision(8));
    lines.push(`${symbol}: ${session} ${field}: ours ${ours}, theirs ${other}${by}: ${why}`);
  }
  const more = found.worst.length - WORST_SHOWN;
  if (more > 0) lines.push(`${symbol}: ... and ${more} more; --json has them`);
  for (const [name, { count, sessions }] of [
    ['ours', found.only_ours],
    ['theirs', found.only_theirs],
  ] as const) {
    if (count === 0) continue;
    const some = sessions.slice(0, 5).join(', ');
    lines.push(`${symbol}: only ${name}: ${some}${count > 5 ? `, ... (${group(count)})` : ''}`);
  }
  for (const { kind, ex_date, ours, theirs } of found.actions.slice(0, 5)) {
    const values = `ours ${ours ?? 'none'}, theirs ${theirs ?? 'none'}`;
    lines.push(`${symbol}: ${kind} of ${ex_date}: ${values}`);
  }
  return lines;
}
