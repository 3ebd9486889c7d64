import { InputError } from '../errors.ts';
import { parseMoment } from '../model/moment.ts';
import { newYorkDay, newYorkInstant, toDay } from '../model/session.ts';

export { type Moment, parseMoment, startMicros } from '../model/moment.ts';

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

/** The calendar has no year 0, and PostgreSQL takes none. */
const FIRST_DATE = toDay('0001-01-01');
const DAY_MS = 86_400_000;

/** A date as days since 1970-01-01. @throws InputError */
export function parseDate(text: string, field: string): number {
  const day = toDay(text);
  if (day >= FIRST_DATE) return day;
  throw noDate(text, field);
}

const noDate = (text: string, field: string) =>
  new InputError(
    `${field} is ${shown(text)}: it must be a date that exists, ` +
      'written YYYY-MM-DD, for example 2024-01-31',
    field,
  );

/**
 * What was known at an instant, or by the end of a date in New York; epoch ms.
 * @throws InputError for one that is still to come.
 */
export function parseKnownAt(text: string, nowMs: number, field = 'known_at'): number {
  const moment = parseMoment(text, field);
  if (moment.kind === 'date' && moment.day === newYorkDay(nowMs)) return nowMs;
  const ms =
    moment.kind === 'date'
      ? newYorkInstant(moment.day + 1, 0) - 1
      : Math.floor(moment.micros / 1000);
  if (ms < FIRST_DATE * DAY_MS) throw noDate(text, field);
  if (ms <= nowMs) return ms;
  throw new InputError(
    `${field} is ${shown(text)}: that is still to come; it must be a date up to today or an ` +
      'instant up to now',
    field,
  );
}
