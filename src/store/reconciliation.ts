import { FLAG } from '../model/quality.ts';
import type { Reconciliation, ReconciliationVerdict } from '../model/reconciliation.ts';
import { toDate } from '../model/session.ts';
import {
  type BarColumnBytes,
  barColumns,
  decodeStoredBars,
  makeStoredBars,
  type StoredBars,
} from './bar-columns.ts';
import type { AnySql, Sql } from './database.ts';

/** What came of one instrument. */
export interface ReconciliationRow {
  instrumentId: number;
  runId: number;
  /** When the run began. */
  ts: Date;
  source: string;
  /** Of the sample it was drawn in; null when it was named. */
  seed: number | null;
  /** 'YYYY-MM-DD', both inclusive. */
  startSession: string;
  endSession: string;
  /** What was found; or why there is nothing. */
  result: Reconciliation | { error: string };
}

/** Stores what a run found of an instrument. */
export async function insertReconciliation(sql: AnySql, row: ReconciliationRow): Promise<void> {
  const { result } = row;
  const found = 'error' in result ? undefined : result;
  const verdict: ReconciliationVerdict = found?.verdict ?? 'failed';
  await sql`
    insert into reconciliations (instrument_id, run_id, ts, source, seed, start_session,
      end_session, verdict, side, compared, only_ours, only_theirs, detail, error)
    values (${row.instrumentId}, ${row.runId}, ${row.ts}, ${row.source}, ${row.seed},
      ${row.startSession}, ${row.endSession}, ${verdict}, ${found?.side ?? null},
      ${found?.compared ?? 0}, ${found?.only_ours.count ?? 0}, ${found?.only_theirs.count ?? 0},
      ${found ? JSON.stringify(found) : null}::text::jsonb,
      ${'error' in result ? result.error : null})`;
}

/** An instrument whose bars can be checked. */
export interface Checkable {
  instrumentId: number;
  symbol: string;
  /** As the source spells it, where that is known. */
  sourceSymbol: string;
}

/**
 * A sample of the tracked instruments that have daily bars: those not checked for longest, among
 * equals by chance. The same seed gives the same sample: checks of its own runs, and later ones,
 * do not count. Made-up bars are nobody's business.
 */
export async function selectSample(
  sql: Sql,
  { count, seed, provider }: { count: number; seed: number; provider: string },
): Promise<Checkable[]> {
  const rows = await sql<{ instrument_id: number; symbol: string; source_symbol: string }[]>`
    select i.instrument_id, r.symbol, coalesce(p.symbol, r.symbol) as source_symbol
    from instruments i
    join symbol_ranges r on r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
    join instrument_status s on s.instrument_id = i.instrument_id and s.timeframe = '1d'
    left join provider_symbols p on p.instrument_id = i.instrument_id and p.provider = ${provider}
    left join lateral (
      select max(c.ts) as ts from reconciliations c
      where c.instrument_id = i.instrument_id
        and c.ts < coalesce(
          (select min(ts) from reconciliations where seed = ${seed}), 'infinity')) last on true
    where i.is_tracked and s.records > 0 and not s.is_synthetic
    order by last.ts nulls first, md5(${`${seed}:`}::text || i.instrument_id::text)
    limit ${count}`;
  return rows.map((row) => ({
    instrumentId: row.instrument_id,
    symbol: row.symbol,
    sourceSymbol: row.source_symbol,
  }));
}

/** Stored bars to be checked, and whose they are. */
export interface CheckedBars {
  bars: StoredBars;
  /** In the order of the alphabet; empty when there are no bars. */
  providers: string[];
  /** Made-up bars. */
  isSynthetic: boolean;
}

/** The daily bars of a range, days since 1970-01-01, both inclusive; without unfinished ones. */
export async function selectCheckedBars(
  sql: AnySql,
  instrumentId: number,
  { firstDay, lastDay }: { firstDay: number; lastDay: number },
): Promise<CheckedBars> {
  const [row] = await sql<
    (BarColumnBytes & { providers: string[] | null; is_synthetic: boolean })[]
  >`
    select ${barColumns(sql)},
           array_agg(distinct provider order by provider) as providers,
           coalesce((select is_synthetic from instrument_status s
                     where s.instrument_id = ${instrumentId} and s.timeframe = '1d'), false)
             as is_synthetic
    from (select * from bars_1d
          where instrument_id = ${instrumentId} and flags & ${FLAG.unfinished} = 0
            and session between ${toDate(firstDay)} and ${toDate(lastDay)}
          order by session) ordered`;
  const bars = row.providers === null ? makeStoredBars(0) : decodeStoredBars(row);
  return { bars, providers: row.providers ?? [], isSynthetic: row.is_synthetic };
}
