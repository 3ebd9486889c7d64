import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { newYorkDay, newYorkInstant, toDate } from '../../src/model/session.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { startServer, storeAnswers, type TestServer, until } from '../fixtures/http-server.ts';

interface Day {
  date: string;
  is_session: boolean;
  open: string | null;
  close: string | null;
  early_close: boolean;
  reason: string | null;
}

interface Override {
  date: string;
  kind: string;
  open: string | null;
  close: string | null;
  reason: string;
  made_by: string | null;
  made_at: string | null;
}

interface ChangeAnswer {
  changed: boolean;
  dry_run: boolean;
  override: Override | null;
  replaced: Override | null;
  day_before: Day;
  day: Day;
  held: { daily: number; intraday: number; waiting: number };
  effects: string[];
}

interface Problem {
  error: { code: string; message: string; field?: string };
}

interface History {
  count: number;
  data: { time: string; quality_score: number }[];
  absent: { count: number; ranges: { start: string; reason: string }[] };
}

const HOSTILE = '<script>alert(1)</script> "Blizzard" & co';
const path = (date: string, query = '') => `/api/v1/admin/calendar/overrides/${date}${query}`;
const LIST = '/api/v1/admin/calendar/overrides';
const day = (date: string) => `/api/v1/calendar?start=${date}&end=${date}&closed=true`;

describeEditions('overrides of the calendar', (database) => {
  let here: TestServer;
  let elsewhere: TestServer;

  beforeAll(async () => {
    await upsertSymbols(database().sql, ['HELD', 'LACKS']);
    const sessions = ['2023-05-09', '2023-05-10', '2023-05-11', '2023-05-12'];
    const asked: [string, string] = ['2023-05-09', '2023-05-12'];
    const bars = sessions.map((session) => flatBar(session));
    await storeAnswers(database().sql, [
      { symbol: 'HELD', bars, asked },
      { symbol: 'LACKS', bars: bars.filter(({ session }) => session !== '2023-05-10'), asked },
    ]);
    // Two processes on one database.
    here = await startServer(database().url);
    elsewhere = await startServer(database().url);
  });
  afterAll(async () => {
    await here?.stop();
    await elsewhere?.stop();
  });
  beforeEach(async () => {
    const { overrides } = await here.json<{ overrides: Override[] }>(LIST);
    for (const { date } of overrides) await remove(date);
    await database().sql`delete from audit_log`;
  });

  const send = (method: string, date: string, body?: unknown, query = '') =>
    here.get(path(date, query), {
      method,
      ...(body !== undefined && {
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    });
  const put = async (date: string, body: object, query = ''): Promise<ChangeAnswer> => {
    const response = await send('PUT', date, body, query);
    expect([date, response.status]).toEqual([date, 200]);
    return (await response.json()) as ChangeAnswer;
  };
  const remove = async (date: string, query = ''): Promise<ChangeAnswer> => {
    const response = await send('DELETE', date, undefined, query);
    expect([date, response.status]).toEqual([date, 200]);
    return (await response.json()) as ChangeAnswer;
  };
  const dayAt = async (server: TestServer, date: string) =>
    (await server.json<{ data: Day[] }>(day(date))).data[0];

  test('begin with none', async () => {
    expect(await here.json<object>(LIST)).toEqual({ count: 0, overrides: [] });
  });

  test('close a day, with every field', async () => {
    const answer = await put('2027-05-05', { kind: 'closed', reason: ` ${HOSTILE} ` });
    const override = {
      ...{ date: '2027-05-05', kind: 'closed', open: null, close: null, reason: HOSTILE },
      ...{ made_by: 'http 127.0.0.1', made_at: expect.stringMatching(/^20\d\d-.*Z$/) },
    };
    expect(answer).toMatchObject({ changed: true, dry_run: false, override, replaced: null });
    expect(answer.day_before).toMatchObject({ is_session: true, open: '2027-05-05T13:30:00Z' });
    expect(answer.day).toMatchObject({ is_session: false, open: null, reason: HOSTILE });
    expect(answer.held).toEqual({ daily: 0, intraday: 0, waiting: 2 });
    expect(answer.effects).toEqual([
      `Wednesday 2027-05-05 becomes closed all day (${HOSTILE}) instead of 09:30 to 16:00 EDT`,
      'no bar of that day is held',
    ]);
    const list = await here.json<{ count: number; overrides: Override[] }>(LIST);
    expect(list).toEqual({ count: 1, overrides: [override] } as never);
  });

  test('are taken by every process that runs, without a restart', async () => {
    expect(await dayAt(elsewhere, '2027-05-06')).toMatchObject({ is_session: true });
    await put('2027-05-06', { kind: 'session', open: '11:00', close: '15:00', reason: 'Storm' });
    // By the one that was asked at once, by others when they are told.
    const hours = { open: '2027-05-06T15:00:00Z', close: '2027-05-06T19:00:00Z' };
    expect(await dayAt(here, '2027-05-06')).toMatchObject({ ...hours, early_close: true });
    await until(async () => (await dayAt(elsewhere, '2027-05-06')).early_close || undefined);
    const at = encodeURIComponent('2027-05-06T10:00:00-04:00');
    for (const server of [here, elsewhere]) {
      expect(await server.json<object>(`/api/v1/market/status?at=${at}`)).toMatchObject({
        ...{ is_open: false, closure: 'before_open', next_open: '2027-05-06T15:00:00Z' },
        message: 'closed: before the open at 11:00 EDT',
      });
    }
    await remove('2027-05-06');
    expect(await dayAt(here, '2027-05-06')).toMatchObject({ open: '2027-05-06T13:30:00Z' });
    await until(async () => !(await dayAt(elsewhere, '2027-05-06')).early_close || undefined);
  });

  test('bear on what is absent, also in answers that were kept', async () => {
    const query = 'start=2023-05-09&end=2023-05-12&validated_only=false';
    const history = (server: TestServer) =>
      server.json<History>(`/api/v1/historical/LACKS?${query}`);
    const coverage = async (server: TestServer) => {
      const found = await server.json<{ totals: Record<string, number> }>(
        '/api/v1/coverage/LACKS?start=2023-05-09&end=2023-05-12',
      );
      return found.totals;
    };
    // Asked for often enough to be kept.
    for (let i = 0; i < 3; i++) {
      for (const server of [here, elsewhere]) {
        const { count, absent } = await history(server);
        expect({ count, absent: absent.count }).toEqual({ count: 3, absent: 1 });
      }
    }
    expect(await coverage(here)).toMatchObject({ complete: 3 });
    const { effects, held } = await put('2023-05-10', { kind: 'closed', reason: 'Blizzard' });
    expect(held).toEqual({ daily: 1, intraday: 0, waiting: 1 });
    expect(effects).toEqual([
      'Wednesday 2023-05-10 becomes closed all day (Blizzard) instead of 09:30 to 16:00 EDT',
      '1 symbol has a daily bar of that day: it stays and is served as before, and from now on ' +
        'counts as of a day without a session',
      'it is no longer missing for 1 symbol',
    ]);
    expect((await history(here)).absent).toEqual({ count: 0, ranges: [] });
    await until(async () => (await history(elsewhere)).absent.count === 0 || undefined);
    // What is held of the day is served as before.
    const held2 = await here.json<History>(`/api/v1/historical/HELD?${query}`);
    expect(held2.count).toBe(4);
    expect(held2.absent.count).toBe(0);
    const removed = await remove('2023-05-10');
    expect(removed.effects[1]).toBe(
      'the session becomes due: 1 symbol has no bar of it, and the next backfill asks for it',
    );
    expect((await history(here)).absent.count).toBe(1);
    await until(async () => (await history(elsewhere)).absent.count === 1 || undefined);
  });

  test('make a session of a day that is none, and say what becomes due', async () => {
    const saturday = await put('2023-05-13', { kind: 'session', close: '13:00', reason: 'Drill' });
    expect(saturday.day).toMatchObject({ close: '2023-05-13T17:00:00Z', early_close: true });
    expect(saturday.effects).toEqual([
      'Saturday 2023-05-13 becomes 09:30 to 13:00 EDT instead of closed all day (weekend)',
      'the session becomes due: 2 symbols have no bar of it, and the next backfill asks for it',
    ]);
    const later = await put('2048-01-04', { kind: 'session', reason: 'Drill' });
    expect(later.effects[1]).toBe('the session becomes due for 2 symbols once it is over');
  });

  test('are written into the audit log, once', async () => {
    const body = { kind: 'closed', reason: 'Blizzard' };
    expect((await put('2027-05-05', body)).changed).toBe(true);
    expect((await put('2027-05-05', body)).changed).toBe(false);
    const session = { kind: 'session', close: '13:00', reason: 'Blizzard' };
    const { replaced } = await put('2027-05-05', session);
    expect(replaced).toMatchObject({ kind: 'closed', made_by: 'http 127.0.0.1' });
    // The usual time said is the usual time left out.
    expect((await put('2027-05-05', { ...session, open: '09:30' })).changed).toBe(false);
    await remove('2027-05-05');
    const { entries } = await here.json<{ entries: object[] }>('/api/v1/audit');
    const closed = { date: '2027-05-05', kind: 'closed', reason: 'Blizzard' };
    const short = { date: '2027-05-05', ...session };
    const by = { actor: 'http 127.0.0.1', symbol: null };
    expect(entries).toMatchObject([
      {
        ...{ ...by, action: 'calendar.remove', target: '2027-05-05 09:30 to 13:00: Blizzard' },
        detail: { before: short, after: null },
      },
      {
        ...{ ...by, action: 'calendar.override', target: '2027-05-05 09:30 to 13:00: Blizzard' },
        detail: { before: closed, after: short },
      },
      {
        ...{ ...by, action: 'calendar.override', target: '2027-05-05 closed: Blizzard' },
        detail: { before: null, after: closed },
      },
    ]);
    expect(entries).toHaveLength(3);
  });

  test('with dry_run are only told', async () => {
    const body = { kind: 'closed', reason: 'Blizzard' };
    const told = await put('2027-05-05', body, '?dry_run=true');
    expect(told).toMatchObject({ changed: false, dry_run: true, replaced: null });
    expect(told.override).toMatchObject({ ...body, made_by: null, made_at: null });
    expect(told.day).toMatchObject({ is_session: false, reason: 'Blizzard' });
    expect(await here.json<object>(LIST)).toMatchObject({ count: 0 });
    await put('2027-05-05', body);
    const removal = await remove('2027-05-05', '?dry_run=true');
    expect(removal).toMatchObject({ changed: false, dry_run: true, override: null });
    expect(removal.day).toMatchObject({ is_session: true });
    expect(await here.json<object>(LIST)).toMatchObject({ count: 1 });
    expect(await dayAt(here, '2027-05-05')).toMatchObject({ is_session: false });
  });

  test('reach from the first day of the calendar to the last', async () => {
    await put('1990-01-01', { kind: 'session', reason: 'Drill' });
    await put('2049-12-31', { kind: 'closed', reason: 'Drill' });
    expect(await dayAt(here, '1990-01-01')).toMatchObject({ open: '1990-01-01T14:30:00Z' });
    const at = encodeURIComponent('2049-12-30T16:00:00-05:00');
    expect(await here.json<object>(`/api/v1/market/status?at=${at}`)).toMatchObject({
      ...{ next_open: null, next_close: null },
    });
    expect((await put('1990-01-02', { kind: 'closed', reason: 'Drill' })).day.reason).toBe('Drill');
  });

  test('are of New York time, also on the days when clocks are set', async () => {
    const open = async (date: string, from: string, to: string) => {
      const body = { kind: 'session', open: from, close: to, reason: 'Drill' };
      const { day: found } = await put(date, body);
      return [found.open, found.close];
    };
    expect(await open('2027-03-14', '01:30', '03:30')).toEqual([
      '2027-03-14T06:30:00Z',
      '2027-03-14T07:30:00Z',
    ]);
    expect(await open('2027-11-07', '00:00', '23:59')).toEqual([
      '2027-11-07T04:00:00Z',
      '2027-11-08T04:59:00Z',
    ]);
  });

  const session = { kind: 'session', reason: 'Drill' };
  const refused: [string, string, unknown, string, string][] = [
    ['no date', 'tomorrow', session, 'date', 'date is "tomorrow": it must be a real date'],
    ['a date that never is', '2027-02-29', session, 'date', 'must be a real date'],
    ['a day before the calendar', '1989-12-31', session, 'date', 'from 1990-01-01 to 2049-12-31'],
    ['a day after it', '2050-01-01', session, 'date', 'from 1990-01-01 to 2049-12-31'],
    ['no kind', '2027-05-05', { reason: 'x' }, 'kind', "allowed: 'closed', 'session'"],
    ['another kind', '2027-05-05', { ...session, kind: 'half' }, 'kind', 'kind is "half"'],
    ['a kind that is no text', '2027-05-05', { ...session, kind: 1 }, 'kind', 'must be a text'],
    ['no reason', '2027-05-05', { kind: 'closed' }, 'reason', '1 to 200 characters'],
    ['an empty reason', '2027-05-05', { kind: 'closed', reason: ' ' }, 'reason', '1 to 200'],
    ['a long one', '2027-05-05', { ...session, reason: 'x'.repeat(201) }, 'reason', '1 to 200'],
    ['one of lines', '2027-05-05', { ...session, reason: 'a\nb' }, 'reason', 'a line of 1 to 200'],
    ['a zero byte', '2027-05-05', { ...session, reason: 'a\0b' }, 'reason', 'a line of 1 to 200'],
    ['hours of none', '2027-05-05', { ...session, open: '25:00' }, 'open', 'open is "25:00"'],
    ['midnight', '2027-05-05', { ...session, close: '24:00' }, 'close', '00:00 to 23:59'],
    ['one digit', '2027-05-05', { ...session, open: '9:30' }, 'open', 'open is "9:30"'],
    ['a close before the open', '2027-05-05', { ...session, close: '09:00' }, 'close', 'before'],
    ['an open after the close', '2027-05-05', { ...session, open: '16:00' }, 'open', 'before'],
    [
      ...(['a close that clocks skip', '2027-03-14'] as const),
      ...[{ ...session, open: '02:30', close: '03:15' }, 'close', 'clocks go forward'],
    ] as [string, string, unknown, string, string],
    [
      'hours of a closed day',
      '2027-05-05',
      { ...session, kind: 'closed', open: '10:00' },
      'open',
      'only with kind',
    ],
    ['what nobody knows', '2027-05-05', { ...session, hours: 'all' }, 'hours', 'is not known'],
  ];
  for (const [name, date, body, field, says] of refused) {
    test(`refuses ${name}`, async () => {
      const response = await send('PUT', date, body);
      expect([name, response.status]).toEqual([name, 422]);
      const { error } = (await response.json()) as Problem;
      expect(error).toMatchObject({ code: 'invalid_parameter', field });
      expect(error.message).toContain(says);
      expect(await here.json<object>(LIST)).toMatchObject({ count: 0 });
    });
  }

  test('takes 200 characters, whichever', async () => {
    const { override } = await put('2027-05-05', { kind: 'closed', reason: '🎄'.repeat(200) });
    expect(override?.reason).toBe('🎄'.repeat(200));
  });

  describe('refuses', () => {
    const cases: [string, string, string, RequestInit, number, string][] = [
      [
        'a page of another site',
        'PUT',
        '2027-05-05',
        {
          headers: { 'sec-fetch-site': 'cross-site', 'content-type': 'application/json' },
          body: '{}',
        },
        403,
        'cross_site',
      ],
      [
        'its removal',
        'DELETE',
        '2027-05-05',
        { headers: { origin: 'http://evil.example' } },
        403,
        'cross_site',
      ],
      [
        'no JSON',
        'PUT',
        '2027-05-05',
        { body: 'kind=closed', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
        415,
        'unsupported_type',
      ],
      [
        'half of it',
        'PUT',
        '2027-05-05',
        { body: '{', headers: { 'content-type': 'application/json' } },
        400,
        'malformed',
      ],
      [
        'too much',
        'PUT',
        '2027-05-05',
        {
          body: JSON.stringify({ reason: 'x'.repeat(70_000) }),
          headers: { 'content-type': 'application/json' },
        },
        413,
        'too_large',
      ],
      ['to remove none', 'DELETE', '2027-05-05', {}, 404, 'unknown_override'],
      ['to remove of no day', 'DELETE', '2027-02-30', {}, 422, 'invalid_parameter'],
      ['to remove outside', 'DELETE', '2050-01-01', {}, 422, 'invalid_parameter'],
      ['half a dry run', 'DELETE', '2027-05-05?dry_run=perhaps', {}, 422, 'invalid_parameter'],
      ['two of them', 'DELETE', '2027-05-05?dry_run=1&dry_run=0', {}, 422, 'invalid_parameter'],
    ];
    for (const [name, method, date, init, status, code] of cases) {
      test(name, async () => {
        const response = await here.get(path(date), { method, ...init });
        const { error } = (await response.json()) as Problem;
        expect([response.status, error.code]).toEqual([status, code]);
        expect(await here.json<object>(LIST)).toMatchObject({ count: 0 });
      });
    }
  });

  test('by hand are taken when somebody tells, and a wrong one changes nothing', async () => {
    const { sql } = database();
    await sql`
      insert into calendar_overrides (date, kind, reason) values ('2027-06-01', 'closed', 'Hand')`;
    await sql`select pg_notify('marketd', 'calendar')`;
    await until(async () => (await dayAt(elsewhere, '2027-06-01')).reason === 'Hand' || undefined);
    const { overrides } = await here.json<{ overrides: Override[] }>(LIST);
    expect(overrides).toMatchObject([{ date: '2027-06-01', made_by: null }]);
    await sql`
      insert into calendar_overrides (date, kind, close, reason)
      values ('2027-06-02', 'session', '08:00', 'Before the usual open')`;
    await sql`select pg_notify('marketd', 'calendar')`;
    const told = /the calendar stays as it was: calendar override of "2027-06-02"/;
    await until(() => elsewhere.lines.find((line) => told.test(line)));
    expect(await dayAt(elsewhere, '2027-06-01')).toMatchObject({ reason: 'Hand' });
    // It is tried again, so that mending the row is all there is to do.
    await sql`delete from calendar_overrides`;
    await until(async () => (await dayAt(elsewhere, '2027-06-01')).is_session || undefined);
    expect(elsewhere.lines.filter((line) => told.test(line))).toHaveLength(1);
  });

  test('decide anew when jobs wake that follow the market', async () => {
    await using server = await startServer(database().url, {
      ...{ SCHEDULER: 'on', QUOTES: 'yahoo', YAHOO_BASE_URL: 'http://127.0.0.1:1' },
      ...{ POLYGON_API_KEY: '' },
    });
    const nextRun = async () => {
      const page = await (await server.get('/dashboard/market')).text();
      const row = /<tr id="job-quotes">.*?<\/tr>/s.exec(page)?.[0] ?? '';
      return [...row.matchAll(/<time datetime="([^"]+)"/g)].at(-1)?.[1] ?? '';
    };
    // Whenever this runs: nothing is open for a while.
    const today = newYorkDay(Date.now());
    const days = Array.from({ length: 12 }, (_, i) => toDate(today + i));
    for (const date of days) await put(date, { kind: 'closed', reason: 'Storm' });
    await until(async () => (await nextRun()) > days[11]! || undefined);
    await put(days[10]!, { kind: 'session', open: '10:00', reason: 'Reopened' });
    const opens = new Date(newYorkInstant(today + 10, 600)).toISOString();
    await until(async () => (await nextRun()) === opens || undefined);
  });

  test('made while nobody could be told are taken once the database is back', async () => {
    const { sql } = database();
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'marketd listen'`;
    await sql`
      insert into calendar_overrides (date, kind, reason) values ('2027-06-03', 'closed', 'Away')`;
    await until(async () => (await dayAt(elsewhere, '2027-06-03')).reason === 'Away' || undefined);
  });
});
