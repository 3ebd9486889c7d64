import { describe, expect, test } from 'bun:test';
import {
  type CoverageAnswer,
  type CoverageRange,
  isDue,
  overlay,
  recordAnswer,
  retryDelayMs,
  withoutDays,
} from '../../src/model/coverage.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { below, calendar, type Random, seededRandom } from '../fixtures/bars.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2024-03-01T00:00:00Z');

const SETTLED = { isSettled: true, attempts: 1, retryAt: null, detail: null };

function answer(first: string, last: string, change: Partial<CoverageAnswer> = {}): CoverageAnswer {
  return {
    start: toDay(first),
    end: toDay(last) + 1,
    provider: 'vendor',
    askedAt: NOW,
    settledBefore: toDay('2024-02-20'),
    hasBar: () => true,
    listedOn: null,
    ...change,
  };
}

/** Ranges with their dates in words. */
const shown = (ranges: readonly CoverageRange[]) =>
  ranges.map((range) => `${toDate(range.start)}..${toDate(range.end)} ${range.state}`);

describe('answer', () => {
  test('covers sessions and ends at the next one, so that neighbors touch over a weekend', () => {
    const first = recordAnswer([], answer('2024-01-08', '2024-01-12'), calendar);
    expect(first).toEqual([
      {
        ...{ start: toDay('2024-01-08'), end: toDay('2024-01-16'), state: 'complete' },
        ...{ provider: 'vendor', askedAt: NOW, ...SETTLED },
      },
    ]);
    const both = recordAnswer(first, answer('2024-01-16', '2024-01-17'), calendar);
    expect(shown(both)).toEqual(['2024-01-08..2024-01-18 complete']);
  });

  test('about days without a session says nothing', () => {
    const before = recordAnswer([], answer('2024-01-08', '2024-01-09'), calendar);
    expect(recordAnswer(before, answer('2024-01-13', '2024-01-15'), calendar)).toEqual(before);
  });

  test('that lacks a bar splits the range and is asked again after 20 hours', () => {
    const missing = toDay('2024-01-10');
    const ranges = recordAnswer(
      [],
      answer('2024-01-08', '2024-01-12', {
        hasBar: (day) => day !== missing,
        emptyDetail: (day) => `no row for ${toDate(day)}`,
      }),
      calendar,
    );
    expect(shown(ranges)).toEqual([
      '2024-01-08..2024-01-10 complete',
      '2024-01-10..2024-01-11 vendor_empty',
      '2024-01-11..2024-01-16 complete',
    ]);
    expect(ranges[1]).toMatchObject({
      attempts: 1,
      retryAt: NOW + 20 * HOUR,
      detail: 'no row for 2024-01-10',
    });
  });

  test('that is empty again counts attempts and waits twice as long', () => {
    let ranges: CoverageRange[] = [];
    let askedAt = NOW;
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const empty = { hasBar: () => false, askedAt };
      ranges = recordAnswer(ranges, answer('2024-01-10', '2024-01-10', empty), calendar);
      expect(ranges.map((range) => range.attempts)).toEqual([i + 1]);
      waits.push(((ranges[0].retryAt ?? 0) - askedAt) / HOUR);
      askedAt = ranges[0].retryAt ?? 0;
    }
    expect(waits).toEqual([20, 40, 80, 160, 320, 640, 720, 720]);
  });

  test('with a bar ends the counting', () => {
    const asked = (hasBar: boolean, ranges: CoverageRange[]) =>
      recordAnswer(ranges, answer('2024-01-10', '2024-01-10', { hasBar: () => hasBar }), calendar);
    const ranges = asked(false, asked(true, asked(false, asked(false, []))));
    expect(ranges.map(({ state, attempts }) => [state, attempts])).toEqual([['vendor_empty', 1]]);
  });

  test('of days before the listing is final', () => {
    const ranges = recordAnswer(
      [],
      answer('2024-02-26', '2024-02-28', {
        hasBar: () => false,
        listedOn: toDay('2024-02-28'),
      }),
      calendar,
    );
    expect(shown(ranges)).toEqual([
      '2024-02-26..2024-02-28 before_listing',
      '2024-02-28..2024-02-29 vendor_empty',
    ]);
    expect(ranges[0]).toMatchObject({ isSettled: true, retryAt: null, detail: null });
    expect(ranges[1].isSettled).toBe(false);
  });

  test('with a bar before the listing date believes the bar', () => {
    const ranges = recordAnswer(
      [],
      answer('2024-01-08', '2024-01-09', { listedOn: toDay('2024-02-01') }),
      calendar,
    );
    expect(shown(ranges)).toEqual(['2024-01-08..2024-01-10 complete']);
  });

  test('that is a refusal covers all but the days before the listing, for a month', () => {
    const ranges = recordAnswer(
      [],
      answer('2024-01-08', '2024-01-12', {
        refusal: 'upgrade your plan',
        listedOn: toDay('2024-01-10'),
        hasBar: () => true,
      }),
      calendar,
    );
    expect(shown(ranges)).toEqual([
      '2024-01-08..2024-01-10 before_listing',
      '2024-01-10..2024-01-16 not_entitled',
    ]);
    expect(ranges[1]).toMatchObject({ detail: 'upgrade your plan', retryAt: NOW + 30 * DAY });
  });

  test('splits at the session from which answers are not settled', () => {
    const ranges = recordAnswer([], answer('2024-02-15', '2024-02-22'), calendar);
    expect(ranges.map((range) => [toDate(range.start), range.isSettled])).toEqual([
      ['2024-02-15', true],
      ['2024-02-20', false],
    ]);
  });

  test('leaves the ranges it was given as they were', () => {
    const before = Object.freeze([
      Object.freeze(recordAnswer([], answer('2024-01-08', '2024-01-12'), calendar)[0]),
    ]);
    const copy = structuredClone(before);
    recordAnswer(before, answer('2024-01-09', '2024-01-10', { provider: 'other' }), calendar);
    recordAnswer(before, answer('2024-01-16', '2024-01-17'), calendar);
    expect(before).toEqual(copy);
  });
});

describe('joining', () => {
  const range = (first: string, end: string, change: Partial<CoverageRange> = {}) => ({
    ...{ start: toDay(first), end: toDay(end), state: 'complete' as const, provider: 'vendor' },
    ...{ askedAt: NOW, ...SETTLED },
    ...change,
  });

  test('keeps the later instant of settled neighbors', () => {
    const later = range('2024-01-09', '2024-01-10', { askedAt: NOW + 1 });
    const joined = overlay([range('2024-01-08', '2024-01-09')], [later]);
    expect(joined).toEqual([range('2024-01-08', '2024-01-10', { askedAt: NOW + 1 })]);
  });

  test.each<[string, Partial<CoverageRange>]>([
    ['state', { state: 'before_listing' }],
    ['provider', { provider: 'other' }],
    ['settlement', { isSettled: false }],
    ['attempts', { attempts: 2 }],
    ['retry', { retryAt: NOW }],
    ['detail', { detail: 'why' }],
  ])('is not done when they differ in %s', (_, change) => {
    const joined = overlay(
      [range('2024-01-08', '2024-01-09')],
      [range('2024-01-09', '2024-01-10', change)],
    );
    expect(joined.length).toBe(2);
  });

  test('is not done when unsettled neighbors were asked at different times', () => {
    const open = { isSettled: false };
    const ranges = overlay(
      [range('2024-01-08', '2024-01-09', open)],
      [range('2024-01-09', '2024-01-10', { ...open, askedAt: NOW + 1 })],
    );
    expect(ranges.map(({ askedAt }) => askedAt)).toEqual([NOW, NOW + 1]);
  });

  test('is not done over a hole', () => {
    const ranges = overlay(
      [range('2024-01-08', '2024-01-09')],
      [range('2024-01-10', '2024-01-11')],
    );
    expect(ranges.length).toBe(2);
  });

  test('keeps both ends of a range that is covered in its middle', () => {
    const ranges = overlay(
      [range('2024-01-08', '2024-01-12')],
      [range('2024-01-09', '2024-01-10', { provider: 'other' })],
    );
    expect(shown(ranges)).toEqual([
      '2024-01-08..2024-01-09 complete',
      '2024-01-09..2024-01-10 complete',
      '2024-01-10..2024-01-12 complete',
    ]);
    expect(ranges.map(({ provider }) => provider)).toEqual(['vendor', 'other', 'vendor']);
  });
});

/** One session as a map of single sessions would remember it. */
interface Remembered {
  state: string;
  isSettled: boolean;
  provider: string;
  attempts: number;
  retryAt: number | null;
  detail: string | null;
  askedAt: number;
}

const FIRST = calendar.sessionIndex(toDay('2024-01-02'));
const SESSIONS = Array.from({ length: 40 }, (_, i) => calendar.sessionAt(FIRST + i));

function randomAnswer(random: Random, askedAt: number): CoverageAnswer {
  const start = SESSIONS[0] + below(random, 55);
  const present = new Set(SESSIONS.filter(() => random() < 0.7));
  const first = below(random, 40);
  return {
    start,
    end: Math.min(start + 1 + below(random, 20), SESSIONS[39] + 1),
    provider: random() < 0.8 ? 'vendor' : 'file',
    askedAt,
    settledBefore: SESSIONS[below(random, 40)],
    hasBar: (day) => present.has(day),
    emptyDetail: random() < 0.3 ? (day) => `row ${day % 2}` : undefined,
    listedOn: random() < 0.5 ? SESSIONS[first] : null,
    ...(random() < 0.2 && { refusal: 'not in your plan' }),
  };
}

function rememberNaively(known: Map<number, Remembered>, one: CoverageAnswer): void {
  for (const day of SESSIONS.filter((session) => session >= one.start && session < one.end)) {
    const said = { provider: one.provider, askedAt: one.askedAt, attempts: 1 };
    const isSettled = day < one.settledBefore;
    const plain = { ...said, isSettled, retryAt: null, detail: null };
    const before = known.get(day);
    if (one.refusal === undefined && one.hasBar(day)) {
      known.set(day, { ...plain, state: 'complete' });
    } else if (one.listedOn !== null && day < one.listedOn) {
      known.set(day, { ...plain, state: 'before_listing', isSettled: true });
    } else if (one.refusal !== undefined) {
      const retryAt = one.askedAt + 30 * DAY;
      known.set(day, { ...plain, state: 'not_entitled', retryAt, detail: one.refusal });
    } else {
      const attempts = before?.state === 'vendor_empty' ? before.attempts + 1 : 1;
      const hours = Math.min(20 * 2 ** (attempts - 1), 720);
      const retryAt = one.askedAt + hours * HOUR;
      const detail = one.emptyDetail?.(day) ?? null;
      known.set(day, { ...plain, state: 'vendor_empty', attempts, retryAt, detail });
    }
  }
}

/** What ranges say of each session; when a settled one was asked is not kept. */
function expand(ranges: readonly CoverageRange[]): Map<number, Remembered> {
  const found = new Map<number, Remembered>();
  for (const { start, end, ...rest } of ranges) {
    for (const day of SESSIONS) if (day >= start && day < end) found.set(day, rest);
  }
  return found;
}

const comparable = (known: Map<number, Remembered>) =>
  [...known]
    .sort(([a], [b]) => a - b)
    .map(([day, one]) => ({ day, ...one, askedAt: one.isSettled ? 0 : one.askedAt }));

describe('any sequence of answers', () => {
  for (let seed = 1; seed <= 100; seed++) {
    test(`is remembered as by a map of sessions (seed ${seed})`, () => {
      const random = seededRandom(seed);
      const known = new Map<number, Remembered>();
      let ranges: CoverageRange[] = [];
      for (let i = 0; i < 30; i++) {
        const one = randomAnswer(random, NOW + i * 1000);
        rememberNaively(known, one);
        ranges = recordAnswer(ranges, one, calendar);
        expect(comparable(expand(ranges))).toEqual(comparable(known));
        for (const [a, b] of ranges.slice(1).map((range, j) => [ranges[j], range])) {
          expect(a.end <= b.start).toBe(true);
        }
        for (const range of ranges) {
          expect(range.start < range.end).toBe(true);
          expect(calendar.isSession(range.start) && calendar.isSession(range.end)).toBe(true);
        }
      }
      expect(overlay(ranges, [])).toEqual(ranges);
      expect(overlay([], ranges)).toEqual(ranges);
    });
  }

  test('of complete settled sessions in any order is one range', () => {
    const random = seededRandom(5);
    let ranges: CoverageRange[] = [];
    for (const day of SESSIONS.toSorted(() => random() - 0.5)) {
      const date = toDate(day);
      const one = answer(date, date, { settledBefore: toDay('2025-01-01') });
      ranges = recordAnswer(ranges, one, calendar);
    }
    expect(shown(ranges)).toEqual([
      `${toDate(SESSIONS[0])}..${toDate(calendar.sessionAt(FIRST + 40))} complete`,
    ]);
  });
});

describe('due', () => {
  const range = (change: Partial<CoverageRange>): CoverageRange => ({
    ...{ start: 0, end: 1, state: 'complete', provider: 'vendor', askedAt: NOW, ...SETTLED },
    ...change,
  });

  test('is what was never asked', () => {
    expect(isDue(undefined, NOW, NOW)).toBe(true);
  });

  test('is not what is complete and settled', () => {
    expect(isDue(range({ askedAt: 0 }), NOW, NOW)).toBe(false);
  });

  test('is what is settled when its time is over, and what is not settled as ever', () => {
    const kept = range({ retryAt: NOW });
    expect(isDue(kept, NOW - 1, NOW + DAY)).toBe(false);
    expect(isDue(kept, NOW, 0)).toBe(true);
    const open = range({ isSettled: false, askedAt: NOW, retryAt: NOW });
    expect(isDue(open, NOW + DAY, NOW)).toBe(false);
  });

  test('is an unsettled answer once for each session published since', () => {
    const open = range({ isSettled: false });
    expect(isDue(open, NOW + DAY, NOW - 1)).toBe(false);
    expect(isDue(open, NOW + DAY, NOW)).toBe(false);
    expect(isDue(open, NOW + DAY, NOW + 1)).toBe(true);
  });

  test.each(['vendor_empty', 'not_entitled'] as const)('is %s from its retry time on', (state) => {
    const empty = range({ state, retryAt: NOW + 10, isSettled: false });
    expect(isDue(empty, NOW + 9, NOW + DAY)).toBe(false);
    expect(isDue(empty, NOW + 10, 0)).toBe(true);
  });

  test('is never what lies before the listing', () => {
    const before = range({ state: 'before_listing' });
    expect(isDue(before, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)).toBe(false);
  });
});

test('the wait doubles from 20 hours to 30 days and stays finite', () => {
  const hours = [1, 2, 3, 4, 5, 6, 7, 8, 50, 5_000].map((n) => retryDelayMs(n) / HOUR);
  expect(hours).toEqual([20, 40, 80, 160, 320, 640, 720, 720, 720, 720]);
});

describe('coverage without some days', () => {
  const range = (start: string, end: string): CoverageRange => ({
    ...{ start: toDay(start), end: toDay(end), state: 'complete', provider: 'vendor' },
    ...{ askedAt: NOW, ...SETTLED },
  });
  const ranges = [range('2024-01-08', '2024-01-16'), range('2024-01-18', '2024-01-20')];
  const without = (...dates: string[]) => shown(withoutDays(ranges, dates.map(toDay)));

  test('leaves them to be asked for, and the rest as it was', () => {
    expect(without()).toEqual(shown(ranges));
    expect(without('2024-01-08', '2024-01-10', '2024-01-11', '2024-01-19')).toEqual([
      '2024-01-09..2024-01-10 complete',
      '2024-01-12..2024-01-16 complete',
      '2024-01-18..2024-01-19 complete',
    ]);
    expect(without('2024-01-18', '2024-01-19')).toEqual(['2024-01-08..2024-01-16 complete']);
  });

  test('that it does not have is as it was', () => {
    expect(without('2024-01-02', '2024-01-16', '2024-01-17', '2024-01-22')).toEqual(shown(ranges));
  });

  test('says of every other day what it said before (500 cases)', () => {
    const random = seededRandom(11);
    for (let i = 0; i < 500; i++) {
      const all: CoverageRange[] = [];
      for (let start = 100; start < 160; ) {
        const end = start + 1 + below(random, 9);
        if (random() < 0.7) all.push({ ...ranges[0], start, end });
        start = end + below(random, 3);
      }
      const days = [...new Set(Array.from({ length: below(random, 20) }, () => below(random, 80)))]
        .map((day) => day + 90)
        .sort((a, b) => a - b);
      const left = withoutDays(all, days);
      const has = (list: readonly CoverageRange[], day: number) =>
        list.some(({ start, end }) => start <= day && day < end);
      for (let day = 90; day < 180; day++) {
        expect([day, has(left, day)]).toEqual([day, has(all, day) && !days.includes(day)]);
      }
      expect(left.every(({ start, end }) => start < end)).toBe(true);
    }
  });
});
