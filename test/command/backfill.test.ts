import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { parseRange, parseStored } from '../../src/command/backfill.ts';
import { parseConfig } from '../../src/config.ts';
import { describeEditions } from '../database.ts';
import { API_KEY } from '../fixtures/backfill-world.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { readSpyMinutes } from '../fixtures/minutes.ts';
import { startVendorServer, type VendorServer } from '../vendor-server.ts';

describe('what a backfill fetches', () => {
  const cases: [options: Parameters<typeof parseStored>[0], stored: string][] = [
    [{}, '1d'],
    [{ timeframe: '1m' }, '1m'],
    [{ timeframe: '1h' }, '1h'],
    [{ interval: 'minute' }, '1m'],
    [{ interval: 'minute', multiplier: '5' }, '1m'],
    [{ interval: 'hour', multiplier: '4' }, '1h'],
    [{ interval: 'day' }, '1d'],
  ];
  for (const [options, stored] of cases) {
    test(JSON.stringify(options), () => expect(parseStored(options)).toBe(stored as '1d'));
  }

  const refusals: [options: Parameters<typeof parseStored>[0], says: string][] = [
    [{ timeframe: '5m' }, '--timeframe must be one that is stored, 1d, 1h, 1m, not 5m'],
    [{ timeframe: '1m', interval: 'minute' }, 'not both'],
    [{ interval: 'second' }, '--interval must be minute, hour or day, not second'],
    [{ interval: 'toString' }, '--interval must be minute, hour or day'],
    [{ interval: 'minute', multiplier: '0' }, '--multiplier must be a whole number from 1'],
    [{ multiplier: '5' }, '--multiplier needs --interval'],
  ];
  for (const [options, says] of refusals) {
    test(`refuses ${JSON.stringify(options)}`, () => {
      expect(() => parseStored(options)).toThrow(says);
    });
  }

  test('goes back DEFAULT_DAYS below a day, and BACKFILL_YEARS in days', () => {
    const now = Date.parse('2024-06-03T12:00:00Z');
    const config = parseConfig({ DEFAULT_DAYS: '10', BACKFILL_YEARS: '2' });
    expect(parseRange({}, config, now, '1m')).toEqual({ firstSession: '2024-05-24' });
    expect(parseRange({}, config, now)).toEqual({ firstSession: '2022-06-03' });
    expect(parseRange({ years: '1' }, config, now, '1m')).toEqual({ firstSession: '2023-06-03' });
  });
});

describeEditions('marketd backfill --timeframe', (database) => {
  let vendor: VendorServer;
  beforeAll(() => {
    vendor = startVendorServer({ minutes: new Map([['SPY', readSpyMinutes()]]), key: API_KEY });
  });
  afterAll(() => vendor?.stop());
  const run = (...args: string[]) =>
    runCli(['backfill', 'SPY', '--from', '2024-05-13', '--to', '2024-05-17', ...args], {
      DATABASE_URL: database().url,
      POLYGON_API_KEY: API_KEY,
      POLYGON_BASE_URL: vendor.url,
      POLYGON_REQUESTS_PER_MINUTE: '6000',
    });

  test('says what it costs, fetches it once, and says on request what was asked', async () => {
    const budget = await run('--timeframe', '1m', '--dry-run');
    expect(budget.out).toContain('for 5 missing sessions of 1 symbols: 1 by symbol');
    const first = await run('--interval', 'minute', '--multiplier', '5', '--debug');
    expect(first.code).toBe(0);
    expect(first.out).toMatch(/^[\d,]+ bars new, 0 changed, 0 unchanged, 0 rows rejected/);
    expect(first.err).toMatch(/DEBUG .*\/v2\/aggs\/ticker\/SPY\/range\/1\/minute\/2024-05-13/);
    expect(first.err + first.out).not.toContain(API_KEY);
    const again = await run('--timeframe', '1m');
    expect(again.out).toContain('nothing is missing: no request was sent');
    const [days] = await database().sql`
      select count(distinct session)::int as sessions from bars_1m`;
    expect(days.sessions).toBe(5);
  });

  test('refuses a timeframe that is not stored', async () => {
    const { code, err } = await run('--timeframe', '30m');
    expect(code).toBe(2);
    expect(err).toContain('all others are made of them when they are asked for');
  });
});
