import { beforeAll, expect, test } from 'bun:test';
import { describeEditions } from '../database.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { fillWarehouse, SYMBOLS } from '../fixtures/http-server.ts';

interface Report {
  published_session: string;
  total: { symbols: number; verdict: string };
  symbols: { symbol: string; grade: string; verdict: string }[];
}

describeEditions('marketd quality', (database) => {
  beforeAll(async () => {
    await fillWarehouse(database().sql);
  });
  const quality = (...args: string[]) =>
    runCli(['quality', ...args], { DATABASE_URL: database().url });

  test('lists every symbol, the worst first, and a verdict on all', async () => {
    const { code, out, err } = await quality();
    expect([code, err]).toEqual([0, '']);
    const lines = out.trimEnd().split('\n');
    expect(lines[0]).toMatch(
      /^symbol +grade +valid % +bars +latest +behind +holes +open +restated/,
    );
    expect(lines[1]).toMatch(/^BAD +poor +0\.00 +120 /);
    expect(lines).toHaveLength(SYMBOLS.length + 3);
    expect(lines.at(-1)).toMatch(/^poor: 11 symbols: \d+ poor, \d empty; \d+\.\d+ % of 4\d\d bars/);
  });

  test('tells all of one symbol', async () => {
    const { code, out } = await quality('aapl');
    expect(code).toBe(0);
    expect(out).toMatch(/^AAPL\npoor: [\d,]+ sessions behind, .*\d findings to look at\n/);
    expect(out).toContain('1d  2022-12-01 to 2023-12-29\n');
    expect(out).toMatch(/validated {2}98\.89 % of 271 bars, 1 excluded/);
    expect(out).toMatch(/coverage {3}271 complete, [\d,]+ unfetched/);
    expect(out).toContain('restated   never');
    expect(out).toMatch(/gap_unexplained +open +1/);
  });

  test('says so when nothing is held of it', async () => {
    const { out } = await quality('UNASKED');
    expect(out).toBe(
      'UNASKED\nempty: no bars are held yet\n\ncompared with no second source\n\nno findings\n',
    );
  });

  test('prints the report as JSON', async () => {
    const { code, out } = await quality('--json');
    expect(code).toBe(0);
    const report = JSON.parse(out) as Report;
    expect(report.published_session).toMatch(/^\d{4}-\d\d-\d\d$/);
    expect(report.total.symbols).toBe(SYMBOLS.length);
    expect(report.symbols[0]).toMatchObject({ symbol: 'BAD', grade: 'poor', records: 120 });
    const one = JSON.parse((await quality('AAPL', '--json')).out) as Report;
    expect(one.symbols.map(({ symbol }) => symbol)).toEqual(['AAPL']);
  });

  test.each([
    [['NOPE'], 'there is no symbol NOPE here'],
    [['AAPL', 'MSFT'], 'name one symbol, or none for all of them'],
    [['--yaml'], "Unknown option '--yaml'"],
    [[''], 'symbol'],
  ])('%p is refused', async (args, message) => {
    const { code, out, err } = await quality(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
  });
});
