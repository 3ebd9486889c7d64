import { homedir } from 'node:os';
import type { Config } from './config.ts';
import { InputError } from './errors.ts';
import { type Database, openDatabase, pingDatabase } from './store/database.ts';
import { defaultDataDir, type EmbeddedServer, startEmbedded } from './store/embedded.ts';
import { migrate } from './store/migrate.ts';
import type { Log } from './telemetry.ts';

/** The database a command works on, and how to let go of it. */
export interface Warehouse {
  database: Database;
  /** True when no DATABASE_URL is set: a PostgreSQL of our own, in a private folder. */
  isEmbedded: boolean;
  /** True when it holds made-up data: embedded, and no key to ask for real data. */
  isDemo: boolean;
  dataDir: string | undefined;
  close(): Promise<void>;
}

/**
 * Opens the database of the configuration. Without DATABASE_URL it starts (or joins) the embedded
 * PostgreSQL and migrates it; real and made-up data are kept in databases of their own there.
 * @throws DatabaseError when it cannot be reached.
 */
export async function openWarehouse(config: Config, log: Log): Promise<Warehouse> {
  if (config.DATABASE_URL !== undefined) {
    const database = openDatabase(config.DATABASE_URL, config.DATABASE_CONNECTIONS);
    try {
      await pingDatabase(database.read);
    } catch (error) {
      await database.close();
      throw error;
    }
    const close = () => database.close();
    return { database, isEmbedded: false, isDemo: false, dataDir: undefined, close };
  }
  const isDemo = config.POLYGON_API_KEY === undefined;
  const server = await startOwnServer(config, isDemo, log);
  const database = openDatabase(server.url, config.DATABASE_CONNECTIONS);
  const close = async () => {
    await database.close();
    await server.stop();
  };
  try {
    await pingDatabase(database.read);
    await migrate(database.write);
  } catch (error) {
    await close();
    throw error;
  }
  return { database, isEmbedded: true, isDemo, dataDir: server.dataDir, close };
}

async function startOwnServer(config: Config, isDemo: boolean, log: Log): Promise<EmbeddedServer> {
  const dataDir =
    config.MARKETD_DATA_DIR ??
    defaultDataDir({
      home: homedir(),
      uid: process.getuid?.() ?? 0,
      xdgDataHome: config.XDG_DATA_HOME,
    });
  try {
    return await startEmbedded({
      dataDir,
      database: isDemo ? 'marketd_demo' : 'marketd',
      log: (line) => log('DEBUG', line),
    });
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(
      `${error.message} (marketd runs a PostgreSQL of its own because DATABASE_URL is not given)`,
    );
  }
}
