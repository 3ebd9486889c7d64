import { errorMessage } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type AnySql, lockTransaction, type Sql, type Transaction } from './database.ts';

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
  await lockTransaction(tx, 'events');
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

/** Events that one statement deletes at most: some tens of milliseconds. */
const PRUNE_ROWS = 10_000;

/**
 * Forgets events committed before an instant: the oldest first, at most `limit` at a time,
 * and none behind one that is kept, so that there is no hole in what is left. The last one that
 * goes leaves its number behind, as a row of the kind `pruned`: whoever has seen that number or a
 * later one has missed nothing.
 * @returns how many went.
 */
export async function deleteEvents(sql: AnySql, before: Date, limit = PRUNE_ROWS): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    with oldest as materialized (
      select event_id, ts_committed from events order by event_id limit ${limit}),
    old as (
      select max(event_id) as id from oldest
      where event_id < coalesce(
        (select min(event_id) from oldest where ts_committed >= ${before}), 'infinity'::float8)),
    gone as (
      delete from events e using old where e.event_id < old.id returning e.kind),
    marked as (
      update events e set kind = 'pruned', data = '{}'
      from old where e.event_id = old.id and e.kind <> 'pruned' returning 1)
    select ((select count(*) from gone where kind <> 'pruned')
      + (select count(*) from marked))::int as count`;
  return row.count;
}

export interface EventPruning {
  /** Waits for what is under way. */
  stop(): Promise<void>;
}

export interface PruningOptions {
  write: Sql;
  /** Events are kept at least this long. */
  retentionHours: number;
  /** Only while this is true anything is deleted: one process does it for all. */
  isLeader: () => boolean;
  log: Log;
  everyMs?: number;
}

const PRUNE_EVERY_MS = 60_000;

/** Forgets events that are too old, every minute. What goes wrong is logged and tried again. */
export function startEventPruning(options: PruningOptions): EventPruning {
  const { write, retentionHours, isLeader, log, everyMs = PRUNE_EVERY_MS } = options;
  let isStopped = false;
  let running: Promise<void> | undefined;
  const prune = async () => {
    const before = new Date(Date.now() - retentionHours * 3_600_000);
    let count = PRUNE_ROWS;
    // A statement that found less than it may delete has come to what is kept.
    while (count >= PRUNE_ROWS - 1 && !isStopped && isLeader()) {
      count = await deleteEvents(write, before);
    }
  };
  const timer = setInterval(() => {
    if (running || !isLeader()) return;
    running = prune()
      .catch((error) => log('WARNING', `old events are not forgotten yet: ${errorMessage(error)}`))
      .finally(() => {
        running = undefined;
      });
  }, everyMs);
  return {
    stop: async () => {
      isStopped = true;
      clearInterval(timer);
      await running;
    },
  };
}
