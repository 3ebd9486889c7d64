import { describe, expect, test } from 'bun:test';
import {
  type MarketJob,
  type MarketJobOptions,
  startMarketJob,
} from '../../src/ingest/market-hours.ts';
import { formatNewYork } from '../../src/model/market.ts';
import { makeCalendar, toDate, toDay } from '../../src/model/session.ts';
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

/** Starts a job at an instant and waits until it sleeps. */
async function openWorld(at: string, changes: Partial<MarketJobOptions> = {}): Promise<World> {
  const clock = new WatchedClock(at);
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
    run: async (signal, beat) => {
      runs.push(`${formatNewYork(clock.now()).slice(0, 19)}${beat.isLast ? ' last' : ''}`);
      await changes.run?.(signal, beat);
    },
  });
  await clock.asleep();
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

const wakes = ({ job }: World) => {
  const { wakesAt } = job.state();
  return wakesAt && formatNewYork(wakesAt.getTime());
};

/** A run that ends when it is told to. */
function heldRun() {
  const entered: (() => void)[] = [];
  const begun = { count: 0 };
  let release = Promise.withResolvers<void>();
  return {
    run: async () => {
      begun.count++;
      for (const tell of entered.splice(0)) tell();
      await release.promise;
    },
    begun,
    /** Resolves when the next run has begun. */
    next: () => new Promise<void>((resolve) => void entered.push(resolve)),
    end: () => {
      const ended = release;
      release = Promise.withResolvers();
      ended.resolve();
    },
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

  const sundays = [
    ['2026-03-06', '2026-03-09', '2026-03-09T13:30:00.000Z', 64.5],
    ['2026-10-30', '2026-11-02', '2026-11-02T14:30:00.000Z', 66.5],
  ] as const;
  for (const [friday, monday, opens, hours] of sundays) {
    test(`sleep ${hours} hours over the weekend before ${monday}, with one timer`, async () => {
      await using world = await openWorld(`${friday}T20:00:00Z`, { everyMs: 7 * HOUR });
      await world.playTo(`${friday}T22:00:00Z`);
      world.clock.naps.length = 0;
      await world.playTo(opens);
      expect(world.runs.at(-1)).toBe(`${monday}T09:30:00`);
      // The timer for Monday had been set after Friday's last run: the next one is for a later beat.
      expect(world.clock.naps).toEqual([6.5 * HOUR + 5 * MINUTE]);
      const lastRunMs = Date.parse(`${friday}T16:05:00${monday < '2026-06' ? '-05:00' : '-04:00'}`);
      expect(Date.parse(opens) - lastRunMs).toBe(hours * HOUR - 5 * MINUTE + HOUR);
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
    await using world = await openWorld('2026-11-25T09:00:00-05:00');
    const { clock } = world;
    // The clock is set back by an hour while the timer runs.
    clock.advance(-HOUR);
    clock.advance(90 * MINUTE - 1);
    expect(clock.naps).toEqual([30 * MINUTE]);
    await world.playTo('2026-11-25T09:30:00-05:00');
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

/** A job whose first run has begun and is held. */
async function openHeld(at: string, held: ReturnType<typeof heldRun>) {
  const clock = new WatchedClock(at);
  const runs: string[] = [];
  const lines: string[] = [];
  const begun = held.next();
  const job = startMarketJob({
    name: 'quotes',
    calendar,
    everyMs: HOUR,
    lastRunDelayMs: 5 * MINUTE,
    isLeader: () => true,
    log: (level, message) => void lines.push(`${level} ${message}`),
    clock,
    run: async (_, { isLast }) => {
      runs.push(`${formatNewYork(clock.now()).slice(0, 19)}${isLast ? ' last' : ''}`);
      await held.run();
    },
  });
  await begun;
  const dispose = async () => {
    held.end();
    await job.stop();
  };
  return { clock, job, runs, lines, [Symbol.asyncDispose]: dispose };
}
