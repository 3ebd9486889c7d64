import type { AbsenceReport } from '../model/absence.ts';
import {
  type AdjustmentSteps,
  adjustmentSteps,
  findCloseBefore,
  findCloseOn,
  NO_STEPS,
  type PriceAction,
} from '../model/adjustment.ts';
import { flagNames, qualityReason, VALIDATED_SCORE } from '../model/quality.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import { lowerBound } from '../model/sorted.ts';
import { bucketEnd, bucketStart, type DailyTimeframe, rollUp } from '../model/timeframe.ts';
import type { Sql } from '../store/database.ts';
import { selectAbsent } from './absent.ts';
import { adjustBlock, rawCloses } from './adjusted.ts';
import {
  type BarBlock,
  type DeriveBars,
  decodeBars,
  hasGap,
  hasVolumeAnomaly,
  selectBarBlock,
  toApiTime,
} from './block.ts';
import { selectPriceActions } from './corporate-actions.ts';
import { ByteLru } from './lru.ts';
import type { ResolvedSymbol } from './symbols.ts';
import { type BarsView, describeAdjustment, describeView } from './view.ts';

export interface BarsQuery {
  timeframe: DailyTimeframe;
  /** Days since 1970-01-01, both inclusive. */
  startDay: number;
  endDay: number;
  /** Bars below this score are left out and named in `excluded`; 0 serves every stored bar. */
  minScore: number;
  /** True when only validated bars were asked for: repeated in the answer. */
  validatedOnly: boolean;
  view: BarsView;
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
/** Adjustments of one history that are remembered as steps; an as-of a day makes many. */
const STEPS_MAX = 100;

interface CachedBlock {
  /** Its key; undefined when it is not kept. */
  key: string | undefined;
  block: BarBlock;
  /** What it was adjusted by. */
  steps: AdjustmentSteps;
  /** Keys of its answers that are kept. */
  answers: Set<string>;
  /** Keys of what was asked of it. */
  asked: Set<string>;
}

/** A history as it is stored, and what it takes to adjust it. */
interface RawBlock extends CachedBlock {
  actions: Promise<PriceAction[]> | undefined;
  stepsByAsof: Map<string, AdjustmentSteps>;
}

interface CachedAnswer {
  answer: BarsAnswer;
  blockKey: string;
}

/**
 * Reads bars. History hardly changes, so its encoded bytes are kept, raw and adjusted, bounded by
 * bytes, and dropped when a write touches the instrument. While changes may be missed nothing is
 * kept; nor is what was known at an instant of the past, for there are too many of those.
 */
export class BarReader {
  readonly #blocks: ByteLru<CachedBlock>;
  readonly #answers: ByteLru<CachedAnswer>;
  /** Keys of the blocks that are kept, by instrument. */
  readonly #keys = new Map<number, Set<string>>();
  readonly #scratch = { bytes: new Uint8Array(0) };
  readonly #derive: ((instrumentId: number, knownAtMs?: number) => DeriveBars) | undefined;
  readonly #loading = new Map<string, Promise<RawBlock>>();
  /** Counts invalidations, so that a block read before one is not kept after it. */
  #generation = 0;
  #hits = 0;
  #misses = 0;
  isTrusted = false;

  constructor(
    readonly sql: Sql,
    readonly calendar: Calendar,
    readonly cacheBytes: number,
    /** Makes the daily bars that are missing where there are minutes. */
    derive?: (instrumentId: number, knownAtMs?: number) => DeriveBars,
  ) {
    this.#derive = derive;
    this.#answers = new ByteLru(cacheBytes * ANSWER_SHARE, ({ blockKey }, key) => {
      this.#blocks.peek(blockKey)?.answers.delete(key);
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

  /** Forgets instruments whose bars, actions or coverage changed. */
  drop(instrumentIds: readonly number[] | 'all'): void {
    this.#generation++;
    this.#loading.clear();
    if (instrumentIds === 'all') {
      this.#blocks.clear();
      this.#answers.clear();
      this.#keys.clear();
      return;
    }
    for (const id of instrumentIds) {
      for (const key of this.#keys.get(id) ?? []) this.#blocks.delete(key);
      this.#keys.delete(id);
    }
  }

  /** The answer to a query when it is in memory as it is. */
  recall({ instrumentId, symbol }: ResolvedSymbol, query: BarsQuery): BarsAnswer | undefined {
    if (!this.isTrusted) return undefined;
    const known = this.#answers.get(`${instrumentId} ${describeQuery(symbol, query)}`);
    if (!known) return undefined;
    this.#hits++;
    this.#blocks.get(known.blockKey); // used just now: not forgotten before its answers
    return known.answer;
  }

  /** The answer to a query, from memory when it can be. */
  async select(symbol: ResolvedSymbol, query: BarsQuery): Promise<BarsAnswer> {
    const known = this.recall(symbol, query);
    if (known) return known;
    const question = describeQuery(symbol.symbol, query);
    const key = `${symbol.instrumentId} ${question}`;
    const generation = this.#generation;
    const cached = await this.#view(symbol, query.view);
    const { block } = cached;
    const selection = selectRows(block, query);
    const absent = await selectAbsent(
      this.sql,
      this.calendar,
      {
        ...{ instrumentId: symbol.instrumentId, dataset: '1d' },
        days: block.session.subarray(selection.first, selection.end),
        ...{ startDay: query.startDay, endDay: query.endDay },
      },
      query.view,
    );
    const answer = makeAnswer(cached, selection, absent, query, question, this.calendar);
    const { key: blockKey } = cached;
    if (!this.isTrusted || blockKey === undefined || generation !== this.#generation) return answer;
    if (this.#blocks.get(blockKey) !== cached) return answer;
    // Kept when it is asked for again: most are asked for once, and the block is there anyway.
    if (cached.asked.has(key)) {
      // Half as much again for its compressed forms, which come when they are asked for.
      this.#answers.set(key, { answer, blockKey }, answer.body.length * 1.5 + 512);
      // Behind it: of two that asked at the same time, the second one's takes out the first one's.
      cached.answers.add(key);
    } else if (cached.asked.size < ASKED_MAX) cached.asked.add(key);
    return answer;
  }

  /** The history as a view shows it, for what is not an answer of bars. */
  async block(symbol: ResolvedSymbol, view: BarsView): Promise<BarBlock> {
    return (await this.#view(symbol, view)).block;
  }

  /** What bars of an instrument are multiplied by, also those below a day. */
  async steps(symbol: ResolvedSymbol, view: BarsView): Promise<AdjustmentSteps> {
    if (view.adjustment === 'raw') return NO_STEPS;
    return this.#steps(await this.#raw(symbol, view), symbol, view);
  }

  /** The history as a view shows it. */
  async #view(symbol: ResolvedSymbol, view: BarsView): Promise<CachedBlock> {
    const raw = await this.#raw(symbol, view);
    if (view.adjustment === 'raw') return raw;
    const steps = await this.#steps(raw, symbol, view);
    // The events that apply say all of it: the same ones give the same block, whatever the as-of.
    const key =
      raw.key && `${raw.key}/${view.adjustment}/${view.dividendMethod}/${steps.exDay.at(-1) ?? ''}`;
    const known = key === undefined ? undefined : this.#blocks.get(key);
    if (known && known.steps === steps) return known;
    const block = adjustBlock(raw.block, steps);
    const cached = { key, block, steps, answers: new Set<string>(), asked: new Set<string>() };
    const isCurrent = raw.key !== undefined && this.#blocks.peek(raw.key) === raw;
    if (isCurrent) this.#keep(symbol.instrumentId, cached);
    return cached;
  }

  async #steps(raw: RawBlock, { instrumentId }: ResolvedSymbol, view: BarsView) {
    const { adjustment, dividendMethod, asofDay, knownAtMs } = view;
    const knownAt = knownAtMs === undefined ? undefined : new Date(knownAtMs);
    raw.actions ??= selectPriceActions(this.sql, instrumentId, knownAt);
    const loading = raw.actions;
    loading.catch(() => {
      if (raw.actions === loading) raw.actions = undefined;
    });
    const actions = await loading;
    const count = actions.filter(({ exDay }) => exDay <= asofDay).length;
    const key = `${adjustment} ${dividendMethod} ${count}`;
    const known = raw.stepsByAsof.get(key);
    if (known) return known;
    const closes = rawCloses(raw.block);
    const closeBefore = (day: number) => findCloseBefore(closes, day, this.calendar);
    const closeOn =
      dividendMethod === 'ex_close' ? (day: number) => findCloseOn(closes, day) : undefined;
    const steps = adjustmentSteps(actions, adjustment, asofDay, closeBefore, closeOn);
    if (raw.stepsByAsof.size >= STEPS_MAX) raw.stepsByAsof.clear();
    raw.stepsByAsof.set(key, steps);
    return steps;
  }

  /** The history as it is stored now, or was at the instant of the view. */
  async #raw(target: ResolvedSymbol, { knownAtMs }: BarsView): Promise<RawBlock> {
    if (knownAtMs !== undefined) return this.#load(target, undefined, knownAtMs);
    const { instrumentId, symbol } = target;
    const key = `${instrumentId}:${symbol}`;
    const cached = this.isTrusted ? this.#blocks.get(key) : undefined;
    if (cached) {
      this.#hits++;
      return cached as RawBlock;
    }
    const loading = this.#loading.get(key);
    if (loading) return loading;
    this.#misses++;
    const load = this.#load(target, key);
    this.#loading.set(key, load);
    try {
      return await load;
    } finally {
      if (this.#loading.get(key) === load) this.#loading.delete(key);
    }
  }

  async #load(
    target: ResolvedSymbol,
    key: string | undefined,
    knownAtMs?: number,
  ): Promise<RawBlock> {
    const generation = this.#generation;
    const derive = this.#derive?.(target.instrumentId, knownAtMs);
    const knownAt = knownAtMs === undefined ? undefined : new Date(knownAtMs);
    const block = await selectBarBlock(this.sql, { ...target, knownAt }, this.#scratch, derive);
    const cached: RawBlock = {
      ...{ key, block, steps: NO_STEPS, actions: undefined, stepsByAsof: new Map() },
      ...{ answers: new Set<string>(), asked: new Set<string>() },
    };
    if (generation === this.#generation) this.#keep(target.instrumentId, cached);
    return cached;
  }

  #keep(instrumentId: number, cached: CachedBlock): void {
    if (!this.isTrusted || cached.key === undefined) return;
    this.#blocks.set(cached.key, cached, cached.block.bytes);
    const keys = this.#keys.get(instrumentId);
    if (keys) keys.add(cached.key);
    else this.#keys.set(instrumentId, new Set([cached.key]));
  }
}

/** A query as a text that says all of it. */
function describeQuery(symbol: string, query: BarsQuery): string {
  const { timeframe, startDay, endDay, minScore, validatedOnly, view } = query;
  const seen = describeView(view, endDay);
  return `${timeframe} ${startDay} ${endDay} ${minScore} ${validatedOnly} ${seen} ${symbol}`;
}

interface Selection {
  first: number;
  /** Exclusive. */
  end: number;
  /** Rows left out, ascending. */
  excluded: number[];
}

function selectRows(block: BarBlock, { startDay, endDay, minScore, view }: BarsQuery): Selection {
  const first = lowerBound(block.session, startDay);
  const end = Math.max(first, lowerBound(block.session, endDay + 1));
  const excluded: number[] = [];
  if (minScore > VALIDATED_SCORE) {
    for (let row = first; row < end; row++) if (block.score[row] < minScore) excluded.push(row);
  } else if (minScore > 0) {
    // Bars below the threshold are among the flawed ones, which are few.
    for (const row of within(block.flawed, first, end)) {
      if (block.score[row] < minScore) excluded.push(row);
    }
  }
  if (view.includePartial || block.unfinished.length === 0) return { first, end, excluded };
  const all = new Set([...excluded, ...within(block.unfinished, first, end)]);
  return { first, end, excluded: [...all].sort((a, b) => a - b) };
}

/** The positions of an ascending list that lie in [first, end). */
const within = (positions: Int32Array, first: number, end: number) =>
  positions.subarray(lowerBound(positions, first), lowerBound(positions, end));

const encoder = new TextEncoder();

function makeAnswer(
  { block, steps }: CachedBlock,
  selection: Selection,
  absent: AbsenceReport,
  query: BarsQuery,
  question: string,
  calendar: Calendar,
): BarsAnswer {
  const { first, end, excluded } = selection;
  let rows: Uint8Array[];
  let count = end - first - excluded.length;
  const unfinished: RolledApiBar[] = [];
  if (query.timeframe === '1d') rows = cutRows(block, selection);
  else {
    const all = rollRows(block, selection, query, calendar);
    const rolled = query.view.includePartial ? all : all.filter(isFinished(query, calendar));
    unfinished.push(...all.slice(rolled.length)); // only the newest can be
    rows = [encoder.encode(JSON.stringify(rolled).slice(1, -1))];
    count = rolled.length;
  }
  const adjustment = JSON.stringify(describeAdjustment(query.view, steps)).slice(1, -1);
  const head = encoder.encode(
    `{"symbol":${JSON.stringify(block.symbol)},"timeframe":"${query.timeframe}",` +
      `"start_date":"${toDate(query.startDay)}","end_date":"${toDate(query.endDay)}",` +
      `${adjustment},"providers":${JSON.stringify(block.providers)},` +
      `"synthetic":${block.providers.includes('synthetic')},` +
      `"derived":${hasDerived(block, selection)},` +
      `"validated_only":${query.validatedOnly},"min_quality":${query.minScore},` +
      `"count":${count},"data":[`,
  );
  const left = describeExcluded(block, excluded, unfinished);
  const said = question + adjustment + JSON.stringify(absent);
  const tail = encoder.encode(`],"excluded":${left},"absent":${JSON.stringify(absent)}}`);
  return {
    body: joinParts(head, rows, tail),
    // Why bars are absent, and which events apply to none of them, is not of the block: it can
    // change while the bars stay.
    etag: `"${block.tag}-${Bun.hash.xxHash3(said).toString(36)}"`,
    count,
    excluded: excluded.length + unfinished.length,
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

function describeExcluded(
  block: BarBlock,
  excluded: readonly number[],
  unfinished: readonly RolledApiBar[],
): string {
  const daily = excluded.slice(0, EXCLUDED_NAMED_MAX).map((row) => ({
    date: toDate(block.session[row]),
    score: block.score[row],
    reason: qualityReason(block.flags[row]) || 'below the score that was asked for',
  }));
  const rolled = unfinished.map(({ time, quality_score: score }) => ({
    date: time.slice(0, 10),
    score,
    reason: 'its time is not over; include_partial=true serves it as far as it has come',
  }));
  const bars = [...daily, ...rolled].slice(0, EXCLUDED_NAMED_MAX);
  return JSON.stringify({ count: excluded.length + unfinished.length, bars });
}

/** A week or month of the answer. */
interface RolledApiBar {
  time: string;
  symbol: string;
  sessions: number;
  quality_score: number;
  partial: boolean;
  [name: string]: unknown;
}

/** Whether the last session of a week or month has closed. */
function isFinished({ timeframe, view }: BarsQuery, calendar: Calendar) {
  return ({ time }: RolledApiBar) => {
    const start = bucketStart(toDay(time.slice(0, 10)), timeframe);
    const last = calendar.sessions(start, bucketEnd(start, timeframe) - 1).at(-1);
    return last === undefined || last <= view.closedDay;
  };
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
