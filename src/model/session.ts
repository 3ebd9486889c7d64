import { InputError } from '../errors.ts';
import { countUpTo } from './sorted.ts';

/**
 * The XNYS calendar: which New York dates are sessions, and when each opens and closes.
 *
 * It is RULES (holidays, early closes, daylight saving) and a list of EXCEPTIONS (mourning, storms,
 * attacks, half sessions granted once). An operator's overrides have the form of an exception and
 * are applied after them, so a closure announced tomorrow needs no new release, nor a restart: the
 * calendar that all parts of a process share takes it while it is in use. Hours are those of the
 * whole session: a halt, or an opening delayed by minutes, is not the calendar's business.
 *
 * A day is the number of days since 1970-01-01, an instant is epoch milliseconds UTC, and a
 * wall-clock time is minutes after midnight in New York.
 */

/** One exchange closure or changed hours, from the list of exceptions or by hand. */
export interface CalendarOverride {
  /** 'YYYY-MM-DD' */
  date: string;
  /** 'closed', or a session with these hours in New York time, 'HH:MM'. */
  kind: 'closed' | 'session';
  /** 'HH:MM', '09:30' when missing; only with kind 'session'. */
  open?: string;
  /** 'HH:MM', '16:00' when missing; only with kind 'session'. */
  close?: string;
  /** For people; it is the `closureReason` of a closed day. */
  reason: string;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

const SUNDAY = 0;
const MONDAY = 1;
const THURSDAY = 4;
const SATURDAY = 6;

/** The regular session: 09:30 to 16:00 New York time. */
const REGULAR_OPEN = 9 * 60 + 30;
const REGULAR_CLOSE = 16 * 60;

// ---------------------------------------------------------------------------- dates

const DATE_FORM = /^\d{4}-\d{2}-\d{2}$/;

/** Days since 1970-01-01 of a 'YYYY-MM-DD' date. NaN when it is not a real date in that form. */
export function toDay(date: string): number {
  if (!DATE_FORM.test(date)) return Number.NaN;
  const month = twoDigits(date, 5);
  const dayOfMonth = twoDigits(date, 8);
  if (month < 1 || month > 12 || dayOfMonth < 1) return Number.NaN;
  const day = dayOf(100 * twoDigits(date, 0) + twoDigits(date, 2), month, dayOfMonth);
  // Every month has 28 days; a later one is real when it does not run over into the next month.
  return dayOfMonth <= 28 || toDate(day) === date ? day : Number.NaN;
}

/** Number(text.slice(at, at + 2)) of digits, 4 times as fast: files of bars are full of dates. */
function twoDigits(text: string, at: number): number {
  return 10 * (text.charCodeAt(at) - 48) + text.charCodeAt(at + 1) - 48;
}

/**
 * 'YYYY-MM-DD' of days since 1970-01-01.
 * @throws RangeError when it is no whole number of days, or not in the years 0000 to 9999.
 */
export function toDate(day: number): string {
  if (!isDatable(day)) {
    throw new RangeError(`day ${day} is no date: allowed are whole days of the years 0000 to 9999`);
  }
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function isDatable(day: number): boolean {
  return Number.isInteger(day) && day >= dayOf(0, 1, 1) && day <= dayOf(9999, 12, 31);
}

/** The day of a date of the Gregorian calendar; `month` and `dayOfMonth` count from 1. */
function dayOf(year: number, month: number, dayOfMonth: number): number {
  // Counted from 1 March: the leap day comes last and no month after it needs to know of it.
  const y = month > 2 ? year : year - 1;
  const monthsSinceMarch = (month + 9) % 12;
  const leapDays = Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400);
  const dayOfYear = Math.floor((153 * monthsSinceMarch + 2) / 5) + dayOfMonth - 1;
  return 365 * y + leapDays + dayOfYear - 719_468; // days from 0000-03-01 to 1970-01-01
}

/** 0 is Sunday. */
function weekdayOf(day: number): number {
  return (((day + THURSDAY) % 7) + 7) % 7; // 1970-01-01 was a Thursday
}

function isWeekend(day: number): boolean {
  const weekday = weekdayOf(day);
  return weekday === SATURDAY || weekday === SUNDAY;
}

function nthWeekday(year: number, month: number, weekday: number, n: number): number {
  const first = dayOf(year, month, 1);
  return first + ((weekday - weekdayOf(first) + 7) % 7) + 7 * (n - 1);
}

/** `month` is any but December. */
function lastWeekday(year: number, month: number, weekday: number): number {
  return nthWeekday(year, month + 1, weekday, 1) - 7;
}

// ------------------------------------------------------------------- New York time

/**
 * The New York calendar day an instant (epoch ms) falls on. Daylight saving is exact from 1987 on;
 * before, the rule of 1987 is applied, which can be an hour off in April.
 */
export function newYorkDay(ms: number): number {
  return Math.floor((ms - (isDaylightTime(ms) ? 4 : 5) * HOUR_MS) / DAY_MS);
}

/** The date `years` before today in New York: where the history to keep begins. */
export function yearsAgo(years: number, nowMs: number): string {
  const [year, month, day] = toDate(newYorkDay(nowMs)).split('-');
  const date = `${Number(year) - years}-${month}-${day}`;
  // 29 February has no twin in most years.
  return Number.isNaN(toDay(date)) ? `${date.slice(0, 8)}28` : date;
}

/**
 * Epoch ms of a New York wall-clock time on a day. minutes = minutes after midnight.
 * A time that comes twice (01:30 when clocks go back) is the first of the two; a time that never
 * comes (02:30 when clocks go forward) is shifted forward by the missing hour, to 03:30.
 * Daylight saving as in `newYorkDay`.
 */
export function newYorkInstant(day: number, minutes: number): number {
  const wallMs = day * DAY_MS + minutes * MINUTE_MS;
  // Daylight time is tried first: that alone decides both special hours as promised above.
  const daylightMs = wallMs + 4 * HOUR_MS;
  return isDaylightTime(daylightMs) ? daylightMs : wallMs + 5 * HOUR_MS;
}

/**
 * Whether New York has daylight saving time at an instant, by 15 U.S.C. 260a: from the first Sunday
 * of April to the last of October (1987 to 2006, Public Law 99-359), from the second Sunday of
 * March to the first of November (since 2007, Energy Policy Act of 2005). Switches are at 02:00.
 * Not by Intl: that takes 25 times as long.
 */
export function isDaylightTime(ms: number): boolean {
  const date = new Date(ms);
  const month = date.getUTCMonth() + 1;
  if (month >= 5 && month <= 9) return true;
  if (month <= 2 || month === 12) return false;
  const year = date.getUTCFullYear();
  const isLong = year >= 2007;
  const start = isLong ? nthWeekday(year, 3, SUNDAY, 2) : nthWeekday(year, 4, SUNDAY, 1);
  if (ms < start * DAY_MS + 7 * HOUR_MS) return false; // 02:00 standard time is 07:00 UTC
  const end = isLong ? nthWeekday(year, 11, SUNDAY, 1) : lastWeekday(year, 10, SUNDAY);
  return ms < end * DAY_MS + 6 * HOUR_MS; // 02:00 daylight time is 06:00 UTC
}

// ----------------------------------------------------------------------------- rules

interface Rule {
  /** First year the rule is in force; always in the calendar's years when missing. */
  since?: number;
  /** The day in a year. One on a weekend has no effect. */
  day: (year: number) => number;
}

interface Holiday extends Rule {
  name: string;
}

/**
 * Full-day holidays, NYSE Rule 7.2: one on a Saturday closes the Friday before, one on a Sunday the
 * Monday after, unless unusual business conditions exist, such as the end of an accounting year.
 */
const HOLIDAYS: readonly Holiday[] = [
  // On a Saturday it is not observed: the Friday before is the end of the accounting year.
  { name: "New Year's Day", day: (year) => mondayForSunday(dayOf(year, 1, 1)) },
  {
    name: 'Martin Luther King Jr. Day',
    since: 1998,
    day: (year) => nthWeekday(year, 1, MONDAY, 3),
  },
  // "Washington's Birthday" in Rule 7.2.
  { name: "Presidents' Day", day: (year) => nthWeekday(year, 2, MONDAY, 3) },
  { name: 'Good Friday', day: (year) => easterSunday(year) - 2 },
  { name: 'Memorial Day', day: (year) => lastWeekday(year, 5, MONDAY) },
  { name: 'Juneteenth', since: 2022, day: (year) => nearestWeekday(dayOf(year, 6, 19)) },
  { name: 'Independence Day', day: (year) => nearestWeekday(dayOf(year, 7, 4)) },
  { name: 'Labor Day', day: (year) => nthWeekday(year, 9, MONDAY, 1) },
  { name: 'Thanksgiving Day', day: thanksgiving },
  { name: 'Christmas Day', day: (year) => nearestWeekday(dayOf(year, 12, 25)) },
];

/**
 * Sessions that close early. No rule of the exchange fixes them: it announces them with the
 * holidays, and this is the pattern of all its announcements for 1990 to 2028. A day that is no
 * session (24 December as Christmas observed, 3 July as Independence Day observed) stays closed.
 */
const EARLY_CLOSES: readonly Rule[] = [
  { day: christmasEve },
  { since: 1992, day: dayAfterThanksgiving },
  { since: 1995, day: independenceHalfDay },
];

/** Early closes were at 14:00 before 1993, and are at 13:00 since. */
function earlyCloseMinutes(year: number): number {
  return year < 1993 ? 14 * 60 : 13 * 60;
}

function christmasEve(year: number): number {
  return dayOf(year, 12, 24);
}

function dayAfterThanksgiving(year: number): number {
  return thanksgiving(year) + 1;
}

/** 3 July; but the Friday after a holiday on a Thursday until 2012 (1996 and 2002). */
function independenceHalfDay(year: number): number {
  const holiday = dayOf(year, 7, 4);
  return year < 2013 && weekdayOf(holiday) === THURSDAY ? holiday + 1 : holiday - 1;
}

function thanksgiving(year: number): number {
  return nthWeekday(year, 11, THURSDAY, 4);
}

function mondayForSunday(day: number): number {
  return weekdayOf(day) === SUNDAY ? day + 1 : day;
}

function nearestWeekday(day: number): number {
  return weekdayOf(day) === SATURDAY ? day - 1 : mondayForSunday(day);
}

/** Gregorian Easter by the anonymous computus (Meeus, Astronomical Algorithms, chapter 8). */
function easterSunday(year: number): number {
  const golden = year % 19;
  const century = Math.floor(year / 100);
  const yearOfCentury = year % 100;
  const moonShift = Math.floor((century - Math.floor((century + 8) / 25) + 1) / 3);
  const epact = (19 * golden + century - Math.floor(century / 4) - moonShift + 15) % 30;
  const leapYears = 2 * (century % 4) + 2 * Math.floor(yearOfCentury / 4);
  const toSunday = (32 + leapYears - epact - (yearOfCentury % 4)) % 7;
  const late = Math.floor((golden + 11 * epact + 22 * toSunday) / 451);
  // 22 March is the earliest Easter there is.
  return dayOf(year, 3, 22) + epact + toSunday - 7 * late;
}

// ------------------------------------------------------------------------ exceptions

const closed = (date: string, reason: string): CalendarOverride => ({
  date,
  kind: 'closed',
  reason,
});

const halfSession = (date: string, reason: string): CalendarOverride => ({
  date,
  kind: 'session',
  close: '13:00',
  reason,
});

/** What no rule foresaw, ascending. A new one is added here once the exchange has announced it. */
const EXCEPTIONS: readonly CalendarOverride[] = [
  closed('1994-04-27', 'Day of mourning for Richard Nixon'),
  halfSession('1997-12-26', 'Friday after Christmas'),
  halfSession('1999-12-31', 'Eve of the year 2000'),
  closed('2001-09-11', 'Attacks of September 11'),
  closed('2001-09-12', 'Attacks of September 11'),
  closed('2001-09-13', 'Attacks of September 11'),
  closed('2001-09-14', 'Attacks of September 11'),
  halfSession('2003-12-26', 'Friday after Christmas'),
  closed('2004-06-11', 'Day of mourning for Ronald Reagan'),
  closed('2007-01-02', 'Day of mourning for Gerald Ford'),
  closed('2012-10-29', 'Hurricane Sandy'),
  closed('2012-10-30', 'Hurricane Sandy'),
  closed('2018-12-05', 'Day of mourning for George H. W. Bush'),
  closed('2025-01-09', 'Day of mourning for Jimmy Carter'),
];

// -------------------------------------------------------------------------- calendar

const FIRST_YEAR = 1990;
const LAST_YEAR = 2049;
const FIRST_DAY = dayOf(FIRST_YEAR, 1, 1);
const LAST_DAY = dayOf(LAST_YEAR, 12, 31);
const DAYS = LAST_DAY - FIRST_DAY + 1;

/** Every method that takes a day throws RangeError when it lies outside [firstDay, lastDay]. */
export interface Calendar {
  /** First and last day the calendar knows. */
  firstDay: number;
  lastDay: number;
  isSession(day: number): boolean;
  /** Position of a session among all sessions (0 = first of 1990); -1 when it is none. */
  sessionIndex(day: number): number;
  /**
   * How many sessions lie before `day` (so: index of the first session on or after it). Also knows
   * the day after the last one, which ends a range.
   */
  sessionsBefore(day: number): number;
  /** The session at a position. @throws RangeError outside. */
  sessionAt(index: number): number;
  readonly sessionCount: number;
  /** Sessions in [firstDay, lastDay], ascending. */
  sessions(firstDay: number, lastDay: number): number[];
  /** Open and close of a session, epoch ms UTC. @throws RangeError when the day is no session. */
  openMs(day: number): number;
  closeMs(day: number): number;
  /** Whether a session closes before 16:00 New York time; false when the day is no session. */
  isEarlyClose(day: number): boolean;
  /** Why a day is no session ('weekend', 'Good Friday', ...); undefined when it is one. */
  closureReason(day: number): string | undefined;
  /**
   * The latest session whose close plus delay is at or before the instant; -1 when none is.
   * @throws RangeError when sessions after the calendar's last day may have closed by then.
   */
  latestSession(atMs: number, delayMs: number): number;
}

/** A calendar whose overrides can become others while it is in use. */
export interface LiveCalendar extends Calendar {
  /**
   * Takes other overrides in place of those it has, for everybody who holds the calendar; all of
   * them or, when one is malformed, none. About 10 ms.
   * @returns whether that changes any day: its hours, or why it is closed.
   * @throws InputError as `makeCalendar`.
   */
  replace(overrides: readonly CalendarOverride[]): boolean;
}

/** The hours of each day, at day - FIRST_DAY. */
interface Hours {
  /** Minutes after midnight in New York; CLOSED when the day is no session. */
  open: Int16Array;
  close: Int16Array;
  /** Why a day is closed that would not be for the weekend. */
  closures: Map<number, string>;
}

const CLOSED = -1;

/**
 * The calendar from 1990-01-01 to 2049-12-31 with overrides applied. Built once: about 10 ms.
 * Of two overrides of one date the later in the list wins.
 * @throws InputError when an override is malformed; it says which and what is allowed.
 */
export function makeCalendar(overrides: readonly CalendarOverride[] = []): LiveCalendar {
  let hours = hoursWith(overrides);
  // Never made anew: `replace` writes into them, so that reading them costs what it did when they
  // could not change.
  const tables = makeTables();
  const { index, before, day: days, openMs, closeMs } = tables;
  let sessionCount = tabulate(hours, tables);
  const endMs = newYorkInstant(LAST_DAY + 1, 0);

  // The hot path, 3 million calls a second: one read of a typed array, whose undefined outside of
  // its bounds is the only range check.
  function sessionIndex(day: number): number {
    const found = index[day - FIRST_DAY];
    if (found === undefined) throw outsideError(day);
    return found;
  }
  function sessionsBefore(day: number): number {
    const count = before[day - FIRST_DAY];
    if (count === undefined) throw outsideError(day);
    return count;
  }
  function closureReason(day: number): string | undefined {
    if (sessionIndex(day) >= 0) return undefined;
    return hours.closures.get(day) ?? 'weekend';
  }
  function requireIndex(day: number): number {
    const found = sessionIndex(day);
    if (found < 0) throw new RangeError(`${toDate(day)} is no session: ${closureReason(day)}`);
    return found;
  }
  return {
    firstDay: FIRST_DAY,
    lastDay: LAST_DAY,
    get sessionCount() {
      return sessionCount;
    },
    isSession: (day) => sessionIndex(day) >= 0,
    sessionIndex,
    sessionsBefore,
    sessionAt(position) {
      const day = days[position];
      if (position < sessionCount && day !== undefined) return day;
      throw new RangeError(`no session at ${position}: positions are 0 to ${sessionCount - 1}`);
    },
    sessions(firstDay, lastDay) {
      const start = sessionsBefore(firstDay);
      const end = sessionsBefore(lastDay) + (sessionIndex(lastDay) >= 0 ? 1 : 0);
      return Array.from(days.subarray(start, end));
    },
    openMs: (day) => openMs[requireIndex(day)],
    closeMs: (day) => closeMs[requireIndex(day)],
    isEarlyClose: (day) => sessionIndex(day) >= 0 && hours.close[day - FIRST_DAY] < REGULAR_CLOSE,
    closureReason,
    latestSession(atMs, delayMs) {
      const closedBy = atMs - delayMs;
      if (!(closedBy < endMs)) throw outsideError(newYorkDay(closedBy));
      const closedCount = countUpTo(closeMs, closedBy);
      return closedCount === 0 ? -1 : days[closedCount - 1];
    },
    replace(others) {
      const next = hoursWith(others);
      if (isSameHours(hours, next)) return false;
      hours = next;
      sessionCount = tabulate(hours, tables);
      return true;
    },
  };
}

/** The hours by the rules, the exceptions and overrides. */
function hoursWith(overrides: readonly CalendarOverride[]): Hours {
  const hours = ruleHours();
  for (const exception of EXCEPTIONS) applyOverride(hours, exception);
  for (const override of overrides) applyOverride(hours, override);
  return hours;
}

function isSameHours(a: Hours, b: Hours): boolean {
  for (let i = 0; i < DAYS; i++) {
    if (a.open[i] !== b.open[i]) return false;
    if (a.open[i] !== CLOSED && a.close[i] !== b.close[i]) return false;
    const day = FIRST_DAY + i;
    if (a.open[i] === CLOSED && a.closures.get(day) !== b.closures.get(day)) return false;
  }
  return true;
}

/** The hours by the rules alone. */
function ruleHours(): Hours {
  const open = new Int16Array(DAYS).fill(REGULAR_OPEN);
  const close = new Int16Array(DAYS).fill(REGULAR_CLOSE);
  const closures = new Map<number, string>();
  for (let i = 0; i < DAYS; i++) if (isWeekend(FIRST_DAY + i)) open[i] = CLOSED;
  for (let year = FIRST_YEAR; year <= LAST_YEAR; year++) {
    for (const { name, since, day: dayIn } of HOLIDAYS) {
      const day = dayIn(year);
      if (isWeekend(day) || (since !== undefined && year < since)) continue;
      open[day - FIRST_DAY] = CLOSED;
      closures.set(day, name);
    }
    for (const { since, day: dayIn } of EARLY_CLOSES) {
      if (since !== undefined && year < since) continue;
      close[dayIn(year) - FIRST_DAY] = earlyCloseMinutes(year);
    }
  }
  return { open, close, closures };
}

const TIME_FORM = /^([01]\d|2[0-3]):[0-5]\d$/;
const REASON_LENGTH_MAX = 200;

/**
 * An override as an operator may make it, from what may be anything; a missing time is filled in
 * by the calendar, and texts lose the spaces around them.
 * @throws InputError that says what is allowed and names the field.
 */
export function checkOverride(given: {
  date: unknown;
  kind: unknown;
  open?: unknown;
  close?: unknown;
  reason: unknown;
}): CalendarOverride {
  const text = (name: keyof typeof given): string | undefined => {
    const value = given[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'string') return value.trim();
    throw new InputError(`${name} must be a text`, name);
  };
  const override = {
    date: text('date') ?? '',
    kind: (text('kind') ?? '') as CalendarOverride['kind'],
    // A form sends what was left empty as well.
    ...(text('open') && { open: text('open') }),
    ...(text('close') && { close: text('close') }),
    reason: text('reason') ?? '',
  };
  const problem = findProblem(override);
  if (problem) throw new InputError(problem.message, problem.field);
  if (!isReason(override.reason)) {
    throw new InputError(
      `reason must be a line of 1 to ${REASON_LENGTH_MAX} characters: it is why the calendar ` +
        'says otherwise, for example "National Day of Mourning"',
      'reason',
    );
  }
  return override;
}

function isReason(text: string): boolean {
  const { length } = [...text];
  return length > 0 && length <= REASON_LENGTH_MAX && !/\p{Cc}/u.test(text);
}

/** What is wrong with an override, apart from its reason. */
function findProblem(override: CalendarOverride): { message: string; field: string } | undefined {
  const { date, kind, open = '09:30', close = '16:00' } = override;
  const wrong = (field: string, message: string) => ({ field, message });
  const shown = (text: string) => JSON.stringify(text.slice(0, 40));
  const day = toDay(date);
  if (Number.isNaN(day)) {
    return wrong('date', `date is ${shown(date)}: it must be a real date, 'YYYY-MM-DD'`);
  }
  if (day < FIRST_DAY || day > LAST_DAY) {
    return wrong('date', `date must be from ${toDate(FIRST_DAY)} to ${toDate(LAST_DAY)}`);
  }
  if (kind === 'closed') {
    const field = override.open === undefined ? 'close' : 'open';
    const hasHours = override.open !== undefined || override.close !== undefined;
    return hasHours
      ? wrong(field, "open and close are allowed only with kind 'session'")
      : undefined;
  }
  if (kind !== 'session') {
    return wrong('kind', `kind is ${shown(kind)}, allowed: 'closed', 'session'`);
  }
  for (const [name, time] of [['open', open] as const, ['close', close] as const]) {
    if (TIME_FORM.test(time)) continue;
    const allowed = "allowed: New York time 'HH:MM', 00:00 to 23:59";
    return wrong(name, `${name} is ${shown(time)}, ${allowed}`);
  }
  const isDefault = override.open === undefined && override.close === undefined;
  const field = override.close === undefined && !isDefault ? 'open' : 'close';
  if (open >= close) return wrong(field, `open ${open} must be before close ${close}`);
  // On the Sunday of March 02:30 is 03:30, and so behind 03:15.
  const [openMs, closeMs] = [open, close].map((time) => newYorkInstant(day, toMinutes(time)));
  if (openMs < closeMs) return undefined;
  return wrong(field, `open ${open} is not before close ${close}: clocks go forward that night`);
}

/** Whatever its reason: a row that was made by hand may have any. */
function applyOverride(hours: Hours, override: CalendarOverride): void {
  const { date, kind, open = '09:30', close = '16:00', reason } = override;
  const problem = findProblem(override);
  if (problem) {
    const { message, field } = problem;
    throw new InputError(`calendar override of ${JSON.stringify(date)}: ${message}`, field);
  }
  const at = toDay(date) - FIRST_DAY;
  if (kind === 'closed') {
    hours.open[at] = CLOSED;
    hours.closures.set(FIRST_DAY + at, reason);
    return;
  }
  hours.open[at] = toMinutes(open);
  hours.close[at] = toMinutes(close);
}

/** Minutes after midnight of 'HH:MM'. */
function toMinutes(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

/** What the calendar reads; `index` and `before` by day - FIRST_DAY, the others by index. */
function makeTables() {
  return {
    index: new Int32Array(DAYS),
    before: new Int32Array(DAYS + 1),
    day: new Int32Array(DAYS),
    openMs: new Float64Array(DAYS),
    closeMs: new Float64Array(DAYS),
  };
}

/** Fills the tables. Behind the last session `closeMs` is past every instant. @returns sessions. */
function tabulate(hours: Hours, tables: ReturnType<typeof makeTables>): number {
  const { index, before, day, openMs, closeMs } = tables;
  let count = 0;
  for (let i = 0; i < DAYS; i++) {
    const isSession = hours.open[i] !== CLOSED;
    index[i] = isSession ? count : -1;
    if (isSession) {
      day[count] = FIRST_DAY + i;
      openMs[count] = newYorkInstant(FIRST_DAY + i, hours.open[i]);
      closeMs[count] = newYorkInstant(FIRST_DAY + i, hours.close[i]);
      count++;
    }
    before[i + 1] = count;
  }
  closeMs.fill(Number.POSITIVE_INFINITY, count);
  return count;
}

function outsideError(day: number): RangeError {
  const name = isDatable(day) ? toDate(day) : `day ${day}`;
  const range = `${toDate(FIRST_DAY)} to ${toDate(LAST_DAY)}`;
  return new RangeError(`${name} is outside the exchange calendar, which covers ${range}`);
}
