import { afterEach, describe, expect, test } from 'bun:test';
import type { Transaction } from '../../src/store/database.ts';
import {
  deleteEvents,
  type EventPruning,
  insertEvents,
  type PruningOptions,
  startEventPruning,
} from '../../src/store/events.ts';
import { describeEditions } from '../database.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { addEvents, event } from '../fixtures/event-stream.ts';
import { until } from '../fixtures/http-server.ts';

interface Row {
  id: number;
  kind: string;
  symbol: string;
  data: string;
}

const HOUR_MS = 3_600_000;

describeEditions('the log of events', (database) => {
  const sql = () => database().sql;

  const rows = () => sql()<Row[]>`
    select event_id as id, kind, symbol, data from events order by event_id`;

  const ids = async () => (await rows()).map(({ id }) => id);

  /** An empty log, then so many events, each committed an hour after the other; ends now. */
  async function fill(count: number): Promise<number[]> {
    await sql()`truncate events`;
    const made = await addEvents(
      sql(),
      Array.from({ length: count }, (_, i) => event('AAPL', 1, { i })),
    );
    await sql()`
      update events e set ts_committed = now() - (${count} - n.position) * interval '1 hour'
      from unnest(${made}::bigint[]) with ordinality as n(id, position) where e.event_id = n.id`;
    return made;
  }

  const hoursAgo = (hours: number) => new Date(Date.now() - hours * HOUR_MS);

  test('keeps events in the order in which they are given', async () => {
    await sql()`truncate events`;
    const made = await addEvents(sql(), [
      { kind: 'trade', instrumentId: 7, symbol: 'BRK.B', data: { price: 1.5, note: 'ä\n"\u0000' } },
      { kind: 'bars', instrumentId: 3, symbol: 'AAPL', data: { count: 30 } },
      { kind: 'snapshot', instrumentId: 7, symbol: 'BRK.B', data: {} },
    ]);
    const found = await rows();
    expect(found.map(({ id }) => id)).toEqual(made);
    expect(found.map(({ kind, symbol }) => `${kind} ${symbol}`)).toEqual([
      'trade BRK.B',
      'bars AAPL',
      'snapshot BRK.B',
    ]);
    expect(JSON.parse(found[0]!.data)).toEqual({ price: 1.5, note: 'ä\n"\u0000' });
    expect(found.every(({ data }) => !/[\r\n]/.test(data))).toBe(true);
  });

  test('draws no number for nothing', async () => {
    const before = await addEvents(sql(), [event('AAPL', 1)]);
    expect(await addEvents(sql(), [])).toEqual([]);
    expect(await addEvents(sql(), [event('AAPL', 1)])).toEqual([before[0]! + 1]);
  });

  test('tells up to which number it goes, when that is committed', async () => {
    const log = new ChangeLog(database().url);
    expect(await log.next()).toEqual({ kind: 'trust', isTrusted: true });
    const attempt = sql().begin(async (tx) => {
      await insertEvents(tx as unknown as Transaction, [event('AAPL', 1)]);
      throw new Error('never mind');
    });
    await expect(attempt).rejects.toThrow('never mind');
    const made = await addEvents(sql(), [event('AAPL', 1), event('AAPL', 1)]);
    expect(await log.next()).toEqual({ kind: 'events', eventId: made[1]! });
    await log.close();
  });

  test('numbers are in the order of the commits, whoever writes', async () => {
    await sql()`truncate events`;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let i = 0; i < 40; i++) {
        await sql()
          .begin(async (tx) => {
            await insertEvents(tx as unknown as Transaction, [event(`W${writer}`, writer, { i })]);
            // Between the number and the commit: others come in here unless they are kept out.
            await tx`select pg_sleep(0.002 * ${i % 3})`;
            if (i % 10 === 9) throw new Error('rolled back');
          })
          .catch((error) => {
            if (error.message !== 'rolled back') throw error;
          });
      }
    });
    const seen: number[] = [];
    let isDone = false;
    const reader = (async () => {
      for (let isLast = false; !isLast; ) {
        isLast = isDone;
        const last = seen.at(-1) ?? 0;
        const news = await sql()<{ id: number }[]>`
          select event_id as id from events where event_id > ${last} order by event_id`;
        seen.push(...news.map(({ id }) => id));
      }
    })();
    await Promise.all(writers);
    isDone = true;
    await reader;
    expect(seen).toHaveLength(4 * 36);
    expect(seen).toEqual(await ids());
  });

  describe('forgets', () => {
    test('what is too old, and leaves the last number that went', async () => {
      const made = await fill(6);
      expect(await deleteEvents(sql(), hoursAgo(2.5))).toBe(3);
      expect(await ids()).toEqual(made.slice(2));
      const [mark, ...kept] = await rows();
      expect(mark).toMatchObject({ id: made[2], kind: 'pruned', data: '{}' });
      expect(kept.every(({ kind }) => kind === 'trade')).toBe(true);
      expect(await deleteEvents(sql(), hoursAgo(2.5))).toBe(0);
      expect(await deleteEvents(sql(), hoursAgo(1.5))).toBe(1);
      expect(await ids()).toEqual(made.slice(3));
    });

    test('nothing when nothing is old, and nothing of an empty log', async () => {
      const made = await fill(3);
      expect(await deleteEvents(sql(), hoursAgo(10))).toBe(0);
      expect(await ids()).toEqual(made);
      expect((await rows())[0]!.kind).toBe('trade');
      await sql()`truncate events`;
      expect(await deleteEvents(sql(), new Date())).toBe(0);
      expect(await ids()).toEqual([]);
    });

    test('everything when all is old, but not how far it went', async () => {
      const made = await fill(3);
      expect(await deleteEvents(sql(), hoursAgo(-1))).toBe(3);
      expect(await ids()).toEqual([made[2]!]);
      expect(await addEvents(sql(), [event('AAPL', 1)])).toEqual([made[2]! + 1]);
    });

    test('some at a time', async () => {
      const made = await fill(10);
      expect(await deleteEvents(sql(), hoursAgo(0.5), 4)).toBe(4);
      expect(await ids()).toEqual(made.slice(3));
      expect(await deleteEvents(sql(), hoursAgo(0.5), 4)).toBe(3);
      expect(await deleteEvents(sql(), hoursAgo(0.5), 4)).toBe(2);
      expect(await ids()).toEqual(made.slice(8));
    });

    test('nothing behind one that is kept, though a clock was wrong', async () => {
      const made = await fill(5);
      await sql()`update events set ts_committed = now() where event_id = ${made[1]!}`;
      expect(await deleteEvents(sql(), hoursAgo(0.5))).toBe(1);
      expect(await ids()).toEqual(made);
    });
  });

  describe('is pruned', () => {
    let pruning: EventPruning | undefined;
    afterEach(() => pruning?.stop());

    const start = (change: Partial<PruningOptions>) => {
      const lines: string[] = [];
      const log = (level: string, message: string) => void lines.push(`${level} ${message}`);
      const options = { write: sql(), retentionHours: 2, isLeader: () => true, log, everyMs: 5 };
      pruning = startEventPruning({ ...options, ...change });
      return lines;
    };

    test('again and again, in the process that leads', async () => {
      const made = await fill(5);
      const lines = start({});
      await until(async () => ((await ids()).length === 3 ? true : undefined));
      expect(await ids()).toEqual(made.slice(2));
      await sql()`update events set ts_committed = ts_committed - interval '1 hour'`;
      await until(async () => ((await ids()).length === 2 ? true : undefined));
      expect(lines).toEqual([]);
    });

    test('in as many steps as it takes', async () => {
      await sql()`truncate events`;
      await sql()`
        insert into events (event_id, instrument_id, kind, symbol, data, ts_committed)
        select nextval('event_ids'), 1, 'trade', 'AAPL', '{}', now() - interval '1 day'
        from generate_series(1, 25000)`;
      // The first round does it all: the next one would be in an hour.
      let asked = 0;
      start({ isLeader: () => ++asked < 6 });
      await until(async () => ((await ids()).length === 1 ? true : undefined));
    });

    test('not where another process leads', async () => {
      const made = await fill(5);
      let asked = 0;
      start({ isLeader: () => ++asked < 0 });
      await until(() => (asked > 3 ? true : undefined));
      await pruning!.stop();
      expect(await ids()).toEqual(made);
    });

    test('later when it fails, which is logged', async () => {
      const made = await fill(5);
      await sql()`alter table events rename to events_away`;
      const lines = start({});
      await until(() => (lines.length > 0 ? true : undefined));
      expect(lines[0]).toMatch(/^WARNING old events are not forgotten yet: .*"events"/);
      await sql()`alter table events_away rename to events`;
      await until(async () => ((await ids()).length === 3 ? true : undefined));
      expect(await ids()).toEqual(made.slice(2));
    });

    test('no more once it is stopped', async () => {
      await fill(1);
      start({});
      await pruning!.stop();
      const made = await fill(5);
      await Bun.sleep(20); // four rounds, had it not been stopped
      expect(await ids()).toEqual(made);
    });
  });
});
