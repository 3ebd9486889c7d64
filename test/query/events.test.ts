import { afterEach, describe, expect, test } from 'bun:test';
import {
  type EventPage,
  EventTail,
  eventNames,
  selectEvents,
  selectNewestEventId,
  type TailOptions,
} from '../../src/query/events.ts';
import { type Database, openDatabase, openPool } from '../../src/store/database.ts';
import { deleteEvents, type NewEvent } from '../../src/store/events.ts';
import { describeEditions } from '../database.ts';
import { addEvents, event } from '../fixtures/event-stream.ts';
import { until } from '../fixtures/http-server.ts';

const FAR_MS = 3_600_000;

describeEditions('events', (database) => {
  const sql = () => database().sql;
  const numbers = (page: EventPage) => page.events.map(({ eventId }) => eventId);

  /** An empty log, then these events. */
  async function fill(events: readonly NewEvent[]): Promise<number[]> {
    await sql()`truncate events`;
    return addEvents(sql(), events);
  }

  const some = (count: number) => Array.from({ length: count }, (_, i) => event('AAPL', 1, { i }));

  describe('are selected', () => {
    test('with all that is known of them', async () => {
      const before = Date.now() * 1000;
      const [id] = await fill([event('BRK.B', 7, { price: 1.5 })]);
      const page = await selectEvents(sql(), { after: id! - 1, limit: 10 });
      expect(page).toEqual({
        events: [
          {
            eventId: id!,
            instrumentId: 7,
            name: 'trade',
            symbol: 'BRK.B',
            data: '{"price":1.5}',
            committedMicros: expect.any(Number),
          },
        ],
        lastId: id!,
        firstId: id!,
        prunedId: 0,
        hasMore: false,
      });
      const [row] = await sql()<{ micros: number }[]>`
        select (extract(epoch from ts_committed) * 1000000)::bigint as micros from events`;
      expect(page.events[0]!.committedMicros).toBe(row!.micros);
      expect(page.events[0]!.committedMicros).toBeWithin(before - 5e6, before + 60e6);
    });

    test('after one and up to another, a page at a time', async () => {
      const made = await fill(some(5));
      const first = await selectEvents(sql(), { after: made[0]!, upTo: made[3]!, limit: 2 });
      expect(numbers(first)).toEqual([made[1]!, made[2]!]);
      expect([first.lastId, first.hasMore]).toEqual([made[2]!, true]);
      const second = await selectEvents(sql(), { after: made[2]!, upTo: made[3]!, limit: 2 });
      expect(numbers(second)).toEqual([made[3]!]);
      expect([second.lastId, second.hasMore]).toEqual([made[3]!, false]);
    });

    test('up to a number that was never given', async () => {
      const made = await fill(some(2));
      const page = await selectEvents(sql(), { after: 0, upTo: made[1]! + 5, limit: 9 });
      expect([numbers(page), page.lastId]).toEqual([made, made[1]! + 5]);
    });

    test('by instrument and by kind, batches with single ones', async () => {
      const kinds = ['trade', 'bar', 'snapshot', 'trades', 'bars'] as const;
      const made = await fill(
        kinds.flatMap((kind) => [1, 2].map((id) => ({ ...event('S', id), kind }))),
      );
      const range = { after: 0, limit: 100 };
      const ask = async (instrumentIds: number[] | null, asked: ('trade' | 'bar')[] | null) => {
        const page = await selectEvents(sql(), range, { instrumentIds, kinds: asked });
        expect([page.lastId, page.firstId]).toEqual([made.at(-1)!, made[0]!]);
        return page.events.map(({ name, instrumentId }) => `${name} ${instrumentId}`);
      };
      expect(await ask([2], null)).toEqual(kinds.map((kind) => `${kind} 2`));
      expect(await ask([2, 1], ['bar'])).toEqual(['bar 1', 'bar 2', 'bars 1', 'bars 2']);
      expect(await ask(null, ['trade'])).toEqual(['trade 1', 'trade 2', 'trades 1', 'trades 2']);
      expect(await ask([1], ['trade', 'bar'])).toEqual(['trade 1', 'bar 1', 'trades 1', 'bars 1']);
      expect(await ask([3], null)).toEqual([]);
      expect(await ask([], null)).toEqual([]);
      expect(eventNames(['snapshot'])).toEqual(['snapshot', 'snapshots']);
    });

    test('so many looked at, however few of them pass', async () => {
      const made = await fill([...some(4), event('MSFT', 2)]);
      const filter = { instrumentIds: [2], kinds: null };
      const page = await selectEvents(sql(), { after: 0, limit: 3 }, filter);
      expect(page).toMatchObject({ events: [], lastId: made[2]!, hasMore: true });
      const next = await selectEvents(sql(), { after: page.lastId, limit: 3 }, filter);
      expect([numbers(next), next.hasMore]).toEqual([[made[4]!], false]);
    });

    test('with a word on those that are no longer kept', async () => {
      const made = await fill(some(5));
      await sql()`
        update events set ts_committed = now() - interval '1 day' where event_id <= ${made[2]!}`;
      await deleteEvents(sql(), new Date(Date.now() - FAR_MS));
      const page = await selectEvents(sql(), { after: made[0]!, limit: 10 });
      expect(numbers(page)).toEqual([made[3]!, made[4]!]);
      expect([page.prunedId, page.firstId]).toEqual([made[2]!, made[3]!]);
      const later = await selectEvents(sql(), { after: made[3]!, limit: 10 });
      expect([later.prunedId, later.firstId]).toEqual([made[2]!, made[4]!]);
    });

    test('from an empty log', async () => {
      await fill([]);
      expect(await selectNewestEventId(sql())).toBe(0);
      const nothing = { events: [], lastId: 4, firstId: null, prunedId: 0, hasMore: false };
      expect(await selectEvents(sql(), { after: 4, limit: 10 })).toEqual(nothing);
      const made = await fill(some(2));
      expect(await selectNewestEventId(sql())).toBe(made[1]!);
    });
  });

  describe('at the end of the log', () => {
    const open: { tail: EventTail; pools: Database }[] = [];
    afterEach(async () => {
      for (const { tail, pools } of open.splice(0)) {
        tail.stop();
        await pools.close();
      }
    });

    function makeTail(change: Partial<TailOptions> = {}, url = database().url) {
      const pages: number[][] = [];
      const afters: number[] = [];
      const errors: string[] = [];
      const pools = openDatabase(url);
      const tail = new EventTail(pools.read, {
        onPage: (page, after) => {
          pages.push(numbers(page));
          afters.push(after);
        },
        onError: (message) => errors.push(message),
        tickMs: 1,
        lookMs: FAR_MS,
        ...change,
      });
      open.push({ tail, pools });
      return { tail, pages, afters, errors, seen: () => pages.flat() };
    }

    const upTo = (seen: () => number[], id: number) =>
      until(() => (seen().at(-1) === id ? true : undefined));

    test('are those that come after it was first looked at', async () => {
      const [, before] = await fill(some(2));
      const { tail, pages } = makeTail();
      await tail.catchUp();
      expect([tail.eventId, pages]).toEqual([before!, []]);
      const made = await addEvents(sql(), some(2));
      await tail.catchUp();
      expect([tail.eventId, pages]).toEqual([made[1]!, [made]]);
      await tail.catchUp();
      expect(pages).toHaveLength(1);
    });

    test('are read when they are told of, those of a moment together', async () => {
      const { tail, pages, afters, seen } = makeTail({ tickMs: 200 });
      await tail.catchUp();
      const start = tail.eventId;
      const made: number[] = [];
      for (let i = 0; i < 5; i++) {
        const [id] = await addEvents(sql(), some(1));
        made.push(id!);
        tail.notice(id!);
      }
      await upTo(seen, made[4]!);
      expect(seen()).toEqual(made);
      expect(pages.length).toBeLessThan(5);
      expect(afters[0]).toBe(start);
    });

    test('are not read for a number that is known', async () => {
      let readings = 0;
      const pools = openDatabase(database().url);
      const read = new Proxy(pools.read, {
        apply: (target, self, args) => {
          readings++;
          return Reflect.apply(target as never, self, args);
        },
      });
      const tail = new EventTail(read, { onPage: () => {}, onError: () => {}, lookMs: FAR_MS });
      open.push({ tail, pools });
      const [id] = await addEvents(sql(), some(1));
      tail.notice(id!);
      tail.wake();
      expect(readings).toBe(0); // nobody wants to know yet
      await tail.catchUp();
      expect(readings).toBe(1);
      tail.notice(id!);
      tail.notice(id! - 1);
      await tail.catchUp();
      expect(readings).toBe(2);
    });

    test('are read after a notice was lost, when told so or after a while', async () => {
      const woken = makeTail();
      const patient = makeTail({ lookMs: 10 });
      await Promise.all([woken.tail.catchUp(), patient.tail.catchUp()]);
      const made = await addEvents(sql(), some(2));
      await upTo(patient.seen, made[1]!);
      expect(woken.seen()).toEqual([]);
      woken.tail.wake();
      await upTo(woken.seen, made[1]!);
      expect([woken.seen(), patient.seen()]).toEqual([made, made]);
    });

    test('are read page by page when they are many', async () => {
      const { tail, pages, afters, seen } = makeTail();
      await tail.catchUp();
      const made = await addEvents(sql(), some(600));
      await tail.catchUp();
      expect(seen()).toEqual(made);
      expect(pages.map(({ length }) => length)).toEqual([250, 250, 100]);
      expect(afters.slice(1)).toEqual([made[249]!, made[499]!]);
    });

    test('come once and in order, however many write and ask', async () => {
      const { tail, seen } = makeTail();
      await tail.catchUp();
      const start = tail.eventId;
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          for (let i = 0; i < 50; i++) {
            const ids = await addEvents(sql(), some(1 + (i % 3)));
            tail.notice(ids.at(-1)!);
            if (i % 5 === 0) await tail.catchUp();
            // What was committed before it was asked has been handed on.
            if (i % 5 === 0) expect(seen().at(-1)!).toBeGreaterThanOrEqual(ids.at(-1)!);
          }
        }),
      );
      await tail.catchUp();
      const rows = await sql()<{ id: number }[]>`
        select event_id as id from events where event_id > ${start} order by event_id`;
      expect(seen()).toEqual(rows.map(({ id }) => id));
    });

    test('are those after the newest again, once it was stopped', async () => {
      const { tail, pages } = makeTail();
      await tail.catchUp();
      tail.stop();
      const missed = await addEvents(sql(), some(3));
      tail.notice(missed[2]!);
      tail.wake();
      await tail.catchUp();
      expect([tail.eventId, pages]).toEqual([missed[2]!, []]);
      const made = await addEvents(sql(), some(1));
      await tail.catchUp();
      expect(pages).toEqual([made]);
    });

    test('are not handed on by a reading that was under way when it was stopped', async () => {
      const { tail, pages } = makeTail();
      await tail.catchUp();
      const made = await addEvents(sql(), some(3));
      const reading = tail.catchUp();
      tail.stop();
      await reading;
      expect(pages).toEqual([]);
      await tail.catchUp();
      expect([tail.eventId, pages]).toEqual([made[2]!, []]);
    });

    test('are read on after a failure, which is told', async () => {
      const { tail, errors, seen } = makeTail();
      await tail.catchUp();
      await sql()`alter table events rename to events_away`;
      tail.wake();
      await until(() => (errors.length > 0 ? true : undefined));
      await sql()`alter table events_away rename to events`;
      const made = await addEvents(sql(), some(2));
      await upTo(seen, made[1]!);
      expect(seen()).toEqual(made);
      expect(errors[0]).toContain('"events" does not exist');
    });

    test('are read on when the connections were lost, which is not told', async () => {
      const { tail, errors, seen } = makeTail();
      await tail.catchUp();
      const other = openPool(database().url, { connections: 1 });
      await other`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'marketd read'`;
      await other.end();
      const made = await addEvents(sql(), some(1));
      tail.notice(made[0]!);
      await upTo(seen, made[0]!);
      expect([seen(), errors]).toEqual([made, []]);
    });

    test('are not to be had from a database that is away: who asks is told', async () => {
      const url = new URL(database().url);
      url.pathname = '/there_is_no_such_database';
      const { tail } = makeTail({}, url.toString());
      const failure = await tail.catchUp().catch((error) => error.message);
      expect(failure).toContain('there_is_no_such_database');
    });
  });
});
