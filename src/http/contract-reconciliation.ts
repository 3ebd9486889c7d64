import { t } from 'elysia';
import { responses } from './contract.ts';

/** The contract of reconciliation. */

const day = (description: string) => t.String({ format: 'date', description });
const oneOf = (words: readonly string[], description: string) =>
  t.String({ enum: [...words], description });
const SIDES = ['ours', 'theirs', 'unclear'];

const TallySchema = t.Object(
  {
    agree: t.Integer({ description: 'Up to 0.2 % apart' }),
    near: t.Integer({ description: 'Up to 0.5 %' }),
    differ: t.Integer({ description: 'Up to 5 %' }),
    conflict: t.Integer({ description: 'More' }),
  },
  { description: 'Sessions, by how far theirs is from ours' },
);

const OneSidedSchema = t.Nullable(
  t.Object({
    count: t.Integer(),
    sessions: t.Array(t.String({ format: 'date' }), { description: 'The first 20' }),
  }),
);

const ExplanationSchema = t.Object({
  cause: oneOf(
    ['split', 'possible_split', 'dividends', 'unknown'],
    'possible_split: by a factor as splits have it, but none is listed',
  ),
  start: day('First session of it'),
  end: day('Last session of it'),
  extent: oneOf(['throughout', 'from', 'until', 'between'], 'Of the sessions that were compared'),
  sessions: t.Integer(),
  factor: t.Number({ description: 'theirs / ours; of dividends at the start' }),
  splits: t.Array(
    t.Object({
      ex_date: t.String({ format: 'date' }),
      split_from: t.Number(),
      split_to: t.Number(),
      listed_by: oneOf(['both', 'ours', 'theirs'], 'Who lists it'),
    }),
  ),
  side: oneOf(SIDES, 'Against whom the evidence is'),
  sentence: t.String({ description: 'All of it in words, the evidence included' }),
});

const WorstSchema = t.Object({
  session: t.String({ format: 'date' }),
  field: oneOf(['open', 'high', 'low', 'close'], 'Which price'),
  ours: t.Number(),
  theirs: t.Number(),
  difference: t.Nullable(
    t.Number({ description: 'theirs / ours - 1, beyond what an explanation says of that time' }),
  ),
  verdict: oneOf(['differ', 'conflict'], 'Of that difference'),
  side: oneOf(SIDES, 'Against whom the evidence is'),
  why: t.String(),
});

const ActionSchema = t.Object({
  kind: oneOf(['split', 'dividend'], 'Which'),
  ex_date: t.String({ format: 'date' }),
  ours: t.Nullable(t.Number({ description: 'New shares for one old, or USD; null: not listed' })),
  theirs: t.Nullable(t.Number()),
});

const ResultSchema = t.Object({
  symbol: t.String({ description: 'The one it has now' }),
  run_id: t.Integer(),
  checked_at: t.String({ format: 'date-time' }),
  source: t.String({ description: 'yahoo, or the name of a file' }),
  seed: t.Nullable(t.Integer({ description: 'Of the sample it was drawn in' })),
  start_date: day('Of the range that was compared'),
  end_date: day('Of the range, inclusive'),
  verdict: oneOf(
    ['agree', 'near', 'differ', 'conflict', 'none', 'failed'],
    'The worst of any price; none: no session on both sides; failed: the source did not answer',
  ),
  side: t.Nullable(
    t.String({ description: 'ours, theirs, both or unclear: whose prices are wrong, by evidence' }),
  ),
  compared: t.Integer({ description: 'Sessions on both sides' }),
  error: t.Nullable(t.String({ description: 'Why the source did not answer' })),
  fields: t.Nullable(
    t.Object({ open: TallySchema, high: TallySchema, low: TallySchema, close: TallySchema }),
  ),
  volume: t.Nullable(
    t.Object(
      {
        agree: t.Integer({ description: 'Up to 5 % apart' }),
        near: t.Integer({ description: 'Up to 20 %' }),
        differ: t.Integer({ description: 'More' }),
        median: t.Nullable(t.Number({ description: 'theirs / ours' })),
      },
      { description: 'Has no part in the verdict: sources count different exchanges' },
    ),
  ),
  only_ours: OneSidedSchema,
  only_theirs: OneSidedSchema,
  explanations: t.Array(ExplanationSchema, { description: 'Differences that last' }),
  odd_bars: t.Nullable(
    t.Object(
      { ours: t.Integer(), theirs: t.Integer(), unclear: t.Integer() },
      { description: 'Sessions that differ and that nothing explains, by the side that is odd' },
    ),
  ),
  worst: t.Array(WorstSchema, { description: 'The worst of their prices' }),
  actions: t.Array(ActionSchema, { description: 'Splits and dividends listed differently' }),
});

const tally = (agree: number, conflict = 0) => ({ agree, near: 0, differ: 0, conflict });

const EXAMPLE = {
  symbol: 'AAPL',
  run_id: 41,
  checked_at: '2020-12-06T06:00:00.000Z',
  source: 'yahoo',
  seed: 1606,
  start_date: '2019-12-05',
  end_date: '2020-12-04',
  verdict: 'conflict',
  side: 'theirs',
  compared: 252,
  error: null,
  fields: { open: tally(251, 1), high: tally(251, 1), low: tally(251, 1), close: tally(251, 1) },
  volume: { agree: 250, near: 2, differ: 0, median: 1.0001 },
  only_ours: { count: 1, sessions: ['2020-11-27'] },
  only_theirs: { count: 0, sessions: [] },
  explanations: [
    {
      cause: 'split',
      start: '2020-08-31',
      end: '2020-08-31',
      extent: 'between',
      sessions: 1,
      factor: 4,
      splits: [{ ex_date: '2020-08-31', split_from: 1, split_to: 4, listed_by: 'both' }],
      side: 'theirs',
      sentence:
        'on 2020-08-31 yahoo is 4 times polygon: the split of 2020-08-31 (4 for 1), which both ' +
        'list; at 2020-08-31 polygon jumps as raw prices do, yahoo goes on as adjusted prices ' +
        'do: yahoo is adjusted for it, or has it on another day',
    },
  ],
  odd_bars: { ours: 0, theirs: 0, unclear: 0 },
  worst: [],
  actions: [{ kind: 'dividend', ex_date: '2020-11-06', ours: 0.205, theirs: null }],
};

export const reconciliation = {
  query: t.Object({
    symbol: t.Optional(t.String({ description: 'AAPL: of this symbol; of all when missing' })),
    limit: t.Optional(t.String({ description: 'How many results, 1 to 500; 50 when missing' })),
  }),
  detail: {
    tags: ['quality'],
    summary: 'What a second source says of stored bars',
    description:
      'The results of `marketd reconcile` and of the weekly job, newest first: raw daily bars ' +
      'against those of another source, field by field, which side the evidence is against, and ' +
      'what explains a difference. Bars are never changed by it.',
    operationId: 'getReconciliation',
    responses: responses(
      'Results, newest first',
      t.Object({ count: t.Integer(), results: t.Array(ResultSchema) }),
      { count: 1, results: [EXAMPLE] },
      [404, 422, 500, 503],
    ),
  },
};
