import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import {
  absenceMessage,
  type ClassifiedRange,
  classifySessions,
  countStates,
  findPhantoms,
  SESSION_STATES,
} from '../model/absence.ts';

import { type Calendar, toDate } from '../model/session.ts';
import { latestWithBars } from '../model/session-part.ts';
import {
  type AskedSlice,
  type InstrumentCoverage,
  selectHeldDays,
  selectInstrumentCoverage,
} from '../query/coverage.ts';
import { sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-coverage.ts';
import { findSymbol } from './find-symbol.ts';
import { requireCovered } from './market.ts';
import { parseChoice, parseDate, parseFlag, refuseRepeated } from './parameters.ts';

/** Which sessions of a symbol are held, and why the others are not. */
export function coverageRoutes(context: AppContext) {
  return new Elysia({ name: 'coverage' }).get(
    '/api/v1/coverage/:symbol',
    ({ params, query, request }) => coverage(context, params.symbol, query, request),
    contract.coverage,
  );
}

interface CoverageParameters {
  timeframe?: string;
  start?: string;
  end?: string;
  asof?: string;
  closures?: string;
}

interface Question {
  timeframe: '1d' | '1h' | '1m';
  /** Days since 1970-01-01, both inclusive; undefined when nothing was said. */
  start: number | undefined;
  end: number | undefined;
  /** Of whom the symbol was, on that day. */
  asof: number | undefined;
  withClosures: boolean;
}

function parseQuestion({ calendar }: AppContext, query: CoverageParameters): Question {
  const timeframe = parseChoice(query.timeframe ?? '1d', 'timeframe', ['1d', '1h', '1m']);
  const day = (field: 'start' | 'end' | 'asof') => {
    const text = query[field];
    if (text === undefined) return undefined;
    const found = parseDate(text, field);
    requireCovered(calendar, found, field);
    return found;
  };
  const [start, end, asof] = [day('start'), day('end'), day('asof')];
  if (start !== undefined && end !== undefined && end < start) {
    throw new InputError(`end (${query.end}) lies before start (${query.start})`, 'end');
  }
  const withClosures = parseFlag(query.closures ?? 'false', 'closures');
  return { timeframe, start, end, asof, withClosures };
}

async function coverage(
  context: AppContext,
  text: string,
  query: CoverageParameters,
  request: Request,
): Promise<Response> {
  refuseRepeated(request);
  const question = parseQuestion(context, query);
  const { calendar, database } = context;
  const { timeframe } = question;
  const { instrumentId, symbol } = await findSymbol(context, text, {
    day: question.asof ?? question.end,
  });
  const latestDay = latestWithBars(calendar, timeframe, context.now(), context.publishDelayMs);
  const known = await selectInstrumentCoverage(database.read, instrumentId, timeframe);
  const heldDays = await selectHeldDays(
    database.read,
    instrumentId,
    timeframe,
    question.start ?? calendar.firstDay,
    question.end ?? calendar.lastDay,
  );
  const [firstDay, lastDay] = chooseRange(question, known, heldDays, latestDay);
  const asked = { ...known, firstDay, lastDay, latestDay };
  const ranges = classifySessions(calendar, known.slices, heldDays, asked);
  const phantoms = findPhantoms(calendar, heldDays, firstDay, lastDay);
  const answer = {
    symbol,
    timeframe,
    start_date: toDate(firstDay),
    end_date: toDate(lastDay),
    latest_session: toDate(latestDay),
    listed_on: dateOrNull(known.listedOn),
    delisted_on: dateOrNull(known.delistedOn),
    totals: describeTotals(ranges),
    count: ranges.length,
    ranges: ranges.map(describeRange),
    off_session: describePhantoms(calendar, phantoms),
    ...(question.withClosures && { closures: listClosures(calendar, firstDay, lastDay) }),
  };
  const body = new TextEncoder().encode(JSON.stringify(answer));
  const etag = `"${Bun.hash.xxHash3(body).toString(36)}"`;
  const sent = { body, etag, count: answer.count, excluded: 0, compressed: new Map() };
  return sendAnswer(sent, request, 'application/json');
}

/**
 * The range asked for; where nothing is said, from the first session that was asked for or is held
 * (else the first on the exchange, else the latest) to the latest that can have a bar.
 */
function chooseRange(
  { start, end }: Question,
  { slices, listedOn }: InstrumentCoverage,
  heldDays: Int32Array,
  latestDay: number,
): [firstDay: number, lastDay: number] {
  const known = [slices[0]?.start, heldDays[0]].filter((day) => day !== undefined);
  const begin = known.length > 0 ? Math.min(...known) : (listedOn ?? latestDay);
  const lastDay = end ?? Math.max(start ?? latestDay, latestDay);
  return [start ?? Math.min(begin, lastDay), lastDay];
}

const dateOrNull = (day: number | null) => (day === null ? null : toDate(day));
const instantOrNull = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());

function describeRange({ startDay, endDay, state, sessions, detail, slices }: Range) {
  const last = slices.at(-1);
  const askedAt = Math.max(...slices.map((slice) => slice.askedAt));
  return {
    start: toDate(startDay),
    end: toDate(endDay),
    state,
    sessions,
    message: state === 'complete' ? null : absenceMessage(state, detail),
    detail,
    provider: last?.provider ?? null,
    // What a file has a part of was asked of nobody: its instant is the epoch's.
    asked_at: askedAt > 0 ? new Date(askedAt).toISOString() : null,
    attempts: last?.attempts ?? 0,
    retry_at: instantOrNull(last?.retryAt ?? null),
  };
}

type Range = ClassifiedRange<AskedSlice>;

/** Sessions by state. No session is closed: closed days are counted where they are listed. */
function describeTotals(ranges: readonly Range[]) {
  const totals = countStates(ranges);
  const states = SESSION_STATES.filter((state) => state !== 'closed');
  const sessions = states.reduce((sum, state) => sum + totals[state], 0);
  return {
    sessions,
    ...Object.fromEntries(states.map((state) => [state, totals[state]])),
  };
}

const PHANTOMS_NAMED_MAX = 100;

/** Bars on days on which the exchange was closed; each has the flag `off_session`. */
function describePhantoms(calendar: Calendar, days: readonly number[]) {
  return {
    count: days.length,
    bars: days.slice(0, PHANTOMS_NAMED_MAX).map((day) => ({
      date: toDate(day),
      reason: calendar.closureReason(day),
    })),
  };
}

/** The closed days of a range, those in a row with the same reason as one. */
function listClosures(calendar: Calendar, firstDay: number, lastDay: number) {
  const closures: { start: string; end: string; days: number; reason: string }[] = [];
  for (let day = firstDay; day <= lastDay; day++) {
    const reason = calendar.closureReason(day);
    if (reason === undefined) continue;
    const last = closures.at(-1);
    if (last && last.reason === reason && last.end === toDate(day - 1)) {
      last.end = toDate(day);
      last.days++;
    } else closures.push({ start: toDate(day), end: toDate(day), days: 1, reason });
  }
  return closures;
}
