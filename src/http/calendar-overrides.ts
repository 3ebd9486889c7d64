import { Elysia } from 'elysia';
import { describeDayChange, type HeldOnDay } from '../model/calendar-change.ts';
import { type MarketDay, marketDay } from '../model/market.ts';
import { type CalendarOverride, checkOverride, makeCalendar, toDay } from '../model/session.ts';
import { selectHeldOnDay } from '../query/held-on-day.ts';
import {
  deleteOverride,
  type OverrideChanger,
  type OverrideOutcome,
  type StoredOverride,
  selectOverrides,
  upsertOverride,
} from '../store/calendar.ts';
import type { Database } from '../store/database.ts';
import { actorAt } from './actor.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-overrides.ts';
import { HttpError } from './errors.ts';
import { readJsonObject } from './json-body.ts';
import { dayAnswer, requireCovered } from './market.ts';
import { parseDate, parseFlag, refuseRepeated } from './parameters.ts';
import { refuseCrossSite } from './same-origin.ts';

/** The operator's overrides of the exchange calendar. */
export function calendarOverrideRoutes(context: AppContext) {
  return new Elysia({ name: 'calendar-overrides' })
    .get(
      '/api/v1/admin/calendar/overrides',
      ({ request }) => listOverrides(context, request),
      contract.overrides,
    )
    .put(
      '/api/v1/admin/calendar/overrides/:date',
      ({ params, query, request, server }) =>
        putOverride(context, params.date, query, request, server?.requestIP(request)?.address),
      contract.putOverride,
    )
    .delete(
      '/api/v1/admin/calendar/overrides/:date',
      ({ params, query, request, server }) =>
        removeOverride(context, params.date, query, request, server?.requestIP(request)?.address),
      contract.deleteOverride,
    );
}

async function listOverrides({ database }: AppContext, request: Request) {
  refuseRepeated(request);
  const overrides = await selectOverrides(database.read);
  return { count: overrides.length, overrides: overrides.map(overrideAnswer) };
}

interface ChangeQuery {
  dry_run?: string;
}

async function putOverride(
  context: AppContext,
  date: string,
  query: ChangeQuery,
  request: Request,
  address: string | undefined,
) {
  refuseCrossSite(request);
  refuseRepeated(request);
  const isDryRun = query.dry_run !== undefined && parseFlag(query.dry_run, 'dry_run');
  const body = await readJsonObject(request, ['kind', 'open', 'close', 'reason']);
  const override = checkOverride({ ...body, date, kind: body.kind, reason: body.reason });
  const change = await previewChange(context, override.date, override);
  const outcome = isDryRun
    ? { before: change.stored, after: { ...override, actor: null, madeAt: null }, changed: false }
    : await saveOverride(context, override, { actor: actorAt('http', address) });
  return changeAnswer(change, outcome, isDryRun);
}

async function removeOverride(
  context: AppContext,
  date: string,
  query: ChangeQuery,
  request: Request,
  address: string | undefined,
) {
  refuseCrossSite(request);
  refuseRepeated(request);
  const isDryRun = query.dry_run !== undefined && parseFlag(query.dry_run, 'dry_run');
  parseDate(date, 'date');
  const change = await previewChange(context, date, undefined);
  const outcome = isDryRun
    ? { before: change.stored, after: null, changed: false }
    : await dropOverride(context, date, { actor: actorAt('http', address) });
  if (!outcome.before) throw unknownOverride(date);
  return changeAnswer(change, outcome, isDryRun);
}

export function unknownOverride(date: string): HttpError {
  const message = `there is no override of ${date}: the rules of the calendar count there`;
  return new HttpError(404, 'unknown_override', message, 'date');
}

// ------------------------------------------------------------------------- changing

/** What changing an override needs. */
export interface OverrideContext {
  database: Database;
  /** The latest instant of which bars can be had, epoch ms: now less what publishing takes. */
  now: () => number;
  publishDelayMs: number;
}

export interface OverrideChange {
  /** What is said of the day now; undefined for nothing. */
  stored: StoredOverride | null;
  before: MarketDay;
  after: MarketDay;
  held: HeldOnDay;
  /** What changes, in sentences. */
  sentences: string[];
}

/**
 * What it would mean for stored data to put an override into the place of what there is for its
 * day, or to take that away.
 * @param date 'YYYY-MM-DD', within the calendar.
 * @throws InputError for a date outside of the calendar.
 */
export async function previewChange(
  { database, now, publishDelayMs }: OverrideContext,
  date: string,
  override: CalendarOverride | undefined,
): Promise<OverrideChange> {
  const day = toDay(date);
  const stored = await selectOverrides(database.read);
  const calendar = makeCalendar(stored);
  requireCovered(calendar, day, 'date');
  const held = await selectHeldOnDay(database.read, day);
  const before = marketDay(calendar, day);
  const others = stored.filter((one) => one.date !== date);
  calendar.replace(override ? [...others, override] : others);
  const after = marketDay(calendar, day);
  const hours = after.hours ?? before.hours;
  const isPublished = hours !== null && hours.closeMs + publishDelayMs <= now();
  const sentences = describeDayChange({ before, after, held, isPublished });
  return {
    stored: stored.find((one) => one.date === date) ?? null,
    before,
    after,
    held,
    sentences,
  };
}

/** Saves an override; this process has it when this resolves, others soon after. */
export async function saveOverride(
  { database, now, operations }: AppContext,
  override: CalendarOverride,
  by: Omit<OverrideChanger, 'atMs'>,
): Promise<OverrideOutcome> {
  const outcome = await upsertOverride(database.write, override, { ...by, atMs: now() });
  await operations.reloadCalendar?.();
  return outcome;
}

/** Takes an override away, as `saveOverride` saves one. */
export async function dropOverride(
  { database, now, operations }: AppContext,
  date: string,
  by: Omit<OverrideChanger, 'atMs'>,
): Promise<OverrideOutcome> {
  const outcome = await deleteOverride(database.write, date, { ...by, atMs: now() });
  await operations.reloadCalendar?.();
  return outcome;
}

// --------------------------------------------------------------------------- answers

type AnsweredOverride = CalendarOverride & { actor: string | null; madeAt: Date | null };

/** An override as it is answered; also what `marketd market overrides --json` prints. */
export function overrideAnswer({ date, kind, open, close, reason, ...by }: AnsweredOverride) {
  const isSession = kind === 'session';
  return {
    ...{ date, kind },
    open: isSession ? (open ?? '09:30') : null,
    close: isSession ? (close ?? '16:00') : null,
    reason,
    made_by: by.actor,
    made_at: by.madeAt?.toISOString() ?? null,
  };
}

interface AnsweredOutcome {
  before: AnsweredOverride | null;
  after: AnsweredOverride | null;
  changed: boolean;
}

/** What came of a change, or would; also what the command line prints. */
export function changeAnswer(
  { before, after, held, sentences }: OverrideChange,
  outcome: AnsweredOutcome,
  isDryRun: boolean,
) {
  return {
    changed: outcome.changed,
    dry_run: isDryRun,
    override: outcome.after && overrideAnswer(outcome.after),
    replaced: outcome.before && overrideAnswer(outcome.before),
    day_before: dayAnswer(before),
    day: dayAnswer(after),
    held: {
      daily: held.daily,
      intraday: held.intraday,
      waiting: held.waiting,
    },
    effects: sentences,
  };
}
