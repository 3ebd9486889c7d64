import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Dividend, Split } from '../../src/model/corporate-action.ts';
import { selectPriceActions } from '../../src/query/corporate-actions.ts';
import { upsertCorporateActions } from '../../src/store/corporate-actions.ts';
import { withIngestLock } from '../../src/store/upsert.ts';
import { describeEditions } from '../database.ts';
import { flatBar } from '../fixtures/bars.ts';
import { startServer, type TestServer } from '../fixtures/http-server.ts';
import { addInstrument, ingest, RECEIVED } from '../fixtures/warehouse.ts';

const DAY_MS = 86_400_000;
const split = (change: Partial<Split> = {}): Split => ({
  ...{ kind: 'split', providerActionId: 'S1', symbol: 'AAPL', exDate: '2024-02-01' },
  ...{ splitFrom: 1, splitTo: 4, subtype: 'forward_split' },
  ...change,
});
const dividend = (change: Partial<Dividend> = {}): Dividend => ({
  ...{ kind: 'dividend', providerActionId: 'D1', symbol: 'AAPL', exDate: '2024-02-09' },
  ...{ cashAmount: 2, currency: 'USD', declaredDate: '2024-02-01', frequency: 4 },
  ...{ recordDate: '2024-02-12', payDate: '2024-02-15', subtype: 'recurring' },
  ...change,
});
const scope = { isCovered: () => true, isComplete: true };

interface Action extends Record<string, unknown> {
  id: string;
}
interface Answer extends Record<string, unknown> {
  count: number;
  actions: Action[];
  error: { code: string; field?: string; message: string };
}

describeEditions('GET /api/v1/corporate-actions/{symbol}', (database) => {
  let server: TestServer;
  let id: number;

  const store = (
    instrumentId: number,
    days: number,
    actions: (Split | Dividend)[],
    provider = 'vendor',
  ) => {
    const origin = { provider, receivedAt: RECEIVED + days * DAY_MS };
    const arrived = (['split', 'dividend'] as const).map((kind) => ({
      ...{ instrumentId, kind, scope, actions: actions.filter((one) => one.kind === kind) },
    }));
    return withIngestLock(database().sql, (tx) => upsertCorporateActions(tx, origin, arrived));
  };

  beforeAll(async () => {
    const { sql, url } = database();
    id = await addInstrument(sql, 'AAPL');
    const other = await addInstrument(sql, 'OTHER');
    await addInstrument(sql, 'NONE');
    await ingest(sql, id, [
      flatBar('2024-01-31', { open: 400, high: 400, low: 400, close: 400 }),
      flatBar('2024-02-08'),
      flatBar('2024-02-09', { open: 98, high: 98, low: 98, close: 98 }),
    ]);
    await store(id, 0, [split(), dividend()]);
    await store(id, 1, [split(), dividend({ cashAmount: 3 })]);
    await store(id, 1, [split({ providerActionId: 'X' })], 'alpha');
    const special = { providerActionId: 'D2', exDate: '2024-02-12', currency: 'CAD' };
    await store(other, 0, [dividend(), dividend({ ...special, frequency: 0 })]);
    await store(other, 2, [dividend()]);
    server = await startServer(url);
  });
  afterAll(() => server?.stop());

  const get = async (path: string) => {
    const response = await server.get(`/api/v1/corporate-actions/${path}`);
    return { status: response.status, body: (await response.json()) as Answer };
  };
  const listed = async (path: string) => {
    const { status, body } = await get(path);
    expect([path, status, body.count]).toEqual([path, 200, body.actions.length]);
    return body.actions.map(({ id, cash_amount, ratio }) => `${id} ${cash_amount ?? ratio}`);
  };

  test('tells all of what is known, and what it does to prices', async () => {
    const { body } = await get('aapl?kind=split');
    expect(body).toMatchObject({
      ...{ symbol: 'AAPL', kind: 'split', start: null, end: null, known_at: null, count: 2 },
    });
    expect(body.actions[0]).toEqual({
      ...{ id: 'S1', kind: 'split', subtype: 'forward_split', ex_date: '2024-02-01' },
      ...{ split_from: 1, split_to: 4, ratio: 4, cash_amount: null, currency: null },
      ...{ declared_date: null, record_date: null, pay_date: null, frequency: null },
      ...{ provider: 'vendor', received_at: '2024-03-01T23:00:00.000Z', withdrawn_at: null },
      ...{ missing_since: null, replaced: false, applied: true },
      ...{ price_factor: 0.25, volume_factor: 4, skipped: null },
    });
    // The bars are of 'vendor': what 'alpha' says of splits is known, and not applied again.
    expect(body.actions[1]).toMatchObject({ id: 'X', provider: 'alpha', applied: false });
    const [paid] = (await get('AAPL?kind=dividend')).body.actions;
    expect(paid).toMatchObject({
      ...{ subtype: 'recurring', cash_amount: 3, currency: 'USD', declared_date: '2024-02-01' },
      ...{ record_date: '2024-02-12', pay_date: '2024-02-15', frequency: 4, split_from: null },
      ...{ ratio: null, price_factor: 0.97, volume_factor: 1, applied: true },
      received_at: '2024-03-02T23:00:00.000Z',
    });
  });

  test('has versions that were replaced or withdrawn when they are asked for', async () => {
    expect(await listed('AAPL?kind=dividend')).toEqual(['D1 3']);
    expect(await listed('AAPL?kind=dividend&withdrawn=true')).toEqual(['D1 2', 'D1 3']);
    const { body } = await get('AAPL?kind=dividend&withdrawn=true');
    expect(body.actions).toMatchObject([
      { withdrawn_at: '2024-03-02T23:00:00.000Z', replaced: true, applied: false },
      { withdrawn_at: null, replaced: false, applied: true },
    ]);
    const [gone] = (await get('OTHER?withdrawn=true&start=2024-02-12')).body.actions;
    expect(gone).toMatchObject({
      ...{ id: 'D2', withdrawn_at: '2024-03-03T23:00:00.000Z', replaced: false, applied: false },
      ...{ price_factor: 1, skipped: 'paid in CAD, not in the currency of the prices' },
    });
  });

  test('says what was known at an instant', async () => {
    expect(await listed('AAPL?known_at=2024-03-01T22:59:59Z')).toEqual([]);
    expect(await listed('AAPL?known_at=2024-03-01T23:00:00Z')).toEqual(['S1 4', 'D1 2']);
    // By the end of the day in New York.
    expect(await listed('AAPL?known_at=2024-03-01&withdrawn=true')).toEqual(['S1 4', 'D1 2']);
    const then = (await get('AAPL?known_at=2024-03-01&kind=dividend')).body;
    expect(then.known_at).toBe('2024-03-02T04:59:59.999Z');
    expect(then.actions[0]).toMatchObject({ withdrawn_at: null, replaced: false, applied: true });
    expect(await listed('AAPL?known_at=2024-03-03')).toEqual(['S1 4', 'X 4', 'D1 3']);
    expect(await listed('OTHER?known_at=2024-03-02')).toEqual(['D1 2', 'D2 2']);
    expect(await listed('OTHER')).toEqual(['D1 2']);
  });

  test('is what adjusts prices, then and now', async () => {
    const { sql } = database();
    const read = async (knownAt?: string) =>
      (await selectPriceActions(sql, id, knownAt ? new Date(knownAt) : undefined)).map((action) =>
        action.kind === 'split' ? `split ${action.splitTo}` : `dividend ${action.cashAmount}`,
      );
    expect(await read()).toEqual(['split 4', 'dividend 3']);
    expect(await read('2024-03-01T22:59:59.999Z')).toEqual([]);
    expect(await read('2024-03-01T23:00:00Z')).toEqual(['split 4', 'dividend 2']);
    expect(await read('2024-03-02T22:59:59.999Z')).toEqual(['split 4', 'dividend 2']);
    expect(await read('2024-03-02T23:00:00Z')).toEqual(['split 4', 'dividend 3']);
  });

  test('ranges are of ex-dates, both inclusive; nothing is an empty list', async () => {
    expect(await listed('AAPL?start=2024-02-09&end=2024-02-09')).toEqual(['D1 3']);
    expect(await listed('AAPL?end=2024-02-08')).toEqual(['S1 4', 'X 4']);
    expect(await listed('AAPL?start=2024-02-10')).toEqual([]);
    expect(await listed('NONE')).toEqual([]);
  });

  test.each([
    ['NOPE', 404, 'unknown_symbol', 'symbol'],
    ["A'--", 422, 'invalid_parameter', 'symbol'],
    ['AAPL?kind=merger', 422, 'invalid_parameter', 'kind'],
    ['AAPL?start=2024-02-30', 422, 'invalid_parameter', 'start'],
    ['AAPL?end=yesterday', 422, 'invalid_parameter', 'end'],
    ['AAPL?start=2024-02-02&end=2024-02-01', 422, 'invalid_parameter', 'end'],
    ['AAPL?known_at=2024-02-01T10:00:00', 422, 'invalid_parameter', 'known_at'],
    ['AAPL?known_at=2999-01-01', 422, 'invalid_parameter', 'known_at'],
    ['AAPL?withdrawn=maybe', 422, 'invalid_parameter', 'withdrawn'],
    ['AAPL?asof=then', 422, 'invalid_parameter', 'asof'],
    ['AAPL?kind=split&kind=dividend', 422, 'invalid_parameter', 'kind'],
  ])('%s is refused', async (path, status, code, field) => {
    const answer = await get(path);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ code, field });
  });
});
