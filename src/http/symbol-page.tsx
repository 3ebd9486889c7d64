import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import { symbolPath } from '../../views/elements.tsx';
import {
  type BarView,
  type CoverageView,
  type FindingView,
  type Notice,
  SymbolFragment,
  SymbolPage,
  type SymbolPageView,
  UnknownSymbolPage,
} from '../../views/symbol.tsx';
import { InputError } from '../errors.ts';
import { absenceMessage, classifySessions, countStates, SESSION_STATES } from '../model/absence.ts';
import { DECISIONS, type Decision } from '../model/finding.ts';
import { toDate, toDay } from '../model/session.ts';
import { lowerBound } from '../model/sorted.ts';
import type { BarBlock } from '../query/block.ts';
import { selectActionVersions } from '../query/corporate-actions.ts';
import { selectHeldDays, selectInstrumentCoverage } from '../query/coverage.ts';
import { type Finding, selectFindings, selectFindingsById } from '../query/findings.ts';
import { type SymbolQuality, selectQuality } from '../query/quality.ts';
import { selectLatestReconciliations } from '../query/reconciliation.ts';
import { revisionChange, selectRevisions } from '../query/revisions.ts';
import { type Holding, type ResolvedSymbol, selectInstrument } from '../query/symbols.ts';
import { makeView } from '../query/view.ts';
import { pingDatabase } from '../store/database.ts';
import { decideFindings, RefusedDecision } from '../store/decisions.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';
import { findSymbol } from './find-symbol.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';
import { parseChoice, parseWhole } from './parameters.ts';
import { refuseCrossSite } from './same-origin.ts';

const HIDDEN = { detail: { hide: true } };
const BARS_SHOWN = 20;
const ACTIONS_SHOWN = 20;
const REVISIONS_SHOWN = 20;
const OPEN_SHOWN = 20;
/** Of those that are accepted, and of those that are rejected. */
const DECIDED_SHOWN = 5;
const FORM_BYTES_MAX = 16_384;

/** The page of a symbol, the part of it that is polled, and the decisions that are taken on it. */
export function symbolPageRoutes(context: AppContext, pollSeconds: number) {
  return new Elysia({ name: 'symbol-page' })
    .get('/dashboard/symbols/:symbol', ({ params }) => page(context, params.symbol, pollSeconds), {
      ...HIDDEN,
    })
    .get(
      '/dashboard/symbols/:symbol/status',
      ({ params, request }) => fragment(context, params.symbol, request),
      HIDDEN,
    )
    .post(
      '/dashboard/findings/:id',
      ({ params, request, server }) =>
        decide(context, params.id, request, server?.requestIP(request)?.address, pollSeconds),
      HIDDEN,
    );
}

function page(context: AppContext, text: string, pollSeconds: number): Promise<Response> {
  return orAway(context, symbolPath(text), async () => {
    // With a deadline: a database that accepts and says nothing counts as away.
    await pingDatabase(context.database.read);
    try {
      const view = await collect(context, await findSymbol(context, text));
      const shown = { view, pollSeconds };
      return await pageResponse(<SymbolPage {...pageProps(context)} {...shown} />);
    } catch (error) {
      if (!(error instanceof HttpError || error instanceof InputError)) throw error;
      const unknown = <UnknownSymbolPage {...pageProps(context)} message={error.message} />;
      return pageResponse(unknown, error instanceof HttpError ? error.status : 422);
    }
  });
}

async function fragment(context: AppContext, text: string, request: Request): Promise<Response> {
  await pingDatabase(context.database.read);
  const view = await collect(context, await findSymbol(context, text));
  return fragmentResponse(request, context.version, view, () => <SymbolFragment view={view} />);
}

// ------------------------------------------------------------------------- deciding

/**
 * Decides about a finding by a form. The answer to htmx is the part of the page that changes; to a
 * browser without JavaScript the page. What is refused is said on it.
 */
async function decide(
  context: AppContext,
  id: string,
  request: Request,
  address: string | undefined,
  pollSeconds: number,
): Promise<Response> {
  refuseCrossSite(request);
  const findingId = parseWhole(id, 'id', 1, Number.MAX_SAFE_INTEGER);
  const form = await readForm(request);
  const [finding] = await selectFindingsById(context.database.read, [findingId]);
  if (!finding) {
    throw new HttpError(404, 'unknown_finding', `there is no finding ${findingId}`, 'id');
  }
  const actor = address === undefined ? 'page' : `page ${address}`;
  const { notice, status } = await tryDecision(context, finding, form, actor);
  const target = await symbolOf(context, finding);
  if (request.headers.get('hx-request') === 'true') {
    const view = await collect(context, target);
    const render = () => <SymbolFragment view={view} notice={notice} />;
    return fragmentResponse(request, context.version, [view, notice], render);
  }
  if (status === 200) {
    const location = `${symbolPath(target.symbol)}#finding-${findingId}`;
    return new Response(null, { status: 303, headers: { location } });
  }
  const shown = { view: await collect(context, target), notice, pollSeconds };
  return pageResponse(<SymbolPage {...pageProps(context)} {...shown} />, status);
}

/** @throws HttpError 415 or 413 for what is no form of ours. */
async function readForm(request: Request): Promise<URLSearchParams> {
  const type = request.headers.get('content-type')?.split(';')[0].trim().toLowerCase();
  if (type !== 'application/x-www-form-urlencoded') {
    throw new HttpError(415, 'unsupported_type', 'send the form of the page');
  }
  const text = await request.text();
  if (text.length <= FORM_BYTES_MAX) return new URLSearchParams(text);
  throw new HttpError(413, 'too_large', `the form must be at most ${FORM_BYTES_MAX} bytes`);
}

const DONE: Record<Decision, string> = {
  accept: 'Accepted',
  reject: 'Rejected',
  annotate: 'Noted',
  reopen: 'Open again',
};

async function tryDecision(
  { database, now }: AppContext,
  { findingId, session, kind }: Finding,
  form: URLSearchParams,
  actor: string,
): Promise<{ notice: Notice; status: number }> {
  try {
    const decision = parseChoice(form.get('decision') ?? '', 'decision', DECISIONS);
    const note = form.get('note')?.trim() || undefined;
    const request = { findingIds: [findingId], decision, note, actor };
    const { changed } = await decideFindings(database.write, request, now());
    const what = `${session} ${kind.replaceAll('_', ' ')}`;
    const done = changed.length > 0 ? DONE[decision] : 'It was so before';
    return { notice: { condition: 'good', text: `${done}: ${what}.` }, status: 200 };
  } catch (error) {
    const isRefused = error instanceof RefusedDecision;
    if (!isRefused && !(error instanceof InputError)) throw error;
    const text = `Nothing is decided: ${error.message}.`;
    return { notice: { condition: 'bad', text }, status: isRefused ? 409 : 422 };
  }
}

/** The instrument of a finding by the symbol that it has now, or had last. */
async function symbolOf({ symbols }: AppContext, finding: Finding): Promise<ResolvedSymbol> {
  const holding = (await symbols.symbolsOf(finding.instrumentId)).at(-1);
  if (holding) return holding;
  throw new HttpError(404, 'unknown_symbol', `finding ${finding.findingId} has no symbol`, 'id');
}

// ----------------------------------------------------------------------- collecting

async function collect(context: AppContext, target: ResolvedSymbol): Promise<SymbolPageView> {
  const { database, calendar, symbols } = context;
  const { read } = database;
  const { instrumentId } = target;
  const latestDay = calendar.latestSession(context.now(), context.publishDelayMs);
  const ids = { instrumentIds: [instrumentId] };
  const [report, instrument, ranges, actions, revised, findings, [reconciliation], block] =
    await Promise.all([
      selectQuality(read, calendar, { ...ids, latestDay }),
      selectInstrument(read, instrumentId),
      symbols.symbolsOf(instrumentId),
      selectActionVersions(read, calendar, target, { hasWithdrawn: true }),
      selectRevisions(read, { instrumentId, reasons: ['values'], limit: REVISIONS_SHOWN }),
      collectFindings(context, instrumentId),
      selectLatestReconciliations(read, ids),
      latestBlock(context, target),
    ]);
  const [quality] = report.symbols;
  const withBars = (all: Finding[]) => all.map((one) => withBar(one, block));
  return {
    symbol: target.symbol,
    instrument,
    symbols: ranges.map(describeHolding),
    quality,
    publishedSession: latestDay < 0 ? null : toDate(latestDay),
    coverage: await collectCoverage(context, quality, latestDay),
    actions: actions.toReversed().slice(0, ACTIONS_SHOWN),
    actionCount: actions.length,
    revisions: revised.revisions.map((one) => ({ ...one, change: revisionChange(one) })),
    open: withBars(findings.open),
    decided: withBars(findings.decided),
    reconciliation: reconciliation ?? null,
    bars: readBars(block, Math.max(0, block.length - BARS_SHOWN), block.length).reverse(),
  };
}

function describeHolding({ symbol, startDay, endDay }: Holding): SymbolPageView['symbols'][number] {
  const date = (day: number) => (Number.isFinite(day) ? toDate(day) : null);
  return { symbol, start: date(startDay), end: date(endDay - 1) };
}

/** All daily bars as they are stored. */
function latestBlock(context: AppContext, target: ResolvedSymbol): Promise<BarBlock> {
  const { calendar, publishDelayMs } = context;
  return context.bars.block(target, makeView(calendar, context.now(), publishDelayMs));
}

/** Rows [first, end) of a history. */
function readBars({ encoded, offsets }: BarBlock, first: number, end: number): BarView[] {
  if (first >= end) return [];
  const bytes = encoded.subarray(offsets[first], offsets[end] - 1);
  return JSON.parse(`[${new TextDecoder().decode(bytes)}]`) as BarView[];
}

function withBar(finding: Finding, block: BarBlock): FindingView {
  const day = toDay(finding.session);
  const row = lowerBound(block.session, day);
  const isHeld = finding.timeframe === '1d' && row < block.length && block.session[row] === day;
  return { ...finding, bar: isHeld ? readBars(block, row, row + 1)[0] : null };
}

async function collectFindings({ database }: AppContext, instrumentId: number) {
  const select = async (state: 'open' | 'accepted' | 'rejected', limit: number) =>
    (await selectFindings(database.read, { instrumentId, state, limit })).findings;
  const [open, accepted, rejected] = await Promise.all([
    select('open', OPEN_SHOWN),
    select('accepted', DECIDED_SHOWN),
    select('rejected', DECIDED_SHOWN),
  ]);
  const decidedAt = ({ decidedAt: at }: Finding) => at?.getTime() ?? 0;
  const decided = [...accepted, ...rejected].sort((a, b) => decidedAt(b) - decidedAt(a));
  return { open, decided };
}

/** Of daily bars, and of what else is held. */
function collectCoverage(
  context: AppContext,
  { instrument_id: instrumentId, timeframes }: SymbolQuality,
  latestDay: number,
): Promise<CoverageView[]> {
  const all = new Set(['1d' as const, ...timeframes.map(({ timeframe }) => timeframe)]);
  return Promise.all(
    [...all].map((one) => coverageOf(context, instrumentId, one as '1d' | '1h' | '1m', latestDay)),
  );
}

async function coverageOf(
  { database, calendar }: AppContext,
  instrumentId: number,
  timeframe: '1d' | '1h' | '1m',
  latestDay: number,
): Promise<CoverageView> {
  const [known, held] = await Promise.all([
    selectInstrumentCoverage(database.read, instrumentId, timeframe),
    selectHeldDays(database.read, instrumentId, timeframe, calendar.firstDay, latestDay),
  ]);
  const begins = [known.slices[0]?.start, held[0]].filter((day) => day !== undefined);
  if (begins.length === 0 || latestDay < 0) {
    return { timeframe, first: '', last: '', sessions: 0, totals: [], ranges: [] };
  }
  const firstDay = Math.min(...begins, latestDay);
  const asked = { ...known, firstDay, lastDay: latestDay, latestDay };
  const ranges = classifySessions(calendar, known.slices, held, asked);
  const totals = countStates(ranges);
  return {
    timeframe,
    first: toDate(firstDay),
    last: toDate(latestDay),
    sessions: ranges.reduce((sum, { sessions }) => sum + sessions, 0),
    totals: SESSION_STATES.filter((state) => totals[state] > 0).map((state) => ({
      state,
      sessions: totals[state],
    })),
    ranges: ranges.map(({ startDay, endDay, state, sessions, detail }) => ({
      start: toDate(startDay),
      end: toDate(endDay),
      state,
      sessions,
      message: state === 'complete' ? null : absenceMessage(state, detail),
    })),
  };
}
