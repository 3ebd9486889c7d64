import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeApp } from '../../src/http/app.ts';
import { openDatabase } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';

interface Day {
  date: string;
  weekday: string;
  is_session: boolean;
  open: string | null;
  close: string | null;
  early_close: boolean;
  reason: string | null;
}

interface CalendarAnswer {
  count: number;
  session_count: number;
  data: Day[];
}

interface Problem {
  error: { code: string; message: string; field?: string };
  request_id: string;
}

const TRUTH = join(
  import.meta.dir,
  '../../../shared/data/calendar/nyse_sessions_1990_2028_DERIVED.csv',
);
const HOSTILE = '<script>alert(1)</script>';
const status = (at: string) => `/api/v1/market/status?at=${encodeURIComponent(at)}`;
const calendar = (start: string, end: string) => `/api/v1/calendar?start=${start}&end=${end}`;

const EARLY_DAY = {
  date: '2026-11-27',
  weekday: 'Friday',
  is_session: true,
  open: '2026-11-27T14:30:00Z',
  close: '2026-11-27T18:00:00Z',
  open_new_york: '2026-11-27T09:30:00-05:00',
  close_new_york: '2026-11-27T13:00:00-05:00',
  early_close: true,
  pre_market_open: '2026-11-27T09:00:00Z',
  after_hours_close: '2026-11-27T22:00:00Z',
  reason: null,
};

describeEditions('market hours', (database) => {
  let server: TestServer;
  beforeAll(async () => {
    await database().sql`
      insert into calendar_overrides (date, kind, reason)
      values ('2027-05-05', 'closed', ${HOSTILE})`;
    server = await startServer(database().url);
  });
  afterAll(async () => {
    await server?.stop();
  });

  const json = <T>(path: string): Promise<T> => server.json(path);

  describe('GET /api/v1/market/status', () => {
    test('on a short day, with every field', async () => {
      expect(await json<object>(status('2026-11-27T12:59:59.999-05:00'))).toEqual({
        exchange: 'XNYS',
        timezone: 'America/New_York',
        timestamp: '2026-11-27T17:59:59.999Z',
        timestamp_new_york: '2026-11-27T12:59:59-05:00',
        zone: 'EST',
        status: 'open',
        is_open: true,
        session_part: 'regular',
        closure: null,
        reason: null,
        message: 'open until the early close at 13:00 EST',
        early_close: true,
        session: EARLY_DAY,
        next_open: '2026-11-30T14:30:00Z',
        next_open_new_york: '2026-11-30T09:30:00-05:00',
        next_close: '2026-11-27T18:00:00Z',
        next_close_new_york: '2026-11-27T13:00:00-05:00',
      });
    });

    const closed: [at: string, closure: string, reason: string, message: string][] = [
      [
        '2026-11-27T18:00:00Z',
        'after_close',
        'after_close',
        'closed: after the early close at 13:00 EST',
      ],
      [
        '2026-07-01T13:29:59Z',
        'before_open',
        'before_open',
        'closed: before the open at 09:30 EDT',
      ],
      ['2026-11-26T16:00:00Z', 'holiday', 'Thanksgiving Day', 'closed: Thanksgiving Day'],
      ['2026-11-28T16:00:00Z', 'weekend', 'weekend', 'closed: weekend (Saturday)'],
      ['2027-05-05T16:00:00Z', 'holiday', HOSTILE, `closed: ${HOSTILE}`],
    ];
    for (const [at, closure, reason, message] of closed) {
      test(`closed at ${at}: ${closure}`, async () => {
        const answer = await json<{ session: Day | null }>(status(at));
        expect(answer).toMatchObject({ status: 'closed', is_open: false });
        expect(answer).toMatchObject({ closure, reason, message });
        expect(answer.session === null).toBe(closure === 'holiday' || closure === 'weekend');
      });
    }

    test('is asked of now when no instant is given', async () => {
      const before = Date.now();
      const { timestamp } = await json<{ timestamp: string }>('/api/v1/market/status');
      expect(Date.parse(timestamp)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(timestamp)).toBeLessThanOrEqual(Date.now());
    });

    test('takes the plus of an address that is not encoded', async () => {
      const path = '/api/v1/market/status?at=2026-11-27T23:30:00+05:30';
      expect(await json<object>(path)).toMatchObject({ timestamp: '2026-11-27T18:00:00.000Z' });
    });

    test('knows nothing after the last session of the calendar', async () => {
      expect(await json<object>(status('2049-12-31T16:00:00-05:00'))).toMatchObject({
        next_open: null,
        next_open_new_york: null,
        next_close: null,
        next_close_new_york: null,
      });
    });
  });

  describe('GET /api/v1/calendar', () => {
    test('lists both ends, sessions only', async () => {
      const answer = await json<CalendarAnswer>(calendar('2026-11-25', '2026-11-27'));
      expect(answer).toMatchObject({
        exchange: 'XNYS',
        timezone: 'America/New_York',
        start_date: '2026-11-25',
        end_date: '2026-11-27',
        count: 2,
        session_count: 2,
      });
      expect(answer.data.map(({ date }) => date)).toEqual(['2026-11-25', '2026-11-27']);
      expect(answer.data[1]).toEqual(EARLY_DAY);
    });

    test('with closed=true lists every day, with the reason', async () => {
      const answer = await json<CalendarAnswer>(
        `${calendar('2026-11-26', '2026-11-29')}&closed=true`,
      );
      expect(answer).toMatchObject({ count: 4, session_count: 1 });
      expect(answer.data.map(({ weekday, reason }) => [weekday, reason])).toEqual([
        ['Thursday', 'Thanksgiving Day'],
        ['Friday', null],
        ['Saturday', 'weekend'],
        ['Sunday', 'weekend'],
      ]);
      expect(answer.data[0]).toEqual({
        date: '2026-11-26',
        weekday: 'Thursday',
        is_session: false,
        open: null,
        close: null,
        open_new_york: null,
        close_new_york: null,
        early_close: false,
        pre_market_open: null,
        after_hours_close: null,
        reason: 'Thanksgiving Day',
      } as Day);
    });

    test('agrees with every recorded session of three decades', async () => {
      const rows = readFileSync(TRUTH, 'utf8').trim().split('\n').slice(1);
      const found: string[] = [];
      for (const [start, end] of [
        ['1990-01-01', '1999-12-31'],
        ['2000-01-01', '2009-12-31'],
        ['2010-01-01', '2019-12-31'],
      ]) {
        const { data } = await json<CalendarAnswer>(calendar(start, end));
        for (const { date, open, close, early_close } of data) {
          found.push([date, open, close, early_close ? 1 : 0].join());
        }
      }
      const expected = rows.filter((row) => row < '2020');
      expect(found).toEqual(expected.map((row) => row.split(',').slice(0, 4).join()));
    });

    test('has what the operator put in, and the clock changes', async () => {
      const { data } = await json<CalendarAnswer>(
        `${calendar('2027-05-05', '2027-05-05')}&closed=1`,
      );
      expect(data).toMatchObject([{ is_session: false, reason: HOSTILE }]);
      const march = await json<CalendarAnswer>(calendar('2026-03-06', '2026-03-09'));
      expect(march.data.map(({ open }) => open)).toEqual([
        '2026-03-06T14:30:00Z',
        '2026-03-09T13:30:00Z',
      ]);
    });

    test('is empty, not an error, when no day is a session', async () => {
      const answer = await json<CalendarAnswer>(calendar('2026-11-28', '2026-11-29'));
      expect(answer).toMatchObject({ count: 0, session_count: 0, data: [] });
    });

    test('carries an ETag, and is compressed when the client asks', async () => {
      const path = calendar('2016-01-01', '2025-12-31');
      const plain = await server.get(path, { headers: { 'accept-encoding': 'identity' } });
      const etag = plain.headers.get('etag')!;
      expect(plain.headers.get('content-encoding')).toBeNull();
      const { count } = (await plain.json()) as CalendarAnswer;
      expect(count).toBe(2514);
      const headers = { 'accept-encoding': 'identity', 'if-none-match': etag };
      expect((await server.get(path, { headers })).status).toBe(304);
      const packed = await server.get(path, { headers: { 'accept-encoding': 'gzip' } });
      expect(packed.headers.get('content-encoding')).toBe('gzip');
      expect(((await packed.json()) as CalendarAnswer).count).toBe(count);
    });
  });

  const EXAMPLE = /for example 2024-01-31T14:30:00Z or 2024-01-31T09:30:00-05:00$/;
  const refused: [path: string, field: string, says: RegExp | string][] = [
    [status('2026-11-27T12:00:00'), 'at', EXAMPLE],
    [status('2026-11-27T12:00:00'), 'at', 'a time needs its zone'],
    [status('2026-11-27'), 'at', 'a date has no time'],
    [status('2026-02-30T12:00:00Z'), 'at', 'it does not exist'],
    [status('1795802400000'), 'at', EXAMPLE],
    [status(''), 'at', EXAMPLE],
    [`${status('2026-11-27T12:00:00Z')}&at=2026-11-28T12:00:00Z`, 'at', 'more than once'],
    [status('1989-12-31T12:00:00Z'), 'at', 'must be from 1990-01-01 to 2049-12-31'],
    [status('2050-01-01T05:00:00Z'), 'at', 'must be from 1990-01-01 to 2049-12-31'],
    ['/api/v1/calendar', 'start', 'start is missing: a date YYYY-MM-DD'],
    ['/api/v1/calendar?start=2026-01-01', 'end', 'end is missing: a date YYYY-MM-DD'],
    [calendar('2026-1-1', '2026-01-31'), 'start', 'written YYYY-MM-DD, for example 2024-01-31'],
    [calendar('2026-01-01', '2026-02-29'), 'end', 'a date that exists'],
    [calendar('2026-01-01T00:00:00Z', '2026-02-01'), 'start', 'a date that exists'],
    [calendar('2026-02-01', '2026-01-01'), 'end', 'lies before start (2026-02-01)'],
    [calendar('1989-12-31', '1990-01-01'), 'start', 'from 1990-01-01 to 2049-12-31'],
    [calendar('2049-12-31', '2050-01-01'), 'end', 'from 1990-01-01 to 2049-12-31'],
    [calendar('2016-01-01', '2026-01-08'), 'end', '3661 days: ask for at most 3660'],
    [`${calendar('2026-01-01', '2026-01-31')}&closed=maybe`, 'closed', 'must be true or false'],
    [`${calendar('2026-01-01', '2026-01-31')}&end=2026-02-28`, 'end', 'more than once'],
  ];
  for (const [path, field, says] of refused) {
    test(`refuses ${path}: ${says}`, async () => {
      const response = await server.get(path);
      expect([path, response.status]).toEqual([path, 422]);
      const { error, request_id } = (await response.json()) as Problem;
      expect(error).toMatchObject({ code: 'invalid_parameter', field });
      if (typeof says === 'string') expect(error.message).toContain(says);
      else expect(error.message).toMatch(says);
      expect(error.message).not.toMatch(/\n|\.ts|RangeError/);
      expect(request_id).toBe(response.headers.get('x-request-id')!);
    });
  }

  test('takes ten years to the day', async () => {
    const answer = await json<CalendarAnswer>(`${calendar('2016-01-01', '2026-01-07')}&closed=on`);
    expect(answer.count).toBe(3660);
  });
});

test('market hours are told while the database is away', async () => {
  const database = openDatabase('postgres://marketd@127.0.0.1:1/marketd');
  const app = makeApp(makeAppContext(database, 'plain')).listen({ hostname: '127.0.0.1', port: 0 });
  const get = (path: string) => fetch(`http://127.0.0.1:${app.server!.port}${path}`);
  try {
    expect((await get('/health')).status).toBe(503);
    expect((await get(status('2026-11-27T12:00:00Z'))).status).toBe(200);
    expect((await get(calendar('2026-11-01', '2026-11-30'))).status).toBe(200);
  } finally {
    await app.stop(true);
    await database.close();
  }
});
