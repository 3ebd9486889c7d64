import { InputError } from '../errors.ts';

/** Where a page of an answer ended, as a text that clients give back and need not understand. */

/** The last instant that a Date can hold is much later; PostgreSQL's years are not written so. */
const INSTANT_MS_MAX = Date.parse('2200-01-01T00:00:00Z');

export function refuseCursor(why: string): never {
  throw new InputError(
    `cursor is not one of this address (${why}): give next_cursor of the answer before, ` +
      'unchanged, with the other parameters as they were',
    'cursor',
  );
}

/** A cursor of a kind ('t1'), with whole numbers that are not negative. */
export function makeCursor(kind: string, ...numbers: number[]): string {
  return Buffer.from([kind, ...numbers].join('.')).toString('base64url');
}

/**
 * The numbers in a cursor of a kind.
 * @param perMs how much of the first one, an instant, is a millisecond.
 * @throws InputError when it is none.
 */
export function parseCursor(text: string, kind: string, count: number, perMs: number): number[] {
  const plain = /^[\w-]{1,100}$/.test(text) ? Buffer.from(text, 'base64url').toString() : '';
  const [found, ...numbers] = plain.split('.');
  const isGood =
    found === kind &&
    numbers.length === count &&
    numbers.every((number) => /^\d{1,16}$/.test(number) && Number.isSafeInteger(Number(number)));
  if (!isGood) refuseCursor('malformed');
  const values = numbers.map(Number);
  if (values[0] / perMs > INSTANT_MS_MAX) refuseCursor('it lies beyond the end of time');
  return values;
}
