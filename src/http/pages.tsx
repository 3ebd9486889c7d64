import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  DashboardFragment,
  DashboardPage,
  type DashboardView,
  type SymbolView,
  type Verdict,
} from '../../views/dashboard.tsx';
import type { Condition } from '../../views/elements.tsx';
import { formatClock, marketAt } from '../model/market.ts';
import { type Calendar, newYorkDay, toDate } from '../model/session.ts';
import { countBehind } from '../query/quality.ts';
import type { WarehouseStatus } from '../query/status.ts';
import { type SymbolDetail, selectSymbolDetails } from '../query/symbols.ts';
import { pingDatabase } from '../store/database.ts';
import { type Run, selectRuns } from '../store/jobs.ts';
import type { AppContext } from './app.ts';
import { assetResponse, iconResponse } from './assets.ts';
import { HttpError } from './errors.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';
import { symbolPageRoutes } from './symbol-page.tsx';

export interface PageOptions {
  /** How often an open page asks for what has changed. */
  pollSeconds?: number;
}

const POLL_SECONDS = 10;
/** Of the backfill; of every other job the last one. */
const RUNS_SHOWN = 5;
/** Up to so many symbols have a card each; of more, the worst so many are listed. */
const SYMBOLS_SHOWN = 60;
/** A symbol with less of its bars validated is to be looked at. */
const REVIEW_RATE_PCT = 95;
const POOR_RATE_PCT = 80;
/** Between a session and the night's run everything is one session behind. */
const STALE_SESSIONS = 2;

const HIDDEN = { detail: { hide: true } };

/** The monitoring page, the part of it that is polled, and its files. */
export function pageRoutes(context: AppContext, options: PageOptions = {}) {
  const pollSeconds = options.pollSeconds ?? POLL_SECONDS;
  return new Elysia({ name: 'pages' })
    .get('/dashboard', () => dashboard(context, pollSeconds), HIDDEN)
    .get('/dashboard/status', ({ request }) => fragment(context, request), HIDDEN)
    .use(symbolPageRoutes(context, pollSeconds))
    .get('/assets/:name', ({ params }) => asset(params.name), HIDDEN)
    .get('/favicon.ico', iconResponse, HIDDEN);
}

function asset(name: string): Response {
  const found = assetResponse(name);
  if (found) return found;
  throw new HttpError(404, 'not_found', 'there is no such file; load the page again');
}

function dashboard(context: AppContext, pollSeconds: number): Promise<Response> {
  return orAway(context, '/dashboard', async () => {
    const { view, milliseconds } = await collect(context);
    const shown = { view, milliseconds, pollSeconds };
    return pageResponse(<DashboardPage {...pageProps(context)} {...shown} />, 200, {
      'server-timing': `status;dur=${milliseconds}`,
    });
  });
}

async function fragment(context: AppContext, request: Request): Promise<Response> {
  const { view, milliseconds } = await collect(context);
  return fragmentResponse(
    request,
    context.version,
    view,
    () => <DashboardFragment view={view} milliseconds={milliseconds} />,
    { 'server-timing': `status;dur=${milliseconds}` },
  );
}

const EDITIONS: Record<AppContext['edition'], string> = {
  plain: 'PostgreSQL (plain)',
  'timescale-apache': 'TimescaleDB (Apache)',
  'timescale-community': 'TimescaleDB (Community)',
};

async function collect(
  context: AppContext,
): Promise<{ view: DashboardView; milliseconds: string }> {
  const { database, calendar } = context;
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(database.read);
  const start = performance.now();
  const status = await context.status.select();
  const milliseconds = (performance.now() - start).toFixed(2);
  const [details, runs] = await Promise.all([
    selectSymbolDetails(database.read),
    selectRuns(database.read, RUNS_SHOWN),
  ]);
  const published = calendar.latestSession(context.now(), context.publishDelayMs);
  const all = details.map((detail) => judgeSymbol(detail, calendar, published));
  const scheduler = context.scheduler();
  const sessionsBehind = countBehind(calendar, status.latestSession, published);
  const view = {
    verdict: judge({ status, sessionsBehind, schedulerStatus: scheduler.status, runs, all }),
    status,
    market: describeMarket(context),
    database: EDITIONS[context.edition],
    publishedSession: published < 0 ? null : toDate(published),
    sessionsBehind,
    scheduler,
    runs,
    symbols: all.length > SYMBOLS_SHOWN ? pickWorst(all) : all,
    symbolCount: all.length,
    tally: tallyStates(all),
  };
  return { view, milliseconds };
}

/** 'until the close at 16:00 EST', 'Good Friday; opens 2026-04-06 09:30 EDT'. */
function describeMarket({ calendar, now }: AppContext): DashboardView['market'] {
  const { isOpen, sentence, today, nextOpenMs } = marketAt(calendar, now());
  if (isOpen) return { isOpen, note: sentence.replace('open ', '') };
  const opens =
    nextOpenMs === null
      ? 'the calendar ends'
      : `opens ${toDate(newYorkDay(nextOpenMs))} ${formatClock(nextOpenMs)}`;
  return { isOpen, note: today.hours === null ? `${today.reason}; ${opens}` : opens };
}

/** States of a symbol, most serious first. */
const STATES: readonly { word: string; condition: Condition }[] = [
  { word: 'Failed', condition: 'bad' },
  { word: 'Poor', condition: 'bad' },
  { word: 'Stale', condition: 'attention' },
  { word: 'Review', condition: 'attention' },
  { word: 'No bars', condition: 'idle' },
  { word: 'Not tracked', condition: 'idle' },
  { word: 'Good', condition: 'good' },
];
const RANKS = new Map(STATES.map(({ word }, rank) => [word, rank]));
const rankOf = ({ word }: { word: string }) => RANKS.get(word) ?? STATES.length;

function judgeSymbol(detail: SymbolDetail, calendar: Calendar, published: number): SymbolView {
  const sessionsBehind = countBehind(calendar, detail.end_date, published);
  const state = STATES[RANKS.get(nameState(detail, sessionsBehind ?? 0)) ?? 0];
  return { ...detail, ...state, sessionsBehind };
}

function nameState(detail: SymbolDetail, sessionsBehind: number): string {
  if (detail.tracked && detail.last_backfill_success === false) return 'Failed';
  if (detail.records === 0) return 'No bars';
  if (detail.validation_rate_pct < POOR_RATE_PCT) return 'Poor';
  if (detail.tracked && sessionsBehind >= STALE_SESSIONS) return 'Stale';
  if (detail.validation_rate_pct < REVIEW_RATE_PCT) return 'Review';
  return detail.tracked ? 'Good' : 'Not tracked';
}

/** Those that need attention most: the worst state, the lowest validation rate, the stalest. */
function pickWorst(all: readonly SymbolView[]): SymbolView[] {
  const order = (a: SymbolView, b: SymbolView) =>
    rankOf(a) - rankOf(b) ||
    a.validation_rate_pct - b.validation_rate_pct ||
    (b.sessionsBehind ?? 0) - (a.sessionsBehind ?? 0);
  return [...all].sort(order).slice(0, SYMBOLS_SHOWN);
}

function tallyStates(all: readonly SymbolView[]): DashboardView['tally'] {
  return STATES.map((state) => ({
    ...state,
    count: all.filter(({ word }) => word === state.word).length,
  })).filter(({ count }) => count > 0);
}

interface Facts {
  status: WarehouseStatus;
  sessionsBehind: number | null;
  schedulerStatus: string;
  runs: readonly Run[];
  all: readonly SymbolView[];
}

const BACKFILL = 'marketd backfill --all';
const symbols = (count: number) =>
  `${count.toLocaleString('en-US')} ${count === 1 ? 'symbol' : 'symbols'}`;

/** One sentence on how the warehouse is: the most pressing thing, and what to do about it. */
function judge(facts: Facts): Verdict {
  return judgeLoading(facts) ?? judgeFreshness(facts) ?? judgeQuality(facts);
}

function judgeLoading({ status, runs }: Facts): Verdict | undefined {
  const running = runs.find(({ job, state }) => state === 'running' && job.startsWith('backfill'));
  if (running) {
    const of = running.total === null ? '' : ` of ${running.total}`;
    const sentence = `A ${running.job} is running: ${running.done}${of} requests are done.`;
    return { condition: 'busy', word: 'Working', sentence, commands: [] };
  }
  if (status.records === 0 && status.symbolsTracked === 0) {
    const sentence =
      'There is nothing here yet. Say which symbols to hold, then load their history:';
    const commands = ['marketd symbols add AAPL', BACKFILL];
    return { condition: 'idle', word: 'Empty', sentence, commands };
  }
  const last = runs.find(({ job }) => job === 'backfill');
  if (last?.state === 'failed') {
    const why = last.error === null ? '' : `: ${last.error.slice(0, 200).replace(/\.$/, '')}`;
    const sentence = `The last backfill failed${why}. When that is mended, run it again:`;
    return { condition: 'bad', word: 'Problem', sentence, commands: [BACKFILL] };
  }
  if (last?.state === 'interrupted') {
    const sentence = 'The last backfill was interrupted. It goes on where it stopped with:';
    return { condition: 'attention', word: 'Attention', sentence, commands: [BACKFILL] };
  }
  if (status.records > 0) return undefined;
  const tracked = symbols(status.symbolsTracked);
  const sentence = `Tracking ${tracked}, but there are no bars yet. Load the history:`;
  return { condition: 'idle', word: 'Empty', sentence, commands: [BACKFILL] };
}

function judgeFreshness(facts: Facts): Verdict | undefined {
  const { status, sessionsBehind, schedulerStatus, all } = facts;
  const attention = (sentence: string, commands: string[]): Verdict => {
    return { condition: 'attention', word: 'Attention', sentence, commands };
  };
  const isStopped = schedulerStatus === 'stopped';
  if (sessionsBehind !== null && sessionsBehind >= STALE_SESSIONS) {
    const behind = `${sessionsBehind.toLocaleString('en-US')} sessions behind`;
    const why = isStopped ? ' The scheduler is stopped.' : '';
    return attention(`Bars end at ${status.latestSession}, ${behind}.${why} Catch up with:`, [
      BACKFILL,
    ]);
  }
  const failed = all.filter(({ word }) => word === 'Failed').length;
  if (failed > 0) {
    return attention(`The last backfill could not fill ${symbols(failed)}. Try again with:`, [
      BACKFILL,
    ]);
  }
  const stale = all.filter(({ word }) => word === 'Stale').length;
  if (stale > 0) {
    return attention(`Behind the others: ${symbols(stale)}. Catch up with:`, [BACKFILL]);
  }
  if (!isStopped) return undefined;
  const sentence =
    'Bars are up to date, but the scheduler is stopped and nothing keeps them so. ' +
    'Set POLYGON_API_KEY and SCHEDULER=on, then restart marketd.';
  return attention(sentence, []);
}

function judgeQuality({ status, all }: Facts): Verdict {
  const suspect = all.filter(({ word }) => word === 'Poor' || word === 'Review').length;
  if (suspect > 0) {
    const sentence =
      `Fewer than ${REVIEW_RATE_PCT} % of the bars of ${symbols(suspect)} are validated. ` +
      'Look at their flags before you rely on them.';
    return { condition: 'attention', word: 'Attention', sentence, commands: [] };
  }
  const loaded = symbols(status.symbolsAvailable);
  const sentence = `All is well: ${loaded}, complete to ${status.latestSession}.`;
  return { condition: 'good', word: 'Healthy', sentence, commands: [] };
}
