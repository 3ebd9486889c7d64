import { adjustmentSteps, stepOf } from '../model/adjustment.ts';
import { type ActionSource, ofOneProvider } from '../model/corporate-action.ts';
import { FAILURE_FLAGS } from '../model/quality.ts';
import { newYorkDay, toDay } from '../model/session.ts';
import { decodeFloats, decodeIntegers, type Sql } from '../store/database.ts';

/** The latest daily closes of instruments, as small charts and lists of prices show them. */

export interface Closes {
  /** The latest ones, ascending by session; in shares of today: a split is no cliff. */
  closes: readonly number[];
  /** Session of the last one, days since 1970-01-01. */
  lastDay: number;
}

export const SPARKLINE_SESSIONS = 30;
/** Closes are looked for so many days back, per session: there are holidays, and halts. */
const DAYS_PER_SESSION = 2;

/** The close of an instrument's last bar beside the one before, as a fraction: 0.01 is 1 % up. */
export function lastChange({ closes }: Closes): number | null {
  const last = closes.at(-1);
  const before = closes.at(-2);
  return last === undefined || before === undefined || before <= 0 ? null : last / before - 1;
}

/**
 * Remembers closes until the bars or splits of their instruments change, or a day begins: splits
 * take effect with it.
 */
export class SparklineReader {
  isTrusted = false;
  readonly #known = new Map<number, Closes>();
  /** Of every instrument that has two closes; made when it is first asked for. */
  #changes: Map<number, number> | undefined;
  #changesFlight: Promise<Map<number, number>> | undefined;
  /** Changed since the changes of all were asked for. */
  #stale = new Set<number>();
  /** Counts what was dropped: what was asked for before is not remembered. */
  #generation = 0;
  /** The same of what was dropped as a whole. */
  #era = 0;
  #today = Number.NaN;

  constructor(
    readonly sql: Sql,
    readonly now: () => number = Date.now,
  ) {}

  /** Another number whenever closes may be others. */
  get version(): number {
    this.#day();
    return this.#generation;
  }

  /** Bars or splits of instruments changed. */
  drop(instrumentIds: readonly number[] | 'all'): void {
    this.#generation++;
    if (instrumentIds === 'all') {
      this.#era++;
      this.#known.clear();
      this.#changes = undefined;
      this.#changesFlight = undefined;
      this.#stale.clear();
      return;
    }
    for (const id of instrumentIds) {
      this.#known.delete(id);
      if (this.#changes || this.#changesFlight) this.#stale.add(id);
    }
  }

  /** Today in New York; with a new day all is asked for again. */
  #day(): number {
    const today = newYorkDay(this.now());
    if (today !== this.#today) this.drop('all');
    this.#today = today;
    return today;
  }

  /** Of each instrument that has any, the last 30 closes. */
  async select(instrumentIds: readonly number[]): Promise<ReadonlyMap<number, Closes>> {
    const today = this.#day();
    const unknown = instrumentIds.filter((id) => !this.isTrusted || !this.#known.has(id));
    const generation = this.#generation;
    const fresh =
      unknown.length === 0
        ? new Map<number, Closes>()
        : await selectCloses(this.sql, { instrumentIds: unknown, today });
    const found = new Map<number, Closes>();
    for (const id of instrumentIds) {
      const closes = fresh.get(id) ?? this.#known.get(id);
      if (closes !== undefined && closes.closes.length > 0) found.set(id, closes);
    }
    if (!this.isTrusted || generation !== this.#generation) return found;
    // Also that there are none, so that they are not asked for again.
    for (const id of unknown) this.#known.set(id, fresh.get(id) ?? NO_CLOSES);
    return found;
  }

  /**
   * The last change of every instrument that has one. The first time, and after changes of all, it
   * is asked of each (10,000 take about a second); else of those that changed.
   */
  async selectChanges(): Promise<ReadonlyMap<number, number>> {
    const today = this.#day();
    if (!this.isTrusted) return toChanges(await this.#selectLastTwo(null, today));
    const era = this.#era;
    const known = this.#changes ?? (await this.#loadChanges(today));
    const ids = [...this.#stale];
    if (ids.length === 0) return known;
    const generation = this.#generation;
    const fresh = toChanges(await this.#selectLastTwo(ids, today));
    const merged = new Map(known);
    for (const id of ids) merged.delete(id);
    for (const [id, change] of fresh) merged.set(id, change);
    if (era === this.#era && generation === this.#generation) {
      this.#changes = merged;
      this.#stale.clear();
    }
    return merged;
  }

  /** The changes of all, asked for once by however many wait for them. */
  #loadChanges(today: number): Promise<Map<number, number>> {
    if (this.#changesFlight) return this.#changesFlight;
    const era = this.#era;
    const flight = this.#selectLastTwo(null, today)
      .then((closes) => {
        const changes = toChanges(closes);
        // Of those that changed meanwhile it is asked again, by their numbers.
        if (era === this.#era) this.#changes = changes;
        return changes;
      })
      .finally(() => {
        if (this.#changesFlight === flight) this.#changesFlight = undefined;
      });
    this.#changesFlight = flight;
    return flight;
  }

  #selectLastTwo(instrumentIds: readonly number[] | null, today: number) {
    return selectCloses(this.sql, { instrumentIds, today, sessions: 2 });
  }
}

const NO_CLOSES: Closes = { closes: [], lastDay: -1 };

function toChanges(closes: ReadonlyMap<number, Closes>): Map<number, number> {
  const changes = new Map<number, number>();
  for (const [id, one] of closes) {
    const change = lastChange(one);
    if (change !== null) changes.set(id, change);
  }
  return changes;
}

export interface ClosesAsked {
  /** All when null. */
  instrumentIds: readonly number[] | null;
  /** Splits with a later ex-date have not happened, days since 1970-01-01. */
  today: number;
  sessions?: number;
}

/**
 * The last closes of instruments, in one statement for the bars and one for the splits. Bars that
 * are impossible are left out. Only as far back as `sessions` normally take: an instrument with
 * holes has fewer of them.
 */
export async function selectCloses(
  sql: Sql,
  { instrumentIds, today, sessions = SPARKLINE_SESSIONS }: ClosesAsked,
): Promise<Map<number, Closes>> {
  const daysBack = sessions * DAYS_PER_SESSION + 10;
  const [rows, splits] = await Promise.all([
    sql<{ id: number; days: Uint8Array; closes: Uint8Array }[]>`
      select s.instrument_id as id, b.days, b.closes
      from instrument_status s
      cross join lateral (
        select string_agg(int4send(o.session - date '1970-01-01'), '' order by o.session) as days,
               string_agg(float8send(o.close), '' order by o.session) as closes
        from (select session, close from bars_1d
              where instrument_id = s.instrument_id
                and session between s.latest_session - ${daysBack}::int and s.latest_session
                and flags & ${FAILURE_FLAGS} = 0
              order by session desc limit ${sessions}) o) b
      where s.timeframe = '1d' and s.records > 0 and b.days is not null
        and s.${isAmong(sql, instrumentIds)}`,
    selectSplits(sql, instrumentIds),
  ]);
  const found = new Map<number, Closes>();
  for (const { id, days, closes } of rows) {
    const session = decodeIntegers(days);
    const raw = decodeFloats(closes);
    const own = splits.get(id);
    const lastDay = session[session.length - 1];
    found.set(id, { lastDay, closes: own ? adjust(session, raw, own, today) : Array.from(raw) });
  }
  return found;
}

const isAmong = (sql: Sql, ids: readonly number[] | null) =>
  ids ? sql`instrument_id = any(${[...ids]}::int[])` : sql`instrument_id is not null`;

interface SplitRow extends ActionSource {
  id: number;
  kind: 'split';
  ex_date: string;
  split_from: number;
  split_to: number;
}

/** Splits by ex-date; of an instrument those of one provider, as everywhere. */
async function selectSplits(
  sql: Sql,
  instrumentIds: readonly number[] | null,
): Promise<Map<number, SplitRow[]>> {
  const rows = await sql<(SplitRow & { rank: number | null })[]>`
    select a.instrument_id as id, a.kind, a.ex_date, a.split_from, a.split_to, a.provider,
           array_position(s.providers, a.provider) as rank
    from corporate_actions a
    join instrument_status s on s.instrument_id = a.instrument_id and s.timeframe = '1d'
    where a.kind = 'split' and a.ts_withdrawn is null
      and a.${isAmong(sql, instrumentIds)}
    order by a.ex_date, a.provider_action_id collate "C"`;
  const known = rows.map((row) => ({ ...row, providerRank: row.rank }));
  const byId = Map.groupBy(known, ({ id }) => id);
  return new Map([...byId].map(([id, own]) => [id, ofOneProvider(own)]));
}

function adjust(
  days: Int32Array,
  raw: Float64Array,
  splits: readonly SplitRow[],
  today: number,
): number[] {
  const actions = splits.map(({ ex_date, split_from, split_to }) => ({
    kind: 'split' as const,
    ...{ exDay: toDay(ex_date), splitFrom: split_from, splitTo: split_to },
  }));
  const steps = adjustmentSteps(actions, 'split', today, () => undefined);
  return Array.from(raw, (close, row) => {
    const step = stepOf(steps, days[row]);
    return step < steps.exDay.length ? close * steps.price[step] : close;
  });
}
