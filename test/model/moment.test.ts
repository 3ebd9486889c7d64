import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { parseInstant, parseMoment, startMicros } from '../../src/model/moment.ts';
import { toDay } from '../../src/model/session.ts';

const EXAMPLE = 'for example 2024-01-31T14:30:00Z or 2024-01-31T09:30:00-05:00';

function refusal(read: () => unknown): InputError {
  try {
    read();
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

describe('an instant', () => {
  const taken: [text: string, iso: string][] = [
    ['2026-11-27T18:00:00Z', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27t18:00z', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27 13:00:00-05:00', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27T13:00:00-0500', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27T23:30:00+05:30', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27T23:30:00 05:30', '2026-11-27T18:00:00.000Z'],
    ['2026-11-27T18:00:00.123999Z', '2026-11-27T18:00:00.123Z'],
    ['1969-12-31T23:59:59.999999Z', '1969-12-31T23:59:59.999Z'],
  ];
  for (const [text, iso] of taken) {
    test(`is read from ${text}`, () => {
      expect(new Date(parseInstant(text, 'at')).toISOString()).toBe(iso);
    });
  }

  const refused: [text: string, says: string][] = [
    ['2026-11-27T13:00:00', 'a time needs its zone'],
    ['2026-11-27 13:00', 'a time needs its zone'],
    ['2026-11-27', 'a date has no time'],
    ['2026-02-29T13:00:00Z', 'it does not exist'],
    ['2026-11-27T24:00:00Z', 'it does not exist'],
    ['2026-11-27T13:60:00Z', 'it does not exist'],
    ['2026-11-27T13:00:60Z', 'it does not exist'],
    ['2026-11-27T13:00:00+14:01', 'it does not exist'],
    ['2026-11-27T13:00:00+05:60', 'it does not exist'],
    [
      '1764266400',
      'it must be a date that exists, written YYYY-MM-DD, or an instant with its zone',
    ],
    ['tomorrow', 'it must be a date that exists, written YYYY-MM-DD, or an instant with its zone'],
    ['', 'it must be a date that exists, written YYYY-MM-DD, or an instant with its zone'],
  ];
  for (const [text, says] of refused) {
    test(`is not read from ${JSON.stringify(text)}: ${says}`, () => {
      const { message, field } = refusal(() => parseInstant(text, 'at'));
      expect(message).toStartWith(`at is ${JSON.stringify(text)}: ${says}`);
      expect(message).toEndWith(EXAMPLE);
      expect(field).toBe('at');
    });
  }

  test('that is too long is not repeated whole', () => {
    const { message } = refusal(() => parseInstant('9'.repeat(4000), 'at'));
    expect(message.length).toBeLessThan(300);
  });
});

test('a moment is a date, which begins at midnight in New York, or an instant', () => {
  const date = parseMoment('2026-07-01', 'start');
  expect(date).toEqual({ kind: 'date', day: toDay('2026-07-01') });
  expect(startMicros(date)).toBe(Date.parse('2026-07-01T04:00:00Z') * 1000);
  const instant = parseMoment('2026-07-01T00:00:00.123456Z', 'start');
  const micros = Date.parse('2026-07-01T00:00:00.123Z') * 1000 + 456;
  expect(instant).toEqual({ kind: 'instant', micros });
  expect(startMicros(instant)).toBe(micros);
});
