import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { upsertDescriptions } from '../../src/store/symbols.ts';
import { cloneDatabase, describeEditions, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  findFaintTexts,
  HOSTILE,
  openSite,
  openTab,
  overflow,
  SCREENSHOTS,
  type Site,
  useBrowser,
} from '../fixtures/browser.ts';
import { addInstrument, addSplit, ingest, RECEIVED } from '../fixtures/warehouse.ts';

/** What holds of every page: what is true of one only is beside that page's own tests. */

const NOW = Date.parse('2024-03-04T03:00:00Z');
const LATEST = '2024-03-01';
const SESSIONS = sessionsFrom('2022-06-15', 440).filter((session) => session <= LATEST);

useBrowser();

/** Two years of a symbol with everything that pages show, and text of others that does harm. */
async function fill({ write }: Database): Promise<void> {
  const id = await addInstrument(write, 'AAPL');
  const rest = { exchange: 'XNAS', assetType: 'CS', listedOn: SESSIONS[0], delistedOn: null };
  await upsertDescriptions(write, [{ instrumentId: id, name: HOSTILE, ...rest }]);
  const bars = SESSIONS.map((session, i) => {
    const open = 100 + (i % 7) / 4;
    const bar = flatBar(session, {
      ...{ open, high: open + 2.5, low: open - 2.25, close: open + 0.12, volume: 1e6 + i },
    });
    if (i === 200) bar.volume *= 30;
    if (i === 100) bar.high = 1;
    if (i === 420) bar.open = bar.high = 130;
    return bar;
  });
  await ingest(write, id, bars);
  const [restated] = bars.slice(350);
  await ingest(
    write,
    id,
    [{ ...restated, close: restated.close + 0.25 }],
    {},
    { receivedAt: RECEIVED + 86_400_000 },
  );
  await addSplit(write, id, { exDate: SESSIONS[320], splitFrom: 1, splitTo: 4 });
  for (const symbol of ['MSFT', 'BRK.B', 'ABRpD']) {
    const other = await addInstrument(write, symbol);
    await ingest(write, other, bars.slice(0, symbol === 'MSFT' ? undefined : -30));
  }
  await addInstrument(write, 'NEW');
  await write`update findings set note = ${HOSTILE}, state = 'accepted', decided_by = ${HOSTILE},
    ts_decided = ${new Date(RECEIVED)} where kind = 'volume_spike'`;
  await write`
    insert into job_runs (job, origin, state, scheduled_for, started_at, finished_at, worker, total,
      done, requests, inserted, error)
    values ('backfill', 'schedule', 'succeeded', ${new Date(RECEIVED)}, ${new Date(RECEIVED)},
            ${new Date(RECEIVED + 61_000)}, 'host:1', 30, 30, 30, 1234, null),
           ('backfill', 'command', 'failed', null, ${new Date(RECEIVED)},
            ${new Date(RECEIVED + 61_000)}, 'host:1', 30, 12, 12, 99, ${HOSTILE})`;
  await write`
    insert into request_failures (run_id, ts, symbol, dataset, start_session, end_session, kind,
      status, message, body)
    select run_id, now(), ${HOSTILE}, '1d', ${SESSIONS[0]}::date, ${LATEST}::date, 'unavailable',
           500, ${HOSTILE}, ${HOSTILE}
    from job_runs where state = 'failed'`;
  await write`
    insert into calendar_overrides (date, kind, reason)
    values ('2024-07-05', 'closed', ${HOSTILE})`;
}

/** Every page, by the name of its picture: where it is, and the status it answers with. */
const PAGES: Record<string, { path: string; status?: number }> = {
  overview: { path: '/dashboard' },
  symbols: { path: '/dashboard/symbols' },
  symbol: { path: '/dashboard/symbols/AAPL' },
  'symbol-unknown': { path: '/dashboard/symbols/NOPE', status: 404 },
  backfill: { path: '/dashboard/backfill' },
  run: { path: '/dashboard/backfill/runs/2' },
  quality: { path: '/dashboard/quality' },
  'quality-report': { path: '/dashboard/quality/report' },
  'quality-audit': { path: '/dashboard/quality/audit' },
  reconciliation: { path: '/dashboard/reconciliation' },
  market: { path: '/dashboard/market?year=2024' },
  system: { path: '/dashboard/system' },
  docs: { path: '/docs' },
  'not-found': { path: '/dashboard/nothing', status: 404 },
  invalid: { path: '/dashboard/symbols?sort=nothing', status: 422 },
};

const NAVIGATION = ['Overview', 'Symbols', 'Backfill', 'Quality', 'Market', 'System', 'API docs'];

/** What the checker of accessibility finds, in words. */
async function findBarriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    // What Swagger UI makes is its own; the frame around it is ours.
    (window as unknown as { axe: typeof axe }).axe.run(
      { exclude: [['#swagger-ui']] },
      {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      },
    ),
  );
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`,
  );
}

/** What runs or paints without a file of ours: scripts, handlers and styles within the page. */
function findInline(html: string): string[] {
  const found: string[] = [];
  new HTMLRewriter()
    .on('*', {
      element: (element) => {
        const { tagName } = element;
        if (['img', 'style', 'iframe', 'object', 'base'].includes(tagName)) found.push(tagName);
        if (tagName === 'script' && !element.getAttribute('src')) found.push(tagName);
        for (const [name] of element.attributes) {
          if (name === 'style' || name.startsWith('on')) found.push(`${tagName} ${name}`);
        }
      },
    })
    .transform(html);
  return found;
}

/** Everything of the page is there and asks for nothing more. */
async function settle(page: Page): Promise<void> {
  await page.locator('h1').first().waitFor();
  await page.locator('[data-chart]:not([data-bars])').waitFor({ state: 'detached' });
  await page.waitForFunction(() => !document.querySelector('.htmx-request'));
}

const contextOf = (database: Database, edition: TestDatabase['edition']) =>
  makeAppContext(database, edition, {
    version: '0.1.0',
    publishDelayMs: 3_600_000,
    now: () => NOW,
    operations: {
      canReconcile: true,
      diagnose: async () => [
        { check: 'database', state: 'ok', message: HOSTILE },
        { check: 'data', state: 'warning', message: HOSTILE },
        { check: 'provider', state: 'problem', message: HOSTILE },
      ],
      settings: { LOG_LEVEL: HOSTILE },
      defaultSettings: { LOG_LEVEL: 'INFO' },
      startedAt: NOW - 86_400_000,
    },
  });

describe('every page', () => {
  let clone: TestDatabase;
  let database: Database;
  let site: Site;

  beforeAll(async () => {
    clone = await cloneDatabase('plain');
    database = openDatabase(clone.url);
    await fill(database);
    site = await openSite({ ...contextOf(database, 'plain'), pollSeconds: 10 });
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
    await clone?.drop();
  });

  describe.each(Object.entries(PAGES))('%s', (name, { path, status = 200 }) => {
    test.each(['light', 'dark'] as const)('%s: nothing in the way of anybody', async (scheme) => {
      const tab = await openTab({
        ...{ colorScheme: scheme, viewport: { width: 1280, height: 900 } },
      });
      const { page } = tab;
      const response = await page.goto(`${site.url}${path}`);
      expect(response!.status()).toBe(status);
      await settle(page);
      const file = join(SCREENSHOTS, `${name}-${scheme}.png`);
      await page.screenshot({ path: file, fullPage: true });
      expect(await findBarriers(page)).toEqual([]);
      if (name !== 'docs') expect(await page.evaluate(findFaintTexts)).toEqual([]);
      expect(await overflow(page)).toBe(0);
      // Chromium itself reports that a page was not found.
      const real = tab.problems.filter((text) => !(status >= 400 && text.includes(`${status}`)));
      expect(real).toEqual([]);
      expect([...tab.hosts]).toEqual([new URL(site.url).host]);
      expect(await page.title()).toEndWith(name === 'overview' ? 'marketd' : ' - marketd');
      await tab.close();
    });

    test('fits a telephone', async () => {
      const tab = await openTab({ viewport: { width: 360, height: 740 }, isMobile: true });
      await tab.page.goto(`${site.url}${path}`);
      await settle(tab.page);
      const file = join(SCREENSHOTS, `${name}-narrow.png`);
      await tab.page.screenshot({ path: file, fullPage: true });
      expect(await overflow(tab.page)).toBe(0);
      await tab.close();
    });

    test('has the same navigation, and one heading', async () => {
      const tab = await openTab();
      await tab.page.goto(`${site.url}${path}`);
      const links = tab.page.getByRole('navigation', { name: 'Pages', exact: true });
      expect(await links.getByRole('link').allTextContents()).toEqual(NAVIGATION);
      expect(await tab.page.locator('h1:not(#swagger-ui *)').count()).toBe(1);
      await tab.close();
    });
  });
});

describeEditions('text of others', (clone) => {
  let database: Database;
  let site: Site;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    await fill(database);
    site = await openSite(contextOf(database, clone().edition));
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
  });

  test.each(Object.entries(PAGES))('does no harm on %s', async (_, { path, status = 200 }) => {
    const headers = { accept: 'text/html', 'sec-fetch-mode': 'navigate' };
    const response = await fetch(`${site.url}${path}`, { headers });
    expect(response.status).toBe(status);
    const html = await response.text();
    expect(html).toStartWith('<!doctype html>');
    expect(findInline(html)).toEqual([]);
  });
});

describe('an empty warehouse', () => {
  let clone: TestDatabase;
  let database: Database;
  let site: Site;

  beforeAll(async () => {
    clone = await cloneDatabase('plain');
    database = openDatabase(clone.url);
    site = await openSite({ ...contextOf(database, 'plain'), pollSeconds: 10 });
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
    await clone?.drop();
  });

  const empty = Object.entries(PAGES).filter(([, { path }]) => !/AAPL|runs|docs/.test(path));

  test.each(empty)('is shown by %s too', async (name, { path, status = 200 }) => {
    const tab = await openTab({ viewport: { width: 1280, height: 900 } });
    const response = await tab.page.goto(`${site.url}${path}`);
    expect(response!.status()).toBe(status);
    await settle(tab.page);
    const file = join(SCREENSHOTS, `${name}-empty.png`);
    await tab.page.screenshot({ path: file, fullPage: true });
    expect(await findBarriers(tab.page)).toEqual([]);
    await tab.close();
  });
});
