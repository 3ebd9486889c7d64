import { InputError } from '../errors.ts';
import { type AnySql, type Sql, transactLocked } from './database.ts';

export interface Instrument {
  instrumentId: number;
  /** The symbol it has now. */
  symbol: string;
  /** As the provider spells it. */
  providerSymbol: string;
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
 * Instruments by their current symbols (`symbols`), or all that are tracked, in the timeframe when
 * one is named; by symbol.
 */
export async function selectInstruments(
  sql: AnySql,
  filter: { symbols?: readonly string[]; provider?: string; timeframe?: string } = {},
): Promise<Instrument[]> {
  const symbols = filter.symbols === undefined ? null : [...filter.symbols];
  const rows = await sql<InstrumentRow[]>`
    select i.instrument_id, r.symbol, coalesce(p.symbol, r.symbol) as provider_symbol, i.name,
           i.exchange, i.asset_type, i.listed_on, i.delisted_on, i.is_tracked,
           i.described_at is not null as is_described
    from instruments i
    join symbol_ranges r on r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
    left join provider_symbols p
      on p.instrument_id = i.instrument_id and p.provider = ${filter.provider ?? ''}
    where case when ${symbols}::text[] is null
               then i.is_tracked and (${filter.timeframe ?? null}::text is null
                                      or i.timeframes @> array[${filter.timeframe ?? null}::text])
               else r.symbol = any(${symbols}::text[]) end
    order by r.symbol collate "C"`;
  return rows.map(toInstrument);
}

/**
 * Makes sure that the symbols exist and, unless told otherwise, are tracked: filled every night.
 * Data of a symbol that was removed before is still there.
 * @returns the symbols that are new, or tracked again.
 * @throws InputError for a malformed symbol; nothing is added then.
 */
export async function upsertSymbols(
  write: Sql,
  symbols: readonly string[],
  options: { isTracked: boolean } = { isTracked: true },
): Promise<string[]> {
  const unique = [...new Set(symbols.map((symbol) => checkSymbol(symbol)))];
  if (unique.length === 0) return [];
  return transactLocked(write, 'symbols', async (tx) => {
    const returning = await tx<{ symbol: string }[]>`
      update instruments i set is_tracked = true
      from symbol_ranges r
      where r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
        and r.symbol = any(${unique}::text[]) and not i.is_tracked and ${options.isTracked}
      returning r.symbol`;
    const known = await tx<{ symbol: string }[]>`
      select symbol from symbol_ranges
      where valid_to = 'infinity' and symbol = any(${unique}::text[])`;
    const have = new Set(known.map((row) => row.symbol));
    const fresh = unique.filter((symbol) => !have.has(symbol));
    // Numbers are drawn first: an identity column returns them in no promised order.
    await tx`
      with drawn as (
        select symbol,
               nextval(pg_get_serial_sequence('instruments', 'instrument_id'))::int as id
        from unnest(${fresh}::text[]) as n(symbol)),
      made as (
        insert into instruments (instrument_id, is_tracked) overriding system value
        select id, ${options.isTracked} from drawn)
      insert into symbol_ranges (instrument_id, symbol) select id, symbol from drawn`;
    await tx`select pg_notify('marketd', 'symbols')`;
    return [...returning.map((row) => row.symbol), ...fresh];
  });
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
    where i.instrument_id = d.id`;
}

/** True when the warehouse knows any instrument at all. */
export async function hasInstruments(sql: AnySql): Promise<boolean> {
  const [row] = await sql<{ any: boolean }[]>`select exists (select from instruments) as any`;
  return row.any;
}
