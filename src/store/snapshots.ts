import type { Snapshot } from '../model/snapshot.ts';
import type { AnySql, Transaction } from './database.ts';
import type { Origin } from './upsert.ts';

/** One row to write; no two of one instrument and instant. */
export interface SnapshotRow {
  instrumentId: number;
  snapshot: Snapshot;
}

/** A row that was written. What is not among them was stored like that already. */
export interface WrittenSnapshot {
  instrumentId: number;
  /** Epoch ms. */
  ts: number;
  /** False when it was there, with other values. */
  isNew: boolean;
}

/**
 * Stores snapshots by instrument, instant and provider; a row that says nothing new is not
 * written. What is known of an instant stays known: a null does not replace a value, so that an
 * answer with fewer fields takes nothing away.
 */
export async function upsertSnapshots(
  tx: Transaction,
  rows: readonly SnapshotRow[],
  { provider, receivedAt }: Origin,
): Promise<WrittenSnapshot[]> {
  if (rows.length === 0) return [];
  const all = rows.map(({ snapshot }) => snapshot);
  const written = await tx<{ id: number; ts: Date; is_new: boolean }[]>`
    with given as (
      select * from unnest(${rows.map((row) => row.instrumentId)}::int[],
        ${all.map((s) => new Date(s.ts).toISOString())}::timestamptz[],
        ${all.map((s) => s.price)}::float8[], ${all.map((s) => s.open)}::float8[],
        ${all.map((s) => s.dayHigh)}::float8[], ${all.map((s) => s.dayLow)}::float8[],
        ${all.map((s) => s.previousClose)}::float8[], ${all.map((s) => s.volume)}::float8[],
        ${all.map((s) => s.marketCap)}::float8[], ${all.map((s) => s.peRatio)}::float8[],
        ${all.map((s) => JSON.stringify(s.meta))}::text[]::jsonb[])
        as g(instrument_id, ts, price, open, day_high, day_low, previous_close, volume,
          market_cap, pe_ratio, meta)),
    before as (
      select s.* from given g join snapshots s using (instrument_id, ts)
      where s.provider = ${provider}),
    merged as (
      select g.instrument_id, g.ts, g.price, coalesce(g.open, b.open) as open,
             coalesce(g.day_high, b.day_high) as day_high,
             coalesce(g.day_low, b.day_low) as day_low,
             coalesce(g.previous_close, b.previous_close) as previous_close,
             coalesce(g.volume, b.volume) as volume,
             coalesce(g.market_cap, b.market_cap) as market_cap,
             coalesce(g.pe_ratio, b.pe_ratio) as pe_ratio,
             case when b.meta is null then g.meta
                  else b.meta || jsonb_strip_nulls(g.meta) end as meta,
             b.ts is null as is_new
      from given g left join before b using (instrument_id, ts)
      where b.ts is null
         or (b.price, b.meta) is distinct from (g.price, b.meta || jsonb_strip_nulls(g.meta))),
    stored as (
      insert into snapshots (instrument_id, ts, price, open, day_high, day_low, previous_close,
        volume, market_cap, pe_ratio, meta, ts_received, provider)
      select instrument_id, ts, price, open, day_high, day_low, previous_close, volume, market_cap,
             pe_ratio, meta, ${new Date(receivedAt)}, ${provider}
      from merged
      on conflict (instrument_id, ts, provider) do update set
        price = excluded.price, open = excluded.open, day_high = excluded.day_high,
        day_low = excluded.day_low, previous_close = excluded.previous_close,
        volume = excluded.volume, market_cap = excluded.market_cap, pe_ratio = excluded.pe_ratio,
        meta = excluded.meta, ts_received = excluded.ts_received
      returning instrument_id, ts)
    select s.instrument_id as id, s.ts, m.is_new
    from stored s join merged m using (instrument_id, ts)`;
  return written.map(({ id, ts, is_new }) => ({
    instrumentId: id,
    ts: ts.getTime(),
    isNew: is_new,
  }));
}

/** Whoever holds the lock of the collector. */
export interface CollectorHolder {
  /** host:pid of the process, when it has recorded a run; else null. */
  worker: string | null;
  /** Of its connection to the database; null when that is a socket. */
  address: string | null;
  since: Date;
}

/** The collector that runs now; undefined when none does. */
export async function selectCollectorHolder(
  sql: AnySql,
  lock: string,
): Promise<CollectorHolder | undefined> {
  const [row] = await sql<{ worker: string | null; address: string | null; since: Date }[]>`
    select (select r.worker from job_runs r
            where r.job = ${lock} and r.started_at >= a.backend_start
            order by r.run_id desc limit 1) as worker,
           host(a.client_addr) as address, a.backend_start as since
    from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and l.objsubid = 2
      and l.database = (select oid from pg_database where datname = current_database())
      and l.classid = hashtext('marketd')::oid and l.objid = hashtext(${lock})::oid`;
  return row && { ...row };
}
