import { describe, expect, test } from 'bun:test';
import { ingestBars } from '../../src/ingest/ingest.ts';
import { flagNames } from '../../src/model/quality.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import { selectCoverageRanges } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import {
  type Bar,
  below,
  cut,
  eventfulBars,
  flatBar,
  type Random,
  seededRandom,
  sessionsFrom,
  shiftSession,
  shuffle,
  toColumns,
} from '../fixtures/bars.ts';
import { scoreNaively } from '../fixtures/naive-scores.ts';
import {
  addInstrument,
  addSplit,
  countBars,
  failureOf,
  ingest,
  ingestOptions,
  makeItem,
  RECEIVED,
  SETTLED_BEFORE,
  selectCounters,
  selectStored,
} from '../fixtures/warehouse.ts';

const HOUR = 3_600_000;
let made = 0;
const newSymbol = () => `T${++made}`;

/** Every row version of an instrument's bars: the same as long as nobody wrote to them. */
const versions = (sql: Sql, id: number) =>
  sql`
  select tableoid::int, ctid::text, xmin::text, b::text as bar from bars_1d b
  where instrument_id = ${id} order by session`.values();

const revisionsOf = (sql: Sql, id: number) => sql`
  select session, open, high, low, close, volume, vwap, trade_count, score, flags, provider,
         is_final, ts_received, ts_replaced
  from bar_revisions where instrument_id = ${id} and timeframe = '1d' and reason = 'values'
  order by session, ts_replaced`;

/** What bars said under another score. */
const rescoredOf = (sql: Sql, id: number) => sql`
  select session, open, score, flags, is_final, ts_received, ts_final, ts_replaced
  from bar_revisions where instrument_id = ${id} and timeframe = '1d' and reason = 'score'
  order by session, ts_replaced`;

const rejectedOf = (sql: Sql, id: number) => sql`
  select symbol, session, reason, raw, seen_count, provider, dataset
  from rejected_rows where instrument_id = ${id} order by rejected_id`;

async function coverageOf(sql: Sql, id: number) {
  const ranges = (await selectCoverageRanges(sql, '1d', [id])).get(id) ?? [];
  return ranges.map((range) => ({
    ...range,
    start: toDate(range.start),
    end: toDate(range.end),
  }));
}

/** All there is of every instrument, to see that a failure left nothing. */
const everything = (sql: Sql) =>
  sql`
  select (select json_agg(b order by instrument_id, session) from bars_1d b) as bars,
         (select json_agg(s order by instrument_id) from instrument_status s) as status,
         (select json_agg(c order by instrument_id, start_session) from coverage c) as coverage,
         (select json_agg(r order by rejected_id) from rejected_rows r) as rejected,
         (select count(*) from bar_revisions) as revisions`.values();

const asked = (first: string, last: string) => ({
  asked: [{ firstDay: toDay(first), lastDay: toDay(last) }],
});

/** Flat sessions with a volume that a rule about volumes can work with. */
const flat = (first: string, count: number) =>
  sessionsFrom(first, count).map((session) => flatBar(session));

describeEditions('ingest', (database) => {
  const sql = () => database().sql;
  const add = () => addInstrument(sql(), newSymbol());

  describe('counts', () => {
    test('inserted, changed, unchanged and rejected rows', async () => {
      const id = await add();
      const bars = flat('2024-01-02', 10);
      expect(await ingest(sql(), id, bars)).toEqual({
        ...{ inserted: 10, changed: 0, unchanged: 0, rejected: 0 },
      });
      const more = [...bars.slice(0, 6), ...flat('2024-01-17', 3)];
      more[2] = flatBar(more[2].session, { volume: 1001 });
      const rejected = [{ symbol: 'X', reason: 'no number', raw: 'x' }];
      const count = await ingest(sql(), id, more, { rejected });
      expect(count).toEqual({ inserted: 3, changed: 1, unchanged: 5, rejected: 1 });
    });

    test('each item of a batch', async () => {
      const [a, b, c] = [await add(), await add(), await add()];
      const items = [
        makeItem(a, flat('2024-01-02', 3)),
        makeItem(b, flat('2024-01-02', 2)),
        makeItem(c, []),
      ];
      const counts = await ingestBars(sql(), items, ingestOptions());
      expect([...counts].map(([id, count]) => [id, count.inserted])).toEqual([
        [a, 3],
        [b, 2],
        [c, 0],
      ]);
      expect(await selectCounters(sql(), c)).toBeUndefined();
    });

    test('nothing for no items', async () => {
      expect(await ingestBars(sql(), [], ingestOptions())).toEqual(new Map());
    });

    test('refuses an instrument that is twice in a batch', async () => {
      const id = await add();
      const items = [makeItem(id, flat('2024-01-02', 1)), makeItem(id, flat('2024-01-03', 1))];
      const attempt = ingestBars(sql(), items, ingestOptions());
      expect(await failureOf(attempt)).toContain('twice in one batch');
      expect(await selectStored(sql(), id)).toEqual([]);
    });
  });

  describe('again', () => {
    test('changes no row, no counter and writes no revision', async () => {
      const id = await add();
      const bars = eventfulBars('2022-01-03', 300, 3);
      await ingest(sql(), id, bars);
      const before = await versions(sql(), id);
      const counters = await sql()`
        select ctid::text, xmin::text from instrument_status where instrument_id = ${id}`;
      const again = await ingest(sql(), id, bars, {}, { receivedAt: RECEIVED + HOUR });
      expect(again).toEqual({ inserted: 0, changed: 0, unchanged: bars.length, rejected: 0 });
      expect(before.length).toBe(bars.length);
      expect(await versions(sql(), id)).toEqual(before);
      expect(
        await sql()`
          select ctid::text, xmin::text from instrument_status where instrument_id = ${id}`,
      ).toEqual(counters);
      expect(await revisionsOf(sql(), id)).toHaveLength(0);
    });

    test('by another provider with the same values changes nothing either', async () => {
      const id = await add();
      const bars = flat('2024-01-02', 30);
      await ingest(sql(), id, bars);
      const before = await versions(sql(), id);
      const count = await ingest(sql(), id, bars, {}, { provider: 'file' });
      expect(count.unchanged).toBe(30);
      expect(await versions(sql(), id)).toEqual(before);
    });

    test('of what was asked leaves the coverage as it was', async () => {
      const id = await add();
      const bars = flat('2024-01-02', 5);
      const question = asked('2024-01-02', '2024-01-08');
      await ingest(sql(), id, bars, question);
      const before = await coverageOf(sql(), id);
      await ingest(sql(), id, bars, question);
      expect(await coverageOf(sql(), id)).toEqual(before);
    });
  });

  describe('a restated bar', () => {
    test('leaves its old values, from when until when they were said', async () => {
      const id = await add();
      const old = flatBar('2024-01-10', { volume: 5000, vwap: 99.5, tradeCount: 77 });
      await ingest(sql(), id, [old]);
      const next = { ...old, high: 103, close: 102, volume: 5100 };
      await ingest(sql(), id, [next], {}, { receivedAt: RECEIVED + HOUR, provider: 'other' });
      const last = { ...next, vwap: 99.75 };
      await ingest(sql(), id, [last], {}, { receivedAt: RECEIVED + 2 * HOUR });
      const row = { session: '2024-01-10', open: 100, low: 100, score: 1, flags: 0 };
      expect([...(await revisionsOf(sql(), id))]).toEqual([
        {
          ...{ ...row, high: 100, close: 100, volume: 5000, vwap: 99.5, trade_count: 77 },
          ...{ provider: 'vendor', is_final: true },
          ...{ ts_received: new Date(RECEIVED), ts_replaced: new Date(RECEIVED + HOUR) },
        },
        {
          ...{ ...row, high: 103, close: 102, volume: 5100, vwap: 99.5, trade_count: 77 },
          ...{ provider: 'other', is_final: true },
          ...{ ts_received: new Date(RECEIVED + HOUR), ts_replaced: new Date(RECEIVED + 2 * HOUR) },
        },
      ]);
      expect(await selectStored(sql(), id)).toMatchObject([{ ...last, provider: 'vendor' }]);
      const [{ received }] = await sql()`
        select ts_received as received from bars_1d where instrument_id = ${id}`;
      expect(received).toEqual(new Date(RECEIVED + 2 * HOUR));
    });

    test('scores again what it is the past of, which is a revision of the score', async () => {
      const id = await add();
      const bars = flat('2024-01-02', 20);
      await ingest(sql(), id, bars);
      const moved = flatBar(bars[10].session, { high: 130, close: 130 });
      const receivedAt = RECEIVED + HOUR;
      await ingest(sql(), id, [moved], {}, { receivedAt });
      const flagged = (await selectStored(sql(), id)).filter(({ flags }) => flags !== 0);
      expect(flagged.map(({ session, flags }) => [session, ...flagNames(flags)])).toEqual([
        [bars[11].session, 'gap', 'gap_unexplained'],
      ]);
      expect((await revisionsOf(sql(), id)).map(({ session }) => session)).toEqual([
        bars[10].session,
      ]);
      expect([...(await rescoredOf(sql(), id))]).toEqual([
        {
          ...{ session: bars[11].session, open: 100, score: 1, flags: 0, is_final: true },
          ...{ ts_received: new Date(RECEIVED), ts_final: null, ts_replaced: new Date(receivedAt) },
        },
      ]);
      expect(await selectCounters(sql(), id)).toMatchObject({ gaps_flagged: 1, records: 20 });
      const [counted] = await sql()`
        select revisions, last_revision_at as at from instrument_status
        where instrument_id = ${id}`;
      expect({ ...counted }).toEqual({ revisions: 1, at: new Date(receivedAt) });
    });

    test('scores again without touching whose bar it is, and whether it is final', async () => {
      const id = await add();
      const bars = flat('2024-02-20', 3);
      await ingest(sql(), id, bars);
      const moved = flatBar(bars[0].session, { high: 130, close: 130 });
      const later = { provider: 'other', settledBefore: toDay('2024-03-01') };
      await ingest(sql(), id, [moved], {}, later);
      const stored = await selectStored(sql(), id);
      expect(stored.map((bar) => [bar.score, bar.provider, bar.isFinal])).toEqual([
        [1, 'other', true],
        [0.8, 'vendor', false],
        [1, 'vendor', false],
      ]);
    });

    test('that becomes final later says when, and leaves no revision', async () => {
      const id = await add();
      const bars = flat('2024-02-16', 2); // one before the window of revisions, one in it
      await ingest(sql(), id, bars);
      const finality = async () => [
        ...(await sql()`
        select is_final, ts_received, ts_final from bars_1d where instrument_id = ${id}
        order by session`),
      ];
      const received = new Date(RECEIVED);
      const first = { is_final: true, ts_received: received, ts_final: null };
      expect(await finality()).toEqual([first, { ...first, is_final: false }]);
      const later = { receivedAt: RECEIVED + HOUR, settledBefore: toDay('2024-03-01') };
      await ingest(sql(), id, bars, {}, later);
      const settled = { ...first, ts_final: new Date(RECEIVED + HOUR) };
      expect(await finality()).toEqual([first, settled]);
      await ingest(sql(), id, bars, {}, { ...later, receivedAt: RECEIVED + 2 * HOUR });
      expect(await finality()).toEqual([first, settled]);
      expect([...(await revisionsOf(sql(), id)), ...(await rescoredOf(sql(), id))]).toEqual([]);
    });

    test('that comes while its session goes on is unfinished until it comes again', async () => {
      const id = await add();
      const bars = flat('2024-01-29', 24); // to 2024-03-01, a session that closes at 21:00 UTC
      const today = bars[bars.length - 1];
      const early = flatBar(today.session, { volume: 30 });
      const noon = Date.parse('2024-03-01T17:00:00Z');
      await ingest(sql(), id, [...bars.slice(0, -1), early], {}, { receivedAt: noon });
      const last = async () => (await selectStored(sql(), id)).at(-1);
      const flags = async () => flagNames((await last())?.flags ?? -1);
      expect(await flags()).toEqual(['unfinished']); // and no drought: it is part of a day
      expect((await last())?.score).toBe(1);
      // Scored again for another bar it stays what it is.
      const old = flatBar(bars[3].session, { volume: 2000 });
      await ingest(sql(), id, [old], {}, { receivedAt: noon + HOUR });
      expect(await flags()).toEqual(['unfinished']);
      await ingest(sql(), id, [early], {}, { receivedAt: Date.parse('2024-03-01T21:00:00Z') });
      expect(await flags()).toEqual(['volume_drought']); // the same values, of the whole session
    });

    test('of a clock that went back ends no version before it began', async () => {
      const id = await add();
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      const restated = flatBar('2024-01-10', { volume: 7 });
      await ingest(sql(), id, [restated], {}, { receivedAt: RECEIVED - HOUR });
      const [revision] = await revisionsOf(sql(), id);
      expect(revision.ts_replaced).toEqual(new Date(RECEIVED));
    });

    test.each([
      [63, ['gap', 'gap_unexplained']],
      [64, []],
    ])('is the past of a bar %d sessions later: %p, whichever comes first', async (by, flags) => {
      const half = { open: 50, high: 50, low: 50, close: 50 };
      const early = flatBar('2023-06-01', half);
      const late = flatBar(shiftSession('2023-06-01', by));
      for (const order of [
        [early, late],
        [late, early],
      ]) {
        const id = await add();
        for (const bar of order) await ingest(sql(), id, [bar]);
        const stored = await selectStored(sql(), id);
        expect(stored.map((bar) => flagNames(bar.flags))).toEqual([[], flags]);
      }
    });

    test('without vwap and count keeps those that are stored', async () => {
      const id = await add();
      const bar = flatBar('2024-01-10', { vwap: 100.25, tradeCount: 12 });
      await ingest(sql(), id, [bar]);
      expect((await ingest(sql(), id, [flatBar('2024-01-10')])).unchanged).toBe(1);
      expect(await selectStored(sql(), id)).toMatchObject([{ vwap: 100.25, tradeCount: 12 }]);
      expect((await ingest(sql(), id, [flatBar('2024-01-10', { volume: 7 })])).changed).toBe(1);
      expect(await selectStored(sql(), id)).toMatchObject([
        { vwap: 100.25, tradeCount: 12, volume: 7 },
      ]);
    });

    test('with a vwap where there was none is a revision', async () => {
      const id = await add();
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      expect((await ingest(sql(), id, [flatBar('2024-01-10', { vwap: 100 })])).changed).toBe(1);
      expect((await revisionsOf(sql(), id)).map(({ vwap }) => vwap)).toEqual([null]);
    });

    test('by the hundreds goes the same way', async () => {
      const id = await add();
      const bars = flat('2020-01-02', 900);
      await ingest(sql(), id, bars);
      const next = bars.map((bar) => ({ ...bar, volume: bar.volume + 1 }));
      const count = await ingest(sql(), id, next, {}, { receivedAt: RECEIVED + 1 });
      expect(count).toEqual({ inserted: 0, changed: 900, unchanged: 0, rejected: 0 });
      const revisions = await revisionsOf(sql(), id);
      expect(revisions.map(({ session, volume }) => `${session} ${volume}`)).toEqual(
        bars.map(({ session }) => `${session} 1000`),
      );
      expect((await selectStored(sql(), id)).every(({ volume }) => volume === 1001)).toBe(true);
    });
  });

  describe('order', () => {
    const ORDERS: Record<string, (bars: Bar[], random: Random) => Bar[][]> = {
      'at once, shuffled': (bars, random) => [shuffle(bars, random)],
      'one by one, backwards': (bars) => bars.toReversed().map((bar) => [bar]),
      'in random batches, forwards': (bars, random) => cut(bars, 60, random),
      'in random batches, backwards': (bars, random) => cut(bars, 60, random).toReversed(),
      'in random batches of random bars': (bars, random) => cut(shuffle(bars, random), 40, random),
      'every other bar, then the rest': (bars) => [
        bars.filter((_, i) => i % 2 === 0),
        bars.filter((_, i) => i % 2 === 1),
      ],
      'with the middle last': (bars) => [bars.slice(100), bars.slice(0, 60), bars.slice(60, 100)],
    };

    for (const [name, order] of Object.entries(ORDERS)) {
      test(`of arrival makes no difference: ${name}`, async () => {
        const seed = name.length;
        const random = seededRandom(seed);
        const bars = eventfulBars('2023-06-01', 180, seed);
        const jump = bars[90];
        const [id, once] = [await add(), await add()];
        for (const one of [id, once]) {
          await addSplit(sql(), one, { exDate: jump.session, splitFrom: 1, splitTo: 2 });
        }
        await ingest(sql(), once, bars);
        let inserted = 0;
        for (const batch of order(bars, random)) {
          const count = await ingest(sql(), id, batch, {}, { receivedAt: RECEIVED + inserted });
          inserted += count.inserted;
          expect(count).toMatchObject({ inserted: batch.length, changed: 0, unchanged: 0 });
        }
        expect(inserted).toBe(bars.length);
        const stored = await selectStored(sql(), id);
        expect(stored).toEqual(await selectStored(sql(), once));
        expect(await selectCounters(sql(), id)).toEqual(await selectCounters(sql(), once));
        const splits = new Map([[jump.session, 2]]);
        const naive = scoreNaively(bars, { splits, dividends: new Map() });
        expect(stored).toEqual(
          bars.map((bar, i) => ({
            ...bar,
            score: naive[i].score,
            flags: stored[i].flags,
            isFinal: bar.session < SETTLED_BEFORE,
            provider: 'vendor',
          })),
        );
        expect(stored.map(({ flags }) => flagNames(flags))).toEqual(naive.map((one) => one.flags));
        expect(await revisionsOf(sql(), id)).toHaveLength(0);
      });
    }
  });

  describe('counters', () => {
    for (const seed of [1, 2, 3, 4]) {
      test(`equal the bars after any sequence, and nothing is lost (seed ${seed})`, async () => {
        const random = seededRandom(seed);
        const id = await add();
        const source = eventfulBars('2023-01-03', 200, seed + 50);
        const latest = new Map<string, Bar>();
        let revised = 0;
        for (let step = 0; step < 25; step++) {
          const batch = shuffle(source, random)
            .slice(0, 1 + below(random, 30))
            .map((bar) => changeBar(bar, random));
          const receivedAt = RECEIVED + step * HOUR;
          const count = await ingest(sql(), id, batch, {}, { receivedAt });
          revised += count.changed;
          for (const bar of batch) {
            const { vwap, tradeCount } = latest.get(bar.session) ?? {};
            const kept = { ...(vwap && { vwap }), ...(tradeCount && { tradeCount }) };
            latest.set(bar.session, { ...kept, ...bar });
          }
          expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
        }
        const bars = [...latest.values()].sort((a, b) => (a.session < b.session ? -1 : 1));
        const stored = await selectStored(sql(), id);
        expect(stored).toMatchObject(bars);
        const naive = scoreNaively(bars);
        expect(stored.map(({ score }) => score)).toEqual(naive.map(({ score }) => score));
        expect(stored.map(({ flags }) => flagNames(flags))).toEqual(naive.map((one) => one.flags));
        expect(revised > 20).toBe(true);
        expect(await revisionsOf(sql(), id)).toHaveLength(revised);
        expect(await brokenChains(sql(), id)).toEqual([]);
      });
    }

    test('have a version that grows with each change and only then', async () => {
      const id = await add();
      const version = async () => {
        const [row] = await sql()`
          select version from instrument_status where instrument_id = ${id}`;
        return row.version;
      };
      const seen: number[] = [];
      for (const volume of [1, 1, 2, 2, 3]) {
        await ingest(sql(), id, [flatBar('2024-01-10', { volume })]);
        seen.push(await version());
      }
      expect(seen).toEqual([1, 1, 2, 2, 3]);
    });

    test('know the score of the latest session although older ones arrive later', async () => {
      const id = await add();
      await ingest(sql(), id, [flatBar('2024-01-11', { high: 1 })]);
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      expect(await selectCounters(sql(), id)).toMatchObject({
        ...{ first_session: '2024-01-10', latest_session: '2024-01-11', latest_score: 0 },
        ...{ records: 2, excluded_records: 1, validated_records: 1 },
      });
      await ingest(sql(), id, [flatBar('2024-01-11')]);
      expect(await selectCounters(sql(), id)).toMatchObject({ latest_score: 1, score_sum: 2 });
    });
  });

  describe('rejected', () => {
    const reasons = async (id: number) =>
      (await rejectedOf(sql(), id)).map(({ session, reason }) => `${session} ${reason}`);

    test('are the second and third bar of a session; the first is stored', async () => {
      const id = await add();
      const bars = [
        flatBar('2024-01-11', { volume: 3 }),
        flatBar('2024-01-10', { volume: 1 }),
        flatBar('2024-01-10', { volume: 1 }),
        flatBar('2024-01-10', { volume: 2 }),
      ];
      const count = await ingest(sql(), id, bars);
      expect(count).toEqual({ inserted: 2, changed: 0, unchanged: 0, rejected: 2 });
      expect((await selectStored(sql(), id)).map(({ volume }) => volume)).toEqual([1, 3]);
      expect(await reasons(id)).toEqual([
        '2024-01-10 duplicate of another row of the same answer',
        '2024-01-10 second bar for the session in the same answer, with other values; ' +
          'the first was kept',
      ]);
      const [, other] = await rejectedOf(sql(), id);
      expect(other).toMatchObject({
        symbol: `I${id}`,
        raw: '2024-01-10 open,high,low,close,volume=100,100,100,100,2',
        ...{ provider: 'vendor', dataset: '1d', seen_count: 1 },
      });
    });

    test('are sessions of the future and before 1990; everything else is stored', async () => {
      const id = await add();
      const dates = ['2024-03-04', '1989-12-29', '2024-03-01', '1990-01-02', '2030-01-02'];
      const count = await ingest(
        sql(),
        id,
        dates.map((date) => flatBar(date)),
      );
      expect(count).toEqual({ inserted: 2, changed: 0, unchanged: 0, rejected: 3 });
      expect((await selectStored(sql(), id)).map(({ session }) => session)).toEqual([
        '1990-01-02',
        '2024-03-01',
      ]);
      expect(await reasons(id)).toEqual([
        '2024-03-04 the session lies in the future (today is 2024-03-01)',
        '1989-12-29 the session lies before 1990-01-01, where the calendar begins',
        '2030-01-02 the session lies in the future (today is 2024-03-01)',
      ]);
    });

    test('is a session of tomorrow by New York’s date, not by that of UTC', async () => {
      const id = await add();
      const evening = Date.parse('2024-03-01T04:30:00Z'); // February 29th, 23:30 in New York
      const bars = [flatBar('2024-02-29'), flatBar('2024-03-01')];
      const count = await ingest(sql(), id, bars, {}, { receivedAt: evening });
      expect(count).toMatchObject({ inserted: 1, rejected: 1 });
    });

    test('seen again are counted, not stored twice', async () => {
      const id = await add();
      const row = { symbol: 'X', session: '2024-01-10', reason: 'no number', raw: '{"c":"x"}' };
      for (let i = 0; i < 3; i++) await ingest(sql(), id, [], { rejected: [row] });
      await ingest(sql(), id, [], { rejected: [{ ...row, raw: '{"c":"y"}' }] });
      expect((await rejectedOf(sql(), id)).map((one) => [one.raw, one.seen_count])).toEqual([
        ['{"c":"x"}', 3],
        ['{"c":"y"}', 1],
      ]);
    });

    test('with NUL bytes, endless or without a real date are kept as far as can be', async () => {
      const id = await add();
      const rejected = [
        { symbol: 'A\0B', session: '2024-02-30', reason: 'is \0 not text', raw: '\0\0x' },
        { symbol: 'L'.repeat(5000), reason: 'r'.repeat(5000), raw: '✂'.repeat(1_000_000) },
      ];
      const count = await ingest(sql(), id, [flatBar('2024-01-10')], { rejected });
      expect(count).toMatchObject({ inserted: 1, rejected: 2 });
      const rows = await rejectedOf(sql(), id);
      expect(rows[0]).toMatchObject({
        ...{
          symbol: 'A\uFFFDB',
          session: null,
          reason: 'is \uFFFD not text',
          raw: '\uFFFD\uFFFDx',
        },
      });
      expect([rows[1].symbol, rows[1].reason, rows[1].raw]).toEqual([
        'L'.repeat(200),
        'r'.repeat(500),
        '✂'.repeat(1000),
      ]);
    });

    test('with NUL bytes in the reason are named in the coverage too', async () => {
      const id = await add();
      const row = { symbol: 'X', session: '2024-01-10', reason: 'bad \0 cell', raw: 'x' };
      const question = asked('2024-01-10', '2024-01-10');
      await ingest(sql(), id, [], { rejected: [row], ...question });
      expect((await coverageOf(sql(), id)).map(({ detail }) => detail)).toEqual([
        'the row was rejected: bad \uFFFD cell',
      ]);
    });
  });

  describe('made-up and real bars', () => {
    test.each([
      [false, 'holds real data: synthetic data is not mixed with it; use another database'],
      [true, 'holds synthetic data: real data is not mixed with it; use another database'],
    ])('do not mix (synthetic first: %p), and nothing is written', async (isSynthetic, words) => {
      const [id, other] = [await add(), await add()];
      await ingest(sql(), id, flat('2024-01-02', 2), {}, { isSynthetic });
      const before = await everything(sql());
      const items = [makeItem(other, flat('2024-01-02', 2)), makeItem(id, flat('2024-01-04', 1))];
      const attempt = ingestBars(sql(), items, ingestOptions({ isSynthetic: !isSynthetic }));
      expect(await failureOf(attempt)).toContain(`I${id} ${words}`);
      expect(await everything(sql())).toEqual(before);
    });

    test('are told apart in the counters', async () => {
      const id = await add();
      await ingest(sql(), id, flat('2024-01-02', 2), {}, { isSynthetic: true });
      const [row] = await sql()`
        select is_synthetic from instrument_status where instrument_id = ${id}`;
      expect(row.is_synthetic).toBe(true);
    });
  });

  describe('coverage', () => {
    test('says complete where bars came and empty where none did', async () => {
      const id = await add();
      const bars = flat('2024-01-02', 3);
      await ingest(sql(), id, bars, asked('2024-01-02', '2024-01-08'));
      const said = { provider: 'vendor', askedAt: RECEIVED, isSettled: true, attempts: 1 };
      expect(await coverageOf(sql(), id)).toEqual([
        {
          ...{ start: '2024-01-02', end: '2024-01-05', state: 'complete' },
          ...{ ...said, retryAt: null, detail: null },
        },
        {
          ...{ start: '2024-01-05', end: '2024-01-09', state: 'vendor_empty' },
          ...{ ...said, retryAt: RECEIVED + 20 * HOUR, detail: null },
        },
      ]);
    });

    test('waits longer after each empty answer, until a bar comes', async () => {
      const id = await add();
      const question = asked('2024-01-10', '2024-01-10');
      const seen: [number, number][] = [];
      for (let i = 0; i < 4; i++) {
        const receivedAt = RECEIVED + i;
        await ingest(sql(), id, [], question, { receivedAt });
        const [{ attempts, retryAt }] = await coverageOf(sql(), id);
        seen.push([attempts, ((retryAt ?? 0) - receivedAt) / HOUR]);
      }
      expect(seen).toEqual([
        [1, 20],
        [2, 40],
        [3, 80],
        [4, 160],
      ]);
      await ingest(sql(), id, [flatBar('2024-01-10')], question);
      expect(await coverageOf(sql(), id)).toMatchObject([{ state: 'complete', attempts: 1 }]);
    });

    test('says before the listing, and why a plan refused', async () => {
      const id = await add();
      const listedOn = toDay('2024-01-10');
      await ingest(sql(), id, [], { ...asked('2024-01-08', '2024-01-10'), listedOn });
      const refusal = { firstDay: toDay('2024-01-11'), lastDay: toDay('2024-01-12') };
      await ingest(sql(), id, [], { asked: [{ ...refusal, refusal: 'upgrade your plan' }] });
      expect(await coverageOf(sql(), id)).toMatchObject([
        { start: '2024-01-08', end: '2024-01-10', state: 'before_listing', retryAt: null },
        { start: '2024-01-10', end: '2024-01-11', state: 'vendor_empty' },
        {
          ...{ start: '2024-01-11', end: '2024-01-16', state: 'not_entitled' },
          ...{ detail: 'upgrade your plan', retryAt: RECEIVED + 30 * 24 * HOUR },
        },
      ]);
    });

    test('says which row was rejected in place of a bar', async () => {
      const id = await add();
      const rejected = [{ symbol: 'X', session: '2024-01-11', reason: 'no close', raw: 'x' }];
      const bars = [flatBar('2024-01-10'), flatBar('2024-01-12')];
      await ingest(sql(), id, bars, { ...asked('2024-01-10', '2024-01-12'), rejected });
      expect((await coverageOf(sql(), id)).map(({ state, detail }) => [state, detail])).toEqual([
        ['complete', null],
        ['vendor_empty', 'the row was rejected: no close'],
        ['complete', null],
      ]);
    });

    test('is settled, like the bars final, before the revision window', async () => {
      const id = await add();
      const bars = flat('2024-02-15', 5); // the 19th is Presidents' Day
      await ingest(sql(), id, bars, asked('2024-02-15', '2024-02-22'));
      expect((await coverageOf(sql(), id)).map((range) => [range.start, range.isSettled])).toEqual([
        ['2024-02-15', true],
        ['2024-02-20', false],
      ]);
      const finals = async () => (await selectStored(sql(), id)).map(({ isFinal }) => isFinal);
      expect(await finals()).toEqual([true, true, false, false, false]);
      const later = { settledBefore: toDay('2024-02-22'), receivedAt: RECEIVED + HOUR };
      const count = await ingest(sql(), id, bars, asked('2024-02-15', '2024-02-22'), later);
      expect(count).toEqual({ inserted: 0, changed: 0, unchanged: 5, rejected: 0 });
      expect(await finals()).toEqual([true, true, true, true, false]);
      expect(await revisionsOf(sql(), id)).toHaveLength(0);
      const [{ received }] = await sql()`
        select max(ts_received) as received from bars_1d where instrument_id = ${id}`;
      expect(received).toEqual(new Date(RECEIVED));
    });

    test('of a file is its bars’ sessions, and not the holes between them', async () => {
      const id = await add();
      const days = ['2024-01-08', '2024-01-09', '2024-01-11', '2024-01-12', '2024-01-13'];
      await ingest(
        sql(),
        id,
        days.map((day) => flatBar(day)),
        {},
        { provider: 'file' },
      );
      expect((await coverageOf(sql(), id)).map(({ start, end }) => `${start} ${end}`)).toEqual([
        '2024-01-08 2024-01-10',
        '2024-01-11 2024-01-16',
      ]);
    });

    test('of a file leaves what is complete and fills what was empty', async () => {
      const id = await add();
      const bars = flat('2024-01-08', 5);
      const question = asked('2024-01-08', '2024-01-12');
      await ingest(sql(), id, [bars[0], bars[1], bars[4]], question);
      await ingest(sql(), id, bars, {}, { provider: 'file', receivedAt: RECEIVED + HOUR });
      expect(
        (await coverageOf(sql(), id)).map(({ start, state, provider }) => [start, state, provider]),
      ).toEqual([
        ['2024-01-08', 'complete', 'vendor'],
        ['2024-01-10', 'complete', 'file'],
        ['2024-01-12', 'complete', 'vendor'],
      ]);
    });
  });

  describe('a split', () => {
    const halved = (sessions: string[], from: number) =>
      sessions.map((session, i) =>
        i < from
          ? flatBar(session)
          : flatBar(session, { open: 50, high: 50, low: 50, close: 50, volume: 2000 }),
      );
    const flagsOf = async (id: number) =>
      (await selectStored(sql(), id)).flatMap(({ session, flags }) =>
        flags === 0 ? [] : [`${session} ${flagNames(flags)}`],
      );
    const again = (id: number, changed: { exDate: string }[]) =>
      ingest(sql(), id, [], { rescore: changed.map(({ exDate }) => toDay(exDate)) });

    test('that is learned later explains the bar of its ex-date, without a revision', async () => {
      const id = await add();
      const sessions = sessionsFrom('2024-01-02', 20);
      await ingest(sql(), id, halved(sessions, 10));
      expect(await flagsOf(id)).toEqual([`${sessions[10]} gap,gap_unexplained`]);
      const split = { exDate: sessions[10], splitFrom: 1, splitTo: 2 };
      const changed = await addSplit(sql(), id, split);
      expect(changed).toEqual([{ instrumentId: id, exDate: sessions[10] }]);
      expect(await again(id, changed)).toEqual({
        ...{ inserted: 0, changed: 0, unchanged: 0, rejected: 0 },
      });
      expect(await flagsOf(id)).toEqual([`${sessions[10]} gap,gap_split`]);
      expect(await revisionsOf(sql(), id)).toHaveLength(0);
      expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
      expect(await addSplit(sql(), id, split)).toEqual([]);
    });

    test('that moves to another day is taken back where it was', async () => {
      const id = await add();
      const sessions = sessionsFrom('2024-01-02', 20);
      await ingest(sql(), id, halved(sessions, 10));
      const split = { splitFrom: 1, splitTo: 2, id: 'E1' };
      await again(id, await addSplit(sql(), id, { ...split, exDate: sessions[10] }));
      expect(await flagsOf(id)).toEqual([`${sessions[10]} gap,gap_split`]);
      const changed = await addSplit(sql(), id, { ...split, exDate: sessions[15] });
      expect(changed.map(({ exDate }) => exDate).sort()).toEqual([sessions[10], sessions[15]]);
      await again(id, changed);
      expect(await flagsOf(id)).toEqual([`${sessions[10]} gap,gap_unexplained`]);
    });

    test('that nobody told of is found, and done with when somebody does', async () => {
      const id = await add();
      const sessions = sessionsFrom('2024-01-02', 30);
      const seen = async () => [
        ...(await sql()`
        select session, kind, state, (detail->>'split_from')::int as split_from,
               (detail->>'split_to')::int as split_to
        from findings where instrument_id = ${id} and kind like '%split' order by finding_id`),
      ];
      const quiet = halved(sessions, 20).map((bar, i) => {
        const by = 1 + 0.01 * Math.sin(i * 7);
        const [open, close] = [bar.open * by, bar.close * (2 - by)];
        const [low, high] = [Math.min(open, close) * 0.995, Math.max(open, close) * 1.005];
        return { ...bar, open, high, low, close };
      });
      await ingest(sql(), id, quiet);
      const found = { session: sessions[20], kind: 'possible_split', state: 'open' };
      expect(await seen()).toEqual([{ ...found, split_from: 1, split_to: 2 }]);
      await ingest(sql(), id, quiet.slice(15)); // again: it stays one
      expect(await seen()).toHaveLength(1);
      const split = { splitFrom: 1, splitTo: 2, id: 'E1' };
      await again(id, await addSplit(sql(), id, { ...split, exDate: sessions[20] }));
      expect(await seen()).toMatchObject([{ ...found, state: 'resolved' }]);
      // Told of for another day it is doubted there, and open again where the jump is.
      await again(id, await addSplit(sql(), id, { ...split, exDate: sessions[25] }));
      expect((await seen()).map((one) => [one.session, one.kind, one.state])).toEqual([
        [sessions[20], 'possible_split', 'open'],
        [sessions[25], 'unconfirmed_split', 'open'],
      ]);
    });

    test('scores again the volumes that its new shares are compared with', async () => {
      const id = await add();
      const sessions = sessionsFrom('2024-01-02', 40);
      const bars = sessions.map((session, i) =>
        i < 25 ? flatBar(session) : flatBar(session, { volume: 20_000 }),
      );
      await ingest(sql(), id, bars);
      expect((await flagsOf(id)).length).toBe(15);
      const exDate = sessions[25];
      await again(id, await addSplit(sql(), id, { exDate, splitFrom: 1, splitTo: 20 }));
      expect(await flagsOf(id)).toEqual([]);
    });
  });

  describe('a failure', () => {
    test('after everything was written leaves nothing behind', async () => {
      const [id, other] = [await add(), await add()];
      await ingest(sql(), id, flat('2024-01-02', 5), asked('2024-01-02', '2024-01-08'));
      const before = await everything(sql());
      await sql().unsafe(`
        create function refuse() returns trigger language plpgsql as
          $$ begin raise exception 'no more room'; end $$;
        create trigger refuse before insert on coverage execute function refuse()`);
      const rejected = [{ symbol: 'X', reason: 'no number', raw: 'unseen' }];
      const items = [
        makeItem(id, [flatBar('2024-01-03', { volume: 5 })], asked('2024-01-03', '2024-02-01')),
        makeItem(other, flat('2024-01-02', 5), { ...asked('2024-01-02', '2024-01-08'), rejected }),
      ];
      const attempt = ingestBars(sql(), items, ingestOptions());
      expect(await failureOf(attempt)).toContain('no more room');
      expect(await everything(sql())).toEqual(before);
      await sql().unsafe('drop trigger refuse on coverage; drop function refuse()');
      const counts = await ingestBars(sql(), items, ingestOptions());
      expect([...counts.values()].map((count) => count.inserted + count.changed)).toEqual([1, 5]);
    });

    test.each([
      ['an infinite price', { high: Number.POSITIVE_INFINITY }, 'bars_1d_finite'],
      ['a price that is no number', { open: Number.NaN }, 'bars_1d_finite'],
    ])('of the table to take %s leaves nothing behind', async (_, change, words) => {
      const id = await add();
      const before = await everything(sql());
      const bars = flat('2024-01-02', 5);
      const attempt = ingest(sql(), id, [...bars, flatBar('2024-01-16', change)]);
      expect(await failureOf(attempt)).toContain(words);
      expect(await everything(sql())).toEqual(before);
      expect((await ingest(sql(), id, bars)).inserted).toBe(5);
    });

    test('to change a bar leaves neither the change nor a revision', async () => {
      const id = await add();
      await ingest(sql(), id, flat('2024-01-02', 5));
      const before = await everything(sql());
      const bar = flatBar('2024-01-03', { volume: Number.POSITIVE_INFINITY });
      const attempt = ingest(sql(), id, [bar]);
      expect(await failureOf(attempt)).toContain('bars_1d_finite');
      expect(await everything(sql())).toEqual(before);
    });
  });

  describe('at the same time', () => {
    test('the same bars are stored once, from however many connections', async () => {
      const id = await add();
      const bars = eventfulBars('2022-01-03', 300, 9);
      const pools = Array.from({ length: 4 }, () => openPool(database().url));
      try {
        const counts = await Promise.all(pools.map((pool) => ingest(pool, id, bars)));
        expect(counts.map(({ inserted }) => inserted).sort((a, b) => a - b)).toEqual([
          ...[0, 0, 0],
          bars.length,
        ]);
        expect(counts.every(({ changed }) => changed === 0)).toBe(true);
      } finally {
        await Promise.all(pools.map((pool) => pool.end()));
      }
      expect((await selectStored(sql(), id)).length).toBe(bars.length);
      expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
    });

    test('different parts of one history end as if they had come at once', async () => {
      const id = await add();
      const bars = eventfulBars('2023-01-03', 240, 11);
      const parts = cut(bars, 40, seededRandom(4));
      await Promise.all(parts.map((part) => ingest(sql(), id, part)));
      const naive = scoreNaively(bars);
      const stored = await selectStored(sql(), id);
      expect(stored).toMatchObject(bars.map((bar, i) => ({ ...bar, score: naive[i].score })));
      expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
    });
  });

  test('values arrive in the table as the doubles they are', async () => {
    const id = await add();
    const prices = { open: 0.1, high: 1e22, low: 1e-7, close: 123456789.12345679 };
    const bar = flatBar('2024-01-10', {
      ...{ ...prices, volume: 4_294_967_297.5, vwap: 1 / 3, tradeCount: 2_147_483_647 },
    });
    await ingest(sql(), id, [bar]);
    expect(await selectStored(sql(), id)).toMatchObject([bar]);
    const [row] = await sql()`
      select open::text, high::text, low::text, close::text, volume::text, vwap::text
      from bars_1d where instrument_id = ${id}`;
    expect({ ...row }).toEqual({
      ...{ open: '0.1', high: '1e+22', low: '1e-07', close: '123456789.12345679' },
      ...{ volume: '4294967297.5', vwap: '0.3333333333333333' },
    });
  });

  test('a trade count that is no whole number, or too large for one, is not kept', async () => {
    const id = await add();
    const bars = [
      flatBar('2024-01-10', { tradeCount: 1.5 }),
      flatBar('2024-01-11', { tradeCount: 2_147_483_648 }),
      flatBar('2024-01-12', { tradeCount: 0 }),
    ];
    await ingest(sql(), id, bars);
    const counts = (await selectStored(sql(), id)).map(({ tradeCount }) => tradeCount);
    expect(counts).toEqual([undefined, undefined, 0]);
    expect((await ingest(sql(), id, bars)).unchanged).toBe(3);
  });

  test('the columns that come in are left as they were', async () => {
    const id = await add();
    const columns = toColumns([flatBar('2024-01-11'), flatBar('2024-01-10', { vwap: 3 })]);
    const before = Object.values(columns).map(String);
    await ingestBars(sql(), [{ ...makeItem(id, []), bars: columns }], ingestOptions());
    expect(Object.values(columns).map(String)).toEqual(before);
  });
});

/** A bar as it was or restated in one of the ways that providers have. */
function changeBar(bar: Bar, random: Random): Bar {
  const { vwap, tradeCount, ...plain } = bar;
  switch (below(random, 5)) {
    case 0:
      return { ...bar, volume: bar.volume + 1 + below(random, 1000) };
    case 1:
      return { ...bar, open: bar.open * 1.2, high: Math.max(bar.high, bar.open * 1.2) };
    case 2:
      return { ...bar, low: -1 };
    case 3:
      return plain;
    default:
      return bar;
  }
}

/** Sessions whose revisions and bar do not follow each other without a break. */
async function brokenChains(sql: Sql, id: number): Promise<string[]> {
  const rows = await sql<{ session: string }[]>`
    select session from (
      select session, ts_received, ts_replaced,
             coalesce(lead(ts_received) over (partition by session order by ts_replaced),
                      (select b.ts_received from bars_1d b
                       where b.instrument_id = r.instrument_id and b.session = r.session)) as next
      from bar_revisions r where instrument_id = ${id} and reason = 'values') chain
    where next is distinct from ts_replaced or ts_received >= ts_replaced`;
  return rows.map(({ session }) => session);
}
