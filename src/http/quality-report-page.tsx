import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  REPORT_COLUMNS,
  ReportPage,
  ReportRegion,
  type ReportRow,
  type ReportView,
} from '../../views/quality-report.tsx';
import { GRADES } from '../model/grade.ts';
import { type SymbolQuality, selectQuality } from '../query/quality.ts';
import { pingDatabase } from '../store/database.ts';
import type { AppContext } from './app.ts';
import { cutPage, parseListState } from './list-state.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';
import { parseChoice } from './parameters.ts';

const PATH = '/dashboard/quality/report';
const HIDDEN = { detail: { hide: true } };
const SYMBOLS_SHOWN = 100;
/** It looks at every symbol and changes when data comes in: polled this much less often. */
const POLLED_SLOWER = 6;

type Query = Readonly<Record<string, string | undefined>>;

/** The report on quality, and the part of it that is polled. */
export function qualityReportPageRoutes(context: AppContext) {
  return new Elysia({ name: 'quality-report-page' })
    .get(PATH, ({ query, request }) => page(context, query, request), HIDDEN)
    .get(`${PATH}/status`, ({ query, request }) => fragment(context, query, request), HIDDEN);
}

function page(context: AppContext, query: Query, request: Request): Promise<Response> {
  return orAway(context, request, async () => {
    const view = await collect(context, query);
    const props = pageProps(context, request);
    const pollSeconds = POLLED_SLOWER * props.pollSeconds;
    const shown = <ReportPage page={props} view={view} pollSeconds={pollSeconds} />;
    return pageResponse(request, shown);
  });
}

async function fragment(context: AppContext, query: Query, request: Request): Promise<Response> {
  const view = await collect(context, query);
  const pollSeconds = POLLED_SLOWER * pageProps(context, request).pollSeconds;
  return fragmentResponse(request, context.version, view, () => (
    <ReportRegion view={view} pollSeconds={pollSeconds} />
  ));
}

async function collect(context: AppContext, query: Query): Promise<ReportView> {
  const state = parseListState(query, {
    ...{ columns: REPORT_COLUMNS, sort: 'grade', direction: 'asc' },
  });
  const grade = parseChoice(query.grade ?? '', 'grade', ['', ...GRADES]);
  const { database, calendar, now, publishDelayMs } = context;
  await pingDatabase(database.read);
  const latestDay = calendar.latestSession(now(), publishDelayMs);
  const { total, symbols } = await selectQuality(database.read, calendar, { latestDay });
  const word = state.q.toLowerCase();
  const isMeant = (one: SymbolQuality) =>
    (grade === '' || one.grade === grade) &&
    (word === '' ||
      one.symbol.toLowerCase().includes(word) ||
      (one.name?.toLowerCase().includes(word) ?? false));
  const matching = symbols.filter(isMeant).map(toRow);
  // Stable: those alike stay in the order of what needs attention most.
  sortRows(matching, state.sort, state.direction);
  const { rows, page: shown, pages } = cutPage(matching, state.page, SYMBOLS_SHOWN);
  return {
    ...{ state: { ...state, page: shown }, grade, total, rows, pages },
    matching: matching.length,
  };
}

function toRow(symbol: SymbolQuality): ReportRow {
  const { complete, missing, vendor_empty, unfetched, not_entitled } = symbol.coverage;
  const sessions = complete + missing + vendor_empty + unfetched + not_entitled;
  return {
    ...symbol,
    missing: missing + unfetched,
    coveragePct: sessions === 0 ? null : (100 * complete) / sessions,
  };
}

/** What rows are sorted by; a symbol of which nothing is known comes first. */
const KEYS: Record<string, (row: ReportRow) => number | string> = {
  symbol: ({ symbol }) => symbol,
  grade: ({ grade }) => GRADES.indexOf(grade),
  score: ({ average_quality: score }) => score ?? -1,
  validated: ({ validation_rate_pct: rate }) => rate,
  gaps: ({ gaps_flagged: gaps }) => gaps,
  findings: ({ findings }) => findings.open,
  coverage: ({ coveragePct }) => coveragePct ?? -1,
  missing: ({ missing }) => missing,
  behind: ({ sessions_behind: behind }) => behind ?? -1,
};

function sortRows(rows: ReportRow[], column: string, direction: 'asc' | 'desc'): void {
  const key = KEYS[column];
  const sign = direction === 'asc' ? 1 : -1;
  rows.sort((a, b) => {
    const [one, other] = [key(a), key(b)];
    return one < other ? -sign : one > other ? sign : 0;
  });
}
