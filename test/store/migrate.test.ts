import { afterAll, describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QUALITY_RULES } from '../../src/model/quality.ts';
import { BarReader } from '../../src/query/bars.ts';
import { decodeBars } from '../../src/query/block.ts';
import { makeView } from '../../src/query/view.ts';
import { openPool, type Sql } from '../../src/store/database.ts';
import {
  checkSchema,
  hashMigration,
  MIGRATIONS,
  type Migration,
  migrate,
  selectEdition,
} from '../../src/store/migrate.ts';
import { EDITIONS, emptyDatabase, type TestDatabase } from '../database.ts';
import { calendar, eventfulBars } from '../fixtures/bars.ts';
import {
  addInstrument,
  countBars,
  failureOf,
  ingest,
  selectCounters,
  selectStored,
} from '../fixtures/warehouse.ts';

const SQL_FOLDER = join(import.meta.dir, '..', '..', 'sql');
const NAMES = MIGRATIONS.map(({ name }) => name);
const NEWEST = MIGRATIONS.length;

function nextMigration(text: string, name = 'next'): Migration {
  const version = NEWEST + 1;
  return { version, name: `${String(version).padStart(4, '0')}_${name}.sql`, text };
}

/** A warehouse as the version before findings and revisions of scores left it. */
const VERSION_3 = `
  insert into instruments (is_tracked) values (true);
  insert into symbol_ranges (instrument_id, symbol) values (1, 'OLD');
  insert into bars_1d (instrument_id, session, flags, open, high, low, close, volume, score,
    ts_received, is_final, provider)
  values (1, '2024-01-31', 0, 100, 100, 100, 100, 10, 1, '2024-02-04Z', true, 'vendor'),
         (1, '2024-02-01', 192, 25, 25, 25, 25, 10, 0.7, '2024-02-02Z', true, 'vendor');
  insert into bar_revisions (instrument_id, timeframe, session, ts, flags, open, high, low, close,
    volume, score, is_final, provider, ts_received, ts_replaced)
  values (1, '1d', '2024-01-31', null, 0, 98, 98, 98, 98, 10, 1, false, 'vendor', '2024-02-01Z',
          '2024-02-02Z'),
         (1, '1d', '2024-01-31', null, 0, 99, 99, 99, 99, 10, 1, false, 'vendor', '2024-02-02Z',
          '2024-02-04Z'),
         (1, '1m', '2024-01-31', '2024-01-31T15:00Z', 0, 99, 99, 99, 99, 10, 1, false, 'vendor',
          '2024-02-01Z', '2024-02-02Z');
  insert into bars_1m (instrument_id, ts, session, part, flags, open, high, low, close, volume,
    score, ts_received, is_final, provider)
  values (1, '2024-01-31T15:00Z', '2024-01-31', 1, 2048, 99, 99, 99, 99, 10, 0.9, '2024-02-02Z',
          true, 'vendor');
  insert into instrument_status (instrument_id, timeframe, records, providers)
  values (1, '1d', 2, '{vendor}'), (1, '1m', 1, '{vendor}');
  insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
    split_from, split_to, ts_received)
  values (1, 'split', '2024-02-01', 'vendor', 'a', 1, 2, '2024-02-01Z');
  insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
    provider, asked_at)
  values (1, 'splits', '2024-01-31', '2024-02-02', 'complete', true, 'vendor', '2024-02-01Z')`;

/** Everything that a migration could have touched, down to the versions of rows. */
const schemaState = (sql: Sql) =>
  sql`
  select (select json_agg(c order by oid) from (
            select oid, relname, relkind, relfilenode, relnatts from pg_class
            where relnamespace = 'public'::regnamespace) c) as relations,
         (select json_agg(p order by oid) from (
            select oid, proname, xmin::text from pg_proc
            where pronamespace = 'public'::regnamespace) p) as functions,
         (select json_agg(v order by oid) from (
            select oid, xmin::text, ev_class from pg_rewrite) v) as views,
         (select json_agg(m order by version) from (
            select ctid::text, xmin::text, * from schema_migrations) m) as migrations,
         (select json_agg(s order by name) from (
            select ctid::text, xmin::text, * from settings) s) as settings,
         (select json_agg(r order by bit) from (
            select ctid::text, xmin::text, * from quality_rules) r) as rules`.values();

const isTable = async (sql: Sql, name: string) => {
  const [row] = await sql`select to_regclass(${name}) is not null as found`;
  return row.found as boolean;
};

const appliedNames = async (sql: Sql) =>
  (await sql`select name from schema_migrations order by version`).map(({ name }) => name);

test('every file of the folder is carried, with its text', () => {
  const files = readdirSync(SQL_FOLDER).filter((name) => /^\d/.test(name));
  expect(NAMES).toEqual(files.sort());
  for (const { name, text } of MIGRATIONS) {
    expect(text).toBe(readFileSync(join(SQL_FOLDER, name), 'utf8'));
  }
});

test('versions count from one and are those of the file names', () => {
  expect(MIGRATIONS.map(({ version }) => version)).toEqual(MIGRATIONS.map((_, i) => i + 1));
  expect(NAMES.map((name) => Number.parseInt(name, 10))).toEqual(MIGRATIONS.map((_, i) => i + 1));
});

test('a migration is remembered by a hash of its text alone', () => {
  const one = nextMigration('select 1');
  expect(hashMigration(one)).toMatch(/^[0-9a-f]{32}$/);
  expect(hashMigration({ ...one, name: 'other', version: 9 })).toBe(hashMigration(one));
  expect(hashMigration({ ...one, text: 'select 2' })).not.toBe(hashMigration(one));
});

for (const edition of EDITIONS) {
  describe(`migrate (${edition})`, () => {
    const databases: TestDatabase[] = [];
    afterAll(async () => {
      await Promise.all(databases.map((database) => database.drop()));
    });
    const makeEmpty = async () => {
      const database = await emptyDatabase(edition);
      databases.push(database);
      return database;
    };
    const makeMigrated = async () => {
      const { sql } = await makeEmpty();
      await migrate(sql);
      return sql;
    };

    test('sets up an empty database and says what it did', async () => {
      const { sql } = await makeEmpty();
      expect(await failureOf(checkSchema(sql))).toBe(
        'the database is empty: run `marketd migrate` first',
      );
      expect(await migrate(sql)).toEqual({ edition, applied: NAMES, version: NEWEST });
      expect(await checkSchema(sql)).toBeUndefined();
      expect(await appliedNames(sql)).toEqual(NAMES);
      const [marker] = await sql`select value from settings where name = 'edition'`;
      expect(marker.value).toBe(edition);
      expect(await selectEdition(sql)).toBe(edition);
    });

    test('changes nothing the second time', async () => {
      const sql = await makeMigrated();
      const before = await schemaState(sql);
      expect(await migrate(sql)).toEqual({ edition, applied: [], version: NEWEST });
      expect(await schemaState(sql)).toEqual(before);
    });

    test('takes along what version 3 holds, and counts what it could not', async () => {
      const { sql } = await makeEmpty();
      await migrate(sql, MIGRATIONS.slice(0, 3));
      await sql.unsafe(VERSION_3);
      await migrate(sql);
      const symbol = { instrumentId: 1, symbol: 'OLD', name: null, listedOn: null, middle: null };
      const closes = async (knownAt: string) => {
        const view = makeView(calendar, Date.parse('2024-03-04T00:00:00Z'), 0, {
          adjustment: 'split',
          knownAtMs: Date.parse(knownAt),
        });
        const block = await new BarReader(sql, calendar, 0).block(symbol, view);
        const { bars } = decodeBars(block, [...block.session.keys()]);
        return [...bars.close];
      };
      expect(await closes('2024-02-03T00:00:00Z')).toEqual([49.5, 25]);
      expect(await closes('2024-02-04T00:00:00Z')).toEqual([50, 25]);
      const status = await sql`
        select timeframe, revisions, last_revision_at from instrument_status
        order by timeframe collate "C"`;
      expect([...status]).toEqual([
        { timeframe: '1d', revisions: 2, last_revision_at: new Date('2024-02-04T00:00:00Z') },
        { timeframe: '1m', revisions: 1, last_revision_at: new Date('2024-02-02T00:00:00Z') },
      ]);
      const findings = await sql`
        select timeframe, session, kind, state from findings order by timeframe collate "C"`;
      expect([...findings]).toEqual([
        { timeframe: '1d', session: '2024-02-01', kind: 'gap_unexplained', state: 'open' },
        { timeframe: '1m', session: '2024-01-31', kind: 'volume_spike', state: 'open' },
      ]);
      const [counted] = await sql`select sum(count)::int as count from finding_counts`;
      expect(counted.count).toBe(2);
    });

    test('can be started twenty times at once', async () => {
      const { url, sql } = await makeEmpty();
      const pools = Array.from({ length: 20 }, () => openPool(url, { connections: 1 }));
      try {
        const reports = await Promise.all(pools.map((pool) => migrate(pool)));
        expect(reports.flatMap(({ applied }) => applied)).toEqual(NAMES);
        expect(reports.every((report) => report.edition === edition)).toBe(true);
      } finally {
        await Promise.all(pools.map((pool) => pool.end()));
      }
      expect(await appliedNames(sql)).toEqual(NAMES);
      const [locks] = await sql`
        select count(*)::int as held from pg_locks
        where locktype = 'advisory' and database = (
          select oid from pg_database where datname = current_database())`;
      expect(locks.held).toBe(0);
    });

    test('stores the rules of quality, and corrects them', async () => {
      const sql = await makeMigrated();
      const rules = async () => [
        ...(await sql`
          select bit, name, message, is_failure as "isFailure", deduction
          from quality_rules order by bit`),
      ];
      expect(await rules()).toEqual([...QUALITY_RULES]);
      await sql`update quality_rules set message = 'old words', deduction = 0.9 where bit = 64`;
      await migrate(sql);
      expect(await rules()).toEqual([...QUALITY_RULES]);
    });

    test('refuses a schema that is newer than the program, and changes nothing', async () => {
      const sql = await makeMigrated();
      const future = nextMigration('create table tomorrow ()', 'tomorrow');
      await migrate(sql, [...MIGRATIONS, future]);
      await sql`update quality_rules set message = 'words of tomorrow' where bit = 64`;
      const before = await schemaState(sql);
      const words =
        `the database has schema version ${NEWEST + 1} (${future.name}), newer than this ` +
        `program's ${NEWEST}: run the newer marketd, or restore a backup made before the upgrade`;
      expect(await failureOf(migrate(sql))).toBe(words);
      expect(await failureOf(checkSchema(sql))).toBe(words);
      expect(await schemaState(sql)).toEqual(before);
    });

    test('refuses a migration that is not the one that was applied', async () => {
      const sql = await makeMigrated();
      await sql`update schema_migrations set hash = 'another' where version = 1`;
      const before = await schemaState(sql);
      const words = `migration ${NAMES[0]} in the database is not the one this program carries`;
      expect(await failureOf(migrate(sql))).toContain(words);
      expect(await failureOf(checkSchema(sql))).toContain(words);
      expect(await schemaState(sql)).toEqual(before);
    });

    test('leaves nothing of a migration that fails, and can go on after it', async () => {
      const sql = await makeMigrated();
      const before = await schemaState(sql);
      const bad = nextMigration('create table half (x int); select 1 / 0; create table whole ()');
      expect(await failureOf(migrate(sql, [...MIGRATIONS, bad]))).toContain('division by zero');
      expect(await schemaState(sql)).toEqual(before);
      expect(await isTable(sql, 'half')).toBe(false);
      const good = { ...bad, text: 'create table half (x int)' };
      expect((await migrate(sql, [...MIGRATIONS, good])).applied).toEqual([good.name]);
      expect(await isTable(sql, 'half')).toBe(true);
    });

    test('keeps what came before a migration that fails', async () => {
      const { sql } = await makeEmpty();
      const bad = nextMigration('this is no SQL');
      expect(await failureOf(migrate(sql, [...MIGRATIONS, bad]))).toContain('syntax error');
      expect(await appliedNames(sql)).toEqual(NAMES);
      expect((await migrate(sql)).applied).toEqual([]);
    });

    test('goes on where an older program stopped', async () => {
      const { sql } = await makeEmpty();
      const older = MIGRATIONS.slice(0, 1);
      expect((await migrate(sql, older)).version).toBe(1);
      expect(await failureOf(checkSchema(sql))).toBe(
        `the database has schema version 1 and this program needs ${NEWEST}: ` +
          'run `marketd migrate`',
      );
      expect((await migrate(sql)).applied).toEqual(NAMES.slice(1));
      expect(await checkSchema(sql)).toBeUndefined();
    });

    test('keeps splits and dividends of an older schema, and asks for them again', async () => {
      const { sql } = await makeEmpty();
      await migrate(sql, MIGRATIONS.slice(0, 3));
      const [{ id }] = await sql`
        insert into instruments (is_tracked) values (true) returning instrument_id as id`;
      await sql`
        insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
          split_from, split_to)
        values (${id}, 'split', '2020-08-31', 'polygon', 'E1', 1, 4)`;
      for (const dataset of ['1d', 'splits', 'dividends']) {
        await sql`
          insert into coverage (instrument_id, dataset, start_session, end_session, state,
            is_settled, provider, asked_at)
          values (${id}, ${dataset}, '2020-01-02', '2024-01-02', 'complete', true, 'polygon',
            '2024-03-01T02:00:00Z')`;
      }
      await migrate(sql);
      const actions = await sql`
        select split_to, ts_withdrawn, ts_missing, subtype from corporate_actions`;
      expect([...actions]).toEqual([
        { split_to: 4, ts_withdrawn: null, ts_missing: null, subtype: null },
      ]);
      const coverage = await sql`select dataset, retry_at from coverage order by dataset`;
      const again = new Date('2024-03-08T02:00:00Z');
      expect([...coverage]).toEqual([
        { dataset: '1d', retry_at: null },
        { dataset: 'dividends', retry_at: again },
        { dataset: 'splits', retry_at: again },
      ]);
    });

    test('sets up new tables as the edition has them', async () => {
      const { sql } = await makeEmpty();
      await migrate(sql, MIGRATIONS.slice(0, 2));
      const [marker] = await sql`select value from settings where name = 'edition'`;
      expect(marker.value).toBe(edition);
      await migrate(sql);
      const grown = edition === 'plain' ? [] : HYPERTABLES;
      const found = edition === 'plain' ? [] : await hypertables(sql);
      expect(found.map(({ name }) => name)).toEqual(grown);
    });
  });
}

const hypertables = (sql: Sql) => sql<{ name: string; chunks: number }[]>`
  select hypertable_name as name, num_chunks as chunks from timescaledb_information.hypertables
  order by hypertable_name collate "C"`;
const HYPERTABLES = ['bars_1d', 'bars_1h', 'bars_1m', 'snapshots', 'trades'];
const EMPTY = HYPERTABLES.map((name) => ({ name, chunks: 0 }));

describe('editions', () => {
  const databases: TestDatabase[] = [];
  afterAll(async () => {
    await Promise.all(databases.map((database) => database.drop()));
  });
  const makeEmpty = async (edition: (typeof EDITIONS)[number]) => {
    const database = await emptyDatabase(edition);
    databases.push(database);
    return database;
  };

  /** Migrates as a role that may use the schema and nothing else; the editions that it finds. */
  async function migrateWithoutRights({ url, sql }: TestDatabase): Promise<string[]> {
    const role = `ordinary_${new URL(url).pathname.slice(1)}`;
    await sql.unsafe(`create role ${role}; grant create, usage on schema public to ${role}`);
    const limited = new URL(url);
    limited.searchParams.set('role', role);
    const pool = openPool(limited.toString());
    try {
      const { edition } = await migrate(pool);
      return [edition, await selectEdition(pool)];
    } finally {
      await pool.end();
      await sql.unsafe(`reassign owned by ${role} to current_user; drop owned by ${role};
        drop role ${role}`);
    }
  }

  test('plain keeps bars in a plain table', async () => {
    const { sql } = await makeEmpty('plain');
    await migrate(sql);
    const [row] = await sql`select relkind from pg_class where oid = 'bars_1d'::regclass`;
    expect(row.relkind).toBe('r');
    const extensions = await sql`select from pg_extension where extname = 'timescaledb'`;
    expect(extensions.length).toBe(0);
  });

  test('timescale keeps bars in five-year chunks, with the key and checks of plain', async () => {
    const [plain, timescale] = [await makeEmpty('plain'), await makeEmpty('timescale-apache')];
    for (const { sql } of [plain, timescale]) await migrate(sql);
    const { sql } = timescale;
    expect([...(await hypertables(sql))]).toEqual(EMPTY);
    const [dimension] = await sql`
      select column_name, time_interval = interval '5 years' as is_agreed
      from timescaledb_information.dimensions where hypertable_name = 'bars_1d'`;
    expect({ ...dimension }).toEqual({ column_name: 'session', is_agreed: true });
    const constraints = async ({ sql }: TestDatabase) => [
      ...(await sql`
        select conname, contype, pg_get_constraintdef(oid) as definition from pg_constraint
        where conrelid = 'bars_1d'::regclass and contype in ('p', 'c') order by conname`),
    ];
    expect(await constraints(timescale)).toEqual(await constraints(plain));
    const indexes = async ({ sql }: TestDatabase) => [
      ...(await sql`select indexdef from pg_indexes where tablename = 'bars_1d' order by indexdef`),
    ];
    expect(await indexes(timescale)).toEqual(await indexes(plain));
  });

  test('moving up to timescale takes the bars along', async () => {
    const database = await makeEmpty('timescale-apache');
    const { sql } = database;
    expect(await migrateWithoutRights(database)).toEqual(['plain', 'plain']);
    const id = await addInstrument(sql, 'OLD');
    const bars = [...eventfulBars('1998-01-02', 40, 1), ...eventfulBars('2023-01-03', 200, 2)];
    await ingest(sql, id, bars);
    const [before, counters] = [await selectStored(sql, id), await selectCounters(sql, id)];
    expect((await migrate(sql)).edition).toBe('timescale-apache');
    expect(await selectStored(sql, id)).toEqual(before);
    expect([...(await hypertables(sql))]).toEqual([
      { name: 'bars_1d', chunks: 2 },
      ...EMPTY.slice(1),
    ]);
    const [left] = await sql`select count(*)::int as rows from only bars_1d`;
    expect(left.rows).toBe(0);
    const [marker] = await sql`select value from settings where name = 'edition'`;
    expect(marker.value).toBe('timescale-apache');
    expect((await ingest(sql, id, bars)).unchanged).toBe(before.length);
    expect(await selectCounters(sql, id)).toEqual(counters);
    expect(await countBars(sql, id)).toMatchObject({ records: bars.length });
  });

  test('an ordinary role uses the extension that an administrator has created', async () => {
    const database = await makeEmpty('timescale-apache');
    await database.sql.unsafe('create extension timescaledb');
    expect(await migrateWithoutRights(database)).toEqual(['timescale-apache', 'timescale-apache']);
    expect((await hypertables(database.sql)).map(({ name }) => name)).toEqual(HYPERTABLES);
  });

  test('an ordinary role can migrate a server without the extension', async () => {
    expect(await migrateWithoutRights(await makeEmpty('plain'))).toEqual(['plain', 'plain']);
  });
});
