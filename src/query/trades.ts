import { type AnySql, toTimestamp } from '../store/database.ts';

/** A place among an instrument's trades: that of one of them. */
export interface TradePosition {
  /** Epoch microseconds. */
  micros: number;
  sequence: number;
}

export interface TradesQuery {
  /** Epoch microseconds; trades in [start, end). Without start and `after`: the last ones. */
  start: number | null;
  end: number | null;
  /** Only trades behind this one. */
  after: TradePosition | null;
  limit: number;
}

export interface TradesPage {
  /** JSON objects, ascending, separated by commas. */
  rows: string;
  count: number;
  /** The last trade of the page; null when nothing is left behind it. */
  next: TradePosition | null;
}

interface PageRow {
  rows: string | null;
  count: number;
  found: number;
  micros: number | null;
  sequence: number | null;
}

/** Trades in order of time, those of one instant by their numbers. */
export async function selectTrades(
  sql: AnySql,
  { instrumentId, symbol }: { instrumentId: number; symbol: string },
  { start, end, after, limit }: TradesQuery,
): Promise<TradesPage> {
  const isLatest = start === null && after === null;
  const order = isLatest ? sql`desc` : sql`asc`;
  const first = Math.max(start ?? -Infinity, after?.micros ?? -Infinity);
  const behind = after
    ? sql`and (ts, sequence) > (${toTimestamp(sql, after.micros)}, ${after.sequence}::bigint)`
    : sql``;
  const [row] = await sql<PageRow[]>`
    with found as (
      select *, row_number() over (order by ts ${order}, sequence ${order}) as position
      from (select * from trades
            where instrument_id = ${instrumentId} and ts >= ${toTimestamp(sql, first)}
              and ts < ${toTimestamp(sql, end ?? Infinity)} ${behind}
            order by ts ${order}, sequence ${order} limit ${limit + 1}) page),
    page as (select * from found where position <= ${limit})
    select (select count(*)::int from found) as found, count(*)::int as count,
           (extract(epoch from max(ts)) * 1000000)::bigint as micros,
           (array_agg(sequence order by ts desc, sequence desc))[1] as sequence,
           string_agg('{"symbol":' || ${JSON.stringify(symbol)}
             || ',"price":' || price || ',"volume":' || size || ',"size":' || size
             || ',"timestamp":"'
             || to_char(ts at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
             || '","sequence":' || sequence
             || ',"exchange":' || coalesce(to_json(exchange)::text, 'null')
             || ',"conditions":' || coalesce(to_json(conditions)::text, 'null')
             || ',"provider":' || to_json(provider)::text
             || ',"synthetic":' || (provider = 'synthetic')::text || '}',
             ',' order by ts, sequence) as rows
    from page`;
  const { rows, count, found, micros, sequence } = row;
  const hasMore = !isLatest && found > limit && micros !== null && sequence !== null;
  return { rows: rows ?? '', count, next: hasMore ? { micros, sequence } : null };
}
