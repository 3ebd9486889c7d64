import { describe, expect, test } from 'bun:test';
import {
  BAR_KINDS,
  barDigest,
  decideBar,
  digestOf,
  FINDING_CLASSES,
  FINDING_FLAGS,
  FINDING_KINDS,
  findingBit,
  findingMessage,
  isFailureKind,
} from '../../src/model/finding.ts';
import { FLAG, flagNames, QUALITY_RULES, toScore } from '../../src/model/quality.ts';
import { flatBar, toColumns } from '../fixtures/bars.ts';

describe('kinds', () => {
  test('are the rules that cost a bar something, and what is seen between bars', () => {
    expect(FINDING_KINDS).toEqual([
      ...['high_too_low', 'low_too_high', 'high_below_low', 'price_not_positive'],
      ...['volume_negative', 'extreme_move', 'gap_unexplained', 'volume_spike'],
      ...['volume_drought', 'off_session', 'possible_split', 'unconfirmed_split'],
    ]);
    expect(flagNames(FINDING_FLAGS)).toEqual([...BAR_KINDS]);
  });

  test('are in classes by what they cost a bar', () => {
    expect(FINDING_CLASSES).toEqual([
      [
        ...['high_too_low', 'low_too_high', 'high_below_low', 'price_not_positive'],
        'volume_negative',
      ],
      ['extreme_move', 'possible_split', 'unconfirmed_split'],
      ['gap_unexplained', 'volume_spike', 'off_session'],
      ['volume_drought'],
    ]);
  });

  test('have the message of their rule', () => {
    expect(findingMessage('gap_unexplained')).toBe('nothing corroborates the gap');
    expect(findingMessage('possible_split')).toContain('split');
    expect(findingMessage('some_later_kind')).toBe('some_later_kind');
  });

  test('have the bit of their rule, or none', () => {
    for (const kind of BAR_KINDS) expect(flagNames(findingBit(kind))).toEqual([kind]);
    expect(['possible_split', 'gap', 'accepted', 'rejected'].map(findingBit)).toEqual([0, 0, 0, 0]);
  });

  test('of hard failures are told apart', () => {
    const failures = QUALITY_RULES.filter((rule) => rule.isFailure).map((rule) => rule.name);
    expect(FINDING_KINDS.filter(isFailureKind)).toEqual(failures);
  });
});

describe('a decided bar', () => {
  const none = { accepted: 0, rejected: 0 };
  const gap = FLAG.gap | FLAG.gapUnexplained;

  test('without decisions is as its rules say', () => {
    expect(decideBar(gap, none)).toEqual({ flags: gap, score: 0.8 });
    expect(decideBar(0, none)).toEqual({ flags: 0, score: 1 });
  });

  test('is spared the deduction of what was accepted, and of nothing else', () => {
    const flags = gap | FLAG.volumeSpike;
    const decided = decideBar(flags, { accepted: FLAG.gapUnexplained, rejected: 0 });
    expect(decided).toEqual({ flags: flags | FLAG.accepted, score: 0.8 });
    const both = { accepted: FLAG.gapUnexplained | FLAG.volumeSpike, rejected: 0 };
    expect(decideBar(flags, both)).toEqual({ flags: flags | FLAG.accepted, score: 1 });
  });

  test('whose rule is passed by now is neither accepted nor rejected', () => {
    const accepted = { accepted: FLAG.volumeSpike, rejected: FLAG.offSession };
    expect(decideBar(gap, accepted)).toEqual({ flags: gap, score: 0.8 });
  });

  test('that was rejected scores 0, whatever else was accepted', () => {
    const flags = gap | FLAG.volumeSpike;
    const decisions = { accepted: FLAG.gapUnexplained, rejected: FLAG.volumeSpike };
    const decided = { flags: flags | FLAG.accepted | FLAG.rejected, score: 0 };
    expect(decideBar(flags, decisions)).toEqual(decided);
    expect(toScore(FLAG.rejected)).toBe(0);
  });

  test('is decided anew: what was decided before is undone', () => {
    const before = gap | FLAG.accepted | FLAG.rejected;
    expect(decideBar(before, none)).toEqual({ flags: gap, score: 0.8 });
  });

  test('of values that contradict each other stays at 0', () => {
    const flags = FLAG.highTooLow | FLAG.offSession;
    const accepted = FLAG.highTooLow | FLAG.offSession;
    const decided = decideBar(flags, { accepted, rejected: 0 });
    expect(decided).toEqual({ flags: flags | FLAG.accepted, score: 0 });
    expect(decideBar(FLAG.highTooLow, { accepted, rejected: 0 })).toEqual({
      ...{ flags: FLAG.highTooLow, score: 0 },
    });
  });
});

describe('a digest', () => {
  const bar = flatBar('2024-01-02', { high: 101.5, low: 99.25, close: 100.1, volume: 1e9 + 0.5 });
  const digest = (change: Partial<typeof bar>) =>
    barDigest(toColumns([flatBar('2024-01-02'), { ...bar, ...change }]), 1);

  test('is of the values, each of them', () => {
    const changes = [
      ...[{ open: 100.01 }, { high: 101.6 }, { low: 99 }, { close: 100.11 }, { volume: 1e9 }],
    ];
    const all = [{}, ...changes].map(digest);
    expect(new Set(all).size).toBe(6);
    expect(digest({ session: '2024-01-03', vwap: 100, tradeCount: 5 })).toBe(digest({}));
  });

  test('is of the order of the values', () => {
    expect(digestOf([1, 2])).not.toBe(digestOf([2, 1]));
    expect(digestOf([])).toMatch(/^[0-9a-f]{32}$/);
  });

  test('knows one zero only', () => {
    expect(digest({ volume: -0 })).toBe(digest({ volume: 0 }));
  });
});
