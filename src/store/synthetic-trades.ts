import type { AnySql } from './database.ts';

/** What is known of an instrument before made-up trades of it begin. */
export interface TradeStart {
  instrumentId: number;
  /** True when anything real is held of it: made-up trades must not join that. */
  hasReal: boolean;
  /** Of the latest trade; null without one. */
  lastPrice: number | null;
  /** When that was, epoch microseconds. */
  lastMicros: number | null;
  /** The latest daily close that is validated; null without one. */
  lastClose: number | null;
}

interface StartRow {
  id: number;
  has_real: boolean;
  price: number | null;
  micros: number | null;
  close: number | null;
}

/** One row an instrument, in the order that was given. Each costs three looks into an index. */
export async function selectTradeStarts(
  sql: AnySql,
  instrumentIds: readonly number[],
): Promise<TradeStart[]> {
  const rows = await sql<StartRow[]>`
    select r.id, t.price, t.micros, d.close,
           exists (select from instrument_status s
                   where s.instrument_id = r.id and s.records > 0 and not s.is_synthetic)
           or exists (select from snapshots s
                      where s.instrument_id = r.id and s.provider <> 'synthetic') as has_real
    from unnest(${instrumentIds as number[]}::int[]) with ordinality as r(id, position)
    left join lateral (
      select price, (extract(epoch from ts) * 1000000)::bigint as micros
      from trades where instrument_id = r.id
      order by ts desc, sequence desc limit 1) t on true
    left join lateral (
      select close from bars_1d where instrument_id = r.id and score >= 0.85
      order by session desc limit 1) d on true
    order by r.position`;
  return rows.map((row) => ({
    instrumentId: row.id,
    hasReal: row.has_real,
    lastPrice: row.price,
    lastMicros: row.micros,
    lastClose: row.close,
  }));
}
