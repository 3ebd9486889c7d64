import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeEditions, emptyDatabase } from '../database.ts';
import { type Environment, runCli } from '../fixtures/cli-process.ts';

const NOWHERE = 'postgres://marketd:hidden-password@127.0.0.1:1/marketd';
const THANKSGIVING = '2026-11-26T11:00:00-05:00';
const SHORT_DAY = '2026-11-27T12:00:00-05:00';
const EARLY_MORNING = '2026-07-01T09:20:00-04:00';

const market = (args: string[], environment?: Environment) =>
  runCli(['market', ...args], environment);

async function json<T>(args: string[], environment?: Environment): Promise<T> {
  const { code, out, err } = await market([...args, '--json'], environment);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  return JSON.parse(out) as T;
}

describe('market status', () => {
  test('of a holiday', async () => {
    const { code, out, err } = await market(['status', '--at', THANKSGIVING]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toBe(`market  closed: Thanksgiving Day
now     Thu 2026-11-26 11:00 EST, closed
today   no session
opens   Fri 2026-11-27 09:30 EST, in 22 h 30 min
closes  Fri 2026-11-27 13:00 EST, in 1 d 2 h, early close
`);
  });

  test('of a short day', async () => {
    const { code, out } = await market(['status', '--at', SHORT_DAY]);
    expect(code).toBe(0);
    expect(out).toBe(`market  open until the early close at 13:00 EST
now     Fri 2026-11-27 12:00 EST, regular
today   09:30 to 13:00 EST, early close
closes  Fri 2026-11-27 13:00 EST, in 1 h, early close
opens   Mon 2026-11-30 09:30 EST, in 2 d 21 h 30 min
`);
  });

  test('in daylight time, a minute short of the open', async () => {
    const { out } = await market(['status', '--at', '2026-07-01T13:29:00.001Z']);
    expect(out).toContain('market  closed: before the open at 09:30 EDT\n');
    expect(out).toContain('now     Wed 2026-07-01 09:29 EDT, pre-market\n');
    expect(out).toContain('opens   Wed 2026-07-01 09:30 EDT, in 1 min\n');
  });

  test('as JSON has the names of the API', async () => {
    expect(await json<object>(['status', '--at', THANKSGIVING])).toEqual({
      exchange: 'XNYS',
      timezone: 'America/New_York',
      timestamp: '2026-11-26T16:00:00.000Z',
      timestamp_new_york: '2026-11-26T11:00:00-05:00',
      zone: 'EST',
      status: 'closed',
      is_open: false,
      session_part: 'closed',
      closure: 'holiday',
      reason: 'Thanksgiving Day',
      message: 'closed: Thanksgiving Day',
      early_close: false,
      session: null,
      next_open: '2026-11-27T14:30:00Z',
      next_open_new_york: '2026-11-27T09:30:00-05:00',
      next_close: '2026-11-27T18:00:00Z',
      next_close_new_york: '2026-11-27T13:00:00-05:00',
    });
  });

  test('of now, when no instant is given', async () => {
    const before = Date.now();
    const { timestamp } = await json<{ timestamp: string }>(['status']);
    expect(Date.parse(timestamp)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(timestamp)).toBeLessThanOrEqual(Date.now());
  });

  test('at the end of the calendar', async () => {
    const { code, out } = await market(['status', '--at', '2049-12-31T21:30:00Z']);
    expect(code).toBe(0);
    expect(out).toContain('opens   after the end of the calendar\n');
    expect(out).toContain('closes  after the end of the calendar\n');
  });
});

describe('market should-start', () => {
  const cases: [args: string[], code: number, out: string][] = [
    [['--at', SHORT_DAY], 0, 'yes, open until the early close at 13:00 EST\n'],
    [
      ['--at', '2026-11-27T13:00:00-05:00'],
      1,
      'no, closed: after the early close at 13:00 EST; ' +
        'opens Mon 2026-11-30 09:30 EST, in 2 d 20 h 30 min\n',
    ],
    [
      ['--at', EARLY_MORNING],
      1,
      'no, closed: before the open at 09:30 EDT; opens Wed 2026-07-01 09:30 EDT, in 10 min\n',
    ],
    [
      ['--at', EARLY_MORNING, '--within', '9'],
      1,
      'no, closed: before the open at 09:30 EDT; opens Wed 2026-07-01 09:30 EDT, in 10 min\n',
    ],
    [
      ['--at', EARLY_MORNING, '--within', '10'],
      0,
      'yes, closed: before the open at 09:30 EDT; opens Wed 2026-07-01 09:30 EDT, in 10 min\n',
    ],
  ];
  for (const [args, code, out] of cases) {
    test(`${args.join(' ')} ends with ${code}`, async () => {
      expect(await market(['should-start', ...args])).toEqual({ code, out, err: '' });
    });
  }

  test('is also spelled should_start, and gives JSON with either code', async () => {
    for (const [at, code] of [
      [SHORT_DAY, 0],
      [THANKSGIVING, 1],
    ] as const) {
      const ended = await market(['should_start', '--at', at, '--json']);
      expect(ended.code).toBe(code);
      expect(JSON.parse(ended.out)).toMatchObject({
        should_start: code === 0,
        is_open: code === 0,
        next_close_new_york: '2026-11-27T13:00:00-05:00',
      });
    }
  });
});

describe('market next', () => {
  test('is a table', async () => {
    const { code, out } = await market(['next', '--at', THANKSGIVING]);
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      'next   New York                  UTC                   in',
      'open   Fri 2026-11-27 09:30 EST  2026-11-27T14:30:00Z  22 h 30 min',
      'close  Fri 2026-11-27 13:00 EST  2026-11-27T18:00:00Z  1 d 2 h      early close',
      '',
    ]);
  });

  test('is JSON', async () => {
    expect(await json<object>(['next', '--at', SHORT_DAY])).toEqual({
      timestamp: '2026-11-27T17:00:00.000Z',
      next_open: '2026-11-30T14:30:00Z',
      next_open_new_york: '2026-11-30T09:30:00-05:00',
      next_close: '2026-11-27T18:00:00Z',
      next_close_new_york: '2026-11-27T13:00:00-05:00',
    });
  });

  test('is nothing at the end of the calendar', async () => {
    const { code, out } = await market(['next', '--at', '2049-12-31T21:30:00Z']);
    expect(code).toBe(0);
    expect(out.match(/after the calendar/g)).toHaveLength(2);
  });
});

describe('market sessions', () => {
  const week = ['sessions', '--from', '2026-11-25', '--to', '2026-11-28'];

  test('is a table, both ends included', async () => {
    const { code, out } = await market(week);
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      'date        day  pre-market  open   close  after-hours to  zone',
      '2026-11-25  Wed  04:00       09:30  16:00  20:00           EST',
      '2026-11-27  Fri  04:00       09:30  13:00  17:00           EST   early close',
      '',
    ]);
  });

  test('with --closed names the reasons', async () => {
    const { out } = await market([...week, '--closed']);
    expect(out).toMatch(/^2026-11-26 {2}Thu( +-){5} +Thanksgiving Day$/m);
    expect(out).toMatch(/^2026-11-28 {2}Sat( +-){5} +weekend$/m);
  });

  test('is JSON with the names of the API, across a change of the clocks', async () => {
    const answer = await json<{ data: { open: string; open_new_york: string }[] }>([
      ...['sessions', '--from', '2026-10-30', '--to', '2026-11-02', '--closed'],
    ]);
    expect(answer).toMatchObject({ count: 4, session_count: 2, start_date: '2026-10-30' });
    expect(answer.data.map(({ open, open_new_york }) => [open, open_new_york])).toEqual([
      ['2026-10-30T13:30:00Z', '2026-10-30T09:30:00-04:00'],
      [null, null] as never,
      [null, null] as never,
      ['2026-11-02T14:30:00Z', '2026-11-02T09:30:00-05:00'],
    ]);
  });

  test('says so when there is none', async () => {
    const { code, out } = await market(['sessions', '--from', '2026-11-28', '--to', '2026-11-29']);
    expect(code).toBe(0);
    expect(out).toBe('no session: --closed lists the days with the reason\n');
  });

  test('lists the whole calendar', async () => {
    const { out } = await market(['sessions', '--from', '1990-01-01', '--to', '2049-12-31']);
    const lines = out.trimEnd().split('\n');
    expect(lines.length).toBe(15_093); // more than a pipe takes at once
    expect(lines[1]).toStartWith('1990-01-02');
    expect(lines.at(-1)).toStartWith('2049-12-31');
  });
});

describe('misuse', () => {
  const at = (text: string) => ['status', '--at', text];
  const cases: [args: string[], says: string][] = [
    [[], 'say what to do: market status, should-start, next, sessions or overrides'],
    [['open'], 'say what to do: market status, should-start, next, sessions or overrides'],
    [at('2026-11-27T12:00:00'), '--at is "2026-11-27T12:00:00": a time needs its zone'],
    [at('2026-11-27T12:00:00'), 'for example 2024-01-31T14:30:00Z or 2024-01-31T09:30:00-05:00'],
    [at('2026-11-27'), '--at is "2026-11-27": a date has no time'],
    [at('now'), '--at is "now": it must be a date that exists, written YYYY-MM-DD, or an'],
    [at('1980-01-01T12:00:00Z'), '--at is outside the exchange calendar: it must be from 1990'],
    [['status', '--within', '5'], "Unknown option '--within'"],
    [['next', 'week'], "Unexpected argument 'week'"],
    [['should-start', '--within', '-5'], '--within'],
    [['should-start', '--within', '1.5'], '--within is "1.5": it must be a whole number from 0'],
    [['should-start', '--within', '10081'], 'a whole number from 0 to 10080'],
    [['sessions'], 'say --from DATE and --to DATE'],
    [['sessions', '--from', '2026-11-23'], 'say --from DATE and --to DATE'],
    [['sessions', '--from', '2026-02-30', '--to', '2026-03-01'], '--from is "2026-02-30"'],
    [['sessions', '--from', '2026-02-01', '--to', 'friday'], '--to is "friday"'],
    [['sessions', '--from', '2026-02-02', '--to', '2026-02-01'], '--to (2026-02-01) lies before'],
    [['sessions', '--from', '1989-12-31', '--to', '1990-01-31'], '--from is outside'],
    [['sessions', '--from', '2049-12-31', '--to', '2050-01-01'], '--to is outside'],
  ];
  for (const [args, says] of cases) {
    test(`market ${args.join(' ')}: ${says}`, async () => {
      const { code, out, err } = await market(args);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toContain(says);
      expect(err).toContain('see `marketd market --help`');
    });
  }

  test('--help says the exit codes', async () => {
    const { code, out } = await market(['--help']);
    expect(code).toBe(0);
    expect(out).toMatch(/should-start 0 for yes, 1 for no/);
    expect(out).toContain('should_start');
  });
});

describeEditions('market and a database', (database) => {
  test('reads the overrides of the operator', async () => {
    await database().sql`
      insert into calendar_overrides (date, kind, open, close, reason) values
      ('2027-05-05', 'closed', null, null, 'Blizzard'),
      ('2027-05-06', 'session', '11:00', '15:00', 'Blizzard')`;
    const environment = { DATABASE_URL: database().url };
    const ended = await market(['status', '--at', '2027-05-05T12:00:00-04:00'], environment);
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toContain('market  closed: Blizzard\n');
    expect(ended.out).toContain('opens   Thu 2027-05-06 11:00 EDT, in 23 h\n');
    expect(ended.out).toContain('closes  Thu 2027-05-06 15:00 EDT, in 1 d 3 h, early close\n');
    const args = ['should-start', '--at', '2027-05-06T10:00:00-04:00'];
    expect((await market(args, environment)).code).toBe(1);
    expect((await market(args)).code).toBe(0);
  });

  test('does without a schema, and says so', async () => {
    const empty = await emptyDatabase(database().edition);
    const environment = { DATABASE_URL: empty.url };
    const { code, out, err } = await market(['should-start', '--at', SHORT_DAY], environment);
    await empty.drop();
    expect(code).toBe(0);
    expect(out).toStartWith('yes');
    expect(err).toBe(
      'marketd market: calendar_overrides are left out: ' +
        'the database has no schema of marketd yet (marketd migrate)\n',
    );
  });
});

describeEditions('market overrides', (database) => {
  const run = (args: string[]) => market(['overrides', ...args], { DATABASE_URL: database().url });
  const out = async (args: string[]) => {
    const finished = await run(args);
    expect(finished).toMatchObject({ code: 0, err: '' });
    return finished.out;
  };

  test('are made, listed and removed, and say what they change', async () => {
    expect(await out([])).toBe('no override: the calendar is as it is built in\n');
    const close = ['close', '2027-05-05', '--reason', 'Blizzard'];
    const says =
      'Wednesday 2027-05-05 becomes closed all day (Blizzard) instead of 09:30 to 16:00 EDT\n';
    expect(await out([...close, '--dry-run'])).toBe(
      `${says}no bar of that day is held\nnothing is saved: --dry-run\n`,
    );
    expect(await out(['list'])).toStartWith('no override');
    expect(await out(close)).toBe(
      `${says}no bar of that day is held\nsaved; processes that run take it by themselves\n`,
    );
    expect(await out(close)).toContain('it was so before\n');
    const hours = ['--open', '11:00', '--close', '15:00', '--reason', 'Storm'];
    expect(await out(['session', '2027-05-06', ...hours])).toContain(
      'Thursday 2027-05-06 becomes 11:00 to 15:00 EDT instead of 09:30 to 16:00 EDT\n',
    );
    const [header, first, second] = (await out(['list'])).split('\n');
    expect(header.trim().split(/\s{2,}/)).toEqual(['date', 'day', 'is', 'reason', 'made by', 'at']);
    expect(first).toMatch(/^2027-05-05 +Wed +closed +Blizzard +cli \w+ +20\d\d-.*Z$/);
    expect(second).toMatch(/^2027-05-06 +Thu +11:00 to 15:00 +Storm +cli /);
    const [{ action, target, actor }] = await database().sql`
      select action, target, actor from audit_log order by audit_id`;
    expect({ action, target }).toEqual({
      ...{ action: 'calendar.override', target: '2027-05-05 closed: Blizzard' },
    });
    expect(actor).toStartWith('cli ');
    expect(await out(['remove', '2027-05-05'])).toContain(
      'becomes 09:30 to 16:00 EDT instead of closed all day (Blizzard)',
    );
    expect(await out(['remove', '2027-05-06'])).toContain('removed; processes that run');
  });

  test('as JSON are those of the API', async () => {
    const made = await out(['close', '2027-05-07', '--reason', 'Drill', '--json']);
    expect(JSON.parse(made)).toMatchObject({
      ...{ changed: true, dry_run: false, replaced: null, held: { daily: 0, waiting: 0 } },
      override: { date: '2027-05-07', kind: 'closed', open: null, reason: 'Drill' },
      day: { is_session: false, reason: 'Drill' },
    });
    expect(JSON.parse(await out(['--json']))).toMatchObject({
      ...{ count: 1, overrides: [{ date: '2027-05-07', kind: 'closed' }] },
    });
    const removal = await out(['remove', '2027-05-07', '--dry-run', '--json']);
    expect(JSON.parse(removal)).toMatchObject({
      ...{ changed: false, dry_run: true, override: null, replaced: { reason: 'Drill' } },
    });
    await out(['remove', '2027-05-07']);
  });

  test('are not removed where there are none', async () => {
    const refused = async (date: string) => (await run(['remove', date])).err;
    expect(await refused('2027-05-05')).toContain('there is no override of 2027-05-05');
    expect(await refused('2050-01-01')).toContain('outside the exchange calendar');
  });
});

describe('market overrides', () => {
  const reason = ['--reason', 'x'];
  const refused: [args: string[], says: string][] = [
    [['reopen', '2027-05-05'], 'market overrides list, close, session or remove'],
    [['list', '2027-05-05'], 'list takes no argument'],
    [['close'], 'say one date: market overrides close'],
    [['close', '2027-05-05', '2027-05-06', ...reason], 'say one date'],
    [['close', '2027-05-05'], 'reason must be a line of 1 to 200 characters'],
    [['close', '2027-02-29', ...reason], 'it must be a real date'],
    [['close', '2050-01-01', ...reason], 'from 1990-01-01 to 2049-12-31'],
    [['close', '2027-05-05', '--open', '10:00', ...reason], "only with kind 'session'"],
    [['session', '2027-05-05', '--close', '9', ...reason], 'close is "9"'],
    [['remove', 'x'], 'it must be a date that exists'],
    [['remove', '2027-05-05', ...reason], '--reason is for close and session'],
  ];
  for (const [args, says] of refused) {
    test(`refuse ${args.join(' ')} before anything is opened`, async () => {
      const { code, err } = await market(['overrides', ...args], { DATABASE_URL: NOWHERE });
      expect({ code, says: err.includes(says) ? says : err }).toEqual({ code: 2, says });
    });
  }
});

describe('market without a database', () => {
  test('that is away goes on with the calendar that is built in, and says so', async () => {
    const { code, out, err } = await market(['status', '--at', THANKSGIVING], {
      DATABASE_URL: NOWHERE,
    });
    expect(code).toBe(0);
    expect(out).toStartWith('market  closed: Thanksgiving Day\n');
    expect(err).toBe(
      'marketd market: calendar_overrides are left out: cannot reach the database ' +
        '(ECONNREFUSED): is it running, and is DATABASE_URL right?\n',
    );
    expect(out + err).not.toContain('hidden-password');
  });

  test('keeps its exit code when the database is away', async () => {
    const environment = { DATABASE_URL: NOWHERE };
    const args = ['should-start', '--at', THANKSGIVING];
    expect((await market(args, environment)).code).toBe(1);
  });

  test('refuses an address that is none', async () => {
    const { code, err } = await market(['status'], { DATABASE_URL: 'mysql://127.0.0.1/x' });
    expect(code).toBe(2);
    expect(err).toContain('DATABASE_URL must begin with postgres://');
  });

  describe('that never answers', () => {
    let silent: Server;
    beforeAll(async () => {
      silent = createServer((socket) => void socket.on('error', () => {}));
      const { promise, resolve } = Promise.withResolvers<void>();
      silent.listen(0, '127.0.0.1', resolve);
      await promise;
    });
    afterAll(() => void silent.close());

    test('is not waited for long', async () => {
      const { port } = silent.address() as { port: number };
      const { code, err } = await market(['status', '--at', SHORT_DAY], {
        DATABASE_URL: `postgres://marketd@127.0.0.1:${port}/marketd`,
      });
      expect(code).toBe(0);
      expect(err).toContain('left out: the database did not answer within 5000 ms');
    });
  });

  test('none is started', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'marketd-market-'));
    try {
      const environment = { MARKETD_DATA_DIR: folder };
      expect((await market(['status'], environment)).code).toBe(0);
      expect((await market(['next'], environment)).code).toBe(0);
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
