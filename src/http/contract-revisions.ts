import { t } from 'elysia';
import { PAGE, PRICES, responses } from './contract.ts';

/** The contract of revisions. */

const VersionSchema = t.Object({
  ...PRICES,
  flags: t.Array(t.String()),
  is_final: t.Boolean(),
  provider: t.String(),
  received_at: t.String({ description: 'When its values came', format: 'date-time' }),
  replaced_at: t.Nullable(
    t.String({ description: 'When it ceased to be so; null: it is so now', format: 'date-time' }),
  ),
});

const percent = t.Nullable(t.Number());

const RevisionSchema = t.Object({
  symbol: t.String(),
  timeframe: t.String(),
  time: t.String({
    description: 'The session, as midnight UTC; below a day when the bar begins',
    format: 'date-time',
  }),
  session: t.String({ format: 'date' }),
  reason: t.String({ description: 'values: prices or volume changed; score: score or flags did' }),
  true_from: t.String({
    description: 'From when the bar was as `old` says; until old.replaced_at',
    format: 'date-time',
  }),
  old: VersionSchema,
  replaced_by: t.Nullable(VersionSchema),
  change_pct: t.Object(
    { open: percent, high: percent, low: percent, close: percent, volume: percent, vwap: percent },
    { description: 'New against old in percent; null where there is or was no value' },
  ),
});

const OLD_EXAMPLE = {
  open: 130.28,
  high: 130.9,
  low: 124.17,
  close: 125.07,
  volume: 112117471,
  vwap: 125.725,
  trade_count: 1021065,
  quality_score: 1,
  flags: [],
  is_final: false,
  provider: 'polygon',
  received_at: '2023-01-04T02:00:12.000Z',
  replaced_at: '2023-01-05T02:00:09.000Z',
};

const EXAMPLE = {
  symbol: 'AAPL',
  timeframe: '1d',
  start: null,
  end: null,
  reason: 'values',
  limit: 100,
  count: 1,
  revisions: [
    {
      symbol: 'AAPL',
      timeframe: '1d',
      time: '2023-01-03T00:00:00Z',
      session: '2023-01-03',
      reason: 'values',
      true_from: '2023-01-04T02:00:12.000Z',
      old: OLD_EXAMPLE,
      replaced_by: {
        ...OLD_EXAMPLE,
        close: 125.02,
        volume: 112118003,
        received_at: '2023-01-05T02:00:09.000Z',
        replaced_at: null,
      },
      change_pct: { open: 0, high: 0, low: 0, close: -0.04, volume: 0.0005, vwap: 0 },
    },
  ],
  next_cursor: null,
};

export const revisions = {
  query: t.Object({
    symbol: t.Optional(t.String({ description: 'one symbol; all of them when it is missing' })),
    timeframe: t.Optional(
      t.String({ description: '1d, 1h or 1m; all of them when it is missing' }),
    ),
    start: t.Optional(
      t.String({ description: 'first session of the bars, YYYY-MM-DD', examples: ['2023-01-01'] }),
    ),
    end: t.Optional(t.String({ description: 'last session of the bars, inclusive' })),
    asof: t.Optional(
      t.String({
        description:
          'a date YYYY-MM-DD: whose symbol it was that day (default: that of end, today)',
      }),
    ),
    reason: t.Optional(
      t.String({
        description:
          'values (default: prices or volume were restated), score (only its score or flags ' +
          'changed) or all',
        default: 'values',
      }),
    ),
    ...PAGE,
  }),
  detail: {
    tags: ['quality'],
    summary: 'What bars said before they were changed',
    description:
      'The latest change first. `old` is what the bar said from true_from until old.replaced_at, ' +
      '`replaced_by` what it said next. Following next_cursor gives every revision once; those ' +
      'that come meanwhile are in front of the first page. Weeks, months and other lengths are ' +
      'made of these bars and have no revisions of their own.',
    operationId: 'getRevisions',
    responses: responses(
      'Revisions, the latest first',
      t.Object({
        symbol: t.Nullable(t.String()),
        timeframe: t.Nullable(t.String()),
        start: t.Nullable(t.String({ format: 'date' })),
        end: t.Nullable(t.String({ format: 'date' })),
        reason: t.String(),
        limit: t.Integer(),
        count: t.Integer(),
        revisions: t.Array(RevisionSchema),
        next_cursor: t.Nullable(
          t.String({ description: 'To be given as cursor for what follows; null at the end' }),
        ),
      }),
      EXAMPLE,
      [404, 422, 500, 503],
    ),
  },
};
