import { Html } from '@elysiajs/html';
import type { StoredReconciliation } from '../src/query/reconciliation.ts';
import type { Run } from '../src/store/jobs.ts';
import { BACKFILL_PATH } from './backfill.tsx';
import { Badge, type Condition, capital, count, plural, Scroll, symbolPath } from './elements.tsx';
import { Layout, type PageProps, PageTitle, Session, Time } from './layout.tsx';
import { ActionForm, Live } from './live.tsx';
import { QualityTabs } from './quality.tsx';

const PATH = '/dashboard/reconciliation';
export const COMPARE_PATH = `${PATH}/compare`;
const REGION = 'reconciliation';

export interface ReconciliationView {
  /** The latest result of each symbol, the worst first; of `total` as many as are shown. */
  latest: StoredReconciliation[];
  total: number;
  /** The newest run; null before the first. */
  run: Run | null;
  /** Whether there is a second source to compare with. */
  canReconcile: boolean;
  /** Somebody has asked for one that has not ended yet. */
  isAsked: boolean;
  /** Whether some process runs what is asked for. */
  isLed: boolean;
}

const CONDITIONS: Record<StoredReconciliation['verdict'], Condition> = {
  agree: 'good',
  near: 'good',
  differ: 'attention',
  conflict: 'bad',
  none: 'idle',
  failed: 'attention',
};

/** Prices that agree, of all that were compared: '1,006 of 1,008'. */
function agreement({ found, compared }: StoredReconciliation): string {
  if (!found) return '';
  const agreeing = Object.values(found.fields).reduce((sum, { agree }) => sum + agree, 0);
  return `${count(agreeing)} of ${count(4 * compared)}`;
}

const SIDES = {
  ours: 'ours',
  theirs: 'the source',
  both: 'both',
  unclear: 'unclear',
} as const;

function oneSided({ found }: StoredReconciliation): string {
  if (!found) return '';
  const { only_ours: ours, only_theirs: theirs } = found;
  return `${count(ours.count)} / ${count(theirs.count)}`;
}

/** The most telling lines of a result. */
function remarks({ found, error }: StoredReconciliation): string[] {
  if (!found) return [error ?? ''];
  const worst = found.worst.slice(0, 3).map(({ session, field, ours, theirs, why }) => {
    return `${session} ${field}: ours ${ours}, theirs ${Number(theirs.toPrecision(8))}: ${why}`;
  });
  const actions = found.actions.slice(0, 3).map(({ kind, ex_date, ours, theirs }) => {
    return `${kind} of ${ex_date}: ours ${ours ?? 'none'}, theirs ${theirs ?? 'none'}`;
  });
  return [...found.explanations.map(({ sentence }) => sentence), ...worst, ...actions];
}

function ResultRow({ result }: { result: StoredReconciliation }): JSX.Element {
  const lines = remarks(result);
  return (
    <>
      <tr>
        <th scope="row">
          <a href={symbolPath(result.symbol)} safe>
            {result.symbol}
          </a>
        </th>
        <td>
          <Badge condition={CONDITIONS[result.verdict]} word={capital(result.verdict)} />
        </td>
        <td>{result.side === null ? '' : SIDES[result.side]}</td>
        <td class="number" safe>
          {agreement(result)}
        </td>
        <td class="number" safe>
          {oneSided(result)}
        </td>
        <td safe>{result.source}</td>
        <td>
          <Session date={result.startSession} /> to <Session date={result.endSession} />
        </td>
        <td>
          <Time at={result.ts} />
        </td>
      </tr>
      {lines.map((line) => (
        <tr class="reason">
          <td colspan={8} safe>
            {line.slice(0, 500)}
          </td>
        </tr>
      ))}
    </>
  );
}

function Results({ latest }: { latest: StoredReconciliation[] }): JSX.Element {
  return (
    <Scroll labelledby="results">
      <table>
        <thead>
          <tr>
            <th scope="col">Symbol</th>
            <th scope="col">Verdict</th>
            <th scope="col">Who differs</th>
            <th scope="col" class="number">
              Prices that agree
            </th>
            <th scope="col" class="number">
              Only ours / theirs
            </th>
            <th scope="col">Source</th>
            <th scope="col">Sessions</th>
            <th scope="col">Checked</th>
          </tr>
        </thead>
        <tbody>
          {latest.map((result) => (
            <ResultRow result={result} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Says so when there are more than are shown. */
function Shown({ view: { latest, total } }: { view: ReconciliationView }): JSX.Element | null {
  if (latest.length === total) return null;
  const sentence = `The ${count(latest.length)} of ${count(total)} that need attention most.`;
  return (
    <p class="quiet">
      <span safe>{sentence}</span> Any other: <code>/api/v1/reconciliation?symbol=</code>
    </p>
  );
}

function LastRun({ run }: { run: Run | null }): JSX.Element {
  if (!run) {
    return (
      <div class="notice idle">
        <strong>Never</strong> Nothing was compared yet. Compare five symbols with Yahoo:
        <code class="command">marketd reconcile</code>
      </div>
    );
  }
  const condition = { running: 'busy', succeeded: 'good', failed: 'bad', interrupted: 'attention' };
  const sentence = `${count(run.done)} of ${plural(run.total ?? 0, 'symbol')} compared. ${
    run.error ?? ''
  }`;
  return (
    <div class={`notice ${condition[run.state]}`}>
      <strong safe>{capital(run.state)}</strong> <Time at={run.startedAt} />{' '}
      <span safe>{sentence}</span>
    </div>
  );
}

/** Starts a comparison, or says what it takes to start one here. */
function CompareNow({ view }: { view: ReconciliationView }): JSX.Element {
  const { canReconcile, isAsked, isLed } = view;
  if (!canReconcile) {
    return (
      <p class="quiet" id="compare-off">
        To compare from this page and every week, set RECONCILE=yahoo and restart marketd; synthetic
        data has no second source.
      </p>
    );
  }
  if (isAsked) {
    return (
      <p class="quiet" id="compare-asked">
        A comparison is asked for{isLed ? '' : ' and waits for a process that runs jobs'}.{' '}
        <a href={BACKFILL_PATH}>See the queue</a>
      </p>
    );
  }
  return (
    <ActionForm action={COMPARE_PATH} region={REGION} id="compare" class="buttons">
      <button type="submit" class="button primary" id="compare-now">
        Compare now
      </button>
      <span class="hint">A sample of the tracked symbols, as every week.</span>
    </ActionForm>
  );
}

interface RegionProps {
  view: ReconciliationView;
  pollSeconds: number;
}

/** The part of the page that is polled. */
export function ReconciliationRegion({ view, pollSeconds }: RegionProps): JSX.Element {
  const isBusy = view.run?.state === 'running' || (view.isAsked && view.isLed);
  return (
    <Live id={REGION} path={PATH} pollSeconds={pollSeconds} isBusy={isBusy}>
      <LastRun run={view.run} />
      <CompareNow view={view} />
      <h2 id="results">
        Latest results{' '}
        <span class="total" safe>
          {count(view.total)}
        </span>
      </h2>
      <p class="quiet">
        Stored daily bars beside those of a second source, as traded: the latest result of each
        symbol. Bars are never changed by it.
      </p>
      <Shown view={view} />
      {view.latest.length === 0 ? null : <Results latest={view.latest} />}
    </Live>
  );
}

export interface ReconciliationPageProps {
  page: PageProps;
  view: ReconciliationView;
}

/** The whole page; complete without JavaScript. */
export function ReconciliationPage({ page, view }: ReconciliationPageProps): JSX.Element {
  return (
    <Layout page={page} title="Reconciliation" section="quality">
      <PageTitle title="Reconciliation" />
      <QualityTabs current="reconciliation" />
      <ReconciliationRegion view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}
