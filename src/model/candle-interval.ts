import { newYorkDay, newYorkInstant } from './session.ts';

/** How candles are cut out of time. */
export interface CandleInterval {
  /** As it was asked for: '5m'. */
  text: string;
  /** Length of each on the clock, ms; null where they are cut on New York's wall clock. */
  clockMs: number | null;
  /** Of those on the wall clock: when they begin, minutes after midnight; [0] of whole days. */
  starts: readonly number[];
  isWeek: boolean;
}

const INTERVAL = /^([1-9]\d{0,4})(s|m|h)$/;
const UNIT_SECONDS = { s: 1, m: 60, h: 3600 } as const;
const HOUR_SECONDS = 3600;
const DAY_SECONDS = 86_400;
const SESSION_SECONDS = 390 * 60;
const OPEN_MINUTES = 9 * 60 + 30;
const DAY_MINUTES = 1440;
const SKIPPED_TO_MINUTES = 3 * 60;

/**
 * The interval a text means. What divides an hour lies on the clock; what divides a day is counted
 * from midnight in New York; what divides the regular session (65m) is counted from 09:30 there,
 * forward and back, and cut at midnight.
 * @returns undefined for everything else.
 */
export function parseInterval(text: string): CandleInterval | undefined {
  const onWall = (starts: number[], isWeek = false) => ({ text, clockMs: null, starts, isWeek });
  if (text === '1d') return onWall([0]);
  if (text === '1w') return onWall([0], true);
  const match = INTERVAL.exec(text);
  if (!match) return undefined;
  const seconds = Number(match[1]) * UNIT_SECONDS[match[2] as keyof typeof UNIT_SECONDS];
  if (HOUR_SECONDS % seconds === 0) {
    return { text, clockMs: seconds * 1000, starts: [], isWeek: false };
  }
  if (seconds % 60 !== 0) return undefined;
  const minutes = seconds / 60;
  if (DAY_SECONDS % seconds === 0) return onWall(startsFrom(0, minutes));
  if (SESSION_SECONDS % seconds === 0) return onWall(startsFrom(OPEN_MINUTES % minutes, minutes));
  return undefined;
}

/** What `parseInterval` takes, in words. */
export function describeIntervals(): string {
  return (
    'whole seconds, minutes or hours that divide an hour (1s, 15s, 1m, 5m, 30m, 1h), a day ' +
    '(2h, 4h, 90m) or the regular session of 390 minutes (65m, 195m), or 1d or 1w'
  );
}

function startsFrom(first: number, step: number): number[] {
  const starts = first > 0 ? [0] : [];
  for (let minute = first; minute < DAY_MINUTES; minute += step) starts.push(minute);
  return starts;
}

/** The instants (epoch ms) at which candles of a day begin; of a week only its Monday has one. */
function startsOfDay({ starts, isWeek }: CandleInterval, day: number): number[] {
  // 1970-01-01 was a Thursday: day 4 is the first Monday.
  if (isWeek && (((day - 4) % 7) + 7) % 7 !== 0) return [];
  // In spring the hour from 02:00 is skipped: what would begin in it begins at 03:00.
  const skippedTo = newYorkInstant(day, SKIPPED_TO_MINUTES);
  const instants = starts.map((minutes) => {
    const ms = newYorkInstant(day, minutes);
    return minutes < SKIPPED_TO_MINUTES ? Math.min(ms, skippedTo) : ms;
  });
  return instants.filter((ms, i) => i === 0 || ms !== instants[i - 1]);
}

/** When the candle begins that an instant (epoch ms) falls in. */
export function candleStart(interval: CandleInterval, ms: number): number {
  const { clockMs } = interval;
  if (clockMs !== null) return Math.floor(ms / clockMs) * clockMs;
  for (let day = newYorkDay(ms); ; day--) {
    const found = startsOfDay(interval, day).findLast((start) => start <= ms);
    if (found !== undefined) return found;
  }
}

/** When the first candle begins at or after an instant. */
export function nextCandleStart(interval: CandleInterval, ms: number): number {
  const start = candleStart(interval, ms);
  return start === ms ? ms : addCandles(interval, start, 1);
}

/** The beginning of the candle `count` candles after (before, when negative) one that begins. */
export function addCandles(interval: CandleInterval, startMs: number, count: number): number {
  if (interval.clockMs !== null) return startMs + count * interval.clockMs;
  const step = count < 0 ? -1 : 1;
  let left = Math.abs(count);
  for (let day = newYorkDay(startMs); ; day += step) {
    const starts = startsOfDay(interval, day).filter((ms) => (ms - startMs) * step > 0);
    if (left === 0) return startMs;
    if (left <= starts.length) return starts.at(step > 0 ? left - 1 : -left) as number;
    left -= starts.length;
  }
}

/** Where candles on the wall clock begin in [startMs, endMs), ascending. */
export function candleStarts(interval: CandleInterval, startMs: number, endMs: number): number[] {
  const found: number[] = [];
  for (let day = newYorkDay(startMs); day <= newYorkDay(endMs - 1); day++) {
    found.push(...startsOfDay(interval, day));
  }
  return found.filter((ms) => ms >= startMs && ms < endMs);
}
