import { describe, expect, test } from 'bun:test';
import {
  type AdjustmentSteps,
  adjustmentSteps,
  NO_STEPS,
  type PriceAction,
  roundPrice,
  roundVolume,
  stepOf,
} from '../../src/model/adjustment.ts';
import { toRatio } from '../../src/model/corporate-action.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  readActionsOf,
  readAdjustedRows,
  readLean,
  readRawBars,
  readYahooRows,
} from '../fixtures/recorded-bars.ts';

const split = (date: string, splitFrom: number, splitTo: number): PriceAction => ({
  ...{ kind: 'split', exDay: toDay(date), splitFrom, splitTo },
});
const dividend = (date: string, cashAmount: number, currency: string | null = 'USD') =>
  ({ kind: 'dividend', exDay: toDay(date), cashAmount, currency }) satisfies PriceAction;
const ALWAYS = Number.POSITIVE_INFINITY;
const close100 = () => 100;
const lines = ({ exDay, price, volume }: AdjustmentSteps) =>
  Array.from(exDay, (day, i) => `${toDate(day)} ${roundPrice(price[i])} ${roundPrice(volume[i])}`);

describe('steps', () => {
  test('multiply from the latest event back; volume knows splits only', () => {
    const actions = [
      dividend('2020-02-07', 1),
      split('2020-08-31', 1, 4),
      dividend('2020-11-06', 2),
      split('2021-03-01', 10, 1),
    ];
    expect(lines(adjustmentSteps(actions, 'all', ALWAYS, close100))).toEqual([
      '2020-02-07 2.4255 0.4',
      '2020-08-31 2.45 0.4',
      '2020-11-06 9.8 0.1',
      '2021-03-01 10 0.1',
    ]);
    expect(lines(adjustmentSteps(actions, 'split', ALWAYS, close100))).toEqual([
      '2020-08-31 2.5 0.4',
      '2021-03-01 10 0.1',
    ]);
    expect(adjustmentSteps(actions, 'raw', ALWAYS, close100)).toBe(NO_STEPS);
  });

  test('know no event with a later ex-date than the as-of', () => {
    const actions = [split('2020-08-31', 1, 4), split('2022-07-18', 1, 20)];
    const asof = (date: string) => lines(adjustmentSteps(actions, 'split', toDay(date), close100));
    expect(asof('2020-08-30')).toEqual([]);
    expect(asof('2020-08-31')).toEqual(['2020-08-31 0.25 4']);
    expect(asof('2022-07-17')).toEqual(['2020-08-31 0.25 4']);
    expect(asof('2022-07-18')).toEqual(['2020-08-31 0.0125 80', '2022-07-18 0.05 20']);
  });

  test('add up the dividends of a day; a split of that day comes after them', () => {
    const two = [dividend('2020-02-07', 1), dividend('2020-02-07', 4)];
    expect(lines(adjustmentSteps(two, 'all', ALWAYS, close100))).toEqual(['2020-02-07 0.95 1']);
    const both = [split('2020-02-07', 1, 2), ...two];
    expect(lines(adjustmentSteps(both, 'all', ALWAYS, close100))).toEqual(['2020-02-07 0.475 2']);
    const splits = [split('2020-02-07', 1, 2), split('2020-02-07', 3, 1)];
    expect(lines(adjustmentSteps(splits, 'all', ALWAYS, close100))).toEqual([
      '2020-02-07 1.5 0.6666666667',
    ]);
  });

  test('reinvest at the close of the ex-date when that is the method', () => {
    const on = () => 48;
    const steps = (actions: PriceAction[]) =>
      lines(adjustmentSteps(actions, 'all', ALWAYS, close100, on));
    expect(steps([dividend('2020-02-07', 2)])).toEqual(['2020-02-07 0.96 1']);
    // 96 for an old share, and 4 in cash.
    expect(steps([split('2020-02-07', 1, 2), dividend('2020-02-07', 4)])).toEqual([
      '2020-02-07 0.48 2',
    ]);
  });

  test('say what they skip, and why', () => {
    const skipped = (
      action: PriceAction,
      before: number | undefined,
      on?: (day: number) => number | undefined,
    ) => adjustmentSteps([action], 'all', ALWAYS, () => before, on);
    const foreign = skipped(dividend('2020-02-07', 1, 'CAD'), 100);
    expect(lines(foreign)).toEqual([]);
    expect(foreign.skipped).toEqual([
      {
        ...{ ex_date: '2020-02-07', kind: 'dividend' },
        reason: 'paid in CAD, not in the currency of the prices',
      },
    ]);
    expect(lines(skipped(dividend('2020-02-07', 1, null), 100))).toEqual(['2020-02-07 0.99 1']);
    const whole = skipped(dividend('2020-02-07', 5), 5);
    expect(lines(whole)).toEqual([]);
    expect(whole.skipped[0].reason).toBe('5 is not less than the close before it, 5');
    expect(skipped(dividend('2020-02-07', 1), undefined)).toEqual(NO_STEPS);
    const unpriced = skipped(dividend('2020-02-07', 1), 100, () => undefined);
    expect(lines(unpriced)).toEqual([]);
    expect(unpriced.skipped[0].reason).toBe('there is no close of the ex-date to reinvest it at');
  });

  test('of events that undo each other stay whole numbers', () => {
    const actions = [split('2010-01-04', 1, 3), split('2011-01-03', 3, 1)];
    const { price, volume } = adjustmentSteps(actions, 'split', ALWAYS, close100);
    expect([price[0], volume[0]]).toEqual([1, 1]);
  });

  test('apply to the sessions before them', () => {
    const steps = adjustmentSteps(
      [split('2020-08-31', 1, 4), split('2022-07-18', 1, 20)],
      ...(['split', ALWAYS, close100] as const),
    );
    const days = ['2020-08-28', '2020-08-31', '2022-07-15', '2022-07-18', '2030-01-02'];
    expect(days.map((date) => stepOf(steps, toDay(date)))).toEqual([0, 1, 1, 2, 2]);
    expect(stepOf(NO_STEPS, 0)).toBe(0);
  });
});

test('prices are rounded to ten digits, volumes to a millionth of a share', () => {
  expect([0.1 + 0.2, 123_456.789_012_345, 0.000_012_345_678_912, 0].map(roundPrice)).toEqual([
    0.3, 123_456.789, 0.000_012_345_678_91, 0,
  ]);
  expect(roundPrice(Number.NaN)).toBeNaN();
  expect([1 / 3, 1e12 + 0.4].map(roundVolume)).toEqual([0.333_333, 1e12]);
});

/** Digits behind the point. */
const decimals = (printed: string) => printed.split('.')[1]?.length ?? 0;

/**
 * What keeps a row of Alpha Vantage from being the exact one.
 * - quotient: it divides by 0.142857 where the split is 7 for 1.
 * - cash: it had more digits of the dividends than the four that it prints.
 * - twice: it printed 12 digits, and a spreadsheet then fewer of those.
 * - close: it adjusted a close of half a cent, which it prints rounded.
 */
type Reason = 'quotient' | 'cash' | 'twice' | 'close';

/** 1 / 0.142857, as it prints the ratio, is 7.00000700001. */
const asVendor = (ratio: number) =>
  Math.abs(ratio - 7) < 1e-4 ? { splitFrom: 0.142857, splitTo: 1 } : toRatio(ratio);

function readCase(source: string) {
  const rows = readAdjustedRows(source).map((row) => ({ ...row, day: toDay(row.session) }));
  const position = new Map(rows.map(({ day }, i) => [day, i]));
  const { splits, dividends } = readActionsOf(source);
  const steps = (ratioOf: typeof toRatio, isReinvestedOn: boolean) =>
    adjustmentSteps(
      [
        ...splits.map(([date, ratio]): PriceAction => {
          return { kind: 'split', exDay: toDay(date), ...ratioOf(ratio) };
        }),
        ...dividends.map(([date, cash]) => dividend(date, cash)),
      ],
      'all',
      ALWAYS,
      (day) => rows[(position.get(day) ?? 0) - 1]?.close,
      isReinvestedOn ? (day) => rows[position.get(day) ?? -1]?.close : undefined,
    );
  /** How far off a day's factor may be for the digits of later dividends that are not printed. */
  const cashDoubt = (day: number) =>
    dividends
      .filter(([date]) => toDay(date) > day)
      .reduce((sum, [date]) => sum + 0.000_05 / rows[position.get(toDay(date)) ?? 0].close, 0);
  return { rows, steps, cashDoubt };
}

describe('the adjusted closes of Alpha Vantage', () => {
  const files: [string, rows: number, equal: number, Reason[], largest: number][] = [
    ['av_adjusted_2018/daily_adjusted_AAPL.csv', 5941, 5155, ['quotient'], 1.2e-4],
    ['av_adjusted_2018/daily_adjusted_AMD.csv', 5941, 5941, [], 3.2e-6],
    ['av_adjusted_2018/daily_adjusted_AMZN.csv', 5342, 5342, [], 2.4e-5],
    ['av_adjusted_2020/daily_adjusted_AAPL.csv', 5303, 1631, ['quotient'], 1.01e-6],
    ['av_adjusted_2020/daily_adjusted_AMD.csv', 5303, 5303, [], 0],
    ['av_adjusted_2020/daily_adjusted_FB.csv', 2146, 2146, [], 0],
    ['av_adjusted_2020/daily_adjusted_GOOG.csv', 1681, 1681, [], 0],
    ['av_adjusted_2020/daily_adjusted_IBM.csv', 5303, 5303, [], 5e-12],
    ['av_adjusted_2020/daily_adjusted_INTC.csv', 5303, 5303, [], 5e-12],
    ['av_adjusted_2020/daily_adjusted_MSFT.csv', 5303, 5303, [], 5e-12],
    ['av_adjusted_2020/daily_adjusted_SPY.csv', 5303, 49, ['cash'], 2.9e-6],
    ['av_adjusted_2020/daily_adjusted_TSLA.csv', 2623, 2623, [], 1e-15],
    ['av_adjusted_2020_12/daily_NFLX_api.csv', 4685, 1381, ['quotient'], 1.01e-6],
    ['av_adjusted_2020_excel/daily_adjusted_BRK-A.csv', 5200, 5200, [], 0],
    ['av_adjusted_2020_excel/daily_adjusted_JNJ.csv', 5200, 5200, [], 2.2e-6],
    ['av_adjusted_2020_excel/daily_adjusted_MA.csv', 3593, 3592, ['close'], 2.8e-5],
    ['av_adjusted_2020_excel/daily_adjusted_V.csv', 3137, 3137, [], 4.6e-6],
    ['av_adjusted_2020_excel/daily_adjusted_WMT.csv', 5200, 5200, [], 1.7e-6],
    ['av_adjusted_2021_excel/daily_adjusted_AMZN.csv', 5564, 5564, [], 0],
    ['av_adjusted_2021_excel/daily_adjusted_DIS.csv', 5564, 5547, ['twice'], 5e-10],
  ];

  test.each(files)(
    '%s: each row is equal or explained',
    (source, count, equal, reasons, largest) => {
      const { rows, steps, cashDoubt } = readCase(source);
      const exact = steps(toRatio, true);
      const vendor = steps(asVendor, true);
      const found = { rows: rows.length, equal: 0, unexplained: [] as string[] };
      const seen = new Set<Reason>();
      let difference = 0;
      for (const { day, session, close, adjustedClose } of rows) {
        const at = stepOf(exact, day);
        const ours = close * (exact.price[at] ?? 1);
        const theirs = Number(adjustedClose);
        const half = 10 ** -decimals(adjustedClose) / 2 + theirs * 1e-13;
        const digit12 = 10 ** (Math.floor(Math.log10(theirs)) - 11) / 2;
        const isNear = (value: number, within: number) => Math.abs(value - theirs) <= within;
        const asTheirs = close * (vendor.price[at] ?? 1);
        difference = Math.max(difference, Math.abs(ours / theirs - 1));
        if (isNear(ours, half)) found.equal++;
        else if (isNear(asTheirs, half) && asTheirs !== ours) seen.add('quotient');
        else if (isNear(ours, half + digit12)) seen.add('twice');
        else if (isNear(ours, half + theirs * cashDoubt(day))) seen.add('cash');
        else if (isNear(ours, half + (theirs / close) * 0.005_001)) seen.add('close');
        else found.unexplained.push(`${session}: ${ours}, not ${adjustedClose}`);
      }
      expect(found).toEqual({ rows: count, equal, unexplained: [] });
      expect([...seen]).toEqual(reasons);
      expect(difference).toBeLessThanOrEqual(largest);
    },
  );

  test('differ by less than 0.25 % when dividends count at the close before', () => {
    const differences = files.flatMap(([source]) => {
      const { rows, steps } = readCase(source);
      const ours = steps(toRatio, false);
      return rows
        .filter(({ adjustedClose }) => decimals(adjustedClose) > 6)
        .map(({ day, close, adjustedClose }) => {
          const value = close * (ours.price[stepOf(ours, day)] ?? 1);
          return Math.abs(value / Number(adjustedClose) - 1);
        });
    });
    const largest = differences.reduce((a, b) => Math.max(a, b));
    expect(largest).toBeGreaterThan(0.002);
    expect(largest).toBeLessThan(0.0025);
  });
});

describe('the factor files of Lean', () => {
  /** Events by the last session before them: what prices, and what numbers of shares, do there. */
  const eventsOf = (symbol: string) => {
    const { factors, closes } = readLean(symbol);
    const sessions = [...closes.keys()].sort();
    const after = new Map(sessions.map((session, i) => [session, sessions[i + 1]]));
    return factors.slice(1, -1).map(({ session, price, split, close }, i) => {
      const next = factors[i + 2];
      return {
        ...{ session, close, exDate: after.get(session) ?? '', rawClose: closes.get(session) },
        ...{ price: price / next.price, split: split / next.split, cumulative: price },
      };
    });
  };
  /** The quotient of two numbers with seven digits is exact to about this. */
  const PRINTED = 2.5e-7;

  test.each([
    ['aapl', 'AAPL', 34],
    ['ibm', 'IBM', 85],
  ])('%s: every dividend takes what the file says', (lean, symbol, count) => {
    const { dividends } = readActionsOf(`av_adjusted_2020/daily_adjusted_${symbol}.csv`);
    const cash = new Map(dividends);
    const events = eventsOf(lean).filter(({ exDate }) => cash.has(exDate));
    const closes = new Map(events.map(({ exDate, rawClose }) => [toDay(exDate), rawClose]));
    const steps = adjustmentSteps(
      events.map(({ exDate }) => dividend(exDate, cash.get(exDate) ?? 0)),
      ...(['all', ALWAYS, (day: number) => closes.get(day)] as const),
    );
    expect(steps.exDay.length).toBe(count);
    events.forEach(({ price, cumulative }, i) => {
      const own = steps.price[i] / (steps.price[i + 1] ?? 1);
      expect(Math.abs(own / price - 1)).toBeLessThan(PRINTED);
      const whole = steps.price[i] / steps.price[0];
      expect(Math.abs(whole / (cumulative / events[0].cumulative) - 1)).toBeLessThan(2 * PRINTED);
    });
  });

  test('spy: the same, with the amounts that Lean has, which are cents for tenths of cents', () => {
    const events = eventsOf('spy');
    const closes = new Map(events.map(({ exDate, rawClose }) => [toDay(exDate), rawClose]));
    const actions = events.map(({ exDate, price, close }) =>
      dividend(exDate, Math.round((1 - price) * close * 1e4) / 1e4),
    );
    const steps = adjustmentSteps(actions, 'all', ALWAYS, (day) => closes.get(day));
    expect(steps.exDay.length).toBe(94);
    events.forEach(({ cumulative }, i) => {
      expect(Math.abs(steps.price[i] / cumulative - 1)).toBeLessThan(2e-5);
    });
    const { dividends } = readActionsOf('av_adjusted_2020/daily_adjusted_SPY.csv');
    const lean = new Map(actions.map(({ exDay, cashAmount }) => [toDate(exDay), cashAmount]));
    const common = dividends.filter(([date]) => lean.has(date));
    expect(common.length).toBe(85);
    const apart = common.map(([date, amount]) => Math.abs(amount - (lean.get(date) ?? 0)));
    expect(Math.max(...apart)).toBeLessThan(0.0101);
  });

  test('aapl: splits take what the file says, which divides by six digits', () => {
    const splits = eventsOf('aapl').filter((event) => event.split !== 1);
    const { splits: known } = readActionsOf('av_adjusted_2020/daily_adjusted_AAPL.csv');
    expect(splits.map(({ exDate }) => exDate)).toEqual(known.map(([date]) => date));
    const actions = known.map(([date, ratio]): PriceAction => {
      return { kind: 'split', exDay: toDay(date), ...toRatio(ratio) };
    });
    const steps = adjustmentSteps(actions, 'split', ALWAYS, close100);
    expect(lines(steps)).toEqual([
      '2000-06-21 0.008928571429 112',
      '2005-02-28 0.01785714286 56',
      '2014-06-09 0.03571428571 28',
      '2020-08-31 0.25 4',
    ]);
    splits.forEach(({ split: factor }, i) => {
      const own = steps.price[i] / (steps.price[i + 1] ?? 1);
      expect(Math.abs(own / factor - 1)).toBeLessThan(3e-6);
    });
  });
});

describe('the adjusted prices of Yahoo', () => {
  test.each([
    ['AAPL', 19],
    ['MSFT', 19],
    ['SPY', 19],
  ])('%s: a dividend takes what it is of the close before', (symbol, count) => {
    const source = `av_adjusted_2020/daily_adjusted_${symbol}.csv`;
    const raw = new Map(readAdjustedRows(source).map((row) => [row.session, row.close]));
    const cash = new Map(readActionsOf(source).dividends);
    const rows = readYahooRows(symbol);
    let seen = 0;
    rows.forEach(({ session, close, adjustedClose }, i) => {
      const amount = cash.get(session);
      if (amount === undefined || i === 0) return;
      seen++;
      const before = rows[i - 1];
      const theirs = before.adjustedClose / before.close / (adjustedClose / close);
      const closeBefore = () => raw.get(before.session);
      const { price } = adjustmentSteps([dividend(session, amount)], 'all', ALWAYS, closeBefore);
      expect(Math.abs(price[0] / theirs - 1)).toBeLessThan(2e-6);
    });
    expect(seen).toBe(count);
  });

  const splits: [string, PriceAction[]][] = [
    ['AAPL', [split('2020-08-31', 1, 4)]],
    ['TSLA', [split('2020-08-31', 1, 5), split('2022-08-25', 1, 3)]],
    ['NVDA', [split('2021-07-20', 1, 4), split('2024-06-10', 1, 10)]],
  ];
  test.each(splits)(
    '%s: raw closes and volumes, adjusted for splits, are its own',
    (symbol, all) => {
      const raw = new Map(
        readRawBars()
          .get(symbol)
          ?.map((bar) => [bar.session, bar]),
      );
      const steps = adjustmentSteps(all, 'split', ALWAYS, close100);
      const prices: number[] = [];
      const volumes: number[] = [];
      for (const { session, close, volume } of readYahooRows(symbol)) {
        const bar = raw.get(session);
        if (!bar) continue;
        const at = stepOf(steps, toDay(session));
        prices.push(Math.abs((bar.close * (steps.price[at] ?? 1)) / close - 1));
        volumes.push(Math.abs((bar.volume * (steps.volume[at] ?? 1)) / volume - 1));
      }
      expect(prices.length).toBe(1979);
      // One close of TSLA is another in the two sources.
      expect(prices.filter((difference) => difference > 1e-4).length).toBeLessThan(2);
      // The sources count late trades otherwise: half of the volumes agree to six digits.
      expect(volumes.sort((a, b) => a - b)[989]).toBeLessThan(5e-6);
      expect(volumes.filter((difference) => difference < 1e-3).length).toBeGreaterThan(1550);
    },
  );
});
