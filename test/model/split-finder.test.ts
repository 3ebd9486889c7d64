import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BarColumns, firstBars, makeBars, pickBars } from '../../src/model/bar.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import { findSplits, type SplitCauses } from '../../src/model/split-finder.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const calendar = makeCalendar();
const CONTEXT = 63;
/** Where the events of made series are. */
const EVENT = 150;

const causes = (
  splits: readonly (readonly [day: number, ratio: number])[] = [],
  dividends: readonly (readonly [day: number, cash: number])[] = [],
): SplitCauses => ({ splitRatio: new Map(splits), dividendCash: new Map(dividends) });

/** Numbers from 0 to 1, the same for a seed. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

interface Walk {
  seed: number;
  price: number;
  /** Of close to close. */
  volatility: number;
  /** What happens to the price before row EVENT opens; 0.5 halves it. */
  jump: number;
  /** What the volume and the range of row EVENT are multiplied by. */
  volume: number;
  range: number;
  /** Shares after the event for one before it. */
  shares: number;
}

/** 200 sessions of a price at random. */
function walk(change: Partial<Walk>): BarColumns {
  const options = {
    seed: 1,
    price: 100,
    volatility: 0.015,
    jump: 1,
    volume: 1,
    range: 1,
    shares: 1,
  };
  const { seed, price, volatility, jump, volume, range, shares } = { ...options, ...change };
  const random = makeRandom(seed);
  const normal = () => random() + random() + random() + random() - 2; // deviation 0.58
  const bars = makeBars(200);
  let close = price;
  for (let row = 0; row < bars.length; row++) {
    const isEvent = row === EVENT;
    const wide = isEvent ? range : 1;
    const start = close * (isEvent ? jump : 1);
    bars.session[row] = calendar.sessionAt(2000 + row);
    bars.open[row] = start * Math.exp(0.8 * volatility * normal());
    bars.close[row] = bars.open[row] * Math.exp(1.4 * volatility * normal());
    const wick = () => Math.exp(wide * volatility * random());
    bars.high[row] = Math.max(bars.open[row], bars.close[row]) * wick();
    bars.low[row] = Math.min(bars.open[row], bars.close[row]) / wick();
    bars.volume[row] =
      1e6 * Math.exp(0.6 * normal()) * (isEvent ? volume : 1) * (row >= EVENT ? shares : 1);
    close = bars.close[row];
  }
  return bars;
}

const splitWalk = (ratio: number, change: Partial<Walk> = {}) =>
  walk({ jump: 1 / ratio, shares: ratio, ...change });

const SEEDS = Array.from({ length: 40 }, (_, i) => i + 1);

function find(bars: BarColumns, known = causes(), from = 0) {
  return findSplits(bars, calendar, known, from).map(({ row, kind, splitTo, splitFrom }) => {
    return `${row} ${kind} ${splitTo}:${splitFrom}`;
  });
}

/** The raw daily bars of a file with a header and dates as YYYY-MM-DD, newest first. */
function readBars(path: string): BarColumns {
  const lines = readFileSync(join(SHARED_DATA, 'daily', path), 'utf8')
    .trim()
    .split(/\r?\n/);
  const rows = lines
    .slice(1)
    .map((line) => line.split(','))
    .reverse();
  const bars = makeBars(rows.length);
  for (const [row, [date, ...cells]] of rows.entries()) {
    bars.session[row] = toDay(date);
    const [open, high, low, close, volume] = cells.map(Number);
    for (const [name, value] of Object.entries({ open, high, low, close, volume })) {
      bars[name as 'open'][row] = value;
    }
  }
  return bars;
}

const AAPL = readBars('av_raw_2023/daily_AAPL.csv');
const rowOf = (bars: BarColumns, date: string) => bars.session.indexOf(toDay(date));

describe('a split that nobody told of', () => {
  test.each([
    ...[2, 3, 4, 5, 7, 10, 20, 1.5].map((ratio) => ({ ratio, price: 250, volatility: 0.015 })),
    ...[1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 8, 1 / 10, 1 / 20].map((ratio) => ({
      ...{ ratio, price: 0.9, volatility: 0.035 },
    })),
    ...[1.25, 4 / 3].map((ratio) => ({ ratio, price: 80, volatility: 0.008 })),
  ])('of ratio $ratio is found in every random walk, and nothing else', ({ ratio, ...walked }) => {
    for (const seed of SEEDS) {
      const found = findSplits(splitWalk(ratio, { seed, ...walked }), calendar, causes());
      expect(found.map(({ row, kind }) => `${seed}: ${row} ${kind}`)).toEqual([
        `${seed}: ${EVENT} possible_split`,
      ]);
      expect(Math.abs(Math.log(found[0].ratio / ratio))).toBeLessThan(0.2);
    }
  });

  test('of odd ratio is found all the same, up to 1:100', () => {
    for (const ratio of [1 / 13, 1 / 22, 1 / 32, 1 / 59, 1 / 100]) {
      const bars = splitWalk(ratio, { price: 0.4, volatility: 0.04 });
      expect(findSplits(bars, calendar, causes()).map(({ row }) => row)).toEqual([EVENT]);
    }
  });

  test('says what it saw', () => {
    const row = rowOf(AAPL, '2014-06-09');
    const found = findSplits(AAPL, calendar, causes(), row)[0];
    expect(found).toEqual({
      ...{ row, kind: 'possible_split', splitFrom: 1, splitTo: 7, ratio: 7 },
      detail: {
        previous_close: 645.57,
        sessions: 1,
        open_ratio: 6.964,
        close_ratio: 6.89,
        volatility: expect.closeTo(0.011, 3),
        turnover_multiple: expect.closeTo(1.39, 2),
        volume_multiple: expect.closeTo(8.19, 2),
        range_multiple: expect.closeTo(1.7, 2),
        log_odds: expect.any(Number),
      },
    });
    expect(found.detail.log_odds).toBeGreaterThan(5);
  });

  test('is seen at the next bar when its own session has none', () => {
    const bars = splitWalk(4);
    const rows = Array.from({ length: bars.length }, (_, row) => row);
    const holed = pickBars(
      bars,
      rows.filter((row) => row !== EVENT),
    );
    expect(find(holed)).toEqual([`${EVENT} possible_split 4:1`]);
    expect(findSplits(holed, calendar, causes())[0].detail.sessions).toBe(2);
  });

  test('is seen with little past, without multiples of what there was not', () => {
    const bars = splitWalk(2);
    const found = findSplits(pickBars(bars, [EVENT - 1, EVENT]), calendar, causes());
    expect(found.map(({ row, ratio }) => ({ row, ratio }))).toEqual([{ row: 1, ratio: 2 }]);
    expect(found[0].detail).toMatchObject({ turnover_multiple: null, range_multiple: null });
  });

  test('is not looked for across more than 63 sessions, nor before there is a bar', () => {
    const bars = splitWalk(2);
    const after = (sessions: number) => {
      const pair = pickBars(bars, [EVENT - 1, EVENT]);
      pair.session[1] = calendar.sessionAt(2000 + EVENT - 1 + sessions);
      return findSplits(pair, calendar, causes()).length;
    };
    expect([after(1), after(CONTEXT + 1)]).toEqual([1, 0]);
    expect(find(pickBars(bars, [EVENT]), causes([[bars.session[EVENT], 2]]))).toEqual([]);
  });
});

describe('a real move', () => {
  /** Sizes of 20 % and more by the inverse cubic law, and multiples of the usual turnover. */
  test.each([
    ['falls', -0.22, [6, 30]],
    ['rises', 0.18, [10, 200]],
  ] as const)('%s, and at most one in fifty is taken for a split', (_, least, turnovers) => {
    const random = makeRandom(77);
    const between = ([low, high]: readonly [number, number]) => low + (high - low) * random();
    const moves = Array.from({ length: 1000 }, (_, i) => {
      const jump = Math.exp(least * between([0.02, 1]) ** (-1 / 3));
      const volume = Math.exp(between([Math.log(turnovers[0]), Math.log(turnovers[1])])) / jump;
      const [price, volatility] = [between([0.5, 150]), between([0.008, 0.05])];
      return walk({ seed: i + 1, jump, volume, price, volatility, range: between([2, 5]) });
    });
    const taken = moves.filter((bars) => findSplits(bars, calendar, causes()).length > 0);
    expect(taken.length).toBeLessThanOrEqual(moves.length / 50);
  });

  test('of an eighth to a quarter is none, however the price went before', () => {
    for (const seed of SEEDS) {
      for (const jump of [0.75, 0.82, 0.87, 1.15, 1.25]) {
        const bars = walk({ seed, jump, volume: 8, range: 3 });
        expect(findSplits(bars, calendar, causes())).toEqual([]);
      }
    }
  });

  test('that ends at half the price is told from a split by what is traded', () => {
    expect(find(walk({ jump: 0.5, shares: 2 }))).toEqual([`${EVENT} possible_split 2:1`]);
    expect(find(walk({ jump: 0.5, volume: 30, range: 4 }))).toEqual([]);
    // 2000-09-29: a warning of profits, 28 times the volume.
    expect(find(pickBars(AAPL, rows('2000-06-22', '2000-09-29')))).toEqual([]);
  });

  test('of a share that moves as far every day is none', () => {
    expect(find(splitWalk(1.5, { volatility: 0.12, price: 60 }))).toEqual([]);
  });

  test('of a cheap share does not look like a forward split', () => {
    expect(find(splitWalk(1.5, { price: 90, volatility: 0.025 }))).toEqual([
      `${EVENT} possible_split 3:2`,
    ]);
    expect(find(splitWalk(1.5, { price: 2, volatility: 0.025 }))).toEqual([]);
  });

  test('back to where the close before was is an opening gone wrong', () => {
    const bars = walk({});
    bars.open[EVENT] = bars.close[EVENT - 1] / 2;
    bars.low[EVENT] = bars.open[EVENT];
    expect(find(bars)).toEqual([]);
  });

  const rows = (first: string, last: string) => {
    const start = rowOf(AAPL, first);
    return Array.from({ length: rowOf(AAPL, last) - start + 1 }, (_, i) => start + i);
  };
});

describe('dirt', () => {
  test('that is taken back is no second split', () => {
    const bars = walk({});
    for (const name of ['open', 'high', 'low', 'close'] as const) bars[name][EVENT] /= 10;
    const found = findSplits(bars, calendar, causes());
    expect(found.map(({ row }) => row)).not.toContain(EVENT + 1);
  });

  test('that contradicts itself is neither judged nor anyone’s past', () => {
    const bars = splitWalk(2);
    for (const [row, change] of [
      [EVENT - 3, { low: 0 }],
      [EVENT - 2, { volume: -1, close: 20, low: 20 }],
      [EVENT - 1, { open: Number.NaN, close: 20 }],
      [EVENT + 1, { high: 1, close: 10, open: 10 }],
      [EVENT + 2, { open: 20, low: 30 }],
    ] as const) {
      for (const [name, value] of Object.entries(change)) bars[name as 'low'][row] = value;
    }
    expect(find(bars)).toEqual([`${EVENT} possible_split 2:1`]);
  });

  test('on a day on which the exchange was closed is not judged', () => {
    const bars = splitWalk(2);
    const sunday = bars.session[EVENT] - 1;
    expect(calendar.isSession(sunday)).toBe(false);
    const rows = [...Array(EVENT).keys(), EVENT, EVENT, EVENT + 1];
    const phantom = pickBars(bars, rows);
    phantom.session[EVENT] = sunday;
    expect(find(phantom)).toEqual([`${EVENT + 1} possible_split 2:1`]);
    expect(find(phantom, causes([[sunday, 2]]))).toEqual([]);
  });

  test('of prices at which nobody traded is a split only to the cent', () => {
    const untraded = (price: number) => {
      const bars = walk({ price: 3 });
      bars.close[EVENT - 1] = 9.18;
      bars.high[EVENT - 1] = 9.18;
      for (const name of ['open', 'high', 'low', 'close'] as const) bars[name][EVENT] = price;
      bars.volume[EVENT] = 0;
      return find(firstBars(bars, EVENT + 1), causes(), EVENT);
    };
    expect(untraded(27.54)).toEqual([`${EVENT} possible_split 1:3`]);
    expect(untraded(27.3)).toEqual([]);
  });

  test('of two instruments that hardly trade is not judged', () => {
    const bars = splitWalk(1 / 8, { price: 0.9 });
    expect(find(bars)).toEqual([`${EVENT} possible_split 1:8`]);
    bars.volume.fill(0, EVENT - CONTEXT, EVENT);
    bars.high.set(bars.low);
    bars.open.set(bars.low);
    bars.close.set(bars.low);
    expect(find(bars)).toEqual([]);
  });
});

describe('what is known', () => {
  const bars = splitWalk(3, { price: 150 });
  const day = bars.session[EVENT];

  test('explains the jump, also as vendors print a ratio', () => {
    expect(find(bars)).toEqual([`${EVENT} possible_split 3:1`]);
    expect(find(bars, causes([[day, 3]]))).toEqual([]);
    expect(find(bars, causes([[day, 3.000003]]))).toEqual([]);
    // Announced for the session before: doubted there, and found where it happened.
    expect(find(bars, causes([[bars.session[EVENT - 1], 3]]))).toEqual([
      `${EVENT - 1} unconfirmed_split 3:1`,
      `${EVENT} possible_split 3:1`,
    ]);
  });

  test('explains it by several events of one day', () => {
    const splits = causes([
      [bars.session[EVENT - 1] + 0.5, 1.5],
      [day, 2],
    ]);
    expect(find(bars, splits)).toEqual([]);
  });

  test('explains a jump by a dividend', () => {
    const paid = walk({ jump: 0.5, volume: 1 });
    const cash = paid.close[EVENT - 1] / 2;
    expect(find(paid)).toEqual([`${EVENT} possible_split 2:1`]);
    expect(find(paid, causes([], [[paid.session[EVENT], cash]]))).toEqual([]);
    // More than the price: it cannot be, and nothing is said.
    expect(find(paid, causes([], [[paid.session[EVENT], 1000]]))).toEqual([]);
  });

  test('is not confirmed by another ratio', () => {
    expect(find(bars, causes([[day, 10]]))).toEqual([
      `${EVENT} unconfirmed_split 10:1`,
      `${EVENT} possible_split 3:1`,
    ]);
    // A stock dividend of two per cent on the day is not what divided the price by 3.
    expect(find(bars, causes([[day, 1.02]]))).toEqual([`${EVENT} possible_split 3:1`]);
  });
});

describe('a split that is not in the prices', () => {
  const still = walk({});
  const day = still.session[EVENT];

  test.each([
    [2, '2:1'],
    [7.00000700001, '7:1'],
    [1.49999925000037, '3:2'],
    [0.1, '1:10'],
    [1 / 13.5135, '1:13.51'],
    [1.25, '5:4'],
  ])('of ratio %p is doubted, in every random walk', (ratio, text) => {
    for (const seed of SEEDS) {
      const bars = walk({ seed, volatility: 0.008 });
      const found = findSplits(bars, calendar, causes([[bars.session[EVENT], ratio]]));
      expect(found.map(({ row, kind }) => `${seed}: ${row} ${kind}`)).toEqual([
        `${seed}: ${EVENT} unconfirmed_split`,
      ]);
      expect(found[0].ratio).toBeCloseTo(ratio, 4);
      expect(found[0].detail.log_odds).toBeNull();
      if (text !== '1:13.51') {
        expect(`${found[0].splitTo}:${found[0].splitFrom}`).toBe(text);
      }
    }
  });

  test('is not judged where the price moves as far by itself', () => {
    expect(find(still, causes([[day, 1.05]]))).toEqual([]);
    const wild = walk({ volatility: 0.09 });
    expect(find(wild, causes([[day, 1.25]]))).toEqual([]);
    expect(find(wild, causes([[day, 10]]))).toEqual([`${EVENT} unconfirmed_split 10:1`]);
  });

  test('is confirmed by open or close', () => {
    const bars = splitWalk(2);
    bars.open[EVENT] = bars.close[EVENT - 1];
    bars.high[EVENT] = bars.open[EVENT];
    expect(find(bars, causes([[day, 2]]))).toEqual([]);
  });

  test('of a session without a bar is judged at the next bar', () => {
    const rows = [...Array(200).keys()].filter((row) => row !== EVENT);
    const known = causes([[day, 4]]);
    expect(find(pickBars(still, rows), known)).toEqual([`${EVENT} unconfirmed_split 4:1`]);
  });

  test('before the first row to judge is not spoken of', () => {
    expect(find(still, causes([[day, 4]]), EVENT)).toHaveLength(1);
    expect(find(still, causes([[day, 4]]), EVENT + 1)).toEqual([]);
  });
});

describe('point in time', () => {
  test('a bar is judged the same whatever comes after it', () => {
    const known = causes([
      [toDay('2005-02-28'), 2],
      [toDay('2010-05-03'), 2],
    ]);
    const all = findSplits(AAPL, calendar, known);
    expect(all.map(({ row, kind }) => `${toDate(AAPL.session[row])} ${kind}`)).toEqual([
      '2000-06-21 possible_split',
      '2010-05-03 unconfirmed_split',
      '2014-06-09 possible_split',
      '2020-08-31 possible_split',
    ]);
    for (const { row } of all) {
      const then = findSplits(firstBars(AAPL, row + 1), calendar, known);
      expect(then).toEqual(all.filter((finding) => finding.row <= row));
    }
  });

  test('a batch border changes nothing when the 63 sessions before it are there', () => {
    const known = causes([[toDay('2010-05-03'), 2]]);
    const all = findSplits(AAPL, calendar, known);
    const found: typeof all = [];
    for (let start = 0; start < AAPL.length; start += 97) {
      const first = Math.max(0, start - CONTEXT);
      const end = Math.min(AAPL.length, start + 97);
      const rows = Array.from({ length: end - first }, (_, i) => first + i);
      const batch = findSplits(pickBars(AAPL, rows), calendar, known, start - first);
      found.push(...batch.map((finding) => ({ ...finding, row: finding.row + first })));
    }
    expect(found).toEqual(all);
  });
});
