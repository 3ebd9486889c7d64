import { Elysia } from 'elysia';
import { selectLatestIngestion } from '../query/price.ts';
import type { WarehouseStatus } from '../query/status.ts';
import { selectLoadedSymbols, selectSymbolDetails } from '../query/symbols.ts';
import { isDatabaseAway, pingDatabase } from '../store/database.ts';
import { Recall } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract.ts';
import { historical } from './historical.ts';

/** Every route of the JSON API, one line each. */
export function apiRoutes(context: AppContext) {
  const recall = new Recall(context.symbols);
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
      quality: '/api/v1/quality',
      findings: '/api/v1/findings',
      revisions: '/api/v1/revisions',
      reconciliation: '/api/v1/reconciliation',
      audit: '/api/v1/audit',
      coverage: '/api/v1/coverage/AAPL',
      corporate_actions: '/api/v1/corporate-actions/AAPL',
      instrument: '/api/v1/instruments/AAPL',
      trades: '/trades?symbol=AAPL',
      candles: '/candles?symbol=AAPL&interval=1m',
      latest_price: '/price/latest?symbol=AAPL',
      stream: '/api/v1/stream?symbols=AAPL',
      market_status: '/api/v1/market/status',
      calendar: '/api/v1/calendar?start=2024-01-01&end=2024-12-31',
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
  };
  try {
    // Asked of the database each time: a remembered answer says nothing about its health.
    await pingDatabase(context.database.read);
    const [{ lastBackfillAt }, latest] = await Promise.all([
      context.status.select(),
      selectLatestIngestion(context.database.read),
    ]);
    const instants = [lastBackfillAt, latest.at].filter((at) => at !== null);
    const last = Math.max(...instants.map((at) => at.getTime()));
    return Response.json({
      status: 'healthy',
      database: 'healthy',
      ...base,
      last_trade_count: latest.tradeCount,
      last_ingestion: instants.length === 0 ? null : new Date(last).toISOString(),
    });
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    const unknown = { last_trade_count: 0, last_ingestion: null };
    const body = { status: 'unhealthy', database: 'unreachable', ...base, ...unknown };
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
      intraday_records: found.intradayRecords,
      trades: found.trades,
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
