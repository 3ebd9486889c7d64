import { describe, expect, test } from 'bun:test';
import {
  absenceMessage,
  type CoverageSlice,
  classifySessions,
  countStates,
  describeAbsence,
  findPhantoms,
  mainAbsence,
  SESSION_STATES,
  type SessionState,
  type SessionsAsked,
} from '../../src/model/absence.ts';
import type { CoverageState } from '../../src/model/coverage.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { below, calendar, type Random, seededRandom } from '../fixtures/bars.ts';

/** The slice of sessions from `start` until before `end`. */
const slice = (
  start: string,
  end: string,
  state: CoverageState,
  detail: string | null = null,
): CoverageSlice => ({ start: toDay(start), end: toDay(end), state, detail });

const held = (...dates: string[]) => Int32Array.from(dates, toDay);
const heldBetween = (first: string, last: string) =>
  Int32Array.from(calendar.sessions(toDay(first), toDay(last)));

function asked(first: string, last: string, change: Partial<SessionsAsked> = {}): SessionsAsked {
  return {
    firstDay: toDay(first),
    lastDay: toDay(last),
    latestDay: toDay('2024-03-01'),
    listedOn: null,
    delistedOn: null,
    ...change,
  };
}

/** '2024-01-08..2024-01-12 5 complete', with the detail where there is one. */
function classify(
  slices: readonly CoverageSlice[],
  days: Int32Array,
  question: SessionsAsked,
): string[] {
  return classifySessions(calendar, slices, days, question).map((range) => {
    const { startDay, endDay, sessions, state, detail } = range;
    const what = `${toDate(startDay)}..${toDate(endDay)} ${sessions} ${state}`;
    return detail === null ? what : `${what} (${detail})`;
  });
}

describe('a session', () => {
  const week = asked('2024-01-08', '2024-01-12');
  const all = (state: CoverageState) => [slice('2024-01-02', '2024-02-01', state)];

  test.each<[string, CoverageSlice[], string]>([
    ['never asked for', [], 'unfetched'],
    ['covered without a bar', all('complete'), 'missing'],
    ['answered with nothing', all('vendor_empty'), 'vendor_empty'],
    ['refused', all('not_entitled'), 'not_entitled'],
    ['before the listing, as it was known', all('before_listing'), 'before_listing'],
  ])('that was %s', (_, slices, state) => {
    expect(classify(slices, held(), week)).toEqual([`2024-01-08..2024-01-12 5 ${state}`]);
  });

  test.each<[string, CoverageSlice[]]>([
    ['nothing', []],
    ['complete', all('complete')],
    ['not_entitled', all('not_entitled')],
    ['before_listing', all('before_listing')],
  ])('with a bar is complete, coverage saying %s', (_, slices) => {
    const days = heldBetween('2024-01-02', '2024-01-31');
    expect(classify(slices, days, week)).toEqual(['2024-01-08..2024-01-12 5 complete']);
  });

  test('with a bar that the provider no longer gives says so', () => {
    const days = heldBetween('2024-01-08', '2024-01-12');
    const slices = [slice('2024-01-10', '2024-01-11', 'vendor_empty')];
    const [, range] = classify(slices, days, week);
    expect(range).toMatch(/^2024-01-10\.\.2024-01-10 1 complete \(held from before: .* no bar/);
  });

  test('that is not published yet is unfetched for that reason, unless its bar is held', () => {
    const question = asked('2024-02-29', '2024-03-05');
    expect(classify([], heldBetween('2024-02-29', '2024-03-04'), question)).toEqual([
      '2024-02-29..2024-03-04 3 complete',
      '2024-03-05..2024-03-05 1 unfetched (these sessions have not been published yet)',
    ]);
  });

  test('keeps the detail of what was answered', () => {
    const slices = [slice('2024-01-08', '2024-01-16', 'not_entitled', 'upgrade your plan')];
    expect(classify(slices, held(), week)).toEqual([
      '2024-01-08..2024-01-12 5 not_entitled (upgrade your plan)',
    ]);
  });

  test('before the listing and after the delisting is neither missing nor to be asked for', () => {
    const question = asked('2024-01-08', '2024-03-08', {
      listedOn: toDay('2024-01-10'),
      delistedOn: toDay('2024-02-01'),
    });
    const slices = [
      slice('2024-01-08', '2024-01-10', 'vendor_empty'),
      slice('2024-01-10', '2024-02-05', 'complete'),
    ];
    expect(classify(slices, heldBetween('2024-01-10', '2024-02-01'), question)).toEqual([
      '2024-01-08..2024-01-09 2 before_listing',
      '2024-01-10..2024-02-01 16 complete',
      '2024-02-02..2024-03-08 25 after_delisting',
    ]);
  });

  test('was taken for one before the listing, and is not by what is known now', () => {
    const slices = [slice('2024-01-02', '2024-01-12', 'before_listing')];
    const question = asked('2024-01-08', '2024-01-12', { listedOn: toDay('2024-01-10') });
    expect(classify(slices, held(), question)).toEqual([
      '2024-01-08..2024-01-09 2 before_listing',
      expect.stringMatching(/^2024-01-10\.\.2024-01-11 2 unfetched \(.*not by what is known now/),
      '2024-01-12..2024-01-12 1 unfetched',
    ]);
  });
});

describe('ranges', () => {
  test('go over weekends and holidays, and are cut where the reason changes', () => {
    // Monday 15 January was a holiday.
    const slices = [
      slice('2024-01-08', '2024-01-18', 'complete'),
      slice('2024-01-18', '2024-01-19', 'vendor_empty'),
      slice('2024-01-19', '2024-01-23', 'vendor_empty', 'the row was rejected: no price'),
    ];
    const days = held('2024-01-08', '2024-01-09', '2024-01-11', '2024-01-12', '2024-01-16');
    expect(classify(slices, days, asked('2024-01-06', '2024-01-23'))).toEqual([
      '2024-01-08..2024-01-09 2 complete',
      '2024-01-10..2024-01-10 1 missing',
      '2024-01-11..2024-01-16 3 complete',
      '2024-01-17..2024-01-17 1 missing',
      '2024-01-18..2024-01-18 1 vendor_empty',
      '2024-01-19..2024-01-22 2 vendor_empty (the row was rejected: no price)',
      '2024-01-23..2024-01-23 1 unfetched',
    ]);
  });

  test('are cut where whom was asked, how often or until when changes', () => {
    const base = { ...slice('2024-01-08', '2024-01-09', 'vendor_empty'), provider: 'a' };
    const slices = [
      { ...base, attempts: 1, retryAt: 5 },
      { ...base, start: base.end, end: base.end + 1, attempts: 2, retryAt: 5 },
      { ...base, start: base.end + 1, end: base.end + 2, attempts: 2, retryAt: 6 },
      { ...base, start: base.end + 2, end: base.end + 3, attempts: 2, retryAt: 6, provider: 'b' },
    ];
    const ranges = classifySessions(calendar, slices, [], asked('2024-01-08', '2024-01-11'));
    expect(ranges.map((range) => range.slices)).toEqual(slices.map((one) => [one]));
  });

  test('hold every slice that they are made of', () => {
    const slices = [
      slice('2024-01-08', '2024-01-10', 'complete'),
      slice('2024-01-10', '2024-01-16', 'complete'),
    ];
    const days = heldBetween('2024-01-08', '2024-01-12');
    const [range, ...more] = classifySessions(
      calendar,
      slices,
      days,
      asked('2024-01-08', '2024-01-12'),
    );
    expect(more).toEqual([]);
    expect(range.slices).toEqual(slices);
  });

  test('without a session are closed, with the reason', () => {
    expect(classify([], held('2024-01-13'), asked('2024-01-13', '2024-01-14'))).toEqual([
      '2024-01-13..2024-01-14 0 closed (weekend)',
    ]);
    expect(classify([], held(), asked('2024-03-29', '2024-03-31'))).toEqual([
      '2024-03-29..2024-03-31 0 closed (Good Friday)',
    ]);
  });

  test('outside of the calendar were never asked for; those that reach into it are cut', () => {
    const [range] = classify([], held(), asked('1980-01-01', '1980-12-31'));
    expect(range).toBe(
      '1980-01-01..1980-12-31 0 unfetched (the calendar covers 1990-01-01 to 2049-12-31)',
    );
    expect(classify([], held(), asked('1980-01-01', '1990-01-03'))).toEqual([
      '1990-01-02..1990-01-03 2 unfetched',
    ]);
    expect(
      classify([], held(), asked('2049-12-31', '2060-01-01', { latestDay: toDay('2049-12-31') })),
    ).toEqual(['2049-12-31..2049-12-31 1 unfetched']);
  });

  /** What the words mean, one session at a time. */
  function naive(slices: readonly CoverageSlice[], days: Set<number>, question: SessionsAsked) {
    const { firstDay, lastDay, latestDay, listedOn, delistedOn } = question;
    return calendar.sessions(firstDay, lastDay).map((day): SessionState => {
      const found = slices.find(({ start, end }) => start <= day && day < end);
      if (days.has(day)) return 'complete';
      if (listedOn !== null && day < listedOn) return 'before_listing';
      if (delistedOn !== null && day > delistedOn) return 'after_delisting';
      if (day > latestDay || !found) return 'unfetched';
      if (found.state === 'complete') return 'missing';
      return found.state === 'before_listing' && listedOn !== null ? 'unfetched' : found.state;
    });
  }

  const STATES = ['complete', 'vendor_empty', 'not_entitled', 'before_listing'] as const;

  function randomCase(random: Random) {
    const firstDay = toDay('2023-12-01') + below(random, 60);
    const lastDay = firstDay + below(random, 60);
    const days = new Set(
      Array.from({ length: below(random, 60) }, () => firstDay - 5 + below(random, 70)),
    );
    const slices: CoverageSlice[] = [];
    for (let start = firstDay - 10; start < lastDay + 10; ) {
      const end = start + 1 + below(random, 12);
      const state = STATES[below(random, STATES.length)];
      if (random() < 0.8) slices.push({ start, end, state, detail: null });
      start = end;
    }
    const some = (share: number) => (random() < share ? firstDay + below(random, 60) : null);
    const question = {
      ...{ firstDay, lastDay, listedOn: some(0.4), delistedOn: some(0.4) },
      latestDay: firstDay + below(random, 80),
    };
    return { days, slices, question };
  }

  test('say of each session what holds for it, whatever is recorded (1,000 cases)', () => {
    const random = seededRandom(7);
    for (let i = 0; i < 1_000; i++) {
      const { days, slices, question } = randomCase(random);
      const ascending = Int32Array.from(days).sort();
      const ranges = classifySessions(calendar, slices, ascending, question);
      const expected = naive(slices, days, question);
      const told = ranges.flatMap(({ state, sessions }) =>
        Array.from({ length: sessions }, () => state),
      );
      expect(told).toEqual(expected);
      if (expected.length === 0) continue;
      for (const { startDay, endDay, sessions } of ranges) {
        expect(calendar.sessions(startDay, endDay)).toHaveLength(sessions);
        expect([calendar.isSession(startDay), calendar.isSession(endDay)]).toEqual([true, true]);
      }
      const totals = countStates(ranges);
      expect(Object.values(totals).reduce((a, b) => a + b)).toBe(expected.length);
    }
  });
});

describe('bars on closed days', () => {
  test('are found in the range, and are no session of it', () => {
    const days = held('2024-01-12', '2024-01-13', '2024-01-15', '2024-01-16', '2024-01-20');
    const found = findPhantoms(calendar, days, toDay('2024-01-13'), toDay('2024-01-19'));
    expect(found.map(toDate)).toEqual(['2024-01-13', '2024-01-15']);
    expect(classify([], days, asked('2024-01-13', '2024-01-16'))).toEqual([
      '2024-01-16..2024-01-16 1 complete',
    ]);
  });

  test('outside of the calendar nobody knows of', () => {
    expect(findPhantoms(calendar, held('1980-01-05'), toDay('1980-01-01'), toDay('1990-01-05'))) //
      .toEqual([]);
  });
});

describe('what an answer lacks', () => {
  test('is counted in sessions, with a range and a sentence for each reason', () => {
    const slices = [
      slice('2024-01-08', '2024-01-11', 'complete'),
      slice('2024-01-11', '2024-01-16', 'vendor_empty'),
    ];
    const days = held('2024-01-08', '2024-01-10');
    expect(describeAbsence(calendar, slices, days, asked('2024-01-08', '2024-01-16'))).toEqual({
      count: 4,
      ranges: [
        {
          ...{ start: '2024-01-09', end: '2024-01-09', state: 'missing', sessions: 1 },
          message: 'the sessions are covered, yet no bar is stored',
        },
        {
          ...{ start: '2024-01-11', end: '2024-01-12', state: 'vendor_empty', sessions: 2 },
          message: 'the provider was asked and gave no bar; it is asked again',
        },
        {
          ...{ start: '2024-01-16', end: '2024-01-16', state: 'unfetched', sessions: 1 },
          message: 'these sessions were never asked for',
        },
      ],
    });
  });

  test('is nothing when every session has its bar', () => {
    const days = heldBetween('2024-01-02', '2024-01-31');
    const report = describeAbsence(calendar, [], days, asked('2024-01-06', '2024-01-28'));
    expect(report).toEqual({ count: 0, ranges: [] });
  });

  test('is named a hundred times at most, and counted all the same', () => {
    const days = heldBetween('2023-01-03', '2023-12-29').filter((_, i) => i % 2 === 0);
    const report = describeAbsence(calendar, [], days, asked('2023-01-03', '2023-12-29'));
    expect(report.count).toBe(125);
    expect(report.ranges).toHaveLength(100);
    expect(report.ranges[0].start).toBe('2023-01-04');
  });

  test('on closed days is one range without a session', () => {
    expect(describeAbsence(calendar, [], [], asked('2024-03-29', '2024-03-30'))).toEqual({
      count: 0,
      ranges: [
        {
          ...{ start: '2024-03-29', end: '2024-03-30', state: 'closed', sessions: 0 },
          message: 'the exchange had no session in this range (Good Friday)',
        },
      ],
    });
  });

  test('when it is all: the reason of most sessions, with the detail of the longest range', () => {
    const slices = [
      slice('2024-01-02', '2024-01-05', 'complete'),
      slice('2024-01-05', '2024-01-08', 'vendor_empty', 'short'),
      slice('2024-01-08', '2024-01-11', 'not_entitled'),
      slice('2024-01-11', '2024-01-17', 'vendor_empty', 'long'),
    ];
    const ranges = classifySessions(calendar, slices, [], asked('2024-01-02', '2024-01-16'));
    expect(mainAbsence(ranges)).toEqual({
      reason: 'vendor_empty',
      message: 'the provider was asked and gave no bar; it is asked again: long',
    });
    const even = classifySessions(calendar, slices, [], asked('2024-01-02', '2024-01-10'));
    expect(mainAbsence(even).reason).toBe('missing');
    expect(() => mainAbsence([])).toThrow('every session has its bar');
  });

  test('has a sentence of its own for every state', () => {
    const absent = SESSION_STATES.filter((state) => state !== 'complete');
    const sentences = absent.map((state) => absenceMessage(state, null));
    expect(new Set(sentences).size).toBe(7);
    expect(absenceMessage('after_delisting', null)).toBe('the symbol was not listed any more');
    expect(absenceMessage('not_entitled', 'two years')).toEndWith('these sessions: two years');
  });
});
