import { Html } from '@elysiajs/html';
import type { SessionState } from '../src/model/absence.ts';
import { type FindingState, findingMessage, isFailureKind } from '../src/model/finding.ts';
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
  StalenessTile,
  symbolPath,
  Text,
  Tile,
} from './elements.tsx';
import { type AssetPaths, Layout, Session, Time } from './layout.tsx';

/** A daily bar, as /api/v1/historical has it. */
export interface BarView {
  time: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  quality_score: number;
  is_final: boolean;
  flags: string[];
}

export interface CoverageView {
  timeframe: string;
  /** 'YYYY-MM-DD', both inclusive. */
  first: string;
  last: string;
  sessions: number;
  /** Only those that occur. */
  totals: { state: SessionState; sessions: number }[];
  /** Ascending. `message` says why a bar is not held. */
  ranges: {
    start: string;
    end: string;
    state: SessionState;
    sessions: number;
    message: string | null;
  }[];
}

export interface RevisionView extends Revision {
  /** In percent; null where that is no number. */
  change: Record<RevisedField, number | null>;
}

/** With the bar that it is about, where that is a daily one. */
export interface FindingView extends Finding {
  bar: BarView | null;
}

export interface SymbolPageView {
  symbol: string;
  instrument: InstrumentDetail;
  /** Dates inclusive; null where the range is open. */
  symbols: { symbol: string; start: string | null; end: string | null }[];
  quality: SymbolQuality;
  /** The latest session whose bars are published. */
  publishedSession: string | null;
  coverage: CoverageView[];
  /** Newest first, of `actionCount`. */
  actions: ActionVersion[];
  actionCount: number;
  revisions: RevisionView[];
  /** Those that nobody has decided about, and the latest of the others. */
  open: FindingView[];
  decided: FindingView[];
  reconciliation: StoredReconciliation | null;
  /** Newest first. */
  bars: BarView[];
}

/** What came of a decision, to be told once. */
export interface Notice {
  condition: Condition;
  text: string;
}

const GRADES: Record<Grade, Condition> = {
  good: 'good',
  fair: 'attention',
  poor: 'bad',
  empty: 'idle',
};

/** 1234.5 -> 1,234.5: all digits that a price has. */
const PRICE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 8 });
const price = (value: number | null) => (value === null ? 'none' : PRICE.format(value));
/** The same with two digits at least, for columns of them. */
const PRICE_CELL = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 8,
});
const words = (name: string) => name.replaceAll('_', ' ');

// ----------------------------------------------------------------------------- head

function Head({ view }: { view: SymbolPageView }): JSX.Element {
  const { instrument, symbols, quality } = view;
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
      </p>
    </div>
  );
}

function describeRange({ symbol, start, end }: SymbolPageView['symbols'][number]): string {
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

// ------------------------------------------------------------------------- coverage

/** Units that the strip is wide. */
const STRIP_WIDTH = 1000;
/** So narrow a hole is still seen. */
const STRIP_WIDTH_MIN = 1.5;
const RANGES_SHOWN = 5;

function Coverage({ view }: { view: SymbolPageView }): JSX.Element {
  return (
    <section aria-labelledby="coverage">
      <h2 id="coverage">Coverage</h2>
      {view.coverage.map((one) => (
        <CoverageOf view={one} symbol={view.symbol} />
      ))}
    </section>
  );
}

interface CoverageProps {
  view: CoverageView;
  symbol: string;
}

function CoverageOf({ view, symbol }: CoverageProps): JSX.Element {
  const { timeframe, first, last, sessions, totals, ranges } = view;
  if (sessions === 0) return <p class="quiet">No session was asked for yet.</p>;
  const absent = ranges.filter(({ state }) => state !== 'complete').reverse();
  return (
    <div class="coverage">
      <p class="range">
        <span>
          <strong safe>{timeframe}</strong> <Session date={first} />
        </span>
        <Session date={last} />
      </p>
      <Strip view={view} />
      <ul class="legend">
        {totals.map(({ state, sessions: held }) => (
          <li>
            <span class={`swatch ${state}`}></span>
            <Text text={`${words(state)}: ${plural(held, 'session')}`} />
          </li>
        ))}
      </ul>
      <ul class="reasons">
        {absent.slice(0, RANGES_SHOWN).map(({ start, end, state, sessions: held, message }) => (
          <li>
            <strong safe>{start === end ? start : `${start} to ${end}`}</strong>{' '}
            <Text text={`${words(state)}, ${plural(held, 'session')}: ${message ?? ''}`} />
          </li>
        ))}
      </ul>
      {absent.length <= RANGES_SHOWN ? null : (
        <p class="quiet">
          <Text text={`The latest ${RANGES_SHOWN} of ${count(absent.length)}. All of them:`} />{' '}
          <ApiLink path={`/api/v1/coverage/${encodeURIComponent(symbol)}?timeframe=${timeframe}`} />
        </p>
      )}
    </div>
  );
}

function Strip({ view }: { view: CoverageView }): JSX.Element {
  const { sessions, ranges, timeframe, totals } = view;
  const unit = STRIP_WIDTH / sessions;
  let at = 0;
  const parts = ranges.map(({ start, end, state, sessions: held }) => {
    const x = at;
    at += held * unit;
    const width = Math.max(held * unit, state === 'complete' ? 0 : STRIP_WIDTH_MIN);
    return { x: Math.min(x, STRIP_WIDTH - width), width, state, start, end };
  });
  // Holes over what is held: a session of five years is less than a pixel.
  parts.sort((a, b) => Number(b.state === 'complete') - Number(a.state === 'complete'));
  const label = totals.map(({ state, sessions: held }) => `${held} ${words(state)}`).join(', ');
  return (
    <svg
      class="strip"
      viewBox={`0 0 ${STRIP_WIDTH} 20`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`Sessions of ${timeframe}: ${label}`}
    >
      {parts.map(({ x, width, state, start, end }) => (
        <rect class={state} x={x.toFixed(2)} y="0" width={width.toFixed(2)} height="20">
          <title safe>{`${start} to ${end}: ${words(state)}`}</title>
        </rect>
      ))}
    </svg>
  );
}

// ------------------------------------------------------------------------- findings

const STATES: Record<FindingState, { condition: Condition; word: string }> = {
  open: { condition: 'attention', word: 'Open' },
  accepted: { condition: 'good', word: 'Accepted' },
  rejected: { condition: 'bad', word: 'Rejected' },
  resolved: { condition: 'idle', word: 'Resolved' },
};

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
          <FindingItem finding={finding} />
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

function FindingItem({ finding }: { finding: FindingView }): JSX.Element {
  const { findingId, kind, state, session, timeframe, ts, bar, note, decidedBy, detail } = finding;
  const when = ts === null ? session : `${ts.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  return (
    <li id={`finding-${findingId}`} class={STATES[state].condition}>
      <p>
        <Badge {...STATES[state]} /> <strong safe>{`${when} ${words(kind)}`}</strong>{' '}
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
      <Decide finding={finding} />
    </li>
  );
}

/** '{"ratio":4,"from":1}' -> 'ratio 4, from 1' */
function describeDetail(detail: object): string {
  return Object.entries(detail)
    .map(
      ([name, value]) =>
        `${words(name)} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
    )
    .join(', ');
}

/** A form that works by itself; with JavaScript the answer takes the place of what is shown. */
function Decide({ finding }: { finding: Finding }): JSX.Element | null {
  const { findingId, state, kind } = finding;
  if (state === 'resolved') return null;
  const action = `/dashboard/findings/${findingId}`;
  const id = `note-${findingId}`;
  const isOpen = state === 'open';
  return (
    <form
      class="decide"
      method="post"
      action={action}
      hx-post={action}
      hx-target="#status"
      hx-swap="innerMorph"
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
    </form>
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
        <section class="scroll" tabindex="0" aria-labelledby="actions">
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
              {actions.map((action) => (
                <ActionRow action={action} />
              ))}
            </tbody>
          </table>
        </section>
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

function ActionRow({ action }: { action: ActionVersion }): JSX.Element {
  const { exDate, kind, subtype, provider, receivedAt, skipped, priceFactor } = action;
  return (
    <tr class={action.withdrawnAt === null ? '' : 'withdrawn'}>
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
        <section class="scroll" tabindex="0" aria-labelledby="revisions">
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
              {revisions.map((revision) => (
                <RevisionRow revision={revision} />
              ))}
            </tbody>
          </table>
        </section>
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

function RevisionRow({ revision }: { revision: RevisionView }): JSX.Element {
  const { timeframe, session, ts, old, trueFrom, replacement, change } = revision;
  const changed = FIELDS.filter((field) => old[field] !== (replacement?.[field] ?? null));
  const when = ts === null ? session : `${ts.toISOString().slice(0, 16).replace('T', ' ')}Z`;
  return (
    <tr>
      <th scope="row" safe>{`${when} ${timeframe}`}</th>
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

// ----------------------------------------------------------------------------- bars

function Bars({ bars }: { bars: BarView[] }): JSX.Element {
  return (
    <section aria-labelledby="bars">
      <h2 id="bars">
        Latest daily bars <span class="total">raw prices</span>
      </h2>
      {bars.length === 0 ? (
        <p class="quiet">None are held.</p>
      ) : (
        <section class="scroll" tabindex="0" aria-labelledby="bars">
          <table>
            <thead>
              <tr>
                <th scope="col">Session</th>
                {['Open', 'High', 'Low', 'Close', 'Volume', 'VWAP', 'Score'].map((name) => (
                  <th scope="col" class="number" safe>
                    {name}
                  </th>
                ))}
                <th scope="col">Flags</th>
              </tr>
            </thead>
            <tbody>
              {bars.map((bar) => (
                <BarRow bar={bar} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </section>
  );
}

function BarRow({ bar }: { bar: BarView }): JSX.Element {
  const { open, high, low, close, volume, vwap, quality_score, flags, is_final } = bar;
  const marks = [...flags.map(words), ...(is_final ? [] : ['not final'])];
  return (
    <tr>
      <th scope="row">
        <Session date={bar.time.slice(0, 10)} />
      </th>
      {[open, high, low, close].map((value) => (
        <td class="number" safe>
          {PRICE_CELL.format(value)}
        </td>
      ))}
      <td class="number" safe>
        {price(volume)}
      </td>
      <td class="number" safe>
        {vwap === null ? '' : PRICE_CELL.format(vwap)}
      </td>
      <td class="number" safe>
        {`${quality_score}`}
      </td>
      <td safe>{marks.join(', ')}</td>
    </tr>
  );
}

// ------------------------------------------------------------------------------ API

function ApiLink({ path }: { path: string }): JSX.Element {
  return (
    <a href={path} safe>
      {path}
    </a>
  );
}

function ApiCalls({ view }: { view: SymbolPageView }): JSX.Element {
  const symbol = encodeURIComponent(view.symbol);
  const { first_session: first, latest_session: latest } = view.quality;
  const calls: [what: string, path: string][] = [
    ['Bars', `/api/v1/historical/${symbol}?start=${first}&end=${latest}&adjustment=all`],
    ['Quality', `/api/v1/quality?symbol=${symbol}`],
    ['Coverage', `/api/v1/coverage/${symbol}`],
    ['Findings', `/api/v1/findings?symbol=${symbol}`],
    ['Splits and dividends', `/api/v1/corporate-actions/${symbol}?withdrawn=true`],
    ['Revisions', `/api/v1/revisions?symbol=${symbol}`],
    ['Reconciliation', `/api/v1/reconciliation?symbol=${symbol}`],
    ['Identity', `/api/v1/instruments/${symbol}`],
  ];
  return (
    <section aria-labelledby="calls">
      <h2 id="calls">The same for programs</h2>
      <ul class="calls">
        {calls
          .filter(([what]) => what !== 'Bars' || first !== null)
          .map(([what, path]) => (
            <li>
              <Text text={what} /> <ApiLink path={path} />
            </li>
          ))}
      </ul>
    </section>
  );
}

// ----------------------------------------------------------------------------- page

export interface FragmentProps {
  view: SymbolPageView;
  notice?: Notice;
}

/** Everything that changes while the page is open. */
export function SymbolFragment({ view, notice }: FragmentProps): JSX.Element {
  const { quality } = view;
  return (
    <>
      {quality.synthetic ? (
        <p class="notice synthetic">
          <strong>SYNTHETIC DATA</strong> These prices are made up for a demonstration. Nothing here
          was ever traded.
        </p>
      ) : null}
      {notice ? (
        <p class={`notice ${notice.condition}`} id="notice" role="status" safe>
          {notice.text}
        </p>
      ) : null}
      <Head view={view} />
      <p class={`notice ${GRADES[quality.grade]}`} id="verdict">
        <strong safe>{capital(quality.grade)}</strong>{' '}
        <Text text={`${capital(quality.verdict)}.`} />
      </p>
      <section aria-label="Quality">
        <QualityTiles view={view} />
      </section>
      <Coverage view={view} />
      <Findings view={view} />
      <Actions view={view} />
      <Revisions view={view} />
      <SecondSource view={view} />
      <Bars bars={view.bars} />
      <ApiCalls view={view} />
    </>
  );
}

interface FrameProps {
  assets: AssetPaths;
  version: string;
  now: Date;
}

export interface SymbolPageProps extends FragmentProps, FrameProps {
  pollSeconds: number;
}

/** The whole page; complete without JavaScript. */
export function SymbolPage(props: SymbolPageProps): JSX.Element {
  const { view, notice, pollSeconds, ...frame } = props;
  const path = symbolPath(view.symbol);
  return (
    <Layout title={`${view.symbol}: marketd`} path={path} {...frame}>
      <main
        id="status"
        hx-get={`${path}/status`}
        hx-trigger={`every ${pollSeconds}s, refresh`}
        hx-swap="innerMorph"
      >
        <SymbolFragment view={view} notice={notice} />
      </main>
    </Layout>
  );
}

/** What there is to show of a symbol that is not known. */
export function UnknownSymbolPage(props: FrameProps & { message: string }): JSX.Element {
  const { message, ...frame } = props;
  return (
    <Layout title="marketd: unknown symbol" isStill {...frame}>
      <main>
        <p class="notice attention">
          <strong>Unknown symbol</strong> <Text text={message} />
        </p>
        <p>
          <a href="/dashboard">All symbols</a>
        </p>
      </main>
    </Layout>
  );
}
