import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { Elysia } from 'elysia';
import type { Page } from 'playwright-core';
import { type AppContext, makeApp } from '../../src/http/app.ts';
import { ASSET_PATHS } from '../../src/http/assets.ts';
import { errorPlugin } from '../../src/http/errors.ts';
import { pageRoutes } from '../../src/http/pages.tsx';
import { ingestBars } from '../../src/ingest/ingest.ts';
import { makeBars } from '../../src/model/bar.ts';
import { DEFAULT_THRESHOLDS } from '../../src/model/quality.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { finishRun, insertRun, updateRun } from '../../src/store/jobs.ts';
import { selectInstruments, upsertDescriptions, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import {
  findFaintTexts,
  HOSTILE,
  openSite,
  openTab,
  overflow,
  readTiles,
  SCREENSHOTS,
  type Site,
  shows,
  useBrowser,
} from '../fixtures/browser.ts';

/** After the night's run: the session of 7 January 2026 is the latest that is published. */
const NOW = Date.parse('2026-01-08T03:00:00Z');
const FIRST_DAY = toDay('2025-10-01');
const LAST_DAY = toDay('2026-01-07');

const calendar = makeCalendar();
useBrowser();

function makeContext(database: Database, edition: TestDatabase['edition']): AppContext {
  return makeAppContext(database, edition, {
    version: '0.1.0',
    publishDelayMs: 3_600_000,
    now: () => NOW,
    scheduler: () => ({ status: 'running', nextRun: new Date('2026-01-09T02:00:00Z') }),
  });
}

/** Bars of every session of the range, or of its last ones. */
async function load(database: Database, symbol: string, sessions = 1000, isSynthetic = false) {
  await upsertSymbols(database.write, [symbol]);
  const [instrument] = await selectInstruments(database.read, { symbols: [symbol] });
  const days = calendar.sessions(FIRST_DAY, LAST_DAY).slice(-sessions);
  const bars = makeBars(days.length);
  days.forEach((day, row) => {
    bars.session[row] = day;
    const price = 100 + Math.sin(row / 5) * 4;
    bars.open[row] = price;
    bars.high[row] = price + 2;
    bars.low[row] = price - 2;
    bars.close[row] = price + 1;
    bars.volume[row] = 1_000_000 + row * 1000;
  });
  const asked = { firstDay: days[0], lastDay: LAST_DAY };
  const { instrumentId } = instrument;
  const item = { instrumentId, symbol, bars, rejected: [], listedOn: null, asked: [asked] };
  await ingestBars(database.write, [item], {
    provider: isSynthetic ? 'synthetic' : 'polygon',
    isSynthetic,
    receivedAt: NOW,
    calendar,
    thresholds: DEFAULT_THRESHOLDS,
    settledBefore: LAST_DAY - 7,
  });
  return instrument;
}

describe('assets', () => {
  test('are for ever under a name with their hash', async () => {
    const app = new Elysia().use(pageRoutes({} as AppContext));
    for (const path of Object.values(ASSET_PATHS)) {
      const answer = await app.handle(new Request(`http://localhost${path}`));
      expect(answer.status).toBe(200);
      expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(path).toMatch(/^\/assets\/[a-z]+-[0-9a-f]{12}\.(css|js|svg)$/);
    }
    const icon = await app.handle(new Request('http://localhost/favicon.ico'));
    expect(icon.headers.get('content-type')).toBe('image/svg+xml');
  });

  test('of another build are not found', async () => {
    const app = new Elysia().use(errorPlugin(() => {})).use(pageRoutes({} as AppContext));
    const answer = await app.handle(new Request('http://localhost/assets/app-000000000000.js'));
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: { code: 'not_found' } });
  });
});

describeEditions('the dashboard', (clone) => {
  let database: Database;
  let context: AppContext;
  let site: Site;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    context = makeContext(database, clone().edition);
    site = await openSite(context);
  });

  afterAll(async () => {
    await site?.stop();
    await database?.close();
  });

  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${site.url}${path}`, { headers });
  const shot = (page: Page, name: string) =>
    page.screenshot({ path: join(SCREENSHOTS, `${name}-${clone().edition}.png`), fullPage: true });

  test('of an empty warehouse says what to do', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    expect(await page.locator('#verdict').textContent()).toMatch(
      /^Empty There is nothing here yet/,
    );
    const commands = await page.locator('#verdict code').allTextContents();
    expect(commands).toEqual(['marketd symbols add AAPL', 'marketd backfill --all']);
    await shot(page, 'empty');
    await upsertSymbols(database.write, ['AAPL']);
    await shows(page, '#verdict', 'Tracking 1 symbol, but there are no bars yet');
    expect(problems).toEqual([]);
    await close();
  });

  test('shows what there is, with no error and no other host', async () => {
    const names = { AAPL: 'Apple Inc.', MSFT: 'Microsoft Corporation', SPY: 'SPDR S&P 500 ETF' };
    for (const [symbol, name] of Object.entries(names)) {
      const { instrumentId } = await load(database, symbol);
      const rest = { exchange: 'XNAS', assetType: 'CS', listedOn: null, delistedOn: null };
      await upsertDescriptions(database.write, [{ instrumentId, name, ...rest }]);
    }
    const run = { job: 'backfill', origin: 'start', total: 3 } as const;
    const counts = { requests: 3, inserted: 204, changed: 0, unchanged: 0, rejected: 0, done: 3 };
    const runId = await insertRun(database.write, run);
    await updateRun(database.write, runId, counts);
    await finishRun(database.write, runId, 'succeeded', null);

    const { page, problems, hosts, polls, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    const bars = 3 * calendar.sessions(FIRST_DAY, LAST_DAY).length;
    const verdict = await page.locator('#verdict').textContent();
    expect(verdict).toBe('Healthy All is well: 3 symbols, complete to 2026-01-07.');
    expect(await readTiles(page)).toEqual({
      'System health': ['Healthy', expect.stringMatching(/PostgreSQL|TimescaleDB/)],
      'Validation rate': ['100 %', `${bars} of ${bars} bars`],
      Staleness: ['0 sessions', 'published to 2026-01-07'],
      'API status': ['Healthy', expect.stringMatching(/^answered in \d+\.\d\d ms$/)],
      Scheduler: ['Running', 'next 2026-01-09 02:00 UTC'],
      'Last backfill': ['Succeeded', expect.stringMatching(/ UTC$/)],
      Market: ['Closed', expect.stringMatching(/^opens \d{4}-\d\d-\d\d 09:30 E[SD]T$/)],
      'Symbols loaded': ['3', '3 tracked'],
      'Total records': [`${bars}`, 'daily bars'],
      'Minutes and hours': ['0', 'bars below a day'],
      Trades: ['0', 'candles are made of them'],
      'Latest date': ['2026-01-07', 'since 2025-10-01'],
      'Gaps flagged': ['0', 'open far from last close'],
      'Volume anomalies': ['0', 'spikes and droughts'],
      'Excluded bars': ['0', 'score below 0.5, kept'],
    });
    expect(await page.locator('.card .name').allTextContents()).toEqual(Object.values(names));
    for (const [name, path] of [
      ['Refresh', '/dashboard'],
      ['API docs', '/docs'],
      ['Health check', '/health'],
    ]) {
      expect(await page.getByRole('link', { name }).getAttribute('href')).toBe(path);
    }
    while (polls.length < 4) await Bun.sleep(50);
    expect(site.served.slice(-2)).toEqual([304, 304]);
    expect(problems).toEqual([]);
    expect([...hosts]).toEqual([new URL(site.url).host]);
    await close();
  });

  test('polls, and shows a change without being loaded again', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    await page.evaluate(() => {
      document.title = 'the same page';
    });
    await load(database, 'NVDA');
    await shows(page, '.card', 'NVDA');
    const run = { job: 'backfill', origin: 'command', total: 40 } as const;
    const runId = await insertRun(database.write, run);
    const counts = { requests: 12, inserted: 9, changed: 1, unchanged: 0, rejected: 0, done: 12 };
    await updateRun(database.write, runId, counts);
    await shows(page, '#verdict', 'A backfill is running: 12 of 40 requests are done.');
    expect(await page.locator('progress').getAttribute('value')).toBe('12');
    await updateRun(database.write, runId, { ...counts, done: 31 });
    await shows(page, '#verdict', '31 of 40');
    await finishRun(database.write, runId, 'failed', 'the key was refused (401)');
    await shows(page, '#verdict', 'The last backfill failed: the key was refused (401).');
    expect(await page.title()).toBe('the same page');
    expect(problems).toEqual([]);
    const nextId = await insertRun(database.write, run);
    await finishRun(database.write, nextId, 'succeeded', null);
    await close();
  });

  test('answers 304 until something changes', async () => {
    const first = await get('/dashboard/status');
    const etag = first.headers.get('etag')!;
    expect(etag).toMatch(/^W\/"\w+"$/);
    const second = await get('/dashboard/status', { 'if-none-match': `"x", ${etag}` });
    expect([second.status, await second.text()]).toEqual([304, '']);
    expect(second.headers.get('server-timing')).toMatch(/^status;dur=\d/);
    await upsertSymbols(database.write, ['AMD']);
    const third = await get('/dashboard/status', { 'if-none-match': etag });
    expect(third.status).toBe(200);
    expect(await third.text()).toContain('AMD');
  });

  test('asks for nothing in a tab that nobody looks at', async () => {
    const { page, polls, close } = await openTab();
    await page.addInitScript(() => {
      Object.defineProperty(document, 'hidden', { get: () => !('shown' in window) });
    });
    await page.goto(`${site.url}/dashboard`);
    await Bun.sleep(2_500);
    expect(polls).toEqual([]);
    await page.evaluate(() => {
      Object.assign(window, { shown: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    while (polls.length === 0) await Bun.sleep(10);
    expect(polls.length).toBe(1);
    await close();
  });

  test('says so when the server is away, keeps what it shows, and recovers', async () => {
    const { page, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    const port = Number(new URL(site.url).port);
    await site.stop();
    await shows(page, '#connection', 'marketd has not answered since');
    expect(await page.locator('.old .card').count()).toBe(5);
    await shot(page, 'away');
    site = await openSite(context, port);
    await page.locator('#connection').waitFor({ state: 'hidden', timeout: 10_000 });
    expect(await page.locator('.old').count()).toBe(0);
    await close();
  });

  test('says so when the database is away, also to one who comes now', async () => {
    const { page, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    const away = openDatabase('postgres://nobody@127.0.0.1:1/nothing');
    context.database = away;
    await shows(page, '#connection', 'The database has not answered since');
    expect(await page.locator('.card').count()).toBe(5);

    const answer = await page.request.get(`${site.url}/dashboard`);
    expect(answer.status()).toBe(503);
    expect(answer.headers()['retry-after']).toBe('5');
    const late = await openTab();
    await late.page.goto(`${site.url}/dashboard`);
    await shows(late.page, '.notice', 'Unavailable The database does not answer.');
    await shot(late.page, 'unavailable');
    context.database = database;
    await page.locator('#connection').waitFor({ state: 'hidden', timeout: 10_000 });
    await shows(late.page, '.card', 'NVDA');
    await Promise.all([close(), late.close(), away.close()]);
  });

  test('shows its data without JavaScript', async () => {
    const { page, polls, close } = await openTab({ javaScriptEnabled: false });
    await page.goto(`${site.url}/dashboard`);
    expect(await page.locator('.card').count()).toBe(5);
    await load(database, 'AMD');
    await page.getByRole('link', { name: 'Refresh' }).click();
    await shows(page, '.card', '2025-10-01 to 2026-01-07');
    expect(await page.locator('.card', { hasText: 'AMD' }).textContent()).toContain('100 %');
    expect(polls).toEqual([]);
    await close();
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`has enough contrast in the ${colorScheme} theme, and room on a telephone`, async () => {
      const wide = { width: 1280, height: 800 };
      const { page, close } = await openTab({ colorScheme, viewport: wide });
      await page.goto(`${site.url}/dashboard`);
      expect(await page.evaluate(findFaintTexts)).toEqual([]);
      await shot(page, colorScheme);
      for (const width of [360, 700, 1000]) {
        await page.setViewportSize({ width, height: 740 });
        expect(await overflow(page)).toBe(0);
        if (width === 360) await shot(page, `narrow-${colorScheme}`);
      }
      await close();
    });
  }

  test('escapes what others have named', async () => {
    const { instrumentId } = await load(database, 'EVIL', 30);
    const rest = { exchange: HOSTILE, assetType: HOSTILE, listedOn: null, delistedOn: null };
    await upsertDescriptions(database.write, [{ instrumentId, name: HOSTILE, ...rest }]);
    await clone().sql`
      update symbol_ranges set symbol = ${HOSTILE} where instrument_id = ${instrumentId}`;
    const run = { job: 'backfill', origin: 'command', total: 1 } as const;
    await finishRun(database.write, await insertRun(database.write, run), 'failed', HOSTILE);
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    expect(await page.locator('.card h3', { hasText: HOSTILE }).textContent()).toBe(HOSTILE);
    expect(await page.locator('.card .name', { hasText: HOSTILE }).textContent()).toBe(HOSTILE);
    expect(await page.locator('#verdict').textContent()).toContain(HOSTILE);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.title()).toBe('marketd');
    expect(problems).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await close();
  });

  test('warns of synthetic data and lists the worst of many symbols', async () => {
    await load(database, 'MADEUP', 60, true);
    const more = Array.from({ length: 70 }, (_, i) => `T${toDate(i).replaceAll('-', '')}`);
    await upsertSymbols(database.write, more);
    const { page, problems, close } = await openTab({ colorScheme: 'light' });
    await page.goto(`${site.url}/dashboard`);
    await shows(page, '.synthetic', 'SYNTHETIC DATA');
    await shows(page, 'main', 'The 60 of 77 that need attention most.');
    expect(await page.locator('section[aria-labelledby=symbols] tbody tr').count()).toBe(60);
    expect(await page.evaluate(findFaintTexts)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await shot(page, 'many');
    expect(problems).toEqual([]);
    await close();
  });

  test('is no part of the documented API', async () => {
    const answer = await makeApp(context).handle(new Request('http://localhost/docs/json'));
    const { paths } = (await answer.json()) as { paths: Record<string, object> };
    expect(Object.keys(paths).filter((path) => /dashboard|assets|favicon/.test(path))).toEqual([]);
  });
});
