import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { EVENT_KINDS } from '../query/events.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-stream.ts';
import { findSymbols } from './find-symbol.ts';
import type { Subscription } from './live-stream.ts';
import { parseChoice, refuseRepeated } from './parameters.ts';

/** The live stream of trades, bars and snapshots. */
export function streamRoutes(context: AppContext) {
  return new Elysia({ name: 'stream' }).get(
    '/api/v1/stream',
    ({ query, request, server }) =>
      openStream(context, query, request, server?.requestIP(request)?.address),
    contract.stream,
  );
}

interface Parameters {
  symbols?: string;
  kinds?: string;
  last_event_id?: string;
}

/** Never compressed, and not to be held back by a proxy: an event is of use when it arrives. */
const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no',
};

async function openStream(
  context: AppContext,
  query: Parameters,
  request: Request,
  address: string | undefined,
): Promise<Response> {
  refuseRepeated(request);
  const lastEventId = findLastEventId(query, request);
  const kinds = query.kinds === undefined ? null : parseKinds(query.kinds);
  const found = query.symbols === undefined ? null : await findSymbols(context, query.symbols);
  const subscription: Subscription = {
    filter: { instrumentIds: found && [...found.keys()], kinds },
    symbols: found && [...found.values()],
    lastEventId,
    address,
  };
  return new Response(await context.stream.open(subscription), { headers: HEADERS });
}

const parseKinds = (text: string) => [
  ...new Set(text.split(',').map((kind) => parseChoice(kind, 'kinds', EVENT_KINDS))),
];

/**
 * Where the client was. A browser that comes back gives the header, with the address as it was when
 * it came first: the header is newer. An empty one says that it has no event yet.
 */
function findLastEventId(query: Parameters, request: Request): number | undefined {
  const given = request.headers.get('last-event-id') || query.last_event_id;
  if (given === undefined) return undefined;
  const id = /^\d{1,16}$/.test(given) ? Number(given) : Number.NaN;
  if (Number.isSafeInteger(id)) return id;
  throw new InputError(
    `last_event_id is ${JSON.stringify(given.slice(0, 40))}: it must be the id of the last event ` +
      'that you have, a whole number from 0 on',
    'last_event_id',
  );
}
