/**
 * Many clients of the live stream in one light process, each a bare socket:
 *
 *   bun scripts/bench-stream-clients.ts URL CLIENTS EVENTS
 *
 * Says `ready` when all have heard hello. Each has to get EVENTS events, whose numbers follow each
 * other. When all have, or when standard input ends, prints a `StreamReport` as a line of JSON.
 */
export interface StreamReport {
  clients: number;
  /** Clients that got every event, each once and in order. */
  complete: number;
  /** Events that came, of all clients together. */
  events: number;
  /** From just before the commit until a client has the event, of all events and clients. */
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

const BUCKET_MS = 0.05;
const BUCKETS = 200_000;

/** How often each delay occurred. */
class Delays {
  readonly #counts = new Uint32Array(BUCKETS);
  count = 0;
  maxMs = 0;

  add(ms: number): void {
    this.#counts[Math.min(BUCKETS - 1, Math.max(0, Math.floor(ms / BUCKET_MS)))]++;
    this.count++;
    this.maxMs = Math.max(this.maxMs, ms);
  }

  quantile(share: number): number {
    let left = this.count * share;
    const bucket = this.#counts.findIndex((count) => {
      left -= count;
      return left <= 0;
    });
    return (bucket + 1) * BUCKET_MS;
  }
}

const delays = new Delays();
/** When each event was committed, epoch milliseconds: it is the same for every client. */
const committed = new Map<number, number>();
const [url, clientCount, eventCount] = process.argv.slice(2);
const EVENTS = Number(eventCount);

const HEAD_END = Buffer.from('\r\n\r\n');
const ID = Buffer.from('id: ');
const COMMITTED = Buffer.from('"committed_at":"');
const DIGIT_0 = 48;
const NOTHING = Buffer.alloc(0);

class Client {
  #rest = NOTHING;
  #isPastHead = false;
  #lastId: number | undefined;
  events = 0;
  isBroken = false;

  get isReady(): boolean {
    return this.#lastId !== undefined;
  }

  get isComplete(): boolean {
    return !this.isBroken && this.events === EVENTS;
  }

  take(bytes: Buffer): void {
    const now = performance.timeOrigin + performance.now();
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    if (!this.#isPastHead) {
      at = all.indexOf(HEAD_END) + HEAD_END.length;
      this.#isPastHead = at >= HEAD_END.length;
      if (!this.#isPastHead) at = 0;
      else this.isBroken = !all.toString('latin1', 0, 12).endsWith(' 200');
    }
    while (this.#isPastHead) {
      // A chunk: its size, a line break, so many bytes, a line break.
      const start = all.indexOf('\r\n', at) + 2;
      if (start < 2) break;
      const end = start + Number.parseInt(all.toString('latin1', at, start), 16);
      if (end + 2 > all.length) break;
      this.#read(all, start, end, now);
      at = end + 2;
    }
    // A copy: the socket uses its buffer again.
    this.#rest = at === all.length ? NOTHING : Buffer.from(all.subarray(at));
  }

  /** A chunk has whole events; hello and heartbeats come in chunks of their own. */
  #read(bytes: Buffer, start: number, end: number, now: number): void {
    for (let at = bytes.indexOf(ID, start); at >= 0 && at < end; at = bytes.indexOf(ID, at)) {
      let id = 0;
      at += ID.length;
      for (; bytes[at] >= DIGIT_0; at++) id = id * 10 + bytes[at] - DIGIT_0;
      const instant = bytes.indexOf(COMMITTED, at);
      if (instant < 0 || instant > end) this.#lastId ??= id;
      else this.#count(id, bytes, instant + COMMITTED.length, now);
    }
  }

  #count(id: number, bytes: Buffer, at: number, now: number): void {
    let ms = committed.get(id);
    if (ms === undefined) {
      const millis = bytes.toString('latin1', at, at + 23);
      const micros = bytes.toString('latin1', at + 23, at + 26);
      ms = Date.parse(`${millis}Z`) + Number(micros) / 1000;
      committed.set(id, ms);
    }
    if (id !== this.#lastId! + 1) this.isBroken = true;
    this.#lastId = id;
    this.events++;
    delays.add(now - ms);
  }
}

const clients = Array.from({ length: Number(clientCount) }, () => new Client());
const { hostname, port, pathname, search } = new URL(url);
let ready = 0;
let complete = 0;

function report(): never {
  const result: StreamReport = {
    clients: clients.length,
    complete: clients.filter((client) => client.isComplete).length,
    events: delays.count,
    p50Ms: delays.quantile(0.5),
    p99Ms: delays.quantile(0.99),
    maxMs: delays.maxMs,
  };
  console.log(JSON.stringify(result));
  process.exit(0);
}

for (const client of clients) {
  await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open: (socket) => {
        socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
      },
      data: (_, bytes) => {
        const { isReady, isComplete } = client;
        client.take(bytes);
        if (!isReady && client.isReady && ++ready === clients.length) console.log('ready');
        if (!isComplete && client.isComplete && ++complete === clients.length) report();
      },
    },
  });
}
// Whoever started this ends our input when enough time has passed.
await Bun.stdin.text();
report();
