import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFileSource } from '../../src/ingest/bar-source.ts';
import type { PriceAction } from '../../src/model/adjustment.ts';
import { judgePrice, type ReconciledSide } from '../../src/model/price-pair.ts';
import { FLAG } from '../../src/model/quality.ts';
import { reconcileBars } from '../../src/model/reconciliation.ts';
import { toDay } from '../../src/model/session.ts';
import { type Bar, flatBar, sessionsFrom, toColumns } from '../fixtures/bars.ts';
import { between, dividendOf, scale, splitOf } from '../fixtures/other-source.ts';
import { readActions, readRawBars } from '../fixtures/recorded-bars.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const raw = readRawBars();
const EVER = { firstDay: toDay('1990-01-01'), lastDay: toDay('2030-01-01') };
const SPLITS: Record<string, PriceAction[]> = {
  AAPL: [splitOf('2014-06-09', 1, 7), splitOf('2020-08-31', 1, 4)],
  NVDA: [splitOf('2021-07-20', 1, 4), splitOf('2024-06-10', 1, 10)],
  TSLA: [splitOf('2020-08-31', 1, 5), splitOf('2022-08-25', 1, 3)],
};

const side = (
  name: string,
  bars: readonly Bar[],
  actions: PriceAction[] | null = null,
): ReconciledSide => ({ name, bars: toColumns(bars), actions });

/** A file of another vendor, as it is. */
async function fileSide(path: string, symbol: string): Promise<ReconciledSide> {
  const source = await readFileSource(join(SHARED_DATA, 'daily', path), { symbols: [symbol] });
  const instrument = { instrumentId: 1, symbol, sourceSymbol: symbol };
  const answer = await source.fetchBars(instrument, EVER, new AbortController().signal);
  return { name: 'file', ...answer };
}

const closes = (agree: number, conflict = 0) => ({ agree, near: 0, differ: 0, conflict });

describe('how far apart is apart', () => {
  test.each([
    [100, 100, 'agree'],
    [100, 100.2, 'agree'],
    [100, 99.8, 'agree'],
    [100, 100.201, 'near'],
    [100, 100.5, 'near'],
    [100, 99.499, 'differ'],
    [100, 105, 'differ'],
    [100, 95, 'differ'],
    [100, 105.01, 'conflict'],
    [0, 0, 'agree'],
    [0, 1, 'conflict'],
  ])('%p against %p: %s', (ours, theirs, verdict) => {
    expect(judgePrice(ours, theirs)).toBe(verdict as 'agree');
  });
});

describe('recorded prices of Yahoo', () => {
  test.each(['AAPL', 'NVDA', 'TSLA', 'MSFT'])('of %s agree when undone', async (symbol) => {
    const splits = SPLITS[symbol] ?? [];
    const ours = side('polygon', between(raw.get(symbol)!, '2016-02-22', '2023-12-29'), splits);
    const adjusted = await fileSide(`yahoo_split_adjusted/yf_${symbol}_2016_2026.csv`, symbol);
    const { bars } = adjusted;
    for (let row = 0; row < bars.length; row++) {
      for (const split of splits) {
        if (split.kind !== 'split' || split.exDay <= bars.session[row]) continue;
        const ratio = split.splitTo / split.splitFrom;
        for (const name of ['open', 'high', 'low', 'close'] as const) bars[name][row] *= ratio;
        bars.volume[row] /= ratio;
      }
    }
    const found = reconcileBars(ours, { ...adjusted, name: 'yahoo', actions: splits }, EVER);
    expect(found.compared).toBe(1979);
    expect(found.fields.high).toEqual(closes(1979));
    expect(found.fields.low).toEqual(closes(1979));
    expect(found.fields.close).toEqual(closes(1979));
    // Opens come from another exchange now and then: none is off by 2 %.
    expect(found.fields.open.agree).toBeGreaterThanOrEqual(1974);
    expect(found.fields.open.conflict).toBe(0);
    expect(found.explanations).toEqual([]);
    expect(found.volume.agree + found.volume.near).toBeGreaterThan(1970);
    expect(found.volume.median).toBeCloseTo(1, 2);
    expect(found.actions).toEqual([]);
    // Theirs go on for two years: they are on one side only, and named.
    expect(found.only_ours).toEqual({ count: 0, sessions: [] });
    expect(found.only_theirs.sessions[0]).toBe('2024-01-02');
    expect(found.only_theirs.sessions).toHaveLength(20);
  });

  test('not undone, are told to be adjusted for the splits, from when to when', async () => {
    const ours = side(
      'polygon',
      between(raw.get('NVDA')!, '2016-02-22', '2023-12-29'),
      SPLITS.NVDA,
    );
    const theirs = await fileSide('yahoo_split_adjusted/yf_NVDA_2016_2026.csv', 'NVDA');
    const found = reconcileBars(ours, theirs, EVER);
    expect(found).toMatchObject({ verdict: 'conflict', side: 'theirs', compared: 1979 });
    expect(found.explanations).toMatchObject([
      {
        ...{ cause: 'split', extent: 'until', end: '2021-07-19', factor: 0.025, side: 'theirs' },
        splits: [{ ex_date: '2021-07-20' }, { ex_date: '2024-06-10' }],
      },
      {
        ...{ cause: 'split', extent: 'from', start: '2021-07-20', factor: 0.1, side: 'theirs' },
        splits: [{ ex_date: '2024-06-10', split_from: 1, split_to: 10, listed_by: 'ours' }],
      },
    ]);
    expect(found.explanations[0].sentence).toContain(
      'at 2021-07-20 polygon jumps as raw prices do, file goes on as adjusted prices do: ' +
        'file is adjusted for it',
    );
    // What differs beyond that are four opens, by one or two hundredths.
    expect(found.odd_bars).toEqual({ ours: 0, theirs: 0, unclear: 4 });
    expect(found.worst[0]).toMatchObject({ session: '2016-11-18', field: 'open' });
    expect(found.worst[0].difference).toBeCloseTo(-0.0195, 4);
  });
});

describe('a split', () => {
  const bars = between(raw.get('AAPL')!, '2019-02-22', '2021-12-31');
  const ours = side('polygon', bars, SPLITS.AAPL);
  const yahoo = (other: Bar[], actions = SPLITS.AAPL) => side('yahoo', other, actions);
  const one = (found: ReturnType<typeof reconcileBars>) => {
    expect(found.explanations).toHaveLength(1);
    expect(found.odd_bars).toEqual({ ours: 0, theirs: 0, unclear: 0 });
    expect(found.explanations[0].splits).toEqual([
      { ex_date: '2020-08-31', split_from: 1, split_to: 4, listed_by: 'both' },
    ]);
    return found.explanations[0];
  };

  const faults: [string, Bar[], object, string][] = [
    [
      'not undone',
      scale(bars, 1 / 4, '2020-08-31'),
      { extent: 'until', end: '2020-08-28', factor: 0.25 },
      'yahoo goes on as adjusted prices do: yahoo is adjusted for it',
    ],
    [
      'undone twice',
      scale(bars, 4, '2020-08-31'),
      { extent: 'until', end: '2020-08-28', factor: 4 },
      'yahoo jumps 2 times as far: yahoo has it undone once too often',
    ],
    [
      'adjusted for twice',
      scale(bars, 1 / 16, '2020-08-31'),
      { extent: 'until', end: '2020-08-28', factor: 0.0625 },
      'yahoo jumps the other way: yahoo is adjusted for it twice',
    ],
    [
      'three sessions late',
      scale(bars, 4, '2020-09-03', '2020-08-31'),
      { extent: 'between', start: '2020-08-31', end: '2020-09-02', factor: 4 },
      'or has it on another day',
    ],
    [
      'one session late',
      scale(bars, 4, '2020-09-01', '2020-08-31'),
      { extent: 'between', start: '2020-08-31', end: '2020-08-31', sessions: 1, factor: 4 },
      'on 2020-08-31 yahoo is 4 times polygon',
    ],
    [
      'two sessions early',
      scale(bars, 1 / 4, '2020-08-31', '2020-08-27'),
      { extent: 'between', start: '2020-08-27', end: '2020-08-28', factor: 0.25 },
      'or has it on another day',
    ],
  ];
  test.each(faults)('%s by them', (_, other, explanation, words) => {
    const found = reconcileBars(ours, yahoo(other), EVER);
    expect(found).toMatchObject({ verdict: 'conflict', side: 'theirs' });
    const told = one(found);
    expect(told).toMatchObject({ cause: 'split', side: 'theirs', ...explanation });
    expect(told.sentence).toContain(words);
  });

  test('that our bars are adjusted for is told of ours', () => {
    const stored = side('polygon', scale(bars, 1 / 4, '2020-08-31'), SPLITS.AAPL);
    const found = reconcileBars(stored, yahoo(bars), EVER);
    expect(found.side).toBe('ours');
    expect(one(found)).toMatchObject({ extent: 'until', factor: 4, side: 'ours' });
  });

  test('that only they list, in prices made with it, is unclear', () => {
    const phantom = [splitOf('2019-08-01', 1, 3)];
    const found = reconcileBars(
      side('polygon', bars, []),
      yahoo(scale(bars, 3, '2019-08-01'), phantom),
      EVER,
    );
    expect(found.side).toBe('unclear');
    expect(found.explanations).toMatchObject([
      { cause: 'split', splits: [{ listed_by: 'theirs' }], side: 'unclear', factor: 3 },
    ]);
    expect(found.explanations[0].sentence).toContain('which only yahoo lists');
    expect(found.actions).toEqual([
      { kind: 'split', ex_date: '2019-08-01', ours: null, theirs: 3 },
    ]);
  });

  test('that nobody lists is a possible one, with how each side changes then', async () => {
    const stored = side('polygon', between(raw.get('GOOGL')!, '2006-01-03', '2017-12-29'), []);
    const path = 'djia_2006_2018_googlefinance/GOOGL_2006-01-01_to_2018-01-01.csv';
    const found = reconcileBars(stored, await fileSide(path, 'GOOGL'), EVER);
    expect(found.explanations).toMatchObject([
      {
        ...{ cause: 'possible_split', extent: 'until', end: '2014-04-02', factor: 0.5005 },
        ...{ side: 'unclear', splits: [] },
      },
    ]);
    expect(found.explanations[0].sentence).toBe(
      'until 2014-04-02 file is 0.5005 times polygon: as after a split of 2 for 1, but none is ' +
        'listed that explains it; at 2014-04-03 polygon changes by the factor 0.50348, file by ' +
        '1.00595',
    );
  });

  test('after all that is compared is told from the direction', () => {
    const before = between(bars, '2019-03-01', '2019-12-31');
    const other = scale(before, 1 / 4, '2020-08-31');
    const found = reconcileBars(side('polygon', before, SPLITS.AAPL), side('file', other), EVER);
    expect(found.explanations).toMatchObject([
      { cause: 'split', extent: 'throughout', side: 'theirs', splits: [{ listed_by: 'ours' }] },
    ]);
    const listed = reconcileBars(side('polygon', before, SPLITS.AAPL), yahoo(other), EVER);
    expect(listed.explanations).toMatchObject([{ cause: 'split', side: 'unclear' }]);
  });

  test('has nothing to do with a level of another size', () => {
    const found = reconcileBars(ours, yahoo(scale(bars, 1.037, '2020-06-01')), EVER);
    expect(found).toMatchObject({ verdict: 'differ', side: 'unclear' });
    expect(found.explanations).toMatchObject([
      { cause: 'unknown', extent: 'until', end: '2020-05-29', factor: 1.037, splits: [] },
    ]);
    expect(found.explanations[0].sentence).toContain('no split explains it');
  });
});

describe('dividends', () => {
  /** Raw bars and, of the same rows, the prices that are adjusted for splits and dividends. */
  function readAdjusted(file: string, first: string) {
    const text = readFileSync(join(SHARED_DATA, 'daily', file), 'utf8')
      .trim()
      .split('\n')
      .slice(1);
    const rows = text.map((line) => line.trim().split(','));
    const bars = rows
      .map(([session, ...values]) => {
        const [open, high, low, close, adjusted, volume] = values.map(Number);
        return { bar: { session, open, high, low, close, volume }, factor: adjusted / close };
      })
      .filter(({ bar }) => bar.session >= first)
      .sort((a, b) => (a.bar.session < b.bar.session ? -1 : 1));
    const prices = ({ bar, factor }: (typeof bars)[number]): Bar => ({
      ...{ session: bar.session, volume: bar.volume, open: bar.open * factor },
      ...{ high: bar.high * factor, low: bar.low * factor, close: bar.close * factor },
    });
    return { bars: bars.map(({ bar }) => bar), adjusted: bars.map(prices) };
  }
  const { bars, adjusted } = readAdjusted('av_adjusted_2020/daily_adjusted_MSFT.csv', '2015-01-01');
  const actions = [...readActions('MSFT').dividends].map(([day, cash]) => dividendOf(day, cash));

  test('that their prices are adjusted for are told, of whom and until when', () => {
    const found = reconcileBars(side('polygon', bars, actions), side('file', adjusted), EVER);
    expect(found).toMatchObject({ verdict: 'conflict', side: 'theirs' });
    expect(found.explanations).toHaveLength(1);
    const [{ factor, ...told }] = found.explanations;
    expect(told).toMatchObject({ cause: 'dividends', extent: 'until', side: 'theirs' });
    expect(told.sentence).toContain('file is adjusted for dividends');
    expect(factor).toBeCloseTo(adjusted[0].close / bars[0].close, 3);
    expect(found.odd_bars).toEqual({ ours: 0, theirs: 0, unclear: 0 });
  });

  test('that ours are adjusted for are told of ours', () => {
    const found = reconcileBars(side('polygon', adjusted, actions), side('file', bars), EVER);
    expect(found.explanations).toMatchObject([{ cause: 'dividends', side: 'ours' }]);
  });

  test('after all that is compared lower all of it', () => {
    const [first, last] = ['2016-01-04', '2018-12-31'];
    const found = reconcileBars(
      side('polygon', between(bars, first, last), actions),
      side('file', between(adjusted, first, last)),
      EVER,
    );
    expect(found.explanations).toMatchObject([
      { cause: 'dividends', extent: 'throughout', start: first, end: last, side: 'theirs' },
    ]);
    expect(found.odd_bars).toEqual({ ours: 0, theirs: 0, unclear: 0 });
  });

  test('explain nothing where prices agree', () => {
    const found = reconcileBars(side('polygon', bars, actions), side('file', bars), EVER);
    expect(found).toMatchObject({ verdict: 'agree', side: null, explanations: [], worst: [] });
  });
});

describe('a single bar', () => {
  const bars = between(raw.get('JPM')!, '2022-01-03', '2023-12-29');
  const change = (session: string, change: Partial<Bar>) =>
    bars.map((bar) => (bar.session === session ? { ...bar, ...change } : bar));
  const day = '2023-03-15';

  test('whose low is far from everything is odd, whosever it is', () => {
    const low = 100;
    const theirs = reconcileBars(side('polygon', bars), side('file', change(day, { low })), EVER);
    expect(theirs).toMatchObject({ verdict: 'conflict', side: 'theirs', explanations: [] });
    expect(theirs.odd_bars).toEqual({ ours: 0, theirs: 1, unclear: 0 });
    expect(theirs.worst).toMatchObject([{ session: day, field: 'low', theirs: 100 }]);
    expect(theirs.worst[0].why).toMatch(
      /^file is \d+ times as far below open and close as is usual$/,
    );
    const ours = reconcileBars(side('polygon', change(day, { low })), side('file', bars), EVER);
    expect(ours.worst).toMatchObject([{ session: day, field: 'low', side: 'ours', ours: 100 }]);
  });

  test('whose close goes and comes back is odd', () => {
    const close = 150;
    const other = change(day, { close, high: 151 });
    const found = reconcileBars(side('polygon', bars), side('file', other), EVER);
    expect(found.worst[0]).toMatchObject({ field: 'close', side: 'theirs' });
    expect(found.worst[0].why).toContain('from the close before');
  });

  test('that is impossible, or flagged, is the wrong one', () => {
    const high = 100;
    const impossible = reconcileBars(
      side('polygon', change(day, { high })),
      side('file', bars),
      EVER,
    );
    expect(impossible.worst).toMatchObject([
      { field: 'high', side: 'ours', why: 'the bar of polygon is impossible' },
    ]);
    const flags = new Int32Array(bars.length);
    flags[bars.findIndex(({ session }) => session === day)] = FLAG.highTooLow;
    const flagged = { ...side('polygon', change(day, { high: 140 })), flags };
    expect(reconcileBars(flagged, side('file', bars), EVER).worst[0]).toMatchObject({
      ...{ side: 'ours', why: 'the bar of polygon is impossible' },
    });
  });

  test('with two possible prices is unclear', () => {
    const { open } = bars.find(({ session }) => session === day)!;
    const other = change(day, { open: open * 0.992 });
    const found = reconcileBars(side('polygon', bars), side('file', other), EVER);
    expect(found).toMatchObject({ verdict: 'differ', side: 'unclear' });
    expect(found.worst).toMatchObject([{ field: 'open', why: 'both prices are possible' }]);
  });

  test('of another source’s real dirt: a low of 55.76 among 65', async () => {
    const stored = side('polygon', between(raw.get('JNJ')!, '2006-01-03', '2017-12-29'));
    const path = 'djia_2006_2018_googlefinance/JNJ_2006-01-01_to_2018-01-01.csv';
    const found = reconcileBars(stored, await fileSide(path, 'JNJ'), EVER);
    expect(found).toMatchObject({ verdict: 'conflict', side: 'theirs', compared: 3019 });
    expect(found.explanations).toEqual([]);
    expect(found.worst[0]).toMatchObject({
      ...{ session: '2012-01-26', field: 'low', ours: 65.22, theirs: 55.76, verdict: 'conflict' },
      ...{ side: 'theirs', difference: -0.145048 },
    });
    expect(found.only_ours.count).toBe(1);
  });
});

describe('what is on one side only', () => {
  const sessions = sessionsFrom('2024-03-04', 10);
  const bars = sessions.map((session) => flatBar(session));

  test('is counted and named', () => {
    const found = reconcileBars(side('a', bars.slice(0, 8)), side('b', bars.slice(2)), EVER);
    expect(found).toMatchObject({ verdict: 'agree', compared: 6, side: null });
    expect(found.only_ours).toEqual({ count: 2, sessions: sessions.slice(0, 2) });
    expect(found.only_theirs).toEqual({ count: 2, sessions: sessions.slice(8) });
  });

  test('is all there is: nothing was compared', () => {
    const found = reconcileBars(side('a', bars), side('b', []), EVER);
    expect(found).toMatchObject({ verdict: 'none', compared: 0, side: null, worst: [] });
    expect(found.only_ours.count).toBe(10);
    expect(found.volume).toEqual({ agree: 0, near: 0, differ: 0, median: null });
  });

  test('volume has tolerances of its own and no part in the verdict', () => {
    const volumes = [1000, 1050, 1051, 1200, 1201, 0, 3000, 1000, 1000, 1000];
    const other = bars.map((bar, i) => ({ ...bar, volume: volumes[i] }));
    const found = reconcileBars(side('a', bars), side('b', other), EVER);
    expect(found.verdict).toBe('agree');
    expect(found.volume).toEqual({ agree: 5, near: 2, differ: 3, median: 1050 / 1000 });
  });

  test('splits and dividends that are listed otherwise are', () => {
    const [a, b, c] = sessions;
    const ours = [dividendOf(a, 0.24), dividendOf(b, 0.1), dividendOf(b, 0.15), splitOf(c, 1, 2)];
    const theirs = [dividendOf(a, 0.24), dividendOf(b, 0.25), dividendOf(c, 0.5), splitOf(c, 1, 3)];
    const outside = [dividendOf('2023-01-03', 1)];
    const found = reconcileBars(side('a', bars, ours), side('b', bars, [...theirs, ...outside]), {
      ...{ firstDay: toDay(sessions[0]), lastDay: toDay(sessions[9]) },
    });
    expect(found.actions).toEqual([
      { kind: 'split', ex_date: c, ours: 2, theirs: 3 },
      { kind: 'dividend', ex_date: c, ours: null, theirs: 0.5 },
    ]);
    expect(reconcileBars(side('a', bars, ours), side('b', bars), EVER).actions).toEqual([]);
  });
});
