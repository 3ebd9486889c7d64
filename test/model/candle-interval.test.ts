import { describe, expect, test } from 'bun:test';
import {
  addCandles,
  type CandleInterval,
  candleStart,
  candleStarts,
  nextCandleStart,
  parseInterval,
} from '../../src/model/candle-interval.ts';

const of = (text: string) => parseInterval(text) as CandleInterval;
const ms = (text: string) => Date.parse(text);
const iso = (instant: number) => new Date(instant).toISOString().slice(0, 16);

describe('an interval', () => {
  test('divides an hour, a day or the session, or is a day or a week', () => {
    const good = ['1s', '5s', '15s', '30s', '60s', '1m', '5m', '12m', '30m', '1h', '60m', '3600s'];
    const wall = [
      '45m',
      '90m',
      '2h',
      '4h',
      '6h',
      '12h',
      '24h',
      '13m',
      '39m',
      '65m',
      '195m',
      '390m',
    ];
    expect(good.map((text) => of(text)?.clockMs).every((length) => Number(length) > 0)).toBe(true);
    expect(wall.map((text) => of(text)?.clockMs)).toEqual(wall.map(() => null));
    expect(of('1d')).toEqual({ text: '1d', clockMs: null, starts: [0], isWeek: false });
    expect(of('1w')).toEqual({ text: '1w', clockMs: null, starts: [0], isWeek: true });
  });

  const BAD = [
    ...[
      '',
      '0s',
      '0m',
      '7s',
      '7m',
      '5h',
      '25h',
      '48h',
      '2d',
      '2w',
      '1mo',
      '1M',
      '1y',
      '07m',
      '-1m',
    ],
    ...['1.5h', '1', 'm', ' 1m', '1m ', '1min', '91s', '110s', '99999s', '1e1m', '1H', '61m'],
  ];
  for (const text of BAD) {
    test(`is not ${JSON.stringify(text)}`, () => expect(parseInterval(text)).toBeUndefined());
  }
});

describe('candles begin', () => {
  const CASES: [interval: string, instant: string, start: string, next: string][] = [
    ['1m', '2013-10-07T13:30:59.999Z', '2013-10-07T13:30', '2013-10-07T13:31'],
    ['1h', '2013-10-07T13:30:00Z', '2013-10-07T13:00', '2013-10-07T14:00'],
    // New York is four hours behind in October, five in December.
    ['2h', '2013-10-07T13:30:00Z', '2013-10-07T12:00', '2013-10-07T14:00'],
    ['4h', '2013-12-09T14:30:00Z', '2013-12-09T13:00', '2013-12-09T17:00'],
    ['1d', '2013-10-08T03:59:59Z', '2013-10-07T04:00', '2013-10-08T04:00'],
    ['1w', '2013-10-13T12:00:00Z', '2013-10-07T04:00', '2013-10-14T04:00'],
    // From the open, 09:30, back and forward; cut at midnight.
    ['65m', '2013-10-07T13:30:00Z', '2013-10-07T13:30', '2013-10-07T14:35'],
    ['65m', '2013-10-07T13:29:59Z', '2013-10-07T12:25', '2013-10-07T13:30'],
    ['65m', '2013-10-07T04:10:00Z', '2013-10-07T04:00', '2013-10-07T04:50'],
    ['65m', '2013-10-08T03:40:00Z', '2013-10-08T03:35', '2013-10-08T04:00'],
    // Clocks went forward on 2024-03-10 at 07:00 UTC and back on 2023-11-05 at 06:00 UTC.
    ['2h', '2024-03-10T06:30:00Z', '2024-03-10T05:00', '2024-03-10T07:00'],
    ['2h', '2024-03-10T07:30:00Z', '2024-03-10T07:00', '2024-03-10T08:00'],
    ['90m', '2024-03-10T07:30:00Z', '2024-03-10T07:00', '2024-03-10T08:30'],
    ['65m', '2024-03-10T07:05:00Z', '2024-03-10T07:00', '2024-03-10T08:05'],
    ['2h', '2023-11-05T06:30:00Z', '2023-11-05T04:00', '2023-11-05T07:00'],
    ['1d', '2024-03-10T12:00:00Z', '2024-03-10T05:00', '2024-03-11T04:00'],
    ['1d', '2023-11-05T12:00:00Z', '2023-11-05T04:00', '2023-11-06T05:00'],
    ['1w', '2023-11-05T12:00:00Z', '2023-10-30T04:00', '2023-11-06T05:00'],
  ];
  for (const [interval, instant, start, next] of CASES) {
    test(`${interval} around ${instant}`, () => {
      const found = candleStart(of(interval), ms(instant));
      expect(iso(found)).toBe(start);
      expect(iso(addCandles(of(interval), found, 1))).toBe(next);
      expect(iso(nextCandleStart(of(interval), found))).toBe(start);
      expect(iso(nextCandleStart(of(interval), found + 1))).toBe(next);
      expect(iso(addCandles(of(interval), ms(`${next}Z`), -1))).toBe(start);
    });
  }

  test('neither twice nor never: every instant of both Sundays is in one candle', () => {
    for (const text of ['2h', '3h', '45m', '90m', '65m', '195m', '1d', '1w']) {
      const interval = of(text);
      for (const day of ['2024-03-10', '2023-11-05', '2013-10-07']) {
        const first = candleStart(interval, ms(`${day}T00:00Z`));
        const end = ms(`${day}T00:00Z`) + 3 * 86_400_000;
        const starts = candleStarts(interval, first, end);
        expect(starts[0]).toBe(first);
        for (let i = 1; i < starts.length; i++) {
          expect(addCandles(interval, starts[i - 1]!, 1)).toBe(starts[i]!);
          expect(candleStart(interval, starts[i]! - 1)).toBe(starts[i - 1]!);
          expect(addCandles(interval, first, i)).toBe(starts[i]!);
          expect(addCandles(interval, starts[i]!, -i)).toBe(first);
        }
      }
    }
  });
});
