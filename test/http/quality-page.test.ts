import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { AppContext } from '../../src/http/app.ts';
import { FINDING_CLASSES } from '../../src/model/finding.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { decideFindings } from '../../src/store/decisions.ts';
import { trackSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import { eventfulBars, flatBar, sessionsFrom } from '../fixtures/bars.ts';
import {
  HOSTILE,
  openSite,
  openTab,
  overflow,
  type Site,
  shows,
  useBrowser,
} from '../fixtures/browser.ts';
import { selectFindingCounts, selectPlainFindings } from '../fixtures/findings.ts';
import { addInstrument, countBars, ingest, selectCounters } from '../fixtures/warehouse.ts';

const NOW = Date.parse('2024-03-04T03:00:00Z');
const PATH = '/dashboard/quality';
const BARS = eventfulBars('2022-01-03', 300, 12);
const QUIET = sessionsFrom('2023-06-01', 60);
const SPIKE = QUIET[50];

useBrowser();

/** A page of the site as fetch sees it. */
class Answer {
  constructor(
    readonly status: number,
    readonly html: string,
    readonly headers: Headers,
  ) {}

  /** Numbers of the findings that are listed. */
  get ids(): number[] {
    return [...this.html.matchAll(/<li id="finding-(\d+)"/g)].map(([, id]) => Number(id));
  }

  /** The text without its tags. */
  get text(): string {
    const plain = this.html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
    return plain.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&lt;', '<');
  }

  /** Where a link with this label or text leads. */
  link(label: string): string | undefined {
    const anchors = [...this.html.matchAll(/<a [^>]*>.*?<\/a>/gs)].map(([anchor]) => anchor);
    const found = anchors.find(
      (anchor) =>
        anchor.includes(`aria-label="${label}"`) || anchor.replace(/<[^>]*>/g, ' ').includes(label),
    );
    return /href="([^"]*)"/.exec(found ?? '')?.[1].replaceAll('&amp;', '&');
  }
}

type Form = [name: string, value: string | number][];

describeEditions('the review queue', (clone) => {
  let database: Database;
  let context: AppContext;
  let site: Site;

  beforeAll(async () => {
    database = openDatabase(clone().url);
    context = makeAppContext(database, clone().edition, { now: () => NOW });
    site = await openSite(context);
  });
  afterAll(async () => {
    await site?.stop();
    await database?.close();
  });

  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${site.url}${path}`, { headers });
    return new Answer(response.status, await response.text(), response.headers);
  };
  const send = async (path: string, form: Form, headers: Record<string, string> = {}) => {
    const body = new URLSearchParams(form.map(([name, value]) => [name, `${value}`]));
    const response = await fetch(`${site.url}${path}`, {
      ...{ method: 'POST', redirect: 'manual', headers, body },
    });
    return new Answer(response.status, await response.text(), response.headers);
  };
  /** As htmx sends it: the answer has the list as it is then, and what came of it. */
  const act = (path: string, form: Form) => send(path, form, { 'hx-request': 'true' });
  const pick = (ids: readonly number[]): Form => ids.map((id) => ['finding', id]);
  const batchOf = ({ html }: Answer) => Number(/name="batch" value="(\d+)"/.exec(html)?.[1]);
  const add = async (symbol: string, bars = BARS) => {
    const id = await addInstrument(database.write, symbol);
    await ingest(database.write, id, bars);
    return id;
  };
  const idsOf = async (instrumentId: number, kind: string) => {
    const all = await selectPlainFindings(database.write, instrumentId);
    return all.filter((one) => one.kind === kind).map(({ id }) => id);
  };

  test('without a finding says so, and when something was last decided', async () => {
    const empty = await get(PATH);
    expect(empty.status).toBe(200);
    expect(empty.text).toContain('Nothing to review');
    expect(empty.text).toContain('Nobody has decided about a finding yet');
    const id = await add('ONE', [
      ...QUIET.map((session) => flatBar(session, { volume: session === SPIKE ? 1e6 : 1000 })),
    ]);
    const findingIds = await idsOf(id, 'volume_spike');
    expect(findingIds).toHaveLength(1);
    await decideFindings(
      database.write,
      { findingIds, decision: 'accept', actor: 'cli root' },
      NOW,
    );
    const done = await get(PATH);
    expect(done.text).toContain('Nothing to review');
    expect(done.text).toContain('The last decision was 2024-03-04 03:00 UTC , by cli root.');
  });

  test('shows a finding with its bar, those beside it, and what was decided', async () => {
    const listed = await get(`${PATH}?state=accepted`);
    expect(listed.text).toContain(`ONE ${SPIKE} Accepted volume spike : volume is far above`);
    expect(listed.text).toContain(
      'Close before 100.00 Open 100.00 0 % High 100.00 Low 100.00 Close 100.00 0 % ' +
        'Close after 100.00 0 % Volume 1,000,000 ×1,000 Score 1 ',
    );
    expect(listed.text).toContain('accepted by cli root, 2024-03-04 03:00 UTC');
    const [id] = listed.ids;
    expect(listed.html).toContain(`href="/dashboard/symbols/ONE#finding-${id}"`);
    expect(listed.html.match(/<path class="around"/g)).toHaveLength(1);
    // What is about a whole session or a bar that is not there has none.
    await database.write`
      insert into findings (instrument_id, timeframe, session, kind, digest, detail, ts_found)
      select instrument_id, '1d', '2021-01-04', 'possible_split', 'x', '{"ratio": 4}', now()
      from symbol_ranges where symbol = 'ONE'`;
    const split = await get(`${PATH}?kind=possible_split`);
    expect(split.text).toContain('possible split : the price jumped as if by a split');
    expect(split.text).toContain('ratio 4');
    expect(split.text).toContain('There is no bar where this was found.');
    await database.write`delete from findings where kind = 'possible_split'`;
  });

  test('shows bars below a day in their own timeframe', async () => {
    const id = await addInstrument(database.write, 'HOUR');
    const ts = new Date('2023-01-05T15:00:00Z');
    await database.write`
      insert into bars_1h (instrument_id, ts, session, part, flags, open, high, low, close, volume,
        score, ts_received, is_final, provider)
      select ${id}, ${ts}::timestamptz + i * interval '1 hour', '2023-01-05', 1,
             case when i = 0 then 192 else 0 end, 10, 13, 9, 11 + i, 100,
             case when i = 0 then 0.8 else 1 end, ${ts}, true, 'polygon'
      from generate_series(-2, 2) i`;
    await database.write`
      insert into findings (instrument_id, timeframe, session, ts, kind, digest, ts_found)
      values (${id}, '1h', '2023-01-05', ${ts}, 'gap_unexplained', '', ${ts})`;
    const { text, ids } = await get(`${PATH}?timeframe=1h`);
    expect(ids).toHaveLength(1);
    expect(text).toContain('HOUR 2023-01-05 15:00 UTC 1h gap unexplained');
    expect(text).toMatch(
      /Close before 10\.00 Open 10\.00 0 % High 13\.00 .* Close after 12\.00 .* Score 0\.8 /,
    );
    await database.write`delete from findings where instrument_id = ${id}`;
  });

  describe('finds', () => {
    let apple = 0;
    beforeAll(async () => {
      apple = await add('AAPL');
      await add('MSFT', eventfulBars('2022-01-03', 200, 77));
    });
    const plain = (where: string) =>
      database.write.unsafe<{ id: number }[]>(
        `select finding_id as id from findings where ${where}
         order by session desc, finding_id desc limit 50`,
      );
    const filters: [query: string, where: string][] = [
      ['', `state = 'open'`],
      ['?state=open', `state = 'open'`],
      ['?state=all', `true`],
      ['?state=accepted', `state = 'accepted'`],
      ['?kind=volume_spike', `state = 'open' and kind = 'volume_spike'`],
      ['?symbol=aapl', `state = 'open' and instrument_id = APPLE`],
      [
        '?symbol=AAPL&kind=high_too_low',
        `state = 'open' and instrument_id = APPLE and kind = 'high_too_low'`,
      ],
      ['?start=2022-03-01&end=2022-03-31', `session between '2022-03-01' and '2022-03-31'`],
      ['?start=2022-09-01&symbol=AAPL', `session >= '2022-09-01' and instrument_id = APPLE`],
      ['?timeframe=1d&end=2022-01-31', `session <= '2022-01-31' and state = 'open'`],
      ['?timeframe=1m', 'false'],
    ];
    for (const [query, where] of filters) {
      test(query || 'what is open', async () => {
        const expected = await plain(where.replace('APPLE', `${apple}`));
        const page = await get(`${PATH}${query}`);
        expect(page.status).toBe(200);
        expect(page.ids).toEqual(expected.map(({ id }) => id));
        const part = await get(`${PATH}/status${query}`);
        expect(part.ids).toEqual(page.ids);
        expect(part.html).toStartWith('<div id="queue"');
        const counted = await database.write.unsafe(
          `select count(*)::int as n from findings where ${where.replace('APPLE', `${apple}`)}`,
        );
        const { n } = counted[0];
        if (n > 0) {
          const shown = `${page.ids.length} of ${n} finding`;
          expect(page.text).toContain(n > 50 ? shown : `${n} finding`);
        }
      });
    }

    test('the most serious first', async () => {
      const { ids } = await get(`${PATH}?order=serious&symbol=AAPL`);
      const rows = await selectPlainFindings(database.write, apple);
      const rankOf = (id: number) => {
        const { kind } = rows.find((one) => one.id === id)!;
        return FINDING_CLASSES.findIndex((kinds) => kinds.includes(kind));
      };
      const ranks = ids.map(rankOf);
      expect(ranks).toEqual([...ranks].sort((one, other) => one - other));
      expect(new Set(ranks).size).toBeGreaterThan(1);
      expect(ranks[0]).toBe(0);
    });

    test('nothing for what cannot be, and says why', async () => {
      const unknown = await get(`${PATH}?symbol=NOPE`);
      expect(unknown.status).toBe(200);
      expect(unknown.text).toContain('there is no symbol "NOPE" here');
      const hostile = await get(`${PATH}?symbol=${encodeURIComponent(HOSTILE)}`);
      expect(hostile.status).toBe(200);
      // Within the quotes of a field's value it is text.
      expect(hostile.html.replaceAll(/="[^"]*"/g, '')).not.toContain('<img');
      const reversed = await get(`${PATH}?start=2022-03-01&end=2022-02-01`);
      expect(reversed.text).toContain('The last session lies before the first');
      const none = await get(`${PATH}?kind=volume_negative`);
      expect(none.text).toContain('No finding matches this filter');
      expect(none.link('Show all of this state')).toBe(PATH);
    });

    test('what is counted for each state and kind', async () => {
      const { text } = await get(PATH);
      const rows = await database.write<{ kind: string; n: number }[]>`
        select kind, count(*)::int as n from findings where state = 'open' group by kind`;
      for (const { kind, n } of rows) expect(text).toContain(`${kind.replaceAll('_', ' ')} ${n} `);
      const total = rows.reduce((sum, { n }) => sum + n, 0);
      expect(text).toContain(`Open ${total} Accepted 1 Rejected 0 Resolved 0 All ${total + 1}`);
    });

    const bad: [query: string, field: string][] = [
      ['state=closed', 'state'],
      ['kind=gaps', 'kind'],
      ['timeframe=5m', 'timeframe'],
      ['start=2022-02-30', 'start'],
      ['end=soon', 'end'],
      ['order=oldest', 'order'],
      ['after=x', 'cursor'],
      [`after=${Buffer.from('r1.19000.2000.1').toString('base64url')}`, 'cursor'],
      [`before=${Buffer.from('r1.99999999.0.1').toString('base64url')}`, 'cursor'],
    ];
    for (const [query, field] of bad) {
      test(`nothing for ${query}`, async () => {
        const answer = await get(`${PATH}/status?${query}`);
        expect(answer.status).toBe(422);
        expect(JSON.parse(answer.html)).toMatchObject({ error: { field } });
        expect((await get(`${PATH}?${query}`)).status).toBe(422);
      });
    }
  });

  test('is paged through 5,000 findings, there and back, in both orders', async () => {
    const id = await addInstrument(database.write, 'MANY');
    await database.write`
      insert into findings (instrument_id, timeframe, session, kind, digest, ts_found)
      select ${id}, '1d', date '2000-01-03' + (i / 2), kind, 'x', now()
      from generate_series(0, 2499) i
      cross join unnest('{unconfirmed_split,off_session}'::text[]) kind
      on conflict do nothing`;
    const [{ n }] = await database.write`
      select count(*)::int as n from findings where state = 'open'`;
    expect(n).toBeGreaterThan(2_500);
    for (const order of ['', 'serious']) {
      const pages: number[][] = [];
      let path: string | undefined = `${PATH}?order=${order}`;
      let last: Answer | undefined;
      while (path !== undefined) {
        last = await get(path.replace(PATH, `${PATH}/status`));
        pages.push(last.ids);
        path = last.link('Next page');
      }
      const all = pages.flat();
      expect(all).toHaveLength(n);
      expect(new Set(all).size).toBe(n);
      expect(pages.slice(0, -1).every((ids) => ids.length === 50)).toBe(true);
      if (order === '') {
        const expected = await database.write<{ id: number }[]>`
          select finding_id as id from findings where state = 'open'
          order by session desc, finding_id desc`;
        expect(all).toEqual(expected.map((row) => row.id));
      }
      const back = await get(last!.link('Previous page')!);
      expect(back.ids).toEqual(pages.at(-2)!);
      const second = await get((await get(`${PATH}?order=${order}`)).link('Next page')!);
      const first = await get(second.link('Previous page')!);
      expect(first.ids).toEqual(pages[0]);
      expect(first.link('Previous page')).toBeUndefined();
    }
    await database.write`delete from findings where instrument_id = ${id}`;
  });

  test('of which a page before another is never a short one', async () => {
    const second = await get((await get(PATH)).link('Next page')!);
    // Ten of the first page are decided about meanwhile.
    const first = await get(second.link('Previous page')!);
    const findingIds = first.ids.slice(0, 10);
    const request = { findingIds, actor: 'x' };
    await decideFindings(database.write, { ...request, decision: 'reject' }, NOW);
    const back = await get(second.link('Previous page')!);
    expect(back.ids).toEqual([...first.ids.slice(10), ...second.ids.slice(0, 10)]);
    await decideFindings(database.write, { ...request, decision: 'reopen' }, NOW);
  });

  describe('decides', () => {
    /** All that a decision and its undoing may change. */
    const snapshot = async (id: number) => {
      const { write } = database;
      const [findings, bars, counters, counts] = await Promise.all([
        selectPlainFindings(write, id),
        write`select session, flags, score from bars_1d where instrument_id = ${id}
              order by session`,
        selectCounters(write, id),
        selectFindingCounts(write),
      ]);
      return { findings, bars: [...bars], counters, counts };
    };

    test('about a page at once, and puts it back as it was', async () => {
      const id = await add('BULK');
      const query = '?symbol=BULK&kind=gap_unexplained';
      const before = await snapshot(id);
      const { ids } = await get(`${PATH}${query}`);
      expect(ids.length).toBeGreaterThan(5);
      const noted = await act(`${PATH}/decide`, [
        ['finding', ids[0]],
        ['decision', 'annotate'],
        ['note', 'first'],
      ]);
      expect(noted.text).toContain('Noted: BULK');
      const withNote = await snapshot(id);
      const done = await act(`${PATH}/decide${query}`, [
        ...pick(ids),
        ['decision', 'accept'],
        ['note', 'news'],
      ]);
      expect(done.status).toBe(200);
      expect(done.headers.get('x-outcome')).toBe('good');
      expect(done.text).toContain(`Accepted: ${ids.length} findings.`);
      expect(done.ids).toEqual([]);
      const after = await snapshot(id);
      const accepted = after.findings.filter((one) => ids.includes(one.id));
      expect(accepted.every(({ state, note }) => state === 'accepted' && note === 'news')).toBe(
        true,
      );
      expect(after.counters).toEqual(await countBars(database.write, id));
      expect(after.counters!.score_sum).toBeGreaterThan(before.counters!.score_sum);
      expect(after.counts.kept).toEqual(after.counts.counted);

      const undone = await act(`${PATH}/undo`, [
        ['batch', batchOf(done)],
        ['back', query],
      ]);
      expect(undone.text).toContain(`As before the decision: ${ids.length} findings.`);
      expect(undone.ids).toEqual(ids);
      expect(await snapshot(id)).toEqual(withNote);
      const revisions = await database.write`
        select score from bar_revisions where instrument_id = ${id} and reason = 'score'`;
      expect(revisions).toHaveLength(2 * ids.length);
      const log = await database.write`
        select action, count(*)::int as n, count(distinct batch_id)::int as steps from audit_log
        where instrument_id = ${id} group by action order by action`;
      expect([...log].map((row) => ({ ...row }))).toEqual([
        { action: 'finding.accept', n: ids.length, steps: 1 },
        { action: 'finding.annotate', n: 1, steps: 1 },
        { action: 'finding.undo', n: ids.length, steps: 1 },
      ]);
      const totals = await database.write`
        select kind, state, count from finding_totals where count <> 0
        order by kind collate "C", state collate "C"`;
      const counted = await database.write`
        select kind, state, count(*) as count from findings group by kind, state
        order by kind collate "C", state collate "C"`;
      expect([...totals]).toEqual([...counted]);
    });

    test('again what was decided before, and puts back who had decided', async () => {
      const id = await add('TWICE');
      const [findingId] = await idsOf(id, 'volume_spike');
      const request = { findingIds: [findingId], note: 'first', actor: 'cli root' };
      await decideFindings(database.write, { ...request, decision: 'reject' }, NOW - 1000);
      const before = await snapshot(id);
      const form: Form = [...pick([findingId]), ['decision', 'accept']];
      const done = await act(`${PATH}/decide`, form);
      const same = await act(`${PATH}/decide`, form);
      expect(same.text).toContain('It was so before: nothing is changed.');
      expect(batchOf(same)).toBeNaN();
      await act(`${PATH}/undo`, [['batch', batchOf(done)]]);
      expect(await snapshot(id)).toEqual(before);
      expect(before.findings.find((one) => one.id === findingId)).toMatchObject({
        ...{ state: 'rejected', note: 'first', decided_by: 'cli root' },
        ts_decided: new Date(NOW - 1000),
      });
    });

    test('but takes back only what is still as it was decided', async () => {
      const id = await add('LATER');
      const [one, other] = await idsOf(id, 'volume_spike');
      const decide = async (ids: number[], decision: string) =>
        batchOf(await act(`${PATH}/decide`, [...pick(ids), ['decision', decision]]));
      const both = await decide([one, other], 'accept');
      const single = await decide([other], 'reject');
      const before = await snapshot(id);
      const undo = (batch: number | string) => act(`${PATH}/undo`, [['batch', batch]]);
      const again = await undo(both);
      expect(again.headers.get('x-outcome')).toBe('bad');
      expect(again.text).toContain(`Nothing is undone: finding ${other} (LATER 1d `);
      expect(again.text).toContain('was decided again since, so that nothing is undone.');
      expect(await snapshot(id)).toEqual(before);
      expect((await undo(single)).text).toContain('As before the decision: LATER');
      expect((await undo(single)).text).toContain('is as it was before already');
      expect((await undo(987_654)).text).toContain('there is no decision 987654');
      expect((await undo('x')).text).toContain('batch is "x": it must be a whole number');

      // Restated meanwhile: the decision was about other values.
      const restated = await decide([one], 'reject');
      const { session } = (await selectPlainFindings(database.write, id)).find(
        (finding) => finding.id === one,
      )!;
      const bar = BARS.find((each) => each.session === session)!;
      await ingest(database.write, id, [{ ...bar, volume: bar.volume * 2 }]);
      expect((await undo(restated)).text).toContain('is about other values since');
      await ingest(database.write, id, [{ ...bar, volume: bar.volume / 20 }]);
      expect((await undo(restated)).text).toContain('is resolved since');
    });

    test('about none when one of them cannot be decided so', async () => {
      const id = await add('NONE');
      const [soft] = await idsOf(id, 'volume_spike');
      const [hard] = await idsOf(id, 'high_too_low');
      const before = await snapshot(id);
      const refused = await act(`${PATH}/decide`, [...pick([soft, hard]), ['decision', 'accept']]);
      expect(refused.status).toBe(200);
      expect(refused.text).toContain(`Nothing is decided: finding ${hard} (NONE 1d `);
      expect(refused.text).toContain('the values of the bar contradict each other');
      expect(refused.text).toContain('Not done');
      expect(await snapshot(id)).toEqual(before);
    });

    const refusals: [what: string, form: Form, status: number, says: string][] = [
      ['nothing selected', [['decision', 'accept']], 422, 'select the findings that are meant'],
      ['no decision', [['finding', 1]], 422, 'decision is &#34;&#34;'],
      ['another decision', [...pick([1]), ['decision', 'delete']], 422, 'it must be accept or'],
      [
        'what is no number',
        [
          ['finding', 'x'],
          ['decision', 'accept'],
        ],
        422,
        'a whole number',
      ],
      ['an unknown finding', [...pick([987_654_321]), ['decision', 'accept']], 409, 'there is no'],
      ['no note', [...pick([1]), ['decision', 'annotate']], 422, 'a note is missing'],
      [
        'a long note',
        [...pick([1]), ['decision', 'annotate'], ['note', 'x'.repeat(1001)]],
        ...([422, 'at most 1000 characters'] as const),
      ],
      [
        'too many',
        [...pick(Array.from({ length: 1001 }, (_, i) => i + 1)), ['decision', 'reject']],
        ...([422, 'name from 1 to 1000'] as const),
      ],
    ];
    for (const [what, form, status, says] of refusals) {
      test(`nothing for ${what}`, async () => {
        const answer = await send(`${PATH}/decide?kind=volume_spike`, form);
        expect(answer.status).toBe(status);
        expect(answer.text.replaceAll('"', '&#34;')).toContain('Nothing is decided: ');
        expect(answer.html.replaceAll('&quot;', '&#34;')).toContain(says);
        expect(answer.html).toContain('<h1');
      });
    }

    test('nothing for forms that are none of its own', async () => {
      const form: Form = [...pick([1]), ['decision', 'accept']];
      for (const path of [`${PATH}/decide`, `${PATH}/undo`, `${PATH}/audit/undo`]) {
        const stranger = await send(path, form, { 'sec-fetch-site': 'cross-site' });
        expect(stranger.status).toBe(403);
        const type = await send(path, form, { 'content-type': 'application/json' });
        expect(type.status).toBe(415);
        const large = await send(path, [['note', 'x'.repeat(70_000)]]);
        expect(large.status).toBe(413);
      }
    });

    test('about all that match, when it is still the number that was said', async () => {
      const id = await add('WHOLE');
      const query = '?symbol=WHOLE';
      const shown = await get(`${PATH}${query}`);
      const total = (await selectPlainFindings(database.write, id)).length;
      expect(total).toBeGreaterThan(50);
      expect(shown.text).toContain(`All ${total} that match`);
      const form = (matching: number): Form => [
        ['matching', matching],
        ['decision', 'reject'],
      ];
      const other = await act(`${PATH}/decide${query}`, form(total - 1));
      expect(other.text).toContain(`${total - 1} findings matched when the page was made`);
      const done = await act(`${PATH}/decide${query}`, form(total));
      expect(done.text).toContain(`Rejected: ${total} findings.`);
      expect(done.text).toContain('No finding matches this filter');
      const states = (await selectPlainFindings(database.write, id)).map(({ state }) => state);
      expect(new Set(states)).toEqual(new Set(['rejected']));
      await act(`${PATH}/undo`, [['batch', batchOf(done)]]);
      // With a range that there are no counters of.
      const ranged = await get(`${PATH}?symbol=WHOLE&start=2022-02-01&timeframe=1d`);
      expect(ranged.text).toMatch(/All \d+ that match/);
      expect((await get(`${PATH}?symbol=WHOLE&kind=extreme_move`)).text).not.toContain(
        'that match',
      );
    });
  });

  test('answers 304 until something changes', async () => {
    const path = `${PATH}/status?symbol=AAPL&kind=volume_spike`;
    const first = await get(path);
    const etag = first.headers.get('etag')!;
    expect((await get(path, { 'if-none-match': etag })).status).toBe(304);
    const [id] = first.ids;
    await act(`${PATH}/decide`, [...pick([id]), ['decision', 'annotate'], ['note', HOSTILE]]);
    const third = await get(path, { 'if-none-match': etag });
    expect(third.status).toBe(200);
    expect(third.html).not.toContain('<img');
    expect(third.html).toContain('&lt;img src=x');
    // The bar beside it was restated: it is judged by other closes.
    const tag = third.headers.get('etag')!;
    const [row] = await database.write<{ session: string; id: number }[]>`
      select session, instrument_id as id from findings where finding_id = ${id}`;
    const at = BARS.findIndex((bar) => bar.session === row.session);
    const beside = BARS[at + 1];
    await ingest(database.write, row.id, [
      { ...beside, close: beside.open, high: beside.open * 2 },
    ]);
    expect((await get(path, { 'if-none-match': tag })).status).toBe(200);
  });

  test('selects by keyboard alone, decides and undoes', async () => {
    const id = await add('KEYS', eventfulBars('2022-01-03', 150, 5));
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}${PATH}?symbol=KEYS&kind=volume_drought`);
    const total = (await idsOf(id, 'volume_drought')).length;
    expect(total).toBeGreaterThan(2);
    await page.getByLabel('Select all on this page').focus();
    await page.keyboard.press('Space');
    await shows(page, '#selected', `${total} selected`);
    await page.keyboard.press('Tab');
    await page.keyboard.type('half days');
    for (const label of ['Keep note', 'Accept']) {
      await page.keyboard.press('Tab');
      const focused = page.locator(':focus');
      expect(await focused.textContent()).toBe(label);
    }
    await page.keyboard.press('Enter');
    await shows(page, '#notices', `Accepted: ${total} findings.`);
    await shows(page, '#queue', 'No finding matches this filter');
    const accepted = async () =>
      (await selectPlainFindings(database.write, id)).filter(({ state }) => state === 'accepted');
    expect((await accepted()).map(({ note }) => note)).toEqual(Array(total).fill('half days'));
    // The focus is on the notice: its button is next.
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').textContent()).toBe('Undo');
    await page.keyboard.press('Enter');
    await shows(page, '#notices', `As before the decision: ${total} findings.`);
    await page.locator('.queue .pick').first().waitFor();
    expect(await accepted()).toEqual([]);
    expect(await page.locator('.pick:checked').count()).toBe(0);
    expect(problems).toEqual([]);
    await close();
  });

  test('decides about one, with a note of its own that Enter keeps', async () => {
    const id = await add('SINGLE', eventfulBars('2022-01-03', 100, 8));
    const [findingId] = (await idsOf(id, 'volume_spike')).toReversed();
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}${PATH}?symbol=SINGLE`);
    const row = page.locator(`#finding-${findingId}`);
    await row.getByLabel('Note').fill(HOSTILE);
    await page.keyboard.press('Enter');
    await shows(page, '#notices', 'Noted: SINGLE');
    await shows(page, `#finding-${findingId} blockquote`, HOSTILE);
    expect(await row.locator('blockquote').textContent()).toBe(HOSTILE);
    expect(await row.getByLabel('Note').inputValue()).toBe('');
    await row.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', 'Accepted: SINGLE');
    await row.waitFor({ state: 'detached' });
    expect(await page.locator('#main img, #main script').count()).toBe(0);
    expect(problems).toEqual([]);
    await close();
  });

  test('says which cannot be decided, and keeps the selection', async () => {
    const { page, close } = await openTab();
    await page.goto(`${site.url}${PATH}?symbol=SINGLE`);
    await page.getByLabel('Select all on this page').check();
    const selected = await page.locator('.pick:checked').count();
    const bulk = page.getByRole('form', { name: 'Decide about what is selected' });
    await bulk.getByLabel('Note').fill('all of them');
    await bulk.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', 'the values of the bar contradict each other');
    expect(await page.locator('.pick:checked').count()).toBe(selected);
    expect(await bulk.getByLabel('Note').inputValue()).toBe('all of them');
    await close();
  });

  test('keeps what is typed and selected while the list changes', async () => {
    const id = await add('POLLED', eventfulBars('2022-01-03', 100, 9));
    const [first, second, third] = (await selectPlainFindings(database.write, id)).toReversed();
    const { page, problems, polls, close } = await openTab();
    await page.goto(`${site.url}${PATH}?symbol=POLLED`);
    await page.locator(`#note-${first.id}`).fill('half a thou');
    await page.locator(`#pick-${second.id}`).check();
    // Another one goes away: the list follows.
    const decide = (findingIds: number[], decision: 'reject' | 'reopen') =>
      decideFindings(database.write, { findingIds, decision, actor: 'other' }, NOW);
    await decide([third.id], 'reject');
    await page.locator(`#finding-${third.id}`).waitFor({ state: 'detached' });
    expect(await page.locator(`#note-${first.id}`).inputValue()).toBe('half a thou');
    expect(await page.locator(`#pick-${second.id}`).isChecked()).toBe(true);
    expect(await page.locator('#selected').textContent()).toBe('1 selected');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe(`pick-${second.id}`);
    // That with the note goes away: the list waits, and says so.
    await decide([first.id], 'reject');
    await shows(page, '#queue-failure', 'This list has changed. Finish what you have begun');
    expect(await page.locator(`#note-${first.id}`).inputValue()).toBe('half a thou');
    await page.locator(`#note-${first.id}`).fill('');
    await page.locator(`#finding-${first.id}`).waitFor({ state: 'detached' });
    const seen = polls.length;
    while (polls.length < seen + 2) await Bun.sleep(20);
    expect(site.served).toContain(304);
    expect(problems).toEqual([]);
    await close();
  });

  test('follows filters and pages without being loaded again', async () => {
    const { page, problems, close } = await openTab();
    await page.goto(`${site.url}${PATH}`);
    await page.evaluate(() => {
      document.title = 'the same page';
    });
    await page.getByRole('link', { name: 'Next page' }).first().click();
    await page.waitForURL(/after=/);
    await page.getByLabel('Symbol').fill('KEYS');
    await page.waitForURL((url) => url.searchParams.get('symbol') === 'KEYS');
    await shows(page, '.queue', 'KEYS');
    expect(new URL(page.url()).searchParams.has('after')).toBe(false);
    await page.getByLabel('Order').selectOption('serious');
    await page.waitForURL(/order=serious/);
    expect(await page.title()).toBe('the same page');
    // Kinds and states are links, and keep the rest of the filter.
    await page.getByRole('navigation', { name: 'Kind' }).getByText('volume spike').click();
    await page.waitForURL(/kind=volume_spike/);
    expect(new URL(page.url()).search).toBe('?kind=volume_spike&symbol=KEYS&order=serious');
    expect(problems).toEqual([]);
    await close();
  });

  test('works without JavaScript', async () => {
    const id = await add('PLAIN', eventfulBars('2022-01-03', 120, 31));
    const spikes = await idsOf(id, 'volume_spike');
    const [hard] = await idsOf(id, 'high_too_low');
    const { page, polls, close } = await openTab({ javaScriptEnabled: false });
    await page.goto(`${site.url}${PATH}?symbol=PLAIN`);
    const bulk = page.getByRole('form', { name: 'Decide about what is selected' });
    expect(await page.getByLabel('Select all on this page').isVisible()).toBe(false);
    await page.locator(`#pick-${spikes[0]}`).check();
    await page.locator(`#pick-${hard}`).check();
    await bulk.getByLabel('Note').fill('looked at');
    await bulk.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', 'Nothing is decided: finding');
    expect(await page.locator(`#pick-${hard}`).isChecked()).toBe(true);
    expect(await bulk.getByLabel('Note').inputValue()).toBe('looked at');
    await page.locator(`#pick-${hard}`).uncheck();
    await bulk.getByRole('button', { name: 'Accept' }).click();
    await shows(page, '#notices', 'Accepted: PLAIN');
    expect(page.url()).toBe(`${site.url}${PATH}?symbol=PLAIN`);
    expect(await page.locator(`#finding-${spikes[0]}`).count()).toBe(0);
    await page.getByRole('button', { name: 'Undo' }).click();
    await shows(page, '#notices', 'As before the decision: PLAIN');
    expect(page.url()).toBe(`${site.url}${PATH}?symbol=PLAIN`);
    expect(await page.locator(`#finding-${spikes[0]}`).count()).toBe(1);
    await page.reload();
    expect(await page.locator('#notices').textContent()).toBe('');
    expect(polls).toEqual([]);
    await close();
  });

  test('has room on a telephone', async () => {
    const { page, close } = await openTab({ viewport: { width: 360, height: 740 } });
    for (const path of ['', '/report', '/audit', '/audit?step=1']) {
      await page.goto(`${site.url}${PATH}${path}`);
      expect([path, await overflow(page)]).toEqual([path, 0]);
    }
    await close();
  });

  describe('the audit log', () => {
    test('shows the first thousand entries of a step, and says so', async () => {
      const keys = Array.from({ length: 1_002 }, (_, i) => `MANY${i}`);
      const by = { actor: 'test', atMs: Date.now() };
      await trackSymbols(database.write, keys, { isTracked: false, by });
      const [{ step }] = await database.write<{ step: number }[]>`
        select max(batch_id) as step from audit_log where action = 'symbol.track'`;
      const { html } = await get(`${PATH}/audit?step=${step}`);
      expect([...html.matchAll(/id="entry-\d+"/g)]).toHaveLength(1_000);
      expect(html).toContain('The first 1,000 entries of the step.');
      const list = await get(`${PATH}/audit`);
      expect(list.text).toContain('1,002 entries');
    });

    test('has a line for each step, the latest first, and pages', async () => {
      const { text, html } = await get(`${PATH}/audit`);
      expect(text).toContain('When Who What Symbol About Detail');
      const steps = await database.write<{ id: number }[]>`
        select min(audit_id) as id from audit_log group by batch_id order by 1 desc`;
      const shown = [...html.matchAll(/id="step-(\d+)"/g)].map(([, id]) => Number(id));
      expect(shown).toEqual(steps.map(({ id }) => id).slice(0, 50));
      expect(text).toMatch(/page 127\.0\.0\.1 finding accept \d+ findings/);
      await database.write`
        insert into audit_log (actor, action, target, detail)
        select 'cli root', 'symbol.rename', ${HOSTILE} || i, '{"from": "FB", "to": "META"}'
        from generate_series(1, 120) i`;
      const pages: number[][] = [];
      let path: string | undefined = `${PATH}/audit`;
      let last: Answer | undefined;
      while (path !== undefined) {
        last = await get(path);
        expect(last.html).not.toContain('<img');
        pages.push([...last.html.matchAll(/id="step-(\d+)"/g)].map(([, id]) => Number(id)));
        path = last.link('Earlier');
      }
      expect(pages.flat()).toHaveLength(steps.length + 120);
      expect(pages.flat()).toEqual(pages.flat().toSorted((one, other) => other - one));
      const back = await get(last!.link('Later')!);
      const shownBack = [...back.html.matchAll(/id="step-(\d+)"/g)].map(([, id]) => Number(id));
      expect(shownBack).toEqual(pages.at(-2)!);
      expect((await get(`${PATH}/audit`)).text).toContain('to META, from FB');
    });

    test('shows a step with its findings, and takes it back', async () => {
      const [findingId] = (await get(`${PATH}?symbol=KEYS`)).ids;
      const done = await act(`${PATH}/decide`, [
        ...pick([findingId]),
        ['decision', 'reject'],
        ['note', 'a misprint'],
      ]);
      const step = batchOf(done);
      const shown = await get(`${PATH}/audit?step=${step}`);
      expect(shown.text).toContain('finding reject by page 127.0.0.1 2024-03-04 03:00:00 UTC');
      expect(shown.text).toContain('open to rejected;');
      expect(shown.text).toContain('note: a misprint');
      const undone = await act(`${PATH}/audit/undo`, [['batch', step]]);
      expect(undone.text).toContain('As before the decision: KEYS');
      const again = await send(`${PATH}/audit/undo`, [['batch', step]]);
      expect(again.status).toBe(409);
      expect(again.text).toContain('is as it was before already');
      const [row] = await database.write`
        select state, note from findings where finding_id = ${findingId}`;
      expect({ ...row }).toEqual({ state: 'open', note: null });
      expect((await get(`${PATH}/audit?step=987654`)).text).toContain('There is no such step');
      for (const query of ['step=x', 'after=0', 'before=-1']) {
        expect((await get(`${PATH}/audit/status?${query}`)).status).toBe(422);
      }
    });

    test('answers 304 until something is done', async () => {
      const first = await get(`${PATH}/audit/status`);
      const etag = first.headers.get('etag')!;
      const path = `${PATH}/audit/status`;
      expect((await get(path, { 'if-none-match': etag })).status).toBe(304);
      const [findingId] = (await get(`${PATH}?symbol=KEYS`)).ids;
      await act(`${PATH}/decide`, [...pick([findingId]), ['decision', 'reject']]);
      expect((await get(path, { 'if-none-match': etag })).status).toBe(200);
    });
  });

  describe('the report', () => {
    const symbolsOf = ({ html }: Answer) =>
      [...html.matchAll(/<tr id="report-\d+".*?<a [^>]*>([^<]*)<\/a>/gs)].map(([, name]) => name);

    test('has a line for each symbol, what needs attention first', async () => {
      const page = await get(`${PATH}/report`);
      const symbols = symbolsOf(page);
      expect(symbols).toContain('AAPL');
      const [{ n }] = await database.write`
        select count(*)::int as n from instruments where is_tracked`;
      expect(symbols).toHaveLength(n);
      const open = (await selectPlainFindings(database.write, await idOf('KEYS'))).filter(
        ({ state }) => state === 'open',
      );
      const row = page.html.split('<tr ').find((one) => one.includes('/dashboard/symbols/KEYS'))!;
      expect(row).toContain(`href="${PATH}?symbol=KEYS"`);
      expect(row.replace(/<[^>]*>/g, ' ')).toMatch(new RegExp(`\\s${open.length}\\s`));
    });

    const idOf = async (symbol: string) => {
      const [{ id }] = await database.write<{ id: number }[]>`
        select instrument_id as id from symbol_ranges where symbol = ${symbol}`;
      return id;
    };

    test('is sorted and filtered', async () => {
      const ascending = symbolsOf(await get(`${PATH}/report?sort=symbol&dir=asc`));
      expect(ascending).toEqual([...ascending].sort());
      const descending = symbolsOf(await get(`${PATH}/report?sort=symbol&dir=desc`));
      expect(descending).toEqual(ascending.toReversed());
      for (const column of ['grade', 'score', 'validated', 'gaps', 'findings', 'coverage']) {
        const page = await get(`${PATH}/report/status?sort=${column}&dir=desc`);
        expect([column, page.status]).toEqual([column, 200]);
        expect(page.html).toContain('aria-sort="descending"');
      }
      for (const column of ['missing', 'behind']) {
        expect((await get(`${PATH}/report?sort=${column}`)).status).toBe(200);
      }
      expect(symbolsOf(await get(`${PATH}/report?q=aap`))).toEqual(['AAPL']);
      const none = await get(`${PATH}/report?q=zzz`);
      expect(none.text).toContain('No symbol matches this filter');
      const poor = symbolsOf(await get(`${PATH}/report?grade=poor`));
      const good = symbolsOf(await get(`${PATH}/report?grade=good`));
      expect(poor.length).toBeGreaterThan(0);
      expect(poor.filter((symbol) => good.includes(symbol))).toEqual([]);
      for (const query of ['sort=name', 'dir=up', 'page=0', 'grade=bad']) {
        expect([query, (await get(`${PATH}/report/status?${query}`)).status]).toEqual([query, 422]);
      }
    });

    test('is paged', async () => {
      await database.write`
        with added as (
          insert into instruments (is_tracked)
          select true from generate_series(1, 150) returning instrument_id)
        insert into symbol_ranges (instrument_id, symbol)
        select instrument_id, 'Z' || instrument_id from added`;
      context.symbols.clear();
      const first = await get(`${PATH}/report?sort=symbol`);
      expect(symbolsOf(first)).toHaveLength(100);
      const second = await get(first.link('Next page')!);
      const both = [...symbolsOf(first), ...symbolsOf(second)];
      expect(new Set(both).size).toBe(both.length);
      expect(both).toEqual([...both].sort());
      expect(symbolsOf(await get(`${PATH}/report?sort=symbol&page=99`))).toEqual(symbolsOf(second));
      const part = await get(`${PATH}/report/status`);
      const tag = part.headers.get('etag')!;
      expect((await get(`${PATH}/report/status`, { 'if-none-match': tag })).status).toBe(304);
    });
  });

  test('says so when the database is away', async () => {
    const away = openDatabase('postgres://nobody@127.0.0.1:1/nothing');
    const lost = await openSite({ ...context, database: away });
    for (const path of ['', '/report', '/audit']) {
      const answer = await fetch(`${lost.url}${PATH}${path}`);
      expect([path, answer.status]).toEqual([path, 503]);
      expect(await answer.text()).toContain('database');
      expect((await fetch(`${lost.url}${PATH}${path}/status`)).status).toBe(503);
    }
    await lost.stop();
    await away.close();
  });
});
