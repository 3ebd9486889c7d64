import { parseArgs } from 'node:util';
import type { Config } from '../config.ts';
import { errorMessage, InputError } from '../errors.ts';
import type { BackfillContext } from '../ingest/backfill.ts';
import { toDay } from '../model/session.ts';
import { backfillContext, makeProvider } from '../serve.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { type Log, makeLog } from '../telemetry.ts';
import type { Terminal } from '../terminal.ts';
import { openWarehouse, type Warehouse } from '../warehouse.ts';

export interface CommandContext {
  config: Config;
  terminal: Terminal;
}

export interface Command {
  name: string;
  summary: string;
  usage: string;
  /** @returns the exit code. */
  run(args: readonly string[], context: CommandContext): Promise<number>;
}

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>;

/** @throws InputError for an unknown option or one without its value. */
export function parse<T extends Options>(
  args: readonly string[],
  options: T,
  allowPositionals = false,
) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals, strict: true });
  } catch (error) {
    throw new InputError(errorMessage(error).replace(/\. To specify a positional.*$/s, ''));
  }
}

export function commandLog({ config, terminal }: CommandContext, isQuiet: boolean): Log {
  const secrets = [config.POLYGON_API_KEY, password(config.DATABASE_URL)];
  return makeLog({
    level: isQuiet && config.LOG_LEVEL === 'INFO' ? 'WARNING' : config.LOG_LEVEL,
    secrets: secrets.filter((secret) => secret !== undefined),
    write: terminal.err,
    isJournal: config.JOURNAL_STREAM !== undefined,
  });
}

function password(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined;
  return decodeURIComponent(new URL(url).password) || undefined;
}

/** Opens the warehouse for the time of a command. */
export async function withWarehouse<T>(
  context: CommandContext,
  log: Log,
  body: (warehouse: Warehouse) => Promise<T>,
): Promise<T> {
  const warehouse = await openWarehouse(context.config, log);
  try {
    return await body(warehouse);
  } finally {
    await warehouse.close();
  }
}

/** Resolves with the name of the first signal that asks to stop. A second one ends at once. */
export function stopSignal(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let isStopping = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1);
      isStopping = true;
      resolve(signal);
    });
  }
  return promise;
}

/** Aborted by the first signal that asks to stop; the reason names it. */
export function abortOnSignal(): AbortSignal {
  const abort = new AbortController();
  void stopSignal().then((signal) => abort.abort(new Error(`stopped by ${signal}`)));
  return abort.signal;
}

/** A date that an option names. @throws InputError */
export function checkDate(text: string, name: string): string {
  if (!Number.isNaN(toDay(text))) return text;
  throw new InputError(`--${name} must be a date that exists, YYYY-MM-DD, not ${text}`);
}

/** What a backfill works with; asks for a provider. @throws InputError when there is none. */
export async function makeContext(
  warehouse: Warehouse,
  config: Config,
  log: Log,
): Promise<BackfillContext> {
  const { database, isDemo } = warehouse;
  await checkSchema(database.read);
  const calendar = await loadCalendar(database.read);
  const provider = makeProvider(config, calendar, isDemo, log);
  if (!provider) {
    throw new InputError('no provider: set POLYGON_API_KEY (or POLYGON_API_KEY_FILE)');
  }
  return backfillContext(config, database, provider, calendar, log);
}

/** 1234567 -> 1,234,567 */
export const group = (value: number) => value.toLocaleString('en-US');
