import type { HeldOnDay } from '../model/calendar-change.ts';
import { newYorkInstant, toDate } from '../model/session.ts';
import type { AnySql } from '../store/database.ts';

/**
 * How many instruments have bars of a New York date, and how many that are tracked have none.
 * @param day days since 1970-01-01.
 */
export async function selectHeldOnDay(sql: AnySql, day: number): Promise<HeldOnDay> {
  const date = toDate(day);
  const [first, end] = [new Date(newYorkInstant(day, 0)), new Date(newYorkInstant(day + 1, 0))];
  // A look into the key for each instrument, which a limit keeps it at: no key begins with the day.
  const [row] = await sql<HeldOnDay[]>`
    select count(d.found)::int as daily, count(coalesce(m.found, h.found))::int as intraday,
           count(*) filter (where d.found is null and i.is_tracked
             and (i.listed_on is null or i.listed_on <= ${date})
             and (i.delisted_on is null or i.delisted_on >= ${date}))::int as waiting
    from instruments i
    left join lateral (
      select true as found from bars_1d
      where instrument_id = i.instrument_id and session = ${date} limit 1) d on true
    left join lateral (
      select true as found from bars_1h
      where instrument_id = i.instrument_id and ts >= ${first} and ts < ${end} limit 1) h on true
    left join lateral (
      select true as found from bars_1m
      where instrument_id = i.instrument_id and ts >= ${first} and ts < ${end} limit 1) m on true`;
  return row;
}
