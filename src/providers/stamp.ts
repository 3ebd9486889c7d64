import { InputError } from '../errors.ts';
import { newYorkInstant, toDate, toDay } from '../model/session.ts';

/** The time zones that stamps without one may be in. */
export const STAMP_ZONES = ['America/New_York', 'UTC'] as const;
export type StampZone = (typeof STAMP_ZONES)[number];

export interface StampOptions {
  /** Where the clock hangs of stamps that do not say it. */
  zone?: StampZone;
  /** What a number of nine or ten digits counts; undefined: such a number is refused. */
  unit?: 's';
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const HOUR_MINUTES = 60;

const ISO =
  /^(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)? ?(Z|[+-]\d\d(?::?\d\d)?)?$/;
const SLASHES = /^(\d{1,2})\/(\d{1,2})\/(\d{4}) (\d{1,2}):(\d\d)(?::(\d\d))?$/;
const DATE_ALONE = /^(\d{4}-\d\d-\d\d|\d{8}|\d{1,4}\/\d{1,2}\/\d{1,4})$/;

/** How many digits of a number of so many are below a millisecond. */
const DIGITS_BELOW_MS: Readonly<Record<number, number>> = {
  12: 0,
  13: 0,
  15: 3,
  16: 3,
  18: 6,
  19: 6,
};

/**
 * What is wrong with a cell that is no instant: the cell alone, all of its column when it is the
 * first, or the whole file, because others of its cells are taken for what they are not.
 */
export type StampFault = 'cell' | 'column' | 'file';

/** Reads the instants of a column of a file. */
export class StampReader {
  /** Why the cell that was read last without success is no instant. */
  reason = '';
  fault: StampFault = 'cell';
  /** The option that may help. */
  field: 'zone' | 'unit' | undefined;
  readonly #zone: StampZone | undefined;
  readonly #unit: 's' | undefined;
  // Rows of one date stand together: the day's midnights are kept.
  #date = '';
  #day = Number.NaN;
  #midnightMs = 0;
  #dayMs = DAY_MS;

  /**
   * @param column the stamps' column; one named '..._et' is in New York time.
   * @throws InputError when the zone contradicts the column's name.
   */
  constructor(column: string, { zone, unit }: StampOptions) {
    const isEastern = column.toLowerCase().endsWith('_et');
    if (isEastern && zone === 'UTC') {
      throw new InputError(`column ${column} is in New York time: zone UTC contradicts it`, 'zone');
    }
    this.#zone = isEastern ? 'America/New_York' : zone;
    this.#unit = unit;
  }

  /**
   * Epoch ms UTC of a stamp; NaN when it is none, and then `reason` says why. Understood are
   * 'YYYY-MM-DD HH:MM[:SS[.fraction]]', also with T and with a zone (Z, -05:00), 'M/D/YYYY H:MM',
   * and the time since 1970 in milli-, micro- or nanoseconds, told apart by the number of digits.
   * What is below a millisecond is cut off.
   *
   * A time in New York that never was (02:30 when clocks go forward) is none, and so is one that
   * was twice (01:30 when they go back): which of the two it was only an offset can say.
   */
  read(cell: string): number {
    const iso = ISO.exec(cell) ?? ISO.exec(cell.trim());
    if (iso) {
      const [, date, hours, minutes, seconds = '0', fraction = '0', offset] = iso;
      const ms = Number(seconds) * 1000 + Math.floor(Number(`0.${fraction}`) * 1000);
      return this.#instant(date, Number(hours), Number(minutes), ms, offset, cell);
    }
    const text = cell.trim();
    if (/^\d{9,}$/.test(text)) return this.#instantOfDigits(text);
    const slashes = SLASHES.exec(text);
    if (slashes) {
      const [, month, day, year, hours, minutes, seconds = '0'] = slashes;
      if (Number(month) > 12 && Number(day) <= 12) {
        return this.#fail(`${text} has no month ${month}; dates are M/D/Y`, 'file');
      }
      const date = `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`;
      const ms = Number(seconds) * 1000;
      return this.#instant(date, Number(hours), Number(minutes), ms, undefined, cell);
    }
    if (DATE_ALONE.test(text)) {
      return this.#fail(`${text} is a date without a time: these look like daily bars`, 'column');
    }
    return this.#fail(text === '' ? 'time is empty' : `time is ${JSON.stringify(cell)}`);
  }

  #fail(reason: string, fault: StampFault = 'cell', field?: 'zone' | 'unit'): number {
    this.reason = reason;
    this.fault = fault;
    this.field = field;
    return Number.NaN;
  }

  #instant(
    date: string,
    hours: number,
    minutes: number,
    ms: number,
    offset: string | undefined,
    cell: string,
  ): number {
    this.#enterDate(date);
    const isTime = hours < 24 && minutes < 60 && ms < MINUTE_MS;
    if (Number.isNaN(this.#day) || !isTime) return this.#fail(`time is ${JSON.stringify(cell)}`);
    const at = hours * HOUR_MINUTES + minutes;
    if (offset === undefined && this.#zone === undefined) {
      return this.#fail(describeMissingZone(cell, this.#day, at), 'column', 'zone');
    }
    if (offset === undefined && this.#zone !== 'UTC') return this.#instantInNewYork(at, ms, cell);
    return this.#day * DAY_MS + at * MINUTE_MS + ms - offsetMs(offset ?? 'Z');
  }

  #enterDate(date: string): void {
    if (date === this.#date) return;
    this.#date = Buffer.from(date).toString(); // a part of a row would keep the whole text alive
    this.#day = toDay(date);
    // Days at the edges of time have no neighbor.
    if (this.#day < FIRST_DAY || this.#day > LAST_DAY) this.#day = Number.NaN;
    this.#midnightMs = newYorkInstant(this.#day, 0);
    this.#dayMs = newYorkInstant(this.#day + 1, 0) - this.#midnightMs;
  }

  #instantInNewYork(at: number, ms: number, cell: string): number {
    const shiftMs = this.#dayMs - DAY_MS;
    // Clocks are set at 02:00: forward to 03:00, or back to 01:00.
    if (shiftMs < 0 && at >= 2 * HOUR_MINUTES && at < 3 * HOUR_MINUTES) {
      return this.#fail(`${cell.trim()} never was in New York: clocks went from 02:00 to 03:00`);
    }
    if (shiftMs > 0 && at >= HOUR_MINUTES && at < 2 * HOUR_MINUTES) {
      return this.#fail(
        `${cell.trim()} was twice in New York, where clocks went from 02:00 back to 01:00: ` +
          'only a stamp with an offset says which',
      );
    }
    const passedMs = at >= 2 * HOUR_MINUTES ? shiftMs : 0;
    return this.#midnightMs + at * MINUTE_MS + ms + passedMs;
  }

  #instantOfDigits(text: string): number {
    const { length } = text;
    if (length <= 10) {
      if (this.#unit === 's') return Number(text) * 1000;
      const then = new Date(Number(text) * 1000).toISOString().slice(0, 19);
      return this.#fail(
        `${text} seems to be seconds since 1970 (${then}Z): say so with unit s; ` +
          'milli-, micro- and nanoseconds are told apart by their digits',
        'column',
        'unit',
      );
    }
    const below = DIGITS_BELOW_MS[length];
    // Digits are cut off, not divided away: nanoseconds exceed what a double holds exactly.
    return below === undefined
      ? this.#fail(`time is ${JSON.stringify(text)}: no number of milli-, micro- or nanoseconds`)
      : Number(text.slice(0, length - below));
  }
}

const FIRST_DAY = toDay('0001-01-01');
const LAST_DAY = toDay('9998-12-31');

/** '-05:00', '-0500', '-05' and 'Z' in ms to the east of Greenwich. */
function offsetMs(offset: string): number {
  if (offset === 'Z') return 0;
  const sign = offset.startsWith('-') ? -1 : 1;
  const hours = Number(offset.slice(1, 3));
  const minutes = Number(offset.slice(3).replace(':', '') || '0');
  return sign * (hours * HOUR_MS + minutes * MINUTE_MS);
}

function describeMissingZone(cell: string, day: number, at: number): string {
  const example = new Date(newYorkInstant(day, at)).toISOString().slice(0, 16);
  return (
    `${cell.trim()} does not say its time zone. Say zone America/New_York (then it is ` +
    `${example}Z) or zone UTC, or write stamps as ${toDate(day)}T09:30:00-05:00`
  );
}
