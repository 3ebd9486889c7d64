import { describe, expect, test } from 'bun:test';
import {
  CHART_RANGES,
  CHART_TIMEFRAMES,
  isIntradayChart,
  rangeFor,
  rangeStart,
  rangesOf,
  timeframesOf,
} from '../../src/model/chart-range.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { calendar } from '../fixtures/bars.ts';

describe('what a chart can show', () => {
  test('is made of what is held', () => {
    expect(timeframesOf([])).toEqual([]);
    expect(timeframesOf(['1d'])).toEqual(['1d', '1w', '1mo']);
    expect(timeframesOf(['1h'])).toEqual(['1h']);
    expect(timeframesOf(['1d', '1h'])).toEqual(['1h', '1d', '1w', '1mo']);
    expect(timeframesOf(['1m'])).toEqual([...CHART_TIMEFRAMES]);
  });

  test('is shorter than a day or not', () => {
    expect(CHART_TIMEFRAMES.filter(isIntradayChart)).toEqual(['1m', '5m', '15m', '30m', '1h']);
  });

  test('has for each timeframe ranges in their order, the usual one among them', () => {
    for (const timeframe of CHART_TIMEFRAMES) {
      const ranges = rangesOf(timeframe);
      expect(ranges).toContain(rangeFor(timeframe));
      const order = ranges.map((range) => CHART_RANGES.indexOf(range));
      expect(order).toEqual([...order].sort((a, b) => a - b));
    }
  });

  const start = (range: (typeof CHART_RANGES)[number], end: string, first = '1990-01-02') =>
    toDate(rangeStart(calendar, range, toDay(first), toDay(end)));

  test.each([
    ['1mo', '2024-03-15', '2024-02-15'],
    ['1mo', '2024-03-31', '2024-02-29'],
    ['6mo', '2024-02-15', '2023-08-15'],
    ['1y', '2024-02-29', '2023-02-28'],
    ['5y', '2024-01-31', '2019-01-31'],
    ['1d', '2024-03-15', '2024-03-15'],
    ['1d', '2024-03-17', '2024-03-15'], // a Sunday
    ['5d', '2024-04-01', '2024-03-25'], // over Good Friday
    ['20d', '1990-01-10', '1990-01-02'], // the calendar begins
    ['all', '2024-03-15', '1990-01-02'],
  ] as const)('%s up to %s begins on %s', (range, end, expected) => {
    expect(start(range, end)).toBe(expected);
  });

  test('never begins before the first bar', () => {
    expect(start('5y', '2024-03-15', '2023-06-01')).toBe('2023-06-01');
    expect(start('all', '2024-03-15', '2023-06-01')).toBe('2023-06-01');
  });
});
