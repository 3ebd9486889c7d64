import { Html } from '@elysiajs/html';
import { findingMessage, isFailureKind } from '../src/model/finding.ts';
import type { Grade } from '../src/model/grade.ts';
import type { ActionVersion } from '../src/query/corporate-actions.ts';
import type { Finding } from '../src/query/findings.ts';
import type { SymbolQuality } from '../src/query/quality.ts';
import type { StoredReconciliation } from '../src/query/reconciliation.ts';
import type { RevisedField, Revision } from '../src/query/revisions.ts';
import type { InstrumentDetail } from '../src/query/symbols.ts';
import {
  Badge,
  type Condition,
  capital,
  count,
  plural,
  rate,
  Scroll,
  StalenessTile,
  symbolPath,
  Text,
  Tile,
} from './elements.tsx';
import { describeDetail, FINDING_STATES, findingTime, words } from './finding.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { withQuery } from './list.tsx';
import { ActionForm, Live } from './live.tsx';
import {
  Bars,
  type BarView,
  Calls,
  Chart,
  type ChartView,
  PRICE,
  switchFields,
  switchPath,
} from './symbol-chart.tsx';
import { Coverage, type CoverageView } from './symbol-coverage.tsx';
import { Session, Time } from './time.tsx';

export interface RevisionView extends Revision {
  /** In percent; null where that is no number. */
  change: Record<RevisedField, number | null>;
}

/** With the bar that it is about, where that is a daily one. */
export interface FindingView extends Finding {
  bar: BarView | null;
}

/** Another instrument that had the symbol, or has it. Dates inclusive; null: the range is open. */
export interface HolderView {
  symbol: string;
  name: string | null;
  start: string | null;
  end: string | null;
}

export interface SymbolPageView {
  symbol: string;
  instrument: InstrumentDetail;
  /** Dates inclusive; null where the range is open. */
  symbols: { symbol: string; start: string | null; end: string | null }[];
  others: HolderView[];
  quality: SymbolQuality;
  /** The latest session whose bars are published. */
  publishedSession: string | null;
  chart: ChartView;
  coverage: CoverageView[];
  /** Newest first, of `actionCount`; those of an asked session before them. */
  actions: ActionVersion[];
  actionCount: number;
  revisions: RevisionView[];
  /** Those that nobody has decided about, and the latest of the others. */
  open: FindingView[];
  decided: FindingView[];
  reconciliation: StoredReconciliation | null;
}

const GRADES: Record<Grade, Condition> = {
  good: 'good',
  fair: 'attention',
  poor: 'bad',
  empty: 'idle',
};

const price = (value: number | null) => (value === null ? 'none' : PRICE.format(value));

// ----------------------------------------------------------------------------- head

function Head({ view }: { view: SymbolPageView }): JSX.Element {
  const { instrument, symbols, quality, chart } = view;
  return (
    <div class="title">
      <h1>
        <span safe>{view.symbol}</span>{' '}
        <span class="name" safe>
          {instrument.name ?? ''}
        </span>
      </h1>
      <p class="facts">
        {instrument.exchange === null ? null : <Text text={`Exchange ${instrument.exchange}`} />}
        <Badge
          condition={instrument.isTracked ? 'good' : 'idle'}
          word={instrument.isTracked ? 'Tracked' : 'Not tracked'}
        />
        {quality.synthetic ? <span class="badge made-up">SYNTHETIC DATA</span> : null}
        {instrument.listedOn === null ? null : (
          <span>
            listed <Session date={instrument.listedOn} />
          </span>
        )}
        {instrument.delistedOn === null ? null : (
          <span>
            delisted <Session date={instrument.delistedOn} />
          </span>
        )}
        {symbols.length < 2 ? null : (
          <span>
            called <Text text={symbols.map(describeRange).join(', ')} />
          </span>
        )}
        {chart.asof === null ? null : (
          <span>
            whoever had the symbol on <Session date={chart.asof} />{' '}
          </span>
        )}
      </p>
      <Holders others={view.others} />
    </div>
  );
}

/** Links to the others that had the symbol, or have it. */
function Holders({ others }: { others: HolderView[] }): JSX.Element | null {
  if (others.length === 0) return null;
  return (
    <ul class="facts holders">
      {others.map((other) => (
        <li>
          <a href={holderPath(other)} safe>
            {describeRange(other)}
          </a>{' '}
          <Text text={other.name ?? 'another instrument'} />
        </li>
      ))}
    </ul>
  );
}

/** The page of whoever had a symbol in a range of dates. */
export const holderPath = ({ symbol, start, end }: Omit<HolderView, 'name'>): string =>
  withQuery(symbolPath(symbol), { asof: end ?? start ?? undefined });

type Named = SymbolPageView['symbols'][number];

function describeRange({ symbol, start, end }: Named): string {
  if (start === null) return end === null ? symbol : `${symbol} until ${end}`;
  return end === null ? `${symbol} since ${start}` : `${symbol} from ${start} to ${end}`;
}

// -------------------------------------------------------------------------- quality

function QualityTiles({ view }: { view: SymbolPageView }): JSX.Element {
  const { quality } = view;
  const { complete, ...absent } = quality.coverage;
  const asked = complete + absent.missing + absent.vendor_empty + absent.unfetched;
  return (
    <dl class="tiles eight">
      <Tile
        label="Quality"
        value={<Badge condition={GRADES[quality.grade]} word={capital(quality.grade)} />}
        note={
          <Text
            text={
              quality.average_quality === null
                ? 'nothing is held'
                : `score ${quality.average_quality.toFixed(4)} on average`
            }
          />
        }
      />
      <Tile
        label="Validation rate"
        value={
          <Text text={quality.records === 0 ? 'None yet' : rate(quality.validation_rate_pct)} />
        }
        note={<Text text={`${count(quality.excluded_records)} excluded, kept`} />}
      />
      <StalenessTile behind={quality.sessions_behind} published={view.publishedSession} />
      <Tile
        label="Coverage"
        value={<Text text={asked === 0 ? 'None yet' : rate((100 * complete) / asked)} />}
        note={<Text text={`${count(complete)} of ${plural(asked, 'session')}`} />}
      />
      <MoreTiles view={view} />
    </dl>
  );
}

function MoreTiles({ view }: { view: SymbolPageView }): JSX.Element {
  const { quality } = view;
  const held = quality.timeframes.map(
    ({ timeframe, records }) => `${count(records)} of ${timeframe}`,
  );
  const { reconciliation } = quality;
  return (
    <>
      <Tile
        label="Bars held"
        value={<Text text={count(quality.records)} />}
        note={<Text text={held.join(', ') || 'none yet'} />}
      />
      <Tile
        label="Findings"
        value={<Text text={count(quality.findings.open)} />}
        note={<Text text="that nobody has decided about" />}
      />
      <Tile
        label="Restated"
        value={<Text text={plural(quality.revisions, 'time')} />}
        note={
          quality.last_revision_at === null ? (
            <Text text="no bar was ever changed" />
          ) : (
            <>
              last <Time at={new Date(quality.last_revision_at)} />
            </>
          )
        }
      />
      <Tile
        label="Second source"
        value={<Comparison verdict={reconciliation?.verdict} />}
        note={
          <Text
            text={
              reconciliation === null
                ? 'was never asked'
                : `${reconciliation.source}, ${reconciliation.checked_at.slice(0, 10)}`
            }
          />
        }
      />
    </>
  );
}

const VERDICTS: Record<StoredReconciliation['verdict'], { condition: Condition; word: string }> = {
  agree: { condition: 'good', word: 'Agrees' },
  near: { condition: 'good', word: 'Is near' },
  differ: { condition: 'attention', word: 'Differs' },
  conflict: { condition: 'bad', word: 'Conflicts' },
  none: { condition: 'idle', word: 'Has nothing' },
  failed: { condition: 'attention', word: 'Failed' },
};

function Comparison({ verdict }: { verdict?: StoredReconciliation['verdict'] }): JSX.Element {
  return verdict === undefined ? <Text text="None yet" /> : <Badge {...VERDICTS[verdict]} />;
}

// ------------------------------------------------------------------------- findings

function Findings({ view }: { view: SymbolPageView }): JSX.Element {
  const { open, decided, quality } = view;
  const total = quality.findings.open;
  return (
    <section aria-labelledby="findings">
      <h2 id="findings">
        Findings <span class="total" safe>{`${count(total)} open`}</span>
      </h2>
      {open.length + decided.length === 0 ? <p class="quiet">Nothing was found.</p> : null}
      <ul class="findings">
        {[...open, ...decided].map((finding) => (
          <FindingItem finding={finding} view={view} />
        ))}
      </ul>
      {open.length < total ? (
        <p class="quiet">
          <Text text={`The newest ${count(open.length)} of ${count(total)}. All of them:`} />{' '}
          <ApiLink path={`/api/v1/findings?symbol=${encodeURIComponent(view.symbol)}`} />
        </p>
      ) : null}
    </section>
  );
}

interface FindingProps {
  finding: FindingView;
  view: SymbolPageView;
}

function FindingItem({ finding, view }: FindingProps): JSX.Element {
  const { findingId, kind, state, timeframe, bar, note, decidedBy, detail } = finding;
  return (
    <li id={`finding-${findingId}`} class={FINDING_STATES[state].condition} tabindex="-1">
      <p>
        <Badge {...FINDING_STATES[state]} />{' '}
        <strong safe>{`${findingTime(finding)} ${words(kind)}`}</strong>{' '}
        <Text
          text={timeframe === '1d' ? findingMessage(kind) : `${timeframe}, ${findingMessage(kind)}`}
        />
      </p>
      {bar === null ? null : (
        <p class="quiet" safe>
          {`open ${price(bar.open)}, high ${price(bar.high)}, low ${price(bar.low)}, close ${price(
            bar.close,
          )}, volume ${price(bar.volume)}; score ${bar.quality_score}`}
        </p>
      )}
      {detail === null ? null : (
        <p class="quiet" safe>
          {describeDetail(detail)}
        </p>
      )}
      {note === null ? null : <blockquote safe>{note}</blockquote>}
      {decidedBy === null || finding.decidedAt === null ? null : (
        <p class="quiet">
          <Text text={`${state} by ${decidedBy},`} /> <Time at={finding.decidedAt} />
        </p>
      )}
      <Decide finding={finding} view={view} />
    </li>
  );
}

function Decide({ finding, view }: FindingProps): JSX.Element | null {
  const { findingId, state, kind, session } = finding;
  if (state === 'resolved') return null;
  const id = `note-${findingId}`;
  const isOpen = state === 'open';
  return (
    <ActionForm
      id={`decide-${findingId}`}
      class="decide"
      label={`Finding of ${session}: ${words(kind)}`}
      action={`/dashboard/findings/${findingId}`}
      region="symbol"
      fields={{ symbol: view.symbol, ...switchFields(view.chart) }}
    >
      <label for={id}>Note</label>
      <input id={id} name="note" type="text" maxlength="1000" autocomplete="off" />
      <button type="submit" class="button" name="decision" value="annotate">
        Keep note
      </button>
      {isOpen && !isFailureKind(kind) ? (
        <button type="submit" class="button" name="decision" value="accept">
          Accept
        </button>
      ) : null}
      {isOpen ? (
        <button type="submit" class="button" name="decision" value="reject">
          Reject
        </button>
      ) : (
        <button type="submit" class="button" name="decision" value="reopen">
          Reopen
        </button>
      )}
    </ActionForm>
  );
}

// -------------------------------------------------------------------------- actions

function Actions({ view }: { view: SymbolPageView }): JSX.Element {
  const { actions, actionCount, symbol } = view;
  const path = `/api/v1/corporate-actions/${encodeURIComponent(symbol)}?withdrawn=true`;
  return (
    <section aria-labelledby="actions">
      <h2 id="actions">
        Splits and dividends <span class="total" safe>{`${count(actionCount)}`}</span>
      </h2>
      {actionCount === 0 ? (
        <p class="quiet">None are known.</p>
      ) : (
        <Scroll labelledby="actions">
          <table>
            <thead>
              <tr>
                <th scope="col">Ex-date</th>
                <th scope="col">What</th>
                <th scope="col">State</th>
                <th scope="col">Provider</th>
                <th scope="col">Known since</th>
                <th scope="col" class="number">
                  Price factor
                </th>
              </tr>
            </thead>
            <tbody>
              {actions.map((action, i) => (
                <ActionRow action={action} id={rowId(actions, i, actionId)} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {actions.length < actionCount ? (
        <p class="quiet">
          <Text text={`The latest ${count(actions.length)}. All of them:`} />{' '}
          <ApiLink path={path} />
        </p>
      ) : null}
    </section>
  );
}

const actionId = ({ kind, exDate }: ActionVersion) => `${kind}-${exDate}`;

/** The id of a row by what it shows; a number behind it where another one shows the same. */
function rowId<T>(rows: readonly T[], index: number, name: (row: T) => string): string {
  const id = name(rows[index]);
  const before = rows.slice(0, index).filter((row) => name(row) === id).length;
  return before === 0 ? id : `${id}-${before + 1}`;
}

function ActionRow({ action, id }: { action: ActionVersion; id: string }): JSX.Element {
  const { exDate, kind, subtype, provider, receivedAt, skipped, priceFactor } = action;
  return (
    <tr id={id} tabindex="-1" class={action.withdrawnAt === null ? undefined : 'withdrawn'}>
      <th scope="row">
        <Session date={exDate} />
      </th>
      <td safe>{describeAction(action)}</td>
      <td>
        <Badge {...actionState(action)} />
      </td>
      <td safe>{subtype === null ? provider : `${provider}, ${words(subtype)}`}</td>
      <td>
        <Time at={receivedAt} />
      </td>
      <td class="number" safe>
        {skipped ?? (kind === 'split' || priceFactor !== 1 ? priceFactor.toPrecision(6) : '')}
      </td>
    </tr>
  );
}

function describeAction({ kind, splitFrom, splitTo, cashAmount, currency }: ActionVersion): string {
  if (kind === 'split') return `Split ${price(splitTo)} for ${price(splitFrom)}`;
  return `Dividend ${price(cashAmount)} ${currency ?? ''}`.trimEnd();
}

function actionState(action: ActionVersion): { condition: Condition; word: string } {
  if (action.withdrawnAt !== null) {
    return { condition: 'idle', word: action.isReplaced ? 'Replaced' : 'Withdrawn' };
  }
  if (action.missingAt !== null) return { condition: 'attention', word: 'Doubted' };
  if (action.skipped !== null) return { condition: 'attention', word: 'Not applied' };
  return action.isApplied
    ? { condition: 'good', word: 'Applied' }
    : { condition: 'idle', word: 'Told twice' };
}

// ------------------------------------------------------------------------ revisions

function Revisions({ view }: { view: SymbolPageView }): JSX.Element {
  const { revisions, symbol } = view;
  return (
    <section aria-labelledby="revisions">
      <h2 id="revisions">What was restated</h2>
      {revisions.length === 0 ? (
        <p class="quiet">No bar was ever changed.</p>
      ) : (
        <Scroll labelledby="revisions">
          <table>
            <thead>
              <tr>
                <th scope="col">Bar</th>
                <th scope="col">Was so from</th>
                <th scope="col">Until</th>
                <th scope="col">What changed</th>
                <th scope="col">Provider</th>
              </tr>
            </thead>
            <tbody>
              {revisions.map((revision, i) => (
                <RevisionRow revision={revision} id={rowId(revisions, i, revisionId)} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {revisions.length < view.quality.revisions ? (
        <p class="quiet">
          The latest. All of them:{' '}
          <ApiLink path={`/api/v1/revisions?symbol=${encodeURIComponent(symbol)}`} />
        </p>
      ) : null}
    </section>
  );
}

const FIELDS = ['open', 'high', 'low', 'close', 'volume', 'vwap'] as const;

const revisionId = ({ timeframe, session }: RevisionView) => `revision-${timeframe}-${session}`;

function RevisionRow({ revision, id }: { revision: RevisionView; id: string }): JSX.Element {
  const { timeframe, old, trueFrom, replacement, change } = revision;
  const changed = FIELDS.filter((field) => old[field] !== (replacement?.[field] ?? null));
  return (
    <tr id={id} tabindex="-1">
      <th scope="row" safe>{`${findingTime(revision)} ${timeframe}`}</th>
      <td>
        <Time at={trueFrom} />
      </td>
      <td>
        <Time at={old.replacedAt} />
      </td>
      <td class="changes">
        {replacement === null ? (
          <Text text="the bar is gone" />
        ) : (
          changed.map((field) => (
            <span class="change">
              <Text text={field} /> <s safe>{price(old[field])}</s>{' '}
              <strong safe>{price(replacement[field])}</strong>{' '}
              <Text text={signed(change[field])} />
            </span>
          ))
        )}
      </td>
      <td safe>{replacement?.provider ?? old.provider}</td>
    </tr>
  );
}

/** 0.0513 -> '+0.0513 %'; '' where there is nothing to say. */
function signed(percent: number | null): string {
  if (percent === null) return '';
  return `${percent > 0 ? '+' : percent < 0 ? '\u2212' : '±'}${Math.abs(percent)} %`;
}

// ------------------------------------------------------------------- reconciliation

function SecondSource({ view }: { view: SymbolPageView }): JSX.Element {
  const { reconciliation: found } = view;
  return (
    <section aria-labelledby="second-source">
      <h2 id="second-source">Second source</h2>
      {found === null ? (
        <>
          <p class="quiet">Nothing was compared yet. Compare with:</p>
          <code class="command" safe>{`marketd reconcile --symbols ${view.symbol}`}</code>
        </>
      ) : (
        <ComparisonDetail found={found} />
      )}
    </section>
  );
}

function ComparisonDetail({ found: stored }: { found: StoredReconciliation }): JSX.Element {
  const { source, ts, startSession, endSession, compared, verdict, found, error } = stored;
  return (
    <>
      <p>
        <Badge {...VERDICTS[verdict]} /> <Text text={source} />, <Time at={ts} />:{' '}
        <Text text={`${plural(compared, 'session')}, ${startSession} to ${endSession}`} />
        {error === null ? null : <Text text={`: ${error}`} />}
      </p>
      {found === null ? null : (
        <ul class="reasons">
          {found.explanations.map(({ sentence }) => (
            <li safe>{sentence}</li>
          ))}
          {found.worst.slice(0, 5).map(({ session, field, ours, theirs, why }) => (
            <li>
              <strong safe>{`${session} ${field}`}</strong>{' '}
              <Text text={`ours ${price(ours)}, theirs ${price(theirs)}: ${why}`} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

// ----------------------------------------------------------------------------- page

function ApiLink({ path }: { path: string }): JSX.Element {
  return (
    <a href={path} safe>
      {path}
    </a>
  );
}

export interface SymbolProps {
  view: SymbolPageView;
  /** Of this server, as the browser calls it: 'http://127.0.0.1:8000'. */
  origin: string;
}

/** Everything that changes while the page is open. */
export function SymbolLive(props: SymbolProps & { pollSeconds: number }): JSX.Element {
  const { view, origin, pollSeconds } = props;
  const { quality, chart, symbol } = view;
  const suffix = chart.asof === null ? '' : `&asof=${chart.asof}`;
  return (
    <Live id="symbol" path={switchPath(symbol, chart)} pollSeconds={pollSeconds}>
      {quality.synthetic ? (
        <p class="notice synthetic">
          <strong>SYNTHETIC DATA</strong> These prices are made up for a demonstration. Nothing here
          was ever traded.
        </p>
      ) : null}
      <Head view={view} />
      <p class={`notice ${GRADES[quality.grade]}`} id="verdict">
        <strong safe>{capital(quality.grade)}</strong>{' '}
        <Text text={`${capital(quality.verdict)}.`} />
      </p>
      <Chart symbol={symbol} chart={chart} />
      <section aria-label="Quality">
        <QualityTiles view={view} />
      </section>
      <Coverage coverage={view.coverage} symbol={symbol} suffix={suffix} />
      <Findings view={view} />
      <Actions view={view} />
      <Revisions view={view} />
      <SecondSource view={view} />
      <Bars symbol={symbol} chart={chart} />
      <Calls symbol={symbol} chart={chart} origin={origin} />
    </Live>
  );
}

/** The whole page; complete without JavaScript. */
export function SymbolPage({ page, ...shown }: SymbolProps & { page: PageProps }): JSX.Element {
  const { assets, pollSeconds } = page;
  return (
    <Layout
      page={page}
      title={shown.view.symbol}
      section="symbols"
      scripts={[assets.chartLibrary, assets.chart]}
    >
      <SymbolLive {...shown} pollSeconds={pollSeconds} />
    </Layout>
  );
}

export interface UnknownSymbolProps {
  page: PageProps;
  /** What is wrong, and what to ask for instead. */
  message: string;
  /** What the page says in short: 'Unknown symbol'. */
  title: string;
  /** Those who had the symbol at another time. */
  holders: HolderView[];
}

/** What there is to show of a symbol that is not known, or of switches that there are not. */
export function UnknownSymbolPage(props: UnknownSymbolProps): JSX.Element {
  const { page, title, message, holders } = props;
  return (
    <Layout page={page} title={title} section="symbols">
      <PageTitle title={title} />
      <p class="notice attention" safe>
        {message}
      </p>
      <Holders others={holders} />
      <p>
        <a href="/dashboard/symbols">All symbols</a>
      </p>
    </Layout>
  );
}
