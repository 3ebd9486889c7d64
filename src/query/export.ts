import { errorMessage, InputError } from '../errors.ts';
import { newYorkInstant, toDate, toDay } from '../model/session.ts';
import {
  decodeFloats,
  decodeIntegers,
  isDatabaseAway,
  PG_EPOCH_DAY,
  type Sql,
  type Transaction,
} from '../store/database.ts';
import {
  type AppliedAdjustments,
  ExportAdjuster,
  type ExportAdjustment,
} from './export-adjusted.ts';
import type { ColumnType, ExportColumn, ExportTable } from './export-columns.ts';
import type { Condition } from './where.ts';

/** How the database prints a row: as a line of a format, or not at all (columns of values). */
export type ExportLayout = 'csv' | 'ndjson' | 'sql' | 'columns';

export interface ExportRequest {
  table: ExportTable;
  layout: ExportLayout;
  /** Of whoever has them at the end (`to`, else now); undefined: of all that hold such rows. */
  symbols?: readonly string[];
  /** 'YYYY-MM-DD' in New York, both inclusive. */
  from?: string;
  to?: string;
  /** Made by `parseWhere` with FIRST_CONDITION_PARAMETER; over the columns as they are printed. */
  condition?: Condition;
  /** Of bars: what is done to them; undefined: they are printed as they are stored. */
  adjustment?: ExportAdjustment;
  statementTimeoutMs: number;
  /** Rows that are read, and held in memory, at a time. */
  pageRows: number;
  signal?: AbortSignal;
}

export interface ExportInstrument {
  instrumentId: number;
  /**
   * At the end of the range; the last one of whoever has none then, with its last day behind it
   * when another instrument of the export has the same: VXX.20190129.
   */
  symbol: string;
  name: string | null;
  exchange: string | null;
  assetType: string | null;
  listedOn: string | null;
  delistedOn: string | null;
  /** Rows it holds, of any time; 0 where that is not counted. */
  records: number;
  isSynthetic: boolean;
  /** Whose rows it holds, as far as that is counted. */
  providers: readonly string[];
}

/** Some rows of one instrument, in the order of their key. */
export interface ExportPage {
  instrument: ExportInstrument;
  rows: number;
  /** Lines joined by line breaks, without the last break; empty when columns are asked for. */
  text: Uint8Array;
  /** By the layout `columns`: an array a column, in the order of the table's. */
  columns: ColumnValues[];
}

/** Numbers (NaN is null), days since 1970, epoch microseconds, 0 and 1, or texts. */
export type ColumnValues = Float64Array | BigInt64Array | Int32Array | (string | null)[];

export interface ExportSource {
  instruments: readonly ExportInstrument[];
  tx: Transaction;
  /** As far as pages were read; undefined where nothing is adjusted. */
  applied: AppliedAdjustments | undefined;
  /** Every row once: instruments by symbol, the rows of each in the order of their key. */
  pages(): AsyncGenerator<ExportPage, void, undefined>;
}

/**
 * Runs `body` in one read-only transaction that sees the state of one instant, however long it
 * takes. Rows are read a page at a time by key, so that neither side holds more than a page; COPY
 * is avoided, for postgres.js may leave its connection hanging.
 * @throws InputError for an unknown symbol, or a condition that fails on a row.
 * @throws Error that says so when a statement took too long.
 */
export async function readExport<T>(
  write: Sql,
  request: ExportRequest,
  body: (source: ExportSource) => Promise<T>,
): Promise<T> {
  const read = async (tx: Transaction) => {
    await tx`
      select set_config('statement_timeout', ${String(request.statementTimeoutMs)}, true),
             set_config('idle_in_transaction_session_timeout', '0', true),
             set_config('extra_float_digits', '1', true), -- shortest text that reads back the same
             set_config('TimeZone', 'UTC', true),
             set_config('DateStyle', 'ISO', true),
             set_config('jit', 'off', true)`;
    const instruments = await selectExportInstruments(tx, request);
    const { table, adjustment } = request;
    const adjuster = adjustment && new ExportAdjuster(tx, table, adjustment);
    const pages = () => readPages(tx, request, instruments, adjuster);
    return body({ instruments, tx, applied: adjuster?.applied, pages });
  };
  const mode = 'isolation level repeatable read read only';
  let reading: Promise<T> | undefined;
  const begun = write.begin(mode, (tx) => {
    reading = read(tx as unknown as Transaction);
    return reading;
  });
  try {
    return (await begun) as T;
  } catch (error) {
    // When the connection is lost the transaction ends before its body has.
    await reading?.catch(() => {});
    request.signal?.throwIfAborted();
    throw explain(error, request);
  }
}

/** What `cancel` of a query does, which does not say when it was done. */
interface Canceler {
  active: boolean;
  canceller: ((query: unknown) => Promise<void>) | null;
}

/**
 * Waits for a query, and has the server give it up when nobody waits for it any more. The request
 * to do so goes another way than the query: it is waited for as well, or it might come late and
 * meet what the connection is used for next.
 */
async function cancelable<T>(
  query: Promise<T> & { cancel(): void },
  signal: AbortSignal | undefined,
): Promise<T> {
  let canceled: Promise<void> | undefined;
  const cancel = () => {
    const { active, canceller } = query as unknown as Canceler;
    if (active && canceller)
      canceled = canceller(query).catch(() => {}); // it ends by itself
    else query.cancel();
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await query;
  } finally {
    signal?.removeEventListener('abort', cancel);
    await canceled;
  }
}

/** What a failure means to who asked for the rows. */
function explain(error: unknown, { condition, statementTimeoutMs }: ExportRequest): unknown {
  const code = (error as { code?: unknown }).code;
  if (code === '57014') {
    return new Error(
      `a statement took longer than ${statementTimeoutMs / 1000} s: allow it more with ` +
        '--statement-timeout, or ask for less',
    );
  }
  // 22: a value that cannot be computed; 54: too complex.
  if (condition && typeof code === 'string' && /^(22|54)/.test(code) && !isDatabaseAway(error)) {
    return new InputError(`where cannot be computed: ${errorMessage(error)}`, 'where');
  }
  return error;
}

interface InstrumentRow {
  id: number;
  symbol: string;
  last_day: string | null;
  name: string | null;
  exchange: string | null;
  asset_type: string | null;
  listed_on: string | null;
  delisted_on: string | null;
  records: number;
  is_synthetic: boolean;
  providers: string[];
  has_rows: boolean;
}

async function selectExportInstruments(
  tx: Transaction,
  { table, symbols, to, signal }: ExportRequest,
): Promise<ExportInstrument[]> {
  const wanted = symbols === undefined ? null : [...new Set(symbols)];
  const day = to ?? null;
  const query = tx<InstrumentRow[]>`
    select i.instrument_id as id, r.symbol,
           case when not r.is_held then to_char(r.valid_to - 1, 'YYYYMMDD') end as last_day, i.name,
           i.exchange, i.asset_type, i.listed_on,
           i.delisted_on, coalesce(s.records, 0) as records,
           coalesce(s.providers, '{}') as providers,
           exists (select from instrument_status a
                   where a.instrument_id = i.instrument_id and a.is_synthetic) as is_synthetic,
           exists (select from ${tx(table.table)} b
                   where b.instrument_id = i.instrument_id) as has_rows
    from instruments i
    join lateral (
      select n.symbol, n.valid_to, h.is_held
      from symbol_ranges n
      cross join lateral (
        select case when ${day}::text is null then n.valid_to = 'infinity'
                    else n.valid_from <= ${day}::text::date and ${day}::text::date < n.valid_to
               end as is_held) as h
      where n.instrument_id = i.instrument_id
      order by h.is_held desc, n.valid_to desc limit 1) as r on true
    left join instrument_status s
      on s.instrument_id = i.instrument_id and s.timeframe = ${table.timeframe}
    where ${wanted}::text[] is null or (r.is_held and r.symbol = any(${wanted}::text[]))
    order by r.symbol collate "C", r.valid_to`;
  const rows = await cancelable(query, signal);
  const known = new Set(rows.map(({ symbol }) => symbol));
  const unknown = (wanted ?? []).filter((symbol) => !known.has(symbol));
  if (unknown.length > 0) {
    const some = unknown.slice(0, 10).join(', ');
    const more = unknown.length > 10 ? ` and ${unknown.length - 10} more` : '';
    throw new InputError(
      `unknown${to === undefined ? '' : ` on ${to}`}: ${some}${more}; ` +
        '`marketd symbols list` prints what is held',
      'symbols',
    );
  }
  const holding = rows.filter((row) => row.has_rows);
  const alike = Map.groupBy(holding, ({ symbol }) => symbol);
  const isAlone = ({ symbol }: InstrumentRow) => alike.get(symbol)?.length === 1;
  const named = holding.map((row) => ({
    instrumentId: row.id,
    symbol: row.last_day === null || isAlone(row) ? row.symbol : `${row.symbol}.${row.last_day}`,
    name: row.name,
    exchange: row.exchange,
    assetType: row.asset_type,
    listedOn: row.listed_on,
    delistedOn: row.delisted_on,
    records: row.records,
    isSynthetic: row.is_synthetic,
    providers: row.providers,
  }));
  return named.sort((a, b) => Buffer.compare(Buffer.from(a.symbol), Buffer.from(b.symbol)));
}

// --------------------------------------------------------------------------- pages

/** The first parameter of a page's statement that a condition may use: see `readPage`. */
export const FIRST_CONDITION_PARAMETER = 7;

async function* readPages(
  tx: Transaction,
  request: ExportRequest,
  instruments: readonly ExportInstrument[],
  adjuster: ExportAdjuster | undefined,
): AsyncGenerator<ExportPage, void, undefined> {
  const providers = new Set(instruments.flatMap((instrument) => instrument.providers));
  const firstFactor = FIRST_CONDITION_PARAMETER + (request.condition?.values.length ?? 0);
  const source = adjuster?.source(firstFactor) ?? request.table.table;
  const statement = pageStatement(request, [...providers].filter(isPlain), source);
  let factors: readonly string[] = [];
  const read = (instrument: ExportInstrument, after?: Key) =>
    readPage(tx, statement, request, instrument, factors, after);
  const readFirst = async (instrument: ExportInstrument) => {
    if (adjuster) factors = await adjuster.values(instrument);
    return read(instrument);
  };
  let next = 0;
  const begin = () => (next < instruments.length ? readFirst(instruments[next++]) : undefined);
  // One page ahead: the database prints the next one while this one is compressed and written.
  let pending = begin();
  try {
    while (pending) {
      const { page, last } = await pending;
      request.signal?.throwIfAborted();
      const isWhole = page.rows < request.pageRows;
      pending = isWhole ? begin() : read(page.instrument, last);
      if (page.rows > 0) yield page;
    }
  } finally {
    // Whoever stops early has the reason already.
    pending?.catch(() => {});
  }
}

/** What a page ends with: the key, of which a second part is some text when the table has none. */
type Key = readonly (string | null)[];
const FIRST_KEY: Key = [null, null];

async function readPage(
  tx: Transaction,
  statement: string,
  request: ExportRequest,
  instrument: ExportInstrument,
  factors: readonly string[],
  after: Key = FIRST_KEY,
): Promise<{ page: ExportPage; last: Key }> {
  const { table, condition, layout } = request;
  const [from, to] = bounds(request);
  const values = [
    ...[instrument.symbol, String(instrument.instrumentId), after[0] ?? from, to],
    ...[after[1] ?? null, String(request.pageRows)],
    ...(condition?.values ?? []),
    ...factors,
  ];
  const query = tx.unsafe(statement, values as string[]);
  if (layout === 'columns') {
    const [row] = await cancelable(query.values(), request.signal);
    const [rows, first, second, ...parts] = row as unknown as [number, string, string, ...Parts];
    const columns = rows === 0 ? [] : decodeColumns(table.columns, parts, instrument.symbol);
    return { page: { instrument, rows, text: EMPTY, columns }, last: [first, second] };
  }
  // As bytes: no text is decoded here to be encoded again.
  const [row] = await cancelable(query.raw(), request.signal);
  const [rows, first, second, text] = row as unknown as (Uint8Array | null)[];
  const page = { instrument, rows: Number(decode(rows)), text: text ?? EMPTY, columns: [] };
  return { page, last: [decode(first), decode(second)] };
}

/** From (inclusive) and to (exclusive), as the first of the key compares with. */
function bounds({ table, from, to }: ExportRequest): [string, string] {
  const at = (date: string, days: number) => {
    const day = toDay(date) + days;
    return table.isDaily ? toDate(day) : new Date(newYorkInstant(day, 0)).toISOString();
  };
  return [
    from === undefined ? '-infinity' : at(from, 0),
    to === undefined ? 'infinity' : at(to, 1),
  ];
}

/**
 * One page: its rows in order, aggregated to one value. $1 symbol, $2 instrument, $3 and $5 the key
 * after which it begins ($5 null: at $3 itself), $4 where all ends, $6 rows, $7... the condition,
 * and behind its values the factors of the instrument, where there are any.
 * All are sent as text: postgres.js would cut an instant to milliseconds.
 */
function pageStatement(
  { table, layout, condition }: ExportRequest,
  providers: readonly string[],
  source: string,
): string {
  const [first, second] = table.key;
  const start = second
    ? `(b.${first.name}, b.${second.name}) > ($3::text::${first.type}, $5::text::${second.type})`
    : `b.${first.name} > $3::text::${first.type}`;
  // The bound is said once more alone: chunks are left out by it.
  const after = `b.${first.name} >= $3::text::${first.type} and ($5::text is null or ${start})`;
  const before = `b.${first.name} < $4::text::${first.type}`;
  const keys = table.key.map(({ name }) => name).join(', ');
  const output = layout === 'columns' ? columnAggregates(table.columns) : lineAggregate(layout);
  const inner =
    layout === 'columns'
      ? table.columns.map(({ sql }, i) => `${sql} as c${i}`).join(', ')
      : `${line(table, layout, providers)} as line`;
  return `
    select count(*), max(k1)::text, 
           ${second ? '((array_agg(k2))[count(*)::int])::text' : "'next'"}, ${output}
    from (select ${table.key.map(({ name }, i) => `b.${name} as k${i + 1}`).join(', ')}, ${inner}
          from ${source} b
          where b.instrument_id = $2::text::int and ${after} and ${before}
            ${condition ? `and ${condition.sql}` : ''}
          order by ${keys} limit $6::text::int) as page`;
}

// -------------------------------------------------------------------------- layout

/** Rows of a script are joined as the rows of VALUES are. */
const lineAggregate = (layout: ExportLayout) =>
  `string_agg(line, ${layout === 'sql' ? "','||" : ''}chr(10))`;

/** A row as one text. concat_ws prints numbers fastest: 2.4 s where concat takes 3.2 s. */
function line(
  { columns, tableColumns }: ExportTable,
  layout: ExportLayout,
  providers: readonly string[],
): string {
  if (layout === 'csv') {
    return `concat_ws(',', ${columns.map((one) => csvCell(one, providers)).join(', ')})`;
  }
  if (layout === 'ndjson') {
    const shape = columns.map(({ name, type }) => `"${name}":${isBare(type) ? '%s' : '"%s"'}`);
    return `format('{${shape.join(',')}}', ${columns.map(jsonValue).join(', ')})`;
  }
  const values = tableColumns.map((one) => sqlValue(`b.${one.name}`, one.type, one.isNullable));
  return `'(' || concat_ws(',', ${[sqlValue('$1', 'text'), ...values].join(', ')}) || ')'`;
}

const instant = (sql: string, type: ColumnType) =>
  `to_char(${sql}, 'YYYY-MM-DD"T"HH24:MI:SS${type === 'micros' ? '.US' : ''}"Z"')`;

/** Whether a text may stand in a statement, and in a cell, as it is. */
const isPlain = (text: string) => /^[a-z][a-z0-9_-]*$/.test(text);

/**
 * As RFC 4180 has it. Null is nothing, an empty text is "". Looking for what needs quotes takes a
 * sixth of the time of a row: providers that are known to need none are told by comparison.
 */
function csvCell(
  { name, sql, type, isNullable }: ExportColumn,
  providers: readonly string[],
): string {
  if (type === 'second' || type === 'micros') return instant(sql, type);
  if (type === 'boolean') return `case when ${sql} then 'true' else 'false' end`;
  if (type === 'text' || type === 'json') {
    const text = `${sql}::text`;
    const quoted = `'"' || replace(${text}, '"', '""') || '"'`;
    const plain = name === 'provider' ? providers.map((one) => `'${one}'`).join(', ') : '';
    const known = plain === '' ? '' : `when ${sql} in (${plain}) then ${sql} `;
    const special = `${text} ~ '[",\\r\\n]' or ${text} = ''`;
    const cell = `case ${known}when ${special} then ${quoted} else ${text} end`;
    return isNullable ? `coalesce(${cell}, '')` : cell;
  }
  return isNullable ? `coalesce(${sql}::text, '')` : sql;
}

/** Types whose text is JSON as it is; the others stand between quotes. */
const isBare = (type: ColumnType) => !['name', 'date', 'second', 'micros'].includes(type);

function jsonValue({ sql, type, isNullable }: ExportColumn): string {
  if (type === 'second' || type === 'micros') return instant(sql, type);
  if (type === 'boolean') return `case when ${sql} then 'true' else 'false' end`;
  if (type === 'names') {
    const list = `'["' || replace(${sql}, ' ', '","') || '"]'`;
    return `case when ${sql} = '' then '[]' else ${list} end`;
  }
  if (type === 'text') return `coalesce(to_json(${sql}::text)::text, 'null')`;
  // What is not finite has no JSON: to_json makes it a text.
  return isNullable ? `coalesce(to_json(${sql})::text, 'null')` : sql;
}

/**
 * A value of a VALUES list. Line breaks are written as chr(10): a row is a line, by which rows are
 * counted into batches.
 */
function sqlValue(sql: string, type: string, isNullable = false): string {
  if (type === 'boolean') return `case when ${sql} then 'true' else 'false' end`;
  if (['integer', 'smallint', 'bigint'].includes(type)) return `coalesce(${sql}::text, 'null')`;
  if (type === 'double precision') {
    // In quotes only what is no number to a parser.
    const text = `case when ${sql} - ${sql} = 0 then ${sql}::text else '''' || ${sql} || '''' end`;
    return `coalesce(${text}, 'null')`;
  }
  if (type === 'date' || type === 'timestamptz') {
    const text = `'''' || ${sql} || ''''`;
    return isNullable ? `coalesce(${text}, 'null')` : text;
  }
  const escaped = `replace(replace(${sql}::text, '''', ''''''), chr(10), '''||chr(10)||''')`;
  return `coalesce('''' || ${escaped} || '''', 'null')`;
}

/** Values as the bytes in which PostgreSQL sends them; texts as one JSON array. */
function columnAggregates(columns: readonly ExportColumn[]): string {
  return columns.map((one, i) => (i === 0 ? 'null' : columnAggregate(one, `c${i}`))).join(', ');
}

function columnAggregate({ type, isNullable }: ExportColumn, value: string): string {
  if (type === 'date') return `string_agg(int4send(${value} - date '1970-01-01'), '')`;
  if (type === 'boolean') return `string_agg(int4send(${value}::int), '')`;
  if (type === 'second' || type === 'micros') return `string_agg(timestamptz_send(${value}), '')`;
  if (type === 'integer' && !isNullable) return `string_agg(int8send(${value}::bigint), '')`;
  if (type === 'number' || type === 'integer') {
    return `string_agg(float8send(coalesce(${value}, 'NaN'::float8)), '')`;
  }
  return `json_agg(${value}::text)::text`;
}

type Parts = (Uint8Array | string | null)[];

function decodeColumns(
  columns: readonly ExportColumn[],
  parts: Parts,
  symbol: string,
): ColumnValues[] {
  const width = columns[1].type === 'date' ? 4 : 8;
  const length = (parts[1] as Uint8Array).byteLength / width;
  return columns.map(({ type, isNullable }, i) => {
    if (i === 0) return new Array<string>(length).fill(symbol);
    const part = parts[i];
    if (typeof part === 'string') return JSON.parse(part) as (string | null)[];
    if (type === 'date' || type === 'boolean') return decodeIntegers(part);
    if (type === 'second' || type === 'micros') return decodeBigints(part, PG_EPOCH_MICROS);
    if (type === 'integer' && !isNullable) return decodeBigints(part, 0n);
    return decodeFloats(part);
  });
}

const PG_EPOCH_MICROS = BigInt(PG_EPOCH_DAY) * 86_400_000_000n;

/** Whole numbers of a `string_agg(int8send(x), '')`, with something added to each. */
function decodeBigints(bytes: Uint8Array | null, offset: bigint): BigInt64Array {
  if (bytes === null) return new BigInt64Array(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new BigInt64Array(bytes.byteLength / 8);
  for (let i = 0; i < values.length; i++) values[i] = view.getBigInt64(i * 8) + offset;
  return values;
}

const EMPTY = new Uint8Array(0);
const decoder = new TextDecoder();
const decode = (bytes: Uint8Array | null) => (bytes === null ? null : decoder.decode(bytes));
