import { errorMessage, InputError } from '../errors.ts';
import { type Database, isDatabaseAway } from '../store/database.ts';
import {
  type BackfillArguments,
  describeJob,
  finishJobRequest,
  type JobKind,
  type JobOutcome,
  type JobRequest,
  leaseJobRequest,
  requeueAbandoned,
  selectJobRequest,
  selectQueued,
  type TakenRequest,
  updateRequestMessage,
  updateRequestRun,
} from '../store/job-requests.ts';
import { closeDeadRuns, isLockHeld, selectRun, selectRunning } from '../store/jobs.ts';
import { upsertSymbols } from '../store/symbols.ts';
import {
  BACKFILL_JOBS,
  BACKFILL_LOCK,
  BackfillBusyError,
  type BackfillContext,
  type BackfillReport,
  holderDay,
  runBackfill,
} from './backfill.ts';
import type { Leader, LeaderOptions } from './leader.ts';
import { RECONCILE_JOB, ReconcileBusyError, type ReconcileReport } from './reconcile.ts';
import { type RepairReport, runRepair } from './repair.ts';

export interface JobQueueOptions {
  database: Database;
  /** Requests are run in the process that leads, and only there. */
  leader: Pick<Leader, 'isLeader' | 'lost'>;
  /** What backfills and repairs work with; undefined when there is nobody to ask. */
  backfill: BackfillContext | undefined;
  /** Compares a sample with a second source; undefined when there is none. */
  reconcile: Reconcile | undefined;
  /** Resolves when the night that was missed, if one was, has ended: it goes first. */
  caughtUp?: Promise<void>;
  /** Whether nobody else in this process closes runs of backfills that a dead process left. */
  closesBackfills: boolean;
  now: () => number;
  log: LeaderOptions['log'];
  /** How long a notification that was lost may be missed for. */
  pollMs?: number;
}

export type Reconcile = (job: RunningJob) => Promise<ReconcileReport>;

export interface RunningJob {
  signal: AbortSignal;
  /** Called as soon as the run has its number. */
  onRun: (runId: number) => Promise<void>;
}

export interface JobQueue {
  /** Something was asked for, cancelled, or has ended: looks at once, not when it is time to. */
  wake(): void;
  /** Ends what runs, which goes back to the queue, and resolves when it has ended. */
  stop(): Promise<void>;
}

const POLL_MS = 5_000;
/** What is interrupted again and again is tried less and less often, down to this. */
const REST_MS_MAX = 300_000;
/**
 * Requests that are looked at: enough, because what keeps one of a kind from running keeps all of
 * its kind, and of reconciliations only one waits.
 */
const LOOKED_AT_MAX = 100;

/**
 * Runs what operators asked for, one request at a time, the oldest first, in the process that
 * leads. What cannot be run now stays in the queue and says what it waits for. A request whose
 * process stopped, died, or lost the database goes back to the queue: all that a run committed is
 * kept, and the next one asks for the rest.
 */
export function startJobQueue(options: JobQueueOptions): JobQueue {
  const queue = new Queue(options);
  const timer = setInterval(() => queue.wake(), options.pollMs ?? POLL_MS);
  queue.wake();
  void options.caughtUp?.then(() => {
    queue.isCaughtUp = true;
    queue.wake();
  });
  return {
    wake: () => queue.wake(),
    stop: async () => {
      clearInterval(timer);
      await queue.stop();
    },
  };
}

/** A request that this process runs. */
interface CurrentJob {
  taken: TakenRequest;
  cancel: AbortController;
  runId: number | null;
}

class Queue {
  isCaughtUp: boolean;
  readonly #stop = new AbortController();
  #current: CurrentJob | undefined;
  #looking: Promise<void> | undefined;
  #isAskedAgain = false;
  #working: Promise<void> = Promise.resolve();
  #isAway = false;
  /** The lead whose dead runs were looked for. */
  #tidied: AbortSignal | undefined;
  /** Requests that went back to the queue: how often, and until when they are let alone. */
  readonly #rests = new Map<number, { times: number; endsAt: number }>();

  constructor(readonly options: JobQueueOptions) {
    this.isCaughtUp = options.caughtUp === undefined;
  }

  /** Looks once more when it is looking already: it may have looked at that before. */
  wake(): void {
    if (this.#looking) {
      this.#isAskedAgain = true;
      return;
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
      if (!this.#isAskedAgain) return;
      this.#isAskedAgain = false;
      this.wake();
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('marketd is stopping'));
    await this.#looking;
    await this.#working;
  }

  #isLeading(): boolean {
    return !this.#stop.signal.aborted && this.options.leader.isLeader();
  }

  /** Never rejects: a database that is away is asked again when it is time to. */
  async #look(): Promise<void> {
    if (!this.#isLeading()) return;
    try {
      await this.#tidy();
      await this.#checkCancelled();
      await this.#takeNext();
      this.#isAway = false;
    } catch (error) {
      // Said once: it may be away for hours.
      const { log } = this.options;
      if (!this.#isAway) log('WARNING', `requests of operators wait: ${errorMessage(error)}`);
      this.#isAway = true;
    }
  }

  /** Puts back what a process left that ran it, and closes its runs. */
  async #tidy(): Promise<void> {
    const { database, leader, closesBackfills, now, log } = this.options;
    const { url, write } = database;
    const lead = leader.lost();
    if (lead !== undefined && this.#tidied !== lead) {
      await closeDeadRuns(url, write, RECONCILE_JOB);
      if (closesBackfills) await closeDeadRuns(url, write, BACKFILL_LOCK, BACKFILL_JOBS);
      this.#tidied = lead;
    }
    const mine = this.#current?.taken.requestId;
    for (const request of await requeueAbandoned(write, mine, now())) {
      log('WARNING', `${nameOf(request)}: ${request.message}`);
    }
  }

  async #checkCancelled(): Promise<void> {
    const current = this.#current;
    if (!current || current.cancel.signal.aborted) return;
    const { requestId } = current.taken;
    const request = await selectJobRequest(this.options.database.write, requestId);
    if (!request?.cancelRequestedAt || this.#current !== current) return;
    current.cancel.abort(new Error(request.message ?? 'cancelled'));
  }

  /** Starts the oldest request that nothing keeps from running; says of the others what does. */
  async #takeNext(): Promise<void> {
    const { database, now } = this.options;
    const { write } = database;
    for (const request of await selectQueued(write, LOOKED_AT_MAX)) {
      const { requestId } = request;
      if (!this.#isLeading()) return;
      if (performance.now() < (this.#rests.get(requestId)?.endsAt ?? 0)) continue;
      const obstacle = await this.#findObstacle(request);
      if (obstacle !== undefined) {
        if (request.message !== obstacle) await updateRequestMessage(write, requestId, obstacle);
        continue;
      }
      const taken = await leaseJobRequest(write, requestId, now());
      if (!taken) continue;
      const current = { taken, cancel: new AbortController(), runId: null };
      this.#current = current;
      this.#working = this.#work(current);
    }
  }

  /** What keeps a request from being run now; undefined: nothing does. */
  async #findObstacle({ kind }: JobRequest): Promise<string | undefined> {
    const { backfill, reconcile, database } = this.options;
    if (kind === 'reconcile' ? !reconcile : !backfill) {
      const lacks =
        kind === 'reconcile'
          ? 'second source to compare with: set RECONCILE=yahoo'
          : 'provider to ask: set POLYGON_API_KEY';
      return `waits: the process that leads has no ${lacks}`;
    }
    if (this.#current) return `waits for request ${this.#current.taken.requestId}`;
    const [lock, jobs] = LOCKS[kind];
    if (!(await isLockHeld(database.write, lock))) {
      const isNightDue = lock === BACKFILL_LOCK && !this.isCaughtUp;
      return isNightDue ? 'waits for the nightly backfill, which is due' : undefined;
    }
    const run = await selectRunning(database.write, jobs);
    // Whoever holds the lock plans first, and has its run recorded then.
    if (!run) return `waits for another ${lock} on this database`;
    return `waits for run ${run.runId} (${run.job}, origin: ${run.origin})`;
  }

  async #work(current: CurrentJob): Promise<void> {
    const { taken } = current;
    const { log } = this.options;
    log('INFO', `${nameOf(taken)} begins: ${describeJob(taken)}`);
    const outcome = await this.#attempt(current);
    const level = outcome.state === 'failed' ? 'WARNING' : 'INFO';
    log(level, `${nameOf(taken)}: ${outcome.state}: ${outcome.message}`);
    if (outcome.state === 'queued') this.#rest(taken.requestId);
    else this.#rests.delete(taken.requestId);
    await this.#close(taken, outcome);
    this.#current = undefined;
    this.wake();
  }

  /** Lets a request alone for a while: what interrupted it may do so at once again. */
  #rest(requestId: number): void {
    const times = (this.#rests.get(requestId)?.times ?? 0) + 1;
    const ms = Math.min((this.options.pollMs ?? POLL_MS) * 2 ** (times - 1), REST_MS_MAX);
    this.#rests.set(requestId, { times, endsAt: performance.now() + ms });
  }

  async #attempt(current: CurrentJob): Promise<JobOutcome> {
    const lost = this.options.leader.lost();
    if (!lost) return { state: 'queued', message: 'interrupted: the lead was lost' };
    const signals = [this.#stop.signal, lost, current.cancel.signal];
    try {
      return await this.#run(current, AbortSignal.any(signals));
    } catch (error) {
      return this.#describeFailure(current, error, lost);
    }
  }

  /** @throws whatever keeps it from coming to its end. */
  async #run(current: CurrentJob, signal: AbortSignal): Promise<JobOutcome> {
    const { backfill, reconcile, database } = this.options;
    const { taken } = current;
    const job: RunningJob = {
      signal,
      onRun: async (runId) => {
        current.runId = runId;
        await updateRequestRun(database.write, taken, runId);
      },
    };
    signal.throwIfAborted();
    if (taken.kind === 'reconcile') {
      if (!reconcile) throw new Error('there is no second source to compare with');
      return describeReconciliation(await reconcile(job));
    }
    if (!backfill || !taken.arguments) throw new Error('there is no provider to ask');
    if (taken.kind === 'repair')
      return describeRepair(await repair(backfill, taken.arguments, job));
    return describeBackfill(await fill(backfill, taken.arguments, job));
  }

  /** What became of a request that did not come to its end. */
  async #describeFailure(
    { cancel, runId }: CurrentJob,
    error: unknown,
    lost: AbortSignal,
  ): Promise<JobOutcome> {
    const message = errorMessage(error);
    if (cancel.signal.aborted) {
      const reason = errorMessage(cancel.signal.reason);
      return { state: 'cancelled', message: `${reason}; what was committed stays` };
    }
    if (this.#stop.signal.aborted) return interrupted('marketd was stopped');
    if (error instanceof BackfillBusyError || error instanceof ReconcileBusyError) {
      return { state: 'queued', message: `waits: ${message}` };
    }
    if (error instanceof InputError) return { state: 'refused', message };
    if (lost.aborted || isDatabaseAway(error) || (await this.#wasInterrupted(runId))) {
      return interrupted(message);
    }
    return { state: 'failed', message };
  }

  /** Whether a run was cut short: then it is not its own failure that ended it. */
  async #wasInterrupted(runId: number | null): Promise<boolean> {
    if (runId === null) return false;
    try {
      const run = await selectRun(this.options.database.write, runId);
      return run !== undefined && run.state !== 'failed';
    } catch {
      return true; // a database that cannot be asked is what ended the run
    }
  }

  /** Writes down what came of a request, as soon as the database is there to write it to. */
  async #close(taken: TakenRequest, outcome: JobOutcome): Promise<void> {
    const { database, now, log } = this.options;
    for (;;) {
      try {
        await finishJobRequest(database.write, taken, outcome, now());
        return;
      } catch (error) {
        log('WARNING', `${nameOf(taken)} is not closed: ${errorMessage(error)}`);
        // Whoever leads next finds it left behind; whoever took it up by then has the say.
        if (this.#stop.signal.aborted) return;
        await this.#pause();
      }
    }
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.options.pollMs ?? POLL_MS);
    const { signal } = this.#stop;
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
  }
}

/** The lock that a kind of request needs, and under which names its runs are kept. */
const LOCKS: Record<JobKind, readonly [lock: string, jobs: readonly string[]]> = {
  backfill: [BACKFILL_LOCK, BACKFILL_JOBS],
  repair: [BACKFILL_LOCK, BACKFILL_JOBS],
  reconcile: [RECONCILE_JOB, [RECONCILE_JOB]],
};

const nameOf = ({ requestId, actor }: JobRequest) => `request ${requestId} of ${actor}`;

const interrupted = (why: string): JobOutcome => ({
  state: 'queued',
  message: `interrupted (${why}): it goes on where it was`,
});

// ------------------------------------------------------------------------------ jobs

/** Symbols that are named and not known yet are added, as `marketd backfill` does. */
async function fill(
  context: BackfillContext,
  asked: BackfillArguments,
  job: RunningJob,
): Promise<BackfillReport> {
  const { timeframe, firstSession, retryEmpty } = asked;
  const symbols = asked.symbols ?? undefined;
  const lastSession = asked.lastSession ?? undefined;
  if (symbols) {
    const day = holderDay(context, lastSession);
    await upsertSymbols(context.database.write, symbols, { isTracked: true, day });
  }
  return runBackfill(context, {
    ...{ timeframe, symbols, firstSession, lastSession, retryEmpty, origin: 'operator', ...job },
  });
}

function repair(
  context: BackfillContext,
  { symbols, timeframe, firstSession, lastSession }: BackfillArguments,
  job: RunningJob,
): Promise<RepairReport> {
  return runRepair(context, {
    ...{ timeframe, firstSession, horizon: firstSession, origin: 'operator', ...job },
    symbols: symbols ?? undefined,
    lastSession: lastSession ?? undefined,
  });
}

const group = (value: number) => value.toLocaleString('en-US');
/** '1 request', '1,234 requests' */
const count = (value: number, noun: string) => `${group(value)} ${noun}${value === 1 ? '' : 's'}`;

function describeBackfill(report: BackfillReport): JobOutcome {
  const { failures, entitledFrom, runId, requests } = report;
  if (runId === null) {
    return { state: 'succeeded', message: 'nothing is missing: no request was sent' };
  }
  const parts = [
    `${count(report.inserted, 'bar')} new, ${group(report.changed)} changed, ` +
      `${count(report.rejected, 'row')} rejected, ${count(requests, 'request')}`,
  ];
  if (entitledFrom !== null) {
    parts.push(`the plan includes data from ${entitledFrom} on, older was refused`);
  }
  if (failures.length === 0) return { state: 'succeeded', message: parts.join('; ') };
  const [{ symbol, error }] = failures;
  parts.unshift(`${group(failures.length)} failed, first ${symbol}: ${error}`);
  return { state: 'failed', message: parts.join('; ') };
}

function describeRepair({ backfill, left }: RepairReport): JobOutcome {
  const { state, message } = describeBackfill(backfill);
  if (left.requests === 0) return { state, message };
  const rest = `left: ${count(left.sessions, 'session')} for ${count(left.requests, 'request')}`;
  return { state, message: `${message}; ${rest}` };
}

function describeReconciliation({ results }: ReconcileReport): JobOutcome {
  const failed = results.flatMap(({ symbol, result }) => {
    return 'error' in result ? [`${symbol}: ${result.error}`] : [];
  });
  if (failed.length === 0)
    return { state: 'succeeded', message: `${count(results.length, 'symbol')} compared` };
  const of = count(results.length, 'symbol');
  const message = `${group(failed.length)} of ${of} failed, first ${failed[0]}`;
  return { state: 'failed', message };
}
