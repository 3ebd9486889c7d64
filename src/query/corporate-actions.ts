import { adjustmentSteps, findCloseBefore, type PriceAction } from '../model/adjustment.ts';
import { ofOneProvider } from '../model/corporate-action.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import type { AnySql, Sql } from '../store/database.ts';
import { rawCloses } from './adjusted.ts';
import { selectBarBlock } from './block.ts';
import type { ResolvedSymbol } from './symbols.ts';

interface PriceActionRow {
  kind: 'split' | 'dividend';
  ex_date: string;
  split_from: number | null;
  split_to: number | null;
  cash_amount: number | null;
  currency: string | null;
  provider: string;
  provider_rank: number | null;
}

/**
 * The splits and dividends that adjust an instrument's prices, by ex-date, ascending; of each kind
 * those of one provider (`ofOneProvider`).
 * @param knownAt what was known at that instant; what is known now when missing.
 */
export async function selectPriceActions(
  sql: AnySql,
  instrumentId: number,
  knownAt?: Date,
): Promise<PriceAction[]> {
  const at = knownAt ?? null;
  const rows = await sql<PriceActionRow[]>`
    with told as materialized (${toldBy(sql, instrumentId, at)})
    select a.kind, a.ex_date, a.split_from, a.split_to, a.cash_amount, a.currency, a.provider,
           array_position(told.providers, a.provider) as provider_rank
    from corporate_actions a cross join told
    where a.instrument_id = ${instrumentId}
      and case when ${at}::timestamptz is null then a.ts_withdrawn is null
               else a.ts_received <= ${at}::timestamptz
                    and (a.ts_withdrawn is null or a.ts_withdrawn > ${at}::timestamptz) end
    order by a.ex_date, a.kind, a.provider_action_id collate "C"`;
  const known = rows.map((row) => ({ ...row, providerRank: row.provider_rank }));
  return ofOneProvider(known).map(toPriceAction);
}

/** Whose daily bars are held, or were at an instant, in the order in which they came; one row. */
const toldBy = (sql: AnySql, instrumentId: number, at: Date | null) => sql`
  select array_agg(u.provider order by u.place) as providers
  from instrument_status s
  cross join unnest(s.providers) with ordinality as u(provider, place)
  where s.instrument_id = ${instrumentId} and s.timeframe = '1d'
    and (${at}::timestamptz is null
         or exists (select from bars_1d b
                    where b.instrument_id = s.instrument_id and b.provider = u.provider
                      and b.ts_received <= ${at}::timestamptz)
         or exists (select from bar_revisions r
                    where r.instrument_id = s.instrument_id and r.timeframe = '1d'
                      and r.provider = u.provider and r.ts_received <= ${at}::timestamptz))`;

function toPriceAction(row: PriceActionRow): PriceAction {
  const exDay = toDay(row.ex_date);
  if (row.kind === 'dividend') {
    return { kind: 'dividend', exDay, cashAmount: row.cash_amount ?? 0, currency: row.currency };
  }
  return { kind: 'split', exDay, splitFrom: row.split_from ?? 1, splitTo: row.split_to ?? 1 };
}

export interface ActionsQuery {
  /** Both when missing. */
  kind?: 'split' | 'dividend';
  /** Ex-dates, days since 1970-01-01, both inclusive. */
  startDay?: number;
  endDay?: number;
  /** What was known at that instant; what is known now when missing. */
  knownAt?: Date;
  /** Also the versions that were withdrawn. */
  hasWithdrawn: boolean;
}

/** A version of a split or a dividend, and what it does to the bars before it. */
export interface ActionVersion {
  id: string;
  kind: 'split' | 'dividend';
  subtype: string | null;
  exDate: string;
  splitFrom: number | null;
  splitTo: number | null;
  cashAmount: number | null;
  currency: string | null;
  declaredDate: string | null;
  recordDate: string | null;
  payDate: string | null;
  /** Payments a year. */
  frequency: number | null;
  provider: string;
  receivedAt: Date;
  withdrawnAt: Date | null;
  /** Since when the provider's answers lack it. */
  missingAt: Date | null;
  /** Whether there is a later version of the same id. */
  isReplaced: boolean;
  /** Whether prices are adjusted by it: neither withdrawn nor outdone by another provider's. */
  isApplied: boolean;
  /** What it alone multiplies prices and volumes before it by. */
  priceFactor: number;
  volumeFactor: number;
  /** Why it cannot be applied. */
  skipped: string | null;
}

interface VersionRow extends PriceActionRow {
  id: string;
  subtype: string | null;
  declared_date: string | null;
  record_date: string | null;
  pay_date: string | null;
  frequency: number | null;
  ts_received: Date;
  ts_withdrawn: Date | null;
  ts_missing: Date | null;
  is_replaced: boolean;
}

/** Splits and dividends of an instrument in their versions, by ex-date. */
export async function selectActionVersions(
  sql: Sql,
  calendar: Calendar,
  target: ResolvedSymbol,
  query: ActionsQuery,
): Promise<ActionVersion[]> {
  const { kind = null, startDay, endDay, knownAt, hasWithdrawn } = query;
  const rows = await selectVersionRows(sql, target.instrumentId, knownAt);
  const current = rows
    .filter((row) => row.ts_withdrawn === null)
    .map((row) => ({ ...row, providerRank: row.provider_rank, row }));
  const applied = new Set(ofOneProvider(current).map(({ row }) => row));
  const day = (bound: number | undefined, open: string) =>
    bound === undefined ? open : toDate(bound);
  const wanted = rows.filter(
    (row) =>
      (hasWithdrawn || row.ts_withdrawn === null) &&
      (kind === null || row.kind === kind) &&
      row.ex_date >= day(startDay, '') &&
      row.ex_date <= day(endDay, '9999'),
  );
  const hasDividends = wanted.some((row) => row.kind === 'dividend');
  const closes = hasDividends && rawCloses(await selectBarBlock(sql, { ...target, knownAt }));
  const closeBefore = (day: number) =>
    closes ? findCloseBefore(closes, day, calendar) : undefined;
  return wanted.map((row) => toVersion(row, applied.has(row), closeBefore));
}

/** What was known at an instant, or is now, withdrawn versions included. */
function selectVersionRows(sql: Sql, instrumentId: number, knownAt: Date | undefined) {
  const at = knownAt ?? null;
  return sql<VersionRow[]>`
    with told as materialized (${toldBy(sql, instrumentId, at)}),
    known as (
      select a.*,
             case when ${at}::timestamptz is null or ts_withdrawn <= ${at}::timestamptz
                  then ts_withdrawn end as withdrawn,
             case when ${at}::timestamptz is null or ts_missing <= ${at}::timestamptz
                  then ts_missing end as missing
      from corporate_actions a
      where instrument_id = ${instrumentId}
        and (${at}::timestamptz is null or ts_received <= ${at}::timestamptz))
    select a.provider_action_id as id, a.kind, a.subtype, a.ex_date, a.split_from, a.split_to,
           a.cash_amount, a.currency, a.declared_date, a.record_date, a.pay_date, a.frequency,
           a.provider, a.ts_received, a.withdrawn as ts_withdrawn, a.missing as ts_missing,
           array_position(told.providers, a.provider) as provider_rank,
           exists (select from known l
                   where (l.kind, l.provider, l.provider_action_id)
                       = (a.kind, a.provider, a.provider_action_id)
                     and l.version_id > a.version_id) as is_replaced
    from known a cross join told
    order by a.ex_date, a.kind, a.provider_action_id collate "C", a.version_id`;
}

function toVersion(
  row: VersionRow,
  isApplied: boolean,
  closeBefore: (day: number) => number | undefined,
): ActionVersion {
  const action = toPriceAction(row);
  const own = adjustmentSteps([action], 'all', action.exDay, closeBefore);
  return {
    id: row.id,
    kind: row.kind,
    subtype: row.subtype,
    exDate: row.ex_date,
    splitFrom: row.split_from,
    splitTo: row.split_to,
    cashAmount: row.cash_amount,
    currency: row.currency,
    declaredDate: row.declared_date,
    recordDate: row.record_date,
    payDate: row.pay_date,
    frequency: row.frequency,
    provider: row.provider,
    receivedAt: row.ts_received,
    withdrawnAt: row.ts_withdrawn,
    missingAt: row.ts_missing,
    isReplaced: row.is_replaced,
    isApplied,
    priceFactor: own.price[0] ?? 1,
    volumeFactor: own.volume[0] ?? 1,
    skipped: own.skipped[0]?.reason ?? null,
  };
}
