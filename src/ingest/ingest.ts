import { InputError } from '../errors.ts';
import { type BarColumns, copyBar, pickBars, type RejectedRow } from '../model/bar.ts';
import { FLAG, MEDIAN_SESSIONS, type QualityThresholds } from '../model/quality.ts';
import { type Calendar, newYorkDay, newYorkInstant, toDate } from '../model/session.ts';
import { isTradeCount, makeStoredBars, type StoredBars } from '../store/bar-columns.ts';
import { selectGapCauses } from '../store/corporate-actions.ts';
import type { Sql, Transaction } from '../store/database.ts';
import { insertEvents, type NewEvent } from '../store/events.ts';
import {
  type FlaggedBar,
  isFlagged,
  recordFindings,
  recordSeen,
  type SeenRange,
  selectDecisions,
} from '../store/findings.ts';
import {
  type BarRow,
  type ChangedBar,
  type Held,
  insertBars,
  insertRejectedRows,
  notifyBars,
  type SessionSpan,
  type StatusChange,
  selectHeldBars,
  selectStoredBars,
  upsertChangedBars,
  upsertStatus,
  withIngestLock,
} from '../store/upsert.ts';
import { applyDecisions, seenSplits } from './findings.ts';
import {
  type AskedRange,
  addToStatus,
  barEvents,
  type CounterChange,
  emptyStatus,
  markUnfinished,
  recordCoverage,
} from './record.ts';
import { type GapCauses, NO_CAUSES, validateBars } from './validate.ts';

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
  if (items.length === 0) return new Map();
  return withIngestLock(write, (tx) => ingestBarsWithin(tx, items, options));
}

/** The same in a transaction that holds the ingest lock and does more than this. */
export async function ingestBarsWithin(
  tx: Transaction,
  items: readonly IngestItem[],
  options: IngestOptions,
): Promise<Map<number, IngestCount>> {
  const prepared = items.map((item) => prepareItem(item, options));
  const counts = new Map<number, IngestCount>();
  if (prepared.length === 0) return counts;
  const ids = new Set(items.map((item) => item.instrumentId));
  if (ids.size !== items.length) throw new Error('an instrument is twice in one batch');
  const stored = await selectContext(tx, prepared, options);
  const causes = await selectGapCauses(tx, [...ids]);
  const decisions = await selectDecisions(tx, '1d', [...ids]);
  const writes: Writes = {
    ...{ inserts: [], changes: [], flagged: [], seen: [], statuses: [], events: [] },
  };
  for (const one of prepared) {
    const { instrumentId } = one.item;
    const context = stored.get(instrumentId);
    const known = causes.get(instrumentId) ?? NO_CAUSES;
    const merged = scoreBars(one, context, known, options);
    applyDecisions(merged.bars, decisions.get(instrumentId));
    const { calendar } = options;
    const seen = seenSplits(instrumentId, merged.bars, calendar, known, merged.from);
    if (seen) writes.seen.push(seen);
    const compared = compare(one, merged, context, writes);
    announce(one.item, merged.bars, compared, writes, options);
    counts.set(instrumentId, compared.count);
  }
  await store(tx, prepared, writes, options);
  return counts;
}

/** Lays the arriving bars over the stored ones, and scores all of them. */
function scoreBars(
  one: Prepared,
  context: StoredBars | undefined,
  causes: GapCauses,
  options: IngestOptions,
): Merged {
  const { calendar, thresholds, receivedAt } = options;
  const merged = mergeBars(one, context, options);
  const { bars } = merged;
  validateBars(bars, calendar, causes, thresholds, { score: bars.score, flags: bars.flags });
  markUnfinished(bars, receivedAt, endOfRow(merged, context, options));
  return merged;
}

interface Writes {
  inserts: BarRow[];
  changes: ChangedBar[];
  /** Those of them that have, or had, flags that are findings. */
  flagged: FlaggedBar[];
  /** What was seen between bars. */
  seen: SeenRange[];
  statuses: StatusChange[];
  events: NewEvent[];
}

async function store(
  tx: Transaction,
  prepared: readonly Prepared[],
  { inserts, changes, flagged, seen, statuses, events }: Writes,
  options: IngestOptions,
): Promise<void> {
  const { provider, receivedAt } = options;
  const origin = { provider, receivedAt };
  await insertBars(tx, inserts, origin);
  await upsertChangedBars(tx, changes, origin);
  await upsertStatus(tx, statuses, provider);
  await recordFindings(tx, '1d', flagged, receivedAt);
  await recordSeen(tx, '1d', seen, receivedAt);
  await insertRejectedRows(
    tx,
    prepared.flatMap(({ item, rejected }) =>
      rejected.map((row) => ({ ...row, instrumentId: item.instrumentId })),
    ),
    provider,
    '1d',
  );
  const covered = await recordCoverage(tx, '1d', prepared.map(toArrival), options);
  const written = statuses.map((status) => status.instrumentId);
  await notifyBars(tx, [...new Set([...written, ...covered])]);
  await insertEvents(tx, events);
}

const toArrival = ({ item, bars, rejected }: Prepared) => ({
  instrumentId: item.instrumentId,
  days: [...bars.session],
  rejected,
  asked: item.asked,
  listedOn: item.listedOn,
});

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
export function isSameBar(old: BarColumns, i: number, next: BarColumns, j: number): boolean {
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
    if (bars.length > 0) refuseMixing(item.symbol, have, isSynthetic);
    if (!have || have.records === 0) continue;
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

/** Made-up and real data of one instrument never meet. @throws InputError */
export function refuseMixing(symbol: string, held: Held | undefined, isSynthetic: boolean): void {
  if (!held || held.isSynthetic === null || held.isSynthetic === isSynthetic) return;
  const [has, comes] = isSynthetic ? ['real', 'synthetic'] : ['synthetic', 'real'];
  throw new InputError(
    `${symbol} holds ${has} data: ${comes} data is not mixed with it; use another database`,
  );
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
  const bars = makeStoredBars(size);
  for (let row = 0; row < size; row++) {
    const source = freshRow[row];
    if (source >= 0) {
      copyBar(fresh, source, bars, row);
      if (!isTradeCount(fresh.tradeCount[source])) bars.tradeCount[row] = Number.NaN;
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

/** When the session of a merged row is over: of arriving bars, and of those still unfinished. */
function endOfRow(
  { bars, freshRow, storedRow }: Merged,
  stored: StoredBars | undefined,
  { calendar, receivedAt }: IngestOptions,
): (row: number) => number {
  const today = newYorkDay(receivedAt);
  return (row) => {
    if (freshRow[row] < 0) {
      const isUnfinished = ((stored?.flags[storedRow[row]] ?? 0) & FLAG.unfinished) !== 0;
      return isUnfinished ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    }
    const day = bars.session[row];
    if (day < today) return Number.NEGATIVE_INFINITY;
    return calendar.isSession(day) ? calendar.closeMs(day) : newYorkInstant(day + 1, 0);
  };
}

interface Compared {
  count: IngestCount;
  status: CounterChange | null;
  /** Rows that are new or say something else. */
  news: number[];
}

/** Sorts merged rows into what to insert, change and leave, and adds up the counters. */
function compare(
  prepared: Prepared,
  merged: Merged,
  stored: StoredBars | undefined,
  { inserts, changes, flagged }: Writes,
): Compared {
  const { instrumentId } = prepared.item;
  const { bars, storedRow, freshRow } = merged;
  const count: IngestCount = {
    inserted: 0,
    changed: 0,
    unchanged: 0,
    rejected: prepared.rejected.length,
  };
  const status = emptyStatus(instrumentId);
  const news: number[] = [];
  let written = 0;
  for (let row = merged.from; row < bars.length; row++) {
    const old = storedRow[row];
    if (old < 0 || !stored) {
      inserts.push({ instrumentId, bars, row });
      if (isFlagged(bars.flags[row], 0)) flagged.push({ instrumentId, bars, row, flagsBefore: 0 });
      count.inserted++;
      news.push(row);
      addToStatus(status, bars, row, 1);
      written++;
      continue;
    }
    const isRevision = freshRow[row] >= 0 && !isSameBar(stored, old, bars, row);
    if (isRevision) {
      count.changed++;
      status.revisions++;
      news.push(row);
    } else if (freshRow[row] >= 0) count.unchanged++;
    if (!isRevision && stored.flags[old] === bars.flags[row]) {
      if (stored.isFinal[old] === bars.isFinal[row] && stored.score[old] === bars.score[row]) {
        continue;
      }
    }
    changes.push({ instrumentId, bars, row, isRevision });
    const flagsBefore = stored.flags[old];
    if (isFlagged(bars.flags[row], flagsBefore)) {
      flagged.push({ instrumentId, bars, row, flagsBefore });
    }
    addToStatus(status, stored, old, -1);
    addToStatus(status, bars, row, 1);
    written++;
  }
  return { count, status: written > 0 ? status : null, news };
}

/** What the counters and the stream are told of an instrument. */
function announce(
  { instrumentId, symbol }: IngestItem,
  bars: StoredBars,
  { status, news }: Compared,
  { events, statuses }: Writes,
  { receivedAt, isSynthetic }: IngestOptions,
): void {
  const timeOf = (row: number) => toDate(bars.session[row]);
  events.push(...barEvents(instrumentId, symbol, '1d', bars, news, timeOf));
  if (!status) return;
  const revisedAt = status.revisions > 0 ? receivedAt : null;
  statuses.push({ ...status, revisedAt, isSynthetic });
}
