import { afterAll, beforeAll, expect, test } from 'bun:test';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { describeEditions } from '../database.ts';
import { type Bar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';
import { toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, ingest, ingestOptions } from '../fixtures/warehouse.ts';

interface Version {
  close: number;
  volume: number;
  quality_score: number;
  flags: string[];
  received_at: string;
  replaced_at: string | null;
}

interface Revision {
  symbol: string;
  timeframe: string;
  time: string;
  session: string;
  reason: string;
  true_from: string;
  old: Version;
  replaced_by: Version | null;
  change_pct: Record<string, number | null>;
}

interface Answer {
  count: number;
  revisions: Revision[];
  next_cursor: string | null;
  error: { code: string; field: string; message: string };
}

/** Evenings on which the provider was asked. */
const EVENING = [
  '2024-03-01T23:00:00.000Z',
  '2024-03-04T23:00:00.000Z',
  '2024-03-05T23:00:00.000Z',
];
const at = (evening: number) => ({ receivedAt: Date.parse(EVENING[evening]) });
const SESSIONS = sessionsFrom('2024-02-20', 9);
const MINUTE = Date.parse('2024-02-20T14:30:00Z');
const cursorOf = (text: string) => Buffer.from(text).toString('base64url');

describeEditions('GET /api/v1/revisions', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    const { sql, url } = database();
    const aapl = await addInstrument(sql, 'AAPL');
    const store = (id: number, bars: Bar[], evening: number) =>
      ingest(sql, id, bars, {}, at(evening));
    await store(
      aapl,
      SESSIONS.map((session) => flatBar(session, { vwap: 100 })),
      0,
    );
    // Restated twice on one session, once on another; the third day repeats what is known.
    const first = flatBar(SESSIONS[2], { close: 100.5, high: 101, vwap: 100.25 });
    await store(aapl, [first, flatBar(SESSIONS[3], { vwap: 100, volume: 900 })], 1);
    await store(aapl, [{ ...first, volume: 1500, vwap: 100 }], 2);
    await store(aapl, [{ ...first, volume: 1500, vwap: 100 }], 2);
    // A gap that is none when the session before it has come: only its score changes.
    const late = await addInstrument(sql, 'LATE');
    const halved = { open: 50, high: 50, low: 50, close: 50 };
    const halves = SESSIONS.map((session, i) => flatBar(session, i < 4 ? {} : halved));
    await store(
      late,
      halves.filter((_, i) => i !== 4),
      0,
    );
    await store(late, [halves[4]], 1);
    const spy = await addInstrument(sql, 'SPY');
    const minute = { ts: MINUTE, open: 500, high: 500, low: 500, close: 500, volume: 10 };
    for (const [evening, volume] of [10, 12].entries()) {
      const bars = toIntradayColumns([{ ...minute, volume }]);
      const item = { instrumentId: spy, symbol: 'SPY', bars, rejected: [], listedOn: null };
      const options = { ...ingestOptions(at(evening)), timeframe: '1m' as const };
      await ingestIntraday(sql, [item], options);
    }
    await addInstrument(sql, 'QUIET');
    server = await startServer(url);
  });
  afterAll(() => server?.stop());

  const get = async (query = '') => {
    const response = await server.get(`/api/v1/revisions${query}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };
  const list = async (query: string) => {
    const { status, body } = await get(query);
    expect([query, status]).toEqual([query, 200]);
    expect(body.count).toBe(body.revisions.length);
    return body.revisions;
  };

  test('tells what a bar said, from when until when, and what it said next', async () => {
    const all = await list('?symbol=aapl');
    const [second, first] = all.filter(({ session }) => session === SESSIONS[2]);
    const [other] = all.filter(({ session }) => session === SESSIONS[3]);
    expect([all.length, first.symbol, first.time]).toEqual([
      ...[3, 'AAPL', `${SESSIONS[2]}T00:00:00Z`],
    ]);
    expect(first).toMatchObject({
      ...{ timeframe: '1d', reason: 'values', true_from: EVENING[0] },
      old: {
        ...{ open: 100, high: 100, close: 100, volume: 1000, vwap: 100, trade_count: null },
        ...{ quality_score: 1, flags: [], is_final: false, provider: 'vendor' },
        ...{ received_at: EVENING[0], replaced_at: EVENING[1] },
      },
      replaced_by: { close: 100.5, received_at: EVENING[1], replaced_at: EVENING[2] },
      change_pct: { open: 0, high: 1, low: 0, close: 0.5, volume: 0, vwap: 0.25 },
    });
    expect(second).toMatchObject({
      true_from: EVENING[1],
      old: { close: 100.5, volume: 1000, vwap: 100.25, replaced_at: EVENING[2] },
      replaced_by: { volume: 1500, vwap: 100, received_at: EVENING[2], replaced_at: null },
      change_pct: { close: 0, volume: 50, vwap: -0.2494 },
    });
    expect(other).toMatchObject({ change_pct: { volume: -10 } });
  });

  test('has those of all symbols and lengths, the latest change first', async () => {
    const all = await list('');
    expect(all.map((one) => [one.symbol, one.timeframe, one.old.replaced_at])).toEqual([
      ['AAPL', '1d', EVENING[2]],
      ['SPY', '1m', EVENING[1]],
      ['AAPL', '1d', EVENING[1]],
      ['AAPL', '1d', EVENING[1]],
    ]);
    const [minute] = await list('?timeframe=1m');
    expect(minute).toMatchObject({
      ...{ symbol: 'SPY', time: '2024-02-20T14:30:00Z', session: '2024-02-20' },
      ...{ old: { volume: 10 }, replaced_by: { volume: 12 }, change_pct: { volume: 20 } },
    });
    expect(await list('?timeframe=1d')).toHaveLength(3);
    expect(await list('?symbol=QUIET')).toEqual([]);
  });

  test('tells apart what was restated and what was only scored otherwise', async () => {
    const [scored] = await list('?symbol=LATE&reason=score');
    expect(scored).toMatchObject({
      ...{ reason: 'score', session: SESSIONS[5], true_from: EVENING[0] },
      old: { quality_score: 0.8, flags: ['gap', 'gap_unexplained'], replaced_at: EVENING[1] },
      replaced_by: { quality_score: 1, flags: [], received_at: EVENING[0] },
      change_pct: { open: 0, volume: 0 },
    });
    expect(await list('?symbol=LATE')).toEqual([]);
    const all = await list('?reason=all');
    expect(new Set(all.map(({ reason }) => reason))).toEqual(new Set(['values', 'score']));
    const order = all.map(({ old }) => old.replaced_at!);
    expect(order).toEqual([...order].sort().reverse());
  });

  test('is narrowed to sessions, both inclusive', async () => {
    const sessions = async (query: string) =>
      (await list(`?symbol=AAPL&${query}`)).map(({ session }) => session);
    expect(await sessions(`start=${SESSIONS[3]}`)).toEqual([SESSIONS[3]]);
    expect(await sessions(`end=${SESSIONS[2]}`)).toEqual([SESSIONS[2], SESSIONS[2]]);
    expect(await sessions(`start=${SESSIONS[4]}&end=${SESSIONS[8]}`)).toEqual([]);
  });

  test('gives each once, page by page, also those that ended in one instant', async () => {
    const whole = await list('?reason=all');
    expect(whole.length).toBeGreaterThan(4);
    const paged: Revision[] = [];
    let query = '?reason=all&limit=1';
    for (;;) {
      const { body } = await get(query);
      expect(body.count).toBe(1);
      paged.push(...body.revisions);
      if (body.next_cursor === null) break;
      query = `?reason=all&limit=1&cursor=${body.next_cursor}`;
    }
    expect(paged).toEqual(whole);
  });

  test('says that there is no bar any more when that is so', async () => {
    const { sql } = database();
    const gone = await addInstrument(sql, 'GONE');
    await ingest(sql, gone, [flatBar(SESSIONS[0])], {}, at(0));
    await ingest(sql, gone, [flatBar(SESSIONS[0], { volume: 0 })], {}, at(1));
    await ingest(sql, gone, [flatBar(SESSIONS[0], { volume: 5 })], {}, at(2));
    await sql`delete from bars_1d where instrument_id = ${gone}`;
    const [last, first] = await list('?symbol=GONE');
    expect(last).toMatchObject({ replaced_by: null, change_pct: { open: null, volume: null } });
    expect(first.replaced_by).toMatchObject({ volume: 0, vwap: null });
    expect(first.change_pct).toMatchObject({ open: 0, volume: -100, vwap: null });
    await sql`delete from bar_revisions where instrument_id = ${gone}`;
  });

  test.each([
    ['?symbol=NOPE', 404, 'unknown_symbol', 'symbol'],
    ['?symbol=', 422, 'invalid_parameter', 'symbol'],
    ['?timeframe=1w', 422, 'invalid_parameter', 'timeframe'],
    ['?reason=price', 422, 'invalid_parameter', 'reason'],
    ['?start=2024-02-30', 422, 'invalid_parameter', 'start'],
    ['?end=yesterday', 422, 'invalid_parameter', 'end'],
    ['?start=2024-02-02&end=2024-02-01', 422, 'invalid_parameter', 'end'],
    ['?symbol=AAPL&asof=2024', 422, 'invalid_parameter', 'asof'],
    ['?limit=0', 422, 'invalid_parameter', 'limit'],
    ['?timeframe=', 422, 'invalid_parameter', 'timeframe'],
    ['?limit=1001', 422, 'invalid_parameter', 'limit'],
    ['?limit=1&limit=2', 422, 'invalid_parameter', 'limit'],
    ['?cursor=zzz', 422, 'invalid_parameter', 'cursor'],
    [`?cursor=${cursorOf('t1.1.1')}`, 422, 'invalid_parameter', 'cursor'],
    [`?cursor=${cursorOf('r1.9007199254740991.1')}`, 422, 'invalid_parameter', 'cursor'],
  ])('%s is refused', async (query, status, code, field) => {
    const answer = await get(query);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ code, field });
  });
});
