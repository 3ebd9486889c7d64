import { beforeAll, describe, expect, test } from 'bun:test';
import { userInfo } from 'node:os';
import { describeEditions } from '../database.ts';
import { runCli } from '../fixtures/cli-process.ts';
import { selectPlainFindings } from '../fixtures/findings.ts';
import { FLAWS, fillWarehouse } from '../fixtures/http-server.ts';

interface Finding {
  id: number;
  symbol: string;
  session: string;
  kind: string;
  state: string;
  note: string | null;
  decided_by: string | null;
}

describeEditions('marketd findings', (database) => {
  const findings = (...args: string[]) =>
    runCli(['findings', ...args], { DATABASE_URL: database().url });
  const json = async <T>(...args: string[]): Promise<T> => {
    const { code, out, err } = await findings(...args, '--json');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    return JSON.parse(out) as T;
  };
  const idOf = async (kind: string, state = 'all') => {
    const found = await json<Finding[]>('AAPL', '--kind', kind, '--state', state);
    expect(found).toHaveLength(1);
    return String(found[0]!.id);
  };

  beforeAll(() => fillWarehouse(database().sql));

  test('lists the open ones of a symbol, the newest session first', async () => {
    const { code, out, err } = await findings('AAPL', '--kind', 'gap_unexplained');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const [header, row, ...rest] = out.trimEnd().split('\n');
    expect(header).toMatch(/^id +symbol +timeframe +at +kind +state +note$/);
    expect(row).toMatch(
      new RegExp(`^\\d+ +AAPL +1d +${FLAWS.afterExtreme} +gap_unexplained +open$`),
    );
    expect(rest).toEqual([]);
    const all = await json<Finding[]>('AAPL');
    const sessions = all.map(({ session }) => session);
    expect(sessions.length).toBeGreaterThan(4);
    expect(sessions).toEqual([...sessions].sort().reverse());
  });

  test('says that there are more', async () => {
    const { out, err } = await findings('--limit', '3');
    expect(out.trimEnd().split('\n')).toHaveLength(4);
    expect(err).toBe('there are more: --limit says how many to show\n');
  });

  test('says that there are none', async () => {
    expect(await findings('MSFT')).toEqual({ code: 0, out: 'no findings\n', err: '' });
  });

  test('accepts, in the name of who runs it, and says when it was so before', async () => {
    const id = await idOf('gap_unexplained');
    const { code, out } = await findings('accept', id, '--note', 'seen in the  news');
    expect(code).toBe(0);
    expect(out).toMatch(/gap_unexplained +accepted +seen in the news\n1 changed\n$/);
    const again = await findings('accept', id);
    expect(again.out).toEndWith('\n0 changed, 1 were so before\n');
    const { username } = userInfo();
    const [{ actor, target, detail }] = await database().sql`
      select actor, target, detail from audit_log`;
    expect({ actor, target }).toEqual({
      actor: `cli ${username}`,
      target: `AAPL 1d ${FLAWS.afterExtreme} gap_unexplained`,
    });
    expect(detail).toMatchObject({ score_before: 0.8, score_after: 1, note: 'seen in the  news' });
  });

  test('decides about several at once, and prints JSON', async () => {
    const ids = [await idOf('gap_unexplained'), await idOf('volume_drought')];
    interface Answer {
      changed: number;
      unchanged: number;
      findings: Finding[];
    }
    const rejected = await json<Answer>('reject', ...ids);
    expect(rejected).toMatchObject({ changed: 2, unchanged: 0 });
    expect(rejected.findings.map(({ id, state }) => [String(id), state])).toEqual(
      ids.map((id) => [id, 'rejected']),
    );
    const annotated = await json<Answer>('annotate', ...ids, '--note', 'x');
    expect(annotated.findings.map(({ note }) => note)).toEqual(['x', 'x']);
    expect(await json<Answer>('reopen', ...ids)).toMatchObject({ changed: 2 });
  });

  describe('refuses', () => {
    const cases: [args: string[], says: string][] = [
      [['AAPL', 'MSFT'], 'name one symbol, or none for all of them'],
      [['NOPE'], 'there is no symbol NOPE here'],
      [['A B'], 'is not a symbol'],
      [['--kind', 'gap'], '--kind is "gap": it must be high_too_low or'],
      [['--state', 'closed'], '--state is "closed": it must be open or accepted'],
      [['--limit', '0'], '--limit is "0": it must be a whole number from 1'],
      [['--note', 'x'], "Unknown option '--note'"],
      [['accept'], 'name the findings to accept: their ids'],
      [['accept', 'AAPL'], 'ID is "AAPL": it must be a whole number'],
      [['accept', '999999999'], 'there is no finding 999999999'],
      [['annotate', '1'], 'a note is missing'],
      [['reject', '1', '--state', 'open'], "Unknown option '--state'"],
    ];
    for (const [args, says] of cases) {
      test(args.join(' '), async () => {
        const { code, out, err } = await findings(...args);
        expect({ code, out }).toEqual({ code: 2, out: '' });
        expect(err).toContain(says);
      });
    }

    test('to accept what contradicts itself, with all that was named beside it', async () => {
      const ids = [await idOf('volume_drought'), await idOf('high_too_low')];
      const { code, err } = await findings('accept', ...ids);
      expect(code).toBe(2);
      expect(err).toContain('cannot be accepted');
      const { sql } = database();
      const [{ id }] = await sql`
        select instrument_id as id from symbol_ranges where symbol = 'AAPL'`;
      const states = (await selectPlainFindings(sql, id)).map(({ state }) => state);
      expect(new Set(states)).toEqual(new Set(['open']));
    });
  });

  test('--help says what decisions do', async () => {
    const { code, out } = await findings('--help');
    expect(code).toBe(0);
    expect(out).toContain('marketd findings accept ID...');
    expect(out.split('\n').every((line) => line.length <= 100)).toBe(true);
  });
});
