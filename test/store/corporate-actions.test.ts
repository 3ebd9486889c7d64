import { expect, test } from 'bun:test';
import type { CorporateAction, Dividend, Split } from '../../src/model/corporate-action.ts';
import { toDate, toDay } from '../../src/model/session.ts';
import {
  type ArrivedActions,
  selectGapCauses,
  upsertCorporateActions,
} from '../../src/store/corporate-actions.ts';
import { withIngestLock } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { addInstrument, addSplit, failureOf, ingest, RECEIVED } from '../fixtures/warehouse.ts';

describeEditions('corporate actions', (database) => {
  const sql = () => database().sql;

  const dividend = (change: Partial<Dividend> = {}): Dividend => ({
    ...{ kind: 'dividend', providerActionId: 'D1', symbol: 'X', exDate: '2024-02-09' },
    ...{ cashAmount: 0.24, currency: 'USD', declaredDate: '2024-02-01', frequency: 4 },
    ...{ recordDate: '2024-02-12', payDate: '2024-02-15' },
    ...change,
  });
  const split = (change: Partial<Split> = {}): Split => ({
    ...{ kind: 'split', providerActionId: 'S1', symbol: 'X', exDate: '2020-08-31' },
    ...{ splitFrom: 1, splitTo: 4 },
    ...change,
  });
  const store = async (instrumentId: number, actions: CorporateAction[], provider = 'vendor') => {
    const arrived = (['split', 'dividend'] as const).map((kind) => ({
      ...{ instrumentId, kind, actions: actions.filter((action) => action.kind === kind) },
    }));
    const origin = { provider, receivedAt: RECEIVED };
    const { changed } = await withIngestLock(sql(), (tx) =>
      upsertCorporateActions(tx, origin, arrived),
    );
    return changed.map(({ exDate }) => exDate).sort();
  };
  const causes = async (id: number) => {
    const found = (await withIngestLock(sql(), (tx) => selectGapCauses(tx, [id]))).get(id);
    const dated = (events?: ReadonlyMap<number, number>) =>
      Object.fromEntries([...(events ?? [])].map(([day, value]) => [toDate(day), value]));
    return { splits: dated(found?.splitRatio), dividends: dated(found?.dividendCash) };
  };

  test('are told once, and again only when they say something else', async () => {
    const id = await addInstrument(sql(), 'AA');
    expect(await store(id, [])).toEqual([]);
    expect(await store(id, [split(), dividend()])).toEqual(['2020-08-31', '2024-02-09']);
    expect(await store(id, [split(), dividend()])).toEqual([]);
    expect(await store(id, [split(), dividend({ cashAmount: 0.25 })])).toEqual(['2024-02-09']);
    expect(await store(id, [dividend({ cashAmount: 0.25, payDate: null })])).toEqual([
      '2024-02-09',
    ]);
    const [row] = await sql()`
      select * from corporate_actions
      where instrument_id = ${id} and kind = 'dividend' and ts_withdrawn is null`;
    expect(row).toMatchObject({
      ...{ ex_date: '2024-02-09', provider: 'vendor', provider_action_id: 'D1' },
      ...{ cash_amount: 0.25, currency: 'USD', declared_date: '2024-02-01' },
      ...{ record_date: '2024-02-12', pay_date: null, frequency: 4 },
      ...{ split_from: null, split_to: null, ts_withdrawn: null },
    });
  });

  test('of one answer that come twice are stored once: the last one', async () => {
    const id = await addInstrument(sql(), 'AB');
    expect(await store(id, [split(), split({ splitTo: 5 })])).toEqual(['2020-08-31']);
    expect((await causes(id)).splits).toEqual({ '2020-08-31': 5 });
  });

  test('of another provider or instrument stand beside them', async () => {
    const [id, other] = [await addInstrument(sql(), 'AC'), await addInstrument(sql(), 'AD')];
    expect(await store(id, [dividend()])).toEqual(['2024-02-09']);
    expect(await store(other, [dividend()])).toEqual(['2024-02-09']);
    expect(await store(id, [dividend()], 'other')).toEqual(['2024-02-09']);
    const [{ count }] = await sql()`
      select count(*) from corporate_actions where instrument_id in (${id}, ${other})`;
    expect(count).toBe(3);
  });

  test('that move to another day are told with both days', async () => {
    const id = await addInstrument(sql(), 'AE');
    expect(await addSplit(sql(), id, { exDate: '2024-01-10', splitFrom: 1, splitTo: 2 })).toEqual([
      { instrumentId: id, exDate: '2024-01-10' },
    ]);
    await store(id, [split({ providerActionId: 'M', exDate: '2024-01-11' })]);
    expect(await store(id, [split({ providerActionId: 'M', exDate: '2024-01-12' })])).toEqual([
      '2024-01-11',
      '2024-01-12',
    ]);
  });

  test('of one day are multiplied and added; withdrawn ones count for nothing', async () => {
    const id = await addInstrument(sql(), 'AF');
    await store(id, [
      split(),
      split({ providerActionId: 'S2', splitFrom: 10, splitTo: 1 }),
      split({ providerActionId: 'S3', exDate: '2021-01-04', splitFrom: 2, splitTo: 3 }),
      dividend(),
      dividend({ providerActionId: 'D2', cashAmount: 1.5 }),
    ]);
    expect(await causes(id)).toEqual({
      splits: { '2020-08-31': 4 * 0.1, '2021-01-04': 1.5 },
      dividends: { '2024-02-09': 1.74 },
    });
    await sql()`
      update corporate_actions set ts_withdrawn = now()
      where instrument_id = ${id} and provider_action_id in ('S3', 'D2')`;
    expect(await causes(id)).toEqual({
      splits: { '2020-08-31': 4 * 0.1 },
      dividends: { '2024-02-09': 0.24 },
    });
    // Announced again, it counts again, although it says the same as before.
    const back = split({
      ...{ providerActionId: 'S3', exDate: '2021-01-04', splitFrom: 2, splitTo: 3 },
    });
    expect(await store(id, [back])).toEqual(['2021-01-04']);
    expect((await causes(id)).splits).toEqual({ '2020-08-31': 4 * 0.1, '2021-01-04': 1.5 });
  });

  test('that are impossible are refused', async () => {
    const id = await addInstrument(sql(), 'AG');
    expect(await failureOf(store(id, [split({ splitFrom: 0 })]))).toContain('split_from');
    expect(await failureOf(store(id, [dividend({ cashAmount: -1 })]))).toContain('cash_amount');
  });

  const HOUR_MS = 3_600_000;
  const FIRST = toDay('2020-01-01');
  const LAST = toDay('2024-12-31');
  const isCovered = (day: number) => day >= FIRST && day <= LAST;
  /** Stores an answer about five years, hours after the first one. */
  const answer = (instrumentId: number, hours: number, change: Partial<ArrivedActions>) => {
    const arrived: ArrivedActions = {
      ...{ instrumentId, kind: 'dividend', actions: [], scope: { isCovered, isComplete: true } },
      ...change,
    };
    const origin = { provider: 'vendor', receivedAt: RECEIVED + hours * HOUR_MS };
    return withIngestLock(sql(), (tx) => upsertCorporateActions(tx, origin, [arrived]));
  };
  /** Versions in the order they came: what, from which hour, until which. */
  const versions = async (instrumentId: number) => {
    const hours = (at: Date | null) =>
      at === null ? '' : String((at.getTime() - RECEIVED) / HOUR_MS);
    const rows = await sql()`
      select * from corporate_actions where instrument_id = ${instrumentId} order by version_id`;
    return rows.map((row) => {
      const what = `${row.provider_action_id} ${row.cash_amount ?? row.split_to}`;
      const doubt = row.ts_missing === null ? '' : ` missing ${hours(row.ts_missing)}`;
      return `${what} ${hours(row.ts_received)}..${hours(row.ts_withdrawn)}${doubt}`;
    });
  };
  const later = dividend({ providerActionId: 'D2', exDate: '2024-05-10', cashAmount: 0.25 });

  test('that say something else end one version and begin the next', async () => {
    const id = await addInstrument(sql(), 'VA');
    await answer(id, 0, { actions: [dividend()] });
    const { changed, counts } = await answer(id, 24, { actions: [dividend({ cashAmount: 0.3 })] });
    expect(changed).toEqual([{ instrumentId: id, exDate: '2024-02-09' }]);
    expect(counts).toEqual({ inserted: 1, withdrawn: 1, unchanged: 0 });
    await answer(id, 48, { actions: [dividend({ cashAmount: 0.3 })] });
    await answer(id, 72, { actions: [dividend({ cashAmount: 0.3, subtype: 'special' })] });
    expect(await versions(id)).toEqual(['D1 0.24 0..24', 'D1 0.3 24..72', 'D1 0.3 72..']);
  });

  test('that an answer with others lacks are withdrawn at once', async () => {
    const id = await addInstrument(sql(), 'VB');
    await answer(id, 0, { actions: [dividend(), later] });
    const { changed } = await answer(id, 1, { actions: [later] });
    expect(changed).toEqual([{ instrumentId: id, exDate: '2024-02-09' }]);
    expect(await versions(id)).toEqual(['D1 0.24 0..1', 'D2 0.25 0..']);
    await answer(id, 2, { actions: [dividend(), later] });
    expect(await versions(id)).toEqual(['D1 0.24 0..1', 'D2 0.25 0..', 'D1 0.24 2..']);
  });

  test('that an answer without any lacks are doubted, and withdrawn after 12 hours', async () => {
    const id = await addInstrument(sql(), 'VC');
    await answer(id, 0, { actions: [dividend()] });
    expect((await answer(id, 1, {})).changed).toEqual([]);
    expect(await versions(id)).toEqual(['D1 0.24 0.. missing 1']);
    expect((await answer(id, 12.9, {})).changed).toEqual([]);
    expect(await versions(id)).toEqual(['D1 0.24 0.. missing 1']);
    expect((await answer(id, 13, {})).changed).toEqual([
      { instrumentId: id, exDate: '2024-02-09' },
    ]);
    expect(await versions(id)).toEqual(['D1 0.24 0..13 missing 1']);
  });

  test('that were doubted and are there again are doubted no more', async () => {
    const id = await addInstrument(sql(), 'VD');
    await answer(id, 0, { actions: [dividend()] });
    await answer(id, 1, {});
    expect((await answer(id, 2, { actions: [dividend()] })).changed).toEqual([]);
    expect(await versions(id)).toEqual(['D1 0.24 0..']);
    await answer(id, 20, {});
    expect(await versions(id)).toEqual(['D1 0.24 0.. missing 20']);
  });

  test('are not withdrawn by an answer of which rows are missing, nor of other days', async () => {
    const id = await addInstrument(sql(), 'VE');
    await answer(id, 0, { actions: [dividend(), later] });
    const torn = { isCovered, isComplete: false };
    await answer(id, 1, { actions: [later], scope: torn });
    await answer(id, 30, { scope: torn });
    const elsewhere = { isCovered: (day: number) => day > toDay('2024-03-01'), isComplete: true };
    await answer(id, 31, { actions: [later], scope: elsewhere });
    await answer(id, 60, { actions: [], scope: undefined });
    await answer(id, 61, { kind: 'split', actions: [split()] });
    expect(await versions(id)).toEqual(['D1 0.24 0..', 'D2 0.25 0..', 'S1 4 61..']);
  });

  test('under another id are the same event: never both at once', async () => {
    const id = await addInstrument(sql(), 'VF');
    await answer(id, 0, { kind: 'split', actions: [split()] });
    const renamed = split({ providerActionId: 'N1' });
    for (const scope of [
      { isCovered, isComplete: false },
      { isCovered, isComplete: true },
    ]) {
      await answer(id, 1, { kind: 'split', actions: [renamed], scope });
    }
    expect(await versions(id)).toEqual(['S1 4 0..1', 'N1 4 1..']);
    expect((await causes(id)).splits).toEqual({ '2020-08-31': 4 });
  });

  test('that come twice in an answer under two ids are stored once, and told of', async () => {
    const id = await addInstrument(sql(), 'VG');
    const again = split({ providerActionId: 'S0' });
    const first = await answer(id, 0, { kind: 'split', actions: [split(), again] });
    expect(first.duplicates).toEqual([{ instrumentId: id, action: split() }]);
    // The one that is known stays, whatever its id.
    await answer(id, 1, { kind: 'split', actions: [again, split({ providerActionId: 'A' })] });
    expect(await versions(id)).toEqual(['S0 4 0..']);
    const special = dividend({ providerActionId: 'D9', subtype: 'special', frequency: 0 });
    const both = await answer(id, 2, { actions: [dividend(), special] });
    expect(both.duplicates).toEqual([]);
    expect((await causes(id)).dividends).toEqual({ '2024-02-09': 0.48 });
  });

  test('of several providers count once: of the one whose bars came first', async () => {
    const id = await addInstrument(sql(), 'VH');
    await store(id, [split(), dividend()], 'beta');
    await store(id, [split({ providerActionId: 'A1' })], 'alpha');
    expect(await causes(id)).toEqual({
      splits: { '2020-08-31': 4 },
      dividends: { '2024-02-09': 0.24 },
    });
    await store(id, [split({ providerActionId: 'A2', exDate: '2021-08-31' })], 'alpha');
    expect((await causes(id)).splits).toEqual({ '2020-08-31': 4, '2021-08-31': 4 });
    await ingest(sql(), id, [flatBar('2024-01-10')], {}, { provider: 'beta' });
    expect((await causes(id)).splits).toEqual({ '2020-08-31': 4 });
  });

  test('are told to whoever caches the instrument, when they changed', async () => {
    const id = await addInstrument(sql(), 'VI');
    const heard: string[] = [];
    const end = Promise.withResolvers<void>();
    const { unlisten } = await sql().listen('marketd', (payload) => {
      if (payload === 'end') end.resolve();
      else heard.push(payload);
    });
    await answer(id, 0, { actions: [dividend()] });
    await answer(id, 1, { actions: [dividend()] });
    await answer(id, 2, { actions: [dividend({ cashAmount: 1 })] });
    await sql().notify('marketd', 'end');
    await end.promise;
    await unlisten();
    expect(heard).toEqual([`bars ${id}`, `bars ${id}`]);
  });
});
