import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { describeEditions } from '../database.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { useScratchFolder } from '../fixtures/scratch-folder.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const MINUTE = join(SHARED_DATA, 'minute');
const SPY = join(MINUTE, 'polygon_SPY_1min_20240220_20240517.csv');
const HALF_DAY = join(MINUTE, 'lean/goog_20151224.csv');
const STAMPED_AT_THE_END = join(MINUTE, 'av_201902/AAPL_1min.csv');
const DAILY = join(SHARED_DATA, 'daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');

const { path, write } = useScratchFolder();

const HEADER = 'ts,open,high,low,close,volume';

describeEditions('marketd import of bars below a day', (database) => {
  const run = (...args: string[]) => runCli(['import', ...args], { DATABASE_URL: database().url });
  const count = async (symbol: string, table = 'bars_1m') => {
    const { sql } = database();
    const [row] = await sql`
      select count(*)::int as bars, min(ts) as first, max(ts) as last
      from ${sql(table)} join symbol_ranges using (instrument_id) where symbol = ${symbol}`;
    return { ...row };
  };

  test('recognizes minutes, and changes nothing when they come again', async () => {
    const first = await run(SPY, '--json');
    expect(first.code).toBe(0);
    expect(JSON.parse(first.out)).toMatchObject({
      ...{ rows: 49_720, symbols: 1, added: ['SPY'], inserted: 49_720, rejected: 0 },
    });
    const again = await run(SPY);
    expect(again.out).toContain(
      '49,720 rows of 1 symbols: 0 bars new, 0 changed, 49,720 unchanged',
    );
    expect(await count('SPY')).toMatchObject({
      bars: 49_720,
      first: new Date('2024-02-20T09:00:00Z'),
    });
    const [coverage] = await database().sql`
      select start_session, end_session, state from coverage where dataset = '1m'`;
    expect(coverage).toEqual({
      ...{ start_session: '2024-02-20', end_session: '2024-05-20', state: 'complete' },
    });
  });

  test('reads a half day, on which the market closed at 13:00', async () => {
    expect((await run(HALF_DAY)).code).toBe(0);
    const parts = await database().sql`
      select part, max(ts) as last from bars_1m join symbol_ranges using (instrument_id)
      where symbol = 'GOOG' group by part order by part`;
    const regular = parts.find(({ part }) => part === 1);
    expect(regular?.last).toEqual(new Date('2015-12-24T17:59:00Z'));
  });

  test('wants to know the zone of local times, and which end of the bar they are', async () => {
    const { code, err } = await run(STAMPED_AT_THE_END);
    expect(code).toBe(2);
    expect(err).toContain('does not say its time zone');
    expect(err).toContain('America/New_York');
    expect(await count('AAPL')).toMatchObject({ bars: 0 });
    const said = ['--zone', 'America/New_York', '--stamp', 'end'];
    expect((await run(STAMPED_AT_THE_END, ...said)).code).toBe(0);
    // The stamp 16:00 is of the minute that began at 15:59.
    expect(await count('AAPL')).toMatchObject({
      bars: 1948,
      last: new Date('2019-02-15T20:59:00Z'),
    });
  });

  test('takes hours when it is told that they are', async () => {
    const rows = ['2024-02-20T14:00:00Z,1,2,1,2,10', '2024-02-20T15:00:00Z,2,2,1,1,10'];
    const path = write('HRS.csv', HEADER, ...rows);
    expect((await run(path, '--timeframe', '1h')).code).toBe(0);
    expect(await count('HRS', 'bars_1h')).toMatchObject({ bars: 2 });
    expect(await count('HRS')).toMatchObject({ bars: 0 });
  });

  test('keeps rows that are no bars, with the reason', async () => {
    const path = write(
      ...(['BAD.csv', HEADER, '2024-02-20T14:30:00Z,1,2,1,2,10'] as const),
      '2024-02-20T14:31:00Z,1,2,1,,10',
      '2024-02-20T14:32:30Z,1,2,1,2,10',
      '2024-02-20T14:33:00Z,1,2,1,2,-10',
      '2024-02-20T14:30:00Z,1,2,1,2,10',
    );
    const { out } = await run(path);
    expect(out).toContain('5 rows of 1 symbols: 2 bars new, 0 changed, 0 unchanged, 3 rejected');
    const rejected = await database().sql`
      select dataset, reason from rejected_rows where symbol = 'BAD' order by reason`;
    expect(rejected.map(({ dataset }) => dataset)).toEqual(['1m', '1m', '1m']);
    expect(rejected.map(({ reason }) => reason).join('\n')).toContain('whole minute');
    const [negative] = await database().sql`
      select score from bars_1m join symbol_ranges using (instrument_id)
      where symbol = 'BAD' and volume < 0`;
    expect(negative.score).toBe(0);
  });

  describe('refuses, and stores nothing of', () => {
    const cases: [what: string, args: () => string[], says: string][] = [
      ['daily bars called minutes', () => [DAILY, '--timeframe', '1m'], 'looks like daily bars'],
      ['minutes called daily', () => [SPY, '--timeframe', '1d'], 'looks like bars below a day'],
      ['a timeframe that is not stored', () => [SPY, '--timeframe', '5m'], '1d or 1h or 1m'],
      ['a zone nobody trades in', () => [SPY, '--zone', 'CET'], 'America/New_York or UTC'],
      ['a third end of a bar', () => [SPY, '--stamp', 'middle'], 'start or end'],
      ['a unit of trades', () => [SPY, '--unit', 'ms'], 'only s has to be said'],
      ['files of two kinds', () => [SPY, DAILY], 'import them one by one'],
      ['no file', () => [], 'name the files to import'],
      ['a file that is not there', () => [path('nowhere.csv')], 'cannot read'],
      [
        'seconds that are not said',
        () => [
          write('SEC.csv', HEADER, '1708439400,1,2,1,2,9', '1708439460,1,2,1,2,9'),
          ...['--timeframe', '1m'],
        ],
        'seconds',
      ],
    ];
    for (const [what, args, says] of cases) {
      test(what, async () => {
        const before = await database().sql`select count(*)::int as n from bars_1m`;
        const { code, out, err } = await run(...args());
        expect(code).toBe(2);
        expect(out).toBe('');
        expect(err).toContain(says);
        expect([...(await database().sql`select count(*)::int as n from bars_1m`)]).toEqual([
          ...before,
        ]);
      });
    }
  });
});
