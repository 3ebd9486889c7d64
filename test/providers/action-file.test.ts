import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ActionFileOptions, readActionFile } from '../../src/providers/action-file.ts';
import { sniffFile } from '../../src/providers/minute-file.ts';
import { failureOf } from '../fixtures/warehouse.ts';
import { SHARED_DATA } from '../vendor-server.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-actions-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, ...lines: string[]): string {
  const path = join(folder, name);
  writeFileSync(path, lines.join('\n'));
  return path;
}

/** What is in a file of these lines, in short. */
async function read(lines: string[], name = 'actions.csv', options?: ActionFileOptions) {
  const file = await readActionFile(write(name, ...lines), options);
  return {
    actions: file.actions.map((action) =>
      action.kind === 'split'
        ? `${action.symbol} ${action.exDate} ${action.splitTo} for ${action.splitFrom}`
        : `${action.symbol} ${action.exDate} ${action.cashAmount} ${action.currency}`,
    ),
    rejected: file.rejected.map(({ symbol, session, reason }) => `${symbol} ${session} ${reason}`),
    rows: file.rows,
  };
}

describe('splits and dividends of a file', () => {
  test('of recorded data are all read; noise of quotients is seen through', async () => {
    const recorded = join(SHARED_DATA, 'corporate_actions');
    const splits = await readActionFile(join(recorded, 'av_splits_extracted.csv'));
    expect([splits.rows, splits.actions.length, splits.rejected]).toEqual([26, 26, []]);
    const ids = splits.actions
      .filter(({ symbol }) => ['AAPL', 'NVDA'].includes(symbol))
      .map(({ symbol, providerActionId }) => `${symbol} ${providerActionId}`);
    expect([...new Set(ids)]).toEqual([
      'AAPL 2000-06-21 2:1',
      'AAPL 2005-02-28 2:1',
      'AAPL 2014-06-09 7:1', // 7.0 in one source, 7.00000700001 in another
      'AAPL 2020-08-31 4:1',
      'NVDA 2000-06-27 2:1',
      'NVDA 2001-09-17 2:1',
      'NVDA 2006-04-07 2:1',
      'NVDA 2007-09-11 3:2', // 1.49999925000037
      'NVDA 2021-07-20 4:1',
      'NVDA 2024-06-10 10:1',
    ]);
    const dividends = await readActionFile(join(recorded, 'av_dividends_extracted.csv'));
    expect([dividends.rows, dividends.actions.length, dividends.rejected]).toEqual([736, 736, []]);
    expect(dividends.actions[0]).toEqual({
      ...{ kind: 'dividend', providerActionId: '1995-02-13 0.12', symbol: 'AAPL' },
      ...{ exDate: '1995-02-13', cashAmount: 0.12, currency: null, declaredDate: null },
      ...{ recordDate: null, payDate: null, frequency: null },
    });
  });

  test('may stand in one row, and are none where they are 0 or 1', async () => {
    const found = await read(
      [
        'Date,Dividends,Stock Splits',
        '2020-08-31 00:00:00-04:00,0.5,4.0',
        '2020-11-06,0.205,0.0',
        '2020-11-09,0.0,1.0',
        '2021-02-05,0.205,',
      ],
      'AAPL_actions.csv',
    );
    expect(found.actions).toEqual([
      'AAPL 2020-08-31 4 for 1',
      'AAPL 2020-08-31 0.5 null',
      'AAPL 2020-11-06 0.205 null',
      'AAPL 2021-02-05 0.205 null',
    ]);
    expect(found.rejected).toEqual([]);
    expect(found.rows).toBe(4);
  });

  test('are read from pairs and ratios in every common form', async () => {
    const found = await read([
      'ticker,execution_date,split_from,split_to',
      'A,2020-01-02,1,7.00000700001',
      'B,2020-01-02,10,1',
    ]);
    expect(found.actions).toEqual(['A 2020-01-02 7 for 1', 'B 2020-01-02 1 for 10']);
    const ratios = ['symbol,ex_date,ratio', 'A,2020-01-02,3:2', 'B,2020-01-02,1/10'];
    expect((await read(ratios)).actions).toEqual(['A 2020-01-02 3 for 2', 'B 2020-01-02 1 for 10']);
  });

  test('keep two different dividends of a day, and their currency', async () => {
    const { actions } = await readActionFile(
      write(
        'two.csv',
        ...['symbol,ex_date,date,amount,currency'],
        ...['A,2020-01-02,2019-12-01,0.5,USD', 'A,2020-01-02,2019-12-01,0.25,CAD'],
      ),
    );
    expect(actions.map(({ providerActionId }) => providerActionId)).toEqual([
      '2020-01-02 0.5 USD',
      '2020-01-02 0.25 CAD',
    ]);
  });

  test('that cannot be read are rejected with the line and the reason', async () => {
    const found = await read([
      'symbol,ex_date,ratio,dividend',
      ...['A,2020-02-30,2,', 'A,1/2/2020,2,', 'A,2020-01-02,-2,', 'A,2020-01-02,x,'],
      ...['A,2020-01-02,0:1,', 'A,2020-01-02,,-1', 'A,2020-01-02,,x', 'A,2020-01-02,,'],
      ...['A,2020-01-02,2', 'A B,2020-01-02,2,', 'A,2020-01-02,2,'],
    ]);
    expect(found.actions).toEqual(['A 2020-01-02 2 for 1']);
    expect(found.rejected).toEqual([
      'A undefined line 2: the date is "2020-02-30": expected YYYY-MM-DD',
      'A undefined line 3: the date is "1/2/2020": expected YYYY-MM-DD',
      'A 2020-01-02 line 4: the split is "-2": no ratio',
      'A 2020-01-02 line 5: the split is "x": no ratio',
      'A 2020-01-02 line 6: the split is "0:1": no ratio',
      'A 2020-01-02 line 7: the dividend is "-1": no amount',
      'A 2020-01-02 line 8: the dividend is "x": no amount',
      'A 2020-01-02 line 9: neither a split nor a dividend',
      'A 2020-01-02 line 10: 3 cells, where there are 4 columns',
      'A B 2020-01-02 line 11: symbol is "A B": letters and digits, joined by . - / :',
    ]);
    expect(found.rows).toBe(11);
  });

  test('are of the symbol that is said, or that the file is named after', async () => {
    const lines = ['ex_date,dividend', '2020-01-02,1'];
    expect((await read(lines, 'msft_dividends.csv')).actions).toEqual(['MSFT 2020-01-02 1 null']);
    expect((await read(lines, 'data.csv', { symbol: 'IBM' })).actions).toEqual([
      'IBM 2020-01-02 1 null',
    ]);
    expect(await failureOf(read(lines, 'data.csv'))).toContain('say whose events it holds');
    const two = ['symbol,ex_date,dividend', 'A,2020-01-02,1', 'B,2020-01-02,1'];
    const only = await read(two, 'two.csv', { symbol: 'B' });
    expect(only.actions).toEqual(['B 2020-01-02 1 null']);
    expect(only.rejected).toEqual(['A 2020-01-02 line 2: symbol is "A", where B was asked for']);
  });

  test('are told from bars and trades by the header', async () => {
    const kind = (header: string, row: string) => sniffFile(write('sniffed.csv', header, row));
    expect(await kind('symbol,ex_date,split_coefficient', 'A,2020-01-02,2')).toBe('actions');
    expect(await kind('date,dividends', '2020-01-02,1')).toBe('actions');
    expect(await kind('date,open,high,low,close,volume,dividends', '2020-01-02,1,1,1,1,1,0')).toBe(
      'daily',
    );
    expect(await kind('symbol,timestamp,price,size', 'A,2020-01-02T15:00:00Z,1,1')).toBe('trades');
  });

  test('are not found in other files', async () => {
    expect(await failureOf(read(['a,b', '1,2']))).toContain('holds no splits or dividends');
    expect(await failureOf(read(['symbol,split_from,split_to', 'A,1,2']))).toContain('ex_date');
    expect(await failureOf(read([]))).toContain('is empty');
  });
});
