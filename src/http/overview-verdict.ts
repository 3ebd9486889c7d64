import type { Situation } from '../../views/dashboard.tsx';
import { plural } from '../../views/elements.tsx';
import { runPath } from '../../views/runs.tsx';
import { REVIEW_RATE_PCT, STALE_SESSIONS, type SymbolState } from '../model/symbol-state.ts';
import type { OverviewTotals } from '../query/overview.ts';
import type { WarehouseStatus } from '../query/status.ts';
import type { Activity } from '../store/activity.ts';
import type { Run } from '../store/jobs.ts';
import type { SchedulerStatus } from './app.ts';

/** What is to be said of the warehouse, the most pressing thing first, and what mends it. */

export interface OverviewFacts {
  status: WarehouseStatus;
  totals: OverviewTotals;
  activity: Activity;
  /** Published sessions after the newest bar; null when there is none. */
  sessionsBehind: number | null;
  scheduler: SchedulerStatus;
  /** Whether any process runs what is asked for. */
  isLed: boolean;
  /** Whether this process has somebody to ask for data. */
  hasProvider: boolean;
}

const BACKFILL = 'marketd backfill --all';
const BACKFILL_PAGE = { href: '/dashboard/backfill', label: 'Backfill' };
const SYSTEM_PAGE = { href: '/dashboard/system', label: 'System' };
const ERROR_LENGTH_MAX = 200;

const symbols = (count: number) => plural(count, 'symbol');
const stateLink = (state: SymbolState, count: number) => ({
  href: `/dashboard?state=${state}`,
  label: count === 1 ? 'Show it' : `Show all ${count.toLocaleString('en-US')}`,
});
const runLink = ({ runId }: Run) => ({ href: runPath(runId), label: 'What happened' });

/** One sentence for the top of the page, and everything else that wants attention, worst first. */
export function judgeOverview(facts: OverviewFacts): {
  verdict: Situation;
  attention: Situation[];
} {
  const [first, ...others] = [
    ...underWay(facts),
    ...loading(facts),
    ...freshness(facts),
    ...serving(facts),
    ...quality(facts),
  ];
  return { verdict: first ?? allIsWell(facts), attention: [...others, ...notes(facts)] };
}

function allIsWell({ status }: OverviewFacts): Situation {
  const loaded = symbols(status.symbolsAvailable);
  const sentence = `All is well: ${loaded}, complete to ${status.latestSession}.`;
  return { condition: 'good', word: 'Healthy', sentence };
}

const attention = (sentence: string, how: Partial<Situation> = {}): Situation => ({
  condition: 'attention',
  word: 'Attention',
  sentence,
  ...how,
});

const BACKFILLS = 'backfill';

/** Bars below a day are collected every few minutes while the market is open. */
const isNews = ({ job, origin }: Run) =>
  job === BACKFILLS || (job.startsWith(BACKFILLS) && origin !== 'schedule');

function underWay({ activity, isLed }: OverviewFacts): Situation[] {
  const { runs, requests } = activity;
  const running = runs.find((run) => run.state === 'running' && isNews(run));
  if (running) {
    const of = running.total === null ? '' : ` of ${running.total.toLocaleString('en-US')}`;
    const done = running.done.toLocaleString('en-US');
    const sentence = `A ${running.job} is running: ${done}${of} requests are done.`;
    const link = { href: runPath(running.runId), label: 'Watch it' };
    return [{ condition: 'busy', word: 'Working', sentence, link }];
  }
  const [waiting] = requests;
  if (waiting === undefined) return [];
  if (!isLed) {
    const sentence = `A ${waiting.kind} waits, and no process runs jobs now. Start one.`;
    const commands = ['SCHEDULER=on marketd serve'];
    return [{ condition: 'bad', word: 'Problem', sentence, commands, link: SYSTEM_PAGE }];
  }
  const begins = waiting.state === 'running' ? 'has been taken up' : 'is about to begin';
  const why = waiting.message === null ? '' : ` (${waiting.message.slice(0, ERROR_LENGTH_MAX)})`;
  const sentence = `A ${waiting.kind} ${begins}${why}.`;
  return [{ condition: 'busy', word: 'Working', sentence, link: BACKFILL_PAGE }];
}

function loading({ status, activity }: OverviewFacts): Situation[] {
  if (status.records === 0 && status.symbolsTracked === 0) {
    const sentence =
      'There is nothing here yet. Say which symbols to hold, then load their history.';
    const link = { href: '/dashboard/symbols', label: 'Add symbols' };
    const commands = ['marketd symbols add AAPL', BACKFILL];
    return [{ condition: 'idle', word: 'Empty', sentence, link, commands }];
  }
  const last = activity.runs.find(({ job }) => job === BACKFILLS);
  const again = { canBackfill: true, commands: [BACKFILL] };
  const found: Situation[] = [];
  if (last?.state === 'failed') {
    const sentence = `The last backfill failed${errorOf(last)}. When that is mended, run it again.`;
    const link = runLink(last);
    found.push({ condition: 'bad', word: 'Problem', sentence, link, ...again });
  }
  if (last?.state === 'interrupted') {
    const sentence = 'The last backfill was interrupted. It goes on where it stopped.';
    found.push(attention(sentence, { link: runLink(last), ...again }));
  }
  if (status.records === 0 && status.intradayRecords === 0) {
    const tracked = symbols(status.symbolsTracked);
    const sentence = `Tracking ${tracked}, but there are no bars yet. Load the history.`;
    found.push({ condition: 'idle', word: 'Empty', sentence, ...again });
  }
  return found;
}

/** ': the key was refused (401)' */
const errorOf = ({ error }: Run) =>
  error === null ? '' : `: ${error.slice(0, ERROR_LENGTH_MAX).replace(/\.$/, '')}`;

const countOf = ({ states }: OverviewTotals, state: SymbolState) =>
  states.find((one) => one.state === state)?.count ?? 0;

function freshness(facts: OverviewFacts): Situation[] {
  const { status, sessionsBehind, totals, scheduler } = facts;
  const catchUp = { canBackfill: true, commands: [BACKFILL] };
  const found: Situation[] = [];
  const isBehind = sessionsBehind !== null && sessionsBehind >= STALE_SESSIONS;
  if (isBehind) {
    const behind = plural(sessionsBehind, 'session');
    const why = scheduler === 'stopped' && !facts.isLed ? ' The scheduler is stopped.' : '';
    found.push(
      attention(`Bars end at ${status.latestSession}, ${behind} behind.${why} Catch up.`, catchUp),
    );
  }
  const failed = countOf(totals, 'failed');
  if (failed > 0) {
    const sentence = `The last backfill could not fill ${symbols(failed)}. Try again.`;
    found.push(attention(sentence, { ...catchUp, link: stateLink('failed', failed) }));
  }
  const stale = countOf(totals, 'stale');
  // When everything is behind, nothing is behind the others.
  if (stale > 0 && !isBehind) {
    const sentence = `Behind the others: ${symbols(stale)}. Catch up.`;
    found.push(attention(sentence, { ...catchUp, link: stateLink('stale', stale) }));
  }
  return found;
}

function serving({ scheduler, isLed, hasProvider }: OverviewFacts): Situation[] {
  if (scheduler === 'running') return [];
  if (!isLed) {
    if (scheduler === 'standby') {
      const sentence = 'No process leads at the moment: jobs wait until one does.';
      return [attention(sentence, { link: SYSTEM_PAGE })];
    }
    const sentence =
      'The scheduler is stopped, and nothing keeps bars up to date. ' +
      'Set POLYGON_API_KEY and SCHEDULER=on, then restart marketd.';
    return [attention(sentence, { link: SYSTEM_PAGE })];
  }
  if (scheduler === 'standby' || hasProvider) return [];
  const sentence =
    'There is no provider, and nothing keeps bars up to date. ' +
    'Set POLYGON_API_KEY, then restart marketd.';
  return [attention(sentence, { link: SYSTEM_PAGE })];
}

function quality({ totals, activity }: OverviewFacts): Situation[] {
  const found: Situation[] = [];
  const poor = countOf(totals, 'poor');
  const review = countOf(totals, 'review');
  if (poor + review > 0) {
    const sentence =
      `Fewer than ${REVIEW_RATE_PCT} % of the bars of ${symbols(poor + review)} are validated. ` +
      'Look at their flags before you rely on them.';
    const link = poor > 0 ? stateLink('poor', poor) : stateLink('review', review);
    found.push(attention(sentence, { link }));
  }
  const incomplete = countOf(totals, 'incomplete');
  if (incomplete > 0) {
    const sentence = `Sessions are missing in the history of ${symbols(incomplete)}.`;
    const link = stateLink('incomplete', incomplete);
    found.push(attention(sentence, { link, canBackfill: true, commands: [BACKFILL] }));
  }
  for (const run of activity.runs) {
    if (run.state !== 'failed' || run.job === BACKFILLS) continue;
    found.push(attention(`The last ${run.job} failed${errorOf(run)}.`, { link: runLink(run) }));
  }
  return found;
}

/** What can wait: the warehouse is well with it. */
function notes({ totals, activity }: OverviewFacts): Situation[] {
  const found: Situation[] = [];
  const { openFindings, openGaps } = totals;
  if (openFindings > 0) {
    const gaps = openGaps === 0 ? '' : `, ${plural(openGaps, 'gap')} among them`;
    const sentence = `${plural(openFindings, 'finding')} to decide about${gaps}.`;
    const link = { href: '/dashboard/quality', label: 'Decide' };
    found.push({ condition: 'idle', word: 'Review', sentence, link });
  }
  const last = activity.runs.find(({ job }) => job === BACKFILLS);
  if (last && last.rejected > 0) {
    const sentence =
      `${plural(last.rejected, 'row')} of the last backfill could not be read: ` +
      'kept apart, with the reason.';
    found.push({ condition: 'idle', word: 'Rejected', sentence, link: runLink(last) });
  }
  const empty = countOf(totals, 'no_bars');
  if (empty > 0 && empty < totals.symbols) {
    const sentence = `No bars yet of ${symbols(empty)}.`;
    found.push({ condition: 'idle', word: 'No bars', sentence, link: stateLink('no_bars', empty) });
  }
  return found;
}
