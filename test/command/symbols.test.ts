import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { selectSymbolRanges } from '../../src/store/symbol-ranges.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { type Environment, runCli } from '../fixtures/cli-process.ts';
import { addInstrument, ingest, selectStored } from '../fixtures/warehouse.ts';
import { startVendorServer, type VendorServer } from '../vendor-server.ts';

let folder = '';
let vendor: VendorServer;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-symbols-'));
  const changes = [
    { date: '2022-06-09', ticker: 'META' },
    { date: '2012-05-18', ticker: 'FB' },
  ];
  vendor = startVendorServer({ changes: new Map([['META', changes]]) });
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await vendor.stop();
});

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describeEditions('marketd symbols', (database) => {
  const sql = () => database().sql;
  const run = (args: string[], change: Environment = {}) =>
    runCli(['symbols', ...args], { DATABASE_URL: database().url, ...change });
  const withVendor = () => ({
    ...{ POLYGON_API_KEY: 'key', POLYGON_BASE_URL: vendor.url },
    POLYGON_REQUESTS_PER_MINUTE: '60000',
  });

  test('rename gives an instrument another symbol, and says so', async () => {
    const id = await addInstrument(sql(), 'CRA');
    const done = await run(['rename', 'CRA', 'CRB', '--on', '2022-06-09']);
    expect(done).toEqual({
      ...{ code: 0, err: '' },
      out: 'CRA is CRB from 2022-06-09 on; its history stays with it\n',
    });
    expect((await selectSymbolRanges(sql(), ['CRB']))[0].instrumentId).toBe(id);
    const [{ actor }] = await sql()`select actor from audit_log where instrument_id = ${id}`;
    expect(actor).toBe(`cli ${userInfo().username}`);
    const shown = await run(['show', 'crb']);
    expect(shown.out.split('\n').map((line) => line.trim().replace(/ {2,}/g, ' '))).toEqual([
      `instrument ${id}: no name is known, tracked`,
      ...['symbol from to source', 'CRA - 2022-06-08 assumed', 'CRB 2022-06-09 - operator', ''],
    ]);
  });

  test('map splits what two companies of one symbol left, and scores it anew', async () => {
    const id = await addInstrument(sql(), 'CMA');
    const old = sessionsFrom('2003-01-02', 59).map((session) => flatBar(session));
    const high = { open: 400, high: 401, low: 399, close: 400 };
    const young = sessionsFrom('2003-03-31', 20).map((session) => flatBar(session, high));
    await ingest(sql(), id, [...old, ...young]);
    const scores = async () => (await selectStored(sql(), id)).map(({ score }) => score);
    expect(Math.min(...(await scores()))).toBe(0.8); // a gap between two companies
    const paths = [
      write('cma.csv', '20030331,cma,Q\n20501231,cma,Q\n'),
      write('cma.1.csv', '19990929,cma\n20030328,cma\n'),
    ];
    const refused = await run(['map', ...paths]);
    expect([refused.code, refused.out]).toEqual([2, '']);
    expect(refused.err).toContain('Say --split');
    const done = await run(['map', ...paths, '--split']);
    expect([done.code, done.err]).toEqual([0, '']);
    const ranges = await selectSymbolRanges(sql(), ['CMA']);
    expect(done.out.split('\n')).toEqual([
      ...['cma.csv  CMA since 2003-03-31', 'cma.1.csv  CMA 1999-09-29 to 2003-03-28'],
      '2 instruments; 1 were not known before',
      `CMA 2003-01-02 to 2003-03-28: moved from instrument ${id} to ${ranges[0].instrumentId}`,
      '',
    ]);
    expect(await scores()).toEqual(new Array(20).fill(1));
    expect(await selectStored(sql(), ranges[0].instrumentId)).toHaveLength(59);
    const again = await run(['map', ...paths]);
    expect(again.out).toContain('2 instruments; nothing is new');
  });

  test('lineage asks the provider, also for all that are tracked, once in a while', async () => {
    await upsertSymbols(sql(), ['META']);
    const done = await run(['lineage', 'META'], withVendor());
    expect(done).toEqual({
      ...{ code: 0, err: '' },
      out: 'META: FB 2012-05-18 to 2022-06-08, META since 2022-06-09\n1 asked for, 0 failed\n',
    });
    const [tracked] = await sql()`select count(*) as count from instruments where is_tracked`;
    const all = await run(['lineage', '--all'], withVendor());
    expect(all.code).toBe(0);
    expect(all.out).toContain(`${tracked.count - 1} asked for, 0 failed`);
    expect((await run(['lineage', '--all'], withVendor())).out).toBe('0 asked for, 0 failed\n');
  });

  test('a provider that fails ends with 3, and names the symbol', async () => {
    await upsertSymbols(sql(), ['CFA']);
    vendor.respond((request) =>
      request.url.includes('/CFA/') ? Response.json({ status: 'OK' }) : undefined,
    );
    const done = await run(['lineage', 'CFA'], withVendor());
    expect([done.code, done.out]).toEqual([3, '1 asked for, 1 failed\n']);
    expect(done.err).toStartWith('failed: CFA: ');
  });

  test('a provider that is away is not asked for all the others too', async () => {
    const names = ['CGA', 'CGB', 'CGC', 'CGD', 'CGE', 'CGF'];
    await upsertSymbols(sql(), names);
    for (const name of names) {
      vendor.respond((request) =>
        request.url.includes(`/${name}/`) ? Response.json({ status: 'OK' }) : undefined,
      );
    }
    const done = await run(['lineage', ...names], withVendor());
    expect([done.code, done.out]).toEqual([3, '']);
    expect(done.err).toContain('5 failures in a row, the last: ');
    expect(vendor.requests.some((line) => line.includes('/CGF/'))).toBe(false);
  });

  test('add --from is for another company under a former symbol', async () => {
    await addInstrument(sql(), 'CAA');
    await run(['rename', 'CAA', 'CAB', '--on', '2022-06-09']);
    const refused = await run(['add', 'CAA']);
    expect([refused.code, refused.out]).toEqual([2, '']);
    expect(refused.err).toContain('CAA was the symbol of CAB until 2022-06-08');
    const added = await run(['add', 'CAA', '--from', '2023-06-09']);
    expect(added).toEqual({ code: 0, out: '1 added\n', err: '' });
  });

  test.each([
    [['rename', 'A', 'B'], 'say when: --on YYYY-MM-DD'],
    [['rename', 'A', '--on', '2022-06-09'], 'say both: symbols rename OLD NEW --on DATE'],
    [['rename', 'A', 'B', '--on', '2022-06-31'], '--on must be a date that exists'],
    [['rename', 'A', 'B', '--on', '2199-06-09'], '--on (2199-06-09) lies in the future'],
    [['rename', 'NOONE', 'B', '--on', '2022-06-09'], 'nobody has NOONE on the day before'],
    [['map'], 'name the map files'],
    [['map', '/nonexistent/x.csv'], 'there is no file /nonexistent/x.csv'],
    [['show'], 'name one symbol'],
    [['show', 'NOONE'], 'there is no symbol NOONE here'],
    [['lineage'], 'name symbols, or say --all'],
    [['lineage', 'A', '--all'], 'name symbols, or say --all'],
    [['fly'], 'say what to do: symbols add, remove, list, import, rename, map, lineage, show'],
  ])('%p is refused', async (args, message) => {
    const done = await run(args);
    expect([done.code, done.out]).toEqual([2, '']);
    expect(done.err).toContain(message);
  });

  test('nobody is asked for a symbol that nobody has', async () => {
    const done = await run(['lineage', 'NOONE'], withVendor());
    expect([done.code, done.err.includes('nobody has now: NOONE')]).toEqual([2, true]);
  });
});
