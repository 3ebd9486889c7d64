/** Who asks, for the audit log. */

/**
 * 'page 127.0.0.1', or 'http 127.0.0.1' of a program.
 * @param address of the client; undefined when it is not known.
 */
export function actorAt(by: 'page' | 'http', address: string | undefined): string {
  return address === undefined ? by : `${by} ${address}`;
}

/** The same of a request. */
export function actorOf(
  request: Request,
  server: { requestIP(request: Request): { address: string } | null } | null,
  by: 'page' | 'http' = 'page',
): string {
  return actorAt(by, server?.requestIP(request)?.address);
}
