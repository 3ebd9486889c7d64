import { InputError } from '../errors.ts';
import { type BarColumns, pickBars, type RejectedRow } from '../model/bar.ts';
import { gatherIntradayBars, type IntradayBars, type StoredIntraday } from '../model/intraday.ts';
import { toDate, toDay } from '../model/session.ts';
import type { BarChunk } from '../providers/bar-file.ts';
import { readFlatFile } from '../providers/flat-file.ts';
import { type MinuteFileOptions, readMinuteFile } from '../providers/minute-file.ts';
import { checkSymbol } from '../store/symbols.ts';
import { insertRejectedRows, withIngestLock } from '../store/upsert.ts';
import { type BackfillContext, latestPublished } from './backfill.ts';
import { type IngestCount, type IngestItem, type IngestOptions, ingestBars } from './ingest.ts';
import { ingestIntraday } from './intraday.ts';
import { findHolders, type SymbolHolders } from './symbol-holder.ts';

export interface ImportReport extends IngestCount {
  files: number;
  rows: number;
  symbols: number;
  /** Symbols that were not known before: they are stored, but not filled every night. */
  added: string[];
}

export interface ImportOptions extends MinuteFileOptions {
  /** Which bars the files hold; '1d' when missing. */
  bars?: '1d' | StoredIntraday;
  /** Stored beside every bar. */
  provider: string;
  onProgress?: (progress: { file: string; rows: number }) => void;
}

/** A report of nothing yet. @throws InputError for a provider that is no name. */
export function startReport(paths: readonly string[], provider: string): ImportReport {
  if (!/^[a-z][a-z0-9_-]{0,31}$/.test(provider)) {
    throw new InputError('provider must be a short lower-case name, such as file', 'provider');
  }
  const counts = { inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
  return { files: paths.length, rows: 0, symbols: 0, added: [], ...counts };
}

/**
 * Loads bars from CSV files through the same validation as everything else. All files are read
 * once to the end before anything is stored, so that a torn or malformed one changes nothing.
 * @throws InputError that names the file and what is wrong with it.
 */
export async function importFiles(
  context: BackfillContext,
  paths: readonly string[],
  options: ImportOptions,
): Promise<ImportReport> {
  const report = startReport(paths, options.provider);
  for (const path of paths) for await (const _ of readChunks(path, options));
  const seen = new Set<string>();
  for (const path of paths) {
    for await (const chunk of readChunks(path, options)) {
      await importChunk(context, chunk, options, report, seen);
      options.onProgress?.({ file: path, rows: report.rows });
    }
  }
  report.symbols = seen.size;
  return report;
}

type Chunk = BarChunk<BarColumns | IntradayBars>;

function readChunks(path: string, options: ImportOptions): AsyncIterable<Chunk> {
  const { bars = '1d' } = options;
  if (bars === '1d') return readFlatFile(path, options);
  return readMinuteFile(path, { ...options, timeframe: bars });
}

type Item = Omit<IngestItem, 'bars'> & { rows: readonly number[] };

/** Stores a chunk's bars by the way in that is theirs. */
function ingestChunk(
  context: BackfillContext,
  { bars }: Chunk,
  items: readonly Item[],
  options: ImportOptions,
): Promise<Map<number, IngestCount>> {
  const { write } = context.database;
  const ingest = ingestOptions(context, options.provider);
  const timeframe = options.bars ?? '1d';
  if (timeframe === '1d') {
    const daily = items.map(({ rows, ...item }) => ({ ...item, bars: pickBars(bars, rows) }));
    return ingestBars(write, daily, ingest);
  }
  const intraday = items.map(({ rows, ...item }) => ({
    ...item,
    bars: gatherIntradayBars([{ bars: bars as IntradayBars, rows }]),
  }));
  return ingestIntraday(write, intraday, { ...ingest, timeframe });
}

async function importChunk(
  context: BackfillContext,
  chunk: Chunk,
  options: ImportOptions,
  report: ImportReport,
  seen: Set<string>,
): Promise<void> {
  const { write } = context.database;
  const rows = new Map<string, number[]>();
  const homeless: RejectedRow[] = [];
  for (let row = 0; row < chunk.symbols.length; row++) {
    const symbol = chunk.symbols[row];
    const known = rows.get(symbol);
    if (known) known.push(row);
    else rows.set(symbol, [row]);
  }
  for (const symbol of [...rows.keys()]) {
    const problem = symbolProblem(symbol);
    if (problem === null) continue;
    for (const row of rows.get(symbol) ?? []) {
      homeless.push({ symbol, reason: problem, raw: `row ${row} of ${symbol}` });
    }
    rows.delete(symbol);
  }
  const { holders, added } = await findHolders(write, [...rows.keys()]);
  report.added.push(...added);
  const items = assignRows(chunk, rows, holders, homeless);
  const counts = await ingestChunk(context, chunk, items, options);
  const all = homeless.map((row) => ({ ...row, instrumentId: null }));
  await withIngestLock(write, (tx) =>
    insertRejectedRows(tx, all, options.provider, options.bars ?? '1d'),
  );
  report.rows += chunk.rows;
  report.rejected += homeless.length;
  for (const symbol of rows.keys()) seen.add(symbol);
  for (const count of counts.values()) {
    report.inserted += count.inserted;
    report.changed += count.changed;
    report.unchanged += count.unchanged;
    report.rejected += count.rejected;
  }
}

/** Items of whoever had the symbols on the days of the rows; what was nobody's is homeless. */
function assignRows(
  { bars, rejected }: Chunk,
  rows: ReadonlyMap<string, readonly number[]>,
  holders: SymbolHolders,
  homeless: RejectedRow[],
): (Item & { rejected: RejectedRow[] })[] {
  const items = new Map<number, Item & { rows: number[]; rejected: RejectedRow[] }>();
  const itemOf = (instrumentId: number, symbol: string) => {
    const item = items.get(instrumentId) ?? emptyItem(instrumentId, symbol);
    items.set(instrumentId, item);
    return item;
  };
  for (const [symbol, all] of rows) {
    const found = holders.assign(symbol, all, (row) => bars.session[row]);
    for (const [id, own] of found.byInstrument) {
      const item = itemOf(id, symbol);
      item.rows = item.rows.length === 0 ? own : item.rows.concat(own);
    }
    for (const row of found.homeless) homeless.push(toHomeless(bars, row, symbol, holders));
  }
  for (const row of rejected) {
    const day = row.session === undefined ? undefined : toDay(row.session);
    const always = holders.always(row.symbol);
    const id = always ?? (day === undefined ? undefined : holders.on(row.symbol, day));
    if (id === undefined) homeless.push(row);
    else itemOf(id, row.symbol).rejected.push(row);
  }
  return [...items.values()].sort((a, b) => a.instrumentId - b.instrumentId);
}

const emptyItem = (instrumentId: number, symbol: string) => ({
  ...{ instrumentId, symbol, rows: [] as number[], rejected: [] as RejectedRow[] },
  listedOn: null,
});

/** A bar of a day on which nobody had its symbol. */
function toHomeless(
  bars: BarColumns,
  row: number,
  symbol: string,
  holders: SymbolHolders,
): RejectedRow {
  const day = bars.session[row];
  const { open, high, low, close, volume } = bars;
  const values = [open[row], high[row], low[row], close[row], volume[row]];
  const start = 'ts' in bars ? (bars as IntradayBars).ts[row] : undefined;
  const at = start === undefined ? toDate(day) : new Date(start).toISOString();
  return {
    symbol,
    session: toDate(day),
    reason: holders.problem(symbol, day),
    raw: [symbol, at, ...values].join(),
  };
}

function symbolProblem(symbol: string): string | null {
  try {
    checkSymbol(symbol);
    return null;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** What ingest must know of rows from a file. */
export function ingestOptions(context: BackfillContext, provider: string): IngestOptions {
  const { calendar, thresholds, revisionSessions, now } = context;
  const latest = calendar.sessionIndex(latestPublished(context).day);
  return {
    provider,
    isSynthetic: false,
    receivedAt: now(),
    calendar,
    thresholds,
    settledBefore: calendar.sessionAt(Math.max(0, latest - revisionSessions + 1)),
  };
}
