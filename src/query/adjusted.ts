import {
  type AdjustmentSteps,
  type RawCloses,
  roundPrice,
  roundVolume,
  stepOf,
} from '../model/adjustment.ts';
import { FAILURE_FLAGS } from '../model/quality.ts';
import { lowerBound } from '../model/sorted.ts';
import type { BarBlock } from './block.ts';

const COMMA = 0x2c;
const COLON = 0x3a;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const LETTER_N = 0x6e;

/** Of a row: open, high, low, close, volume, vwap. What stands behind them is not adjusted. */
const ADJUSTED_VALUES = 6;
const VOLUME = 4;
/** A double takes at most 24 characters. */
const VALUE_BYTES_MAX = 26;
const FRACTION_DIGITS_MAX = 22;

const decoder = new TextDecoder();
const OPEN_KEY = ',"open":';
const CLOSE_KEY = ',"close":';

const find = (bytes: Uint8Array, text: string) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(text);

/**
 * The number that stands in [start, end). A mantissa below 2^53 over a power of ten up to 10^22
 * is exact in both, so one division rounds it as a parser would.
 */
function parseNumber(bytes: Uint8Array, start: number, end: number): number {
  let mantissa = 0;
  let fraction = -1;
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte >= ZERO && byte <= NINE) {
      mantissa = mantissa * 10 + byte - ZERO;
      if (fraction >= 0) fraction++;
    } else if (byte === POINT && fraction < 0) fraction = 0;
    else return Number(decoder.decode(bytes.subarray(start, end)));
  }
  if (mantissa > Number.MAX_SAFE_INTEGER || fraction > FRACTION_DIGITS_MAX) {
    return Number(decoder.decode(bytes.subarray(start, end)));
  }
  return fraction <= 0 ? mantissa : mantissa / 10 ** fraction;
}

/** Copies rows of a block and replaces their numbers. */
class RowAdjuster {
  readonly offsets: Uint32Array;
  out: Uint8Array<ArrayBuffer>;
  length = 0;
  readonly #source: Uint8Array;
  /** Where `,"open":` begins in a row: time and symbol are as long in each. */
  readonly #prefix: number;

  constructor(readonly block: BarBlock) {
    this.#source = block.encoded;
    this.offsets = new Uint32Array(block.length + 1);
    const room = block.length * ADJUSTED_VALUES * VALUE_BYTES_MAX;
    this.out = new Uint8Array(block.encoded.length + room + 1);
    this.#prefix = find(block.encoded, OPEN_KEY);
  }

  /** Rows [first, end) as they are. */
  copy(first: number, end: number): void {
    const { block, offsets } = this;
    const start = block.offsets[first];
    const shift = this.length - start;
    for (let row = first; row < end; row++) offsets[row] = block.offsets[row] + shift;
    const bytes = this.#source.subarray(start, block.offsets[end]);
    this.out.set(bytes, this.length);
    this.length += bytes.length;
    // The last row of a block has no comma behind it.
    if (end === block.length) this.out[this.length++] = COMMA;
  }

  adjust(row: number, price: number, volume: number): void {
    const { block, out } = this;
    const source = this.#source;
    const start = block.offsets[row];
    this.offsets[row] = this.length;
    let length = this.length;
    let at = start + this.#prefix;
    for (let i = start; i < at; i++) out[length++] = source[i];
    for (let value = 0; value < ADJUSTED_VALUES; value++) {
      do out[length++] = source[at];
      while (source[at++] !== COLON);
      let end = at;
      while (source[end] !== COMMA) end++;
      const factor = value === VOLUME ? volume : price;
      if (factor === 1 || source[at] === LETTER_N) {
        for (; at < end; at++) out[length++] = source[at];
        continue;
      }
      const raw = parseNumber(source, at, end);
      const text = String(value === VOLUME ? roundVolume(raw * factor) : roundPrice(raw * factor));
      for (let i = 0; i < text.length; i++) out[length++] = text.charCodeAt(i);
      at = end;
    }
    const end = block.offsets[row + 1] - 1;
    for (; at < end; at++) out[length++] = source[at];
    out[length++] = COMMA;
    this.length = length;
  }
}

/** A block with adjusted prices and volumes; the same one when no step applies to it. */
export function adjustBlock(raw: BarBlock, steps: AdjustmentSteps): BarBlock {
  const last = steps.exDay.at(-1);
  const end = last === undefined ? 0 : lowerBound(raw.session, last);
  if (end === 0) return raw;
  const adjuster = new RowAdjuster(raw);
  let step = stepOf(steps, raw.session[0]);
  for (let row = 0; row < end; row++) {
    while (steps.exDay[step] <= raw.session[row]) step++;
    adjuster.adjust(row, steps.price[step], steps.volume[step]);
  }
  if (end < raw.length) adjuster.copy(end, raw.length);
  adjuster.offsets[raw.length] = adjuster.length;
  const encoded = adjuster.out.slice(0, adjuster.length - 1);
  const factors = [steps.exDay, steps.price, steps.volume].join(';');
  return {
    ...raw,
    encoded,
    offsets: adjuster.offsets,
    tag: `${raw.tag}.${Bun.hash.xxHash3(factors).toString(36)}`,
    bytes: encoded.length + raw.length * 4 + 512,
  };
}

/** The raw closes of a block. */
export const rawCloses = (raw: BarBlock): RawCloses => ({
  days: raw.session,
  closeAt: (row) => ((raw.flags[row] & FAILURE_FLAGS) !== 0 ? undefined : closeOf(raw, row)),
});

function closeOf({ encoded, offsets }: BarBlock, row: number): number {
  const bytes = encoded.subarray(offsets[row], offsets[row + 1] - 1);
  const from = find(bytes, CLOSE_KEY) + CLOSE_KEY.length;
  return parseNumber(bytes, from, bytes.indexOf(COMMA, from));
}
