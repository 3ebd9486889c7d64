import { InputError } from '../errors.ts';
import type { BackfillContext } from '../ingest/backfill.ts';
import { importFiles } from '../ingest/import.ts';
import { backfillContext } from '../serve.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol } from '../store/symbols.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';

export const importCommand: Command = {
  name: 'import',
  summary: 'load bars from CSV files, also gzipped',
  usage: `usage: marketd import FILE... [OPTION...]

Recognizes the columns by their header: symbol, date, open, high, low, close, volume and, when there
are, vwap and transactions; among others the flat files day_aggs_v1. Raw prices are expected. A file
that is torn or malformed changes nothing.

  --symbol SYMBOL  for files without a symbol column (default: from the file's name)
  --columns LIST   for files without a header: date,open,high,low,close,volume
  --provider NAME  stored beside every bar (default: file)
  --json           print JSON`,
  run: runImport,
};

async function runImport(args: readonly string[], context: CommandContext): Promise<number> {
  const options = {
    symbol: { type: 'string' },
    columns: { type: 'string' },
    provider: { type: 'string', default: 'file' },
    json: { type: 'boolean' },
  } as const;
  const { values, positionals } = parse(args, options, true);
  if (positionals.length === 0) throw new InputError('name the files to import');
  if (values.symbol !== undefined) checkSymbol(values.symbol);
  const { config, terminal } = context;
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    await checkSchema(database.read);
    const calendar = await loadCalendar(database.read);
    const nobody = { name: values.provider } as BackfillContext['provider'];
    const backfill = backfillContext(config, database, nobody, calendar, log);
    const report = await importFiles(backfill, positionals, {
      provider: values.provider,
      symbol: values.symbol,
      columns: values.columns,
    });
    if (values.json) {
      terminal.out(JSON.stringify(report, null, 2));
      return 0;
    }
    const { rows, symbols, inserted, changed, unchanged, rejected, added } = report;
    terminal.out(
      `${group(rows)} rows of ${group(symbols)} symbols: ${group(inserted)} bars new, ` +
        `${group(changed)} changed, ${group(unchanged)} unchanged, ${group(rejected)} rejected`,
    );
    if (rejected > 0) terminal.out('the rejected rows and why: select * from rejected_rows');
    if (added.length > 0) {
      const some = added.slice(0, 5).join(' ');
      terminal.out(
        `${group(added.length)} symbols are new (${some}${added.length > 5 ? ' ...' : ''}); to ` +
          'have them filled every night: marketd symbols add SYMBOL',
      );
    }
    return 0;
  });
}
