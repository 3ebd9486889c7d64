import { errorMessage, ProviderError } from '../errors.ts';
import { makeBars } from '../model/bar.ts';
import type { CorporateAction } from '../model/corporate-action.ts';
import { recordAnswer } from '../model/coverage.ts';
import { toDate, toDay } from '../model/session.ts';
import { isHeld, type SymbolRange } from '../model/symbol-range.ts';
import type { ActionQuery, ActionsAnswer, ListedSymbol } from '../providers/provider.ts';
import {
  type ArrivedActions,
  type ChangedAction,
  upsertCorporateActions,
} from '../store/corporate-actions.ts';
import type { Transaction } from '../store/database.ts';
import { type Description, upsertDescriptions } from '../store/symbols.ts';
import {
  insertRejectedRows,
  selectCoverageRanges,
  upsertCoverage,
  withIngestLock,
} from '../store/upsert.ts';
import type { BackfillContext } from './backfill.ts';
import { type IngestOptions, ingestBarsWithin } from './ingest.ts';
import {
  ACTIONS_AHEAD_DAYS,
  ACTIONS_REFRESH_MS,
  type ActionTask,
  type BackfillPlan,
  type PlannedInstrument,
} from './plan.ts';

/**
 * Asks for splits or dividends, stores them with their coverage, and scores again the bars that
 * they explain. A refusal by the plan is recorded; bars do not depend on it.
 * @returns what failed; undefined when nothing did.
 * @throws ProviderError when the key is refused.
 */
export async function refreshActions(
  context: BackfillContext,
  task: ActionTask,
  options: Omit<IngestOptions, 'receivedAt'>,
  signal: AbortSignal,
): Promise<ProviderError | undefined> {
  const { provider, database, calendar, now } = context;
  const isLatest = task.lastDay >= calendar.latestSession(now(), context.publishDelayMs);
  // What is announced is known before the first session without it.
  const lastExDay = isLatest ? task.lastDay + ACTIONS_AHEAD_DAYS : task.lastDay;
  const symbols = task.covers.flatMap(symbolsOf);
  const answer: ActionsAnswer<CorporateAction> = { actions: [], rejected: [] };
  let refusal: string | undefined;
  try {
    for (const query of actionQueries(task, lastExDay, symbols)) {
      signal.throwIfAborted();
      const { actions, rejected } =
        task.dataset === 'splits'
          ? await provider.fetchSplits(query, signal)
          : await provider.fetchDividends(query, signal);
      answer.actions.push(...actions);
      answer.rejected.push(...rejected);
    }
  } catch (error) {
    if (!(error instanceof ProviderError) || error.kind === 'unauthorized') throw error;
    if (error.kind !== 'not_entitled') {
      const message = `${task.dataset}: ${errorMessage(error)}`;
      context.log('WARNING', message, error.body ? { body: error.body } : {});
      return error;
    }
    refusal = error.message;
  }
  const full = { ...options, receivedAt: now() };
  await withIngestLock(database.write, async (tx) => {
    await recordActionCoverage(tx, task, full, refusal);
    if (refusal !== undefined) return;
    const scope = { ...task, lastDay: lastExDay };
    const changed = await storeActions(tx, scope, symbols, answer, full);
    await rescoreActions(tx, task.covers, changed, full);
  });
  return undefined;
}

interface ActionSymbol extends Omit<SymbolRange, 'source'> {
  instrumentId: number;
}

/** What the provider called an instrument, and when. */
function symbolsOf({ instrumentId, providerSymbol, ranges }: PlannedInstrument): ActionSymbol[] {
  const always = { symbol: providerSymbol, startDay: -Infinity, endDay: Infinity };
  return (ranges ?? [always]).map((range) => ({ ...range, instrumentId }));
}

/** One request for the market; for an instrument one for each symbol that it had meanwhile. */
function actionQueries(
  { instrument, firstDay }: ActionTask,
  lastDay: number,
  symbols: readonly ActionSymbol[],
): ActionQuery[] {
  const query = (symbol: string | undefined, first: number, last: number) => ({
    ...{ symbol, firstExDate: toDate(first), lastExDate: toDate(last) },
  });
  if (!instrument) return [query(undefined, firstDay, lastDay)];
  return symbols
    .filter((range) => range.startDay <= lastDay && range.endDay > firstDay)
    .map(({ symbol, startDay, endDay }) =>
      query(symbol, Math.max(firstDay, startDay), Math.min(lastDay, endDay - 1)),
    );
}

/** No month has passed without a dividend on the market: an answer without any is an outage. */
const EMPTY_MARKET_DAYS_MAX = 30;

/** Stores an answer; of an action it is whose symbol it was on the ex-date. */
async function storeActions(
  tx: Transaction,
  task: ActionTask,
  symbols: readonly ActionSymbol[],
  { actions, rejected }: ActionsAnswer<CorporateAction>,
  options: IngestOptions,
): Promise<ChangedAction[]> {
  const { firstDay, lastDay, dataset } = task;
  const byInstrument = Map.groupBy(symbols, ({ instrumentId }) => instrumentId);
  const bySymbol = Map.groupBy(symbols, ({ symbol }) => symbol);
  const found = Map.groupBy(actions, ({ symbol, exDate }) => {
    return bySymbol.get(symbol)?.find((range) => isHeld(range, toDay(exDate)))?.instrumentId;
  });
  const unreadable = new Set(rejected.map((row) => row.symbol));
  const isOutage =
    !task.instrument && actions.length === 0 && lastDay - firstDay >= EMPTY_MARKET_DAYS_MAX;
  const arrived = [...byInstrument].map(([instrumentId, ranges]): ArrivedActions => {
    const isUnread = ranges.some(({ symbol }) => unreadable.has(symbol)) || unreadable.has('');
    return {
      instrumentId,
      kind: dataset === 'splits' ? 'split' : 'dividend',
      actions: found.get(instrumentId) ?? [],
      scope: {
        isCovered: (day) =>
          day >= firstDay && day <= lastDay && ranges.some((range) => isHeld(range, day)),
        isComplete: !isUnread && !isOutage,
      },
    };
  });
  const { changed, duplicates } = await upsertCorporateActions(tx, options, arrived);
  const kept = rejected.flatMap((row) => {
    const range = bySymbol.get(row.symbol)?.[0];
    return range ? [{ ...row, instrumentId: range.instrumentId }] : [];
  });
  const twice = duplicates.map((one) => toDuplicateRow(one.instrumentId, one.action));
  await insertRejectedRows(tx, [...kept, ...twice], options.provider, dataset);
  return changed;
}

/** The same event once more under another id: it is kept where it adjusts nothing. */
export function toDuplicateRow(instrumentId: number, action: CorporateAction) {
  const { symbol, exDate: session } = action;
  const reason = 'the same event as another one of the answer, under another id';
  return { instrumentId, symbol, session, reason, raw: JSON.stringify(action) };
}

async function recordActionCoverage(
  tx: Transaction,
  task: ActionTask,
  options: IngestOptions,
  refusal: string | undefined,
): Promise<void> {
  const ids = task.covers.map((instrument) => instrument.instrumentId);
  const coverage = await selectCoverageRanges(tx, task.dataset, ids);
  const changes = ids.map((instrumentId) => {
    const before = coverage.get(instrumentId) ?? [];
    const answer = {
      start: task.firstDay,
      end: task.lastDay + 1,
      provider: options.provider,
      askedAt: options.receivedAt,
      settledBefore: options.settledBefore,
      hasBar: () => true,
      completeUntil: options.receivedAt + ACTIONS_REFRESH_MS,
      listedOn: null,
      refusal,
    };
    return { instrumentId, before, after: recordAnswer(before, answer, options.calendar) };
  });
  await upsertCoverage(tx, task.dataset, changes);
}

/**
 * Scores the bars again that a new, changed or withdrawn action may explain; in the transaction
 * that stores it, for the next one finds it known and has nothing to score for it.
 */
export async function rescoreActions(
  tx: Transaction,
  covers: readonly Pick<PlannedInstrument, 'instrumentId' | 'symbol' | 'listedOn'>[],
  changed: readonly ChangedAction[],
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
  await ingestBarsWithin(tx, items, options);
}

/**
 * Looks up names and listing dates of instruments that were never described. A failure is logged
 * and tried again by the next run: bars do not depend on it.
 * @param onFailure is told of each; the symbol is null when all were asked for.
 * @returns listing dates (days) of what was looked up, by instrument.
 */
export async function refreshDescriptions(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
  onFailure: OnDescribeFailure,
): Promise<Map<number, number | null>> {
  const found = plan.describeByList
    ? await describeByList(context, plan, signal, onFailure)
    : await describeEach(context, plan, signal, onFailure);
  await upsertDescriptions(context.database.write, found);
  const day = (date: string | null) => (date === null ? null : toDay(date));
  return new Map(found.map((one) => [one.instrumentId, day(one.listedOn)]));
}

type OnDescribeFailure = (error: ProviderError, symbol: string | null) => Promise<void>;

/** Logs a failure that the run can do without. @throws what it cannot do without. */
async function forgive(
  context: BackfillContext,
  error: unknown,
  symbol: string | null,
  onFailure: OnDescribeFailure,
): Promise<ProviderError> {
  if (!(error instanceof ProviderError)) throw error;
  await onFailure(error, symbol);
  if (error.kind === 'unauthorized') throw error;
  context.log('WARNING', `names and listing dates: ${errorMessage(error)}`);
  return error;
}

async function describeEach(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
  onFailure: OnDescribeFailure,
): Promise<Description[]> {
  const found: Description[] = [];
  for (const { instrumentId, providerSymbol, symbol } of plan.describe) {
    try {
      const listed = await context.provider.fetchSymbol(providerSymbol, signal);
      found.push(toDescription(instrumentId, listed));
    } catch (error) {
      // A bad answer is about this symbol; a provider that is away will be for the next as well.
      const { kind } = await forgive(context, error, symbol, onFailure);
      if (kind === 'unavailable' || kind === 'rate_limited') break;
    }
  }
  return found;
}

async function describeByList(
  context: BackfillContext,
  plan: BackfillPlan,
  signal: AbortSignal,
  onFailure: OnDescribeFailure,
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
    await forgive(context, error, null, onFailure);
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
