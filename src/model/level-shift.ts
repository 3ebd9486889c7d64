import type { PriceAction } from './adjustment.ts';
import type { BarColumns } from './bar.ts';
import {
  median,
  type Pairs,
  RECONCILED_FIELDS,
  type ReconciledSide,
  type Side,
} from './price-pair.ts';
import { toDate } from './session.ts';

/**
 * What lasts of the differences of two sources: an adjustment for dividends, a level that a split
 * explains or nothing does. Natural logarithms of theirs / ours, session by session, throughout.
 */

export interface ExplainingSplit {
  ex_date: string;
  split_from: number;
  split_to: number;
  listed_by: 'both' | 'ours' | 'theirs';
}

/** A difference that lasts for some sessions. */
export interface Explanation {
  /** possible_split: by a factor as splits have it, but none is listed. */
  cause: 'split' | 'possible_split' | 'dividends' | 'unknown';
  /** First and last session of it. */
  start: string;
  end: string;
  /** Of all sessions that were compared. */
  extent: 'throughout' | 'from' | 'until' | 'between';
  sessions: number;
  /** theirs / ours; of dividends at its start. */
  factor: number;
  splits: ExplainingSplit[];
  side: Side;
  /** All of it in words, the evidence included. */
  sentence: string;
}

/** Steps below this are no new level: it is where prices begin to differ. */
const LEVEL_TOLERANCE = Math.log(1.005);
/** Of the level of many sessions against a ratio. */
const RATIO_TOLERANCE = Math.log(1.01);
const LEVEL_SESSIONS_MIN = 3;
/** Single bars are off by a split's factor from here on; below, prices may move so far. */
const SINGLE_MIN = Math.log(1.2);
/** Sessions whose median is the level around a dividend. */
const AROUND = 10;
/** A split may be applied so many days off its ex-date. */
const MISDATED_DAYS_MAX = 10;

/**
 * What lasts, and for each pair of sessions the logarithm of theirs / ours that it explains.
 */
export function explainLevels(
  ours: ReconciledSide,
  theirs: ReconciledSide,
  pairs: Pairs,
): { explanations: Explanation[]; base: number[] } {
  if (pairs.days.length === 0) return { explanations: [], base: [] };
  const ratios = pairs.days.map((_, k) => barRatio(ours.bars, theirs.bars, pairs, k));
  const dividends = explainDividends(ours, theirs, pairs, ratios);
  const rest = ratios.map((ratio, k) => ratio - dividends.path[k]);
  const splits = knownSplits(ours.actions ?? [], theirs.actions ?? []);
  const world: World = { ours, theirs, pairs, splits };
  const base = [...dividends.path];
  const explanations = dividends.explanation ? [dividends.explanation] : [];
  for (const level of findLevels(rest)) {
    if (Math.abs(level.value) <= LEVEL_TOLERANCE) continue;
    const explanation = explainLevel(world, level);
    if (!explanation) continue;
    explanations.push(explanation);
    for (let k = level.from; k < level.to; k++) base[k] += level.value;
  }
  explanations.push(...explainSingles(world, ratios, base));
  return { explanations, base };
}

/** Single bars that are off by the factor of a split. */
function explainSingles(world: World, ratios: readonly number[], base: number[]): Explanation[] {
  return ratios.flatMap((ratio, k) => {
    const value = ratio - base[k];
    if (Math.abs(value) < SINGLE_MIN) return [];
    const explanation = explainLevel(world, { from: k, to: k + 1, value });
    if (explanation) base[k] += value;
    return explanation ?? [];
  });
}

/** The median over the four prices, so that one bad price of a bar does not count. */
function barRatio(ours: BarColumns, theirs: BarColumns, pairs: Pairs, k: number): number {
  const ratios = RECONCILED_FIELDS.map((name) =>
    Math.log(theirs[name][pairs.theirs[k]] / ours[name][pairs.ours[k]]),
  ).filter(Number.isFinite);
  return ratios.length === 0 ? 0 : median(ratios);
}

// ------------------------------------------------------------------------ dividends

/** Cash a share by ex-day; where both list a day, ours counts. */
function knownDividends(ours: readonly PriceAction[], theirs: readonly PriceAction[]) {
  const byDay = new Map<number, number>();
  for (const actions of [ours, theirs]) {
    const own = new Map<number, number>();
    for (const action of actions) {
      if (action.kind !== 'dividend' || byDay.has(action.exDay)) continue;
      if (action.currency !== null && action.currency !== 'USD') continue;
      own.set(action.exDay, (own.get(action.exDay) ?? 0) + action.cashAmount);
    }
    for (const [day, cash] of own) byDay.set(day, cash);
  }
  return [...byDay].sort(([a], [b]) => a - b);
}

interface DividendStep {
  /** The first pair from the ex-date on. */
  at: number;
  /** What the prices before it are lowered by. */
  lowered: number;
  /** The ratio after it less the ratio before it. */
  seen: number;
}

/**
 * Whether one side is adjusted for dividends: then the ratio has a step of the right size at every
 * ex-date. Told by all of them together, because one is often smaller than what sources differ by.
 */
function explainDividends(
  ours: ReconciledSide,
  theirs: ReconciledSide,
  pairs: Pairs,
  ratios: readonly number[],
): { path: number[]; explanation?: Explanation } {
  const path = new Array<number>(ratios.length).fill(0);
  const steps = dividendSteps(ours, theirs, pairs, ratios);
  const square = steps.reduce((sum, { lowered }) => sum + lowered * lowered, 0);
  if (square === 0) return { path };
  const slope = steps.reduce((sum, { lowered, seen }) => sum + lowered * seen, 0) / square;
  const direction = Math.sign(slope);
  const left = steps.reduce((sum, s) => sum + Math.abs(s.seen - direction * s.lowered), 0);
  const all = steps.reduce((sum, { seen }) => sum + Math.abs(seen), 0);
  if (Math.abs(Math.abs(slope) - 1) > 0.3 || left > all / 2) return { path };
  for (const { at, lowered } of steps) {
    for (let k = 0; k < at; k++) path[k] -= direction * lowered;
  }
  const level = laterDividends(ours, theirs, pairs, ratios, direction);
  for (let k = 0; k < path.length; k++) path[k] += level;
  const last = level === 0 ? Math.max(...steps.map(({ at }) => at)) - 1 : path.length - 1;
  const side = direction > 0 ? 'theirs' : 'ours';
  const { name } = side === 'ours' ? ours : theirs;
  const factor = toFactor(path[0]);
  const [start, end] = [toDate(pairs.days[0]), toDate(pairs.days[last])];
  const sentence =
    `until ${end} ${name} is adjusted for dividends: its prices before each of ` +
    `${steps.length} ex-dates are lower by the dividend, at ${start} by the factor ` +
    `${direction > 0 ? factor : toFactor(-path[0])}`;
  const extent = level === 0 ? 'until' : 'throughout';
  return {
    path,
    explanation: {
      ...{ cause: 'dividends', start, end, extent, sessions: last + 1, factor, splits: [] },
      ...{ side, sentence },
    },
  };
}

/**
 * What dividends after the last session lower all prices by; 0 when the ratio does not show it. The
 * closes before them are not at hand, hence its size is taken from the ratio.
 */
function laterDividends(
  ours: ReconciledSide,
  theirs: ReconciledSide,
  pairs: Pairs,
  ratios: readonly number[],
  direction: number,
): number {
  const lastDay = pairs.days[pairs.days.length - 1];
  const close = ours.bars.close[pairs.ours[pairs.ours.length - 1]];
  const later = knownDividends(ours.actions ?? [], theirs.actions ?? [])
    .filter(([day]) => day > lastDay)
    .reduce((sum, [, cash]) => sum + cash / close, 0);
  const seen = median(ratios.slice(-AROUND));
  const share = (-direction * seen) / later;
  return share > 1 / 3 && share < 3 ? seen : 0;
}

function dividendSteps(
  ours: ReconciledSide,
  theirs: ReconciledSide,
  pairs: Pairs,
  ratios: readonly number[],
): DividendStep[] {
  const steps: DividendStep[] = [];
  for (const [day, cash] of knownDividends(ours.actions ?? [], theirs.actions ?? [])) {
    const at = pairs.days.findIndex((other) => other >= day);
    if (at < LEVEL_SESSIONS_MIN || ratios.length - at < LEVEL_SESSIONS_MIN) continue;
    const close = ours.bars.close[pairs.ours[at - 1]];
    if (!(close > cash)) continue;
    const lowered = -Math.log(1 - cash / close);
    const before = median(ratios.slice(Math.max(0, at - AROUND), at));
    const seen = median(ratios.slice(at, at + AROUND)) - before;
    // A split, or another source: it says nothing of dividends.
    if (Math.abs(seen) > 3 * lowered + LEVEL_TOLERANCE) continue;
    steps.push({ at, lowered, seen });
  }
  return steps;
}

// --------------------------------------------------------------------------- levels

interface Level {
  /** Pairs from (inclusive) and to (exclusive). */
  from: number;
  to: number;
  value: number;
}

/** The ratios as levels. Single bars off their level belong to it all the same. */
function findLevels(ratios: readonly number[]): Level[] {
  const isNear = (a: number, b: number) => Math.abs(a - b) <= LEVEL_TOLERANCE;
  const levels: Level[] = [];
  let members: number[] = [];
  let from = 0;
  const close = (to: number) => {
    const value = median(members);
    const last = levels.at(-1);
    if (last && isNear(last.value, value)) last.to = to;
    else levels.push({ from, to, value });
  };
  for (let k = 0; k < ratios.length; k++) {
    const isOdd = k + 1 < ratios.length && !isNear(ratios[k], ratios[k + 1]);
    if (members.length === 0) {
      // One odd bar at the very beginning makes no level of its own.
      members = [isOdd ? ratios[k + 1] : ratios[k]];
    } else if (isNear(ratios[k], median(members.slice(-AROUND)))) members.push(ratios[k]);
    else if (!isOdd && k + 1 < ratios.length) {
      close(k);
      members = [ratios[k]];
      from = k;
    }
  }
  close(ratios.length);
  return levels;
}

interface World {
  ours: ReconciledSide;
  theirs: ReconciledSide;
  pairs: Pairs;
  splits: KnownSplit[];
}

interface KnownSplit extends ExplainingSplit {
  exDay: number;
  /** Logarithm of new shares for one old. */
  ratio: number;
}

function knownSplits(ours: readonly PriceAction[], theirs: readonly PriceAction[]): KnownSplit[] {
  const found: KnownSplit[] = [];
  const add = (action: PriceAction, side: 'ours' | 'theirs') => {
    if (action.kind !== 'split') return;
    const { exDay, splitFrom, splitTo } = action;
    const ratio = Math.log(splitTo / splitFrom);
    const same = found.find(
      (one) => one.exDay === exDay && Math.abs(one.ratio - ratio) <= RATIO_TOLERANCE,
    );
    if (same && same.listed_by !== side) same.listed_by = 'both';
    if (same) return;
    const split = { split_from: splitFrom, split_to: splitTo, listed_by: side };
    found.push({ ...split, ex_date: toDate(exDay), exDay, ratio });
  };
  for (const action of ours) add(action, 'ours');
  for (const action of theirs) add(action, 'theirs');
  return found.filter(({ ratio }) => ratio !== 0).sort((a, b) => a.exDay - b.exDay);
}

/** Why a level is not 1; undefined when it is too short to be more than odd bars. */
function explainLevel(world: World, level: Level): Explanation | undefined {
  const { days } = world.pairs;
  const isFirst = level.from === 0;
  const isLast = level.to === days.length;
  const extent = isFirst ? (isLast ? 'throughout' : 'until') : isLast ? 'from' : 'between';
  const [start, end] = [toDate(days[level.from]), toDate(days[level.to - 1])];
  const factor = toFactor(level.value);
  const base = { start, end, extent, sessions: level.to - level.from, factor } as const;
  const lead = `${describeExtent(base)} ${world.theirs.name} is ${factor} times ${world.ours.name}`;
  const splits = matchSplits(world, level);
  if (splits.length > 0) {
    const { side, why } = judgeSplits(world, splits, level.value);
    const named = splits.map(({ exDay: _, ratio: __, ...split }) => split);
    const sentence = `${lead}: ${describeSplits(world, splits)}; ${why}`;
    return { cause: 'split', ...base, splits: named, side, sentence };
  }
  if (base.sessions < LEVEL_SESSIONS_MIN) return undefined;
  const simple = simpleRatio(level.value);
  const cause = simple ? 'possible_split' : 'unknown';
  const what = simple
    ? `as after a split of ${simple}, but none is listed that explains it`
    : 'no split explains it';
  const sentence = `${lead}: ${what}${describeBorder(world, level)}`;
  return { cause, ...base, splits: [], side: 'unclear', sentence };
}

/** How each side's closes change where a level ends or, if it does not, begins. */
function describeBorder({ ours, theirs, pairs }: World, { from, to }: Level): string {
  const at = to < pairs.days.length ? to : from;
  if (at === 0) return '';
  const change = ({ bars }: ReconciledSide, positions: readonly number[]) =>
    toFactor(Math.log(bars.close[positions[at]] / bars.close[positions[at - 1]]));
  const [mine, other] = [change(ours, pairs.ours), change(theirs, pairs.theirs)];
  const when = toDate(pairs.days[at]);
  return `; at ${when} ${ours.name} changes by the factor ${mine}, ${theirs.name} by ${other}`;
}

function describeExtent({ extent, start, end }: Pick<Explanation, 'extent' | 'start' | 'end'>) {
  if (start === end) return `on ${start}`;
  if (extent === 'throughout') return `throughout (${start} to ${end})`;
  if (extent === 'from') return `from ${start} on`;
  return extent === 'until' ? `until ${end}` : `from ${start} to ${end}`;
}

/**
 * The splits whose ratios, multiplied, make the level: of those after it a run of successive ones,
 * since an adjustment covers all until some date; else one that was applied some days off its date,
 * or twice.
 */
function matchSplits({ splits, pairs }: World, level: Level): KnownSplit[] {
  const last = pairs.days[level.to - 1];
  const isMatch = (some: readonly KnownSplit[]) => {
    const product = some.reduce((sum, { ratio }) => sum + ratio, 0);
    return (
      some.length > 0 && Math.abs(Math.abs(level.value) - Math.abs(product)) <= RATIO_TOLERANCE
    );
  };
  const later = splits.filter(({ exDay }) => exDay > last);
  for (let count = 1; count <= later.length; count++) {
    for (let at = 0; at + count <= later.length; at++) {
      const run = later.slice(at, at + count);
      if (isMatch(run)) return run;
    }
  }
  const first = pairs.days[level.from];
  const isClose = ({ exDay }: KnownSplit) =>
    exDay >= first - MISDATED_DAYS_MAX && exDay <= last + MISDATED_DAYS_MAX;
  const found =
    splits.find((split) => isClose(split) && isMatch([split])) ??
    later.find((split) => isMatch([split, split]));
  return found ? [found] : [];
}

const describeSplit = ({ ex_date, split_from, split_to }: ExplainingSplit) =>
  `the split of ${ex_date} (${toFactor(Math.log(split_to))} for ${split_from})`;

function describeSplits({ ours, theirs }: World, splits: readonly KnownSplit[]): string {
  const names = splits.map(describeSplit).join(' and ');
  const by = new Set(splits.map(({ listed_by }) => listed_by));
  if (by.size !== 1) return names;
  const [listed] = by;
  if (listed === 'both') return `${names}, which both list`;
  return `${names}, which only ${listed === 'ours' ? ours.name : theirs.name} lists`;
}

/** 1 when a side's prices jump at the ex-date as raw ones do, 0 when they go on, 2: twice. */
function jumpAt(
  { bars }: ReconciledSide,
  positions: readonly number[],
  at: number,
  { ratio }: KnownSplit,
): number {
  const change = Math.log(bars.close[positions[at]] / bars.close[positions[at - 1]]);
  return Math.round(-change / ratio);
}

/** Who has, or has not, applied the splits: by how each side's prices jump at their ex-dates. */
function judgeSplits(
  world: World,
  splits: readonly KnownSplit[],
  level: number,
): { side: Side; why: string } {
  const { ours, theirs, pairs } = world;
  const seen = splits.flatMap((split) => {
    const at = pairs.days.findIndex((day) => day >= split.exDay);
    if (at <= 0) return [];
    const jumps = {
      ours: jumpAt(ours, pairs.ours, at, split),
      theirs: jumpAt(theirs, pairs.theirs, at, split),
    };
    return jumps.ours === jumps.theirs ? [] : [{ split, jumps }];
  });
  if (seen.length === 0) return judgeUnseen(world, splits, level);
  const verdicts = seen.map(({ split, jumps }) => {
    // A source's own list is no evidence for prices that were calculated with it.
    const isReal = split.listed_by !== 'theirs' || jumps.ours === 1;
    if (!isReal || (jumps.ours !== 1 && jumps.theirs !== 1)) return 'unclear';
    return jumps.ours === 1 ? 'theirs' : 'ours';
  });
  const [{ split, jumps }] = seen;
  const side = new Set(verdicts).size === 1 ? verdicts[0] : 'unclear';
  const said = `${describeJump(ours.name, jumps.ours)}, ${describeJump(theirs.name, jumps.theirs)}`;
  const when = split.ex_date;
  if (side === 'unclear') return { side, why: `at ${when} ${said}: which is right is unclear` };
  const wrong = side === 'ours' ? ours.name : theirs.name;
  const what = describeFault(jumps[side]);
  return { side, why: `at ${when} ${said}: ${wrong} ${what}` };
}

function describeJump(name: string, jump: number): string {
  if (jump === 1) return `${name} jumps as raw prices do`;
  if (jump === 0) return `${name} goes on as adjusted prices do`;
  return jump > 1 ? `${name} jumps ${jump} times as far` : `${name} jumps the other way`;
}

function describeFault(jump: number): string {
  if (jump === 0) return 'is adjusted for it, or has it on another day';
  return jump > 1 ? 'has it undone once too often' : 'is adjusted for it twice';
}

/** A split after all sessions that were compared: only the direction tells something. */
function judgeUnseen({ ours, theirs }: World, splits: readonly KnownSplit[], level: number) {
  const product = splits.reduce((sum, { ratio }) => sum + ratio, 0);
  const isLower = Math.sign(level) !== Math.sign(product);
  const isOnlyOurs = splits.every(({ listed_by }) => listed_by === 'ours');
  if (isLower && isOnlyOurs) {
    return { side: 'theirs' as const, why: `${theirs.name} is adjusted for what came later` };
  }
  const adjusted = isLower ? theirs.name : ours.name;
  const why = `${adjusted} looks adjusted for it, which the sessions compared do not reach`;
  return { side: 'unclear' as const, why };
}

/** 'N for M' when a ratio is one that splits have; undefined when it is not. */
function simpleRatio(value: number): string | undefined {
  const ratio = Math.exp(Math.abs(value));
  for (const from of [1, 2, 3, 4]) {
    const to = Math.round(ratio * from);
    if (to <= from || (from > 1 && to > 9)) continue;
    if (Math.abs(Math.log(to / from / ratio)) <= LEVEL_TOLERANCE) return `${to} for ${from}`;
  }
  return undefined;
}

/** Six significant digits: 0.142857. */
function toFactor(logarithm: number): number {
  return Number(Math.exp(logarithm).toPrecision(6));
}
