import type { Transaction } from './database.ts';

/** One thing of the live stream: a trade, bar or snapshot, or a batch too large to spell out. */
export interface NewEvent {
  kind: 'trade' | 'bar' | 'snapshot' | 'trades' | 'bars';
  instrumentId: number;
  symbol: string;
  /** What the client gets beside `kind` and `symbol`. */
  data: object;
}

/**
 * How many rows of one instrument a transaction announces one by one. Of more (a backfill, an
 * import) it says in one event which range is new; the client reads it when it wants it.
 */
export const EVENTS_EACH_MAX = 20;

/**
 * Logs what the transaction commits, for the live stream. To be called last: from here until the
 * commit no other transaction can log, so that numbers are in the order of the commits and a reader
 * that has seen one number has seen all below it.
 */
export async function insertEvents(tx: Transaction, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  await tx`select pg_advisory_xact_lock(hashtext('marketd'), hashtext('events'))`;
  await tx`
    with numbered as (
      insert into events (event_id, instrument_id, kind, symbol, data, ts_committed)
      select nextval('event_ids'), id, kind, symbol, data, clock_timestamp()
      from unnest(${events.map((e) => e.instrumentId)}::int[], ${events.map((e) => e.kind)}::text[],
        ${events.map((e) => e.symbol)}::text[],
        ${events.map((e) => JSON.stringify(e.data))}::text[])
        with ordinality as e(id, kind, symbol, data, position)
      order by position
      returning event_id)
    select pg_notify('marketd', 'events ' || max(event_id)) from numbered`;
}

/**
 * Forgets events committed before an instant, the oldest first and some at a time.
 * @returns how many went.
 */
export async function deleteEvents(tx: Transaction, before: Date): Promise<number> {
  const rows = await tx`
    delete from events where event_id in (
      select event_id from (select event_id, ts_committed from events order by event_id limit 50000)
        as oldest
      where ts_committed < ${before})
    returning 1`;
  return rows.length;
}
