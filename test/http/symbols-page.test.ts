import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import type { Page } from 'playwright-core';
import { type AppContext, makeApp } from '../../src/http/app.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { deleteSymbols, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { HOSTILE, openSite, openTab, type Site, shows, useBrowser } from '../fixtures/browser.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

const ROOT = '/dashboard/symbols';
/** After the night's run: the session of Friday, 1 March 2024, is the latest that is published. */
const NOW = Date.parse('2024-03-04T03:00:00Z');
const SESSIONS = sessionsFrom('2023-11-01', 100);
const FRESH = SESSIONS.filter((session) => session <= '2024-03-01');

useBrowser();

interface World {
  database: Database;
  context: AppContext;
  app: ReturnType<typeof makeApp>;
}

/** The pages over a database of their own. */
function useWorld(url: () => string, edition: () => AppContext['edition']): () => World {
  let world: World | undefined;
  beforeAll(() => {
    const database = openDatabase(url());
    const context = makeAppContext(database, edition(), { now: () => NOW });
    world = { database, context, app: makeApp(context) };
  });
  afterAll(() => world?.database.close());
  return () => {
    if (!world) throw new Error('there is a world only inside tests and hooks');
    return world;
  };
}

/** Symbols of the list, in the order shown. */
const listed = (html: string) =>
  [...html.matchAll(/<th scope="row"><a [^>]*>([^<]*)<\/a>/g)].map(([, symbol]) => symbol);

const text = (html: string) =>
  html
    .replace(/<[^>]*>/g, ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&#34;', '"')
    .replace(/\s+/g, ' ')
    .trim();

/** What the notice says. */
const told = (html: string) =>
  text(/<div id="notices"[^>]*>([\s\S]*?<\/div>)/.exec(html)?.[1] ?? 'no notice');

/** What is held of four symbols, of which one is not tracked. */
async function fill({ database, context }: World): Promise<void> {
  const { write } = database;
  await write`truncate job_requests`;
  await upsertSymbols(write, ['AAA', 'BBB', 'CCC', 'DDD']);
  const bars: [symbol: string, count: number][] = [
    ['AAA', 20],
    ['BBB', FRESH.length],
    ['CCC', 5],
  ];
  for (const [symbol, count] of bars) {
    const id = await addInstrument(write, symbol);
    await ingest(
      write,
      id,
      FRESH.slice(-count).map((session) => flatBar(session)),
    );
  }
  await deleteSymbols(write, ['CCC']);
  await write`
    update instruments i set name = x.name, exchange = x.exchange, timeframes = x.timeframes
    from (values ('AAA', 'Zebra Holdings', 'XNYS', '{1d,1m}'::text[]),
                 ('BBB', 'Aardvark Inc.', 'XNAS', '{1d}'::text[])) as x(symbol, name, exchange,
                 timeframes)
    join symbol_ranges r using (symbol)
    where r.instrument_id = i.instrument_id`;
  context.overview.clear();
}

describeEditions('the list of symbols', (database) => {
  const world = useWorld(
    () => database().url,
    () => database().edition,
  );
  const get = async (query = '', path = ROOT) => {
    const response = await world().app.handle(new Request(`http://localhost${path}${query}`));
    return { status: response.status, html: await response.text(), headers: response.headers };
  };
  const post = (path: string, body: URLSearchParams | FormData, headers: object = {}) =>
    world().app.handle(
      new Request(`http://localhost${ROOT}${path}`, {
        method: 'POST',
        body,
        headers: { host: 'localhost', ...headers },
      }),
    );
  const send = async (path: string, fields: [string, string | File][], headers: object = {}) => {
    const form = path.startsWith('/add') ? new FormData() : new URLSearchParams();
    for (const [name, value] of fields) form.append(name, value as string);
    const response = await post(path, form, headers);
    return { status: response.status, html: await response.text(), headers: response.headers };
  };
  const HTMX = { 'hx-request': 'true' };
  const sql = () => world().database.write;
  const tracked = async () => {
    const rows = await sql()<{ symbol: string }[]>`
      select symbol from instruments join symbol_ranges using (instrument_id)
      where is_tracked order by symbol collate "C"`;
    return rows.map(({ symbol }) => symbol);
  };
  const forget = async () => {
    await sql()`truncate audit_log, job_requests`;
    await sql()`
      update instruments i set is_tracked = r.symbol in ('AAA', 'BBB', 'DDD'),
        timeframes = case r.symbol when 'AAA' then '{1d,1m}'::text[] else '{1d}' end
      from symbol_ranges r where r.instrument_id = i.instrument_id`;
    world().context.overview.clear();
  };
  const audit = async () => {
    const rows = await sql()<{ line: string }[]>`
      select actor || ' ' || action || ' ' || target as line from audit_log order by audit_id`;
    return rows.map(({ line }) => line);
  };

  test('of an empty warehouse says what to do', async () => {
    const { status, html } = await get();
    expect(status).toBe(200);
    expect(text(html)).toContain('No symbols yet');
    expect(html).toContain('marketd symbols add AAPL');
    expect(html).toMatch(/<details class="panel add-symbols" id="add" open>/);
    await fill(world());
  });

  test('has all that is tracked or held, with what is known of it', async () => {
    const { html } = await get();
    expect(listed(html)).toEqual(['AAA', 'BBB', 'CCC', 'DDD']);
    const row = (symbol: string) =>
      text(html.slice(html.indexOf(`>${symbol}</a>`) + 1).split('</tr>')[0]);
    expect(row('AAA')).toStartWith(
      `AAA Zebra Holdings Good Yes 1d 1m 20 ${FRESH.at(-20)} 2024-03-01 100 % XNYS Change`,
    );
    expect(row('CCC')).toStartWith(
      `CCC Not tracked No 1d 5 ${FRESH.at(-5)} 2024-03-01 100 % Change`,
    );
    expect(row('CCC')).toContain('Track again');
    expect(row('DDD')).toStartWith('DDD comes with the next backfill No bars Yes 1d 0 Change');
    expect(row('DDD')).toContain('Remove');
    expect(html).toContain('href="/dashboard/symbols/AAA"');
    expect(text(html)).toContain('All 4 Tracked 3 Not tracked 1 No bars 1 Good 2');
  });

  const orders: [query: string, symbols: string[]][] = [
    ['', ['AAA', 'BBB', 'CCC', 'DDD']],
    ['?sort=symbol&dir=desc', ['DDD', 'CCC', 'BBB', 'AAA']],
    ['?sort=name', ['BBB', 'AAA', 'CCC', 'DDD']],
    ['?sort=exchange', ['BBB', 'AAA', 'CCC', 'DDD']],
    ['?sort=tracked&dir=desc', ['CCC', 'AAA', 'BBB', 'DDD']],
    ['?sort=timeframes&dir=desc', ['AAA', 'BBB', 'CCC', 'DDD']],
    ['?sort=records&dir=desc', ['BBB', 'AAA', 'CCC', 'DDD']],
    ['?sort=start', ['BBB', 'AAA', 'CCC', 'DDD']],
    ['?sort=end&dir=desc', ['AAA', 'BBB', 'CCC', 'DDD']],
    ['?sort=validation', ['AAA', 'BBB', 'CCC', 'DDD']],
    ['?sort=state', ['DDD', 'CCC', 'AAA', 'BBB']],
    ['?q=aa', ['AAA', 'BBB']],
    ['?q=zebra', ['AAA']],
    ['?q=%20DDD%20', ['DDD']],
    ['?state=tracked', ['AAA', 'BBB', 'DDD']],
    ['?state=untracked', ['CCC']],
    ['?state=no_bars', ['DDD']],
    ['?state=good&q=b&sort=name', ['BBB', 'AAA']],
    ['?page=9', ['AAA', 'BBB', 'CCC', 'DDD']],
  ];
  for (const [query, symbols] of orders) {
    test(`sorted and filtered by ${query}`, async () => {
      const { status, html } = await get(query);
      expect([status, listed(html)]).toEqual([200, symbols]);
      const part = await get(query, `${ROOT}/status`);
      expect(listed(part.html)).toEqual(symbols);
    });
  }

  test('says how it is sorted, and keeps that in links, forms and polls', async () => {
    const { html } = await get('?q=a&state=tracked&sort=records&dir=desc');
    expect(html).toMatch(
      /<th scope="col" class="number" aria-sort="descending"><a [^>]*><span>Bars/,
    );
    expect(html).toContain(
      'hx-get="/dashboard/symbols/status?q=a&state=tracked&sort=records&dir=desc"',
    );
    expect(html).toContain(
      'action="/dashboard/symbols/tracking?q=a&state=tracked&sort=records&dir=desc"',
    );
    expect(html).toMatch(/<input type="hidden" form="find-symbols" name="sort" value="records"/);
    expect(html).toMatch(/<a [^>]*aria-current="true"[^>]*><span>Tracked<\/span>/);
    expect(html).toMatch(/<input id="find" type="search" name="q" value="a"/);
  });

  test('says that nothing matches, and what to do', async () => {
    const { html } = await get('?q=nobody%3Cb%3E');
    expect(listed(html)).toEqual([]);
    expect(text(html)).toContain('No symbol matches Nothing holds “nobody&lt;b&gt;”.');
    expect(text(html)).toContain('Show all symbols');
  });

  const bad = ['?sort=price', '?dir=up', '?page=0', '?state=x', `?q=${'a'.repeat(101)}`];
  test.each(bad)('refuses %p', async (query) => {
    expect((await get(query)).status).toBe(422);
    expect((await get(query, `${ROOT}/status`)).status).toBe(422);
  });

  test('is answered with 304 until something changes', async () => {
    const ask = (tag: string) =>
      world().app.handle(
        new Request(`http://localhost${ROOT}/status`, { headers: { 'if-none-match': tag } }),
      );
    const tag = (await get('', `${ROOT}/status`)).headers.get('etag')!;
    expect((await ask(tag)).status).toBe(304);
    await upsertSymbols(sql(), ['EEE']);
    world().context.overview.clear();
    expect((await ask(tag)).status).toBe(200);
    await deleteSymbols(sql(), ['EEE']);
    world().context.overview.clear();
    expect((await ask(tag)).status).toBe(304);
  });

  describe('adding', () => {
    beforeEach(forget);

    test('what is typed, and what is tracked again; the history is asked for', async () => {
      const typed = 'nnn, CCC\nAAA BRK.X';
      const { status, html } = await send(
        '/add?sort=records&dir=desc',
        [
          ['symbols', typed],
          ['timeframes', '1h'],
          ['load', 'yes'],
        ],
        { ...HTMX, 'hx-current-url': `http://localhost${ROOT}?q=n&state=no_bars` },
      );
      expect(status).toBe(200);
      expect(told(html)).toBe(
        'Attention 2 symbols added: NNN, BRK.X. Tracked again: CCC. Tracked already, and left as ' +
          'they are: AAA. The history of 3 symbols waits in the queue: no process runs jobs now. ' +
          'Watch it',
      );
      // The list is what the address of the page says, which moved on without a load.
      expect(listed(html)).toEqual(['NNN']);
      expect(await tracked()).toEqual(['AAA', 'BBB', 'BRK.X', 'CCC', 'DDD', 'NNN']);
      const rows = await sql()<{ timeframes: string[] }[]>`
        select timeframes from instruments join symbol_ranges using (instrument_id)
        where symbol in ('AAA', 'CCC', 'NNN') order by symbol`;
      expect(rows.map(({ timeframes }) => timeframes.join())).toEqual(['1d,1m', '1d,1h', '1d,1h']);
      const jobs = await sql()<{ kind: string; text: string }[]>`
        select kind, arguments::text as text from job_requests order by request_id`;
      expect(jobs.map(({ kind }) => kind)).toEqual(['backfill', 'backfill']);
      for (const symbol of ['"NNN"', '"BRK.X"', '"CCC"']) expect(jobs[0].text).toContain(symbol);
      expect(jobs[0].text).not.toContain('"AAA"');
      expect(jobs[0].text).toContain('2019-03-03'); // five years
      expect(jobs[1].text).toContain('2023-12-04'); // ninety days below a day
      expect((await audit()).sort()).toEqual([
        ...['page job.start', 'page job.start'].map((line) => expect.stringContaining(line)),
        ...['page symbol.track BRK.X', 'page symbol.track CCC', 'page symbol.track NNN'],
      ] as never);
    });

    test('a table with a column "ticker", and loads nothing unless asked to', async () => {
      const table = 'name;Ticker\n"Tesla; Inc.";TSLA\nNvidia;NVDA\n';
      const { html } = await send('/add', [['symbols', table]], HTMX);
      expect(told(html)).toBe(
        'Done 2 symbols added: TSLA, NVDA. Bars and names come with the next backfill.',
      );
      expect(await sql()`select from job_requests`).toHaveLength(0);
    });

    test('a file beside what is typed', async () => {
      const file = new File(['# mine\nFILEA\nFILEB\n'], 'list.txt', { type: 'text/plain' });
      const fields: [string, string | File][] = [
        ['symbols', 'TYPED'],
        ['file', file],
      ];
      const { html } = await send('/add', fields, HTMX);
      expect(told(html)).toContain('3 symbols added: TYPED, FILEA, FILEB.');
    });

    const refused: [what: string, fields: [string, string | File][], says: string][] = [
      ['nothing', [['symbols', ' \n']], 'Type the symbols to add, or choose a file'],
      ['comments', [['symbols', '# none']], 'There is no symbol in it'],
      [
        'wrong lines, each named',
        [['symbols', 'GOOD1\nA^B\nGOOD2, <b>']],
        'Line 2: "A^B", line 3: "&lt;b&gt;" are not symbols',
      ],
      [
        'a timeframe',
        [
          ['symbols', 'GOOD1'],
          ['timeframes', '5m'],
        ],
        '"5m" is not a timeframe',
      ],
      [
        'a wrong file beside good symbols',
        [
          ['symbols', 'GOOD1'],
          ['file', new File(['GOOD2\nNOT GOOD\n'], 'my.csv')],
        ],
        'my.csv, line 2: "NOT GOOD" is not a symbol',
      ],
      [
        'what is no text',
        [['file', new File(['PK\0\0'], 'book.xlsx')]],
        'book.xlsx is no text: save it as CSV',
      ],
      [
        'a file that is too large',
        [['file', new File([`symbol\n${'AAAA\n'.repeat(220_000)}`], 'big.csv')]],
        'at most 1048576',
      ],
    ];
    for (const [what, fields, says] of refused) {
      test(`refuses ${what}, and adds nothing`, async () => {
        const before = await tracked();
        const shown = await send('/add', fields, HTMX);
        expect(shown.status).toBe(200);
        expect(told(shown.html)).toContain(`Not done`);
        expect(told(shown.html)).toContain(says);
        const plain = await send('/add', fields);
        expect(plain.status).toBe(422);
        expect(told(plain.html)).toContain(says);
        expect(await tracked()).toEqual(before);
        expect(await audit()).toEqual([]);
      });
    }

    test('that is refused without JavaScript keeps what was typed', async () => {
      const fields: [string, string][] = [
        ['symbols', `</textarea>${HOSTILE}`],
        ['timeframes', '1m'],
      ];
      const { html } = await send('/add', fields);
      expect(html).toMatch(/<details class="panel add-symbols" id="add" open>/);
      expect(html).toMatch(/<textarea [^>]*>&lt;\/textarea&gt;|<textarea [^>]*>&lt;\/textarea>/);
      expect(html).not.toContain('<img');
      expect(html).toMatch(/<input type="checkbox" id="new-1m"[^>]* checked/);
      expect(html).not.toMatch(/<input type="checkbox" id="load-history"[^>]* checked/);
    });

    test('without JavaScript goes back to the list, which tells it once', async () => {
      const { status, headers } = await send('/add?q=plain', [['symbols', 'PLAIN']]);
      expect([status, headers.get('location')]).toEqual([303, `${ROOT}?q=plain`]);
      const cookie = headers.get('set-cookie')!.split(';')[0];
      const page = await world().app.handle(
        new Request(`http://localhost${ROOT}?q=plain`, { headers: { cookie } }),
      );
      const html = await page.text();
      expect(told(html)).toBe(
        'Done 1 symbol added: PLAIN. Bars and names come with the next backfill.',
      );
      expect(listed(html)).toEqual(['PLAIN']);
      expect(page.headers.get('set-cookie')).toContain('Max-Age=0');
    });

    test('what is tracked already is said to be', async () => {
      const { html } = await send('/add', [['symbols', 'AAA']], HTMX);
      expect(told(html)).toBe('Note Tracked already, and left as they are: AAA.');
      expect(await audit()).toEqual([]);
    });

    test('of more than a request can name asks for all that is tracked', async () => {
      const many = Array.from({ length: 1_001 }, (_, i) => `MANY${i}`);
      const fields: [string, string][] = [
        ['symbols', many.join('\n')],
        ['load', 'yes'],
      ];
      const { html } = await send('/add', fields, HTMX);
      expect(told(html)).toContain(
        '1,001 symbols added: MANY0, MANY1, MANY2, MANY3, MANY4 and 996',
      );
      const [{ symbols }] = await sql()`select arguments->'symbols' as symbols from job_requests`;
      expect(symbols ?? null).toBeNull();
    });
  });

  describe('removing and tracking again', () => {
    beforeEach(forget);

    test('several, with a way back', async () => {
      const fields: [string, string][] = [
        ['do', 'remove'],
        ['symbols', 'AAA'],
        ['symbols', 'BBB'],
        ['symbols', 'CCC'],
      ];
      const { html } = await send('/tracking', fields, HTMX);
      expect(told(html)).toStartWith(
        'Done Removed from tracking: AAA, BBB. What is held of them stays.',
      );
      expect(html).toMatch(/<input type="hidden" name="symbols" value="AAA BBB"/);
      expect(html).toContain('hx-post="/dashboard/symbols/tracking"');
      expect(await tracked()).toEqual(['DDD']);
      const undo: [string, string][] = [
        ['do', 'track'],
        ['symbols', 'AAA BBB'],
      ];
      expect(told((await send('/tracking', undo, HTMX)).html)).toBe(
        'Done Tracked again: AAA, BBB.',
      );
      expect(await tracked()).toEqual(['AAA', 'BBB', 'DDD']);
      expect(await audit()).toEqual([
        ...['page symbol.untrack AAA', 'page symbol.untrack BBB'],
        ...['page symbol.track AAA', 'page symbol.track BBB'],
      ]);
      const [bars] = await sql()`select count(*)::int as count from bars_1d`;
      expect(bars.count).toBe(20 + FRESH.length + 5);
    });

    test('without JavaScript keeps the way back in what is told', async () => {
      const { status, headers } = await send('/tracking?page=2', [
        ['do', 'remove'],
        ['symbols', 'AAA'],
      ]);
      expect([status, headers.get('location')]).toEqual([303, `${ROOT}?page=2`]);
      const cookie = headers.get('set-cookie')!.split(';')[0];
      const page = await world().app.handle(
        new Request(`http://localhost${ROOT}`, { headers: { cookie } }),
      );
      const html = await page.text();
      expect(told(html)).toContain('Undo');
      expect(html).toMatch(/<form method="post" action="\/dashboard\/symbols\/tracking"/);
    });

    const refused: [what: string, fields: [string, string][], says: string][] = [
      ['none', [['do', 'remove']], 'Select symbols first'],
      [
        'an action that is none',
        [
          ['do', 'sell'],
          ['symbols', 'AAA'],
        ],
        'remove or track',
      ],
    ];
    for (const [what, fields, says] of refused) {
      test(`refuses ${what}`, async () => {
        const { status, html } = await send('/tracking', fields);
        expect([status, told(html)]).toEqual([422, expect.stringContaining(says)] as never);
        expect(await tracked()).toEqual(['AAA', 'BBB', 'DDD']);
      });
    }

    test('what changes nothing is said to', async () => {
      const track: [string, string][] = [
        ['do', 'track'],
        ['symbols', 'AAA'],
      ];
      expect(told((await send('/tracking', track, HTMX)).html)).toContain('tracked already');
      const remove: [string, string][] = [
        ['do', 'remove'],
        ['symbols', 'CCC'],
      ];
      expect(told((await send('/tracking', remove, HTMX)).html)).toContain(
        'None of them is tracked',
      );
    });

    test('refuses what a page of another site sends', async () => {
      const foreign = { 'sec-fetch-site': 'cross-site' };
      const fields: [string, string][] = [
        ['do', 'remove'],
        ['symbols', 'AAA'],
        ['symbol', 'AAA'],
      ];
      for (const path of ['/tracking', '/timeframes', '/add']) {
        expect([path, (await send(path, fields, foreign)).status]).toEqual([path, 403]);
      }
      expect(await tracked()).toEqual(['AAA', 'BBB', 'DDD']);
    });
  });

  test('timeframes are changed, and said to be', async () => {
    await forget();
    const change = (...timeframes: string[]) =>
      send(
        '/timeframes',
        [['symbol', 'AAA'], ...timeframes.map((one): [string, string] => ['timeframes', one])],
        HTMX,
      );
    const { html } = await change('1h');
    expect(told(html)).toBe('Done AAA is filled with 1d, 1h from the next night on.');
    expect(html).toMatch(/<input type="checkbox" id="fill-\d+-1h"[^>]* value="1h" checked/);
    expect(told((await change('1h')).html)).toBe('Note AAA is filled with 1d, 1h as before.');
    expect(told((await change()).html)).toBe('Done AAA is filled with 1d from the next night on.');
    expect(told((await change('1w')).html)).toContain('Not done');
    expect(told((await send('/timeframes', [], HTMX)).html)).toContain('is not a symbol');
    const nobody = await send('/timeframes', [['symbol', 'NOPE']], HTMX);
    expect(told(nobody.html)).toContain('There is no symbol');
    expect(await audit()).toEqual(['page symbol.timeframes AAA', 'page symbol.timeframes AAA']);
  });
});

describeEditions('the list of 10,000 symbols', (database) => {
  const world = useWorld(
    () => database().url,
    () => database().edition,
  );
  const names = Array.from({ length: 10_000 }, (_, i) => `S${String(i).padStart(5, '0')}`);
  const page = async (query: string) => {
    const response = await world().app.handle(new Request(`http://localhost${ROOT}${query}`));
    return response.text();
  };

  test('is paged, fifty a page', async () => {
    await upsertSymbols(world().database.write, names);
    const first = await page('');
    expect(listed(first)).toEqual(names.slice(0, 50));
    expect(text(first)).toContain('10,000 symbols');
    expect(text(first)).toContain('page 1 of 200');
    const last = await page('?page=200');
    expect(listed(last)).toEqual(names.slice(-50));
    expect(listed(await page('?page=201'))).toEqual(names.slice(-50));
    expect(listed(await page('?sort=symbol&dir=desc&page=2'))).toEqual(
      names.toReversed().slice(50, 100),
    );
    expect(listed(await page('?q=s0999'))).toEqual(names.slice(9_990));
    expect(first.length).toBeLessThan(150_000);
  });
});

describeEditions('the page of symbols in a browser', (database) => {
  const world = useWorld(
    () => database().url,
    () => database().edition,
  );
  let site: Site;
  beforeAll(async () => {
    await fill(world());
    const more = Array.from({ length: 60 }, (_, i) => `M${String(i).padStart(2, '0')}`);
    await upsertSymbols(world().database.write, more);
    site = await openSite(world().context);
  });
  afterAll(() => site?.stop());

  const rows = (page: Page) => page.locator('tbody th a').allTextContents();
  const row = (page: Page, symbol: string) =>
    page.locator('tbody tr', { has: page.locator('th a', { hasText: symbol }) });
  const open = async (query = '', options = {}) => {
    const tab = await openTab(options);
    await tab.page.goto(`${site.url}${ROOT}${query}`);
    return tab;
  };

  test('sorts, filters, shows states and pages without a load', async () => {
    const { page, problems, close } = await open();
    await page.evaluate(() => {
      document.body.dataset.loaded = 'once';
    });
    await page.getByRole('link', { name: 'Bars', exact: true }).click();
    await page.waitForURL('**/symbols?sort=records&dir=desc');
    await page.locator('th[aria-sort=descending]', { hasText: 'Bars' }).waitFor();
    expect((await rows(page)).slice(0, 3)).toEqual(['BBB', 'AAA', 'CCC']);
    await page.getByRole('link', { name: 'Next page' }).click();
    await shows(page, '.pager', 'page 2 of 2');
    expect(await rows(page)).toHaveLength(14);
    await page.getByRole('link', { name: 'Tracked 63', exact: true }).click();
    await page.waitForURL('**/symbols?state=tracked&sort=records&dir=desc');
    // Typing filters what is shown, sorted and in the state as before.
    await page.getByLabel('Symbol or name').pressSequentially('zeb');
    await page.waitForURL('**/symbols?*q=zeb*');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    expect(await rows(page)).toEqual(['AAA']);
    const { searchParams } = new URL(page.url());
    expect(Object.fromEntries(searchParams)).toEqual({
      ...{ q: 'zeb', state: 'tracked', sort: 'records', dir: 'desc' },
    });
    expect(await page.evaluate(() => document.body.dataset.loaded)).toBe('once');
    await page.reload();
    expect(await rows(page)).toEqual(['AAA']);
    expect(problems).toEqual([]);
    await close();
  });

  test('adds what is typed; typing, a selection and what is open outlast polls', async () => {
    const { page, problems, polls, close } = await open();
    await page.locator('#add > summary').click();
    await page.getByLabel('Symbols', { exact: true }).fill('half');
    await row(page, 'BBB').getByRole('checkbox', { name: 'Select BBB' }).check();
    await row(page, 'DDD').locator('summary').click();
    await row(page, 'DDD').getByLabel('1m').check();
    const before = polls.length;
    await upsertSymbols(world().database.write, ['AAB']);
    await row(page, 'AAB').waitFor();
    expect(polls.length).toBeGreaterThan(before);
    expect(await page.getByLabel('Symbols', { exact: true }).inputValue()).toBe('half');
    expect(await page.locator('#add').evaluate((one) => (one as HTMLDetailsElement).open)).toBe(
      true,
    );
    const selected = row(page, 'BBB').getByRole('checkbox', { name: 'Select BBB' });
    expect(await selected.isChecked()).toBe(true);
    expect(await row(page, 'DDD').getByLabel('1m').isChecked()).toBe(true);
    await page.getByLabel('Symbols', { exact: true }).fill('aac A^D');
    await page.getByRole('button', { name: 'Add' }).click();
    await shows(page, '#notices', 'line 1: "A^D" is not a symbol');
    expect(await page.getByLabel('Symbols', { exact: true }).inputValue()).toBe('aac A^D');
    await page.getByLabel('Symbols', { exact: true }).fill('aac AAD');
    await page.getByRole('button', { name: 'Add' }).click();
    await shows(page, '#notices', '2 symbols added: AAC, AAD.');
    await row(page, 'AAC').waitFor();
    await page.waitForFunction(() => {
      return document.querySelector<HTMLTextAreaElement>('#new-symbols')?.value === '';
    });
    expect(problems).toEqual([]);
    await close();
  });

  test('adds what a file holds', async () => {
    const { page, problems, close } = await open('?q=UPL');
    await page.locator('#add > summary').click();
    await page.locator('#symbols-file').setInputFiles({
      name: 'mine.csv',
      mimeType: 'text/csv',
      buffer: Buffer.from('name,symbol\nOne,UPLA\nTwo,UPLB\n'),
    });
    await page.getByRole('button', { name: 'Add' }).click();
    await shows(page, '#notices', '2 symbols added: UPLA, UPLB.');
    await row(page, 'UPLB').waitFor();
    expect(await rows(page)).toEqual(['UPLA', 'UPLB']);
    expect(problems).toEqual([]);
    await close();
  });

  test('removes those selected, and takes it back', async () => {
    const { page, problems, close } = await open('?state=tracked&q=M0');
    await page.getByLabel('Select all on this page').check();
    await shows(page, '#selected-count', '10 selected');
    await page.getByLabel('Select M03').uncheck();
    await page.getByRole('button', { name: 'Remove from tracking' }).click();
    await shows(page, '#notices', 'Removed from tracking: M00, M01, M02, M04, M05 and 4 more.');
    await row(page, 'M00').waitFor({ state: 'detached' });
    expect(await rows(page)).toEqual(['M03']);
    await page.getByRole('button', { name: 'Undo' }).click();
    await shows(page, '#notices', 'Tracked again: M00, M01, M02, M04, M05 and 4 more.');
    await row(page, 'M00').waitFor();
    expect(await rows(page)).toHaveLength(10);
    expect(problems).toEqual([]);
    await close();
  });

  test('changes timeframes and tracking of a row by the keyboard alone', async () => {
    const { page, problems, close } = await open('?q=M1');
    await page.getByRole('link', { name: 'M10', exact: true }).focus();
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe(
      'Change M10',
    );
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await shows(page, '#notices', 'M10 is filled with 1d, 1h from the next night on.');
    await row(page, 'M10').getByText('1d 1h', { exact: true }).waitFor();
    // The focus stays where it was, and what was opened stays open.
    expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe('Save');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await shows(page, '#notices', 'Removed from tracking: M10.');
    expect(problems).toEqual([]);
    await close();
  });

  test('works without JavaScript: adds, removes, takes it back', async () => {
    const { page, close } = await open('?q=NOJS', { javaScriptEnabled: false });
    await page.locator('#add > summary').click();
    await page.getByLabel('Symbols', { exact: true }).fill('NOJSA\nNOJSB');
    await page.getByRole('button', { name: 'Add' }).click();
    await shows(page, '#notices', '2 symbols added: NOJSA, NOJSB.');
    expect(await rows(page)).toEqual(['NOJSA', 'NOJSB']);
    await page.getByLabel('Select NOJSA').check();
    await page.getByRole('button', { name: 'Remove from tracking' }).click();
    await shows(page, '#notices', 'Removed from tracking: NOJSA.');
    // It had no bars: now nothing is held of it, and nobody fills it.
    expect(await rows(page)).toEqual(['NOJSB']);
    await page.getByRole('button', { name: 'Undo' }).click();
    await shows(page, '#notices', 'Tracked again: NOJSA.');
    await page.goto(`${site.url}${ROOT}?q=NOJS`);
    expect(await rows(page)).toEqual(['NOJSA', 'NOJSB']);
    expect(await page.locator('#notices').textContent()).toBe('');
    await close();
  });
});
