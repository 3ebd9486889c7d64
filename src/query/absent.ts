import { type AbsenceReport, describeAbsence } from '../model/absence.ts';
import type { Calendar } from '../model/session.ts';
import type { Sql } from '../store/database.ts';
import { selectInstrumentCoverage } from './coverage.ts';
import type { BarsView } from './view.ts';

const NOTHING_ABSENT: AbsenceReport = { count: 0, ranges: [] };

export interface HeldDays {
  instrumentId: number;
  /** Which coverage is looked at: '1d', '1m', '1h'. */
  dataset: string;
  /** Days of the range that have a bar, ascending. */
  days: ArrayLike<number>;
  /** The range, days, both inclusive. */
  startDay: number;
  endDay: number;
}

/**
 * Which sessions of a range have no bar, and why; sessions that cannot have one yet are not looked
 * at. The database is asked only when there are any. Coverage is not kept by instant: of an instant
 * in the past a session counts as asked for when it was last asked for by then.
 */
export async function selectAbsent(
  sql: Sql,
  calendar: Calendar,
  { instrumentId, dataset, days, startDay, endDay }: HeldDays,
  view: Pick<BarsView, 'latestDay' | 'knownAtMs'>,
): Promise<AbsenceReport> {
  const firstDay = Math.max(startDay, calendar.firstDay);
  const lastDay = Math.min(endDay, view.latestDay);
  if (lastDay < firstDay) return NOTHING_ABSENT;
  const wanted = calendar.sessionsBefore(lastDay + 1) - calendar.sessionsBefore(firstDay);
  let held = 0;
  for (let i = 0; i < days.length; i++) {
    if (days[i] <= lastDay && days[i] >= firstDay && calendar.isSession(days[i])) held++;
  }
  if (held === wanted) return NOTHING_ABSENT;
  const coverage = await selectInstrumentCoverage(sql, instrumentId, dataset);
  const slices = coverage.slices.filter(
    ({ askedAt }) => view.knownAtMs === undefined || askedAt <= view.knownAtMs,
  );
  const { listedOn, delistedOn } = coverage;
  const asked = { firstDay, lastDay, latestDay: view.latestDay, listedOn, delistedOn };
  return describeAbsence(calendar, slices, days, asked);
}
