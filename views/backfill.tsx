import { Html } from '@elysiajs/html';
import type { BackfillArguments, BackfillPreview, JobRequest } from '../src/store/job-requests.ts';
import type { Run } from '../src/store/jobs.ts';
import {
  attributeText,
  Badge,
  type Condition,
  capital,
  count,
  plural,
  Scroll,
  Text,
} from './elements.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { Empty } from './list.tsx';
import { ActionForm, Live } from './live.tsx';
import { RUNS_PATH, RunProgress, Runs, runPath, tookText } from './runs.tsx';
import { Time } from './time.tsx';

/** Filling the history: the form with its preview, and what waits and is under way. */

export const BACKFILL_PATH = '/dashboard/backfill';

/** The form as it was filled in, right or wrong. */
export interface AskedForm {
  kind: string;
  symbols: string;
  timeframe: string;
  from: string;
  to: string;
  retry: boolean;
}

export interface AskView {
  form: AskedForm;
  /** The field that is wrong, by its name in the form. */
  wrong: keyof AskedForm | null;
  /** How many symbols are tracked. */
  tracked: number;
  /** Where the history begins when nothing is said: of days, and of hours and minutes. */
  firstSession: { daily: string; intraday: string };
  today: string;
  preview: PreviewView | null;
}

export interface PreviewView {
  kind: 'backfill' | 'repair';
  asked: BackfillArguments;
  /** Null where this process has nobody to ask for data. */
  cost: BackfillPreview | null;
}

export interface QueueView {
  /** What waits or is under way, the oldest first, each with its run. */
  open: OpenJob[];
  /** The latest requests that ended. */
  closed: JobRequest[];
  runs: Run[];
  /** Whether a process runs what is asked for here. */
  isLed: boolean;
  hasProvider: boolean;
  /** While something runs: how long it has been doing so changes. */
  now: Date | null;
}

/** A request, a run of the schedule or of a command without one, or both. */
export interface OpenJob {
  request: JobRequest | null;
  run: Run | null;
}

const TIMEFRAMES = { '1d': 'days', '1h': 'hours', '1m': 'minutes' } as const;
const KIND_WORDS: Record<JobRequest['kind'], string> = {
  backfill: 'Backfill',
  repair: 'Repair of holes',
  reconcile: 'Reconciliation',
};
const SYMBOLS_NAMED = 8;

function symbolsText(symbols: readonly string[] | null): string {
  if (symbols === null) return 'all tracked symbols';
  const more = symbols.length - SYMBOLS_NAMED;
  const named = symbols.slice(0, SYMBOLS_NAMED).join(', ');
  return more > 0 ? `${named} and ${count(more)} more` : named;
}

/** 'Backfill of AAPL, MSFT, days, 2021-11-21 to the latest session, empty ones again'. */
export function jobText({ kind, arguments: asked }: Pick<JobRequest, 'kind' | 'arguments'>) {
  if (asked === null) return KIND_WORDS[kind];
  const { symbols, timeframe, firstSession, lastSession, retryEmpty } = asked;
  const range = `${firstSession} to ${lastSession ?? 'the latest session'}`;
  const again = retryEmpty ? ', again for what was empty' : '';
  const of = `${KIND_WORDS[kind]} of ${symbolsText(symbols)}`;
  return `${of}, ${TIMEFRAMES[timeframe]}, ${range}${again}`;
}

// -------------------------------------------------------------------------------- the form

/** What is sent unseen to ask for exactly what was previewed. */
const formFields = ({ kind, symbols, timeframe, from, to, retry }: AskedForm) => ({
  ...{ kind, symbols, timeframe, from, to },
  retry: retry ? '1' : undefined,
});

function KindChoice({ form }: { form: AskedForm }): JSX.Element {
  return (
    <fieldset class="choices">
      <legend>What to ask for</legend>
      <label>
        <input
          type="radio"
          id="ask-backfill"
          name="kind"
          value="backfill"
          checked={form.kind !== 'repair'}
        />
        Everything that is due in a range: what is missing, and the latest sessions again
      </label>
      <label>
        <input
          type="radio"
          id="ask-repair"
          name="kind"
          value="repair"
          checked={form.kind === 'repair'}
        />
        Only holes: sessions without a bar
      </label>
    </fieldset>
  );
}

interface DateFieldProps {
  name: 'from' | 'to';
  label: string;
  view: AskView;
  hint: string;
}

function DateField({ name, label, view, hint }: DateFieldProps): JSX.Element {
  return (
    <div class="field">
      <label for={`ask-${name}`} safe>
        {label}
      </label>
      <input
        type="date"
        id={`ask-${name}`}
        name={name}
        value={attributeText(view.form[name])}
        max={view.today}
        aria-describedby={`ask-${name}-hint`}
        aria-invalid={view.wrong === name ? 'true' : undefined}
      />
      <span class="hint" id={`ask-${name}-hint`} safe>
        {hint}
      </span>
    </div>
  );
}

function SymbolsField({ view }: { view: AskView }): JSX.Element {
  return (
    <div class="field">
      <label for="ask-symbols">Symbols</label>
      <textarea
        id="ask-symbols"
        name="symbols"
        rows="2"
        spellcheck="false"
        autocapitalize="none"
        placeholder="AAPL, MSFT, BRK.B"
        aria-describedby="ask-symbols-hint"
        aria-invalid={view.wrong === 'symbols' ? 'true' : undefined}
        safe
      >
        {view.form.symbols}
      </textarea>
      <span class="hint" id="ask-symbols-hint" safe>
        {`Typed or pasted, at most 1,000. Empty: ${
          view.tracked === 0
            ? 'every tracked symbol, of which there is none yet'
            : `all ${plural(view.tracked, 'tracked symbol')}`
        }. Without capitals “aapl” is AAPL. A backfill adds symbols that are not known yet.`}
      </span>
    </div>
  );
}

function TimeframeField({ view }: { view: AskView }): JSX.Element {
  return (
    <div class="field">
      <label for="ask-timeframe">Bars of</label>
      <select id="ask-timeframe" name="timeframe">
        {Object.entries(TIMEFRAMES).map(([timeframe, word]) => (
          <option value={timeframe} selected={timeframe === view.form.timeframe} safe>
            {`${word} (${timeframe})`}
          </option>
        ))}
      </select>
    </div>
  );
}

function AskFields({ view }: { view: AskView }): JSX.Element {
  const { daily, intraday } = view.firstSession;
  return (
    <>
      <KindChoice form={view.form} />
      <SymbolsField view={view} />
      <div class="fields top-aligned">
        <TimeframeField view={view} />
        <DateField
          name="from"
          label="From session"
          view={view}
          hint={`Empty: ${daily}; hours and minutes ${intraday}`}
        />
        <DateField name="to" label="To session" view={view} hint="Empty: the latest published" />
      </div>
      <label class="check">
        <input
          type="checkbox"
          id="ask-retry"
          name="retry"
          value="1"
          checked={view.form.retry}
          aria-invalid={view.wrong === 'retry' ? 'true' : undefined}
        />
        Ask again for what was empty or refused, although its time has not come
      </label>
    </>
  );
}

/** What it costs, by what is asked for. */
const COST_ROWS: readonly [keyof BackfillPreview['requests'], string][] = [
  ['range', 'Bars by symbol'],
  ['grouped', 'Bars by session, of the whole market'],
  ['splits', 'Splits'],
  ['dividends', 'Dividends'],
  ['describe', 'Names and listings'],
];

function minutesText({ requests, minutes, requestsPerMinute }: BackfillPreview): string {
  if (requests.total === 0) return 'Nothing to wait for';
  if (requestsPerMinute === null) return 'The provider sets no limit';
  const at = `at ${plural(requestsPerMinute, 'request')} a minute`;
  if (minutes === 0) return `Under a minute ${at}`;
  const long = minutes >= 120 ? ` (${count(Math.round(minutes / 60))} hours)` : '';
  return `About ${plural(minutes, 'minute')}${long} ${at}`;
}

/** 'for 15 symbols; 1,260 sessions are due. About 3 minutes at 5 requests a minute.' */
function costText(cost: BackfillPreview): string {
  const { symbols, dueSessions } = cost;
  const due = `${plural(dueSessions, 'session')} ${dueSessions === 1 ? 'is' : 'are'} due`;
  return `for ${plural(symbols, 'symbol')}; ${due}. ${minutesText(cost)}.`;
}

function Cost({ cost }: { cost: BackfillPreview }): JSX.Element {
  const rows = COST_ROWS.filter(([key]) => cost.requests[key] > 0);
  return (
    <>
      <p>
        <strong safe>{plural(cost.requests.total, 'request')}</strong>{' '}
        <Text text={costText(cost)} />
      </p>
      {rows.length === 0 ? null : (
        <Scroll labelledby="preview-title">
          <table>
            <thead>
              <tr>
                <th scope="col">What is asked for</th>
                <th scope="col" class="number">
                  Requests
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map(([key, label]) => (
                <tr>
                  <th scope="row" safe>
                    {label}
                  </th>
                  <td class="number" safe>
                    {count(cost.requests[key])}
                  </td>
                </tr>
              ))}
              <tr class="sum">
                <th scope="row">In all</th>
                <td class="number" safe>
                  {count(cost.requests.total)}
                </td>
              </tr>
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

function StartForm({ form, preview }: { form: AskedForm; preview: PreviewView }): JSX.Element {
  const { kind, asked, cost } = preview;
  if (cost && cost.requests.total === 0) {
    return (
      <p>
        Nothing is due: what can be had is held. What was empty or refused is asked for again when
        its time has come, or with the box above checked.
      </p>
    );
  }
  // What was previewed is what starts, also when the fields above say something else by then.
  const { symbols, timeframe, firstSession, lastSession, retryEmpty } = asked;
  const exact = {
    ...{ kind, timeframe, from: firstSession, to: lastSession ?? '', retry: retryEmpty },
    symbols: symbols === null ? '' : form.symbols,
  };
  return (
    <ActionForm
      action={`${BACKFILL_PATH}/start`}
      region="backfill"
      id="start-form"
      class="buttons"
      fields={formFields(exact)}
    >
      <button type="submit" class="button primary" id="start">
        Start
      </button>
      <span class="hint">It is put in the queue below and can be cancelled at any time.</span>
    </ActionForm>
  );
}

function Preview({ form, preview }: { form: AskedForm; preview: PreviewView }): JSX.Element {
  const { kind, asked, cost } = preview;
  return (
    <section class="panel preview" id="preview" aria-labelledby="preview-title">
      <h2 id="preview-title">Preview</h2>
      <p safe>{`${jobText({ kind, arguments: asked })}.`}</p>
      {cost ? (
        <Cost cost={cost} />
      ) : (
        <p>
          What it costs is not known here, because this process has nobody to ask for data. Set
          POLYGON_API_KEY and restart marketd to see it.
        </p>
      )}
      <StartForm form={form} preview={preview} />
    </section>
  );
}

/** The form and what it would cost; asked for anew only by the operator, never by a poll. */
export function Ask({ view, isAside }: { view: AskView; isAside?: boolean }): JSX.Element {
  const { form, preview } = view;
  return (
    <div id="ask" hx-swap-oob={isAside ? 'outerMorph' : undefined}>
      <ActionForm
        action={`${BACKFILL_PATH}/preview`}
        region="ask"
        id="ask-form"
        class="panel ask"
        label="Fill the history"
      >
        <h2>Fill the history</h2>
        <AskFields view={view} />
        <div class="buttons">
          <button type="submit" class={preview ? 'button' : 'button primary'} id="ask-preview">
            Preview the cost
          </button>
          <span class="hint">Nobody is asked for data before you press Start.</span>
        </div>
      </ActionForm>
      <div id="ask-outcome" aria-live="polite">
        {preview ? <Preview form={form} preview={preview} /> : null}
      </div>
    </div>
  );
}

// ------------------------------------------------------------------------------- the queue

export const REQUEST_CONDITION: Record<JobRequest['state'], Condition> = {
  queued: 'idle',
  running: 'busy',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'attention',
  refused: 'bad',
};

/** Why nothing begins, and what to do about it. */
function Unled({ view }: { view: QueueView }): JSX.Element {
  if (view.isLed) return '';
  return (
    <div class="notice attention" id="unled">
      <strong>Nobody runs jobs</strong> No process leads, so that requests wait in the queue.{' '}
      {view.hasProvider
        ? 'This process is told not to (SCHEDULER=off): set SCHEDULER=on and restart marketd.'
        : 'Set POLYGON_API_KEY and SCHEDULER=on, then restart marketd.'}
    </div>
  );
}

export interface CancelProps {
  request: JobRequest;
  /** The part of the page that shows the outcome. */
  region: 'backfill' | 'run';
  /** Set on the page of a run. */
  runId?: number;
}

/** One step for what waits, two for what runs: nobody loses hours to a slip of the hand. */
export function Cancel({ request, region, runId }: CancelProps): JSX.Element {
  const { requestId, state, cancelRequestedAt } = request;
  if (cancelRequestedAt) return <p class="hint">It is told to end: what is committed stays.</p>;
  const name = `Cancel request ${requestId}`;
  const form = (text: string) => (
    <ActionForm
      action={`${BACKFILL_PATH}/cancel`}
      region={region}
      id={`cancel-form-${requestId}`}
      fields={{ request: `${requestId}`, run: runId === undefined ? undefined : `${runId}` }}
    >
      <button type="submit" class="button danger" id={`cancel-${requestId}`} aria-label={name} safe>
        {text}
      </button>
    </ActionForm>
  );
  if (state === 'queued') return form('Cancel');
  return (
    <details class="cancel" id={`cancel-details-${requestId}`}>
      <summary aria-label={name}>Cancel</summary>
      <p>
        What has been fetched and committed stays. A new request goes on where this one stopped.
      </p>
      {form(name)}
    </details>
  );
}

/** Whom or what a request waits for, in words. */
function waitingText({ request }: OpenJob, position: number, view: QueueView): string {
  if (request?.state !== 'queued') return '';
  if (request.message) return capital(request.message);
  if (!view.isLed) return 'Waits for a process that runs jobs';
  const before = position > 0 && view.open[position - 1].request;
  return before ? `Waits for request ${before.requestId}` : 'Begins in a moment';
}

function JobFacts({ job, now }: { job: OpenJob; now: Date | null }): JSX.Element {
  const { request, run } = job;
  return (
    <p class="quiet">
      {request ? (
        <>
          <span safe>{`request ${request.requestId} by ${request.actor}, `}</span>
          <Time at={request.requestedAt} />
        </>
      ) : (
        <span safe>{`by ${run?.origin}`}</span>
      )}
      {run ? (
        <>
          , began <Time at={run.startedAt} /> <Text text={`(${tookText(run, now ?? undefined)})`} />
          ,{' '}
          <a href={runPath(run.runId)} safe>
            {`run ${run.runId}`}
          </a>
        </>
      ) : null}
    </p>
  );
}

interface JobItemProps {
  job: OpenJob;
  position: number;
  view: QueueView;
}

function JobItem({ job, position, view }: JobItemProps): JSX.Element {
  const { request, run } = job;
  const state = request?.state ?? 'running';
  const key = request ? `request-${request.requestId}` : `unasked-${run?.runId}`;
  const waiting = waitingText(job, position, view);
  return (
    <li id={key} class={REQUEST_CONDITION[state]}>
      <div class="head">
        <Badge condition={REQUEST_CONDITION[state]} word={capital(state)} />
        <strong safe>{request ? jobText(request) : capital(run?.job ?? '')}</strong>
      </div>
      <JobFacts job={job} now={view.now} />
      {run ? (
        <p class="progress">
          <RunProgress run={run} now={view.now ?? undefined} />
        </p>
      ) : null}
      {waiting === '' ? null : <p safe>{waiting}</p>}
      {request ? <Cancel request={request} region="backfill" /> : null}
    </li>
  );
}

function Closed({ requests }: { requests: readonly JobRequest[] }): JSX.Element {
  if (requests.length === 0) return '';
  return (
    <section aria-labelledby="closed">
      <h2 id="closed">Latest requests</h2>
      <Scroll labelledby="closed">
        <table>
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">Request</th>
              <th scope="col">By</th>
              <th scope="col">Asked</th>
              <th scope="col">Ended</th>
              <th scope="col">Run</th>
            </tr>
          </thead>
          <tbody>
            {requests.map((request) => (
              <ClosedRow request={request} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function ClosedRow({ request }: { request: JobRequest }): JSX.Element {
  const { requestId, state, actor, requestedAt, finishedAt, runId, message } = request;
  return (
    <>
      <tr id={`closed-${requestId}`}>
        <td>
          <Badge condition={REQUEST_CONDITION[state]} word={capital(state)} />
        </td>
        <th scope="row" class="wide" safe>
          {jobText(request)}
        </th>
        <td safe>{actor}</td>
        <td>
          <Time at={requestedAt} />
        </td>
        <td>{finishedAt ? <Time at={finishedAt} /> : ''}</td>
        <td>
          {runId === null ? (
            'none'
          ) : (
            <a href={runPath(runId)} safe>
              {`#${runId}`}
            </a>
          )}
        </td>
      </tr>
      {message === null ? null : (
        <tr class="reason" id={`closed-${requestId}-message`}>
          <td colspan={6} class={state === 'failed' || state === 'refused' ? '' : 'calm'} safe>
            {message}
          </td>
        </tr>
      )}
    </>
  );
}

export interface QueueProps {
  view: QueueView;
  pollSeconds: number;
}

/** What waits, is under way and has ended: the part of the page that is polled. */
export function Queue({ view, pollSeconds }: QueueProps): JSX.Element {
  // What waits begins in a moment where somebody takes it up.
  const isBusy = view.now !== null || (view.isLed && view.open.length > 0);
  return (
    <Live id="backfill" path={BACKFILL_PATH} pollSeconds={pollSeconds} isBusy={isBusy}>
      <section aria-labelledby="queue">
        <h2 id="queue">
          Queue <span class="total" safe>{`${view.open.length}`}</span>
        </h2>
        <Unled view={view} />
        {view.open.length === 0 ? (
          <Empty title="Nothing waits and nothing runs">
            <p>Preview what you want above and press Start; its progress is shown here.</p>
          </Empty>
        ) : (
          <ol class="jobs">
            {view.open.map((job, position) => (
              <JobItem job={job} position={position} view={view} />
            ))}
          </ol>
        )}
      </section>
      <Closed requests={view.closed} />
      <Runs runs={view.runs} title="Latest runs" now={view.now ?? undefined} />
    </Live>
  );
}

export interface BackfillPageProps {
  page: PageProps;
  ask: AskView;
  queue: QueueView;
}

/** The whole page; complete without JavaScript. */
export function BackfillPage({ page, ask, queue }: BackfillPageProps): JSX.Element {
  return (
    <Layout page={page} title="Backfill" section="backfill">
      <PageTitle title="Backfill">
        <a href={RUNS_PATH}>All runs</a>
        <span>New sessions are fetched every night by themselves; this is for all else.</span>
      </PageTitle>
      <Ask view={ask} />
      <Queue view={queue} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}
