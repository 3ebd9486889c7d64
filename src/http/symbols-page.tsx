import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import { BACKFILL_PATH } from '../../views/backfill.tsx';
import type { Notice } from '../../views/elements.tsx';
import {
  type Draft,
  listPath,
  SYMBOLS_PATH,
  type SymbolFilter,
  Symbols,
  SymbolsPage,
  type SymbolsQuery,
  type SymbolsView,
} from '../../views/symbols.tsx';
import { InputError } from '../errors.ts';
import { checkSymbol, parseSymbolList, toCapitals } from '../model/symbol-list.ts';
import { SYMBOL_STATES } from '../model/symbol-state.ts';
import {
  arrangeOverview,
  type OverviewSnapshot,
  type OverviewSort,
  type OverviewSymbol,
} from '../query/overview.ts';
import { pingDatabase } from '../store/database.ts';
import { isLed } from '../store/jobs.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';
import { findSymbol } from './find-symbol.ts';
import { readForm, readMultipart } from './form.ts';
import { cutPage, parseListState } from './list-state.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseChoice } from './parameters.ts';
import { type Added, addSymbols, changeTracking } from './tracking.ts';

const HIDDEN = { detail: { hide: true } };
const PAGE_ROWS = 50;
const FILE_BYTES_MAX = 1_048_576;
/** A file, as many symbols that are typed, and what a form writes between them. */
const FORM_BYTES_MAX = 2 * FILE_BYTES_MAX + 16_384;
/** Undoing may name all that were removed. */
const TRACKING_BYTES_MAX = 262_144;
const SORTS = [
  ...(['symbol', 'name', 'exchange', 'tracked', 'timeframes', 'records'] as const),
  ...(['start', 'end', 'validation', 'state'] as const),
];
const FILTERS: readonly SymbolFilter[] = ['all', 'tracked', 'untracked', ...SYMBOL_STATES];

type Query = Readonly<Record<string, string | undefined>>;
type Server = Parameters<typeof actorOf>[1];

/** The list of what is tracked, the part of it that is polled, and the changes made on it. */
export function symbolsPageRoutes(context: AppContext) {
  const arrange = rememberOrder();
  const shown: Shown = { context, arrange };
  return new Elysia({ name: 'symbols-page' })
    .get(SYMBOLS_PATH, ({ request, query }) => page(shown, request, query), HIDDEN)
    .get(`${SYMBOLS_PATH}/status`, ({ request, query }) => fragment(shown, request, query), HIDDEN)
    .post(
      `${SYMBOLS_PATH}/add`,
      ({ request, query, server }) => add(shown, request, query, server),
      HIDDEN,
    )
    .post(
      `${SYMBOLS_PATH}/tracking`,
      ({ request, query, server }) => track(shown, request, query, server),
      HIDDEN,
    )
    .post(
      `${SYMBOLS_PATH}/timeframes`,
      ({ request, query, server }) => changeTimeframes(shown, request, query, server),
      HIDDEN,
    );
}

interface Shown {
  context: AppContext;
  arrange: Arrange;
}

type Arrange = (snapshot: OverviewSnapshot, query: SymbolsQuery) => readonly OverviewSymbol[];

/** Polls ask for the same list again and again: the last one stays until a symbol changes. */
function rememberOrder(): Arrange {
  let known: { symbols: OverviewSnapshot['symbols']; key: string } | undefined;
  let rows: readonly OverviewSymbol[] = [];
  return ({ symbols }, query) => {
    const { sort, direction, q, state } = query;
    const key = JSON.stringify([sort, direction, q, state]);
    if (known?.symbols === symbols && known.key === key) return rows;
    const isTracked = state === 'tracked';
    const chosen =
      isTracked || state === 'untracked'
        ? symbols.filter(({ tracked }) => tracked === isTracked)
        : symbols;
    const only =
      FILTERS.indexOf(state) > 2 ? { state: state as (typeof SYMBOL_STATES)[number] } : {};
    rows = arrangeOverview(chosen, { sort: sort as OverviewSort, direction, q, ...only });
    known = { symbols, key };
    return rows;
  };
}

// --------------------------------------------------------------------------------- showing

function page(shown: Shown, request: Request, given: Query): Promise<Response> {
  const query = parseQuery(given);
  return orAway(shown.context, request, async () =>
    pageResponse(request, await renderPage(shown, request, query)),
  );
}

async function renderPage(
  shown: Shown,
  request: Request,
  query: SymbolsQuery,
  { notice, draft }: { notice?: Notice; draft?: Draft } = {},
): Promise<JSX.Element> {
  const props = pageProps(shown.context, request);
  const view = await collect(shown, query);
  return <SymbolsPage page={notice ? { ...props, notice } : props} view={view} draft={draft} />;
}

async function fragment(shown: Shown, request: Request, given: Query): Promise<Response> {
  const view = await collect(shown, parseQuery(given));
  return fragmentResponse(request, shown.context.version, view, () =>
    renderList(shown, request, view),
  );
}

const renderList = ({ context }: Shown, request: Request, view: SymbolsView) => (
  <Symbols view={view} pollSeconds={pageProps(context, request).pollSeconds} />
);

/** @throws InputError */
function parseQuery(given: Query): SymbolsQuery {
  const list = parseListState(given, { columns: SORTS, sort: 'symbol', direction: 'asc' });
  return { ...list, state: parseChoice(given.state ?? 'all', 'state', FILTERS) };
}

async function collect({ context, arrange }: Shown, query: SymbolsQuery): Promise<SymbolsView> {
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(context.database.read);
  const snapshot = await context.overview.select();
  const { symbols, tracked, states } = snapshot.totals;
  const found = arrange(snapshot, query);
  const cut = cutPage(found, query.page, PAGE_ROWS);
  return {
    query: { ...query, page: cut.page },
    ...cut,
    found: found.length,
    symbols,
    tracked,
    states,
  };
}

// ------------------------------------------------------------------------------- changing

/** What the list shows. The page's address says it, which moves on without a load. */
function shownQuery(request: Request, given: Query): SymbolsQuery {
  const address = request.headers.get('hx-current-url');
  if (address === null || !URL.canParse(address)) return parseQuery(given);
  try {
    return parseQuery(Object.fromEntries(new URL(address).searchParams));
  } catch (error) {
    if (error instanceof InputError) return parseQuery({}); // an address of another page
    throw error;
  }
}

interface Change {
  request: Request;
  query: SymbolsQuery;
  notice: Notice;
  draft?: Draft;
}

function respond(shown: Shown, { request, query, notice, draft }: Change): Promise<Response> {
  return actionResponse(request, {
    notice,
    location: listPath(query),
    region: async () => renderList(shown, request, await collect(shown, query)),
    page: (told) => renderPage(shown, request, query, { notice: told, draft }),
  });
}

/** What came of it; what the operator got wrong is said, and nothing was done. */
async function tryChange(change: () => Promise<Notice>): Promise<Notice> {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof InputError || error instanceof HttpError)) throw error;
    return { condition: 'bad', text: error.message };
  }
}

async function add(
  shown: Shown,
  request: Request,
  given: Query,
  server: Server,
): Promise<Response> {
  const form = await readMultipart(request, FORM_BYTES_MAX);
  const { context } = shown;
  const text = (name: string) => {
    const value = form.get(name);
    return typeof value === 'string' ? value : '';
  };
  const timeframes = form.getAll('timeframes').map(String);
  const draft = { symbols: text('symbols'), timeframes, isLoaded: text('load') === 'yes' };
  const notice = await tryChange(async () => {
    const symbols = await readSymbols(draft.symbols, form.get('file'));
    const actor = actorOf(request, server);
    const added = await addSymbols(context, { ...draft, symbols, actor });
    return describeAdded(added, added.requests.length === 0 || (await hasRunner(context)));
  });
  return respond(shown, { request, query: shownQuery(request, given), notice, draft });
}

/** Those typed and those of the file. @throws InputError with each line that is wrong. */
async function readSymbols(typed: string, file: File | string | null): Promise<string[]> {
  const symbols = typed.trim() === '' ? [] : parseSymbolList(typed, 'typed').map(toCapitals);
  if (file instanceof File && file.size > 0) {
    if (file.size > FILE_BYTES_MAX) {
      throw new InputError(
        `${file.name} has ${file.size} bytes: at most ${FILE_BYTES_MAX}`,
        'file',
      );
    }
    symbols.push(...(await readFile(file)));
  }
  if (symbols.length > 0) return symbols;
  throw new InputError('type the symbols to add, or choose a file with them', 'symbols');
}

async function readFile(file: File): Promise<string[]> {
  const shown = file.name.slice(0, 80);
  const text = new TextDecoder().decode(await file.arrayBuffer());
  if (text.includes('\0')) throw new InputError(`${shown} is no text: save it as CSV`, 'file');
  try {
    return parseSymbolList(text, 'file').map(toCapitals);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${shown}, ${error.message}`, 'file');
  }
}

/** Whether somebody takes up what is asked for. */
async function hasRunner({ database }: AppContext): Promise<boolean> {
  return isLed(database.read);
}

const NAMED_MAX = 5;

/** 'AAA, BBB', of many the first few. */
function name(symbols: readonly string[]): string {
  const more = symbols.length - NAMED_MAX;
  const named = symbols.slice(0, NAMED_MAX).join(', ');
  return more > 0 ? `${named} and ${more.toLocaleString('en-US')} more` : named;
}

const countOf = (symbols: readonly string[]) =>
  `${symbols.length.toLocaleString('en-US')} ${symbols.length === 1 ? 'symbol' : 'symbols'}`;

function describeAdded({ fresh, again, known, requests }: Added, isTakenUp: boolean): Notice {
  const parts = [
    ...(fresh.length > 0 ? [`${countOf(fresh)} added: ${name(fresh)}.`] : []),
    ...(again.length > 0 ? [`Tracked again: ${name(again)}.`] : []),
    ...(known.length > 0 ? [`Tracked already, and left as they are: ${name(known)}.`] : []),
  ];
  if (requests.length > 0) {
    const of = countOf([...fresh, ...again]);
    parts.push(
      isTakenUp
        ? `The history of ${of} is being loaded, and their names with it.`
        : `The history of ${of} waits in the queue: no process runs jobs now.`,
    );
  } else if (fresh.length > 0) parts.push('Bars and names come with the next backfill.');
  const hasChanged = fresh.length + again.length > 0;
  const condition = !hasChanged ? 'idle' : isTakenUp ? 'good' : 'attention';
  const link = requests.length > 0 ? { href: BACKFILL_PATH, label: 'Watch it' } : undefined;
  return { condition, text: parts.join(' '), link };
}

async function track(
  shown: Shown,
  request: Request,
  given: Query,
  server: Server,
): Promise<Response> {
  const form = await readForm(request, TRACKING_BYTES_MAX);
  const notice = await tryChange(async () => {
    const action = parseChoice(form.get('do') ?? '', 'do', ['remove', 'track']);
    const symbols = form
      .getAll('symbols')
      .flatMap((text) => text.split(' '))
      .filter(Boolean)
      .map((symbol) => checkSymbol(symbol, 'symbols'));
    if (symbols.length === 0) throw new InputError('select symbols first', 'symbols');
    const isTracked = action === 'track';
    const actor = actorOf(request, server);
    const { tracked } = await changeTracking(shown.context, symbols, { isTracked }, actor);
    return describeTracking(tracked, isTracked);
  });
  return respond(shown, { request, query: shownQuery(request, given), notice });
}

function describeTracking(changed: readonly string[], isTracked: boolean): Notice {
  if (changed.length === 0) {
    const text = isTracked ? 'They are tracked already.' : 'None of them is tracked.';
    return { condition: 'idle', text };
  }
  if (isTracked) return { condition: 'good', text: `Tracked again: ${name(changed)}.` };
  return {
    condition: 'good',
    text: `Removed from tracking: ${name(changed)}. What is held of them stays.`,
    undo: {
      action: `${SYMBOLS_PATH}/tracking`,
      fields: { do: 'track', symbols: changed.join(' ') },
      region: 'symbols',
    },
  };
}

async function changeTimeframes(
  shown: Shown,
  request: Request,
  given: Query,
  server: Server,
): Promise<Response> {
  const form = await readForm(request);
  const notice = await tryChange(async (): Promise<Notice> => {
    const { symbol } = await findSymbol(shown.context, form.get('symbol') ?? '');
    const wanted = { timeframes: form.getAll('timeframes') };
    const actor = actorOf(request, server);
    const { timeframes } = await changeTracking(shown.context, [symbol], wanted, actor);
    const filled = ['1d', ...wanted.timeframes.filter((timeframe) => timeframe !== '1d')].join(
      ', ',
    );
    if (timeframes.length === 0) {
      return { condition: 'idle', text: `${symbol} is filled with ${filled} as before.` };
    }
    return {
      condition: 'good',
      text: `${symbol} is filled with ${filled} from the next night on.`,
    };
  });
  return respond(shown, { request, query: shownQuery(request, given), notice });
}
