import { expect, test } from 'bun:test';
import { describeEditions } from '../database.ts';
describeEditions('x', (database) => {
  test('a', async () => {
    const rows = await database().sql`select version() v, (select count(*)::int from instruments) n`;
    console.log(rows);
    expect(rows.length).toBe(1);
  });
});
