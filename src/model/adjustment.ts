import { type Calendar, toDate } from './session.ts';
import { countUpTo, lowerBound } from './sorted.ts';

/**
 * Adjustment of raw bars for splits and dividends, when they are read.
 *
 * A bar of session D is multiplied by the factors of all events with D < ex-date <= as-of:
 *   split    price x from / to, volume x to / from
 *   dividend price x (1 - cash / close), close being the raw close of the last session before the
 *            ex-date. Several dividends of one ex-date are added up first. Cash is of a share held
 *            before the ex-date: a split of the same day comes after it.
 * This is the method of Lean's factor files and of Yahoo, and needs no price of the ex-date.
 *
 * Alpha Vantage has the holder reinvest at the close of the ex-date instead (`DividendMethod`
 * 'ex_close'): price x close / (close + cash). The two differ by about cash / close times the
 * return of the ex-date.
 */
export const DIVIDEND_METHODS = ['previous_close', 'ex_close'] as const;
export type DividendMethod = (typeof DIVIDEND_METHODS)[number];

export const ADJUSTMENTS = ['raw', 'split', 'all'] as const;
export type Adjustment = (typeof ADJUSTMENTS)[number];

/** A split or a dividend as far as prices are concerned. Days since 1970-01-01. */
export type PriceAction =
  | { kind: 'split'; exDay: number; splitFrom: number; splitTo: number }
  | { kind: 'dividend'; exDay: number; cashAmount: number; currency: string | null };

/** An event that could not be applied, and why. */
export interface SkippedAction {
  ex_date: string;
  kind: 'split' | 'dividend';
  reason: string;
}

/**
 * Factors by session, as steps: bars of sessions before `exDay[i]` (and from `exDay[i - 1]` on) are
 * multiplied by `price[i]` and `volume[i]`; bars from the last `exDay` on stay as they are.
 */
export interface AdjustmentSteps {
  /** Ascending, unique. */
  exDay: Int32Array;
  /** Cumulative: of this ex-date and all later ones. */
  price: Float64Array;
  volume: Float64Array;
  skipped: SkippedAction[];
}

export const NO_STEPS: AdjustmentSteps = {
  exDay: new Int32Array(0),
  price: new Float64Array(0),
  volume: new Float64Array(0),
  skipped: [],
};

/** Actions that count, by ex-date, ascending. */
function actionsByDay(
  actions: readonly PriceAction[],
  adjustment: Adjustment,
  asofDay: number,
): [number, PriceAction[]][] {
  const wanted = actions.filter(
    ({ kind, exDay }) => exDay <= asofDay && (adjustment === 'all' || kind === 'split'),
  );
  return [...Map.groupBy(wanted, ({ exDay }) => exDay)].sort(([a], [b]) => a - b);
}

/**
 * The factors of an instrument.
 * @param asofDay events with a later ex-date are not known: no look-ahead.
 * @param closeBefore the raw close of the last good bar before a day; undefined when there is none.
 * @param closeOn the raw close of a day: given, dividends are reinvested at it ('ex_close').
 */
export function adjustmentSteps(
  actions: readonly PriceAction[],
  adjustment: Adjustment,
  asofDay: number,
  closeBefore: (day: number) => number | undefined,
  closeOn?: (day: number) => number | undefined,
): AdjustmentSteps {
  if (adjustment === 'raw') return NO_STEPS;
  const skipped: SkippedAction[] = [];
  const days: number[] = [];
  const own: OwnFactor[] = [];
  for (const [exDay, ofDay] of actionsByDay(actions, adjustment, asofDay)) {
    const skip = (reason: string) =>
      skipped.push({ ex_date: toDate(exDay), kind: 'dividend', reason });
    const { from, to, cash } = addUp(ofDay, skip);
    const before = cash === 0 ? undefined : closeBefore(exDay);
    let dividend = 1;
    // Without a close before it there is nothing to adjust.
    if (before !== undefined) {
      const factor = dividendFactor(cash, before, closeOn && { close: closeOn(exDay), from, to });
      if (typeof factor === 'string') skip(factor);
      else dividend = factor;
    }
    if (from === to && dividend === 1) continue;
    days.push(exDay);
    own.push({ from, to, dividend });
  }
  return { ...accumulate(days, own), skipped };
}

interface OwnFactor {
  from: number;
  to: number;
  dividend: number;
}

/** All splits of a day as one, and the cash of all its dividends. */
function addUp(ofDay: readonly PriceAction[], skip: (reason: string) => void) {
  let from = 1;
  let to = 1;
  let cash = 0;
  for (const action of ofDay) {
    if (action.kind === 'split') {
      from *= action.splitFrom;
      to *= action.splitTo;
    } else if (action.currency !== null && action.currency !== 'USD') {
      skip(`paid in ${action.currency}, not in the currency of the prices`);
    } else cash += action.cashAmount;
  }
  return { from, to, cash };
}

/** What a dividend takes of the prices before it; or why it cannot be applied. */
function dividendFactor(
  cash: number,
  before: number,
  on: { close: number | undefined; from: number; to: number } | undefined,
): number | string {
  if (on !== undefined) {
    if (on.close === undefined) return 'there is no close of the ex-date to reinvest it at';
    const held = (on.close * on.to) / on.from;
    return held / (held + cash);
  }
  if (cash < before) return 1 - cash / before;
  return `${cash} is not less than the close before it, ${before}`;
}

/** Multiplies from the latest event back; ratios stay whole numbers as long as they can. */
function accumulate(
  days: readonly number[],
  own: readonly OwnFactor[],
): Omit<AdjustmentSteps, 'skipped'> {
  const price = new Float64Array(days.length);
  const volume = new Float64Array(days.length);
  let from = 1;
  let to = 1;
  let dividends = 1;
  for (let i = days.length - 1; i >= 0; i--) {
    from *= own[i].from;
    to *= own[i].to;
    dividends *= own[i].dividend;
    price[i] = (from / to) * dividends;
    volume[i] = to / from;
  }
  return { exDay: Int32Array.from(days), price, volume };
}

/** Position of the step that applies to a session; `steps.exDay.length` when none does. */
export const stepOf = (steps: AdjustmentSteps, day: number): number => countUpTo(steps.exDay, day);

/** Raw daily bars as far as dividends look at them. */
export interface RawCloses {
  /** Ascending. */
  days: ArrayLike<number>;
  /** The close of the bar at a position; undefined of one that is impossible. */
  closeAt: (row: number) => number | undefined;
}

/** The close of the last good bar of a session before a day. */
export function findCloseBefore(
  { days, closeAt }: RawCloses,
  day: number,
  calendar: Pick<Calendar, 'isSession'>,
): number | undefined {
  for (let row = lowerBound(days, day) - 1; row >= 0; row--) {
    const close = closeAt(row);
    if (close !== undefined && calendar.isSession(days[row])) return close;
  }
  return undefined;
}

/** The close of a day, where it has a good bar. */
export function findCloseOn({ days, closeAt }: RawCloses, day: number): number | undefined {
  const row = lowerBound(days, day);
  return days[row] === day ? closeAt(row) : undefined;
}

/** A price in ten significant digits: what a product of factors has beyond them is noise. */
export function roundPrice(price: number): number {
  if (price === 0 || !Number.isFinite(price)) return price;
  const scale = 10 ** (9 - Math.floor(Math.log10(Math.abs(price))));
  return Math.round(price * scale) / scale;
}

/** A volume to a millionth of a share. */
export function roundVolume(volume: number): number {
  return Math.abs(volume) < 1e9 ? Math.round(volume * 1e6) / 1e6 : Math.round(volume);
}
