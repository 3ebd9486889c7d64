import { InputError } from '../errors.ts';
import { toDate } from './session.ts';
import { describeRange, isOverlapping, type SymbolRange } from './symbol-range.ts';

/** The symbols that one company or fund had, as somebody says. */
export interface Lineage {
  /** Where it is from, for messages: a file, a symbol. */
  name: string;
  /** Whose it is, when that is known; else it is found by its symbols. */
  instrumentId?: number;
  /** In the order of time, not overlapping. */
  ranges: SymbolRange[];
}

/** An instrument as it is known before. */
export interface KnownInstrument {
  instrumentId: number;
  ranges: SymbolRange[];
  isTracked: boolean;
  /** First and last day of anything that is held of it; null when nothing is. */
  firstDay: number | null;
  lastDay: number | null;
}

/** Data that is held under a symbol of a company that did not have it then. */
export interface MisplacedSpan {
  instrumentId: number;
  symbol: string;
  startDay: number;
  /** Exclusive. */
  endDay: number;
}

export interface LineagePlan {
  /** What each instrument's ranges become; negative numbers are new instruments. */
  ranges: Map<number, SymbolRange[]>;
  /** Which instrument each lineage turned out to be, in the order they were given. */
  owners: number[];
  /** Instruments that had nothing but the symbol and lose it, and who is tracked instead. */
  dissolved: { instrumentId: number; successor: number }[];
  misplaced: MisplacedSpan[];
}

/**
 * Finds whose lineages these are, and what the ranges of all concerned become. An instrument that
 * is said to have had one of the symbols then is the one; so is one of which it is only assumed,
 * unless it holds, or is tracked for, days after the company gave the symbol up: such a one keeps
 * the symbol for the days after. What an operator said of an instrument's later symbols stays.
 * @throws InputError when two instruments that hold data would be one, or two would have a symbol.
 */
export function planLineages(
  known: readonly KnownInstrument[],
  lineages: readonly Lineage[],
): LineagePlan {
  const planner = new LineagePlanner(known);
  const owners = new Array<number>(lineages.length);
  const byAge = lineages.map((lineage, i) => ({ lineage, i }));
  const end = ({ lineage }: (typeof byAge)[number]) => lineage.ranges.at(-1)?.endDay ?? -Infinity;
  // Who has a symbol today claims what is assumed of it; who had it before comes after.
  byAge.sort((a, b) => (end(a) === end(b) ? a.i - b.i : end(b) - end(a)));
  for (const { lineage, i } of byAge) owners[i] = planner.claim(lineage);
  return { ...planner.finish(), owners };
}

class LineagePlanner {
  readonly #ranges = new Map<number, SymbolRange[]>();
  readonly #names = new Map<number, string>();
  readonly #dissolved: LineagePlan['dissolved'] = [];
  #fresh = 0;

  constructor(readonly known: readonly KnownInstrument[]) {
    for (const { instrumentId, ranges } of known) this.#ranges.set(instrumentId, ranges);
  }

  #meets(instrumentId: number, lineage: Lineage): SymbolRange[] {
    const own = this.#ranges.get(instrumentId) ?? [];
    const isMet = (range: SymbolRange) =>
      lineage.ranges.some((one) => one.symbol === range.symbol && isOverlapping(one, range));
    return own.filter(isMet);
  }

  claim(lineage: Lineage): number {
    const met = this.known.filter((one) => this.#meets(one.instrumentId, lineage).length > 0);
    for (const { instrumentId } of met) this.#refuseTwice(instrumentId, lineage);
    const same = met.filter(
      (one) => one.instrumentId === lineage.instrumentId || this.#isSame(one, lineage),
    );
    const holders = same.filter(({ lastDay }) => lastDay !== null);
    if (holders.length > 1) refuseMerge(lineage, holders, this.#ranges);
    const owner =
      lineage.instrumentId ??
      (holders[0] ?? same.find(({ isTracked }) => isTracked) ?? same[0])?.instrumentId ??
      --this.#fresh;
    const isOther = (one: KnownInstrument) => one.instrumentId !== owner;
    if (holders.some(isOther)) refuseMerge(lineage, holders, this.#ranges);
    for (const one of met.filter(isOther)) {
      if (same.includes(one)) this.#dissolve(one.instrumentId, owner);
      else this.#clip(one.instrumentId, lineage);
    }
    const said = (this.#ranges.get(owner) ?? []).filter(({ source }) => source === 'operator');
    const first = Math.min(...said.map(({ startDay }) => startDay));
    const before = lineage.ranges
      .filter(({ startDay }) => startDay < first)
      .map((range) => ({ ...range, endDay: Math.min(range.endDay, first) }));
    this.#ranges.set(owner, [...before, ...said]);
    this.#names.set(owner, lineage.name);
    return owner;
  }

  /** Whether an instrument that has one of the symbols at the time is the lineage's own. */
  #isSame(one: KnownInstrument, lineage: Lineage): boolean {
    return this.#meets(one.instrumentId, lineage).some((range) => {
      if (range.source !== null) return true;
      // What it holds is of other days: that it had the symbol too says nobody.
      if (one.firstDay !== null && one.firstDay >= range.endDay) return false;
      const last = lineage.ranges.findLast(({ symbol }) => symbol === range.symbol);
      if (last === undefined || last.endDay === Infinity) return last !== undefined;
      return one.lastDay === null ? !one.isTracked : one.lastDay < last.endDay;
    });
  }

  #refuseTwice(instrumentId: number, lineage: Lineage): void {
    const name = this.#names.get(instrumentId);
    if (name === undefined) return;
    const [range] = this.#meets(instrumentId, lineage);
    throw new InputError(
      `${name} and ${lineage.name} both say that they had ${range.symbol} ` +
        `(${describeRange(range)}): one of them is wrong`,
    );
  }

  #dissolve(instrumentId: number, successor: number): void {
    this.#ranges.set(instrumentId, []);
    this.#dissolved.push({ instrumentId, successor });
  }

  /** Leaves another instrument the symbol for the days after the lineage's. */
  #clip(instrumentId: number, lineage: Lineage): void {
    const own = this.#ranges.get(instrumentId) ?? [];
    const clipped = own.flatMap((range) => {
      const taken = lineage.ranges.filter(
        (one) => one.symbol === range.symbol && isOverlapping(one, range),
      );
      if (taken.length === 0) return [range];
      const startDay = Math.max(...taken.map(({ endDay }) => endDay));
      return startDay < range.endDay ? [{ ...range, startDay }] : [];
    });
    this.#ranges.set(instrumentId, clipped);
  }

  finish(): Omit<LineagePlan, 'owners'> {
    const ranges = new Map<number, SymbolRange[]>();
    const before = new Map(this.known.map((one) => [one.instrumentId, one.ranges]));
    for (const [id, own] of this.#ranges) if (own !== before.get(id)) ranges.set(id, own);
    const misplaced = this.known.flatMap((one) =>
      ranges.has(one.instrumentId) ? misplacedSpans(one, ranges.get(one.instrumentId) ?? []) : [],
    );
    return { ranges, dissolved: this.#dissolved, misplaced };
  }
}

/** What of the days of which something is held lies outside of the ranges that are left. */
function misplacedSpans(one: KnownInstrument, after: readonly SymbolRange[]): MisplacedSpan[] {
  const { instrumentId, firstDay, lastDay } = one;
  if (firstDay === null || lastDay === null) return [];
  const spans: MisplacedSpan[] = [];
  for (const { symbol, startDay, endDay } of one.ranges) {
    let from = Math.max(startDay, firstDay);
    const until = Math.min(endDay, lastDay + 1);
    const kept = after.filter((range) => range.startDay < until && range.endDay > from);
    for (const range of kept.toSorted((a, b) => a.startDay - b.startDay)) {
      if (range.startDay > from) {
        spans.push({ instrumentId, symbol, startDay: from, endDay: range.startDay });
      }
      from = Math.max(from, range.endDay);
    }
    if (from < until) spans.push({ instrumentId, symbol, startDay: from, endDay: until });
  }
  return spans;
}

function refuseMerge(
  lineage: Lineage,
  holders: readonly KnownInstrument[],
  ranges: ReadonlyMap<number, SymbolRange[]>,
): never {
  const symbolOf = (one: KnownInstrument) =>
    ranges.get(one.instrumentId)?.at(-1)?.symbol ?? 'unnamed';
  const names = holders.map((one) => `${symbolOf(one)} (instrument ${one.instrumentId})`);
  const kept = holders.reduce((a, b) => ((b.lastDay ?? 0) > (a.lastDay ?? 0) ? b : a));
  const commands = holders.flatMap((one) => {
    if (one === kept || one.firstDay === null) return [];
    const symbol = symbolOf(one);
    return `marketd symbols rename ${symbol} ${symbol}.OLD --on ${toDate(one.firstDay)}`;
  });
  throw new InputError(
    `${lineage.name} says that ${names.join(' and ')} are one company, and data is held of each: ` +
      `they are not joined. Rename all but ${symbolOf(kept)} out of the way ` +
      `(${commands.join('; ')}), do this again, and load what is missing then`,
  );
}
