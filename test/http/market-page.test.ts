import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { type AppContext, makeApp } from '../../src/http/app.ts';
import { type LiveCalendar, makeCalendar } from '../../src/model/session.ts';
import { selectOverrides } from '../../src/store/calendar.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { HOSTILE, openSite, openTab, type Site, shows, useBrowser } from '../fixtures/browser.ts';

useBrowser();

const PAGE = '/dashboard/market';
const CALENDAR = '/dashboard/market/calendar';
const OVERRIDES = '/dashboard/market/overrides';
/** Monday of Thanksgiving's week, 12:05 in New York. */
const NOON = Date.parse('2026-11-23T17:05:20Z');

describeEditions('the page of the market', (database) => {
  let pools: Database;
  let calendar: LiveCalendar;
  let context: AppContext;
  let app: ReturnType<typeof makeApp>;
  let nowMs = NOON;

  beforeAll(async () => {
    pools = openDatabase(database().url);
    await upsertSymbols(pools.write, ['AAPL', 'MSFT']);
    calendar = makeCalendar();
    const base = makeAppContext(pools, database().edition, { calendar, now: () => nowMs });
    const reloadCalendar = async () => {
      calendar.replace(await selectOverrides(pools.read));
    };
    context = { ...base, operations: { ...base.operations, reloadCalendar } };
    app = makeApp(context);
  });
  afterAll(async () => {
    await pools?.close();
  });
  beforeEach(async () => {
    nowMs = NOON;
    await database().sql`delete from calendar_overrides`;
    await database().sql`delete from audit_log`;
    calendar.replace([]);
  });

  const get = (path: string, headers: Record<string, string> = {}) =>
    app.handle(new Request(`http://localhost${path}`, { headers }));
  const html = async (path: string) => {
    const response = await get(path);
    expect([path, response.status]).toEqual([path, 200]);
    return response.text();
  };
  const post = (path: string, fields: Record<string, string>, headers = {}) =>
    app.handle(
      new Request(`http://localhost${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
        body: new URLSearchParams(fields),
      }),
    );
  const HTMX = { 'hx-request': 'true' };
  const closed = { date: '2026-12-24', kind: 'closed', open: '', close: '', reason: 'Mourning' };
  const checked = '2026-12-24 closed  ';
  const saved = () => selectOverrides(pools.read);

  /** The text of a cell: '24E'. */
  const cellOf = (page: string, date: string) =>
    new RegExp(`<td [^>]*><time datetime="${date}">(.*?)</td>`)
      .exec(page)?.[1]
      .replace(/<.*?>/g, '');

  test('says what is open, why, and what comes', async () => {
    const page = await html(PAGE);
    const text = page.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
    expect(text).toContain('Open until the close at 16:00 EST');
    expect(text).toContain('New York 12:05 EST Mon 2026-11-23, 17:05 UTC');
    expect(text).toContain('Part of the day Regular today 09:30 to 16:00 EST');
    expect(text).toContain('Closes in 3 h 55 min Mon 2026-11-23 16:00 EST');
    expect(text).toContain('Opens again in 21 h 25 min Tue 2026-11-24 09:30 EST');
    expect(text).toContain('Latest published session 2026-11-20');
    expect(text).toContain('2026-11-27 Fri 04:00 09:30 13:00 Early 17:00 EST');
    expect(text).toContain('2026-11-26 Thu Thanksgiving Day in 3 days');
    expect(text).toContain('2026-11-27 Fri 09:30 to 13:00 EST Early close in 4 days');
    expect([...page.matchAll(/<tr id="session-/g)]).toHaveLength(10);
    expect(text).toContain('Calendar of 2026 251 sessions');
    const cells = ['2026-11-24', '2026-11-26', '2026-11-27', '2026-11-28'];
    expect(cells.map((date) => cellOf(page, date))).toEqual(['24', '26C', '27E', '28']);
    expect(page).toMatch(/aria-current="date"><time datetime="2026-11-23"/);
  });

  const states: [at: string, says: string, part: string][] = [
    ['2026-11-23T13:00:00Z', 'Closed before the open at 09:30 EST', 'Pre-market'],
    ['2026-11-23T22:00:00Z', 'Closed after the close at 16:00 EST', 'After-hours'],
    ['2026-11-26T17:00:00Z', 'Closed Thanksgiving Day', 'Closed'],
    ['2026-11-27T17:00:00Z', 'Open until the early close at 13:00 EST', 'Regular'],
    ['2026-11-28T17:00:00Z', 'Closed weekend (Saturday)', 'Closed'],
    ['2026-07-01T15:00:00Z', 'Open until the close at 16:00 EDT', 'Regular'],
    ['2049-12-31T22:00:00Z', 'Closed after the close at 16:00 EST', 'After-hours'],
    ['1990-01-01T15:00:00Z', "Closed New Year's Day", 'Closed'],
  ];
  for (const [at, says, part] of states) {
    test(`at ${at} says ${says}`, async () => {
      nowMs = Date.parse(at);
      const text = (await html(PAGE)).replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
      expect(text.replace(/&#(0?39|x27);/g, "'")).toContain(says);
      expect(text).toContain(`Part of the day ${part} `);
      if (at.startsWith('2049')) {
        expect(text).toContain('after the end of the calendar');
        expect(text).toContain('it has no further session');
      }
    });
  }

  test('is polled for what changes with the minute, and no oftener', async () => {
    const first = await get(`${PAGE}/status`);
    const etag = first.headers.get('etag')!;
    expect(await first.text()).toStartWith('<div id="market-now"');
    nowMs += 30_000;
    const same = await get(`${PAGE}/status`, { 'if-none-match': etag });
    expect([same.status, await same.text()]).toEqual([304, '']);
    nowMs += 30_000;
    const next = await get(`${PAGE}/status`, { 'if-none-match': etag });
    expect(next.status).toBe(200);
    expect(await next.text()).toContain('12:06 EST');
  });

  test('has any year of the calendar, and no other', async () => {
    const first = await html(`${CALENDAR}?year=1990`);
    expect(first).toContain('January 1990');
    expect(cellOf(first, '1990-01-01')).toBe('1C');
    const last = await html(`${CALENDAR}?year=2049`);
    expect(cellOf(last, '2049-12-24')).toBe('24C');
    expect(last).not.toContain('year=2050');
    expect(first).not.toContain('year=1989');
    for (const year of ['1989', '2050', 'x', '-1']) {
      for (const path of [CALENDAR, `${CALENDAR}/status`]) {
        expect((await get(`${path}?year=${year}`)).status).toBe(422);
      }
    }
    const part = await get(`${CALENDAR}/status?year=2049`);
    expect(await part.text()).toStartWith('<div id="market-calendar"');
  });

  test('says what runs with the market, and what to do when nothing does', async () => {
    expect(await html(PAGE)).toContain('Nothing runs by itself in this process');
    const run = { startedAt: new Date(NOON - 9e4), finishedAt: new Date(NOON), isLast: false };
    const job = {
      ...{
        name: 'quotes',
        everySeconds: 90,
        lastRunDelaySeconds: 1200,
        phase: 'sleeping' as const,
      },
      ...{ wakesAt: new Date(NOON + 9e4), lastRun: { ...run, hasFailed: true } },
      lastError: { at: new Date(NOON), message: HOSTILE },
    };
    const busy = makeApp({
      ...context,
      scheduler: () => ({ status: 'running', nextRun: new Date('2026-11-24T02:00:00Z') }),
      operations: { ...context.operations, marketJobs: () => [job] },
    });
    const page = await (await busy.handle(new Request(`http://localhost${PAGE}`))).text();
    expect(page).not.toContain('<img src=x');
    const text = page.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
    expect(text).toContain('Price snapshots Waiting every 90 s while it is open');
    expect(text).toContain('2026-11-23 17:03 UTC Failed 2026-11-23T17:05Z:');
    expect(text).toContain('2026-11-23 17:06 UTC Nightly backfill Waiting');
    expect(text).toContain('see Backfill 2026-11-24 02:00 UTC');
  });

  describe('without JavaScript', () => {
    const follow = async (response: Response) => {
      expect(response.status).toBe(303);
      const cookie = response.headers.get('set-cookie')!.split(';')[0];
      const next = await get(response.headers.get('location')!.split('#')[0], { cookie });
      return { location: response.headers.get('location')!, page: await next.text() };
    };

    test('an override is looked at, then saved, then taken back', async () => {
      const looked = await follow(await post(OVERRIDES, { ...closed, step: 'check' }));
      expect(looked.location).toBe(
        `${CALENDAR}?year=2026&date=2026-12-24&kind=closed&reason=Mourning#overrides`,
      );
      expect(looked.page).toContain('Not saved yet: Thursday 2026-12-24 becomes closed all day');
      expect(looked.page).toContain('name="checked" value="2026-12-24 closed  "');
      expect(await saved()).toEqual([]);
      const done = await follow(await post(OVERRIDES, { ...closed, step: 'save', checked }));
      expect(done.location).toBe(`${CALENDAR}?year=2026#overrides`);
      expect(cellOf(done.page, '2026-12-24')).toBe('24CO');
      expect(done.page).toContain('id="override-2026-12-24"');
      expect(await saved()).toMatchObject([
        { date: '2026-12-24', kind: 'closed', reason: 'Mourning', actor: 'page' },
      ]);
      const form = new RegExp(`action="${OVERRIDES}/undo".*?</form>`, 's').exec(done.page)![0];
      const field = (name: string) =>
        new RegExp(`name="${name}" value="([^"]*)"`).exec(form)![1].replaceAll('&#34;', '"');
      const fields = { date: field('date'), before: field('before'), after: field('after') };
      const undone = await follow(await post(`${OVERRIDES}/undo`, fields));
      expect(undone.page).toContain('Taken back: 2026-12-24 is as the rules have it');
      expect(await saved()).toEqual([]);
      expect(cellOf(undone.page, '2026-12-24')).toBe('24E');
    });

    test('a removal says what it changes', async () => {
      await post(OVERRIDES, { ...closed, step: 'save', checked });
      const fields = { date: '2026-12-24', year: '2027' };
      const { location, page } = await follow(await post(`${OVERRIDES}/remove`, fields));
      expect(location).toBe(`${CALENDAR}?year=2027#overrides`);
      expect(page).toContain('The override of 2026-12-24 is removed');
      expect(page).toContain('becomes 09:30 to 13:00 EST instead of closed all day (Mourning)');
      expect(page).toContain('due for 2 symbols once it is over');
      const again = await follow(await post(`${OVERRIDES}/remove`, fields));
      expect(again.page).toContain('There is no override of 2026-12-24 any more');
    });

    test('what is refused stays in the form, with the reason beside it', async () => {
      const response = await post(OVERRIDES, { ...closed, open: '10:00', step: 'save' });
      expect(response.status).toBe(422);
      const page = await response.text();
      expect(page).toContain('Nothing is saved: open and close are allowed only with kind');
      expect(page).toMatch(/id="override-open"[^>]* value="10:00"[^>]* aria-invalid="true"/);
      expect(page).toContain('id="override-open-problem"');
      expect(page).toMatch(/id="override-reason"[^>]* value="Mourning"/);
      expect(await saved()).toEqual([]);
    });

    test('a draft in the address is looked at as well', async () => {
      const page = await html(`${CALENDAR}?date=2027-05-05&kind=closed&reason=Blizzard`);
      expect(page).toContain('Wednesday 2027-05-05 becomes closed all day (Blizzard)');
      const wrong = await get(`${CALENDAR}?date=2027-02-30&kind=closed&reason=Blizzard`);
      expect(wrong.status).toBe(422);
      expect(await wrong.text()).toContain('id="override-date-problem"');
    });
  });

  test('saves nothing but what was looked at', async () => {
    const other = { ...closed, kind: 'session', close: '12:00', step: 'save', checked };
    const response = await post(OVERRIDES, other, HTMX);
    expect(await response.text()).toContain('Not saved yet');
    expect(await saved()).toEqual([]);
    // Another reason changes nothing of what was looked at.
    const reworded = { ...closed, reason: 'Day of mourning', step: 'save', checked };
    expect(await (await post(OVERRIDES, reworded, HTMX)).text()).toContain('Undo');
    expect(await saved()).toMatchObject([{ reason: 'Day of mourning' }]);
    const twice = await (await post(OVERRIDES, reworded, HTMX)).text();
    expect(twice).toContain('The calendar says so already of 2026-12-24');
  });

  test('undo puts back what was there, unless somebody was faster', async () => {
    const short = { ...closed, kind: 'session', close: '12:00' };
    const of = (fields: typeof short) => `${fields.date} ${fields.kind}  ${fields.close}`;
    await post(OVERRIDES, { ...short, step: 'save', checked: of(short) });
    await post(OVERRIDES, { ...closed, step: 'save', checked });
    const fields = {
      date: '2026-12-24',
      before: JSON.stringify({ kind: 'session', close: '12:00', reason: 'Mourning' }),
      after: JSON.stringify({ kind: 'closed', reason: 'Mourning' }),
    };
    const undone = await (await post(`${OVERRIDES}/undo`, fields, HTMX)).text();
    expect(undone).toContain('Taken back: 2026-12-24 09:30 to 12:00: Mourning');
    expect(await saved()).toMatchObject([{ kind: 'session', close: '12:00' }]);
    const late = await post(`${OVERRIDES}/undo`, fields);
    expect(late.status).toBe(409);
    expect(await late.text()).toContain('Somebody has changed 2026-12-24 since');
    expect(await saved()).toMatchObject([{ kind: 'session', close: '12:00' }]);
    const { length } = await database().sql`select from audit_log where action like 'calendar.%'`;
    expect(length).toBe(3);
  });

  const refused: [string, string, Record<string, string>, object, number][] = [
    ['a page of another site', OVERRIDES, closed, { 'sec-fetch-site': 'cross-site' }, 403],
    ['a removal from one', `${OVERRIDES}/remove`, closed, { origin: 'http://evil.example' }, 403],
    ['an undo from one', `${OVERRIDES}/undo`, closed, { 'sec-fetch-site': 'same-site' }, 403],
    ['what is no form', OVERRIDES, closed, { 'content-type': 'text/plain' }, 415],
    ['a long form', OVERRIDES, { ...closed, reason: 'x'.repeat(20_000) }, {}, 413],
    ['a long reason', OVERRIDES, { ...closed, reason: 'x'.repeat(201) }, {}, 422],
    ['no reason', OVERRIDES, { ...closed, reason: '' }, {}, 422],
    ['no kind', OVERRIDES, { ...closed, kind: '' }, {}, 422],
    ['a year without a calendar', OVERRIDES, { ...closed, kind: '', year: '2060' }, {}, 422],
    ['a day after the calendar', OVERRIDES, { ...closed, date: '2050-01-01' }, {}, 422],
    ['to remove of no day', `${OVERRIDES}/remove`, { date: 'x' }, {}, 422],
    ['to remove before it', `${OVERRIDES}/remove`, { date: '1980-01-01' }, {}, 422],
    ['to take back nonsense', `${OVERRIDES}/undo`, { date: '2026-12-24', before: '{' }, {}, 422],
    ['to take back no day', `${OVERRIDES}/undo`, { before: '' }, {}, 422],
  ];
  for (const [name, path, fields, headers, status] of refused) {
    test(`refuses ${name}`, async () => {
      const response = await post(path, { step: 'save', checked, ...fields }, headers);
      expect([name, response.status]).toEqual([name, status]);
      expect(await saved()).toEqual([]);
    });
  }

  describe('in a browser', () => {
    let site: Site;
    beforeAll(async () => {
      site = await openSite(context);
    });
    afterAll(async () => {
      await site?.stop();
    });

    test('an override is looked at, saved and taken back without a reload', async () => {
      const { page, problems, hosts, close } = await openTab();
      await page.goto(`${site.url}${CALENDAR}?year=2025`);
      await page.evaluate(() => {
        document.body.dataset.same = 'yes';
      });
      await page.fill('#override-date', '2026-12-24');
      await page.check('#override-closed');
      await page.fill('#override-reason', HOSTILE);
      await page.keyboard.press('Enter');
      await shows(page, '#effects', 'becomes closed all day');
      await shows(page, '#calendar', 'Calendar of 2026');
      expect(await saved()).toEqual([]);
      await page.click('button[value=save]');
      await shows(page, '#override-2026-12-24', 'closed all day');
      await shows(page, '.day.override', '24');
      expect(await page.locator('#override-2026-12-24 .wrapped').textContent()).toBe(HOSTILE);
      expect(await page.locator('main img, main script').count()).toBe(0);
      // What was sent is not half filled in any more.
      expect(await page.inputValue('#override-date')).toBe('');
      expect(await page.inputValue('#override-reason')).toBe('');
      expect(await page.isChecked('#override-closed')).toBe(false);
      expect(await saved()).toMatchObject([{ reason: HOSTILE, actor: 'page 127.0.0.1' }]);
      await page.click('#notices button');
      await shows(page, '#notices', 'Taken back');
      await page.locator('#override-2026-12-24').waitFor({ state: 'detached' });
      expect(await saved()).toEqual([]);
      expect(await page.evaluate(() => document.body.dataset.same)).toBe('yes');
      expect(problems).toEqual([]);
      expect([...hosts]).toEqual([new URL(site.url).host]);
      await close();
    });

    test('what is wrong is said in its place, and nothing typed is lost', async () => {
      const { page, problems, close } = await openTab();
      await page.goto(`${site.url}${PAGE}`);
      await page.fill('#override-date', '2026-12-28');
      await page.check('#override-session');
      await page.fill('#override-open', '14:00');
      await page.fill('#override-close', '13:00');
      await page.fill('#override-reason', 'Storm');
      await page.click('button[value=check]');
      await shows(page, '#override-close-problem', 'open 14:00 must be before close 13:00');
      expect(await page.inputValue('#override-reason')).toBe('Storm');
      await page.fill('#override-open', '10:00');
      await page.click('button[value=check]');
      await shows(page, '#effects', 'becomes 10:00 to 13:00 EST instead of 09:30 to 16:00 EST');
      expect(problems).toEqual([]);
      await close();
    });

    test('the state changes by itself, while somebody writes', async () => {
      const { page, problems, close } = await openTab();
      await page.goto(`${site.url}${PAGE}`);
      await shows(page, '#market-state', 'until the close at 16:00 EST');
      await page.fill('#override-reason', 'half a sen');
      nowMs = Date.parse('2026-11-23T21:00:00Z');
      await shows(page, '#market-state', 'after the close at 16:00 EST');
      expect(await page.inputValue('#override-reason')).toBe('half a sen');
      expect(problems).toEqual([]);
      await close();
    });

    test('the year is switched in place, and the address says it', async () => {
      const { page, problems, close } = await openTab();
      await page.goto(`${site.url}${PAGE}`);
      await page.getByRole('link', { name: '2027', exact: true }).click();
      await shows(page, '#calendar', 'Calendar of 2027');
      await page.waitForURL(`${site.url}${CALENDAR}?year=2027`);
      await page.reload();
      await shows(page, '#calendar', 'Calendar of 2027');
      await page.goBack();
      await shows(page, '#calendar', 'Calendar of 2026');
      expect(problems).toEqual([]);
      await close();
    });
  });
});
