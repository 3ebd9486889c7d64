import { HttpError } from './errors.ts';

/**
 * Refuses what a page of another site makes a browser send. Nobody is asked who they are yet, so
 * that whoever reaches the server may change things; a page that the operator merely looks at must
 * not. Browsers say where a request comes from; programs say nothing and are let through.
 * @throws HttpError 403.
 */
export function refuseCrossSite(request: Request): void {
  const site = request.headers.get('sec-fetch-site');
  const origin = request.headers.get('origin');
  const isOurs =
    (site === null || site === 'same-origin' || site === 'none') &&
    (origin === null || hostOf(origin) === request.headers.get('host')?.toLowerCase());
  if (isOurs) return;
  throw new HttpError(
    403,
    'cross_site',
    'a page of another site sent this: change things from the pages of marketd, or a program',
  );
}

/** The host of an origin, with its port unless that is the usual one; undefined for none. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined; // 'null' is no URL
}
