import { execFileSync, spawn } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, processIdentity } from '../src/store/embedded.ts';

// chroot and unshare are in a folder that a shell of root which was not logged in may lack.
process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/**
 * A PostgreSQL 17 with Debian 13's TimescaleDB for tests, on any Debian with root: it runs in a
 * Debian 13 root that mmdebstrap makes once (30 s, 530 MB), in mounts of its own, so that nothing
 * is left mounted however it ends.
 *
 *   bun scripts/timescale.ts           start a fresh server, print its URL, stop it on Ctrl-C
 *   bun scripts/timescale.ts --build   only make the root
 */
export interface TimescaleServer {
  url: string;
  pid: number;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
}

type Log = (line: string) => void;

const RECIPE = {
  suite: 'trixie',
  packages: 'postgresql-17-timescaledb,ca-certificates',
  // Sorts as a desk dictionary does, as a server installed with LANG=en_US.UTF-8 would. The
  // embedded PostgreSQL sorts by code point, so a query that depends on either fails in a test.
  initdb: '-U postgres -A trust -E UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US',
};
const BIN = '/usr/lib/postgresql/17/bin';
const DATA = '/var/lib/postgresql/data'; // in the root: where a run's data is mounted
const PRISTINE = 'var/lib/postgresql/pristine';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const START_TIMEOUT_MS = 60_000;
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  shared_preload_libraries: 'timescaledb',
  max_connections: '300',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  timezone: 'UTC',
  'timescaledb.telemetry_level': 'off',
  // The Apache edition has no policies to run. Without this each database has a scheduler process,
  // and a template database could not be copied because its own is connected to it.
  'timescaledb.max_background_workers': '0',
};

/** Where test servers live: outside the checkout if that can be, so that clones share the root. */
export function testCacheDir(): string {
  for (const folder of ['/var/cache/marketd-test', resolve(import.meta.dir, '../.cache/test')]) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o755 });
      accessSync(folder, constants.W_OK);
      return folder;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
    }
  }
  throw new Error('no folder for test servers can be written');
}

/** A new folder for the servers of one run, marked with who has to end them. */
export function makeRunFolder(): string {
  const folder = mkdtempSync(join(testCacheDir(), 'run-'));
  chmodSync(folder, 0o755); // the servers' users have to pass through it
  writeFileSync(join(folder, 'owner'), `${processIdentity('self')}`);
  return folder;
}

/** Folders of runs that were killed and so could not clean up. */
export function findDeadRuns(): string[] {
  const isDead = (folder: string) => {
    const path = join(folder, 'owner');
    if (!existsSync(path)) return false; // being made at this moment
    const owner = readFileSync(path, 'utf8');
    return processIdentity(Number.parseInt(owner, 10)) !== owner;
  };
  const base = testCacheDir();
  const runs = readdirSync(base).filter((name) => name.startsWith('run-'));
  return runs.map((name) => join(base, name)).filter(isDead);
}

/** Starts a server on new data in `folder`, which must not exist. It outlives this process. */
export async function startTimescale(folder: string, log: Log): Promise<TimescaleServer> {
  const root = await buildRoot(log);
  const logFile = `${folder}.log`;
  for (let attempt = 1; ; attempt++) {
    execFileSync('cp', ['-a', '--reflink=auto', join(root, PRISTINE), folder]);
    const port = await freePort();
    const pid = spawnServer(root, folder, port, logFile);
    const isReady = await waitReady(folder, pid);
    if (isReady) {
      return { url: serverUrl(port), pid, stop: () => stopTimescale(folder) };
    }
    const said = readFileSync(logFile, 'utf8');
    rmSync(folder, { recursive: true, force: true });
    const isPortTaken = said.includes('could not bind');
    if (!isPortTaken || attempt === 5) throw new Error(`TimescaleDB did not start:\n${said}`);
  }
}

/** Ends the server on a folder, when there is one, and removes the folder. */
export async function stopTimescale(folder: string): Promise<void> {
  const server = findTimescale(folder);
  if (server) {
    process.kill(server.pid, 'SIGINT');
    while (isServer(server.pid, folder)) await sleep(20);
  }
  rmSync(folder, { recursive: true, force: true });
  rmSync(`${folder}.log`, { force: true });
}

/** The server that runs on a folder; undefined when there is none. */
export function findTimescale(folder: string): { pid: number; url: string } | undefined {
  const file = join(folder, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const [pid, , , port] = readFileSync(file, 'utf8').split('\n').map(Number);
  return isServer(pid, folder) ? { pid, url: serverUrl(port) } : undefined;
}

const serverUrl = (port: number) => `postgresql://postgres@127.0.0.1:${port}/postgres`;

/** A process number alone may be somebody else by now: our servers carry their folder's name. */
function isServer(pid: number, folder: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`cluster_name=${mark(folder)}`);
  } catch {
    return false; // no such process
  }
}

const mark = (folder: string) => Bun.hash(folder).toString(36);

function spawnServer(root: string, folder: string, port: number, logFile: string): number {
  const settings = { ...SETTINGS, port: String(port), cluster_name: mark(folder) };
  const flags = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const output = openSync(logFile, 'w');
  const [command, ...rest] = inRoot(root, folder, [`${BIN}/postgres`, '-D', DATA, ...flags]);
  const child = spawn(command, rest, { stdio: ['ignore', output, output], detached: true });
  closeSync(output);
  child.unref();
  if (!child.pid) throw new Error(`cannot run ${command}`);
  return child.pid; // each program in `inRoot` becomes the next one: this is PostgreSQL itself
}

/** A command as the root's user postgres, with `folder` at DATA, in mounts that end with it. */
function inRoot(root: string, folder: string, command: string[]): string[] {
  const script = `
    set -e
    root=$1 folder=$2
    shift 2
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount --bind "$folder" "$root${DATA}"
    exec chroot --userspec=postgres:postgres "$root" "$@"`;
  const shell = ['sh', '-c', script, 'sh', root, folder, ...command];
  return ['unshare', '--mount', '--propagation', 'private', ...shell];
}

async function waitReady(folder: string, pid: number): Promise<boolean> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  const file = join(folder, 'postmaster.pid');
  while (Date.now() < deadline) {
    await sleep(20);
    const [server, , , , , , , status] = existsSync(file)
      ? readFileSync(file, 'utf8').split('\n')
      : [];
    if (Number(server) === pid && status?.trim() === 'ready') return true;
    if (!existsSync(`/proc/${pid}/exe`)) return false; // ended: at most a zombie
  }
  process.kill(pid, 'SIGQUIT');
  return false;
}

/** The Debian 13 root, made when it is missing or of an older recipe. */
export async function buildRoot(log: Log): Promise<string> {
  const base = testCacheDir();
  const root = join(base, RECIPE.suite);
  const recipe = JSON.stringify(RECIPE);
  const stamp = 'marketd-recipe.json';
  const isCurrent = () =>
    existsSync(join(root, stamp)) && readFileSync(join(root, stamp), 'utf8') === recipe;
  if (isCurrent()) return root;
  if (process.getuid?.() !== 0) throw new Error('the TimescaleDB test server needs root (chroot)');
  removeLeftovers(base);
  log('making a Debian 13 root with TimescaleDB (once, about 30 s)');
  const temporary = `${root}.new-${process.pid}`;
  try {
    installPackage('mmdebstrap', 'mmdebstrap');
    await bootstrap(temporary);
    writeFileSync(join(temporary, stamp), recipe);
    if (!isCurrent()) {
      // A server may still run on an older one: moved now, removed by the next build.
      if (existsSync(root)) renameSync(root, `${root}.old-${process.pid}`);
      renameSync(temporary, root);
    }
  } finally {
    removeTree(temporary);
  }
  return root;
}

async function bootstrap(root: string): Promise<void> {
  const source = `deb [signed-by=${KEYRING}] ${debianMirror()} ${RECIPE.suite} main`;
  const flags = ['--variant=minbase', `--include=${RECIPE.packages}`, RECIPE.suite, root, source];
  await run(['unshare', '--mount', '--propagation', 'private', 'mmdebstrap', ...flags]);
  rmSync(join(root, 'var/lib/postgresql/17'), { recursive: true, force: true });
  await run(['chroot', root, 'install', '-d', '-o', 'postgres', '-m', '700', DATA, `/${PRISTINE}`]);
  const initdb = [`${BIN}/initdb`, '-D', DATA, '--no-sync', '--no-instructions'];
  await run(inRoot(root, join(root, PRISTINE), [...initdb, ...RECIPE.initdb.split(' ')]));
}

/** Debian's own archive as this machine's apt is set up to reach it. */
function debianMirror(): string {
  const format = '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)';
  const find = () => {
    const rows = execFileSync('apt-get', ['indextargets', '--format', format], {
      encoding: 'utf8',
    }).split('\n');
    return rows.find((row) => row.startsWith('Debian Debian main '))?.split(' ')[3];
  };
  let mirror = find();
  if (!mirror) {
    execFileSync('apt-get', ['update'], { stdio: 'pipe' });
    mirror = find();
  }
  if (!mirror) throw new Error('apt is not set up with a Debian archive (apt-get indextargets)');
  return mirror;
}

/** Makes a program available, from Debian when it is missing and we may install. */
export function installPackage(program: string, packageName: string): void {
  if (Bun.which(program)) return;
  if (process.getuid?.() !== 0) throw new Error(`${program} is missing: install ${packageName}`);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const wait = ['-o', 'DPkg::Lock::Timeout=120'];
  const install = [...wait, 'install', '-y', '-q', '--no-install-recommends', packageName];
  try {
    execFileSync('apt-get', install, { stdio: 'pipe', env: environment });
  } catch {
    // The list of packages is missing or names versions that are gone: get it and try once more.
    execFileSync('apt-get', ['update', '-q'], { stdio: 'pipe', env: environment });
    execFileSync('apt-get', install, { stdio: 'pipe', env: environment });
  }
}

async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdout: 'pipe', stderr: 'pipe', stdin: 'ignore' });
  const [output, problems] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) === 0) return;
  throw new Error(`${command.join(' ')} failed:\n${(output + problems).slice(-3000)}`);
}

/** What a killed build left. */
function removeLeftovers(base: string): void {
  for (const name of readdirSync(base)) {
    const maker = /\.(?:new|old)-(\d+)$/.exec(name)?.[1];
    if (maker && !existsSync(`/proc/${maker}`)) removeTree(join(base, name));
  }
}

function removeTree(folder: string): void {
  execFileSync('rm', ['-rf', '--one-file-system', folder]); // never into a mount
}

if (import.meta.main) {
  if (process.argv.includes('--build')) {
    console.log(await buildRoot(console.error));
  } else {
    const run = makeRunFolder();
    const folder = join(run, 'timescale');
    const server = await startTimescale(folder, console.error);
    console.log(server.url);
    const signal = await Promise.race([
      new Promise((resolve) => process.once('SIGINT', resolve)),
      new Promise((resolve) => process.once('SIGTERM', resolve)),
      new Promise((resolve) => setInterval(() => findTimescale(folder) ?? resolve('gone'), 1000)),
    ]);
    await server.stop();
    rmSync(run, { recursive: true, force: true });
    process.exit(signal === 'gone' ? 1 : 0);
  }
}
