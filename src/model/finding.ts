import { FAILURE_FLAGS, FLAG, QUALITY_RULES, toScore } from './quality.ts';

/**
 * What somebody has to look at, and what an operator may say of it. A finding is a rule that a bar
 * did not pass, or something that was seen between bars (a jump that looks like a split).
 */

export const FINDING_STATES = ['open', 'accepted', 'rejected', 'resolved'] as const;
export type FindingState = (typeof FINDING_STATES)[number];

export const DECISIONS = ['accept', 'reject', 'annotate', 'reopen'] as const;
export type Decision = (typeof DECISIONS)[number];

/** Rules that raise a finding: those that cost a bar some of its score. */
const FINDING_RULES = QUALITY_RULES.filter(
  ({ bit, deduction }) => deduction > 0 && bit !== FLAG.rejected,
);

/** The flags of a bar that are findings. */
export const FINDING_FLAGS = FINDING_RULES.reduce((all, { bit }) => all | bit, 0);

/** Kinds that are no rule of a bar, and what each means. Decisions about them change no bar. */
const OTHER_KINDS: Record<string, string> = {
  possible_split: 'the price jumped as if by a split that nobody reported',
  unconfirmed_split: 'a split was reported and the price did not jump',
};

/** Kinds that are a rule of a bar. */
export const BAR_KINDS: readonly string[] = FINDING_RULES.map(({ name }) => name);

/** Every kind of finding. */
export const FINDING_KINDS: readonly string[] = [...BAR_KINDS, ...Object.keys(OTHER_KINDS)];

/** How much a finding that is no rule of a bar weighs: as much as a bar that is not validated. */
const OTHER_WEIGHT = 0.5;
const WEIGHTS = new Map(FINDING_RULES.map(({ name, deduction }) => [name, deduction]));
const weightOf = (kind: string) => WEIGHTS.get(kind) ?? OTHER_WEIGHT;

/** Kinds in classes, the most serious first: by what they cost a bar. */
export const FINDING_CLASSES: readonly (readonly string[])[] = [
  ...new Set(FINDING_KINDS.map(weightOf)),
]
  .sort((one, other) => other - one)
  .map((weight) => FINDING_KINDS.filter((kind) => weightOf(kind) === weight));

const MESSAGES = new Map([
  ...FINDING_RULES.map(({ name, message }) => [name, message] as const),
  ...Object.entries(OTHER_KINDS),
]);
const BITS = new Map(FINDING_RULES.map(({ name, bit }) => [name, bit]));

/** What a kind means, for people. */
export const findingMessage = (kind: string): string => MESSAGES.get(kind) ?? kind;

/** The flag of a kind; 0 for kinds that are no rule of a bar. */
export const findingBit = (kind: string): number => BITS.get(kind) ?? 0;

/** The flags of kinds together. */
export const findingBits = (kinds: readonly string[] | null): number =>
  (kinds ?? []).reduce((all, kind) => all | findingBit(kind), 0);

/** Whether a kind can never be accepted: the values contradict each other. */
export const isFailureKind = (kind: string): boolean => (findingBit(kind) & FAILURE_FLAGS) !== 0;

/** What an operator decided about the findings of one bar: the flags of those. */
export interface BarDecisions {
  /** Cost nothing any more. */
  accepted: number;
  /** Cost all: the bar is rejected with them. */
  rejected: number;
}

/**
 * Flags and score of a bar under what was decided about it. Decisions about flags that it has no
 * more say nothing, and what was decided before is undone.
 */
export function decideBar(
  given: number,
  { accepted, rejected }: BarDecisions,
): { flags: number; score: number } {
  let flags = given & ~(FLAG.accepted | FLAG.rejected);
  const forgiven = flags & accepted & ~FAILURE_FLAGS;
  if (forgiven !== 0) flags |= FLAG.accepted;
  if ((flags & rejected) !== 0) flags |= FLAG.rejected;
  return { flags, score: toScore(flags & ~forgiven) };
}

/** Columns with the values that a finding about a bar is about. */
interface BarValues {
  open: ArrayLike<number>;
  high: ArrayLike<number>;
  low: ArrayLike<number>;
  close: ArrayLike<number>;
  volume: ArrayLike<number>;
}

/**
 * What a finding is about, as a text that is the same as long as all of the numbers are: MD5 of
 * them as big-endian doubles.
 */
export function digestOf(values: readonly number[]): string {
  const view = new DataView(new ArrayBuffer(8 * values.length));
  // Two zeros are the same number: adding one makes -0 the other.
  values.forEach((value, i) => void view.setFloat64(8 * i, value + 0));
  return Bun.MD5.hash(new Uint8Array(view.buffer), 'hex');
}

/** The digest of a bar: in SQL, md5(float8send(open + 0) || float8send(high + 0) || ...). */
export const barDigest = ({ open, high, low, close, volume }: BarValues, row: number): string =>
  digestOf([open[row], high[row], low[row], close[row], volume[row]]);
