import {
  type AbsenceState,
  type CoverageSlice,
  classifySessions,
  mainAbsence,
  type StateTotals,
} from '../model/absence.ts';
import type { CoverageState } from '../model/coverage.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import { type Calendar, newYorkInstant, toDate, toDay } from '../model/session.ts';
import { INTRADAY_TABLES } from '../store/bar-columns.ts';
import { type AnySql, decodeIntegers, type Sql } from '../store/database.ts';

/**
 * The first day a provider's plan includes, as far as refusals have shown: the end of the newest
 * refused range that is followed by granted bars of the same instrument. Null when nothing was
 * refused, or long enough ago that it is worth asking again.
 */
export async function selectEntitledFrom(
  sql: AnySql,
  provider: string,
  nowMs: number,
  dataset = '1d',
): Promise<number | null> {
  const [row] = await sql<{ entitled_from: string | null }[]>`
    select max(r.end_session) as entitled_from
    from coverage r
    where r.state = 'not_entitled' and r.provider = ${provider} and r.dataset = ${dataset}
      and r.retry_at > ${new Date(nowMs)}
      and exists (
        select from coverage g
        where g.instrument_id = r.instrument_id and g.dataset = r.dataset
          and g.provider = r.provider
          and g.state = 'complete' and g.start_session >= r.end_session)`;
  return row?.entitled_from == null ? null : toDay(row.entitled_from);
}

/** What is recorded of sessions, and what was asked of whom for it. */
export interface AskedSlice extends CoverageSlice {
  provider: string;
  /** Epoch ms; of joined sessions the latest. */
  askedAt: number;
  /** How often in a row the answer was the same refusal or emptiness. */
  attempts: number;
  /** Not asked again before this instant, epoch ms; null: never of itself. */
  retryAt: number | null;
}

/** What is known of an instrument's sessions, besides which of them have a bar. */
export interface InstrumentCoverage {
  /** Ascending, not overlapping. */
  slices: AskedSlice[];
  /** First and last session on the exchange, days since 1970-01-01; null: not known, or listed. */
  listedOn: number | null;
  delistedOn: number | null;
}

interface SliceRow {
  listed_on: string | null;
  delisted_on: string | null;
  start_session: string | null;
  end_session: string;
  state: CoverageState;
  detail: string | null;
  provider: string;
  asked_at: Date;
  attempts: number;
  retry_at: Date | null;
}

/** The days on which an instrument `i` had a symbol: nobody can be asked for others. */
const namedDays = (sql: AnySql) => sql`(
  select nullif(min(valid_from), '-infinity') as first, nullif(max(valid_to), 'infinity') as stop
  from symbol_ranges where instrument_id = i.instrument_id) named`;

/** Its first and last session, as far as they are known. */
const listing = (sql: AnySql) => sql`
  greatest(i.listed_on, named.first) as listed_on,
  least(i.delisted_on, named.stop - 1) as delisted_on`;

const dayOrNull = (date: string | null) => (date === null ? null : toDay(date));

/** The coverage of an instrument; without slices when nobody was asked for it. */
export async function selectInstrumentCoverage(
  sql: AnySql,
  instrumentId: number,
  dataset = '1d',
): Promise<InstrumentCoverage> {
  const rows = await sql<SliceRow[]>`
    select ${listing(sql)}, c.start_session, c.end_session, c.state, c.detail,
           c.provider, c.asked_at, c.attempts, c.retry_at
    from instruments i
    cross join lateral ${namedDays(sql)}
    left join coverage c on c.instrument_id = i.instrument_id and c.dataset = ${dataset}
    where i.instrument_id = ${instrumentId}
    order by c.start_session`;
  const slices: AskedSlice[] = [];
  for (const row of rows) {
    if (row.start_session === null) continue;
    slices.push({
      start: toDay(row.start_session),
      end: toDay(row.end_session),
      state: row.state,
      detail: row.detail,
      provider: row.provider,
      askedAt: row.asked_at.getTime(),
      attempts: row.attempts,
      retryAt: row.retry_at?.getTime() ?? null,
    });
  }
  return {
    slices,
    listedOn: dayOrNull(rows[0]?.listed_on ?? null),
    delistedOn: dayOrNull(rows[0]?.delisted_on ?? null),
  };
}

/**
 * The days (since 1970-01-01, ascending) of [firstDay, lastDay] on which an instrument has a bar,
 * sessions or not. Below a day it is one probe of the key for each of them: the 285 days of 111,150
 * minutes take 4 ms (34 ms in 14 chunks), where reading all of them takes 60.
 */
export async function selectHeldDays(
  sql: AnySql,
  instrumentId: number,
  timeframe: '1d' | StoredIntraday,
  firstDay: number,
  lastDay: number,
): Promise<Int32Array> {
  if (firstDay > lastDay) return new Int32Array(0);
  if (timeframe === '1d') {
    const held = await selectHeldSessions(sql, [instrumentId], firstDay, lastDay);
    return held.get(instrumentId) ?? new Int32Array(0);
  }
  const table = (sql as Sql)(INTRADAY_TABLES[timeframe]);
  const first = new Date(newYorkInstant(firstDay, 0));
  const end = new Date(newYorkInstant(lastDay + 1, 0));
  const [row] = await sql<{ days: Uint8Array | null }[]>`
    with recursive held as (
      (select session from ${table}
       where instrument_id = ${instrumentId} and ts >= ${first} and ts < ${end}
       order by ts limit 1)
      union all
      select n.session
      from held h
      cross join lateral (
        select session from ${table}
        where instrument_id = ${instrumentId} and ts < ${end}
          and ts >= (h.session + 1)::timestamp at time zone 'America/New_York'
        order by ts limit 1) n)
    select string_agg(int4send(session - date '1970-01-01'), '' order by session) as days
    from held`;
  return decodeIntegers(row.days);
}

/** The same of daily bars, of many instruments; one without any is not in the map. */
export async function selectHeldSessions(
  sql: AnySql,
  instrumentIds: readonly number[],
  firstDay: number,
  lastDay: number,
): Promise<Map<number, Int32Array>> {
  const rows = await sql<{ id: number; days: Uint8Array }[]>`
    select i.id, b.days
    from unnest(${instrumentIds as number[]}::int[]) as i(id)
    cross join lateral (
      select string_agg(int4send(o.session - date '1970-01-01'), '') as days
      from (select session from bars_1d
            where instrument_id = i.id
              and session between ${toDate(firstDay)} and ${toDate(lastDay)}
            order by session) o) b
    where b.days is not null`;
  return new Map(rows.map(({ id, days }) => [id, decodeIntegers(days)]));
}

// ------------------------------------------------------------------------- counters

/** Sessions of an instrument by what is known of them. */
export type CoverageTotals = Omit<StateTotals, 'closed' | 'after_delisting'>;

export interface TotalsAsked {
  /** All instruments when missing. */
  instrumentIds?: readonly number[];
  /** '1d' when missing. */
  dataset?: string;
  /**
   * The first session counted, days since 1970-01-01. When missing, the first that was asked for
   * or is held of the instrument, else the first on the exchange.
   */
  firstDay?: number;
  /** The latest session that can have a bar by now. */
  latestDay: number;
}

const STATE_CODES: readonly CoverageState[] = [
  ...(['complete', 'vendor_empty', 'not_entitled', 'before_listing'] as const),
];

interface TotalsRow {
  id: number;
  records: number;
  first_session: string | null;
  listed_on: string | null;
  delisted_on: string | null;
}

/**
 * Counts sessions by state, from coverage and the counters alone: no bar is looked at. Hence
 * `missing` is the number of sessions, of the whole history, that coverage has as complete and for
 * which fewer bars are held: bars on closed days, and such that the provider no longer gives, can
 * hide some of them. `GET /api/v1/coverage` looks at each.
 */
export async function selectCoverageTotals(
  sql: AnySql,
  calendar: Calendar,
  asked: TotalsAsked,
): Promise<Map<number, CoverageTotals>> {
  const { dataset = '1d' } = asked;
  const { instrumentIds } = asked;
  // Not "or is null": so the planner sees that few are asked for.
  const isAsked = instrumentIds
    ? sql`instrument_id = any(${[...instrumentIds]}::int[])`
    : sql`instrument_id is not null`;
  const [instruments, [packed]] = await Promise.all([
    sql<TotalsRow[]>`
      select i.instrument_id as id, coalesce(s.records, 0) as records, s.first_session,
             ${listing(sql)}
      from instruments i
      cross join lateral ${namedDays(sql)}
      left join instrument_status s
        on s.instrument_id = i.instrument_id and s.timeframe = ${dataset}
      where i.${isAsked}
      order by i.instrument_id`,
    sql<Record<'ids' | 'starts' | 'ends' | 'states', Uint8Array | null>[]>`
      select string_agg(int4send(instrument_id), '') as ids,
             string_agg(int4send(start_session - date '1970-01-01'), '') as starts,
             string_agg(int4send(end_session - date '1970-01-01'), '') as ends,
             string_agg(int4send(array_position(${[...STATE_CODES]}::text[], state)), '') as states
      from (select * from coverage
            where dataset = ${dataset} and ${isAsked}
            order by instrument_id, start_session) c`,
  ]);
  const [owner, starts, ends, states] = [packed.ids, packed.starts, packed.ends, packed.states].map(
    decodeIntegers,
  );
  const found = new Map<number, CoverageTotals>();
  let at = 0;
  for (const row of instruments) {
    while (at < owner.length && owner[at] < row.id) at++;
    const from = at;
    while (at < owner.length && owner[at] === row.id) at++;
    const slices = { from, to: at, starts, ends, states };
    found.set(row.id, addUp(calendar, row, slices, asked));
  }
  return found;
}

interface PackedSlices {
  /** Those of the instrument: [from, to). */
  from: number;
  to: number;
  starts: Int32Array;
  ends: Int32Array;
  /** Positions in STATE_CODES, from 1. */
  states: Int32Array;
}

function addUp(
  calendar: Calendar,
  { records, first_session, listed_on, delisted_on }: TotalsRow,
  { from, to, starts, ends, states }: PackedSlices,
  { firstDay, latestDay }: TotalsAsked,
): CoverageTotals {
  const totals: CoverageTotals = {
    ...{ complete: 0, missing: 0, vendor_empty: 0, not_entitled: 0 },
    ...{ before_listing: 0, unfetched: 0 },
  };
  const known = [from < to ? starts[from] : null, dayOrNull(first_session)];
  const days = known.filter((day) => day !== null);
  const begin = days.length > 0 ? Math.min(...days) : (dayOrNull(listed_on) ?? latestDay + 1);
  const first = Math.max(firstDay ?? begin, calendar.firstDay);
  const end = Math.min(dayOrNull(delisted_on) ?? latestDay, latestDay, calendar.lastDay) + 1;
  const count = (start: number, stop: number) =>
    stop > start ? calendar.sessionsBefore(stop) - calendar.sessionsBefore(start) : 0;
  let everComplete = 0;
  for (let i = from; i < to; i++) {
    const state = STATE_CODES[states[i] - 1];
    totals[state] += count(Math.max(starts[i], first), Math.min(ends[i], end));
    if (state === 'complete') everComplete += count(starts[i], ends[i]);
  }
  const listed = Math.max(first, dayOrNull(listed_on) ?? first);
  const answered = totals.complete + totals.vendor_empty + totals.not_entitled;
  const early = count(first, Math.min(listed, end));
  totals.before_listing = Math.max(totals.before_listing, early);
  totals.unfetched = Math.max(0, count(first, end) - answered - totals.before_listing);
  totals.missing = Math.min(totals.complete, Math.max(0, everComplete - records));
  totals.complete -= totals.missing;
  return totals;
}

// ---------------------------------------------------------------------------- words

/** Why there is nothing in a range of days, in the one set of words for it. */
export type AbsenceReason = AbsenceState;

export interface Absence {
  reason: AbsenceReason;
  message: string;
}

export interface AbsenceRange {
  instrumentId: number;
  /** Days since 1970-01-01, both inclusive. */
  startDay: number;
  endDay: number;
  /** The latest session that can have a bar by now. */
  latestDay: number;
  /** '1d' when missing. */
  dataset?: string;
  /** Only what was last asked for by then counts, epoch ms. */
  knownAtMs?: number;
}

/** Says why an instrument has no bar in [startDay, endDay]: the reason of most of its sessions. */
export async function selectAbsence(
  sql: AnySql,
  calendar: Calendar,
  { instrumentId, startDay, endDay, latestDay, dataset, knownAtMs }: AbsenceRange,
): Promise<Absence> {
  const coverage = await selectInstrumentCoverage(sql, instrumentId, dataset);
  const slices = coverage.slices.filter(
    ({ askedAt }) => knownAtMs === undefined || askedAt <= knownAtMs,
  );
  const { listedOn, delistedOn } = coverage;
  const asked = { firstDay: startDay, lastDay: endDay, latestDay, listedOn, delistedOn };
  return mainAbsence(classifySessions(calendar, slices, [], asked));
}
