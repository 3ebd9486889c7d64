import { t } from 'elysia';
import { responses } from './contract.ts';

/** The contract of instruments. */

const dateOrNull = (description: string) => t.Nullable(t.String({ description, format: 'date' }));
const textOrNull = (description: string) => t.Nullable(t.String({ description }));

const range = {
  symbol: t.String(),
  start: dateOrNull('First day of the range; null: as long as is known'),
  end: dateOrNull('Last day, inclusive; null: still'),
  source: textOrNull('Who says so: a provider, map (a file) or operator; null: it is assumed'),
};

const InstrumentSchema = t.Object({
  instrument_id: t.Integer({ description: 'The same through all changes of the symbol' }),
  symbol: t.String({ description: 'The one it has now, or had last' }),
  name: t.Nullable(t.String()),
  exchange: textOrNull('MIC'),
  asset_type: t.Nullable(t.String()),
  figi: textOrNull('Composite FIGI'),
  listed_on: dateOrNull('First session'),
  delisted_on: dateOrNull('Last session; null: still listed, or not known'),
  tracked: t.Boolean({ description: 'Whether it is filled every night' }),
  timeframes: t.Array(t.String()),
  symbols: t.Array(t.Object(range), { description: 'All its symbols, in the order of time' }),
  provider_symbols: t.Record(t.String(), t.String(), {
    description: 'Where a provider spells the symbol in its own way',
  }),
  held: t.Array(
    t.Object({
      timeframe: t.String({ description: 'Also trade and snapshot' }),
      records: t.Integer(),
      first_session: dateOrNull('Of the first row'),
      latest_session: dateOrNull('Of the last row'),
    }),
  ),
  also_used_by: t.Array(
    t.Object({ instrument_id: t.Integer(), name: t.Nullable(t.String()), ...range }),
    { description: 'Other instruments that had one of these symbols at another time' },
  ),
});

export const instruments = {
  params: t.Object({
    symbol: t.String({ description: 'FB, BRK.B; exact case first', examples: ['META'] }),
  }),
  query: t.Object({
    asof: t.Optional(
      t.String({ description: 'a date YYYY-MM-DD: who had the symbol then; today when missing' }),
    ),
  }),
  detail: {
    tags: ['symbols'],
    summary: 'Who a symbol is, and what else it was called',
    description:
      'One instrument is one listing of one company or fund, through all changes of its symbol. ' +
      'A symbol that nobody has on the day is not found; the message says who had it and when.',
    operationId: 'getInstrument',
    responses: responses(
      'The instrument',
      InstrumentSchema,
      {
        instrument_id: 7,
        symbol: 'META',
        name: 'Meta Platforms, Inc. Class A Common Stock',
        exchange: 'XNAS',
        asset_type: 'CS',
        figi: 'BBG000MM2P62',
        listed_on: '2012-05-18',
        delisted_on: null,
        tracked: true,
        timeframes: ['1d'],
        symbols: [
          { symbol: 'FB', start: '2012-05-18', end: '2022-06-08', source: 'polygon' },
          { symbol: 'META', start: '2022-06-09', end: null, source: 'polygon' },
        ],
        provider_symbols: {},
        held: [
          {
            ...{ timeframe: '1d', records: 3650 },
            ...{ first_session: '2012-05-18', latest_session: '2026-11-20' },
          },
        ],
        also_used_by: [
          {
            ...{ instrument_id: 912, name: null, symbol: 'FB' },
            ...{ start: '1999-09-29', end: '2003-03-28', source: 'map' },
          },
        ],
      },
      [404, 422, 500, 503],
    ),
  },
};
