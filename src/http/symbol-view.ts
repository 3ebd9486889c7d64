import type { FindingView, HolderView, SymbolPageView } from '../../views/symbol.tsx';
import type { BarView, ChartView } from '../../views/symbol-chart.tsx';
import type { CoverageView } from '../../views/symbol-coverage.tsx';
import { absenceMessage, classifySessions, countStates, SESSION_STATES } from '../model/absence.ts';
import { ADJUSTMENTS } from '../model/adjustment.ts';
import {
  CHART_TIMEFRAMES,
  type ChartTimeframe,
  isIntradayChart,
  rangeFor,
  rangeStart,
  rangesOf,
  timeframesOf,
} from '../model/chart-range.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import { lowerBound } from '../model/sorted.ts';
import { isHeld } from '../model/symbol-range.ts';
import type { BarBlock } from '../query/block.ts';
import { type ActionVersion, selectActionVersions } from '../query/corporate-actions.ts';
import { selectHeldDays, selectInstrumentCoverage } from '../query/coverage.ts';
import { type Finding, selectFindings } from '../query/findings.ts';
import { type SymbolQuality, selectQuality } from '../query/quality.ts';
import { selectLatestReconciliations } from '../query/reconciliation.ts';
import { type Revision, revisionChange, selectRevisions } from '../query/revisions.ts';
import { type Holding, type ResolvedSymbol, selectInstrument } from '../query/symbols.ts';
import { makeView } from '../query/view.ts';
import type { AppContext } from './app.ts';
import { findSymbol } from './find-symbol.ts';
import { selectHistorical } from './historical.ts';
import { parseChoice, parseDate } from './parameters.ts';

/** What the page of a symbol shows, gathered from all that is known of it. */

const BARS_SHOWN = 20;
const ACTIONS_SHOWN = 20;
const REVISIONS_SHOWN = 20;
const OPEN_SHOWN = 20;
/** Of those that are accepted, and of those that are rejected. */
const DECIDED_SHOWN = 5;
/** Points of the line that stands in for the chart where no script runs. */
const POINTS_MAX = 300;

/** The switches of the page as its address has them; what is missing is as usual. */
export interface SymbolSwitches {
  timeframe?: string;
  adjustment?: string;
  range?: string;
  /** 'all', or 'validated' for those bars alone. */
  bars?: string;
  /** Whoever had the symbol on that date is meant, not who has it today. */
  asof?: string;
  /** A date whose findings, actions and revisions are shown, however old they are. */
  session?: string;
}

export const SWITCHES = ['timeframe', 'adjustment', 'range', 'bars', 'asof', 'session'] as const;

/** The switches among the parameters of a page or the fields of a form. */
export function pickSwitches(get: (name: string) => string | null | undefined): SymbolSwitches {
  const entries = SWITCHES.map((name) => [name, get(name) || undefined]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/**
 * The instrument that a page is about.
 * @throws HttpError 404 when nobody has the symbol then, InputError for what is no date.
 */
export function findPageSymbol(
  context: AppContext,
  text: string,
  { asof }: SymbolSwitches,
): Promise<ResolvedSymbol> {
  return findSymbol(context, text, asof === undefined ? {} : { day: parseDate(asof, 'asof') });
}

/** All that the page shows. @throws InputError for switches that there are not. */
export async function collectSymbol(
  context: AppContext,
  target: ResolvedSymbol,
  switches: SymbolSwitches,
  version: string,
): Promise<SymbolPageView> {
  const { database, calendar, symbols } = context;
  const { read } = database;
  const { instrumentId } = target;
  const latestDay = calendar.latestSession(context.now(), context.publishDelayMs);
  const ids = { instrumentIds: [instrumentId] };
  const pinned =
    switches.session === undefined ? undefined : parseDate(switches.session, 'session');
  const [report, instrument, ranges, actions, revised, findings, [reconciliation], block] =
    await Promise.all([
      selectQuality(read, calendar, { ...ids, latestDay }),
      selectInstrument(read, instrumentId),
      symbols.symbolsOf(instrumentId),
      selectActionVersions(read, calendar, target, { hasWithdrawn: true }),
      collectRevisions(context, instrumentId, pinned),
      collectFindings(context, instrumentId, pinned),
      selectLatestReconciliations(read, ids),
      latestBlock(context, target),
    ]);
  const [quality] = report.symbols;
  const [coverage, chart, others] = await Promise.all([
    collectCoverage(context, quality, latestDay),
    collectChart(context, target, quality, switches),
    findHolders(context, target.symbol, instrumentId),
  ]);
  const withBars = (all: Finding[]) => all.map((one) => withBar(one, block));
  return {
    symbol: target.symbol,
    instrument,
    symbols: ranges.map(describeHolding),
    others,
    quality,
    publishedSession: latestDay < 0 ? null : toDate(latestDay),
    chart: { ...chart, version },
    coverage,
    actions: pickActions(actions, switches.session),
    actionCount: actions.length,
    revisions: revised.map((one) => ({ ...one, change: revisionChange(one) })),
    open: withBars(findings.open),
    decided: withBars(findings.decided),
    reconciliation: reconciliation ?? null,
  };
}

const dateOf = (day: number) => (Number.isFinite(day) ? toDate(day) : null);

const describeHolding = ({ symbol, startDay, endDay }: Holding) => ({
  ...{ symbol, start: dateOf(startDay), end: dateOf(endDay - 1) },
});

/** All that had a symbol, or have it, but for one instrument; in the order of time. */
export async function findHolders(
  { symbols }: AppContext,
  symbol: string,
  exceptId?: number,
): Promise<HolderView[]> {
  const all = await symbols.meanings(symbol);
  return all
    .filter((one) => one.symbol === symbol && one.instrumentId !== exceptId)
    .map((one) => ({ ...describeHolding(one), name: one.name }));
}

// ---------------------------------------------------------------------------- chart

/** The bars of the chart: exactly what a request of the API gives, whose address it has. */
async function collectChart(
  context: AppContext,
  target: ResolvedSymbol,
  quality: SymbolQuality,
  switches: SymbolSwitches,
): Promise<Omit<ChartView, 'version'>> {
  const timeframes = timeframesOf(quality.timeframes.map(({ timeframe }) => timeframe));
  const usual = timeframes.includes('1d') ? '1d' : (timeframes.at(-1) ?? '1d');
  const allowed = timeframes.length > 0 ? timeframes : CHART_TIMEFRAMES;
  const timeframe = parseChoice(switches.timeframe ?? usual, 'timeframe', allowed);
  const ranges = rangesOf(timeframe);
  const range = parseChoice(switches.range ?? rangeFor(timeframe), 'range', ranges);
  const adjustment = parseChoice(switches.adjustment ?? 'split', 'adjustment', ADJUSTMENTS);
  const bars = parseChoice(switches.bars ?? 'all', 'bars', ['all', 'validated']);
  const asof = switches.asof ?? null;
  const session = switches.session ?? null;
  const chosen = { timeframe, adjustment, range, bars, asof, session, timeframes, ranges, usual };
  const held = heldDays(quality, timeframe);
  if (held === undefined) return { ...chosen, ...NOTHING };
  const startDay = rangeStart(context.calendar, range, held.firstDay, held.lastDay);
  const [start, end] = [toDate(startDay), toDate(held.lastDay)];
  const query = {
    ...{ start, end, timeframe, adjustment },
    ...(bars === 'all' && { validated_only: 'false', include_partial: 'true' }),
    ...(await namedOn(context, target, asof, held.lastDay)),
  };
  const answer = await selectHistorical(context, target.symbol, query);
  const { data } = JSON.parse(new TextDecoder().decode(answer.body)) as { data: BarView[] };
  return {
    ...{ ...chosen, start, end, query, count: answer.count, excluded: answer.excluded },
    latest: data.slice(-BARS_SHOWN - 1).reverse(),
    closes: thinOut(data.map(({ close }) => close)),
  };
}

const NOTHING = {
  ...{ start: null, end: null, query: null, count: 0, excluded: 0, latest: [], closes: [] },
};

/** The days that the stored bars of a chart's timeframe reach over; undefined without any. */
function heldDays({ timeframes }: SymbolQuality, chart: ChartTimeframe) {
  const useful = isIntradayChart(chart) ? ['1m', '1h'] : ['1d', '1m'];
  const held = timeframes.filter(({ timeframe }) => useful.includes(timeframe));
  const days = held
    .flatMap(({ first_session, latest_session }) => [first_session, latest_session])
    .filter((date) => date !== null)
    .map(toDay);
  return days.length === 0
    ? undefined
    : { firstDay: Math.min(...days), lastDay: Math.max(...days) };
}

/** The parameter that says whose the symbol is, where the end of the range does not. */
async function namedOn(
  { symbols, now }: AppContext,
  { symbol, instrumentId }: ResolvedSymbol,
  asof: string | null,
  endDay: number,
): Promise<{ asof?: string }> {
  if (asof !== null) return { asof };
  const holdings = await symbols.symbolsOf(instrumentId);
  const isNamedThen = holdings.some((one) => one.symbol === symbol && isHeld(one, endDay));
  return isNamedThen ? {} : { asof: toDate(newYorkDay(now())) };
}

/** At most POINTS_MAX values at equal distances, the last one among them. */
function thinOut(values: readonly number[]): number[] {
  const step = Math.max(1, Math.ceil(values.length / POINTS_MAX));
  return values.filter((_, i) => (values.length - 1 - i) % step === 0);
}

// ------------------------------------------------------------------ findings and others

/** All daily bars as they are stored. */
function latestBlock(context: AppContext, target: ResolvedSymbol): Promise<BarBlock> {
  const { calendar, publishDelayMs } = context;
  return context.bars.block(target, makeView(calendar, context.now(), publishDelayMs));
}

/** Row `row` of a history. */
function readBar({ encoded, offsets }: BarBlock, row: number): BarView {
  const bytes = encoded.subarray(offsets[row], offsets[row + 1] - 1);
  return JSON.parse(new TextDecoder().decode(bytes)) as BarView;
}

function withBar(finding: Finding, block: BarBlock): FindingView {
  const day = toDay(finding.session);
  const row = lowerBound(block.session, day);
  const held = finding.timeframe === '1d' && row < block.length && block.session[row] === day;
  return { ...finding, bar: held ? readBar(block, row) : null };
}

async function collectFindings({ database }: AppContext, instrumentId: number, pinned?: number) {
  const select = async (query: { state?: 'open' | 'accepted' | 'rejected'; limit: number }) =>
    (await selectFindings(database.read, { instrumentId, ...query })).findings;
  const [open, accepted, rejected, asked] = await Promise.all([
    select({ state: 'open', limit: OPEN_SHOWN }),
    select({ state: 'accepted', limit: DECIDED_SHOWN }),
    select({ state: 'rejected', limit: DECIDED_SHOWN }),
    pinned === undefined
      ? []
      : selectFindings(database.read, {
          ...{ instrumentId, firstDay: pinned, lastDay: pinned, limit: OPEN_SHOWN },
        }).then(({ findings }) => findings),
  ]);
  const isOpen = ({ state }: Finding) => state === 'open';
  const decidedAt = ({ decidedAt: at }: Finding) => at?.getTime() ?? 0;
  const decided = [...accepted, ...rejected].sort((a, b) => decidedAt(b) - decidedAt(a));
  const join = (pins: Finding[], others: Finding[]) => {
    const known = new Set(pins.map(({ findingId }) => findingId));
    return [...pins, ...others.filter(({ findingId }) => !known.has(findingId))];
  };
  return {
    open: join(asked.filter(isOpen), open),
    decided: join(
      asked.filter((one) => !isOpen(one)),
      decided,
    ),
  };
}

async function collectRevisions(
  { database }: AppContext,
  instrumentId: number,
  pinned?: number,
): Promise<Revision[]> {
  const query = { instrumentId, reasons: ['values' as const], limit: REVISIONS_SHOWN };
  const [latest, asked] = await Promise.all([
    selectRevisions(database.read, query),
    pinned === undefined
      ? undefined
      : selectRevisions(database.read, { ...query, firstDay: pinned, lastDay: pinned }),
  ]);
  const pins = asked?.revisions ?? [];
  const known = new Set(pins.map(({ revisionId }) => revisionId));
  return [...pins, ...latest.revisions.filter(({ revisionId }) => !known.has(revisionId))];
}

/** The latest actions first, but those of an asked date before them. */
function pickActions(actions: readonly ActionVersion[], session?: string): ActionVersion[] {
  const latest = actions.toReversed();
  const pins = latest.filter(({ exDate }) => exDate === session);
  const others = latest.slice(0, ACTIONS_SHOWN).filter(({ exDate }) => exDate !== session);
  return [...pins, ...others];
}

// ------------------------------------------------------------------------- coverage

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
