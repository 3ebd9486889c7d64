import { errorMessage, InputError } from '../errors.ts';
import { selectSymbolDetails } from '../query/symbols.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol, deleteSymbols, updateTimeframes, upsertSymbols } from '../store/symbols.ts';
import type { Log } from '../telemetry.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import type { Warehouse } from '../warehouse.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  makeContext,
  parse,
  withWarehouse,
} from './context.ts';

export const symbolsCommand: Command = {
  name: 'symbols',
  summary: 'add, remove, list and import the symbols that are tracked',
  usage: `usage: marketd symbols add SYMBOL... [--timeframes 1d,1h,1m]   what to fill every night
       marketd symbols remove SYMBOL...      stop tracking; data stays
       marketd symbols list [--json]
       marketd symbols import FILE           one symbol a line, or a CSV with a column "symbol"
       marketd symbols import --listed       every active stock that the provider lists

Symbols are case-sensitive, as exchanges spell them: AAPL, BRK.B, ABRpD.`,
  run: runSymbols,
};

async function runSymbols(args: readonly string[], context: CommandContext): Promise<number> {
  const [action, ...rest] = args;
  const options = {
    json: { type: 'boolean' },
    listed: { type: 'boolean' },
    timeframes: { type: 'string' },
  } as const;
  const { values, positionals } = parse(rest, options, true);
  const log = commandLog(context, true);
  if (!['add', 'remove', 'list', 'import'].includes(action ?? '')) {
    throw new InputError(`say what to do: symbols add, remove, list or import`);
  }
  if (action === 'add' || action === 'remove') {
    if (positionals.length === 0) throw new InputError(`name the symbols to ${action}`);
    for (const symbol of positionals) checkSymbol(symbol);
  }
  return withWarehouse(context, log, async (warehouse) => {
    await checkSchema(warehouse.database.read);
    if (action === 'add') {
      const code = await addSymbols(warehouse, positionals, context.terminal);
      const timeframes = values.timeframes?.split(',');
      if (timeframes) await updateTimeframes(warehouse.database.write, positionals, timeframes);
      return code;
    }
    if (action === 'remove') return removeSymbols(warehouse, positionals, context.terminal);
    if (action === 'list') return listSymbols(warehouse, values.json === true, context.terminal);
    if (values.listed) return importListed(warehouse, context, log);
    if (positionals.length !== 1) throw new InputError('name the file to import, or say --listed');
    const symbols = await readSymbols(positionals[0]);
    return addSymbols(warehouse, symbols, context.terminal);
  });
}

async function addSymbols({ database }: Warehouse, symbols: readonly string[], terminal: Terminal) {
  const added = await upsertSymbols(database.write, symbols);
  const known = new Set(symbols).size - added.length;
  terminal.out(`${added.length} added${known > 0 ? `, ${known} tracked already` : ''}`);
  return 0;
}

async function removeSymbols(
  { database }: Warehouse,
  symbols: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const removed = await deleteSymbols(database.write, symbols);
  const unknown = symbols.filter((symbol) => !removed.includes(symbol));
  terminal.out(`${removed.length} removed; their data stays`);
  if (unknown.length === 0) return 0;
  throw new InputError(`not tracked: ${unknown.join(', ')}`);
}

async function listSymbols({ database }: Warehouse, asJson: boolean, terminal: Terminal) {
  const details = await selectSymbolDetails(database.read);
  if (asJson) {
    terminal.out(JSON.stringify(details, null, 2));
    return 0;
  }
  if (details.length === 0) {
    terminal.out('no symbols yet: marketd symbols add AAPL');
    return 0;
  }
  const header = ['symbol', 'name', 'records', 'valid %', 'first', 'latest', 'tracked'];
  const rows = details.map((detail) => [
    detail.symbol,
    (detail.name ?? '').slice(0, 32),
    detail.records,
    detail.validation_rate_pct,
    detail.start_date ?? '-',
    detail.end_date ?? '-',
    detail.tracked ? 'yes' : 'no',
  ]);
  terminal.out(formatTable(header, rows));
  return 0;
}

async function importListed(warehouse: Warehouse, context: CommandContext, log: Log) {
  const { provider } = await makeContext(warehouse, context.config, log);
  const symbols: string[] = [];
  for await (const page of provider.fetchSymbols()) {
    symbols.push(...page.map((listed) => listed.symbol));
  }
  return addSymbols(warehouse, symbols, context.terminal);
}

/** Symbols of a text file: its column "symbol" (or "ticker"), else the first one. */
async function readSymbols(path: string): Promise<string[]> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new InputError(`there is no file ${path}`);
  const lines = (await file.text())
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const header = lines[0]?.toLowerCase().split(',') ?? [];
  const column = header.findIndex((name) => name === 'symbol' || name === 'ticker');
  const rows = column >= 0 ? lines.slice(1) : lines;
  const symbols = rows.map((line) => line.split(',')[Math.max(0, column)].trim());
  if (symbols.length === 0) throw new InputError(`${path} names no symbol`);
  symbols.forEach((symbol, i) => {
    try {
      checkSymbol(symbol);
    } catch (error) {
      throw new InputError(`${path}, symbol ${i + 1}: ${errorMessage(error)}`);
    }
  });
  return symbols;
}
