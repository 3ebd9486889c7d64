import type { SnapshotMeta, SnapshotValues } from '../model/snapshot.ts';
import type { AnySql } from '../store/database.ts';

/** A snapshot as it is stored. */
export interface StoredSnapshot extends SnapshotValues {
  instrumentId: number;
  /** The symbol that the instrument has now. */
  symbol: string;
  /** When it was so, by the provider. */
  ts: Date;
  receivedAt: Date;
  provider: string;
  meta: SnapshotMeta;
}

interface SnapshotRow {
  instrument_id: number;
  symbol: string;
  ts: Date;
  ts_received: Date;
  provider: string;
  price: number;
  open: number | null;
  day_high: number | null;
  day_low: number | null;
  previous_close: number | null;
  volume: number | null;
  market_cap: number | null;
  pe_ratio: number | null;
  meta: SnapshotMeta;
}

const toStored = (row: SnapshotRow): StoredSnapshot => ({
  instrumentId: row.instrument_id,
  symbol: row.symbol,
  ts: row.ts,
  receivedAt: row.ts_received,
  provider: row.provider,
  price: row.price,
  open: row.open,
  dayHigh: row.day_high,
  dayLow: row.day_low,
  previousClose: row.previous_close,
  volume: row.volume,
  marketCap: row.market_cap,
  peRatio: row.pe_ratio,
  meta: row.meta,
});

/**
 * The newest snapshot of each of these instruments, or of all that have any; by symbol. One look
 * at the end of an index for each.
 */
export async function selectLatestSnapshots(
  sql: AnySql,
  instrumentIds?: readonly number[],
): Promise<StoredSnapshot[]> {
  const ids = instrumentIds === undefined ? null : [...instrumentIds];
  const rows = await sql<SnapshotRow[]>`
    select r.symbol, s.*
    from symbol_ranges r
    cross join lateral (
      select * from snapshots
      where instrument_id = r.instrument_id
      order by ts desc, provider desc limit 1) s
    where r.valid_to = 'infinity'
      and (${ids}::int[] is null or r.instrument_id = any(${ids}::int[]))
    order by r.symbol collate "C"`;
  return rows.map(toStored);
}
