import { InputError } from '../errors.ts';
import { newYorkInstant, toDay } from '../model/session.ts';

/** How requests' parameters are read: one meaning each, and a sentence for everything else. */

const shown = (text: string) => JSON.stringify(text.slice(0, 40));

/** What a parameter given twice means is anybody's guess: it is not answered. */
export function refuseRepeated(request: Request): void {
  const names = new Set<string>();
  for (const name of new URL(request.url).searchParams.keys()) {
    if (names.has(name)) {
      const field = name.slice(0, 40);
      throw new InputError(`${field} is given more than once: give it once`, field);
    }
    names.add(name);
  }
}

const TRUE = ['true', '1', 'yes', 'on', 't', 'y'];
const FALSE = ['false', '0', 'no', 'off', 'f', 'n'];

/** Also as Python writes it (True) and in the other words that the replaced API took. */
export function parseFlag(text: string, field: string): boolean {
  const word = text.toLowerCase();
  if (TRUE.includes(word)) return true;
  if (FALSE.includes(word)) return false;
  throw new InputError(`${field} is ${shown(text)}: it must be true or false`, field);
}

const DECIMAL = /^(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

export function parseScore(text: string, field: string): number {
  const score = DECIMAL.test(text.trim()) ? Number(text) : Number.NaN;
  if (score >= 0 && score <= 1) return score;
  throw new InputError(`${field} is ${shown(text)}: it must be a number from 0 to 1`, field);
}

/** A whole number in a range. */
export function parseWhole(text: string, field: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new InputError(
    `${field} is ${shown(text)}: it must be a whole number from ${min} to ${max}`,
    field,
  );
}

/** One of a few words. */
export function parseChoice<const T extends string>(
  text: string,
  field: string,
  allowed: readonly T[],
): T {
  const found = allowed.find((word) => word === text);
  if (found !== undefined) return found;
  throw new InputError(`${field} is ${shown(text)}: it must be ${allowed.join(' or ')}`, field);
}

/** A date as days since 1970-01-01. @throws InputError */
export function parseDate(text: string, field: string): number {
  const day = toDay(text);
  if (!Number.isNaN(day)) return day;
  throw new InputError(
    `${field} is ${shown(text)}: it must be a date that exists, ` +
      'written YYYY-MM-DD, for example 2024-01-31',
    field,
  );
}

/** A moment as it was asked for. */
export type Moment =
  | { kind: 'date' /** Days since 1970-01-01. */; day: number }
  | { kind: 'instant' /** Epoch microseconds. */; micros: number };

const INSTANT =
  /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(Z|z|[-+ ]\d{2}:?\d{2})?$/;
const EXAMPLE = '2024-01-31T14:30:00Z or 2024-01-31T09:30:00-05:00';

/**
 * A date, or an instant with its zone (ISO 8601). A local time without a zone is refused: whose
 * it is, New York's or the client's, is anybody's guess. A plus sign that arrived as a space, as
 * it does from an address that was not encoded, is read as the plus it was.
 * @throws InputError with an example.
 */
export function parseMoment(text: string, field: string): Moment {
  const day = toDay(text);
  if (!Number.isNaN(day)) return { kind: 'date', day };
  const fail = (what: string): never => {
    throw new InputError(`${field} is ${shown(text)}: ${what}, for example ${EXAMPLE}`, field);
  };
  const match = INSTANT.exec(text);
  if (!match) {
    return fail('it must be a date (2024-01-31) or an instant with its zone');
  }
  const [, date, hours, minutes, seconds = '00', fraction = '', zone] = match;
  if (zone === undefined) return fail('a time needs its zone');
  const dayPart = toDay(date);
  const clock = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  const isReal = Number(hours) < 24 && Number(minutes) < 60 && Number(seconds) < 60;
  const offset = zoneMinutes(zone);
  if (Number.isNaN(dayPart) || !isReal || Number.isNaN(offset)) return fail('it does not exist');
  const micros = Number(fraction.padEnd(6, '0').slice(0, 6));
  return {
    kind: 'instant',
    micros: (dayPart * 86_400 + clock - offset * 60) * 1_000_000 + micros,
  };
}

function zoneMinutes(zone: string): number {
  if (zone === 'Z' || zone === 'z') return 0;
  const digits = zone.slice(1).replace(':', '');
  const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2));
  if (minutes > 14 * 60 || Number(digits.slice(2)) > 59) return Number.NaN;
  return zone[0] === '-' ? -minutes : minutes;
}

/** The instant a moment begins, epoch microseconds: a date begins at midnight in New York. */
export function startMicros(moment: Moment): number {
  return moment.kind === 'instant' ? moment.micros : newYorkInstant(moment.day, 0) * 1000;
}
