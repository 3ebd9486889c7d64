import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { leaseLock } from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';
import type { Bar } from '../fixtures/bars.ts';
import { type Environment, runCli } from '../fixtures/cli-process.ts';
import { between, scale } from '../fixtures/other-source.ts';
import { readRawBars } from '../fixtures/recorded-bars.ts';
import { addInstrument, addSplit, ingest } from '../fixtures/warehouse.ts';
import { SHARED_DATA } from '../vendor-server.ts';
import { makeChart, misbehave, startYahooServer, type YahooServer } from '../yahoo-server.ts';

const raw = readRawBars();
const AAPL = between(raw.get('AAPL')!, '2020-01-02', '2020-12-31');
const SPLIT = { exDate: '2020-08-31', splitFrom: 1, splitTo: 4 };
const YEAR = ['--from', '2020-01-01', '--to', '2020-12-31'];

let yahoo: YahooServer;
let folder: string;
beforeAll(() => {
  yahoo = startYahooServer();
  folder = mkdtempSync(join(tmpdir(), 'reconcile-'));
});
afterAll(async () => {
  await yahoo.stop();
  rmSync(folder, { recursive: true });
});

function writeCsv(name: string, bars: readonly Bar[], symbol?: string): string {
  const path = join(folder, name);
  const head = symbol === undefined ? '' : 'symbol,';
  const rows = bars.map(({ session, open, high, low, close, volume }) => {
    const values = [session, open, high, low, close, volume].join(',');
    return symbol === undefined ? values : `${symbol},${values}`;
  });
  writeFileSync(path, `${head}date,open,high,low,close,volume\n${rows.join('\n')}\n`);
  return path;
}

describeEditions('marketd reconcile', (database) => {
  const settings = (): Environment => ({
    DATABASE_URL: database().url,
    YAHOO_BASE_URL: yahoo.url,
    YAHOO_REQUESTS_PER_MINUTE: '6000',
  });
  const reconcile = (...args: string[]) => runCli(['reconcile', ...args], settings());

  beforeAll(async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'AAPL');
    await ingest(sql, id, AAPL);
    await addSplit(sql, id, SPLIT);
    const meta = await addInstrument(sql, 'META');
    await ingest(sql, meta, between(raw.get('META')!, '2020-01-02', '2020-12-31'));
    yahoo.charts.set('AAPL', makeChart('AAPL', AAPL, { splits: [SPLIT] }));
    yahoo.charts.delete('META');
  });

  test('prints a table, and nothing more when all agree', async () => {
    const { code, out, err } = await reconcile('--symbols', 'AAPL', ...YEAR);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const [title, header, row, ...more] = out.trimEnd().split('\n');
    expect(title).toBe('1 symbols, 2020-01-01 to 2020-12-31, against yahoo');
    expect(header.trim().split(/\s{2,}/)).toEqual([
      ...['symbol', 'verdict', 'who differs', 'agree', 'near', 'differ', 'conflict', 'sessions'],
      ...['only ours', 'only theirs', 'volume differs'],
    ]);
    expect(row.trim().split(/\s{2,}/)).toEqual([
      ...['AAPL', 'agree', '-', '1,012', '0', '0', '0', '253', '0', '0', '0'],
    ]);
    expect(more).toEqual([]);
  });

  test('says what a file has wrong, and since when', async () => {
    const other = scale(AAPL, 1 / 4, SPLIT.exDate).filter(
      ({ session }) => session !== '2020-03-02',
    );
    const odd = other.map((bar) => (bar.session === '2020-10-15' ? { ...bar, low: 60 } : bar));
    const path = writeCsv('AAPL.csv', odd);
    const { code, out } = await reconcile('--file', path);
    expect(code).toBe(0);
    const lines = out.trimEnd().split('\n');
    expect(lines[0]).toBe('1 symbols, 2020-01-02 to 2020-12-31, against AAPL.csv');
    expect(lines[2]).toMatch(/^AAPL +conflict +theirs/);
    expect(lines.slice(3)).toEqual([
      'AAPL: until 2020-08-28 AAPL.csv is 0.25 times vendor: the split of 2020-08-31 (4 for 1), ' +
        'which only vendor lists; at 2020-08-31 vendor jumps as raw prices do, AAPL.csv goes on ' +
        'as adjusted prices do: AAPL.csv is adjusted for it, or has it on another day',
      expect.stringMatching(
        /^AAPL: 2020-10-15 low: ours 118.15, theirs 60 \(-49.22 %\): AAPL.csv is \d+ times as far/,
      ),
      'AAPL: only ours: 2020-03-02',
    ]);
  });

  test('reads a file of many symbols, and of a symbol that does not say whose it is', async () => {
    const many = writeCsv('many.csv', AAPL, 'AAPL');
    expect((await reconcile('--file', many)).out).toMatch(/^AAPL +agree/m);
    const nameless = writeCsv('data.csv', AAPL);
    const refused = await reconcile('--file', nameless);
    expect(refused.code).toBe(2);
    expect(refused.err).toContain('say whose bars it holds');
    expect((await reconcile('--file', nameless, '--symbols', 'AAPL')).out).toMatch(/^AAPL +agree/m);
    const strange = writeCsv('NOPE.csv', AAPL);
    expect((await reconcile('--file', strange, '--symbols', 'AAPL')).out).toMatch(/^AAPL +agree/m);
    const unheld = await reconcile('--file', strange);
    expect(unheld).toMatchObject({ code: 2 });
    expect(unheld.err).toContain('is held (it has NOPE)');
  });

  test('reads a recorded file of a symbol in another layout', async () => {
    const path = join(SHARED_DATA, 'daily/yahoo_split_adjusted/yf_AAPL_2016_2026.csv');
    const { code, out } = await reconcile('--file', path, '--symbols', 'AAPL', ...YEAR);
    expect(code).toBe(0);
    expect(out).toContain('until 2020-08-28 yf_AAPL_2016_2026.csv is 0.25 times vendor');
  });

  test('--json has all of it; a symbol that failed ends with 3', async () => {
    const { code, out } = await reconcile('--symbols', 'AAPL,META', '--json', ...YEAR);
    expect(code).toBe(3);
    const { results, requests, seed, run_id } = JSON.parse(out);
    expect({ requests, seed }).toEqual({ requests: 2, seed: null });
    expect(results).toMatchObject([
      { symbol: 'AAPL', run_id, verdict: 'agree', fields: { close: { agree: 253 } }, error: null },
      { symbol: 'META', run_id, verdict: 'failed', fields: null, worst: [] },
    ]);
    expect(results[1].error).toContain('No data found, symbol may be delisted');
    const table = await reconcile('--symbols', 'META', ...YEAR);
    expect(table.out).toContain('META: failed: ');
  });

  test('a sample prints the number that draws it again', async () => {
    const first = await reconcile('--sample', '1', ...YEAR);
    const [, seed] = /drawn with --seed (\d+)\n/.exec(first.out)!;
    const symbol = (out: string) => out.split('\n')[2].split(' ')[0];
    await reconcile('--sample', '1', ...YEAR);
    const again = await reconcile('--sample', '1', '--seed', seed, ...YEAR);
    expect(symbol(again.out)).toBe(symbol(first.out));
  });

  test('a file that is not there, or is empty, is bad usage', async () => {
    const missing = await reconcile('--file', join(folder, 'none.csv'));
    expect(missing.code).toBe(2);
    expect(missing.err).toContain('none.csv');
    const empty = await reconcile('--file', writeCsv('AAPL.empty.csv', []), '--symbols', 'AAPL');
    expect(empty.code).toBe(2);
    expect(empty.err).toContain('AAPL.empty.csv has no bars');
  });

  test('ends with 3 when Yahoo refuses, with 1 when another process is at it', async () => {
    yahoo.respond('chart', misbehave.tooMany());
    const refused = await reconcile('--symbols', 'AAPL', ...YEAR);
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toContain('Too Many Requests');
    const lease = await leaseLock(database().url, 'reconcile');
    const busy = await reconcile('--symbols', 'AAPL', ...YEAR);
    await lease!.release();
    expect(busy.code).toBe(1);
    expect(busy.err).toContain('are being reconciled already');
  });
});

const WRONG: [string[], string][] = [
  [['--symbols', 'AAPL', '--sample', '2'], 'name --symbols, or have a --sample drawn'],
  [['--symbols', 'A B'], 'is not a symbol'],
  [['--symbols', ''], 'is not a symbol'],
  [['--sample', '0'], '--sample must be a whole number from 1 to 10000, not 0'],
  [['--seed', 'x'], '--seed must be a whole number from 1 to 999999999, not x'],
  [['--from', '2020-02-30'], '--from must be a date, written 2024-01-31, not 2020-02-30'],
  [['--from', '2020-03-02', '--to', '2020-03-01'], '--from 2020-03-02 is after --to 2020-03-01'],
  [['--columns', 'date,open'], '--columns says what is in a --file'],
  [['--file', 'x.csv', '--sample', '2'], 'of a --file all symbols are compared'],
  [['AAPL'], 'AAPL'],
];
test.each(WRONG)('refuses %j', async (args, message) => {
  const environment = { DATABASE_URL: 'postgres://marketd@127.0.0.1:1/marketd' };
  const { code, err } = await runCli(['reconcile', ...args], environment);
  expect(code).toBe(2);
  expect(err).toContain(message);
});
