import type { Config } from '../config.ts';
import { InputError } from '../errors.ts';
import {
  type BackfillContext,
  type BackfillReport,
  type BackfillRequest,
  holderDay,
  planRequest,
  runBackfill,
} from '../ingest/backfill.ts';
import { describeBudget, planMinutes } from '../ingest/plan.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import { yearsAgo } from '../model/session.ts';
import { checkSymbol, TRACKED_TIMEFRAMES, upsertSymbols } from '../store/symbols.ts';
import { makeProgress, type Terminal } from '../terminal.ts';
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

export const backfillCommand: Command = {
  name: 'backfill',
  summary: 'fetch what is missing of the history',
  usage: `usage: marketd backfill SYMBOL... [RANGE] [OPTION...]
       marketd backfill --all [RANGE] [OPTION...]

Asks for the sessions that coverage says are missing, and only for them; may be killed and run
again at any time. Symbols that are not tracked yet are added.

  --all            every tracked symbol (that is tracked in the timeframe)
  --timeframe T    1d (default), 1h or 1m; other timeframes are made of these when asked for
  --interval I     the same as minute, hour or day; with --multiplier N
  --from DATE      first session (YYYY-MM-DD); with --to DATE, the last one
  --days N         the last N days (default below a day: DEFAULT_DAYS, 90)
  --years N        the last N years (default: BACKFILL_YEARS, 5)
  --retry-empty    ask again for what was empty or refused, although its time has not come
  --dry-run        print what it would cost, and ask for no bars
  --debug          say on stderr what is asked and answered
  --json           print JSON`,
  run: runBackfillCommand,
};

const BACKFILL_OPTIONS = {
  all: { type: 'boolean' },
  timeframe: { type: 'string' },
  interval: { type: 'string' },
  multiplier: { type: 'string' },
  debug: { type: 'boolean' },
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

const INTERVALS = { minute: '1m', hour: '1h', day: '1d' } as const;

/**
 * What to fetch: --timeframe, or --interval and --multiplier as the market-hours pipeline had them.
 * Its multiples are made of the stored timeframe when they are asked for.
 * @throws InputError
 */
export function parseStored(options: {
  timeframe?: string;
  interval?: string;
  multiplier?: string;
}): '1d' | StoredIntraday {
  const { timeframe, interval, multiplier } = options;
  if (timeframe !== undefined && (interval !== undefined || multiplier !== undefined)) {
    throw new InputError('say --timeframe, or --interval with --multiplier, not both');
  }
  if (multiplier !== undefined) parseCount(multiplier, 'multiplier', 1440);
  if (interval !== undefined) {
    if (Object.hasOwn(INTERVALS, interval)) return INTERVALS[interval as keyof typeof INTERVALS];
    throw new InputError(`--interval must be minute, hour or day, not ${interval}`);
  }
  if (multiplier !== undefined) throw new InputError('--multiplier needs --interval');
  const stored = TRACKED_TIMEFRAMES.find((one) => one === (timeframe ?? '1d'));
  if (stored !== undefined) return stored;
  throw new InputError(
    `--timeframe must be one that is stored, ${TRACKED_TIMEFRAMES.join(', ')}, not ${timeframe}: ` +
      'all others are made of them when they are asked for',
  );
}

function parseCount(text: string, name: string, max: number): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= max) return count;
  throw new InputError(`--${name} must be a whole number from 1 to ${max}, not ${text}`);
}

/** The range of a backfill. @throws InputError */
export function parseRange(
  { from, to, days, years }: RangeOptions,
  config: Config,
  nowMs: number,
  timeframe: '1d' | StoredIntraday = '1d',
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
  const isShort = timeframe !== '1d' && years === undefined;
  if (days !== undefined || isShort) {
    const count = days === undefined ? config.DEFAULT_DAYS : parseCount(days, 'days', 20_000);
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
  const timeframe = parseStored(values);
  const range = parseRange(values, config, Date.now(), timeframe);
  const level = values.debug ? 'DEBUG' : config.LOG_LEVEL;
  const log = commandLog({ config: { ...config, LOG_LEVEL: level }, terminal }, !values.debug);
  return withWarehouse(context, log, async (warehouse) => {
    const backfill = await makeContext(warehouse, config, log);
    const request: BackfillRequest = {
      ...range,
      timeframe,
      symbols,
      origin: 'command',
      retryEmpty: values['retry-empty'],
    };
    if (values['dry-run']) {
      return printBudget(backfill, request, terminal, values.json === true);
    }
    if (symbols) {
      const day = holderDay(backfill, range.lastSession);
      await upsertSymbols(warehouse.database.write, symbols, { isTracked: true, day });
    }
    const signal = abortOnSignal();
    const progress = makeProgress(terminal);
    const report = await runBackfill(backfill, {
      ...request,
      signal,
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
  const noun = (request.timeframe ?? '1d') === '1d' ? 'bars' : 'sessions';
  const what = `${missing} missing ${noun} of ${instruments.length} symbols`;
  terminal.out(`for ${what}: ${parts.join(', ')}`);
  return 0;
}

export function describeReport(report: BackfillReport): string {
  const { inserted, changed, unchanged, rejected, requests } = report;
  if (report.runId === null) return 'nothing is missing: no request was sent';
  return (
    `${group(inserted)} bars new, ${group(changed)} changed, ${group(unchanged)} unchanged, ` +
    `${group(rejected)} rows rejected, ${group(requests)} requests`
  );
}

function printReport(report: BackfillReport, terminal: Terminal): void {
  terminal.out(describeReport(report));
  printFailures(report, terminal);
}

/** What the plan with the provider does not include, and what failed. */
export function printFailures(report: BackfillReport, terminal: Terminal): void {
  if (report.entitledFrom !== null) {
    terminal.out(`your plan includes data from ${report.entitledFrom} on; older was refused`);
  }
  for (const { symbol, error } of report.failures.slice(0, 20)) {
    terminal.err(`failed: ${symbol}: ${error}\n`);
  }
  const more = report.failures.length - 20;
  if (more > 0) terminal.err(`... and ${more} more; see backfill_history\n`);
}
