import type { CoverageState } from './coverage.ts';
import { type Calendar, toDate } from './session.ts';
import { lowerBound } from './sorted.ts';

/** Why a session has no bar, in the one set of words for it. */
export type AbsenceState =
  | 'missing' // a bar was given once, yet none is stored
  | 'vendor_empty' // the provider was asked and gave none
  | 'not_entitled' // the plan with the provider does not include the session
  | 'before_listing'
  | 'after_delisting'
  | 'closed' // the exchange had no session
  | 'unfetched'; // nobody was asked, or it is too early to ask

/** The words for a session: whether its bar is held, or why not. */
export type SessionState = 'complete' | AbsenceState;

export const SESSION_STATES = [
  ...['complete', 'missing', 'vendor_empty', 'not_entitled', 'before_listing'],
  ...['after_delisting', 'closed', 'unfetched'],
] as readonly SessionState[];

/** What is recorded of the sessions from `start` until before `end`, days since 1970-01-01. */
export interface CoverageSlice {
  start: number;
  /** Exclusive. */
  end: number;
  state: CoverageState;
  detail: string | null;
}

/** Which sessions are looked at, days since 1970-01-01. */
export interface SessionsAsked {
  /** Both inclusive. */
  firstDay: number;
  lastDay: number;
  /** The latest session that can have a bar by now; -1 when none can. */
  latestDay: number;
  /** First and last session on the exchange; null when not known or still listed. */
  listedOn: number | null;
  delistedOn: number | null;
}

/** Sessions in a row of which the same is to be said. */
export interface ClassifiedRange<S extends CoverageSlice = CoverageSlice> {
  /**
   * The first and the last session of the run, both inclusive; of a range without a session, its
   * first and last day.
   */
  startDay: number;
  endDay: number;
  state: SessionState;
  sessions: number;
  detail: string | null;
  /** What is recorded of it, ascending; empty where nothing is. */
  slices: readonly S[];
}

const NOT_PUBLISHED = 'these sessions have not been published yet';
const LISTED_EARLIER =
  'these sessions were taken for earlier than the listing, and are not by what is known now';
const NO_LONGER_GIVEN = 'held from before: the provider gave no bar when it was asked last';

/**
 * Says of every session of [firstDay, lastDay] whether its bar is held, and if not, why. Runs go
 * over weekends and holidays; they end where the state, its detail, or what is recorded beside it
 * (provider, attempts, when it is asked again) changes. A range without a session is one that is
 * `closed`, or `unfetched` outside of the calendar. Bars of days that are no session are not looked
 * at: see `findPhantoms`.
 * @param slices ascending, not overlapping.
 * @param heldDays days that have a bar, ascending; days outside of the range do no harm.
 */
export function classifySessions<S extends CoverageSlice>(
  calendar: Calendar,
  slices: readonly S[],
  heldDays: ArrayLike<number>,
  asked: SessionsAsked,
): ClassifiedRange<S>[] {
  const first = Math.max(asked.firstDay, calendar.firstDay);
  const last = Math.min(asked.lastDay, calendar.lastDay);
  const from = first > last ? 0 : calendar.sessionsBefore(first);
  const to = first > last ? 0 : calendar.sessionsBefore(last + 1);
  if (from === to) return [describeClosed(calendar, asked)];
  const ranges: Run<S>[] = [];
  let held = lowerBound(heldDays, first);
  let next = 0;
  for (let index = from; index < to; index++) {
    const day = calendar.sessionAt(index);
    while (held < heldDays.length && heldDays[held] < day) held++;
    while (next < slices.length && slices[next].end <= day) next++;
    const slice = next < slices.length && slices[next].start <= day ? slices[next] : undefined;
    const isHeld = held < heldDays.length && heldDays[held] === day;
    const found = isHeld ? describeHeld(slice) : describeAbsent(day, slice, asked);
    append(ranges, day, found, slice);
  }
  return ranges;
}

interface Found {
  state: SessionState;
  detail: string | null;
}

interface Run<S extends CoverageSlice> extends ClassifiedRange<S> {
  slices: S[];
}

const HELD: Found = { state: 'complete', detail: null };
const HELD_FROM_BEFORE: Found = { state: 'complete', detail: NO_LONGER_GIVEN };
const BEFORE_LISTING: Found = { state: 'before_listing', detail: null };
const AFTER_DELISTING: Found = { state: 'after_delisting', detail: null };
const UNPUBLISHED: Found = { state: 'unfetched', detail: NOT_PUBLISHED };
const UNFETCHED: Found = { state: 'unfetched', detail: null };
const UNFETCHED_LISTED: Found = { state: 'unfetched', detail: LISTED_EARLIER };

function describeHeld(slice: CoverageSlice | undefined): Found {
  return slice?.state === 'vendor_empty' ? HELD_FROM_BEFORE : HELD;
}

function describeAbsent(
  day: number,
  slice: CoverageSlice | undefined,
  { latestDay, listedOn, delistedOn }: SessionsAsked,
): Found {
  // What is known of the listing now overrules what it was when somebody was asked.
  if (listedOn !== null && day < listedOn) return BEFORE_LISTING;
  if (delistedOn !== null && day > delistedOn) return AFTER_DELISTING;
  if (day > latestDay) return UNPUBLISHED;
  if (slice === undefined) return UNFETCHED;
  const { state, detail } = slice;
  if (state === 'complete') return { state: 'missing', detail };
  if (state === 'before_listing' && listedOn !== null) return UNFETCHED_LISTED;
  return { state, detail };
}

/** What a slice may say besides, where its reader has read it. */
type Recorded = CoverageSlice & { provider?: string; attempts?: number; retryAt?: number | null };

/** Counts a session into the last run, or begins the next one. */
function append<S extends CoverageSlice>(
  ranges: Run<S>[],
  day: number,
  { state, detail }: Found,
  slice: S | undefined,
): void {
  const range = ranges.at(-1);
  const before: Recorded | undefined = range?.slices.at(-1);
  const isMore =
    range !== undefined &&
    range.state === state &&
    range.detail === detail &&
    (before === slice || isAlike(before, slice));
  if (!isMore) {
    const slices = slice === undefined ? [] : [slice];
    ranges.push({ startDay: day, endDay: day, state, sessions: 1, detail, slices });
    return;
  }
  range.endDay = day;
  range.sessions++;
  if (slice !== undefined && before !== slice) range.slices.push(slice);
}

function isAlike(a: Recorded | undefined, b: Recorded | undefined): boolean {
  return a?.provider === b?.provider && a?.attempts === b?.attempts && a?.retryAt === b?.retryAt;
}

function describeClosed<S extends CoverageSlice>(
  calendar: Calendar,
  { firstDay, lastDay }: SessionsAsked,
): ClassifiedRange<S> {
  const range = { startDay: firstDay, endDay: lastDay, sessions: 0, slices: [] };
  if (lastDay < calendar.firstDay || firstDay > calendar.lastDay) {
    const known = `${toDate(calendar.firstDay)} to ${toDate(calendar.lastDay)}`;
    return { ...range, state: 'unfetched', detail: `the calendar covers ${known}` };
  }
  const first = Math.max(firstDay, calendar.firstDay);
  return { ...range, state: 'closed', detail: calendar.closureReason(first) ?? 'closed' };
}

/**
 * Days of [firstDay, lastDay] that have a bar although the exchange was closed, ascending.
 * @param heldDays ascending.
 */
export function findPhantoms(
  calendar: Calendar,
  heldDays: ArrayLike<number>,
  firstDay: number,
  lastDay: number,
): number[] {
  const first = Math.max(firstDay, calendar.firstDay);
  const last = Math.min(lastDay, calendar.lastDay);
  const days: number[] = [];
  for (let i = lowerBound(heldDays, first); i < heldDays.length && heldDays[i] <= last; i++) {
    if (!calendar.isSession(heldDays[i])) days.push(heldDays[i]);
  }
  return days;
}

/** How often a session is one of a state. */
export type StateTotals = Record<SessionState, number>;

export function countStates(ranges: readonly ClassifiedRange[]): StateTotals {
  const totals = Object.fromEntries(SESSION_STATES.map((state) => [state, 0])) as StateTotals;
  for (const { state, sessions } of ranges) totals[state] += sessions;
  return totals;
}

// ---------------------------------------------------------------------------- words

/** Why sessions of a state have no bar, in a sentence. */
export function absenceMessage(state: AbsenceState, detail: string | null): string {
  const added = detail === null ? '' : `: ${detail}`;
  switch (state) {
    case 'missing':
      return `the sessions are covered, yet no bar is stored${added}`;
    case 'vendor_empty':
      return `the provider was asked and gave no bar; it is asked again${added}`;
    case 'not_entitled':
      return `the plan with the provider does not include these sessions${added}`;
    case 'before_listing':
      return `the symbol was not listed yet${added}`;
    case 'after_delisting':
      return `the symbol was not listed any more${added}`;
    case 'closed':
      return `the exchange had no session in this range (${detail ?? 'closed'})`;
    case 'unfetched':
      return detail ?? 'these sessions were never asked for';
  }
}

/** What an answer lacks. */
export interface AbsenceReport {
  /** Sessions without a bar. */
  count: number;
  /** The first hundred runs of them, or the one range that has no session; dates, inclusive. */
  ranges: {
    start: string;
    end: string;
    state: AbsenceState;
    sessions: number;
    message: string;
  }[];
}

const RANGES_NAMED_MAX = 100;

const isAbsent = (range: ClassifiedRange): range is ClassifiedRange & { state: AbsenceState } =>
  range.state !== 'complete';

/** The sessions of a range that an answer has no bar of, with the reasons: `classifySessions`. */
export function describeAbsence(
  calendar: Calendar,
  slices: readonly CoverageSlice[],
  heldDays: ArrayLike<number>,
  asked: SessionsAsked,
): AbsenceReport {
  const absent = classifySessions(calendar, slices, heldDays, asked).filter(isAbsent);
  return {
    count: absent.reduce((sum, { sessions }) => sum + sessions, 0),
    ranges: absent.slice(0, RANGES_NAMED_MAX).map((range) => ({
      start: toDate(range.startDay),
      end: toDate(range.endDay),
      state: range.state,
      sessions: range.sessions,
      message: absenceMessage(range.state, range.detail),
    })),
  };
}

/** Why there is no bar at all: the reason of most sessions; of two with as many the earlier. */
export function mainAbsence(ranges: readonly ClassifiedRange[]): {
  reason: AbsenceState;
  message: string;
} {
  const absent = ranges.filter(isAbsent);
  const totals = countStates(absent);
  const [first] = absent.toSorted((a, b) => totals[b.state] - totals[a.state]);
  if (!first) throw new Error('every session has its bar');
  const longest = absent
    .filter(({ state }) => state === first.state)
    .reduce((a, b) => (b.sessions > a.sessions ? b : a));
  return { reason: first.state, message: absenceMessage(longest.state, longest.detail) };
}
