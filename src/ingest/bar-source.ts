import { basename } from 'node:path';
import { InputError, ProviderError } from '../errors.ts';
import { type BarColumns, type BarPick, gatherBars } from '../model/bar.ts';
import { readFlatFile } from '../providers/flat-file.ts';
import { type Yahoo, yahooSymbol } from '../providers/yahoo.ts';
import type { BarSource, DayRange } from './reconcile.ts';

/** The second sources that stored bars can be compared with. */

/** Yahoo's daily history, raw again. */
export function makeYahooSource(yahoo: Yahoo): BarSource {
  return {
    name: yahoo.name,
    requestCount: yahoo.requestCount,
    fetchBars: async ({ symbol, sourceSymbol }, range, signal) => {
      // As provider_symbols has it, or by the rule.
      const spelling = sourceSymbol === symbol ? yahooSymbol(symbol) : sourceSymbol;
      return yahoo.fetchHistory(spelling, range, signal);
    },
    isOver: ({ kind }) => kind === 'rate_limited' || yahoo.breaker().phase === 'open',
  };
}

export interface FileSource extends BarSource {
  /** Those it has bars of. */
  symbols: readonly string[];
  /** From its first to its last session. */
  range: DayRange;
}

export interface FileSourceOptions {
  /** Whose bars are wanted; undefined: all of the file. */
  symbols?: readonly string[];
  /** As in FlatFileOptions. */
  columns?: string;
}

/**
 * The raw daily bars of a CSV file, all in memory. A file that does not say whose bars it holds
 * holds those of the one symbol that is wanted.
 * @throws InputError when it is no such file.
 */
export async function readFileSource(
  path: string,
  options: FileSourceOptions = {},
): Promise<FileSource> {
  const { symbols, columns } = options;
  const only = symbols?.length === 1 ? symbols[0] : undefined;
  let bars: Map<string, BarColumns>;
  try {
    bars = await readBars(path, { columns });
  } catch (error) {
    if (!(error instanceof InputError) || error.field !== 'symbol' || !only) throw error;
    bars = await readBars(path, { columns, symbol: only });
  }
  // One that is named otherwise, as after an older symbol.
  if (only && bars.size === 1 && !bars.has(only)) {
    bars = await readBars(path, { columns, symbol: only });
  }
  const days = [...bars.values()].flatMap(({ session, length }) => [
    session[0],
    session[length - 1],
  ]);
  if (days.length === 0) throw new InputError(`${path} has no bars`, 'file');
  const name = basename(path);
  return {
    name,
    symbols: [...bars.keys()],
    range: { firstDay: days.reduce(lower), lastDay: days.reduce(higher) },
    requestCount: () => 0,
    fetchBars: async ({ symbol }, range) => {
      const own = bars.get(symbol);
      if (!own) throw new ProviderError(`${name} has no bars of ${symbol}`, 'not_found');
      return { bars: within(own, range), actions: null };
    },
    isOver: () => false,
  };
}

const lower = (a: number, b: number) => Math.min(a, b);
const higher = (a: number, b: number) => Math.max(a, b);

/** Bars by symbol, in the order of their sessions; of several of a session the last one counts. */
async function readBars(
  path: string,
  options: { columns?: string; symbol?: string },
): Promise<Map<string, BarColumns>> {
  const picks = new Map<string, BarPick[]>();
  for await (const { symbols, bars } of readFlatFile(path, options)) {
    const rows = new Map<string, number[]>();
    for (const [row, symbol] of symbols.entries()) {
      const known = rows.get(symbol);
      if (known) known.push(row);
      else rows.set(symbol, [row]);
    }
    for (const [symbol, own] of rows) {
      const known = picks.get(symbol);
      if (known) known.push({ bars, rows: own });
      else picks.set(symbol, [{ bars, rows: own }]);
    }
  }
  return new Map([...picks].map(([symbol, own]) => [symbol, orderBars(gatherBars(own))]));
}

function orderBars(bars: BarColumns): BarColumns {
  const bySession = new Map<number, number>();
  for (let row = 0; row < bars.length; row++) bySession.set(bars.session[row], row);
  const rows = [...bySession].sort(([a], [b]) => a - b).map(([, row]) => row);
  return gatherBars([{ bars, rows }]);
}

function within(bars: BarColumns, { firstDay, lastDay }: DayRange): BarColumns {
  const rows: number[] = [];
  for (let row = 0; row < bars.length; row++) {
    if (bars.session[row] >= firstDay && bars.session[row] <= lastDay) rows.push(row);
  }
  return gatherBars([{ bars, rows }]);
}
