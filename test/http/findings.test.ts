import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { FINDING_KINDS } from '../../src/model/finding.ts';
import type { Sql } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { type Bar, flatBar } from '../fixtures/bars.ts';
import { selectFindingCounts } from '../fixtures/findings.ts';
import {
  FIRST,
  FLAWS,
  fillWarehouse,
  LAST,
  startServer,
  storeAnswers,
  type TestServer,
  until,
} from '../fixtures/http-server.ts';
import { countBars, selectCounters } from '../fixtures/warehouse.ts';

interface Finding {
  id: number;
  symbol: string;
  session: string;
  kind: string;
  state: string;
  note: string | null;
  decided_by: string | null;
  decided_at: string | null;
}

interface Detail extends Finding {
  bar: { time: string; quality_score: number; validated: boolean; flags: string[] } | null;
  before: { time: string }[];
  after: { time: string }[];
  history: object[];
}

interface Page {
  count: number;
  findings: Finding[];
  next_cursor: string | null;
}

interface Decided {
  changed: boolean;
  finding: Detail;
}

interface Problem {
  error: { code: string; message: string; field?: string };
}

/** Without what was seen between bars, which is tested where it is found. */
const ofBars = (findings: readonly Finding[]) =>
  findings.filter(({ kind }) => !kind.endsWith('_split'));

const short = ({ session, kind, state }: Finding) => `${session} ${kind} ${state}`;

describeEditions('findings over HTTP', (database) => {
  let server: TestServer;

  beforeAll(async () => {
    await fillWarehouse(database().sql);
    server = await startServer(database().url);
  });
  afterAll(() => server?.stop());

  const sql = (): Sql => database().sql;
  const list = (query = '') => server.json<Page>(`/api/v1/findings?${query}`);
  const findOf = async (kind: string): Promise<Finding> => {
    const { findings } = await list(`symbol=AAPL&state=all&kind=${kind}`);
    expect(findings).toHaveLength(1);
    return findings[0]!;
  };
  const show = (id: number) => server.json<Detail>(`/api/v1/findings/${id}`);
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    server.get(`/api/v1/admin/findings${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const decide = async (id: number, decision: string, note?: string): Promise<Decided> => {
    const response = await post(`/${id}`, { decision, note });
    expect([decision, response.status]).toEqual([decision, 200]);
    return (await response.json()) as Decided;
  };
  const problemOf = async (response: Response) => {
    const { error } = (await response.json()) as Problem;
    return { status: response.status, ...error };
  };
  const auditOf = async (query = '') => {
    const { entries } = await server.json<{ entries: Record<string, unknown>[] }>(
      `/api/v1/audit?${query}`,
    );
    return entries;
  };
  const servedSessions = async (more = '') => {
    const { data } = await server.json<{ data: { time: string }[] }>(
      `/api/v1/historical/AAPL?start=${FIRST}&end=${LAST}${more}`,
    );
    return data.map(({ time }) => time.slice(0, 10));
  };

  describe('reading', () => {
    test('gives the open ones of a symbol, the newest session first', async () => {
      const { findings, ...head } = await list('symbol=aapl');
      expect(head).toEqual({
        ...{ symbol: 'AAPL', state: 'open', limit: 100, next_cursor: null },
        count: findings.length,
      } as never);
      expect(ofBars(findings).map(short)).toEqual([
        `${FLAWS.drought} volume_drought open`,
        `${FLAWS.afterExtreme} gap_unexplained open`,
        `${FLAWS.extreme} extreme_move open`,
        `${FLAWS.impossible} high_below_low open`,
        `${FLAWS.impossible} high_too_low open`,
      ]);
      expect(ofBars(findings)[1]).toEqual({
        ...{ id: expect.any(Number), symbol: 'AAPL', timeframe: '1d' },
        ...{ session: FLAWS.afterExtreme, time: `${FLAWS.afterExtreme}T00:00:00Z` },
        ...{ kind: 'gap_unexplained', message: 'nothing corroborates the gap', state: 'open' },
        ...{ detail: null, note: null, decided_by: null, decided_at: null, resolved_at: null },
        found_at: '2024-02-01T12:00:00.000Z',
      } as never);
    });

    const filters: [query: string, sessions: string[]][] = [
      ['kind=extreme_move', [FLAWS.extreme]],
      [`start=${FLAWS.afterExtreme}`, [FLAWS.drought, FLAWS.afterExtreme]],
      [`end=${FLAWS.extreme}`, [FLAWS.extreme, FLAWS.impossible, FLAWS.impossible]],
      [`start=${FLAWS.extreme}&end=${FLAWS.extreme}`, [FLAWS.extreme]],
      ['timeframe=1m', []],
      ['timeframe=1d&kind=volume_spike', []],
      ['state=accepted', []],
      ['state=resolved', []],
    ];
    for (const [query, sessions] of filters) {
      test(`narrowed down by ${query}`, async () => {
        const { findings } = await list(`symbol=AAPL&${query}`);
        expect(ofBars(findings).map(({ session }) => session)).toEqual(sessions);
      });
    }

    test('in pages gives every one once', async () => {
      const { findings: all, next_cursor } = await list('limit=1000');
      expect(all.length).toBeGreaterThan(120);
      expect(next_cursor).toBeNull();
      const sessions = all.map(({ session }) => session);
      expect(sessions).toEqual([...sessions].sort().reverse());
      const found: Finding[] = [];
      let cursor = '';
      for (let page = 0; page < 20; page++) {
        const { findings, next_cursor: next } = await list(`limit=17${cursor}`);
        found.push(...findings);
        if (next === null) break;
        expect(findings).toHaveLength(17);
        cursor = `&cursor=${next}`;
      }
      expect(found).toEqual(all);
    });

    test('one has its bar, five on either side, and no decision yet', async () => {
      const { id } = await findOf('volume_drought');
      const { bar, before, after, history, ...head } = await show(id);
      expect(head).toEqual((await findOf('volume_drought')) as never);
      expect(bar).toMatchObject({
        ...{ time: `${FLAWS.drought}T00:00:00Z`, volume: 1000, quality_score: 0.9 },
        ...{ validated: true, flags: ['volume_drought'], provider: 'polygon', is_final: true },
      } as never);
      const dates = (bars: { time: string }[]) => bars.map(({ time }) => time.slice(0, 10));
      expect(dates(before)).toEqual([
        ...['2023-07-26', '2023-07-27', '2023-07-28', '2023-07-31', '2023-08-01'],
      ]);
      expect(dates(after)).toEqual([
        ...['2023-08-03', '2023-08-04', '2023-08-07', '2023-08-08', '2023-08-09'],
      ]);
      expect(history).toEqual([]);
    });

    test('one at the end has fewer neighbors', async () => {
      const { findings } = await list('symbol=BAD&limit=1');
      const { before, after } = await show(findings[0]!.id);
      expect([before.length, after.length]).toEqual([5, 0]);
    });

    const bad: [query: string, field: string, says: string][] = [
      ['state=closed', 'state', 'open or accepted or rejected or resolved or all'],
      ['kind=gap', 'kind', FINDING_KINDS.join(' or ')],
      ['kind=', 'kind', 'high_too_low'],
      ['timeframe=5m', 'timeframe', '1d or 1h or 1m'],
      ['start=2023', 'start', 'YYYY-MM-DD'],
      ['end=2023-02-30', 'end', 'a date that exists'],
      ['symbol=AAPL&asof=2023', 'asof', 'a date that exists'],
      ['start=2023-02-02&end=2023-02-01', 'end', 'lies before start'],
      ['limit=0', 'limit', 'a whole number from 1 to 1000'],
      ['limit=1001', 'limit', 'a whole number from 1 to 1000'],
      ['cursor=abc', 'cursor', 'next_cursor'],
      ['state=open&state=all', 'state', 'more than once'],
      ['symbol=A%20B', 'symbol', 'is not a symbol'],
    ];
    for (const [query, field, says] of bad) {
      test(`refuses ${query}`, async () => {
        const problem = await problemOf(await server.get(`/api/v1/findings?${query}`));
        expect(problem).toMatchObject({ status: 422, code: 'invalid_parameter', field });
        expect(problem.message).toContain(says);
      });
    }

    test('refuses a cursor of another address', async () => {
      const cursor = Buffer.from('t1.1.1').toString('base64url');
      const problem = await problemOf(await server.get(`/api/v1/findings?cursor=${cursor}`));
      expect(problem).toMatchObject({ status: 422, field: 'cursor' });
    });

    test('knows neither symbols nor findings that are not there', async () => {
      const symbol = await problemOf(await server.get('/api/v1/findings?symbol=NOPE'));
      expect(symbol).toMatchObject({ status: 404, code: 'unknown_symbol' });
      const finding = await problemOf(await server.get('/api/v1/findings/999999999'));
      expect(finding).toEqual({
        ...{ status: 404, code: 'unknown_finding', field: 'id' },
        message: 'there is no finding 999999999',
      });
      for (const id of ['0', '-1', '1.5', 'x', '9'.repeat(20)]) {
        const problem = await problemOf(await server.get(`/api/v1/findings/${id}`));
        expect(problem).toMatchObject({ status: 422, code: 'invalid_parameter', field: 'id' });
      }
    });
  });

  describe('deciding', () => {
    test('accepted, the bar is served as validated from then on', async () => {
      const { id } = await findOf('gap_unexplained');
      expect(await servedSessions()).not.toContain(FLAWS.afterExtreme);
      const note = 'the day after the extreme move';
      const { changed, finding } = await decide(id, 'accept', note);
      expect(changed).toBe(true);
      expect(finding).toMatchObject({
        ...{ id, state: 'accepted', note, decided_by: 'http 127.0.0.1', resolved_at: null },
        bar: {
          ...{ quality_score: 1, validated: true, flags: ['gap', 'gap_unexplained', 'accepted'] },
        },
        history: [
          {
            ...{ actor: 'http 127.0.0.1', decision: 'accept', note, state_before: 'open' },
            ...{ score_before: 0.8, score_after: 1 },
          },
        ],
      } as never);
      const sessions = await until(async () => {
        const served = await servedSessions();
        return served.includes(FLAWS.afterExtreme) ? served : undefined;
      });
      expect(sessions).not.toContain(FLAWS.extreme);
      // Nobody knew of the decision before it was taken.
      expect(await servedSessions('&known_at=2024-06-01')).not.toContain(FLAWS.afterExtreme);
      expect((await list('symbol=AAPL&state=accepted')).findings).toMatchObject([{ id }]);
    });

    test('the same again changes nothing and says so', async () => {
      const { id } = await findOf('gap_unexplained');
      const state = () => sql()`
        select (select count(*) from audit_log) as entries,
               (select count(*) from bar_revisions) as revisions,
               (select sum(version) from instrument_status) as version,
               (select f::text from findings f where finding_id = ${id}) as finding`;
      const [before] = await state();
      const { changed, finding } = await decide(id, 'accept');
      expect([changed, finding.state]).toEqual([false, 'accepted']);
      const again = await decide(id, 'accept', 'the day after the extreme move');
      expect(again.changed).toBe(false);
      expect(await state()).toEqual([before] as never);
    });

    test('with another note says more, and leaves the bar as it is', async () => {
      const { id } = await findOf('gap_unexplained');
      const { decided_at } = await show(id);
      const count = async () => (await sql()`select from bar_revisions`).length;
      const revisions = await count();
      const { changed, finding } = await decide(id, 'annotate', 'looked at twice');
      expect([changed, finding.note, finding.state]).toEqual([true, 'looked at twice', 'accepted']);
      expect(finding.decided_at).toBe(decided_at);
      expect(finding.history.at(-1)).toMatchObject({
        ...{ decision: 'annotate', note: 'looked at twice', score_before: null },
      });
      expect((await decide(id, 'annotate', 'looked at twice')).changed).toBe(false);
      expect(await count()).toBe(revisions);
    });

    test('reopened, the bar is scored as before', async () => {
      const { id } = await findOf('gap_unexplained');
      const { changed, finding } = await decide(id, 'reopen');
      expect(changed).toBe(true);
      expect(finding).toMatchObject({
        ...{ state: 'open', decided_by: null, decided_at: null, note: 'looked at twice' },
        bar: { quality_score: 0.8, validated: false, flags: ['gap', 'gap_unexplained'] },
      });
      expect((await decide(id, 'reopen')).changed).toBe(false);
    });

    test('rejected, the bar is left out and said to be', async () => {
      const { id } = await findOf('volume_drought');
      expect(await servedSessions()).toContain(FLAWS.drought);
      const { finding } = await decide(id, 'reject', 'half of it is missing');
      expect(finding).toMatchObject({
        state: 'rejected',
        bar: { quality_score: 0, validated: false, flags: ['volume_drought', 'rejected'] },
      });
      interface Historical {
        excluded: { bars: { date: string; score: number; reason: string }[] };
      }
      const path = `/api/v1/historical/AAPL?start=${FLAWS.drought}&end=${FLAWS.drought}`;
      const { excluded } = await until(async () => {
        const answer = await server.json<Historical>(path);
        return answer.excluded.bars.length > 0 ? answer : undefined;
      });
      expect(excluded.bars).toMatchObject([{ date: FLAWS.drought, score: 0 }]);
      expect(excluded.bars[0]!.reason).toContain('an operator rejected the bar');
      // Changing one's mind is one step.
      const { finding: accepted } = await decide(id, 'accept');
      expect(accepted).toMatchObject({ state: 'accepted', bar: { quality_score: 1 } });
      expect(accepted.history).toMatchObject([
        { decision: 'reject', state_before: 'open', score_before: 0.9, score_after: 0 },
        { decision: 'accept', state_before: 'rejected', score_before: 0, score_after: 1 },
      ]);
    });

    test('keeps what the bar said before, and the counters', async () => {
      const [{ id }] = await sql()`
        select instrument_id as id from symbol_ranges where symbol = 'AAPL'`;
      const revisions = await sql()`
        select timeframe, ts, score, reason, ts_replaced >= ts_received as is_later
        from bar_revisions
        where instrument_id = ${id} and session = ${FLAWS.drought} order by ts_replaced, score`;
      expect([...revisions].map(({ score, ...rest }) => [score, rest])).toEqual([
        [0.9, { timeframe: '1d', ts: null, reason: 'score', is_later: true }],
        [0, { timeframe: '1d', ts: null, reason: 'score', is_later: true }],
      ] as never);
      expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
      const { kept, counted } = await selectFindingCounts(sql());
      expect(kept).toEqual(counted);
    });

    test('refuses to accept what contradicts itself', async () => {
      const { id } = await findOf('high_too_low');
      const problem = await problemOf(await post(`/${id}`, { decision: 'accept' }));
      expect(problem).toEqual({
        ...{ status: 409, code: 'not_acceptable' },
        message:
          `finding ${id} (AAPL 1d ${FLAWS.impossible} high_too_low) cannot be accepted: the ` +
          'values of the bar contradict each other; it can be rejected or annotated',
      });
      expect((await findOf('high_too_low')).state).toBe('open');
      expect((await decide(id, 'reject')).finding.bar).toMatchObject({
        ...{ quality_score: 0, flags: ['high_too_low', 'high_below_low', 'rejected'] },
      });
      const { bar } = (await decide(id, 'reopen')).finding;
      expect(bar!.flags).toEqual(['high_too_low', 'high_below_low']);
    });

    test('refuses to decide about what is not so any more', async () => {
      const { id } = await findOf('extreme_move');
      const [old] = await sql()<Bar[]>`
        select session, open, high, low, close, volume from bars_1d
        where session = ${FLAWS.extreme} and close = 800`;
      const calm = flatBar(FLAWS.extreme, { volume: 1_000_000 });
      await storeAnswers(sql(), [{ symbol: 'AAPL', bars: [calm] }]);
      for (const decision of ['accept', 'reject', 'reopen']) {
        const problem = await problemOf(await post(`/${id}`, { decision }));
        expect(problem).toMatchObject({ status: 409, code: 'resolved' });
        expect(problem.message).toEndWith(`there is nothing to ${decision}`);
      }
      const { finding } = await decide(id, 'annotate', 'it was restated');
      expect(finding).toMatchObject({ state: 'resolved', note: 'it was restated' });
      await storeAnswers(sql(), [{ symbol: 'AAPL', bars: [old!] }]);
      expect((await show(id)).state).toBe('open');
    });

    test('of a bar below a day is the same', async () => {
      const [{ id }] = await sql()`
        select instrument_id as id from symbol_ranges where symbol = 'MSFT'`;
      const ts = new Date('2023-01-05T15:00:00Z');
      await sql()`
        insert into bars_1h (instrument_id, ts, session, part, flags, open, high, low, close,
          volume, score, ts_received, is_final, provider)
        select ${id}, ${ts}::timestamptz + i * interval '1 hour', '2023-01-05', 1,
               case when i = 0 then 192 else 0 end, 10, 11, 9, 10, 100,
               case when i = 0 then 0.8 else 1 end, ${ts}, true, 'polygon'
        from generate_series(-1, 1) i`;
      await sql()`
        insert into instrument_status (instrument_id, timeframe, records, validated_records,
          score_sum, first_session, latest_session, latest_score, providers)
        values (${id}, '1h', 3, 2, 2.8, '2023-01-05', '2023-01-05', 1, '{polygon}')`;
      const [{ finding_id }] = await sql()`
        insert into findings (instrument_id, timeframe, session, ts, kind, digest, ts_found)
        values (${id}, '1h', '2023-01-05', ${ts}, 'gap_unexplained', '', ${ts})
        returning finding_id`;
      const { finding } = await decide(finding_id, 'accept');
      expect(finding).toMatchObject({
        ...{ timeframe: '1h', time: '2023-01-05T15:00:00Z', state: 'accepted' },
        bar: { time: '2023-01-05T15:00:00Z', quality_score: 1 },
        before: [{ time: '2023-01-05T14:00:00Z' }],
        after: [{ time: '2023-01-05T16:00:00Z' }],
      } as never);
      const [status] = await sql()`
        select validated_records, excluded_records, score_sum, latest_score, version
        from instrument_status where instrument_id = ${id} and timeframe = '1h'`;
      expect({ ...status }).toEqual({
        ...{ validated_records: 3, excluded_records: 0, score_sum: 3, latest_score: 1 },
        version: 1,
      });
      const revisions = await sql()`
        select ts, score from bar_revisions where instrument_id = ${id} and timeframe = '1h'`;
      expect([...revisions]).toEqual([{ ts, score: 0.8 }]);
      const [entry] = await auditOf('symbol=MSFT');
      expect(entry!.target).toBe('MSFT 1h 2023-01-05T15:00:00.000Z gap_unexplained');
    });

    test('is remembered also when a finding goes to another instrument', async () => {
      const { id } = await findOf('gap_unexplained');
      const { history } = await show(id);
      expect(history.length).toBeGreaterThan(1);
      await sql()`
        update audit_log set instrument_id = null where detail ->> 'finding_id' = ${String(id)}`;
      expect((await show(id)).history).toEqual(history);
      await sql()`
        update audit_log a set instrument_id = f.instrument_id from findings f
        where finding_id = ${id} and a.detail ->> 'finding_id' = ${String(id)}`;
    });

    test('of the last bar is seen in the status', async () => {
      const { findings } = await list('symbol=BAD&limit=1');
      const [{ id }] = await sql()`
        select instrument_id as id from symbol_ranges where symbol = 'BAD'`;
      await decide(findings[0]!.id, 'reject');
      expect(await selectCounters(sql(), id)).toEqual(await countBars(sql(), id));
    });
  });

  describe('deciding about many', () => {
    const badIds = async (limit: number) =>
      (await list(`symbol=BAD&kind=high_too_low&limit=${limit}`)).findings.map(({ id }) => id);

    test('is one step, and says what changed', async () => {
      const ids = await badIds(30);
      const note = 'the column was shifted';
      const response = await post('', { ids: [...ids, ids[0]], decision: 'reject', note });
      const answer = (await response.json()) as { findings: Finding[] };
      expect(response.status).toBe(200);
      expect(answer).toMatchObject({ changed: 30, unchanged: 0 });
      expect(answer.findings.map(({ id, state }) => [id, state])).toEqual(
        ids.map((id) => [id, 'rejected']),
      );
      const again = await post('', { ids, decision: 'reject', note });
      expect(await again.json()).toMatchObject({ changed: 0, unchanged: 30 });
      const entries = await auditOf('symbol=BAD');
      expect(entries.filter(({ detail }) => (detail as Finding).note === note)).toHaveLength(30);
    });

    test('is all or nothing', async () => {
      const [soft, hard] = [await findOf('gap_unexplained'), await findOf('high_too_low')];
      expect([soft.state, hard.state]).toEqual(['open', 'open']);
      const refused = await problemOf(
        await post('', { ids: [soft.id, hard.id], decision: 'accept' }),
      );
      expect(refused).toMatchObject({ status: 409, code: 'not_acceptable' });
      const unknown = await problemOf(
        await post('', { ids: [soft.id, 999999999], decision: 'accept' }),
      );
      expect(unknown).toMatchObject({ status: 404, message: 'there is no finding 999999999' });
      expect((await findOf('gap_unexplained')).state).toBe('open');
    });

    const bad: [what: string, ids: unknown][] = [
      ['none', []],
      ['nothing', undefined],
      ['a number', 5],
      ['text', ['5']],
      ['a fraction', [1.5]],
      ['too many', Array.from({ length: 1001 }, (_, i) => i + 1)],
    ];
    for (const [what, ids] of bad) {
      test(`refuses ids that are ${what}`, async () => {
        const problem = await problemOf(await post('', { ids, decision: 'accept' }));
        expect(problem).toMatchObject({ status: 422, code: 'invalid_parameter', field: 'ids' });
        expect(problem.message).toContain('a list of 1 to 1000 whole numbers');
      });
    }
  });

  describe('refuses', () => {
    const bodies: [what: string, body: unknown, status: number, field?: string, says?: string][] = [
      ['no JSON', '{"decision":', 400],
      ['nothing', '', 400],
      ['a list', '[]', 400],
      ['null', 'null', 400],
      ['no decision', {}, 422, 'decision', 'accept or reject or annotate or reopen'],
      ['another decision', { decision: 'delete' }, 422, 'decision', 'accept or reject'],
      ['a number for it', { decision: 1 }, 422, 'decision', 'accept or reject'],
      ['a field nobody knows', { decision: 'accept', notes: 'x' }, 422, 'notes', 'decision, note'],
      ['a note that is no text', { decision: 'accept', note: 5 }, 422, 'note', 'a text'],
      ['an empty note', { decision: 'annotate', note: '  ' }, 422, 'note', 'it has none'],
      ['no note', { decision: 'annotate' }, 422, 'note', 'to annotate is to give one'],
      ['a long note', { decision: 'accept', note: 'x'.repeat(1001) }, 422, 'note', '1000'],
      ['a NUL', { decision: 'accept', note: 'a\0b' }, 422, 'note', 'no text'],
      ['half a character', { decision: 'accept', note: 'a\ud800' }, 422, 'note', 'no text'],
      ['too much', { decision: 'accept', note: 'x'.repeat(70_000) }, 413],
    ];
    for (const [what, body, status, field, says = ''] of bodies) {
      test(`${what}`, async () => {
        const { id } = await findOf('gap_unexplained');
        const problem = await problemOf(await post(`/${id}`, body));
        expect(problem).toMatchObject({ status, ...(field && { field }) });
        expect(problem.message).toContain(says);
        expect((await findOf('gap_unexplained')).state).toBe('open');
      });
    }

    test('a number that is no finding’s', async () => {
      const unknown = await problemOf(await post('/999999999', { decision: 'accept' }));
      expect(unknown).toMatchObject({ status: 404, code: 'unknown_finding' });
      const malformed = await problemOf(await post('/x', { decision: 'accept' }));
      expect(malformed).toMatchObject({ status: 422, field: 'id' });
    });

    const strangers: Record<string, string>[] = [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://example.com' },
      { origin: 'http://127.0.0.1:1' },
      { origin: 'null' },
      { 'sec-fetch-site': 'same-origin', origin: 'https://example.com' },
    ];
    for (const headers of strangers) {
      test(`what a page of another site sends: ${JSON.stringify(headers)}`, async () => {
        const { id } = await findOf('gap_unexplained');
        for (const [path, ids] of [
          [`/${id}`, undefined],
          ['', [id]],
        ] as const) {
          const body = { ids, decision: 'accept' };
          const problem = await problemOf(await post(path, body, headers));
          expect(problem).toMatchObject({ status: 403, code: 'cross_site' });
        }
        expect((await findOf('gap_unexplained')).state).toBe('open');
      });
    }

    test('what is not said to be JSON', async () => {
      const { id } = await findOf('gap_unexplained');
      const types = ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp'];
      for (const type of types) {
        const headers = { 'content-type': type };
        const problem = await problemOf(await post(`/${id}`, { decision: 'accept' }, headers));
        expect(problem).toMatchObject({ status: 415, code: 'unsupported_type' });
      }
      expect((await findOf('gap_unexplained')).state).toBe('open');
    });

    test('but takes what its own pages and programs send', async () => {
      const { id } = await findOf('gap_unexplained');
      const own = [
        { 'sec-fetch-site': 'same-origin', origin: new URL(server.url).origin },
        { 'sec-fetch-site': 'none' },
        { 'content-type': 'application/json; charset=utf-8' },
      ];
      for (const headers of own) {
        const response = await post(`/${id}`, { decision: 'reopen' }, headers as never);
        expect(response.status).toBe(200);
      }
    });
  });

  describe('the audit log', () => {
    test('has every decision, the latest first', async () => {
      const entries = await auditOf('symbol=AAPL');
      const { id } = await findOf('gap_unexplained');
      const about = entries.filter(
        ({ detail }) => (detail as Finding & { finding_id: number }).finding_id === id,
      );
      expect(about.map(({ action }) => action)).toEqual([
        ...['finding.reopen', 'finding.annotate', 'finding.accept'],
      ]);
      expect(about[2]).toEqual({
        ...{ id: expect.any(Number), at: expect.any(String), actor: 'http 127.0.0.1' },
        ...{ action: 'finding.accept', symbol: 'AAPL' },
        target: `AAPL 1d ${FLAWS.afterExtreme} gap_unexplained`,
        detail: {
          ...{ finding_id: id, state_before: 'open', state_after: 'accepted' },
          ...{ note: 'the day after the extreme move', score_before: 0.8, score_after: 1 },
          before: {
            ...{ note: null, decided_by: null, decided_at: null },
            digest: expect.stringMatching(/^[0-9a-f]{32}$/),
          },
        },
      });
      expect(await auditOf('limit=1')).toHaveLength(1);
      expect(await auditOf('symbol=ABRpD')).toEqual([]);
      const ids = (await auditOf()).map((entry) => entry.id as number);
      expect(ids).toEqual([...ids].sort((a, b) => b - a));
    });

    test('refuses what it does not understand', async () => {
      const get = async (query: string) => problemOf(await server.get(`/api/v1/audit?${query}`));
      expect(await get('limit=0')).toMatchObject({ status: 422, field: 'limit' });
      expect(await get('limit=5&limit=6')).toMatchObject({ status: 422, field: 'limit' });
      expect(await get('symbol=NOPE')).toMatchObject({ status: 404, code: 'unknown_symbol' });
    });
  });
});
