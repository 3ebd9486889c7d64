import { expect, test } from 'bun:test';
import { roundPrice, roundVolume } from '../../src/model/adjustment.ts';
import { roundedPrice, roundedVolume } from '../../src/query/rounded.ts';
import { describeEditions } from '../database.ts';
import { seededRandom } from '../fixtures/bars.ts';

const ODD = [
  ...[0, 0.1 + 0.2, 1 / 3, 1e-9, 123_456_789.5, 999.9999999999999, 1000, 0.00099999999999999, -7.5],
  ...[2.5e-6, 1.23456789055, 9_999_999_999.5, 12_345_678_901.25, 1e15, 2 ** 52 + 1, 1e22, 1e9],
  ...[999_999_999.9999999, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
];

describeEditions('rounding by the database', (database) => {
  test('gives the same bits as rounding here', async () => {
    const random = seededRandom(4711);
    const values = Array.from({ length: 20_000 }, () => random() * 10 ** (random() * 22 - 8));
    // Halves in the tenth digit, and what lies beside them.
    const halves = Array.from({ length: 2_000 }, () => Math.floor(random() * 1e10) + 0.5);
    const all = [...ODD, ...values, ...halves.flatMap((half) => [half, half / 1e6, half * 1.1])];
    const rows = await database().sql<{ price: number; volume: number }[]>`
      select ${database().sql.unsafe(roundedPrice('x'))} as price,
             ${database().sql.unsafe(roundedVolume('x'))} as volume
      from unnest(${all}::float8[]) with ordinality as v(x, n) order by n`;
    expect(rows).toHaveLength(all.length);
    const differing = all.filter(
      (value, i) =>
        !Object.is(rows[i]!.price, roundPrice(value)) ||
        !Object.is(rows[i]!.volume, roundVolume(value)),
    );
    expect(differing).toEqual([]);
  });
});
