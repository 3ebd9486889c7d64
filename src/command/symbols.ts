import { InputError } from '../errors.ts';
import { parseSymbolList } from '../model/symbol-list.ts';
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
import {
  actor,
  lineageCommand,
  mapCommand,
  parseRenameDate,
  renameCommand,
  showCommand,
} from './symbol-lineage.ts';

export const symbolsCommand: Command = {
  name: 'symbols',
  summary: 'add, remove, list and import the symbols that are tracked',
  usage: `usage: marketd symbols add SYMBOL... [--timeframes 1d,1h,1m]   what to fill every night
       marketd symbols remove SYMBOL...      stop tracking; data stays
       marketd symbols list [--json]
       marketd symbols import FILE           one symbol a line, or a CSV with a column "symbol"
       marketd symbols import --listed       every active stock that the provider lists
       marketd symbols add SYMBOL... --from DATE   companies that have a symbol which others had
       marketd symbols rename OLD NEW --on DATE    the same company by another symbol since
       marketd symbols map FILE... [--split]       who had which symbol when, from LEAN's map files
       marketd symbols lineage SYMBOL... [--split] the same, asked of the provider; or --all
       marketd symbols show SYMBOL                 all that a symbol ever meant

--split moves what is held of days on which another company had the symbol to that company, or to
an instrument of its own; without it nothing is changed when there is any.

Symbols are case-sensitive, as exchanges spell them: AAPL, BRK.B, ABRpD.`,
  run: runSymbols,
};

async function runSymbols(args: readonly string[], context: CommandContext): Promise<number> {
  const [action, ...rest] = args;
  const options = {
    json: { type: 'boolean' },
    listed: { type: 'boolean' },
    timeframes: { type: 'string' },
    from: { type: 'string' },
    on: { type: 'string' },
    split: { type: 'boolean' },
    all: { type: 'boolean' },
  } as const;
  const { values, positionals } = parse(rest, options, true);
  const log = commandLog(context, true);
  if (!ACTIONS.includes(action ?? '')) {
    throw new InputError(`say what to do: symbols ${ACTIONS.join(', ')}`);
  }
  checkLineageArguments(action, positionals, values);
  if (action === 'add' || action === 'remove') {
    if (positionals.length === 0) throw new InputError(`name the symbols to ${action}`);
    for (const symbol of positionals) checkSymbol(symbol);
  }
  return withWarehouse(context, log, async (warehouse) => {
    await checkSchema(warehouse.database.read);
    if (action === 'add') {
      const from = values.from && parseRenameDate(values.from, 'from', Date.now());
      const code = await addSymbols(warehouse, positionals, context.terminal, from);
      const timeframes = values.timeframes?.split(',');
      if (timeframes) {
        await updateTimeframes(warehouse.database.write, positionals, timeframes, operator());
      }
      return code;
    }
    if (action === 'remove') return removeSymbols(warehouse, positionals, context.terminal);
    if (action === 'list') return listSymbols(warehouse, values.json === true, context.terminal);
    const { terminal } = context;
    const split = values.split === true;
    if (action === 'show') return showCommand(warehouse, positionals[0], terminal);
    if (action === 'map') return mapCommand(warehouse, context, positionals, split);
    if (action === 'lineage') {
      const all = values.all === true;
      return lineageCommand(warehouse, context, log, positionals, { all, split });
    }
    if (action === 'rename') {
      const on = parseRenameDate(values.on, 'on', Date.now());
      return renameCommand(warehouse, positionals, on, terminal);
    }
    if (values.listed) return importListed(warehouse, context, log);
    if (positionals.length !== 1) throw new InputError('name the file to import, or say --listed');
    const symbols = await readSymbols(positionals[0]);
    return addSymbols(warehouse, symbols, context.terminal);
  });
}

const ACTIONS = ['add', 'remove', 'list', 'import', 'rename', 'map', 'lineage', 'show'];

/** @throws InputError */
function checkLineageArguments(
  action: string,
  positionals: readonly string[],
  { on, all }: { on?: string; all?: boolean },
): void {
  if (action === 'rename') {
    if (positionals.length !== 2)
      throw new InputError('say both: symbols rename OLD NEW --on DATE');
    parseRenameDate(on, 'on', Date.now());
  }
  if (action === 'map' && positionals.length === 0) throw new InputError('name the map files');
  if (action === 'show' && positionals.length !== 1) throw new InputError('name one symbol');
  if (action === 'lineage') {
    if ((positionals.length === 0) === (all !== true)) {
      throw new InputError('name symbols, or say --all for every tracked one');
    }
    for (const symbol of positionals) checkSymbol(symbol);
  }
}

/** Who does it, for the audit log. */
const operator = () => ({ actor: actor(), atMs: Date.now() });

async function addSymbols(
  { database }: Warehouse,
  symbols: readonly string[],
  terminal: Terminal,
  from?: string,
) {
  const added = await upsertSymbols(database.write, symbols, {
    isTracked: true,
    ...(from !== undefined && { former: { from } }),
    by: operator(),
  });
  const known = new Set(symbols).size - added.length;
  terminal.out(`${added.length} added${known > 0 ? `, ${known} tracked already` : ''}`);
  return 0;
}

async function removeSymbols(
  { database }: Warehouse,
  symbols: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const removed = await deleteSymbols(database.write, symbols, operator());
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
  return addSymbols(warehouse, symbols, context.terminal, 'next');
}

/** @throws InputError that names the file. */
async function readSymbols(path: string): Promise<string[]> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new InputError(`there is no file ${path}`);
  try {
    return parseSymbolList(await file.text(), 'file');
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${path}, ${error.message}`);
  }
}
