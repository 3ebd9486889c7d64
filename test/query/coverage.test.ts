import { beforeAll, describe, expect, test } from 'bun:test';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { classifySessions, countStates } from '../../src/model/absence.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  selectAbsence,
  selectCoverageTotals,
  selectHeldDays,
  selectHeldSessions,
  selectInstrumentCoverage,
} from '../../src/query/coverage.ts';
import type { Sql } from '../../src/store/database.ts';
import { upsertDescriptions } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { calendar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, ingest, ingestOptions, RECEIVED } from '../fixtures/warehouse.ts';

const LATEST = toDay('2024-03-01');
const dates = (days: ArrayLike<number>) => Array.from(days, toDate);

/** Everything that the tests look at: three instruments, of which one was never asked for. */
async function fill(sql: Sql) {
  const [spy, young, unasked] = [
    await addInstrument(sql, 'SPY'),
    await addInstrument(sql, 'YOUNG'),
    await addInstrument(sql, 'UNASKED'),
  ];
  const days = ['2024-01-08', '2024-01-09', '2024-01-11', '2024-01-12', '2024-01-13'];
  await ingest(
    sql,
    spy,
    days.map((day) => flatBar(day)),
    {
      asked: [
        { firstDay: toDay('2024-01-02'), lastDay: toDay('2024-01-05'), refusal: 'two years' },
        { firstDay: toDay('2024-01-08'), lastDay: toDay('2024-01-17') },
      ],
    },
  );
  await upsertDescriptions(sql, [
    {
      ...{ instrumentId: young, name: null, exchange: null, assetType: null },
      ...{ listedOn: '2024-02-01', delistedOn: '2024-02-16' },
    },
  ]);
  await ingest(
    sql,
    young,
    sessionsFrom('2024-02-01', 5).map((session) => flatBar(session)),
    {
      asked: [{ firstDay: toDay('2024-01-29'), lastDay: toDay('2024-02-08') }],
      listedOn: toDay('2024-02-01'),
    },
  );
  return { spy, young, unasked };
}

describeEditions('coverage', (database) => {
  let ids: Awaited<ReturnType<typeof fill>>;
  beforeAll(async () => {
    ids = await fill(database().sql);
  });

  test('of an instrument has what was asked of whom, and the listing', async () => {
    const { sql } = database();
    const found = await selectInstrumentCoverage(sql, ids.spy);
    const told = found.slices.map(({ start, end, state, detail }) =>
      [toDate(start), toDate(end), state, detail].join(' ').trim(),
    );
    expect(told).toEqual([
      '2024-01-02 2024-01-08 not_entitled two years',
      '2024-01-08 2024-01-10 complete',
      '2024-01-10 2024-01-11 vendor_empty',
      '2024-01-11 2024-01-16 complete',
      '2024-01-16 2024-01-18 vendor_empty',
    ]);
    expect(found.slices[2]).toMatchObject({
      ...{ provider: 'vendor', askedAt: RECEIVED, attempts: 1 },
      retryAt: RECEIVED + 20 * 3_600_000,
    });
    expect([found.listedOn, found.delistedOn]).toEqual([null, null]);
    const young = await selectInstrumentCoverage(sql, ids.young);
    expect([young.listedOn, young.delistedOn].map((day) => toDate(day ?? 0))).toEqual([
      '2024-02-01',
      '2024-02-16',
    ]);
    expect((await selectInstrumentCoverage(sql, ids.spy, '1m')).slices).toEqual([]);
    expect((await selectInstrumentCoverage(sql, 999_999)).slices).toEqual([]);
  });

  test('knows the days that have a bar, also those without a session', async () => {
    const { sql } = database();
    const between = (first: string, last: string) =>
      selectHeldDays(sql, ids.spy, '1d', toDay(first), toDay(last));
    expect(dates(await between('2024-01-09', '2024-01-13'))).toEqual([
      ...['2024-01-09', '2024-01-11', '2024-01-12', '2024-01-13'],
    ]);
    expect(dates(await between('2024-01-13', '2024-01-09'))).toEqual([]);
    expect(dates(await between('2023-01-13', '2023-02-09'))).toEqual([]);
    const all = await selectHeldSessions(
      sql,
      [ids.spy, ids.young, ids.unasked],
      toDay('2024-01-12'),
      toDay('2024-02-02'),
    );
    expect([...all].map(([id, days]) => [id, dates(days)])).toEqual([
      [ids.spy, ['2024-01-12', '2024-01-13']],
      [ids.young, ['2024-02-01', '2024-02-02']],
    ]);
  });

  test('says why a range is empty: the reason of most sessions, and the listing', async () => {
    const { sql } = database();
    const why = (id: number, first: string, last: string) =>
      selectAbsence(sql, calendar, {
        ...{ instrumentId: id, startDay: toDay(first), endDay: toDay(last), latestDay: LATEST },
      });
    expect(await why(ids.spy, '2024-01-02', '2024-01-05')).toEqual({
      reason: 'not_entitled',
      message: 'the plan with the provider does not include these sessions: two years',
    });
    // Two sessions were empty, and thirty never asked for.
    expect((await why(ids.spy, '2024-01-16', '2024-02-29')).reason).toBe('unfetched');
    expect(await why(ids.young, '2024-02-20', '2024-02-29')).toEqual({
      reason: 'after_delisting',
      message: 'the symbol was not listed any more',
    });
    expect((await why(ids.young, '2020-01-02', '2020-12-31')).reason).toBe('before_listing');
    expect((await why(ids.unasked, '2024-03-04', '2024-03-05')).message).toMatch(/not been publ/);
    expect((await why(ids.unasked, '2024-03-02', '2024-03-03')).reason).toBe('closed');
  });

  describe('in totals', () => {
    test('is counted without looking at a bar, from where each was asked for first', async () => {
      const { sql } = database();
      const totals = await selectCoverageTotals(sql, calendar, { latestDay: LATEST });
      expect(totals.get(ids.spy)).toEqual({
        ...{ complete: 4, missing: 0, vendor_empty: 3, not_entitled: 4, before_listing: 0 },
        unfetched: calendar.sessions(toDay('2024-01-18'), LATEST).length,
      });
      expect(totals.get(ids.young)).toEqual({
        ...{ complete: 5, missing: 0, vendor_empty: 1, not_entitled: 0, before_listing: 3 },
        unfetched: calendar.sessions(toDay('2024-02-09'), toDay('2024-02-16')).length,
      });
      expect(totals.get(ids.unasked)).toEqual({
        ...{ complete: 0, missing: 0, vendor_empty: 0, not_entitled: 0, before_listing: 0 },
        unfetched: 0,
      });
    });

    test('of some instruments, from a day on, agrees with a look at each session', async () => {
      const { sql } = database();
      for (const first of ['2023-12-01', '2024-01-10', '2024-02-06']) {
        const firstDay = toDay(first);
        const asked = { instrumentIds: [ids.young, ids.spy], firstDay, latestDay: LATEST };
        const totals = await selectCoverageTotals(sql, calendar, asked);
        expect([...totals.keys()]).toEqual([ids.spy, ids.young]);
        for (const id of [ids.spy, ids.young]) {
          const known = await selectInstrumentCoverage(sql, id);
          const held = await selectHeldDays(sql, id, '1d', firstDay, LATEST);
          const range = { ...known, firstDay, lastDay: LATEST, latestDay: LATEST };
          const { closed, after_delisting, ...counted } = countStates(
            classifySessions(calendar, known.slices, held, range),
          );
          expect([first, id, totals.get(id)]).toEqual([first, id, counted]);
        }
      }
    });

    test('misses bars that are covered and not there', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'LOST');
      const bars = sessionsFrom('2024-01-02', 20).map((session) => flatBar(session));
      const asked = [{ firstDay: toDay('2024-01-02'), lastDay: toDay('2024-01-30') }];
      await ingest(sql, id, bars, { asked });
      await sql`delete from bars_1d where instrument_id = ${id} and session < '2024-01-05'`;
      await sql`update instrument_status set records = 17 where instrument_id = ${id}`;
      const totals = await selectCoverageTotals(sql, calendar, {
        ...{ instrumentIds: [id], latestDay: toDay('2024-01-30') },
      });
      expect(totals.get(id)).toMatchObject({ complete: 17, missing: 3, unfetched: 0 });
    });
  });

  test('of minutes knows the days in New York that have any, over a change of clocks', async () => {
    const { sql } = database();
    const minutes = readSpyMinutes();
    // Of the first session only a minute after hours, of the second only one before them.
    const kept = minutes.filter(({ ts }) => ts > Date.parse('2024-02-22T00:00:00Z'));
    const after = Date.parse('2024-02-21T00:59:00Z');
    const before = Date.parse('2024-02-21T09:00:00Z');
    const [sample] = kept;
    const saturday = Date.parse('2024-03-09T17:00:00Z');
    const odd = [after, before, saturday].map((ts) => ({ ...sample, ts }));
    const item = { instrumentId: ids.unasked, symbol: 'UNASKED', rejected: [], listedOn: null };
    const bars = toIntradayColumns([...kept, ...odd]);
    const options = { ...ingestOptions(), receivedAt: Date.parse('2024-06-03T12:00:00Z') };
    await ingestIntraday(sql, [{ ...item, bars }], { ...options, timeframe: '1m' });
    const counted = await sql<{ session: string }[]>`
      select distinct session from bars_1m where instrument_id = ${ids.unasked} order by 1`;
    const expected = counted.map(({ session }) => session);
    expect(expected).toContain('2024-03-09');
    expect(expected.slice(0, 3)).toEqual(['2024-02-20', '2024-02-21', '2024-02-22']);
    expect(expected).toHaveLength(64);
    const between = (first: string, last: string) =>
      selectHeldDays(sql, ids.unasked, '1m', toDay(first), toDay(last));
    expect(dates(await between('2024-01-01', '2024-12-31'))).toEqual(expected);
    expect(dates(await between('2024-03-08', '2024-03-11'))).toEqual([
      ...['2024-03-08', '2024-03-09', '2024-03-11'],
    ]);
    expect(dates(await between('2024-02-20', '2024-02-20'))).toEqual(['2024-02-20']);
    expect(dates(await between('2024-06-01', '2024-06-30'))).toEqual([]);
    expect(await selectHeldDays(sql, ids.unasked, '1h', 0, LATEST)).toEqual(new Int32Array(0));
  });

  test('of days on which an instrument had no symbol is not asked of anybody', async () => {
    const sql = database().sql;
    const id = await addInstrument(sql, 'NAMED');
    await sql`
      update symbol_ranges set valid_from = '2024-01-08', valid_to = '2024-01-12'
      where instrument_id = ${id}`;
    expect(await selectInstrumentCoverage(sql, id)).toMatchObject({
      ...{ listedOn: toDay('2024-01-08'), delistedOn: toDay('2024-01-11') },
    });
    const range = { startDay: toDay('2024-01-02'), endDay: toDay('2024-01-05') };
    const absence = { instrumentId: id, ...range, latestDay: LATEST };
    expect(await selectAbsence(sql, calendar, absence)).toMatchObject({ reason: 'before_listing' });
    const asked = { instrumentIds: [id], firstDay: toDay('2024-01-02'), latestDay: LATEST };
    expect((await selectCoverageTotals(sql, calendar, asked)).get(id)).toMatchObject({
      ...{ before_listing: 4, unfetched: 4 },
    });
  });
});
