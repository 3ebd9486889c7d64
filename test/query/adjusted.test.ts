import { describe, expect, test } from 'bun:test';
import type { CorporateAction } from '../../src/model/corporate-action.ts';
import { toDay } from '../../src/model/session.ts';
import { BarReader, type BarsAnswer, type BarsQuery } from '../../src/query/bars.ts';
import { IntradayReader } from '../../src/query/intraday.ts';
import type { ResolvedSymbol } from '../../src/query/symbols.ts';
import { type BarsView, makeView, type ViewRequest } from '../../src/query/view.ts';
import { describeEditions } from '../database.ts';
import { type Bar, calendar, eventfulBars, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { dividend, split, storeActions } from '../fixtures/corporate-actions.ts';
import { addInstrument, ingest, RECEIVED } from '../fixtures/warehouse.ts';

interface ApiBar {
  time: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  [name: string]: unknown;
}

interface Answer {
  adjustment: string;
  adjust_asof?: string;
  adjustments?: number;
  adjustments_skipped?: { ex_date: string; kind: string; reason: string }[];
  count: number;
  data: ApiBar[];
}

const decode = (answer: BarsAnswer) => JSON.parse(new TextDecoder().decode(answer.body)) as Answer;

const view = (request: ViewRequest = {}, nowMs = RECEIVED): BarsView =>
  makeView(calendar, nowMs, 0, request);

const query = (request: ViewRequest, change: Partial<BarsQuery> = {}): BarsQuery => ({
  ...{ timeframe: '1d', startDay: toDay('1990-01-01'), endDay: toDay('2030-12-31') },
  ...{ minScore: 0, validatedOnly: false, view: view(request), ...change },
});

describeEditions('adjusted bars', (database) => {
  const sql = () => database().sql;
  let made = 0;

  async function load(
    bars: readonly Bar[],
    actions: readonly CorporateAction[] = [],
  ): Promise<ResolvedSymbol> {
    const symbol = `ADJ${++made}`;
    const instrumentId = await addInstrument(sql(), symbol);
    await ingest(sql(), instrumentId, bars);
    await storeActions(sql(), instrumentId, actions);
    return { instrumentId, symbol, name: null, listedOn: null, middle: null };
  }

  const makeReader = (isTrusted = true) => {
    const reader = new BarReader(sql(), calendar, 64 * 1_048_576);
    reader.isTrusted = isTrusted;
    return reader;
  };

  const read = async (symbol: ResolvedSymbol, request: ViewRequest, reader = makeReader()) =>
    decode(await reader.select(symbol, query(request)));

  describe('prices and volume', () => {
    // 2 for 1, a dividend of 1 at a close of 50, and 1 for 5.
    const [first, second, third, fourth] = sessionsFrom('2024-01-10', 4);
    const at = (session: string, price: number, volume: number) =>
      flatBar(session, { open: price, high: price, low: price, close: price, volume, vwap: price });
    const bars = [
      at(first, 100, 1000),
      at(second, 50, 2000),
      at(third, 49, 10),
      at(fourth, 245, 2),
    ];
    const actions = [split(second, 1, 2), dividend(third, 1), split(fourth, 5, 1)];

    test.each<[ViewRequest, number[], number[]]>([
      [{}, [100, 50, 49, 245], [1000, 2000, 10, 2]],
      [{ adjustment: 'split' }, [250, 250, 245, 245], [400, 400, 2, 2]],
      [{ adjustment: 'all' }, [245, 245, 245, 245], [400, 400, 2, 2]],
      [{ adjustment: 'all', asofDay: toDay(third) }, [49, 49, 49, 245], [2000, 2000, 10, 2]],
      [{ adjustment: 'split', asofDay: toDay(third) }, [50, 50, 49, 245], [2000, 2000, 10, 2]],
      [{ adjustment: 'all', asofDay: toDay(first) }, [100, 50, 49, 245], [1000, 2000, 10, 2]],
    ])('are those of %j', async (request, closes, volumes) => {
      const symbol = await load(bars, actions);
      const answer = await read(symbol, request);
      const { adjustment = 'raw' } = request;
      expect(answer.adjustment).toBe(adjustment);
      for (const name of ['open', 'high', 'low', 'close', 'vwap'] as const) {
        expect(answer.data.map((bar) => bar[name])).toEqual(closes);
      }
      expect(answer.data.map(({ volume }) => volume)).toEqual(volumes);
    });

    test('say as of when, how many ex-dates were applied, and what could not be', async () => {
      const foreign = dividend(third, 2, { currency: 'EUR', providerActionId: 'eur' });
      const symbol = await load(bars, [...actions, foreign, dividend(second, 100)]);
      expect(await read(symbol, { adjustment: 'all' })).toMatchObject({
        ...{ adjustment: 'all', adjust_asof: '2024-03-01', adjustments: 3 },
        adjustments_skipped: [
          { ex_date: second, kind: 'dividend', reason: expect.stringContaining('100') },
          { ex_date: third, kind: 'dividend', reason: expect.stringContaining('EUR') },
        ],
      } as never);
      const asof = { adjustment: 'split', asofDay: toDay(second) } as const;
      expect(await read(symbol, asof)).toMatchObject({ adjust_asof: second, adjustments: 1 });
      expect(await read(symbol, {})).not.toHaveProperty('adjust_asof');
    });

    test('of a split whose ex-date is still to come are not touched', async () => {
      const symbol = await load(bars, [split('2024-03-04', 1, 2)]);
      const closes = async (nowMs: number) => {
        const change = { view: view({ adjustment: 'split' }, nowMs) };
        const answer = decode(await makeReader().select(symbol, query({}, change)));
        return answer.data[0].close;
      };
      expect(await closes(RECEIVED)).toBe(100);
      expect(await closes(Date.parse('2024-03-04T12:00:00Z'))).toBe(50);
    });

    test('do not count a dividend by a close that is impossible, or of a closed day', async () => {
      const wrong = { ...at(second, 50, 5), high: 1 };
      const symbol = await load(
        [at(first, 100, 5), wrong, at(third, 90, 5)],
        [dividend(third, 10)],
      );
      const closes = (await read(symbol, { adjustment: 'all' })).data.map(({ close }) => close);
      expect(closes).toEqual([90, 45, 90]); // 10 of 100, the last close that is one
    });

    test('equal the stored ones times their factors, in ten digits, for any bars', async () => {
      const all = eventfulBars('2022-01-03', 300, 77);
      const exDates = [40, 41, 120, 200, 290].map((i) => all[i].session);
      const events = [
        ...[split(exDates[0], 1, 7), dividend(exDates[1], 0.35), split(exDates[2], 3, 2)],
        ...[dividend(exDates[3], 1.5), split(exDates[4], 1, 20)],
      ];
      const symbol = await load(all, events);
      const reader = makeReader();
      const raw = await read(symbol, {}, reader);
      const adjusted = await read(symbol, { adjustment: 'all' }, reader);
      expect(adjusted.count).toBe(all.length);
      const factorOf = (day: string) => {
        let price = 1;
        let volume = 1;
        for (const event of events) {
          if (event.exDate <= day) continue;
          if (event.kind === 'split') {
            price *= event.splitFrom / event.splitTo;
            volume *= event.splitTo / event.splitFrom;
          } else {
            const before = raw.data.findLast(
              (bar) => bar.time.slice(0, 10) < event.exDate && (bar.quality_score as number) > 0,
            );
            price *= 1 - event.cashAmount / (before?.close ?? Number.NaN);
          }
        }
        return { price, volume };
      };
      adjusted.data.forEach((bar, i) => {
        const before = raw.data[i];
        const factor = factorOf(bar.time.slice(0, 10));
        for (const name of ['open', 'high', 'low', 'close', 'vwap'] as const) {
          const value = before[name];
          if (value === null) expect(bar[name]).toBeNull();
          else expect(Math.abs((bar[name] ?? 0) / (value * factor.price) - 1) < 1e-9).toBe(true);
          const digits = String(bar[name]).replace(/^0\.0*|[.-]/g, '');
          expect(value === null || factor.price === 1 || digits.length <= 10).toBe(true);
        }
        expect(bar.volume).toBeCloseTo(before.volume * factor.volume, 5);
        const { time, symbol: name, trade_count, quality_score, flags, is_final } = before;
        expect(bar).toMatchObject({
          ...{ time, symbol: name, trade_count, quality_score, flags, is_final },
        } as never);
      });
      // From the last ex-date on nothing is changed.
      expect(adjusted.data.slice(290)).toEqual(raw.data.slice(290));
    });

    test('reinvest a dividend at the close before its ex-date, or at its own', async () => {
      const symbol = await load([at(first, 100, 10), at(second, 110, 10)], [dividend(second, 10)]);
      const reader = makeReader();
      const close = async (dividendMethod: 'previous_close' | 'ex_close') => {
        const answer = await read(symbol, { adjustment: 'all', dividendMethod }, reader);
        expect(answer).toMatchObject({ dividend_method: dividendMethod });
        return answer.data[0].close;
      };
      expect(await close('previous_close')).toBe(90);
      expect(await close('ex_close')).toBe(91.66666667); // 110 of 120
      expect(await close('previous_close')).toBe(90);
      // A split of the day comes after the cash.
      await storeActions(sql(), symbol.instrumentId, [split(second, 1, 2), dividend(second, 10)]);
      reader.drop('all');
      expect(await close('ex_close')).toBe(47.82608696); // 220 of 230, and halved
      expect(await close('previous_close')).toBe(45);
    });

    test('of weeks are those of their adjusted days', async () => {
      const symbol = await load(
        [at('2024-01-09', 100, 10), at('2024-01-10', 50, 20), at('2024-01-11', 49, 20)],
        [split('2024-01-10', 1, 2)],
      );
      const change = { timeframe: '1w' } as const;
      const answer = await makeReader().select(symbol, query({ adjustment: 'split' }, change));
      expect(decode(answer).data).toMatchObject([
        { open: 50, high: 50, low: 49, close: 49, volume: 60 },
      ]);
    });
  });

  describe('in memory', () => {
    const bars = sessionsFrom('2024-01-10', 20).map((session) => flatBar(session));
    const [, , second, , third] = bars.map(({ session }) => session);

    test('are kept, and made once for every as-of that knows the same events', async () => {
      const symbol = await load(bars, [split(second, 1, 2), split(third, 1, 3)]);
      const reader = makeReader();
      const ask = (asof: string) =>
        reader.select(symbol, query({ adjustment: 'split', asofDay: toDay(asof) }));
      const answers = [await ask(third), await ask(bars[9].session), await ask('2024-02-20')];
      expect(reader.stats()).toMatchObject({ blocks: 2, misses: 1 });
      const data = answers.map((answer) => JSON.stringify(decode(answer).data));
      expect(new Set(data).size).toBe(1);
      expect(await ask(third)).toEqual(answers[0]);
      expect(await ask(third)).toBe(await ask(third));
      await ask(second);
      expect(reader.stats()).toMatchObject({ blocks: 3, misses: 1 });
    });

    test('are the stored bytes where no event applies', async () => {
      const symbol = await load(bars, [split(bars[0].session, 1, 2)]);
      const reader = makeReader();
      const raw = await reader.block(symbol, view());
      const adjusted = await reader.block(symbol, view({ adjustment: 'all' }));
      expect(adjusted.encoded).toBe(raw.encoded);
    });

    test('are forgotten in every process when a split is learned or withdrawn', async () => {
      const symbol = await load(bars);
      const reader = makeReader();
      const log = new ChangeLog(database().url, (told) => {
        if (told.kind === 'bars') reader.drop(told.instrumentIds);
      });
      await log.nextOf('trust');
      const close = async () => (await read(symbol, { adjustment: 'split' }, reader)).data[0].close;
      expect([await close(), await close(), await close()]).toEqual([100, 100, 100]);
      await storeActions(sql(), symbol.instrumentId, [split(second, 1, 2)]);
      await log.nextOf('bars');
      expect([await close(), await close(), await close()]).toEqual([50, 50, 50]);
      await log.close();
    });

    test('are not mixed with what was known at an instant', async () => {
      const symbol = await load(bars, [split(second, 1, 2)]);
      const reader = makeReader();
      const knownAtMs = RECEIVED - 1;
      expect((await read(symbol, { adjustment: 'split', knownAtMs }, reader)).count).toBe(0);
      expect((await read(symbol, { adjustment: 'split' }, reader)).data[0].close).toBe(50);
      expect((await read(symbol, { adjustment: 'split', knownAtMs }, reader)).count).toBe(0);
    });
  });

  test('below a day are adjusted by the events of their instrument', async () => {
    const symbol = await load(
      [flatBar('2024-01-10'), flatBar('2024-01-11')],
      [split('2024-01-11', 1, 4)],
    );
    const minutes = ['2024-01-10T14:30:00Z', '2024-01-11T14:30:00Z'];
    for (const [i, ts] of minutes.entries()) {
      await sql()`
        insert into bars_1m (ts, ts_received, open, high, low, close, volume, score, instrument_id,
          flags, session, part, is_final, provider, vwap)
        values (${ts}, ${new Date(RECEIVED)}, 100, 101, 99, 100, 10, 1, ${symbol.instrumentId}, 0,
          ${ts.slice(0, 10)}, 1, true, 'vendor', ${i === 0 ? 100 : null})`;
    }
    const reader = makeReader();
    const intraday = new IntradayReader(sql(), calendar, 1_000_000);
    const ask = async (request: ViewRequest) => {
      const seen = view(request);
      const steps = await reader.steps(symbol, seen);
      const startMs = Date.parse('2024-01-10T05:00:00Z');
      const answer = await intraday.select(
        symbol,
        {
          ...{ timeframe: '5m', minutes: 5, startMs, endMs: startMs + 2 * 86_400_000 },
          ...{ start: '2024-01-10', end: '2024-01-11', sessions: 'regular', anchor: 'session' },
          ...{ closingAuction: false, minScore: 0, validatedOnly: false, view: seen },
        },
        steps,
      );
      return decode(answer);
    };
    expect(await ask({ adjustment: 'all' })).toMatchObject({
      ...{ adjustment: 'all', adjustments: 1 },
      data: [
        { open: 25, high: 25.25, low: 24.75, close: 25, volume: 40, vwap: 25 },
        { open: 100, high: 101, low: 99, close: 100, volume: 10, vwap: null },
      ],
    } as never);
    expect((await ask({})).data.map(({ open }) => open)).toEqual([100, 100]);
    const asof = { adjustment: 'all', asofDay: toDay('2024-01-10') } as const;
    expect((await ask(asof)).data.map(({ open }) => open)).toEqual([100, 100]);
    // Before the minutes came there were none.
    expect((await ask({ adjustment: 'all', knownAtMs: RECEIVED - 1 })).data).toEqual([]);
  });
});
