import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { DatabaseError, InputError } from '../../src/errors.ts';
import { defaultDataDir, type EmbeddedServer, startEmbedded } from '../../src/store/embedded.ts';

setDefaultTimeout(60_000); // initdb on a busy machine

const isRoot = process.getuid?.() === 0;
const root = mkdtempSync(join(tmpdir(), 'marketd-embedded-'));
chmodSync(root, 0o755); // the server's user has to pass through it
const servers: EmbeddedServer[] = [];
let folders = 0;

afterAll(async () => {
  for (const server of servers) await server.stop();
  rmSync(root, { recursive: true, force: true });
});

const newFolder = () => join(root, `a folder ${++folders}`);

async function start(dataDir: string, settings: Record<string, string> = {}, signal?: AbortSignal) {
  const server = await startEmbedded({ dataDir, settings: { fsync: 'off', ...settings }, signal });
  servers.push(server);
  return server;
}

async function ask(server: EmbeddedServer, statement: string): Promise<postgres.Row[]> {
  const sql = postgres(server.url, { max: 1 });
  try {
    return await sql.unsafe(statement);
  } finally {
    await sql.end();
  }
}

const postmasterPid = (dataDir: string) =>
  Number.parseInt(readFileSync(join(dataDir, 'cluster/postmaster.pid'), 'utf8'), 10);

/** Another process that starts the server, says so, and then waits to be killed. */
function startElsewhere(dataDir: string) {
  const module = join(import.meta.dir, '../../src/store/embedded.ts');
  const code = `
    const { startEmbedded } = await import(${JSON.stringify(module)});
    const dataDir = ${JSON.stringify(dataDir)};
    const server = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
    process.stdout.write(JSON.stringify(server) + '\\n');
    setInterval(() => {}, 1000);`;
  return Bun.spawn([process.execPath, '-e', code], { stdout: 'pipe', stderr: 'inherit' });
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<EmbeddedServer> {
  const reader = stream.getReader();
  let text = '';
  while (!text.includes('\n')) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`ended after: ${text}`);
    text += Buffer.from(value).toString();
  }
  return JSON.parse(text) as EmbeddedServer;
}

async function waitFor(isTrue: () => boolean) {
  for (let i = 0; i < 1000 && !isTrue(); i++) await Bun.sleep(10);
  expect(isTrue()).toBe(true);
}

const error = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => new Error('did not fail'),
    (reason: Error) => reason,
  );

describe('defaultDataDir', () => {
  test('root has the system folder, a user his own', () => {
    expect(defaultDataDir({ home: '/root', uid: 0, xdgDataHome: '/x' })).toBe('/var/lib/marketd');
    expect(defaultDataDir({ home: '/home/a', uid: 7 })).toBe('/home/a/.local/share/marketd');
    expect(defaultDataDir({ home: '/home/a', uid: 7, xdgDataHome: '/x' })).toBe('/x/marketd');
  });
});

describe('a data folder', () => {
  const dataDir = newFolder();

  test('is made in an empty place, private, with a UTF-8 database in C order', async () => {
    const server = await start(dataDir);
    expect(server).toMatchObject({ dataDir, startedHere: true });
    const [facts] = await ask(
      server,
      `select current_database() as name, pg_encoding_to_char(encoding) as encoding, datlocale,
        current_setting('TimeZone') as zone, current_setting('jit') as jit,
        current_setting('fsync') as fsync, current_setting('listen_addresses') as address
        from pg_database where datname = current_database()`,
    );
    expect(facts).toEqual({
      name: 'marketd',
      encoding: 'UTF8',
      datlocale: 'C.UTF-8',
      zone: 'UTC',
      jit: 'off',
      fsync: 'off',
      address: '127.0.0.1',
    });
    await ask(server, 'create table kept as select 42 as answer');
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'database.url')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(dataDir, 'database.url'), 'utf8')).toBe(`${server.url}\n`);
    await server.stop();
  });

  if (isRoot) {
    test('has a copy of the programs that does not lead back to node_modules', () => {
      const programs = readdirSync(dataDir).find((name) => /^postgresql-\d/.test(name))!;
      const library = join(dataDir, programs, 'lib');
      const links = readdirSync(library, { withFileTypes: true }).filter((e) => e.isSymbolicLink());
      const targets = links.map(({ name }) => readlinkSync(join(library, name)));
      expect(targets).toContain('libicuuc.so.60.2');
      expect(targets.filter((target) => target.includes('/'))).toEqual([]);
    });
  }

  test('lets nobody in without the password', async () => {
    const server = await start(dataDir);
    const url = new URL(server.url);
    url.password = 'guessed';
    const refused = await error(ask({ ...server, url: String(url) }, 'select 1'));
    expect(refused.message).toContain('password authentication failed');
    await server.stop();
  });

  test('keeps its data; stop may be called twice and leaves no process', async () => {
    const server = await start(dataDir);
    expect(await ask(server, 'select answer from kept')).toMatchObject([{ answer: 42 }]);
    const pid = postmasterPid(dataDir);
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
    expect(existsSync(join(dataDir, 'cluster/postmaster.pid'))).toBe(false);
    await waitFor(() => !existsSync(`/proc/${pid}`));
  });

  test('recovers when the server was killed', async () => {
    const server = await start(dataDir);
    await ask(server, 'update kept set answer = 43');
    const pid = postmasterPid(dataDir);
    process.kill(pid, 'SIGKILL');
    await waitFor(() => !existsSync(`/proc/${pid}`));
    const again = await start(dataDir);
    expect(again.startedHere).toBe(true);
    expect(await ask(again, 'select answer from kept')).toMatchObject([{ answer: 43 }]);
    await again.stop();
  });

  test('starts though a stale pid file names a process that lives', async () => {
    const bystander = Bun.spawn(['sleep', '60']);
    writeFileSync(join(dataDir, 'cluster/postmaster.pid'), `${bystander.pid}\n`);
    const server = await start(dataDir);
    expect(server.startedHere).toBe(true);
    await server.stop();
    expect(existsSync(`/proc/${bystander.pid}`)).toBe(true);
    bystander.kill();
  });

  test('says why the server does not come up, and starts when that is mended', async () => {
    const failure = await error(start(dataDir, { shared_buffers: 'plenty' }));
    expect(failure).toBeInstanceOf(DatabaseError);
    expect(failure.message).toContain('invalid value for parameter "shared_buffers"');
    const server = await start(dataDir);
    await server.stop();
  });

  test('of another version is refused by name and left alone', async () => {
    const path = join(dataDir, 'cluster/PG_VERSION');
    const version = readFileSync(path, 'utf8');
    writeFileSync(path, '13\n');
    const failure = await error(start(dataDir));
    expect(failure).toBeInstanceOf(InputError);
    expect(failure.message).toMatch(/was written by PostgreSQL 13, .* brings PostgreSQL 18/);
    writeFileSync(path, version);
    const server = await start(dataDir);
    expect(await ask(server, 'select answer from kept')).toMatchObject([{ answer: 43 }]);
    await server.stop();
  });
});

describe('several processes', () => {
  test('that start at once share one server, and only its owner stops it', async () => {
    const dataDir = newFolder();
    const [a, b, c] = await Promise.all([start(dataDir), start(dataDir), start(dataDir)]);
    expect([a, b, c].filter((server) => server.startedHere)).toHaveLength(1);
    expect(b.url).toBe(a.url);
    expect(c.url).toBe(a.url);
    const owner = [a, b, c].find((server) => server.startedHere)!;
    const guest = [a, b, c].find((server) => !server.startedHere)!;
    await guest.stop();
    expect(await ask(owner, 'select 1 as up')).toMatchObject([{ up: 1 }]);
    await owner.stop();
    expect(await error(ask(guest, 'select 1'))).toMatchObject({ code: 'ECONNREFUSED' });
    const left = readdirSync(dataDir).filter((name) => name.includes('.new-'));
    expect(left).toEqual([]);
  });

  test('a server outlives its killed owner and passes to the next one', async () => {
    const dataDir = newFolder();
    const first = startElsewhere(dataDir);
    const theirs = await firstLine(first.stdout);
    expect(theirs.startedHere).toBe(true);
    const guest = await start(dataDir);
    expect(guest).toMatchObject({ url: theirs.url, startedHere: false });
    first.kill('SIGKILL');
    await first.exited;
    expect(await ask(guest, 'select 1 as up')).toMatchObject([{ up: 1 }]);
    const heir = await start(dataDir);
    expect(heir).toMatchObject({ url: theirs.url, startedHere: true });
    await heir.stop();
    expect(existsSync(join(dataDir, 'cluster/postmaster.pid'))).toBe(false);
    expect(await error(ask(heir, 'select 1'))).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('a first start that is killed leaves nothing half made', async () => {
    const dataDir = newFolder();
    const killed = startElsewhere(dataDir);
    const isAtWork = () => existsSync(dataDir) && readdirSync(dataDir).some(isTemporary);
    const isTemporary = (name: string) => /^cluster\.new-\d+-[0-9a-f]+$/.test(name);
    await waitFor(isAtWork);
    killed.kill('SIGKILL');
    await killed.exited;
    expect(existsSync(join(dataDir, 'cluster'))).toBe(false);
    const server = await start(dataDir);
    expect(server.startedHere).toBe(true);
    await server.stop();
  });
});

describe('a folder that cannot be used', () => {
  test('has a file in its way', async () => {
    const path = newFolder();
    writeFileSync(path, '');
    const failure = await error(start(join(path, 'data')));
    expect(failure).toBeInstanceOf(InputError);
    expect(failure.message).toContain(`the data folder ${path}/data cannot be used: `);
  });

  test('holds something else under our name', async () => {
    const dataDir = newFolder();
    mkdirSync(join(dataDir, 'cluster'), { recursive: true });
    writeFileSync(join(dataDir, 'cluster/letter.txt'), 'dear');
    const failure = await error(start(dataDir));
    expect(failure).toBeInstanceOf(InputError);
    expect(failure.message).toContain('is not a PostgreSQL data folder');
    expect(readdirSync(join(dataDir, 'cluster'))).toEqual(['letter.txt']);
  });

  if (isRoot) {
    test('lies below a private one of root', async () => {
      const parent = newFolder();
      mkdirSync(parent, { mode: 0o700 });
      const failure = await error(start(join(parent, 'data')));
      expect(failure).toBeInstanceOf(InputError);
      expect(failure.message).toContain('cannot be entered by the user postgres');
    });
  }

  test('is not touched when it has other content', async () => {
    const dataDir = newFolder();
    mkdirSync(join(dataDir, 'photos'), { recursive: true });
    chmodSync(dataDir, 0o755);
    const before = statSync(dataDir);
    const server = await start(dataDir);
    await server.stop();
    const after = statSync(dataDir);
    expect([after.mode, after.uid]).toEqual([before.mode, before.uid]);
    expect(statSync(join(dataDir, 'cluster')).mode & 0o777).toBe(0o700);
    expect(existsSync(join(dataDir, 'photos'))).toBe(true);
  });
});

describe('a start that is given up', () => {
  test('rejects with the reason of the signal and leaves no server', async () => {
    const dataDir = newFolder();
    const controller = new AbortController();
    const starting = error(start(dataDir, {}, controller.signal));
    await waitFor(() => existsSync(join(dataDir, 'cluster')));
    controller.abort(new Error('enough'));
    expect((await starting).message).toBe('enough');
    expect(existsSync(join(dataDir, 'cluster/postmaster.pid'))).toBe(false);
  });

  test('during initdb leaves no folder of it', async () => {
    const dataDir = newFolder();
    const controller = new AbortController();
    const starting = error(start(dataDir, {}, controller.signal));
    await waitFor(() => existsSync(dataDir) && /cluster\.new/.test(readdirSync(dataDir).join()));
    controller.abort(new Error('enough'));
    expect((await starting).message).toBe('enough');
    expect(readdirSync(dataDir).join()).not.toContain('cluster');
  });
});
