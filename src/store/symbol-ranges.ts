import { errorMessage, InputError } from '../errors.ts';
import { type KnownInstrument, type Lineage, planLineages } from '../model/lineage.ts';
import { toDate, toDay } from '../model/session.ts';
import {
  describeRange,
  isHeld,
  isOverlapping,
  type SymbolRange,
  toRangeDate,
  toRangeDay,
} from '../model/symbol-range.ts';
import { insertAudit } from './audit.ts';
import {
  type AnySql,
  lockTransaction,
  type Sql,
  type Transaction,
  transactLocked,
} from './database.ts';
import { type MovedSpan, moveSpan } from './symbol-split.ts';
import { checkSymbol } from './symbols.ts';
import { notifyBars } from './upsert.ts';

/** Who a symbol was, and who says so: every change of it. */

/** A range with the instrument that the symbol meant in it. */
export interface HeldRange extends SymbolRange {
  instrumentId: number;
}

/** What is kept of a change by hand. */
export interface Change {
  /** 'cli root' */
  actor: string;
  /** Epoch ms. */
  nowMs: number;
}

interface RangeRow {
  instrument_id: number;
  symbol: string;
  valid_from: string;
  valid_to: string;
  source: string | null;
}

const toHeldRange = (row: RangeRow): HeldRange => ({
  instrumentId: row.instrument_id,
  symbol: row.symbol,
  startDay: toRangeDay(row.valid_from),
  endDay: toRangeDay(row.valid_to),
  source: row.source,
});

/** All that these symbols ever meant, by symbol and time. */
export async function selectSymbolRanges(
  sql: AnySql,
  symbols: readonly string[],
): Promise<HeldRange[]> {
  const rows = await sql<RangeRow[]>`
    select instrument_id, symbol, valid_from, valid_to, source from symbol_ranges
    where symbol = any(${[...symbols]}::text[])
    order by symbol collate "C", valid_from`;
  return rows.map(toHeldRange);
}

/** The symbols of instruments, by instrument and time. */
export async function selectInstrumentRanges(
  sql: AnySql,
  instrumentIds: readonly number[],
): Promise<HeldRange[]> {
  const rows = await sql<RangeRow[]>`
    select instrument_id, symbol, valid_from, valid_to, source from symbol_ranges
    where instrument_id = any(${[...instrumentIds]}::int[])
    order by instrument_id, valid_from`;
  return rows.map(toHeldRange);
}

/** "FB is META's 2012-05-18 to 2022-06-08 and FB's since 2025-06-10", for messages. */
export function describeHolders(symbol: string, ranges: readonly HeldRange[]): string {
  const parts = ranges.map((one) => `instrument ${one.instrumentId}'s ${describeRange(one)}`);
  return parts.length === 0 ? `nobody has had ${symbol}` : `${symbol} is ${parts.join(' and ')}`;
}

/** @throws InputError naming two ranges of one symbol, or of one instrument, that overlap. */
async function checkOverlaps(tx: Transaction, instrumentIds: readonly number[]): Promise<void> {
  const [row] = await tx<
    { symbol: string; other: string; a: number; b: number; first: string; last: string }[]
  >`
    select a.symbol, b.symbol as other, a.instrument_id as a, b.instrument_id as b,
           greatest(a.valid_from, b.valid_from) as first, least(a.valid_to, b.valid_to) as last
    from symbol_ranges a
    join symbol_ranges b
      on (b.symbol = a.symbol or b.instrument_id = a.instrument_id)
     and b.valid_from < a.valid_to and a.valid_from < b.valid_to
     and (b.symbol, b.valid_from) <> (a.symbol, a.valid_from)
    where a.instrument_id = any(${[...instrumentIds]}::int[])
    order by a.symbol collate "C", a.valid_from limit 1`;
  if (!row) return;
  const range = { startDay: toRangeDay(row.first), endDay: toRangeDay(row.last) };
  const when = describeRange(range);
  throw new InputError(
    row.a === row.b
      ? `instrument ${row.a} would have the symbols ${row.symbol} and ${row.other} at once: ${when}`
      : `${row.symbol} would be of instrument ${row.a} and of instrument ${row.b} at once: ${when}`,
  );
}

/** Puts ranges in place of those that instruments had, and forgets what was asked under them. */
async function replaceRanges(
  tx: Transaction,
  changes: ReadonlyMap<number, readonly SymbolRange[]>,
): Promise<void> {
  const ids = [...changes.keys()];
  const before = Map.groupBy(await selectInstrumentRanges(tx, ids), (one) => one.instrumentId);
  await tx`delete from symbol_ranges where instrument_id = any(${ids}::int[])`;
  const rows = [...changes].flatMap(([id, ranges]) => ranges.map((range) => ({ id, ...range })));
  try {
    await tx`
      insert into symbol_ranges (instrument_id, symbol, valid_from, valid_to, source)
      select * from unnest(${rows.map(({ id }) => id)}::int[],
        ${rows.map(({ symbol }) => symbol)}::text[],
        ${rows.map(({ startDay }) => toRangeDate(startDay))}::text[]::date[],
        ${rows.map(({ endDay }) => toRangeDate(endDay))}::text[]::date[],
        ${rows.map(({ source }) => source)}::text[])`;
  } catch (error) {
    // Two that begin or are open together: the other overlaps are found by checkOverlaps.
    if ((error as { code?: unknown }).code !== '23505') throw error;
    const { detail } = error as { detail?: string };
    throw new InputError(`two instruments would have one symbol: ${detail ?? errorMessage(error)}`);
  }
  await checkOverlaps(tx, ids);
  for (const [id, after] of changes) await forgetCoverage(tx, id, before.get(id) ?? [], after);
  // Why sessions have no bar is part of cached answers, and may be another reason now.
  await notifyBars(tx, ids);
  await tx`select pg_notify('marketd', 'symbols')`;
}

/** Who was asked by symbol: what came back is of whoever had it, and not what was imported. */
const ASKED_BY_SYMBOL = ['polygon', 'synthetic'];

/**
 * Where an instrument turns out to have had another symbol, what was asked under the wrong one is
 * asked again: bars that came back were another company's, and are restated. Of what was imported
 * only what is empty is asked for; splits and dividends are, whoever gave them.
 */
async function forgetCoverage(
  tx: Transaction,
  instrumentId: number,
  before: readonly SymbolRange[],
  after: readonly SymbolRange[],
): Promise<void> {
  for (const range of after) {
    const isSame = before.some(
      (one) =>
        one.symbol === range.symbol && one.startDay <= range.startDay && range.endDay <= one.endDay,
    );
    if (isSame) continue;
    await tx`
      delete from coverage
      where instrument_id = ${instrumentId}
        and (state <> 'complete' or dataset in ('splits', 'dividends')
             or provider = any(${ASKED_BY_SYMBOL}::text[]))
        and end_session > ${toRangeDate(range.startDay)}::text::date
        and start_session < ${toRangeDate(range.endDay)}::text::date`;
  }
}

// -------------------------------------------------------------------------- rename

/**
 * Says that from `on` (a session, at latest today) an instrument goes by another symbol; its
 * history stays with it. What was only reserved, with nothing held of it, makes room.
 * @returns the instrument.
 * @throws InputError when nobody has the old symbol then, or the new one is taken.
 */
export async function renameSymbol(
  write: Sql,
  { from, to, on }: { from: string; to: string; on: string },
  change: Change,
): Promise<number> {
  checkSymbol(from);
  checkSymbol(to);
  if (from === to) throw new InputError(`${from} is its own name: say another`);
  const day = toDay(on);
  return transactLocked(write, 'symbols', async (tx) => {
    const ranges = await selectSymbolRanges(tx, [from, to]);
    const old = ranges.find((one) => one.symbol === from && isHeld(one, day - 1));
    if (!old) {
      const holders = ranges.filter(({ symbol }) => symbol === from);
      throw new InputError(
        `nobody has ${from} on the day before ${on}: ${describeHolders(from, holders)}`,
      );
    }
    const { instrumentId } = old;
    const own = await selectInstrumentRanges(tx, [instrumentId]);
    const later = own.find(({ startDay }) => startDay >= day);
    if (later || old.endDay !== Infinity) {
      const what = later ? `it is ${later.symbol} from ${toRangeDate(later.startDay)} on` : '';
      throw new InputError(
        `${from} ends ${describeRange(old)} already${what && `, ${what}`}: nothing to rename`,
      );
    }
    const changes = new Map<number, SymbolRange[]>();
    const taken = ranges.filter((one) => one.symbol === to && one.endDay > day);
    for (const one of taken) {
      await makeRoom(tx, one, { from, to, on, day });
      const others = await selectInstrumentRanges(tx, [one.instrumentId]);
      changes.set(
        one.instrumentId,
        others.filter(({ symbol, startDay }) => symbol !== to || startDay !== one.startDay),
      );
    }
    const kept = own.map((one) => (one.startDay === old.startDay ? { ...one, endDay: day } : one));
    const fresh = { symbol: to, startDay: day, endDay: Infinity, source: 'operator' };
    changes.set(instrumentId, [...kept, fresh]);
    await replaceRanges(tx, changes);
    await takeOver(
      tx,
      taken.map((one) => one.instrumentId),
      instrumentId,
    );
    const entry = { actor: change.actor, action: 'symbol.rename', instrumentId };
    const target = `${from} is ${to} from ${on} on`;
    await insertAudit(tx, [{ ...entry, target, detail: { from, to, on } }], change.nowMs);
    return instrumentId;
  });
}

/** @throws InputError when the new symbol is another instrument's that holds anything. */
async function makeRoom(
  tx: Transaction,
  holder: HeldRange,
  { from, to, on, day }: { from: string; to: string; on: string; day: number },
): Promise<void> {
  const [known] = await selectKnown(tx, [holder.instrumentId]);
  if (known.lastDay === null) return;
  throw new InputError(
    `${to} is another instrument (${holder.instrumentId}), of which data is held ` +
      `(${toDate(known.firstDay ?? day)} to ${toDate(known.lastDay)}). If it is the same company ` +
      `fetched under its new symbol: marketd symbols rename ${to} ${to}.OLD --on ${on}, then ` +
      `this again, then marketd backfill ${to}. If it is another company, it is ${from} that ` +
      `did not become ${to} on ${on}`,
    'to',
  );
}

/** Instruments that lose their symbol are not filled any more; who takes it over is instead. */
async function takeOver(tx: Transaction, gone: readonly number[], successor: number) {
  if (gone.length === 0) return;
  await tx`
    with gone as (
      update instruments i set is_tracked = false
      where i.instrument_id = any(${[...gone]}::int[]) and i.is_tracked
        and not exists (select from symbol_ranges r where r.instrument_id = i.instrument_id)
      returning i.timeframes)
    update instruments i
    set is_tracked = true,
        timeframes = (select array(select distinct t from unnest(i.timeframes || g.timeframes) t))
    from (select timeframes from gone limit 1) g where i.instrument_id = ${successor}`;
}

// ------------------------------------------------------------------------- lineages

export interface LineageReport {
  /** The instrument of each lineage, in the order given. */
  instrumentIds: number[];
  /** Whether anything is otherwise than before. */
  isChanged: boolean;
  /** Instruments that were made, for companies that were not known before. */
  added: number;
  /** What was moved to the company that had the symbol then. */
  moved: MovedSpan[];
}

/**
 * Stores the symbols that instruments had, all or nothing. Those that are not known yet are made,
 * and not tracked.
 * @param options.split moves what is held under a symbol of days on which another company had it
 *   to that company; without it such data is refused.
 * @throws InputError when lineages contradict each other or what is known.
 */
export function upsertLineages(
  write: Sql,
  lineages: readonly Lineage[],
  options: Change & { split: boolean; action: string },
): Promise<LineageReport> {
  return transactLocked(write, 'symbols', async (tx) => {
    if (options.split) {
      await lockTransaction(tx, 'ingest');
      await lockTransaction(tx, 'trades');
    }
    const known = await selectConcerned(tx, lineages);
    const plan = planLineages(known, lineages);
    const ids = await insertInstruments(tx, plan.ranges);
    const idOf = (id: number) => ids.get(id) ?? id;
    const changes = new Map([...plan.ranges].map(([id, ranges]) => [idOf(id), ranges]));
    const before = new Map(known.map((one) => [one.instrumentId, one.ranges]));
    for (const [id, ranges] of changes) {
      if (isSameRanges(before.get(id) ?? [], ranges)) changes.delete(id);
    }
    const report: LineageReport = {
      ...{ instrumentIds: plan.owners.map(idOf), isChanged: changes.size > 0 },
      ...{ added: ids.size, moved: [] },
    };
    if (changes.size === 0) return report;
    await replaceRanges(tx, changes);
    for (const { instrumentId, successor } of plan.dissolved) {
      await takeOver(tx, [instrumentId], idOf(successor));
    }
    for (const span of plan.misplaced) {
      report.moved.push(...(await moveSpan(tx, span, options.split)));
    }
    const entries = [...changes].map(([instrumentId, ranges]) => {
      const symbols = ranges.map((one) => `${one.symbol} ${describeRange(one)}`);
      const target = symbols.join(', ') || 'no symbol';
      const { actor, action } = options;
      return { actor, action, instrumentId, target, detail: { symbols, moved: report.moved } };
    });
    await insertAudit(tx, entries, options.nowMs);
    return report;
  });
}

/** Every instrument that has, in time, one of the symbols, or is named; with all its ranges. */
async function selectConcerned(
  tx: Transaction,
  lineages: readonly Lineage[],
): Promise<KnownInstrument[]> {
  const wanted = lineages.flatMap(({ ranges }) => ranges);
  const held = await selectSymbolRanges(tx, [...new Set(wanted.map(({ symbol }) => symbol))]);
  const met = held.filter((one) =>
    wanted.some((range) => range.symbol === one.symbol && isOverlapping(range, one)),
  );
  const named = lineages.flatMap(({ instrumentId }) => instrumentId ?? []);
  return selectKnown(tx, [...new Set([...met.map((one) => one.instrumentId), ...named])]);
}

async function selectKnown(
  tx: Transaction,
  instrumentIds: readonly number[],
): Promise<KnownInstrument[]> {
  const ids = [...instrumentIds];
  const rows = await tx<
    { id: number; is_tracked: boolean; first: string | null; last: string | null }[]
  >`
    select i.instrument_id as id, i.is_tracked,
           min(s.first_session) as first, max(s.latest_session) as last
    from instruments i
    left join instrument_status s on s.instrument_id = i.instrument_id and s.records > 0
    where i.instrument_id = any(${ids}::int[])
    group by i.instrument_id order by i.instrument_id`;
  const ranges = Map.groupBy(await selectInstrumentRanges(tx, ids), (one) => one.instrumentId);
  const day = (date: string | null) => (date === null ? null : toDay(date));
  return rows.map((row) => ({
    instrumentId: row.id,
    ranges: (ranges.get(row.id) ?? []).map(({ instrumentId: _, ...range }) => range),
    isTracked: row.is_tracked,
    firstDay: day(row.first),
    lastDay: day(row.last),
  }));
}

/** Makes the instruments that a plan numbered below zero. @returns their numbers by those. */
async function insertInstruments(
  tx: Transaction,
  ranges: ReadonlyMap<number, readonly SymbolRange[]>,
): Promise<Map<number, number>> {
  const made = new Map<number, number>();
  for (const id of ranges.keys()) {
    if (id >= 0) continue;
    const [row] = await tx<{ id: number }[]>`
      insert into instruments (is_tracked) values (false) returning instrument_id as id`;
    made.set(id, row.id);
  }
  return made;
}

function isSameRanges(a: readonly SymbolRange[], b: readonly SymbolRange[]): boolean {
  const text = ({ symbol, startDay, endDay, source }: SymbolRange) =>
    [symbol, startDay, endDay, source].join();
  return a.map(text).join(';') === b.map(text).join(';');
}

/** Keeps that an instrument's symbols were asked for, and its composite FIGI when it is known. */
export async function updateLineageAsked(
  sql: AnySql,
  instrumentId: number,
  figi: string | null,
  nowMs: number,
): Promise<void> {
  await sql`
    update instruments
    set lineage_at = ${new Date(nowMs)}, figi = coalesce(${figi}, figi)
    where instrument_id = ${instrumentId}`;
}
