import { InputError } from '../errors.ts';
import { type BarColumns, firstBars, makeBars } from '../model/bar.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import {
  type BarChunk,
  type BarColumnNames,
  type BarFileOptions,
  readBarFile,
  type StampedRow,
} from './bar-file.ts';

export type FlatFileChunk = BarChunk<BarColumns>;
export type FlatFileOptions = BarFileOptions;

const COLUMN_NAMES: BarColumnNames = {
  symbol: ['symbol', 'ticker', 'name'],
  stamp: ['date', 'session', 'timestamp', 'time', 'datetime', 'window_start'],
  open: ['open'],
  high: ['high'],
  low: ['low'],
  close: ['close'],
  volume: ['volume'],
  vwap: ['vwap'],
  tradeCount: ['transactions', 'trade_count'],
};

const HELP =
  'expected: date (or session, timestamp, time, datetime, window_start), open, high, low, close, ' +
  'volume; allowed: symbol (or ticker, name), vwap, transactions (or trade_count)';

/** daily_AAPL, AAPL_data, aapl. */
const FILE_NAME = /^(?:daily_)?(?:adjusted_)?([A-Za-z][A-Za-z.-]*?)(?:_(?:data|daily|api))?$/;

/**
 * Daily bars of a CSV file, gzipped or not, of whichever common layout, a chunk at a time.
 * Prices are those of the columns open, high, low, close; adjusted ones beside them are ignored.
 * @throws InputError when the file is not one of daily bars, or is damaged. Chunks before the
 *   damage were given out; what was read after them was not.
 */
export function readFlatFile(
  path: string,
  options: FlatFileOptions = {},
): AsyncGenerator<FlatFileChunk, void, undefined> {
  const stamps = new Map<string, Stamp>();
  return readBarFile<BarColumns>(path, options, {
    names: COLUMN_NAMES,
    help: HELP,
    example: 'date,open,high,low,close,volume',
    fileName: FILE_NAME,
    makeBars,
    firstBars,
    readStamp(row, bars, at) {
      const day = parseSession(row.stamp);
      if (Number.isNaN(day)) return describeDate(row.path, row.line, row.stamp);
      if (row.stamp.length > DATE_LENGTH) checkDaily(row, day, stamps);
      bars.session[at] = day;
      return undefined;
    },
    sessionOf(cell) {
      const day = parseSession(cell);
      return Number.isNaN(day) ? undefined : toDate(day);
    },
  });
}

interface Stamp {
  day: number;
  text: string;
}

/** Stamps with a time may be those of minutes, which look like bars of a day in all else. */
function checkDaily(row: StampedRow, day: number, stamps: Map<string, Stamp>): void {
  const { path, line, symbol, stamp } = row;
  const last = stamps.get(symbol);
  if (last?.day === day && last.text !== stamp) {
    throw new InputError(
      `${path}, line ${line}: a second bar of ${symbol} for ${toDate(day)} ` +
        `(${last.text}, ${stamp}): these are not daily bars`,
    );
  }
  // A part of a row would keep the whole text alive.
  stamps.set(symbol, { day, text: Buffer.from(stamp).toString() });
}

// ---------------------------------------------------------------------------- cells

const DATE_LENGTH = 'YYYY-MM-DD'.length;
const DAY_MS = 86_400_000;
const ISO = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|[+-]\d\d(?::?\d\d)?)?$/;
const SLASHES = /^(\d{1,4})\/(\d{1,2})\/(\d{1,4})$/;
const ENGLISH = /^([A-Z][a-z]{2})[a-z]* (\d{1,2}), (\d{4})$/;
const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';

/** The session of a date or a point in time, in days since 1970-01-01; NaN when it is neither. */
function parseSession(cell: string): number {
  if (cell.length === DATE_LENGTH && cell[4] === '-') return toDay(cell);
  const text = cell.trim();
  if (/^\d{8,}$/.test(text)) return parseDigits(text);
  const slashes = SLASHES.exec(text);
  if (slashes) return parseSlashes(slashes);
  const english = ENGLISH.exec(text);
  if (english) return toDayOf(english[3], MONTHS.indexOf(english[1]) / 3 + 1, english[2]);
  const iso = ISO.exec(text);
  if (!iso) return toDay(text);
  const [, date, time, zone] = iso;
  if (zone === undefined) return toDay(date);
  const offset = zone.replace(
    /^([+-]\d\d):?(\d\d)?$/,
    (_, hours, rest = '00') => `${hours}:${rest}`,
  );
  return dayOfInstant(Date.parse(`${date}T${time}${offset}`));
}

/** 20150320, or the time since 1970 in seconds, milli-, micro- or nanoseconds, by its length. */
function parseDigits(text: string): number {
  const { length } = text;
  if (length === 8) return toDay(`${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`);
  if (length === 9 || length === 10) return dayOfInstant(Number(text) * 1_000);
  // Digits are cut off, not divided away: nanoseconds exceed what a double holds exactly.
  const cut = new Map([
    [12, 0],
    [13, 0],
    [15, 3],
    [16, 3],
    [18, 6],
    [19, 6],
  ]).get(length);
  return cut === undefined ? Number.NaN : dayOfInstant(Number(text.slice(0, length - cut)));
}

/**
 * The New York date. But midnight UTC stands for its own date: no bar of a day is stamped at 19:00
 * in New York, and every tool that takes a date for a time writes it like this.
 */
function dayOfInstant(ms: number): number {
  const day = ms % DAY_MS === 0 ? ms / DAY_MS : newYorkDay(ms);
  return day >= FIRST_DAY && day <= LAST_DAY ? day : Number.NaN;
}

const FIRST_DAY = toDay('0000-01-01');
const LAST_DAY = toDay('9999-12-31');

/** 2015/3/20, 3/20/2015 and 3/20/15; two digits from 70 on are of the last century. */
function parseSlashes([, first, second, third]: string[]): number {
  if (first.length === 4) return toDayOf(first, Number(second), third);
  if (first.length > 2) return Number.NaN;
  if (third.length === 4) return toDayOf(third, Number(first), second);
  if (third.length !== 2) return Number.NaN;
  return toDayOf(`${Number(third) < 70 ? '20' : '19'}${third}`, Number(first), second);
}

function toDayOf(year: string, month: number, dayOfMonth: string): number {
  return toDay(`${year}-${String(month).padStart(2, '0')}-${dayOfMonth.padStart(2, '0')}`);
}

/**
 * Why a cell is no date.
 * @throws InputError when the file writes days before months: other rows of it, of the first
 *   twelve days of a month, would be taken for other dates.
 */
function describeDate(path: string, line: number, cell: string): string {
  const [, first, second] = SLASHES.exec(cell.trim()) ?? [];
  if (Number(first) > 12 && Number(first) <= 31 && Number(second) <= 12) {
    throw new InputError(`${path}, line ${line}: ${cell} has no month ${first}; dates are M/D/Y`);
  }
  return cell.trim() === '' ? 'date is empty' : `date is ${JSON.stringify(cell)}`;
}
