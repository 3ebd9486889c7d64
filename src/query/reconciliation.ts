import type { Reconciliation, ReconciliationVerdict } from '../model/reconciliation.ts';
import type { AnySql } from '../store/database.ts';

/** What a second source said of an instrument's bars. */
export interface StoredReconciliation {
  instrumentId: number;
  /** The symbol that the instrument has now. */
  symbol: string;
  runId: number;
  /** When the run began. */
  ts: Date;
  source: string;
  seed: number | null;
  /** 'YYYY-MM-DD', both inclusive. */
  startSession: string;
  endSession: string;
  verdict: ReconciliationVerdict;
  side: Reconciliation['side'];
  /** Sessions on both sides. */
  compared: number;
  /** Null when the source gave no answer: `error` says why. */
  found: Reconciliation | null;
  error: string | null;
}

interface Row {
  instrument_id: number;
  symbol: string;
  run_id: number;
  ts: Date;
  source: string;
  seed: number | null;
  start_session: string;
  end_session: string;
  verdict: ReconciliationVerdict;
  side: Reconciliation['side'];
  compared: number;
  detail: Reconciliation | null;
  error: string | null;
}

const toStored = (row: Row): StoredReconciliation => ({
  instrumentId: row.instrument_id,
  symbol: row.symbol,
  runId: row.run_id,
  ts: row.ts,
  source: row.source,
  seed: row.seed,
  startSession: row.start_session,
  endSession: row.end_session,
  verdict: row.verdict,
  side: row.side,
  compared: row.compared,
  found: row.detail,
  error: row.error,
});

export interface ReconciliationFilter {
  instrumentId?: number;
  runId?: number;
  limit: number;
}

/** The newest results, of one instrument, run or of all; newest first, then by symbol. */
export async function selectReconciliations(
  sql: AnySql,
  { instrumentId, runId, limit }: ReconciliationFilter,
): Promise<StoredReconciliation[]> {
  const [id, run] = [instrumentId ?? null, runId ?? null];
  const rows = await sql<Row[]>`
    select c.*, r.symbol
    from reconciliations c
    join lateral (
      select symbol from symbol_ranges where instrument_id = c.instrument_id
      order by valid_to desc limit 1) r on true
    where (${id}::int is null or c.instrument_id = ${id}::int)
      and (${run}::bigint is null or c.run_id = ${run}::bigint)
    order by c.run_id desc, r.symbol collate "C"
    limit ${limit}`;
  return rows.map(toStored);
}

/**
 * The latest result of each instrument that has any, or of these; by symbol. One look at the end of
 * an index for each.
 */
export async function selectLatestReconciliations(
  sql: AnySql,
  { instrumentIds }: { instrumentIds?: readonly number[] } = {},
): Promise<StoredReconciliation[]> {
  const ids = instrumentIds === undefined ? null : [...instrumentIds];
  const rows = await sql<Row[]>`
    select c.*, r.symbol
    from symbol_ranges r
    cross join lateral (
      select * from reconciliations
      where instrument_id = r.instrument_id order by run_id desc limit 1) c
    where r.valid_to = 'infinity'
      and (${ids}::int[] is null or r.instrument_id = any(${ids}::int[]))
    order by r.symbol collate "C"`;
  return rows.map(toStored);
}

/** A result as it is served: by the API and by `marketd reconcile --json`. */
export function describeReconciliation(stored: StoredReconciliation) {
  const { found } = stored;
  return {
    symbol: stored.symbol,
    run_id: stored.runId,
    checked_at: stored.ts.toISOString(),
    source: stored.source,
    seed: stored.seed,
    start_date: stored.startSession,
    end_date: stored.endSession,
    verdict: stored.verdict,
    side: stored.side,
    compared: stored.compared,
    error: stored.error,
    fields: found?.fields ?? null,
    volume: found?.volume ?? null,
    only_ours: found?.only_ours ?? null,
    only_theirs: found?.only_theirs ?? null,
    explanations: found?.explanations ?? [],
    odd_bars: found?.odd_bars ?? null,
    worst: found?.worst ?? [],
    actions: found?.actions ?? [],
  };
}
