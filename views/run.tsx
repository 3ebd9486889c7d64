import { Html } from '@elysiajs/html';
import type { JobRequest, RequestFailure } from '../src/store/job-requests.ts';
import type { Run, RunResult } from '../src/store/jobs.ts';
import { BACKFILL_PATH, Cancel, jobText } from './backfill.tsx';
import {
  attributeText,
  Badge,
  capital,
  count,
  plural,
  Scroll,
  symbolPath,
  Text,
  Tile,
} from './elements.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { Empty, Pager, withQuery } from './list.tsx';
import { FilterForm, Live } from './live.tsx';
import {
  RUN_CONDITION,
  RUNS_PATH,
  RunProgress,
  RunsTable,
  roughly,
  runPath,
  timeLeft,
  tookText,
} from './runs.tsx';
import { Session, Time } from './time.tsx';

/** All runs of all jobs, and the page of one. */

// --------------------------------------------------------------------------------- all runs

export interface RunListView {
  runs: Run[];
  total: number;
  page: number;
  pages: number;
  /** '' for all. */
  job: string;
  state: string;
  /** Every job that has run. */
  jobs: string[];
  /** While one of the runs shown is under way. */
  now: Date | null;
}

export const RUN_STATES = ['running', 'succeeded', 'failed', 'interrupted'] as const;

const listPath = ({ job, state }: Pick<RunListView, 'job' | 'state'>, page: number) =>
  withQuery(RUNS_PATH, { job, state, page: page === 1 ? undefined : page });

export interface RunListProps {
  view: RunListView;
  pollSeconds: number;
}

/** The part of the list of runs that is polled. */
export function RunList({ view, pollSeconds }: RunListProps): JSX.Element {
  const { runs, total, page, pages, job, state, now } = view;
  const isFiltered = job !== '' || state !== '';
  return (
    <Live
      id="runs-list"
      path={listPath(view, page)}
      pollSeconds={pollSeconds}
      isBusy={now !== null}
    >
      {runs.length > 0 ? (
        <>
          <RunsTable runs={runs} now={now ?? undefined} />
          <Pager
            page={page}
            pages={pages}
            total={total}
            noun="run"
            href={(to) => listPath(view, to)}
            region="runs-list"
          />
        </>
      ) : (
        <Empty title={isFiltered ? 'No run is like that' : 'Nothing has run yet'}>
          <p>
            {isFiltered ? (
              <>
                Choose another job or state, or see <a href={RUNS_PATH}>all runs</a>.
              </>
            ) : (
              <>
                Fill the history from <a href={BACKFILL_PATH}>Backfill</a>; every run is kept here.
              </>
            )}
          </p>
        </Empty>
      )}
    </Live>
  );
}

interface ChoiceProps {
  name: string;
  label: string;
  chosen: string;
  values: readonly string[];
}

function Choice({ name, label, chosen, values }: ChoiceProps): JSX.Element {
  return (
    <div class="field">
      <label for={`runs-${name}`} safe>
        {label}
      </label>
      <select id={`runs-${name}`} name={name}>
        <option value="" selected={chosen === ''}>
          All
        </option>
        {values.map((value) => (
          <option value={value} selected={value === chosen} safe>
            {value}
          </option>
        ))}
      </select>
    </div>
  );
}

export function RunListPage({ page, view }: { page: PageProps; view: RunListView }): JSX.Element {
  return (
    <Layout page={page} title="Runs" section="backfill">
      <PageTitle title="Runs">
        <a href={BACKFILL_PATH}>Backfill</a>
        <span>Every execution of every job, newest first.</span>
      </PageTitle>
      <FilterForm action={RUNS_PATH} region="runs-list" label="Filter runs">
        <Choice name="job" label="Job" chosen={view.job} values={view.jobs} />
        <Choice name="state" label="State" chosen={view.state} values={RUN_STATES} />
      </FilterForm>
      <RunList view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}

// ---------------------------------------------------------------------------------- one run

export interface RunView {
  run: Run & { worker: string };
  /** What an operator asked for; null for a run of the schedule or of a command. */
  request: JobRequest | null;
  failures: RequestFailure[];
  /** Of all that are kept. */
  failureTotal: number;
  results: RunResult[];
  resultTotal: number;
  resultsFailed: number;
  page: number;
  pages: number;
  /** A part of the symbols that are shown; '' for all. */
  q: string;
  /** While the run is under way. */
  now: Date | null;
}

const resultPath = ({ run, q }: RunView, page: number) =>
  withQuery(runPath(run.runId), { q, page: page === 1 ? undefined : page });

function RunTiles({ view }: { view: RunView }): JSX.Element {
  const { run, now } = view;
  const left = now ? timeLeft(run, now) : undefined;
  const number = (label: string, value: number, note: string) => (
    <Tile label={label} value={<Text text={count(value)} />} note={<Text text={note} />} />
  );
  return (
    <dl class="tiles eight">
      <Tile
        label="State"
        value={<Badge condition={RUN_CONDITION[run.state]} word={capital(run.state)} />}
        note={<Text text={`${run.job}, ${run.origin}`} />}
      />
      <Tile
        label="Done"
        value={
          <span class="progress">
            <RunProgress run={run} />
          </span>
        }
        note={<Text text={`${plural(run.requests, 'request')} sent`} />}
      />
      <Tile
        label={run.finishedAt ? 'Took' : 'Under way for'}
        value={<Text text={tookText(run, now ?? undefined)} />}
        note={left === undefined ? undefined : <Text text={`${roughly(left)} left`} />}
      />
      <Tile
        label="Ended"
        value={run.finishedAt ? <Time at={run.finishedAt} /> : <Text text="Not yet" />}
        note={
          <>
            began <Time at={run.startedAt} seconds />
          </>
        }
      />
      {number('New', run.inserted, 'bars')}
      {number('Changed', run.changed, 'bars, restated')}
      {number('Unchanged', run.unchanged, 'bars')}
      {number('Rejected', run.rejected, 'rows that are no bars')}
    </dl>
  );
}

/** The form filled in as this request was. */
function againPath({ kind, arguments: asked }: JobRequest): string {
  if (asked === null) return BACKFILL_PATH;
  const { symbols, timeframe, firstSession, lastSession, retryEmpty } = asked;
  return withQuery(BACKFILL_PATH, {
    kind: kind === 'repair' ? 'repair' : undefined,
    symbols: symbols?.join(' '),
    timeframe: timeframe === '1d' ? undefined : timeframe,
    from: firstSession,
    to: lastSession ?? undefined,
    retry: retryEmpty ? '1' : undefined,
  });
}

/** An address longer than this is refused on its way. */
const ADDRESS_LENGTH_MAX = 4_000;

function Asked({ request, run }: { request: JobRequest; run: Run }): JSX.Element {
  const { requestId, actor, requestedAt, finishedAt, message } = request;
  const again = againPath(request);
  return (
    <section class="panel" aria-labelledby="asked">
      <h2 id="asked" safe>{`Request ${requestId}`}</h2>
      <p safe>{`${jobText(request)}.`}</p>
      <p class="quiet">
        <span safe>{`asked for by ${actor}, `}</span>
        <Time at={requestedAt} />
        {message === null ? '' : <Text text={`. ${capital(message)}`} />}
      </p>
      <div class="buttons">
        {finishedAt === null ? <Cancel request={request} region="run" runId={run.runId} /> : null}
        {finishedAt !== null &&
        request.kind !== 'reconcile' &&
        again.length < ADDRESS_LENGTH_MAX ? (
          <a class="button" href={again}>
            Ask for the same again
          </a>
        ) : null}
      </div>
    </section>
  );
}

// -------------------------------------------------------------------------- failed requests

function FailureRow({ failure }: { failure: RequestFailure }): JSX.Element {
  const { failureId, at, symbol, dataset, firstSession, lastSession, kind, status } = failure;
  return (
    <>
      <tr id={`failure-${failureId}`}>
        <th scope="row">
          {symbol === null ? (
            'whole market'
          ) : (
            <a href={symbolPath(symbol)} safe>
              {symbol}
            </a>
          )}
        </th>
        <td safe>{dataset}</td>
        <td>
          {firstSession === null ? '' : <Session date={firstSession} />}
          {lastSession === null || lastSession === firstSession ? (
            ''
          ) : (
            <>
              {' to '}
              <Session date={lastSession} />
            </>
          )}
        </td>
        <td safe>{kind.replaceAll('_', ' ')}</td>
        <td class="number" safe>
          {status === null ? 'no answer' : `${status}`}
        </td>
        <td>
          <Time at={at} seconds />
        </td>
      </tr>
      <tr class="reason" id={`failure-${failureId}-words`}>
        <td colspan={6}>
          <Text text={failure.message} />
          {failure.body ? (
            <details id={`failure-${failureId}-body`}>
              <summary>What the vendor answered</summary>
              <pre class="vendor" safe>
                {failure.body}
              </pre>
            </details>
          ) : null}
        </td>
      </tr>
    </>
  );
}

function Failures({ view }: { view: RunView }): JSX.Element {
  const { failures, failureTotal } = view;
  if (failures.length === 0) return '';
  return (
    <section aria-labelledby="failures">
      <h2 id="failures">
        Failed requests <span class="total" safe>{`${count(failureTotal)}`}</span>
      </h2>
      {failures.length < failureTotal ? (
        <p class="quiet" safe>{`The first ${count(failures.length)}.`}</p>
      ) : null}
      <Scroll labelledby="failures">
        <table>
          <thead>
            <tr>
              <th scope="col">Asked for</th>
              <th scope="col">Data</th>
              <th scope="col">Sessions</th>
              <th scope="col">Kind</th>
              <th scope="col" class="number">
                Status
              </th>
              <th scope="col">When</th>
            </tr>
          </thead>
          <tbody>
            {failures.map((failure) => (
              <FailureRow failure={failure} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

// --------------------------------------------------------------------------------- results

function ResultRow({ result }: { result: RunResult }): JSX.Element {
  const { instrumentId, symbol, startSession, endSession, error } = result;
  const numbers = [result.inserted, result.changed, result.unchanged, result.rejected];
  return (
    <>
      <tr id={`result-${instrumentId}`}>
        <th scope="row">
          <a href={symbolPath(symbol)} safe>
            {symbol}
          </a>
        </th>
        <td>
          <Badge
            condition={error === null ? 'good' : 'bad'}
            word={error === null ? 'Filled' : 'Failed'}
          />
        </td>
        <td>
          <Session date={startSession} /> to <Session date={endSession} />
        </td>
        {numbers.map((number) => (
          <td class="number" safe>
            {count(number)}
          </td>
        ))}
      </tr>
      {error === null ? null : (
        <tr class="reason" id={`result-${instrumentId}-error`}>
          <td colspan={7} safe>
            {error}
          </td>
        </tr>
      )}
    </>
  );
}

function ResultsTable({ results }: { results: readonly RunResult[] }): JSX.Element {
  return (
    <Scroll labelledby="results">
      <table>
        <thead>
          <tr>
            <th scope="col">Symbol</th>
            <th scope="col">State</th>
            <th scope="col">Asked for</th>
            <th scope="col" class="number">
              New
            </th>
            <th scope="col" class="number">
              Changed
            </th>
            <th scope="col" class="number">
              Unchanged
            </th>
            <th scope="col" class="number">
              Rejected
            </th>
          </tr>
        </thead>
        <tbody>
          {results.map((result) => (
            <ResultRow result={result} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Why there is nothing to list, and where to look instead. */
function NoResults({ view }: { view: RunView }): JSX.Element {
  const { run, q } = view;
  if (q !== '') {
    return (
      <Empty title="No symbol of this run is like that">
        <p>
          <a href={runPath(run.runId)}>All its symbols</a>
        </p>
      </Empty>
    );
  }
  if (run.job === 'reconcile') {
    return (
      <Empty title="A comparison, not a backfill">
        <p>
          What it found is in <a href="/dashboard/reconciliation">its report</a>.
        </p>
      </Empty>
    );
  }
  return run.state === 'running' ? (
    <Empty title="Nothing is committed yet">
      <p>What came of each symbol is listed here as soon as it is committed.</p>
    </Empty>
  ) : (
    <Empty title="No symbol was asked for">
      <p>All that could be had was held, or the run ended before its first answer.</p>
    </Empty>
  );
}

function Results({ view }: { view: RunView }): JSX.Element {
  const { results, resultTotal, resultsFailed, page, pages } = view;
  const failed = resultsFailed === 0 ? '' : `, ${count(resultsFailed)} failed`;
  return (
    <section aria-labelledby="results">
      <h2 id="results">
        Symbols <span class="total" safe>{`${count(resultTotal)}${failed}`}</span>
      </h2>
      {results.length === 0 ? (
        <NoResults view={view} />
      ) : (
        <>
          <ResultsTable results={results} />
          <Pager
            page={page}
            pages={pages}
            total={resultTotal}
            noun="symbol"
            href={(to) => resultPath(view, to)}
            region="run"
          />
        </>
      )}
    </section>
  );
}

/** So many symbols are found by eye. */
const RESULTS_SEARCHED = 100;

/** All of a run: the part of its page that is polled. */
export function RunDetail({ view, pollSeconds }: { view: RunView; pollSeconds: number }) {
  const { run, request, page, now } = view;
  return (
    <Live id="run" path={resultPath(view, page)} pollSeconds={pollSeconds} isBusy={now !== null}>
      {run.error === null ? null : (
        <p class={`notice ${RUN_CONDITION[run.state]}`} id="run-error">
          <strong safe>{capital(run.state)}</strong> <Text text={run.error} />
        </p>
      )}
      <RunTiles view={view} />
      {request ? <Asked request={request} run={run} /> : null}
      <Failures view={view} />
      <Results view={view} />
    </Live>
  );
}

export function RunPage({ page, view }: { page: PageProps; view: RunView }): JSX.Element {
  const { run, q, pages, now } = view;
  // Not part of what is polled: of a large run it is there before the results are.
  const isLong = pages > 1 || (now !== null && (run.total ?? 0) > RESULTS_SEARCHED);
  return (
    <Layout page={page} title={`Run ${run.runId}`} section="backfill">
      <PageTitle title={`Run ${run.runId}: ${run.job}`}>
        <a href={BACKFILL_PATH}>Backfill</a>
        <a href={RUNS_PATH}>All runs</a>
        <span safe>{`in process ${run.worker}`}</span>
      </PageTitle>
      {isLong || q !== '' ? (
        <FilterForm action={runPath(run.runId)} region="run" label="Find a symbol in this run">
          <div class="field">
            <label for="run-q">Symbol</label>
            <input
              type="search"
              id="run-q"
              name="q"
              value={attributeText(q)}
              maxlength="40"
              spellcheck="false"
            />
          </div>
        </FilterForm>
      ) : null}
      <RunDetail view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}
