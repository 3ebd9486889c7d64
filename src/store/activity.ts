import type { AnySql, Sql } from './database.ts';
import { type JobRequest, selectOpenRequests } from './job-requests.ts';
import { isLed, type Run, selectRuns } from './jobs.ts';

/** What is under way in the warehouse, kept in memory for pages that are polled. */

export interface Activity {
  /** The latest of the backfill, and the last one of every other job; newest first. */
  runs: Run[];
  /** What operators asked for and has not ended, the oldest first. */
  requests: JobRequest[];
}

/** Of the backfill; of every other job the last one. */
const RUNS_KEPT = 5;
const REQUESTS_KEPT = 100;
/** So long it is believed that somebody leads, or nobody does. */
const LEAD_MS = 5_000;
/** Counting the files of a large database takes longer than a page may. */
const SIZE_MS = 60_000;

/**
 * Remembers runs and requests until a change of them is announced, but not while something runs:
 * progress is not announced. Asks each time while changes may be missed.
 */
export class ActivityReader {
  isTrusted = false;
  #known: Activity | undefined;
  #generation = 0;
  #lead: { isLed: boolean; at: number } | undefined;
  #size: { bytes: number; at: number } | undefined;
  #sizing: Promise<number> | undefined;

  constructor(readonly sql: Sql) {}

  clear(): void {
    this.#known = undefined;
    this.#generation++;
  }

  async select(): Promise<Activity> {
    if (this.isTrusted && this.#known) return this.#known;
    const generation = this.#generation;
    const activity = await selectActivity(this.sql);
    const isIdle = activity.runs.every(({ state }) => state !== 'running');
    const isQuiet = isIdle && activity.requests.length === 0;
    if (this.isTrusted && isQuiet && generation === this.#generation) this.#known = activity;
    return activity;
  }

  /** Whether a process leads, so that what is scheduled or asked for is run. */
  async isLed(): Promise<boolean> {
    const now = performance.now();
    if (this.isTrusted && this.#lead && now - this.#lead.at < LEAD_MS) return this.#lead.isLed;
    this.#lead = { isLed: await isLed(this.sql), at: now };
    return this.#lead.isLed;
  }

  /** Bytes of the database's files, a minute old at most; older while it is being counted. */
  async selectSize(): Promise<number> {
    const isOld = !this.#size || performance.now() - this.#size.at >= SIZE_MS;
    if (isOld) {
      this.#sizing ??= this.#measure();
      if (!this.#size) return this.#sizing;
      // Whoever asks now is not kept waiting, and whoever asks next hears of the failure.
      this.#sizing.catch(() => {});
    }
    return this.#size?.bytes ?? 0;
  }

  async #measure(): Promise<number> {
    try {
      const bytes = await selectDatabaseBytes(this.sql);
      this.#size = { bytes, at: performance.now() };
      return bytes;
    } finally {
      this.#sizing = undefined;
    }
  }
}

async function selectActivity(sql: Sql): Promise<Activity> {
  const [runs, requests] = await Promise.all([
    selectRuns(sql, RUNS_KEPT),
    selectOpenRequests(sql, REQUESTS_KEPT),
  ]);
  return { runs, requests };
}

/** Bytes of all files of this database. */
export async function selectDatabaseBytes(sql: AnySql): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`
    select pg_database_size(current_database())::float8 as bytes`;
  return row.bytes;
}
