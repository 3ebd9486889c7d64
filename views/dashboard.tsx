import { Html } from '@elysiajs/html';
import type { WarehouseStatus } from '../src/query/status.ts';
import type { SymbolDetail } from '../src/query/symbols.ts';
import type { Run } from '../src/store/jobs.ts';
import {
  Badge,
  type Condition,
  capital,
  count,
  plural,
  rate,
  StalenessTile,
  symbolPath,
  Text,
  Tile,
} from './elements.tsx';
import { type AssetPaths, Layout, Session, Time } from './layout.tsx';

/** Whether the warehouse is well and, if not, what to do. */
export interface Verdict {
  condition: Condition;
  word: string;
  sentence: string;
  /** What to type, in this order. */
  commands: string[];
}

export interface SymbolView extends SymbolDetail {
  condition: Condition;
  word: string;
  /** Sessions that are published and later than its last bar; null when it has none. */
  sessionsBehind: number | null;
}

export interface DashboardView {
  verdict: Verdict;
  status: WarehouseStatus;
  market: { isOpen: boolean /** Why, or until when. */; note: string };
  /** The database in words. */
  database: string;
  /** The latest session whose bars are published, 'YYYY-MM-DD'. */
  publishedSession: string | null;
  sessionsBehind: number | null;
  scheduler: { status: string; nextRun: Date | null };
  /** Newest first. */
  runs: Run[];
  /** Those that are shown, of `symbolCount`. */
  symbols: SymbolView[];
  symbolCount: number;
  /** How many of all are in which state, most serious first. */
  tally: { word: string; condition: Condition; count: number }[];
}

function Banner({ verdict, isSynthetic }: { verdict: Verdict; isSynthetic: boolean }): JSX.Element {
  return (
    <>
      {isSynthetic ? (
        <p class="notice synthetic">
          <strong>SYNTHETIC DATA</strong> These prices are made up for a demonstration. Nothing here
          was ever traded.
        </p>
      ) : null}
      <div class={`notice ${verdict.condition}`} id="verdict">
        <strong safe>{verdict.word}</strong> <Text text={verdict.sentence} />
        {verdict.commands.map((command) => (
          <code class="command" safe>
            {command}
          </code>
        ))}
      </div>
    </>
  );
}

const SCHEDULER_CONDITION: Record<string, Condition> = {
  running: 'good',
  standby: 'idle',
  stopped: 'attention',
};

const RUN_CONDITION: Record<Run['state'], Condition> = {
  running: 'busy',
  succeeded: 'good',
  failed: 'bad',
  interrupted: 'attention',
};

function LastState({ state }: { state: string | null }): JSX.Element {
  if (state === null) return <Text text="Never" />;
  return <Badge condition={RUN_CONDITION[state as Run['state']]} word={capital(state)} />;
}

function HealthTiles({ view, milliseconds }: FragmentProps): JSX.Element {
  const { status, verdict, scheduler } = view;
  const validated = status.records === 0 ? 0 : (100 * status.validatedRecords) / status.records;
  return (
    <>
      <Tile
        label="System health"
        value={<Badge condition={verdict.condition} word={verdict.word} />}
        note={<Text text={view.database} />}
      />
      <Tile
        label="Validation rate"
        value={<Text text={status.records === 0 ? 'None yet' : rate(validated)} />}
        note={
          <Text text={`${count(status.validatedRecords)} of ${plural(status.records, 'bar')}`} />
        }
      />
      <StalenessTile behind={view.sessionsBehind} published={view.publishedSession} />
      <Tile
        label="API status"
        value={<Badge condition="good" word="Healthy" />}
        note={
          <>
            answered in{' '}
            <span id="response-time" safe>
              {milliseconds} ms
            </span>
          </>
        }
      />
      <Tile
        label="Scheduler"
        value={
          <Badge
            condition={SCHEDULER_CONDITION[scheduler.status] ?? 'idle'}
            word={capital(scheduler.status)}
          />
        }
        note={
          scheduler.nextRun ? (
            <>
              next <Time at={scheduler.nextRun} />
            </>
          ) : (
            <Text text="no run is planned" />
          )
        }
      />
      <Tile
        label="Last backfill"
        value={<LastState state={status.lastBackfillState} />}
        note={status.lastBackfillAt ? <Time at={status.lastBackfillAt} /> : undefined}
      />
    </>
  );
}

function DataTiles({ status, market }: DashboardView): JSX.Element {
  return (
    <>
      <Tile
        label="Market"
        value={
          <Badge
            condition={market.isOpen ? 'good' : 'idle'}
            word={market.isOpen ? 'Open' : 'Closed'}
          />
        }
        note={<Text text={market.note} />}
      />
      <Tile
        label="Symbols loaded"
        value={<Text text={count(status.symbolsAvailable)} />}
        note={<Text text={`${count(status.symbolsTracked)} tracked`} />}
      />
      <Tile
        label="Total records"
        value={<Text text={count(status.records)} />}
        note={<Text text="daily bars" />}
      />
      <Tile
        label="Minutes and hours"
        value={<Text text={count(status.intradayRecords)} />}
        note={<Text text="bars below a day" />}
      />
      <Tile
        label="Trades"
        value={<Text text={count(status.trades)} />}
        note={<Text text="candles are made of them" />}
      />
      <Tile
        label="Latest date"
        value={
          status.latestSession ? <Session date={status.latestSession} /> : <Text text="None yet" />
        }
        note={
          status.firstSession ? (
            <>
              since <Session date={status.firstSession} />
            </>
          ) : undefined
        }
      />
      <Tile
        label="Gaps flagged"
        value={<Text text={count(status.gapsFlagged)} />}
        note={<Text text="open far from last close" />}
      />
      <Tile
        label="Volume anomalies"
        value={<Text text={count(status.volumeAnomalies)} />}
        note={<Text text="spikes and droughts" />}
      />
      <Tile
        label="Excluded bars"
        value={<Text text={count(status.excludedRecords)} />}
        note={<Text text="score below 0.5, kept" />}
      />
    </>
  );
}

/** 41_000 -> '41 s', 125_000 -> '2 min 5 s'. */
function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function Progress({ run }: { run: Run }): JSX.Element {
  const total = run.total ?? 0;
  const text = run.total === null ? count(run.done) : `${count(run.done)} of ${count(total)}`;
  const isRunning = run.state === 'running' && total > 0;
  return (
    <>
      {isRunning ? (
        <progress max={total} value={Math.min(run.done, total)} aria-label="Progress" />
      ) : null}
      <Text text={text} />
    </>
  );
}

function RunRow({ run }: { run: Run }): JSX.Element {
  const took = run.finishedAt ? duration(+run.finishedAt - +run.startedAt) : '';
  return (
    <>
      <tr>
        <td>
          <Badge condition={RUN_CONDITION[run.state]} word={capital(run.state)} />
        </td>
        <td safe>{`${run.job}, ${run.origin}`}</td>
        <td>
          <Time at={run.startedAt} />
        </td>
        <td class="number" safe>
          {took}
        </td>
        <td class="number progress">
          <Progress run={run} />
        </td>
        <td class="number" safe>
          {count(run.inserted)}
        </td>
        <td class="number" safe>
          {count(run.changed)}
        </td>
        <td class="number" safe>
          {count(run.rejected)}
        </td>
      </tr>
      {run.error === null ? null : (
        <tr class="reason">
          <td colspan={8} safe>
            {run.error.slice(0, 300)}
          </td>
        </tr>
      )}
    </>
  );
}

function Runs({ runs }: { runs: Run[] }): JSX.Element {
  return (
    <section aria-labelledby="runs">
      <h2 id="runs">Latest runs</h2>
      {runs.length === 0 ? (
        <p class="quiet">Nothing has run yet.</p>
      ) : (
        <section class="scroll" tabindex="0" aria-labelledby="runs">
          <table>
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Job</th>
                <th scope="col">Started</th>
                <th scope="col" class="number">
                  Took
                </th>
                <th scope="col" class="number">
                  Requests
                </th>
                <th scope="col" class="number">
                  New
                </th>
                <th scope="col" class="number">
                  Changed
                </th>
                <th scope="col" class="number">
                  Rejected
                </th>
              </tr>
            </thead>
            <tbody>
              {runs.map((run) => (
                <RunRow run={run} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </section>
  );
}

function sessionRange({ start_date, end_date }: SymbolView): string {
  return start_date === null ? 'no bars yet' : `${start_date} to ${end_date}`;
}

function behindText({ sessionsBehind }: SymbolView): string {
  return sessionsBehind ? `${plural(sessionsBehind, 'session')} behind` : '';
}

const quality = (symbol: SymbolView) => symbol.average_quality?.toFixed(3) ?? 'none';
const validation = (symbol: SymbolView) =>
  symbol.records === 0 ? 'none' : rate(symbol.validation_rate_pct);

function SymbolLink({ symbol }: { symbol: string }): JSX.Element {
  return (
    <a href={symbolPath(symbol)} safe>
      {symbol}
    </a>
  );
}

function SymbolCard({ symbol }: { symbol: SymbolView }): JSX.Element {
  return (
    <li class={`card ${symbol.condition}`}>
      <div class="head">
        <h3>
          <SymbolLink symbol={symbol.symbol} />
        </h3>
        <Badge condition={symbol.condition} word={symbol.word} />
      </div>
      <p class="name" safe>
        {symbol.name ?? ''}
      </p>
      <dl>
        <div>
          <dt>Records</dt>
          <dd safe>{count(symbol.records)}</dd>
        </div>
        <div>
          <dt>Validated</dt>
          <dd safe>{validation(symbol)}</dd>
        </div>
        <div>
          <dt>Quality</dt>
          <dd safe>{quality(symbol)}</dd>
        </div>
        <div>
          <dt>Gaps</dt>
          <dd safe>{count(symbol.gaps_flagged)}</dd>
        </div>
      </dl>
      <p class="range">
        <span safe>{sessionRange(symbol)}</span> <span safe>{behindText(symbol)}</span>
      </p>
    </li>
  );
}

function SymbolRow({ symbol }: { symbol: SymbolView }): JSX.Element {
  return (
    <tr>
      <th scope="row">
        <SymbolLink symbol={symbol.symbol} />{' '}
        <span class="name" safe>
          {symbol.name ?? ''}
        </span>
      </th>
      <td>
        <Badge condition={symbol.condition} word={symbol.word} />
      </td>
      <td class="number" safe>
        {validation(symbol)}
      </td>
      <td class="number" safe>
        {quality(symbol)}
      </td>
      <td class="number" safe>
        {count(symbol.records)}
      </td>
      <td class="number" safe>
        {count(symbol.gaps_flagged)}
      </td>
      <td class="number" safe>
        {symbol.sessionsBehind === null ? '' : count(symbol.sessionsBehind)}
      </td>
      <td safe>{sessionRange(symbol)}</td>
    </tr>
  );
}

function SymbolTable({ symbols }: { symbols: SymbolView[] }): JSX.Element {
  return (
    <section class="scroll" tabindex="0" aria-labelledby="symbols">
      <table>
        <thead>
          <tr>
            <th scope="col">Symbol</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Validated
            </th>
            <th scope="col" class="number">
              Quality
            </th>
            <th scope="col" class="number">
              Records
            </th>
            <th scope="col" class="number">
              Gaps
            </th>
            <th scope="col" class="number">
              Behind
            </th>
            <th scope="col">Sessions</th>
          </tr>
        </thead>
        <tbody>
          {symbols.map((symbol) => (
            <SymbolRow symbol={symbol} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Symbols({ view }: { view: DashboardView }): JSX.Element {
  const { symbols, symbolCount, tally } = view;
  const isCut = symbols.length < symbolCount;
  return (
    <section aria-labelledby="symbols">
      <h2 id="symbols">
        Symbols <span class="total" safe>{`${count(symbolCount)}`}</span>
      </h2>
      {symbolCount === 0 ? (
        <p class="quiet">None yet.</p>
      ) : (
        <p class="tally">
          {tally.map(({ word, condition, count: held }) => (
            <Badge condition={condition} word={`${count(held)} ${word}`} />
          ))}
        </p>
      )}
      {isCut ? (
        <p class="quiet">
          <span safe>
            {`The ${count(symbols.length)} of ${count(symbolCount)} that need attention most.`}
          </span>{' '}
          All of them: <a href="/api/v1/symbols/detailed">/api/v1/symbols/detailed</a>
        </p>
      ) : null}
      {isCut ? (
        <SymbolTable symbols={symbols} />
      ) : (
        <ul class="cards">
          {symbols.map((symbol) => (
            <SymbolCard symbol={symbol} />
          ))}
        </ul>
      )}
    </section>
  );
}

export interface FragmentProps {
  view: DashboardView;
  /** What the status query took on the server, e.g. '0.42'. */
  milliseconds: string;
}

/** Everything that changes while the page is open. */
export function DashboardFragment({ view, milliseconds }: FragmentProps): JSX.Element {
  return (
    <>
      <Banner verdict={view.verdict} isSynthetic={view.status.isSynthetic} />
      <section aria-label="Overview">
        <dl class="tiles">
          <HealthTiles view={view} milliseconds={milliseconds} />
          <DataTiles {...view} />
        </dl>
      </section>
      <Symbols view={view} />
      <Runs runs={view.runs} />
    </>
  );
}

export interface DashboardPageProps extends FragmentProps {
  assets: AssetPaths;
  version: string;
  now: Date;
  pollSeconds: number;
}

/** The whole page; complete without JavaScript. */
export function DashboardPage(props: DashboardPageProps): JSX.Element {
  const { assets, version, now, pollSeconds, view, milliseconds } = props;
  return (
    <Layout title="marketd" version={version} assets={assets} now={now}>
      <div>
        <main
          id="status"
          hx-get="/dashboard/status"
          hx-trigger={`every ${pollSeconds}s, refresh`}
          hx-swap="innerMorph"
        >
          <DashboardFragment view={view} milliseconds={milliseconds} />
        </main>
        <noscript>
          <p class="quiet">Without JavaScript this page stays as it is until you press Refresh.</p>
        </noscript>
      </div>
    </Layout>
  );
}

export interface AwayPageProps {
  /** The page that was asked for; the dashboard when it is missing. */
  path?: string;
  assets: AssetPaths;
  version: string;
  now: Date;
  reloadSeconds: number;
}

/** What there is to show while the database is away. */
export function AwayPage(props: AwayPageProps): JSX.Element {
  return (
    <Layout title="marketd: the database is away" {...props}>
      <main>
        <div class="notice bad">
          <strong>Unavailable</strong> The database does not answer. marketd reconnects by itself,
          and this page loads again every <span safe>{`${props.reloadSeconds}`}</span> seconds. If
          it lasts, see whether PostgreSQL runs:
          <code class="command">marketd doctor</code>
        </div>
      </main>
    </Layout>
  );
}
