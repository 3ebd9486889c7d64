import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  formatClock,
  formatNewYork,
  formatUtc,
  isOpenWithin,
  marketAt,
  newYorkZone,
  sessionsBetween,
} from '../../src/model/market.ts';
import { makeCalendar, newYorkDay, toDay } from '../../src/model/session.ts';

const TRUTH = join(import.meta.dir, '../../../shared/data/calendar');
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const calendar = makeCalendar();

const at = (text: string) => marketAt(calendar, Date.parse(text));
const newYork = (ms: number | null) => ms && formatNewYork(ms);

function readCells(name: string): string[][] {
  const lines = readFileSync(join(TRUTH, name), 'utf8').trim().split('\n');
  return lines.slice(1).map((line) => line.trim().split(','));
}

interface Session {
  date: string;
  openMs: number;
  closeMs: number;
  isEarly: boolean;
}

const SESSIONS: Session[] = readCells('nyse_sessions_1990_2028_DERIVED.csv').map(
  ([date, open, close, isEarly]) => ({
    date,
    openMs: Date.parse(open),
    closeMs: Date.parse(close),
    isEarly: isEarly === '1',
  }),
);

const PARTS = new Intl.DateTimeFormat('en-US', {
  timeZone: 'America/New_York',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'short',
});

/** 'YYYY-MM-DDTHH:MM:SS EST', by the time zone database. */
function zoneText(ms: number): string {
  const of = Object.fromEntries(PARTS.formatToParts(ms).map(({ type, value }) => [type, value]));
  return (
    `${of.year}-${of.month}-${of.day}T${of.hour}:${of.minute}:${of.second} ` + `${of.timeZoneName}`
  );
}

describe('New York time', () => {
  const expectZone = (ms: number) => {
    const text = formatNewYork(ms);
    expect(`${text.slice(0, 19)} ${newYorkZone(ms)}`).toBe(zoneText(ms));
    expect(Date.parse(text)).toBe(ms);
    expect(text.slice(19)).toBe(newYorkZone(ms) === 'EST' ? '-05:00' : '-04:00');
  };

  test('is that of the time zone database, every 10 hours of 60 years', () => {
    const end = Date.parse('2050-01-01T00:00:00Z');
    for (let ms = Date.parse('1990-01-01T12:34:56Z'); ms < end; ms += 10 * HOUR_MS) expectZone(ms);
  });

  const switches = ['2026-03-08', '2026-11-01', '2006-04-02', '2006-10-29', '2007-03-11'];
  for (const date of switches) {
    test(`is right in every minute of the Sunday ${date}`, () => {
      const start = Date.parse(`${date}T05:00:00Z`);
      for (let ms = start; ms < start + DAY_MS; ms += MINUTE_MS) expectZone(ms);
    });
  }

  test('as a time of day, and in UTC, has whole minutes and whole seconds', () => {
    const ms = Date.parse('2026-11-27T18:00:59.999Z');
    expect(formatClock(ms)).toBe('13:00 EST');
    expect(formatClock(Date.parse('2026-07-01T04:05:00Z'))).toBe('00:05 EDT');
    expect(formatUtc(ms)).toBe('2026-11-27T18:00:59Z');
    expect(formatNewYork(ms)).toBe('2026-11-27T13:00:59-05:00');
  });
});

describe('against every recorded session since 1990', () => {
  test('the market opens and closes to the millisecond', () => {
    expect(SESSIONS.length).toBe(9820);
    for (const { openMs, closeMs, isEarly } of SESSIONS) {
      const states = [openMs - 1, openMs, closeMs - 1, closeMs].map((ms) => marketAt(calendar, ms));
      expect(states.map(({ isOpen }) => isOpen)).toEqual([false, true, true, false]);
      expect(states.map(({ closure }) => closure)).toEqual([
        'before_open',
        null,
        null,
        'after_close',
      ]);
      expect(states.map(({ part }) => part)).toEqual([
        'pre_market',
        'regular',
        'regular',
        'after_hours',
      ]);
      expect(states.map(({ today }) => today.isEarlyClose)).toEqual(Array(4).fill(isEarly));
    }
  });

  test('the next open and the next close are those of the list', () => {
    for (const [i, { openMs, closeMs }] of SESSIONS.slice(0, -1).entries()) {
      const next = SESSIONS[i + 1]!;
      const expected: [ms: number, nextOpenMs: number, nextCloseMs: number][] = [
        [openMs - 1, openMs, closeMs],
        [openMs, next.openMs, closeMs],
        [closeMs - 1, next.openMs, closeMs],
        [closeMs, next.openMs, next.closeMs],
        [closeMs + 12 * HOUR_MS, next.openMs, next.closeMs],
        [next.openMs - 12 * HOUR_MS, next.openMs, next.closeMs],
      ];
      for (const [ms, nextOpenMs, nextCloseMs] of expected) {
        expect(marketAt(calendar, ms)).toMatchObject({ nextOpenMs, nextCloseMs });
      }
    }
  });

  test('the list of sessions has all of them, with their hours', () => {
    const listed = sessionsBetween(calendar, toDay('1990-01-01'), toDay('2028-12-31'));
    expect(
      listed.map(({ date, hours, isEarlyClose }) => {
        return { date, openMs: hours?.openMs, closeMs: hours?.closeMs, isEarly: isEarlyClose };
      }),
    ).toEqual(SESSIONS);
    expect(listed.every(({ reason }) => reason === null)).toBe(true);
    for (const { date, hours } of listed) {
      expect(formatNewYork(hours!.preMarketMs).slice(0, 19)).toBe(`${date}T04:00:00`);
      expect(hours!.endMs - hours!.closeMs).toBe(4 * HOUR_MS);
    }
  });

  test('with closed days it has every day, and a closure is a holiday or a weekend', () => {
    const [first, last] = [toDay('1990-01-01'), toDay('2028-12-31')];
    const days = sessionsBetween(calendar, first, last, { withClosed: true });
    expect(days.length).toBe(last - first + 1);
    const sessions = new Set(SESSIONS.map(({ date }) => date));
    expect(days.filter(({ hours }) => hours !== null).map(({ date }) => date)).toEqual([
      ...sessions,
    ]);
    const closures = new Map(
      readCells('nyse_full_closures_1990_2028_DERIVED.csv').map(([date, name]) => [date, name]),
    );
    for (const { date, weekday, hours, reason, isEarlyClose } of days) {
      if (hours !== null) continue;
      const isWeekend = weekday === 'Saturday' || weekday === 'Sunday';
      expect([date, reason === 'weekend']).toEqual([date, isWeekend]);
      expect([date, closures.has(date)]).toEqual([date, !isWeekend]);
      if (!isWeekend) expect(weekday.slice(0, 3)).toBe(closures.get(date)!);
      expect(isEarlyClose).toBe(false);
      const noon = marketAt(calendar, Date.parse(`${date}T17:00:00Z`));
      expect(noon.closure).toBe(isWeekend ? 'weekend' : 'holiday');
      expect(noon.part).toBe('closed');
      expect(noon.sentence).toBe(`closed: ${isWeekend ? `weekend (${weekday})` : reason}`);
    }
  });
});

describe('the state', () => {
  const cases: [at: string, sentence: string, part: string, nextOpen: string, nextClose: string][] =
    [
      [
        '2026-11-26T16:00:00Z',
        'closed: Thanksgiving Day',
        'closed',
        '2026-11-27T09:30:00-05:00',
        '2026-11-27T13:00:00-05:00',
      ],
      [
        '2026-11-27T12:59:59-05:00',
        'open until the early close at 13:00 EST',
        'regular',
        '2026-11-30T09:30:00-05:00',
        '2026-11-27T13:00:00-05:00',
      ],
      [
        '2026-11-27T16:59:59.999-05:00',
        'closed: after the early close at 13:00 EST',
        'after_hours',
        '2026-11-30T09:30:00-05:00',
        '2026-11-30T16:00:00-05:00',
      ],
      [
        '2026-11-27T17:00:00-05:00',
        'closed: after the early close at 13:00 EST',
        'closed',
        '2026-11-30T09:30:00-05:00',
        '2026-11-30T16:00:00-05:00',
      ],
      [
        '2026-07-01T03:59:59-04:00',
        'closed: before the open at 09:30 EDT',
        'closed',
        '2026-07-01T09:30:00-04:00',
        '2026-07-01T16:00:00-04:00',
      ],
      [
        '2026-07-01T04:00:00-04:00',
        'closed: before the open at 09:30 EDT',
        'pre_market',
        '2026-07-01T09:30:00-04:00',
        '2026-07-01T16:00:00-04:00',
      ],
      [
        '2026-07-01T20:00:00-04:00',
        'closed: after the close at 16:00 EDT',
        'closed',
        '2026-07-02T09:30:00-04:00',
        '2026-07-02T16:00:00-04:00',
      ],
      [
        '2012-10-29T15:00:00Z',
        'closed: Hurricane Sandy',
        'closed',
        '2012-10-31T09:30:00-04:00',
        '2012-10-31T16:00:00-04:00',
      ],
      // Asked in standard time, opens in daylight time; and the other way round.
      [
        '2026-03-08T06:59:59Z',
        'closed: weekend (Sunday)',
        'closed',
        '2026-03-09T09:30:00-04:00',
        '2026-03-09T16:00:00-04:00',
      ],
      [
        '2026-11-01T05:30:00Z',
        'closed: weekend (Sunday)',
        'closed',
        '2026-11-02T09:30:00-05:00',
        '2026-11-02T16:00:00-05:00',
      ],
      // Still Friday in New York, Saturday in UTC.
      [
        '2026-11-21T01:00:00Z',
        'closed: after the close at 16:00 EST',
        'closed',
        '2026-11-23T09:30:00-05:00',
        '2026-11-23T16:00:00-05:00',
      ],
    ];
  for (const [instant, sentence, part, nextOpen, nextClose] of cases) {
    test(`at ${instant}: ${sentence}`, () => {
      const state = at(instant);
      expect(state.sentence).toBe(sentence);
      expect(state.part).toBe(part as typeof state.part);
      expect(newYork(state.nextOpenMs)).toBe(nextOpen);
      expect(newYork(state.nextCloseMs)).toBe(nextClose);
      expect(state.isOpen).toBe(sentence.startsWith('open'));
    });
  }

  test('opens at another instant UTC after the clocks change, and at the same in New York', () => {
    const opens = ['2026-03-06', '2026-03-09', '2026-10-30', '2026-11-02'].map(
      (date) => sessionsBetween(calendar, toDay(date), toDay(date))[0]!.hours!.openMs,
    );
    expect(opens.map(formatUtc)).toEqual([
      '2026-03-06T14:30:00Z',
      '2026-03-09T13:30:00Z',
      '2026-10-30T13:30:00Z',
      '2026-11-02T14:30:00Z',
    ]);
    expect(opens.map((ms) => formatNewYork(ms).slice(11, 19))).toEqual(Array(4).fill('09:30:00'));
  });

  test('follows what the operator has put in', () => {
    const changed = makeCalendar([
      { date: '2026-11-23', kind: 'closed', reason: 'Blizzard' },
      { date: '2026-11-24', kind: 'session', open: '11:00', close: '15:00', reason: 'Blizzard' },
    ]);
    const state = marketAt(changed, Date.parse('2026-11-23T17:00:00Z'));
    expect(state).toMatchObject({ closure: 'holiday', sentence: 'closed: Blizzard' });
    expect(newYork(state.nextOpenMs)).toBe('2026-11-24T11:00:00-05:00');
    expect(newYork(state.nextCloseMs)).toBe('2026-11-24T15:00:00-05:00');
    const late = marketAt(changed, Date.parse('2026-11-24T15:30:00Z'));
    expect(late.sentence).toBe('closed: before the open at 11:00 EST');
    expect(late.today.isEarlyClose).toBe(true);
  });

  test('knows no next open at the end of the calendar, and nothing beyond either end', () => {
    const last = at('2049-12-31T15:00:00-05:00');
    expect(last).toMatchObject({ isOpen: true, nextOpenMs: null });
    expect(newYork(last.nextCloseMs)).toBe('2049-12-31T16:00:00-05:00');
    expect(at('2049-12-31T16:00:00-05:00')).toMatchObject({ nextOpenMs: null, nextCloseMs: null });
    expect(() => at('2050-01-01T05:00:00Z')).toThrow(RangeError);
    expect(() => at('1990-01-01T04:59:59Z')).toThrow('1989-12-31 is outside the exchange calendar');
    expect(newYork(at('1990-01-01T05:00:00Z').nextOpenMs)).toBe('1990-01-02T09:30:00-05:00');
    const [first, last2] = [toDay('2026-11-30'), toDay('2026-11-29')];
    expect(sessionsBetween(calendar, first, last2, { withClosed: true })).toEqual([]);
    expect(() => sessionsBetween(calendar, first, newYorkDay(Date.parse('2051-01-01')))).toThrow(
      RangeError,
    );
  });
});

test('a job should start when the market is open, or opens soon enough', () => {
  const minutes = 5 * MINUTE_MS;
  const cases: [at: string, withinMs: number, isYes: boolean][] = [
    ['2026-11-27T09:24:59.999-05:00', minutes, false],
    ['2026-11-27T09:25:00-05:00', minutes, true],
    ['2026-11-27T09:29:59.999-05:00', 0, false],
    ['2026-11-27T09:30:00-05:00', 0, true],
    ['2026-11-27T12:59:59.999-05:00', 0, true],
    ['2026-11-27T13:00:00-05:00', minutes, false],
    ['2026-11-27T13:00:00-05:00', 3 * DAY_MS, true],
    ['2049-12-31T16:00:00-05:00', 7 * DAY_MS, false],
  ];
  for (const [instant, withinMs, isYes] of cases) {
    expect([instant, withinMs, isOpenWithin(at(instant), withinMs)]).toEqual([
      instant,
      withinMs,
      isYes,
    ]);
  }
});
