import { describe, expect, test } from 'bun:test';
import type { TradeColumns } from '../../src/model/trade.ts';
import {
  inventPrice,
  makeTradeWalk,
  PRICE_MIN,
  TRADES_MAX,
  type TradeWalkOptions,
} from '../../src/providers/synthetic-trades.ts';

const START = Date.parse('2026-11-20T15:00:00Z') * 1000;
const ROUND = 3_000_000;

const options = (change: Partial<TradeWalkOptions> = {}): TradeWalkOptions => ({
  ...{ seed: 7, symbol: 'AAPL', price: 185.42, reference: 185.42, startedAt: 1, ...change },
});

/** The trades of some rounds, one after the other. */
function walk(rounds: number, change: Partial<TradeWalkOptions> = {}): TradeColumns[] {
  const { next } = makeTradeWalk(options(change));
  return Array.from({ length: rounds }, (_, i) => next(START + i * ROUND, START + (i + 1) * ROUND));
}

const flat = (rounds: readonly TradeColumns[], column: 'ts' | 'price' | 'size') =>
  rounds.flatMap((trades) => [...trades[column]]);

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

describe('made-up trades', () => {
  test('are the same for the same seed, and others for another', () => {
    const once = walk(200);
    expect(walk(200)).toEqual(once);
    for (const change of [{ seed: 8 }, { symbol: 'MSFT' }, { startedAt: 2 }]) {
      expect(flat(walk(200, change), 'price')).not.toEqual(flat(once, 'price'));
    }
  });

  test('are one or more a round, each at an instant of its own within it', () => {
    const rounds = walk(20_000);
    rounds.forEach((trades, i) => {
      expect(trades.length).toBeGreaterThanOrEqual(1);
      expect(trades.length).toBeLessThanOrEqual(TRADES_MAX);
      expect(trades.ts.every(Number.isInteger)).toBe(true);
      expect(trades.ts[0]!).toBeGreaterThan(START + i * ROUND);
      expect(trades.ts.at(-1)!).toBeLessThanOrEqual(START + (i + 1) * ROUND);
    });
    const instants = flat(rounds, 'ts');
    expect(instants.every((ts, i) => i === 0 || ts > instants[i - 1]!)).toBe(true);
    const counts = new Set(rounds.map(({ length }) => length));
    expect([...counts].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(instants.length / rounds.length).toBeWithin(1.6, 2.2);
  });

  test('have instants of their own in the shortest round that is allowed', () => {
    const { next } = makeTradeWalk(options());
    for (let i = 0; i < 2_000; i++) {
      const { ts } = next(START, START + TRADES_MAX);
      expect(new Set(ts).size).toBe(ts.length);
      expect(ts.every((at) => at > START && at <= START + TRADES_MAX)).toBe(true);
    }
  });

  for (const price of [PRICE_MIN, 0.3, 0.9999, 1, 1.01, 25, 185.42, 6_000, 720_000]) {
    test(`of ${price} USD are never more than 2 % apart, in ticks that are quoted`, () => {
      let last = price;
      let greatest = 0;
      for (const next of flat(walk(50_000, { price, reference: price }), 'price')) {
        greatest = Math.max(greatest, Math.abs(next / last - 1));
        const ticks = next * (next >= 1 ? 100 : 10_000);
        if (Math.abs(ticks - Math.round(ticks)) > 1e-6) throw new Error(`${next} is no tick`);
        if (!(next >= PRICE_MIN)) throw new Error(`${next} is too low`);
        last = next;
      }
      expect(greatest).toBeLessThanOrEqual(0.02);
      expect(greatest).toBeGreaterThan(0.015); // and jumps there are
    });
  }

  test('stay sensible however long they go on: two million of them', () => {
    const { next } = makeTradeWalk(options({ price: 100, reference: 100 }));
    let [least, most, moved, steps] = [100, 100, 0, 0];
    let last = 100;
    for (let round = 0; round < 1_050_000; round++) {
      const { price } = next(START + round * ROUND, START + (round + 1) * ROUND);
      for (const one of price) {
        least = Math.min(least, one);
        most = Math.max(most, one);
        if (one !== last) moved++;
        if (Math.abs(one / last - 1) > 0.02) throw new Error(`from ${last} to ${one}`);
        last = one;
        steps++;
      }
    }
    expect(least).toBeWithin(65, 90);
    expect(most).toBeWithin(110, 150);
    expect(moved / steps).toBeGreaterThan(0.85);
  });

  for (const [price, reference] of [
    [400, 100],
    [10, 100],
    [0.001, 100],
    [100, 0.001],
  ] as const) {
    test(`come back from ${price} to about ${reference}`, () => {
      const prices = flat(walk(100_000, { price, reference }), 'price');
      const target = Math.max(PRICE_MIN, reference);
      expect(median(prices.slice(-20_000)) / target).toBeWithin(0.75, 1.3);
    });
  }

  test('have sizes as an exchange has them: odd lots, round lots and blocks', () => {
    const sizes = flat(walk(50_000), 'size');
    expect(sizes.every((size) => Number.isInteger(size) && size >= 1)).toBe(true);
    const share = (is: (size: number) => boolean) => sizes.filter(is).length / sizes.length;
    expect(share((size) => size < 100)).toBeWithin(0.45, 0.55);
    expect(share((size) => size >= 10_000)).toBeWithin(0.002, 0.004);
    expect(share((size) => size >= 100 && size % 100 !== 0)).toBe(0);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1_000_000);
    // Log-normal: the logarithms lie evenly about their middle.
    const odd = sizes.filter((size) => size < 99).map(Math.log);
    expect(Math.exp(median(odd))).toBeWithin(12, 18);
    const lots = sizes.filter((size) => size >= 100 && size < 9_900);
    expect(median(lots)).toBeWithin(100, 300);
    expect(lots.reduce((a, b) => a + b) / lots.length).toBeGreaterThan(1.2 * median(lots));
  });

  test('may change all of a bar, and claim no exchange and no condition', () => {
    const [{ updates, exchange, conditions }] = walk(1) as [TradeColumns];
    expect(new Set(updates)).toEqual(new Set([7]));
    expect(new Set([...exchange, ...conditions])).toEqual(new Set([null]));
  });
});

test('a price is invented once for a seed and symbol, and never absurd', () => {
  const symbols = Array.from({ length: 2_000 }, (_, i) => `S${i}`);
  const prices = symbols.map((symbol) => inventPrice(7, symbol));
  expect(symbols.map((symbol) => inventPrice(7, symbol))).toEqual(prices);
  expect(inventPrice(8, 'S1')).not.toBe(prices[1]!);
  expect(Math.min(...prices)).toBeWithin(5, 20);
  expect(Math.max(...prices)).toBeWithin(200, 1_000);
  expect(prices.every((price) => Math.round(price * 100) / 100 === price)).toBe(true);
  expect(new Set(prices).size).toBeGreaterThan(1_500);
});
