import { errorMessage } from '../errors.ts';
import { openPool, type Sql } from './database.ts';

/** What a committed transaction of any process changed. */
export type Change =
  | { kind: 'bars'; instrumentIds: number[] | 'all' }
  /** Trades or snapshots came in, which no cache of bars minds. */
  | { kind: 'trades' | 'snapshots'; instrumentIds: number[] | 'all' }
  | { kind: 'symbols' }
  | { kind: 'runs' }
  /** Overrides of the exchange calendar. */
  | { kind: 'calendar' }
  /** An operator asked for something, cancelled it, or something came of it. */
  | { kind: 'jobs' }
  /** The log of events goes up to this number now. */
  | { kind: 'events'; eventId: number };

export interface ChangeListener {
  close(): Promise<void>;
}

const RECONNECT_MS = 500;
const HEARTBEAT_MS = 1_000;
const HEARTBEAT_TIMEOUT_MS = 3_000;

/**
 * Listens for changes on a connection of its own, so that caches of every process agree with the
 * database. `onTrust(false)` says that changes may be missed from now on (the connection is gone):
 * caches must be dropped and not be used until `onTrust(true)`.
 */
export function listenChanges(
  url: string,
  handlers: { onChange: (change: Change) => void; onTrust: (isTrusted: boolean) => void },
  log: (message: string) => void,
): ChangeListener {
  let isClosed = false;
  let isAway = false;
  let sql: Sql | undefined;
  let timer: Timer | undefined;

  const connect = async () => {
    const pool = openPool(url, {
      connections: 1,
      isPermanent: true,
      applicationName: 'marketd listen',
      onclose: () => lose(pool),
      onnotify: (_channel, payload) => {
        const change = parseChange(payload);
        if (change) handlers.onChange(change);
      },
    });
    sql = pool;
    try {
      await withDeadline(pool`listen marketd`);
      if (isClosed || sql !== pool) return;
      if (isAway) log('the database is back: listening for changes again');
      isAway = false;
      handlers.onTrust(true);
      timer = setTimeout(() => void beat(pool), HEARTBEAT_MS);
    } catch (error) {
      lose(pool, errorMessage(error));
    }
  };

  // A connection that hangs without being closed is found out by a heartbeat.
  const beat = async (pool: Sql) => {
    if (isClosed || sql !== pool) return;
    try {
      await withDeadline(pool`select 1`);
      if (!isClosed && sql === pool) timer = setTimeout(() => void beat(pool), HEARTBEAT_MS);
    } catch {
      lose(pool);
    }
  };

  const lose = (pool: Sql, reason = 'the connection was closed') => {
    if (isClosed || sql !== pool) return;
    // Said once: it is tried again twice a second, maybe for hours.
    if (!isAway) log(`the database is away (${reason}): trying again until it is back`);
    isAway = true;
    sql = undefined;
    clearTimeout(timer);
    handlers.onTrust(false);
    pool.end({ timeout: 0 }).catch((error) => log(errorMessage(error)));
    timer = setTimeout(() => void connect(), RECONNECT_MS);
  };

  void connect();
  return {
    close: async () => {
      isClosed = true;
      clearTimeout(timer);
      await sql?.end({ timeout: 2 });
    },
  };
}

async function withDeadline<T>(query: PromiseLike<T>): Promise<T> {
  let timer: Timer | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), HEARTBEAT_TIMEOUT_MS);
  });
  try {
    return await Promise.race([query, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

function parseChange(payload: string): Change | undefined {
  const [kind, ...rest] = payload.split(' ');
  if (isWhole(kind)) return { kind };
  if (kind === 'events') return { kind, eventId: Number(rest[0]) };
  if (kind !== 'bars' && kind !== 'trades' && kind !== 'snapshots') return undefined;
  return { kind, instrumentIds: rest[0] === '*' ? 'all' : rest.map(Number) };
}

/** Of these nothing more is said than that they changed. */
function isWhole(kind: string): kind is 'symbols' | 'runs' | 'jobs' | 'calendar' {
  return ['symbols', 'runs', 'jobs', 'calendar'].includes(kind);
}
