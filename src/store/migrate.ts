import schema from '../../sql/0001_schema.sql' with { type: 'text' };
import views from '../../sql/0002_views.sql' with { type: 'text' };
import intraday from '../../sql/0003_intraday.sql' with { type: 'text' };
import history from '../../sql/0004_history.sql' with { type: 'text' };
import reconciliation from '../../sql/0005_reconciliation.sql' with { type: 'text' };
import admin from '../../sql/0006_admin.sql' with { type: 'text' };
import editionPlain from '../../sql/edition-plain.sql' with { type: 'text' };
import editionTimescale from '../../sql/edition-timescale.sql' with { type: 'text' };
import editionCommunity from '../../sql/edition-timescale-community.sql' with { type: 'text' };
import { DatabaseError } from '../errors.ts';
import { QUALITY_RULES } from '../model/quality.ts';
import type { AnySql, Edition, Sql, Transaction } from './database.ts';

export interface Migration {
  version: number;
  name: string;
  text: string;
}

/** Every migration, in order. Append only: what has been applied anywhere never changes. */
export const MIGRATIONS: readonly Migration[] = [
  { version: 1, name: '0001_schema.sql', text: schema },
  { version: 2, name: '0002_views.sql', text: views },
  { version: 3, name: '0003_intraday.sql', text: intraday },
  { version: 4, name: '0004_history.sql', text: history },
  { version: 5, name: '0005_reconciliation.sql', text: reconciliation },
  { version: 6, name: '0006_admin.sql', text: admin },
];

const EDITION_FILES: Record<Edition, readonly string[]> = {
  plain: [editionPlain],
  'timescale-apache': [editionTimescale],
  'timescale-community': [editionTimescale, editionCommunity],
};

export interface MigrationReport {
  edition: Edition;
  /** Names of the migrations that this run applied. */
  applied: string[];
  version: number;
}

/**
 * Brings the schema up to this program's version, then the edition's tables; safe to run at the
 * same time from many processes and any number of times. Each migration and its version row are
 * one transaction: a migration that fails leaves nothing.
 * @throws DatabaseError when the schema is newer than this program, or an applied migration is not
 *   the one this program carries.
 */
export async function migrate(
  sql: Sql,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<MigrationReport> {
  const connection = await sql.reserve();
  try {
    await connection`select pg_advisory_lock(hashtext('marketd'), hashtext('migrate'))`;
    try {
      const applied = await applyMigrations(connection, migrations);
      const edition = await applyEdition(connection, applied.length > 0);
      const version = migrations.at(-1)?.version ?? 0;
      return { edition, applied, version };
    } finally {
      await connection`select pg_advisory_unlock(hashtext('marketd'), hashtext('migrate'))`;
    }
  } finally {
    connection.release();
  }
}

async function applyMigrations(
  connection: AnySql,
  migrations: readonly Migration[],
): Promise<string[]> {
  await connection`
    create table if not exists schema_migrations (
      version    integer primary key,
      name       text not null,
      hash       text not null,
      applied_at timestamptz not null default now())`;
  const rows = await connection<{ version: number; name: string; hash: string }[]>`
    select version, name, hash from schema_migrations order by version`;
  checkApplied(rows, migrations);
  const known = new Set(rows.map((row) => row.version));
  const applied: string[] = [];
  for (const migration of migrations) {
    if (known.has(migration.version)) continue;
    await inTransaction(connection, async () => {
      await connection`
        insert into schema_migrations (version, name, hash)
        values (${migration.version}, ${migration.name}, ${hashMigration(migration)})`;
      await connection.unsafe(migration.text);
    });
    applied.push(migration.name);
  }
  return applied;
}

/** sql.begin is not to be had on a reserved connection. */
async function inTransaction(connection: AnySql, body: () => Promise<void>): Promise<void> {
  await connection.unsafe('begin');
  try {
    await body();
    await connection.unsafe('commit');
  } catch (error) {
    await connection.unsafe('rollback');
    throw error;
  }
}

/** The hash under which an applied migration is remembered. */
export function hashMigration(migration: Migration): string {
  return new Bun.CryptoHasher('sha256').update(migration.text).digest('hex').slice(0, 32);
}

function checkApplied(
  rows: { version: number; name: string; hash: string }[],
  migrations: readonly Migration[],
): void {
  const newest = migrations.at(-1)?.version ?? 0;
  for (const row of rows) {
    const migration = migrations.find(({ version }) => version === row.version);
    if (!migration) {
      throw new DatabaseError(
        `the database has schema version ${row.version} (${row.name}), newer than this program's ` +
          `${newest}: run the newer marketd, or restore a backup made before the upgrade`,
      );
    }
    if (hashMigration(migration) !== row.hash) {
      throw new DatabaseError(
        `migration ${row.name} in the database is not the one this program carries: ` +
          'the database was migrated by a different build; use that build, or restore a backup',
      );
    }
  }
}

/** Sets up the edition's tables when there are new ones, or a new edition. */
async function applyEdition(connection: AnySql, isChanged: boolean): Promise<Edition> {
  const edition = await prepareEdition(connection);
  await inTransaction(connection, async () => {
    const [marker] = await connection<{ value: string }[]>`
      select value from settings where name = 'edition'`;
    if (isChanged || marker?.value !== edition) {
      for (const file of EDITION_FILES[edition]) await connection.unsafe(file);
    }
    await upsertRules(connection as Transaction);
  });
  return edition;
}

/** Finds the edition, creating the extension where the server offers it and we may. */
async function prepareEdition(connection: AnySql): Promise<Edition> {
  // The loader's own setting says that it is preloaded; the list of libraries may be read by few.
  const [available] = await connection<{ installed: string | null; preloaded: boolean }[]>`
    select installed_version as installed,
           current_setting('timescaledb.disable_load', true) is not null as preloaded
    from pg_available_extensions where name = 'timescaledb'`;
  if (!available?.preloaded) return 'plain';
  if (available.installed === null) {
    try {
      await connection.unsafe('create extension if not exists timescaledb');
    } catch (error) {
      // A role that may not create extensions still gets a working warehouse.
      if ((error as { code?: string }).code !== '42501') throw error;
      return 'plain';
    }
  }
  return selectEdition(connection);
}

/** The edition of a database, by what is installed in it. */
export async function selectEdition(sql: AnySql): Promise<Edition> {
  const [row] = await sql<{ license: string | null }[]>`
    select current_setting('timescaledb.license', true) as license
    from pg_extension where extname = 'timescaledb'`;
  if (!row) return 'plain';
  return row.license === 'timescale' ? 'timescale-community' : 'timescale-apache';
}

async function upsertRules(tx: Transaction): Promise<void> {
  const rules = QUALITY_RULES;
  await tx`
    insert into quality_rules (bit, name, message, is_failure, deduction)
    select * from unnest(
      ${rules.map((r) => r.bit)}::int[], ${rules.map((r) => r.name)}::text[],
      ${rules.map((r) => r.message)}::text[],
      ${rules.map((r) => String(r.isFailure))}::text[]::bool[],
      ${rules.map((r) => r.deduction)}::float8[])
    on conflict (bit) do update set name = excluded.name, message = excluded.message,
      is_failure = excluded.is_failure, deduction = excluded.deduction
    where (quality_rules.name, quality_rules.message, quality_rules.is_failure,
           quality_rules.deduction)
      is distinct from (excluded.name, excluded.message, excluded.is_failure, excluded.deduction)`;
}

/**
 * Refuses a database that this program cannot serve from.
 * @throws DatabaseError that says what to run.
 */
export async function checkSchema(sql: AnySql): Promise<void> {
  const [found] = await sql<{ exists: boolean }[]>`
    select to_regclass('schema_migrations') is not null as exists`;
  if (!found.exists) throw new DatabaseError('the database is empty: run `marketd migrate` first');
  const rows = await sql<{ version: number; name: string; hash: string }[]>`
    select version, name, hash from schema_migrations order by version`;
  checkApplied(rows, MIGRATIONS);
  const newest = MIGRATIONS.at(-1)?.version ?? 0;
  if ((rows.at(-1)?.version ?? 0) < newest) {
    throw new DatabaseError(
      `the database has schema version ${rows.at(-1)?.version ?? 0} and this program needs ` +
        `${newest}: run \`marketd migrate\``,
    );
  }
}
