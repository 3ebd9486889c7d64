import { describe, expect, test } from 'bun:test';
import { ofOneProvider, toRatio, toWholeRatio } from '../../src/model/corporate-action.ts';

const pair = ({ splitFrom, splitTo }: { splitFrom: number; splitTo: number }) => [
  splitFrom,
  splitTo,
];

describe('a ratio that arrives as one number', () => {
  test.each([
    [7.00000700001, 1, 7],
    [1.49999925000037, 2, 3],
    [1.5, 2, 3],
    [4, 1, 4],
    [1, 1, 1],
    [0.1, 10, 1],
    [0.333333, 3, 1],
    [0.142857, 7, 1],
    [0.005, 200, 1],
    [1.05, 20, 21],
    [1.03, 100, 103],
    [1.666667, 3, 5],
    [10_000, 1, 10_000],
    [3, 1, 3],
  ])('%d is %d for %d', (value, splitFrom, splitTo) => {
    expect(pair(toRatio(value))).toEqual([splitFrom, splitTo]);
  });

  // A stock dividend of 0.85 %, a spin-off, and quotients that are no quotients of small numbers.
  test.each([1.0085, 0.997307, 1.0277, 7.0001, 166_666.99417, 1.000_002_5])(
    '%d stays as it is',
    (value) => {
      expect(pair(toRatio(value))).toEqual([1, value]);
    },
  );

  test.each([
    [1, 7.00000700001, 1, 7],
    [0.142857, 1, 1, 7],
    [1, 1.5, 2, 3],
    [3, 0.5, 6, 1],
    [1000, 1028, 1000, 1028],
    [4, 2, 4, 2],
    [1, 1.0085, 1, 1.0085],
    [1.5, 1.7, 15, 17],
  ])('%d to %d is %d to %d', (from, to, splitFrom, splitTo) => {
    expect(pair(toWholeRatio(from, to))).toEqual([splitFrom, splitTo]);
  });
});

describe('of several providers', () => {
  const action = (kind: 'split' | 'dividend', provider: string, providerRank: number | null) => ({
    ...{ kind, provider, providerRank },
  });

  test('the one whose bars came first is heard, for each kind', () => {
    const all = [
      action('split', 'alpha', null),
      action('split', 'gamma', 2),
      action('dividend', 'gamma', 2),
      action('split', 'omega', 1),
      action('split', 'omega', 1),
    ];
    expect(ofOneProvider(all)).toEqual([all[2], all[3], all[4]]);
  });

  test('the first by name is heard when nobody’s bars are held', () => {
    const all = [action('split', 'beta', null), action('split', 'alpha', null)];
    expect(ofOneProvider(all)).toEqual([all[1]]);
    expect(ofOneProvider([])).toEqual([]);
  });
});
