import pLimit from 'p-limit';
import { errorMessage, ProviderError } from '../errors.ts';
import { type BarPick, gatherBars, type RejectedRow } from '../model/bar.ts';
import { type CoverageRange, withoutDays } from '../model/coverage.ts';
import { gatherIntradayBars, type IntradayPick, type StoredIntraday } from '../model/intraday.ts';
import type { QualityThresholds } from '../model/quality.ts';
import { type Calendar, newYorkDay, toDate, toDay } from '../model/session.ts';
import { sessionUnderWay } from '../model/session-part.ts';
import type { GroupedBarsAnswer, Provider } from '../providers/provider.ts';
import { selectEntitledFrom } from '../query/coverage.ts';
import { type Database, isDatabaseAway } from '../store/database.ts';
import { FAILURES_KEPT_MAX, insertRequestFailure } from '../store/job-requests.ts';
import {
  type BackfillResult,
  finishRun,
  insertRun,
  leaseLock,
  type RunCounts,
  type RunOrigin,
  updateRun,
  upsertBackfillResults,
} from '../store/jobs.ts';
import { type Instrument, selectInstruments } from '../store/symbols.ts';
import { selectCoverageRanges } from '../store/upsert.ts';
import { limitPlan } from './budget.ts';
import { refreshActions, refreshDescriptions } from './corporate-action.ts';
import { type IngestItem, type IngestOptions, ingestBars } from './ingest.ts';
import { type IntradayItem, ingestIntraday } from './intraday.ts';
import {
  type ActionTask,
  type BackfillPlan,
  type GroupedTask,
  type PlanInput,
  type PlannedInstrument,
  planBackfill,
  providerSymbolOn,
  type RangeTask,
} from './plan.ts';
import type { AskedRange } from './record.ts';

/** What a backfill works with; made once by `main` or `serve`. */
export interface BackfillContext {
  database: Database;
  provider: Provider;
  calendar: Calendar;
  thresholds: QualityThresholds;
  /** A bar is asked for again until this many sessions have followed its own. */
  revisionSessions: number;
  /** A session's bar is asked for this long after the close. */
  publishDelayMs: number;
  /** Bars that are gathered before they are committed; the history of a symbol stays whole. */
  batchRows?: number;
  now: () => number;
  log: (level: 'INFO' | 'WARNING' | 'ERROR', message: string, fields?: object) => void;
}

export interface BackfillRequest {
  /** What is filled; '1d' when missing. */
  timeframe?: '1d' | StoredIntraday;
  /** Symbols to fill, all known; undefined: all tracked ones. */
  symbols?: readonly string[];
  /** Sessions, both inclusive, 'YYYY-MM-DD'. The last one is cut to the latest published. */
  firstSession: string;
  lastSession?: string;
  origin: RunOrigin;
  scheduledFor?: Date;
  /** Ask again for what was empty or refused before, although its time has not come. */
  retryEmpty?: boolean;
  /** Only what lacks of these, by instrument; others are left out. See `findHoles`. */
  holes?: ReadonlyMap<number, WantedSessions>;
  /**
   * At most so many requests, for the newest sessions first. Retries and further pages of those
   * that are under way come on top.
   */
  requestsMax?: number;
  signal?: AbortSignal;
  /** Called as soon as the run has its number; without anything to do there is none. */
  onRun?: (runId: number) => Promise<void>;
  onProgress?: (progress: BackfillProgress) => void;
}

export interface WantedSessions {
  /** Days since 1970-01-01. */
  firstDay: number;
  /** Sessions that are asked for although coverage says that they were answered; ascending. */
  again: readonly number[];
}

export interface BackfillProgress extends RunCounts {
  /** Tasks (requests, more or less) done of `total`. */
  done: number;
  total: number;
  /** What was worked on last: a symbol or a session. */
  current: string;
}

export interface BackfillReport extends RunCounts {
  runId: number | null;
  symbols: number;
  plan: BackfillPlan['requests'];
  dueSessions: number;
  failures: { symbol: string; error: string }[];
  /** First day the provider's plan was found to include; null when nothing was refused. */
  entitledFrom: string | null;
}

/** Another backfill runs on the same database. */
export class BackfillBusyError extends Error {
  override name = 'BackfillBusyError';
}

/** The latest session whose bar can be asked for, and when it became available (epoch ms). */
export function latestPublished(
  context: Pick<BackfillContext, 'calendar' | 'publishDelayMs' | 'now'>,
): { day: number; publishedAt: number } {
  const { calendar, publishDelayMs, now } = context;
  const day = calendar.latestSession(now(), publishDelayMs);
  return { day, publishedAt: calendar.closeMs(day) + publishDelayMs };
}

const plannedDay = (date: string | null) => (date === null ? null : toDay(date));

const toPlanned = (instrument: Instrument): PlannedInstrument => ({
  instrumentId: instrument.instrumentId,
  symbol: instrument.symbol,
  providerSymbol: instrument.providerSymbol,
  ranges: instrument.ranges,
  listedOn: plannedDay(instrument.listedOn),
  delistedOn: plannedDay(instrument.delistedOn),
  // Whoever has the symbol now is described under it, not one who had it before.
  isDescribed: instrument.isDescribed || instrument.ranges.at(-1)?.endDay !== Infinity,
});

/**
 * The day whose holders symbols mean: the last one that is asked for, when it is past; undefined
 * for who has them now.
 */
export function holderDay(
  { now }: Pick<BackfillContext, 'now'>,
  lastSession: string | undefined,
): string | undefined {
  const isPast = lastSession !== undefined && toDay(lastSession) < newYorkDay(now());
  return isPast ? lastSession : undefined;
}

const unknownInstrument = (symbol: string, instrumentId: number): PlannedInstrument => ({
  instrumentId,
  symbol,
  providerSymbol: symbol,
  listedOn: null,
  delistedOn: null,
  isDescribed: false,
});

/** The instruments that lack something, with the sessions that are looked at. */
function narrowToHoles(
  instruments: readonly PlannedInstrument[],
  holes: ReadonlyMap<number, WantedSessions>,
): PlannedInstrument[] {
  return instruments.flatMap((instrument) => {
    const wanted = holes.get(instrument.instrumentId);
    return wanted ? [{ ...instrument, firstDay: wanted.firstDay }] : [];
  });
}

/** The plan of a request, from the database alone: nobody is asked. */
export async function planRequest(
  context: BackfillContext,
  request: BackfillRequest,
): Promise<{ plan: BackfillPlan; instruments: PlannedInstrument[] }> {
  const { database, provider, calendar } = context;
  const sql = database.read;
  const published = latestPublished(context);
  const instruments = (
    await selectInstruments(sql, {
      symbols: request.symbols,
      day: holderDay(context, request.lastSession),
      provider: provider.name,
      timeframe: request.timeframe,
    })
  ).map(toPlanned);
  const known = new Set(instruments.map((instrument) => instrument.symbol));
  for (const symbol of request.symbols ?? []) {
    // Not added yet: a preview changes nothing, and must count it all the same.
    if (!known.has(symbol)) instruments.push(unknownInstrument(symbol, -1 - instruments.length));
  }
  const { holes, requestsMax } = request;
  const wanted = holes ? narrowToHoles(instruments, holes) : instruments;
  const ids = wanted.map((instrument) => instrument.instrumentId);
  const timeframe = request.timeframe ?? '1d';
  const liveDay =
    timeframe === '1d' ? undefined : sessionUnderWay(calendar, context.now(), published.day);
  const latest = Math.max(published.day, liveDay ?? 0);
  const last = request.lastSession === undefined ? latest : toDay(request.lastSession);
  const nowMs = request.retryEmpty ? Number.MAX_SAFE_INTEGER : context.now();
  // Splits and dividends come with the days.
  const datasets = timeframe === '1d' ? ['1d', 'splits', 'dividends'] : [timeframe];
  const coverage: PlanInput['coverage'] = {};
  for (const dataset of datasets) {
    coverage[dataset] = await selectCoverageRanges(sql, dataset, ids);
  }
  if (holes) coverage[timeframe] = reopenHoles(coverage[timeframe], holes);
  const plan = planBackfill({
    timeframe,
    liveDay,
    calendar,
    instruments: wanted,
    onlyHoles: holes !== undefined,
    firstDay: toDay(request.firstSession),
    lastDay: Math.min(last, latest),
    nowMs,
    publishedAt: published.publishedAt,
    isUnlimited: provider.requestsPerMinute === undefined,
    coverage,
    entitledFrom: request.retryEmpty
      ? null
      : await selectEntitledFrom(sql, provider.name, context.now(), timeframe),
  });
  const affordable = requestsMax === undefined ? plan : limitPlan(plan, requestsMax);
  return { plan: affordable, instruments: wanted };
}

/** Coverage as if nobody had been asked for the sessions that are to be asked for again. */
function reopenHoles(
  coverage: ReadonlyMap<number, readonly CoverageRange[]>,
  holes: ReadonlyMap<number, WantedSessions>,
): Map<number, readonly CoverageRange[]> {
  const reopened = new Map(coverage);
  for (const [instrumentId, { again }] of holes) {
    reopened.set(instrumentId, withoutDays(coverage.get(instrumentId) ?? [], again));
  }
  return reopened;
}

/**
 * Fills what is missing. Each answer is committed with its coverage, so a run that is killed goes
 * on where it was, and a second run asks for nothing.
 * @throws BackfillBusyError when another backfill holds the lock.
 * @throws ProviderError when the key is refused or the provider stays away; what was committed
 *   before stays.
 */
export async function runBackfill(
  context: BackfillContext,
  request: BackfillRequest,
): Promise<BackfillReport> {
  const lease = await leaseLock(context.database.url, BACKFILL_LOCK);
  if (!lease) {
    throw new BackfillBusyError(
      'another backfill is running on this database: wait for it, or watch it in job_runs',
    );
  }
  try {
    const { plan, instruments } = await planRequest(context, request);
    const isIdle = plan.requests.total === 0 && plan.refused.length === 0;
    // A night is recorded even when it had nothing to do: it says that it was not missed.
    const isAsked = request.origin === 'command' || request.origin === 'operator';
    const isNight = !isAsked && (request.timeframe ?? '1d') === '1d';
    if (isIdle && !isNight) return idleReport(instruments.length, plan);
    const run = new BackfillRun(context, request, plan, instruments.length);
    return await run.execute(lease.lost);
  } finally {
    await lease.release();
  }
}

function idleReport(symbols: number, plan: BackfillPlan): BackfillReport {
  const counts = { requests: 0, inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
  const { requests, dueSessions } = plan;
  return {
    ...counts,
    runId: null,
    symbols,
    plan: requests,
    dueSessions,
    failures: [],
    entitledFrom: null,
  };
}

/** The lock of all backfills: of all processes one asks a provider for bars. */
export const BACKFILL_LOCK = 'backfill';
/** Names under which runs that hold it are kept. */
export const BACKFILL_JOBS = ['backfill', 'backfill 1h', 'backfill 1m'] as const;

/** The name under which runs of a timeframe are kept. The nightly one is of daily bars. */
function backfillJob(timeframe: '1d' | StoredIntraday): (typeof BACKFILL_JOBS)[number] {
  return timeframe === '1d' ? 'backfill' : `backfill ${timeframe}`;
}

/** Batches that may wait to be committed, and how many rows are in one when nothing is said. */
const PENDING_BATCHES_MAX = 4;
const BATCH_ROWS = 25_000;
const BATCH_ITEMS = 1_000;
const CONCURRENCY = 4;
/** So many symbols in a row that fail mean that the provider is away, not the symbols wrong. */
const FAILURES_IN_A_ROW_MAX = 5;
/** How many sessions a plan may lag behind before "too early" is taken for a fault. */
const TOO_EARLY_SESSIONS_MAX = 3;
/** Precision with which a plan's first included day is searched. */
const ENTITLEMENT_DAYS = 8;

/** What a request was about; days since 1970-01-01, both inclusive. */
interface AskedOfProvider {
  /** Null: the whole market. */
  symbol: string | null;
  dataset: string;
  firstDay?: number;
  lastDay?: number;
}

/** What has arrived for an instrument and is not committed yet. */
interface PendingItem {
  instrument: PlannedInstrument;
  picks: BarPick[];
  rejected: RejectedRow[];
  asked: AskedRange[];
  listedOn: number | null;
}

/** One execution. Holds what its tasks share: counters, the batch, what was learned. */
class BackfillRun {
  readonly #counts: RunCounts = {
    requests: 0,
    inserted: 0,
    changed: 0,
    unchanged: 0,
    rejected: 0,
  };
  readonly #failures: { symbol: string; error: string }[] = [];
  readonly #abort = new AbortController();
  readonly #startRequests: number;
  readonly #options: Omit<IngestOptions, 'receivedAt'>;
  /** By instrument: sessions that come one by one are committed several at a time. */
  #pending = new Map<number, PendingItem>();
  #rows = 0;
  #flushing: Promise<void> = Promise.resolve();
  #done = 0;
  #total: number;
  #failedInARow = 0;
  /** Failed requests that are kept with the provider's words. */
  #kept = 0;
  #runId = 0;
  #lastUpdate = 0;
  #entitledFrom: number | null = null;
  /** Requests that were sent or promised to a task; counted where there is a budget. */
  #claimed = 0;
  readonly #learning = pLimit(1);
  readonly #timeframe: '1d' | StoredIntraday;
  readonly #batchRows: number;

  constructor(
    readonly context: BackfillContext,
    readonly request: BackfillRequest,
    readonly plan: BackfillPlan,
    readonly symbols: number,
  ) {
    const { calendar, provider, thresholds, revisionSessions } = context;
    const latest = calendar.sessionIndex(latestPublished(context).day);
    this.#timeframe = request.timeframe ?? '1d';
    this.#batchRows = context.batchRows ?? BATCH_ROWS;
    this.#startRequests = provider.requestCount();
    this.#total = plan.requests.total;
    this.#options = {
      provider: provider.name,
      isSynthetic: provider.isSynthetic,
      calendar,
      thresholds,
      settledBefore: calendar.sessionAt(Math.max(0, latest - revisionSessions + 1)),
    };
  }

  async execute(lost: AbortSignal): Promise<BackfillReport> {
    const { database } = this.context;
    this.#runId = await insertRun(database.write, {
      job: backfillJob(this.#timeframe),
      origin: this.request.origin,
      scheduledFor: this.request.scheduledFor,
      total: this.#total,
    });
    const stop = (signal: AbortSignal) => () => this.#abort.abort(signal.reason);
    for (const signal of [lost, this.request.signal]) {
      if (signal?.aborted) this.#abort.abort(signal.reason);
      signal?.addEventListener('abort', stop(signal), { once: true });
    }
    try {
      await this.request.onRun?.(this.#runId);
      await this.#work();
      await this.#saveProgress();
      const failed = this.#failures.length;
      const error = failed === 0 ? null : `${failed} failed, first: ${this.#failures[0].error}`;
      await finishRun(database.write, this.#runId, failed === 0 ? 'succeeded' : 'failed', error);
      return this.#report();
    } catch (error) {
      const isCut = lost.aborted || this.request.signal?.aborted || isDatabaseAway(error);
      await this.#closeFailed(error, isCut && !(error instanceof ProviderError));
      throw error;
    }
  }

  /** @param isCut whether it was ended from outside, and is to go on where it was. */
  async #closeFailed(error: unknown, isCut: boolean): Promise<void> {
    const state = isCut ? 'interrupted' : 'failed';
    try {
      await this.#saveProgress();
      await finishRun(this.context.database.write, this.#runId, state, errorMessage(error));
    } catch (closing) {
      // The database is what failed: the record is closed by the next run.
      this.context.log('WARNING', 'the run could not be closed', { error: errorMessage(closing) });
    }
  }

  async #work(): Promise<void> {
    const { plan, context } = this;
    const signal = this.#abort.signal;
    const described = await refreshDescriptions(context, plan, signal, (error, symbol) =>
      this.#keepFailure(error, { symbol, dataset: 'symbols' }),
    );
    this.#advance('symbols', plan.requests.describe);
    for (const task of plan.actions) {
      await this.#actions(task);
      this.#advance(task.dataset, task.requests);
    }
    for (const task of plan.refused) {
      const detail = 'older than the provider plan includes (learned from other symbols)';
      await this.#addRefused(task, described, detail);
    }
    const limit = pLimit(CONCURRENCY);
    const tasks = [
      ...plan.grouped.map((task) => limit(() => this.#guard(() => this.#grouped(task)))),
      ...plan.ranges.map((task) => limit(() => this.#guard(() => this.#range(task, described)))),
    ];
    const outcomes = await Promise.allSettled(tasks);
    // What has arrived is committed, whatever ended the run.
    await this.#flush();
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #actions(task: ActionTask): Promise<void> {
    const { dataset, instrument, firstDay, lastDay } = task;
    const symbol = instrument?.symbol ?? null;
    const asked = { symbol, dataset, firstDay, lastDay };
    try {
      const failure = await refreshActions(this.context, task, this.#options, this.#abort.signal);
      if (!failure) return;
      await this.#keepFailure(failure, asked);
      const error = `${dataset}: ${failure.message}`;
      this.#failures.push({ symbol: symbol ?? '*', error });
    } catch (error) {
      if (error instanceof ProviderError) await this.#keepFailure(error, asked);
      throw error;
    }
  }

  /** Keeps what the provider said, for the operator; of a run with a great many the first ones. */
  async #keepFailure(error: ProviderError, asked: AskedOfProvider): Promise<void> {
    if (this.#kept >= FAILURES_KEPT_MAX) return;
    this.#kept++;
    const { symbol, dataset, firstDay, lastDay } = asked;
    const { message, kind, status = null, body = null } = error;
    const date = (day: number | undefined) => (day === undefined ? null : toDate(day));
    await insertRequestFailure(
      this.context.database.write,
      {
        ...{ runId: this.#runId, symbol, dataset, kind, status, message, body },
        ...{ firstSession: date(firstDay), lastSession: date(lastDay) },
      },
      this.context.now(),
    );
  }

  /** Lets the first error that ends the run end every other task. */
  async #guard(body: () => Promise<void>): Promise<void> {
    this.#abort.signal.throwIfAborted();
    try {
      await body();
    } catch (error) {
      this.#abort.abort(error);
      throw error;
    }
  }

  /** Takes a request out of the budget. @returns false when it is used up. */
  #claim(): boolean {
    const { requestsMax } = this.request;
    if (requestsMax === undefined) return true;
    const sent = this.context.provider.requestCount() - this.#startRequests;
    this.#claimed = Math.max(this.#claimed, sent);
    if (this.#claimed >= requestsMax) return false;
    this.#claimed++;
    return true;
  }

  async #range(task: RangeTask, described: ReadonlyMap<number, number | null>): Promise<void> {
    if (!this.#claim()) return;
    const { instrument } = task;
    try {
      await this.#askRange(task, described);
      this.#failedInARow = 0;
    } catch (error) {
      await this.#noteFailure(error, [instrument], task.firstDay, task.lastDay);
    }
    this.#advance(instrument.symbol, 1);
  }

  async #askRange(task: RangeTask, described: ReadonlyMap<number, number | null>): Promise<void> {
    const { calendar } = this.context;
    const entitled = this.#entitledFrom;
    if (entitled !== null && task.firstDay < entitled) {
      const detail = 'older than the provider plan includes';
      const older = { ...task, lastDay: Math.min(task.lastDay, entitled - 1) };
      await this.#addRefused(older, described, detail);
      if (task.lastDay < entitled) return;
      const first = calendar.sessionAt(calendar.sessionsBefore(entitled));
      if (first > task.lastDay) return;
      await this.#askRange({ ...task, firstDay: first }, described);
      return;
    }
    try {
      await this.#fetchRange(task, described);
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      if (error.kind === 'too_early') {
        // The plan gets a session later than we thought: leave the last one for the next run.
        const index = calendar.sessionsBefore(task.lastDay) - 1;
        const latest = calendar.sessionsBefore(latestPublished(this.context).day);
        if (latest - index > TOO_EARLY_SESSIONS_MAX) throw error;
        if (task.lastDay <= task.firstDay) return;
        await this.#askRange({ ...task, lastDay: calendar.sessionAt(index) }, described);
      } else if (error.kind === 'not_entitled') {
        const isAnswered = await this.#learning(() =>
          this.#learnEntitlement(task, described, error),
        );
        // Asked outside of the queue: a second refusal has to wait in it again.
        if (!isAnswered) await this.#askRange(task, described);
      } else throw error;
    }
  }

  async #fetchRange(task: RangeTask, described: ReadonlyMap<number, number | null>): Promise<void> {
    const { instrument, providerSymbol, firstDay, lastDay } = task;
    const range = {
      symbol: providerSymbol,
      firstSession: toDate(firstDay),
      lastSession: toDate(lastDay),
    };
    const { provider } = this.context;
    const timeframe = this.#timeframe;
    const answer =
      timeframe === '1d'
        ? await provider.fetchBars(range, this.#abort.signal)
        : await provider.fetchIntradayBars({ ...range, timeframe }, this.#abort.signal);
    await this.#add({
      instrument,
      picks: [{ bars: answer.bars, rows: [...answer.bars.session.keys()] }],
      rejected: answer.rejected,
      asked: [{ firstDay, lastDay }],
      listedOn: described.get(instrument.instrumentId) ?? instrument.listedOn,
    });
  }

  /**
   * The plan refused a range: finds by halving since when it includes data, once for the run.
   * A plan that grants two years then costs a handful of requests, not all of the history.
   * @returns false when another task has found it meanwhile: the range is to be asked again.
   */
  async #learnEntitlement(
    task: RangeTask,
    described: ReadonlyMap<number, number | null>,
    refusal: ProviderError,
  ): Promise<boolean> {
    if (this.#entitledFrom !== null && this.#entitledFrom > task.firstDay) return false;
    let refused = task.firstDay;
    let granted = task.lastDay + 1;
    let isCut = false;
    while (granted - refused > ENTITLEMENT_DAYS) {
      isCut = !this.#claim();
      if (isCut) break;
      const middle = Math.floor((refused + granted) / 2);
      try {
        await this.#fetchRange({ ...task, firstDay: middle }, described);
        granted = middle;
      } catch (error) {
        if (!(error instanceof ProviderError) || error.kind !== 'not_entitled') throw error;
        refused = middle;
      }
    }
    const isWhole = granted > task.lastDay;
    if (isCut) {
      // What lies between the two is left for the next run.
      await this.#addRefused({ ...task, lastDay: refused }, described, refusal.message);
      return true;
    }
    if (!isWhole) this.#entitledFrom = Math.max(this.#entitledFrom ?? 0, granted);
    const last = isWhole ? task.lastDay : granted - 1;
    await this.#addRefused({ ...task, lastDay: last }, described, refusal.message);
    return true;
  }

  async #grouped(task: GroupedTask): Promise<void> {
    if (!this.#claim()) return;
    const session = toDate(task.day);
    try {
      const answer = await this.context.provider.fetchGroupedBars(session, this.#abort.signal);
      await this.#addGrouped(task, answer);
      this.#failedInARow = 0;
    } catch (error) {
      if (error instanceof ProviderError && error.kind === 'not_entitled') {
        for (const instrument of task.instruments) {
          const { providerSymbol } = instrument;
          const range = { instrument, providerSymbol, firstDay: task.day, lastDay: task.day };
          await this.#addRefused(range, new Map(), error.message);
        }
      } else if (!(error instanceof ProviderError && error.kind === 'too_early')) {
        await this.#noteFailure(error, task.instruments, task.day, task.day);
      }
    }
    this.#advance(session, 1);
  }

  async #addGrouped(task: GroupedTask, answer: GroupedBarsAnswer): Promise<void> {
    const rows = new Map<string, number[]>();
    answer.symbols.forEach((symbol, row) => {
      const list = rows.get(symbol);
      if (list) list.push(row);
      else rows.set(symbol, [row]);
    });
    const rejected = Map.groupBy(answer.rejected, (row) => row.symbol);
    for (const instrument of task.instruments) {
      const symbol = providerSymbolOn(instrument, task.day) ?? '';
      await this.#add({
        instrument,
        picks: [{ bars: answer.bars, rows: rows.get(symbol) ?? [] }],
        rejected: rejected.get(symbol) ?? [],
        asked: [{ firstDay: task.day, lastDay: task.day }],
        listedOn: instrument.listedOn,
      });
    }
  }

  #addRefused(
    { instrument, firstDay, lastDay }: RangeTask,
    described: ReadonlyMap<number, number | null>,
    refusal: string,
  ): Promise<void> {
    return this.#add({
      instrument,
      picks: [],
      rejected: [],
      asked: [{ firstDay, lastDay, refusal }],
      listedOn: described.get(instrument.instrumentId) ?? instrument.listedOn,
    });
  }

  /**
   * A symbol or session that failed is noted and the run goes on, unless the key is refused, the
   * provider seems to be away, or it is not the provider that failed.
   */
  async #noteFailure(
    error: unknown,
    instruments: readonly PlannedInstrument[],
    firstDay: number,
    lastDay: number,
  ): Promise<void> {
    this.#abort.signal.throwIfAborted(); // what ended the run is not this symbol's failure
    if (!(error instanceof ProviderError)) throw error;
    const [first] = instruments;
    const only = instruments.length === 1 ? first.symbol : null;
    await this.#keepFailure(error, {
      ...{ symbol: only, dataset: this.#timeframe, firstDay, lastDay },
    });
    if (error.kind === 'unauthorized') throw error;
    const message = errorMessage(error);
    const symbol = only ?? toDate(firstDay);
    this.#failures.push({ symbol, error: message });
    this.context.log('WARNING', `${symbol}: ${message}`, error.body ? { body: error.body } : {});
    const results = instruments.map((instrument) => ({
      instrumentId: instrument.instrumentId,
      startSession: toDate(firstDay),
      endSession: toDate(lastDay),
      inserted: 0,
      changed: 0,
      unchanged: 0,
      rejected: 0,
      error: message,
    }));
    await upsertBackfillResults(this.context.database.write, this.#runId, results, this.#timeframe);
    if (error.kind === 'not_found' || error.kind === 'bad_request') return;
    this.#failedInARow++;
    if (this.#failedInARow >= FAILURES_IN_A_ROW_MAX) {
      throw new ProviderError(
        `${FAILURES_IN_A_ROW_MAX} failures in a row, the last: ${message}`,
        error.kind,
      );
    }
  }

  /** Queues what arrived; commits when enough waits. Waits while a commit is under way. */
  async #add(item: PendingItem): Promise<void> {
    const { instrumentId } = item.instrument;
    const pending = this.#pending.get(instrumentId);
    if (pending) {
      pending.picks.push(...item.picks);
      pending.rejected.push(...item.rejected);
      pending.asked.push(...item.asked);
    } else this.#pending.set(instrumentId, item);
    this.#rows += item.picks.reduce((sum, { rows }) => sum + rows.length, 0);
    const isFull = this.#rows >= this.#batchRows * PENDING_BATCHES_MAX;
    // Histories come whole: nothing is won by waiting for more of the same instrument.
    const isBatch = this.#rows >= this.#batchRows && this.#pending.size < BATCH_ITEMS;
    if (isFull || isBatch) await this.#flush();
  }

  #flush(): Promise<void> {
    const items = [...this.#pending.values()];
    this.#pending = new Map();
    this.#rows = 0;
    const before = this.#flushing;
    this.#flushing = before.then(() => this.#commitAll(items));
    return this.#flushing;
  }

  async #commitAll(pending: readonly PendingItem[]): Promise<void> {
    let batch: IngestItem[] = [];
    let rows = 0;
    for (const { instrument, picks, rejected, asked, listedOn } of pending) {
      const { instrumentId, symbol } = instrument;
      // Of a run for a timeframe below a day every pick has what its bars need.
      const bars =
        this.#timeframe === '1d' ? gatherBars(picks) : gatherIntradayBars(picks as IntradayPick[]);
      batch.push({ instrumentId, symbol, bars, rejected, asked, listedOn });
      rows += bars.length;
      if (rows < this.#batchRows && batch.length < BATCH_ITEMS) continue;
      await this.#commit(batch);
      batch = [];
      rows = 0;
    }
    await this.#commit(batch);
  }

  async #commit(items: readonly IngestItem[]): Promise<void> {
    if (items.length === 0) return;
    const { database, now } = this.context;
    const options = { ...this.#options, receivedAt: now() };
    const timeframe = this.#timeframe;
    const counts =
      timeframe === '1d'
        ? await ingestBars(database.write, items, options)
        : await ingestIntraday(database.write, items as IntradayItem[], { ...options, timeframe });
    const results: BackfillResult[] = [];
    for (const { instrumentId, asked = [] } of items) {
      const count = counts.get(instrumentId);
      if (!count) throw new Error('an item was not counted');
      this.#counts.inserted += count.inserted;
      this.#counts.changed += count.changed;
      this.#counts.unchanged += count.unchanged;
      this.#counts.rejected += count.rejected;
      results.push({
        instrumentId,
        startSession: toDate(Math.min(...asked.map((range) => range.firstDay))),
        endSession: toDate(Math.max(...asked.map((range) => range.lastDay))),
        ...count,
        error: null,
      });
    }
    await upsertBackfillResults(database.write, this.#runId, results, timeframe);
    await this.#saveProgress();
  }

  async #saveProgress(): Promise<void> {
    this.#counts.requests = this.context.provider.requestCount() - this.#startRequests;
    const progress = { ...this.#counts, done: this.#done };
    await updateRun(this.context.database.write, this.#runId, progress);
  }

  #advance(current: string, tasks: number): void {
    this.#done += tasks;
    this.#counts.requests = this.context.provider.requestCount() - this.#startRequests;
    this.request.onProgress?.({
      ...this.#counts,
      done: this.#done,
      total: this.#total,
      current,
    });
    const at = this.context.now();
    if (at - this.#lastUpdate < 1000) return;
    this.#lastUpdate = at;
    // Progress for people who watch: it may be lost, and the run goes on.
    this.#saveProgress().catch((error) => {
      this.context.log('WARNING', 'progress was not saved', { error: errorMessage(error) });
    });
  }

  #report(): BackfillReport {
    return {
      ...this.#counts,
      runId: this.#runId,
      symbols: this.symbols,
      plan: this.plan.requests,
      dueSessions: this.plan.dueSessions,
      failures: this.#failures,
      entitledFrom: this.#entitledFrom === null ? null : toDate(this.#entitledFrom),
    };
  }
}
