import { FINDING_CLASSES, FINDING_STATES, type FindingState } from '../model/finding.ts';
import { toDate, toDay } from '../model/session.ts';
import type { AnySql, Sql } from '../store/database.ts';
import {
  type Finding,
  type FindingRow,
  findingColumns,
  symbolThen,
  toFinding,
} from './findings.ts';
import { ByteLru } from './lru.ts';

/** The queue of findings that somebody reviews, page by page, with the bars to judge them by. */

/** What is missing is not asked for: all there are. */
export interface ReviewFilter {
  instrumentId?: number;
  timeframe?: string;
  kind?: string;
  state?: FindingState;
  /** Days since 1970-01-01, both inclusive. */
  firstDay?: number;
  lastDay?: number;
}

export const REVIEW_ORDERS = ['newest', 'serious'] as const;
/** By session, or by class of kind (what it costs a bar) and then by session; newest first. */
export type ReviewOrder = (typeof REVIEW_ORDERS)[number];

/** The place of a finding in an order. */
export interface ReviewPlace {
  /** Its class; 0 for all where the order has none. */
  rank: number;
  /** Days since 1970-01-01. */
  day: number;
  findingId: number;
}

export interface ReviewQuery extends ReviewFilter {
  order: ReviewOrder;
  /** Only findings behind this place; before it when `isBackward`. */
  place?: ReviewPlace;
  isBackward?: boolean;
  limit: number;
}

export interface ReviewFinding extends Finding {
  /** Grows with every change of a bar of its instrument and timeframe. */
  version: number;
}

export interface ReviewPage {
  findings: ReviewFinding[];
  /** Where the pages around it begin; null where there is nothing more. */
  previous: ReviewPlace | null;
  next: ReviewPlace | null;
}

interface ReviewRow extends FindingRow {
  rank: number;
  version: number;
}

/** A page of the queue. A few steps along an index for each kind, however many there are. */
export async function selectReview(sql: AnySql, query: ReviewQuery): Promise<ReviewPage> {
  const { limit, place, isBackward = false } = query;
  const rows = await sql<ReviewRow[]>`
    select ${findingColumns(sql)}, f.rank, coalesce(v.version, 0) as version
    from (${pageOf(sql, query)}) f
    left join instrument_status v
      on v.instrument_id = f.instrument_id and v.timeframe = f.timeframe
    ${symbolThen(sql)}
    order by f.rank, f.session desc, f.finding_id desc`;
  const hasMore = rows.length > limit;
  // One more than is shown was asked for: the one that lies furthest.
  const shown = isBackward && hasMore ? rows.slice(1) : rows.slice(0, limit);
  const placeOf = (row: ReviewRow | undefined): ReviewPlace | null =>
    row ? { rank: row.rank, day: toDay(row.session), findingId: row.finding_id } : null;
  const hasPrevious = isBackward ? hasMore : place !== undefined;
  const hasNext = isBackward || hasMore;
  return {
    findings: shown.map((row) => ({ ...toFinding(row), version: row.version })),
    previous: hasPrevious ? placeOf(shown[0]) : null,
    next: hasNext ? placeOf(shown.at(-1)) : null,
  };
}

const statesOf = ({ state }: ReviewFilter) => (state === undefined ? [...FINDING_STATES] : [state]);

/** The kinds of each class, with its rank. */
const RANKED = FINDING_CLASSES.flatMap((kinds, rank) => kinds.map((name) => ({ name, rank })));

/** What is looked through one by one: kinds where the order is by them, else all at once. */
function kindsOf(sql: AnySql, { kind, order }: ReviewQuery) {
  const kinds = RANKED.filter(({ name }) => kind === undefined || name === kind);
  if (order === 'newest') {
    const isMeant = kind === undefined ? sql`` : sql`and kind = ${kind}`;
    return { ranked: sql`(select 0 as rank) as k`, isMeant };
  }
  const ranked = sql`
    unnest(${kinds.map(({ name }) => name)}::text[], ${kinds.map(({ rank }) => rank)}::int[])
      as k(kind, rank)`;
  return { ranked, isMeant: sql`and kind = k.kind` };
}

/** The findings of a page and one more, from the place on. */
function pageOf(sql: AnySql, query: ReviewQuery) {
  const { place, isBackward = false, limit } = query;
  const { ranked, isMeant } = kindsOf(sql, query);
  const [direction, ranks] = isBackward ? [sql`asc`, sql`desc`] : [sql`desc`, sql`asc`];
  const within = placeCondition(sql, place, isBackward);
  return sql`
    select x.*, k.rank
    from ${ranked}
    cross join unnest(${statesOf(query)}::text[]) as s(state)
    cross join lateral (
      select * from findings
      where state = s.state ${isMeant} and ${within} ${filterCondition(sql, query)}
      order by session ${direction}, finding_id ${direction} limit ${limit + 1}) x
    order by k.rank ${ranks}, x.session ${direction}, x.finding_id ${direction}
    limit ${limit + 1}`;
}

/** Behind a place, or before it; written so that an index is entered there. */
function placeCondition(sql: AnySql, place: ReviewPlace | undefined, isBackward: boolean) {
  if (place === undefined) return sql`true`;
  const { rank, day, findingId } = place;
  const [comparison, otherwise] = isBackward ? [sql`>`, '-infinity'] : [sql`<`, 'infinity'];
  return sql`
    k.rank ${isBackward ? sql`<=` : sql`>=`} ${rank}::int
    and (session, finding_id) ${comparison} (
      case when k.rank = ${rank}::int then ${toDate(day)}::date else ${otherwise}::date end,
      ${findingId}::bigint)`;
}

/** What a filter asks for beside kind and state. */
function filterCondition(sql: AnySql, filter: ReviewFilter) {
  const { instrumentId, timeframe, firstDay, lastDay } = filter;
  return sql`
    ${instrumentId === undefined ? sql`` : sql`and instrument_id = ${instrumentId}`}
    ${timeframe === undefined ? sql`` : sql`and timeframe = ${timeframe}`}
    ${firstDay === undefined ? sql`` : sql`and session >= ${toDate(firstDay)}::date`}
    ${lastDay === undefined ? sql`` : sql`and session <= ${toDate(lastDay)}::date`}`;
}

/** Findings that a filter finds, in the order of their numbers, up to a limit. */
export async function selectReviewIds(
  sql: AnySql,
  filter: ReviewFilter,
  limit: number,
): Promise<number[]> {
  const { kind } = filter;
  const rows = await sql<{ id: number }[]>`
    select finding_id as id from findings
    where state = any(${statesOf(filter)}::text[])
      ${kind === undefined ? sql`` : sql`and kind = ${kind}`}
      ${filterCondition(sql, filter)}
    limit ${limit}`;
  return rows.map(({ id }) => id).sort((one, other) => one - other);
}

export interface FindingTally {
  kind: string;
  state: FindingState;
  count: number;
}

/** How many findings there are, of one instrument or of all: from counters. */
export async function selectFindingTallies(
  sql: AnySql,
  { instrumentId }: { instrumentId?: number },
): Promise<FindingTally[]> {
  const counts =
    instrumentId === undefined
      ? sql`from finding_totals where true`
      : sql`from finding_counts where instrument_id = ${instrumentId}`;
  return sql<FindingTally[]>`
    select kind, state, count ${counts} and count > 0
    order by kind collate "C", state collate "C"`;
}

/** When somebody last decided about a finding; null when nobody ever did. */
export async function selectLastDecision(sql: AnySql): Promise<{ at: Date; actor: string } | null> {
  const [row] = await sql<{ at: Date; actor: string }[]>`
    select ts as at, actor from audit_log
    where action like 'finding.%' order by audit_id desc limit 1`;
  return row ?? null;
}

// ------------------------------------------------------------------------------ bars

/** Open, high, low, close and volume. */
export type BarFigures = [open: number, high: number, low: number, close: number, volume: number];

/** The bar that a finding is about, and those around it in its timeframe. */
export interface ReviewBars {
  /** Null when there is no bar where it was found. */
  bar: BarFigures | null;
  score: number | null;
  /** Ascending, up to `NEIGHBORS` each. */
  before: BarFigures[];
  after: BarFigures[];
}

const NEIGHBORS = 5;

/** Where bars of a timeframe are, and how far around a finding is looked: it keeps out chunks. */
const TABLES = {
  '1d': { table: 'bars_1d', position: 'session', within: '15 days' },
  '1h': { table: 'bars_1h', position: 'ts', within: '5 days' },
  '1m': { table: 'bars_1m', position: 'ts', within: '1 day' },
} as const;

interface BarsRow {
  id: number;
  bar: BarFigures | null;
  score: number | null;
  before: BarFigures[] | null;
  after: BarFigures[] | null;
}

const NOTHING: ReviewBars = { bar: null, score: null, before: [], after: [] };

/** The bars of findings, in their order: one statement for all of them. */
export async function selectReviewBars(
  sql: AnySql,
  findings: readonly Finding[],
): Promise<ReviewBars[]> {
  const timeframes = (Object.keys(TABLES) as (keyof typeof TABLES)[]).filter((timeframe) =>
    findings.some((one) => one.timeframe === timeframe),
  );
  if (timeframes.length === 0) return findings.map(() => NOTHING);
  const parts = timeframes.map((timeframe) =>
    barsOf(
      sql,
      timeframe,
      findings.filter((one) => one.timeframe === timeframe),
    ),
  );
  const rows = await sql<BarsRow[]>`${parts.reduce((all, part) => sql`${all} union all ${part}`)}`;
  const found = new Map(rows.map(({ id, ...bars }) => [id, bars]));
  return findings.map(({ findingId }) => {
    const bars = found.get(findingId);
    if (!bars) return NOTHING;
    const { bar, score, before, after } = bars;
    return { bar, score, before: before ?? [], after: after ?? [] };
  });
}

function barsOf(sql: AnySql, timeframe: keyof typeof TABLES, findings: readonly Finding[]) {
  const { table, position, within } = TABLES[timeframe];
  const isDaily = timeframe === '1d';
  // A finding about a whole session stands at its first minute.
  const at = isDaily
    ? sql`session`
    : sql`coalesce(ts, session::timestamp at time zone 'America/New_York')`;
  const figures = sql`json_build_array(open, high, low, close, volume)`;
  const around = (comparison: '<' | '>') => {
    const isBefore = comparison === '<';
    const bound = isBefore ? sql`f.at - ${within}::interval` : sql`f.at + ${within}::interval`;
    return sql`(
      select json_agg(${figures} order by ${sql(position)}) from (
        select * from ${sql(table)}
        where instrument_id = f.instrument_id
          and ${sql(position)} ${isBefore ? sql`< f.at` : sql`> f.at`}
          and ${sql(position)} ${isBefore ? sql`>=` : sql`<=`} ${bound}
        order by ${sql(position)} ${isBefore ? sql`desc` : sql`asc`} limit ${NEIGHBORS}) b)`;
  };
  return sql`
    select f.finding_id as id, b.figures as bar, b.score, ${around('<')} as before,
           ${around('>')} as after
    from (
      select finding_id, instrument_id, ${at} as at
      from unnest(${findings.map(({ findingId }) => findingId)}::bigint[],
        ${findings.map(({ instrumentId }) => instrumentId)}::int[],
        ${findings.map(({ session }) => session)}::date[],
        ${findings.map(({ ts }) => ts?.toISOString() ?? null)}::text[]::timestamptz[])
        as a(finding_id, instrument_id, session, ts)) f
    left join lateral (
      select ${figures} as figures, score from ${sql(table)}
      where instrument_id = f.instrument_id and ${sql(position)} = f.at) b on true`;
}

const CACHE_BYTES = 4 * 1024 * 1024;
/** Eleven bars of five numbers, and what holds them. */
const CACHED_BYTES = 1_500;

/**
 * Reads the queue and remembers the bars of its findings: those are read again only when a bar of
 * the same instrument and timeframe has changed, so that a page that is polled costs little.
 */
export class ReviewReader {
  readonly #bars = new ByteLru<{ version: number; bars: ReviewBars }>(CACHE_BYTES);

  constructor(readonly sql: Sql) {}

  /** A page of the queue, and the bars of each of its findings. */
  async select(query: ReviewQuery): Promise<ReviewPage & { bars: ReviewBars[] }> {
    const page = await selectReview(this.sql, query);
    const isNews = ({ findingId, version }: ReviewFinding) =>
      this.#bars.get(`${findingId}`)?.version !== version;
    const news = page.findings.filter(isNews);
    const found = new Map<number, ReviewBars>();
    if (news.length > 0) {
      const read = await selectReviewBars(this.sql, news);
      news.forEach(({ findingId, version }, i) => {
        found.set(findingId, read[i]);
        this.#bars.set(`${findingId}`, { version, bars: read[i] }, CACHED_BYTES);
      });
    }
    const bars = page.findings.map(
      ({ findingId }) => found.get(findingId) ?? this.#bars.get(`${findingId}`)?.bars ?? NOTHING,
    );
    return { ...page, bars };
  }
}
