import { t } from 'elysia';
import { responses } from './contract.ts';

/** The HTTP contract of the latest price and the list of symbols. */

const PriceSchema = t.Object({
  symbol: t.String(),
  price: t.Number({ description: 'USD, as traded' }),
  volume: t.Nullable(
    t.Number({
      description:
        'Shares: of the trade or the bar, or of the day until the snapshot; ' +
        'null when it is unknown',
    }),
  ),
  timestamp: t.String({
    description: 'When it was the price: of the trade or snapshot, or the end of the bar',
    format: 'date-time',
  }),
  source: t.String({ description: 'trade, bar, snapshot or daily_bar' }),
  timeframe: t.Nullable(t.String({ description: 'Of a bar: 1m, 1h or 1d' })),
  session: t.Nullable(t.String({ description: 'Of a daily bar', format: 'date' })),
  provider: t.String(),
  age_seconds: t.Number({ description: 'How long before the answer that was' }),
  synthetic: t.Boolean({ description: 'True when the price is made up (demo data)' }),
});

const PRICE_EXAMPLE = {
  symbol: 'AAPL',
  price: 185.42,
  volume: 120,
  timestamp: '2024-01-31T20:59:58.123456Z',
  source: 'trade',
  timeframe: null,
  session: null,
  provider: 'polygon',
  age_seconds: 1.877,
  synthetic: false,
};

/** One 404 for two cases, which their codes tell apart. */
function withNoPrice(answers: never): never {
  const all = answers as Record<number, { description: string }>;
  all[404].description = 'unknown_symbol, or no_price: nothing with a price is stored of it';
  return answers;
}

export const priceLatest = {
  query: t.Object({
    symbol: t.String({ description: 'one symbol: AAPL, BRK.B; exact case first' }),
  }),
  detail: {
    tags: ['trades'],
    summary: 'The newest price of a symbol, where it is from and how old it is',
    description:
      'The newest of the last trade that may set a close, the last minute or hourly bar, the ' +
      'last snapshot and the last daily close. Of two of the same instant the finer one is ' +
      'meant. Bars that score below 0.5 do not count.',
    operationId: 'getLatestPrice',
    responses: withNoPrice(
      responses('The price', PriceSchema, PRICE_EXAMPLE, [404, 422, 500, 503]),
    ),
  },
};

const InstrumentsSchema = t.Object({
  symbols: t.Array(
    t.Object({
      symbol: t.String(),
      name: t.String({ description: 'The symbol itself where no name is known' }),
      created_at: t.String({ format: 'date-time' }),
    }),
  ),
  count: t.Integer(),
});

export const instruments = {
  detail: {
    tags: ['symbols'],
    summary: 'Symbols that are tracked, and those of which anything is held',
    operationId: 'getInstruments',
    responses: responses(
      'Symbols, in order',
      InstrumentsSchema,
      {
        symbols: [{ symbol: 'AAPL', name: 'Apple Inc.', created_at: '2024-01-02T14:30:00.000Z' }],
        count: 1,
      },
      [500, 503],
    ),
  },
};
