import type { Lineage } from '../model/lineage.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import type { SymbolRange } from '../model/symbol-range.ts';
import type { SymbolChanges } from '../providers/provider.ts';
import { type LineageReport, updateLineageAsked, upsertLineages } from '../store/symbol-ranges.ts';
import type { Instrument } from '../store/symbols.ts';
import type { BackfillContext } from './backfill.ts';

/** What came of asking for an instrument's earlier symbols. */
export interface LineageAnswer {
  symbol: string;
  /** Null when the provider does not know the symbol. */
  lineage: Lineage | null;
  report: LineageReport | null;
}

/**
 * Asks the provider which symbols an instrument had, and stores it.
 * @throws ProviderError when the provider fails, InputError when what it says contradicts what is
 *   known, or data of another company is held and `split` does not say to move it.
 */
export async function refreshLineage(
  context: Pick<BackfillContext, 'database' | 'provider' | 'now'>,
  instrument: Instrument,
  options: { actor: string; split: boolean; signal?: AbortSignal },
): Promise<LineageAnswer> {
  const { database, provider, now } = context;
  const { symbol, instrumentId } = instrument;
  const found = await provider.fetchSymbolChanges(instrument.providerSymbol, options.signal);
  const lineage = found ? toLineage(instrument, found, provider.name, now()) : null;
  const { actor, split } = options;
  const change = { actor, split, action: 'symbol.lineage', nowMs: now() };
  const report = lineage && (await upsertLineages(database.write, [lineage], change));
  await updateLineageAsked(database.write, instrumentId, found?.figi ?? null, now());
  return { symbol, lineage, report };
}

/** A provider's changes as ranges; what is announced for days to come is not yet so. */
function toLineage(
  { symbol, providerSymbol, instrumentId }: Instrument,
  { changes, knownSince }: SymbolChanges,
  source: string,
  nowMs: number,
): Lineage | null {
  const today = toDate(newYorkDay(nowMs));
  const past = changes.filter(({ since }) => since <= today);
  const ranges = past.map(({ symbol: name, since }, i): SymbolRange => {
    const next = past[i + 1]?.since;
    return {
      // Ours is the spelling of the symbol that the provider was asked for.
      symbol: name === providerSymbol ? symbol : name,
      startDay: since <= knownSince ? Number.NEGATIVE_INFINITY : toDay(since),
      endDay: next === undefined ? Number.POSITIVE_INFINITY : toDay(next),
      source,
    };
  });
  const known = ranges.filter(({ startDay, endDay }) => startDay < endDay);
  return known.length === 0 ? null : { name: symbol, instrumentId, ranges: joinSame(known) };
}

/** One range where the same symbol is said twice in a row. */
function joinSame(ranges: readonly SymbolRange[]): SymbolRange[] {
  const joined: SymbolRange[] = [];
  for (const range of ranges) {
    const last = joined.at(-1);
    if (last?.symbol === range.symbol) last.endDay = range.endDay;
    else joined.push({ ...range });
  }
  return joined;
}
