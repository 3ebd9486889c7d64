import { cron } from '@elysiajs/cron';
import { Elysia } from 'elysia';
import { startBackground } from './background.ts';
import { type Config, describeConfig, parseConfig } from './config.ts';
import { diagnose } from './doctor.ts';
import { errorMessage, InputError } from './errors.ts';
import { makeApp } from './http/app.ts';
import { LiveStream } from './http/live-stream.ts';
import type { Operations } from './http/operations.ts';
import type { BackfillContext, BackfillProgress, BackfillReport } from './ingest/backfill.ts';
import { previewJob } from './ingest/preview.ts';
import type { Scheduler } from './ingest/scheduler.ts';
import type { QualityThresholds } from './model/quality.ts';
import { type Calendar, type LiveCalendar, newYorkDay, toDate, yearsAgo } from './model/session.ts';
import { makePolygon } from './providers/polygon.ts';
import type { Provider } from './providers/provider.ts';
import { makeSynthetic } from './providers/synthetic.ts';
import { BarReader } from './query/bars.ts';
import { makeDerive } from './query/derived.ts';
import { IntradayReader } from './query/intraday.ts';
import { OverviewReader } from './query/overview.ts';
import { SparklineReader } from './query/sparklines.ts';
import { StatusReader } from './query/status.ts';
import { SymbolDirectory } from './query/symbols.ts';
import { ActivityReader } from './store/activity.ts';
import { type CalendarFollower, followCalendar, loadCalendar } from './store/calendar.ts';
import { listenChanges } from './store/changes.ts';
import type { Database } from './store/database.ts';
import { checkSchema, selectEdition } from './store/migrate.ts';
import type { Log } from './telemetry.ts';
import { VERSION } from './version.ts';

export function qualityThresholds(config: Config): QualityThresholds {
  return {
    gapFraction: config.QUALITY_GAP_FRACTION,
    extremeMove: config.QUALITY_EXTREME_MOVE,
    spikeMultiple: config.QUALITY_SPIKE_MULTIPLE,
    newsMultiple: config.QUALITY_NEWS_MULTIPLE,
    droughtFraction: config.QUALITY_DROUGHT_FRACTION,
  };
}

/** The provider that the configuration names: Polygon with a key, made-up data in a demo. */
export function makeProvider(
  config: Config,
  calendar: Calendar,
  isDemo: boolean,
  log: Log,
): Provider | undefined {
  if (config.POLYGON_API_KEY !== undefined) {
    return makePolygon({
      baseUrl: config.POLYGON_BASE_URL,
      apiKey: config.POLYGON_API_KEY,
      requestsPerMinute: config.POLYGON_REQUESTS_PER_MINUTE,
      timeoutMs: config.POLYGON_TIMEOUT_MS,
      log,
    });
  }
  return isDemo ? makeSynthetic({ seed: config.DEMO_SEED, calendar }) : undefined;
}

export function backfillContext(
  config: Config,
  database: Database,
  provider: Provider,
  calendar: Calendar,
  log: Log,
): BackfillContext {
  return {
    database,
    provider,
    calendar,
    thresholds: qualityThresholds(config),
    revisionSessions: config.REVISION_SESSIONS,
    publishDelayMs: config.PUBLISH_DELAY_MINUTES * 60_000,
    batchRows: config.BATCH_COMMIT_SIZE,
    now: Date.now,
    log,
  };
}

export interface ServeOptions {
  config: Config;
  database: Database;
  isDemo: boolean;
  /** Of the embedded PostgreSQL; undefined when it is another one. */
  dataDir?: string;
  log: Log;
  onProgress?: (progress: BackfillProgress) => void;
  onReport?: (report: BackfillReport) => void;
}

export interface RunningServer {
  url: string;
  /** Resolves when the first backfill, if one was due, has ended. */
  ready: Promise<void>;
  /** Stops accepting, finishes requests and the current batch, releases the lead. */
  stop(): Promise<void>;
}

const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost']);
const DRAIN_MS = 5_000;
/** Part of the cache that is for bars below a day. */
const INTRADAY_CACHE_SHARE = 0.35;

/**
 * Serves the API and the pages, and runs the schedule.
 * @throws DatabaseError when the schema is not this program's; InputError when the address is
 *   taken, or reachable from outside without that being said.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { config, database, isDemo, log } = options;
  if (!LOOPBACK.has(config.API_HOST) && config.AUTH !== 'off') {
    throw new InputError(
      `API_HOST ${config.API_HOST} can be reached from other machines, and nobody is asked who ` +
        'they are: set AUTH=off to say that this is meant, or put a proxy with a login before it',
      'API_HOST',
    );
  }
  await checkSchema(database.read);
  const [edition, calendar] = await Promise.all([
    selectEdition(database.read),
    loadCalendar(database.read),
  ]);
  const readers = makeReaders(options, calendar);
  const changes = followChanges(options, calendar, readers);
  const backfill = makeBackfill(options, calendar);
  const background = await startBackground({
    ...{ ...options, calendar, backfill },
    firstSession: () => yearsAgo(config.BACKFILL_YEARS, Date.now()),
    daysAgo: (days) => toDate(newYorkDay(Date.now()) - days),
  });
  changes.whenCalendarChanged(background.replan);
  changes.whenJobsChanged(background.wake);
  const { scheduler } = background;
  const app = makeApp({
    database,
    edition,
    ...readers,
    calendar,
    version: VERSION,
    publishDelayMs: config.PUBLISH_DELAY_MINUTES * 60_000,
    now: Date.now,
    scheduler: () => ({
      status: scheduler?.state() ?? 'stopped',
      nextRun: scheduler?.nextRun() ?? null,
    }),
    allowedHosts: config.ALLOWED_HOSTS,
    operations: {
      ...makeOperations(options, backfill),
      reloadCalendar: changes.reloadCalendar,
      marketJobs: background.describeMarketJobs,
    },
    log,
  });
  const nightly = scheduler && nightlyCron(scheduler, config, log);
  const server = await listen(app, config).catch(async (error) => {
    nightly?.store.cron.backfill.stop();
    await background.stop();
    await changes.close();
    throw error;
  });
  return {
    url: server.url,
    ready: scheduler?.caughtUp ?? Promise.resolve(),
    stop: async () => {
      nightly?.store.cron.backfill.stop();
      readers.stream.close();
      await server.stop();
      await background.stop();
      await changes.close();
      log('INFO', `stopped${isDemo ? ' the demo' : ''}`);
    },
  };
}

/** What pages ask of the process. */
function makeOperations(options: ServeOptions, backfill?: BackfillContext): Operations {
  const { config, database, isDemo, dataDir } = options;
  const isEmbedded = config.DATABASE_URL === undefined;
  return {
    preview: backfill && ((asked, kind) => previewJob(backfill, asked, kind)),
    canReconcile: !isDemo && config.RECONCILE !== 'off',
    diagnose: () => diagnose({ database, isDemo, isEmbedded, dataDir }, config),
    settings: describeConfig(config),
    defaultSettings: describeConfig(parseConfig({})),
    startedAt: Date.now(),
  };
}

/** What answers are made from; each is told what changes. */
interface Readers {
  bars: BarReader;
  intraday: IntradayReader;
  symbols: SymbolDirectory;
  status: StatusReader;
  overview: OverviewReader;
  sparklines: SparklineReader;
  activity: ActivityReader;
  stream: LiveStream;
}

function makeReaders({ config, database, log }: ServeOptions, calendar: Calendar): Readers {
  const cacheBytes = config.CACHE_MEGABYTES * 1_048_576;
  const intraday = new IntradayReader(database.read, calendar, cacheBytes * INTRADAY_CACHE_SHARE);
  const derive = makeDerive(database.read, intraday, calendar, Date.now);
  const dailyBytes = cacheBytes * (1 - INTRADAY_CACHE_SHARE);
  return {
    bars: new BarReader(database.read, calendar, dailyBytes, derive),
    intraday,
    symbols: new SymbolDirectory(database.read),
    status: new StatusReader(database.read),
    overview: new OverviewReader(database.read, calendar, {
      publishDelayMs: config.PUBLISH_DELAY_MINUTES * 60_000,
    }),
    sparklines: new SparklineReader(database.read),
    activity: new ActivityReader(database.read),
    stream: new LiveStream({ sql: database.read, clientsMax: config.STREAM_CLIENTS_MAX, log }),
  };
}

/** Tells readers, and whoever lives by the calendar, what any process changes. */
function followChanges(
  { database, log }: ServeOptions,
  calendar: LiveCalendar,
  readers: Readers,
): {
  reloadCalendar: CalendarFollower['follow'];
  whenCalendarChanged: CalendarFollower['whenChanged'];
  /** The queue of what operators ask for, once there is one. */
  whenJobsChanged: (wake: () => void) => void;
  close: () => Promise<void>;
} {
  let wakeJobs = () => {};
  const follower = followCalendar(database.read, calendar, (message) => log('ERROR', message));
  follower.whenChanged(() => forgetAnswers(readers));
  const listener = listenChanges(
    database.url,
    changeHandlers(readers, follower.follow, () => wakeJobs()),
    (message) => log('WARNING', message),
  );
  return {
    reloadCalendar: follower.follow,
    whenCalendarChanged: follower.whenChanged,
    whenJobsChanged: (wake) => {
      wakeJobs = wake;
    },
    close: async () => {
      follower.stop();
      await listener.close();
    },
  };
}

/** All that was made with the calendar. */
function forgetAnswers({ bars, intraday, status, overview }: Readers): void {
  bars.drop('all');
  intraday.drop('all');
  status.clear();
  overview.clear();
}

function changeHandlers(
  readers: Readers,
  reloadCalendar: () => Promise<void>,
  wakeJobs: () => void,
) {
  const { bars, intraday, symbols, status, overview, sparklines, activity, stream } = readers;
  return {
    onChange: (change: Parameters<Parameters<typeof listenChanges>[1]['onChange']>[0]) => {
      if (['bars', 'trades', 'symbols', 'runs', 'jobs'].includes(change.kind)) status.clear();
      if (change.kind === 'bars') {
        bars.drop(change.instrumentIds);
        intraday.drop(change.instrumentIds);
        overview.drop(change.instrumentIds);
        sparklines.drop(change.instrumentIds);
      }
      if (change.kind === 'runs') overview.drop('all');
      if (change.kind === 'symbols') overview.clear();
      if (change.kind === 'runs' || change.kind === 'jobs') activity.clear();
      if (change.kind === 'symbols') symbols.clear();
      if (change.kind === 'calendar') void reloadCalendar();
      if (change.kind === 'runs' || change.kind === 'jobs') wakeJobs();
      if (change.kind === 'events') stream.notice(change.eventId);
    },
    onTrust: (isTrusted: boolean) => {
      for (const cache of [bars, intraday, symbols, status, overview, sparklines, activity]) {
        cache.isTrusted = isTrusted;
      }
      bars.drop('all');
      intraday.drop('all');
      symbols.clear();
      status.clear();
      overview.clear();
      sparklines.drop('all');
      activity.clear();
      if (isTrusted) {
        stream.wake();
        void reloadCalendar();
        wakeJobs();
      }
    },
  };
}

/** What its provider is asked with; undefined when there is none. */
function makeBackfill(options: ServeOptions, calendar: Calendar): BackfillContext | undefined {
  const { config, database, isDemo, log } = options;
  const provider = makeProvider(config, calendar, isDemo, log);
  return provider && backfillContext(config, database, provider, calendar, log);
}

/** Cron jobs start when the plugin is made, hence only once the scheduler is there. */
function nightlyCron(scheduler: Scheduler, config: Config, log: Log) {
  return new Elysia().use(
    cron({
      name: 'backfill',
      pattern: `${config.BACKFILL_SCHEDULE_MINUTE} ${config.BACKFILL_SCHEDULE_HOUR} * * *`,
      timezone: 'UTC',
      protect: true,
      catch: (error) => log('ERROR', `the schedule: ${errorMessage(error)}`),
      run: () => scheduler.tick(),
    }),
  );
}

async function listen(app: ReturnType<typeof makeApp>, config: Config) {
  const { API_HOST: hostname, API_PORT: port } = config;
  try {
    app.listen({ hostname, port, reusePort: false });
  } catch (error) {
    if ((error as { code?: string }).code !== 'EADDRINUSE') throw error;
    throw new InputError(
      `port ${port} on ${hostname} is taken: is marketd running already? Set API_PORT to another`,
      'API_PORT',
    );
  }
  const host = hostname.includes(':') ? `[${hostname}]` : hostname;
  return {
    url: `http://${host}:${app.server?.port ?? port}`,
    stop: async () => {
      const cut = setTimeout(() => void app.server?.stop(true), DRAIN_MS);
      await app.stop();
      clearTimeout(cut);
    },
  };
}
