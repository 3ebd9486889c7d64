import type { ResolvedSymbol } from '../query/symbols.ts';
import { checkSymbol } from '../store/symbols.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';

/** The instrument a symbol means. @throws HttpError 404 for a symbol that is not known. */
export async function findSymbol(
  context: Pick<AppContext, 'symbols'>,
  text: string,
  field = 'symbol',
): Promise<ResolvedSymbol> {
  const symbol = await context.symbols.find(checkSymbol(text, field));
  if (symbol) return symbol;
  throw new HttpError(
    404,
    'unknown_symbol',
    `there is no symbol ${JSON.stringify(text)} here; /api/v1/symbols lists what there is`,
    field,
  );
}

/**
 * The instruments that symbols with commas between them mean, with the symbols as they are spelled
 * here. @throws HttpError 404 for the first that is not known.
 */
export async function findSymbols(
  context: Pick<AppContext, 'symbols'>,
  text: string,
): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const name of text.split(',')) {
    const { instrumentId, symbol } = await findSymbol(context, name, 'symbols');
    found.set(instrumentId, symbol);
  }
  return found;
}
