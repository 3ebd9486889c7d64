import { errorMessage } from '../errors.ts';
import { type CalendarOverride, type LiveCalendar, makeCalendar } from '../model/session.ts';
import { insertAudit } from './audit.ts';
import { type AnySql, isDatabaseAway, type Sql, type Transaction, transact } from './database.ts';

/** An override with who made it as it stands, and when. */
export interface StoredOverride extends CalendarOverride {
  /** 'page 127.0.0.1'; null for a row that was written by hand. */
  actor: string | null;
  madeAt: Date;
}

interface OverrideRow {
  date: string;
  kind: 'closed' | 'session';
  open: string | null;
  close: string | null;
  reason: string;
  actor: string | null;
  ts_created: Date;
}

const COLUMNS = (sql: AnySql) => (sql as Sql)`
  date, kind, to_char(open, 'HH24:MI') as open, to_char(close, 'HH24:MI') as close, reason, actor,
  ts_created`;

const toOverride = (row: OverrideRow): StoredOverride => ({
  date: row.date,
  kind: row.kind,
  ...(row.open !== null && { open: row.open }),
  ...(row.close !== null && { close: row.close }),
  reason: row.reason,
  actor: row.actor,
  madeAt: row.ts_created,
});

/** The overrides of this database, by date. */
export async function selectOverrides(sql: AnySql): Promise<StoredOverride[]> {
  const rows = await sql<OverrideRow[]>`
    select ${COLUMNS(sql)} from calendar_overrides order by date`;
  return rows.map(toOverride);
}

/** The exchange calendar with the overrides of this database. */
export async function loadCalendar(sql: AnySql): Promise<LiveCalendar> {
  return makeCalendar(await selectOverrides(sql));
}

// ------------------------------------------------------------------------- changing

export interface OverrideOutcome {
  /** What was said of the day before; null for nothing. */
  before: StoredOverride | null;
  /** What is said of it now. */
  after: StoredOverride | null;
  /** False when it was so before: then nothing is written down either. */
  changed: boolean;
}

/** Who changes an override, and when. */
export interface OverrideChanger {
  /** 'page 127.0.0.1' */
  actor: string;
  /** Epoch ms. */
  atMs: number;
  /** What the day is thought to have now: where it has another one, nothing is changed. */
  expected?: CalendarOverride | null;
}

/**
 * Puts an override into the place of what there was for its day.
 * @param override as `checkOverride` gives it.
 */
export function upsertOverride(
  write: Sql,
  override: CalendarOverride,
  by: OverrideChanger,
): Promise<OverrideOutcome> {
  const { actor, atMs } = by;
  return changeOverride(write, override.date, by, async (tx, before) => {
    if (isSame(before, override)) return { before, after: before, changed: false };
    const { date, kind, open = null, close = null, reason } = override;
    const [row] = await tx<OverrideRow[]>`
      insert into calendar_overrides (date, kind, open, close, reason, actor, ts_created)
      values (${date}, ${kind}, ${open}, ${close}, ${reason}, ${actor}, ${new Date(atMs)})
      on conflict (date) do update set kind = excluded.kind, open = excluded.open,
        close = excluded.close, reason = excluded.reason, actor = excluded.actor,
        ts_created = excluded.ts_created
      returning ${COLUMNS(tx)}`;
    const after = toOverride(row);
    const target = describeOverride(after);
    await note(tx, { actor, action: 'calendar.override', target, before, after }, atMs);
    return { before, after, changed: true };
  });
}

/** Takes the override of a day away, 'YYYY-MM-DD'; the rules count again. Nothing when none is. */
export function deleteOverride(
  write: Sql,
  date: string,
  by: OverrideChanger,
): Promise<OverrideOutcome> {
  const { actor, atMs } = by;
  return changeOverride(write, date, by, async (tx, before) => {
    if (!before) return { before: null, after: null, changed: false };
    await tx`delete from calendar_overrides where date = ${date}`;
    const target = describeOverride(before);
    await note(tx, { actor, action: 'calendar.remove', target, before, after: null }, atMs);
    return { before, after: null, changed: true };
  });
}

function changeOverride(
  write: Sql,
  date: string,
  { expected }: OverrideChanger,
  change: (tx: Transaction, before: StoredOverride | null) => Promise<OverrideOutcome>,
): Promise<OverrideOutcome> {
  return transact(write, async (tx) => {
    // One after the other, so that what the log says was there before is true. Readers go on.
    await tx`lock table calendar_overrides in share row exclusive mode`;
    const [row] = await tx<OverrideRow[]>`
      select ${COLUMNS(tx)} from calendar_overrides where date = ${date}`;
    const before = row ? toOverride(row) : null;
    const isStale = expected !== undefined && !isSame(before, expected);
    return isStale ? { before, after: before, changed: false } : change(tx, before);
  });
}

interface Noted {
  actor: string;
  action: string;
  target: string;
  before: StoredOverride | null;
  after: StoredOverride | null;
}

/** Writes down what was done, and tells every process of it once it is committed. */
async function note(tx: Transaction, { before, after, ...entry }: Noted, atMs: number) {
  const detail = { before: before && bare(before), after: after && bare(after) };
  await insertAudit(tx, [{ ...entry, instrumentId: null, detail }], atMs);
  await tx`select pg_notify('marketd', 'calendar')`;
}

function bare({ actor: _, madeAt: __, ...override }: StoredOverride): CalendarOverride {
  return override;
}

/** '2027-05-05 closed: Blizzard', '2027-05-06 11:00 to 15:00: Blizzard' */
export function describeOverride({ date, kind, open, close, reason }: CalendarOverride): string {
  const hours = kind === 'closed' ? 'closed' : `${open ?? '09:30'} to ${close ?? '16:00'}`;
  return `${date} ${hours}: ${reason}`;
}

/** Whether two say the same of a day; a time that is left out is the usual one. */
function isSame(a: CalendarOverride | null, b: CalendarOverride | null): boolean {
  if (a === null || b === null) return a === b;
  if (a.kind !== b.kind || a.reason !== b.reason) return false;
  const hours = ({ open = '09:30', close = '16:00' }: CalendarOverride) => `${open} ${close}`;
  return a.kind === 'closed' || hours(a) === hours(b);
}

// ------------------------------------------------------------------------- following

export interface CalendarFollower {
  /**
   * Takes the overrides that are committed by now. What others ask for meanwhile is one more look.
   * Resolves when the calendar has them; rejects never: what fails is tried again by itself.
   */
  follow(): Promise<void>;
  /** The listener makes anew what was made with the calendar: called now, and at each change. */
  whenChanged(listener: () => void): void;
  stop(): void;
}

const RETRY_MS = 2_000;

/** Keeps the calendar of a running process as the database has it. */
export function followCalendar(
  sql: Sql,
  calendar: LiveCalendar,
  log: (message: string) => void,
): CalendarFollower {
  const listeners: (() => void)[] = [];
  let isStopped = false;
  let isAsked = false;
  let said = '';
  let running: Promise<void> | undefined;
  let timer: Timer | undefined;

  const look = async () => {
    while (isAsked && !isStopped) {
      isAsked = false;
      try {
        const hasChanged = calendar.replace(await selectOverrides(sql));
        said = '';
        if (hasChanged) for (const listener of listeners) listener();
      } catch (error) {
        retry(error);
        break;
      }
    }
    // Here and not when the promise is settled: who asks in between would not be heard.
    running = undefined;
  };
  const retry = (error: unknown) => {
    if (isStopped) return;
    const message = errorMessage(error);
    // Said once, and not at all of a database that is away: who listens to it says so.
    if (message !== said && !isDatabaseAway(error)) log(`the calendar stays as it was: ${message}`);
    said = message;
    timer = setTimeout(() => void follow(), RETRY_MS);
  };
  const follow = (): Promise<void> => {
    isAsked = true;
    clearTimeout(timer);
    running ??= look();
    return running;
  };
  return {
    follow,
    whenChanged: (listener) => {
      listeners.push(listener);
      listener();
    },
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
