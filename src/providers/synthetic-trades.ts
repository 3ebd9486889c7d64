import { makeTrades, type TradeColumns } from '../model/trade.ts';
import { hash } from './synthetic.ts';

/**
 * Made-up trades of one symbol, for trying marketd without a feed: a random walk about a price,
 * with sizes as an exchange has them. The same options give the same trades for ever.
 */
export interface TradeWalkOptions {
  seed: number;
  symbol: string;
  /** The last price that is known, USD: the first trade is a step away from it. */
  price: number;
  /** The price about which the walk wanders, USD. */
  reference: number;
  /** Another number makes another walk: who starts again does not repeat the same moves. */
  startedAt: number;
}

export interface TradeWalk {
  /**
   * The trades of one round, from one to TRADES_MAX: ascending, each at an instant of its own after
   * `fromMicros` and at or before `toMicros` (epoch microseconds, at least TRADES_MAX apart).
   */
  next(fromMicros: number, toMicros: number): TradeColumns;
}

/** How far a trade may be from the one before it: 2 %, less what rounding could add to it. */
const STEP_MAX = 0.0199;
/** Trades of a symbol in one round. */
export const TRADES_MAX = 8;
/** USD. Below it a step would be no more than a few of the ticks that there are. */
export const PRICE_MIN = 0.05;

/** Standard deviation of an ordinary step. */
const DEVIATION = 0.0006;
/** How often a step is a jump instead, of any width up to the greatest. */
const JUMP_CHANCE = 0.002;
/** How far the walk strays from its reference in the long run, as a standard deviation. */
const SPREAD = 0.05;
/** Part of its distance from the reference that each step takes back to keep that spread. */
const REVERSION = (DEVIATION ** 2 + (JUMP_CHANCE * STEP_MAX ** 2) / 3) / (2 * SPREAD ** 2);

/** Trades of a round beside the first, on average. */
const MORE_TRADES = 0.9;
const LOT = 100;
const ODD_LOT_CHANCE = 0.5;
/** A block trade is one of at least 10,000 shares. */
const BLOCK = 10_000;
const BLOCK_CHANCE = 0.003;
const SIZE_MAX = 1_000_000;

export function makeTradeWalk(options: TradeWalkOptions): TradeWalk {
  const { seed, symbol, startedAt } = options;
  const random = makeUniform(hash(seed, `${symbol} trades ${startedAt}`));
  const reference = Math.max(PRICE_MIN, options.reference);
  let price = Math.max(PRICE_MIN, options.price);
  // Not rounded: moves below half a tick would be lost, and a low price would stand still.
  let value = price;
  return {
    next(fromMicros, toMicros) {
      // As many as geometric chance has it: most rounds have one or two.
      const more = Math.floor(Math.log(1 - random()) / Math.log(MORE_TRADES / (1 + MORE_TRADES)));
      const trades = makeTrades(Math.min(TRADES_MAX, 1 + more));
      const slot = Math.floor((toMicros - fromMicros) / trades.length);
      for (let i = 0; i < trades.length; i++) {
        const low = Math.max(PRICE_MIN, price * (1 - STEP_MAX));
        const high = price * (1 + STEP_MAX);
        value = Math.min(high, Math.max(low, value * drawMove(value, reference, random)));
        price = toTick(value, low, high);
        trades.ts[i] = fromMicros + slot * i + 1 + Math.floor(slot * random());
        trades.price[i] = price;
        trades.size[i] = drawSize(random);
      }
      return trades;
    },
  };
}

/** A price for a symbol of which nothing is known, USD: the same for the same seed. */
export function inventPrice(seed: number, symbol: string): number {
  const random = makeUniform(hash(seed, `${symbol} price`));
  return Math.max(5, Math.round(6_000 * Math.exp(0.6 * normal(random))) / 100);
}

/** By how much the next price differs, as a factor. */
function drawMove(value: number, reference: number, random: () => number): number {
  const isJump = random() < JUMP_CHANCE;
  const move = isJump ? (2 * random() - 1) * STEP_MAX : DEVIATION * normal(random);
  return Math.exp(move + REVERSION * Math.log(reference / value));
}

/** The nearest price that is quoted: whole cents, below a dollar hundredths of them. */
function toTick(target: number, low: number, high: number): number {
  const ticks = target >= 1 ? 100 : 10_000; // in a dollar
  const first = Math.ceil(low * ticks);
  const last = Math.floor(high * ticks);
  return Math.min(last, Math.max(first, Math.round(target * ticks))) / ticks;
}

/** Half are odd lots, a few are blocks, the others round lots; each log-normal. */
function drawSize(random: () => number): number {
  const kind = random();
  const spread = Math.exp(normal(random));
  if (kind < BLOCK_CHANCE) return Math.min(SIZE_MAX, BLOCK + LOT * Math.round(100 * spread));
  if (kind < BLOCK_CHANCE + ODD_LOT_CHANCE) {
    return Math.min(LOT - 1, Math.max(1, Math.round(15 * spread)));
  }
  return Math.min(BLOCK - LOT, LOT * Math.max(1, Math.round(1.5 * spread)));
}

/** Mean 0, deviation 1 (Box and Muller). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Numbers in [0, 1); repeats itself after 4,294,967,296 of them (mulberry32). */
function makeUniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
