import { InputError } from '../errors.ts';
import type { MisplacedSpan } from '../model/lineage.ts';
import { newYorkInstant, toDate } from '../model/session.ts';
import { toRangeDate, toRangeDay } from '../model/symbol-range.ts';
import type { Transaction } from './database.ts';
import { allowDecompression, notifyBars } from './upsert.ts';

/** Data that was held under a symbol of days on which another company had it. */

export interface MovedSpan {
  symbol: string;
  /** 'YYYY-MM-DD', both inclusive. */
  start: string;
  end: string;
  /** Instruments. */
  from: number;
  to: number;
}

/** Tables of which a row belongs to a day, and those of which it belongs to an instant. */
const BY_SESSION = ['bars_1d', 'bars_1m', 'bars_1h', 'bar_revisions', 'findings'] as const;
const BY_INSTANT = ['trades', 'snapshots'] as const;

/**
 * Gives what is held in a span to whoever had the symbol then; where nobody is known, to a new
 * instrument. The caller holds the locks of symbols, bars and trades.
 * @returns what was moved; empty when nothing is held in the span.
 * @throws InputError when something is, and it may not be moved, or is held there as well.
 */
export async function moveSpan(
  tx: Transaction,
  span: MisplacedSpan,
  mayMove: boolean,
): Promise<MovedSpan[]> {
  const moved: MovedSpan[] = [];
  for (const part of await selectParts(tx, span)) {
    const { instrumentId, symbol, startDay, endDay } = part;
    if (!(await hasRows(tx, part))) continue;
    if (!mayMove) refuseMove(part);
    const to = part.holder ?? (await insertHolder(tx, part));
    try {
      await moveRows(tx, part, to);
    } catch (error) {
      if ((error as { code?: unknown }).code === '23505') refuseTwice(part, to);
      throw error;
    }
    const range = { start: toDate(startDay), end: toDate(endDay - 1) };
    moved.push({ symbol, ...range, from: instrumentId, to });
  }
  return moved;
}

interface Part extends MisplacedSpan {
  /** Who had the symbol; undefined when nobody is known. */
  holder: number | undefined;
  /** Where the symbol was free before the part, a day or -Infinity. */
  freeFrom: number;
}

/** A span, cut by who had the symbol. */
async function selectParts(tx: Transaction, span: MisplacedSpan): Promise<Part[]> {
  const rows = await tx<{ id: number; valid_from: string; valid_to: string }[]>`
    select instrument_id as id, valid_from, valid_to from symbol_ranges
    where symbol = ${span.symbol} and valid_from < ${toDate(span.endDay)}::text::date
    order by valid_from`;
  const parts: Part[] = [];
  let day = span.startDay;
  let freeFrom = Number.NEGATIVE_INFINITY;
  for (const row of rows) {
    const [from, to] = [toRangeDay(row.valid_from), toRangeDay(row.valid_to)];
    if (from > day)
      parts.push({ ...span, startDay: day, endDay: from, holder: undefined, freeFrom });
    const [startDay, endDay] = [Math.max(day, from), Math.min(to, span.endDay)];
    if (startDay < endDay) parts.push({ ...span, startDay, endDay, holder: row.id, freeFrom });
    day = Math.max(day, endDay);
    freeFrom = to;
  }
  if (day < span.endDay) parts.push({ ...span, startDay: day, holder: undefined, freeFrom });
  return parts.filter(({ holder }) => holder !== span.instrumentId);
}

/** The instants of a span, as texts: its days in New York. */
const instants = ({ startDay, endDay }: MisplacedSpan) =>
  [startDay, endDay].map((day) => new Date(newYorkInstant(day, 0)).toISOString());

async function hasRows(tx: Transaction, span: MisplacedSpan): Promise<boolean> {
  const [start, end] = [toDate(span.startDay), toDate(span.endDay)];
  const [first, last] = instants(span);
  const found = await Promise.all([
    ...BY_SESSION.map(
      (table) => tx<{ held: boolean }[]>`
        select exists (select from ${tx(table)}
          where instrument_id = ${span.instrumentId}
            and session >= ${start}::text::date and session < ${end}::text::date) as held`,
    ),
    ...BY_INSTANT.map(
      (table) => tx<{ held: boolean }[]>`
        select exists (select from ${tx(table)}
          where instrument_id = ${span.instrumentId}
            and ts >= ${first}::text::timestamptz and ts < ${last}::text::timestamptz) as held`,
    ),
  ]);
  return found.some(([row]) => row.held);
}

function refuseMove({ symbol, startDay, endDay, instrumentId }: Part): never {
  throw new InputError(
    `data is held of ${symbol} (instrument ${instrumentId}) from ${toDate(startDay)} to ` +
      `${toDate(endDay - 1)}, when that was not its symbol: it is another company's, then. Say ` +
      '--split to give it to the company that had the symbol',
  );
}

function refuseTwice({ symbol, startDay, endDay, instrumentId }: Part, to: number): never {
  const start = toDate(startDay);
  throw new InputError(
    `instrument ${to} had the symbol ${symbol} from ${start} to ${toDate(endDay - 1)}, and both ` +
      `it and instrument ${instrumentId} hold data of those days: they are not joined. Rename ` +
      `instrument ${instrumentId} out of the way (marketd symbols rename ${symbol} ` +
      `${symbol}.OLD --on ${start}), do this again, and load what is missing then`,
  );
}

/** Somebody of whom it is only known that it had the symbol. */
async function insertHolder(tx: Transaction, { symbol, endDay, freeFrom }: Part): Promise<number> {
  const [{ id }] = await tx<{ id: number }[]>`
    insert into instruments (is_tracked) values (false) returning instrument_id as id`;
  await tx`
    insert into symbol_ranges (instrument_id, symbol, valid_from, valid_to)
    values (${id}, ${symbol}, ${toRangeDate(freeFrom)}::text::date, ${toDate(endDay)}::text::date)`;
  return id;
}

async function moveRows(tx: Transaction, span: Part, to: number): Promise<void> {
  const from = span.instrumentId;
  const [start, end] = [toDate(span.startDay), toDate(span.endDay)];
  const [first, last] = instants(span);
  await allowDecompression(tx);
  for (const table of BY_SESSION) {
    await tx`
      update ${tx(table)} set instrument_id = ${to}
      where instrument_id = ${from}
        and session >= ${start}::text::date and session < ${end}::text::date`;
  }
  for (const table of BY_INSTANT) {
    await tx`
      update ${tx(table)} set instrument_id = ${to}
      where instrument_id = ${from}
        and ts >= ${first}::text::timestamptz and ts < ${last}::text::timestamptz`;
  }
  await tx`
    update corporate_actions set instrument_id = ${to}
    where instrument_id = ${from}
      and ex_date >= ${start}::text::date and ex_date < ${end}::text::date`;
  // A range that reaches over the border is asked for again, of either company.
  await tx`
    delete from coverage
    where instrument_id = ${from}
      and start_session < ${end}::text::date and end_session > ${start}::text::date`;
  await recount(tx, [from, to]);
  await notifyBars(tx, [from, to]);
  await notifyBars(tx, [from, to], 'trades');
}

/** Counts anew what is held of instruments: the only time that rows are counted. */
async function recount(tx: Transaction, ids: readonly number[]): Promise<void> {
  for (const [timeframe, table] of [
    ['1d', 'bars_1d'],
    ['1h', 'bars_1h'],
    ['1m', 'bars_1m'],
  ]) {
    await tx`
      insert into instrument_status as s (instrument_id, timeframe, records, validated_records,
        excluded_records, gaps_flagged, volume_anomalies, score_sum, first_session, latest_session,
        latest_score, providers, revisions, last_revision_at, is_synthetic, version)
      select i.id, ${timeframe}, c.records, c.validated, c.excluded, c.gaps, c.anomalies,
             c.score_sum, c.first, c.latest, c.latest_score, c.providers,
             v.revisions, v.last_revision_at,
             (select coalesce(bool_or(is_synthetic), false) from instrument_status
              where instrument_id = any(${[...ids]}::int[])), 1
      from unnest(${[...ids]}::int[]) as i(id)
      cross join lateral (
        select count(*) as records, count(*) filter (where score >= 0.85) as validated,
               count(*) filter (where score < 0.5) as excluded,
               count(*) filter (where flags & 64 <> 0) as gaps,
               count(*) filter (where flags & 6144 <> 0) as anomalies,
               coalesce(sum(score), 0) as score_sum, min(session) as first, max(session) as latest,
               (array_agg(score order by session desc))[1] as latest_score,
               coalesce(array_agg(distinct provider), '{}') as providers
        from ${tx(table)} b where b.instrument_id = i.id) as c
      cross join lateral (
        select count(*) as revisions, max(ts_replaced) as last_revision_at
        from bar_revisions v
        where v.instrument_id = i.id and v.timeframe = ${timeframe} and v.reason = 'values') as v
      where c.records > 0 or exists (
        select from instrument_status h where h.instrument_id = i.id and h.timeframe = ${timeframe})
      on conflict (instrument_id, timeframe) do update set
        records = excluded.records, validated_records = excluded.validated_records,
        excluded_records = excluded.excluded_records, gaps_flagged = excluded.gaps_flagged,
        volume_anomalies = excluded.volume_anomalies, score_sum = excluded.score_sum,
        first_session = excluded.first_session, latest_session = excluded.latest_session,
        latest_score = excluded.latest_score, providers = excluded.providers,
        revisions = excluded.revisions, last_revision_at = excluded.last_revision_at,
        version = s.version + 1`;
  }
  await recountInstants(tx, ids);
}

async function recountInstants(tx: Transaction, ids: readonly number[]): Promise<void> {
  for (const [timeframe, table] of [
    ['trade', 'trades'],
    ['snapshot', 'snapshots'],
  ]) {
    await tx`
      insert into instrument_status as s (instrument_id, timeframe, records, first_session,
        latest_session, providers, is_synthetic, version)
      select i.id, ${timeframe}, c.records, c.first, c.latest, c.providers,
             (select coalesce(bool_or(is_synthetic), false) from instrument_status
              where instrument_id = any(${[...ids]}::int[])), 1
      from unnest(${[...ids]}::int[]) as i(id)
      cross join lateral (
        select count(*) as records,
               min((ts at time zone 'America/New_York')::date) as first,
               max((ts at time zone 'America/New_York')::date) as latest,
               coalesce(array_agg(distinct provider), '{}') as providers
        from ${tx(table)} b where b.instrument_id = i.id) as c
      where c.records > 0 or exists (
        select from instrument_status h where h.instrument_id = i.id and h.timeframe = ${timeframe})
      on conflict (instrument_id, timeframe) do update set
        records = excluded.records, first_session = excluded.first_session,
        latest_session = excluded.latest_session, providers = excluded.providers,
        version = s.version + 1`;
  }
}
