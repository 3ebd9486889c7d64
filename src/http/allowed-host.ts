import { hostname } from 'node:os';
import { HttpError } from './errors.ts';

/** Names that are remembered as allowed; addresses are many, so the set is bounded. */
const KNOWN_MAX = 1_000;

/**
 * Refuses a request for a host that is not this one. Nobody is asked who they are, so a page of
 * another site whose name is made to mean this address would count as ours and could read and
 * change everything. An address, localhost and this machine's name can be had by nobody else.
 * @param allowedHosts further names that mean this machine, lower case.
 * @returns throws HttpError 421 for any other; the files of pages are public, and go to everybody.
 */
export function makeHostCheck(allowedHosts: readonly string[]): (request: Request) => void {
  const names = new Set([hostname().toLowerCase(), ...allowedHosts]);
  const known = new Set<string>();
  return (request) => {
    const host = request.headers.get('host');
    // Every browser sends it; what does not is no browser.
    if (host === null || host === '' || known.has(host)) return;
    if (!isOurs(host, names)) {
      if (new URL(request.url).pathname.startsWith('/assets/')) return;
      throw new HttpError(
        421,
        'unknown_host',
        `marketd is not known by the name ${host.slice(0, 100)}: open it by its address, or list ` +
          'the name in ALLOWED_HOSTS and restart marketd',
      );
    }
    if (known.size >= KNOWN_MAX) known.clear();
    known.add(host);
  };
}

/** @param host a Host header: a name or an address, with or without a port. */
function isOurs(host: string, names: ReadonlySet<string>): boolean {
  if (!URL.canParse(`http://${host}`)) return false;
  const name = new URL(`http://${host}`).hostname.replace(/\.$/, '');
  const isAddress = name.startsWith('[') || /^\d+(\.\d+){3}$/.test(name);
  return isAddress || name === 'localhost' || name.endsWith('.localhost') || names.has(name);
}
