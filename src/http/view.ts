import { InputError } from '../errors.ts';
import { ADJUSTMENTS, DIVIDEND_METHODS } from '../model/adjustment.ts';
import type { ViewRequest } from '../query/view.ts';
import { parseChoice, parseDate, parseFlag, parseKnownAt } from './parameters.ts';

/** How requests say what stored data is to be seen as. */

export interface AdjustmentParameters {
  adjustment?: string;
  adjust_asof?: string;
  dividend_method?: string;
}

/** What prices are adjusted for. @throws InputError */
export function parseAdjustment(query: AdjustmentParameters): ViewRequest {
  const { adjustment: text = 'raw', adjust_asof: asof } = query;
  const adjustment = parseChoice(text, 'adjustment', ADJUSTMENTS);
  if (asof !== undefined && adjustment === 'raw') {
    throw new InputError(
      'adjust_asof says which splits and dividends are known: it is for adjustment=split or all',
      'adjust_asof',
    );
  }
  const { dividend_method: method = 'previous_close' } = query;
  if (query.dividend_method !== undefined && adjustment !== 'all') {
    throw new InputError(
      'dividend_method says how dividends are applied: it is for adjustment=all',
      'dividend_method',
    );
  }
  return {
    adjustment,
    dividendMethod: parseChoice(method, 'dividend_method', DIVIDEND_METHODS),
    asofDay: asof === undefined ? undefined : parseDate(asof, 'adjust_asof'),
  };
}

export interface ViewParameters extends AdjustmentParameters {
  known_at?: string;
  include_partial?: string;
}

/** How bars are to be seen: adjusted, as of when, known when. @throws InputError */
export function parseView(query: ViewParameters, nowMs: number): ViewRequest {
  const { known_at: known } = query;
  return {
    ...parseAdjustment(query),
    knownAtMs: known === undefined ? undefined : parseKnownAt(known, nowMs),
    includePartial: parseFlag(query.include_partial ?? 'false', 'include_partial'),
  };
}
