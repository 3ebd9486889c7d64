import { describe, expect, test } from 'bun:test';
import { newYorkDay, toDay } from '../../src/model/session.ts';
import { insertRun, upsertBackfillResults } from '../../src/store/jobs.ts';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { addInstrument, ingest, RECEIVED } from '../fixtures/warehouse.ts';

/** The columns that analysts use, in their order, and ours after them. */
const CONTRACT: Record<string, { theirs: string[]; ours: string[] }> = {
  market_data: {
    theirs: [
      ...['time', 'symbol', 'open', 'high', 'low', 'close', 'volume', 'source', 'validated'],
      ...['quality_score', 'validation_notes', 'gap_detected', 'volume_anomaly', 'fetched_at'],
    ],
    ours: [],
  },
  validation_log: {
    theirs: ['timestamp', 'symbol', 'check_name', 'passed', 'error_message', 'quality_score'],
    ours: ['session'],
  },
  backfill_history: {
    theirs: [
      ...['symbol', 'start_date', 'end_date', 'records_imported', 'backfill_timestamp'],
      ...['success', 'error_details'],
    ],
    ours: ['run_id'],
  },
  symbol_status: {
    theirs: [
      ...['symbol', 'last_backfill_date', 'last_backfill_success', 'last_validation_score'],
      ...['data_freshness_days', 'latest_date_in_db'],
    ],
    ours: ['records', 'validated_records', 'gaps_flagged', 'volume_anomalies', 'first_session'],
  },
  stocks: {
    theirs: ['ticker', 'unix_time', 'high', 'low', 'avg', 'sale', 'meta'],
    ours: [],
  },
};

describeEditions('views', (database) => {
  const sql = () => database().sql;
  const rowsOf = async (view: string, column: string, symbol: string, order = '1') => {
    const text = `select * from ${view} where ${column} = $1 order by ${order}`;
    const rows = await sql().unsafe<Record<string, unknown>[]>(text, [symbol]);
    return rows.map((row) => ({ ...row }));
  };

  test.each(Object.entries(CONTRACT))(
    '%s has the columns of the contract',
    async (view, columns) => {
      const rows = await sql()`
      select column_name as name from information_schema.columns
      where table_schema = 'public' and table_name = ${view} order by ordinal_position`;
      expect(rows.map(({ name }) => name)).toEqual([...columns.theirs, ...columns.ours]);
    },
  );

  describe('of bars', () => {
    const gap = { open: 150, high: 151, low: 149, close: 150.5, vwap: 150.25, tradeCount: 9 };
    const load = async (symbol: string) => {
      const id = await addInstrument(sql(), symbol);
      await ingest(sql(), id, [
        flatBar('2024-01-10'),
        flatBar('2024-01-11', { ...gap, volume: 12.5 }),
        flatBar('2024-01-12', { high: 99, volume: 7 }),
      ]);
      return id;
    };

    test('market_data shows each bar with its score and notes', async () => {
      await load('VMD');
      const rest = { symbol: 'VMD', source: 'vendor', fetched_at: new Date(RECEIVED) };
      expect(await rowsOf('market_data', 'symbol', 'VMD')).toEqual([
        {
          ...{ ...rest, time: new Date('2024-01-10T00:00:00Z'), volume: 1000 },
          ...{ open: 100, high: 100, low: 100, close: 100 },
          ...{ validated: true, quality_score: 1, validation_notes: null },
          ...{ gap_detected: false, volume_anomaly: false },
        },
        {
          ...{ ...rest, time: new Date('2024-01-11T00:00:00Z'), volume: 12.5 },
          ...{ open: 150, high: 151, low: 149, close: 150.5 },
          ...{ validated: false, quality_score: 0.8, gap_detected: true, volume_anomaly: false },
          validation_notes: 'open is far from the previous close; nothing corroborates the gap',
        },
        {
          ...{ ...rest, time: new Date('2024-01-12T00:00:00Z'), volume: 7 },
          ...{ open: 100, high: 99, low: 100, close: 100 },
          ...{ validated: false, quality_score: 0, gap_detected: false, volume_anomaly: false },
          validation_notes: 'high is below open or close; high is below low',
        },
      ]);
    });

    test('market_data does not depend on the time zone of the reader', async () => {
      await load('VTZ');
      const times = await sql().begin(async (tx) => {
        await tx`set local timezone = 'Asia/Tokyo'`;
        return tx`select time from market_data where symbol = 'VTZ' order by 1 limit 1`;
      });
      expect(times.map(({ time }) => time)).toEqual([new Date('2024-01-10T00:00:00Z')]);
    });

    test('market_data flags volumes', async () => {
      const id = await addInstrument(sql(), 'VVO');
      // Twenty sessions, the last of them on January 30th.
      const quiet = sessionsFrom('2024-01-02', 20).map((day) => flatBar(day));
      await ingest(sql(), id, [
        ...quiet,
        flatBar('2024-01-31', { volume: 1e6 }),
        flatBar('2024-02-01', { volume: 1 }),
      ]);
      const rows = await sql()`
        select to_char(time at time zone 'UTC', 'YYYY-MM-DD') as day, validation_notes as notes
        from market_data where symbol = 'VVO' and volume_anomaly order by time`;
      expect([...rows]).toEqual([
        { day: '2024-01-31', notes: 'volume is far above the median' },
        { day: '2024-02-01', notes: 'volume is far below the median' },
      ]);
    });

    test('validation_log has a row for each rule that a bar did not pass', async () => {
      await load('VVL');
      const rest = { timestamp: new Date(RECEIVED), symbol: 'VVL', passed: false };
      expect(await rowsOf('validation_log', 'symbol', 'VVL', 'session, check_name')).toEqual([
        {
          ...{ ...rest, check_name: 'gap', quality_score: 0.8, session: '2024-01-11' },
          error_message: '2024-01-11: open is far from the previous close',
        },
        {
          ...{ ...rest, check_name: 'gap_unexplained', quality_score: 0.8, session: '2024-01-11' },
          error_message: '2024-01-11: nothing corroborates the gap',
        },
        {
          ...{ ...rest, check_name: 'high_below_low', quality_score: 0, session: '2024-01-12' },
          error_message: '2024-01-12: high is below low',
        },
        {
          ...{ ...rest, check_name: 'high_too_low', quality_score: 0, session: '2024-01-12' },
          error_message: '2024-01-12: high is below open or close',
        },
      ]);
    });

    test('stocks shows each bar as a row of the market-hours pipeline', async () => {
      await load('VST');
      const rows = await rowsOf('stocks', 'ticker', 'VST', 'unix_time');
      expect(rows.length).toBe(3);
      expect(rows[1]).toEqual({
        ...{ ticker: 'VST', unix_time: Date.parse('2024-01-11T00:00:00Z') / 1000 },
        ...{ high: 151, low: 149, avg: 150.25, sale: 150.5 },
        meta: {
          ...{ source: 'vendor', timeframe: '1d', volume: 12.5, open: 150, close: 150.5 },
          ...{ previous_close: null, market_cap: null, pe_ratio: null },
          ...{ day_high: 151, day_low: 149, vwap: 150.25, transactions: 9 },
          ...{ timestamp: '2024-01-11', quality_score: 0.8 },
        },
      });
      expect(rows[0]).toMatchObject({ avg: null, meta: { vwap: null, transactions: null } });
      const found = await sql()`
        select unix_time from stocks where ticker = 'VST' and meta @> '{"transactions": 9}'`;
      expect(found.map((row) => row.unix_time)).toEqual([rows[1].unix_time]);
    });

    test('show a bar under the symbol that its instrument had that day', async () => {
      const id = await addInstrument(sql(), 'FBX');
      await sql()`
        update symbol_ranges set valid_to = '2024-01-12' where instrument_id = ${id}`;
      await sql()`
        insert into symbol_ranges (instrument_id, symbol, valid_from)
        values (${id}, 'METAX', '2024-01-12')`;
      await ingest(sql(), id, [flatBar('2024-01-11'), flatBar('2024-01-12', { low: 101 })]);
      const shown = await sql()`
        select symbol, time from market_data where symbol in ('FBX', 'METAX') order by time`;
      expect(shown.map(({ symbol }) => symbol)).toEqual(['FBX', 'METAX']);
      const tickers = await sql()`
        select ticker from stocks where ticker in ('FBX', 'METAX') order by unix_time`;
      expect(tickers.map(({ ticker }) => ticker)).toEqual(['FBX', 'METAX']);
      const logged = await sql()`
        select distinct symbol from validation_log where symbol in ('FBX', 'METAX')`;
      expect(logged.map(({ symbol }) => symbol)).toEqual(['METAX']);
      const status = await sql()`
        select symbol, records from symbol_status where symbol in ('FBX', 'METAX')`;
      expect([...status]).toEqual([{ symbol: 'METAX', records: 2 }]);
    });
  });

  test('backfill_history shows what came of each symbol in each run', async () => {
    const id = await addInstrument(sql(), 'VBH');
    const newRun = () => insertRun(sql(), { job: 'backfill', origin: 'command', total: 1 });
    const span = { instrumentId: id, startSession: '2024-01-10', endSession: '2024-01-31' };
    const counts = { inserted: 10, changed: 3, unchanged: 100, rejected: 2 };
    const [first, second] = [await newRun(), await newRun()];
    await upsertBackfillResults(sql(), first, [{ ...span, ...counts, error: null }]);
    const none = { inserted: 0, changed: 0, unchanged: 0, rejected: 0 };
    await upsertBackfillResults(sql(), second, [{ ...span, ...none, error: 'no answer' }]);
    const times = await sql()`
      select ts_finished as at from backfill_results where instrument_id = ${id} order by run_id`;
    const rest = { symbol: 'VBH', start_date: '2024-01-10', end_date: '2024-01-31' };
    expect(await rowsOf('backfill_history', 'symbol', 'VBH', 'run_id')).toEqual([
      {
        ...{ ...rest, records_imported: 13, success: true, error_details: null, run_id: first },
        backfill_timestamp: times[0].at,
      },
      {
        ...{ ...rest, records_imported: 0, success: false, error_details: 'no answer' },
        ...{ run_id: second, backfill_timestamp: times[1].at },
      },
    ]);
  });

  test('symbol_status shows how fresh and how good a symbol is', async () => {
    const id = await addInstrument(sql(), 'VSS');
    await ingest(sql(), id, [flatBar('2024-01-10'), flatBar('2024-01-11', { high: 1 })]);
    const before = newYorkDay(Date.now());
    const [row] = await rowsOf('symbol_status', 'symbol', 'VSS');
    const after = newYorkDay(Date.now());
    const days: unknown[] = [before, after].map((today) => today - toDay('2024-01-11'));
    expect(days).toContain(row.data_freshness_days);
    expect(row).toEqual({
      ...{ symbol: 'VSS', last_backfill_date: null, last_backfill_success: null },
      ...{ last_validation_score: 0, data_freshness_days: row.data_freshness_days },
      ...{ latest_date_in_db: '2024-01-11', records: 2, validated_records: 1 },
      ...{ gaps_flagged: 0, volume_anomalies: 0, first_session: '2024-01-10' },
    });
  });

  test('show nothing of a symbol that nothing is known of', async () => {
    await addInstrument(sql(), 'VNO');
    for (const [view, { theirs }] of Object.entries(CONTRACT)) {
      const column = theirs.includes('ticker') ? 'ticker' : 'symbol';
      expect(await rowsOf(view, column, 'VNO')).toEqual([]);
    }
  });
});
