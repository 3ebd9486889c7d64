import { Html } from '@elysiajs/html';
import { GRADES, type Grade } from '../src/model/grade.ts';
import type { SymbolQuality, TotalQuality } from '../src/query/quality.ts';
import {
  attributeText,
  Badge,
  type Condition,
  capital,
  count,
  rate,
  Scroll,
  symbolPath,
  Text,
} from './elements.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';
import { Empty, type ListState, Pager, SortHeader, withQuery } from './list.tsx';
import { FilterForm, Live } from './live.tsx';
import { QualityTabs } from './quality.tsx';

/** How good what is held is, symbol by symbol. */

const PATH = '/dashboard/quality/report';
const REGION = 'report';

export const GRADE_CONDITIONS: Record<Grade, Condition> = {
  good: 'good',
  fair: 'attention',
  poor: 'bad',
  empty: 'idle',
};

export interface ReportRow extends SymbolQuality {
  /** Sessions of its history without a bar, and the share that has one; null without any. */
  missing: number;
  coveragePct: number | null;
}

export interface ReportView {
  state: ListState;
  /** '' for every grade. */
  grade: Grade | '';
  total: TotalQuality;
  rows: ReportRow[];
  pages: number;
  /** How many the filter finds. */
  matching: number;
}

function pathOf({ state, grade }: ReportView, changes: Record<string, string | number> = {}) {
  const { sort, direction, page, q } = { ...state, ...changes };
  return withQuery(PATH, { q, grade, sort, dir: direction, page: page === 1 ? undefined : page });
}

const COLUMNS: readonly { label: string; column: string; isNumber?: boolean }[] = [
  { label: 'Symbol', column: 'symbol' },
  { label: 'Grade', column: 'grade' },
  { label: 'Average score', column: 'score', isNumber: true },
  { label: 'Validated', column: 'validated', isNumber: true },
  { label: 'Gaps flagged', column: 'gaps', isNumber: true },
  { label: 'Open findings', column: 'findings', isNumber: true },
  { label: 'Coverage', column: 'coverage', isNumber: true },
  { label: 'Missing', column: 'missing', isNumber: true },
  { label: 'Behind', column: 'behind', isNumber: true },
];

/** Columns that the report can be sorted by. */
export const REPORT_COLUMNS = COLUMNS.map(({ column }) => column);

function ReportLine({ row }: { row: ReportRow }): JSX.Element {
  const { symbol, name, grade, verdict, average_quality: score, findings } = row;
  const open = findings.open;
  return (
    <tr id={`report-${row.instrument_id}`}>
      <th scope="row">
        <a href={symbolPath(symbol)} safe>
          {symbol}
        </a>{' '}
        <span class="name" safe>
          {name ?? ''}
        </span>
      </th>
      <td class="grade-verdict">
        <Badge condition={GRADE_CONDITIONS[grade]} word={capital(grade)} />{' '}
        <span class="quiet" safe>
          {grade === 'good' ? '' : verdict}
        </span>
      </td>
      <td class="number" safe>
        {score === null ? '' : score.toFixed(4)}
      </td>
      <td class="number" safe>
        {row.records === 0 ? '' : rate(row.validation_rate_pct)}
      </td>
      <td class="number" safe>
        {count(row.gaps_flagged)}
      </td>
      <td class="number">
        {open === 0 ? (
          '0'
        ) : (
          <a href={withQuery('/dashboard/quality', { symbol })} safe>
            {count(open)}
          </a>
        )}
      </td>
      <td class="number" safe>
        {row.coveragePct === null ? '' : rate(row.coveragePct)}
      </td>
      <td class="number" safe>
        {count(row.missing)}
      </td>
      <td class="number" safe>
        {row.sessions_behind === null ? '' : count(row.sessions_behind)}
      </td>
    </tr>
  );
}

function ReportTable({ view }: { view: ReportView }): JSX.Element {
  const { state } = view;
  const header = (one: (typeof COLUMNS)[number]) => (
    <SortHeader
      label={one.label}
      column={one.column}
      isNumber={one.isNumber}
      state={state}
      href={(changes) => pathOf(view, changes)}
      region={REGION}
    />
  );
  return (
    <Scroll label="Quality of each symbol">
      <table>
        <thead>
          <tr>{COLUMNS.map(header)}</tr>
        </thead>
        <tbody>
          {view.rows.map((row) => (
            <ReportLine row={row} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Nothing({ view: { total } }: { view: ReportView }): JSX.Element {
  if (total.symbols > 0) {
    return (
      <Empty title="No symbol matches this filter">
        <p>
          <a href={PATH}>Show all symbols</a>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="No symbols yet">
      <p>
        There is nothing to report on. <a href="/dashboard/symbols">Add symbols</a>
      </p>
    </Empty>
  );
}

/** The part of the page that is polled. */
export function ReportRegion(props: { view: ReportView; pollSeconds: number }): JSX.Element {
  const { view, pollSeconds } = props;
  const { total, state, matching, pages } = view;
  return (
    <Live id={REGION} path={pathOf(view)} pollSeconds={pollSeconds}>
      <p class={`notice ${GRADE_CONDITIONS[total.grade]}`}>
        <strong safe>{capital(total.grade)}</strong> <Text text={`${capital(total.verdict)}.`} />
      </p>
      {view.rows.length === 0 ? <Nothing view={view} /> : <ReportTable view={view} />}
      <Pager
        page={state.page}
        pages={pages}
        total={matching}
        noun="symbol"
        href={(page) => pathOf(view, { page })}
        region={REGION}
      />
    </Live>
  );
}

/** The whole page; complete without JavaScript. */
export function ReportPage(props: { page: PageProps; view: ReportView; pollSeconds: number }) {
  const { page, view, pollSeconds } = props;
  const { state, grade } = view;
  const kept = { sort: state.sort, dir: state.direction };
  return (
    <Layout page={page} title="Quality report" section="quality">
      <PageTitle title="Quality report" />
      <QualityTabs current="report" />
      <FilterForm action={PATH} region={REGION} kept={kept} label="Filter symbols">
        <div class="field">
          <label for="filter-q">Symbol or name</label>
          <input
            id="filter-q"
            name="q"
            type="search"
            value={attributeText(state.q)}
            maxlength="100"
            autocomplete="off"
            spellcheck="false"
          />
        </div>
        <div class="field">
          <label for="filter-grade">Grade</label>
          <select id="filter-grade" name="grade">
            <option value="">All</option>
            {GRADES.map((one) => (
              <option value={one} selected={one === grade} safe>
                {capital(one)}
              </option>
            ))}
          </select>
        </div>
      </FilterForm>
      <ReportRegion view={view} pollSeconds={pollSeconds} />
    </Layout>
  );
}
