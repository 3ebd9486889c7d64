import { afterAll, beforeAll, expect, test } from 'bun:test';
import { openPool } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { Gate } from '../fixtures/http-gate.ts';
import { failureOf } from '../fixtures/warehouse.ts';

/** What the patch of the database driver is for: see scripts/postgres-3.4.9.patch. */

describeEditions('a connection that is cut while it opens', (clone) => {
  const gate = new Gate();
  let url: string;

  beforeAll(() => {
    url = gate.open(clone().url);
  });
  afterAll(() => gate.close());

  test('fails what waited for it and nothing else, and the next one serves', async () => {
    const rejections: unknown[] = [];
    const note = (reason: unknown) => void rejections.push(reason);
    process.on('unhandledRejection', note);
    const sql = openPool(url, { connections: 1, applicationName: 'test' });
    try {
      // What the driver asks for itself, before anything else.
      gate.cutAt = 'typcategory';
      expect(await failureOf(sql`select 1`)).toMatch(/CONNECTION_CLOSED|ECONNRESET/);
      gate.cutAt = undefined;
      expect(await sql`select 2 as two`).toEqual([{ two: 2 }] as never);
      expect(rejections).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
      await sql.end({ timeout: 2 });
    }
  });
});
