import { once } from 'node:events';
import { errorMessage, InputError } from '../errors.ts';
import { startMarketJob } from '../ingest/market-hours.ts';
import {
  LAST_QUOTES_DELAY_MS,
  makeSnapshotCollector,
  type SnapshotCollector,
  type SnapshotReport,
} from '../ingest/snapshots.ts';
import type { Calendar } from '../model/session.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { systemClock } from '../providers/http.ts';
import { makeYahoo } from '../providers/yahoo.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol } from '../store/symbols.ts';
import type { Log } from '../telemetry.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import {
  abortOnSignal,
  type Command,
  type CommandContext,
  commandLog,
  parse,
  withWarehouse,
} from './context.ts';

export const quotesCommand: Command = {
  name: 'quotes',
  summary: 'collect snapshots from Yahoo: price, volume, market cap, P/E',
  usage: `usage: marketd quotes SYMBOL... [--once] [--every 60s] [--always] [--json]
       marketd quotes --all [OPTION...]

Stores what Yahoo shows of each symbol (table snapshots) until it is stopped, while the market is
open and once after it closed. Yahoo is not a contract: its answers are checked, it is asked
seldom (YAHOO_REQUESTS_PER_MINUTE), and left alone for a growing time when it refuses.

  --all        every symbol that is tracked
  --once       one round now, whether the market is open or not, and print it
  --every T    a round every T: 60s, 5m, or a number of seconds; 5 s to 1 h
               (default: QUOTES_INTERVAL_SECONDS, 60)
  --always     also while the market is closed
  --json       print JSON, one line a round

Only one collector works on a database at a time: a second one ends with exit code 1 and says who
the first one is. Other exit codes: 0 ok, 2 bad usage; with --once 3 when Yahoo refused, or failed
for some symbol. Symbols are spelled as everywhere here (BRK.B); other than Yahoo's rule, by the
table provider_symbols.`,
  run: runQuotes,
};

const OPTIONS = {
  all: { type: 'boolean' },
  once: { type: 'boolean' },
  every: { type: 'string' },
  always: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const UNITS = { '': 1, s: 1, m: 60, h: 3600 } as const;

/** '60s', '5m', '1h' or '90' as milliseconds; 5 s to 1 h. @throws InputError */
export function parseEvery(text: string): number {
  const match = /^(\d{1,5})(s|m|h)?$/.exec(text.trim());
  const seconds = match ? Number(match[1]) * UNITS[(match[2] ?? '') as keyof typeof UNITS] : 0;
  if (seconds >= 5 && seconds <= 3600) return seconds * 1_000;
  throw new InputError(
    `--every must be from 5 s to 1 h, written 60s, 5m or 90, not ${JSON.stringify(text)}`,
    'every',
  );
}

async function runQuotes(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parse(args, OPTIONS, true);
  const { config } = context;
  if (positionals.length === 0 && !values.all) {
    throw new InputError('name symbols, or say --all for every tracked one');
  }
  if (positionals.length > 0 && values.all) throw new InputError('name symbols or say --all');
  if (values.once && (values.every !== undefined || values.always)) {
    throw new InputError('--once is one round: it goes with neither --every nor --always');
  }
  const symbols = values.all ? undefined : positionals.map((symbol) => checkSymbol(symbol));
  const everyMs =
    values.every === undefined ? config.QUOTES_INTERVAL_SECONDS * 1_000 : parseEvery(values.every);
  const log = commandLog(context, values.once === true);
  return withWarehouse(context, log, async ({ database }) => {
    await checkSchema(database.read);
    const calendar = await loadCalendar(database.read);
    const yahoo = makeYahoo({
      baseUrl: config.YAHOO_BASE_URL,
      requestsPerMinute: config.YAHOO_REQUESTS_PER_MINUTE,
      calendar,
      log,
    });
    const collector = makeSnapshotCollector(
      { database, yahoo, now: Date.now, log },
      { symbols, origin: 'command' },
    );
    const print = (report: SnapshotReport, isTable: boolean) =>
      printReport(report, context.terminal, { asJson: values.json === true, isTable });
    const signal = abortOnSignal();
    try {
      if (values.once) {
        const report = await collector.run(signal);
        print(report, true);
        return report.failures.length > 0 ? 3 : 0;
      }
      await collector.acquire();
      const rounds: Rounds = {
        ...{ collector, everyMs, log, signal },
        print: (report) => print(report, false),
      };
      await (values.always ? collectAlways(rounds) : collectWhileOpen(rounds, calendar));
      log('INFO', errorMessage(signal.reason));
      return 0;
    } finally {
      await collector.close();
    }
  });
}

interface Rounds {
  collector: SnapshotCollector;
  everyMs: number;
  log: Log;
  print: (report: SnapshotReport) => void;
  /** Ends them. */
  signal: AbortSignal;
}

async function collectWhileOpen(rounds: Rounds, calendar: Calendar): Promise<void> {
  const { collector, everyMs, log, print, signal } = rounds;
  const job = startMarketJob({
    name: 'quotes',
    calendar,
    everyMs,
    lastRunDelayMs: LAST_QUOTES_DELAY_MS,
    isLeader: () => true,
    run: async (stopped) => print(await collector.run(stopped)),
    log,
  });
  const { wakesAt } = job.state();
  if (wakesAt && wakesAt.getTime() > Date.now() + everyMs) {
    log('INFO', `the market is closed: quotes are collected from ${wakesAt.toISOString()} on`);
  }
  if (!signal.aborted) await once(signal, 'abort');
  await job.stop();
}

/** Round after round; one that takes long skips beats, one that fails is logged. */
async function collectAlways(rounds: Rounds): Promise<void> {
  const { collector, everyMs, log, print, signal } = rounds;
  const startedMs = systemClock.now();
  while (!signal.aborted) {
    try {
      print(await collector.run(signal));
    } catch (error) {
      if (!signal.aborted) log('ERROR', `quotes: ${errorMessage(error)}`);
    }
    const beats = Math.floor((systemClock.now() - startedMs) / everyMs) + 1;
    const untilNext = startedMs + beats * everyMs - systemClock.now();
    await systemClock.sleep(untilNext, signal).catch(() => {}); // told to stop
  }
}

// --------------------------------------------------------------------------- printing

interface PrintOptions {
  asJson: boolean;
  /** Every symbol; else one line for the round. */
  isTable: boolean;
}

function printReport(report: SnapshotReport, terminal: Terminal, options: PrintOptions): void {
  if (options.asJson) {
    terminal.out(JSON.stringify(toJson(report)));
    return;
  }
  if (options.isTable && report.snapshots.length > 0) terminal.out(formatSnapshots(report));
  terminal.out(describeRound(report));
  for (const { symbol, error } of report.failures.slice(0, 20)) {
    terminal.err(`failed: ${symbol}: ${error}\n`);
  }
  const more = report.failures.length - 20;
  if (more > 0) terminal.err(`... and ${more} more; see job_runs\n`);
}

function toJson(report: SnapshotReport): object {
  const { inserted, changed, unchanged, rejected, requests, missing } = report;
  return {
    run_id: report.runId,
    symbols: report.symbols,
    ...{ inserted, changed, unchanged, rejected, requests },
    dropped_rows: report.droppedRows,
    missing,
    failures: report.failures,
    snapshots: report.snapshots.map(({ symbol, outcome, snapshot }) => ({
      symbol,
      outcome,
      price: snapshot.price,
      ...snapshot.meta,
    })),
  };
}

/** '15 of 16 symbols: 12 new, 0 changed, 3 unchanged, 2 requests' and what is amiss. */
export function describeRound(report: SnapshotReport): string {
  const { inserted, changed, unchanged, requests, missing, droppedRows } = report;
  const parts = [`${inserted} new`, `${changed} changed`, `${unchanged} unchanged`];
  if (report.failures.length > 0) parts.push(`${report.failures.length} failed`);
  if (droppedRows > 0) parts.push(`${droppedRows} rows of other days dropped`);
  parts.push(`${requests} request${requests === 1 ? '' : 's'}`);
  const without = missing ? `\nwithout ${missing.fields.join(', ')}: ${missing.reason}` : '';
  return `${report.snapshots.length} of ${report.symbols} symbols: ${parts.join(', ')}${without}`;
}

const HEADER = [
  ...['symbol', 'price', '', 'open', 'high', 'low', 'previous', 'volume', 'market cap', 'P/E'],
  ...['at (UTC)', ''],
];

function formatSnapshots(report: SnapshotReport): string {
  const rows = report.snapshots.map(({ symbol, snapshot, outcome }) => [
    symbol,
    ...values(snapshot),
    new Date(snapshot.ts).toISOString().slice(0, 19).replace('T', ' '),
    outcome,
  ]);
  // Numbers are texts here (a null is a dash, a price has its own digits), and stand right.
  const widths = HEADER.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i].length)),
  );
  const isNumber = (i: number) => i > 0 && i < 10 && i !== 2;
  const align = (row: string[]) =>
    row.map((cell, i) => (isNumber(i) ? cell.padStart(widths[i]) : cell));
  return formatTable(align(HEADER), rows.map(align));
}

function values(snapshot: Snapshot): string[] {
  const { price, open, dayHigh, dayLow, previousClose, volume, marketCap, peRatio, meta } =
    snapshot;
  const currency = typeof meta.currency === 'string' ? meta.currency : '';
  const prices = [open, dayHigh, dayLow, previousClose].map(priceText);
  const ratio = peRatio === null ? '-' : peRatio.toFixed(1);
  return [priceText(price), currency, ...prices, short(volume), short(marketCap), ratio];
}

/** At least two digits after the point, and as many as the price has, up to six. */
function priceText(price: number | null): string {
  if (price === null) return '-';
  return price.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 6 });
}

/** 4002453389312 -> 4.002T */
function short(value: number | null): string {
  if (value === null) return '-';
  const steps = [
    [1e12, 'T'],
    [1e9, 'B'],
    [1e6, 'M'],
  ] as const;
  const step = steps.find(([size]) => Math.abs(value) >= size);
  return step ? `${(value / step[0]).toPrecision(4)}${step[1]}` : value.toLocaleString('en-US');
}
