import { InputError } from '../errors.ts';
import type { RejectedRow } from '../model/bar.ts';
import { type CorporateAction, toRatio, toWholeRatio } from '../model/corporate-action.ts';
import { toDay } from '../model/session.ts';
import {
  parseNumber,
  RAW_LENGTH_MAX,
  RowSplitter,
  readText,
  SymbolCells,
  splitRow,
  symbolOfFile,
} from './csv-file.ts';

/** Splits and dividends of a CSV file. */

export interface ActionFileOptions {
  /** Whose they are. Needed when neither a column nor the file name says so. */
  symbol?: string;
}

export interface ActionFile {
  actions: CorporateAction[];
  rejected: RejectedRow[];
  /** Rows that were read. */
  rows: number;
}

/** Every column that is read and the names it goes by; the rest is ignored. */
const COLUMN_NAMES = {
  symbol: ['symbol', 'ticker'],
  date: ['ex_date', 'exdate', 'ex_dividend_date', 'execution_date', 'date', 'timestamp'],
  ratio: ['split_coefficient', 'split_ratio', 'ratio', 'split', 'splits', 'stock_splits'],
  from: ['split_from'],
  to: ['split_to'],
  cash: ['dividend_amount', 'cash_amount', 'dividend', 'dividends', 'amount'],
  currency: ['currency'],
} as const;
type Column = keyof typeof COLUMN_NAMES;
type Layout = Record<Column, number> & { width: number };

const HELP =
  'expected: ex_date (or date), and split_coefficient (or split_ratio, ratio; or split_from and ' +
  'split_to) or dividend_amount (or dividend, cash_amount) or both; allowed: symbol (or ticker), ' +
  'currency';
const FILE_NAME = /^([A-Za-z][A-Za-z.-]*?)(?:_(?:splits|dividends|actions))*$/;

function parseLayout(header: readonly string[]): Layout {
  const names = header.map((cell) => cell.trim().toLowerCase().replaceAll(' ', '_'));
  const find = (column: Column) => {
    const accepted: readonly string[] = COLUMN_NAMES[column];
    // In the order of preference: an ex-date counts before a date.
    return names.indexOf(accepted.find((name) => names.includes(name)) ?? '?');
  };
  const columns = Object.keys(COLUMN_NAMES) as Column[];
  const layout = Object.fromEntries(columns.map((column) => [column, find(column)]));
  return { ...(layout as Record<Column, number>), width: header.length };
}

const hasSplits = ({ ratio, from, to }: Layout) => ratio >= 0 || (from >= 0 && to >= 0);

/** Whether a file of this header holds splits or dividends, and no bars beside them. */
export function isActionHeader(header: readonly string[]): boolean {
  const layout = parseLayout(header);
  const isBars = header.some((cell) => /^(close|open)\*?$/i.test(cell.trim()));
  return !isBars && layout.date >= 0 && (hasSplits(layout) || layout.cash >= 0);
}

/**
 * Reads a file. A split of 1 and a dividend of 0 are none; rows that are neither, or that cannot be
 * read, are rejected. The id of an event is made of what it says: the same from another file is the
 * same event, and two different dividends of one day are two.
 * @throws InputError when it is no such file, or damaged.
 */
export async function readActionFile(
  path: string,
  options: ActionFileOptions = {},
): Promise<ActionFile> {
  const reader = new ActionReader(path, options);
  for await (const text of readText(path, reader)) reader.feed(text);
  return reader.end();
}

class ActionReader {
  rowsRead = 0;
  readonly #splitter: RowSplitter;
  readonly #cells: SymbolCells;
  readonly #actions: CorporateAction[] = [];
  readonly #rejected: RejectedRow[] = [];
  #layout: Layout | undefined;
  #fileSymbol: string | undefined;

  constructor(
    readonly path: string,
    readonly options: ActionFileOptions,
  ) {
    this.#splitter = new RowSplitter(path);
    this.#cells = new SymbolCells(options.symbol);
  }

  feed(text: string): void {
    for (const line of this.#splitter.feed(text)) this.#read(line);
  }

  end(): ActionFile {
    this.#read(this.#splitter.end());
    if (!this.#layout) throw new InputError(`${this.path} is empty`);
    return { actions: this.#actions, rejected: this.#rejected, rows: this.rowsRead };
  }

  #read(line: string): void {
    if (line.trim() === '') return;
    const cells = splitRow(line);
    if (!this.#layout) {
      this.#readHeader(cells);
      return;
    }
    this.rowsRead++;
    const symbol = this.#fileSymbol ?? this.#cells.read(cells[this.#layout.symbol] ?? '');
    const row = this.#parseRow(symbol, cells, this.#layout);
    if (typeof row !== 'string') {
      this.#actions.push(...row);
      return;
    }
    const date = (cells[this.#layout.date] ?? '').trim().slice(0, 10);
    this.#rejected.push({
      symbol: symbol ?? (cells[this.#layout.symbol] ?? '').trim().slice(0, 100),
      session: Number.isNaN(toDay(date)) ? undefined : date,
      reason: `line ${this.#splitter.line}: ${row}`,
      raw: line.slice(0, RAW_LENGTH_MAX),
    });
  }

  #readHeader(cells: readonly string[]): void {
    const layout = parseLayout(cells);
    if (!isActionHeader(cells)) {
      const found = cells.join(',').slice(0, 200);
      throw new InputError(`${this.path} holds no splits or dividends. Found: ${found}. ${HELP}`);
    }
    this.#layout = layout;
    if (layout.symbol >= 0) return;
    this.#fileSymbol = this.options.symbol ?? symbolOfFile(this.path, FILE_NAME, 'events');
  }

  /** The split, the dividend or both of a row; or why it is neither. */
  #parseRow(
    symbol: string | undefined,
    cells: readonly string[],
    layout: Layout,
  ): CorporateAction[] | string {
    if (cells.length !== layout.width) {
      return `${cells.length} cells, where there are ${layout.width} columns`;
    }
    if (symbol === undefined) return this.#cells.describe(cells[layout.symbol]);
    const cell = (column: Column) => (layout[column] < 0 ? '' : cells[layout[column]].trim());
    const exDate = /^\d{4}-\d{2}-\d{2}(?=$|[T ])/.exec(cell('date'))?.[0] ?? '';
    if (Number.isNaN(toDay(exDate))) {
      return `the date is ${JSON.stringify(cell('date'))}: expected YYYY-MM-DD`;
    }
    const ratio = parseSplit(cell);
    if (typeof ratio === 'string') return ratio;
    const cash = cell('cash') === '' ? 0 : parseNumber(cell('cash'));
    if (!(cash >= 0)) return `the dividend is ${JSON.stringify(cell('cash'))}: no amount`;
    const isSaid = ratio !== undefined || cell('cash') !== '';
    if (!isSaid) return 'neither a split nor a dividend';
    return makeActions({ symbol, exDate }, ratio, cash, cell('currency') || null);
  }
}

type Ratio = ReturnType<typeof toRatio>;

/** What a row says of a split; undefined when nothing; else why it is none. */
function parseSplit(cell: (column: Column) => string): Ratio | string | undefined {
  const said = cell('ratio');
  const pair = /^([\d.]+)\s*[:/]\s*([\d.]+)$/.exec(said)?.slice(1);
  const [to, from] = pair ?? [cell('to'), cell('from')];
  if (to !== '' || from !== '') {
    const ratio = toWholeRatio(parseNumber(from), parseNumber(to));
    if (ratio.splitFrom > 0 && ratio.splitTo > 0) return ratio;
    return `the split is ${JSON.stringify(said || `${from} to ${to}`)}: no ratio`;
  }
  if (said === '') return undefined;
  const value = parseNumber(said);
  // Where nothing is split some write 0, and some 1.
  if (value === 0) return toRatio(1);
  return value > 0 ? toRatio(value) : `the split is ${JSON.stringify(said)}: no ratio`;
}

function makeActions(
  event: { symbol: string; exDate: string },
  ratio: Ratio | undefined,
  cashAmount: number,
  currency: string | null,
): CorporateAction[] {
  const actions: CorporateAction[] = [];
  const { exDate } = event;
  if (ratio && ratio.splitFrom !== ratio.splitTo) {
    const providerActionId = `${exDate} ${ratio.splitTo}:${ratio.splitFrom}`;
    actions.push({ ...event, kind: 'split', providerActionId, ...ratio });
  }
  if (cashAmount > 0) {
    const providerActionId = `${exDate} ${cashAmount}${currency === null ? '' : ` ${currency}`}`;
    const unsaid = { declaredDate: null, recordDate: null, payDate: null, frequency: null };
    actions.push({ ...event, kind: 'dividend', providerActionId, cashAmount, currency, ...unsaid });
  }
  return actions;
}
