import { newYorkDay, toDate } from '../model/session.ts';
import { isHeld } from '../model/symbol-range.ts';
import type { Holding, ResolvedSymbol } from '../query/symbols.ts';
import { checkSymbol } from '../store/symbols.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';

type SymbolContext = Pick<AppContext, 'symbols' | 'now'>;

export interface SymbolQuestion {
  /**
   * The day (since 1970-01-01) whose holder is meant: that of `asof`, else the last one of the
   * range that is asked for. Today in New York when missing.
   */
  day?: number;
  /** The parameter that holds the symbol, for errors. */
  field?: string;
}

/**
 * The instrument a symbol means on a day.
 * @throws HttpError 404 for a symbol that nobody has that day, which says who had it and when.
 */
export async function findSymbol(
  context: SymbolContext,
  text: string,
  { day, field = 'symbol' }: SymbolQuestion = {},
): Promise<ResolvedSymbol> {
  const asked = day ?? newYorkDay(context.now());
  const symbol = await context.symbols.find(checkSymbol(text, field), asked);
  if (symbol) return symbol;
  const hint = await explainMissing(context, text, asked, day !== undefined);
  throw new HttpError(404, 'unknown_symbol', hint, field);
}

const describeUnknown = (text: string, but = '') =>
  `there is no symbol ${JSON.stringify(text)} here${but}; /api/v1/symbols lists what there is`;

/** Why a symbol means nobody on a day, and what to ask for instead. */
async function explainMissing(
  { symbols }: SymbolContext,
  text: string,
  day: number,
  hasAsof: boolean,
): Promise<string> {
  const all = await symbols.meanings(text);
  const exact = all.filter(({ symbol }) => symbol === text);
  const meanings = exact.length > 0 ? exact : all;
  if (meanings.length === 0) {
    return describeUnknown(text);
  }
  const same = meanings.filter((one) => isHeld(one, day)).map(({ symbol }) => symbol);
  if (same.length > 0) return describeUnknown(text, ` (${same.join(' and ')} are two)`);
  const hints: string[] = [];
  const before = meanings.findLast(({ endDay }) => endDay <= day);
  const after = meanings.find(({ startDay }) => startDay > day);
  for (const one of [before, after]) {
    if (!one) continue;
    const others = await symbols.symbolsOf(one.instrumentId);
    hints.push(describeMeaning(one, others, day, hasAsof));
  }
  return hints.join('; ');
}

/** "FB was the symbol of META until 2022-06-08: ask for META, or with asof=2022-06-08". */
function describeMeaning(
  meaning: Holding,
  others: readonly Holding[],
  day: number,
  hasAsof: boolean,
): string {
  const { symbol, name, startDay, endDay } = meaning;
  const isPast = endDay <= day;
  const asof = toDate(isPast ? endDay - 1 : startDay);
  const then = others.find((one) => isHeld(one, day))?.symbol;
  const now = then ?? others.at(-1)?.symbol;
  const who = now !== undefined && now !== symbol ? now : (name ?? 'an instrument');
  const ways = [
    ...(then === undefined ? [] : [`for ${then}`]),
    ...(hasAsof ? [`with asof=${asof}`] : []),
  ];
  const advice = ways.length > 0 ? `: ask ${ways.join(', or ')}` : ", and is nobody's now";
  if (isPast) return `${symbol} was the symbol of ${who} until ${asof}${advice}`;
  if (then === undefined) return `${symbol} is the symbol of ${who} only since ${asof}${advice}`;
  return `${symbol} is called so since ${asof}, and was ${then} on ${toDate(day)}${advice}`;
}

/**
 * The instruments that symbols with commas between them mean today, with the symbols as they are
 * spelled here. @throws HttpError 404 for the first that is not known.
 */
export async function findSymbols(
  context: SymbolContext,
  text: string,
): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const name of text.split(',')) {
    const { instrumentId, symbol } = await findSymbol(context, name, { field: 'symbols' });
    found.set(instrumentId, symbol);
  }
  return found;
}
