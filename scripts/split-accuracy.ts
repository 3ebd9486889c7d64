import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type BarColumns, makeBars } from '../src/model/bar.ts';
import { MEDIAN_SESSIONS } from '../src/model/quality.ts';
import { makeCalendar, toDate, toDay } from '../src/model/session.ts';
import { findSplits, type SplitFinding } from '../src/model/split-finder.ts';
import { KNOWN_SPLITS, MIXED_SYMBOLS, NO_SPLITS, type SplitEvent } from './split-history.ts';

/**
 * How well splits are found and doubted, measured on the recorded files.
 *
 *   bun run splits              a table, and each mistake with its reason
 *   bun run splits -- --json    as JSON
 *
 * In raw files every split must be found without a table of splits, and moves of over 20 % that
 * are none must not be taken for one; with the table of what is true nothing may be doubted. In
 * adjusted files no split is to be seen, and each one in the table must be doubted.
 */
const DATA = resolve(import.meta.dir, '../../shared/data');
const DAILY = join(DATA, 'daily');
/** Open or close this far from the close before is a big move. */
const BIG_MOVE = 0.2;

/** Files of one origin. */
interface Source {
  folder: string;
  /** Files of the folder, and what they are: all of them when missing. */
  files?: RegExp;
  part?: string;
  isRaw: boolean;
  /** What came of it had no part in setting the finder's constants. */
  isHeldOut: boolean;
  /** Names of the columns where the file has no header. */
  header?: string[];
}

const CELLS = ['date', 'open', 'high', 'low', 'close', 'volume'];

const SOURCES: readonly Source[] = [
  { folder: 'av_raw_2023', isRaw: true, isHeldOut: false },
  { folder: 'lean_raw', isRaw: true, isHeldOut: false },
  {
    folder: 'pystock_raw_2015_2017',
    part: 'symbols',
    files: /^selected/,
    isRaw: true,
    isHeldOut: false,
  },
  { folder: 'av_adjusted_2018', isRaw: true, isHeldOut: false },
  { folder: 'av_adjusted_2020', isRaw: true, isHeldOut: true },
  { folder: 'av_adjusted_2020_12', isRaw: true, isHeldOut: false },
  { folder: 'av_adjusted_2020_excel', isRaw: true, isHeldOut: true },
  { folder: 'av_adjusted_2021_excel', isRaw: true, isHeldOut: true },
  { folder: 'av_raw_2024', isRaw: true, isHeldOut: true },
  {
    folder: 'pystock_raw_2015_2017',
    part: 'pairs of days',
    files: /^cross.*csv$/,
    isRaw: true,
    isHeldOut: false,
  },
  { folder: 'quandl_wiki_sample', isRaw: true, isHeldOut: true },
  { folder: 'yahoo_old_mixed', isRaw: true, isHeldOut: true },
  { folder: 'sp500_5yr_2013_2018', isRaw: false, isHeldOut: true },
  { folder: 'noheader_2016_2025', isRaw: false, isHeldOut: true, header: CELLS },
  { folder: 'djia_2006_2018_googlefinance', isRaw: false, isHeldOut: true },
  { folder: 'yahoo_sp500_2016_2021', isRaw: false, isHeldOut: true },
  { folder: 'yahoo_split_adjusted', isRaw: false, isHeldOut: true },
  { folder: 'zipline_csvdir', isRaw: false, isHeldOut: true },
];

const calendar = makeCalendar();

// ----------------------------------------------------------------------------- files

/** The cells of each row of a file by the names of their columns, in lower case. */
function readRows(path: string, header?: string[]): Record<string, string>[] {
  const lines = readFileSync(path, 'utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter(Boolean);
  const names = header ?? lines.shift()!.toLowerCase().split(',');
  return lines.map((line) => {
    const cells = line.split(',');
    return Object.fromEntries(names.map((name, i) => [name.trim(), cells[i] ?? '']));
  });
}

/** '2014-06-09' of that, 2014/6/9, 6/9/2014, 6/9/14 and a date with a time; '' of anything else. */
function toIsoDate(cell: string): string {
  const pad = (part: string) => part.padStart(2, '0');
  const iso = /^(\d{4})[-/](\d{1,2})[-/](\d{1,2})/.exec(cell.trim());
  if (iso) return `${iso[1]}-${pad(iso[2])}-${pad(iso[3])}`;
  const us = /^(\d{1,2})\/(\d{1,2})\/(\d{4}|\d{2})$/.exec(cell.trim());
  if (!us) return '';
  const year = us[3].length === 4 ? us[3] : `${Number(us[3]) > 50 ? 19 : 20}${us[3]}`;
  return `${year}-${pad(us[1])}-${pad(us[2])}`;
}

/** The bars of a file by symbol, ascending; of several rows of a session the last one counts. */
function readBars(path: string, header?: string[]): Map<string, BarColumns> {
  const ofFile = symbolOf(basename(path));
  const bySymbol = Map.groupBy(readRows(path, header), (row) => {
    return row.symbol ?? row.ticker ?? (header ? ofFile : (row.name ?? ofFile));
  });
  return new Map([...bySymbol].map(([symbol, rows]) => [symbol, toBars(rows)]));
}

/** AAPL of daily_adjusted_AAPL.csv, yf_AAPL_2016_2026.csv, aapl.csv ... */
function symbolOf(file: string): string {
  const words = file.replace(/\.csv$/, '').split(/[_-]/);
  const isName = (word: string) => /^[A-Z]+$/.test(word) && word !== 'A';
  return words.find(isName) ?? words[0].toUpperCase();
}

function toBars(rows: Record<string, string>[]): BarColumns {
  const last = new Map(
    rows.map((row) => [toDay(toIsoDate(row.date ?? row.timestamp ?? row[''])), row]),
  );
  const isKnown = (day: number) => day >= calendar.firstDay && day <= calendar.lastDay;
  const days = [...last.keys()].filter(isKnown).sort((a, b) => a - b);
  const bars = makeBars(days.length);
  for (const [i, day] of days.entries()) {
    const row = last.get(day)!;
    const number = (cell: string) => (cell === '' ? Number.NaN : Number(cell));
    bars.session[i] = day;
    for (const name of ['open', 'high', 'low', 'close', 'volume'] as const) {
      bars[name][i] = number(row[name]);
    }
  }
  return bars;
}

// ----------------------------------------------------------------------------- truth

/** New shares for one old by day, by symbol. */
type History = Map<string, Map<number, number>>;

/** Every split that the recorded tables, factor files and crawls tell of, put right by hand. */
function readHistory(): History {
  const history: History = new Map();
  const ofSymbol = (symbol: string) => history.get(symbol) ?? new Map<number, number>();
  const add = ({ symbol, date, ratio }: SplitEvent) =>
    history.set(symbol, ofSymbol(symbol).set(toDay(date), ratio));
  for (const row of readRows(join(DATA, 'corporate_actions/av_splits_extracted.csv'))) {
    add({ symbol: row.symbol, date: row.ex_date, ratio: Number(row.split_coefficient) });
  }
  readFactorFiles().forEach(add);
  readCrawledSplits().forEach(add);
  for (const { symbol, date } of NO_SPLITS) ofSymbol(symbol).delete(toDay(date));
  KNOWN_SPLITS.filter(({ folder }) => folder === undefined).forEach(add);
  return history;
}

/** The splits of a symbol as its bars in a folder have them. */
function splitsOf(history: History, folder: string, symbol: string): Map<number, number> {
  const own = KNOWN_SPLITS.filter((event) => event.folder === folder && event.symbol === symbol);
  const ratios = own.map(({ date, ratio }) => [toDay(date), ratio] as const);
  return new Map([...(history.get(symbol) ?? []), ...ratios]);
}

/** A step of the split column of a factor file: it takes effect in the session after. */
function readFactorFiles(): SplitEvent[] {
  const folder = join(DATA, 'corporate_actions/lean_factor_files');
  return readdirSync(folder).flatMap((file) => {
    const rows = readRows(join(folder, file), ['date', 'price', 'split', 'close']);
    const symbol = file.split('.')[0].toUpperCase();
    return rows.slice(1).flatMap((next, i) => {
      const ratio = Number(next.split) / Number(rows[i].split);
      const date = rows[i].date.replace(/^(....)(..)(..)$/, '$1-$2-$3');
      const after = calendar.sessionAt(calendar.sessionsBefore(toDay(date) + 1));
      return Math.abs(ratio - 1) < 1e-3 ? [] : [{ symbol, date: toDate(after), ratio }];
    });
  });
}

/** The vendor adjusts the close of the session before on the evening of an ex-date. */
function readCrawledSplits(): SplitEvent[] {
  const folder = join(DAILY, 'pystock_raw_2015_2017');
  const rows = readdirSync(folder)
    .filter((file) => file.endsWith('.csv'))
    .flatMap((file) =>
      readRows(join(folder, file)).map((row) => ({
        ...row,
        crawled: row.crawl_date ?? file.replace(/\D/g, ''),
      })),
    ) as (Record<string, string> & { crawled: string })[];
  return rows.flatMap(({ symbol, close, adj_close: adjusted, crawled }) => {
    const ratio = Number(close) / Number(adjusted);
    if (!(ratio > 1.15 || ratio < 0.87) || Number(adjusted) <= 0) return [];
    return [{ symbol, date: crawled.replace(/^(....)(..)(..)$/, '$1-$2-$3'), ratio }];
  });
}

// --------------------------------------------------------------------------- measure

/** What was measured on the files of a source. Lists are 'SYMBOL date: what and why'. */
export interface SplitAccuracy {
  folder: string;
  isRaw: boolean;
  isHeldOut: boolean;
  symbols: number;
  bars: number;
  /** Splits in the span of the bars; of a raw file they are to be seen, of an adjusted one not. */
  splits: string[];
  /** Splits that were not found in raw bars. */
  missed: string[];
  /** Found, but in another ratio. */
  otherRatio: string[];
  /** Moves of open or close by over 20 % that are no splits. */
  bigMoves: string[];
  /** Findings where no split was, big move or not. */
  taken: string[];
  /** Splits of the table that were doubted: none should be in raw bars, all in adjusted ones. */
  doubted: string[];
  /** A vendor's false splits, of which each should be doubted, and those that were. */
  claims: string[];
  doubtedClaims: string[];
  /** Findings of possible splits although the table has the splits. */
  foundTwice: string[];
}

/** Measures all sources. */
export function measureSplits(): SplitAccuracy[] {
  const history = readHistory();
  return SOURCES.map((source) => {
    const folder = join(DAILY, source.folder);
    const files = readdirSync(folder).filter((file) => (source.files ?? /\.csv$/).test(file));
    const accuracy = startAccuracy(source);
    for (const file of files) {
      for (const [symbol, bars] of readBars(join(folder, file), source.header)) {
        measureBars(accuracy, symbol, bars, splitsOf(history, source.folder, symbol));
      }
    }
    return accuracy;
  });
}

function startAccuracy({ folder, part, isRaw, isHeldOut }: Source): SplitAccuracy {
  return {
    ...{ folder: part ? `${folder} ${part}` : folder },
    ...{ isRaw, isHeldOut, symbols: 0, bars: 0, splits: [], missed: [], otherRatio: [] },
    ...{ bigMoves: [], taken: [], doubted: [], claims: [], doubtedClaims: [], foundTwice: [] },
  };
}

const NO_CASH: ReadonlyMap<number, number> = new Map();

function measureBars(
  accuracy: SplitAccuracy,
  symbol: string,
  bars: BarColumns,
  splits: ReadonlyMap<number, number>,
): void {
  const find = (splitRatio: ReadonlyMap<number, number>) =>
    findSplits(bars, calendar, { splitRatio, dividendCash: NO_CASH });
  const nameOf = (row: number) => `${symbol} ${toDate(bars.session[row])}`;
  const found = new Map(find(new Map()).map((finding) => [finding.row, finding]));
  accuracy.symbols++;
  accuracy.bars += bars.length;
  for (const { row, open, close } of jumpsOf(bars)) {
    const ratio = splits.get(bars.session[row]);
    const finding = found.get(row);
    if (ratio !== undefined) {
      accuracy.splits.push(nameOf(row));
      if (!accuracy.isRaw) {
        if (finding) accuracy.taken.push(describe(nameOf(row), finding));
      } else if (!finding) accuracy.missed.push(`${nameOf(row)}: ${ratioText(ratio)}`);
      else if (Math.abs(finding.ratio / ratio - 1) > 0.01) {
        accuracy.otherRatio.push(`${describe(nameOf(row), finding)}, was ${ratioText(ratio)}`);
      }
      continue;
    }
    const isBig = Math.max(Math.abs(open - 1), Math.abs(close - 1)) > BIG_MOVE;
    if (isBig && !MIXED_SYMBOLS.includes(symbol)) accuracy.bigMoves.push(nameOf(row));
    if (finding) accuracy.taken.push(describe(nameOf(row), finding));
  }
  for (const { row, kind } of find(splits)) {
    if (kind === 'unconfirmed_split') accuracy.doubted.push(nameOf(row));
    else if (!NO_SPLITS.some(isAt(symbol, bars.session[row])))
      accuracy.foundTwice.push(nameOf(row));
  }
  measureClaims(accuracy, symbol, bars, find);
}

/** Each row that has a past, against the close before it. */
function* jumpsOf({ length, session, open, high, low, close }: BarColumns) {
  let last = -1;
  for (let row = 0; row < length; row++) {
    const isGood = low[row] > 0 && high[row] >= low[row];
    if (!isGood || !calendar.isSession(session[row])) continue;
    const first = calendar.sessionsBefore(session[row]) - MEDIAN_SESSIONS;
    if (last >= 0 && calendar.sessionsBefore(session[last]) >= first) {
      yield { row, open: open[row] / close[last], close: close[row] / close[last] };
    }
    last = row;
  }
}

function measureClaims(
  accuracy: SplitAccuracy,
  symbol: string,
  bars: BarColumns,
  find: (splitRatio: ReadonlyMap<number, number>) => SplitFinding[],
): void {
  for (const { date, claimed, ...claim } of NO_SPLITS) {
    const row = bars.session.indexOf(toDay(date));
    if (claimed === undefined || claim.symbol !== symbol || row <= 0) continue;
    accuracy.claims.push(`${symbol} ${date}: ${claim.reason}`);
    const findings = find(new Map([[toDay(date), claimed]]));
    const isDoubted = findings.some((finding) => {
      return finding.row === row && finding.kind === 'unconfirmed_split';
    });
    if (isDoubted) accuracy.doubtedClaims.push(`${symbol} ${date}`);
  }
}

const isAt = (symbol: string, day: number) => (event: { symbol: string; date: string }) =>
  event.symbol === symbol && event.date === toDate(day);

function describe(name: string, { splitTo, splitFrom, detail }: SplitFinding): string {
  const [symbol, date] = name.split(' ');
  const known = NO_SPLITS.find(isAt(symbol, toDay(date)));
  const why = known ? ` (${known.kind}: ${known.reason})` : '';
  return `${name}: ${splitTo}:${splitFrom}, log odds ${detail.log_odds}${why}`;
}

function ratioText(ratio: number): string {
  return ratio >= 1
    ? `${Number(ratio.toPrecision(4))}:1`
    : `1:${Number((1 / ratio).toPrecision(4))}`;
}

// ---------------------------------------------------------------------------- report

/** The figures of several sources together: what several files have is counted once. */
export interface SplitTotals {
  splits: number;
  found: number;
  /** Found in the ratio it had. */
  rightRatio: number;
  bigMoves: number;
  taken: number;
  /** Of those taken: shares of another company or cash, which a table of splits lacks as well. */
  takenDistributions: number;
  /** found / splits, found / (found + taken), taken / bigMoves */
  recall: number;
  precision: number;
  takenShare: number;
}

/** @throws RangeError when one of the sources is adjusted: no split is to be found there. */
export function toTotals(sources: readonly SplitAccuracy[]): SplitTotals {
  if (sources.some(({ isRaw }) => !isRaw)) throw new RangeError('adjusted sources have no recall');
  const all = (list: (source: SplitAccuracy) => readonly string[]) =>
    new Set(sources.flatMap(list).map((text) => text.split(':')[0]));
  const splits = all((source) => source.splits).size;
  const found = splits - all((source) => source.missed).size;
  const taken = sources.flatMap((source) => source.taken);
  const takenCount = all((source) => source.taken).size;
  const bigMoves = all((source) => source.bigMoves).size;
  return {
    ...{ splits, found, rightRatio: found - all((source) => source.otherRatio).size },
    ...{ bigMoves, taken: takenCount },
    takenDistributions: new Set(taken.filter((text) => text.includes('(distribution'))).size,
    recall: found / splits,
    precision: found / (found + takenCount),
    takenShare: takenCount / bigMoves,
  };
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

function printRow(cells: readonly (string | number)[]): void {
  const [name, ...numbers] = cells;
  console.log(
    `${String(name).padEnd(38)}${numbers.map((cell) => `${cell}`.padStart(10)).join('')}`,
  );
}

function printReport(sources: readonly SplitAccuracy[]): void {
  const raw = sources.filter(({ isRaw }) => isRaw);
  const adjusted = sources.filter(({ isRaw }) => !isRaw);
  printRow(['raw', 'bars', 'splits', 'found', 'ratio', 'moves', 'taken', 'doubted', 'held out']);
  for (const source of raw) {
    const { folder, bars, splits, bigMoves, taken, doubted, isHeldOut } = source;
    const found = splits.length - source.missed.length;
    const right = found - source.otherRatio.length;
    const counts = [bars, splits.length, found, right, bigMoves.length, taken.length];
    printRow([folder, ...counts, doubted.length, isHeldOut ? 'yes' : 'no']);
  }
  for (const [name, some] of [
    ['all', raw],
    ['held out', raw.filter(({ isHeldOut }) => isHeldOut)],
  ] as const) {
    const t = toTotals(some);
    console.log(
      `${name}: of ${t.splits} splits ${t.found} found (${percent(t.recall)}), ` +
        `${t.rightRatio} in the ratio they had; of ${t.bigMoves} big moves ${t.taken} taken ` +
        `for one (${percent(t.takenShare)}), ${t.takenDistributions} of them distributions; ` +
        `precision ${percent(t.precision)}`,
    );
  }
  console.log();
  printRow(['adjusted', 'bars', 'splits', 'doubted', 'moves', 'taken']);
  for (const { folder, bars, splits, doubted, bigMoves, taken } of adjusted) {
    printRow([folder, bars, splits.length, doubted.length, bigMoves.length, taken.length]);
  }
  const claims = sources.flatMap((source) => source.claims);
  const doubted = sources.flatMap((source) => source.doubtedClaims);
  console.log(`false splits of vendors: ${doubted.length} of ${claims.length} doubted`);
  printReasons(sources);
}

function printReasons(sources: readonly SplitAccuracy[]): void {
  const list = (title: string, texts: readonly string[]) => {
    if (texts.length > 0) console.log(`\n${title}\n  ${[...new Set(texts)].join('\n  ')}`);
  };
  const all = (of: (source: SplitAccuracy) => string[]) => sources.flatMap(of);
  const raw = sources.filter(({ isRaw }) => isRaw);
  list(
    'missed',
    all((source) => source.missed),
  );
  list(
    'found in another ratio',
    all((source) => source.otherRatio),
  );
  list(
    'taken for a split',
    all((source) => source.taken),
  );
  list(
    'true and doubted',
    raw.flatMap((source) => source.doubted),
  );
  list(
    'false splits of vendors',
    all((source) => source.claims),
  );
  list(
    'coefficients and jumps that are no splits',
    NO_SPLITS.map(({ symbol, date, kind, reason }) => `${symbol} ${date}: ${kind}, ${reason}`),
  );
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { json: { type: 'boolean' } } });
  const sources = measureSplits();
  if (values.json) console.log(JSON.stringify(sources, null, 2));
  else printReport(sources);
}
