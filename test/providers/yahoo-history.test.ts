import { afterEach, describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import { makeYahoo } from '../../src/providers/yahoo.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { readRawBars } from '../fixtures/recorded-bars.ts';
import { makeInstantClock } from '../vendor-server.ts';
import {
  type ChartBody,
  makeChart,
  misbehave,
  RECORDED_AT,
  recorded,
  recordedChart,
  startYahooServer,
} from '../yahoo-server.ts';

const FIXTURES = 'node-yahoo-finance2/fixtures';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function connect(now = RECORDED_AT) {
  const server = startYahooServer();
  stops.push(server.stop);
  const options = { baseUrl: server.url, requestsPerMinute: 6_000, calendar: makeCalendar() };
  const yahoo = makeYahoo({ ...options, clock: makeInstantClock(now) });
  const fetch = (symbol: string, first: string, last: string) =>
    yahoo.fetchHistory(symbol, { firstDay: toDay(first), lastDay: toDay(last) });
  return { server, yahoo, fetch };
}

async function failureOf(promise: Promise<unknown>): Promise<ProviderError> {
  const error = await promise.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ProviderError);
  return error as ProviderError;
}

describe('a recorded chart', () => {
  test('is read by session, without the row of a later day', async () => {
    const { fetch, server } = connect();
    const { bars, actions, holes } = await fetch('AAPL', '2025-05-01', '2025-10-28');
    expect([toDate(bars.session[0]), toDate(bars.session[bars.length - 1])]).toEqual([
      ...['2025-05-01', '2025-10-28'],
    ]);
    expect({ length: bars.length, holes }).toEqual({ length: 125, holes: 0 });
    expect(actions).toEqual([
      { kind: 'dividend', exDay: toDay('2025-05-12'), cashAmount: 0.26, currency: 'USD' },
      { kind: 'dividend', exDay: toDay('2025-08-11'), cashAmount: 0.26, currency: 'USD' },
    ]);
    expect(server.requests).toEqual(['chart AAPL']);
    // Single floats that were widened are shortened again.
    const may1 = { open: bars.open[0], close: bars.close[0] };
    expect(may1).toEqual({ open: 209.08, close: 213.32 });
  });

  test('has the split of its first day, which changes no later bar', async () => {
    const { fetch, server } = connect();
    const path = `${FIXTURES}/chart-AAPL-2020-08-31-to-2020-11-07.json`;
    server.charts.set('AAPL', recordedChart(path));
    const { bars, actions } = await fetch('AAPL', '2020-08-31', '2020-11-06');
    expect(bars.close[0]).toBe(129.04);
    expect(bars.volume[0]).toBe(225_702_700);
    const exDay = toDay('2020-08-31');
    expect(actions).toContainEqual({ kind: 'split', exDay, splitFrom: 1, splitTo: 4 });
    const dividend = { exDay: toDay('2020-11-06'), cashAmount: 0.205, currency: 'USD' };
    expect(actions).toContainEqual({ kind: 'dividend', ...dividend });
  });

  test('is raw again before a split', async () => {
    const { fetch, server } = connect();
    const name = 'historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv.json';
    const chart = recordedChart(`${FIXTURES}/${name}`);
    // As it was asked for then, it lacks the split of 2024, for which it is adjusted too.
    const date = 1_718_026_200;
    const split = { date, numerator: 10, denominator: 1, splitRatio: '10:1' };
    chart.events!.splits![date] = split;
    server.charts.set('NVDA', chart);
    const { bars } = await fetch('NVDA', '2021-02-01', '2022-01-28');
    const raw = new Map(
      readRawBars()
        .get('NVDA')!
        .map((bar) => [bar.session, bar]),
    );
    for (const [i, day] of bars.session.entries()) {
      const bar = raw.get(toDate(day))!;
      expect([toDate(day), Math.abs(bars.close[i] / bar.close - 1) < 1e-4]).toEqual([
        ...[toDate(day), true],
      ]);
      expect(Math.abs(bars.volume[i] / bar.volume - 1)).toBeLessThan(0.2);
    }
    expect(bars.length).toBe(252);
  });

  test('without a currency and rows has no bars', async () => {
    const { fetch, server } = connect();
    const { chart } = recorded('chart_LUCYW_null_currency_no_timestamps.json') as {
      chart: { result: ChartBody[] };
    };
    server.charts.set('LUCYW', chart.result[0]);
    const { bars, actions, holes } = await fetch('LUCYW', '2025-06-01', '2025-06-13');
    expect({ length: bars.length, actions, holes }).toEqual({ length: 0, actions: [], holes: 0 });
  });
});

describe('rows', () => {
  const sessions = sessionsFrom('2024-03-04', 5);
  const bars = sessions.map((session, i) => flatBar(session, { close: 100 + i / 8, high: 102 }));

  test('without a price are holes, not zeros', async () => {
    const { fetch, server } = connect();
    const chart = makeChart('AAPL', bars);
    const [{ close, open, volume }] = chart.indicators.quote;
    close[1] = null;
    open[2] = 0;
    volume[3] = null;
    server.charts.set('AAPL', chart);
    const found = await fetch('AAPL', sessions[0], sessions[4]);
    expect(found.holes).toBe(3);
    expect([...found.bars.session].map(toDate)).toEqual([sessions[0], sessions[4]]);
  });

  test('of one session twice: the later one counts, unless it has a hole', async () => {
    const { fetch, server } = connect();
    const chart = makeChart('AAPL', [...bars, { ...bars[4], close: 101.5 }, { ...bars[4] }]);
    chart.indicators.quote[0].close[6] = null;
    server.charts.set('AAPL', chart);
    const found = await fetch('AAPL', sessions[0], sessions[4]);
    expect([found.bars.length, found.bars.close[4]]).toEqual([5, 101.5]);
  });

  test('are made raw by all splits that come later, also after the range', async () => {
    const { fetch, server } = connect();
    const splits = [
      { exDate: sessions[2], splitFrom: 1, splitTo: 4 },
      { exDate: '2025-01-06', splitFrom: 10, splitTo: 1 },
    ];
    const dividends = [{ exDate: sessions[0], cashAmount: 0.5 }];
    server.charts.set('AAPL', makeChart('AAPL', bars, { splits, dividends }));
    const found = await fetch('AAPL', sessions[0], sessions[4]);
    expect([...found.bars.close]).toEqual(bars.map(({ close }) => close));
    expect([...found.bars.volume]).toEqual(bars.map(({ volume }) => volume));
    expect(found.actions).toContainEqual({
      ...{ kind: 'dividend', exDay: toDay(sessions[0]), cashAmount: 0.5, currency: 'USD' },
    });
  });
});

describe('what is refused', () => {
  const chart = () => makeChart('AAPL', [flatBar('2024-03-04')]);
  const wrong: [what: string, change: (chart: ChartBody) => void, message: string][] = [
    ['another symbol', ({ meta }) => (meta.symbol = 'MSFT'), 'the chart of AAPL is of MSFT'],
    ['another currency', ({ meta }) => (meta.currency = 'GBp'), 'is in GBp, not in USD'],
    ['months', ({ meta }) => (meta.dataGranularity = '3mo'), 'is of bars of 3mo, not of days'],
    [
      'another exchange',
      ({ meta }) => (meta.exchangeTimezoneName = 'Europe/London'),
      'is of an exchange in Europe/London, not in New York',
    ],
    [
      'a split that is none',
      (one) => (one.events!.splits = { x: { date: 1_718_026_200, numerator: 0, denominator: 1 } }),
      'a split of AAPL cannot be read: {"date":1718026200,"numerator":0,"denominator":1}',
    ],
    [
      'a dividend that is none',
      (one) => (one.events!.dividends = { x: { date: 'soon', amount: 1 } }),
      'a dividend of AAPL cannot be read: {"date":"soon","amount":1}',
    ],
  ];
  test.each(wrong)('%s', async (_, change, message) => {
    const { fetch, server } = connect();
    const body = chart();
    change(body);
    // Past the server, which cuts out what was asked for.
    server.respond('chart', misbehave.json({ chart: { result: [body], error: null } }));
    const { kind, message: said } = await failureOf(fetch('AAPL', '2024-03-01', '2024-03-04'));
    expect(kind).toBe('garbage');
    expect(said).toContain(message);
  });

  test('a symbol that Yahoo does not know, being asked too often, an empty answer', async () => {
    const { fetch, server } = connect();
    const unknown = await failureOf(fetch('NOPE', '2024-03-01', '2024-03-04'));
    expect(unknown.kind).toBe('not_found');
    expect(unknown.message).toContain('No data found, symbol may be delisted');
    server.respond('chart', misbehave.json({ chart: { result: [], error: null } }));
    expect((await failureOf(fetch('AAPL', '2024-03-01', '2024-03-04'))).message).toBe(
      'the chart of AAPL is empty',
    );
    server.respond('chart', misbehave.tooMany());
    const limited = await failureOf(fetch('AAPL', '2024-03-01', '2024-03-04'));
    expect(limited.kind).toBe('rate_limited');
    // The breaker is the one of the snapshots.
    const refused = await failureOf(fetch('AAPL', '2024-03-01', '2024-03-04'));
    expect(refused.message).toStartWith('Yahoo is left alone until');
  });
});
