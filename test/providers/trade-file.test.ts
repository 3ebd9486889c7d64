import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../src/errors.ts';
import type { RejectedRow } from '../../src/model/bar.ts';
import { formatMicros } from '../../src/model/instant.ts';
import { readTradeFile, type TradeFileOptions } from '../../src/providers/trade-file.ts';
import { calendar } from '../fixtures/bars.ts';
import { SHARED_DATA } from '../vendor-server.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-trades-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function write(content: string | Uint8Array, name = `IBM_${++files % 10}.csv`): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

interface Read {
  /** 'SYMBOL time#sequence price x size exchange conditions updates' of every trade. */
  trades: string[];
  rejected: RejectedRow[];
  rows: number;
  isOrdered: boolean;
  chunks: number;
}

async function read(path: string, options: Partial<TradeFileOptions> = {}): Promise<Read> {
  const all: Read = { trades: [], rejected: [], rows: 0, isOrdered: true, chunks: 0 };
  for await (const chunk of readTradeFile(path, { calendar, ...options })) {
    for (const [symbol, t] of chunk.trades) {
      for (let i = 0; i < t.length; i++) {
        const rest = [t.exchange[i], t.conditions[i], t.updates[i]].join(' ');
        const at = `${formatMicros(t.ts[i]!)}#${t.sequence[i]}`;
        all.trades.push(`${symbol} ${at} ${t.price[i]}x${t.size[i]} ${rest}`.trim());
      }
    }
    all.rejected.push(...chunk.rejected);
    all.rows += chunk.rows;
    all.isOrdered &&= chunk.isOrdered;
    all.chunks++;
  }
  return all;
}

/** The one trade of a file with a header and a row. */
async function readOne(header: string, row: string, options: Partial<TradeFileOptions> = {}) {
  const { trades, rejected } = await read(write(`${header}\n${row}\n`), {
    symbol: 'IBM',
    ...options,
  });
  return trades[0] ?? rejected[0]?.reason;
}

async function refusal(path: string, options: Partial<TradeFileOptions> = {}): Promise<string> {
  const error = await read(path, options).then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  expect((error as Error).message).toContain(path);
  return (error as Error).message;
}

describe('columns', () => {
  const CASES: [header: string, row: string, trade: string][] = [
    [
      'datetime_et,price,size,exchange,sale_condition_hex,suspicious',
      '2013-10-07 09:30:18.113,182,138862,N,40,0',
      'IBM 2013-10-07T13:30:18.113000Z#0 182x138862 N 40 7',
    ],
    [
      'datetime_et,price,size,exchange,sale_condition_hex,suspicious',
      '2013-10-07 09:30:18.113,182,138862,N,40,1',
      'IBM 2013-10-07T13:30:18.113000Z#0 182x138862 N 40 0',
    ],
    // The vendor's flat file trades_v1.
    [
      'ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number,' +
        'sip_timestamp,size,tape,trf_id,trf_timestamp',
      'IBM,"12,37",0,11,52983,1517562000015577088,171.55,1063,1517562000016036581,7,3,0,0',
      'IBM 2018-02-02T09:00:00.016036Z#1063 171.55x7 11 12,37 4',
    ],
    [
      'symbol,time,price,quantity',
      'BRK.B,2013-10-07T13:30:00Z,10.5,0.25',
      'BRK.B 2013-10-07T13:30:00.000000Z#0 10.5x0.25   7',
    ],
    [
      'ts,price,volume,sequence,updates',
      '1381152600123456,1,2,9,6',
      'IBM 2013-10-07T13:30:00.123456Z#9 1x2   6',
    ],
  ];
  for (const [header, row, trade] of CASES) {
    test(header, async () => {
      const path = write(`${header}\n${row}\n`, 'ibm_20131007_trades.csv');
      expect((await read(path)).trades).toEqual([trade.trim()]);
    });
  }

  test('of a file without header are named', async () => {
    const path = write('1381152600123,182.5,100\n1381152600124,182.6,200\n');
    const { trades, rows } = await read(path, { symbol: 'IBM', columns: 'ts,price,size' });
    expect(rows).toBe(2);
    expect(trades[1]).toBe('IBM 2013-10-07T13:30:00.124000Z#0 182.6x200   7');
  });

  const BAD: [what: string, content: string, says: RegExp][] = [
    ['without a price', 'ts,size\n', /column price is missing/],
    ['without a time', 'price,size\n', /column timestamp is missing/],
    ['with two prices', 'ts,price,size,price\n', /column price is there twice/],
    ['that is empty', '', /is empty/],
    ['with zero bytes', 'ts,price,size\0\n', /zero bytes/],
    ['that is a zip archive', 'PK\x03\x04....', /zip archive/],
  ];
  for (const [what, content, says] of BAD) {
    test(`a file ${what} is refused`, async () => {
      expect(await refusal(write(content), { symbol: 'IBM' })).toMatch(says);
    });
  }

  test('a file that says nowhere whose trades they are is refused', async () => {
    const content = 'ts,price,size\n1381152600123,1,1\n';
    for (const name of ['trades.csv', '20131007.csv', 'something_else.csv']) {
      const message = await refusal(write(content, name));
      expect(message).toContain('say whose trades it holds');
    }
    expect((await read(write(content, 'spy.csv'))).trades[0]).toStartWith('SPY ');
  });
});

describe('stamps', () => {
  const H = 'timestamp,price,size';
  const ET = 'datetime_et,price,size';
  const NEW_YORK = { zone: 'America/New_York' } as const;
  const CASES: [header: string, stamp: string, options: Partial<TradeFileOptions>, says: string][] =
    [
      [H, '1381152600123', {}, '2013-10-07T13:30:00.123000Z'],
      [H, '1381152600123.75', {}, '2013-10-07T13:30:00.123750Z'],
      [H, '1381152600123456', {}, '2013-10-07T13:30:00.123456Z'],
      [H, '1381152600123456789', {}, '2013-10-07T13:30:00.123456Z'],
      [H, '1381152600', { unit: 's' }, '2013-10-07T13:30:00.000000Z'],
      [H, '1381152600.5', { unit: 's' }, '2013-10-07T13:30:00.500000Z'],
      [H, '2013-10-07T13:30:00.123456789Z', {}, '2013-10-07T13:30:00.123456Z'],
      [H, '2013-10-07 09:30:00-04:00', {}, '2013-10-07T13:30:00.000000Z'],
      [H, '2013-10-07 09:30:00.5 -0400', {}, '2013-10-07T13:30:00.500000Z'],
      [H, '2013-10-07 15:30:00+02', NEW_YORK, '2013-10-07T13:30:00.000000Z'],
      [H, '2013-10-07 09:30:00.1', NEW_YORK, '2013-10-07T13:30:00.100000Z'],
      [H, '2013-12-09 09:30', NEW_YORK, '2013-12-09T14:30:00.000000Z'],
      [H, '2013-10-07 09:30:00', { zone: 'UTC' }, '2013-10-07T09:30:00.000000Z'],
      [ET, '2013-10-07 23:59:59.999999', {}, '2013-10-08T03:59:59.999999Z'],
      [ET, '2024-03-10 01:59:59', {}, '2024-03-10T06:59:59.000000Z'],
      [ET, '2024-03-10 03:00:00', {}, '2024-03-10T07:00:00.000000Z'],
      [ET, '2024-03-10 02:30:00', {}, 'does not exist in New York'],
      [ET, '2023-11-05 01:30:00', {}, 'comes twice in New York'],
      [ET, '2023-11-05 02:00:00', {}, '2023-11-05T07:00:00.000000Z'],
      [ET, '2013-10-07', {}, 'not a date with a time of day'],
      [ET, '2013-02-30 10:00:00', {}, 'no such time'],
      [ET, '2013-10-07 24:00:00', {}, 'no such time'],
      [ET, '2013-10-07 10:60:00', {}, 'no such time'],
      [ET, '2013-10-07 10:00:60', {}, 'no such time'],
      [ET, '', {}, 'not a date with a time of day'],
      [H, '20131007', {}, 'no instant from 1974 to 2099'],
    ];
  for (const [header, stamp, options, says] of CASES) {
    test(`${header.split(',')[0]} ${stamp} ${JSON.stringify(options)}`, async () => {
      expect(await readOne(header, `${stamp},1,1`, options)).toContain(says);
      // And after a good row of the same hour, which is read the short way.
      const zone = stamp.match(/^(.{13}):\d\d/)?.[1];
      if (zone === undefined || /Z|[+-]\d\d(:?\d\d)?$/.test(stamp.slice(13))) return;
      const path = write(`${header}\n${zone}:00:00,1,1\n${stamp},1,1\n`);
      const { trades, rejected } = await read(path, { symbol: 'IBM', ...options });
      expect([...trades, ...rejected.map(({ reason }) => reason)].at(-1)).toContain(says);
    });
  }

  const REFUSED: [
    what: string,
    content: string,
    options: Partial<TradeFileOptions>,
    says: RegExp,
  ][] = [
    [
      'a local time without zone',
      `${H}\n2013-10-07 09:30:00,1,1\n`,
      {},
      /line 2: timestamp is 2013-10-07 09:30:00, a local time.*--zone America\/New_York/,
    ],
    ['seconds', `${H}\n1381152600,1,1\n`, {}, /evidently seconds since 1970.*--unit s/],
    [
      'microseconds where milliseconds are said',
      `${H}\n1381152600123456,1,1\n`,
      { unit: 'ms' },
      /evidently microseconds since 1970, where milliseconds are meant/,
    ],
    [
      'seconds where milliseconds are said',
      `${H}\n1381152600,1,1\n`,
      { unit: 'ms' },
      /evidently seconds since 1970, where milliseconds are meant/,
    ],
  ];
  for (const [what, content, options, says] of REFUSED) {
    test(`${what}: the file is refused`, async () => {
      expect(await refusal(write(content), { symbol: 'IBM', ...options })).toMatch(says);
    });
  }

  test('a row in another unit than the first is rejected with the explanation', async () => {
    const path = write(`${H}\n1381152600123,1,1\n1381152601,1,1\n1381152602123,1,1\n`);
    const { trades, rejected } = await read(path, { symbol: 'IBM' });
    expect(trades).toHaveLength(2);
    expect(rejected.map(({ reason }) => reason)).toEqual([
      'line 3: timestamp is 1381152601, evidently seconds since 1970, where milliseconds are meant',
    ]);
  });
});

describe('rows', () => {
  test('that are no trades are rejected with line and reason, the others read', async () => {
    const rows = [
      'symbol,timestamp,price,size,sequence,sale_condition_hex',
      'AAA,1381152600123,10,100,1,1',
      'AAA,1381152600123,10,100',
      'A A,1381152600123,10,100,1,1',
      'AAA,1381152600123,ten,100,1,1',
      'AAA,1381152600123,10,,1,1',
      'AAA,1381152600123,10,100,first,1',
      'AAA,1381152600123,10,100,1,regular',
      '',
      'BBB,1381152600123,10,100,2,1\r',
      '',
    ];
    const { trades, rejected, rows: count } = await read(write(rows.join('\n')));
    expect(trades.map((trade) => trade.slice(0, 3))).toEqual(['AAA', 'BBB']);
    expect(count).toBe(8);
    expect(rejected.map(({ symbol, reason }) => `${symbol}: ${reason}`)).toEqual([
      'AAA: line 3: 4 cells, where there are 6 columns',
      expect.stringMatching(/^A A: line 4: symbol is "A A"/),
      'AAA: line 5: price is "ten", not a number',
      'AAA: line 6: size is "", not a number',
      'AAA: line 7: sequence is "first", not a whole number',
      'AAA: line 8: conditions are "regular", not flags',
    ]);
    expect(rejected[0]!.raw).toBe('AAA,1381152600123,10,100');
  });

  test('of other symbols than the one asked for are rejected', async () => {
    const path = write('symbol,ts,price,size\nAAA,1381152600123,1,1\nBBB,1381152600123,1,1\n');
    const { trades, rejected } = await read(path, { symbol: 'AAA' });
    expect([trades.length, rejected[0]?.reason]).toEqual([
      1,
      'line 3: symbol is "BBB", where AAA was asked for',
    ]);
  });

  test('too many that are no trades: the file is refused', async () => {
    const path = write(`ts,price,size\n${'1381152600123,x,1\n'.repeat(6)}`);
    const message = await refusal(path, { symbol: 'AAA', maxRejected: 5 });
    expect(message).toContain('more than 5 rows are no trades, the last: line 7: price is "x"');
  });

  const INSTANTS = ['5', '5', '6', '5', '7', '6', '5'];
  test('of one instant are numbered in the order of the file, sorted or not', async () => {
    const lines = INSTANTS.map((digit, i) => `138115260000${digit},${i + 1},1`);
    const path = write(`ts,price,size\n${lines.join('\n')}\n`);
    const { trades, isOrdered } = await read(path, { symbol: 'AAA' });
    expect(isOrdered).toBe(false);
    expect(trades.map((trade) => /#\d+/.exec(trade)?.[0])).toEqual([
      '#0',
      '#1',
      '#0',
      '#2',
      '#0',
      '#1',
      '#3',
    ]);
  });

  test('of one instant are in one chunk, however many chunks a file is', async () => {
    const lines = Array.from({ length: 120_000 }, (_, i) => {
      return `${1_381_152_600_000 + Math.floor(i / 7)},${1 + (i % 10)},1`;
    });
    const path = write(`ts,price,size\n${lines.join('\n')}\n`);
    for (const isOrdered of [undefined, true]) {
      const spans: [first: number, last: number][] = [];
      let count = 0;
      let wrong = 0;
      for await (const chunk of readTradeFile(path, { calendar, symbol: 'AAA', isOrdered })) {
        const { ts, sequence, price, length } = chunk.trades.get('AAA')!;
        expect(chunk.rows).toBe(length);
        for (let i = 0; i < length; i++, count++) {
          if (sequence[i] !== count % 7 || price[i] !== 1 + (count % 10)) wrong++;
        }
        spans.push([ts[0]!, ts[length - 1]!]);
      }
      expect([count, wrong, spans.length]).toEqual([120_000, 0, 3]);
      for (let i = 1; i < spans.length; i++) expect(spans[i]![0]).toBeGreaterThan(spans[i - 1]![1]);
    }
  });
});

describe('gzip', () => {
  const lines = Array.from({ length: 5_000 }, (_, i) => `${1_381_152_600_000 + i},${1 + i / 7},1`);
  const content = Buffer.from(`ts,price,size\n${lines.join('\n')}\n`);

  test('is known by its first bytes', async () => {
    const { trades } = await read(write(Bun.gzipSync(content), 'AAA.csv'));
    expect(trades).toHaveLength(5_000);
  });

  test('that is torn is refused', async () => {
    const whole = Bun.gzipSync(content);
    const path = write(whole.subarray(0, whole.length - 100), 'AAA_trades.csv.gz');
    expect(await refusal(path)).toContain('the gzip stream ends early or is damaged');
  });
});

test('a real file: every row is a trade', async () => {
  const path = join(SHARED_DATA, 'trades/lean/aig_20131007_trades.csv.gz');
  const { trades, rejected, rows, isOrdered } = await read(path);
  expect([rows, trades.length, rejected.length, isOrdered]).toEqual([25_351, 25_351, 0, true]);
  expect(trades[0]).toBe('AIG 2013-10-07T08:00:00.688000Z#0 49.18x300 P 2000 7');
  expect(new Set(trades.map((trade) => trade.split(' ')[1])).size).toBe(25_351);
});
