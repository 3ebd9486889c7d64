import type { Config } from '../config.ts';
import { InputError } from '../errors.ts';
import type { BackfillContext } from '../ingest/backfill.ts';
import { type BackfillPlan, describeBudget, planMinutes } from '../ingest/plan.ts';
import {
  type HoleRange,
  planRepair,
  type RepairPlan,
  type RepairReport,
  type RepairRequest,
  runRepair,
  type SymbolHoles,
} from '../ingest/repair.ts';
import { toDate, yearsAgo } from '../model/session.ts';
import { checkSymbol } from '../store/symbols.ts';
import { formatTable, makeProgress, type Terminal } from '../terminal.ts';
import { describeReport, parseStored, printFailures } from './backfill.ts';
import {
  abortOnSignal,
  type Command,
  type CommandContext,
  checkDate,
  commandLog,
  group,
  makeContext,
  parse,
  withWarehouse,
} from './context.ts';

export const repairCommand: Command = {
  name: 'repair',
  summary: 'find the holes of the history, say why they are there, and fill them',
  usage: `usage: marketd repair [SYMBOL...] [OPTION...]

Looks for sessions without a bar: older than what is held, between, and newer. Says why each is
missing, and asks for what can be had, the newest first; what was empty or refused is asked for
again when its time has come. Bars on days without a session are reported, never deleted. Without
symbols: every tracked one.

  --timeframe T    1d (default), 1h or 1m
  --from DATE      first session (YYYY-MM-DD) looked at (default: BACKFILL_YEARS ago, below a day
                   DEFAULT_DAYS ago, or where a symbol's own history begins, if that is earlier)
  --to DATE        last session looked at (default: the latest that is published)
  --budget N       send at most N requests, and say what is left for the next run
  --dry-run        only say what is missing and what it would cost: ask nobody, write nothing
  --json           print JSON`,
  run: runRepairCommand,
};

const REPAIR_OPTIONS = {
  timeframe: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  budget: { type: 'string' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const BUDGET_MAX = 1_000_000;

export interface RepairOptions {
  timeframe?: string;
  from?: string;
  to?: string;
  budget?: string;
}

/** What to repair. @throws InputError */
export function parseRepair(
  symbols: readonly string[],
  options: RepairOptions,
  config: Config,
  nowMs: number,
): RepairRequest {
  const timeframe = parseStored({ timeframe: options.timeframe });
  const firstSession = parseSession(options.from, 'from');
  const lastSession = parseSession(options.to, 'to');
  const today = yearsAgo(0, nowMs);
  if (firstSession !== undefined && firstSession > today) {
    throw new InputError(`--from (${firstSession}) lies in the future`);
  }
  if (lastSession !== undefined && lastSession < (firstSession ?? '')) {
    throw new InputError(`--to (${lastSession}) lies before --from (${firstSession})`);
  }
  return {
    timeframe,
    symbols: symbols.length === 0 ? undefined : symbols.map((symbol) => checkSymbol(symbol)),
    firstSession,
    lastSession,
    horizon:
      timeframe === '1d'
        ? yearsAgo(config.BACKFILL_YEARS, nowMs)
        : yearsAgo(0, nowMs - config.DEFAULT_DAYS * 86_400_000),
    requestsMax: parseBudget(options.budget),
  };
}

const parseSession = (text: string | undefined, name: string) =>
  text === undefined ? undefined : checkDate(text, name);

function parseBudget(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const budget = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (budget >= 1 && budget <= BUDGET_MAX) return budget;
  throw new InputError(
    `--budget must be a whole number of requests from 1 to ${group(BUDGET_MAX)}, not ${text}`,
  );
}

async function runRepairCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parse(args, REPAIR_OPTIONS, true);
  const { config, terminal } = context;
  const request = parseRepair(positionals, values, config, Date.now());
  const log = commandLog(context, true);
  return withWarehouse(context, log, async (warehouse) => {
    const backfill = await makeContext(warehouse, config, log);
    if (values['dry-run']) {
      const plan = await planRepair(backfill, request);
      if (values.json) printJson(backfill, request, plan, terminal);
      else printPlan(backfill, plan, terminal);
      return 0;
    }
    const signal = abortOnSignal();
    const progress = makeProgress(terminal);
    const report = await runRepair(backfill, {
      ...request,
      signal,
      onPlan: (plan) => values.json || printPlan(backfill, plan, terminal),
      onProgress: (value) => progress.show(value),
    }).finally(() => progress.end());
    if (values.json) printJson(backfill, request, report, terminal);
    else printOutcome(report, terminal);
    return report.backfill.failures.length > 0 ? 3 : 0;
  });
}

// -------------------------------------------------------------------------- terminal

/** Symbols, and ranges of each, that are shown one by one. */
const SYMBOLS_SHOWN_MAX = 40;
const RANGES_SHOWN_MAX = 10;
const PHANTOMS_SHOWN_MAX = 5;

/** '1 symbol', '1,234 symbols' */
const count = (value: number, noun: string) => `${group(value)} ${noun}${value === 1 ? '' : 's'}`;

function printPlan(backfill: BackfillContext, plan: RepairPlan, terminal: Terminal): void {
  const { symbols, whole, affordable } = plan;
  const lacking = symbols.filter((one) => one.lacking > 0);
  const sum = (of: (one: SymbolHoles) => number) => symbols.reduce((all, one) => all + of(one), 0);
  const missing = sum((one) => one.lacking);
  terminal.out(
    `${count(symbols.length, 'symbol')}: ${count(
      sum((one) => one.held),
      'session',
    )} held, ` + `${group(missing)} missing in ${count(lacking.length, 'symbol')}`,
  );
  for (const one of lacking.slice(0, SYMBOLS_SHOWN_MAX)) printSymbol(one, terminal);
  const more = lacking.length - SYMBOLS_SHOWN_MAX;
  if (more > 0) terminal.out(`... and ${count(more, 'more symbol')}; --json has them all`);
  printPhantoms(symbols, terminal);
  const perMinute = backfill.provider.requestsPerMinute;
  if (missing === 0) return;
  const total = whole.requests.total;
  const now = affordable.requests.total;
  if (now === total) terminal.out(describeBudget(total, perMinute));
  else {
    const cost = describeBudget(now, perMinute);
    terminal.out(`${cost}; ${group(total - now)} of ${group(total)} are left for the next run`);
  }
}

function printSymbol({ symbol, held, lacking, ranges }: SymbolHoles, terminal: Terminal): void {
  terminal.out(`${symbol}: ${group(lacking)} of ${count(held + lacking, 'session')} missing`);
  const newest = ranges.slice(-RANGES_SHOWN_MAX).toReversed();
  const rows = newest.map((range) => [
    `  ${range.start} to ${range.end}`,
    range.sessions,
    range.place === 'all' ? '' : range.place,
    `${range.state}: ${range.message}${describeRetry(range)}`,
  ]);
  // Numbers stand right only in the columns after the first, which is what is wanted here.
  const [, ...lines] = formatTable(['', '', '', ''], rows).split('\n');
  for (const line of lines) terminal.out(line);
  const more = ranges.length - newest.length;
  if (more > 0) terminal.out(`  ... and ${count(more, 'older range')}`);
}

function describeRetry({ isDue, retryAt }: HoleRange): string {
  if (isDue || retryAt === null) return '';
  return ` (not before ${toDate(Math.floor(retryAt / 86_400_000))})`;
}

function printPhantoms(symbols: readonly SymbolHoles[], terminal: Terminal): void {
  for (const { symbol, phantoms } of symbols.filter((one) => one.phantoms.length > 0)) {
    const days = phantoms.slice(0, PHANTOMS_SHOWN_MAX).join(', ');
    const more = phantoms.length > PHANTOMS_SHOWN_MAX ? ', ...' : '';
    terminal.out(
      `${symbol}: ${count(phantoms.length, 'bar')} on days without a session (${days}${more}); ` +
        'kept, flagged off_session',
    );
  }
}

function printOutcome({ backfill, left }: RepairReport, terminal: Terminal): void {
  terminal.out(describeReport(backfill));
  printFailures(backfill, terminal);
  if (left.requests === 0) return;
  const { requests, sessions } = left;
  terminal.out(
    `left: ${count(sessions, 'session')} for ${count(requests, 'request')}; ` +
      'run marketd repair again',
  );
}

// ------------------------------------------------------------------------------ JSON

function printJson(
  { provider }: BackfillContext,
  { timeframe, requestsMax }: RepairRequest,
  plan: RepairPlan | RepairReport,
  terminal: Terminal,
): void {
  const { symbols, whole, affordable } = plan;
  const total = (of: (one: SymbolHoles) => number) =>
    symbols.reduce((sum, one) => sum + of(one), 0);
  const cost = ({ requests }: BackfillPlan) => ({
    ...requests,
    minutes: planMinutes(requests.total, provider.requestsPerMinute),
  });
  const answer = {
    timeframe,
    sessions: {
      held: total((one) => one.held),
      missing: total((one) => one.lacking),
      due: total((one) => one.due),
    },
    budget: requestsMax ?? null,
    requests: cost(affordable),
    requests_in_all: cost(whole),
    symbols: symbols.map(describeSymbol),
    ...('backfill' in plan && { backfill: plan.backfill, left: plan.left }),
  };
  terminal.out(JSON.stringify(answer, null, 2));
}

function describeSymbol({ symbol, held, lacking, due, ranges, phantoms }: SymbolHoles) {
  return {
    symbol,
    held,
    missing: lacking,
    due,
    ranges: ranges.map(({ isDue, retryAt, ...range }) => ({
      ...range,
      due: isDue,
      retry_at: retryAt === null ? null : new Date(retryAt).toISOString(),
    })),
    off_session: phantoms,
  };
}
