import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import postgres from 'postgres';
import { NO_CAUSES, validateBars } from '../src/ingest/validate.ts';
import { makeBars } from '../src/model/bar.ts';
import { DEFAULT_THRESHOLDS } from '../src/model/quality.ts';
import { makeCalendar, toDay } from '../src/model/session.ts';
import { openPool, type Sql } from '../src/store/database.ts';
import { startEmbedded } from '../src/store/embedded.ts';
import { migrate } from '../src/store/migrate.ts';
import { benchExport } from './bench-export.ts';
import { benchAdjustment, benchQuality, benchReload } from './bench-history.ts';
import { type BenchRun, median, psql, seconds } from './bench-measure.ts';
import { benchOverview } from './bench-overview.ts';
import { benchStream } from './bench-stream.ts';
import { benchCandles, benchTradeImport } from './bench-trades.ts';
import { installPackage, startTimescale, stopTimescale } from './timescale.ts';

/**
 * The figures we promise, measured in one run on one machine: ratios against what the same
 * machine can do at best, medians of several rounds.
 *
 *   bun run bench                    on the embedded PostgreSQL
 *   bun run bench -- --timescale     on TimescaleDB
 *   bun run bench -- --json          as JSON
 *   bun run bench -- --only NAME     ingest, validation, reads, intraday, trades, export, stream,
 *                                    status, overview, memory, start, adjustment, reload or
 *                                    quality
 */
const ROOT = resolve(import.meta.dir, '..');
const MARKETD = join(ROOT, 'dist/marketd');
const FIRST = '2013-02-08';
const LAST = '2018-02-07';
const FILE_ROWS = 619_040;
const ROUNDS = 3;

interface Figure {
  what: string;
  value: number;
  unit: string;
  target: string;
  isMet: boolean;
  detail: string;
}

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean' },
    timescale: { type: 'boolean' },
    only: { type: 'string' },
  },
});

const say = (text: string) => process.stderr.write(`${text}\n`);

/** The server all is measured on, with production settings. */
async function startServer(folder: string) {
  if (options.timescale) {
    const server = await startTimescale(join(folder, 'timescale'), say);
    return { url: server.url, stop: () => stopTimescale(join(folder, 'timescale')) };
  }
  const server = await startEmbedded({ dataDir: join(folder, 'plain'), database: 'postgres' });
  return { url: server.url, stop: () => server.stop() };
}

class Bench implements BenchRun {
  readonly figures: Figure[] = [];
  #count = 0;

  constructor(
    readonly adminUrl: string,
    readonly admin: Sql,
    readonly vendorUrl: string,
    readonly folder: string,
  ) {}

  add(what: string, value: number, unit: string, target: [string, number], detail: string) {
    const [comparison, limit] = target;
    const isMet = comparison === '>=' ? value >= limit : value <= limit;
    const rounded = Number(value.toPrecision(4));
    this.figures.push({ what, value: rounded, unit, target: target.join(' '), isMet, detail });
    say(
      `${isMet ? 'met   ' : 'MISSED'} ${what}: ${rounded} ${unit} (${target.join(' ')}) ${detail}`,
    );
  }

  async makeDatabase(): Promise<string> {
    const name = `bench_${process.pid}_${this.#count++}`;
    await this.admin.unsafe(`create database ${name}`);
    const url = new URL(this.adminUrl);
    url.pathname = `/${name}`;
    const sql = openPool(url.toString(), { connections: 1 });
    await migrate(sql);
    await sql.end();
    return url.toString();
  }

  environment(url: string): Record<string, string> {
    return {
      PATH: process.env.PATH ?? '',
      NODE_ENV: 'production',
      DATABASE_URL: url,
      POLYGON_API_KEY: 'bench',
      POLYGON_BASE_URL: this.vendorUrl,
      POLYGON_REQUESTS_PER_MINUTE: '60000',
      API_PORT: '0',
      SCHEDULER: 'off',
    };
  }

  marketd(url: string, ...args: string[]): string {
    const env = this.environment(url);
    return execFileSync(MARKETD, args, {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** A served database, and when its `/health` first said 200. */
  async serve(url: string) {
    const start = performance.now();
    const child = Bun.spawn([MARKETD, 'serve'], {
      env: this.environment(url),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let log = '';
    const decoder = new TextDecoder();
    const reader = child.stderr.getReader();
    let address: string | undefined;
    while (!address) {
      const part = await reader.read();
      if (part.done) throw new Error(`marketd serve ended:\n${log}`);
      log += decoder.decode(part.value);
      address = /serving on (\S+)/.exec(log)?.[1];
    }
    reader.releaseLock();
    while ((await fetch(`${address}/health`)).status !== 200);
    return {
      url: address,
      startMs: performance.now() - start,
      rssMegabytes: () => {
        const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
        return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
      },
      stop: async () => {
        child.kill('SIGTERM');
        await child.exited;
      },
    };
  }
}

function symbolsOfFile(): string[] {
  const path = resolve(ROOT, '../shared/data/daily/sp500_5yr_2013_2018/all_stocks_5yr.csv');
  const names = new Set<string>();
  for (const line of readFileSync(path, 'utf8').split('\n').slice(1)) {
    const name = line.slice(line.lastIndexOf(',') + 1).trim();
    if (name) names.add(name);
  }
  return [...names];
}

/** The whole way in against COPY of the same rows by psql. Gives a filled database. */
async function benchIngest(bench: Bench): Promise<string> {
  const list = join(bench.folder, 'symbols.txt');
  await Bun.write(list, symbolsOfFile().join('\n'));
  const ours: number[] = [];
  const copies: number[] = [];
  let url = '';
  let stored = 0;
  let rejected = 0;
  const rows = join(bench.folder, 'rows.csv');
  for (let round = 0; round < ROUNDS; round++) {
    url = await bench.makeDatabase();
    bench.marketd(url, 'symbols', 'import', list);
    const range = ['--from', FIRST, '--to', LAST, '--json'];
    const start = performance.now();
    const report = JSON.parse(bench.marketd(url, 'backfill', '--all', ...range));
    ours.push(seconds(start));
    stored = report.inserted;
    rejected = report.rejected;
    if (round === 0) psql(url, `\\copy (select * from bars_1d) to '${rows}' csv`);
    const other = await bench.makeDatabase();
    const copying = performance.now();
    psql(other, `\\copy bars_1d from '${rows}' csv`);
    copies.push(seconds(copying));
  }
  const accounted = ((stored + rejected) / FILE_ROWS) * 100;
  bench.add('rows accounted for', accounted, '%', ['>=', 100], `${stored} + ${rejected} rejected`);
  const rate = stored / median(ours);
  const copyRate = stored / median(copies);
  const detail = `${Math.round(rate)} bars/s, psql ${Math.round(copyRate)} rows/s`;
  bench.add('vendor JSON to committed rows / psql COPY', rate / copyRate, 'x', ['>=', 0.5], detail);
  const again = performance.now();
  const range = ['--from', FIRST, '--to', LAST, '--json'];
  const second = JSON.parse(bench.marketd(url, 'backfill', '--all', ...range));
  bench.add('requests of a second run', second.requests, '', ['<=', 0], `${seconds(again)} s`);
  return url;
}

/** Validation alone, on the closest thing to real bars that needs no file. */
function benchValidation(bench: Bench): void {
  const calendar = makeCalendar();
  const days = calendar.sessions(toDay(FIRST), toDay(LAST));
  const bars = makeBars(days.length);
  let price = 100;
  for (let i = 0; i < days.length; i++) {
    const open = price * (1 + Math.sin(i * 12.9898) * 0.01);
    price = open * (1 + Math.sin(i * 78.233) * 0.02);
    bars.session[i] = days[i];
    bars.open[i] = open;
    bars.close[i] = price;
    bars.high[i] = Math.max(open, price) * 1.005;
    bars.low[i] = Math.min(open, price) * 0.995;
    bars.volume[i] = 1e6 * Math.exp(Math.sin(i * 37.719));
  }
  const rates: number[] = [];
  const symbols = 500;
  for (let round = 0; round < 9; round++) {
    const start = performance.now();
    for (let i = 0; i < symbols; i++) validateBars(bars, calendar, NO_CAUSES, DEFAULT_THRESHOLDS);
    rates.push((symbols * bars.length) / seconds(start) / 1e6);
  }
  bench.add('validation, one core', median(rates), 'million bars/s', ['>=', 3], '');
}

const RANGE = `start=${FIRST}&end=${LAST}&validated_only=false`;

/** Requests a second with 8 connections, by wrk. */
function load(url: string): number {
  const output = execFileSync('wrk', ['-t1', '-c8', '-d4s', url], { encoding: 'utf8' });
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]);
}

async function benchReads(bench: Bench, database: string): Promise<void> {
  const server = await bench.serve(database);
  const symbols = symbolsOfFile();
  try {
    const url = `${server.url}/api/v1/historical/AAPL?${RANGE}`;
    const body = join(bench.folder, 'body.json');
    await Bun.write(body, await (await fetch(url, { headers: plain })).bytes());
    await compareWarm(bench, '5 years warm / bare Bun.serve', url, body, 0.7);
    await benchFirstRead(bench, server.url, database, symbols.slice(5));
  } finally {
    await server.stop();
  }
}

const plain = { 'accept-encoding': 'identity' };

const MINUTES = '../shared/data/minute/polygon_SPY_1min_20240220_20240517.csv';
/** One symbol, one month of 1m bars in regular hours: 8,580 rows. */
const MONTH = '/api/v1/historical/SPY?start=2024-04-01&end=2024-04-30&timeframe=1m';

async function benchIntraday(bench: Bench): Promise<void> {
  const database = await bench.makeDatabase();
  bench.marketd(database, 'import', resolve(ROOT, MINUTES), '--json');
  const server = await bench.serve(database);
  try {
    const url = server.url + MONTH;
    const body = join(bench.folder, 'month.json');
    await Bun.write(body, await (await fetch(url, { headers: plain })).bytes());
    await compareWarm(bench, 'a month of 1m bars warm / bare Bun.serve', url, body, 0.4);
  } finally {
    await server.stop();
  }
}

/** Requests a second of an answer that is in memory, against a bare server with the same bytes. */
async function compareWarm(bench: Bench, what: string, url: string, body: string, least: number) {
  const bare = await startBare(body);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    theirs.push(load(bare.url));
    ours.push(load(url));
  }
  await bare.stop();
  const size = Math.round(Bun.file(body).size / 1024);
  const detail = `${Math.round(median(ours))} and ${Math.round(median(theirs))}/s of ${size} KB`;
  bench.add(what, median(ours) / median(theirs), 'x', ['>=', least], detail);
}

async function startBare(body: string) {
  const code = `const bytes = await Bun.file(${JSON.stringify(body)}).bytes();
    const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () =>
      new Response(bytes, { headers: { 'content-type': 'application/json' } }) });
    console.log(server.url.href);`;
  const child = Bun.spawn([process.execPath, '-e', code], { stdout: 'pipe' });
  const { value } = await child.stdout.getReader().read();
  return {
    url: new TextDecoder().decode(value).trim(),
    stop: async () => {
      child.kill();
      await child.exited;
    },
  };
}

/** Each symbol is read once by us and once as objects. */
async function benchFirstRead(bench: Bench, api: string, database: string, symbols: string[]) {
  const objects = postgres(database, { max: 1, onnotice: () => {} });
  const ids = await objects<{ symbol: string; instrument_id: number }[]>`
    select symbol, instrument_id from symbol_ranges`;
  const idOf = new Map(ids.map((row) => [row.symbol, row.instrument_id]));
  const ours: number[] = [];
  const theirs: number[] = [];
  await objects`vacuum (analyze) bars_1d`;
  const read = async (symbol: string) => {
    const url = `${api}/api/v1/historical/${symbol}?${RANGE}`;
    const start = performance.now();
    await (await fetch(url, { headers: plain })).bytes();
    ours.push(performance.now() - start);
  };
  const select = async (symbol: string) => {
    const start = performance.now();
    await objects`
      select session, open, high, low, close, volume, vwap, trade_count, score, flags, is_final,
             provider
      from bars_1d where instrument_id = ${idOf.get(symbol) ?? 0} order by session`;
    theirs.push(performance.now() - start);
  };
  for (let pass = 0; pass <= ROUNDS; pass++) {
    // The server forgets all bars, as after a night's backfill: every read is a first one again.
    await objects`select pg_notify('marketd', 'bars *')`;
    await Bun.sleep(200);
    // Turns of fifty, as a client reads one symbol after the other; who goes first alternates, for
    // whoever comes second finds the pages in the database's memory.
    for (let from = 0; from < symbols.length; from += 50) {
      const turn = symbols.slice(from, from + 50);
      const order = (from / 50 + pass) % 2 === 0 ? [read, select] : [select, read];
      for (const way of order) for (const symbol of turn) await way(symbol);
    }
    // The first pass warms up both programs and is not counted.
    if (pass > 0) continue;
    ours.length = 0;
    theirs.length = 0;
  }
  await objects.end();
  const detail = `${median(ours).toFixed(2)} and ${median(theirs).toFixed(2)} ms`;
  const ratio = median(ours) / median(theirs);
  bench.add('first read / postgres.js objects', ratio, 'x', ['<=', 1], detail);
}

/** A warehouse of made-up rows, with its counters; filled by SQL, for it is only counted here. */
async function fillWarehouse(
  url: string,
  symbols: number,
  days: number,
  first = '2020-01-01',
): Promise<void> {
  const sql = openPool(url, { connections: 1, statementTimeoutMs: 0 });
  await sql`insert into instruments (name) select 'made up' from generate_series(1, ${symbols})`;
  await sql`
    insert into symbol_ranges (instrument_id, symbol)
    select instrument_id, 'S' || instrument_id from instruments`;
  await sql`
    insert into bars_1d (instrument_id, session, flags, open, high, low, close, volume, score,
      ts_received, is_final, provider)
    select i, ${first}::date + d, 0, 10, 11, 9, 10, 1000, 1, now(), true, 'polygon'
    from generate_series(1, ${symbols}) i, generate_series(1, ${days}) d`;
  await sql`
    insert into instrument_status (instrument_id, timeframe, records, validated_records, score_sum,
      first_session, latest_session, latest_score)
    select instrument_id, '1d', count(*), count(*), count(*), min(session), max(session), 1
    from bars_1d group by 1`;
  await sql`analyze`;
  await sql.end();
}

async function statusMs(bench: Bench, database: string): Promise<number> {
  const server = await bench.serve(database);
  const times: number[] = [];
  for (let i = 0; i < 400; i++) {
    const start = performance.now();
    await (await fetch(`${server.url}/api/v1/status`)).json();
    if (i >= 50) times.push(performance.now() - start);
  }
  await server.stop();
  return median(times);
}

async function benchStatus(bench: Bench): Promise<void> {
  const small = await bench.makeDatabase();
  await fillWarehouse(small, 505, 1188);
  const large = await bench.makeDatabase();
  await fillWarehouse(large, 5050, 1188);
  const smalls: number[] = [];
  const larges: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    smalls.push(await statusMs(bench, small));
    larges.push(await statusMs(bench, large));
  }
  const ratio = median(larges) / median(smalls);
  bench.add('status, 6,000,000 rows / 600,000', ratio, 'x', ['<=', 1.3], '');
  bench.add('status with 6,000,000 rows', median(larges), 'ms', ['<=', 5], '5,050 symbols');
}

async function benchMemory(bench: Bench, database: string): Promise<void> {
  const server = await bench.serve(database);
  const idle = server.rssMegabytes();
  bench.add('memory, idle', idle, 'MB', ['<=', 130], '');
  for (const symbol of symbolsOfFile()) {
    const url = `${server.url}/api/v1/historical/${symbol}?${RANGE}`;
    await (await fetch(url, { headers: plain })).bytes();
  }
  bench.add('memory, all 505 symbols read', server.rssMegabytes(), 'MB', ['<=', 400], '');
  await server.stop();
}

async function benchStart(bench: Bench): Promise<void> {
  const database = await bench.makeDatabase();
  const times: number[] = [];
  for (let round = 0; round < 7; round++) {
    const server = await bench.serve(database);
    times.push(server.startMs);
    await server.stop();
  }
  bench.add('process start to first /health 200', median(times), 'ms', ['<=', 500], '');
}

function printTable(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => [
    figure.isMet ? 'met' : 'MISSED',
    figure.what,
    `${figure.value} ${figure.unit}`.trim(),
    figure.target,
    figure.detail,
  ]);
  const header = ['', 'what', 'measured', 'target', ''];
  const widths = header.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i].length)),
  );
  for (const row of [header, ...rows]) {
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  }
}

async function run(bench: Bench): Promise<void> {
  const wants = (name: string) => options.only === undefined || options.only === name;
  if (wants('validation')) benchValidation(bench);
  if (wants('start')) await benchStart(bench);
  if (wants('ingest') || wants('reads') || wants('memory')) {
    const database = await benchIngest(bench);
    if (wants('reads')) await benchReads(bench, database);
    if (wants('memory')) await benchMemory(bench, database);
  }
  if (wants('intraday')) await benchIntraday(bench);
  if (wants('trades')) await benchCandles(bench, await benchTradeImport(bench));
  if (wants('export')) await benchExport(bench);
  if (wants('stream')) await benchStream(bench);
  if (wants('status')) await benchStatus(bench);
  if (wants('overview')) await benchOverview(bench);
  if (wants('adjustment')) await benchAdjustment(bench);
  if (wants('reload')) await benchReload(bench);
  if (wants('quality')) {
    const large = await bench.makeDatabase();
    await fillWarehouse(large, 505, 11_881, '1990-01-01');
    await benchQuality(bench, large);
  }
}

async function main(): Promise<number> {
  installPackage('psql', 'postgresql-client');
  installPackage('wrk', 'wrk');
  execFileSync(process.execPath, [join(ROOT, 'scripts/build.ts')], { stdio: 'pipe' });
  const folder = mkdtempSync(join(tmpdir(), 'marketd-bench-'));
  execFileSync('chmod', ['755', folder]);
  const vendor = Bun.spawn(
    [process.execPath, join(ROOT, 'test/vendor-server.ts'), '--port', '0', '--sp500'],
    { stdout: 'pipe' },
  );
  const { value } = await vendor.stdout.getReader().read();
  const server = await startServer(folder);
  const admin = openPool(server.url, { connections: 1 });
  const bench = new Bench(server.url, admin, new TextDecoder().decode(value).trim(), folder);
  try {
    await run(bench);
  } finally {
    await admin.end();
    await server.stop();
    vendor.kill();
    rmSync(folder, { recursive: true, force: true });
  }
  if (options.json) console.log(JSON.stringify(bench.figures, null, 2));
  else printTable(bench.figures);
  return bench.figures.every((figure) => figure.isMet) ? 0 : 1;
}

process.exit(await main());
