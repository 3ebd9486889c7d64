import pLimit from 'p-limit';
import { errorMessage } from '../errors.ts';
import {
  EVENT_KINDS,
  type EventFilter,
  type EventPage,
  EventTail,
  eventNames,
  type LoggedEvent,
  selectEvents,
} from '../query/events.ts';
import { isDatabaseAway, type Sql } from '../store/database.ts';
import type { Log } from '../telemetry.ts';
import { HttpError } from './errors.ts';
import { StreamClient } from './stream-client.ts';
import * as frames from './stream-frame.ts';

export interface LiveStreamOptions {
  /** A pool without transactions. */
  sql: Sql;
  clientsMax: number;
  log: Log;
  heartbeatMs?: number;
  /** What may wait for a client that cannot take it; one that has more waiting is dropped. */
  waitingBytesMax?: number;
  /** Events that are looked at in one step while a client catches up. */
  pageEvents?: number;
  /** Between two readings of the log. */
  tickMs?: number;
}

export interface Subscription {
  filter: EventFilter;
  /** The symbols of the filter, as they are spelled here. */
  symbols: readonly string[] | null;
  /** The last event that the client has; undefined: what is committed from now on. */
  lastEventId?: number;
  /** The client's address, for the log. */
  address?: string;
}

/** A connection that is silent for a minute is cut. */
const HEARTBEAT_MS = 15_000;
const WAITING_BYTES_MAX = 1_048_576;
const PAGE_EVENTS = 1_000;
/** Connections that clients who catch up may use at a time: others want to read as well. */
const READERS_MAX = 2;
const RETRY_MS = 500;

/** Live clients that get the same bytes. */
interface Group {
  passes: (event: LoggedEvent) => boolean;
  clients: Set<StreamClient>;
}

/**
 * The live stream of one process: reads the log of events once, and gives each client what it asked
 * for. A client that was away is first given what it missed, from the log and as fast as it takes
 * it; one that cannot keep up with what is new is dropped, and may come back as one that was away.
 */
export class LiveStream {
  readonly #tail: EventTail;
  readonly #clients = new Map<StreamClient, Subscription>();
  readonly #groups = new Map<string, Group>();
  readonly #limit = pLimit(READERS_MAX);
  /** Clients, and those that are about to become some. */
  #places = 0;
  #isClosed = false;
  #heartbeat: Timer | undefined;

  constructor(readonly options: LiveStreamOptions) {
    this.#tail = new EventTail(options.sql, {
      onPage: (page, after) => this.#push(page, after),
      onError: (message) => options.log('ERROR', `the stream: ${message}`),
      tickMs: options.tickMs,
    });
  }

  get clientCount(): number {
    return this.#places;
  }

  /** An event was committed. */
  notice(eventId: number): void {
    this.#tail.notice(eventId);
  }

  /** Notices may have been lost until now. */
  wake(): void {
    this.#tail.wake();
  }

  /**
   * The body of an answer that goes on until the client leaves, is dropped, or `close`.
   * @throws HttpError 503 when there are too many, 422 for an event that does not exist yet.
   */
  async open(subscription: Subscription): Promise<ReadableStream<Uint8Array>> {
    this.#refuseWhenClosed();
    const { clientsMax } = this.options;
    if (this.#places >= clientsMax) {
      const message = `${clientsMax} clients are listening, and more are not taken: try later`;
      throw new HttpError(503, 'too_many_clients', message);
    }
    this.#places++;
    try {
      // From here on nothing that is committed later can be passed over.
      await this.#tail.catchUp();
      this.#refuseWhenClosed();
      return this.#add(subscription).body;
    } catch (error) {
      this.#leavePlace();
      throw error;
    }
  }

  /** Says goodbye to everybody, and takes nobody any more. */
  close(): void {
    this.#isClosed = true;
    for (const client of this.#clients.keys()) client.end(frames.byeFrame());
    this.#tail.stop();
  }

  #refuseWhenClosed(): void {
    if (this.#isClosed) throw new HttpError(503, 'stopping', 'marketd is stopping');
  }

  #add(subscription: Subscription): StreamClient {
    const { filter, symbols, lastEventId } = subscription;
    const newest = this.#tail.eventId;
    if (lastEventId !== undefined && lastEventId > newest) {
      throw new HttpError(
        422,
        'invalid_parameter',
        `last_event_id is ${lastEventId}, and the newest event is ${newest}: give the id of the ` +
          'last event that you have, or none for what is committed from now on',
        'last_event_id',
      );
    }
    const client: StreamClient = new StreamClient({
      onBehind: () => this.#limit(() => this.#replay(client, subscription)),
      onGone: () => this.#remove(client, subscription),
    });
    this.#clients.set(client, subscription);
    this.#heartbeat ??= setInterval(() => this.#beat(), this.options.heartbeatMs ?? HEARTBEAT_MS);
    const after = lastEventId ?? newest;
    client.eventId = after;
    const kinds = filter.kinds ?? EVENT_KINDS;
    client.give(frames.helloFrame({ after, newest, symbols, kinds }));
    if (after === newest) this.#makeLive(client, subscription);
    return client;
  }

  #makeLive(client: StreamClient, { filter }: Subscription): void {
    client.isLive = true;
    const key = groupKey(filter);
    const group = this.#groups.get(key) ?? { passes: makeTest(filter), clients: new Set() };
    group.clients.add(client);
    this.#groups.set(key, group);
  }

  #remove(client: StreamClient, { filter }: Subscription): void {
    this.#clients.delete(client);
    const key = groupKey(filter);
    const group = this.#groups.get(key);
    group?.clients.delete(client);
    if (group?.clients.size === 0) this.#groups.delete(key);
    this.#leavePlace();
  }

  #leavePlace(): void {
    this.#places--;
    if (this.#places > 0) return;
    this.#tail.stop();
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  /** The next part of what a client missed; makes it live when that was the last. */
  async #replay(client: StreamClient, subscription: Subscription): Promise<void> {
    if (client.isGone) return;
    const { sql, pageEvents: limit = PAGE_EVENTS } = this.options;
    try {
      const range = { after: client.eventId, upTo: this.#tail.eventId, limit };
      const page = await selectEvents(sql, range, subscription.filter);
      if (client.isGone) return;
      const newest = this.#tail.eventId;
      if (page.prunedId > client.eventId) {
        client.eventId = newest;
        client.give(frames.resetFrame(newest, page.firstId, newest));
      } else {
        client.eventId = page.lastId;
        const text = page.events.map(frames.printEvent).join('');
        if (text !== '') client.give(frames.encodeText(text));
      }
      if (client.eventId === newest) this.#makeLive(client, subscription);
    } catch (error) {
      if (!isDatabaseAway(error)) this.#drop(client, 'failed', errorMessage(error));
      else await Bun.sleep(RETRY_MS);
    }
  }

  /** What is new, to all that are up to date: each event is printed once. */
  #push(page: EventPage, after: number): void {
    const { prunedId, firstId, lastId } = page;
    const reset = prunedId > after && frames.resetFrame(prunedId, firstId, lastId);
    const texts = page.events.map(frames.printEvent);
    for (const { passes, clients } of this.#groups.values()) {
      const text = texts.filter((_, i) => passes(page.events[i])).join('');
      const chunk = text !== '' && frames.encodeText(text);
      for (const client of clients) {
        if (reset) client.give(reset);
        if (chunk) this.#give(client, chunk);
      }
    }
  }

  #give(client: StreamClient, chunk: Uint8Array): void {
    const { waitingBytes } = client;
    const { waitingBytesMax = WAITING_BYTES_MAX } = this.options;
    if (waitingBytes === 0 || waitingBytes + chunk.length <= waitingBytesMax) client.give(chunk);
    else this.#drop(client, 'too_slow', `${waitingBytes} bytes wait to be taken`);
  }

  #drop(client: StreamClient, reason: 'too_slow' | 'failed', why: string): void {
    const address = this.#clients.get(client)?.address;
    const said = reason === 'failed' ? 'an error of marketd itself' : why;
    client.end(frames.droppedFrame(reason, said));
    const level = reason === 'failed' ? 'ERROR' : 'WARNING';
    this.options.log(level, `a client of the stream was dropped: ${why}`, { reason, address });
  }

  #beat(): void {
    const live = frames.heartbeatFrame(this.#tail.eventId);
    for (const client of this.#clients.keys()) {
      // What has something waiting is not silent.
      if (!client.isIdle) continue;
      client.give(client.isLive ? live : frames.heartbeatFrame(client.eventId));
    }
  }
}

function groupKey({ instrumentIds, kinds }: EventFilter): string {
  return `${instrumentIds?.toSorted((a, b) => a - b) ?? '*'} ${kinds?.toSorted() ?? '*'}`;
}

function makeTest({ instrumentIds, kinds }: EventFilter): Group['passes'] {
  const ids = instrumentIds && new Set(instrumentIds);
  const names = kinds && new Set(eventNames(kinds));
  return ({ instrumentId, name }) =>
    (ids === null || ids.has(instrumentId)) && (names === null || names.has(name));
}
