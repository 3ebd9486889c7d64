import type { Config } from '../config.ts';
import { yearsAgo } from '../model/session.ts';
import { serve } from '../serve.ts';
import { checkSchema, migrate } from '../store/migrate.ts';
import { hasInstruments, updateTimeframes, upsertSymbols } from '../store/symbols.ts';
import { makeProgress } from '../terminal.ts';
import type { Warehouse } from '../warehouse.ts';
import { describeReport } from './backfill.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  parse,
  stopSignal,
  withWarehouse,
} from './context.ts';

export const serveCommand: Command = {
  name: 'serve',
  summary: 'serve the API and the dashboard, and fill the history every night',
  usage: `usage: marketd serve [--migrate]

Serves on API_HOST:API_PORT (127.0.0.1:8000). Without DATABASE_URL it runs a PostgreSQL of its own
in MARKETD_DATA_DIR, and without POLYGON_API_KEY fills it with synthetic data, labelled as such.

  --migrate   bring the database's schema up to date first`,
  run: runServe,
};

async function runServe(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parse(args, { migrate: { type: 'boolean' } });
  const { config, terminal } = context;
  const log = commandLog(context, false);
  const stopping = stopSignal();
  return withWarehouse(context, log, async (warehouse) => {
    const { database, isDemo, isEmbedded } = warehouse;
    if (values.migrate) await migrate(database.write);
    await checkSchema(database.read);
    await addDefaultSymbols(warehouse, config);
    const progress = makeProgress(terminal);
    const server = await serve({
      config,
      database,
      isDemo,
      dataDir: warehouse.dataDir,
      log,
      onProgress: (value) => progress.show(value),
      onReport: (report) => {
        progress.end();
        log('INFO', describeReport(report));
      },
    });
    if (isEmbedded) log('INFO', `embedded PostgreSQL, data in ${warehouse.dataDir}`);
    if (isDemo) log('WARNING', 'demo: the data is SYNTHETIC; set POLYGON_API_KEY for real data');
    log('INFO', `serving on ${server.url}`);
    await Promise.race([server.ready, stopping]);
    if (isEmbedded) {
      terminal.out(`
  dashboard   ${server.url}/dashboard
  API docs    ${server.url}/docs
  example     ${server.url}${exampleQuery()}
  live        ${server.url}/api/v1/stream?symbols=AAPL
${isDemo ? '\n  The data is SYNTHETIC. Ctrl+C stops; the data stays.' : '\n  Ctrl+C stops.'}
`);
    }
    const reason = await stopping;
    log('INFO', `${reason}: finishing what is under way`);
    await server.stop();
    return 0;
  });
}

/** The last year of a symbol that every new warehouse has. */
function exampleQuery(): string {
  const now = Date.now();
  return `/api/v1/historical/AAPL?start=${yearsAgo(1, now)}&end=${yearsAgo(0, now)}`;
}

const DEMO_INTRADAY_SYMBOLS = ['AAPL', 'SPY'];

async function addDefaultSymbols({ database, isDemo }: Warehouse, config: Config): Promise<void> {
  if (await hasInstruments(database.read)) return;
  await upsertSymbols(database.write, config.SYMBOLS);
  // A demonstration shows what can be asked below a day; of two symbols it takes a second to make.
  if (isDemo) await updateTimeframes(database.write, DEMO_INTRADAY_SYMBOLS, ['1m']);
}
