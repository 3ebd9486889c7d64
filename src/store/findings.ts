import {
  BAR_KINDS,
  type BarDecisions,
  barDigest,
  digestOf,
  FINDING_FLAGS,
  findingBits,
} from '../model/finding.ts';
import { toDate, toDay } from '../model/session.ts';
import type { StoredBars, StoredIntradayBars } from './bar-columns.ts';
import type { Transaction } from './database.ts';

/** A bar that is written and has, or had, flags that are findings. */
export interface FlaggedBar {
  instrumentId: number;
  /** With `ts` below a day. */
  bars: StoredBars | StoredIntradayBars;
  /** The bar's position in `bars`. */
  row: number;
  /** Its flags before; 0 for a new bar. */
  flagsBefore: number;
}

/** Something seen at a session that is no rule of a bar. */
export interface SeenFinding {
  kind: string;
  /** Days since 1970-01-01. */
  day: number;
  detail: object;
  /** What it is about: a decision about it holds as long as these numbers are the same. */
  values: readonly number[];
}

/** All that is seen of some kinds in a range of sessions: what was seen before and is not, ends. */
export interface SeenRange {
  instrumentId: number;
  kinds: readonly string[];
  /** Days, both inclusive. */
  firstDay: number;
  lastDay: number;
  found: readonly SeenFinding[];
}

/** The `ts` of findings about daily bars and whole sessions. */
const NO_TS = '-infinity';

function tsOf(bars: StoredBars | StoredIntradayBars, row: number): string {
  return 'ts' in bars ? new Date(bars.ts[row]).toISOString() : NO_TS;
}

/**
 * Whether writing a bar over one with other flags (0: over none) concerns a finding. A cheap look:
 * nearly all bars have none.
 */
export const isFlagged = (flags: number, flagsBefore: number): boolean =>
  ((flags | flagsBefore) & FINDING_FLAGS) !== 0;

/**
 * Keeps the findings of written bars, under the ingest lock: a rule that a bar does not pass is one
 * finding, which ends when the bar passes. A finding that ended or was decided, and is there again
 * with other values, is open again; the decision stays in the audit log.
 * @param atMs when it was found, epoch ms.
 */
export async function recordFindings(
  tx: Transaction,
  timeframe: string,
  written: readonly FlaggedBar[],
  atMs: number,
): Promise<void> {
  await resolveLost(tx, timeframe, written, atMs);
  const found = written.filter(({ bars, row }) => (bars.flags[row] & FINDING_FLAGS) !== 0);
  if (found.length === 0) return;
  const at = new Date(atMs);
  await tx`
    insert into findings as f (instrument_id, timeframe, session, ts, kind, digest, ts_found)
    select b.id, ${timeframe}, b.session, b.ts, q.name, b.digest, ${at}::timestamptz
    from unnest(${found.map(({ instrumentId }) => instrumentId)}::int[],
      ${found.map(({ bars, row }) => toDate(bars.session[row]))}::date[],
      ${found.map(({ bars, row }) => tsOf(bars, row))}::text[]::timestamptz[],
      ${found.map(({ bars, row }) => bars.flags[row] & FINDING_FLAGS)}::int[],
      ${found.map(({ bars, row }) => barDigest(bars, row))}::text[])
      as b(id, session, ts, flags, digest)
    join quality_rules q on b.flags & q.bit <> 0
    order by b.id, b.session, b.ts, q.bit
    on conflict (instrument_id, timeframe, session, ts, kind) do update
    set state = 'open', digest = excluded.digest, decided_by = null, ts_decided = null,
        ts_resolved = null,
        ts_found = case when f.state = 'open' then f.ts_found else excluded.ts_found end
    where f.digest <> excluded.digest or f.state = 'resolved'`;
}

/** Ends the findings whose rule a written bar passes now. */
async function resolveLost(
  tx: Transaction,
  timeframe: string,
  written: readonly FlaggedBar[],
  atMs: number,
): Promise<void> {
  const lostFlags = ({ bars, row, flagsBefore }: FlaggedBar) =>
    flagsBefore & ~bars.flags[row] & FINDING_FLAGS;
  const lost = written.filter((bar) => lostFlags(bar) !== 0);
  if (lost.length === 0) return;
  await tx`
    update findings f
    set state = 'resolved', ts_resolved = ${new Date(atMs)}, decided_by = null, ts_decided = null
    from unnest(${lost.map(({ instrumentId }) => instrumentId)}::int[],
      ${lost.map(({ bars, row }) => toDate(bars.session[row]))}::date[],
      ${lost.map(({ bars, row }) => tsOf(bars, row))}::text[]::timestamptz[],
      ${lost.map(lostFlags)}::int[]) as b(id, session, ts, flags)
    join quality_rules q on b.flags & q.bit <> 0
    where f.instrument_id = b.id and f.timeframe = ${timeframe} and f.session = b.session
      and f.ts = b.ts and f.kind = q.name and f.state <> 'resolved'`;
}

/**
 * Keeps what was seen between bars, as `recordFindings` does of the bars themselves. Ranges of one
 * call do not overlap. Only the detail of a finding may change under a decision.
 */
export async function recordSeen(
  tx: Transaction,
  timeframe: string,
  ranges: readonly SeenRange[],
  atMs: number,
): Promise<void> {
  if (ranges.length === 0) return;
  await resolveUnseen(tx, timeframe, ranges, atMs);
  const found = ranges.flatMap(({ instrumentId, found: seen }) =>
    seen.map((one) => ({ instrumentId, ...one })),
  );
  if (found.length === 0) return;
  await tx`
    insert into findings as f (instrument_id, timeframe, session, kind, digest, detail, ts_found)
    select id, ${timeframe}, session, kind, digest, detail::jsonb, ${new Date(atMs)}::timestamptz
    from unnest(${found.map(({ instrumentId }) => instrumentId)}::int[],
      ${found.map(({ day }) => toDate(day))}::date[], ${found.map(({ kind }) => kind)}::text[],
      ${found.map(({ values }) => digestOf(values))}::text[],
      ${found.map(({ detail }) => JSON.stringify(detail))}::text[])
      as s(id, session, kind, digest, detail)
    order by id, session, kind collate "C"
    on conflict (instrument_id, timeframe, session, ts, kind) do update
    set detail = excluded.detail, digest = excluded.digest, ts_resolved = null,
        state = case when ${isNews(tx)} then 'open' else f.state end,
        decided_by = case when ${isNews(tx)} then null else f.decided_by end,
        ts_decided = case when ${isNews(tx)} then null else f.ts_decided end,
        ts_found = case when ${isNews(tx)} and f.state <> 'open'
                        then excluded.ts_found else f.ts_found end
    where ${isNews(tx)} or f.detail is distinct from excluded.detail`;
}

const isNews = (tx: Transaction) => tx`(f.digest <> excluded.digest or f.state = 'resolved')`;

/** Ends what was seen in a range before and is not any more. */
async function resolveUnseen(
  tx: Transaction,
  timeframe: string,
  ranges: readonly SeenRange[],
  atMs: number,
): Promise<void> {
  const asked = ranges.flatMap(({ kinds, found, ...range }) =>
    kinds.map((kind) => {
      const seen = found.filter((one) => one.kind === kind).map(({ day }) => toDate(day));
      return { ...range, kind, seen: seen.join(' ') };
    }),
  );
  await tx`
    update findings f
    set state = 'resolved', ts_resolved = ${new Date(atMs)}, decided_by = null, ts_decided = null
    from unnest(${asked.map(({ instrumentId }) => instrumentId)}::int[],
      ${asked.map(({ kind }) => kind)}::text[],
      ${asked.map(({ firstDay }) => toDate(firstDay))}::date[],
      ${asked.map(({ lastDay }) => toDate(lastDay))}::date[],
      ${asked.map(({ seen }) => seen)}::text[]) as a(id, kind, first, last, seen)
    where f.instrument_id = a.id and f.timeframe = ${timeframe} and f.kind = a.kind
      and f.session between a.first and a.last and f.state <> 'resolved'
      and not f.session::text = any(string_to_array(a.seen, ' '))`;
}

/** What was decided about one bar, and about which values. */
export interface StoredDecision extends BarDecisions {
  /** Days since 1970-01-01. */
  day: number;
  /** When the bar begins, epoch ms; null: a daily bar. */
  ts: number | null;
  digest: string;
}

interface DecisionRow {
  instrument_id: number;
  session: string;
  ms: number | null;
  accepted: string[] | null;
  rejected: string[] | null;
  digest: string;
}

/** The decisions that hold about bars of these instruments; one without any is not in the map. */
export async function selectDecisions(
  tx: Transaction,
  timeframe: string,
  instrumentIds: readonly number[],
): Promise<Map<number, StoredDecision[]>> {
  // All findings of a bar have the digest of the bar as it is stored.
  const rows = await tx<DecisionRow[]>`
    select instrument_id, session, digest,
           case when isfinite(ts) then (extract(epoch from ts) * 1000)::float8 end as ms,
           array_agg(kind) filter (where state = 'accepted') as accepted,
           array_agg(kind) filter (where state = 'rejected') as rejected
    from findings
    where state in ('accepted', 'rejected') and timeframe = ${timeframe}
      and instrument_id = any(${[...instrumentIds]}::int[]) and kind = any(${BAR_KINDS}::text[])
    group by instrument_id, session, ts, digest
    order by instrument_id, session, ts`;
  const found = new Map<number, StoredDecision[]>();
  for (const row of rows) {
    const list = found.get(row.instrument_id) ?? [];
    list.push({
      day: toDay(row.session),
      ts: row.ms,
      digest: row.digest,
      accepted: findingBits(row.accepted),
      rejected: findingBits(row.rejected),
    });
    found.set(row.instrument_id, list);
  }
  return found;
}
