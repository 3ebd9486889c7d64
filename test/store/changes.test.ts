import { afterEach, expect, test } from 'bun:test';
import { deleteOverride, upsertOverride } from '../../src/store/calendar.ts';
import { finishRun, insertRun } from '../../src/store/jobs.ts';
import { deleteSymbols, upsertSymbols } from '../../src/store/symbols.ts';
import { notifyBars, withIngestLock } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import { addInstrument, failureOf, ingest } from '../fixtures/warehouse.ts';

describeEditions('changes', (database) => {
  const sql = () => database().sql;
  const open: ChangeLog[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((log) => log.close()));
  });

  /** A listener that listens. */
  const listen = async () => {
    const log = new ChangeLog(database().url);
    open.push(log);
    expect(await log.next()).toEqual({ kind: 'trust', isTrusted: true });
    return log;
  };

  const killListeners = () => sql()`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'marketd listen'`;

  test('of bars name the instruments, when they are committed', async () => {
    const id = await addInstrument(sql(), 'CHB');
    const log = await listen();
    await ingest(sql(), id, [flatBar('2024-01-10')]);
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: [id] });
    expect(await log.next()).toEqual({ kind: 'events', eventId: expect.any(Number) });
    await ingest(sql(), id, [flatBar('2024-01-10', { volume: 7 })]);
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: [id] });
  });

  test('are told to every listener', async () => {
    const id = await addInstrument(sql(), 'CHE');
    const [a, b] = [await listen(), await listen()];
    await ingest(sql(), id, [flatBar('2024-01-10')]);
    const told = { kind: 'bars' as const, instrumentIds: [id] };
    expect([await a.next(), await b.next()]).toEqual([told, told]);
  });

  test('that change nothing, or are rolled back, are not told', async () => {
    const id = await addInstrument(sql(), 'CHN');
    await ingest(sql(), id, [flatBar('2024-01-10')]);
    const log = await listen();
    await ingest(sql(), id, [flatBar('2024-01-10')]);
    const attempt = withIngestLock(sql(), async (tx) => {
      await notifyBars(tx, [id]);
      throw new Error('never mind');
    });
    expect(await failureOf(attempt)).toBe('never mind');
    await sql()`select pg_notify('marketd', 'runs')`;
    expect(await log.next()).toEqual({ kind: 'runs' });
  });

  test('of symbols and runs are told', async () => {
    const log = await listen();
    await upsertSymbols(sql(), ['CHS']);
    expect(await log.next()).toEqual({ kind: 'symbols' });
    await deleteSymbols(sql(), ['CHS']);
    expect(await log.next()).toEqual({ kind: 'symbols' });
    const run = await insertRun(sql(), { job: 'change', origin: 'command', total: 1 });
    expect(await log.next()).toEqual({ kind: 'runs' });
    await finishRun(sql(), run, 'succeeded', null);
    expect(await log.next()).toEqual({ kind: 'runs' });
  });

  test('of the calendar are told, unless nothing changes', async () => {
    const log = await listen();
    const closed = { date: '2027-05-05', kind: 'closed' as const, reason: 'Storm' };
    const by = { actor: 'test', atMs: 0 };
    await upsertOverride(sql(), closed, by);
    expect(await log.next()).toEqual({ kind: 'calendar' });
    await upsertOverride(sql(), closed, by);
    await deleteOverride(sql(), '2027-05-06', by);
    // Thought to be otherwise than it is.
    await deleteOverride(sql(), '2027-05-05', { ...by, expected: null });
    await deleteOverride(sql(), '2027-05-05', { ...by, expected: { ...closed, reason: 'x' } });
    expect(await sql()`select from calendar_overrides`).toHaveLength(1);
    await sql()`select pg_notify('marketd', 'runs')`;
    expect(await log.next()).toEqual({ kind: 'runs' });
    await deleteOverride(sql(), '2027-05-05', { ...by, expected: closed });
    expect(await log.next()).toEqual({ kind: 'calendar' });
  });

  test('of many instruments are told as all when their numbers do not fit', async () => {
    const log = await listen();
    const tell = (ids: number[]) => withIngestLock(sql(), (tx) => notifyBars(tx, ids));
    const long = Array.from({ length: 1000 }, (_, i) => 2_147_000_000 + i);
    await tell(long);
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: 'all' });
    // Ten digits and a space each: 726 and the word take 7,990 of 7,999 bytes, 727 are too many.
    await tell(long.slice(0, 726));
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: long.slice(0, 726) });
    await tell(long.slice(0, 727));
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: 'all' });
    await tell([]);
    await tell([5]);
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: [5] });
  });

  test('in words that are not known are passed over', async () => {
    const log = await listen();
    for (const words of ['', 'weather', 'barsoom 1', 'runs']) {
      await sql()`select pg_notify('marketd', ${words})`;
    }
    await sql()`select pg_notify('elsewhere', 'symbols')`;
    await sql()`select pg_notify('marketd', 'symbols')`;
    expect([await log.next(), await log.next()]).toEqual([{ kind: 'runs' }, { kind: 'symbols' }]);
  });

  test('may be missed once the connection is lost, until it is back', async () => {
    const log = await listen();
    await killListeners();
    expect(await log.next()).toEqual({ kind: 'trust', isTrusted: false });
    expect(await log.next()).toEqual({ kind: 'trust', isTrusted: true });
    await sql()`select pg_notify('marketd', 'bars 5 6')`;
    expect(await log.next()).toEqual({ kind: 'bars', instrumentIds: [5, 6] });
    expect(log.messages).toEqual([
      'the database is away (the connection was closed): trying again until it is back',
      'the database is back: listening for changes again',
    ]);
  });

  test('are not to be had from a database that does not exist, which is logged', async () => {
    const url = new URL(database().url);
    url.pathname = '/there_is_no_such_database';
    const log = new ChangeLog(url.toString());
    open.push(log);
    expect(await log.message()).toBe(
      'the database is away (database "there_is_no_such_database" does not exist): ' +
        'trying again until it is back',
    );
  });

  test('end with the listener', async () => {
    const [closed, log] = [await listen(), await listen()];
    await closed.close();
    await sql()`select pg_notify('marketd', 'runs')`;
    expect(await log.next()).toEqual({ kind: 'runs' });
    expect([closed.pending, closed.messages.length]).toEqual([0, 0]);
  });
});
