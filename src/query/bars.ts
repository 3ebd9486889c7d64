import { flagNames, qualityReason, VALIDATED_SCORE } from '../model/quality.ts';
import { type Calendar, toDate } from '../model/session.ts';
import { bucketEnd, bucketStart, type DailyTimeframe, rollUp } from '../model/timeframe.ts';
import type { Sql } from '../store/database.ts';
import {
  type BarBlock,
  type DeriveBars,
  decodeBars,
  hasGap,
  hasVolumeAnomaly,
  selectBarBlock,
  toApiTime,
} from './block.ts';
import { ByteLru } from './lru.ts';
import type { ResolvedSymbol } from './symbols.ts';

export interface BarsQuery {
  timeframe: DailyTimeframe;
  /** Days since 1970-01-01, both inclusive. */
  startDay: number;
  endDay: number;
  /** Bars below this score are left out and named in `excluded`; 0 serves every stored bar. */
  minScore: number;
  /** True when only validated bars were asked for: repeated in the answer. */
  validatedOnly: boolean;
}

/** An answer ready to send. The bytes are shared with the cache and must not be changed. */
export interface BarsAnswer {
  body: Uint8Array;
  /** Strong validator: it changes with the data and with the question. */
  etag: string;
  count: number;
  excluded: number;
  /** Filled by the HTTP layer the first time a client asks for a compressed answer. */
  compressed: Map<string, Uint8Array>;
}

export interface CacheStats {
  blocks: number;
  bytes: number;
  hits: number;
  misses: number;
}

/** How many of the bars that an answer leaves out it names. */
const EXCLUDED_NAMED_MAX = 100;
/** Different questions to one block that are remembered. */
const ASKED_MAX = 1_000;
/** Part of the cache that whole answers may take, beside the blocks they are cut from. */
const ANSWER_SHARE = 0.25;

interface CachedBlock {
  block: BarBlock;
  /** Keys of its answers that are kept. */
  answers: Set<string>;
  /** Keys of what was asked of it. */
  asked: Set<string>;
}

/**
 * Reads bars. History hardly changes, so its encoded bytes are kept, bounded by bytes, and dropped
 * when a write touches the instrument. While changes may be missed nothing is kept.
 */
export class BarReader {
  readonly #blocks: ByteLru<CachedBlock>;
  readonly #answers: ByteLru<BarsAnswer>;
  readonly #scratch = { bytes: new Uint8Array(0) };
  readonly #derive: ((instrumentId: number) => DeriveBars) | undefined;
  readonly #loading = new Map<number, Promise<CachedBlock>>();
  /** Counts invalidations, so that a block read before one is not kept after it. */
  #generation = 0;
  #hits = 0;
  #misses = 0;
  isTrusted = false;

  constructor(
    readonly sql: Sql,
    readonly calendar: Calendar,
    cacheBytes: number,
    /** Makes the daily bars that are missing where there are minutes. */
    derive?: (instrumentId: number) => DeriveBars,
  ) {
    this.#derive = derive;
    this.#answers = new ByteLru(cacheBytes * ANSWER_SHARE, (_, key) => {
      this.#blocks.peek(key.slice(0, key.indexOf(' ')))?.answers.delete(key);
    });
    // An answer never outlives its block: a change that drops the block must find all of them.
    this.#blocks = new ByteLru(cacheBytes * (1 - ANSWER_SHARE), ({ answers }) => {
      for (const key of answers) this.#answers.delete(key);
    });
  }

  stats(): CacheStats {
    return {
      blocks: this.#blocks.size,
      bytes: this.#blocks.bytes + this.#answers.bytes,
      hits: this.#hits,
      misses: this.#misses,
    };
  }

  /** Forgets instruments whose bars changed. */
  drop(instrumentIds: readonly number[] | 'all'): void {
    this.#generation++;
    this.#loading.clear();
    if (instrumentIds === 'all') {
      this.#blocks.clear();
      this.#answers.clear();
      return;
    }
    for (const id of instrumentIds) this.#blocks.delete(String(id));
  }

  /** The answer to a query when it is in memory as it is. */
  recall({ instrumentId, symbol }: ResolvedSymbol, query: BarsQuery): BarsAnswer | undefined {
    if (!this.isTrusted) return undefined;
    const known = this.#answers.get(`${instrumentId} ${describeQuery(symbol, query)}`);
    if (!known) return undefined;
    this.#hits++;
    this.#blocks.get(String(instrumentId)); // used just now: not forgotten before its answers
    return known;
  }

  /** The answer to a query, from memory when it can be. */
  async select(symbol: ResolvedSymbol, query: BarsQuery): Promise<BarsAnswer> {
    const known = this.recall(symbol, query);
    if (known) return known;
    const question = describeQuery(symbol.symbol, query);
    const key = `${symbol.instrumentId} ${question}`;
    const id = String(symbol.instrumentId);
    const cached = await this.#block(symbol);
    const answer = makeAnswer(cached, query, question, this.calendar);
    if (!this.isTrusted || this.#blocks.get(id) !== cached) return answer;
    // Kept when it is asked for again: most are asked for once, and the block is there anyway.
    if (cached.asked.has(key)) {
      // Half as much again for its compressed forms, which come when they are asked for.
      cached.answers.add(key);
      this.#answers.set(key, answer, answer.body.length * 1.5 + 512);
    } else if (cached.asked.size < ASKED_MAX) cached.asked.add(key);
    return answer;
  }

  /** The block of an instrument, for what is not an answer of bars (sparklines, exports). */
  async block(symbol: ResolvedSymbol): Promise<BarBlock> {
    return (await this.#block(symbol)).block;
  }

  async #block(target: ResolvedSymbol): Promise<CachedBlock> {
    const { instrumentId, symbol } = target;
    const key = String(instrumentId);
    const cached = this.isTrusted ? this.#blocks.get(key) : undefined;
    if (cached && cached.block.symbol === symbol) {
      this.#hits++;
      return cached;
    }
    const loading = this.#loading.get(instrumentId);
    if (loading) return loading;
    this.#misses++;
    const load = this.#load(target);
    this.#loading.set(instrumentId, load);
    try {
      return await load;
    } finally {
      if (this.#loading.get(instrumentId) === load) this.#loading.delete(instrumentId);
    }
  }

  async #load(target: ResolvedSymbol): Promise<CachedBlock> {
    const generation = this.#generation;
    const derive = this.#derive?.(target.instrumentId);
    const block = await selectBarBlock(this.sql, target, this.#scratch, derive);
    const cached = { block, answers: new Set<string>(), asked: new Set<string>() };
    if (this.isTrusted && generation === this.#generation) {
      this.#blocks.set(String(target.instrumentId), cached, block.bytes);
    }
    return cached;
  }
}

/** A query as a text that says all of it. */
function describeQuery(symbol: string, query: BarsQuery): string {
  const { timeframe, startDay, endDay, minScore, validatedOnly } = query;
  return `${timeframe} ${startDay} ${endDay} ${minScore} ${validatedOnly} ${symbol}`;
}

/** Position of the first session on or after `day`. */
function lowerBound(sessions: Int32Array, day: number): number {
  let low = 0;
  let high = sessions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sessions[middle] < day) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Selection {
  first: number;
  /** Exclusive. */
  end: number;
  /** Rows left out for their score, ascending. */
  excluded: number[];
}

function selectRows(block: BarBlock, { startDay, endDay, minScore }: BarsQuery): Selection {
  const first = lowerBound(block.session, startDay);
  const end = Math.max(first, lowerBound(block.session, endDay + 1));
  const excluded: number[] = [];
  if (minScore <= 0) return { first, end, excluded };
  if (minScore <= VALIDATED_SCORE) {
    // Bars below the threshold are among the flawed ones, which are few.
    for (let i = lowerBound(block.flawed, first); i < block.flawed.length; i++) {
      const row = block.flawed[i];
      if (row >= end) break;
      if (block.score[row] < minScore) excluded.push(row);
    }
  } else {
    for (let row = first; row < end; row++) if (block.score[row] < minScore) excluded.push(row);
  }
  return { first, end, excluded };
}

const encoder = new TextEncoder();

function makeAnswer(
  { block }: CachedBlock,
  query: BarsQuery,
  question: string,
  calendar: Calendar,
): BarsAnswer {
  const selection = selectRows(block, query);
  const { first, end, excluded } = selection;
  const kept = end - first - excluded.length;
  let rows: Uint8Array[];
  let count = kept;
  if (query.timeframe === '1d') rows = cutRows(block, selection);
  else {
    const rolled = rollRows(block, selection, query, calendar);
    rows = [encoder.encode(JSON.stringify(rolled).slice(1, -1))];
    count = rolled.length;
  }
  const head = encoder.encode(
    `{"symbol":${JSON.stringify(block.symbol)},"timeframe":"${query.timeframe}",` +
      `"start_date":"${toDate(query.startDay)}","end_date":"${toDate(query.endDay)}",` +
      `"adjustment":"raw","providers":${JSON.stringify(block.providers)},` +
      `"synthetic":${block.providers.includes('synthetic')},` +
      `"derived":${hasDerived(block, selection)},` +
      `"validated_only":${query.validatedOnly},"min_quality":${query.minScore},` +
      `"count":${count},"data":[`,
  );
  const tail = encoder.encode(`],"excluded":${describeExcluded(block, excluded)}}`);
  return {
    body: joinParts(head, rows, tail),
    etag: `"${block.tag}-${Bun.hash.xxHash3(question).toString(36)}"`,
    count,
    excluded: excluded.length,
    compressed: new Map(),
  };
}

/** Whether a bar of a selection is made of minutes. */
function hasDerived(block: BarBlock, { first, end, excluded }: Selection): boolean {
  if (block.derived.length === 0) return false;
  return block.derived.some((row) => row >= first && row < end && !excluded.includes(row));
}

/** The encoded rows of a selection: one slice, or one between any two that are left out. */
function cutRows(block: BarBlock, { first, end, excluded }: Selection): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let from = first;
  for (const row of [...excluded, end]) {
    if (row > from) {
      const start = block.offsets[from];
      parts.push(block.encoded.subarray(start, block.offsets[row] - 1));
    }
    from = row + 1;
  }
  return parts;
}

const COMMA = 0x2c;

function joinParts(head: Uint8Array, rows: readonly Uint8Array[], tail: Uint8Array): Uint8Array {
  let length = head.length + tail.length;
  for (const part of rows) length += part.length + 1;
  if (rows.length > 0) length--;
  const body = new Uint8Array(length);
  body.set(head);
  let at = head.length;
  rows.forEach((part, i) => {
    if (i > 0) body[at++] = COMMA;
    body.set(part, at);
    at += part.length;
  });
  body.set(tail, at);
  return body;
}

function describeExcluded(block: BarBlock, excluded: readonly number[]): string {
  const bars = excluded.slice(0, EXCLUDED_NAMED_MAX).map((row) => ({
    date: toDate(block.session[row]),
    score: block.score[row],
    reason: qualityReason(block.flags[row]) || 'below the score that was asked for',
  }));
  return JSON.stringify({ count: excluded.length, bars });
}

/** A week or month of the answer. */
interface RolledApiBar {
  time: string;
  symbol: string;
  sessions: number;
  partial: boolean;
  [name: string]: unknown;
}

/**
 * Weeks and months from the selected daily bars. One that the range, the calendar or the bars left
 * out cut short says `partial`; nothing outside the range is looked at.
 */
function rollRows(
  block: BarBlock,
  { first, end, excluded }: Selection,
  query: BarsQuery,
  calendar: Calendar,
): RolledApiBar[] {
  const left = new Set(excluded);
  const rows: number[] = [];
  for (let row = first; row < end; row++) if (!left.has(row)) rows.push(row);
  const timeframe = query.timeframe;
  const { bars: daily, isFinal } = decodeBars(block, rows);
  const { bars, rows: starts } = rollUp(daily, timeframe);
  return Array.from({ length: bars.length }, (_, i) => {
    const members = rows.slice(starts[i], starts[i + 1]);
    const score = Math.min(...members.map((row) => block.score[row]));
    const flags = members.reduce((all, row) => all | block.flags[row], 0);
    const start = bucketStart(bars.session[i], timeframe);
    const whole = calendar.sessions(start, bucketEnd(start, timeframe) - 1);
    const held = members.filter((row) => calendar.isSession(block.session[row]));
    return {
      time: toApiTime(start),
      symbol: block.symbol,
      open: bars.open[i],
      high: bars.high[i],
      low: bars.low[i],
      close: bars.close[i],
      volume: bars.volume[i],
      vwap: Number.isNaN(bars.vwap[i]) ? null : bars.vwap[i],
      trade_count: Number.isNaN(bars.tradeCount[i]) ? null : bars.tradeCount[i],
      quality_score: score,
      validated: score >= VALIDATED_SCORE,
      gap_detected: hasGap(flags),
      volume_anomaly: hasVolumeAnomaly(flags),
      is_final: members.every((_, j) => isFinal[starts[i] + j]),
      flags: flagNames(flags),
      sessions: members.length,
      partial: held.length < whole.length,
      ...(members.some((row) => block.derived.includes(row)) && { derived: true }),
    };
  });
}
