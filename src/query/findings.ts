import { FINDING_STATES, type FindingState } from '../model/finding.ts';
import { toDate, toDay } from '../model/session.ts';
import { INTRADAY_TABLES } from '../store/bar-columns.ts';
import type { AnySql, Sql } from '../store/database.ts';
import { type BarState, type BarStateRow, toBarState } from './bar-state.ts';

/** What is to be looked at, and what was decided about it. */

export interface Finding {
  findingId: number;
  instrumentId: number;
  /** The symbol that its instrument had at the session. */
  symbol: string;
  timeframe: string;
  /** 'YYYY-MM-DD' */
  session: string;
  /** When the bar begins; null for a daily bar and for what is about a whole session. */
  ts: Date | null;
  kind: string;
  state: FindingState;
  /** What was seen, for kinds that are no rule of a bar. */
  detail: object | null;
  note: string | null;
  decidedBy: string | null;
  foundAt: Date;
  decidedAt: Date | null;
  resolvedAt: Date | null;
}

/** A place among findings, newest session first: that of one of them. */
export interface FindingPosition {
  /** Days since 1970-01-01. */
  day: number;
  findingId: number;
}

/** What is missing is not asked for: all there are. */
export interface FindingsQuery {
  instrumentId?: number;
  timeframe?: string;
  kind?: string;
  state?: FindingState;
  /** Days since 1970-01-01, both inclusive. */
  firstDay?: number;
  lastDay?: number;
  /** Only findings behind this one. */
  after?: FindingPosition;
  limit: number;
}

export interface FindingsPage {
  findings: Finding[];
  /** The last finding of the page; null when nothing is left behind it. */
  next: FindingPosition | null;
}

export interface FindingRow {
  finding_id: number;
  instrument_id: number;
  symbol: string;
  timeframe: string;
  session: string;
  ts: Date | null;
  kind: string;
  state: FindingState;
  detail: object | null;
  note: string | null;
  decided_by: string | null;
  ts_found: Date;
  ts_decided: Date | null;
  ts_resolved: Date | null;
}

export const toFinding = (row: FindingRow): Finding => ({
  findingId: row.finding_id,
  instrumentId: row.instrument_id,
  symbol: row.symbol,
  timeframe: row.timeframe,
  session: row.session,
  ts: row.ts,
  kind: row.kind,
  state: row.state,
  detail: row.detail,
  note: row.note,
  decidedBy: row.decided_by,
  foundAt: row.ts_found,
  decidedAt: row.ts_decided,
  resolvedAt: row.ts_resolved,
});

/** Findings `f` of a relation as rows. */
export const findingColumns = (sql: AnySql) => sql`
  f.finding_id, f.instrument_id, coalesce(r.symbol, '#' || f.instrument_id) as symbol,
  f.timeframe, f.session, case when isfinite(f.ts) then f.ts end as ts, f.kind, f.state, f.detail,
  f.note, f.decided_by, f.ts_found, f.ts_decided, f.ts_resolved`;

/** The symbol `r` that the instrument of a finding `f` had at its session, else its last one. */
export const symbolThen = (sql: AnySql) => sql`
  left join lateral (
    select symbol from symbol_ranges
    where instrument_id = f.instrument_id
    order by (f.session >= valid_from and f.session < valid_to) desc, valid_to desc
    limit 1) r on true`;

/** Findings, those of the newest session first. */
export async function selectFindings(sql: AnySql, query: FindingsQuery): Promise<FindingsPage> {
  const { limit } = query;
  const rows = await sql<FindingRow[]>`
    select ${findingColumns(sql)} from (${pageOf(sql, query)}) f ${symbolThen(sql)}
    order by f.session desc, f.finding_id desc`;
  const findings = rows.slice(0, limit).map(toFinding);
  const last = rows.length > limit ? findings.at(-1) : undefined;
  const next = last === undefined ? null : { day: toDay(last.session), findingId: last.findingId };
  return { findings, next };
}

/** The findings of a page and one more. An index gives those of each state in their order. */
function pageOf(sql: AnySql, query: FindingsQuery) {
  const { instrumentId, timeframe, kind, state, firstDay, lastDay, after, limit } = query;
  const and = <T>(value: T | undefined, condition: (value: T) => ReturnType<Sql>) =>
    value === undefined ? sql`` : condition(value);
  const day = (value: number) => sql`${toDate(value)}::date`;
  const order = sql`order by session desc, finding_id desc limit ${limit + 1}`;
  const page = (inState: ReturnType<Sql>) => sql`
    select * from findings
    where ${inState}
      ${and(kind, (value) => sql`and kind = ${value}`)}
      ${and(instrumentId, (value) => sql`and instrument_id = ${value}`)}
      ${and(timeframe, (value) => sql`and timeframe = ${value}`)}
      ${and(firstDay, (value) => sql`and session >= ${day(value)}`)}
      ${and(lastDay, (value) => sql`and session <= ${day(value)}`)}
      ${and(
        after,
        (one) => sql`and (session, finding_id) < (${day(one.day)}, ${one.findingId}::bigint)`,
      )}
    ${order}`;
  if (state !== undefined) return page(sql`state = ${state}`);
  if (instrumentId !== undefined) return page(sql`true`);
  return sql`
    select found.*
    from unnest(${[...FINDING_STATES]}::text[]) as s(state)
    cross join lateral (${page(sql`state = s.state`)}) found
    ${order}`;
}

/** Findings by their numbers, in the order given; numbers that are no finding's are left out. */
export async function selectFindingsById(
  sql: AnySql,
  findingIds: readonly number[],
): Promise<Finding[]> {
  const rows = await sql<FindingRow[]>`
    select ${findingColumns(sql)}
    from unnest(${[...findingIds]}::bigint[]) with ordinality as a(id, position)
    join findings f on f.finding_id = a.id
    ${symbolThen(sql)}
    order by a.position`;
  return rows.map(toFinding);
}

/** A bar as somebody sees it who decides about it. */
export interface FindingBar extends BarState {
  session: string;
  /** When it begins; null for a daily bar. */
  ts: Date | null;
}

export interface FindingBars {
  /** Undefined when there is no bar where it was found. */
  bar?: FindingBar;
  /** Ascending, up to `NEIGHBORS` each. */
  before: FindingBar[];
  after: FindingBar[];
}

const NEIGHBORS = 5;

interface BarRow extends BarStateRow {
  session: string;
  ts: Date | null;
}

const toBar = (row: BarRow): FindingBar => ({
  session: row.session,
  ts: row.ts,
  ...toBarState(row),
});

/** The bar that a finding is about, and those around it in the same timeframe. */
export async function selectFindingBars(
  sql: AnySql,
  { instrumentId, timeframe, session, ts }: Finding,
): Promise<FindingBars> {
  const isDaily = timeframe === '1d';
  const table = isDaily ? 'bars_1d' : INTRADAY_TABLES[timeframe as keyof typeof INTRADAY_TABLES];
  if (table === undefined) return { before: [], after: [] };
  const position = sql(isDaily ? 'session' : 'ts');
  // A finding about a whole session stands at its first minute.
  const at = isDaily
    ? sql`${session}::date`
    : sql`coalesce(${ts}::timestamptz, ${session}::timestamp at time zone 'America/New_York')`;
  const rows = await sql<(BarRow & { side: number })[]>`
    select side, session, ${isDaily ? sql`null::timestamptz` : sql`ts`} as ts, open, high, low,
           close, volume, vwap, trade_count, score, flags, is_final, provider, ts_received
    from (
      (select -1 as side, * from ${sql(table)}
       where instrument_id = ${instrumentId} and ${position} < ${at}
       order by ${position} desc limit ${NEIGHBORS})
      union all
      (select case when ${position} = ${at} then 0 else 1 end, * from ${sql(table)}
       where instrument_id = ${instrumentId} and ${position} >= ${at}
       order by ${position} limit ${NEIGHBORS + 1})) b
    order by b.${position}`;
  const side = (value: number) => rows.filter((row) => row.side === value).map(toBar);
  return { bar: side(0)[0], before: side(-1), after: side(1).slice(0, NEIGHBORS) };
}
