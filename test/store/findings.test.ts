import { describe, expect, test } from 'bun:test';
import { barDigest } from '../../src/model/finding.ts';
import type { Sql } from '../../src/store/database.ts';
import { decideFindings, RefusedDecision } from '../../src/store/decisions.ts';
import { MIGRATIONS, migrate } from '../../src/store/migrate.ts';
import { describeEditions, emptyDatabase } from '../database.ts';
import { eventfulBars, toColumns } from '../fixtures/bars.ts';
import { selectFindingCounts, selectPlainFindings } from '../fixtures/findings.ts';
import { addInstrument, ingest, RECEIVED } from '../fixtures/warehouse.ts';

const HOUR = 3_600_000;
const BARS = eventfulBars('2022-01-03', 250, 12);

/** What an ingest says of findings, without their numbers. */
const described = async (sql: Sql, id: number) =>
  (await selectPlainFindings(sql, id))
    .filter(({ kind }) => !kind.endsWith('_split'))
    .map(({ id: _, ...finding }) => finding);

describeEditions('findings', (database) => {
  test('of bars from before there were any are made when the schema is brought up', async () => {
    const { sql, drop } = await emptyDatabase(database().edition);
    try {
      const now = database().sql;
      const id = await addInstrument(now, 'NEW');
      await ingest(now, id, BARS);
      await migrate(sql, MIGRATIONS.slice(0, 3));
      await sql`insert into instruments (name) values ('Old')`;
      const stored = await now`
        select session, flags, open, high, low, close, volume, score, ts_received
        from bars_1d where instrument_id = ${id} order by session`;
      for (const bar of stored) {
        await sql`
          insert into bars_1d (instrument_id, session, flags, open, high, low, close, volume, score,
            ts_received, is_final, provider)
          values (1, ${bar.session}, ${bar.flags}, ${bar.open}, ${bar.high}, ${bar.low},
                  ${bar.close}, ${bar.volume}, ${bar.score}, ${bar.ts_received}, true, 'vendor')`;
      }
      const ts = new Date('2022-01-04T15:00:00Z');
      for (const table of ['bars_1m', 'bars_1h']) {
        await sql`
          insert into ${sql(table)} (instrument_id, ts, session, part, flags, open, high, low,
            close, volume, score, ts_received, is_final, provider)
          values (1, ${ts}, '2022-01-04', 1, 192, 10, 11, 9, 10.1, 0, 0.8, ${ts}, true, 'vendor')`;
      }
      await migrate(sql);
      const expected = await described(now, id);
      expect(expected.length).toBeGreaterThan(40);
      expect(await described(sql, 1)).toEqual(expected);
      const bar = { session: '2022-01-04', open: 10, high: 11, low: 9, close: 10.1, volume: 0 };
      for (const timeframe of ['1m', '1h']) {
        const rows = await sql`
          select kind, ts, digest from findings
          where instrument_id = 1 and timeframe = ${timeframe}`;
        expect([...rows]).toEqual([
          { kind: 'gap_unexplained', ts, digest: barDigest(toColumns([bar]), 0) },
        ]);
      }
      const { kept, counted } = await selectFindingCounts(sql);
      expect(kept).toEqual(counted);
    } finally {
      await drop();
    }
  });

  describe('deciding', () => {
    const add = async (symbol: string) => {
      const id = await addInstrument(database().sql, symbol);
      await ingest(database().sql, id, BARS);
      return id;
    };
    const openOf = async (id: number, kind: string) =>
      (await selectPlainFindings(database().sql, id)).filter((one) => one.kind === kind);

    test('at once is one after the other: the same is decided once', async () => {
      const { sql } = database();
      const id = await add('ONCE');
      const findingIds = (await openOf(id, 'volume_spike')).map((one) => one.id);
      expect(findingIds.length).toBeGreaterThan(3);
      const outcomes = await Promise.all(
        ['a', 'b', 'c'].map((actor) =>
          decideFindings(sql, { findingIds, decision: 'accept', actor }, RECEIVED + HOUR),
        ),
      );
      const changed = outcomes.map((outcome) => outcome.changed.length).sort((a, b) => a - b);
      expect(changed).toEqual([0, 0, findingIds.length]);
      const log = await sql`select ts from audit_log where instrument_id = ${id}`;
      expect(log.map(({ ts }) => ts.getTime())).toEqual(findingIds.map(() => RECEIVED + HOUR));
    });

    test('takes the clock it is given, for the bar as it was before too', async () => {
      const { sql } = database();
      const id = await add('CLOCK');
      const [{ id: findingId, session }] = await openOf(id, 'volume_spike');
      const at = RECEIVED + 3 * HOUR;
      await decideFindings(sql, { findingIds: [findingId], decision: 'reject', actor: 'x' }, at);
      const [revision] = await sql`
        select reason, ts_replaced, ts_received from bar_revisions
        where instrument_id = ${id} and session = ${session}`;
      expect({ ...revision }).toEqual({
        ...{ reason: 'score', ts_replaced: new Date(at), ts_received: new Date(RECEIVED) },
      });
      const [bar] = await sql`
        select ts_received from bars_1d where instrument_id = ${id} and session = ${session}`;
      expect(bar.ts_received).toEqual(new Date(RECEIVED));
      expect(
        await sql`
        select revisions from instrument_status where instrument_id = ${id}`.values(),
      ).toEqual([[0]] as never);
    });

    test('that is refused leaves nothing', async () => {
      const { sql } = database();
      const id = await add('REFUSED');
      const soft = (await openOf(id, 'volume_spike'))[0]!;
      const attempt = decideFindings(
        sql,
        { findingIds: [soft.id, -1], decision: 'reject', actor: 'x' },
        RECEIVED,
      );
      const error = await attempt.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(RefusedDecision);
      expect((error as RefusedDecision).code).toBe('unknown_finding');
      expect(await findOneById(soft.id)).toEqual(soft);
    });

    const findOneById = async (findingId: number) => {
      const { sql } = database();
      const [{ instrument_id }] = await sql`
        select instrument_id from findings where finding_id = ${findingId}`;
      const all = await selectPlainFindings(sql, instrument_id);
      return all.find((one) => one.id === findingId);
    };

    test('of one finding leaves the other deductions of its bar', async () => {
      const { sql } = database();
      const id = await addInstrument(sql, 'BOTH');
      const bars = BARS.filter(({ session }) => session < '2022-06-01');
      const last = bars.at(-1)!;
      Object.assign(last, { low: 1, open: last.open / 2, volume: 1e8, high: 1e4, close: 9e3 });
      await ingest(sql, id, bars);
      const score = async () => {
        const [bar] = await sql`
          select score from bars_1d where instrument_id = ${id} and session = ${last.session}`;
        return bar.score as number;
      };
      const before = await score();
      const found = (await selectPlainFindings(sql, id)).filter(
        ({ session, kind }) => session === last.session && !kind.endsWith('_split'),
      );
      expect(found.map(({ kind }) => kind)).toEqual(['extreme_move', 'volume_spike']);
      expect(before).toBe(0.3);
      const accept = (findingId: number) =>
        decideFindings(sql, { findingIds: [findingId], decision: 'accept', actor: 'x' }, RECEIVED);
      await accept(found[0]!.id);
      expect(await score()).toBe(0.8);
      await accept(found[1]!.id);
      expect(await score()).toBe(1);
      const reopen = { findingIds: [found[0]!.id], decision: 'reopen' as const, actor: 'x' };
      await decideFindings(sql, reopen, RECEIVED);
      expect(await score()).toBe(0.5);
    });
  });
});
