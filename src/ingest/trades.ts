import type { RejectedRow } from '../model/bar.ts';
import { EPOCH_UNITS, epochUnit, formatMicros } from '../model/instant.ts';
import { newYorkDay, toDate } from '../model/session.ts';
import type { TradeColumns } from '../model/trade.ts';
import type { Sql, Transaction } from '../store/database.ts';
import { EVENTS_EACH_MAX, insertEvents, type NewEvent } from '../store/events.ts';
import {
  insertTrades,
  type MergeCount,
  selectHeldSpans,
  type TradePick,
  type TradeSpan,
  upsertLastTrades,
  upsertTrades,
  withTradesLock,
} from '../store/trades.ts';
import {
  insertRejectedRows,
  lockHeld,
  notifyBars,
  type StatusChange,
  upsertStatus,
} from '../store/upsert.ts';
import { type IngestCount, refuseMixing } from './ingest.ts';
import { emptyStatus } from './record.ts';

/** Trades that arrived for one instrument. */
export interface TradeItem {
  instrumentId: number;
  symbol: string;
  /**
   * In any order, duplicates allowed. A sequence that is NaN stands for "not numbered": such trades
   * are numbered from 0 by their position among those of the same instant.
   */
  trades: TradeColumns;
  /** Rows that are no trades, to be kept with their reasons. */
  rejected?: readonly RejectedRow[];
}

export interface TradeOptions {
  provider: string;
  isSynthetic: boolean;
  /** When they came, epoch ms. */
  receivedAt: number;
}

/** An item whose trades are checked, numbered, ascending and unique. */
interface Prepared {
  item: TradeItem;
  trades: TradeColumns;
  rows: number[];
  rejected: RejectedRow[];
}

/** An exchange's clock may be this much ahead of ours. */
const AHEAD_MAX_MICROS = 5_000_000;
/** USD, and shares: trades of more are mistakes, and candles could not add them up. */
const VALUE_MAX = 1e12;
const SIZE_MAX = 1e12;
const TEXT_BYTES_MAX = 200;

/**
 * Stores trades with all that belongs to them (rejected rows, counters, notification, events) in
 * one transaction. Every row of every item is counted: inserted, changed, unchanged or rejected.
 * A trade is known by its instrument, instant and number: doing it again changes nothing.
 * Trades later or earlier than any stored within their span are copied straight into the table.
 * @returns by instrument.
 * @throws InputError when made-up data meets real data of the same instrument.
 */
export async function ingestTrades(
  write: Sql,
  items: readonly TradeItem[],
  options: TradeOptions,
): Promise<Map<number, IngestCount>> {
  const counts = new Map<number, IngestCount>();
  if (items.length === 0) return counts;
  const ids = new Set(items.map((item) => item.instrumentId));
  if (ids.size !== items.length) throw new Error('an instrument is twice in one batch');
  const prepared = items.map((item) => prepareItem(item, options));
  await withTradesLock(write, async (tx) => {
    await checkMixing(tx, prepared, options);
    const { fresh, contested } = await splitPicks(tx, prepared);
    await insertTrades(tx, fresh, options);
    const merged = await upsertTrades(tx, contested, options, EVENTS_EACH_MAX + 1);
    const statuses: StatusChange[] = [];
    const events: NewEvent[] = [];
    prepared.forEach((one, i) => {
      const { instrumentId } = one.item;
      const merge = merged.get(instrumentId);
      const count = countRows(one, fresh[i].rows.length, merge);
      counts.set(instrumentId, count);
      if (count.inserted + count.changed === 0) return;
      statuses.push(toStatus(one, count.inserted, options.isSynthetic));
      events.push(...tradeEvents(one, fresh[i], merge, options));
    });
    await upsertStatus(tx, statuses, options.provider, 'trade');
    const rejected = prepared.flatMap((one) =>
      one.rejected.map((row) => ({ ...row, instrumentId: one.item.instrumentId })),
    );
    await insertRejectedRows(tx, rejected, options.provider, 'trades');
    const changed = statuses.map((status) => status.instrumentId);
    await notifyBars(tx, changed, 'trades');
    const stored = [...counts.values()].reduce((sum, one) => sum + one.inserted + one.changed, 0);
    if (stored > 0) await upsertLastTrades(tx, stored);
    await insertEvents(tx, events);
  });
  return counts;
}

/** @throws InputError when real and made-up data would meet. */
async function checkMixing(
  tx: Transaction,
  prepared: readonly Prepared[],
  { isSynthetic }: TradeOptions,
): Promise<void> {
  const arriving = prepared.filter(({ rows }) => rows.length > 0).map(({ item }) => item);
  const ids = arriving.map(({ instrumentId }) => instrumentId);
  const held = await lockHeld(tx, ids, 'trade');
  for (const { instrumentId, symbol } of arriving) {
    refuseMixing(symbol, held.get(instrumentId), isSynthetic);
  }
}

/** Tells trades that cannot be stored yet from those that may be; both are in the items' order. */
async function splitPicks(tx: Transaction, prepared: readonly Prepared[]) {
  const spans: TradeSpan[] = [];
  for (const { item, trades, rows } of prepared) {
    if (rows.length === 0) continue;
    const first = trades.ts[rows[0]];
    const last = trades.ts[rows[rows.length - 1]];
    spans.push({ instrumentId: item.instrumentId, first, last });
  }
  const held = await selectHeldSpans(tx, spans);
  const fresh: TradePick[] = [];
  const contested: TradePick[] = [];
  for (const { item, trades, rows } of prepared) {
    const { instrumentId } = item;
    const span = held.get(instrumentId);
    const isIn = (row: number) =>
      span && trades.ts[row] >= span.first && trades.ts[row] <= span.last;
    fresh.push({ instrumentId, trades, rows: span ? rows.filter((row) => !isIn(row)) : rows });
    if (span) contested.push({ instrumentId, trades, rows: rows.filter(isIn) });
  }
  return { fresh, contested };
}

function countRows(one: Prepared, fresh: number, merge: MergeCount | undefined): IngestCount {
  const inserted = fresh + (merge?.inserted ?? 0);
  const changed = merge?.changed ?? 0;
  const unchanged = one.rows.length - inserted - changed;
  if (unchanged < 0) throw new Error('more trades were stored than came');
  return { inserted, changed, unchanged, rejected: one.rejected.length };
}

function toStatus({ item, trades, rows }: Prepared, records: number, isSynthetic: boolean) {
  const dayOf = (row: number) => newYorkDay(Math.floor(trades.ts[row] / 1000));
  return {
    ...emptyStatus(item.instrumentId),
    records,
    firstDay: dayOf(rows[0]),
    latestDay: dayOf(rows[rows.length - 1]),
    isSynthetic,
  };
}

// ------------------------------------------------------------------------- preparing

function prepareItem(item: TradeItem, options: TradeOptions): Prepared {
  const { symbol, trades: given } = item;
  const rejected = [...(item.rejected ?? [])];
  const checkText = makeTextCheck();
  const latest = options.receivedAt * 1000 + AHEAD_MAX_MICROS;
  const reject = (row: number, reason: string) => {
    rejected.push({ symbol, ...describeTrade(given, row), reason });
  };
  let rows: number[] = [];
  for (let row = 0; row < given.length; row++) {
    const reason =
      tradeProblem(given, row, latest) ??
      checkText(given.exchange[row], 'exchange') ??
      checkText(given.conditions[row], 'conditions');
    if (reason === null) rows.push(row);
    else reject(row, reason);
  }
  const { ts } = given;
  if (!isAscending(rows, (a, b) => ts[a] - ts[b])) rows.sort((a, b) => ts[a] - ts[b] || a - b);
  const trades = numberTrades(given, rows);
  const { sequence } = trades;
  const byKey = (a: number, b: number) => ts[a] - ts[b] || sequence[a] - sequence[b];
  if (isAscending(rows, byKey, true)) return { item, trades, rows, rejected };
  rows.sort((a, b) => byKey(a, b) || a - b);
  rows = rows.filter((row, i) => {
    if (i === 0 || byKey(rows[i - 1], row) !== 0) return true;
    reject(row, duplicateProblem(trades, rows, i, byKey));
    return false;
  });
  return { item, trades, rows, rejected };
}

type Order = (a: number, b: number) => number;

function isAscending(rows: readonly number[], order: Order, isStrict = false): boolean {
  for (let i = 1; i < rows.length; i++) {
    const step = order(rows[i - 1], rows[i]);
    if (step > 0 || (isStrict && step === 0)) return false;
  }
  return true;
}

/** The same trades, those without a number numbered within their instant; rows are by instant. */
function numberTrades(given: TradeColumns, rows: readonly number[]): TradeColumns {
  if (!rows.some((row) => Number.isNaN(given.sequence[row]))) return given;
  const sequence = given.sequence.slice();
  let position = 0;
  rows.forEach((row, i) => {
    position = i > 0 && given.ts[rows[i - 1]] === given.ts[row] ? position + 1 : 0;
    if (Number.isNaN(sequence[row])) sequence[row] = position;
  });
  return { ...given, sequence };
}

/** Why a row that has the key of the one before it is not stored. */
function duplicateProblem(
  trades: TradeColumns,
  rows: readonly number[],
  i: number,
  byKey: Order,
): string {
  let first = i - 1;
  while (first > 0 && byKey(rows[first - 1], rows[i]) === 0) first--;
  const [a, b] = [rows[first], rows[i]];
  const isSame =
    trades.price[a] === trades.price[b] &&
    trades.size[a] === trades.size[b] &&
    trades.updates[a] === trades.updates[b] &&
    trades.exchange[a] === trades.exchange[b] &&
    trades.conditions[a] === trades.conditions[b];
  return isSame
    ? 'duplicate of another trade of the same batch'
    : 'second trade of the instant with this number, with other values; the first was kept';
}

/** Why a row is no trade; null when it is one. `latest` is the last instant that is not ahead. */
function tradeProblem(
  { ts, sequence, price, size }: TradeColumns,
  row: number,
  latest: number,
): string | null {
  const instant = ts[row];
  if (!Number.isInteger(instant)) return `the timestamp is ${instant}, not whole microseconds`;
  const unit = epochUnit(instant);
  if (unit !== 'us') return stampProblem(instant, unit);
  if (instant > latest) return `the trade lies in the future (${formatMicros(instant)})`;
  if (!(price[row] > 0 && price[row] < Infinity)) return `the price is ${price[row]}: not above 0`;
  if (!(size[row] > 0)) return `the size is ${size[row]}: not above 0`;
  if (size[row] > SIZE_MAX) return `the size is ${size[row]}: more than can be`;
  if (price[row] * size[row] > VALUE_MAX) {
    return `the trade is worth ${price[row] * size[row]} USD, more than can be`;
  }
  const number = sequence[row];
  if (Number.isNaN(number) || (Number.isSafeInteger(number) && number >= 0)) return null;
  return `the sequence is ${number}: it must be a whole number from 0 on`;
}

function stampProblem(instant: number, unit: ReturnType<typeof epochUnit>): string {
  if (unit === undefined) return `the timestamp ${instant} is not one from 1974 to 2099`;
  const { name, perSecond } = EPOCH_UNITS[unit];
  const date = toDate(Math.floor(instant / perSecond / 86_400));
  return (
    `the timestamp ${instant} is evidently ${name} since 1970 (${date}), where microseconds are ` +
    'meant: the file or program that gave it uses another unit than it said'
  );
}

/** Checks short texts; most repeat. */
function makeTextCheck() {
  const good = new Set<string>();
  return (text: string | null, name: string): string | null => {
    if (text === null || good.has(text)) return null;
    if (text.includes('\0')) return `${name} has a zero byte`;
    if (Buffer.byteLength(text) > TEXT_BYTES_MAX) {
      return `${name} is longer than ${TEXT_BYTES_MAX} bytes`;
    }
    good.add(text);
    return null;
  };
}

/** The session and the text of a trade that is kept as a rejected row. */
export function describeTrade({ ts, sequence, price, size }: TradeColumns, row: number) {
  const isInstant = epochUnit(ts[row]) === 'us';
  const at = isInstant ? formatMicros(Math.floor(ts[row])) : String(ts[row]);
  const session = isInstant ? toDate(newYorkDay(ts[row] / 1000)) : undefined;
  return { session, raw: `${at} price,size,sequence=${price[row]},${size[row]},${sequence[row]}` };
}

// ---------------------------------------------------------------------------- events

/** Announces stored trades, each by itself or as a range when they are many. */
function tradeEvents(
  { item, trades, rows }: Prepared,
  fresh: TradePick,
  merge: MergeCount | undefined,
  { provider, isSynthetic }: TradeOptions,
): NewEvent[] {
  const { instrumentId, symbol } = item;
  const count = fresh.rows.length + (merge ? merge.inserted + merge.changed : 0);
  if (count > EVENTS_EACH_MAX) {
    const ends = fresh.rows.length > 0 ? [fresh.rows[0], fresh.rows[fresh.rows.length - 1]] : [];
    const instants = ends.map((row) => trades.ts[row]);
    if (merge) instants.push(merge.first, merge.last);
    const first = formatMicros(Math.min(...instants));
    const last = formatMicros(Math.max(...instants));
    return [{ kind: 'trades', instrumentId, symbol, data: { first, last, count } }];
  }
  const isNews = new Set(merge?.news.map(([micros, sequence]) => `${micros} ${sequence}`));
  const isFresh = new Set(Array.from(fresh.rows));
  const { ts, sequence } = trades;
  const news = rows.filter((row) => isFresh.has(row) || isNews.has(`${ts[row]} ${sequence[row]}`));
  return news.map((row) => ({
    kind: 'trade',
    instrumentId,
    symbol,
    data: {
      price: trades.price[row],
      volume: trades.size[row],
      size: trades.size[row],
      timestamp: formatMicros(ts[row]),
      sequence: sequence[row],
      exchange: trades.exchange[row],
      conditions: trades.conditions[row],
      provider,
      synthetic: isSynthetic,
    },
  }));
}
