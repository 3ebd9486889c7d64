import {
  type Adjustment,
  type AdjustmentSteps,
  type DividendMethod,
  NO_STEPS,
} from '../model/adjustment.ts';
import { type Calendar, newYorkDay, toDate } from '../model/session.ts';

/** How stored bars are looked at: adjusted for what, as known when, with or without the newest. */
export interface BarsView {
  adjustment: Adjustment;
  dividendMethod: DividendMethod;
  /** Splits and dividends with a later ex-date are not known, days since 1970-01-01. */
  asofDay: number;
  /** As everything was stored at that instant, epoch ms; undefined: as it is now. */
  knownAtMs: number | undefined;
  /** Also bars whose time was not over when they were received, or is not over yet. */
  includePartial: boolean;
  /** The time of bars up to here is over, epoch ms: now, or `knownAtMs`. */
  nowMs: number;
  /** The latest session that has closed, and the latest whose bar can have been asked for. */
  closedDay: number;
  latestDay: number;
}

export interface ViewRequest {
  adjustment?: Adjustment;
  dividendMethod?: DividendMethod;
  asofDay?: number;
  knownAtMs?: number;
  includePartial?: boolean;
}

/** A view at an instant: what is not said of it is as of then. */
export function makeView(
  calendar: Calendar,
  nowMs: number,
  publishDelayMs: number,
  request: ViewRequest = {},
): BarsView {
  const { adjustment = 'raw', knownAtMs, includePartial = false } = request;
  const atMs = Math.min(knownAtMs ?? nowMs, nowMs);
  return {
    adjustment,
    dividendMethod: request.dividendMethod ?? 'previous_close',
    asofDay: request.asofDay ?? newYorkDay(atMs),
    knownAtMs,
    includePartial,
    nowMs: atMs,
    closedDay: calendar.latestSession(atMs, 0),
    latestDay: calendar.latestSession(atMs, publishDelayMs),
  };
}

/**
 * A view as a text that says all that decides about bars up to a day. The clock moves on and what
 * it decides about the past does not.
 */
export function describeView(view: BarsView, lastDay: number): string {
  const { adjustment, asofDay, knownAtMs, includePartial, closedDay, latestDay } = view;
  const asof = adjustment === 'raw' ? '' : `${asofDay} ${view.dividendMethod}`;
  // A month that contains `lastDay` is over when 31 days have passed.
  const clock = lastDay + 31 < Math.min(closedDay, latestDay) ? '' : `${closedDay},${latestDay}`;
  return `${adjustment} ${asof} ${knownAtMs ?? ''} ${includePartial} ${clock}`;
}

/** What an answer says of its view, as members of a JSON object. */
export function describeAdjustment(view: BarsView, steps: AdjustmentSteps = NO_STEPS) {
  const { adjustment, asofDay, knownAtMs } = view;
  return {
    adjustment,
    ...(adjustment === 'all' && { dividend_method: view.dividendMethod }),
    ...(adjustment !== 'raw' && {
      adjust_asof: toDate(asofDay),
      adjustments: steps.exDay.length,
      ...(steps.skipped.length > 0 && { adjustments_skipped: steps.skipped }),
    }),
    ...(knownAtMs !== undefined && { known_at: new Date(knownAtMs).toISOString() }),
  };
}
