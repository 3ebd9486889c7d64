import { InputError } from '../errors.ts';
import { toDate, toDay } from '../model/session.ts';
import { checkSymbol } from '../model/symbol-list.ts';
import { type SymbolRange, toRangeDay } from '../model/symbol-range.ts';
import { type AuditEntry, insertAudit } from './audit.ts';
import { type AnySql, type Sql, type Transaction, transactLocked } from './database.ts';

export { checkSymbol } from '../model/symbol-list.ts';

export interface Instrument {
  instrumentId: number;
  /** The one it was asked for by, else the symbol it has now, or had last. */
  symbol: string;
  /** The symbol it has now, or had last, as the provider spells it. */
  providerSymbol: string;
  /** All its symbols, in the order of time; the latest one as the provider spells it. */
  ranges: SymbolRange[];
  name: string | null;
  exchange: string | null;
  assetType: string | null;
  listedOn: string | null;
  delistedOn: string | null;
  isTracked: boolean;
  isDescribed: boolean;
}

interface InstrumentRow {
  instrument_id: number;
  symbol: string;
  provider_symbol: string;
  ranges: [symbol: string, from: string, to: string, source: string | null][];
  name: string | null;
  exchange: string | null;
  asset_type: string | null;
  listed_on: string | null;
  delisted_on: string | null;
  is_tracked: boolean;
  is_described: boolean;
}

const toInstrument = (row: InstrumentRow): Instrument => ({
  instrumentId: row.instrument_id,
  symbol: row.symbol,
  providerSymbol: row.provider_symbol,
  ranges: row.ranges.map(([symbol, from, to, source], i) => ({
    symbol: i === row.ranges.length - 1 ? row.provider_symbol : symbol,
    startDay: toRangeDay(from),
    endDay: toRangeDay(to),
    source,
  })),
  name: row.name,
  exchange: row.exchange,
  assetType: row.asset_type,
  listedOn: row.listed_on,
  delistedOn: row.delisted_on,
  isTracked: row.is_tracked,
  isDescribed: row.is_described,
});

/** Which timeframes a tracked instrument can be filled with. */
export const TRACKED_TIMEFRAMES = ['1d', '1h', '1m'] as const;

/**
 * Instruments by the symbols they have now, or had on a day, or all that are tracked, in the
 * timeframe when one is named; by symbol.
 */
export async function selectInstruments(
  sql: AnySql,
  filter: {
    symbols?: readonly string[];
    /** 'YYYY-MM-DD': whoever has the symbols then. */
    day?: string;
    provider?: string;
    timeframe?: string;
    /** Of those that are tracked only who has a symbol now: it may be another's otherwise. */
    isCurrent?: boolean;
    /** Only those whose earlier symbols were not asked for since. */
    lineageBefore?: Date;
  } = {},
): Promise<Instrument[]> {
  const { symbols, day = null, timeframe = null, isCurrent = false } = filter;
  const lineageBefore = filter.lineageBefore ?? null;
  const chosen = symbols
    ? sql`
        select instrument_id, symbol as asked from symbol_ranges
        where symbol = any(${[...symbols]}::text[])
          and case when ${day}::text is null then valid_to = 'infinity'
                   else valid_from <= ${day}::text::date and ${day}::text::date < valid_to end`
    : sql`
        select instrument_id, null as asked from instruments
        where is_tracked
          and (${timeframe}::text is null or timeframes @> array[${timeframe}::text])
          and (not ${isCurrent} or instrument_id in (
                 select instrument_id from symbol_ranges where valid_to = 'infinity'))
          and (${lineageBefore}::timestamptz is null or lineage_at is null
               or lineage_at < ${lineageBefore}::timestamptz)`;
  const rows = await sql<InstrumentRow[]>`
    select i.instrument_id, coalesce(c.asked, r.symbol) as symbol,
           coalesce(p.symbol, r.symbol) as provider_symbol, r.ranges, i.name,
           i.exchange, i.asset_type, i.listed_on, i.delisted_on, i.is_tracked,
           i.described_at is not null as is_described
    from (${chosen}) as c
    join instruments i using (instrument_id)
    join lateral (
      select (array_agg(n.symbol order by n.valid_to desc))[1] as symbol,
             json_agg(json_build_array(n.symbol, n.valid_from, n.valid_to, n.source)
                      order by n.valid_from) as ranges
      from symbol_ranges n where n.instrument_id = i.instrument_id) as r on r.symbol is not null
    left join provider_symbols p
      on p.instrument_id = i.instrument_id and p.provider = ${filter.provider ?? ''}
    order by coalesce(c.asked, r.symbol) collate "C"`;
  return rows.map(toInstrument);
}

/** Who says by hand what is tracked, for the audit log. */
export interface Operator {
  /** 'http 127.0.0.1', 'cli root'. */
  actor: string;
  /** Epoch ms. */
  atMs: number;
}

export interface NewSymbols {
  /** Whether they are filled every night. */
  isTracked: boolean;
  /** 'YYYY-MM-DD': whoever has the symbols on that day is meant; when missing, who has them now. */
  day?: string;
  /**
   * What becomes of a symbol that others had, and nobody has: it is refused, nothing is done about
   * it, or another company has it from a day on, or from when it was given up ('next').
   */
  former?: 'refuse' | 'leave' | { from: string | 'next' };
  /** What those that are new, or tracked again, are filled with; when missing it stays as it is. */
  timeframes?: readonly string[];
  /** When missing, nobody did it by hand. */
  by?: Operator;
}

/** A symbol with its instrument. */
export interface SymbolKey {
  symbol: string;
  instrumentId: number;
}

export interface AddedSymbols {
  /** Not known before. */
  fresh: SymbolKey[];
  /** Known before, and tracked again. */
  again: SymbolKey[];
}

/**
 * Makes sure that the symbols exist and, unless told otherwise, are tracked: filled every night.
 * Data of a symbol that was removed before is still there.
 * @returns the symbols that are new, or tracked again.
 * @throws InputError for a malformed symbol, or naming each that nobody has any more; then nothing
 *   is added.
 */
export async function upsertSymbols(
  write: Sql,
  symbols: readonly string[],
  options: NewSymbols = { isTracked: true },
): Promise<string[]> {
  const { fresh, again } = await trackSymbols(write, symbols, options);
  return [...again, ...fresh].map(({ symbol }) => symbol);
}

/**
 * The same, and says which are new and which are tracked again.
 * @param also what is to be done in the same transaction.
 * @throws InputError as `upsertSymbols`, and for a timeframe that is not stored.
 */
export async function trackSymbols(
  write: Sql,
  symbols: readonly string[],
  options: NewSymbols = { isTracked: true },
  also?: (tx: Transaction, added: AddedSymbols) => Promise<unknown>,
): Promise<AddedSymbols> {
  const unique = [...new Set(symbols.map((symbol) => checkSymbol(symbol)))];
  const timeframes = options.timeframes && checkTimeframes(options.timeframes);
  if (unique.length === 0) return { fresh: [], again: [] };
  return transactLocked(write, 'symbols', async (tx) => {
    const added = await addSymbols(tx, unique, options);
    const ids = [...added.fresh, ...added.again].map(({ instrumentId }) => instrumentId);
    if (timeframes && ids.length > 0) {
      await tx`
        update instruments set timeframes = ${timeframes}::text[]
        where instrument_id = any(${ids}::int[])`;
    }
    const note = (keys: readonly SymbolKey[], isNew: boolean) =>
      noteTracking(options.by, 'symbol.track', keys, () => ({
        is_new: isNew,
        ...(timeframes && { timeframes }),
      }));
    const entries = [...note(added.again, false), ...note(added.fresh, true)];
    await insertAudit(tx, entries, options.by?.atMs ?? 0);
    await also?.(tx, added);
    await tx`select pg_notify('marketd', 'symbols')`;
    return added;
  });
}

async function addSymbols(
  tx: Transaction,
  symbols: string[],
  options: NewSymbols,
): Promise<AddedSymbols> {
  const day = options.day ?? null;
  const isMeant = tx`
    case when ${day}::text is null then r.valid_to = 'infinity'
         else r.valid_from <= ${day}::text::date and ${day}::text::date < r.valid_to end`;
  const again = await tx<SymbolKey[]>`
    update instruments i set is_tracked = true
    from symbol_ranges r
    where r.instrument_id = i.instrument_id and ${isMeant}
      and r.symbol = any(${symbols}::text[]) and not i.is_tracked and ${options.isTracked}
    returning r.symbol, i.instrument_id as "instrumentId"`;
  const known = await tx<{ symbol: string; is_meant: boolean; last: string }[]>`
    select symbol, bool_or(${isMeant}) as is_meant, max(valid_to) as last from symbol_ranges r
    where symbol = any(${symbols}::text[]) group by symbol`;
  const have = new Set(known.map((row) => row.symbol));
  const fresh = symbols
    .filter((symbol) => !have.has(symbol))
    .map((symbol) => ({ symbol, from: givenStart(options) }));
  const refused: string[] = [];
  for (const row of known.filter(({ is_meant }) => !is_meant)) {
    const start = await formerStart(tx, row, options);
    if (typeof start === 'object') refused.push(start.refusal);
    else if (start !== undefined) fresh.push({ symbol: row.symbol, from: start });
  }
  if (refused.length > 0) throw new InputError(refused.join('; '), 'symbols');
  return { fresh: await insertSymbols(tx, fresh, options.isTracked), again: [...again] };
}

/** What the audit log says of symbols; nothing when nobody did it by hand. */
function noteTracking<Key extends SymbolKey>(
  by: Operator | undefined,
  action: string,
  keys: readonly Key[],
  detail: (key: Key) => object | null,
): AuditEntry[] {
  if (!by) return [];
  const { actor } = by;
  return keys.map((key) => ({
    ...{ actor, action, instrumentId: key.instrumentId, target: key.symbol, detail: detail(key) },
  }));
}

/** From when a symbol that nobody ever had means its instrument. */
function givenStart({ former }: NewSymbols): string {
  return typeof former === 'object' && former.from !== 'next' ? former.from : '-infinity';
}

/** From when a symbol that others had means another company; undefined: it does not, or why not. */
async function formerStart(
  tx: Transaction,
  { symbol, last }: { symbol: string; last: string },
  { former = 'refuse' }: NewSymbols,
): Promise<string | { refusal: string } | undefined> {
  if (former === 'leave') return undefined;
  if (typeof former === 'object' && last !== 'infinity') {
    const from = former.from === 'next' ? last : former.from;
    if (from >= last) return from;
  }
  const [holder] = await tx<{ symbol: string; valid_to: string; start: string }[]>`
    select n.symbol, r.valid_to, r.valid_from as start
    from symbol_ranges r
    cross join lateral (
      select symbol from symbol_ranges o where o.instrument_id = r.instrument_id
      order by valid_to desc limit 1) as n
    where r.symbol = ${symbol} order by r.valid_to desc limit 1`;
  const isOpen = holder.valid_to === 'infinity';
  const until = isOpen ? holder.start : toDate(toDay(holder.valid_to) - 1);
  const other = holder.symbol === symbol ? '' : ` of ${holder.symbol}`;
  return {
    refusal: isOpen
      ? `${symbol} is a symbol here since ${until} only`
      : `${symbol} was the symbol${other} until ${until}` +
        `${other && `: say ${holder.symbol}`}. If another company has it since: ` +
        `marketd symbols add ${symbol} --from DATE (at the earliest ${holder.valid_to})`,
  };
}

/** Makes an instrument for each. */
async function insertSymbols(
  tx: Transaction,
  fresh: readonly { symbol: string; from: string }[],
  isTracked: boolean,
): Promise<SymbolKey[]> {
  // Numbers are drawn first: an identity column returns them in no promised order.
  const rows = await tx<SymbolKey[]>`
    with drawn as (
      select symbol, start,
             nextval(pg_get_serial_sequence('instruments', 'instrument_id'))::int as id
      from unnest(${fresh.map(({ symbol }) => symbol)}::text[],
        ${fresh.map(({ from }) => from)}::text[]::date[]) as n(symbol, start)),
    made as (
      insert into instruments (instrument_id, is_tracked) overriding system value
      select id, ${isTracked} from drawn)
    insert into symbol_ranges (instrument_id, symbol, valid_from)
    select id, symbol, start from drawn
    returning symbol, instrument_id as "instrumentId"`;
  const ids = new Map(rows.map(({ symbol, instrumentId }) => [symbol, instrumentId]));
  return fresh.map(({ symbol }) => ({ symbol, instrumentId: ids.get(symbol) as number }));
}

/** All of TRACKED_TIMEFRAMES that are named, and 1d. @throws InputError */
function checkTimeframes(timeframes: readonly string[]): string[] {
  const known: readonly string[] = TRACKED_TIMEFRAMES;
  const wrong = timeframes.find((timeframe) => !known.includes(timeframe));
  if (wrong === undefined) {
    return known.filter((timeframe) => timeframe === '1d' || timeframes.includes(timeframe));
  }
  throw new InputError(
    `${JSON.stringify(wrong.slice(0, 40))} is not a timeframe that is stored: those are ` +
      `${known.join(', ')}; all others are made of them when they are asked for`,
    'timeframes',
  );
}

/** What of an instrument's tracking is to be otherwise; what is missing stays. */
export interface TrackingChange {
  isTracked?: boolean;
  /** Besides daily bars, which all are filled with. What is held of others stays. */
  timeframes?: readonly string[];
}

/**
 * Changes for symbols that are known whether, and with what, they are filled every night. Data
 * stays.
 * @returns the symbols of which each is new, in order.
 * @throws InputError for a timeframe that is not stored; nothing is changed.
 */
export async function updateTracking(
  write: Sql,
  symbols: readonly string[],
  change: TrackingChange,
  by?: Operator,
): Promise<{ tracked: string[]; timeframes: string[] }> {
  const { isTracked } = change;
  const timeframes = change.timeframes && checkTimeframes(change.timeframes);
  const names = (keys: readonly SymbolKey[]) => keys.map(({ symbol }) => symbol).sort();
  return transactLocked(write, 'symbols', async (tx) => {
    const tracked = isTracked === undefined ? [] : await setTracked(tx, symbols, isTracked, by);
    const filled = timeframes ? await setTimeframes(tx, symbols, timeframes, by) : [];
    if (tracked.length + filled.length > 0) await tx`select pg_notify('marketd', 'symbols')`;
    return { tracked: names(tracked), timeframes: names(filled) };
  });
}

async function setTracked(
  tx: Transaction,
  symbols: readonly string[],
  isTracked: boolean,
  by: Operator | undefined,
): Promise<SymbolKey[]> {
  const keys = await tx<SymbolKey[]>`
    update instruments i set is_tracked = ${isTracked}
    from symbol_ranges r
    where r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
      and r.symbol = any(${[...symbols]}::text[]) and i.is_tracked <> ${isTracked}
    returning r.symbol, i.instrument_id as "instrumentId"`;
  const entries = isTracked
    ? noteTracking(by, 'symbol.track', keys, () => ({ is_new: false }))
    : noteTracking(by, 'symbol.untrack', keys, () => null);
  await insertAudit(tx, entries, by?.atMs ?? 0);
  return keys;
}

async function setTimeframes(
  tx: Transaction,
  symbols: readonly string[],
  timeframes: string[],
  by: Operator | undefined,
): Promise<SymbolKey[]> {
  const keys = await tx<(SymbolKey & { before: string[] })[]>`
    update instruments i set timeframes = ${timeframes}::text[]
    from symbol_ranges r
    join instruments o using (instrument_id)
    where r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
      and r.symbol = any(${[...symbols]}::text[]) and i.timeframes <> ${timeframes}::text[]
    returning r.symbol, i.instrument_id as "instrumentId", o.timeframes as before`;
  const entries = noteTracking(by, 'symbol.timeframes', keys, ({ before }) => ({
    ...{ before, after: timeframes },
  }));
  await insertAudit(tx, entries, by?.atMs ?? 0);
  return keys;
}

/** Says what symbols are filled with; see `updateTracking`. @returns those of which it is new. */
export async function updateTimeframes(
  write: Sql,
  symbols: readonly string[],
  timeframes: readonly string[],
  by?: Operator,
): Promise<string[]> {
  return (await updateTracking(write, symbols, { timeframes }, by)).timeframes;
}

/** Stops tracking. Data stays. @returns the symbols that were tracked. */
export async function deleteSymbols(
  write: Sql,
  symbols: readonly string[],
  by?: Operator,
): Promise<string[]> {
  return (await updateTracking(write, symbols, { isTracked: false }, by)).tracked;
}

export interface Description {
  instrumentId: number;
  name: string | null;
  exchange: string | null;
  assetType: string | null;
  listedOn: string | null;
  delistedOn: string | null;
}

/** Stores what a provider says of instruments; what it does not say stays as it was. */
export async function upsertDescriptions(
  sql: AnySql,
  descriptions: readonly Description[],
): Promise<void> {
  if (descriptions.length === 0) return;
  await sql`
    with before as (
      select instrument_id, listed_on, delisted_on from instruments
      where instrument_id = any(${descriptions.map((d) => d.instrumentId)}::int[])),
    updated as (
      update instruments i
      set name = coalesce(d.name, i.name), exchange = coalesce(d.exchange, i.exchange),
          asset_type = coalesce(d.type, i.asset_type), listed_on = coalesce(d.listed, i.listed_on),
          delisted_on = coalesce(d.delisted, i.delisted_on), described_at = now()
      from unnest(${descriptions.map((d) => d.instrumentId)}::int[],
        ${descriptions.map((d) => d.name)}::text[], ${descriptions.map((d) => d.exchange)}::text[],
        ${descriptions.map((d) => d.assetType)}::text[],
        ${descriptions.map((d) => d.listedOn)}::date[],
        ${descriptions.map((d) => d.delistedOn)}::date[])
        as d(id, name, exchange, type, listed, delisted)
      where i.instrument_id = d.id
      returning i.instrument_id, i.listed_on, i.delisted_on),
    news as (
      select string_agg(u.instrument_id::text, ' ') as ids from updated u
      join before b using (instrument_id)
      where (u.listed_on, u.delisted_on) is distinct from (b.listed_on, b.delisted_on))
    select pg_notify('marketd', 'bars ' || case when length(ids) < 7900 then ids else '*' end)
    from news where ids is not null`;
}

/** True when the warehouse knows any instrument at all. */
export async function hasInstruments(sql: AnySql): Promise<boolean> {
  const [row] = await sql<{ any: boolean }[]>`select exists (select from instruments) as any`;
  return row.any;
}
