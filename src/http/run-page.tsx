import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  RUN_STATES,
  RunDetail,
  RunList,
  RunListPage,
  type RunListView,
  RunPage,
  type RunView,
} from '../../views/run.tsx';
import { RUNS_PATH } from '../../views/runs.tsx';
import { pingDatabase } from '../store/database.ts';
import {
  countRequestFailures,
  selectRequestFailures,
  selectRequestOfRun,
} from '../store/job-requests.ts';
import { selectRun, selectRunJobs, selectRunPage, selectRunResults } from '../store/jobs.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';
import { parseListState } from './list-state.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';
import { parseChoice, parseWhole } from './parameters.ts';

const HIDDEN = { detail: { hide: true } };
const RUNS_A_PAGE = 50;
const RESULTS_A_PAGE = 100;
const FAILURES_SHOWN = 100;
const JOB_LENGTH_MAX = 60;

type Query = Readonly<Record<string, string | undefined>>;

/** The list of all runs and the page of one, with the parts of them that are polled. */
export function runPageRoutes(context: AppContext) {
  return new Elysia({ name: 'run-page' })
    .get(RUNS_PATH, ({ request, query }) => listPage(context, request, query), HIDDEN)
    .get(
      `${RUNS_PATH}/status`,
      ({ request, query }) => listFragment(context, request, query),
      HIDDEN,
    )
    .get(
      `${RUNS_PATH}/:id`,
      ({ request, params, query }) => runPage(context, request, params.id, query),
      HIDDEN,
    )
    .get(
      `${RUNS_PATH}/:id/status`,
      ({ request, params, query }) => runFragment(context, request, params.id, query),
      HIDDEN,
    );
}

const UNSORTED = { columns: ['run'], sort: 'run', direction: 'desc' } as const;

const cut = (page: number, total: number, size: number) => {
  const pages = Math.max(1, Math.ceil(total / size));
  return { page: Math.min(page, pages), pages };
};

// --------------------------------------------------------------------------------- all runs

/** Any job may be asked for: one that has not run yet has no runs. @throws InputError */
function parseFilter({ job = '', state = '' }: Query) {
  return {
    job: job.slice(0, JOB_LENGTH_MAX).replaceAll('\0', ''),
    state: state === '' ? undefined : parseChoice(state, 'state', RUN_STATES),
  };
}

async function collectRuns({ database, now }: AppContext, query: Query): Promise<RunListView> {
  const { job, state } = parseFilter(query);
  const asked = parseListState(query, UNSORTED).page;
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(database.read);
  const filter = { job: job || undefined, state };
  const read = (page: number) =>
    selectRunPage(database.read, filter, {
      limit: RUNS_A_PAGE,
      offset: (page - 1) * RUNS_A_PAGE,
    });
  const [first, jobs] = await Promise.all([read(asked), selectRunJobs(database.read)]);
  const { page, pages } = cut(asked, first.total, RUNS_A_PAGE);
  const { runs, total } = page === asked ? first : await read(page);
  const isKnown = job === '' || jobs.includes(job);
  return {
    ...{ runs, total, page, pages, job },
    state: state ?? '',
    jobs: isKnown ? jobs : [...jobs, job],
    now: runs.some((run) => run.state === 'running') ? new Date(now()) : null,
  };
}

function listPage(context: AppContext, request: Request, query: Query): Promise<Response> {
  return orAway(context, request, async () => {
    const view = await collectRuns(context, query);
    return pageResponse(request, <RunListPage page={pageProps(context, request)} view={view} />);
  });
}

async function listFragment(context: AppContext, request: Request, query: Query) {
  const view = await collectRuns(context, query);
  const { pollSeconds } = pageProps(context, request);
  return fragmentResponse(request, context.version, view, () => (
    <RunList view={view} pollSeconds={pollSeconds} />
  ));
}

// ---------------------------------------------------------------------------------- one run

/** @throws HttpError 404 for a run that is not known, InputError for what is no number of one */
async function collectRun(context: AppContext, text: string, query: Query): Promise<RunView> {
  const runId = parseWhole(text, 'run', 1, Number.MAX_SAFE_INTEGER);
  const { page: asked, q } = parseListState(query, UNSORTED);
  const sql = context.database.read;
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(sql);
  const read = (page: number) =>
    selectRunResults(sql, runId, {
      ...{ q, limit: RESULTS_A_PAGE, offset: (page - 1) * RESULTS_A_PAGE },
    });
  const [run, request, failures, failureTotal, first] = await Promise.all([
    selectRun(sql, runId),
    selectRequestOfRun(sql, runId),
    selectRequestFailures(sql, { runId, limit: FAILURES_SHOWN }),
    countRequestFailures(sql, runId),
    read(asked),
  ]);
  if (!run) throw new HttpError(404, 'unknown_run', `there is no run ${runId}`);
  const { page, pages } = cut(asked, first.total, RESULTS_A_PAGE);
  const { results, total, failed } = page === asked ? first : await read(page);
  return {
    ...{ run, failures, failureTotal, results, page, pages, q },
    request: request ?? null,
    resultTotal: total,
    resultsFailed: failed,
    now: run.state === 'running' ? new Date(context.now()) : null,
  };
}

function runPage(context: AppContext, request: Request, id: string, query: Query) {
  return orAway(context, request, async () => {
    const view = await collectRun(context, id, query);
    return pageResponse(request, <RunPage page={pageProps(context, request)} view={view} />);
  });
}

async function runFragment(context: AppContext, request: Request, id: string, query: Query) {
  const view = await collectRun(context, id, query);
  const { pollSeconds } = pageProps(context, request);
  return fragmentResponse(request, context.version, view, () => (
    <RunDetail view={view} pollSeconds={pollSeconds} />
  ));
}

/** The part of a run's page, for what came of an action on it. */
export async function renderRun(
  context: AppContext,
  request: Request,
  runId: number,
): Promise<JSX.Element> {
  const view = await collectRun(context, `${runId}`, {});
  return <RunDetail view={view} pollSeconds={pageProps(context, request).pollSeconds} />;
}
