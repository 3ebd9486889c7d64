import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Page } from 'playwright-core';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { cloneDatabase, type TestDatabase } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { openTab, shows, useBrowser } from '../fixtures/browser.ts';
import { FrameSite } from '../fixtures/frame-site.tsx';

useBrowser();

/** Waits until the page has asked again, and what came is in place. */
async function polled(page: Page): Promise<void> {
  await page.waitForResponse((response) => response.url().includes('/rows/status'));
  await page.waitForFunction(() => !document.querySelector('.htmx-request, .htmx-swapping'));
}

const listed = (page: Page) => page.locator('#list li').locator('label').allTextContents();

describe('the frame of the pages', () => {
  let clone: TestDatabase;
  let database: Database;
  let site: FrameSite;
  let page: Page;
  let problems: string[];
  let close: () => Promise<void>;

  beforeAll(async () => {
    // Nothing of it is asked of a database.
    clone = await cloneDatabase('plain');
    database = openDatabase(clone.url);
    site = new FrameSite(makeAppContext(database, clone.edition));
  });

  afterAll(async () => {
    await close?.();
    await site?.stop();
    await database?.close();
    await clone?.drop();
  });

  /** The page anew, with its first rows. */
  async function open(): Promise<void> {
    await close?.();
    site.rows = ['one', 'two', 'three'];
    site.status = 200;
    site.sent = [];
    ({ page, problems, close } = await openTab());
    await page.goto(site.url);
  }

  describe('a poll', () => {
    test('shows what has changed', async () => {
      await open();
      expect(await listed(page)).toEqual(['one', 'two', 'three']);
      site.rows = ['one', 'two', 'three', 'four'];
      await page.locator('#row-four').waitFor();
      expect(problems).toEqual([]);
    });

    test('keeps what is typed, checked, opened, focused and scrolled to', async () => {
      await open();
      await page.locator('#more summary').click();
      await page.locator('#box-two').check();
      await page.locator('#note-two').fill('half a note');
      await page.locator('#note-two').press('ArrowLeft');
      site.rows = ['zero', 'one', 'two', 'three', ...Array.from({ length: 90 }, (_, i) => `x${i}`)];
      await page.locator('#row-zero').waitFor();
      await page.evaluate(() => scrollTo(0, 150));
      site.rows = site.rows.slice(0, -1);
      await shows(page, '#more', '93 in all');
      expect(await page.locator('#note-two').inputValue()).toBe('half a note');
      expect(await page.locator('#box-two').isChecked()).toBe(true);
      expect(await page.locator('#box-one').isChecked()).toBe(false);
      expect(await page.locator('#more').getAttribute('open')).toBe('');
      const focus = await page.evaluate(() => {
        const input = document.activeElement as HTMLInputElement;
        return [input.id, input.selectionStart, scrollY];
      });
      expect(focus).toEqual(['note-two', 10, 150]);
    });

    test('takes no row away that is being filled in, until that is done', async () => {
      await open();
      await page.locator('#note-two').fill('half a note');
      site.rows = ['one', 'three', 'four'];
      await shows(page, '[data-failure]', 'This list has changed.');
      expect(await listed(page)).toEqual(['one', 'two', 'three']);
      expect(await page.locator('#note-two').inputValue()).toBe('half a note');
      await page.locator('#note-two').fill('');
      await page.locator('#row-four').waitFor();
      expect(await listed(page)).toEqual(['one', 'three', 'four']);
      expect(await page.locator('[data-failure]').isVisible()).toBe(false);
    });

    test('shows the newest when it is asked for by hand, whatever is half filled in', async () => {
      await open();
      await page.locator('#box-two').check();
      site.rows = ['one', 'three'];
      await shows(page, '[data-failure]', 'press Refresh');
      await page.locator('#refresh').click();
      await page.waitForFunction(() => !document.getElementById('row-two'));
      expect(page.url()).toBe(site.url);
    });

    test('that finds the same changes nothing at all', async () => {
      await open();
      await polled(page);
      await page.evaluate(() => {
        const seen: string[] = [];
        new MutationObserver((all) => {
          for (const { attributeName, type } of all) {
            // What htmx marks while it asks.
            if (attributeName !== 'class') seen.push(`${type} ${attributeName}`);
          }
        }).observe(document.getElementById('list')!, {
          ...{ subtree: true, childList: true, attributes: true, characterData: true },
        });
        Object.assign(window, { seen });
      });
      await polled(page);
      await polled(page);
      expect(await page.evaluate(() => (window as unknown as { seen: string[] }).seen)).toEqual([]);
    });

    test('is not sent by a tab that nobody sees, and at once when it is seen again', async () => {
      await open();
      await polled(page);
      const hide = (isHidden: boolean) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }, isHidden);
      const triggers = () =>
        page.evaluate(
          () =>
            new Promise<void>((resolve) => {
              let left = 3;
              document.addEventListener('every', () => --left === 0 && resolve(), true);
            }),
        );
      await hide(true);
      await page.waitForFunction(() => !document.querySelector('.htmx-request'));
      const before = site.polls;
      await triggers();
      expect(site.polls).toBe(before);
      site.rows = ['seen again'];
      await hide(false);
      await shows(page, '#list', 'seen again');
    });
  });

  describe('what goes wrong', () => {
    test('in a part is said in its place, and it tries again', async () => {
      await open();
      site.status = 500;
      await shows(page, '[data-failure]', 'it is broken on purpose');
      expect(await page.locator('[data-failure]').textContent()).toMatch(
        /^This part could not be shown at \d\d:\d\d:\d\d UTC: .*\. It tries again\.$/,
      );
      expect(await listed(page)).toEqual(['one', 'two', 'three']);
      site.status = 200;
      await page.locator('[data-failure]').waitFor({ state: 'hidden' });
    });

    test('with the server is said with the time since when, until it is back', async () => {
      await open();
      const { port } = site;
      await site.stop();
      await page.locator('#connection').waitFor();
      const said = await page.locator('#connection').textContent();
      expect(said).toMatch(/^marketd has not answered since \d\d:\d\d:\d\d UTC\./);
      expect(await listed(page)).toEqual(['one', 'two', 'three']);
      site = new FrameSite(makeAppContext(database, clone.edition), port);
      site.rows = ['back'];
      await shows(page, '#list', 'back');
      expect(await page.locator('#connection').isVisible()).toBe(false);
    });

    test('with an action is told, and nothing that was typed is lost', async () => {
      await open();
      const { port } = site;
      await page.locator('#name').fill('four');
      await site.stop();
      await page.locator('#add button').click();
      await shows(page, '#notices', 'marketd has not answered');
      site = new FrameSite(makeAppContext(database, clone.edition), port);
      expect(await page.locator('#name').inputValue()).toBe('four');
    });
  });

  describe('links and filters', () => {
    test('change the part and the address; going back goes back', async () => {
      await open();
      await page.getByRole('link', { name: 'Other way round' }).click();
      await page.waitForURL('**/rows?dir=desc');
      await page.waitForFunction(() => document.querySelector('#list li')?.id === 'row-three');
      // The polls that follow keep the order.
      site.rows.push('four');
      await page.locator('#row-four').waitFor();
      expect(await listed(page)).toEqual(['four', 'three', 'two', 'one']);
      await page.goBack();
      await page.waitForFunction(() => document.querySelector('#list li')?.id === 'row-one');
      expect(page.url()).toBe(site.url);
    });

    test('by typing filter without losing a letter', async () => {
      await open();
      await page.locator('#q').pressSequentially('tw');
      await page.waitForURL('**/rows?q=tw');
      await page.waitForFunction(() => document.querySelectorAll('#list li').length === 1);
      await polled(page);
      expect(await listed(page)).toEqual(['two']);
      expect(await page.locator('#q').inputValue()).toBe('tw');
      await page.reload();
      expect(await listed(page)).toEqual(['two']);
      await page.locator('#q').fill('');
      await page.waitForURL(site.url);
    });

    test('typing is one step back, not one for each letter and not the page', async () => {
      await open();
      for (const text of ['t', 'th', 'thr']) {
        await page.locator('#q').fill(text);
        await page.waitForURL(`**/rows?q=${text}`);
      }
      await page.goBack();
      await page.waitForURL(site.url);
      await page.waitForFunction(() => document.querySelectorAll('#list li').length === 3);
      expect(await page.locator('#q').inputValue()).toBe('');
    });

    test('a link that is followed right after typing counts beside what was typed', async () => {
      await open();
      await page.locator('#q').pressSequentially('t');
      await page.getByRole('link', { name: 'Other way round' }).click();
      await page.waitForURL((url) => url.searchParams.size === 2);
      expect(new URL(page.url()).search).toBe('?q=t&dir=desc');
      await page.waitForFunction(() => document.querySelectorAll('#list li').length === 2);
      expect(await listed(page)).toEqual(['three', 'two']);
      await polled(page);
      expect(new URL(page.url()).search).toBe('?q=t&dir=desc');
    });

    test('an answer that comes too late does not undo what was chosen since', async () => {
      await open();
      const late = Promise.withResolvers<void>();
      await page.route('**/rows/status?q=two', async (route) => {
        await late.promise;
        await route.continue();
      });
      const asked = page.waitForRequest('**/rows/status?q=two');
      await page.locator('#q').fill('two');
      await asked;
      await page.getByRole('link', { name: 'Other way round' }).click();
      await page.waitForURL('**/rows?dir=desc');
      const answered = page.waitForResponse('**/rows/status?q=two');
      late.resolve();
      await answered;
      await polled(page);
      expect(await listed(page)).toEqual(['three', 'two', 'one']);
      expect(new URL(page.url()).search).toBe('?dir=desc');
    });
  });

  test('a filter keeps the order that a link has chosen', async () => {
    await open();
    await page.getByRole('link', { name: 'Other way round' }).click();
    await page.waitForURL('**/rows?dir=desc');
    await page.locator('#q').fill('t');
    await page.waitForURL((url) => url.searchParams.get('q') === 't');
    expect(new URL(page.url()).searchParams.get('dir')).toBe('desc');
    await page.waitForFunction(() => document.querySelectorAll('#list li').length === 2);
    expect(await listed(page)).toEqual(['three', 'two']);
  });

  describe('an action', () => {
    test('shows its outcome in place, empties its form and can be taken back', async () => {
      await open();
      await page.locator('#name').fill('four');
      await page.keyboard.press('Enter');
      await shows(page, '#notices', 'four is added.');
      expect(await listed(page)).toEqual(['one', 'two', 'three', 'four']);
      expect(await page.locator('#name').inputValue()).toBe('');
      expect(site.sent).toEqual(['four']);
      await page.getByRole('button', { name: 'Undo' }).click();
      await shows(page, '#notices', 'four is gone.');
      expect(await listed(page)).toEqual(['one', 'two', 'three']);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('notices');
      expect(problems).toEqual([]);
    });

    test('that is refused says why', async () => {
      await open();
      await page.locator('#add button').click();
      await shows(page, '#notices', 'a name is missing');
      expect(page.url()).toBe(site.url);
    });

    test('works without JavaScript, and tells its outcome once', async () => {
      await open();
      await close();
      ({ page, problems, close } = await openTab({ javaScriptEnabled: false }));
      await page.goto(site.url);
      await page.locator('#name').fill('four');
      await page.locator('#add button').click();
      await shows(page, '#notices', 'four is added.');
      expect(page.url()).toBe(site.url);
      await page.getByRole('button', { name: 'Undo' }).click();
      await shows(page, '#notices', 'four is gone.');
      await page.goto(site.url);
      expect(await page.locator('#notices').textContent()).toBe('');
      await page.locator('#add button').click();
      await shows(page, '#notices', 'a name is missing');
    });
  });

  test('one box checks all, and says how many', async () => {
    await open();
    await page.locator('#all').check();
    expect(await page.locator('#selected').textContent()).toBe('3 selected');
    await page.locator('#box-two').uncheck();
    expect(await page.locator('#selected').textContent()).toBe('2 selected');
    expect(await page.locator('#all').evaluate((box: HTMLInputElement) => box.indeterminate)).toBe(
      true,
    );
    site.rows.push('four');
    await page.locator('#row-four').waitFor();
    expect(await page.locator('#selected').textContent()).toBe('2 selected');
  });

  test('the keyboard alone gets everywhere: first past the navigation', async () => {
    await open();
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.className)).toBe('skip');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.activeElement?.id === 'main');
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('q');
  });
});
