import { toDay } from '../model/session.ts';
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
): Promise<number | null> {
  const [row] = await sql<{ entitled_from: string | null }[]>`
    select max(r.end_session) as entitled_from
    from coverage r
    where r.state = 'not_entitled' and r.provider = ${provider} and r.dataset = '1d'
      and r.retry_at > ${new Date(nowMs)}
      and exists (
        select from coverage g
        where g.instrument_id = r.instrument_id and g.dataset = '1d' and g.provider = r.provider
          and g.state = 'complete' and g.start_session >= r.end_session)`;
  return row?.entitled_from == null ? null : toDay(row.entitled_from);
}
