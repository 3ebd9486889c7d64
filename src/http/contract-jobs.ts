import { t } from 'elysia';
import { JOB_KINDS } from '../store/job-requests.ts';
import { json, responses } from './contract.ts';
import { BODY_REFUSALS, CROSS_SITE } from './contract-body.ts';

/** The contract of what operators start: backfills, repairs, reconciliations. */

const moment = (description: string) => t.String({ description, format: 'date-time' });
const session = (description: string) => t.String({ description, format: 'date' });

const ArgumentsSchema = t.Object({
  symbols: t.Nullable(t.Array(t.String()), {
    description: 'At most 1,000; null: every symbol that is tracked in the timeframe',
  }),
  timeframe: t.String({ description: '1d, 1h or 1m' }),
  first_session: session('First session, inclusive'),
  last_session: t.Nullable(session('Last session, inclusive; null: the latest published')),
  retry_empty: t.Boolean({
    description: 'Ask again for what was empty or refused, although its time has not come',
  }),
});

const job = {
  id: t.Integer(),
  kind: t.String({ description: JOB_KINDS.join(', ') }),
  arguments: t.Nullable(ArgumentsSchema, { description: 'Null for a reconciliation' }),
  state: t.String({
    description:
      'queued, running, succeeded, failed (some or all of it), cancelled, or refused: it cannot ' +
      'be done as it was asked for',
  }),
  actor: t.String({ description: 'Who asked, and from where' }),
  requested_at: moment('When it was asked for'),
  started_at: t.Nullable(moment('When it was taken up last; null while it waits')),
  finished_at: t.Nullable(moment('When it ended')),
  cancel_requested_at: t.Nullable(moment('When it was told to end')),
  run_id: t.Nullable(t.Integer({ description: 'Its last run; null when there was none' })),
  message: t.Nullable(t.String({ description: 'What it waits for, or what came of it' })),
};
const JobSchema = t.Object(job);

const IS_LED = t.Boolean({
  description: 'Whether a process runs jobs; when none does, they wait for one',
});

const RunSchema = t.Object({
  id: t.Integer(),
  job: t.String({ description: 'backfill, backfill 1m, reconcile' }),
  origin: t.String(),
  state: t.String({ description: 'running, succeeded, failed or interrupted' }),
  started_at: moment('When it began'),
  finished_at: t.Nullable(moment('When it ended')),
  total: t.Nullable(t.Integer({ description: 'Tasks in all: requests, more or less' })),
  done: t.Integer({ description: 'Tasks that are done' }),
  requests: t.Integer({ description: 'Requests sent, with retries' }),
  inserted: t.Integer({ description: 'Bars that are new' }),
  changed: t.Integer(),
  unchanged: t.Integer(),
  rejected: t.Integer({ description: 'Rows that are no bars' }),
  error: t.Nullable(t.String()),
});

const FailureSchema = t.Object({
  id: t.Integer(),
  at: moment('When it failed'),
  symbol: t.Nullable(t.String({ description: 'Null: the whole market was asked for' })),
  dataset: t.String({ description: '1d, 1h, 1m, splits, dividends or symbols' }),
  first_session: t.Nullable(session('What was asked for, inclusive')),
  last_session: t.Nullable(session('What was asked for, inclusive')),
  kind: t.String({ description: 'not_found, rate_limited, unavailable, garbage ...' }),
  status: t.Nullable(t.Integer({ description: 'Of the answer; null: there was none' })),
  message: t.String(),
  body: t.Nullable(t.String({ description: "The vendor's words: the answer's first kilobyte" })),
});

const ARGUMENTS = {
  symbols: ['AAPL', 'MSFT'],
  timeframe: '1d',
  first_session: '2020-01-02',
  last_session: null,
  retry_empty: false,
};

const QUEUED_EXAMPLE = {
  id: 7,
  kind: 'backfill',
  arguments: ARGUMENTS,
  state: 'queued',
  actor: 'http 127.0.0.1',
  requested_at: '2026-11-20T18:00:00.000Z',
  started_at: null,
  finished_at: null,
  cancel_requested_at: null,
  run_id: null,
  message: null,
};

const FAILED_EXAMPLE = {
  ...QUEUED_EXAMPLE,
  state: 'failed',
  started_at: '2026-11-20T18:00:00.120Z',
  finished_at: '2026-11-20T18:01:12.400Z',
  run_id: 31,
  message: '1 failed, first MSFT: api.example.com/v2/aggs/ticker/MSFT: answered 404',
};

const DETAIL_EXAMPLE = {
  ...FAILED_EXAMPLE,
  is_led: true,
  run: {
    id: 31,
    job: 'backfill',
    origin: 'operator',
    state: 'failed',
    started_at: '2026-11-20T18:00:00.200Z',
    finished_at: '2026-11-20T18:01:12.300Z',
    total: 6,
    done: 6,
    requests: 6,
    inserted: 1480,
    changed: 0,
    unchanged: 0,
    rejected: 0,
    error: '1 failed, first: api.example.com/v2/aggs/ticker/MSFT: answered 404',
  },
  failure_count: 1,
  failures: [
    {
      id: 1,
      at: '2026-11-20T18:01:10.000Z',
      symbol: 'MSFT',
      dataset: '1d',
      first_session: '2020-01-02',
      last_session: '2026-11-19',
      kind: 'not_found',
      status: 404,
      message: 'api.example.com/v2/aggs/ticker/MSFT: answered 404',
      body: '{"status":"NOT_FOUND","message":"Data not found."}',
    },
  ],
};

const UNKNOWN_JOB = {
  description: 'There is no such request',
  code: 'unknown_job',
  message: 'there is no request 8',
};

const BODY_ERRORS = {
  ...BODY_REFUSALS,
  422: {
    description: 'A field is missing, malformed or not known',
    code: 'invalid_parameter',
    message: 'first_session is "2024-02-30": it must be a date that exists',
  },
};

const PREVIEW_ERRORS = {
  ...BODY_ERRORS,
  409: {
    description: 'This process has no provider to ask',
    code: 'no_provider',
    message: 'this process has no provider to ask: set POLYGON_API_KEY',
  },
};

const CANCEL_ERRORS = {
  403: CROSS_SITE,
  404: UNKNOWN_JOB,
  409: {
    description: 'It has ended',
    code: 'ended',
    message: 'request 7 has ended (succeeded): there is nothing to cancel',
  },
};

/** The route reads the body itself, so that what is wrong is said in a sentence. */
const bodyOf = (schema: unknown, example: object) => {
  const { content } = json('', schema, example);
  return { required: true, content } as never;
};

const AskedSchema = t.Object({
  symbols: t.Nullable(t.Array(t.String()), {
    description: 'From 1 to 1,000; null: every symbol that is tracked in the timeframe',
  }),
  first_session: session('First session, inclusive'),
  last_session: t.Optional(t.Nullable(session('Last session; the latest published when missing'))),
  timeframe: t.Optional(t.String({ description: '1d (default), 1h or 1m' })),
  retry_empty: t.Optional(t.Boolean({ description: 'Of a backfill only; false when missing' })),
});

const jobBody = bodyOf(
  t.Object({
    kind: t.String({ description: JOB_KINDS.join(', ') }),
    arguments: t.Optional(AskedSchema),
  }),
  { kind: 'backfill', arguments: { symbols: ['AAPL', 'MSFT'], first_session: '2020-01-02' } },
);

/** 202: what was asked for is begun later. */
function accepted(all: never): never {
  const { 200: answer, ...errors } = all as Record<string, unknown>;
  return { 202: answer, ...errors } as never;
}

export const start = {
  detail: {
    tags: ['operation'],
    summary: 'Start a backfill, a repair or a reconciliation',
    description:
      'Puts it in the queue of the process that runs jobs, one after the other, oldest first. ' +
      'One that asks for the same and still waits is answered instead of a second. `location` is ' +
      'where to look what comes of it. Symbols of a backfill that are not tracked yet are added.',
    operationId: 'startJob',
    requestBody: jobBody,
    responses: accepted(
      responses(
        'The request, as it waits',
        JobSchema,
        QUEUED_EXAMPLE,
        [400, 403, 413, 415, 422, 500, 503],
        BODY_ERRORS,
      ),
    ),
  },
};

export const preview = {
  detail: {
    tags: ['operation'],
    summary: 'What a backfill or a repair would cost',
    description: 'From the database alone: nobody is asked, and nothing is written.',
    operationId: 'previewJob',
    requestBody: jobBody,
    responses: responses(
      'Its cost in requests and minutes',
      t.Object({
        symbols: t.Integer(),
        due_sessions: t.Integer({ description: 'Sessions times symbols that are missing' }),
        requests: t.Object({
          range: t.Integer({ description: 'Bars by symbol' }),
          grouped: t.Integer({ description: 'Bars of the whole market by session' }),
          splits: t.Integer(),
          dividends: t.Integer(),
          describe: t.Integer({ description: 'Names and listing dates' }),
          total: t.Integer(),
        }),
        minutes: t.Integer({ description: "Given the provider's limit; 0: under a minute" }),
        requests_per_minute: t.Nullable(t.Number({ description: 'Null: no limit' })),
      }),
      {
        symbols: 2,
        due_sessions: 2960,
        requests: { range: 2, grouped: 0, splits: 2, dividends: 2, describe: 0, total: 6 },
        minutes: 2,
        requests_per_minute: 5,
      },
      [400, 403, 409, 413, 415, 422, 500, 503],
      PREVIEW_ERRORS,
    ),
  },
};

export const jobs = {
  query: t.Object({
    limit: t.Optional(
      t.String({ description: 'a whole number from 1 to 1000 (default 100)', meaning: 'integer' }),
    ),
    cursor: t.Optional(t.String({ description: 'next_cursor of the answer before' })),
  }),
  detail: {
    tags: ['operation'],
    summary: 'What operators asked for, the newest first',
    operationId: 'getJobs',
    responses: responses(
      'Requests',
      t.Object({
        is_led: IS_LED,
        limit: t.Integer(),
        count: t.Integer(),
        jobs: t.Array(JobSchema),
        next_cursor: t.Nullable(t.String({ description: 'Of older ones; null: there are none' })),
      }),
      { is_led: true, limit: 100, count: 1, jobs: [FAILED_EXAMPLE], next_cursor: null },
      [422, 500, 503],
    ),
  },
};

const ID = t.Object({ id: t.String({ description: 'Of a request', meaning: 'integer' }) });

export const jobDetail = {
  params: ID,
  query: t.Object({
    failures: t.Optional(
      t.String({
        description: 'how many failures to show, from 0 to 1000 (default 100)',
        meaning: 'integer',
      }),
    ),
  }),
  detail: {
    tags: ['operation'],
    summary: 'One request with its run, progress and failures',
    operationId: 'getJob',
    responses: responses(
      'The request',
      t.Object({
        ...job,
        is_led: IS_LED,
        run: t.Nullable(RunSchema),
        failure_count: t.Integer({
          description: 'Failed requests to the provider that are kept, at most 1,000 a run',
        }),
        failures: t.Array(FailureSchema, { description: 'In the order in which they failed' }),
      }),
      DETAIL_EXAMPLE,
      [404, 422, 500, 503],
      { 404: UNKNOWN_JOB },
    ),
  },
};

export const cancel = {
  params: ID,
  detail: {
    tags: ['operation'],
    summary: 'Cancel a request',
    description:
      'One that waits never begins; one that runs is told to end, and what it has committed ' +
      'stays. Cancelling it again changes nothing.',
    operationId: 'cancelJob',
    responses: responses(
      'The request: cancelled, or running and told to end',
      JobSchema,
      {
        ...QUEUED_EXAMPLE,
        state: 'cancelled',
        finished_at: '2026-11-20T18:00:09.000Z',
        cancel_requested_at: '2026-11-20T18:00:09.000Z',
        message: 'cancelled by http 127.0.0.1 before it began',
      },
      [403, 404, 409, 422, 500, 503],
      CANCEL_ERRORS,
    ),
  },
};
