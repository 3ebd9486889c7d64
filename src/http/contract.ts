import { t } from 'elysia';
import { describeTimeframes } from '../model/timeframe.ts';

/**
 * The HTTP contract, for checking requests and for the OpenAPI document: parameters, answers,
 * errors and examples of every route. Fields may be added; none may go or change meaning.
 */

const ErrorSchema = t.Object({
  error: t.Object({
    code: t.String(),
    message: t.String({ description: 'What was wrong and what is allowed' }),
    field: t.Optional(t.String({ description: 'The parameter that was wrong' })),
  }),
  request_id: t.String(),
});

interface ErrorAnswer {
  description: string;
  code: string;
  message: string;
}

const ERRORS: Record<number, ErrorAnswer> = {
  404: {
    description: 'The symbol is not known',
    code: 'unknown_symbol',
    message: 'there is no symbol "NOPE" here; /api/v1/symbols lists what there is',
  },
  422: {
    description: 'A parameter is missing or malformed',
    code: 'invalid_parameter',
    message: 'end (2023-01-01) lies before start (2023-12-31)',
  },
  500: {
    description: 'An error of marketd itself',
    code: 'internal',
    message: 'an error of marketd itself; its log has it',
  },
  503: {
    description: 'The database is away',
    code: 'database_away',
    message: 'the database is away; marketd reconnects by itself, try again in a moment',
  },
};

export type Example = object | string[];

export function json(description: string, schema: unknown, example: Example) {
  return { description, content: { 'application/json': { schema, example } } };
}

/**
 * The responses of a route for the document: what it answers, and the errors it can give.
 * @param own errors that mean something else on this route than on most, or are only its own.
 */
export function responses(
  description: string,
  schema: unknown,
  example: Example,
  errors: number[],
  own: Record<number, ErrorAnswer> = {},
) {
  const all: Record<string, unknown> = { 200: json(description, schema, example) };
  for (const status of errors) {
    const { code, message, description: what } = own[status] ?? ERRORS[status];
    const body = { error: { code, message }, request_id: '0b7c1f9e-2f2a-4a54-9f0e-1c9a7a1d2b3c' };
    all[status] = json(what, ErrorSchema, body);
  }
  return all as never;
}

const RootSchema = t.Object({
  service: t.String(),
  version: t.String(),
  links: t.Record(t.String(), t.String()),
});

export const root = {
  detail: {
    tags: ['service'],
    summary: 'Links to everything',
    operationId: 'getRoot',
    responses: responses(
      'Links',
      RootSchema,
      { service: 'marketd', version: '0.1.0', links: { docs: '/docs', health: '/health' } },
      [500],
    ),
  },
};

const HealthSchema = t.Object({
  status: t.String({ description: 'healthy or unhealthy' }),
  service: t.String(),
  version: t.String(),
  database: t.String({ description: 'healthy or unreachable' }),
  edition: t.String({ description: 'plain, timescale-apache or timescale-community' }),
  timestamp: t.String({ format: 'date-time' }),
  scheduler_running: t.Boolean(),
  last_trade_count: t.Integer(),
  last_ingestion: t.Nullable(t.String({ format: 'date-time' })),
});

const HEALTH_EXAMPLE = {
  status: 'healthy',
  service: 'marketd',
  version: '0.1.0',
  database: 'healthy',
  edition: 'timescale-apache',
  timestamp: '2026-01-05T14:30:00.000Z',
  scheduler_running: true,
  last_trade_count: 0,
  last_ingestion: '2026-01-05T02:00:41.000Z',
};

const UNHEALTHY_EXAMPLE = {
  ...HEALTH_EXAMPLE,
  status: 'unhealthy',
  database: 'unreachable',
  last_ingestion: null,
};

export const health = {
  detail: {
    tags: ['service'],
    summary: 'Whether the service and its database answer',
    operationId: 'getHealth',
    responses: {
      ...(responses('Healthy', HealthSchema, HEALTH_EXAMPLE, [500]) as object),
      503: json('The database does not answer', HealthSchema, UNHEALTHY_EXAMPLE),
    } as never,
  },
};

const StatusSchema = t.Object({
  api_version: t.String(),
  status: t.String(),
  synthetic: t.Boolean({ description: 'True when any bar is made up (demo data)' }),
  edition: t.String(),
  database: t.Object({
    symbols_available: t.Integer(),
    latest_data: t.Nullable(t.String({ format: 'date-time' })),
    total_records: t.Integer({ description: 'Daily bars' }),
    intraday_records: t.Integer({ description: 'Minute and hour bars' }),
    trades: t.Integer(),
    validated_records: t.Integer(),
    validation_rate_pct: t.Number(),
  }),
  data_quality: t.Object({
    records_with_gaps_flagged: t.Integer(),
    records_with_volume_anomalies: t.Integer(),
    records_excluded: t.Integer({ description: 'Bars that score below 0.5' }),
    scheduler_status: t.String({ description: 'running, standby or stopped' }),
    next_backfill: t.Nullable(t.String({ format: 'date-time' })),
    last_backfill: t.Nullable(t.String({ format: 'date-time' })),
    last_backfill_state: t.Nullable(t.String()),
  }),
});

export const status = {
  detail: {
    tags: ['service'],
    summary: 'What the warehouse holds and how good it is',
    operationId: 'getStatus',
    responses: responses(
      'Status',
      StatusSchema,
      {
        api_version: '1.0.0',
        status: 'healthy',
        synthetic: false,
        edition: 'timescale-apache',
        database: {
          symbols_available: 15,
          latest_data: '2023-12-29T00:00:00+00:00',
          total_records: 18359,
          intraday_records: 1204112,
          trades: 0,
          validated_records: 18303,
          validation_rate_pct: 99.69,
        },
        data_quality: {
          records_with_gaps_flagged: 57,
          records_with_volume_anomalies: 12,
          records_excluded: 1,
          scheduler_status: 'running',
          next_backfill: '2024-01-02T02:00:00.000Z',
          last_backfill: '2023-12-30T02:00:41.000Z',
          last_backfill_state: 'succeeded',
        },
      },
      [500, 503],
    ),
  },
};

export const symbols = {
  detail: {
    tags: ['symbols'],
    summary: 'Symbols that have bars',
    operationId: 'getSymbols',
    responses: responses('Symbols', t.Array(t.String()), ['AAPL', 'MSFT', 'SPY'], [500, 503]),
  },
};

const SymbolDetailSchema = t.Object({
  symbol: t.String(),
  name: t.Nullable(t.String()),
  exchange: t.Nullable(t.String({ description: 'MIC, e.g. XNAS' })),
  tracked: t.Boolean({ description: 'Filled by the nightly backfill' }),
  records: t.Integer(),
  validated_records: t.Integer(),
  validation_rate_pct: t.Number(),
  average_quality: t.Nullable(t.Number()),
  gaps_flagged: t.Integer(),
  volume_anomalies: t.Integer(),
  excluded_records: t.Integer(),
  start_date: t.Nullable(t.String({ format: 'date' })),
  end_date: t.Nullable(t.String({ format: 'date' })),
  latest_quality: t.Nullable(t.Number()),
  synthetic: t.Boolean(),
  last_backfill: t.Nullable(t.String({ format: 'date-time' })),
  last_backfill_success: t.Nullable(t.Boolean()),
});

export const symbolsDetailed = {
  detail: {
    tags: ['symbols'],
    summary: 'What is held of each symbol',
    operationId: 'getSymbolsDetailed',
    responses: responses(
      'One entry a symbol',
      t.Array(SymbolDetailSchema),
      [
        {
          symbol: 'AAPL',
          name: 'Apple Inc.',
          exchange: 'XNAS',
          tracked: true,
          records: 1257,
          validated_records: 1255,
          validation_rate_pct: 99.84,
          average_quality: 0.9997,
          gaps_flagged: 1,
          volume_anomalies: 1,
          excluded_records: 0,
          start_date: '2019-01-02',
          end_date: '2023-12-29',
          latest_quality: 1,
          synthetic: false,
          last_backfill: '2023-12-30T02:00:41.000Z',
          last_backfill_success: true,
        },
      ] as never,
      [500, 503],
    ),
  },
};

/** The numbers of a bar. */
export const PRICES = {
  open: t.Number(),
  high: t.Number(),
  low: t.Number(),
  close: t.Number(),
  volume: t.Number(),
  vwap: t.Nullable(t.Number()),
  trade_count: t.Nullable(t.Integer()),
  quality_score: t.Number(),
};

/** How a list is walked through. */
export const PAGE = {
  limit: t.Optional(
    t.String({ description: 'a whole number from 1 to 1000 (default 100)', meaning: 'integer' }),
  ),
  cursor: t.Optional(t.String({ description: 'next_cursor of the answer before' })),
};

const BarSchema = t.Object({
  time: t.String({
    description: 'The session, as midnight UTC; below a day when the bar begins',
    format: 'date-time',
  }),
  end: t.Optional(
    t.String({ description: 'Below a day: when the bar ends, exclusive', format: 'date-time' }),
  ),
  symbol: t.String(),
  ...PRICES,
  validated: t.Boolean(),
  gap_detected: t.Boolean(),
  volume_anomaly: t.Boolean(),
  is_final: t.Boolean({ description: 'False while the provider may still restate the bar' }),
  flags: t.Array(t.String()),
  session: t.Optional(
    t.String({ description: 'Below a day: pre_market, regular, after_hours or closed' }),
  ),
  bars: t.Optional(t.Integer({ description: 'Below a day: stored bars in the bar' })),
  derived: t.Optional(
    t.Boolean({ description: 'A day or more that is made of minutes, for want of daily bars' }),
  ),
  sessions: t.Optional(t.Integer({ description: '1w and 1mo: sessions in the bar' })),
  partial: t.Optional(t.Boolean({ description: '1w and 1mo: sessions of the bucket are missing' })),
});

/** What an adjusted answer says of its adjustment. */
export const APPLIED_ADJUSTMENT = {
  dividend_method: t.Optional(t.String({ description: 'With adjustment=all' })),
  adjust_asof: t.Optional(
    t.String({ format: 'date', description: 'The last ex-date that may have been applied' }),
  ),
  adjustments: t.Optional(
    t.Integer({ description: 'Ex-dates whose splits and dividends were applied' }),
  ),
  adjustments_skipped: t.Optional(
    t.Array(t.Object({ ex_date: t.String(), kind: t.String(), reason: t.String() }), {
      description: 'Dividends that could not be applied, and why',
    }),
  ),
};

const HistoricalSchema = t.Object({
  symbol: t.String(),
  timeframe: t.String(),
  start_date: t.String({ format: 'date' }),
  end_date: t.String({ format: 'date' }),
  adjustment: t.String({ description: 'raw (prices as traded), split or all' }),
  ...APPLIED_ADJUSTMENT,
  known_at: t.Optional(t.String({ format: 'date-time', description: 'As it was stored then' })),
  providers: t.Array(t.String()),
  synthetic: t.Boolean({ description: 'True when the bars are made up (demo data)' }),
  derived: t.Boolean({ description: 'True when a daily bar is made of minutes' }),
  session: t.Optional(t.String({ description: 'Below a day: regular, extended or all' })),
  anchor: t.Optional(t.String({ description: 'Below a day: session or clock' })),
  closing_auction: t.Optional(t.Boolean()),
  source_timeframe: t.Optional(t.String({ description: 'Below a day: what it is made of' })),
  validated_only: t.Boolean(),
  min_quality: t.Number(),
  count: t.Integer(),
  data: t.Array(BarSchema),
  excluded: t.Object({
    count: t.Integer({ description: 'Bars left out: their score, or their time is not over' }),
    bars: t.Array(
      t.Object({
        date: t.String({ format: 'date' }),
        time: t.Optional(t.String({ format: 'date-time' })),
        score: t.Number(),
        reason: t.String(),
      }),
      { description: 'The first hundred of them' },
    ),
  }),
  absent: t.Object({
    count: t.Integer({ description: 'Sessions of the range that have no bar' }),
    ranges: t.Array(
      t.Object({
        start: t.String({ format: 'date' }),
        end: t.String({ format: 'date', description: 'inclusive' }),
        state: t.String({
          description:
            'missing, vendor_empty, not_entitled, before_listing, after_delisting, closed or ' +
            'unfetched',
        }),
        sessions: t.Integer(),
        message: t.String(),
      }),
      { description: 'The first hundred runs of them, and why' },
    ),
  }),
  reason: t.Optional(t.String({ description: 'Why the answer is empty' })),
  message: t.Optional(t.String()),
});

const BAR_EXAMPLE = {
  time: '2023-01-03T00:00:00Z',
  symbol: 'AAPL',
  open: 130.28,
  high: 130.9,
  low: 124.17,
  close: 125.07,
  volume: 112117471,
  vwap: 125.725,
  trade_count: 1021065,
  quality_score: 1,
  validated: true,
  gap_detected: false,
  volume_anomaly: false,
  is_final: true,
  flags: [],
};

const HISTORICAL_EXAMPLE = {
  symbol: 'AAPL',
  timeframe: '1d',
  start_date: '2023-01-01',
  end_date: '2023-01-03',
  adjustment: 'raw',
  providers: ['polygon'],
  synthetic: false,
  derived: false,
  validated_only: true,
  min_quality: 0.85,
  count: 1,
  data: [BAR_EXAMPLE],
  excluded: { count: 0, bars: [] },
  absent: { count: 0, ranges: [] },
};

const CSV_EXAMPLE = `\
time,symbol,open,high,low,close,volume,vwap,trade_count,quality_score,validated,gap_detected,\
volume_anomaly,is_final,flags
2023-01-03T00:00:00Z,AAPL,130.28,130.9,124.17,125.07,112117471,125.725,1021065,1,true,false,\
false,true,
`;

/** The answer to format=csv, beside that in JSON. */
function withCsv(answers: never): never {
  const all = answers as Record<number, { content: Record<string, unknown> }>;
  all[200].content['text/csv'] = { schema: t.String(), example: CSV_EXAMPLE };
  return answers;
}

/** What prices are adjusted for: of every query of bars. */
export const ADJUSTMENT = {
  adjustment: t.Optional(
    t.String({
      description:
        'raw (default: as traded), split (prices and volume in today’s shares) or all (splits ' +
        'and dividends: the return of a holder who reinvests)',
      examples: ['raw'],
    }),
  ),
  adjust_asof: t.Optional(
    t.String({
      description:
        'a date: only splits and dividends with an ex-date up to then are known (default today)',
    }),
  ),
  dividend_method: t.Optional(
    t.String({
      description:
        'with adjustment=all: previous_close (default: times 1 - cash / close before the ' +
        'ex-date, as Yahoo and Lean do) or ex_close (times close / (close + cash) of the ' +
        'ex-date, as Alpha Vantage does: the holder reinvests at that close)',
    }),
  ),
};

export const historical = {
  params: t.Object({
    symbol: t.String({ description: 'AAPL, BRK.B; exact case first', examples: ['AAPL'] }),
  }),
  query: t.Object({
    start: t.String({
      description: 'a date YYYY-MM-DD, or an instant with its zone; inclusive',
      examples: ['2023-01-01'],
    }),
    end: t.String({
      description: 'a date YYYY-MM-DD, inclusive, or an instant with its zone, exclusive',
      examples: ['2023-12-31'],
    }),
    timeframe: t.Optional(
      t.String({ description: describeTimeframes(), default: '1d', examples: ['65m'] }),
    ),
    session: t.Optional(
      t.String({
        description:
          'below a day: regular (default), extended (with pre-market and after hours) or all',
      }),
    ),
    anchor: t.Optional(
      t.String({
        description:
          'below a day: session (default: bars are counted from 09:30, an early close cuts the ' +
          'last one) or clock',
      }),
    ),
    closing_auction: t.Optional(
      t.String({
        description:
          'true or false (default false): whether the minute at the close, which holds the ' +
          'closing auction, belongs to the last regular bar',
        meaning: 'boolean',
      }),
    ),
    validated_only: t.Optional(
      t.String({
        description: 'true or false (default true): only bars that score at least 0.85',
        meaning: 'boolean',
      }),
    ),
    min_quality: t.Optional(
      t.String({
        description: 'a number from 0 to 1: the least score (default 0.85)',
        meaning: 'number',
      }),
    ),
    ...ADJUSTMENT,
    known_at: t.Optional(
      t.String({
        description:
          'an instant with its zone, or a date (its end in New York): the answer as it was then, ' +
          'splits and dividends included',
      }),
    ),
    asof: t.Optional(
      t.String({
        description:
          'a date: the symbol means the instrument that had it that day (default: the last day ' +
          'that is asked for)',
      }),
    ),
    include_partial: t.Optional(
      t.String({
        description: 'true or false (default false): also bars whose time is not over',
        meaning: 'boolean',
      }),
    ),
    format: t.Optional(t.String({ description: 'json or csv', default: 'json' })),
  }),
  detail: {
    tags: ['bars'],
    summary: 'Bars of a symbol, from a minute to a month',
    description:
      'Both dates are inclusive. With validated_only=true (the default) bars that score at least ' +
      'max(0.85, min_quality) are served; with false every stored bar, or those from min_quality ' +
      'on when it is given. What is left out is named in `excluded`. Weeks begin on Monday; a ' +
      'week or month is made of the sessions asked for only. Below a day bars are made of stored ' +
      'minutes (or hours), are told by when they begin, and are whole whatever the range. A ' +
      'daily bar is the one of the provider; only where it gave none and minutes are held is it ' +
      'made of them, and says `derived`. A bar whose time is not over is left out unless ' +
      'include_partial=true. `absent` says which sessions of the range have no bar and why. The ' +
      'symbol means whoever has it on the last day of the range, or on `asof`; the history ' +
      'follows that instrument through its renames. In CSV the headers X-Excluded-Count and ' +
      'X-Absent-Count count what is left out and what is not there.',
    operationId: 'getHistorical',
    responses: withCsv(
      responses('Bars, ascending', HistoricalSchema, HISTORICAL_EXAMPLE, [404, 422, 500, 503]),
    ),
  },
};
