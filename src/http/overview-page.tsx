import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  bytesText,
  CATCH_UP_PATH,
  OVERVIEW_PATH,
  OverviewPage,
  OverviewPart,
  type OverviewView,
  overviewPath,
  type SymbolListState,
  type SymbolListView,
} from '../../views/dashboard.tsx';
import type { Notice } from '../../views/elements.tsx';
import { InputError } from '../errors.ts';
import { formatClock, marketAt } from '../model/market.ts';
import { newYorkDay, toDate } from '../model/session.ts';
import { SYMBOL_STATES } from '../model/symbol-state.ts';
import {
  arrangeOverview,
  type OverviewOrder,
  type OverviewSnapshot,
  type OverviewSymbol,
  type StateFilter,
} from '../query/overview.ts';
import { countBehind } from '../query/quality.ts';
import { lastChange } from '../query/sparklines.ts';
import type { WarehouseStatus } from '../query/status.ts';
import type { Activity } from '../store/activity.ts';
import { pingDatabase } from '../store/database.ts';
import { describeJob, insertJobRequest } from '../store/job-requests.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { readForm } from './form.ts';
import { cutPage, parseListState } from './list-state.ts';
import { judgeOverview } from './overview-verdict.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { firstSession } from './tracking.ts';

const HIDDEN = { detail: { hide: true } };
const SYMBOLS_SHOWN = 60;
const LIST = {
  columns: [
    ...['state', 'symbol', 'change', 'quality', 'validation', 'coverage', 'behind'],
    ...['records', 'end'],
  ],
  sort: 'state',
  direction: 'asc' as const,
};
const STATE_FILTERS: readonly string[] = [...SYMBOL_STATES, 'attention', 'tracked'];

type Query = Readonly<Record<string, string | undefined>>;
type Server = Parameters<typeof actorOf>[1];

/** The overview, the part of it that is polled, and the button that mends what is late. */
export function overviewPageRoutes(context: AppContext) {
  const maker = new OverviewMaker(context);
  return new Elysia({ name: 'overview-page' })
    .get(OVERVIEW_PATH, ({ request, query }) => page(context, maker, request, query), HIDDEN)
    .get(
      `${OVERVIEW_PATH}/status`,
      ({ request, query }) => fragment(context, maker, request, query),
      HIDDEN,
    )
    .post(CATCH_UP_PATH, ({ request, server }) => catchUp(context, maker, request, server), HIDDEN);
}

function page(
  context: AppContext,
  maker: OverviewMaker,
  request: Request,
  query: Query,
): Promise<Response> {
  const asked = parseAsked(query);
  return orAway(context, request, async () => {
    const start = performance.now();
    const view = await maker.make(await maker.collect(), asked);
    const milliseconds = since(start);
    const props = { view, page: pageProps(context, request), milliseconds };
    return pageResponse(request, <OverviewPage {...props} />, 200, timing(milliseconds));
  });
}

async function fragment(
  context: AppContext,
  maker: OverviewMaker,
  request: Request,
  query: Query,
): Promise<Response> {
  const asked = parseAsked(query);
  const start = performance.now();
  const facts = await maker.collect();
  const milliseconds = since(start);
  const props = pageProps(context, request);
  const render = async () => (
    <OverviewPart view={await maker.make(facts, asked)} page={props} milliseconds={milliseconds} />
  );
  const told = [tell(facts), asked, props.pollSeconds, facts.isBusy ? props.now : null];
  return fragmentResponse(request, context.version, told, render, timing(milliseconds));
}

async function catchUp(
  context: AppContext,
  maker: OverviewMaker,
  request: Request,
  server: Server,
): Promise<Response> {
  const form = await readForm(request);
  const asked = parseAsked(Object.fromEntries(form));
  const job = await insertJobRequest(
    context.database.write,
    {
      kind: 'backfill',
      actor: actorOf(request, server),
      arguments: {
        ...{ symbols: null, timeframe: '1d', lastSession: null, retryEmpty: false },
        firstSession: firstSession(context, '1d'),
      },
    },
    context.now(),
  );
  // Its announcement may come after the answer is made.
  context.activity.clear();
  const notice: Notice = {
    condition: 'good',
    text: `Asked for a ${describeJob(job)} (request ${job.requestId}). It begins by itself.`,
  };
  const start = performance.now();
  const shown = async () => ({
    view: await maker.make(await maker.collect(), asked),
    page: pageProps(context, request),
    milliseconds: since(start),
  });
  return actionResponse(request, {
    notice,
    location: overviewPath(asked),
    region: async () => <OverviewPart {...(await shown())} />,
    page: async (refused) => {
      const props = await shown();
      return <OverviewPage {...props} page={{ ...props.page, notice: refused }} />;
    },
  });
}

const since = (start: number) => (performance.now() - start).toFixed(2);
const timing = (milliseconds: string) => ({ 'server-timing': `status;dur=${milliseconds}` });

/** @throws InputError for a list that cannot be shown. */
function parseAsked(query: Query): SymbolListState {
  const { state } = query;
  const list = parseListState(query, LIST);
  if (state === undefined || state === '') return list;
  if (STATE_FILTERS.includes(state)) return { ...list, state: state as StateFilter };
  throw new InputError(
    `state is ${JSON.stringify(state.slice(0, 40))}: one of ${STATE_FILTERS.join(', ')}`,
    'state',
  );
}

// ------------------------------------------------------------------------------- collecting

/** What the page is made from; nothing of it is found out twice. */
interface Facts {
  snapshot: OverviewSnapshot;
  /** Another number when closes are others: a bar may change and no counter with it. */
  closesVersion: number;
  status: WarehouseStatus;
  activity: Activity;
  isLed: boolean;
  bytes: number;
  publishedDay: number;
  market: OverviewView['market'];
  scheduler: ReturnType<AppContext['scheduler']>;
  isBusy: boolean;
}

/** All that tells one state of the page from another, without looking at 10,000 symbols. */
function tell({ snapshot, bytes, ...facts }: Facts) {
  return { ...facts, version: snapshot.version, size: bytesText(bytes) };
}

const EDITIONS: Record<AppContext['edition'], string> = {
  plain: 'PostgreSQL (plain)',
  'timescale-apache': 'TimescaleDB (Apache)',
  'timescale-community': 'TimescaleDB (Community)',
};

/** So many lists in their order are kept while no symbol changes. */
const LISTS_MAX = 20;

class OverviewMaker {
  /** By what was asked for, of one version of the overview and of the closes. */
  readonly #lists = new Map<string, readonly OverviewSymbol[]>();
  #version = '';

  constructor(readonly context: AppContext) {}

  async collect(): Promise<Facts> {
    const { context } = this;
    const { database, calendar, activity: readers } = context;
    // With a deadline: a database that accepts and says nothing counts as away.
    await pingDatabase(database.read);
    const [snapshot, status, activity, isLed, bytes] = await Promise.all([
      context.overview.select(),
      context.status.select(),
      readers.select(),
      readers.isLed(),
      readers.selectSize(),
    ]);
    const { runs, requests } = activity;
    return {
      ...{ snapshot, status, activity, isLed, bytes },
      closesVersion: context.sparklines.version,
      publishedDay: calendar.latestSession(context.now(), context.publishDelayMs),
      market: describeMarket(context),
      scheduler: context.scheduler(),
      isBusy: requests.length > 0 || runs.some(({ state }) => state === 'running'),
    };
  }

  async make(facts: Facts, asked: SymbolListState): Promise<OverviewView> {
    const { context } = this;
    const { status, activity, publishedDay, scheduler, isLed } = facts;
    const { totals } = facts.snapshot;
    const sessionsBehind = countBehind(context.calendar, status.latestSession, publishedDay);
    const hasProvider = context.operations.preview !== undefined;
    const judged = judgeOverview({
      ...{ status, totals, activity, sessionsBehind, hasProvider, scheduler: scheduler.status },
      isLed,
    });
    return {
      ...judged,
      ...{ status, totals, market: facts.market, sessionsBehind, scheduler },
      database: { edition: EDITIONS[context.edition], bytes: facts.bytes },
      publishedSession: publishedDay < 0 ? null : toDate(publishedDay),
      canBackfill: hasProvider || isLed || scheduler.status === 'running',
      runs: activity.runs,
      isBusy: facts.isBusy,
      list: await this.#list(facts, asked),
    };
  }

  async #list(facts: Facts, asked: SymbolListState): Promise<SymbolListView> {
    const { sparklines } = this.context;
    const arranged = await this.#arrange(facts, asked);
    const { rows, page, pages } = cutPage(arranged, asked.page, SYMBOLS_SHOWN);
    const closes = await sparklines.select(rows.map(({ instrumentId }) => instrumentId));
    return {
      ...{ asked: { ...asked, page }, page, pages, total: arranged.length },
      rows: rows.map((symbol) => {
        const own = closes.get(symbol.instrumentId);
        return { symbol, closes: own, change: own ? lastChange(own) : null };
      }),
    };
  }

  async #arrange(
    { snapshot, closesVersion }: Facts,
    { sort, direction, q, state }: SymbolListState,
  ): Promise<readonly OverviewSymbol[]> {
    const version = `${snapshot.version} ${closesVersion}`;
    if (version !== this.#version || this.#lists.size >= LISTS_MAX) this.#lists.clear();
    this.#version = version;
    const key = JSON.stringify([sort, direction, q, state]);
    const known = this.#lists.get(key);
    if (known) return known;
    const changes = sort === 'change' ? await this.context.sparklines.selectChanges() : undefined;
    const order = { sort, direction, q, state, changes } as OverviewOrder;
    const arranged = arrangeOverview(snapshot.symbols, order);
    if (version === this.#version) this.#lists.set(key, arranged);
    return arranged;
  }
}

/** 'until the close at 16:00 EST', 'Good Friday; opens 2026-04-06 09:30 EDT'. */
function describeMarket({ calendar, now }: AppContext): OverviewView['market'] {
  const { isOpen, sentence, today, nextOpenMs } = marketAt(calendar, now());
  if (isOpen) return { isOpen, note: sentence.replace('open ', '') };
  const opens =
    nextOpenMs === null
      ? 'the calendar ends'
      : `opens ${toDate(newYorkDay(nextOpenMs))} ${formatClock(nextOpenMs)}`;
  return { isOpen, note: today.hours === null ? `${today.reason}; ${opens}` : opens };
}
