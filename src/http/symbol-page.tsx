import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import { type Notice, symbolPath } from '../../views/elements.tsx';
import { withQuery } from '../../views/list.tsx';
import {
  SymbolLive,
  SymbolPage,
  type SymbolPageView,
  UnknownSymbolPage,
} from '../../views/symbol.tsx';
import { InputError } from '../errors.ts';
import { DECISIONS, type Decision } from '../model/finding.ts';
import { newYorkDay } from '../model/session.ts';
import { type Finding, selectFindingsById } from '../query/findings.ts';
import { selectSymbolVersion } from '../query/symbol-version.ts';
import type { ResolvedSymbol } from '../query/symbols.ts';
import { pingDatabase } from '../store/database.ts';
import { decideFindings, RefusedDecision } from '../store/decisions.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { HttpError } from './errors.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseChoice, parseWhole, refuseRepeated } from './parameters.ts';
import {
  collectSymbol,
  findHolders,
  findPageSymbol,
  pickSwitches,
  type SymbolSwitches,
} from './symbol-view.ts';

const HIDDEN = { detail: { hide: true } };

/** The page of a symbol, the part of it that is polled, and the decisions that are taken on it. */
export function symbolPageRoutes(context: AppContext) {
  return new Elysia({ name: 'symbol-page' })
    .get(
      '/dashboard/symbols/:symbol',
      ({ params, request }) => page(context, params.symbol, request),
      HIDDEN,
    )
    .get(
      '/dashboard/symbols/:symbol/status',
      ({ params, request }) => fragment(context, params.symbol, request),
      HIDDEN,
    )
    .post(
      '/dashboard/findings/:id',
      ({ params, request, server }) =>
        decide(context, params.id, request, actorOf(request, server)),
      HIDDEN,
    );
}

/** @throws InputError for a parameter that is given twice. */
function readSwitches(request: Request): SymbolSwitches {
  refuseRepeated(request);
  const { searchParams } = new URL(request.url);
  return pickSwitches((name) => searchParams.get(name));
}

/** How the browser calls this server. */
const originOf = (request: Request) => new URL(request.url).origin;

function page(context: AppContext, text: string, request: Request): Promise<Response> {
  return orAway(context, request, async () => {
    // With a deadline: a database that accepts and says nothing counts as away.
    await pingDatabase(context.database.read);
    try {
      const switches = readSwitches(request);
      const view = await collect(context, await findPageSymbol(context, text, switches), switches);
      const props = { page: pageProps(context, request), view, origin: originOf(request) };
      return await pageResponse(request, <SymbolPage {...props} />);
    } catch (error) {
      if (!(error instanceof HttpError || error instanceof InputError)) throw error;
      return refusal(context, text, request, error);
    }
  });
}

/** A page that says what was wrong with the address, and where to go on. */
async function refusal(
  context: AppContext,
  text: string,
  request: Request,
  error: HttpError | InputError,
): Promise<Response> {
  const isUnknown = error instanceof HttpError;
  const props = {
    page: pageProps(context, request),
    title: isUnknown || error.field === 'symbol' ? 'Unknown symbol' : 'There is no such page',
    message: error.message,
    holders: isUnknown ? await findHolders(context, text) : [],
  };
  return pageResponse(request, <UnknownSymbolPage {...props} />, isUnknown ? error.status : 422);
}

/**
 * The part that is polled. Whether it changed is told by one small statement: nothing of the page
 * is gathered for those who have it already.
 */
async function fragment(context: AppContext, text: string, request: Request): Promise<Response> {
  const switches = readSwitches(request);
  const target = await findPageSymbol(context, text, switches);
  const version = await selectVersion(context, target);
  const origin = originOf(request);
  return fragmentResponse(request, context.version, [version, switches, origin], async () => {
    const view = await collectSymbol(context, target, switches, version);
    return <Region context={context} request={request} view={view} />;
  });
}

interface RegionProps {
  context: AppContext;
  request: Request;
  view: SymbolPageView;
}

function Region({ context, request, view }: RegionProps): JSX.Element {
  const { pollSeconds } = pageProps(context, request);
  return <SymbolLive view={view} origin={originOf(request)} pollSeconds={pollSeconds} />;
}

async function collect(
  context: AppContext,
  target: ResolvedSymbol,
  switches: SymbolSwitches,
): Promise<SymbolPageView> {
  return collectSymbol(context, target, switches, await selectVersion(context, target));
}

/** A text that changes with all that the page of an instrument shows. */
async function selectVersion(
  { database, calendar, now, publishDelayMs }: AppContext,
  { instrumentId, symbol }: ResolvedSymbol,
): Promise<string> {
  const version = await selectSymbolVersion(database.read, instrumentId);
  const days = [
    newYorkDay(now()),
    calendar.latestSession(now(), 0),
    calendar.latestSession(now(), publishDelayMs),
    calendar.sessionCount,
  ];
  return `${version} ${symbol} ${days.join(' ')}`;
}

// ------------------------------------------------------------------------- deciding

/** Decides about a finding by a form. What is refused is said on the page. */
async function decide(
  context: AppContext,
  id: string,
  request: Request,
  actor: string,
): Promise<Response> {
  const form = await readForm(request);
  const findingId = parseWhole(id, 'id', 1, Number.MAX_SAFE_INTEGER);
  const [finding] = await selectFindingsById(context.database.read, [findingId]);
  if (!finding) {
    throw new HttpError(404, 'unknown_finding', `there is no finding ${findingId}`, 'id');
  }
  const switches = pickSwitches((name) => form.get(name));
  const target = await symbolOf(context, finding, form.get('symbol'), switches);
  const fields = { ...switches, symbol: target.symbol };
  const { notice, status } = await tryDecision(context, finding, form, actor, fields);
  return actionResponse(request, {
    ...{ notice, status },
    location: `${withQuery(symbolPath(target.symbol), { ...switches })}#finding-${findingId}`,
    region: async () => {
      const view = await collect(context, target, switches);
      return <Region context={context} request={request} view={view} />;
    },
    page: async (refused) => {
      const view = await collect(context, target, switches);
      const props = { page: { ...pageProps(context, request), notice: refused }, view };
      return <SymbolPage {...props} origin={originOf(request)} />;
    },
  });
}

const DONE: Record<Decision, string> = {
  accept: 'Accepted',
  reject: 'Rejected',
  annotate: 'Noted',
  reopen: 'Open again',
};

/** @param fields of the page, which the form that takes the decision back has too. */
async function tryDecision(
  { database, now }: AppContext,
  { findingId, session, kind }: Finding,
  form: URLSearchParams,
  actor: string,
  fields: Record<string, string>,
): Promise<{ notice: Notice; status: number }> {
  try {
    const decision = parseChoice(form.get('decision') ?? '', 'decision', DECISIONS);
    const note = form.get('note')?.trim() || undefined;
    const request = { findingIds: [findingId], decision, note, actor };
    const { changed } = await decideFindings(database.write, request, now());
    const what = `${session} ${kind.replaceAll('_', ' ')}`;
    const done = changed.length > 0 ? DONE[decision] : 'It was so before';
    const action = `/dashboard/findings/${findingId}`;
    const undo = { action, fields: { ...fields, decision: 'reopen' }, region: 'symbol' };
    const canUndo = changed.length > 0 && (decision === 'accept' || decision === 'reject');
    const notice: Notice = { condition: 'good', text: `${done}: ${what}.` };
    return { notice: { ...notice, ...(canUndo && { undo }) }, status: 200 };
  } catch (error) {
    const isRefused = error instanceof RefusedDecision;
    if (!isRefused && !(error instanceof InputError)) throw error;
    const text = `Nothing is decided: ${error.message}.`;
    return { notice: { condition: 'bad', text }, status: isRefused ? 409 : 422 };
  }
}

/** The instrument of a finding by the symbol of the page, else by the one it has or had last. */
async function symbolOf(
  context: AppContext,
  { findingId, instrumentId }: Finding,
  text: string | null,
  switches: SymbolSwitches,
): Promise<ResolvedSymbol> {
  const asked = text === null ? undefined : await findPageSymbol(context, text, switches);
  if (asked?.instrumentId === instrumentId) return asked;
  const holding = (await context.symbols.symbolsOf(instrumentId)).at(-1);
  if (holding) return holding;
  throw new HttpError(404, 'unknown_symbol', `finding ${findingId} has no symbol`, 'id');
}
