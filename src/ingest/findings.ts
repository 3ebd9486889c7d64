import { barDigest, decideBar } from '../model/finding.ts';
import type { Calendar } from '../model/session.ts';
import { lowerBound } from '../model/sorted.ts';
import { findSplits, type SplitCauses } from '../model/split-finder.ts';
import type { StoredBars, StoredIntradayBars } from '../store/bar-columns.ts';
import type { SeenRange, StoredDecision } from '../store/findings.ts';

/**
 * Lays what operators decided over bars that were scored: an accepted finding costs nothing, a
 * rejected one costs all. A decision about other values than the bar has now is left out: the bar
 * is scored as a new one, and its findings are open again once it is written.
 * @param bars ascending; the same instrument and timeframe as the decisions.
 */
export function applyDecisions(
  bars: StoredBars | StoredIntradayBars,
  decisions: readonly StoredDecision[] = [],
): void {
  for (const decision of decisions) {
    const row = findRow(bars, decision);
    if (row < 0 || barDigest(bars, row) !== decision.digest) continue;
    const { flags, score } = decideBar(bars.flags[row], decision);
    bars.flags[row] = flags;
    bars.score[row] = score;
  }
}

const SPLIT_KINDS = ['possible_split', 'unconfirmed_split'] as const;

/**
 * Jumps that look like splits, and splits without a jump, from a row on: nothing is changed for
 * them. Undefined when there is no such row.
 * @param bars daily, ascending; rows before `from` are the past of those after it.
 */
export function seenSplits(
  instrumentId: number,
  bars: StoredBars,
  calendar: Calendar,
  causes: SplitCauses,
  from: number,
): SeenRange | undefined {
  if (from >= bars.length) return undefined;
  const found = findSplits(bars, calendar, causes, from).map(
    ({ row, kind, splitFrom, splitTo, ratio, detail }) => ({
      ...{ kind, day: bars.session[row] },
      detail: { split_from: splitFrom, split_to: splitTo, ratio, ...detail },
      values: [detail.previous_close, bars.open[row], bars.close[row], splitFrom, splitTo],
    }),
  );
  const days = { firstDay: bars.session[from], lastDay: bars.session[bars.length - 1] };
  return { instrumentId, kinds: SPLIT_KINDS, ...days, found };
}

/** The row of the bar that a decision is about, -1 when it is not among them. */
function findRow(bars: StoredBars | StoredIntradayBars, { day, ts }: StoredDecision): number {
  const column: ArrayLike<number> = 'ts' in bars ? bars.ts : bars.session;
  const wanted = ts ?? day;
  const row = lowerBound(column, wanted);
  return row < bars.length && column[row] === wanted ? row : -1;
}
