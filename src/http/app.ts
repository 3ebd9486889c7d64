import { Elysia } from 'elysia';
import type { Calendar } from '../model/session.ts';
import type { BarReader } from '../query/bars.ts';
import type { IntradayReader } from '../query/intraday.ts';
import type { OverviewReader } from '../query/overview.ts';
import type { SparklineReader } from '../query/sparklines.ts';
import type { StatusReader } from '../query/status.ts';
import type { SymbolDirectory } from '../query/symbols.ts';
import type { ActivityReader } from '../store/activity.ts';
import type { Database, Edition } from '../store/database.ts';
import { adminSymbolRoutes } from './admin-symbols.ts';
import { makeHostCheck } from './allowed-host.ts';
import { apiRoutes } from './api.ts';
import { auditRoutes } from './audit.ts';
import { calendarOverrideRoutes } from './calendar-overrides.ts';
import { corporateActionRoutes } from './corporate-actions.ts';
import { coverageRoutes } from './coverage.ts';
import { docsRoutes } from './docs.ts';
import { errorPage } from './error-page.tsx';
import { type ErrorSurroundings, errorPlugin } from './errors.ts';
import { findingRoutes } from './findings.ts';
import { instrumentRoutes } from './instruments.ts';
import { jobRoutes } from './jobs.ts';
import type { LiveStream } from './live-stream.ts';
import { marketRoutes } from './market.ts';
import type { Operations } from './operations.ts';
import { pageRoutes } from './pages.tsx';
import { priceRoutes } from './price.ts';
import { qualityRoutes } from './quality.ts';
import { reconciliationRoutes } from './reconciliation.ts';
import { reconciliationPageRoutes } from './reconciliation-page.tsx';
import { revisionRoutes } from './revisions.ts';
import { SECURITY_HEADERS } from './security-headers.ts';
import { snapshotRoutes } from './snapshots.ts';
import { streamRoutes } from './stream.ts';
import { tradeRoutes } from './trades.ts';

export type SchedulerStatus = 'running' | 'standby' | 'stopped';

/** What requests are answered with; made once by `serve`. */
export interface AppContext {
  database: Database;
  edition: Edition;
  bars: BarReader;
  intraday: IntradayReader;
  symbols: SymbolDirectory;
  status: StatusReader;
  overview: OverviewReader;
  sparklines: SparklineReader;
  activity: ActivityReader;
  stream: LiveStream;
  calendar: Calendar;
  version: string;
  publishDelayMs: number;
  now: () => number;
  scheduler: () => { status: SchedulerStatus; nextRun: Date | null };
  operations: Operations;
  /** How often an open page asks for what has changed; 10 when missing. */
  pollSeconds?: number;
  /** Names by which this machine is known, beside its own and its addresses; lower case. */
  allowedHosts?: readonly string[];
  log: (level: 'INFO' | 'WARNING' | 'ERROR', message: string, fields?: object) => void;
}

/** The HTTP application, not yet listening. */
export function makeApp(context: AppContext) {
  const checkHost = makeHostCheck(context.allowedHosts ?? []);
  let routes: ErrorSurroundings['routes'];
  const surroundings = { page: errorPage(context), routes: () => routes?.() ?? [] };
  const app = new Elysia({ name: 'marketd', serve: { reusePort: false, idleTimeout: 60 } })
    .headers(SECURITY_HEADERS)
    .use(errorPlugin((message, fields) => context.log('ERROR', message, fields), surroundings))
    .onRequest(({ request }) => checkHost(request))
    .use(apiRoutes(context))
    .use(priceRoutes(context))
    .use(tradeRoutes(context))
    .use(marketRoutes(context))
    .use(calendarOverrideRoutes(context))
    .use(snapshotRoutes(context))
    .use(corporateActionRoutes(context))
    .use(coverageRoutes(context))
    .use(qualityRoutes(context))
    .use(reconciliationRoutes(context))
    .use(reconciliationPageRoutes(context))
    .use(instrumentRoutes(context))
    .use(adminSymbolRoutes(context))
    .use(revisionRoutes(context))
    .use(findingRoutes(context))
    .use(jobRoutes(context))
    .use(auditRoutes(context))
    .use(streamRoutes(context))
    .use(pageRoutes(context));
  routes = () => app.routes;
  return app.use(docsRoutes(context, (request) => app.handle(request)));
}
