import {
  type ActionChanges,
  type AnswerScope,
  compareActions,
  type KnownAction,
} from '../model/action-changes.ts';
import { type CorporateAction, ofOneProvider } from '../model/corporate-action.ts';
import { toDay } from '../model/session.ts';
import type { Transaction } from './database.ts';
import { notifyBars, type Origin } from './upsert.ts';

/** What arrived of an instrument: all of its splits, or all of its dividends, in one answer. */
export interface ArrivedActions {
  instrumentId: number;
  kind: 'split' | 'dividend';
  actions: readonly CorporateAction[];
  /** What the answer says by what it lacks; undefined: nothing, as of a file. */
  scope?: Omit<AnswerScope, 'receivedAt'>;
}

/** An ex-date about which something else is known than before. */
export interface ChangedAction {
  instrumentId: number;
  exDate: string;
}

export interface StoredChanges {
  /** Bars from these ex-dates on must be scored again. */
  changed: ChangedAction[];
  /** The same event under another id, within one answer: not stored. */
  duplicates: { instrumentId: number; action: CorporateAction }[];
  counts: { inserted: number; withdrawn: number; unchanged: number };
}

const NO_SCOPE = { isCovered: () => false, isComplete: false };

/**
 * Stores splits or dividends in versions, and tells who caches answers of their instruments. Within
 * the ingest lock: what it compares with cannot change before it commits.
 */
export async function upsertCorporateActions(
  tx: Transaction,
  { provider, receivedAt }: Origin,
  arrived: readonly ArrivedActions[],
): Promise<StoredChanges> {
  const known = await selectKnownActions(tx, provider, arrived);
  const all: { instrumentId: number; changes: ActionChanges }[] = [];
  const counts = { inserted: 0, withdrawn: 0, unchanged: 0 };
  for (const { instrumentId, kind, actions, scope = NO_SCOPE } of arrived) {
    const before = known.get(`${instrumentId} ${kind}`) ?? [];
    const changes = compareActions(before, actions, { ...scope, receivedAt });
    all.push({ instrumentId, changes });
    counts.inserted += changes.inserted.length;
    counts.withdrawn += changes.withdrawn.length;
    counts.unchanged += actions.length - changes.inserted.length - changes.duplicates.length;
  }
  const at = new Date(receivedAt);
  const versions = (pick: (changes: ActionChanges) => KnownAction[]) =>
    all.flatMap(({ changes }) => pick(changes).map(({ versionId }) => versionId));
  const doubted = versions(({ doubted }) => doubted);
  await updateVersions(tx, 'ts_missing', doubted, at);
  await updateVersions(
    tx,
    'ts_missing',
    versions(({ confirmed }) => confirmed),
    null,
  );
  // First, because a version that is not withdrawn is the only one of its id.
  await updateVersions(
    tx,
    'ts_withdrawn',
    versions(({ withdrawn }) => withdrawn),
    at,
  );
  const inserted = all.flatMap(({ instrumentId, changes }) =>
    changes.inserted.map((action) => ({ instrumentId, action })),
  );
  await insertVersions(tx, provider, at, inserted);
  const changed = changedDays(all);
  await notifyBars(tx, [...new Set(changed.map(({ instrumentId }) => instrumentId))]);
  const duplicates = all.flatMap(({ instrumentId, changes }) =>
    changes.duplicates.map((action) => ({ instrumentId, action })),
  );
  return { changed, duplicates, counts };
}

function changedDays(
  all: readonly { instrumentId: number; changes: ActionChanges }[],
): ChangedAction[] {
  const days = new Map<string, ChangedAction>();
  for (const { instrumentId, changes } of all) {
    const withdrawn = changes.withdrawn.map(({ action }) => action);
    for (const { exDate } of [...withdrawn, ...changes.inserted]) {
      days.set(`${instrumentId} ${exDate}`, { instrumentId, exDate });
    }
  }
  return [...days.values()];
}

interface KnownRow {
  version_id: number;
  instrument_id: number;
  kind: 'split' | 'dividend';
  provider_action_id: string;
  ex_date: string;
  split_from: number;
  split_to: number;
  cash_amount: number;
  currency: string | null;
  declared_date: string | null;
  record_date: string | null;
  pay_date: string | null;
  frequency: number | null;
  subtype: string | null;
  ts_missing: Date | null;
}

/** What is not withdrawn, by instrument and kind. */
async function selectKnownActions(
  tx: Transaction,
  provider: string,
  arrived: readonly ArrivedActions[],
): Promise<Map<string, KnownAction[]>> {
  const ids = [...new Set(arrived.map(({ instrumentId }) => instrumentId))];
  const rows = await tx<KnownRow[]>`
    select version_id, instrument_id, kind, provider_action_id, ex_date, split_from, split_to,
           cash_amount, currency, declared_date, record_date, pay_date, frequency, subtype,
           ts_missing
    from corporate_actions
    where provider = ${provider} and instrument_id = any(${ids}::int[]) and ts_withdrawn is null
    order by version_id`;
  const known = Map.groupBy(rows, (row) => `${row.instrument_id} ${row.kind}`);
  return new Map([...known].map(([key, list]) => [key, list.map(toKnown)]));
}

function toKnown(row: KnownRow): KnownAction {
  const missingAt = row.ts_missing?.getTime() ?? null;
  const { kind, subtype, ex_date: exDate, provider_action_id: providerActionId } = row;
  const event = { providerActionId, symbol: '', exDate, subtype };
  const action: CorporateAction =
    kind === 'split'
      ? { ...event, kind, splitFrom: row.split_from, splitTo: row.split_to }
      : {
          ...{ ...event, kind, cashAmount: row.cash_amount, currency: row.currency },
          ...{ declaredDate: row.declared_date, recordDate: row.record_date },
          ...{ payDate: row.pay_date, frequency: row.frequency },
        };
  return { versionId: row.version_id, missingAt, action };
}

async function updateVersions(
  tx: Transaction,
  column: 'ts_missing' | 'ts_withdrawn',
  versionIds: readonly number[],
  at: Date | null,
): Promise<void> {
  if (versionIds.length === 0) return;
  await tx`
    update corporate_actions set ${tx(column)} = ${at}::timestamptz
    where version_id = any(${versionIds as number[]}::bigint[])`;
}

async function insertVersions(
  tx: Transaction,
  provider: string,
  receivedAt: Date,
  all: readonly { instrumentId: number; action: CorporateAction }[],
): Promise<void> {
  if (all.length === 0) return;
  const splits = all.map(({ action }) => (action.kind === 'split' ? action : null));
  const cash = all.map(({ action }) => (action.kind === 'dividend' ? action : null));
  await tx`
    insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
      subtype, split_from, split_to, cash_amount, currency, declared_date, record_date, pay_date,
      frequency, ts_received)
    select id, kind, ex_date, ${provider}, action_id, subtype, split_from, split_to, cash_amount,
           currency, declared, record, pay, frequency, ${receivedAt}::timestamptz
    from unnest(${all.map((i) => i.instrumentId)}::int[],
      ${all.map((i) => i.action.kind)}::text[], ${all.map((i) => i.action.exDate)}::date[],
      ${all.map((i) => i.action.providerActionId)}::text[],
      ${all.map((i) => i.action.subtype ?? null)}::text[],
      ${splits.map((s) => s?.splitFrom ?? null)}::float8[],
      ${splits.map((s) => s?.splitTo ?? null)}::float8[],
      ${cash.map((d) => d?.cashAmount ?? null)}::float8[],
      ${cash.map((d) => d?.currency ?? null)}::text[],
      ${cash.map((d) => d?.declaredDate ?? null)}::date[],
      ${cash.map((d) => d?.recordDate ?? null)}::date[],
      ${cash.map((d) => d?.payDate ?? null)}::date[],
      ${cash.map((d) => d?.frequency ?? null)}::int[])
      as n(id, kind, ex_date, action_id, subtype, split_from, split_to, cash_amount, currency,
           declared, record, pay, frequency)`;
}

export interface StoredActions {
  splitRatio: Map<number, number>;
  dividendCash: Map<number, number>;
}

interface CauseRow {
  id: number;
  kind: 'split' | 'dividend';
  ex_date: string;
  value: number;
  provider: string;
  rank: number | null;
}

/**
 * The actions that can explain gaps, by instrument and ex-date (days). Withdrawn ones are not; of
 * several providers one is heard (`ofOneProvider`).
 */
export async function selectGapCauses(
  tx: Transaction,
  instrumentIds: readonly number[],
): Promise<Map<number, StoredActions>> {
  const rows = await tx<CauseRow[]>`
    select a.instrument_id as id, a.kind, a.ex_date, a.provider,
           coalesce(a.split_to / a.split_from, a.cash_amount) as value,
           array_position(s.providers, a.provider) as rank
    from corporate_actions a
    left join instrument_status s on s.instrument_id = a.instrument_id and s.timeframe = '1d'
    where a.instrument_id = any(${instrumentIds as number[]}::int[]) and a.ts_withdrawn is null
    order by a.instrument_id, a.ex_date, a.kind, a.provider_action_id collate "C"`;
  const found = new Map<number, StoredActions>();
  for (const [id, list] of Map.groupBy(rows, (row) => row.id)) {
    const actions: StoredActions = { splitRatio: new Map(), dividendCash: new Map() };
    const heard = ofOneProvider(list.map((row) => ({ ...row, providerRank: row.rank })));
    for (const { kind, ex_date, value } of heard) {
      const { splitRatio, dividendCash } = actions;
      const day = toDay(ex_date);
      if (kind === 'split') splitRatio.set(day, (splitRatio.get(day) ?? 1) * value);
      else dividendCash.set(day, (dividendCash.get(day) ?? 0) + value);
    }
    found.set(id, actions);
  }
  return found;
}
