import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startEmbedded } from '../src/store/embedded.ts';
import { stopServers, stopShared, TEST_SETTINGS } from '../test/database.ts';
import { findDeadRuns, installPackage, makeRunFolder, startTimescale } from './timescale.ts';

/**
 * Everything that has to pass before a change goes in.
 *
 *   npm test                      all of it
 *   npm test -- store/upsert      only test files whose path has this in it
 *   npm run check                 types, lint and format, unescaped HTML (--check)
 *   bun scripts/test.ts --stop    ends the servers that tests run by hand have left running
 *
 * Ends with one line, `N passed, N failed`: the tests, and each check as one more.
 */
const ROOT = resolve(import.meta.dir, '..');
const BUN = process.execPath;
const TEST_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 36 * 60_000;

interface Count {
  passed: number;
  failed: number;
}

const CHECKS: [name: string, command: string[]][] = [
  ['types', [BUN, 'node_modules/typescript/bin/tsc', '--noEmit', '-p', '.']],
  ['lint and format', [BUN, 'node_modules/@biomejs/biome/bin/biome', 'check']],
  [
    'escaping in pages',
    [BUN, 'node_modules/@kitajs/ts-html-plugin/dist/cli.js', '-p', 'tsconfig.json'],
  ],
];

/** Programs that tests start, and the Debian packages that have them. */
const PROGRAMS: [program: string, packageName: string][] = [
  ['chromium', 'chromium'],
  ['psql', 'postgresql-client'],
];

/** What a test may see of the machine. No setting of a developer's shell reaches the product. */
const ENVIRONMENT_KEPT =
  /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.*|TERM|TMPDIR|CI|NO_COLOR|TEST_.*)$/;

function cleanEnvironment(extra: Record<string, string>): Record<string, string> {
  const kept = Object.entries(process.env).filter(([key]) => ENVIRONMENT_KEPT.test(key));
  return { ...(Object.fromEntries(kept) as Record<string, string>), NODE_ENV: 'test', ...extra };
}

function say(line: string): void {
  console.log(line);
}

/** Runs one check with its output live. */
async function runCheck(name: string, command: string[]): Promise<Count> {
  const start = performance.now();
  const child = Bun.spawn(command, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  const isGood = (await child.exited) === 0;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  say(`${isGood ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
  return isGood ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

interface Servers {
  urls: Record<string, string>;
  stop(): Promise<void>;
}

/** Both editions, on data of this run only. */
async function startServers(): Promise<Servers> {
  for (const folder of findDeadRuns()) await stopServers(folder);
  const folder = makeRunFolder();
  try {
    const [plain, timescale] = await Promise.all([
      startEmbedded({
        dataDir: join(folder, 'plain'),
        database: 'postgres',
        settings: TEST_SETTINGS,
      }),
      startTimescale(join(folder, 'timescale'), say),
    ]);
    const urls = { MARKETD_TEST_PLAIN_URL: plain.url, MARKETD_TEST_TIMESCALE_URL: timescale.url };
    return { urls, stop: () => stopServers(folder) };
  } catch (error) {
    await stopServers(folder);
    throw error;
  }
}

/** `bun test` with its output live; counted by its report, and by what it says itself. */
async function runTests(filters: string[], environment: Record<string, string>): Promise<Count> {
  const folder = mkdtempSync(join(tmpdir(), 'marketd-report-'));
  const report = join(folder, 'junit.xml');
  const flags = [
    `--timeout=${TEST_TIMEOUT_MS}`,
    '--reporter=junit',
    `--reporter-outfile=${report}`,
  ];
  const child = Bun.spawn([BUN, 'test', ...flags, ...filters], {
    cwd: ROOT,
    env: cleanEnvironment(environment),
    stdio: ['ignore', 'inherit', 'pipe'],
    timeout: RUN_TIMEOUT_MS,
  });
  let tail = '';
  const decoder = new TextDecoder();
  const reader = child.stderr.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    process.stderr.write(part.value);
    tail = (tail + decoder.decode(part.value, { stream: true })).slice(-4000);
  }
  const code = await child.exited;
  const xml = await Bun.file(report)
    .text()
    .catch(() => '');
  rmSync(folder, { recursive: true, force: true });
  return countTests(xml, tail, code);
}

/**
 * The report leaves out files that could not be loaded; the summary line has them. A crash has
 * neither, and must not look like a success.
 */
function countTests(xml: string, output: string, code: number): Count {
  const head = /<testsuites [^>]*>/.exec(xml)?.[0] ?? '';
  const attribute = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const said = Number([...output.matchAll(/^ *(\d+) fail$/gm)].at(-1)?.[1] ?? 0);
  const failures = attribute('failures');
  const passed = attribute('tests') - failures - attribute('skipped');
  const failed = Math.max(failures, said, code === 0 ? 0 : 1);
  return passed + failed === 0 ? { passed: 0, failed: 1 } : { passed, failed };
}

async function runEverything(filters: string[]): Promise<Count[]> {
  const counts: Count[] = [];
  for (const [name, command] of CHECKS) counts.push(await runCheck(name, command));
  for (const [program, packageName] of PROGRAMS) {
    try {
      installPackage(program, packageName);
    } catch (error) {
      say(`without ${program}: ${(error as Error).message}`);
    }
  }
  counts.push(await runCheck('build', [BUN, 'scripts/build.ts']));
  let servers: Servers;
  try {
    servers = await startServers();
  } catch (error) {
    say(`FAILED test servers: ${(error as Error).message}`);
    return [...counts, { passed: 0, failed: 1 }];
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void servers.stop().finally(() => process.exit(1)));
  }
  try {
    counts.push(await runTests(filters, servers.urls));
  } finally {
    await servers.stop();
  }
  return counts;
}

const args = process.argv.slice(2).filter((arg) => arg !== '--');
if (args.includes('--stop')) {
  await stopShared();
  for (const folder of findDeadRuns()) await stopServers(folder);
  process.exit(0);
}
const counts: Count[] = [];
if (args.includes('--check')) {
  for (const [name, command] of CHECKS) counts.push(await runCheck(name, command));
} else {
  counts.push(...(await runEverything(args)));
}
const passed = counts.reduce((sum, count) => sum + count.passed, 0);
const failed = counts.reduce((sum, count) => sum + count.failed, 0);
say(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
