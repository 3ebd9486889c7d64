import { t } from 'elysia';
import { responses } from './contract.ts';

/** The contract of snapshots. */

const orNull = (description: string) => t.Nullable(t.Number({ description }));

const SnapshotSchema = t.Object({
  symbol: t.String(),
  timestamp: t.String({ description: 'When it was so, by the provider', format: 'date-time' }),
  age_seconds: t.Number(),
  received_at: t.String({ format: 'date-time' }),
  provider: t.String(),
  price: t.Number(),
  open: orNull('Of the day'),
  day_high: orNull('So far'),
  day_low: orNull('So far'),
  previous_close: orNull('Of the session before'),
  volume: orNull('Shares, so far'),
  market_cap: orNull('In the currency of the price'),
  pe_ratio: orNull('Price by earnings of the last twelve months'),
  meta: t.Record(t.String(), t.Unknown(), {
    description: 'All of it and the rest, under the names of the market-hours pipeline',
  }),
});

export const snapshots = {
  query: t.Object({
    symbols: t.Optional(
      t.String({ description: 'AAPL,MSFT: these only; all that have any when it is missing' }),
    ),
  }),
  detail: {
    tags: ['trades'],
    summary: 'What a provider showed last of each symbol',
    description:
      'The newest snapshot of each symbol, by symbol. What the provider did not say is null. A ' +
      'symbol that has none is left out.',
    operationId: 'getSnapshots',
    responses: responses(
      'Snapshots, by symbol',
      t.Object({ count: t.Integer(), snapshots: t.Array(SnapshotSchema) }),
      {
        count: 1,
        snapshots: [
          {
            symbol: 'AAPL',
            timestamp: '2025-10-29T20:00:01.000Z',
            age_seconds: 41.2,
            received_at: '2025-10-29T20:00:30.000Z',
            provider: 'yahoo',
            price: 269.7,
            open: 269.275,
            day_high: 271.41,
            day_low: 267.11,
            previous_close: 269,
            volume: 43332154,
            market_cap: 4002000000000,
            pe_ratio: 40.9,
            meta: { source: 'yahoo', currency: 'USD', close: 269.7 },
          },
        ],
      },
      [404, 422, 500, 503],
    ),
  },
};
