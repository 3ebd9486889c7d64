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
