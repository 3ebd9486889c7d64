import { Html } from '@elysiajs/html';
import { type Decision, findingMessage, isFailureKind } from '../src/model/finding.ts';
import type { BarFigures, FindingTally, ReviewBars, ReviewFinding } from '../src/query/review.ts';
import { attributeText, Badge, count, plural, symbolPath, Text } from './elements.tsx';
import { describeDetail, FINDING_STATES, findingName, findingTime, words } from './finding.tsx';
import { Layout, type PageProps, PageTitle, Time } from './layout.tsx';
import { Empty, withQuery } from './list.tsx';
import { ActionForm, FilterForm, Live, LiveLink } from './live.tsx';

/** The review queue: findings with what they are to be judged by, and decisions about them. */

const PATH = '/dashboard/quality';
const REGION = 'queue';

// ----------------------------------------------------------------- parts of the section

type Part = 'review' | 'report' | 'reconciliation' | 'audit';

const PARTS: readonly { part: Part; href: string; label: string }[] = [
  { part: 'review', href: PATH, label: 'Review queue' },
  { part: 'report', href: `${PATH}/report`, label: 'Report' },
  { part: 'reconciliation', href: '/dashboard/reconciliation', label: 'Reconciliation' },
  { part: 'audit', href: `${PATH}/audit`, label: 'Audit log' },
];

/** Between the pages of quality. */
export function QualityTabs({ current }: { current: Part }): JSX.Element {
  return (
    <nav aria-label="Quality">
      <ul class="tabs">
        {PARTS.map(({ part, href, label }) => (
          <li>
            <a href={href} aria-current={part === current ? 'page' : undefined} safe>
              {label}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

// ------------------------------------------------------------------------------ the view

/** What is shown, as the address of the page says it; '' is what is not said. */
export interface ReviewAddress {
  state: string;
  kind: string;
  symbol: string;
  timeframe: string;
  start: string;
  end: string;
  order: string;
  /** The finding, as a cursor, behind which the page begins, or before which it ends. */
  after: string;
  before: string;
}

/** The same page otherwise; from its beginning on unless a place is given. */
export const reviewPath = (address: ReviewAddress, changes: Partial<ReviewAddress> = {}): string =>
  withQuery(PATH, { ...address, after: '', before: '', ...changes });

export interface ReviewItem {
  finding: ReviewFinding;
  bars: ReviewBars;
}

export interface ReviewView {
  address: ReviewAddress;
  /** Why there is nothing to look for: a symbol that nobody has, a range that ends too early. */
  problem: string | null;
  items: ReviewItem[];
  /** Cursors of the pages around it. */
  previous: string | null;
  next: string | null;
  /** How many the filter finds; null when those are more than are counted. */
  total: number | null;
  /** The most that one step decides. */
  decidable: number;
  /** Of all findings, or of those of the symbol asked for. */
  tallies: FindingTally[];
  lastDecision: { at: Date; actor: string } | null;
}

/** What somebody had filled in when it was refused. */
export interface Filled {
  findingIds: ReadonlySet<number>;
  note: string;
}

// ------------------------------------------------------------------------------- filters

const STATES = ['open', 'accepted', 'rejected', 'resolved', 'all'] as const;

function Tab(props: { href: string; isCurrent: boolean; text: string; total: number }) {
  return (
    <li>
      <a href={props.href} aria-current={props.isCurrent ? 'true' : undefined}>
        <Text text={props.text} />{' '}
        <span class="total" safe>
          {count(props.total)}
        </span>
      </a>
    </li>
  );
}

/** States and kinds with how many there are of each: links, as they also change the form. */
function Tallies({ view }: { view: ReviewView }): JSX.Element {
  const { address, tallies } = view;
  const sum = (isMeant: (tally: FindingTally) => boolean) =>
    tallies.filter(isMeant).reduce((total, tally) => total + tally.count, 0);
  const isOfKind = ({ kind }: FindingTally) => address.kind === '' || kind === address.kind;
  const isInState = ({ state }: FindingTally) =>
    address.state === 'all' || state === (address.state || 'open');
  const kinds = [...new Set(tallies.filter(isInState).map(({ kind }) => kind))];
  if (address.kind !== '' && !kinds.includes(address.kind)) kinds.push(address.kind);
  return (
    <>
      <nav aria-label="State">
        <ul class="tabs">
          {STATES.map((state) => (
            <Tab
              href={reviewPath(address, { state: state === 'open' ? '' : state })}
              isCurrent={(address.state || 'open') === state}
              text={state === 'all' ? 'All' : FINDING_STATES[state].word}
              total={sum((one) => isOfKind(one) && (state === 'all' || one.state === state))}
            />
          ))}
        </ul>
      </nav>
      <nav aria-label="Kind">
        <ul class="tabs">
          <Tab
            href={reviewPath(address, { kind: '' })}
            isCurrent={address.kind === ''}
            text="Every kind"
            total={sum(isInState)}
          />
          {kinds.map((kind) => (
            <Tab
              href={reviewPath(address, { kind })}
              isCurrent={address.kind === kind}
              text={words(kind)}
              total={sum((one) => one.kind === kind && isInState(one))}
            />
          ))}
        </ul>
      </nav>
    </>
  );
}

interface SelectProps {
  name: string;
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
}

function Select({ name, label, value, options }: SelectProps): JSX.Element {
  return (
    <div class="field">
      <label for={`filter-${name}`} safe>
        {label}
      </label>
      <select id={`filter-${name}`} name={name}>
        {options.map(([one, text]) => (
          <option value={one} selected={one === value} safe>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

function Filter({ address }: { address: ReviewAddress }): JSX.Element {
  const { symbol, timeframe, start, end, order, state, kind } = address;
  const timeframes = [
    ['', 'All'],
    ['1d', '1d'],
    ['1h', '1h'],
    ['1m', '1m'],
  ] as const;
  const orders = [
    ['', 'Newest session'],
    ['serious', 'Most serious'],
  ] as const;
  return (
    <FilterForm action={PATH} region={REGION} kept={{ state, kind }} label="Filter findings">
      <div class="field">
        <label for="filter-symbol">Symbol</label>
        <input
          id="filter-symbol"
          name="symbol"
          type="search"
          value={attributeText(symbol)}
          maxlength="32"
          size="10"
          autocomplete="off"
          spellcheck="false"
        />
      </div>
      <Select name="timeframe" label="Timeframe" value={timeframe} options={timeframes} />
      <div class="field">
        <label for="filter-start">First session</label>
        <input id="filter-start" name="start" type="date" value={start} />
      </div>
      <div class="field">
        <label for="filter-end">Last session</label>
        <input id="filter-end" name="end" type="date" value={end} />
      </div>
      <Select name="order" label="Order" value={order} options={orders} />
    </FilterForm>
  );
}

// --------------------------------------------------------------------------- deciding

const DECISION_WORDS: Record<Decision, string> = {
  annotate: 'Keep note',
  accept: 'Accept',
  reject: 'Reject',
  reopen: 'Reopen',
};

/** What can be decided about findings in a state; the first of it is what Enter does. */
const CHOICES: Record<string, readonly Decision[]> = {
  open: ['annotate', 'accept', 'reject'],
  accepted: ['annotate', 'reject', 'reopen'],
  rejected: ['annotate', 'accept', 'reopen'],
  resolved: ['annotate'],
  all: ['annotate', 'accept', 'reject', 'reopen'],
};

function DecisionButtons({ choices }: { choices: readonly Decision[] }): JSX.Element {
  return (
    <>
      {choices.map((decision) => (
        <button type="submit" class="button" name="decision" value={decision} safe>
          {DECISION_WORDS[decision]}
        </button>
      ))}
    </>
  );
}

/** "All that match": a box that says how many those are, where they are more than are shown. */
function AllMatching({ view }: { view: ReviewView }): JSX.Element | null {
  const { items, total, decidable } = view;
  if (total !== null && total <= items.length) return null;
  if (total === null || total > decidable) {
    const sentence = `At most ${count(decidable)} are decided at once: narrow the filter for all.`;
    return (
      <span class="quiet" safe>
        {sentence}
      </span>
    );
  }
  // Its name holds the number: when that changes the box goes, and with it a check for the old one.
  const id = `matching-${total}`;
  return (
    <label for={id}>
      <input id={id} type="checkbox" name="matching" value={`${total}`} />
      <Text text={`All ${count(total)} that match`} />
    </label>
  );
}

/** One form for all that is selected; the boxes of the list belong to it. */
function Bulk({ view, filled }: { view: ReviewView; filled?: Filled }): JSX.Element {
  const { address } = view;
  return (
    <ActionForm
      id="bulk"
      action={`${PATH}/decide${reviewPath(address, address).slice(PATH.length)}`}
      region={REGION}
      class="bulk"
      label="Decide about what is selected"
    >
      <label for="select-all" class="select-all">
        <input id="select-all" type="checkbox" data-selects="finding" data-counts="selected" />
        Select all on this page
      </label>
      <span id="selected" class="quiet scripted" role="status">
        0 selected
      </span>
      <AllMatching view={view} />
      <label for="bulk-note">Note</label>
      <input
        id="bulk-note"
        name="note"
        type="text"
        value={attributeText(filled?.note ?? '')}
        maxlength="1000"
        autocomplete="off"
      />
      <DecisionButtons choices={CHOICES[address.state || 'open'] ?? []} />
    </ActionForm>
  );
}

function DecideOne({ view, finding }: { view: ReviewView; finding: ReviewFinding }): JSX.Element {
  const { findingId, state, kind } = finding;
  const { address } = view;
  const id = `note-${findingId}`;
  const isPossible = (one: Decision) => one !== 'accept' || !isFailureKind(kind);
  return (
    <ActionForm
      id={`decide-${findingId}`}
      action={`${PATH}/decide${reviewPath(address, address).slice(PATH.length)}`}
      region={REGION}
      class="decide"
      label={`Decide about ${findingName(finding)}`}
      fields={{ finding: `${findingId}` }}
    >
      <label for={id}>Note</label>
      <input id={id} name="note" type="text" maxlength="1000" autocomplete="off" />
      <DecisionButtons choices={(CHOICES[state] ?? []).filter(isPossible)} />
    </ActionForm>
  );
}

// ------------------------------------------------------------------------------ the list

/** Two decimals as prices have them; more of what is below one. */
const PRICE = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 4,
});
const SMALL_PRICE = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 6 });
const CHANGE = new Intl.NumberFormat('en-US', {
  maximumFractionDigits: 1,
  signDisplay: 'exceptZero',
});
const MULTIPLE = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 2 });

const [OPEN, HIGH, LOW, CLOSE, VOLUME] = [0, 1, 2, 3, 4] as const;
const price = (value: number | undefined) =>
  value === undefined ? '' : (Math.abs(value) >= 1 ? PRICE : SMALL_PRICE).format(value);

/** '+14.1 %'; '' where nothing can be said. */
const change = (from: number | undefined, to: number): string =>
  from === undefined || from <= 0
    ? ''
    : `${CHANGE.format((to / from - 1) * 100).replace('-', '\u2212')} %`;

/** A volume against the mean of those around it: '×31'; '' where there are none. */
function multiple(volume: number, around: readonly BarFigures[]): string {
  const sum = around.reduce((total, bar) => total + bar[VOLUME], 0);
  return sum <= 0 ? '' : `×${MULTIPLE.format(volume / (sum / around.length))}`;
}

function Figure(props: { label: string; value: string; note?: string }): JSX.Element {
  return (
    <div>
      <dt safe>{props.label}</dt>
      <dd>
        <Text text={props.value} />
        {props.note ? (
          <span class="note" safe>
            {props.note}
          </span>
        ) : null}
      </dd>
    </div>
  );
}

/** The bar and the closes beside it. */
function Figures({ bars }: { bars: ReviewBars }): JSX.Element {
  const { bar, score, before, after } = bars;
  if (bar === null) return <p class="quiet">There is no bar where this was found.</p>;
  const last = before.at(-1)?.[CLOSE];
  const next = after[0]?.[CLOSE];
  return (
    <dl class="figures">
      <Figure label="Close before" value={price(last)} />
      <Figure label="Open" value={price(bar[OPEN])} note={change(last, bar[OPEN])} />
      <Figure label="High" value={price(bar[HIGH])} />
      <Figure label="Low" value={price(bar[LOW])} />
      <Figure label="Close" value={price(bar[CLOSE])} note={change(bar[OPEN], bar[CLOSE])} />
      <Figure
        label="Close after"
        value={price(next)}
        note={next === undefined ? '' : change(bar[CLOSE], next)}
      />
      <Figure
        label="Volume"
        value={count(bar[VOLUME])}
        note={multiple(bar[VOLUME], [...before, ...after])}
      />
      <Figure label="Score" value={`${score ?? ''}`} />
    </dl>
  );
}

const [WIDTH, PRICE_HEIGHT, HEIGHT, SLOTS, BODY] = [132, 40, 56, 11, 6];

/** Paths of candles and volumes around a finding; its own bar stands in the middle. */
function Candles({ bars }: { bars: ReviewBars }): JSX.Element | null {
  const { bar, before, after } = bars;
  if (bar === null) return null;
  const all = [...before, bar, ...after];
  const prices = all.flatMap((one) => one.slice(OPEN, VOLUME));
  const [top, bottom] = [Math.max(...prices), Math.min(...prices)];
  const volumes = Math.max(...all.map((one) => one[VOLUME]), 1);
  const y = (price: number) => {
    const share = top === bottom ? 0.5 : (top - price) / (top - bottom);
    return Math.round(10 * (1 + share * (PRICE_HEIGHT - 2))) / 10;
  };
  const drawAt = (one: BarFigures, slot: number) => {
    const x = (slot + 0.5) * (WIDTH / SLOTS);
    const [upper, lower] = [Math.max(one[OPEN], one[CLOSE]), Math.min(one[OPEN], one[CLOSE])];
    const height = Math.max(1, y(lower) - y(upper));
    const tall = Math.max(0, Math.round((12 * one[VOLUME]) / volumes));
    const box = (at: number, size: number) =>
      `M${x - BODY / 2} ${at}h${BODY}v${Math.round(10 * size) / 10}h-${BODY}z`;
    const wick = `M${x - 0.5} ${y(Math.max(...one.slice(OPEN, VOLUME)))}h1V${y(
      Math.min(...one.slice(OPEN, VOLUME)),
    )}h-1z`;
    return { price: box(y(upper), height) + wick, volume: box(HEIGHT - tall, tall) };
  };
  const begin = (SLOTS - 1) / 2 - before.length;
  const drawn = all.map((one, i) => drawAt(one, begin + i));
  const own = drawn[before.length];
  const others = drawn.filter((one) => one !== own);
  const path = (parts: typeof drawn, name: 'price' | 'volume') =>
    parts.map((part) => part[name]).join('');
  return (
    <svg class="candles" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <path class="around" d={path(others, 'price')} />
      <path class="volume" d={path(others, 'volume')} />
      {own ? <path class="own" d={own.price + own.volume} /> : null}
    </svg>
  );
}

function Item({ view, item, filled }: ItemProps): JSX.Element {
  const { finding, bars } = item;
  const { findingId, symbol, timeframe, kind, state, detail, note, decidedBy, decidedAt } = finding;
  return (
    <li id={`finding-${findingId}`} class={FINDING_STATES[state].condition}>
      <input
        id={`pick-${findingId}`}
        class="pick"
        type="checkbox"
        name="finding"
        value={`${findingId}`}
        form="bulk"
        checked={filled?.findingIds.has(findingId)}
        aria-label={`Select ${findingName(finding)}`}
      />
      <div class="what">
        <p>
          <a href={`${symbolPath(symbol)}#finding-${findingId}`} safe>
            {symbol}
          </a>{' '}
          <strong safe>{findingTime(finding)}</strong>
          {timeframe === '1d' ? null : <Text text={` ${timeframe}`} />}{' '}
          {view.address.state === '' ? null : <Badge {...FINDING_STATES[state]} />}
        </p>
        <p>
          <strong safe>{words(kind)}</strong>: <Text text={findingMessage(kind)} />
        </p>
        {detail === null ? null : (
          <p class="quiet" safe>
            {describeDetail(detail)}
          </p>
        )}
        {note === null ? null : <blockquote safe>{note}</blockquote>}
        {decidedBy === null || decidedAt === null ? null : (
          <p class="quiet">
            <Text text={`${state} by ${decidedBy},`} /> <Time at={decidedAt} />
          </p>
        )}
      </div>
      <Candles bars={bars} />
      <div class="judge">
        <Figures bars={bars} />
        <DecideOne view={view} finding={finding} />
      </div>
    </li>
  );
}

interface ItemProps {
  view: ReviewView;
  item: ReviewItem;
  filled?: Filled;
}

function LastDecision({ view: { lastDecision } }: { view: ReviewView }): JSX.Element {
  if (lastDecision === null) return <p>Nobody has decided about a finding yet.</p>;
  return (
    <p>
      The last decision was <Time at={lastDecision.at} />,{' '}
      <Text text={`by ${lastDecision.actor}.`} /> <a href={`${PATH}/audit`}>Audit log</a>
    </p>
  );
}

function Nothing({ view }: { view: ReviewView }): JSX.Element {
  const { address, problem, total } = view;
  if (problem !== null) {
    return (
      <Empty title="Nothing can match this filter">
        <p safe>{problem}</p>
      </Empty>
    );
  }
  if (total !== 0) {
    return (
      <Empty title="Nothing is left on this page">
        <p>
          <LiveLink href={reviewPath(address)} region={REGION}>
            Back to the first page
          </LiveLink>
        </p>
      </Empty>
    );
  }
  const isFiltered = [address.kind, address.symbol, address.timeframe, address.start, address.end];
  if (isFiltered.some((text) => text !== '')) {
    return (
      <Empty title="No finding matches this filter">
        <p>
          <a
            href={reviewPath(address, { kind: '', symbol: '', timeframe: '', start: '', end: '' })}
          >
            Show all of this state
          </a>
        </p>
      </Empty>
    );
  }
  const isOpen = address.state === '';
  return (
    <Empty title={isOpen ? 'Nothing to review' : 'There are no such findings'}>
      {isOpen ? <p>A bar that does not pass a rule will be listed here.</p> : null}
      <LastDecision view={view} />
    </Empty>
  );
}

function ReviewPager({ view }: { view: ReviewView }): JSX.Element {
  const { address, previous, next, total, items, decidable } = view;
  const link = (text: string, label: string, changes: Partial<ReviewAddress> | null) =>
    changes === null ? (
      <span class="button off" aria-hidden="true" safe>
        {text}
      </span>
    ) : (
      <LiveLink href={reviewPath(address, changes)} region={REGION} class="button" label={label}>
        <span safe>{text}</span>
      </LiveLink>
    );
  const all = total === null ? `more than ${count(decidable)} findings` : plural(total, 'finding');
  const hasPages = previous !== null || next !== null;
  return (
    <nav class="pager" aria-label="Pages of findings">
      <span safe>{items.length === total ? all : `${count(items.length)} of ${all}`}</span>
      {hasPages ? (
        <>
          {link('« First', 'First page', previous === null ? null : {})}
          {link('‹ Previous', 'Previous page', previous === null ? null : { before: previous })}
          {link('Next ›', 'Next page', next === null ? null : { after: next })}
        </>
      ) : null}
    </nav>
  );
}

// ------------------------------------------------------------------------------- the page

interface RegionProps {
  view: ReviewView;
  pollSeconds: number;
  filled?: Filled;
}

/** The part of the page that is polled. */
export function ReviewRegion({ view, pollSeconds, filled }: RegionProps): JSX.Element {
  const { address, items } = view;
  return (
    <Live id={REGION} path={reviewPath(address, address)} pollSeconds={pollSeconds}>
      <Tallies view={view} />
      {items.length === 0 ? (
        <Nothing view={view} />
      ) : (
        <>
          <Bulk view={view} filled={filled} />
          <ul class="queue">
            {items.map((item) => (
              <Item view={view} item={item} filled={filled} />
            ))}
          </ul>
          <ReviewPager view={view} />
        </>
      )}
    </Live>
  );
}

export interface ReviewPageProps {
  page: PageProps;
  view: ReviewView;
  filled?: Filled;
}

/** The whole page; complete without JavaScript. */
export function ReviewPage({ page, view, filled }: ReviewPageProps): JSX.Element {
  return (
    <Layout page={page} title="Review queue" section="quality">
      <PageTitle title="Review queue" />
      <QualityTabs current="review" />
      <Filter address={view.address} />
      <ReviewRegion view={view} pollSeconds={page.pollSeconds} filled={filled} />
    </Layout>
  );
}
