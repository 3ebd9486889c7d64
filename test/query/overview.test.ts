import { describe, expect, test } from 'bun:test';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  arrangeOverview,
  type OverviewOrder,
  OverviewReader,
  type OverviewSnapshot,
} from '../../src/query/overview.ts';
import { selectSymbolDetails } from '../../src/query/symbols.ts';
import { insertRun, upsertBackfillResults } from '../../src/store/jobs.ts';
import { deleteSymbols, upsertDescriptions, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { calendar, eventfulBars, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

/** After the close of the last of the sessions that are stored. */
const FIRST = '2023-10-02';
const SESSIONS = sessionsFrom(FIRST, 100);
const LAST = SESSIONS[99];
const NOW = Date.parse(`${LAST}T23:30:00Z`);

const nameOf = (one: { symbol: string }) => one.symbol;

describeEditions('the overview', (database) => {
  const sql = () => database().sql;
  const read = (nowMs = NOW, reloadEveryMs = 0) =>
    new OverviewReader(sql(), calendar, { publishDelayMs: 0, now: () => nowMs, reloadEveryMs });
  const bySymbol = (snapshot: OverviewSnapshot) =>
    Object.fromEntries(snapshot.symbols.map((one) => [one.symbol, one]));
  const whole = { firstDay: toDay(FIRST), lastDay: toDay(LAST) };
  const bars = (count = SESSIONS.length) =>
    SESSIONS.slice(0, count).map((session) => flatBar(session));
  const ids: Record<string, number> = {};

  test('is empty in an empty warehouse', async () => {
    const { symbols, totals } = await read().select();
    expect(symbols).toEqual([]);
    expect(totals).toEqual({
      ...{ symbols: 0, tracked: 0, openFindings: 0, openGaps: 0, states: [] },
    });
  });

  test('says of every symbol how it is', async () => {
    for (const symbol of ['GOOD', 'STALE', 'HOLES', 'LEFT', 'NONE', 'FAILED', 'late']) {
      ids[symbol] = await addInstrument(sql(), symbol);
    }
    const asked = { asked: [whole] };
    await ingest(sql(), ids.GOOD, bars(), asked);
    await ingest(sql(), ids.STALE, bars(97), {
      asked: [{ ...whole, lastDay: toDay(SESSIONS[96]) }],
    });
    // The provider was asked for parts of the history only.
    await ingest(sql(), ids.HOLES, [...bars(40), ...bars().slice(60)], {
      asked: [
        { ...whole, lastDay: toDay(SESSIONS[39]) },
        { ...whole, firstDay: toDay(SESSIONS[60]) },
      ],
    });
    await ingest(sql(), ids.LEFT, bars(50), asked);
    await ingest(sql(), ids.late, eventfulBars(FIRST, 100, 3), asked);
    await deleteSymbols(sql(), ['LEFT']);
    const runId = await insertRun(sql(), { job: 'backfill', origin: 'command', total: 1 });
    const none = { inserted: 0, changed: 0, unchanged: 0, rejected: 0, error: 'refused' };
    await upsertBackfillResults(sql(), runId, [
      { instrumentId: ids.FAILED, startSession: FIRST, endSession: LAST, ...none },
    ]);
    const { symbols, totals } = await read().select();
    expect(symbols.map(nameOf)).toEqual([
      ...['FAILED', 'GOOD', 'HOLES', 'LEFT', 'NONE', 'STALE', 'late'],
    ]);
    const states = Object.fromEntries(symbols.map((one) => [one.symbol, one.state]));
    expect(states).toMatchObject({
      ...{ GOOD: 'good', STALE: 'stale', HOLES: 'incomplete', LEFT: 'not_tracked' },
      ...{ NONE: 'no_bars', FAILED: 'failed' },
    });
    expect(bySymbol({ version: 0, symbols, totals }).HOLES).toMatchObject({
      ...{ instrumentId: ids.HOLES, sessionsBehind: 0, coverageShare: 0.8, tracked: true },
      ...{ timeframes: ['1d'], records: 80, openFindings: 0 },
    });
    expect(totals).toMatchObject({ symbols: 7, tracked: 6 });
    expect(totals.states.map(({ state }) => state)).toEqual(
      ['failed', 'poor', 'stale', 'incomplete', 'review', 'no_bars', 'not_tracked', 'good'].filter(
        (state) => Object.values(states).includes(state as never),
      ) as never,
    );
  });

  test('has the same numbers as the API, and the findings that are open', async () => {
    const { symbols, totals } = await read().select();
    const details = await selectSymbolDetails(sql());
    expect(symbols).toMatchObject(details);
    const [{ open, gaps }] = await sql()`
      select count(*)::int as open, (count(*) filter (where kind = 'gap'))::int as gaps
      from findings where state = 'open'`;
    expect(open).toBeGreaterThan(0);
    expect([totals.openFindings, totals.openGaps]).toEqual([open, gaps]);
    expect(symbols.find(({ symbol }) => symbol === 'late')?.openFindings).toBe(open);
  });

  test('is asked for once, until something is said to have changed', async () => {
    const reader = read();
    reader.isTrusted = true;
    const first = await reader.select();
    expect(await reader.select()).toBe(first);
    await sql()`update instruments set name = 'Good Company' where instrument_id = ${ids.GOOD}`;
    expect(await reader.select()).toBe(first);
    reader.drop([ids.GOOD]);
    const second = await reader.select();
    expect(second.version).not.toBe(first.version);
    expect(bySymbol(second).GOOD.name).toBe('Good Company');
    // The others are the same objects.
    expect(bySymbol(second).STALE).toBe(bySymbol(first).STALE);
    reader.clear();
    expect(await reader.select()).toBe(second);
  });

  test('is the same version as long as nothing in it differs', async () => {
    const reader = read();
    const { version } = await reader.select();
    expect((await reader.select()).version).toBe(version);
    reader.isTrusted = true;
    reader.drop([ids.GOOD]);
    expect((await reader.select()).version).toBe(version);
    reader.drop('all');
    expect((await reader.select()).version).toBe(version);
  });

  test('has no version that another process has, or this one had before', async () => {
    const versions = [await read().select(), await read().select(), await read().select()];
    expect(new Set(versions.map(({ version }) => version)).size).toBe(3);
  });

  test('finds symbols that are new, gone, and named otherwise', async () => {
    const reader = read();
    reader.isTrusted = true;
    await reader.select();
    const id = await addInstrument(sql(), 'NEW');
    reader.drop([id]);
    expect((await reader.select()).symbols.map(nameOf)).toContain('NEW');
    await deleteSymbols(sql(), ['NEW']);
    reader.drop([id]);
    expect((await reader.select()).symbols.map(nameOf)).not.toContain('NEW');
    const rest = { exchange: 'XNAS', assetType: 'CS', listedOn: null, delistedOn: null };
    await upsertDescriptions(sql(), [{ instrumentId: ids.GOOD, name: 'G', ...rest }]);
    reader.clear();
    expect(bySymbol(await reader.select()).GOOD).toMatchObject({ name: 'G', assetType: 'CS' });
  });

  test('puts off what may have changed everywhere, but not what somebody waits for', async () => {
    const reader = read(NOW, 3_600_000);
    reader.isTrusted = true;
    const first = await reader.select();
    await sql()`update instruments set name = 'Later' where instrument_id = ${ids.GOOD}`;
    reader.drop('all');
    expect(await reader.select()).toBe(first);
    reader.drop([ids.GOOD]);
    expect(bySymbol(await reader.select()).GOOD.name).toBe('Later');
    await sql()`update instruments set name = 'Last' where instrument_id = ${ids.GOOD}`;
    reader.clear();
    expect(bySymbol(await reader.select()).GOOD.name).toBe('Last');
  });

  test('never gives what was read before it was told of a change', async () => {
    const reader = read();
    reader.isTrusted = true;
    const early = reader.select();
    await sql()`update instruments set name = 'Told' where instrument_id = ${ids.GOOD}`;
    reader.clear();
    const late = reader.select();
    await early;
    expect(bySymbol(await late).GOOD.name).toBe('Told');
  });

  test('looks anew when another session is published', async () => {
    let nowMs = NOW;
    const options = { publishDelayMs: 0, now: () => nowMs };
    const reader = new OverviewReader(sql(), calendar, options);
    reader.isTrusted = true;
    const first = await reader.select();
    const next = calendar.sessionAt(calendar.sessionsBefore(toDay(LAST)) + 2);
    nowMs = Date.parse(`${toDate(next)}T23:30:00Z`);
    const second = await reader.select();
    expect(bySymbol(first).GOOD).toMatchObject({ sessionsBehind: 0, state: 'good' });
    expect(bySymbol(second).GOOD).toMatchObject({ sessionsBehind: 2, state: 'stale' });
  });

  test('tries again after a failure', async () => {
    const reader = read();
    reader.isTrusted = true;
    await reader.select();
    await sql()`alter table finding_counts rename to hidden`;
    reader.drop([ids.GOOD]);
    expect(reader.select()).rejects.toThrow('finding_counts');
    await sql()`alter table hidden rename to finding_counts`;
    await sql()`update instruments set name = 'Again' where instrument_id = ${ids.GOOD}`;
    expect(bySymbol(await reader.select()).GOOD.name).toBe('Again');
  });

  test('is sorted and filtered in memory', async () => {
    await upsertSymbols(sql(), ['GONE']);
    const { symbols } = await read().select();
    const list = (order: Partial<OverviewOrder>) =>
      arrangeOverview(symbols, { sort: 'symbol', direction: 'asc', ...order }).map(nameOf);
    const all = symbols.map(nameOf);
    expect(list({})).toEqual(all);
    expect(list({ direction: 'desc' })).toEqual(all.toReversed());
    expect(list({ q: ' gO' })).toEqual(['GONE', 'GOOD']);
    expect(list({ q: 'again' })).toEqual(['GOOD']);
    expect(list({ q: 'nothing is like that' })).toEqual([]);
    expect(list({ state: 'no_bars' })).toEqual(['GONE', 'NONE']);
    expect(list({ state: 'tracked' })).toEqual(all.filter((name) => name !== 'LEFT'));
    expect(list({ state: 'attention' })).toContain('FAILED');
    expect(list({ state: 'attention' })).not.toContain('GOOD');
    expect(list({ sort: 'state' })[0]).toBe('FAILED');
    expect(list({ sort: 'records' }).slice(0, 3)).toEqual(['FAILED', 'GONE', 'NONE']);
    // What is not known comes last, either way.
    expect(list({ sort: 'behind', direction: 'desc' }).slice(-3)).toEqual([
      ...['FAILED', 'GONE', 'NONE'],
    ]);
    expect(list({ sort: 'behind' }).slice(-3)).toEqual(['FAILED', 'GONE', 'NONE']);
    const changes = new Map([
      [ids.GOOD, -0.5],
      [ids.STALE, 0.25],
    ]);
    expect(list({ sort: 'change', changes }).slice(0, 2)).toEqual(['GOOD', 'STALE']);
    expect(list({ sort: 'change', direction: 'desc', changes }).slice(0, 2)).toEqual([
      ...['STALE', 'GOOD'],
    ]);
  });
});

describe('sorting', () => {
  test('keeps those alike in the order of their symbols', () => {
    const make = (symbol: string, average_quality: number | null) => ({ symbol, average_quality });
    const symbols = [make('A', 1), make('B', 0.5), make('C', 1), make('D', null)] as never;
    const sorted = (direction: 'asc' | 'desc') =>
      arrangeOverview(symbols, { sort: 'quality', direction }).map(nameOf);
    expect(sorted('asc')).toEqual(['B', 'A', 'C', 'D']);
    expect(sorted('desc')).toEqual(['A', 'C', 'B', 'D']);
  });
});
