import { describe, expect, test } from 'bun:test';
import { formatTable, makeProgress } from '../src/terminal.ts';

/** A terminal that keeps what is written, and a clock that is moved by hand. */
function makeTerminal(isInteractive: boolean, columns = 80) {
  const out: string[] = [];
  const err: string[] = [];
  const time = { ms: 0 };
  const terminal = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    isInteractive,
    columns,
  };
  return { terminal, out, err, time, progress: makeProgress(terminal, () => time.ms) };
}

const at = (done: number, total: number, current = 'AAPL') => ({
  done,
  total,
  current,
  requests: done + 1,
  inserted: done * 1_000,
  changed: 0,
  unchanged: 0,
  rejected: 0,
});

describe('progress where no bar can be drawn', () => {
  test('is a plain line at the start, every five seconds and at the end', () => {
    const { progress, err, out, time } = makeTerminal(false);
    progress.show(at(1, 20));
    time.ms = 4_999;
    progress.show(at(2, 20));
    time.ms = 5_000;
    progress.show(at(3, 20, 'MSFT'));
    time.ms = 5_001;
    progress.show(at(20, 20, 'TSLA'));
    progress.end();
    expect(err).toEqual([
      'backfill: 1 of 20 (AAPL), 2 requests, 1,000 bars new\n',
      'backfill: 3 of 20 (MSFT), 4 requests, 3,000 bars new\n',
      'backfill: 20 of 20 (TSLA), 21 requests, 20,000 bars new\n',
    ]);
    expect(out).toEqual([]);
  });
});

describe('progress on a terminal', () => {
  test('redraws one line, at most ten times a second, and leaves it with a line break', () => {
    const { progress, err, time } = makeTerminal(true);
    progress.show(at(0, 4));
    time.ms = 99;
    progress.show(at(1, 4));
    time.ms = 100;
    progress.show(at(2, 4));
    progress.show(at(4, 4));
    progress.end();
    progress.end();
    expect(err).toHaveLength(4);
    expect(err[0]).toBe(`\r\x1b[2K[${'.'.repeat(40)}] 0% 0 bars  AAPL`);
    expect(err[1]).toBe(`\r\x1b[2K[${'#'.repeat(20)}${'.'.repeat(20)}] 50% 2,000 bars  AAPL`);
    expect(err[2]).toBe(`\r\x1b[2K[${'#'.repeat(40)}] 100% 4,000 bars  AAPL`);
    expect(err[3]).toBe('\n');
  });

  test('never is longer than a line, however narrow it is', () => {
    for (const columns of [20, 40, 60, 200]) {
      const { progress, err } = makeTerminal(true, columns);
      progress.show(at(3, 9, 'A-SYMBOL-WITH-A-VERY-LONG-NAME'));
      expect(err[0].replace('\r\x1b[2K', '').length).toBeLessThan(columns);
    }
  });

  test('of more done than was planned stays at 100 %, and so does nothing to do', () => {
    for (const progress of [at(12, 9), at(0, 0)]) {
      const { progress: printer, err } = makeTerminal(true);
      printer.show(progress);
      expect(err[0]).toContain('] 100% ');
    }
  });

  test('says nothing at the end when nothing was drawn', () => {
    const { progress, err } = makeTerminal(true);
    progress.end();
    expect(err).toEqual([]);
  });
});

describe('a table', () => {
  test('has texts to the left, numbers to the right and no spaces at the ends', () => {
    const rows = [
      ['AAPL', 1_259, 'yes'],
      ['BRK.B', 7, 'no'],
    ];
    expect(formatTable(['symbol', 'records', 'tracked'], rows)).toBe(
      ['symbol  records  tracked', 'AAPL      1,259  yes', 'BRK.B         7  no'].join('\n'),
    );
  });

  test('may have no rows', () => {
    expect(formatTable(['symbol', 'records'], [])).toBe('symbol  records');
  });
});
