import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { InputError } from '../../src/errors.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  type FlatFileChunk,
  type FlatFileOptions,
  readFlatFile,
} from '../../src/providers/flat-file.ts';
import { loadSp500, SHARED_DATA, type VendorBar } from '../vendor-server.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-flat-file-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function chunksOf(path: string, options?: FlatFileOptions): Promise<FlatFileChunk[]> {
  return Array.fromAsync(readFlatFile(path, options));
}

/** All rows of a file as lines: symbol, session, open, high, low, close, volume. */
async function read(path: string, options?: FlatFileOptions) {
  const chunks = await chunksOf(path, options);
  const lines = chunks.flatMap(({ bars, symbols }) =>
    symbols.map((symbol, i) => {
      const { session, open, high, low, close, volume } = bars;
      const values = [open[i], high[i], low[i], close[i], volume[i]];
      return `${symbol} ${toDate(session[i])} ${values.join(' ')}`;
    }),
  );
  const rejected = chunks.flatMap((chunk) => chunk.rejected);
  const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
  expect(rows).toBe(lines.length + rejected.length);
  return { lines, rejected, rows };
}

async function refusal(path: string, options?: FlatFileOptions): Promise<string> {
  const error = await read(path, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message;
}

const shared = (path: string) => join(SHARED_DATA, path);
/** A row of a file by hand: what the columns of a line say. */
function byHand(line: string, columns: string): string {
  const cells = line.trim().split(',');
  const names = columns.split(',');
  return ['open', 'high', 'low', 'close', 'volume']
    .map((name) => Number(cells[names.indexOf(name)]))
    .join(' ');
}

const HEADER = 'date,open,high,low,close,volume';
const ROW = '2024-05-01,10,12,9,11,1000';

describe('files that users have', () => {
  const ADJUSTED = 'date,open,high,low,close,-,volume,-,-';
  /** Bars, rejected rows, first and last session, and the columns as the file has them. */
  const files: [string, number, number, string, string, string][] = [
    ['av_raw_2023/daily_AAPL.csv', 6080, 0, 'AAPL 2023-12-29', 'AAPL 1999-11-01', HEADER],
    ['av_raw_2023/daily_IBM.csv', 6080, 0, 'IBM 2023-12-29', 'IBM 1999-11-01', HEADER],
    [
      'av_adjusted_2021_excel/daily_adjusted_AMZN.csv',
      5564,
      0,
      'AMZN 2021-12-09',
      'AMZN 1999-11-01',
      ADJUSTED,
    ],
    [
      'av_adjusted_2020_excel/daily_adjusted_BRK-A.csv',
      5200,
      0,
      'BRK-A 2020-09-01',
      'BRK-A 2000-01-03',
      ADJUSTED,
    ],
    [
      'av_adjusted_2020/daily_adjusted_AAPL.csv',
      5303,
      0,
      'AAPL 2020-11-25',
      'AAPL 1999-11-01',
      ADJUSTED,
    ],
    ['lean_raw/aapl.csv', 5849, 0, 'AAPL 1998-01-02', 'AAPL 2021-03-31', HEADER],
    [
      'yahoo_sp500_2016_2021/AAPL_data.csv',
      1259,
      0,
      'AAPL 2016-05-16',
      'AAPL 2021-05-14',
      'date,high,low,open,close,volume,-,-',
    ],
    [
      'yahoo_html_scrape_2020/daily_AMZN.csv',
      5532,
      3,
      'AMZN 2020-12-24',
      'AMZN 1999-01-04',
      '-,month and day,year,open,high,low,close,-,volume',
    ],
    ['zipline_csvdir/AAPL.csv', 754, 0, 'AAPL 2012-01-03', 'AAPL 2014-12-31', `${HEADER},-,-`],
    [
      'yahoo_old_mixed/tidyquant_FANG_2013_2016.csv',
      4032,
      0,
      'FB 2013-01-02',
      'GOOG 2016-12-30',
      `-,${HEADER},-`,
    ],
    [
      '../polygon/flatfile_sample/day_aggs_v1_one_row_20250929.csv',
      1,
      0,
      'A 2025-09-29',
      'A 2025-09-29',
      '-,volume,open,close,high,low,-,-',
    ],
  ];

  test.each(files)('%s', async (path, bars, bad, first, last, columns) => {
    const { lines, rejected } = await read(shared(`daily/${path}`));
    const text = readFileSync(shared(`daily/${path}`), 'utf8')
      .trim()
      .split('\n');
    expect([lines.length, rejected.length]).toEqual([bars, bad]);
    expect(lines[0]).toBe(`${first} ${byHand(text[1], columns)}`);
    expect(lines.at(-1)).toStartWith(`${last} `);
    if (bad === 0) expect(lines.at(-1)).toBe(`${last} ${byHand(text.at(-1) ?? '', columns)}`);
  });

  test('the rows between those of a table copied from a page are rejected', async () => {
    const { rejected } = await read(shared('daily/yahoo_html_scrape_2020/daily_NFLX.csv'));
    expect(rejected[0]).toEqual({
      symbol: 'NFLX',
      session: '2015-07-15',
      reason: 'line 1376: open is "7:1 Stock Split", not a number',
      raw: `1374,"Jul 15, 2015"${',7:1 Stock Split'.repeat(6)}`,
    });
    expect(rejected.at(-1)?.session).toBeUndefined();
    expect(rejected.at(-1)?.raw.length).toBeLessThanOrEqual(1_000);
  });

  test('of indexes without a name, when told whose', async () => {
    const path = shared('daily/yahoo_split_adjusted/backtestingpy_GOOG.csv');
    expect(await refusal(path)).toContain('say whose bars it holds');
    const { lines } = await read(path, { symbol: 'GOOG' });
    expect(lines[0]).toStartWith('GOOG 2004-08-19 ');
    expect(lines).toHaveLength(2148);
  });

  test('of stamps with a zone', async () => {
    const path = shared('daily/yahoo_split_adjusted/yf_AAPL_2016_2026.csv');
    const { lines, rejected } = await read(path, { symbol: 'AAPL' });
    expect(rejected).toEqual([]);
    expect(lines[0]).toStartWith('AAPL 2016-02-22 ');
    expect(lines.filter((line) => line.includes(' 2024-07-01 '))).toHaveLength(1);
  });

  test('505 symbols: every row is a bar or rejected', async () => {
    const path = shared('daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
    const expected = new Map<string, Iterator<VendorBar>>();
    for (const [symbol, list] of loadSp500()) {
      expected.set(symbol, list.filter((bar) => bar.open !== null && bar.high !== null).values());
    }
    const wrong: string[] = [];
    let rows = 0;
    const reasons: string[] = [];
    for await (const chunk of readFlatFile(path)) {
      rows += chunk.rows;
      expect(chunk.rows).toBeLessThanOrEqual(20_000);
      expect(chunk.bars.length).toBe(chunk.symbols.length);
      reasons.push(...chunk.rejected.map((row) => `${row.symbol} ${row.session} ${row.reason}`));
      const { session, close, volume } = chunk.bars;
      for (const [i, symbol] of chunk.symbols.entries()) {
        const bar = expected.get(symbol)?.next().value as VendorBar;
        const isSame = bar.close === close[i] && bar.volume === volume[i];
        if (!isSame || toDay(bar.session) !== session[i]) wrong.push(`${symbol} ${bar.session}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(rows).toBe(619_040);
    expect(reasons).toHaveLength(11);
    expect(reasons[0]).toBe('BHF 2017-07-26 line 82951: open is empty');
  }, 30_000);
});

describe('columns', () => {
  test('are found by name, in any order, quoted, and after a byte order mark', async () => {
    const text = '\uFEFF"Volume" , CLOSE,"low",High,Open*,Date,VWAP,Trade_Count,Ticker\r\n';
    const path = write('any.csv', `${text}1000,11,9,12,10,2024-05-01,10.5,7,AbcD\r\n`);
    const [chunk] = await chunksOf(path);
    expect((await read(path)).lines).toEqual(['AbcD 2024-05-01 10 12 9 11 1000']);
    expect([chunk.bars.vwap[0], chunk.bars.tradeCount[0]]).toEqual([10.5, 7]);
  });

  test('that are not there are NaN when they may be missing', async () => {
    const [chunk] = await chunksOf(write('AAPL.csv', `${HEADER}\n${ROW}\n`));
    expect([chunk.bars.vwap[0], chunk.bars.tradeCount[0]]).toEqual([NaN, NaN]);
  });

  test('that are needed are named when they are missing', async () => {
    const message = await refusal(write('AAPL.csv', 'date,open,high,low,adj_close\n'));
    expect(message).toContain('column close, volume is missing');
    expect(message).toContain('Found: date,open,high,low,adj_close.');
    expect(message).toContain('allowed: symbol (or ticker, name), vwap, transactions');
  });

  test('that could both be meant are refused', async () => {
    const message = await refusal(write('AAPL.csv', `${HEADER},time\n`));
    expect(message).toContain('date could be any of several columns');
    expect(await refusal(write('AAPL.csv', `${HEADER},Open\n`))).toContain('open could be any');
    expect(await refusal(write('A.csv', `${HEADER},symbol,ticker\n`))).toContain('symbol could');
  });

  test('of a company’s name do not hide its symbol', async () => {
    const path = write('x.csv', `Name,Symbol,${HEADER}\n"Apple, ""the"" Inc.",AAPL,${ROW}\n`);
    expect((await read(path)).lines).toEqual(['AAPL 2024-05-01 10 12 9 11 1000']);
  });

  test('that are adjusted are not the prices', async () => {
    const path = write('AAPL.csv', `Adj Close,${HEADER},adj_open\n5,${ROW},4\n`);
    expect((await read(path)).lines).toEqual(['AAPL 2024-05-01 10 12 9 11 1000']);
  });

  test('of a file without header have to be said', async () => {
    const path = shared('daily/noheader_2016_2025/AAPL_daily.csv');
    const message = await refusal(path);
    expect(message).toContain('has no header: its first line is "02/8/2016,');
    expect(message).toContain("'date,open,high,low,close,volume'");
    const { lines, rejected } = await read(path, { columns: 'date,open,high,low,close,volume' });
    expect(rejected).toEqual([]);
    const text = readFileSync(path, 'utf8').trim().split('\n');
    expect(lines[0]).toBe(`AAPL 2016-02-08 ${byHand(text[0], HEADER)}`);
    expect(lines.at(-1)).toBe(`AAPL 2025-11-21 ${byHand(text.at(-1) ?? '', HEADER)}`);
    expect(lines).toHaveLength(text.length);
  });

  test('may be said of a file that has a header', async () => {
    const path = write('AAPL.csv', `Date,Open,High,Low,Last,Volume\n${ROW}\n`);
    const { lines, rejected } = await read(path, { columns: HEADER });
    expect([lines.length, rejected]).toEqual([1, []]);
    expect(await refusal(path, { columns: 'date,open' })).toContain('high, low, close, volume');
  });
});

describe('symbols', () => {
  const names: [string, string][] = [
    ['AAPL.csv', 'AAPL'],
    ['daily_AAPL.csv', 'AAPL'],
    ['daily_adjusted_BRK.B.csv', 'BRK.B'],
    ['AAPL_data.csv', 'AAPL'],
    ['aapl.csv', 'AAPL'],
    ['ABRpD.csv', 'ABRpD'],
  ];
  test.each(names)('are in the name of the file: %s', async (name, symbol) => {
    const { lines } = await read(write(name, `${HEADER}\n${ROW}\n`));
    expect(lines[0]).toStartWith(`${symbol} `);
  });

  test.each(['data.csv', 'prices_2024.csv', 'all_stocks_5yr.csv'])('not of %s', async (name) => {
    const path = write(name, `${HEADER}\n${ROW}\n`);
    expect(await refusal(path)).toContain('not named after a symbol');
    expect((await read(path, { symbol: 'MSFT' })).lines[0]).toStartWith('MSFT ');
  });

  test('that are asked for win over the name of the file', async () => {
    const path = write('AAPL.csv', `${HEADER}\n${ROW}\n`);
    expect((await read(path, { symbol: 'BRK.B' })).lines[0]).toStartWith('BRK.B ');
  });

  test('that cannot be, or are not the one asked for, are rejected', async () => {
    const rows = ['AAPL', ' MSFT ', '', 'BRK A', '<b>'].map((name) => `${ROW},${name}`);
    const path = write('x.csv', [`${HEADER},Name`, ...rows].join('\n'));
    const all = await read(path);
    expect(all.lines.map((line) => line.split(' ')[0])).toEqual(['AAPL', 'MSFT']);
    expect(all.rejected.map((row) => row.reason.split(': ').slice(0, 2).join())).toEqual([
      'line 4,symbol is ""',
      'line 5,symbol is "BRK A"',
      'line 6,symbol is "<b>"',
    ]);
    const one = await read(path, { symbol: 'AAPL' });
    expect(one.lines).toHaveLength(1);
    expect(one.rejected[0].reason).toBe('line 3: symbol is " MSFT ", where AAPL was asked for');
  });
});

describe('dates', () => {
  const dates: [string, string][] = [
    ['2024-02-29', '2024-02-29'],
    [' 2024-02-29 ', '2024-02-29'],
    ['2024/2/9', '2024-02-09'],
    ['2024/02/09', '2024-02-09'],
    ['2/9/2024', '2024-02-09'],
    ['12/31/1999', '1999-12-31'],
    ['2/9/24', '2024-02-09'],
    ['11/1/99', '1999-11-01'],
    ['20240209', '2024-02-09'],
    ['"Dec 24, 2020"', '2020-12-24'],
    ['"January 4, 2021"', '2021-01-04'],
    ['2024-02-09 00:00:00', '2024-02-09'],
    ['2024-02-09T16:00', '2024-02-09'],
    ['2024-02-09T00:00:00Z', '2024-02-09'], // a label
    ['2024-02-09 00:00:00+00', '2024-02-09'],
    ['2024-02-09T02:30:00Z', '2024-02-08'], // still the 8th in New York
    ['2024-02-09T05:00:00.000Z', '2024-02-09'],
    ['2024-02-09 00:00:00-05:00', '2024-02-09'],
    ['2024-02-09T09:30:00-0500', '2024-02-09'],
    ['1707454800', '2024-02-09'],
    ['1707454799', '2024-02-08'],
    ['1707454800000', '2024-02-09'],
    ['1707454800000000', '2024-02-09'],
    ['1707454800000000000', '2024-02-09'],
    ['1707454799999999999', '2024-02-08'], // as a double it would be the 9th
    ['947221200', '2000-01-07'],
  ];
  test.each(dates)('%s is %s', async (cell, date) => {
    const path = write('AAPL.csv', `${HEADER}\n${cell},10,12,9,11,1000\n`);
    const { lines, rejected } = await read(path);
    expect(rejected).toEqual([]);
    expect(lines[0]).toStartWith(`AAPL ${date} `);
  });

  const none = [
    '',
    '2024-02-30',
    '2024-13-01',
    '29.2.2024',
    '2/30/2024',
    '24-02-09',
    'n/a',
    '45331',
  ];
  test.each([...none, '20241301', '2024-02-09T25:00Z', '12345678901', '0000-01-01T00:01Z'])(
    '%p is none',
    async (cell) => {
      const path = write('AAPL.csv', `${HEADER}\n${ROW}\n${cell},10,12,9,11,1000\n`);
      const { lines, rejected } = await read(path);
      expect(lines).toHaveLength(1);
      expect(rejected[0].reason).toStartWith('line 3: date is ');
      expect(rejected[0].session).toBeUndefined();
    },
  );

  test('with the day before the month end the import: some would be misread', async () => {
    const rows = ['12/02/2024,10,12,9,11,1', '13/02/2024,10,12,9,11,1'];
    const path = write('AAPL.csv', [HEADER, ...rows].join('\n'));
    expect(await refusal(path)).toContain('line 3: 13/02/2024 has no month 13');
  });

  test('of minutes are no daily bars', async () => {
    const sample = 'polygon/flatfile_sample/minute_aggs_v1_two_rows_20250416.csv';
    expect(await refusal(shared(sample))).toContain('a second bar of AAPL for 2025-04-16');
    const minutes = shared('minute/polygon_SPY_1min_20240220_20240517.csv');
    expect(await refusal(minutes, { symbol: 'SPY' })).toContain('these are not daily bars');
    const mixed = ['09:30,10,12,9,11,1,A', '09:30,10,12,9,11,1,B', '09:31,10,12,9,11,1,A'];
    const rows = mixed.map((row) => `2024-02-09 ${row}`);
    const path = write('x.csv', [`${HEADER},symbol`, ...rows].join('\n'));
    expect(await refusal(path)).toContain('line 4: a second bar of A for 2024-02-09');
  });

  test('that come twice are passed on: the import decides', async () => {
    expect((await read(write('AAPL.csv', `${HEADER}\n${ROW}\n${ROW}\n`))).lines).toHaveLength(2);
  });
});

describe('numbers', () => {
  const numbers: [string, number][] = [
    ['1.5', 1.5],
    [' 1.5 ', 1.5],
    ['"1.5"', 1.5],
    ['.5', 0.5],
    ['1e3', 1_000],
    ['1.2E+06', 1_200_000],
    ['0', 0],
    ['0.00', 0],
    ['-7', -7],
    ['17.12345678901234', 17.12345678901234],
    ['4294967296.25', 4_294_967_296.25],
  ];
  test.each(numbers)('%p is %d', async (cell, value) => {
    const row = ['2024-05-01', cell, cell, cell, cell, cell].join();
    const [{ bars, rejected }] = await chunksOf(write('AAPL.csv', `${HEADER}\n${row}\n`));
    expect(rejected).toEqual([]);
    expect([bars.open[0], bars.close[0], bars.volume[0]]).toEqual([value, value, value]);
  });

  const none = ['', ' ', 'NaN', 'nan', 'null', '-', 'Infinity', '1e999', '0x1F', '1_000', '1 000'];
  test.each([...none, '"1,000"', '$5', '12abc'])('%p is none', async (cell) => {
    const path = write('AAPL.csv', `${HEADER}\n2024-05-01,10,12,${cell},11,1000\n${ROW}\n`);
    const { lines, rejected } = await read(path);
    expect(lines).toHaveLength(1);
    expect(rejected).toHaveLength(1);
    expect(rejected[0]).toMatchObject({ symbol: 'AAPL', session: '2024-05-01' });
    expect(rejected[0].reason).toMatch(/^line 2: low is (empty|".*", not a number)$/);
  });

  test('of impossible bars are passed on', async () => {
    const path = write('AAPL.csv', `${HEADER}\n2024-05-01,-10,1,90,0,-5\n`);
    expect((await read(path)).lines).toEqual(['AAPL 2024-05-01 -10 1 90 0 -5']);
  });
});

describe('rows', () => {
  test('with too few or too many cells are rejected with their line', async () => {
    const path = write('AAPL.csv', `${HEADER}\n\n${ROW}\n2024-05-02,1,2\r\n${ROW},7\n`);
    const { lines, rejected } = await read(path);
    expect(lines).toHaveLength(1);
    expect(rejected.map(({ reason, raw }) => [reason, raw])).toEqual([
      ['line 4: 3 cells, where there are 6 columns', '2024-05-02,1,2'],
      ['line 5: 7 cells, where there are 6 columns', `${ROW},7`],
    ]);
    expect(rejected[0].session).toBe('2024-05-02');
  });

  test('may end without a line break, or be followed by empty lines', async () => {
    for (const end of ['', '\n', '\r\n', '\n\n \n']) {
      const { lines, rows } = await read(write('AAPL.csv', `${HEADER}\n${ROW}${end}`));
      expect([lines.length, rows]).toEqual([1, 1]);
    }
  });

  test('may have line breaks and doubled quotes inside of quotes', async () => {
    const text = `note,${HEADER}\n"a ""b""\nc, d",${ROW}\n"",${ROW}\n"x"y,${ROW}\n`;
    const { lines, rejected } = await read(write('AAPL.csv', text));
    expect([lines.length, rejected]).toEqual([3, []]);
  });

  test('that are nearly all bad mean that the file is another', async () => {
    const bad = `${ROW},\n`.repeat(4);
    const path = write('AAPL.csv', `${HEADER}\n${bad}`);
    expect((await read(path, { maxRejected: 4 })).rejected).toHaveLength(4);
    const message = await refusal(path, { maxRejected: 3 });
    expect(message).toContain('more than 3 rows are no bars, the last: line 5: 7 cells');
    const many = write('AAPL.csv', `${HEADER}\n${`${ROW},\n`.repeat(10_001)}`);
    expect(await refusal(many)).toContain('more than 10000 rows');
  });

  test('come in chunks of 20,000, whatever the pieces they are read in', async () => {
    const rows = Array.from({ length: 45_000 }, (_, i) => `${toDate(i)},1,2,0.5,1.5,${i}`);
    const chunks = await chunksOf(write('AAPL.csv', `${HEADER}\n${rows.join('\n')}`));
    expect(chunks.map(({ rows: count }) => count)).toEqual([20_000, 20_000, 5_000]);
    const volumes = chunks.flatMap(({ bars }) => [...bars.volume]);
    expect(volumes).toEqual(rows.map((_, i) => i));
    expect(chunks[2].bars.session[4_999]).toBe(44_999);
  });
});

describe('gzip', () => {
  const rows = Array.from({ length: 50_000 }, (_, i) => `${toDate(i)},1,2,0.5,1.5,${i}`);
  const zipped = gzipSync(`${HEADER}\n${rows.join('\n')}\n`);

  test('is known by its content', async () => {
    expect((await read(write('AAPL.csv', zipped))).rows).toBe(50_000);
    expect((await read(write('AAPL.csv.gz', zipped))).rows).toBe(50_000);
    expect((await read(write('MSFT.csv.gz', `${HEADER}\n${ROW}`))).rows).toBe(1);
  });

  test('may be of several parts', async () => {
    const parts = [gzipSync(`${HEADER}\n${ROW}\n`), gzipSync(`${ROW}\n`)];
    expect((await read(write('AAPL.csv.gz', Buffer.concat(parts)))).rows).toBe(2);
  });

  test('that is torn is refused before its last rows are given out', async () => {
    const cuts = { half: zipped.length / 2, 'without its check sum': zipped.length - 4 };
    for (const length of Object.values(cuts)) {
      const path = write('AAPL.csv.gz', zipped.subarray(0, length));
      const chunks: number[] = [];
      const reading = (async () => {
        for await (const chunk of readFlatFile(path)) chunks.push(chunk.rows);
      })();
      const message = await reading.then(
        () => '',
        (error: unknown) => (error as InputError).message,
      );
      expect(message).toContain('the gzip stream ends early or is damaged');
      expect(Number(/(\d+) rows were read/.exec(message)?.[1])).toBeWithin(20_000, 50_001);
      expect(chunks.every((count) => count === 20_000)).toBe(true);
    }
  });

  test('that is damaged is refused', async () => {
    const damaged = Buffer.from(zipped);
    damaged.fill(0xff, 20_000, 20_100);
    expect(await refusal(write('AAPL.csv.gz', damaged))).toContain('damaged');
  });
});

describe('no file of bars', () => {
  test('because it is missing, a directory, or empty', async () => {
    expect(await refusal(join(folder, 'none.csv'))).toContain('none.csv (ENOENT)');
    expect(await refusal(folder)).toContain('is a directory');
    for (const content of ['', '\n\n', gzipSync('')]) {
      expect(await refusal(write('AAPL.csv', content))).toContain('is empty');
    }
    expect((await read(write('AAPL.csv', `${HEADER}\n`))).rows).toBe(0);
  });

  test('because it is something else', async () => {
    const zeros = new Uint8Array(100_000);
    expect(await refusal(write('AAPL.csv', zeros))).toContain('not a text file');
    expect(await refusal(write('AAPL.csv', Buffer.from(`\uFEFF${HEADER}`, 'utf16le')))).toContain(
      'not a text file',
    );
    expect(await refusal(write('AAPL.csv', 'PK\u0003\u0004'))).toContain('zip archive');
    expect(await refusal(write('AAPL.csv', 'x'.repeat(200_000)))).toContain('does not end within');
    const open = `${HEADER}\n"${`${ROW}\n`.repeat(10_000)}`;
    expect(await refusal(write('AAPL.csv', open))).toContain('a quote that is never closed');
    expect(
      await refusal(shared('polygon/recorded_openbb/AAPL_day_2023-01-01_2023-01-10_asc.json')),
    ).toContain('column date, open, high, low, close, volume is missing');
  });
});

test('a reader that is left early lets go of the file', async () => {
  const path = shared('daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const before = openFiles();
  for (let i = 0; i < 10; i++) {
    for await (const chunk of readFlatFile(path)) {
      expect(chunk.rows).toBe(20_000);
      break;
    }
  }
  expect(openFiles()).toBeLessThan(before + 3);
});
