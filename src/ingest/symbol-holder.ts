import { toDate } from '../model/session.ts';
import { describeRange, isHeld } from '../model/symbol-range.ts';
import type { Sql } from '../store/database.ts';
import { type HeldRange, selectSymbolRanges } from '../store/symbol-ranges.ts';
import { upsertSymbols } from '../store/symbols.ts';

/** Whose rows of a file are: of whoever had the symbol on the row's day. */
export class SymbolHolders {
  readonly #bySymbol: Map<string, HeldRange[]>;

  constructor(ranges: readonly HeldRange[]) {
    this.#bySymbol = Map.groupBy(ranges, ({ symbol }) => symbol);
  }

  /** The instrument that a symbol means on every day; undefined when it depends on the day. */
  always(symbol: string): number | undefined {
    const [first] = this.#bySymbol.get(symbol) ?? [];
    const isAlways = first?.startDay === -Infinity && first.endDay === Infinity;
    return isAlways ? first.instrumentId : undefined;
  }

  /** The instrument that a symbol means on a day (since 1970-01-01), if any. */
  on(symbol: string, day: number): number | undefined {
    return this.#bySymbol.get(symbol)?.find((range) => isHeld(range, day))?.instrumentId;
  }

  /** Why a row of a day is nobody's. */
  problem(symbol: string, day: number): string {
    const ranges = this.#bySymbol.get(symbol) ?? [];
    const when = ranges.map((range) => describeRange(range)).join(', ');
    return `nobody had the symbol on ${toDate(day)}, only ${when || 'never'}`;
  }

  /**
   * Rows apart by whose they are, ascending.
   * @param dayOf the day of a row.
   */
  assign(
    symbol: string,
    rows: readonly number[],
    dayOf: (row: number) => number,
  ): { byInstrument: Map<number, number[]>; homeless: number[] } {
    const only = this.always(symbol);
    if (only !== undefined) return { byInstrument: new Map([[only, [...rows]]]), homeless: [] };
    const byInstrument = new Map<number, number[]>();
    const homeless: number[] = [];
    for (const row of rows) {
      const id = this.on(symbol, dayOf(row));
      const list = id === undefined ? homeless : byInstrument.get(id);
      if (list) list.push(row);
      else if (id !== undefined) byInstrument.set(id, [row]);
    }
    return { byInstrument, homeless };
  }
}

/**
 * Who had the symbols when. Symbols that nobody ever had are added, not tracked.
 * @returns also which were added.
 */
export async function findHolders(
  write: Sql,
  symbols: readonly string[],
): Promise<{ holders: SymbolHolders; added: string[] }> {
  const added = await upsertSymbols(write, symbols, { isTracked: false, former: 'leave' });
  return { holders: new SymbolHolders(await selectSymbolRanges(write, symbols)), added };
}
