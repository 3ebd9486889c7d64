import type { RejectedRow } from '../model/bar.ts';
import { type CoverageRange, recordAnswer } from '../model/coverage.ts';
import { FAILURE_FLAGS, FLAG, REVIEW_SCORE, VALIDATED_SCORE } from '../model/quality.ts';
import { type Calendar, newYorkDay, toDate } from '../model/session.ts';
import type { StoredBars } from '../store/bar-columns.ts';
import type { Transaction } from '../store/database.ts';
import { EVENTS_EACH_MAX, type NewEvent } from '../store/events.ts';
import {
  type CoverageChange,
  type StatusChange,
  selectCoverageRanges,
  upsertCoverage,
} from '../store/upsert.ts';
import { cachedScore } from './validate.ts';

/** What is recorded beside bars, in the transaction that stores them. */

/** Sessions that a provider was asked for, days, both inclusive. */
export interface AskedRange {
  firstDay: number;
  lastDay: number;
  /** Set when the provider refused the range. */
  refusal?: string;
}

export type CounterChange = Omit<StatusChange, 'isSynthetic'>;

export function emptyStatus(instrumentId: number): CounterChange {
  return {
    instrumentId,
    records: 0,
    validated: 0,
    excluded: 0,
    gaps: 0,
    anomalies: 0,
    scoreSum: 0,
    revisions: 0,
    revisedAt: null,
    firstDay: null,
    latestDay: null,
    latestScore: null,
  };
}

/** Counts a bar in (sign 1) or out (-1). */
export function addToStatus(
  status: CounterChange,
  bars: StoredBars,
  row: number,
  sign: 1 | -1,
): void {
  const score = bars.score[row];
  const flags = bars.flags[row];
  status.records += sign;
  if (score >= VALIDATED_SCORE) status.validated += sign;
  if (score < REVIEW_SCORE || (flags & FAILURE_FLAGS) !== 0) status.excluded += sign;
  if ((flags & FLAG.gap) !== 0) status.gaps += sign;
  if ((flags & (FLAG.volumeSpike | FLAG.volumeDrought)) !== 0) status.anomalies += sign;
  status.scoreSum += sign * score;
  if (sign < 0) return;
  const day = bars.session[row];
  if (status.firstDay === null || day < status.firstDay) status.firstDay = day;
  if (status.latestDay === null || day >= status.latestDay) {
    status.latestDay = day;
    status.latestScore = score;
  }
}

/**
 * Marks the bars that were received before their time was over. The volume of such a bar is that
 * of a part of it, so that nothing is found in its being small.
 * @param endMs when the time of a row is over; Number.NEGATIVE_INFINITY for rows that stay as they
 *   are.
 */
export function markUnfinished(
  bars: StoredBars,
  receivedAt: number,
  endMs: (row: number) => number,
): void {
  for (let row = bars.length - 1; row >= 0; row--) {
    if (endMs(row) <= receivedAt) continue;
    bars.flags[row] = (bars.flags[row] & ~FLAG.volumeDrought) | FLAG.unfinished;
    bars.score[row] = cachedScore(bars.flags[row]);
  }
}

/** What arrived for one instrument, as far as coverage looks at it. */
export interface Arrival {
  instrumentId: number;
  /** Sessions that have a bar, ascending and unique. */
  days: readonly number[];
  rejected: readonly RejectedRow[];
  /** What was asked for; undefined when nobody was asked (a file). */
  asked?: readonly AskedRange[];
  listedOn: number | null;
}

export interface CoverageOptions {
  provider: string;
  /** Epoch ms. */
  receivedAt: number;
  calendar: Calendar;
  settledBefore: number;
}

/**
 * Records what became of the sessions that were asked for, or that a file has.
 * @returns the instruments whose coverage says something else now.
 */
export async function recordCoverage(
  tx: Transaction,
  dataset: string,
  arrivals: readonly Arrival[],
  options: CoverageOptions,
): Promise<number[]> {
  const touched = arrivals.filter(({ asked, days }) => asked || days.length > 0);
  const ids = touched.map(({ instrumentId }) => instrumentId);
  const known = await selectCoverageRanges(tx, dataset, ids);
  const changes: CoverageChange[] = [];
  for (const one of touched) {
    const before = known.get(one.instrumentId) ?? [];
    const after = one.asked
      ? answeredCoverage(before, one, options)
      : fileCoverage(before, one, options, dataset === '1d');
    changes.push({ instrumentId: one.instrumentId, before, after });
  }
  await upsertCoverage(tx, dataset, changes);
  return changes
    .filter(({ before, after }) => describeStates(before) !== describeStates(after))
    .map(({ instrumentId }) => instrumentId);
}

/**
 * What readers see of coverage: which sessions are in which state, and why; and which of them was
 * asked for while it went on.
 */
function describeStates(ranges: readonly CoverageRange[]): string {
  return ranges
    .map(({ start, end, state, detail, askedAt }) => {
      const isOver = newYorkDay(askedAt) >= end;
      return [start, end, state, detail, isOver || askedAt].join();
    })
    .join(';');
}

function answeredCoverage(
  before: readonly CoverageRange[],
  { asked = [], days, rejected, listedOn }: Arrival,
  options: CoverageOptions,
): CoverageRange[] {
  const present = new Set(days);
  const refused = new Map(rejected.map((row) => [row.session ?? '', row.reason]));
  const emptyDetail = (day: number) => {
    const reason = refused.size > 0 ? refused.get(toDate(day)) : undefined;
    return reason === undefined ? null : `the row was rejected: ${reason}`;
  };
  let ranges = [...before];
  for (const { firstDay, lastDay, refusal } of asked) {
    const answer = {
      start: firstDay,
      end: lastDay + 1,
      provider: options.provider,
      askedAt: options.receivedAt,
      settledBefore: options.settledBefore,
      hasBar: (day: number) => present.has(day),
      emptyDetail,
      listedOn,
      refusal,
    };
    ranges = recordAnswer(ranges, answer, options.calendar);
  }
  return ranges;
}

/**
 * A file covers the sessions it has bars for, unless they are complete already. One bar is all of
 * a day; of minutes a file may have a part of a session, so that stays to be asked for.
 */
function fileCoverage(
  before: readonly CoverageRange[],
  arrival: Arrival,
  options: CoverageOptions,
  isWhole: boolean,
): CoverageRange[] {
  const { calendar } = options;
  let ranges = [...before];
  const isComplete = (day: number) =>
    before.some((r) => r.start <= day && day < r.end && r.state === 'complete');
  const days = arrival.days.filter((day) => calendar.sessionIndex(day) >= 0);
  for (let i = 0; i < days.length; i++) {
    if (isComplete(days[i])) continue;
    const first = i;
    const follows = () =>
      i + 1 < days.length &&
      calendar.sessionIndex(days[i + 1]) === calendar.sessionIndex(days[i]) + 1 &&
      !isComplete(days[i + 1]);
    while (follows()) i++;
    const answer = {
      start: days[first],
      end: days[i] + 1,
      provider: options.provider,
      // Nobody was asked for the rest of a session: whoever asks next asks for it.
      askedAt: isWhole ? options.receivedAt : 0,
      settledBefore: isWhole ? options.settledBefore : Number.NEGATIVE_INFINITY,
      hasBar: () => true,
      listedOn: null,
    };
    ranges = recordAnswer(ranges, answer, calendar);
  }
  return ranges;
}

/** Announces written bars, each by itself or as a range when they are many. */
export function barEvents(
  instrumentId: number,
  symbol: string,
  timeframe: string,
  bars: StoredBars,
  rows: readonly number[],
  timeOf: (row: number) => string,
): NewEvent[] {
  if (rows.length === 0) return [];
  if (rows.length > EVENTS_EACH_MAX) {
    const first = timeOf(rows[0]);
    const last = timeOf(rows[rows.length - 1]);
    const data = { timeframe, first, last, count: rows.length };
    return [{ kind: 'bars', instrumentId, symbol, data }];
  }
  const orNull = (value: number) => (Number.isNaN(value) ? null : value);
  return rows.map((row) => ({
    kind: 'bar',
    instrumentId,
    symbol,
    data: {
      timeframe,
      time: timeOf(row),
      open: bars.open[row],
      high: bars.high[row],
      low: bars.low[row],
      close: bars.close[row],
      volume: bars.volume[row],
      vwap: orNull(bars.vwap[row]),
      trade_count: orNull(bars.tradeCount[row]),
      quality_score: bars.score[row],
      is_final: bars.isFinal[row] === 1,
    },
  }));
}
