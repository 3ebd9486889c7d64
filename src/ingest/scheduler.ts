import { errorMessage } from '../errors.ts';
import { type Lease, leaseLock, selectLastScheduled } from '../store/jobs.ts';
import {
  type BackfillContext,
  type BackfillProgress,
  BackfillBusyError,
  type BackfillReport,
  runBackfill,
} from './backfill.ts';

export type SchedulerState = 'running' | 'standby' | 'stopped';

export interface SchedulerOptions {
  /** Of the day, UTC. */
  hour: number;
  minute: number;
  /** First session of the history to keep, 'YYYY-MM-DD', as of now. */
  firstSession: () => string;
  onProgress?: (progress: BackfillProgress) => void;
  onReport?: (report: BackfillReport) => void;
}

export interface Scheduler {
  state(): SchedulerState;
  nextRun(): Date | null;
  /** Called by cron when the hour has come. */
  tick(): Promise<void>;
  /** Resolves when the first catch-up, if one was due, has ended. */
  caughtUp: Promise<void>;
  /** Ends the current batch, gives the lead away. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
const LEAD_RETRY_MS = 5_000;
/** A night that failed is tried again this often, this long after. */
const RETRIES_MAX = 5;
const RETRY_MS = 30 * 60_000;

/** The latest instant at or before `nowMs` at which the nightly run was due. */
export function lastDue(nowMs: number, hour: number, minute: number): Date {
  const today = Math.floor(nowMs / DAY_MS) * DAY_MS + (hour * 60 + minute) * 60_000;
  return new Date(today <= nowMs ? today : today - DAY_MS);
}

/**
 * Runs the nightly backfill in one process of all that serve a database: the one that holds the
 * lock `scheduler`. Another takes over when it goes. A night that was missed while nobody was up
 * is caught up at once. The backfill's own lock keeps two from ever running together.
 */
export function startScheduler(context: BackfillContext, options: SchedulerOptions): Scheduler {
  const abort = new AbortController();
  let lease: Lease | undefined;
  let timer: Timer | undefined;
  let retries = 0;
  let running: Promise<void> = Promise.resolve();
  let isCaughtUp = false;
  const { promise: caughtUp, resolve: markCaughtUp } = Promise.withResolvers<void>();

  const lead = async (): Promise<void> => {
    if (abort.signal.aborted) return;
    try {
      lease = await leaseLock(context.database.url, 'scheduler');
    } catch (error) {
      context.log('WARNING', `cannot take the lead: ${errorMessage(error)}`);
    }
    if (abort.signal.aborted) return void (await lease?.release());
    if (!lease) {
      // Another process leads and catches up; it is not ours to wait for.
      finishCatchUp();
      timer = setTimeout(() => void lead(), LEAD_RETRY_MS);
      return;
    }
    const held = lease;
    held.lost.addEventListener('abort', () => {
      if (lease !== held) return;
      lease = undefined;
      context.log('WARNING', 'lost the lead with the connection to the database');
      held.release().catch((error) => context.log('WARNING', errorMessage(error)));
      timer = setTimeout(() => void lead(), LEAD_RETRY_MS);
    });
    await enqueue(catchUp);
    finishCatchUp();
  };

  const finishCatchUp = () => {
    if (isCaughtUp) return;
    isCaughtUp = true;
    markCaughtUp();
  };

  const enqueue = (job: () => Promise<void>): Promise<void> => {
    running = running.then(job).catch((error) => {
      context.log('ERROR', `the scheduler: ${errorMessage(error)}`);
    });
    return running;
  };

  const catchUp = async () => {
    const due = lastDue(context.now(), options.hour, options.minute);
    const last = await selectLastScheduled(context.database.read, 'backfill');
    if (last !== undefined && last.getTime() >= due.getTime()) return;
    await night(last === undefined ? 'start' : 'catch-up', due);
  };

  const night = async (origin: 'start' | 'catch-up' | 'schedule', due: Date) => {
    if (abort.signal.aborted) return;
    try {
      const report = await runBackfill(context, {
        firstSession: options.firstSession(),
        origin,
        scheduledFor: due,
        signal: lease ? AbortSignal.any([abort.signal, lease.lost]) : abort.signal,
        onProgress: options.onProgress,
      });
      options.onReport?.(report);
      retries = 0;
      if (report.failures.length > 0) {
        context.log('WARNING', `${report.failures.length} symbols failed`, {
          failures: report.failures.slice(0, 10),
        });
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      context.log('ERROR', `the nightly backfill failed: ${errorMessage(error)}`);
      if (!(error instanceof BackfillBusyError) && ++retries > RETRIES_MAX) return;
      timer = setTimeout(() => void enqueue(() => night('catch-up', due)), RETRY_MS);
    }
  };

  void lead();
  return {
    state: () => (abort.signal.aborted ? 'stopped' : lease ? 'running' : 'standby'),
    nextRun: () => {
      if (abort.signal.aborted) return null;
      return new Date(lastDue(context.now(), options.hour, options.minute).getTime() + DAY_MS);
    },
    tick: async () => {
      if (!lease) return;
      const due = lastDue(context.now() + 60_000, options.hour, options.minute);
      await enqueue(() => night('schedule', due));
    },
    caughtUp,
    stop: async () => {
      abort.abort(new Error('marketd is stopping'));
      clearTimeout(timer);
      await running;
      const held = lease;
      lease = undefined;
      await held?.release();
      finishCatchUp();
    },
  };
}
