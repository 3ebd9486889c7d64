import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { flagNames } from '../model/quality.ts';
import {
  type BarVersion,
  REVISION_REASONS,
  type Revision,
  type RevisionPosition,
  revisionChange,
  selectRevisions,
} from '../query/revisions.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-revisions.ts';
import { makeCursor, parseCursor } from './cursor.ts';
import { findSymbol } from './find-symbol.ts';
import { parseChoice, parseDate, parseWhole, refuseRepeated } from './parameters.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;
/** Bars of other timeframes are made of these and have no revisions of their own. */
const TIMEFRAMES = ['1d', '1h', '1m'] as const;

/** What bars said before they were changed. */
export function revisionRoutes(context: AppContext) {
  return new Elysia({ name: 'revisions' }).get(
    '/api/v1/revisions',
    ({ query, request }) => listRevisions(context, query, request),
    contract.revisions,
  );
}

interface Parameters {
  symbol?: string;
  timeframe?: string;
  start?: string;
  end?: string;
  asof?: string;
  reason?: string;
  limit?: string;
  cursor?: string;
}

async function listRevisions(context: AppContext, query: Parameters, request: Request) {
  refuseRepeated(request);
  const { timeframe, start, end, cursor } = query;
  const reason = parseChoice(query.reason ?? 'values', 'reason', [...REVISION_REASONS, 'all']);
  const limit = parseWhole(query.limit ?? String(LIMIT_DEFAULT), 'limit', 1, LIMIT_MAX);
  const firstDay = start === undefined ? undefined : parseDate(start, 'start');
  const lastDay = end === undefined ? undefined : parseDate(end, 'end');
  if (firstDay !== undefined && lastDay !== undefined && lastDay < firstDay) {
    throw new InputError(`end (${end}) lies before start (${start})`, 'end');
  }
  const day = query.asof === undefined ? lastDay : parseDate(query.asof, 'asof');
  const asked = {
    timeframe:
      timeframe === undefined ? undefined : parseChoice(timeframe, 'timeframe', TIMEFRAMES),
    firstDay,
    lastDay,
    reasons: reason === 'all' ? REVISION_REASONS : [reason],
    after: cursor === undefined ? undefined : parsePosition(cursor),
    limit,
  };
  const found =
    query.symbol === undefined ? undefined : await findSymbol(context, query.symbol, { day });
  const page = await selectRevisions(context.database.read, {
    ...asked,
    instrumentId: found?.instrumentId,
  });
  const { next } = page;
  return {
    symbol: found?.symbol ?? null,
    timeframe: timeframe ?? null,
    start: start ?? null,
    end: end ?? null,
    reason,
    limit,
    count: page.revisions.length,
    revisions: page.revisions.map((one) => describe(one, found?.symbol ?? one.symbol)),
    next_cursor: next && makeCursor('r1', next.micros, next.revisionId),
  };
}

function parsePosition(text: string): RevisionPosition {
  const [micros, revisionId] = parseCursor(text, 'r1', 2, 1000);
  return { micros, revisionId };
}

function describe(revision: Revision, symbol: string) {
  const { timeframe, session, ts, reason, old, trueFrom, replacement } = revision;
  return {
    symbol,
    timeframe,
    time: ts === null ? `${session}T00:00:00Z` : `${ts.toISOString().slice(0, 19)}Z`,
    session,
    reason,
    true_from: trueFrom.toISOString(),
    old: describeVersion(old),
    replaced_by: replacement && describeVersion(replacement),
    change_pct: revisionChange(revision),
  };
}

function describeVersion(version: BarVersion) {
  const { open, high, low, close, volume, vwap, tradeCount, score, flags, provider } = version;
  return {
    ...{ open, high, low, close, volume, vwap, trade_count: tradeCount, quality_score: score },
    flags: flagNames(flags),
    is_final: version.isFinal,
    provider,
    received_at: version.receivedAt.toISOString(),
    replaced_at: version.replacedAt?.toISOString() ?? null,
  };
}
