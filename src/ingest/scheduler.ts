import { errorMessage } from '../errors.ts';
import { newYorkDay, toDate } from '../model/session.ts';
import { closeDeadRuns, selectLastScheduled } from '../store/jobs.ts';
import {
  BACKFILL_JOBS,
  BACKFILL_LOCK,
  BackfillBusyError,
  type BackfillContext,
  type BackfillProgress,
  type BackfillReport,
  runBackfill,
} from './backfill.ts';
import { type Leader, startLeader } from './leader.ts';

export type SchedulerState = 'running' | 'standby' | 'stopped';

export interface SchedulerOptions {
  /** Of the day, UTC. */
  hour: number;
  minute: number;
  /** First session of the history to keep, 'YYYY-MM-DD', as of now; of bars below a day apart. */
  firstSession: () => string;
  firstIntradaySession?: () => string;
  onProgress?: (progress: BackfillProgress) => void;
  onReport?: (report: BackfillReport) => void;
}

export interface Scheduler {
  state(): SchedulerState;
  nextRun(): Date | null;
  /** Whether this process is the one that runs jobs. */
  isLeader(): boolean;
  /** Fires when the lead that is held now is lost; undefined while it is not held. */
  lost(): AbortSignal | undefined;
  /** Called by cron when the hour has come. */
  tick(): Promise<void>;
  /** Resolves when the first catch-up, if one was due, has ended. */
  caughtUp: Promise<void>;
  /** Ends the current batch, gives the lead away. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
/** A night that failed is tried again this often, this long after. */
const RETRIES_MAX = 5;
const RETRY_MS = 30 * 60_000;
/** So long after it found another backfill under way, one that an operator started maybe. */
const BUSY_RETRY_MS = 60_000;

/** The latest instant at or before `nowMs` at which the nightly run was due. */
export function lastDue(nowMs: number, hour: number, minute: number): Date {
  const today = Math.floor(nowMs / DAY_MS) * DAY_MS + (hour * 60 + minute) * 60_000;
  return new Date(today <= nowMs ? today : today - DAY_MS);
}

/**
 * Runs the nightly backfill in one process of all that serve a database: the one that leads. A
 * night that was missed while nobody was up is caught up at once. The backfill's own lock keeps two
 * from ever running together.
 */
export function startScheduler(context: BackfillContext, options: SchedulerOptions): Scheduler {
  const nightly = new NightlyScheduler(context, options);
  return {
    state: () => nightly.state(),
    nextRun: () => nightly.nextRun(),
    isLeader: () => nightly.leader.isLeader(),
    lost: () => nightly.leader.lost(),
    tick: () => nightly.tick(),
    caughtUp: nightly.caughtUp.promise,
    stop: () => nightly.stop(),
  };
}

/** Hours first: they are few. */
const INTRADAY_TIMEFRAMES = ['1h', '1m'] as const;

function warnOfFailures(context: BackfillContext, report: BackfillReport): void {
  if (report.failures.length === 0) return;
  context.log('WARNING', `${report.failures.length} symbols failed`, {
    failures: report.failures.slice(0, 10),
  });
}

/**
 * Fetches what today's session has made so far of the symbols that are tracked below a day. To be
 * run again and again while the market is open, and once after it closed. A backfill that is under
 * way is not waited for: the next round takes what this one left.
 */
export async function collectIntraday(
  context: BackfillContext,
  signal: AbortSignal,
): Promise<void> {
  const firstSession = toDate(newYorkDay(context.now()));
  for (const timeframe of INTRADAY_TIMEFRAMES) {
    signal.throwIfAborted();
    try {
      const request = { timeframe, firstSession, origin: 'schedule', signal } as const;
      warnOfFailures(context, await runBackfill(context, request));
    } catch (error) {
      if (!(error instanceof BackfillBusyError)) throw error;
      context.log('INFO', `${timeframe} bars are not collected now: ${errorMessage(error)}`);
    }
  }
}

class NightlyScheduler {
  readonly caughtUp = Promise.withResolvers<void>();
  readonly leader: Leader;
  readonly #abort = new AbortController();
  #timer: Timer | undefined;
  #retries = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(
    readonly context: BackfillContext,
    readonly options: SchedulerOptions,
  ) {
    this.leader = startLeader({
      url: context.database.url,
      log: context.log,
      onLead: () => void this.#enqueue(() => this.#catchUp()).then(this.caughtUp.resolve),
      // Another process leads and catches up; it is not ours to wait for.
      onStandby: this.caughtUp.resolve,
    });
  }

  state(): SchedulerState {
    if (this.#abort.signal.aborted) return 'stopped';
    return this.leader.isLeader() ? 'running' : 'standby';
  }

  nextRun(): Date | null {
    if (this.#abort.signal.aborted) return null;
    const { hour, minute } = this.options;
    return new Date(lastDue(this.context.now(), hour, minute).getTime() + DAY_MS);
  }

  #enqueue(job: () => Promise<void>): Promise<void> {
    this.#running = this.#running.then(job).catch((error) => {
      this.context.log('ERROR', `the scheduler: ${errorMessage(error)}`);
    });
    return this.#running;
  }

  async #catchUp(): Promise<void> {
    const { hour, minute } = this.options;
    const { database } = this.context;
    await closeDeadRuns(database.url, database.write, BACKFILL_LOCK, BACKFILL_JOBS);
    const due = lastDue(this.context.now(), hour, minute);
    const last = await selectLastScheduled(database.read, 'backfill');
    if (last !== undefined && last.getTime() >= due.getTime()) return;
    await this.#night(last === undefined ? 'start' : 'catch-up', due);
  }

  async #night(origin: 'start' | 'catch-up' | 'schedule', due: Date): Promise<void> {
    const { context, options } = this;
    const { signal } = this.#abort;
    const lost = this.leader.lost();
    if (signal.aborted || !lost) return;
    const stop = AbortSignal.any([signal, lost]);
    try {
      const report = await runBackfill(context, {
        firstSession: options.firstSession(),
        origin,
        scheduledFor: due,
        signal: stop,
        onProgress: options.onProgress,
      });
      options.onReport?.(report);
      this.#retries = 0;
      warnOfFailures(context, report);
      await this.#fillIntraday(origin, stop);
    } catch (error) {
      if (signal.aborted) return;
      const isBusy = error instanceof BackfillBusyError;
      const message = errorMessage(error);
      if (isBusy) context.log('INFO', `the nightly backfill waits: ${message}`);
      else context.log('ERROR', `the nightly backfill failed: ${message}`);
      if (!isBusy && ++this.#retries > RETRIES_MAX) return;
      const retry = () => this.#enqueue(() => this.#night('catch-up', due));
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void retry(), isBusy ? BUSY_RETRY_MS : RETRY_MS);
    }
  }

  /** Minutes and hours of the symbols that are tracked in them, after the days of all. */
  async #fillIntraday(origin: 'start' | 'catch-up' | 'schedule', signal: AbortSignal) {
    const { context, options } = this;
    const firstSession = options.firstIntradaySession?.();
    if (firstSession === undefined) return;
    for (const timeframe of INTRADAY_TIMEFRAMES) {
      signal.throwIfAborted();
      const report = await runBackfill(context, { timeframe, firstSession, origin, signal });
      if (report.runId !== null) options.onReport?.(report);
      warnOfFailures(context, report);
    }
  }

  /** The hour has come. Cron may be early by a little, hence the minute. */
  async tick(): Promise<void> {
    if (!this.leader.isLeader()) return;
    this.#retries = 0;
    const { hour, minute } = this.options;
    const due = lastDue(this.context.now() + 60_000, hour, minute);
    await this.#enqueue(() => this.#night('schedule', due));
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('marketd is stopping'));
    clearTimeout(this.#timer);
    await this.#running;
    await this.leader.stop();
    this.caughtUp.resolve();
  }
}
