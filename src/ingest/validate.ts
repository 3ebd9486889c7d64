import type { BarColumns } from '../model/bar.ts';
import {
  FAILURE_FLAGS,
  FLAG,
  MEDIAN_SESSIONS,
  MEDIAN_SESSIONS_MIN,
  type QualityThresholds,
  toScore,
} from '../model/quality.ts';
import type { Calendar } from '../model/session.ts';

/** What can explain a gap: the splits and dividends of one instrument, by ex-date. */
export interface GapCauses {
  /** New shares for one old by ex-date (days since 1970-01-01); several of a day multiplied. */
  splitRatio: ReadonlyMap<number, number>;
  /** Cash for one share, in the bar's own (raw) units, by ex-date. Several of a day are added. */
  dividendCash: ReadonlyMap<number, number>;
}

export const NO_CAUSES: GapCauses = { splitRatio: new Map(), dividendCash: new Map() };

export interface Scores {
  /** 0 to 1, in hundredths. */
  score: Float64Array;
  /** Bits of model/quality.ts. */
  flags: Int32Array;
}

/**
 * The volumes of the 63 sessions (or minutes) before a bar, kept in order of size. Fixed arrays, no
 * allocation: it is entered once for every bar there is.
 */
export class VolumeWindow {
  /** Ascending volumes, in today's share units. */
  readonly sorted = new Float64Array(MEDIAN_SESSIONS + 1);
  readonly #ringVolume = new Float64Array(MEDIAN_SESSIONS + 1);
  readonly #ringIndex = new Int32Array(MEDIAN_SESSIONS + 1);
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#head = 0;
    this.#size = 0;
  }

  /** Lets go of sessions before the index `first`. */
  expire(first: number): void {
    while (this.#size > 0 && this.#ringIndex[this.#head] < first) {
      this.#removeSorted(this.#ringVolume[this.#head]);
      this.#head = this.#head === MEDIAN_SESSIONS ? 0 : this.#head + 1;
    }
  }

  push(index: number, volume: number): void {
    if (this.#size > MEDIAN_SESSIONS) throw new RangeError('more bars than sessions');
    let slot = this.#head + this.#size;
    if (slot > MEDIAN_SESSIONS) slot -= MEDIAN_SESSIONS + 1;
    this.#ringVolume[slot] = volume;
    this.#ringIndex[slot] = index;
    const sorted = this.sorted;
    let i = this.#size - 1;
    while (i >= 0 && sorted[i] > volume) {
      sorted[i + 1] = sorted[i];
      i--;
    }
    sorted[i + 1] = volume;
    this.#size++;
  }

  /** A split changes what a share is: earlier volumes count in new shares. */
  scale(ratio: number): void {
    for (let i = 0; i < this.#size; i++) this.sorted[i] *= ratio;
    for (let i = 0; i <= MEDIAN_SESSIONS; i++) this.#ringVolume[i] *= ratio;
  }

  median(): number {
    const middle = this.#size >> 1;
    if ((this.#size & 1) === 1) return this.sorted[middle];
    return (this.sorted[middle - 1] + this.sorted[middle]) / 2;
  }

  #removeSorted(volume: number): void {
    const sorted = this.sorted;
    let low = 0;
    let high = this.#size - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < volume) low = middle + 1;
      else high = middle;
    }
    this.#size--;
    for (let i = low; i < this.#size; i++) sorted[i] = sorted[i + 1];
  }
}

const SCORES = new Map<number, number>();

export function cachedScore(flags: number): number {
  if (flags === 0) return 1;
  let score = SCORES.get(flags);
  if (score === undefined) {
    score = toScore(flags);
    SCORES.set(flags, score);
  }
  return score;
}

/** What is wrong with a bar by itself. Each condition has its own flag, so that it can be named. */
export function failureFlags(
  open: number,
  high: number,
  low: number,
  close: number,
  volume: number,
) {
  let flags = 0;
  if (high < open || high < close) flags |= FLAG.highTooLow;
  if (low > open || low > close) flags |= FLAG.lowTooHigh;
  if (high < low) flags |= FLAG.highBelowLow;
  if (open <= 0 || high <= 0 || low <= 0 || close <= 0) flags |= FLAG.priceNotPositive;
  if (volume < 0) flags |= FLAG.volumeNegative;
  return flags;
}

/**
 * True when a price is more than `fraction` away from another. Cents are no binary fractions: 11.00
 * lies exactly 10 % above 10.00, yet 11 / 10 - 1 comes out above 0.1.
 */
export function isBeyond(price: number, from: number, fraction: number): boolean {
  return Math.abs(price / from - 1) - fraction > 1e-9;
}

interface LastGood {
  /** Position of the last good bar among the sessions; -1 when there is none. */
  index: number;
  day: number;
  close: number;
}

function gapFlags(
  open: number,
  last: LastGood,
  day: number,
  volumeMultiple: number,
  causes: GapCauses,
  limits: QualityThresholds,
): number {
  if (!isBeyond(open, last.close, limits.gapFraction)) return 0;
  // The session of the event itself may have no bar: all since the last good one count.
  let ratio = 1;
  let cash = 0;
  for (const [exDay, value] of causes.splitRatio) {
    if (exDay > last.day && exDay <= day) ratio *= value;
  }
  for (const [exDay, value] of causes.dividendCash) {
    if (exDay > last.day && exDay <= day) cash += value;
  }
  const expected = (last.close - cash) / ratio;
  if (expected > 0 && expected !== last.close) {
    if (!isBeyond(open, expected, limits.gapFraction)) {
      return FLAG.gap | (ratio === 1 ? 0 : FLAG.gapSplit) | (cash === 0 ? 0 : FLAG.gapDividend);
    }
  }
  if (volumeMultiple >= limits.newsMultiple) return FLAG.gap | FLAG.gapVolume;
  return FLAG.gap | FLAG.gapUnexplained;
}

/**
 * Scores the bars of one instrument. `bars` are ascending by session without duplicates; a bar is
 * judged by itself and by the bars of the 63 sessions before it only, so a batch border changes
 * nothing as long as those are there. Hard failures and bars of closed days are no one's past.
 * A gap is measured from the last good bar of those 63 sessions; a volume is judged when at least
 * 20 of them have a bar.
 * @param out filled for every row; rows before `from` are context and are scored all the same.
 */
export function validateBars(
  bars: BarColumns,
  calendar: Calendar,
  causes: GapCauses,
  limits: QualityThresholds,
  out: Scores = { score: new Float64Array(bars.length), flags: new Int32Array(bars.length) },
): Scores {
  const { session, open, high, low, close, volume } = bars;
  const window = new VolumeWindow();
  const isSplit = causes.splitRatio.size > 0;
  const last: LastGood = { index: -1, day: 0, close: 0 };
  let previousDay = 0;
  for (let i = 0; i < bars.length; i++) {
    const day = session[i];
    const index = calendar.sessionIndex(day);
    let flags = failureFlags(open[i], high[i], low[i], close[i], volume[i]);
    const position = index >= 0 ? index : calendar.sessionsBefore(day);
    window.expire(position - MEDIAN_SESSIONS);
    if (isSplit) scaleWindow(window, causes.splitRatio, previousDay, day);
    if (index < 0) flags |= FLAG.offSession;
    if ((flags & FAILURE_FLAGS) === 0) {
      let multiple = 0;
      if (window.size >= MEDIAN_SESSIONS_MIN) {
        const median = window.median();
        if (median > 0) {
          multiple = volume[i] / median;
          if (multiple > limits.spikeMultiple) flags |= FLAG.volumeSpike;
          else if (multiple < limits.droughtFraction) flags |= FLAG.volumeDrought;
        }
      }
      if (isBeyond(close[i], open[i], limits.extremeMove)) flags |= FLAG.extremeMove;
      if (last.index >= 0 && position - last.index <= MEDIAN_SESSIONS) {
        flags |= gapFlags(open[i], last, day, multiple, causes, limits);
      }
      if (index >= 0) {
        window.push(index, volume[i]);
        last.index = index;
        last.day = day;
        last.close = close[i];
      }
    }
    previousDay = day;
    out.flags[i] = flags;
    out.score[i] = cachedScore(flags);
  }
  return out;
}

/** Applies the splits of (previous day, day], also those of sessions that have no bar. */
function scaleWindow(
  window: VolumeWindow,
  splits: ReadonlyMap<number, number>,
  previousDay: number,
  day: number,
): void {
  for (const [exDay, ratio] of splits) {
    if (exDay > previousDay && exDay <= day) window.scale(ratio);
  }
}
