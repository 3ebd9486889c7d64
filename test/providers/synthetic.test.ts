import { describe, expect, test } from 'bun:test';
import type { BarColumns } from '../../src/model/bar.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { listPlants, makeSynthetic, type Plant } from '../../src/providers/synthetic.ts';
import { makeInstantClock } from '../vendor-server.ts';

const calendar = makeCalendar();
const NOW = '2026-11-20T22:00:00Z'; // Friday, an hour after the close
const SYMBOLS = 'AAPL AMD AMZN CRM EEM GOOGL IWM META MSFT NFLX NVDA QQQ SPY TSLA VTI'.split(' ');
const EVER = { firstSession: '1990-01-01', lastSession: '2049-12-31' };
const EVER_EX = { firstExDate: '1990-01-01', lastExDate: '2049-12-31' };

const make = (seed = 7, now = NOW): Provider =>
  makeSynthetic({ seed, calendar, clock: makeInstantClock(now) });

async function barsOf(symbol: string, provider = make()): Promise<BarColumns> {
  const { bars, rejected } = await provider.fetchBars({ symbol, ...EVER });
  expect(rejected).toEqual([]);
  return bars;
}

const rowOf = (bars: BarColumns, session: string) => bars.session.indexOf(toDay(session));

function plantsOf(kind: Plant['kind'], firstYear = 2015, lastYear = 2026): Plant[] {
  const plants: Plant[] = [];
  for (let year = firstYear; year <= lastYear; year++) plants.push(...listPlants(year, calendar));
  return plants.filter((plant) => plant.kind === kind && plant.session < '2026-11-20');
}

/** Rows whose open is over 10 % away from the close before it. */
function gapsIn(bars: BarColumns): string[] {
  const gaps: string[] = [];
  for (let i = 1; i < bars.length; i++) {
    if (Math.abs(bars.open[i] / bars.close[i - 1] - 1) > 0.1) gaps.push(toDate(bars.session[i]));
  }
  return gaps;
}

describe('the path of a symbol', () => {
  test('is the same whichever part of it is asked for, and on whichever day', async () => {
    const all = await barsOf('AAPL');
    const start = rowOf(all, '2024-05-01');
    const part = await make().fetchBars({
      symbol: 'AAPL',
      firstSession: '2024-05-01',
      lastSession: '2024-05-31',
    });
    expect(part.bars.length).toBe(22);
    expect([...part.bars.close]).toEqual([...all.close.slice(start, start + 22)]);
    expect([...part.bars.volume]).toEqual([...all.volume.slice(start, start + 22)]);
    const before = await barsOf('AAPL', make(7, '2024-05-31T22:00:00Z'));
    expect(before.length).toBe(start + 22);
    expect([...before.close]).toEqual([...all.close.slice(0, start + 22)]);
  });

  test('is another for another seed or symbol', async () => {
    const closes = async (symbol: string, seed: number) =>
      [...(await barsOf(symbol, make(seed))).close].join();
    const one = await closes('MSFT', 1);
    expect(await closes('MSFT', 1)).toBe(one);
    expect(await closes('MSFT', 2)).not.toBe(one);
    expect(await closes('SPY', 1)).not.toBe(one);
  });

  test('has every session from the first of 2015 to the latest that has closed', async () => {
    const bars = await barsOf('GOOGL');
    const sessions = calendar.sessions(toDay('2015-01-02'), toDay('2026-11-20'));
    expect([...bars.session]).toEqual(sessions);
  });

  test('ends with the close of a session, not with its date', async () => {
    const last = async (now: string) => {
      const { session, length } = await barsOf('SPY', make(7, now));
      return toDate(session[length - 1]);
    };
    expect(await last('2026-11-20T20:59:59Z')).toBe('2026-11-19');
    expect(await last('2026-11-20T21:00:00Z')).toBe('2026-11-20');
    expect(await last('2026-11-27T18:00:00Z')).toBe('2026-11-27'); // closes at 13:00
  });

  test('grows as time goes on', async () => {
    const clock = makeInstantClock(NOW);
    const provider = makeSynthetic({ seed: 7, calendar, clock });
    const { length } = await barsOf('SPY', provider);
    await clock.sleep(3 * 86_400_000); // Monday
    expect((await barsOf('SPY', provider)).length).toBe(length + 1);
  });

  test('is not changed by who asked for it', async () => {
    const provider = make();
    const bars = await barsOf('SPY', provider);
    const before = [bars.session[0], bars.close[0], bars.volume[0]];
    for (const column of [bars.session, bars.close, bars.volume]) column.fill(0);
    const { session, close, volume } = await barsOf('SPY', provider);
    expect([session[0], close[0], volume[0]]).toEqual(before);
  });

  test.each([...SYMBOLS, 'IBM', 'ABRpD'])('of %s is plausible, in cents', async (symbol) => {
    const bars = await barsOf(symbol);
    const odd = new Set(
      plantsOf('impossible_bar').map((plant) => `${plant.symbol} ${plant.session}`),
    );
    for (let i = 0; i < bars.length; i++) {
      const { open, high, low, close, volume, vwap, tradeCount } = bars;
      if (odd.has(`${symbol} ${toDate(bars.session[i])}`)) continue;
      const isBar =
        high[i] >= Math.max(open[i], close[i]) &&
        low[i] <= Math.min(open[i], close[i]) &&
        low[i] > 1 &&
        high[i] < 5_000 &&
        vwap[i] >= low[i] &&
        vwap[i] <= high[i] &&
        Number.isInteger(volume[i]) &&
        volume[i] > tradeCount[i] &&
        tradeCount[i] > 0 &&
        [open[i], high[i], low[i], close[i]].every((p) => p === Math.round(p * 100) / 100);
      expect(isBar ? '' : `${symbol} ${toDate(bars.session[i])}`).toBe('');
    }
    const moves = Array.from(bars.close).map((c, i, all) => (i ? Math.log(c / all[i - 1]) : 0));
    const usual = moves.filter((move) => Math.abs(move) < 0.1);
    const deviation = Math.sqrt(usual.reduce((sum, m) => sum + m * m, 0) / usual.length);
    expect(deviation).toBeWithin(0.005, 0.03);
  });
});

describe('planted are', () => {
  test('in any five years: each split once, and five of every fault', () => {
    for (let year = 2015; year <= 2044; year++) {
      const kinds = Array.from({ length: 5 }, (_, i) => listPlants(year + i, calendar)).flat();
      const splits = kinds.filter((plant) => plant.kind === 'split');
      expect(splits.map((plant) => plant.symbol).sort()).toEqual(['AAPL', 'AMD', 'NVDA', 'TSLA']);
      for (const kind of ['gap', 'volume_spike', 'missing_session', 'impossible_bar']) {
        expect(kinds.filter((plant) => plant.kind === kind)).toHaveLength(5);
      }
      expect(kinds.filter((plant) => plant.kind === 'dividend').length).toBeGreaterThan(100);
      expect(kinds.every((plant) => calendar.isSession(toDay(plant.session)))).toBe(true);
    }
    expect(listPlants(2014, calendar)).toEqual([]);
  });

  test('splits, with the jump in the price and the volume that belongs to them', async () => {
    const splits = plantsOf('split');
    expect(splits.map(({ symbol, session }) => `${symbol} ${session}`)).toEqual([
      'AAPL 2015-08-14',
      'TSLA 2017-08-16',
      'AMD 2018-03-12',
      'NVDA 2019-06-10',
      'AAPL 2020-08-14',
      'TSLA 2022-08-16',
      'AMD 2023-03-10',
      'NVDA 2024-06-10',
      'AAPL 2025-08-14',
    ]);
    for (const split of splits) {
      if (split.kind !== 'split') continue;
      const ratio = split.splitTo / split.splitFrom;
      const bars = await barsOf(split.symbol);
      const row = rowOf(bars, split.session);
      expect(bars.close[row - 1] / bars.open[row] / ratio).toBeWithin(0.95, 1.05);
      expect(gapsIn(bars)).toContain(split.session);
      const volume = (from: number) => bars.volume.slice(from, from + 20).reduce((a, b) => a + b);
      expect(volume(row) / volume(row - 20) / ratio).toBeWithin(0.5, 2);
    }
  });

  test('no gaps but splits and the one a year that nothing explains', async () => {
    for (const symbol of SYMBOLS) {
      const expected = [...plantsOf('split'), ...plantsOf('gap')]
        .filter((plant) => plant.symbol === symbol)
        .map((plant) => plant.session);
      expect(gapsIn(await barsOf(symbol))).toEqual(expected);
    }
    for (const { symbol, session } of plantsOf('gap')) {
      const bars = await barsOf(symbol);
      const row = rowOf(bars, session);
      expect(bars.open[row] / bars.close[row - 1]).toBeWithin(1.15, 1.25);
      const median = bars.volume.slice(row - 63, row).sort()[31];
      expect(bars.volume[row] / median).toBeWithin(0.5, 1.5);
    }
  });

  test('volume spikes, over ten times the median, and no others', async () => {
    const spikes: string[] = [];
    for (const symbol of SYMBOLS.filter(
      (name) => !['AAPL', 'NVDA', 'TSLA', 'AMD'].includes(name),
    )) {
      const bars = await barsOf(symbol);
      for (let i = 63; i < bars.length; i++) {
        const median = bars.volume.slice(i - 63, i).sort()[31];
        if (bars.volume[i] > 10 * median) spikes.push(`${symbol} ${toDate(bars.session[i])}`);
      }
    }
    const planted = plantsOf('volume_spike').map(({ symbol, session }) => `${symbol} ${session}`);
    expect(spikes).toEqual(planted);
  });

  test('missing sessions', async () => {
    for (const { symbol, session } of plantsOf('missing_session')) {
      const bars = await barsOf(symbol);
      expect(rowOf(bars, session)).toBe(-1);
      const grouped = await make().fetchGroupedBars(session);
      expect(grouped.symbols).toEqual(SYMBOLS.filter((other) => other !== symbol));
    }
    const iwm = await barsOf('IWM');
    const { length } = calendar.sessions(toDay('2015-01-02'), toDay('2026-11-20'));
    expect(iwm.length).toBe(length - plantsOf('missing_session').length);
  });

  test('bars whose high is below the close', async () => {
    for (const { symbol, session } of plantsOf('impossible_bar')) {
      const bars = await barsOf(symbol);
      const row = rowOf(bars, session);
      expect(bars.high[row]).toBeLessThan(bars.close[row]);
    }
  });
});

describe('corporate actions', () => {
  test('are the planted ones', async () => {
    const provider = make();
    const { actions: splits } = await provider.fetchSplits(EVER_EX);
    const planted = plantsOf('split');
    expect(
      splits.map((split) => [split.symbol, split.exDate, split.splitTo / split.splitFrom]),
    ).toEqual(
      planted.map((p) => [p.symbol, p.session, p.kind === 'split' ? p.splitTo / p.splitFrom : 0]),
    );
    const { actions: dividends } = await provider.fetchDividends(EVER_EX);
    expect(dividends.map(({ symbol, exDate }) => [symbol, exDate]).sort()).toEqual(
      plantsOf('dividend')
        .map(({ symbol, session }) => [symbol, session])
        .sort(),
    );
    const ids = [...splits, ...dividends].map((action) => action.providerActionId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('of a symbol and of some days, both included', async () => {
    const range = { firstExDate: '2020-08-14', lastExDate: '2025-08-14' };
    const { actions } = await make().fetchSplits({ symbol: 'AAPL', ...range });
    expect(actions).toEqual([
      {
        kind: 'split',
        providerActionId: 'split AAPL 2020-08-14',
        symbol: 'AAPL',
        exDate: '2020-08-14',
        splitFrom: 1,
        splitTo: 4,
      },
      expect.objectContaining({ exDate: '2025-08-14' }),
    ]);
    const { actions: paid } = await make().fetchDividends({
      symbol: 'AAPL',
      firstExDate: '2024-05-01',
      lastExDate: '2024-05-31',
    });
    expect(paid).toEqual([
      {
        kind: 'dividend',
        providerActionId: 'dividend AAPL 2024-05-09',
        symbol: 'AAPL',
        exDate: '2024-05-09',
        cashAmount: 0.24,
        currency: 'USD',
        declaredDate: '2024-04-25',
        recordDate: '2024-05-09',
        payDate: '2024-05-30',
        frequency: 4,
      },
    ]);
  });

  test('come with their session', async () => {
    const at = async (now: string) => (await make(7, now).fetchSplits(EVER_EX)).actions.length;
    expect(await at('2025-08-14T19:59:00Z')).toBe(8);
    expect(await at('2025-08-14T20:00:00Z')).toBe(9);
    expect(await at('2015-01-01T00:00:00Z')).toBe(0);
  });
});

describe('the market', () => {
  test('of a session is the same bars', async () => {
    const provider = make();
    const { symbols, bars } = await provider.fetchGroupedBars('2024-05-01');
    expect(symbols).toEqual(SYMBOLS);
    for (const [i, symbol] of symbols.entries()) {
      const all = await barsOf(symbol, provider);
      const row = rowOf(all, '2024-05-01');
      for (const column of ['session', 'open', 'high', 'low', 'close', 'volume'] as const) {
        expect(bars[column][i]).toBe(all[column][row]);
      }
    }
    expect((await provider.fetchGroupedBars('2024-05-04')).symbols).toEqual([]);
    expect((await provider.fetchGroupedBars('2026-11-23')).symbols).toEqual([]);
  });

  test('has those as well that were asked for by name', async () => {
    const provider = make();
    await barsOf('IBM', provider);
    expect((await provider.fetchGroupedBars('2024-05-01')).symbols).toContain('IBM');
  });

  test('is listed, and says that it is made up', async () => {
    const provider = make();
    expect(await provider.fetchSymbol('AAPL')).toEqual({
      symbol: 'AAPL',
      name: 'Apple Inc. (synthetic)',
      exchange: 'XNAS',
      assetType: 'CS',
      listedOn: '2015-01-02',
      delistedOn: null,
    });
    expect((await provider.fetchSymbol('constructor'))?.name).toBe('constructor (synthetic)');
    const listed: string[] = [];
    for await (const page of provider.fetchSymbols()) listed.push(...page.map((one) => one.symbol));
    expect(listed).toEqual(SYMBOLS);
    expect([provider.name, provider.isSynthetic]).toEqual(['synthetic', true]);
    expect([provider.requestsPerMinute, provider.requestCount()]).toEqual([undefined, 0]);
  });

  test('is empty before 2015', async () => {
    const early = make(7, '2014-12-31T22:00:00Z');
    expect((await barsOf('AAPL', early)).length).toBe(0);
    expect((await make().fetchGroupedBars('2014-12-31')).symbols).toEqual([]);
  });

  test('is not asked after an abort', async () => {
    const range = { symbol: 'AAPL', ...EVER };
    await expect(make().fetchBars(range, AbortSignal.abort(new Error('stop')))).rejects.toThrow(
      'stop',
    );
  });
});
