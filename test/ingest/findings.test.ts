import { describe, expect, test } from 'bun:test';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import type { Decision } from '../../src/model/finding.ts';
import { flagNames } from '../../src/model/quality.ts';
import { toDay } from '../../src/model/session.ts';
import type { Sql, Transaction } from '../../src/store/database.ts';
import { decideFindings } from '../../src/store/decisions.ts';
import { recordSeen, type SeenRange } from '../../src/store/findings.ts';
import { withIngestLock } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { type Bar, eventfulBars, flatBar, sessionsFrom, shiftSession } from '../fixtures/bars.ts';
import { findOne, selectFindingCounts, selectPlainFindings } from '../fixtures/findings.ts';
import { toIntradayColumns } from '../fixtures/minutes.ts';
import {
  addInstrument,
  addSplit,
  countBars,
  ingest,
  ingestOptions,
  RECEIVED,
  selectCounters,
  selectStored,
} from '../fixtures/warehouse.ts';

const HOUR = 3_600_000;
const FIRST = '2023-06-01';
const JUMP = shiftSession(FIRST, 30);
let made = 0;
const newSymbol = () => `F${++made}`;

/** Quiet sessions with one that opens 20 % higher than the one before closed. */
function jumpingBars(change: Partial<Bar> = {}): Bar[] {
  return sessionsFrom(FIRST, 40).map((session) => {
    const price = session < JUMP ? 100 : 120;
    const bar = flatBar(session, { open: price, high: price, low: price, close: price });
    return session === JUMP ? { ...bar, ...change } : bar;
  });
}

/** What is a rule of a bar, without what was seen between bars. */
const isOfBar = ({ kind }: { kind: string }) => !kind.endsWith('_split');

const short = ({ session, kind, state }: { session: string; kind: string; state: string }) =>
  `${session} ${kind} ${state}`;

describeEditions('findings of an ingest', (database) => {
  const sql = () => database().sql;
  const add = () => addInstrument(sql(), newSymbol());
  const shortOf = async (id: number, timeframe?: string) =>
    (await selectPlainFindings(sql(), id, timeframe)).filter(isOfBar).map(short);
  const seenOf = async (id: number) => (await selectPlainFindings(sql(), id)).map(short).sort();
  const decide = (findingId: number, decision: Decision, note?: string) =>
    decideFindings(
      sql(),
      { findingIds: [findingId], decision, note, actor: 'test' },
      RECEIVED + HOUR,
    );
  const barOf = async (id: number, session: string) => {
    const bar = (await selectStored(sql(), id)).find((one) => one.session === session);
    return bar && { score: bar.score, flags: flagNames(bar.flags) };
  };

  describe('of bars', () => {
    test('are one for each rule that a bar does not pass', async () => {
      const id = await add();
      const bars = eventfulBars('2022-01-03', 300, 7);
      await ingest(sql(), id, bars);
      const stored = await selectStored(sql(), id);
      const quiet = ['gap', 'gap_split', 'gap_dividend', 'gap_volume', 'unfinished'];
      const expected = stored.flatMap(({ session, flags }) =>
        flagNames(flags)
          .filter((name) => !quiet.includes(name))
          .map((name) => `${session} ${name} open`),
      );
      expect(expected.length).toBeGreaterThan(40);
      expect(await shortOf(id)).toEqual(expected);
      const [first] = await selectPlainFindings(sql(), id);
      expect(first).toMatchObject({
        ...{ ts_found: new Date(RECEIVED), ts_decided: null, ts_resolved: null },
        ...{ note: null, decided_by: null },
      });
    });

    test('have the digest that SQL gives their bars', async () => {
      const id = await add();
      await ingest(sql(), id, eventfulBars('2022-01-03', 200, 8));
      const [row] = await sql()`
        select count(*) as findings, count(*) filter (where f.digest = md5(
          float8send(open + 0) || float8send(high + 0) || float8send(low + 0)
          || float8send(close + 0) || float8send(volume + 0))) as alike
        from findings f join bars_1d b using (instrument_id, session)
        where instrument_id = ${id} and kind not like '%split'`;
      expect(row.findings).toBeGreaterThan(20);
      expect(row.alike).toBe(row.findings);
    });

    test('stay as they are when the same comes again', async () => {
      const id = await add();
      const bars = eventfulBars('2022-01-03', 200, 9);
      await ingest(sql(), id, bars);
      const versions = () =>
        sql()`
        select ctid::text, xmin::text, f::text from findings f
        where instrument_id = ${id} order by finding_id`.values();
      const before = await versions();
      await ingest(sql(), id, bars, {}, { receivedAt: RECEIVED + HOUR });
      expect(before.length).toBeGreaterThan(20);
      expect(await versions()).toEqual(before);
    });

    test('end when the bar passes, and are there again when it does not', async () => {
      const id = await add();
      await ingest(sql(), id, jumpingBars());
      expect(await shortOf(id)).toEqual([`${JUMP} gap_unexplained open`]);
      const before = await findOne(sql(), id, 'gap_unexplained');
      const calm = flatBar(JUMP);
      await ingest(sql(), id, [calm], {}, { receivedAt: RECEIVED + HOUR });
      const resolved = await findOne(sql(), id, 'gap_unexplained').catch(() => undefined);
      expect(resolved).toBeUndefined(); // the session after it opens with the gap now
      expect(await shortOf(id)).toEqual([
        `${JUMP} gap_unexplained resolved`,
        `${shiftSession(JUMP, 1)} gap_unexplained open`,
      ]);
      await ingest(sql(), id, jumpingBars(), {}, { receivedAt: RECEIVED + 2 * HOUR });
      const [again, next] = await selectPlainFindings(sql(), id);
      expect(again).toEqual({ ...before, ts_found: new Date(RECEIVED + 2 * HOUR) });
      expect(next).toMatchObject({
        ...{ state: 'resolved', ts_resolved: new Date(RECEIVED + 2 * HOUR) },
      });
    });

    test('end when a split explains what was found', async () => {
      const id = await add();
      const bars = sessionsFrom(FIRST, 40).map((session) => {
        const price = session < JUMP ? 100 : 50;
        return flatBar(session, { open: price, high: price, low: price, close: price });
      });
      await ingest(sql(), id, bars);
      expect(await shortOf(id)).toEqual([`${JUMP} gap_unexplained open`]);
      await addSplit(sql(), id, { exDate: JUMP, splitFrom: 1, splitTo: 2 });
      await ingest(sql(), id, [], { rescore: [toDay(JUMP)] }, { receivedAt: RECEIVED + HOUR });
      expect(await shortOf(id)).toEqual([`${JUMP} gap_unexplained resolved`]);
    });

    test('of a restated bar are about its new values', async () => {
      const id = await add();
      await ingest(sql(), id, jumpingBars());
      const before = await findOne(sql(), id, 'gap_unexplained');
      const bar = jumpingBars({ volume: 1100 }).filter(({ session }) => session === JUMP);
      await ingest(sql(), id, bar, {}, { receivedAt: RECEIVED + HOUR });
      const after = await findOne(sql(), id, 'gap_unexplained');
      expect(after.digest).not.toBe(before.digest);
      expect(after).toEqual({ ...before, digest: after.digest });
    });

    test('are counted as they change', async () => {
      const { kept, counted } = await selectFindingCounts(sql());
      expect(counted.length).toBeGreaterThan(10);
      expect(kept).toEqual(counted);
    });
  });

  describe('that were decided', () => {
    /** An instrument whose only finding was decided. */
    const addDecided = async (decision: Decision) => {
      const id = await add();
      await ingest(sql(), id, jumpingBars());
      const { id: findingId } = await findOne(sql(), id, 'gap_unexplained');
      await decide(findingId, decision, 'looked at');
      return id;
    };
    const cases: [Decision, string, object][] = [
      ['accept', 'accepted', { score: 1, flags: ['gap', 'gap_unexplained', 'accepted'] }],
      ['reject', 'rejected', { score: 0, flags: ['gap', 'gap_unexplained', 'rejected'] }],
    ];
    for (const [decision, state, bar] of cases) {
      test(`(${decision}) stay so when the same comes again`, async () => {
        const id = await addDecided(decision);
        expect(await barOf(id, JUMP)).toEqual(bar as never);
        const versions = () =>
          sql()`
          select ctid::text, xmin::text, b::text from bars_1d b
          where instrument_id = ${id} order by session`.values();
        const before = await versions();
        const bars = jumpingBars();
        const count = await ingest(sql(), id, bars, {}, { receivedAt: RECEIVED + 2 * HOUR });
        expect(count).toEqual({ inserted: 0, changed: 0, unchanged: 40, rejected: 0 });
        expect(await versions()).toEqual(before);
        expect(await shortOf(id)).toEqual([`${JUMP} gap_unexplained ${state}`]);
        expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
      });

      test(`(${decision}) stay so when other sessions come`, async () => {
        const id = await addDecided(decision);
        const around = [-3, 1, 11].map((by) => {
          const session = shiftSession(JUMP, by);
          const price = by < 0 ? 100 : 120;
          return flatBar(session, { open: price, high: 125, low: price, close: price });
        });
        await ingest(sql(), id, around, {}, { receivedAt: RECEIVED + 2 * HOUR });
        expect(await barOf(id, JUMP)).toEqual(bar as never);
        expect(await shortOf(id)).toEqual([`${JUMP} gap_unexplained ${state}`]);
      });

      test(`(${decision}) are open again with other values`, async () => {
        const id = await addDecided(decision);
        const other = jumpingBars({ volume: 1100 }).filter(({ session }) => session === JUMP);
        await ingest(sql(), id, other, {}, { receivedAt: RECEIVED + 2 * HOUR });
        expect(await barOf(id, JUMP)).toEqual({ score: 0.8, flags: ['gap', 'gap_unexplained'] });
        expect(await findOne(sql(), id, 'gap_unexplained')).toMatchObject({
          ...{ state: 'open', decided_by: null, ts_decided: null, note: 'looked at' },
          ts_found: new Date(RECEIVED + 2 * HOUR),
        });
        expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
        const log = await sql()`select action from audit_log where instrument_id = ${id}`;
        expect(log.map(({ action }) => action)).toEqual([`finding.${decision}`]);
      });

      test(`(${decision}) end when what was found is not so any more`, async () => {
        const id = await addDecided(decision);
        const before = flatBar(shiftSession(JUMP, -1), { high: 120, close: 120 });
        await ingest(sql(), id, [before], {}, { receivedAt: RECEIVED + 2 * HOUR });
        expect(await barOf(id, JUMP)).toEqual({ score: 1, flags: [] });
        expect(await findOne(sql(), id, 'gap_unexplained')).toMatchObject({
          ...{ state: 'resolved', decided_by: null, ts_decided: null },
        });
      });
    }
  });

  describe('below a day', () => {
    const START = Date.parse('2024-02-28T15:00:00Z');
    /** Minutes of one session of which one opens 20 % higher. */
    const minutes = (volume = 1000) =>
      toIntradayColumns(
        Array.from({ length: 30 }, (_, i) => {
          const price = i < 20 ? 100 : 120;
          return {
            ...{ ts: START + i * 60_000, open: price, high: price, low: price, close: price },
            volume: i === 20 ? volume : 1000,
          };
        }) as never,
      );
    const store = (id: number, volume?: number) =>
      ingestIntraday(
        sql(),
        [
          {
            ...{ instrumentId: id, symbol: 'M', bars: minutes(volume) },
            ...{ rejected: [], listedOn: null },
          },
        ],
        { ...ingestOptions(), timeframe: '1m' },
      );
    const minuteOf = async (id: number) => {
      const [bar] = await sql()`
        select flags, score from bars_1m
        where instrument_id = ${id} and ts = ${new Date(START + 20 * 60_000)}`;
      return { score: bar.score, flags: flagNames(bar.flags) };
    };

    test('are kept, decided, and open again with other values', async () => {
      const id = await add();
      await store(id);
      expect(await shortOf(id, '1m')).toEqual(['2024-02-28 gap_unexplained open']);
      const finding = await findOne(sql(), id, 'gap_unexplained', '1m');
      const [{ ts }] = await sql()`select ts from findings where finding_id = ${finding.id}`;
      expect(ts).toEqual(new Date(START + 20 * 60_000));
      await decide(finding.id, 'accept');
      const accepted = { score: 1, flags: ['gap', 'gap_unexplained', 'accepted'] };
      expect(await minuteOf(id)).toEqual(accepted);
      const count = (await store(id)).get(id);
      expect(count).toEqual({ inserted: 0, changed: 0, unchanged: 30, rejected: 0 });
      expect(await minuteOf(id)).toEqual(accepted);
      expect(await shortOf(id, '1m')).toEqual(['2024-02-28 gap_unexplained accepted']);
      await store(id, 900);
      expect(await minuteOf(id)).toEqual({ score: 0.8, flags: ['gap', 'gap_unexplained'] });
      expect(await shortOf(id, '1m')).toEqual(['2024-02-28 gap_unexplained open']);
    });
  });

  describe('between bars', () => {
    const DAY = toDay(JUMP);
    const see = (id: number, found: SeenRange['found'], at = RECEIVED, from = DAY - 5) =>
      withIngestLock(sql() as Sql, (tx: Transaction) =>
        recordSeen(
          tx,
          '1d',
          [
            {
              ...{ instrumentId: id, kinds: ['possible_split', 'unconfirmed_split'] },
              ...{ firstDay: from, lastDay: DAY + 5, found },
            },
          ],
          at,
        ),
      );
    const split = (values: number[], detail: object = { split_from: 1, split_to: 2 }) => ({
      ...{ kind: 'possible_split', day: DAY, detail, values },
    });
    const detailOf = async (id: number) => {
      const [row] = await sql()`select detail from findings where instrument_id = ${id}`;
      return row.detail;
    };

    test('are kept with their detail, and touch no bar', async () => {
      const id = await add();
      const calm = sessionsFrom(FIRST, 40).map((session) => flatBar(session));
      await ingest(sql(), id, calm);
      const before = await selectStored(sql(), id);
      await see(id, [split([100, 50])]);
      expect(await seenOf(id)).toEqual([`${JUMP} possible_split open`]);
      expect(await detailOf(id)).toEqual({ split_from: 1, split_to: 2 });
      const { id: findingId } = await findOne(sql(), id, 'possible_split');
      await decide(findingId, 'reject');
      expect(await seenOf(id)).toEqual([`${JUMP} possible_split rejected`]);
      expect(await selectStored(sql(), id)).toEqual(before);
    });

    test('keep a decision as long as their values are the same', async () => {
      const id = await add();
      await see(id, [split([100, 50])]);
      const { id: findingId } = await findOne(sql(), id, 'possible_split');
      await decide(findingId, 'accept');
      await see(id, [split([100, 50])], RECEIVED + 2 * HOUR);
      expect(await findOne(sql(), id, 'possible_split')).toMatchObject({
        ...{ state: 'accepted', ts_found: new Date(RECEIVED), decided_by: 'test' },
      });
      await see(id, [split([100, 50], { volume: 'twice' })], RECEIVED + 2 * HOUR);
      expect(await detailOf(id)).toEqual({ volume: 'twice' });
      expect(await seenOf(id)).toEqual([`${JUMP} possible_split accepted`]);
      await see(id, [split([100, 51])], RECEIVED + 2 * HOUR);
      expect(await findOne(sql(), id, 'possible_split')).toMatchObject({
        ...{ state: 'open', ts_found: new Date(RECEIVED + 2 * HOUR), decided_by: null },
      });
    });

    test('end when they are not seen any more, within what was looked at', async () => {
      const id = await add();
      const unconfirmed = { ...split([1]), kind: 'unconfirmed_split', day: DAY + 2 };
      await see(id, [split([100, 50]), unconfirmed]);
      await see(id, [], RECEIVED + HOUR, DAY + 1);
      const later = shiftSession(JUMP, 2);
      expect(await seenOf(id)).toEqual([
        `${JUMP} possible_split open`,
        `${later} unconfirmed_split resolved`,
      ]);
      await see(id, [unconfirmed], RECEIVED + 2 * HOUR);
      expect(await seenOf(id)).toEqual([
        `${JUMP} possible_split resolved`,
        `${later} unconfirmed_split open`,
      ]);
      const { kept, counted } = await selectFindingCounts(sql());
      expect(kept).toEqual(counted);
    });
  });
});
