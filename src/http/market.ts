import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import {
  formatNewYork,
  formatUtc,
  type MarketDay,
  marketAt,
  NEW_YORK,
  newYorkZone,
  sessionsBetween,
} from '../model/market.ts';
import { parseInstant } from '../model/moment.ts';
import { type Calendar, newYorkDay, toDate } from '../model/session.ts';
import { sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-market.ts';
import { parseDate, parseFlag, refuseRepeated } from './parameters.ts';

const EXCHANGE = 'XNYS';
/** Ten years with three leap days in them, and a week to spare. */
const DAYS_MAX = 3_660;

/** When the exchange is open. Nothing here asks the database; overrides are held in memory. */
export function marketRoutes(context: AppContext) {
  return new Elysia({ name: 'market' })
    .get(
      '/api/v1/market/status',
      ({ query, request }) => status(context, query.at, request),
      contract.marketStatus,
    )
    .get(
      '/api/v1/calendar',
      ({ query, request }) => calendar(context, query, request),
      contract.calendar,
    );
}

function status(context: AppContext, at: string | undefined, request: Request) {
  refuseRepeated(request);
  const atMs = at === undefined ? context.now() : parseInstant(at, 'at');
  requireCovered(context.calendar, newYorkDay(atMs), 'at');
  return statusAnswer(context.calendar, atMs);
}

interface CalendarQuery {
  start: string;
  end: string;
  closed?: string;
}

function calendar(context: AppContext, query: CalendarQuery, request: Request): Response {
  refuseRepeated(request);
  const firstDay = parseDate(query.start, 'start');
  const lastDay = parseDate(query.end, 'end');
  const withClosed = query.closed !== undefined && parseFlag(query.closed, 'closed');
  if (lastDay < firstDay) {
    throw new InputError(`end (${query.end}) lies before start (${query.start})`, 'end');
  }
  requireCovered(context.calendar, firstDay, 'start');
  requireCovered(context.calendar, lastDay, 'end');
  const count = lastDay - firstDay + 1;
  if (count > DAYS_MAX) {
    throw new InputError(
      `start to end are ${count} days: ask for at most ${DAYS_MAX}, ten years, at a time`,
      'end',
    );
  }
  const answer = calendarAnswer(context.calendar, firstDay, lastDay, withClosed);
  const body = new TextEncoder().encode(JSON.stringify(answer));
  const etag = `"${Bun.hash.xxHash3(body).toString(36)}"`;
  const sent = { body, etag, count: answer.count, excluded: 0, compressed: new Map() };
  return sendAnswer(sent, request, 'application/json');
}

/** @throws InputError when the calendar does not know the day. */
export function requireCovered({ firstDay, lastDay }: Calendar, day: number, field: string): void {
  if (day >= firstDay && day <= lastDay) return;
  throw new InputError(
    `${field} is outside the exchange calendar: ` +
      `it must be from ${toDate(firstDay)} to ${toDate(lastDay)}`,
    field,
  );
}

/** The state of the exchange at an instant, as this API and the command line say it. */
export function statusAnswer(calendar: Calendar, atMs: number) {
  const state = marketAt(calendar, atMs);
  const utc = (ms: number | null) => (ms === null ? null : formatUtc(ms));
  const newYork = (ms: number | null) => (ms === null ? null : formatNewYork(ms));
  return {
    exchange: EXCHANGE,
    timezone: NEW_YORK,
    timestamp: new Date(atMs).toISOString(),
    timestamp_new_york: formatNewYork(atMs),
    zone: newYorkZone(atMs),
    status: state.isOpen ? 'open' : 'closed',
    is_open: state.isOpen,
    session_part: state.part,
    closure: state.closure,
    reason: state.closure === null ? null : (state.today.reason ?? state.closure),
    message: state.sentence,
    early_close: state.today.isEarlyClose,
    session: state.today.hours && dayAnswer(state.today),
    next_open: utc(state.nextOpenMs),
    next_open_new_york: newYork(state.nextOpenMs),
    next_close: utc(state.nextCloseMs),
    next_close_new_york: newYork(state.nextCloseMs),
  };
}

/** The days of [firstDay, lastDay], as this API and the command line say them. */
export function calendarAnswer(
  calendar: Calendar,
  firstDay: number,
  lastDay: number,
  withClosed: boolean,
) {
  const days = sessionsBetween(calendar, firstDay, lastDay, { withClosed });
  return {
    exchange: EXCHANGE,
    timezone: NEW_YORK,
    start_date: toDate(firstDay),
    end_date: toDate(lastDay),
    count: days.length,
    session_count: days.filter(({ hours }) => hours !== null).length,
    data: days.map(dayAnswer),
  };
}

/** A day, as this API says it everywhere. */
export function dayAnswer({ date, weekday, hours, isEarlyClose, reason }: MarketDay) {
  return {
    date,
    weekday,
    is_session: hours !== null,
    open: hours && formatUtc(hours.openMs),
    close: hours && formatUtc(hours.closeMs),
    open_new_york: hours && formatNewYork(hours.openMs),
    close_new_york: hours && formatNewYork(hours.closeMs),
    early_close: isEarlyClose,
    pre_market_open: hours && formatUtc(hours.preMarketMs),
    after_hours_close: hours && formatUtc(hours.endMs),
    reason,
  };
}
