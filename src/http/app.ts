import { Elysia } from 'elysia';
import type { Calendar } from '../model/session.ts';
import type { BarReader } from '../query/bars.ts';
import type { IntradayReader } from '../query/intraday.ts';
import type { StatusReader } from '../query/status.ts';
import type { SymbolDirectory } from '../query/symbols.ts';
import type { Database, Edition } from '../store/database.ts';
import { apiRoutes } from './api.ts';
import { auditRoutes } from './audit.ts';
import { corporateActionRoutes } from './corporate-actions.ts';
import { coverageRoutes } from './coverage.ts';
import { docsRoutes } from './docs.ts';
import { errorPlugin } from './errors.ts';
import { findingRoutes } from './findings.ts';
import { instrumentRoutes } from './instruments.ts';
import type { LiveStream } from './live-stream.ts';
import { marketRoutes } from './market.ts';
import { pageRoutes } from './pages.tsx';
import { priceRoutes } from './price.ts';
import { qualityRoutes } from './quality.ts';
import { reconciliationRoutes } from './reconciliation.ts';
import { reconciliationPageRoutes } from './reconciliation-page.tsx';
import { revisionRoutes } from './revisions.ts';
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
  stream: LiveStream;
  calendar: Calendar;
  version: string;
  publishDelayMs: number;
  now: () => number;
  scheduler: () => { status: SchedulerStatus; nextRun: Date | null };
  log: (level: 'INFO' | 'WARNING' | 'ERROR', message: string, fields?: object) => void;
}

const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
};

/** The HTTP application, not yet listening. */
export function makeApp(context: AppContext) {
  const app = new Elysia({ name: 'marketd', serve: { reusePort: false, idleTimeout: 60 } })
    .headers(SECURITY_HEADERS)
    .use(errorPlugin((message, fields) => context.log('ERROR', message, fields)))
    .use(apiRoutes(context))
    .use(priceRoutes(context))
    .use(tradeRoutes(context))
    .use(marketRoutes(context))
    .use(snapshotRoutes(context))
    .use(corporateActionRoutes(context))
    .use(coverageRoutes(context))
    .use(qualityRoutes(context))
    .use(reconciliationRoutes(context))
    .use(reconciliationPageRoutes(context))
    .use(instrumentRoutes(context))
    .use(revisionRoutes(context))
    .use(findingRoutes(context))
    .use(auditRoutes(context))
    .use(streamRoutes(context))
    .use(pageRoutes(context));
  return app.use(docsRoutes(context.version, (request) => app.handle(request)));
}
