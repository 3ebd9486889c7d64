import { Elysia } from 'elysia';
import { toDate } from '../model/session.ts';
import { QUALITY_ORDERS, selectQuality } from '../query/quality.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-quality.ts';
import { findSymbol } from './find-symbol.ts';
import { parseChoice, parseWhole, refuseRepeated } from './parameters.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 10_000;

/** How good what is held is. */
export function qualityRoutes(context: AppContext) {
  return new Elysia({ name: 'quality' }).get(
    '/api/v1/quality',
    ({ query, request }) => quality(context, query, request),
    contract.quality,
  );
}

interface Parameters {
  symbol?: string;
  sort?: string;
  limit?: string;
  offset?: string;
}

async function quality(context: AppContext, query: Parameters, request: Request) {
  refuseRepeated(request);
  const order = parseChoice(query.sort ?? 'worst', 'sort', QUALITY_ORDERS);
  const limit = parseWhole(query.limit ?? String(LIMIT_DEFAULT), 'limit', 1, LIMIT_MAX);
  const offset = parseWhole(query.offset ?? '0', 'offset', 0, 1_000_000_000);
  const found = query.symbol === undefined ? undefined : await findSymbol(context, query.symbol);
  const { calendar, database, now, publishDelayMs } = context;
  const latestDay = calendar.latestSession(now(), publishDelayMs);
  const instrumentIds = found && [found.instrumentId];
  const { total, symbols } = await selectQuality(database.read, calendar, {
    instrumentIds,
    latestDay,
    order,
  });
  const shown = symbols.slice(offset, offset + limit);
  return {
    published_session: latestDay < 0 ? null : toDate(latestDay),
    total,
    sort: order,
    limit,
    offset,
    count: shown.length,
    symbols: shown,
  };
}
