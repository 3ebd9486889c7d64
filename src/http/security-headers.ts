/** What every answer tells a browser. */
export const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // Nothing to other hosts. With 'no-referrer' a form that is sent without a script would have the
  // origin 'null', as one of another site has.
  'referrer-policy': 'same-origin',
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
};

/**
 * Leaves them out where the part of a page has not changed: there is nothing to show or to run, and
 * an open page asks every few seconds.
 */
export function leaveOutUnchanged(answered: {
  response?: unknown;
  responseValue?: unknown;
  set: { headers: object };
}): void {
  const response = answered.responseValue ?? answered.response;
  if (response instanceof Response && (response.status === 304 || response.status === 204)) {
    answered.set.headers = {};
  }
}
