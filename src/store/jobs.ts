import { hostname } from 'node:os';
import { type AnySql, openPool, type Sql } from './database.ts';

export type RunOrigin = 'schedule' | 'catch-up' | 'command' | 'start' | 'operator';
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

/** Whether somebody holds a named lock of the database. */
export async function isLockHeld(sql: AnySql, name: string): Promise<boolean> {
  const [row] = await sql<{ held: boolean }[]>`
    select exists (
      select from pg_locks
      where locktype = 'advisory' and granted and objsubid = 2
        and database = (select oid from pg_database where datname = current_database())
        and classid::bigint = hashtext('marketd')::bigint & 4294967295
        and objid::bigint = hashtext(${name})::bigint & 4294967295) as held`;
  return row.held;
}

/** Name of the lock of the process that runs the jobs. */
export const LEAD_LOCK = 'scheduler';

/** Whether a process leads: then what is asked for is run, else it waits for one. */
export function isLed(sql: AnySql): Promise<boolean> {
  return isLockHeld(sql, LEAD_LOCK);
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

/**
 * Closes runs that a dead process left open; whoever holds their lock is alive.
 * @param jobs those that the lock is for; one of its own name when missing.
 */
export async function closeDeadRuns(
  url: string,
  sql: Sql,
  lock: string,
  jobs: readonly string[] = [lock],
): Promise<void> {
  const [open] = await sql`
    select from job_runs where job = any(${[...jobs]}::text[]) and state = 'running' limit 1`;
  if (!open) return;
  const lease = await leaseLock(url, lock);
  if (!lease) return;
  try {
    for (const job of jobs) await interruptRuns(sql, job);
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

const toRun = (row: RunRow): Run => ({
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
});

const runColumns = (sql: AnySql) => sql`
  r.run_id, r.job, r.origin, r.state, r.scheduled_for, r.started_at, r.finished_at, r.total,
  r.done, r.requests, r.inserted, r.changed, r.unchanged, r.rejected, r.error`;

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
    select ${runColumns(sql)}
    from names n
    cross join lateral (
      select *, row_number() over (order by started_at desc, run_id desc) as position
      from (select * from job_runs where job = n.job
            order by started_at desc, run_id desc limit ${limit}) newest) r
    where case when ${job ?? null}::text is null then r.position = 1 or r.job = 'backfill'
               else r.job = ${job ?? null} end
    order by r.run_id desc`;
  return rows.map(toRun);
}

/** The newest of some jobs' runs that are under way. */
export async function selectRunning(
  sql: AnySql,
  jobs: readonly string[],
): Promise<Run | undefined> {
  const [row] = await sql<RunRow[]>`
    select ${runColumns(sql)} from job_runs r
    where r.job = any(${[...jobs]}::text[]) and r.state = 'running' order by r.run_id desc limit 1`;
  return row && toRun(row);
}

/** Every job that has run, by name. Looks at one row a job. */
export async function selectRunJobs(sql: AnySql): Promise<string[]> {
  const rows = await sql<{ job: string }[]>`
    with recursive names as (
      select min(job) as job from job_runs
      union all
      select (select min(job) from job_runs r where r.job > n.job) from names n
      where n.job is not null)
    select job from names where job is not null`;
  return rows.map(({ job }) => job).sort();
}

export interface RunPage {
  /** Newest first. */
  runs: Run[];
  /** All that the filter lets through. */
  total: number;
}

/** A page of all runs, or of those of a job or in a state. */
export async function selectRunPage(
  sql: AnySql,
  { job, state }: { job?: string; state?: RunState },
  { limit, offset }: { limit: number; offset: number },
): Promise<RunPage> {
  // Only what is asked for is compared, so that each combination has a plan of its own.
  const ofJob = job === undefined ? sql`true` : sql`r.job = ${job}`;
  const filter = state === undefined ? ofJob : sql`${ofJob} and r.state = ${state}`;
  const [rows, [{ total }]] = await Promise.all([
    sql<RunRow[]>`
      select ${runColumns(sql)} from job_runs r where ${filter}
      order by r.run_id desc limit ${limit} offset ${offset}`,
    sql<{ total: number }[]>`select count(*)::int as total from job_runs r where ${filter}`,
  ]);
  return { runs: rows.map(toRun), total };
}

/** Runs of any job that are under way, the oldest first. */
export async function selectUnderWay(sql: AnySql): Promise<Run[]> {
  const rows = await sql<RunRow[]>`
    select ${runColumns(sql)} from job_runs r where r.state = 'running' order by r.run_id`;
  return rows.map(toRun);
}

/** A run and the process it ran in, 'host:pid'; undefined for one that is not known. */
export async function selectRun(
  sql: AnySql,
  runId: number,
): Promise<(Run & { worker: string }) | undefined> {
  const [row] = await sql<(RunRow & { worker: string })[]>`
    select ${runColumns(sql)}, r.worker from job_runs r where r.run_id = ${runId}`;
  return row && { ...toRun(row), worker: row.worker };
}

export interface RunResult extends BackfillResult {
  /** The one that the instrument has now, or had last. */
  symbol: string;
  finishedAt: Date;
}

export interface RunResultPage {
  /** Failed ones first, each part by symbol. */
  results: RunResult[];
  /** Of all that the search lets through. */
  total: number;
  failed: number;
}

/**
 * What came of each instrument in a run.
 * @param q a part of the symbol, in any case; '' for all.
 */
export async function selectRunResults(
  sql: AnySql,
  runId: number,
  { q, limit, offset }: { q: string; limit: number; offset: number },
): Promise<RunResultPage> {
  const found = sql`
    select b.*, n.symbol from backfill_results b
    join (select distinct on (instrument_id) instrument_id, symbol from symbol_ranges
          order by instrument_id, valid_to desc) n using (instrument_id)
    where b.run_id = ${runId} and strpos(lower(n.symbol), lower(${q})) > 0`;
  const [results, [counted]] = await Promise.all([
    sql<RunResult[]>`
      select instrument_id as "instrumentId", symbol, start_session as "startSession",
             end_session as "endSession", inserted, changed, unchanged, rejected, error,
             ts_finished as "finishedAt"
      from (${found}) f order by ok, symbol collate "C" limit ${limit} offset ${offset}`,
    sql<{ total: number; failed: number }[]>`
      select count(*)::int as total, (count(*) filter (where not ok))::int as failed
      from (${found}) f`,
  ]);
  return { results: [...results], ...counted };
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
