import {
  type ActionTask,
  type BackfillPlan,
  countRequests,
  type GroupedTask,
  type PlannedInstrument,
  type RangeTask,
} from './plan.ts';

/** One task of a plan, as a budget looks at it. */
interface Choice {
  lastDay: number;
  /** Requests. */
  cost: number;
  /** Symbols and days that it serves at most: of two tasks that cost the same the larger first. */
  gain: number;
  /** Bars come before splits and dividends, which every night asks for anyway. */
  kind: 'bars' | 'actions';
  range?: RangeTask;
  grouped?: GroupedTask;
  action?: ActionTask;
}

const byRange = (range: RangeTask): Choice => {
  const gain = range.lastDay - range.firstDay + 1;
  return { lastDay: range.lastDay, cost: 1, gain, kind: 'bars', range };
};

const bySession = (grouped: GroupedTask): Choice => {
  return { lastDay: grouped.day, cost: 1, gain: grouped.instruments.length, kind: 'bars', grouped };
};

const byAction = (action: ActionTask): Choice => {
  const { lastDay, requests: cost } = action;
  return { lastDay, cost, gain: action.covers.length, kind: 'actions', action };
};

/**
 * The part of a plan that so many requests pay for: bars of the newest sessions first, and of those
 * what serves most; then splits and dividends, of the newest sessions what costs least. A symbol is
 * looked up with its newest bars, if a request is left for that. What costs nothing stays.
 */
export function limitPlan(plan: BackfillPlan, requestsMax: number): BackfillPlan {
  if (plan.requests.total <= requestsMax) return plan;
  const choices = [
    ...plan.ranges.map(byRange),
    ...plan.grouped.map(bySession),
    ...plan.actions.map(byAction),
  ].sort(compare);
  const unknown = new Set(plan.describe.map(({ instrumentId }) => instrumentId));
  const described: PlannedInstrument[] = [];
  const taken: Choice[] = [];
  let left = requestsMax;
  for (const choice of choices) {
    if (choice.cost > left) continue;
    left -= choice.cost;
    taken.push(choice);
    const instrument = choice.range?.instrument;
    if (left === 0 || !instrument || !unknown.delete(instrument.instrumentId)) continue;
    left--;
    described.push(instrument);
  }
  const present = <T>(task: T | undefined): T[] => (task === undefined ? [] : [task]);
  return countRequests({
    ranges: taken.flatMap(({ range }) => present(range)),
    grouped: taken.flatMap(({ grouped }) => present(grouped)),
    actions: taken.flatMap(({ action }) => present(action)),
    refused: plan.refused,
    describe: described,
    dueSessions: plan.dueSessions,
  });
}

function compare(a: Choice, b: Choice): number {
  if (a.kind !== b.kind) return a.kind === 'bars' ? -1 : 1;
  return b.lastDay - a.lastDay || a.cost - b.cost || b.gain - a.gain;
}
