import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import {
  SYNTHETIC_SYMBOLS,
  type SyntheticTrades,
  type SyntheticTradesOptions,
  startSyntheticTrades,
} from '../../src/ingest/synthetic-trades.ts';
import { inventPrice, TRADES_MAX } from '../../src/providers/synthetic-trades.ts';
import { type Database, openDatabase, type Sql } from '../../src/store/database.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { Gate } from '../fixtures/http-gate.ts';
import { until } from '../fixtures/http-server.ts';
import { addBars, addDailyBar, addSnapshot, addTrades } from '../fixtures/price-rows.ts';
import { addInstrument, failureOf } from '../fixtures/warehouse.ts';
import { ManualClock } from '../vendor-server.ts';

const START = '2026-11-20T15:00:00Z';
const INTERVAL = 3_000;
const SEED = 7;

interface Started extends AsyncDisposable {
  loop: SyntheticTrades;
  clock: ManualClock;
  /** What was logged: level and message. */
  lines: string[];
  /** Lets so many intervals pass, one at a time, each with its round. */
  rounds(count: number): Promise<void>;
}

async function start(
  database: Database,
  symbols: readonly string[],
  change: Partial<SyntheticTradesOptions> = {},
  from = START,
): Promise<Started> {
  const clock = new ManualClock(from);
  const lines: string[] = [];
  const loop = await startSyntheticTrades({
    database,
    symbols,
    seed: SEED,
    intervalMs: INTERVAL,
    clock,
    log: (level, message) => void lines.push(`${level} ${message}`),
    isLeader: () => true,
    ...change,
  });
  const rounds = async (count: number) => {
    for (let i = 0; i < count; i++) {
      await clock.asleep();
      clock.advance(INTERVAL);
    }
    await clock.asleep();
  };
  return { loop, clock, lines, rounds, [Symbol.asyncDispose]: () => loop.stop() };
}

interface Trade {
  micros: number;
  price: number;
  size: number;
  provider: string;
}

async function selectTrades(sql: Sql, symbol: string): Promise<Trade[]> {
  const rows = await sql<Trade[]>`
    select (extract(epoch from ts) * 1000000)::bigint as micros, price, size, provider
    from trades join symbol_ranges using (instrument_id)
    where symbol = ${symbol} order by ts, sequence`;
  return rows.map((row) => ({ ...row }));
}

function expectSteps(prices: readonly number[]): void {
  const steps = prices.slice(1).map((price, i) => Math.abs(price / prices[i]! - 1));
  expect(Math.max(...steps)).toBeLessThanOrEqual(0.02);
}

interface Hold {
  /** Resolves with the server's process of the round that waits. */
  waiting(): Promise<number>;
  release(): Promise<void>;
}

/** Keeps rounds from being stored: their transactions wait for a lock. */
async function holdTrades(sql: Sql): Promise<Hold> {
  const taken = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(hashtext('marketd'), hashtext('trades'))`;
    taken.resolve();
    await released.promise;
  });
  await taken.promise;
  const waiting = () =>
    until(async () => {
      const rows = await sql<{ pid: number }[]>`
        select pid from pg_stat_activity
        where datname = current_database() and wait_event = 'advisory'`;
      expect(rows.length).toBeLessThanOrEqual(1); // one round at a time
      return rows[0]?.pid;
    });
  const release = async () => {
    released.resolve();
    await holding;
  };
  return { waiting, release };
}

/** Lets one round begin, and cuts its connection while it is under way. */
async function cutRound(sql: Sql, started: Started): Promise<void> {
  const hold = await holdTrades(sql);
  await started.clock.asleep();
  started.clock.advance(INTERVAL);
  await sql`select pg_terminate_backend(${await hold.waiting()}, 5000)`;
  await started.clock.asleep();
  await hold.release();
}

const startMicros = Date.parse(START) * 1000;

describeEditions('whose trades are made up', (database) => {
  test('when nobody is tracked: of five, which stay untracked; else of those', async () => {
    const { sql, url } = database();
    const pools = openDatabase(url);
    try {
      {
        await using started = await start(pools, []);
        await started.rounds(1);
        expect(started.loop.state().symbols).toEqual(SYNTHETIC_SYMBOLS.toSorted());
      }
      const [row] = await sql`
        select count(*) as count, bool_or(is_tracked) as tracked from instruments`;
      expect(row).toEqual({ count: 5, tracked: false });
      await upsertSymbols(sql, ['TRACKED', 'MSFT']);
      await using started = await start(pools, []);
      await started.rounds(1);
      expect(started.loop.state().symbols).toEqual(['MSFT', 'TRACKED']);
      await upsertSymbols(sql, ['LATER']);
      started.clock.advance(3_600_000); // looked at again every hour
      await until(() => (started.loop.state().symbols.length === 3 ? true : undefined));
    } finally {
      await pools.close();
    }
  });
});

describeEditions('synthetic trades', (database) => {
  let pools: Database;
  let number = 0;
  const name = () => `S${++number}`;
  beforeAll(() => {
    pools = openDatabase(database().url);
  });
  afterAll(async () => {
    await pools?.close();
  });

  test('come one or more a symbol and interval, labelled, no step beyond 2 %', async () => {
    const symbols = [name(), name(), name()];
    await using started = await start(pools, symbols);
    await started.rounds(40);
    expect(started.loop.state()).toMatchObject({ status: 'running', rounds: 40, lastError: null });
    let total = 0;
    for (const symbol of symbols) {
      const trades = await selectTrades(database().sql, symbol);
      total += trades.length;
      for (let round = 0; round < 40; round++) {
        const from = startMicros + round * INTERVAL * 1000;
        const of = trades.filter(({ micros }) => micros > from && micros <= from + 3_000_000);
        expect(of.length).toBeWithin(1, TRADES_MAX + 1);
      }
      expect(new Set(trades.map(({ provider }) => provider))).toEqual(new Set(['synthetic']));
      expectSteps([inventPrice(SEED, symbol), ...trades.map(({ price }) => price)]);
      expect(trades.every(({ size }) => Number.isInteger(size) && size > 0)).toBe(true);
      const [status] = await database().sql`
        select records, is_synthetic from instrument_status
        join symbol_ranges using (instrument_id) where symbol = ${symbol} and timeframe = 'trade'`;
      expect(status).toEqual({ records: trades.length, is_synthetic: true });
    }
    expect(started.loop.state().trades).toBe(total);
    expect(started.lines).toEqual([]);
  });

  test('begin at the last daily close, and go on from the last trade', async () => {
    const { sql } = database();
    const symbol = name();
    const id = await addInstrument(sql, symbol);
    await addDailyBar(sql, id, { session: '2026-11-18', close: 500, isMadeUp: true });
    await addDailyBar(sql, id, { session: '2026-11-19', close: 400, isMadeUp: true });
    await addDailyBar(sql, id, { session: '2026-11-20', close: 9, score: 0, isMadeUp: true });
    {
      await using started = await start(pools, [symbol]);
      await started.rounds(30);
    }
    const before = await selectTrades(sql, symbol);
    expectSteps([400, ...before.map(({ price }) => price)]);
    await using again = await start(pools, [symbol], {}, '2026-11-20T18:00:00Z');
    await again.rounds(30);
    const all = await selectTrades(sql, symbol);
    expect(all.slice(0, before.length)).toEqual(before);
    expectSteps(all.map(({ price }) => price));
    const moves = (trades: Trade[]) =>
      trades.slice(1, 20).map(({ price }, i) => Math.round(10_000 * (price / trades[i]!.price)));
    expect(moves(all.slice(before.length))).not.toEqual(moves(before)); // no repetition
  });

  test('are the same for the same seed and start', async () => {
    const { sql } = database();
    const symbol = name();
    await using first = await start(pools, [symbol]);
    await first.rounds(10);
    const trades = await selectTrades(sql, symbol);
    await first.loop.stop();
    await sql`
      delete from trades using symbol_ranges r
      where r.instrument_id = trades.instrument_id and r.symbol = ${symbol}`;
    await using second = await start(pools, [symbol]);
    await second.rounds(10);
    expect(await selectTrades(sql, symbol)).toEqual(trades);
  });

  describe('are refused', () => {
    type Real = (sql: Sql, id: number) => Promise<void>;
    const real: [what: string, store: Real][] = [
      ['daily bars', (sql, id) => addDailyBar(sql, id, { session: '2026-11-19', close: 1 })],
      ['minutes', (sql, id) => addBars(sql, id, '1m', [{ ts: '2026-11-19T15:00:00Z', close: 1 }])],
      ['hours', (sql, id) => addBars(sql, id, '1h', [{ ts: '2026-11-19T15:00:00Z', close: 1 }])],
      ['trades', (sql, id) => addTrades(sql, id, [{ ts: '2026-11-19T15:00:00Z', price: 1 }])],
      ['snapshots', (sql, id) => addSnapshot(sql, id, { ts: '2026-11-19T15:00:00Z', price: 1 })],
    ];
    for (const [what, store] of real) {
      test(`of a symbol of which real ${what} are held; the others go on`, async () => {
        const { sql } = database();
        const [held, free] = [name(), name()];
        await store(sql, await addInstrument(sql, held));
        const before = await selectTrades(sql, held);
        await using started = await start(pools, [held, free]);
        await started.rounds(2);
        const state = started.loop.state();
        expect(state).toMatchObject({ status: 'running', symbols: [free], refused: [held] });
        expect(started.lines).toEqual([
          expect.stringMatching(new RegExp(`^WARNING ${held}: real data`)),
        ]);
        expect(await selectTrades(sql, held)).toEqual(before);
        expect(await selectTrades(sql, free)).not.toEqual([]);
        const failure = await failureOf(start(pools, [held]));
        expect(failure).toMatch(`${held}: real data is held, and made-up trades are not mixed`);
      });
    }

    test('at the start when all symbols hold real data: the error names them', async () => {
      const { sql } = database();
      const symbols = Array.from({ length: 23 }, name).sort();
      for (const symbol of symbols) {
        await real[0]![1](sql, await addInstrument(sql, symbol));
      }
      const error = await start(pools, symbols).catch((error) => error as InputError);
      expect(error).toBeInstanceOf(InputError);
      expect(error).toMatchObject({ field: 'SYNTHETIC' });
      expect((error as InputError).message).toStartWith(`${symbols.slice(0, 20).join(', ')} and 3`);
    });

    test('not for counters of nothing, nor for what was made up itself', async () => {
      const { sql } = database();
      const symbol = name();
      const id = await addInstrument(sql, symbol);
      await addDailyBar(sql, id, { session: '2026-11-19', close: 50, isMadeUp: true });
      await addSnapshot(sql, id, { ts: START, price: 50, provider: 'synthetic' });
      await sql`
        insert into instrument_status (instrument_id, timeframe, records, is_synthetic)
        values (${id}, '1m', 0, false)`;
      await using started = await start(pools, [symbol]);
      await started.rounds(1);
      expect(started.loop.state()).toMatchObject({ status: 'running', refused: [] });
    });

    test('from when real data comes in, at the latest an hour later', async () => {
      const { sql } = database();
      const symbol = name();
      await using started = await start(pools, [symbol]);
      await started.rounds(2);
      const before = await selectTrades(sql, symbol);
      const [row] = await sql`select instrument_id from symbol_ranges where symbol = ${symbol}`;
      await real[0]![1](sql, row!.instrument_id);
      started.clock.advance(3_600_000);
      await started.loop.ended;
      expect(started.loop.state()).toMatchObject({ status: 'refused', symbols: [] });
      const line = new RegExp(`^ERROR no more trades .*: ${symbol}: real data`);
      expect(started.lines).toEqual([expect.stringMatching(line)]);
      expect(await selectTrades(sql, symbol)).toEqual(before);
    });
  });

  test('are written by the leader only, who goes on where another has stopped', async () => {
    const { sql } = database();
    const symbol = name();
    let leader = 1;
    await using one = await start(pools, [symbol], { isLeader: () => leader === 1 });
    await using two = await start(pools, [symbol], { isLeader: () => leader === 2 });
    const both = async (count: number) => {
      for (let i = 0; i < count; i++) await Promise.all([one.rounds(1), two.rounds(1)]);
    };
    await both(5);
    expect(two.loop.state()).toMatchObject({ status: 'standby', rounds: 0 });
    leader = 2;
    await both(5);
    expect(one.loop.state()).toMatchObject({ status: 'standby', rounds: 5 });
    expect(two.loop.state()).toMatchObject({ status: 'running', rounds: 5 });
    leader = 1;
    await both(5);
    expect([one.loop.state().rounds, two.loop.state().rounds]).toEqual([10, 5]);
    const trades = await selectTrades(sql, symbol);
    expectSteps(trades.map(({ price }) => price));
    expect(one.loop.state().trades + two.loop.state().trades).toBe(trades.length);
  });

  test('go on when a connection is cut in the middle of a round', async () => {
    const { sql, url } = database();
    const symbol = name();
    const own = openDatabase(url);
    try {
      await using started = await start(own, [symbol]);
      await cutRound(sql, started);
      expect(started.loop.state()).toMatchObject({ status: 'failing', rounds: 0 });
      expect(started.lines).toEqual([expect.stringMatching(/^WARNING made-up trades wait until/)]);
      expect(await selectTrades(sql, symbol)).toEqual([]);
      await started.rounds(1);
      expect(started.loop.state()).toMatchObject({ status: 'running', rounds: 1, lastError: null });
      expect(started.lines[1]).toMatch(/^INFO .*stored again after 1 failures: none was lost/);
      const kept = await selectTrades(sql, symbol);
      expect(kept.every(({ micros }) => micros <= startMicros + 3_000_000)).toBe(true);
      await started.rounds(3);
      const trades = await selectTrades(sql, symbol);
      expect(trades.length).toBe(started.loop.state().trades);
      expectSteps(trades.map(({ price }) => price));
    } finally {
      await own.close();
    }
  });

  test('are stored once when the answer to the commit was lost', async () => {
    const { sql } = database();
    const symbol = name();
    let calls = 0;
    const begin = async (...of: Parameters<Sql['begin']>) => {
      const result = await pools.write.begin(...of);
      if (++calls === 1) throw Object.assign(new Error('cut'), { code: 'CONNECTION_CLOSED' });
      return result;
    };
    const write = new Proxy(pools.write, {
      get: (sql, key) => (key === 'begin' ? begin : Reflect.get(sql, key)),
    });
    await upsertSymbols(sql, [symbol]);
    await using started = await start({ ...pools, write }, [symbol]);
    await started.rounds(1);
    const first = await selectTrades(sql, symbol);
    expect(first.length).toBeGreaterThan(0);
    await started.rounds(1);
    expect(await selectTrades(sql, symbol)).toEqual(first);
    expect(started.loop.state()).toMatchObject({ rounds: 1, trades: first.length });
    expect(started.lines[1]).toContain('none was lost');
  });

  test('wait while the database is away, which is said once, and lose nothing', async () => {
    const { sql, url } = database();
    const symbol = name();
    const gate = new Gate();
    const gated = openDatabase(gate.open(url));
    try {
      await using started = await start(gated, [symbol]);
      await started.rounds(3);
      const before = await selectTrades(sql, symbol);
      gate.close();
      for (let i = 0; i < 4; i++) await started.rounds(1);
      const state = started.loop.state();
      expect(state).toMatchObject({ status: 'failing', rounds: 3, trades: before.length });
      expect(state.lastError).toMatch(/wait until the database is back: /);
      // One line a kind of failure: the cut, then the refused connections.
      expect(started.lines.length).toBeWithin(1, 3);
      for (const line of started.lines) expect(line).toMatch(/^WARNING made-up trades wait/);
      expect(await selectTrades(sql, symbol)).toEqual(before);
      gate.open(url);
      await until(async () => {
        await started.rounds(1);
        return started.loop.state().status === 'running' ? true : undefined;
      });
      expect(started.lines.at(-1)).toMatch(
        /^INFO .*stored again after \d+ failures: none was lost/,
      );
      await started.rounds(3);
      const trades = await selectTrades(sql, symbol);
      expect(trades.slice(0, before.length)).toEqual(before);
      expect(trades.length).toBe(started.loop.state().trades);
      expectSteps(trades.map(({ price }) => price));
    } finally {
      gate.close();
      await gated.close();
    }
  });

  test('begin later when the database is away at the start', async () => {
    const symbol = name();
    const gate = new Gate();
    const address = gate.open(database().url);
    gate.close();
    const gated = openDatabase(address);
    try {
      await using started = await start(gated, [symbol]);
      await started.rounds(1);
      expect(started.loop.state()).toMatchObject({ status: 'failing', rounds: 0 });
      gate.open(database().url);
      await until(async () => {
        await started.rounds(1);
        return started.loop.state().rounds > 0 ? true : undefined;
      });
      expect(await selectTrades(database().sql, symbol)).not.toEqual([]);
    } finally {
      gate.close();
      await gated.close();
    }
  });

  test('that the database refuses are counted as lost, in the log', async () => {
    const { sql } = database();
    const symbol = name();
    await using started = await start(pools, [symbol]);
    await started.rounds(1);
    await sql`
      alter table instrument_status
      add constraint refuse check (timeframe <> 'trade') not valid`;
    try {
      await started.rounds(3);
    } finally {
      await sql`alter table instrument_status drop constraint refuse`;
    }
    expect(started.loop.state()).toMatchObject({ status: 'failing', rounds: 1 });
    expect(started.lines).toEqual([
      expect.stringMatching(/^ERROR made-up trades cannot be stored: .*refuse/),
    ]);
    await started.rounds(1);
    const [, lost] = /after 3 failures: (\d+) were lost/.exec(started.lines[1]!)!;
    expect(Number(lost)).toBeWithin(3, 3 * TRADES_MAX + 1);
    expect(started.loop.state()).toMatchObject({ status: 'running', rounds: 2 });
  });

  test('that were never stored are counted when the loop is stopped', async () => {
    const { sql, url } = database();
    const symbol = name();
    const own = openDatabase(url);
    try {
      const started = await start(own, [symbol]);
      await cutRound(sql, started);
      await started.loop.stop();
      expect(started.lines.at(-1)).toMatch(/^WARNING \d+ made-up trades were never stored$/);
      expect(started.loop.state().status).toBe('stopped');
      expect(await selectTrades(sql, symbol)).toEqual([]);
    } finally {
      await own.close();
    }
  });

  test('are made up one round at a time: beats that a long one misses are left out', async () => {
    const { sql } = database();
    const symbol = name();
    await using started = await start(pools, [symbol]);
    const long = await holdTrades(sql);
    await started.clock.asleep();
    started.clock.advance(INTERVAL);
    await long.waiting();
    for (let i = 0; i < 5; i++) started.clock.advance(INTERVAL - 1);
    await long.waiting();
    await long.release();
    await started.clock.asleep();
    expect(started.loop.state().rounds).toBe(1);
    // The next beat is where it would have been: 6 intervals after the start.
    const last = await holdTrades(sql);
    started.clock.advance(5);
    await last.waiting();
    const stopping = started.loop.stop();
    await last.release();
    await stopping;
    expect(started.loop.state()).toMatchObject({ status: 'stopped', rounds: 2 }); // finished
    const trades = await selectTrades(sql, symbol);
    expect(trades.length).toBe(started.loop.state().trades);
    const instants = trades.map(({ micros }) => micros);
    expect(instants).toEqual(instants.toSorted((a, b) => a - b));
  });

  test('wait for the clock when it was set back to before the last of them', async () => {
    const { sql } = database();
    const symbol = name();
    {
      await using started = await start(pools, [symbol]);
      await started.rounds(2);
    }
    const before = await selectTrades(sql, symbol);
    await using early = await start(pools, [symbol], {}, '2026-11-20T14:59:51Z');
    await early.rounds(3);
    expect(early.lines).toEqual([`WARNING ${symbol}: its latest trade lies in the future`]);
    expect(await selectTrades(sql, symbol)).toEqual(before);
    await early.rounds(4);
    const trades = await selectTrades(sql, symbol);
    expect(trades.length).toBeGreaterThan(before.length);
    expectSteps(trades.map(({ price }) => price));
  });
});
