import schema from '../../sql/0001_schema.sql' with { type: 'text' };
import intraday from '../../sql/0003_intraday.sql' with { type: 'text' };
import history from '../../sql/0004_history.sql' with { type: 'text' };
import { FAILURE_FLAGS, FLAG, REVIEW_SCORE, VALIDATED_SCORE } from '../model/quality.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import type { ExportRequest, ExportSource } from './export.ts';
import type { ExportTable } from './export-columns.ts';

/**
 * A script of INSERTs for psql, or any client: it loads into a marketd and into a database without
 * any table, in one transaction. Instruments are found, or made, by their symbols; rows that are
 * there already stay as they are, so it may be loaded twice.
 */

/** Everything before the first row. */
export async function scriptHead(
  source: ExportSource,
  request: ExportRequest,
  calendar: Calendar,
): Promise<string> {
  const { table } = request;
  const count = source.instruments.length;
  return [
    `-- ${table.noun} of ${count} ${count === 1 ? 'symbol' : 'symbols'}, exported by marketd`,
    '-- load it with: psql -X -v ON_ERROR_STOP=1 -f FILE "$DATABASE_URL"',
    'begin;',
    'set local client_encoding to utf8;',
    'set local standard_conforming_strings to on;',
    'set local client_min_messages to warning;',
    "set local time zone 'UTC';",
    "set local datestyle to 'ISO';",
    takeLocks(table),
    ...['instruments', 'symbol_ranges', table.table].map(createTable),
    createIndex('symbol_ranges_current'),
    ...exportedInstruments(source),
    refuseMixing(request),
    FIND_INSTRUMENTS,
    await coverageRows(source, request, calendar),
  ]
    .filter((part) => part !== '')
    .join('\n')
    .concat('\n');
}

/** Everything after the last row. */
export function scriptTail(table: ExportTable): string {
  const channel = { trades: 'trades', snapshots: 'snapshots' }[table.table] ?? 'bars';
  return [
    updateStatus(table),
    `do $$ begin perform pg_notify('marketd', 'symbols'); end $$;`,
    `do $$ begin perform pg_notify('marketd', '${channel} *'); end $$;`,
    'commit;',
    '',
  ].join('\n');
}

const encode = (text: string) => new TextEncoder().encode(text);
const COMMA = encode(',\n');
const NEWLINE = 0x0a;

/** Puts rows, as the layout `sql` prints them, together to statements of `batchRows` rows each. */
export class InsertWriter {
  /** Rows of the statement that is being written. */
  #rows = 0;
  readonly #head: Uint8Array;
  readonly #tail: Uint8Array;

  constructor(
    table: ExportTable,
    readonly batchRows: number,
  ) {
    const names = table.tableColumns.map(({ name }) => name).join(', ');
    const values = table.tableColumns.map(({ name, type }) => `v.${name}::${type}`).join(', ');
    this.#head = encode(
      `insert into ${table.table} (instrument_id, ${names})\n` +
        `select i.instrument_id, ${values}\nfrom (values\n`,
    );
    this.#tail = encode(
      `\n) as v(symbol, ${names})\njoin exported_instruments i on i.symbol = v.symbol\n` +
        'on conflict do nothing;\n',
    );
  }

  /** `text` holds `rows` lines, joined by line breaks, of which no value has any. */
  add(text: Uint8Array, rows: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    let at = 0;
    for (let left = rows; left > 0; ) {
      const taken = Math.min(left, this.batchRows - this.#rows);
      const end = taken === left ? text.length : endOfLine(text, at, taken);
      out.push(this.#rows === 0 ? this.#head : COMMA, text.subarray(at, end));
      // Lines of a page are joined by a comma and a break; those of two are joined here.
      this.#rows += taken;
      left -= taken;
      at = end + COMMA.length;
      if (this.#rows === this.batchRows) out.push(...this.end());
    }
    return out;
  }

  end(): Uint8Array[] {
    if (this.#rows === 0) return [];
    this.#rows = 0;
    return [this.#tail];
  }
}

/** Where the line ends that is the `count`th from `at` on: before its comma. */
function endOfLine(text: Uint8Array, at: number, count: number): number {
  let end = at - 1;
  for (let i = 0; i < count; i++) end = text.indexOf(NEWLINE, end + 1);
  return end - 1;
}

// -------------------------------------------------------------------------- tables

/** As the migrations have it, unless it is there: one of an older marketd is left as it is. */
function createTable(name: string): string {
  const statement = new RegExp(`^create table (${name} \\([\\s\\S]*?)^\\);$`, 'm');
  const found = statement.exec(schema) ?? statement.exec(intraday);
  if (!found) throw new Error(`no migration creates the table ${name}`);
  const added = history.matchAll(new RegExp(`^alter table ${name} add column ([^;]+);`, 'gm'));
  const columns = [...added].map(([, column]) => `  , ${column}\n`);
  return `create table if not exists ${found[1]}${columns.join('')});`;
}

function createIndex(name: string): string {
  const found = new RegExp(`^create unique index (${name} on [^;]*;)$`, 'm').exec(schema);
  if (!found) throw new Error(`no migration creates the index ${name}`);
  return `create unique index if not exists ${found[1]}`;
}

/** Those that a running marketd takes when it writes the same, in the order in which it does. */
function takeLocks({ dataset }: ExportTable): string {
  const names = [...(dataset === 'trades' ? ['trades'] : []), 'ingest', 'symbols'];
  const lines = names.map(
    (name) => `  perform pg_advisory_xact_lock(hashtext('marketd'), hashtext('${name}'));`,
  );
  return ['do $$', 'begin', ...lines, 'end', '$$;'].join('\n');
}

function exportedInstruments({ instruments }: ExportSource): string[] {
  const create = `create temp table exported_instruments (
  symbol text primary key, name text, exchange text, asset_type text, listed_on date,
  delisted_on date, is_synthetic boolean not null, instrument_id integer,
  is_new boolean not null default false
) on commit drop;`;
  if (instruments.length === 0) return [create];
  const rows = instruments.map((one) => {
    const texts = [one.symbol, one.name, one.exchange, one.assetType, one.listedOn, one.delistedOn];
    return `(${texts.map(quote).join(', ')}, ${one.isSynthetic})`;
  });
  return [
    create,
    `insert into exported_instruments
  (symbol, name, exchange, asset_type, listed_on, delisted_on, is_synthetic)
values\n${rows.join(',\n')};`,
  ];
}

/** Made-up and real data of one instrument are never held together. */
function refuseMixing({ to }: ExportRequest): string {
  const isHeld =
    to === undefined
      ? "r.valid_to = 'infinity'"
      : `r.valid_from <= '${to}'::date and '${to}'::date < r.valid_to`;
  return `update exported_instruments e set instrument_id = r.instrument_id
from symbol_ranges r
where r.symbol = e.symbol and ${isHeld};
do $$
declare
  mixed text;
begin
  if to_regclass('instrument_status') is not null then
    select string_agg(distinct e.symbol, ', ') into mixed
    from exported_instruments e join instrument_status s using (instrument_id)
    where s.records > 0 and s.is_synthetic <> e.is_synthetic;
    if mixed is not null then
      raise exception 'made-up and real data do not mix: %', mixed;
    end if;
  end if;
end
$$;`;
}

/** New ones are not tracked: nobody asked for them to be filled every night. */
const FIND_INSTRUMENTS = `update exported_instruments
set instrument_id = nextval(pg_get_serial_sequence('instruments', 'instrument_id')), is_new = true
where instrument_id is null;
insert into instruments
  (instrument_id, name, exchange, asset_type, listed_on, delisted_on, is_tracked)
overriding system value
select instrument_id, name, exchange, asset_type, listed_on, delisted_on, false
from exported_instruments where is_new;
insert into symbol_ranges (instrument_id, symbol)
select instrument_id, symbol from exported_instruments where is_new;`;

function quote(text: string | null): string {
  return text === null ? 'null' : `'${text.replaceAll("'", "''")}'`;
}

// ------------------------------------------------------------------------ coverage

interface CoverageRow {
  id: number;
  start: string;
  stop: string;
  state: string;
  settled: boolean;
  provider: string;
  asked: string;
  attempts: number;
  retry: string | null;
  detail: string | null;
}

/**
 * What was asked for in the range, so that the warehouse that loads the rows does not ask again.
 * Not with a condition, which leaves rows out; nor what the plan refused, which may be another.
 */
async function coverageRows(
  { instruments, tx }: ExportSource,
  { table, from, to, condition }: ExportRequest,
  calendar: Calendar,
): Promise<string> {
  if (condition || !table.table.startsWith('bars_') || instruments.length === 0) return '';
  // Both ends of coverage are sessions.
  const session = (date: string, days: number) =>
    toDate(calendar.sessionAt(calendar.sessionsBefore(toDay(date) + days)));
  const first = from === undefined ? '-infinity' : session(from, 0);
  const last = to === undefined ? 'infinity' : session(to, 1);
  const rows = await tx<CoverageRow[]>`
    select c.instrument_id as id, greatest(c.start_session, ${first}::date) as start,
           least(c.end_session, ${last}::date) as stop, c.state, c.is_settled as settled,
           c.provider, c.asked_at::text as asked, c.attempts, c.retry_at::text as retry, c.detail
    from coverage c
    where c.dataset = ${table.timeframe} and c.state <> 'not_entitled'
      and c.instrument_id = any(${instruments.map((one) => one.instrumentId)}::int[])
      and c.end_session > ${first}::date and c.start_session < ${last}::date
    order by c.instrument_id, c.start_session`;
  if (rows.length === 0) return '';
  const symbols = new Map(instruments.map((one) => [one.instrumentId, one.symbol]));
  const values = rows.map((row) => {
    const head = [symbols.get(row.id) ?? null, row.start, row.stop, row.state].map(quote);
    const tail = [row.provider, row.asked].map(quote);
    const end = [row.retry, row.detail].map(quote);
    return `(${[...head, row.settled, ...tail, row.attempts, ...end].join(', ')})`;
  });
  return `create temp table exported_coverage (
  symbol text, start_session date, end_session date, state text, is_settled boolean,
  provider text, asked_at timestamptz, attempts integer, retry_at timestamptz, detail text
) on commit drop;
insert into exported_coverage values\n${values.join(',\n')};
do $$
begin
  if to_regclass('coverage') is not null then
    insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
      provider, asked_at, attempts, retry_at, detail)
    select i.instrument_id, '${table.timeframe}', e.start_session, e.end_session, e.state,
           e.is_settled, e.provider, e.asked_at, e.attempts, e.retry_at, e.detail
    from exported_coverage e join exported_instruments i using (symbol)
    where not exists (
      select from coverage c
      where c.instrument_id = i.instrument_id and c.dataset = '${table.timeframe}'
        and c.start_session < e.end_session and c.end_session > e.start_session);
  end if;
end
$$;`;
}

// ------------------------------------------------------------------------ counters

/** Counts the instruments of the script anew, where a table of counters is. */
function updateStatus({ table, timeframe, dataset }: ExportTable): string {
  if (dataset === 'snapshots') return '';
  const isBars = dataset !== 'trades';
  const session = isBars ? 'b.session' : "(b.ts at time zone 'America/New_York')::date";
  const count = (condition: string) =>
    isBars ? `count(*) filter (where ${condition})` : 'count(*) filter (where false)';
  const anomaly = FLAG.volumeSpike | FLAG.volumeDrought;
  const latest = isBars ? `(array_agg(b.score order by b.${keyOf(dataset)} desc))[1]` : 'null';
  return `do $$
begin
  if to_regclass('instrument_status') is not null then
    insert into instrument_status as s (instrument_id, timeframe, records, validated_records,
      excluded_records, gaps_flagged, volume_anomalies, score_sum, first_session, latest_session,
      latest_score, providers, is_synthetic, version)
    select b.instrument_id, '${timeframe}', count(*),
           ${count(`b.score >= ${VALIDATED_SCORE}`)},
           ${count(`b.score < ${REVIEW_SCORE} or b.flags & ${FAILURE_FLAGS} <> 0`)},
           ${count(`b.flags & ${FLAG.gap} <> 0`)},
           ${count(`b.flags & ${anomaly} <> 0`)},
           ${isBars ? 'sum(b.score)' : '0'}, min(${session}), max(${session}), ${latest},
           array_agg(distinct b.provider), bool_or(e.is_synthetic), 1
    from exported_instruments e join ${table} b using (instrument_id)
    group by b.instrument_id
    on conflict (instrument_id, timeframe) do update set
      records = excluded.records, validated_records = excluded.validated_records,
      excluded_records = excluded.excluded_records, gaps_flagged = excluded.gaps_flagged,
      volume_anomalies = excluded.volume_anomalies, score_sum = excluded.score_sum,
      first_session = excluded.first_session, latest_session = excluded.latest_session,
      latest_score = excluded.latest_score, providers = excluded.providers,
      is_synthetic = excluded.is_synthetic, version = s.version + 1;
  end if;
end
$$;`;
}

const keyOf = (dataset: string) => (dataset === '1d' ? 'session' : 'ts');
