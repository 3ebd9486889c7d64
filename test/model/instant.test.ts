import { describe, expect, test } from 'bun:test';
import { epochUnit, formatMicros } from '../../src/model/instant.ts';

describe('an instant in microseconds', () => {
  const CASES: [micros: number, text: string][] = [
    [0, '1970-01-01T00:00:00.000000Z'],
    [1_381_152_601_123_456, '2013-10-07T13:30:01.123456Z'],
    [1_381_152_601_000_001, '2013-10-07T13:30:01.000001Z'],
    [-1, '1969-12-31T23:59:59.999999Z'],
  ];
  for (const [micros, text] of CASES) {
    test(`${micros} is ${text}`, () => expect(formatMicros(micros)).toBe(text));
  }
});

describe('the unit of a number', () => {
  const SECONDS = [126_230_400, 946_684_800, 1_381_152_601, 4_102_444_799];
  test('is told by its size', () => {
    for (const seconds of SECONDS) {
      expect(epochUnit(seconds)).toBe('s');
      expect(epochUnit(seconds * 1e3)).toBe('ms');
      expect(epochUnit(seconds * 1e6)).toBe('us');
      expect(epochUnit(seconds * 1e9)).toBe('ns');
    }
  });
  test('is none before 1974 and after 2099', () => {
    const none = [0, -1_381_152_601, 20131007, 126_230_399, 4_102_444_800, 1e20, Number.NaN];
    expect(none.map(epochUnit)).toEqual(none.map(() => undefined));
  });
});
