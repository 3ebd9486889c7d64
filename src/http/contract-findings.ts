import { t } from 'elysia';
import { FINDING_KINDS } from '../model/finding.ts';
import { json, PAGE, PRICES, responses } from './contract.ts';
import { BODY_REFUSALS } from './contract-body.ts';

/** The contract of findings, of decisions about them, and of the audit log. */

const moment = (description: string) => t.String({ description, format: 'date-time' });
const orNull = <T extends ReturnType<typeof t.String>>(schema: T) => t.Nullable(schema);

const finding = {
  id: t.Integer(),
  symbol: t.String({ description: 'That its instrument had at the session' }),
  timeframe: t.String({ description: '1d, 1h or 1m' }),
  session: t.String({ format: 'date' }),
  time: moment('The session, as midnight UTC; below a day when the bar begins'),
  kind: t.String({ description: FINDING_KINDS.join(', ') }),
  message: t.String({ description: 'What the kind means' }),
  state: t.String({ description: 'open, accepted, rejected or resolved (it is not so any more)' }),
  detail: t.Nullable(
    t.Record(t.String(), t.Unknown(), { description: 'What was seen, of a split for example' }),
  ),
  note: orNull(t.String({ description: 'Of whoever looked at it' })),
  decided_by: t.Nullable(t.String()),
  found_at: moment('When it was found, or came back with other values'),
  decided_at: orNull(moment('When it was accepted or rejected')),
  resolved_at: orNull(moment('Since when it is not so any more')),
};
const FindingSchema = t.Object(finding);

const BarSchema = t.Object({
  time: t.String({ format: 'date-time' }),
  ...PRICES,
  validated: t.Boolean(),
  flags: t.Array(t.String()),
  is_final: t.Boolean(),
  provider: t.String(),
  received_at: t.String({ format: 'date-time' }),
});

const HistorySchema = t.Array(
  t.Object({
    at: t.String({ format: 'date-time' }),
    actor: t.String({ description: 'Who, and from where' }),
    decision: t.String({ description: 'accept, reject, annotate, reopen or undo' }),
    note: t.Nullable(t.String()),
    state_before: t.Nullable(t.String()),
    score_before: t.Nullable(t.Number({ description: 'Of the bar' })),
    score_after: t.Nullable(t.Number()),
  }),
  { description: 'What was decided, the first first' },
);

const FindingDetailSchema = t.Object({
  ...finding,
  bar: t.Nullable(BarSchema),
  before: t.Array(BarSchema, { description: 'Up to five bars before it' }),
  after: t.Array(BarSchema, { description: 'Up to five bars after it' }),
  history: HistorySchema,
});

const FINDING_EXAMPLE = {
  id: 4711,
  symbol: 'AAPL',
  timeframe: '1d',
  session: '2023-05-11',
  time: '2023-05-11T00:00:00Z',
  kind: 'gap_unexplained',
  message: 'nothing corroborates the gap',
  state: 'open',
  detail: null,
  note: null,
  decided_by: null,
  found_at: '2023-05-12T02:00:41.000Z',
  decided_at: null,
  resolved_at: null,
};

const DECIDED_EXAMPLE = {
  ...FINDING_EXAMPLE,
  state: 'accepted',
  note: 'guidance raised after the close',
  decided_by: 'http 127.0.0.1',
  decided_at: '2023-05-12T13:05:00.000Z',
};

const DETAIL_EXAMPLE = {
  ...DECIDED_EXAMPLE,
  bar: {
    time: '2023-05-11T00:00:00Z',
    open: 115.5,
    high: 118,
    low: 113.25,
    close: 116.12,
    volume: 1000108.25,
    vwap: 115.9,
    trade_count: 10108,
    quality_score: 1,
    validated: true,
    flags: ['gap', 'gap_unexplained', 'accepted'],
    is_final: true,
    provider: 'polygon',
    received_at: '2023-05-12T02:00:41.000Z',
  },
  before: [],
  after: [],
  history: [
    {
      at: '2023-05-12T13:05:00.000Z',
      actor: 'http 127.0.0.1',
      decision: 'accept',
      note: 'guidance raised after the close',
      state_before: 'open',
      score_before: 0.8,
      score_after: 1,
    },
  ],
};

const UNKNOWN_FINDING = {
  description: 'There is no such finding',
  code: 'unknown_finding',
  message: 'there is no finding 4712',
};

/** What deciding can end with besides, and what is not said of a symbol here. */
const DECISION_ERRORS = {
  ...BODY_REFUSALS,
  404: UNKNOWN_FINDING,
  409: {
    description: 'The finding cannot be decided so: a hard failure accepted, or one that ended',
    code: 'not_acceptable',
    message:
      'finding 4711 (AAPL 1d 2023-03-15 high_too_low) cannot be accepted: the values of the bar ' +
      'contradict each other; it can be rejected or annotated',
  },
};
const DECISION_STATUSES = [400, 403, 404, 409, 413, 415, 422, 500, 503];

export const findings = {
  query: t.Object({
    symbol: t.Optional(
      t.String({ description: 'one symbol, as it was at end; all of them when it is missing' }),
    ),
    timeframe: t.Optional(
      t.String({ description: '1d, 1h or 1m; all of them when it is missing' }),
    ),
    kind: t.Optional(
      t.String({ description: `${FINDING_KINDS.join(', ')}; all of them when it is missing` }),
    ),
    state: t.Optional(
      t.String({
        description: 'open (default), accepted, rejected, resolved or all',
        default: 'open',
      }),
    ),
    start: t.Optional(t.String({ description: 'first session, YYYY-MM-DD' })),
    end: t.Optional(t.String({ description: 'last session, inclusive' })),
    asof: t.Optional(
      t.String({
        description:
          'a date YYYY-MM-DD: whose symbol it was that day (default: that of end, today)',
      }),
    ),
    ...PAGE,
  }),
  detail: {
    tags: ['quality'],
    summary: 'What somebody has to look at, and what was decided about it',
    description:
      'One for each rule that a bar does not pass, and for what was seen between bars. The ' +
      'newest session first. A finding ends by itself (resolved) when it is not so any more.',
    operationId: 'getFindings',
    responses: responses(
      'Findings, of the newest session first',
      t.Object({
        symbol: t.Nullable(t.String()),
        state: t.String(),
        limit: t.Integer(),
        count: t.Integer(),
        findings: t.Array(FindingSchema),
        next_cursor: t.Nullable(
          t.String({ description: 'To be given as cursor for what follows; null at the end' }),
        ),
      }),
      {
        ...{ symbol: null, state: 'open', limit: 100, count: 1 },
        ...{ findings: [FINDING_EXAMPLE], next_cursor: null },
      },
      [404, 422, 500, 503],
    ),
  },
};

const ID = t.Object({
  id: t.String({ description: 'the number of a finding', meaning: 'integer' }),
});

export const findingDetail = {
  params: ID,
  detail: {
    tags: ['quality'],
    summary: 'A finding with its bar, the bars around it and all decisions',
    operationId: 'getFinding',
    responses: responses('The finding', FindingDetailSchema, DETAIL_EXAMPLE, [404, 422, 500, 503], {
      404: UNKNOWN_FINDING,
    }),
  },
};

const DECISION_FIELDS = {
  decision: t.String({
    description:
      'accept: the finding costs the bar nothing any more; reject: the bar scores 0; annotate: ' +
      'only keep the note; reopen: undo',
  }),
  note: t.Optional(t.String({ description: 'Kept with the finding, at most 1000 characters' })),
};

const DECISION_DESCRIPTION =
  'A decision holds as long as the values it is about: other values open the finding again. The ' +
  'same decision again changes nothing. Each is written into the audit log.';

export const decide = {
  params: ID,
  detail: {
    tags: ['quality'],
    summary: 'Accept, reject, annotate or reopen a finding',
    description: DECISION_DESCRIPTION,
    operationId: 'decideFinding',
    requestBody: {
      required: true,
      ...json('The decision', t.Object(DECISION_FIELDS), {
        decision: 'accept',
        note: 'guidance raised after the close',
      }),
    } as never,
    responses: responses(
      'The finding as it is now',
      t.Object({
        changed: t.Boolean({ description: 'False when it was decided so before' }),
        finding: FindingDetailSchema,
      }),
      { changed: true, finding: DETAIL_EXAMPLE },
      DECISION_STATUSES,
      DECISION_ERRORS,
    ),
  },
};

export const decideMany = {
  detail: {
    tags: ['quality'],
    summary: 'Decide the same about many findings, or about none',
    description: `${DECISION_DESCRIPTION} When one of the findings cannot be decided so, none is.`,
    operationId: 'decideFindings',
    requestBody: {
      required: true,
      ...json(
        'The decision',
        t.Object({
          ids: t.Array(t.Integer(), { description: 'Numbers of findings, at most 1000' }),
          ...DECISION_FIELDS,
        }),
        { ids: [4711], decision: 'accept' },
      ),
    } as never,
    responses: responses(
      'The findings as they are now, in the order of ids',
      t.Object({
        changed: t.Integer({ description: 'How many say something else now' }),
        unchanged: t.Integer(),
        findings: t.Array(FindingSchema),
      }),
      { changed: 1, unchanged: 0, findings: [DECIDED_EXAMPLE] },
      DECISION_STATUSES,
      DECISION_ERRORS,
    ),
  },
};

export const audit = {
  query: t.Object({
    symbol: t.Optional(
      t.String({ description: 'one symbol, as it is now; all of them when it is missing' }),
    ),
    limit: t.Optional(
      t.String({ description: 'a whole number from 1 to 1000 (default 100)', meaning: 'integer' }),
    ),
  }),
  detail: {
    tags: ['quality'],
    summary: 'Who did what by hand',
    description: 'The latest first. Entries are only added, never changed.',
    operationId: 'getAudit',
    responses: responses(
      'Entries of the audit log, the latest first',
      t.Object({
        count: t.Integer(),
        entries: t.Array(
          t.Object({
            id: t.Integer(),
            at: t.String({ format: 'date-time' }),
            actor: t.String({ description: 'Who, and from where' }),
            action: t.String({ description: 'A noun and what was done: finding.accept' }),
            symbol: t.Nullable(t.String({ description: 'That its instrument has now' })),
            target: t.String({ description: 'To what, for people' }),
            detail: t.Nullable(t.Record(t.String(), t.Unknown())),
          }),
        ),
      }),
      {
        count: 1,
        entries: [
          {
            id: 12,
            at: '2023-05-12T13:05:00.000Z',
            actor: 'http 127.0.0.1',
            action: 'finding.accept',
            symbol: 'AAPL',
            target: 'AAPL 1d 2023-05-11 gap_unexplained',
            detail: {
              finding_id: 4711,
              state_before: 'open',
              state_after: 'accepted',
              note: 'guidance raised after the close',
              score_before: 0.8,
              score_after: 1,
              before: {
                note: null,
                decided_by: null,
                decided_at: null,
                digest: 'dfe21163ecb86bc49fd7c9bba3c9b90f',
              },
            },
          },
        ],
      },
      [404, 422, 500, 503],
    ),
  },
};
