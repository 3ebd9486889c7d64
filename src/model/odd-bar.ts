import type { BarColumns } from './bar.ts';
import {
  judgePrice,
  median,
  type Pairs,
  RECONCILED_FIELDS,
  type ReconciledField,
  type ReconciledSide,
  type Side,
} from './price-pair.ts';
import { FAILURE_FLAGS, FLAG, flagNames } from './quality.ts';
import { toDate } from './session.ts';

/** Single bars of which two sources say something else, and which of the two is odd. */

/** A field of a bar that differs, beyond what explains the differences of its time. */
export interface OddField {
  session: string;
  field: ReconciledField;
  ours: number;
  theirs: number;
  /** theirs / ours - 1 beyond what explains the time; null when ours is not positive. */
  difference: number | null;
  verdict: 'differ' | 'conflict';
  side: Side;
  /** The evidence, in words. */
  why: string;
}

/** Fields that differ beyond the explanations, worst first. */
export type OddBars = { field: OddField; beyond: number }[];

interface Compared {
  ours: ReconciledSide;
  theirs: ReconciledSide;
  pairs: Pairs;
}

/** How odd a price of a bar is: its distance from what stands beside it, as a fraction. */
type Oddness = (bars: BarColumns, row: number, previous: number) => number;

const ODDNESS: Record<ReconciledField, Oddness> = {
  open: (bars, row, previous) => Math.abs(Math.log(bars.open[row] / previous)),
  high: (bars, row) => Math.log(bars.high[row] / Math.max(bars.open[row], bars.close[row])),
  low: (bars, row) => Math.log(Math.min(bars.open[row], bars.close[row]) / bars.low[row]),
  close: (bars, row, previous) => Math.abs(Math.log(bars.close[row] / previous)),
};
const BESIDE: Record<ReconciledField, string> = {
  open: 'from the close before',
  high: 'above open and close',
  low: 'below open and close',
  close: 'from the close before',
};
/** Times what is usual: a side is odd from here on, when the other is so many times less odd. */
const ODD_TIMES = 8;
const LESS_ODD_TIMES = 3;

/** Fields that differ when what lasts is taken out (`base`: what explains theirs / ours). */
export function findOddBars(world: Compared, base: readonly number[]): OddBars {
  const { ours, theirs, pairs } = world;
  const found: (OddBars[number] & { k: number })[] = [];
  for (let k = 0; k < pairs.days.length; k++) {
    for (const field of RECONCILED_FIELDS) {
      const mine = ours.bars[field][pairs.ours[k]];
      const other = theirs.bars[field][pairs.theirs[k]];
      const verdict = judgePrice(mine, base[k] === 0 ? other : other / Math.exp(base[k]));
      if (verdict !== 'differ' && verdict !== 'conflict') continue;
      const beyond = mine > 0 && other > 0 ? Math.abs(Math.log(other / mine) - base[k]) : Infinity;
      const ratio = other / Math.exp(base[k]) / mine;
      const difference = mine > 0 ? Math.round((ratio - 1) * 1e6) / 1e6 : null;
      const odd = { session: toDate(pairs.days[k]), field, ours: mine, theirs: other, difference };
      found.push({ k, beyond, field: { ...odd, verdict, side: 'unclear', why: '' } });
    }
  }
  const usual = found.length === 0 ? undefined : usualOddness(ours.bars, pairs);
  for (const { field, k } of found) Object.assign(field, judgeOdd(world, field.field, k, usual));
  return found.sort((a, b) => b.beyond - a.beyond).map(({ field, beyond }) => ({ field, beyond }));
}

/** The median of each price's oddness over all bars. */
function usualOddness(bars: BarColumns, pairs: Pairs): Record<ReconciledField, number> {
  const usual = {} as Record<ReconciledField, number>;
  for (const field of RECONCILED_FIELDS) {
    const all = pairs.ours
      .slice(1)
      .map((row, k) => ODDNESS[field](bars, row, bars.close[pairs.ours[k]]))
      .filter(Number.isFinite);
    usual[field] = all.length === 0 ? 0 : Math.max(1e-3, median(all));
  }
  return usual;
}

/** Which side's price is odd. Evidence, in this order: its bar is impossible, flagged, a spike. */
function judgeOdd(
  { ours, theirs, pairs }: Compared,
  field: ReconciledField,
  k: number,
  usual: Record<ReconciledField, number> | undefined,
): { side: Side; why: string } {
  const [mine, other] = [pairs.ours[k], pairs.theirs[k]];
  const flags = ours.flags?.[mine] ?? 0;
  const isOursBroken = (flags & FAILURE_FLAGS) !== 0 || isImpossible(ours.bars, mine);
  const isTheirsBroken = isImpossible(theirs.bars, other);
  if (isOursBroken !== isTheirsBroken) {
    const { name } = isOursBroken ? ours : theirs;
    return { side: isOursBroken ? 'ours' : 'theirs', why: `the bar of ${name} is impossible` };
  }
  const odd = oddTimes(ours, pairs.ours, k, field, usual);
  const otherOdd = oddTimes(theirs, pairs.theirs, k, field, usual);
  const say = (name: string, times: number) =>
    `${name} is ${Math.round(times)} times as far ${BESIDE[field]} as is usual`;
  if (odd >= ODD_TIMES && odd >= LESS_ODD_TIMES * otherOdd) {
    const found = flagNames(flags & (FLAG.extremeMove | FLAG.gapUnexplained));
    const also = found.length > 0 ? `, and flagged ${found.join(', ')}` : '';
    return { side: 'ours', why: `${say(ours.name, odd)}${also}` };
  }
  if (otherOdd >= ODD_TIMES && otherOdd >= LESS_ODD_TIMES * odd) {
    return { side: 'theirs', why: say(theirs.name, otherOdd) };
  }
  return { side: 'unclear', why: 'both prices are possible' };
}

function isImpossible(bars: BarColumns, row: number): boolean {
  const [open, high, low, close] = RECONCILED_FIELDS.map((name) => bars[name][row]);
  // What is a rounding apart is none.
  const slack = 1 + 1e-6;
  return !(
    low > 0 &&
    high * slack >= Math.max(open, close) &&
    low <= Math.min(open, close) * slack
  );
}

/** A price's oddness in multiples of the usual; NaN when nothing stands beside it. */
function oddTimes(
  { bars }: ReconciledSide,
  positions: readonly number[],
  k: number,
  field: ReconciledField,
  usual: Record<ReconciledField, number> | undefined,
): number {
  if (!usual || usual[field] === 0) return Number.NaN;
  const row = positions[k];
  const previous = k > 0 ? bars.close[positions[k - 1]] : Number.NaN;
  const back = ODDNESS[field](bars, row, previous) / usual[field];
  if (field !== 'close' || k + 1 >= positions.length) return back;
  // A close is odd when the next one goes back: news stays.
  const next = bars.close[positions[k + 1]];
  return Math.min(back, ODDNESS.close(bars, row, next) / usual.close);
}
