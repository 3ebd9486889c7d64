import { REVIEW_SCORE, VALIDATED_SCORE } from '../model/quality.ts';
import type { AnySql, Sql } from '../store/database.ts';

/** What a symbol of a request means. */
export interface ResolvedSymbol {
  instrumentId: number;
  /** As it is spelled in the warehouse. */
  symbol: string;
  name: string | null;
  listedOn: string | null;
  /** A session about half-way through its bars, as of some time ago; null when it had few. */
  middle: string | null;
}

interface ResolvedRow {
  instrument_id: number;
  symbol: string;
  name: string | null;
  listed_on: string | null;
  middle: string | null;
}

interface Directory {
  exact: Map<string, ResolvedSymbol>;
  /** By lower case; null where several symbols differ in case only. */
  folded: Map<string, ResolvedSymbol | null>;
}

/**
 * Finds instruments by symbol: exactly, else without case when that is unique. All symbols are read
 * at once (10,000 take 2 MB) and kept until `clear`, which every change of symbols calls.
 */
export class SymbolDirectory {
  #known: Promise<Directory> | undefined;
  /** Grows whenever what was found before may mean something else. */
  generation = 0;
  isTrusted = false;

  constructor(readonly sql: Sql) {}

  clear(): void {
    this.#known = undefined;
    this.generation++;
  }

  /** @returns undefined when no instrument, or more than one, can be meant. */
  async find(symbol: string): Promise<ResolvedSymbol | undefined> {
    const { exact, folded } = await this.#directory();
    return exact.get(symbol) ?? folded.get(symbol.toLowerCase()) ?? undefined;
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
    select r.instrument_id, r.symbol, i.name, i.listed_on,
           case when s.records >= 500
                then s.first_session + (s.latest_session - s.first_session) / 2 end as middle
    from symbol_ranges r
    join instruments i using (instrument_id)
    left join instrument_status s on s.instrument_id = r.instrument_id and s.timeframe = '1d'
    where r.valid_to = 'infinity'`;
  const exact = new Map<string, ResolvedSymbol>();
  const folded = new Map<string, ResolvedSymbol | null>();
  for (const row of rows) {
    const { symbol, name, instrument_id: instrumentId, listed_on: listedOn, middle } = row;
    const resolved = { instrumentId, symbol, name, listedOn, middle };
    exact.set(symbol, resolved);
    const lower = symbol.toLowerCase();
    folded.set(lower, folded.has(lower) ? null : resolved);
  }
  return { exact, folded };
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
