import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { VALIDATED_SCORE } from '../model/quality.ts';
import { DAILY_TIMEFRAMES, isDailyTimeframe } from '../model/timeframe.ts';
import type { BarsAnswer, BarsQuery } from '../query/bars.ts';
import { selectAbsence } from '../query/coverage.ts';
import type { WarehouseStatus } from '../query/status.ts';
import { type ResolvedSymbol, selectLoadedSymbols, selectSymbolDetails } from '../query/symbols.ts';
import { isDatabaseAway, pingDatabase } from '../store/database.ts';
import { checkSymbol } from '../store/symbols.ts';
import { Recall, sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract.ts';
import { HttpError } from './errors.ts';
import { parseDate, parseFlag, parseScore, refuseRepeated } from './parameters.ts';

/** Every route of the JSON API, one line each. */
export function apiRoutes(context: AppContext) {
  const recall = new Recall(context.bars, context.symbols);
  return new Elysia({ name: 'api' })
    .onRequest(({ request }) => recall.answer(request))
    .get('/', () => links(context), contract.root)
    .get('/health', () => health(context), contract.health)
    .get('/api/v1/status', () => status(context), contract.status)
    .get('/api/v1/symbols', () => selectLoadedSymbols(context.database.read), contract.symbols)
    .get(
      '/api/v1/symbols/detailed',
      () => selectSymbolDetails(context.database.read),
      contract.symbolsDetailed,
    )
    .get(
      '/api/v1/historical/:symbol',
      ({ params, query, request }) => historical(context, recall, params.symbol, query, request),
      contract.historical,
    );
}

function links({ version }: AppContext) {
  return {
    service: 'marketd',
    version,
    links: {
      dashboard: '/dashboard',
      docs: '/docs',
      openapi: '/docs/json',
      health: '/health',
      status: '/api/v1/status',
      symbols: '/api/v1/symbols',
      symbols_detailed: '/api/v1/symbols/detailed',
      historical: '/api/v1/historical/AAPL?start=2024-01-01&end=2024-12-31',
    },
  };
}

async function health(context: AppContext): Promise<Response> {
  const base = {
    service: 'marketd',
    version: context.version,
    edition: context.edition,
    timestamp: new Date(context.now()).toISOString(),
    scheduler_running: context.scheduler().status !== 'stopped',
    last_trade_count: 0,
  };
  try {
    // Asked of the database each time: a remembered answer says nothing about its health.
    await pingDatabase(context.database.read);
    const { lastBackfillAt } = await context.status.select();
    const last_ingestion = lastBackfillAt?.toISOString() ?? null;
    return Response.json({ status: 'healthy', database: 'healthy', ...base, last_ingestion });
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    const body = { status: 'unhealthy', database: 'unreachable', ...base, last_ingestion: null };
    return Response.json(body, { status: 503, headers: { 'retry-after': '2' } });
  }
}

/** 18303 of 18359 -> 99.69; 0 of 0 -> 0. */
export function percentage(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 100;
}

async function status(context: AppContext) {
  const found: WarehouseStatus = await context.status.select();
  const scheduler = context.scheduler();
  return {
    api_version: '1.0.0',
    status: 'healthy',
    synthetic: found.isSynthetic,
    edition: context.edition,
    database: {
      symbols_available: found.symbolsAvailable,
      latest_data: found.latestSession === null ? null : `${found.latestSession}T00:00:00+00:00`,
      total_records: found.records,
      validated_records: found.validatedRecords,
      validation_rate_pct: percentage(found.validatedRecords, found.records),
    },
    data_quality: {
      records_with_gaps_flagged: found.gapsFlagged,
      records_with_volume_anomalies: found.volumeAnomalies,
      records_excluded: found.excludedRecords,
      scheduler_status: scheduler.status,
      next_backfill: scheduler.nextRun?.toISOString() ?? null,
      last_backfill: found.lastBackfillAt?.toISOString() ?? null,
      last_backfill_state: found.lastBackfillState,
    },
  };
}

interface HistoricalQuery {
  start: string;
  end: string;
  timeframe?: string;
  validated_only?: string;
  min_quality?: string;
  adjustment?: string;
  format?: string;
}

function parseQuery(query: HistoricalQuery, request: Request): BarsQuery {
  refuseRepeated(request);
  const timeframe = query.timeframe ?? '1d';
  if (!isDailyTimeframe(timeframe)) {
    throw new InputError(
      `timeframe is ${JSON.stringify(timeframe.slice(0, 20))}: it must be one of ` +
        `${DAILY_TIMEFRAMES.join(', ')}`,
      'timeframe',
    );
  }
  if (query.adjustment !== undefined && query.adjustment !== 'raw') {
    throw new InputError(
      'adjustment must be raw: bars are served as they were traded',
      'adjustment',
    );
  }
  if (query.format !== undefined && query.format !== 'json' && query.format !== 'csv') {
    throw new InputError('format must be json or csv', 'format');
  }
  const startDay = parseDate(query.start, 'start');
  const endDay = parseDate(query.end, 'end');
  if (endDay < startDay) {
    throw new InputError(`end (${query.end}) lies before start (${query.start})`, 'end');
  }
  const least =
    query.min_quality === undefined ? undefined : parseScore(query.min_quality, 'min_quality');
  const validatedOnly = parseFlag(query.validated_only ?? 'true', 'validated_only');
  const minScore = validatedOnly
    ? Math.max(VALIDATED_SCORE, least ?? VALIDATED_SCORE)
    : (least ?? 0);
  return { timeframe, startDay, endDay, minScore, validatedOnly };
}

async function historical(
  context: AppContext,
  recall: Recall,
  text: string,
  query: HistoricalQuery,
  request: Request,
): Promise<Response> {
  const question = parseQuery(query, request);
  const symbol = await findSymbol(context, text);
  const answer = await context.bars.select(symbol, question);
  if (query.format === 'csv') return csvResponse(answer, request);
  if (answer.count === 0) {
    return Response.json(await explainEmpty(context, symbol, question, answer));
  }
  recall.remember(request, symbol, question);
  return sendAnswer(answer, request, 'application/json');
}

async function findSymbol(context: AppContext, text: string): Promise<ResolvedSymbol> {
  const symbol = await context.symbols.find(checkSymbol(text));
  if (symbol) return symbol;
  throw new HttpError(
    404,
    'unknown_symbol',
    `there is no symbol ${JSON.stringify(text)} here; /api/v1/symbols lists what there is`,
    'symbol',
  );
}

/** A known symbol with nothing in the range: the usual answer, and why it is empty. */
async function explainEmpty(
  context: AppContext,
  symbol: ResolvedSymbol,
  question: BarsQuery,
  answer: BarsAnswer,
) {
  const body = JSON.parse(new TextDecoder().decode(answer.body)) as Record<string, unknown>;
  if (answer.excluded > 0) {
    const message = 'every bar of the range scores below min_quality; see excluded';
    return { ...body, reason: 'excluded', message };
  }
  const absence = await selectAbsence(context.database.read, context.calendar, {
    instrumentId: symbol.instrumentId,
    startDay: question.startDay,
    endDay: question.endDay,
    latestDay: context.calendar.latestSession(context.now(), context.publishDelayMs),
  });
  return { ...body, ...absence };
}

const CSV_COLUMNS = [
  'time',
  'symbol',
  'open',
  'high',
  'low',
  'close',
  'volume',
  'vwap',
  'trade_count',
  'quality_score',
  'validated',
  'gap_detected',
  'volume_anomaly',
  'is_final',
  'flags',
] as const;

function csvResponse(answer: BarsAnswer, request: Request): Response {
  const { data } = JSON.parse(new TextDecoder().decode(answer.body)) as {
    data: Record<(typeof CSV_COLUMNS)[number], unknown>[];
  };
  const lines = data.map((bar) =>
    CSV_COLUMNS.map((name) => {
      const value = bar[name];
      return Array.isArray(value) ? value.join(' ') : (value ?? '');
    }).join(','),
  );
  const body = new TextEncoder().encode(`${[CSV_COLUMNS.join(','), ...lines].join('\n')}\n`);
  const etag = `${answer.etag.slice(0, -1)}-csv"`;
  const csv = { ...answer, body, etag, compressed: new Map<string, Uint8Array>() };
  const response = sendAnswer(csv, request, 'text/csv; charset=utf-8');
  // CSV has no place for what is left out: at least it is counted.
  response.headers.set('x-excluded-count', String(answer.excluded));
  return response;
}
