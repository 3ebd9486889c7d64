import { describe, expect, test } from 'bun:test';
import { toDate, toDay } from '../../src/model/session.ts';
import { latestWithBars, sessionUnderWay } from '../../src/model/session-part.ts';
import { calendar } from '../fixtures/bars.ts';

const HOUR = 3_600_000;

describe('the latest session that can have a bar', () => {
  // Friday 1 March 2024: pre-market from 09:00 UTC, close at 21:00 UTC.
  const cases: [at: string, daily: string, minutes: string][] = [
    ['2024-03-01T08:59:59Z', '2024-02-29', '2024-02-29'],
    ['2024-03-01T09:00:00Z', '2024-02-29', '2024-03-01'],
    ['2024-03-01T21:59:59Z', '2024-02-29', '2024-03-01'],
    ['2024-03-01T22:00:00Z', '2024-03-01', '2024-03-01'],
    ['2024-03-02T15:00:00Z', '2024-03-01', '2024-03-01'],
  ];
  test.each(cases)('at %s is %s of days and %s of minutes', (at, daily, minutes) => {
    const nowMs = Date.parse(at);
    expect(toDate(latestWithBars(calendar, '1d', nowMs, HOUR))).toBe(daily);
    expect(toDate(latestWithBars(calendar, '1m', nowMs, HOUR))).toBe(minutes);
    expect(toDate(latestWithBars(calendar, '1h', nowMs, HOUR))).toBe(minutes);
  });

  test('is none before the first session', () => {
    expect(latestWithBars(calendar, '1d', Date.parse('1990-01-02T12:00:00Z'), HOUR)).toBe(-1);
  });

  test('is under way until it is published', () => {
    const at = Date.parse('2024-03-01T15:00:00Z');
    const day = toDay('2024-03-01');
    expect(sessionUnderWay(calendar, at, day - 1)).toBe(day);
    expect(sessionUnderWay(calendar, at, day)).toBeUndefined();
    expect(sessionUnderWay(calendar, at + 24 * HOUR, day - 1)).toBeUndefined();
  });
});
