import { errorMessage, InputError } from '../errors.ts';
import { newYorkDay } from '../model/session.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { type SnapshotAnswer, type Yahoo, yahooSymbol } from '../providers/yahoo.ts';
import { type Database, type Transaction, transact } from '../store/database.ts';
import { insertEvents, type NewEvent } from '../store/events.ts';
import {
  finishRun,
  insertRun,
  type Lease,
  leaseLock,
  type RunCounts,
  type RunOrigin,
  updateRun,
} from '../store/jobs.ts';
import {
  type CollectorHolder,
  type SnapshotRow,
  selectCollectorHolder,
  upsertSnapshots,
  type WrittenSnapshot,
} from '../store/snapshots.ts';
import { type Instrument, selectInstruments, upsertSymbols } from '../store/symbols.ts';
import { insertRejectedRows, lockHeld, notifyBars, upsertStatus } from '../store/upsert.ts';
import type { Log } from '../telemetry.ts';
import { refuseMixing } from './ingest.ts';
import { emptyStatus } from './record.ts';

/** What collecting snapshots works with; made once by a command or `serve`. */
export interface SnapshotContext {
  database: Database;
  yahoo: Yahoo;
  /** Epoch ms. */
  now: () => number;
  log: Log;
}

export interface SnapshotRequest {
  /** Whose snapshots; undefined: of all symbols that are tracked. */
  symbols?: readonly string[];
  origin: RunOrigin;
}

/** What came of a snapshot that was fetched. */
export type SnapshotOutcome = 'new' | 'changed' | 'unchanged';

export interface SnapshotReport extends RunCounts {
  runId: number;
  /** How many symbols were asked for. */
  symbols: number;
  /** Those that are stored now, in the order that they were asked for. */
  snapshots: { symbol: string; outcome: SnapshotOutcome; snapshot: Snapshot }[];
  failures: { symbol: string; error: string }[];
  /** Rows outside of the day that was asked for. */
  droppedRows: number;
  missing: SnapshotAnswer['missing'];
}

/** Name of the job in `job_runs`, and of the lock that keeps collectors apart. */
const QUOTES_JOB = 'quotes';
/** After the close: when a quote that is delayed by a quarter of an hour shows it. */
export const LAST_QUOTES_DELAY_MS = 20 * 60_000;
/** An exchange's clock may be this much ahead of ours. */
const AHEAD_MAX_MS = 5_000;
const DATASET = 'snapshots';

/** Another process collects snapshots into the same database. */
export class CollectorBusyError extends Error {
  override name = 'CollectorBusyError';
}

export interface SnapshotCollector {
  /**
   * Takes the lock that only one collector can hold; `run` does it by itself.
   * @throws CollectorBusyError that says who holds it.
   */
  acquire(): Promise<void>;
  /** One round. @throws what `runSnapshots` does; CollectorBusyError. */
  run(signal?: AbortSignal): Promise<SnapshotReport>;
  /** Lets others collect. */
  close(): Promise<void>;
}

/**
 * Collects snapshots, round by round, as the only process that does. The lock is taken at the
 * first round and held until `close`; when the connection that holds it is lost, the round that is
 * under way stops and the next one takes it anew.
 */
export function makeSnapshotCollector(
  context: SnapshotContext,
  request: SnapshotRequest,
): SnapshotCollector {
  let lease: Lease | undefined;

  const close = async () => {
    const held = lease;
    lease = undefined;
    await held?.release();
  };
  const acquire = async (): Promise<Lease> => {
    if (lease && !lease.lost.aborted) return lease;
    await close();
    const { url, read } = context.database;
    lease = await leaseLock(url, QUOTES_JOB);
    if (lease) return lease;
    throw new CollectorBusyError(describeHolder(await selectCollectorHolder(read, QUOTES_JOB)));
  };

  return {
    acquire: async () => void (await acquire()),
    run: async (signal) => {
      const { lost } = await acquire();
      return runSnapshots(context, request, signal ? AbortSignal.any([signal, lost]) : lost);
    },
    close,
  };
}

function describeHolder(holder: CollectorHolder | undefined): string {
  const what = 'quotes are being collected into this database already';
  if (!holder) return `${what}: try again`;
  const { worker, address, since } = holder;
  const who =
    worker ?? (address === null ? 'a process of this machine' : `a process of ${address}`);
  return `${what}, by ${who} since ${since.toISOString()}: stop that one first`;
}

/**
 * One round: asks for the latest snapshot of each symbol and commits what is new in one
 * transaction. Of symbols that were unknown those are added (not tracked) that Yahoo knows. The
 * caller holds the lock; the round is recorded in `job_runs`.
 * @throws ProviderError when Yahoo refuses or is away; the signal's reason; nothing is stored then.
 */
export async function runSnapshots(
  context: SnapshotContext,
  { symbols, origin }: SnapshotRequest,
  signal?: AbortSignal,
): Promise<SnapshotReport> {
  const { database, yahoo, log } = context;
  const { write } = database;
  const wanted = await selectWanted(context, symbols);
  const runId = await insertRun(write, { job: QUOTES_JOB, origin, total: wanted.length });
  const before = yahoo.requestCount();
  try {
    const spellings = wanted.map(({ spelling }) => spelling);
    const answer = await yahoo.fetchSnapshots(spellings, signal);
    signal?.throwIfAborted();
    await addUnknown(context, wanted, answer);
    const stored = await storeAnswer(context, wanted, answer);
    const requests = yahoo.requestCount() - before;
    const report = { ...stored, requests, runId, symbols: wanted.length };
    await updateRun(write, runId, { ...report, done: wanted.length });
    await finishRun(write, runId, ...describeEnd(report));
    // A command prints them.
    if (report.failures.length > 0 && origin !== 'command') {
      log('WARNING', `quotes: ${report.failures.length} symbols failed`, {
        failures: report.failures.slice(0, 10),
      });
    }
    return report;
  } catch (error) {
    const state = signal?.aborted ? 'interrupted' : 'failed';
    await recordFailure(context, runId, yahoo.requestCount() - before, [
      state,
      errorMessage(error),
    ]).catch((second) => log('WARNING', `quotes: the run is not closed: ${errorMessage(second)}`));
    throw error;
  }
}

async function recordFailure(
  { database: { write } }: SnapshotContext,
  runId: number,
  requests: number,
  [state, error]: ['interrupted' | 'failed', string],
): Promise<void> {
  const counts = { inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
  await updateRun(write, runId, { ...counts, requests, done: 0 });
  await finishRun(write, runId, state, error);
}

function describeEnd(report: SnapshotReport): ['succeeded' | 'failed', string | null] {
  const { failures, symbols, missing } = report;
  const parts = failures.slice(0, 5).map(({ symbol, error }) => `${symbol}: ${error}`);
  if (missing) parts.unshift(`without ${missing.fields.join(', ')}: ${missing.reason}`);
  if (parts.length === 0) return ['succeeded', null];
  const failed = failures.length > 0 ? `${failures.length} of ${symbols} symbols failed; ` : '';
  return [failures.length > 0 ? 'failed' : 'succeeded', failed + parts.join('; ')];
}

interface Wanted {
  symbol: string;
  /** Yahoo's. */
  spelling: string;
  instrumentId: number | undefined;
}

async function selectWanted(
  { database, yahoo }: SnapshotContext,
  symbols: readonly string[] | undefined,
): Promise<Wanted[]> {
  const filter = { symbols, provider: yahoo.name, isCurrent: true };
  const known = await selectInstruments(database.read, filter);
  const bySymbol = new Map(known.map((instrument) => [instrument.symbol, instrument]));
  const all = [...new Set(symbols ?? bySymbol.keys())];
  return all.map((symbol) => {
    const instrument = bySymbol.get(symbol);
    return { symbol, spelling: spell(symbol, instrument), instrumentId: instrument?.instrumentId };
  });
}

/** As provider_symbols has it, or by the rule. */
function spell(symbol: string, instrument: Instrument | undefined): string {
  const own = instrument?.providerSymbol ?? symbol;
  return own === symbol ? yahooSymbol(symbol) : own;
}

/** Makes instruments of symbols that were unknown here, and are known there. */
async function addUnknown(
  { database }: SnapshotContext,
  wanted: Wanted[],
  answer: SnapshotAnswer,
): Promise<void> {
  const answered = new Set(answer.snapshots.map(({ symbol }) => symbol));
  const fresh = wanted.filter(
    ({ instrumentId, spelling }) => instrumentId === undefined && answered.has(spelling),
  );
  if (fresh.length === 0) return;
  const symbols = fresh.map(({ symbol }) => symbol);
  // Whoever is quoted under a symbol that another company gave up has it since.
  const former = { from: 'next' };
  await upsertSymbols(database.write, symbols, { isTracked: false, former });
  const made = await selectInstruments(database.read, { symbols });
  const ids = new Map(made.map(({ symbol, instrumentId }) => [symbol, instrumentId]));
  for (const one of fresh) one.instrumentId = ids.get(one.symbol);
}

type Stored = Omit<SnapshotReport, 'runId' | 'symbols' | 'requests'>;
type Candidate = SnapshotRow & { symbol: string };

/** Commits an answer with all that belongs to it: rejected rows, counters, notices, events. */
async function storeAnswer(
  context: SnapshotContext,
  wanted: readonly Wanted[],
  answer: SnapshotAnswer,
): Promise<Stored> {
  const { database, yahoo, now } = context;
  const receivedAt = now();
  const bySpelling = new Map(answer.snapshots.map((one) => [one.symbol, one.snapshot]));
  const rejected = [...answer.rejected];
  const candidates: Candidate[] = [];
  for (const { symbol, spelling, instrumentId } of wanted) {
    const snapshot = bySpelling.get(spelling);
    if (!snapshot || instrumentId === undefined) continue;
    const reason = snapshotProblem(snapshot, receivedAt);
    if (reason === null) candidates.push({ instrumentId, symbol, snapshot });
    else rejected.push({ symbol: spelling, reason, raw: JSON.stringify(snapshot.meta) });
  }
  const origin = { provider: yahoo.name, receivedAt };
  const { rows, written, mixed } = await transact(database.write, async (tx) => {
    const checked = await checkMixing(tx, candidates);
    const written = await upsertSnapshots(tx, checked.rows, origin);
    await recordRows(tx, checked.rows, written, yahoo.name);
    await insertRejectedRows(tx, withInstruments(rejected, wanted), yahoo.name, DATASET);
    const ids = written.map(({ instrumentId }) => instrumentId);
    await notifyBars(tx, ids, 'snapshots');
    await insertEvents(tx, toEvents(checked.rows, written, yahoo.name));
    return { ...checked, written };
  });
  return toStored(rows, written, {
    failures: [
      ...answer.failures.map(({ symbol, error }) => ({ symbol: ownSymbol(symbol, wanted), error })),
      ...rejected.map(({ symbol, reason }) => ({
        symbol: ownSymbol(symbol, wanted),
        error: reason,
      })),
      ...mixed,
    ],
    rejected: rejected.length,
    droppedRows: answer.droppedRows,
    missing: answer.missing,
  });
}

const ownSymbol = (spelling: string, wanted: readonly Wanted[]) =>
  wanted.find((one) => one.spelling === spelling)?.symbol ?? spelling;

function withInstruments(rejected: SnapshotAnswer['rejected'], wanted: readonly Wanted[]) {
  return rejected.map((row) => {
    const known = wanted.find(({ spelling }) => spelling === row.symbol);
    return { ...row, instrumentId: known?.instrumentId ?? null };
  });
}

/** Why a snapshot is not stored; null when it may be. */
function snapshotProblem({ ts }: Snapshot, receivedAt: number): string | null {
  if (ts <= receivedAt + AHEAD_MAX_MS) return null;
  const [at, now] = [ts, receivedAt].map((ms) => new Date(ms).toISOString());
  return `the quote lies in the future (${at}; here it is ${now})`;
}

/** Leaves out instruments whose data is made up. */
async function checkMixing(tx: Transaction, candidates: readonly Candidate[]) {
  const ids = candidates.map(({ instrumentId }) => instrumentId);
  const held = await lockHeld(tx, ids, 'snapshot');
  const mixed: SnapshotReport['failures'] = [];
  const rows = candidates.filter(({ symbol, instrumentId }) => {
    try {
      refuseMixing(symbol, held.get(instrumentId), false);
      return true;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      mixed.push({ symbol, error: error.message });
      return false;
    }
  });
  return { rows, mixed };
}

async function recordRows(
  tx: Transaction,
  rows: readonly Candidate[],
  written: readonly WrittenSnapshot[],
  provider: string,
): Promise<void> {
  const byId = new Map(rows.map((row) => [row.instrumentId, row]));
  const changes = written.flatMap(({ instrumentId, isNew, ts }) => {
    if (!byId.has(instrumentId)) return [];
    const day = newYorkDay(ts);
    const records = isNew ? 1 : 0;
    const status = emptyStatus(instrumentId);
    return [{ ...status, records, firstDay: day, latestDay: day, isSynthetic: false }];
  });
  await upsertStatus(tx, changes, provider, 'snapshot');
}

function toEvents(
  rows: readonly Candidate[],
  written: readonly WrittenSnapshot[],
  provider: string,
): NewEvent[] {
  const isWritten = new Set(written.map(({ instrumentId }) => instrumentId));
  return rows
    .filter(({ instrumentId }) => isWritten.has(instrumentId))
    .map(({ instrumentId, symbol, snapshot: { price, meta } }) => ({
      kind: 'snapshot',
      instrumentId,
      symbol,
      data: {
        price,
        volume: meta.volume,
        timestamp: meta.timestamp,
        open: meta.open,
        day_high: meta.day_high,
        day_low: meta.day_low,
        previous_close: meta.previous_close,
        market_cap: meta.market_cap,
        pe_ratio: meta.pe_ratio,
        currency: meta.currency ?? null,
        market_state: meta.market_state ?? null,
        provider,
        synthetic: false,
      },
    }));
}

function toStored(
  rows: readonly Candidate[],
  written: readonly WrittenSnapshot[],
  rest: Pick<Stored, 'failures' | 'rejected' | 'droppedRows' | 'missing'>,
): Stored {
  const byId = new Map(written.map((one) => [one.instrumentId, one.isNew]));
  const snapshots = rows.map(({ symbol, instrumentId, snapshot }) => {
    const isNew = byId.get(instrumentId);
    const outcome: SnapshotOutcome = isNew === undefined ? 'unchanged' : isNew ? 'new' : 'changed';
    return { symbol, outcome, snapshot };
  });
  const count = (outcome: SnapshotOutcome) =>
    snapshots.filter((one) => one.outcome === outcome).length;
  const counts = { inserted: count('new'), changed: count('changed') };
  return { ...counts, unchanged: count('unchanged'), snapshots, ...rest };
}
