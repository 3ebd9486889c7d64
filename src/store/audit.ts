import type { Transaction } from './database.ts';

/** Something that somebody did by hand. */
export interface AuditEntry {
  /** Who: 'http 127.0.0.1', 'cli root'. */
  actor: string;
  /** What, as noun and verb: 'finding.accept'. */
  action: string;
  /** The instrument it was about, if any. */
  instrumentId: number | null;
  /** To what, for people: 'AAPL 1d 2020-08-31 gap_unexplained'. */
  target: string;
  /** What was said and changed, for programs. */
  detail: object | null;
}

/**
 * Writes down what was done, in the transaction that does it. Rows of the log are never changed.
 * @param atMs when it was done, epoch ms.
 * @returns the number that the entries have in common: they are one step; undefined for none.
 */
export async function insertAudit(
  tx: Transaction,
  entries: readonly AuditEntry[],
  atMs: number,
): Promise<number | undefined> {
  if (entries.length === 0) return undefined;
  const details = entries.map(({ detail }) => (detail === null ? null : JSON.stringify(detail)));
  const [{ batch }] = await tx<{ batch: number }[]>`select nextval('audit_batches') as batch`;
  await tx`
    insert into audit_log (ts, actor, action, instrument_id, target, detail, batch_id, is_first)
    select ${new Date(atMs)}, actor, action, id, target, detail::jsonb, ${batch}::bigint,
           position = 1
    from unnest(${entries.map(({ actor }) => actor)}::text[],
      ${entries.map(({ action }) => action)}::text[],
      ${entries.map(({ instrumentId }) => instrumentId)}::int[],
      ${entries.map(({ target }) => target)}::text[], ${details}::text[])
      with ordinality as e(actor, action, id, target, detail, position)
    order by position`;
  return batch;
}
