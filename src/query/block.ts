import { type BarColumns, makeBars } from '../model/bar.ts';
import { FLAG, flagNames, VALIDATED_SCORE } from '../model/quality.ts';
import { toDate } from '../model/session.ts';
import type { Sql } from '../store/database.ts';

/**
 * All daily bars of one instrument, encoded as the JSON rows that are sent, with what is needed to
 * find them. The hot read copies a slice of `encoded`.
 */
export interface BarBlock {
  symbol: string;
  length: number;
  /** Days since 1970-01-01, ascending. */
  session: Int32Array;
  score: Float64Array;
  flags: Int32Array;
  /** The same for the same bars, in every process. */
  tag: string;
  /** Names of the providers, in the order in which their bars came. */
  providers: string[];
  /** JSON objects joined by commas. Row i is bytes [offsets[i], offsets[i + 1] - 1). */
  encoded: Uint8Array;
  offsets: Uint32Array;
  /** Positions of bars below the validated score, ascending. */
  flawed: Int32Array;
  /** Positions of bars that are made of minutes, for want of the provider's own, ascending. */
  derived: Int32Array;
  /** Positions of bars that were received before their session was over, ascending. */
  unfinished: Int32Array;
  /** What it takes in memory. */
  bytes: number;
}

/**
 * Reads an instrument's history as one text value, a line each: '15744,15.07,...,' (days). The
 * database prints numbers as JSON wants them, so none is parsed and printed again: bytes are moved.
 * What nearly every bar has in common (no flag, score 1, final) is left out, for each value printed
 * costs the database as much as a comparison of five.
 */
export async function selectBarBlock(
  sql: Sql,
  target: BlockTarget,
  scratch: Scratch = { bytes: new Uint8Array(0) },
  derive?: DeriveBars,
): Promise<BarBlock> {
  const parts =
    target.knownAt === undefined
      ? await readWhole(sql, target)
      : [await readKnown(sql, target.instrumentId, target.knownAt)];
  const block = readParts(parts, target.symbol, scratch);
  if (!derive || !parts[0].hasMinutes) return block;
  const derived = await derive(block.session);
  return derived.bars.length === 0
    ? block
    : readParts(interleave(parts, block.session, derived), target.symbol, scratch);
}

/** Daily bars made of minutes, ascending. */
export interface DerivedBars {
  bars: BarColumns;
  score: Float64Array;
  flags: Int32Array;
  isFinal: Int32Array;
  providers: readonly string[];
}

/** Gives the bars of days that have minutes, yet are not among those that are held. */
export type DeriveBars = (heldDays: Int32Array) => Promise<DerivedBars>;

/** Puts derived bars as lines between the stored ones. */
function interleave(
  parts: readonly Part[],
  heldDays: Int32Array,
  { bars, score, flags, isFinal, providers }: DerivedBars,
): Part[] {
  const held = parts.map((part) => decode(part.text)).filter((text) => text !== '');
  const lines = held.join('\n').split('\n').filter(Boolean);
  const orEmpty = (value: number) => (Number.isNaN(value) ? '' : value);
  const merged: string[] = [];
  let at = 0;
  for (let i = 0; i < bars.length; i++) {
    const day = bars.session[i];
    while (at < lines.length && heldDays[at] < day) merged.push(lines[at++]);
    const values = [day, bars.open[i], bars.high[i], bars.low[i], bars.close[i], bars.volume[i]];
    values.push(orEmpty(bars.vwap[i]) as number, orEmpty(bars.tradeCount[i]) as number);
    merged.push(`${values.join(',')},${flags[i]}:${score[i]}:${isFinal[i] === 1}:derived`);
  }
  merged.push(...lines.slice(at));
  const all = new Set([...parts[0].providers, ...providers]);
  const text = ascii(merged.join('\n'));
  return [{ ...parts[0], text, length: merged.length, providers: [...all] }];
}

async function readWhole(sql: Sql, { instrumentId, middle }: BlockTarget): Promise<Part[]> {
  if (middle === null) return [await readPart(sql, { instrumentId })];
  // Both halves at once, on two connections: the database has more than one core.
  const parts = await Promise.all([
    readPart(sql, { instrumentId, to: middle }),
    readPart(sql, { instrumentId, from: middle }),
  ]);
  // A write may have come between the two: one query sees one state.
  if (parts[0].version !== parts[1].version) return [await readPart(sql, { instrumentId })];
  return parts;
}

export interface BlockTarget {
  instrumentId: number;
  symbol: string;
  /** A session about half-way through the history, to read it in two halves; only a hint. */
  middle: string | null;
  /** The history as it was stored at that instant; as it is when missing. */
  knownAt?: Date;
}

interface Part {
  text: Uint8Array;
  length: number;
  providers: string[];
  version: string;
  /** Whether the instrument has minutes, of which missing days can be made. */
  hasMinutes: boolean;
}

async function readPart(
  sql: Sql,
  { instrumentId, from, to }: { instrumentId: number; from?: string; to?: string },
): Promise<Part> {
  const [row] = (await sql`
    select ${rowsText(sql)},
           count(*)::int4,
           (select version || ' ' || array_to_string(providers, ' ') from instrument_status
            where instrument_id = ${instrumentId} and timeframe = '1d'),
           (select count(*)::int4 from instrument_status
            where instrument_id = ${instrumentId} and timeframe = '1m' and records > 0)
    from (select * from bars_1d
          where instrument_id = ${instrumentId}
            and session >= ${from ?? '-infinity'}::date and session < ${to ?? 'infinity'}::date
          order by session) b
    `.raw()) as unknown as (Uint8Array | null)[][];
  const [text, length, status, minutes] = row;
  const [version, ...providers] = decode(status).split(' ').filter(Boolean);
  return {
    text: text ?? new Uint8Array(0),
    length: Number(decode(length)),
    providers,
    version,
    hasMinutes: decode(minutes) !== '0',
  };
}

/** Ordered bars as one text, a line each. */
const rowsText = (sql: Sql) => sql`
  string_agg(concat_ws(',', session - date '1970-01-01', open, high, low, close, volume,
                       coalesce(vwap::text, ''), coalesce(trade_count::text, ''),
                       case when flags <> 0 or not is_final or score <> 1
                            then flags || ':' || score || ':' || is_final
                            else '' end), chr(10))`;

/** The history as it was stored at an instant (see `knownBars`). */
async function readKnown(sql: Sql, instrumentId: number, knownAt: Date): Promise<Part> {
  const [row] = (await sql`
    with known as (${knownBars(sql, instrumentId, knownAt)})
    select ${rowsText(sql)}, count(*)::int4,
           (select string_agg(provider, ' ' order by first, provider collate "C")
            from (select provider, min(ts_received) as first from known group by provider) p),
           (select count(*)::int4 from instrument_status
            where instrument_id = ${instrumentId} and timeframe = '1m' and records > 0)
    from (select * from known order by session) b
    `.raw()) as unknown as (Uint8Array | null)[][];
  const [text, length, providers, minutes] = row;
  return {
    text: text ?? new Uint8Array(0),
    length: Number(decode(length)),
    providers: decode(providers).split(' ').filter(Boolean),
    version: '',
    hasMinutes: decode(minutes) !== '0',
  };
}

/**
 * Daily bars as they were stored at an instant: of each the first revision that was replaced later,
 * else the bar itself, where its values had come by then. One that became final later was not yet.
 */
const knownBars = (sql: Sql, instrumentId: number, knownAt: Date) => sql`
  select session, open, high, low, close, volume, vwap, trade_count, flags, score, provider,
         ts_received, is_final and coalesce(ts_final, ts_received) <= ${knownAt} as is_final
  from (
    select session, open, high, low, close, volume, vwap, trade_count, flags, score, provider,
           ts_received, ts_final, is_final
    from bars_1d b
    where instrument_id = ${instrumentId} and not exists (
      select from bar_revisions r
      where r.instrument_id = ${instrumentId} and r.timeframe = '1d' and r.session = b.session
        and r.ts_replaced > ${knownAt})
    union all
    select * from (
      select distinct on (session)
             session, open, high, low, close, volume, vwap, trade_count, flags, score, provider,
             ts_received, ts_final, is_final
      from bar_revisions
      where instrument_id = ${instrumentId} and timeframe = '1d' and ts_replaced > ${knownAt}
      order by session, ts_replaced, revision_id) revised) versions
  where ts_received <= ${knownAt}`;

function readParts(parts: readonly Part[], symbol: string, scratch: Scratch): BarBlock {
  const texts = parts.map((part) => part.text).filter((text) => text.length > 0);
  const text =
    texts.length === 1
      ? texts[0]
      : Buffer.concat(texts.flatMap((one, i) => (i === 0 ? [one] : [LINE_END, one])));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const { providers } = parts[0];
  // Of the text, which says as much as what it becomes in a quarter of the bytes.
  const tag = Bun.hash.xxHash3(text, Bun.hash.xxHash3(providers.join())).toString(36);
  return { ...encodeBlock(text, length, symbol, scratch), providers, tag };
}

const LINE_END = new Uint8Array([0x0a]);
const decoder = new TextDecoder();
const decode = (bytes: Uint8Array | null) => (bytes === null ? '' : decoder.decode(bytes));
const ascii = (text: string) => new TextEncoder().encode(text);

/** What stands before each value of a row, from `open` on. */
const KEYS = ['open', 'high', 'low', 'close', 'volume', 'vwap', 'trade_count'].map((name) =>
  ascii(`,"${name}":`),
);
const NULL = ascii('null');
/** How nearly every row ends: a final bar without a flag. */
const END_PLAIN = encodeEnd(1, 0, true);
/** Bytes of a row besides its values and the symbol, and the most that its values take. */
const ROW_BYTES_MAX = 420;
const ROW_BYTES_WITH_FLAGS_MAX = ROW_BYTES_MAX + 300;

const COMMA = 0x2c;
const NEWLINE = 0x0a;
const ZERO = 0x30;
const MINUS = 0x2d;

/** Memory that one reading after the other is encoded in. */
export interface Scratch {
  bytes: Uint8Array<ArrayBuffer>;
}

/** Twenty years of a symbol are 1.3 MB; what is larger is not kept. */
const SCRATCH_BYTES_MAX = 4_194_304;

/** A cursor over the rows' text that writes JSON. One object a block; its methods are the loop. */
class RowEncoder {
  at = 0;
  length = 0;
  out: Uint8Array<ArrayBuffer>;

  constructor(
    readonly text: Uint8Array,
    rows: number,
    readonly rowBytes: number,
    scratch: Scratch,
  ) {
    const expected = Math.max(rows, 1) * (rowBytes - 100) + rowBytes;
    this.out = scratch.bytes.length >= expected ? scratch.bytes : new Uint8Array(expected);
  }

  /** Makes room for one more row. */
  reserve(): void {
    if (this.length + this.rowBytes + ROW_BYTES_WITH_FLAGS_MAX <= this.out.length) return;
    const larger = new Uint8Array(this.out.length * 2 + ROW_BYTES_WITH_FLAGS_MAX);
    larger.set(this.out);
    this.out = larger;
  }

  put(bytes: Uint8Array): void {
    const { out } = this;
    let { length } = this;
    for (let i = 0; i < bytes.length; i++) out[length++] = bytes[i];
    this.length = length;
  }

  /** As `put`; better for more than some fifty bytes. */
  putLong(bytes: Uint8Array): void {
    this.out.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Copies the value up to the next comma; an empty one is null. */
  copyValue(): void {
    const { text, out } = this;
    let { at, length } = this;
    if (text[at] === COMMA) {
      this.put(NULL);
      this.at = at + 1;
      return;
    }
    let byte = text[at++];
    while (byte !== COMMA) {
      out[length++] = byte;
      byte = text[at++];
    }
    this.at = at;
    this.length = length;
  }

  /** The whole number up to the next comma. */
  readInteger(): number {
    const { text } = this;
    const isNegative = text[this.at] === MINUS;
    if (isNegative) this.at++;
    let value = 0;
    for (; text[this.at] !== COMMA; this.at++) value = value * 10 + text[this.at] - ZERO;
    this.at++;
    return isNegative ? -value : value;
  }

  /** True at the end of a line. */
  atEnd(): boolean {
    return this.at >= this.text.length || this.text[this.at] === NEWLINE;
  }

  /** The rest of the line; goes on to the next one. */
  readRest(): string {
    const start = this.at;
    while (!this.atEnd()) this.at++;
    this.at++;
    return decoder.decode(this.text.subarray(start, this.at - 1));
  }
}

function encodeBlock(
  text: Uint8Array,
  length: number,
  symbol: string,
  scratch: Scratch,
): Omit<BarBlock, 'providers' | 'tag'> {
  const head = ascii('{"time":"');
  const middle = ascii(`T00:00:00Z","symbol":${JSON.stringify(symbol)}`);
  const encoder = new RowEncoder(text, length, ROW_BYTES_MAX + middle.length, scratch);
  const session = new Int32Array(length);
  const score = new Float64Array(length);
  const flags = new Int32Array(length);
  const offsets = new Uint32Array(length + 1);
  const flawed: number[] = [];
  const derived: number[] = [];
  const unfinished: number[] = [];
  for (let row = 0; row < length; row++) {
    encoder.reserve();
    offsets[row] = encoder.length;
    const day = encoder.readInteger();
    session[row] = day;
    encoder.put(head);
    encoder.put(dateBytes(day));
    encoder.put(middle);
    for (const key of KEYS) {
      encoder.put(key);
      encoder.copyValue();
    }
    score[row] = 1;
    if (encoder.atEnd()) {
      encoder.at++;
      encoder.putLong(END_PLAIN);
      continue;
    }
    const [flagText, scoreText, finalText, derivedText] = encoder.readRest().split(':');
    if (derivedText !== undefined) derived.push(row);
    flags[row] = Number(flagText);
    score[row] = Number(scoreText);
    if (score[row] < VALIDATED_SCORE) flawed.push(row);
    if ((flags[row] & FLAG.unfinished) !== 0) unfinished.push(row);
    const isDerived = derivedText !== undefined;
    encoder.putLong(encodeEnd(score[row], flags[row], finalText === 'true', isDerived));
  }
  offsets[length] = encoder.length;
  const encoded = encoder.out.slice(0, Math.max(0, encoder.length - 1));
  if (encoder.out.length <= SCRATCH_BYTES_MAX) scratch.bytes = encoder.out;
  return {
    symbol,
    length,
    session,
    score,
    flags,
    encoded,
    offsets,
    flawed: Int32Array.from(flawed),
    derived: Int32Array.from(derived),
    unfinished: Int32Array.from(unfinished),
    bytes: encoded.length + length * 20 + 1024,
  };
}

function encodeEnd(score: number, flags: number, isFinal: boolean, isDerived = false): Uint8Array {
  return ascii(
    `,"quality_score":${score},"validated":${score >= VALIDATED_SCORE},` +
      `"gap_detected":${hasGap(flags)},"volume_anomaly":${hasVolumeAnomaly(flags)},` +
      `"is_final":${isFinal},"flags":${JSON.stringify(flagNames(flags))}` +
      `${isDerived ? ',"derived":true' : ''}},`,
  );
}

export function hasGap(flags: number): boolean {
  return (flags & FLAG.gap) !== 0;
}

export function hasVolumeAnomaly(flags: number): boolean {
  return (flags & (FLAG.volumeSpike | FLAG.volumeDrought)) !== 0;
}

const DATES = new Map<number, Uint8Array>();

/** 'YYYY-MM-DD' of a day. The same days recur in every symbol and are printed once. */
function dateBytes(day: number): Uint8Array {
  let bytes = DATES.get(day);
  if (bytes === undefined) {
    bytes = ascii(toDate(day));
    DATES.set(day, bytes);
  }
  return bytes;
}

interface ApiBar {
  time: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  trade_count: number | null;
  is_final: boolean;
}

/** Rows [first, end) of a block as columns, for what is computed from them. */
export function decodeBars(
  block: BarBlock,
  rows: readonly number[],
): { bars: BarColumns; isFinal: boolean[] } {
  const bars = makeBars(rows.length);
  const isFinal: boolean[] = [];
  if (rows.length === 0) return { bars, isFinal };
  const first = rows[0];
  const end = rows[rows.length - 1] + 1;
  const bytes = block.encoded.subarray(block.offsets[first], block.offsets[end] - 1);
  const parsed = JSON.parse(`[${new TextDecoder().decode(bytes)}]`) as ApiBar[];
  rows.forEach((row, i) => {
    const bar = parsed[row - first];
    bars.session[i] = block.session[row];
    bars.open[i] = bar.open;
    bars.high[i] = bar.high;
    bars.low[i] = bar.low;
    bars.close[i] = bar.close;
    bars.volume[i] = bar.volume;
    bars.vwap[i] = bar.vwap ?? Number.NaN;
    bars.tradeCount[i] = bar.trade_count ?? Number.NaN;
    isFinal.push(bar.is_final);
  });
  return { bars, isFinal };
}

/** A session as the contract writes it. */
export const toApiTime = (day: number) => `${toDate(day)}T00:00:00Z`;
