import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { InputError } from '../errors.ts';
import { type BarColumns, firstBars, makeBars, type RejectedRow } from '../model/bar.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';

/** Part of a file. Every row of the file is in one chunk, as a bar or as a rejected row. */
export interface FlatFileChunk {
  /** symbols[i] is the symbol of bar i. */
  symbols: string[];
  bars: BarColumns;
  rejected: RejectedRow[];
  /** Rows read for this chunk: bars and rejected ones. */
  rows: number;
}

export interface FlatFileOptions {
  /** Whose bars they are. Needed when neither a column nor the file name says so. */
  symbol?: string;
  /** The columns in order, 'date,open,high,low,close,volume', for a file without header. */
  columns?: string;
  /** With more rejected rows than this the file is given up: it is something else. */
  maxRejected?: number;
}

const CHUNK_ROWS = 20_000;
const REJECTED_MAX = 10_000;
const LINE_LENGTH_MAX = 65_536;
const RAW_LENGTH_MAX = 1_000;

/** Every column that is read and the names it goes by; the rest of a file's columns are ignored. */
const COLUMN_NAMES = {
  symbol: ['symbol', 'ticker', 'name'],
  // The unnamed column is the index of a table written by pandas.
  session: ['date', 'session', 'timestamp', 'time', 'datetime', 'window_start', ''],
  open: ['open'],
  high: ['high'],
  low: ['low'],
  close: ['close'],
  volume: ['volume'],
  vwap: ['vwap'],
  tradeCount: ['transactions', 'trade_count'],
} as const;

type ColumnName = keyof typeof COLUMN_NAMES;

const NEEDED = ['session', 'open', 'high', 'low', 'close', 'volume'] as const;
const HEADER_HELP =
  'expected: date (or session, timestamp, time, datetime, window_start), open, high, low, close, ' +
  'volume; allowed: symbol (or ticker, name), vwap, transactions (or trade_count)';

/**
 * Daily bars of a CSV file, gzipped or not, of whichever common layout, a chunk at a time.
 * Prices are those of the columns open, high, low, close; adjusted ones beside them are ignored.
 * @throws InputError when the file is not one of daily bars, or is damaged. Chunks before the
 *   damage were given out; what was read after them was not.
 */
export async function* readFlatFile(
  path: string,
  options: FlatFileOptions = {},
): AsyncGenerator<FlatFileChunk, void, undefined> {
  const reader = new RowReader(path, options);
  for await (const text of readText(path, reader)) yield* reader.feed(text);
  yield* reader.end();
}

// ----------------------------------------------------------------------------- text

async function* readText(path: string, progress: { rowsRead: number }) {
  const isGzip = await checkFile(path);
  const bytes = Bun.file(path).stream();
  const stream = isGzip ? bytes.pipeThrough(new DecompressionStream('gzip')) : bytes;
  const reader = stream.getReader();
  const decoder = new TextDecoder(); // takes a byte order mark away
  const next = () =>
    reader.read().catch((error: unknown) => {
      const what = isGzip ? 'the gzip stream ends early or is damaged' : 'it cannot be read on';
      const why = error instanceof Error ? error.message : String(error);
      throw new InputError(`${path}: ${what} (${why}); ${progress.rowsRead} rows were read`);
    });
  try {
    for (let part = await next(); !part.done; part = await next()) {
      yield decoder.decode(part.value, { stream: true });
    }
    yield decoder.decode();
  } finally {
    // The reader of an import that is given up; of a broken stream it has nothing to say.
    await reader.cancel().catch(() => undefined);
  }
}

/** Whether the file is gzipped, by its first bytes: names change on the way. */
async function checkFile(path: string): Promise<boolean> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(`cannot read ${path} (${error.code})`);
  });
  try {
    if ((await file.stat()).isDirectory()) throw new InputError(`${path} is a directory`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    if (bytesRead === 0) throw new InputError(`${path} is empty`);
    if (buffer.toString('latin1', 0, 2) === 'PK') {
      throw new InputError(`${path} is a zip archive: unpack it first`);
    }
    return buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

const CARRIAGE_RETURN = 13;
const COMMA = 44;
const QUOTE = 34;

/** Whether a line break after this is part of a cell. */
function isInsideQuotes(line: string): boolean {
  let quotes = 0;
  for (let at = line.indexOf('"'); at >= 0; at = line.indexOf('"', at + 1)) quotes++;
  return quotes % 2 === 1;
}

/** The cells of a row; RFC 4180 quotes. */
function splitRow(line: string): string[] {
  if (!line.includes('"')) return line.split(',');
  const cells: string[] = [];
  for (let at = 0; at <= line.length; at++) {
    if (line.charCodeAt(at) !== QUOTE) {
      const end = line.indexOf(',', at);
      const stop = end < 0 ? line.length : end;
      cells.push(line.slice(at, stop));
      at = stop;
      continue;
    }
    let cell = '';
    for (at++; at < line.length; at++) {
      if (line.charCodeAt(at) === QUOTE && line.charCodeAt(++at) !== QUOTE) break;
      cell += line[at];
    }
    while (at < line.length && line.charCodeAt(at) !== COMMA) cell += line[at++];
    cells.push(cell);
  }
  return cells;
}

// ----------------------------------------------------------------------------- rows

/** Puts text together to rows, rows to bars, and bars to chunks. */
class RowReader {
  /** Rows read of the whole file. */
  rowsRead = 0;
  /** Line breaks read so far: the number of the line that was read last, for people. */
  #line = 0;
  /** The beginning of a row whose end has not been read yet. */
  #rest = '';
  #layout: Layout | undefined;
  #fileSymbol: string | undefined;
  #chunkRows = 0;
  #symbols: string[] = [];
  #bars = makeBars(CHUNK_ROWS);
  #rejected: RejectedRow[] = [];
  #rejectedCount = 0;
  readonly #known = new Map<string, string>();
  readonly #stamps = new Map<string, { day: number; text: string }>();

  constructor(
    readonly path: string,
    readonly options: FlatFileOptions,
  ) {}

  *feed(text: string): Generator<FlatFileChunk, void, undefined> {
    if (this.#line === 0 && text.includes('\0')) {
      throw new InputError(`${this.path} is not a text file in UTF-8: it has zero bytes`);
    }
    const all = this.#rest + text;
    let start = 0;
    for (let end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', end + 1)) {
      this.#line++;
      const stop = all.charCodeAt(end - 1) === CARRIAGE_RETURN && end > start ? end - 1 : end;
      const line = all.slice(start, stop);
      if (line.includes('"') && isInsideQuotes(line)) continue;
      start = end + 1;
      this.#read(line);
      if (this.#chunkRows >= CHUNK_ROWS) yield this.#take();
    }
    this.#rest = all.slice(start);
    if (this.#rest.length <= LINE_LENGTH_MAX) return;
    throw new InputError(
      `${this.path}, line ${this.#line + 1}: the row does not end within ${LINE_LENGTH_MAX} ` +
        'characters: no CSV file, or a quote that is never closed',
    );
  }

  *end(): Generator<FlatFileChunk, void, undefined> {
    this.#line++;
    this.#read(this.#rest);
    if (!this.#layout) throw new InputError(`${this.path} is empty`);
    if (this.#chunkRows > 0) yield this.#take();
  }

  #take(): FlatFileChunk {
    const size = this.#symbols.length;
    const bars = size === CHUNK_ROWS ? this.#bars : firstBars(this.#bars, size);
    const chunk = { symbols: this.#symbols, bars, rejected: this.#rejected, rows: this.#chunkRows };
    this.#bars = makeBars(CHUNK_ROWS);
    this.#symbols = [];
    this.#rejected = [];
    this.#chunkRows = 0;
    return chunk;
  }

  #read(line: string): void {
    if (line.trim() === '') return;
    const cells = splitRow(line);
    if (!this.#layout) {
      const { columns } = this.options;
      const header = columns?.split(',') ?? cells;
      const layout = parseHeader(this.path, header);
      this.#layout = layout;
      if (layout.symbol < 0) this.#fileSymbol = this.options.symbol ?? symbolOf(this.path);
      // Columns may also be named for a file that has a header, to say it better.
      if (columns === undefined || parseLayout(cells).known > 1) return;
    }
    this.#chunkRows++;
    this.rowsRead++;
    const reason = this.#readCells(cells, this.#layout);
    if (reason !== undefined) this.#reject(line, cells, this.#layout, reason);
  }

  /** Appends the bar of a row, or says why it is none. */
  #readCells(cells: string[], layout: Layout): string | undefined {
    if (cells.length !== layout.width) {
      return `${cells.length} cells, where there are ${layout.width} columns`;
    }
    const symbol = this.#fileSymbol ?? this.#toSymbol(cells[layout.symbol]);
    if (symbol === undefined) return this.#describeSymbol(cells[layout.symbol]);
    const row = this.#symbols.length;
    const bars = this.#bars;
    bars.open[row] = parseNumber(cells[layout.open]);
    bars.high[row] = parseNumber(cells[layout.high]);
    bars.low[row] = parseNumber(cells[layout.low]);
    bars.close[row] = parseNumber(cells[layout.close]);
    bars.volume[row] = parseNumber(cells[layout.volume]);
    // NaN is contagious: one look at the sum tells whether any of the five is none.
    const prices = bars.open[row] + bars.high[row] + bars.low[row] + bars.close[row];
    if (Number.isNaN(prices + bars.volume[row])) return describeNumbers(cells, layout);
    const text = cells[layout.session];
    const day = parseSession(text);
    if (Number.isNaN(day)) return describeDate(this.path, this.#line, text);
    if (text.length > DATE_LENGTH) this.#checkDaily(symbol, day, text);
    bars.session[row] = day;
    bars.vwap[row] = layout.vwap < 0 ? Number.NaN : parseNumber(cells[layout.vwap]);
    const count = layout.tradeCount;
    bars.tradeCount[row] = count < 0 ? Number.NaN : parseNumber(cells[count]);
    this.#symbols.push(symbol);
    return undefined;
  }

  /** One string for each symbol: a part of a row would keep the whole text alive. */
  #toSymbol(cell: string): string | undefined {
    const known = this.#known.get(cell);
    if (known !== undefined) return known;
    const symbol = Buffer.from(cell.trim()).toString();
    if (symbol.length > SYMBOL_LENGTH_MAX || !SYMBOL.test(symbol)) return undefined;
    if (this.options.symbol !== undefined && symbol !== this.options.symbol) return undefined;
    this.#known.set(symbol, symbol);
    return symbol;
  }

  #describeSymbol(cell: string): string {
    const { symbol } = this.options;
    if (symbol === undefined || !SYMBOL.test(cell.trim())) {
      return `symbol is ${JSON.stringify(cell)}: letters and digits, joined by . - / :`;
    }
    return `symbol is ${JSON.stringify(cell)}, where ${symbol} was asked for`;
  }

  /** Stamps with a time may be those of minutes, which look like bars of a day in all else. */
  #checkDaily(symbol: string, day: number, text: string): void {
    const last = this.#stamps.get(symbol);
    if (last?.day === day && last.text !== text) {
      throw new InputError(
        `${this.path}, line ${this.#line}: a second bar of ${symbol} for ${toDate(day)} ` +
          `(${last.text}, ${text}): these are not daily bars`,
      );
    }
    this.#stamps.set(symbol, { day, text: Buffer.from(text).toString() });
  }

  #reject(line: string, cells: string[], layout: Layout, reason: string): void {
    const day = parseSession(cells[layout.session] ?? '');
    this.#rejected.push({
      symbol: this.#fileSymbol ?? (cells[layout.symbol] ?? '').trim().slice(0, 100),
      session: Number.isNaN(day) ? undefined : toDate(day),
      reason: `line ${this.#line}: ${reason}`,
      raw: line.slice(0, RAW_LENGTH_MAX),
    });
    const { maxRejected = REJECTED_MAX } = this.options;
    if (++this.#rejectedCount <= maxRejected) return;
    throw new InputError(
      `${this.path}: more than ${maxRejected} rows are no bars, the last: ` +
        `${this.#rejected.at(-1)?.reason}`,
    );
  }
}

// --------------------------------------------------------------------------- header

/** Position of each column; -1 when the file does not have it. */
type Layout = Record<ColumnName, number> & { width: number };

function parseHeader(path: string, header: string[]): Layout {
  const { layout, known, twice } = parseLayout(header);
  const found = header.join(',').slice(0, 200);
  if (known === 0 && header.some((cell) => !Number.isNaN(parseNumber(cell)))) {
    throw new InputError(
      `${path} has no header: its first line is ${JSON.stringify(found)}. ${HEADER_HELP}. ` +
        "Say which columns there are, e.g. 'date,open,high,low,close,volume'",
    );
  }
  if (twice !== undefined) {
    throw new InputError(
      `${path}: ${twice} could be any of several columns. Found: ${found}. ${HEADER_HELP}`,
    );
  }
  const missing = NEEDED.filter((name) => layout[name] < 0).map((name) => COLUMN_NAMES[name][0]);
  if (missing.length === 0) return layout;
  throw new InputError(
    `${path}: column ${missing.join(', ')} is missing. Found: ${found}. ${HEADER_HELP}`,
  );
}

/** What a header says: `known` of its names are ours, `twice` is a column that it has twice. */
function parseLayout(header: string[]) {
  // 'Close*' has a footnote where it comes from.
  const names = header.map((cell) => cell.trim().toLowerCase().replace(/\*+$/, ''));
  const layout = { width: header.length } as Layout;
  let known = 0;
  let twice: string | undefined;
  for (const [column, accepted] of Object.entries<readonly string[]>(COLUMN_NAMES)) {
    const named = accepted.filter((name) => name !== '');
    let at = names.flatMap((name, i) => (named.includes(name) ? [i] : []));
    known += at.length;
    // Beside a symbol, a name is that of the company.
    if (column === 'symbol') at = at.filter((i) => at.length === 1 || names[i] !== 'name');
    // The index of a table that was written by pandas has no name.
    if (column === 'session' && at.length === 0 && names[0] === '') at = [0];
    if (at.length > 1) twice ??= accepted[0];
    layout[column as ColumnName] = at[0] ?? -1;
  }
  return { layout, known, twice };
}

/** Names that files have, and symbols do not. */
const NO_SYMBOLS = /^(data|daily|bars|stock|stocks|price|prices|ohlc|ohlcv|export)$/i;
const FILE_NAME = /^(?:daily_)?(?:adjusted_)?([A-Za-z][A-Za-z.-]*?)(?:_(?:data|daily|api))?$/;

/** The symbol that a file is named after: daily_AAPL.csv, AAPL_data.csv.gz, aapl.csv. */
function symbolOf(path: string): string {
  const name = basename(path).replace(/\.(csv|txt|gz)(\.gz)?$/i, '');
  const symbol = FILE_NAME.exec(name)?.[1];
  if (symbol && SYMBOL.test(symbol) && symbol.length <= 6 && !NO_SYMBOLS.test(symbol)) {
    return symbol === symbol.toLowerCase() ? symbol.toUpperCase() : symbol;
  }
  throw new InputError(
    `${path} has no symbol column and is not named after a symbol (as AAPL.csv is): ` +
      'say whose bars it holds',
    'symbol',
  );
}

const SYMBOL = /^[A-Za-z0-9]+([.\-/:][A-Za-z0-9]+)*$/;
const SYMBOL_LENGTH_MAX = 32;

// ---------------------------------------------------------------------------- cells

/** The number in a cell; NaN when it holds none, or one that is not finite. */
function parseNumber(cell: string): number {
  const value = Number(cell);
  // 0 is also what an empty cell gives, and '0x1f' is a number to JavaScript alone.
  if (value === 0 && cell.trim() === '') return Number.NaN;
  const second = cell.charCodeAt(1);
  if (second > LETTER_E && cell.charCodeAt(0) === DIGIT_0) return Number.NaN;
  return Number.isFinite(value) ? value : Number.NaN;
}

const DIGIT_0 = 48;
const LETTER_E = 101;

function describeNumbers(cells: string[], layout: Layout): string {
  for (const name of ['open', 'high', 'low', 'close', 'volume'] as const) {
    const cell = cells[layout[name]];
    if (cell.trim() === '') return `${name} is empty`;
    if (Number.isNaN(parseNumber(cell))) return `${name} is ${JSON.stringify(cell)}, not a number`;
  }
  return 'the prices are too large';
}

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
