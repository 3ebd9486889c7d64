import { errorMessage } from '../errors.ts';
import { type AnySql, isDatabaseAway, type Sql } from '../store/database.ts';

/** What may be asked for; each has, beside single ones, batches that are told as a range. */
export const EVENT_KINDS = ['trade', 'bar', 'snapshot'] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** Names of an event in the log: of single things, and of batches. */
const NAMES: Record<EventKind, string[]> = {
  trade: ['trade', 'trades'],
  bar: ['bar', 'bars'],
  snapshot: ['snapshot', 'snapshots'],
};

export interface LoggedEvent {
  eventId: number;
  instrumentId: number;
  /** trade, bar, snapshot, or of batches trades, bars. */
  name: string;
  /** As it was when the event was committed. */
  symbol: string;
  /** A JSON object. */
  data: string;
  /** When it was committed, epoch microseconds. */
  committedMicros: number;
}

/** Which events are meant; null stands for all. */
export interface EventFilter {
  instrumentIds: readonly number[] | null;
  kinds: readonly EventKind[] | null;
}

/** The names that a filter lets pass. */
export function eventNames(kinds: readonly EventKind[]): string[] {
  return kinds.flatMap((kind) => NAMES[kind]);
}

export interface EventRange {
  /** Exclusive. */
  after: number;
  /** Inclusive; none: whatever is committed. */
  upTo?: number;
  /** Events that are looked at, whether they pass the filter or not. */
  limit: number;
}

/** Part of the log, in the order of the commits. */
export interface EventPage {
  /** Those that pass the filter. */
  events: LoggedEvent[];
  /** Up to which number was looked. */
  lastId: number;
  /** Number of the first event that was looked at, whether it passes or not; null without any. */
  firstId: number | null;
  /** The last number that is no longer kept, 0 before the first: one before it has missed some. */
  prunedId: number;
  /** False when this was the end of the range. */
  hasMore: boolean;
}

interface EventRow {
  scanned: number;
  first: number | null;
  last: number | null;
  pruned: number;
  event_id: number | null;
  instrument_id: number;
  kind: string;
  symbol: string;
  data: string;
  micros: number;
}

const EVERYTHING: EventFilter = { instrumentIds: null, kinds: null };

/** Reads on in the log: one statement that looks at `limit` events, however few of them pass. */
export async function selectEvents(
  sql: AnySql,
  { after, upTo, limit }: EventRange,
  { instrumentIds, kinds }: EventFilter = EVERYTHING,
): Promise<EventPage> {
  const names = kinds && eventNames(kinds);
  const rows = await sql<EventRow[]>`
    with page as materialized (
      select * from events
      where event_id > ${after} and event_id <= ${upTo ?? Number.MAX_SAFE_INTEGER}
      order by event_id limit ${limit})
    select s.*, p.event_id, p.instrument_id, p.kind, p.symbol, p.data,
           (extract(epoch from p.ts_committed) * 1000000)::bigint as micros
    from (
      select count(*)::int as scanned, max(event_id) as last,
             min(event_id) filter (where kind <> 'pruned') as first,
             coalesce((select event_id
                       from (select event_id, kind from events order by event_id limit 1) oldest
                       where kind = 'pruned'), 0) as pruned
      from page) s
    left join page p on p.kind <> 'pruned'
      and (${instrumentIds}::int[] is null or p.instrument_id = any(${instrumentIds}::int[]))
      and (${names}::text[] is null or p.kind = any(${names}::text[]))
    order by p.event_id`;
  const [{ scanned, first, last, pruned }] = rows;
  const hasMore = scanned === limit;
  return {
    events: rows.filter(isEvent).map(toEvent),
    lastId: (hasMore ? last : (upTo ?? last)) ?? after,
    firstId: first,
    prunedId: pruned,
    hasMore,
  };
}

const isEvent = (row: EventRow): row is EventRow & { event_id: number } => row.event_id !== null;

function toEvent(row: EventRow & { event_id: number }): LoggedEvent {
  return {
    eventId: row.event_id,
    instrumentId: row.instrument_id,
    name: row.kind,
    symbol: row.symbol,
    data: row.data,
    committedMicros: row.micros,
  };
}

/** The number of the newest event that is committed; 0 before the first. */
export async function selectNewestEventId(sql: AnySql): Promise<number> {
  const [row] = await sql<{ id: number }[]>`select coalesce(max(event_id), 0) as id from events`;
  return row.id;
}

export interface TailOptions {
  /** Called with what is new, in order and without a hole; `after` as in the range. */
  onPage: (page: EventPage, after: number) => void;
  /** What went wrong, unless it is that the database is away: who listens to it says that. */
  onError: (message: string) => void;
  /** Between two readings, so that many small commits are read together. */
  tickMs?: number;
  /** It is looked anew after this long without a notice, should one ever be lost. */
  lookMs?: number;
}

const TICK_MS = 20;
const LOOK_MS = 5_000;
const RETRY_MS = 500;
const PAGE_EVENTS = 250;

/**
 * The end of the log as it grows, read once for all who want to know. Nothing is read until
 * `catchUp` starts it, nor after `stop`; in between it reads when it is told of something new.
 */
export class EventTail {
  /** Events up to this one were handed on. */
  eventId = 0;
  #isStarted = false;
  /** Grows with each stop: a reading that began before says nothing any more. */
  #generation = 0;
  #reading: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #timer: Timer | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly sql: Sql,
    readonly options: TailOptions,
  ) {}

  /**
   * Reads what is committed by now; begins with the newest event when nothing was read before.
   * Many who ask at a time share a reading. @throws Error of the database.
   */
  catchUp(): Promise<void> {
    if (!this.#reading) return this.#begin();
    // The one under way may have begun before the commit that is asked for.
    this.#next ??= this.#reading
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#reading ?? this.#begin();
      });
    return this.#next;
  }

  /** There is an event with this number. */
  notice(eventId: number): void {
    if (this.#isStarted && eventId > this.eventId) this.#readIn(this.#untilTick());
  }

  /** Notices may have been lost. */
  wake(): void {
    if (this.#isStarted) this.#readIn(this.#untilTick());
  }

  stop(): void {
    this.#isStarted = false;
    this.#generation++;
    this.#cancel();
  }

  #untilTick(): number {
    return Math.max(0, this.#readAt + (this.options.tickMs ?? TICK_MS) - performance.now());
  }

  #cancel(): void {
    clearTimeout(this.#timer);
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  #readIn(delayMs: number): void {
    const dueAt = performance.now() + delayMs;
    if (dueAt >= this.#dueAt) return;
    this.#cancel();
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.catchUp().catch((error) => {
        if (!isDatabaseAway(error)) this.options.onError(errorMessage(error));
      });
    }, delayMs);
  }

  #begin(): Promise<void> {
    const generation = this.#generation;
    this.#readAt = performance.now();
    const reading = this.#read(generation).then(
      () => this.#end(generation, this.options.lookMs ?? LOOK_MS),
      (error) => {
        this.#end(generation, RETRY_MS);
        throw error;
      },
    );
    this.#reading = reading;
    return reading;
  }

  #end(generation: number, againMs: number): void {
    this.#reading = undefined;
    if (generation === this.#generation && this.#isStarted) this.#readIn(againMs);
  }

  async #read(generation: number): Promise<void> {
    if (!this.#isStarted) {
      const newest = await selectNewestEventId(this.sql);
      if (generation !== this.#generation) return;
      this.eventId = newest;
      this.#isStarted = true;
      return;
    }
    for (let hasMore = true; hasMore; ) {
      const after = this.eventId;
      const page = await selectEvents(this.sql, { after, limit: PAGE_EVENTS });
      if (generation !== this.#generation) return;
      hasMore = page.hasMore;
      if (page.lastId === after) return;
      this.eventId = page.lastId;
      this.options.onPage(page, after);
    }
  }
}
