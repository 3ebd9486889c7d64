import { InputError } from '../errors.ts';
import {
  changeAnswer,
  type OverrideChange,
  overrideAnswer,
  previewChange,
} from '../http/calendar-overrides.ts';
import { parseDate } from '../http/parameters.ts';
import { weekdayName } from '../model/market.ts';
import { type CalendarOverride, checkOverride, toDay } from '../model/session.ts';
import {
  deleteOverride,
  type OverrideOutcome,
  type StoredOverride,
  selectOverrides,
  upsertOverride,
} from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import type { Warehouse } from '../warehouse.ts';
import { type CommandContext, commandLog, parse, withWarehouse } from './context.ts';
import { actor } from './symbol-lineage.ts';

/** `marketd market overrides`: what the operator says otherwise than the calendar. */

export const OVERRIDES_USAGE = `\
       marketd market overrides [list] [--json]
       marketd market overrides close DATE --reason TEXT [--dry-run] [--json]
       marketd market overrides session DATE [--open HH:MM] [--close HH:MM] --reason TEXT
                                             [--dry-run] [--json]
       marketd market overrides remove DATE [--dry-run] [--json]`;

const OPTIONS = {
  reason: { type: 'string' },
  open: { type: 'string' },
  close: { type: 'string' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const KINDS: Record<string, CalendarOverride['kind']> = { close: 'closed', session: 'session' };

export async function runOverrides(
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { values, positionals } = parse(args, OPTIONS, true);
  const [action = 'list', date, ...rest] = positionals;
  if (!['list', 'close', 'session', 'remove'].includes(action)) {
    throw new InputError('say what to do: market overrides list, close, session or remove');
  }
  const isList = action === 'list';
  if (isList ? date !== undefined : date === undefined || rest.length > 0) {
    throw new InputError(
      isList ? 'list takes no argument' : `say one date: market overrides ${action} 2026-12-24`,
    );
  }
  const override = readOverride(action, date, values);
  return withWarehouse(context, commandLog(context, true), async (warehouse) => {
    await checkSchema(warehouse.database.read);
    if (isList) return listOverrides(warehouse, values.json === true, context.terminal);
    return changeOverride(warehouse, context, { date: date as string, override }, values);
  });
}

interface Values {
  reason?: string;
  open?: string;
  close?: string;
  'dry-run'?: boolean;
  json?: boolean;
}

/** What is to be saved; undefined for nothing. @throws InputError before anything is opened. */
function readOverride(
  action: string,
  date: string | undefined,
  { reason, open, close }: Values,
): CalendarOverride | undefined {
  const kind = KINDS[action];
  if (kind !== undefined) return checkOverride({ date, kind, open, close, reason });
  const given = Object.entries({ reason, open, close }).find(([, value]) => value !== undefined);
  if (given) throw new InputError(`--${given[0]} is for close and session, not for ${action}`);
  if (date !== undefined) parseDate(date, 'DATE');
  return undefined;
}

async function listOverrides(
  { database }: Warehouse,
  asJson: boolean,
  { out }: Terminal,
): Promise<number> {
  const overrides = await selectOverrides(database.read);
  if (asJson) {
    const answer = { count: overrides.length, overrides: overrides.map(overrideAnswer) };
    out(JSON.stringify(answer, null, 2));
    return 0;
  }
  if (overrides.length === 0) {
    out('no override: the calendar is as it is built in');
    return 0;
  }
  out(formatTable(['date', 'day', 'is', 'reason', 'made by', 'at'], overrides.map(toRow)));
  return 0;
}

function toRow({ date, kind, open, close, reason, actor: by, madeAt }: StoredOverride): string[] {
  const hours = kind === 'closed' ? 'closed' : `${open ?? '09:30'} to ${close ?? '16:00'}`;
  const day = weekdayName(toDay(date)).slice(0, 3);
  return [
    date,
    day,
    hours,
    reason,
    by ?? 'in the database',
    `${madeAt.toISOString().slice(0, 16)}Z`,
  ];
}

async function changeOverride(
  { database }: Warehouse,
  { config, terminal }: CommandContext,
  { date, override }: { date: string; override: CalendarOverride | undefined },
  values: Values,
): Promise<number> {
  const publishDelayMs = config.PUBLISH_DELAY_MINUTES * 60_000;
  const change = await previewChange({ database, now: Date.now, publishDelayMs }, date, override);
  if (!override && !change.stored) {
    throw new InputError(`there is no override of ${date}: the rules of the calendar count there`);
  }
  const isDryRun = values['dry-run'] === true;
  const by = { actor: actor(), atMs: Date.now() };
  const outcome = isDryRun
    ? undefined
    : override
      ? await upsertOverride(database.write, override, by)
      : await deleteOverride(database.write, date, by);
  if (values.json) {
    const after = override ? { ...override, actor: null, madeAt: null } : null;
    const told = outcome ?? { before: change.stored, after, changed: false };
    terminal.out(JSON.stringify(changeAnswer(change, told, isDryRun), null, 2));
  } else printChange(terminal, change, outcome);
  return 0;
}

function printChange(
  { out }: Terminal,
  { sentences }: OverrideChange,
  outcome: OverrideOutcome | undefined,
): void {
  for (const sentence of sentences) out(sentence);
  if (outcome === undefined) out('nothing is saved: --dry-run');
  else if (!outcome.changed) out('it was so before');
  else out(`${outcome.after ? 'saved' : 'removed'}; processes that run take it by themselves`);
}
