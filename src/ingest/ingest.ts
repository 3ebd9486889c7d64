import { InputError } from '../errors.ts';
import { type BarColumns, copyBar, makeBars, pickBars, type RejectedRow } from '../model/bar.ts';
import { type CoverageRange, recordAnswer } from '../model/coverage.ts';
import {
  FAILURE_FLAGS,
  FLAG,
  MEDIAN_SESSIONS,
  type QualityThresholds,
  REVIEW_SCORE,
  VALIDATED_SCORE,
} from '../model/quality.ts';
import { type Calendar, newYorkDay, toDate } from '../model/session.ts';
import type { Sql, Transaction } from '../store/database.ts';
import {
  type BarRow,
  type ChangedBar,
  type CoverageChange,
  insertBars,
  insertRejectedRows,
  notifyBars,
  type SessionSpan,
  type StatusChange,
  type StoredBars,
  selectCoverageRanges,
  selectGapCauses,
  selectHeldBars,
  selectStoredBars,
  upsertChangedBars,
  upsertCoverage,
  upsertStatus,
  withIngestLock,
} from '../store/upsert.ts';
import { NO_CAUSES, validateBars } from './validate.ts';

/** What arrived for one instrument. */
export interface IngestItem {
  instrumentId: number;
  symbol: string;
  /** In any order, duplicates allowed. */
  bars: BarColumns;
  rejected: readonly RejectedRow[];
  /** What was asked for; undefined when nobody was asked (a file). */
  asked?: readonly AskedRange[];
  /** First session on the exchange, days; null when not known. */
  listedOn: number | null;
  /** Days whose bars must be scored again although they did not arrive, e.g. of a new split. */
  rescore?: readonly number[];
}

/** Sessions that a provider was asked for, days, both inclusive. */
export interface AskedRange {
  firstDay: number;
  lastDay: number;
  /** Set when the provider refused the range. */
  refusal?: string;
}

export interface IngestOptions {
  provider: string;
  isSynthetic: boolean;
  /** When the answer came, epoch ms. */
  receivedAt: number;
  calendar: Calendar;
  thresholds: QualityThresholds;
  /** Bars of sessions before this day are final. */
  settledBefore: number;
}

export interface IngestCount {
  inserted: number;
  changed: number;
  unchanged: number;
  rejected: number;
}

interface Prepared {
  item: IngestItem;
  /** Ascending and unique. */
  bars: BarColumns;
  rejected: RejectedRow[];
}

/**
 * The one way in: validates and stores bars with all that belongs to them (revisions, rejected
 * rows, coverage, counters, notification) in one transaction. Every row of every item is counted:
 * inserted, changed, unchanged or rejected. Doing it again changes nothing.
 * @throws InputError when made-up bars meet real ones of the same instrument.
 */
export async function ingestBars(
  write: Sql,
  items: readonly IngestItem[],
  options: IngestOptions,
): Promise<Map<number, IngestCount>> {
  const prepared = items.map((item) => prepareItem(item, options));
  const counts = new Map<number, IngestCount>();
  if (prepared.length === 0) return counts;
  const ids = new Set(items.map((item) => item.instrumentId));
  if (ids.size !== items.length) throw new Error('an instrument is twice in one batch');
  await withIngestLock(write, async (tx) => {
    const stored = await selectContext(tx, prepared, options);
    const causes = await selectGapCauses(tx, [...ids]);
    const inserts: BarRow[] = [];
    const changes: ChangedBar[] = [];
    const statuses: StatusChange[] = [];
    for (const one of prepared) {
      const { instrumentId } = one.item;
      const context = stored.get(instrumentId);
      const merged = mergeBars(one, context, options);
      const scores = validateBars(
        merged.bars,
        options.calendar,
        causes.get(instrumentId) ?? NO_CAUSES,
        options.thresholds,
        { score: merged.bars.score, flags: merged.bars.flags },
      );
      if (scores.score.length !== merged.bars.length) throw new Error('a bar was not scored');
      const { count, status } = compare(one, merged, context, inserts, changes);
      counts.set(instrumentId, count);
      if (status) statuses.push({ ...status, isSynthetic: options.isSynthetic });
    }
    const origin = { provider: options.provider, receivedAt: options.receivedAt };
    await insertBars(tx, inserts, origin);
    await upsertChangedBars(tx, changes, origin);
    await upsertStatus(tx, statuses, options.provider);
    await insertRejectedRows(
      tx,
      prepared.flatMap(({ item, rejected }) =>
        rejected.map((row) => ({ ...row, instrumentId: item.instrumentId })),
      ),
      options.provider,
      '1d',
    );
    await recordCoverage(tx, prepared, options);
    await notifyBars(
      tx,
      statuses.map((status) => status.instrumentId),
    );
  });
  return counts;
}

/** Sorts an item's bars and sets aside what cannot be one: duplicates and impossible dates. */
function prepareItem(item: IngestItem, options: IngestOptions): Prepared {
  const { bars, symbol } = item;
  const { calendar } = options;
  const rejected = [...item.rejected];
  const today = newYorkDay(options.receivedAt);
  const order: number[] = [];
  let isAscending = true;
  for (let row = 0; row < bars.length; row++) {
    const day = bars.session[row];
    const reason = dateProblem(day, today, calendar);
    if (reason !== null) {
      rejected.push({ symbol, session: toDate(day), reason, raw: describeBar(bars, row) });
      continue;
    }
    if (order.length > 0 && bars.session[order[order.length - 1]] >= day) isAscending = false;
    order.push(row);
  }
  if (isAscending && order.length === bars.length) return { item, bars, rejected };
  order.sort((a, b) => bars.session[a] - bars.session[b] || a - b);
  const unique: number[] = [];
  for (const row of order) {
    const last = unique.at(-1);
    if (last === undefined || bars.session[last] !== bars.session[row]) {
      unique.push(row);
      continue;
    }
    const reason = isSameBar(bars, last, bars, row)
      ? 'duplicate of another row of the same answer'
      : 'second bar for the session in the same answer, with other values; the first was kept';
    const session = toDate(bars.session[row]);
    rejected.push({ symbol, session, reason, raw: describeBar(bars, row) });
  }
  return { item, bars: pickBars(bars, unique), rejected };
}

function dateProblem(day: number, today: number, calendar: Calendar): string | null {
  if (day > today) return `the session lies in the future (today is ${toDate(today)})`;
  if (day < calendar.firstDay) {
    return `the session lies before ${toDate(calendar.firstDay)}, where the calendar begins`;
  }
  return null;
}

function describeBar(bars: BarColumns, row: number): string {
  const session = toDate(bars.session[row]);
  const { open, high, low, close, volume } = bars;
  const values = [open, high, low, close, volume].map((column) => column[row]);
  return `${session} open,high,low,close,volume=${values.join(',')}`;
}

/** True when `next` says nothing new; a vwap or count that is not given says nothing. */
function isSameBar(old: BarColumns, i: number, next: BarColumns, j: number): boolean {
  return (
    old.open[i] === next.open[j] &&
    old.high[i] === next.high[j] &&
    old.low[i] === next.low[j] &&
    old.close[i] === next.close[j] &&
    old.volume[i] === next.volume[j] &&
    (Number.isNaN(next.vwap[j]) || old.vwap[i] === next.vwap[j]) &&
    (Number.isNaN(next.tradeCount[j]) || old.tradeCount[i] === next.tradeCount[j])
  );
}

/** Stored bars that decide about the new ones: theirs, and those of 63 sessions on either side. */
async function selectContext(
  tx: Transaction,
  prepared: readonly Prepared[],
  { calendar, isSynthetic }: IngestOptions,
): Promise<Map<number, StoredBars>> {
  const held = await selectHeldBars(
    tx,
    prepared.map(({ item }) => item.instrumentId),
  );
  const spans: SessionSpan[] = [];
  for (const { item, bars } of prepared) {
    const have = held.get(item.instrumentId);
    if (!have || have.records === 0) continue;
    if (bars.length > 0 && have.isSynthetic !== isSynthetic) {
      throw new InputError(
        `${item.symbol} holds ${have.isSynthetic ? 'synthetic' : 'real'} bars: ` +
          `${isSynthetic ? 'synthetic' : 'real'} ones are not mixed with them; ` +
          'use another database',
      );
    }
    const days = touchedDays(bars, item);
    if (days === null) continue;
    spans.push({
      instrumentId: item.instrumentId,
      firstDay: shiftSessions(calendar, days.first, -MEDIAN_SESSIONS),
      lastDay: shiftSessions(calendar, days.last, MEDIAN_SESSIONS),
    });
  }
  return selectStoredBars(tx, spans);
}

function touchedDays(bars: BarColumns, item: IngestItem): { first: number; last: number } | null {
  const days = [...(item.rescore ?? [])];
  if (bars.length > 0) days.push(bars.session[0], bars.session[bars.length - 1]);
  if (days.length === 0) return null;
  return { first: Math.min(...days), last: Math.max(...days) };
}

function shiftSessions(calendar: Calendar, day: number, by: number): number {
  const index = calendar.sessionsBefore(day) + by;
  if (index < 0) return calendar.firstDay;
  return index < calendar.sessionCount ? calendar.sessionAt(index) : calendar.lastDay;
}

interface Merged {
  bars: StoredBars;
  /** Row in the stored context, or -1 when the bar is new. */
  storedRow: Int32Array;
  /** Row in the arriving bars, or -1. */
  freshRow: Int32Array;
  /** Rows before this one are context only. */
  from: number;
}

/** Lays the arriving bars over the stored ones. */
function mergeBars(prepared: Prepared, stored: StoredBars | undefined, o: IngestOptions): Merged {
  const fresh = prepared.bars;
  const length = fresh.length + (stored?.length ?? 0);
  const storedRow = new Int32Array(length);
  const freshRow = new Int32Array(length);
  const first = touchedDays(fresh, prepared.item)?.first ?? Number.POSITIVE_INFINITY;
  let size = 0;
  let i = 0;
  let j = 0;
  let from = 0;
  while (i < fresh.length || (stored && j < stored.length)) {
    const a = i < fresh.length ? fresh.session[i] : Number.POSITIVE_INFINITY;
    const b = stored && j < stored.length ? stored.session[j] : Number.POSITIVE_INFINITY;
    if (Math.min(a, b) < first) from = size + 1;
    freshRow[size] = a <= b ? i++ : -1;
    storedRow[size] = b <= a ? j++ : -1;
    size++;
  }
  const bars = storedBars(size);
  for (let row = 0; row < size; row++) {
    const source = freshRow[row];
    if (source >= 0) {
      copyBar(fresh, source, bars, row);
      const count = fresh.tradeCount[source];
      if (!Number.isInteger(count) || count > COUNT_MAX) bars.tradeCount[row] = Number.NaN;
    }
    const old = storedRow[row];
    if (old < 0 || !stored) {
      bars.isFinal[row] = bars.session[row] < o.settledBefore ? 1 : 0;
      continue;
    }
    if (source < 0) copyBar(stored, old, bars, row);
    if (Number.isNaN(bars.vwap[row])) bars.vwap[row] = stored.vwap[old];
    if (Number.isNaN(bars.tradeCount[row])) bars.tradeCount[row] = stored.tradeCount[old];
    const isSettled = source >= 0 && bars.session[row] < o.settledBefore;
    bars.isFinal[row] = isSettled ? 1 : stored.isFinal[old];
  }
  return { bars, storedRow, freshRow, from };
}

function storedBars(length: number): StoredBars {
  return {
    ...makeBars(length),
    score: new Float64Array(length),
    flags: new Int32Array(length),
    isFinal: new Int32Array(length),
  };
}

const COUNT_MAX = 2_147_483_647;

/** Sorts merged rows into what to insert, change and leave, and adds up the counters. */
function compare(
  prepared: Prepared,
  merged: Merged,
  stored: StoredBars | undefined,
  inserts: BarRow[],
  changes: ChangedBar[],
): { count: IngestCount; status: Omit<StatusChange, 'isSynthetic'> | null } {
  const { instrumentId } = prepared.item;
  const { bars, storedRow, freshRow } = merged;
  const count: IngestCount = {
    inserted: 0,
    changed: 0,
    unchanged: 0,
    rejected: prepared.rejected.length,
  };
  const status = emptyStatus(instrumentId);
  let written = 0;
  for (let row = merged.from; row < bars.length; row++) {
    const old = storedRow[row];
    if (old < 0 || !stored) {
      inserts.push({ instrumentId, bars, row });
      count.inserted++;
      addToStatus(status, bars, row, 1);
      written++;
      continue;
    }
    const isRevision = freshRow[row] >= 0 && !isSameBar(stored, old, bars, row);
    if (isRevision) count.changed++;
    else if (freshRow[row] >= 0) count.unchanged++;
    if (!isRevision && stored.flags[old] === bars.flags[row]) {
      if (stored.isFinal[old] === bars.isFinal[row] && stored.score[old] === bars.score[row]) {
        continue;
      }
    }
    changes.push({ instrumentId, bars, row, isRevision });
    addToStatus(status, stored, old, -1);
    addToStatus(status, bars, row, 1);
    written++;
  }
  return { count, status: written > 0 ? status : null };
}

function emptyStatus(instrumentId: number): Omit<StatusChange, 'isSynthetic'> {
  return {
    instrumentId,
    records: 0,
    validated: 0,
    excluded: 0,
    gaps: 0,
    anomalies: 0,
    scoreSum: 0,
    firstDay: null,
    latestDay: null,
    latestScore: null,
  };
}

function addToStatus(
  status: Omit<StatusChange, 'isSynthetic'>,
  bars: StoredBars,
  row: number,
  sign: 1 | -1,
): void {
  const score = bars.score[row];
  const flags = bars.flags[row];
  status.records += sign;
  if (score >= VALIDATED_SCORE) status.validated += sign;
  if (score < REVIEW_SCORE || (flags & FAILURE_FLAGS) !== 0) status.excluded += sign;
  if ((flags & FLAG.gap) !== 0) status.gaps += sign;
  if ((flags & (FLAG.volumeSpike | FLAG.volumeDrought)) !== 0) status.anomalies += sign;
  status.scoreSum += sign * score;
  if (sign < 0) return;
  const day = bars.session[row];
  if (status.firstDay === null || day < status.firstDay) status.firstDay = day;
  if (status.latestDay === null || day >= status.latestDay) {
    status.latestDay = day;
    status.latestScore = score;
  }
}

async function recordCoverage(
  tx: Transaction,
  prepared: readonly Prepared[],
  options: IngestOptions,
): Promise<void> {
  const touched = prepared.filter(({ item, bars }) => item.asked || bars.length > 0);
  const known = await selectCoverageRanges(
    tx,
    '1d',
    touched.map(({ item }) => item.instrumentId),
  );
  const changes: CoverageChange[] = [];
  for (const one of touched) {
    const before = known.get(one.item.instrumentId) ?? [];
    const after = one.item.asked
      ? answeredCoverage(before, one, options)
      : fileCoverage(before, one, options);
    changes.push({ instrumentId: one.item.instrumentId, before, after });
  }
  await upsertCoverage(tx, '1d', changes);
}

function answeredCoverage(
  before: readonly CoverageRange[],
  { item, bars, rejected }: Prepared,
  options: IngestOptions,
): CoverageRange[] {
  const present = new Set<number>(bars.session);
  const refused = new Map(rejected.map((row) => [row.session ?? '', row.reason]));
  const emptyDetail = (day: number) => {
    const reason = refused.size > 0 ? refused.get(toDate(day)) : undefined;
    return reason === undefined ? null : `the row was rejected: ${reason}`;
  };
  let ranges = [...before];
  for (const { firstDay, lastDay, refusal } of item.asked ?? []) {
    const answer = {
      start: firstDay,
      end: lastDay + 1,
      provider: options.provider,
      askedAt: options.receivedAt,
      settledBefore: options.settledBefore,
      hasBar: (day: number) => present.has(day),
      emptyDetail,
      listedOn: item.listedOn,
      refusal,
    };
    ranges = recordAnswer(ranges, answer, options.calendar);
  }
  return ranges;
}

/** A file covers the sessions it has bars for, unless they are complete already. */
function fileCoverage(
  before: readonly CoverageRange[],
  { bars }: Prepared,
  options: IngestOptions,
): CoverageRange[] {
  const { calendar } = options;
  let ranges = [...before];
  const isComplete = (day: number) =>
    before.some((r) => r.start <= day && day < r.end && r.state === 'complete');
  const days = [...bars.session].filter((day) => calendar.sessionIndex(day) >= 0);
  for (let i = 0; i < days.length; i++) {
    if (isComplete(days[i])) continue;
    const first = i;
    const follows = () =>
      i + 1 < days.length &&
      calendar.sessionIndex(days[i + 1]) === calendar.sessionIndex(days[i]) + 1 &&
      !isComplete(days[i + 1]);
    while (follows()) i++;
    const answer = {
      start: days[first],
      end: days[i] + 1,
      provider: options.provider,
      askedAt: options.receivedAt,
      settledBefore: options.settledBefore,
      hasBar: () => true,
      listedOn: null,
    };
    ranges = recordAnswer(ranges, answer, calendar);
  }
  return ranges;
}
