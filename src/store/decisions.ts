import { InputError } from '../errors.ts';
import {
  BAR_KINDS,
  type Decision,
  decideBar,
  type FindingState,
  findingBit,
  findingBits,
  isFailureKind,
} from '../model/finding.ts';
import type { StoredIntraday } from '../model/intraday.ts';
import { FAILURE_FLAGS, REVIEW_SCORE, VALIDATED_SCORE } from '../model/quality.ts';
import { insertAudit } from './audit.ts';
import { INTRADAY_TABLES } from './bar-columns.ts';
import type { Sql, Transaction } from './database.ts';
import { allowDecompression, notifyBars, withIngestLock } from './upsert.ts';

/** What an operator says of findings. */
export interface DecisionRequest {
  findingIds: readonly number[];
  decision: Decision;
  /** Kept with the finding; undefined leaves the note it has. */
  note?: string;
  /** Who: 'http 127.0.0.1', 'cli root'. */
  actor: string;
}

export interface DecisionOutcome {
  /** Findings that say something else now, and those that said so before, in the order given. */
  changed: number[];
  unchanged: number[];
  /** What `undoDecision` takes back; undefined when nothing changed. */
  batchId?: number;
}

/** A decision that cannot be taken; then none of the same request is. */
export class RefusedDecision extends Error {
  override name = 'RefusedDecision';
  constructor(
    readonly code:
      | 'unknown_finding'
      | 'not_acceptable'
      | 'resolved'
      | 'unknown_decision'
      | 'changed_since',
    message: string,
  ) {
    super(message);
  }
}

/** How many findings one request may decide. */
export const DECISIONS_MAX = 1_000;
export const NOTE_LENGTH_MAX = 1_000;

interface FindingRow {
  finding_id: number;
  instrument_id: number;
  timeframe: string;
  session: string;
  /** When the bar begins, epoch ms; null: a whole session. */
  ms: number | null;
  kind: string;
  state: FindingState;
  note: string | null;
  decided_by: string | null;
  ts_decided: Date | null;
  /** Of the values it is about. */
  digest: string;
  symbol: string;
}

/** What a finding says by what was decided about it. */
type Said = Pick<FindingRow, 'state' | 'note' | 'decided_by' | 'ts_decided'>;

interface FindingChange {
  finding: FindingRow;
  after: Said;
}

/**
 * Decides about findings, in one transaction that is the only one writing bars: the findings, flags
 * and score of their bars (what they said before becomes a revision), counters, and a row of the
 * audit log for each finding that changes. Deciding the same again changes nothing.
 * @param atMs when it is decided, epoch ms.
 * @throws RefusedDecision when a finding is not known or cannot be decided so; nothing is decided.
 * @throws InputError for too many findings, and a note that is missing, empty or too long.
 */
export async function decideFindings(
  write: Sql,
  request: DecisionRequest,
  atMs: number,
): Promise<DecisionOutcome> {
  const ids = [...new Set(request.findingIds)];
  checkRequest(request);
  return withIngestLock(write, async (tx) => {
    const findings = await selectForDecision(tx, ids);
    for (const finding of findings) refuseImpossible(finding, request.decision);
    const isChange = ({ finding, after }: FindingChange) =>
      finding.state !== after.state || finding.note !== after.note;
    const wanted = findings.map((finding) => ({
      finding,
      after: sayAfter(finding, request, atMs),
    }));
    const changes = wanted.filter(isChange);
    const { actor, decision, note } = request;
    const said = {
      actor,
      action: `finding.${decision}`,
      detail: note === undefined ? {} : { note },
    };
    const batchId = await applyChanges(tx, changes, said, atMs);
    const unchanged = wanted.filter((change) => !isChange(change));
    return { changed: idsOf(changes), unchanged: idsOf(unchanged), batchId };
  });
}

const idsOf = (changes: readonly FindingChange[]) =>
  changes.map(({ finding }) => finding.finding_id);

/** @throws InputError */
function checkRequest({ findingIds, decision, note }: DecisionRequest): void {
  if (findingIds.length === 0 || findingIds.length > DECISIONS_MAX) {
    throw new InputError(
      `${findingIds.length} findings are named: name from 1 to ${DECISIONS_MAX}`,
      'ids',
    );
  }
  if (note === undefined) {
    if (decision !== 'annotate') return;
    throw new InputError('a note is missing: to annotate is to give one', 'note');
  }
  if (note.includes('\0') || !note.isWellFormed()) {
    throw new InputError('the note holds what is no text: NUL, or a half of a character', 'note');
  }
  if (note.trim() === '' || note.length > NOTE_LENGTH_MAX) {
    throw new InputError(
      `the note must be text, at most ${NOTE_LENGTH_MAX} characters; ` +
        `it has ${note.trim() === '' ? 'none' : note.length}`,
      'note',
    );
  }
}

/** Findings `f` as rows, with the symbol `r` that their instrument has now. */
const findingColumns = (tx: Transaction) => tx`
  f.finding_id, f.instrument_id, f.timeframe, f.session, f.kind, f.state, f.note, f.decided_by,
  f.ts_decided, f.digest,
  case when isfinite(f.ts) then (extract(epoch from f.ts) * 1000)::float8 end as ms,
  coalesce(r.symbol, '#' || f.instrument_id) as symbol`;

const symbolNow = (tx: Transaction) => tx`
  left join lateral (
    select symbol from symbol_ranges where instrument_id = f.instrument_id
    order by valid_to desc limit 1) r on true`;

/** @throws RefusedDecision for a number that is no finding's. */
async function selectForDecision(tx: Transaction, ids: readonly number[]): Promise<FindingRow[]> {
  const rows = await tx<FindingRow[]>`
    select ${findingColumns(tx)}
    from unnest(${[...ids]}::bigint[]) with ordinality as a(id, position)
    join findings f on f.finding_id = a.id
    ${symbolNow(tx)}
    order by a.position`;
  if (rows.length === ids.length) return [...rows];
  const known = new Set(rows.map((row) => row.finding_id));
  const unknown = ids.find((id) => !known.has(id));
  throw new RefusedDecision('unknown_finding', `there is no finding ${unknown}`);
}

/** @throws RefusedDecision */
function refuseImpossible(finding: FindingRow, decision: Decision): void {
  const { finding_id: id, kind, state } = finding;
  if (decision === 'annotate') return;
  const what = `finding ${id} (${describeTarget(finding)})`;
  if (state === 'resolved') {
    throw new RefusedDecision(
      'resolved',
      `${what} is resolved: what was found is not so any more, there is nothing to ${decision}`,
    );
  }
  if (decision === 'accept' && isFailureKind(kind)) {
    throw new RefusedDecision(
      'not_acceptable',
      `${what} cannot be accepted: the values of the bar contradict each other; ` +
        'it can be rejected or annotated',
    );
  }
}

const STATES: Record<Exclude<Decision, 'annotate'>, FindingState> = {
  accept: 'accepted',
  reject: 'rejected',
  reopen: 'open',
};

/** What a finding says after a decision. */
function sayAfter(
  finding: FindingRow,
  { decision, note, actor }: DecisionRequest,
  atMs: number,
): Said {
  const { state, decided_by, ts_decided } = finding;
  const kept = note ?? finding.note;
  if (decision === 'annotate') return { state, note: kept, decided_by, ts_decided };
  if (decision === 'reopen')
    return { state: 'open', note: kept, decided_by: null, ts_decided: null };
  return { state: STATES[decision], note: kept, decided_by: actor, ts_decided: new Date(atMs) };
}

const describeTarget = ({ symbol, timeframe, session, ms, kind }: FindingRow): string =>
  `${symbol} ${timeframe} ${ms === null ? session : new Date(ms).toISOString()} ${kind}`;

/** What is written into the audit log of every finding of a step. */
interface Step {
  actor: string;
  action: string;
  detail: object;
}

/** Makes findings say something else, and their bars; the number of the step. */
async function applyChanges(
  tx: Transaction,
  changes: readonly FindingChange[],
  step: Step,
  atMs: number,
): Promise<number | undefined> {
  if (changes.length === 0) return undefined;
  await tx`
    update findings f
    set state = c.state, note = c.note, decided_by = c.by, ts_decided = c.at
    from unnest(${idsOf(changes)}::bigint[], ${changes.map(({ after }) => after.state)}::text[],
      ${changes.map(({ after }) => after.note)}::text[],
      ${changes.map(({ after }) => after.decided_by)}::text[],
      ${changes.map(({ after }) => after.ts_decided?.toISOString() ?? null)}::text[]::timestamptz[])
      as c(id, state, note, by, at)
    where f.finding_id = c.id`;
  const isJudged = ({ finding, after }: FindingChange) => finding.state !== after.state;
  const judged = changes.filter(isJudged).map(({ finding }) => finding);
  const scores = judged.length === 0 ? [] : await decideBars(tx, judged, atMs);
  return insertAudit(tx, auditEntries(changes, scores, step), atMs);
}

function auditEntries(
  changes: readonly FindingChange[],
  scores: readonly ScoreChange[],
  { actor, action, detail }: Step,
) {
  const byBar = new Map(scores.map((change) => [keyOf(change), change]));
  return changes.map(({ finding, after }) => {
    const score = byBar.get(keyOf(finding));
    const { state, note, decided_by, ts_decided, digest } = finding;
    return {
      actor,
      action,
      instrumentId: finding.instrument_id,
      target: describeTarget(finding),
      detail: {
        ...{ finding_id: finding.finding_id, state_before: state, state_after: after.state },
        ...detail,
        ...(score && { score_before: score.score, score_after: score.scoreAfter }),
        // What it takes to undo it.
        before: { note, decided_by, decided_at: ts_decided?.toISOString() ?? null, digest },
      },
    };
  });
}

// -------------------------------------------------------------------------- undoing

/** A finding with what was said when it was decided about. */
interface TakenRow extends FindingRow {
  /** Null when there is no such finding any more. */
  finding_id: number;
  target: string;
  detail: {
    finding_id: number;
    state_before: FindingState;
    state_after: FindingState;
    before: {
      note: string | null;
      decided_by: string | null;
      decided_at: string | null;
      digest: string;
    };
  };
  /** What was done last about the finding; null when that was this. */
  later: string | null;
}

/**
 * Takes a step back: exactly its findings say again what they said before it (state, note, and who
 * had decided so when), with the scores of their bars, in one transaction and as a step of its own
 * in the audit log.
 * @param atMs when it is undone, epoch ms.
 * @throws RefusedDecision when there is no such step, or a finding of it says something else since:
 *   then nothing is undone.
 */
export async function undoDecision(
  write: Sql,
  { batchId, actor }: { batchId: number; actor: string },
  atMs: number,
): Promise<{ changed: number[]; batchId?: number }> {
  return withIngestLock(write, async (tx) => {
    const taken = await selectTaken(tx, batchId);
    if (taken.length === 0) {
      const message = `there is no decision ${batchId} that could be undone`;
      throw new RefusedDecision('unknown_decision', message);
    }
    for (const one of taken) refuseChanged(one);
    const changes = taken.map((finding) => {
      const { state_before: state, before } = finding.detail;
      const { note, decided_by, decided_at } = before;
      const ts_decided = decided_at === null ? null : new Date(decided_at);
      return { finding, after: { state, note, decided_by, ts_decided } };
    });
    const step = { actor, action: 'finding.undo', detail: { undone: batchId } };
    return { changed: idsOf(changes), batchId: await applyChanges(tx, changes, step, atMs) };
  });
}

/** The findings of a step, in the order in which they were decided. */
async function selectTaken(tx: Transaction, batchId: number): Promise<TakenRow[]> {
  return tx<TakenRow[]>`
    select ${findingColumns(tx)}, a.target, a.detail, l.action as later
    from audit_log a
    left join findings f on f.finding_id = (a.detail ->> 'finding_id')::bigint
    ${symbolNow(tx)}
    -- Not "order by ... limit 1": that goes through the log from its end, for each finding.
    left join lateral (
      select (array_agg(action order by audit_id desc))[1] as action from audit_log
      where action like 'finding.%' and (detail ->> 'finding_id')::bigint = f.finding_id
        and audit_id > a.audit_id) l on true
    where a.batch_id = ${batchId} and a.action like 'finding.%'
    order by a.audit_id`;
}

/** @throws RefusedDecision */
function refuseChanged({ finding_id, target, detail, later, state, digest }: TakenRow): void {
  const what = `finding ${detail.finding_id} (${target})`;
  const refuse = (why: string) => {
    throw new RefusedDecision('changed_since', `${what} ${why}, so that nothing is undone`);
  };
  if (finding_id === null) refuse('is no longer there');
  if (later === 'finding.undo') refuse('is as it was before already');
  if (later !== null) refuse('was decided again since');
  if (state === 'resolved' && detail.state_after !== state) refuse('is resolved since');
  if (state !== detail.state_after || digest !== detail.before.digest) {
    refuse('is about other values since');
  }
}

// ------------------------------------------------------------------------------ bars

interface BarKey {
  instrument_id: number;
  timeframe: string;
  session: string;
  ms: number | null;
}

interface DecidedBar extends BarKey {
  flags: number;
  score: number;
  /** Whether it is the instrument's last one. */
  is_latest: boolean;
  accepted: string[] | null;
  rejected: string[] | null;
}

interface ScoreChange extends DecidedBar {
  flagsAfter: number;
  scoreAfter: number;
}

const keyOf = ({ instrument_id, timeframe, session, ms }: BarKey) =>
  `${instrument_id} ${timeframe} ${session} ${ms}`;

/** Brings the bars of findings to what is decided about them now; their scores before and after. */
async function decideBars(
  tx: Transaction,
  findings: readonly FindingRow[],
  atMs: number,
): Promise<ScoreChange[]> {
  const bars = new Map<string, FindingRow>();
  for (const one of findings) if (findingBit(one.kind) !== 0) bars.set(keyOf(one), one);
  const all: ScoreChange[] = [];
  for (const timeframe of ['1d', '1h', '1m'] as const) {
    const keys = [...bars.values()].filter((one) => one.timeframe === timeframe);
    if (keys.length === 0) continue;
    const decided = (await selectDecidedBars(tx, timeframe, keys)).map((bar) => {
      const accepted = findingBits(bar.accepted);
      const after = decideBar(bar.flags, { accepted, rejected: findingBits(bar.rejected) });
      return { ...bar, flagsAfter: after.flags, scoreAfter: after.score };
    });
    if (decided.length !== keys.length)
      throw new Error('a finding is about a bar that is not there');
    const changed = decided.filter(
      (bar) => bar.flags !== bar.flagsAfter || bar.score !== bar.scoreAfter,
    );
    await updateScores(tx, timeframe, changed, atMs);
    await updateCounters(tx, timeframe, changed);
    all.push(...decided);
  }
  // Also of findings that are about no bar: how many are open is counted.
  await notifyBars(tx, [...new Set(findings.map((one) => one.instrument_id))]);
  return all;
}

type StoredTimeframe = '1d' | StoredIntraday;

/** The table of a timeframe, and how its bars `b` are found by keys `k`. */
function tableOf(tx: Transaction, timeframe: StoredTimeframe, keys: readonly BarKey[]) {
  const days = keys.map(({ session }) => session).sort();
  const [firstDay, lastDay] = [days[0], days[days.length - 1]];
  // Said once more as constants: they keep out chunks.
  if (timeframe === '1d') {
    return {
      bars: tx('bars_1d'),
      position: tx('session'),
      ts: tx`null::timestamptz`,
      isSame: tx`b.instrument_id = k.id and b.session = k.session
        and b.session between ${firstDay}::date and ${lastDay}::date`,
    };
  }
  const instants = keys.map(({ ms }) => ms ?? Number.NaN).sort((one, other) => one - other);
  const [first, last] = [instants[0], instants[instants.length - 1]];
  return {
    bars: tx(INTRADAY_TABLES[timeframe]),
    position: tx('ts'),
    ts: tx`b.ts`,
    isSame: tx`b.instrument_id = k.id and b.ts = k.ts
      and b.ts between ${new Date(first)} and ${new Date(last)}`,
  };
}

/** Keys of bars as the first arguments of unnest: id, session and ts. */
const keysOf = (tx: Transaction, keys: readonly BarKey[]) => tx`
  ${keys.map((key) => key.instrument_id)}::int[], ${keys.map((key) => key.session)}::date[],
  ${keys.map(({ ms }) => (ms === null ? '-infinity' : new Date(ms).toISOString()))}::text[]
    ::timestamptz[]`;

async function selectDecidedBars(
  tx: Transaction,
  timeframe: StoredTimeframe,
  keys: readonly FindingRow[],
): Promise<DecidedBar[]> {
  const { bars, position, isSame, ts } = tableOf(tx, timeframe, keys);
  return tx<DecidedBar[]>`
    select b.instrument_id, ${timeframe}::text as timeframe, b.session, b.flags, b.score,
           (extract(epoch from ${ts}) * 1000)::float8 as ms,
           b.${position} = (select l.${position} from ${bars} l
             where l.instrument_id = b.instrument_id
             order by l.${position} desc limit 1) as is_latest,
           d.accepted, d.rejected
    from unnest(${keysOf(tx, keys)}) as k(id, session, ts)
    join ${bars} b on ${isSame}
    cross join lateral (
      select array_agg(kind) filter (where state = 'accepted') as accepted,
             array_agg(kind) filter (where state = 'rejected') as rejected
      from findings
      where instrument_id = k.id and timeframe = ${timeframe} and session = k.session
        and ts = k.ts and kind = any(${BAR_KINDS}::text[])
        and state in ('accepted', 'rejected')) d`;
}

/** Gives bars other flags and scores; what they said before becomes a revision. */
async function updateScores(
  tx: Transaction,
  timeframe: StoredTimeframe,
  changes: readonly ScoreChange[],
  atMs: number,
): Promise<void> {
  if (changes.length === 0) return;
  await allowDecompression(tx);
  const { bars, isSame, ts } = tableOf(tx, timeframe, changes);
  const [{ updated }] = await tx<{ updated: number }[]>`
    with k as materialized (
      select * from unnest(${keysOf(tx, changes)},
        ${changes.map((change) => change.flagsAfter)}::int[],
        ${changes.map((change) => change.scoreAfter)}::float8[])
        as k(id, session, ts, flags, score)),
    revised as (
      insert into bar_revisions (instrument_id, timeframe, session, ts, flags, trade_count, open,
        high, low, close, volume, vwap, score, is_final, provider, ts_received, ts_final, reason,
        ts_replaced)
      select b.instrument_id, ${timeframe}::text, b.session, ${ts}, b.flags, b.trade_count, b.open,
             b.high, b.low, b.close, b.volume, b.vwap, b.score, b.is_final, b.provider,
             b.ts_received, b.ts_final, 'score',
             greatest(${new Date(atMs)}::timestamptz, b.ts_received)
      from k join ${bars} b on ${isSame}),
    updated as (
      update ${bars} b set flags = k.flags, score = k.score
      from k where ${isSame}
      returning 1)
    select count(*)::int as updated from updated`;
  if (updated !== changes.length) {
    throw new Error(`${changes.length} bars were to be scored and ${updated} were there`);
  }
}

/** Keeps the counters of status. The numbers of gaps and anomalies stay: flags of rules do. */
async function updateCounters(
  tx: Transaction,
  timeframe: string,
  changes: readonly ScoreChange[],
): Promise<void> {
  if (changes.length === 0) return;
  const validated = (score: number) => (score >= VALIDATED_SCORE ? 1 : 0);
  const excluded = (score: number, flags: number) =>
    score < REVIEW_SCORE || (flags & FAILURE_FLAGS) !== 0 ? 1 : 0;
  await tx`
    update instrument_status s
    set validated_records = s.validated_records + c.validated,
        excluded_records = s.excluded_records + c.excluded,
        score_sum = s.score_sum + c.score_sum,
        latest_score = coalesce(c.latest_score, s.latest_score), version = s.version + 1
    from (
      select id, sum(validated) as validated, sum(excluded) as excluded,
             sum(score_sum) as score_sum, max(latest_score) as latest_score
      from unnest(${changes.map((bar) => bar.instrument_id)}::int[],
        ${changes.map((bar) => validated(bar.scoreAfter) - validated(bar.score))}::int[],
        ${changes.map(
          (bar) => excluded(bar.scoreAfter, bar.flagsAfter) - excluded(bar.score, bar.flags),
        )}::int[],
        ${changes.map((bar) => bar.scoreAfter - bar.score)}::float8[],
        ${changes.map((bar) => (bar.is_latest ? bar.scoreAfter : null))}::float8[])
        as u(id, validated, excluded, score_sum, latest_score)
      group by id) c
    where s.instrument_id = c.id and s.timeframe = ${timeframe}`;
}
