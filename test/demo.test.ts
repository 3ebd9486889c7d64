import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCalendar, toDate } from '../src/model/session.ts';
import { type RunningCli, startCli } from './fixtures/cli-process.ts';
import { until } from './fixtures/http-server.ts';

/** What `npm start` shows to somebody who has nothing: no key and no database. */

const calendar = makeCalendar();
const SESSION = toDate(calendar.latestSession(Date.now(), 24 * 3_600_000));
let folder = '';
let child: RunningCli;
let url = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marketd-demo-'));
  child = startCli(['serve'], {
    MARKETD_DATA_DIR: folder,
    API_PORT: '0',
    BACKFILL_YEARS: '1',
    INGESTION_INTERVAL_SECONDS: '0.2',
  });
  url = (await child.waitFor(/serving on (\S+)/))[1];
  // The minutes come after the days.
  const minutes = `/api/v1/historical/SPY?start=${SESSION}&end=${SESSION}&timeframe=1h`;
  await until(async () => ((await get(minutes)).count > 0 ? true : undefined));
}, 120_000);

afterAll(async () => {
  child?.kill('SIGTERM');
  await child?.finished;
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

const get = async (path: string) => (await fetch(url + path)).json();

describe('the demo', () => {
  test('has days, and says that they are made up', async () => {
    const answer = await get(`/api/v1/historical/MSFT?start=${SESSION}&end=${SESSION}`);
    expect(answer).toMatchObject({ count: 1, synthetic: true, providers: ['synthetic'] });
  });

  test('has minutes that agree with their day, for two symbols', async () => {
    const range = `start=${SESSION}&end=${SESSION}&validated_only=false`;
    for (const symbol of ['AAPL', 'SPY']) {
      const { data } = await get(`/api/v1/historical/${symbol}?${range}`);
      const minutes = await get(
        `/api/v1/historical/${symbol}?${range}&timeframe=65m&closing_auction=true`,
      );
      expect(minutes.synthetic).toBe(true);
      const [first] = minutes.data;
      const last = minutes.data.at(-1);
      expect([first.open, last.close]).toEqual([data[0].open, data[0].close]);
      const highs = minutes.data.map(({ high }: { high: number }) => high);
      expect(Math.max(...highs)).toBe(Math.max(data[0].high, data[0].open, data[0].close));
    }
  });

  test('has trades that come by themselves, on the stream as well', async () => {
    const stream = await fetch(`${url}/api/v1/stream?symbols=AAPL&kinds=trade`);
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of stream.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      if (/event: trade\n/.test(text)) break;
    }
    expect(text).toContain('"symbol":"AAPL"');
    const { trades } = await get('/trades?symbol=AAPL&limit=5');
    expect(trades.length).toBeGreaterThan(0);
    expect(trades[0]).toMatchObject({ symbol: 'AAPL', provider: 'synthetic', synthetic: true });
    const price = await get('/price/latest?symbol=AAPL');
    expect(price).toMatchObject({ source: 'trade', synthetic: true });
    const { candles } = await get('/candles?symbol=AAPL&interval=1s');
    expect(candles.length).toBeGreaterThan(0);
    const health = await get('/health');
    expect(health.last_trade_count).toBeGreaterThan(0);
  });
});
