import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import type { Notice } from '../../views/elements.tsx';
import { findingName } from '../../views/finding.tsx';
import {
  type Filled,
  type ReviewAddress,
  ReviewPage,
  ReviewRegion,
  type ReviewView,
  reviewPath,
} from '../../views/quality.tsx';
import { InputError } from '../errors.ts';
import { DECISIONS, type Decision, FINDING_KINDS, FINDING_STATES } from '../model/finding.ts';
import { selectFindingsById } from '../query/findings.ts';
import {
  REVIEW_ORDERS,
  type ReviewFilter,
  type ReviewPlace,
  type ReviewQuery,
  ReviewReader,
  selectFindingTallies,
  selectLastDecision,
  selectReviewIds,
} from '../query/review.ts';
import { pingDatabase } from '../store/database.ts';
import {
  DECISIONS_MAX,
  decideFindings,
  RefusedDecision,
  undoDecision,
} from '../store/decisions.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { makeCursor, parseCursor, refuseCursor } from './cursor.ts';
import { HttpError } from './errors.ts';
import { findSymbol } from './find-symbol.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseChoice, parseDate, parseWhole } from './parameters.ts';

const PATH = '/dashboard/quality';
const HIDDEN = { detail: { hide: true } };
const FINDINGS_SHOWN = 50;
/** Room for the numbers of as many findings as one step decides. */
const FORM_BYTES_MAX = 65_536;
const TIMEFRAMES = ['1d', '1h', '1m'] as const;

type Server = Parameters<typeof actorOf>[1];
type Query = Readonly<Record<string, string | undefined>>;

/** The review queue, the part of it that is polled, decisions and their undoing. */
export function qualityPageRoutes(context: AppContext) {
  const reader = new ReviewReader(context.database.read);
  const queue = { context, reader };
  return new Elysia({ name: 'quality-page' })
    .get(PATH, ({ query, request }) => page(queue, query, request), HIDDEN)
    .get(`${PATH}/status`, ({ query, request }) => fragment(queue, query, request), HIDDEN)
    .post(
      `${PATH}/decide`,
      ({ query, request, server }) => decide(queue, query, request, server),
      HIDDEN,
    )
    .post(`${PATH}/undo`, ({ request, server }) => undo(queue, request, server), HIDDEN);
}

interface Queue {
  context: AppContext;
  reader: ReviewReader;
}

function page(queue: Queue, query: Query, request: Request): Promise<Response> {
  const { context } = queue;
  return orAway(context, request, async () => {
    const view = await collect(queue, await parseAsked(context, query));
    return pageResponse(request, <ReviewPage page={pageProps(context, request)} view={view} />);
  });
}

async function fragment(queue: Queue, query: Query, request: Request): Promise<Response> {
  const { context } = queue;
  const view = await collect(queue, await parseAsked(context, query));
  const { pollSeconds } = pageProps(context, request);
  // Bars are told apart by the versions that findings carry.
  const data = { ...view, items: view.items.map(({ finding }) => finding) };
  return fragmentResponse(request, context.version, data, () => (
    <ReviewRegion view={view} pollSeconds={pollSeconds} />
  ));
}

// -------------------------------------------------------------------------- what is asked

interface Asked {
  address: ReviewAddress;
  query: ReviewQuery;
  /** Why nothing can be found. */
  problem: string | null;
}

/** @throws InputError for what the page itself never asks for. */
async function parseAsked(context: AppContext, query: Query): Promise<Asked> {
  const text = (name: keyof ReviewAddress) => query[name]?.trim() ?? '';
  const choice = <const T extends string>(name: keyof ReviewAddress, allowed: readonly T[]) =>
    text(name) === '' ? undefined : parseChoice(text(name), name, allowed);
  const date = (name: 'start' | 'end') =>
    text(name) === '' ? undefined : parseDate(text(name), name);
  const state = choice('state', [...FINDING_STATES, 'all']) ?? 'open';
  const order = choice('order', REVIEW_ORDERS) ?? 'newest';
  const [firstDay, lastDay] = [date('start'), date('end')];
  const [after, before] = [text('after'), text('before')];
  const address = {
    state: state === 'open' ? '' : state,
    kind: choice('kind', FINDING_KINDS) ?? '',
    symbol: text('symbol'),
    timeframe: choice('timeframe', TIMEFRAMES) ?? '',
    start: text('start'),
    end: text('end'),
    order: order === 'newest' ? '' : order,
    after: before === '' ? after : '',
    before,
  };
  const place = address.before || address.after;
  const { problem, instrumentId } = await findInstrument(context, address.symbol, lastDay);
  const isReversed = firstDay !== undefined && lastDay !== undefined && lastDay < firstDay;
  return {
    address,
    problem: isReversed ? `The last session lies before the first (${text('start')}).` : problem,
    query: {
      ...{ firstDay, lastDay, instrumentId, order, limit: FINDINGS_SHOWN },
      state: state === 'all' ? undefined : state,
      kind: address.kind || undefined,
      timeframe: address.timeframe || undefined,
      place: place === '' ? undefined : parsePlace(place),
      isBackward: address.before !== '',
    },
  };
}

/** A symbol that somebody is typing is often nobody's: that is no error. */
async function findInstrument(
  context: AppContext,
  symbol: string,
  day: number | undefined,
): Promise<{ instrumentId?: number; problem: string | null }> {
  if (symbol === '') return { problem: null };
  try {
    const { instrumentId } = await findSymbol(context, symbol, { day });
    return { instrumentId, problem: null };
  } catch (error) {
    if (!(error instanceof HttpError || error instanceof InputError)) throw error;
    return { problem: error.message };
  }
}

const RANK_MAX = 1_000;
const cursorOf = (place: ReviewPlace | null) =>
  place && makeCursor('r1', place.day, place.rank, place.findingId);

function parsePlace(text: string): ReviewPlace {
  const [day, rank, findingId] = parseCursor(text, 'r1', 3, 1 / 86_400_000);
  if (rank > RANK_MAX) refuseCursor('malformed');
  return { rank, day, findingId };
}

// ----------------------------------------------------------------------------- collecting

async function collect(
  { context, reader }: Queue,
  { address, query, problem }: Asked,
): Promise<ReviewView> {
  const { read } = context.database;
  const empty = { items: [], previous: null, next: null, total: 0, tallies: [] };
  const base = { address, problem, decidable: DECISIONS_MAX, lastDecision: null };
  // With a deadline: a database that accepts and says nothing counts as away.
  const isThere = pingDatabase(read);
  if (problem !== null) {
    await isThere;
    return { ...base, ...empty };
  }
  const [, page, tallies, ranged] = await Promise.all([
    isThere,
    selectPage(reader, query),
    selectFindingTallies(read, query),
    countRange(context, query),
  ]);
  const total = ranged === undefined ? countTallies(tallies, query) : ranged;
  return {
    ...base,
    items: page.findings.map((finding, i) => ({ finding, bars: page.bars[i] })),
    previous: cursorOf(page.previous),
    next: cursorOf(page.next),
    total,
    tallies,
    lastDecision: page.findings.length === 0 ? await selectLastDecision(read) : null,
  };
}

/** A page that ends where another begins, unless that leaves it short: then it is the first. */
async function selectPage(reader: ReviewReader, query: ReviewQuery) {
  const page = await reader.select(query);
  if (!query.isBackward || page.previous !== null) return page;
  return reader.select({ ...query, place: undefined, isBackward: false });
}

function countTallies(
  tallies: ReviewView['tallies'],
  { state, kind }: Pick<ReviewFilter, 'state' | 'kind'>,
): number {
  const isMeant = (one: ReviewView['tallies'][number]) =>
    (state === undefined || one.state === state) && (kind === undefined || one.kind === kind);
  return tallies.filter(isMeant).reduce((sum, { count }) => sum + count, 0);
}

/** How many a filter finds for which there are no counters: null for more than one step decides. */
async function countRange(
  { database }: AppContext,
  query: ReviewFilter,
): Promise<number | null | undefined> {
  const { timeframe, firstDay, lastDay } = query;
  if (timeframe === undefined && firstDay === undefined && lastDay === undefined) return undefined;
  const ids = await selectReviewIds(database.read, query, DECISIONS_MAX + 1);
  return ids.length > DECISIONS_MAX ? null : ids.length;
}

// ------------------------------------------------------------------------------- deciding

async function decide(
  queue: Queue,
  query: Query,
  request: Request,
  server: Server,
): Promise<Response> {
  const { context } = queue;
  const form = await readForm(request, FORM_BYTES_MAX);
  const asked = await parseAsked(context, query);
  const outcome = await tryDecision(context, asked, form, actorOf(request, server));
  const filled = {
    findingIds: new Set(form.getAll('finding').map(Number)),
    note: form.get('note') ?? '',
  };
  return answer(queue, asked, request, { ...outcome, filled });
}

/** The list as it is now, with what came of it. */
function answer(
  queue: Queue,
  asked: Asked,
  request: Request,
  { notice, status, filled }: { notice: Notice; status?: number; filled?: Filled },
): Promise<Response> {
  const props = pageProps(queue.context, request);
  const { address } = asked;
  return actionResponse(request, {
    notice,
    status,
    location: reviewPath(address, address),
    region: async () => {
      const view = await collect(queue, asked);
      return <ReviewRegion view={view} pollSeconds={props.pollSeconds} />;
    },
    page: async () => {
      const view = await collect(queue, asked);
      return <ReviewPage page={{ ...props, notice }} view={view} filled={filled} />;
    },
  });
}

const DONE: Record<Decision, string> = {
  accept: 'Accepted',
  reject: 'Rejected',
  annotate: 'Noted',
  reopen: 'Open again',
};

async function tryDecision(
  context: AppContext,
  asked: Asked,
  form: URLSearchParams,
  actor: string,
): Promise<{ notice: Notice; status?: number }> {
  const { database, now } = context;
  try {
    const decision = parseChoice(form.get('decision') ?? '', 'decision', DECISIONS);
    const findingIds = await selectMeant(context, asked, form);
    const note = form.get('note')?.trim() || undefined;
    const request = { findingIds, decision, note, actor };
    const { changed, batchId } = await decideFindings(database.write, request, now());
    const text = `${DONE[decision]}: ${await nameFindings(context, changed)}.`;
    if (batchId === undefined) {
      return { notice: { condition: 'idle', text: 'It was so before: nothing is changed.' } };
    }
    return { notice: { condition: 'good', text, undo: undoOf(batchId, asked.address) } };
  } catch (error) {
    return refusal('Nothing is decided', error);
  }
}

/** What a step was refused for, as a sentence; any other error is thrown on. */
export function refusal(what: string, error: unknown): { notice: Notice; status: number } {
  const isRefused = error instanceof RefusedDecision;
  if (!isRefused && !(error instanceof InputError)) throw error;
  const text = `${what}: ${error.message}.`;
  return { notice: { condition: 'bad', text }, status: isRefused ? 409 : 422 };
}

/**
 * The findings that are selected, or all that match.
 * @throws InputError when there are none, or when other ones match than were counted.
 */
async function selectMeant(
  { database }: AppContext,
  { query, problem }: Asked,
  form: URLSearchParams,
): Promise<number[]> {
  const matching = form.get('matching');
  if (matching !== null && problem === null) {
    const counted = parseWhole(matching, 'matching', 1, DECISIONS_MAX);
    const ids = await selectReviewIds(database.read, query, DECISIONS_MAX + 1);
    if (ids.length === counted) return ids;
    throw new InputError(
      `${counted} findings matched when the page was made, and now another number does: ` +
        'look at them again',
      'matching',
    );
  }
  const given = form.getAll('finding');
  if (given.length === 0) {
    throw new InputError('select the findings that are meant first', 'finding');
  }
  return given.map((text) => parseWhole(text, 'finding', 1, Number.MAX_SAFE_INTEGER));
}

/** 'AAPL 2023-05-11 gap unexplained', '12 findings' */
async function nameFindings({ database }: AppContext, ids: readonly number[]): Promise<string> {
  if (ids.length !== 1) return `${ids.length.toLocaleString('en-US')} findings`;
  const [finding] = await selectFindingsById(database.read, ids);
  return finding ? findingName(finding) : `finding ${ids[0]}`;
}

// -------------------------------------------------------------------------------- undoing

/** The button that takes a step back; `back` is the list on which it was taken. */
const undoOf = (batchId: number, address: ReviewAddress): NonNullable<Notice['undo']> => ({
  action: `${PATH}/undo`,
  fields: { batch: `${batchId}`, back: reviewPath(address, address).slice(PATH.length) },
  region: 'queue',
});

async function undo(queue: Queue, request: Request, server: Server): Promise<Response> {
  const { context } = queue;
  const form = await readForm(request);
  const back = Object.fromEntries(new URLSearchParams(form.get('back') ?? ''));
  const asked = await parseAsked(context, back);
  return answer(queue, asked, request, await tryUndo(context, form, actorOf(request, server)));
}

/** Takes a step back; also for the page of the audit log. */
export async function tryUndo(
  context: AppContext,
  form: URLSearchParams,
  actor: string,
): Promise<{ notice: Notice; status?: number }> {
  try {
    const batchId = parseWhole(form.get('batch') ?? '', 'batch', 1, Number.MAX_SAFE_INTEGER);
    const { write } = context.database;
    const { changed } = await undoDecision(write, { batchId, actor }, context.now());
    const what = await nameFindings(context, changed);
    const text = `As before the decision: ${what}.`;
    return { notice: { condition: 'good', text } };
  } catch (error) {
    return refusal('Nothing is undone', error);
  }
}
