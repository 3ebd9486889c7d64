import { Html } from '@elysiajs/html';
import type { SymbolState } from '../src/model/symbol-state.ts';
import type { OverviewSymbol, OverviewTotals, StateFilter } from '../src/query/overview.ts';
import type { Closes } from '../src/query/sparklines.ts';
import type { WarehouseStatus } from '../src/query/status.ts';
import type { Run } from '../src/store/jobs.ts';
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
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { Empty, type ListState, Pager, SortHeader, withQuery } from './list.tsx';
import { ActionForm, FilterForm, Live, LiveLink } from './live.tsx';
import { RUN_CONDITION, Runs } from './runs.tsx';
import { Sparkline } from './sparkline.tsx';
import { SYMBOL_STATE_WORDS, SymbolStateBadge } from './symbol-state.tsx';
import { Session, Time } from './time.tsx';

/** The overview: how the warehouse is and what to do about it, at a glance, and every symbol. */

export const OVERVIEW_PATH = '/dashboard';
export const CATCH_UP_PATH = '/dashboard/catch-up';
const REGION = 'overview';

/** Something to be said of the warehouse, and what mends it. */
export interface Situation {
  condition: Condition;
  word: string;
  /** What it is, and what to do about it. */
  sentence: string;
  /** Where it is looked at or mended. */
  link?: { href: string; label: string };
  /** A backfill of everything mends it. */
  canBackfill?: boolean;
  /** The same from a shell, in this order. */
  commands?: readonly string[];
}

export interface SymbolRow {
  symbol: OverviewSymbol;
  /** Undefined when there is none. */
  closes?: Closes;
  /** Of the last close beside the one before, as a fraction. */
  change: number | null;
}

/** What the list shows, as its address says it. */
export interface SymbolListState extends ListState {
  state?: StateFilter;
}

export interface SymbolListView {
  asked: SymbolListState;
  rows: readonly SymbolRow[];
  page: number;
  pages: number;
  /** That the filter lets through. */
  total: number;
}

export interface OverviewView {
  verdict: Situation;
  /** Everything else that wants attention, worst first. */
  attention: readonly Situation[];
  status: WarehouseStatus;
  totals: OverviewTotals;
  market: { isOpen: boolean /** Why, or until when. */; note: string };
  database: { edition: string; bytes: number };
  /** The latest session whose bars are published, 'YYYY-MM-DD'. */
  publishedSession: string | null;
  sessionsBehind: number | null;
  scheduler: { status: string; nextRun: Date | null };
  /** Whether a backfill can be started here. */
  canBackfill: boolean;
  /** Newest first. */
  runs: readonly Run[];
  isBusy: boolean;
  list: SymbolListView;
}

export interface OverviewProps {
  view: OverviewView;
  page: Pick<PageProps, 'now' | 'pollSeconds'>;
  /** What the answer took on the server, e.g. '0.42'. */
  milliseconds: string;
}

// ------------------------------------------------------------------------------- addresses

/** What of the list differs from what it shows when nothing is said. */
function listQuery({ sort, direction, page, q, state }: SymbolListState) {
  const isUsual = sort === 'state' && direction === 'asc';
  return {
    sort: isUsual ? undefined : sort,
    dir: isUsual ? undefined : direction,
    page: page === 1 ? undefined : page,
    q,
    state,
  };
}

export const overviewPath = (asked: SymbolListState) => withQuery(OVERVIEW_PATH, listQuery(asked));

/** The same as the fields of a form. */
const listFields = (asked: SymbolListState) =>
  Object.fromEntries(
    Object.entries(listQuery(asked)).map(([name, value]) => [name, value ? `${value}` : undefined]),
  );

// ----------------------------------------------------------------------------------- banner

function CatchUp({ asked, isPrimary }: { asked: SymbolListState; isPrimary?: boolean }) {
  return (
    <ActionForm action={CATCH_UP_PATH} region={REGION} fields={listFields(asked)}>
      <button type="submit" class={isPrimary ? 'button primary' : 'link'}>
        Backfill all symbols
      </button>
    </ActionForm>
  );
}

function Banner({ view }: { view: OverviewView }): JSX.Element {
  const { verdict, canBackfill, list } = view;
  const { condition, word, sentence, link, commands = [] } = verdict;
  return (
    <section class={`notice verdict ${condition}`} id="verdict" aria-label="How the warehouse is">
      <p id="verdict-sentence">
        <strong safe>{word}</strong> <Text text={sentence} />
      </p>
      <div class="buttons" id="verdict-buttons">
        {verdict.canBackfill && canBackfill ? <CatchUp asked={list.asked} isPrimary /> : null}
        {link ? (
          <a class="button" href={link.href} safe>
            {link.label}
          </a>
        ) : null}
        {commands.length === 0 ? null : (
          <details id="verdict-commands">
            <summary>From a shell</summary>
            {commands.map((command) => (
              <code class="command" safe>
                {command}
              </code>
            ))}
          </details>
        )}
      </div>
    </section>
  );
}

function Attention({ view }: { view: OverviewView }): JSX.Element {
  const { attention, canBackfill, list } = view;
  return (
    <section class="attention-list" aria-labelledby="attention" tabindex="0">
      <h2 id="attention">
        Needs attention <span class="total" safe>{`${attention.length}`}</span>
      </h2>
      {attention.length === 0 ? (
        <p class="quiet">Nothing else: no finding to decide about, nothing failed or late.</p>
      ) : (
        <ul>
          {attention.map(({ condition, word, sentence, link, ...rest }) => (
            <li>
              <Badge condition={condition} word={word} /> <Text text={sentence} />
              {link ? (
                <a href={link.href} safe>
                  {link.label}
                </a>
              ) : null}
              {rest.canBackfill && canBackfill ? <CatchUp asked={list.asked} /> : null}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

// ------------------------------------------------------------------------------------ tiles

const SCHEDULER_CONDITION: Record<string, Condition> = {
  running: 'good',
  standby: 'idle',
  stopped: 'attention',
};

function LastState({ state }: { state: string | null }): JSX.Element {
  if (state === null) return <Text text="Never" />;
  return <Badge condition={RUN_CONDITION[state as Run['state']]} word={capital(state)} />;
}

/** 1_572_864 -> '1.5 MB' */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function DataTiles({ view }: { view: OverviewView }): JSX.Element {
  const { status, totals } = view;
  const validated = status.records === 0 ? 0 : (100 * status.validatedRecords) / status.records;
  const more = [
    status.intradayRecords > 0 ? `${count(status.intradayRecords)} below a day` : '',
    status.trades > 0 ? plural(status.trades, 'trade') : '',
  ].filter(Boolean);
  return (
    <>
      <Tile
        label="Validation rate"
        value={<Text text={status.records === 0 ? 'None yet' : rate(validated)} />}
        note={
          <Text text={`${count(status.validatedRecords)} of ${plural(status.records, 'bar')}`} />
        }
      />
      <StalenessTile behind={view.sessionsBehind} published={view.publishedSession} />
      <Tile
        label="Latest session"
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
        label="Records"
        value={<Text text={count(status.records)} />}
        note={<Text text={more.length === 0 ? 'daily bars' : `and ${more.join(', ')}`} />}
      />
      <Tile
        label="Symbols"
        value={<Text text={count(status.symbolsAvailable)} />}
        note={<Text text={`loaded; ${count(status.symbolsTracked)} tracked`} />}
      />
      <Tile
        label="To review"
        value={
          <a href="/dashboard/quality" safe>
            {plural(totals.openFindings, 'finding')}
          </a>
        }
        note={<Text text={`${plural(totals.openGaps, 'gap')} among them`} />}
      />
    </>
  );
}

function ServiceTiles({ view, milliseconds }: OverviewProps): JSX.Element {
  const { status, scheduler, database, market } = view;
  return (
    <>
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
        label="Database"
        value={<Text text={bytesText(database.bytes)} />}
        note={<Text text={database.edition} />}
      />
      <Tile
        label="API"
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
        label="Excluded"
        value={<Text text={plural(status.excludedRecords, 'bar')} />}
        note={<Text text={`kept; ${count(status.volumeAnomalies)} volume anomalies`} />}
      />
    </>
  );
}

// ---------------------------------------------------------------------------------- symbols

/** 1234.5 -> '1,234.50', 0.01234 -> '0.01234'. */
const PRICE = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const SMALL_PRICE = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 4 });
const CHANGE = new Intl.NumberFormat('en-US', {
  ...{ minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' },
});

const priceText = (close: number) => (close >= 1 ? PRICE : SMALL_PRICE).format(close);

/** 0.9987 -> '99.87 %'; never 100 % of what is not whole. */
function shareText(share: number | null): string {
  if (share === null) return '';
  return `${(Math.floor(share * 10_000) / 100).toFixed(share === 1 ? 0 : 2)} %`;
}

function Change({ change }: { change: number | null }): JSX.Element | null {
  if (change === null) return null;
  const way = change > 0 ? 'up' : change < 0 ? 'down' : 'flat';
  const text = `${CHANGE.format(change * 100).replace('-', '\u2212')} %`;
  return (
    <span class={`change-text ${way}`} safe>
      {text}
    </span>
  );
}

/** No two cells are alike, so that a poll changes each where it is and moves none. */
function SymbolRowOf({ row }: { row: SymbolRow }): JSX.Element {
  const { symbol: one, closes, change } = row;
  const last = closes?.closes.at(-1);
  return (
    <tr id={`symbol-${one.instrumentId}`}>
      <th scope="row">
        <a href={symbolPath(one.symbol)} safe>
          {one.symbol}
        </a>
        <span class="name" safe>
          {one.name ?? ''}
        </span>
      </th>
      <td>
        <SymbolStateBadge state={one.state} />
      </td>
      <td class="spark-cell">{closes ? <Sparkline closes={closes.closes} /> : null}</td>
      <td class="number of-close" safe>
        {last === undefined ? '' : priceText(last)}
      </td>
      <td class="number of-change">
        <Change change={change} />
      </td>
      <td class="number of-quality" safe>
        {one.average_quality?.toFixed(3) ?? ''}
      </td>
      <td class="number of-validation" safe>
        {one.records === 0 ? '' : rate(one.validation_rate_pct)}
      </td>
      <td class="number of-coverage" safe>
        {shareText(one.coverageShare)}
      </td>
      <td class="number of-behind" safe>
        {one.sessionsBehind === null ? '' : count(one.sessionsBehind)}
      </td>
      <td class="number of-records" safe>
        {count(one.records)}
      </td>
      <td class="number of-end">
        {one.end_date === null ? null : <Session date={one.end_date} />}
      </td>
    </tr>
  );
}

/** Columns in their order; each `col` has its width, so that nothing moves when numbers change. */
const COLUMNS: readonly { column: string; label: string; isNumber?: boolean; first?: 'asc' }[] = [
  { column: 'symbol', label: 'Symbol' },
  { column: 'state', label: 'State' },
  { column: 'spark', label: '30 sessions' },
  { column: 'close', label: 'Close', isNumber: true },
  { column: 'change', label: 'Change', isNumber: true },
  { column: 'quality', label: 'Quality', isNumber: true, first: 'asc' },
  { column: 'validation', label: 'Validated', isNumber: true, first: 'asc' },
  { column: 'coverage', label: 'Coverage', isNumber: true, first: 'asc' },
  { column: 'behind', label: 'Behind', isNumber: true },
  { column: 'records', label: 'Records', isNumber: true },
  { column: 'end', label: 'Latest', isNumber: true },
];
const UNSORTED = ['spark', 'close'];

function SymbolTable({ list }: { list: SymbolListView }): JSX.Element {
  const { asked } = list;
  const href = (changes: Partial<SymbolListState>) => overviewPath({ ...asked, ...changes });
  return (
    <Scroll labelledby="symbols">
      <table class="overview-table">
        <colgroup>
          {COLUMNS.map(({ column }) => (
            <col class={`col-${column}`} />
          ))}
        </colgroup>
        <thead>
          <tr>
            {COLUMNS.map(({ column, label, isNumber, first }) =>
              UNSORTED.includes(column) ? (
                <th scope="col" class={isNumber ? 'number' : undefined} safe>
                  {label}
                </th>
              ) : (
                <SortHeader
                  label={label}
                  column={column}
                  state={asked}
                  href={href}
                  region={REGION}
                  isNumber={isNumber}
                  first={first}
                />
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {list.rows.map((row) => (
            <SymbolRowOf row={row} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function StateTabs({ view }: { view: OverviewView }): JSX.Element {
  const { list, totals } = view;
  const { asked } = list;
  const tab = (state: SymbolState | undefined, label: string) => (
    <li>
      <LiveLink
        href={overviewPath({ ...asked, state, page: 1 })}
        region={REGION}
        isCurrent={asked.state === state}
      >
        <Text text={label} />
      </LiveLink>
    </li>
  );
  return (
    <ul class="tabs" aria-label="Symbols by state">
      {tab(undefined, `All ${count(totals.symbols)}`)}
      {totals.states.map(({ state, count: held }) =>
        tab(state, `${SYMBOL_STATE_WORDS[state].word} ${count(held)}`),
      )}
    </ul>
  );
}

function Symbols({ view }: { view: OverviewView }): JSX.Element {
  const { list, totals } = view;
  const { asked, rows, page, pages, total } = list;
  const { q: _, page: __, ...kept } = listFields(asked);
  return (
    <section aria-labelledby="symbols">
      <h2 id="symbols">
        Symbols <span class="total" safe>{`${count(totals.symbols)}`}</span>
      </h2>
      {totals.symbols === 0 ? (
        <Empty title="No symbols yet">
          <p>
            <a href="/dashboard/symbols">Add the symbols</a> to hold; their history is loaded with
            them.
          </p>
        </Empty>
      ) : (
        <>
          <div class="list-bar">
            <StateTabs view={view} />
            <FilterForm action={OVERVIEW_PATH} region={REGION} kept={kept} label="Find symbols">
              <input
                id="q"
                type="search"
                name="q"
                value={Html.escapeHtml(asked.q)}
                maxlength="100"
                autocomplete="off"
                placeholder="Symbol or name"
                aria-label="Symbol or name"
              />
            </FilterForm>
          </div>
          {rows.length === 0 ? (
            <Empty title="No symbol is like that">
              <p>
                <a href={OVERVIEW_PATH}>Show all symbols</a>
              </p>
            </Empty>
          ) : (
            <SymbolTable list={list} />
          )}
          <Pager
            page={page}
            pages={pages}
            total={total}
            noun="symbol"
            href={(to) => overviewPath({ ...asked, page: to })}
            region={REGION}
          />
        </>
      )}
    </section>
  );
}

// ------------------------------------------------------------------------------------- page

/** Everything that changes while the page is open. */
export function OverviewPart({ view, page, milliseconds }: OverviewProps): JSX.Element {
  const { list, isBusy, runs, status } = view;
  return (
    <Live
      id={REGION}
      path={overviewPath(list.asked)}
      pollSeconds={page.pollSeconds}
      isBusy={isBusy}
    >
      {status.isSynthetic ? (
        <p class="notice synthetic">
          <strong>SYNTHETIC DATA</strong> These prices are made up for a demonstration. Nothing here
          was ever traded.
        </p>
      ) : null}
      <Banner view={view} />
      <div class="glance">
        <section aria-label="Figures">
          <dl class="tiles glance-tiles">
            <DataTiles view={view} />
            <ServiceTiles view={view} page={page} milliseconds={milliseconds} />
          </dl>
        </section>
        <Attention view={view} />
      </div>
      <Symbols view={view} />
      <Runs runs={runs} title="Latest runs" now={isBusy ? page.now : undefined} />
    </Live>
  );
}

/** The whole page; complete without JavaScript. */
export function OverviewPage(
  props: Omit<OverviewProps, 'page'> & { page: PageProps },
): JSX.Element {
  return (
    <Layout page={props.page} title="Overview" section="overview">
      <PageTitle title="Overview" />
      <OverviewPart {...props} />
    </Layout>
  );
}
