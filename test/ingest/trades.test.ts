import { beforeAll, describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { ingestTrades, type TradeItem, type TradeOptions } from '../../src/ingest/trades.ts';
import { makeTrades, type TradeColumns } from '../../src/model/trade.ts';
import type { Sql } from '../../src/store/database.ts';
import { EVENTS_EACH_MAX } from '../../src/store/events.ts';
import { withTradesLock } from '../../src/store/trades.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { addInstrument, failureOf, ingest } from '../fixtures/warehouse.ts';

const NOW = Date.parse('2024-03-01T23:00:00Z');
const AT = Date.parse('2024-03-01T15:00:00Z') * 1000;

interface Trade {
  /** Microseconds after AT. */
  at: number;
  sequence?: number;
  price?: number;
  size?: number;
  updates?: number;
  exchange?: string;
  conditions?: string;
}

function columns(trades: readonly Trade[]): TradeColumns {
  const made = makeTrades(trades.length);
  trades.forEach(({ at, sequence, price, size, updates, exchange, conditions }, i) => {
    made.ts[i] = AT + at;
    made.sequence[i] = sequence ?? Number.NaN;
    made.price[i] = price ?? 10;
    made.size[i] = size ?? 100;
    made.updates[i] = updates ?? 7;
    made.exchange[i] = exchange ?? null;
    made.conditions[i] = conditions ?? null;
  });
  return made;
}

const OPTIONS: TradeOptions = { provider: 'vendor', isSynthetic: false, receivedAt: NOW };

async function load(
  sql: Sql,
  id: number,
  trades: readonly Trade[],
  options: Partial<TradeOptions> = {},
  item: Partial<TradeItem> = {},
) {
  const one = { instrumentId: id, symbol: `I${id}`, trades: columns(trades), ...item };
  const counts = await ingestTrades(sql, [one], { ...OPTIONS, ...options });
  return counts.get(id);
}

async function stored(sql: Sql, id: number): Promise<string[]> {
  const rows = await sql`
    select (extract(epoch from ts) * 1000000)::bigint as micros, sequence, price, size, updates,
           provider, exchange, conditions
    from trades where instrument_id = ${id} order by ts, sequence`;
  return rows.map((row) => {
    const { sequence, price, size, updates, provider, exchange, conditions } = row;
    const values = [price, size, updates, provider, exchange, conditions];
    return `${row.micros - AT}#${sequence} ${values.join(' ')}`;
  });
}

const rejectedOf = (sql: Sql, id: number) => sql<{ reason: string; raw: string }[]>`
  select dataset, symbol, session, reason, raw from rejected_rows
  where instrument_id = ${id} order by rejected_id`;

describeEditions('trades', (database) => {
  let sql: Sql;
  let next = 0;
  const add = () => addInstrument(sql, `T${++next}`);
  beforeAll(() => {
    sql = database().sql;
  });

  test('are stored with microseconds, whatever order they come in', async () => {
    const id = await add();
    const count = await load(sql, id, [
      { at: 3, price: 12, exchange: 'N', conditions: '40', updates: 5 },
      { at: 1, price: 11.25, size: 0.5 },
      { at: 2, sequence: 77 },
    ]);
    expect(count).toEqual({ inserted: 3, changed: 0, unchanged: 0, rejected: 0 });
    expect(await stored(sql, id)).toEqual([
      '1#0 11.25 0.5 7 vendor  ',
      '2#77 10 100 7 vendor  ',
      '3#0 12 100 5 vendor N 40',
    ]);
  });

  test('of one instant are numbered by their position; again changes nothing', async () => {
    const id = await add();
    const trades = [{ at: 5, price: 1 }, { at: 7 }, { at: 5, price: 2 }, { at: 5, price: 3 }];
    const rows = ['5#0 1', '5#1 2', '5#2 3', '7#0 10'].map((row) => `${row} 100 7 vendor  `);
    expect(await load(sql, id, trades)).toMatchObject({ inserted: 4, unchanged: 0 });
    expect(await stored(sql, id)).toEqual(rows);
    const events = await sql`select max(event_id) from events`;
    expect(await load(sql, id, trades)).toEqual({
      inserted: 0,
      changed: 0,
      unchanged: 4,
      rejected: 0,
    });
    expect(await stored(sql, id)).toEqual(rows);
    expect([...(await sql`select max(event_id) from events`)]).toEqual([...events]);
  });

  test('that say something else replace stored ones; what is not given says nothing', async () => {
    const id = await add();
    await load(sql, id, [
      { at: 1, exchange: 'N', conditions: '1' },
      { at: 2, exchange: 'N' },
      { at: 3 },
    ]);
    const again = [
      { at: 1 },
      { at: 2, exchange: 'Q', price: 11 },
      { at: 3, updates: 4 },
      { at: 4 },
    ];
    expect(await load(sql, id, again, { provider: 'other' })).toEqual({
      inserted: 1,
      changed: 2,
      unchanged: 1,
      rejected: 0,
    });
    expect(await stored(sql, id)).toEqual([
      '1#0 10 100 7 vendor N 1',
      '2#0 11 100 7 other Q ',
      '3#0 10 100 4 other  ',
      '4#0 10 100 7 other  ',
    ]);
    const [status] = await sql`
      select records, providers from instrument_status
      where instrument_id = ${id} and timeframe = 'trade'`;
    expect(status).toEqual({ records: 4, providers: ['vendor', 'other'] });
  });

  test('around and among stored ones are counted right', async () => {
    const id = await add();
    await load(sql, id, [{ at: 10 }, { at: 20 }, { at: 30 }]);
    const around = [5, 10, 15, 20, 30, 35, 40].map((at) => ({ at }));
    expect(await load(sql, id, around)).toMatchObject({ inserted: 4, unchanged: 3 });
    expect((await stored(sql, id)).map((row) => Number.parseInt(row, 10))).toEqual([
      ...[5, 10, 15, 20, 30, 35, 40],
    ]);
  });

  describe('rows that are no trades are kept with the reason:', () => {
    const CASES: [what: string, trade: Trade, says: RegExp][] = [
      ['price 0', { at: 1, price: 0 }, /^the price is 0: not above 0$/],
      ['price below 0', { at: 1, price: -1 }, /^the price is -1/],
      ['price NaN', { at: 1, price: Number.NaN }, /^the price is NaN/],
      ['price infinite', { at: 1, price: Infinity }, /^the price is Infinity/],
      ['size 0', { at: 1, size: 0 }, /^the size is 0: not above 0$/],
      ['size below 0', { at: 1, size: -5 }, /^the size is -5/],
      ['size NaN', { at: 1, size: Number.NaN }, /^the size is NaN/],
      [
        'worth too much',
        { at: 1, price: 1e9, size: 1e9 },
        /^the trade is worth 1000000000000000000/,
      ],
      ['size beyond adding', { at: 1, price: 1e-9, size: 1e13 }, /^the size is 10000000000000/],
      [
        'the future',
        { at: (NOW + 6_000) * 1000 - AT },
        /^the trade lies in the future \(2024-03-01T/,
      ],
      [
        'seconds',
        { at: AT / 1e6 - AT },
        /evidently seconds since 1970 \(2024-03-01\), where micro/,
      ],
      ['milliseconds', { at: AT / 1e3 - AT }, /evidently milliseconds since 1970 \(2024-03-01\)/],
      ['nanoseconds', { at: AT * 1e3 - AT }, /evidently nanoseconds since 1970 \(2024-03-01\)/],
      ['NaN', { at: Number.NaN }, /^the timestamp is NaN, not whole microseconds/],
      ['half a microsecond', { at: 0.5 }, /not whole microseconds/],
      ['1970', { at: -AT }, /^the timestamp 0 is not one from 1974/],
      ['a broken number', { at: 1, sequence: 1.5 }, /^the sequence is 1.5/],
      ['a negative number', { at: 1, sequence: -1 }, /^the sequence is -1/],
      ['a long condition', { at: 1, conditions: 'x'.repeat(201) }, /longer than 200 bytes/],
      ['a zero byte', { at: 1, exchange: 'N\0' }, /^exchange has a zero byte/],
    ];
    for (const [what, trade, says] of CASES) {
      test(what, async () => {
        const id = await add();
        const count = await load(sql, id, [{ at: 0, price: 9 }, trade]);
        expect(count).toEqual({ inserted: 1, changed: 0, unchanged: 0, rejected: 1 });
        expect(await stored(sql, id)).toHaveLength(1);
        const [row] = await rejectedOf(sql, id);
        expect(row).toMatchObject({ dataset: 'trades', symbol: `I${id}` });
        expect(row!.reason).toMatch(says);
        expect(row!.raw).toContain('price,size,sequence=');
      });
    }

    test('a second one of the same number, whether it says the same or not', async () => {
      const id = await add();
      const twice = [
        { at: 1, sequence: 4 },
        { at: 1, sequence: 4 },
      ];
      const other = { at: 1, sequence: 4, price: 11 };
      const count = await load(sql, id, [...twice, other, { at: 1, sequence: 3 }]);
      expect(count).toEqual({ inserted: 2, changed: 0, unchanged: 0, rejected: 2 });
      expect(await stored(sql, id)).toEqual(['1#3 10 100 7 vendor  ', '1#4 10 100 7 vendor  ']);
      expect((await rejectedOf(sql, id)).map(({ reason }) => reason)).toEqual([
        'duplicate of another trade of the same batch',
        'second trade of the instant with this number, with other values; the first was kept',
      ]);
    });

    test('those of the reader, also when there is no trade at all', async () => {
      const id = await add();
      const rejected = [{ symbol: `I${id}`, reason: 'line 3: no trade', raw: 'x' }];
      const count = await load(sql, id, [], {}, { rejected });
      expect(count).toEqual({ inserted: 0, changed: 0, unchanged: 0, rejected: 1 });
      expect(await rejectedOf(sql, id)).toHaveLength(1);
    });
  });

  test('counters are by session in New York', async () => {
    const id = await add();
    const night = Date.parse('2024-02-29T02:00:00Z') * 1000 - AT; // the evening of the 28th
    await load(sql, id, [{ at: night }, { at: 0 }, { at: 1 }]);
    const [status] = await sql`
      select records, first_session, latest_session, is_synthetic, providers, version
      from instrument_status where instrument_id = ${id} and timeframe = 'trade'`;
    expect(status).toEqual({
      records: 3,
      first_session: '2024-02-28',
      latest_session: '2024-03-01',
      is_synthetic: false,
      providers: ['vendor'],
      version: 1,
    });
    await load(sql, id, [{ at: 2 }]);
    const [later] = await sql`
      select records, version from instrument_status
      where instrument_id = ${id} and timeframe = 'trade'`;
    expect(later).toEqual({ records: 4, version: 2 });
  });

  describe('made-up and real ones are not mixed:', () => {
    const synthetic = { provider: 'synthetic', isSynthetic: true };
    test('trades with trades', async () => {
      const real = await add();
      await load(sql, real, [{ at: 1 }]);
      expect(await failureOf(load(sql, real, [{ at: 2 }], synthetic))).toContain('holds real data');
      const madeUp = await add();
      await load(sql, madeUp, [{ at: 1 }], synthetic);
      expect(await failureOf(load(sql, madeUp, [{ at: 2 }]))).toContain('holds synthetic data');
      expect(
        [await stored(sql, real), await stored(sql, madeUp)].map(({ length }) => length),
      ).toEqual([1, 1]);
      expect(await load(sql, madeUp, [{ at: 2 }], synthetic)).toMatchObject({ inserted: 1 });
    });

    test('trades with bars, either way', async () => {
      const real = await add();
      await ingest(sql, real, [flatBar('2024-02-28')]);
      const refused = load(sql, real, [{ at: 1 }], synthetic);
      expect(await refused.catch((error) => error)).toBeInstanceOf(InputError);
      expect(await stored(sql, real)).toEqual([]);
      const madeUp = await add();
      await load(sql, madeUp, [{ at: 1 }], synthetic);
      const bars = ingest(sql, madeUp, [flatBar('2024-02-28')]);
      expect(await failureOf(bars)).toContain('holds synthetic data');
    });

    test('the first trades wait for bars that are being written, and see them', async () => {
      const id = await add();
      const holder = await sql.reserve();
      try {
        await holder`begin`;
        await holder`select pg_advisory_xact_lock(hashtext('marketd'), hashtext('ingest'))`;
        const loading = load(sql, id, [{ at: 1 }], synthetic).catch((error) => error);
        const waiting = async () => {
          const rows = await holder`
            select from pg_locks where locktype = 'advisory' and not granted
              and database = (select oid from pg_database where datname = current_database())`;
          return rows.length > 0;
        };
        while (!(await waiting()));
        await holder`
          insert into instrument_status (instrument_id, timeframe, records)
          values (${id}, '1d', 1)`;
        await holder`commit`;
        expect(await loading).toBeInstanceOf(InputError);
      } finally {
        await holder`rollback`;
        holder.release();
      }
    });
  });

  describe('events', () => {
    const eventsOf = (id: number) => sql<{ kind: string; symbol: string; data: string }[]>`
      select kind, symbol, data from events where instrument_id = ${id} order by event_id`;

    test('a few trades are announced one by one, in order, only those that are news', async () => {
      const id = await add();
      await load(sql, id, [
        { at: 2, sequence: 5, exchange: 'N', price: 10.5 },
        { at: 1, size: 7 },
      ]);
      await load(sql, id, [{ at: 1, size: 7 }, { at: 2, sequence: 5, price: 11 }, { at: 9 }]);
      const events = await eventsOf(id);
      expect(events.map(({ kind, symbol }) => [kind, symbol])).toEqual(
        Array.from({ length: 4 }, () => ['trade', `I${id}`]),
      );
      const data = events.map((event) => JSON.parse(event.data));
      expect(data[0]).toEqual({
        price: 10,
        volume: 7,
        size: 7,
        timestamp: '2024-03-01T15:00:00.000001Z',
        sequence: 0,
        exchange: null,
        conditions: null,
        provider: 'vendor',
        synthetic: false,
      });
      expect(data.map(({ timestamp, price }) => [timestamp.slice(-7), price])).toEqual([
        ['000001Z', 10],
        ['000002Z', 10.5],
        ['000002Z', 11],
        ['000009Z', 10],
      ]);
    });

    test('many are announced as a range', async () => {
      const id = await add();
      const many = Array.from({ length: EVENTS_EACH_MAX + 1 }, (_, at) => ({ at: at + 100 }));
      await load(sql, id, [{ at: 110 }]);
      await load(sql, id, many);
      await load(
        sql,
        id,
        many.map(({ at }) => ({ at, price: 11 })),
      );
      const events = await eventsOf(id);
      const inserted = events[1];
      const changed = events.at(-1);
      // One of them was there: twenty are news, which is few enough to name.
      expect(inserted!.kind).toBe('trade');
      expect(changed!.kind).toBe('trades');
      expect(JSON.parse(changed!.data)).toEqual({
        first: '2024-03-01T15:00:00.000100Z',
        last: '2024-03-01T15:00:00.000120Z',
        count: EVENTS_EACH_MAX + 1,
      });
    });
  });

  test('every process is told whose trades came', async () => {
    const id = await add();
    const heard: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const { unlisten } = await sql.listen('marketd', (payload) => {
      heard.push(payload);
      if (payload === `trades ${id}`) resolve();
    });
    await load(sql, id, [{ at: 1 }]);
    await promise;
    await unlisten();
    expect(heard).toContain(`trades ${id}`);
  });

  test('of several writers at once are each stored once', async () => {
    const id = await add();
    const batches = Array.from({ length: 8 }, (_, i) =>
      Array.from({ length: 50 }, (_, j) => ({ at: i * 25 + j })),
    );
    const counts = await Promise.all(batches.map((batch) => load(sql, id, batch)));
    const inserted = counts.reduce((sum, count) => sum + count!.inserted, 0);
    const unchanged = counts.reduce((sum, count) => sum + count!.unchanged, 0);
    expect([inserted, unchanged]).toEqual([225, 175]);
    expect(await stored(sql, id)).toHaveLength(225);
    const [status] = await sql`
      select records from instrument_status where instrument_id = ${id} and timeframe = 'trade'`;
    expect(status).toEqual({ records: 225 });
  });

  test('how many came in last is left behind, and stays when none did', async () => {
    const id = await add();
    const item = { instrumentId: id, symbol: 'X', trades: columns([{ at: 1 }, { at: 2 }]) };
    const last = async () => {
      const [row] = await sql`select value from settings where name = 'last_trades'`;
      return row.value as string;
    };
    await ingestTrades(sql, [item], OPTIONS);
    expect(await last()).toMatch(/^2 \d{4}-\d\d-\d\dT[\d:.]+Z$/);
    const before = await last();
    await ingestTrades(sql, [item], OPTIONS);
    expect(await last()).toBe(before);
  });

  test('a failure leaves nothing behind', async () => {
    const id = await add();
    const failing = withTradesLock(sql, async (tx) => {
      await tx`insert into trades (ts, sequence, price, size, ts_received, instrument_id, provider)
               values (now(), 0, 1, 1, now(), ${id}, 'x')`;
      throw new Error('half-way');
    });
    expect(await failureOf(failing)).toBe('half-way');
    expect(await stored(sql, id)).toEqual([]);
    const item = { instrumentId: id, symbol: 'X', trades: columns([{ at: 1 }]) };
    expect(await failureOf(ingestTrades(sql, [item, item], OPTIONS))).toContain('twice');
    expect(await ingestTrades(sql, [], OPTIONS)).toEqual(new Map());
  });
});
