import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../src/errors.ts';
import {
  type Calendar,
  type CalendarOverride,
  checkOverride,
  makeCalendar,
  newYorkDay,
  newYorkInstant,
  toDate,
  toDay,
} from '../../src/model/session.ts';

const TRUTH = join(import.meta.dir, '../../../shared/data/calendar');
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const calendar = makeCalendar();

/** The cells of a comma-separated file without its header. */
function readCells(name: string): string[][] {
  const lines = readFileSync(join(TRUTH, name), 'utf8').trim().split('\n');
  return lines.slice(1).map((line) => line.trim().split(','));
}

/** '7/3/2026' as '2026-07-03'. */
function isoDate(text: string): string {
  const [month, day, year] = text.trim().split('/');
  return `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`;
}

function weekday(day: number): string {
  return ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][new Date(day * DAY_MS).getUTCDay()];
}

function instantText(ms: number): string {
  return new Date(ms).toISOString().replace('.000', '');
}

function daysFrom(first: string, last: string): number[] {
  return Array.from({ length: toDay(last) - toDay(first) + 1 }, (_, i) => toDay(first) + i);
}

/** 'date open close' of every session in [first, last], found by asking for each single day. */
function sessionRows(of: Calendar, first: string, last: string): string[] {
  return daysFrom(first, last)
    .filter((day) => of.isSession(day))
    .map((day) => `${toDate(day)} ${instantText(of.openMs(day))} ${instantText(of.closeMs(day))}`);
}

/** Dates on which the exchange is closed though it is no weekend. */
function closures(of: Calendar, first: string, last: string): string[] {
  return daysFrom(first, last)
    .filter((day) => !of.isSession(day) && of.closureReason(day) !== 'weekend')
    .map(toDate);
}

/** 'date HH:MM' of the early closes, the time in New York. */
function earlyCloses(of: Calendar, first: string, last: string): string[] {
  return of
    .sessions(toDay(first), toDay(last))
    .filter((day) => of.isEarlyClose(day))
    .map((day) => `${toDate(day)} ${newYorkText(of.closeMs(day)).slice(11)}`);
}

const NEW_YORK = new Intl.DateTimeFormat('sv-SE', {
  timeZone: 'America/New_York',
  dateStyle: 'short',
  timeStyle: 'short',
});

/** 'YYYY-MM-DD HH:MM' in New York, by the time zone database. */
function newYorkText(ms: number): string {
  return NEW_YORK.format(ms);
}

function wallText(day: number, minutes: number): string {
  return new Date(day * DAY_MS + minutes * MINUTE_MS).toISOString().slice(0, 16).replace('T', ' ');
}

// ----------------------------------------- agrees with the recorded sessions

test('every open and close of xnys.csv, none missing and none extra', () => {
  const rows = readCells('xnys.csv').map(
    ([label, open, close]) => `${label.slice(0, 10)} ${open} ${close}`,
  );
  expect(rows.length).toBe(8324);
  expect(sessionRows(calendar, '1990-01-01', '2023-01-13')).toEqual(rows);
});

test('every session to 2028 with its hours and early close', () => {
  const cells = readCells('nyse_sessions_1990_2028_DERIVED.csv');
  expect(cells.length).toBe(9820);
  expect(sessionRows(calendar, '1990-01-01', '2028-12-31')).toEqual(
    cells.map(([date, open, close]) => `${date} ${open} ${close}`),
  );
  expect(cells.map(([date]) => calendar.isEarlyClose(toDay(date)))).toEqual(
    cells.map(([, , , isEarly]) => isEarly === '1'),
  );
});

test('every early close to 2028', () => {
  const rows = readCells('nyse_early_closes_1990_2028_DERIVED.csv');
  expect(rows.length).toBe(82);
  expect(earlyCloses(calendar, '1990-01-01', '2028-12-31')).toEqual(
    rows.map(([date, close]) => `${date} ${close.slice(0, 5)}`),
  );
});

test('every full closure to 2028, with the special ones named', () => {
  const rows = readCells('nyse_full_closures_1990_2028_DERIVED.csv');
  expect(rows.length).toBe(355);
  expect(
    closures(calendar, '1990-01-01', '2028-12-31').map((date) => [date, weekday(toDay(date))]),
  ).toEqual(rows.map(([date, name]) => [date, name]));
  const named: Record<string, RegExp> = {
    '': / Day$|^Good Friday$|^Juneteenth$/,
    'Nixon mourning': /mourning .* Nixon$/,
    '9/11': /September 11$/,
    'Reagan mourning': /mourning .* Reagan$/,
    'Ford mourning': /mourning .* Ford$/,
    'Hurricane Sandy': /^Hurricane Sandy$/,
    'G.H.W. Bush mourning': /mourning .* Bush$/,
    'Carter mourning': /mourning .* Carter$/,
  };
  for (const [date, , special] of rows) {
    expect(calendar.closureReason(toDay(date))).toMatch(named[special]);
  }
});

test('every full-day holiday since 1990 of the list that goes back to 1928', () => {
  const file = readFileSync(join(TRUTH, 'nyse_all_full_day_holidays_since_1928.csv'), 'utf8');
  const dates = file.trim().split('\n').map(isoDate).sort();
  const since1990 = dates.filter((date) => date >= '1990');
  expect(since1990.length).toBe(283);
  // The list was made in 2021: it ends with Independence Day of that year.
  expect(since1990.at(-1)).toBe('2021-07-05');
  expect(closures(calendar, '1990-01-01', '2021-07-05')).toEqual(since1990);
});

test('the market hours file of Lean, 1998 to 2028', () => {
  const file = readFileSync(join(TRUTH, 'lean_market_hours_equity_usa.json'), 'utf8');
  const hours: { holidays: string[]; earlyCloses: Record<string, string>; lateOpens?: unknown } =
    JSON.parse(file)['Equity-usa-[*]'];
  expect(hours.lateOpens).toBeUndefined();

  // New Year's Day on a Saturday is a row there, which closes nothing.
  const holidays = hours.holidays.map(isoDate).sort();
  expect(holidays.filter((date) => calendar.closureReason(toDay(date)) === 'weekend')).toEqual([
    '2011-01-01',
    '2022-01-01',
  ]);
  expect(closures(calendar, '1998-01-01', '2028-12-31')).toEqual(
    holidays.filter((date) => !['2011-01-01', '2022-01-01'].includes(date)),
  );

  // Its early closes begin in November 1999. It lacks 1999-12-31, which xnys.csv has at 13:00,
  // and has a Sunday, 2017-12-24, which is no session at all.
  const closes = Object.entries(hours.earlyCloses).map(
    ([date, close]) => `${isoDate(date)} ${close.slice(0, 5)}`,
  );
  expect(weekday(toDay('2017-12-24'))).toBe('Sun');
  expect(earlyCloses(calendar, '1999-11-01', '2028-12-31')).toEqual(
    [...closes.filter((row) => row !== '2017-12-24 13:00'), '1999-12-31 13:00'].sort(),
  );
});

// --------------------------------------------------------------------- rules

test('holidays have their names', () => {
  const expected: [string, string][] = [
    ['2023-01-02', "New Year's Day"],
    ['2023-01-16', 'Martin Luther King Jr. Day'],
    ['2023-02-20', "Presidents' Day"],
    ['2023-04-07', 'Good Friday'],
    ['2023-05-29', 'Memorial Day'],
    ['2023-06-19', 'Juneteenth'],
    ['2023-07-04', 'Independence Day'],
    ['2023-09-04', 'Labor Day'],
    ['2023-11-23', 'Thanksgiving Day'],
    ['2023-12-25', 'Christmas Day'],
  ];
  expect(closures(calendar, '2023-01-01', '2023-12-31')).toEqual(expected.map(([date]) => date));
  for (const [date, name] of expected) expect(calendar.closureReason(toDay(date))).toBe(name);
  expect(calendar.closureReason(toDay('2023-07-01'))).toBe('weekend');
  expect(calendar.closureReason(toDay('2023-07-03'))).toBeUndefined();
  // A holiday that falls on a weekend is observed on another day; the day itself is a weekend.
  expect(calendar.closureReason(toDay('2023-01-01'))).toBe('weekend');
  expect(calendar.closureReason(toDay('2022-01-01'))).toBe('weekend');
  expect(calendar.closureReason(toDay('2021-12-31'))).toBeUndefined();
});

test('a new holiday begins with its year', () => {
  expect(calendar.isSession(toDay('1997-01-20'))).toBe(true);
  expect(calendar.isSession(toDay('1998-01-19'))).toBe(false);
  expect(calendar.isSession(toDay('2021-06-18'))).toBe(true);
  expect(calendar.isSession(toDay('2022-06-20'))).toBe(false);
});

test('Good Friday to the end of the calendar', () => {
  const days = daysFrom('2029-01-01', '2049-12-31');
  expect(days.filter((day) => calendar.closureReason(day) === 'Good Friday').map(toDate)).toEqual([
    '2029-03-30',
    '2030-04-19',
    '2031-04-11',
    '2032-03-26',
    '2033-04-15',
    '2034-04-07',
    '2035-03-23',
    '2036-04-11',
    '2037-04-03',
    '2038-04-23',
    '2039-04-08',
    '2040-03-30',
    '2041-04-19',
    '2042-04-04',
    '2043-03-27',
    '2044-04-15',
    '2045-04-07',
    '2046-03-23',
    '2047-04-12',
    '2048-04-03',
    '2049-04-16',
  ]);
});

test('years no announcement covers yet', () => {
  // New Year's Day is a Saturday: not observed. Juneteenth and Christmas are Sundays.
  expect(closures(calendar, '2033-01-01', '2033-12-31')).toEqual([
    '2033-01-17',
    '2033-02-21',
    '2033-04-15',
    '2033-05-30',
    '2033-06-20',
    '2033-07-04',
    '2033-09-05',
    '2033-11-24',
    '2033-12-26',
  ]);
  expect(earlyCloses(calendar, '2033-01-01', '2033-12-31')).toEqual(['2033-11-25 13:00']);
  // Independence Day is a Thursday, whose eve closes early since 2013.
  expect(closures(calendar, '2030-01-01', '2030-12-31')).toEqual([
    '2030-01-01',
    '2030-01-21',
    '2030-02-18',
    '2030-04-19',
    '2030-05-27',
    '2030-06-19',
    '2030-07-04',
    '2030-09-02',
    '2030-11-28',
    '2030-12-25',
  ]);
  expect(earlyCloses(calendar, '2030-01-01', '2030-12-31')).toEqual([
    '2030-07-03 13:00',
    '2030-11-29 13:00',
    '2030-12-24 13:00',
  ]);
  // Juneteenth and Christmas are Saturdays, observed on Fridays; Independence Day is a Sunday.
  expect(closures(calendar, '2032-06-01', '2032-12-31')).toEqual([
    '2032-06-18',
    '2032-07-05',
    '2032-09-06',
    '2032-11-25',
    '2032-12-24',
  ]);
});

test('every year has a plausible number of sessions', () => {
  for (let year = 1990; year <= 2049; year++) {
    const count = calendar.sessions(toDay(`${year}-01-01`), toDay(`${year}-12-31`)).length;
    // 248 in 2001, the year of the longest closure; 254 in leap years with eight holidays.
    expect(count).toBeWithin(248, 255);
  }
});

// ----------------------------------------------------------------- positions

test('index, day and count agree on every day of the calendar', () => {
  let count = 0;
  const wrong: string[] = [];
  for (let day = calendar.firstDay; day <= calendar.lastDay; day++) {
    const isSession = calendar.isSession(day);
    if (calendar.sessionsBefore(day) !== count) wrong.push(`before ${toDate(day)}`);
    if (calendar.sessionIndex(day) !== (isSession ? count : -1)) wrong.push(toDate(day));
    if (isSession && calendar.sessionAt(count) !== day) wrong.push(`at ${count}`);
    if (isSession === (calendar.closureReason(day) !== undefined)) wrong.push(`why ${day}`);
    if (isSession) count++;
  }
  expect(wrong).toEqual([]);
  expect(calendar.sessionCount).toBe(count);
  expect(toDate(calendar.firstDay)).toBe('1990-01-01');
  expect(toDate(calendar.lastDay)).toBe('2049-12-31');
  expect(toDate(calendar.sessionAt(0))).toBe('1990-01-02');
  expect(toDate(calendar.sessionAt(count - 1))).toBe('2049-12-31');
  expect(calendar.sessionsBefore(calendar.lastDay + 1)).toBe(count);
});

test('sessions of a range include both ends', () => {
  const dates = (first: string, last: string) =>
    calendar.sessions(toDay(first), toDay(last)).map(toDate);
  expect(dates('2024-03-28', '2024-04-01')).toEqual(['2024-03-28', '2024-04-01']);
  expect(dates('2024-03-29', '2024-03-31')).toEqual([]);
  expect(dates('2024-04-01', '2024-04-01')).toEqual(['2024-04-01']);
  expect(dates('2024-04-02', '2024-04-01')).toEqual([]);
  expect(dates('2049-12-30', '2049-12-31')).toEqual(['2049-12-30', '2049-12-31']);
  expect(calendar.sessions(calendar.firstDay, calendar.lastDay).length).toBe(calendar.sessionCount);
});

test('outside of the calendar every question is refused with its range', () => {
  const range = /is outside the exchange calendar, which covers 1990-01-01 to 2049-12-31$/;
  const questions: ((day: number) => unknown)[] = [
    calendar.isSession,
    calendar.sessionIndex,
    calendar.openMs,
    calendar.closeMs,
    calendar.isEarlyClose,
    calendar.closureReason,
    (day) => calendar.sessions(toDay('2024-01-02'), day),
  ];
  for (const ask of questions) {
    for (const day of [toDay('1989-12-31'), toDay('2050-01-01'), Number.NaN, 1e9]) {
      expect(() => ask(day)).toThrow(RangeError);
      expect(() => ask(day)).toThrow(range);
    }
  }
  expect(() => calendar.sessionsBefore(toDay('1989-12-31'))).toThrow(range);
  expect(() => calendar.sessionsBefore(toDay('2050-01-02'))).toThrow(range);
  expect(() => calendar.isSession(toDay('1989-12-31'))).toThrow(/^1989-12-31 is outside/);
  expect(() => calendar.sessions(toDay('2049-12-31'), toDay('2050-01-01'))).toThrow(
    /^2050-01-01 is outside/,
  );
  expect(() => calendar.isSession(toDay('2024-01-02') + 0.5)).toThrow(RangeError);
  expect(() => calendar.sessionAt(-1)).toThrow(RangeError);
  expect(() => calendar.sessionAt(calendar.sessionCount)).toThrow(RangeError);
});

test('hours of a day without session are refused with the reason', () => {
  const message = '2024-03-29 is no session: Good Friday';
  expect(() => calendar.openMs(toDay('2024-03-29'))).toThrow(RangeError);
  expect(() => calendar.openMs(toDay('2024-03-29'))).toThrow(message);
  expect(() => calendar.closeMs(toDay('2024-03-29'))).toThrow(message);
  expect(calendar.isEarlyClose(toDay('2024-03-29'))).toBe(false);
});

test('the latest session is the one whose close plus delay has come', () => {
  const thursday = toDay('2024-03-28');
  const monday = toDay('2024-04-01');
  const close = calendar.closeMs(monday);
  expect(calendar.latestSession(close - 1, 0)).toBe(thursday);
  expect(calendar.latestSession(close, 0)).toBe(monday);
  expect(calendar.latestSession(close, 1)).toBe(thursday);
  expect(calendar.latestSession(close + HOUR_MS, HOUR_MS)).toBe(monday);
  // An early close counts from 13:00.
  const half = toDay('2024-11-29');
  expect(calendar.latestSession(newYorkInstant(half, 13 * 60), 0)).toBe(half);
  const first = calendar.sessionAt(0);
  expect(calendar.latestSession(calendar.closeMs(first) - 1, 0)).toBe(-1);
  expect(calendar.latestSession(calendar.closeMs(first), 0)).toBe(first);
  expect(calendar.latestSession(0, 0)).toBe(-1);
  const last = calendar.lastDay;
  expect(calendar.latestSession(calendar.closeMs(last), 0)).toBe(last);
  const endMs = newYorkInstant(last + 1, 0);
  expect(calendar.latestSession(endMs - 1, 0)).toBe(last);
  expect(() => calendar.latestSession(endMs, 0)).toThrow(/^2050-01-01 is outside/);
  expect(calendar.latestSession(endMs, 1)).toBe(last);
  expect(() => calendar.latestSession(Number.NaN, 0)).toThrow(RangeError);
});

// ----------------------------------------------------------------- overrides

const override = (item: CalendarOverride) => makeCalendar([item]);

test('a closure takes a session out, and all positions after it move', () => {
  const day = toDay('2026-03-02');
  const changed = override({ date: '2026-03-02', kind: 'closed', reason: 'Blizzard' });
  expect(changed.isSession(day)).toBe(false);
  expect(changed.closureReason(day)).toBe('Blizzard');
  expect(changed.sessionCount).toBe(calendar.sessionCount - 1);
  expect(changed.sessionIndex(day + 1)).toBe(calendar.sessionIndex(day));
  expect(changed.sessionsBefore(day)).toBe(calendar.sessionsBefore(day));
  // The calendar made before is not affected.
  expect(calendar.isSession(day)).toBe(true);
});

test('a closed weekend or holiday takes the new reason', () => {
  const weekend = override({ date: '2026-03-01', kind: 'closed', reason: 'Test' });
  expect(weekend.closureReason(toDay('2026-03-01'))).toBe('Test');
  const holiday = override({ date: '2026-12-25', kind: 'closed', reason: 'Test' });
  expect(holiday.closureReason(toDay('2026-12-25'))).toBe('Test');
  expect(holiday.sessionCount).toBe(calendar.sessionCount);
});

test('a session can be opened on a Saturday, with regular hours unless told otherwise', () => {
  const day = toDay('2026-03-07');
  const regular = override({ date: '2026-03-07', kind: 'session', reason: 'Special session' });
  expect(sessionRows(regular, '2026-03-07', '2026-03-08')).toEqual([
    '2026-03-07 2026-03-07T14:30:00Z 2026-03-07T21:00:00Z',
  ]);
  expect(regular.closureReason(day)).toBeUndefined();
  expect(regular.isEarlyClose(day)).toBe(false);
  expect(regular.sessionCount).toBe(calendar.sessionCount + 1);
  const short = override({ date: '2026-03-07', kind: 'session', close: '12:00', reason: 'x' });
  expect(sessionRows(short, '2026-03-07', '2026-03-07')).toEqual([
    '2026-03-07 2026-03-07T14:30:00Z 2026-03-07T17:00:00Z',
  ]);
  expect(short.isEarlyClose(day)).toBe(true);
});

test('hours can be changed, also those of an early close', () => {
  const late = override({ date: '2026-07-01', kind: 'session', open: '11:00', reason: 'Late' });
  expect(sessionRows(late, '2026-07-01', '2026-07-01')).toEqual([
    '2026-07-01 2026-07-01T15:00:00Z 2026-07-01T20:00:00Z',
  ]);
  const full = override({ date: '2026-12-24', kind: 'session', reason: 'Full session' });
  expect(calendar.isEarlyClose(toDay('2026-12-24'))).toBe(true);
  expect(full.isEarlyClose(toDay('2026-12-24'))).toBe(false);
  expect(full.sessionCount).toBe(calendar.sessionCount);
});

test('the later of two overrides of a date wins', () => {
  const both = makeCalendar([
    { date: '2026-03-02', kind: 'session', close: '12:00', reason: 'Blizzard expected' },
    { date: '2026-03-02', kind: 'closed', reason: 'Blizzard' },
    { date: '2001-09-11', kind: 'closed', reason: 'Other reason' },
  ]);
  expect(both.closureReason(toDay('2026-03-02'))).toBe('Blizzard');
  expect(both.closureReason(toDay('2001-09-11'))).toBe('Other reason');
});

const malformed: [string, unknown, RegExp][] = [
  ['no real date', { date: '2026-02-29' }, /"2026-02-29".*real date, 'YYYY-MM-DD'/],
  ['a date in another form', { date: '3/2/2026' }, /"3\/2\/2026".*'YYYY-MM-DD'/],
  ['a date before the calendar', { date: '1989-12-29' }, /from 1990-01-01 to 2049-12-31/],
  ['a date after the calendar', { date: '2050-01-03' }, /from 1990-01-01 to 2049-12-31/],
  ['an unknown kind', { kind: 'halted' }, /kind is "halted", allowed: 'closed', 'session'/],
  ['hour 24', { close: '24:00' }, /close is "24:00", allowed.*'HH:MM'/],
  ['minute 60', { open: '09:60' }, /open is "09:60", allowed.*'HH:MM'/],
  ['an hour of one digit', { open: '9:30' }, /open is "9:30", allowed.*'HH:MM'/],
  ['seconds', { close: '13:00:00' }, /close is "13:00:00", allowed.*'HH:MM'/],
  ['an empty time', { open: '' }, /open is "", allowed.*'HH:MM'/],
  ['open after close', { open: '14:00', close: '13:00' }, /open 14:00 .* before close 13:00/],
  ['open at close', { open: '13:00', close: '13:00' }, /open 13:00 .* before close 13:00/],
  ['open after the regular close', { open: '17:00' }, /open 17:00 .* before close 16:00/],
  ['hours of a closed day', { kind: 'closed', close: '13:00' }, /only with kind 'session'/],
];
for (const [name, fields, message] of malformed) {
  test(`${name} is refused`, () => {
    const item = { date: '2026-03-02', kind: 'session', reason: 'x', ...(fields as object) };
    expect(() => override(item as CalendarOverride)).toThrow(message);
  });
}

// ------------------------------------------------------------------ live calendar

/** All that a calendar says, to be compared. */
function saysOf(calendar: ReturnType<typeof makeCalendar>) {
  const days = Array.from(
    { length: calendar.lastDay - calendar.firstDay + 1 },
    (_, i) => calendar.firstDay + i,
  );
  const count = calendar.sessionCount;
  return {
    count,
    index: days.map(calendar.sessionIndex),
    before: [...days, calendar.lastDay + 1].map(calendar.sessionsBefore),
    reasons: days.map(calendar.closureReason),
    early: days.filter(calendar.isEarlyClose),
    sessions: Array.from({ length: count }, (_, i) => calendar.sessionAt(i)),
    hours: calendar
      .sessions(calendar.firstDay, calendar.lastDay)
      .map((day) => [calendar.openMs(day), calendar.closeMs(day)]),
    latest: days.map((day) => calendar.latestSession(newYorkInstant(day, 720), 0)),
  };
}

test('replaced overrides are as those that it was made with, for whoever holds it', () => {
  const some: CalendarOverride[] = [
    { date: '1990-01-02', kind: 'closed', reason: 'first session' },
    { date: '2026-03-02', kind: 'closed', reason: 'Blizzard' },
    { date: '2026-03-07', kind: 'session', open: '10:00', close: '12:00', reason: 'Saturday' },
    { date: '2049-12-31', kind: 'closed', reason: 'last session' },
  ];
  const others: CalendarOverride[] = [
    { date: '1990-01-01', kind: 'session', reason: 'first day' },
    { date: '2026-03-02', kind: 'session', close: '13:00', reason: 'half of it' },
  ];
  const live = makeCalendar();
  const { isSession, sessionIndex } = live;
  for (const overrides of [some, others, [], [...some, ...others.slice(0, 1)]]) {
    expect(live.replace(overrides)).toBe(true);
    expect(Bun.deepEquals(saysOf(live), saysOf(makeCalendar(overrides)))).toBe(true);
    expect(live.replace(overrides)).toBe(false);
  }
  expect(isSession(toDay('2026-03-02'))).toBe(false);
  expect(sessionIndex(toDay('1990-01-01'))).toBe(0);
});

test('replacing by what is malformed changes nothing', () => {
  const blizzard: CalendarOverride = { date: '2026-03-02', kind: 'closed', reason: 'Blizzard' };
  const live = makeCalendar([blizzard]);
  const wrong = { ...blizzard, date: '2026-02-30' };
  expect(() => live.replace([{ ...blizzard, date: '2026-03-03' }, wrong])).toThrow(InputError);
  expect(live.closureReason(toDay('2026-03-02'))).toBe('Blizzard');
  expect(live.isSession(toDay('2026-03-03'))).toBe(true);
});

test('another reason for a closed day is a change, for one that is open it is none', () => {
  const live = makeCalendar([{ date: '2026-03-02', kind: 'closed', reason: 'Storm' }]);
  expect(live.replace([{ date: '2026-03-02', kind: 'closed', reason: 'Blizzard' }])).toBe(true);
  expect(live.closureReason(toDay('2026-03-02'))).toBe('Blizzard');
  expect(live.replace([{ date: '2026-03-02', kind: 'session', reason: 'a' }])).toBe(true);
  expect(live.replace([{ date: '2026-03-02', kind: 'session', reason: 'b' }])).toBe(false);
});

test('positions behind the last session are none, however many there were', () => {
  const live = makeCalendar();
  const { sessionCount: count } = live;
  live.replace([{ date: '2026-03-02', kind: 'closed', reason: 'Blizzard' }]);
  expect(live.sessionCount).toBe(count - 1);
  for (const position of [count - 1, count, -1, 0.5, Number.NaN, 10 ** 9]) {
    expect(() => live.sessionAt(position)).toThrow(`positions are 0 to ${count - 2}`);
  }
});

test('an override of an operator is read from whatever it is', () => {
  const given = { date: ' 2026-03-02 ', kind: 'session', open: '', close: '13:00', reason: ' x ' };
  expect(checkOverride(given)).toEqual({
    ...{ date: '2026-03-02', kind: 'session', close: '13:00', reason: 'x' },
  });
  const bare = { date: '2026-03-02', kind: 'closed', open: null, close: undefined, reason: 'x' };
  expect(checkOverride(bare)).toEqual({ date: '2026-03-02', kind: 'closed', reason: 'x' });
  const fieldOf = (changes: object) => {
    try {
      checkOverride({ ...given, ...changes });
    } catch (error) {
      return (error as InputError).field;
    }
    return undefined;
  };
  const wrong: [object, string][] = [
    [{ date: 5 }, 'date'],
    [{ date: '2026-02-30' }, 'date'],
    [{ kind: undefined }, 'kind'],
    [{ open: ['09:30'] }, 'open'],
    [{ open: '13:30' }, 'close'],
    [{ open: '17:00', close: '' }, 'open'],
    [{ kind: 'closed' }, 'close'],
    [{ reason: '' }, 'reason'],
    [{ reason: 'x'.repeat(201) }, 'reason'],
    [{ reason: 'a\u0007' }, 'reason'],
    [{ date: '2027-03-14', open: '02:30', close: '03:15' }, 'close'],
  ];
  for (const [changes, field] of wrong)
    expect([changes, fieldOf(changes)]).toEqual([changes, field]);
});

// --------------------------------------------------------------------- dates

test('days and dates turn into each other from year 0000 to 9999', () => {
  expect(toDay('1970-01-01')).toBe(0);
  expect(toDay('1969-12-31')).toBe(-1);
  expect(toDay('2000-02-29')).toBe(11_016);
  const wrong: string[] = [];
  // The Gregorian calendar repeats after 400 years: all days of one round, then samples.
  const lastOfRound = toDay('2299-12-31');
  for (let day = toDay('1900-01-01'); day <= lastOfRound; day++) {
    if (toDay(toDate(day)) !== day) wrong.push(toDate(day));
  }
  for (let day = toDay('0000-01-01'); day <= toDay('9999-12-31'); day += 61) {
    if (toDay(toDate(day)) !== day) wrong.push(toDate(day));
  }
  expect(wrong).toEqual([]);
  expect(toDate(toDay('0000-01-01'))).toBe('0000-01-01');
  expect(toDate(toDay('9999-12-31'))).toBe('9999-12-31');
});

test('only a real date in exact form is one', () => {
  const bad = [
    ...['2023-02-29', '1900-02-29', '2023-04-31', '2023-13-01', '2023-00-10', '2023-01-00'],
    ...['2023-01-32', '2023-2-1', '20230201', '2023/02/01', '02-01-2023', '2023-02-01 '],
    ...[' 2023-02-01', '2023-02-01T00:00:00Z', '2023-02-01\n', '+2023-02-1', '', '2023-02'],
    ...['-023-02-01', '12023-02-01', '٢٠٢٣-٠٢-٠١', '2023-0a-01', 'undefined'],
  ];
  for (const text of bad) expect(toDay(text)).toBeNaN();
  for (const text of ['2024-02-29', '2000-02-29', '2023-02-28', '2023-12-31']) {
    expect(toDate(toDay(text))).toBe(text);
  }
});

test('what is no day has no date', () => {
  const bad = [Number.NaN, 0.5, Number.POSITIVE_INFINITY, toDay('9999-12-31') + 1];
  for (const day of bad) expect(() => toDate(day)).toThrow(RangeError);
  expect(() => toDate(Number.NaN)).toThrow('day NaN is no date');
});

// ------------------------------------------------------------- New York time

const years = Array.from({ length: 60 }, (_, i) => 1990 + i);
/** Every day on which clocks may ever be changed, and those around it. */
const switchingDays = years.flatMap((year) => [
  ...daysFrom(`${year}-03-06`, `${year}-04-09`),
  ...daysFrom(`${year}-10-23`, `${year}-11-09`),
]);

/** Compares both functions with the time zone database at an instant; a message per mismatch. */
function compare(ms: number): string[] {
  const wall = newYorkText(ms);
  const day = toDay(wall.slice(0, 10));
  const minutes = Number(wall.slice(11, 13)) * 60 + Number(wall.slice(14));
  // A wall time that comes twice means the first of the two.
  const isSecond = newYorkText(ms - HOUR_MS) === wall;
  const wrong: string[] = [];
  if (newYorkDay(ms) !== day) wrong.push(`newYorkDay ${instantText(ms)}`);
  if (newYorkInstant(day, minutes) !== (isSecond ? ms - HOUR_MS : ms)) {
    wrong.push(`newYorkInstant ${wall}`);
  }
  return wrong;
}

test('agrees with the time zone database from 1990 to 2049', () => {
  const stepMs = 11 * HOUR_MS + 17 * MINUTE_MS;
  const wrong: string[] = [];
  let count = 0;
  for (let ms = Date.UTC(1990, 0, 1); ms < Date.UTC(2050, 0, 1); ms += stepMs, count++) {
    wrong.push(...compare(ms));
  }
  expect(count).toBeGreaterThan(46_000);
  expect(wrong).toEqual([]);
});

test('agrees around midnight and around the hours of the switches', () => {
  const wrong: string[] = [];
  for (const day of switchingDays) {
    for (let minutes = 3 * 60 + 45; minutes <= 8 * 60; minutes += 15) {
      wrong.push(...compare(day * DAY_MS + minutes * MINUTE_MS));
    }
    for (const midnightMs of [4 * HOUR_MS, 5 * HOUR_MS]) {
      const ms = day * DAY_MS + midnightMs - 1;
      if (toDate(newYorkDay(ms)) !== newYorkText(ms).slice(0, 10)) wrong.push(instantText(ms));
    }
  }
  expect(wrong).toEqual([]);
});

test('a time that never comes is shifted forward, one that comes twice is the first', () => {
  let shifted = 0;
  let repeated = 0;
  const wrong: string[] = [];
  for (const day of switchingDays) {
    for (let minutes = 0; minutes < 5 * 60; minutes += 15) {
      const ms = newYorkInstant(day, minutes);
      const text = newYorkText(ms);
      if (text === wallText(day, minutes + 60)) shifted++;
      else if (text !== wallText(day, minutes)) wrong.push(wallText(day, minutes));
      if (newYorkText(ms - HOUR_MS) === text) wrong.push(`second ${text}`);
      if (newYorkText(ms + HOUR_MS) === text) repeated++;
    }
  }
  expect(wrong).toEqual([]);
  // Four quarters of an hour in each of 60 years.
  expect(shifted).toBe(240);
  expect(repeated).toBe(240);
});

test('the days of the switches, by name', () => {
  const at = (date: string, minutes: number) => instantText(newYorkInstant(toDay(date), minutes));
  expect(at('2006-04-02', 119)).toBe('2006-04-02T06:59:00Z');
  expect(at('2006-04-02', 180)).toBe('2006-04-02T07:00:00Z');
  expect(at('2007-03-11', 150)).toBe('2007-03-11T07:30:00Z');
  expect(at('2006-10-29', 90)).toBe('2006-10-29T05:30:00Z');
  expect(at('2007-11-04', 120)).toBe('2007-11-04T07:00:00Z');
  expect(newYorkDay(Date.UTC(2024, 6, 2, 3, 59))).toBe(toDay('2024-07-01'));
  expect(newYorkDay(Date.UTC(2024, 6, 2, 4))).toBe(toDay('2024-07-02'));
  expect(newYorkDay(Date.UTC(2024, 0, 2, 4, 59))).toBe(toDay('2024-01-01'));
  expect(newYorkDay(Number.NaN)).toBeNaN();
});
