import { InputError } from '../errors.ts';
import {
  firstIntradayBars,
  INTRADAY_MS,
  type IntradayBars,
  makeIntradayBars,
  type StoredIntraday,
} from '../model/intraday.ts';
import { newYorkDay, newYorkInstant, toDate, toDay } from '../model/session.ts';
import { isActionHeader } from './action-file.ts';
import {
  type BarChunk,
  type BarColumnNames,
  type BarFileOptions,
  columnName,
  parseLayout,
  readBarFile,
  type StampedRow,
} from './bar-file.ts';
import { RowSplitter, readText, splitRow } from './csv-file.ts';
import { type StampOptions, StampReader } from './stamp.ts';

export type MinuteFileChunk = BarChunk<IntradayBars>;

export interface MinuteFileOptions extends BarFileOptions, StampOptions {
  /** How long a bar is; '1m' when missing. */
  timeframe?: StoredIntraday;
  /** Which end of the bar a stamp is; 'start' when missing. */
  stamp?: 'start' | 'end';
}

/** A column named '..._et' is in New York time. */
const STAMP_NAMES = ['ts', 'timestamp', 'datetime', 'date', 'time', 'window_start'];

const COLUMN_NAMES: BarColumnNames = {
  symbol: ['symbol', 'ticker', 'name'],
  stamp: [...STAMP_NAMES, ...STAMP_NAMES.map((name) => `${name}_et`)],
  open: ['open'],
  high: ['high'],
  low: ['low'],
  close: ['close'],
  volume: ['volume'],
  // IBKR's names: the weighted average price, and the trades in the bar.
  vwap: ['vwap', 'average'],
  tradeCount: ['transactions', 'trade_count', 'barcount'],
};

const HELP =
  'expected: ts (or timestamp, datetime, date, time, window_start; with _et behind it when it is ' +
  'New York time), open, high, low, close, volume; allowed: symbol (or ticker, name), vwap (or ' +
  'average), transactions (or trade_count, barCount)';

const FILE_WORDS = 'intraday|minutes?|hours?|1min|60min|1m|1h';
/** SPY_1min_202507, intraday_1min_AAPL, polygon_SPY_1min_20240220_20240517, goog_20151224. */
const FILE_NAME = new RegExp(
  `^(?:(?:polygon|ibkr|yfinance|${FILE_WORDS})_)*([A-Za-z][A-Za-z.-]*?)` +
    `(?:_(?:${FILE_WORDS}|data|[0-9]{6}|[0-9]{8}))*$`,
);

/**
 * Minute or hour bars of a CSV file, gzipped or not, of whichever common layout, a chunk at a time.
 * The order of rows is the file's. A row whose stamp is no instant is rejected (see StampReader for
 * those of the days on which clocks are set).
 * @throws InputError when the file is not one of such bars, is damaged, or has stamps without a
 *   zone when none is given. Chunks before that were given out; what was read after was not.
 */
export function readMinuteFile(
  path: string,
  options: MinuteFileOptions = {},
): AsyncGenerator<MinuteFileChunk, void, undefined> {
  const { timeframe = '1m', stamp = 'start' } = options;
  const shiftMs = stamp === 'end' ? INTRADAY_MS[timeframe] : 0;
  const dates = new DateFinder();
  let reader: StampReader | undefined;
  return readBarFile<IntradayBars>(path, options, {
    names: COLUMN_NAMES,
    help: HELP,
    example: 'datetime_et,open,high,low,close,volume',
    fileName: FILE_NAME,
    makeBars: makeIntradayBars,
    firstBars: firstIntradayBars,
    readStamp(row, bars, at) {
      reader ??= new StampReader(row.column, options);
      const ts = reader.read(row.stamp) - shiftMs;
      if (Number.isNaN(ts)) return describeFault(reader, row);
      bars.ts[at] = ts;
      bars.session[at] = dates.dayOf(ts);
      return undefined;
    },
    sessionOf(cell, column) {
      reader ??= new StampReader(column, options);
      const ts = reader.read(cell) - shiftMs;
      if (!Number.isNaN(ts)) return toDate(dates.dayOf(ts));
      const date = cell.trim().slice(0, 10);
      return Number.isNaN(toDay(date)) ? undefined : date;
    },
    unfoldHeader,
    readHeaderRow: ([first, second = '']) =>
      columnName(first) === 'ticker' ? second.trim() || undefined : undefined,
  });
}

/** Why a stamp is none. @throws InputError when that is so of the whole column or file. */
function describeFault({ reason, fault, field }: StampReader, row: StampedRow): string {
  if (fault === 'file' || (fault === 'column' && row.barsRead === 0)) {
    throw new InputError(`${row.path}, line ${row.line}: ${reason}`, field);
  }
  return reason;
}

/**
 * A table of several symbols that pandas wrote has three rows on top: 'Price,Close,High,...',
 * 'Ticker,AAPL,AAPL,...' and 'Datetime,,,...'. Of one symbol it can be read.
 */
function unfoldHeader(header: readonly string[]): { header: string[]; rows: number } | undefined {
  const [first, ...others] = header.map(columnName);
  if (first !== 'price' || !others.includes('close')) return undefined;
  return { header: ['datetime', ...others], rows: 2 };
}

/** The dates in New York of instants that mostly stand together. */
class DateFinder {
  #day = Number.NaN;
  #startMs = 0;
  #endMs = 0;

  dayOf(ts: number): number {
    if (ts >= this.#startMs && ts < this.#endMs) return this.#day;
    this.#day = newYorkDay(ts);
    this.#startMs = newYorkInstant(this.#day, 0);
    this.#endMs = newYorkInstant(this.#day + 1, 0);
    return this.#day;
  }
}

// ---------------------------------------------------------------------------- kinds

export type FileKind = 'daily' | 'intraday' | 'trades' | 'actions';

/** Rows that are looked at. */
const SNIFFED_ROWS = 200;
const DAY_MS = 86_400_000;
const TRADE_SIZES = ['size', 'volume', 'quantity'];

/**
 * What a file holds, by its header and first rows. Trades have a price and a size; splits and
 * dividends have a date and no prices; bars have stamps of which one symbol has several on a day,
 * or that are at no midnight and not always at the same time of the day. Whatever cannot be told is
 * called daily: the reader of daily bars says what is wrong with it.
 * @param columns the columns of a file that has no header.
 * @throws InputError when the file cannot be read.
 */
export async function sniffFile(path: string, columns?: string): Promise<FileKind> {
  const rows = await readFirstRows(path);
  const header = columns?.split(',') ?? rows.shift() ?? [];
  const names = header.map(columnName);
  const isTrade = names.includes('price') && TRADE_SIZES.some((name) => names.includes(name));
  if (isTrade && !names.includes('open') && !names.includes('close')) return 'trades';
  if (isActionHeader(header)) return 'actions';
  const unfolded = unfoldHeader(header);
  const { layout } = parseLayout(unfolded?.header ?? header, COLUMN_NAMES);
  if (layout.stamp < 0) return 'daily';
  // For the kind it does not matter where the clock hangs.
  const column = columnName(header[layout.stamp]);
  const zone = column.endsWith('_et') ? undefined : 'UTC';
  const reader = new StampReader(column, { zone, unit: 's' });
  const stamped = rows.slice(unfolded?.rows ?? 0).flatMap((cells): Sniffed[] => {
    const ts = reader.read(cells[layout.stamp] ?? '');
    return Number.isNaN(ts) ? [] : [{ ts, symbol: cells[layout.symbol] ?? '' }];
  });
  return isIntraday(stamped) ? 'intraday' : 'daily';
}

interface Sniffed {
  ts: number;
  symbol: string;
}

function isIntraday(rows: readonly Sniffed[]): boolean {
  const seen = new Map<string, number>();
  const times = { utc: new Set<number>(), newYork: new Set<number>() };
  const days = new Set<number>();
  let isMidnight = true;
  for (const { ts, symbol } of rows) {
    const day = newYorkDay(ts);
    const key = `${symbol} ${day}`;
    if ((seen.get(key) ?? ts) !== ts) return true;
    seen.set(key, ts);
    days.add(day);
    times.utc.add(ts % DAY_MS);
    times.newYork.add(ts - newYorkInstant(day, 0));
    isMidnight &&= ts % DAY_MS === 0 || ts === newYorkInstant(day, 0);
  }
  // Daily bars may be stamped at their close, day after day.
  const isOneTime = times.utc.size === 1 || times.newYork.size === 1;
  return !isMidnight && !(isOneTime && days.size > 1);
}

async function readFirstRows(path: string): Promise<string[][]> {
  const splitter = new RowSplitter(path);
  const rows: string[][] = [];
  const add = (line: string) => {
    if (line.trim() !== '') rows.push(splitRow(line));
    return rows.length > SNIFFED_ROWS;
  };
  for await (const text of readText(path, { rowsRead: 0 })) {
    for (const line of splitter.feed(text)) if (add(line)) return rows;
  }
  add(splitter.end());
  return rows;
}
