import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { parseRepair, type RepairOptions } from '../../src/command/repair.ts';
import { parseConfig } from '../../src/config.ts';
import { toDay } from '../../src/model/session.ts';
import type { Sql } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { API_KEY, CALENDAR, dailyBars } from '../fixtures/backfill-world.ts';
import { type Bar, flatBar } from '../fixtures/bars.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';
import { startVendorServer, type VendorServer } from '../vendor-server.ts';

describe('what is repaired', () => {
  const now = Date.parse('2024-06-03T12:00:00Z');
  const config = parseConfig({ DEFAULT_DAYS: '10', BACKFILL_YEARS: '2' });

  test('is the history to keep of all tracked symbols when nothing is said', () => {
    expect(parseRepair([], {}, config, now)).toEqual({
      ...{ timeframe: '1d', horizon: '2022-06-03', symbols: undefined, requestsMax: undefined },
      ...{ firstSession: undefined, lastSession: undefined },
    });
    expect(parseRepair([], { timeframe: '1m' }, config, now).horizon).toBe('2024-05-24');
  });

  test('is what is said', () => {
    const options = { from: '2020-01-02', to: '2020-12-31', budget: '12', timeframe: '1h' };
    expect(parseRepair(['AAPL', 'BRK.B'], options, config, now)).toMatchObject({
      ...{ timeframe: '1h', symbols: ['AAPL', 'BRK.B'], requestsMax: 12 },
      ...{ firstSession: '2020-01-02', lastSession: '2020-12-31' },
    });
    expect(parseRepair([], { to: '2020-12-31' }, config, now).lastSession).toBe('2020-12-31');
  });

  const refusals: [symbols: string[], options: RepairOptions, says: string][] = [
    [[], { timeframe: '5m' }, '--timeframe must be one that is stored, 1d, 1h, 1m, not 5m'],
    [[], { from: '2024-02-30' }, '--from must be a date that exists, YYYY-MM-DD, not 2024-02-30'],
    [[], { to: 'today' }, '--to must be a date that exists'],
    [[], { from: '2024-06-04' }, '--from (2024-06-04) lies in the future'],
    [[], { from: '2024-02-02', to: '2024-02-01' }, '--to (2024-02-01) lies before --from'],
    [[], { budget: '0' }, '--budget must be a whole number of requests from 1 to 1,000,000, not 0'],
    [[], { budget: '1.5' }, '--budget must be a whole number'],
    [[], { budget: '1000001' }, '--budget must be a whole number'],
    [['A B'], {}, '"A B" is not a symbol'],
  ];
  for (const [symbols, options, says] of refusals) {
    test(`is not ${[...symbols, JSON.stringify(options)].join(' ')}`, () => {
      expect(() => parseRepair(symbols, options, config, now)).toThrow(says);
    });
  }
});

const RANGE = ['--from', '2024-02-05', '--to', '2024-02-16'];
const SESSIONS = CALENDAR.sessions(toDay('2024-02-05'), toDay('2024-02-16')).length;

/** AAA holds a week less a session and has a bar on a Saturday; nobody was asked for BBB. */
async function fill(sql: Sql): Promise<void> {
  const aaa = await addInstrument(sql, 'AAA');
  await addInstrument(sql, 'BBB');
  const week = dailyBars('2024-02-05', '2024-02-09').filter((bar) => bar.session !== '2024-02-07');
  const bars = [...(week as Bar[]), flatBar('2024-02-10')];
  const asked = [{ firstDay: toDay('2024-02-05'), lastDay: toDay('2024-02-09') }];
  await ingest(sql, aaa, bars, { symbol: 'AAA', asked }, { provider: 'polygon' });
  await sql`update instruments set described_at = now(), listed_on = '2010-01-04'`;
}

describeEditions('marketd repair', (database) => {
  let vendor: VendorServer;
  beforeAll(async () => {
    const all = dailyBars('2024-02-05', '2024-02-16');
    const bars = new Map([
      ['AAA', all],
      ['BBB', all],
    ]);
    vendor = startVendorServer({ bars, key: API_KEY });
    await fill(database().sql);
  });
  afterAll(() => vendor?.stop());
  const run = (...args: string[]) =>
    runCli(['repair', ...args], {
      DATABASE_URL: database().url,
      POLYGON_API_KEY: API_KEY,
      POLYGON_BASE_URL: vendor.url,
      POLYGON_REQUESTS_PER_MINUTE: '6000',
    });
  const lines = (text: string) => text.trimEnd().split('\n');

  test('says what is missing and why, in part, in whole, and not twice', async () => {
    const dry = await run(...RANGE, '--dry-run');
    expect([dry.code, dry.err]).toEqual([0, '']);
    expect(lines(dry.out)).toEqual([
      '2 symbols: 4 sessions held, 16 missing in 2 symbols',
      'AAA: 6 of 10 sessions missing',
      '  2024-02-12 to 2024-02-16  5  newer   unfetched: these sessions were never asked for',
      // Asked for in the evening of 1 March 2024: its time has come.
      '  2024-02-07 to 2024-02-07  1  inside  vendor_empty: the provider was asked and gave no ' +
        'bar; it is asked again',
      'BBB: 10 of 10 sessions missing',
      '  2024-02-05 to 2024-02-16  10    unfetched: these sessions were never asked for',
      'AAA: 1 bar on days without a session (2024-02-10); kept, flagged off_session',
      expect.stringMatching(/^\d requests, under a minute$/),
    ]);
    expect(vendor.requests).toEqual([]);

    const part = await run(...RANGE, '--budget', '1');
    expect(part.code).toBe(0);
    expect(part.out).toMatch(/1 request, under a minute; (\d) of \d are left for the next run/);
    expect(part.out).toMatch(/left: \d sessions for \d requests; run marketd repair again/);
    expect(vendor.requests).toHaveLength(1);

    const rest = await run(...RANGE);
    expect(rest.code).toBe(0);
    expect(rest.out).toMatch(/6 bars new, 0 changed, 2 unchanged, 0 rows rejected, \d requests/);
    expect(rest.out).not.toContain('left');
    const [{ count }] = await database().sql`
      select count(*) from bars_1d where session <> '2024-02-10'`;
    expect(count).toBe(2 * SESSIONS);

    const sent = vendor.requests.length;
    const again = await run(...RANGE, '--json');
    expect([again.code, vendor.requests.length]).toEqual([0, sent]);
    expect(JSON.parse(again.out)).toMatchObject({
      ...{ timeframe: '1d', budget: null, sessions: { held: 20, missing: 0, due: 0 } },
      requests: { total: 0, minutes: 0 },
      symbols: [
        { symbol: 'AAA', held: 10, missing: 0, due: 0, ranges: [], off_session: ['2024-02-10'] },
        { symbol: 'BBB', held: 10, missing: 0, due: 0, ranges: [], off_session: [] },
      ],
      ...{ backfill: { runId: null, requests: 0 }, left: { requests: 0, sessions: 0 } },
    });
    expect(lines((await run(...RANGE)).out)).toEqual([
      '2 symbols: 20 sessions held, 0 missing in 0 symbols',
      'AAA: 1 bar on days without a session (2024-02-10); kept, flagged off_session',
      'nothing is missing: no request was sent',
    ]);
  });

  test('prints a plan as JSON, of one symbol, with when it is asked again', async () => {
    const empty = ['--from', '2024-02-19', '--to', '2024-02-23'];
    await run('AAA', ...empty);
    const { code, out } = await run('AAA', ...empty, '--dry-run', '--json');
    expect(code).toBe(0);
    const plan = JSON.parse(out);
    expect(plan).not.toHaveProperty('backfill');
    expect(plan.symbols).toHaveLength(1);
    expect(plan.symbols[0].ranges).toEqual([
      {
        ...{ start: '2024-02-20', end: '2024-02-23', sessions: 4, state: 'vendor_empty' },
        ...{ message: expect.stringContaining('gave no bar'), place: 'all', due: false },
        retry_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      },
    ]);
    const told = await run('AAA', ...empty, '--dry-run');
    expect(told.out).toMatch(/it is asked again \(not before \d{4}-\d\d-\d\d\)\n/);
    expect(told.out).toEndWith('nothing to ask for: 0 requests\n');
  });

  test.each([
    [['NOPE'], 2, 'there is no symbol NOPE here'],
    [['--budget', 'all'], 2, '--budget must be a whole number'],
    [['--all'], 2, "Unknown option '--all'"],
  ])('%p ends with code %i', async (args, code, says) => {
    const sent = vendor.requests.length;
    const result = await run(...args);
    expect(result.code).toBe(code);
    expect(result.err).toContain(says);
    expect(vendor.requests).toHaveLength(sent);
  });

  test('ends with code 3 when the provider fails', async () => {
    const { sql } = database();
    await addInstrument(sql, 'UNKNOWN');
    await sql`update instruments set described_at = now()`;
    const gone = startVendorServer({ key: 'another-key' });
    try {
      const result = await runCli(['repair', 'UNKNOWN', ...RANGE], {
        ...{ DATABASE_URL: database().url, POLYGON_API_KEY: API_KEY },
        ...{ POLYGON_BASE_URL: gone.url, POLYGON_REQUESTS_PER_MINUTE: '6000' },
      });
      expect(result.code).toBe(3);
      expect(result.err + result.out).not.toContain(API_KEY);
    } finally {
      await gone.stop();
    }
  });
});
