import { expect, test } from 'bun:test';
import { InputError, ProviderError } from '../../src/errors.ts';
import {
  type DayRange,
  type ReconcileRequest,
  reconcileRange,
  runReconciliation,
} from '../../src/ingest/reconcile.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  selectLatestReconciliations,
  selectReconciliations,
} from '../../src/query/reconciliation.ts';
import { leaseLock, selectRuns } from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';
import { calendar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { between, scale } from '../fixtures/other-source.ts';
import {
  openReconcileWorld,
  type ReconcileWorld,
  SUNDAY,
  YEAR,
} from '../fixtures/reconcile-world.ts';
import { readRawBars } from '../fixtures/recorded-bars.ts';
import { failureOf, selectStored } from '../fixtures/warehouse.ts';
import { misbehave } from '../yahoo-server.ts';

const raw = readRawBars();
const year = (symbol: string) => between(raw.get(symbol)!, '2020-01-02', '2020-12-31');
const AAPL_SPLITS = [{ exDate: '2020-08-31', splitFrom: 1, splitTo: 4 }];
const SESSIONS = sessionsFrom('2020-11-02', 20);
const flat = SESSIONS.map((session) => flatBar(session));

describeEditions('reconciliation', (database) => {
  const open = () => openReconcileWorld(database().edition);
  const run = (
    { context, source }: ReconcileWorld,
    which: ReconcileRequest['which'],
    change: Partial<ReconcileRequest> = {},
  ) => runReconciliation(context, { source, which, range: YEAR, origin: 'command', ...change });

  test('against Yahoo undoes its splits, and stores what it finds', async () => {
    await using world = await open();
    const bars = year('AAPL');
    const id = await world.hold('AAPL', bars, bars, { splits: AAPL_SPLITS });
    // Yahoo's own numbers are of prices before the split divided by 4.
    expect(world.server.charts.get('AAPL')!.indicators.quote[0].close[0]).toBeCloseTo(75.09, 2);
    const { runId, results, requests } = await run(world, { symbols: ['AAPL'] });
    expect(requests).toBe(1);
    expect(results).toMatchObject([{ symbol: 'AAPL', result: { verdict: 'agree' } }]);
    const { read } = world.context.database;
    const [stored] = await selectReconciliations(read, { runId, limit: 10 });
    expect(stored).toMatchObject({
      ...{ instrumentId: id, symbol: 'AAPL', source: 'yahoo', seed: null, verdict: 'agree' },
      ...{ startSession: '2020-01-02', endSession: '2020-12-31', compared: 253, side: null },
      ...{ ts: new Date(SUNDAY), error: null },
    });
    expect(stored.found).toEqual(results[0].result as never);
    const [finished] = await selectRuns(read, 1, 'reconcile');
    expect(finished).toMatchObject({
      ...{ runId, state: 'succeeded', total: 1, done: 1, requests: 1, inserted: 0, error: null },
    });
    // Bars are what they were.
    const unchanged = await selectStored(world.test.sql, id);
    expect(unchanged.map(({ close }) => close)).toEqual(bars.map(({ close }) => close));
  });

  test('tells a split that Yahoo lists and did not apply', async () => {
    await using world = await open();
    const bars = year('AAPL');
    // Undone, what was never adjusted is four times too high.
    const theirs = scale(bars, 4, '2020-08-31');
    await world.hold('AAPL', bars, theirs, { splits: AAPL_SPLITS });
    await run(world, { symbols: ['AAPL'] });
    const [{ verdict, side, found }] = await selectLatestReconciliations(
      world.context.database.read,
    );
    expect({ verdict, side }).toEqual({ verdict: 'conflict', side: 'theirs' });
    expect(found!.explanations).toMatchObject([
      { cause: 'split', extent: 'until', end: '2020-08-28', splits: [{ listed_by: 'both' }] },
    ]);
    expect(found!.explanations[0].sentence).toStartWith('until 2020-08-28 yahoo is 4 times vendor');
  });

  test('a symbol that fails does not stop the others', async () => {
    await using world = await open();
    for (const symbol of ['AAA', 'BBB', 'CCC']) await world.hold(symbol, flat);
    world.server.charts.delete('BBB');
    const { results } = await run(world, { symbols: ['CCC', 'AAA', 'BBB'] });
    expect(results.map(({ symbol }) => symbol)).toEqual(['AAA', 'BBB', 'CCC']);
    const { read } = world.context.database;
    const latest = await selectLatestReconciliations(read);
    expect(latest.map(({ symbol, verdict }) => [symbol, verdict])).toEqual([
      ['AAA', 'agree'],
      ['BBB', 'failed'],
      ['CCC', 'agree'],
    ]);
    expect(latest[1]).toMatchObject({ found: null, compared: 0 });
    expect(latest[1].error).toContain('No data found, symbol may be delisted');
    const [{ state, error, done }] = await selectRuns(read, 1, 'reconcile');
    expect({ state, done }).toEqual({ state: 'failed', done: 3 });
    expect(error).toStartWith('1 of 3 symbols failed; BBB: ');
  });

  test('being asked too often ends it; what was found is kept', async () => {
    await using world = await open();
    for (const symbol of ['AAA', 'BBB', 'CCC']) await world.hold(symbol, flat);
    const refuse = misbehave.tooMany();
    world.server.respond('chart', (request, honest) =>
      request.url.includes('/BBB') ? refuse(request, honest) : undefined,
    );
    const failure = run(world, { symbols: ['AAA', 'BBB', 'CCC'] });
    expect(await failure.catch((error: unknown) => error)).toBeInstanceOf(ProviderError);
    const { read } = world.context.database;
    const latest = await selectLatestReconciliations(read);
    expect(latest.map(({ symbol }) => symbol)).toEqual(['AAA']);
    const [stopped] = await selectRuns(read, 1, 'reconcile');
    expect(stopped).toMatchObject({ state: 'failed', done: 1, total: 3, requests: 2 });
    expect(stopped.error).toContain('Too Many Requests');
  });

  test('being told to stop ends it as interrupted, and lets go of the lock', async () => {
    await using world = await open();
    await world.hold('AAA', flat);
    const stop = new AbortController();
    world.server.respond('chart', (_, honest) => {
      stop.abort(new Error('enough'));
      return honest();
    });
    const { context, source } = world;
    const request = {
      source,
      which: { symbols: ['AAA'] },
      range: YEAR,
      origin: 'command',
    } as const;
    expect(await failureOf(runReconciliation(context, request, stop.signal))).toBe('enough');
    const [{ state }] = await selectRuns(context.database.read, 1, 'reconcile');
    expect(state).toBe('interrupted');
    expect((await run(world, { symbols: ['AAA'] })).results).toHaveLength(1);
  });

  test('two do not run at once', async () => {
    await using world = await open();
    await world.hold('AAA', flat);
    const lease = await leaseLock(world.test.url, 'reconcile');
    expect(await failureOf(run(world, { symbols: ['AAA'] }))).toContain(
      'bars of this database are being reconciled already',
    );
    await lease!.release();
    expect(await selectRuns(world.context.database.read, 1, 'reconcile')).toEqual([]);
    expect((await run(world, { symbols: ['AAA'] })).results).toHaveLength(1);
  });

  test('an unknown symbol is named, and nothing is asked', async () => {
    await using world = await open();
    await world.hold('AAA', flat);
    const failure = await run(world, { symbols: ['AAA', 'NOPE'] }).catch((error) => error);
    expect(failure).toBeInstanceOf(InputError);
    expect(failure.message).toBe('nobody here has the symbol NOPE on 2020-12-31');
    expect(world.server.requests).toEqual([]);
  });

  test('a sample is of those not checked for longest, and can be drawn again', async () => {
    await using world = await open();
    const symbols = ['AAA', 'BBB', 'CCC', 'DDD', 'EEE', 'FFF'];
    for (const symbol of symbols) await world.hold(symbol, flat);
    await world.hold('EMPTY', []);
    const draw = async (seed: number) =>
      (await run(world, { count: 2, seed })).results.map(({ symbol }) => symbol);
    let nowMs = Date.parse(SUNDAY);
    world.context.now = () => nowMs;
    const drawn: string[][] = [];
    for (const seed of [11, 12, 13]) {
      nowMs += 60_000;
      drawn.push(await draw(seed));
    }
    // Without one twice, and whoever has no bars is not among them.
    expect(drawn.flat().sort()).toEqual(symbols);
    nowMs += 60_000;
    expect(await draw(12)).toEqual(drawn[1]);
    expect(await draw(11)).toEqual(drawn[0]);
    const stored = await selectReconciliations(world.context.database.read, { limit: 500 });
    expect(new Set(stored.map(({ seed }) => seed))).toEqual(new Set([11, 12, 13]));
    expect(stored).toHaveLength(10);
  });

  test('without bars on both sides nothing is compared', async () => {
    await using world = await open();
    await world.hold('AAA', flat, []);
    await world.hold('BBB', [], flat);
    await run(world, { symbols: ['AAA', 'BBB'] });
    const latest = await selectLatestReconciliations(world.context.database.read);
    expect(latest.map(({ verdict, found }) => [verdict, found!.only_ours.count])).toEqual([
      ['none', 20],
      ['none', 0],
    ]);
    expect(latest[1].found!.only_theirs.count).toBe(20);
    const ids = [latest[1].instrumentId];
    const { read } = world.context.database;
    const one = await selectLatestReconciliations(read, { instrumentIds: ids });
    expect(one.map(({ symbol }) => symbol)).toEqual(['BBB']);
  });

  test('a bar that is not finished is left out', async () => {
    await using world = await open();
    const id = await world.hold('AAA', flat);
    await world.test.sql`
      update bars_1d set flags = flags | 16384 where instrument_id = ${id}
        and session = ${SESSIONS[19]}`;
    const { results } = await run(world, { symbols: ['AAA'] });
    expect(results[0].result).toMatchObject({ compared: 19, only_theirs: { count: 1 } });
  });

  test('asks Yahoo by its own spelling', async () => {
    await using world = await open();
    const id = await world.hold('BRK.B', flat);
    await world.hold('ODD', flat);
    const odd = world.server.charts.get('ODD')!;
    world.server.charts.set('ODD-X', { ...odd, meta: { ...odd.meta, symbol: 'ODD-X' } });
    const brk = world.server.charts.get('BRK.B')!;
    world.server.charts.set('BRK-B', { ...brk, meta: { ...brk.meta, symbol: 'BRK-B' } });
    await world.test.sql`
      insert into provider_symbols (instrument_id, provider, symbol)
      values (${id + 1}, 'yahoo', 'ODD-X')`;
    await run(world, { symbols: ['BRK.B', 'ODD'] });
    expect(world.server.requests).toEqual(['chart BRK-B', 'chart ODD-X']);
  });
});

test('the range is the last year, up to what is published', () => {
  const at = (now: string, range: Partial<DayRange>) => {
    const options = { calendar, now: () => Date.parse(now), publishDelayMs: 3_600_000 };
    const { firstDay, lastDay } = reconcileRange(options, range);
    return [toDate(firstDay), toDate(lastDay)];
  };
  expect(at(SUNDAY, {})).toEqual(['2020-01-01', '2020-12-31']);
  expect(at('2021-01-04T21:30:00Z', {})[1]).toBe('2020-12-31');
  expect(at('2021-01-04T22:00:00Z', {})[1]).toBe('2021-01-04');
  const early = { firstDay: toDay('2019-03-01'), lastDay: toDay('2019-03-29') };
  expect(at(SUNDAY, early)).toEqual(['2019-03-01', '2019-03-29']);
  expect(at(SUNDAY, { lastDay: toDay('2031-01-01') })).toEqual(['2020-01-01', '2020-12-31']);
  expect(() => at(SUNDAY, { firstDay: toDay('2021-01-02') })).toThrow(
    'the range begins on 2021-01-02, after the latest session with bars, 2020-12-31',
  );
});
