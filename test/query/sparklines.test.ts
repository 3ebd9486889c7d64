import { describe, expect, test } from 'bun:test';
import { toDay } from '../../src/model/session.ts';
import { lastChange, SparklineReader, selectCloses } from '../../src/query/sparklines.ts';
import { Sparkline } from '../../views/sparkline.tsx';
import { describeEditions } from '../database.ts';
import { flatBar, sessionsFrom } from '../fixtures/bars.ts';
import { addInstrument, addSplit, ingest } from '../fixtures/warehouse.ts';

const SESSIONS = sessionsFrom('2023-10-02', 60);
const NOW = Date.parse(`${SESSIONS[59]}T23:00:00Z`);
const today = toDay(SESSIONS[59]);

describeEditions('the latest closes', (database) => {
  const sql = () => database().sql;
  /** A bar with a close within its range. */
  const bar = (session: string, close: number) =>
    flatBar(session, { open: close, high: close + 1, low: close - 1, close });
  const rising = (count = SESSIONS.length) =>
    SESSIONS.slice(0, count).map((session, i) => bar(session, 100 + i));
  const ids: Record<string, number> = {};

  test('are the last thirty, ascending', async () => {
    for (const symbol of ['UP', 'SPLIT', 'FEW', 'NONE']) {
      ids[symbol] = await addInstrument(sql(), symbol);
    }
    await ingest(sql(), ids.UP, rising());
    await ingest(sql(), ids.FEW, rising(1));
    const instrumentIds = [ids.UP, ids.FEW, ids.NONE];
    const closes = await selectCloses(sql(), { instrumentIds, today });
    expect([...closes.keys()].sort()).toEqual([ids.UP, ids.FEW].sort());
    expect(closes.get(ids.UP)).toEqual({
      closes: Array.from({ length: 30 }, (_, i) => 130 + i),
      lastDay: toDay(SESSIONS[59]),
    });
    expect(closes.get(ids.FEW)?.closes).toEqual([100]);
  });

  test('are in shares of today: a split is no cliff', async () => {
    const bars = SESSIONS.map((session, i) => bar(session, i < 55 ? 400 : 100));
    await ingest(sql(), ids.SPLIT, bars);
    const [raw] = (await selectCloses(sql(), { instrumentIds: [ids.SPLIT], today })).values();
    expect(new Set(raw.closes)).toEqual(new Set([400, 100]));
    await addSplit(sql(), ids.SPLIT, { exDate: SESSIONS[55], splitFrom: 1, splitTo: 4 });
    // One that is announced has not happened.
    await addSplit(sql(), ids.SPLIT, { exDate: '2024-12-02', splitFrom: 1, splitTo: 10, id: 'x' });
    const [split] = (await selectCloses(sql(), { instrumentIds: [ids.SPLIT], today })).values();
    expect(new Set(split.closes)).toEqual(new Set([100]));
    expect(lastChange(split)).toBe(0);
  });

  test('leave out bars that are impossible', async () => {
    const id = await addInstrument(sql(), 'BAD');
    const broken = { ...bar(SESSIONS[29], 900), high: 1 };
    await ingest(sql(), id, [...rising(29), broken, ...rising(32).slice(30)]);
    const [closes] = (await selectCloses(sql(), { instrumentIds: [id], today })).values();
    expect(closes.closes).not.toContain(900);
    expect(closes.closes.at(-1)).toBe(131);
    ids.BAD = id;
  });

  test('are remembered until the bars change', async () => {
    const reader = new SparklineReader(sql(), () => NOW);
    reader.isTrusted = true;
    const all = [ids.UP, ids.FEW, ids.NONE];
    const first = await reader.select(all);
    expect([...first.keys()]).toEqual([ids.UP, ids.FEW]);
    const changed = rising().map((one, i) => (i === 59 ? bar(one.session!, 160) : one));
    await ingest(sql(), ids.UP, changed);
    const second = await reader.select(all);
    expect(second.get(ids.UP)).toBe(first.get(ids.UP)!);
    reader.drop([ids.UP]);
    const third = await reader.select(all);
    expect(third.get(ids.UP)?.closes.at(-1)).toBe(160);
    expect(third.get(ids.FEW)).toBe(first.get(ids.FEW)!);
    reader.drop('all');
    expect((await reader.select(all)).get(ids.FEW)).not.toBe(first.get(ids.FEW)!);
  });

  test('are asked for each time while changes may be missed', async () => {
    const reader = new SparklineReader(sql(), () => NOW);
    await reader.select([ids.FEW]);
    await ingest(sql(), ids.FEW, rising(2));
    expect((await reader.select([ids.FEW])).get(ids.FEW)?.closes).toEqual([100, 101]);
    expect((await reader.selectChanges()).get(ids.FEW)).toBeCloseTo(0.01, 10);
  });

  test('give the last change of every instrument', async () => {
    const reader = new SparklineReader(sql(), () => NOW);
    reader.isTrusted = true;
    const first = await reader.selectChanges();
    expect(first.get(ids.UP)).toBeCloseTo(160 / 158 - 1, 10);
    expect(first.get(ids.SPLIT)).toBe(0);
    expect(first.has(ids.NONE)).toBe(false);
    expect(await reader.selectChanges()).toBe(first);
    await ingest(sql(), ids.FEW, [...rising(2), bar(SESSIONS[2], 202)]);
    reader.drop([ids.FEW]);
    const second = await reader.selectChanges();
    expect(second.get(ids.FEW)).toBeCloseTo(1, 10);
    expect(second.get(ids.UP)).toBe(first.get(ids.UP)!);
    reader.drop('all');
    expect(await reader.selectChanges()).not.toBe(second);
  });

  test('are not what they were before a change that was announced meanwhile', async () => {
    const reader = new SparklineReader(sql(), () => NOW);
    reader.isTrusted = true;
    const early = reader.selectChanges();
    reader.drop([ids.FEW]); // while all are being asked for
    await early;
    await ingest(sql(), ids.FEW, [...rising(2), bar(SESSIONS[2], 404)]);
    reader.drop([ids.FEW]);
    expect((await reader.selectChanges()).get(ids.FEW)).toBeCloseTo(3, 10);
    const late = await reader.selectChanges();
    expect(await reader.selectChanges()).toBe(late);
  });

  test('are asked for again after they could not be had, whatever was announced', async () => {
    const reader = new SparklineReader(sql(), () => NOW);
    reader.isTrusted = true;
    await sql()`alter table bars_1d rename to bars_1d_away`;
    try {
      const failed = reader.selectChanges();
      reader.drop([ids.FEW]);
      await expect(Promise.resolve(failed)).rejects.toThrow('bars_1d');
    } finally {
      await sql()`alter table bars_1d_away rename to bars_1d`;
    }
    expect((await reader.selectChanges()).get(ids.FEW)).toBeCloseTo(3, 10);
  });

  test('take a split with the day on which it happens', async () => {
    const id = await addInstrument(sql(), 'SOON');
    await ingest(sql(), id, rising());
    const exDate = '2024-12-02';
    await addSplit(sql(), id, { exDate, splitFrom: 1, splitTo: 10 });
    let now = NOW;
    const reader = new SparklineReader(sql(), () => now);
    reader.isTrusted = true;
    const last = async () => (await reader.select([id])).get(id)?.closes.at(-1);
    expect(await last()).toBe(159);
    now = Date.parse(`${exDate}T15:00:00Z`);
    expect(await last()).toBeCloseTo(15.9, 10);
  });
});

describe('the last change', () => {
  const cases: [number[], number | null][] = [
    [[], null],
    [[5], null],
    [[4, 5], 0.25],
    [[9, 5, 4], -0.2],
    [[0, 5], null],
  ];
  for (const [closes, change] of cases) {
    test(`of ${JSON.stringify(closes)} is ${change}`, () => {
      const found = lastChange({ closes, lastDay: 0 });
      if (change === null) expect(found).toBeNull();
      else expect(found).toBeCloseTo(change, 12);
    });
  }
});

describe('a small chart', () => {
  const points = (closes: number[]) => /points="([^"]*)"/.exec(`${Sparkline({ closes })}`)?.[1];

  test('goes from left to right, the highest on top', () => {
    expect(points([10, 30, 20])).toBe('1.5,22.5 48.0,1.5 94.5,12.0');
    expect(points([5, 5])).toBe('1.5,12.0 94.5,12.0');
    expect(points([5])).toBeUndefined();
    expect(points([])).toBeUndefined();
  });

  test('says what it shows, or is an ornament', () => {
    const named = `${Sparkline({ closes: [2, 1], label: 'AAPL "now"' })}`;
    expect(named).toContain('class="spark down"');
    expect(named).toContain('role="img"');
    expect(named).toContain('aria-label="AAPL &#34;now&#34;"');
    const plain = `${Sparkline({ closes: [1, 2] })}`;
    expect(plain).toContain('class="spark up"');
    expect(plain).toContain('aria-hidden="true"');
    expect(plain).not.toContain('style');
  });
});
