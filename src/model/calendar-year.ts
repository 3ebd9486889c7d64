import { describeHours } from './calendar-change.ts';
import { type MarketDay, marketDay } from './market.ts';
import { type Calendar, toDay } from './session.ts';

/** A year of the exchange calendar, as a wall has it. */

export type DayMark = 'session' | 'early' | 'closed' | 'weekend';

export interface CalendarCell {
  date: string;
  dayOfMonth: number;
  mark: DayMark;
  isOverride: boolean;
  isToday: boolean;
  /** What is said of a day that is not like most: 'Good Friday', '09:30 to 13:00 EST'. */
  note: string | null;
}

export interface CalendarMonth {
  name: string;
  /** Monday first; null before the first and after the last of the month. */
  weeks: (CalendarCell | null)[][];
}

export interface CalendarYear {
  year: number;
  months: CalendarMonth[];
  sessions: number;
  /** Days that are no weekend and closed, or close early, or are overridden; ascending. */
  special: (MarketDay & { isOverride: boolean })[];
}

const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September'],
  ...['October', 'November', 'December'],
];

/** That a month may touch: all are equally high. */
const WEEKS = 6;

/** Monday 0 to Sunday 6 of days since 1970-01-01, which was a Thursday. */
const weekday = (day: number) => (((day + 3) % 7) + 7) % 7;

/**
 * @param overridden the dates that an operator has said something of.
 * @param today days since 1970-01-01.
 * @throws RangeError when the calendar does not cover the year.
 */
export function calendarYear(
  calendar: Calendar,
  year: number,
  overridden: ReadonlySet<string>,
  today: number,
): CalendarYear {
  const special: CalendarYear['special'] = [];
  let sessions = 0;
  const months = MONTHS.map((name, i): CalendarMonth => {
    const first = toDay(`${year}-${String(i + 1).padStart(2, '0')}-01`);
    const next = i === 11 ? toDay(`${year}-12-31`) + 1 : monthAfter(year, i);
    const cells: (CalendarCell | null)[] = new Array(weekday(first)).fill(null);
    for (let day = first; day < next; day++) {
      const found = marketDay(calendar, day);
      const isOverride = overridden.has(found.date);
      const mark = markOf(found);
      if (found.hours !== null) sessions++;
      if (isOverride || mark === 'early' || mark === 'closed')
        special.push({ ...found, isOverride });
      const note = noteOf(found, isOverride);
      const dayOfMonth = day - first + 1;
      cells.push({ date: found.date, dayOfMonth, mark, isOverride, isToday: day === today, note });
    }
    while (cells.length < 7 * WEEKS) cells.push(null);
    const weeks = Array.from({ length: WEEKS }, (_, w) => cells.slice(7 * w, 7 * w + 7));
    return { name, weeks };
  });
  return { year, months, sessions, special };
}

const monthAfter = (year: number, index: number) =>
  toDay(`${year}-${String(index + 2).padStart(2, '0')}-01`);

function markOf({ hours, isEarlyClose, reason }: MarketDay): DayMark {
  if (hours === null) return reason === 'weekend' ? 'weekend' : 'closed';
  return isEarlyClose ? 'early' : 'session';
}

function noteOf(day: MarketDay, isOverride: boolean): string | null {
  if (day.hours === null) return day.reason === 'weekend' ? null : day.reason;
  return day.isEarlyClose || isOverride ? describeHours(day) : null;
}
