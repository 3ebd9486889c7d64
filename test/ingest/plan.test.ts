import { describe, expect, test } from 'bun:test';
import {
  type BackfillPlan,
  describeBudget,
  type PlanInput,
  type PlannedInstrument,
  planBackfill,
  planMinutes,
} from '../../src/ingest/plan.ts';
import type { CoverageRange } from '../../src/model/coverage.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { below, calendar, seededRandom, shuffle } from '../fixtures/bars.ts';

const NOW = Date.parse('2024-03-01T12:00:00Z');
const FIRST = toDay('2019-03-01');
const LAST = toDay('2024-02-29');
const FOREVER = toDay('2049-12-31');

function instrument(id: number, change: Partial<PlannedInstrument> = {}): PlannedInstrument {
  const symbol = `S${id}`;
  return {
    ...{ instrumentId: id, symbol, providerSymbol: symbol },
    ...{ listedOn: null, delistedOn: null, isDescribed: true },
    ...change,
  };
}

const instruments = (count: number) => Array.from({ length: count }, (_, i) => instrument(i + 1));

function covered(start: number, end: number, change: Partial<CoverageRange> = {}): CoverageRange {
  return {
    ...{ start, end, state: 'complete', isSettled: true, provider: 'vendor', askedAt: 0 },
    ...{ attempts: 1, retryAt: null, detail: null },
    ...change,
  };
}

const everything = covered(0, FOREVER);

/** Coverage of everything but some sessions (indexes into the calendar). */
function allBut(sessions: readonly number[]): CoverageRange[] {
  const ranges: CoverageRange[] = [];
  let start = 0;
  for (const index of [...sessions].sort((a, b) => a - b)) {
    const day = calendar.sessionAt(index);
    if (day > start) ranges.push(covered(start, day));
    start = calendar.sessionAt(index + 1);
  }
  ranges.push(covered(start, FOREVER));
  return ranges;
}

interface Wish extends Partial<Omit<PlanInput, 'coverage'>> {
  bars?: Map<number, CoverageRange[]>;
  splits?: Map<number, CoverageRange[]>;
  dividends?: Map<number, CoverageRange[]>;
}

/** A plan for which splits and dividends are known unless told otherwise. */
function plan({ bars, splits, dividends, ...change }: Wish): BackfillPlan {
  const all = change.instruments ?? [];
  const known = () => new Map(all.map(({ instrumentId }) => [instrumentId, [everything]]));
  return planBackfill({
    calendar,
    instruments: [],
    firstDay: FIRST,
    lastDay: LAST,
    nowMs: NOW,
    publishedAt: NOW - 3_600_000,
    entitledFrom: null,
    ...change,
    coverage: {
      '1d': bars ?? new Map(),
      splits: splits ?? known(),
      dividends: dividends ?? known(),
    },
  });
}

const lastSessions = (count: number) => {
  const end = calendar.sessionsBefore(LAST + 1);
  return Array.from({ length: count }, (_, i) => end - count + i);
};

const rangeText = ({ ranges }: BackfillPlan) =>
  ranges.map(
    (task) => `${task.instrument.symbol} ${toDate(task.firstDay)} ${toDate(task.lastDay)}`,
  );

/** Every session and symbol that a plan asks for, as text. */
function askedFor(made: BackfillPlan): Set<string> {
  const asked = new Set<string>();
  for (const {
    instrument: { symbol },
    firstDay,
    lastDay,
  } of made.ranges) {
    for (const day of calendar.sessions(firstDay, lastDay)) asked.add(`${symbol} ${day}`);
  }
  for (const { day, instruments } of made.grouped) {
    for (const { symbol } of instruments) asked.add(`${symbol} ${day}`);
  }
  return asked;
}

describe('requests', () => {
  test('are grouped when 10,000 symbols miss the same 8 sessions', () => {
    const all = instruments(10_000);
    const missing = lastSessions(8);
    const bars = new Map(all.map(({ instrumentId }) => [instrumentId, allBut(missing)]));
    const made = plan({ instruments: all, bars });
    expect(made.ranges).toEqual([]);
    expect(made.grouped.map(({ day }) => day)).toEqual(
      missing.map((index) => calendar.sessionAt(index)).reverse(),
    );
    expect(made.grouped.map((task) => task.instruments.length)).toEqual(Array(8).fill(10_000));
    expect(made.requests).toEqual({
      ...{ range: 0, grouped: 8, splits: 0, dividends: 0, describe: 0, total: 8 },
    });
    expect(made.dueSessions).toBe(80_000);
  });

  test('for one new symbol beside them are one more', () => {
    const all = instruments(10_001);
    const bars = new Map(
      all.slice(1).map(({ instrumentId }) => [instrumentId, allBut(lastSessions(8))]),
    );
    const made = plan({ instruments: all, bars });
    expect(made.requests).toMatchObject({ range: 1, grouped: 8, total: 9 });
    expect(rangeText(made)).toEqual(['S1 2019-03-01 2024-02-29']);
  });

  test('are one a symbol when 3 symbols miss 5 years', () => {
    const made = plan({ instruments: instruments(3) });
    expect(made.requests).toMatchObject({ range: 3, grouped: 0, total: 3 });
    expect(made.dueSessions).toBe(3 * calendar.sessions(FIRST, LAST).length);
  });

  test('are one a symbol when they cost nothing', () => {
    const all = instruments(50);
    const bars = new Map(all.map(({ instrumentId }) => [instrumentId, allBut(lastSessions(2))]));
    expect(plan({ instruments: all, bars }).requests).toMatchObject({ range: 0, grouped: 2 });
    const free = plan({ instruments: all, bars, isUnlimited: true });
    expect(free.requests).toMatchObject({ range: 50, grouped: 0, total: 50 });
  });

  test('for a single symbol that misses a single session is a range', () => {
    const bars = new Map([[1, allBut(lastSessions(1))]]);
    const made = plan({ instruments: instruments(1), bars });
    expect(rangeText(made)).toEqual(['S1 2024-02-29 2024-02-29']);
    expect(made.grouped).toEqual([]);
  });

  test('of a range go from the first to the last session that is missing', () => {
    const index = calendar.sessionIndex(toDay('2024-01-16'));
    const bars = new Map([[1, allBut([index, index + 3])]]);
    expect(rangeText(plan({ instruments: instruments(1), bars }))).toEqual([
      'S1 2024-01-16 2024-01-19',
    ]);
  });

  test('are none when nothing is due', () => {
    const all = instruments(20);
    const bars = new Map(all.map(({ instrumentId }) => [instrumentId, [everything]]));
    const made = plan({ instruments: all, bars });
    expect(made).toMatchObject({
      ...{ ranges: [], grouped: [], refused: [], actions: [], describe: [], dueSessions: 0 },
      requests: { total: 0 },
    });
  });

  test('are none without symbols, and without sessions', () => {
    expect(plan({}).requests.total).toBe(0);
    const saturday = toDay('2024-02-24');
    const one = { instruments: instruments(1), firstDay: saturday, lastDay: saturday + 1 };
    expect(plan(one).requests.total).toBe(0);
    expect(plan({ ...one, firstDay: LAST, lastDay: FIRST }).requests.total).toBe(0);
  });
});

/** Fewest requests by trying every set of grouped sessions. */
function bruteForce(missing: readonly (readonly number[])[], sessions: readonly number[]): number {
  let best = Number.POSITIVE_INFINITY;
  for (let set = 0; set < 1 << sessions.length; set++) {
    const isGrouped = (index: number) => (set & (1 << sessions.indexOf(index))) !== 0;
    const grouped = sessions.filter(isGrouped).length;
    const left = missing.filter((one) => one.length > 0 && !one.every(isGrouped)).length;
    best = Math.min(best, grouped + left);
  }
  return best;
}

describe('the choice', () => {
  const sessions = lastSessions(8);

  function chosen(missing: readonly (readonly number[])[]) {
    const all = instruments(missing.length);
    const bars = new Map(missing.map((one, i) => [i + 1, allBut(one)]));
    const made = plan({ instruments: all, bars });
    const wanted = missing.flatMap((one, i) =>
      one.map((index) => `S${i + 1} ${calendar.sessionAt(index)}`),
    );
    const asked = askedFor(made);
    expect(wanted.filter((item) => !asked.has(item))).toEqual([]);
    return made.requests.total;
  }

  for (let seed = 1; seed <= 60; seed++) {
    test(`is the cheapest where one misses what another misses and more (seed ${seed})`, () => {
      const random = seededRandom(seed);
      const order = shuffle(sessions, random);
      const missing = Array.from({ length: 1 + below(random, 14) }, () =>
        order.slice(0, below(random, 9)),
      );
      expect(chosen(missing)).toBe(bruteForce(missing, sessions));
    });

    test(`serves everybody, and never costs more than a range each (seed ${seed})`, () => {
      const random = seededRandom(seed + 1000);
      const missing = Array.from({ length: 12 }, () => sessions.filter(() => random() < 0.5));
      const cost = chosen(missing);
      expect(cost <= missing.filter((one) => one.length > 0).length).toBe(true);
      expect(cost >= bruteForce(missing, sessions)).toBe(true);
    });
  }
});

describe('due', () => {
  const one = instruments(1);

  test('is nothing before the listing and after the delisting', () => {
    const listed = { listedOn: toDay('2024-01-10'), delistedOn: toDay('2024-02-14') };
    const made = plan({ instruments: [instrument(1, listed)] });
    expect(rangeText(made)).toEqual(['S1 2024-01-10 2024-02-14']);
    const gone = { delistedOn: toDay('2018-12-31') };
    const future = { listedOn: toDay('2024-03-01') };
    expect(plan({ instruments: [instrument(1, gone), instrument(2, future)] }).dueSessions).toBe(0);
  });

  test('is nothing before the calendar begins', () => {
    const made = plan({ instruments: one, firstDay: toDay('1985-01-01') });
    expect(rangeText(made)).toEqual(['S1 1990-01-02 2024-02-29']);
  });

  test('is an empty answer from its retry time on', () => {
    const empty = { state: 'vendor_empty', retryAt: NOW, isSettled: false } as const;
    const day = toDay('2024-02-14');
    const bars = new Map([
      [1, [covered(0, day), covered(day, day + 1, empty), covered(day + 1, FOREVER)]],
    ]);
    expect(rangeText(plan({ instruments: one, bars }))).toEqual(['S1 2024-02-14 2024-02-14']);
    expect(plan({ instruments: one, bars, nowMs: NOW - 1 }).requests.total).toBe(0);
  });

  test('is an unsettled answer when a session was published since', () => {
    const day = toDay('2024-02-26');
    const askedAt = NOW - 7_200_000;
    const bars = new Map([
      [1, [covered(0, day), covered(day, FOREVER, { isSettled: false, askedAt })]],
    ]);
    expect(rangeText(plan({ instruments: one, bars }))).toEqual(['S1 2024-02-26 2024-02-29']);
    expect(plan({ instruments: one, bars, publishedAt: askedAt }).requests.total).toBe(0);
  });
});

describe('what the plan with the provider does not include', () => {
  const entitledFrom = toDay('2022-03-01');

  test('is refused without being asked for', () => {
    const made = plan({ instruments: instruments(2), entitledFrom });
    const range = { firstDay: FIRST, lastDay: toDay('2022-02-28') };
    expect(made.refused).toEqual([
      { instrument: instrument(1), providerSymbol: 'S1', ...range },
      { instrument: instrument(2), providerSymbol: 'S2', ...range },
    ]);
    expect(rangeText(made)).toEqual(['S1 2022-03-01 2024-02-29', 'S2 2022-03-01 2024-02-29']);
    expect(made.requests.total).toBe(2);
  });

  test('costs nothing when nothing else is due', () => {
    const made = plan({ instruments: instruments(1), lastDay: toDay('2022-02-28'), entitledFrom });
    expect(made.refused.length).toBe(1);
    expect([made.requests.total, made.ranges.length]).toEqual([0, 0]);
  });

  test('is not mentioned when it is covered', () => {
    const bars = new Map([[1, [covered(0, entitledFrom)]]]);
    const made = plan({ instruments: instruments(1), bars, entitledFrom });
    expect(made.refused).toEqual([]);
    expect(rangeText(made)).toEqual(['S1 2022-03-01 2024-02-29']);
  });
});

describe('splits and dividends', () => {
  test('are asked for by symbol while that is less than the pages of the whole market', () => {
    const all = instruments(2);
    const made = plan({ instruments: all, splits: new Map(), dividends: new Map() });
    expect(
      made.actions.map(({ dataset, instrument }) => `${dataset} ${instrument?.symbol}`),
    ).toEqual(['splits S1', 'splits S2', 'dividends S1', 'dividends S2']);
    expect(made.actions[0]).toMatchObject({ firstDay: FIRST, lastDay: LAST, requests: 1 });
    expect(made.actions[0].covers).toEqual([all[0]]);
    expect(made.requests).toMatchObject({ splits: 2, dividends: 2, range: 2, total: 6 });
  });

  test('are asked for the whole market when its pages are fewer', () => {
    // Five years: 1,500 splits a year are 2 pages of 5,000; 60,000 dividends a year are 61.
    const all = instruments(40);
    const made = plan({ instruments: all, splits: new Map(), dividends: new Map() });
    const splits = made.actions.filter(({ dataset }) => dataset === 'splits');
    expect(splits.length).toBe(1);
    expect(splits[0].instrument).toBeUndefined();
    expect(splits[0].covers).toEqual(all);
    expect(made.requests).toMatchObject({ splits: 2, dividends: 40 });
    const many = plan({ instruments: instruments(80), dividends: new Map() });
    expect(many.requests).toMatchObject({ splits: 0, dividends: 61 });
  });

  test('of one missing session and many symbols are one page', () => {
    const all = instruments(5000);
    const missing = () =>
      new Map(all.map(({ instrumentId }) => [instrumentId, allBut(lastSessions(1))]));
    const made = plan({
      ...{ instruments: all, bars: missing(), splits: missing(), dividends: missing() },
    });
    expect(made.requests).toMatchObject({ grouped: 1, splits: 1, dividends: 1, total: 3 });
    expect(made.actions.map(({ firstDay, lastDay }) => [firstDay, lastDay])).toEqual([
      [LAST, LAST],
      [LAST, LAST],
    ]);
  });

  test('of many that miss a session, and one that misses years, are a page and a request', () => {
    const all = instruments(50);
    const few = () =>
      new Map(all.map(({ instrumentId }) => [instrumentId, allBut(lastSessions(1))]));
    const one = few();
    one.delete(all[7].instrumentId);
    const made = plan({ instruments: all, bars: few(), splits: few(), dividends: one });
    expect(made.requests).toMatchObject({ splits: 1, dividends: 2 });
    const [market, single] = made.actions.filter(({ dataset }) => dataset === 'dividends');
    expect(market).toMatchObject({ firstDay: LAST, lastDay: LAST, requests: 1 });
    expect(market.covers).toHaveLength(49);
    expect(single).toMatchObject({ instrument: all[7], firstDay: FIRST, covers: [all[7]] });
  });

  test('under each symbol that an instrument had are a request each', () => {
    const [renamed] = instruments(1);
    const day = FIRST + 100;
    const ranges = [
      { symbol: 'OLD', startDay: -Infinity, endDay: day, source: null },
      { symbol: 'S1', startDay: day, endDay: Infinity, source: null },
    ];
    const made = plan({ instruments: [{ ...renamed, ranges }], splits: new Map() });
    expect(made.requests.splits).toBe(2);
  });

  test('do not depend on the entitlement to bars', () => {
    const made = plan({ instruments: instruments(1), splits: new Map(), entitledFrom: LAST });
    expect(made.actions.map(({ firstDay }) => firstDay)).toEqual([FIRST]);
  });
});

describe('names and listing dates', () => {
  const unknown = (count: number) => ({
    instruments: instruments(count).map((one) => ({ ...one, isDescribed: false })),
    lastDay: FIRST - 1,
  });

  test('are looked up one by one for a dozen symbols', () => {
    const made = plan(unknown(12));
    expect([made.describe.length, made.describeByList, made.requests.describe]).toEqual([
      12,
      false,
      12,
    ]);
  });

  test('are taken from the list for more', () => {
    const made = plan(unknown(13));
    expect([made.describe.length, made.describeByList, made.requests.describe]).toEqual([
      13,
      true,
      12,
    ]);
  });

  test('are not looked up twice', () => {
    expect(plan({ instruments: instruments(1) }).describe).toEqual([]);
  });
});

test.each<[number, number | undefined, string]>([
  [412, 5, '412 requests, about 83 minutes on your plan'],
  [0, 5, 'nothing to ask for: 0 requests'],
  [1, 5, '1 request, under a minute'],
  [5, 5, '5 requests, under a minute'],
  [6, 5, '6 requests, about 2 minutes on your plan'],
  [12_345, 5, '12,345 requests, about 2,469 minutes on your plan'],
])('a budget of %d requests at %p a minute in words', (requests, rate, text) => {
  expect(describeBudget(requests, rate)).toBe(text);
});

test('minutes are rounded up', () => {
  expect([planMinutes(10, 5), planMinutes(11, 5), planMinutes(5, 5)]).toEqual([2, 3, 0]);
  expect(planMinutes(1_000_000, undefined)).toBe(0);
});
