import type { Config } from './config.ts';
import { errorMessage } from './errors.ts';
import type { BackfillContext, BackfillProgress, BackfillReport } from './ingest/backfill.ts';
import { makeYahooSource } from './ingest/bar-source.ts';
import { type JobQueue, type Reconcile, startJobQueue } from './ingest/job-queue.ts';
import { type Leader, startLeader } from './ingest/leader.ts';
import { type MarketJob, startMarketJob } from './ingest/market-hours.ts';
import {
  RECONCILE_JOB,
  type ReconcileContext,
  reconcileRange,
  runReconciliation,
} from './ingest/reconcile.ts';
import { collectIntraday, type Scheduler, startScheduler } from './ingest/scheduler.ts';
import { LAST_QUOTES_DELAY_MS, makeSnapshotCollector } from './ingest/snapshots.ts';
import { type SyntheticTrades, startSyntheticTrades } from './ingest/synthetic-trades.ts';
import { startWeekly, type WeeklyJob } from './ingest/weekly.ts';
import type { MarketJobView } from './model/market-job.ts';
import type { Calendar } from './model/session.ts';
import { type Clock, systemClock } from './providers/http.ts';
import { makeYahoo, type Yahoo } from './providers/yahoo.ts';
import { selectPriceActions } from './query/corporate-actions.ts';
import type { Database } from './store/database.ts';
import { startEventPruning } from './store/events.ts';
import { selectFirstStarted, selectLastScheduled } from './store/jobs.ts';
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

/** A job that follows the market's hours, and how often it runs. */
export interface ScheduledMarketJob {
  name: string;
  everySeconds: number;
  lastRunDelaySeconds: number;
  job: MarketJob;
}

export interface Background {
  scheduler: Scheduler | undefined;
  marketJobs: readonly ScheduledMarketJob[];
  /** How they are now. */
  describeMarketJobs(): MarketJobView[];
  /** The calendar says otherwise now: what follows the market's hours decides anew. */
  replan(): void;
  /** An operator asked for something or cancelled it, or a run has ended. */
  wake(): void;
  stop(): Promise<void>;
}

/** How long after the close the last run begins: late prints and the auction are in by then. */
const LAST_RUN_DELAY_MS = 15 * 60_000;

/** Sunday morning, UTC. */
const RECONCILE_AT = { weekday: 0, hour: 6 };

const NOTHING: Background = {
  scheduler: undefined,
  marketJobs: [],
  describeMarketJobs: () => [],
  replan: () => {},
  wake: () => {},
  stop: async () => {},
};

/** Starts what the configuration asks for. Nothing when SCHEDULER=off. */
export async function startBackground(options: BackgroundOptions): Promise<Background> {
  const { config, log, backfill, isDemo } = options;
  if (config.SCHEDULER === 'off') {
    return NOTHING;
  }
  const scheduler = backfill && startNights(options, backfill);
  if (!scheduler) {
    log('WARNING', 'no provider: set POLYGON_API_KEY to have the history filled every night');
  }
  const leader = scheduler ?? startLeader({ url: options.database.url, log });
  const isLeader = () => leader.isLeader();
  // Made-up days come once a day; there is nothing to collect while the market is open.
  const hasIntraday = backfill && !isDemo;
  const marketJobs: ScheduledMarketJob[] = [];
  if (hasIntraday) {
    marketJobs.push({
      ...{ name: 'intraday', everySeconds: config.INTRADAY_INTERVAL_SECONDS },
      lastRunDelaySeconds: LAST_RUN_DELAY_MS / 1000,
      job: startIntraday(options, backfill, isLeader),
    });
  }
  const yahoo = connectYahoo(options);
  const quotes = yahoo && startQuotes(options, yahoo, isLeader);
  if (quotes) {
    marketJobs.push({
      ...{ name: 'quotes', everySeconds: config.QUOTES_INTERVAL_SECONDS },
      lastRunDelaySeconds: LAST_QUOTES_DELAY_MS / 1000,
      job: quotes.job,
    });
  }
  const reconciling = yahoo && startReconciling(options, yahoo, isLeader);
  const requests = startRequests(options, { leader, scheduler, yahoo });
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
    describeMarketJobs: () => marketJobs.map(({ job, ...rest }) => ({ ...rest, ...job.state() })),
    replan: () => {
      for (const { job } of marketJobs) job.replan();
    },
    wake: () => requests.wake(),
    stop: async () => {
      await Promise.all([
        requests.stop(),
        trades?.stop(),
        reconciling?.stop(),
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

/** One for all that asks it, so that its limits hold; none in a demo, where nobody is asked. */
function connectYahoo(options: BackgroundOptions): Yahoo | undefined {
  const { config, calendar, isDemo, log, clock } = options;
  if (isDemo || (config.QUOTES === 'off' && config.RECONCILE === 'off')) return undefined;
  return makeYahoo({
    baseUrl: config.YAHOO_BASE_URL,
    requestsPerMinute: config.YAHOO_REQUESTS_PER_MINUTE,
    calendar,
    clock,
    log,
  });
}

/** Snapshots of the tracked symbols. */
function startQuotes(
  { config, database, calendar, log, clock = systemClock }: BackgroundOptions,
  yahoo: Yahoo,
  isLeader: () => boolean,
) {
  if (config.QUOTES === 'off') return undefined;
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

/** What operators ask for. */
function startRequests(
  options: BackgroundOptions,
  jobs: {
    leader: Pick<Leader, 'isLeader' | 'lost'>;
    scheduler: Scheduler | undefined;
    yahoo: Yahoo | undefined;
  },
): JobQueue {
  const { database, backfill, log, clock = systemClock } = options;
  const { leader, scheduler, yahoo } = jobs;
  return startJobQueue({
    ...{ database, leader, backfill, log, now: () => clock.now() },
    reconcile: yahoo && makeReconcile(options, yahoo),
    closesBackfills: scheduler === undefined,
    caughtUp: scheduler?.caughtUp,
  });
}

/** A sample drawn by chance, whenever an operator wants one. */
function makeReconcile(options: BackgroundOptions, yahoo: Yahoo): Reconcile | undefined {
  if (options.config.RECONCILE === 'off') return undefined;
  const context = reconcileContext(options);
  const source = makeYahooSource(yahoo);
  return ({ signal, onRun }) => {
    const which = {
      count: options.config.RECONCILE_SAMPLE,
      seed: 1 + Math.floor(Math.random() * SEED_MAX),
    };
    const range = reconcileRange(context, {});
    return runReconciliation(context, { source, which, range, origin: 'operator', onRun }, signal);
  };
}

/** As `marketd reconcile --seed` takes it. */
const SEED_MAX = 999_999_999;

function reconcileContext(options: BackgroundOptions): ReconcileContext {
  const { config, database, calendar, log, clock = systemClock } = options;
  return {
    ...{ database, calendar, log, now: () => clock.now() },
    publishDelayMs: config.PUBLISH_DELAY_MINUTES * 60_000,
    actionsOf: (instrumentId: number) => selectPriceActions(database.read, instrumentId),
  };
}

/** Once a week a sample of the stored bars beside Yahoo's; after Sunday's night run. */
function startReconciling(
  options: BackgroundOptions,
  yahoo: Yahoo,
  isLeader: () => boolean,
): WeeklyJob | undefined {
  const { config, database, log, clock = systemClock } = options;
  if (config.RECONCILE === 'off') return undefined;
  const context = reconcileContext(options);
  const source = makeYahooSource(yahoo);
  return startWeekly({
    ...{ name: RECONCILE_JOB, ...RECONCILE_AT, clock, isLeader, log },
    // Where something ran before, the first one is missed too: who is never up then has it as well.
    lastScheduled: async () =>
      (await selectLastScheduled(database.read, RECONCILE_JOB)) ??
      (await selectFirstStarted(database.read)),
    run: (signal, { scheduledFor, origin }) => {
      // The week's number: whoever repeats the run draws the same sample.
      const seed = Math.floor(scheduledFor.getTime() / 604_800_000);
      const which = { count: config.RECONCILE_SAMPLE, seed };
      const range = reconcileRange(context, {});
      return runReconciliation(context, { source, which, range, origin, scheduledFor }, signal);
    },
  });
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
