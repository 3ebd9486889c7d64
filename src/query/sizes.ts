import type { AnySql } from '../store/database.ts';

/** How large a table is, with its indexes and all of its chunks. */
export interface TableSize {
  name: string;
  /** Counted where counters are kept, else what the planner believes; null: it does not know. */
  rows: number | null;
  isCounted: boolean;
  dataBytes: number;
  indexBytes: number;
  /** Of a hypertable; 0 for a plain table. */
  chunks: number;
  /** What TimescaleDB has compressed; null when nothing is. */
  compressed: { chunks: number; beforeBytes: number; afterBytes: number } | null;
}

export interface Sizes {
  /** The whole database, also what is not ours. */
  databaseBytes: number;
  /** Largest first. */
  tables: TableSize[];
}

interface TableRow {
  name: string;
  rows: number | null;
  counted: number | null;
  data: number;
  indexes: number;
  chunks: number;
}

interface CompressedRow {
  name: string;
  chunks: number;
  before: number;
  after: number;
}

/**
 * Sizes of the database and of each of its tables. Counts no row and reads no table: what the
 * file system and the planner know, and the counters.
 */
export async function selectSizes(sql: AnySql): Promise<Sizes> {
  const [[database], rows] = await Promise.all([
    sql<{ bytes: number; columnstore: boolean }[]>`
      select pg_database_size(current_database())::float8 as bytes,
             to_regproc('hypertable_compression_stats') is not null as columnstore`,
    selectTables(sql),
  ]);
  const compressed = database.columnstore ? await selectCompressed(sql) : [];
  const byName = new Map(compressed.map((row) => [row.name, row]));
  const tables = rows.map((row): TableSize => {
    const columnstore = byName.get(row.name);
    return {
      name: row.name,
      rows: row.counted ?? row.rows,
      isCounted: row.counted !== null,
      dataBytes: row.data + (columnstore?.after ?? 0),
      indexBytes: row.indexes,
      chunks: row.chunks,
      compressed: columnstore
        ? {
            chunks: columnstore.chunks,
            beforeBytes: columnstore.before,
            afterBytes: columnstore.after,
          }
        : null,
    };
  });
  const size = ({ dataBytes, indexBytes }: TableSize) => dataBytes + indexBytes;
  tables.sort((a, b) => size(b) - size(a) || (a.name < b.name ? -1 : 1));
  return { databaseBytes: database.bytes, tables };
}

/** Chunks are tables that inherit from theirs; a plain table has none. */
function selectTables(sql: AnySql): Promise<TableRow[]> {
  return sql<TableRow[]>`
    with recursive parts as (
      select c.oid as root, c.oid as part, c.relname as name
      from pg_class c
      where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
        and not exists (select from pg_inherits i where i.inhrelid = c.oid)
      union all
      select p.root, i.inhrelid, p.name from parts p join pg_inherits i on i.inhparent = p.part),
    counted as (
      select case timeframe when 'trade' then 'trades' else 'bars_' || timeframe end as name,
             sum(records)::float8 as records
      from instrument_status group by 1)
    select p.name::text,
           sum(nullif(c.reltuples, -1))::float8 as rows,
           min(counted.records) as counted,
           sum(pg_table_size(p.part))::float8 as data,
           sum(pg_indexes_size(p.part))::float8 as indexes,
           count(*)::int - 1 as chunks
    from parts p
    join pg_class c on c.oid = p.part
    left join counted on counted.name = p.name
    group by p.root, p.name`;
}

/** A compressed chunk keeps its rows in a table of TimescaleDB's own, no part of ours. */
function selectCompressed(sql: AnySql): Promise<CompressedRow[]> {
  return sql<CompressedRow[]>`
    select h.hypertable_name::text as name, s.number_compressed_chunks::int as chunks,
           s.before_compression_total_bytes::float8 as before,
           s.after_compression_total_bytes::float8 as after
    from timescaledb_information.hypertables h
    cross join lateral hypertable_compression_stats(
      format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) s
    where h.hypertable_schema = current_schema() and s.number_compressed_chunks > 0`;
}
