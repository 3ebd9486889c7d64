import { t } from 'elysia';
import { SYMBOL_STATES } from '../model/symbol-state.ts';
import { json, responses } from './contract.ts';
import { BODY_REFUSALS } from './contract-body.ts';

/** The contract of what is tracked. */

const dateOrNull = (description: string) => t.Nullable(t.String({ description, format: 'date' }));

const SymbolSchema = t.Object({
  symbol: t.String(),
  name: t.Nullable(t.String({ description: 'Known after the first backfill' })),
  exchange: t.Nullable(t.String({ description: 'MIC' })),
  asset_type: t.Nullable(t.String()),
  tracked: t.Boolean({ description: 'Whether it is filled every night' }),
  timeframes: t.Array(t.String(), { description: 'What it is filled with: 1d, 1h, 1m' }),
  state: t.String({ description: SYMBOL_STATES.join(', ') }),
  records: t.Integer({ description: 'Daily bars' }),
  intraday_records: t.Integer({ description: 'Bars below a day' }),
  validation_rate_pct: t.Number({ description: 'Of the daily bars' }),
  start_date: dateOrNull('Session of the first daily bar'),
  end_date: dateOrNull('Session of the last daily bar'),
  sessions_behind: t.Nullable(
    t.Integer({ description: 'Published sessions after its last bar; null when it has none' }),
  ),
  last_backfill: t.Nullable(t.String({ format: 'date-time' })),
  last_backfill_success: t.Nullable(t.Boolean()),
});

const SYMBOL_EXAMPLE = {
  symbol: 'AAPL',
  name: 'Apple Inc.',
  exchange: 'XNAS',
  asset_type: 'CS',
  tracked: true,
  timeframes: ['1d', '1h'],
  state: 'good',
  records: 1258,
  intraday_records: 8806,
  validation_rate_pct: 99.92,
  start_date: '2018-12-31',
  end_date: '2023-12-29',
  sessions_behind: 0,
  last_backfill: '2023-12-30T02:00:41.000Z',
  last_backfill_success: true,
};

const BODY_ERRORS = {
  ...BODY_REFUSALS,
  422: {
    description: 'A field of the body is missing or malformed',
    code: 'invalid_parameter',
    message:
      '"A^B" is not a symbol: letters and digits, parts joined by one of . - / : ' +
      '(AAPL, BRK.B, ABRpD), at most 32 characters',
  },
};

const params = t.Object({
  symbol: t.String({ description: 'AAPL, BRK.B; exact case first', examples: ['AAPL'] }),
});

const timeframes = t.Array(t.String(), {
  description: '1h and 1m besides 1d, which all are filled with; all others are made of these',
});

export const listSymbols = {
  query: t.Object({
    tracked: t.Optional(
      t.String({
        description: 'true: only what is tracked; false: only what is not',
        meaning: 'boolean',
      }),
    ),
  }),
  detail: {
    tags: ['symbols'],
    summary: 'Every symbol that is tracked or held, and how it is',
    operationId: 'listAdminSymbols',
    responses: responses(
      'The symbols, in order',
      t.Object({ count: t.Integer(), symbols: t.Array(SymbolSchema) }),
      { count: 1, symbols: [SYMBOL_EXAMPLE] },
      [422, 500, 503],
    ),
  },
};

export const addSymbols = {
  detail: {
    tags: ['symbols'],
    summary: 'Track symbols: fill them every night',
    description:
      'All of them or, when one is wrong or belonged to another company, none. Symbols are ' +
      'case-sensitive. Name and exchange come with the next backfill. Each is written into the ' +
      'audit log.',
    operationId: 'addSymbols',
    requestBody: {
      required: true,
      ...json(
        'Which symbols',
        t.Object({
          symbol: t.Optional(t.String({ description: 'One, in place of symbols' })),
          symbols: t.Optional(t.Array(t.String(), { description: 'Several' })),
          timeframes: t.Optional(timeframes),
          backfill: t.Optional(
            t.Boolean({ description: 'Load their history now, not tonight (default false)' }),
          ),
        }),
        { symbols: ['AAPL', 'MSFT'], timeframes: ['1d', '1h'], backfill: true },
      ),
    } as never,
    responses: responses(
      'What became of each',
      t.Object({
        added: t.Array(t.String(), { description: 'Not known before' }),
        tracked_again: t.Array(t.String(), { description: 'Known before; their data is there' }),
        unchanged: t.Array(t.String(), { description: 'Tracked already, left as they are' }),
        job_ids: t.Array(t.Integer(), {
          description: 'Of the backfills that were asked for: /api/v1/admin/jobs/{id}',
        }),
      }),
      { added: ['MSFT'], tracked_again: [], unchanged: ['AAPL'], job_ids: [7, 8] },
      [400, 403, 413, 415, 422, 500, 503],
      {
        ...BODY_ERRORS,
        413: { ...BODY_ERRORS[413], message: 'the body must be at most 1048576 bytes' },
      },
    ),
  },
};

export const showSymbol = {
  params,
  detail: {
    tags: ['symbols'],
    summary: 'Whether, and with what, a symbol is filled, and how it is',
    operationId: 'getAdminSymbol',
    responses: responses('The symbol', SymbolSchema, SYMBOL_EXAMPLE, [404, 422, 500, 503]),
  },
};

const ChangedSchema = t.Object({
  changed: t.Boolean({ description: 'False when it was so before' }),
  symbol: SymbolSchema,
});

export const changeSymbol = {
  params,
  detail: {
    tags: ['symbols'],
    summary: 'Change whether, and with what, a symbol is filled',
    description: 'What is left out stays. Data stays in any case.',
    operationId: 'changeSymbol',
    requestBody: {
      required: true,
      ...json(
        'What is to be otherwise',
        t.Object({ tracked: t.Optional(t.Boolean()), timeframes: t.Optional(timeframes) }),
        { tracked: true, timeframes: ['1d', '1h'] },
      ),
    } as never,
    responses: responses(
      'The symbol as it is now',
      ChangedSchema,
      { changed: true, symbol: SYMBOL_EXAMPLE },
      [400, 403, 404, 413, 415, 422, 500, 503],
      BODY_ERRORS,
    ),
  },
};

export const removeSymbol = {
  params,
  detail: {
    tags: ['symbols'],
    summary: 'Stop tracking a symbol; its data stays',
    description: 'The same again changes nothing. Adding it again goes on where it stopped.',
    operationId: 'removeSymbol',
    responses: responses(
      'The symbol as it is now',
      ChangedSchema,
      { changed: true, symbol: { ...SYMBOL_EXAMPLE, tracked: false, state: 'not_tracked' } },
      [403, 404, 422, 500, 503],
      { 403: BODY_ERRORS[403] },
    ),
  },
};

export const changeTimeframes = {
  params,
  detail: {
    tags: ['symbols'],
    summary: 'Say what a symbol is filled with every night',
    description: 'Daily bars always are. Bars of a timeframe that is left out stay.',
    operationId: 'changeTimeframes',
    requestBody: {
      required: true,
      ...json('All of them', t.Object({ timeframes }), { timeframes: ['1d', '1h'] }),
    } as never,
    responses: responses(
      'The symbol as it is now',
      ChangedSchema,
      { changed: true, symbol: SYMBOL_EXAMPLE },
      [400, 403, 404, 413, 415, 422, 500, 503],
      BODY_ERRORS,
    ),
  },
};
