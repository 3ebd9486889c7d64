import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { InputError } from '../../src/errors.ts';
import { toDate } from '../../src/model/session.ts';
import {
  type MinuteFileChunk,
  type MinuteFileOptions,
  readMinuteFile,
  sniffFile,
} from '../../src/providers/minute-file.ts';
import { newYorkText, readMinutes } from '../fixtures/recorded-minutes.ts';
import { SHARED_DATA } from '../vendor-server.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-minute-file-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const shared = (path: string) => join(SHARED_DATA, path);
const MINUTE_MS = 60_000;
const EASTERN = { zone: 'America/New_York' } as const;
const HEADER = 'datetime,open,high,low,close,volume';
const VALUES = '10,12,9,11,1000';
/** One row with a stamp, in a column with a name. */
const one = (stamp: string, column = 'datetime') =>
  write('AAPL.csv', `${HEADER.replace('datetime', column)}\n${stamp},${VALUES}\n`);

async function chunksOf(path: string, options?: MinuteFileOptions): Promise<MinuteFileChunk[]> {
  return Array.fromAsync(readMinuteFile(path, options));
}

async function read(path: string, options?: MinuteFileOptions) {
  const chunks = await chunksOf(path, options);
  const bars = chunks.flatMap(({ bars, symbols }) =>
    symbols.map((symbol, i) => ({
      symbol,
      ts: bars.ts[i],
      session: toDate(bars.session[i]),
      open: bars.open[i],
      high: bars.high[i],
      low: bars.low[i],
      close: bars.close[i],
      volume: bars.volume[i],
      vwap: bars.vwap[i],
      tradeCount: bars.tradeCount[i],
    })),
  );
  const rejected = chunks.flatMap((chunk) => chunk.rejected);
  const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
  expect(rows).toBe(bars.length + rejected.length);
  return { bars, rejected, rows };
}

/** The instant of the only row, as text. */
async function instant(path: string, options?: MinuteFileOptions): Promise<string> {
  const { bars, rejected } = await read(path, options);
  expect(rejected).toEqual([]);
  return new Date(bars[0].ts).toISOString();
}

async function refusal(path: string, options?: MinuteFileOptions): Promise<InputError> {
  const error = await read(path, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  return error as InputError;
}

describe('files that users have', () => {
  /** Rows, symbol, and whether stamps are the end of the minute. */
  const files: [string, number, string, 'start' | 'end'][] = [
    ['polygon_SPY_1min_20240220_20240517.csv', 49_720, 'SPY', 'start'],
    ['SPY_1min_202507.csv', 19_953, 'SPY', 'start'],
    ['ibkr_AAPL_1min_20250926.csv', 960, 'AAPL', 'start'],
    ['lean/goog_20151224.csv', 227, 'GOOG', 'start'],
    ['lean/shy_20080307.csv', 336, 'SHY', 'start'],
    ['lean/shy_20080310.csv', 316, 'SHY', 'start'],
    ['av_201902/AAPL_1min.csv', 1948, 'AAPL', 'end'],
    ['av_extended_2020/intraday_1min_BRK-B.csv', 13_404, 'BRK-B', 'end'],
  ];

  test.each(files)('%s', async (name, count, symbol, stamp) => {
    const { bars, rejected } = await read(shared(`minute/${name}`), { ...EASTERN, stamp });
    expect([bars.length, rejected]).toEqual([count, []]);
    expect(new Set(bars.map((bar) => bar.symbol))).toEqual(new Set([symbol]));
    const byHand = readMinutes(name);
    const shiftMs = stamp === 'end' ? MINUTE_MS : 0;
    const ascending = bars.sort((a, b) => a.ts - b.ts);
    const wrong = byHand.filter((minute, i) => {
      const { ts, open, high, low, close, volume } = ascending[i];
      const isSame = open === minute.open && high === minute.high && low === minute.low;
      const isOther = close !== minute.close || volume !== minute.volume;
      return ts !== minute.ts - shiftMs || !isSame || isOther;
    });
    expect(wrong).toEqual([]);
    const dates = ascending.filter((_, i) => i % 97 === 0);
    expect(dates.map(({ session }) => session)).toEqual(
      dates.map(({ ts }) => newYorkText(ts).slice(0, 10)),
    );
  });

  test('keep the weighted price and the number of trades', async () => {
    const polygon = await read(shared('minute/polygon_SPY_1min_20240220_20240517.csv'));
    expect(polygon.bars[0]).toEqual({
      ...{ symbol: 'SPY', ts: Date.parse('2024-02-20T09:00:00Z'), session: '2024-02-20' },
      ...{ open: 498.33, high: 498.42, low: 498.3, close: 498.39, volume: 3952 },
      ...{ vwap: 498.3398, tradeCount: 72 },
    });
    const ibkr = await read(shared('minute/ibkr_AAPL_1min_20250926.csv'));
    expect(ibkr.bars[0]).toMatchObject({ vwap: 256.098, tradeCount: 5 });
    const lean = await read(shared('minute/lean/goog_20151224.csv'));
    expect(lean.bars[0]).toMatchObject({ vwap: NaN, tradeCount: NaN });
  });

  test('of stamps at the end of the minute begin with the session', async () => {
    const path = shared('minute/av_201902/SPY_1min.csv');
    const { bars } = await read(path, { ...EASTERN, stamp: 'end' });
    const times = bars.map(({ ts }) => newYorkText(ts).slice(11, 16)).sort();
    expect([times[0], times.at(-1)]).toEqual(['09:30', '15:59']);
    expect(bars).toHaveLength(5 * 390);
  });

  test('have three rows of header, and the symbol in one', async () => {
    const path = shared('minute/yfinance_multiheader_SPY_1min_20250723.csv');
    const { bars, rejected } = await read(path);
    expect([bars.length, rejected]).toEqual([182, []]);
    expect(bars[0]).toMatchObject({
      ...{ symbol: 'SPY', ts: Date.parse('2025-07-23T13:30:00Z'), volume: 2_014_982 },
      ...{ open: 630.9949951171875, high: 631.0449829101562, close: 630.97998046875 },
    });
    const other = await refusal(path, { symbol: 'QQQ' });
    expect(other.message).toContain('is of SPY, where QQQ was asked for');
    expect(other.field).toBe('symbol');
    expect((await read(path, { symbol: 'SPY' })).rows).toBe(182);
    const wide = write('wide.csv', 'Price,Close,Close,High\nTicker,A,B,A\nDatetime,,,\n');
    expect((await refusal(wide)).message).toContain('close could be any of several columns');
  });

  test('write dates with slashes', async () => {
    const path = shared('minute/mplfinance_SP500_NOV2019_IDay.csv');
    const options = { symbol: 'SPX', ...EASTERN };
    const { bars, rejected } = await read(path, options);
    expect(rejected).toEqual([]);
    expect(newYorkText(bars[0].ts)).toBe('2019-11-05 09:30:00');
    expect(newYorkText(bars.at(-1)?.ts ?? 0)).toBe('2019-11-08 15:59:00');
    const dashes = await read(path.replace('IDay', 'IDayRVol'), options);
    expect(dashes.bars.map(({ ts }) => ts)).toEqual(bars.map(({ ts }) => ts));
  });

  test('have impossible dates, which are rejected', async () => {
    const path = shared('minute/ibkr_AAPL_1min_baddate.csv');
    const { bars, rejected, rows } = await read(path, { symbol: 'AAPL' });
    const lines = readFileSync(path, 'utf8').trim().split('\n').slice(1);
    expect(rows).toBe(lines.length);
    expect(rejected[0]).toEqual({
      ...{ symbol: 'AAPL', session: undefined, raw: lines[0] },
      reason: 'line 2: time is "2025-08-00 09:31:00-04:00"',
    });
    expect(bars.length).toBe(lines.length - rejected.length);
  });

  test('are the flat files of the vendor', async () => {
    const path = shared('polygon/flatfile_sample/minute_aggs_v1_two_rows_20250416.csv');
    const { bars } = await read(path);
    expect(bars).toEqual([
      {
        ...{ symbol: 'AAPL', ts: 1_744_792_500_000, session: '2025-04-16', open: 200.29 },
        ...{ high: 200.63, low: 200.29, close: 200.5, volume: 4930, vwap: NaN, tradeCount: 129 },
      },
      {
        ...{ symbol: 'AAPL', ts: 1_744_792_560_000, session: '2025-04-16', open: 200.39 },
        ...{ high: 200.61, low: 200.34, close: 200.34, volume: 1815, vwap: NaN, tradeCount: 57 },
      },
    ]);
  });

  test('are our own exports', async () => {
    const columns =
      'symbol,ts,session,part,open,high,low,close,volume,vwap,trade_count,quality_score,provider';
    const row = 'SPY,2024-02-20T14:30:00Z,2024-02-20,regular,10,12,9,11,1000,10.5,7,1,polygon';
    const bare = 'SPY,2024-02-20T14:31:00Z,2024-02-20,regular,10,12,9,11,1000,,,1,polygon';
    const { bars } = await read(write('export.csv', `${columns}\n${row}\n${bare}\n`));
    expect(bars[0]).toMatchObject({ symbol: 'SPY', vwap: 10.5, tradeCount: 7, volume: 1000 });
    expect(bars[0].ts).toBe(Date.parse('2024-02-20T14:30:00Z'));
    expect(bars[1]).toMatchObject({ vwap: NaN, tradeCount: NaN });
  });
});

describe('stamps', () => {
  const instants: [string, string][] = [
    ['2024-02-20 09:30:00-05:00', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20T09:30:00-0500', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20 09:30-05', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20T14:30Z', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20 14:30:00 +00:00', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20T14:30:00.000000Z', '2024-02-20T14:30:00.000Z'],
    ['2024-02-20T20:15:30.25+05:45', '2024-02-20T14:30:30.250Z'],
    ['1708439400000', '2024-02-20T14:30:00.000Z'],
    ['1708439400000000', '2024-02-20T14:30:00.000Z'],
    ['1708439400000000000', '2024-02-20T14:30:00.000Z'],
    ['1708439399999999999', '2024-02-20T14:29:59.999Z'], // as a double it would be 14:30
    ['947253000000', '2000-01-07T13:50:00.000Z'],
    [' 2024-02-20T14:30:00Z ', '2024-02-20T14:30:00.000Z'],
  ];
  test.each(instants)('%s is %s, whatever zone is said', async (stamp, expected) => {
    const path = one(stamp);
    expect(await instant(path)).toBe(expected);
    expect(await instant(path, EASTERN)).toBe(expected);
    expect(await instant(path, { zone: 'UTC' })).toBe(expected);
  });

  test('without a zone need one', async () => {
    const path = one('2025-07-01 04:00:00');
    const { message, field } = await refusal(path);
    expect(message).toBe(
      `${path}, line 2: 2025-07-01 04:00:00 does not say its time zone. Say zone ` +
        'America/New_York (then it is 2025-07-01T08:00Z) or zone UTC, or write stamps as ' +
        '2025-07-01T09:30:00-05:00',
    );
    expect(field).toBe('zone');
    expect(await instant(path, EASTERN)).toBe('2025-07-01T08:00:00.000Z');
    expect(await instant(path, { zone: 'UTC' })).toBe('2025-07-01T04:00:00.000Z');
    expect(await instant(one('7/1/2025 4:00'), EASTERN)).toBe('2025-07-01T08:00:00.000Z');
    expect(await instant(one('12/31/2025 19:00:59'), EASTERN)).toBe('2026-01-01T00:00:59.000Z');
  });

  test('of a column named _et are in New York', async () => {
    for (const column of ['datetime_et', 'timestamp_et', 'Date_ET']) {
      expect(await instant(one('2025-07-01 04:00', column))).toBe('2025-07-01T08:00:00.000Z');
    }
    const path = one('2025-07-01 04:00', 'datetime_et');
    expect(await instant(path, EASTERN)).toBe('2025-07-01T08:00:00.000Z');
    const { message, field } = await refusal(path, { zone: 'UTC' });
    expect(message).toBe('column datetime_et is in New York time: zone UTC contradicts it');
    expect(field).toBe('zone');
  });

  test('without a zone among others are rejected', async () => {
    const rows = ['2025-07-01T08:00:00Z', '2025-07-01 04:01'].map((stamp) => `${stamp},${VALUES}`);
    const path = write('AAPL.csv', [HEADER, ...rows].join('\n'));
    const { bars, rejected } = await read(path);
    expect(bars).toHaveLength(1);
    expect(rejected[0].reason).toStartWith('line 3: 2025-07-01 04:01 does not say its time zone');
    expect(rejected[0].session).toBe('2025-07-01');
  });

  test('in seconds are refused unless that is said', async () => {
    const path = one('1708439400');
    const { message, field } = await refusal(path);
    expect(message).toBe(
      `${path}, line 2: 1708439400 seems to be seconds since 1970 (2024-02-20T14:30:00Z): say so ` +
        'with unit s; milli-, micro- and nanoseconds are told apart by their digits',
    );
    expect(field).toBe('unit');
    expect(await instant(path, { unit: 's' })).toBe('2024-02-20T14:30:00.000Z');
  });

  test('that are dates are of daily bars', async () => {
    for (const stamp of ['2024-02-20', '20240220', '2/20/2024', '2/20/24']) {
      const { message } = await refusal(one(stamp), EASTERN);
      expect(message).toContain(`line 2: ${stamp} is a date without a time: these look like daily`);
    }
    const path = shared('daily/av_raw_2023/daily_AAPL.csv');
    expect((await refusal(path, { symbol: 'AAPL' })).message).toContain('daily bars');
    const rows = ['2025-07-01T08:00:00Z', '2025-07-02'].map((stamp) => `${stamp},${VALUES}`);
    const { rejected } = await read(write('AAPL.csv', [HEADER, ...rows].join('\n')));
    expect(rejected[0].reason).toContain('line 3: 2025-07-02 is a date without a time');
    expect(rejected[0].session).toBe('2025-07-02');
  });

  const none = ['', 'n/a', '2024-02-30 09:30', '2024-02-20 24:00', '2024-02-20 09:60'];
  const odd = ['2024-02-20 09:30:60', '12345678901', '2/30/2024 9:30', '09:30', '13/13/2024 9:30'];
  test.each([...none, ...odd, '0000-01-01 00:00', '9999-12-31 23:59'])(
    '%p is none',
    async (stamp) => {
      const good = `2024-02-20 09:30,${VALUES}`;
      const path = write('AAPL.csv', `${HEADER}\n${good}\n${stamp},${VALUES}\n`);
      const { bars, rejected } = await read(path, EASTERN);
      expect(bars).toHaveLength(1);
      expect(rejected[0].reason).toMatch(/^line 3: time is /);
    },
  );

  test('with the day before the month end the import: some were misread', async () => {
    const rows = ['12/02/2024 9:30', '13/02/2024 9:30'].map((stamp) => `${stamp},${VALUES}`);
    const path = write('AAPL.csv', [HEADER, ...rows].join('\n'));
    const { message } = await refusal(path, EASTERN);
    expect(message).toContain('line 3: 13/02/2024 9:30 has no month 13; dates are M/D/Y');
  });

  test('at the end of a bar are moved to its begin', async () => {
    const path = one('2025-07-01 10:00');
    const end = { ...EASTERN, stamp: 'end' } as const;
    expect(await instant(path, end)).toBe('2025-07-01T13:59:00.000Z');
    expect(await instant(path, { ...end, timeframe: '1h' })).toBe('2025-07-01T13:00:00.000Z');
    expect(await instant(path, { ...EASTERN, timeframe: '1h' })).toBe('2025-07-01T14:00:00.000Z');
    // The last minute of a day belongs to that day.
    const { bars } = await read(one('2025-07-02 00:00'), end);
    expect(bars[0].session).toBe('2025-07-01');
  });
});

describe('daylight saving', () => {
  const rowsOf = async (stamps: readonly string[], options: MinuteFileOptions = EASTERN) => {
    const rows = stamps.map((stamp) => `${stamp},${VALUES}`);
    return read(write('AAPL.csv', [HEADER, ...rows].join('\n')), options);
  };

  test('leaves out an hour in spring', async () => {
    const stamps = ['01:59', '02:00', '02:30', '02:59', '03:00'].map((at) => `2024-03-10 ${at}`);
    const { bars, rejected } = await rowsOf(stamps);
    expect(bars.map(({ ts }) => new Date(ts).toISOString().slice(11, 16))).toEqual([
      '06:59',
      '07:00',
    ]);
    expect(rejected.map(({ reason }) => reason)).toEqual(
      ['02:00', '02:30', '02:59'].map(
        (at, i) =>
          `line ${i + 3}: 2024-03-10 ${at} never was in New York: clocks went from 02:00 to 03:00`,
      ),
    );
    expect(rejected[0].session).toBe('2024-03-10');
    expect((await rowsOf(['2008-03-09 02:30'])).rejected).toHaveLength(1);
    // Until 2006 clocks went forward in April.
    expect((await rowsOf(['2006-03-12 02:30'])).rejected).toHaveLength(0);
    expect((await rowsOf(['2024-03-10 02:30'], { zone: 'UTC' })).rejected).toHaveLength(0);
  });

  test('has an hour twice in autumn, of which only an offset says which', async () => {
    const stamps = ['00:59', '01:00', '01:59', '02:00'].map((at) => `2023-11-05 ${at}`);
    const { bars, rejected } = await rowsOf(stamps);
    expect(bars.map(({ ts }) => new Date(ts).toISOString().slice(11, 16))).toEqual([
      '04:59',
      '07:00',
    ]);
    expect(rejected.map(({ reason }) => reason)).toEqual(
      ['01:00', '01:59'].map(
        (at, i) =>
          `line ${i + 3}: 2023-11-05 ${at} was twice in New York, where clocks went from 02:00 ` +
          'back to 01:00: only a stamp with an offset says which',
      ),
    );
    const both = await rowsOf(['2023-11-05 01:30-04:00', '2023-11-05 01:30-05:00']);
    expect(both.bars.map(({ ts }) => new Date(ts).toISOString().slice(11, 16))).toEqual([
      '05:30',
      '06:30',
    ]);
    expect(both.bars.map(({ session }) => session)).toEqual(['2023-11-05', '2023-11-05']);
  });

  test('is known on the days beside it', async () => {
    const { bars } = await rowsOf(['2024-03-08 09:30', '2024-03-11 09:30', '2023-11-06 09:30']);
    expect(bars.map(({ ts }) => new Date(ts).toISOString())).toEqual([
      '2024-03-08T14:30:00.000Z',
      '2024-03-11T13:30:00.000Z',
      '2023-11-06T14:30:00.000Z',
    ]);
  });
});

describe('symbols', () => {
  const names: [string, string][] = [
    ['AAPL.csv', 'AAPL'],
    ['spy.csv', 'SPY'],
    ['AAPL_1min.csv', 'AAPL'],
    ['SPY_1min_202507.csv', 'SPY'],
    ['goog_20151224.csv', 'GOOG'],
    ['intraday_1min_BRK-B.csv', 'BRK-B'],
    ['polygon_SPY_1min_20240220_20240517.csv.gz', 'SPY'],
    ['BRK.B_1h.csv', 'BRK.B'],
  ];
  test.each(names)('are in the name of the file: %s', async (name, symbol) => {
    const path = write(name, `${HEADER}\n2025-07-01T08:00Z,${VALUES}\n`);
    expect((await read(path)).bars[0].symbol).toBe(symbol);
    expect((await read(path, { symbol: 'MSFT' })).bars[0].symbol).toBe('MSFT');
  });

  test.each(['data.csv', 'minutes_2024.csv', 'intraday.csv', 'SPY_QQQ_1min.csv'])(
    'are not in %s',
    async (name) => {
      const { message, field } = await refusal(write(name, `${HEADER}\n`));
      expect(message).toContain('say whose bars it holds');
      expect(field).toBe('symbol');
    },
  );

  test('that are not the one asked for are rejected', async () => {
    const rows = ['AAPL', 'MSFT', '<b>'].map((name) => `2025-07-01T08:00Z,${VALUES},${name}`);
    const path = write('x.csv', [`${HEADER},symbol`, ...rows].join('\n'));
    expect((await read(path)).bars.map(({ symbol }) => symbol)).toEqual(['AAPL', 'MSFT']);
    const { rejected } = await read(path, { symbol: 'AAPL' });
    expect(rejected[0].reason).toBe('line 3: symbol is "MSFT", where AAPL was asked for');
  });
});

describe('rows', () => {
  test('that are none are rejected with their line and why', async () => {
    const rows = [
      `2025-07-01T08:00Z,${VALUES}`,
      '2025-07-01T08:01Z,10,,9,11,1000',
      '2025-07-01T08:02Z,10,12,9,x,1000',
      '2025-07-02T00:03Z,1,2',
      `2025-07-01T08:04Z,${VALUES},7`,
      `1500000000,${VALUES}`,
    ];
    const { bars, rejected } = await read(write('AAPL.csv', [HEADER, ...rows].join('\r\n')));
    expect(bars).toHaveLength(1);
    expect(rejected.map(({ session, reason }) => [session, reason])).toEqual([
      ['2025-07-01', 'line 3: high is empty'],
      ['2025-07-01', 'line 4: close is "x", not a number'],
      // Still the day before in New York.
      ['2025-07-01', 'line 5: 3 cells, where there are 6 columns'],
      ['2025-07-01', 'line 6: 7 cells, where there are 6 columns'],
      [undefined, expect.stringContaining('line 7: 1500000000 seems to be seconds')],
    ]);
    expect(rejected[0]).toMatchObject({ symbol: 'AAPL', raw: rows[1] });
  });

  test('that are nearly all bad mean that the file is another', async () => {
    const path = write('AAPL.csv', `${HEADER}\n${`x,${VALUES}\n`.repeat(4)}`);
    expect((await read(path, { maxRejected: 4 })).rejected).toHaveLength(4);
    const { message } = await refusal(path, { maxRejected: 3 });
    expect(message).toContain('more than 3 rows are no bars, the last: line 5: time is "x"');
  });

  test('come in chunks of 20,000', async () => {
    const first = Date.parse('2025-07-01T00:00Z');
    const rows = Array.from(
      { length: 45_000 },
      (_, i) => `${first + i * MINUTE_MS},1,2,0.5,1,${i}`,
    );
    const chunks = await chunksOf(write('AAPL.csv', `${HEADER}\n${rows.join('\n')}`));
    expect(chunks.map((chunk) => chunk.rows)).toEqual([20_000, 20_000, 5_000]);
    expect(chunks.map(({ bars }) => bars.length)).toEqual([20_000, 20_000, 5_000]);
    const ts = chunks.flatMap(({ bars }) => [...bars.ts]);
    expect(ts).toEqual(rows.map((_, i) => first + i * MINUTE_MS));
    expect(chunks.flatMap(({ bars }) => [...bars.volume])).toEqual(rows.map((_, i) => i));
  });
});

describe('no file of minutes', () => {
  test('because columns are missing or could be others', async () => {
    const missing = await refusal(write('AAPL.csv', 'datetime,open,high,low,adj_close\n'));
    expect(missing.message).toContain('column close, volume is missing');
    expect(missing.message).toContain('expected: ts (or timestamp, datetime, date, time');
    const twice = await refusal(write('AAPL.csv', `${HEADER},timestamp\n`));
    expect(twice.message).toContain('ts could be any of several columns');
    const trades = await refusal(shared('trades/lean/ibm_20131007_trades.csv'));
    expect(trades.message).toContain('column open, high, low, close, volume is missing');
  });

  test('because it has no header, unless the columns are said', async () => {
    const path = write('AAPL.csv', `2025-07-01 04:00,${VALUES}\n`);
    const { message } = await refusal(path);
    expect(message).toContain('has no header: its first line is "2025-07-01 04:00,10');
    expect(message).toContain("e.g. 'datetime_et,open,high,low,close,volume'");
    const columns = 'datetime_et,open,high,low,close,volume';
    expect(await instant(path, { columns })).toBe('2025-07-01T08:00:00.000Z');
    expect(await instant(one('2025-07-01 04:00'), { columns })).toBe('2025-07-01T08:00:00.000Z');
  });

  test('because it is missing, a directory, empty, an archive or no text', async () => {
    expect((await refusal(join(folder, 'none.csv'))).message).toContain('none.csv (ENOENT)');
    expect((await refusal(folder)).message).toContain('is a directory');
    expect((await refusal(write('AAPL.csv', ''))).message).toContain('is empty');
    expect((await refusal(write('AAPL.csv', 'PK\u0003\u0004'))).message).toContain('zip archive');
    const zeros = write('AAPL.csv', new Uint8Array(1_000));
    expect((await refusal(zeros)).message).toContain('not a text file');
  });

  test('because its gzip is torn; whole it is read', async () => {
    const plain = readFileSync(shared('minute/polygon_SPY_1min_20240220_20240517.csv'));
    const zipped = gzipSync(plain);
    expect((await read(write('SPY.csv.gz', zipped))).rows).toBe(49_720);
    for (const length of [zipped.length / 2, zipped.length - 4]) {
      const { message } = await refusal(write('SPY.csv.gz', zipped.subarray(0, length)));
      expect(message).toContain('the gzip stream ends early or is damaged');
      expect(message).toMatch(/\d+ rows were read/);
    }
  });
});

describe('the kind of a file', () => {
  const csvs = (path: string) => readdirSync(shared(path)).filter((name) => /\.csv/.test(name));
  const kinds: [string, string][] = [
    ...['minute', 'minute/lean', 'minute/av_201902', 'minute/av_extended_2020'].map(
      (path): [string, string] => [path, 'intraday'],
    ),
    ['trades/lean', 'trades'],
    ...readdirSync(shared('daily')).map((name): [string, string] => [`daily/${name}`, 'daily']),
  ];

  test.each(kinds)('%s: %s', async (path, kind) => {
    const found = await Promise.all(csvs(path).map((name) => sniffFile(shared(`${path}/${name}`))));
    expect(found.filter((other) => other !== kind)).toEqual([]);
  });

  test('is told by the stamps of flat files', async () => {
    const sample = (name: string) => sniffFile(shared(`polygon/flatfile_sample/${name}.csv`));
    expect(await sample('day_aggs_v1_one_row_20250929')).toBe('daily');
    expect(await sample('minute_aggs_v1_two_rows_20250416')).toBe('intraday');
  });

  const stamps: [string, string, string[]][] = [
    ['daily', 'dates', ['2024-03-08', '2024-03-11']],
    ['daily', 'one midnight', ['2024-03-08 00:00:00']],
    ['daily', 'midnights in New York', ['2024-03-08T05:00:00Z', '2024-03-11T04:00:00Z']],
    ['daily', 'midnights in UTC', ['2024-03-08T00:00:00Z', '2024-03-11T00:00:00Z']],
    ['daily', 'every close', ['2024-03-08T21:00:00Z', '2024-03-11T20:00:00Z']],
    ['daily', 'every close without a zone', ['2024-03-08 16:00', '2024-03-11 16:00']],
    ['daily', 'one day twice', ['2024-03-08 16:00', '2024-03-11 16:00', '2024-03-11 16:00']],
    ['daily', 'nothing', []],
    ['intraday', 'one minute', ['2024-03-08 09:31']],
    ['intraday', 'two minutes', ['2024-03-08 09:31', '2024-03-08 09:30']],
    ['intraday', 'seconds', ['1708439400', '1708439460']],
    ['intraday', 'two minutes of different days', ['2024-03-08 09:31', '2024-03-11 09:30']],
    ['intraday', 'minutes after midnight', ['2024-03-08 00:00', '2024-03-08 00:01']],
  ];
  test.each(stamps)('is %s for %s', async (kind, _, rows) => {
    const lines = rows.map((stamp) => `${stamp},${VALUES}`);
    expect(await sniffFile(write('AAPL.csv', [HEADER, ...lines].join('\n')))).toBe(kind as 'daily');
    const columns = HEADER;
    expect(await sniffFile(write('AAPL.csv', lines.join('\n') || '\n'), columns)).toBe(
      kind as 'daily',
    );
  });

  test('is told symbol by symbol', async () => {
    const rows = ['A,2024-03-08 09:30', 'B,2024-03-08 09:30', 'A,2024-03-08 09:31'];
    const lines = rows.map((row) => `${row},${VALUES}`);
    const path = write('x.csv', [`symbol,${HEADER}`, ...lines].join('\n'));
    expect(await sniffFile(path)).toBe('intraday');
  });

  test('is daily when it cannot be told, for that reader says what is wrong', async () => {
    expect(await sniffFile(write('AAPL.csv', 'a,b,c\n1,2,3\n'))).toBe('daily');
    expect(await sniffFile(write('AAPL.csv', `2024-03-08,${VALUES}\n`))).toBe('daily');
  });

  test('needs a file, and does not need its end', async () => {
    await expect(sniffFile(join(folder, 'none.csv'))).rejects.toThrow('ENOENT');
    await expect(sniffFile(folder)).rejects.toThrow('is a directory');
    const zipped = gzipSync(readFileSync(shared('minute/SPY_1min_202507.csv')));
    const torn = write('SPY.csv.gz', zipped.subarray(0, zipped.length / 2));
    expect(await sniffFile(torn)).toBe('intraday');
  });

  test('leaves no file open', async () => {
    const path = shared('minute/polygon_SPY_1min_20240220_20240517.csv');
    const openFiles = () => readdirSync('/proc/self/fd').length;
    const before = openFiles();
    for (let i = 0; i < 10; i++) await sniffFile(path);
    expect(openFiles()).toBeLessThan(before + 3);
  });
});
