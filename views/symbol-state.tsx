import { Html } from '@elysiajs/html';
import type { SymbolState } from '../src/model/symbol-state.ts';
import { Badge, type Condition } from './elements.tsx';

/** The states of symbols in words and colors. */
export const SYMBOL_STATE_WORDS: Record<SymbolState, { word: string; condition: Condition }> = {
  failed: { word: 'Failed', condition: 'bad' },
  poor: { word: 'Poor', condition: 'bad' },
  stale: { word: 'Stale', condition: 'attention' },
  incomplete: { word: 'Incomplete', condition: 'attention' },
  review: { word: 'Review', condition: 'attention' },
  no_bars: { word: 'No bars', condition: 'idle' },
  not_tracked: { word: 'Not tracked', condition: 'idle' },
  good: { word: 'Good', condition: 'good' },
};

export function SymbolStateBadge({ state }: { state: SymbolState }): JSX.Element {
  return <Badge {...SYMBOL_STATE_WORDS[state]} />;
}
