import { afterAll, beforeAll, describe, setDefaultTimeout } from 'bun:test';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import postgres from 'postgres';
import {
  findTimescale,
  startTimescale,
  stopTimescale,
  testCacheDir,
} from '../scripts/timescale.ts';
import { openPool, type Sql } from '../src/store/database.ts';
import { startEmbedded } from '../src/store/embedded.ts';
import { migrate } from '../src/store/migrate.ts';

/**
 * Real databases for tests. A test file gets its own, a copy of a migrated template (about 60 ms),
 * on each kind of server we support. `npm test` starts the servers; when a
 * file is run by hand the first one starts them and they stay for the next
 * (`bun scripts/test.ts --stop` ends them).
 */
export type Edition = 'plain' | 'timescale-apache';

export const EDITIONS: Edition[] = ['plain', 'timescale-apache'];

export interface TestDatabase {
  edition: Edition;
  url: string;
  /** A pool with the value types of the product. Ended by drop(). */
  sql: Sql;
  drop(): Promise<void>;
}

/** What tests need of a server: speed, not durability, and room for many pools. */
export const TEST_SETTINGS = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '300',
  wal_compression: 'off', // copying a template is logged: 65 ms instead of 200 ms
};

setDefaultTimeout(60_000); // of each file that imports this; [test] in bunfig.toml knows no timeout

const ROOT = resolve(import.meta.dir, '..');
const HOOK_TIMEOUT_MS = 600_000; // the first run of all may have to make a Debian root
const VARIABLES: Record<Edition, string> = {
  plain: 'MARKETD_TEST_PLAIN_URL',
  'timescale-apache': 'MARKETD_TEST_TIMESCALE_URL',
};

/** describe() once per edition; the database is cloned before all tests of the block. */
export function describeEditions(name: string, body: (database: () => TestDatabase) => void): void {
  for (const edition of EDITIONS) {
    describe(`${name} (${edition})`, () => {
      let database: TestDatabase | undefined;
      beforeAll(async () => {
        database = await cloneDatabase(edition);
      }, HOOK_TIMEOUT_MS);
      afterAll(async () => {
        await database?.drop();
      });
      body(() => {
        if (!database) throw new Error('the database exists only inside tests and hooks');
        return database;
      });
    });
  }
}

/** A new database with the schema of this checkout. */
export async function cloneDatabase(edition: Edition): Promise<TestDatabase> {
  const url = await serverUrl(edition);
  templates[edition] ??= prepareTemplate(url);
  return createDatabase(edition, url, await templates[edition]);
}

/** A new database with nothing in it. */
export async function emptyDatabase(edition: Edition): Promise<TestDatabase> {
  return createDatabase(edition, await serverUrl(edition), 'template1');
}

const templates: Partial<Record<Edition, Promise<string>>> = {};
const urls: Partial<Record<Edition, Promise<string>>> = {};

async function createDatabase(
  edition: Edition,
  serverUrl: string,
  template: string,
): Promise<TestDatabase> {
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`;
  await asAdmin(serverUrl, async (admin) => {
    await admin`create database ${admin(name)} template ${admin(template)}`;
  });
  const url = withDatabase(serverUrl, name);
  const sql = openPool(url, { applicationName: 'marketd test' });
  const drop = async () => {
    await sql.end({ timeout: 1 });
    await asAdmin(serverUrl, async (admin) => {
      await admin`drop database if exists ${admin(name)} with (force)`;
    });
  };
  return { edition, url, sql, drop };
}

/** The migrated database that others are copied from, made once per server and schema. */
async function prepareTemplate(serverUrl: string): Promise<string> {
  const name = `template_${schemaHash()}`;
  const draft = `${name}_draft`;
  await asAdmin(serverUrl, async (admin) => {
    // Held until the connection ends.
    await admin`select pg_advisory_lock(hashtext('marketd test template'))`;
    const [found] = await admin`select from pg_database where datname = ${name}`;
    await dropAbandoned(admin);
    if (found) return;
    await admin`drop database if exists ${admin(draft)} with (force)`;
    await admin`create database ${admin(draft)}`;
    const sql = openPool(withDatabase(serverUrl, draft));
    try {
      await migrate(sql);
    } finally {
      await sql.end({ timeout: 5 });
    }
    // Nobody may connect: a database in use cannot be copied.
    await admin`alter database ${admin(draft)} with allow_connections false`;
    await admin`
      select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = ${draft}`;
    await admin`alter database ${admin(draft)} rename to ${admin(name)}`;
  });
  return name;
}

/** Databases of test processes that were killed before they could drop them. */
async function dropAbandoned(admin: postgres.Sql): Promise<void> {
  const rows = await admin<{ datname: string }[]>`
    select datname from pg_database where datname ~ '^test_[0-9]+_'`;
  for (const { datname } of rows) {
    if (existsSync(`/proc/${datname.split('_')[1]}`)) continue;
    await admin`drop database if exists ${admin(datname)} with (force)`;
  }
}

/** Changes when anything changes that a fresh schema is made from. */
function schemaHash(): string {
  const files = readdirSync(join(ROOT, 'sql')).filter((name) => name.endsWith('.sql'));
  const paths = files.sort().map((name) => `sql/${name}`);
  const hash = new Bun.CryptoHasher('sha256');
  for (const path of [...paths, 'src/store/migrate.ts', 'src/model/quality.ts']) {
    hash.update(`${path}\n`);
    hash.update(readFileSync(join(ROOT, path)));
  }
  return hash.digest('hex').slice(0, 16);
}

async function asAdmin(url: string, work: (admin: postgres.Sql) => Promise<void>): Promise<void> {
  const admin = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  try {
    await work(admin);
  } finally {
    await admin.end({ timeout: 1 });
  }
}

function withDatabase(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.toString();
}

/** The server that `npm test` has started for us, or the shared one of this checkout. */
function serverUrl(edition: Edition): Promise<string> {
  const given = process.env[VARIABLES[edition]];
  urls[edition] ??= given ? Promise.resolve(given) : askHelper(edition);
  return urls[edition];
}

/** Has another process start the server: Bun kills a test's own children when it times out. */
async function askHelper(edition: Edition): Promise<string> {
  const command = [process.execPath, import.meta.path, edition];
  const helper = Bun.spawn(command, { stdout: 'pipe', stderr: 'inherit', cwd: ROOT });
  const url = (await new Response(helper.stdout).text()).trim();
  if ((await helper.exited) !== 0) throw new Error(`the ${edition} test server did not start`);
  return url;
}

function sharedFolder(): string {
  return join(testCacheDir(), `shared-${Bun.hash(ROOT).toString(36)}`);
}

/** Starts, or finds, the server that all test processes of this checkout share. */
async function startShared(edition: Edition): Promise<string> {
  const folder = sharedFolder();
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const dataDir = join(folder, 'plain');
  const settings = TEST_SETTINGS;
  const plain = await startEmbedded({ dataDir, database: 'postgres', settings });
  if (edition === 'plain') return plain.url;
  let url = '';
  await asAdmin(plain.url, async (admin) => {
    // Of several processes one starts it; the lock ends with the connection, however we end.
    await admin`select pg_advisory_lock(hashtext('marketd test timescale'))`;
    const data = join(folder, 'timescale');
    const running = findTimescale(data);
    if (!running) rmSync(data, { recursive: true, force: true });
    url = (running ?? (await startTimescale(data, console.error))).url;
  });
  return url;
}

/** Ends the shared servers of this checkout and removes their data. */
export function stopShared(): Promise<void> {
  return stopServers(sharedFolder());
}

/** Ends what runs in a folder of test servers and removes it. */
export async function stopServers(folder: string): Promise<void> {
  await stopTimescale(join(folder, 'timescale'));
  const cluster = join(folder, 'plain/cluster');
  const file = join(cluster, 'postmaster.pid');
  if (existsSync(file)) {
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
    const isRunning = () => workingFolder(pid) === cluster;
    if (isRunning()) process.kill(pid, 'SIGINT');
    while (isRunning()) await Bun.sleep(20);
  }
  rmSync(folder, { recursive: true, force: true });
}

function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined; // no such process
  }
}

if (import.meta.main) {
  console.log(await startShared(process.argv[2] as Edition));
  process.exit(0);
}
