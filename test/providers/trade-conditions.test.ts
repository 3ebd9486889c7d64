import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { newYorkInstant, toDay } from '../../src/model/session.ts';
import { type ConditionKind, makeConditionJudge } from '../../src/providers/trade-conditions.ts';
import { readTradeFile } from '../../src/providers/trade-file.ts';
import { calendar } from '../fixtures/bars.ts';
import { SHARED_DATA } from '../vendor-server.ts';

const DAYS: [symbol: string, day: string, file: string][] = [
  ...['07', '08', '09', '10', '11'].map((day): [string, string, string] => [
    ...(['ibm', `201310${day}`, `ibm_201310${day}_trades.csv`] as const),
  ]),
  ['aig', '20131007', 'aig_20131007_trades.csv.gz'],
  ['bac', '20131007', 'bac_20131007_trades.csv.gz'],
  ['spy', '20131007', 'spy_20131007_trades.csv.gz'],
];

/** Open, high, low, close, volume by 'YYYY-MM-DD HH:MM'. */
type Minutes = Map<string, number[]>;

function readMinutes(symbol: string, day: string): Minutes {
  const path = join(SHARED_DATA, `minute/lean/${symbol}_${day}.csv`);
  const lines = readFileSync(path, 'utf8').trim().split('\n').slice(1);
  return new Map(
    lines.map((line) => {
      const [stamp, ...values] = line.trim().split(',');
      return [stamp!.slice(0, 16), values.map(Number)];
    }),
  );
}

/** Minutes by hand: the last of the day's trades that may set it is the close, and so on. */
async function makeMinutes(file: string, day: string, judge?: number): Promise<Minutes> {
  const made: Minutes = new Map();
  const date = `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`;
  const midnight = newYorkInstant(toDay(date), 0) * 1000;
  const path = join(SHARED_DATA, 'trades/lean', file);
  for await (const { trades } of readTradeFile(path, { calendar })) {
    for (const { length, ts, price, size, updates } of trades.values()) {
      for (let i = 0; i < length; i++) {
        const may = judge ?? updates[i]!;
        if (may === 0) continue;
        const minute = Math.floor((ts[i]! - midnight) / 60_000_000);
        const pad = (value: number) => String(value).padStart(2, '0');
        const key = `${date} ${pad(Math.floor(minute / 60))}:${pad(minute % 60)}`;
        const bar = made.get(key) ?? [Number.NaN, -Infinity, Infinity, Number.NaN, 0];
        if (may & 1) bar.splice(3, 1, price[i]!);
        if (may & 1 && Number.isNaN(bar[0])) bar[0] = price[i]!;
        if (may & 2) bar[1] = Math.max(bar[1]!, price[i]!);
        if (may & 2) bar[2] = Math.min(bar[2]!, price[i]!);
        if (may & 4) bar[4]! += size[i]!;
        made.set(key, bar);
      }
    }
  }
  return made;
}

/** Of how many minutes open, high, low, close, volume and all five agree, and which do not. */
async function agreement(judge?: number) {
  const agreeing = [0, 0, 0, 0, 0, 0];
  const differing: string[] = [];
  let minutes = 0;
  for (const [symbol, day, file] of DAYS) {
    const made = await makeMinutes(file, day, judge);
    for (const [key, values] of readMinutes(symbol, day)) {
      minutes++;
      const bar = made.get(key);
      const same = values.map((value, i) => bar !== undefined && Math.abs(bar[i]! - value) < 1e-9);
      [...same, same.every(Boolean)].forEach((is, i) => {
        if (is) agreeing[i]!++;
      });
      if (!same.every(Boolean)) differing.push(`${symbol} ${key}`);
    }
  }
  return { minutes, agreeing, differing };
}

describe('sale conditions of real trades', () => {
  test('reproduce the source’s own minutes, but for the auctions that it moves', async () => {
    const { minutes, agreeing, differing } = await agreement();
    expect(minutes).toBe(4011);
    // open, high, low, close, volume, all five
    expect(agreeing).toEqual([4007, 4007, 4011, 4003, 3988, 3983]);
    const elsewhere = differing.filter((key) => !/ (09:3[01]|15:59|16:0[01])$/.test(key));
    expect(elsewhere).toEqual(['ibm 2013-10-11 15:49', 'aig 2013-10-07 13:46']);
  });

  test('matter: every trade taken for everything reproduces two minutes in three', async () => {
    const { agreeing } = await agreement(7);
    expect(agreeing[5]).toBe(2589);
  });
});

describe('what a trade may change', () => {
  const at = (time: string, date = '2013-10-07') => Date.parse(`${date}T${time}-04:00`) * 1000;
  const NOON = at('12:00:00');
  const CASES: [kind: ConditionKind, text: string, micros: number, updates: number | undefined][] =
    [
      ['flags', '1', NOON, 7],
      ['flags', '', NOON, 7],
      ['flags', '20000001', NOON, 7],
      ['flags', '20000020', NOON, 4], // intermarket sweep
      ['flags', '20100200', NOON, 4], // average price, derivatively priced
      ['flags', '20040200', NOON, 4], // stock-option
      ['flags', '1000000', at('16:00:00'), 0], // official close
      ['flags', '4000000', at('09:30:00'), 0], // official open
      ['flags', '40', at('09:30:05'), 7], // the opening auction
      ['flags', '80', at('16:00:05'), 7], // the closing auction
      // Extended hours: everything outside of regular ones, volume only when reported within.
      ['flags', '2000', at('08:00:00'), 7],
      ['flags', '20002020', at('17:00:00'), 7],
      ['flags', '2000', at('09:29:59.999'), 7],
      ['flags', '2000', at('09:30:00'), 4],
      ['flags', '2000', at('15:59:59.999'), 4],
      ['flags', '2000', at('16:00:00'), 7],
      ['flags', '2000', at('14:00:00', '2013-07-03'), 7], // closed at 13:00
      ['flags', '2000', at('12:59:59', '2013-07-03'), 4],
      ['flags', '2000', at('12:00:00', '2013-10-06'), 7], // a Sunday
      ['flags', 'xyz', NOON, undefined],
      ['flags', '123456789', NOON, undefined],
      ['numbers', '', NOON, 7],
      ['numbers', '14,41', NOON, 7],
      ['numbers', '2', NOON, 4],
      ['numbers', '10', NOON, 6],
      ['numbers', '14,37,41', NOON, 4],
      ['numbers', '16', NOON, 0],
      ['numbers', '12,37', at('08:00:00'), 4],
      ['numbers', '12', at('08:00:00'), 7],
      ['numbers', '12', NOON, 4],
      ['letters', '@ TI', NOON, 7],
    ];
  for (const [kind, text, micros, updates] of CASES) {
    test(`${kind} ${JSON.stringify(text)} at ${new Date(micros / 1000).toISOString()}`, () => {
      const judge = makeConditionJudge(kind, calendar);
      expect(judge(text, micros)).toBe(updates);
      expect(judge(text, micros)).toBe(updates); // and from memory
    });
  }
});
