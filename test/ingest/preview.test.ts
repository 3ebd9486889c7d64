import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { previewJob } from '../../src/ingest/preview.ts';
import { type BackfillArguments, checkArguments } from '../../src/store/job-requests.ts';
import { EDITIONS } from '../database.ts';
import { dailyBars, marketBars, openWorld } from '../fixtures/backfill-world.ts';

const FIRST = '2024-02-20';
const LAST = '2024-03-01';
const NOW = '2024-03-02T04:00:00Z';
const SESSIONS = dailyBars(FIRST, LAST).length;
const SYMBOLS = ['AAA', 'BBB'];

for (const edition of EDITIONS) {
  describe(`preview (${edition})`, () => {
    const open = () =>
      openWorld(edition, { now: NOW, firstSession: FIRST, bars: marketBars(SYMBOLS, FIRST, LAST) });
    const asked = (change: Partial<BackfillArguments> = {}): BackfillArguments => {
      const all = { symbols: SYMBOLS, timeframe: '1d', firstSession: FIRST, lastSession: null };
      return checkArguments({ ...all, retryEmpty: false, ...change }, Date.parse(NOW));
    };

    test('of a backfill says what it costs, and it costs that', async () => {
      await using world = await open();
      const cost = await previewJob(world.context, asked());
      expect(cost).toMatchObject({ symbols: 2, dueSessions: 2 * SESSIONS, minutes: 0 });
      expect([cost.requests.total, cost.requestsPerMinute]).toEqual([6, 60_000]);
      const slow = {
        ...world.context,
        provider: { ...world.context.provider, requestsPerMinute: 2 },
      };
      expect(await previewJob(slow, asked())).toMatchObject({ minutes: 3, requestsPerMinute: 2 });
      expect(world.vendor().requests).toEqual([]);
      const [stored] = await world.sql`select count(*) as symbols from instruments`;
      expect(stored).toEqual({ symbols: 0 });
      const report = await world.backfill(SYMBOLS);
      expect(report.plan).toEqual(cost.requests);
      expect(await previewJob(world.context, asked())).toMatchObject({
        ...{ symbols: 2, dueSessions: 0, requests: { total: 0 }, minutes: 0 },
      });
    });

    test('of a backfill has a last session, and may ask again for what was empty', async () => {
      await using world = await open();
      const one = await previewJob(world.context, asked({ lastSession: FIRST }));
      expect(one.dueSessions).toBe(2);
      await world.backfill(['EMPTY']);
      const empty = asked({ symbols: ['EMPTY'] });
      expect((await previewJob(world.context, empty)).dueSessions).toBe(0);
      const again = await previewJob(world.context, { ...empty, retryEmpty: true });
      expect(again.dueSessions).toBe(SESSIONS);
    });

    test('of a repair counts the holes, of symbols that are known', async () => {
      await using world = await open();
      await world.backfill(SYMBOLS);
      await world.sql`delete from bars_1d where session = '2024-02-22'`;
      const cost = await previewJob(world.context, asked(), 'repair');
      expect(cost).toMatchObject({ symbols: 2, dueSessions: 2 });
      expect(cost.requests.total).toBeGreaterThan(0);
      const unknown = previewJob(world.context, asked({ symbols: ['NOPE'] }), 'repair');
      await expect(unknown).rejects.toThrow(InputError);
    });

    test('of all symbols counts those that are tracked', async () => {
      await using world = await open();
      await world.backfill(['AAA']);
      const cost = await previewJob(world.context, asked({ symbols: null }));
      expect(cost).toMatchObject({ symbols: 1, dueSessions: 0 });
    });
  });
}
