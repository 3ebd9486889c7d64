import type { BackfillArguments, BackfillPreview } from '../store/job-requests.ts';
import { type BackfillContext, planRequest } from './backfill.ts';
import { type BackfillPlan, planMinutes } from './plan.ts';
import { planRepair } from './repair.ts';

/**
 * What a backfill or a repair would cost, from the database alone: nobody is asked, nothing is
 * written. Symbols that are not known yet count as well, but a repair has no hole to find in them.
 * @throws InputError for what cannot be asked for.
 */
export async function previewJob(
  context: BackfillContext,
  asked: BackfillArguments,
  kind: 'backfill' | 'repair' = 'backfill',
): Promise<BackfillPreview> {
  const { plan, symbols } =
    kind === 'backfill' ? await planFill(context, asked) : await planHoles(context, asked);
  const { requestsPerMinute } = context.provider;
  const { requests, dueSessions } = plan;
  const minutes = planMinutes(requests.total, requestsPerMinute);
  return {
    ...{ symbols, dueSessions, requests, minutes },
    requestsPerMinute: requestsPerMinute ?? null,
  };
}

interface Planned {
  plan: BackfillPlan;
  symbols: number;
}

async function planFill(context: BackfillContext, asked: BackfillArguments): Promise<Planned> {
  const { timeframe, firstSession, retryEmpty } = asked;
  const { plan, instruments } = await planRequest(context, {
    ...{ timeframe, firstSession, retryEmpty, origin: 'operator' },
    symbols: asked.symbols ?? undefined,
    lastSession: asked.lastSession ?? undefined,
  });
  return { plan, symbols: instruments.length };
}

async function planHoles(context: BackfillContext, asked: BackfillArguments): Promise<Planned> {
  const { timeframe, firstSession } = asked;
  const { whole, symbols } = await planRepair(context, {
    ...{ timeframe, firstSession, horizon: firstSession },
    symbols: asked.symbols ?? undefined,
    lastSession: asked.lastSession ?? undefined,
  });
  return { plan: whole, symbols: symbols.length };
}
