import { Elysia } from 'elysia';
import { type AuditRecord, selectAudit } from '../query/audit.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-findings.ts';
import { findSymbol } from './find-symbol.ts';
import { parseWhole, refuseRepeated } from './parameters.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;

/** What was done by hand. */
export function auditRoutes(context: AppContext) {
  return new Elysia({ name: 'audit' }).get(
    '/api/v1/audit',
    ({ query, request }) => listAudit(context, query, request),
    contract.audit,
  );
}

async function listAudit(
  context: AppContext,
  { symbol, limit: text = String(LIMIT_DEFAULT) }: { symbol?: string; limit?: string },
  request: Request,
) {
  refuseRepeated(request);
  const limit = parseWhole(text, 'limit', 1, LIMIT_MAX);
  const found = symbol === undefined ? undefined : await findSymbol(context, symbol);
  const asked = { instrumentId: found?.instrumentId, limit };
  const entries = await selectAudit(context.database.read, asked);
  return { count: entries.length, entries: entries.map(describeEntry) };
}

function describeEntry({ auditId, at, actor, action, symbol, target, detail }: AuditRecord) {
  return { id: auditId, at: at.toISOString(), actor, action, symbol, target, detail };
}
