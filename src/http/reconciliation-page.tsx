import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  ReconciliationPage,
  ReconciliationRegion,
  type ReconciliationView,
} from '../../views/reconciliation.tsx';
import { type StoredReconciliation, selectLatestReconciliations } from '../query/reconciliation.ts';
import { pingDatabase } from '../store/database.ts';
import { selectRuns } from '../store/jobs.ts';
import type { AppContext } from './app.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';

const PATH = '/dashboard/reconciliation';
/** The worst; the page says so when there are more. */
const RESULTS_SHOWN = 200;
const HIDDEN = { detail: { hide: true } };

/** The page of reconciliation, and the part of it that is polled. */
export function reconciliationPageRoutes(context: AppContext) {
  return new Elysia({ name: 'reconciliation-page' })
    .get(PATH, ({ request }) => page(context, request), HIDDEN)
    .get(`${PATH}/status`, ({ request }) => fragment(context, request), HIDDEN);
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

async function collect({ database }: AppContext): Promise<ReconciliationView> {
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(database.read);
  const [latest, [run]] = await Promise.all([
    selectLatestReconciliations(database.read),
    selectRuns(database.read, 1, 'reconcile'),
  ]);
  const rank = ({ verdict }: StoredReconciliation) => ORDER.indexOf(verdict);
  latest.sort((a, b) => rank(a) - rank(b) || b.ts.getTime() - a.ts.getTime());
  return { latest: latest.slice(0, RESULTS_SHOWN), total: latest.length, run: run ?? null };
}
