import { describe, expect, test } from 'bun:test';
import {
  type MarketJob,
  type MarketJobOptions,
  startMarketJob,
} from '../../src/ingest/market-hours.ts';
import { formatNewYork } from '../../src/model/market.ts';
import {
  type CalendarOverride,
  makeCalendar,
  newYorkDay,
  toDate,
  toDay,
} from '../../src/model/session.ts';
import { ManualClock } from '../vendor-server.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIMER_MS_MAX = 2 ** 31 - 1;
const calendar = makeCalendar();

/** A clock that knows how long each sleep was to be. */
class WatchedClock extends ManualClock {
  readonly naps: number[] = [];

  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.naps.push(ms);
    return super.sleep(ms, signal);
  }

  advanceTo(instant: string): void {
    this.advance(Date.parse(instant) - this.now());
  }
}

/** A clock that wakes everybody halfway. */
class HastyClock extends WatchedClock {
  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return super.sleep(Math.ceil(ms / 2), signal);
  }
}

interface World extends AsyncDisposable {
  clock: WatchedClock;
  job: MarketJob;
  /** When each run began, in New York; the last of a session says so. */
  runs: string[];
  lines: string[];
  /** Goes on to an instant, beat by beat. */
  playTo(instant: string): Promise<void>;
  /** Wakes at an instant that was slept through to. */
  jumpTo(instant: string): Promise<void>;
}

function startWorld(
  at: string,
  changes: Partial<MarketJobOptions> = {},
  clock = new WatchedClock(at),
): World {
  const runs: string[] = [];
  const lines: string[] = [];
  const job = startMarketJob({
    name: 'quotes',
    calendar,
    everyMs: HOUR,
    lastRunDelayMs: 5 * MINUTE,
    isLeader: () => true,
    log: (level, message) => void lines.push(`${level} ${message}`),
    clock,
    ...changes,
    run: (signal, beat) => {
      runs.push(`${formatNewYork(clock.now()).slice(0, 19)}${beat.isLast ? ' last' : ''}`);
      return changes.run?.(signal, beat) ?? Promise.resolve();
    },
  });
  const jumpTo = async (instant: string) => {
    clock.advanceTo(instant);
    await clock.asleep();
  };
  const playTo = async (instant: string) => {
    for (const end = Date.parse(instant); clock.now() < end; ) {
      const wakesMs = job.state().wakesAt?.getTime() ?? end;
      clock.advance(Math.min(wakesMs, end) - clock.now());
      await clock.asleep();
    }
  };
  return { clock, job, runs, lines, playTo, jumpTo, [Symbol.asyncDispose]: () => job.stop() };
}

/** Starts a job at an instant and waits until it sleeps. */
async function openWorld(at: string, changes?: Partial<MarketJobOptions>): Promise<World> {
  const world = startWorld(at, changes);
  await world.clock.asleep();
  return world;
}

/** A job whose first run has begun, and which ends its runs only when it is told to. */
async function openHeld(at: string, held: HeldRun): Promise<World> {
  const begun = held.next();
  const world = startWorld(at, { run: held.run });
  await begun;
  const dispose = async () => {
    held.end();
    await world.job.stop();
  };
  return { ...world, [Symbol.asyncDispose]: dispose };
}

const wakes = ({ job }: World) => {
  const { wakesAt } = job.state();
  return wakesAt && formatNewYork(wakesAt.getTime());
};

interface HeldRun {
  run(): Promise<void>;
  /** Resolves when the next run has begun. */
  next(): Promise<void>;
  /** Ends the run in progress. */
  end(): void;
}

function heldRun(): HeldRun {
  let begun = Promise.withResolvers<void>();
  let ended = Promise.withResolvers<void>();
  return {
    run: () => {
      begun.resolve();
      begun = Promise.withResolvers();
      ended = Promise.withResolvers();
      return ended.promise;
    },
    next: () => begun.promise,
    end: () => ended.resolve(),
  };
}

describe('beats', () => {
  test('come from the open on, and once more after the close', async () => {
    await using world = await openWorld('2026-11-25T08:00:00-05:00');
    expect(world.job.state()).toEqual({
      phase: 'sleeping',
      wakesAt: new Date('2026-11-25T14:30:00Z'),
      lastRun: null,
      lastError: null,
    });
    await world.playTo('2026-11-25T23:00:00-05:00');
    expect(world.runs).toEqual([
      ...['09', '10', '11', '12', '13', '14', '15'].map((hour) => `2026-11-25T${hour}:30:00`),
      '2026-11-25T16:05:00 last',
    ]);
    expect(world.job.state().lastRun).toEqual({
      startedAt: new Date('2026-11-25T21:05:00Z'),
      finishedAt: new Date('2026-11-25T21:05:00Z'),
      isLast: true,
      hasFailed: false,
    });
    expect(world.lines).toEqual([]);
  });

  test('skip a holiday and end at an early close', async () => {
    await using world = await openWorld('2026-11-25T17:00:00-05:00');
    expect(wakes(world)).toBe('2026-11-27T09:30:00-05:00');
    await world.playTo('2026-11-30T09:30:00-05:00');
    expect(world.runs).toEqual([
      ...['09', '10', '11', '12'].map((hour) => `2026-11-27T${hour}:30:00`),
      '2026-11-27T13:05:00 last',
      '2026-11-30T09:30:00',
    ]);
  });

  test('cover pre-market and after-hours when asked to', async () => {
    const changes = { parts: 'extended', everyMs: 4 * HOUR, lastRunDelayMs: 0 } as const;
    await using world = await openWorld('2026-11-27T00:00:00-05:00', changes);
    await world.playTo('2026-11-30T05:00:00-05:00');
    expect(world.runs).toEqual([
      '2026-11-27T04:00:00',
      '2026-11-27T08:00:00',
      '2026-11-27T12:00:00',
      '2026-11-27T16:00:00',
      '2026-11-27T17:00:00 last', // four hours after the early close
      '2026-11-30T04:00:00',
    ]);
  });

  const weekends: [friday: string, opens: string, hours: number][] = [
    ['2026-03-06T17:00:00-05:00', '2026-03-09T09:30:00-04:00', 63.5],
    ['2026-10-30T17:00:00-04:00', '2026-11-02T09:30:00-05:00', 65.5],
  ];
  for (const [friday, opens, hours] of weekends) {
    test(`sleep ${hours} hours over the weekend before ${opens}`, async () => {
      await using world = await openWorld(friday);
      expect(world.clock.naps).toEqual([hours * HOUR]);
      expect(wakes(world)).toBe(opens);
      await world.playTo(opens);
      expect(world.runs).toEqual([opens.slice(0, 19)]);
    });
  }

  test('set one timer for a night, however long', async () => {
    await using world = await openWorld('2026-11-20T16:30:00-05:00');
    expect(world.clock.naps).toEqual([Date.parse('2026-11-23T14:30:00Z') - world.clock.now()]);
    await world.playTo('2026-11-23T09:29:59-05:00');
    expect(world.clock.naps).toHaveLength(1);
    expect(world.runs).toEqual([]);
  });

  test('come after a closure that is longer than a timer can wait', async () => {
    const first = toDay('2026-11-23');
    const closed = Array.from({ length: 60 }, (_, i) => {
      return { date: toDate(first + i), kind: 'closed' as const, reason: 'Closed for long' };
    });
    const changes = { calendar: makeCalendar(closed) };
    await using world = await openWorld('2026-11-21T12:00:00Z', changes);
    expect(wakes(world)).toBe('2027-01-22T09:30:00-05:00');
    while (world.runs.length === 0) {
      world.clock.advance(world.clock.naps.at(-1)!);
      await world.clock.asleep();
    }
    expect(world.runs).toEqual(['2027-01-22T09:30:00']);
    expect(world.clock.naps.slice(0, 2)).toEqual([TIMER_MS_MAX, TIMER_MS_MAX]);
    expect(Math.max(...world.clock.naps)).toBe(TIMER_MS_MAX);
  });
});

describe('a start', () => {
  test('in open hours runs at once, and then with the beat of the open', async () => {
    await using world = await openWorld('2026-11-25T10:07:13-05:00');
    expect(world.runs).toEqual(['2026-11-25T10:07:13']);
    expect(wakes(world)).toBe('2026-11-25T10:30:00-05:00');
  });

  test('at the open runs once', async () => {
    await using world = await openWorld('2026-11-25T09:30:00-05:00');
    expect(world.runs).toEqual(['2026-11-25T09:30:00']);
    expect(wakes(world)).toBe('2026-11-25T10:30:00-05:00');
  });

  test('between the close and the last run waits for that', async () => {
    await using world = await openWorld('2026-11-25T16:02:00-05:00');
    expect(world.runs).toEqual([]);
    expect(wakes(world)).toBe('2026-11-25T16:05:00-05:00');
    await world.playTo('2026-11-25T17:00:00-05:00');
    expect(world.runs).toEqual(['2026-11-25T16:05:00 last']);
  });

  test('after the last run waits for the next open', async () => {
    await using world = await openWorld('2026-11-25T16:05:00-05:00');
    expect(world.runs).toEqual([]);
    expect(wakes(world)).toBe('2026-11-27T09:30:00-05:00');
  });

  test('before the calendar begins waits for its first session', async () => {
    await using world = await openWorld('1985-01-01T12:00:00Z');
    expect(wakes(world)).toBe('1990-01-02T09:30:00-05:00');
  });

  const after = ['2049-12-31T16:05:00-05:00', '2051-06-01T12:00:00Z'];
  for (const at of after) {
    test(`at ${at}, when the calendar has no more, says so and ends`, async () => {
      const lines: string[] = [];
      const job = startMarketJob({
        name: 'quotes',
        calendar,
        everyMs: HOUR,
        lastRunDelayMs: 5 * MINUTE,
        isLeader: () => true,
        run: () => Promise.reject(new Error('it must not run')),
        log: (level, message) => void lines.push(`${level} ${message}`),
        clock: new ManualClock(at),
      });
      await job.stop();
      expect(lines).toEqual(['WARNING quotes ended: the exchange calendar has no further session']);
      expect(job.state()).toEqual({
        phase: 'stopped',
        wakesAt: null,
        lastRun: null,
        lastError: null,
      });
    });
  }

  const wrong: [changes: Partial<MarketJobOptions>, says: string][] = [
    [{ everyMs: 0 }, 'everyMs is 0: it must be at least 1'],
    [{ everyMs: Number.NaN }, 'everyMs is NaN'],
    [{ lastRunDelayMs: -1 }, 'lastRunDelayMs is -1: it must be from 0 to 8 hours'],
    [{ lastRunDelayMs: 8 * HOUR }, 'lastRunDelayMs is 28800000'],
    [{ lastRunDelayMs: Number.NaN }, 'lastRunDelayMs is NaN'],
  ];
  for (const [changes, says] of wrong) {
    test(`is refused: ${says}`, async () => {
      await expect(openWorld('2026-11-25T10:00:00Z', changes)).rejects.toThrow(says);
    });
  }
});

describe('a late wake-up', () => {
  test('in open hours runs once and takes up the beat again', async () => {
    await using world = await openWorld('2026-11-24T09:30:00-05:00');
    await world.jumpTo('2026-11-24T13:47:00-05:00');
    expect(world.runs).toEqual(['2026-11-24T09:30:00', '2026-11-24T13:47:00']);
    expect(wakes(world)).toBe('2026-11-24T14:30:00-05:00');
  });

  test('after the last run was due makes up for it', async () => {
    await using world = await openWorld('2026-11-24T09:30:00-05:00');
    await world.jumpTo('2026-11-25T03:00:00-05:00');
    expect(world.runs).toEqual(['2026-11-24T09:30:00', '2026-11-25T03:00:00 last']);
    expect(wakes(world)).toBe('2026-11-25T09:30:00-05:00');
  });

  test('between the close and the last run waits for that', async () => {
    await using world = await openWorld('2026-11-24T15:00:00-05:00');
    await world.jumpTo('2026-11-24T16:01:00-05:00');
    expect(world.runs).toEqual(['2026-11-24T15:00:00']);
    expect(wakes(world)).toBe('2026-11-24T16:05:00-05:00');
    await world.playTo('2026-11-24T16:05:00-05:00');
    expect(world.runs.slice(1)).toEqual(['2026-11-24T16:05:00 last']);
  });

  test('in the next session runs for that', async () => {
    await using world = await openWorld('2026-11-20T15:00:00-05:00');
    await world.jumpTo('2026-11-23T10:00:00-05:00');
    expect(world.runs).toEqual(['2026-11-20T15:00:00', '2026-11-23T10:00:00']);
    expect(wakes(world)).toBe('2026-11-23T10:30:00-05:00');
  });

  test('after whole sessions makes up for the last of them only', async () => {
    await using world = await openWorld('2026-11-20T18:00:00-05:00');
    await world.jumpTo('2026-11-26T12:00:00-05:00');
    expect(world.runs).toEqual(['2026-11-26T12:00:00 last']);
    expect(wakes(world)).toBe('2026-11-27T09:30:00-05:00');
  });

  test('that came early sleeps for the rest', async () => {
    const clock = new HastyClock('2026-11-25T09:00:00-05:00');
    await using world = startWorld('2026-11-25T09:00:00-05:00', {}, clock);
    for (const instant of ['09:15:00', '09:22:30', '09:26:15']) {
      clock.advanceTo(`2026-11-25T${instant}-05:00`);
      await clock.asleep();
      expect(world.runs).toEqual([]);
      expect(wakes(world)).toBe('2026-11-25T09:30:00-05:00');
    }
    clock.advanceTo('2026-11-25T09:30:00-05:00');
    await clock.asleep();
    expect(world.runs).toEqual(['2026-11-25T09:30:00']);
  });
});

describe('runs', () => {
  test('never overlap: one that takes long skips beats', async () => {
    const held = heldRun();
    await using world = await openHeld('2026-11-24T09:30:00-05:00', held);
    expect(world.job.state()).toMatchObject({ phase: 'running', wakesAt: null });
    world.clock.advanceTo('2026-11-24T12:45:00-05:00');
    held.end();
    await world.clock.asleep();
    expect(world.runs).toEqual(['2026-11-24T09:30:00']);
    expect(wakes(world)).toBe('2026-11-24T13:30:00-05:00');
    expect(world.job.state().lastRun).toMatchObject({
      startedAt: new Date('2026-11-24T14:30:00Z'),
      finishedAt: new Date('2026-11-24T17:45:00Z'),
    });
    held.end();
  });

  test('that end after the close are followed by the last one at once, if it is due', async () => {
    const held = heldRun();
    await using world = await openHeld('2026-11-24T15:30:00-05:00', held);
    world.clock.advanceTo('2026-11-24T16:20:00-05:00');
    const next = held.next();
    held.end();
    await next;
    expect(world.runs).toEqual(['2026-11-24T15:30:00', '2026-11-24T16:20:00 last']);
    held.end();
    await world.clock.asleep();
    expect(world.runs).toHaveLength(2);
    expect(wakes(world)).toBe('2026-11-25T09:30:00-05:00');
  });

  test('that end just after the close leave the last one its time', async () => {
    const held = heldRun();
    await using world = await openHeld('2026-11-24T15:30:00-05:00', held);
    world.clock.advanceTo('2026-11-24T16:00:00-05:00');
    held.end();
    await world.clock.asleep();
    expect(wakes(world)).toBe('2026-11-24T16:05:00-05:00');
  });

  test('that fail are logged, and the next one comes as usual', async () => {
    let isFailing = true;
    const changes = {
      run: async () => {
        if (isFailing) throw new Error('the vendor is away');
      },
    };
    await using world = await openWorld('2026-11-24T10:00:00-05:00', changes);
    expect(world.lines).toEqual(['ERROR quotes: the vendor is away']);
    const lastError = { at: new Date('2026-11-24T15:00:00Z'), message: 'the vendor is away' };
    expect(world.job.state()).toMatchObject({
      phase: 'sleeping',
      lastRun: { hasFailed: true },
      lastError,
    });
    isFailing = false;
    await world.playTo('2026-11-24T10:30:00-05:00');
    expect(world.job.state()).toMatchObject({ lastRun: { hasFailed: false }, lastError });
    expect(world.lines).toHaveLength(1);
  });

  test('that throw before they wait are no different', async () => {
    const changes = {
      run: () => {
        throw new Error('at once');
      },
    };
    await using world = await openWorld('2026-11-24T10:00:00-05:00', changes);
    expect(world.lines).toEqual(['ERROR quotes: at once']);
    expect(wakes(world)).toBe('2026-11-24T10:30:00-05:00');
  });

  test('are for the leader; one that takes the lead begins with the next beat', async () => {
    let isLeader = false;
    const changes = { isLeader: () => isLeader };
    await using world = await openWorld('2026-11-24T10:00:00-05:00', changes);
    expect(world.job.state().phase).toBe('standby');
    await world.playTo('2026-11-24T12:00:00-05:00');
    expect(world.runs).toEqual([]);
    isLeader = true;
    expect(world.job.state().phase).toBe('sleeping');
    await world.playTo('2026-11-24T12:30:00-05:00');
    isLeader = false;
    await world.playTo('2026-11-25T09:00:00-05:00');
    expect(world.runs).toEqual(['2026-11-24T12:30:00']);
  });
});

describe('stopping', () => {
  test('ends the sleep', async () => {
    const world = await openWorld('2026-11-24T08:00:00-05:00');
    await world.job.stop();
    expect(world.job.state()).toMatchObject({ phase: 'stopped', wakesAt: null, lastError: null });
    world.clock.advance(DAY);
    expect(world.runs).toEqual([]);
    expect(world.lines).toEqual([]);
    await world.job.stop(); // a second time is no harm
  });

  test('waits for the run in progress, which may go on to its end', async () => {
    const held = heldRun();
    const world = await openHeld('2026-11-24T10:00:00-05:00', held);
    let isStopped = false;
    const stopped = world.job.stop().then(() => {
      isStopped = true;
    });
    await Promise.resolve();
    expect(isStopped).toBe(false);
    expect(world.job.state().phase).toBe('running');
    world.clock.advance(MINUTE);
    held.end();
    await stopped;
    expect(world.job.state()).toMatchObject({
      phase: 'stopped',
      lastRun: { finishedAt: new Date('2026-11-24T15:01:00Z'), hasFailed: false },
    });
    world.clock.advance(DAY);
    expect(world.runs).toHaveLength(1);
  });

  test('tells the run in progress, and does not call it a failure that it obeys', async () => {
    const begun = Promise.withResolvers<void>();
    const world = startWorld('2026-11-24T10:00:00-05:00', {
      run: (signal) => {
        begun.resolve();
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        });
      },
    });
    await begun.promise;
    await world.job.stop();
    expect(world.job.state()).toMatchObject({
      phase: 'stopped',
      lastRun: { hasFailed: false },
      lastError: null,
    });
    expect(world.lines).toEqual([]);
  });

  test('does not hide a failure of the run that it ends', async () => {
    const begun = Promise.withResolvers<void>();
    const world = startWorld('2026-11-24T10:00:00-05:00', {
      run: (signal) => {
        begun.resolve();
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('half a batch is lost')));
        });
      },
    });
    await begun.promise;
    await world.job.stop();
    expect(world.lines).toEqual(['ERROR quotes: half a batch is lost']);
    expect(world.job.state().lastError?.message).toBe('half a batch is lost');
  });
});

test('a job lives by the time of the machine when it is given no clock', async () => {
  const now = Date.now();
  const day = toDate(newYorkDay(now));
  // Open from midnight to 23:59, and four hours more with after-hours trading: whenever it is now.
  const open = { date: day, kind: 'session' as const, open: '00:00', close: '23:59', reason: 'x' };
  const begun = Promise.withResolvers<void>();
  const job = startMarketJob({
    name: 'quotes',
    calendar: makeCalendar([open]),
    parts: 'extended',
    everyMs: 1,
    lastRunDelayMs: 0,
    isLeader: () => true,
    log: () => {},
    run: async () => begun.resolve(),
  });
  await begun.promise;
  await job.stop();
  expect(job.state().lastRun!.startedAt.getTime()).toBeGreaterThanOrEqual(now);
});

describe('a calendar that says otherwise', () => {
  /** A job over a calendar of its own, which the operator changes. */
  function startChanging(at: string) {
    const changing = makeCalendar();
    const world = startWorld(at, { calendar: changing });
    const say = async (...overrides: CalendarOverride[]) => {
      changing.replace(overrides);
      world.job.replan();
      await world.clock.asleep();
      // The sleep that it ended is over, and the next one begun.
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { world, say, wakes: () => formatNewYork(world.job.state().wakesAt!.getTime()) };
  }
  const closed = (date: string): CalendarOverride => ({ date, kind: 'closed', reason: 'Storm' });
  const session = (date: string, open?: string, close?: string): CalendarOverride => ({
    ...{ date, kind: 'session', reason: 'Drill' },
    ...(open && { open }),
    ...(close && { close }),
  });

  test('is woken for a session that came to be', async () => {
    // Friday evening before a Saturday that becomes a session.
    const { world, say, wakes } = startChanging('2026-07-10T21:00:00-04:00');
    await using _ = world;
    await world.clock.asleep();
    expect(wakes()).toBe('2026-07-13T09:30:00-04:00');
    await say(session('2026-07-11', '10:00', '12:00'));
    expect(wakes()).toBe('2026-07-11T10:00:00-04:00');
    await world.playTo('2026-07-11T20:00:00-04:00');
    expect(world.runs).toEqual([
      '2026-07-11T10:00:00',
      '2026-07-11T11:00:00',
      '2026-07-11T12:05:00 last',
    ]);
  });

  test('runs at once in a session that came to be while it goes on', async () => {
    const { world, say } = startChanging('2026-07-11T11:30:00-04:00');
    await using _ = world;
    await world.clock.asleep();
    await say(session('2026-07-11', '10:00', '12:00'));
    expect(world.runs).toEqual(['2026-07-11T11:30:00']);
  });

  test('does not run for a session that came to be when it is over', async () => {
    const { world, say, wakes } = startChanging('2026-07-12T11:30:00-04:00');
    await using _ = world;
    await world.clock.asleep();
    await say(session('2026-07-11'));
    expect(wakes()).toBe('2026-07-13T09:30:00-04:00');
    expect(world.runs).toEqual([]);
  });

  test('sleeps through a session that was closed', async () => {
    const { world, say, wakes } = startChanging('2026-07-10T11:30:00-04:00');
    await using _ = world;
    await world.clock.asleep();
    expect(world.runs).toEqual(['2026-07-10T11:30:00']);
    await say(closed('2026-07-10'), closed('2026-07-13'));
    expect(wakes()).toBe('2026-07-14T09:30:00-04:00');
    await world.playTo('2026-07-14T09:30:00-04:00');
    expect(world.runs).toEqual(['2026-07-10T11:30:00', '2026-07-14T09:30:00']);
  });

  test('ends with the close that was moved', async () => {
    const { world, say } = startChanging('2026-07-10T09:30:00-04:00');
    await using _ = world;
    await world.clock.asleep();
    await say(session('2026-07-10', '09:30', '10:00'));
    await world.playTo('2026-07-10T20:00:00-04:00');
    expect(world.runs).toEqual(['2026-07-10T09:30:00', '2026-07-10T10:05:00 last']);
  });

  test('is heard after a run that it came in', async () => {
    const changing = makeCalendar();
    const done = Promise.withResolvers<void>();
    const world = startWorld('2026-07-10T09:30:00-04:00', {
      calendar: changing,
      run: () => done.promise,
    });
    await using _ = world;
    await new Promise((resolve) => setImmediate(resolve));
    const { phase } = world.job.state();
    changing.replace([session('2026-07-10', '09:30', '10:00')]);
    world.job.replan();
    done.resolve();
    expect(phase).toBe('running');
    await world.clock.asleep();
    await world.playTo('2026-07-10T20:00:00-04:00');
    expect(world.runs).toEqual(['2026-07-10T09:30:00', '2026-07-10T10:05:00 last']);
  });

  test('changes nothing about a job that was stopped', async () => {
    const { world } = startChanging('2026-07-10T21:00:00-04:00');
    await world.clock.asleep();
    await world.job.stop();
    world.job.replan();
    expect(world.job.state()).toMatchObject({ phase: 'stopped', wakesAt: null });
    expect(world.lines).toEqual([]);
  });
});
