import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { FLAG } from '../../src/model/quality.ts';
import { describeEditions } from '../database.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { useScratchFolder } from '../fixtures/scratch-folder.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const ACTIONS = join(SHARED_DATA, 'corporate_actions');
const SPLITS = join(ACTIONS, 'av_splits_extracted.csv');
const DIVIDENDS = join(ACTIONS, 'av_dividends_extracted.csv');
const APPLE = join(SHARED_DATA, 'daily/av_raw_2023/daily_AAPL.csv');

const { path, write } = useScratchFolder();

describeEditions('marketd import of splits and dividends', (database) => {
  const run = (...args: string[]) => runCli(['import', ...args], { DATABASE_URL: database().url });

  test('stores each event once, explains the gaps of bars, and changes nothing again', async () => {
    const { sql } = database();
    const flags = async () => {
      const rows = await sql`
        select session, flags from bars_1d join symbol_ranges using (instrument_id)
        where symbol = 'AAPL' and session in ('2014-06-09', '2020-08-31') order by session`;
      return rows.map((row) => row.flags & (FLAG.gap | FLAG.gapSplit));
    };
    expect((await run(APPLE)).code).toBe(0);
    expect(await flags()).toEqual([FLAG.gap, FLAG.gap]);
    const first = await run(SPLITS, DIVIDENDS, '--json');
    expect(first.code).toBe(0);
    expect(JSON.parse(first.out)).toMatchObject({
      ...{ files: 2, rows: 762, symbols: 15, inserted: 734, changed: 0, unchanged: 28 },
      rejected: 0,
    });
    expect(await flags()).toEqual([FLAG.gap | FLAG.gapSplit, FLAG.gap | FLAG.gapSplit]);
    const stored = await sql`
      select a.kind, a.provider, a.provider_action_id as id, a.split_from, a.split_to
      from corporate_actions a join symbol_ranges using (instrument_id)
      where symbol = 'AAPL' and ex_date = '2014-06-09'`;
    expect([...stored]).toEqual([
      { kind: 'split', provider: 'csv', id: '2014-06-09 7:1', split_from: 1, split_to: 7 },
    ]);
    const [status] = await sql`
      select providers from instrument_status join symbol_ranges using (instrument_id)
      where symbol = 'AAPL' and timeframe = '1d'`;
    expect(status.providers).toEqual(['file']);
    const again = await run(SPLITS, DIVIDENDS);
    expect(again.out).toContain(
      '762 rows of 15 symbols: 0 splits and dividends new, 0 changed, 762 unchanged, 0 rejected',
    );
  });

  test('belong to whoever had the symbol that day; what is wrong is kept', async () => {
    const { sql } = database();
    await run(write('FB_dividends.csv', 'ex_date,dividend', '2020-01-02,0.5'));
    await sql`update symbol_ranges set valid_from = '2012-05-18' where symbol = 'FB'`;
    const path = write(
      'some.csv',
      ...['symbol,ex_date,dividend', 'FB,2000-01-03,1', 'FB,2020-02-03,x', 'FB,2020-03-02,2'],
    );
    const done = await run(path, '--provider', 'mine', '--json');
    expect(JSON.parse(done.out)).toMatchObject({ rows: 3, inserted: 1, rejected: 2 });
    const rejected = await sql`
      select dataset, provider, session, reason from rejected_rows
      where symbol = 'FB' order by session`;
    expect(rejected.map((row) => Object.values(row).join(' | '))).toEqual([
      'actions | mine | 2000-01-03 | nobody had the symbol on 2000-01-03, only since 2012-05-18',
      'actions | mine | 2020-02-03 | line 3: the dividend is "x": no amount',
    ]);
  });

  test.each<[string, string[], string]>([
    ['a torn one beside', ['torn.csv.gz'], 'torn.csv.gz'],
    ['bars beside', [APPLE], 'import them one by one'],
    ['columns', ['--columns', 'ex_date,dividend'], 'these files need a header'],
    ['a timeframe', ['--timeframe', '1d'], 'looks like splits and dividends'],
    ['no name of a provider', ['--provider', 'A B'], 'provider must be a short'],
  ])('%s changes nothing', async (_, args, reason) => {
    const { sql } = database();
    await Bun.write(path('torn.csv.gz'), Bun.gzipSync('symbol,date,dividend\n').slice(0, 20));
    const paths = args.map((arg) => (arg.startsWith('torn') ? path(arg) : arg));
    const own = write('new.csv', 'symbol,ex_date,dividend', 'NEWCO,2020-01-02,0.5');
    const { code, err } = await run(own, ...paths);
    expect(err).toContain(reason);
    expect(code).toBe(2);
    expect([...(await sql`select from symbol_ranges where symbol = 'NEWCO'`)]).toEqual([]);
  });
});
