import type { Config } from './config.ts';
import { errorMessage } from './errors.ts';
import { toDate, toDay } from './model/session.ts';
import { selectServerFacts, selectWarehouseStatus } from './query/status.ts';
import { loadCalendar } from './store/calendar.ts';
import { checkSchema, MIGRATIONS, selectEdition } from './store/migrate.ts';
import type { Warehouse } from './warehouse.ts';

export interface Finding {
  check: string;
  state: 'ok' | 'warning' | 'problem';
  /** What was found, and for what is not ok what mends it. */
  message: string;
}

const ok = (check: string, message: string): Finding => ({ check, state: 'ok', message });
const warning = (check: string, message: string): Finding => ({ check, state: 'warning', message });
const problem = (check: string, message: string): Finding => ({ check, state: 'problem', message });

/** Sessions that may be missing at the end before it is worth a warning: a night and a day. */
const STALE_SESSIONS = 2;

/** What of a warehouse is looked at. */
export type Patient = Pick<Warehouse, 'database' | 'isEmbedded' | 'isDemo' | 'dataDir'>;

/** Looks at everything the warehouse needs; asks no provider. */
export async function diagnose(warehouse: Patient, config: Config): Promise<Finding[]> {
  const sql = warehouse.database.read;
  const findings: Finding[] = [];
  const server = await selectServerFacts(sql);
  const kind = warehouse.isEmbedded ? `embedded, in ${warehouse.dataDir}` : 'from DATABASE_URL';
  findings.push(ok('database', `PostgreSQL ${server.version} (${kind})`));
  if (server.isReplica) {
    findings.push(problem('database', 'it is a read-only replica: use the primary'));
  }
  const skewSeconds = Math.abs(Date.now() / 1000 - server.clockSeconds);
  findings.push(
    skewSeconds < 5
      ? ok('clock', 'agrees with the database')
      : warning('clock', `${Math.round(skewSeconds)} s off the database's: set up NTP on both`),
  );
  findings.push(await diagnoseEdition(warehouse, server.hasTimescale));
  try {
    await checkSchema(sql);
    findings.push(ok('schema', `version ${MIGRATIONS.at(-1)?.version}`));
  } catch (error) {
    findings.push(problem('schema', errorMessage(error)));
    return findings;
  }
  findings.push(diagnoseProvider(warehouse, config));
  findings.push(...(await diagnoseData(warehouse, config)));
  return findings;
}

async function diagnoseEdition({ database }: Patient, hasTimescale: boolean): Promise<Finding> {
  const edition = await selectEdition(database.read);
  if (edition !== 'plain') return ok('edition', edition);
  if (!hasTimescale) return ok('edition', 'plain (TimescaleDB is not installed)');
  return warning(
    'edition',
    'plain, although TimescaleDB is installed: put it into shared_preload_libraries, restart ' +
      'PostgreSQL and run `marketd migrate`',
  );
}

function diagnoseProvider(warehouse: Patient, config: Config): Finding {
  if (config.POLYGON_API_KEY !== undefined) {
    const perMinute = config.POLYGON_REQUESTS_PER_MINUTE;
    return ok('provider', `polygon at ${config.POLYGON_BASE_URL}, ${perMinute} requests a minute`);
  }
  if (warehouse.isDemo) {
    return warning('provider', 'synthetic data (demo): set POLYGON_API_KEY for the real thing');
  }
  return problem('provider', 'none: set POLYGON_API_KEY (or POLYGON_API_KEY_FILE)');
}

async function diagnoseData({ database }: Patient, config: Config): Promise<Finding[]> {
  const calendar = await loadCalendar(database.read);
  const status = await selectWarehouseStatus(database.read);
  const findings = [ok('calendar', `XNYS until ${toDate(calendar.lastDay)}`)];
  if (status.symbolsTracked === 0) {
    findings.push(warning('symbols', 'none is tracked: run `marketd symbols add AAPL`'));
  } else findings.push(ok('symbols', `${status.symbolsTracked} tracked`));
  if (status.latestSession === null) {
    findings.push(warning('data', 'no bars yet: run `marketd backfill --all`'));
    return findings;
  }
  const published = calendar.latestSession(Date.now(), config.PUBLISH_DELAY_MINUTES * 60_000);
  const behind =
    calendar.sessionsBefore(published) - calendar.sessionsBefore(toDay(status.latestSession));
  const bars = `${status.records.toLocaleString('en-US')} bars to ${status.latestSession}`;
  findings.push(
    behind < STALE_SESSIONS
      ? ok('data', bars)
      : warning('data', `${bars}, ${behind} sessions behind: run \`marketd backfill --all\``),
  );
  return findings;
}
