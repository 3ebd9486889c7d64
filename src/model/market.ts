import { type Calendar, isDaylightTime, newYorkDay, toDate } from './session.ts';
import { partAt, type SessionHours, type SessionPart, sessionHours } from './session-part.ts';

/** Whether the exchange is open, why not, and when that changes. Instants are epoch ms UTC. */

export const NEW_YORK = 'America/New_York';

const HOUR_MS = 3_600_000;
const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

// ------------------------------------------------------------------- New York time

/** 'EST' or 'EDT'. */
export function newYorkZone(ms: number): 'EST' | 'EDT' {
  return isDaylightTime(ms) ? 'EDT' : 'EST';
}

function wallText(ms: number): string {
  return new Date(ms - (isDaylightTime(ms) ? 4 : 5) * HOUR_MS).toISOString();
}

/** Wall-clock time in New York with its offset, in whole seconds: 2026-11-27T13:00:00-05:00. */
export function formatNewYork(ms: number): string {
  return `${wallText(ms).slice(0, 19)}${isDaylightTime(ms) ? '-04:00' : '-05:00'}`;
}

/** The time of day in New York: '13:00 EST'. */
export function formatClock(ms: number): string {
  return `${wallText(ms).slice(11, 16)} ${newYorkZone(ms)}`;
}

/** The same instant in UTC, in whole seconds: 2026-11-27T18:00:00Z. */
export function formatUtc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** 'Friday' of days since 1970-01-01, which was a Thursday. */
export function weekdayName(day: number): string {
  return WEEKDAYS[(((day + 4) % 7) + 7) % 7];
}

/** '2 d 17 h 30 min', rounded up to whole minutes: it is never over before it is said to be. */
export function durationText(ms: number): string {
  const minutes = Math.ceil(ms / 60_000);
  const parts = [
    [Math.floor(minutes / 1440), 'd'],
    [Math.floor(minutes / 60) % 24, 'h'],
    [minutes % 60, 'min'],
  ] as const;
  const shown = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`);
  return shown.join(' ') || '0 min';
}

// ----------------------------------------------------------------------------- days

/** A New York date as the exchange sees it. */
export interface MarketDay {
  /** 'YYYY-MM-DD' */
  date: string;
  weekday: string;
  /** Null when the exchange is closed all day. */
  hours: SessionHours | null;
  isEarlyClose: boolean;
  /** Why it is closed all day ('weekend', 'Good Friday', ...); null when it is a session. */
  reason: string | null;
}

/** @throws RangeError when the calendar does not cover the day. */
export function marketDay(calendar: Calendar, day: number): MarketDay {
  const reason = calendar.closureReason(day) ?? null;
  return {
    date: toDate(day),
    weekday: weekdayName(day),
    hours: reason === null ? sessionHours(calendar, day) : null,
    isEarlyClose: calendar.isEarlyClose(day),
    reason,
  };
}

/**
 * The sessions of [firstDay, lastDay], ascending; `withClosed` also the days between them, with
 * the reason.
 * @throws RangeError when the calendar does not cover the days.
 */
export function sessionsBetween(
  calendar: Calendar,
  firstDay: number,
  lastDay: number,
  { withClosed = false } = {},
): MarketDay[] {
  const days = withClosed
    ? Array.from({ length: Math.max(0, lastDay - firstDay + 1) }, (_, i) => firstDay + i)
    : calendar.sessions(firstDay, lastDay);
  return days.map((day) => marketDay(calendar, day));
}

// ---------------------------------------------------------------------------- state

/** Why the exchange is closed at an instant; a holiday is any closure that is no weekend. */
export const CLOSURES = ['weekend', 'holiday', 'before_open', 'after_close'] as const;
export type Closure = (typeof CLOSURES)[number];

export interface MarketState {
  atMs: number;
  /** In regular hours: from the open to just before the close. */
  isOpen: boolean;
  part: SessionPart;
  /** Null when it is open. */
  closure: Closure | null;
  /** Whether it is open and why it is not, in words. */
  sentence: string;
  /** The New York date of the instant. */
  today: MarketDay;
  /** The first open, and the first close, after the instant; null at the calendar's end. */
  nextOpenMs: number | null;
  nextCloseMs: number | null;
}

/** @throws RangeError when the calendar does not cover the instant. */
export function marketAt(calendar: Calendar, atMs: number): MarketState {
  const day = newYorkDay(atMs);
  const today = marketDay(calendar, day);
  const nextOpenMs = firstAfter(calendar, day, atMs, calendar.openMs);
  const nextCloseMs = firstAfter(calendar, day, atMs, calendar.closeMs);
  const { hours } = today;
  const isOpen = hours !== null && atMs >= hours.openMs && atMs < hours.closeMs;
  const closure = isOpen ? null : findClosure(today, atMs);
  return {
    atMs,
    isOpen,
    part: partAt(calendar, atMs),
    closure,
    sentence: describe(today, closure),
    today,
    nextOpenMs,
    nextCloseMs,
  };
}

/** The first of an instant of each session, from `day` on, that is after `atMs`. */
function firstAfter(
  calendar: Calendar,
  day: number,
  atMs: number,
  instantOf: (day: number) => number,
): number | null {
  for (let i = calendar.sessionsBefore(day); i < calendar.sessionCount; i++) {
    const ms = instantOf(calendar.sessionAt(i));
    if (ms > atMs) return ms;
  }
  return null;
}

function findClosure({ hours, reason }: MarketDay, atMs: number): Closure {
  if (hours === null) return reason === 'weekend' ? 'weekend' : 'holiday';
  return atMs < hours.openMs ? 'before_open' : 'after_close';
}

function describe(today: MarketDay, closure: Closure | null): string {
  const { hours, isEarlyClose, weekday, reason } = today;
  if (hours === null) return `closed: ${closure === 'weekend' ? `weekend (${weekday})` : reason}`;
  const close = `${isEarlyClose ? 'early ' : ''}close at ${formatClock(hours.closeMs)}`;
  if (closure === null) return `open until the ${close}`;
  if (closure === 'after_close') return `closed: after the ${close}`;
  return `closed: before the open at ${formatClock(hours.openMs)}`;
}

/** Whether a job that needs the market should start: it is open, or opens within so long. */
export function isOpenWithin({ isOpen, atMs, nextOpenMs }: MarketState, withinMs: number): boolean {
  return isOpen || (nextOpenMs !== null && nextOpenMs - atMs <= withinMs);
}
