/**
 * The three kinds of failure. A row that cannot be stored is none of them: it is data, kept in
 * `rejected_rows` with its reason.
 */

/** The caller's fault: exit code 2, HTTP 422. `field` names the parameter that was wrong. */
export class InputError extends Error {
  override name = 'InputError';
  constructor(
    message: string,
    readonly field?: string,
  ) {
    super(message);
  }
}

export type ProviderErrorKind =
  | 'unauthorized' // the key is wrong: stop the job
  | 'not_entitled' // the plan does not include the range: mark it and go on
  | 'too_early' // the session has not been published to this plan yet: ask again later
  | 'not_found' // the provider does not know the symbol
  | 'bad_request' // the provider refused the request as malformed
  | 'rate_limited' // asked too often, even after waiting as told
  | 'unavailable' // 5xx, reset, timeout, after all attempts
  | 'garbage'; // an answer that is not what the provider documents

/** The vendor's fault: exit code 3, HTTP 502. The message never holds a key. */
export class ProviderError extends Error {
  override name = 'ProviderError';
  constructor(
    message: string,
    readonly kind: ProviderErrorKind,
    /** The first kilobyte of the answer, for the operator. */
    readonly body?: string,
    /** Of the answer; undefined when there was none. */
    readonly status?: number,
  ) {
    super(message);
  }
}

/** The database cannot be reached or refuses us: exit code 1, HTTP 503. */
export class DatabaseError extends Error {
  override name = 'DatabaseError';
}

/** What to print for an error of any kind, without its stack. */
export function errorMessage(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.map(errorMessage).join('; ');
  }
  return error instanceof Error ? error.message || error.name : String(error);
}
