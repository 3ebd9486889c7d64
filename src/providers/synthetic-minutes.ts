import type { BarColumns } from '../model/bar.ts';
import { type IntradayBars, makeIntradayBars, type StoredIntraday } from '../model/intraday.ts';
import type { Calendar } from '../model/session.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** Minutes before the open and after the close that have a bar. */
const PRE_MARKET_MINUTES = 30;
const AFTER_HOURS_MINUTES = 30;
/** Part of a minute's volume outside of the session, and of the closing auction, of the day's. */
const THIN = 0.0002;
const AUCTION = 0.08;

/**
 * Made-up minutes of one session that agree with its made-up daily bar: they begin at its open,
 * end at its close (the auction's print in the minute at the close), touch its high and its low and
 * stay between them. Volumes follow the day's U.
 */
export function makeMinutes(
  daily: BarColumns,
  row: number,
  calendar: Calendar,
  random: () => number,
): IntradayBars {
  const day = daily.session[row];
  const openMs = calendar.openMs(day);
  const closeMs = calendar.closeMs(day);
  const regular = Math.round((closeMs - openMs) / MINUTE_MS);
  const length = PRE_MARKET_MINUTES + regular + AFTER_HOURS_MINUTES;
  const bars = makeIntradayBars(length);
  const path = makeDayPath(daily, row, regular, random);
  for (let i = 0; i < length; i++) {
    const minute = i - PRE_MARKET_MINUTES;
    const at = Math.min(Math.max(minute, 0), regular);
    bars.ts[i] = openMs + minute * MINUTE_MS;
    bars.session[i] = day;
    // What is traded outside of the session goes at the price next to it.
    const open = path[at];
    const close = minute < 0 || minute >= regular ? open : path[at + 1];
    bars.open[i] = open;
    bars.close[i] = close;
    bars.high[i] = Math.max(open, close);
    bars.low[i] = Math.min(open, close);
    bars.volume[i] = Math.max(1, Math.round(daily.volume[row] * weight(minute, regular)));
    bars.vwap[i] = Math.round(((open + close) / 2) * 10_000) / 10_000;
    bars.tradeCount[i] = Math.max(1, Math.round(bars.volume[i] / 110));
  }
  return bars;
}

/** Prices at the borders of the session's minutes, from the day's open to its close. */
function makeDayPath(
  daily: BarColumns,
  row: number,
  minutes: number,
  random: () => number,
): Float64Array {
  const open = daily.open[row];
  const close = daily.close[row];
  const high = Math.max(daily.high[row], open, close);
  const low = Math.min(daily.low[row], open, close);
  const steps = new Float64Array(minutes + 1);
  for (let i = 1; i <= minutes; i++) steps[i] = steps[i - 1] + random();
  const spread = (high - low) / (2 * Math.sqrt(minutes));
  const path = new Float64Array(minutes + 1);
  for (let i = 0; i <= minutes; i++) {
    const part = i / minutes;
    // A bridge: what the random walk strays by its end is taken off on the way.
    const price = open + (close - open) * part + (steps[i] - steps[minutes] * part) * spread;
    path[i] = Math.round(Math.min(high, Math.max(low, price)) * 100) / 100;
  }
  path[1 + Math.floor(minutes * 0.3)] = high;
  path[1 + Math.floor(minutes * 0.7)] = low;
  path[0] = open;
  path[minutes] = close;
  return path;
}

/** A minute's part of the day's volume; `minute` counts from the open. */
function weight(minute: number, regular: number): number {
  if (minute === regular) return AUCTION;
  if (minute < 0 || minute > regular) return THIN;
  const fromMiddle = (minute - regular / 2) / (regular / 2);
  // The mean of 0.5 + 1.5 x^2 over [-1, 1] is 1.
  return ((0.5 + 1.5 * fromMiddle * fromMiddle) / regular) * (1 - AUCTION);
}

/** Hours on the clock from minutes, as the vendor cuts them. */
export function toVendorTimeframe(minutes: IntradayBars, timeframe: StoredIntraday): IntradayBars {
  if (timeframe === '1m') return minutes;
  const starts: number[] = [];
  for (let i = 0; i < minutes.length; i++) {
    const hour = Math.floor(minutes.ts[i] / HOUR_MS);
    if (i === 0 || hour !== Math.floor(minutes.ts[i - 1] / HOUR_MS)) starts.push(i);
  }
  const hours = makeIntradayBars(starts.length);
  starts.forEach((first, row) => {
    const end = starts[row + 1] ?? minutes.length;
    const part = (column: Float64Array) => column.subarray(first, end);
    hours.ts[row] = Math.floor(minutes.ts[first] / HOUR_MS) * HOUR_MS;
    hours.session[row] = minutes.session[first];
    hours.open[row] = minutes.open[first];
    hours.close[row] = minutes.close[end - 1];
    hours.high[row] = Math.max(...part(minutes.high));
    hours.low[row] = Math.min(...part(minutes.low));
    hours.volume[row] = part(minutes.volume).reduce((a, b) => a + b);
    hours.tradeCount[row] = part(minutes.tradeCount).reduce((a, b) => a + b);
    const traded = part(minutes.vwap).reduce((sum, v, i) => sum + v * minutes.volume[first + i], 0);
    hours.vwap[row] = Math.round((traded / hours.volume[row]) * 10_000) / 10_000;
  });
  return hours;
}
