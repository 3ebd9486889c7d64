import { describe, expect, test } from 'bun:test';
import { type Grade, gradeSymbol, gradeTotal, type QualityFacts } from '../../src/model/grade.ts';

const COVERED = { complete: 1000, missing: 0, vendor_empty: 0, unfetched: 0 };

const facts = (change: Partial<QualityFacts> = {}): QualityFacts => ({
  records: 1000,
  validationRatePct: 99.8,
  latestSession: '2024-01-31',
  isTracked: true,
  sessionsBehind: 0,
  coverage: COVERED,
  findings: [],
  comparison: null,
  ...change,
});

const open = (kind: string, count = 1) => ({ kind, state: 'open' as const, count });

describe('a symbol', () => {
  const cases: [what: string, change: Partial<QualityFacts>, grade: Grade, verdict: string][] = [
    [
      'with nothing amiss',
      {},
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'with findings to look at',
      { findings: [open('gap_unexplained', 2), { kind: 'x', state: 'accepted', count: 9 }] },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, 2 findings to look at',
    ],
    ['without bars', { records: 0, validationRatePct: 0 }, 'empty', 'no bars are held yet'],
    [
      'of which much is not validated',
      { validationRatePct: 94.99 },
      'fair',
      'only 94.99 % of its bars are validated, no finding is open',
    ],
    [
      'of which most is not validated',
      { validationRatePct: 79.99 },
      'poor',
      'only 79.99 % of its bars are validated, no finding is open',
    ],
    [
      'a session behind, as between a session and the night',
      { sessionsBehind: 1, coverage: { ...COVERED, unfetched: 1 } },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'that is behind',
      { sessionsBehind: 2, coverage: { ...COVERED, unfetched: 2 } },
      'fair',
      '2 sessions behind, no finding is open',
    ],
    ['far behind', { sessionsBehind: 21 }, 'poor', '21 sessions behind, no finding is open'],
    [
      'that is not tracked and behind',
      { sessionsBehind: 500, isTracked: false, coverage: { ...COVERED, unfetched: 500 } },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'with a hole',
      { coverage: { ...COVERED, unfetched: 1 } },
      'fair',
      '1 session of its history is missing, no finding is open',
    ],
    [
      'with holes in more than a twentieth of its history',
      { coverage: { ...COVERED, missing: 30, unfetched: 30 } },
      'poor',
      '60 sessions of its history are missing, no finding is open',
    ],
    [
      'of which the provider lacks much',
      { coverage: { ...COVERED, vendor_empty: 11 } },
      'fair',
      '11 sessions the provider has not, no finding is open',
    ],
    [
      'of which the provider lacks a little',
      { coverage: { ...COVERED, vendor_empty: 10 } },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'with splits that nobody has decided about',
      { findings: [open('possible_split'), open('unconfirmed_split', 3)] },
      'fair',
      'the price jumped as if by a split that nobody reported, ' +
        'a split was reported and the price did not jump (3 times), 4 findings to look at',
    ],
    [
      'with a decided split',
      { findings: [{ kind: 'possible_split', state: 'rejected', count: 1 }] },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'that another source contradicts',
      { comparison: { source: 'yahoo', result: 'conflict', side: 'unclear' } },
      'poor',
      'its prices conflict with those of yahoo, no finding is open',
    ],
    [
      'that another source has otherwise',
      { comparison: { source: 'yahoo', result: 'differ', side: 'ours' } },
      'fair',
      'its prices differ from those of yahoo, no finding is open',
    ],
    [
      'that another source has wrong',
      { comparison: { source: 'yahoo', result: 'conflict', side: 'theirs' } },
      'good',
      'held to 2024-01-31, 99.8 % of 1,000 bars validated, no finding is open',
    ],
    [
      'with several faults: the most serious first',
      { validationRatePct: 90, sessionsBehind: 30 },
      'poor',
      '30 sessions behind, only 90 % of its bars are validated, no finding is open',
    ],
  ];
  test.each(cases)('%s', (_, change, grade, verdict) => {
    expect(gradeSymbol(facts(change))).toEqual({ grade, verdict });
  });
});

describe('all symbols', () => {
  const good = Array<Grade>(20).fill('good');
  const held = { records: 1_234_567, validationRatePct: 99.987 };
  test.each<[Grade[], typeof held, Grade, string]>([
    [good, held, 'good', '20 symbols: 20 good; 99.99 % of 1,234,567 bars validated'],
    [['good'], { ...held, records: 1 }, 'good', '1 symbol: 1 good; 99.99 % of 1 bar validated'],
    [
      [...good, 'fair', 'empty'],
      held,
      'good',
      '22 symbols: 1 fair, 1 empty, 20 good; 99.99 % of 1,234,567 bars validated',
    ],
    [
      [...good, 'fair', 'empty', 'fair'],
      held,
      'fair',
      '23 symbols: 2 fair, 1 empty, 20 good; 99.99 % of 1,234,567 bars validated',
    ],
    [
      [...good, 'poor'],
      held,
      'fair',
      '21 symbols: 1 poor, 20 good; 99.99 % of 1,234,567 bars validated',
    ],
    [
      [...good, 'poor', 'poor', 'poor'],
      held,
      'poor',
      '23 symbols: 3 poor, 20 good; 99.99 % of 1,234,567 bars validated',
    ],
    [
      good,
      { ...held, validationRatePct: 90 },
      'fair',
      '20 symbols: 20 good; 90 % of 1,234,567 bars validated',
    ],
    [
      good,
      { ...held, validationRatePct: 79 },
      'poor',
      '20 symbols: 20 good; 79 % of 1,234,567 bars validated',
    ],
    [[], { records: 0, validationRatePct: 0 }, 'empty', 'no bars are held yet'],
  ])('%# %p', (grades, totals, grade, verdict) => {
    expect(gradeTotal(grades, totals)).toEqual({ grade, verdict });
  });
});
