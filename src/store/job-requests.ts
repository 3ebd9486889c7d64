import { InputError } from '../errors.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import { insertAudit } from './audit.ts';
import { type AnySql, lockTransaction, type Sql, type Transaction, transact } from './database.ts';
import { isLed } from './jobs.ts';
import { checkSymbol, TRACKED_TIMEFRAMES } from './symbols.ts';

/** What operators ask the process that leads to do, and what came of it. */

export const JOB_KINDS = ['backfill', 'repair', 'reconcile'] as const;
export type JobKind = (typeof JOB_KINDS)[number];

export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'refused';

/** What a backfill or a repair is about. */
export interface BackfillArguments {
  /** Null: every symbol that is tracked in the timeframe. */
  symbols: string[] | null;
  timeframe: (typeof TRACKED_TIMEFRAMES)[number];
  /** Sessions, 'YYYY-MM-DD', both inclusive; null: up to the latest that is published. */
  firstSession: string;
  lastSession: string | null;
  /** Ask again for what was empty or refused, although its time has not come. */
  retryEmpty: boolean;
}

export interface JobRequest {
  requestId: number;
  kind: JobKind;
  /** Null for a reconciliation: it draws a sample. */
  arguments: BackfillArguments | null;
  state: JobState;
  /** Who asked: 'page 127.0.0.1'. */
  actor: string;
  requestedAt: Date;
  /** When it was taken up last; null while it waits. */
  startedAt: Date | null;
  finishedAt: Date | null;
  cancelRequestedAt: Date | null;
  /** The last run of it; null before there was one, and when there was nothing to do. */
  runId: number | null;
  /** What it waits for, or what came of it. */
  message: string | null;
}

/** What a backfill would cost. */
export interface BackfillPreview {
  symbols: number;
  /** Sessions times symbols that are missing. */
  dueSessions: number;
  requests: {
    range: number;
    grouped: number;
    splits: number;
    dividends: number;
    describe: number;
    total: number;
  };
  /** How long that takes given the provider's limit; 0: under a minute. */
  minutes: number;
  /** Null: no limit. */
  requestsPerMinute: number | null;
}

// ---------------------------------------------------------------------------- asking

/** How many symbols one request may name. */
export const JOB_SYMBOLS_MAX = 1_000;

/** As a form or a program gives them. */
export type RawArguments = Omit<BackfillArguments, 'timeframe' | 'symbols'> & {
  timeframe: string;
  symbols: readonly string[] | null;
};

/**
 * What a backfill or repair can be asked for; each symbol once, in order.
 * @throws InputError that names the field: symbols, timeframe, first_session, last_session.
 */
export function checkArguments(raw: RawArguments, nowMs: number): BackfillArguments {
  const timeframe = TRACKED_TIMEFRAMES.find((one) => one === raw.timeframe);
  if (timeframe === undefined) {
    throw new InputError(
      `timeframe is ${shown(raw.timeframe)}: it must be one that is stored, ` +
        `${TRACKED_TIMEFRAMES.join(', ')}; all others are made of them`,
      'timeframe',
    );
  }
  const { firstSession, lastSession, retryEmpty } = raw;
  const today = toDate(newYorkDay(nowMs));
  checkSession(firstSession, 'first_session', today);
  if (lastSession !== null) {
    checkSession(lastSession, 'last_session', today);
    if (lastSession < firstSession) {
      throw new InputError(
        `last_session (${lastSession}) lies before first_session (${firstSession})`,
        'last_session',
      );
    }
  }
  const symbols = raw.symbols && checkSymbols(raw.symbols);
  return { symbols, timeframe, firstSession, lastSession, retryEmpty };
}

const shown = (text: string) => JSON.stringify(text.slice(0, 40));

function checkSession(text: string, field: string, today: string): void {
  if (Number.isNaN(toDay(text))) {
    throw new InputError(
      `${field} is ${shown(text)}: it must be a date that exists, written YYYY-MM-DD, ` +
        'for example 2024-01-31',
      field,
    );
  }
  if (text > today) {
    throw new InputError(`${field} (${text}) lies in the future: today is ${today}`, field);
  }
}

function checkSymbols(symbols: readonly string[]): string[] {
  const unique = [...new Set(symbols.map((symbol) => checkSymbol(symbol, 'symbols')))].sort();
  if (unique.length === 0) {
    throw new InputError('symbols is empty: name at least one, or ask for all', 'symbols');
  }
  if (unique.length <= JOB_SYMBOLS_MAX) return unique;
  throw new InputError(
    `symbols has ${unique.length}: name at most ${JOB_SYMBOLS_MAX}, or ask for all`,
    'symbols',
  );
}

/**
 * Puts a request in the queue of the process that leads, with a row of the audit log. One that asks
 * for the same and still waits is returned instead of a second.
 * @param atMs when it was asked for, epoch ms.
 * @throws InputError for arguments that are missing, or none that can be asked for.
 */
export async function insertJobRequest(
  write: Sql,
  request: NewJobRequest,
  atMs: number,
): Promise<JobRequest> {
  return transact(write, (tx) => enqueueJobRequest(tx, request, atMs));
}

/** What is asked for, and by whom. */
export interface NewJobRequest {
  kind: JobKind;
  arguments: RawArguments | null;
  actor: string;
}

/** The same in a transaction that does more. */
export async function enqueueJobRequest(
  tx: Transaction,
  request: NewJobRequest,
  atMs: number,
): Promise<JobRequest> {
  const { kind, actor } = request;
  const checked = checkKind(kind, request.arguments, atMs);
  const stored = checked && JSON.stringify(encodeArguments(checked));
  // Of two who ask for the same at once, the second one waits for the first.
  await lockTransaction(tx, 'jobs');
  const [waiting] = await tx<JobRequestRow[]>`
    select * from job_requests
    where state = 'queued' and kind = ${kind} and cancel_requested_at is null
      and arguments is not distinct from ${stored}::text::jsonb
    order by request_id limit 1`;
  if (waiting) return toRequest(waiting);
  const [row] = await tx<JobRequestRow[]>`
    insert into job_requests (kind, arguments, actor, requested_at)
    values (${kind}, ${stored}::text::jsonb, ${actor}, ${new Date(atMs)})
    returning *`;
  const added = toRequest(row);
  await insertAudit(tx, [auditEntry(added, 'job.start', actor)], atMs);
  await notifyJobs(tx);
  return added;
}

/** @throws InputError */
function checkKind(kind: JobKind, raw: RawArguments | null, nowMs: number) {
  if (kind === 'reconcile') {
    if (raw === null) return null;
    throw new InputError('a reconciliation draws its own sample: it has no arguments', 'kind');
  }
  if (raw === null) throw new InputError(`a ${kind} needs arguments`, 'first_session');
  const checked = checkArguments(raw, nowMs);
  if (kind === 'repair' && checked.retryEmpty) {
    throw new InputError(
      'a repair asks again when the time has come: retry_empty is for backfills',
      'retry_empty',
    );
  }
  return checked;
}

/**
 * Cancels a request: one that waits never begins, one that runs is told to end and keeps what it
 * has committed. One that has ended stays as it is.
 * @param atMs when, epoch ms.
 * @returns undefined when there is no such request.
 */
export async function cancelJobRequest(
  write: Sql,
  requestId: number,
  actor: string,
  atMs: number,
): Promise<JobRequest | undefined> {
  return transact(write, async (tx) => {
    const [held] = await tx<JobRequestRow[]>`
      select * from job_requests where request_id = ${requestId} for update`;
    if (!held) return undefined;
    if (held.finished_at !== null) return toRequest(held);
    // Nobody leads: whoever ran it is gone, and nobody would be told.
    const ends = held.state === 'queued' || !(await isLed(tx));
    const isTold = held.cancel_requested_at !== null;
    if (isTold && !ends) return toRequest(held);
    const at = new Date(atMs);
    const message =
      held.state === 'queued' ? `cancelled by ${actor} before it began` : `cancelled by ${actor}`;
    const [row] = await tx<JobRequestRow[]>`
      update job_requests set cancel_requested_at = ${at},
        state = case when ${ends} then 'cancelled' else state end,
        finished_at = case when ${ends} then ${at}::timestamptz end,
        message = ${message}
      where request_id = ${requestId} returning *`;
    const cancelled = toRequest(row);
    await insertAudit(tx, [auditEntry(cancelled, 'job.cancel', actor)], atMs);
    await notifyJobs(tx);
    return cancelled;
  });
}

function auditEntry(request: JobRequest, action: string, actor: string) {
  const { requestId, kind } = request;
  const detail = {
    request_id: requestId,
    kind,
    arguments: request.arguments && encodeArguments(request.arguments),
  };
  return { actor, action, instrumentId: null, target: describeJob(request), detail };
}

/** What is asked for, in words: 'backfill 1d of AAPL, MSFT and 3 more from 2024-01-02'. */
export function describeJob({
  kind,
  arguments: asked,
}: Pick<JobRequest, 'kind' | 'arguments'>): string {
  if (!asked) return kind;
  const { symbols, timeframe, firstSession, lastSession } = asked;
  const named = symbols?.slice(0, 3).join(', ') ?? 'all symbols';
  const more = symbols && symbols.length > 3 ? ` and ${symbols.length - 3} more` : '';
  const until = lastSession === null ? '' : ` to ${lastSession}`;
  return `${kind} ${timeframe} of ${named}${more} from ${firstSession}${until}`;
}

/** Tells every process, when the transaction commits. */
async function notifyJobs(sql: AnySql): Promise<void> {
  await sql`select pg_notify('marketd', 'jobs')`;
}

// --------------------------------------------------------------------------- reading

/** The newest requests first; `before`: those with a lower number only. */
export async function selectJobRequests(
  sql: AnySql,
  { limit, before }: { limit: number; before?: number },
): Promise<JobRequest[]> {
  const rows = await sql<JobRequestRow[]>`
    select * from job_requests where request_id < coalesce(${before ?? null}::bigint, ${MAX_ID})
    order by request_id desc limit ${limit}`;
  return rows.map(toRequest);
}

const MAX_ID = Number.MAX_SAFE_INTEGER;

/** The newest of those that have ended, the newest first. */
export async function selectEndedRequests(sql: AnySql, limit: number): Promise<JobRequest[]> {
  const rows = await sql<JobRequestRow[]>`
    select * from job_requests where finished_at is not null
    order by request_id desc limit ${limit}`;
  return rows.map(toRequest);
}

/** Requests that have not ended, the oldest first: however many newer ones have. */
export async function selectOpenRequests(sql: AnySql, limit: number): Promise<JobRequest[]> {
  const rows = await sql<JobRequestRow[]>`
    select * from job_requests where state in ('queued', 'running')
    order by request_id limit ${limit}`;
  return rows.map(toRequest);
}

export async function selectJobRequest(
  sql: AnySql,
  requestId: number,
): Promise<JobRequest | undefined> {
  const [row] = await sql<JobRequestRow[]>`
    select * from job_requests where request_id = ${requestId}`;
  return row && toRequest(row);
}

/** What an operator asked for that a run came of; undefined for a run of the schedule. */
export async function selectRequestOfRun(
  sql: AnySql,
  runId: number,
): Promise<JobRequest | undefined> {
  const [row] = await sql<JobRequestRow[]>`
    select * from job_requests where run_id = ${runId} order by request_id desc limit 1`;
  return row && toRequest(row);
}

interface JobRequestRow {
  request_id: number;
  kind: JobKind;
  arguments: StoredArguments | null;
  state: JobState;
  actor: string;
  requested_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  cancel_requested_at: Date | null;
  attempts: number;
  run_id: number | null;
  message: string | null;
}

/** As they are stored, written to the audit log and answered. */
export interface StoredArguments {
  symbols: string[] | null;
  timeframe: BackfillArguments['timeframe'];
  first_session: string;
  last_session: string | null;
  retry_empty: boolean;
}

export const encodeArguments = (asked: BackfillArguments): StoredArguments => ({
  symbols: asked.symbols,
  timeframe: asked.timeframe,
  first_session: asked.firstSession,
  last_session: asked.lastSession,
  retry_empty: asked.retryEmpty,
});

const decodeArguments = (stored: StoredArguments): BackfillArguments => ({
  symbols: stored.symbols,
  timeframe: stored.timeframe,
  firstSession: stored.first_session,
  lastSession: stored.last_session,
  retryEmpty: stored.retry_empty,
});

const toRequest = (row: JobRequestRow): JobRequest => ({
  requestId: row.request_id,
  kind: row.kind,
  arguments: row.arguments && decodeArguments(row.arguments),
  state: row.state,
  actor: row.actor,
  requestedAt: row.requested_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  cancelRequestedAt: row.cancel_requested_at,
  runId: row.run_id,
  message: row.message,
});

// --------------------------------------------------------------------------- working

/** A request that was taken up; of several that did, only the last one has a say. */
export interface TakenRequest extends JobRequest {
  attempt: number;
}

/** Requests that wait, the oldest first. */
export async function selectQueued(sql: AnySql, limit: number): Promise<JobRequest[]> {
  const rows = await sql<JobRequestRow[]>`
    select * from job_requests where state = 'queued' order by request_id limit ${limit}`;
  return rows.map(toRequest);
}

/** Takes up a request that waits. @returns undefined when it does not any more. */
export async function leaseJobRequest(
  write: Sql,
  requestId: number,
  atMs: number,
): Promise<TakenRequest | undefined> {
  const [row] = await write<JobRequestRow[]>`
    with taken as (
      update job_requests set state = 'running', started_at = ${new Date(atMs)}, message = null,
        attempts = attempts + 1
      where request_id = (
        select request_id from job_requests
        where request_id = ${requestId} and state = 'queued' for update skip locked)
      returning *)
    select taken.*, pg_notify('marketd', 'jobs') from taken`;
  return row && { ...toRequest(row), attempt: row.attempts };
}

/** Says which run a request that was taken up has, as soon as there is one. */
export async function updateRequestRun(
  write: Sql,
  { requestId, attempt }: Pick<TakenRequest, 'requestId' | 'attempt'>,
  runId: number,
): Promise<void> {
  await write`
    with linked as (
      update job_requests set run_id = ${runId}
      where request_id = ${requestId} and attempts = ${attempt} and state = 'running' returning 1)
    select pg_notify('marketd', 'jobs') from linked`;
}

/** What came of a request that was taken up; 'queued': nothing yet, it is to be tried again. */
export interface JobOutcome {
  state: Exclude<JobState, 'running'>;
  message: string | null;
}

/**
 * Closes a request that was taken up, or puts it back. Nothing happens when somebody else has taken
 * it up, or cancelled it, in the meantime. One to be put back that was cancelled is cancelled.
 */
export async function finishJobRequest(
  write: Sql,
  { requestId, attempt }: Pick<TakenRequest, 'requestId' | 'attempt'>,
  { state, message }: JobOutcome,
  atMs: number,
): Promise<void> {
  const at = new Date(atMs);
  await write`
    with finished as (
      update job_requests set
        state = case when ${state} = 'queued' and cancel_requested_at is not null then 'cancelled'
                     else ${state} end,
        message = case when ${state} = 'queued' and cancel_requested_at is not null then message
                       else ${message} end,
        started_at = case when ${state} = 'queued' and cancel_requested_at is null then null
                          else started_at end,
        finished_at = case when ${state} = 'queued' and cancel_requested_at is null then null
                           else ${at}::timestamptz end
      where request_id = ${requestId} and attempts = ${attempt} and state = 'running' returning 1)
    select pg_notify('marketd', 'jobs') from finished`;
}

/** Says what a request waits for; null: for nothing in particular. */
export async function updateRequestMessage(
  write: Sql,
  requestId: number,
  message: string | null,
): Promise<void> {
  await write`
    with told as (
      update job_requests set message = ${message}
      where request_id = ${requestId} and state = 'queued'
        and message is distinct from ${message} returning 1)
    select pg_notify('marketd', 'jobs') from told`;
}

/** A request that ends the process each time it is run would do so for ever. */
const DEATHS_MAX = 5;

/**
 * Puts requests back in the queue whose process is gone, to be called by the one that leads: nobody
 * else runs any. What was cancelled meanwhile is closed, and what took too many processes with it.
 * @param mine the request that the caller runs itself.
 */
export async function requeueAbandoned(
  write: Sql,
  mine: number | undefined,
  atMs: number,
): Promise<JobRequest[]> {
  const at = new Date(atMs);
  const rows = await write<JobRequestRow[]>`
    with abandoned as (
      update job_requests set
        deaths = deaths + 1,
        state = case when cancel_requested_at is not null then 'cancelled'
                     when deaths + 1 >= ${DEATHS_MAX} then 'failed' else 'queued' end,
        started_at = case when cancel_requested_at is null and deaths + 1 < ${DEATHS_MAX} then null
                          else started_at end,
        finished_at = case when cancel_requested_at is null and deaths + 1 < ${DEATHS_MAX} then null
                           else ${at}::timestamptz end,
        message = case
          when cancel_requested_at is not null then 'cancelled; the process that ran it had ended'
          when deaths + 1 >= ${DEATHS_MAX} then
            'the process that ran it ended ' || ${DEATHS_MAX}::int ||
            ' times: it is not tried again'
          else 'the process that ran it ended: it goes on where it was' end
      where state = 'running' and request_id is distinct from ${mine ?? null}::bigint
      returning *)
    select abandoned.*, pg_notify('marketd', 'jobs') from abandoned`;
  return rows.map(toRequest);
}

// -------------------------------------------------------------------------- failures

/** A request to a provider that failed in a run. */
export interface RequestFailure {
  failureId: number;
  runId: number;
  at: Date;
  /** Null: asked for the whole market. */
  symbol: string | null;
  /** '1d', '1m', 'splits', 'symbols' ... */
  dataset: string;
  /** 'YYYY-MM-DD', both inclusive; null: not asked for by session. */
  firstSession: string | null;
  lastSession: string | null;
  /** `ProviderErrorKind`. */
  kind: string;
  /** Of the answer; null: there was none. */
  status: number | null;
  /** What the program makes of it. */
  message: string;
  /** The vendor's own words: the answer's first kilobyte. */
  body: string | null;
}

export type NewRequestFailure = Omit<RequestFailure, 'failureId' | 'at'>;

/** Failures that are kept of a run. */
export const FAILURES_KEPT_MAX = 1_000;
const MESSAGE_LENGTH_MAX = 2_000;
const BODY_LENGTH_MAX = 1_024;

/** Keeps what a provider said to a request that failed. */
export async function insertRequestFailure(
  sql: AnySql,
  failure: NewRequestFailure,
  atMs: number,
): Promise<void> {
  const { runId, symbol, dataset, firstSession, lastSession, kind, status } = failure;
  await sql`
    insert into request_failures (run_id, ts, symbol, dataset, start_session, end_session, kind,
      status, message, body)
    values (${runId}, ${new Date(atMs)}, ${symbol}, ${dataset}, ${firstSession}, ${lastSession},
      ${kind}, ${status}, ${cleanText(failure.message, MESSAGE_LENGTH_MAX)},
      ${failure.body && cleanText(failure.body, BODY_LENGTH_MAX)})`;
}

const KEY_IN_ADDRESS = /\b(api_?key|access_token|token|crumb)=[\w.~%+/-]+/gi;

/**
 * Without a key in an address. The client takes out the key that it knows; what a vendor says is
 * kept, and shown, hence this second look. NUL is no text to PostgreSQL.
 */
function cleanText(text: string, lengthMax: number): string {
  const plain = text.replaceAll('\0', '\uFFFD').replace(KEY_IN_ADDRESS, '$1=********');
  return plain.slice(0, lengthMax).toWellFormed();
}

interface FailureRow {
  failure_id: number;
  run_id: number;
  ts: Date;
  symbol: string | null;
  dataset: string;
  start_session: string | null;
  end_session: string | null;
  kind: string;
  status: number | null;
  message: string;
  body: string | null;
}

/** The failed requests of a run in the order in which they failed; after a number, if given. */
export async function selectRequestFailures(
  sql: AnySql,
  { runId, limit, after = 0 }: { runId: number; limit: number; after?: number },
): Promise<RequestFailure[]> {
  const rows = await sql<FailureRow[]>`
    select failure_id, run_id, ts, symbol, dataset, start_session, end_session, kind, status,
           message, body
    from request_failures where run_id = ${runId} and failure_id > ${after}
    order by failure_id limit ${limit}`;
  return rows.map((row) => ({
    failureId: row.failure_id,
    runId: row.run_id,
    at: row.ts,
    symbol: row.symbol,
    dataset: row.dataset,
    firstSession: row.start_session,
    lastSession: row.end_session,
    kind: row.kind,
    status: row.status,
    message: row.message,
    body: row.body,
  }));
}

/** How many failed requests of a run are kept. */
export async function countRequestFailures(sql: AnySql, runId: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*) as count from request_failures where run_id = ${runId}`;
  return row.count;
}
