import type { PriceAction } from './adjustment.ts';
import type { BarColumns } from './bar.ts';
import { type Explanation, explainLevels } from './level-shift.ts';
import { findOddBars, type OddBars, type OddField } from './odd-bar.ts';
import {
  type FieldVerdict,
  judgePrice,
  NOISE,
  type Pairs,
  RECONCILED_FIELDS,
  type ReconciledField,
  type ReconciledSide,
  type Side,
} from './price-pair.ts';
import { toDate } from './session.ts';

/**
 * What a second source says of stored bars: field by field, and what explains the differences.
 * Both sides are raw prices. What is made here is stored and served as it is. Nothing is decided
 * by majority: a side is named only where there is evidence against it.
 */

/** Of volume: sources count different exchanges. It has no part in the verdict. */
export const VOLUME_TOLERANCES = { agree: 0.05, differ: 0.2 } as const;

/** 'none': no session is on both sides. 'failed': the source gave no answer. */
export type ReconciliationVerdict = FieldVerdict | 'none' | 'failed';

/** Sessions that only one side has: how many, and the first of them. */
export interface OneSided {
  count: number;
  sessions: string[];
}

/** A split or a day's dividends that the sides list differently; null: not listed. */
export interface ActionDifference {
  kind: 'split' | 'dividend';
  ex_date: string;
  /** New shares for one old, or USD a share. */
  ours: number | null;
  theirs: number | null;
}

type Tally = Record<FieldVerdict, number>;

export interface Reconciliation {
  /** The worst that any price of a session on both sides was. */
  verdict: Exclude<ReconciliationVerdict, 'failed'>;
  /** Sessions on both sides. */
  compared: number;
  fields: Record<ReconciledField, Tally>;
  volume: {
    agree: number;
    near: number;
    differ: number /** theirs / ours. */;
    median: number | null;
  };
  only_ours: OneSided;
  only_theirs: OneSided;
  /** Whose numbers are wrong, of all that differs; null when nothing does. */
  side: Side | 'both' | null;
  /** Differences that last, each with its cause. */
  explanations: Explanation[];
  /** Sessions with a field that differs and that nothing explains, by the side that is odd. */
  odd_bars: Record<Side, number>;
  /** The worst of their fields. */
  worst: OddField[];
  actions: ActionDifference[];
}

const NAMED_MAX = 20;
const WORST_MAX = 10;
/** Of two dividends: a hundredth, or half a cent. */
const CASH_TOLERANCE = { relative: 0.01, absolute: 0.005 };
const RATIO_TOLERANCE = 0.005;
/**
 * Compares stored bars with those of another source.
 * @param range days since 1970-01-01, both inclusive: actions of it are compared.
 */
export function reconcileBars(
  ours: ReconciledSide,
  theirs: ReconciledSide,
  range: { firstDay: number; lastDay: number },
): Reconciliation {
  const { pairs, onlyOurs, onlyTheirs } = pairUp(ours.bars, theirs.bars);
  const fields = tallyFields(ours.bars, theirs.bars, pairs);
  const { explanations, base } = explainLevels(ours, theirs, pairs);
  const odd = findOddBars({ ours, theirs, pairs }, base);
  return {
    verdict: worstOf(fields, pairs.days.length),
    compared: pairs.days.length,
    fields,
    volume: tallyVolume(ours.bars, theirs.bars, pairs),
    only_ours: onlyOurs,
    only_theirs: onlyTheirs,
    side: sideOf(explanations, odd),
    explanations,
    odd_bars: countSides(odd),
    worst: odd.slice(0, WORST_MAX).map(({ field }) => field),
    actions: compareActions(ours.actions ?? [], theirs.actions, range),
  };
}

function pairUp(ours: BarColumns, theirs: BarColumns) {
  const pairs: Pairs = { ours: [], theirs: [], days: [] };
  const onlyOurs: number[] = [];
  const onlyTheirs: number[] = [];
  let i = 0;
  let j = 0;
  while (i < ours.length || j < theirs.length) {
    const mine = i < ours.length ? ours.session[i] : Number.POSITIVE_INFINITY;
    const other = j < theirs.length ? theirs.session[j] : Number.POSITIVE_INFINITY;
    if (mine < other) onlyOurs.push(ours.session[i++]);
    else if (other < mine) onlyTheirs.push(theirs.session[j++]);
    else {
      pairs.days.push(mine);
      pairs.ours.push(i++);
      pairs.theirs.push(j++);
    }
  }
  return { pairs, onlyOurs: oneSided(onlyOurs), onlyTheirs: oneSided(onlyTheirs) };
}

const oneSided = (days: readonly number[]): OneSided => ({
  count: days.length,
  sessions: days.slice(0, NAMED_MAX).map(toDate),
});

function tallyFields(ours: BarColumns, theirs: BarColumns, pairs: Pairs): Reconciliation['fields'] {
  const tally = (field: ReconciledField): Tally => {
    const counts: Tally = { agree: 0, near: 0, differ: 0, conflict: 0 };
    for (let k = 0; k < pairs.days.length; k++) {
      counts[judgePrice(ours[field][pairs.ours[k]], theirs[field][pairs.theirs[k]])]++;
    }
    return counts;
  };
  return { open: tally('open'), high: tally('high'), low: tally('low'), close: tally('close') };
}

function worstOf(fields: Reconciliation['fields'], compared: number): Reconciliation['verdict'] {
  if (compared === 0) return 'none';
  const has = (verdict: FieldVerdict) =>
    RECONCILED_FIELDS.some((name) => fields[name][verdict] > 0);
  return (['conflict', 'differ', 'near'] as const).find(has) ?? 'agree';
}

function tallyVolume(ours: BarColumns, theirs: BarColumns, pairs: Pairs): Reconciliation['volume'] {
  const counts = { agree: 0, near: 0, differ: 0 };
  const ratios: number[] = [];
  for (let k = 0; k < pairs.days.length; k++) {
    const mine = ours.volume[pairs.ours[k]];
    const other = theirs.volume[pairs.theirs[k]];
    const distance = Math.abs(other - mine) * (1 - NOISE);
    if (distance <= VOLUME_TOLERANCES.agree * mine) counts.agree++;
    else if (distance <= VOLUME_TOLERANCES.differ * mine) counts.near++;
    else counts.differ++;
    if (mine > 0 && other > 0) ratios.push(other / mine);
  }
  const middle = ratios.sort((a, b) => a - b)[ratios.length >> 1];
  return { ...counts, median: middle === undefined ? null : Math.round(middle * 1e4) / 1e4 };
}

function countSides(odd: OddBars): Record<Side, number> {
  const sides = new Map<string, Set<Side>>();
  for (const { field } of odd) {
    sides.set(field.session, (sides.get(field.session) ?? new Set()).add(field.side));
  }
  const counts = { ours: 0, theirs: 0, unclear: 0 };
  for (const of of sides.values()) {
    // Evidence of one field is evidence of the bar; of both sides it is none.
    const isOurs = of.has('ours');
    if (isOurs === of.has('theirs')) counts.unclear++;
    else counts[isOurs ? 'ours' : 'theirs']++;
  }
  return counts;
}

function sideOf(explanations: readonly Explanation[], odd: OddBars): Reconciliation['side'] {
  const all = [...explanations.map(({ side }) => side), ...odd.map(({ field }) => field.side)];
  if (all.length === 0) return null;
  const [isOurs, isTheirs] = [all.includes('ours'), all.includes('theirs')];
  if (isOurs && isTheirs) return 'both';
  if (isOurs) return 'ours';
  return isTheirs ? 'theirs' : 'unclear';
}

// -------------------------------------------------------------------------- actions

/** Splits and dividends of the range that are not the same on both sides. */
function compareActions(
  ours: readonly PriceAction[],
  theirs: readonly PriceAction[] | null,
  { firstDay, lastDay }: { firstDay: number; lastDay: number },
): ActionDifference[] {
  if (theirs === null) return [];
  const found: ActionDifference[] = [];
  for (const kind of ['split', 'dividend'] as const) {
    const [mine, other] = [valuesByDay(ours, kind), valuesByDay(theirs, kind)];
    const days = [...new Set([...mine.keys(), ...other.keys()])].sort((a, b) => a - b);
    for (const day of days) {
      if (day < firstDay || day > lastDay) continue;
      const [a, b] = [mine.get(day) ?? null, other.get(day) ?? null];
      if (a !== null && b !== null && isSameAction(kind, a, b)) continue;
      found.push({ kind, ex_date: toDate(day), ours: a, theirs: b });
    }
  }
  return found.slice(0, NAMED_MAX);
}

/** Ratios of a day's splits multiplied, or its dividends in USD added up. */
function valuesByDay(actions: readonly PriceAction[], kind: PriceAction['kind']) {
  const values = new Map<number, number>();
  for (const action of actions) {
    if (action.kind !== kind) continue;
    const known = values.get(action.exDay);
    if (action.kind === 'split') {
      values.set(action.exDay, (known ?? 1) * (action.splitTo / action.splitFrom));
    } else if (action.currency === null || action.currency === 'USD') {
      values.set(action.exDay, (known ?? 0) + action.cashAmount);
    }
  }
  return values;
}

function isSameAction(kind: PriceAction['kind'], a: number, b: number): boolean {
  if (kind === 'split') return Math.abs(b / a - 1) <= RATIO_TOLERANCE;
  const { relative, absolute } = CASH_TOLERANCE;
  return Math.abs(a - b) <= Math.max(absolute, relative * Math.max(a, b));
}
