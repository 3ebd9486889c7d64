import { errorMessage } from '../errors.ts';
import { type Calendar, newYorkDay } from '../model/session.ts';
import { sessionHours } from '../model/session-part.ts';
import { type Clock, systemClock } from '../providers/http.ts';
import type { Log } from '../telemetry.ts';

/** What is only worth doing while the market is open: done then, and slept through otherwise. */

export interface MarketJobOptions {
  /** For the log. */
  name: string;
  calendar: Calendar;
  /** From the start of one run to that of the next, counted from the open. */
  everyMs: number;
  /** After the close the last run of the session begins; 0 to 8 hours. */
  lastRunDelayMs: number;
  /** What counts as open; 'extended': with pre-market and after-hours. Default 'regular'. */
  parts?: 'regular' | 'extended';
  /** Asked before each run: of several processes only the leader runs. */
  isLeader: () => boolean;
  /** The signal fires when the job is to stop. */
  run: (signal: AbortSignal, beat: { isLast: boolean }) => Promise<void>;
  log: Log;
  clock?: Clock;
}

export interface MarketRun {
  startedAt: Date;
  finishedAt: Date;
  /** The run after the close. */
  isLast: boolean;
  hasFailed: boolean;
}

export interface MarketJobState {
  /** 'standby' is 'sleeping' in a process that does not lead. */
  phase: 'running' | 'sleeping' | 'standby' | 'stopped';
  /** When it wakes to run next; null while it runs or is stopped. */
  wakesAt: Date | null;
  lastRun: MarketRun | null;
  lastError: { at: Date; message: string } | null;
}

export interface MarketJob {
  state(): MarketJobState;
  /** The calendar says otherwise now: decides anew when to wake. */
  replan(): void;
  /** Ends the sleep, tells the run in progress to stop and waits for it. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
/** From the end of after-hours trading to pre-market there are 8 hours: no last run gets so far. */
const LAST_RUN_DELAY_MS_MAX = DAY_MS / 3;
/** What a timer can wait: a longer one fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Runs a job every so often while the market is open, once more after the close, and sleeps until
 * the next open otherwise, with one timer. It runs at once when it is started in open hours.
 *
 * Runs never overlap: one that takes long skips beats, but never the last. A run that fails is
 * logged, and the next one comes as usual. After a wake-up that came late (a suspended machine)
 * the clock decides anew: one run when the market is open; else the last run, when it was slept
 * through; else none. A session that was over when the job began, or when the calendar came to
 * have it, gets no last run.
 * @throws RangeError when the beat or the delay is out of range.
 */
export function startMarketJob(options: MarketJobOptions): MarketJob {
  const { everyMs, lastRunDelayMs } = options;
  if (!(everyMs >= 1)) throw new RangeError(`everyMs is ${everyMs}: it must be at least 1`);
  if (!(lastRunDelayMs >= 0 && lastRunDelayMs < LAST_RUN_DELAY_MS_MAX)) {
    throw new RangeError(`lastRunDelayMs is ${lastRunDelayMs}: it must be from 0 to 8 hours`);
  }
  const worker = new MarketWorker(options);
  worker.start();
  return {
    state: () => worker.state(),
    replan: () => worker.replan(),
    stop: () => worker.stop(),
  };
}

/** Why a sleep ended early. */
const REPLANNED = new Error('the calendar says otherwise');

/** The open hours of a session: [startMs, endMs). */
interface Window {
  startMs: number;
  endMs: number;
}

class MarketWorker {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  #ended: Promise<void> = Promise.resolve();
  #isEnded = false;
  #isRunning = false;
  #wakeMs: number | null = null;
  /** Ends the sleep, which is then as long as the calendar says. */
  #alarm = new AbortController();
  #lastRun: MarketRun | null = null;
  #lastError: MarketJobState['lastError'] = null;
  /** Every beat up to this instant is done, or skipped for good. */
  #settledMs = 0;

  constructor(readonly options: MarketJobOptions) {
    this.#clock = options.clock ?? systemClock;
  }

  start(): void {
    this.#ended = this.#work()
      .catch((error) => {
        if (this.#isStop(error)) return;
        this.options.log('ERROR', `${this.options.name} ended: ${errorMessage(error)}`);
      })
      .finally(() => {
        this.#isEnded = true;
      });
  }

  state(): MarketJobState {
    const isStopped = this.#isEnded || (this.#abort.signal.aborted && !this.#isRunning);
    const resting = this.options.isLeader() ? 'sleeping' : 'standby';
    return {
      phase: isStopped ? 'stopped' : this.#isRunning ? 'running' : resting,
      wakesAt: isStopped || this.#wakeMs === null ? null : new Date(this.#wakeMs),
      lastRun: this.#lastRun,
      lastError: this.#lastError,
    };
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('marketd is stopping'));
    await this.#ended;
  }

  replan(): void {
    // While it runs the run itself settles what it was for.
    if (!this.#isRunning) this.#settleAnew(this.#clock.now());
    this.#alarm.abort(REPLANNED);
  }

  /** As at the start: at once in a session that nothing ran in yet, none for what is over. */
  #settleAnew(nowMs: number): void {
    const open = this.#windowAt(nowMs);
    const lastMs = this.#lastRun?.startedAt.getTime() ?? Number.NEGATIVE_INFINITY;
    if (!open) this.#settledMs = Math.max(this.#settledMs, nowMs);
    else if (lastMs < open.startMs) this.#settledMs = open.startMs - 1;
  }

  async #work(): Promise<void> {
    const { name, log } = this.options;
    const startedMs = this.#clock.now();
    const open = this.#windowAt(startedMs);
    this.#settledMs = open ? open.startMs - 1 : startedMs;
    while (!this.#abort.signal.aborted) {
      const beatMs = this.#nextBeat(this.#settledMs);
      if (beatMs === undefined) {
        log('WARNING', `${name} ended: the exchange calendar has no further session`);
        return;
      }
      if (await this.#sleepUntil(beatMs)) await this.#beat();
    }
  }

  /** Rejects when the job is stopped; false when the time was not to be slept out. */
  async #sleepUntil(ms: number): Promise<boolean> {
    const stopped = this.#abort.signal;
    if (this.#alarm.signal.aborted) this.#alarm = new AbortController();
    const { signal: replanned } = this.#alarm;
    const signal = AbortSignal.any([stopped, replanned]);
    this.#wakeMs = ms;
    for (;;) {
      stopped.throwIfAborted();
      if (replanned.aborted) return false;
      const waitMs = ms - this.#clock.now();
      if (waitMs <= 0) return true;
      await this.#clock.sleep(Math.min(waitMs, TIMER_MS_MAX), signal).catch((error) => {
        if (error !== REPLANNED) throw error;
      });
    }
  }

  /** Does what the clock says now, however long the sleep really was. */
  async #beat(): Promise<void> {
    const nowMs = this.#clock.now();
    const open = this.#windowAt(nowMs);
    const isLast = !open && this.#missedLast(nowMs);
    this.#settledMs = Math.max(this.#settledMs, nowMs);
    if ((!open && !isLast) || !this.options.isLeader()) return;
    await this.#run(isLast);
    // The beats that came and went during the run are skipped, but not what follows the close.
    const finishedMs = this.#clock.now();
    if (open) {
      this.#settledMs = Math.max(this.#settledMs, Math.min(finishedMs, open.endMs - 1));
    }
  }

  async #run(isLast: boolean): Promise<void> {
    const { name, run, log } = this.options;
    const startedAt = new Date(this.#clock.now());
    this.#isRunning = true;
    this.#wakeMs = null;
    let hasFailed = false;
    try {
      await run(this.#abort.signal, { isLast });
    } catch (error) {
      hasFailed = !this.#isStop(error);
      if (hasFailed) {
        const message = errorMessage(error);
        this.#lastError = { at: new Date(this.#clock.now()), message };
        log('ERROR', `${name}: ${message}`);
      }
    } finally {
      this.#isRunning = false;
      const finishedAt = new Date(this.#clock.now());
      this.#lastRun = { startedAt, finishedAt, isLast, hasFailed };
    }
  }

  /** Whether something ended as it was told to, and not by a fault. */
  #isStop(error: unknown): boolean {
    return this.#abort.signal.aborted && error === this.#abort.signal.reason;
  }

  #windowOf(day: number): Window {
    const { calendar, parts } = this.options;
    const { preMarketMs, openMs, closeMs, endMs } = sessionHours(calendar, day);
    return parts === 'extended'
      ? { startMs: preMarketMs, endMs }
      : { startMs: openMs, endMs: closeMs };
  }

  /** The sessions around an instant: the latest that began by it, and the one after it. */
  #windowsAround(ms: number): Window[] {
    const { calendar } = this.options;
    // The calendar counts sessions up to the day after its last one.
    const day = Math.min(Math.max(newYorkDay(ms), calendar.firstDay), calendar.lastDay + 1);
    const next = calendar.sessionsBefore(day);
    return [next - 1, next, next + 1]
      .filter((index) => index >= 0 && index < calendar.sessionCount)
      .map((index) => this.#windowOf(calendar.sessionAt(index)));
  }

  #windowAt(ms: number): Window | undefined {
    return this.#windowsAround(ms).find(({ startMs, endMs }) => ms >= startMs && ms < endMs);
  }

  /** The first instant after `ms` at which there is something to do. */
  #nextBeat(ms: number): number | undefined {
    const { everyMs, lastRunDelayMs } = this.options;
    const beats = this.#windowsAround(ms).flatMap(({ startMs, endMs }) => {
      const beatMs = startMs + Math.max(0, Math.floor((ms - startMs) / everyMs) + 1) * everyMs;
      return [...(beatMs < endMs ? [beatMs] : []), endMs + lastRunDelayMs];
    });
    return beats.filter((beatMs) => beatMs > ms).sort((a, b) => a - b)[0];
  }

  /** Whether the last run of the session before `ms` is due and not settled. */
  #missedLast(ms: number): boolean {
    return this.#windowsAround(ms).some(({ endMs }) => {
      const dueMs = endMs + this.options.lastRunDelayMs;
      return dueMs <= ms && dueMs > this.#settledMs;
    });
  }
}
