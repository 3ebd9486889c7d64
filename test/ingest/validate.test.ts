import { describe, expect, test } from 'bun:test';
import { type GapCauses, NO_CAUSES, validateBars } from '../../src/ingest/validate.ts';
import { DEFAULT_THRESHOLDS, flagNames } from '../../src/model/quality.ts';
import { toDay } from '../../src/model/session.ts';
import {
  type Bar,
  below,
  calendar,
  eventfulBars,
  flatBar,
  seededRandom,
  sessionsFrom,
  shiftSession,
  toColumns,
} from '../fixtures/bars.ts';
import { type NaiveCauses, type NaiveScore, scoreNaively } from '../fixtures/naive-scores.ts';
import { readActions, readIndexBars, readRawBars } from '../fixtures/recorded-bars.ts';

const FIRST = '2023-03-01';
const byDay = (events: ReadonlyMap<string, number>) =>
  new Map([...events].map(([date, value]) => [toDay(date), value]));

function toCauses({ splits, dividends }: NaiveCauses): GapCauses {
  return { splitRatio: byDay(splits), dividendCash: byDay(dividends) };
}

function score(bars: readonly Bar[], causes: GapCauses = NO_CAUSES): NaiveScore[] {
  const { score, flags } = validateBars(toColumns(bars), calendar, causes, DEFAULT_THRESHOLDS);
  return bars.map((_, i) => ({ score: score[i], flags: flagNames(flags[i]) }));
}

const split = (date: string, ratio: number): GapCauses => ({
  splitRatio: new Map([[toDay(date), ratio]]),
  dividendCash: new Map(),
});

const dividend = (date: string, cash: number): GapCauses => ({
  splitRatio: new Map(),
  dividendCash: new Map([[toDay(date), cash]]),
});

/** `count` flat sessions (price 100, volume 1000) and then a bar. */
function after(count: number, change: Partial<Bar>, causes?: GapCauses): NaiveScore {
  const sessions = sessionsFrom(FIRST, count + 1);
  const bars = sessions.map((session) => flatBar(session));
  bars[count] = flatBar(sessions[count], change);
  return score(bars, causes)[count];
}

/** The session of the bar that `after` adds to 30 flat ones. */
const PROBE = sessionsFrom(FIRST, 31)[30];
const GOOD = { score: 1, flags: [] };
const opensAt = (open: number, volume = 1000): Partial<Bar> => ({
  ...{ open, close: open, volume },
  high: Math.max(100, open),
  low: Math.min(100, open),
});

describe('a bar by itself', () => {
  test.each<[string, Partial<Bar>, string[]]>([
    ['high below open', { open: 100.01 }, ['high_too_low']],
    ['high below close', { close: 100.01 }, ['high_too_low']],
    ['low above open', { open: 99.99 }, ['low_too_high']],
    ['low above close', { close: 99.99 }, ['low_too_high']],
    [
      'high below low',
      { high: 99.99, low: 100.01 },
      ['high_too_low', 'low_too_high', 'high_below_low'],
    ],
    ['a price of zero', { low: 0 }, ['price_not_positive']],
    ['a negative price', { low: -0.01 }, ['price_not_positive']],
    ['a negative volume', { volume: -1 }, ['volume_negative']],
    ['zero everywhere', { open: 0, high: 0, low: 0, close: 0, volume: 0 }, ['price_not_positive']],
  ])('fails with %s', (_, change, flags) => {
    expect(score([flatBar(FIRST, change)])).toEqual([{ score: 0, flags }]);
  });

  test.each<[string, Partial<Bar>]>([
    ['four equal prices', {}],
    ['the smallest price there is', { open: 5e-324, high: 5e-324, low: 5e-324, close: 5e-324 }],
    ['no volume', { volume: 0 }],
    ['open at the high and close at the low', { open: 101, high: 101, low: 99, close: 99 }],
  ])('passes with %s', (_, change) => {
    expect(score([flatBar(FIRST, change)])).toEqual([GOOD]);
  });

  test('is extreme only beyond 500 percent', () => {
    const rise = (close: number) => score([flatBar(FIRST, { open: 1, low: 1, high: 9, close })]);
    expect(rise(6)).toEqual([GOOD]);
    expect(rise(6.01)).toEqual([{ score: 0.5, flags: ['extreme_move'] }]);
    const fall = flatBar(FIRST, { low: 0.01, close: 0.01 });
    expect(score([fall])).toEqual([GOOD]);
  });

  test('of a day on which the exchange was closed says so', () => {
    expect(score([flatBar('2024-01-06')])).toEqual([{ score: 0.8, flags: ['off_session'] }]);
    expect(score([flatBar('2024-07-04')])).toEqual([{ score: 0.8, flags: ['off_session'] }]);
    expect(score([flatBar('2024-07-03')])).toEqual([GOOD]);
  });
});

describe('gap', () => {
  test('is more than ten percent, up or down', () => {
    expect(after(1, opensAt(110))).toEqual(GOOD);
    expect(after(1, opensAt(90))).toEqual(GOOD);
    const gap = { score: 0.8, flags: ['gap', 'gap_unexplained'] };
    expect(after(1, opensAt(110.01))).toEqual(gap);
    expect(after(1, opensAt(89.99))).toEqual(gap);
  });

  test('of exactly ten percent is none at any price in cents', () => {
    const [a, b] = sessionsFrom(FIRST, 2);
    const flagsAt = (closeCents: number, openCents: number) => {
      const [close, open] = [closeCents / 100, openCents / 100];
      const prices = (x: number) => ({ open: x, high: x, low: x, close: x });
      return score([flatBar(a, prices(close)), flatBar(b, prices(open))])[1].flags.length;
    };
    for (let cents = 10; cents <= 30_000; cents += 10) {
      expect([flagsAt(cents, (cents * 11) / 10), flagsAt(cents, (cents * 9) / 10)]).toEqual([0, 0]);
      expect(flagsAt(cents, Math.round(cents * 1.1) + 1)).toBe(2);
      expect(flagsAt(cents, Math.round(cents * 0.9) - 1)).toBe(2);
    }
  });

  test('is measured from the previous close, not from anything else of that bar', () => {
    const [a, b] = sessionsFrom(FIRST, 2);
    const before = flatBar(a, { open: 50, low: 40, high: 200, close: 100 });
    expect(score([before, flatBar(b)])[1]).toEqual(GOOD);
    const other = flatBar(a, { open: 100, low: 80, high: 100, close: 80 });
    expect(score([other, flatBar(b)])[1].flags).toEqual(['gap', 'gap_unexplained']);
  });

  test('of the first bar does not exist', () => {
    expect(after(0, opensAt(500))).toEqual(GOOD);
  });

  test('is explained by a split that leads to the open', () => {
    const explained = { score: 1, flags: ['gap', 'gap_split'] };
    expect(after(30, { ...opensAt(10), volume: 10_000 }, split(PROBE, 10))).toEqual(explained);
    expect(after(30, { ...opensAt(1000), volume: 100 }, split(PROBE, 0.1))).toEqual(explained);
  });

  test('is explained up to ten percent beside what the split leads to', () => {
    const volume = 10_000;
    const flags = (open: number) => after(30, { ...opensAt(open), volume }, split(PROBE, 10)).flags;
    expect(flags(11)).toEqual(['gap', 'gap_split']);
    expect(flags(9)).toEqual(['gap', 'gap_split']);
    expect(flags(11.01)).toEqual(['gap', 'gap_unexplained']);
    expect(flags(8.99)).toEqual(['gap', 'gap_unexplained']);
  });

  test('is not explained by a split of another day', () => {
    const open = opensAt(50);
    for (const date of [shiftSession(PROBE, -1), shiftSession(PROBE, 1)]) {
      expect(after(30, open, split(date, 2)).flags).toContain('gap_unexplained');
    }
  });

  test('where there should be one is flagged when a split did not move the price', () => {
    // The price stayed: nothing to explain, and no gap by the rule.
    expect(after(30, { volume: 2000 }, split(PROBE, 2))).toEqual(GOOD);
  });

  test('is explained by a dividend that leads to the open', () => {
    expect(after(30, opensAt(75), dividend(PROBE, 25))).toEqual({
      score: 1,
      flags: ['gap', 'gap_dividend'],
    });
    expect(after(30, opensAt(75), dividend(PROBE, 5)).flags).toEqual(['gap', 'gap_unexplained']);
    expect(after(30, opensAt(75), dividend(PROBE, 100)).flags).toEqual(['gap', 'gap_unexplained']);
  });

  test('is explained by a split and a dividend of one day together', () => {
    const causes = {
      splitRatio: new Map([[toDay(PROBE), 2]]),
      dividendCash: new Map([[toDay(PROBE), 40]]),
    };
    expect(after(30, { ...opensAt(30), volume: 2000 }, causes)).toEqual({
      score: 1,
      flags: ['gap', 'gap_split', 'gap_dividend'],
    });
  });

  test('is corroborated by twice the median volume, not by less', () => {
    expect(after(30, opensAt(150, 2000))).toEqual({ score: 1, flags: ['gap', 'gap_volume'] });
    expect(after(30, opensAt(150, 1999))).toEqual({
      score: 0.8,
      flags: ['gap', 'gap_unexplained'],
    });
  });

  test('is not corroborated by volume while there is no median', () => {
    expect(after(19, opensAt(150, 5000)).flags).toEqual(['gap', 'gap_unexplained']);
    expect(after(20, opensAt(150, 5000)).flags).toEqual(['gap', 'gap_volume']);
  });

  test('is not excused by a long weekend', () => {
    const bars = [flatBar('2024-01-12'), flatBar('2024-01-16', opensAt(120))];
    expect(score(bars)[1]).toEqual({ score: 0.8, flags: ['gap', 'gap_unexplained'] });
  });

  test('is measured across a missing session', () => {
    const [a, , c] = sessionsFrom(FIRST, 3);
    expect(score([flatBar(a), flatBar(c, opensAt(120))])[1].flags).toContain('gap_unexplained');
    expect(score([flatBar(a), flatBar(c, opensAt(105))])[1]).toEqual(GOOD);
  });

  test('across missing sessions is explained by an event of one of them', () => {
    const [a, b, c] = sessionsFrom(FIRST, 3);
    const bars = [flatBar(a), flatBar(c, opensAt(50))];
    expect(score(bars, split(b, 2))[1].flags).toEqual(['gap', 'gap_split']);
    expect(score(bars, split(c, 2))[1].flags).toEqual(['gap', 'gap_split']);
    expect(score(bars, split(a, 2))[1].flags).toEqual(['gap', 'gap_unexplained']);
  });

  test('is measured up to 63 sessions back, not further', () => {
    const at = (distance: number) =>
      score([flatBar(FIRST), flatBar(shiftSession(FIRST, distance), opensAt(200))])[1];
    expect(at(63).flags).toEqual(['gap', 'gap_unexplained']);
    expect(at(64)).toEqual(GOOD);
  });

  test('of a bar of a closed day is measured as well', () => {
    const bars = [flatBar('2024-01-05'), flatBar('2024-01-06', opensAt(150))];
    expect(score(bars)[1]).toEqual({
      score: 0.6,
      flags: ['gap', 'gap_unexplained', 'off_session'],
    });
  });
});

describe('volume', () => {
  test('is a spike above ten times the median', () => {
    expect(after(30, { volume: 10_000 })).toEqual(GOOD);
    expect(after(30, { volume: 10_001 })).toEqual({ score: 0.8, flags: ['volume_spike'] });
  });

  test('is a drought below a tenth of the median', () => {
    expect(after(30, { volume: 100 })).toEqual(GOOD);
    expect(after(30, { volume: 99 })).toEqual({ score: 0.9, flags: ['volume_drought'] });
    expect(after(30, { volume: 0 })).toEqual({ score: 0.9, flags: ['volume_drought'] });
  });

  test('is judged from 20 bars of the past on', () => {
    expect(after(19, { volume: 1e9 })).toEqual(GOOD);
    expect(after(20, { volume: 1e9 }).flags).toEqual(['volume_spike']);
  });

  test('is not judged when nothing was traded before', () => {
    const sessions = sessionsFrom(FIRST, 31);
    const bars = sessions.map((session) => flatBar(session, { volume: 0 }));
    bars[30].volume = 1e9;
    expect(score(bars)[30]).toEqual(GOOD);
  });

  test('is compared with the mean of the two middle ones of an even number', () => {
    // Ten bars of 1,000 and ten of 3,000: the median is 2,000.
    const sessions = sessionsFrom(FIRST, 21);
    const bars = sessions.map((s, i) => flatBar(s, { volume: i % 2 === 0 ? 1000 : 3000 }));
    bars[20].volume = 20_000;
    expect(score(bars)[20]).toEqual(GOOD);
    bars[20].volume = 20_001;
    expect(score(bars)[20].flags).toEqual(['volume_spike']);
  });

  test('looks back 63 sessions, not 63 bars', () => {
    // 19 bars in the 63 sessions before: no median, though more bars lie further back.
    const sessions = sessionsFrom(FIRST, 150);
    const old = sessions.slice(0, 60).map((session) => flatBar(session));
    const recent = (count: number) =>
      sessions.slice(85, 85 + count).map((session) => flatBar(session));
    const last = flatBar(sessions[148], { volume: 1e6 });
    expect(score([...old, ...recent(19), last]).at(-1)).toEqual(GOOD);
    expect(score([...old, ...recent(20), last]).at(-1)?.flags).toEqual(['volume_spike']);
    // One session later the oldest of the 20 lies 64 sessions back.
    const later = flatBar(sessions[149], { volume: 1e6 });
    expect(score([...old, ...recent(20), later]).at(-1)).toEqual(GOOD);
  });

  test('does not count the bar itself nor what comes after it', () => {
    const sessions = sessionsFrom(FIRST, 60);
    const bars = sessions.map((s, i) => flatBar(s, { volume: i < 25 ? 1000 : 50_000 }));
    const alone = score(bars.slice(0, 26))[25];
    expect(score(bars)[25]).toEqual(alone);
    expect(alone.flags).toEqual(['volume_spike']);
  });

  test.each([
    [10, 10_000],
    [0.1, 100],
    [3, 3000],
  ])('counts in new shares after a split of %d for 1', (ratio, volume) => {
    const price = 100 / ratio;
    const prices = { open: price, high: price, low: price, close: price };
    const sessions = sessionsFrom(FIRST, 60);
    const bars = sessions.map((session, i) =>
      i < 30 ? flatBar(session) : flatBar(session, { ...prices, volume }),
    );
    const scored = score(bars, split(sessions[30], ratio));
    expect(scored.filter((one) => one.score < 1)).toEqual([]);
    // Without knowing of the split the same bars are a gap and, at ten to one, a drought.
    expect(score(bars)[30].flags).toContain('gap');
    const quiet = { ...bars[30], volume: volume / 10.01 };
    const probed = score([...bars.slice(0, 30), quiet], split(sessions[30], ratio));
    expect(probed[30].flags).toContain('volume_drought');
  });

  test('counts in new shares after a split on a session without a bar', () => {
    const sessions = sessionsFrom(FIRST, 32);
    const bars = sessions.slice(0, 30).map((session) => flatBar(session));
    bars.push(flatBar(sessions[31], { ...opensAt(10), volume: 10_001 * 10 }));
    expect(score(bars, split(sessions[30], 10))[30].flags).toContain('volume_spike');
    bars[30].volume = 100_000;
    expect(score(bars, split(sessions[30], 10))[30].flags).toEqual(['gap', 'gap_split']);
  });

  test('counts two splits in the window one after the other', () => {
    const sessions = sessionsFrom(FIRST, 60);
    const at = (i: number) => (i < 25 ? 1 : i < 40 ? 2 : 6);
    const bars = sessions.map((session, i) => {
      const price = 120 / at(i);
      const prices = { open: price, high: price, low: price, close: price };
      return flatBar(session, { ...prices, volume: 1000 * at(i) });
    });
    const causes = {
      splitRatio: new Map([
        [toDay(sessions[25]), 2],
        [toDay(sessions[40]), 3],
      ]),
      dividendCash: new Map<number, number>(),
    };
    const scored = score(bars, causes);
    expect(scored.filter((one) => one.score < 1)).toEqual([]);
    const tenfold = bars.map((bar, i) => (i === 59 ? { ...bar, volume: 60_001 } : bar));
    expect(score(tenfold, causes)[59].flags).toEqual(['volume_spike']);
  });
});

describe('nobody’s past', () => {
  const [a, b, c] = sessionsFrom(FIRST, 3);

  test('is a hard failure: the gap is measured from the bar before it', () => {
    const broken = flatBar(b, { open: 500, high: 1, low: 900, close: 500 });
    expect(score([flatBar(a), broken, flatBar(c)])[2]).toEqual(GOOD);
    expect(score([flatBar(a), broken, flatBar(c, opensAt(500))])[2].flags).toContain('gap');
  });

  test('is a bar of a closed day', () => {
    const bars = [
      flatBar('2024-01-05'),
      flatBar('2024-01-06', { open: 500, high: 500, low: 500, close: 500 }),
      flatBar('2024-01-08'),
    ];
    expect(score(bars)[2]).toEqual(GOOD);
  });

  test('counts for the median neither', () => {
    const sessions = sessionsFrom(FIRST, 22);
    const bars = sessions.map((session) => flatBar(session));
    bars[21].volume = 1e6;
    expect(score(bars.slice(1))[20].flags).toEqual(['volume_spike']);
    bars[5].volume = -1;
    bars[6].low = 101;
    expect(score(bars)[21]).toEqual(GOOD);
    const weekend = { ...bars[21], session: '2023-03-04' };
    const closed = [...bars, weekend].sort((x, y) => (x.session < y.session ? -1 : 1));
    expect(score(closed).at(-1)).toEqual(GOOD);
  });

  test('is not judged itself by its past', () => {
    const broken = after(30, { ...opensAt(500), high: 1, volume: 1e9 });
    expect(broken.flags.filter((flag) => /gap|volume/.test(flag))).toEqual([]);
    expect(broken.score).toBe(0);
  });
});

test('thresholds are those that are given', () => {
  const sessions = sessionsFrom(FIRST, 31);
  const bars = sessions.map((session) => flatBar(session));
  bars[30] = flatBar(sessions[30], { open: 104, high: 106, low: 100, close: 106, volume: 3001 });
  const limits = {
    gapFraction: 0.03,
    extremeMove: 0.01,
    spikeMultiple: 3,
    newsMultiple: 4,
    droughtFraction: 0.1,
  };
  const { flags } = validateBars(toColumns(bars), calendar, NO_CAUSES, limits);
  expect(flagNames(flags[30])).toEqual(['extreme_move', 'gap', 'gap_unexplained', 'volume_spike']);
});

test('nothing in, nothing out', () => {
  expect(score([])).toEqual([]);
});

/** Splits and dividends, half of them where the price jumps and fitting it. */
function randomCauses(bars: readonly Bar[], seed: number): NaiveCauses {
  const random = seededRandom(seed);
  const splits = new Map<string, number>();
  const dividends = new Map<string, number>();
  for (let i = 1; i < bars.length; i++) {
    const ratio = bars[i - 1].close / bars[i].open;
    if (Math.abs(ratio - 1) > 0.1 && random() < 0.4) splits.set(bars[i].session, ratio);
  }
  for (let i = 0; i < 6; i++) {
    const { session } = bars[1 + below(random, bars.length - 2)];
    splits.set(shiftSession(session, 1), [2, 3, 0.5, 0.1, 7][below(random, 5)]);
    dividends.set(bars[below(random, bars.length)].session, below(random, 30));
  }
  return { splits, dividends };
}

/** Without the bars of closed days, which cannot be shifted by sessions. */
const onSession = (bars: readonly Bar[]) =>
  bars.filter(({ session }) => calendar.isSession(toDay(session)));

/** Scores of random batches, each with the bars of the 63 sessions before it as context. */
function scoreInBatches(bars: readonly Bar[], causes: GapCauses, seed: number): NaiveScore[] {
  const random = seededRandom(seed);
  const scored: NaiveScore[] = [];
  while (scored.length < bars.length) {
    const start = scored.length;
    const end = Math.min(bars.length, start + 1 + below(random, 150));
    const first = calendar.sessionsBefore(toDay(bars[start].session)) - 63;
    const context = bars.findIndex(
      ({ session }) => calendar.sessionsBefore(toDay(session)) >= first,
    );
    scored.push(...score(bars.slice(context, end), causes).slice(start - context));
  }
  return scored;
}

describe('made-up histories with every event', () => {
  for (let seed = 1; seed <= 25; seed++) {
    test(`are scored as the plain rules say, in batches and at once (seed ${seed})`, () => {
      const bars = eventfulBars('2019-01-02', 400, seed);
      const naive = randomCauses(onSession(bars), seed);
      const expected = scoreNaively(bars, naive);
      const causes = toCauses(naive);
      expect(score(bars, causes)).toEqual(expected);
      expect(scoreInBatches(bars, causes, seed)).toEqual(expected);
    });
  }

  test('show every flag', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 25; seed++) {
      const bars = eventfulBars('2019-01-02', 400, seed);
      const scored = scoreNaively(bars, randomCauses(onSession(bars), seed));
      for (const { flags } of scored) for (const flag of flags) seen.add(flag);
    }
    for (const flag of [
      ...['high_too_low', 'high_below_low', 'extreme_move', 'gap_unexplained', 'gap_split'],
      ...['gap_dividend', 'gap_volume', 'volume_spike', 'volume_drought', 'off_session'],
    ]) {
      expect(seen).toContain(flag);
    }
  });
});

describe('recorded raw prices', () => {
  const all = readRawBars();

  test('are those of eleven companies', () => {
    expect([...all.keys()]).toContain('AAPL');
    expect(all.size).toBe(11);
  });

  for (const [symbol, bars] of all) {
    test(`of ${symbol} are scored as the plain rules say, in batches and at once`, () => {
      const actions = readActions(symbol);
      const expected = scoreNaively(bars, actions);
      const causes = toCauses(actions);
      expect(score(bars, causes)).toEqual(expected);
      expect(scoreInBatches(bars, causes, bars.length)).toEqual(expected);
      expect(score(bars)).toEqual(scoreNaively(bars));
    });
  }

  test.each([
    ['AAPL', '2014-06-09', 7],
    ['AAPL', '2020-08-31', 4],
    ['TSLA', '2020-08-31', 5],
    ['TSLA', '2022-08-25', 3],
    ['NVDA', '2021-07-20', 4],
    ['AMZN', '2022-06-06', 20],
    ['GOOGL', '2022-07-18', 20],
  ])('show the split of %s on %s (%d for 1)', (symbol, date, ratio) => {
    const bars = all.get(symbol) ?? [];
    const row = bars.findIndex(({ session }) => session === date);
    expect(score(bars, split(date, ratio))[row]).toEqual({ score: 1, flags: ['gap', 'gap_split'] });
    expect(score(bars)[row].flags).toContain('gap');
    expect(score(bars)[row].flags).not.toContain('gap_split');
  });
});

describe('recorded prices of 505 symbols', () => {
  const all = readIndexBars();

  test('have twelve bars that break the order of prices: score 0', () => {
    const zero = [...all].flatMap(([symbol, bars]) =>
      score(bars).flatMap((one, i) => (one.score === 0 ? [`${symbol} ${bars[i].session}`] : [])),
    );
    expect(zero.sort()).toEqual([
      'AOS 2014-05-19',
      'BBY 2016-03-14',
      'CHD 2014-05-19',
      'CHK 2014-06-30',
      'DHR 2014-11-06',
      'IP 2014-07-01',
      'LNT 2016-05-19',
      'O 2014-08-27',
      'O 2014-11-06',
      'SPG 2014-05-28',
      'UA 2016-06-10',
      'WRK 2016-05-13',
    ]);
  });

  test('are scored as the plain rules say, in batches and at once', () => {
    const sample = [...all].filter(([symbol], i) => i % 25 === 0 || symbol === 'O');
    expect(sample.length).toBe(22);
    for (const [symbol, bars] of sample) {
      const expected = scoreNaively(bars);
      expect(score(bars)).toEqual(expected);
      expect(scoreInBatches(bars, NO_CAUSES, symbol.length)).toEqual(expected);
    }
  });
});
