import type { RejectedRow } from '../model/bar.ts';
import type { CoverageRange, CoverageState } from '../model/coverage.ts';
import { toDate, toDay } from '../model/session.ts';
import {
  type BarColumnBytes,
  barColumns,
  decodeStoredBars,
  type StoredBars,
} from './bar-columns.ts';
import {
  type AnySql,
  BinaryCopy,
  copyIn,
  lockTransaction,
  PG_EPOCH_DAY,
  type Sql,
  type Transaction,
  transactLocked,
} from './database.ts';

/** One row to write. */
export interface BarRow {
  instrumentId: number;
  bars: StoredBars;
  /** The row's position in `bars`. */
  row: number;
}

export interface Origin {
  provider: string;
  /** Epoch ms. */
  receivedAt: number;
}

/**
 * Runs `body` in a transaction that is the only one writing bars. What it reads of them cannot
 * change before it commits, so differences are found in the process and unchanged rows are never
 * sent. Bulk loads are short and bound by the database's one core: taking turns costs nothing.
 */
export function withIngestLock<T>(write: Sql, body: (tx: Transaction) => Promise<T>): Promise<T> {
  return transactLocked(write, 'ingest', body);
}

export interface SessionSpan {
  instrumentId: number;
  /** Days since 1970-01-01, both inclusive. */
  firstDay: number;
  lastDay: number;
}

/** Stored bars of many instruments as columns; an instrument without any is not in the map. */
export async function selectStoredBars(
  tx: Transaction,
  spans: readonly SessionSpan[],
): Promise<Map<number, StoredBars>> {
  const found = new Map<number, StoredBars>();
  if (spans.length === 0) return found;
  const rows = await tx<({ instrument_id: number } & BarColumnBytes)[]>`
    select r.id as instrument_id, b.*
    from unnest(${spans.map((s) => s.instrumentId)}::int[],
                ${spans.map((s) => toDate(s.firstDay))}::date[],
                ${spans.map((s) => toDate(s.lastDay))}::date[]) as r(id, first, last)
    cross join lateral (
      select ${barColumns(tx)}
      from (select * from bars_1d
            where instrument_id = r.id and session between r.first and r.last
            order by session) ordered) b
    where b.session is not null`;
  for (const row of rows) found.set(row.instrument_id, decodeStoredBars(row));
  return found;
}

const BAR_COLUMNS =
  'instrument_id, session, flags, trade_count, open, high, low, close, volume, vwap, score, ' +
  'ts_received, is_final, provider';
const BAR_COLUMN_COUNT = 14;

function appendBar(copy: BinaryCopy, { instrumentId, bars, row }: BarRow, origin: EncodedOrigin) {
  copy.int32(instrumentId);
  copy.int32(bars.session[row] - PG_EPOCH_DAY);
  copy.int32(bars.flags[row]);
  if (Number.isNaN(bars.tradeCount[row])) copy.null();
  else copy.int32(bars.tradeCount[row]);
  copy.float64(bars.open[row]);
  copy.float64(bars.high[row]);
  copy.float64(bars.low[row]);
  copy.float64(bars.close[row]);
  copy.float64(bars.volume[row]);
  if (Number.isNaN(bars.vwap[row])) copy.null();
  else copy.float64(bars.vwap[row]);
  copy.float64(bars.score[row]);
  copy.timestamp(origin.receivedAt);
  copy.boolean(bars.isFinal[row] === 1);
  copy.text(origin.provider);
}

interface EncodedOrigin {
  provider: Uint8Array;
  receivedAt: number;
}

const encodeOrigin = ({ provider, receivedAt }: Origin): EncodedOrigin => ({
  provider: new TextEncoder().encode(provider),
  receivedAt,
});

/** Adds bars that are known not to be there yet: one COPY straight into the table. */
export async function insertBars(
  tx: Transaction,
  rows: readonly BarRow[],
  origin: Origin,
): Promise<void> {
  if (rows.length === 0) return;
  const copy = new BinaryCopy(BAR_COLUMN_COUNT);
  const encoded = encodeOrigin(origin);
  for (const row of rows) {
    copy.row();
    appendBar(copy, row, encoded);
  }
  await copyIn(tx, `copy bars_1d (${BAR_COLUMNS}) from stdin (format binary)`, copy.chunks());
}

export interface ChangedBar extends BarRow {
  /** True when prices or volume changed: the old values become a revision. */
  isRevision: boolean;
}

/**
 * Replaces stored bars: COPY into a staging table, then one statement that keeps what they said in
 * `bar_revisions` and updates the rows. A bar that merely became final leaves no revision: when it
 * did is in `ts_final`.
 * @throws Error when a bar to change is not there, which the ingest lock rules out.
 */
export async function upsertChangedBars(
  tx: Transaction,
  rows: readonly ChangedBar[],
  origin: Origin,
): Promise<void> {
  if (rows.length === 0) return;
  await tx`
    create temp table if not exists staged_bars (
      is_revision boolean, like bars_1d) on commit delete rows`;
  const copy = new BinaryCopy(BAR_COLUMN_COUNT + 1);
  const encoded = encodeOrigin(origin);
  for (const row of rows) {
    copy.row();
    copy.boolean(row.isRevision);
    appendBar(copy, row, encoded);
  }
  const target = `staged_bars (is_revision, ${BAR_COLUMNS})`;
  await copyIn(tx, `copy ${target} from stdin (format binary)`, copy.chunks());
  if (rows.length > 500) await tx`analyze staged_bars`;
  await allowDecompression(tx);
  // Said once more as constants: they keep out chunks, and segments of compressed ones.
  const ids = [...new Set(rows.map((row) => row.instrumentId))];
  const days = rows.map(({ bars, row }) => bars.session[row]);
  const first = toDate(days.reduce((a, b) => Math.min(a, b)));
  const last = toDate(days.reduce((a, b) => Math.max(a, b)));
  const [{ updated }] = await tx<{ updated: number }[]>`
    with revised as (
      insert into bar_revisions (instrument_id, timeframe, session, flags, trade_count, open, high,
        low, close, volume, vwap, score, is_final, provider, ts_received, ts_final, ts_replaced,
        reason)
      select b.instrument_id, '1d', b.session, b.flags, b.trade_count, b.open, b.high, b.low,
             b.close, b.volume, b.vwap, b.score, b.is_final, b.provider, b.ts_received, b.ts_final,
             ${replacedAt(tx)}
      from staged_bars s join bars_1d b using (instrument_id, session)
      where ${isRevised(tx)}),
    updated as (
      update bars_1d b
      set flags = s.flags, trade_count = s.trade_count, open = s.open, high = s.high, low = s.low,
          close = s.close, volume = s.volume, vwap = s.vwap, score = s.score,
          is_final = s.is_final, ${updatedOrigin(tx)}
      from staged_bars s
      where b.instrument_id = s.instrument_id and b.session = s.session
        and b.instrument_id = any(${ids}::int[]) and b.session between ${first} and ${last}
      returning 1)
    select count(*)::int as updated from updated`;
  if (updated !== rows.length) {
    throw new Error(`${rows.length} bars were to be changed and ${updated} were there`);
  }
}

/** Whether a staged row `s` leaves a revision of the bar `b`. */
export const isRevised = (sql: AnySql) => sql`
  (s.is_revision or b.flags <> s.flags or b.score <> s.score)`;

/** The end of a revision and its reason. A clock that went back makes no version end too early. */
export const replacedAt = (sql: AnySql) => sql`
  greatest(s.ts_received, b.ts_received), case when s.is_revision then 'values' else 'score' end`;

/** Who said it and when, and when it became final where that is later. */
export const updatedOrigin = (sql: AnySql) => sql`
  provider = case when s.is_revision then s.provider else b.provider end,
  ts_received = case when s.is_revision then s.ts_received else b.ts_received end,
  ts_final = case when s.is_revision then null
                  when s.is_final and not b.is_final then s.ts_received
                  else b.ts_final end`;

/**
 * Compressed rows must be unpacked to be changed. A setting of TimescaleDB's limits how many, to
 * spare those who did not mean it; it is named by its row, so other editions do not mind.
 */
export async function allowDecompression(tx: Transaction): Promise<void> {
  await tx`
    select set_config(name, '0', true) from pg_settings
    where name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'`;
}

/** How an ingest changed an instrument's counters. */
export interface StatusChange {
  instrumentId: number;
  records: number;
  validated: number;
  excluded: number;
  gaps: number;
  anomalies: number;
  scoreSum: number;
  /** Bars whose values changed, and when (epoch ms). */
  revisions: number;
  revisedAt: number | null;
  /** Days; of the bars written. */
  firstDay: number | null;
  latestDay: number | null;
  latestScore: number | null;
  isSynthetic: boolean;
}

const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());

/** Adds to the counters, in the transaction that changed the rows. */
export async function upsertStatus(
  tx: Transaction,
  changes: readonly StatusChange[],
  provider: string,
  timeframe = '1d',
): Promise<void> {
  if (changes.length === 0) return;
  const day = (value: number | null) => (value === null ? null : toDate(value));
  await tx`
    insert into instrument_status as s (instrument_id, timeframe, records, validated_records,
      excluded_records, gaps_flagged, volume_anomalies, score_sum, first_session, latest_session,
      latest_score, is_synthetic, revisions, last_revision_at, providers, version)
    select id, ${timeframe}, records, validated, excluded, gaps, anomalies, score_sum, first,
           latest, score, synthetic, revisions, revised_at, array[${provider}], 1
    from unnest(${changes.map((c) => c.instrumentId)}::int[],
      ${changes.map((c) => c.records)}::int[], ${changes.map((c) => c.validated)}::int[],
      ${changes.map((c) => c.excluded)}::int[], ${changes.map((c) => c.gaps)}::int[],
      ${changes.map((c) => c.anomalies)}::int[], ${changes.map((c) => c.scoreSum)}::float8[],
      ${changes.map((c) => day(c.firstDay))}::date[],
      ${changes.map((c) => day(c.latestDay))}::date[],
      ${changes.map((c) => c.latestScore)}::float8[],
      ${changes.map((c) => String(c.isSynthetic))}::text[]::bool[],
      ${changes.map((c) => c.revisions)}::int[],
      ${changes.map((c) => iso(c.revisedAt))}::timestamptz[])
      as c(id, records, validated, excluded, gaps, anomalies, score_sum, first, latest, score,
           synthetic, revisions, revised_at)
    on conflict (instrument_id, timeframe) do update set
      records = s.records + excluded.records,
      validated_records = s.validated_records + excluded.validated_records,
      excluded_records = s.excluded_records + excluded.excluded_records,
      gaps_flagged = s.gaps_flagged + excluded.gaps_flagged,
      volume_anomalies = s.volume_anomalies + excluded.volume_anomalies,
      score_sum = s.score_sum + excluded.score_sum,
      first_session = least(s.first_session, excluded.first_session),
      latest_session = greatest(s.latest_session, excluded.latest_session),
      latest_score = case when excluded.latest_session >= coalesce(s.latest_session, '-infinity')
                          then excluded.latest_score else s.latest_score end,
      is_synthetic = s.is_synthetic or excluded.is_synthetic,
      revisions = s.revisions + excluded.revisions,
      last_revision_at = greatest(s.last_revision_at, excluded.last_revision_at),
      -- Whoever explains a gap is not yet whose bars are held.
      providers = case when s.providers @> excluded.providers
                         or (excluded.records = 0 and excluded.revisions = 0) then s.providers
                       else s.providers || excluded.providers end,
      version = s.version + 1`;
}

/** What an instrument holds already. */
export interface Held {
  /** Bars of the timeframe. */
  records: number;
  /** Whether what it holds, of any timeframe, is made up; null when it holds nothing. */
  isSynthetic: boolean | null;
}

/** Which of these instruments hold bars or trades, and whether those are made up. */
export async function selectHeldBars(
  tx: Transaction,
  instrumentIds: readonly number[],
  timeframe = '1d',
): Promise<Map<number, Held>> {
  const rows = await tx<{ id: number; records: number; is_synthetic: boolean | null }[]>`
    select instrument_id as id,
           coalesce(sum(records) filter (where timeframe = ${timeframe}), 0)::float8 as records,
           bool_or(is_synthetic) filter (where records > 0) as is_synthetic
    from instrument_status
    where instrument_id = any(${instrumentIds as number[]}::int[])
    group by instrument_id`;
  return new Map(
    rows.map((row) => [row.id, { records: row.records, isSynthetic: row.is_synthetic }]),
  );
}

/**
 * The same for who stores what is not bars. For the first rows of an instrument it waits for
 * whoever writes bars, and keeps others from it until the commit: nobody may begin with the other
 * kind (real, made up) meanwhile. From then on the instrument's status says what it holds.
 */
export async function lockHeld(
  tx: Transaction,
  instrumentIds: readonly number[],
  timeframe: 'trade' | 'snapshot',
): Promise<Map<number, Held>> {
  const held = await selectHeldBars(tx, instrumentIds, timeframe);
  if (instrumentIds.every((id) => (held.get(id)?.records ?? 0) > 0)) return held;
  await lockTransaction(tx, 'ingest');
  return selectHeldBars(tx, instrumentIds, timeframe);
}

/** Tells every process whose bars (trades, snapshots) changed, when the transaction commits. */
export async function notifyBars(
  tx: Transaction,
  instrumentIds: readonly number[],
  kind: 'bars' | 'trades' | 'snapshots' = 'bars',
): Promise<void> {
  if (instrumentIds.length === 0) return;
  const list = `${kind} ${instrumentIds.join(' ')}`;
  // PostgreSQL refuses a payload of 8,000 bytes; of so many instruments "all" is cheaper anyway.
  const payload = list.length < 8000 ? list : `${kind} *`;
  await tx`select pg_notify('marketd', ${payload})`;
}

/** Keeps rows that are no bars. The same row seen again is counted, not stored twice. */
export async function insertRejectedRows(
  tx: Transaction,
  rows: readonly (RejectedRow & { instrumentId: number | null })[],
  provider: string,
  dataset: string,
): Promise<void> {
  if (rows.length === 0) return;
  const unique = new Map<string, RejectedRow & { instrumentId: number | null }>();
  for (const row of rows) {
    const parts = [provider, dataset, row.symbol, row.session ?? '', row.reason, row.raw];
    const digest = new Bun.CryptoHasher('sha256').update(JSON.stringify(parts)).digest('hex');
    unique.set(digest, row);
  }
  const all = [...unique];
  const session = (text: string | undefined) =>
    text !== undefined && !Number.isNaN(toDay(text)) ? text : null;
  await tx`
    insert into rejected_rows (provider, dataset, instrument_id, symbol, session, reason, raw,
      digest)
    select ${provider}, ${dataset}, id, symbol, session, reason, raw, decode(digest, 'hex')
    from unnest(${all.map(([, r]) => r.instrumentId)}::int[],
      ${all.map(([, r]) => clean(r.symbol, 200))}::text[],
      ${all.map(([, r]) => session(r.session))}::date[],
      ${all.map(([, r]) => clean(r.reason, 500))}::text[],
      ${all.map(([, r]) => clean(r.raw, 1000))}::text[],
      ${all.map(([digest]) => digest)}::text[]) as r(id, symbol, session, reason, raw, digest)
    on conflict (digest) do update
      set seen_count = rejected_rows.seen_count + 1, ts_last_seen = now()`;
}

/** PostgreSQL's text holds no NUL. */
function clean(text: string, lengthMax: number): string {
  return text.replaceAll('\0', '\uFFFD').slice(0, lengthMax);
}

interface CoverageRow {
  instrument_id: number;
  start_session: string;
  end_session: string;
  state: CoverageState;
  is_settled: boolean;
  provider: string;
  asked_at: Date;
  attempts: number;
  retry_at: Date | null;
  detail: string | null;
}

/** Coverage of one dataset by instrument, ascending; an instrument without any is not there. */
export async function selectCoverageRanges(
  tx: Transaction | Sql,
  dataset: string,
  instrumentIds: readonly number[],
): Promise<Map<number, CoverageRange[]>> {
  const rows = await tx<CoverageRow[]>`
    select instrument_id, start_session, end_session, state, is_settled, provider, asked_at,
           attempts, retry_at, detail
    from coverage
    where dataset = ${dataset} and instrument_id = any(${instrumentIds as number[]}::int[])
    order by instrument_id, start_session`;
  const found = new Map<number, CoverageRange[]>();
  for (const row of rows) {
    const ranges = found.get(row.instrument_id) ?? [];
    ranges.push({
      start: toDay(row.start_session),
      end: toDay(row.end_session),
      state: row.state,
      isSettled: row.is_settled,
      provider: row.provider,
      askedAt: row.asked_at.getTime(),
      attempts: row.attempts,
      retryAt: row.retry_at?.getTime() ?? null,
      detail: row.detail,
    });
    found.set(row.instrument_id, ranges);
  }
  return found;
}

export interface CoverageChange {
  instrumentId: number;
  before: readonly CoverageRange[];
  after: readonly CoverageRange[];
}

/** Writes the difference between two states of coverage. */
export async function upsertCoverage(
  tx: Transaction,
  dataset: string,
  changes: readonly CoverageChange[],
): Promise<void> {
  const gone: [number, string][] = [];
  const added: [number, CoverageRange][] = [];
  for (const { instrumentId, before, after } of changes) {
    const kept = new Set(after.map((range) => JSON.stringify(range)));
    const had = new Set(before.map((range) => JSON.stringify(range)));
    for (const range of before) {
      if (!kept.has(JSON.stringify(range))) gone.push([instrumentId, toDate(range.start)]);
    }
    for (const range of after) {
      if (!had.has(JSON.stringify(range))) added.push([instrumentId, range]);
    }
  }
  if (gone.length > 0) {
    await tx`
      delete from coverage c
      using unnest(${gone.map(([id]) => id)}::int[], ${gone.map(([, start]) => start)}::date[])
        as g(id, start)
      where c.instrument_id = g.id and c.dataset = ${dataset} and c.start_session = g.start`;
  }
  if (added.length > 0) {
    await tx`
      insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
        provider, asked_at, attempts, retry_at, detail)
      select id, ${dataset}, start, stop, state, settled, provider, asked, attempts, retry, detail
      from unnest(${added.map(([id]) => id)}::int[],
        ${added.map(([, r]) => toDate(r.start))}::date[],
        ${added.map(([, r]) => toDate(r.end))}::date[],
        ${added.map(([, r]) => r.state)}::text[],
        ${added.map(([, r]) => String(r.isSettled))}::text[]::bool[],
        ${added.map(([, r]) => r.provider)}::text[],
        ${added.map(([, r]) => iso(r.askedAt))}::timestamptz[],
        ${added.map(([, r]) => r.attempts)}::int[],
        ${added.map(([, r]) => iso(r.retryAt))}::timestamptz[],
        ${added.map(([, r]) => (r.detail === null ? null : clean(r.detail, 500)))}::text[])
        as a(id, start, stop, state, settled, provider, asked, attempts, retry, detail)`;
  }
}
