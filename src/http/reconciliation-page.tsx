import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import { BACKFILL_PATH } from '../../views/backfill.tsx';
import type { Notice } from '../../views/elements.tsx';
import {
  COMPARE_PATH,
  ReconciliationPage,
  ReconciliationRegion,
  type ReconciliationView,
} from '../../views/reconciliation.tsx';
import { type StoredReconciliation, selectLatestReconciliations } from '../query/reconciliation.ts';
import { pingDatabase, type Sql } from '../store/database.ts';
import { insertJobRequest, type JobRequest, selectOpenRequests } from '../store/job-requests.ts';
import { isLed, selectRuns } from '../store/jobs.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';

const PATH = '/dashboard/reconciliation';
/** The worst; the page says so when there are more. */
const RESULTS_SHOWN = 200;
const HIDDEN = { detail: { hide: true } };

/** The page of reconciliation, and the part of it that is polled. */
export function reconciliationPageRoutes(context: AppContext) {
  return new Elysia({ name: 'reconciliation-page' })
    .get(PATH, ({ request }) => page(context, request), HIDDEN)
    .get(`${PATH}/status`, ({ request }) => fragment(context, request), HIDDEN)
    .post(
      COMPARE_PATH,
      ({ request, server }) => compare(context, request, actorOf(request, server)),
      HIDDEN,
    );
}

function page(context: AppContext, request: Request): Promise<Response> {
  return orAway(context, request, async () => {
    const view = await collect(context);
    const props = pageProps(context, request);
    return pageResponse(request, <ReconciliationPage page={props} view={view} />);
  });
}

async function fragment(context: AppContext, request: Request): Promise<Response> {
  const view = await collect(context);
  const { pollSeconds } = pageProps(context, request);
  const render = () => <ReconciliationRegion view={view} pollSeconds={pollSeconds} />;
  return fragmentResponse(request, context.version, view, render);
}

const ORDER: readonly StoredReconciliation['verdict'][] = [
  ...(['conflict', 'differ', 'failed', 'none', 'near', 'agree'] as const),
];

/** Asks for a comparison; one that waits already is not asked for again. */
async function compare(context: AppContext, request: Request, actor: string): Promise<Response> {
  await readForm(request);
  const { database, operations, now } = context;
  const { pollSeconds } = pageProps(context, request);
  return actionResponse(request, {
    notice: operations.canReconcile
      ? describeAsked(await askToCompare(database.write, actor, now()))
      : { condition: 'bad', text: 'There is no second source: set RECONCILE=yahoo and restart.' },
    location: PATH,
    region: async () => (
      <ReconciliationRegion view={await collect(context)} pollSeconds={pollSeconds} />
    ),
    page: async (notice) => {
      const props = { ...pageProps(context, request), notice };
      return <ReconciliationPage page={props} view={await collect(context)} />;
    },
  });
}

const askToCompare = (write: Sql, actor: string, atMs: number) =>
  insertJobRequest(write, { kind: 'reconcile', arguments: null, actor }, atMs);

const describeAsked = ({ requestId }: JobRequest): Notice => ({
  condition: 'good',
  text: `Request ${requestId} is in the queue: a comparison with the second source.`,
  link: { href: BACKFILL_PATH, label: 'Watch it' },
});

/** Requests that are looked through: of those that wait, a comparison is one at most. */
const OPEN_READ = 100;

async function collect({ database, operations }: AppContext): Promise<ReconciliationView> {
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(database.read);
  const [latest, [run], requests, led] = await Promise.all([
    selectLatestReconciliations(database.read),
    selectRuns(database.read, 1, 'reconcile'),
    selectOpenRequests(database.read, OPEN_READ),
    isLed(database.read),
  ]);
  const rank = ({ verdict }: StoredReconciliation) => ORDER.indexOf(verdict);
  latest.sort((a, b) => rank(a) - rank(b) || b.ts.getTime() - a.ts.getTime());
  return {
    latest: latest.slice(0, RESULTS_SHOWN),
    total: latest.length,
    run: run ?? null,
    canReconcile: operations.canReconcile,
    isAsked: requests.some(({ kind }) => kind === 'reconcile'),
    isLed: led,
  };
}
