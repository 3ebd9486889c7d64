import type { AnySql } from '../store/database.ts';

/** The database's server, and which process leads. */
export interface ServerState {
  /** '18.4' */
  postgres: string;
  /** Version of the extension in this database; null when it has none. */
  timescale: string | null;
  /** Version of the schema, and when it was last changed. */
  schema: number;
  migratedAt: Date;
  startedAt: Date;
  /** Of all databases and programs on the server. */
  connections: number;
  connectionsMax: number;
  /** Who holds the lock of the process that runs the jobs; null while nobody does. */
  leader: { since: Date | null; address: string | null } | null;
}

interface StateRow {
  postgres: string;
  timescale: string | null;
  schema: number;
  migrated_at: Date;
  started_at: Date;
  connections: number;
  connections_max: number;
  leads: boolean;
  since: Date | null;
  address: string | null;
}

/** What the database's server says of itself; a few catalog rows. */
export async function selectServerState(sql: AnySql): Promise<ServerState> {
  const [row] = await sql<StateRow[]>`
    select current_setting('server_version') as postgres,
           (select extversion from pg_extension where extname = 'timescaledb') as timescale,
           m.version as schema, m.applied_at as migrated_at,
           pg_postmaster_start_time() as started_at,
           (select count(*)::int from pg_stat_activity where backend_type = 'client backend')
             as connections,
           current_setting('max_connections')::int as connections_max,
           l.pid is not null as leads, l.since, l.address
    from (select version, applied_at from schema_migrations order by version desc limit 1) m
    left join lateral (
      select k.pid, a.backend_start as since, host(a.client_addr) as address
      from pg_locks k left join pg_stat_activity a on a.pid = k.pid
      where k.locktype = 'advisory' and k.granted and k.objsubid = 2
        and k.database = (select oid from pg_database where datname = current_database())
        and k.classid::bigint = hashtext('marketd')::bigint & 4294967295
        and k.objid::bigint = hashtext('scheduler')::bigint & 4294967295
      limit 1) l on true`;
  return {
    // '17.11 (Debian 17.11-0+deb13u1)' -> '17.11'
    postgres: row.postgres.split(' ')[0],
    timescale: row.timescale,
    schema: row.schema,
    migratedAt: row.migrated_at,
    startedAt: row.started_at,
    connections: row.connections,
    connectionsMax: row.connections_max,
    leader: row.leads ? { since: row.since, address: row.address } : null,
  };
}
