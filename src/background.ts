import type { Config } from './config.ts';
import { errorMessage } from './errors.ts';
import type { BackfillContext, BackfillProgress, BackfillReport } from './ingest/backfill.ts';
import { startLeader } from './ingest/leader.ts';
import { type MarketJob, startMarketJob } from './ingest/market-hours.ts';
import { collectIntraday, type Scheduler, startScheduler } from './ingest/scheduler.ts';
import { LAST_QUOTES_DELAY_MS, makeSnapshotCollector } from './ingest/snapshots.ts';
import { type SyntheticTrades, startSyntheticTrades } from './ingest/synthetic-trades.ts';
import type { Calendar } from './model/session.ts';
import { type Clock, systemClock } from './providers/http.ts';
import { makeYahoo } from './providers/yahoo.ts';
import type { Database } from './store/database.ts';
import { startEventPruning } from './store/events.ts';
import type { Log } from './telemetry.ts';

/** What runs beside the server, in the one process that leads. */

export interface BackgroundOptions {
  config: Config;
  database: Database;
  calendar: Calendar;
  isDemo: boolean;
  log: Log;
  /** What backfills work with; undefined when there is nobody to ask. */
  backfill: BackfillContext | undefined;
  /** The date so many days ago. */
  daysAgo: (days: number) => string;
  firstSession: () => string;
  /** Of the jobs that follow the market's hours. */
  clock?: Clock;
  onProgress?: (progress: BackfillProgress) => void;
  onReport?: (report: BackfillReport) => void;
}

export interface Background {
  scheduler: Scheduler | undefined;
  marketJobs: readonly { name: string; job: MarketJob }[];
  stop(): Promise<void>;
}

/** How long after the close the last run begins: late prints and the auction are in by then. */
const LAST_RUN_DELAY_MS = 15 * 60_000;

/** Starts what the configuration asks for. Nothing when SCHEDULER=off. */
export async function startBackground(options: BackgroundOptions): Promise<Background> {
  const { config, log, backfill, isDemo } = options;
  if (config.SCHEDULER === 'off') {
    return { scheduler: undefined, marketJobs: [], stop: async () => {} };
  }
  const scheduler = backfill && startNights(options, backfill);
  if (!scheduler) {
    log('WARNING', 'no provider: set POLYGON_API_KEY to have the history filled every night');
  }
  const leader = scheduler ?? startLeader({ url: options.database.url, log });
  const isLeader = () => leader.isLeader();
  // Made-up days come once a day; there is nothing to collect while the market is open.
  const hasIntraday = backfill && !isDemo;
  const marketJobs = hasIntraday
    ? [{ name: 'intraday', job: startIntraday(options, backfill, isLeader) }]
    : [];
  const quotes = startQuotes(options, isLeader);
  if (quotes) marketJobs.push({ name: 'quotes', job: quotes.job });
  const pruning = startEventPruning({
    write: options.database.write,
    retentionHours: config.STREAM_RETENTION_HOURS,
    isLeader,
    log,
  });
  const trades = await startTrades(options, isLeader);
  return {
    scheduler,
    marketJobs,
    stop: async () => {
      await Promise.all([
        trades?.stop(),
        pruning.stop(),
        ...marketJobs.map(({ job }) => job.stop()),
      ]);
      await quotes?.close();
      await leader.stop();
    },
  };
}

function startNights(options: BackgroundOptions, backfill: BackfillContext): Scheduler {
  const { config } = options;
  return startScheduler(backfill, {
    hour: config.BACKFILL_SCHEDULE_HOUR,
    minute: config.BACKFILL_SCHEDULE_MINUTE,
    firstSession: options.firstSession,
    firstIntradaySession: () => options.daysAgo(config.DEFAULT_DAYS),
    onProgress: options.onProgress,
    onReport: options.onReport,
  });
}

function startIntraday(
  { config, calendar, clock, log }: BackgroundOptions,
  backfill: BackfillContext,
  isLeader: () => boolean,
): MarketJob {
  return startMarketJob({
    name: 'intraday bars',
    calendar,
    everyMs: config.INTRADAY_INTERVAL_SECONDS * 1000,
    lastRunDelayMs: LAST_RUN_DELAY_MS,
    isLeader,
    run: (signal) => collectIntraday(backfill, signal),
    log,
    clock,
  });
}

/** Snapshots of the tracked symbols; none in a demo, where nobody is asked anything. */
function startQuotes(
  { config, database, calendar, isDemo, log, clock = systemClock }: BackgroundOptions,
  isLeader: () => boolean,
) {
  if (config.QUOTES === 'off' || isDemo) return undefined;
  const yahoo = makeYahoo({
    baseUrl: config.YAHOO_BASE_URL,
    requestsPerMinute: config.YAHOO_REQUESTS_PER_MINUTE,
    calendar,
    clock,
    log,
  });
  const context = { database, yahoo, now: () => clock.now(), log };
  const collector = makeSnapshotCollector(context, { origin: 'schedule' });
  const job = startMarketJob({
    name: 'quotes',
    calendar,
    everyMs: config.QUOTES_INTERVAL_SECONDS * 1000,
    lastRunDelayMs: LAST_QUOTES_DELAY_MS,
    isLeader,
    // After the last run the lock is let go of, for `marketd quotes` by hand.
    run: async (signal, { isLast }) => {
      await collector.run(signal);
      if (isLast) await collector.close();
    },
    log,
    clock,
  });
  return { job, close: () => collector.close() };
}

async function startTrades(
  { config, database, isDemo, log }: BackgroundOptions,
  isLeader: () => boolean,
): Promise<SyntheticTrades | undefined> {
  if (!isDemo && config.SYNTHETIC === 'off') return undefined;
  try {
    return await startSyntheticTrades({
      database,
      symbols: [],
      seed: config.DEMO_SEED,
      intervalMs: config.INGESTION_INTERVAL_SECONDS * 1000,
      log,
      isLeader,
    });
  } catch (error) {
    log('ERROR', `no trades are made up: ${errorMessage(error)}`);
    return undefined;
  }
}
