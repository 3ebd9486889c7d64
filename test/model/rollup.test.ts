import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type IntradayBars, makeIntradayBars } from '../../src/model/intraday.ts';
import { type RollUpOptions, rollUpDay, rollUpIntraday } from '../../src/model/rollup.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import { SESSION_PARTS } from '../../src/model/session-part.ts';
import { toIntradayColumns } from '../fixtures/minutes.ts';
import {
  everyMinute,
  instantOf,
  type Minute,
  newYorkText,
  readMinutes,
} from '../fixtures/recorded-minutes.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const MINUTE_MS = 60_000;
const calendar = makeCalendar();
const SPY = readMinutes('polygon_SPY_1min_20240220_20240517.csv');
const SPY_JULY = readMinutes('SPY_1min_202507.csv');
const GOOG = ['23', '24', '28'].flatMap((day) => readMinutes(`lean/goog_201512${day}.csv`));
const SHY = ['07', '10'].flatMap((day) => readMinutes(`lean/shy_200803${day}.csv`));

type Change = Partial<RollUpOptions> & { sourceMs?: number };

function roll(source: readonly Minute[] | IntradayBars, minutes: number, change: Change = {}) {
  const { sourceMs = MINUTE_MS, ...options } = change;
  const bars = 'ts' in source ? source : toIntradayColumns(source);
  return rollUpIntraday(bars, sourceMs, {
    ...{ minutes, calendar, sessions: 'regular', anchor: 'session', closingAuction: false },
    ...options,
  });
}

/** A bucket in words. */
interface Bucket {
  ts: number;
  end: number;
  part: string;
  values: number[];
}

function buckets({ bars, endMs, part }: ReturnType<typeof roll>): Bucket[] {
  return Array.from({ length: bars.length }, (_, i) => ({
    ts: bars.ts[i],
    end: endMs[i],
    part: SESSION_PARTS[part[i]],
    values: [bars.open, bars.high, bars.low, bars.close, bars.volume, bars.tradeCount].map(
      (column) => column[i],
    ),
  }));
}

/** '2024-02-20 09:30-10:35 regular' of each bucket. */
function spans(rolled: ReturnType<typeof roll>): string[] {
  return buckets(rolled).map(({ ts, end, part }) => {
    return `${newYorkText(ts).slice(0, 16)}-${newYorkText(end).slice(11, 16)} ${part}`;
  });
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
/** Minutes after midnight on the clock. */
const clock = (text: string) => Number(text.slice(11, 13)) * 60 + Number(text.slice(14, 16));
const closeOf = (date: string) => (/-12-24|2025-07-03/.test(date) ? 780 : 960);

const clockTexts = new Map<Minute, string>();

/** What the clock shows, remembered: to ask the time zone database takes long. */
function clockText(minute: Minute): string {
  const text = clockTexts.get(minute) ?? newYorkText(minute.ts);
  clockTexts.set(minute, text);
  return text;
}

/** The same by hand: the minutes put into groups by what a clock in New York shows. */
function naive(source: readonly Minute[], minutes: number, change: Change = {}): Bucket[] {
  const { sessions = 'regular', anchor = 'session' } = change;
  const groups = new Map<string, { bucket: Bucket; members: Minute[] }>();
  for (const minute of source) {
    const text = clockText(minute);
    const date = text.slice(0, 10);
    const at = clock(text);
    const close = closeOf(date);
    const limits = [0, 240, 570, close, close + 240, 1440];
    const index = limits.findLastIndex((limit) => limit <= at);
    const part = ['closed', 'pre_market', 'regular', 'after_hours', 'closed'][index];
    if (sessions === 'regular' && part !== 'regular') continue;
    if (sessions === 'extended' && part === 'closed') continue;
    const isMixed = anchor === 'clock' && sessions !== 'regular';
    const origin = anchor === 'clock' ? 0 : limits[index];
    const start = origin + Math.floor((at - origin) / minutes) * minutes;
    let last = limits[index + 1];
    if (isMixed) last = sessions === 'all' ? 1440 : close + 240;
    const end = Math.min(start + minutes, last);
    const overlaps = (from: number, to: number) => start < to && end > from;
    const mixed = [
      ...(overlaps(570, close) ? ['regular'] : []),
      ...(overlaps(240, 570) ? ['pre_market'] : []),
      ...(overlaps(close, close + 240) ? ['after_hours'] : []),
    ];
    const bucket: Bucket = {
      ts: minute.ts - (at - start) * MINUTE_MS,
      end: minute.ts + (end - at) * MINUTE_MS,
      part: isMixed ? (mixed[0] ?? 'closed') : part,
      values: [],
    };
    const key = `${date} ${isMixed ? '' : index} ${start}`;
    const group = groups.get(key) ?? { bucket, members: [] };
    group.members.push(minute);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ bucket, members }) => ({
    ...bucket,
    values: [
      members[0].open,
      members.map(({ high }) => high).sort((a, b) => b - a)[0],
      members.map(({ low }) => low).sort((a, b) => a - b)[0],
      members[members.length - 1].close,
      sum(members.map(({ volume }) => volume)),
      sum(members.map(({ tradeCount = Number.NaN }) => tradeCount)),
    ],
  }));
}

const describeBucket = ({ ts, end, part, values }: Bucket) =>
  `${new Date(ts).toISOString()} ${new Date(end).toISOString()} ${part} ${values.join(' ')}`;

describe('every bucket agrees with grouping by hand', () => {
  const lengths = [
    1, 2, 3, 5, 7, 10, 15, 30, 39, 45, 60, 65, 78, 90, 120, 130, 195, 240, 390, 1440,
  ];
  const sets: [string, Minute[]][] = [
    ['63 sessions of SPY', SPY],
    ['SPY in July with a half day', SPY_JULY],
    ['GOOG around the half day of Christmas Eve', GOOG],
    ['SHY around the change of clocks in 2008', SHY],
  ];
  for (const sessions of ['regular', 'extended', 'all'] as const) {
    for (const anchor of ['session', 'clock'] as const) {
      test.each(sets)(`${sessions}, ${anchor}: %s`, (_, source) => {
        const columns = toIntradayColumns(source);
        for (const minutes of lengths) {
          const change = { sessions, anchor };
          const expected = naive(source, minutes, change).map(describeBucket);
          expect(buckets(roll(columns, minutes, change)).map(describeBucket)).toEqual(expected);
        }
      });
    }
  }
});

describe('regular sessions', () => {
  test('have 390 minutes, and 210 before an early close', () => {
    const counts = (source: Minute[]) => {
      const { bars } = roll(source, 1);
      return Object.fromEntries(
        [...Map.groupBy(bars.session, toDate)].map(([date, all]) => [date, all.length]),
      );
    };
    const spy = counts(SPY);
    expect(Object.keys(spy)).toHaveLength(63);
    expect(new Set(Object.values(spy))).toEqual(new Set([390]));
    const july = counts(SPY_JULY);
    expect([july['2025-07-02'], july['2025-07-03'], july['2025-07-07']]).toEqual([390, 210, 390]);
    expect(july['2025-07-04']).toBeUndefined();
    const goog = counts(GOOG);
    // In eight minutes of the last one nothing was traded.
    expect([goog['2015-12-23'], goog['2015-12-24'], goog['2015-12-28']]).toEqual([390, 210, 382]);
  });

  const day = (source: Minute[], date: string) =>
    source.filter(({ ts }) => newYorkText(ts).startsWith(date));
  const half = day(SPY_JULY, '2025-07-03');
  const full = day(SPY_JULY, '2025-07-02');

  test('hold six buckets of 65 minutes, and seven of an hour, the last one cut', () => {
    expect(roll(SPY, 65).bars.length).toBe(63 * 6);
    expect(roll(SPY, 60).bars.length).toBe(63 * 7);
    expect(spans(roll(full, 65))).toEqual([
      '2025-07-02 09:30-10:35 regular',
      '2025-07-02 10:35-11:40 regular',
      '2025-07-02 11:40-12:45 regular',
      '2025-07-02 12:45-13:50 regular',
      '2025-07-02 13:50-14:55 regular',
      '2025-07-02 14:55-16:00 regular',
    ]);
    expect(spans(roll(full, 60)).slice(-2)).toEqual([
      '2025-07-02 14:30-15:30 regular',
      '2025-07-02 15:30-16:00 regular',
    ]);
  });

  test('that close early cut their last bucket', () => {
    expect(spans(roll(half, 60))).toEqual([
      '2025-07-03 09:30-10:30 regular',
      '2025-07-03 10:30-11:30 regular',
      '2025-07-03 11:30-12:30 regular',
      '2025-07-03 12:30-13:00 regular',
    ]);
    expect(spans(roll(half, 195))).toEqual([
      '2025-07-03 09:30-12:45 regular',
      '2025-07-03 12:45-13:00 regular',
    ]);
  });

  test('on the clock begin with the hour of nine', () => {
    const hours = spans(roll(full, 60, { anchor: 'clock' }));
    expect(hours[0]).toBe('2025-07-02 09:00-10:00 regular');
    expect(hours.at(-1)).toBe('2025-07-02 15:00-16:00 regular');
    expect(hours).toHaveLength(7);
    expect(spans(roll(full, 240, { anchor: 'clock' }))).toEqual([
      '2025-07-02 08:00-12:00 regular',
      '2025-07-02 12:00-16:00 regular',
    ]);
    expect(spans(roll(half, 240, { anchor: 'clock' })).at(-1)).toBe(
      '2025-07-03 12:00-13:00 regular',
    );
    // Nothing of before the open is in it.
    const [nine] = buckets(roll(full, 60, { anchor: 'clock' }));
    const opening = full.filter(({ ts }) => {
      return ts >= instantOf('2025-07-02 09:30') && ts < instantOf('2025-07-02 10:00');
    });
    expect(nine.values[4]).toBe(sum(opening.map(({ volume }) => volume)));
  });
});

describe('the closing auction', () => {
  const close = instantOf('2024-02-20 16:00');
  const day = SPY.filter(({ ts }) => newYorkText(ts).startsWith('2024-02-20'));
  const auction = day.find(({ ts }) => ts === close) as Minute;
  const auctionOn = { closingAuction: true };

  test('is left out unless it is asked for', () => {
    const { bars } = roll(day, 1);
    expect(bars.ts.at(-1)).toBe(close - MINUTE_MS);
    expect(bars.length).toBe(390);
  });

  test('is a bar of its own among minutes', () => {
    const rolled = roll(day, 1, auctionOn);
    expect(rolled.bars.length).toBe(391);
    expect(buckets(rolled).at(-1)).toMatchObject({
      ...{ ts: close, end: close + MINUTE_MS, part: 'regular' },
      values: [auction.open, auction.high, auction.low, auction.close, auction.volume, 895],
    });
    expect(rolled.endMs[389]).toBe(close);
  });

  test.each([5, 60, 65, 390, 1440])('is in the last bucket of %d minutes', (minutes) => {
    const [without, with_] = [roll(day, minutes), roll(day, minutes, auctionOn)];
    expect(spans(with_)).toEqual(spans(without));
    const [plain, last] = [without, with_].map((rolled) => buckets(rolled).at(-1) as Bucket);
    expect(last.values[3]).toBe(auction.close);
    expect(last.values[4]).toBe(plain.values[4] + auction.volume);
    expect(last.end).toBe(close);
    expect(buckets(with_).slice(0, -1)).toEqual(buckets(without).slice(0, -1));
  });

  test.each(['session', 'clock'] as const)(
    'makes the last bucket when it is alone, %s',
    (anchor) => {
      const { bars, endMs } = roll([auction], 30, { ...auctionOn, anchor });
      expect([...bars.ts]).toEqual([instantOf('2024-02-20 15:30')]);
      expect([...endMs]).toEqual([close]);
    },
  );

  test('begins at 13:00 on half days, and the minute after it is no part of it', () => {
    const eve = GOOG.filter(({ ts }) => newYorkText(ts).startsWith('2015-12-24'));
    const one = instantOf('2015-12-24 13:00');
    const { bars, order } = roll(eve, 30, auctionOn);
    const taken = eve.filter(({ ts }) => ts >= instantOf('2015-12-24 09:30') && ts <= one);
    expect(order.length).toBe(taken.length);
    expect(sum(bars.volume)).toBe(sum(taken.map(({ volume }) => volume)));
    expect(taken.at(-1)?.ts).toBe(one);
    expect(bars.ts.at(-1)).toBe(instantOf('2015-12-24 12:30'));
  });

  test.each(['extended', 'all'] as const)('is after hours in %s', (sessions) => {
    const rolled = roll(day, 5, { ...auctionOn, sessions });
    expect(buckets(rolled)).toEqual(buckets(roll(day, 5, { sessions })));
    const after = buckets(rolled).find(({ ts }) => ts === close);
    expect(after?.part).toBe('after_hours');
  });
});

describe('extended hours', () => {
  const wholeDay = everyMinute('2025-07-02 00:00', '2025-07-03 00:00');
  const halfDay = everyMinute('2025-07-03 00:00', '2025-07-04 00:00');

  test('are from 04:00 to 20:00, and to 17:00 after a close at 13:00', () => {
    expect(spans(roll(wholeDay, 240, { sessions: 'extended' }))).toEqual([
      '2025-07-02 04:00-08:00 pre_market',
      '2025-07-02 08:00-09:30 pre_market',
      '2025-07-02 09:30-13:30 regular',
      '2025-07-02 13:30-16:00 regular',
      '2025-07-02 16:00-20:00 after_hours',
    ]);
    expect(spans(roll(halfDay, 240, { sessions: 'extended' })).slice(2)).toEqual([
      '2025-07-03 09:30-13:00 regular',
      '2025-07-03 13:00-17:00 after_hours',
    ]);
    expect(sum(roll(wholeDay, 7, { sessions: 'extended' }).bars.volume)).toBe(960);
    expect(sum(roll(halfDay, 7, { sessions: 'extended' }).bars.volume)).toBe(780);
  });

  test('on the clock mix parts, and say regular when the session is in it', () => {
    const change = { sessions: 'extended', anchor: 'clock' } as const;
    expect(spans(roll(wholeDay, 240, change))).toEqual([
      '2025-07-02 04:00-08:00 pre_market',
      '2025-07-02 08:00-12:00 regular',
      '2025-07-02 12:00-16:00 regular',
      '2025-07-02 16:00-20:00 after_hours',
    ]);
    expect(spans(roll(halfDay, 240, change)).slice(-2)).toEqual([
      '2025-07-03 12:00-16:00 regular',
      '2025-07-03 16:00-17:00 after_hours',
    ]);
    expect(spans(roll(wholeDay, 180, change))[0]).toBe('2025-07-02 03:00-06:00 pre_market');
  });

  test('with the night are every minute of the day', () => {
    const byPart = roll(wholeDay, 240, { sessions: 'all' });
    expect(spans(byPart)[0]).toBe('2025-07-02 00:00-04:00 closed');
    expect(spans(byPart).at(-1)).toBe('2025-07-02 20:00-00:00 closed');
    const onClock = roll(wholeDay, 300, { sessions: 'all', anchor: 'clock' });
    expect(spans(onClock)).toEqual([
      '2025-07-02 00:00-05:00 pre_market',
      '2025-07-02 05:00-10:00 regular',
      '2025-07-02 10:00-15:00 regular',
      '2025-07-02 15:00-20:00 regular',
      '2025-07-02 20:00-00:00 closed',
    ]);
    expect([sum(byPart.bars.volume), sum(onClock.bars.volume)]).toEqual([1440, 1440]);
  });

  test('are none on closed days, whose bars only all shows', () => {
    const holiday = everyMinute('2025-07-04 00:00', '2025-07-05 00:00');
    for (const sessions of ['regular', 'extended'] as const) {
      expect(roll(holiday, 60, { sessions }).bars.length).toBe(0);
      expect(roll(holiday, 60, { sessions }).order.length).toBe(0);
    }
    const { bars, part } = roll(holiday, 60, { sessions: 'all' });
    expect([bars.length, new Set(part)]).toEqual([24, new Set([3])]);
  });

  test('follow an override of the calendar, and end with their day', () => {
    const late = makeCalendar([
      { date: '2025-07-02', kind: 'session', open: '03:00', close: '22:00', reason: 'late' },
    ]);
    const change = { calendar: late, sessions: 'all' } as const;
    expect(spans(roll(wholeDay, 720, change))).toEqual([
      '2025-07-02 00:00-03:00 closed',
      '2025-07-02 03:00-15:00 regular',
      '2025-07-02 15:00-22:00 regular',
      '2025-07-02 22:00-00:00 after_hours',
    ]);
    expect(sum(roll(wholeDay, 7, change).bars.volume)).toBe(1440);
  });
});

describe('daylight saving', () => {
  /** The Sundays, in hours, and the sessions beside them. */
  const sundays: [string, number][] = [
    ['2024-03-10', 23],
    ['2008-03-09', 23],
    ['2006-04-02', 23],
    ['2023-11-05', 25],
    ['2006-10-29', 25],
  ];

  /** Every minute of a date and the days beside it, by elapsed time. */
  function around(date: string): Minute[] {
    const [before, after] = [-1, 2].map((by) => toDate(toDay(date) + by));
    return everyMinute(`${before} 00:00`, `${after} 00:00`);
  }

  const on = (rolled: ReturnType<typeof roll>, date: string) =>
    spans(rolled)
      .filter((span) => span.startsWith(date))
      .map((span) => span.slice(11, 22));

  test.each(sundays)('on %s loses no minute and doubles none', (date, hours) => {
    const source = around(date);
    expect(source.length).toBe((48 + hours) * 60);
    for (const anchor of ['session', 'clock'] as const) {
      for (const minutes of [1, 5, 7, 15, 30, 45, 60, 65, 90, 120, 180, 240, 720, 1440]) {
        const { bars, endMs, rows, order } = roll(source, minutes, { sessions: 'all', anchor });
        expect(sum(bars.volume)).toBe(source.length);
        expect([...order]).toEqual(source.map((_, i) => i));
        const longest = anchor === 'clock' && minutes > 60 ? minutes + 60 : minutes;
        const wrong = [...bars.ts].filter((ts, i) => {
          const length = (endMs[i] - ts) / MINUTE_MS;
          // Each bucket begins where the one before it ends, and holds all its minutes.
          const isNext = ts === (i === 0 ? source[0].ts : endMs[i - 1]);
          return !isNext || rows[i + 1] - rows[i] !== length || length > longest;
        });
        expect(wrong.map(newYorkText)).toEqual([]);
      }
    }
  });

  test('has no buckets in the hour that is missing', () => {
    const source = around('2024-03-10');
    const onClock = (minutes: number) =>
      on(roll(source, minutes, { sessions: 'all', anchor: 'clock' }), '2024-03-10');
    expect(onClock(30).slice(2, 7)).toEqual([
      '01:00-01:30',
      '01:30-03:00',
      '03:00-03:30',
      '03:30-04:00',
      '04:00-04:30',
    ]);
    expect(onClock(60).slice(0, 4)).toEqual([
      '00:00-01:00',
      '01:00-03:00',
      '03:00-04:00',
      '04:00-05:00',
    ]);
    expect(onClock(120).slice(0, 3)).toEqual(['00:00-03:00', '03:00-04:00', '04:00-06:00']);
    expect(onClock(240).slice(0, 2)).toEqual(['00:00-04:00', '04:00-08:00']);
    expect(onClock(1440)).toEqual(['00:00-00:00']);
    expect([30, 60, 120, 240].map((minutes) => onClock(minutes).length)).toEqual([46, 23, 12, 6]);
  });

  test('has the hour that comes twice twice', () => {
    const source = around('2023-11-05');
    const onClock = (minutes: number) =>
      on(roll(source, minutes, { sessions: 'all', anchor: 'clock' }), '2023-11-05');
    expect(onClock(60).slice(0, 4)).toEqual([
      '00:00-01:00',
      '01:00-01:00',
      '01:00-02:00',
      '02:00-03:00',
    ]);
    expect(onClock(30).slice(2, 7)).toEqual([
      '01:00-01:30',
      '01:30-01:00',
      '01:00-01:30',
      '01:30-02:00',
      '02:00-02:30',
    ]);
    expect(onClock(90).slice(0, 4)).toEqual([
      '00:00-01:30',
      '01:30-01:00',
      '01:00-01:30',
      '01:30-03:00',
    ]);
    expect(onClock(240).slice(0, 2)).toEqual(['00:00-04:00', '04:00-08:00']);
    expect(onClock(1440)).toEqual(['00:00-00:00']);
    const four = roll(source, 240, { sessions: 'all', anchor: 'clock' });
    const first = four.bars.ts.indexOf(instantOf('2023-11-05 00:00'));
    expect(four.endMs[first] - four.bars.ts[first]).toBe(5 * 60 * MINUTE_MS);
  });

  test('moves the sessions on either side, in UTC, not on the clock', () => {
    const opens = (source: Minute[]) =>
      [...roll(source, 390).bars.ts].map((ts) => new Date(ts).toISOString().slice(0, 16));
    expect(opens(SHY)).toEqual(['2008-03-07T14:30', '2008-03-10T13:30']);
    const march = opens(SPY).filter((text) => /-03-(08|11)/.test(text));
    expect(march).toEqual(['2024-03-08T14:30', '2024-03-11T13:30']);
    const november = [
      ...everyMinute('2023-11-03 04:00', '2023-11-03 20:00'),
      ...everyMinute('2023-11-06 04:00', '2023-11-06 20:00'),
    ];
    expect(opens(november)).toEqual(['2023-11-03T13:30', '2023-11-06T14:30']);
    expect(spans(roll(november, 240, { anchor: 'clock' }))).toEqual([
      '2023-11-03 08:00-12:00 regular',
      '2023-11-03 12:00-16:00 regular',
      '2023-11-06 08:00-12:00 regular',
      '2023-11-06 12:00-16:00 regular',
    ]);
  });
});

describe('hours as the source', () => {
  const HOUR = { sourceMs: 60 * MINUTE_MS, anchor: 'clock' } as const;
  const hours = everyMinute('2025-07-02 00:00', '2025-07-04 00:00', 60);

  test('are regular when they overlap the session', () => {
    expect(spans(roll(hours, 60, HOUR))).toEqual([
      ...['09:00-10:00', '10:00-11:00', '11:00-12:00', '12:00-13:00', '13:00-14:00', '14:00-15:00']
        .concat('15:00-16:00')
        .map((span) => `2025-07-02 ${span} regular`),
      ...['09:00-10:00', '10:00-11:00', '11:00-12:00', '12:00-13:00'].map(
        (span) => `2025-07-03 ${span} regular`,
      ),
    ]);
    expect(spans(roll(hours, 240, HOUR))).toEqual([
      '2025-07-02 08:00-12:00 regular',
      '2025-07-02 12:00-16:00 regular',
      '2025-07-03 08:00-12:00 regular',
      '2025-07-03 12:00-13:00 regular',
    ]);
    expect([...roll(hours, 240, HOUR).bars.volume]).toEqual([3, 4, 3, 1]);
    expect([...roll(hours, 240, { ...HOUR, sessions: 'extended' }).bars.volume]).toEqual([
      ...[4, 4, 4, 4],
      ...[4, 4, 4, 1],
    ]);
    expect(sum(roll(hours, 240, { ...HOUR, sessions: 'all' }).bars.volume)).toBe(48);
  });

  test('make what minutes make', () => {
    for (const sessions of ['extended', 'all'] as const) {
      const made = roll(SPY, 60, { sessions, anchor: 'clock' }).bars;
      for (const minutes of [60, 120, 240]) {
        const change = { sessions, anchor: 'clock' } as const;
        expect(buckets(roll(made, minutes, { ...change, ...HOUR }))).toEqual(
          buckets(roll(SPY, minutes, change)),
        );
      }
    }
  });

  test('cannot make other buckets', () => {
    expect(() => roll(hours, 60, { ...HOUR, anchor: 'session' })).toThrow(
      new RangeError(
        'hourly bars are cut on the clock, so buckets cannot be counted from the session; ' +
          "anchor 'clock' is possible, or minutes as the source",
      ),
    );
    expect(() => roll(hours, 90, HOUR)).toThrow('90 minutes cannot be made of bars of 60 minutes');
    expect(() => roll(hours, 30, HOUR)).toThrow('30 minutes cannot be made of bars of 60 minutes');
    expect(() => roll(hours, 60, { ...HOUR, closingAuction: true })).toThrow('closing auction');
  });
});

describe('rolled bars', () => {
  test('hold all that was traded', () => {
    for (const minutes of [1, 5, 65, 240]) {
      for (const anchor of ['session', 'clock'] as const) {
        const { bars, rows, order } = roll(SPY, minutes, { sessions: 'all', anchor });
        expect(sum(bars.volume)).toBe(sum(SPY.map(({ volume }) => volume)));
        expect(sum(bars.tradeCount)).toBe(sum(SPY.map(({ tradeCount }) => tradeCount ?? 0)));
        expect([rows[0], rows.at(-1), order.length]).toEqual([0, SPY.length, SPY.length]);
      }
    }
  });

  test('rolled again are those that are rolled at once', () => {
    for (const sessions of ['regular', 'extended', 'all'] as const) {
      for (const anchor of ['session', 'clock'] as const) {
        const five = roll(SPY, 5, { sessions, anchor }).bars;
        const twice = roll(five, 30, { sessions, anchor, sourceMs: 5 * MINUTE_MS });
        expect(buckets(twice)).toEqual(buckets(roll(SPY, 30, { sessions, anchor })));
      }
    }
  });

  test('name their source rows, also where rows between them take no part', () => {
    const { bars, rows, order } = roll(SPY, 65);
    for (let i = 0; i < bars.length; i++) {
      const members = [...order.subarray(rows[i], rows[i + 1])].map((row) => SPY[row]);
      expect(members.length).toBe(65);
      expect(members[0].ts).toBe(bars.ts[i]);
      expect(members[0].open).toBe(bars.open[i]);
      expect(members[64].close).toBe(bars.close[i]);
    }
  });

  const minute = (text: string, change: Partial<Minute> = {}): Minute => ({
    ...{ ts: instantOf(text), open: 10, high: 11, low: 9, close: 10, volume: 100 },
    ...change,
  });

  test('have the weighted mean price, to four places, where all bars have theirs', () => {
    const source = [
      minute('2024-02-20 09:30', { volume: 100, vwap: 10.5, tradeCount: 7 }),
      minute('2024-02-20 09:31', { volume: 300, vwap: 12.5, tradeCount: 5 }),
      minute('2024-02-20 09:34', { volume: 50, vwap: 9.25, tradeCount: 2 }),
      minute('2024-02-20 09:35', { vwap: 10.5, tradeCount: 7 }),
      minute('2024-02-20 09:36'),
      minute('2024-02-20 09:40', { volume: 0, vwap: 10, tradeCount: 0 }),
    ];
    const { bars } = roll(source, 5);
    // (100 * 10.5 + 300 * 12.5 + 50 * 9.25) / 450 = 11.69444...
    expect([...bars.vwap]).toEqual([11.6944, NaN, NaN]);
    expect([...bars.tradeCount]).toEqual([14, NaN, 0]);
  });

  test('are dated in New York', () => {
    const { bars } = roll([minute('2024-02-20 19:59'), minute('2024-02-20 23:59')], 60, {
      sessions: 'all',
    });
    expect([...bars.session].map(toDate)).toEqual(['2024-02-20', '2024-02-20']);
  });

  test('of no bars are none', () => {
    const { bars, rows, order, endMs, part } = roll([], 5);
    expect([bars.length, endMs.length, part.length, order.length]).toEqual([0, 0, 0, 0]);
    expect([...rows]).toEqual([0]);
  });

  test('of days that the calendar does not know are closed', () => {
    const old = minute('1989-06-05 10:00');
    expect(roll([old], 5).bars.length).toBe(0);
    expect(spans(roll([old], 5, { sessions: 'all' }))).toEqual(['1989-06-05 10:00-10:05 closed']);
  });

  test('need a source that ascends and divides the bucket', () => {
    const [later, earlier] = [minute('2024-02-20 09:31'), minute('2024-02-20 09:30')];
    expect(() => roll([later, earlier], 5)).toThrow(
      'bars must ascend by ts, but 2024-02-20T14:30:00.000Z (row 1) follows ' +
        '2024-02-20T14:31:00.000Z',
    );
    for (const minutes of [0, -5, 1.5, 1441, Number.NaN]) {
      expect(() => roll([earlier], minutes)).toThrow('allowed are 1 to 1440');
    }
    for (const sourceMs of [0, 30_000, 7 * MINUTE_MS, 120 * MINUTE_MS]) {
      expect(() => roll([earlier], 840, { sourceMs })).toThrow('minutes that divide an hour');
    }
    expect(() => roll([earlier], 7, { sourceMs: 5 * MINUTE_MS })).toThrow('7 minutes cannot be');
  });
});

describe('a day made of minutes', () => {
  const make = (source: readonly Minute[], date: string) =>
    rollUpDay(toIntradayColumns(source), calendar, toDay(date));

  test('has the prices of the session, and the volume of the auction with it', () => {
    const source = [
      { ts: instantOf('2025-07-03 09:29'), open: 1, high: 1, low: 1, close: 1, volume: 1 },
      { ts: instantOf('2025-07-03 09:30'), open: 10, high: 12, low: 9, close: 11, volume: 10 },
      { ts: instantOf('2025-07-03 12:59'), open: 11, high: 11, low: 8, close: 10, volume: 20 },
      { ts: instantOf('2025-07-03 13:00'), open: 10, high: 14, low: 7, close: 13, volume: 70 },
      { ts: instantOf('2025-07-03 13:01'), open: 20, high: 20, low: 2, close: 20, volume: 1 },
    ].map((bar, i) => ({ ...bar, vwap: 10 + i, tradeCount: 1 + i }));
    expect(make(source, '2025-07-03')).toEqual({
      ...{ open: 10, high: 12, low: 8, close: 10, volume: 100, vwap: 12.6, tradeCount: 9 },
    });
    // Nothing but the auction.
    expect(make(source.slice(3), '2025-07-03')).toMatchObject({ open: 10, close: 13, volume: 70 });
    expect(make(source.slice(0, 1), '2025-07-03')).toBeUndefined();
    expect(make([], '2025-07-03')).toBeUndefined();
    expect(() => make(source, '2025-07-04')).toThrow('2025-07-04 is no session: Independence Day');
  });

  /** Open, high, low, close, volume of a date in a file of daily bars. */
  function dailyBar(path: string, columns: string, date: string): number[] {
    const lines = readFileSync(join(SHARED_DATA, 'daily', path), 'utf8').split('\n');
    const cells = lines.find((line) => line.startsWith(date))?.split(',') ?? [];
    return columns.split(' ').map((at) => Number(cells[Number(at)]));
  }

  test('is near the bar of the day: 63 sessions of SPY', () => {
    const dates = [...new Set(SPY.map(({ ts }) => newYorkText(ts).slice(0, 10)))];
    const same = [0, 0, 0];
    const ratios: number[] = [];
    for (const date of dates) {
      const bar = make(SPY, date);
      const path = 'yahoo_split_adjusted/yf_SPY_2016_2026.csv';
      const [open, high, low, close, volume] = dailyBar(path, '1 2 3 4 6', date);
      const prices = [bar?.open, bar?.high, bar?.low].map((price = Number.NaN) => price);
      prices.forEach((price, i) => {
        if (Math.abs(price - [open, high, low][i]) < 0.0051) same[i]++;
      });
      expect(Math.abs((bar?.close ?? 0) / close - 1)).toBeLessThan(0.0003);
      ratios.push((bar?.volume ?? 0) / volume);
    }
    expect(same).toEqual([63, 62, 62]);
    const mean = sum(ratios) / ratios.length;
    expect([mean > 0.84, mean < 0.86]).toEqual([true, true]);
  });

  test.each([
    ['goog_20151224', 'lean_raw/goog.csv', '2015-12-24'],
    ['ibm_20131008', 'lean_raw/ibm.csv', '2013-10-08'],
    ['aapl_20140606', 'lean_raw/aapl.csv', '2014-06-06'],
  ])('closes as the day did though the minute after it moved: %s', (file, path, date) => {
    const bar = make(readMinutes(`lean/${file}.csv`), date);
    const [open, , , close] = dailyBar(path, '1 2 3 4 5', date);
    expect([bar?.open, bar?.close]).toEqual([open, close]);
  });
});

test('a bar that is not on a minute is in the bucket that it begins in', () => {
  const bars = makeIntradayBars(1);
  bars.ts[0] = instantOf('2024-02-20 10:04') + 59_999;
  expect([...roll(bars, 5).bars.ts]).toEqual([instantOf('2024-02-20 10:00')]);
});
