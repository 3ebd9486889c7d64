import type { StoredIntraday } from '../model/intraday.ts';
import { newYorkInstant, toDate } from '../model/session.ts';
import {
  decodeIntraday,
  INTRADAY_TABLES,
  type IntradayColumnBytes,
  intradayColumns,
  type StoredIntradayBars,
} from './bar-columns.ts';
import { BinaryCopy, copyIn, PG_EPOCH_DAY, type Transaction } from './database.ts';
import {
  allowDecompression,
  isRevised,
  type Origin,
  replacedAt,
  type SessionSpan,
  updatedOrigin,
} from './upsert.ts';

/** One row to write. */
export interface IntradayRow {
  instrumentId: number;
  bars: StoredIntradayBars;
  /** The row's position in `bars`. */
  row: number;
}

/** Stored bars of whole days, an entry a span that has any; days are New York's. */
export async function selectStoredIntraday(
  tx: Transaction,
  timeframe: StoredIntraday,
  spans: readonly SessionSpan[],
): Promise<Map<number, StoredIntradayBars[]>> {
  const found = new Map<number, StoredIntradayBars[]>();
  if (spans.length === 0) return found;
  const instant = (day: number) => new Date(newYorkInstant(day, 0)).toISOString();
  const rows = await tx<({ instrument_id: number } & IntradayColumnBytes)[]>`
    select r.id as instrument_id, b.*
    from unnest(${spans.map((s) => s.instrumentId)}::int[],
                ${spans.map((s) => instant(s.firstDay))}::timestamptz[],
                ${spans.map((s) => instant(s.lastDay + 1))}::timestamptz[])
      with ordinality as r(id, first, stop, position)
    cross join lateral (
      select ${intradayColumns(tx)}
      from (select * from ${tx(INTRADAY_TABLES[timeframe])}
            where instrument_id = r.id and ts >= r.first and ts < r.stop
            order by ts) ordered) b
    where b.ts is not null
    order by r.position`;
  for (const row of rows) {
    const list = found.get(row.instrument_id) ?? [];
    list.push(decodeIntraday(row));
    found.set(row.instrument_id, list);
  }
  return found;
}

const COLUMNS =
  'ts, ts_received, open, high, low, close, volume, score, instrument_id, flags, session, part, ' +
  'is_final, provider, trade_count, vwap';
const COLUMN_COUNT = 16;

function appendRow(
  copy: BinaryCopy,
  { instrumentId, bars, row }: IntradayRow,
  receivedAt: number,
  provider: Uint8Array,
): void {
  copy.timestamp(bars.ts[row]);
  copy.timestamp(receivedAt);
  copy.float64(bars.open[row]);
  copy.float64(bars.high[row]);
  copy.float64(bars.low[row]);
  copy.float64(bars.close[row]);
  copy.float64(bars.volume[row]);
  copy.float64(bars.score[row]);
  copy.int32(instrumentId);
  copy.int32(bars.flags[row]);
  copy.int32(bars.session[row] - PG_EPOCH_DAY);
  copy.int16(bars.part[row]);
  copy.boolean(bars.isFinal[row] === 1);
  copy.text(provider);
  if (Number.isNaN(bars.tradeCount[row])) copy.null();
  else copy.int32(bars.tradeCount[row]);
  if (Number.isNaN(bars.vwap[row])) copy.null();
  else copy.float64(bars.vwap[row]);
}

/** Adds bars that are known not to be there yet: one COPY straight into the table. */
export async function insertIntraday(
  tx: Transaction,
  timeframe: StoredIntraday,
  rows: readonly IntradayRow[],
  { provider, receivedAt }: Origin,
): Promise<void> {
  if (rows.length === 0) return;
  const copy = new BinaryCopy(COLUMN_COUNT);
  const name = new TextEncoder().encode(provider);
  for (const row of rows) {
    copy.row();
    appendRow(copy, row, receivedAt, name);
  }
  const statement = `copy ${INTRADAY_TABLES[timeframe]} (${COLUMNS}) from stdin (format binary)`;
  await copyIn(tx, statement, copy.chunks());
}

export interface ChangedIntraday extends IntradayRow {
  /** True when prices or volume changed: the old values become a revision. */
  isRevision: boolean;
}

/**
 * Replaces stored bars: COPY into a staging table, then one statement that moves the old values of
 * revised bars to `bar_revisions` and updates the rows.
 * @throws Error when a bar to change is not there, which the ingest lock rules out.
 */
export async function upsertChangedIntraday(
  tx: Transaction,
  timeframe: StoredIntraday,
  rows: readonly ChangedIntraday[],
  { provider, receivedAt }: Origin,
): Promise<void> {
  if (rows.length === 0) return;
  await tx`
    create temp table if not exists staged_intraday (
      is_revision boolean, like bars_1m) on commit delete rows`;
  const copy = new BinaryCopy(COLUMN_COUNT + 1);
  const name = new TextEncoder().encode(provider);
  for (const row of rows) {
    copy.row();
    copy.boolean(row.isRevision);
    appendRow(copy, row, receivedAt, name);
  }
  const target = `staged_intraday (is_revision, ${COLUMNS})`;
  await copyIn(tx, `copy ${target} from stdin (format binary)`, copy.chunks());
  if (rows.length > 500) await tx`analyze staged_intraday`;
  await updateFromStaged(tx, timeframe, rows);
}

async function updateFromStaged(
  tx: Transaction,
  timeframe: StoredIntraday,
  rows: readonly ChangedIntraday[],
): Promise<void> {
  await allowDecompression(tx);
  // As in upsert.ts: said once more as constants, they keep out whole chunks.
  const table = tx(INTRADAY_TABLES[timeframe]);
  const ids = [...new Set(rows.map((row) => row.instrumentId))];
  const instants = rows.map(({ bars, row }) => bars.ts[row]);
  const first = new Date(instants.reduce((a, b) => Math.min(a, b)));
  const last = new Date(instants.reduce((a, b) => Math.max(a, b)));
  const [{ updated }] = await tx<{ updated: number }[]>`
    with revised as (
      insert into bar_revisions (instrument_id, timeframe, session, ts, flags, trade_count, open,
        high, low, close, volume, vwap, score, is_final, provider, ts_received, ts_final,
        ts_replaced, reason)
      select b.instrument_id, ${timeframe}, b.session, b.ts, b.flags, b.trade_count, b.open, b.high,
             b.low, b.close, b.volume, b.vwap, b.score, b.is_final, b.provider, b.ts_received,
             b.ts_final, ${replacedAt(tx)}
      from staged_intraday s join ${table} b using (instrument_id, ts)
      where ${isRevised(tx)}),
    updated as (
      update ${table} b
      set flags = s.flags, trade_count = s.trade_count, open = s.open, high = s.high, low = s.low,
          close = s.close, volume = s.volume, vwap = s.vwap, score = s.score, part = s.part,
          is_final = s.is_final, ${updatedOrigin(tx)}
      from staged_intraday s
      where b.instrument_id = s.instrument_id and b.ts = s.ts
        and b.instrument_id = any(${ids}::int[]) and b.ts between ${first} and ${last}
      returning 1)
    select count(*)::int as updated from updated`;
  if (updated !== rows.length) {
    const days = `${toDate(rows[0].bars.session[rows[0].row])} and others`;
    throw new Error(`${rows.length} bars of ${days} were to be changed and ${updated} were there`);
  }
}
