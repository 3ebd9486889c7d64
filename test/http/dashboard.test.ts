import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { type AppContext, makeApp } from '../../src/http/app.ts';
import { ingestBars } from '../../src/ingest/ingest.ts';
import { makeBars } from '../../src/model/bar.ts';
import { DEFAULT_THRESHOLDS } from '../../src/model/quality.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { selectJobRequests } from '../../src/store/job-requests.ts';
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

describeEditions('the overview', (clone) => {
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
  const rows = (page: Page) => page.locator('.overview-table tbody tr');
  const names = (page: Page) => page.locator('.overview-table tbody th a').allTextContents();
  const begin = (total: number) =>
    insertRun(database.write, { job: 'backfill', origin: 'command', total });
  const counts = { requests: 12, inserted: 9, changed: 1, unchanged: 0, rejected: 0, done: 12 };

  test('of an empty warehouse says what to do', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    expect(await page.locator('#verdict-sentence').textContent()).toMatch(
      /^Empty There is nothing here yet/,
    );
    const link = page.locator('#verdict').getByRole('link', { name: 'Add symbols' });
    expect(await link.getAttribute('href')).toBe('/dashboard/symbols');
    const commands = await page.locator('#verdict code').allTextContents();
    expect(commands).toEqual(['marketd symbols add AAPL', 'marketd backfill --all']);
    await shows(page, '.empty', 'No symbols yet');
    await shot(page, 'empty');
    await upsertSymbols(database.write, ['AAPL']);
    await shows(page, '#verdict', 'Tracking 1 symbol, but there are no bars yet');
    expect(problems).toEqual([]);
    await close();
  });

  test('shows what there is, with no error and no other host', async () => {
    const companies = { AAPL: 'Apple Inc.', MSFT: 'Microsoft Corporation', SPY: 'SPDR S&P 500' };
    for (const [symbol, name] of Object.entries(companies)) {
      const { instrumentId } = await load(database, symbol);
      const rest = { exchange: 'XNAS', assetType: 'CS', listedOn: null, delistedOn: null };
      await upsertDescriptions(database.write, [{ instrumentId, name, ...rest }]);
    }
    const runId = await begin(3);
    await updateRun(database.write, runId, { ...counts, done: 3 });
    await finishRun(database.write, runId, 'succeeded', null);

    const { page, problems, hosts, polls, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    const bars = 3 * calendar.sessions(FIRST_DAY, LAST_DAY).length;
    const verdict = await page.locator('#verdict-sentence').textContent();
    expect(verdict).toBe('Healthy All is well: 3 symbols, complete to 2026-01-07.');
    await shows(page, '.attention-list', 'Nothing else');
    expect(await readTiles(page)).toEqual({
      'Validation rate': ['100 %', `${bars} of ${bars} bars`],
      Staleness: ['0 sessions', 'published to 2026-01-07'],
      'Latest session': ['2026-01-07', 'since 2025-10-01'],
      Records: [`${bars}`, 'daily bars'],
      Symbols: ['3', 'loaded; 3 tracked'],
      'To review': ['0 findings', '0 gaps among them'],
      Scheduler: ['Running', 'next 2026-01-09 02:00 UTC'],
      'Last backfill': ['Succeeded', expect.stringMatching(/ UTC$/)],
      Market: ['Closed', expect.stringMatching(/^opens \d{4}-\d\d-\d\d 09:30 E[SD]T$/)],
      Database: [
        expect.stringMatching(/^[\d.]+ MB$/),
        expect.stringMatching(/PostgreSQL|TimescaleDB/),
      ],
      API: ['Healthy', expect.stringMatching(/^answered in \d+\.\d\d ms$/)],
      Excluded: ['0 bars', 'kept; 0 volume anomalies'],
    });
    const cells = await rows(page).first().locator('th, td').allTextContents();
    expect(cells.map((text) => text.trim())).toEqual([
      ...['AAPLApple Inc.', 'Good', '', expect.stringMatching(/^\d+\.\d\d$/)],
      ...[expect.stringMatching(/^[+-]\d\.\d\d %$/), '1.000', '100 %', '100 %', '0'],
      ...[`${bars / 3}`, '2026-01-07'],
    ]);
    expect(await page.locator('svg.spark polyline').count()).toBe(3);
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
    await shows(page, '.overview-table', 'NVDA');
    const runId = await begin(40);
    await updateRun(database.write, runId, counts);
    await shows(page, '#verdict', 'A backfill is running: 12 of 40 requests are done.');
    expect(await page.locator('progress').getAttribute('value')).toBe('12');
    await updateRun(database.write, runId, { ...counts, done: 31 });
    await shows(page, '#verdict', '31 of 40');
    await finishRun(database.write, runId, 'failed', 'the key was refused (401)');
    await shows(page, '#verdict', 'The last backfill failed: the key was refused (401).');
    expect(await page.title()).toBe('the same page');
    expect(problems).toEqual([]);
    await finishRun(database.write, await begin(40), 'succeeded', null);
    await close();
  });

  test('moves nothing when what it shows changes', async () => {
    const { page, close } = await openTab({ viewport: { width: 1280, height: 1600 } });
    // A run that begins is a row more; from then on nothing moves.
    const runId = await begin(40_000);
    await page.goto(`${site.url}/dashboard`);
    await page.evaluate(() => {
      const shifts: string[] = [];
      Object.assign(window, { shifts });
      interface Shift extends PerformanceEntry {
        value: number;
        sources: { node: Node | null; previousRect: DOMRect; currentRect: DOMRect }[];
      }
      new PerformanceObserver((list) => {
        for (const { value, sources } of list.getEntries() as Shift[]) {
          const moved = sources.map(({ node, previousRect: from, currentRect: to }) => {
            const text = node?.textContent?.trim().slice(0, 40);
            return `${text} from ${from.x}, ${from.y} to ${to.x}, ${to.y}`;
          });
          shifts.push(`${value}: ${moved.join(', ')}`);
        }
      }).observe({ type: 'layout-shift' });
    });
    for (const done of [7, 812, 39_999]) {
      await updateRun(database.write, runId, { ...counts, inserted: done * 1000, done });
      await database.write`
        update instrument_status set records = records + ${done}, score_sum = score_sum + ${done},
          validated_records = validated_records + ${done} - 1
        where timeframe = '1d' and records > 0`;
      await shows(page, '#verdict', `${done.toLocaleString('en-US')} of 40,000`);
    }
    const shifts = await page.evaluate(() => (window as never as { shifts: string[] }).shifts);
    expect(shifts).toEqual([]);
    await finishRun(database.write, runId, 'succeeded', null);
    await database.write`
      update instrument_status set records = records - 40818, score_sum = score_sum - 40818,
        validated_records = validated_records - 40815
      where timeframe = '1d' and records > 0`;
    await close();
  });

  test('answers 304 until something changes', async () => {
    const first = await get('/dashboard/status');
    const etag = first.headers.get('etag')!;
    expect(etag).toMatch(/^W\/"\w+"$/);
    const second = await get('/dashboard/status', { 'if-none-match': `"x", ${etag}` });
    expect([second.status, await second.text()]).toEqual([304, '']);
    expect(second.headers.get('server-timing')).toMatch(/^status;dur=\d/);
    // Another list is another answer.
    const other = await get('/dashboard/status?sort=symbol', { 'if-none-match': etag });
    expect(other.status).toBe(200);
    await upsertSymbols(database.write, ['AMD']);
    const third = await get('/dashboard/status', { 'if-none-match': etag });
    expect(third.status).toBe(200);
    expect(await third.text()).toContain('AMD');
  });

  test('refuses lists that it does not know', async () => {
    for (const [query, field] of [
      ['sort=close', 'sort'],
      ['dir=up', 'dir'],
      ['page=0', 'page'],
      ['state=fine', 'state'],
      [`q=${'x'.repeat(101)}`, 'q'],
    ]) {
      for (const path of ['/dashboard', '/dashboard/status']) {
        const answer = await get(`${path}?${query}`);
        expect([query, answer.status]).toEqual([query, 422]);
        expect(await answer.json()).toMatchObject({ error: { field } });
      }
    }
  });

  test('sorts, filters and pages; polls keep it', async () => {
    const { page, polls, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    // The one without bars wants attention first.
    expect(await names(page)).toEqual(['AMD', 'AAPL', 'MSFT', 'NVDA', 'SPY']);
    const head = page.locator('.overview-table thead');
    await head.getByRole('link', { name: 'Symbol' }).click();
    await shows(page, '[aria-sort=ascending]', 'Symbol');
    await head.getByRole('link', { name: 'Symbol' }).click();
    await shows(page, '[aria-sort=descending]', 'Symbol');
    expect(await names(page)).toEqual(['SPY', 'NVDA', 'MSFT', 'AMD', 'AAPL']);
    expect(new URL(page.url()).search).toBe('?sort=symbol&dir=desc');
    await page.locator('.tabs').getByRole('link', { name: 'Good 4' }).click();
    await shows(page, '.tabs [aria-current]', 'Good 4');
    expect(await names(page)).toEqual(['SPY', 'NVDA', 'MSFT', 'AAPL']);

    const box = page.getByRole('searchbox', { name: 'Symbol or name' });
    await box.pressSequentially('micro');
    await page.waitForURL('**/dashboard?*q=micro*');
    expect(await names(page)).toEqual(['MSFT']);
    await load(database, 'MICRO');
    await shows(page, '.overview-table', 'MICRO');
    for (const asked = polls.length; polls.length < asked + 2; ) await Bun.sleep(50);
    expect(await names(page)).toEqual(['MSFT', 'MICRO']);
    expect(await box.inputValue()).toBe('micro');
    expect(await box.evaluate((input) => input === document.activeElement)).toBe(true);
    expect(Object.fromEntries(new URL(page.url()).searchParams)).toEqual({
      ...{ sort: 'symbol', dir: 'desc', state: 'good', q: 'micro' },
    });
    // Who loads the address again sees the same.
    await page.reload();
    expect(await names(page)).toEqual(['MSFT', 'MICRO']);
    await box.fill('nobody');
    await shows(page, '.empty', 'No symbol is like that');
    expect(problems).toEqual([]);
    await close();
    await clone().sql`update instruments set is_tracked = false where name is null and instrument_id
      in (select instrument_id from symbol_ranges where symbol = 'MICRO')`;
  });

  test('sorts by the change of the last session', async () => {
    const html = await (await get('/dashboard/status?sort=change&dir=desc')).text();
    const shown = [...html.matchAll(/change-text [a-z]+">([^<]+) %/g)].map(([, text]) =>
      Number(text),
    );
    expect(shown.length).toBeGreaterThan(3);
    expect(shown).toEqual(shown.toSorted((a, b) => b - a));
  });

  test('starts the backfill that mends it, in place', async () => {
    const runId = await begin(3);
    await finishRun(database.write, runId, 'failed', 'no luck');
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard?sort=symbol`);
    await shows(page, '#verdict', 'The last backfill failed: no luck.');
    await page.getByRole('button', { name: 'Backfill all symbols' }).first().click();
    await shows(page, '#notices', 'Asked for a backfill 1d of all symbols');
    await shows(page, '#verdict', 'A backfill waits, and no process runs jobs now.');
    const [request] = await selectJobRequests(database.read, { limit: 5 });
    expect(request).toMatchObject({
      ...{ kind: 'backfill', state: 'queued', actor: 'page 127.0.0.1' },
      arguments: { symbols: null, timeframe: '1d', firstSession: '2021-01-07', lastSession: null },
    });
    expect(new URL(page.url()).search).toBe('?sort=symbol');
    expect(problems).toEqual([]);
    await close();

    // Without JavaScript the page comes back with the same list, and tells it once.
    const plain = await openTab({ javaScriptEnabled: false });
    await clone().sql`
      update job_requests set state = 'cancelled', finished_at = now() where finished_at is null`;
    await plain.page.goto(`${site.url}/dashboard?q=aap`);
    await plain.page.getByRole('button', { name: 'Backfill all symbols' }).first().click();
    await shows(plain.page, '#notices', 'Asked for a backfill');
    expect(new URL(plain.page.url()).search).toBe('?q=aap');
    await plain.page.getByRole('link', { name: 'Refresh' }).click();
    expect(await plain.page.locator('#notices').textContent()).toBe('');
    await plain.close();
    await clone().sql`
      update job_requests set state = 'cancelled', finished_at = now() where finished_at is null`;
    await finishRun(database.write, await begin(1), 'succeeded', null);
  });

  test('takes no form from another site', async () => {
    const send = (headers: Record<string, string>) =>
      fetch(`${site.url}/dashboard/catch-up`, { method: 'POST', headers, body: 'sort=symbol' });
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const answers = [
      await send({ ...type, 'sec-fetch-site': 'cross-site' }),
      await send({ 'content-type': 'text/plain' }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([403, 415]);
    expect((await selectJobRequests(database.read, { limit: 1 }))[0].state).toBe('cancelled');
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
    const shown = await names(page);
    const port = Number(new URL(site.url).port);
    await site.stop();
    await shows(page, '#connection', 'marketd has not answered since');
    expect(await page.locator('.old .overview-table tbody tr').count()).toBe(shown.length);
    await shot(page, 'away');
    site = await openSite(context, port);
    await page.locator('#connection').waitFor({ state: 'hidden', timeout: 10_000 });
    expect(await page.locator('.old').count()).toBe(0);
    await close();
  });

  test('says so when the database is away, also to one who comes now', async () => {
    const { page, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    const shown = await names(page);
    const away = openDatabase('postgres://nobody@127.0.0.1:1/nothing');
    const readers = { ...context };
    site = await reopen(site, { ...context, database: away });
    await shows(page, '#connection', 'The database has not answered since');
    expect(await names(page)).toEqual(shown);

    const answer = await page.request.get(`${site.url}/dashboard`);
    expect(answer.status()).toBe(503);
    expect(answer.headers()['retry-after']).toBe('5');
    const late = await openTab();
    await late.page.goto(`${site.url}/dashboard`);
    await shows(late.page, '.notice', 'Unavailable The database does not answer.');
    site = await reopen(site, readers);
    await page.locator('#connection').waitFor({ state: 'hidden', timeout: 10_000 });
    await shows(late.page, '.overview-table', 'NVDA');
    await Promise.all([close(), late.close(), away.close()]);
  });

  /** The same address with another context behind it. */
  async function reopen(old: Site, next: AppContext): Promise<Site> {
    await old.stop();
    return openSite(next, Number(new URL(old.url).port));
  }

  test('shows its data without JavaScript', async () => {
    const { page, polls, close } = await openTab({ javaScriptEnabled: false });
    await page.goto(`${site.url}/dashboard`);
    await load(database, 'AMD');
    await page.getByRole('link', { name: 'Refresh' }).click();
    await shows(page, 'tr:has-text("AMD")', '100 %');
    await page.locator('.overview-table thead').getByRole('link', { name: 'Symbol' }).click();
    expect((await names(page))[0]).toBe('AAPL');
    await page.getByRole('searchbox').fill('spy');
    await page.getByRole('button', { name: 'Apply' }).click();
    expect(await names(page)).toEqual(['SPY']);
    expect(Object.fromEntries(new URL(page.url()).searchParams)).toEqual({
      ...{ sort: 'symbol', dir: 'asc', q: 'spy' },
    });
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
    await finishRun(database.write, await begin(1), 'failed', HOSTILE);
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard?q=${encodeURIComponent(HOSTILE)}`);
    const row = rows(page).first();
    expect(await row.locator('th a').textContent()).toBe(HOSTILE);
    expect(await row.locator('.name').textContent()).toBe(HOSTILE);
    expect(await page.getByRole('searchbox').inputValue()).toBe(HOSTILE);
    expect(await page.locator('#verdict').textContent()).toContain(HOSTILE);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.title()).toBe('Overview - marketd');
    expect(problems).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await close();
  });

  test('warns of synthetic data, and has many symbols in pages', async () => {
    await load(database, 'MADEUP', 60, true);
    const more = Array.from({ length: 70 }, (_, i) => `T${toDate(i).replaceAll('-', '')}`);
    await upsertSymbols(database.write, more);
    const { page, problems, close } = await openTab({ colorScheme: 'light' });
    await page.goto(`${site.url}/dashboard?sort=symbol`);
    await shows(page, '.synthetic', 'SYNTHETIC DATA');
    await shows(page, '.pager', 'page 1 of 2');
    expect(await rows(page).count()).toBe(60);
    const first = await names(page);
    await page.getByRole('link', { name: 'Next page' }).click();
    await shows(page, '.pager', 'page 2 of 2');
    expect(new URL(page.url()).searchParams.get('page')).toBe('2');
    const second = await names(page);
    const total = await page.locator('.pager').textContent();
    expect(total).toStartWith(`${first.length + second.length} symbols`);
    expect(new Set([...first, ...second]).size).toBe(first.length + second.length);
    expect(await page.evaluate(findFaintTexts)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await shot(page, 'many');
    // Beyond the last page is the last one.
    await page.goto(`${site.url}/dashboard?page=99`);
    await shows(page, '.pager', 'page 2 of 2');
    expect(problems).toEqual([]);
    await close();
  });

  test('is no part of the documented API', async () => {
    const answer = await makeApp(context).handle(new Request('http://localhost/docs/json'));
    const { paths } = (await answer.json()) as { paths: Record<string, object> };
    expect(Object.keys(paths).filter((path) => /dashboard|assets|favicon/.test(path))).toEqual([]);
  });
});
