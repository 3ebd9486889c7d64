import { describe, expect, test } from 'bun:test';
import type { AbsenceReport } from '../../src/model/absence.ts';
import { flagNames, qualityReason } from '../../src/model/quality.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { BarReader, type BarsAnswer, type BarsQuery } from '../../src/query/bars.ts';
import { type ResolvedSymbol, SymbolDirectory } from '../../src/query/symbols.ts';
import { makeView } from '../../src/query/view.ts';
import type { Sql } from '../../src/store/database.ts';
import { upsertDescriptions } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import {
  type Bar,
  below,
  calendar,
  eventfulBars,
  flatBar,
  seededRandom,
} from '../fixtures/bars.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { addInstrument, addSplit, ingest, RECEIVED } from '../fixtures/warehouse.ts';

const MEGABYTE = 1_048_576;
/** What is asked for without saying how, at the instant when test bars come. */
const VIEW = makeView(calendar, RECEIVED, 0);

/** A bar as the contract writes it. */
interface ApiBar {
  time: string;
  symbol: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  trade_count: number | null;
  quality_score: number;
  validated: boolean;
  gap_detected: boolean;
  volume_anomaly: boolean;
  is_final: boolean;
  flags: string[];
}

interface ApiAnswer {
  symbol: string;
  timeframe: string;
  start_date: string;
  end_date: string;
  adjustment: string;
  providers: string[];
  synthetic: boolean;
  derived: boolean;
  validated_only: boolean;
  min_quality: number;
  count: number;
  data: ApiBar[];
  excluded: { count: number; bars: { date: string; score: number; reason: string }[] };
  absent: AbsenceReport;
}

function query(start: string, end: string, change: Partial<BarsQuery> = {}): BarsQuery {
  const days = { startDay: toDay(start), endDay: toDay(end) };
  return { timeframe: '1d', ...days, minScore: 0, validatedOnly: false, view: VIEW, ...change };
}

const read = (answer: BarsAnswer) => JSON.parse(new TextDecoder().decode(answer.body)) as ApiAnswer;

/** The same bars by plain SQL. */
async function selectBars(
  sql: Sql,
  { instrumentId, symbol }: ResolvedSymbol,
  start: string,
  end: string,
): Promise<ApiBar[]> {
  const rows = await sql`
    select * from bars_1d
    where instrument_id = ${instrumentId} and session between ${start} and ${end}
    order by session`;
  return rows.map((row) => ({
    time: `${row.session}T00:00:00Z`,
    symbol,
    ...{ open: row.open, high: row.high, low: row.low, close: row.close, volume: row.volume },
    ...{ vwap: row.vwap, trade_count: row.trade_count, quality_score: row.score },
    validated: row.score >= 0.85,
    gap_detected: (row.flags & 64) > 0,
    volume_anomaly: (row.flags & 6144) > 0,
    is_final: row.is_final,
    flags: flagNames(row.flags),
  }));
}

describeEditions('bars', (database) => {
  const sql = () => database().sql;
  let count = 0;

  /** A symbol with bars. */
  const load = async (bars: readonly Bar[], symbol = `Q${++count}`): Promise<ResolvedSymbol> => {
    const id = await addInstrument(sql(), symbol);
    if (bars.length > 0) await ingest(sql(), id, bars);
    return resolve(symbol);
  };
  const resolve = async (symbol: string): Promise<ResolvedSymbol> => {
    const found = await new SymbolDirectory(sql()).find(symbol);
    if (!found) throw new Error(`${symbol} is not known`);
    return found;
  };
  const makeReader = (isTrusted = true, bytes = 64 * MEGABYTE) => {
    const reader = new BarReader(sql(), calendar, bytes);
    reader.isTrusted = isTrusted;
    return reader;
  };

  describe('an answer', () => {
    test('equals the table for any range, with and without the flawed bars', async () => {
      const bars = eventfulBars('2022-01-03', 400, 31);
      const symbol = await load(bars);
      const reader = makeReader();
      const random = seededRandom(8);
      const ranges: [string, string][] = [
        ['2022-01-03', '2023-12-29'],
        ['1990-01-01', '2049-12-31'],
        ['1970-01-01', '1989-12-31'],
        ['2021-12-01', bars[0].session],
        [bars[0].session, bars[0].session],
        [bars.at(-1)?.session ?? '', '2030-01-01'],
        ['2030-01-01', '2030-12-31'],
        ['2022-07-02', '2022-07-04'],
        ['2022-08-01', '2022-07-01'],
      ];
      for (let i = 0; i < 40; i++) {
        const start = toDay('2021-12-01') + below(random, 700);
        ranges.push([toDate(start), toDate(start + below(random, 300))]);
      }
      for (const [start, end] of ranges) {
        const all = await selectBars(sql(), symbol, start, end);
        for (const minScore of [0, 0.5, 0.8, 0.85, 0.9, 0.95, 1]) {
          const answer = await reader.select(symbol, query(start, end, { minScore }));
          const body = read(answer);
          const kept = all.filter((bar) => bar.quality_score >= minScore);
          expect(body.data).toEqual(kept);
          expect([body.count, answer.count]).toEqual([kept.length, kept.length]);
          expect([body.start_date, body.end_date]).toEqual([start, end]);
          expect(body.min_quality).toBe(minScore);
          const left = all.filter((bar) => bar.quality_score < minScore);
          expect([answer.excluded, body.excluded.count]).toEqual([left.length, left.length]);
          expect(body.excluded.bars.map(({ date, score }) => [date, score])).toEqual(
            left.slice(0, 100).map((bar) => [bar.time.slice(0, 10), bar.quality_score]),
          );
        }
      }
    });

    test('has the fields of the contract in its envelope', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const wish = { minScore: 0.85, validatedOnly: true };
      const answer = await makeReader().select(symbol, query('2024-01-08', '2024-01-12', wish));
      expect(read(answer)).toEqual({
        ...{ symbol: symbol.symbol, timeframe: '1d', adjustment: 'raw' },
        ...{ start_date: '2024-01-08', end_date: '2024-01-12', count: 1 },
        ...{ providers: ['vendor'], synthetic: false, validated_only: true, min_quality: 0.85 },
        derived: false,
        data: [
          {
            ...{ time: '2024-01-10T00:00:00Z', symbol: symbol.symbol },
            ...{ open: 100, high: 100, low: 100, close: 100, volume: 1000 },
            ...{ vwap: null, trade_count: null, quality_score: 1, validated: true },
            ...{ gap_detected: false, volume_anomaly: false, is_final: true, flags: [] },
          },
        ],
        excluded: { count: 0, bars: [] },
        absent: {
          count: 4,
          ranges: [
            ['2024-01-08', '2024-01-09'],
            ['2024-01-11', '2024-01-12'],
          ].map(([start, end]) => ({
            ...{ start, end, state: 'unfetched', sessions: 2 },
            message: 'these sessions were never asked for',
          })),
        },
      });
    });

    test('says which sessions have no bar and why, until that is known otherwise', async () => {
      const symbol = await load([]);
      const { instrumentId } = symbol;
      const range = (first: string, last: string) => ({
        ...{ firstDay: toDay(first), lastDay: toDay(last) },
      });
      const listedOn = toDay('2024-01-05');
      await sql()`
        update instruments set listed_on = '2024-01-05' where instrument_id = ${instrumentId}`;
      const held = [flatBar('2024-01-08'), flatBar('2024-01-11')];
      const asked = [range('2024-01-08', '2024-01-11')];
      await ingest(sql(), instrumentId, held, { asked, listedOn });
      const reader = makeReader();
      const log = new ChangeLog(database().url, (told) => {
        if (told.kind === 'bars') reader.drop(told.instrumentIds);
      });
      await log.nextOf('trust');
      const ask = () => reader.select(symbol, query('2024-01-03', '2024-01-16'));
      const states = (answer: BarsAnswer) =>
        read(answer).absent.ranges.map(({ start, end, state }) => [start, end, state]);
      const first = await ask();
      expect(states(first)).toEqual([
        ['2024-01-03', '2024-01-04', 'before_listing'],
        ['2024-01-05', '2024-01-05', 'unfetched'],
        ['2024-01-09', '2024-01-10', 'vendor_empty'],
        ['2024-01-12', '2024-01-16', 'unfetched'], // over the weekend and the holiday
      ]);
      expect(read(first).absent.count).toBe(7);
      expect([await ask(), await ask()]).toEqual([first, first]);
      // Nothing comes, and yet what is said of it changes: in memory as well.
      const refused = [{ ...range('2024-01-12', '2024-01-16'), refusal: 'not in the plan' }];
      await ingest(sql(), instrumentId, [], { asked: refused, listedOn });
      await log.nextOf('bars');
      const second = await ask();
      expect(states(second).at(-1)).toEqual(['2024-01-12', '2024-01-16', 'not_entitled']);
      expect(second.etag).not.toBe(first.etag);
      // Sessions that cannot have a bar yet are not absent.
      const view = makeView(calendar, Date.parse('2024-01-09T20:00:00Z'), 0);
      const early = await reader.select(symbol, query('2024-01-08', '2024-01-16', { view }));
      expect(read(early).absent).toEqual({ count: 0, ranges: [] });
      await log.close();
    });

    test('of a symbol without bars is empty', async () => {
      const symbol = await load([]);
      for (const timeframe of ['1d', '1w', '1mo'] as const) {
        const answer = await makeReader().select(
          symbol,
          query('2024-01-01', '2024-12-31', { timeframe }),
        );
        expect(read(answer)).toMatchObject({ count: 0, data: [], providers: [] });
      }
    });

    test('of validated bars only is empty when none is', async () => {
      const symbol = await load([
        flatBar('2024-01-10', { high: 1 }),
        flatBar('2024-01-11', { high: 1 }),
      ]);
      const wish = { minScore: 0.85, validatedOnly: true };
      const answer = await makeReader().select(symbol, query('2024-01-01', '2024-12-31', wish));
      expect(read(answer)).toMatchObject({ count: 0, data: [], excluded: { count: 2 } });
    });

    test('says why it leaves bars out', async () => {
      const open = { open: 150, high: 150, low: 150, close: 150 };
      const symbol = await load([
        flatBar('2024-01-10'),
        flatBar('2024-01-11', { high: 1 }),
        flatBar('2024-01-12', open),
      ]);
      const select = (minScore: number) =>
        makeReader().select(symbol, query('2024-01-10', '2024-01-12', { minScore }));
      expect(read(await select(0.85)).excluded).toEqual({
        count: 2,
        bars: [
          { date: '2024-01-11', score: 0, reason: qualityReason(1 + 4) },
          { date: '2024-01-12', score: 0.8, reason: qualityReason(64 + 128) },
        ],
      });
      expect(read(await select(0.8)).excluded.bars.map(({ date }) => date)).toEqual(['2024-01-11']);
    });

    test('names the first hundred that it leaves out and counts all', async () => {
      const bars = eventfulBars('2022-01-03', 150, 5).map((bar) => ({ ...bar, low: -1 }));
      const symbol = await load(bars);
      const wish = { minScore: 0.85 };
      const answer = await makeReader().select(symbol, query('2022-01-01', '2024-01-01', wish));
      const { excluded } = read(answer);
      expect([answer.excluded, excluded.count]).toEqual([bars.length, bars.length]);
      expect(excluded.bars.map(({ date }) => date)).toEqual(
        bars.slice(0, 100).map(({ session }) => session),
      );
    });

    test('holds every double that the table holds, bit by bit', async () => {
      const exotic = [
        ...[1e22, 0.1, 123456789.12345679, 1e-7, 5e-324, 1.7976931348623157e308, 1 / 3],
        ...[2 ** 53 + 2, 1e21, 999999999999999.9, 0.1 + 0.2, 4.35, 1e-5, 100000000000000000000],
      ];
      const sessions = calendar.sessions(toDay('2023-01-03'), toDay('2023-12-29')).map(toDate);
      const bars = exotic.map((x, i) =>
        flatBar(sessions[i], {
          ...{ open: x, high: x, low: x, close: x, volume: i % 2 === 0 ? x : 0 },
          ...(i % 3 === 0 && { vwap: x }),
          ...(i % 4 === 0 && { tradeCount: 2_147_483_647 - i }),
        }),
      );
      const symbol = await load(bars);
      const { data } = read(await makeReader().select(symbol, query('2023-01-01', '2023-12-31')));
      const bits = (x: number) => Buffer.from(Float64Array.of(x).buffer).toString('hex');
      expect(data.map(({ close }) => bits(close))).toEqual(exotic.map(bits));
      expect(data.map(({ volume }) => bits(volume))).toEqual(bars.map((bar) => bits(bar.volume)));
      expect(data.map(({ vwap }) => vwap)).toEqual(bars.map(({ vwap }) => vwap ?? null));
      expect(data.map((bar) => bar.trade_count)).toEqual(
        bars.map(({ tradeCount }) => tradeCount ?? null),
      );
    });

    test('holds many random doubles of all sizes', async () => {
      const random = seededRandom(77);
      const bars = calendar.sessions(toDay('1990-01-02'), toDay('2020-12-31')).map((day) => {
        const x = random() * 10 ** (below(random, 40) - 20);
        return flatBar(toDate(day), { open: x, high: x, low: x, close: x, volume: random() });
      });
      const symbol = await load(bars);
      const { data } = read(await makeReader().select(symbol, query('1990-01-01', '2020-12-31')));
      expect(data.map(({ open, volume }) => [open, volume])).toEqual(
        bars.map(({ open, volume }) => [open, volume]),
      );
    });

    test.each(['BRK.B', 'BTC/USD', 'X:EUR', 'ABRpD', 'A'.repeat(32)])(
      'of %s has the symbol as it is spelled',
      async (name) => {
        const symbol = await load([flatBar('2024-01-10'), flatBar('2024-01-11')], name);
        const body = read(await makeReader().select(symbol, query('2024-01-01', '2024-01-31')));
        expect([body.symbol, ...body.data.map((bar) => bar.symbol)]).toEqual([name, name, name]);
      },
    );

    test('says whose bars they are, and whether they are made up', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const later = [flatBar('2024-01-11')];
      await ingest(sql(), symbol.instrumentId, later, {}, { provider: 'file' });
      const fake = await addInstrument(sql(), 'FAKE');
      const madeUp = { provider: 'synthetic', isSynthetic: true };
      await ingest(sql(), fake, later, {}, madeUp);
      const describe = async (of: ResolvedSymbol) => {
        const body = read(await makeReader().select(of, query('2024-01-01', '2024-01-31')));
        return [body.providers, body.synthetic];
      };
      expect(await describe(symbol)).toEqual([['vendor', 'file'], false]);
      expect(await describe(await resolve('FAKE'))).toEqual([['synthetic'], true]);
    });

    test('read in two halves is the same as read at once', async () => {
      const bars = eventfulBars('2019-01-02', 900, 12);
      const symbol = await load(bars);
      expect(symbol.middle).not.toBeNull();
      const answers: BarsAnswer[] = [];
      for (const middle of [null, symbol.middle, bars[0].session, '1980-01-01', '2040-01-01']) {
        const one = { ...symbol, middle };
        answers.push(await makeReader().select(one, query('2019-01-01', '2024-12-31')));
      }
      expect(new Set(answers.map(({ body }) => Buffer.from(body).toString())).size).toBe(1);
      expect(new Set(answers.map(({ etag }) => etag)).size).toBe(1);
      expect(read(answers[0]).count).toBe(bars.length);
    });
  });

  describe('weeks and months', () => {
    /** The Monday of a date, or the first of its month. */
    const bucketOf = (date: string, timeframe: '1w' | '1mo') => {
      const instant = new Date(`${date}T00:00:00Z`);
      if (timeframe === '1mo') instant.setUTCDate(1);
      else instant.setUTCDate(instant.getUTCDate() - ((instant.getUTCDay() + 6) % 7));
      return instant.toISOString().slice(0, 10);
    };
    const lastOf = (start: string, timeframe: '1w' | '1mo') => {
      const instant = new Date(`${start}T00:00:00Z`);
      if (timeframe === '1mo') instant.setUTCMonth(instant.getUTCMonth() + 1, 0);
      else instant.setUTCDate(instant.getUTCDate() + 6);
      return instant.toISOString().slice(0, 10);
    };

    function rollNaively(bars: readonly ApiBar[], timeframe: '1w' | '1mo') {
      const groups = Map.groupBy(bars, ({ time }) => bucketOf(time.slice(0, 10), timeframe));
      return [...groups].map(([start, members]) => {
        const sum = (pick: (bar: ApiBar) => number) => members.reduce((all, b) => all + pick(b), 0);
        const volume = sum((bar) => bar.volume);
        const isWeighted = members.every((bar) => bar.vwap !== null) && volume > 0;
        const traded = sum((bar) => (bar.vwap ?? 0) * bar.volume);
        const score = members.map((bar) => bar.quality_score).sort()[0];
        const flags = new Set(members.flatMap((bar) => bar.flags));
        const days = calendar.sessions(toDay(start), toDay(lastOf(start, timeframe))).map(toDate);
        const dates = new Set(members.map(({ time }) => time.slice(0, 10)));
        return {
          ...{ time: `${start}T00:00:00Z`, symbol: members[0].symbol },
          open: members[0].open,
          high: members.map(({ high }) => high).sort((a, b) => b - a)[0],
          low: members.map(({ low }) => low).sort((a, b) => a - b)[0],
          close: members[members.length - 1].close,
          volume,
          vwap: isWeighted ? Number((traded / volume).toFixed(4)) : null,
          trade_count: members.every((bar) => bar.trade_count !== null)
            ? sum((bar) => bar.trade_count ?? 0)
            : null,
          quality_score: score,
          validated: score >= 0.85,
          gap_detected: flags.has('gap'),
          volume_anomaly: flags.has('volume_spike') || flags.has('volume_drought'),
          is_final: members.every((bar) => bar.is_final),
          flags: flagNames(0xffff).filter((name) => flags.has(name)),
          sessions: members.length,
          partial: days.some((day) => !dates.has(day)),
        };
      });
    }

    test.each(['1w', '1mo'] as const)(
      'of %s equal bars put together by hand',
      async (timeframe) => {
        const symbol = await load(eventfulBars('2023-01-03', 285, 44));
        const reader = makeReader();
        const random = seededRandom(3);
        const ranges: [string, string][] = [['2022-12-01', '2024-03-01']];
        for (let i = 0; i < 20; i++) {
          const start = toDay('2022-12-15') + below(random, 420);
          ranges.push([toDate(start), toDate(start + below(random, 120))]);
        }
        for (const [start, end] of ranges) {
          const all = await selectBars(sql(), symbol, start, end);
          for (const minScore of [0, 0.85]) {
            const wish = { timeframe, minScore };
            const body = read(await reader.select(symbol, query(start, end, wish)));
            const expected = rollNaively(
              all.filter((bar) => bar.quality_score >= minScore),
              timeframe,
            );
            const rounded = (bars: unknown[]) =>
              (bars as ApiBar[]).map((bar) => ({ ...bar, vwap: bar.vwap?.toFixed(3) ?? null }));
            expect(rounded(body.data)).toEqual(rounded(expected));
            expect([body.count, body.timeframe]).toEqual([expected.length, timeframe]);
          }
        }
      },
    );

    const partials = async (symbol: ResolvedSymbol, start: string, end: string) => {
      const wish = { timeframe: '1w' as const };
      const { data } = read(await makeReader().select(symbol, query(start, end, wish)));
      return (data as (ApiBar & { partial: boolean })[]).map((bar) => bar.partial);
    };

    test('are partial where the range cuts them, and not where a holiday does', async () => {
      const days = calendar.sessions(toDay('2024-01-08'), toDay('2024-01-26')).map(toDate);
      const symbol = await load(days.map((day) => flatBar(day)));
      expect(await partials(symbol, '2024-01-08', '2024-01-26')).toEqual([false, false, false]);
      // Monday the 15th was a holiday: a range from Tuesday on has all of the week.
      expect(await partials(symbol, '2024-01-16', '2024-01-26')).toEqual([false, false]);
      expect(await partials(symbol, '2024-01-09', '2024-01-25')).toEqual([true, false, true]);
      expect(await partials(symbol, '2024-01-01', '2024-01-31')).toEqual([false, false, false]);
    });

    test('are partial when a session is missing, though a closed day has a bar', async () => {
      const days = ['2024-01-08', '2024-01-09', '2024-01-10', '2024-01-11', '2024-01-13'];
      const symbol = await load(days.map((day) => flatBar(day)));
      expect(await partials(symbol, '2024-01-08', '2024-01-14')).toEqual([true]);
    });
  });

  describe('the tag of an answer', () => {
    test('is another for every other question', async () => {
      const symbol = await load(eventfulBars('2023-01-03', 50, 2));
      const twin = await load(eventfulBars('2023-01-03', 50, 2));
      const base = query('2023-01-03', '2023-03-31');
      const questions: BarsQuery[] = [
        base,
        { ...base, startDay: base.startDay + 1 },
        { ...base, endDay: base.endDay + 1 },
        { ...base, minScore: 0.85 },
        { ...base, minScore: 0.85, validatedOnly: true },
        { ...base, timeframe: '1w' },
        { ...base, timeframe: '1mo' },
      ];
      const [a, b] = [makeReader(), makeReader(false)];
      const tags: string[] = [];
      for (const one of [symbol, twin]) {
        for (const question of questions) {
          const { etag } = await a.select(one, question);
          expect((await b.select(one, question)).etag).toBe(etag);
          expect((await a.select(one, question)).etag).toBe(etag);
          expect(etag).toMatch(/^"[\w-]+"$/);
          tags.push(etag);
        }
      }
      expect(new Set(tags).size).toBe(14);
    });

    test('changes with the data and comes back with it', async () => {
      const bar = flatBar('2024-02-27');
      const symbol = await load([bar]);
      const { instrumentId } = symbol;
      const tag = async () =>
        (await makeReader().select(symbol, query('2024-01-01', '2024-12-31'))).etag;
      const first = await tag();
      await ingest(sql(), instrumentId, [bar]);
      expect(await tag()).toBe(first);
      await ingest(sql(), instrumentId, [{ ...bar, volume: 1001 }]);
      expect(await tag()).not.toBe(first);
      await ingest(sql(), instrumentId, [bar]);
      expect(await tag()).toBe(first);
      const final = { settledBefore: toDay('2024-02-28') };
      await ingest(sql(), instrumentId, [bar], {}, final);
      expect(await tag()).not.toBe(first);
    });

    test('changes with an event that adjusts none of the bars', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const view = makeView(calendar, RECEIVED, 0, { adjustment: 'split' });
      const select = () => makeReader().select(symbol, query('2024-01-01', '2024-01-31', { view }));
      const first = await select();
      const split = { exDate: '2024-01-10', splitFrom: 1, splitTo: 2 };
      await addSplit(sql(), symbol.instrumentId, split);
      const last = await select();
      expect(read(last).data).toEqual(read(first).data);
      expect(last.body).not.toEqual(first.body);
      expect(last.etag).not.toBe(first.etag);
    });

    test('changes when only the provider has', async () => {
      const bar = flatBar('2024-01-10');
      const symbol = await load([bar]);
      const select = () => makeReader().select(symbol, query('2024-01-01', '2024-01-31'));
      const first = await select();
      const other = { provider: 'file' };
      await ingest(sql(), symbol.instrumentId, [{ ...bar, volume: 1 }], {}, other);
      await ingest(sql(), symbol.instrumentId, [bar], {}, other);
      const last = await select();
      expect(read(last).data).toEqual(read(first).data);
      expect(read(last).providers).toEqual(['vendor', 'file']);
      expect(last.etag).not.toBe(first.etag);
    });
  });

  describe('the cache', () => {
    const all = query('1990-01-01', '2049-12-31');

    test('answers the same question with the same bytes, another from its block', async () => {
      const symbol = await load(eventfulBars('2023-01-03', 100, 6));
      const reader = makeReader();
      const first = await reader.select(symbol, all);
      const second = await reader.select(symbol, all);
      expect(second).toEqual(first);
      // Asked for twice, it is kept.
      expect(await reader.select(symbol, all)).toBe(second);
      await reader.select(symbol, query('2023-02-01', '2023-03-01'));
      expect(reader.stats()).toMatchObject({ blocks: 1, misses: 1, hits: 3 });
      expect((await reader.block(symbol, VIEW)).symbol).toBe(symbol.symbol);
      expect(reader.stats()).toMatchObject({ misses: 1, hits: 4 });
    });

    test('reads a block once for many who ask at the same time', async () => {
      const symbol = await load(eventfulBars('2023-01-03', 100, 6));
      const reader = makeReader();
      const asked = Array.from({ length: 20 }, () => reader.select(symbol, all));
      const tags = new Set((await Promise.all(asked)).map(({ etag }) => etag));
      expect([tags.size, reader.stats().misses]).toEqual([1, 1]);
    });

    test('forgets an answer that two asked for at the same time', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader();
      await reader.select(symbol, all);
      await Promise.all([reader.select(symbol, all), reader.select(symbol, all)]);
      expect(reader.recall(symbol, all)).toBeDefined();
      reader.drop([symbol.instrumentId]);
      expect(reader.recall(symbol, all)).toBeUndefined();
    });

    test('is dropped in every process when one has written', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const other = await load([flatBar('2024-01-10')]);
      const readers = [makeReader(), makeReader()];
      const logs = readers.map(
        (reader) =>
          new ChangeLog(database().url, (told) => {
            if (told.kind === 'bars') reader.drop(told.instrumentIds);
          }),
      );
      for (const log of logs) await log.nextOf('trust');
      const closes = async (of: ResolvedSymbol) =>
        Promise.all(
          readers.map(async (reader) =>
            read(await reader.select(of, all)).data.map(({ volume }) => volume),
          ),
        );
      expect(await closes(symbol)).toEqual([[1000], [1000]]);
      expect(await closes(other)).toEqual([[1000], [1000]]);
      await ingest(sql(), symbol.instrumentId, [flatBar('2024-01-10', { volume: 5 })]);
      for (const log of logs) await log.nextOf('bars');
      expect(await closes(symbol)).toEqual([[5], [5]]);
      const misses = readers.map((reader) => reader.stats().misses);
      expect(await closes(other)).toEqual([[1000], [1000]]);
      expect(readers.map((reader) => reader.stats().misses)).toEqual(misses);
      await Promise.all(logs.map((log) => log.close()));
    });

    test('is dropped when it becomes known since when a symbol is listed', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const { instrumentId } = symbol;
      const reader = makeReader();
      const log = new ChangeLog(database().url, (told) => {
        if (told.kind === 'bars') reader.drop(told.instrumentIds);
      });
      await log.nextOf('trust');
      const week = query('2024-01-08', '2024-01-10');
      const why = async () =>
        read(await reader.select(symbol, week)).absent.ranges.map(({ state }) => state);
      for (let i = 0; i < 3; i++) expect(await why()).toEqual(['unfetched']);
      const rest = { name: null, exchange: null, assetType: null, delistedOn: null };
      await upsertDescriptions(sql(), [{ instrumentId, ...rest, listedOn: '2024-01-10' }]);
      expect(await log.nextOf('bars')).toEqual({ kind: 'bars', instrumentIds: [instrumentId] });
      expect(await why()).toEqual(['before_listing']);
      await log.close();
    });

    test('keeps nothing that was read before a change was told', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader();
      const early = reader.select(symbol, all);
      reader.drop([symbol.instrumentId]);
      await early;
      expect(reader.stats()).toMatchObject({ blocks: 0, bytes: 0 });
    });

    test('forgets everything when told so', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader();
      await reader.select(symbol, all);
      expect(reader.stats().bytes > 0).toBe(true);
      reader.drop('all');
      expect(reader.stats()).toMatchObject({ blocks: 0, bytes: 0 });
    });

    test('keeps nothing and answers from the table while changes may be missed', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader(false);
      for (const volume of [1, 2, 3]) {
        await ingest(sql(), symbol.instrumentId, [flatBar('2024-01-10', { volume })]);
        expect(read(await reader.select(symbol, all)).data[0].volume).toBe(volume);
      }
      expect(reader.stats()).toEqual({ blocks: 0, bytes: 0, hits: 0, misses: 3 });
    });

    test('is bounded by bytes and forgets what was not used for longest', async () => {
      const bars = eventfulBars('2023-01-03', 100, 6);
      const symbols: ResolvedSymbol[] = [];
      for (let i = 10; i < 22; i++) symbols.push(await load(bars, `LRU${i}`));
      const bytes = (await makeReader().block(symbols[0], VIEW)).bytes * 8;
      const reader = makeReader(true, bytes);
      for (const symbol of symbols) {
        await reader.select(symbol, all);
        await reader.block(symbols[0], VIEW);
        expect(reader.stats().bytes <= bytes).toBe(true);
      }
      const { blocks, misses } = reader.stats();
      expect(blocks).toBe(6); // of eight: a quarter of the room is for whole answers
      expect(misses).toBe(12);
      await reader.block(symbols[0], VIEW);
      await reader.block(symbols[11], VIEW);
      expect(reader.stats().misses).toBe(12);
      await reader.block(symbols[1], VIEW);
      expect(reader.stats().misses).toBe(13);
    });

    test('serves no answer of a block that it forgot and that has changed since', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const others: ResolvedSymbol[] = [];
      for (let i = 0; i < 5; i++) others.push(await load(eventfulBars('2023-01-03', 100, i)));
      const largest = Math.max(
        ...(await Promise.all(
          others.map(async (one) => (await makeReader().block(one, VIEW)).bytes),
        )),
      );
      const reader = makeReader(true, largest * 2);
      await reader.select(symbol, all);
      for (const other of others) await reader.block(other, VIEW);
      await ingest(sql(), symbol.instrumentId, [flatBar('2024-01-10', { volume: 5 })]);
      reader.drop([symbol.instrumentId]);
      expect(read(await reader.select(symbol, all)).data[0].volume).toBe(5);
    });

    test('serves no answer of a block that was too large to keep', async () => {
      const bars = eventfulBars('2023-01-03', 200, 6);
      const symbol = await load(bars);
      const reader = makeReader(true, (await makeReader().block(symbol, VIEW)).bytes);
      const { session } = bars[100];
      const one = query(session, session);
      await reader.select(symbol, one);
      await ingest(sql(), symbol.instrumentId, [{ ...bars[100], volume: 5 }]);
      reader.drop([symbol.instrumentId]);
      expect(read(await reader.select(symbol, one)).data[0].volume).toBe(5);
      expect(reader.stats()).toMatchObject({ blocks: 0, bytes: 0 });
    });

    test('too small for anything still answers', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader(true, 0);
      for (let i = 0; i < 2; i++) expect(read(await reader.select(symbol, all)).count).toBe(1);
      expect(reader.stats()).toEqual({ blocks: 0, bytes: 0, hits: 0, misses: 2 });
    });

    test('knows a symbol by its new name', async () => {
      const symbol = await load([flatBar('2024-01-10')]);
      const reader = makeReader();
      await reader.select(symbol, all);
      const renamed = { ...symbol, symbol: 'META' };
      expect(read(await reader.select(renamed, all))).toMatchObject({
        symbol: 'META',
        data: [{ symbol: 'META' }],
      });
    });
  });
});
