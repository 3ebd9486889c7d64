import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ingestBars } from '../../src/ingest/ingest.ts';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { DEFAULT_THRESHOLDS } from '../../src/model/quality.ts';
import { toDay } from '../../src/model/session.ts';
import { openDatabase } from '../../src/store/database.ts';
import { selectInstruments, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { calendar, flatBar, toColumns } from '../fixtures/bars.ts';
import { startServer, type TestServer, until } from '../fixtures/http-server.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import type { VendorMinute } from '../vendor-server.ts';

const MINUTES = readSpyMinutes();
const DAY = '2024-02-20';
const utc = (text: string) => Date.parse(text);
const between = (start: string, end: string) =>
  MINUTES.filter(({ ts }) => ts >= utc(start) && ts < utc(end));

interface Row {
  time: string;
  end: string;
  session: string;
  bars: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  trade_count: number;
  derived?: boolean;
  [name: string]: unknown;
}

interface Answer {
  count: number;
  data: Row[];
  derived: boolean;
  reason?: string;
  message?: string;
  excluded: { count: number; bars: { time: string; reason: string }[] };
  [name: string]: unknown;
}

const OPTIONS = {
  provider: 'polygon',
  isSynthetic: false,
  receivedAt: Date.parse('2024-06-03T12:00:00Z'),
  calendar,
  thresholds: DEFAULT_THRESHOLDS,
  settledBefore: toDay('2024-05-24'),
};

describeEditions('bars below a day over HTTP', (database) => {
  let server: TestServer;
  let ids: Map<string, number>;
  const store = async (
    symbol: string,
    minutes: readonly VendorMinute[],
    timeframe: '1m' | '1h' = '1m',
  ) => {
    const pools = openDatabase(database().url, 2);
    const instrumentId = ids.get(symbol) as number;
    const bars = toIntradayColumns(minutes);
    const item = { instrumentId, symbol, bars, rejected: [], listedOn: null };
    await ingestIntraday(pools.write, [item], { ...OPTIONS, timeframe });
    await pools.close();
  };

  beforeAll(async () => {
    const { url, sql } = database();
    const pools = openDatabase(url, 2);
    await upsertSymbols(pools.write, ['SPY', 'DAILY', 'HOURLY', 'FLAWED', 'LIVE', 'NONE']);
    const found = await selectInstruments(sql);
    ids = new Map(found.map(({ symbol, instrumentId }) => [symbol, instrumentId]));
    const bars = toColumns([flatBar('2024-02-21', { volume: 7 })]);
    const daily = ids.get('DAILY') as number;
    await ingestBars(
      pools.write,
      [{ instrumentId: daily, symbol: 'DAILY', bars, rejected: [], listedOn: null }],
      OPTIONS,
    );
    await pools.close();
    await store('SPY', MINUTES);
    await store('DAILY', between('2024-02-20T00:00Z', '2024-02-24T00:00Z'));
    const hours = between('2024-02-20T00:00Z', '2024-02-21T00:00Z').filter(
      ({ ts }) => ts % 3_600_000 === 0,
    );
    await store('HOURLY', hours, '1h');
    const flawed = between('2024-02-20T14:30Z', '2024-02-20T14:40Z').map((one, i) =>
      i === 3 ? { ...one, high: 1 } : one,
    );
    await store('FLAWED', flawed);
    server = await startServer(url);
  });

  afterAll(() => server?.stop());

  const get = async (symbol: string, query: string) => {
    const response = await server.get(`/api/v1/historical/${symbol}?${query}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };
  const read = async (symbol: string, query: string): Promise<Answer> => {
    const { status, body } = await get(symbol, query);
    expect(status).toBe(200);
    return body;
  };
  const refusal = async (query: string, symbol = 'SPY') => {
    const { status, body } = await get(symbol, query);
    const { error } = body as unknown as { error: { message: string; field: string } };
    return { status, field: error.field, message: error.message };
  };
  const RANGE = `start=${DAY}&end=${DAY}`;

  test('minutes are those of the regular session unless more is asked for', async () => {
    const answer = await read('SPY', `${RANGE}&timeframe=1m`);
    expect(answer).toMatchObject({
      ...{ symbol: 'SPY', timeframe: '1m', start_date: DAY, end_date: DAY, session: 'regular' },
      ...{ anchor: 'session', closing_auction: false, source_timeframe: '1m', adjustment: 'raw' },
      ...{ providers: ['polygon'], synthetic: false, derived: false, count: 390 },
      excluded: { count: 0, bars: [] },
    });
    const [first] = between('2024-02-20T14:30Z', '2024-02-20T14:31Z');
    expect(answer.data[0]).toEqual({
      ...{ time: '2024-02-20T14:30:00Z', end: '2024-02-20T14:31:00Z', symbol: 'SPY' },
      ...{ open: first.open, high: first.high, low: first.low, close: first.close },
      ...{ volume: first.volume, vwap: first.vwap, trade_count: first.tradeCount },
      ...{ session: 'regular', bars: 1, quality_score: 1, validated: true },
      ...{ gap_detected: false, volume_anomaly: false, is_final: true, flags: [] },
    } as Row);
    expect(answer.data.at(-1)?.time).toBe('2024-02-20T20:59:00Z');
  });

  test.each([
    ['5m', 78],
    ['15m', 26],
    ['30m', 13],
    ['1h', 7],
    ['65m', 6],
    ['2h', 4],
    ['4h', 2],
    ['195m', 2],
  ])('%s makes %d bars of a session, and loses nothing', async (timeframe, count) => {
    const { data } = await read('SPY', `${RANGE}&timeframe=${timeframe}`);
    const minutes = between('2024-02-20T14:30Z', '2024-02-20T21:00Z');
    expect(data.length).toBe(count);
    expect(data[0].time).toBe('2024-02-20T14:30:00Z');
    expect(data.at(-1)?.end).toBe('2024-02-20T21:00:00Z');
    const sum = (values: (number | null | undefined)[]) =>
      values.reduce<number>((all, value) => all + (value ?? 0), 0);
    expect(sum(data.map(({ volume }) => volume))).toBe(sum(minutes.map(({ volume }) => volume)));
    expect(sum(data.map(({ bars }) => bars))).toBe(390);
    for (const bar of data) {
      const own = minutes.filter(({ ts }) => ts >= utc(bar.time) && ts < utc(bar.end));
      expect(bar).toMatchObject({
        open: own[0].open as number,
        high: Math.max(...own.map(({ high }) => high as number)),
        low: Math.min(...own.map(({ low }) => low as number)),
        close: own[own.length - 1].close as number,
        trade_count: sum(own.map(({ tradeCount }) => tradeCount)),
      });
    }
  });

  test('on the clock an hour is an hour, and the session begins within one', async () => {
    const { data } = await read('SPY', `${RANGE}&timeframe=1h&anchor=clock`);
    expect(data.map(({ time }) => time.slice(11, 16))).toEqual([
      ...['14:00', '15:00', '16:00', '17:00', '18:00', '19:00', '20:00'],
    ]);
    expect(data[0].bars).toBe(30);
  });

  test('all parts of the day are told apart', async () => {
    const { data } = await read('SPY', `${RANGE}&timeframe=1m&session=extended`);
    expect(data.length).toBe(810);
    const parts = Object.groupBy(data, ({ session }) => session);
    expect(Object.keys(parts).sort()).toEqual(['after_hours', 'pre_market', 'regular']);
    expect(parts.regular?.length).toBe(390);
    expect(parts.pre_market?.[0].time).toBe('2024-02-20T09:00:00Z');
    expect(parts.after_hours?.[0].time).toBe('2024-02-20T21:00:00Z');
    const hours = await read('SPY', `${RANGE}&timeframe=1h&session=extended`);
    expect(hours.data.map(({ time, end }) => `${time.slice(11, 16)}-${end.slice(11, 16)}`)).toEqual(
      [
        ...['09:00-10:00', '10:00-11:00', '11:00-12:00', '12:00-13:00', '13:00-14:00'],
        ...['14:00-14:30', '14:30-15:30', '15:30-16:30', '16:30-17:30', '17:30-18:30'],
        ...['18:30-19:30', '19:30-20:30', '20:30-21:00', '21:00-22:00', '22:00-23:00'],
        ...['23:00-00:00', '00:00-01:00'],
      ],
    );
  });

  test('the minute of the closing auction is after hours unless it is asked for', async () => {
    const [auction] = between('2024-02-20T21:00Z', '2024-02-20T21:01Z');
    const plain = await read('SPY', `${RANGE}&timeframe=65m`);
    const whole = await read('SPY', `${RANGE}&timeframe=65m&closing_auction=true`);
    expect(whole.data.length).toBe(6);
    expect(whole.data.slice(0, 5)).toEqual(plain.data.slice(0, 5));
    expect(whole.data[5].close).toBe(auction.close as number);
    expect(whole.data[5].volume).toBe(plain.data[5].volume + (auction.volume as number));
    expect(whole.data[5].end).toBe('2024-02-20T21:00:00Z');
    const minutes = await read('SPY', `${RANGE}&timeframe=1m&closing_auction=true`);
    expect(minutes.data.length).toBe(391);
    expect(minutes.data[390]).toMatchObject({ time: '2024-02-20T21:00:00Z', session: 'regular' });
  });

  test('sessions on either side of a change of the clock begin at 09:30 New York', async () => {
    const { data } = await read('SPY', 'start=2024-03-08&end=2024-03-11&timeframe=65m');
    expect(data.map(({ time }) => time)).toEqual([
      ...['2024-03-08T14:30:00Z', '2024-03-08T15:35:00Z', '2024-03-08T16:40:00Z'],
      ...['2024-03-08T17:45:00Z', '2024-03-08T18:50:00Z', '2024-03-08T19:55:00Z'],
      ...['2024-03-11T13:30:00Z', '2024-03-11T14:35:00Z', '2024-03-11T15:40:00Z'],
      ...['2024-03-11T16:45:00Z', '2024-03-11T17:50:00Z', '2024-03-11T18:55:00Z'],
    ]);
  });

  test('instants are taken with their zone, the end exclusive', async () => {
    const range = 'start=2024-02-20T09:30:00-05:00&end=2024-02-20T14:35:00Z';
    const { data, start_date, end_date } = await read('SPY', `${range}&timeframe=1m`);
    expect(data.map(({ time }) => time.slice(11, 16))).toEqual([
      ...['14:30', '14:31', '14:32', '14:33', '14:34'],
    ]);
    expect([start_date, end_date]).toEqual([
      '2024-02-20T14:30:00.000Z',
      '2024-02-20T14:35:00.000Z',
    ]);
    // A bucket is whole, whatever the range; it is told by when it begins.
    const inside = 'start=2024-02-20T14:31:00Z&end=2024-02-20T14:36:00Z';
    const buckets = await read('SPY', `${inside}&timeframe=5m`);
    expect(buckets.data.map(({ time, bars }) => [time, bars])).toEqual([
      ['2024-02-20T14:35:00Z', 5],
    ]);
    const plus = 'start=2024-02-20T14:30:00+00:00&end=2024-02-20T14:31:00+00:00';
    expect((await read('SPY', `${plus}&timeframe=1m`)).count).toBe(1);
  });

  test('months are joined without a seam', async () => {
    const { data, count } = await read('SPY', 'start=2024-02-20&end=2024-05-17&timeframe=1m');
    expect(count).toBe(new Set(data.map(({ time }) => time)).size);
    expect(data.map(({ time }) => time)).toEqual(data.map(({ time }) => time).sort());
    const sessions = new Set(data.map(({ time }) => time.slice(0, 10)));
    expect(sessions.size).toBe(63);
  });

  describe('a day', () => {
    test('is made of minutes only where there is no bar of its own, and says so', async () => {
      const answer = await read('DAILY', 'start=2024-02-20&end=2024-02-23');
      expect(answer.derived).toBe(true);
      expect(answer.data.map(({ time, derived }) => [time.slice(0, 10), derived])).toEqual([
        ['2024-02-20', true],
        ['2024-02-21', undefined],
        ['2024-02-22', true],
        ['2024-02-23', true],
      ]);
      expect(answer.data[1]).toMatchObject({ open: 100, volume: 7 });
      // The auction's minute counts for the volume; trades after hours are in its prices.
      const minutes = between('2024-02-20T14:30Z', '2024-02-20T21:01Z');
      expect(answer.data[0]).toMatchObject({
        open: minutes[0].open as number,
        close: minutes.at(-2)?.close as number,
        volume: minutes.reduce((sum, { volume }) => sum + (volume ?? 0), 0),
        ...{ quality_score: 1, validated: true, is_final: true },
      });
      const own = await read('DAILY', 'start=2024-02-21&end=2024-02-21');
      expect(own.derived).toBe(false);
    });

    test('made of minutes makes weeks and months that say so', async () => {
      const week = await read('DAILY', 'start=2024-02-20&end=2024-02-23&timeframe=1w');
      expect(week).toMatchObject({ derived: true, count: 1 });
      expect(week.data[0]).toMatchObject({ derived: true, sessions: 4, partial: false });
    });

    test('has no part of the day to choose', async () => {
      for (const name of ['session=all', 'anchor=clock', 'closing_auction=true']) {
        const { status, message, field } = await refusal(`${RANGE}&timeframe=1d&${name}`);
        expect(status).toBe(422);
        expect(field).toBe(name.split('=')[0]);
        expect(message).toContain('is for timeframes under a day');
      }
    });
  });

  describe('where only hours are held', () => {
    test('whole hours are served on the clock', async () => {
      const answer = await read('HOURLY', `${RANGE}&timeframe=1h`);
      expect(answer).toMatchObject({ source_timeframe: '1h', anchor: 'clock' });
      expect(answer.data.map(({ time }) => time.slice(11, 13)).join(' ')).toBe(
        '14 15 16 17 18 19 20',
      );
      expect((await read('HOURLY', `${RANGE}&timeframe=2h`)).count).toBe(4);
    });

    test('what they cannot make is refused with what can be had', async () => {
      const half = await refusal(`${RANGE}&timeframe=30m`, 'HOURLY');
      expect(half).toMatchObject({ status: 422, field: 'timeframe' });
      expect(half.message).toContain('only hourly bars are held of this range');
      expect(half.message).toContain('backfill --timeframe 1m');
      const session = await refusal(`${RANGE}&timeframe=1h&anchor=session`, 'HOURLY');
      expect(session).toMatchObject({ status: 422, field: 'anchor' });
      expect(session.message).toContain('anchor=clock');
      const auction = await refusal(`${RANGE}&timeframe=1h&closing_auction=true`, 'HOURLY');
      expect(auction).toMatchObject({ status: 422, field: 'closing_auction' });
    });
  });

  test('minutes that score too low are left out and named, also of what is made', async () => {
    const answer = await read('FLAWED', `${RANGE}&timeframe=5m`);
    expect(answer.data.map(({ bars }) => bars)).toEqual([4, 5]);
    expect(answer.excluded).toMatchObject({
      count: 1,
      bars: [{ time: '2024-02-20T14:33:00Z', date: DAY, score: 0 }],
    });
    const all = await read('FLAWED', `${RANGE}&timeframe=5m&validated_only=false`);
    expect(all.data[0]).toMatchObject({ bars: 5, quality_score: 0, validated: false });
    expect(all.data[0].flags).toContain('high_too_low');
  });

  test('CSV has the same rows', async () => {
    const response = await server.get(`/api/v1/historical/SPY?${RANGE}&timeframe=65m&format=csv`);
    const [header, first, ...rest] = (await response.text()).trim().split('\n');
    expect(header).toBe(
      'time,symbol,open,high,low,close,volume,vwap,trade_count,quality_score,validated,' +
        'gap_detected,volume_anomaly,is_final,flags,end,session,bars',
    );
    expect(rest.length).toBe(5);
    expect(first).toStartWith('2024-02-20T14:30:00Z,SPY,');
    expect(first).toEndWith(',2024-02-20T15:35:00Z,regular,65');
  });

  test('an answer is the same from memory, and new when the bars are', async () => {
    const path = `/api/v1/historical/LIVE?${RANGE}&timeframe=1m`;
    await store('LIVE', between('2024-02-20T14:30Z', '2024-02-20T14:32Z'));
    const first = await server.get(path);
    const body = await first.text();
    for (let i = 0; i < 3; i++) expect(await (await server.get(path)).text()).toBe(body);
    const etag = first.headers.get('etag') as string;
    const known = await server.get(path, { headers: { 'if-none-match': etag } });
    expect(known.status).toBe(304);
    await store('LIVE', between('2024-02-20T14:30Z', '2024-02-20T14:33Z'));
    const next = await until(async () => {
      const answer = (await (await server.get(path)).json()) as Answer;
      return answer.count === 3 ? answer : undefined;
    });
    expect(next.data[2].time).toBe('2024-02-20T14:32:00Z');
    const daily = await read('LIVE', RANGE);
    expect(daily).toMatchObject({ derived: true, count: 1 });
  });

  test.each([
    ['start=2024-02-20T09:30:00&end=2024-02-21', 'start', 'a time needs its zone'],
    ['start=2024-02-20&end=2024-02-20T16:00', 'end', 'a time needs its zone'],
    ['start=2024-02-20T25:00:00Z&end=2024-02-21', 'start', 'it does not exist'],
    ['start=2024-02-30&end=2024-03-01', 'start', 'written YYYY-MM-DD, or an instant'],
    ['start=1708439400&end=2024-02-21', 'start', 'written YYYY-MM-DD, or an instant'],
    ['start=2024-02-21&end=2024-02-20', 'end', 'lies before start'],
    ['start=2024-02-20T14:30:00Z&end=2024-02-20T14:30:00Z', 'end', 'end is exclusive'],
    [`${RANGE}&session=rth`, 'session', 'regular or extended or all'],
    [`${RANGE}&anchor=utc`, 'anchor', 'session or clock'],
    [`${RANGE}&closing_auction=maybe`, 'closing_auction', 'true or false'],
    [`${RANGE}&timeframe=7x`, 'timeframe', 'it must be'],
    [`${RANGE}&timeframe=90s`, 'timeframe', 'it must be'],
    [`${RANGE}&timeframe=0m`, 'timeframe', 'it must be'],
    [`${RANGE}&timeframe=25h`, 'timeframe', 'it must be'],
  ])('%s is refused: %s', async (query, field, says) => {
    const text = query.includes('timeframe') ? query : `${query}&timeframe=5m`;
    const { status, message, field: named } = await refusal(text);
    expect(status).toBe(422);
    expect(named).toBe(field);
    expect(message).toContain(says);
  });

  test('an example says how a time is written', async () => {
    const { message } = await refusal('start=2024-02-20T09:30&end=2024-02-21&timeframe=1m');
    expect(message).toContain('2024-01-31T09:30:00-05:00');
  });

  test.each([
    ['NONE', RANGE, 'unfetched'],
    ['SPY', 'start=2024-02-24&end=2024-02-25', 'closed'],
    ['SPY', 'start=2023-02-20&end=2023-02-24', 'unfetched'],
    ['SPY', 'start=2024-02-20T02:00:00Z&end=2024-02-20T08:00:00Z', 'no_trade'],
  ])('an empty answer of %s (%s) says why: %s', async (symbol, range, reason) => {
    const answer = await read(symbol, `${range}&timeframe=5m`);
    expect(answer).toMatchObject({ count: 0, data: [], reason });
    expect(answer.message).toBeString();
  });
});
