import { formatMicros } from '../model/instant.ts';
import type { EventKind, LoggedEvent } from '../query/events.ts';

/**
 * What the live stream says, as server-sent events. Only what a client then has, or has been told
 * that it missed, carries an id: that is where it goes on when it comes back.
 */

/** When to come back, in milliseconds: the clients of a process that ends must not come at once. */
const RECONNECT_MS = { min: 1_000, max: 3_000 };

const encoder = new TextEncoder();

const frame = (name: string, data: object, id?: number) =>
  encoder.encode(
    `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`,
  );

/** A logged event. Its data is not parsed: it was printed as one line of JSON. */
export function printEvent(event: LoggedEvent): string {
  const { eventId, name, symbol, data, committedMicros } = event;
  const committedAt = formatMicros(committedMicros);
  const head = `{"symbol":${JSON.stringify(symbol)},"committed_at":"${committedAt}"`;
  const rest = data === '{}' ? '}' : `,${data.slice(1)}`;
  return `id: ${eventId}\nevent: ${name}\ndata: ${head}${rest}\n\n`;
}

export const encodeText = (text: string) => encoder.encode(text);

export interface Hello {
  /** The event after which the stream goes on. */
  after: number;
  newest: number;
  /** Null: of all symbols. */
  symbols: readonly string[] | null;
  kinds: readonly EventKind[];
}

/** The first that a client hears. */
export function helloFrame({ after, newest, symbols, kinds }: Hello): Uint8Array {
  const { min, max } = RECONNECT_MS;
  const retry = `retry: ${Math.round(min + Math.random() * (max - min))}\n`;
  const data = { after_event_id: after, newest_event_id: newest, symbols, kinds };
  return Buffer.concat([encoder.encode(retry), frame('hello', data, after)]);
}

/**
 * Events that the client has not seen are no longer kept.
 * @param after the event after which the stream goes on.
 */
export function resetFrame(after: number, oldest: number | null, newest: number): Uint8Array {
  const message =
    'events since the last one that you have are no longer kept: load what you need anew; the ' +
    `stream goes on after event ${after}`;
  return frame('reset', { oldest_event_id: oldest, newest_event_id: newest, message }, after);
}

export function droppedFrame(reason: 'too_slow' | 'failed', why: string): Uint8Array {
  const message = `${why}; come back with the id of the last event that you have`;
  return frame('dropped', { reason, message });
}

export function byeFrame(): Uint8Array {
  const message = 'marketd is stopping; come back with the id of the last event that you have';
  return frame('bye', { message });
}

/** Keeps the connection open, and the client's place up to date: there is no event for it since. */
export const heartbeatFrame = (eventId: number) => encodeText(`: heartbeat\nid: ${eventId}\n\n`);
