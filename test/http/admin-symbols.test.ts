import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { describeEditions } from '../database.ts';
import {
  fillWarehouse,
  SYMBOLS,
  startServer,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';

interface Symbol {
  symbol: string;
  name: string | null;
  tracked: boolean;
  timeframes: string[];
  state: string;
  records: number;
  start_date: string | null;
}

interface Changed {
  changed: boolean;
  symbol: Symbol;
}

interface Added {
  added: string[];
  tracked_again: string[];
  unchanged: string[];
  job_ids: number[];
}

const ROOT = '/api/v1/admin/symbols';

describeEditions('the administration of symbols', (database) => {
  let server: TestServer;

  beforeAll(async () => {
    server = await startServer(database().url);
  });
  afterAll(() => server?.stop());

  const send = (method: string, path: string, body?: unknown, headers: object = {}) =>
    server.get(`${ROOT}${path}`, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  const answer = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const response = await send(method, path, body);
    const value = await response.json();
    expect([method, path, response.status, value]).toEqual([method, path, 200, value]);
    return value as T;
  };
  const problem = async (response: Response) => {
    const { error } = (await response.json()) as { error: object };
    return { status: response.status, ...error };
  };
  const list = (query = '') => server.json<{ count: number; symbols: Symbol[] }>(`${ROOT}${query}`);
  const names = async (query = '') => (await list(query)).symbols.map(({ symbol }) => symbol);
  const show = (symbol: string) => answer<Symbol>('GET', `/${encodeURIComponent(symbol)}`);
  const audit = async (target: string) => {
    const rows = await database().sql`
      select actor, action, detail from audit_log where target = ${target} order by audit_id`;
    return rows.map((row) => ({ ...row }));
  };
  const jobs = async () => {
    const rows = await database().sql`
      select kind, arguments, actor, state from job_requests order by request_id`;
    return rows.map((row) => ({ ...row }));
  };
  const ACTOR = 'http 127.0.0.1';

  test('an empty warehouse has none, and nothing is known', async () => {
    expect(await list()).toEqual({ count: 0, symbols: [] });
    expect(await problem(await send('GET', '/AAPL'))).toMatchObject({
      ...{ status: 404, code: 'unknown_symbol', field: 'symbol' },
    });
  });

  describe('adding', () => {
    test('one, which is filled from then on', async () => {
      expect(await answer<Added>('POST', '', { symbol: 'AAPL' })).toEqual({
        ...{ added: ['AAPL'], tracked_again: [], unchanged: [], job_ids: [] },
      });
      expect(await show('AAPL')).toEqual({
        ...{ symbol: 'AAPL', name: null, exchange: null, asset_type: null, tracked: true },
        ...{ timeframes: ['1d'], state: 'no_bars', records: 0, intraday_records: 0 },
        ...{ validation_rate_pct: 0, start_date: null, end_date: null, sessions_behind: null },
        ...{ last_backfill: null, last_backfill_success: null },
      } as never);
      expect(await audit('AAPL')).toEqual([
        { actor: ACTOR, action: 'symbol.track', detail: { is_new: true, timeframes: ['1d'] } },
      ]);
      expect(await jobs()).toEqual([]);
    });

    test('several, and says which are new', async () => {
      await answer('POST', '', { symbols: ['TWO', 'THREE'] });
      await answer('DELETE', '/THREE');
      const body = { symbols: ['FOUR', 'TWO', 'THREE', 'FOUR'], timeframes: ['1m', '1d'] };
      expect(await answer<Added>('POST', '', body)).toEqual({
        ...{ added: ['FOUR'], tracked_again: ['THREE'], unchanged: ['TWO'], job_ids: [] },
      });
      expect((await show('TWO')).timeframes).toEqual(['1d']);
      expect((await show('THREE')).timeframes).toEqual(['1d', '1m']);
      expect((await show('FOUR')).timeframes).toEqual(['1d', '1m']);
    });

    test('with their history, of every timeframe', async () => {
      const body = { symbols: ['FIVE', 'TWO'], timeframes: ['1h'], backfill: true };
      const { job_ids: ids } = await answer<Added>('POST', '', body);
      expect(ids).toHaveLength(2);
      const asked = await jobs();
      expect(asked.map(({ kind, actor, state }) => [kind, actor, state])).toEqual([
        ['backfill', ACTOR, 'queued'],
        ['backfill', ACTOR, 'queued'],
      ]);
      const [daily, hourly] = asked.map((job) => JSON.stringify(job.arguments));
      expect(daily).toContain('["FIVE"]');
      expect(daily).toContain('"1d"');
      expect(hourly).toContain('"1h"');
      expect(await answer<Added>('POST', '', body)).toEqual({
        ...{ added: [], tracked_again: [], unchanged: ['FIVE', 'TWO'], job_ids: [] },
      });
    });

    const bad: [what: string, body: unknown, status: number, field: string, says: string][] = [
      ['no symbol', {}, 422, 'symbols', 'either symbol, a text, or symbols'],
      ['both ways', { symbol: 'A', symbols: ['B'] }, 422, 'symbols', 'either symbol'],
      ['an empty list', { symbols: [] }, 422, 'symbols', 'at least one'],
      ['a number', { symbols: ['NEW', 5] }, 422, 'symbols', 'a list of texts'],
      ['a list as one', { symbol: ['NEW'] }, 422, 'symbol', 'must be a text'],
      ['what is none', { symbols: ['NEW', 'A^B'] }, 422, 'symbols', '"A^B" is not a symbol'],
      ['one that is none', { symbol: '' }, 422, 'symbol', 'is not a symbol'],
      ['a timeframe that is made', { symbol: 'NEW', timeframes: ['5m'] }, 422, 'timeframes', '1h'],
      ['timeframes as text', { symbol: 'NEW', timeframes: '1m' }, 422, 'timeframes', 'a list'],
      ['backfill as text', { symbol: 'NEW', backfill: 'yes' }, 422, 'backfill', 'true or false'],
      ['a field nobody knows', { symbol: 'NEW', name: 'x' }, 422, 'name', 'symbol, symbols'],
    ];
    for (const [what, body, status, field, says] of bad) {
      test(`refuses ${what}, and adds nothing`, async () => {
        const refused = await problem(await send('POST', '', body));
        expect(refused).toMatchObject({ status, code: 'invalid_parameter', field });
        expect((refused as { message?: string }).message).toContain(says);
        expect(await names()).not.toContain('NEW');
        expect(await audit('NEW')).toEqual([]);
      });
    }

    test('refuses what is no JSON, and what a page of another site sends', async () => {
      const foreign = { 'sec-fetch-site': 'cross-site' };
      expect((await send('POST', '', '{', {})).status).toBe(400);
      expect((await send('POST', '', '[]', {})).status).toBe(400);
      const text = { 'content-type': 'text/plain' };
      expect((await send('POST', '', '{}', text)).status).toBe(415);
      expect((await send('POST', '', `{"symbol":"${'A'.repeat(1_100_000)}"}`)).status).toBe(413);
      expect((await send('POST', '', { symbol: 'NEW' }, foreign)).status).toBe(403);
      expect((await send('PUT', '/AAPL', { tracked: false }, foreign)).status).toBe(403);
      const timeframes = { timeframes: ['1m'] };
      expect((await send('PUT', '/AAPL/timeframes', timeframes, foreign)).status).toBe(403);
      expect((await send('DELETE', '/AAPL', undefined, foreign)).status).toBe(403);
      expect(await names()).not.toContain('NEW');
      expect(await show('AAPL')).toMatchObject({ tracked: true, timeframes: ['1d'] });
    });

    test('refuses a symbol that others had, and says who', async () => {
      await answer('POST', '', { symbol: 'WAS' });
      await database().sql`update symbol_ranges set valid_to = '2022-06-09' where symbol = 'WAS'`;
      const refused = await problem(await send('POST', '', { symbols: ['NEW', 'WAS'] }));
      expect(refused).toMatchObject({ status: 422, field: 'symbols' });
      expect((refused as { message?: string }).message).toContain(
        'WAS was the symbol until 2022-06-08',
      );
      expect(await names()).not.toContain('NEW');
    });
  });

  describe('changing', () => {
    test('removes from tracking, keeps the data, and is undone', async () => {
      await fillWarehouse(database().sql);
      // What another process changes is announced; it comes when it comes.
      await until(async () => ((await show('AAPL')).records > 200 ? true : undefined));
      const removed = await answer<Changed>('DELETE', '/aapl');
      expect(removed.changed).toBe(true);
      expect(removed.symbol).toMatchObject({ symbol: 'AAPL', tracked: false });
      expect(removed.symbol.records).toBeGreaterThan(200);
      expect((await answer<Changed>('DELETE', '/AAPL')).changed).toBe(false);
      expect(await names('?tracked=true')).not.toContain('AAPL');
      expect(await names('?tracked=false')).toContain('AAPL');
      const back = await answer<Changed>('PUT', '/AAPL', { tracked: true });
      expect(back).toMatchObject({ changed: true, symbol: { tracked: true } });
      expect((await answer<Changed>('PUT', '/AAPL', { tracked: true })).changed).toBe(false);
      expect((await audit('AAPL')).slice(1)).toEqual([
        { actor: ACTOR, action: 'symbol.untrack', detail: null },
        { actor: ACTOR, action: 'symbol.track', detail: { is_new: false } },
      ]);
    });

    test('timeframes, of which days are always one', async () => {
      const put = (timeframes: string[]) =>
        answer<Changed>('PUT', '/BTC%2FUSD/timeframes', { timeframes });
      expect(await put(['1m', '1h'])).toMatchObject({
        ...{ changed: true, symbol: { symbol: 'BTC/USD', timeframes: ['1d', '1h', '1m'] } },
      });
      expect((await put(['1d', '1m', '1h'])).changed).toBe(false);
      expect((await put([])).symbol.timeframes).toEqual(['1d']);
      expect((await audit('BTC/USD')).at(-1)).toEqual({
        ...{ actor: ACTOR, action: 'symbol.timeframes' },
        detail: { before: ['1d', '1h', '1m'], after: ['1d'] },
      });
      const both = { tracked: false, timeframes: ['1h'] };
      const { symbol } = await answer<Changed>('PUT', '/BTC%2FUSD', both);
      expect(symbol).toMatchObject({ tracked: false, timeframes: ['1d', '1h'] });
    });

    const bad: [what: string, path: string, body: unknown, status: number, says: string][] = [
      ['nothing', '/MSFT', {}, 422, 'tracked, timeframes'],
      ['tracked as text', '/MSFT', { tracked: 'no' }, 422, 'true or false'],
      ['a timeframe that is made', '/MSFT', { tracked: false, timeframes: ['1w'] }, 422, '"1w"'],
      ['no timeframes', '/MSFT/timeframes', {}, 422, 'must be a list'],
      ['timeframes of numbers', '/MSFT/timeframes', { timeframes: [1] }, 422, 'must be a list'],
      ['another field', '/MSFT/timeframes', { tracked: false }, 422, '"tracked" is not known'],
      ['an unknown symbol', '/NOPE', { tracked: true }, 404, 'there is no symbol "NOPE"'],
      ['its timeframes', '/NOPE/timeframes', { timeframes: [] }, 404, 'there is no symbol'],
      ['what is no symbol', '/A%5EB', { tracked: true }, 422, 'is not a symbol'],
    ];
    for (const [what, path, body, status, says] of bad) {
      test(`refuses ${what}`, async () => {
        const refused = await problem(await send('PUT', path, body));
        expect(refused).toMatchObject({ status });
        expect((refused as { message?: string }).message).toContain(says);
        expect(await show('MSFT')).toMatchObject({ tracked: true, timeframes: ['1d'] });
      });
    }

    test('of a symbol nobody has is not found', async () => {
      expect((await send('DELETE', '/NOPE')).status).toBe(404);
      expect((await send('GET', '/NOPE')).status).toBe(404);
      expect((await send('GET', '/A%5EB')).status).toBe(422);
    });

    test('a symbol that never had bars is not listed once it is removed, but known', async () => {
      await answer('POST', '', { symbol: 'BRIEF' });
      await answer('DELETE', '/BRIEF');
      expect(await names()).not.toContain('BRIEF');
      expect(await show('BRIEF')).toMatchObject({ tracked: false, state: 'no_bars', records: 0 });
    });
  });

  test('lists all that is tracked or held, in order', async () => {
    const { count, symbols } = await list();
    const listed = symbols.map(({ symbol }) => symbol);
    expect(count).toBe(listed.length);
    expect(listed).toEqual([...listed].sort());
    expect(listed).toEqual(expect.arrayContaining([...SYMBOLS]));
    expect(symbols.find(({ symbol }) => symbol === 'BAD')).toMatchObject({
      ...{ tracked: true, state: 'poor', records: 120, start_date: '2023-01-03' },
    });
    expect((await server.get(`${ROOT}?tracked=maybe`)).status).toBe(422);
    expect((await server.get(`${ROOT}?tracked=true&tracked=false`)).status).toBe(422);
  });
});
