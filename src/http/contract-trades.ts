import { t } from 'elysia';
import { describeIntervals } from '../model/candle-interval.ts';
import { ADJUSTMENT, APPLIED_ADJUSTMENT, responses } from './contract.ts';

/** The HTTP contract of trades and of candles made from them. */

const MOMENT =
  'an instant with its zone (2024-01-31T14:30:00Z) or a date, which begins at midnight in New York';

const range = {
  symbol: t.String({ description: 'one symbol: AAPL, BRK.B; exact case first' }),
  start: t.Optional(t.String({ description: `inclusive: ${MOMENT}` })),
  end: t.Optional(t.String({ description: `exclusive: ${MOMENT}` })),
  asof: t.Optional(
    t.String({
      description: 'a date: who had the symbol then is meant; without it, who had it at end',
    }),
  ),
};
const cursor = t.Optional(
  t.String({ description: 'next_cursor of the answer before; it takes the place of start' }),
);
const NextSchema = t.Nullable(
  t.String({ description: 'To be given as cursor for what follows; null at the end' }),
);
const MomentSchema = t.Nullable(t.String({ format: 'date-time' }));

const TradeSchema = t.Object({
  symbol: t.String(),
  price: t.Number({ description: 'USD, as traded' }),
  volume: t.Number({ description: 'Shares; the same as size' }),
  size: t.Number({ description: 'Shares' }),
  timestamp: t.String({ description: 'In microseconds', format: 'date-time' }),
  sequence: t.Integer({ description: 'Orders trades of one instant' }),
  exchange: t.Nullable(t.String({ description: 'As the provider names it' })),
  conditions: t.Nullable(t.String({ description: 'Sale conditions as the provider writes them' })),
  provider: t.String(),
  synthetic: t.Boolean({ description: 'True when the trade is made up (demo data)' }),
});

export const trades = {
  query: t.Object({
    ...range,
    limit: t.Optional(
      t.String({ description: 'a whole number from 1 to 1000 (default 100)', meaning: 'integer' }),
    ),
    cursor,
  }),
  detail: {
    tags: ['trades'],
    summary: 'Trades of a symbol in order of time',
    description:
      'Without start and cursor the latest ones, in order of time as well. Following next_cursor ' +
      'gives every trade once, also where several share an instant.',
    operationId: 'getTrades',
    responses: responses(
      'Trades, ascending',
      t.Object({
        symbol: t.String(),
        start: MomentSchema,
        end: MomentSchema,
        limit: t.Integer(),
        count: t.Integer(),
        trades: t.Array(TradeSchema),
        next_cursor: NextSchema,
      }),
      {
        symbol: 'IBM',
        start: '2013-10-07T13:30:00.000000Z',
        end: '2013-10-07T20:00:00.000000Z',
        limit: 1,
        count: 1,
        trades: [
          {
            symbol: 'IBM',
            price: 182,
            volume: 138862,
            size: 138862,
            timestamp: '2013-10-07T13:30:18.113000Z',
            sequence: 0,
            exchange: 'N',
            conditions: '40',
            provider: 'file',
            synthetic: false,
          },
        ],
        next_cursor: 'dDEuMTM4MTE1MjYxODExMzAwMC4w',
      },
      [404, 422, 500, 503],
    ),
  },
};

const CandleSchema = t.Object({
  symbol: t.String(),
  interval: t.String(),
  ts: t.String({ description: 'When the candle begins', format: 'date-time' }),
  timestamp: t.String({ description: 'The same', format: 'date-time' }),
  open: t.Number(),
  high: t.Number(),
  low: t.Number(),
  close: t.Number(),
  volume: t.Number(),
  vwap: t.Nullable(t.Number({ description: 'Of the trades that count as volume' })),
  trade_count: t.Integer({ description: 'Trades that count as volume' }),
});

export const candles = {
  query: t.Object({
    ...range,
    interval: t.Optional(t.String({ description: describeIntervals(), default: '1m' })),
    limit: t.Optional(
      t.String({
        description: 'a whole number from 1 to 10000 (default 1000): candles at most',
        meaning: 'integer',
      }),
    ),
    ...ADJUSTMENT,
    cursor,
  }),
  detail: {
    tags: ['trades'],
    summary: 'Candles made from trades',
    description:
      'Made from the trades as they are stored when asked, in order of time whatever order they ' +
      'came in. Candles that begin in [start, end) are given, each whole; without start the last ' +
      'ones. Sale conditions decide what of a candle a trade may change; where no trade may set ' +
      'open and close there is no candle. Up to an hour they lie on the clock, longer ones are ' +
      'counted from midnight in New York, and those that only divide the regular session (65m) ' +
      'from 09:30 there. Adjusted ones are the candles of adjusted trades: prices times the ' +
      'factors of the day, sizes as well, and a week with an ex-date in it is put together of ' +
      'both its sides. A page may hold fewer candles than limit: next_cursor says whether ' +
      'there are more.',
    operationId: 'getCandles',
    responses: responses(
      'Candles, ascending',
      t.Object({
        symbol: t.String(),
        interval: t.String(),
        start: MomentSchema,
        end: MomentSchema,
        limit: t.Integer(),
        adjustment: t.Optional(t.String({ description: 'split or all; absent of raw candles' })),
        ...APPLIED_ADJUSTMENT,
        synthetic: t.Boolean({ description: 'True when the trades are made up (demo data)' }),
        count: t.Integer(),
        candles: t.Array(CandleSchema),
        next_cursor: NextSchema,
      }),
      {
        symbol: 'IBM',
        interval: '1m',
        start: '2013-10-07T13:31:00.000000Z',
        end: '2013-10-07T13:32:00.000000Z',
        limit: 1000,
        synthetic: false,
        count: 1,
        candles: [
          {
            symbol: 'IBM',
            interval: '1m',
            ts: '2013-10-07T13:31:00Z',
            timestamp: '2013-10-07T13:31:00Z',
            open: 182,
            high: 182.45,
            low: 182,
            close: 182.45,
            volume: 46197,
            vwap: 182.2347,
            trade_count: 301,
          },
        ],
        next_cursor: null,
      },
      [404, 422, 500, 503],
    ),
  },
};
