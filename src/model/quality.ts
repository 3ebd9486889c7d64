/**
 * Quality of a bar: a score from 1 down to 0 and the flags that explain it. One table of rules;
 * the thresholds are configuration. The rules are applied in ingest/validate.ts.
 */

export interface QualityRule {
  /** The bit in a bar's `flags`. */
  bit: number;
  name: string;
  /** For people: what is wrong, completed by nothing. */
  message: string;
  /** A hard failure: score 0, never served as validated. */
  isFailure: boolean;
  /** Taken off the score, which starts at 1 and never goes below 0. */
  deduction: number;
}

const rule = (
  position: number,
  name: string,
  message: string,
  deduction: number | 'failure',
): QualityRule => ({
  bit: 1 << position,
  name,
  message,
  isFailure: deduction === 'failure',
  deduction: deduction === 'failure' ? 1 : deduction,
});

/** Every rule, lowest bit first. Stored as the table `quality_rules` by each migration run. */
export const QUALITY_RULES: readonly QualityRule[] = [
  rule(0, 'high_too_low', 'high is below open or close', 'failure'),
  rule(1, 'low_too_high', 'low is above open or close', 'failure'),
  rule(2, 'high_below_low', 'high is below low', 'failure'),
  rule(3, 'price_not_positive', 'a price is zero or negative', 'failure'),
  rule(4, 'volume_negative', 'volume is negative', 'failure'),
  rule(5, 'extreme_move', 'open to close moved by more than the extreme move', 0.5),
  rule(6, 'gap', 'open is far from the previous close', 0),
  rule(7, 'gap_unexplained', 'nothing corroborates the gap', 0.2),
  rule(8, 'gap_split', 'a split explains the gap', 0),
  rule(9, 'gap_dividend', 'a dividend explains the gap', 0),
  rule(10, 'gap_volume', 'the volume corroborates the gap', 0),
  rule(11, 'volume_spike', 'volume is far above the median', 0.2),
  rule(12, 'volume_drought', 'volume is far below the median', 0.1),
  rule(13, 'off_session', 'the exchange was closed that day', 0.2),
  rule(14, 'unfinished', 'it was received before its time was over', 0),
  rule(15, 'accepted', 'an operator looked at a finding and accepted the bar', 0),
  rule(16, 'rejected', 'an operator rejected the bar', 1),
];

const bits = Object.fromEntries(QUALITY_RULES.map((item) => [item.name, item.bit]));

/** The bits by name, for code that sets or tests one. */
export const FLAG = {
  highTooLow: bits.high_too_low,
  lowTooHigh: bits.low_too_high,
  highBelowLow: bits.high_below_low,
  priceNotPositive: bits.price_not_positive,
  volumeNegative: bits.volume_negative,
  extremeMove: bits.extreme_move,
  gap: bits.gap,
  gapUnexplained: bits.gap_unexplained,
  gapSplit: bits.gap_split,
  gapDividend: bits.gap_dividend,
  gapVolume: bits.gap_volume,
  volumeSpike: bits.volume_spike,
  volumeDrought: bits.volume_drought,
  offSession: bits.off_session,
  unfinished: bits.unfinished,
  accepted: bits.accepted,
  rejected: bits.rejected,
} as const;

/** Flags that make a bar a hard failure. */
export const FAILURE_FLAGS = QUALITY_RULES.reduce((all, r) => (r.isFailure ? all | r.bit : all), 0);

/** A bar counts as validated from this score on; below, it waits for review. */
export const VALIDATED_SCORE = 0.85;
/** Below this score a bar is excluded. */
export const REVIEW_SCORE = 0.5;

export interface QualityThresholds {
  /** |open / previous close - 1| above this is a gap: 0.1 is 10 %. */
  gapFraction: number;
  /** |close / open - 1| above this is an extreme move: 5 is 500 %. */
  extremeMove: number;
  /** Volume above this multiple of the median is a spike. */
  spikeMultiple: number;
  /** Volume from this multiple of the median on corroborates a gap (news). */
  newsMultiple: number;
  /** Volume below this fraction of the median is a drought. */
  droughtFraction: number;
}

export const DEFAULT_THRESHOLDS: QualityThresholds = {
  gapFraction: 0.1,
  extremeMove: 5,
  spikeMultiple: 10,
  newsMultiple: 2,
  droughtFraction: 0.1,
};

/** Sessions before a bar whose volumes make its median, and how many of them must have a bar. */
export const MEDIAN_SESSIONS = 63;
export const MEDIAN_SESSIONS_MIN = 20;

/** The score of a bar with these flags: 1 less the deductions, floor 0, in hundredths. */
export function toScore(flags: number): number {
  if ((flags & FAILURE_FLAGS) !== 0) return 0;
  let score = 1;
  for (const { bit, deduction } of QUALITY_RULES) if ((flags & bit) !== 0) score -= deduction;
  return Math.max(0, Math.round(score * 100) / 100);
}

/** The names of the set flags, lowest bit first. */
export function flagNames(flags: number): string[] {
  return QUALITY_RULES.filter(({ bit }) => (flags & bit) !== 0).map(({ name }) => name);
}

/** Why a bar has its score, in words; empty for a bar without flags. */
export function qualityReason(flags: number): string {
  return QUALITY_RULES.filter(({ bit }) => (flags & bit) !== 0)
    .map(({ message }) => message)
    .join('; ');
}
