import { type Calendar, toDate, toDay } from './session.ts';

/** What a chart can be asked to show: of which bars, and how much of the past. */

/** The timeframes that charts offer. */
export const CHART_TIMEFRAMES = ['1m', '5m', '15m', '30m', '1h', '1d', '1w', '1mo'] as const;
export type ChartTimeframe = (typeof CHART_TIMEFRAMES)[number];

/** `1d` to `20d`: so many sessions; 'all': from the first bar on. */
export const CHART_RANGES = ['1d', '5d', '20d', '1mo', '6mo', '1y', '5y', 'all'] as const;
export type ChartRange = (typeof CHART_RANGES)[number];

/** What a range is called. */
export const RANGE_LABELS: Record<ChartRange, string> = {
  '1d': '1 session',
  '5d': '5 sessions',
  '20d': '20 sessions',
  '1mo': '1 month',
  '6mo': '6 months',
  '1y': '1 year',
  '5y': '5 years',
  all: 'All',
};

/** The ranges that make a chart of 20 to 10,000 bars; the first is shown when none is asked for. */
const RANGES: Record<ChartTimeframe, readonly ChartRange[]> = {
  '1m': ['1d', '5d', '20d'],
  '5m': ['5d', '1d', '20d'],
  '15m': ['20d', '5d', '6mo'],
  '30m': ['20d', '5d', '6mo', '1y'],
  '1h': ['6mo', '20d', '1y'],
  '1d': ['1y', '1mo', '6mo', '5y', 'all'],
  '1w': ['5y', '1y', 'all'],
  '1mo': ['all', '5y'],
};

/** The ranges of a timeframe, the shortest first. */
export const rangesOf = (timeframe: ChartTimeframe): ChartRange[] =>
  CHART_RANGES.filter((range) => RANGES[timeframe].includes(range));

/** The range of a timeframe that is shown when none is asked for. */
export const rangeFor = (timeframe: ChartTimeframe): ChartRange => RANGES[timeframe][0];

/** Whether bars are shorter than a day. */
export const isIntradayChart = (timeframe: ChartTimeframe): boolean => /\d[mh]$/.test(timeframe);

/**
 * The charts that can be made of what is held: days, weeks and months of days or minutes, and below
 * a day what is no shorter than the stored bars.
 * @param held stored timeframes: '1d', '1h', '1m'.
 */
export function timeframesOf(held: readonly string[]): ChartTimeframe[] {
  const hasMinutes = held.includes('1m');
  const hasDays = held.includes('1d') || hasMinutes;
  return CHART_TIMEFRAMES.filter((timeframe) => {
    if (!isIntradayChart(timeframe)) return hasDays;
    return hasMinutes || (timeframe === '1h' && held.includes('1h'));
  });
}

/**
 * The first day of a range that ends with a day; days since 1970-01-01.
 * @param firstDay of the first bar: no range begins before it.
 */
export function rangeStart(
  calendar: Calendar,
  range: ChartRange,
  firstDay: number,
  endDay: number,
): number {
  if (range === 'all') return firstDay;
  const start = range.endsWith('d')
    ? sessionsBack(calendar, endDay, Number.parseInt(range, 10))
    : monthsBack(endDay, Number.parseInt(range, 10) * (range.endsWith('y') ? 12 : 1));
  return Math.max(firstDay, start);
}

/** The first of the last `count` sessions up to a day. */
function sessionsBack(calendar: Calendar, endDay: number, count: number): number {
  const last = Math.min(Math.max(endDay, calendar.firstDay), calendar.lastDay);
  const index = calendar.sessionsBefore(last + 1) - count;
  return index < 0 ? calendar.firstDay : calendar.sessionAt(index);
}

/** The same day of an earlier month; the last of that month when it has no such day. */
function monthsBack(day: number, months: number): number {
  const [year, month, dayOfMonth] = toDate(day).split('-').map(Number);
  const index = year * 12 + month - 1 - months;
  const text = (date: number) =>
    `${String(Math.floor(index / 12)).padStart(4, '0')}-` +
    `${String((index % 12) + 1).padStart(2, '0')}-${String(date).padStart(2, '0')}`;
  for (let date = dayOfMonth; date > 28; date--) {
    const found = toDay(text(date));
    if (!Number.isNaN(found)) return found;
  }
  return toDay(text(Math.min(dayOfMonth, 28)));
}
