import { describe, expect, test } from 'bun:test';
import { toDay } from '../../src/model/session.ts';
import { StatusReader, selectWarehouseStatus } from '../../src/query/status.ts';
import {
  SymbolDirectory,
  scoreState,
  selectLoadedSymbols,
  selectSymbolDetails,
} from '../../src/query/symbols.ts';
import { finishRun, insertRun, upsertBackfillResults } from '../../src/store/jobs.ts';
import { deleteSymbols, upsertDescriptions, upsertSymbols } from '../../src/store/symbols.ts';
import { cloneDatabase, describeEditions } from '../database.ts';
import { eventfulBars, flatBar } from '../fixtures/bars.ts';
import { addInstrument, ingest } from '../fixtures/warehouse.ts';

describeEditions('status', (database) => {
  const sql = () => database().sql;

  test('of an empty warehouse is zeros', async () => {
    const empty = await cloneDatabase(database().edition);
    try {
      expect(await selectWarehouseStatus(empty.sql)).toEqual({
        ...{ symbolsAvailable: 0, symbolsTracked: 0, records: 0, validatedRecords: 0 },
        ...{ excludedRecords: 0, gapsFlagged: 0, volumeAnomalies: 0, isSynthetic: false },
        ...{ intradayRecords: 0, trades: 0, latestSession: null, firstSession: null },
        ...{ lastBackfillAt: null, lastBackfillState: null },
      });
      expect(await selectLoadedSymbols(empty.sql)).toEqual([]);
      expect(await selectSymbolDetails(empty.sql)).toEqual([]);
    } finally {
      await empty.drop();
    }
  });

  test('equals what counting every bar gives', async () => {
    for (const [i, symbol] of ['STA', 'STB', 'STC'].entries()) {
      const id = await addInstrument(sql(), symbol);
      await ingest(sql(), id, eventfulBars(`202${i}-01-04`, 150, i));
    }
    await addInstrument(sql(), 'STD');
    await addInstrument(sql(), 'STE');
    await deleteSymbols(sql(), ['STB', 'STE']);
    const [truth] = await sql()`
      select count(distinct instrument_id) as symbols, count(*) as records,
             count(*) filter (where score >= 0.85) as validated,
             count(*) filter (where score < 0.5) as excluded,
             count(*) filter (where flags & 64 <> 0) as gaps,
             count(*) filter (where flags & 6144 <> 0) as anomalies,
             max(session) as latest, min(session) as first
      from bars_1d`;
    const [{ tracked }] = await sql()`
      select count(*) as tracked from instruments where is_tracked`;
    expect(await selectWarehouseStatus(sql())).toEqual({
      ...{ symbolsAvailable: truth.symbols, symbolsTracked: tracked, records: truth.records },
      ...{ validatedRecords: truth.validated, excludedRecords: truth.excluded },
      ...{ gapsFlagged: truth.gaps, volumeAnomalies: truth.anomalies, isSynthetic: false },
      ...{ latestSession: truth.latest, firstSession: truth.first },
      ...{ intradayRecords: 0, trades: 0 },
      ...{ lastBackfillAt: null, lastBackfillState: null },
    });
    expect([truth.symbols, tracked, truth.gaps > 0, truth.anomalies > 0]).toEqual([
      ...[3, 3, true, true],
    ]);
  });

  test('says when the last backfill ended, or began', async () => {
    const last = async () => {
      const { lastBackfillAt, lastBackfillState } = await selectWarehouseStatus(sql());
      return { at: lastBackfillAt, state: lastBackfillState };
    };
    const times = async (runId: number) => {
      const [row] = await sql()`
        select started_at, finished_at from job_runs where run_id = ${runId}`;
      return row;
    };
    const start = (job: string) => insertRun(sql(), { job, origin: 'command', total: 0 });
    const first = await start('backfill');
    expect(await last()).toEqual({ at: (await times(first)).started_at, state: 'running' });
    await finishRun(sql(), first, 'failed', 'no luck');
    expect(await last()).toEqual({ at: (await times(first)).finished_at, state: 'failed' });
    await start('another job');
    expect((await last()).state).toBe('failed');
  });

  test('is made up as soon as one symbol is', async () => {
    const id = await addInstrument(sql(), 'STF');
    await ingest(sql(), id, [flatBar('2024-01-10')], {}, { isSynthetic: true });
    expect((await selectWarehouseStatus(sql())).isSynthetic).toBe(true);
  });

  test('counts what lies below a day apart from the days', async () => {
    const before = await selectWarehouseStatus(sql());
    const id = await addInstrument(sql(), 'STBELOW');
    await sql()`
      insert into instrument_status (instrument_id, timeframe, records)
      values (${id}, '1m', 5), (${id}, '1h', 2), (${id}, 'trade', 11)`;
    expect(await selectWarehouseStatus(sql())).toEqual({
      ...before,
      ...{ symbolsTracked: before.symbolsTracked + 1, intradayRecords: 7, trades: 11 },
    });
  });

  describe('a reader', () => {
    test('remembers while it is trusted, until it is told of a change', async () => {
      const id = await addInstrument(sql(), 'STR');
      const reader = new StatusReader(sql());
      reader.isTrusted = true;
      const before = await reader.select();
      expect(await reader.select()).toBe(before);
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      expect(await reader.select()).toBe(before);
      reader.clear();
      expect((await reader.select()).records).toBe(before.records + 1);
    });

    test('asks each time while changes may be missed', async () => {
      const id = await addInstrument(sql(), 'STU');
      const reader = new StatusReader(sql());
      const { records } = await reader.select();
      await ingest(sql(), id, [flatBar('2024-01-10')]);
      expect((await reader.select()).records).toBe(records + 1);
    });

    test('does not remember what it read before it was told of a change', async () => {
      const reader = new StatusReader(sql());
      reader.isTrusted = true;
      const early = reader.select();
      reader.clear();
      expect(await reader.select()).not.toBe(await early);
    });
  });

  describe('symbols', () => {
    test('that hold bars are listed in the order of their bytes', async () => {
      for (const symbol of ['Lb', 'LA', 'LB']) {
        await ingest(sql(), await addInstrument(sql(), symbol), [flatBar('2024-01-10')]);
      }
      await addInstrument(sql(), 'LEMPTY');
      const loaded = await selectLoadedSymbols(sql());
      const mine = loaded.filter((symbol) => /^L/.test(symbol));
      expect(mine).toEqual(['LA', 'LB', 'Lb']);
    });

    test('are described from their counters', async () => {
      const id = await addInstrument(sql(), 'DETAIL');
      const prices = { open: 150, high: 150, low: 150, close: 150 };
      await ingest(sql(), id, [
        ...[flatBar('2024-01-10'), flatBar('2024-01-11', prices)],
        flatBar('2024-01-12', { ...prices, high: 1 }),
      ]);
      await upsertDescriptions(sql(), [
        {
          ...{ instrumentId: id, name: 'Detail Inc.', exchange: 'XNAS', assetType: 'CS' },
          ...{ listedOn: null, delistedOn: null },
        },
      ]);
      const runId = await insertRun(sql(), { job: 'backfill', origin: 'command', total: 1 });
      const counts = { inserted: 3, changed: 0, unchanged: 0, rejected: 0 };
      const span = { startSession: '2024-01-10', endSession: '2024-01-12' };
      const result = { instrumentId: id, ...span, ...counts, error: 'no luck' };
      await upsertBackfillResults(sql(), runId, [result]);
      const detail = async (symbol: string) =>
        (await selectSymbolDetails(sql())).find((one) => one.symbol === symbol);
      const [{ at }] = await sql()`
        select last_backfill_at as at from instrument_status where instrument_id = ${id}`;
      expect(await detail('DETAIL')).toEqual({
        ...{ symbol: 'DETAIL', name: 'Detail Inc.', exchange: 'XNAS', tracked: true },
        ...{ records: 3, validated_records: 1, validation_rate_pct: 33.33 },
        // (1 + 0.8 + 0) / 3
        ...{ average_quality: 0.6, gaps_flagged: 1, volume_anomalies: 0, excluded_records: 1 },
        ...{ start_date: '2024-01-10', end_date: '2024-01-12', latest_quality: 0 },
        ...{ synthetic: false, last_backfill: at.toISOString(), last_backfill_success: false },
      });
      await addInstrument(sql(), 'NODATA');
      expect(await detail('NODATA')).toEqual({
        ...{ symbol: 'NODATA', name: null, exchange: null, tracked: true },
        ...{ records: 0, validated_records: 0, validation_rate_pct: 0 },
        ...{ average_quality: null, gaps_flagged: 0, volume_anomalies: 0, excluded_records: 0 },
        ...{ start_date: null, end_date: null, latest_quality: null },
        ...{ synthetic: false, last_backfill: null, last_backfill_success: null },
      });
      await deleteSymbols(sql(), ['NODATA', 'DETAIL']);
      expect(await detail('NODATA')).toBeUndefined();
      expect((await detail('DETAIL'))?.tracked).toBe(false);
    });

    test('are found exactly, or without case where one alone can be meant', async () => {
      await upsertSymbols(sql(), ['FINd', 'FIND', 'Solo', 'BRK.B', 'BTC/USD']);
      for (const isTrusted of [true, false]) {
        const directory = new SymbolDirectory(sql());
        directory.isTrusted = isTrusted;
        const find = async (symbol: string) => (await directory.find(symbol))?.symbol;
        const wanted = ['FIND', 'FINd', 'find', 'SOLO', 'solo', 'brk.b', 'BTC/USD', 'NOBODY', ''];
        const found = await Promise.all(wanted.map(find));
        expect(found).toEqual([
          ...['FIND', 'FINd', undefined, 'Solo', 'Solo', 'BRK.B', 'BTC/USD'],
          ...[undefined, undefined],
        ]);
      }
    });

    test('are found by the day: who had them then', async () => {
      const [old, young] = [await addInstrument(sql(), 'DAYA'), await addInstrument(sql(), 'dayA')];
      await sql()`
        update symbol_ranges set valid_to = '2022-06-09' where instrument_id = ${old}`;
      await sql()`
        update symbol_ranges set valid_from = '2012-05-18' where instrument_id = ${young}`;
      await sql()`insert into symbol_ranges values (${old}, 'DAYB', '2022-06-09')`;
      const now = () => Date.parse('2022-06-09T03:59:00Z'); // still the day before in New York
      const directory = new SymbolDirectory(sql(), now);
      const find = async (symbol: string, date?: string) => {
        const found = await directory.find(symbol, date === undefined ? undefined : toDay(date));
        return found && [found.instrumentId, found.symbol];
      };
      expect(await find('DAYA', '2022-06-08')).toEqual([old, 'DAYA']);
      expect(await find('DAYA')).toEqual([old, 'DAYA']);
      expect(await find('DAYB')).toBeUndefined();
      expect(await find('DAYB', '2022-06-09')).toEqual([old, 'DAYB']);
      // Without case it is unique only on days when one of the two alone has it.
      expect(await find('daya', '2012-05-17')).toEqual([old, 'DAYA']);
      expect(await find('daya', '2022-06-08')).toBeUndefined();
      expect(await find('daya', '2022-06-09')).toEqual([young, 'dayA']);
      expect(await find('dayA', '2012-05-17')).toEqual([old, 'DAYA']);
      const meanings = await directory.meanings('daya');
      expect(meanings.map(({ symbol }) => symbol)).toEqual(['DAYA', 'dayA']);
      const own = await directory.symbolsOf(old);
      expect(own.map(({ symbol }) => symbol)).toEqual(['DAYA', 'DAYB']);
    });

    test('are remembered while trusted, until told of a change', async () => {
      const [trusted, other] = [new SymbolDirectory(sql()), new SymbolDirectory(sql())];
      trusted.isTrusted = true;
      expect(await trusted.find('LATER')).toBeUndefined();
      expect(await other.find('LATER')).toBeUndefined();
      await upsertSymbols(sql(), ['LATER']);
      expect(await trusted.find('LATER')).toBeUndefined();
      expect((await other.find('LATER'))?.symbol).toBe('LATER');
      trusted.clear();
      expect((await trusted.find('LATER'))?.symbol).toBe('LATER');
    });
  });
});

test('scores have three states, with the borders in the better one', () => {
  const states: string[] = [1, 0.85, 0.84, 0.5, 0.49, 0].map(scoreState);
  expect(states).toEqual([
    ...['validated', 'validated', 'review', 'review', 'excluded', 'excluded'],
  ]);
});
