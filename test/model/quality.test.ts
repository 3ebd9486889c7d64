import { describe, expect, test } from 'bun:test';
import {
  DEFAULT_THRESHOLDS,
  FAILURE_FLAGS,
  FLAG,
  flagNames,
  QUALITY_RULES,
  qualityReason,
  REVIEW_SCORE,
  toScore,
  VALIDATED_SCORE,
} from '../../src/model/quality.ts';

describe('rules', () => {
  test('have a bit, a name and a message each, in the order of the bits', () => {
    expect(QUALITY_RULES.map(({ bit }) => bit)).toEqual(QUALITY_RULES.map((_, i) => 2 ** i));
    expect(new Set(QUALITY_RULES.map(({ name }) => name)).size).toBe(QUALITY_RULES.length);
    expect(QUALITY_RULES.filter(({ message }) => message.length < 10)).toEqual([]);
  });

  test('are found by name', () => {
    expect(Object.values(FLAG)).toEqual(QUALITY_RULES.map(({ bit }) => bit));
  });

  test('keep the bits that stored bars and views already have', () => {
    expect(Object.fromEntries(QUALITY_RULES.map(({ bit, name }) => [name, bit]))).toEqual({
      high_too_low: 1,
      low_too_high: 2,
      high_below_low: 4,
      price_not_positive: 8,
      volume_negative: 16,
      extreme_move: 32,
      gap: 64,
      gap_unexplained: 128,
      gap_split: 256,
      gap_dividend: 512,
      gap_volume: 1024,
      volume_spike: 2048,
      volume_drought: 4096,
      off_session: 8192,
      unfinished: 16_384,
      accepted: 32_768,
      rejected: 65_536,
    });
    expect(FAILURE_FLAGS).toBe(31);
  });

  test('have the thresholds that were agreed', () => {
    expect(DEFAULT_THRESHOLDS).toEqual({
      gapFraction: 0.1,
      extremeMove: 5,
      spikeMultiple: 10,
      newsMultiple: 2,
      droughtFraction: 0.1,
    });
    expect([VALIDATED_SCORE, REVIEW_SCORE]).toEqual([0.85, 0.5]);
  });
});

describe('score', () => {
  test.each([
    ['nothing', 0, 1],
    ['an extreme move', FLAG.extremeMove, 0.5],
    ['an unexplained gap', FLAG.gap | FLAG.gapUnexplained, 0.8],
    ['a gap with a split', FLAG.gap | FLAG.gapSplit, 1],
    ['a gap with a dividend', FLAG.gap | FLAG.gapDividend, 1],
    ['a gap with volume', FLAG.gap | FLAG.gapVolume, 1],
    ['a spike', FLAG.volumeSpike, 0.8],
    ['a drought', FLAG.volumeDrought, 0.9],
    ['a closed day', FLAG.offSession, 0.8],
    ['a gap and a drought', FLAG.gap | FLAG.gapUnexplained | FLAG.volumeDrought, 0.7],
    ['a spike and a closed day', FLAG.volumeSpike | FLAG.offSession, 0.6],
    [
      'a move, a gap and a spike',
      FLAG.extremeMove | FLAG.gap | FLAG.gapUnexplained | FLAG.volumeSpike,
      0.1,
    ],
    [
      'more than there is to take off',
      FLAG.extremeMove | FLAG.gapUnexplained | FLAG.volumeSpike | FLAG.offSession,
      0,
    ],
  ])('of %s', (_, flags, score) => {
    expect(toScore(flags)).toBe(score);
  });

  test('is zero with any hard failure, whatever else is said', () => {
    for (let position = 0; position < 5; position++) {
      expect(toScore(1 << position)).toBe(0);
      expect(toScore((1 << position) | FLAG.volumeDrought)).toBe(0);
    }
  });

  test('is a number of whole hundredths between 0 and 1 for every set of flags', () => {
    for (let flags = 0; flags < 1 << QUALITY_RULES.length; flags++) {
      const score = toScore(flags);
      expect(score >= 0 && score <= 1 && score === Number(score.toFixed(2))).toBe(true);
    }
  });

  test('falls below validated with each single deduction but a drought', () => {
    const alone = QUALITY_RULES.filter(({ deduction }) => deduction > 0);
    const validated = alone.filter(({ bit }) => toScore(bit) >= VALIDATED_SCORE);
    expect(validated.map(({ name }) => name)).toEqual(['volume_drought']);
  });
});

describe('words', () => {
  test('name the set flags, lowest bit first', () => {
    expect(flagNames(FLAG.offSession | FLAG.gap | FLAG.highTooLow)).toEqual([
      'high_too_low',
      'gap',
      'off_session',
    ]);
    expect(flagNames(0)).toEqual([]);
  });

  test('explain a score', () => {
    expect(qualityReason(FLAG.gap | FLAG.gapUnexplained)).toBe(
      'open is far from the previous close; nothing corroborates the gap',
    );
    expect(qualityReason(0)).toBe('');
  });
});
