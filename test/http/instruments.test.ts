import { beforeAll, expect, test } from 'bun:test';
import { makeApp } from '../../src/http/app.ts';
import { toDay } from '../../src/model/session.ts';
import { renameSymbol, upsertLineages } from '../../src/store/symbol-ranges.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { flatBar } from '../fixtures/bars.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

const NOW = Date.parse('2024-03-01T23:00:00Z');
const CHANGE = { actor: 'cli tester', nowMs: NOW };

interface ErrorBody {
  error: { code: string; message: string; field: string };
}

describeEditions('who a symbol is', (database) => {
  let meta = 0;
  let oldFb = 0;
  beforeAll(async () => {
    const { sql } = database();
    meta = await addInstrument(sql, 'FB');
    const range = { source: 'map', symbol: 'FB' };
    const lineages = [
      { name: 'fb', ranges: [{ ...range, startDay: toDay('2012-05-18'), endDay: Infinity }] },
      {
        name: 'fb.1',
        ranges: [{ ...range, startDay: toDay('1999-09-29'), endDay: toDay('2003-03-29') }],
      },
    ];
    const stored = await upsertLineages(sql, lineages, { ...CHANGE, split: false, action: 'map' });
    oldFb = stored.instrumentIds[1];
    await renameSymbol(sql, { from: 'FB', to: 'META', on: '2022-06-09' }, CHANGE);
    await sql`
      update instruments set name = 'Meta', figi = 'BBG000MM2P62' where instrument_id = ${meta}`;
    await sql`update instruments set name = 'Falcon' where instrument_id = ${oldFb}`;
    await sql`insert into provider_symbols values (${meta}, 'yahoo', 'META-Y')`;
    await ingest(sql, meta, [flatBar('2021-01-04'), flatBar('2023-01-04')]);
    await ingest(sql, oldFb, [flatBar('2003-03-03'), flatBar('2003-03-04')]);
  });
  const get = async (path: string) => {
    const context = makeAppContext({ ...database(), read: database().sql } as never, 'plain', {
      now: () => NOW,
    });
    const response = await makeApp(context).handle(new Request(`http://localhost${path}`));
    return { status: response.status, body: (await response.json()) as never };
  };
  const instrument = async (query: string) => {
    const { status, body } = await get(`/api/v1/instruments/${query}`);
    return { status, id: (body as { instrument_id: number }).instrument_id };
  };

  test('is answered with all that it was called, and who else was called so', async () => {
    const { status, body } = await get('/api/v1/instruments/meta');
    const fb = { symbol: 'FB', source: 'map' };
    expect(status).toBe(200);
    expect(body as object).toEqual({
      ...{ instrument_id: meta, symbol: 'META', name: 'Meta', exchange: null, asset_type: null },
      ...{ figi: 'BBG000MM2P62', listed_on: null, delisted_on: null, tracked: true },
      timeframes: ['1d'],
      symbols: [
        { ...fb, start: '2012-05-18', end: '2022-06-08' },
        { symbol: 'META', start: '2022-06-09', end: null, source: 'operator' },
      ],
      provider_symbols: { yahoo: 'META-Y' },
      held: [
        {
          ...{ timeframe: '1d', records: 2 },
          ...{ first_session: '2021-01-04', latest_session: '2023-01-04' },
        },
      ],
      also_used_by: [
        {
          ...{ ...fb, instrument_id: oldFb, name: 'Falcon' },
          ...{ start: '1999-09-29', end: '2003-03-28' },
        },
      ],
    });
  });

  test('depends on the day', async () => {
    const table: [string, number, number | undefined][] = [
      ['META', 200, meta],
      ['FB?asof=2022-06-08', 200, meta],
      ['FB?asof=2012-05-18', 200, meta],
      ['fb?asof=2003-03-28', 200, oldFb],
      ['FB?asof=2003-03-29', 404, undefined],
      ['FB', 404, undefined],
    ];
    for (const [query, status, id] of table) {
      expect([query, await instrument(query)]).toEqual([query, { status, id: id as number }]);
    }
  });

  test('is not known on other days, and the answer says who had it and what to ask', async () => {
    const range = (start: string, end: string) => `start=${start}&end=${end}`;
    const table: [string, string][] = [
      ['/api/v1/instruments/FB', 'FB was the symbol of META until 2022-06-08: ask for META'],
      [
        '/api/v1/instruments/FB?asof=2023-01-03',
        'FB was the symbol of META until 2022-06-08: ask for META, or with asof=2022-06-08',
      ],
      [
        '/api/v1/instruments/META?asof=2015-01-05',
        'META is called so since 2022-06-09, and was FB on 2015-01-05: ask for FB, or with ' +
          'asof=2022-06-09',
      ],
      [
        '/api/v1/instruments/FB?asof=2008-01-04',
        'FB was the symbol of Falcon until 2003-03-28: ask with asof=2003-03-28; ' +
          'FB is the symbol of META only since 2012-05-18: ask with asof=2012-05-18',
      ],
      [
        `/api/v1/historical/FB?${range('2021-01-01', '2023-12-29')}`,
        'FB was the symbol of META until 2022-06-08: ask for META, or with asof=2022-06-08',
      ],
      [
        `/trades?symbol=FB&${range('2021-01-01', '2023-12-29')}`,
        'FB was the symbol of META until 2022-06-08: ask for META, or with asof=2022-06-08',
      ],
      ['/price/latest?symbol=FB', 'FB was the symbol of META until 2022-06-08: ask for META'],
    ];
    for (const [path, message] of table) {
      const { status, body } = await get(path);
      const { error } = body as ErrorBody;
      expect([path, status, error.code, error.field]).toEqual([
        ...[path, 404, 'unknown_symbol', 'symbol'],
      ]);
      expect(error.message).toBe(message);
    }
  });

  test('decides whose bars are meant by the end of the range, or by asof', async () => {
    const sessions = async (query: string) => {
      const { status, body } = await get(`/api/v1/historical/${query}`);
      const { symbol, data } = body as { symbol: string; data: { time: string }[] };
      return [status, symbol, ...data.map(({ time }) => time.slice(0, 10))];
    };
    const all = 'start=1999-01-01&end=2023-12-29';
    expect(await sessions(`META?${all}`)).toEqual([200, 'META', '2021-01-04', '2023-01-04']);
    expect(await sessions(`FB?${all}&asof=2021-06-01`)).toEqual([
      ...[200, 'FB', '2021-01-04', '2023-01-04'],
    ]);
    expect(await sessions(`fb?${all}&asof=2003-03-28`)).toEqual([
      ...[200, 'FB', '2003-03-03', '2003-03-04'],
    ]);
    expect(await sessions('FB?start=2003-01-01&end=2003-03-28')).toEqual([
      ...[200, 'FB', '2003-03-03', '2003-03-04'],
    ]);
    expect(await sessions('FB?start=1999-01-01&end=2021-12-31')).toEqual([200, 'FB', '2021-01-04']);
  });

  test('decides whose trades and candles are meant, of an instant as well', async () => {
    const { sql } = database();
    await sql`
      insert into trades (ts, sequence, price, size, ts_received, instrument_id, provider)
      values ('2003-03-28T15:00:00Z', 0, 10, 1, now(), ${oldFb}, 'x'),
             ('2021-01-04T15:00:00Z', 0, 20, 1, now(), ${meta}, 'x')`;
    const prices = async (path: string) => {
      const { body } = await get(path);
      const { trades, candles } = body as Record<string, { price: number; open: number }[]>;
      return (trades ?? candles).map(({ price, open }) => price ?? open);
    };
    expect(await prices('/trades?symbol=FB&end=2003-03-29')).toEqual([10]);
    expect(await prices('/trades?symbol=FB&end=2003-03-29T04:59:59Z')).toEqual([10]);
    expect(await prices('/trades?symbol=FB&asof=2021-01-04')).toEqual([20]);
    expect(await prices('/trades?symbol=META')).toEqual([20]);
    expect(await prices('/candles?symbol=FB&interval=1d&end=2022-06-09')).toEqual([20]);
    expect(await prices('/candles?symbol=FB&interval=1d&asof=2003-01-02')).toEqual([10]);
    const { status } = await get('/trades?symbol=FB&end=2003-03-29T05:00:01Z');
    expect(status).toBe(404);
  });

  test.each(['', 'x', '2024-02-30', '2024-01-01T00:00:00Z'])('asof=%p is refused', async (asof) => {
    for (const path of ['/api/v1/instruments/META?', '/trades?symbol=META&']) {
      const { status, body } = await get(`${path}asof=${asof}`);
      expect([status, (body as ErrorBody).error.field]).toEqual([422, 'asof']);
    }
    expect((await get('/api/v1/instruments/META?asof=2024-01-01&asof=2024-01-02')).status).toBe(
      422,
    );
  });
});
