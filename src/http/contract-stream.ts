import { t } from 'elysia';
import { responses } from './contract.ts';

/** The HTTP contract of the live stream. */

const EXAMPLE = `\
retry: 1874
id: 41
event: hello
data: {"after_event_id":41,"newest_event_id":41,"symbols":["AAPL"],\
"kinds":["trade","bar","snapshot"]}

id: 42
event: trade
data: {"symbol":"AAPL","committed_at":"2024-01-31T20:59:58.201377Z","price":185.42,"volume":120,\
"size":120,"timestamp":"2024-01-31T20:59:58.123456Z","sequence":7,"exchange":"XNAS",\
"conditions":null,"provider":"polygon","synthetic":false}

: heartbeat
id: 57

`;

const DESCRIPTION = `\
Server-sent events: trades, bars and snapshots of quotes as they are committed, in that order. \
\`event\` is the kind: trade, bar or snapshot; trades and bars for a batch too large to be told \
one by one, with its first and last instant and its count. \`data\` is one JSON object in one \
line. \`id\` is to be given as Last-Event-ID when coming back (browsers do so by themselves): \
nothing is missed then and nothing comes twice. A heartbeat, every 15 seconds, may move the id \
forward without an event.

Besides, \`hello\` comes first and says after which event the stream goes on; \`reset\` says \
that events which the client has not seen are no longer kept, and that the stream goes on with \
what is new; \`dropped\` (too_slow: more waited for the client than is kept for one; or failed) \
and \`bye\` (marketd is stopping) come last.`;

/** The stream in place of JSON, and the 503 that it has for two cases. */
function asStream(answers: never): never {
  const all = answers as Record<number, { description: string; content: object }>;
  all[200].content = { 'text/event-stream': { schema: t.String(), example: EXAMPLE } };
  all[503].description = 'database_away, or too_many_clients, or stopping';
  return answers;
}

const LAST_EVENT_ID = 'the id of the last event that you have, a whole number from 0 on';

export const stream = {
  query: t.Object({
    symbols: t.Optional(
      t.String({
        description: 'symbols with commas between them, exact case first (default: all)',
        examples: ['AAPL,MSFT'],
      }),
    ),
    kinds: t.Optional(
      t.String({
        description: 'trade, bar, snapshot, or several with commas between them (default: all)',
        examples: ['trade,bar'],
      }),
    ),
    last_event_id: t.Optional(
      t.String({
        description: `${LAST_EVENT_ID}; the header Last-Event-ID comes before it`,
        meaning: 'integer',
      }),
    ),
  }),
  detail: {
    tags: ['stream'],
    summary: 'What is committed, as it is committed',
    description: DESCRIPTION,
    operationId: 'getStream',
    responses: asStream(responses('The stream', t.String(), {}, [404, 422, 500, 503])),
  },
};
