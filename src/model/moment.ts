import { InputError } from '../errors.ts';
import { newYorkInstant, toDay } from './session.ts';

/** How a date or an instant that somebody wrote is read. */

/** A moment as it was asked for. */
export type Moment =
  | { kind: 'date' /** Days since 1970-01-01. */; day: number }
  | { kind: 'instant' /** Epoch microseconds. */; micros: number };

const shown = (text: string) => JSON.stringify(text.slice(0, 40));

const INSTANT = new RegExp(
  [
    String.raw`^(\d{4}-\d{2}-\d{2})[Tt ]`,
    String.raw`(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?`,
    String.raw`(Z|z|[-+ ]\d{2}:?\d{2})?$`,
  ].join(''),
);
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
    return fail('it must be a date that exists, written YYYY-MM-DD, or an instant with its zone');
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

/**
 * An instant with its zone, as epoch milliseconds; a date alone is none.
 * @throws InputError with an example.
 */
export function parseInstant(text: string, field: string): number {
  const moment = parseMoment(text, field);
  if (moment.kind === 'instant') return Math.floor(moment.micros / 1000);
  throw new InputError(
    `${field} is ${shown(text)}: a date has no time, and an instant with its zone is asked for, ` +
      `for example ${EXAMPLE}`,
    field,
  );
}
