import { errorMessage, InputError, ProviderError } from '../errors.ts';
import type { PriceAction } from '../model/adjustment.ts';
import type { BarColumns } from '../model/bar.ts';
import { type Reconciliation, reconcileBars } from '../model/reconciliation.ts';
import { type Calendar, toDate } from '../model/session.ts';
import { type Database, transact } from '../store/database.ts';
import {
  finishRun,
  insertRun,
  leaseLock,
  type RunCounts,
  type RunOrigin,
  updateRun,
} from '../store/jobs.ts';
import {
  type Checkable,
  insertReconciliation,
  selectCheckedBars,
  selectSample,
} from '../store/reconciliation.ts';
import { selectInstruments } from '../store/symbols.ts';
import type { Log } from '../telemetry.ts';

/** Name of the job in `job_runs`, and of the lock: of all processes one reconciles. */
export const RECONCILE_JOB = 'reconcile';

/** Days since 1970-01-01, both inclusive. */
export interface DayRange {
  firstDay: number;
  lastDay: number;
}

/** Whose bars the stored ones are compared with. */
export interface BarSource {
  /** Stored beside every result: 'yahoo', or a file's name. */
  name: string;
  /** Requests sent since it was made. */
  requestCount(): number;
  /**
   * Raw bars of the range, ascending, no session twice.
   * @throws ProviderError when there are none to be had; the signal's reason.
   */
  fetchBars(instrument: Checkable, range: DayRange, signal: AbortSignal): Promise<SourceAnswer>;
  /** Whether after this failure nothing else is worth asking for. */
  isOver(error: ProviderError): boolean;
}

export interface SourceAnswer {
  bars: BarColumns;
  /** What the source lists of splits and dividends; null when it lists none at all. */
  actions: PriceAction[] | null;
}

/** What reconciliation works with; made once by a command or `serve`. */
export interface ReconcileContext {
  database: Database;
  calendar: Calendar;
  /** How long after its close a session's bars are published. */
  publishDelayMs: number;
  /** Epoch ms. */
  now: () => number;
  /** Splits and dividends that adjust an instrument's prices. */
  actionsOf: (instrumentId: number) => Promise<PriceAction[]>;
  log: Log;
}

export interface ReconcileRequest {
  source: BarSource;
  /** Whom: these symbols, of whoever has them on the last day, or so many drawn by chance. */
  which: { symbols: readonly string[] } | { count: number; seed: number };
  range: DayRange;
  origin: RunOrigin;
  scheduledFor?: Date;
  /** Called as soon as the run has its number. */
  onRun?: (runId: number) => Promise<void>;
  onProgress?: (progress: { done: number; total: number; symbol: string }) => void;
}

export interface ReconcileReport {
  runId: number;
  results: { symbol: string; result: Reconciliation | { error: string } }[];
  requests: number;
}

/** Another process reconciles bars of the same database. */
export class ReconcileBusyError extends Error {
  override name = 'ReconcileBusyError';
}

/**
 * What is compared when nothing is said: the last year, up to the latest session whose bars are
 * published. Later days are left out also of a range that was named.
 * @throws InputError when nothing is left of the range.
 */
export function reconcileRange(
  { calendar, now, publishDelayMs }: Pick<ReconcileContext, 'calendar' | 'now' | 'publishDelayMs'>,
  { firstDay, lastDay }: Partial<DayRange>,
): DayRange {
  const latest = calendar.latestSession(now(), publishDelayMs);
  const last = Math.min(lastDay ?? latest, latest);
  const first = firstDay ?? last - 365;
  if (first <= last) return { firstDay: first, lastDay: last };
  const said = lastDay === undefined ? 'the latest session with bars' : 'its end';
  throw new InputError(`the range begins on ${toDate(first)}, after ${said}, ${toDate(last)}`);
}

/**
 * Compares stored daily bars with another source's and stores what it finds, an instrument after
 * the other; what was found before a failure stays. Bars are never changed by it.
 * @throws ReconcileBusyError; InputError for a symbol that is not known; ProviderError when the
 *   source cannot be asked any more; the signal's reason.
 */
export async function runReconciliation(
  context: ReconcileContext,
  request: ReconcileRequest,
  signal?: AbortSignal,
): Promise<ReconcileReport> {
  const { url, write } = context.database;
  const lease = await leaseLock(url, RECONCILE_JOB);
  if (!lease) {
    throw new ReconcileBusyError('bars of this database are being reconciled already: try later');
  }
  try {
    const instruments = await choose(context, request);
    const { origin, scheduledFor } = request;
    const total = instruments.length;
    const runId = await insertRun(write, { job: RECONCILE_JOB, origin, scheduledFor, total });
    const stop = signal ? AbortSignal.any([signal, lease.lost]) : lease.lost;
    return await new Reconciler(context, request, runId, stop).run(instruments);
  } finally {
    await lease.release();
  }
}

/** @throws InputError for symbols that are not known. */
async function choose(
  { database }: ReconcileContext,
  { which, range, source }: ReconcileRequest,
): Promise<Checkable[]> {
  const { read } = database;
  if (!('symbols' in which)) return selectSample(read, { ...which, provider: source.name });
  const symbols = [...new Set(which.symbols)];
  const day = toDate(range.lastDay);
  const found = await selectInstruments(read, { symbols, day, provider: source.name });
  const held = new Map(found.map((one) => [one.symbol, one]));
  const unknown = symbols.filter((symbol) => !held.has(symbol));
  if (unknown.length > 0) {
    const names = unknown.slice(0, 10).join(', ');
    throw new InputError(`nobody here has the symbol ${names} on ${day}`, 'symbols');
  }
  return found.map(({ instrumentId, symbol, providerSymbol: sourceSymbol }) => {
    return { instrumentId, symbol, sourceSymbol };
  });
}

class Reconciler {
  readonly #results: ReconcileReport['results'] = [];
  readonly #ts: Date;
  readonly #requestsBefore: number;

  constructor(
    readonly context: ReconcileContext,
    readonly request: ReconcileRequest,
    readonly runId: number,
    readonly signal: AbortSignal,
  ) {
    this.#ts = new Date(context.now());
    this.#requestsBefore = request.source.requestCount();
  }

  async run(instruments: readonly Checkable[]): Promise<ReconcileReport> {
    const { context, request, runId, signal } = this;
    const { write } = context.database;
    const total = instruments.length;
    try {
      await request.onRun?.(runId);
      for (const instrument of instruments) {
        signal.throwIfAborted();
        const done = this.#results.length;
        request.onProgress?.({ done, total, symbol: instrument.symbol });
        await this.#store(instrument, await this.#check(instrument));
      }
      await finishRun(write, runId, ...this.#describeEnd());
    } catch (error) {
      const state = signal.aborted ? 'interrupted' : 'failed';
      await this.#recordFailure(state, errorMessage(error));
      throw error;
    }
    return { runId, results: this.#results, requests: this.#requests() };
  }

  #requests(): number {
    return this.request.source.requestCount() - this.#requestsBefore;
  }

  /** What is found, or why there is nothing. @throws ProviderError after which nothing is asked. */
  async #check(instrument: Checkable): Promise<Reconciliation | { error: string }> {
    const { context, request, signal } = this;
    const { source, range } = request;
    const { instrumentId } = instrument;
    const held = await selectCheckedBars(context.database.read, instrumentId, range);
    if (held.isSynthetic) return { error: 'its bars are made up: there is nobody to ask' };
    try {
      const answer = await source.fetchBars(instrument, range, signal);
      const actions = await context.actionsOf(instrumentId);
      const { bars } = held;
      const name = held.providers.join(' and ') || 'nobody';
      return reconcileBars(
        { name, bars, actions, flags: bars.flags },
        { name: source.name, ...answer },
        range,
      );
    } catch (error) {
      if (!(error instanceof ProviderError) || source.isOver(error)) throw error;
      return { error: error.message };
    }
  }

  async #store({ instrumentId, symbol }: Checkable, result: Reconciliation | { error: string }) {
    const { context, request, runId } = this;
    const { range, source, which } = request;
    await transact(context.database.write, async (tx) => {
      await insertReconciliation(tx, {
        ...{ instrumentId, runId, ts: this.#ts, source: source.name, result },
        seed: 'seed' in which ? which.seed : null,
        startSession: toDate(range.firstDay),
        endSession: toDate(range.lastDay),
      });
      await updateRun(tx, runId, { ...this.#counts(), done: this.#results.length + 1 });
    });
    this.#results.push({ symbol, result });
  }

  /** Of bars: none are written. */
  #counts(): RunCounts {
    const none = { inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
    return { ...none, requests: this.#requests() };
  }

  #describeEnd(): ['succeeded' | 'failed', string | null] {
    const failed = this.#results.flatMap(({ symbol, result }) =>
      'error' in result ? [`${symbol}: ${result.error}`] : [],
    );
    if (failed.length === 0) return ['succeeded', null];
    const some = failed.slice(0, 5).join('; ');
    return ['failed', `${failed.length} of ${this.#results.length} symbols failed; ${some}`];
  }

  async #recordFailure(state: 'interrupted' | 'failed', message: string): Promise<void> {
    const { database, log } = this.context;
    try {
      const done = this.#results.length;
      await updateRun(database.write, this.runId, { ...this.#counts(), done });
      await finishRun(database.write, this.runId, state, message);
    } catch (error) {
      log('WARNING', `reconcile: the run is not closed: ${errorMessage(error)}`);
    }
  }
}
