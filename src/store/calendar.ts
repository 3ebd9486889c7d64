import { type Calendar, type CalendarOverride, makeCalendar } from '../model/session.ts';
import type { AnySql } from './database.ts';

/** The exchange calendar with the overrides of this database. */
export async function loadCalendar(sql: AnySql): Promise<Calendar> {
  const rows = await sql<
    {
      date: string;
      kind: 'closed' | 'session';
      open: string | null;
      close: string | null;
      reason: string;
    }[]
  >`
    select date, kind, to_char(open, 'HH24:MI') as open, to_char(close, 'HH24:MI') as close, reason
    from calendar_overrides order by date`;
  const overrides: CalendarOverride[] = rows.map(({ open, close, ...row }) => ({
    ...row,
    ...(open !== null && { open }),
    ...(close !== null && { close }),
  }));
  return makeCalendar(overrides);
}
