import { type CoverageRange, isDue } from '../model/coverage.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import type { Calendar } from '../model/session.ts';

/** What the planner must know of an instrument. */
export interface PlannedInstrument {
  instrumentId: number;
  symbol: string;
  providerSymbol: string;
  /** First and last session on the exchange, days; null when not known or still listed. */
  listedOn: number | null;
  delistedOn: number | null;
  isDescribed: boolean;
}

/** One range request: bars of one symbol, both sessions inclusive. */
export interface RangeTask {
  instrument: PlannedInstrument;
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
  /** First day the provider's plan includes, as far as it was learned; null when not. */
  entitledFrom: number | null;
}

/** Whole-market pages: events a year and events a page, as the vendor counts them. */
const ACTIONS_A_YEAR: Record<ActionDataset, number> = { splits: 1_500, dividends: 60_000 };
const ACTIONS_A_PAGE = 5_000;
/** Pages of the vendor's symbol list, at a thousand each. */
const LIST_PAGES = 12;

/** A due instrument: ascending indexes of its due sessions. */
interface Due {
  instrument: PlannedInstrument;
  sessions: Int32Array;
}

/**
 * The requests that fill what is missing: sessions of the calendar, within listing dates, less
 * coverage. Pure: asks nobody, so that it also answers `--dry-run`.
 */
export function planBackfill(input: PlanInput): BackfillPlan {
  const { calendar, timeframe = '1d' } = input;
  const due = input.instruments
    .map((instrument) => ({ instrument, sessions: dueSessions(input, timeframe, instrument) }))
    .filter(({ sessions }) => sessions.length > 0);
  const refused: RangeTask[] = [];
  const asked = input.entitledFrom === null ? due : splitRefused(due, input, refused);
  const isDaily = timeframe === '1d';
  const { ranges, grouped } = isDaily
    ? chooseRequests(asked, calendar, input.isUnlimited === true)
    : { ranges: chunkRanges(asked, calendar), grouped: [] };
  const actions = isDaily
    ? [...planActions(input, 'splits'), ...planActions(input, 'dividends')]
    : [];
  const describe = input.instruments.filter((instrument) => !instrument.isDescribed);
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
  return {
    ranges,
    grouped,
    refused,
    actions,
    describe,
    describeByList: describe.length > LIST_PAGES,
    dueSessions: due.reduce((total, { sessions }) => total + sessions.length, 0),
    requests,
  };
}

const sum = (tasks: readonly ActionTask[]) => tasks.reduce((all, task) => all + task.requests, 0);

function dueSessions(
  { calendar, coverage, firstDay, lastDay, nowMs, publishedAt, liveDay }: PlanInput,
  dataset: string,
  { instrumentId, listedOn, delistedOn }: PlannedInstrument,
): Int32Array {
  const ranges = coverage[dataset]?.get(instrumentId) ?? [];
  const first = Math.max(firstDay, listedOn ?? firstDay, calendar.firstDay);
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
    if (day === liveDay || isDue(range, nowMs, publishedAt)) found[size++] = index;
  }
  return found.subarray(0, size);
}

/**
 * Sessions in one request for bars below a day. The vendor counts minutes, also for hours, and
 * gives 50,000 of them at most: 04:00 to 20:00 are 960 a session, 48,000 in fifty.
 */
const INTRADAY_SESSIONS_MAX = 50;

/** Requests that are never cut by the vendor's limit; newest first. */
function chunkRanges(due: readonly Due[], calendar: Calendar): RangeTask[] {
  const ranges: RangeTask[] = [];
  for (const { instrument, sessions } of due) {
    for (let last = sessions.length - 1; last >= 0; ) {
      let first = last;
      const isNear = () => sessions[last] - sessions[first - 1] < INTRADAY_SESSIONS_MAX;
      while (first > 0 && isNear()) first--;
      ranges.push({
        instrument,
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
  for (const { instrument, sessions } of due) {
    let cut = 0;
    while (cut < sessions.length && sessions[cut] < boundary) cut++;
    if (cut > 0) {
      refused.push({
        instrument,
        firstDay: calendar.sessionAt(sessions[0]),
        lastDay: calendar.sessionAt(sessions[cut - 1]),
      });
    }
    if (cut < sessions.length) asked.push({ instrument, sessions: sessions.subarray(cut) });
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
  due.forEach(({ instrument, sessions }, position) => {
    if (worst[position] >= groupedSessions.length) {
      const firstDay = calendar.sessionAt(sessions[0]);
      const lastDay = calendar.sessionAt(sessions[sessions.length - 1]);
      ranges.push({ instrument, firstDay, lastDay });
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

/** Splits or dividends: one request a symbol, or the whole market's pages when those are fewer. */
function planActions(input: PlanInput, dataset: ActionDataset): ActionTask[] {
  const { calendar } = input;
  const due = input.instruments
    .map((instrument) => ({ instrument, sessions: dueSessions(input, dataset, instrument) }))
    .filter(({ sessions }) => sessions.length > 0);
  if (due.length === 0) return [];
  const spans = due.map(({ instrument, sessions }) => ({
    instrument,
    firstDay: calendar.sessionAt(sessions[0]),
    lastDay: calendar.sessionAt(sessions[sessions.length - 1]),
  }));
  const firstDay = Math.min(...spans.map((span) => span.firstDay));
  const lastDay = Math.max(...spans.map((span) => span.lastDay));
  const events = ((lastDay - firstDay + 1) / 365.25) * ACTIONS_A_YEAR[dataset];
  const pages = 1 + Math.floor(events / ACTIONS_A_PAGE);
  if (pages < due.length) {
    const covers = spans.map((span) => span.instrument);
    return [{ dataset, covers, firstDay, lastDay, requests: pages }];
  }
  return spans.map((span) => ({ dataset, ...span, covers: [span.instrument], requests: 1 }));
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
