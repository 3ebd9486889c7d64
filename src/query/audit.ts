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
