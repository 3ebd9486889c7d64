import type { FindingState } from '../model/finding.ts';
import {
  type FindingCount,
  GRADES,
  type Grade,
  gradeSymbol,
  gradeTotal,
  sumOpen,
} from '../model/grade.ts';
import type { Reconciliation, ReconciliationVerdict } from '../model/reconciliation.ts';
import { type Calendar, toDay } from '../model/session.ts';
import type { Sql } from '../store/database.ts';
import { type CoverageTotals, selectCoverageTotals } from './coverage.ts';

/**
 * How good what is held is, per symbol and in total. All of it is from counters and from coverage:
 * no bar, finding or revision is counted, so that it takes as long with 6 million bars as with
 * 600,000.
 */

/** What is stored; bars of other timeframes are made of these. */
const TIMEFRAMES = ['1d', '1h', '1m'] as const;

export interface TimeframeQuality {
  timeframe: string;
  records: number;
  validated_records: number;
  validation_rate_pct: number;
  average_quality: number | null;
  excluded_records: number;
  gaps_flagged: number;
  volume_anomalies: number;
  first_session: string | null;
  latest_session: string | null;
  /** Published sessions after the latest one; null when nothing is held. */
  sessions_behind: number | null;
  /** How often a bar was restated. */
  revisions: number;
  last_revision_at: string | null;
  /** Sessions by what is known of them. */
  coverage: CoverageTotals;
}

export interface FindingSummary {
  open: number;
  by_kind: FindingCount[];
}

/** The latest comparison with a second source. */
export interface ComparisonQuality {
  verdict: ReconciliationVerdict;
  /** Whose numbers are wrong where they differ. */
  side: Reconciliation['side'];
  source: string;
  checked_at: string;
  start_session: string;
  end_session: string;
  /** Sessions on both sides. */
  compared: number;
}

/** What the daily bars (else those that are held) come to, with the findings of all. */
export interface SymbolQuality extends Omit<TimeframeQuality, 'timeframe'> {
  instrument_id: number;
  symbol: string;
  name: string | null;
  tracked: boolean;
  synthetic: boolean;
  grade: Grade;
  verdict: string;
  findings: FindingSummary;
  reconciliation: ComparisonQuality | null;
  timeframes: TimeframeQuality[];
}

export interface TotalQuality {
  grade: Grade;
  verdict: string;
  symbols: number;
  grades: Record<Grade, number>;
  findings: FindingSummary;
  /** Tracked symbols that are behind, and by how many sessions the worst of them is. */
  symbols_behind: number;
  sessions_behind_max: number;
  /** Symbols by what came of their latest comparison with a second source. */
  reconciliation: Record<ReconciliationVerdict, number>;
  timeframes: TimeframeQuality[];
}

export interface QualityReport {
  total: TotalQuality;
  /** In the order asked for; those alike by symbol. */
  symbols: SymbolQuality[];
}

export interface QualityAsked {
  /** Every instrument that is tracked or of which bars are held, when missing. */
  instrumentIds?: readonly number[];
  /** The latest session that can have a bar by now, days since 1970-01-01; -1 when none can. */
  latestDay: number;
  /** 'worst' when missing. */
  order?: QualityOrder;
}

interface InstrumentRow {
  id: number;
  symbol: string;
  name: string | null;
  tracked: boolean;
  delisted_on: string | null;
}

interface StatusRow {
  id: number;
  timeframe: string;
  records: number;
  validated_records: number;
  excluded_records: number;
  gaps_flagged: number;
  volume_anomalies: number;
  score_sum: number;
  first_session: string | null;
  latest_session: string | null;
  is_synthetic: boolean;
  revisions: number;
  last_revision_at: Date | null;
}

/** 18303 of 18359 -> 99.69; 0 of 0 -> 0. */
const percentage = (part: number, whole: number) =>
  whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 100;

/** Published sessions after a date; null without one. */
export function countBehind(
  calendar: Calendar,
  date: string | null,
  latestDay: number,
): number | null {
  if (date === null) return null;
  const held = Math.min(Math.max(toDay(date), calendar.firstDay), calendar.lastDay);
  if (latestDay <= held) return 0;
  return calendar.sessionsBefore(latestDay + 1) - calendar.sessionsBefore(held + 1);
}

/** The report on all symbols, or on some. */
export async function selectQuality(
  sql: Sql,
  calendar: Calendar,
  asked: QualityAsked,
): Promise<QualityReport> {
  const { order = 'worst' } = asked;
  const ids = asked.instrumentIds === undefined ? null : [...asked.instrumentIds];
  const cover = (dataset: string) =>
    selectCoverageTotals(sql, calendar, {
      instrumentIds: ids ?? undefined,
      latestDay: asked.latestDay,
      dataset,
    });
  const [instruments, statuses, findings, comparisons, daily] = await Promise.all([
    selectInstruments(sql, ids),
    selectStatuses(sql, ids),
    selectFindingCounts(sql, ids),
    selectComparisons(sql, ids),
    cover('1d'),
  ]);
  const covered = new Map([['1d', daily]]);
  const held = new Set([...statuses.values()].flat().map(({ timeframe }) => timeframe));
  for (const timeframe of held) {
    if (!covered.has(timeframe)) covered.set(timeframe, await cover(timeframe));
  }
  const symbols = instruments.map((instrument) => {
    const { id, delisted_on } = instrument;
    const lastDay = delisted_on === null ? asked.latestDay : toDay(delisted_on);
    const latestDay = Math.min(asked.latestDay, lastDay);
    const timeframes = (statuses.get(id) ?? []).map((row) => ({
      ...describeStatus(row),
      sessions_behind: countBehind(calendar, row.latest_session, latestDay),
      coverage: covered.get(row.timeframe)?.get(id) ?? NO_COVERAGE,
    }));
    const isSynthetic = statuses.get(id)?.some((row) => row.is_synthetic) ?? false;
    const untouched = covered.get('1d')?.get(id) ?? NO_COVERAGE;
    const head = timeframes[0] ?? { ...describeNothing('1d'), coverage: untouched };
    return describeSymbol(
      instrument,
      { ...head, timeframes },
      { findings: findings.get(id) ?? [], comparison: comparisons.get(id) ?? null, isSynthetic },
    );
  });
  return { total: addUp(symbols), symbols: symbols.sort(ORDERS[order]) };
}

// --------------------------------------------------------------------------- reading

async function selectInstruments(sql: Sql, ids: number[] | null): Promise<InstrumentRow[]> {
  return sql<InstrumentRow[]>`
    select i.instrument_id as id, r.symbol, i.name, i.is_tracked as tracked, i.delisted_on
    from instruments i
    join (select distinct on (instrument_id) instrument_id, symbol
          from symbol_ranges order by instrument_id, valid_to desc) r using (instrument_id)
    where case when ${ids}::int[] is not null then i.instrument_id = any(${ids}::int[])
               else i.is_tracked or exists (
                 select from instrument_status s
                 where s.instrument_id = i.instrument_id and s.records > 0
                   and s.timeframe = any(${[...TIMEFRAMES]}::text[])) end
    order by r.symbol collate "C", i.instrument_id`;
}

/** The counters of the timeframes of which bars are held, in the order of TIMEFRAMES. */
async function selectStatuses(sql: Sql, ids: number[] | null): Promise<Map<number, StatusRow[]>> {
  const rows = await sql<StatusRow[]>`
    select instrument_id as id, timeframe, records, validated_records, excluded_records,
           gaps_flagged, volume_anomalies, score_sum, first_session, latest_session, is_synthetic,
           revisions, last_revision_at
    from instrument_status
    where records > 0 and timeframe = any(${[...TIMEFRAMES]}::text[])
      and (${ids}::int[] is null or instrument_id = any(${ids}::int[]))
    order by instrument_id, array_position(${[...TIMEFRAMES]}::text[], timeframe)`;
  return Map.groupBy(rows, ({ id }) => id);
}

async function selectFindingCounts(
  sql: Sql,
  ids: number[] | null,
): Promise<Map<number, FindingCount[]>> {
  const rows = await sql<{ id: number; kind: string; state: FindingState; count: number }[]>`
    select instrument_id as id, kind, state, count
    from finding_counts
    where count > 0 and (${ids}::int[] is null or instrument_id = any(${ids}::int[]))
    order by instrument_id, kind collate "C", state collate "C"`;
  const found = new Map<number, FindingCount[]>();
  for (const { id, ...count } of rows) {
    const list = found.get(id);
    if (list) list.push(count);
    else found.set(id, [count]);
  }
  return found;
}

/** The latest comparison of each instrument, without its detail. */
async function selectComparisons(
  sql: Sql,
  ids: number[] | null,
): Promise<Map<number, ComparisonQuality>> {
  const rows = await sql<(Omit<ComparisonQuality, 'checked_at'> & { id: number; ts: Date })[]>`
    select i.instrument_id as id, c.*
    from instruments i
    cross join lateral (
      select verdict, side, source, ts, start_session, end_session, compared
      from reconciliations
      where instrument_id = i.instrument_id order by run_id desc limit 1) c
    where ${ids}::int[] is null or i.instrument_id = any(${ids}::int[])`;
  return new Map(rows.map(({ id, ts, ...row }) => [id, { ...row, checked_at: ts.toISOString() }]));
}

// ------------------------------------------------------------------------ describing

const NO_COVERAGE: CoverageTotals = {
  ...{ complete: 0, missing: 0, vendor_empty: 0, not_entitled: 0, before_listing: 0 },
  unfetched: 0,
};

type Described = Omit<TimeframeQuality, 'sessions_behind' | 'coverage'>;

function describeStatus(row: StatusRow): Described {
  const { id: _, is_synthetic: __, score_sum, last_revision_at, ...counters } = row;
  return {
    ...counters,
    validation_rate_pct: percentage(row.validated_records, row.records),
    average_quality: Math.round((score_sum / row.records) * 10_000) / 10_000,
    last_revision_at: last_revision_at?.toISOString() ?? null,
  };
}

const describeNothing = (timeframe: string): TimeframeQuality => ({
  timeframe,
  ...{ records: 0, validated_records: 0, validation_rate_pct: 0, average_quality: null },
  ...{ excluded_records: 0, gaps_flagged: 0, volume_anomalies: 0 },
  ...{ first_session: null, latest_session: null, sessions_behind: null },
  ...{ revisions: 0, last_revision_at: null, coverage: NO_COVERAGE },
});

/** What is known of a symbol beside its bars. */
interface Beside {
  findings: FindingCount[];
  comparison: ComparisonQuality | null;
  isSynthetic: boolean;
}

function describeSymbol(
  { id, symbol, name, tracked }: InstrumentRow,
  { timeframe: _, timeframes, ...head }: TimeframeQuality & { timeframes: TimeframeQuality[] },
  { findings, comparison, isSynthetic }: Beside,
): SymbolQuality {
  const judged = gradeSymbol({
    records: head.records,
    validationRatePct: head.validation_rate_pct,
    latestSession: head.latest_session,
    isTracked: tracked,
    sessionsBehind: head.sessions_behind,
    coverage: head.coverage,
    findings,
    comparison: comparison && { ...comparison, result: comparison.verdict },
  });
  return {
    ...{ instrument_id: id, symbol, name, tracked, synthetic: isSynthetic, ...judged, ...head },
    findings: { open: sumOpen(findings), by_kind: findings },
    reconciliation: comparison,
    timeframes,
  };
}

const rankOf = (grade: Grade) => GRADES.indexOf(grade);
const holes = ({ coverage }: SymbolQuality) => coverage.missing + coverage.unfetched;

/** Each puts what needs attention most first. */
const ORDERS = {
  worst: (a, b) =>
    rankOf(a.grade) - rankOf(b.grade) ||
    a.validation_rate_pct - b.validation_rate_pct ||
    (b.sessions_behind ?? 0) - (a.sessions_behind ?? 0) ||
    b.findings.open - a.findings.open,
  symbol: () => 0,
  validation: (a, b) => a.validation_rate_pct - b.validation_rate_pct,
  behind: (a, b) => (b.sessions_behind ?? 0) - (a.sessions_behind ?? 0),
  findings: (a, b) => b.findings.open - a.findings.open,
  holes: (a, b) => holes(b) - holes(a),
  revisions: (a, b) => b.revisions - a.revisions,
} satisfies Record<string, (a: SymbolQuality, b: SymbolQuality) => number>;

export type QualityOrder = keyof typeof ORDERS;
export const QUALITY_ORDERS = Object.keys(ORDERS) as QualityOrder[];

function addUp(symbols: readonly SymbolQuality[]): TotalQuality {
  const timeframes = TIMEFRAMES.map((timeframe) =>
    addTimeframe(
      timeframe,
      symbols.flatMap((one) => one.timeframes.filter((each) => each.timeframe === timeframe)),
    ),
  ).filter(({ records }) => records > 0);
  const grades = symbols.map(({ grade }) => grade);
  // Minutes would drown the days.
  const [head] = timeframes;
  const totals = {
    records: head?.records ?? 0,
    validationRatePct: head?.validation_rate_pct ?? 0,
  };
  const behind = symbols.filter((one) => one.tracked && (one.sessions_behind ?? 0) > 0);
  const counts = Object.fromEntries(
    GRADES.map((grade) => [grade, grades.filter((one) => one === grade).length]),
  ) as Record<Grade, number>;
  return {
    ...gradeTotal(grades, totals),
    symbols: symbols.length,
    grades: counts,
    findings: addFindings(symbols),
    symbols_behind: behind.length,
    reconciliation: tallyComparisons(symbols),
    sessions_behind_max: Math.max(0, ...behind.map((one) => one.sessions_behind ?? 0)),
    timeframes,
  };
}

const VERDICTS = ['agree', 'near', 'differ', 'conflict', 'none', 'failed'] as const;

function tallyComparisons(symbols: readonly SymbolQuality[]): TotalQuality['reconciliation'] {
  const verdicts = symbols.map(({ reconciliation }) => reconciliation?.verdict);
  const count = (verdict: ReconciliationVerdict) =>
    verdicts.filter((one) => one === verdict).length;
  return Object.fromEntries(VERDICTS.map((verdict) => [verdict, count(verdict)])) as Record<
    ReconciliationVerdict,
    number
  >;
}

function addTimeframe(timeframe: string, all: readonly TimeframeQuality[]): TimeframeQuality {
  const sum = describeNothing(timeframe);
  const coverage = { ...NO_COVERAGE };
  let scores = 0;
  for (const one of all) {
    for (const field of SUMMED) sum[field] += one[field];
    scores += (one.average_quality ?? 0) * one.records;
    for (const state of Object.keys(coverage) as (keyof CoverageTotals)[]) {
      coverage[state] += one.coverage[state];
    }
  }
  const behind = all.map((one) => one.sessions_behind ?? 0);
  const latest = all.map((one) => one.latest_session ?? '');
  const first = all.map((one) => one.first_session ?? '9').sort();
  const revised = all.map((one) => one.last_revision_at ?? '');
  return {
    ...sum,
    validation_rate_pct: percentage(sum.validated_records, sum.records),
    average_quality: sum.records === 0 ? null : Math.round((scores / sum.records) * 1e4) / 1e4,
    first_session: first[0] ?? null,
    latest_session: latest.sort().at(-1) ?? null,
    // Of all together: as fresh as the freshest.
    sessions_behind: behind.length === 0 ? null : Math.min(...behind),
    last_revision_at: revised.sort().at(-1) || null,
    coverage,
  };
}

const SUMMED = [
  ...(['records', 'validated_records', 'excluded_records', 'gaps_flagged'] as const),
  ...(['volume_anomalies', 'revisions'] as const),
];

function addFindings(symbols: readonly SymbolQuality[]): FindingSummary {
  const sums = new Map<string, FindingCount>();
  for (const { findings } of symbols) {
    for (const { kind, state, count } of findings.by_kind) {
      const key = `${kind} ${state}`;
      const sum = sums.get(key) ?? { kind, state, count: 0 };
      sum.count += count;
      sums.set(key, sum);
    }
  }
  const byKind = [...sums.values()].sort((a, b) =>
    a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : 0,
  );
  return { open: sumOpen(byKind), by_kind: byKind };
}
