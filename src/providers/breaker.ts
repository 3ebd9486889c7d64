import { errorMessage, ProviderError } from '../errors.ts';
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
  const { name, failuresMax, openMs, openMsMax, clock, log } = options;
  let failuresInARow = 0;
  /** Times it has opened since a request succeeded. */
  let openings = 0;
  let until = 0;
  let isTrying = false;
  let reason: string | null = null;

  const phase = () => {
    if (openings === 0) return 'closed';
    return clock.now() < until ? 'open' : 'half-open';
  };
  const refusal = () => {
    const when = new Date(until).toISOString();
    return new ProviderError(
      `${name} is left alone until ${when} (circuit breaker, opened ${openings} times): ${reason}`,
      'unavailable',
    );
  };
  const open = (waitMs: number) => {
    openings++;
    until = clock.now() + waitMs;
    const when = new Date(until).toISOString();
    log?.('WARNING', `${name} is left alone until ${when}: ${reason}`);
  };
  const fail = (error: ProviderError) => {
    failuresInARow++;
    reason = errorMessage(error);
    const isLimited = error.kind === 'rate_limited';
    if (!isLimited && openings === 0 && failuresInARow < failuresMax) return;
    // Others that were under way when it opened say nothing new.
    if (phase() === 'open' && !isLimited) return;
    const grown = Math.min(openMsMax, openMs * 2 ** openings);
    const asked = error instanceof RateLimitError ? (error.retryAfterMs ?? 0) : 0;
    open(Math.max(grown, asked));
  };
  const succeed = () => {
    if (phase() === 'open') return; // it was under way when another one opened it
    if (openings > 0) log?.('INFO', `${name} answers again`);
    failuresInARow = 0;
    openings = 0;
    reason = null;
  };

  return {
    state: () => ({
      phase: phase(),
      until: openings === 0 ? null : new Date(until),
      failuresInARow,
      reason,
    }),
    async run(send) {
      const isTrial = phase() === 'half-open';
      if (phase() === 'open' || (isTrial && isTrying)) throw refusal();
      if (isTrial) isTrying = true;
      try {
        const value = await send();
        succeed();
        return value;
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error; // told to stop: says nothing of it
        if (FAILURES.includes(error.kind)) fail(error);
        else succeed();
        throw error;
      } finally {
        if (isTrial) isTrying = false;
      }
    },
  };
}
