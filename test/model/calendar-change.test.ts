import { expect, test } from 'bun:test';
import { describeDayChange, describeHours } from '../../src/model/calendar-change.ts';
import { marketDay } from '../../src/model/market.ts';
import { type CalendarOverride, makeCalendar, toDay } from '../../src/model/session.ts';

const NONE = { daily: 0, intraday: 0, waiting: 0 };

/** What is said of a day when an override takes the place of another. */
function change(
  override: CalendarOverride | undefined,
  held: Partial<typeof NONE> = {},
  isPublished = true,
  stored?: CalendarOverride,
): string[] {
  const { date } = (override ?? stored)!;
  const [before, after] = [stored, override].map((one) =>
    marketDay(makeCalendar(one ? [one] : []), toDay(date)),
  );
  return describeDayChange({ before, after, held: { ...NONE, ...held }, isPublished });
}

const closed: CalendarOverride = { date: '2026-03-02', kind: 'closed', reason: 'Storm' };
const short: CalendarOverride = { ...closed, kind: 'session', close: '13:00' };
const saturday: CalendarOverride = { ...short, date: '2026-03-07' };
const CLOSING = 'Monday 2026-03-02 becomes closed all day (Storm) instead of 09:30 to 16:00 EST';

test('a session that becomes none', () => {
  expect(change(closed)).toEqual([CLOSING, 'no bar of that day is held']);
  expect(change(closed, { daily: 1, intraday: 1, waiting: 1 })).toEqual([
    CLOSING,
    '1 symbol has a daily bar of that day: it stays and is served as before, and from now on ' +
      'counts as of a day without a session',
    'bars below a day of 1 symbol stay; no part of that day is regular hours any more',
    'it is no longer missing for 1 symbol',
  ]);
  expect(change(closed, { daily: 1234, waiting: 2 }, false)).toEqual([
    CLOSING,
    '1,234 symbols have a daily bar of that day: they stay and are served as before, and from ' +
      'now on count as of a day without a session',
  ]);
});

test('a day that becomes a session', () => {
  const first =
    'Saturday 2026-03-07 becomes 09:30 to 13:00 EST instead of closed all day (weekend)';
  expect(change(saturday)).toEqual([first, 'no tracked symbol lacks a bar of that day']);
  expect(change(saturday, { waiting: 1, daily: 2 })).toEqual([
    first,
    'the session becomes due: 1 symbol has no bar of it, and the next backfill asks for it',
    '2 symbols have a daily bar of that day already; its score stays until it is judged again',
  ]);
  expect(change(saturday, { waiting: 2 }, false)).toEqual([
    first,
    'the session becomes due for 2 symbols once it is over',
  ]);
  expect(change(undefined, { waiting: 3 }, true, closed)[1]).toStartWith('the session becomes due');
});

test('hours that become others', () => {
  const first = 'Monday 2026-03-02 becomes 09:30 to 13:00 EST instead of 09:30 to 16:00 EST';
  expect(change(short, { daily: 5 })).toEqual([
    first,
    'daily bars stay as they are, and no bar below a day is held of it',
  ]);
  expect(change(short, { intraday: 2 })).toEqual([
    first,
    'daily bars stay as they are; which bars below a day of 2 symbols are regular hours follows ' +
      'the new times at once',
  ]);
});

test('what changes nothing, and what changes only the reason', () => {
  expect(change({ ...short, close: '16:00' })).toEqual([
    'nothing changes: Monday 2026-03-02 is 09:30 to 16:00 EST anyway',
  ]);
  expect(change({ ...closed, date: '2026-03-07', reason: 'weekend' })).toHaveLength(1);
  expect(change(closed, {}, true, { ...closed, reason: 'Wind' })).toEqual([
    'Monday 2026-03-02 becomes closed all day (Storm) instead of closed all day (Wind)',
  ]);
});

test('hours carry the zone of their day', () => {
  const calendar = makeCalendar();
  const of = (date: string) => describeHours(marketDay(calendar, toDay(date)));
  expect(of('2026-03-06')).toBe('09:30 to 16:00 EST');
  expect(of('2026-03-09')).toBe('09:30 to 16:00 EDT');
  expect(of('2026-04-03')).toBe('closed all day (Good Friday)');
});
