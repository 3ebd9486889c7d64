import { describe, expect, test } from 'bun:test';
import { measureSplits, toTotals } from '../../scripts/split-accuracy.ts';

/** What `bun run splits` says of the recorded files: the figures that are promised. */

const sources = measureSplits();
const raw = sources.filter(({ isRaw }) => isRaw);
const adjusted = sources.filter(({ isRaw }) => !isRaw);

/** The symbol and date of each text. */
const names = (texts: readonly string[]) => texts.map((text) => text.split(':')[0]).sort();

describe('raw files', () => {
  test('every split is found', () => {
    expect(raw.flatMap(({ missed }) => missed)).toEqual([]);
    expect(toTotals(raw)).toMatchObject({ splits: 105, found: 105, recall: 1 });
  });

  test('of the real big moves at most one in fifty is taken for a split', () => {
    const { bigMoves, takenShare, precision } = toTotals(raw);
    expect(bigMoves).toBeGreaterThan(500);
    expect(takenShare).toBeLessThan(1 / 50);
    expect(precision).toBeGreaterThan(0.95);
    // Shares of another company, worth a third and a half of the price; and a warrant of 25 cents
    // of which there is one session before.
    const taken = ['BKS 2015-08-03', 'HPQ 2015-11-02', 'ROIQW 2015-04-09'];
    expect(names(raw.flatMap((source) => source.taken))).toEqual(taken);
  });

  test('it is so as well in the files that nothing was tried on', () => {
    const totals = toTotals(raw.filter(({ isHeldOut }) => isHeldOut));
    expect(totals).toMatchObject({ splits: 18, found: 18, rightRatio: 18, taken: 0 });
  });

  test('the ratio is the right one but for odd reverse splits', () => {
    const other = names(raw.flatMap(({ otherRatio }) => otherRatio));
    expect(other.map((name) => name.split(' ')[0])).toEqual(
      ['AVNW', 'AXPW', 'AXPWW', 'CGG', 'GFA', 'WPCS'], // 1:12, 1:35 twice, 1:32, 1:13.5, 1:22
    );
  });

  test('no true split is doubted', () => {
    expect(raw.flatMap(({ doubted }) => doubted)).toEqual([]);
  });
});

describe('adjusted files', () => {
  test('every split of the table is doubted', () => {
    const splits = adjusted.flatMap((source) => source.splits).sort();
    expect(splits.length).toBeGreaterThan(30);
    expect(adjusted.flatMap((source) => source.doubted).sort()).toEqual(splits);
  });

  test('three jumps in 619,040 rows look like splits: two not adjusted for, one dirt', () => {
    const sp500 = adjusted.find(({ folder }) => folder.startsWith('sp500'))!;
    expect(sp500.bars).toBe(619_040);
    expect(names(sp500.taken)).toEqual(['DISCA 2014-08-07', 'DISCK 2014-08-07', 'NWL 2017-09-14']);
    expect(adjusted.filter((source) => source !== sp500).flatMap(({ taken }) => taken)).toEqual([]);
  });

  test('have no recall', () => {
    expect(() => toTotals(adjusted)).toThrow('adjusted sources have no recall');
  });
});

test('false splits of vendors are doubted: one that never was, two announced a day early', () => {
  const claims = names(sources.flatMap((source) => source.claims));
  expect([...new Set(claims)]).toEqual(['FRO 2016-02-02', 'HCHC 2015-11-12', 'NFLX 2015-07-14']);
  expect(sources.flatMap((source) => source.doubtedClaims).sort()).toEqual(claims);
});
