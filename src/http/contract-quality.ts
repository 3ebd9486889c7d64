import { t } from 'elysia';
import { GRADES } from '../model/grade.ts';
import { QUALITY_ORDERS } from '../query/quality.ts';
import { responses } from './contract.ts';

/** The contract of the quality report. */

const date = t.Nullable(t.String({ format: 'date' }));

const CoverageSchema = t.Object(
  {
    complete: t.Integer(),
    missing: t.Integer(),
    vendor_empty: t.Integer(),
    not_entitled: t.Integer(),
    before_listing: t.Integer(),
    unfetched: t.Integer(),
  },
  { description: 'Sessions by what is known of them, as in /api/v1/coverage/{symbol}' },
);

const counters = {
  records: t.Integer(),
  validated_records: t.Integer(),
  validation_rate_pct: t.Number(),
  average_quality: t.Nullable(t.Number()),
  excluded_records: t.Integer({ description: 'Bars that score below 0.5' }),
  gaps_flagged: t.Integer(),
  volume_anomalies: t.Integer(),
  first_session: date,
  latest_session: date,
  sessions_behind: t.Nullable(
    t.Integer({ description: 'Published sessions after the latest one; null: nothing is held' }),
  ),
  revisions: t.Integer({ description: 'How often the values of a bar were restated' }),
  last_revision_at: t.Nullable(t.String({ format: 'date-time' })),
  coverage: CoverageSchema,
};

const TimeframesSchema = t.Array(t.Object({ timeframe: t.String(), ...counters }));

const FindingsSchema = t.Object({
  open: t.Integer({ description: 'Findings that nobody has decided about' }),
  by_kind: t.Array(t.Object({ kind: t.String(), state: t.String(), count: t.Integer() })),
});

const ComparisonSchema = t.Object({
  verdict: t.String({ description: 'agree, near, differ, conflict, none or failed' }),
  side: t.Nullable(
    t.String({ description: 'Whose numbers are wrong: ours, theirs, both, unclear' }),
  ),
  source: t.String(),
  checked_at: t.String({ format: 'date-time' }),
  start_session: t.String({ format: 'date' }),
  end_session: t.String({ format: 'date' }),
  compared: t.Integer({ description: 'Sessions on both sides' }),
});

const judged = {
  grade: t.String({ description: GRADES.join(', ') }),
  verdict: t.String({ description: 'Why, the most serious thing first' }),
};

const SymbolSchema = t.Object({
  instrument_id: t.Integer(),
  symbol: t.String(),
  name: t.Nullable(t.String()),
  tracked: t.Boolean(),
  synthetic: t.Boolean(),
  ...judged,
  ...counters,
  findings: FindingsSchema,
  reconciliation: t.Nullable(ComparisonSchema),
  timeframes: TimeframesSchema,
});

const verdictCounts = {
  ...{ agree: t.Integer(), near: t.Integer(), differ: t.Integer(), conflict: t.Integer() },
  ...{ none: t.Integer(), failed: t.Integer() },
};

const TotalSchema = t.Object({
  ...judged,
  symbols: t.Integer(),
  grades: t.Object(Object.fromEntries(GRADES.map((grade) => [grade, t.Integer()]))),
  findings: FindingsSchema,
  symbols_behind: t.Integer({ description: 'Tracked symbols that lack published sessions' }),
  sessions_behind_max: t.Integer({ description: 'Of the one that lacks most' }),
  reconciliation: t.Object(verdictCounts, {
    description: 'Symbols by the latest comparison with a second source',
  }),
  timeframes: TimeframesSchema,
});

const COUNTERS_EXAMPLE = {
  records: 1257,
  validated_records: 1255,
  validation_rate_pct: 99.84,
  average_quality: 0.9997,
  excluded_records: 0,
  gaps_flagged: 1,
  volume_anomalies: 1,
  first_session: '2019-01-02',
  latest_session: '2023-12-29',
  sessions_behind: 0,
  revisions: 3,
  last_revision_at: '2023-12-30T02:00:41.000Z',
  coverage: {
    ...{ complete: 1257, missing: 0, vendor_empty: 1, not_entitled: 0, before_listing: 0 },
    unfetched: 0,
  },
};

const FINDINGS_EXAMPLE = {
  open: 1,
  by_kind: [
    { kind: 'gap_unexplained', state: 'accepted', count: 1 },
    { kind: 'volume_spike', state: 'open', count: 1 },
  ],
};

const EXAMPLE = {
  published_session: '2023-12-29',
  total: {
    grade: 'good',
    verdict: '1 symbol: 1 good; 99.84 % of 1,257 bars validated',
    symbols: 1,
    grades: { poor: 0, fair: 0, empty: 0, good: 1 },
    findings: FINDINGS_EXAMPLE,
    symbols_behind: 0,
    sessions_behind_max: 0,
    reconciliation: { agree: 1, near: 0, differ: 0, conflict: 0, none: 0, failed: 0 },
    timeframes: [{ timeframe: '1d', ...COUNTERS_EXAMPLE }],
  },
  sort: 'worst',
  limit: 100,
  offset: 0,
  count: 1,
  symbols: [
    {
      instrument_id: 1,
      symbol: 'AAPL',
      name: 'Apple Inc.',
      tracked: true,
      synthetic: false,
      grade: 'good',
      verdict: 'held to 2023-12-29, 99.84 % of 1,257 bars validated, 1 finding to look at',
      ...COUNTERS_EXAMPLE,
      findings: FINDINGS_EXAMPLE,
      reconciliation: {
        verdict: 'agree',
        side: null,
        source: 'yahoo',
        checked_at: '2023-12-31T06:00:00.000Z',
        start_session: '2022-12-30',
        end_session: '2023-12-29',
        compared: 251,
      },
      timeframes: [{ timeframe: '1d', ...COUNTERS_EXAMPLE }],
    },
  ],
};

export const quality = {
  query: t.Object({
    symbol: t.Optional(t.String({ description: 'one symbol; all of them when it is missing' })),
    sort: t.Optional(
      t.String({
        description: `${QUALITY_ORDERS.join(', ')}: what needs attention most comes first`,
        default: 'worst',
      }),
    ),
    limit: t.Optional(
      t.String({
        description: 'a whole number from 1 to 10000 (default 100)',
        meaning: 'integer',
      }),
    ),
    offset: t.Optional(
      t.String({ description: 'how many symbols to pass over (default 0)', meaning: 'integer' }),
    ),
  }),
  detail: {
    tags: ['quality'],
    summary: 'How good what is held is, per symbol and in total',
    description:
      'Validation, findings, coverage in sessions, staleness, revisions and the latest ' +
      'comparison with a second source, with a verdict a symbol. `total` is of all symbols ' +
      'that were asked for, whichever of them are shown. The figures of a symbol are those of ' +
      'its daily bars; `timeframes` has each of those that are stored. All of it is read from ' +
      'counters.',
    operationId: 'getQuality',
    responses: responses(
      'The report',
      t.Object({
        published_session: date,
        total: TotalSchema,
        sort: t.String(),
        limit: t.Integer(),
        offset: t.Integer(),
        count: t.Integer(),
        symbols: t.Array(SymbolSchema),
      }),
      EXAMPLE,
      [404, 422, 500, 503],
    ),
  },
};
