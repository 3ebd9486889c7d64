import { createConnection } from 'node:net';
import { makeCalendar, toDate } from '../src/model/session.ts';
import { openPool } from '../src/store/database.ts';
import { type BenchRun, median } from './bench-measure.ts';

/** The overview page with as many symbols as a market has. */

const SYMBOLS = 10_000;
const SESSIONS = 600;
const WARM_UP = 30;
const TIMES = 200;
/** What a browser asks with. */
const BROWSER = { 'accept-encoding': 'gzip, deflate, br, zstd', accept: 'text/html' };
/** Of so many symbols a backfill commits bars at once. */
const COMMITTED = 500;

export async function benchOverview(bench: BenchRun): Promise<void> {
  const database = await bench.makeDatabase();
  await fillMarket(database);
  const server = await bench.serve(database);
  try {
    const page = await firstByteMs(() => fetch(`${server.url}/dashboard`, { headers: BROWSER }));
    const rows = (SYMBOLS * SESSIONS).toLocaleString('en-US');
    const symbols = `${SYMBOLS.toLocaleString('en-US')} symbols`;
    bench.add(`overview, first byte, ${rows} rows`, page, 'ms', ['<=', 20], symbols);
    await benchPoll(bench, server.url);
    await benchSorts(bench, server.url);
    await benchCommits(bench, server.url, database);
  } finally {
    await server.stop();
  }
}

/** A market whose prices move a little, with counters and coverage as an ingest leaves them. */
async function fillMarket(url: string): Promise<void> {
  const calendar = makeCalendar();
  const latest = calendar.latestSession(Date.now(), 3_600_000);
  const position = calendar.sessionsBefore(latest);
  const days = Array.from({ length: SESSIONS }, (_, i) =>
    toDate(calendar.sessionAt(position - SESSIONS + 1 + i)),
  );
  const next = toDate(calendar.sessionAt(position + 1));
  const sql = openPool(url, { connections: 1, statementTimeoutMs: 0 });
  await sql`
    insert into instruments (name)
    select 'Company number ' || i from generate_series(1, ${SYMBOLS}) i`;
  await sql`
    insert into symbol_ranges (instrument_id, symbol)
    select instrument_id, 'S' || instrument_id from instruments`;
  await sql`
    insert into bars_1d (instrument_id, session, flags, open, high, low, close, volume, score,
      ts_received, is_final, provider)
    select i, d.session, 0, 50, 61, 39, 50 + 10 * sin(i + d.n / 9.0), 1000, 1, now(), true,
           'polygon'
    from generate_series(1, ${SYMBOLS}) i
    cross join unnest(${days}::date[]) with ordinality as d(session, n)`;
  await sql`
    insert into instrument_status (instrument_id, timeframe, records, validated_records, score_sum,
      first_session, latest_session, latest_score, providers, last_backfill_at, last_backfill_ok)
    select instrument_id, '1d', ${SESSIONS}, ${SESSIONS} - instrument_id % 40, ${SESSIONS},
           ${days[0]}::date, ${days[SESSIONS - 1]}::date, 1, '{polygon}', now(),
           instrument_id % 500 <> 0
    from instruments`;
  await sql`
    insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
      provider, asked_at)
    select instrument_id, '1d', ${days[0]}::date, ${next}::date, 'complete', true, 'polygon', now()
    from instruments`;
  await sql`
    insert into finding_counts (instrument_id, kind, state, count)
    select instrument_id, 'gap', 'open', 3 from instruments where instrument_id % 7 = 0`;
  await sql`
    insert into job_runs (job, origin, state, finished_at, worker, total, done, requests)
    values ('backfill', 'schedule', 'succeeded', now(), 'bench:1', 10000, 10000, 10000)`;
  await sql`analyze`;
  await sql.end();
}

/** From the request to the first of the answer; the rest of it is read, but not counted. */
async function firstByteMs(ask: () => Promise<Response>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < WARM_UP + TIMES; i++) {
    const start = performance.now();
    const answer = await ask();
    if (i >= WARM_UP) times.push(performance.now() - start);
    await answer.bytes();
    if (!answer.ok && answer.status !== 304) throw new Error(`answered ${answer.status}`);
  }
  return median(times);
}

async function benchPoll(bench: BenchRun, url: string): Promise<void> {
  const known = await fetch(`${url}/dashboard/status`, { headers: BROWSER });
  await known.bytes();
  const tag = known.headers.get('etag') ?? '';
  const headers = { ...BROWSER, 'if-none-match': tag, 'hx-request': 'true' };
  const poll = await firstByteMs(() => fetch(`${url}/dashboard/status`, { headers }));
  bench.add('overview, polled, nothing changed', poll, 'ms', ['<=', 2], '');
  const size = await answerBytes(url, tag);
  bench.add('the same, whole answer', size, 'bytes', ['<=', 300], '');
}

/** Bytes of an answer on the wire, status line and headers with it. */
function answerBytes(url: string, tag: string): Promise<number> {
  const { hostname, port, host } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = createConnection(Number(port), hostname);
    let bytes = 0;
    let text = '';
    socket.on('data', (part) => {
      bytes += part.length;
      text += part;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      if (text.startsWith('HTTP/1.1 304')) resolve(bytes);
      else reject(new Error(`not a 304: ${text.slice(0, 100)}`));
    });
    const lines = ['GET /dashboard/status HTTP/1.1', `Host: ${host}`, `If-None-Match: ${tag}`];
    socket.write(`${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`);
  });
}

/** Every list is another one, so that none is known from before. */
async function benchSorts(bench: BenchRun, url: string): Promise<void> {
  const sorts = ['symbol', 'quality', 'coverage', 'behind', 'records', 'state', 'change'];
  // Changes of all symbols are asked for when somebody first sorts by them.
  await (await fetch(`${url}/dashboard/status?sort=change`)).bytes();
  let i = 0;
  const sorted = await firstByteMs(() => {
    const sort = sorts[i++ % sorts.length];
    return fetch(`${url}/dashboard/status?sort=${sort}&dir=desc&q=${i}`, { headers: BROWSER });
  });
  bench.add('overview, sorted and filtered anew', sorted, 'ms', ['<=', 50], '');
}

/** While a backfill commits bars of many symbols before each poll. */
async function benchCommits(bench: BenchRun, url: string, database: string): Promise<void> {
  const sql = openPool(database, { connections: 1 });
  const times: number[] = [];
  for (let round = 0; round < 40; round++) {
    const first = (round * COMMITTED) % SYMBOLS;
    await sql.begin(async (tx) => {
      const rows = await tx<{ id: number }[]>`
        update instrument_status set validated_records = validated_records - 1,
          version = version + 1
        where instrument_id > ${first} and instrument_id <= ${first + COMMITTED}
        returning instrument_id as id`;
      await tx`select pg_notify('marketd', ${`bars ${rows.map(({ id }) => id).join(' ')}`})`;
    });
    const start = performance.now();
    await (await fetch(`${url}/dashboard/status`, { headers: BROWSER })).bytes();
    if (round >= 10) times.push(performance.now() - start);
  }
  await sql.end();
  const detail = `${COMMITTED} symbols change before each`;
  bench.add('overview, polled while bars come in', median(times), 'ms', ['<=', 100], detail);
}
