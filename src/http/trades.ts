import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { candleStart, describeIntervals, parseInterval } from '../model/candle-interval.ts';
import { formatMicros } from '../model/instant.ts';
import { selectCandles } from '../query/candles.ts';
import { selectTrades, type TradePosition } from '../query/trades.ts';
import { sendAnswer } from './answer.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-trades.ts';
import { findSymbol } from './find-symbol.ts';
import { parseMoment, parseWhole, refuseRepeated, startMicros } from './parameters.ts';

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
  limit?: string;
  cursor?: string;
}

async function listTrades(context: AppContext, query: Parameters, request: Request) {
  refuseRepeated(request);
  const { start, end } = parseRange(query);
  const limit = parseWhole(query.limit ?? String(TRADES_DEFAULT), 'limit', 1, TRADES_MAX);
  const after = query.cursor === undefined ? null : parseTradeCursor(query.cursor);
  const found = await findSymbol(context, query.symbol);
  const page = await selectTrades(context.database.read, found, { start, end, after, limit });
  const next = page.next && `t1.${page.next.micros}.${page.next.sequence}`;
  const head = { symbol: found.symbol, ...describeRange({ start, end }), limit, count: page.count };
  return sendList(head, 'trades', page.rows, page.count, next, request);
}

async function listCandles(
  context: AppContext,
  query: Parameters & { interval?: string },
  request: Request,
) {
  refuseRepeated(request);
  const { start, end } = parseRange(query);
  const limit = parseWhole(query.limit ?? String(CANDLES_DEFAULT), 'limit', 1, CANDLES_MAX);
  const interval = parseInterval(query.interval ?? '1m');
  if (!interval) {
    const shown = JSON.stringify((query.interval ?? '').slice(0, 20));
    throw new InputError(`interval is ${shown}: it must be ${describeIntervals()}`, 'interval');
  }
  let from = start;
  if (query.cursor !== undefined) {
    const [ms] = parseCursor(query.cursor, 'c1', 1);
    if (candleStart(interval, ms) !== ms)
      refuseCursor(`no candle of ${interval.text} begins there`);
    from = Math.max(start ?? -Infinity, ms * 1000);
  }
  const found = await findSymbol(context, query.symbol);
  const asked = { interval, start: from, end, limit };
  const page = await selectCandles(context.database.read, found, asked);
  const next = page.nextMs === null ? null : `c1.${page.nextMs}`;
  const head = {
    symbol: found.symbol,
    interval: interval.text,
    ...describeRange({ start, end }),
    limit,
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

const describeRange = ({ start, end }: Range) => ({
  start: start === null ? null : formatMicros(start),
  end: end === null ? null : formatMicros(end),
});

// --------------------------------------------------------------------------- cursors

function refuseCursor(why: string): never {
  throw new InputError(
    `cursor is not one of this address (${why}): give next_cursor of the answer before, ` +
      'unchanged, with the other parameters as they were',
    'cursor',
  );
}

/** The numbers in a cursor. @throws InputError */
function parseCursor(text: string, kind: string, count: number): number[] {
  const plain = /^[\w-]{1,100}$/.test(text) ? Buffer.from(text, 'base64url').toString() : '';
  const [found, ...numbers] = plain.split('.');
  const isGood =
    found === kind &&
    numbers.length === count &&
    numbers.every((number) => /^\d{1,16}$/.test(number) && Number.isSafeInteger(Number(number)));
  if (!isGood) refuseCursor('malformed');
  const values = numbers.map(Number);
  const ms = kind === 't1' ? values[0] / 1000 : values[0];
  if (ms > INSTANT_MS_MAX) refuseCursor('it lies beyond the end of time');
  return values;
}

/** The last instant that a Date can hold is much later; PostgreSQL's years are not written so. */
const INSTANT_MS_MAX = Date.parse('2200-01-01T00:00:00Z');

function parseTradeCursor(text: string): TradePosition {
  const [micros, sequence] = parseCursor(text, 't1', 2);
  return { micros, sequence };
}

// --------------------------------------------------------------------------- answers

/** An answer whose rows the database has printed: no number is read and printed again. */
function sendList(
  head: object,
  name: string,
  rows: string,
  count: number,
  next: string | null,
  request: Request,
): Response {
  const cursor = next === null ? null : Buffer.from(next).toString('base64url');
  const start = JSON.stringify(head).slice(0, -1);
  const body = Buffer.from(`${start},"${name}":[${rows}],"next_cursor":${JSON.stringify(cursor)}}`);
  const etag = `"${Bun.hash(body).toString(36)}"`;
  const answer = { body, etag, count, excluded: 0, compressed: new Map<string, Uint8Array>() };
  return sendAnswer(answer, request, 'application/json');
}
