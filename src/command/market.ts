import { InputError } from '../errors.ts';
import { calendarAnswer, requireCovered, statusAnswer } from '../http/market.ts';
import { parseDate, parseWhole } from '../http/parameters.ts';
import {
  durationText,
  formatClock,
  formatUtc,
  isOpenWithin,
  type MarketState,
  marketAt,
  marketDay,
  sessionsBetween,
  weekdayName,
} from '../model/market.ts';
import { parseInstant } from '../model/moment.ts';
import { type Calendar, makeCalendar, newYorkDay, toDate } from '../model/session.ts';
import { loadCalendar } from '../store/calendar.ts';
import { isDatabaseAway, openPool, pingDatabase } from '../store/database.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import { type Command, type CommandContext, parse } from './context.ts';
import { OVERRIDES_USAGE, runOverrides } from './market-overrides.ts';

export const marketCommand: Command = {
  name: 'market',
  summary: 'say whether the exchange is open, why not, and when it will be',
  usage: `usage: marketd market status [--at INSTANT] [--json]
       marketd market should-start [--within MINUTES] [--at INSTANT] [--json]
       marketd market next [--at INSTANT] [--json]
       marketd market sessions --from DATE --to DATE [--closed] [--json]
${OVERRIDES_USAGE}

status        open or closed, why, today's hours, the next open and close
should-start  for scripts: yes or no, as exit code; also spelled should_start
next          the next open and the next close
sessions      the sessions from one date to another, both inclusive
overrides     what you say otherwise: days that are closed, or have hours of their own; it says
              what that changes, and every process that runs takes it without a restart

Times are those of New York (EST, EDT). The calendar is built in (1990 to 2049); with DATABASE_URL
its table calendar_overrides is read as well, and when that is away it is done without.

  --at INSTANT        not now but then, with its zone: 2026-11-27T13:00:00-05:00
  --within MINUTES    should-start: also yes when it opens within so many (default 0)
  --from, --to DATE   YYYY-MM-DD
  --closed            sessions: also the days without one, with the reason
  --reason TEXT       overrides: why, in 1 to 200 characters
  --open, --close     overrides: New York time, 09:30 and 16:00 when missing
  --dry-run           overrides: only say what would change
  --json              print JSON, as the API answers

Exit codes: status, next, sessions, overrides 0; should-start 0 for yes, 1 for no (and for an
error of marketd itself: not to start is safe); 2 bad usage.`,
  run: runMarket,
};

const AT = { at: { type: 'string' }, json: { type: 'boolean' } } as const;
const WITHIN_MINUTES_MAX = 7 * 1440;

type Action = (args: readonly string[], context: CommandContext) => Promise<number>;

const ACTIONS = new Map<string, Action>([
  ['status', runStatus],
  ['should-start', runShouldStart],
  ['should_start', runShouldStart], // as the pipeline before us spelled it
  ['sessions', runSessions],
  ['next', runNext],
  ['overrides', runOverrides],
]);

async function runMarket(args: readonly string[], context: CommandContext): Promise<number> {
  const [name, ...rest] = args;
  const action = ACTIONS.get(name ?? '');
  if (!action)
    throw new InputError(
      'say what to do: market status, should-start, next, sessions or overrides',
    );
  return action(rest, context);
}

async function runStatus(args: readonly string[], context: CommandContext): Promise<number> {
  const { at, json } = parse(args, AT).values;
  const { state, calendar } = await stateAt(at, context);
  if (json) printJson(context.terminal, statusAnswer(calendar, state.atMs));
  else printStatus(context.terminal, calendar, state);
  return 0;
}

async function runShouldStart(args: readonly string[], context: CommandContext): Promise<number> {
  const { at, json, within = '0' } = parse(args, { ...AT, within: { type: 'string' } }).values;
  const withinMs = parseWhole(within, '--within', 0, WITHIN_MINUTES_MAX) * 60_000;
  const { state, calendar } = await stateAt(at, context);
  const isYes = isOpenWithin(state, withinMs);
  if (json) {
    const answer = statusAnswer(calendar, state.atMs);
    printJson(context.terminal, { should_start: isYes, ...answer });
  } else {
    const { sentence, nextOpenMs, atMs, isOpen } = state;
    const opens = isOpen ? '' : `; opens ${nextText(nextOpenMs, atMs)}`;
    context.terminal.out(`${isYes ? 'yes' : 'no'}, ${sentence}${opens}`);
  }
  return isYes ? 0 : 1;
}

async function runNext(args: readonly string[], context: CommandContext): Promise<number> {
  const { at, json } = parse(args, AT).values;
  const { state, calendar } = await stateAt(at, context);
  if (json) {
    const { timestamp, next_open, next_open_new_york, next_close, next_close_new_york } =
      statusAnswer(calendar, state.atMs);
    const next = { next_open, next_open_new_york, next_close, next_close_new_york };
    printJson(context.terminal, { timestamp, ...next });
    return 0;
  }
  const row = (name: string, ms: number | null) =>
    ms === null
      ? [name, 'after the calendar', '', '', '']
      : [
          name,
          newYorkText(ms),
          formatUtc(ms),
          durationText(ms - state.atMs),
          earlyNote(calendar, ms),
        ];
  const rows = [row('open', state.nextOpenMs), row('close', state.nextCloseMs)];
  context.terminal.out(formatTable(['next', 'New York', 'UTC', 'in', ''], rows));
  return 0;
}

const SESSION_OPTIONS = {
  from: { type: 'string' },
  to: { type: 'string' },
  closed: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

async function runSessions(args: readonly string[], context: CommandContext): Promise<number> {
  const { from, to, closed = false, json } = parse(args, SESSION_OPTIONS).values;
  if (from === undefined || to === undefined) {
    throw new InputError('say --from DATE and --to DATE, for example --from 2026-11-23');
  }
  const firstDay = parseDate(from, '--from');
  const lastDay = parseDate(to, '--to');
  if (lastDay < firstDay) throw new InputError(`--to (${to}) lies before --from (${from})`, '--to');
  const calendar = await readCalendar(context);
  requireCovered(calendar, firstDay, '--from');
  requireCovered(calendar, lastDay, '--to');
  if (json) printJson(context.terminal, calendarAnswer(calendar, firstDay, lastDay, closed));
  else printSessions(context.terminal, calendar, firstDay, lastDay, closed);
  return 0;
}

// ------------------------------------------------------------------------- calendar

const ANSWER_MS = 5_000;
const UNDEFINED_TABLE = '42P01';

/** The built-in calendar, with the overrides of the database when one is given and answers. */
async function readCalendar({ config, terminal }: CommandContext): Promise<Calendar> {
  if (config.DATABASE_URL === undefined) return makeCalendar();
  const sql = openPool(config.DATABASE_URL, { connections: 1, statementTimeoutMs: ANSWER_MS });
  const without = (why: string) => {
    terminal.err(`marketd market: calendar_overrides are left out: ${why}\n`);
    return makeCalendar();
  };
  try {
    await pingDatabase(sql, ANSWER_MS);
    return await loadCalendar(sql);
  } catch (error) {
    if (isDatabaseAway(error)) return without((error as Error).message);
    if ((error as { code?: string }).code !== UNDEFINED_TABLE) throw error;
    return without('the database has no schema of marketd yet (marketd migrate)');
  } finally {
    await sql.end({ timeout: 1 });
  }
}

async function stateAt(at: string | undefined, context: CommandContext) {
  const atMs = at === undefined ? Date.now() : parseInstant(at, '--at');
  const calendar = await readCalendar(context);
  requireCovered(calendar, newYorkDay(atMs), '--at');
  return { state: marketAt(calendar, atMs), calendar };
}

// ---------------------------------------------------------------------------- texts

function printJson({ out }: Terminal, value: object): void {
  out(JSON.stringify(value, null, 2));
}

function printStatus({ out }: Terminal, calendar: Calendar, state: MarketState): void {
  const { atMs, isOpen, sentence, today, part } = state;
  const { hours, isEarlyClose } = today;
  const early = isEarlyClose ? ', early close' : '';
  const lines = [
    ['market', sentence],
    ['now', `${newYorkText(atMs)}, ${part.replace('_', '-')}`],
    ['today', hours ? `${hoursText(hours.openMs, hours.closeMs)}${early}` : 'no session'],
    ...(isOpen ? [] : [['opens', nextText(state.nextOpenMs, atMs)]]),
    ['closes', nextText(state.nextCloseMs, atMs, calendar)],
    ...(isOpen ? [['opens', nextText(state.nextOpenMs, atMs)]] : []),
  ];
  for (const [name, text] of lines) out(`${name.padEnd(8)}${text}`);
}

function printSessions(
  { out }: Terminal,
  calendar: Calendar,
  firstDay: number,
  lastDay: number,
  withClosed: boolean,
): void {
  const days = sessionsBetween(calendar, firstDay, lastDay, { withClosed });
  if (days.length === 0) {
    out('no session: --closed lists the days with the reason');
    return;
  }
  const header = ['date', 'day', 'pre-market', 'open', 'close', 'after-hours to', 'zone', ''];
  const rows = days.map(({ date, weekday, hours, isEarlyClose, reason }) => {
    const day = weekday.slice(0, 3);
    if (hours === null) return [date, day, '-', '-', '-', '-', '-', reason ?? ''];
    const times = [hours.preMarketMs, hours.openMs, hours.closeMs, hours.endMs].map(
      (ms) => formatClock(ms).split(' ')[0],
    );
    const [, zone] = formatClock(hours.openMs).split(' ');
    return [date, day, ...times, zone, isEarlyClose ? 'early close' : ''];
  });
  out(formatTable(header, rows));
}

function hoursText(openMs: number, closeMs: number): string {
  return `${formatClock(openMs).split(' ')[0]} to ${formatClock(closeMs)}`;
}

/** 'Fri 2026-11-27 13:00 EST' */
function newYorkText(ms: number): string {
  const day = newYorkDay(ms);
  return `${weekdayName(day).slice(0, 3)} ${toDate(day)} ${formatClock(ms)}`;
}

/** When something will be, and how long that is from now; an early close is called one. */
function nextText(ms: number | null, atMs: number, calendar?: Calendar): string {
  if (ms === null) return 'after the end of the calendar';
  const note = calendar ? earlyNote(calendar, ms) : '';
  return `${newYorkText(ms)}, in ${durationText(ms - atMs)}${note && `, ${note}`}`;
}

/** What to say of a close; nothing of an open. */
function earlyNote(calendar: Calendar, ms: number): string {
  const { hours, isEarlyClose } = marketDay(calendar, newYorkDay(ms));
  return isEarlyClose && hours?.closeMs === ms ? 'early close' : '';
}
