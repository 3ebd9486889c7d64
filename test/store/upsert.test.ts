import { describe, expect, test } from 'bun:test';
import type { CoverageRange } from '../../src/model/coverage.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import type { StoredBars } from '../../src/store/bar-columns.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import {
  insertBars,
  insertRejectedRows,
  selectCoverageRanges,
  selectStoredBars,
  upsertChangedBars,
  upsertCoverage,
  withIngestLock,
} from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { type Bar, eventfulBars, flatBar, sessionsFrom, toColumns } from '../fixtures/bars.ts';
import { addInstrument, failureOf, ingest, RECEIVED, selectStored } from '../fixtures/warehouse.ts';

const ORIGIN = { provider: 'vendor', receivedAt: RECEIVED };

function asStored(bars: readonly Bar[]): StoredBars {
  const score = new Float64Array(bars.length).fill(1);
  const zeros = () => new Int32Array(bars.length);
  return { ...toColumns(bars), score, flags: zeros(), isFinal: zeros() };
}

const rowsOf = (instrumentId: number, list: readonly Bar[]) => {
  const bars = asStored(list);
  return list.map((_, row) => ({ instrumentId, bars, row }));
};

describeEditions('upsert', (database) => {
  const sql = () => database().sql;

  describe('the ingest lock', () => {
    test('lets in one at a time', async () => {
      const pools = Array.from({ length: 4 }, () => openPool(database().url, { connections: 1 }));
      let inside = 0;
      const seen: number[] = [];
      const visit = (pool: Sql) =>
        withIngestLock(pool, async (tx) => {
          seen.push(++inside);
          for (let i = 0; i < 5; i++) await tx`select 1`;
          seen.push(inside--);
        });
      await Promise.all(pools.map(visit));
      expect(seen).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
      await Promise.all(pools.map((pool) => pool.end()));
    });

    test('is free again after a failure, and answers what the body answers', async () => {
      const failing = withIngestLock(sql(), () => Promise.reject(new Error('no luck')));
      expect(await failureOf(failing)).toBe('no luck');
      expect(await withIngestLock(sql(), () => Promise.resolve(42))).toBe(42);
    });
  });

  describe('bars', () => {
    test('are read back as columns, in order, within their spans only', async () => {
      const [a, b] = [await addInstrument(sql(), 'UA'), await addInstrument(sql(), 'UB')];
      const bars = eventfulBars('2023-01-03', 60, 21);
      await ingest(sql(), a, bars);
      await ingest(sql(), b, bars.slice(0, 5));
      const none = await addInstrument(sql(), 'UC');
      const span = (instrumentId: number, first: string, last: string) => ({
        ...{ instrumentId, firstDay: toDay(first), lastDay: toDay(last) },
      });
      const found = await withIngestLock(sql(), (tx) =>
        selectStoredBars(tx, [
          span(a, bars[10].session, bars[20].session),
          span(b, '2030-01-01', '2030-12-31'),
          span(none, '1990-01-02', '2030-12-31'),
        ]),
      );
      expect([...found.keys()]).toEqual([a]);
      const columns = found.get(a) as StoredBars;
      const truth = (await selectStored(sql(), a)).slice(10, 21);
      const known = Array.from({ length: columns.length }, (_, i) => ({
        session: toDate(columns.session[i]),
        ...{ open: columns.open[i], high: columns.high[i], low: columns.low[i] },
        ...{ close: columns.close[i], volume: columns.volume[i] },
        ...(!Number.isNaN(columns.vwap[i]) && { vwap: columns.vwap[i] }),
        ...(!Number.isNaN(columns.tradeCount[i]) && { tradeCount: columns.tradeCount[i] }),
        ...{ flags: columns.flags[i], score: columns.score[i] },
        ...{ isFinal: columns.isFinal[i] === 1, provider: 'vendor' },
      }));
      expect(known).toEqual(truth);
      expect((await withIngestLock(sql(), (tx) => selectStoredBars(tx, []))).size).toBe(0);
    });

    test('are copied by the hundred thousand', async () => {
      const ids = await Promise.all(
        Array.from({ length: 20 }, (_, i) => addInstrument(sql(), `BULK${i}`)),
      );
      const list = sessionsFrom('2000-01-03', 5000).map((session, i) =>
        flatBar(session, { volume: i, ...(i % 3 === 0 && { vwap: i }) }),
      );
      const rows = ids.flatMap((id) => rowsOf(id, list));
      await withIngestLock(sql(), (tx) => insertBars(tx, rows, ORIGIN));
      const [sum] = await sql()`
        select count(*) as rows, sum(volume) as volume, count(vwap) as with_vwap,
               sum(vwap) as vwap, count(distinct session) as sessions
        from bars_1d where instrument_id = any(${ids})`;
      // 0 + 1 + ... + 4999, and every third of them: 0 + 3 + ... + 4998.
      expect({ ...sum }).toEqual({
        ...{ rows: 100_000, volume: 20 * 12_497_500, sessions: 5000 },
        ...{ with_vwap: 20 * 1667, vwap: 20 * 4_165_833 },
      });
    });

    test('that are there already cannot be inserted', async () => {
      const id = await addInstrument(sql(), 'UD');
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      const rows = rowsOf(id, [flatBar('2024-01-09'), flatBar('2024-01-10')]);
      const attempt = withIngestLock(sql(), (tx) => insertBars(tx, rows, ORIGIN));
      expect(await failureOf(attempt)).toContain('duplicate key');
      expect((await selectStored(sql(), id)).length).toBe(1);
    });

    test('that are not there cannot be changed', async () => {
      const id = await addInstrument(sql(), 'UE');
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      const changed = rowsOf(id, [flatBar('2024-01-10', { volume: 1 }), flatBar('2024-01-11')]);
      const attempt = withIngestLock(sql(), (tx) =>
        upsertChangedBars(
          tx,
          changed.map((row) => ({ ...row, isRevision: true })),
          ORIGIN,
        ),
      );
      expect(await failureOf(attempt)).toBe('2 bars were to be changed and 1 were there');
      expect(await selectStored(sql(), id)).toMatchObject([{ volume: 1000 }]);
      const [{ count }] = await sql()`
        select count(*) from bar_revisions where instrument_id = ${id}`;
      expect(count).toBe(0);
    });

    test.each<[string, Partial<Bar>]>([
      ['bars_1d_ohlc', { high: 99 }],
      ['bars_1d_ohlc', { low: 0 }],
      ['bars_1d_ohlc', { volume: -1 }],
      ['bars_1d_finite', { vwap: Number.POSITIVE_INFINITY }],
    ])('with the score of good ones must be good: %s', async (constraint, change) => {
      const id = await addInstrument(sql(), 'UF');
      const rows = rowsOf(id, [flatBar('2024-01-10', change)]);
      const attempt = withIngestLock(sql(), (tx) => insertBars(tx, rows, ORIGIN));
      expect(await failureOf(attempt)).toContain(constraint);
    });
  });

  describe('coverage', () => {
    const range = (first: string, end: string, change: Partial<CoverageRange> = {}) => ({
      ...{ start: toDay(first), end: toDay(end), state: 'complete' as const, isSettled: true },
      ...{ provider: 'vendor', askedAt: RECEIVED, attempts: 1, retryAt: null, detail: null },
      ...change,
    });
    const rowVersions = async (id: number) =>
      (
        await sql()`
          select start_session, xmin::text from coverage
          where instrument_id = ${id} order by start_session`
      ).map(({ start_session, xmin }) => `${start_session} ${xmin}`);
    const read = async (id: number, dataset: string) =>
      (await selectCoverageRanges(sql(), dataset, [id])).get(id);

    test('is written where it differs and read back the same', async () => {
      const id = await addInstrument(sql(), 'CA');
      const before = [
        range('2024-01-02', '2024-01-10'),
        range('2024-01-10', '2024-01-11', {
          ...{ state: 'vendor_empty', isSettled: false, attempts: 3 },
          ...{ retryAt: RECEIVED + 1, detail: 'why' },
        }),
      ];
      const write = (from: CoverageRange[], to: CoverageRange[]) =>
        withIngestLock(sql(), (tx) =>
          upsertCoverage(tx, '1d', [{ instrumentId: id, before: from, after: to }]),
        );
      await write([], before);
      expect(await read(id, '1d')).toEqual(before);
      const [kept] = await rowVersions(id);
      const after = [
        before[0],
        range('2024-01-10', '2024-01-12'),
        range('2024-02-01', '2024-02-02'),
      ];
      await write(before, after);
      expect(await read(id, '1d')).toEqual(after);
      expect((await rowVersions(id))[0]).toBe(kept);
      await write(after, []);
      expect(await read(id, '1d')).toBeUndefined();
    });

    test('of one dataset says nothing of another', async () => {
      const id = await addInstrument(sql(), 'CB');
      const after = [range('2024-01-02', '2024-01-10')];
      await withIngestLock(sql(), (tx) =>
        upsertCoverage(tx, 'splits', [{ instrumentId: id, before: [], after }]),
      );
      expect([await read(id, 'splits'), await read(id, '1d')]).toEqual([after, undefined]);
    });
  });

  test('rejected rows of nobody in particular are kept too', async () => {
    const row = { symbol: '', reason: 'the row is empty', raw: ',,,', instrumentId: null };
    await withIngestLock(sql(), (tx) => insertRejectedRows(tx, [row, row], 'file', '1d'));
    await withIngestLock(sql(), (tx) => insertRejectedRows(tx, [row], 'other', '1d'));
    const rows = await sql()`
      select provider, instrument_id, seen_count from rejected_rows
      where reason = ${row.reason} order by provider`;
    expect([...rows]).toEqual([
      { provider: 'file', instrument_id: null, seen_count: 1 },
      { provider: 'other', instrument_id: null, seen_count: 1 },
    ]);
  });
});
