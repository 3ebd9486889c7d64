import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openPool, type Sql } from '../src/store/database.ts';
import { type BenchRun, median, seconds } from './bench-measure.ts';

/** What adjustment, restatement and the quality report cost. */

const DATA = resolve(import.meta.dir, '../../shared/data');
const FILE = join(DATA, 'daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
const ROUNDS = 3;
/** One row in so many is restated. */
const RESTATED_EVERY = 100;

/** Requests a second with 8 connections, by wrk. */
function load(url: string): number {
  const output = execFileSync('wrk', ['-t1', '-c8', '-d4s', url], { encoding: 'utf8' });
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]);
}

/** Twenty years of a symbol, adjusted for 4 splits and 35 dividends, against as it was traded. */
export async function benchAdjustment(bench: BenchRun): Promise<void> {
  const database = await bench.makeDatabase();
  const bars = 'daily/av_adjusted_2020/daily_adjusted_AAPL.csv';
  bench.marketd(database, 'import', join(DATA, bars), '--symbol', 'AAPL', '--json');
  await importActions(bench, database);
  const server = await bench.serve(database);
  const path = `${server.url}/api/v1/historical/AAPL?start=2000-11-27&end=2020-11-25`;
  const ways = { raw: path, all: `${path}&adjustment=all` };
  try {
    const rates = { raw: [] as number[], all: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      for (const way of ['raw', 'all'] as const) rates[way].push(load(ways[way]));
    }
    const answer = await (await fetch(ways.all)).json();
    const detail = `${answer.count} bars, ${answer.adjustments} ex-dates`;
    const ratio = median(rates.raw) / median(rates.all);
    bench.add('20 years adjusted / raw, warm', ratio, 'x', ['<=', 1.3], detail);
  } finally {
    await server.stop();
  }
}

/** The splits and dividends of AAPL, as a file that marketd reads. */
async function importActions(bench: BenchRun, database: string): Promise<void> {
  for (const name of ['av_splits_extracted.csv', 'av_dividends_extracted.csv']) {
    const lines = readFileSync(join(DATA, 'corporate_actions', name), 'utf8').split('\n');
    const ours = lines.filter((line, i) => i === 0 || line.startsWith('AAPL,'));
    const path = join(bench.folder, name);
    await Bun.write(path, `${ours.join('\n')}\n`);
    bench.marketd(database, 'import', path, '--json');
  }
}

/** Rows that were written over or taken away, of every table, since the statistics began. */
async function deadRows(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  await sql`select pg_stat_clear_snapshot()`;
  const [row] = await sql<{ dead: number }[]>`
    select coalesce(sum(n_tup_upd + n_tup_del), 0)::int as dead from pg_stat_all_tables
    where relid in (select inhrelid from pg_inherits where inhparent = 'bars_1d'::regclass
                    union all select 'bars_1d'::regclass)`;
  return row.dead;
}

/** A file with every hundredth bar restated; how many those are. */
async function restate(path: string): Promise<number> {
  let restated = 0;
  const lines = readFileSync(FILE, 'utf8').split('\n');
  for (let i = RESTATED_EVERY; i < lines.length; i += RESTATED_EVERY) {
    const cells = lines[i].split(',');
    if (cells.length < 7 || cells.slice(1, 6).some((cell) => cell === '')) continue;
    cells[5] = String(Number(cells[5]) + 100);
    lines[i] = cells.join(',');
    restated++;
  }
  await Bun.write(path, lines.join('\n'));
  return restated;
}

/** The same rows again, and one in a hundred of them restated, against the first load. */
export async function benchReload(bench: BenchRun): Promise<void> {
  const path = join(bench.folder, 'restated.csv');
  const wanted = await restate(path);
  const times = { first: [] as number[], again: [] as number[], restated: [] as number[] };
  const ratios = { again: [] as number[], restated: [] as number[] };
  let dead = 0;
  let revisions = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const database = await bench.makeDatabase();
    const sql = openPool(database, { connections: 1 });
    const timed = (file: string) => {
      const start = performance.now();
      bench.marketd(database, 'import', file, '--json');
      return seconds(start);
    };
    times.first.push(timed(FILE));
    const before = await deadRows(sql);
    times.again.push(timed(FILE));
    dead += (await deadRows(sql)) - before;
    times.restated.push(timed(path));
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int from bar_revisions where reason = 'values'`;
    revisions = row.count;
    ratios.again.push((times.again.at(-1) ?? 0) / (times.first.at(-1) ?? 1));
    ratios.restated.push((times.restated.at(-1) ?? 0) / (times.first.at(-1) ?? 1));
    await sql.end();
  }
  const took = (what: keyof typeof times) => `${median(times[what]).toFixed(1)} s`;
  const first = `first ${took('first')}`;
  const again = `${took('again')}, ${first}`;
  bench.add('the same rows again / first load', median(ratios.again), 'x', ['<=', 0.8], again);
  bench.add('bars written over by loading them again', dead, 'rows', ['<=', 0], '');
  const restated = `${took('restated')}, ${first}`;
  const ratio = median(ratios.restated);
  bench.add('1 % restated / first load', ratio, 'x', ['<=', 1], restated);
  const off = Math.abs(revisions - wanted);
  bench.add('revisions besides the restated bars', off, 'rows', ['<=', 0], `${revisions} of them`);
}

async function qualityMs(bench: BenchRun, database: string): Promise<number> {
  const server = await bench.serve(database);
  const times: number[] = [];
  for (let i = 0; i < 60; i++) {
    const start = performance.now();
    await (await fetch(`${server.url}/api/v1/quality?limit=505`)).json();
    if (i >= 10) times.push(performance.now() - start);
  }
  await server.stop();
  return median(times);
}

/**
 * The quality report of 505 symbols.
 * @param large a warehouse of 505 symbols with 6,000,000 bars.
 */
export async function benchQuality(bench: BenchRun, large: string): Promise<void> {
  const real = await bench.makeDatabase();
  bench.marketd(real, 'import', FILE, '--json');
  const detail = 'median over HTTP';
  bench.add('quality, 505 symbols', await qualityMs(bench, real), 'ms', ['<=', 50], detail);
  const what = 'quality, 505 symbols with 6,000,000 bars';
  bench.add(what, await qualityMs(bench, large), 'ms', ['<=', 50], detail);
}
