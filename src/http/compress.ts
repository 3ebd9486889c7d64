/** Compressed answers: which coding a client takes, and what is worth it. */

export type Coding = 'br' | 'zstd' | 'gzip';

/** What a browser says is the same for all of its requests: few different ones are remembered. */
const HEADERS_MAX = 100;
const chosen = new WeakMap<readonly Coding[], Map<string, Coding | null>>();

/** For what is made while somebody waits, best first. */
export const FAST_CODINGS = ['zstd', 'gzip'] as const;

/**
 * The coding that a client likes best of those that are offered; of equals the first one.
 * @param accepted its Accept-Encoding; null when it says nothing, which means none.
 * @param offered best first.
 */
export function chooseCoding<Offered extends Coding>(
  accepted: string | null,
  offered: readonly Offered[],
): Offered | null {
  if (accepted === null) return null;
  const known = chosen.get(offered) ?? new Map<string, Offered | null>();
  const before = known.get(accepted);
  if (before !== undefined) return before as Offered | null;
  const coding = weigh(accepted, offered);
  if (known.size >= HEADERS_MAX) known.clear();
  chosen.set(offered, known.set(accepted, coding));
  return coding;
}

function weigh<Offered extends Coding>(
  accepted: string,
  offered: readonly Offered[],
): Offered | null {
  const weights = parseWeights(accepted);
  const weightOf = (coding: string) => weights.get(coding) ?? weights.get('*') ?? 0;
  // Unless it is refused by name, an answer as it is goes to everybody.
  const plain = weights.get('identity') ?? 0;
  let best: Offered | null = null;
  for (const coding of offered) {
    const weight = weightOf(coding);
    if (weight > 0 && weight >= plain && (best === null || weight > weightOf(best))) best = coding;
  }
  return best;
}

/** 'gzip, br;q=0.5' -> gzip 1, br 0.5. A weight that is none counts as 0. */
export function parseWeights(header: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const part of header.toLowerCase().split(',')) {
    const [name, ...parameters] = part.split(';').map((text) => text.trim());
    if (!name) continue;
    const q = parameters.find((text) => /^q\s*=/.test(text))?.replace(/^q\s*=\s*/, '');
    const weight = q === undefined ? 1 : /^[01](\.\d*)?$/.test(q) ? Math.min(1, Number(q)) : 0;
    if (!weights.has(name)) weights.set(name, weight);
  }
  return weights;
}

/** The fastest levels: for bytes that are made anew for each request, or for each change. */
export function compressFast(
  body: Uint8Array<ArrayBuffer>,
  coding: 'zstd' | 'gzip',
): Uint8Array<ArrayBuffer> {
  const made =
    coding === 'zstd' ? Bun.zstdCompressSync(body, { level: 1 }) : Bun.gzipSync(body, { level: 1 });
  return made as Uint8Array<ArrayBuffer>;
}

const COMPRESSED_BYTES_MIN = 4_096;

/**
 * An answer of text that is made anew for each request: compressed when it is worth it, and the
 * client takes it.
 * @param init as of a Response; its headers as an object.
 */
export function compressed(
  request: Request,
  body: string,
  init: { status?: number; headers: Record<string, string> },
): Response {
  const bytes = new TextEncoder().encode(body);
  const vary = init.headers.vary ? `${init.headers.vary}, accept-encoding` : 'accept-encoding';
  const headers: Record<string, string> = { ...init.headers, vary };
  const coding =
    bytes.length < COMPRESSED_BYTES_MIN
      ? null
      : chooseCoding(request.headers.get('accept-encoding'), FAST_CODINGS);
  if (coding === null) return new Response(bytes, { ...init, headers });
  headers['content-encoding'] = coding;
  return new Response(compressFast(bytes, coding), { ...init, headers });
}
