import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ingestBars } from '../../src/ingest/ingest.ts';
import type { CorporateAction } from '../../src/model/corporate-action.ts';
import { newYorkInstant, toDate, toDay } from '../../src/model/session.ts';
import { BarReader, type BarsQuery } from '../../src/query/bars.ts';
import type { ResolvedSymbol } from '../../src/query/symbols.ts';
import { makeView, type ViewRequest } from '../../src/query/view.ts';
import { upsertCorporateActions } from '../../src/store/corporate-actions.ts';
import type { Sql } from '../../src/store/database.ts';
import { withIngestLock } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { type Bar, calendar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  addInstrument,
  addSplit,
  ingestOptions,
  makeItem,
  RECEIVED,
} from '../fixtures/warehouse.ts';

const DATA = join(import.meta.dir, '../../../shared/data');
const HOUR = 3_600_000;
/** The evening after a session, in New York. */
const evening = (session: string) => newYorkInstant(toDay(session), 20 * 60);

interface Answer {
  adjustment: string;
  adjust_asof?: string;
  adjustments?: number;
  known_at?: string;
  providers: string[];
  count: number;
  data: { time: string; close: number; volume: number; is_final: boolean; flags: string[] }[];
  excluded: { count: number };
}

/** What an answer says of the bars: all but how it was asked for, and what is absent. */
function bars({ data, count, providers, adjustments, excluded }: Answer) {
  return { data, count, providers, adjustments, excluded };
}

async function resolve(sql: Sql, symbol: string): Promise<ResolvedSymbol> {
  const instrumentId = await addInstrument(sql, symbol);
  return { instrumentId, symbol, name: null, listedOn: null, middle: null };
}

/** Reads as a server would at an instant. */
async function read(
  sql: Sql,
  symbol: ResolvedSymbol,
  nowMs: number,
  request: ViewRequest = {},
  change: Partial<BarsQuery> = {},
): Promise<Answer> {
  const reader = new BarReader(sql, calendar, 0);
  const answer = await reader.select(symbol, {
    ...{ timeframe: '1d', startDay: toDay('1995-01-01'), endDay: toDay('2030-12-31') },
    ...{ minScore: 0.85, validatedOnly: true },
    view: makeView(calendar, nowMs, 0, request),
    ...change,
  });
  return JSON.parse(new TextDecoder().decode(answer.body)) as Answer;
}

const store = (
  sql: Sql,
  items: { symbol: ResolvedSymbol; bars: Bar[]; rescore?: number[] }[],
  receivedAt: number,
  settledSessions = 7,
) => {
  const latest = calendar.sessionIndex(calendar.latestSession(receivedAt, 0));
  const settledBefore = calendar.sessionAt(latest - settledSessions + 1);
  return ingestBars(
    sql,
    items.map(({ symbol: { instrumentId }, bars: arrived, rescore }) =>
      makeItem(instrumentId, arrived, { rescore }),
    ),
    ingestOptions({ receivedAt, settledBefore }),
  );
};

async function storeActions(
  sql: Sql,
  { instrumentId }: ResolvedSymbol,
  actions: readonly CorporateAction[],
  receivedAt: number,
): Promise<void> {
  const origin = { provider: 'vendor', receivedAt };
  for (const kind of ['split', 'dividend'] as const) {
    const ofKind = actions.filter((action) => action.kind === kind);
    await withIngestLock(sql, (tx) =>
      upsertCorporateActions(tx, origin, [{ instrumentId, kind, actions: ofKind }]),
    );
  }
}

const rowsOf = (path: string) =>
  readFileSync(join(DATA, path), 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','));

/** Real raw bars with the dividends and splits of their days, oldest first. */
function readAdjusted(path: string, symbol: string) {
  const found: { bar: Bar; actions: CorporateAction[] }[] = [];
  for (const row of rowsOf(path)) {
    const [session] = row;
    const [open, high, low, close, , volume, dividend, coefficient] = row.slice(1).map(Number);
    const actions: CorporateAction[] = [];
    const base = { symbol, exDate: session, providerActionId: session };
    if (dividend > 0) {
      actions.push({
        ...{ kind: 'dividend', ...base, cashAmount: dividend, currency: 'USD' },
        ...{ declaredDate: null, recordDate: null, payDate: null, frequency: 4, subtype: null },
      });
    }
    if (coefficient !== 1) {
      const ratio = { splitFrom: 1, splitTo: Math.round(coefficient), subtype: null };
      actions.push({ kind: 'split', ...base, ...ratio });
    }
    found.push({ bar: { session, open, high, low, close, volume }, actions });
  }
  return found.reverse();
}

describeEditions('what was known', (database) => {
  const sql = () => database().sql;

  describe('of real bars', () => {
    // 2014-06-09: 7 for 1. 2020-08-31: 4 for 1. Dividends from 2012 on.
    test('that came in pieces does not change by what came later, adjusted or not', async () => {
      const history = readAdjusted('daily/av_adjusted_2020/daily_adjusted_AAPL.csv', 'AAPL');
      const symbol = await resolve(sql(), `SOUND${database().edition.length}`);
      const seen: { session: string; all: Answer; split: Answer; raw: Answer }[] = [];
      const step = 157;
      for (let first = 0; first < history.length; first += step) {
        const piece = history.slice(first, first + step);
        const session = piece[piece.length - 1].bar.session;
        const at = evening(session);
        // As it happens: bars first, and the actions that explain them a little later.
        await store(sql(), [{ symbol, bars: piece.map(({ bar }) => bar) }], at);
        const actions = piece.flatMap((one) => one.actions);
        await storeActions(sql(), symbol, actions, at + 60_000);
        const rescore = actions.map(({ exDate }) => toDay(exDate));
        if (rescore.length > 0) await store(sql(), [{ symbol, bars: [], rescore }], at + 60_000);
        const now = at + HOUR;
        const [all, split, raw] = await Promise.all(
          (['all', 'split', 'raw'] as const).map((adjustment) =>
            read(sql(), symbol, now, { adjustment }),
          ),
        );
        seen.push({ session, all, split, raw });
      }
      expect(seen.length > 30).toBe(true);
      const exDates = history.filter(({ actions }) => actions.length > 0);
      expect(seen.at(-1)?.all.adjustments).toBe(exDates.length);
      const later = evening(seen[seen.length - 1].session) + 1000 * HOUR;
      for (const { session, ...answers } of seen) {
        const knownAtMs = evening(session) + HOUR;
        for (const adjustment of ['all', 'split', 'raw'] as const) {
          const request = { adjustment, knownAtMs, asofDay: toDay(session) };
          const then = await read(sql(), symbol, later, request);
          expect(bars(then)).toEqual(bars(answers[adjustment]));
          expect(then.known_at).toBe(new Date(knownAtMs).toISOString());
        }
      }
      // Looked at from today the early bars are other ones: look-ahead, which known_at rules out.
      const today = await read(sql(), symbol, later, { adjustment: 'split' });
      expect(today.data[0].close).not.toBe(seen[0].split.data[0].close);
    });

    test('from one evening’s crawl is what that evening’s answer said', async () => {
      const wanted = ['AAPL', 'NFLX', 'GOOGL', 'SPY', 'F', 'BAC'];
      const rows = rowsOf('daily/pystock_raw_2015_2017/selected_symbols_all_crawls.csv').filter(
        ([name, , crawl]) => wanted.includes(name) && crawl >= '20150501' && crawl <= '20150730',
      );
      const crawls = [...Map.groupBy(rows, ([, , crawl]) => crawl)].sort(([a], [b]) =>
        a < b ? -1 : 1,
      );
      const symbols = new Map<string, ResolvedSymbol>();
      for (const name of new Set(rows.map(([name]) => name))) {
        symbols.set(name, await resolve(sql(), `${name}${database().edition.length}`));
      }
      const seen: { at: number; name: string; answer: Answer }[] = [];
      for (const [crawl, ofDay] of crawls) {
        const at = evening(`${crawl.slice(0, 4)}-${crawl.slice(4, 6)}-${crawl.slice(6)}`);
        const byName = Map.groupBy(ofDay, ([name]) => name);
        const items = [...byName].map(([name, bars]) => ({
          symbol: symbols.get(name) as ResolvedSymbol,
          bars: bars.map(([, session, , ...values]) => {
            const [open, high, low, close, volume] = values.map(Number);
            return { session, open, high, low, close, volume };
          }),
        }));
        await store(sql(), items, at);
        for (const [name] of byName) {
          const symbol = symbols.get(name) as ResolvedSymbol;
          seen.push({ at: at + 1, name, answer: await read(sql(), symbol, at + 1) });
        }
      }
      const later = evening('2015-12-01');
      for (const { at, name, answer } of seen) {
        const symbol = symbols.get(name) as ResolvedSymbol;
        const then = await read(sql(), symbol, later, { knownAtMs: at });
        expect(bars(then)).toEqual(bars(answer));
      }
      let restated = 0;
      const last = new Map<string, string>();
      for (const [name, session, , ...values] of rows) {
        const said = values.slice(0, 5).map(Number).join();
        const key = `${name} ${session}`;
        if (last.has(key) && last.get(key) !== said) restated++;
        last.set(key, said);
      }
      expect([seen.length > 200, restated > 20]).toEqual([true, true]);
      const ids = [...symbols.values()].map(({ instrumentId }) => instrumentId);
      const [{ count }] = await sql()`
        select count(*)::int from bar_revisions
        where reason = 'values' and instrument_id = any(${ids}::int[])`;
      expect(count).toBe(restated);
    });
  });

  describe('at an instant', () => {
    test('is nothing before it came, and each value until it was replaced', async () => {
      const symbol = await resolve(sql(), `STEP${database().edition.length}`);
      const at = (hours: number) => RECEIVED + hours * HOUR;
      for (const [i, volume] of [100, 200, 300].entries()) {
        await store(sql(), [{ symbol, bars: [flatBar('2024-01-10', { volume })] }], at(i));
      }
      const volumes = async (knownAtMs: number) =>
        (await read(sql(), symbol, at(10), { knownAtMs })).data.map(({ volume }) => volume);
      expect(await volumes(at(0) - 1)).toEqual([]);
      expect(await volumes(at(0))).toEqual([100]);
      expect(await volumes(at(1) - 1)).toEqual([100]);
      expect(await volumes(at(1))).toEqual([200]);
      expect(await volumes(at(2))).toEqual([300]);
      expect(await volumes(at(9))).toEqual([300]);
    });

    test('is what came first of what was replaced in one instant', async () => {
      const symbol = await resolve(sql(), `TIE${database().edition.length}`);
      for (const [i, volume] of [100, 200, 300].entries()) {
        const at = RECEIVED + Math.min(i, 1) * HOUR;
        await store(sql(), [{ symbol, bars: [flatBar('2024-01-10', { volume })] }], at);
      }
      // Rows do not lie in the order in which they came for ever.
      await sql()`
        with gone as (
          delete from bar_revisions
          where instrument_id = ${symbol.instrumentId} and volume = 100 returning *)
        insert into bar_revisions overriding system value select * from gone`;
      const known = await read(sql(), symbol, RECEIVED + 2 * HOUR, { knownAtMs: RECEIVED });
      expect(known.data.map(({ volume }) => volume)).toEqual([100]);
    });

    test('a bar is final only once it was', async () => {
      const symbol = await resolve(sql(), `FINAL${database().edition.length}`);
      const bar = flatBar('2024-01-10');
      await store(sql(), [{ symbol, bars: [bar] }], evening('2024-01-11'));
      await store(sql(), [{ symbol, bars: [bar] }], evening('2024-01-25'));
      const isFinal = async (session: string) =>
        (await read(sql(), symbol, RECEIVED, { knownAtMs: evening(session) })).data[0].is_final;
      expect([await isFinal('2024-01-24'), await isFinal('2024-01-25')]).toEqual([false, true]);
    });

    test('a score is what it was before the split that explains it was known', async () => {
      const symbol = await resolve(sql(), `SCORE${database().edition.length}`);
      const [first, second] = sessionsFrom('2024-01-10', 2);
      const half = flatBar(second, { open: 50, high: 50, low: 50, close: 50 });
      await store(sql(), [{ symbol, bars: [flatBar(first), half] }], RECEIVED - HOUR);
      const { instrumentId } = symbol;
      await addSplit(sql(), instrumentId, { exDate: second, splitFrom: 1, splitTo: 2 });
      await store(sql(), [{ symbol, bars: [], rescore: [toDay(second)] }], RECEIVED);
      const known = async (knownAtMs: number) => {
        const { count, data, excluded } = await read(sql(), symbol, RECEIVED + HOUR, { knownAtMs });
        return { count, flags: data.at(-1)?.flags, excluded: excluded.count };
      };
      expect(await known(RECEIVED - 1)).toEqual({ count: 1, flags: [], excluded: 1 });
      expect(await known(RECEIVED)).toEqual({ count: 2, flags: ['gap', 'gap_split'], excluded: 0 });
    });

    test('is adjusted by whom it was, though another one’s bars have come', async () => {
      const symbol = await resolve(sql(), `WHOSE${database().edition.length}`);
      const { instrumentId } = symbol;
      const [first, second] = sessionsFrom('2024-01-10', 2);
      const tell = (session: string, provider: string, receivedAt: number) =>
        ingestBars(
          sql(),
          [makeItem(instrumentId, [flatBar(session)])],
          ingestOptions({ provider, receivedAt }),
        );
      await tell(first, 'file', RECEIVED);
      for (const [provider, splitTo] of [
        ['alpha', 2],
        ['zeta', 4],
      ] as const) {
        const action = { kind: 'split' as const, providerActionId: 'a', symbol: 'X' };
        const actions = [{ ...action, exDate: second, splitFrom: 1, splitTo }];
        await withIngestLock(sql(), (tx) =>
          upsertCorporateActions(tx, { provider, receivedAt: RECEIVED }, [
            { instrumentId, kind: 'split', actions },
          ]),
        );
      }
      const close = async (request: ViewRequest) =>
        (await read(sql(), symbol, RECEIVED + HOUR, { adjustment: 'split', ...request })).data[0]
          .close;
      expect(await close({})).toBe(50);
      await tell(second, 'zeta', RECEIVED + HOUR);
      expect(await close({})).toBe(25);
      expect(await close({ knownAtMs: RECEIVED })).toBe(50);
    });

    test('has the providers that had told by then', async () => {
      const symbol = await resolve(sql(), `TOLD${database().edition.length}`);
      const tell = (session: string, provider: string, receivedAt: number) =>
        ingestBars(
          sql(),
          [makeItem(symbol.instrumentId, [flatBar(session)])],
          ingestOptions({ provider, receivedAt }),
        );
      await tell('2024-01-11', 'zeta', RECEIVED);
      await tell('2024-01-10', 'alpha', RECEIVED + HOUR);
      const providers = async (knownAtMs: number) =>
        (await read(sql(), symbol, RECEIVED + 2 * HOUR, { knownAtMs })).providers;
      expect(await providers(RECEIVED)).toEqual(['zeta']);
      expect(await providers(RECEIVED + HOUR)).toEqual(['zeta', 'alpha']);
    });
  });

  describe('an unfinished bar', () => {
    test('of a session under way is served when it is asked for, and else named', async () => {
      const symbol = await resolve(sql(), `PART${database().edition.length}`);
      const noon = Date.parse('2024-03-01T17:00:00Z');
      const [before, today] = sessionsFrom('2024-02-29', 2);
      await store(sql(), [{ symbol, bars: [flatBar(before), flatBar(today)] }], noon);
      const closes = async (includePartial: boolean, nowMs = noon) => {
        const { count, excluded } = await read(sql(), symbol, nowMs, { includePartial });
        return [count, excluded.count];
      };
      expect(await closes(false)).toEqual([1, 1]);
      expect(await closes(true)).toEqual([2, 0]);
      // The session is over, and yet nobody has asked since.
      expect(await closes(false, RECEIVED)).toEqual([1, 1]);
      await store(sql(), [{ symbol, bars: [flatBar(today)] }], RECEIVED);
      expect(await closes(false, RECEIVED)).toEqual([2, 0]);
    });

    test.each(['1w', '1mo'] as const)(
      '%s is one whose last session has not closed',
      async (timeframe) => {
        const symbol = await resolve(sql(), `W${timeframe}${database().edition.length}`);
        const sessions = sessionsFrom('2024-02-20', 30);
        const all = sessions.map((session) => flatBar(session));
        await store(sql(), [{ symbol, bars: all }], evening(sessions[sessions.length - 1]));
        const ends = { '1w': '2024-03-08', '1mo': '2024-02-29' }[timeframe];
        const day = toDay(ends);
        const times = async (nowMs: number, includePartial = false) => {
          const change = { timeframe, endDay: day };
          const answer = await read(sql(), symbol, nowMs, { includePartial }, change);
          return { count: answer.count, excluded: answer.excluded.count };
        };
        const whole = await times(calendar.closeMs(day));
        const { count } = whole;
        expect(whole.excluded).toBe(0);
        expect(await times(calendar.closeMs(day) - 1)).toEqual({ count: count - 1, excluded: 1 });
        expect(await times(calendar.closeMs(day) - 1, true)).toEqual({ count, excluded: 0 });
        expect(toDate(day)).toBe(ends);
      },
    );
  });
});
