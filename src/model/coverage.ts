import type { Calendar } from './session.ts';

/** What became of the sessions of a range that a provider was asked for. */
export type CoverageState = 'complete' | 'vendor_empty' | 'not_entitled' | 'before_listing';

export interface CoverageRange {
  /** First session, days since 1970-01-01. */
  start: number;
  /** The session after the last one: exclusive, so neighbours touch across weekends. */
  end: number;
  state: CoverageState;
  /** Asked after the revision window: the answer is not expected to change any more. */
  isSettled: boolean;
  provider: string;
  /** Epoch ms. */
  askedAt: number;
  /** How often in a row the answer was the same refusal or emptiness. */
  attempts: number;
  /** Not asked again before this instant, epoch ms; null: never of itself. */
  retryAt: number | null;
  detail: string | null;
}

/** A provider's answer about the sessions from `start` until before `end`. */
export interface CoverageAnswer {
  start: number;
  end: number;
  provider: string;
  askedAt: number;
  /** Sessions before this day are settled when answered. */
  settledBefore: number;
  /** True when the provider gave a bar for the session. */
  hasBar: (day: number) => boolean;
  /** Why a session without a bar has none; null when there is nothing to say. */
  emptyDetail?: (day: number) => string | null;
  /** When what is complete and settled is asked for again, epoch ms; undefined: never. */
  completeUntil?: number;
  /** First session on the exchange: days before it are `before_listing`. */
  listedOn: number | null;
  /** Set when the provider refused the whole range. */
  refusal?: string;
}

const HOUR_MS = 3_600_000;
const RETRY_FIRST_MS = 20 * HOUR_MS;
const RETRY_LAST_MS = 30 * 24 * HOUR_MS;

/**
 * When an empty answer is asked again: the next night, then after twice as long each time, at most
 * a month. A session that is truly without a trade thus costs a request a month, not one a night.
 */
export function retryDelayMs(attempts: number): number {
  return Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempts - 1, 20));
}

/** The coverage of one instrument after an answer. `ranges` are ascending and do not overlap. */
export function recordAnswer(
  ranges: readonly CoverageRange[],
  answer: CoverageAnswer,
  calendar: Calendar,
): CoverageRange[] {
  const fresh: CoverageRange[] = [];
  let previous = 0;
  for (let i = calendar.sessionsBefore(answer.start); i < calendar.sessionCount; i++) {
    const day = calendar.sessionAt(i);
    if (day >= answer.end) break;
    while (previous < ranges.length && ranges[previous].end <= day) previous++;
    const before = previous < ranges.length ? ranges[previous] : undefined;
    const old = before && before.start <= day ? before : undefined;
    const end = i + 1 < calendar.sessionCount ? calendar.sessionAt(i + 1) : day + 1;
    append(fresh, sessionRange(day, end, answer, old));
  }
  return overlay(ranges, fresh);
}

function sessionRange(
  day: number,
  end: number,
  answer: CoverageAnswer,
  old: CoverageRange | undefined,
): CoverageRange {
  const range: CoverageRange = {
    start: day,
    end,
    state: 'complete',
    isSettled: day < answer.settledBefore,
    provider: answer.provider,
    askedAt: answer.askedAt,
    attempts: 1,
    retryAt: null,
    detail: null,
  };
  if (answer.refusal === undefined && answer.hasBar(day)) {
    return { ...range, retryAt: answer.completeUntil ?? null };
  }
  if (answer.listedOn !== null && day < answer.listedOn) {
    return { ...range, state: 'before_listing', isSettled: true };
  }
  if (answer.refusal !== undefined) {
    const retryAt = answer.askedAt + RETRY_LAST_MS;
    return { ...range, state: 'not_entitled', retryAt, detail: answer.refusal };
  }
  const attempts = old?.state === 'vendor_empty' ? old.attempts + 1 : 1;
  const retryAt = answer.askedAt + retryDelayMs(attempts);
  const detail = answer.emptyDetail?.(day) ?? null;
  return { ...range, state: 'vendor_empty', attempts, retryAt, detail };
}

/** `fresh` laid over `ranges`, alike neighbours joined. Both ascending; the result as well. */
export function overlay(
  ranges: readonly CoverageRange[],
  fresh: readonly CoverageRange[],
): CoverageRange[] {
  const cut: CoverageRange[] = [];
  let i = 0;
  for (const range of ranges) {
    let start = range.start;
    while (i < fresh.length && fresh[i].end <= start) i++;
    let j = i;
    while (j < fresh.length && fresh[j].start < range.end) {
      if (fresh[j].start > start) cut.push({ ...range, start, end: fresh[j].start });
      start = Math.max(start, fresh[j].end);
      j++;
    }
    if (start < range.end) cut.push({ ...range, start });
  }
  const all = [...cut, ...fresh].sort((a, b) => a.start - b.start);
  const joined: CoverageRange[] = [];
  for (const range of all) append(joined, range);
  return joined;
}

/** `ranges` as if nobody had been asked for some days. Both ascending. */
export function withoutDays(
  ranges: readonly CoverageRange[],
  days: readonly number[],
): CoverageRange[] {
  const left: CoverageRange[] = [];
  let next = 0;
  for (const range of ranges) {
    let { start } = range;
    while (next < days.length && days[next] < start) next++;
    for (; next < days.length && days[next] < range.end; next++) {
      if (days[next] > start) left.push({ ...range, start, end: days[next] });
      start = days[next] + 1;
    }
    if (start < range.end) left.push({ ...range, start });
  }
  return left;
}

/** Adds a range at the end, joining it with the last one when they say the same. */
function append(ranges: CoverageRange[], range: CoverageRange): void {
  const last = ranges.at(-1);
  if (last && last.end === range.start && isAlike(last, range)) {
    ranges[ranges.length - 1] = {
      ...last,
      end: range.end,
      askedAt: Math.max(last.askedAt, range.askedAt),
    };
  } else {
    ranges.push({ ...range });
  }
}

function isAlike(a: CoverageRange, b: CoverageRange): boolean {
  if (a.state !== b.state || a.isSettled !== b.isSettled || a.provider !== b.provider) return false;
  if (a.detail !== b.detail || a.attempts !== b.attempts || a.retryAt !== b.retryAt) return false;
  // When a settled range was asked is history; of an unsettled one it decides when to ask again.
  return a.isSettled || a.askedAt === b.askedAt;
}

/**
 * True when a session must be asked for (again).
 * @param publishedAt when the latest published session became available, epoch ms: an unsettled
 *   answer is asked again once for each newly published session.
 */
export function isDue(
  range: CoverageRange | undefined,
  nowMs: number,
  publishedAt: number,
): boolean {
  if (range === undefined) return true;
  if (range.state === 'complete' && !range.isSettled) return range.askedAt < publishedAt;
  return range.retryAt !== null && range.retryAt <= nowMs;
}
