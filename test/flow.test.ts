import { beforeAll, expect, test } from 'bun:test';
import { makeCalendar, toDate } from '../src/model/session.ts';
import { listenChanges } from '../src/store/changes.ts';
import type { Sql } from '../src/store/database.ts';
import { describeEditions, emptyDatabase } from './database.ts';
import { API_KEY, dailyBars, selectRunLines } from './fixtures/backfill-world.ts';
import { BINARY, buildBinary, runCli, startCli } from './fixtures/cli-process.ts';
import { startVendorServer, type VendorBar } from './vendor-server.ts';

beforeAll(buildBinary, 120_000);

/** The last day whose bar a vendor has, and a day in the history before it. */
const calendar = makeCalendar();
const latest = calendar.latestSession(Date.now(), 3_600_000);
const position = calendar.sessionIndex(latest);
const LAST = toDate(latest);
const EARLIER = toDate(calendar.sessionAt(position - 30));
const FIRST = toDate(calendar.sessionAt(position - 200));

const SYMBOLS = ['AAA', 'BBB', 'CCC'];

/** A price that is missing, one bar that cannot be, and a jump that nothing explains. */
function vendorBars(): Map<string, VendorBar[]> {
  const bars = new Map(SYMBOLS.map((symbol, i) => [symbol, dailyBars(FIRST, LAST, 40 + 9 * i)]));
  const [first, second] = [bars.get('AAA') ?? [], bars.get('BBB') ?? []];
  first[20] = { ...first[20], close: null };
  first[40] = { ...first[40], high: 1 };
  second[60] = { ...second[60], open: 90, high: 95 };
  return bars;
}

async function selectTotals(sql: Sql) {
  const [totals] = await sql`
    select count(*) as total, count(*) filter (where score >= 0.85) as validated,
           count(*) filter (where flags & 64 <> 0) as gaps,
           count(*) filter (where score < 0.5) as excluded,
           count(distinct instrument_id) as symbols, max(session) as latest
    from bars_1d`;
  return totals;
}

/** Resolves when a backfill run that began as `origin` has ended. */
async function waitForRun(url: string, sql: Sql, origin: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const look = async () => {
    const [run] = await sql<{ state: string }[]>`
      select state from job_runs where origin = ${origin} and state <> 'running'`;
    if (run) resolve(run.state);
  };
  const listener = listenChanges(
    url,
    { onChange: () => void look().catch(reject), onTrust: () => void look().catch(reject) },
    () => {},
  );
  try {
    return await promise;
  } finally {
    await listener.close();
  }
}

describeEditions('from an empty database to a served history', (database) => {
  test('migrate, symbols, backfill, serve, a missed night', async () => {
    const { edition } = database();
    const empty = await emptyDatabase(edition);
    const vendor = startVendorServer({ bars: vendorBars(), key: API_KEY });
    const settings = {
      DATABASE_URL: empty.url,
      POLYGON_API_KEY: API_KEY,
      POLYGON_BASE_URL: vendor.url,
      POLYGON_REQUESTS_PER_MINUTE: '6000',
      BACKFILL_YEARS: '1',
      API_PORT: '0',
    };
    const run = (...args: string[]) => runCli(args, settings, { command: [BINARY] });
    try {
      expect((await run('migrate')).code).toBe(0);
      expect((await run('symbols', 'add', ...SYMBOLS)).out).toBe('3 added\n');
      const filled = await run('backfill', '--all', '--from', FIRST, '--to', EARLIER, '--json');
      expect(filled.code).toBe(0);
      const sessions = dailyBars(FIRST, EARLIER).length;
      expect(JSON.parse(filled.out)).toMatchObject({
        inserted: 3 * sessions - 1,
        rejected: 1,
        failures: [],
      });
      expect((await run('doctor')).out).toMatch(/warning {2}data .* sessions behind/);

      // Nobody has run a night yet: serving catches up with it.
      const before = vendor.requests.length;
      const ended = waitForRun(empty.url, empty.sql, 'start');
      const server = startCli(['serve'], settings, { command: [BINARY] });
      const [, url] = await server.waitFor(/serving on (http:\S+)/);
      expect(await ended).toBe('succeeded');
      expect(vendor.requests.length).toBeGreaterThan(before);
      expect(await selectRunLines(empty.sql)).toEqual(['command succeeded', 'start succeeded']);

      const totals = await selectTotals(empty.sql);
      expect(totals).toMatchObject({ total: 3 * dailyBars(FIRST, LAST).length - 1, symbols: 3 });
      expect(totals).toMatchObject({ excluded: 1, latest: LAST });
      const status = await (await fetch(`${url}/api/v1/status`)).json();
      expect(status.database).toMatchObject({
        symbols_available: totals.symbols,
        total_records: totals.total,
        validated_records: totals.validated,
        latest_data: `${LAST}T00:00:00+00:00`,
      });
      expect(status.data_quality).toMatchObject({
        records_with_gaps_flagged: totals.gaps,
        records_excluded: totals.excluded,
        scheduler_status: 'running',
        last_backfill_state: 'succeeded',
      });
      expect(Date.parse(status.data_quality.next_backfill)).toBeGreaterThan(Date.now());

      const history = `${url}/api/v1/historical/AAA?start=${FIRST}&end=${LAST}`;
      const validated = await (await fetch(history)).json();
      const everything = await (
        await fetch(`${history}&validated_only=false&min_quality=0`)
      ).json();
      const [stored] = await empty.sql`
        select count(*) as total, count(*) filter (where score >= 0.85) as validated
        from bars_1d join symbol_ranges using (instrument_id) where symbol = 'AAA'`;
      expect(validated.count).toBe(stored.validated);
      expect(everything.count).toBe(stored.total);
      expect(everything.count).toBeGreaterThan(validated.count);

      server.kill('SIGTERM');
      const { code, out, err } = await server.finished;
      expect(code).toBe(0);
      expect(out + err).not.toContain(API_KEY);

      // The night is done: a second start asks nobody.
      const sent = vendor.requests.length;
      const again = startCli(['serve'], settings, { command: [BINARY] });
      await again.waitFor(/serving on/);
      again.kill('SIGTERM');
      expect((await again.finished).code).toBe(0);
      expect(vendor.requests).toHaveLength(sent);
      expect(await selectRunLines(empty.sql)).toHaveLength(2);

      // A night later, as the record says: it was missed, and is caught up with.
      await empty.sql`update job_runs set scheduled_for = scheduled_for - interval '1 day'`;
      const missed = waitForRun(empty.url, empty.sql, 'catch-up');
      const late = startCli(['serve'], settings, { command: [BINARY] });
      expect(await missed).toBe('succeeded');
      late.kill('SIGTERM');
      expect((await late.finished).code).toBe(0);
      expect((await run('backfill', '--all', '--from', FIRST)).out).toContain('nothing is missing');
    } finally {
      await vendor.stop();
      await empty.drop();
    }
  }, 120_000);
});
