import { Html } from '@elysiajs/html';
import type { SymbolState } from '../src/model/symbol-state.ts';
import type { OverviewSymbol } from '../src/query/overview.ts';
import { attributeText, count, rate, Scroll, symbolPath, Text } from './elements.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { Empty, type ListState, Pager, SortHeader, withQuery } from './list.tsx';
import { ActionForm, FilterForm, Live, LiveLink } from './live.tsx';
import { SYMBOL_STATE_WORDS, SymbolStateBadge } from './symbol-state.tsx';
import { Session } from './time.tsx';

/** What is tracked: the list of all symbols, adding to it and removing from it. */

export const SYMBOLS_PATH = '/dashboard/symbols';

/** Which symbols are shown: all, those that are tracked or not, or those in a state. */
export type SymbolFilter = 'all' | 'tracked' | 'untracked' | SymbolState;

export interface SymbolsQuery extends ListState {
  state: SymbolFilter;
}

export interface SymbolsView {
  query: SymbolsQuery;
  /** Those of one page. */
  rows: readonly OverviewSymbol[];
  page: number;
  pages: number;
  /** How many are searched for. */
  found: number;
  /** How many there are at all, and of these how many are tracked. */
  symbols: number;
  tracked: number;
  states: readonly { state: SymbolState; count: number }[];
}

/** What somebody was about to add when it was refused. */
export interface Draft {
  symbols: string;
  timeframes: readonly string[];
  isLoaded: boolean;
}

const REGION = 'symbols';
const FILTER_FORM = 'find-symbols';
const SELECTION_FORM = 'selected-symbols';

/** The address of the list; what is as usual is left out. */
export function listPath(query: SymbolsQuery, changes: Partial<SymbolsQuery> = {}): string {
  const { q, state, sort, direction, page } = { ...query, ...changes };
  const isUsual = sort === 'symbol' && direction === 'asc';
  return withQuery(SYMBOLS_PATH, {
    q,
    state: state === 'all' ? undefined : state,
    sort: isUsual ? undefined : sort,
    dir: isUsual ? undefined : direction,
    page: page === 1 ? undefined : page,
  });
}

/** Where a form of the list is sent; what the list shows goes with it. */
const actionPath = (name: string, query: SymbolsQuery) =>
  listPath(query).replace(SYMBOLS_PATH, `${SYMBOLS_PATH}/${name}`);

// ---------------------------------------------------------------------------- adding

const HINT =
  'With spaces, commas or lines between them, or a table whose first line names a column ' +
  '“symbol”. Capitals count: ABRpD is not ABRPD; what has none is taken as all capitals.';

interface TimeframesProps {
  id: string;
  chosen: readonly string[];
  legend?: string;
}

function Timeframes({ id, chosen, legend }: TimeframesProps): JSX.Element {
  return (
    <fieldset class="timeframes">
      {legend === undefined ? null : <legend safe>{legend}</legend>}
      <label>
        <input type="checkbox" checked disabled />
        1d
      </label>
      {['1h', '1m'].map((timeframe) => (
        <label>
          <input
            type="checkbox"
            id={`${id}-${timeframe}`}
            name="timeframes"
            value={timeframe}
            checked={chosen.includes(timeframe)}
          />
          <Text text={timeframe} />
        </label>
      ))}
    </fieldset>
  );
}

function AddSymbols(props: { view: SymbolsView; draft?: Draft }): JSX.Element {
  const { view, draft } = props;
  return (
    <details class="panel add-symbols" id="add" open={draft !== undefined || view.symbols === 0}>
      <summary>Add symbols</summary>
      <ActionForm
        action={actionPath('add', view.query)}
        region={REGION}
        id="add-symbols"
        label="Add symbols"
        hasFile
      >
        <div class="field">
          <label for="new-symbols">Symbols</label>
          <textarea
            id="new-symbols"
            name="symbols"
            rows="3"
            spellcheck="false"
            placeholder="AAPL, MSFT, BRK.B"
            aria-describedby="new-symbols-hint"
            safe
          >
            {draft?.symbols ?? ''}
          </textarea>
          <span class="hint" id="new-symbols-hint" safe>
            {HINT}
          </span>
        </div>
        <div class="fields">
          <div class="field">
            <label for="symbols-file">And, or instead, a file of at most 1 MB</label>
            <input
              id="symbols-file"
              type="file"
              name="file"
              accept=".csv,.tsv,.txt,text/csv,text/plain"
            />
          </div>
          <Timeframes id="new" chosen={draft?.timeframes ?? []} legend="Fill every night" />
          <label>
            <input
              type="checkbox"
              id="load-history"
              name="load"
              value="yes"
              checked={draft?.isLoaded ?? true}
            />
            Load their history now
          </label>
          <button type="submit" class="button primary">
            Add
          </button>
        </div>
      </ActionForm>
    </details>
  );
}

// --------------------------------------------------------------------------- choosing

function Find({ query }: { query: SymbolsQuery }): JSX.Element {
  return (
    <FilterForm id={FILTER_FORM} action={SYMBOLS_PATH} region={REGION} label="Find symbols">
      <div class="field">
        <label for="find">Symbol or name</label>
        <input id="find" type="search" name="q" value={attributeText(query.q)} maxlength="100" />
      </div>
    </FilterForm>
  );
}

function Tabs({ view }: { view: SymbolsView }): JSX.Element {
  const { query, symbols, tracked, states } = view;
  const tabs: { state: SymbolFilter; label: string; of: number }[] = [
    { state: 'all', label: 'All', of: symbols },
    { state: 'tracked', label: 'Tracked', of: tracked },
    { state: 'untracked', label: 'Not tracked', of: symbols - tracked },
    ...states
      .filter(({ state }) => state !== 'not_tracked')
      .map(({ state, count: of }) => ({ state, label: SYMBOL_STATE_WORDS[state].word, of })),
  ];
  return (
    <nav aria-label="Which symbols">
      <ul class="tabs">
        {tabs.map(({ state, label, of }) => (
          <li>
            <LiveLink
              href={listPath(query, { state, page: 1 })}
              region={REGION}
              isCurrent={state === query.state}
            >
              <Text text={label} />{' '}
              <span class="total-of" safe>
                {count(of)}
              </span>
            </LiveLink>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** What the search form sends along: how the list is sorted, and which state is shown. */
function Kept({ query: { state, sort, direction } }: { query: SymbolsQuery }): JSX.Element {
  const isUsual = sort === 'symbol' && direction === 'asc';
  const kept = {
    state: state === 'all' ? '' : state,
    sort: isUsual ? '' : sort,
    dir: isUsual ? '' : direction,
  };
  return (
    <>
      {Object.entries(kept)
        .filter(([, value]) => value !== '')
        .map(([name, value]) => (
          <input type="hidden" form={FILTER_FORM} name={name} value={attributeText(value)} />
        ))}
    </>
  );
}

// ------------------------------------------------------------------------------ list

function Head({ query }: { query: SymbolsQuery }): JSX.Element {
  const shared = {
    state: query,
    href: (changes: Partial<SymbolsQuery>) => listPath(query, changes),
    region: REGION,
  };
  return (
    <thead>
      <tr>
        <th scope="col">
          <input
            type="checkbox"
            id="select-all"
            aria-label="Select all on this page"
            data-selects="symbols"
            data-counts="selected-count"
          />
        </th>
        <SortHeader label="Symbol" column="symbol" {...shared} />
        <SortHeader label="Name" column="name" {...shared} />
        <SortHeader label="State" column="state" {...shared} />
        <SortHeader label="Tracked" column="tracked" {...shared} />
        <SortHeader label="Timeframes" column="timeframes" first="desc" {...shared} />
        <SortHeader label="Bars" column="records" isNumber {...shared} />
        <SortHeader label="First" column="start" class="minor" {...shared} />
        <SortHeader label="Last" column="end" first="desc" {...shared} />
        <SortHeader label="Validated" column="validation" isNumber first="asc" {...shared} />
        <SortHeader label="Exchange" column="exchange" class="minor" {...shared} />
        <th scope="col">Change</th>
      </tr>
    </thead>
  );
}

/** Names come with the first backfill: until then that is said in their place. */
function Name({ symbol }: { symbol: OverviewSymbol }): JSX.Element {
  const { name, tracked, last_backfill: asked } = symbol;
  if (name !== null) return <span class="name" safe>{`${name}`}</span>;
  return (
    <span class="name">{tracked && asked === null ? 'comes with the next backfill' : ''}</span>
  );
}

function Change({ symbol, query }: { symbol: OverviewSymbol; query: SymbolsQuery }): JSX.Element {
  const { instrumentId: id, symbol: name, tracked, timeframes } = symbol;
  return (
    <details class="change-symbol" id={`change-${id}`}>
      <summary aria-label={`Change ${name}`}>Change</summary>
      <ActionForm
        action={actionPath('timeframes', query)}
        region={REGION}
        id={`timeframes-${id}`}
        label={`What ${name} is filled with`}
        fields={{ symbol: name }}
      >
        <Timeframes id={`fill-${id}`} chosen={timeframes} />
        <button type="submit" class="button" id={`save-${id}`}>
          Save
        </button>
      </ActionForm>
      <ActionForm
        action={actionPath('tracking', query)}
        region={REGION}
        id={`tracking-${id}`}
        label={tracked ? `Stop tracking ${name}` : `Track ${name} again`}
        fields={{ symbols: name, do: tracked ? 'remove' : 'track' }}
      >
        {tracked ? (
          <button type="submit" class="button danger" id={`remove-${id}`}>
            Remove
          </button>
        ) : (
          <button type="submit" class="button" id={`track-${id}`}>
            Track again
          </button>
        )}
        <a class="button" href={withQuery('/dashboard/backfill', { symbols: name })}>
          Backfill
        </a>
      </ActionForm>
    </details>
  );
}

function Row({ symbol, query }: { symbol: OverviewSymbol; query: SymbolsQuery }): JSX.Element {
  const { instrumentId: id, symbol: name, exchange, tracked, timeframes, state } = symbol;
  const { records, start_date: first, end_date: last, validation_rate_pct: validated } = symbol;
  return (
    <tr id={`symbol-${id}`}>
      <td>
        <input
          type="checkbox"
          id={`select-${id}`}
          name="symbols"
          value={name}
          form={SELECTION_FORM}
          aria-label={`Select ${name}`}
        />
      </td>
      <th scope="row">
        <a href={symbolPath(name)} safe>
          {name}
        </a>
      </th>
      <td>
        <Name symbol={symbol} />
      </td>
      <td>
        <SymbolStateBadge state={state} />
      </td>
      <td>{tracked ? 'Yes' : 'No'}</td>
      <td safe>{timeframes.join(' ')}</td>
      <td class="number" safe>
        {count(records)}
      </td>
      <td class="minor">{first ? <Session date={first} /> : ''}</td>
      <td>{last ? <Session date={last} /> : ''}</td>
      <td class="number" safe>
        {records === 0 ? '' : rate(validated)}
      </td>
      <td class="minor" safe>
        {exchange ?? ''}
      </td>
      <td>
        <Change symbol={symbol} query={query} />
      </td>
    </tr>
  );
}

function Selection({ query }: { query: SymbolsQuery }): JSX.Element {
  return (
    <ActionForm
      action={actionPath('tracking', query)}
      region={REGION}
      id={SELECTION_FORM}
      class="buttons selection"
      label="With the selected symbols"
    >
      <span id="selected-count" role="status">
        Of those selected:
      </span>
      <button type="submit" class="button danger" name="do" value="remove">
        Remove from tracking
      </button>
      <button type="submit" class="button" name="do" value="track">
        Track again
      </button>
      <span class="hint">Bars stay in either case, and so do findings and decisions.</span>
    </ActionForm>
  );
}

function List({ view }: { view: SymbolsView }): JSX.Element {
  const { query, rows, page, pages, found } = view;
  return (
    <>
      <Scroll label="List of symbols">
        <table class="symbol-list">
          <Head query={query} />
          <tbody>
            {rows.map((symbol) => (
              <Row symbol={symbol} query={query} />
            ))}
          </tbody>
        </table>
      </Scroll>
      <Pager
        page={page}
        pages={pages}
        total={found}
        noun="symbol"
        href={(to) => listPath(query, { page: to })}
        region={REGION}
      />
      <Selection query={query} />
    </>
  );
}

function Nothing({ query }: { query: SymbolsQuery }): JSX.Element {
  return (
    <Empty title="No symbol matches">
      <p>
        {query.q === '' ? null : <Text text={`Nothing holds “${query.q}”. `} />}
        <LiveLink href={SYMBOLS_PATH} region={REGION}>
          Show all symbols
        </LiveLink>
      </p>
    </Empty>
  );
}

/** Everything that changes while the page is open. */
export function Symbols(props: { view: SymbolsView; pollSeconds: number }): JSX.Element {
  const { view, pollSeconds } = props;
  const { query, symbols, found } = view;
  return (
    <Live id={REGION} path={listPath(query)} pollSeconds={pollSeconds}>
      {symbols === 0 ? (
        <Empty title="No symbols yet">
          <p>
            Type which to track in the form above, for example AAPL, and press Add. From a shell:
          </p>
          <code class="command">marketd symbols add AAPL MSFT</code>
        </Empty>
      ) : (
        <>
          <Tabs view={view} />
          <Kept query={query} />
          {found === 0 ? <Nothing query={query} /> : <List view={view} />}
        </>
      )}
    </Live>
  );
}

export interface SymbolsPageProps {
  page: PageProps;
  view: SymbolsView;
  draft?: Draft;
}

/** The whole page; complete without JavaScript. */
export function SymbolsPage({ page, view, draft }: SymbolsPageProps): JSX.Element {
  return (
    <Layout page={page} title="Symbols" section="symbols">
      <PageTitle title="Symbols">
        <span>What is tracked is filled every night; what is held of others stays.</span>
      </PageTitle>
      <AddSymbols view={view} draft={draft} />
      <Find query={view.query} />
      <Symbols view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}
