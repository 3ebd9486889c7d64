import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { type KnownInstrument, type Lineage, planLineages } from '../../src/model/lineage.ts';
import { toDate } from '../../src/model/session.ts';
import { describeRange, type SymbolRange, toRangeDay } from '../../src/model/symbol-range.ts';

/** 'FB 2012-05-18 2022-06-09 map': from, to (exclusive), source; - is open, ? assumed. */
function range(text: string): SymbolRange {
  const [symbol, from, to, source] = text.split(' ');
  return {
    symbol,
    startDay: from === '-' ? -Infinity : toRangeDay(from),
    endDay: to === '-' ? Infinity : toRangeDay(to),
    source: source === '?' ? null : source,
  };
}

function known(
  instrumentId: number,
  ranges: string[],
  change: { data?: [string, string]; isTracked?: boolean } = {},
): KnownInstrument {
  const [first, last] = change.data ?? [];
  return {
    instrumentId,
    ranges: ranges.map(range),
    isTracked: change.isTracked ?? false,
    firstDay: first === undefined ? null : toRangeDay(first),
    lastDay: last === undefined ? null : toRangeDay(last),
  };
}

const lineage = (name: string, ranges: string[], instrumentId?: number): Lineage => ({
  ...{ name, ranges: ranges.map(range) },
  ...(instrumentId !== undefined && { instrumentId }),
});

const OLD_FB = lineage('fb.1.csv', ['FB 1999-09-29 2003-03-29 map']);
const NEW_FB = lineage('fb.csv', ['FB 2012-05-18 - map']);
const META = lineage('META', ['FB 2012-05-18 2022-06-09 polygon', 'META 2022-06-09 - polygon']);

function plan(instruments: KnownInstrument[], lineages: Lineage[]) {
  const { ranges, owners, dissolved, misplaced } = planLineages(instruments, lineages);
  return {
    owners,
    dissolved,
    ranges: Object.fromEntries(
      [...ranges].map(([id, own]) => [
        id,
        own.map((one) => `${one.symbol} ${describeRange(one)} ${one.source ?? '?'}`),
      ]),
    ),
    misplaced: misplaced.map(
      ({ instrumentId, symbol, startDay, endDay }) =>
        `${instrumentId} ${symbol} ${toDate(startDay)} ${toDate(endDay)}`,
    ),
  };
}

describe('whose a lineage is', () => {
  test('nobody’s that is known: new instruments', () => {
    expect(plan([], [OLD_FB, NEW_FB])).toEqual({
      owners: [-2, -1],
      dissolved: [],
      ranges: { '-1': ['FB since 2012-05-18 map'], '-2': ['FB 1999-09-29 to 2003-03-28 map'] },
      misplaced: [],
    });
  });

  test('that of who is assumed to have the symbol, when it has it still', () => {
    const fb = known(1, ['FB - - ?'], { data: ['2019-01-02', '2022-06-08'], isTracked: true });
    const made = plan([fb], [OLD_FB, NEW_FB]);
    expect(made.owners).toEqual([-1, 1]);
    expect(made.ranges['1']).toEqual(['FB since 2012-05-18 map']);
    expect(made.misplaced).toEqual([]);
  });

  test('that of who holds data of its time only', () => {
    const fb = known(1, ['FB - - ?'], { data: ['2000-01-03', '2003-03-28'] });
    expect(plan([fb], [OLD_FB])).toMatchObject({
      owners: [1],
      ranges: { '1': ['FB 1999-09-29 to 2003-03-28 map'] },
    });
  });

  test('not that of who is tracked, or holds later data: it keeps the days after', () => {
    for (const change of [{ isTracked: true }, { data: ['2019-01-02', '2021-03-31'] as const }]) {
      const fb = known(1, ['FB - - ?'], change as { isTracked?: boolean; data?: [string, string] });
      const made = plan([fb], [OLD_FB]);
      expect(made.owners).toEqual([-1]);
      expect(made.ranges['1']).toEqual(['FB since 2003-03-29 ?']);
      expect(made.misplaced).toEqual([]);
    }
  });

  test('and what is held of the other company’s days is misplaced', () => {
    const fb = known(1, ['FB - - ?'], { data: ['1999-09-29', '2021-03-31'] });
    expect(plan([fb], [OLD_FB, NEW_FB]).misplaced).toEqual(['1 FB 1999-09-29 2012-05-18']);
  });

  test('that of who is said to have had a symbol of it, also when said again', () => {
    const fb = known(1, ['FB 2012-05-18 2022-06-09 polygon', 'META 2022-06-09 - polygon'], {
      data: ['2013-01-02', '2024-03-01'],
    });
    const made = plan([fb], [META]);
    expect(made.owners).toEqual([1]);
    expect(made.ranges['1']).toEqual([
      'FB 2012-05-18 to 2022-06-08 polygon',
      'META since 2022-06-09 polygon',
    ]);
    expect(made.misplaced).toEqual([]);
  });

  test('an operator’s later symbol stays when an older map file is read again', () => {
    const fb = known(1, ['FB 2012-05-18 2022-06-09 map', 'META 2022-06-09 - operator']);
    expect(plan([fb], [NEW_FB]).ranges['1']).toEqual([
      'FB 2012-05-18 to 2022-06-08 map',
      'META since 2022-06-09 operator',
    ]);
  });

  test('who had nothing but the symbol makes room', () => {
    const meta = known(1, ['META - - ?'], { data: ['2022-06-09', '2024-03-01'] });
    const reserved = known(2, ['FB - - ?']);
    expect(plan([meta, reserved], [{ ...META, instrumentId: 1 }])).toMatchObject({
      owners: [1],
      dissolved: [{ instrumentId: 2, successor: 1 }],
      ranges: { '2': [] },
    });
  });

  test('two that hold data are not joined, and the message says what to do', () => {
    const meta = known(1, ['META - - ?'], { data: ['2022-06-09', '2024-03-01'] });
    const fb = known(2, ['FB - - ?'], { data: ['2013-01-02', '2022-06-08'] });
    const attempt = () => plan([meta, fb], [META]);
    expect(attempt).toThrow(InputError);
    expect(attempt).toThrow('META says that META (instrument 1) and FB (instrument 2)');
    expect(attempt).toThrow('Rename all but META');
    expect(attempt).toThrow('(marketd symbols rename FB FB.OLD --on 2013-01-02)');
  });

  test('who was renamed before its data begins is out of the way, though it had the symbol', () => {
    const data = ['2013-01-02', '2022-06-08'] as [string, string];
    const ranges = ['FB - 2013-01-02 ?', 'FB.OLD 2013-01-02 - operator'];
    const meta = known(1, ['META - - ?'], { data: ['2022-06-09', '2024-03-01'] });
    const made = plan([meta, known(2, ranges, { data })], [META]);
    expect(made).toMatchObject({ owners: [1], dissolved: [], misplaced: [] });
    expect(made.ranges['2']).toEqual(['FB.OLD since 2013-01-02 operator']);
  });

  test('two lineages that claim one symbol at once contradict each other', () => {
    const fb = known(1, ['FB 2012-05-18 - map']);
    const other = lineage('other.csv', ['FB 2015-01-02 - map']);
    expect(() => plan([fb], [NEW_FB, other])).toThrow(
      'fb.csv and other.csv both say that they had FB (since 2012-05-18): one of them is wrong',
    );
  });
});
