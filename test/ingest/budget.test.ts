import { describe, expect, test } from 'bun:test';
import { limitPlan } from '../../src/ingest/budget.ts';
import {
  type ActionTask,
  type BackfillPlan,
  countRequests,
  type PlannedInstrument,
} from '../../src/ingest/plan.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import { below, type Random, seededRandom } from '../fixtures/bars.ts';

const instrument = (id: number, isDescribed = true): PlannedInstrument => ({
  ...{ instrumentId: id, symbol: `S${id}`, providerSymbol: `S${id}` },
  ...{ listedOn: null, delistedOn: null, isDescribed },
});

const range = (one: PlannedInstrument, first: string, last: string) => {
  const { providerSymbol } = one;
  return { instrument: one, providerSymbol, firstDay: toDay(first), lastDay: toDay(last) };
};

const action = (covers: PlannedInstrument[], last: string, requests = 1): ActionTask => ({
  ...{ dataset: 'splits', covers, firstDay: toDay('2020-01-02'), lastDay: toDay(last), requests },
});

function makePlan(change: Partial<BackfillPlan>): BackfillPlan {
  const none = { ranges: [], grouped: [], refused: [], actions: [], describe: [] };
  return countRequests({ ...none, dueSessions: 9, ...change });
}

/** What a plan asks for, a word each. */
const words = (plan: BackfillPlan) => [
  ...plan.describe.map(({ symbol }) => `name ${symbol}`),
  ...plan.actions.map(({ covers }) => `splits of ${covers.length}`),
  ...plan.grouped.map(({ day, instruments }) => `${toDate(day)} of ${instruments.length}`),
  ...plan.ranges.map(({ instrument: { symbol }, lastDay }) => `${symbol} to ${toDate(lastDay)}`),
];

describe('a budget', () => {
  const [a, b, c] = [instrument(1), instrument(2), instrument(3)];

  test('that pays for everything changes nothing', () => {
    const plan = makePlan({ ranges: [range(a, '2024-01-02', '2024-01-31')], describe: [a] });
    expect(limitPlan(plan, 2)).toBe(plan);
    expect(limitPlan(plan, 100)).toBe(plan);
  });

  test('pays for the newest sessions first, and of those for what serves most', () => {
    const plan = makePlan({
      ranges: [
        range(a, '2024-01-02', '2024-01-31'),
        range(b, '2024-01-02', '2024-02-29'),
        range(c, '2020-01-02', '2024-02-29'),
      ],
      grouped: [
        { day: toDay('2024-03-01'), instruments: [a, b, c] },
        { day: toDay('2024-02-01'), instruments: [a, b] },
      ],
    });
    const grow = [1, 2, 3, 4, 5].map((budget) => words(limitPlan(plan, budget)).sort());
    expect(grow[0]).toEqual(['2024-03-01 of 3']);
    expect(grow[1]).toEqual(['2024-03-01 of 3', 'S3 to 2024-02-29']);
    expect(grow[2]).toEqual(['2024-03-01 of 3', 'S2 to 2024-02-29', 'S3 to 2024-02-29']);
    expect(grow[3]).toContain('2024-02-01 of 2');
    expect(grow[4]).toHaveLength(5);
  });

  test('pays for bars before splits, and leaves out what it cannot', () => {
    const plan = makePlan({
      ranges: [range(a, '2024-01-02', '2024-02-29')],
      actions: [action([a, b, c], '2024-03-01', 5), action([b], '2024-02-28')],
    });
    expect(words(limitPlan(plan, 1))).toEqual(['S1 to 2024-02-29']);
    expect(words(limitPlan(plan, 5))).toEqual(['splits of 1', 'S1 to 2024-02-29']);
    expect(words(limitPlan(plan, 6))).toEqual(['splits of 3', 'S1 to 2024-02-29']);
  });

  test('pays for a name with the bars of the symbol, once', () => {
    const [x, y] = [instrument(8, false), instrument(9, false)];
    const plan = makePlan({
      ranges: [
        range(x, '2024-01-02', '2024-02-29'),
        range(x, '2022-01-03', '2022-02-28'),
        range(y, '2024-01-02', '2024-02-28'),
      ],
      describe: [x, y],
    });
    expect(words(limitPlan(plan, 1))).toEqual(['S8 to 2024-02-29']);
    expect(words(limitPlan(plan, 2))).toEqual(['name S8', 'S8 to 2024-02-29']);
    expect(words(limitPlan(plan, 3))).toEqual([
      ...['name S8', 'S8 to 2024-02-29', 'S9 to 2024-02-28'],
    ]);
    expect(words(limitPlan(plan, 4))).toEqual([
      ...['name S8', 'name S9', 'S8 to 2024-02-29', 'S9 to 2024-02-28'],
    ]);
  });

  test('keeps what costs nothing, and what is known to be due', () => {
    const refused = [range(a, '2010-01-04', '2015-12-31')];
    const ranges = [range(a, '2024-01-02', '2024-01-31'), range(b, '2024-01-02', '2024-01-31')];
    const limited = limitPlan(makePlan({ refused, ranges, dueSessions: 77 }), 1);
    expect([limited.refused, limited.dueSessions, limited.requests.total]).toEqual([
      ...[refused, 77, 1],
    ]);
  });

  function randomPlan(random: Random): BackfillPlan {
    const all = Array.from({ length: 1 + below(random, 20) }, (_, i) =>
      instrument(i, random() < 0.7),
    );
    const some = () => all.filter(() => random() < 0.5);
    const date = () => toDate(toDay('2024-01-02') + below(random, 50));
    return makePlan({
      ranges: some().map((one) => range(one, '2023-01-03', date())),
      grouped: some().map((_, i) => ({ day: toDay(date()) + i, instruments: all })),
      actions: some().map(() => action(all, date(), 1 + below(random, 4))),
      describe: all.filter((one) => !one.isDescribed),
    });
  }

  test('is never exceeded, and asks for nothing that was not planned (500 plans)', () => {
    const random = seededRandom(5);
    for (let i = 0; i < 500; i++) {
      const plan = randomPlan(random);
      const budget = 1 + below(random, 30);
      const limited = limitPlan(plan, budget);
      expect(limited.requests.total).toBeLessThanOrEqual(budget);
      const planned = new Set(words(plan));
      expect(words(limited).filter((word) => !planned.has(word))).toEqual([]);
      const bars = plan.requests.range + plan.requests.grouped;
      expect(limited.requests.range + limited.requests.grouped > 0).toBe(bars > 0);
    }
  });
});
