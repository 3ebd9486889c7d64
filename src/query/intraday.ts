import type { AbsenceReport } from '../model/absence.ts';
import {
  type AdjustmentSteps,
  NO_STEPS,
  roundPrice,
  roundVolume,
  stepOf,
} from '../model/adjustment.ts';
import { INTRADAY_MS, type IntradayBars, type StoredIntraday } from '../model/intraday.ts';
import { FLAG, flagNames, qualityReason, VALIDATED_SCORE } from '../model/quality.ts';
import { type IntradayRollUp, rollUpIntraday } from '../model/rollup.ts';
import { type Calendar, newYorkDay, newYorkInstant, toDate, toDay } from '../model/session.ts';
import { SESSION_PARTS } from '../model/session-part.ts';
import {
  decodeIntraday,
  INTRADAY_TABLES,
  type IntradayColumnBytes,
  intradayColumns,
  makeStoredIntraday,
  type StoredIntradayBars,
  sliceIntraday,
} from '../store/bar-columns.ts';
import type { Sql } from '../store/database.ts';
import { selectAbsent } from './absent.ts';
import type { BarsAnswer } from './bars.ts';
import { hasGap, hasVolumeAnomaly } from './block.ts';
import { ByteLru } from './lru.ts';
import type { ResolvedSymbol } from './symbols.ts';
import { type BarsView, describeAdjustment, describeView } from './view.ts';

export interface IntradayQuery {
  /** As it was asked for: '65m'. */
  timeframe: string;
  minutes: number;
  /** Epoch ms; bars that begin in [startMs, endMs). */
  startMs: number;
  endMs: number;
  /** As they are repeated in the answer. */
  start: string;
  end: string;
  sessions: 'regular' | 'extended' | 'all';
  /** Undefined: 'session', or 'clock' where only hours on the clock are held. */
  anchor: 'session' | 'clock' | undefined;
  closingAuction: boolean;
  /** Stored bars below this score are left out, and out of what is made of them. */
  minScore: number;
  validatedOnly: boolean;
  view: BarsView;
}

/** Bars in one answer; a year of 1m bars in regular hours are 98,000. */
const INTRADAY_BARS_MAX = 250_000;

/** A question that this instrument's data cannot answer; the message says what can. */
export class UnanswerableError extends Error {
  override name = 'UnanswerableError';
  constructor(
    message: string,
    readonly field: string,
  ) {
    super(message);
  }
}

/** The stored bars of one calendar month in New York, ascending. */
interface Month {
  bars: StoredIntradayBars;
  providers: string[];
}

interface AskedRow {
  /** 'YYYY-MM-DD' */
  day: string;
  asked_at: Date;
}

/** How long ago a session may have been that was not asked for again since: a long weekend. */
const LATE_DAYS = 5;

/** Part of the cache for whole answers; the rest is for columns. */
const ANSWER_SHARE = 0.5;
const ASKED_MAX = 1_000;
/** Bytes of a stored bar in columns. */
const BAR_BYTES = 92;

/**
 * Reads bars below a day. Stored bars are read a month at a time, as columns, kept in memory and
 * rolled up to what is asked for. An answer that is asked for again is kept as it is. Bounded by
 * bytes; dropped when a write touches the instrument; nothing is kept while changes may be missed.
 */
export class IntradayReader {
  readonly #months: ByteLru<Month>;
  readonly #answers: ByteLru<BarsAnswer>;
  /** By instrument: keys of what is kept of it, and of what was asked. */
  readonly #kept = new Map<number, { months: Set<string>; answers: Set<string> }>();
  readonly #asked = new Set<string>();
  #generation = 0;
  isTrusted = false;

  constructor(
    readonly sql: Sql,
    readonly calendar: Calendar,
    readonly cacheBytes: number,
  ) {
    this.#answers = new ByteLru(cacheBytes * ANSWER_SHARE);
    this.#months = new ByteLru(cacheBytes * (1 - ANSWER_SHARE));
  }

  /** What is kept: months of columns, and whole answers. */
  stats(): { months: number; bytes: number } {
    return { months: this.#months.size, bytes: this.#months.bytes + this.#answers.bytes };
  }

  /** Forgets instruments whose bars changed. */
  drop(instrumentIds: readonly number[] | 'all'): void {
    this.#generation++;
    this.#asked.clear();
    if (instrumentIds === 'all') {
      this.#months.clear();
      this.#answers.clear();
      this.#kept.clear();
      return;
    }
    for (const id of instrumentIds) {
      const kept = this.#kept.get(id);
      if (!kept) continue;
      for (const key of kept.months) this.#months.delete(key);
      for (const key of kept.answers) this.#answers.delete(key);
      this.#kept.delete(id);
    }
  }

  /** The answer to a query when it is in memory as it is. */
  recall(symbol: ResolvedSymbol, query: IntradayQuery): BarsAnswer | undefined {
    if (!this.isTrusted || !isLasting(query)) return undefined;
    return this.#answers.get(describeQuery(symbol, query));
  }

  /**
   * The answer to a query.
   * @param steps by which the bars of each session are multiplied; a function is called here, so
   *   that a change that is told meanwhile is not missed.
   * @throws UnanswerableError when the bars held cannot make the timeframe, or there are too many.
   */
  async select(
    symbol: ResolvedSymbol,
    query: IntradayQuery,
    steps: AdjustmentSteps | (() => Promise<AdjustmentSteps>) = NO_STEPS,
  ): Promise<BarsAnswer> {
    const known = this.recall(symbol, query);
    if (known) return known;
    const generation = this.#generation;
    const factors = typeof steps === 'function' ? await steps() : steps;
    const answer = await this.#make(symbol, query, factors);
    if (!this.isTrusted || generation !== this.#generation || !isLasting(query)) return answer;
    const key = describeQuery(symbol, query);
    // Kept when it is asked for again, as whole histories are: most are asked for once.
    if (this.#asked.has(key)) {
      this.#keep(symbol.instrumentId).answers.add(key);
      this.#answers.set(key, answer, answer.body.length * 1.5 + 512);
    } else if (this.#asked.size < ASKED_MAX) this.#asked.add(key);
    return answer;
  }

  /** Minutes of whole days (days since 1970-01-01, both inclusive), ascending, as known then. */
  async minutes(instrumentId: number, firstDay: number, lastDay: number, knownAtMs?: number) {
    const parts: StoredIntradayBars[] = [];
    const providers = new Set<string>();
    for (const month of monthsOf(firstDay, lastDay)) {
      const found = await this.#month(instrumentId, '1m', month, knownAtMs);
      parts.push(sliceDays(found.bars, firstDay, lastDay));
      for (const provider of found.providers) providers.add(provider);
    }
    return { parts, providers: [...providers] };
  }

  #keep(instrumentId: number) {
    let kept = this.#kept.get(instrumentId);
    if (!kept) {
      kept = { months: new Set(), answers: new Set() };
      this.#kept.set(instrumentId, kept);
    }
    return kept;
  }

  async #make(
    symbol: ResolvedSymbol,
    query: IntradayQuery,
    steps: AdjustmentSteps,
  ): Promise<BarsAnswer> {
    const { instrumentId } = symbol;
    const { knownAtMs } = query.view;
    const firstDay = Math.max(newYorkDay(query.startMs), this.calendar.firstDay);
    const lastDay = Math.min(newYorkDay(query.endMs - 1), this.calendar.lastDay);
    const source = await this.#chooseSource(symbol, query, firstDay, lastDay);
    const asked = query.view.includePartial
      ? new Map<number, number>()
      : await this.askedWithin(instrumentId, source, firstDay, lastDay, knownAtMs);
    const encoder = new AnswerEncoder(symbol.symbol, query, source, steps, asked);
    for (const month of monthsOf(firstDay, lastDay)) {
      const found = await this.#month(instrumentId, source, month, knownAtMs);
      const bars = sliceDays(found.bars, firstDay, lastDay);
      if (bars.length === 0) continue;
      encoder.add(bars, found.providers, this.calendar);
    }
    const held = { instrumentId, dataset: source, days: encoder.days };
    const absent = await selectAbsent(
      this.sql,
      this.calendar,
      { ...held, startDay: firstDay, endDay: lastDay },
      query.view,
    );
    return encoder.finish(absent);
  }

  /**
   * The days (of those from `firstDay` to `lastDay`) that were asked for while they went on and not
   * since, with when, epoch ms: what came of them later is not held. Of an instant in the past it
   * is when the last bar of such a day had come, which no later load changes; there the last days
   * are looked at, for earlier ones have been asked for again.
   */
  async askedWithin(
    instrumentId: number,
    source: StoredIntraday,
    firstDay: number,
    lastDay: number,
    knownAtMs?: number,
  ): Promise<Map<number, number>> {
    const rows =
      knownAtMs === undefined
        ? await this.sql<AskedRow[]>`
            select (asked_at at time zone 'America/New_York')::date as day, asked_at
            from coverage
            where instrument_id = ${instrumentId} and dataset = ${source} and state = 'complete'
              and start_session <= ${toDate(lastDay)} and end_session > ${toDate(firstDay)}
              and (asked_at at time zone 'America/New_York')::date >= start_session
              and (asked_at at time zone 'America/New_York')::date < end_session`
        : await this.#receivedWithin(instrumentId, source, firstDay, lastDay, knownAtMs);
    const found = new Map<number, number>();
    for (const { day, asked_at } of rows) {
      const ms = asked_at.getTime();
      if (newYorkDay(ms) === toDay(day)) found.set(toDay(day), ms);
    }
    return found;
  }

  async #receivedWithin(
    instrumentId: number,
    source: StoredIntraday,
    firstDay: number,
    lastDay: number,
    knownAtMs: number,
  ): Promise<AskedRow[]> {
    const knownDay = newYorkDay(knownAtMs);
    const from = Math.max(firstDay, knownDay - LATE_DAYS);
    const to = Math.min(lastDay, knownDay);
    if (to < from) return [];
    const first = new Date(newYorkInstant(from, 0));
    const end = new Date(newYorkInstant(to + 1, 0));
    const range = { instrumentId, source, first, end };
    return this.sql<AskedRow[]>`
      select session as day, max(ts_received) as asked_at
      from ${knownBars(this.sql, range, new Date(knownAtMs))} known group by session`;
  }

  /** Minutes where there are any in the range, for they make everything; else hours. */
  async #chooseSource(
    { instrumentId }: ResolvedSymbol,
    { minutes, anchor, timeframe, sessions, closingAuction, view }: IntradayQuery,
    firstDay: number,
    lastDay: number,
  ): Promise<StoredIntraday> {
    const range = [newYorkInstant(firstDay, 0), newYorkInstant(lastDay + 1, 0)];
    const [first, end] = range.map((ms) => new Date(ms));
    const stored = (source: StoredIntraday) =>
      view.knownAtMs === undefined
        ? this.sql(INTRADAY_TABLES[source])
        : knownBars(this.sql, { instrumentId, source, first, end }, new Date(view.knownAtMs));
    const [held] = await this.sql<{ minutes: boolean; hours: boolean }[]>`
      select exists (select from ${stored('1m')} b where instrument_id = ${instrumentId}
                     and ts >= ${first} and ts < ${end}) as minutes,
             exists (select from ${stored('1h')} b where instrument_id = ${instrumentId}
                     and ts >= ${first} and ts < ${end}) as hours`;
    if (held.minutes || !held.hours) return '1m';
    const only = 'only hourly bars are held of this range';
    if (minutes % 60 !== 0) {
      throw new UnanswerableError(
        `${only}, of which ${timeframe} cannot be made: ask for whole hours, or fetch minutes ` +
          '(marketd backfill --timeframe 1m)',
        'timeframe',
      );
    }
    if (anchor === 'session') {
      throw new UnanswerableError(
        `${only}, cut on the clock: anchor=session needs minutes; ask with anchor=clock` +
          (sessions === 'regular' ? ' (the hour of 09:00 then mixes pre-market trading)' : ''),
        'anchor',
      );
    }
    if (closingAuction) {
      throw new UnanswerableError(
        `${only}: closing_auction=true needs minutes, for an hour does not tell the auction apart`,
        'closing_auction',
      );
    }
    return '1h';
  }

  async #month(
    instrumentId: number,
    source: StoredIntraday,
    month: string,
    knownAtMs: number | undefined,
  ): Promise<Month> {
    // Instants of the past are many and seldom asked for twice.
    if (knownAtMs !== undefined) {
      return selectMonth(this.sql, instrumentId, source, month, new Date(knownAtMs));
    }
    const key = `${instrumentId} ${source} ${month}`;
    const known = this.isTrusted ? this.#months.get(key) : undefined;
    if (known) return known;
    const generation = this.#generation;
    const found = await selectMonth(this.sql, instrumentId, source, month);
    if (this.isTrusted && generation === this.#generation) {
      this.#keep(instrumentId).months.add(key);
      this.#months.set(key, found, found.bars.length * BAR_BYTES + 256);
    }
    return found;
  }
}

/**
 * Whether an answer is the same as long as the data is. Today's bars are finished one after the
 * other, so that one of them is of its instant; and instants of the past are too many to keep.
 */
function isLasting({ view, endMs }: IntradayQuery): boolean {
  if (view.knownAtMs !== undefined) return false;
  return view.includePartial || newYorkDay(endMs - 1) < newYorkDay(view.nowMs);
}

function describeQuery({ instrumentId, symbol }: ResolvedSymbol, query: IntradayQuery): string {
  const { timeframe, start, end, sessions, anchor, closingAuction, minScore } = query;
  const { validatedOnly, view, endMs } = query;
  return [
    ...[instrumentId, timeframe, start, end, sessions, anchor, closingAuction, minScore],
    ...[validatedOnly, describeView(view, newYorkDay(endMs - 1)), symbol],
  ].join(' ');
}

/** 'YYYY-MM' of every month that days touch. */
function monthsOf(firstDay: number, lastDay: number): string[] {
  const months: string[] = [];
  for (let day = firstDay; day <= lastDay; day = monthEnd(months[months.length - 1])) {
    months.push(toDate(day).slice(0, 7));
  }
  return months;
}

/** The first day after a month. */
function monthEnd(month: string): number {
  const [year, number] = month.split('-').map(Number);
  const next = number === 12 ? `${year + 1}-01` : `${year}-${String(number + 1).padStart(2, '0')}`;
  return toDay(`${next}-01`);
}

async function selectMonth(
  sql: Sql,
  instrumentId: number,
  source: StoredIntraday,
  month: string,
  knownAt?: Date,
): Promise<Month> {
  const first = new Date(newYorkInstant(toDay(`${month}-01`), 0));
  const end = new Date(newYorkInstant(monthEnd(month), 0));
  const [row] = await sql<({ providers: string[] | null } & IntradayColumnBytes)[]>`
    select ${intradayColumns(sql)}, array_agg(distinct provider) as providers
    from (select * from ${
      knownAt
        ? knownBars(sql, { instrumentId, source, first, end }, knownAt)
        : sql(INTRADAY_TABLES[source])
    } stored
          where instrument_id = ${instrumentId} and ts >= ${first} and ts < ${end}
          order by ts) b`;
  if (row.providers === null) return { bars: makeStoredIntraday(0), providers: [] };
  return { bars: decodeIntraday(row), providers: row.providers };
}

/** As in block.ts: of each bar what was said of it at the instant. `part` is as it is now. */
const knownBars = (
  sql: Sql,
  target: { instrumentId: number; source: StoredIntraday; first: Date; end: Date },
  knownAt: Date,
) => {
  const { instrumentId, source, first, end } = target;
  const table = sql(INTRADAY_TABLES[source]);
  return sql`(
    with revised as (
      select distinct on (ts) * from bar_revisions
      where instrument_id = ${instrumentId} and timeframe = ${source}
        and session between (${first} at time zone 'America/New_York')::date - 1
                        and (${end} at time zone 'America/New_York')::date + 1
        and ts_replaced > ${knownAt}
      order by ts, ts_replaced, revision_id)
    select b.instrument_id, b.ts, b.session, b.part,
           coalesce(r.open, b.open) as open, coalesce(r.high, b.high) as high,
           coalesce(r.low, b.low) as low, coalesce(r.close, b.close) as close,
           coalesce(r.volume, b.volume) as volume,
           case when r.ts is null then b.vwap else r.vwap end as vwap,
           case when r.ts is null then b.trade_count else r.trade_count end as trade_count,
           coalesce(r.score, b.score) as score, coalesce(r.flags, b.flags) as flags,
           coalesce(r.provider, b.provider) as provider,
           case when r.ts is null
                then b.is_final and coalesce(b.ts_final, b.ts_received) <= ${knownAt}
                else r.is_final and coalesce(r.ts_final, r.ts_received) <= ${knownAt}
           end as is_final,
           coalesce(r.ts_received, b.ts_received) as ts_received
    from ${table} b left join revised r on r.ts = b.ts
    where b.instrument_id = ${instrumentId} and b.ts >= ${first} and b.ts < ${end}
      and coalesce(r.ts_received, b.ts_received) <= ${knownAt})`;
};

/** Rows of the days, both inclusive, in the same memory. */
export function sliceDays(
  bars: StoredIntradayBars,
  firstDay: number,
  lastDay: number,
): StoredIntradayBars {
  let first = 0;
  let end = bars.length;
  while (first < end && bars.session[first] < firstDay) first++;
  while (end > first && bars.session[end - 1] > lastDay) end--;
  if (first === 0 && end === bars.length) return bars;
  return sliceIntraday(bars, first, end);
}

/** Rows whose score is high enough, as new columns; the same ones when all are. */
export function dropBelow(
  bars: StoredIntradayBars,
  minScore: number,
  onDropped: (row: number) => void = () => {},
): StoredIntradayBars {
  const rows: number[] = [];
  for (let row = 0; row < bars.length; row++) {
    if (bars.score[row] < minScore) onDropped(row);
    else rows.push(row);
  }
  if (rows.length === bars.length) return bars;
  const kept = makeStoredIntraday(rows.length);
  const names = Object.keys(kept).filter((name) => name !== 'length') as Column[];
  for (const name of names) {
    const from = bars[name];
    const to = kept[name];
    for (let i = 0; i < rows.length; i++) to[i] = from[rows[i]];
  }
  return kept;
}

type Column = Exclude<keyof StoredIntradayBars, 'length'>;

/** How many of the bars that an answer leaves out it names. */
const EXCLUDED_NAMED_MAX = 100;

/** Puts an answer together, month by month. */
class AnswerEncoder {
  readonly #rows: string[] = [];
  readonly #providers = new Set<string>();
  readonly #excluded: object[] = [];
  #excludedCount = 0;
  /** Days that have a stored bar, ascending. */
  readonly days: number[] = [];
  readonly #anchor: 'session' | 'clock';
  readonly #quotedSymbol: string;
  readonly #instants = new InstantPrinter();

  constructor(
    readonly symbol: string,
    readonly query: IntradayQuery,
    readonly source: StoredIntraday,
    readonly steps: AdjustmentSteps,
    /** Days whose bars are finished only up to an instant. */
    readonly askedWithin: ReadonlyMap<number, number>,
  ) {
    this.#quotedSymbol = JSON.stringify(symbol);
    this.#anchor = query.anchor ?? (source === '1m' ? 'session' : 'clock');
  }

  add(stored: StoredIntradayBars, providers: readonly string[], calendar: Calendar): void {
    const { query, source } = this;
    for (const provider of providers) this.#providers.add(provider);
    for (const day of stored.session) if (day !== this.days.at(-1)) this.days.push(day);
    const kept = dropBelow(stored, query.minScore, (row) => this.#exclude(stored, row));
    const rolled = rollUpIntraday(kept, INTRADAY_MS[source], {
      minutes: query.minutes,
      calendar,
      sessions: query.sessions,
      anchor: this.#anchor,
      closingAuction: query.closingAuction,
    });
    for (let i = 0; i < rolled.bars.length; i++) {
      const ts = rolled.bars.ts[i];
      if (ts < query.startMs || ts >= query.endMs) continue;
      if (!query.view.includePartial && this.#isUnfinished(rolled, i, kept)) {
        this.#name(rolled.bars.session[i], ts, 1, UNFINISHED);
        continue;
      }
      this.#rows.push(this.#encodeRow(rolled, i, kept));
    }
    if (this.#rows.length <= INTRADAY_BARS_MAX) return;
    throw new UnanswerableError(
      `the range holds more than ${INTRADAY_BARS_MAX.toLocaleString('en-US')} bars: ask for a ` +
        'shorter one or a longer timeframe, or take it all with marketd export',
      'end',
    );
  }

  #exclude(bars: StoredIntradayBars, row: number): void {
    const ts = bars.ts[row];
    if (ts < this.query.startMs || ts >= this.query.endMs) return;
    const reason = qualityReason(bars.flags[row]) || 'below the score that was asked for';
    this.#name(bars.session[row], ts, bars.score[row], reason);
  }

  /** Names a bar that is left out. */
  #name(day: number, ts: number, score: number, reason: string): void {
    this.#excludedCount++;
    if (this.#excluded.length >= EXCLUDED_NAMED_MAX) return;
    this.#excluded.push({ date: toDate(day), time: this.#instants.print(ts), score, reason });
  }

  /** Whether more may come of a bar: its time is not over, or it was not when a part of it came. */
  #isUnfinished({ bars, endMs, rows, order }: IntradayRollUp, i: number, kept: StoredIntradayBars) {
    const asked = this.askedWithin.get(bars.session[i]) ?? Number.POSITIVE_INFINITY;
    if (endMs[i] > Math.min(asked, this.query.view.nowMs)) return true;
    for (let at = rows[i]; at < rows[i + 1]; at++) {
      if ((kept.flags[order[at]] & FLAG.unfinished) !== 0) return true;
    }
    return false;
  }

  #encodeRow(
    { bars, endMs, part, rows, order }: IntradayRollUp,
    i: number,
    kept: StoredIntradayBars,
  ) {
    let score = 1;
    let flags = 0;
    let isFinal = true;
    for (let at = rows[i]; at < rows[i + 1]; at++) {
      const row = order[at];
      if (kept.score[row] < score) score = kept.score[row];
      flags |= kept.flags[row];
      if (kept.isFinal[row] === 0) isFinal = false;
    }
    const { price, volume, vwap } = this.#adjusted(bars, i);
    const count = bars.tradeCount[i];
    return (
      `{"time":"${this.#instants.print(bars.ts[i])}","end":"${this.#instants.print(endMs[i])}",` +
      `"symbol":${this.#quotedSymbol},"open":${price(bars.open[i])},` +
      `"high":${price(bars.high[i])},"low":${price(bars.low[i])},` +
      `"close":${price(bars.close[i])},"volume":${volume},` +
      `"vwap":${Number.isNaN(vwap) ? null : vwap},` +
      `"trade_count":${Number.isNaN(count) ? null : count},` +
      `"session":"${SESSION_PARTS[part[i]]}","bars":${rows[i + 1] - rows[i]},` +
      (score === 1 && flags === 0 && isFinal ? END_PLAIN : encodeEnd(score, flags, isFinal))
    );
  }

  /** How the numbers of a bar are printed: all of a session are adjusted alike. */
  #adjusted(bars: IntradayBars, i: number) {
    const { steps } = this;
    const step = stepOf(steps, bars.session[i]);
    const vwap = bars.vwap[i];
    if (step === steps.exDay.length) return { price: asItIs, volume: bars.volume[i], vwap };
    const price = (value: number) => roundPrice(value * steps.price[step]);
    const volume = roundVolume(bars.volume[i] * steps.volume[step]);
    return { price, volume, vwap: price(vwap) };
  }

  finish(absent: AbsenceReport): BarsAnswer {
    const { query } = this;
    const providers = [...this.#providers].sort();
    const head = {
      symbol: this.symbol,
      timeframe: query.timeframe,
      start_date: query.start,
      end_date: query.end,
      session: query.sessions,
      anchor: this.#anchor,
      closing_auction: query.closingAuction,
      source_timeframe: this.source,
      ...describeAdjustment(query.view, this.steps),
      providers,
      synthetic: providers.includes('synthetic'),
      derived: false,
      validated_only: query.validatedOnly,
      min_quality: query.minScore,
      count: this.#rows.length,
    };
    const excluded = JSON.stringify({ count: this.#excludedCount, bars: this.#excluded });
    const text =
      `${JSON.stringify(head).slice(0, -1)},"data":[${this.#rows.join(',')}],` +
      `"excluded":${excluded},"absent":${JSON.stringify(absent)}}`;
    const body = new TextEncoder().encode(text);
    return {
      body,
      etag: `"${Bun.hash.xxHash3(body).toString(36)}"`,
      count: this.#rows.length,
      excluded: this.#excludedCount,
      compressed: new Map(),
    };
  }
}

const asItIs = (value: number) => value;
const UNFINISHED = 'its time is not over; include_partial=true serves it as far as it has come';

function encodeEnd(score: number, flags: number, isFinal: boolean): string {
  return (
    `"quality_score":${score},"validated":${score >= VALIDATED_SCORE},` +
    `"gap_detected":${hasGap(flags)},"volume_anomaly":${hasVolumeAnomaly(flags)},` +
    `"is_final":${isFinal},"flags":${JSON.stringify(flagNames(flags))}}`
  );
}

/** How nearly every row ends. */
const END_PLAIN = encodeEnd(1, 0, true);

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const pad = (value: number) => String(value).padStart(2, '0');
/** 'T00:00:00Z' and every minute after it: the same recur in every session. */
const TIMES = Array.from(
  { length: 1440 },
  (_, minute) => `T${pad(Math.floor(minute / 60))}:${pad(minute % 60)}:00Z`,
);

/** Prints instants on whole minutes, '2024-02-20T14:30:00Z', in a tenth of what Date takes. */
class InstantPrinter {
  #day = Number.NaN;
  #date = '';

  print(ms: number): string {
    const day = Math.floor(ms / DAY_MS);
    if (day !== this.#day) {
      this.#day = day;
      this.#date = toDate(day);
    }
    return this.#date + TIMES[(ms - day * DAY_MS) / MINUTE_MS];
  }
}
