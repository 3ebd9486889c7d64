import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { type Browser, chromium } from 'playwright-core';
import { makeApp } from '../../src/http/app.ts';
import { LiveStream, type LiveStreamOptions } from '../../src/http/live-stream.ts';
import { ingestTrades } from '../../src/ingest/trades.ts';
import { makeTrades } from '../../src/model/trade.ts';
import { openDatabase, type Transaction } from '../../src/store/database.ts';
import { deleteEvents, insertEvents, type NewEvent } from '../../src/store/events.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import {
  addEvents,
  event,
  eventIds,
  type Frame,
  RawListener,
  StreamListener,
} from '../fixtures/event-stream.ts';
import { Gate } from '../fixtures/http-gate.ts';
import { startServer, until } from '../fixtures/http-server.ts';

const PATH = '/api/v1/stream';

interface Problem {
  error: { code: string; message: string; field?: string };
}

interface Site {
  url: string;
  stream: LiveStream;
  lines: string[];
  /** Ends the listener for changes: no notice comes any more. */
  deafen(): Promise<void>;
  stop(): Promise<void>;
}

describeEditions('the live stream', (database) => {
  const sql = () => database().sql;
  const ids: Record<string, number> = {};
  const sites: Site[] = [];
  const listeners: { close(): void }[] = [];

  beforeAll(async () => {
    await upsertSymbols(sql(), ['AAPL', 'MSFT', 'BRK.B', 'ABRpD', 'ABRPD']);
    const rows = await sql()<{ symbol: string; id: number }[]>`
      select symbol, instrument_id as id from symbol_ranges`;
    for (const { symbol, id } of rows) ids[symbol] = id;
  });

  afterEach(async () => {
    for (const listener of listeners.splice(0)) listener.close();
    for (const site of sites.splice(0)) await site.stop();
  });

  /** The application with a stream that is told of changes, as in `serve`. */
  async function openSite(
    change: Partial<LiveStreamOptions> = {},
    url = database().url,
    port = 0,
  ): Promise<Site> {
    const lines: string[] = [];
    const log = (level: string, message: string, fields?: object) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
    const pools = openDatabase(url);
    const stream = new LiveStream({ sql: pools.read, clientsMax: 50, log, tickMs: 2, ...change });
    const changes = new ChangeLog(url, (told) => {
      if (told.kind === 'events') stream.notice(told.eventId);
      if (told.kind === 'trust' && told.isTrusted) stream.wake();
    });
    await changes.next();
    const app = makeApp(makeAppContext(pools, database().edition, { stream, log }));
    app.listen({ hostname: '127.0.0.1', port });
    const site = {
      url: `http://127.0.0.1:${app.server!.port}`,
      stream,
      lines,
      deafen: () => changes.close(),
      stop: async () => {
        stream.close();
        await app.stop(true);
        await changes.close();
        await pools.close();
      },
    };
    sites.push(site);
    return site;
  }

  async function listen(site: { url: string }, query = '', headers: Record<string, string> = {}) {
    const listener = await StreamListener.open(`${site.url}${PATH}${query}`, headers);
    listeners.push(listener);
    return listener;
  }

  const resume = (site: Site, id: number, query = '') =>
    listen(site, query, { 'last-event-id': String(id) });

  const apple = (data: object = {}): NewEvent => event('AAPL', ids.AAPL!, data);
  const microsoft = (data: object = {}): NewEvent => event('MSFT', ids.MSFT!, data);
  const apples = (count: number, data: object = {}) =>
    Array.from({ length: count }, (_, i) => apple({ i, ...data }));

  const idsAfter = async (id: number) => {
    const rows = await sql()<{ id: number }[]>`
      select event_id as id from events where event_id > ${id} order by event_id`;
    return rows.map((row) => row.id);
  };

  const refusal = async (listener: StreamListener) => {
    const { error } = (await listener.response.json()) as Problem;
    return { status: listener.response.status, ...error };
  };

  describe('begins', () => {
    test('with hello, which says after which event it goes on', async () => {
      const [newest] = await addEvents(sql(), [apple()]);
      const site = await openSite();
      const listener = await listen(site, '?symbols=aapl,BRK.B,AAPL&kinds=bar,trade,bar');
      const hello = await listener.next();
      expect(hello).toEqual({
        id: newest!,
        event: 'hello',
        retry: expect.any(Number),
        data: {
          after_event_id: newest!,
          newest_event_id: newest!,
          symbols: ['AAPL', 'BRK.B'],
          kinds: ['bar', 'trade'],
        },
      });
      expect(hello!.retry).toBeWithin(1000, 3001);
      const all = await (await listen(site)).next();
      expect(all!.data).toMatchObject({ symbols: null, kinds: ['trade', 'bar', 'snapshot'] });
    });

    test('of an empty log too', async () => {
      await sql()`truncate events`;
      const listener = await listen(await openSite());
      expect((await listener.next())!.id).toBe(0);
      const made = await addEvents(sql(), [apple()]);
      expect((await listener.nextEvent())!.id).toBe(made[0]);
    });

    test('uncompressed, not to be kept and not to be held back', async () => {
      const listener = await listen(await openSite(), '', { 'accept-encoding': 'gzip, zstd, br' });
      const { status, headers } = listener.response;
      expect(status).toBe(200);
      expect(headers.get('content-type')).toBe('text/event-stream');
      expect(headers.get('cache-control')).toBe('no-cache');
      expect(headers.get('x-accel-buffering')).toBe('no');
      expect(headers.get('content-encoding')).toBeNull();
      expect(headers.get('content-security-policy')).toContain("default-src 'self'");
    });
  });

  describe('tells', () => {
    test('what is committed, in one line of JSON with its symbol and when that was', async () => {
      const listener = await listen(await openSite());
      const data = { price: 1.5, note: 'ä\n\r"' };
      const made = await addEvents(sql(), [apple(data), microsoft()]);
      const [row] = await sql()<{ at: string }[]>`
        select to_char(ts_committed, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
        from events where event_id = ${made[0]!}`;
      const committed = { committed_at: row!.at };
      const first = await listener.nextEvent();
      expect(first).toEqual({
        id: made[0]!,
        event: 'trade',
        data: { symbol: 'AAPL', ...committed, ...data },
      });
      expect(Object.keys(first!.data!).slice(0, 2)).toEqual(['symbol', 'committed_at']);
      const second = await listener.nextEvent();
      expect(second).toMatchObject({ id: made[1]!, data: { symbol: 'MSFT' } });
      expect(Object.keys(second!.data!)).toEqual(['symbol', 'committed_at']);
    });

    test('trades that are ingested, and many of them as a batch', async () => {
      const listener = await listen(await openSite(), '?symbols=MSFT');
      const store = async (count: number, micros: number) => {
        const trades = makeTrades(count);
        for (let i = 0; i < count; i++) {
          trades.ts[i] = micros + i;
          trades.price[i] = 400.25;
          trades.size[i] = 10;
          trades.sequence[i] = i;
        }
        const item = { instrumentId: ids.MSFT!, symbol: 'MSFT', trades };
        await ingestTrades(sql(), [item], {
          provider: 'vendor',
          isSynthetic: false,
          receivedAt: Date.now(),
        });
      };
      await store(1, Date.parse('2024-01-31T20:00:00Z') * 1000);
      expect(await listener.nextEvent()).toMatchObject({
        event: 'trade',
        data: {
          symbol: 'MSFT',
          price: 400.25,
          size: 10,
          timestamp: '2024-01-31T20:00:00.000000Z',
          provider: 'vendor',
        },
      });
      await store(30, Date.parse('2024-01-31T20:30:00Z') * 1000);
      expect(await listener.nextEvent()).toMatchObject({
        event: 'trades',
        data: { symbol: 'MSFT', count: 30, first: '2024-01-31T20:30:00.000000Z' },
      });
    });

    test('of the symbols and kinds that are asked for, batches with single ones', async () => {
      const site = await openSite();
      const asked = ['', '?symbols=AAPL', '?kinds=bar', '?symbols=MSFT,BRK.B&kinds=trade,snapshot'];
      const clients = await Promise.all(asked.map((query) => listen(site, query)));
      const kinds = ['trade', 'bar', 'snapshot', 'trades', 'bars'] as const;
      const made = await addEvents(sql(), [
        ...kinds.map((kind) => ({ ...apple(), kind })),
        ...kinds.map((kind) => ({ ...microsoft(), kind })),
        ...kinds.map((kind) => ({ ...event('BRK.B', ids['BRK.B']!), kind })),
      ]);
      const end = await addEvents(sql(), [apple(), microsoft(), { ...apple(), kind: 'bar' }]);
      const pick = (...positions: number[]) => positions.map((i) => made[i]!);
      const expected = [
        [...made, ...end],
        [...pick(0, 1, 2, 3, 4), end[0]!, end[2]!],
        [...pick(1, 4, 6, 9, 11, 14), end[2]!],
        [...pick(5, 7, 8, 10, 12, 13), end[1]!],
      ];
      for (const [i, client] of clients.entries()) {
        expect([asked[i], eventIds(await client.upTo(expected[i]!.at(-1)!))]).toEqual([
          asked[i],
          expected[i]!,
        ]);
      }
    });

    test('nothing of a transaction that is rolled back', async () => {
      const listener = await listen(await openSite());
      const attempt = sql().begin(async (tx) => {
        await insertEvents(tx as unknown as Transaction, [apple()]);
        throw new Error('never mind');
      });
      await expect(attempt).rejects.toThrow('never mind');
      const made = await addEvents(sql(), [microsoft()]);
      expect((await listener.nextEvent())!.id).toBe(made[0]);
    });

    test('that it is still there, which moves on whom nothing came to', async () => {
      const site = await openSite({ heartbeatMs: 10 });
      const listener = await listen(site, '?symbols=MSFT');
      const made = await addEvents(sql(), apples(3));
      const frames = await listener.upTo(made[2]!);
      expect(frames.at(-1)).toEqual({ comment: 'heartbeat', id: made[2]! });
      expect(eventIds(frames)).toEqual([]);
      // Whoever comes back there has not missed anything, though all of that is forgotten.
      await sql()`update events set ts_committed = now() - interval '1 day'`;
      await deleteEvents(sql(), new Date());
      const again = await resume(site, made[2]!, '?symbols=MSFT');
      const [next] = await addEvents(sql(), [microsoft()]);
      expect((await again.upTo(next!)).map((frame) => frame.event ?? frame.comment)).not.toContain(
        'reset',
      );
    });
  });

  describe('goes on', () => {
    test('after the event that a client has: by header, else by parameter', async () => {
      const site = await openSite();
      const made = await addEvents(sql(), apples(4));
      const last = made[3]!;
      const header = await resume(site, made[1]!);
      expect((await header.next())!.data).toMatchObject({
        after_event_id: made[1]!,
        newest_event_id: last,
      });
      expect(eventIds(await header.upTo(last))).toEqual(made.slice(2));
      const parameter = await listen(site, `?last_event_id=${made[0]}`);
      expect(eventIds(await parameter.upTo(last))).toEqual(made.slice(1));
      const both = await resume(site, made[2]!, `?last_event_id=${made[0]}`);
      expect(eventIds(await both.upTo(last))).toEqual(made.slice(3));
      const first = await listen(site, '', { 'last-event-id': '' });
      expect((await first.next())!.id).toBe(last);
      const [news] = await addEvents(sql(), [apple()]);
      for (const listener of [header, parameter, both, first]) {
        expect(eventIds(await listener.upTo(news!))).toEqual([news!]);
      }
    });

    test('from the very beginning when that is still kept', async () => {
      await sql()`truncate events`;
      const made = await addEvents(sql(), apples(3));
      const listener = await listen(await openSite(), '?last_event_id=0');
      const frames = await listener.upTo(made[2]!);
      expect(frames.map((frame) => frame.event)).toEqual(['hello', 'trade', 'trade', 'trade']);
    });

    test('page by page, also where few of many events are asked for', async () => {
      const site = await openSite({ pageEvents: 7 });
      const [start] = await addEvents(sql(), [apple()]);
      const wanted: number[] = [];
      for (let i = 0; i < 3; i++) {
        await addEvents(sql(), apples(40));
        wanted.push(...(await addEvents(sql(), [microsoft()])));
      }
      await addEvents(sql(), apples(20));
      const listener = await resume(site, start!, '?symbols=MSFT');
      expect(eventIds(await listener.upTo(wanted[2]!))).toEqual(wanted);
      const [live] = await addEvents(sql(), [microsoft()]);
      expect((await listener.nextEvent())!.id).toBe(live!);
    });

    test('without a hole and without a repetition, whoever writes and however often', async () => {
      const site = await openSite({ pageEvents: 5 });
      const [start] = await addEvents(sql(), [apple()]);
      const writers = [apple, microsoft, apple].map(async (make, w) => {
        for (let i = 0; i < 60; i++) {
          await addEvents(
            sql(),
            Array.from({ length: 1 + ((i + w) % 4) }, () => make({ i })),
          );
        }
      });
      const client = async (query: string, patience: number) => {
        const got: number[] = [];
        for (let at = start!, round = 0, isEnd = false; !isEnd; round++) {
          const listener = await resume(site, at, query);
          // Leaves after some events, in the midst of what is told.
          for (let n = 0; n < patience + (round % 5) && !isEnd; n++) {
            const { id, data } = (await listener.nextEvent())!;
            got.push(id!);
            at = id!;
            isEnd = data!.isEnd === true;
          }
          listener.close();
        }
        return got;
      };
      const clients = [client('', 3), client('', 40), client('?symbols=MSFT', 5)];
      await Promise.all(writers);
      await addEvents(sql(), [apple(), microsoft({ isEnd: true })]);
      const [few, many, some] = await Promise.all(clients);
      const all = await idsAfter(start!);
      expect(all.length).toBeGreaterThan(400);
      expect(few).toEqual(all);
      expect(many).toEqual(all);
      const rows = await sql()<{ id: number }[]>`
        select event_id as id from events
        where event_id > ${start!} and instrument_id = ${ids.MSFT!} order by event_id`;
      expect(some).toEqual(rows.map(({ id }) => id));
    });

    test('after a reset, when some that a client has not seen are no longer kept', async () => {
      const site = await openSite();
      const made = await addEvents(sql(), apples(6));
      await sql()`
        update events set ts_committed = now() - interval '1 day' where event_id <= ${made[2]!}`;
      await deleteEvents(sql(), new Date(Date.now() - 3_600_000));
      const kept = await resume(site, made[2]!);
      expect(eventIds(await kept.upTo(made[5]!))).toEqual(made.slice(3));
      const lost = await resume(site, made[1]!);
      expect((await lost.next())!.event).toBe('hello');
      const reset = await lost.next();
      expect(reset).toEqual({
        id: made[5]!,
        event: 'reset',
        data: {
          oldest_event_id: made[3]!,
          newest_event_id: made[5]!,
          message: expect.stringContaining('no longer kept'),
        },
      });
      const [live] = await addEvents(sql(), [apple()]);
      expect((await lost.next())!.id).toBe(live!);
    });

    test('after a reset of all who listen, when nothing was read for too long', async () => {
      const site = await openSite();
      const listener = await listen(site);
      await site.deafen();
      const made = await addEvents(sql(), apples(4));
      await sql()`
        update events set ts_committed = now() - interval '1 day' where event_id <= ${made[1]!}`;
      await deleteEvents(sql(), new Date(Date.now() - 3_600_000));
      site.stream.wake();
      const frames = await listener.upTo(made[3]!);
      expect(frames.map((frame) => frame.event)).toEqual(['hello', 'reset', 'trade', 'trade']);
      expect(frames[1]).toMatchObject({
        id: made[1]!,
        data: { oldest_event_id: made[2]!, newest_event_id: made[3]! },
      });
    });
  });

  describe('refuses', () => {
    const refused: [query: string, status: number, code: string, field: string, says: RegExp][] = [
      ['?symbols=', 422, 'invalid_parameter', 'symbols', /"" is not a symbol/],
      ['?symbols=AAPL,', 422, 'invalid_parameter', 'symbols', /"" is not a symbol/],
      ['?symbols=A%20B', 422, 'invalid_parameter', 'symbols', /"A B" is not a symbol/],
      ['?symbols=AAPL,NOPE', 404, 'unknown_symbol', 'symbols', /there is no symbol "NOPE" here/],
      ['?symbols=abrpd', 404, 'unknown_symbol', 'symbols', /there is no symbol "abrpd" here/],
      ['?symbols=AAPL&symbols=MSFT', 422, 'invalid_parameter', 'symbols', /more than once/],
      ['?kinds=', 422, 'invalid_parameter', 'kinds', /must be trade or bar or snapshot/],
      ['?kinds=trade,trades', 422, 'invalid_parameter', 'kinds', /kinds is "trades"/],
      ['?last_event_id=', 422, 'invalid_parameter', 'last_event_id', /whole number from 0 on/],
      ['?last_event_id=-1', 422, 'invalid_parameter', 'last_event_id', /is "-1"/],
      ['?last_event_id=1.5', 422, 'invalid_parameter', 'last_event_id', /is "1.5"/],
      ['?last_event_id=0x1', 422, 'invalid_parameter', 'last_event_id', /is "0x1"/],
      ['?last_event_id=9999999999999999', 422, 'invalid_parameter', 'last_event_id', /is "9999/],
      ['?last_event_id=9007199254740991', 422, 'invalid_parameter', 'last_event_id', /the newest/],
    ];
    for (const [query, status, code, field, says] of refused) {
      test(`${status} ${code}: ${query}`, async () => {
        const site = await openSite();
        const problem = await refusal(await listen(site, query));
        expect(problem).toMatchObject({ status, code, field });
        expect(problem.message).toMatch(says);
        expect(site.stream.clientCount).toBe(0);
      });
    }

    test('422: an id in the header that is none, or one still to come', async () => {
      const site = await openSite();
      const [newest] = await addEvents(sql(), [apple()]);
      for (const [id, says] of [
        ['abc', /last_event_id is "abc"/],
        ['1,2', /last_event_id is "1,2"/],
        [String(newest! + 1), new RegExp(`the newest event is ${newest}`)],
      ] as const) {
        const problem = await refusal(await listen(site, '', { 'last-event-id': id }));
        expect(problem).toMatchObject({ status: 422, field: 'last_event_id' });
        expect(problem.message).toMatch(says);
      }
      const current = await resume(site, newest!);
      expect(current.response.status).toBe(200);
    });

    test('503: more clients than it takes, until one of them leaves', async () => {
      const site = await openSite({ clientsMax: 2 });
      const [first, second] = [await listen(site), await listen(site)];
      const many = await Promise.all(Array.from({ length: 5 }, () => listen(site)));
      for (const listener of many) {
        expect(listener.response.headers.get('retry-after')).toBe('2');
        expect(await refusal(listener)).toMatchObject({ status: 503, code: 'too_many_clients' });
      }
      first!.close();
      await until(() => (site.stream.clientCount === 1 ? true : undefined));
      const third = await listen(site);
      const [id] = await addEvents(sql(), [apple()]);
      for (const listener of [second!, third]) {
        expect((await listener.nextEvent())!.id).toBe(id!);
      }
    });

    test('503: everybody, while the database is away', async () => {
      const gate = new Gate();
      const url = gate.open(database().url);
      const site = await openSite({}, url);
      gate.close();
      const problem = await refusal(await listen(site));
      expect(problem).toMatchObject({ status: 503, code: 'database_away' });
      expect(site.stream.clientCount).toBe(0);
    });
  });

  describe('takes no place for', () => {
    test('whoever asks for the head only, or leaves at once', async () => {
      const site = await openSite();
      const head = await fetch(`${site.url}${PATH}`, { method: 'HEAD' });
      expect([head.status, head.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
      await until(() => (site.stream.clientCount === 0 ? true : undefined));
      for (let i = 0; i < 20; i++) {
        const hasty = await RawListener.open(site.url, `${PATH}?last_event_id=0`);
        hasty.close();
      }
      // This one's request comes after all of theirs.
      const last = await listen(site);
      await last.next();
      await until(() => (site.stream.clientCount === 1 ? true : undefined));
    });
  });

  describe('loses nothing', () => {
    test('when the connection that is told of changes is lost', async () => {
      const site = await openSite();
      const listener = await listen(site);
      await sql()`
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and application_name = 'marketd listen'`;
      const made = await addEvents(sql(), apples(3));
      expect(eventIds(await listener.upTo(made[2]!))).toEqual(made);
    });

    test('while the database is away, be it live or of what was missed', async () => {
      const gate = new Gate();
      const url = gate.open(database().url);
      const site = await openSite({ pageEvents: 1 }, url);
      const [start] = await addEvents(sql(), [apple()]);
      const made = await addEvents(sql(), apples(50));
      const live = await listen(site);
      await live.next();
      const behind = await resume(site, start!);
      await behind.nextEvent();
      gate.close();
      made.push(...(await addEvents(sql(), apples(3))));
      gate.open(database().url);
      expect(eventIds(await live.upTo(made.at(-1)!))).toEqual(made.slice(50));
      expect(eventIds(await behind.upTo(made.at(-1)!))).toEqual(made.slice(1));
      expect(site.lines).toEqual([]);
    });
  });

  describe('of a client that does not read', () => {
    const PAD = 'x'.repeat(50_000);
    /** More than the buffers of two sockets on the loopback take. */
    const fillBuffers = async (rounds: number) => {
      const made: number[] = [];
      for (let i = 0; i < rounds; i++) {
        made.push(...(await addEvents(sql(), apples(20, { pad: PAD }))));
      }
      return made;
    };
    const read = (raw: RawListener, isDone: (frames: Frame[], isEnded: boolean) => boolean) => {
      raw.resume();
      return until(() => {
        const { frames, isEnded } = raw.read();
        return isDone(frames, isEnded) ? frames : undefined;
      });
    };

    test('ends with the reason, while others hear all; it may come back', async () => {
      const site = await openSite({ waitingBytesMax: 200_000 });
      const slow = await RawListener.open(site.url, PATH);
      listeners.push(slow);
      await until(() => (slow.read().frames.length > 0 ? true : undefined));
      slow.pause();
      const good = await listen(site);
      await good.next();
      const made: number[] = [];
      while (site.lines.length === 0) made.push(...(await fillBuffers(1)));
      expect(site.lines[0]).toMatch(
        /^WARNING a client of the stream was dropped: \d+ bytes wait to be taken /,
      );
      expect(site.lines[0]).toContain('"reason":"too_slow","address":"127.0.0.1"');
      expect(site.stream.clientCount).toBe(1);
      expect(eventIds(await good.upTo(made.at(-1)!))).toEqual(made);

      const frames = await read(slow, (_, isEnded) => isEnded);
      const dropped = frames.at(-1)!;
      expect(dropped).toEqual({
        event: 'dropped',
        data: { reason: 'too_slow', message: expect.stringMatching(/come back with the id/) },
      });
      const got = eventIds(frames);
      expect(got).toEqual(made.slice(0, got.length));
      expect(got.length).toBeLessThan(made.length);
      const again = await resume(site, got.at(-1)!);
      expect(eventIds(await again.upTo(made.at(-1)!))).toEqual(made.slice(got.length));
      expect(site.lines).toHaveLength(1);
    });

    test('goes on for as long as it likes, when that is what it missed', async () => {
      const site = await openSite({ waitingBytesMax: 100_000, pageEvents: 10 });
      const [start] = await addEvents(sql(), [apple()]);
      const made = await fillBuffers(16);
      const slow = await RawListener.open(site.url, `${PATH}?last_event_id=${start}`);
      listeners.push(slow);
      slow.pause();
      const good = await listen(site);
      made.push(...(await fillBuffers(4)));
      expect(eventIds(await good.upTo(made.at(-1)!))).toEqual(made.slice(320));
      const isAll = (frames: Frame[]) => frames.at(-1)?.id === made.at(-1);
      expect(eventIds(await read(slow, isAll))).toEqual(made);
      expect(site.lines).toEqual([]);
    });

    test('ends with bye as well, and nobody waits for it', async () => {
      const site = await openSite({ waitingBytesMax: 100_000_000 });
      const slow = await RawListener.open(site.url, PATH);
      listeners.push(slow);
      await until(() => (slow.read().frames.length > 0 ? true : undefined));
      slow.pause();
      const good = await listen(site);
      const made = await fillBuffers(12);
      await good.upTo(made.at(-1)!);
      site.stream.close();
      expect(site.stream.clientCount).toBe(0);
      expect((await good.rest()).at(-1)!.event).toBe('bye');
      const frames = await read(slow, (_, isEnded) => isEnded);
      expect(frames.at(-1)!.event).toBe('bye');
      const got = eventIds(frames);
      expect(got).toEqual(made.slice(0, got.length));
      expect(got.length).toBeLessThan(made.length);
    });
  });

  test('ends with an error of ours, which is logged and not shown', async () => {
    const site = await openSite();
    const made = await addEvents(sql(), apples(3));
    await sql()`update events set ts_committed = 'infinity' where event_id = ${made[1]!}`;
    const listener = await resume(site, made[0]!);
    expect(await listener.rest()).toEqual([
      expect.objectContaining({ event: 'hello' }),
      {
        event: 'dropped',
        data: {
          reason: 'failed',
          message:
            'an error of marketd itself; come back with the id of the last event that you have',
        },
      },
    ]);
    expect(site.lines).toHaveLength(1);
    expect(site.lines[0]).toMatch(/^ERROR a client of the stream was dropped: .*infinity/);
    expect(site.stream.clientCount).toBe(0);
    await sql()`update events set ts_committed = now() where event_id = ${made[1]!}`;
  });

  describe('of the server', () => {
    test('tells what any process commits, and says goodbye when it stops', async () => {
      const server = await startServer(database().url);
      let stopping: Promise<void> | undefined;
      try {
        const [listener, other] = [await listen(server), await listen(server, '?symbols=MSFT')];
        const made = await addEvents(sql(), [apple(), microsoft()]);
        expect(eventIds(await listener.upTo(made[1]!))).toEqual(made);
        expect((await other.nextEvent())!.id).toBe(made[1]!);
        stopping = server.stop();
        for (const client of [listener, other]) {
          expect(await client.rest()).toEqual([
            {
              event: 'bye',
              data: { message: expect.stringContaining('marketd is stopping') },
            },
          ]);
        }
        await stopping;
        expect(server.lines.join('\n')).not.toMatch(/ERROR|WARNING/);
      } finally {
        await (stopping ?? server.stop());
      }
    });

    test('takes nobody any more once it stops', async () => {
      const site = await openSite();
      const listener = await listen(site);
      site.stream.close();
      expect((await listener.rest()).at(-1)!.event).toBe('bye');
      expect(await refusal(await listen(site))).toMatchObject({ status: 503, code: 'stopping' });
    });
  });

  describe('in a browser', () => {
    let browser: Browser;
    beforeAll(async () => {
      const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'];
      const more = ['--no-first-run', '--disable-background-networking', '--disable-sync'];
      browser = await chromium.launch({
        executablePath: '/usr/bin/chromium',
        args: [...flags, ...more, '--disable-component-update'],
      });
    });
    afterAll(async () => {
      await browser?.close();
    });

    test('comes back by itself and goes on where it was, under our own policy', async () => {
      const site = await openSite();
      const page = await browser.newPage();
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(String(error)));
      await page.goto(`${site.url}/docs`);
      await page.evaluate((path) => {
        const seen: string[] = [];
        const source = new EventSource(path);
        for (const name of ['hello', 'trade']) {
          source.addEventListener(name, (message) => {
            seen.push(`${name} ${message.lastEventId} ${JSON.parse(message.data).symbol ?? ''}`);
          });
        }
        Object.assign(window, { seen, source });
      }, `${PATH}?symbols=AAPL`);
      const seen = (count: number) =>
        page.waitForFunction((n) => (window as never as { seen: string[] }).seen[n - 1], count, {
          timeout: 20_000,
        });
      await seen(1);
      const first = await addEvents(sql(), [apple(), microsoft(), apple()]);
      await seen(3);
      await sites.pop()!.stop();
      const second = await addEvents(sql(), [apple()]);
      await openSite({}, database().url, Number(new URL(site.url).port));
      await seen(5);
      const told = await page.evaluate(() => (window as never as { seen: string[] }).seen);
      expect(told.slice(1)).toEqual([
        `trade ${first[0]} AAPL`,
        `trade ${first[2]} AAPL`,
        `hello ${first[2]} `,
        `trade ${second[0]} AAPL`,
      ]);
      expect(problems).toEqual([]);
      await page.close();
    });
  });
});
