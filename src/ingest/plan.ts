import { type CoverageRange, isDue } from '../model/coverage.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import type { Calendar } from '../model/session.ts';
import { isHeld, type SymbolRange } from '../model/symbol-range.ts';

/** What the planner must know of an instrument. */
export interface PlannedInstrument {
  instrumentId: number;
  symbol: string;
  /** The one it has now, or had last. */
  providerSymbol: string;
  /** All its symbols, as the provider spells them; `providerSymbol` at all times when missing. */
  ranges?: readonly SymbolRange[];
  /** First and last session on the exchange, days; null when not known or still listed. */
  listedOn: number | null;
  delistedOn: number | null;
  isDescribed: boolean;
  /** Sessions wanted of it begin here instead of where they do for all. */
  firstDay?: number;
}

/** One range request: bars of one symbol, both sessions inclusive. */
export interface RangeTask {
  instrument: PlannedInstrument;
  /** What the provider called it in these sessions. */
  providerSymbol: string;
  firstDay: number;
  lastDay: number;
}

/** One grouped request: bars of the whole market for one session. */
export interface GroupedTask {
  day: number;
  instruments: PlannedInstrument[];
}

export type ActionDataset = 'splits' | 'dividends';

/** Splits or dividends of one symbol, or of the whole market when `instrument` is not set. */
export interface ActionTask {
  dataset: ActionDataset;
  instrument?: PlannedInstrument;
  /** Whom the answer covers. */
  covers: PlannedInstrument[];
  firstDay: number;
  lastDay: number;
  requests: number;
}

export interface BackfillPlan {
  ranges: RangeTask[];
  grouped: GroupedTask[];
  /** Older than what the plan of the provider includes, as learned before: not asked for. */
  refused: RangeTask[];
  actions: ActionTask[];
  /** Symbols to look up one by one, or all from the provider's list. */
  describe: PlannedInstrument[];
  describeByList: boolean;
  /** Sessions times symbols that are due. */
  dueSessions: number;
  requests: {
    range: number;
    grouped: number;
    splits: number;
    dividends: number;
    describe: number;
    total: number;
  };
}

export interface PlanInput {
  /** What is wanted; '1d' when missing. */
  timeframe?: '1d' | StoredIntraday;
  calendar: Calendar;
  instruments: readonly PlannedInstrument[];
  /** Sessions wanted, days, both inclusive. */
  firstDay: number;
  lastDay: number;
  nowMs: number;
  /** When the latest published session became available, epoch ms. */
  publishedAt: number;
  /** Coverage by dataset (the timeframe, 'splits', 'dividends') and instrument. */
  coverage: Record<string, ReadonlyMap<number, readonly CoverageRange[]>>;
  /** True when requests cost nothing: each symbol is then simply asked for by itself. */
  isUnlimited?: boolean;
  /** A session under way: it is asked for whenever somebody asks. */
  liveDay?: number;
  /**
   * Only what lacks is asked for: nothing again that may have been restated, and no splits,
   * dividends or names of symbols that lack no bar.
   */
  onlyHoles?: boolean;
  /** First day the provider's plan includes, as far as it was learned; null when not. */
  entitledFrom: number | null;
}

/** Whole-market pages: events a year and events a page, as the vendor counts them. */
const ACTIONS_A_YEAR: Record<ActionDataset, number> = { splits: 1_500, dividends: 60_000 };
const ACTIONS_A_PAGE = 5_000;
/**
 * How long an answer about settled sessions counts. Providers correct actions of long ago, so the
 * whole history is asked for again: once a week one request a symbol, or the market's pages.
 */
export const ACTIONS_REFRESH_MS = 7 * 24 * 3_600_000;
/** Beyond the latest session so many days are asked for: what is announced is known in time. */
export const ACTIONS_AHEAD_DAYS = 7;
/** Pages of the vendor's symbol list, at a thousand each. */
const LIST_PAGES = 12;

/** A due instrument: ascending indexes of its due sessions, in which it had one symbol. */
interface Due {
  instrument: PlannedInstrument;
  providerSymbol: string;
  sessions: Int32Array;
}

/**
 * The requests that fill what is missing: sessions of the calendar, within listing dates, less
 * coverage. Pure: asks nobody, so that it also answers `--dry-run`.
 */
export function planBackfill(input: PlanInput): BackfillPlan {
  const { calendar, timeframe = '1d' } = input;
  const due = input.instruments.flatMap((instrument) =>
    splitBySymbol(instrument, dueSessions(input, timeframe, instrument), calendar),
  );
  const refused: RangeTask[] = [];
  const asked = input.entitledFrom === null ? due : splitRefused(due, input, refused);
  const isDaily = timeframe === '1d';
  const rest = input.onlyHoles
    ? { ...input, instruments: [...new Set(due.map((one) => one.instrument))] }
    : input;
  const { ranges, grouped } = isDaily
    ? chooseRequests(asked, calendar, input.isUnlimited === true)
    : { ranges: chunkRanges(asked, calendar), grouped: [] };
  const actions = isDaily
    ? [...planActions(rest, 'splits'), ...planActions(rest, 'dividends')]
    : [];
  const describe = rest.instruments.filter((instrument) => !instrument.isDescribed);
  const dueCount = due.reduce((total, { sessions }) => total + sessions.length, 0);
  return countRequests({ ranges, grouped, refused, actions, describe, dueSessions: dueCount });
}

/** A plan with what its tasks cost. */
export function countRequests(
  tasks: Omit<BackfillPlan, 'describeByList' | 'requests'>,
): BackfillPlan {
  const { ranges, grouped, actions, describe } = tasks;
  const requests = {
    range: ranges.length,
    grouped: grouped.length,
    splits: sum(actions.filter((task) => task.dataset === 'splits')),
    dividends: sum(actions.filter((task) => task.dataset === 'dividends')),
    describe: Math.min(describe.length, LIST_PAGES),
    total: 0,
  };
  const { range, splits, dividends } = requests;
  requests.total = range + requests.grouped + splits + dividends + requests.describe;
  return { ...tasks, describeByList: describe.length > LIST_PAGES, requests };
}

const sum = (tasks: readonly ActionTask[]) => tasks.reduce((all, task) => all + task.requests, 0);

function dueSessions(
  { calendar, coverage, firstDay, lastDay, nowMs, publishedAt, liveDay, onlyHoles }: PlanInput,
  dataset: string,
  instrument: PlannedInstrument,
): Int32Array {
  const { instrumentId, listedOn, delistedOn, firstDay: ownFirstDay } = instrument;
  const ranges = coverage[dataset]?.get(instrumentId) ?? [];
  const wanted = ownFirstDay ?? firstDay;
  const first = Math.max(wanted, listedOn ?? wanted, calendar.firstDay);
  // What is held is then asked for neither because it may have been restated nor for being made.
  const askedBefore = onlyHoles ? Number.NEGATIVE_INFINITY : publishedAt;
  const last = Math.min(lastDay, delistedOn ?? lastDay);
  if (first > last) return new Int32Array(0);
  const from = calendar.sessionsBefore(first);
  const to = calendar.sessionsBefore(last + 1);
  const found = new Int32Array(Math.max(0, to - from));
  let size = 0;
  let r = 0;
  for (let index = from; index < to; index++) {
    const day = calendar.sessionAt(index);
    while (r < ranges.length && ranges[r].end <= day) r++;
    const range = r < ranges.length && ranges[r].start <= day ? ranges[r] : undefined;
    const isLive = day === liveDay && !onlyHoles;
    if (!isLive && !isDue(range, nowMs, askedBefore)) continue;
    if (providerSymbolOn(instrument, day) !== undefined) found[size++] = index;
  }
  return found.subarray(0, size);
}

/** What the provider called an instrument on a day; undefined when it had no symbol then. */
export function providerSymbolOn(
  { ranges, providerSymbol }: PlannedInstrument,
  day: number,
): string | undefined {
  if (!ranges) return providerSymbol;
  return ranges.find((range) => isHeld(range, day))?.symbol;
}

/** Sessions that are due, apart for each symbol that the instrument had meanwhile. */
function splitBySymbol(
  instrument: PlannedInstrument,
  sessions: Int32Array,
  calendar: Calendar,
): Due[] {
  if (sessions.length === 0) return [];
  const { ranges = [], providerSymbol } = instrument;
  if (ranges.length <= 1) return [{ instrument, providerSymbol, sessions }];
  const due: Due[] = [];
  for (const { symbol, startDay, endDay } of ranges) {
    const within = sessions.filter((index) => {
      const day = calendar.sessionAt(index);
      return startDay <= day && day < endDay;
    });
    if (within.length > 0) due.push({ instrument, providerSymbol: symbol, sessions: within });
  }
  return due;
}

/**
 * Sessions in one request for bars below a day. The vendor counts minutes, also for hours, and
 * gives 50,000 of them at most: 04:00 to 20:00 are 960 a session, 48,000 in fifty.
 */
const INTRADAY_SESSIONS_MAX = 50;

/** Requests that are never cut by the vendor's limit; newest first. */
function chunkRanges(due: readonly Due[], calendar: Calendar): RangeTask[] {
  const ranges: RangeTask[] = [];
  for (const { instrument, providerSymbol, sessions } of due) {
    for (let last = sessions.length - 1; last >= 0; ) {
      let first = last;
      const isNear = () => sessions[last] - sessions[first - 1] < INTRADAY_SESSIONS_MAX;
      while (first > 0 && isNear()) first--;
      ranges.push({
        instrument,
        providerSymbol,
        firstDay: calendar.sessionAt(sessions[first]),
        lastDay: calendar.sessionAt(sessions[last]),
      });
      last = first - 1;
    }
  }
  return ranges.sort((a, b) => b.lastDay - a.lastDay);
}

function splitRefused(due: readonly Due[], input: PlanInput, refused: RangeTask[]): Due[] {
  const { calendar, entitledFrom } = input;
  const boundary = calendar.sessionsBefore(entitledFrom ?? input.firstDay);
  const asked: Due[] = [];
  for (const one of due) {
    const { instrument, providerSymbol, sessions } = one;
    let cut = 0;
    while (cut < sessions.length && sessions[cut] < boundary) cut++;
    if (cut > 0) {
      refused.push({
        instrument,
        providerSymbol,
        firstDay: calendar.sessionAt(sessions[0]),
        lastDay: calendar.sessionAt(sessions[cut - 1]),
      });
    }
    if (cut < sessions.length) asked.push({ ...one, sessions: sessions.subarray(cut) });
  }
  return asked;
}

/**
 * Range requests cost one a symbol, grouped ones one a session. Sessions are ranked by how many
 * symbols miss them; asking for the first k of them grouped serves every symbol that misses none
 * of the others. The k with the fewest requests wins: 10,000 symbols that miss the same 8 sessions
 * cost 8, one new symbol beside them costs 1 more, 3 symbols that miss 5 years cost 3.
 */
function chooseRequests(
  due: readonly Due[],
  calendar: Calendar,
  isUnlimited: boolean,
): { ranges: RangeTask[]; grouped: GroupedTask[] } {
  const missing = new Int32Array(calendar.sessionCount);
  for (const { sessions } of due) for (const index of sessions) missing[index]++;
  const order: number[] = [];
  for (let index = 0; index < missing.length; index++) if (missing[index] > 0) order.push(index);
  order.sort((a, b) => missing[b] - missing[a] || b - a);
  const rank = new Int32Array(calendar.sessionCount);
  order.forEach((index, position) => {
    rank[index] = position;
  });
  const worst = due.map(({ sessions }) => sessions.reduce((max, i) => Math.max(max, rank[i]), 0));
  const served = new Int32Array(order.length + 1);
  for (const position of worst) served[position + 1]++;
  let best = 0;
  let bestCost = due.length;
  let left = due.length;
  for (let k = 1; k <= order.length && !isUnlimited; k++) {
    left -= served[k];
    if (k + left < bestCost) {
      best = k;
      bestCost = k + left;
    }
  }
  return assignRequests(due, worst, order.slice(0, best), calendar);
}

function assignRequests(
  due: readonly Due[],
  worst: readonly number[],
  groupedSessions: readonly number[],
  calendar: Calendar,
): { ranges: RangeTask[]; grouped: GroupedTask[] } {
  const ranges: RangeTask[] = [];
  const bySession = new Map<number, PlannedInstrument[]>(groupedSessions.map((s) => [s, []]));
  due.forEach(({ instrument, providerSymbol, sessions }, position) => {
    if (worst[position] >= groupedSessions.length) {
      const firstDay = calendar.sessionAt(sessions[0]);
      const lastDay = calendar.sessionAt(sessions[sessions.length - 1]);
      ranges.push({ instrument, providerSymbol, firstDay, lastDay });
    } else {
      for (const index of sessions) bySession.get(index)?.push(instrument);
    }
  });
  // Newest first: if the run is cut short, what is used most is there.
  const grouped = [...bySession]
    .sort(([a], [b]) => b - a)
    .map(([index, instruments]) => ({ day: calendar.sessionAt(index), instruments }));
  return { ranges, grouped };
}

/**
 * Splits or dividends: the market's pages from a day on serve every symbol that misses nothing
 * before it, one request a symbol all others; from the day that costs the fewest requests.
 */
function planActions(input: PlanInput, dataset: ActionDataset): ActionTask[] {
  const { calendar } = input;
  const spans = input.instruments
    .map((instrument) => ({ instrument, sessions: dueSessions(input, dataset, instrument) }))
    .filter(({ sessions }) => sessions.length > 0)
    .map(({ instrument, sessions }) => ({
      instrument,
      firstDay: calendar.sessionAt(sessions[0]),
      lastDay: calendar.sessionAt(sessions[sessions.length - 1]),
    }))
    .sort((a, b) => b.firstDay - a.firstDay);
  const lastDay = spans.reduce((latest, span) => Math.max(latest, span.lastDay), 0);
  const pagesFrom = (firstDay: number) => {
    const days = lastDay - firstDay + 1 + ACTIONS_AHEAD_DAYS;
    const events = (days / 365.25) * ACTIONS_A_YEAR[dataset];
    return 1 + Math.floor(events / ACTIONS_A_PAGE);
  };
  let served = 0;
  let fewest = spans.length;
  spans.forEach(({ firstDay }, i) => {
    const requests = pagesFrom(firstDay) + spans.length - i - 1;
    if (requests >= fewest) return;
    fewest = requests;
    served = i + 1;
  });
  const single = spans.slice(served).map((span): ActionTask => {
    const symbols = span.instrument.ranges?.filter(
      ({ startDay, endDay }) => startDay <= span.lastDay && endDay > span.firstDay,
    );
    return { dataset, ...span, covers: [span.instrument], requests: symbols?.length ?? 1 };
  });
  if (served === 0) return single;
  const { firstDay } = spans[served - 1];
  const covers = spans.slice(0, served).map((span) => span.instrument);
  return [{ dataset, covers, firstDay, lastDay, requests: pagesFrom(firstDay) }, ...single];
}

/** Minutes a number of requests takes at the plan's rate; 0 when there is no limit. */
export function planMinutes(requests: number, requestsPerMinute: number | undefined): number {
  if (requestsPerMinute === undefined || requests <= requestsPerMinute) return 0;
  return Math.ceil(requests / requestsPerMinute);
}

/** The budget in a sentence: "412 requests, about 83 minutes on your plan". */
export function describeBudget(requests: number, requestsPerMinute: number | undefined): string {
  const count = `${requests.toLocaleString('en-US')} ${requests === 1 ? 'request' : 'requests'}`;
  if (requests === 0) return 'nothing to ask for: 0 requests';
  const minutes = planMinutes(requests, requestsPerMinute);
  if (minutes === 0) return `${count}, under a minute`;
  return `${count}, about ${minutes.toLocaleString('en-US')} minutes on your plan`;
}
