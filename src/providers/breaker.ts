import { ProviderError } from '../errors.ts';
import type { Clock } from './http.ts';

/**
 * Keeps away from a vendor that does not want to be asked: after some failures in a row, or at
 * once when it says that it is asked too often, nothing is sent for a time. Then one request may
 * try; as long as that fails, the time grows.
 */
export interface Breaker {
  state(): BreakerState;
  /**
   * Sends a request, unless the breaker is open.
   * @throws ProviderError that says until when it is open, and why; or what `send` throws.
   */
  run<T>(send: () => Promise<T>): Promise<T>;
}

export interface BreakerState {
  /** half-open: one request may try, or is trying. */
  phase: 'closed' | 'open' | 'half-open';
  /** When it may be tried again; null while it is closed. */
  until: Date | null;
  failuresInARow: number;
  /** What went wrong last; null while nothing is wrong. */
  reason: string | null;
}

export interface BreakerOptions {
  /** Whom it protects, for messages. */
  name: string;
  failuresMax: number;
  /** The first time it is open; doubled each time it opens again before a request succeeded. */
  openMs: number;
  openMsMax: number;
  clock: Clock;
  log?: (level: 'INFO' | 'WARNING', message: string) => void;
}

/** "Asked too often", and how long the vendor wants to be left alone. */
export class RateLimitError extends ProviderError {
  constructor(
    message: string,
    readonly retryAfterMs: number | undefined,
    body?: string,
  ) {
    super(message, 'rate_limited', body);
  }
}

const FAILURES: readonly unknown[] = ['rate_limited', 'unavailable', 'garbage'];

export function makeBreaker(options: BreakerOptions): Breaker {
  const breaker = new VendorBreaker(options);
  return { state: () => breaker.state(), run: (send) => breaker.run(send) };
}

class VendorBreaker {
  #failuresInARow = 0;
  /** Times it has opened since a request succeeded. */
  #openings = 0;
  #until = 0;
  #isTrying = false;
  #reason: string | null = null;

  constructor(readonly options: BreakerOptions) {}

  state(): BreakerState {
    return {
      phase: this.#phase(),
      until: this.#openings === 0 ? null : new Date(this.#until),
      failuresInARow: this.#failuresInARow,
      reason: this.#reason,
    };
  }

  async run<T>(send: () => Promise<T>): Promise<T> {
    const phase = this.#phase();
    const isTrial = phase === 'half-open';
    if (phase === 'open' || (isTrial && this.#isTrying)) throw this.#refusal();
    if (isTrial) this.#isTrying = true;
    try {
      const value = await send();
      this.#succeed();
      return value;
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error; // told to stop: says nothing of it
      if (FAILURES.includes(error.kind)) this.#fail(error);
      else this.#succeed();
      throw error;
    } finally {
      if (isTrial) this.#isTrying = false;
    }
  }

  #phase(): BreakerState['phase'] {
    if (this.#openings === 0) return 'closed';
    return this.options.clock.now() < this.#until ? 'open' : 'half-open';
  }

  #refusal(): ProviderError {
    const { name } = this.options;
    const times = this.#openings === 1 ? 'once' : `${this.#openings} times in a row`;
    const until = new Date(this.#until).toISOString();
    return new ProviderError(
      `${name} is left alone until ${until} (circuit breaker, opened ${times}): ${this.#reason}`,
      'unavailable',
    );
  }

  #succeed(): void {
    if (this.#phase() === 'open') return; // it was under way when another one opened it
    if (this.#openings > 0) this.options.log?.('INFO', `${this.options.name} answers again`);
    this.#failuresInARow = 0;
    this.#openings = 0;
    this.#reason = null;
  }

  #fail(error: ProviderError): void {
    const { failuresMax, openMs, openMsMax } = this.options;
    this.#failuresInARow++;
    this.#reason = error.message;
    const isLimited = error.kind === 'rate_limited';
    if (!isLimited && this.#openings === 0 && this.#failuresInARow < failuresMax) return;
    // Others that were under way when it opened say nothing new.
    if (this.#phase() === 'open' && !isLimited) return;
    const grown = Math.min(openMsMax, openMs * 2 ** this.#openings);
    const asked = error instanceof RateLimitError ? (error.retryAfterMs ?? 0) : 0;
    this.#open(Math.max(grown, asked));
  }

  #open(waitMs: number): void {
    const { name, clock, log } = this.options;
    this.#openings++;
    this.#until = clock.now() + waitMs;
    const until = new Date(this.#until).toISOString();
    log?.('WARNING', `${name} is left alone until ${until}: ${this.#reason}`);
  }
}
