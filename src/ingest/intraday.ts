import type { RejectedRow } from '../model/bar.ts';
import {
  copyIntradayBar,
  gatherIntradayBars,
  INTRADAY_MS,
  type IntradayBars,
  type StoredIntraday,
} from '../model/intraday.ts';
import { FLAG } from '../model/quality.ts';
import { newYorkDay, toDate } from '../model/session.ts';
import {
  isTradeCount,
  makeStoredIntraday,
  type StoredIntradayBars,
  sliceIntraday,
} from '../store/bar-columns.ts';
import type { Sql, Transaction } from '../store/database.ts';
import { insertEvents, type NewEvent } from '../store/events.ts';
import { type FlaggedBar, isFlagged, recordFindings, selectDecisions } from '../store/findings.ts';
import {
  type ChangedIntraday,
  type IntradayRow,
  insertIntraday,
  selectStoredIntraday,
  upsertChangedIntraday,
} from '../store/intraday.ts';
import {
  insertRejectedRows,
  notifyBars,
  type SessionSpan,
  type StatusChange,
  selectHeldBars,
  upsertStatus,
  withIngestLock,
} from '../store/upsert.ts';
import { applyDecisions } from './findings.ts';
import { type IngestCount, type IngestOptions, isSameBar, refuseMixing } from './ingest.ts';
import {
  type AskedRange,
  addToStatus,
  barEvents,
  type CounterChange,
  emptyStatus,
  markUnfinished,
  recordCoverage,
} from './record.ts';
import { validateIntraday } from './validate-intraday.ts';

/** What arrived for one instrument. */
export interface IntradayItem {
  instrumentId: number;
  symbol: string;
  /** In any order, duplicates allowed. */
  bars: IntradayBars;
  rejected: readonly RejectedRow[];
  /** What was asked for; undefined when nobody was asked (a file). */
  asked?: readonly AskedRange[];
  listedOn: number | null;
}

export interface IntradayOptions extends IngestOptions {
  timeframe: StoredIntraday;
}

interface Prepared {
  item: IntradayItem;
  /** Ascending by ts and unique. */
  bars: IntradayBars;
  rejected: RejectedRow[];
  /** Sessions that have a bar, ascending. */
  days: number[];
}

/**
 * The way in of bars below a day, as `ingestBars` is of daily ones: validates and stores them with
 * revisions, rejected rows, coverage, counters, events and notification in one transaction. Every
 * row is counted. Doing it again changes nothing.
 * @throws InputError when made-up bars meet real ones of the same instrument.
 */
export async function ingestIntraday(
  write: Sql,
  items: readonly IntradayItem[],
  options: IntradayOptions,
): Promise<Map<number, IngestCount>> {
  const counts = new Map<number, IngestCount>();
  if (items.length === 0) return counts;
  const prepared = items.map((item) => prepareItem(item, options));
  const ids = new Set(items.map((item) => item.instrumentId));
  if (ids.size !== items.length) throw new Error('an instrument is twice in one batch');
  await withIngestLock(write, async (tx) => {
    const stored = await selectContext(tx, prepared, options);
    const decisions = await selectDecisions(tx, options.timeframe, [...ids]);
    const writes: Writes = { inserts: [], changes: [], flagged: [], statuses: [], events: [] };
    for (const one of prepared) {
      const merged = mergeBars(one, stored.get(one.item.instrumentId), options);
      applyDecisions(merged.bars, decisions.get(one.item.instrumentId));
      const count = compare(one, merged, options, writes);
      counts.set(one.item.instrumentId, count);
    }
    await store(tx, prepared, writes, options);
  });
  return counts;
}

interface Writes {
  inserts: IntradayRow[];
  changes: ChangedIntraday[];
  /** Those of them that have, or had, flags that are findings. */
  flagged: FlaggedBar[];
  statuses: StatusChange[];
  events: NewEvent[];
}

async function store(
  tx: Transaction,
  prepared: readonly Prepared[],
  { inserts, changes, flagged, statuses, events }: Writes,
  options: IntradayOptions,
): Promise<void> {
  const { timeframe, provider, receivedAt } = options;
  const origin = { provider, receivedAt };
  await insertIntraday(tx, timeframe, inserts, origin);
  await upsertChangedIntraday(tx, timeframe, changes, origin);
  await upsertStatus(tx, statuses, provider, timeframe);
  await recordFindings(tx, timeframe, flagged, receivedAt);
  const rejected = prepared.flatMap(({ item, rejected: rows }) =>
    rows.map((row) => ({ ...row, instrumentId: item.instrumentId })),
  );
  await insertRejectedRows(tx, rejected, provider, timeframe);
  const arrivals = prepared.map(({ item, days, rejected: rows }) => ({
    instrumentId: item.instrumentId,
    days,
    rejected: rows,
    asked: item.asked,
    listedOn: item.listedOn,
  }));
  const covered = await recordCoverage(tx, timeframe, arrivals, options);
  const written = statuses.map((status) => status.instrumentId);
  await notifyBars(tx, [...new Set([...written, ...covered])]);
  await insertEvents(tx, events);
}

/** Sorts an item's bars and sets aside what cannot be one: duplicates, impossible instants. */
function prepareItem(item: IntradayItem, options: IntradayOptions): Prepared {
  const { bars, symbol } = item;
  const rejected = [...item.rejected];
  const order: number[] = [];
  const reject = (row: number, reason: string) =>
    rejected.push({
      symbol,
      session: toDate(bars.session[row]),
      reason,
      raw: describeBar(bars, row),
    });
  for (let row = 0; row < bars.length; row++) {
    const reason = instantProblem(bars, row, options);
    if (reason === null) order.push(row);
    else reject(row, reason);
  }
  order.sort((a, b) => bars.ts[a] - bars.ts[b] || a - b);
  const unique: number[] = [];
  for (const row of order) {
    const last = unique.at(-1);
    if (last === undefined || bars.ts[last] !== bars.ts[row]) unique.push(row);
    else if (isSameBar(bars, last, bars, row)) {
      reject(row, 'duplicate of another row of the same answer');
    } else {
      reject(
        row,
        'second bar for the instant in the same answer, with other values; the first was kept',
      );
    }
  }
  const sorted = gatherIntradayBars([{ bars, rows: unique }]);
  const days: number[] = [];
  for (const day of sorted.session) if (day !== days.at(-1)) days.push(day);
  return { item, bars: sorted, rejected, days };
}

function instantProblem(
  { ts, session }: IntradayBars,
  row: number,
  { receivedAt, calendar, timeframe }: IntradayOptions,
): string | null {
  if (!Number.isSafeInteger(ts[row]) || ts[row] % INTRADAY_MS[timeframe] !== 0) {
    return `the bar does not begin on a whole ${timeframe === '1m' ? 'minute' : 'hour'}`;
  }
  if (ts[row] > receivedAt) return 'the bar lies in the future';
  if (newYorkDay(ts[row]) !== session[row]) throw new Error('a bar is of another session');
  if (session[row] < calendar.firstDay) {
    return `the bar lies before ${toDate(calendar.firstDay)}, where the calendar begins`;
  }
  return null;
}

function describeBar(bars: IntradayBars, row: number): string {
  const { open, high, low, close, volume, ts } = bars;
  const values = [open, high, low, close, volume].map((column) => column[row]);
  const at = Number.isFinite(ts[row]) ? new Date(ts[row]).toISOString() : String(ts[row]);
  return `${at} open,high,low,close,volume=${values.join(',')}`;
}

/** Sessions further apart than this are read one by one, nearer ones with what lies between. */
const SPAN_DAYS_MAX = 7;

/** Stored bars of every session that arrives, for they are judged together. */
async function selectContext(
  tx: Transaction,
  prepared: readonly Prepared[],
  { timeframe, isSynthetic }: IntradayOptions,
): Promise<Map<number, StoredIntradayBars[]>> {
  const ids = prepared.map(({ item }) => item.instrumentId);
  const held = await selectHeldBars(tx, ids, timeframe);
  const spans: SessionSpan[] = [];
  for (const { item, days } of prepared) {
    const { instrumentId, symbol } = item;
    const have = held.get(instrumentId);
    if (days.length > 0) refuseMixing(symbol, have, isSynthetic);
    if (!have || have.records === 0) continue;
    let open: SessionSpan | undefined;
    for (const day of days) {
      if (open && day - open.lastDay <= SPAN_DAYS_MAX) open.lastDay = day;
      else {
        open = { instrumentId, firstDay: day, lastDay: day };
        spans.push(open);
      }
    }
  }
  return selectStoredIntraday(tx, timeframe, spans);
}

interface Merged {
  bars: StoredIntradayBars;
  /** Where a row is stored: part of the context and row in it; part -1 when the bar is new. */
  storedPart: Int32Array;
  storedRow: Int32Array;
  /** 1 where the bar arrived. */
  isFresh: Uint8Array;
  stored: readonly StoredIntradayBars[];
}

/** Lays the arriving bars over the stored ones and scores them. */
function mergeBars(
  { bars: fresh }: Prepared,
  stored: readonly StoredIntradayBars[] = [],
  options: IntradayOptions,
): Merged {
  const length = fresh.length + stored.reduce((sum, part) => sum + part.length, 0);
  const all = makeStoredIntraday(length);
  const storedPart = new Int32Array(length).fill(-1);
  const storedRow = new Int32Array(length);
  const isFresh = new Uint8Array(length);
  let size = 0;
  let i = 0;
  const takeFresh = () => {
    copyIntradayBar(fresh, i, all, size);
    if (!isTradeCount(fresh.tradeCount[i])) all.tradeCount[size] = Number.NaN;
    all.isFinal[size] = all.session[size] < options.settledBefore ? 1 : 0;
    isFresh[size] = 1;
    i++;
  };
  stored.forEach((part, position) => {
    for (let j = 0; j < part.length; j++, size++) {
      while (i < fresh.length && fresh.ts[i] < part.ts[j]) {
        takeFresh();
        size++;
      }
      storedPart[size] = position;
      storedRow[size] = j;
      if (i < fresh.length && fresh.ts[i] === part.ts[j]) {
        takeFresh();
        if (Number.isNaN(all.vwap[size])) all.vwap[size] = part.vwap[j];
        if (Number.isNaN(all.tradeCount[size])) all.tradeCount[size] = part.tradeCount[j];
        all.isFinal[size] = Math.max(all.isFinal[size], part.isFinal[j]);
      } else {
        copyIntradayBar(part, j, all, size);
        all.isFinal[size] = part.isFinal[j];
      }
    }
  });
  for (; i < fresh.length; size++) takeFresh();
  const bars = sliceIntraday(all, 0, size);
  const { calendar, thresholds, timeframe } = options;
  const lengthMs = INTRADAY_MS[timeframe];
  validateIntraday(bars, lengthMs, calendar, thresholds, bars);
  markUnfinished(bars, options.receivedAt, (row) => {
    if (isFresh[row] === 1) return bars.ts[row] + lengthMs;
    const flags = stored[storedPart[row]].flags[storedRow[row]];
    const isUnfinished = (flags & FLAG.unfinished) !== 0;
    return isUnfinished ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  });
  return { bars, storedPart, storedRow, isFresh, stored };
}

/** Sorts merged rows into what to insert, change and leave, and adds up the counters. */
function compare(
  { item, rejected }: Prepared,
  merged: Merged,
  { timeframe, isSynthetic, receivedAt }: IntradayOptions,
  writes: Writes,
): IngestCount {
  const { instrumentId, symbol } = item;
  const { bars, isFresh } = merged;
  const count = { inserted: 0, changed: 0, unchanged: 0, rejected: rejected.length };
  const status: CounterChange = emptyStatus(instrumentId);
  const news: number[] = [];
  let written = 0;
  for (let row = 0; row < bars.length; row++) {
    const position = merged.storedPart[row];
    const fresh = isFresh[row] === 1;
    if (position < 0) {
      writes.inserts.push({ instrumentId, bars, row });
      if (isFlagged(bars.flags[row], 0)) {
        writes.flagged.push({ instrumentId, bars, row, flagsBefore: 0 });
      }
      count.inserted++;
      news.push(row);
      addToStatus(status, bars, row, 1);
      written++;
      continue;
    }
    const stored = merged.stored[position];
    const old = merged.storedRow[row];
    const isRevision = fresh && !isSameBar(stored, old, bars, row);
    if (isRevision) {
      count.changed++;
      status.revisions++;
      news.push(row);
    } else if (fresh) count.unchanged++;
    if (!isRevision && isScoredAlike(stored, old, bars, row)) continue;
    writes.changes.push({ instrumentId, bars, row, isRevision });
    const flagsBefore = stored.flags[old];
    if (isFlagged(bars.flags[row], flagsBefore)) {
      writes.flagged.push({ instrumentId, bars, row, flagsBefore });
    }
    addToStatus(status, stored, old, -1);
    addToStatus(status, bars, row, 1);
    written++;
  }
  if (written > 0) {
    const revisedAt = status.revisions > 0 ? receivedAt : null;
    writes.statuses.push({ ...status, revisedAt, isSynthetic });
  }
  const timeOf = (row: number) => new Date(bars.ts[row]).toISOString();
  writes.events.push(...barEvents(instrumentId, symbol, timeframe, bars, news, timeOf));
  return count;
}

function isScoredAlike(
  stored: StoredIntradayBars,
  old: number,
  bars: StoredIntradayBars,
  row: number,
): boolean {
  return (
    stored.flags[old] === bars.flags[row] &&
    stored.score[old] === bars.score[row] &&
    stored.part[old] === bars.part[row] &&
    stored.isFinal[old] === bars.isFinal[row]
  );
}
