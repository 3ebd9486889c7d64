import { toDate } from '../model/session.ts';
import { type AnySql, toTimestamp } from '../store/database.ts';
import { type BarState, type BarStateRow, toBarState } from './bar-state.ts';

/** What bars said before they were changed, and what they said then. */

/** Why a bar was changed: it was restated, or only scored otherwise. */
export const REVISION_REASONS = ['values', 'score'] as const;
export type RevisionReason = (typeof REVISION_REASONS)[number];

/** A place among revisions, newest first: that of one of them. */
export interface RevisionPosition {
  /** When it was replaced, epoch microseconds. */
  micros: number;
  revisionId: number;
}

export interface RevisionsQuery {
  /** All instruments when it is missing. */
  instrumentId?: number;
  timeframe?: string;
  /** Of the bars: days since 1970-01-01, both inclusive. */
  firstDay?: number;
  lastDay?: number;
  reasons: readonly RevisionReason[];
  /** Only revisions behind (that is: older than) this one. */
  after?: RevisionPosition;
  limit: number;
}

/** A bar as it was for some time. */
export interface BarVersion extends BarState {
  /** When it ceased to be so; null: it is so now. */
  replacedAt: Date | null;
}

export interface Revision {
  revisionId: number;
  instrumentId: number;
  /** The symbol that its instrument has now, or had last. */
  symbol: string;
  timeframe: string;
  /** 'YYYY-MM-DD' */
  session: string;
  /** When the bar begins; null for a daily one. */
  ts: Date | null;
  reason: RevisionReason;
  old: BarVersion & { replacedAt: Date };
  /** From when on the bar was as `old` says: its values may be older than its score. */
  trueFrom: Date;
  /** What came next; null only when the bar is gone. */
  replacement: BarVersion | null;
}

export interface RevisionsPage {
  /** The latest replaced first. */
  revisions: Revision[];
  /** The last of the page; null when nothing is left behind it. */
  next: RevisionPosition | null;
}

type PageRow = BarStateRow & {
  revision_id: number;
  instrument_id: number;
  symbol: string;
  timeframe: string;
  session: string;
  ts: Date | null;
  reason: RevisionReason;
  ts_replaced: Date;
  replaced_micros: number;
  true_from: Date;
} & { [Column in keyof BarStateRow as `new_${Column}`]: BarStateRow[Column] | null } & {
  new_ts_replaced: Date | null;
};

/** Revisions in the order in which the bars were changed, the latest first. */
export async function selectRevisions(sql: AnySql, query: RevisionsQuery): Promise<RevisionsPage> {
  const { limit } = query;
  const columns = sql`
    r.revision_id, r.instrument_id, r.timeframe, r.session, r.ts, r.reason, r.ts_replaced, r.open,
    r.high, r.low, r.close, r.volume, r.vwap, r.trade_count, r.score, r.flags, r.is_final,
    r.provider, r.ts_received`;
  const rows = await sql<PageRow[]>`
    with page as (
      select r.*
      from unnest(${query.reasons as RevisionReason[]}::text[]) as wanted(reason)
      cross join lateral (
        select * from bar_revisions
        where reason = wanted.reason ${narrow(sql, query)}
        order by ts_replaced desc, revision_id desc limit ${limit + 1}) r
      order by r.ts_replaced desc, r.revision_id desc limit ${limit + 1})
    select ${columns}, (extract(epoch from r.ts_replaced) * 1000000)::bigint as replaced_micros,
           coalesce(s.symbol, '') as symbol,
           coalesce(earlier.ts_replaced, r.ts_received) as true_from,
           n.open as new_open, n.high as new_high, n.low as new_low, n.close as new_close,
           n.volume as new_volume, n.vwap as new_vwap, n.trade_count as new_trade_count,
           n.score as new_score, n.flags as new_flags, n.is_final as new_is_final,
           n.provider as new_provider, n.ts_received as new_ts_received,
           n.ts_replaced as new_ts_replaced
    from page r
    left join lateral (
      select symbol from symbol_ranges
      where instrument_id = r.instrument_id order by valid_to desc limit 1) s on true
    left join lateral (
      select max(e.ts_replaced) as ts_replaced from bar_revisions e
      where ${isSameBar(sql, 'e')}
        and (e.ts_replaced, e.revision_id) < (r.ts_replaced, r.revision_id)) earlier on true
    left join lateral (
      ${successors(sql)} order by place, ts_replaced, revision_id limit 1) n on true
    order by r.ts_replaced desc, r.revision_id desc`;
  const revisions = rows.slice(0, limit).map(toRevision);
  const last = rows[limit - 1];
  const next =
    rows.length > limit ? { micros: last.replaced_micros, revisionId: last.revision_id } : null;
  return { revisions, next };
}

function narrow(sql: AnySql, query: RevisionsQuery) {
  const { instrumentId, timeframe, firstDay, lastDay, after } = query;
  return sql`
    ${instrumentId === undefined ? sql`` : sql`and instrument_id = ${instrumentId}`}
    ${timeframe === undefined ? sql`` : sql`and timeframe = ${timeframe}`}
    ${firstDay === undefined ? sql`` : sql`and session >= ${toDate(firstDay)}`}
    ${lastDay === undefined ? sql`` : sql`and session <= ${toDate(lastDay)}`}
    ${
      after === undefined
        ? sql``
        : sql`and (ts_replaced, revision_id) <
                  (${toTimestamp(sql, after.micros)}, ${after.revisionId}::bigint)`
    }`;
}

/** Revisions of the bar of which `r` is one. Said so that the index of the key serves. */
function isSameBar(sql: AnySql, other: 'e' | 'n') {
  const o = sql(other);
  return sql`
    ${o}.instrument_id = r.instrument_id and ${o}.timeframe = r.timeframe
    and ${o}.session = r.session and (${o}.ts = r.ts or (${o}.ts is null and r.ts is null))`;
}

/** What a bar said after the revision `r`: its later revisions, then the bar. */
function successors(sql: AnySql) {
  const bar = sql`
    b.open, b.high, b.low, b.close, b.volume, b.vwap, b.trade_count, b.score, b.flags, b.is_final,
    b.provider, b.ts_received`;
  return sql`
    select 1 as place, n.ts_replaced, n.revision_id, n.open, n.high, n.low, n.close, n.volume,
           n.vwap, n.trade_count, n.score, n.flags, n.is_final, n.provider, n.ts_received
    from bar_revisions n
    where ${isSameBar(sql, 'n')} and (n.ts_replaced, n.revision_id) > (r.ts_replaced, r.revision_id)
    union all
    select 2, null, null, ${bar} from bars_1d b
    where r.timeframe = '1d' and b.instrument_id = r.instrument_id and b.session = r.session
    union all
    select 2, null, null, ${bar} from bars_1h b
    where r.timeframe = '1h' and b.instrument_id = r.instrument_id and b.ts = r.ts
    union all
    select 2, null, null, ${bar} from bars_1m b
    where r.timeframe = '1m' and b.instrument_id = r.instrument_id and b.ts = r.ts`;
}

function toRevision(row: PageRow): Revision {
  const { revision_id, instrument_id, symbol, timeframe, session, ts, reason, true_from } = row;
  return {
    ...{ revisionId: revision_id, instrumentId: instrument_id, symbol, timeframe, session, ts },
    reason,
    old: { ...toBarState(row), replacedAt: row.ts_replaced },
    trueFrom: true_from,
    replacement: toReplacement(row),
  };
}

function toReplacement(row: PageRow): BarVersion | null {
  if (row.new_open === null) return null;
  const named = Object.entries(row).filter(([name]) => name.startsWith('new_'));
  const version = Object.fromEntries(named.map(([name, value]) => [name.slice(4), value]));
  return {
    ...toBarState(version as unknown as BarStateRow),
    replacedAt: row.new_ts_replaced,
  };
}

/** The fields of a bar that a revision compares. */
export const REVISED_FIELDS = ['open', 'high', 'low', 'close', 'volume', 'vwap'] as const;
export type RevisedField = (typeof REVISED_FIELDS)[number];

/**
 * By how much each field changed, in percent of what it was before, with four digits. Null where
 * that is no number: nothing came next, there was or is no value, or it was zero.
 */
export function revisionChange({
  old,
  replacement,
}: Revision): Record<RevisedField, number | null> {
  const change = (field: RevisedField) => {
    const [before, after] = [old[field], replacement?.[field] ?? null];
    if (before === after && before !== null) return 0;
    if (before === null || after === null || before === 0) return null;
    return Math.round((after / before - 1) * 1_000_000) / 10_000;
  };
  return Object.fromEntries(REVISED_FIELDS.map((field) => [field, change(field)])) as Record<
    RevisedField,
    number | null
  >;
}
