import { t } from 'elysia';
import { responses } from './contract.ts';

/** The contract of splits and dividends. */

const dateOrNull = (description?: string) =>
  t.Nullable(t.String({ format: 'date', ...(description && { description }) }));
const instantOrNull = (description: string) =>
  t.Nullable(t.String({ format: 'date-time', description }));

const ActionSchema = t.Object({
  id: t.String({ description: 'As the provider has it' }),
  kind: t.String({ description: 'split or dividend' }),
  subtype: t.Nullable(
    t.String({ description: 'In the words of the provider: reverse_split, special ...' }),
  ),
  ex_date: t.String({ format: 'date', description: 'First session without it' }),
  split_from: t.Nullable(t.Number()),
  split_to: t.Nullable(t.Number()),
  ratio: t.Nullable(t.Number({ description: 'New shares for an old one' })),
  cash_amount: t.Nullable(t.Number({ description: 'Of a share held before the ex-date' })),
  currency: t.Nullable(t.String()),
  declared_date: dateOrNull(),
  record_date: dateOrNull(),
  pay_date: dateOrNull(),
  frequency: t.Nullable(t.Integer({ description: 'Payments a year; 0: a single one' })),
  provider: t.String(),
  received_at: t.String({ format: 'date-time', description: 'When this was learned' }),
  withdrawn_at: instantOrNull('When it ceased to be so; null: it is so now'),
  missing_since: instantOrNull('The provider left it out since; not withdrawn yet'),
  replaced: t.Boolean({ description: 'There is a later version of the same id' }),
  applied: t.Boolean({
    description: 'Prices are adjusted by it: not withdrawn, and no other provider comes first',
  }),
  price_factor: t.Number({ description: 'What it alone multiplies prices before it by' }),
  volume_factor: t.Number(),
  skipped: t.Nullable(t.String({ description: 'Why it cannot be applied' })),
});

const EXAMPLE = {
  id: 'E36416cce743c3964c5da63e1ef1626c0aece30fb47302eea5a49c0055c04e8d0',
  kind: 'split',
  subtype: 'forward_split',
  ex_date: '2020-08-31',
  ...{ split_from: 1, split_to: 4, ratio: 4, cash_amount: null, currency: null },
  ...{ declared_date: null, record_date: null, pay_date: null, frequency: null },
  provider: 'polygon',
  received_at: '2026-01-05T02:00:09.000Z',
  ...{ withdrawn_at: null, missing_since: null, replaced: false, applied: true },
  ...{ price_factor: 0.25, volume_factor: 4, skipped: null },
};

export const corporateActions = {
  params: t.Object({
    symbol: t.String({ description: 'AAPL, BRK.B; exact case first', examples: ['AAPL'] }),
  }),
  query: t.Object({
    kind: t.Optional(t.String({ description: 'split or dividend; both when it is missing' })),
    start: t.Optional(t.String({ description: 'first ex-date, a date YYYY-MM-DD' })),
    end: t.Optional(t.String({ description: 'last ex-date, inclusive, a date YYYY-MM-DD' })),
    known_at: t.Optional(
      t.String({
        description:
          'a date YYYY-MM-DD (the end of it in New York) or an instant with its zone: what was ' +
          'known then',
      }),
    ),
    withdrawn: t.Optional(
      t.String({
        description: 'true or false (default false): also what was withdrawn or replaced',
        meaning: 'boolean',
      }),
    ),
    asof: t.Optional(
      t.String({
        description: 'a date: who had the symbol then is meant; without it, who had it at end',
      }),
    ),
  }),
  detail: {
    tags: ['bars'],
    summary: 'Splits and dividends of a symbol',
    description:
      'By ex-date. What a provider says otherwise than before is a new version of the same id: ' +
      'the old one is withdrawn when the new one is received. Prices of sessions before the ' +
      'ex-date are multiplied by price_factor: split_from / split_to, or 1 - cash_amount / close ' +
      'with the raw close of the session before; dividends of one ex-date are added up first. ' +
      'When several providers tell of a symbol, of each kind only one is applied: whose daily ' +
      'bars came first, else the first by name.',
    operationId: 'getCorporateActions',
    responses: responses(
      'Splits and dividends, by ex-date',
      t.Object({
        symbol: t.String(),
        kind: t.Nullable(t.String()),
        start: dateOrNull(),
        end: dateOrNull(),
        known_at: instantOrNull('What was known then; null: now'),
        count: t.Integer(),
        actions: t.Array(ActionSchema),
      }),
      {
        ...{ symbol: 'AAPL', kind: null, start: null, end: null, known_at: null },
        ...{ count: 1, actions: [EXAMPLE] },
      },
      [404, 422, 500, 503],
    ),
  },
};
