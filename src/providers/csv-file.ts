import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { InputError } from '../errors.ts';

/** What readers of CSV files share: text, rows, symbols and numbers. */

/** As much of a rejected row is kept. */
export const RAW_LENGTH_MAX = 1_000;
/** A row that is longer is none. */
const LINE_LENGTH_MAX = 65_536;

// ----------------------------------------------------------------------------- text

/**
 * The text of a file in pieces, gzipped or not.
 * @throws InputError when it cannot be read, is a directory, a zip archive, empty or torn; it says
 *   how many rows were read by then.
 */
export async function* readText(path: string, progress: { rowsRead: number }) {
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

// ----------------------------------------------------------------------------- rows

const CARRIAGE_RETURN = 13;
const COMMA = 44;
const QUOTE = 34;

/** Puts pieces of text together to rows. */
export class RowSplitter {
  /** Line breaks read so far: the number of the line that was read last, for people. */
  line = 0;
  /** The beginning of a row whose end has not been read yet. */
  #rest = '';

  constructor(readonly path: string) {}

  /** The rows that end in this piece. @throws InputError when it is no text or a row has no end. */
  *feed(text: string): Generator<string, void, undefined> {
    if (this.line === 0 && text.includes('\0')) {
      throw new InputError(`${this.path} is not a text file in UTF-8: it has zero bytes`);
    }
    const all = this.#rest + text;
    let start = 0;
    for (let end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', end + 1)) {
      this.line++;
      const stop = all.charCodeAt(end - 1) === CARRIAGE_RETURN && end > start ? end - 1 : end;
      const line = all.slice(start, stop);
      if (line.includes('"') && isInsideQuotes(line)) continue;
      start = end + 1;
      yield line;
    }
    this.#rest = all.slice(start);
    if (this.#rest.length <= LINE_LENGTH_MAX) return;
    throw new InputError(
      `${this.path}, line ${this.line + 1}: the row does not end within ${LINE_LENGTH_MAX} ` +
        'characters: no CSV file, or a quote that is never closed',
    );
  }

  /** The last row, which no line break ends; it may be empty. */
  end(): string {
    this.line++;
    return this.#rest;
  }
}

/** Whether a line break after this is part of a cell. */
function isInsideQuotes(line: string): boolean {
  let quotes = 0;
  for (let at = line.indexOf('"'); at >= 0; at = line.indexOf('"', at + 1)) quotes++;
  return quotes % 2 === 1;
}

/** The cells of a row; RFC 4180 quotes. */
export function splitRow(line: string): string[] {
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

// -------------------------------------------------------------------------- symbols

const SYMBOL = /^[A-Za-z0-9]+([.\-/:][A-Za-z0-9]+)*$/;
const SYMBOL_LENGTH_MAX = 32;

/** Reads a column of symbols; with `only`, rows of others are none. */
export class SymbolCells {
  readonly #known = new Map<string, string>();

  constructor(readonly only: string | undefined) {}

  /** One string for each symbol: a part of a row would keep the whole text alive. */
  read(cell: string): string | undefined {
    const known = this.#known.get(cell);
    if (known !== undefined) return known;
    const symbol = Buffer.from(cell.trim()).toString();
    if (symbol.length > SYMBOL_LENGTH_MAX || !SYMBOL.test(symbol)) return undefined;
    if (this.only !== undefined && symbol !== this.only) return undefined;
    this.#known.set(symbol, symbol);
    return symbol;
  }

  /** Why `read` gave nothing. */
  describe(cell: string): string {
    if (this.only === undefined || !SYMBOL.test(cell.trim())) {
      return `symbol is ${JSON.stringify(cell)}: letters and digits, joined by . - / :`;
    }
    return `symbol is ${JSON.stringify(cell)}, where ${this.only} was asked for`;
  }
}

/** Names that files have, and symbols do not. */
const NO_SYMBOLS = /^(data|daily|bars|stock|stocks|price|prices|ohlc|ohlcv|export)$/i;
/** Of a word in a file's name, what a symbol can be. */
const FILE_SYMBOL_LENGTH_MAX = 6;

/** The symbol that a file is named after; `form` takes it out of the name without its endings. */
export function symbolOfFile(path: string, form: RegExp, rows = 'bars'): string {
  const name = basename(path).replace(/\.(csv|txt|gz)(\.gz)?$/i, '');
  const symbol = form.exec(name)?.[1];
  const isSymbol = symbol && SYMBOL.test(symbol) && symbol.length <= FILE_SYMBOL_LENGTH_MAX;
  if (isSymbol && !NO_SYMBOLS.test(symbol)) {
    return symbol === symbol.toLowerCase() ? symbol.toUpperCase() : symbol;
  }
  throw new InputError(
    `${path} has no symbol column and is not named after a symbol (as AAPL.csv is): ` +
      `say whose ${rows} it holds`,
    'symbol',
  );
}

// -------------------------------------------------------------------------- numbers

/** The number in a cell; NaN when it holds none, or one that is not finite. */
export function parseNumber(cell: string): number {
  const value = Number(cell);
  // 0 is also what an empty cell gives, and '0x1f' is a number to JavaScript alone.
  if (value === 0 && cell.trim() === '') return Number.NaN;
  const second = cell.charCodeAt(1);
  if (second > LETTER_E && cell.charCodeAt(0) === DIGIT_0) return Number.NaN;
  return Number.isFinite(value) ? value : Number.NaN;
}

const DIGIT_0 = 48;
const LETTER_E = 101;
