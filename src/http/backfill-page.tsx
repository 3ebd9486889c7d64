import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  Ask,
  type AskedForm,
  type AskView,
  BACKFILL_PATH,
  BackfillPage,
  jobText,
  type OpenJob,
  type PreviewView,
  Queue,
  type QueueView,
} from '../../views/backfill.tsx';
import type { Notice } from '../../views/elements.tsx';
import { runPath } from '../../views/runs.tsx';
import { InputError } from '../errors.ts';
import { newYorkDay, toDate } from '../model/session.ts';
import { parseSymbolList, toCapitals } from '../model/symbol-list.ts';
import { pingDatabase } from '../store/database.ts';
import {
  type BackfillArguments,
  cancelJobRequest,
  checkArguments,
  insertJobRequest,
  type JobRequest,
  selectEndedRequests,
  selectOpenRequests,
} from '../store/job-requests.ts';
import { isLed, type Run, selectRuns, selectUnderWay } from '../store/jobs.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { compressed } from './compress.ts';
import { HttpError } from './errors.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseWhole } from './parameters.ts';
import { renderRun, runPageRoutes } from './run-page.tsx';
import { firstSession } from './tracking.ts';

const HIDDEN = { detail: { hide: true } };
/** Of the backfill; of every other job the last one. */
const RUNS_SHOWN = 5;
/** Requests that wait or run; a person asks for fewer. */
const OPEN_SHOWN = 100;
const CLOSED_SHOWN = 5;
/** A thousand symbols with what a browser makes of the space between them. */
const FORM_BYTES_MAX = 65_536;

type Query = Readonly<Record<string, string | undefined>>;

/** The page from which history is filled, what it sends, and the pages of runs. */
export function backfillPageRoutes(context: AppContext) {
  return new Elysia({ name: 'backfill-page' })
    .get(BACKFILL_PATH, ({ request, query }) => page(context, request, query), HIDDEN)
    .get(`${BACKFILL_PATH}/status`, ({ request }) => fragment(context, request), HIDDEN)
    .post(`${BACKFILL_PATH}/preview`, ({ request }) => preview(context, request), HIDDEN)
    .post(
      `${BACKFILL_PATH}/start`,
      ({ request, server }) => start(context, request, actorOf(request, server)),
      HIDDEN,
    )
    .post(
      `${BACKFILL_PATH}/cancel`,
      ({ request, server }) => cancel(context, request, actorOf(request, server)),
      HIDDEN,
    )
    .use(runPageRoutes(context));
}

// --------------------------------------------------------------------------------- showing

/** The page, with the form as another page's link fills it in: ?symbols=AAPL&from=...&retry=1. */
function page(context: AppContext, request: Request, query: Query): Promise<Response> {
  return orAway(context, request, async () => {
    const form = readFields((name) => query[name]);
    return pageResponse(request, await render(context, request, form));
  });
}

async function fragment(context: AppContext, request: Request): Promise<Response> {
  const queue = await collectQueue(context);
  return fragmentResponse(request, context.version, queue, () =>
    renderQueue(context, request, queue),
  );
}

const pollSecondsOf = (context: AppContext, request: Request) =>
  pageProps(context, request).pollSeconds;

const renderQueue = (context: AppContext, request: Request, view: QueueView) => (
  <Queue view={view} pollSeconds={pollSecondsOf(context, request)} />
);

interface Shown {
  preview?: PreviewView;
  wrong?: AskView['wrong'];
  notice?: Notice;
}

async function render(
  context: AppContext,
  request: Request,
  form: AskedForm,
  { notice, ...shown }: Shown = {},
): Promise<JSX.Element> {
  const props = pageProps(context, request);
  const [ask, queue] = await Promise.all([collectAsk(context, form, shown), collectQueue(context)]);
  return <BackfillPage page={notice ? { ...props, notice } : props} ask={ask} queue={queue} />;
}

async function collectAsk(
  context: AppContext,
  form: AskedForm,
  { preview = undefined, wrong = null }: Omit<Shown, 'notice'> = {},
): Promise<AskView> {
  const { symbolsTracked } = await context.status.select();
  return {
    form,
    wrong,
    tracked: symbolsTracked,
    firstSession: firstSessions(context),
    today: toDate(newYorkDay(context.now())),
    preview: preview ?? null,
  };
}

/** Where the history begins when nobody says, as for `marketd backfill`. */
const firstSessions = (context: AppContext): AskView['firstSession'] => ({
  daily: firstSession(context, '1d'),
  intraday: firstSession(context, '1m'),
});

async function collectQueue(context: AppContext): Promise<QueueView> {
  const { database, operations, now } = context;
  // With a deadline: a database that accepts and says nothing counts as away.
  await pingDatabase(database.read);
  const [waiting, closed, running, runs, led] = await Promise.all([
    selectOpenRequests(database.read, OPEN_SHOWN),
    selectEndedRequests(database.read, CLOSED_SHOWN),
    selectUnderWay(database.read),
    selectRuns(database.read, RUNS_SHOWN),
    isLed(database.read),
  ]);
  const open = joinRuns(waiting, running);
  const isBusy = open.some(({ request, run }) => run || request?.state === 'running');
  return {
    open,
    ...{ closed, runs },
    isLed: led,
    hasProvider: operations.preview !== undefined,
    now: isBusy ? new Date(now()) : null,
  };
}

/** What is under way first, then what waits; each the oldest first. */
function joinRuns(requests: readonly JobRequest[], running: readonly Run[]): OpenJob[] {
  const runOf = new Map(running.map((run) => [run.runId, run]));
  const open = requests.map((request): OpenJob => {
    const run = request.state === 'running' ? runOf.get(request.runId ?? 0) : undefined;
    return { request, run: run ?? null };
  });
  const asked = new Set(open.map(({ run }) => run?.runId));
  const unasked = running.filter(({ runId }) => !asked.has(runId));
  const isUnderWay = ({ request }: OpenJob) => request?.state === 'running';
  return [
    ...unasked.map((run) => ({ request: null, run })),
    ...open.filter(isUnderWay),
    ...open.filter((job) => !isUnderWay(job)),
  ];
}

// -------------------------------------------------------------------------------- the form

const FIELD_LENGTH_MAX = FORM_BYTES_MAX;

/** The form's fields from anywhere; what is missing is as in an empty form. */
function readFields(read: (name: string) => string | null | undefined): AskedForm {
  const text = (name: string, otherwise = '') =>
    (read(name) ?? otherwise).slice(0, FIELD_LENGTH_MAX).replaceAll('\0', '').trim();
  return {
    kind: text('kind', 'backfill'),
    symbols: text('symbols'),
    timeframe: text('timeframe', '1d'),
    from: text('from'),
    to: text('to'),
    retry: ['1', 'true', 'on'].includes(text('retry')),
  };
}

/** The form's words for what requests call otherwise. */
const FIELDS: Readonly<Record<string, { name: keyof AskedForm; label: string }>> = {
  symbols: { name: 'symbols', label: 'Symbols' },
  timeframe: { name: 'timeframe', label: 'The timeframe' },
  first_session: { name: 'from', label: 'From session' },
  last_session: { name: 'to', label: 'To session' },
  retry_empty: { name: 'retry', label: 'Asking again' },
  kind: { name: 'kind', label: 'What to ask for' },
};

/** 'first_session (2030-01-01) lies in the future' in the words of the form. */
function inWords(error: InputError): string {
  const names = Object.keys(FIELDS).filter((name) => name.includes('_'));
  return names.reduce(
    (text, name) => text.replaceAll(name, FIELDS[name].label),
    capitalField(error),
  );
}

function capitalField({ message, field = '' }: InputError): string {
  const label = FIELDS[field]?.label;
  return label !== undefined && message.startsWith(`${field} `)
    ? `${label}${message.slice(field.length)}`
    : message;
}

interface Asked {
  kind: 'backfill' | 'repair';
  asked: BackfillArguments;
}

/** What the form asks for. @throws InputError */
function parseForm(context: AppContext, form: AskedForm): Asked {
  const { kind, timeframe, from, to, retry } = form;
  if (kind !== 'backfill' && kind !== 'repair') {
    throw new InputError(
      `kind is ${JSON.stringify(kind.slice(0, 40))}: backfill or repair`,
      'kind',
    );
  }
  if (kind === 'repair' && retry) {
    throw new InputError(
      'Holes that were empty or refused are asked for again when their time has come: ' +
        'to do so before, ask for everything that is due in a range',
      'retry_empty',
    );
  }
  const { daily, intraday } = firstSessions(context);
  const raw = {
    symbols: form.symbols === '' ? null : parseSymbolList(form.symbols, 'typed').map(toCapitals),
    timeframe,
    firstSession: from || (timeframe === '1d' ? daily : intraday),
    lastSession: to || null,
    retryEmpty: retry,
  };
  return { kind, asked: checkArguments(raw, context.now()) };
}

/** What it would cost. Reads only: nobody is asked and nothing is written. */
async function preview(context: AppContext, request: Request): Promise<Response> {
  const fields = await readForm(request, FORM_BYTES_MAX);
  const form = readFields((name) => fields.get(name));
  return orAway(context, request, async () => {
    try {
      const { kind, asked } = parseForm(context, form);
      const cost = (await context.operations.preview?.(asked, kind)) ?? null;
      const shown = { preview: { kind, asked, cost } };
      if (request.headers.get('hx-request') !== 'true') {
        return pageResponse(request, await render(context, request, form, shown));
      }
      const html = await (<Ask view={await collectAsk(context, form, shown)} />);
      const headers = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' };
      return await compressed(request, html, { headers });
    } catch (error) {
      return refuse(context, request, form, error);
    }
  });
}

/** The form as it was, and what is wrong with it. @throws what is no InputError */
function refuse(
  context: AppContext,
  request: Request,
  form: AskedForm,
  error: unknown,
): Promise<Response> {
  if (!(error instanceof InputError)) throw error;
  const wrong = FIELDS[error.field ?? '']?.name ?? null;
  return actionResponse(request, {
    notice: { condition: 'bad', text: inWords(error) },
    location: BACKFILL_PATH,
    region: async () => <Ask view={await collectAsk(context, form, { wrong })} />,
    page: (notice) => render(context, request, form, { wrong, notice }),
  });
}

async function start(context: AppContext, request: Request, actor: string): Promise<Response> {
  const fields = await readForm(request, FORM_BYTES_MAX);
  const form = readFields((name) => fields.get(name));
  const { database, now } = context;
  let added: JobRequest;
  try {
    const { kind, asked } = parseForm(context, form);
    const wanted = { kind, arguments: asked, actor };
    added = await insertJobRequest(database.write, wanted, now());
  } catch (error) {
    return refuse(context, request, form, error);
  }
  const text = `Request ${added.requestId} is in the queue: ${jobText(added)}.`;
  return actionResponse(request, {
    notice: { condition: 'good', text },
    location: BACKFILL_PATH,
    region: async () => (
      <>
        <Queue view={await collectQueue(context)} pollSeconds={pollSecondsOf(context, request)} />
        <Ask view={await collectAsk(context, form)} isAside />
      </>
    ),
    page: (notice) => render(context, request, form, { notice }),
  });
}

async function cancel(context: AppContext, request: Request, actor: string): Promise<Response> {
  const fields = await readForm(request);
  const requestId = parseWhole(fields.get('request') ?? '', 'request', 1, Number.MAX_SAFE_INTEGER);
  const run = fields.get('run');
  const runId = run === null ? null : parseWhole(run, 'run', 1, Number.MAX_SAFE_INTEGER);
  const { database, now } = context;
  const cancelled = await cancelJobRequest(database.write, requestId, actor, now());
  if (!cancelled) throw new HttpError(404, 'unknown_request', `there is no request ${requestId}`);
  return actionResponse(request, {
    notice: describeCancelled(cancelled),
    location: runId === null ? BACKFILL_PATH : runPath(runId),
    region: async () =>
      runId === null
        ? renderQueue(context, request, await collectQueue(context))
        : renderRun(context, request, runId),
    // Nothing is refused for good: what has ended is said so.
    page: (notice) =>
      render(
        context,
        request,
        readFields(() => undefined),
        { notice },
      ),
  });
}

function describeCancelled({ requestId, state, cancelRequestedAt }: JobRequest): Notice {
  if (state === 'cancelled') {
    return { condition: 'good', text: `Request ${requestId} is cancelled.` };
  }
  if (state === 'running' && cancelRequestedAt) {
    const text = `Request ${requestId} is told to end. What it has committed stays.`;
    return { condition: 'busy', text };
  }
  return { condition: 'attention', text: `Request ${requestId} had ended before: ${state}.` };
}
