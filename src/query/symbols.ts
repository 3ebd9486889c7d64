import { REVIEW_SCORE, VALIDATED_SCORE } from '../model/quality.ts';
import { newYorkDay } from '../model/session.ts';
import { isHeld, type SymbolRange, toRangeDay } from '../model/symbol-range.ts';
import type { AnySql, Sql } from '../store/database.ts';

/** What a symbol of a request means. */
export interface ResolvedSymbol {
  instrumentId: number;
  /** As it was asked for, spelled as it is in the warehouse. */
  symbol: string;
  name: string | null;
  listedOn: string | null;
  /** A session about half-way through its bars, as of some time ago; null when it had few. */
  middle: string | null;
}

/** A symbol's meaning in a range of days. */
export interface Holding extends ResolvedSymbol, SymbolRange {}

interface ResolvedRow {
  instrument_id: number;
  symbol: string;
  valid_from: string;
  valid_to: string;
  source: string | null;
  name: string | null;
  listed_on: string | null;
  middle: string | null;
}

interface Directory {
  /** All that a symbol ever meant, in the order of time. */
  exact: Map<string, Holding[]>;
  /** The same by lower case. */
  folded: Map<string, Holding[]>;
  instruments: Map<number, Holding[]>;
}

/**
 * Finds instruments by symbol and day: exactly, else without case when that is unique. All symbols
 * are read at once (10,000 take 2 MB) and kept until `clear`, which every change of symbols calls.
 */
export class SymbolDirectory {
  #known: Promise<Directory> | undefined;
  /** Grows whenever what was found before may mean something else. */
  generation = 0;
  isTrusted = false;

  constructor(
    readonly sql: Sql,
    readonly now: () => number = Date.now,
  ) {}

  clear(): void {
    this.#known = undefined;
    this.generation++;
  }

  /**
   * Whom the symbol means on a day (since 1970-01-01); when none is named, today in New York.
   * @returns undefined when no instrument, or more than one, can be meant.
   */
  async find(symbol: string, day = newYorkDay(this.now())): Promise<ResolvedSymbol | undefined> {
    const { exact, folded } = await this.#directory();
    const held = exact.get(symbol)?.find((one) => isHeld(one, day));
    if (held) return held;
    const alike = folded.get(symbol.toLowerCase())?.filter((one) => isHeld(one, day)) ?? [];
    return alike.length === 1 ? alike[0] : undefined;
  }

  /** All that a symbol, without case, ever meant, in the order of time. */
  async meanings(symbol: string): Promise<readonly Holding[]> {
    const { folded } = await this.#directory();
    return folded.get(symbol.toLowerCase()) ?? [];
  }

  /** The symbols of an instrument, in the order of time. */
  async symbolsOf(instrumentId: number): Promise<readonly Holding[]> {
    return (await this.#directory()).instruments.get(instrumentId) ?? [];
  }

  #directory(): Promise<Directory> {
    if (!this.isTrusted) return loadDirectory(this.sql);
    if (this.#known) return this.#known;
    const loading = loadDirectory(this.sql);
    this.#known = loading;
    loading.catch(() => {
      if (this.#known === loading) this.#known = undefined;
    });
    return loading;
  }
}

async function loadDirectory(sql: Sql): Promise<Directory> {
  const rows = await sql<ResolvedRow[]>`
    select r.instrument_id, r.symbol, r.valid_from, r.valid_to, r.source, i.name, i.listed_on,
           case when s.records >= 500
                then s.first_session + (s.latest_session - s.first_session) / 2 end as middle
    from symbol_ranges r
    join instruments i using (instrument_id)
    left join instrument_status s on s.instrument_id = r.instrument_id and s.timeframe = '1d'
    order by r.valid_from`;
  const directory: Directory = { exact: new Map(), folded: new Map(), instruments: new Map() };
  for (const row of rows) {
    const { symbol, name, instrument_id: instrumentId, listed_on: listedOn, middle } = row;
    const startDay = toRangeDay(row.valid_from);
    const endDay = toRangeDay(row.valid_to);
    const range = { startDay, endDay, source: row.source };
    const holding = { instrumentId, symbol, name, listedOn, middle, ...range };
    append(directory.exact, symbol, holding);
    append(directory.folded, symbol.toLowerCase(), holding);
    append(directory.instruments, instrumentId, holding);
  }
  return directory;
}

function append<Key>(lists: Map<Key, Holding[]>, key: Key, holding: Holding): void {
  const list = lists.get(key);
  if (list) list.push(holding);
  else lists.set(key, [holding]);
}

/** Symbols that have bars, in order. */
export async function selectLoadedSymbols(sql: AnySql): Promise<string[]> {
  const rows = await sql<{ symbol: string }[]>`
    select r.symbol
    from instrument_status s
    join symbol_ranges r on r.instrument_id = s.instrument_id and r.valid_to = 'infinity'
    where s.timeframe = '1d' and s.records > 0
    order by r.symbol collate "C"`;
  return rows.map((row) => row.symbol);
}

/** An instrument with all that it was called, and what is held of it. */
export interface InstrumentDetail {
  name: string | null;
  exchange: string | null;
  assetType: string | null;
  figi: string | null;
  listedOn: string | null;
  delistedOn: string | null;
  isTracked: boolean;
  timeframes: string[];
  providerSymbols: Record<string, string>;
  held: {
    timeframe: string;
    records: number;
    firstSession: string | null;
    latestSession: string | null;
  }[];
}

/** What is known of an instrument, from counters. @throws Error when there is none. */
export async function selectInstrument(
  sql: AnySql,
  instrumentId: number,
): Promise<InstrumentDetail> {
  const [row] = await sql<InstrumentDetail[]>`
    select i.name, i.exchange, i.asset_type as "assetType", i.figi, i.listed_on as "listedOn",
           i.delisted_on as "delistedOn", i.is_tracked as "isTracked", i.timeframes,
           coalesce((select json_object_agg(p.provider, p.symbol order by p.provider)
                     from provider_symbols p
                     where p.instrument_id = i.instrument_id), '{}') as "providerSymbols",
           coalesce((select json_agg(json_build_object(
                              'timeframe', s.timeframe, 'records', s.records,
                              'firstSession', s.first_session, 'latestSession', s.latest_session)
                            order by s.timeframe collate "C")
                     from instrument_status s
                     where s.instrument_id = i.instrument_id and s.records > 0), '[]') as held
    from instruments i where i.instrument_id = ${instrumentId}`;
  if (!row) throw new Error(`there is no instrument ${instrumentId}`);
  return row;
}

export interface SymbolDetail {
  symbol: string;
  name: string | null;
  exchange: string | null;
  tracked: boolean;
  records: number;
  validated_records: number;
  validation_rate_pct: number;
  average_quality: number | null;
  gaps_flagged: number;
  volume_anomalies: number;
  excluded_records: number;
  start_date: string | null;
  end_date: string | null;
  latest_quality: number | null;
  synthetic: boolean;
  last_backfill: string | null;
  last_backfill_success: boolean | null;
}

/** What is held of each symbol, from counters. Symbols without bars are listed with zeros. */
export async function selectSymbolDetails(sql: AnySql): Promise<SymbolDetail[]> {
  const rows = await sql<(Omit<SymbolDetail, 'last_backfill'> & { at: Date | null })[]>`
    select r.symbol, i.name, i.exchange, i.is_tracked as tracked,
           coalesce(s.records, 0) as records,
           coalesce(s.validated_records, 0) as validated_records,
           case when s.records > 0
                then round(100.0 * s.validated_records / s.records, 2)::float8 else 0::float8
           end as validation_rate_pct,
           case when s.records > 0 then round((s.score_sum / s.records)::numeric, 4)::float8
           end as average_quality,
           coalesce(s.gaps_flagged, 0) as gaps_flagged,
           coalesce(s.volume_anomalies, 0) as volume_anomalies,
           coalesce(s.excluded_records, 0) as excluded_records,
           s.first_session as start_date, s.latest_session as end_date,
           s.latest_score as latest_quality, coalesce(s.is_synthetic, false) as synthetic,
           s.last_backfill_at as at, s.last_backfill_ok as last_backfill_success
    from instruments i
    join symbol_ranges r on r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
    left join instrument_status s on s.instrument_id = i.instrument_id and s.timeframe = '1d'
    where i.is_tracked or s.records > 0
    order by r.symbol collate "C"`;
  return rows.map(({ at, ...row }) => ({ ...row, last_backfill: at?.toISOString() ?? null }));
}

/** The state of a score: validated, to be reviewed, or excluded. */
export function scoreState(score: number): 'validated' | 'review' | 'excluded' {
  if (score >= VALIDATED_SCORE) return 'validated';
  return score >= REVIEW_SCORE ? 'review' : 'excluded';
}
