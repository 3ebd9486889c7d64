import { readFileSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type BenchRun, median, psql, seconds } from './bench-measure.ts';

const ROOT = resolve(import.meta.dir, '..');
const MARKETD = join(ROOT, 'dist/marketd');
const SP500 = resolve(ROOT, '../shared/data/daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
const ROUNDS = 5;

/** The columns that the export prints, as psql prints them: it names the flags by their bits. */
const SAME_ROWS =
  'select r.symbol, session, open, high, low, close, volume, vwap, trade_count, score, ' +
  'score >= 0.85, flags, is_final, provider from bars_1d join symbol_ranges r ' +
  'using (instrument_id) order by r.symbol collate "C", session';

/**
 * 619,040 daily bars to CSV by the executable, against psql's COPY of the same rows in the same
 * order. The two take turns, and who begins alternates.
 */
export async function benchExport(bench: BenchRun): Promise<void> {
  const url = await bench.makeDatabase();
  bench.marketd(url, 'import', SP500);
  psql(url, 'vacuum (analyze) bars_1d');
  const file = join(bench.folder, 'export.csv');
  const ours: number[] = [];
  const copies: number[] = [];
  const write = () => {
    const start = performance.now();
    bench.marketd(url, 'export', '-o', file, '--force');
    ours.push(seconds(start));
  };
  const copy = () => {
    const start = performance.now();
    psql(url, `\\copy (${SAME_ROWS}) to '${join(bench.folder, 'copy.csv')}' csv header`);
    copies.push(seconds(start));
  };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of round % 2 === 0 ? [write, copy] : [copy, write]) way();
    if (round > 0) continue;
    // The first round warms the database up.
    ours.length = 0;
    copies.length = 0;
  }
  const detail =
    `${median(ours).toFixed(2)} and ${median(copies).toFixed(2)} s, ` +
    `${(statSync(file).size / 1e6).toFixed(1)} MB`;
  const ratio = median(ours) / median(copies);
  bench.add('export of 619,040 bars / psql COPY TO', ratio, 'x', ['<=', 2], detail);
  await benchMemory(bench, url, file);
  rmSync(file);
}

/** The most memory that an export took: of all rows, against that of a twentieth of them. */
async function benchMemory(bench: BenchRun, url: string, file: string): Promise<void> {
  const few = await peakMegabytes(bench, url, file, '--where', "symbol < 'AJ'");
  const all = await peakMegabytes(bench, url, file);
  const detail = `${few.toFixed(0)} and ${all.toFixed(0)} MB`;
  bench.add('memory, export of 619,040 rows / of 30,000', all / few, 'x', ['<=', 1.25], detail);
}

async function peakMegabytes(bench: BenchRun, url: string, file: string, ...args: string[]) {
  const child = Bun.spawn([MARKETD, 'export', '-o', file, '--force', ...args], {
    env: bench.environment(url),
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  let kilobytes = 0;
  while (child.exitCode === null) {
    kilobytes = Math.max(kilobytes, readPeak(child.pid));
    await Bun.sleep(10);
  }
  if (child.exitCode !== 0) throw new Error(`marketd export ended with ${child.exitCode}`);
  return kilobytes / 1024;
}

/** The most that a process has held so far, in kilobytes; 0 when it is gone. */
function readPeak(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}
