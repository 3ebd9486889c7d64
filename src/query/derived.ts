import { makeBars } from '../model/bar.ts';
import { FLAG, VALIDATED_SCORE } from '../model/quality.ts';
import { rollUpDay } from '../model/rollup.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import type { Sql } from '../store/database.ts';
import type { DeriveBars } from './block.ts';
import { dropBelow, type IntradayReader, sliceDays } from './intraday.ts';

/**
 * Makes daily bars of minutes for sessions that have closed, have minutes and have no bar of their
 * own. The provider's daily bar is the official one: auctions and late prints are in it that no
 * minute shows, so where it is there nothing is made.
 */
export function makeDerive(
  sql: Sql,
  intraday: IntradayReader,
  calendar: Calendar,
  now: () => number,
): (instrumentId: number, knownAtMs?: number) => DeriveBars {
  return (instrumentId, knownAtMs) => async (heldDays) => {
    const atMs = Math.min(now(), knownAtMs ?? Number.POSITIVE_INFINITY);
    const days = await selectMissingDays(sql, instrumentId, calendar, heldDays, atMs);
    return deriveDays(intraday, { instrumentId, knownAtMs }, calendar, days);
  };
}

/** Sessions with minutes and without a daily bar, by what coverage says of the minutes. */
async function selectMissingDays(
  sql: Sql,
  instrumentId: number,
  calendar: Calendar,
  heldDays: Int32Array,
  nowMs: number,
): Promise<number[]> {
  const ranges = await sql<{ start_session: string; end_session: string }[]>`
    select start_session, end_session from coverage
    where instrument_id = ${instrumentId} and dataset = '1m' and state = 'complete'
    order by start_session`;
  const held = new Set(heldDays);
  const latest = calendar.latestSession(nowMs, 0);
  const days: number[] = [];
  for (const { start_session, end_session } of ranges) {
    const last = Math.min(toDay(end_session) - 1, latest);
    if (last < toDay(start_session)) continue;
    for (const day of calendar.sessions(toDay(start_session), last)) {
      if (!held.has(day)) days.push(day);
    }
  }
  return days;
}

async function deriveDays(
  intraday: IntradayReader,
  { instrumentId, knownAtMs }: { instrumentId: number; knownAtMs: number | undefined },
  calendar: Calendar,
  days: readonly number[],
) {
  const bars = makeBars(days.length);
  const score = new Float64Array(days.length);
  const flags = new Int32Array(days.length);
  const isFinal = new Int32Array(days.length);
  const providers = new Set<string>();
  let size = 0;
  let month: Awaited<ReturnType<IntradayReader['minutes']>> | undefined;
  let name = '';
  const asked =
    days.length === 0
      ? new Map<number, number>()
      : await intraday.askedWithin(instrumentId, '1m', days[0], days[days.length - 1], knownAtMs);
  for (const [i, day] of days.entries()) {
    // A month at once, as they are read: of an instant in the past none is kept.
    if (month === undefined || toDate(day).slice(0, 7) !== name) {
      name = toDate(day).slice(0, 7);
      let last = i;
      while (last + 1 < days.length && toDate(days[last + 1]).startsWith(name)) last++;
      month = await intraday.minutes(instrumentId, day, days[last], knownAtMs);
    }
    // A minute that waits for review must not make a day's high or low.
    const minutes = dropBelow(sliceDays(month.parts[0], day, day), VALIDATED_SCORE);
    const daily = rollUpDay(minutes, calendar, day);
    if (!daily) continue;
    for (const provider of month.providers) providers.add(provider);
    bars.session[size] = day;
    bars.open[size] = daily.open;
    bars.high[size] = daily.high;
    bars.low[size] = daily.low;
    bars.close[size] = daily.close;
    bars.volume[size] = daily.volume;
    bars.vwap[size] = daily.vwap;
    bars.tradeCount[size] = daily.tradeCount;
    score[size] = minutes.score.reduce((least, value) => Math.min(least, value), 1);
    flags[size] = minutes.flags.reduce((all, value) => all | value, 0);
    // What came after its minutes were asked for is not in it.
    if ((asked.get(day) ?? Number.POSITIVE_INFINITY) < calendar.closeMs(day))
      flags[size] |= FLAG.unfinished;
    isFinal[size] = minutes.isFinal.every((value) => value === 1) ? 1 : 0;
    size++;
  }
  const all = { bars: { ...bars, length: size }, score, flags, isFinal };
  return { ...all, providers: [...providers] };
}
