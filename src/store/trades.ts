import type { TradeColumns } from '../model/trade.ts';
import {
  BinaryCopy,
  copyIn,
  type Sql,
  type Transaction,
  toTimestamp,
  transactLocked,
} from './database.ts';
import type { Origin } from './upsert.ts';

/** Some trades of one instrument. */
export interface TradePick {
  instrumentId: number;
  trades: TradeColumns;
  /** Rows of `trades`, ascending by instant and number, no two with the same. */
  rows: ArrayLike<number>;
}

/** A span of time, epoch microseconds, both inclusive. */
export interface TradeSpan {
  instrumentId: number;
  first: number;
  last: number;
}

/**
 * Runs `body` in a transaction that is the only one writing trades. One lock for all instruments:
 * a batch of a flat file may hold ten thousand of them, more than the database has room for locks
 * of, and it is held for a quarter of a second. What is stored of the batch's spans can then be
 * told before it is sent, which makes COPY straight into the table safe.
 */
export function withTradesLock<T>(write: Sql, body: (tx: Transaction) => Promise<T>): Promise<T> {
  return transactLocked(write, 'trades', body);
}

/** The first and last stored instants within each span; a span without trades is not in the map. */
export async function selectHeldSpans(
  tx: Transaction,
  spans: readonly TradeSpan[],
): Promise<Map<number, TradeSpan>> {
  const found = new Map<number, TradeSpan>();
  if (spans.length === 0) return found;
  // The whole range once more as constants: they keep out chunks when the statement is planned.
  const first = spans.reduce((min, span) => Math.min(min, span.first), Number.POSITIVE_INFINITY);
  const last = spans.reduce((max, span) => Math.max(max, span.last), Number.NEGATIVE_INFINITY);
  const seconds = (micros: number) => micros / 1_000_000;
  const whole = tx`ts between ${toTimestamp(tx, first)} and ${toTimestamp(tx, last)}`;
  const rows = await tx<{ id: number; first: number; last: number }[]>`
    select r.id, (extract(epoch from a.ts) * 1000000)::bigint as first,
           (extract(epoch from b.ts) * 1000000)::bigint as last
    from unnest(${spans.map((span) => span.instrumentId)}::int[],
                ${spans.map((span) => seconds(span.first))}::float8[],
                ${spans.map((span) => seconds(span.last))}::float8[])
      as r(id, first, last)
    cross join lateral (
      select ts from trades
      where instrument_id = r.id and ${whole}
        and ts between to_timestamp(r.first) and to_timestamp(r.last)
      order by ts limit 1) a
    cross join lateral (
      select ts from trades
      where instrument_id = r.id and ${whole}
        and ts between to_timestamp(r.first) and to_timestamp(r.last)
      order by ts desc limit 1) b`;
  for (const row of rows) {
    found.set(row.id, { instrumentId: row.id, first: row.first, last: row.last });
  }
  return found;
}

/** Remembers how many trades this transaction stores, and when: '150 2026-01-05T14:30:00Z'. */
export async function upsertLastTrades(tx: Transaction, count: number): Promise<void> {
  await tx`
    insert into settings values ('last_trades', ${count}::int || ' ' ||
      to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    on conflict (name) do update set value = excluded.value`;
}

const TRADE_COLUMNS =
  'ts, sequence, price, size, ts_received, instrument_id, updates, provider, exchange, conditions';
const TRADE_COLUMN_COUNT = 10;

/** Adds trades that are known not to be there yet: one COPY straight into the table. */
export async function insertTrades(
  tx: Transaction,
  picks: readonly TradePick[],
  origin: Origin,
): Promise<void> {
  await copyTrades(tx, 'trades', picks, origin);
}

/** @returns how many rows were sent. */
async function copyTrades(
  tx: Transaction,
  table: string,
  picks: readonly TradePick[],
  { provider, receivedAt }: Origin,
): Promise<number> {
  const copy = new BinaryCopy(TRADE_COLUMN_COUNT);
  const encoder = new TextEncoder();
  const providerBytes = encoder.encode(provider);
  const known = new Map<string, Uint8Array>();
  const text = (value: string | null) => {
    if (value === null) return copy.null();
    let bytes = known.get(value);
    if (!bytes) {
      bytes = encoder.encode(value);
      known.set(value, bytes);
    }
    copy.text(bytes);
  };
  let sent = 0;
  for (const { instrumentId, trades, rows } of picks) {
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      copy.row();
      copy.timestampMicros(trades.ts[row]);
      copy.int64(trades.sequence[row]);
      copy.float64(trades.price[row]);
      copy.float64(trades.size[row]);
      copy.timestamp(receivedAt);
      copy.int32(instrumentId);
      copy.int16(trades.updates[row]);
      copy.text(providerBytes);
      text(trades.exchange[row]);
      text(trades.conditions[row]);
    }
    sent += rows.length;
  }
  if (sent === 0) return 0;
  await copyIn(tx, `copy ${table} (${TRADE_COLUMNS}) from stdin (format binary)`, copy.chunks());
  return sent;
}

/** What a merge did with the trades of one instrument. */
export interface MergeCount {
  inserted: number;
  changed: number;
  /** Those that are news, as [instant, number]; no more than were asked for. */
  news: [micros: number, sequence: number][];
  /** Instants of the first and last of them, epoch microseconds. */
  first: number;
  last: number;
}

interface MergeRow {
  id: number;
  inserted: number;
  changed: number;
  first: number;
  last: number;
  instants: number[];
  sequences: number[];
}

/**
 * Lays trades over stored ones: COPY into a staging table, then one statement that writes those
 * that are new or say something else. An exchange or condition that is not given says nothing.
 * @returns by instrument; one whose trades were all stored already is not in the map.
 */
export async function upsertTrades(
  tx: Transaction,
  picks: readonly TradePick[],
  origin: Origin,
  newsMax: number,
): Promise<Map<number, MergeCount>> {
  const counts = new Map<number, MergeCount>();
  await tx`create temp table if not exists staged_trades (like trades) on commit delete rows`;
  const sent = await copyTrades(tx, 'staged_trades', picks, origin);
  if (sent === 0) return counts;
  if (sent > 500) await tx`analyze staged_trades`;
  // Compressed rows must be unpacked to be changed; see upsertChangedBars.
  await tx`
    select set_config(name, '0', true) from pg_settings
    where name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'`;
  const [ids, first, last] = spanOf(picks);
  const rows = await tx<MergeRow[]>`
    with fresh as materialized (
      select s.*, t.instrument_id is null as is_new
      from staged_trades s
      left join trades t
        on t.instrument_id = s.instrument_id and t.ts = s.ts and t.sequence = s.sequence
       and t.instrument_id = any(${ids}::int[]) and t.ts between ${toTimestamp(tx, first)}
                                                   and ${toTimestamp(tx, last)}
      where t.instrument_id is null
         or (t.price, t.size, t.updates) is distinct from (s.price, s.size, s.updates)
         or t.exchange is distinct from coalesce(s.exchange, t.exchange)
         or t.conditions is distinct from coalesce(s.conditions, t.conditions)),
    written as (
      insert into trades as t (ts, sequence, price, size, ts_received, instrument_id, updates,
        provider, exchange, conditions)
      select ts, sequence, price, size, ts_received, instrument_id, updates, provider, exchange,
             conditions
      from fresh
      on conflict (instrument_id, ts, sequence) do update set
        price = excluded.price, size = excluded.size, updates = excluded.updates,
        provider = excluded.provider, ts_received = excluded.ts_received,
        exchange = coalesce(excluded.exchange, t.exchange),
        conditions = coalesce(excluded.conditions, t.conditions))
    select instrument_id as id, (count(*) filter (where is_new))::int as inserted,
           (count(*) filter (where not is_new))::int as changed,
           (extract(epoch from min(ts)) * 1000000)::bigint as first,
           (extract(epoch from max(ts)) * 1000000)::bigint as last,
           (array_agg((extract(epoch from ts) * 1000000)::float8 order by ts, sequence))
             [1:${newsMax}::int] as instants,
           (array_agg(sequence::float8 order by ts, sequence))[1:${newsMax}::int] as sequences
    from fresh group by instrument_id`;
  for (const { id, inserted, changed, first, last, instants, sequences } of rows) {
    const news = instants.map((micros, i): [number, number] => [micros, sequences[i]]);
    counts.set(id, { inserted, changed, first, last, news });
  }
  return counts;
}

/** The instruments of picks, and the first and last instant of all. */
function spanOf(picks: readonly TradePick[]): [ids: number[], first: number, last: number] {
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const { trades, rows } of picks) {
    if (rows.length === 0) continue;
    first = Math.min(first, trades.ts[rows[0]]);
    last = Math.max(last, trades.ts[rows[rows.length - 1]]);
  }
  const ids = picks.map(({ instrumentId }) => instrumentId);
  return [[...new Set(ids)], first, last];
}
