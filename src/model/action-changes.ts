import { type CorporateAction, splitRatio } from './corporate-action.ts';
import { toDay } from './session.ts';

/** What an answer changes about the splits, or the dividends, that are known of an instrument. */

/** An action as it is stored and not withdrawn. */
export interface KnownAction {
  versionId: number;
  /** Since when answers lack it, epoch ms; null: the last one that covered it had it. */
  missingAt: number | null;
  action: CorporateAction;
}

/** What an answer says beyond the actions in it. */
export interface AnswerScope {
  /** Whether an action with this ex-date would be in it, days since 1970-01-01. */
  isCovered: (exDay: number) => boolean;
  /** False when a row of it was rejected, or it cannot be all there is: it then lacks nothing. */
  isComplete: boolean;
  /** Epoch ms. */
  receivedAt: number;
}

export interface ActionChanges {
  inserted: CorporateAction[];
  withdrawn: KnownAction[];
  /** Not there, and nothing else of the instrument either: it may be the answer that fails. */
  doubted: KnownAction[];
  /** Doubted before, and there again. */
  confirmed: KnownAction[];
  /** The same event once more in the same answer, under another id. */
  duplicates: CorporateAction[];
}

/** So far apart are two answers that lack an action before it is withdrawn: outages are shorter. */
export const WITHDRAWN_AFTER_MS = 12 * 3_600_000;

/**
 * Compares what is known with what arrived of the same provider, instrument and kind.
 * - What says something else is withdrawn and inserted anew: a version.
 * - What is there under another id is the same event: its old id is withdrawn.
 * - What is not there any more is withdrawn when the answer has others; when it has none at all
 *   it is doubted, and withdrawn by a later answer that lacks it too.
 */
export function compareActions(
  known: readonly KnownAction[],
  arrived: readonly CorporateAction[],
  scope: AnswerScope,
): ActionChanges {
  const changes: ActionChanges = {
    ...{ inserted: [], withdrawn: [], doubted: [], confirmed: [], duplicates: [] },
  };
  const byId = new Map(known.map((one) => [one.action.providerActionId, one]));
  const arriving = uniqueActions(arrived, byId, changes.duplicates);
  for (const action of arriving.values()) {
    const old = byId.get(action.providerActionId);
    if (old && isSameAction(old.action, action)) {
      if (old.missingAt !== null) changes.confirmed.push(old);
      continue;
    }
    if (old) changes.withdrawn.push(old);
    changes.inserted.push(action);
  }
  const events = new Set([...arriving.values()].map(eventKey));
  for (const one of known) {
    if (arriving.has(one.action.providerActionId)) continue;
    if (events.has(eventKey(one.action))) changes.withdrawn.push(one);
    else if (!scope.isComplete || !scope.isCovered(toDay(one.action.exDate))) continue;
    else if (arriving.size > 0 || isMissingLong(one, scope)) changes.withdrawn.push(one);
    else if (one.missingAt === null) changes.doubted.push(one);
  }
  return changes;
}

const isMissingLong = ({ missingAt }: KnownAction, { receivedAt }: AnswerScope) =>
  missingAt !== null && receivedAt - missingAt >= WITHDRAWN_AFTER_MS;

/** By id, the last of each; of those that say the same under several ids the known one. */
function uniqueActions(
  arrived: readonly CorporateAction[],
  known: ReadonlyMap<string, KnownAction>,
  duplicates: CorporateAction[],
): Map<string, CorporateAction> {
  const byId = new Map(arrived.map((action) => [action.providerActionId, action]));
  const alike = Map.groupBy(byId.values(), contentKey);
  for (const actions of alike.values()) {
    const [kept] = actions.toSorted(
      (a, b) =>
        Number(known.has(b.providerActionId)) - Number(known.has(a.providerActionId)) ||
        (a.providerActionId < b.providerActionId ? -1 : 1),
    );
    for (const action of actions) {
      if (action === kept) continue;
      byId.delete(action.providerActionId);
      duplicates.push(action);
    }
  }
  return byId;
}

/** What happened, as far as prices know it. */
function eventKey(action: CorporateAction): string {
  return action.kind === 'split'
    ? `${action.exDate} ${splitRatio(action)}`
    : `${action.exDate} ${action.cashAmount} ${action.currency}`;
}

/** A split is the same as another of its day and ratio; a dividend only when all of it is. */
const contentKey = (action: CorporateAction) =>
  action.kind === 'split' ? eventKey(action) : JSON.stringify(contentOf(action));

function contentOf(action: CorporateAction): unknown[] {
  const { exDate, subtype = null } = action;
  if (action.kind === 'split') return [exDate, action.splitFrom, action.splitTo, subtype];
  const { cashAmount, currency, declaredDate, recordDate, payDate, frequency } = action;
  return [exDate, cashAmount, currency, declaredDate, recordDate, payDate, frequency, subtype];
}

function isSameAction(a: CorporateAction, b: CorporateAction): boolean {
  return JSON.stringify(contentOf(a)) === JSON.stringify(contentOf(b));
}
