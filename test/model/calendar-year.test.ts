import { expect, test } from 'bun:test';
import { calendarYear } from '../../src/model/calendar-year.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';

const overrides = [
  { date: '2026-03-02', kind: 'closed' as const, reason: 'Storm' },
  { date: '2026-03-07', kind: 'session' as const, close: '13:00', reason: 'Drill' },
  { date: '2026-03-09', kind: 'session' as const, reason: 'As usual' },
];
const calendar = makeCalendar(overrides);
const overridden = new Set(overrides.map(({ date }) => date));
const year = calendarYear(calendar, 2026, overridden, toDay('2026-03-08'));
const cells = year.months.flatMap(({ weeks }) => weeks.flat()).filter((cell) => cell !== null);

test('has each day of the year once, in the column of its weekday', () => {
  const days = Array.from({ length: 365 }, (_, i) => toDate(toDay('2026-01-01') + i));
  expect(cells.map(({ date }) => date)).toEqual(days);
  for (const { name, weeks } of year.months) {
    expect([name, weeks.length]).toEqual([name, 6]);
    for (const week of weeks) {
      expect(week).toHaveLength(7);
      week.forEach((cell, column) => {
        if (cell) expect((new Date(cell.date).getUTCDay() + 6) % 7).toBe(column);
      });
    }
  }
});

test('marks what is not like most days', () => {
  const of = (date: string) => {
    const { mark, isOverride, isToday, note } = cells.find((cell) => cell.date === date)!;
    return [mark, isOverride, isToday, note];
  };
  expect(of('2026-03-02')).toEqual(['closed', true, false, 'Storm']);
  expect(of('2026-03-03')).toEqual(['session', false, false, null]);
  expect(of('2026-03-07')).toEqual(['early', true, false, '09:30 to 13:00 EST']);
  expect(of('2026-03-08')).toEqual(['weekend', false, true, null]);
  expect(of('2026-03-09')).toEqual(['session', true, false, '09:30 to 16:00 EDT']);
  expect(of('2026-04-03')).toEqual(['closed', false, false, 'Good Friday']);
  expect(of('2026-11-27')).toEqual(['early', false, false, '09:30 to 13:00 EST']);
  expect(cells.filter(({ isToday }) => isToday)).toHaveLength(1);
});

test('counts sessions and lists the special days', () => {
  expect(year.sessions).toBe(251);
  expect(year.special.map(({ date }) => date)).toEqual([
    ...['2026-01-01', '2026-01-19', '2026-02-16', '2026-03-02', '2026-03-07', '2026-03-09'],
    ...['2026-04-03', '2026-05-25', '2026-06-19', '2026-07-03', '2026-09-07', '2026-11-26'],
    ...['2026-11-27', '2026-12-24', '2026-12-25'],
  ]);
});

test('has the first year of the calendar and the last, leap years, and no other', () => {
  const count = (of: number) =>
    calendarYear(calendar, of, new Set(), 0).months.flatMap(({ weeks }) =>
      weeks.flat().filter(Boolean),
    ).length;
  expect([1990, 2000, 2048, 2049].map(count)).toEqual([365, 366, 366, 365]);
  for (const outside of [1989, 2050]) expect(() => count(outside)).toThrow(RangeError);
});
