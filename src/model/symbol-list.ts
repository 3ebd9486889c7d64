import { InputError } from '../errors.ts';

/** What a symbol looks like, and lists of them as people write and programs export them. */

const SYMBOL = /^[A-Za-z0-9]+([.\-/:][A-Za-z0-9]+)*$/;
const SYMBOL_LENGTH_MAX = 32;
const ALLOWED =
  'letters and digits, parts joined by one of . - / : (AAPL, BRK.B, ABRpD), at most ' +
  `${SYMBOL_LENGTH_MAX} characters`;

const isSymbol = (text: string) => text.length <= SYMBOL_LENGTH_MAX && SYMBOL.test(text);

const shown = (text: string) => JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);

/**
 * The symbol itself. Case is kept: it tells preferred shares apart (ABRpD).
 * @throws InputError that names what is allowed.
 */
export function checkSymbol(symbol: string, field = 'symbol'): string {
  if (isSymbol(symbol)) return symbol;
  throw new InputError(`${shown(symbol)} is not a symbol: ${ALLOWED}`, field);
}

/** 'typed': symbols may stand beside each other; 'file': each has its line, or they have one. */
export type ListForm = 'typed' | 'file';

interface Item {
  /** Counted from 1. */
  line: number;
  text: string;
}

const COLUMNS = ['symbol', 'ticker'];
const WRONG_SHOWN = 10;

/**
 * The symbols of a list, each once: in the column "symbol" (or "ticker") of a table that names its
 * columns in the first line; without such a line one a line, or with commas, semicolons or tabs
 * between them, and spaces where they were typed. Empty lines and those that begin with # count
 * for nothing.
 * @throws InputError that names every line that is wrong, or says that there is no symbol at all.
 */
export function parseSymbolList(text: string, form: ListForm, field = 'symbols'): string[] {
  const lines = text
    .replace(/^\uFEFF/, '') // a mark that Windows puts before text
    .split(/\r\n|\r|\n/)
    .map((written, i): Item => ({ line: i + 1, text: written.trim() }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
  const items = readTable(lines) ?? (form === 'typed' ? readWords(lines) : readLines(lines));
  if (items.length === 0) throw new InputError('there is no symbol in it', field);
  const wrong = items.filter((item) => !isSymbol(item.text));
  if (wrong.length > 0) throw new InputError(describeWrong(wrong), field);
  return [...new Set(items.map((item) => item.text))];
}

/** No symbol is without capitals: who types "aapl" means AAPL. */
export const toCapitals = (symbol: string): string =>
  symbol === symbol.toLowerCase() ? symbol.toUpperCase() : symbol;

/** Cells of a line, without the quotes around them. */
function splitCells(line: string, separator: string): string[] {
  const cells: string[] = [];
  let cell = '';
  let isQuoted = false;
  for (const character of line) {
    if (character === '"') isQuoted = !isQuoted;
    else if (character === separator && !isQuoted) {
      cells.push(cell.trim());
      cell = '';
    } else cell += character;
  }
  return [...cells, cell.trim()];
}

/** The column of a table with names; undefined when the first line has none that is known. */
function readTable(lines: readonly Item[]): Item[] | undefined {
  for (const separator of [',', ';', '\t']) {
    const header = splitCells(lines[0]?.text.toLowerCase() ?? '', separator);
    const column = header.findIndex((name) => COLUMNS.includes(name));
    if (column < 0) continue;
    return lines
      .slice(1)
      .map(({ line, text }) => ({ line, text: splitCells(text, separator)[column] ?? '' }));
  }
  return undefined;
}

const readWords = (lines: readonly Item[]): Item[] => lines.flatMap((one) => split(one, /[\s,;]+/));

/** A table without names could hold anything: only a single line may have several symbols. */
function readLines(lines: readonly Item[]): Item[] {
  return lines.length === 1 ? split(lines[0], /[,;\t]/) : [...lines];
}

const split = ({ line, text }: Item, separator: RegExp): Item[] =>
  text
    .split(separator)
    .map((word) => ({ line, text: word.trim() }))
    .filter((item) => item.text !== '');

function describeWrong(wrong: readonly Item[]): string {
  const named = wrong.slice(0, WRONG_SHOWN).map(({ line, text }) => `line ${line}: ${shown(text)}`);
  const more = wrong.length - named.length;
  const rest = more > 0 ? `, and ${more.toLocaleString('en-US')} more` : '';
  const what = wrong.length === 1 ? 'is not a symbol' : 'are not symbols';
  const table = wrong.some(({ text }) => text.includes(','))
    ? '. Of a table, name the columns in its first line, one of them "symbol"'
    : '';
  return `${named.join(', ')}${rest} ${what}: ${ALLOWED}${table}`;
}
