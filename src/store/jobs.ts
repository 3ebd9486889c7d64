import { hostname } from 'node:os';
import { type AnySql, openPool, type Sql } from './database.ts';

export type RunOrigin = 'schedule' | 'catch-up' | 'command' | 'start';
export type RunState = 'running' | 'succeeded' | 'failed' | 'interrupted';

export interface RunCounts {
  requests: number;
  inserted: number;
  changed: number;
  unchanged: number;
  rejected: number;
}

export interface Run extends RunCounts {
  runId: number;
  job: string;
  origin: RunOrigin;
  state: RunState;
  scheduledFor: Date | null;
  startedAt: Date;
  finishedAt: Date | null;
  total: number | null;
  done: number;
  error: string | null;
}

/** A lock that one process holds, on a connection of its own. */
export interface Lease {
  /** Aborted when the connection is lost: somebody else may hold the lock from then on. */
  lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Tries to take a named lock of the database. PostgreSQL lets go of it by itself when the process
 * or its connection dies, so no lock is ever stale.
 * @returns undefined when another process holds it.
 */
export async function leaseLock(url: string, name: string): Promise<Lease | undefined> {
  const lost = new AbortController();
  let isHeld = false;
  const sql = openPool(url, {
    connections: 1,
    isPermanent: true,
    applicationName: `marketd ${name}`,
    onclose: () => {
      if (isHeld) lost.abort(new Error(`the connection that held the lock "${name}" was lost`));
    },
  });
  const release = async () => {
    isHeld = false;
    await sql.end({ timeout: 2 });
  };
  try {
    const [row] = await sql<{ taken: boolean }[]>`
      select pg_try_advisory_lock(hashtext('marketd'), hashtext(${name})) as taken`;
    if (!row.taken) {
      await release();
      return undefined;
    }
  } catch (error) {
    await release();
    throw error;
  }
  isHeld = true;
  return { lost: lost.signal, release };
}

/** Opens a run's record. Runs of the job that a dead process left open become `interrupted`. */
export async function insertRun(
  sql: Sql,
  run: { job: string; origin: RunOrigin; scheduledFor?: Date; total: number },
): Promise<number> {
  await interruptRuns(sql, run.job);
  const [row] = await sql<{ run_id: number }[]>`
    insert into job_runs (job, origin, state, scheduled_for, worker, total)
    values (${run.job}, ${run.origin}, 'running', ${run.scheduledFor ?? null},
            ${`${hostname()}:${process.pid}`}, ${run.total})
    returning run_id`;
  await sql`select pg_notify('marketd', 'runs')`;
  return row.run_id;
}

/** Closes runs that a dead process left open; whoever holds the lock of a job is alive. */
export async function closeDeadRuns(url: string, sql: Sql, job: string): Promise<void> {
  const lease = await leaseLock(url, job);
  if (!lease) return;
  try {
    await interruptRuns(sql, job);
  } finally {
    await lease.release();
  }
}

async function interruptRuns(sql: Sql, job: string): Promise<void> {
  await sql`
    with closed as (
      update job_runs set state = 'interrupted', finished_at = now(),
        error = coalesce(error, 'the process ended before the run did')
      where job = ${job} and state = 'running' returning 1)
    select pg_notify('marketd', 'runs') from closed limit 1`;
}

export async function updateRun(
  sql: AnySql,
  runId: number,
  progress: RunCounts & { done: number },
): Promise<void> {
  await sql`
    update job_runs set done = ${progress.done}, requests = ${progress.requests},
      inserted = ${progress.inserted}, changed = ${progress.changed},
      unchanged = ${progress.unchanged}, rejected = ${progress.rejected}
    where run_id = ${runId}`;
}

/** Closes a run's record, and tells every process. */
export async function finishRun(
  sql: AnySql,
  runId: number,
  state: Exclude<RunState, 'running'>,
  error: string | null,
): Promise<void> {
  await sql`
    with finished as (
      update job_runs set state = ${state}, finished_at = now(), error = ${error}
      where run_id = ${runId} returning 1)
    select pg_notify('marketd', 'runs') from finished`;
}

export interface BackfillResult {
  instrumentId: number;
  startSession: string;
  endSession: string;
  inserted: number;
  changed: number;
  unchanged: number;
  rejected: number;
  error: string | null;
}

/** What came of instruments in a run; more for the same instrument is added up. */
export async function upsertBackfillResults(
  sql: AnySql,
  runId: number,
  results: readonly BackfillResult[],
  timeframe = '1d',
): Promise<void> {
  if (results.length === 0) return;
  await sql`
    with result as (
      select * from unnest(${results.map((r) => r.instrumentId)}::int[],
        ${results.map((r) => r.startSession)}::date[], ${results.map((r) => r.endSession)}::date[],
        ${results.map((r) => r.inserted)}::int[], ${results.map((r) => r.changed)}::int[],
        ${results.map((r) => r.unchanged)}::int[], ${results.map((r) => r.rejected)}::int[],
        ${results.map((r) => r.error)}::text[])
        as r(id, first, last, inserted, changed, unchanged, rejected, error)),
    stored as (
      insert into backfill_results as b (run_id, instrument_id, start_session, end_session,
        inserted, changed, unchanged, rejected, ok, error)
      select ${runId}, id, first, last, inserted, changed, unchanged, rejected, error is null, error
      from result
      on conflict (run_id, instrument_id) do update set
        start_session = least(b.start_session, excluded.start_session),
        end_session = greatest(b.end_session, excluded.end_session),
        inserted = b.inserted + excluded.inserted, changed = b.changed + excluded.changed,
        unchanged = b.unchanged + excluded.unchanged, rejected = b.rejected + excluded.rejected,
        ok = b.ok and excluded.ok, error = coalesce(b.error, excluded.error),
        ts_finished = excluded.ts_finished
      returning instrument_id, ok)
    insert into instrument_status (instrument_id, timeframe, last_backfill_at, last_backfill_ok)
    select instrument_id, ${timeframe}, now(), ok from stored
    on conflict (instrument_id, timeframe) do update set
      last_backfill_at = excluded.last_backfill_at,
      last_backfill_ok = excluded.last_backfill_ok`;
}

interface RunRow extends RunCounts {
  run_id: number;
  job: string;
  origin: RunOrigin;
  state: RunState;
  scheduled_for: Date | null;
  started_at: Date;
  finished_at: Date | null;
  total: number | null;
  done: number;
  error: string | null;
}

/**
 * What is worth seeing of the runs, newest first: of one job the latest `limit`; else so many of
 * the backfill and the last one of every other job, so that one that runs every minute hides none.
 */
export async function selectRuns(sql: AnySql, limit: number, job?: string): Promise<Run[]> {
  const rows = await sql<RunRow[]>`
    with recursive names as (
      select min(job) as job from job_runs
      union all
      select (select min(job) from job_runs r where r.job > n.job) from names n
      where n.job is not null)
    select r.run_id, r.job, r.origin, r.state, r.scheduled_for, r.started_at, r.finished_at,
           r.total, r.done, r.requests, r.inserted, r.changed, r.unchanged, r.rejected, r.error
    from names n
    cross join lateral (
      select *, row_number() over (order by started_at desc, run_id desc) as position
      from (select * from job_runs where job = n.job
            order by started_at desc, run_id desc limit ${limit}) newest) r
    where case when ${job ?? null}::text is null then r.position = 1 or r.job = 'backfill'
               else r.job = ${job ?? null} end
    order by r.run_id desc`;
  return rows.map((row) => ({
    runId: row.run_id,
    job: row.job,
    origin: row.origin,
    state: row.state,
    scheduledFor: row.scheduled_for,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    total: row.total,
    done: row.done,
    requests: row.requests,
    inserted: row.inserted,
    changed: row.changed,
    unchanged: row.unchanged,
    rejected: row.rejected,
    error: row.error,
  }));
}

/**
 * When the newest scheduled run that came to its end was meant to start; undefined before the
 * first. Single symbols may have failed in it; a run that was cut short does not count.
 */
export async function selectLastScheduled(sql: AnySql, job: string): Promise<Date | undefined> {
  const [row] = await sql<{ scheduled_for: Date | null }[]>`
    select max(scheduled_for) as scheduled_for from job_runs
    where job = ${job} and (state = 'succeeded' or (state = 'failed' and done >= total))`;
  return row?.scheduled_for ?? undefined;
}

/** When anything ran here first; undefined before that. */
export async function selectFirstStarted(sql: AnySql): Promise<Date | undefined> {
  const [row] = await sql<{ started_at: Date }[]>`
    select started_at from job_runs order by run_id limit 1`;
  return row?.started_at;
}
