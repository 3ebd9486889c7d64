import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import type { AppContext } from '../../src/http/app.ts';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { toDay } from '../../src/model/session.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { decideFindings } from '../../src/store/decisions.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { type Bar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  openSite,
  openTab,
  overflow,
  SCREENSHOTS,
  type Site,
  shows,
  useBrowser,
} from '../fixtures/browser.ts';
import { readSpyMinutes, toIntradayColumns } from '../fixtures/minutes.ts';
import { readActions, readRawBars } from '../fixtures/recorded-bars.ts';
import { addInstrument, addSplit, ingest, ingestOptions, RECEIVED } from '../fixtures/warehouse.ts';

/** The session of Monday, 20 May 2024, is not over: that of Friday is the latest. */
const NOW = Date.parse('2024-05-20T15:00:00Z');
const DAY_MS = 86_400_000;
/** A bar that was restated, and one with more volume than there was. */
const RESTATED = '2023-11-16';
const SPIKE = '2023-06-15';

useBrowser();

/** A quarter of a century of real bars, with what was told of them. */
async function fillApple({ write }: Database): Promise<void> {
  const id = await addInstrument(write, 'AAPL');
  const bars = readRawBars()
    .get('AAPL')!
    .map((bar) => (bar.session === SPIKE ? { ...bar, volume: bar.volume * 30 } : bar));
  const { splits, dividends } = readActions('AAPL');
  await ingest(write, id, bars);
  for (const [exDate, splitTo] of splits) {
    await addSplit(write, id, { exDate, splitFrom: 1, splitTo });
  }
  for (const [exDate, cash] of dividends) await addDividend(write, id, exDate, cash);
  const restated = bars.find(({ session }) => session === RESTATED)!;
  const change = { close: restated.close + 0.1 };
  await ingest(write, id, [{ ...restated, ...change }], {}, { receivedAt: RECEIVED + DAY_MS });
}

const addDividend = (write: Database['write'], id: number, exDate: string, cash: number) => write`
  insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
    cash_amount, currency, ts_received)
  values (${id}, 'dividend', ${exDate}, 'vendor', ${`d${exDate}`}, ${cash}, 'USD',
          ${new Date(RECEIVED)})`;

/** Real minutes, and no daily bars. */
async function fillSpy({ write }: Database): Promise<void> {
  const instrumentId = await addInstrument(write, 'SPY');
  const bars = toIntradayColumns(readSpyMinutes().filter(({ ts }) => ts < NOW));
  const item = { instrumentId, symbol: 'SPY', bars, rejected: [], listedOn: null };
  await ingestIntraday(write, [item], {
    ...ingestOptions({ receivedAt: NOW }),
    timeframe: '1m',
  });
}

describeEditions('the chart of a symbol', (clone) => {
  let database: Database;
  let context: AppContext;
  let site: Site;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    await fillApple(database);
    await fillSpy(database);
    const rest = { now: () => NOW, publishDelayMs: 3_600_000 };
    context = makeAppContext(database, clone().edition, rest);
    site = await openSite(context);
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
  });

  const address = (path: string) => `${site.url}/dashboard/symbols/${path}`;
  const text = async (path: string) => (await fetch(address(path))).text();
  const idOf = async (symbol: string): Promise<number> => {
    const [row] = await database.read<{ id: number }[]>`
      select instrument_id as id from symbol_ranges where symbol = ${symbol} limit 1`;
    return row.id;
  };
  const findingOf = async (symbol: string, session: string): Promise<number> => {
    const [row] = await database.read<{ id: number }[]>`
      select finding_id as id from findings
      where instrument_id = ${await idOf(symbol)} and session = ${session}`;
    return row.id;
  };

  /** What the chart says that it draws, once it draws what its page is about. */
  const drawn = async (page: Page, path?: string): Promise<Record<string, string>> => {
    if (path !== undefined) await page.goto(address(path));
    const chart = page.locator('#chart[data-bars]');
    await chart.waitFor({ timeout: 20_000 });
    // What is in sight is known once it was drawn.
    await page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    return chart.evaluate((element) => ({ ...(element as HTMLElement).dataset }) as never);
  };
  /** The same by the API that its page names: how many bars, the first and the last close. */
  const answered = async (page: Page) => {
    const source = await page.locator('#chart').getAttribute('data-source');
    const body = await (await fetch(site.url + source)).json();
    const closes = body.data.map((bar: { close: number }) => bar.close);
    return { bars: `${body.count}`, first: `${closes[0] ?? ''}`, last: `${closes.at(-1) ?? ''}` };
  };
  const legend = (page: Page, field: string) =>
    page.locator(`#chart-legend [data-field=${field}]`).textContent();

  // ------------------------------------------------------------------------- drawing

  test('has as many bars as the API, for every switch', async () => {
    const { page, problems, hosts, close } = await openTab();
    const counts: Record<string, number> = {
      AAPL: 252,
      'AAPL?range=1mo': 22,
      'AAPL?range=5y&adjustment=raw': 1_259,
      'AAPL?range=all': 6_080,
      'AAPL?range=all&bars=validated&adjustment=all': 6_075,
      'AAPL?timeframe=1w': 261,
      'AAPL?timeframe=1mo&adjustment=all': 290,
      'SPY?timeframe=1m': 390,
      'SPY?timeframe=5m&range=1d': 78,
      'SPY?timeframe=15m': 520,
      'SPY?timeframe=1h': 441,
    };
    const found: Record<string, number> = {};
    for (const path of Object.keys(counts)) {
      const { bars, firstClose, lastClose } = await drawn(page, path);
      expect({ bars, first: firstClose, last: lastClose }).toEqual(await answered(page));
      found[path] = Number(bars);
    }
    expect(found).toEqual(counts);
    expect(problems).toEqual([]);
    expect([...hosts]).toEqual([new URL(site.url).host]);
    await close();
  });

  test('follows its switches without loading the page again', async () => {
    const { page, problems, close } = await openTab();
    const split = await drawn(page, 'AAPL?range=5y');
    await page.evaluate(() => {
      document.title = 'the same page';
    });
    const choose = async (name: string) => {
      const before = await page.locator('#chart').getAttribute('data-source');
      await page.getByRole('link', { name, exact: true }).click();
      await page.waitForFunction(
        (old) => {
          const place = document.getElementById('chart')!;
          return place.dataset.source !== old && place.dataset.bars !== undefined;
        },
        before,
        { timeout: 20_000 },
      );
      await page.waitForLoadState('networkidle');
      return drawn(page);
    };
    const raw = await choose('Raw');
    expect(Number(raw.firstClose) / Number(split.firstClose)).toBeCloseTo(4, 3);
    expect(raw.lastClose).toBe(split.lastClose);
    expect(page.url()).toBe(address('AAPL?adjustment=raw&range=5y'));
    const all = await choose('Splits and dividends');
    expect(Number(all.firstClose)).toBeLessThan(Number(split.firstClose));
    expect(await page.locator('#call').textContent()).toContain('adjustment=all');
    const weeks = await choose('1w');
    expect([weeks.bars, page.url()]).toEqual(['261', address('AAPL?timeframe=1w&adjustment=all')]);
    expect(await page.locator('[aria-current=true]').allTextContents()).toEqual([
      ...['1w', '5 years', 'Splits and dividends', 'All bars'],
    ]);
    expect(await page.title()).toBe('the same page');
    expect(problems).toEqual([]);
    await close();
  });

  test('says which bars are left out', async () => {
    const shown = await text('AAPL?range=all&bars=validated');
    expect(shown).toContain(
      '6,075 bars, 1999-11-01 to 2023-12-29, adjusted for splits; 5 left out',
    );
    expect(shown).toContain('<code id="export"');
    expect(shown).toMatch(/--where .{1,6}quality_score/);
    expect(await text('AAPL?range=all')).toContain('6,080 bars, 1999-11-01 to 2023-12-29');
    const second = await text('SPY?timeframe=5m&range=1d');
    expect(second).toContain('Latest 5-minute bars');
    expect(second).toContain('2024-05-17 15:55 EDT');
    expect(second).not.toContain('marketd export --symbols SPY --timeframe 5m');
  });

  test('is told in words, and drawn as a line where no script runs', async () => {
    const { page, close } = await openTab({ javaScriptEnabled: false });
    await page.goto(address('AAPL'));
    const chart = page.getByRole('img', { name: /^Chart of the daily bars of AAPL/ });
    expect(await chart.getAttribute('aria-label')).toBe(
      'Chart of the daily bars of AAPL from 2022-12-29 to 2023-12-29, adjusted for splits. ' +
        'The table of the bars has the same.',
    );
    const points = await chart.locator('polyline').getAttribute('points');
    expect(points!.split(' ')).toHaveLength(252);
    expect(await legend(page, 'close')).toBe('192.53');
    await page.getByRole('link', { name: '5 years' }).click();
    await page.waitForURL(address('AAPL?range=5y'));
    expect((await chart.locator('polyline').getAttribute('points'))!.split(' ')).toHaveLength(252);
    await close();
  });

  // --------------------------------------------------------------------------- marks

  /** Points with the keys at the bar of a session. */
  const pointAt = async (page: Page, session: string) => {
    await page.locator('#chart').focus();
    for (let i = 0; i < 60 && (await legend(page, 'time'))! > session; i++) {
      await page.keyboard.press('PageUp');
    }
    while ((await legend(page, 'time'))! < session) await page.keyboard.press('ArrowRight');
    expect(await legend(page, 'time')).toBe(session);
  };
  const focused = (page: Page) => page.evaluate(() => document.activeElement?.id);

  test('goes from bar to bar by keys, and to the row of what is marked', async () => {
    const { page, problems, close } = await openTab();
    await drawn(page, 'AAPL');
    await page.locator('#chart').focus();
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    expect(await page.locator('#chart-legend').getAttribute('aria-live')).toBe('polite');
    expect(await page.locator('#chart-legend').textContent()).toBe(
      '2023-12-28 O 194.14 H 194.66 L 193.17 C 193.58 V 34,049,898 Change +0.22 % Score 1  ',
    );
    await page.keyboard.press('Home');
    expect(await legend(page, 'time')).toBe('2022-12-29');
    expect(await legend(page, 'change')).toBe('');
    await pointAt(page, SPIKE);
    expect(await legend(page, 'flags')).toContain('volume spike');
    await page.keyboard.press('Enter');
    expect(await focused(page)).toBe(`finding-${await findingOf('AAPL', SPIKE)}`);
    await pointAt(page, RESTATED);
    expect(await legend(page, 'flags')).toBe('restated');
    await page.keyboard.press('Enter');
    expect(await focused(page)).toBe(`revision-1d-${RESTATED}`);
    await page.locator('#chart').focus();
    await page.keyboard.press('Escape');
    expect(await legend(page, 'time')).toBe('2023-12-29');
    expect(problems).toEqual([]);
    await close();
  });

  test('leads from a click on a mark to its row', async () => {
    const { page, close } = await openTab({ viewport: { width: 1280, height: 900 } });
    const { marks } = await drawn(page, 'AAPL');
    expect(Number(marks)).toBeGreaterThanOrEqual(2);
    const box = (await page.locator('#chart').boundingBox())!;
    const y = box.y + box.height / 3;
    let [left, right] = [box.x, box.x + box.width];
    for (let i = 0; i < 16; i++) {
      const x = (left + right) / 2;
      await page.mouse.move(x, y);
      const time = (await legend(page, 'time'))!;
      if (time === SPIKE) break;
      if (time < SPIKE) left = x;
      else right = x;
    }
    expect(await legend(page, 'time')).toBe(SPIKE);
    await page.mouse.click((left + right) / 2, y);
    expect(await focused(page)).toBe(`finding-${await findingOf('AAPL', SPIKE)}`);
    await close();
  });

  test('loads the page of a session whose rows are too old to be listed', async () => {
    const id = await addInstrument(database.write, 'PAYER');
    const sessions = sessionsFrom('2023-06-01', 60);
    await ingest(
      database.write,
      id,
      sessions.map((session) => flatBar(session)),
    );
    for (const session of sessions.slice(5, 30)) {
      await addDividend(database.write, id, session, 0.1);
    }
    const oldest = sessions[5];
    expect(await text('PAYER')).not.toContain(`id="dividend-${oldest}"`);
    expect(await text(`PAYER?session=${oldest}`)).toContain(`id="dividend-${oldest}"`);
    const { page, close } = await openTab();
    await drawn(page, 'PAYER?range=all');
    await pointAt(page, oldest);
    expect(await legend(page, 'flags')).toBe('dividend 0.1');
    await page.keyboard.press('Enter');
    await page.waitForURL(address(`PAYER?range=all&session=${oldest}#dividend-${oldest}`));
    expect(await page.locator(`#dividend-${oldest}`).count()).toBe(1);
    await close();
  });

  test('keeps its switches when something is decided', async () => {
    const { page, problems, close } = await openTab();
    await drawn(page, 'AAPL?range=6mo&adjustment=raw');
    const finding = page.locator(`#finding-${await findingOf('AAPL', SPIKE)}`);
    await finding.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', `Accepted: ${SPIKE} volume spike.`);
    expect((await drawn(page)).source).toContain('adjustment=raw');
    expect(await page.locator('#symbol').getAttribute('hx-get')).toBe(
      '/dashboard/symbols/AAPL/status?adjustment=raw&range=6mo',
    );
    await page.getByRole('button', { name: 'Undo' }).click();
    await shows(page, '#notices', `Open again: ${SPIKE} volume spike.`);
    expect((await drawn(page)).source).toContain('adjustment=raw');
    await finding.getByRole('button', { name: 'Accept' }).waitFor();
    expect(problems).toEqual([]);
    await close();
    const answer = await fetch(`${site.url}/dashboard/findings/${await findingOf('AAPL', SPIKE)}`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ decision: 'annotate', note: 'x', range: '6mo', symbol: 'AAPL' }),
    });
    expect([answer.status, answer.headers.get('location')]).toEqual([
      303,
      `/dashboard/symbols/AAPL?range=6mo#finding-${await findingOf('AAPL', SPIKE)}`,
    ]);
  });

  // ------------------------------------------------------------------- while it is open

  test('takes in new bars where it is, zoomed or whole', async () => {
    const id = await addInstrument(database.write, 'GROW');
    const sessions = sessionsFrom('2023-11-01', 62);
    const bars: Bar[] = sessions.map((session, i) => flatBar(session, { close: 100, volume: i }));
    await ingest(database.write, id, bars.slice(0, 60));
    const { page, problems, close } = await openTab();
    await drawn(page, 'GROW');
    const whole = await openTab();
    await drawn(whole.page, 'GROW');
    await page.locator('#chart').focus();
    for (const key of ['Home', '+', '+', '+', '+']) await page.keyboard.press(key);
    const zoomed = await drawn(page);
    expect(zoomed.shownTo < sessions[40]).toBe(true);
    expect(await legend(page, 'time')).toBe(sessions[0]);
    await ingest(database.write, id, [bars[60]]);
    await page.locator('#chart[data-bars="61"]').waitFor({ timeout: 20_000 });
    // Who goes from bar to bar stays there.
    expect(await legend(page, 'time')).toBe(sessions[0]);
    const { shownFrom, shownTo, bars: count } = await drawn(page);
    expect({ shownFrom, shownTo, count }).toEqual({
      ...{ shownFrom: zoomed.shownFrom, shownTo: zoomed.shownTo, count: '61' },
    });
    await whole.page.locator('#chart[data-bars="61"]').waitFor({ timeout: 20_000 });
    expect((await drawn(whole.page)).shownTo.slice(0, 10)).toBe(sessions[60]);
    expect([...problems, ...whole.problems]).toEqual([]);
    await close();
    await whole.close();
  });

  test('says what went wrong in its place, and tries again', async () => {
    const { page, close } = await openTab();
    await page.route('**/api/v1/historical/**', (route) =>
      route.fulfill({ status: 503, json: { error: { message: 'the database is away' } } }),
    );
    await page.goto(address('AAPL'));
    await shows(page, '#chart-failure', 'could not be loaded');
    expect(await page.locator('#chart-failure').textContent()).toContain('the database is away');
    expect(await page.locator('#chart polyline').isVisible()).toBe(true);
    await page.unroute('**/api/v1/historical/**');
    expect((await drawn(page)).bars).toBe('252');
    await page.locator('#chart-failure').waitFor({ state: 'hidden' });
    await close();
  });

  /** The color of the chart's ground. */
  const ground = (page: Page) =>
    page
      .locator('#chart canvas')
      .first()
      .evaluate((canvas) => {
        const context = (canvas as HTMLCanvasElement).getContext('2d')!;
        return [...context.getImageData(3, 3, 1, 1).data].slice(0, 3);
      });

  test('has the colors of the theme, and room on a telephone', async () => {
    const { page, problems, close } = await openTab({ colorScheme: 'light' });
    await drawn(page, 'AAPL');
    expect(await ground(page)).toEqual([255, 255, 255]);
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.waitForFunction(() => {
      const canvas = document.querySelector('#chart')!.shadowRoot!.querySelector('canvas')!;
      return canvas.getContext('2d')!.getImageData(3, 3, 1, 1).data[0] === 0x17;
    });
    expect(await ground(page)).toEqual([0x17, 0x1c, 0x23]);
    const file = `symbol-chart-${clone().edition}.png`;
    await page.screenshot({ path: join(SCREENSHOTS, file) });
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    // A hint to whoever reads pixels, which only this test does.
    expect(problems.filter((one) => !one.includes('willReadFrequently'))).toEqual([]);
    await close();
  });

  // -------------------------------------------------------------------------- addresses

  test.each([
    ['timeframe=5m', 'timeframe is "5m": it must be 1d or 1w or 1mo'],
    ['timeframe=2h', 'timeframe is "2h": it must be 1d or 1w or 1mo'],
    ['range=5d', 'range is "5d": it must be 1mo or 6mo or 1y or 5y or all'],
    ['adjustment=some', 'adjustment is "some": it must be raw or split'],
    ['bars=few', 'bars is "few": it must be all or validated'],
    ['asof=today', 'asof is "today": it must be a date'],
    ['session=2024-02-30', 'session is "2024-02-30": it must be a date'],
    ['range=1y&range=5y', 'range is given more than once'],
  ])('%s is refused', async (query, message) => {
    const answer = await fetch(address(`AAPL?${query}`));
    expect(answer.status).toBe(422);
    const shown = (await answer.text()).replaceAll('&#34;', '"').replaceAll('&quot;', '"');
    expect(shown).toContain(message);
    expect(shown).toContain('There is no such page');
    expect((await fetch(address(`AAPL/status?${query}`))).status).toBe(422);
  });

  test('is of whoever had the symbol then, who are linked', async () => {
    const { write } = database;
    const former = await addInstrument(write, 'TWICE');
    const old = sessionsFrom('2015-01-02', 30);
    await ingest(
      write,
      former,
      old.map((session) => flatBar(session, { close: 20, high: 100 })),
    );
    await write`update instruments set name = 'First Holder' where instrument_id = ${former}`;
    await write`
      update symbol_ranges set valid_to = '2016-01-01' where instrument_id = ${former}`;
    expect((await fetch(address('TWICE'))).status).toBe(404);
    const gone = await text('TWICE');
    expect(gone).toContain('Unknown symbol');
    expect(gone).toContain('href="/dashboard/symbols/TWICE?asof=2015-12-31"');
    expect(gone).toContain('First Holder');
    const now = await addInstrument(write, 'TWICE2');
    await ingest(
      write,
      now,
      sessionsFrom('2024-01-02', 12).map((session) => flatBar(session)),
    );
    await write`
      update symbol_ranges set symbol = 'TWICE', valid_from = '2020-01-01'
      where instrument_id = ${now}`;
    const today = await text('TWICE');
    expect(today).toContain('12 bars, 2024-01-02');
    expect(today).toContain('href="/dashboard/symbols/TWICE?asof=2015-12-31"');
    const { page, problems, close } = await openTab();
    const shown = await drawn(page, 'TWICE?asof=2015-12-31');
    expect([shown.bars, shown.lastClose]).toEqual(['30', '20']);
    expect(await page.locator('#call').textContent()).toContain('asof=2015-12-31');
    expect(await page.locator('h1').textContent()).toBe('TWICE First Holder');
    expect(problems).toEqual([]);
    await close();
  });

  test('of bars from before the symbol was called so says whose they are', async () => {
    const id = await addInstrument(database.write, 'NEWNAME');
    const bars = sessionsFrom('2024-02-01', 10).map((session) => flatBar(session));
    await ingest(database.write, id, bars);
    await database.write`
      update symbol_ranges set valid_from = '2024-05-01' where instrument_id = ${id}`;
    const { page, close } = await openTab();
    expect((await drawn(page, 'NEWNAME')).bars).toBe('10');
    expect(await page.locator('#call').textContent()).toContain('asof=2024-05-20');
    await close();
  });

  // ---------------------------------------------------------------------------- changes

  test('is answered 304 until something that it shows changes', async () => {
    const id = await addInstrument(database.write, 'CHANGE');
    const { write } = database;
    const bars = sessionsFrom('2024-01-02', 30).map((session) => flatBar(session));
    bars[28].volume = 1e9;
    await ingest(write, id, bars);
    const path = address('CHANGE/status');
    let tag = (await fetch(path)).headers.get('etag')!;
    const ask = () => fetch(path, { headers: { 'if-none-match': tag } });
    const finding = () => findingOf('CHANGE', bars[28].session);
    const decide = async (decision: 'accept' | 'annotate', note: string) => {
      const findingIds = [await finding()];
      await decideFindings(write, { findingIds, decision, note, actor: 'somebody' }, NOW);
    };
    const changes: Record<string, () => PromiseLike<unknown>> = {
      'a name': () => write`update instruments set name = 'New' where instrument_id = ${id}`,
      'a symbol': () =>
        write`update symbol_ranges set valid_from = '2001-01-01' where instrument_id = ${id}`,
      'a bar': () => ingest(write, id, [{ ...bars[5], high: 101 }]),
      'a note': () => decide('annotate', 'seen'),
      'another note in the same millisecond': () => decide('annotate', 'seen again'),
      'a decision': () => decide('accept', 'news'),
      'a dividend': () => addDividend(write, id, '2024-01-10', 1),
      'a withdrawn dividend': () => write`
        update corporate_actions set ts_withdrawn = now() where instrument_id = ${id}`,
      coverage: () => write`
        insert into coverage (instrument_id, dataset, start_session, end_session, state,
          is_settled, provider, asked_at)
        values (${id}, '1d', '2023-01-03', '2023-01-10', 'vendor_empty', true, 'v', now())`,
      'a session that is published': async () => {
        context.now = () => NOW + DAY_MS;
      },
    };
    for (const [what, change] of Object.entries(changes)) {
      expect([what, (await ask()).status]).toEqual([what, 304]);
      await change();
      const after = await ask();
      expect([what, after.status]).toEqual([what, 200]);
      tag = after.headers.get('etag')!;
    }
    context.now = () => NOW;
    const same = await fetch(path, { headers: { 'if-none-match': tag } });
    expect(same.status).toBe(200);
    expect((await fetch(address('CHANGE/status?range=5y'))).status).toBe(200);
    // What trades do is not on the page.
    tag = same.headers.get('etag')!;
    await write`
      insert into instrument_status (instrument_id, timeframe, records)
      values (${id}, 'trade', 1)`;
    expect((await ask()).status).toBe(304);
    expect(toDay('2024-05-20')).toBe(19_863);
  });
});
