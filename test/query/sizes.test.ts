import { expect, test } from 'bun:test';
import { selectServerState } from '../../src/query/server-state.ts';
import { selectSizes } from '../../src/query/sizes.ts';
import { leaseLock } from '../../src/store/jobs.ts';
import { MIGRATIONS } from '../../src/store/migrate.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

describeEditions('sizes', (database) => {
  const find = async (name: string) => {
    const { tables } = await selectSizes(database().sql);
    return tables.find((table) => table.name === name);
  };

  test('of a new warehouse: every table once, the largest first', async () => {
    const { sql } = database();
    const { databaseBytes, tables } = await selectSizes(sql);
    const names = await sql<{ name: string }[]>`
      select tablename as name from pg_tables where schemaname = current_schema()`;
    expect(tables.map(({ name }) => name).sort()).toEqual(names.map(({ name }) => name).sort());
    const sizes = tables.map(({ dataBytes, indexBytes }) => dataBytes + indexBytes);
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
    expect(databaseBytes).toBeGreaterThan(sizes.reduce((sum, size) => sum + size, 0));
    expect(await find('bars_1d')).toMatchObject({ rows: null, isCounted: false, chunks: 0 });
  });

  test('of bars: the rows that were counted, and all chunks together', async () => {
    const { sql, edition } = database();
    const id = await addInstrument(sql, 'AAPL');
    const before = await find('bars_1d');
    const old = sessionsFrom('2012-03-01', 300).map((session) => flatBar(session));
    const late = sessionsFrom('2022-03-01', 300).map((session) => flatBar(session));
    await ingest(sql, id, [...old, ...late]);
    const after = (await find('bars_1d'))!;
    expect(after).toMatchObject({ rows: 600, isCounted: true, compressed: null });
    expect(after.dataBytes).toBeGreaterThan(before!.dataBytes);
    expect(after.indexBytes).toBeGreaterThan(8192);
    // Chunks of five years.
    expect(after.chunks).toBe(edition === 'plain' ? 0 : 2);
    const [whole] = await sql<{ bytes: number }[]>`
      select coalesce(sum(pg_total_relation_size(inhrelid)), 0)::float8
               + pg_total_relation_size('bars_1d') as bytes
      from pg_inherits where inhparent = 'bars_1d'::regclass`;
    expect(after.dataBytes + after.indexBytes).toBe(whole.bytes);
  });

  test('of a table that nobody counts: as many rows as the planner believes', async () => {
    const { sql } = database();
    await sql`insert into settings select 'size ' || i, 'x' from generate_series(1, 500) i`;
    await sql`analyze settings`;
    const [{ rows }] = await sql<{ rows: number }[]>`select count(*) as rows from settings`;
    expect(await find('settings')).toMatchObject({ rows, isCounted: false, chunks: 0 });
  });
});

describeEditions('the server', (database) => {
  test('says which it is, and whether somebody leads', async () => {
    const { sql, edition, url } = database();
    const alone = await selectServerState(sql);
    expect(alone.postgres).toMatch(/^1[5-9]\.\d+$/);
    if (edition === 'plain') expect(alone.timescale).toBeNull();
    else expect(alone.timescale).toMatch(/^2\.\d+/);
    expect(alone.schema).toBe(MIGRATIONS.at(-1)!.version);
    expect(alone.migratedAt.getTime()).toBeGreaterThan(Date.parse('2026-01-01'));
    expect(alone.startedAt.getTime()).toBeLessThan(Date.now());
    expect(alone.connections).toBeGreaterThan(0);
    expect(alone.connectionsMax).toBe(300);
    expect(alone.leader).toBeNull();
    const other = await leaseLock(url, 'something else');
    const lease = await leaseLock(url, 'scheduler');
    try {
      const { leader } = await selectServerState(sql);
      expect(leader?.since?.getTime()).toBeGreaterThan(alone.startedAt.getTime());
      expect(leader?.address).toBe('127.0.0.1');
    } finally {
      await lease?.release();
      await other?.release();
    }
  });
});
