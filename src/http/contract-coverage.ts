import { t } from 'elysia';
import { SESSION_STATES } from '../model/absence.ts';
import { responses } from './contract.ts';

/** The contract of coverage. */

const STATES =
  'complete: the bar is held. missing: it was given once, yet none is stored. vendor_empty: the ' +
  'provider gave none. not_entitled: the plan with the provider does not include the session. ' +
  'before_listing, after_delisting. unfetched: nobody was asked, or it is too early to ask. ' +
  'closed: there is no session in the range';

const count = (description: string) => t.Integer({ minimum: 0, description });

const RangeSchema = t.Object({
  start: t.String({ description: 'First session', format: 'date' }),
  end: t.String({ description: 'Last session, inclusive', format: 'date' }),
  state: t.String({ description: STATES, enum: [...SESSION_STATES] }),
  sessions: count('Sessions in the range'),
  message: t.Nullable(t.String({ description: 'Why there is no bar; null when there is one' })),
  detail: t.Nullable(t.String({ description: 'What the provider said, or what else is known' })),
  provider: t.Nullable(t.String({ description: 'Who was asked; null when nobody was' })),
  asked_at: t.Nullable(
    t.String({ description: 'When it was asked for last; null: never', format: 'date-time' }),
  ),
  attempts: count('How often in a row the answer was the same emptiness or refusal'),
  retry_at: t.Nullable(
    t.String({ description: 'Not asked again before; null: never of itself', format: 'date-time' }),
  ),
});

const CoverageSchema = t.Object({
  symbol: t.String(),
  timeframe: t.String({ enum: ['1d', '1h', '1m'] }),
  start_date: t.String({ format: 'date' }),
  end_date: t.String({ format: 'date' }),
  latest_session: t.String({
    description: 'The latest session that can have a bar by now',
    format: 'date',
  }),
  listed_on: t.Nullable(t.String({ description: 'First session on the exchange', format: 'date' })),
  delisted_on: t.Nullable(t.String({ description: 'Last one; null: listed', format: 'date' })),
  totals: t.Object({
    sessions: count('In the range'),
    complete: count('Sessions'),
    missing: count('Sessions'),
    vendor_empty: count('Sessions'),
    not_entitled: count('Sessions'),
    before_listing: count('Sessions'),
    after_delisting: count('Sessions'),
    unfetched: count('Sessions'),
  }),
  count: count('Ranges'),
  ranges: t.Array(RangeSchema),
  off_session: t.Object(
    {
      count: count('Bars'),
      bars: t.Array(
        t.Object({
          date: t.String({ format: 'date' }),
          reason: t.String({ description: 'Why the exchange was closed' }),
        }),
        { description: 'The first hundred' },
      ),
    },
    { description: 'Bars of days without a session: kept, with the flag off_session' },
  ),
  closures: t.Optional(
    t.Array(
      t.Object({
        start: t.String({ format: 'date' }),
        end: t.String({ format: 'date' }),
        days: count('Days'),
        reason: t.String({ description: 'weekend, or the name of the holiday' }),
      }),
      { description: 'Closed days of the range; with closures=true' },
    ),
  ),
});

const HELD = {
  ...{ state: 'complete', message: null, detail: null, provider: 'polygon', attempts: 1 },
  ...{ asked_at: '2024-01-31T02:00:41.000Z', retry_at: null },
};
const EMPTY_MESSAGE = 'the provider was asked and gave no bar; it is asked again';

export const coverage = {
  params: t.Object({ symbol: t.String({ examples: ['AAPL'] }) }),
  query: t.Object({
    timeframe: t.Optional(
      t.String({ description: 'one that is stored: 1d (default), 1h or 1m', examples: ['1d'] }),
    ),
    start: t.Optional(
      t.String({
        description:
          'a date YYYY-MM-DD in New York, inclusive; when missing, the first session that was ' +
          'asked for or is held',
        examples: ['2024-01-16'],
      }),
    ),
    end: t.Optional(
      t.String({
        description: 'the same, inclusive; when missing, the latest session that can have a bar',
        examples: ['2024-01-22'],
      }),
    ),
    asof: t.Optional(
      t.String({ description: 'a date: of whom the symbol was then (default: at the end)' }),
    ),
    closures: t.Optional(
      t.String({
        description: 'true or false (default false): also the closed days, with the reason',
        meaning: 'boolean',
      }),
    ),
  }),
  detail: {
    tags: ['quality'],
    summary: 'Which sessions of a symbol are held, and why the others are not',
    description:
      'Ranges of sessions, ascending; one goes over weekends and holidays while the same is to ' +
      'be said. Below a day a session is held when it has any bar. marketd repair fetches what ' +
      'is missing or unfetched.',
    operationId: 'getCoverage',
    responses: responses(
      'Ranges, ascending',
      CoverageSchema,
      {
        symbol: 'AAPL',
        timeframe: '1d',
        start_date: '2024-01-16',
        end_date: '2024-01-22',
        latest_session: '2024-03-01',
        listed_on: '1980-12-12',
        delisted_on: null,
        totals: {
          ...{ sessions: 5, complete: 4, missing: 0, vendor_empty: 1, not_entitled: 0 },
          ...{ before_listing: 0, after_delisting: 0, unfetched: 0 },
        },
        count: 3,
        ranges: [
          { start: '2024-01-16', end: '2024-01-17', sessions: 2, ...HELD },
          {
            ...{ start: '2024-01-18', end: '2024-01-18', state: 'vendor_empty', sessions: 1 },
            ...{ message: EMPTY_MESSAGE, detail: null, provider: 'polygon', attempts: 2 },
            ...{ asked_at: '2024-01-31T02:00:41.000Z', retry_at: '2024-02-01T18:00:41.000Z' },
          },
          { start: '2024-01-19', end: '2024-01-22', sessions: 2, ...HELD },
        ],
        off_session: { count: 0, bars: [] },
      },
      [404, 422, 500, 503],
    ),
  },
};
