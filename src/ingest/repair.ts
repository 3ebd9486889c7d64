import { InputError } from '../errors.ts';
import {
  type AbsenceState,
  absenceMessage,
  type ClassifiedRange,
  classifySessions,
  findPhantoms,
} from '../model/absence.ts';
import type { CoverageRange } from '../model/coverage.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import { latestWithBars } from '../model/session-part.ts';
import { selectHeldDays, selectHeldSessions } from '../query/coverage.ts';
import type { Sql } from '../store/database.ts';
import type { RunOrigin } from '../store/jobs.ts';
import { type Instrument, selectInstruments } from '../store/symbols.ts';
import { selectCoverageRanges } from '../store/upsert.ts';
import {
  type BackfillContext,
  type BackfillProgress,
  type BackfillReport,
  type BackfillRequest,
  holderDay,
  planRequest,
  runBackfill,
  type WantedSessions,
} from './backfill.ts';
import { limitPlan } from './budget.ts';
import type { BackfillPlan } from './plan.ts';

/** What is looked at, and what filling it may cost. */
export interface RepairRequest {
  timeframe: '1d' | StoredIntraday;
  /** All known; undefined: all tracked ones. */
  symbols?: readonly string[];
  /** Sessions, both inclusive, 'YYYY-MM-DD'. The last one is cut to the latest published. */
  firstSession?: string;
  lastSession?: string;
  /**
   * Where the history to keep begins. Of a symbol that holds or was asked for older sessions, those
   * are looked at too, unless `firstSession` is said.
   */
  horizon: string;
  /** Requests of one run; undefined: as many as it takes. */
  requestsMax?: number;
  /** 'command' when missing. */
  origin?: RunOrigin;
  signal?: AbortSignal;
  onRun?: (runId: number) => Promise<void>;
  /** What was found and is about to be asked for. */
  onPlan?: (plan: RepairPlan) => void;
  onProgress?: (progress: BackfillProgress) => void;
}

/** Sessions in a row that lack their bar for the same reason. */
export interface HoleRange {
  /** First and last session, 'YYYY-MM-DD', both inclusive. */
  start: string;
  end: string;
  sessions: number;
  state: AbsenceState;
  message: string;
  /** Before the first bar that is held, between two, after the last; all when none is held. */
  place: 'older' | 'inside' | 'newer' | 'all';
  /** Whether the next repair asks for it. */
  isDue: boolean;
  /** When it is asked for again, epoch ms; null where that is not a matter of time. */
  retryAt: number | null;
}

/** What a symbol lacks. Sessions before its listing and after its delisting are no holes. */
export interface SymbolHoles {
  instrumentId: number;
  symbol: string;
  /** Sessions that have a bar. */
  held: number;
  /** Sessions that lack one, and how many of them are due. */
  lacking: number;
  due: number;
  /** Ascending. */
  ranges: HoleRange[];
  /** Days without a session that have a bar, 'YYYY-MM-DD': kept, flagged, and never deleted. */
  phantoms: string[];
  wanted: WantedSessions;
}

export interface RepairPlan {
  symbols: SymbolHoles[];
  /** All that it takes, and the part of it that the budget pays for. */
  whole: BackfillPlan;
  affordable: BackfillPlan;
}

export interface RepairReport extends RepairPlan {
  backfill: BackfillReport;
  /** What is left for the next run. */
  left: { requests: number; sessions: number };
}

/** What is planned from the database alone: nobody is asked and nothing is written. */
export async function planRepair(
  context: BackfillContext,
  request: RepairRequest,
): Promise<RepairPlan> {
  const symbols = await findHoles(context, request);
  const { requestsMax, ...unlimited } = request;
  const { plan: whole } = await planRequest(context, toBackfill(unlimited, symbols));
  const affordable = requestsMax === undefined ? whole : limitPlan(whole, requestsMax);
  return { symbols, whole, affordable };
}

/**
 * Fills the holes of the symbols: older than what is held, inside of it, and newer. What was asked
 * for and was empty or refused is asked again when its time has come, so that a second repair asks
 * for nothing.
 * @throws InputError for a symbol that is not known; BackfillBusyError and ProviderError as
 *   `runBackfill`.
 */
export async function runRepair(
  context: BackfillContext,
  request: RepairRequest,
): Promise<RepairReport> {
  const plan = await planRepair(context, request);
  request.onPlan?.(plan);
  const backfill = await runBackfill(context, toBackfill(request, plan.symbols));
  const after = await planRepair(context, request);
  const { requests, dueSessions: sessions } = after.whole;
  return { ...plan, backfill, left: { requests: requests.total, sessions } };
}

function toBackfill(request: RepairRequest, symbols: readonly SymbolHoles[]): BackfillRequest {
  const { timeframe, horizon, lastSession, requestsMax, signal, onProgress, onRun } = request;
  const due = symbols.filter((one) => one.due > 0);
  return {
    timeframe,
    firstSession: request.firstSession ?? horizon,
    lastSession,
    requestsMax,
    signal,
    onProgress,
    onRun,
    symbols: request.symbols,
    holes: new Map(due.map(({ instrumentId, wanted }) => [instrumentId, wanted])),
    origin: request.origin ?? 'command',
  };
}

/** Instruments whose sessions are read at a time. */
const BATCH = 500;

/**
 * What each symbol lacks, by symbol.
 * @throws InputError for a symbol that is not known.
 */
export async function findHoles(
  context: BackfillContext,
  request: RepairRequest,
): Promise<SymbolHoles[]> {
  const { database, provider, calendar, publishDelayMs } = context;
  const { timeframe, symbols } = request;
  const sql = database.read;
  const day = holderDay(context, request.lastSession);
  const named = { symbols, provider: provider.name, timeframe, day };
  const instruments = await selectInstruments(sql, named);
  refuseUnknown(symbols, instruments);
  const nowMs = context.now();
  const latestDay = latestWithBars(calendar, timeframe, nowMs, publishDelayMs);
  const last = request.lastSession === undefined ? latestDay : toDay(request.lastSession);
  const first = request.firstSession === undefined ? undefined : toDay(request.firstSession);
  const asked = { first, last: Math.min(last, latestDay), latestDay, nowMs };
  const found: SymbolHoles[] = [];
  for (let at = 0; at < instruments.length; at += BATCH) {
    const batch = instruments.slice(at, at + BATCH);
    const ids = batch.map(({ instrumentId }) => instrumentId);
    const coverage = await selectCoverageRanges(sql, timeframe, ids);
    const range: [number, number] = [asked.first ?? calendar.firstDay, asked.last];
    const held = await selectAllHeld(sql, timeframe, ids, range);
    for (const instrument of batch) {
      const slices = coverage.get(instrument.instrumentId) ?? [];
      const heldDays = held.get(instrument.instrumentId) ?? new Int32Array(0);
      const horizon = toDay(request.horizon);
      const known = [horizon, slices[0]?.start ?? horizon, heldDays[0] ?? horizon];
      const firstDay = asked.first ?? Math.min(...known);
      found.push(describeHoles(calendar, instrument, slices, heldDays, { ...asked, firstDay }));
    }
  }
  return found;
}

function refuseUnknown(symbols: readonly string[] | undefined, known: readonly Instrument[]): void {
  const have = new Set(known.map(({ symbol }) => symbol));
  const unknown = symbols?.find((symbol) => !have.has(symbol));
  if (unknown === undefined) return;
  throw new InputError(
    `there is no symbol ${unknown} here: add it with marketd symbols add, or fetch it with ` +
      'marketd backfill',
    'symbol',
  );
}

async function selectAllHeld(
  sql: Sql,
  timeframe: '1d' | StoredIntraday,
  ids: readonly number[],
  [firstDay, lastDay]: [number, number],
): Promise<Map<number, Int32Array>> {
  if (timeframe === '1d') return selectHeldSessions(sql, ids, firstDay, lastDay);
  const found = new Map<number, Int32Array>();
  for (const id of ids) {
    found.set(id, await selectHeldDays(sql, id, timeframe, firstDay, lastDay));
  }
  return found;
}

interface Asked {
  firstDay: number;
  /** Published: none of its sessions is too early to ask for. */
  last: number;
  latestDay: number;
  nowMs: number;
}

type Range = ClassifiedRange<CoverageRange>;

function describeHoles(
  calendar: Calendar,
  instrument: Instrument,
  slices: readonly CoverageRange[],
  heldDays: Int32Array,
  { firstDay, last: lastDay, latestDay, nowMs }: Asked,
): SymbolHoles {
  const { instrumentId, symbol } = instrument;
  const asked = { firstDay, lastDay, latestDay, ...listingOf(instrument) };
  const ranges = classifySessions(calendar, slices, heldDays, asked);
  const complete = ranges.filter(({ state }) => state === 'complete');
  const lacking = ranges.filter(isHole);
  const [first, last] = [complete[0], complete.at(-1)];
  const span = first && last && { first: first.startDay, last: last.endDay };
  const holes = lacking.map((range) => describeRange(range, span, nowMs));
  const again = lacking.filter(isRefuted).flatMap((range) => {
    return calendar.sessions(range.startDay, range.endDay);
  });
  const add = (all: readonly { sessions: number }[]) => all.reduce((n, one) => n + one.sessions, 0);
  return {
    instrumentId,
    symbol,
    held: add(complete),
    lacking: add(lacking),
    due: add(holes.filter(({ isDue }) => isDue)),
    ranges: holes,
    phantoms: findPhantoms(calendar, heldDays, firstDay, lastDay).map(toDate),
    wanted: { firstDay, again },
  };
}

/** First and last session that can be asked for: listed, and under a symbol. Null: not known. */
function listingOf({ listedOn, delistedOn, ranges }: Instrument) {
  const first = Math.max(
    listedOn === null ? Number.NEGATIVE_INFINITY : toDay(listedOn),
    ranges[0]?.startDay ?? Number.NEGATIVE_INFINITY,
  );
  const last = Math.min(
    delistedOn === null ? Number.POSITIVE_INFINITY : toDay(delistedOn),
    (ranges.at(-1)?.endDay ?? Number.POSITIVE_INFINITY) - 1,
  );
  return {
    listedOn: Number.isFinite(first) ? first : null,
    delistedOn: Number.isFinite(last) ? last : null,
  };
}

type Hole = Range & { state: AbsenceState };

function isHole(range: Range): range is Hole {
  return ['missing', 'vendor_empty', 'not_entitled', 'unfetched'].includes(range.state);
}

/** True when what coverage says of the range cannot be: then it is asked for all the same. */
function isRefuted({ state, slices }: Range): boolean {
  return state === 'missing' || (state === 'unfetched' && slices.length > 0);
}

interface HeldSpan {
  first: number;
  last: number;
}

function placeOf(day: number, held: HeldSpan | undefined): HoleRange['place'] {
  if (!held) return 'all';
  if (day < held.first) return 'older';
  return day > held.last ? 'newer' : 'inside';
}

function describeRange(
  { startDay, endDay, sessions, state, detail, slices }: Hole,
  held: HeldSpan | undefined,
  nowMs: number,
): HoleRange {
  const isAsked = state === 'vendor_empty' || state === 'not_entitled';
  const retryAt = isAsked ? (slices[0]?.retryAt ?? null) : null;
  return {
    start: toDate(startDay),
    end: toDate(endDay),
    sessions,
    state,
    message: absenceMessage(state, detail),
    place: placeOf(endDay, held),
    isDue: !isAsked || (retryAt !== null && retryAt <= nowMs),
    retryAt,
  };
}
