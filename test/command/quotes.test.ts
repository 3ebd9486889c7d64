import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { describeRound, parseEvery } from '../../src/command/quotes.ts';
import { describeEditions } from '../database.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { type Environment, runCli, startCli } from '../fixtures/cli-process.ts';
import { misbehave, startYahooServer, type YahooServer } from '../yahoo-server.ts';

let yahoo: YahooServer;
beforeAll(() => {
  yahoo = startYahooServer();
});
afterAll(async () => {
  await yahoo.stop();
});

describe('--every', () => {
  test.each([
    ['60s', 60],
    ['5m', 300],
    ['90', 90],
    ['1h', 3600],
    ['5', 5],
  ])('%s', (text, seconds) => {
    expect(parseEvery(text)).toBe(seconds * 1_000);
  });

  test.each(['', '4s', '2h', '1d', '-60', '1.5m', '60 s', 'soon', '999999'])(
    '%p is refused with an example',
    (text) => {
      expect(() => parseEvery(text)).toThrow('from 5 s to 1 h, written 60s, 5m or 90');
    },
  );
});

describe('what is said of a round', () => {
  const report = {
    ...{ runId: 1, symbols: 2, requests: 1, inserted: 0, changed: 0, unchanged: 0, rejected: 0 },
    ...{ snapshots: [], failures: [], droppedRows: 0, missing: null },
  };

  test('has what is amiss', () => {
    expect(describeRound(report)).toBe('0 of 2 symbols: 0 new, 0 changed, 0 unchanged, 1 request');
    const missing = { fields: ['pe_ratio'], reason: 'no crumb' };
    const failures = [{ symbol: 'A', error: 'b' }];
    expect(describeRound({ ...report, missing, failures, droppedRows: 3, requests: 2 })).toBe(
      '0 of 2 symbols: 0 new, 0 changed, 0 unchanged, 1 failed, 3 rows of other days dropped, ' +
        '2 requests\nwithout pe_ratio: no crumb',
    );
  });
});

describeEditions('marketd quotes', (database) => {
  const settings = (change: Environment = {}): Environment => ({
    DATABASE_URL: database().url,
    YAHOO_BASE_URL: yahoo.url,
    YAHOO_REQUESTS_PER_MINUTE: '6000',
    LOG_LEVEL: 'INFO',
    ...change,
  });

  /** Resolves when a process has recorded a round that succeeded. */
  const untilRecorded = async (pid: number) => {
    const log = new ChangeLog(database().url);
    await log.nextOf('trust');
    for (;;) {
      const [run] = await database().sql`
        select from job_runs
        where job = 'quotes' and state = 'succeeded' and worker like ${`%:${pid}`}`;
      if (run) break;
      await log.nextOf('runs');
    }
    await log.close();
  };

  test('--once prints a table of what it stored', async () => {
    const { code, out, err } = await runCli(['quotes', 'AAPL', 'MSFT', '--once'], settings());
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const [header, aapl, msft, round] = out.trimEnd().split('\n');
    expect(header.trim().split(/\s{2,}/)).toEqual([
      ...['symbol', 'price', 'open', 'high', 'low', 'previous', 'volume', 'market cap', 'P/E'],
      'at (UTC)',
    ]);
    expect(aapl.trim().split(/\s{2,}/)).toEqual([
      ...['AAPL', '269.70', 'USD', '269.275', '271.41', '267.11', '269.00', '43.33M', '4.002T'],
      ...['40.9', '2025-10-29 20:00:01', 'new'],
    ]);
    expect(msft).toStartWith('MSFT');
    expect(round).toBe('2 of 2 symbols: 2 new, 0 changed, 0 unchanged, 3 requests');
    expect(aapl.indexOf('269.70') + 6).toBe(msft.indexOf('541.55') + 6);
  });

  test('--once --json prints what it stored, under the names of the metadata', async () => {
    const { code, out } = await runCli(['quotes', 'AAPL', '--once', '--json'], settings());
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      ...{ symbols: 1, failures: [], missing: null, dropped_rows: 0, requests: 3 },
      snapshots: [{ symbol: 'AAPL', price: 269.7, source: 'yahoo', market_cap: 4_002_453_389_312 }],
    });
  });

  test('--once ends with 3 when a symbol failed, or Yahoo refused', async () => {
    const some = await runCli(['quotes', 'AAPL', 'NOPE', '--once'], settings());
    expect(some.code).toBe(3);
    expect(some.err).toBe('failed: NOPE: Yahoo does not know NOPE\n');
    yahoo.respond('quote', misbehave.html());
    const refused = await runCli(['quotes', 'AAPL', '--once'], settings());
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toContain('marketd quotes: Yahoo /v7/finance/quote: the answer is HTML');
  });

  test('--every collects, alone, until it is told to stop', async () => {
    const cli = startCli(['quotes', 'AAPL', '--every', '60s', '--always'], settings());
    await untilRecorded(cli.pid);
    const second = await runCli(['quotes', 'MSFT', '--once'], settings());
    expect(second.code).toBe(1);
    expect(second.err).toMatch(
      new RegExp(`quotes are being collected into this database already, by \\S+:${cli.pid} since`),
    );
    cli.kill('SIGTERM');
    const { code, out, err } = await cli.finished;
    expect(code).toBe(0);
    expect(out).toMatch(/^1 of 1 symbols: /);
    expect(err).toContain('stopped by SIGTERM');
    expect((await runCli(['quotes', 'MSFT', '--once'], settings())).code).toBe(0);
  });

  test('sleeps while the market is closed, and stops at once', async () => {
    // Whatever day it is.
    await database().sql`
      insert into calendar_overrides (date, kind, reason)
      select day::date, 'closed', 'a test' from generate_series(
        current_date - 5, current_date + 5, interval '1 day') day
      where extract(isodow from day) < 6`;
    const cli = startCli(['quotes', 'AAPL', '--every', '5s'], settings());
    await cli.waitFor(/the market is closed: quotes are collected from 20\S+ on/);
    cli.kill('SIGINT');
    const { code, out } = await cli.finished;
    expect({ code, out }).toEqual({ code: 0, out: '' });
    const runs = await database().sql`
      select from job_runs where job = 'quotes' and worker like ${`%:${cli.pid}`}`;
    expect(runs).toHaveLength(0);
    await database().sql`delete from calendar_overrides`;
  });

  test('collects at once when the market is open', async () => {
    await database().sql`
      insert into calendar_overrides (date, kind, open, close, reason)
      select day::date, 'session', '00:00', '23:59', 'a test' from generate_series(
        current_date - 1, current_date + 1, interval '1 day') day`;
    const cli = startCli(['quotes', 'AAPL'], settings());
    await untilRecorded(cli.pid);
    cli.kill('SIGTERM');
    const { code, out, err } = await cli.finished;
    expect(code).toBe(0);
    expect(out).toMatch(/^1 of 1 symbols: /);
    expect(err).not.toContain('the market is closed');
    await database().sql`delete from calendar_overrides`;
  });

  test('goes on after a round that failed', async () => {
    yahoo.respond('quote', misbehave.html());
    const cli = startCli(['quotes', 'AAPL', '--every', '5s', '--always', '--json'], settings());
    await cli.waitFor(/ERROR +quotes: Yahoo \/v7\/finance\/quote: the answer is HTML/);
    await untilRecorded(cli.pid);
    cli.kill('SIGTERM');
    const { code, out } = await cli.finished;
    expect(code).toBe(0);
    expect(JSON.parse(out.trim().split('\n')[0])).toMatchObject({ symbols: 1 });
  });
});

describe('bad usage', () => {
  const settings = { DATABASE_URL: 'postgres://marketd@127.0.0.1:1/marketd' };
  const WRONG: [string[], string][] = [
    [[], 'name symbols, or say --all'],
    [['AAPL', '--all'], 'name symbols or say --all'],
    [['AAPL', '--once', '--every', '60s'], '--once is one round'],
    [['AAPL', '--every', 'soon'], '--every must be from 5 s to 1 h'],
    [['A B', '--once'], 'is not a symbol'],
    [['AAPL', '--often'], "Unknown option '--often'"],
  ];
  test.each(WRONG)('refuses %j', async (args, message) => {
    const { code, err } = await runCli(['quotes', ...args], settings);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
