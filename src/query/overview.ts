import { type Calendar, toDay } from '../model/session.ts';
import {
  judgeSymbol,
  SYMBOL_STATES,
  type SymbolState,
  TROUBLED_STATES,
} from '../model/symbol-state.ts';
import type { Sql } from '../store/database.ts';
import { type CoverageTotals, selectCoverageTotals } from './coverage.ts';
import { countBehind } from './quality.ts';
import type { SymbolDetail } from './symbols.ts';

/**
 * What is known of every symbol, in memory: the pages that list symbols are made from it, and with
 * 10,000 of them nothing is asked of the database until something changes.
 */

/** Never changed: a symbol of which something else becomes known is another object. */
export interface OverviewSymbol extends SymbolDetail {
  instrumentId: number;
  assetType: string | null;
  /** What it is filled with every night. */
  timeframes: readonly string[];
  /** 'YYYY-MM-DD'; null while it is listed. */
  delistedOn: string | null;
  /** Bars below a day. */
  intradayRecords: number;
  state: SymbolState;
  /** Published sessions after its last bar; null when it has none. */
  sessionsBehind: number | null;
  /** Its sessions on which a daily bar can be, by what is known of them. */
  coverage: CoverageTotals;
  /** Of these the part, 0 to 1, with a bar; null when nobody was asked for any. */
  coverageShare: number | null;
  /** Findings of any timeframe that nobody has decided about, and of these the gaps. */
  openFindings: number;
  openGaps: number;
}

export interface OverviewTotals {
  symbols: number;
  tracked: number;
  openFindings: number;
  openGaps: number;
  /** How many symbols are in each state, most serious first; only those that occur. */
  states: readonly { state: SymbolState; count: number }[];
}

export interface OverviewSnapshot {
  /** Another number whenever anything in here is different, and in every process. */
  version: number;
  /** In the order of their symbols. */
  symbols: readonly OverviewSymbol[];
  totals: OverviewTotals;
}

export interface OverviewOptions {
  publishDelayMs: number;
  now?: () => number;
  /** At most so often everything is asked for again because much of it may have changed. */
  reloadEveryMs?: number;
}

const RELOAD_EVERY_MS = 2_000;
/** Of the time between two such loads at most this part is spent on loading. */
const LOAD_SHARE = 0.05;
/** From so many changed instruments on all are asked for. */
const PARTIAL_MAX = 2_000;

interface Known {
  snapshot: OverviewSnapshot;
  /** Position of each instrument in `symbols`. */
  places: Map<number, number>;
  /** The latest session that could have a bar when it was asked for. */
  latestDay: number;
}

/**
 * Keeps the list of all symbols and asks anew for what was announced to have changed: for single
 * instruments when they are named. While changes may be missed (`isTrusted` is false) it asks for
 * all each time.
 */
export class OverviewReader {
  isTrusted = false;
  #known: Known | undefined;
  /** Not from 0 on: a page that is open may have such a number of a process that was before. */
  #version = Math.floor(Math.random() * 2 ** 40);
  /** Everything may be different, and somebody waits for it. */
  #isCleared = false;
  /** Everything may be different, but not at once. */
  #isDoubted = false;
  #changed = new Set<number>();
  #flight: Promise<void> | undefined;
  #loadedAt = Number.NEGATIVE_INFINITY;
  #reloadAfterMs: number;

  constructor(
    readonly sql: Sql,
    readonly calendar: Calendar,
    readonly options: OverviewOptions,
  ) {
    this.#reloadAfterMs = options.reloadEveryMs ?? RELOAD_EVERY_MS;
  }

  /** All of it is asked for again by whoever selects next. */
  clear(): void {
    this.#isCleared = true;
  }

  /** Bars, coverage or findings of instruments changed; of 'all' it is found out a little later. */
  drop(instrumentIds: readonly number[] | 'all'): void {
    if (instrumentIds === 'all') this.#isDoubted = true;
    else for (const id of instrumentIds) this.#changed.add(id);
  }

  async select(): Promise<OverviewSnapshot> {
    if (!this.isTrusted) return (await this.#loadAll(this.#latestDay())).snapshot;
    // It may have begun before what the caller knows to have changed.
    if (this.#flight) await this.#flight.catch(() => {});
    if (!this.#known || this.#isDue()) {
      this.#flight ??= this.#refresh().finally(() => {
        this.#flight = undefined;
      });
      await this.#flight;
    }
    return this.#known?.snapshot ?? this.select();
  }

  #latestDay(): number {
    return this.calendar.latestSession(
      (this.options.now ?? Date.now)(),
      this.options.publishDelayMs,
    );
  }

  #isDue(): boolean {
    if (this.#isCleared || this.#changed.size > 0) return true;
    if (this.#known?.latestDay !== this.#latestDay()) return true;
    return this.#isDoubted && performance.now() - this.#loadedAt >= this.#reloadAfterMs;
  }

  async #refresh(): Promise<void> {
    const latestDay = this.#latestDay();
    const known = this.#known;
    const changed = this.#changed;
    const isDoubtful = this.#isDoubted && performance.now() - this.#loadedAt >= this.#reloadAfterMs;
    const isWhole =
      known === undefined || this.#isCleared || isDoubtful || known.latestDay !== latestDay;
    const before = { isCleared: this.#isCleared, isDoubted: this.#isDoubted };
    this.#changed = new Set();
    this.#isCleared = false;
    try {
      if (!isWhole && changed.size <= PARTIAL_MAX) {
        await this.#loadSome(known, [...changed]);
        return;
      }
      this.#isDoubted = false;
      const start = performance.now();
      this.#known = await this.#loadAll(latestDay);
      this.#loadedAt = performance.now();
      this.#reloadAfterMs = Math.max(
        this.options.reloadEveryMs ?? RELOAD_EVERY_MS,
        (this.#loadedAt - start) / LOAD_SHARE,
      );
    } catch (error) {
      this.#isCleared ||= before.isCleared;
      this.#isDoubted ||= before.isDoubted;
      for (const id of changed) this.#changed.add(id);
      throw error;
    }
  }

  async #loadAll(latestDay: number): Promise<Known> {
    const loaded = await selectOverview(this.sql, this.calendar, latestDay);
    const old = this.#known;
    let isSame = old?.snapshot.symbols.length === loaded.length;
    const symbols = loaded.map((one, place) => {
      const twin = old?.snapshot.symbols[old.places.get(one.instrumentId) ?? -1];
      if (!twin || !Bun.deepEquals(one, twin)) {
        isSame = false;
        return one;
      }
      if (old?.snapshot.symbols[place] !== twin) isSame = false;
      return twin;
    });
    const known = old && isSame ? { ...old, latestDay } : this.#build(symbols, latestDay);
    // What was asked for while nobody announces changes is compared with as well.
    if (!this.isTrusted) this.#known = known;
    return known;
  }

  async #loadSome(known: Known, ids: number[]): Promise<void> {
    const { latestDay, places } = known;
    const loaded = await selectOverview(this.sql, this.calendar, latestDay, ids);
    const isListed = ({ instrumentId }: OverviewSymbol) => places.has(instrumentId);
    const gone = ids.filter(
      (id) => places.has(id) && !loaded.some(({ instrumentId }) => instrumentId === id),
    );
    if (gone.length > 0 || !loaded.every(isListed)) {
      this.#known = await this.#loadAll(latestDay);
      return;
    }
    const symbols = [...known.snapshot.symbols];
    let isSame = true;
    for (const one of loaded) {
      const place = places.get(one.instrumentId) ?? -1;
      if (Bun.deepEquals(one, symbols[place])) continue;
      symbols[place] = one;
      isSame = false;
    }
    if (isSame) return;
    const snapshot = this.#describe(symbols);
    this.#known = { ...known, snapshot };
  }

  #build(symbols: OverviewSymbol[], latestDay: number): Known {
    const places = new Map(symbols.map(({ instrumentId }, place) => [instrumentId, place]));
    return { snapshot: this.#describe(symbols), places, latestDay };
  }

  #describe(symbols: OverviewSymbol[]): OverviewSnapshot {
    return { version: ++this.#version, symbols, totals: addUp(symbols) };
  }
}

function addUp(symbols: readonly OverviewSymbol[]): OverviewTotals {
  const counts = new Map<SymbolState, number>();
  let tracked = 0;
  let openFindings = 0;
  let openGaps = 0;
  for (const one of symbols) {
    counts.set(one.state, (counts.get(one.state) ?? 0) + 1);
    if (one.tracked) tracked++;
    openFindings += one.openFindings;
    openGaps += one.openGaps;
  }
  const states = SYMBOL_STATES.map((state) => ({ state, count: counts.get(state) ?? 0 }));
  return {
    ...{ symbols: symbols.length, tracked, openFindings, openGaps },
    states: states.filter(({ count }) => count > 0),
  };
}

// --------------------------------------------------------------------------- reading

/** In the order in which the statement puts them. */
type Row = [about: About, daily: Daily, other: Other];
type About = [
  ...[id: number, symbol: string, name: string | null, exchange: string | null],
  ...[assetType: string | null, tracked: boolean, timeframes: string[], delistedOn: string | null],
];
type Daily = [
  ...[records: number, validated: number, excluded: number, gaps: number, anomalies: number],
  ...[scoreSum: number, first: string | null, latest: string | null, latestScore: number | null],
  ...[backfillMs: number | null, backfillOk: boolean | null],
];
type Other = [
  ...[synthetic: boolean, hasFailed: boolean, intraday: number, intradayLatest: string | null],
  ...[openFindings: number, openGaps: number],
];

/**
 * Every instrument that is tracked or held (or those of `instrumentIds`), by symbol, from counters
 * and coverage. One text instead of rows: 10,000 of them are parsed in a tenth of the time.
 */
export async function selectOverview(
  sql: Sql,
  calendar: Calendar,
  latestDay: number,
  instrumentIds?: readonly number[],
): Promise<OverviewSymbol[]> {
  const isAsked = instrumentIds
    ? sql`instrument_id = any(${[...instrumentIds]}::int[])`
    : sql`instrument_id is not null`;
  const [[{ rows }], coverage] = await Promise.all([
    sql<{ rows: string }[]>`
      select coalesce(json_agg(json_build_array(
               json_build_array(i.instrument_id, r.symbol, i.name, i.exchange, i.asset_type,
                 i.is_tracked, i.timeframes, i.delisted_on),
               json_build_array(coalesce(d.records, 0), coalesce(d.validated_records, 0),
                 coalesce(d.excluded_records, 0), coalesce(d.gaps_flagged, 0),
                 coalesce(d.volume_anomalies, 0), coalesce(d.score_sum, 0), d.first_session,
                 d.latest_session, d.latest_score, extract(epoch from d.last_backfill_at) * 1000,
                 d.last_backfill_ok),
               json_build_array(coalesce(d.is_synthetic, false) or coalesce(o.is_synthetic, false),
                 coalesce(not d.last_backfill_ok, false) or coalesce(o.has_failed, false),
                 coalesce(o.records, 0), o.latest_session, coalesce(f.open, 0),
                 coalesce(f.gaps, 0))) order by r.symbol collate "C"), '[]')::text as rows
      from instruments i
      join symbol_ranges r on r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
      left join instrument_status d on d.instrument_id = i.instrument_id and d.timeframe = '1d'
      left join (
        select instrument_id, sum(records) as records, max(latest_session) as latest_session,
               bool_or(is_synthetic) as is_synthetic, bool_or(not last_backfill_ok) as has_failed
        from instrument_status
        where timeframe in ('1h', '1m') and ${isAsked}
        group by instrument_id) o on o.instrument_id = i.instrument_id
      left join (
        select instrument_id, sum(count) as open, sum(count) filter (where kind = 'gap') as gaps
        from finding_counts
        where state = 'open' and ${isAsked}
        group by instrument_id) f on f.instrument_id = i.instrument_id
      where (i.is_tracked or d.records > 0 or o.records > 0)
        and i.${isAsked}`,
    selectCoverageTotals(sql, calendar, { instrumentIds, latestDay }),
  ]);
  return (JSON.parse(rows) as Row[]).map((row) => {
    return describe(row, coverage.get(row[0][0]) ?? NO_COVERAGE, calendar, latestDay);
  });
}

const NO_COVERAGE: CoverageTotals = {
  ...{ complete: 0, missing: 0, vendor_empty: 0, not_entitled: 0, before_listing: 0 },
  unfetched: 0,
};

function describe(
  [about, daily, other]: Row,
  coverage: CoverageTotals,
  calendar: Calendar,
  latestDay: number,
): OverviewSymbol {
  const [instrumentId, symbol, name, exchange, assetType, tracked, timeframes, delistedOn] = about;
  const [records, validated, excluded, gaps, anomalies, scoreSum, ...dates] = daily;
  const [first, latest, latestScore, backfillMs, backfillOk] = dates;
  const [synthetic, hasFailed, intraday, intradayLatest, openFindings, openGaps] = other;
  const newest = records > 0 ? latest : intradayLatest;
  const end = delistedOn === null ? latestDay : Math.min(latestDay, toDay(delistedOn));
  const sessionsBehind = countBehind(calendar, newest, end);
  const { complete, missing, vendor_empty: empty, unfetched } = coverage;
  const sessions = complete + missing + empty + unfetched;
  const rate = records === 0 ? 0 : Math.round((validated / records) * 10_000) / 100;
  return {
    ...{ instrumentId, symbol, name, exchange, assetType, tracked, timeframes, delistedOn },
    records,
    validated_records: validated,
    validation_rate_pct: rate,
    average_quality: records === 0 ? null : Math.round((scoreSum / records) * 10_000) / 10_000,
    gaps_flagged: gaps,
    volume_anomalies: anomalies,
    excluded_records: excluded,
    start_date: first,
    end_date: latest,
    latest_quality: latestScore,
    synthetic,
    last_backfill: backfillMs === null ? null : new Date(backfillMs).toISOString(),
    last_backfill_success: backfillOk,
    intradayRecords: intraday,
    state: judgeSymbol({
      isTracked: tracked,
      hasFailed,
      records: records + intraday,
      validationRatePct: records === 0 ? null : rate,
      sessionsBehind,
      holes: missing + Math.max(0, unfetched - (sessionsBehind ?? 0)),
      sessions,
    }),
    sessionsBehind,
    coverage,
    coverageShare: sessions === 0 ? null : complete / sessions,
    ...{ openFindings, openGaps },
  };
}

// -------------------------------------------------------------------------- arranging

/** What the list can be sorted by. */
export const OVERVIEW_SORTS = [
  ...(['state', 'symbol', 'name', 'change', 'quality', 'validation', 'coverage'] as const),
  ...(['behind', 'findings', 'records', 'start', 'end', 'backfill'] as const),
  ...(['exchange', 'tracked', 'timeframes'] as const),
] as const;
export type OverviewSort = (typeof OVERVIEW_SORTS)[number];

/** A state, those that somebody has to do something about, or all that are tracked. */
export type StateFilter = SymbolState | 'attention' | 'tracked';

export interface OverviewOrder {
  sort: OverviewSort;
  direction: 'asc' | 'desc';
  /** Part of a symbol or name, without case; all when it is empty. */
  q?: string;
  state?: StateFilter;
  /** How much each close differs from the one before, for `sort` 'change'; by instrument. */
  changes?: ReadonlyMap<number, number>;
}

/**
 * Those that are asked for, in the order asked for; those alike by symbol, and of whatever nothing
 * is known last.
 */
export function arrangeOverview(
  symbols: readonly OverviewSymbol[],
  order: OverviewOrder,
): readonly OverviewSymbol[] {
  const { sort, direction, q = '', state } = order;
  const part = q.trim().toLowerCase();
  const isWanted = (one: OverviewSymbol) =>
    isInState(one, state) &&
    (part === '' ||
      one.symbol.toLowerCase().includes(part) ||
      (one.name?.toLowerCase().includes(part) ?? false));
  const wanted = part === '' && state === undefined ? symbols : symbols.filter(isWanted);
  if (sort === 'symbol') return direction === 'asc' ? wanted : wanted.toReversed();
  const value = sortValue(sort, order.changes);
  const sign = direction === 'asc' ? 1 : -1;
  const keyed = wanted.map((one) => ({ one, key: value(one) }));
  keyed.sort((a, b) => {
    if (a.key === b.key) return 0;
    if (a.key === null) return 1;
    if (b.key === null) return -1;
    return a.key < b.key ? -sign : sign;
  });
  return keyed.map(({ one }) => one);
}

function isInState(one: OverviewSymbol, state: StateFilter | undefined): boolean {
  if (state === undefined) return true;
  if (state === 'attention') return TROUBLED_STATES.includes(one.state);
  return state === 'tracked' ? one.tracked : one.state === state;
}

const RANKS = new Map(SYMBOL_STATES.map((state, rank) => [state, rank]));

function sortValue(
  sort: OverviewSort,
  changes: ReadonlyMap<number, number> | undefined,
): (one: OverviewSymbol) => number | string | null {
  switch (sort) {
    case 'state':
      return ({ state }) => RANKS.get(state) ?? 0;
    case 'symbol':
      return ({ symbol }) => symbol;
    case 'name':
      return ({ name }) => name?.toLowerCase() ?? null;
    case 'change':
      return ({ instrumentId }) => changes?.get(instrumentId) ?? null;
    case 'quality':
      return ({ average_quality }) => average_quality;
    case 'validation':
      return ({ records, validation_rate_pct }) => (records === 0 ? null : validation_rate_pct);
    case 'coverage':
      return ({ coverageShare }) => coverageShare;
    case 'behind':
      return ({ sessionsBehind }) => sessionsBehind;
    case 'findings':
      return ({ openFindings }) => openFindings;
    case 'records':
      return ({ records }) => records;
    case 'start':
      return ({ start_date }) => start_date;
    case 'end':
      return ({ end_date }) => end_date;
    case 'exchange':
      return ({ exchange }) => exchange;
    case 'tracked':
      return ({ tracked }) => (tracked ? 0 : 1);
    case 'timeframes':
      return ({ timeframes }) => timeframes.length;
    case 'backfill':
      return ({ last_backfill }) => last_backfill;
  }
}
