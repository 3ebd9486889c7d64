import { formatClock, type MarketDay } from './market.ts';

/** What it means for stored data that the calendar says something else of a day than before. */

/** Of a date: how many instruments hold bars of it, and how many are to have one. */
export interface HeldOnDay {
  daily: number;
  /** Of any timeframe below a day. */
  intraday: number;
  /** Tracked, listed then, and without a daily bar. */
  waiting: number;
}

export interface DayChange {
  before: MarketDay;
  after: MarketDay;
  held: HeldOnDay;
  /** Whether bars of the day can be had by now, were it a session. */
  isPublished: boolean;
}

/** '1 symbol has', '1,234 symbols have' */
const symbolsHave = (count: number) => `${symbols(count)} ${count === 1 ? 'has' : 'have'}`;
const symbols = (count: number) =>
  `${count.toLocaleString('en-US')} ${count === 1 ? 'symbol' : 'symbols'}`;

/** 'closed all day (Good Friday)', '09:30 to 13:00 EST' */
export function describeHours({ hours, reason }: MarketDay): string {
  if (hours === null) return `closed all day (${reason})`;
  return `${formatClock(hours.openMs).split(' ')[0]} to ${formatClock(hours.closeMs)}`;
}

/** Whether the calendar says the same of a day: its hours, or why it is closed. */
function isSameDay(a: MarketDay, b: MarketDay): boolean {
  if (a.hours === null || b.hours === null) return a.hours === b.hours && a.reason === b.reason;
  return a.hours.openMs === b.hours.openMs && a.hours.closeMs === b.hours.closeMs;
}

/** What changes, in sentences without their full stops; the first one is about the day itself. */
export function describeDayChange({ before, after, held, isPublished }: DayChange): string[] {
  const day = `${after.weekday} ${after.date}`;
  if (isSameDay(before, after))
    return [`nothing changes: ${day} is ${describeHours(after)} anyway`];
  const first = `${day} becomes ${describeHours(after)} instead of ${describeHours(before)}`;
  if (before.hours === null && after.hours === null) return [first];
  if (after.hours === null) return [first, ...describeClosing(held, isPublished)];
  if (before.hours === null) return [first, ...describeOpening(held, isPublished)];
  return [first, describeShift(held)];
}

function describeClosing({ daily, intraday, waiting }: HeldOnDay, isPublished: boolean): string[] {
  const said: string[] = [];
  if (daily > 0) {
    const [stays, counts] =
      daily === 1 ? ['it stays and is', 'counts'] : ['they stay and are', 'count'];
    said.push(
      `${symbolsHave(daily)} a daily bar of that day: ${stays} served as before, and from now on ` +
        `${counts} as of a day without a session`,
    );
  }
  if (intraday > 0) {
    said.push(
      `bars below a day of ${symbols(intraday)} stay; no part of that day is regular hours any ` +
        'more',
    );
  }
  if (said.length === 0) said.push('no bar of that day is held');
  if (isPublished && waiting > 0) said.push(`it is no longer missing for ${symbols(waiting)}`);
  return said;
}

function describeOpening({ daily, waiting }: HeldOnDay, isPublished: boolean): string[] {
  const said: string[] = [];
  if (waiting === 0) said.push('no tracked symbol lacks a bar of that day');
  else if (isPublished) {
    said.push(
      `the session becomes due: ${symbolsHave(waiting)} no bar of it, and the next backfill asks ` +
        'for it',
    );
  } else said.push(`the session becomes due for ${symbols(waiting)} once it is over`);
  if (daily > 0) {
    said.push(
      `${symbolsHave(daily)} a daily bar of that day already; its score stays until it is judged ` +
        'again',
    );
  }
  return said;
}

function describeShift({ intraday }: HeldOnDay): string {
  const stay = 'daily bars stay as they are';
  return intraday === 0
    ? `${stay}, and no bar below a day is held of it`
    : `${stay}; which bars below a day of ${symbols(intraday)} are regular hours follows the new ` +
        'times at once';
}
