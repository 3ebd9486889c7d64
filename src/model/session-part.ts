import { type Calendar, newYorkDay, newYorkInstant } from './session.ts';

/**
 * The parts of a trading day. Pre-market begins at 04:00 New York time; after-hours trading ends at
 * 20:00, and four hours after the close when that is early (17:00 after 13:00). What lies outside
 * of them, and any day without a session, is closed.
 */
export const SESSION_PARTS = ['pre_market', 'regular', 'after_hours', 'closed'] as const;
export type SessionPart = (typeof SESSION_PARTS)[number];

/** The number under which a part is stored. */
export const PART = { preMarket: 0, regular: 1, afterHours: 2, closed: 3 } as const;

const PRE_MARKET_OPEN_MINUTES = 4 * 60;
const AFTER_HOURS_MS = 4 * 3_600_000;

/** The instants (epoch ms) at which the parts of a session begin and end. */
export interface SessionHours {
  preMarketMs: number;
  openMs: number;
  closeMs: number;
  /** When after-hours trading ends. */
  endMs: number;
}

/** @throws RangeError when the day is no session. */
export function sessionHours(calendar: Calendar, day: number): SessionHours {
  const openMs = calendar.openMs(day);
  const closeMs = calendar.closeMs(day);
  return {
    preMarketMs: Math.min(newYorkInstant(day, PRE_MARKET_OPEN_MINUTES), openMs),
    openMs,
    closeMs,
    endMs: closeMs + AFTER_HOURS_MS,
  };
}

/**
 * The session whose bars below a day are being made at an instant, from pre-market until its daily
 * bar counts as published; undefined when there is none.
 * @param publishedDay the latest session whose daily bar is published.
 */
export function sessionUnderWay(
  calendar: Calendar,
  nowMs: number,
  publishedDay: number,
): number | undefined {
  const day = newYorkDay(nowMs);
  if (day <= publishedDay || !calendar.isSession(day)) return undefined;
  return nowMs >= sessionHours(calendar, day).preMarketMs ? day : undefined;
}

/** The latest session that can have a bar of a timeframe by now, days; -1 when none can. */
export function latestWithBars(
  calendar: Calendar,
  timeframe: string,
  nowMs: number,
  publishDelayMs: number,
): number {
  const published = calendar.latestSession(nowMs, publishDelayMs);
  if (timeframe === '1d') return published;
  return sessionUnderWay(calendar, nowMs, published) ?? published;
}

/**
 * Tells the part (PART) of a day that what begins at an instant belongs to. With a length, for bars
 * that were cut on the clock: one that overlaps the next part's beginning belongs to it.
 */
export function partFinder(calendar: Calendar, day: number, lengthMs = 1): (ms: number) => number {
  const isKnown = day >= calendar.firstDay && day <= calendar.lastDay;
  if (!isKnown || !calendar.isSession(day)) return () => PART.closed;
  const { preMarketMs, openMs, closeMs, endMs } = sessionHours(calendar, day);
  return (ms) => {
    if (ms + lengthMs <= preMarketMs || ms >= endMs) return PART.closed;
    if (ms + lengthMs <= openMs) return PART.preMarket;
    return ms < closeMs ? PART.regular : PART.afterHours;
  };
}

/** Which part of its day an instant belongs to. */
export function partAt(calendar: Calendar, ms: number): SessionPart {
  return SESSION_PARTS[partFinder(calendar, newYorkDay(ms))(ms)];
}
