import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { openPool, type Sql } from '../../src/store/database.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  FIRST,
  FLAWS,
  fillWarehouse,
  LAST,
  startServer,
  storeAnswers,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';

setDefaultTimeout(60_000);

interface ApiBar {
  time: string;
  symbol: string;
  close: number;
  quality_score: number;
  validated: boolean;
  gap_detected: boolean;
  volume_anomaly: boolean;
  flags: string[];
  sessions?: number;
  partial?: boolean;
}

interface Historical {
  symbol: string;
  validated_only: boolean;
  min_quality: number;
  count: number;
  data: ApiBar[];
  excluded: { count: number; bars: { date: string; score: number; reason: string }[] };
  absent: { count: number };
  reason?: string;
  message?: string;
}

const YEAR = `start=${FIRST}&end=${LAST}`;
const WEEK = 'start=2023-01-03&end=2023-01-09';
const bars = (symbol: string, query: string) => `/api/v1/historical/${symbol}?${query}`;
const dates = ({ data }: Historical) => data.map(({ time }) => time.slice(0, 10));

describeEditions('the JSON API', (database) => {
  let server: TestServer;
  let writer: Sql; // as another process has it: a pool of its own

  beforeAll(async () => {
    await fillWarehouse(database().sql);
    server = await startServer(database().url);
    writer = openPool(database().url, { applicationName: 'another process' });
  });
  afterAll(async () => {
    await writer?.end();
    await server?.stop();
  });

  const json = <T>(path: string): Promise<T> => server.json(path);
  const historical = (symbol: string, query: string) => json<Historical>(bars(symbol, query));

  describe('links, health and status', () => {
    test('/ links to what there is', async () => {
      const { service, links } = await json<{ service: string; links: Record<string, string> }>(
        '/',
      );
      expect(service).toBe('marketd');
      const names = ['dashboard', 'docs', 'health', 'status'];
      expect(Object.keys(links)).toEqual(expect.arrayContaining(names));
      for (const path of Object.values(links)) {
        const abort = new AbortController();
        const response = await server.get(path, { signal: abort.signal });
        expect([path, response.status]).toEqual([path, 200]);
        abort.abort(); // a stream would go on for ever
      }
    });

    test('/health has the fields of both systems', async () => {
      const before = Date.now();
      const answer = await json<Record<string, unknown>>('/health');
      expect(answer).toEqual({
        status: 'healthy',
        service: 'marketd',
        version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
        database: 'healthy',
        edition: database().edition,
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        scheduler_running: false,
        last_trade_count: 0,
        last_ingestion: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      });
      expect(Date.parse(String(answer.timestamp))).toBeGreaterThanOrEqual(before);
    });

    test('/api/v1/status is the contract’s, with what SQL counts', async () => {
      const [counted] = await database().sql<Record<string, number | string>[]>`
        select count(distinct instrument_id)::int as symbols, count(*)::int as records,
               (count(*) filter (where score >= 0.85))::int as validated,
               (count(*) filter (where score < 0.5))::int as excluded,
               (count(*) filter (where flags & 64 <> 0))::int as gaps,
               (count(*) filter (where flags & 6144 <> 0))::int as anomalies,
               max(session) as latest,
               round(100.0 * count(*) filter (where score >= 0.85) / count(*), 2)::float8 as rate
        from bars_1d`;
      const answer = await json<Record<string, unknown>>('/api/v1/status');
      expect(answer).toEqual({
        api_version: '1.0.0',
        status: 'healthy',
        synthetic: false,
        edition: database().edition,
        database: {
          symbols_available: counted!.symbols,
          latest_data: `${counted!.latest}T00:00:00+00:00`,
          total_records: counted!.records,
          intraday_records: 0,
          trades: 0,
          validated_records: counted!.validated,
          validation_rate_pct: counted!.rate,
        },
        data_quality: {
          records_with_gaps_flagged: counted!.gaps,
          records_with_volume_anomalies: counted!.anomalies,
          records_excluded: counted!.excluded,
          scheduler_status: 'stopped',
          next_backfill: null,
          last_backfill: null,
          last_backfill_state: null,
        },
      });
      expect(counted).toMatchObject({ latest: LAST, gaps: 1, anomalies: 1 });
    });
  });

  describe('symbols', () => {
    test('/api/v1/symbols has those with bars, in order', async () => {
      const loaded = ['AAPL', 'ABRPD', 'ABRpD', 'BAD', 'BRK.B', 'BTC/USD', 'MSFT', 'NEWCO'];
      expect(await json<string[]>('/api/v1/symbols')).toEqual(loaded);
    });

    test('/api/v1/symbols/detailed has all that are tracked, counted as by SQL', async () => {
      const list = await json<Record<string, unknown>[]>('/api/v1/symbols/detailed');
      const counted = await database().sql`
        select r.symbol, count(b.session)::int as records,
               (count(*) filter (where b.score >= 0.85))::int as validated_records,
               min(b.session) as start_date, max(b.session) as end_date
        from symbol_ranges r left join bars_1d b using (instrument_id)
        group by r.symbol order by r.symbol collate "C"`;
      expect(list.map(({ symbol }) => symbol)).toEqual(counted.map(({ symbol }) => symbol));
      counted.forEach((row, i) => {
        expect(list[i]).toMatchObject(row);
      });
      expect(list[0]).toEqual({
        symbol: 'AAPL',
        name: null,
        exchange: null,
        tracked: true,
        records: 271,
        validated_records: 268,
        validation_rate_pct: 98.89,
        average_quality: 0.9934,
        gaps_flagged: 1,
        volume_anomalies: 1,
        excluded_records: 1,
        start_date: FIRST,
        end_date: LAST,
        latest_quality: 1,
        synthetic: false,
        last_backfill: null,
        last_backfill_success: null,
      });
      const empty = list.find(({ symbol }) => symbol === 'UNASKED');
      expect(empty).toMatchObject({ records: 0, validation_rate_pct: 0, average_quality: null });
      expect(empty).toMatchObject({ start_date: null, end_date: null, latest_quality: null });
    });

    const spellings: [asked: string, found: string][] = [
      ['AAPL', 'AAPL'],
      ['aapl', 'AAPL'],
      ['Aapl', 'AAPL'],
      ['BRK.B', 'BRK.B'],
      ['brk.b', 'BRK.B'],
      ['BTC%2FUSD', 'BTC/USD'],
      ['btc%2fusd', 'BTC/USD'],
      ['ABRpD', 'ABRpD'],
      ['ABRPD', 'ABRPD'],
    ];
    for (const [asked, found] of spellings) {
      test(`${asked} means ${found}`, async () => {
        const answer = await historical(asked, WEEK);
        expect(answer).toMatchObject({ symbol: found, count: 5 });
        expect(answer.data.every(({ symbol }) => symbol === found)).toBe(true);
      });
    }
  });

  describe('historical', () => {
    test('has the fields of the contract, in its order, each of its type', async () => {
      const answer = await historical('AAPL', WEEK);
      const contract = ['symbol', 'timeframe', 'start_date', 'end_date', 'count', 'data'];
      const isOfContract = (name: string) => contract.includes(name);
      expect(Object.keys(answer).filter(isOfContract)).toEqual(contract);
      expect(answer).toEqual({
        symbol: 'AAPL',
        timeframe: '1d',
        start_date: '2023-01-03',
        end_date: '2023-01-09',
        adjustment: 'raw',
        providers: ['polygon'],
        synthetic: false,
        derived: false,
        validated_only: true,
        min_quality: 0.85,
        count: 5,
        data: expect.any(Array),
        excluded: { count: 0, bars: [] },
        absent: { count: 0, ranges: [] },
      } as never);
      const fields = ['time', 'symbol', 'open', 'high', 'low', 'close', 'volume', 'quality_score'];
      fields.push('validated', 'gap_detected', 'volume_anomaly');
      const [bar] = answer.data;
      expect(Object.keys(bar!).filter((name) => fields.includes(name))).toEqual(fields);
      const [row] = await database().sql`
        select open, high, low, close, volume, vwap, trade_count from bars_1d
        join symbol_ranges using (instrument_id)
        where symbol = 'AAPL' and session = '2023-01-03'`;
      expect(bar).toEqual({
        time: '2023-01-03T00:00:00Z',
        symbol: 'AAPL',
        ...(row as Record<string, number>),
        quality_score: 1,
        validated: true,
        gap_detected: false,
        volume_anomaly: false,
        is_final: true,
        flags: [],
      } as never);
      expect(row).toMatchObject({ close: 100.123456789, volume: 1_000_021.25 });
    });

    test('includes both dates', async () => {
      const week = sessionsFrom('2023-01-03', 5);
      expect(dates(await historical('AAPL', WEEK))).toEqual(week);
      expect(dates(await historical('AAPL', 'start=2023-01-04&end=2023-01-04'))).toEqual([
        '2023-01-04',
      ]);
      expect(dates(await historical('AAPL', 'start=2022-12-31&end=2023-01-10'))).toEqual([
        ...week,
        '2023-01-10',
      ]);
      const all = await historical('AAPL', 'start=0001-01-01&end=9999-12-31');
      expect([all.count, all.data.length]).toEqual([268, 268]);
    });

    test('says which bars the provider may still restate', async () => {
      const answer = await json<{ data: { time: string; is_final: boolean }[] }>(
        bars('AAPL', 'start=2023-12-20&end=2023-12-29'),
      );
      const open = answer.data.filter(({ is_final }) => !is_final);
      expect(open.map(({ time }) => time.slice(0, 10))).toEqual(sessionsFrom('2023-12-22', 5));
    });

    const { impossible, extreme, afterExtreme, drought } = FLAWS;
    const scores: [query: string, least: number, excluded: string[]][] = [
      ['', 0.85, [impossible, extreme, afterExtreme]],
      ['&validated_only=true', 0.85, [impossible, extreme, afterExtreme]],
      ['&validated_only=True', 0.85, [impossible, extreme, afterExtreme]],
      ['&validated_only=1', 0.85, [impossible, extreme, afterExtreme]],
      ['&min_quality=0', 0.85, [impossible, extreme, afterExtreme]],
      ['&min_quality=0.5', 0.85, [impossible, extreme, afterExtreme]],
      ['&min_quality=0.9', 0.9, [impossible, extreme, afterExtreme]],
      ['&min_quality=0.95', 0.95, [impossible, extreme, afterExtreme, drought]],
      ['&validated_only=true&min_quality=1', 1, [impossible, extreme, afterExtreme, drought]],
      ['&validated_only=false', 0, []],
      ['&validated_only=False', 0, []],
      ['&validated_only=false&min_quality=0', 0, []],
      ['&validated_only=false&min_quality=0.5', 0.5, [impossible]],
      ['&validated_only=false&min_quality=0.8', 0.8, [impossible, extreme]],
      ['&validated_only=false&min_quality=0.85', 0.85, [impossible, extreme, afterExtreme]],
      ['&validated_only=false&min_quality=1', 1, [impossible, extreme, afterExtreme, drought]],
    ];
    for (const [query, least, excluded] of scores) {
      test(`${query || 'by default'}: from ${least} on, ${excluded.length} left out`, async () => {
        const answer = await historical('AAPL', YEAR + query);
        expect(answer.min_quality).toBe(least);
        expect(answer.validated_only).toBe(!/false/i.test(query));
        expect(answer.excluded.bars.map(({ date }) => date)).toEqual(excluded);
        expect(answer.excluded.count).toBe(excluded.length);
        expect([answer.count, answer.data.length]).toEqual(Array(2).fill(271 - excluded.length));
        expect(answer.data.every((bar) => bar.quality_score >= least)).toBe(true);
        expect(answer.data.every((bar) => bar.validated === bar.quality_score >= 0.85)).toBe(true);
        const sessions = sessionsFrom(FIRST, 271).filter((session) => !excluded.includes(session));
        expect(dates(answer)).toEqual(sessions);
      });
    }

    test('says of each bar left out its score and why', async () => {
      const { excluded } = await historical('AAPL', `${YEAR}&min_quality=1`);
      expect(excluded.bars.map(({ score }) => score)).toEqual([0, 0.5, 0.8, 0.9]);
      const why = [/high is below/, /extreme move/, /gap/, /volume is far below/];
      why.forEach((pattern, i) => {
        expect(excluded.bars[i]!.reason).toMatch(pattern);
      });
      const all = await historical('AAPL', `${YEAR}&validated_only=false`);
      const flawed = all.data.filter(({ flags }) => flags.length > 0);
      expect(flawed.map(({ gap_detected }) => gap_detected)).toEqual([false, false, true, false]);
      expect(flawed.map((bar) => bar.volume_anomaly)).toEqual([false, false, false, true]);
    });

    test('counts all that is left out, and names the first hundred', async () => {
      const answer = await historical('BAD', YEAR);
      expect(answer).toMatchObject({ count: 0, data: [], reason: 'excluded' });
      expect(answer.message).toContain('see excluded');
      expect(answer.excluded.count).toBe(120);
      const named = answer.excluded.bars.map(({ date }) => date);
      expect(named).toEqual(sessionsFrom('2023-01-03', 100));
      expect((await historical('BAD', `${YEAR}&validated_only=false`)).count).toBe(120);
    });

    test('1w and 1mo roll up what was asked for, and nothing else', async () => {
      const week = await historical('AAPL', 'start=2023-01-04&end=2023-01-13&timeframe=1w');
      expect(week.data.map(({ time }) => time)).toEqual([
        '2023-01-02T00:00:00Z',
        '2023-01-09T00:00:00Z',
      ]);
      expect(week.data.map(({ sessions }) => sessions)).toEqual([3, 5]);
      expect(week.data.map(({ partial }) => partial)).toEqual([true, false]);
      const month = await historical('AAPL', `${YEAR}&timeframe=1mo`);
      expect(month.count).toBe(13);
      const daily = await historical('AAPL', 'start=2023-03-01&end=2023-03-31');
      expect(month.data[3]).toMatchObject({
        time: '2023-03-01T00:00:00Z',
        open: (daily.data[0] as unknown as { open: number }).open,
        close: daily.data.at(-1)!.close,
        sessions: 22,
        partial: true, // the bar that is impossible is left out
      } as never);
      expect(month.excluded.count).toBe(3);
      expect(month.data[4]).toMatchObject({ sessions: 19, partial: false });
    });

    test('as CSV has the same bars', async () => {
      for (const timeframe of ['1d', '1mo']) {
        const query = `${YEAR}&timeframe=${timeframe}&min_quality=0.9`;
        const { data, excluded, absent } = await historical('AAPL', query);
        const response = await server.get(bars('AAPL', `${query}&format=csv`));
        expect(response.headers.get('x-excluded-count')).toBe(String(excluded.count));
        expect(response.headers.get('x-absent-count')).toBe(String(absent.count));
        expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8');
        const text = await response.text();
        expect(text.endsWith('\n')).toBe(true);
        const [head, ...lines] = text.trimEnd().split('\n');
        const names = head!.split(',');
        expect(names.slice(0, 7).join()).toBe('time,symbol,open,high,low,close,volume');
        const rows = data.map((bar) => {
          const values = bar as unknown as Record<string, unknown>;
          return names.map((name) => String(values[name] ?? '').replaceAll(',', ' ')).join();
        });
        expect(lines).toEqual(rows);
      }
    });

    test('as CSV of an empty range is the line of names alone', async () => {
      const response = await server.get(bars('AAPL', 'start=2023-07-01&end=2023-07-02&format=csv'));
      expect([response.status, response.headers.get('content-type')]).toEqual([
        200,
        'text/csv; charset=utf-8',
      ]);
      expect(await response.text()).toMatch(/^time,symbol,.*,flags\n$/);
    });

    const empty: [symbol: string, start: string, end: string, reason: string, says: RegExp][] = [
      ['AAPL', '2023-07-01', '2023-07-02', 'closed', /no session.*weekend/i],
      ['AAPL', '2023-07-04', '2023-07-04', 'closed', /Independence Day/],
      ['AAPL', '2049-12-01', '2049-12-31', 'unfetched', /not been published/],
      ['AAPL', '2150-01-01', '2150-12-31', 'unfetched', /calendar covers 1990-01-01 to 2049/],
      ['AAPL', '1980-01-01', '1980-12-31', 'unfetched', /calendar covers 1990-01-01 to 2049/],
      ['AAPL', '2024-01-02', '2024-01-31', 'unfetched', /never asked for/],
      ['UNASKED', '2023-01-03', '2023-01-31', 'unfetched', /never asked for/],
      ['EMPTY', '2023-01-03', '2023-01-31', 'vendor_empty', /gave no bar/],
      ['NEWCO', '2023-01-03', '2023-01-31', 'before_listing', /not listed yet/],
      ['REFUSED', '2023-01-03', '2023-01-31', 'not_entitled', /your plan begins in 2024/],
      ['BAD', '2023-01-03', '2023-01-31', 'excluded', /below min_quality/],
    ];
    for (const [symbol, start, end, reason, says] of empty) {
      test(`of ${symbol} from ${start} to ${end} is empty: ${reason}`, async () => {
        const answer = await historical(symbol, `start=${start}&end=${end}`);
        expect(answer).toMatchObject({ symbol, count: 0, data: [], reason });
        expect(answer).toMatchObject({ start_date: start, end_date: end } as never);
        expect(answer.message).toMatch(says);
      });
    }

    test('as it was known before anybody asked says that nobody had', async () => {
      const then = 'start=2023-01-03&end=2023-01-31&known_at=2023-12-10';
      const answer = await historical('AAPL', then);
      expect(answer).toMatchObject({ count: 0, reason: 'unfetched' });
      expect(answer.message).toMatch(/never asked for/);
    });

    test('has no reason when there is something', async () => {
      const text = await (await server.get(bars('AAPL', WEEK))).text();
      expect(text).not.toContain('"reason"');
    });
  });

  describe('caching and compression', () => {
    const path = bars('AAPL', YEAR);

    test('an answer has a strong tag; who has it gets 304', async () => {
      const first = await server.get(path, { headers: { 'accept-encoding': 'identity' } });
      const etag = first.headers.get('etag')!;
      expect(etag).toMatch(/^"[\w-]+"$/);
      expect(first.headers.get('cache-control')).toBe('no-cache');
      for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
        const headers = { 'if-none-match': known, 'accept-encoding': 'identity' };
        const again = await server.get(path, { headers });
        expect([known, again.status, await again.text()]).toEqual([known, 304, '']);
        expect(again.headers.get('etag')).toBe(etag);
      }
      for (const known of ['"other"', etag.slice(1, -1), '']) {
        const headers = { 'if-none-match': known, 'accept-encoding': 'identity' };
        expect((await server.get(path, { headers })).status).toBe(200);
      }
      const other = await server.get(bars('AAPL', WEEK), { headers: { 'if-none-match': etag } });
      expect(other.status).toBe(200);
    });

    const encodings: [accepted: string, used: string | null][] = [
      ['', null],
      ['identity', null],
      ['gzip', 'gzip'],
      ['GZIP', 'gzip'],
      ['zstd', 'zstd'],
      ['gzip, deflate, br, zstd', 'zstd'],
      ['gzip;q=1.0, zstd;q=0', 'gzip'],
      ['gzip;q=0', null],
      ['gzip; q=0.0, zstd ;q=0.000', null],
      ['gzip;q=0.1', 'gzip'],
      ['deflate, br', null],
      ['gzip-like, zstandard', null],
    ];
    for (const [accepted, used] of encodings) {
      test(`accept-encoding "${accepted}" is answered in ${used ?? 'plain'}`, async () => {
        const plain = await server.get(path, { headers: { 'accept-encoding': 'identity' } });
        const init = { headers: { 'accept-encoding': accepted }, decompress: false };
        const response = await server.get(path, init);
        expect(response.headers.get('content-encoding')).toBe(used);
        expect(response.headers.get('vary')).toBe('accept-encoding');
        const sent = new Uint8Array(await response.arrayBuffer());
        const open = { gzip: Bun.gunzipSync, zstd: Bun.zstdDecompressSync };
        const bytes = used === null ? sent : open[used as 'gzip' | 'zstd'](sent);
        expect(Buffer.from(bytes).equals(Buffer.from(await plain.arrayBuffer()))).toBe(true);
        if (used !== null) expect(sent.length).toBeLessThan(bytes.length / 4);
        const etag = response.headers.get('etag')!;
        expect(etag === plain.headers.get('etag')).toBe(used === null);
        const again = await server.get(path, {
          headers: { ...init.headers, 'if-none-match': etag },
        });
        expect([again.status, again.headers.get('vary')]).toEqual([304, 'accept-encoding']);
      });
    }

    test('HEAD has the headers of GET and no body', async () => {
      for (const one of [path, '/health', '/', '/api/v1/status', '/api/v1/symbols']) {
        const init = { headers: { 'accept-encoding': 'identity' } };
        const get = await server.get(one, init);
        const head = await server.get(one, { ...init, method: 'HEAD' });
        expect([one, head.status, await head.text()]).toEqual([one, 200, '']);
        for (const name of ['etag', 'content-type', 'vary', 'content-security-policy']) {
          expect(head.headers.get(name)).toBe(get.headers.get(name));
        }
        const length = Number(head.headers.get('content-length'));
        expect(length).toBe((await get.arrayBuffer()).byteLength);
      }
    });
  });

  describe('a write of another process', () => {
    test('is seen by the next request that is made after it was announced', async () => {
      const query = 'start=2023-01-03&end=2023-12-29';
      const path = bars('MSFT', query);
      const read = async () => {
        const response = await server.get(path);
        return { etag: response.headers.get('etag'), body: (await response.json()) as Historical };
      };
      const before = await read();
      expect((await read()).etag).toBe(before.etag);
      const status = await json<{ database: { total_records: number } }>('/api/v1/status');
      const [session] = sessionsFrom('2023-01-20', 1);
      await storeAnswers(writer, [{ symbol: 'MSFT', bars: [flatBar(session!, { close: 100 })] }]);
      const after = await until(async () => {
        const found = await read();
        return found.etag === before.etag ? undefined : found;
      });
      expect(dates(after.body)).toEqual([...dates(before.body), session!]);
      const known = { headers: { 'if-none-match': before.etag! } };
      expect((await server.get(path, known)).status).toBe(200);
      const now = await json<typeof status>('/api/v1/status');
      expect(now.database.total_records).toBe(status.database.total_records + 1);
    });

    test('that changes nothing leaves the tag as it is', async () => {
      const path = bars('BRK.B', YEAR);
      const tag = async () => (await server.get(path)).headers.get('etag');
      const before = await tag();
      const same = sessionsFrom('2023-01-03', 10).map((session) => flatBar(session));
      await storeAnswers(writer, [{ symbol: 'BRK.B', bars: same }]);
      await writer`select pg_notify('marketd', 'bars *')`; // and everything is read again
      expect(await tag()).toBe(before);
    });

    test('of a new symbol makes it known', async () => {
      const path = bars('FRESH', WEEK);
      expect((await server.get(path)).status).toBe(404);
      await upsertSymbols(writer, ['FRESH']);
      const known = await until(async () => {
        const response = await server.get(path);
        return response.status === 404 ? undefined : response;
      });
      expect(await known.json()).toMatchObject({ symbol: 'FRESH', reason: 'unfetched' });
    });
  });

  test('first reads of a symbol at the same time are one read of the database', async () => {
    const text = await (await server.get(bars('AAPL', YEAR))).text();
    await writer`select pg_notify('marketd', 'bars *')`;
    const holder = await writer.reserve();
    try {
      await holder`begin`;
      await holder`lock table bars_1d in access exclusive mode`;
      const waiting = async () => {
        const rows = await holder`
          select from pg_stat_activity
          where datname = current_database() and application_name = 'marketd read'
            and wait_event_type = 'Lock'`;
        return rows.length;
      };
      const first = await until(async () => {
        // Answered from memory until the server has heard that it must forget.
        const request = server.get(bars('AAPL', YEAR));
        const isHeld = await Promise.race([
          request.then(() => false),
          until(async () => ((await waiting()) > 0 ? true : undefined)),
        ]);
        return isHeld ? { request } : undefined;
      });
      const others = Array.from({ length: 7 }, () => server.get(bars('AAPL', YEAR)));
      for (let i = 0; i < 3; i++) expect((await server.get('/health')).status).toBe(200);
      expect(await waiting()).toBe(1);
      await holder`rollback`;
      for (const request of [first.request, ...others]) {
        expect(await (await request).text()).toBe(text);
      }
    } finally {
      await holder`rollback`;
      holder.release();
    }
  });
});
