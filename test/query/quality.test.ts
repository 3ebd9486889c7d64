import { beforeAll, describe, expect, test } from 'bun:test';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { toDay } from '../../src/model/session.ts';
import { countBehind, type QualityAsked, selectQuality } from '../../src/query/quality.ts';
import { deleteSymbols } from '../../src/store/symbols.ts';
import { cloneDatabase, describeEditions } from '../database.ts';
import { type Bar, calendar, eventfulBars, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, ingest, ingestOptions, RECEIVED } from '../fixtures/warehouse.ts';

/** Friday, 1 March 2024, is the latest session that is published. */
const LATEST = toDay('2024-03-01');
const DAYS = sessionsFrom('2024-01-02', 42);

describe('sessions behind', () => {
  test.each([
    [null, LATEST, null],
    ['2024-03-01', LATEST, 0],
    ['2024-02-29', LATEST, 1],
    ['2024-02-16', LATEST, 9], // Presidents' Day is none
    ['2024-03-04', LATEST, 0],
    ['2024-03-01', -1, 0],
    ['1980-01-01', toDay('1990-01-03'), 2],
  ])('%p at %p are %p', (date, latestDay, behind) => {
    expect(countBehind(calendar, date, latestDay)).toBe(behind);
  });
});

describeEditions('the quality report', (database) => {
  const sql = () => database().sql;
  const report = (asked: Partial<QualityAsked> = {}) =>
    selectQuality(sql(), calendar, { latestDay: LATEST, ...asked });
  const addFinding = (id: number, kind: string, session: string, state = 'open') => sql()`
    insert into findings (instrument_id, timeframe, session, kind, state, digest, ts_found,
                          ts_decided)
    values (${id}, '1d', ${session}, ${kind}, ${state}, 'd', ${new Date(RECEIVED)},
            ${state === 'open' ? null : new Date(RECEIVED)})`;

  const ids: Record<string, number> = {};
  beforeAll(async () => {
    const add = async (symbol: string, bars: Bar[], ...asked: [string, string][]) => {
      ids[symbol] = await addInstrument(sql(), symbol);
      const range = asked.map(([a, b]) => ({ firstDay: toDay(a), lastDay: toDay(b) }));
      await ingest(sql(), ids[symbol], bars, { asked: range });
    };
    const flat = DAYS.map((session) => flatBar(session));
    const all: [string, string] = [DAYS[0], '2024-03-01'];
    await add('GOOD', flat, all);
    await add('STALE', flat.slice(0, 30), [DAYS[0], DAYS[29]]);
    const [before, after] = [flat.slice(0, 10), flat.slice(12)];
    await add('HOLED', [...before, ...after], [DAYS[0], DAYS[9]], [DAYS[12], DAYS[41]]);
    await add('GONE', flat.slice(0, 20), [DAYS[0], DAYS[19]]);
    await sql()`
      update instruments set delisted_on = ${DAYS[19]} where instrument_id = ${ids.GONE}`;
    await add(
      'BAD',
      flat.map((bar, i) => (i % 3 === 0 ? { ...bar, high: 1 } : bar)),
      all,
    );
    ids.EMPTY = await addInstrument(sql(), 'EMPTY');
    ids.LEFT = await addInstrument(sql(), 'LEFT');
    await deleteSymbols(sql(), ['LEFT']);
    await ingest(
      sql(),
      ids.GOOD,
      [flatBar(DAYS[3], { volume: 1100 })],
      {},
      {
        receivedAt: RECEIVED + 1000,
      },
    );
    await addFinding(ids.GOOD, 'volume_spike', DAYS[3]);
    await addFinding(ids.GOOD, 'volume_spike', DAYS[4], 'accepted');
    await addFinding(ids.STALE, 'volume_spike', DAYS[4]);
    const minute = { open: 500, high: 500, low: 500, close: 500, volume: 10 };
    const minutes = [0, 1, 2].map((i) => ({
      ...{ ...minute, ts: Date.parse('2024-02-29T14:30:00Z') + i * 60_000 },
    }));
    const bars = toIntradayColumns(minutes);
    const item = { instrumentId: ids.GOOD, symbol: 'GOOD', bars, rejected: [], listedOn: null };
    await ingestIntraday(sql(), [item], { ...ingestOptions(), timeframe: '1m' });
  });

  test('has a verdict on each symbol, the worst first', async () => {
    const { symbols } = await report();
    const told = symbols.map(({ symbol, grade, verdict }) => [symbol, grade, verdict]);
    expect(told).toEqual([
      [...['BAD', 'poor', 'only 66.67 % of its bars are validated, 28 findings to look at']],
      ['STALE', 'fair', '12 sessions behind, 1 finding to look at'],
      ['HOLED', 'fair', '2 sessions of its history are missing, no finding is open'],
      ['EMPTY', 'empty', 'no bars are held yet'],
      ['GOOD', 'good', 'held to 2024-03-01, 100 % of 42 bars validated, 1 finding to look at'],
      ['GONE', 'good', 'held to 2024-01-30, 100 % of 20 bars validated, no finding is open'],
    ]);
  });

  test('has what each verdict is from, per timeframe', async () => {
    const { symbols } = await report({ instrumentIds: [ids.GOOD] });
    expect(symbols).toHaveLength(1);
    const [good] = symbols;
    const complete = { missing: 0, vendor_empty: 0, not_entitled: 0, before_listing: 0 };
    expect(good).toMatchObject({
      ...{ instrument_id: ids.GOOD, symbol: 'GOOD', name: null, tracked: true, synthetic: false },
      ...{ records: 42, validated_records: 42, average_quality: 1, sessions_behind: 0 },
      ...{ revisions: 1, last_revision_at: new Date(RECEIVED + 1000).toISOString() },
      coverage: { complete: 42, ...complete, unfetched: 0 },
      findings: {
        open: 1,
        by_kind: [
          { kind: 'volume_spike', state: 'accepted', count: 1 },
          { kind: 'volume_spike', state: 'open', count: 1 },
        ],
      },
    });
    expect(good.timeframes).toMatchObject([
      { timeframe: '1d', records: 42, revisions: 1, first_session: DAYS[0] },
      {
        ...{ timeframe: '1m', records: 3, revisions: 0, last_revision_at: null },
        ...{ latest_session: '2024-02-29', sessions_behind: 1 },
      },
    ]);
  });

  test('adds all of them up', async () => {
    const { total } = await report();
    expect(total).toMatchObject({
      grade: 'poor',
      verdict: '6 symbols: 1 poor, 2 fair, 1 empty, 2 good; 91.95 % of 174 bars validated',
      ...{ symbols: 6, grades: { poor: 1, fair: 2, empty: 1, good: 2 } },
      ...{ symbols_behind: 1, sessions_behind_max: 12 },
      findings: { open: 30 },
    });
    expect(total.findings.by_kind).toEqual([
      { kind: 'high_below_low', state: 'open', count: 14 },
      { kind: 'high_too_low', state: 'open', count: 14 },
      { kind: 'volume_spike', state: 'accepted', count: 1 },
      { kind: 'volume_spike', state: 'open', count: 2 },
    ]);
    const [truth] = await sql()`
      select count(*) as records, count(*) filter (where score >= 0.85) as validated_records,
             count(*) filter (where score < 0.5) as excluded_records,
             round(avg(score)::numeric, 4) as average_quality, min(session) as first_session,
             max(session) as latest_session
      from bars_1d`;
    expect(total.timeframes.map(({ timeframe }) => timeframe)).toEqual(['1d', '1m']);
    expect(total.timeframes[0]).toMatchObject({ ...truth, revisions: 1, sessions_behind: 0 });
    expect(total.timeframes[0].coverage).toMatchObject({
      complete: truth.records,
      unfetched: 12 + 2,
    });
  });

  test.each([
    ['symbol', ['BAD', 'EMPTY', 'GONE', 'GOOD', 'HOLED', 'STALE']],
    ['validation', ['EMPTY', 'BAD']],
    ['behind', ['STALE', 'BAD']],
    ['findings', ['BAD', 'GOOD', 'STALE']],
    ['holes', ['STALE', 'HOLED', 'BAD']],
    ['revisions', ['GOOD', 'BAD']],
  ] as const)('is put in order by %s', async (order, first) => {
    const { symbols } = await report({ order });
    expect(symbols.map(({ symbol }) => symbol).slice(0, first.length)).toEqual([...first]);
  });

  test('has the latest comparison with a second source', async () => {
    const runs = await sql()<{ id: number }[]>`
      insert into job_runs (job, origin, state, worker)
      select 'reconcile', 'schedule', 'succeeded', 'w' from generate_series(1, 2)
      returning run_id as id`;
    for (const [i, { id }] of runs.entries()) {
      await sql()`
        insert into reconciliations (instrument_id, run_id, ts, source, start_session, end_session,
                                     verdict, side, compared, detail)
        values (${ids.GOOD}, ${id}, ${new Date(RECEIVED)}, 'yahoo', ${DAYS[0]}, ${DAYS[9]},
                ${['agree', 'conflict'][i]}, ${[null, 'ours'][i]}, 10, '{}')`;
    }
    const { total, symbols } = await report();
    const good = symbols.find(({ symbol }) => symbol === 'GOOD');
    expect(good?.reconciliation).toEqual({
      ...{ verdict: 'conflict', side: 'ours', source: 'yahoo', compared: 10 },
      ...{ checked_at: new Date(RECEIVED).toISOString() },
      ...{ start_session: DAYS[0], end_session: DAYS[9] },
    });
    expect(good).toMatchObject({
      grade: 'poor',
      verdict: 'its prices conflict with those of yahoo, 1 finding to look at',
    });
    expect(symbols.find(({ symbol }) => symbol === 'STALE')?.reconciliation).toBeNull();
    expect(total.reconciliation).toMatchObject({ agree: 0, conflict: 1 });
    await sql()`delete from reconciliations`;
  });

  test('of an empty warehouse is short', async () => {
    const empty = await cloneDatabase(database().edition);
    try {
      const { total, symbols } = await selectQuality(empty.sql, calendar, { latestDay: LATEST });
      expect(symbols).toEqual([]);
      expect(total).toEqual({
        ...{ grade: 'empty', verdict: 'no bars are held yet', symbols: 0 },
        ...{ grades: { poor: 0, fair: 0, empty: 0, good: 0 }, timeframes: [] },
        ...{ findings: { open: 0, by_kind: [] }, symbols_behind: 0, sessions_behind_max: 0 },
        reconciliation: { agree: 0, near: 0, differ: 0, conflict: 0, none: 0, failed: 0 },
      });
    } finally {
      await empty.drop();
    }
  });

  test('has the same counters as the bars after a history with everything in it', async () => {
    const id = await addInstrument(sql(), 'EVENTS');
    await ingest(sql(), id, eventfulBars('2023-01-03', 200, 7));
    const [one] = (await report({ instrumentIds: [id] })).symbols;
    const [truth] = await sql()`
      select count(*) as records, count(*) filter (where score >= 0.85) as validated_records,
             count(*) filter (where score < 0.5) as excluded_records,
             count(*) filter (where flags & 64 <> 0) as gaps_flagged,
             count(*) filter (where flags & 6144 <> 0) as volume_anomalies,
             round(avg(score)::numeric, 4) as average_quality, min(session) as first_session,
             max(session) as latest_session
      from bars_1d where instrument_id = ${id}`;
    expect(one).toMatchObject(truth);
  });
});
