import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { openPool } from '../../src/store/database.ts';
import {
  checkSymbol,
  deleteSymbols,
  selectInstruments,
  trackSymbols,
  updateTracking,
  upsertDescriptions,
  upsertSymbols,
} from '../../src/store/symbols.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { failureOf, ingest, selectStored } from '../fixtures/warehouse.ts';

const GOOD = ['A', 'AAPL', 'BRK.B', 'BRK-B', 'ABRpD', 'BTC/USD', 'X:BTCUSD', '700.HK', '9'];
const BAD = [
  ...['', ' ', 'AA PL', 'AAPL ', '.A', 'A.', 'A..B', 'A/', '-', "A'B", 'A"B', 'A;B', 'A<b>'],
  ...['Ä', 'A\0', 'A\n', '^GSPC', '$A', 'A%', '../etc', 'A_B', 'A'.repeat(33)],
];

describe('symbol', () => {
  test.each(GOOD)('%p is one, and stays as it is', (symbol) => {
    expect(checkSymbol(symbol)).toBe(symbol);
  });

  test('may have 32 characters', () => {
    expect(checkSymbol('A'.repeat(32))).toBe('A'.repeat(32));
  });

  test.each(BAD)('%p is none, and the message says what is', (symbol) => {
    expect(() => checkSymbol(symbol, 'ticker')).toThrow(
      'is not a symbol: letters and digits, parts joined by one of . - / : ' +
        '(AAPL, BRK.B, ABRpD), at most 32 characters',
    );
    try {
      checkSymbol(symbol, 'ticker');
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).field).toBe('ticker');
      expect((error as InputError).message.length < 200).toBe(true);
    }
  });
});

describeEditions('symbols', (database) => {
  const sql = () => database().sql;
  const names = async (symbols?: string[]) =>
    (await selectInstruments(sql(), { symbols })).map(({ symbol }) => symbol);
  const one = async (symbol: string) => (await selectInstruments(sql(), { symbols: [symbol] }))[0];

  test('are added once, and tracked', async () => {
    expect(await upsertSymbols(sql(), ['ADA', 'ADB', 'ADA'])).toEqual(['ADA', 'ADB']);
    expect(await upsertSymbols(sql(), ['ADB', 'ADC'])).toEqual(['ADC']);
    expect(await one('ADA')).toMatchObject({
      ...{ symbol: 'ADA', providerSymbol: 'ADA', isTracked: true, isDescribed: false },
      ...{ name: null, exchange: null, assetType: null, listedOn: null, delistedOn: null },
    });
    expect(await names()).toEqual(expect.arrayContaining(['ADA', 'ADB', 'ADC']));
  });

  test('of an empty list are none', async () => {
    expect(await upsertSymbols(sql(), [])).toEqual([]);
    expect(await names([])).toEqual([]);
  });

  test('that are removed keep their data and come back with it', async () => {
    await upsertSymbols(sql(), ['REM']);
    const { instrumentId } = await one('REM');
    await ingest(sql(), instrumentId, [flatBar('2024-01-10')]);
    expect(await deleteSymbols(sql(), ['REM', 'UNKNOWN'])).toEqual(['REM']);
    expect(await deleteSymbols(sql(), ['REM'])).toEqual([]);
    expect(await names()).not.toContain('REM');
    expect(await one('REM')).toMatchObject({ instrumentId, isTracked: false });
    expect((await selectStored(sql(), instrumentId)).length).toBe(1);
    expect(await upsertSymbols(sql(), ['REM'])).toEqual(['REM']);
    expect(await one('REM')).toMatchObject({ instrumentId, isTracked: true });
    expect((await selectStored(sql(), instrumentId)).length).toBe(1);
  });

  test('can be known without being tracked, and tracked later', async () => {
    expect(await upsertSymbols(sql(), ['IDLE'], { isTracked: false })).toEqual(['IDLE']);
    expect(await upsertSymbols(sql(), ['IDLE'], { isTracked: false })).toEqual([]);
    expect(await names()).not.toContain('IDLE');
    const { instrumentId } = await one('IDLE');
    expect(await upsertSymbols(sql(), ['IDLE'])).toEqual(['IDLE']);
    expect(await one('IDLE')).toMatchObject({ instrumentId, isTracked: true });
    expect(await upsertSymbols(sql(), ['IDLE'], { isTracked: false })).toEqual([]);
    expect((await one('IDLE')).isTracked).toBe(true);
  });

  test('differ by case', async () => {
    expect(await upsertSymbols(sql(), ['ABRpD', 'ABRPD'])).toEqual(['ABRpD', 'ABRPD']);
    const [upper, lower] = [await one('ABRPD'), await one('ABRpD')];
    expect(upper.instrumentId).not.toBe(lower.instrumentId);
    expect([upper.symbol, lower.symbol]).toEqual(['ABRPD', 'ABRpD']);
    expect(await names(['abrpd'])).toEqual([]);
  });

  test('come in the order of their bytes', async () => {
    await upsertSymbols(sql(), ['Zb', 'ZA', 'ZB', 'ZA.B']);
    expect(await names(['Zb', 'ZA', 'ZB', 'ZA.B'])).toEqual(['ZA', 'ZA.B', 'ZB', 'Zb']);
  });

  test('are not added at all when one of them is malformed', async () => {
    expect(await failureOf(upsertSymbols(sql(), ['FINE', 'NOT FINE']))).toContain(
      '"NOT FINE" is not a symbol',
    );
    expect(await names(['FINE'])).toEqual([]);
  });

  test('that are added from many connections at once make one instrument', async () => {
    const wanted = ['CON1', 'CON2', 'CON3'];
    const pools = Array.from({ length: 8 }, () => openPool(database().url, { connections: 1 }));
    try {
      const added = await Promise.all(pools.map((pool) => upsertSymbols(pool, wanted)));
      expect(added.flat().sort()).toEqual(wanted);
    } finally {
      await Promise.all(pools.map((pool) => pool.end()));
    }
    const rows = await sql()`
      select symbol, count(*)::int as ranges from symbol_ranges
      where symbol = any(${wanted}) group by symbol`;
    expect(rows.map(({ ranges }) => ranges)).toEqual([1, 1, 1]);
    const [orphans] = await sql()`
      select count(*)::int as number from instruments
      where instrument_id not in (select instrument_id from symbol_ranges)`;
    expect(orphans.number).toBe(0);
  });

  test('are numbered by the thousand', async () => {
    const many = Array.from({ length: 5000 }, (_, i) => `M${i}`);
    expect((await upsertSymbols(sql(), many, { isTracked: false })).length).toBe(5000);
    const found = await selectInstruments(sql(), { symbols: many });
    expect(new Set(found.map(({ instrumentId }) => instrumentId)).size).toBe(5000);
  });

  test('are spelled as the provider spells them', async () => {
    await upsertSymbols(sql(), ['SPL.B']);
    const { instrumentId } = await one('SPL.B');
    await sql()`insert into provider_symbols values (${instrumentId}, 'dashes', 'SPL-B')`;
    const spelled = async (provider?: string) =>
      (await selectInstruments(sql(), { symbols: ['SPL.B'], provider })).map(
        ({ symbol, providerSymbol }) => `${symbol} ${providerSymbol}`,
      );
    expect(await spelled('dashes')).toEqual(['SPL.B SPL-B']);
    expect(await spelled('other')).toEqual(['SPL.B SPL.B']);
    expect(await spelled()).toEqual(['SPL.B SPL.B']);
  });

  test('that meant something else before are found by what they mean now', async () => {
    await upsertSymbols(sql(), ['NOW', 'GONE']);
    const [now, gone] = [await one('NOW'), await one('GONE')];
    await sql()`
      update symbol_ranges set valid_to = '2022-06-09' where instrument_id = ${gone.instrumentId}`;
    expect(await names(['GONE'])).toEqual([]);
    expect(await upsertSymbols(sql(), ['NOW'])).toEqual([]);
    expect((await one('NOW')).instrumentId).toBe(now.instrumentId);
  });

  test('are described, and keep what a provider does not say', async () => {
    await upsertSymbols(sql(), ['DES', 'DET']);
    const [a, b] = [await one('DES'), await one('DET')];
    const nothing = {
      ...{ name: null, exchange: null, assetType: null, listedOn: null, delistedOn: null },
    };
    const described = { name: 'Description Inc.', exchange: 'XNAS', assetType: 'CS' };
    const dates = { listedOn: '1999-01-22', delistedOn: null };
    await upsertDescriptions(sql(), [
      { instrumentId: a.instrumentId, ...described, ...dates },
      { instrumentId: b.instrumentId, ...nothing },
    ]);
    expect(await one('DES')).toEqual({ ...a, ...described, ...dates, isDescribed: true });
    expect(await one('DET')).toEqual({ ...b, isDescribed: true });
    const end = { instrumentId: a.instrumentId, ...nothing, delistedOn: '2020-01-02' };
    await upsertDescriptions(sql(), [end]);
    const after = { ...a, ...described, listedOn: '1999-01-22', delistedOn: '2020-01-02' };
    expect(await one('DES')).toEqual({ ...after, isDescribed: true });
    await upsertDescriptions(sql(), []);
  });

  describe('tracked by hand', () => {
    const by = { actor: 'page 127.0.0.1', atMs: Date.parse('2024-03-01T12:00:00Z') };
    const audit = async (prefix: string) =>
      (
        await sql()`
          select actor, ts, action, target, detail from audit_log
          where target like ${`${prefix}%`} order by audit_id`
      ).map((row) => ({ ...row }));
    const entry = (action: string, target: string, detail: object | null) => {
      return { actor: by.actor, ts: new Date(by.atMs), action, target, detail };
    };
    const timeframesOf = async (symbol: string) => {
      const [row] = await sql()<{ timeframes: string[] }[]>`
        select timeframes from instruments join symbol_ranges using (instrument_id)
        where symbol = ${symbol}`;
      return row.timeframes;
    };

    test('are new, again or known already, and the audit log says so', async () => {
      await upsertSymbols(sql(), ['HAA', 'HAB']);
      await deleteSymbols(sql(), ['HAB']);
      expect(await audit('HA')).toEqual([]);
      const added = await trackSymbols(sql(), ['HAA', 'HAB', 'HAC', 'HAD'], {
        ...{ isTracked: true, timeframes: ['1m'], by },
      });
      const names = (keys: { symbol: string }[]) => keys.map(({ symbol }) => symbol);
      expect([names(added.again), names(added.fresh)]).toEqual([['HAB'], ['HAC', 'HAD']]);
      expect(added.fresh[0].instrumentId).toBe((await one('HAC')).instrumentId);
      const detail = (isNew: boolean) => ({ is_new: isNew, timeframes: ['1d', '1m'] });
      expect(await audit('HA')).toEqual([
        entry('symbol.track', 'HAB', detail(false)),
        entry('symbol.track', 'HAC', detail(true)),
        entry('symbol.track', 'HAD', detail(true)),
      ]);
      // What is tracked already keeps what it is filled with.
      expect(await timeframesOf('HAA')).toEqual(['1d']);
      expect(await timeframesOf('HAB')).toEqual(['1d', '1m']);
      expect(await timeframesOf('HAD')).toEqual(['1d', '1m']);
    });

    test('all or none: what is done with them fails, and nothing is added', async () => {
      const attempt = trackSymbols(sql(), ['HBA'], { isTracked: true, by }, async () => {
        throw new Error('no');
      });
      expect(await failureOf(attempt)).toBe('no');
      const wrong = { isTracked: true, timeframes: ['5m'], by };
      expect(await failureOf(trackSymbols(sql(), ['HBA'], wrong))).toContain(
        '"5m" is not a timeframe that is stored: those are 1d, 1h, 1m',
      );
      expect(await one('HBA')).toBeUndefined();
      expect(await audit('HB')).toEqual([]);
    });

    test('that others had are all named when they are refused', async () => {
      await upsertSymbols(sql(), ['HCA', 'HCB']);
      await sql()`
        update symbol_ranges set valid_to = '2022-06-09' where symbol in ('HCA', 'HCB')`;
      const refused = await failureOf(trackSymbols(sql(), ['HCC', 'HCA', 'HCB']));
      expect(refused).toContain('HCA was the symbol until 2022-06-08');
      expect(refused).toContain('; HCB was the symbol until 2022-06-08');
      expect(await one('HCC')).toBeUndefined();
    });

    test('change, and only what is new is written down', async () => {
      await upsertSymbols(sql(), ['HDA', 'HDB']);
      const more = { timeframes: ['1h'] };
      expect(await updateTracking(sql(), ['HDB', 'HDA', 'NOONE'], more, by)).toEqual({
        ...{ tracked: [], timeframes: ['HDA', 'HDB'] },
      });
      expect(await updateTracking(sql(), ['HDA'], more, by)).toEqual({
        ...{ tracked: [], timeframes: [] },
      });
      const gone = { isTracked: false, timeframes: ['1d'] };
      expect(await updateTracking(sql(), ['HDA'], gone, by)).toEqual({
        ...{ tracked: ['HDA'], timeframes: ['HDA'] },
      });
      expect(await updateTracking(sql(), ['HDA'], { isTracked: true }, by)).toEqual({
        ...{ tracked: ['HDA'], timeframes: [] },
      });
      expect(await one('HDA')).toMatchObject({ isTracked: true });
      const change = (before: string[], after: string[]) => ({ before, after });
      const log = await audit('HD');
      expect(log.filter(({ target }) => target === 'HDB')).toEqual([
        entry('symbol.timeframes', 'HDB', change(['1d'], ['1d', '1h'])),
      ]);
      expect(log.filter(({ target }) => target === 'HDA')).toEqual([
        entry('symbol.timeframes', 'HDA', change(['1d'], ['1d', '1h'])),
        entry('symbol.untrack', 'HDA', null),
        entry('symbol.timeframes', 'HDA', change(['1d', '1h'], ['1d'])),
        entry('symbol.track', 'HDA', { is_new: false }),
      ]);
    });

    test('with a timeframe that is not stored change nothing', async () => {
      await upsertSymbols(sql(), ['HEA']);
      const wrong = { isTracked: false, timeframes: ['1d', '1w'] };
      const failure = await failureOf(updateTracking(sql(), ['HEA'], wrong, by));
      expect(failure).toContain('"1w" is not a timeframe');
      expect(await one('HEA')).toMatchObject({ isTracked: true });
      expect(await audit('HE')).toEqual([]);
    });
  });
});
