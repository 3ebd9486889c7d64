import { InputError } from '../errors.ts';
import { toDate, toDay } from '../model/session.ts';
import { type SymbolRange, toRangeDay } from '../model/symbol-range.ts';
import { type AnySql, type Sql, type Transaction, transactLocked } from './database.ts';

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

const SYMBOL = /^[A-Za-z0-9]+([.\-/:][A-Za-z0-9]+)*$/;
const SYMBOL_LENGTH_MAX = 32;

/**
 * The symbol itself. Case is kept: it tells preferred shares apart (ABRpD).
 * @throws InputError that names what is allowed.
 */
export function checkSymbol(symbol: string, field = 'symbol'): string {
  if (symbol.length <= SYMBOL_LENGTH_MAX && SYMBOL.test(symbol)) return symbol;
  const shown = JSON.stringify(symbol.length > 40 ? `${symbol.slice(0, 40)}...` : symbol);
  throw new InputError(
    `${shown} is not a symbol: letters and digits, parts joined by one of . - / : ` +
      `(AAPL, BRK.B, ABRpD), at most ${SYMBOL_LENGTH_MAX} characters`,
    field,
  );
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
}

/**
 * Makes sure that the symbols exist and, unless told otherwise, are tracked: filled every night.
 * Data of a symbol that was removed before is still there.
 * @returns the symbols that are new, or tracked again.
 * @throws InputError for a malformed symbol, or one that nobody has any more; nothing is added.
 */
export async function upsertSymbols(
  write: Sql,
  symbols: readonly string[],
  options: NewSymbols = { isTracked: true },
): Promise<string[]> {
  const unique = [...new Set(symbols.map((symbol) => checkSymbol(symbol)))];
  if (unique.length === 0) return [];
  return transactLocked(write, 'symbols', async (tx) => {
    const day = options.day ?? null;
    const isMeant = tx`
      case when ${day}::text is null then r.valid_to = 'infinity'
           else r.valid_from <= ${day}::text::date and ${day}::text::date < r.valid_to end`;
    const returning = await tx<{ symbol: string }[]>`
      update instruments i set is_tracked = true
      from symbol_ranges r
      where r.instrument_id = i.instrument_id and ${isMeant}
        and r.symbol = any(${unique}::text[]) and not i.is_tracked and ${options.isTracked}
      returning r.symbol`;
    const known = await tx<{ symbol: string; is_meant: boolean; last: string }[]>`
      select symbol, bool_or(${isMeant}) as is_meant, max(valid_to) as last from symbol_ranges r
      where symbol = any(${unique}::text[]) group by symbol`;
    const have = new Set(known.map((row) => row.symbol));
    const fresh = unique
      .filter((symbol) => !have.has(symbol))
      .map((symbol) => ({ symbol, from: givenStart(options) }));
    for (const row of known.filter(({ is_meant }) => !is_meant)) {
      const from = await formerStart(tx, row, options);
      if (from !== undefined) fresh.push({ symbol: row.symbol, from });
    }
    await insertSymbols(tx, fresh, options.isTracked);
    await tx`select pg_notify('marketd', 'symbols')`;
    return [...returning.map((row) => row.symbol), ...fresh.map(({ symbol }) => symbol)];
  });
}

/** From when a symbol that nobody ever had means its instrument. */
function givenStart({ former }: NewSymbols): string {
  return typeof former === 'object' && former.from !== 'next' ? former.from : '-infinity';
}

/** From when a symbol that others had means another company; undefined: it does not. */
async function formerStart(
  tx: Transaction,
  { symbol, last }: { symbol: string; last: string },
  { former = 'refuse' }: NewSymbols,
): Promise<string | undefined> {
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
  throw new InputError(
    isOpen
      ? `${symbol} is a symbol here since ${until} only`
      : `${symbol} was the symbol${other} until ${until}` +
          `${other && `: say ${holder.symbol}`}. If another company has it since: ` +
          `marketd symbols add ${symbol} --from DATE (at the earliest ${holder.valid_to})`,
  );
}

/** Makes an instrument for each. */
async function insertSymbols(
  tx: Transaction,
  fresh: readonly { symbol: string; from: string }[],
  isTracked: boolean,
): Promise<void> {
  // Numbers are drawn first: an identity column returns them in no promised order.
  await tx`
    with drawn as (
      select symbol, start,
             nextval(pg_get_serial_sequence('instruments', 'instrument_id'))::int as id
      from unnest(${fresh.map(({ symbol }) => symbol)}::text[],
        ${fresh.map(({ from }) => from)}::text[]::date[]) as n(symbol, start)),
    made as (
      insert into instruments (instrument_id, is_tracked) overriding system value
      select id, ${isTracked} from drawn)
    insert into symbol_ranges (instrument_id, symbol, valid_from)
    select id, symbol, start from drawn`;
}

/**
 * Says which timeframes instruments are filled with every night, besides daily bars, which all are.
 * @throws InputError for a timeframe that is not stored.
 */
export async function updateTimeframes(
  sql: AnySql,
  symbols: readonly string[],
  timeframes: readonly string[],
): Promise<void> {
  const known: readonly string[] = TRACKED_TIMEFRAMES;
  const wrong = timeframes.find((timeframe) => !known.includes(timeframe));
  if (wrong !== undefined) {
    throw new InputError(
      `${JSON.stringify(wrong)} is not a timeframe that is stored: those are ` +
        `${known.join(', ')}; all others are made of them when they are asked for`,
      'timeframes',
    );
  }
  const all = known.filter((timeframe) => timeframe === '1d' || timeframes.includes(timeframe));
  await sql`
    with updated as (
      update instruments i set timeframes = ${[...all]}::text[]
      from symbol_ranges r
      where r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
        and r.symbol = any(${[...symbols]}::text[])
      returning 1)
    select pg_notify('marketd', 'symbols') from updated limit 1`;
}

/** Stops tracking. Data stays. @returns the symbols that were tracked. */
export async function deleteSymbols(write: Sql, symbols: readonly string[]): Promise<string[]> {
  const rows = await write<{ symbol: string }[]>`
    with removed as (
      update instruments i set is_tracked = false
      from symbol_ranges r
      where r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
        and r.symbol = any(${[...symbols]}::text[]) and i.is_tracked
      returning r.symbol),
    told as (select pg_notify('marketd', 'symbols'))
    select removed.symbol from removed, told`;
  return rows.map((row) => row.symbol);
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
