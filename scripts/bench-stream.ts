import { join } from 'node:path';
import { openPool, type Transaction } from '../src/store/database.ts';
import { insertEvents } from '../src/store/events.ts';
import type { BenchRun } from './bench-measure.ts';
import type { StreamReport } from './bench-stream-clients.ts';

const CLIENTS = 500;
const EVENTS_PER_SECOND = 100;
const SECONDS = 20;
/** How long the clients have to get what was committed last. */
const PATIENCE_MS = 10_000;

/**
 * Clients of one process that listen to everything, while events are committed one by one at a
 * steady pace, each in a transaction of its own.
 */
export async function benchStream(bench: BenchRun): Promise<void> {
  const database = await bench.makeDatabase();
  const server = await bench.serve(database);
  const events = EVENTS_PER_SECOND * SECONDS;
  const listeners = startListeners(`${server.url}/api/v1/stream`, events);
  try {
    await listeners.ready;
    const cpu = process.cpuUsage();
    const tookSeconds = await commitEvents(database, events);
    const report = await listeners.finish();
    const { user, system } = process.cpuUsage(cpu);
    const rate = (events / tookSeconds).toFixed(1);
    const writer = ((user + system) / 1e4 / tookSeconds).toFixed(0);
    const { clients, complete, p50Ms, p99Ms, maxMs } = report;
    const share = (complete / clients) * 100;
    const got = `${report.events} events, ${events} committed at ${rate}/s, writer ${writer} % CPU`;
    bench.add(`of ${CLIENTS} stream clients got every event`, share, '%', ['>=', 100], got);
    const detail = `median ${p50Ms.toFixed(1)}, most ${maxMs.toFixed(1)} ms`;
    bench.add('commit to client, p99', p99Ms, 'ms', ['<=', 250], detail);
  } finally {
    listeners.stop();
    await server.stop();
  }
}

/** The clients, in a process of their own. */
function startListeners(url: string, events: number) {
  const script = join(import.meta.dir, 'bench-stream-clients.ts');
  const child = Bun.spawn([process.execPath, script, url, String(CLIENTS), String(events)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ready = Promise.withResolvers<void>();
  const read = async () => {
    const decoder = new TextDecoder();
    const reader = child.stdout.getReader();
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += decoder.decode(part.value, { stream: true });
      if (text.startsWith('ready\n')) ready.resolve();
    }
    ready.reject(new Error(`the stream's clients ended: ${text}`));
    return JSON.parse(text.replace('ready\n', '')) as StreamReport;
  };
  const report = read();
  report.catch(() => {}); // told by `finish`
  return {
    ready: ready.promise,
    finish: async () => {
      const timer = setTimeout(() => void child.stdin.end(), PATIENCE_MS);
      try {
        return await report;
      } finally {
        clearTimeout(timer);
      }
    },
    stop: () => child.kill(),
  };
}

/** @returns how many seconds it took. */
async function commitEvents(database: string, events: number): Promise<number> {
  const pool = openPool(database, { connections: 2, applicationName: 'marketd bench' });
  const commit = (i: number) =>
    pool.begin((tx) => insertEvents(tx as unknown as Transaction, [makeTrade(i)]));
  await pool`select 1`;
  const start = performance.now();
  const commits: Promise<unknown>[] = [];
  for (let i = 0; i < events; i++) {
    const dueMs = start + (i * 1000) / EVENTS_PER_SECOND - performance.now();
    if (dueMs > 0) await Bun.sleep(dueMs);
    commits.push(commit(i));
  }
  await Promise.all(commits);
  const seconds = (performance.now() - start) / 1000;
  await pool.end();
  return seconds;
}

/** As large as a real one. */
const makeTrade = (i: number) => ({
  kind: 'trade' as const,
  instrumentId: 1 + (i % 15),
  symbol: `S${i % 15}`,
  data: {
    price: 185.42 + (i % 100) / 100,
    volume: 100 + i,
    size: 100 + i,
    timestamp: new Date().toISOString().replace('Z', '456Z'),
    sequence: i,
    exchange: 'XNAS',
    conditions: '12,37',
    provider: 'vendor',
    synthetic: false,
  },
});
