import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import {
  DECISIONS,
  type Decision,
  FINDING_KINDS,
  FINDING_STATES,
  findingMessage,
} from '../model/finding.ts';
import { flagNames, VALIDATED_SCORE } from '../model/quality.ts';
import { type AuditRecord, selectFindingHistory } from '../query/audit.ts';
import {
  type Finding,
  type FindingBar,
  type FindingPosition,
  selectFindingBars,
  selectFindings,
  selectFindingsById,
} from '../query/findings.ts';
import { DECISIONS_MAX, decideFindings, RefusedDecision } from '../store/decisions.ts';
import { actorAt } from './actor.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-findings.ts';
import { makeCursor, parseCursor } from './cursor.ts';
import { HttpError } from './errors.ts';
import { findSymbol } from './find-symbol.ts';
import { readJsonObject } from './json-body.ts';
import { parseChoice, parseDate, parseWhole, refuseRepeated } from './parameters.ts';
import { refuseCrossSite } from './same-origin.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;
const TIMEFRAMES = ['1d', '1h', '1m'] as const;

/** What is to be looked at, and the decisions of the operator. */
export function findingRoutes(context: AppContext) {
  return new Elysia({ name: 'findings' })
    .get(
      '/api/v1/findings',
      ({ query, request }) => listFindings(context, query, request),
      contract.findings,
    )
    .get(
      '/api/v1/findings/:id',
      ({ params }) => showFinding(context, parseId(params.id)),
      contract.findingDetail,
    )
    .post(
      '/api/v1/admin/findings/:id',
      ({ params, request, server }) =>
        decideOne(context, params.id, request, server?.requestIP(request)?.address),
      contract.decide,
    )
    .post(
      '/api/v1/admin/findings',
      ({ request, server }) => decideMany(context, request, server?.requestIP(request)?.address),
      contract.decideMany,
    );
}

// --------------------------------------------------------------------------- reading

interface Parameters {
  symbol?: string;
  timeframe?: string;
  kind?: string;
  state?: string;
  start?: string;
  end?: string;
  asof?: string;
  limit?: string;
  cursor?: string;
}

async function listFindings(context: AppContext, query: Parameters, request: Request) {
  refuseRepeated(request);
  const { timeframe, kind, start, end, cursor } = query;
  const state = parseChoice(query.state ?? 'open', 'state', [...FINDING_STATES, 'all']);
  const limit = parseWhole(query.limit ?? String(LIMIT_DEFAULT), 'limit', 1, LIMIT_MAX);
  const firstDay = start === undefined ? undefined : parseDate(start, 'start');
  const lastDay = end === undefined ? undefined : parseDate(end, 'end');
  if (firstDay !== undefined && lastDay !== undefined && lastDay < firstDay) {
    throw new InputError(`end (${end}) lies before start (${start})`, 'end');
  }
  const asked = {
    timeframe:
      timeframe === undefined ? undefined : parseChoice(timeframe, 'timeframe', TIMEFRAMES),
    kind: kind === undefined ? undefined : parseChoice(kind, 'kind', FINDING_KINDS),
    state: state === 'all' ? undefined : state,
    ...{ firstDay, lastDay, limit },
    after: cursor === undefined ? undefined : parsePosition(cursor),
  };
  const day = query.asof === undefined ? lastDay : parseDate(query.asof, 'asof');
  const found =
    query.symbol === undefined ? undefined : await findSymbol(context, query.symbol, { day });
  const instrumentId = found?.instrumentId;
  const page = await selectFindings(context.database.read, { ...asked, instrumentId });
  const { next } = page;
  return {
    symbol: found?.symbol ?? null,
    state,
    limit,
    count: page.findings.length,
    findings: page.findings.map(describeFinding),
    next_cursor: next && makeCursor('f1', next.day, next.findingId),
  };
}

function parsePosition(text: string): FindingPosition {
  const [day, findingId] = parseCursor(text, 'f1', 2, 1 / 86_400_000);
  return { day, findingId };
}

const parseId = (text: string) => parseWhole(text, 'id', 1, Number.MAX_SAFE_INTEGER);

async function showFinding({ database }: AppContext, findingId: number) {
  const [finding] = await selectFindingsById(database.read, [findingId]);
  if (!finding) {
    throw new HttpError(404, 'unknown_finding', `there is no finding ${findingId}`, 'id');
  }
  const [{ bar, before, after }, history] = await Promise.all([
    selectFindingBars(database.read, finding),
    selectFindingHistory(database.read, finding),
  ]);
  return {
    ...describeFinding(finding),
    bar: bar === undefined ? null : describeBar(bar),
    before: before.map(describeBar),
    after: after.map(describeBar),
    history: history.map(describeDecision),
  };
}

/** A finding as it is answered; also what `marketd findings --json` prints. */
export function describeFinding(finding: Finding) {
  const { session, ts, kind } = finding;
  return {
    id: finding.findingId,
    symbol: finding.symbol,
    timeframe: finding.timeframe,
    session,
    time: describeTime(session, ts),
    kind,
    message: findingMessage(kind),
    state: finding.state,
    detail: finding.detail,
    note: finding.note,
    decided_by: finding.decidedBy,
    found_at: finding.foundAt.toISOString(),
    decided_at: finding.decidedAt?.toISOString() ?? null,
    resolved_at: finding.resolvedAt?.toISOString() ?? null,
  };
}

const describeTime = (session: string, ts: Date | null): string =>
  ts === null ? `${session}T00:00:00Z` : `${ts.toISOString().slice(0, 19)}Z`;

function describeBar(bar: FindingBar) {
  const { session, ts, open, high, low, close, volume, vwap, tradeCount, score } = bar;
  return {
    time: describeTime(session, ts),
    ...{ open, high, low, close, volume, vwap, trade_count: tradeCount, quality_score: score },
    validated: score >= VALIDATED_SCORE,
    flags: flagNames(bar.flags),
    is_final: bar.isFinal,
    provider: bar.provider,
    received_at: bar.receivedAt.toISOString(),
  };
}

function describeDecision({ at, actor, action, detail }: AuditRecord) {
  return {
    at: at.toISOString(),
    actor,
    decision: action.replace('finding.', ''),
    note: (detail?.note as string | undefined) ?? null,
    state_before: (detail?.state_before as string | undefined) ?? null,
    score_before: (detail?.score_before as number | undefined) ?? null,
    score_after: (detail?.score_after as number | undefined) ?? null,
  };
}

// -------------------------------------------------------------------------- deciding

async function decideOne(
  context: AppContext,
  id: string,
  request: Request,
  address: string | undefined,
) {
  refuseCrossSite(request);
  const body = await readJsonObject(request, ['decision', 'note']);
  const findingId = parseId(id);
  const { changed } = await decide(context, [findingId], body, address);
  return { changed: changed.length > 0, finding: await showFinding(context, findingId) };
}

async function decideMany(context: AppContext, request: Request, address: string | undefined) {
  refuseCrossSite(request);
  const body = await readJsonObject(request, ['ids', 'decision', 'note']);
  const ids = parseIds(body.ids);
  const { changed, unchanged } = await decide(context, ids, body, address);
  const findings = await selectFindingsById(context.database.read, [...new Set(ids)]);
  return {
    changed: changed.length,
    unchanged: unchanged.length,
    findings: findings.map(describeFinding),
  };
}

/** @throws InputError */
function parseIds(value: unknown): number[] {
  const isId = (one: unknown) => Number.isSafeInteger(one) && (one as number) > 0;
  const isList = Array.isArray(value) && value.length > 0 && value.length <= DECISIONS_MAX;
  if (isList && value.every(isId)) return value as number[];
  throw new InputError(
    `ids must be a list of 1 to ${DECISIONS_MAX} whole numbers above 0, those of findings`,
    'ids',
  );
}

async function decide(
  { database, now }: AppContext,
  findingIds: readonly number[],
  body: Record<string, unknown>,
  address: string | undefined,
) {
  const decision = parseDecision(body.decision);
  const { note } = body;
  if (note !== undefined && note !== null && typeof note !== 'string') {
    throw new InputError('note must be a text', 'note');
  }
  const actor = actorAt('http', address);
  const request = { findingIds, decision, note: note ?? undefined, actor };
  try {
    return await decideFindings(database.write, request, now());
  } catch (error) {
    if (!(error instanceof RefusedDecision)) throw error;
    const status = error.code === 'unknown_finding' ? 404 : 409;
    throw new HttpError(status, error.code, error.message);
  }
}

/** @throws InputError */
function parseDecision(value: unknown): Decision {
  if (typeof value === 'string') return parseChoice(value, 'decision', DECISIONS);
  throw new InputError(`decision is missing: it must be ${DECISIONS.join(' or ')}`, 'decision');
}
