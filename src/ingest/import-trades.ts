import type { RejectedRow } from '../model/bar.ts';
import { newYorkDay, toDay } from '../model/session.ts';
import { gatherTrades, pickTrades, type TradeColumns } from '../model/trade.ts';
import {
  readTradeFile,
  type TradeFileChunk,
  type TradeFileOptions,
} from '../providers/trade-file.ts';
import type { Sql } from '../store/database.ts';
import { checkSymbol } from '../store/symbols.ts';
import { insertRejectedRows, withIngestLock } from '../store/upsert.ts';
import { type ImportReport, startReport } from './import.ts';
import { findHolders, type SymbolHolders } from './symbol-holder.ts';
import { describeTrade, ingestTrades, type TradeItem } from './trades.ts';

export interface TradeImportOptions extends Omit<TradeFileOptions, 'isOrdered'> {
  /** Stored beside every trade. */
  provider: string;
  now: () => number;
  onProgress?: (progress: { file: string; rows: number }) => void;
}

/** What is kept of the first reading, so that files up to this size are read once only. */
const KEPT_ROWS_MAX = 1_000_000;

/**
 * Loads trades from CSV files. All files are read once to the end before anything is stored, so
 * that a torn or malformed one changes nothing.
 * @throws InputError that names the file and what is wrong with it.
 */
export async function importTrades(
  write: Sql,
  paths: readonly string[],
  options: TradeImportOptions,
): Promise<ImportReport> {
  const report = startReport(paths, options.provider);
  const seen = new Set<string>();
  const { kept, disordered } = await readAll(paths, options);
  for (const path of paths) {
    const chunks =
      kept?.get(path) ?? readTradeFile(path, { ...options, isOrdered: !disordered.has(path) });
    for await (const chunk of chunks) {
      await importChunk(write, chunk, options, report, seen);
      options.onProgress?.({ file: path, rows: report.rows });
    }
  }
  report.symbols = seen.size;
  return report;
}

/**
 * Reads every file to its end.
 * @returns its chunks when they are few, and which files are not in order of time.
 */
async function readAll(paths: readonly string[], options: TradeImportOptions) {
  let kept: Map<string, TradeFileChunk[]> | undefined = new Map();
  const disordered = new Set<string>();
  let rows = 0;
  for (const path of paths) {
    const chunks: TradeFileChunk[] = [];
    kept?.set(path, chunks);
    for await (const chunk of readTradeFile(path, { ...options, isOrdered: true })) {
      if (!chunk.isOrdered) disordered.add(path);
      rows += chunk.rows;
      if (rows > KEPT_ROWS_MAX) kept = undefined;
      if (kept) chunks.push(chunk);
    }
    // Such a file is numbered by remembering its instants, which the first reading did not.
    if (disordered.has(path)) kept = undefined;
  }
  return { kept, disordered };
}

async function importChunk(
  write: Sql,
  { trades, rejected: refused, rows }: TradeFileChunk,
  { provider, now }: TradeImportOptions,
  report: ImportReport,
  seen: Set<string>,
): Promise<void> {
  const symbols = [...trades.keys()];
  for (const symbol of symbols) {
    if (seen.has(symbol)) continue;
    checkSymbol(symbol);
    seen.add(symbol);
  }
  const { holders, added } = await findHolders(write, symbols);
  report.added.push(...added);
  const { items, homeless } = assignTrades(trades, refused, holders);
  const options = { provider, isSynthetic: false, receivedAt: now() };
  const counts = await ingestTrades(write, items, options);
  if (homeless.length > 0) {
    const all = homeless.map((row) => ({ ...row, instrumentId: null }));
    await withIngestLock(write, (tx) => insertRejectedRows(tx, all, provider, 'trades'));
  }
  report.rows += rows;
  report.rejected += homeless.length;
  for (const count of counts.values()) {
    report.inserted += count.inserted;
    report.changed += count.changed;
    report.unchanged += count.unchanged;
    report.rejected += count.rejected;
  }
}

/** Items of whoever had the symbols on the days of the trades; what was nobody's is homeless. */
function assignTrades(
  trades: ReadonlyMap<string, TradeColumns>,
  refused: readonly RejectedRow[],
  holders: SymbolHolders,
): { items: TradeItem[]; homeless: RejectedRow[] } {
  const items = new Map<number, TradeItem & { rejected: RejectedRow[] }>();
  const homeless: RejectedRow[] = [];
  const add = (instrumentId: number, symbol: string, columns: TradeColumns) => {
    const item = items.get(instrumentId);
    if (item) item.trades = joinTrades(item.trades, columns);
    else items.set(instrumentId, { instrumentId, symbol, trades: columns, rejected: [] });
  };
  for (const [symbol, columns] of trades) {
    const only = holders.always(symbol);
    if (only !== undefined) {
      add(only, symbol, columns);
      continue;
    }
    const rows = Array.from({ length: columns.length }, (_, row) => row);
    const dayOf = (row: number) => newYorkDay(Math.floor(columns.ts[row] / 1000));
    const found = holders.assign(symbol, rows, dayOf);
    for (const [id, own] of found.byInstrument) add(id, symbol, pickTrades(columns, own));
    for (const row of found.homeless) {
      const reason = holders.problem(symbol, dayOf(row));
      homeless.push({ symbol, reason, ...describeTrade(columns, row) });
    }
  }
  for (const row of refused) {
    const day = row.session === undefined ? undefined : toDay(row.session);
    const always = holders.always(row.symbol);
    const id = always ?? (day === undefined ? undefined : holders.on(row.symbol, day));
    const item = id === undefined ? undefined : items.get(id);
    if (item) item.rejected.push(row);
    else homeless.push(row);
  }
  return { items: [...items.values()], homeless };
}

/** Trades of one instrument that came under two of its symbols. */
function joinTrades(a: TradeColumns, b: TradeColumns): TradeColumns {
  const rows = (columns: TradeColumns) => Array.from({ length: columns.length }, (_, row) => row);
  return gatherTrades([
    { trades: a, rows: rows(a) },
    { trades: b, rows: rows(b) },
  ]);
}
