import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { AppContext } from '../../src/http/app.ts';
import { toDay } from '../../src/model/session.ts';
import { openDatabase } from '../../src/store/database.ts';
import { insertRequestFailure, selectJobRequests } from '../../src/store/job-requests.ts';
import {
  finishRun,
  insertRun,
  LEAD_LOCK,
  leaseLock,
  updateRun,
  upsertBackfillResults,
} from '../../src/store/jobs.ts';
import { upsertSymbols } from '../../src/store/symbols.ts';
import { duration, roughly, timeLeft } from '../../views/runs.tsx';
import { EDITIONS } from '../database.ts';
import { holdBars, startWorker, worldContext } from '../fixtures/backfill-pages.ts';
import { CALENDAR, marketBars, openWorld, type World } from '../fixtures/backfill-world.ts';
import { HOSTILE, openSite, openTab, type Site, shows, useBrowser } from '../fixtures/browser.ts';
import { until } from '../fixtures/http-server.ts';
import { addInstrument } from '../fixtures/warehouse.ts';

/** After the night's run: the session of 7 January 2026 is the latest that is published. */
const NOW = '2026-01-08T03:00:00Z';
const FIRST = '2025-10-01';
const SYMBOLS = ['AAPL', 'MSFT', 'NVDA'];
const PATH = '/dashboard/backfill';

useBrowser();

/** What a page says, without its tags. */
const textOf = (html: string) =>
  html
    .replace(/<[^>]+>/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#x27;', "'")
    .replaceAll('&amp;', '&')
    .replace(/\s+/g, ' ');

describe('how long', () => {
  test('something takes is said in two units at most', () => {
    expect([0, 41_400, 125_000, 7_500_000, -5].map(duration)).toEqual([
      ...['0 s', '41 s', '2 min 5 s', '2 h 5 min', '0 s'],
    ]);
    expect([400, 50_000, 89_000, 95_000, 5_390_000, 5_410_000, 90_000_000].map(roughly)).toEqual([
      ...['about 1 s', 'about 50 s', 'about 89 s', 'about 2 min', 'about 90 min', 'about 2 h'],
      'about 25 h',
    ]);
  });

  test('is left is told only when the pace is known', () => {
    const startedAt = new Date(NOW);
    const after = (seconds: number) => new Date(startedAt.getTime() + seconds * 1000);
    const run = { state: 'running', startedAt, total: 40, done: 10 } as const;
    expect(timeLeft(run, after(60))).toBe(180_000);
    expect(timeLeft(run, after(9))).toBeUndefined();
    expect(timeLeft({ ...run, done: 4 }, after(60))).toBeUndefined();
    expect(timeLeft({ ...run, total: null }, after(60))).toBeUndefined();
    expect(timeLeft({ ...run, state: 'failed' }, after(60))).toBeUndefined();
    expect(timeLeft({ ...run, done: 40 }, after(60))).toBeUndefined();
  });
});

for (const edition of EDITIONS) {
  describe(`the backfill pages (${edition})`, () => {
    let world: World;
    let context: AppContext;
    let site: Site;

    beforeAll(async () => {
      const bars = marketBars([...SYMBOLS, 'NEWONE'], FIRST, '2026-01-07');
      world = await openWorld(edition, { now: NOW, firstSession: FIRST, bars });
      context = worldContext(world, edition);
      site = await openSite(context);
    });

    afterAll(async () => {
      await site?.stop();
      await world?.[Symbol.asyncDispose]();
    });

    const get = async (path: string, headers: Record<string, string> = {}) => {
      const response = await fetch(`${site.url}${path}`, { headers });
      return { status: response.status, html: await response.text(), headers: response.headers };
    };
    const post = async (path: string, fields: Record<string, string>, headers = {}) => {
      const body = new URLSearchParams(fields);
      const options = { method: 'POST', body, headers, redirect: 'manual' as const };
      const response = await fetch(`${site.url}${PATH}/${path}`, options);
      return { status: response.status, html: await response.text(), headers: response.headers };
    };
    const requests = () => selectJobRequests(world.sql, { limit: 100 });
    const clear = async () => {
      await world.sql`truncate job_requests, request_failures, backfill_results, job_runs cascade`;
    };

    afterEach(clear);

    describe('without JavaScript', () => {
      test('says where the history begins, that nothing runs, and who could run it', async () => {
        const { status, html } = await get(PATH);
        expect(status).toBe(200);
        const text = textOf(html);
        expect(text).toContain('Empty: 2024-01-07; hours and minutes 2025-12-08');
        expect(text).toContain('every tracked symbol, of which there is none yet');
        expect(text).toContain('Nothing waits and nothing runs');
        expect(text).toContain('Nobody runs jobs No process leads');
        expect(text).toContain('set SCHEDULER=on and restart marketd');
        expect(text).toContain('Nothing has run yet');
      });

      test('is filled in by a link of another page', async () => {
        const link = `symbols=AAPL,${encodeURIComponent(HOSTILE)}&from=2025-11-03&to=2025-11-07`;
        const { html } = await get(`${PATH}?${link}&timeframe=1h&retry=1&kind=repair`);
        expect(html).toContain('name="from" value="2025-11-03"');
        expect(html).toContain('name="to" value="2025-11-07"');
        expect(html).toMatch(/<option value="1h" selected/);
        expect(html).toMatch(/id="ask-retry" name="retry" value="1" checked/);
        expect(html).toMatch(/id="ask-repair" name="kind" value="repair" checked/);
        expect(html).toContain('AAPL,&lt;img src=x');
        expect(html).not.toContain('<img');
      });

      test('a preview says what it costs, of what, and asks nobody', async () => {
        const { status, html } = await post('preview', {
          ...{ symbols: 'AAPL msft, AAPL\nMSFT', from: FIRST, kind: 'backfill', timeframe: '1d' },
        });
        expect(status).toBe(200);
        const text = textOf(html);
        expect(text).toContain('Backfill of AAPL, MSFT, days, 2025-10-01 to the latest session.');
        const sessions = 2 * CALENDAR.sessions(toDay(FIRST), toDay('2026-01-07')).length;
        expect(text).toContain(`7 requests for 2 symbols; ${sessions} sessions are due.`);
        expect(text).toContain('Under a minute at 60,000 requests a minute.');
        expect(text).toMatch(/Bars by symbol 2 Splits 1 Dividends 2 Names and listings 2 In all 7/);
        expect(html).toMatch(/<button type="submit" class="button primary" id="start">/);
        // What was typed stands as it was typed.
        expect(html).toContain('AAPL msft, AAPL\nMSFT</textarea>');
        expect(world.vendor().requests).toEqual([]);
        expect(await requests()).toEqual([]);
      });

      test('a preview of what is held in part counts only what is missing', async () => {
        await world.backfill(['AAPL'], { lastSession: '2025-11-28' });
        const due = CALENDAR.sessions(toDay('2025-12-01'), toDay('2026-01-07')).length;
        const { html } = await post('preview', { symbols: 'AAPL', from: FIRST });
        expect(textOf(html)).toContain(`for 1 symbol; ${due} sessions are due.`);
        await world.backfill(['AAPL']);
        const held = await post('preview', { symbols: 'AAPL', from: FIRST, to: '2025-11-28' });
        expect(textOf(held.html)).toContain('0 requests for 1 symbol; 0 sessions are due.');
        expect(textOf(held.html)).toContain('Nothing is due: what can be had is held.');
        expect(held.html).not.toContain('id="start"');
        // A repair leaves alone what is there, also the sessions that may be restated.
        const repair = await post('preview', { symbols: 'AAPL', from: FIRST, kind: 'repair' });
        expect(textOf(repair.html)).toContain('Repair of holes of AAPL, days');
        expect(textOf(repair.html)).toContain('0 requests for 1 symbol; 0 sessions are due.');
      });

      const refused: [name: string, fields: Record<string, string>, says: string][] = [
        ['a date that does not exist', { from: '2025-02-30' }, 'From session is "2025-02-30"'],
        ['a range of the future', { from: '2026-02-01' }, 'From session (2026-02-01) lies in the'],
        [
          'a range that ends before it begins',
          { from: '2025-12-02', to: '2025-12-01' },
          'To session (2025-12-01) lies before From session (2025-12-02)',
        ],
        [
          'a timeframe that is not stored',
          { timeframe: '5m' },
          'The timeframe is "5m": it must be',
        ],
        ['what is no symbol', { symbols: 'AAPL, ^%$' }, 'Line 1: "^%$" is not a symbol'],
        [
          'too many symbols',
          { symbols: Array.from({ length: 1001 }, (_, i) => `A${i}`).join(' ') },
          'Symbols has 1001: name at most 1000',
        ],
        [
          'a kind that there is not',
          { kind: 'delete' },
          'What to ask for is "delete": backfill or repair',
        ],
        ['a repair of what was empty', { kind: 'repair', retry: '1' }, 'when their time has come'],
        ['a symbol that a repair does not know', { kind: 'repair', symbols: 'NOBODY' }, 'NOBODY'],
        ['hostile text', { timeframe: HOSTILE }, '<img src=x onerror='],
      ];
      for (const [name, fields, says] of refused) {
        test(`a preview refuses ${name}, and keeps what was filled in`, async () => {
          const { status, html } = await post('preview', { to: '2025-12-05', ...fields });
          expect(status).toBe(422);
          const text = textOf(html);
          expect(text).toContain('Not done ');
          expect(text).toContain(says);
          expect(html).not.toContain('id="preview"');
          expect(html).not.toContain('<img');
          expect(html).toContain(`name="to" value="${fields.to ?? '2025-12-05'}"`);
          const start = await post('start', { to: '2025-12-05', ...fields });
          if (fields.symbols !== 'NOBODY') expect([name, start.status]).toEqual([name, 422]);
        });
      }

      test('a field that is wrong is marked', async () => {
        const { html } = await post('preview', { from: '2026-02-01' });
        expect(html).toMatch(/id="ask-from"[^>]*aria-invalid="true"/);
        expect(html).not.toMatch(/id="ask-to"[^>]*aria-invalid/);
      });

      test('is started and cancelled by plain forms', async () => {
        const fields = { symbols: 'AAPL MSFT', from: '2025-11-03', to: '', timeframe: '1d' };
        const started = await post('start', fields);
        expect([started.status, started.headers.get('location')]).toEqual([303, PATH]);
        const [added] = await requests();
        expect(added).toMatchObject({
          ...{ kind: 'backfill', state: 'queued', actor: expect.stringMatching(/^page/) },
          arguments: {
            ...{ symbols: ['AAPL', 'MSFT'], timeframe: '1d', firstSession: '2025-11-03' },
            ...{ lastSession: null, retryEmpty: false },
          },
        });
        const cookie = started.headers.get('set-cookie')!.split(';')[0];
        const shown = textOf((await get(PATH, { cookie })).html);
        expect(shown).toContain(
          `Done Request ${added.requestId} is in the queue: Backfill of AAPL`,
        );
        expect(shown).toContain('Queued Backfill of AAPL, MSFT, days, 2025-11-03 to the latest');
        expect(shown).toContain('Waits for a process that runs jobs');
        // Pressed twice, it is asked for once.
        await post('start', fields);
        expect((await requests()).length).toBe(1);

        const request = `${added.requestId}`;
        const cancelled = await post('cancel', { request });
        expect([cancelled.status, cancelled.headers.get('location')]).toEqual([303, PATH]);
        expect((await requests())[0]).toMatchObject({ state: 'cancelled', runId: null });
        const told = textOf((await get(PATH)).html);
        expect(told).toContain('Nothing waits and nothing runs');
        expect(told).toContain('Cancelled Backfill of AAPL, MSFT, days');
        expect(told).toMatch(/cancelled by page.* before it began/);
        const [audit] = await world.sql`
          select string_agg(action, ' ' order by audit_id) as actions from audit_log
          where action like 'job.%'`;
        expect(audit.actions).toEndWith('job.start job.cancel');

        await post('cancel', { request });
        expect((await requests())[0].message).toMatch(/^cancelled by/);
      });

      test('htmx gets the parts that changed, and the notice', async () => {
        const htmx = { 'hx-request': 'true' };
        const shown = await post('preview', { symbols: 'AAPL', from: '2025-11-03' }, htmx);
        expect(shown.html).toStartWith('<div id="ask">');
        expect(shown.html).toContain('id="preview"');
        const started = await post('start', { symbols: 'AAPL', from: '2025-11-03' }, htmx);
        expect(started.status).toBe(200);
        expect(started.html).toStartWith('<div id="backfill"');
        expect(started.html).toContain('<div id="ask" hx-swap-oob="outerMorph">');
        expect(textOf(started.html)).toContain('is in the queue: Backfill of AAPL, days');
        expect(started.html).not.toContain('id="preview"');
        const wrong = await post('start', { from: '2026-02-01' }, htmx);
        expect([wrong.status, wrong.headers.get('x-outcome')]).toEqual([200, 'bad']);
        expect(wrong.html).toContain('lies in the future');
        expect((await requests()).length).toBe(1);
      });

      test('a request is cancelled on the page of its run', async () => {
        const runId = await insertRun(world.sql, { job: 'backfill', origin: 'operator', total: 9 });
        await post('start', { symbols: 'AAPL' });
        const [{ requestId }] = await requests();
        await world.sql`
          update job_requests set state = 'running', started_at = now(), run_id = ${runId}
          where request_id = ${requestId}`;
        const { html } = await get(`${PATH}/runs/${runId}`);
        expect(html).toContain(`<input type="hidden" name="run" value="${runId}"`);
        const fields = { request: `${requestId}`, run: `${runId}` };
        const plain = await post('cancel', fields);
        expect(plain.headers.get('location')).toBe(`${PATH}/runs/${runId}`);
        const part = await post('cancel', fields, { 'hx-request': 'true' });
        expect(part.html).toStartWith('<div id="run"');
        // Nobody leads: whoever ran it is gone.
        expect((await requests())[0].state).toBe('cancelled');
      });

      test('what runs in a process that leads is told to end', async () => {
        const lease = await leaseLock(world.url, LEAD_LOCK);
        try {
          context.pollSeconds = 10;
          expect((await get(PATH)).html).toContain('hx-trigger="every 10s');
          await post('start', { symbols: 'AAPL' });
          // It begins in a moment: that is seen soon.
          expect((await get(PATH)).html).toContain('hx-trigger="every 2s');
          const [{ requestId }] = await requests();
          await world.sql`
            update job_requests set state = 'running', started_at = now()
            where request_id = ${requestId}`;
          expect(textOf((await get(PATH)).html)).not.toContain('Nobody runs jobs');
          const answer = await post('cancel', { request: `${requestId}` });
          const cookie = answer.headers.get('set-cookie')!.split(';')[0];
          const { html } = await get(PATH, { cookie });
          expect(textOf(html)).toContain(`Under way Request ${requestId} is told to end.`);
          expect(textOf(html)).toContain('It is told to end: what is committed stays.');
          expect(html).not.toContain('cancel-form');
        } finally {
          context.pollSeconds = 1;
          await lease?.release();
        }
      });

      test('what has ended cannot be cancelled any more', async () => {
        await post('start', { symbols: 'AAPL' });
        const [{ requestId }] = await requests();
        await world.sql`
          update job_requests set state = 'succeeded', finished_at = now()
          where request_id = ${requestId}`;
        const answer = await post('cancel', { request: `${requestId}` });
        const cookie = answer.headers.get('set-cookie')!.split(';')[0];
        expect(textOf((await get(PATH, { cookie })).html)).toContain(
          `Attention Request ${requestId} had ended before: succeeded.`,
        );
        expect((await requests())[0].state).toBe('succeeded');
      });

      test('asks again for what was empty when that is said', async () => {
        await post('start', { from: '2025-11-03', retry: '1' });
        const [added] = await requests();
        expect(added.arguments).toMatchObject({ symbols: null, retryEmpty: true });
        expect(textOf((await get(PATH)).html)).toContain(
          'Backfill of all tracked symbols, days, 2025-11-03 to the latest session, again for',
        );
      });

      test('cancels only what there is, for pages of its own', async () => {
        expect((await post('cancel', { request: '4711' })).status).toBe(404);
        expect((await post('cancel', { request: 'x' })).status).toBe(422);
        expect((await post('cancel', { run: '1' })).status).toBe(422);
        const foreign = { 'sec-fetch-site': 'cross-site' };
        for (const action of ['preview', 'start', 'cancel']) {
          expect([action, (await post(action, {}, foreign)).status]).toEqual([action, 403]);
        }
        expect(await requests()).toEqual([]);
      });

      test('a process with nobody to ask says so, and still takes requests', async () => {
        const { preview: _, ...operations } = context.operations;
        const poor = await openSite({ ...context, operations });
        try {
          const text = textOf(await (await fetch(`${poor.url}${PATH}`)).text());
          expect(text).toContain('Set POLYGON_API_KEY and SCHEDULER=on, then restart marketd.');
          const body = new URLSearchParams({ symbols: 'AAPL' });
          const answer = await fetch(`${poor.url}${PATH}/preview`, { method: 'POST', body });
          const html = await answer.text();
          expect(textOf(html)).toContain('What it costs is not known here');
          expect(html).toContain('id="start"');
        } finally {
          await poor.stop();
        }
      });

      test('says so while the database is away', async () => {
        const away = openDatabase('postgres://nobody@127.0.0.1:1/nothing');
        const gone = await openSite({ ...context, database: away });
        try {
          for (const path of [PATH, `${PATH}/runs`, `${PATH}/runs/1`]) {
            const answer = await fetch(`${gone.url}${path}`);
            expect([path, answer.status]).toEqual([path, 503]);
            expect(textOf(await answer.text())).toContain('The database does not answer.');
          }
        } finally {
          await gone.stop();
          await away.close();
        }
      });

      test('its part that is polled is answered anew only when something has changed', async () => {
        const first = await get(`${PATH}/status`);
        expect(first.html).toStartWith('<div id="backfill"');
        const known = { 'if-none-match': first.headers.get('etag')! };
        expect((await get(`${PATH}/status`, known)).status).toBe(304);
        await post('start', { symbols: 'AAPL' });
        const second = await get(`${PATH}/status`, known);
        expect([second.status, textOf(second.html)]).toEqual([
          200,
          expect.stringContaining('Backfill of AAPL'),
        ]);
      });
    });

    describe('runs', () => {
      const NONE = { requests: 0, inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
      const addRun = async (job: string, state: 'succeeded' | 'failed', error: string | null) => {
        const run = { job, origin: 'schedule', total: 10 } as const;
        const runId = await insertRun(world.sql, run);
        await finishRun(world.sql, runId, state, error);
        return runId;
      };

      test('are listed by page, of a job and in a state', async () => {
        for (let i = 0; i < 60; i++) await addRun('backfill', 'succeeded', null);
        const failed = await addRun('reconcile', 'failed', `the vendor said ${HOSTILE}`);
        const all = await get(`${PATH}/runs`);
        expect(textOf(all.html)).toContain('61 runs');
        expect(textOf(all.html)).toContain('page 1 of 2');
        expect(textOf(all.html)).toContain(`the vendor said ${HOSTILE}`);
        expect(all.html).not.toContain('<img');
        expect(all.html.match(/<tr id="run-\d+">/g)?.length).toBe(50);
        const second = await get(`${PATH}/runs?page=2`);
        expect(second.html.match(/<tr id="run-\d+">/g)?.length).toBe(11);
        // Beyond the last page is the last one.
        expect((await get(`${PATH}/runs?page=99`)).html.match(/<tr id="run-\d+">/g)?.length).toBe(
          11,
        );
        const one = await get(`${PATH}/runs?job=reconcile&state=failed`);
        expect(one.html.match(/<tr id="run-\d+">/g)).toEqual([`<tr id="run-${failed}">`]);
        expect(one.html).toMatch(/<option value="reconcile" selected/);
        const kept = await get(`${PATH}/runs?job=backfill&page=2`);
        expect(kept.html).toContain('/dashboard/backfill/runs/status?job=backfill&page=2');
        const none = await get(`${PATH}/runs?job=quotes&state=running`);
        expect(textOf(none.html)).toContain('No run is like that');
        expect(none.html).toMatch(/<option value="quotes" selected/);
        await clear();
        expect(textOf((await get(`${PATH}/runs`)).html)).toContain('Nothing has run yet');
      });

      for (const [query, field] of [
        ['state=done', 'state'],
        ['page=0', 'page'],
        ['page=x', 'page'],
      ]) {
        test(`refuse ${query}`, async () => {
          for (const path of [`${PATH}/runs`, `${PATH}/runs/status`]) {
            const { status, html } = await get(`${path}?${query}`);
            expect(status).toBe(422);
            expect(html).toContain(field);
          }
        });
      }

      test('that are not known are not found, and what is no number is refused', async () => {
        for (const [path, status] of [
          ['/runs/4711', 404],
          ['/runs/4711/status', 404],
          ['/runs/x', 422],
          ['/runs/0', 422],
          ['/runs/99999999999999999999', 422],
        ] as const) {
          expect([path, (await get(PATH + path)).status]).toEqual([path, status]);
        }
      });

      test('show what came of each symbol, failed ones first', async () => {
        const runId = await insertRun(world.sql, { job: 'backfill', origin: 'start', total: 130 });
        const names = Array.from({ length: 130 }, (_, i) => `T${String(i).padStart(3, '0')}`);
        await upsertSymbols(world.sql, names);
        const ids: number[] = [];
        for (const name of names) ids.push(await addInstrument(world.sql, name));
        const range = { startSession: FIRST, endSession: '2026-01-07' };
        const results = ids.map((instrumentId, i) => ({
          ...{ instrumentId, ...range, inserted: 68, changed: 2, unchanged: 1, rejected: 0 },
          error: i === 77 ? `refused: ${HOSTILE}` : null,
        }));
        await upsertBackfillResults(world.sql, runId, results);
        await updateRun(world.sql, runId, { ...NONE, requests: 131, done: 130, inserted: 8840 });
        await finishRun(world.sql, runId, 'failed', '1 failed');
        const path = `${PATH}/runs/${runId}`;
        const { html } = await get(path);
        const text = textOf(html);
        expect(text).toContain(`Run ${runId}: backfill`);
        expect(text).toContain('Symbols 130, 1 failed');
        expect(text).toContain('8,840 bars');
        const order = [...html.matchAll(/href="\/dashboard\/symbols\/(T\d+)"/g)].map(([, s]) => s);
        expect(order.slice(0, 3)).toEqual(['T077', 'T000', 'T001']);
        expect(order.length).toBe(100);
        expect(text).toContain(`refused: ${HOSTILE}`);
        expect(html).not.toContain('<img');
        const second = await get(`${path}?page=2`);
        expect([...second.html.matchAll(/symbols\/(T\d+)"/g)].length).toBe(30);
        const found = await get(`${path}?q=t07`);
        expect([...found.html.matchAll(/symbols\/(T\d+)"/g)].length).toBe(10);
        expect(textOf((await get(`${path}?q=zzz`)).html)).toContain(
          'No symbol of this run is like',
        );
        expect((await get(`${path}?page=0`)).status).toBe(422);
      });

      test("list each failed request with the vendor's words", async () => {
        const runId = await addRun('backfill', 'failed', '3 failed');
        const failure = { runId, dataset: '1d', kind: 'garbage', status: 200 };
        const range = { firstSession: '2025-10-01', lastSession: '2025-10-31' };
        const write = world.context.database.write;
        const at = Date.parse(NOW);
        const body = `{"error":"${HOSTILE}"}`;
        const first = { ...failure, ...range, symbol: HOSTILE, message: HOSTILE, body };
        await insertRequestFailure(write, first, at);
        const rest = { firstSession: null, lastSession: null, symbol: null, body: null };
        const more = { ...rest, kind: 'rate_limited', status: null, message: 'asked too often' };
        await insertRequestFailure(write, { ...failure, ...more }, at);
        const { html } = await get(`${PATH}/runs/${runId}`);
        const text = textOf(html);
        expect(text).toContain('Failed requests 2');
        expect(text).toContain(`${HOSTILE} 1d 2025-10-01 to 2025-10-31 garbage 200`);
        expect(text).toContain(`What the vendor answered ${body}`);
        expect(text).toContain('whole market 1d rate limited no answer');
        expect(text).toContain('asked too often');
        expect(html).not.toContain('<img');
        expect(html).not.toContain('<script>x');
      });

      test('of an operator say who asked for what, and how to ask again', async () => {
        await post('start', { symbols: 'AAPL MSFT', from: '2025-11-03', to: '2025-11-07' });
        const [{ requestId }] = await requests();
        const runId = await addRun('backfill', 'failed', 'the key was refused (401)');
        await world.sql`
          update job_requests set run_id = ${runId}, state = 'failed', message = 'no luck',
            finished_at = now() where request_id = ${requestId}`;
        const { html } = await get(`${PATH}/runs/${runId}`);
        const text = textOf(html);
        expect(text).toContain(`Request ${requestId} Backfill of AAPL, MSFT, days, 2025-11-03 to`);
        expect(text).toContain('asked for by page');
        expect(text).toContain('No luck');
        expect(text).toContain('Failed the key was refused (401)');
        const again = /href="([^"]+)">Ask for the same again/.exec(html)![1];
        const form = await get(again.replaceAll('&amp;', '&'));
        expect(form.html).toContain('AAPL MSFT</textarea>');
        expect(form.html).toContain('name="to" value="2025-11-07"');
      });

      test('under way are polled more often, and say how far they are', async () => {
        const runId = await insertRun(world.sql, {
          job: 'backfill',
          origin: 'schedule',
          total: 40,
        });
        await updateRun(world.sql, runId, { ...NONE, requests: 12, done: 10 });
        await world.sql`
          update job_runs set started_at = ${new Date(Date.parse(NOW) - 60_000)}
          where run_id = ${runId}`;
        for (const path of [PATH, `${PATH}/runs`, `${PATH}/runs/${runId}`]) {
          const { html } = await get(path);
          expect(html).toContain('<progress max="40" value="10"');
          const text = textOf(html);
          expect(text).toContain('10 of 40');
          expect(text).toContain('about 3 min left');
          expect(text).toContain('1 min 0 s');
        }
        // Nobody asked for it here: it is not cancelled here.
        expect((await get(PATH)).html).not.toContain('cancel-form');
        await finishRun(world.sql, runId, 'succeeded', null);
        expect((await get(PATH)).html).not.toContain('<progress');
      });
    });

    describe('in a browser', () => {
      test('a backfill is previewed, started and watched, and typing survives', async () => {
        await using _worker = await startWorker(world);
        const held = holdBars(world.vendor(), 1);
        const { page, problems, hosts, close } = await openTab();
        await page.goto(`${site.url}${PATH}`);
        await page.evaluate(() => {
          document.title = 'the same page';
        });
        await page.getByLabel('Symbols').fill('MSFT, NVDA, NEWONE');
        await page.getByLabel('From session').fill(FIRST);
        await page.getByRole('button', { name: 'Preview the cost' }).click();
        await shows(page, '#preview', 'Backfill of MSFT, NEWONE, NVDA, days, 2025-10-01');
        expect(await page.getByLabel('Symbols').inputValue()).toBe('MSFT, NVDA, NEWONE');
        expect(await page.getByLabel('From session').inputValue()).toBe(FIRST);
        await page.getByRole('button', { name: 'Start' }).click();
        await shows(page, '#notices', 'is in the queue: Backfill of MSFT, NEWONE, NVDA');
        expect(await page.locator('#preview').count()).toBe(0);
        await shows(page, '.jobs li', 'Running');
        await shows(page, '.jobs li', ' of 10');
        await page.getByLabel('Symbols').fill('half of a wo');
        await page.getByLabel('Symbols').focus();
        held.release();
        await shows(page, '[id^=closed-]', 'Succeeded');
        await shows(page, '.empty', 'Nothing waits and nothing runs');
        expect(await page.getByLabel('Symbols').inputValue()).toBe('half of a wo');
        expect(await page.evaluate(() => document.activeElement?.id)).toBe('ask-symbols');
        await shows(page, '#runs ~ .scroll tr', 'Succeeded');
        await page.locator('[id^=run-] a').first().click();
        await shows(page, 'h2', 'Symbols 3');
        await shows(page, '[id^=result-]', 'NEWONE');
        const [{ bars }] = await world.sql`
          select count(*)::int as bars from bars_1d join symbol_ranges using (instrument_id)
          where symbol in ('MSFT', 'NVDA', 'NEWONE')`;
        expect(bars).toBe(3 * CALENDAR.sessions(toDay(FIRST), toDay('2026-01-07')).length);
        expect(problems).toEqual([]);
        expect([...hosts]).toEqual([new URL(site.url).host]);
        await close();
      });

      test('a backfill is started and cancelled with the keyboard alone', async () => {
        await using _worker = await startWorker(world);
        const held = holdBars(world.vendor());
        const { page, problems, close } = await openTab();
        await page.goto(`${site.url}${PATH}?symbols=MSFT&retry=1&from=${FIRST}`);
        const tabTo = async (selector: string) => {
          for (let i = 0; i < 60; i++) {
            await page.keyboard.press('Tab');
            const isThere = await page.evaluate(
              (wanted) => document.activeElement?.matches(wanted),
              selector,
            );
            if (isThere) return;
          }
          throw new Error(`${selector} cannot be reached with the keyboard`);
        };
        await tabTo('#ask-timeframe');
        await page.keyboard.press('m');
        await page.keyboard.press('i');
        await tabTo('#ask-preview');
        await page.keyboard.press('Enter');
        await shows(page, '#preview', 'Backfill of MSFT');
        await tabTo('#start');
        await page.keyboard.press('Enter');
        await shows(page, '.jobs li', 'Running');
        await tabTo('.cancel summary');
        await page.keyboard.press('Enter');
        await tabTo('.cancel button');
        await page.keyboard.press('Enter');
        await shows(page, '[id^=closed-]', 'Cancelled');
        await shows(page, '[id^=closed-]', 'what was committed stays');
        await shows(page, '[id^=run-]', 'Interrupted');
        held.release();
        expect(problems).toEqual([]);
        const [request] = await requests();
        expect(request).toMatchObject({ state: 'cancelled', kind: 'backfill' });
        await close();
        await until(async () => {
          const [{ open }] = await world.sql`
            select count(*)::int as open from job_runs where state = 'running'`;
          return open === 0 || undefined;
        });
      });

      test('what is refused is told without losing what was typed', async () => {
        const { page, problems, close } = await openTab();
        await page.goto(`${site.url}${PATH}`);
        await page.getByLabel('Symbols').fill('AAPL ^%$');
        await page.keyboard.press('Tab');
        await page.getByRole('button', { name: 'Preview the cost' }).click();
        await shows(page, '#notices', 'Line 1: "^%$" is not a symbol');
        expect(await page.getByLabel('Symbols').inputValue()).toBe('AAPL ^%$');
        expect(await page.getByLabel('Symbols').getAttribute('aria-invalid')).toBe('true');
        expect(problems).toEqual([]);
        await close();
      });

      test('runs are filtered in place, and the address keeps it', async () => {
        for (const job of ['backfill', 'reconcile'] as const) {
          const run = { job, origin: 'schedule', total: 1 } as const;
          await finishRun(world.sql, await insertRun(world.sql, run), 'succeeded', null);
        }
        const { page, problems, close } = await openTab();
        await page.goto(`${site.url}${PATH}/runs`);
        expect(await page.locator('[id^=run-]').count()).toBe(2);
        await page.getByLabel('Job').selectOption('reconcile');
        await shows(page, '.pager', '1 run');
        await page.waitForURL('**/runs?job=reconcile');
        expect(await page.locator('[id^=run-]').textContent()).toContain('reconcile');
        // A poll goes on with the filter.
        await addOne(world, 'reconcile');
        await shows(page, '.pager', '2 runs');
        expect(problems).toEqual([]);
        await close();
      });
    });
  });
}

async function addOne(world: World, job: string): Promise<void> {
  const run = { job, origin: 'schedule', total: 1 } as const;
  await finishRun(world.sql, await insertRun(world.sql, run), 'succeeded', null);
}
