import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../src/errors.ts';
import { describeRange } from '../../src/model/symbol-range.ts';
import { parseMapFile } from '../../src/providers/map-file.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const FOLDER = join(SHARED_DATA, 'corporate_actions/lean_map_files');

function linesOf(name: string): string[] {
  const path = join(FOLDER, name);
  const { ranges } = parseMapFile(path, readFileSync(path, 'utf8'));
  return ranges.map((range) => `${range.symbol} ${describeRange(range)}`);
}

describe('map files', () => {
  test.each([
    ['fb.1.csv', ['FB 1999-09-29 to 2003-03-28']],
    ['fb.csv', ['FB since 2012-05-18']],
    ['wm.csv', ['UW until 1998-07-16', 'WMI 1998-07-17 to 2009-08-04', 'WM since 2009-08-05']],
    [
      'qqq.csv',
      ['QQQ 1999-03-10 to 2004-11-30', 'QQQQ 2004-12-01 to 2011-03-22', 'QQQ since 2011-03-23'],
    ],
    ['googl.csv', ['GOOG 2004-08-19 to 2014-04-02', 'GOOGL since 2014-04-03']],
    ['goog.csv', ['GOOCV 2014-03-27 to 2014-04-02', 'GOOG since 2014-04-03']],
    [
      'tfcfa.csv',
      [
        ...['NWSA 2004-11-12 to 2013-06-28', 'FOXA 2013-06-29 to 2019-03-18'],
        'TFCFA 2019-03-19 to 2019-03-20',
      ],
    ],
    ['twx.1.csv', ['TWX until 2001-01-11']],
    ['twx.csv', ['AOL until 2003-10-15', 'TWX 2003-10-16 to 2018-06-15']],
    [
      'spwr.csv',
      ['SPWR 2005-11-17 to 2008-09-29', 'SPWRA 2008-09-30 to 2011-11-16', 'SPWR since 2011-11-17'],
    ],
    ['tap.a.csv', ['TAPA 2005-02-09 to 2012-12-31', 'TAP.A since 2013-01-01']],
    ['aapl.csv', ['AAPL always']],
  ])('%s', (name, lines) => {
    expect(linesOf(name)).toEqual(lines);
  });

  test('all are read, and no two give one symbol to two at once', () => {
    const held = readdirSync(FOLDER).flatMap((name) =>
      parseMapFile(name, readFileSync(join(FOLDER, name), 'utf8')).ranges.map((range) => ({
        name,
        ...range,
      })),
    );
    expect(held.length).toBeGreaterThan(26);
    const clashes = held.flatMap((a) =>
      held
        .filter((b) => a.name < b.name && a.symbol === b.symbol)
        .filter((b) => a.startDay < b.endDay && b.startDay < a.endDay)
        .map((b) => `${a.name} ${b.name} ${a.symbol}`),
    );
    expect(clashes).toEqual([]);
  });

  test.each([
    ['', 'x.csv has fewer than two lines'],
    ['20120518,fb\n', 'x.csv has fewer than two lines'],
    ['date,symbol\n20501231,fb\n', 'x.csv, line 1: "date,symbol" is not yyyymmdd,symbol'],
    ['20120518,fb\n20501332,fb\n', 'x.csv, line 2: "20501332,fb" is not yyyymmdd,symbol'],
    ['20120518,fb\n20501231,f b\n', 'x.csv, line 2: "20501231,f b" is not yyyymmdd,symbol'],
    ['20120518,fb\n20110101,fb\n', 'x.csv, line 2: 2011-01-01 is not after the line before'],
  ])('%p is refused', (text, message) => {
    expect(() => parseMapFile('x.csv', text)).toThrow(InputError);
    expect(() => parseMapFile('x.csv', text)).toThrow(message);
  });
});
