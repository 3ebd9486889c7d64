import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cloneDatabase, describeEditions } from '../database.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { IBM, IBM_ROWS, loadTradeFiles, tradeFile } from '../fixtures/real-trades.ts';
import { failureOf } from '../fixtures/warehouse.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-import-trades-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describeEditions('importing trades', (database) => {
  test('real ones: every row is a trade; again changes nothing', async () => {
    const { sql } = database();
    const files = [IBM, tradeFile('aig_20131007_trades.csv.gz')];
    const none = { changed: 0, unchanged: 0, rejected: 0 };
    expect(await loadTradeFiles(sql, files)).toEqual({
      ...{ files: 2, rows: IBM_ROWS + 25_351, symbols: 2, added: ['IBM', 'AIG'] },
      ...{ ...none, inserted: IBM_ROWS + 25_351 },
    });
    const digest = async () => {
      const [row] = await sql`
        select count(*) as count, md5(string_agg(t::text, '|' order by instrument_id, ts, sequence))
        from trades t`;
      return row;
    };
    const before = await digest();
    expect(before!.count).toBe(IBM_ROWS + 25_351);
    expect(await loadTradeFiles(sql, IBM)).toMatchObject({
      ...{ added: [], ...none, inserted: 0, unchanged: IBM_ROWS },
    });
    expect(await digest()).toEqual(before);
    const [status] = await sql`
      select records, first_session, latest_session, providers, is_synthetic
      from instrument_status join symbol_ranges using (instrument_id)
      where symbol = 'IBM' and timeframe = 'trade'`;
    expect(status).toEqual({
      records: IBM_ROWS,
      first_session: '2013-10-11',
      latest_session: '2013-10-11',
      providers: ['file'],
      is_synthetic: false,
    });
  });

  test('of many symbols, in no order, some of them no trades', async () => {
    const { sql } = database();
    const rows = [
      'symbol,timestamp,price,size',
      'BBB,1381152600456,2,1',
      'AAA,1381152600123,1,1',
      'BBB,1381152600123,3,1',
      'AAA,1381152600123,4,1',
      'AAA,1381152600789,0,1',
      'BBB,1381152600789,1,none',
      'C C,1381152600789,1,1',
    ];
    const path = write('mixed.csv', `${rows.join('\n')}\n`);
    const report = await loadTradeFiles(sql, path, { provider: 'mine' });
    expect(report).toMatchObject({ rows: 7, symbols: 2, inserted: 4, rejected: 3 });
    const rejected = await sql`
      select symbol, instrument_id is not null as known, reason from rejected_rows
      where provider = 'mine' and dataset = 'trades' order by symbol collate "C"`;
    expect([...rejected]).toEqual([
      { symbol: 'AAA', known: true, reason: 'the price is 0: not above 0' },
      { symbol: 'BBB', known: true, reason: 'line 7: size is "none", not a number' },
      { symbol: 'C C', known: false, reason: expect.stringMatching(/^line 8: symbol is "C C"/) },
    ]);
    expect(await loadTradeFiles(sql, path, { provider: 'mine' })).toMatchObject({
      ...{ inserted: 0, unchanged: 4, rejected: 3 },
    });
    const trades = await sql`
      select symbol, price, sequence, provider from trades join symbol_ranges using (instrument_id)
      where symbol in ('AAA', 'BBB') order by symbol collate "C", ts, sequence`;
    expect(trades.map((row) => `${row.symbol} ${row.price}#${row.sequence}`)).toEqual([
      ...['AAA 1#0', 'AAA 4#1', 'BBB 3#0', 'BBB 2#0'],
    ]);
  });

  test('a torn or malformed file among good ones changes nothing', async () => {
    const { sql } = database();
    const good = write('GOOD.csv', 'ts,price,size\n1381152600456,2,1\n');
    const whole = Bun.gzipSync(Buffer.from(`ts,price,size\n${'1381152600456,2,1\n'.repeat(9999)}`));
    const torn = write('TORN.csv.gz', whole.subarray(0, whole.length - 30));
    const naive = write('NAIVE.csv', 'time,price,size\n2013-10-07 09:30:00,1,1\n');
    for (const [path, says] of [
      [torn, 'the gzip stream ends early'],
      [naive, '--zone America/New_York'],
    ] as const) {
      const message = await failureOf(loadTradeFiles(sql, [good, path]));
      expect(message).toContain(path);
      expect(message).toContain(says);
    }
    const [known] = await sql`
      select count(*) as count from symbol_ranges where symbol in ('GOOD', 'TORN', 'NAIVE')`;
    expect(known).toEqual({ count: 0 });
    const refused = loadTradeFiles(sql, good, { provider: 'No Name' });
    expect(await failureOf(refused)).toContain('provider must be');
  });
});

describe('marketd import', () => {
  test('knows trades by their header, and reports', async () => {
    const database = await cloneDatabase('plain');
    try {
      const environment = { DATABASE_URL: database.url };
      const first = await runCli(['import', IBM, '--json'], environment);
      expect([first.code, first.err]).toEqual([0, '']);
      expect(JSON.parse(first.out)).toMatchObject({ rows: IBM_ROWS, inserted: IBM_ROWS });
      const again = await runCli(['import', IBM], environment);
      expect(again.out).toContain('19,264 rows of 1 symbols: 0 trades new, 0 changed, 19,264 unch');
    } finally {
      await database.drop();
    }
  });

  test('seconds are refused unless they are said, and so is a local time', async () => {
    const database = await cloneDatabase('plain');
    try {
      const environment = { DATABASE_URL: database.url };
      const seconds = write('SEC.csv', 'timestamp,price,size\n1381152600,2,1\n');
      const naive = write('LOC.csv', 'timestamp,price,size\n2013-10-07 09:30:00,2,1\n');
      const refused = await runCli(['import', seconds], environment);
      expect([refused.code, refused.out]).toEqual([2, '']);
      expect(refused.err).toContain('evidently seconds since 1970');
      expect(refused.err).toContain('--unit s');
      const local = await runCli(['import', naive], environment);
      expect([local.code, local.err.includes('--zone America/New_York')]).toEqual([2, true]);
      expect((await runCli(['import', seconds, '--unit', 's'], environment)).code).toBe(0);
      const zoned = ['import', naive, '--zone', 'America/New_York'];
      expect((await runCli(zoned, environment)).code).toBe(0);
      const rows = await database.sql`select ts from trades`;
      expect(rows.map(({ ts }) => ts.toISOString())).toEqual([
        ...['2013-10-07T13:30:00.000Z', '2013-10-07T13:30:00.000Z'],
      ]);
    } finally {
      await database.drop();
    }
  });
});
