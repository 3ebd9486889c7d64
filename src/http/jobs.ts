import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import {
  cancelJobRequest,
  checkArguments,
  countRequestFailures,
  encodeArguments,
  FAILURES_KEPT_MAX,
  insertJobRequest,
  JOB_KINDS,
  type JobKind,
  type JobRequest,
  type RawArguments,
  type RequestFailure,
  selectJobRequest,
  selectJobRequests,
  selectRequestFailures,
} from '../store/job-requests.ts';
import { isLed, type Run, selectRun } from '../store/jobs.ts';
import { actorAt } from './actor.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-jobs.ts';
import { makeCursor, parseCursor } from './cursor.ts';
import { HttpError } from './errors.ts';
import { readJsonObject } from './json-body.ts';
import { parseChoice, parseWhole, refuseRepeated } from './parameters.ts';
import { refuseCrossSite } from './same-origin.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;
const FAILURES_DEFAULT = 100;

/** What operators start, cancel and watch. */
export function jobRoutes(context: AppContext) {
  return new Elysia({ name: 'jobs' })
    .get(
      '/api/v1/admin/jobs',
      ({ query, request }) => listJobs(context, query, request),
      contract.jobs,
    )
    .post(
      '/api/v1/admin/jobs',
      async ({ request, server, set }) => {
        const job = await startJob(context, request, server?.requestIP(request)?.address);
        set.status = 202;
        set.headers.location = `/api/v1/admin/jobs/${job.id}`;
        return job;
      },
      contract.start,
    )
    .post(
      '/api/v1/admin/jobs/preview',
      ({ request }) => previewJob(context, request),
      contract.preview,
    )
    .get(
      '/api/v1/admin/jobs/:id',
      ({ params, query, request }) => showJob(context, params.id, query, request),
      contract.jobDetail,
    )
    .delete(
      '/api/v1/admin/jobs/:id',
      ({ params, request, server }) =>
        cancelJob(context, params.id, request, server?.requestIP(request)?.address),
      contract.cancel,
    );
}

// --------------------------------------------------------------------------- reading

async function listJobs(
  { database }: AppContext,
  { limit: text = String(LIMIT_DEFAULT), cursor }: { limit?: string; cursor?: string },
  request: Request,
) {
  refuseRepeated(request);
  const limit = parseWhole(text, 'limit', 1, LIMIT_MAX);
  const [before] = cursor === undefined ? [undefined] : parseCursor(cursor, 'j1', 1, 1);
  const [found, led] = await Promise.all([
    selectJobRequests(database.read, { limit: limit + 1, before }),
    isLed(database.read),
  ]);
  const page = found.slice(0, limit);
  const last = page.at(-1);
  return {
    is_led: led,
    limit,
    count: page.length,
    jobs: page.map(describeRequest),
    next_cursor: last && found.length > limit ? makeCursor('j1', last.requestId) : null,
  };
}

const parseId = (text: string) => parseWhole(text, 'id', 1, Number.MAX_SAFE_INTEGER);

const unknownJob = (requestId: number) =>
  new HttpError(404, 'unknown_job', `there is no request ${requestId}`, 'id');

async function showJob(
  { database }: AppContext,
  id: string,
  { failures = String(FAILURES_DEFAULT) }: { failures?: string },
  request: Request,
) {
  refuseRepeated(request);
  const requestId = parseId(id);
  const limit = parseWhole(failures, 'failures', 0, FAILURES_KEPT_MAX);
  const { read } = database;
  const found = await selectJobRequest(read, requestId);
  if (!found) throw unknownJob(requestId);
  const { runId } = found;
  const [led, run, failed, count] = await Promise.all([
    isLed(read),
    runId === null ? undefined : selectRun(read, runId),
    runId === null ? [] : selectRequestFailures(read, { runId, limit }),
    runId === null ? 0 : countRequestFailures(read, runId),
  ]);
  return {
    ...describeRequest(found),
    is_led: led,
    run: run ? describeRun(run) : null,
    failure_count: count,
    failures: failed.map(describeFailure),
  };
}

function describeRequest(request: JobRequest) {
  return {
    id: request.requestId,
    kind: request.kind,
    arguments: request.arguments && encodeArguments(request.arguments),
    state: request.state,
    actor: request.actor,
    requested_at: request.requestedAt.toISOString(),
    started_at: request.startedAt?.toISOString() ?? null,
    finished_at: request.finishedAt?.toISOString() ?? null,
    cancel_requested_at: request.cancelRequestedAt?.toISOString() ?? null,
    run_id: request.runId,
    message: request.message,
  };
}

function describeRun(run: Run) {
  const { job, origin, state, total, done, requests, error } = run;
  const { inserted, changed, unchanged, rejected } = run;
  return {
    id: run.runId,
    ...{ job, origin, state },
    started_at: run.startedAt.toISOString(),
    finished_at: run.finishedAt?.toISOString() ?? null,
    ...{ total, done, requests, inserted, changed, unchanged, rejected, error },
  };
}

function describeFailure(failure: RequestFailure) {
  const { symbol, dataset, kind, status, message, body } = failure;
  return {
    id: failure.failureId,
    at: failure.at.toISOString(),
    ...{ symbol, dataset },
    first_session: failure.firstSession,
    last_session: failure.lastSession,
    ...{ kind, status, message, body },
  };
}

// -------------------------------------------------------------------------- starting

async function startJob(context: AppContext, request: Request, address: string | undefined) {
  refuseCrossSite(request);
  const { kind, asked } = await readJob(request);
  const actor = actorAt('http', address);
  const job = { kind, arguments: asked, actor };
  return describeRequest(await insertJobRequest(context.database.write, job, context.now()));
}

async function previewJob({ operations, now }: AppContext, request: Request) {
  refuseCrossSite(request);
  const { kind, asked } = await readJob(request);
  if (kind === 'reconcile') {
    throw new InputError(
      'kind must be backfill or repair: a reconciliation has no preview',
      'kind',
    );
  }
  if (!asked) throw new InputError(`a ${kind} needs arguments`, 'arguments');
  const checked = checkArguments(asked, now());
  if (!operations.preview) {
    const message = 'this process has no provider to ask: set POLYGON_API_KEY';
    throw new HttpError(409, 'no_provider', message);
  }
  const cost = await operations.preview(checked, kind);
  return {
    symbols: cost.symbols,
    due_sessions: cost.dueSessions,
    requests: cost.requests,
    minutes: cost.minutes,
    requests_per_minute: cost.requestsPerMinute,
  };
}

async function cancelJob(
  { database, now }: AppContext,
  id: string,
  request: Request,
  address: string | undefined,
) {
  refuseCrossSite(request);
  const requestId = parseId(id);
  const found = await cancelJobRequest(database.write, requestId, actorAt('http', address), now());
  if (!found) throw unknownJob(requestId);
  const { state } = found;
  if (state === 'cancelled' || found.finishedAt === null) return describeRequest(found);
  const message = `request ${requestId} has ended (${state}): there is nothing to cancel`;
  throw new HttpError(409, 'ended', message);
}

/** @throws InputError for what is no request; its arguments are checked where it is stored. */
async function readJob(request: Request): Promise<{ kind: JobKind; asked: RawArguments | null }> {
  const body = await readJsonObject(request, ['kind', 'arguments']);
  if (typeof body.kind !== 'string') {
    throw new InputError(`kind is missing: it must be ${JOB_KINDS.join(' or ')}`, 'kind');
  }
  const kind = parseChoice(body.kind, 'kind', JOB_KINDS);
  const given = body.arguments ?? null;
  return { kind, asked: given === null ? null : parseArguments(given) };
}

const ARGUMENTS = ['symbols', 'timeframe', 'first_session', 'last_session', 'retry_empty'];

/** @throws InputError */
function parseArguments(given: unknown): RawArguments {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new InputError('arguments must be an object', 'arguments');
  }
  const values = given as Record<string, unknown>;
  const unknown = Object.keys(values).find((name) => !ARGUMENTS.includes(name));
  if (unknown !== undefined) {
    const field = unknown.slice(0, 40);
    const allowed = ARGUMENTS.join(', ');
    throw new InputError(`${JSON.stringify(field)} is not known: arguments are ${allowed}`, field);
  }
  const { symbols, timeframe = '1d', first_session, last_session = null } = values;
  const { retry_empty: retryEmpty = false } = values;
  if (typeof retryEmpty !== 'boolean') {
    throw new InputError('retry_empty must be true or false', 'retry_empty');
  }
  return {
    symbols: parseSymbols(symbols),
    timeframe: parseText(timeframe, 'timeframe'),
    firstSession: parseText(first_session, 'first_session'),
    lastSession: last_session === null ? null : parseText(last_session, 'last_session'),
    retryEmpty,
  };
}

function parseText(value: unknown, field: string): string {
  if (typeof value === 'string') return value;
  throw new InputError(`${field} is ${value === undefined ? 'missing' : 'no text'}`, field);
}

/** All are said by null: a field that was forgotten must not cost a day of requests. */
function parseSymbols(value: unknown): string[] | null {
  if (value === null) return null;
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  throw new InputError(
    'symbols must be a list of symbols, or null for all tracked ones',
    'symbols',
  );
}
