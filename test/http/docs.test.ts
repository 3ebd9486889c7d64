import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { cloneDatabase, type TestDatabase } from '../database.ts';
import { fillWarehouse, startServer, type TestServer } from '../fixtures/http-server.ts';

setDefaultTimeout(60_000);

const SCREENSHOTS = join(import.meta.dir, '../screenshots');
const CHROMIUM_FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

describe('/docs in a browser', () => {
  let database: TestDatabase;
  let server: TestServer;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];
  const requests: string[] = [];

  beforeAll(async () => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    database = await cloneDatabase('plain');
    await fillWarehouse(database.sql);
    server = await startServer(database.url);
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: CHROMIUM_FLAGS });
    page = await browser.newPage({ viewport: { width: 1200, height: 1000 } });
    page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
    page.on('request', (request) => requests.push(request.url()));
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
    });
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy: ${event.effectiveDirective} ${event.blockedURI}`);
      });
    });
    await page.goto(`${server.url}/docs`);
    await page.locator('.opblock').first().waitFor();
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    await database?.drop();
  });

  test('lists every operation under its tag', async () => {
    expect(await page.title()).toBe('API - marketd');
    const paths = await page.locator('.opblock-summary-path').allInnerTexts();
    const { paths: documented } = await server.json<{ paths: Record<string, object> }>(
      '/docs/json',
    );
    const operations = Object.entries(documented).flatMap(([path, methods]) =>
      Object.keys(methods).map(() => path),
    );
    expect(operations.length).toBeGreaterThan(25);
    const shown = paths.map((path) => path.replaceAll('\u200b', ''));
    expect(shown.sort()).toEqual(operations.sort());
    const tags = await page
      .locator('.opblock-tag')
      .evaluateAll((elements) => elements.map((element) => element.getAttribute('data-tag')));
    expect(tags).toEqual([
      'bars',
      'trades',
      'stream',
      'symbols',
      'quality',
      'market',
      'operation',
      'service',
    ]);
  });

  test('executes an operation', async () => {
    const block = page.locator('#operations-service-getStatus');
    await block.locator('.opblock-summary').click();
    await block.getByRole('button', { name: 'Execute' }).click();
    const answer = block.locator('.live-responses-table');
    await answer.waitFor();
    expect(await answer.locator('.response-col_status').last().textContent()).toStartWith('200');
    expect(await answer.textContent()).toContain('"validation_rate_pct": 72.42');
    await block.locator('.opblock-summary').click();
  });

  test('executes one with parameters, from the examples that are filled in', async () => {
    const block = page.locator('#operations-bars-getHistorical');
    await block.locator('.opblock-summary').click();
    await block.getByRole('button', { name: 'Execute' }).click();
    const answer = block.locator('.live-responses-table');
    await answer.waitFor();
    expect(await answer.locator('.response-col_status').last().textContent()).toStartWith('200');
    const url = await block.locator('.request-url').textContent();
    expect(url).toContain('/api/v1/historical/AAPL?start=2023-01-01&end=2023-12-31');
    await page.screenshot({ path: join(SCREENSHOTS, 'docs.png') });
  });

  test('asks nobody else for anything, and has nothing to complain of', () => {
    expect(requests.length).toBeGreaterThan(5);
    const foreign = requests.filter((url) => !url.startsWith(`${server.url}/`));
    expect(foreign.filter((url) => !url.startsWith('data:'))).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test('looks as it should: its style is applied under the policy, in both themes', async () => {
    const lightness = (selector: string) =>
      page
        .locator(selector)
        .first()
        .evaluate((element) => {
          const { color, backgroundColor } = getComputedStyle(element);
          const sum = (text: string) =>
            (text.match(/[\d.]+/g) ?? []).slice(0, 3).reduce((total, part) => total + +part, 0);
          return { color: sum(color), background: sum(backgroundColor) };
        });
    const method = await page
      .locator('.opblock-get .opblock-summary-method')
      .first()
      .evaluate((element) => getComputedStyle(element).backgroundColor);
    expect(method).not.toBe('rgba(0, 0, 0, 0)');
    const summary = '.opblock-summary-description';
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme });
      await page
        .locator(colorScheme === 'dark' ? 'html.dark-mode' : 'html:not(.dark-mode)')
        .waitFor();
      const isDark = (await lightness('body')).background < 300;
      expect(isDark).toBe(colorScheme === 'dark');
      expect((await lightness(summary)).color > 382).toBe(isDark);
    }
    const html = await (await server.get('/docs')).text();
    expect(html).not.toMatch(/https?:|style=|<script>/);
  });

  test('is one of the pages: its navigation leads to the others and back', async () => {
    const current = page.locator('nav[aria-label="Pages"] [aria-current="page"]');
    expect(await current.textContent()).toBe('API docs');
    await page.getByRole('link', { name: 'System' }).click();
    await page.locator('h1', { hasText: 'System' }).waitFor();
    await page.getByRole('link', { name: 'API docs' }).click();
    await page.locator('.opblock').first().waitFor();
    await page.setViewportSize({ width: 360, height: 700 });
    const excess = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(excess).toBe(0);
    expect(complaints).toEqual([]);
  });
});
