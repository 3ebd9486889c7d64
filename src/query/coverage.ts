import type { CoverageState } from '../model/coverage.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import type { AnySql } from '../store/database.ts';

/**
 * The first day a provider's plan includes, as far as refusals have shown: the end of the newest
 * refused range that is followed by granted bars of the same instrument. Null when nothing was
 * refused, or long enough ago that it is worth asking again.
 */
export async function selectEntitledFrom(
  sql: AnySql,
  provider: string,
  nowMs: number,
  dataset = '1d',
): Promise<number | null> {
  const [row] = await sql<{ entitled_from: string | null }[]>`
    select max(r.end_session) as entitled_from
    from coverage r
    where r.state = 'not_entitled' and r.provider = ${provider} and r.dataset = ${dataset}
      and r.retry_at > ${new Date(nowMs)}
      and exists (
        select from coverage g
        where g.instrument_id = r.instrument_id and g.dataset = r.dataset
          and g.provider = r.provider
          and g.state = 'complete' and g.start_session >= r.end_session)`;
  return row?.entitled_from == null ? null : toDay(row.entitled_from);
}

/** Why there is nothing in a range of days, in the one set of words for it. */
export type AbsenceReason = Exclude<CoverageState, 'complete'> | 'closed' | 'unfetched' | 'missing';

export interface Absence {
  reason: AbsenceReason;
  message: string;
}

const MESSAGES: Record<Exclude<CoverageState, 'complete'>, string> = {
  vendor_empty: 'the provider was asked and gave no bar; it is asked again',
  not_entitled: 'the plan with the provider does not include these sessions',
  before_listing: 'the symbol was not listed yet',
};

export interface AbsenceRange {
  instrumentId: number;
  /** Days since 1970-01-01, both inclusive. */
  startDay: number;
  endDay: number;
  /** The latest session that can have a bar by now. */
  latestDay: number;
  /** '1d' when missing. */
  dataset?: string;
}

/** Says why an instrument has no bar in [startDay, endDay]. */
export async function selectAbsence(
  sql: AnySql,
  calendar: Calendar,
  range: AbsenceRange,
): Promise<Absence> {
  const { instrumentId, startDay, endDay, latestDay, dataset = '1d' } = range;
  const first = Math.max(startDay, calendar.firstDay);
  const last = Math.min(endDay, calendar.lastDay);
  const sessions = first > last ? [] : calendar.sessions(first, last);
  if (sessions.length === 0) {
    if (endDay < calendar.firstDay || startDay > calendar.lastDay) {
      const known = `${toDate(calendar.firstDay)} to ${toDate(calendar.lastDay)}`;
      return { reason: 'unfetched', message: `the calendar covers ${known}` };
    }
    const why = calendar.closureReason(first) ?? 'closed';
    return { reason: 'closed', message: `the exchange had no session in this range (${why})` };
  }
  if (sessions[0] > latestDay) {
    return { reason: 'unfetched', message: 'these sessions have not been published yet' };
  }
  const rows = await sql<{ state: CoverageState; detail: string | null }[]>`
    select state, detail from coverage
    where instrument_id = ${instrumentId} and dataset = ${dataset}
      and start_session <= ${toDate(last)} and end_session > ${toDate(first)}
    order by least(end_session, ${toDate(last)}::date + 1)
             - greatest(start_session, ${toDate(first)}::date) desc
    limit 1`;
  const [row] = rows;
  if (!row) return { reason: 'unfetched', message: 'these sessions were never asked for' };
  if (row.state === 'complete') {
    return { reason: 'missing', message: 'the sessions are covered, yet no bar is stored' };
  }
  const detail = row.detail === null ? '' : `: ${row.detail}`;
  return { reason: row.state, message: MESSAGES[row.state] + detail };
}
