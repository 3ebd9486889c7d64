import { InputError } from '../errors.ts';
import type { RejectedRow } from '../model/bar.ts';
import { EPOCH_UNITS, type EpochUnit, epochUnit } from '../model/instant.ts';
import { type Calendar, newYorkInstant, toDay } from '../model/session.ts';
import { copyTrade, makeTrades, type TradeColumns } from '../model/trade.ts';
import {
  parseNumber,
  RAW_LENGTH_MAX,
  RowSplitter,
  readText,
  SymbolCells,
  splitRow,
  symbolOfFile,
} from './csv-file.ts';
import type { StampZone } from './stamp.ts';
import { type ConditionKind, makeConditionJudge } from './trade-conditions.ts';

/** Part of a file. Every row of the file is in one chunk, as a trade or as a rejected row. */
export interface TradeFileChunk {
  /** By symbol, each in the order of the file and numbered. */
  trades: Map<string, TradeColumns>;
  rejected: RejectedRow[];
  /** Rows read for this chunk: trades and rejected ones. */
  rows: number;
  /** False when a trade of the chunk is earlier than one of its symbol before it in the file. */
  isOrdered: boolean;
}

export interface TradeFileOptions {
  calendar: Calendar;
  /** Whose trades they are. Needed when neither a column nor the file name says so. */
  symbol?: string;
  /** The columns in order, 'timestamp,price,size', for a file without header. */
  columns?: string;
  /** Needed for local times, unless the column's name says it (datetime_et). */
  zone?: StampZone;
  /** What numeric stamps count; needed for seconds only, others are told apart by their size. */
  unit?: EpochUnit;
  /** With more rejected rows than this the file is given up: it is something else. */
  maxRejected?: number;
  /** True when the file is known to be in order of time, which saves remembering its instants. */
  isOrdered?: boolean;
}

const CHUNK_ROWS = 50_000;
/** A chunk ends with an instant, which may be that much beyond its end. */
const CHUNK_ROWS_MAX = 2 * CHUNK_ROWS;
const REJECTED_MAX = 10_000;

/** Every column that is read, and the names it goes by; of several the first is meant. */
const COLUMN_NAMES = {
  symbol: ['symbol', 'ticker'],
  // The consolidated tape's time goes before the participant's: its bars are cut by it.
  ts: [
    ...['datetime_et', 'timestamp_et', 'time_et', 'ts', 'timestamp', 'datetime', 'time'],
    ...['sip_timestamp', 'participant_timestamp'],
  ],
  price: ['price'],
  size: ['size', 'volume', 'quantity'],
  exchange: ['exchange'],
  conditions: ['conditions', 'sale_condition_hex', 'sale_conditions', 'sale_condition'],
  sequence: ['sequence', 'sequence_number'],
  suspicious: ['suspicious'],
  updates: ['updates'],
} as const;

type ColumnName = keyof typeof COLUMN_NAMES;

const NEEDED = ['ts', 'price', 'size'] as const;
const HEADER_HELP =
  'expected: timestamp (or datetime, datetime_et, time, ts, sip_timestamp, ' +
  'participant_timestamp), price, size (or volume, quantity); allowed: symbol (or ticker), ' +
  'exchange, conditions (or sale_condition...), sequence (or sequence_number), suspicious, updates';

/**
 * Trades of a CSV file, gzipped or not, a chunk at a time. Trades without a number of the vendor
 * are numbered from 0 within their instant, in the order of the file: an instant's trades must be
 * in one file.
 * @throws InputError when the file is not one of trades, is damaged, or its stamps do not say of
 *   which instant they are. Chunks before the damage were given out.
 */
export async function* readTradeFile(
  path: string,
  options: TradeFileOptions,
): AsyncGenerator<TradeFileChunk, void, undefined> {
  const reader = new RowReader(path, options);
  for await (const text of readText(path, reader)) yield* reader.feed(text);
  yield* reader.end();
}

/** Whether a row is a header of trades. */
function isTradeHeader(cells: readonly string[]): boolean {
  const names = cells.map(cleanName);
  const layout = findColumns(names);
  return NEEDED.every((name) => layout[name] >= 0) && !names.includes('close');
}

// ----------------------------------------------------------------------------- rows

/** Puts text together to rows, rows to trades, and trades to chunks. */
class RowReader {
  /** Rows read of the whole file. */
  rowsRead = 0;
  readonly #splitter: RowSplitter;
  readonly #symbolCells: SymbolCells;
  #layout: Layout | undefined;
  #stamps: MicroStampReader | undefined;
  #judge: ((text: string, micros: number) => number | undefined) | undefined;
  #fileSymbol: string | undefined;
  #chunkRows = 0;
  #symbols: string[] = [];
  #trades = makeTrades(CHUNK_ROWS_MAX);
  #rejected: RejectedRow[] = [];
  #rejectedCount = 0;
  #isOrdered = true;
  readonly #numbers = new Map<string, Numbering>();
  readonly #texts = new Map<string, string>();

  constructor(
    readonly path: string,
    readonly options: TradeFileOptions,
  ) {
    this.#splitter = new RowSplitter(path);
    this.#symbolCells = new SymbolCells(options.symbol);
  }

  *feed(text: string): Generator<TradeFileChunk, void, undefined> {
    for (const line of this.#splitter.feed(text)) {
      this.#read(line);
      if (this.#chunkRows >= CHUNK_ROWS && this.#isAtBorder()) yield this.#take();
    }
  }

  *end(): Generator<TradeFileChunk, void, undefined> {
    this.#read(this.#splitter.end());
    if (!this.#layout) throw new InputError(`${this.path} is empty`);
    if (this.#chunkRows > 0) yield this.#take();
  }

  /**
   * The last row begins another instant than the one before it: it is left for the next chunk, so
   * that no two chunks hold trades of one instant and each can be copied without looking.
   */
  #isAtBorder(): boolean {
    const last = this.#symbols.length - 1;
    if (last < CHUNK_ROWS - REJECTED_MAX || last + 1 >= CHUNK_ROWS_MAX) return true;
    const { ts } = this.#trades;
    return ts[last] !== ts[last - 1] || this.#symbols[last] !== this.#symbols[last - 1];
  }

  #take(): TradeFileChunk {
    const kept = this.#symbols.length;
    const isCut = this.#chunkRows >= CHUNK_ROWS && kept > 1 && kept < CHUNK_ROWS_MAX;
    const size = isCut ? kept - 1 : kept;
    const chunk = {
      trades: groupTrades(this.#symbols, this.#trades, size),
      rejected: this.#rejected,
      rows: isCut ? this.#chunkRows - 1 : this.#chunkRows,
      isOrdered: this.#isOrdered,
    };
    const next = makeTrades(CHUNK_ROWS_MAX);
    if (isCut) copyTrade(this.#trades, size, next, 0);
    this.#trades = next;
    this.#symbols = this.#symbols.slice(size);
    this.#rejected = [];
    this.#chunkRows = isCut ? 1 : 0;
    this.#isOrdered = true;
    return chunk;
  }

  #read(line: string): void {
    if (line.trim() === '') return;
    const cells = splitRow(line);
    if (!this.#layout) {
      const { columns, calendar } = this.options;
      const layout = parseHeader(this.path, columns?.split(',') ?? cells);
      this.#layout = layout;
      this.#stamps = new MicroStampReader(this.path, layout.stampName, this.options);
      this.#judge = makeConditionJudge(layout.conditionKind, calendar);
      if (layout.symbol < 0) {
        this.#fileSymbol = this.options.symbol ?? symbolOfFile(this.path, FILE_NAME, 'trades');
      }
      // Columns may also be named for a file that has a header, to say it better.
      if (columns === undefined || isTradeHeader(cells)) return;
    }
    this.#chunkRows++;
    this.rowsRead++;
    const reason = this.#readCells(cells, this.#layout);
    if (reason !== undefined) this.#reject(line, cells, this.#layout, reason);
  }

  /** Appends the trade of a row, or says why it is none. */
  #readCells(cells: string[], layout: Layout): string | undefined {
    if (cells.length !== layout.width) {
      return `${cells.length} cells, where there are ${layout.width} columns`;
    }
    const symbol = this.#fileSymbol ?? this.#symbolCells.read(cells[layout.symbol]);
    if (symbol === undefined) return this.#symbolCells.describe(cells[layout.symbol]);
    const price = parseNumber(cells[layout.price]);
    if (Number.isNaN(price)) return `price is ${JSON.stringify(cells[layout.price])}, not a number`;
    const size = parseNumber(cells[layout.size]);
    if (Number.isNaN(size)) return `size is ${JSON.stringify(cells[layout.size])}, not a number`;
    const micros = this.#stamps?.read(cells[layout.ts], this.#splitter.line, this.rowsRead === 1);
    if (typeof micros !== 'number') return micros;
    const row = this.#symbols.length;
    const trades = this.#trades;
    const problem = this.#readRest(cells, layout, row, micros);
    if (problem !== undefined) return problem;
    trades.ts[row] = micros;
    trades.price[row] = price;
    trades.size[row] = size;
    if (layout.sequence < 0) trades.sequence[row] = this.#number(symbol, micros);
    this.#symbols.push(symbol);
    return undefined;
  }

  /** The columns that a file may have: number, exchange, conditions and what follows from them. */
  #readRest(cells: string[], layout: Layout, row: number, micros: number): string | undefined {
    const trades = this.#trades;
    if (layout.sequence >= 0) {
      const cell = cells[layout.sequence];
      if (!/^\d{1,15}$/.test(cell))
        return `sequence is ${JSON.stringify(cell)}, not a whole number`;
      trades.sequence[row] = Number(cell);
    }
    trades.exchange[row] = this.#toText(cells, layout.exchange);
    const conditions = this.#toText(cells, layout.conditions);
    trades.conditions[row] = conditions;
    let updates = this.#judge?.(conditions ?? '', micros);
    if (updates === undefined) return `conditions are ${JSON.stringify(conditions)}, not flags`;
    if (layout.updates >= 0) {
      const cell = cells[layout.updates];
      if (!/^[0-7]$/.test(cell)) return `updates is ${JSON.stringify(cell)}, not a number up to 7`;
      updates = Number(cell);
    }
    if (layout.suspicious >= 0 && /^(1|true|t|yes|y)$/i.test(cells[layout.suspicious])) updates = 0;
    trades.updates[row] = updates;
    return undefined;
  }

  /** One string for each text: a part of a row would keep the whole of it alive. */
  #toText(cells: string[], column: number): string | null {
    const cell = column < 0 ? '' : cells[column];
    if (cell === '') return null;
    const known = this.#texts.get(cell);
    if (known !== undefined) return known;
    const text = Buffer.from(cell).toString();
    if (this.#texts.size < 100_000) this.#texts.set(text, text);
    return text;
  }

  /** The position of a trade among those of its instant. */
  #number(symbol: string, micros: number): number {
    let numbering = this.#numbers.get(symbol);
    if (!numbering) {
      numbering = { last: Number.NEGATIVE_INFINITY, position: 0, counts: new Map() };
      this.#numbers.set(symbol, numbering);
    }
    const { last, position, counts } = numbering;
    if (micros < last) this.#isOrdered = false;
    numbering.last = micros;
    if (this.options.isOrdered) {
      numbering.position = micros === last ? position + 1 : 0;
      return numbering.position;
    }
    const count = counts.get(micros) ?? 0;
    counts.set(micros, count + 1);
    return count;
  }

  #reject(line: string, cells: string[], layout: Layout, reason: string): void {
    this.#rejected.push({
      symbol: this.#fileSymbol ?? (cells[layout.symbol] ?? '').trim().slice(0, 100),
      reason: `line ${this.#splitter.line}: ${reason}`,
      raw: line.slice(0, RAW_LENGTH_MAX),
    });
    const { maxRejected = REJECTED_MAX } = this.options;
    if (++this.#rejectedCount <= maxRejected) return;
    throw new InputError(
      `${this.path}: more than ${maxRejected} rows are no trades, the last: ` +
        `${this.#rejected.at(-1)?.reason}`,
    );
  }
}

/** How many trades of each instant were read. */
interface Numbering {
  last: number;
  position: number;
  /** By instant; empty when the file is known to be in order. */
  counts: Map<number, number>;
}

/** The first `size` trades by symbol. */
function groupTrades(symbols: readonly string[], trades: TradeColumns, size: number) {
  const groups = new Map<string, TradeColumns>();
  const counts = new Map<string, number>();
  for (let row = 0; row < size; row++) {
    counts.set(symbols[row], (counts.get(symbols[row]) ?? 0) + 1);
  }
  for (const [symbol, count] of counts) groups.set(symbol, makeTrades(count));
  const next = new Map<string, number>();
  for (let row = 0; row < size; row++) {
    const symbol = symbols[row];
    const target = groups.get(symbol) as TradeColumns;
    const at = next.get(symbol) ?? 0;
    copyTrade(trades, row, target, at);
    next.set(symbol, at + 1);
  }
  return groups;
}

// --------------------------------------------------------------------------- header

/** Position of each column; -1 when the file does not have it. */
type Layout = Record<ColumnName, number> & {
  width: number;
  stampName: string;
  conditionKind: ConditionKind;
};

const cleanName = (cell: string) => cell.trim().toLowerCase();

function findColumns(names: readonly string[]): Record<ColumnName, number> {
  const columns = Object.entries<readonly string[]>(COLUMN_NAMES).map(([column, accepted]) => {
    const name = accepted.find((one) => names.includes(one));
    return [column, name === undefined ? -1 : names.indexOf(name)];
  });
  return Object.fromEntries(columns) as Record<ColumnName, number>;
}

const describeColumn = (name: (typeof NEEDED)[number]) => (name === 'ts' ? 'timestamp' : name);

function parseHeader(path: string, header: readonly string[]): Layout {
  const names = header.map(cleanName);
  const columns = findColumns(names);
  const found = header.join(',').slice(0, 200);
  const missing = NEEDED.filter((name) => columns[name] < 0).map(describeColumn);
  if (missing.length > 0) {
    throw new InputError(
      `${path}: column ${missing.join(', ')} is missing. Found: ${found}. ${HEADER_HELP}`,
    );
  }
  const twice = Object.values(columns).find((at) => at >= 0 && names.lastIndexOf(names[at]) !== at);
  if (twice !== undefined) {
    throw new InputError(`${path}: column ${names[twice]} is there twice. Found: ${found}`);
  }
  const conditions = columns.conditions < 0 ? '' : names[columns.conditions];
  return {
    ...columns,
    width: header.length,
    stampName: names[columns.ts],
    conditionKind: conditions.endsWith('_hex')
      ? 'flags'
      : conditions === 'conditions'
        ? 'numbers'
        : 'letters',
  };
}

/** ibm_20131007_trades.csv.gz, IBM-2013-10-07.csv, ibm_trades.csv, IBM.csv */
const FILE_NAME =
  /^(?!(?:trades?|ticks?)$)([A-Za-z][A-Za-z.]{0,5})(?:[_-]\d{4}-?\d\d-?\d\d)?(?:[_-]trades)?$/i;

// --------------------------------------------------------------------------- stamps

const WALL = /^(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?$/;
const ZONED = /^(.+?) ?(Z|[+-]\d\d(?::?\d\d)?)$/i;
const DIGITS = /^(\d{1,19})(?:\.(\d{1,9}))?$/;
const HOUR_MICROS = 3_600_000_000;

/** Reads stamps of one column of one file as epoch microseconds. */
class MicroStampReader {
  readonly #zone: StampZone | undefined;
  #unit: EpochUnit | undefined;
  /** By 'YYYY-MM-DD HH' as written: when that hour begins, or why it cannot be told. */
  readonly #hours = new Map<string, number | string>();

  constructor(
    readonly path: string,
    readonly column: string,
    readonly options: TradeFileOptions,
  ) {
    this.#zone = column.endsWith('_et') ? 'America/New_York' : options.zone;
    this.#unit = options.unit;
  }

  /**
   * @returns epoch microseconds, what is finer cut off; or why the cell is no stamp.
   * @throws InputError when nothing in the file says which instants are meant.
   */
  read(cell: string, line: number, isFirst: boolean): number | string {
    const fast = this.#readFast(cell);
    if (fast !== undefined) return fast;
    const text = cell.trim();
    const digits = DIGITS.exec(text);
    if (digits) return this.#readNumber(text, digits, line, isFirst);
    const zoned = ZONED.exec(text);
    const wall = WALL.exec(zoned?.[1] ?? text);
    if (!wall) return `${this.column} is ${JSON.stringify(cell)}, not a date with a time of day`;
    if (!zoned && this.#zone === undefined) {
      throw new InputError(
        `${this.path}, line ${line}: ${this.column} is ${text}, a local time, and nothing says ` +
          'whose: add --zone America/New_York (09:30 is the open then) or --zone UTC. A column ' +
          'named datetime_et needs no zone, nor do stamps like 2013-10-07T09:30:00-04:00',
        'zone',
      );
    }
    const offset = zoned ? zoneMicros(zoned[2]) : 0;
    const hour = this.#hourOf(wall[1], wall[2], zoned ? 'UTC' : (this.#zone as StampZone));
    if (typeof hour === 'string') return hour;
    const [, , , minutes, seconds = '00', fraction = ''] = wall;
    const isReal = Number(minutes) < 60 && Number(seconds) < 60 && !Number.isNaN(offset);
    if (!isReal) return `${this.column} is ${JSON.stringify(cell)}: no such time`;
    const micros = Number(fraction.slice(0, 6).padEnd(6, '0'));
    return hour + Number(minutes) * 60_000_000 + Number(seconds) * 1_000_000 + micros - offset;
  }

  /** 'YYYY-MM-DD HH:MM:SS.mmm' of an hour that was seen before: nearly every row. */
  #readFast(cell: string): number | undefined {
    if (cell.length < 19 || cell.length > 26) return undefined;
    const hour = this.#hours.get(cell.slice(0, 13));
    if (typeof hour !== 'number' || this.#zone === undefined) return undefined;
    const minutes = twoDigits(cell, 14);
    const seconds = twoDigits(cell, 17);
    if (cell[13] !== ':' || cell[16] !== ':' || !(minutes < 60 && seconds < 60)) return undefined;
    let micros = 0;
    if (cell.length > 19) {
      if (cell[19] !== '.') return undefined;
      for (let at = 20, worth = 100_000; at < cell.length; at++, worth /= 10) {
        const digit = cell.charCodeAt(at) - 48;
        if (!(digit >= 0 && digit <= 9)) return undefined;
        micros += digit * worth;
      }
    }
    return hour + (minutes * 60 + seconds) * 1_000_000 + micros;
  }

  /** When an hour of the wall clock begins, epoch microseconds. */
  #hourOf(date: string, hours: string, zone: StampZone): number | string {
    const day = toDay(date);
    const hour = Number(hours);
    if (Number.isNaN(day) || hour > 23) return `${this.column} is ${date} ${hours}h: no such time`;
    if (zone === 'UTC') {
      const micros = day * 24 * HOUR_MICROS + hour * HOUR_MICROS;
      if (this.#zone === 'UTC') this.#hours.set(`${date} ${hours}`, micros);
      return micros;
    }
    const micros = newYorkInstant(day, hour * 60) * 1000;
    const next = newYorkInstant(day, hour * 60 + 60) * 1000;
    let result: number | string = micros;
    if (next === micros) result = `${date} ${hours}h does not exist in New York: clocks skip it`;
    else if (next - micros > HOUR_MICROS) {
      result = `${date} ${hours}h comes twice in New York: which is meant, only an offset can tell`;
    }
    this.#hours.set(`${date} ${hours}`, result);
    return result;
  }

  #readNumber(
    text: string,
    [, whole, fraction = '']: RegExpExecArray,
    line: number,
    isFirst: boolean,
  ): number | string {
    const evident = epochUnit(Number(whole));
    this.#unit ??= evident;
    const unit = this.#unit;
    if (evident === undefined || unit === undefined) {
      return `${this.column} is ${text}: no instant from 1974 to 2099 in any unit`;
    }
    const { name } = EPOCH_UNITS[evident];
    if (evident !== unit) {
      const problem =
        `${this.column} is ${text}, evidently ${name} since 1970, where ` +
        `${EPOCH_UNITS[unit].name} are meant`;
      if (isFirst) throw new InputError(`${this.path}, line ${line}: ${problem}`, 'unit');
      return problem;
    }
    if (unit === 's' && this.options.unit === undefined) {
      throw new InputError(
        `${this.path}, line ${line}: ${this.column} is ${text}, evidently seconds since 1970, ` +
          'where milliseconds or finer are expected: trades of one second could not be told ' +
          'apart. If seconds are all there is, say so with --unit s',
        'unit',
      );
    }
    return toMicros(whole, fraction, unit);
  }
}

/** Digits are cut off, not divided away: nanoseconds exceed what a double holds exactly. */
function toMicros(whole: string, fraction: string, unit: EpochUnit): number {
  if (unit === 'ns') return Number(whole.slice(0, -3));
  const places = { s: 6, ms: 3, us: 0 }[unit];
  return Number(whole + fraction.slice(0, places).padEnd(places, '0'));
}

function twoDigits(cell: string, at: number): number {
  const tens = cell.charCodeAt(at) - 48;
  const ones = cell.charCodeAt(at + 1) - 48;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

function zoneMicros(zone: string): number {
  if (/^z$/i.test(zone)) return 0;
  const digits = zone.slice(1).replace(':', '').padEnd(4, '0');
  const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2));
  if (minutes > 14 * 60 || Number(digits.slice(2)) > 59) return Number.NaN;
  return (zone[0] === '-' ? -minutes : minutes) * 60_000_000;
}
