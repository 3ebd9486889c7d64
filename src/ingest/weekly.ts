import { errorMessage } from '../errors.ts';
import type { Clock } from '../providers/http.ts';
import type { RunOrigin } from '../store/jobs.ts';
import type { Log } from '../telemetry.ts';

/** A job that runs once a week, in the one process that leads. */
export interface WeeklyOptions {
  /** For messages. */
  name: string;
  /** 0 is Sunday; the hour is UTC. */
  weekday: number;
  hour: number;
  clock: Clock;
  isLeader: () => boolean;
  /** When the last run that came to its end was meant to start; undefined: there was none. */
  lastScheduled: () => Promise<Date | undefined>;
  run: (
    signal: AbortSignal,
    schedule: { scheduledFor: Date; origin: RunOrigin },
  ) => Promise<unknown>;
  log: Log;
}

export interface WeeklyJob {
  /** Ends the run that is under way. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
/** 1970-01-01 was a Thursday. */
const FIRST_WEEKDAY = 4;
const CHECK_MS = 60_000;
/** One that failed is tried again so often, so long after. */
const ATTEMPTS_MAX = 3;
const RETRY_MS = 3_600_000;

/** The latest instant at or before `nowMs` at which a weekly run was due. */
export function lastWeekly(nowMs: number, weekday: number, hour: number): Date {
  const offset = (((weekday - FIRST_WEEKDAY + 7) % 7) * 24 + hour) * 3_600_000;
  return new Date(Math.floor((nowMs - offset) / WEEK_MS) * WEEK_MS + offset);
}

/**
 * Looks every minute whether the run of the week is due and not done. One that was missed while
 * nobody was up is caught up; before the very first one the next date is waited for.
 */
export function startWeekly(options: WeeklyOptions): WeeklyJob {
  const abort = new AbortController();
  const running = new Weekly(options, abort.signal).loop();
  return {
    stop: async () => {
      abort.abort(new Error('marketd is stopping'));
      await running;
    },
  };
}

class Weekly {
  readonly #startedMs: number;
  /** The run that is done, or given up. */
  #handledMs = 0;
  #attempts = 0;
  #retryMs = 0;

  constructor(
    readonly options: WeeklyOptions,
    readonly signal: AbortSignal,
  ) {
    this.#startedMs = options.clock.now();
  }

  async loop(): Promise<void> {
    const { clock, name, log } = this.options;
    while (!this.signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        if (!this.signal.aborted) log('ERROR', `${name}: ${errorMessage(error)}`);
      }
      if (this.signal.aborted) return;
      await clock.sleep(CHECK_MS, this.signal).catch(() => {}); // told to stop
    }
  }

  async #look(): Promise<void> {
    const { clock, weekday, hour, isLeader, lastScheduled, run } = this.options;
    const nowMs = clock.now();
    const due = lastWeekly(nowMs, weekday, hour);
    const dueMs = due.getTime();
    if (dueMs === this.#handledMs || nowMs < this.#retryMs || !isLeader()) return;
    const last = await lastScheduled();
    if (last ? last.getTime() >= dueMs : dueMs < this.#startedMs) {
      this.#handledMs = dueMs;
      return;
    }
    this.#attempts++;
    this.#retryMs = nowMs + RETRY_MS;
    if (this.#attempts >= ATTEMPTS_MAX) this.#settle(dueMs);
    const origin = nowMs < dueMs + RETRY_MS ? 'schedule' : 'catch-up';
    await run(this.signal, { scheduledFor: due, origin });
    this.#settle(dueMs);
  }

  #settle(dueMs: number): void {
    this.#handledMs = dueMs;
    this.#attempts = 0;
    this.#retryMs = 0;
  }
}
