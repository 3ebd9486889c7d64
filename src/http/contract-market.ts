import { t } from 'elysia';
import { CLOSURES } from '../model/market.ts';
import { SESSION_PARTS } from '../model/session-part.ts';
import { responses } from './contract.ts';

/** The HTTP contract of the market's hours. */

const instant = (description: string) => t.String({ description, format: 'date-time' });
const nullableInstant = (description: string) => t.Nullable(instant(description));

export const DaySchema = t.Object({
  date: t.String({ description: 'In New York', format: 'date' }),
  weekday: t.String(),
  is_session: t.Boolean({ description: 'False when the exchange is closed all day' }),
  open: nullableInstant('UTC; null on a closed day, as are the others'),
  close: nullableInstant('UTC'),
  open_new_york: nullableInstant('The open with the offset of New York'),
  close_new_york: nullableInstant('The close with the offset of New York'),
  early_close: t.Boolean({ description: 'Whether it closes before 16:00 in New York' }),
  pre_market_open: nullableInstant('When pre-market trading begins, UTC'),
  after_hours_close: nullableInstant('When after-hours trading ends, UTC'),
  reason: t.Nullable(
    t.String({ description: 'Why it is closed: weekend, or the name of the holiday or event' }),
  ),
});

export const EARLY_DAY = {
  date: '2026-11-27',
  weekday: 'Friday',
  is_session: true,
  open: '2026-11-27T14:30:00Z',
  close: '2026-11-27T18:00:00Z',
  open_new_york: '2026-11-27T09:30:00-05:00',
  close_new_york: '2026-11-27T13:00:00-05:00',
  early_close: true,
  pre_market_open: '2026-11-27T09:00:00Z',
  after_hours_close: '2026-11-27T22:00:00Z',
  reason: null,
};

const CLOSED_DAY = {
  date: '2026-11-26',
  weekday: 'Thursday',
  is_session: false,
  open: null,
  close: null,
  open_new_york: null,
  close_new_york: null,
  early_close: false,
  pre_market_open: null,
  after_hours_close: null,
  reason: 'Thanksgiving Day',
};

const StatusSchema = t.Object({
  exchange: t.String({ description: 'MIC' }),
  timezone: t.String(),
  timestamp: instant('The instant that is asked about'),
  timestamp_new_york: instant('The same with the offset of New York, in whole seconds'),
  zone: t.String({ description: 'EST or EDT' }),
  status: t.String({ description: 'open or closed' }),
  is_open: t.Boolean({ description: 'True in regular hours, from the open to before the close' }),
  session_part: t.String({ description: SESSION_PARTS.join(', ') }),
  closure: t.Nullable(
    t.String({ description: `Why it is closed: ${CLOSURES.join(', ')}; null when it is open` }),
  ),
  reason: t.Nullable(
    t.String({ description: 'The name of the holiday or event, else as `closure`' }),
  ),
  message: t.String({ description: 'The same in words' }),
  early_close: t.Boolean({ description: 'Whether today closes before 16:00 in New York' }),
  session: t.Nullable(DaySchema, { description: "Today's session; null when there is none" }),
  next_open: nullableInstant('The first open after the instant, UTC'),
  next_open_new_york: nullableInstant('The same with the offset of New York'),
  next_close: nullableInstant('The first close after the instant, UTC'),
  next_close_new_york: nullableInstant('The same with the offset of New York'),
});

export const marketStatus = {
  query: t.Object({
    at: t.Optional(
      t.String({
        description: 'an instant with its zone (2026-11-27T13:00:00-05:00); now when missing',
        examples: ['2026-11-27T17:00:00Z'],
      }),
    ),
  }),
  detail: {
    tags: ['market'],
    summary: 'Whether the New York Stock Exchange is open, why not, and when that changes',
    description:
      'Knows daylight saving, holidays, early closes and special closures from 1990 to 2049, and ' +
      'what the operator has said otherwise (/api/v1/admin/calendar/overrides). A holiday is any ' +
      'closure that is no weekend. At the very end of the calendar the next open and close are ' +
      'null.',
    operationId: 'getMarketStatus',
    responses: responses(
      'The state of the exchange',
      StatusSchema,
      {
        exchange: 'XNYS',
        timezone: 'America/New_York',
        timestamp: '2026-11-27T17:00:00.000Z',
        timestamp_new_york: '2026-11-27T12:00:00-05:00',
        zone: 'EST',
        status: 'open',
        is_open: true,
        session_part: 'regular',
        closure: null,
        reason: null,
        message: 'open until the early close at 13:00 EST',
        early_close: true,
        session: EARLY_DAY,
        next_open: '2026-11-30T14:30:00Z',
        next_open_new_york: '2026-11-30T09:30:00-05:00',
        next_close: '2026-11-27T18:00:00Z',
        next_close_new_york: '2026-11-27T13:00:00-05:00',
      },
      [422, 500],
    ),
  },
};

const CalendarSchema = t.Object({
  exchange: t.String({ description: 'MIC' }),
  timezone: t.String(),
  start_date: t.String({ format: 'date' }),
  end_date: t.String({ format: 'date' }),
  count: t.Integer({ description: 'Days in `data`' }),
  session_count: t.Integer({ description: 'Those of them that are sessions' }),
  data: t.Array(DaySchema),
});

export const calendar = {
  query: t.Object({
    start: t.String({
      description: 'a date YYYY-MM-DD in New York, inclusive',
      examples: ['2026-11-26'],
    }),
    end: t.String({
      description: 'a date YYYY-MM-DD in New York, inclusive, at most ten years after start',
      examples: ['2026-11-27'],
    }),
    closed: t.Optional(
      t.String({
        description: 'true or false (default false): also the closed days, with the reason',
        meaning: 'boolean',
      }),
    ),
  }),
  detail: {
    tags: ['market'],
    summary: 'Sessions of the New York Stock Exchange, with their hours',
    description:
      'Both dates are inclusive. Pre-market trading begins at 04:00 in New York; after-hours ' +
      'trading ends four hours after the close, also when that is early.',
    operationId: 'getCalendar',
    responses: responses(
      'Days, ascending',
      CalendarSchema,
      {
        exchange: 'XNYS',
        timezone: 'America/New_York',
        start_date: '2026-11-26',
        end_date: '2026-11-27',
        count: 2,
        session_count: 1,
        data: [CLOSED_DAY, EARLY_DAY],
      },
      [422, 500],
    ),
  },
};
