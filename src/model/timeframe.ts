import { type BarColumns, makeBars } from './bar.ts';
import { toDate, toDay } from './session.ts';

/** The timeframes that are served from daily bars. */
export const DAILY_TIMEFRAMES = ['1d', '1w', '1mo'] as const;
export type DailyTimeframe = (typeof DAILY_TIMEFRAMES)[number];

export function isDailyTimeframe(text: string): text is DailyTimeframe {
  return (DAILY_TIMEFRAMES as readonly string[]).includes(text);
}

/** How long a bar is. One of a day or more is of whole sessions and has no length in minutes. */
export type Timeframe =
  | { kind: 'daily'; text: DailyTimeframe }
  /** `text` is as it was written: '60m' and '1h' are both 60 minutes. */
  | { kind: 'intraday'; text: string; minutes: number };

/** Minutes of the longest timeframe below a day. */
export const INTRADAY_MINUTES_MAX = 24 * 60;

const INTRADAY_FORM = /^([1-9]\d{0,3})([mh])$/;

/** A timeframe by its name: one of DAILY_TIMEFRAMES, or '1m' to '24h'; undefined if it is none. */
export function parseTimeframe(text: string): Timeframe | undefined {
  if (isDailyTimeframe(text)) return { kind: 'daily', text };
  const [, digits, unit] = INTRADAY_FORM.exec(text) ?? [];
  const minutes = Number(digits) * (unit === 'h' ? 60 : 1);
  return minutes <= INTRADAY_MINUTES_MAX ? { kind: 'intraday', text, minutes } : undefined;
}

/** What `parseTimeframe` takes, to stand after 'it must be'. */
export function describeTimeframes(): string {
  return (
    `one of ${DAILY_TIMEFRAMES.join(', ')}, or a whole number of minutes or hours ` +
    'from 1m to 24h, such as 5m, 65m, 4h'
  );
}

/** The first day of the bucket a session falls in: its Monday, or the first of its month. */
export function bucketStart(day: number, timeframe: DailyTimeframe): number {
  if (timeframe === '1d') return day;
  // 1970-01-01 was a Thursday: day 4 is the first Monday.
  if (timeframe === '1w') return day - ((((day - 4) % 7) + 7) % 7);
  return toDay(`${toDate(day).slice(0, 8)}01`);
}

/** The first day after the bucket that begins at `start`. */
export function bucketEnd(start: number, timeframe: DailyTimeframe): number {
  if (timeframe === '1d') return start + 1;
  if (timeframe === '1w') return start + 7;
  const [year, month] = toDate(start).split('-').map(Number);
  const next =
    month === 12 ? `${year + 1}-01-01` : `${year}-${String(month + 1).padStart(2, '0')}-01`;
  return toDay(next);
}

export interface RolledBars {
  /** `session` is the bucket's first day. */
  bars: BarColumns;
  /** For bucket i: its source rows are [rows[i], rows[i + 1]). */
  rows: Int32Array;
}

/**
 * Longer bars from daily ones (ascending): first open, highest high, lowest low, last close, summed
 * volume and trades. vwap is the volume-weighted mean where every source bar has one, else NaN.
 */
export function rollUp(daily: BarColumns, timeframe: DailyTimeframe): RolledBars {
  const starts: number[] = [];
  const rows: number[] = [];
  for (let i = 0; i < daily.length; i++) {
    const start = bucketStart(daily.session[i], timeframe);
    if (start === starts.at(-1)) continue;
    starts.push(start);
    rows.push(i);
  }
  rows.push(daily.length);
  const bars = makeBars(starts.length);
  for (let bucket = 0; bucket < starts.length; bucket++) {
    bars.session[bucket] = starts[bucket];
    rollRows(daily, rows[bucket], rows[bucket + 1], bars, bucket);
  }
  return { bars, rows: Int32Array.from(rows) };
}

/** Makes one bar, `bars[bucket]`, of the source's rows [first, end), of which there is one. */
export function rollRows(
  source: BarColumns,
  first: number,
  end: number,
  bars: BarColumns,
  bucket: number,
): void {
  let high = source.high[first];
  let low = source.low[first];
  let volume = 0;
  let trades = 0;
  let traded = 0;
  for (let i = first; i < end; i++) {
    high = Math.max(high, source.high[i]);
    low = Math.min(low, source.low[i]);
    volume += source.volume[i];
    trades += source.tradeCount[i];
    traded += source.vwap[i] * source.volume[i];
  }
  bars.open[bucket] = source.open[first];
  bars.high[bucket] = high;
  bars.low[bucket] = low;
  bars.close[bucket] = source.close[end - 1];
  bars.volume[bucket] = volume;
  bars.tradeCount[bucket] = trades;
  bars.vwap[bucket] = volume > 0 ? Math.round((traded / volume) * 10_000) / 10_000 : Number.NaN;
}
