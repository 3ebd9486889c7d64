import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type BenchRun, median, psql, seconds } from './bench-measure.ts';

const TRADES = resolve(import.meta.dir, '../../shared/data/trades/lean');
const ROUNDS = 5;
const READS = 15;

/**
 * Files of real trades, by the executable's import, against COPY of the same rows by psql. The two
 * take turns, and who begins alternates. Gives a filled database.
 */
export async function benchTradeImport(bench: BenchRun): Promise<string> {
  const files = readdirSync(TRADES).map((name) => join(TRADES, name));
  const rows = join(bench.folder, 'trades.csv');
  const ours: number[] = [];
  const copies: number[] = [];
  let filled = '';
  let stored = 0;
  const load = async () => {
    filled = await bench.makeDatabase();
    const start = performance.now();
    const report = JSON.parse(bench.marketd(filled, 'import', ...files, '--json'));
    ours.push(seconds(start));
    stored = report.inserted;
  };
  const copy = async () => {
    const url = await bench.makeDatabase();
    const start = performance.now();
    psql(url, `\\copy trades from '${rows}' csv`);
    copies.push(seconds(start));
  };
  await load();
  psql(filled, `\\copy (select * from trades) to '${rows}' csv`);
  ours.length = 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of round % 2 === 0 ? [load, copy] : [copy, load]) await way();
  }
  const rate = stored / median(ours);
  const copyRate = stored / median(copies);
  const detail = `${Math.round(rate)} trades/s, psql ${Math.round(copyRate)} rows/s of ${stored}`;
  bench.add('trades from CSV / psql COPY', rate / copyRate, 'x', ['>=', 0.5], detail);
  return filled;
}

/** The statement of src/query/candles.ts with its parameters written out, its rows as columns. */
const AGGREGATE = `
  with aggregated as materialized (
    select date_bin('1 minute', ts, '2000-01-01 00:00:00+00') as bucket,
           min(ts) filter (where updates & 1 <> 0) as first_ts,
           max(ts) filter (where updates & 1 <> 0) as last_ts,
           max(price) filter (where updates & 2 <> 0) as high,
           min(price) filter (where updates & 2 <> 0) as low,
           sum((size * 1000000)::bigint) filter (where updates & 4 <> 0) as millionths,
           sum((price * size * 1000000)::bigint) filter (where updates & 4 <> 0) as value,
           count(*) filter (where updates & 4 <> 0) as trades
    from trades
    where instrument_id = :id and ts >= '2013-10-07 04:00+00' and ts < '2013-10-08 04:00+00'
    group by 1),
  edges as (
    select date_bin('1 minute', ts, '2000-01-01 00:00:00+00') as bucket,
           (min(array[date_part('epoch', ts), sequence, price]))[3] as open,
           (max(array[date_part('epoch', ts), sequence, price]))[3] as close
    from trades
    where instrument_id = :id and ts >= '2013-10-07 04:00+00' and ts < '2013-10-08 04:00+00'
      and updates & 1 <> 0
      and ts = any(array(select first_ts from aggregated union all
                         select last_ts from aggregated))
    group by 1)
  select bucket, max(open), max(high), max(low), max(close), max(millionths) / 1000000,
         round(max(value) / max(millionths), 4), max(trades)
  from (select bucket, null::float8 as open, high, low, null::float8 as close, millionths, value,
               trades from aggregated
        union all select bucket, open, null, null, close, null, null, null from edges) halves
  group by bucket having max(open) is not null order by bucket`;

/** Candles of the busiest real symbol over HTTP, against the same aggregate by psql, in turns. */
export async function benchCandles(bench: BenchRun, database: string): Promise<void> {
  psql(database, 'vacuum (analyze) trades');
  const id = psql(database, "select instrument_id from symbol_ranges where symbol = 'SPY'").trim();
  const statement = AGGREGATE.replaceAll(':id', id);
  const server = await bench.serve(database);
  const path = '/candles?symbol=SPY&interval=1m&start=2013-10-07&end=2013-10-08';
  const ours: number[] = [];
  const theirs: number[] = [];
  let candles = 0;
  let lines = 0;
  const read = async () => {
    const start = performance.now();
    const answer = await (await fetch(`${server.url}${path}`)).json();
    ours.push(performance.now() - start);
    candles = (answer as { count: number }).count;
  };
  const select = async () => {
    const start = performance.now();
    lines = psql(database, statement).trim().split('\n').length;
    theirs.push(performance.now() - start);
  };
  try {
    for (let i = 0; i < READS; i++) {
      for (const way of i % 2 === 0 ? [read, select] : [select, read]) await way();
    }
  } finally {
    await server.stop();
  }
  if (candles !== lines) throw new Error(`${candles} candles, and ${lines} by psql`);
  const detail =
    `${median(ours).toFixed(0)} and ${median(theirs).toFixed(0)} ms for ${candles} candles ` +
    'of 250,601 trades';
  const ratio = median(ours) / median(theirs);
  bench.add('/candles 1m of a session / psql', ratio, 'x', ['<=', 1.5], detail);
}
