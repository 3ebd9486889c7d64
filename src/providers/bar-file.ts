import { InputError } from '../errors.ts';
import type { BarColumns, RejectedRow } from '../model/bar.ts';
import {
  parseNumber,
  RAW_LENGTH_MAX,
  RowSplitter,
  readText,
  SymbolCells,
  splitRow,
  symbolOfFile,
} from './csv-file.ts';

/** What the readers of files of bars share: header, rows and chunks, whatever the timeframe. */

/** Part of a file. Every row of the file is in one chunk, as a bar or as a rejected row. */
export interface BarChunk<Bars extends BarColumns> {
  /** symbols[i] is the symbol of bar i. */
  symbols: string[];
  bars: Bars;
  rejected: RejectedRow[];
  /** Rows read for this chunk: bars and rejected ones. */
  rows: number;
}

export interface BarFileOptions {
  /** Whose bars they are. Needed when neither a column nor the file name says so. */
  symbol?: string;
  /** The columns in order, 'date,open,high,low,close,volume', for a file without header. */
  columns?: string;
  /** With more rejected rows than this the file is given up: it is something else. */
  maxRejected?: number;
}

const CHUNK_ROWS = 20_000;
const REJECTED_MAX = 10_000;

const NUMBERS = ['open', 'high', 'low', 'close', 'volume'] as const;
type BarColumn = (typeof NUMBERS)[number] | 'symbol' | 'stamp' | 'vwap' | 'tradeCount';

/** Every column that is read and the names it goes by, in lower case; the rest is ignored. */
export type BarColumnNames = Readonly<Record<BarColumn, readonly string[]>>;

/** Position of each column; -1 when the file does not have it. */
export type BarLayout = Record<BarColumn, number> & { width: number };

/** What is special to a kind of file. */
export interface BarForm<Bars extends BarColumns> {
  names: BarColumnNames;
  /** What columns are expected, for people. */
  help: string;
  /** The columns of a usual file. */
  example: string;
  /** Takes the symbol out of a file's name. */
  fileName: RegExp;
  makeBars(length: number): Bars;
  firstBars(bars: Bars, length: number): Bars;
  /** Writes down which bar `bars[row]` is, or says why its stamp is none. */
  readStamp(row: StampedRow, bars: Bars, at: number): string | undefined;
  /** 'YYYY-MM-DD' of a stamp, if it says a date; `column` is as in StampedRow. */
  sessionOf(cell: string, column: string): string | undefined;
  /** A header of several rows as one; `rows` that belong to it are still to come. */
  unfoldHeader?(header: readonly string[]): { header: string[]; rows: number } | undefined;
  /** The symbol in a further row of the header. */
  readHeaderRow?(cells: readonly string[]): string | undefined;
}

/** A row in reading. The same object for every row. */
export interface StampedRow {
  path: string;
  line: number;
  symbol: string;
  /** As it is written. */
  stamp: string;
  /** The name of its column in lower case; empty when it has none. */
  column: string;
  /** Bars of the file before this row. */
  barsRead: number;
}

/** The bars of a file, a chunk at a time. @throws InputError when it is none of such bars. */
export async function* readBarFile<Bars extends BarColumns>(
  path: string,
  options: BarFileOptions,
  form: BarForm<Bars>,
): AsyncGenerator<BarChunk<Bars>, void, undefined> {
  const reader = new BarReader(path, options, form);
  for await (const text of readText(path, reader)) yield* reader.feed(text);
  yield* reader.end();
}

// ----------------------------------------------------------------------------- rows

/** Puts text together to rows, rows to bars, and bars to chunks. */
class BarReader<Bars extends BarColumns> {
  /** Rows read of the whole file. */
  rowsRead = 0;
  #layout: BarLayout | undefined;
  #headerRows = 0;
  #headerSymbol: string | undefined;
  #fileSymbol: string | undefined;
  #chunkRows = 0;
  #symbols: string[] = [];
  #bars: Bars;
  #rejected: RejectedRow[] = [];
  #rejectedCount = 0;
  readonly #row: StampedRow;
  readonly #splitter: RowSplitter;
  readonly #symbolCells: SymbolCells;

  constructor(
    readonly path: string,
    readonly options: BarFileOptions,
    readonly form: BarForm<Bars>,
  ) {
    this.#splitter = new RowSplitter(path);
    this.#symbolCells = new SymbolCells(options.symbol);
    this.#bars = form.makeBars(CHUNK_ROWS);
    this.#row = { path, line: 0, symbol: '', stamp: '', column: '', barsRead: 0 };
  }

  *feed(text: string): Generator<BarChunk<Bars>, void, undefined> {
    for (const line of this.#splitter.feed(text)) {
      this.#read(line);
      if (this.#chunkRows >= CHUNK_ROWS) yield this.#take();
    }
  }

  *end(): Generator<BarChunk<Bars>, void, undefined> {
    this.#read(this.#splitter.end());
    if (!this.#layout) throw new InputError(`${this.path} is empty`);
    if (this.#chunkRows > 0) yield this.#take();
  }

  #take(): BarChunk<Bars> {
    const size = this.#symbols.length;
    const bars = size === CHUNK_ROWS ? this.#bars : this.form.firstBars(this.#bars, size);
    const chunk = { symbols: this.#symbols, bars, rejected: this.#rejected, rows: this.#chunkRows };
    this.#bars = this.form.makeBars(CHUNK_ROWS);
    this.#symbols = [];
    this.#rejected = [];
    this.#chunkRows = 0;
    return chunk;
  }

  #read(line: string): void {
    if (line.trim() === '') return;
    const cells = splitRow(line);
    if (!this.#layout) {
      this.#layout = this.#readHeader(cells);
      // Columns may also be named for a file that has a header, to say it better.
      const isNamed = this.options.columns !== undefined;
      if (!isNamed || parseLayout(cells, this.form.names).known > 1) return;
    }
    if (this.#headerRows > 0) {
      this.#headerSymbol ??= this.form.readHeaderRow?.(cells);
      if (--this.#headerRows === 0) this.#settleSymbol();
      return;
    }
    this.#chunkRows++;
    this.rowsRead++;
    const reason = this.#readCells(cells, this.#layout);
    if (reason !== undefined) this.#reject(line, cells, this.#layout, reason);
  }

  #readHeader(cells: string[]): BarLayout {
    const { columns } = this.options;
    const unfolded = columns === undefined ? this.form.unfoldHeader?.(cells) : undefined;
    const header = unfolded?.header ?? columns?.split(',') ?? cells;
    const layout = parseHeader(this.path, header, this.form);
    this.#headerRows = unfolded?.rows ?? 0;
    this.#row.column = columnName(header[layout.stamp]);
    if (layout.symbol < 0 && this.#headerRows === 0) this.#settleSymbol();
    return layout;
  }

  /** Whose file it is, when no column says it. */
  #settleSymbol(): void {
    const { symbol } = this.options;
    const said = this.#headerSymbol;
    if (symbol !== undefined && said !== undefined && said !== symbol) {
      throw new InputError(`${this.path} is of ${said}, where ${symbol} was asked for`, 'symbol');
    }
    this.#fileSymbol = symbol ?? said ?? symbolOfFile(this.path, this.form.fileName);
  }

  /** Appends the bar of a row, or says why it is none. */
  #readCells(cells: string[], layout: BarLayout): string | undefined {
    if (cells.length !== layout.width) {
      return `${cells.length} cells, where there are ${layout.width} columns`;
    }
    const symbol = this.#fileSymbol ?? this.#symbolCells.read(cells[layout.symbol]);
    if (symbol === undefined) return this.#symbolCells.describe(cells[layout.symbol]);
    const at = this.#symbols.length;
    const bars = this.#bars;
    bars.open[at] = parseNumber(cells[layout.open]);
    bars.high[at] = parseNumber(cells[layout.high]);
    bars.low[at] = parseNumber(cells[layout.low]);
    bars.close[at] = parseNumber(cells[layout.close]);
    bars.volume[at] = parseNumber(cells[layout.volume]);
    // NaN is contagious: one look at the sum tells whether any of the five is none.
    const prices = bars.open[at] + bars.high[at] + bars.low[at] + bars.close[at];
    if (Number.isNaN(prices + bars.volume[at])) return describeNumbers(cells, layout);
    const row = this.#row;
    row.line = this.#splitter.line;
    row.symbol = symbol;
    row.stamp = cells[layout.stamp];
    const reason = this.form.readStamp(row, bars, at);
    if (reason !== undefined) return reason;
    bars.vwap[at] = layout.vwap < 0 ? Number.NaN : parseNumber(cells[layout.vwap]);
    const count = layout.tradeCount;
    bars.tradeCount[at] = count < 0 ? Number.NaN : parseNumber(cells[count]);
    this.#symbols.push(symbol);
    row.barsRead++;
    return undefined;
  }

  #reject(line: string, cells: string[], layout: BarLayout, reason: string): void {
    this.#rejected.push({
      symbol: this.#fileSymbol ?? (cells[layout.symbol] ?? '').trim().slice(0, 100),
      session: this.form.sessionOf(cells[layout.stamp] ?? '', this.#row.column),
      reason: `line ${this.#splitter.line}: ${reason}`,
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

/** Which of the numbers that every bar has is none. */
function describeNumbers(cells: readonly string[], layout: BarLayout): string {
  for (const name of NUMBERS) {
    const cell = cells[layout[name]];
    if (cell.trim() === '') return `${name} is empty`;
    if (Number.isNaN(parseNumber(cell))) return `${name} is ${JSON.stringify(cell)}, not a number`;
  }
  return 'the prices are too large';
}

// --------------------------------------------------------------------------- header

/** @throws InputError when it is no header, lacks a column, or has one twice. */
function parseHeader(
  path: string,
  header: readonly string[],
  { names, help, example }: Pick<BarForm<BarColumns>, 'names' | 'help' | 'example'>,
): BarLayout {
  const { layout, known, twice } = parseLayout(header, names);
  const found = header.join(',').slice(0, 200);
  if (known === 0 && header.some((cell) => !Number.isNaN(parseNumber(cell)))) {
    throw new InputError(
      `${path} has no header: its first line is ${JSON.stringify(found)}. ${help}. ` +
        `Say which columns there are, e.g. '${example}'`,
    );
  }
  if (twice !== undefined) {
    throw new InputError(
      `${path}: ${twice} could be any of several columns. Found: ${found}. ${help}`,
    );
  }
  const needed = ['stamp', ...NUMBERS] as const;
  const missing = needed.filter((name) => layout[name] < 0).map((name) => names[name][0]);
  if (missing.length === 0) return layout;
  throw new InputError(
    `${path}: column ${missing.join(', ')} is missing. Found: ${found}. ${help}`,
  );
}

/** What a header says: `known` of its names are ours, `twice` is a column that it has twice. */
export function parseLayout(header: readonly string[], columns: BarColumnNames) {
  const names = header.map(columnName);
  const layout = { width: header.length } as BarLayout;
  let known = 0;
  let twice: string | undefined;
  for (const [column, accepted] of Object.entries(columns)) {
    let at = names.flatMap((name, i) => (accepted.includes(name) ? [i] : []));
    known += at.length;
    // Beside a symbol, a name is that of the company.
    if (column === 'symbol') at = at.filter((i) => at.length === 1 || names[i] !== 'name');
    // The index of a table that was written by pandas has no name.
    if (column === 'stamp' && at.length === 0 && names[0] === '') at = [0];
    if (at.length > 1) twice ??= accepted[0];
    layout[column as BarColumn] = at[0] ?? -1;
  }
  return { layout, known, twice };
}

/** A name as it is compared; 'Close*' has a footnote where it comes from. */
export function columnName(cell: string): string {
  return cell.trim().toLowerCase().replace(/\*+$/, '');
}
