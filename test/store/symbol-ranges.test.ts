import { expect, test } from 'bun:test';
import { toDay } from '../../src/model/session.ts';
import { describeRange, type SymbolRange } from '../../src/model/symbol-range.ts';
import {
  renameSymbol,
  selectInstrumentRanges,
  selectSymbolRanges,
  upsertLineages,
} from '../../src/store/symbol-ranges.ts';
import { selectInstruments, upsertSymbols } from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { ChangeLog } from '../fixtures/change-log.ts';
import {
  addInstrument,
  countBars,
  failureOf,
  ingest,
  selectCounters,
} from '../fixtures/warehouse.ts';

const NOW = Date.parse('2024-03-01T23:00:00Z');
const CHANGE = { actor: 'cli tester', nowMs: NOW };

const span = (symbol: string, from: string, to?: string): SymbolRange => ({
  symbol,
  startDay: toDay(from),
  endDay: to === undefined ? Infinity : toDay(to),
  source: 'map',
});

describeEditions('symbol ranges', (database) => {
  const sql = () => database().sql;
  const rename = (from: string, to: string, on: string) =>
    renameSymbol(sql(), { from, to, on }, CHANGE);
  const linesOf = async (id: number) =>
    (await selectInstrumentRanges(sql(), [id])).map(
      (one) => `${one.symbol} ${describeRange(one)} ${one.source ?? '?'}`,
    );
  const upsert = (
    lineages: { name: string; ranges: SymbolRange[]; instrumentId?: number }[],
    split = false,
  ) => upsertLineages(sql(), lineages, { ...CHANGE, split, action: 'symbol.map' });

  test('a renamed instrument keeps its history, and who did it is known', async () => {
    const id = await addInstrument(sql(), 'RNA');
    const changes = new ChangeLog(database().url);
    expect(await changes.next()).toEqual({ kind: 'trust', isTrusted: true });
    expect(await rename('RNA', 'RNB', '2022-06-09')).toBe(id);
    expect(await changes.next()).toEqual({ kind: 'bars', instrumentIds: [id] });
    expect(await changes.next()).toEqual({ kind: 'symbols' });
    await changes.close();
    expect(await linesOf(id)).toEqual(['RNA until 2022-06-08 ?', 'RNB since 2022-06-09 operator']);
    const [entry] = await sql()`
      select ts, actor, action, target, detail from audit_log where instrument_id = ${id}`;
    expect(entry).toEqual({
      ts: new Date(NOW),
      ...{ actor: 'cli tester', action: 'symbol.rename' },
      target: 'RNA is RNB from 2022-06-09 on',
      detail: { from: 'RNA', to: 'RNB', on: '2022-06-09' },
    });
    expect((await selectInstruments(sql(), { symbols: ['RNB'] }))[0].instrumentId).toBe(id);
    expect(await selectInstruments(sql(), { symbols: ['RNA'] })).toEqual([]);
    const [then] = await selectInstruments(sql(), { symbols: ['RNA'], day: '2022-06-08' });
    expect([then.instrumentId, then.symbol]).toEqual([id, 'RNA']);
  });

  test('a symbol that is only reserved makes room, and is filled under its new owner', async () => {
    const id = await addInstrument(sql(), 'RSA');
    await sql()`update instruments set is_tracked = false where instrument_id = ${id}`;
    const reserved = await addInstrument(sql(), 'RSB');
    await rename('RSA', 'RSB', '2022-06-09');
    expect(await linesOf(reserved)).toEqual([]);
    const rows = await sql()`
      select instrument_id as id, is_tracked from instruments
      where instrument_id in (${id}, ${reserved}) order by 1`;
    expect([...rows]).toEqual([
      { id, is_tracked: true },
      { id: reserved, is_tracked: false },
    ]);
  });

  test('a symbol of which data is held is refused, with the way out of it', async () => {
    const id = await addInstrument(sql(), 'TKA');
    const other = await addInstrument(sql(), 'TKB');
    await ingest(sql(), other, [flatBar('2024-01-10')]);
    const message = await failureOf(rename('TKA', 'TKB', '2022-06-09'));
    expect(message).toContain(`TKB is another instrument (${other}), of which data is held`);
    expect(message).toContain('marketd symbols rename TKB TKB.OLD --on 2022-06-09');
    expect(await linesOf(id)).toEqual(['TKA always ?']);
    await rename('TKB', 'TKB.OLD', '2022-06-09');
    await rename('TKA', 'TKB', '2022-06-09');
    expect(await linesOf(id)).toEqual(['TKA until 2022-06-08 ?', 'TKB since 2022-06-09 operator']);
    expect(await linesOf(other)).toEqual([
      'TKB until 2022-06-08 ?',
      'TKB.OLD since 2022-06-09 operator',
    ]);
  });

  test('days that both companies hold are not joined, with the way out of it', async () => {
    const one = await addInstrument(sql(), 'DHA');
    const other = await addInstrument(sql(), 'DHB');
    for (const id of [one, other]) await ingest(sql(), id, [flatBar('2014-01-10')]);
    await ingest(sql(), one, [flatBar('2015-01-09')]);
    await ingest(sql(), other, [flatBar('2015-01-09')]);
    const lineages = [
      { name: 'dha.csv', ranges: [span('DHA', '2014-04-03')] },
      {
        name: 'dhb.csv',
        ranges: [span('DHA', '2013-01-02', '2014-04-03'), span('DHB', '2014-04-03')],
        instrumentId: other,
      },
    ];
    const command = 'marketd symbols rename DHA DHA.OLD --on 2014-01-10';
    expect(await failureOf(upsert(lineages, true))).toContain(command);
    expect(await linesOf(other)).toEqual(['DHB always ?']);
    await rename('DHA', 'DHA.OLD', '2014-01-10');
    const { moved, instrumentIds } = await upsert(lineages);
    expect([moved, instrumentIds[1]]).toEqual([[], other]);
    expect(await linesOf(one)).toEqual(['DHA.OLD since 2014-01-10 operator']);
  });

  test('what cannot be renamed is refused', async () => {
    await addInstrument(sql(), 'BDA');
    await rename('BDA', 'BDB', '2022-06-09');
    const table = [
      [['NOBODY', 'X', '2022-06-09'], 'nobody has NOBODY on the day before 2022-06-09'],
      [['BDA', 'X', '2023-06-09'], 'nobody has BDA on the day before 2023-06-09'],
      [['BDA', 'X', '2020-06-09'], 'it is BDB from 2022-06-09 on: nothing to rename'],
      [['BDB', 'BDB', '2023-06-09'], 'BDB is its own name'],
      [['BDB', 'not one', '2023-06-09'], '"not one" is not a symbol'],
    ] as const;
    for (const [[from, to, on], message] of table) {
      expect(await failureOf(rename(from, to, on))).toContain(message);
    }
  });

  test('a former symbol is not added again by mistake, but on purpose', async () => {
    const id = await addInstrument(sql(), 'FMA');
    await rename('FMA', 'FMB', '2022-06-09');
    expect(await failureOf(upsertSymbols(sql(), ['FMC', 'FMA']))).toContain(
      'FMA was the symbol of FMB until 2022-06-08: say FMB. If another company has it since: ' +
        'marketd symbols add FMA --from DATE (at the earliest 2022-06-09)',
    );
    expect(await selectSymbolRanges(sql(), ['FMC'])).toEqual([]);
    const early = { isTracked: true, former: { from: '2022-06-08' } };
    expect(await failureOf(upsertSymbols(sql(), ['FMA'], early))).toContain('2022-06-09');
    const later = { isTracked: true, former: { from: '2023-01-03' } };
    expect(await upsertSymbols(sql(), ['FMA'], later)).toEqual(['FMA']);
    expect(await upsertSymbols(sql(), ['FMA'])).toEqual([]);
    const ranges = await selectSymbolRanges(sql(), ['FMA']);
    expect(ranges.map(describeRange)).toEqual(['until 2022-06-08', 'since 2023-01-03']);
    expect(ranges[0].instrumentId).toBe(id);
    expect(ranges[1].instrumentId).not.toBe(id);
    const leave = { isTracked: false, former: 'leave' as const };
    await rename('FMB', 'FMD', '2023-06-09');
    expect(await upsertSymbols(sql(), ['FMB'], leave)).toEqual([]);
    const next = { isTracked: false, former: { from: 'next' } };
    expect(await upsertSymbols(sql(), ['FMB'], next)).toEqual(['FMB']);
    expect((await selectSymbolRanges(sql(), ['FMB'])).at(-1)?.startDay).toBe(toDay('2023-06-09'));
  });

  test('lineages are stored whole, and once more without a change', async () => {
    const lineages = [
      { name: 'new', ranges: [span('LNA', '2012-05-18')] },
      { name: 'old', ranges: [span('LNA', '1999-09-29', '2003-03-29')] },
    ];
    const first = await upsert(lineages);
    expect(first).toMatchObject({ isChanged: true, added: 2, moved: [] });
    const again = await upsert(lineages);
    expect(again).toMatchObject({ isChanged: false, added: 0 });
    expect(again.instrumentIds).toEqual(first.instrumentIds);
    const bad = [{ name: 'bad', ranges: [span('LNX', '2012-05-18')] }, lineages[0], lineages[0]];
    expect(await failureOf(upsert(bad))).toContain('both say that they had LNA');
    expect(await selectSymbolRanges(sql(), ['LNX'])).toEqual([]);
  });

  test('two symbols are never one instrument’s at once', async () => {
    const id = await addInstrument(sql(), 'OVA');
    await rename('OVA', 'OVB', '2022-06-09');
    const said = [{ name: 'said', instrumentId: id, ranges: [span('OVA', '2012-05-18')] }];
    await upsert(said);
    expect(await linesOf(id)).toEqual([
      'OVA 2012-05-18 to 2022-06-08 map',
      'OVB since 2022-06-09 operator',
    ]);
    const twice = [span('OVC', '2012-05-18'), span('OVD', '2015-01-02', '2016-01-04')];
    expect(await failureOf(upsert([{ name: 'twice', ranges: twice }]))).toMatch(
      /instrument \d+ would have the symbols OVC and OVD at once: 2015-01-02 to 2016-01-03/,
    );
  });

  test('data of another company’s days is moved when that is said', async () => {
    const id = await addInstrument(sql(), 'SPA');
    const [old, young] = [sessionsFrom('2003-03-03', 15), sessionsFrom('2012-05-18', 70)];
    const bars = [...old, ...young].map((session) => flatBar(session));
    await ingest(sql(), id, bars);
    const restated = [old[3], young[3]].map((session) => flatBar(session, { close: 100.25 }));
    await ingest(sql(), id, restated);
    const lineages = [
      { name: 'young', ranges: [span('SPA', '2012-05-18')] },
      { name: 'old', ranges: [span('SPA', '1999-09-29', '2003-03-15')] },
    ];
    const before = await linesOf(id);
    expect(await failureOf(upsert(lineages))).toContain(
      `data is held of SPA (instrument ${id}) from 2003-03-03 to 2003-03-14`,
    );
    expect(await linesOf(id)).toEqual(before);
    const report = await upsert(lineages, true);
    const [, oldId] = report.instrumentIds;
    expect(report.instrumentIds[0]).toBe(id);
    expect(report.moved).toHaveLength(2);
    expect(report.moved[0]).toEqual({
      ...{ symbol: 'SPA', start: '2003-03-03', end: '2003-03-14', from: id, to: oldId },
    });
    // Of the days after the old company gave it up nobody is known: an instrument of its own.
    const { to: nobodyId } = report.moved[1];
    expect(await linesOf(nobodyId)).toEqual(['SPA 2003-03-15 to 2012-05-17 ?']);
    const lengths = [id, oldId, nobodyId].map(async (one) => {
      expect(await selectCounters(sql(), one)).toEqual(await countBars(sql(), one));
      return (await countBars(sql(), one)).records;
    });
    expect(await Promise.all(lengths)).toEqual([70, 10, 5]);
    const revised = await sql()`
      select revisions from instrument_status
      where instrument_id in (${id}, ${oldId}) order by instrument_id`;
    expect(revised.map(({ revisions }) => revisions)).toEqual([1, 1]);
    const [revision] = await sql()`
      select session from bar_revisions where instrument_id = ${oldId} and reason = 'values'`;
    expect(revision.session).toBe(old[3]);
    const shown = await sql()`select count(*) as count from market_data where symbol = 'SPA'`;
    expect(shown[0].count).toBe(85);
  });

  test('what came back empty under a wrong symbol is asked for again', async () => {
    const id = await addInstrument(sql(), 'CVA');
    const insert = (dataset: string, start: string, end: string, state: string) => sql()`
      insert into coverage (instrument_id, dataset, start_session, end_session, state, is_settled,
        provider, asked_at)
      values (${id}, ${dataset}, ${start}, ${end}, ${state}, true, 'vendor', now())`;
    await insert('1d', '2021-01-04', '2022-06-09', 'vendor_empty');
    await insert('1d', '2022-06-09', '2024-01-02', 'complete');
    await insert('splits', '2021-01-04', '2024-01-02', 'complete');
    const ranges = [span('CVZ', '2012-05-18', '2022-06-09'), span('CVA', '2022-06-09')];
    await upsert([{ name: 'CVA', instrumentId: id, ranges }]);
    const rows = await sql()`
      select dataset, start_session as start from coverage where instrument_id = ${id}`;
    expect([...rows]).toEqual([{ dataset: '1d', start: '2022-06-09' }]);
  });
});
