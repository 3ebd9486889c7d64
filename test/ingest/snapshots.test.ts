import { describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { CollectorBusyError, runSnapshots } from '../../src/ingest/snapshots.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { EDITIONS } from '../database.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { addDailyBar } from '../fixtures/price-rows.ts';
import { openQuotes, type QuotesWorld } from '../fixtures/quotes-world.ts';
import { addInstrument, failureOf } from '../fixtures/warehouse.ts';
import { misbehave, RECORDED_AT, RECORDED_TS } from '../yahoo-server.ts';

const round = (world: QuotesWorld, symbols?: readonly string[], signal?: AbortSignal) =>
  runSnapshots(world.context, { symbols, origin: 'command' }, signal);

const counts = ({ inserted, changed, unchanged, rejected }: Awaited<ReturnType<typeof round>>) => [
  ...[inserted, changed, unchanged, rejected],
];

const selectRuns = async ({ test }: QuotesWorld) => {
  const rows = await test.sql`
    select job, origin, state, total, done, requests, inserted, changed, unchanged, rejected, error
    from job_runs order by run_id`;
  return rows.map((row) => ({ ...row }));
};

const selectSymbols = async ({ test }: QuotesWorld) => {
  const rows = await test.sql`
    select r.symbol, i.is_tracked from symbol_ranges r join instruments i using (instrument_id)
    order by r.symbol collate "C"`;
  return rows.map(({ symbol, is_tracked }) => [symbol, is_tracked]);
};

function change(world: QuotesWorld, symbol: string, fields: object): void {
  world.server.quotes.set(symbol, { ...world.server.quotes.get(symbol), ...fields });
}

for (const edition of EDITIONS) {
  describe(`a round of snapshots (${edition})`, () => {
    test('stores what Yahoo shows, and the next one only what is new', async () => {
      await using world = await openQuotes(edition);
      const first = await round(world, ['AAPL', 'MSFT']);
      expect(counts(first)).toEqual([2, 0, 0, 0]);
      expect(first).toMatchObject({
        ...{ symbols: 2, requests: 3, failures: [], droppedRows: 0, missing: null },
        snapshots: [
          { symbol: 'AAPL', outcome: 'new', snapshot: { price: 269.7 } },
          { symbol: 'MSFT', outcome: 'new', snapshot: { price: 541.55 } },
        ],
      });
      change(world, 'MSFT', { postMarketPrice: 521 });
      const second = await round(world, ['AAPL', 'MSFT']);
      expect(counts(second)).toEqual([0, 1, 1, 0]);
      expect(second.snapshots.map(({ outcome }) => outcome)).toEqual(['unchanged', 'changed']);
      change(world, 'AAPL', { regularMarketTime: 1_761_768_061, regularMarketPrice: 270 });
      expect(counts(await round(world, ['AAPL', 'MSFT']))).toEqual([1, 0, 1, 0]);
      const rows = await world.test.sql`
        select r.symbol, s.ts, s.price, s.ts_received from snapshots s
        join symbol_ranges r using (instrument_id) order by symbol, ts`;
      expect(rows.map((row) => ({ ...row }))).toMatchObject([
        { symbol: 'AAPL', ts: new Date(RECORDED_TS), price: 269.7 },
        { symbol: 'AAPL', ts: new Date('2025-10-29T20:01:01Z'), price: 270 },
        { symbol: 'MSFT', ts: new Date(RECORDED_TS), ts_received: new Date(RECORDED_AT) },
      ]);
    });

    test('is recorded, and counted', async () => {
      await using world = await openQuotes(edition);
      await round(world, ['AAPL', 'MSFT']);
      await round(world, ['AAPL']);
      const rest = { job: 'quotes', origin: 'command', state: 'succeeded', error: null };
      const none = { changed: 0, rejected: 0 };
      expect(await selectRuns(world)).toEqual([
        { ...rest, ...none, total: 2, done: 2, requests: 3, inserted: 2, unchanged: 0 },
        { ...rest, ...none, total: 1, done: 1, requests: 1, inserted: 0, unchanged: 1 },
      ]);
      const statuses = await world.test.sql`
        select timeframe, records, latest_session, is_synthetic, providers
        from instrument_status`;
      const status = { timeframe: 'snapshot', records: 1, latest_session: '2025-10-29' };
      const expected = { ...status, is_synthetic: false, providers: ['yahoo'] };
      expect(statuses.map((row) => ({ ...row }))).toEqual([expected, expected]);
    });

    test('announces what is committed, and nothing else', async () => {
      await using world = await openQuotes(edition);
      const log = new ChangeLog(world.test.url);
      await log.nextOf('trust');
      await round(world, ['AAPL', 'MSFT']);
      const told = await log.nextOf('snapshots');
      expect(told).toMatchObject({ instrumentIds: [expect.any(Number), expect.any(Number)] });
      await log.nextOf('events');
      await round(world, ['AAPL', 'MSFT']);
      const [event, ...others] = await world.test.sql`
        select kind, symbol, data from events order by event_id`;
      expect(others).toHaveLength(1);
      expect(event).toMatchObject({ kind: 'snapshot', symbol: 'AAPL' });
      expect(JSON.parse(event.data)).toEqual({
        ...{ price: 269.7, volume: 43_332_154, timestamp: RECORDED_TS, open: 269.275 },
        ...{ day_high: 271.41, day_low: 267.11, previous_close: 269 },
        ...{ market_cap: 4_002_453_389_312, pe_ratio: 40.925644, currency: 'USD' },
        ...{ market_state: 'POSTPOST', provider: 'yahoo', synthetic: false },
      });
      await log.close();
    });

    test('adds symbols that Yahoo knows, untracked, and none that it does not', async () => {
      await using world = await openQuotes(edition);
      await upsertSymbols(world.test.sql, ['MSFT']);
      const report = await round(world, ['AAPL', 'MSFT', 'NOPE', 'AAPL']);
      expect(report.failures).toEqual([{ symbol: 'NOPE', error: 'Yahoo does not know NOPE' }]);
      expect(report.symbols).toBe(3);
      expect(await selectSymbols(world)).toEqual([
        ['AAPL', false],
        ['MSFT', true],
      ]);
      expect(await selectRuns(world)).toMatchObject([
        {
          ...{ state: 'failed', total: 3, done: 3, inserted: 2 },
          error: '1 of 3 symbols failed; NOPE: Yahoo does not know NOPE',
        },
      ]);
      expect(world.lines).toEqual([]); // the command prints it
      await world.collector(['NOPE']).run();
      expect(world.lines).toEqual(['WARNING quotes: 1 symbols failed']);
    });

    test('is of all tracked symbols when none is named', async () => {
      await using world = await openQuotes(edition);
      expect(await round(world)).toMatchObject({ symbols: 0, requests: 0 });
      await upsertSymbols(world.test.sql, ['MSFT']);
      await upsertSymbols(world.test.sql, ['AAPL'], { isTracked: false });
      const { snapshots } = await round(world);
      expect(snapshots.map(({ symbol }) => symbol)).toEqual(['MSFT']);
    });

    test('spells symbols by Yahoo’s rule, or as provider_symbols has them', async () => {
      await using world = await openQuotes(edition);
      const id = await addInstrument(world.test.sql, 'ODD');
      await world.test.sql`insert into provider_symbols values (${id}, 'yahoo', '^ODD')`;
      const quote = world.server.quotes.get('AAPL');
      world.server.quotes.set('BRK-B', { ...quote, symbol: 'BRK-B' });
      world.server.quotes.set('^ODD', { ...quote, symbol: '^ODD', regularMarketPrice: 0 });
      const report = await round(world, ['ODD', 'BRK.B', 'ZZZ.A']);
      expect(world.server.requests.at(-1)).toBe('quote ^ODD,BRK-B,ZZZ-A');
      expect(report.snapshots).toMatchObject([
        { symbol: 'BRK.B', snapshot: { meta: { provider_symbol: 'BRK-B' } } },
      ]);
      // Failures are told under our names.
      expect(report.failures.map(({ symbol }) => symbol)).toEqual(['ZZZ.A', 'ODD']);
      const rejected = await world.test.sql`
        select dataset, instrument_id, symbol, reason from rejected_rows`;
      expect(rejected.map((row) => ({ ...row }))).toEqual([
        {
          ...{ dataset: 'snapshots', instrument_id: id, symbol: '^ODD' },
          reason: 'there is no price above 0',
        },
      ]);
    });

    test('refuses a quote of the future, but not one a little ahead', async () => {
      await using world = await openQuotes(edition);
      const nowSeconds = Date.parse(RECORDED_AT) / 1000;
      change(world, 'AAPL', { regularMarketTime: nowSeconds + 5 });
      change(world, 'MSFT', { regularMarketTime: nowSeconds + 6 });
      const report = await round(world, ['AAPL', 'MSFT']);
      expect(counts(report)).toEqual([1, 0, 0, 1]);
      expect(report.failures).toEqual([
        {
          symbol: 'MSFT',
          error:
            'the quote lies in the future (2025-10-30T00:05:06.000Z; here it is ' +
            '2025-10-30T00:05:00.000Z)',
        },
      ]);
      const [row] = await world.test.sql`select reason, seen_count from rejected_rows`;
      expect(row).toMatchObject({ reason: expect.stringContaining('future'), seen_count: 1 });
    });

    test('stores an older quote that comes after a newer one, once', async () => {
      await using world = await openQuotes(edition);
      await round(world, ['AAPL']);
      change(world, 'AAPL', { regularMarketTime: 1_761_767_000, regularMarketPrice: 268 });
      expect(counts(await round(world, ['AAPL']))).toEqual([1, 0, 0, 0]);
      expect(counts(await round(world, ['AAPL']))).toEqual([0, 0, 1, 0]);
      const [latest] = await world.test.sql`
        select price from snapshots order by ts desc limit 1`;
      expect(latest.price).toBe(269.7);
    });

    test('without a crumb takes the charts, and says what is missing', async () => {
      await using world = await openQuotes(edition);
      await round(world, ['AAPL']);
      world.server.crumb = 'another';
      world.server.respond('crumb', misbehave.html(), true);
      const report = await round(world, ['AAPL', 'MSFT']);
      expect(report.missing).toMatchObject({ fields: ['market_cap', 'pe_ratio', 'market_state'] });
      expect(report.failures).toEqual([]);
      const rows = await world.test.sql`
        select price, market_cap, meta ->> 'market_cap' as in_meta from snapshots order by price`;
      expect(rows.map((row) => ({ ...row }))).toEqual([
        { price: 269.7, market_cap: 4_002_453_389_312, in_meta: '4002453389312' }, // as before
        { price: 541.55, market_cap: null, in_meta: null },
      ]);
      const [, run] = await selectRuns(world);
      expect(run).toMatchObject({ state: 'succeeded', inserted: 1, unchanged: 1 });
      expect(run.error).toStartWith('without market_cap, pe_ratio, market_state: Yahoo');
    });

    test('does not mix with made-up data', async () => {
      await using world = await openQuotes(edition);
      const id = await addInstrument(world.test.sql, 'AAPL');
      await addDailyBar(world.test.sql, id, { session: '2025-10-28', close: 5, isMadeUp: true });
      const report = await round(world, ['AAPL', 'MSFT']);
      expect(report.snapshots.map(({ symbol }) => symbol)).toEqual(['MSFT']);
      expect(report.failures).toMatchObject([
        { symbol: 'AAPL', error: expect.stringContaining('AAPL holds synthetic data') },
      ]);
    });

    test('that fails is recorded with the reason, and stores nothing', async () => {
      await using world = await openQuotes(edition);
      world.server.respond('quote', misbehave.tooMany());
      const error = await round(world, ['AAPL']).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ProviderError);
      expect(await failureOf(round(world, ['AAPL']))).toContain('circuit breaker');
      const [first, second] = await selectRuns(world);
      expect(first).toMatchObject({ state: 'failed', requests: 3, done: 0, inserted: 0 });
      expect(first.error).toContain('Too Many Requests');
      expect(second).toMatchObject({ state: 'failed', requests: 0 });
      expect(second.error).toContain('left alone until 2025-10-30T00:06:00.000Z');
      const [{ rows }] = await world.test.sql`select count(*) as rows from snapshots`;
      expect(rows).toBe(0);
      expect(await selectSymbols(world)).toEqual([]);
    });

    test('that is told to stop is recorded as interrupted', async () => {
      await using world = await openQuotes(edition);
      const abort = new AbortController();
      world.server.respond('quote', (_, honest) => {
        abort.abort(new Error('told to stop'));
        return honest();
      });
      expect(await failureOf(round(world, ['AAPL'], abort.signal))).toBe('told to stop');
      expect(await selectRuns(world)).toMatchObject([
        { state: 'interrupted', error: 'told to stop', inserted: 0 },
      ]);
    });

    test('is committed whole or not at all', async () => {
      await using world = await openQuotes(edition);
      await world.test.sql`drop table events`;
      expect(await failureOf(round(world, ['AAPL']))).toContain('events');
      const [{ rows }] = await world.test.sql`
        select (select count(*) from snapshots) + (select count(*) from instrument_status) as rows`;
      expect(rows).toBe(0);
      expect(await selectRuns(world)).toMatchObject([{ state: 'failed' }]);
    });
  });

  describe(`the collector (${edition})`, () => {
    test('is alone: a second one is told who the first one is', async () => {
      await using world = await openQuotes(edition);
      const [first, second] = [world.collector(['AAPL']), world.collector(['MSFT'])];
      await first.acquire();
      expect(await failureOf(second.run())).toContain('quotes are being collected');
      await first.run();
      const busy = await second.run().catch((error: unknown) => error);
      expect(busy).toBeInstanceOf(CollectorBusyError);
      expect((busy as Error).message).toMatch(
        /^quotes are being collected into this database already, by \S+:\d+ since 20\S+Z: stop/,
      );
      expect((busy as Error).message).toContain(`:${process.pid} `);
      await first.close();
      expect(counts(await second.run())).toEqual([1, 0, 0, 0]);
    });

    test('keeps its lock from round to round, and takes it anew when it is lost', async () => {
      await using world = await openQuotes(edition);
      const collector = world.collector(['AAPL']);
      await collector.run();
      const kill = () => world.test.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'marketd quotes' and datname = current_database()`;
      // In the middle of a round the lock goes: the round ends, for another may have begun.
      world.server.respond('quote', async () => {
        await kill();
        return Promise.withResolvers<Response>().promise;
      });
      expect(await failureOf(collector.run())).toContain('lock "quotes" was lost');
      world.server.behave();
      expect(counts(await collector.run())).toEqual([0, 0, 1, 0]);
      expect((await selectRuns(world)).map(({ state }) => state)).toEqual([
        ...['succeeded', 'interrupted', 'succeeded'],
      ]);
    });
  });
}
