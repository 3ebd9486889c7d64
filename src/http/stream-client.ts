/** One client of the live stream: what waits for it, and what it has been given. */

export interface ClientHandlers {
  /** The client is behind and asks for more: gives it some, or makes it live. Never rejects. */
  onBehind: () => Promise<void>;
  /** The connection is gone, or the stream has ended. Called once. */
  onGone: () => void;
}

/**
 * A body that is pulled: a chunk leaves only when the connection can take it. Until then chunks
 * wait here, where they are counted; they are shared with other clients and never changed.
 */
export class StreamClient {
  readonly body: ReadableStream<Uint8Array>;
  /** Up to which event everything was given; of a client that is up to date the stream knows. */
  eventId = 0;
  /** True from when all that was committed was given: what comes is pushed. */
  isLive = false;
  /** Bytes that wait. */
  waitingBytes = 0;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #waiting: Uint8Array[] = [];
  #isAsked = false;
  #isReading = false;
  #isEnding = false;
  #isGone = false;

  constructor(readonly handlers: ClientHandlers) {
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => this.#leave(),
      },
      // Nothing is asked for ahead of the connection.
      { highWaterMark: 0 },
    );
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** True when the connection has taken all and waits for more. */
  get isIdle(): boolean {
    return this.#isAsked;
  }

  give(chunk: Uint8Array): void {
    if (this.#isGone) return;
    if (this.#isAsked) {
      this.#send(chunk);
      return;
    }
    this.#waiting.push(chunk);
    this.waitingBytes += chunk.length;
  }

  /** Gives a last chunk instead of what waits, and ends the stream. */
  end(last: Uint8Array): void {
    if (this.#isGone) return;
    this.#clear();
    this.#isEnding = true;
    this.#leave();
    if (this.#isAsked) this.#finish(last);
    else this.#waiting.push(last);
  }

  #pull(): void {
    const chunk = this.#waiting.shift();
    if (this.#isEnding) {
      if (chunk) this.#finish(chunk);
      return;
    }
    this.#isAsked = true;
    if (chunk) {
      this.waitingBytes -= chunk.length;
      this.#send(chunk);
    } else void this.#readOn();
  }

  /** One reading at a time; goes on while the connection asks, also if it did so in between. */
  async #readOn(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#isAsked && !this.isLive && !this.#isGone) await this.handlers.onBehind();
    this.#isReading = false;
  }

  #send(chunk: Uint8Array): void {
    this.#isAsked = false;
    this.#controller?.enqueue(chunk);
  }

  #finish(last: Uint8Array): void {
    this.#clear();
    this.#send(last);
    this.#controller?.close();
  }

  #clear(): void {
    this.#waiting = [];
    this.waitingBytes = 0;
  }

  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    if (!this.#isEnding) this.#clear();
    this.handlers.onGone();
  }
}
