import { toDate, toDay } from './session.ts';

/**
 * When a symbol meant an instrument: from `startDay` until, not including, `endDay`; days since
 * 1970-01-01, infinite where the range is open.
 */
export interface SymbolRange {
  symbol: string;
  startDay: number;
  endDay: number;
  /** Who says so: a provider, 'map' (a file) or 'operator'; null: it is assumed. */
  source: string | null;
}

/** A day of a range as the database writes it: a date, 'infinity' or '-infinity'. */
export function toRangeDay(text: string): number {
  if (text === 'infinity') return Number.POSITIVE_INFINITY;
  return text === '-infinity' ? Number.NEGATIVE_INFINITY : toDay(text);
}

/** The inverse of `toRangeDay`. */
export function toRangeDate(day: number): string {
  if (Number.isFinite(day)) return toDate(day);
  return day > 0 ? 'infinity' : '-infinity';
}

/** A range of days, the end exclusive. */
type Days = Pick<SymbolRange, 'startDay' | 'endDay'>;

export function isHeld({ startDay, endDay }: Days, day: number): boolean {
  return startDay <= day && day < endDay;
}

export function isOverlapping(a: Days, b: Days): boolean {
  return a.startDay < b.endDay && b.startDay < a.endDay;
}

/** '2012-05-18 to 2022-06-08', both inclusive; 'until' or 'since' where it is open. */
export function describeRange({ startDay, endDay }: Days): string {
  if (startDay === -Infinity) return endDay === Infinity ? 'always' : `until ${toDate(endDay - 1)}`;
  if (endDay === Infinity) return `since ${toDate(startDay)}`;
  return `${toDate(startDay)} to ${toDate(endDay - 1)}`;
}
