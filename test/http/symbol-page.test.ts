import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import type { AppContext } from '../../src/http/app.ts';
import { ingestIntraday } from '../../src/ingest/intraday.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { upsertDescriptions } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { type Bar, calendar, flatBar, sessionsFrom } from '../fixtures/bars.ts';
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
import { toIntradayColumns } from '../fixtures/minutes.ts';
import { addInstrument, addSplit, ingest, ingestOptions, RECEIVED } from '../fixtures/warehouse.ts';

/** After the night's run: the session of Friday, 1 March 2024, is the latest that is published. */
const NOW = Date.parse('2024-03-04T03:00:00Z');
const LATEST = '2024-03-01';
const SESSIONS = sessionsFrom('2022-06-15', 440).filter((session) => session <= LATEST);
/** Bars with something to look at. */
const IMPOSSIBLE = SESSIONS[100];
const SPIKE = SESSIONS[200];
const DROUGHT = SESSIONS[300];
const RESTATED = SESSIONS[350];
const EMPTY = SESSIONS.slice(250, 253);

useBrowser();

/** Quiet days with four that are not. */
function appleBars(): Bar[] {
  const bars = SESSIONS.map((session, i) => {
    const open = 100 + (i % 7) / 4;
    const bar = flatBar(session, {
      ...{ open, high: open + 2.5, low: open - 2.25, close: open + 0.12, volume: 1e6 + i },
    });
    if (session === IMPOSSIBLE) bar.high = 1;
    if (session === SPIKE) bar.volume *= 30;
    if (session === DROUGHT) bar.volume = 1000;
    return bar;
  });
  return bars.filter(({ session }) => !EMPTY.includes(session)).slice(0, -2);
}

/** A symbol of which there is something of everything. */
async function fillApple({ write }: Database): Promise<number> {
  const id = await addInstrument(write, 'AAPL');
  const rest = { exchange: 'XNAS', assetType: 'CS', listedOn: SESSIONS[0], delistedOn: null };
  await upsertDescriptions(write, [{ instrumentId: id, name: 'Apple Inc.', ...rest }]);
  const bars = appleBars();
  const last = bars.at(-1)!.session;
  const asked = (first: string, lastAsked: string, refusal?: string) => ({
    ...{ firstDay: toDay(first), lastDay: toDay(lastAsked), refusal },
  });
  await ingest(write, id, bars, {
    listedOn: toDay(SESSIONS[0]),
    asked: [asked('2022-06-01', last)],
  });
  const restated = bars.find(({ session }) => session === RESTATED)!;
  const later = { receivedAt: RECEIVED + 86_400_000 };
  const change = { close: restated.close + 0.25, volume: restated.volume * 1.5 };
  await ingest(write, id, [{ ...restated, ...change }], {}, later);
  await addSplit(write, id, { exDate: SESSIONS[320], splitFrom: 1, splitTo: 4 });
  await write`
    insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
      cash_amount, currency, split_from, split_to, ts_received, ts_withdrawn)
    values (${id}, 'dividend', ${SESSIONS[340]}, 'vendor', 'd1', 0.24, 'USD', null, null,
            ${new Date(RECEIVED)}, null),
           (${id}, 'split', ${SESSIONS[60]}, 'vendor', 's0', null, null, 1, 7,
            ${new Date(RECEIVED)}, ${new Date(RECEIVED + 3_600_000)})`;
  await write`update symbol_ranges set valid_from = '2023-01-01' where instrument_id = ${id}`;
  await write`
    insert into symbol_ranges (instrument_id, symbol, valid_to)
    values (${id}, 'APPL', '2023-01-01')`;
  const minute = { open: 100, high: 100, low: 100, close: 100, volume: 10 };
  const ts = Date.parse(`${SESSIONS[400]}T15:00:00Z`);
  const minutes = toIntradayColumns([{ ...minute, ts }]);
  const item = { instrumentId: id, symbol: 'AAPL', bars: minutes, rejected: [], listedOn: null };
  await ingestIntraday(write, [item], { ...ingestOptions(), timeframe: '1m' });
  return id;
}

/** A comparison with a second source, as it is stored. */
async function compare({ write }: Database, id: number, sentence: string): Promise<void> {
  const tally = { agree: 250, near: 0, differ: 0, conflict: 1 };
  const worst = {
    ...{ session: SPIKE, field: 'close', ours: 101.5, theirs: 203, difference: 1 },
    ...{ verdict: 'conflict', side: 'theirs', why: sentence },
  };
  const detail = {
    ...{ verdict: 'conflict', compared: 251, side: 'theirs', worst: [worst], actions: [] },
    fields: { open: tally, high: tally, low: tally, close: tally },
    volume: { agree: 251, near: 0, differ: 0, median: 1 },
    ...{ only_ours: { count: 0, sessions: [] }, only_theirs: { count: 0, sessions: [] } },
    odd_bars: { ours: 0, theirs: 1, unclear: 0 },
    explanations: [{ cause: 'split', sentence: `A split explains it: ${sentence}` }],
  };
  const [{ run }] = await write<{ run: number }[]>`
    insert into job_runs (job, origin, state, worker)
    values ('reconcile', 'schedule', 'succeeded', 'w')
    returning run_id as run`;
  await write`
    insert into reconciliations (instrument_id, run_id, ts, source, start_session, end_session,
      verdict, side, compared, detail)
    values (${id}, ${run}, ${new Date(RECEIVED)}, 'yahoo', ${SESSIONS[150]}, ${SESSIONS[400]},
            'conflict', 'theirs', 251, ${write.json(detail)})`;
}

describeEditions('the page of a symbol', (clone) => {
  let database: Database;
  let context: AppContext;
  let site: Site;
  let id: number;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    id = await fillApple(database);
    context = makeAppContext(database, clone().edition, {
      version: '0.1.0',
      publishDelayMs: 3_600_000,
      now: () => NOW,
    });
    site = await openSite(context);
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
  });

  const address = (symbol = 'AAPL') =>
    `${site.url}/dashboard/symbols/${encodeURIComponent(symbol)}`;
  const shot = (page: Page, name: string) =>
    page.screenshot({
      path: join(SCREENSHOTS, `symbol-${name}-${clone().edition}.png`),
      fullPage: true,
    });
  const findingOf = async (kind: string): Promise<number> => {
    const [row] = await database.read<{ id: number }[]>`
      select finding_id as id from findings where instrument_id = ${id} and kind = ${kind}`;
    return row.id;
  };
  const stateOf = async (kind: string) => {
    const [row] = await database.read<{ state: string; note: string | null; by: string | null }[]>`
      select state, note, decided_by as by from findings
      where instrument_id = ${id} and kind = ${kind}`;
    return { ...row };
  };
  const send = (
    findingId: number | string,
    form: Record<string, string>,
    headers: Record<string, string> = {},
  ) =>
    fetch(`${site.url}/dashboard/findings/${findingId}`, {
      ...{ method: 'POST', redirect: 'manual', headers, body: new URLSearchParams(form) },
    });

  test('is where the dashboard leads, and says who the symbol is', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}/dashboard`);
    await page.getByRole('link', { name: 'AAPL' }).first().click();
    await page.waitForURL(address());
    expect(await page.title()).toBe('AAPL - marketd');
    expect(await page.locator('h1').textContent()).toBe('AAPL Apple Inc.');
    expect(await page.locator('.facts').textContent()).toBe(
      `Exchange XNASTrackedlisted ${SESSIONS[0]}` +
        'called APPL until 2022-12-31, AAPL since 2023-01-01',
    );
    expect(await page.locator('#verdict').textContent()).toBe(
      'Fair 2 sessions behind, 4 findings to look at.',
    );
    expect(problems).toEqual([]);
    await close();
  });

  test('has its quality at a glance', async () => {
    const { page, problems, hosts, close } = await openTab();
    await page.goto(address());
    const held = SESSIONS.length - 5;
    expect(await readTiles(page)).toEqual({
      Quality: ['Fair', expect.stringMatching(/^score 0\.99\d\d on average$/)],
      'Validation rate': ['99.53 %', '1 excluded, kept'],
      Staleness: ['2 sessions', `published to ${LATEST}`],
      Coverage: [expect.stringMatching(/^98\.8\d %$/), `${held} of ${SESSIONS.length} sessions`],
      'Bars held': [`${held}`, `${held} of 1d, 1 of 1m`],
      Findings: ['4', 'that nobody has decided about'],
      Restated: ['1 time', 'last 2024-03-02 23:00 UTC'],
      'Second source': ['None yet', 'was never asked'],
    });
    expect(await page.locator('#second-source ~ code').textContent()).toBe(
      'marketd reconcile --symbols AAPL',
    );
    expect(problems).toEqual([]);
    expect([...hosts]).toEqual([new URL(site.url).host]);
    await close();
  });

  test('shows coverage as a calendar with a legend, and why bars are missing', async () => {
    const { page, close } = await openTab();
    await page.goto(address());
    const daily = page.locator('.coverage').first();
    const label = `${SESSIONS.length - 5} complete, 3 vendor empty, 10 before listing, 2 unfetched`;
    const calendarLabel = await daily.locator('.calendar').getAttribute('aria-label');
    expect(calendarLabel).toBe(`Sessions of 1d by year: ${label}`);
    expect(await daily.locator('.legend li').allTextContents()).toEqual([
      `complete: ${SESSIONS.length - 5} sessions`,
      'vendor empty: 3 sessions',
      'before listing: 10 sessions',
      'unfetched: 2 sessions',
    ]);
    expect(await daily.locator('.year > span').allTextContents()).toEqual(['2024', '2023', '2022']);
    const titles = await daily.locator('.year').nth(1).locator('title').allTextContents();
    const [before, after] = [SESSIONS[249], SESSIONS[253]];
    expect(titles).toEqual([
      `${SESSIONS[0]} to ${before}: complete`,
      `${after} to ${SESSIONS.at(-3)}: complete`,
      `${EMPTY[0]} to ${EMPTY[2]}: vendor empty`,
    ]);
    const widths = await daily
      .locator('rect')
      .evaluateAll((all) => all.map((rect) => Number(rect.getAttribute('width'))));
    for (const width of widths) expect(width).toBeGreaterThanOrEqual(2);
    expect(await page.locator('.coverage').nth(1).locator('.range strong').textContent()).toBe(
      '1m',
    );
    expect((await daily.locator('.reasons li').allTextContents()).join('\n')).toBe(
      [
        `${SESSIONS.at(-2)} to ${LATEST} unfetched, 2 sessions: ` +
          'these sessions were never asked for',
        `${EMPTY[0]} to ${EMPTY[2]} vendor empty, 3 sessions: ` +
          'the provider was asked and gave no bar; it is asked again',
        '2022-06-01 to 2022-06-14 before listing, 10 sessions: the symbol was not listed yet',
      ].join('\n'),
    );
    const fill = page.getByRole('link', { name: 'Fill gaps' });
    expect(await fill.first().getAttribute('href')).toBe('/dashboard/backfill?symbols=AAPL');
    await close();
  });

  test('lists splits and dividends, what was restated, and the latest bars', async () => {
    await compare(database, id, 'the previous close fits ours');
    const { page, close } = await openTab();
    await page.goto(address());
    const rows = async (name: string) => {
      const cells = page.locator(`section[aria-labelledby=${name}] tbody tr`);
      return (await cells.allInnerTexts()).map((text) =>
        text.split('\t').map((cell) => cell.trim()),
      );
    };
    const actions = await rows('actions');
    expect(actions.map((row) => row.slice(0, 4))).toEqual([
      [SESSIONS[340], 'Dividend 0.24 USD', 'Applied', 'vendor'],
      [SESSIONS[320], 'Split 4 for 1', 'Applied', 'vendor'],
      [SESSIONS[60], 'Split 7 for 1', 'Withdrawn', 'vendor'],
    ]);
    expect(actions[1].at(-1)).toBe('0.250000');
    expect(await page.locator('tr.withdrawn').count()).toBe(1);
    const [revision, ...more] = await rows('revisions');
    expect(more).toEqual([]);
    expect(revision).toEqual([
      `${RESTATED} 1d`,
      '2024-03-01 23:00 UTC',
      '2024-03-02 23:00 UTC',
      expect.stringMatching(
        /^close 100\.12 100\.37 \+0\.2497 %\s*volume 1,000,350 1,500,525 \+50 %$/,
      ),
      'vendor',
    ]);
    const bars = await rows('bars');
    expect(bars).toHaveLength(20);
    expect(bars[0][0]).toBe(SESSIONS.at(-3)!);
    expect(bars[0].at(-1)).toBe('not final');
    const second = await page.locator('section[aria-labelledby=second-source]').textContent();
    expect(second).toContain('Conflicts yahoo, 2024-03-01 23:00 UTC: 251 sessions');
    expect(second).toContain('A split explains it: the previous close fits ours');
    expect(second).toContain(`${SPIKE} closeours 101.5, theirs 203`.replace('close', 'close '));
    await close();
  });

  test('leads to the same for programs', async () => {
    const { page, close } = await openTab();
    await page.goto(address());
    const links = await page.locator('.calls a').allTextContents();
    expect(links).toContain(`/api/v1/coverage/AAPL`);
    const path =
      `/api/v1/historical/AAPL?start=2023-02-28&end=${SESSIONS.at(-3)}&timeframe=1d` +
      '&adjustment=split&validated_only=false&include_partial=true';
    expect(links[0]).toBe(path);
    expect(links).toHaveLength(10);
    for (const link of await page.locator('.calls a').all()) {
      const answer = await fetch(site.url + (await link.getAttribute('href')));
      expect([answer.status, answer.url]).toEqual([200, answer.url]);
    }
    expect(await page.locator('#curl').textContent()).toBe(`curl -s '${site.url}${path}'`);
    expect(await page.locator('#export').textContent()).toBe(
      `marketd export --symbols AAPL --timeframe 1d --from 2023-02-28 --to ${SESSIONS.at(-3)} ` +
        '--adjustment split -o AAPL-1d.parquet',
    );
    await close();
  });

  test('takes decisions, with the bar they are about beside them', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(address());
    await page.evaluate(() => {
      document.title = 'the same page';
    });
    const spike = page.locator(`#finding-${await findingOf('volume_spike')}`);
    expect(await spike.locator('p').first().textContent()).toBe(
      `Open ${SPIKE} volume spike volume is far above the median`,
    );
    expect(await spike.locator('.quiet').textContent()).toContain('volume 30,006,000; score 0.8');
    await spike.getByLabel('Note').fill('earnings');
    await spike.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', `Accepted: ${SPIKE} volume spike.`);
    await shows(page, `#finding-${await findingOf('volume_spike')} .badge`, 'Accepted');
    expect(await spike.locator('blockquote').textContent()).toBe('earnings');
    expect(await spike.locator('.quiet').last().textContent()).toBe(
      'accepted by page 127.0.0.1, 2024-03-04 03:00 UTC',
    );
    expect(await stateOf('volume_spike')).toEqual({
      ...{ state: 'accepted', note: 'earnings', by: 'page 127.0.0.1' },
    });
    expect((await readTiles(page)).Findings[0]).toBe('3');
    expect((await readTiles(page))['Validation rate'][0]).toBe('99.76 %');

    // With the keyboard alone.
    await spike.getByLabel('Note').focus();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await shows(page, '#notices', `Open again: ${SPIKE} volume spike.`);
    expect(await stateOf('volume_spike')).toMatchObject({ state: 'open', by: null });
    const drought = page.locator(`#finding-${await findingOf('volume_drought')}`);
    await drought.getByRole('button', { name: 'Reject' }).click();
    await shows(page, '#notices', `Rejected: ${DROUGHT} volume drought.`);
    expect(await stateOf('volume_drought')).toMatchObject({ state: 'rejected' });
    await drought.getByRole('button', { name: 'Reopen' }).click();
    await shows(page, '#notices', 'Open again');
    expect(await page.title()).toBe('the same page');
    expect(problems).toEqual([]);
    await close();
  });

  test('says what cannot be decided, and offers no more', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(address());
    const finding = page.locator(`#finding-${await findingOf('high_too_low')}`);
    expect(await finding.getByRole('button').allTextContents()).toEqual(['Keep note', 'Reject']);
    await finding.getByRole('button', { name: 'Keep note' }).click();
    await shows(page, '#notices .bad', 'Nothing is decided: a note is missing');
    await finding.getByLabel('Note').fill('seen');
    await page.keyboard.press('Enter');
    await shows(page, '#notices', `Noted: ${IMPOSSIBLE} high too low.`);
    expect(await stateOf('high_too_low')).toEqual({ state: 'open', note: 'seen', by: null });
    expect(problems).toEqual([]);
    await close();
  });

  test('is polled, and never takes away what somebody writes', async () => {
    const { page, polls, close } = await openTab();
    await page.goto(address());
    while (polls.length < 3) await page.waitForRequest(/status/);
    const note = page.locator(`#finding-${await findingOf('volume_spike')}`).getByLabel('Note');
    await note.fill('half a thou');
    const rename = (name: string) =>
      database.write`update instruments set name = ${name} where instrument_id = ${id}`;
    await rename('Apple Computer');
    await shows(page, 'h1', 'AAPL Apple Computer');
    expect(await note.inputValue()).toBe('half a thou');
    expect(await note.evaluate((field) => document.activeElement === field)).toBe(true);
    await rename('Apple Inc.');
    await shows(page, 'h1', 'AAPL Apple Inc.');
    expect(await note.inputValue()).toBe('half a thou');
    await close();
  });

  test('works without JavaScript', async () => {
    const { page, polls, close } = await openTab({ javaScriptEnabled: false });
    await page.goto(address());
    const findingId = await findingOf('volume_spike');
    const finding = page.locator(`#finding-${findingId}`);
    await finding.getByRole('button', { name: 'Accept' }).click();
    await page.waitForURL(`${address()}#finding-${findingId}`);
    expect(await finding.locator('.badge').textContent()).toBe('Accepted');
    expect(await page.locator('#notices').textContent()).toContain(`Accepted: ${SPIKE}`);
    expect(await page.locator('.closes polyline').count()).toBe(1);
    await finding.getByRole('button', { name: 'Keep note' }).click();
    expect(await page.locator('#notices').textContent()).toContain('Nothing is decided: a note');
    await finding.getByRole('button', { name: 'Reopen' }).click();
    await page.waitForURL(`${address()}#finding-${findingId}`);
    expect(await finding.locator('.badge').textContent()).toBe('Open');
    expect(polls).toEqual([]);
    await close();
  });

  test('refuses forms that are none of its own', async () => {
    const findingId = await findingOf('high_too_low');
    const accept = { decision: 'accept' };
    const status = async (answer: Promise<Response>) => (await answer).status;
    const type = { 'content-type': 'application/json' };
    expect(await status(send(findingId, accept, { 'sec-fetch-site': 'cross-site' }))).toBe(403);
    expect(await status(send(findingId, accept, { origin: 'https://elsewhere.test' }))).toBe(403);
    expect(await status(send(findingId, accept, type))).toBe(415);
    expect(await status(send(findingId, { decision: 'accept', note: 'x'.repeat(20_000) }))).toBe(
      413,
    );
    expect(await status(send(987_654_321, accept))).toBe(404);
    expect(await status(send('one', accept))).toBe(422);
    const refused = await send(findingId, accept);
    expect(refused.status).toBe(409);
    expect(await refused.text()).toContain('Nothing is decided: finding');
    const unclear = await send(findingId, { decision: 'maybe' });
    expect(unclear.status).toBe(422);
    expect(await unclear.text()).toContain('it must be accept or reject or annotate or reopen');
    const long = await send(findingId, { decision: 'annotate', note: 'x'.repeat(1001) });
    expect(long.status).toBe(422);
    expect(await stateOf('high_too_low')).toMatchObject({ state: 'open' });
    const done = await send(findingId, { decision: 'annotate', note: 'noted' });
    expect([done.status, done.headers.get('location')]).toEqual([
      ...[303, `/dashboard/symbols/AAPL#finding-${findingId}`],
    ]);
  });

  test('answers 304 until something changes', async () => {
    const path = `${address()}/status`;
    const first = await fetch(path);
    const etag = first.headers.get('etag')!;
    expect(etag).toMatch(/^W\/"\w+"$/);
    const second = await fetch(path, { headers: { 'if-none-match': `"x", ${etag}` } });
    expect([second.status, await second.text()]).toEqual([304, '']);
    expect(JSON.stringify([...second.headers]).length).toBeLessThan(900);
    await send(await findingOf('high_too_low'), { decision: 'annotate', note: `at ${Date.now()}` });
    const third = await fetch(path, { headers: { 'if-none-match': etag } });
    expect(third.status).toBe(200);
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`has enough contrast in the ${colorScheme} theme, and room on a telephone`, async () => {
      const wide = { width: 1280, height: 800 };
      const { page, close } = await openTab({ colorScheme, viewport: wide });
      await page.goto(address());
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
    const evil = await addInstrument(database.write, 'EVIL');
    const bars = sessionsFrom('2024-01-02', 30).map((session) => flatBar(session));
    bars[25].volume = 1e9;
    const options = { provider: HOSTILE };
    await ingest(database.write, evil, bars, {}, options);
    const later = { ...options, receivedAt: RECEIVED + 1000 };
    await ingest(database.write, evil, [{ ...bars[3], volume: 7 }], {}, later);
    const hostile = { name: HOSTILE, exchange: HOSTILE, assetType: HOSTILE };
    const dates = { listedOn: null, delistedOn: null };
    await upsertDescriptions(database.write, [{ instrumentId: evil, ...hostile, ...dates }]);
    await compare(database, evil, HOSTILE);
    await database.write`
      update reconciliations set source = ${HOSTILE} where instrument_id = ${evil}`;
    await database.write`
      update findings set note = ${HOSTILE}, decided_by = ${HOSTILE}, state = 'accepted',
             ts_decided = ${new Date(NOW)}, detail = ${database.write.json({ [HOSTILE]: HOSTILE })}
      where instrument_id = ${evil}`;
    await database.write`
      insert into corporate_actions (instrument_id, kind, ex_date, provider, provider_action_id,
        cash_amount, currency, subtype, ts_received)
      values (${evil}, 'dividend', '2024-01-05', ${HOSTILE}, 'd', 1, ${HOSTILE}, ${HOSTILE},
              now())`;
    await database.write`
      insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
        provider, asked_at, detail)
      values (${evil}, '1d', '2023-12-28', '2023-12-29', 'not_entitled', true, ${HOSTILE}, now(),
              ${HOSTILE})`;
    await database.write`
      update symbol_ranges set valid_from = '2023-01-01' where instrument_id = ${evil}`;
    await database.write`
      insert into symbol_ranges (instrument_id, symbol, valid_to)
      values (${evil}, ${HOSTILE}, '2023-01-01')`;
    const { page, problems, close } = await openTab();
    await page.goto(address('EVIL'));
    expect(await page.locator('h1').textContent()).toBe(`EVIL ${HOSTILE}`);
    const text = await page.locator('main').textContent();
    expect(text!.split(HOSTILE).length).toBeGreaterThan(14);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.title()).toBe('EVIL - marketd');
    expect(problems).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await close();
  });

  test('of a symbol of which nothing is held is short', async () => {
    await addInstrument(database.write, 'BTC/USD');
    const { page, problems, close } = await openTab();
    await page.goto(address('BTC/USD'));
    const text = await page.locator('main').textContent();
    for (const part of [
      'Empty No bars are held yet.',
      'No session of 1d was asked for yet.',
      ...['Nothing was found.', 'None are known.', 'No bar was ever changed.', 'None are held.'],
    ]) {
      expect(text).toContain(part);
    }
    await shot(page, 'empty');
    expect(problems).toEqual([]);
    await close();
  });

  test('marks what is made up', async () => {
    const madeUp = await addInstrument(database.write, 'DEMO');
    const bars = sessionsFrom('2024-01-02', 3).map((session) => flatBar(session));
    const options = { provider: 'synthetic', isSynthetic: true };
    await ingest(database.write, madeUp, bars, {}, options);
    const { page, close } = await openTab();
    await page.goto(address('DEMO'));
    expect(await page.locator('.notice.synthetic strong').textContent()).toBe('SYNTHETIC DATA');
    expect(await page.locator('.made-up').textContent()).toBe('SYNTHETIC DATA');
    expect(await page.evaluate(findFaintTexts)).toEqual([]);
    await close();
  });

  test('of a symbol that nobody knows says so', async () => {
    const answer = await fetch(address('NOPE'));
    expect(answer.status).toBe(404);
    const text = await answer.text();
    expect(text).toContain('Unknown symbol');
    expect(text).toContain('there is no symbol');
    expect((await fetch(`${address('NOPE')}/status`)).status).toBe(404);
    expect((await fetch(address('a b;'))).status).toBe(422);
  });

  test('says so when the database is away', async () => {
    const { page, close } = await openTab();
    await page.goto(address());
    const away = openDatabase('postgres://nobody@127.0.0.1:1/nothing');
    context.database = away;
    await shows(page, '#connection', 'The database has not answered since');
    const answer = await page.request.get(address());
    expect([answer.status(), answer.headers()['retry-after']]).toEqual([503, '5']);
    context.database = database;
    await page.locator('#connection').waitFor({ state: 'hidden', timeout: 20_000 });
    await close();
    await away.close();
  });

  test('has sessions of the calendar', () => {
    expect(calendar.isSession(toDay(LATEST))).toBe(true);
    expect(toDate(calendar.latestSession(NOW, 3_600_000))).toBe(LATEST);
  });
});
