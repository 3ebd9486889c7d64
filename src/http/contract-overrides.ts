import { t } from 'elysia';
import { json, responses } from './contract.ts';
import { BODY_REFUSALS, CROSS_SITE } from './contract-body.ts';
import { DaySchema, EARLY_DAY } from './contract-market.ts';

/** The HTTP contract of the operator's overrides of the exchange calendar. */

const OverrideSchema = t.Object({
  date: t.String({ description: 'In New York', format: 'date' }),
  kind: t.String({ description: 'closed, or session' }),
  open: t.Nullable(t.String({ description: 'New York time, HH:MM; null when it is closed' })),
  close: t.Nullable(t.String({ description: 'New York time, HH:MM; null when it is closed' })),
  reason: t.String(),
  made_by: t.Nullable(
    t.String({ description: 'Who made it as it is; null when it was written by hand' }),
  ),
  made_at: t.Nullable(
    t.String({ description: 'When; null of one that is not saved', format: 'date-time' }),
  ),
});

const OVERRIDE_EXAMPLE = {
  date: '2026-11-27',
  kind: 'session',
  open: '09:30',
  close: '12:00',
  reason: 'Announced by the exchange on 2026-11-20',
  made_by: 'http 127.0.0.1',
  made_at: '2026-11-20T18:00:00.000Z',
};

const ChangeSchema = t.Object({
  changed: t.Boolean({ description: 'False when it was so before, and with dry_run' }),
  dry_run: t.Boolean(),
  override: t.Nullable(OverrideSchema),
  replaced: t.Nullable(OverrideSchema),
  day_before: DaySchema,
  day: DaySchema,
  held: t.Object(
    {
      daily: t.Integer({ description: 'Symbols with a daily bar of the day' }),
      intraday: t.Integer({ description: 'Symbols with bars below a day of it' }),
      waiting: t.Integer({ description: 'Tracked, listed then, and without a daily bar of it' }),
    },
    { description: 'What is stored of the day' },
  ),
  effects: t.Array(t.String(), { description: 'What changes, in sentences' }),
});

const CHANGE_EXAMPLE = {
  changed: true,
  dry_run: false,
  override: OVERRIDE_EXAMPLE,
  replaced: null,
  day_before: EARLY_DAY,
  day: {
    ...EARLY_DAY,
    close: '2026-11-27T17:00:00Z',
    close_new_york: '2026-11-27T12:00:00-05:00',
    after_hours_close: '2026-11-27T21:00:00Z',
  },
  held: { daily: 0, intraday: 0, waiting: 12 },
  effects: [
    'Friday 2026-11-27 becomes 09:30 to 12:00 EST instead of 09:30 to 13:00 EST',
    'daily bars stay as they are, and no bar below a day is held of it',
  ],
};

const REMOVAL_EXAMPLE = {
  changed: true,
  dry_run: false,
  override: null,
  replaced: OVERRIDE_EXAMPLE,
  day_before: CHANGE_EXAMPLE.day,
  day: EARLY_DAY,
  held: CHANGE_EXAMPLE.held,
  effects: [
    'Friday 2026-11-27 becomes 09:30 to 13:00 EST instead of 09:30 to 12:00 EST',
    'daily bars stay as they are, and no bar below a day is held of it',
  ],
};

const DELETE_ERRORS = {
  403: CROSS_SITE,
  404: {
    description: 'There is no override of that day',
    code: 'unknown_override',
    message: 'there is no override of 2026-11-27: the rules of the calendar count there',
  },
};

export const overrides = {
  detail: {
    tags: ['market'],
    summary: 'What the operator says otherwise than the exchange calendar',
    operationId: 'getCalendarOverrides',
    responses: responses(
      'Overrides, by date',
      t.Object({ count: t.Integer(), overrides: t.Array(OverrideSchema) }),
      { count: 1, overrides: [OVERRIDE_EXAMPLE] },
      [422, 500, 503],
    ),
  },
};

const DATE = t.Object({
  date: t.String({
    description: 'a date YYYY-MM-DD in New York, from 1990-01-01 to 2049-12-31',
    examples: ['2026-11-27'],
  }),
});
const QUERY = t.Object({
  dry_run: t.Optional(
    t.String({
      description: 'true or false (default false): only says what would change',
      meaning: 'boolean',
    }),
  ),
});

const CHANGE_DESCRIPTION =
  'Every process takes it without a restart. Bars that are held stay as they are; `effects` says ' +
  'what becomes of them. Written into the audit log.';

export const putOverride = {
  params: DATE,
  query: QUERY,
  detail: {
    tags: ['market'],
    summary: 'Close the exchange on a day, or give the day a session with hours of its own',
    description: `${CHANGE_DESCRIPTION} The same again changes nothing.`,
    operationId: 'putCalendarOverride',
    requestBody: {
      required: true,
      ...json(
        'The override',
        t.Object({
          kind: t.String({ description: 'closed, or session' }),
          open: t.Optional(
            t.String({ description: 'New York time, HH:MM; 09:30 when missing; of a session' }),
          ),
          close: t.Optional(
            t.String({ description: 'New York time, HH:MM; 16:00 when missing; of a session' }),
          ),
          reason: t.String({ description: 'Why, in 1 to 200 characters' }),
        }),
        { kind: 'session', close: '12:00', reason: OVERRIDE_EXAMPLE.reason },
      ),
    } as never,
    responses: responses(
      'What is said of the day now, and what that changes',
      ChangeSchema,
      CHANGE_EXAMPLE,
      [400, 403, 413, 415, 422, 500, 503],
      BODY_REFUSALS,
    ),
  },
};

export const deleteOverride = {
  params: DATE,
  query: QUERY,
  detail: {
    tags: ['market'],
    summary: 'Take an override away: the rules of the calendar count again',
    description: CHANGE_DESCRIPTION,
    operationId: 'deleteCalendarOverride',
    responses: responses(
      'What is said of the day now, and what that changes',
      ChangeSchema,
      REMOVAL_EXAMPLE,
      [403, 404, 422, 500, 503],
      DELETE_ERRORS,
    ),
  },
};
