import { userInfo } from 'node:os';
import { InputError, ProviderError } from '../errors.ts';
import { ingestBars } from '../ingest/ingest.ts';
import { refreshLineage } from '../ingest/lineage.ts';
import { makeBars } from '../model/bar.ts';
import { newYorkDay, toDate, toDay } from '../model/session.ts';
import { describeRange } from '../model/symbol-range.ts';
import { parseMapFile } from '../providers/map-file.ts';
import { type Holding, SymbolDirectory, selectInstrument } from '../query/symbols.ts';
import { qualityThresholds } from '../serve.ts';
import { loadCalendar } from '../store/calendar.ts';
import { type LineageReport, renameSymbol, upsertLineages } from '../store/symbol-ranges.ts';
import { checkSymbol, type Instrument, selectInstruments } from '../store/symbols.ts';
import type { Log } from '../telemetry.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import type { Warehouse } from '../warehouse.ts';
import { type CommandContext, checkDate, makeContext } from './context.ts';

/** What `marketd symbols` does about who a symbol is and was. */

/** Who does something by hand at a terminal, for the audit log. */
export const actor = () => `cli ${userInfo().username}`;

/** A date of an option, at latest today. @throws InputError */
export function parseRenameDate(text: string | undefined, name: string, nowMs: number): string {
  if (text === undefined) throw new InputError(`say when: --${name} YYYY-MM-DD`);
  if (toDay(checkDate(text, name)) <= newYorkDay(nowMs)) return text;
  throw new InputError(`--${name} (${text}) lies in the future: say it when it is so`);
}

export async function renameCommand(
  { database }: Warehouse,
  [from, to]: readonly string[],
  on: string,
  terminal: Terminal,
): Promise<number> {
  const change = { actor: actor(), nowMs: Date.now() };
  await renameSymbol(database.write, { from, to, on }, change);
  terminal.out(`${from} is ${to} from ${on} on; its history stays with it`);
  return 0;
}

export async function mapCommand(
  warehouse: Warehouse,
  context: CommandContext,
  paths: readonly string[],
  split: boolean,
): Promise<number> {
  const lineages = [];
  for (const path of paths) {
    const file = Bun.file(path);
    if (!(await file.exists())) throw new InputError(`there is no file ${path}`);
    lineages.push(parseMapFile(path, await file.text()));
  }
  const options = { actor: actor(), nowMs: Date.now(), split, action: 'symbol.map' };
  const report = await upsertLineages(warehouse.database.write, lineages, options);
  await rescoreMoved(warehouse, context, report);
  const { out } = context.terminal;
  for (const { name, ranges } of lineages) {
    out(`${name}  ${ranges.map((one) => `${one.symbol} ${describeRange(one)}`).join(', ')}`);
  }
  const were = report.isChanged ? `${report.added} were not known before` : 'nothing is new';
  out(`${lineages.length} instruments; ${were}`);
  describeMoved(report, out);
  return 0;
}

function describeMoved({ moved }: LineageReport, out: (text: string) => void): void {
  for (const { symbol, start, end, from, to } of moved) {
    out(`${symbol} ${start} to ${end}: moved from instrument ${from} to ${to}`);
  }
}

/** What stood before and after the moved bars is other than it was: they are scored anew. */
async function rescoreMoved(
  { database }: Warehouse,
  { config }: CommandContext,
  { moved }: LineageReport,
): Promise<void> {
  if (moved.length === 0) return;
  const calendar = await loadCalendar(database.read);
  const days = new Map<number, number[]>();
  for (const { from, to, start, end } of moved) {
    days.set(from, [...(days.get(from) ?? []), toDay(start), toDay(end) + 1]);
    days.set(to, [...(days.get(to) ?? []), toDay(start), toDay(end) + 1]);
  }
  const items = [...days].map(([instrumentId, rescore]) => ({
    ...{ instrumentId, symbol: String(instrumentId), bars: makeBars(0), rejected: [] },
    ...{ listedOn: null, rescore },
  }));
  await ingestBars(database.write, items, {
    provider: 'split',
    isSynthetic: false,
    receivedAt: Date.now(),
    calendar,
    thresholds: qualityThresholds(config),
    settledBefore: Number.NEGATIVE_INFINITY,
  });
}

/** How long an answer about earlier symbols counts for `--all`. */
const LINEAGE_REFRESH_MS = 30 * 24 * 3_600_000;
/** So many symbols in a row that fail mean that the provider is away, not the symbols wrong. */
const FAILURES_IN_A_ROW_MAX = 5;

export async function lineageCommand(
  warehouse: Warehouse,
  context: CommandContext,
  log: Log,
  symbols: readonly string[],
  { all, split }: { all: boolean; split: boolean },
): Promise<number> {
  const { terminal, config } = context;
  const backfill = await makeContext(warehouse, config, log);
  const { provider, now } = backfill;
  const askedBefore = all ? new Date(now() - LINEAGE_REFRESH_MS) : undefined;
  const instruments = await selectInstruments(warehouse.database.read, {
    symbols: all ? undefined : symbols,
    provider: provider.name,
    isCurrent: true,
    lineageBefore: askedBefore,
  });
  const found = new Set(instruments.map(({ symbol }) => symbol));
  const unknown = symbols.filter((symbol) => !found.has(symbol));
  if (unknown.length > 0) throw new InputError(`nobody has now: ${unknown.join(', ')}`);
  const failures: string[] = [];
  let isVendor = false;
  let inARow = 0;
  for (const instrument of instruments) {
    try {
      await askLineage(warehouse, context, backfill, instrument, split);
      inARow = 0;
    } catch (error) {
      if (error instanceof ProviderError && error.kind === 'unauthorized') throw error;
      if (!(error instanceof ProviderError || error instanceof InputError)) throw error;
      isVendor ||= error instanceof ProviderError;
      inARow = error instanceof ProviderError ? inARow + 1 : 0;
      if (inARow >= FAILURES_IN_A_ROW_MAX) {
        const message = `${inARow} failures in a row, the last: ${error.message}`;
        throw new ProviderError(message, (error as ProviderError).kind);
      }
      failures.push(`${instrument.symbol}: ${error.message}`);
    }
  }
  terminal.out(`${instruments.length} asked for, ${failures.length} failed`);
  for (const failure of failures) terminal.err(`failed: ${failure}\n`);
  if (failures.length === 0) return 0;
  return isVendor ? 3 : 2;
}

async function askLineage(
  warehouse: Warehouse,
  context: CommandContext,
  backfill: Awaited<ReturnType<typeof makeContext>>,
  instrument: Instrument,
  split: boolean,
): Promise<void> {
  const { out } = context.terminal;
  const { symbol, lineage, report } = await refreshLineage(backfill, instrument, {
    actor: actor(),
    split,
  });
  if (!lineage || !report) {
    out(`${symbol}: ${backfill.provider.name} knows of no change`);
    return;
  }
  out(
    `${symbol}: ${lineage.ranges.map((one) => `${one.symbol} ${describeRange(one)}`).join(', ')}`,
  );
  describeMoved(report, out);
  await rescoreMoved(warehouse, context, report);
}

export async function showCommand(
  { database }: Warehouse,
  text: string,
  terminal: Terminal,
): Promise<number> {
  const directory = new SymbolDirectory(database.read);
  const meanings = await directory.meanings(checkSymbol(text));
  if (meanings.length === 0) throw new InputError(`there is no symbol ${text} here`);
  const ids = [...new Set(meanings.map(({ instrumentId }) => instrumentId))];
  for (const id of ids) {
    const detail = await selectInstrument(database.read, id);
    const ranges = await directory.symbolsOf(id);
    const name = detail.name ?? 'no name is known';
    terminal.out(`instrument ${id}: ${name}${detail.isTracked ? ', tracked' : ''}`);
    terminal.out(formatTable(['symbol', 'from', 'to', 'source'], ranges.map(toRow)));
    for (const held of detail.held) {
      const { timeframe, records, firstSession, latestSession } = held;
      terminal.out(`${timeframe}: ${records} from ${firstSession} to ${latestSession}`);
    }
  }
  return 0;
}

function toRow({ symbol, startDay, endDay, source }: Holding): string[] {
  const date = (day: number) => (Number.isFinite(day) ? toDate(day) : '-');
  return [symbol, date(startDay), date(endDay - 1), source ?? 'assumed'];
}
