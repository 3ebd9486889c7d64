import { describe, expect, test } from 'bun:test';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  bucketEnd,
  bucketStart,
  DAILY_TIMEFRAMES,
  describeTimeframes,
  isDailyTimeframe,
  parseTimeframe,
  rollUp,
} from '../../src/model/timeframe.ts';
import { type Bar, eventfulBars, flatBar, toColumns } from '../fixtures/bars.ts';

const DAYS = Array.from({ length: 800 }, (_, i) => toDay('2019-06-01') + i);

/** The Monday of a date, or the first of its month, by JavaScript's own calendar. */
function naiveBucket(date: string, timeframe: '1w' | '1mo'): string {
  const instant = new Date(`${date}T00:00:00Z`);
  if (timeframe === '1mo') instant.setUTCDate(1);
  else instant.setUTCDate(instant.getUTCDate() - ((instant.getUTCDay() + 6) % 7));
  return instant.toISOString().slice(0, 10);
}

function rolled(bars: readonly Bar[], timeframe: '1w' | '1mo') {
  const { bars: columns, rows } = rollUp(toColumns(bars), timeframe);
  return Array.from({ length: columns.length }, (_, i) => ({
    start: toDate(columns.session[i]),
    rows: [rows[i], rows[i + 1]],
    open: columns.open[i],
    high: columns.high[i],
    low: columns.low[i],
    close: columns.close[i],
    volume: columns.volume[i],
    vwap: columns.vwap[i],
    trades: columns.tradeCount[i],
  }));
}

test('daily timeframes are known by name, and no others', () => {
  expect(DAILY_TIMEFRAMES.filter(isDailyTimeframe)).toEqual(['1d', '1w', '1mo']);
  expect(['', '1D', '1M', '1h', '1m', '1wk', '1mo '].filter(isDailyTimeframe)).toEqual([]);
});

describe('a timeframe by its name', () => {
  test.each(DAILY_TIMEFRAMES)('%s is of whole sessions', (text) => {
    expect(parseTimeframe(text)).toEqual({ kind: 'daily', text });
  });

  const intraday: [string, number][] = [
    ['1m', 1],
    ['5m', 5],
    ['15m', 15],
    ['30m', 30],
    ['60m', 60],
    ['65m', 65],
    ['195m', 195],
    ['390m', 390],
    ['1440m', 1440],
    ['1h', 60],
    ['2h', 120],
    ['4h', 240],
    ['24h', 1440],
  ];
  test.each(intraday)('%s has %d minutes', (text, minutes) => {
    expect(parseTimeframe(text)).toEqual({ kind: 'intraday', text, minutes });
  });

  const none = ['', '0m', '0h', '07m', '1.5h', '90s', '1M', '1H', '1y', '25h', '1441m', '7x', '1D'];
  const odd = ['-5m', '+5m', '5', 'm', '5 m', ' 5m', '5m ', '5m\n', '1e2m', '١m', '99999m', '2d'];
  test.each([...none, ...odd, '1wk', 'constructor'])('%p is none', (text) => {
    expect(parseTimeframe(text)).toBeUndefined();
  });

  test('is described by what it may be', () => {
    expect(`it must be ${describeTimeframes()}`).toBe(
      'it must be one of 1d, 1w, 1mo, or a whole number of minutes or hours from 1m to 24h, ' +
        'such as 5m, 65m, 4h',
    );
  });
});

describe('bucket', () => {
  test('of a day is the day', () => {
    expect([bucketStart(10, '1d'), bucketEnd(10, '1d')]).toEqual([10, 11]);
  });

  test.each(['1w', '1mo'] as const)('of %s agrees with the calendar of JavaScript', (timeframe) => {
    for (const day of DAYS) {
      expect(toDate(bucketStart(day, timeframe))).toBe(naiveBucket(toDate(day), timeframe));
    }
  });

  test('begins on a Monday before 1970 and at the turn of a year as well', () => {
    expect(toDate(bucketStart(toDay('1969-12-31'), '1w'))).toBe('1969-12-29');
    expect(toDate(bucketStart(toDay('2023-01-01'), '1w'))).toBe('2022-12-26');
    expect(toDate(bucketStart(toDay('1970-01-04'), '1w'))).toBe('1969-12-29');
    expect(toDate(bucketStart(toDay('1970-01-05'), '1w'))).toBe('1970-01-05');
  });

  test.each(['1w', '1mo'] as const)('of %s ends where the next one begins', (timeframe) => {
    for (const day of DAYS) {
      const start = bucketStart(day, timeframe);
      const end = bucketEnd(start, timeframe);
      expect(start <= day && day < end).toBe(true);
      expect(bucketStart(end, timeframe)).toBe(end);
      expect(bucketStart(end - 1, timeframe)).toBe(start);
    }
  });

  test('of a leap February and of December have their length', () => {
    const length = (date: string) => bucketEnd(toDay(date), '1mo') - toDay(date);
    expect([length('2020-02-01'), length('2021-02-01'), length('2020-12-01')]).toEqual([
      29, 28, 31,
    ]);
  });
});

describe('roll-up', () => {
  test('takes first open, highest high, lowest low, last close, sums and the weighted mean', () => {
    const bars: Bar[] = [
      // Thursday and Friday, then Monday.
      {
        ...{ session: '2024-02-01', open: 10, high: 12, low: 9, close: 11, volume: 100 },
        ...{ vwap: 10.5, tradeCount: 7 },
      },
      {
        ...{ session: '2024-02-02', open: 11, high: 15, low: 10, close: 14, volume: 300 },
        ...{ vwap: 12.5, tradeCount: 5 },
      },
      {
        ...{ session: '2024-02-05', open: 14, high: 14.5, low: 8, close: 9, volume: 50 },
        ...{ vwap: 9.25, tradeCount: 2 },
      },
    ];
    expect(rolled(bars, '1w')).toEqual([
      {
        ...{ start: '2024-01-29', rows: [0, 2], open: 10, high: 15, low: 9, close: 14 },
        ...{ volume: 400, vwap: 12, trades: 12 },
      },
      {
        ...{ start: '2024-02-05', rows: [2, 3], open: 14, high: 14.5, low: 8, close: 9 },
        ...{ volume: 50, vwap: 9.25, trades: 2 },
      },
    ]);
    expect(rolled(bars, '1mo')).toEqual([
      {
        ...{ start: '2024-02-01', rows: [0, 3], open: 10, high: 15, low: 8, close: 9 },
        // (100 * 10.5 + 300 * 12.5 + 50 * 9.25) / 450 = 11.69444..., to four places
        ...{ volume: 450, vwap: 11.6944, trades: 14 },
      },
    ]);
  });

  test('has no weighted mean and no count when one bar lacks it', () => {
    const given = { vwap: 100, tradeCount: 3 };
    const bars = [
      flatBar('2024-02-05', given),
      flatBar('2024-02-06'),
      flatBar('2024-02-12', given),
    ];
    const weeks = rolled(bars, '1w');
    expect(weeks.map((week) => [week.vwap, week.trades])).toEqual([
      [Number.NaN, Number.NaN],
      [100, 3],
    ]);
  });

  test('has no weighted mean when nothing was traded', () => {
    const bars = [flatBar('2024-02-05', { volume: 0, vwap: 100, tradeCount: 0 })];
    expect(rolled(bars, '1w').map((week) => [week.vwap, week.trades])).toEqual([[Number.NaN, 0]]);
  });

  test('of no bars is nothing', () => {
    expect(rolled([], '1w')).toEqual([]);
    expect([...rollUp(toColumns([]), '1mo').rows]).toEqual([0]);
  });

  test.each(['1w', '1mo'] as const)('to %s equals grouping by hand', (timeframe) => {
    const bars = eventfulBars('2018-01-02', 600, 7);
    const groups = Map.groupBy(bars, ({ session }) => naiveBucket(session, timeframe));
    const expected = [...groups].map(([start, members]) => ({
      start,
      open: members[0].open,
      high: members.map(({ high }) => high).sort((a, b) => b - a)[0],
      low: members.map(({ low }) => low).sort((a, b) => a - b)[0],
      close: members[members.length - 1].close,
      volume: members.reduce((sum, { volume }) => sum + volume, 0),
    }));
    const actual = rolled(bars, timeframe);
    expect(actual.map(({ rows, vwap, trades, ...bar }) => bar)).toEqual(expected);
    expect(actual[0].rows[0]).toBe(0);
    expect(actual.at(-1)?.rows[1]).toBe(bars.length);
  });
});
