import { errorMessage, ProviderError } from '../errors.ts';
import { makeBars } from '../model/bar.ts';
import type { CorporateAction } from '../model/corporate-action.ts';
import { recordAnswer } from '../model/coverage.ts';
import { toDate, toDay } from '../model/session.ts';
import type { ActionsAnswer, ListedSymbol } from '../providers/provider.ts';
import type { Transaction } from '../store/database.ts';
import { type Description, upsertDescriptions } from '../store/symbols.ts';
import {
  insertRejectedRows,
  selectCoverageRanges,
  upsertCorporateActions,
  upsertCoverage,
  withIngestLock,
} from '../store/upsert.ts';
import type { BackfillContext } from './backfill.ts';
import { type IngestOptions, ingestBars } from './ingest.ts';
import type { ActionTask, BackfillPlan, PlannedInstrument } from './plan.ts';

/**
 * Asks for splits or dividends, stores them with their coverage, and scores again the bars that
 * they explain. A refusal by the plan is recorded; bars do not depend on it.
 * @returns what failed, in words; undefined when nothing did.
 * @throws ProviderError when the key is refused.
 */
export async function refreshActions(
  context: BackfillContext,
  task: ActionTask,
  options: Omit<IngestOptions, 'receivedAt'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  signal.throwIfAborted();
  const { provider, database, now } = context;
  const query = {
    symbol: task.instrument?.providerSymbol,
    firstExDate: toDate(task.firstDay),
    lastExDate: toDate(task.lastDay),
  };
  let answer: ActionsAnswer<CorporateAction> = { actions: [], rejected: [] };
  let refusal: string | undefined;
  try {
    answer =
      task.dataset === 'splits'
        ? await provider.fetchSplits(query, signal)
        : await provider.fetchDividends(query, signal);
  } catch (error) {
    if (!(error instanceof ProviderError) || error.kind === 'unauthorized') throw error;
    const message = `${task.dataset}: ${errorMessage(error)}`;
    if (error.kind !== 'not_entitled') {
      context.log('WARNING', message, error.body ? { body: error.body } : {});
      return message;
    }
    refusal = error.message;
  }
  const full = { ...options, receivedAt: now() };
  const changed = await withIngestLock(database.write, (tx) =>
    storeActions(tx, task, answer, full, refusal),
  );
  await rescore(context, task.covers, changed, full);
  return undefined;
}

async function storeActions(
  tx: Transaction,
  task: ActionTask,
  answer: ActionsAnswer<CorporateAction>,
  options: IngestOptions,
  refusal: string | undefined,
): Promise<{ instrumentId: number; exDate: string }[]> {
  const bySymbol = new Map(task.covers.map((i) => [i.providerSymbol, i.instrumentId]));
  const known = answer.actions.flatMap((action) => {
    const instrumentId = bySymbol.get(action.symbol);
    return instrumentId === undefined ? [] : [{ instrumentId, action }];
  });
  const changed = await upsertCorporateActions(tx, options.provider, known);
  const rejected = answer.rejected
    .filter((row) => bySymbol.has(row.symbol))
    .map((row) => ({ ...row, instrumentId: bySymbol.get(row.symbol) ?? null }));
  await insertRejectedRows(tx, rejected, options.provider, task.dataset);
  const ids = task.covers.map((instrument) => instrument.instrumentId);
  const coverage = await selectCoverageRanges(tx, task.dataset, ids);
  const changes = ids.map((instrumentId) => {
    const before = coverage.get(instrumentId) ?? [];
    const after = recordAnswer(
      before,
      {
        start: task.firstDay,
        end: task.lastDay + 1,
        provider: options.provider,
        askedAt: options.receivedAt,
        settledBefore: options.settledBefore,
        hasBar: () => true,
        listedOn: null,
        refusal,
      },
      options.calendar,
    );
    return { instrumentId, before, after };
  });
  await upsertCoverage(tx, task.dataset, changes);
  return changed;
}

/** Scores the bars again that a new or changed action may explain. */
async function rescore(
  context: BackfillContext,
  covers: readonly PlannedInstrument[],
  changed: readonly { instrumentId: number; exDate: string }[],
  options: IngestOptions,
): Promise<void> {
  if (changed.length === 0) return;
  const days = Map.groupBy(changed, (action) => action.instrumentId);
  const items = covers
    .filter(({ instrumentId }) => days.has(instrumentId))
    .map(({ instrumentId, symbol, listedOn }) => ({
      instrumentId,
      symbol,
      bars: makeBars(0),
      rejected: [],
      listedOn,
      rescore: (days.get(instrumentId) ?? []).map(({ exDate }) => toDay(exDate)),
    }));
  await ingestBars(context.database.write, items, options);
}

/**
 * Looks up names and listing dates of instruments that were never described. A failure is logged
 * and tried again by the next run: bars do not depend on it.
 * @returns listing dates (days) of what was looked up, by instrument.
 */
export async function refreshDescriptions(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
): Promise<Map<number, number | null>> {
  const found = plan.describeByList
    ? await describeByList(context, plan, signal)
    : await describeEach(context, plan, signal);
  await upsertDescriptions(context.database.write, found);
  const day = (date: string | null) => (date === null ? null : toDay(date));
  return new Map(found.map((one) => [one.instrumentId, day(one.listedOn)]));
}

/** Logs a failure that the run can do without. @throws what it cannot do without. */
function forgive(context: BackfillContext, error: unknown): ProviderError {
  if (!(error instanceof ProviderError) || error.kind === 'unauthorized') throw error;
  context.log('WARNING', `names and listing dates: ${errorMessage(error)}`);
  return error;
}

async function describeEach(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
): Promise<Description[]> {
  const found: Description[] = [];
  for (const { instrumentId, providerSymbol } of plan.describe) {
    try {
      const listed = await context.provider.fetchSymbol(providerSymbol, signal);
      found.push(toDescription(instrumentId, listed));
    } catch (error) {
      // A bad answer is about this symbol; a provider that is away will be for the next as well.
      const { kind } = forgive(context, error);
      if (kind === 'unavailable' || kind === 'rate_limited') break;
    }
  }
  return found;
}

async function describeByList(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
): Promise<Description[]> {
  const wanted = new Map(plan.describe.map((i) => [i.providerSymbol, i.instrumentId]));
  const found: Description[] = [];
  try {
    for await (const page of context.provider.fetchSymbols(signal)) {
      for (const listed of page) {
        const instrumentId = wanted.get(listed.symbol);
        if (instrumentId === undefined) continue;
        found.push(toDescription(instrumentId, listed));
        wanted.delete(listed.symbol);
      }
    }
  } catch (error) {
    forgive(context, error);
    return found;
  }
  // Not in the list of active symbols: nothing to say, and not asked for again.
  for (const instrumentId of wanted.values()) found.push(toDescription(instrumentId, undefined));
  return found;
}

function toDescription(instrumentId: number, listed: ListedSymbol | undefined): Description {
  return {
    instrumentId,
    name: listed?.name ?? null,
    exchange: listed?.exchange ?? null,
    assetType: listed?.assetType ?? null,
    listedOn: listed?.listedOn ?? null,
    delistedOn: listed?.delistedOn ?? null,
  };
}
