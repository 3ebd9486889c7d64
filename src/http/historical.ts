import { InputError } from '../errors.ts';
import { VALIDATED_SCORE } from '../model/quality.ts';
import { newYorkDay, newYorkInstant, toDate } from '../model/session.ts';
import { describeTimeframes, parseTimeframe, type Timeframe } from '../model/timeframe.ts';
import type { BarsAnswer, BarsQuery } from '../query/bars.ts';
import { selectAbsence } from '../query/coverage.ts';
import { type IntradayQuery, UnanswerableError } from '../query/intraday.ts';
import type { ResolvedSymbol } from '../query/symbols.ts';
import { type BarsView, makeView, type ViewRequest } from '../query/view.ts';
import { type Recall, sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import { findSymbol } from './find-symbol.ts';
import {
  type Moment,
  parseChoice,
  parseDate,
  parseFlag,
  parseMoment,
  parseScore,
  refuseRepeated,
  startMicros,
} from './parameters.ts';
import { parseView, type ViewParameters } from './view.ts';

export interface HistoricalParameters extends ViewParameters {
  start: string;
  end: string;
  timeframe?: string;
  session?: string;
  anchor?: string;
  closing_auction?: string;
  validated_only?: string;
  min_quality?: string;
  asof?: string;
  format?: string;
}

interface Question {
  /** One of the two; what follows the clock is made anew each time. */
  daily?: (view: BarsView) => BarsQuery;
  intraday?: (view: BarsView) => IntradayQuery;
  view: ViewRequest;
  /** Days since 1970-01-01, both inclusive. */
  startDay: number;
  endDay: number;
  /** The day whose holder of the symbol is meant. */
  symbolDay: number;
}

const INTRADAY_ONLY = ['session', 'anchor', 'closing_auction'] as const;

function parseQuestion(query: HistoricalParameters, nowMs: number): Question {
  const timeframe = parseTimeframe(query.timeframe ?? '1d');
  if (!timeframe) {
    throw new InputError(
      `timeframe is ${JSON.stringify((query.timeframe ?? '').slice(0, 20))}: it must be ` +
        describeTimeframes(),
      'timeframe',
    );
  }
  const view = parseView(query, nowMs);
  parseChoice(query.format ?? 'json', 'format', ['json', 'csv']);
  const range = parseRange(query);
  const least =
    query.min_quality === undefined ? undefined : parseScore(query.min_quality, 'min_quality');
  const validatedOnly = parseFlag(query.validated_only ?? 'true', 'validated_only');
  const minScore = validatedOnly
    ? Math.max(VALIDATED_SCORE, least ?? VALIDATED_SCORE)
    : (least ?? 0);
  const { startDay, endDay } = range;
  const symbolDay = query.asof === undefined ? endDay : parseDate(query.asof, 'asof');
  const asked = { view, startDay, endDay, symbolDay };
  if (timeframe.kind === 'intraday') {
    const intraday = toIntraday(query, timeframe, range, minScore, validatedOnly);
    return { ...asked, intraday: (seen) => ({ ...intraday, view: seen }) };
  }
  const misplaced = INTRADAY_ONLY.find((name) => query[name] !== undefined);
  if (misplaced !== undefined) {
    throw new InputError(
      `${misplaced} is for timeframes under a day; a daily bar is of its whole session`,
      misplaced,
    );
  }
  const daily = { timeframe: timeframe.text, startDay, endDay, minScore, validatedOnly };
  return { ...asked, daily: (seen) => ({ ...daily, view: seen }) };
}

interface Range {
  start: Moment;
  end: Moment;
  startMs: number;
  /** Exclusive. */
  endMs: number;
  startDay: number;
  endDay: number;
}

/** Dates are both inclusive; of instants the start is, and the end is not. */
function parseRange(query: HistoricalParameters): Range {
  const start = parseMoment(query.start, 'start');
  const end = parseMoment(query.end, 'end');
  const startMs = Math.ceil(startMicros(start) / 1000);
  const endMs = end.kind === 'date' ? newYorkInstant(end.day + 1, 0) : Math.ceil(end.micros / 1000);
  if (endMs <= startMs) {
    const isSame = start.kind === 'instant' && end.kind === 'instant' && endMs === startMs;
    throw new InputError(
      isSame
        ? `end (${query.end}) is start: the range is empty, for end is exclusive`
        : `end (${query.end}) lies before start (${query.start})`,
      'end',
    );
  }
  const startDay = start.kind === 'date' ? start.day : newYorkDay(startMs);
  const endDay = end.kind === 'date' ? end.day : newYorkDay(endMs - 1);
  return { start, end, startMs, endMs, startDay, endDay };
}

const describeMoment = (moment: Moment) =>
  moment.kind === 'date' ? toDate(moment.day) : new Date(moment.micros / 1000).toISOString();

function toIntraday(
  query: HistoricalParameters,
  timeframe: Extract<Timeframe, { kind: 'intraday' }>,
  { start, end, startMs, endMs }: Range,
  minScore: number,
  validatedOnly: boolean,
): Omit<IntradayQuery, 'view'> {
  const { session = 'regular', anchor } = query;
  return {
    timeframe: timeframe.text,
    minutes: timeframe.minutes,
    startMs,
    endMs,
    start: describeMoment(start),
    end: describeMoment(end),
    sessions: parseChoice(session, 'session', ['regular', 'extended', 'all']),
    anchor: anchor === undefined ? undefined : parseChoice(anchor, 'anchor', ['session', 'clock']),
    closingAuction: parseFlag(query.closing_auction ?? 'false', 'closing_auction'),
    minScore,
    validatedOnly,
  };
}

/**
 * The answer to a request for bars, for what shows it otherwise.
 * @throws InputError for what cannot be asked, HttpError 404 for a symbol that nobody has.
 */
export async function selectHistorical(
  context: AppContext,
  text: string,
  query: HistoricalParameters,
): Promise<BarsAnswer> {
  const question = parseQuestion(query, context.now());
  const symbol = await findSymbol(context, text, { day: question.symbolDay });
  return selectAnswer(context, symbol, question);
}

/** The bars of a symbol. */
export async function historical(
  context: AppContext,
  recall: Recall,
  text: string,
  query: HistoricalParameters,
  request: Request,
): Promise<Response> {
  refuseRepeated(request);
  const question = parseQuestion(query, context.now());
  const symbol = await findSymbol(context, text, { day: question.symbolDay });
  const answer = await selectAnswer(context, symbol, question);
  if (query.format === 'csv') return csvResponse(answer, question, request);
  if (answer.count === 0) {
    return Response.json(await explainEmpty(context, symbol, question, answer));
  }
  const { daily, intraday } = question;
  recall.remember(request, () => {
    const view = viewNow(context, question.view);
    if (intraday) return context.intraday.recall(symbol, intraday(view));
    return daily && context.bars.recall(symbol, daily(view));
  });
  return sendAnswer(answer, request, 'application/json');
}

const viewNow = ({ calendar, now, publishDelayMs }: AppContext, view: ViewRequest) =>
  makeView(calendar, now(), publishDelayMs, view);

async function selectAnswer(
  context: AppContext,
  symbol: ResolvedSymbol,
  { daily, intraday, view: request }: Question,
): Promise<BarsAnswer> {
  const view = viewNow(context, request);
  if (daily) return context.bars.select(symbol, daily(view));
  if (!intraday) throw new Error('a question asks for nothing');
  try {
    const steps = () => context.bars.steps(symbol, view);
    return await context.intraday.select(symbol, intraday(view), steps);
  } catch (error) {
    if (error instanceof UnanswerableError) throw new InputError(error.message, error.field);
    throw error;
  }
}

/** A known symbol with nothing in the range: the usual answer, and why it is empty. */
async function explainEmpty(
  context: AppContext,
  symbol: ResolvedSymbol,
  { intraday, view, startDay, endDay }: Question,
  answer: BarsAnswer,
) {
  const body = JSON.parse(new TextDecoder().decode(answer.body)) as Record<string, unknown>;
  if (answer.excluded > 0) {
    const message = 'every bar of the range is below min_quality or not finished; see excluded';
    return { ...body, reason: 'excluded', message };
  }
  const { calendar } = context;
  const nowMs = Math.min(context.now(), view.knownAtMs ?? Number.POSITIVE_INFINITY);
  // Minutes are there while the session goes on; a daily bar once it was published.
  const latestDay = intraday
    ? newYorkDay(nowMs)
    : calendar.latestSession(nowMs, context.publishDelayMs);
  const absence = await selectAbsence(context.database.read, calendar, {
    instrumentId: symbol.instrumentId,
    startDay,
    endDay,
    latestDay,
    dataset: intraday ? (body.source_timeframe as string) : '1d',
    knownAtMs: view.knownAtMs,
  });
  if (intraday && absence.reason === 'missing') {
    const message = `bars are held of these sessions, but none in session=${body.session}`;
    return { ...body, reason: 'no_trade', message };
  }
  return { ...body, ...absence };
}

const CSV_COLUMNS = [
  'time',
  'symbol',
  'open',
  'high',
  'low',
  'close',
  'volume',
  'vwap',
  'trade_count',
  'quality_score',
  'validated',
  'gap_detected',
  'volume_anomaly',
  'is_final',
  'flags',
];
const CSV_INTRADAY_COLUMNS = [...CSV_COLUMNS, 'end', 'session', 'bars'];

function csvResponse(answer: BarsAnswer, { intraday }: Question, request: Request): Response {
  const columns = intraday ? CSV_INTRADAY_COLUMNS : CSV_COLUMNS;
  const { data, absent } = JSON.parse(new TextDecoder().decode(answer.body)) as {
    data: Record<string, unknown>[];
    absent: { count: number };
  };
  const lines = data.map((bar) =>
    columns
      .map((name) => {
        const value = bar[name];
        return Array.isArray(value) ? value.join(' ') : (value ?? '');
      })
      .join(','),
  );
  const body = new TextEncoder().encode(`${[columns.join(','), ...lines].join('\n')}\n`);
  const etag = `${answer.etag.slice(0, -1)}-csv"`;
  const csv = { ...answer, body, etag, compressed: new Map<string, Uint8Array>() };
  const response = sendAnswer(csv, request, 'text/csv; charset=utf-8');
  // CSV has no place for what is left out or not there: at least it is counted.
  response.headers.set('x-excluded-count', String(answer.excluded));
  response.headers.set('x-absent-count', String(absent.count));
  return response;
}
