import type { AnySql } from '../store/database.ts';

/** Something that somebody did by hand. */
export interface AuditRecord {
  auditId: number;
  at: Date;
  actor: string;
  action: string;
  /** The symbol that its instrument has now, or had last; null when it is about none. */
  symbol: string | null;
  target: string;
  detail: Record<string, unknown> | null;
}

interface AuditRow {
  audit_id: number;
  ts: Date;
  actor: string;
  action: string;
  symbol: string | null;
  target: string;
  detail: Record<string, unknown> | null;
}

const toRecord = (row: AuditRow): AuditRecord => ({
  auditId: row.audit_id,
  at: row.ts,
  actor: row.actor,
  action: row.action,
  symbol: row.symbol,
  target: row.target,
  detail: row.detail,
});

/** The last things done by hand, about one instrument or at all; the latest first. */
export async function selectAudit(
  sql: AnySql,
  { instrumentId, limit }: { instrumentId?: number; limit: number },
): Promise<AuditRecord[]> {
  const only = instrumentId === undefined ? sql`` : sql`where instrument_id = ${instrumentId}`;
  const rows = await sql<AuditRow[]>`
    select a.audit_id, a.ts, a.actor, a.action, r.symbol, a.target, a.detail
    from (select * from audit_log ${only} order by audit_id desc limit ${limit}) a
    left join lateral (
      select symbol from symbol_ranges where instrument_id = a.instrument_id
      order by valid_to desc limit 1) r on true
    order by a.audit_id desc`;
  return rows.map(toRecord);
}

/** What was done about a finding, from the first on, whichever instrument it belonged to then. */
export async function selectFindingHistory(
  sql: AnySql,
  { findingId }: { findingId: number },
): Promise<AuditRecord[]> {
  const rows = await sql<AuditRow[]>`
    select audit_id, ts, actor, action, null as symbol, target, detail
    from audit_log
    where action like 'finding.%' and (detail ->> 'finding_id')::bigint = ${findingId}
    order by audit_id`;
  return rows.map(toRecord);
}

/** Things done by hand in one step. */
export interface AuditStep extends AuditRecord {
  /** What the entries of the step have in common; null for one from before there were steps. */
  batchId: number | null;
  /** How many entries it has; the record is the first of them. */
  entries: number;
}

export interface AuditStepsPage {
  steps: AuditStep[];
  /** Numbers of entries: before and behind them the pages around this one are. */
  previous: number | null;
  next: number | null;
}

type StepRow = AuditRow & { batch_id: number | null; entries: number };

/**
 * Things done by hand, a step each, the latest first.
 * @param query.place the number of an entry; only steps behind it (older), or, when `isBackward`,
 *   before it.
 */
export async function selectAuditSteps(
  sql: AnySql,
  query: { place?: number; isBackward?: boolean; limit: number },
): Promise<AuditStepsPage> {
  const { place, isBackward = false, limit } = query;
  const beyond = isBackward ? sql`>` : sql`<`;
  const rows = await sql<StepRow[]>`
    select a.audit_id, a.ts, a.actor, a.action, r.symbol, a.target, a.detail, a.batch_id,
           case when a.batch_id is null then 1
                else (select count(*)::int from audit_log where batch_id = a.batch_id)
           end as entries
    from (
      select * from audit_log a
      where is_first
        and ${place === undefined ? sql`true` : sql`audit_id ${beyond} ${place}::bigint`}
      order by audit_id ${isBackward ? sql`asc` : sql`desc`} limit ${limit + 1}) a
    left join lateral (
      select symbol from symbol_ranges where instrument_id = a.instrument_id
      order by valid_to desc limit 1) r on true
    order by a.audit_id desc`;
  const hasMore = rows.length > limit;
  const shown = isBackward && hasMore ? rows.slice(1) : rows.slice(0, limit);
  const hasPrevious = isBackward ? hasMore : place !== undefined;
  return {
    steps: shown.map((row) => ({
      ...toRecord(row),
      batchId: row.batch_id,
      entries: row.entries,
    })),
    previous: hasPrevious ? (shown[0]?.audit_id ?? null) : null,
    next: isBackward || hasMore ? (shown.at(-1)?.audit_id ?? null) : null,
  };
}

/**
 * The first entries of a step, in the order in which they were written; none when there is no such.
 * A step that adds all symbols of the country has 10,000.
 */
export async function selectAuditStep(
  sql: AnySql,
  { batchId, limit }: { batchId: number; limit: number },
): Promise<AuditRecord[]> {
  const rows = await sql<AuditRow[]>`
    select a.audit_id, a.ts, a.actor, a.action, r.symbol, a.target, a.detail
    from audit_log a
    left join lateral (
      select symbol from symbol_ranges where instrument_id = a.instrument_id
      order by valid_to desc limit 1) r on true
    where a.batch_id = ${batchId}
    order by a.audit_id limit ${limit}`;
  return rows.map(toRecord);
}
