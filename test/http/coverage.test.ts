import { afterAll, beforeAll, expect, test } from 'bun:test';
import { calendarAnswer } from '../../src/http/market.ts';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import type { Sql } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { calendar, flatBar } from '../fixtures/bars.ts';
import {
  FIRST,
  fillWarehouse,
  LAST,
  startServer,
  storeAnswers,
  type TestServer,
} from '../fixtures/http-server.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, ingestOptions } from '../fixtures/warehouse.ts';

interface Range {
  start: string;
  end: string;
  state: string;
  sessions: number;
  message: string | null;
  detail: string | null;
  provider: string | null;
  asked_at: string | null;
  attempts: number;
  retry_at: string | null;
}

interface Answer {
  symbol: string;
  timeframe: string;
  start_date: string;
  end_date: string;
  latest_session: string;
  listed_on: string | null;
  totals: Record<string, number>;
  count: number;
  ranges: Range[];
  off_session: { count: number; bars: { date: string; reason: string }[] };
  closures?: { start: string; end: string; days: number; reason: string }[];
}

const sessionsBetween = (first: string, last: string) =>
  calendar.sessions(toDay(first), toDay(last)).length;

/** LISTED is known by its listing alone; REUSED was the symbol of two companies. */
async function addListings(sql: Sql): Promise<void> {
  const [listed, before, after] = [
    await addInstrument(sql, 'LISTED'),
    await addInstrument(sql, 'BEFORE'),
    await addInstrument(sql, 'AFTER'),
  ];
  await sql`
    insert into symbol_ranges (instrument_id, symbol, valid_from, valid_to)
    values (${before}, 'REUSED', '2010-01-01', '2015-01-01'),
           (${after}, 'REUSED', '2020-01-01', 'infinity')`;
  await sql`
    update instruments i set listed_on = l.day
    from (values (${listed}::int, date '2025-01-06'), (${before}, '2010-01-04'),
                 (${after}, '2020-01-02')) as l(id, day)
    where i.instrument_id = l.id`;
}

describeEditions('GET /api/v1/coverage/{symbol}', (database) => {
  let server: TestServer;
  const get = (symbol: string, query = '') =>
    server.json<Answer>(`/api/v1/coverage/${encodeURIComponent(symbol)}?${query}`);

  beforeAll(async () => {
    const { sql, url } = database();
    await fillWarehouse(sql);
    const holey = await addInstrument(sql, 'HOLEY');
    const days = ['2023-07-03', '2023-07-04', '2023-07-06', '2023-07-07', '2023-07-08'];
    await storeAnswers(sql, [
      {
        symbol: 'HOLEY',
        bars: days.map((day) => flatBar(day)),
        asked: ['2023-07-03', '2023-07-07'],
      },
    ]);
    await sql`delete from bars_1d where instrument_id = ${holey} and session = '2023-07-06'`;
    const spy = await addInstrument(sql, 'SPY');
    const bars = toIntradayColumns(readSpyMinutes());
    await ingestIntraday(
      sql,
      [
        {
          ...{ instrumentId: spy, symbol: 'SPY', bars, rejected: [], listedOn: null },
          asked: [{ firstDay: toDay('2024-02-16'), lastDay: toDay('2024-05-17') }],
        },
      ],
      { ...ingestOptions(), receivedAt: Date.parse('2024-06-03T12:00:00Z'), timeframe: '1m' },
    );
    await addListings(sql);
    server = await startServer(url);
  });
  afterAll(() => server?.stop());

  test('is one range where every session has its bar', async () => {
    const answer = await get('AAPL', `start=${FIRST}&end=${LAST}`);
    const sessions = sessionsBetween(FIRST, LAST);
    expect(answer).toMatchObject({
      ...{ symbol: 'AAPL', timeframe: '1d', start_date: FIRST, end_date: LAST, count: 1 },
      ...{ listed_on: null, off_session: { count: 0, bars: [] } },
    });
    expect(answer.totals).toEqual({
      ...{ sessions, complete: sessions, missing: 0, vendor_empty: 0, not_entitled: 0 },
      ...{ before_listing: 0, after_delisting: 0, unfetched: 0 },
    });
    expect(answer.ranges).toEqual([
      {
        ...{ start: FIRST, end: LAST, state: 'complete', sessions, message: null, detail: null },
        ...{ provider: 'polygon', asked_at: '2024-02-01T12:00:00.000Z', attempts: 1 },
        retry_at: null,
      },
    ]);
    expect(answer).not.toHaveProperty('closures');
  });

  test('says why each other session has none, and which bars have no session', async () => {
    const answer = await get('HOLEY', 'end=2023-07-11');
    expect(answer.start_date).toBe('2023-07-03');
    expect(answer.ranges.map(({ start, end, state }) => [start, end, state])).toEqual([
      ['2023-07-03', '2023-07-03', 'complete'],
      ['2023-07-05', '2023-07-05', 'vendor_empty'],
      ['2023-07-06', '2023-07-06', 'missing'],
      ['2023-07-07', '2023-07-07', 'complete'],
      ['2023-07-10', '2023-07-11', 'unfetched'],
    ]);
    expect(answer.ranges[1]).toMatchObject({
      ...{ attempts: 1, provider: 'polygon', asked_at: '2024-02-01T12:00:00.000Z' },
      ...{ retry_at: '2024-02-02T08:00:00.000Z', detail: null },
      message: 'the provider was asked and gave no bar; it is asked again',
    });
    expect(answer.ranges[4]).toMatchObject({
      ...{ sessions: 2, provider: null, asked_at: null, attempts: 0, retry_at: null },
      message: 'these sessions were never asked for',
    });
    expect(answer.totals).toMatchObject({ sessions: 6, complete: 2, missing: 1, unfetched: 2 });
    expect(answer.off_session).toEqual({
      count: 2,
      bars: [
        { date: '2023-07-04', reason: 'Independence Day' },
        { date: '2023-07-08', reason: 'weekend' },
      ],
    });
  });

  test('has the reason of each state, in the words of an empty answer', async () => {
    const range = 'start=2023-01-03&end=2023-01-31';
    for (const symbol of ['EMPTY', 'REFUSED', 'NEWCO', 'UNASKED']) {
      const { ranges } = await get(symbol, range);
      const bars = await server.json<{ reason: string; message: string }>(
        `/api/v1/historical/${symbol}?${range}`,
      );
      expect([symbol, ranges.length]).toEqual([symbol, 1]);
      expect([ranges[0]!.state, ranges[0]!.message!]).toEqual([bars.reason, bars.message]);
    }
    const refused = (await get('REFUSED', range)).ranges[0];
    expect(refused).toMatchObject({ state: 'not_entitled', detail: 'your plan begins in 2024' });
  });

  test('reaches to the latest session when nothing is said, and from the first known', async () => {
    const known = await get('MSFT');
    expect(known.start_date).toBe('2023-01-03');
    expect(known.end_date).toBe(known.latest_session);
    expect(known.ranges.map(({ state }) => state)).toEqual(['complete', 'unfetched']);
    const unasked = await get('UNASKED');
    expect([unasked.start_date, unasked.end_date]).toEqual([
      unasked.latest_session,
      unasked.latest_session,
    ]);
    expect(unasked.totals).toMatchObject({ sessions: 1, unfetched: 1 });
    const future = await get('MSFT', 'start=2049-12-30');
    expect([future.start_date, future.end_date]).toEqual(['2049-12-30', '2049-12-30']);
    expect(future.ranges[0]!.message).toBe('these sessions have not been published yet');
    const past = await get('MSFT', 'end=2001-01-05');
    expect([past.start_date, past.end_date]).toEqual(['2001-01-05', '2001-01-05']);
  });

  test('begins with the listing where nothing was asked for', async () => {
    const answer = await get('LISTED', 'end=2025-01-07');
    expect([answer.start_date, answer.listed_on]).toEqual(['2025-01-06', '2025-01-06']);
    expect(answer.totals).toMatchObject({ sessions: 2, unfetched: 2 });
  });

  test('lists closed days on request, the days of a weekend as one', async () => {
    const { closures } = await get('AAPL', 'start=2023-07-01&end=2023-09-04&closures=true');
    expect(closures!.slice(0, 3)).toEqual([
      { start: '2023-07-01', end: '2023-07-02', days: 2, reason: 'weekend' },
      { start: '2023-07-04', end: '2023-07-04', days: 1, reason: 'Independence Day' },
      { start: '2023-07-08', end: '2023-07-09', days: 2, reason: 'weekend' },
    ]);
    expect(closures!.at(-1)).toMatchObject({ start: '2023-09-04', reason: 'Labor Day' });
    const [first, last] = [toDay('2023-07-01'), toDay('2023-09-04')];
    const all = calendarAnswer(calendar, first, last, true);
    const days = closures!.reduce((sum, closure) => sum + closure.days, 0);
    expect(days).toBe(all.count - all.session_count);
  });

  test('of a weekend is closed, without a session', async () => {
    const answer = await get('AAPL', 'start=2023-07-01&end=2023-07-02');
    expect(answer.totals.sessions).toBe(0);
    expect(answer.ranges).toMatchObject(
      [{ state: 'closed', sessions: 0, message: /weekend/, start: '2023-07-01' }].map((range) => ({
        ...range,
        message: expect.stringMatching(range.message),
      })),
    );
  });

  test('below a day is of sessions with any bar', async () => {
    const answer = await get('SPY', 'timeframe=1m&end=2024-05-20');
    expect(answer.ranges.map(({ start, end, state }) => [start, end, state])).toEqual([
      ['2024-02-16', '2024-02-16', 'vendor_empty'],
      ['2024-02-20', '2024-05-17', 'complete'],
      ['2024-05-20', '2024-05-20', 'unfetched'],
    ]);
    expect(answer.totals.complete).toBe(63);
    expect((await get('SPY', 'timeframe=1h&start=2024-05-17&end=2024-05-17')).ranges).toMatchObject(
      [{ state: 'unfetched', sessions: 1 }],
    );
  });

  test('is of whom the symbol was at the end of the range, or as of a day', async () => {
    const listed = async (query: string) => (await get('REUSED', query)).listed_on;
    expect(await listed('start=2014-01-02&end=2014-01-31')).toBe('2010-01-04');
    expect(await listed('start=2024-01-02&end=2024-01-31')).toBe('2020-01-02');
    expect(await listed('start=2024-01-02&end=2024-01-31&asof=2012-01-03')).toBe('2010-01-04');
    expect(await listed('')).toBe('2020-01-02');
  });

  test('has a tag, and is not sent again to who has it', async () => {
    const path = `/api/v1/coverage/AAPL?start=${FIRST}&end=${LAST}`;
    const etag = (await server.get(path)).headers.get('etag') ?? '';
    const again = await server.get(path, { headers: { 'if-none-match': etag } });
    expect([etag.length > 4, again.status]).toEqual([true, 304]);
  });

  test.each([
    ['/api/v1/coverage/NOPE', 404, 'unknown_symbol', 'symbol'],
    ['/api/v1/coverage/A%27B', 422, 'invalid_parameter', 'symbol'],
    ['/api/v1/coverage/AAPL?timeframe=5m', 422, 'invalid_parameter', 'timeframe'],
    ['/api/v1/coverage/AAPL?start=2024-02-30', 422, 'invalid_parameter', 'start'],
    ['/api/v1/coverage/AAPL?start=1989-12-29', 422, 'invalid_parameter', 'start'],
    ['/api/v1/coverage/AAPL?end=2150-01-01', 422, 'invalid_parameter', 'end'],
    ['/api/v1/coverage/AAPL?end=tomorrow', 422, 'invalid_parameter', 'end'],
    ['/api/v1/coverage/AAPL?asof=now', 422, 'invalid_parameter', 'asof'],
    ['/api/v1/coverage/AAPL?start=2024-02-02&end=2024-02-01', 422, 'invalid_parameter', 'end'],
    ['/api/v1/coverage/AAPL?closures=maybe', 422, 'invalid_parameter', 'closures'],
    ['/api/v1/coverage/AAPL?start=2024-02-01&start=2024-02-02', 422, 'invalid_parameter', 'start'],
  ])('%s is refused', async (path, status, code, field) => {
    const response = await server.get(path);
    const body = (await response.json()) as { error: { code: string; field: string } };
    expect([response.status, body.error.code, body.error.field]).toEqual([status, code, field]);
  });

  test('knows today only once it is published', async () => {
    const { latest_session } = await get('AAPL');
    const latest = calendar.latestSession(Date.now(), server.config.PUBLISH_DELAY_MINUTES * 60_000);
    expect(latest_session).toBe(toDate(latest));
  });
});
