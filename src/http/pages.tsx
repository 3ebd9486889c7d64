import { Elysia } from 'elysia';
import type { AppContext } from './app.ts';
import { assetRoutes } from './assets.ts';
import { auditPageRoutes } from './audit-page.tsx';
import { backfillPageRoutes } from './backfill-page.tsx';
import { marketPageRoutes } from './market-page.tsx';
import { overviewPageRoutes } from './overview-page.tsx';
import { qualityPageRoutes } from './quality-page.tsx';
import { qualityReportPageRoutes } from './quality-report-page.tsx';
import { leaveOutUnchanged } from './security-headers.ts';
import { symbolPageRoutes } from './symbol-page.tsx';
import { symbolsPageRoutes } from './symbols-page.tsx';
import { systemPageRoutes } from './system-page.tsx';

/** The pages, the parts of them that are polled, and their files. */
export function pageRoutes(context: AppContext) {
  return new Elysia({ name: 'pages' })
    .onAfterHandle(leaveOutUnchanged)
    .use(overviewPageRoutes(context))
    .use(symbolPageRoutes(context))
    .use(symbolsPageRoutes(context))
    .use(backfillPageRoutes(context))
    .use(qualityPageRoutes(context))
    .use(qualityReportPageRoutes(context))
    .use(auditPageRoutes(context))
    .use(marketPageRoutes(context))
    .use(systemPageRoutes(context))
    .use(assetRoutes());
}
