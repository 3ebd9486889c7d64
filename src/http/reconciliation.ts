import { Elysia } from 'elysia';
import { describeReconciliation, selectReconciliations } from '../query/reconciliation.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-reconciliation.ts';
import { findSymbol } from './find-symbol.ts';
import { parseWhole, refuseRepeated } from './parameters.ts';

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 500;

/** What a second source said of stored bars. */
export function reconciliationRoutes(context: AppContext) {
  return new Elysia({ name: 'reconciliation' }).get(
    '/api/v1/reconciliation',
    ({ query, request }) => listReconciliations(context, query, request),
    contract.reconciliation,
  );
}

async function listReconciliations(
  context: AppContext,
  query: { symbol?: string; limit?: string },
  request: Request,
) {
  refuseRepeated(request);
  const limit =
    query.limit === undefined ? LIMIT_DEFAULT : parseWhole(query.limit, 'limit', 1, LIMIT_MAX);
  const found = query.symbol === undefined ? undefined : await findSymbol(context, query.symbol);
  const instrumentId = found?.instrumentId;
  const stored = await selectReconciliations(context.database.read, { instrumentId, limit });
  return { count: stored.length, results: stored.map(describeReconciliation) };
}
