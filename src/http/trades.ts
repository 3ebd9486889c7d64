import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { candleStart, describeIntervals, parseInterval } from '../model/candle-interval.ts';
import { formatMicros } from '../model/instant.ts';
import { newYorkDay } from '../model/session.ts';
import { selectCandles } from '../query/candles.ts';
import { selectTrades, type TradePosition } from '../query/trades.ts';
import { describeAdjustment, makeView } from '../query/view.ts';
import { sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-trades.ts';
import { makeCursor, parseCursor, refuseCursor } from './cursor.ts';
import { findSymbol } from './find-symbol.ts';
import { parseDate, parseMoment, parseWhole, refuseRepeated, startMicros } from './parameters.ts';
import { type AdjustmentParameters, parseAdjustment } from './view.ts';

const TRADES_DEFAULT = 100;
const TRADES_MAX = 1_000;
const CANDLES_DEFAULT = 1_000;
const CANDLES_MAX = 10_000;

/** Trades and candles, as the trade platform had them. */
export function tradeRoutes(context: AppContext) {
  return new Elysia({ name: 'trades' })
    .get('/trades', ({ query, request }) => listTrades(context, query, request), contract.trades)
    .get(
      '/candles',
      ({ query, request }) => listCandles(context, query, request),
      contract.candles,
    );
}

interface Parameters {
  symbol: string;
  start?: string;
  end?: string;
  asof?: string;
  limit?: string;
  cursor?: string;
}

async function listTrades(context: AppContext, query: Parameters, request: Request) {
  refuseRepeated(request);
  const { start, end } = parseRange(query);
  const day = symbolDay(context, query.asof, end);
  const limit = parseWhole(query.limit ?? String(TRADES_DEFAULT), 'limit', 1, TRADES_MAX);
  const after = query.cursor === undefined ? null : parseTradeCursor(query.cursor);
  const found = await findSymbol(context, query.symbol, { day });
  const page = await selectTrades(context.database.read, found, { start, end, after, limit });
  const next = page.next && makeCursor('t1', page.next.micros, page.next.sequence);
  const head = { symbol: found.symbol, ...describeRange({ start, end }), limit, count: page.count };
  return sendList(head, 'trades', page.rows, page.count, next, request);
}

interface CandleParameters extends Parameters, AdjustmentParameters {
  interval?: string;
}

async function listCandles(context: AppContext, query: CandleParameters, request: Request) {
  refuseRepeated(request);
  const { start, end } = parseRange(query);
  const day = symbolDay(context, query.asof, end);
  const limit = parseWhole(query.limit ?? String(CANDLES_DEFAULT), 'limit', 1, CANDLES_MAX);
  const interval = parseInterval(query.interval ?? '1m');
  if (!interval) {
    const shown = JSON.stringify((query.interval ?? '').slice(0, 20));
    throw new InputError(`interval is ${shown}: it must be ${describeIntervals()}`, 'interval');
  }
  const { calendar, now, publishDelayMs } = context;
  const view = makeView(calendar, now(), publishDelayMs, parseAdjustment(query));
  let from = start;
  if (query.cursor !== undefined) {
    const [ms] = parseCursor(query.cursor, 'c1', 1, 1);
    if (candleStart(interval, ms) !== ms)
      refuseCursor(`no candle of ${interval.text} begins there`);
    from = Math.max(start ?? -Infinity, ms * 1000);
  }
  const found = await findSymbol(context, query.symbol, { day });
  const steps = await context.bars.steps(found, view);
  const asked = { interval, start: from, end, limit, steps };
  const page = await selectCandles(context.database.read, found, asked);
  const next = page.nextMs === null ? null : makeCursor('c1', page.nextMs);
  const head = {
    symbol: found.symbol,
    interval: interval.text,
    ...describeRange({ start, end }),
    limit,
    ...(view.adjustment !== 'raw' && describeAdjustment(view, steps)),
    synthetic: page.isSynthetic,
    count: page.count,
  };
  return sendList(head, 'candles', page.rows, page.count, next, request);
}

/** A range in epoch microseconds; null where it is open. */
interface Range {
  start: number | null;
  end: number | null;
}

function parseRange(query: Parameters): Range {
  const read = (field: 'start' | 'end') => {
    const text = query[field];
    return text === undefined ? null : startMicros(parseMoment(text, field));
  };
  const start = read('start');
  const end = read('end');
  if (start !== null && end !== null && end <= start) {
    const what = end === start ? 'is start: the range is empty' : 'lies before start';
    throw new InputError(
      `end (${query.end}) ${what} (${query.start}); start is inclusive, end is exclusive`,
      'end',
    );
  }
  return { start, end };
}

/** Whose symbol is meant: of whoever had it at `asof`, else at the end of the range, else today. */
function symbolDay({ now }: AppContext, asof: string | undefined, end: number | null): number {
  if (asof !== undefined) return parseDate(asof, 'asof');
  return newYorkDay(end === null ? now() : Math.ceil(end / 1000) - 1);
}

const describeRange = ({ start, end }: Range) => ({
  start: start === null ? null : formatMicros(start),
  end: end === null ? null : formatMicros(end),
});

/** The last trade of the page before. @throws InputError */
function parseTradeCursor(text: string): TradePosition {
  const [micros, sequence] = parseCursor(text, 't1', 2, 1000);
  return { micros, sequence };
}

/** An answer whose rows the database has printed: no number is read and printed again. */
function sendList(
  head: object,
  name: string,
  rows: string,
  count: number,
  next: string | null,
  request: Request,
): Response {
  const start = JSON.stringify(head).slice(0, -1);
  const body = Buffer.from(`${start},"${name}":[${rows}],"next_cursor":${JSON.stringify(next)}}`);
  const etag = `"${Bun.hash(body).toString(36)}"`;
  const answer = { body, etag, count, excluded: 0, compressed: new Map<string, Uint8Array>() };
  return sendAnswer(answer, request, 'application/json');
}
