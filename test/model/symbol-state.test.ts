import { describe, expect, test } from 'bun:test';
import { judgeSymbol, type SymbolFacts, type SymbolState } from '../../src/model/symbol-state.ts';

const WELL: SymbolFacts = {
  ...{ isTracked: true, hasFailed: false, records: 500, validationRatePct: 100 },
  ...{ sessionsBehind: 0, holes: 0, sessions: 500 },
};

describe('the state of a symbol', () => {
  const cases: [Partial<SymbolFacts>, SymbolState][] = [
    [{}, 'good'],
    [{ hasFailed: true, records: 0 }, 'failed'],
    [{ hasFailed: true, isTracked: false }, 'not_tracked'],
    [{ records: 0, validationRatePct: null, sessionsBehind: null }, 'no_bars'],
    [{ validationRatePct: 79.9, sessionsBehind: 9 }, 'poor'],
    [{ validationRatePct: 80 }, 'review'],
    [{ validationRatePct: 94.99, isTracked: false }, 'review'],
    [{ validationRatePct: 95 }, 'good'],
    // Bars of minutes alone have no rate of daily ones.
    [{ validationRatePct: null }, 'good'],
    [{ sessionsBehind: 1 }, 'good'],
    [{ sessionsBehind: 2, validationRatePct: 90 }, 'stale'],
    [{ sessionsBehind: 900, isTracked: false }, 'not_tracked'],
    [{ holes: 10 }, 'good'],
    [{ holes: 11, validationRatePct: 90 }, 'incomplete'],
    [{ holes: 400, isTracked: false }, 'not_tracked'],
  ];
  for (const [facts, state] of cases) {
    test(`with ${JSON.stringify(facts)} is ${state}`, () => {
      expect(judgeSymbol({ ...WELL, ...facts })).toBe(state);
    });
  }
});
