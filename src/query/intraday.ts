import { INTRADAY_MS, type StoredIntraday } from '../model/intraday.ts';
import { flagNames, qualityReason, VALIDATED_SCORE } from '../model/quality.ts';
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
import type { BarsAnswer } from './bars.ts';
import { hasGap, hasVolumeAnomaly } from './block.ts';
import { ByteLru } from './lru.ts';
import type { ResolvedSymbol } from './symbols.ts';

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
    cacheBytes: number,
  ) {
    this.#answers = new ByteLru(cacheBytes * ANSWER_SHARE);
    this.#months = new ByteLru(cacheBytes * (1 - ANSWER_SHARE));
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
    if (!this.isTrusted) return undefined;
    return this.#answers.get(describeQuery(symbol, query));
  }

  /**
   * The answer to a query.
   * @throws UnanswerableError when the bars held cannot make the timeframe, or there are too many.
   */
  async select(symbol: ResolvedSymbol, query: IntradayQuery): Promise<BarsAnswer> {
    const known = this.recall(symbol, query);
    if (known) return known;
    const generation = this.#generation;
    const answer = await this.#make(symbol, query);
    if (!this.isTrusted || generation !== this.#generation) return answer;
    const key = describeQuery(symbol, query);
    // Kept when it is asked for again, as whole histories are: most are asked for once.
    if (this.#asked.has(key)) {
      this.#keep(symbol.instrumentId).answers.add(key);
      this.#answers.set(key, answer, answer.body.length * 1.5 + 512);
    } else if (this.#asked.size < ASKED_MAX) this.#asked.add(key);
    return answer;
  }

  /** Stored minutes of whole days (days since 1970-01-01, both inclusive), ascending. */
  async minutes(instrumentId: number, firstDay: number, lastDay: number) {
    const parts: StoredIntradayBars[] = [];
    const providers = new Set<string>();
    for (const month of monthsOf(firstDay, lastDay)) {
      const found = await this.#month(instrumentId, '1m', month);
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

  async #make(symbol: ResolvedSymbol, query: IntradayQuery): Promise<BarsAnswer> {
    const firstDay = Math.max(newYorkDay(query.startMs), this.calendar.firstDay);
    const lastDay = Math.min(newYorkDay(query.endMs - 1), this.calendar.lastDay);
    const source = await this.#chooseSource(symbol, query, firstDay, lastDay);
    const encoder = new AnswerEncoder(symbol.symbol, query, source);
    for (const month of monthsOf(firstDay, lastDay)) {
      const found = await this.#month(symbol.instrumentId, source, month);
      const bars = sliceDays(found.bars, firstDay, lastDay);
      if (bars.length === 0) continue;
      encoder.add(bars, found.providers, this.calendar);
    }
    return encoder.finish();
  }

  /** Minutes where there are any in the range, for they make everything; else hours. */
  async #chooseSource(
    { instrumentId }: ResolvedSymbol,
    { minutes, anchor, timeframe, sessions, closingAuction }: IntradayQuery,
    firstDay: number,
    lastDay: number,
  ): Promise<StoredIntraday> {
    const range = [newYorkInstant(firstDay, 0), newYorkInstant(lastDay + 1, 0)];
    const [first, end] = range.map((ms) => new Date(ms));
    const [held] = await this.sql<{ minutes: boolean; hours: boolean }[]>`
      select exists (select from bars_1m where instrument_id = ${instrumentId}
                     and ts >= ${first} and ts < ${end}) as minutes,
             exists (select from bars_1h where instrument_id = ${instrumentId}
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

  async #month(instrumentId: number, source: StoredIntraday, month: string): Promise<Month> {
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

function describeQuery({ instrumentId, symbol }: ResolvedSymbol, query: IntradayQuery): string {
  const { timeframe, start, end, sessions, anchor, closingAuction, minScore } = query;
  const { validatedOnly } = query;
  return [
    ...[instrumentId, timeframe, start, end, sessions, anchor, closingAuction, minScore],
    ...[validatedOnly, symbol],
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
): Promise<Month> {
  const first = new Date(newYorkInstant(toDay(`${month}-01`), 0));
  const end = new Date(newYorkInstant(monthEnd(month), 0));
  const [row] = await sql<({ providers: string[] | null } & IntradayColumnBytes)[]>`
    select ${intradayColumns(sql)}, array_agg(distinct provider) as providers
    from (select * from ${sql(INTRADAY_TABLES[source])}
          where instrument_id = ${instrumentId} and ts >= ${first} and ts < ${end}
          order by ts) b`;
  if (row.providers === null) return { bars: makeStoredIntraday(0), providers: [] };
  return { bars: decodeIntraday(row), providers: row.providers };
}

/** Rows of the days, both inclusive, in the same memory. */
function sliceDays(
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
  readonly #anchor: 'session' | 'clock';
  readonly #quotedSymbol: string;
  readonly #instants = new InstantPrinter();

  constructor(
    readonly symbol: string,
    readonly query: IntradayQuery,
    readonly source: StoredIntraday,
  ) {
    this.#quotedSymbol = JSON.stringify(symbol);
    this.#anchor = query.anchor ?? (source === '1m' ? 'session' : 'clock');
  }

  add(stored: StoredIntradayBars, providers: readonly string[], calendar: Calendar): void {
    const { query, source } = this;
    for (const provider of providers) this.#providers.add(provider);
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
    this.#excludedCount++;
    if (this.#excluded.length >= EXCLUDED_NAMED_MAX) return;
    this.#excluded.push({
      date: toDate(bars.session[row]),
      time: this.#instants.print(ts),
      score: bars.score[row],
      reason: qualityReason(bars.flags[row]) || 'below the score that was asked for',
    });
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
    const vwap = bars.vwap[i];
    const count = bars.tradeCount[i];
    return (
      `{"time":"${this.#instants.print(bars.ts[i])}","end":"${this.#instants.print(endMs[i])}",` +
      `"symbol":${this.#quotedSymbol},"open":${bars.open[i]},"high":${bars.high[i]},` +
      `"low":${bars.low[i]},"close":${bars.close[i]},"volume":${bars.volume[i]},` +
      `"vwap":${Number.isNaN(vwap) ? null : vwap},` +
      `"trade_count":${Number.isNaN(count) ? null : count},` +
      `"session":"${SESSION_PARTS[part[i]]}","bars":${rows[i + 1] - rows[i]},` +
      (score === 1 && flags === 0 && isFinal ? END_PLAIN : encodeEnd(score, flags, isFinal))
    );
  }

  finish(): BarsAnswer {
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
      adjustment: 'raw',
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
      `"excluded":${excluded}}`;
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
