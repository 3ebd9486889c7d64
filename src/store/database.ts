import postgres from 'postgres';
import { DatabaseError, InputError } from '../errors.ts';

export type Sql = postgres.Sql<{ bigint: number; numeric: number; date: string }>;
export type Transaction = postgres.TransactionSql<{
  bigint: number;
  numeric: number;
  date: string;
}>;
export type AnySql = Sql | Transaction;

export type Edition = 'plain' | 'timescale-apache' | 'timescale-community';

/**
 * Two pools on one database. `read` sends one query at a time down a connection, so that a slow
 * one holds up nothing behind it; postgres.js cannot open transactions on such a pool. `write` can.
 */
export interface Database {
  url: string;
  read: Sql;
  write: Sql;
  close(): Promise<void>;
}

/** How values cross the wire: a session date is text, counts and numerics are numbers. */
const TYPES = {
  date: { to: 1082, from: [1082], serialize: (x: string) => x, parse: (x: string) => x },
  bigint: { to: 20, from: [20], serialize: String, parse: Number },
  numeric: { to: 1700, from: [1700], serialize: String, parse: Number },
};

export interface PoolOptions {
  connections?: number;
  applicationName?: string;
  statementTimeoutMs?: number;
  /** Only for pools on which no transaction is begun. */
  pipeline?: boolean;
  /** Keeps a connection for good (locks, LISTEN) instead of renewing it every hour or so. */
  isPermanent?: boolean;
  onclose?: () => void;
  onnotify?: (channel: string, payload: string) => void;
}

/**
 * A pool on `url`. Accepts libpq's form for a socket folder (`?host=/path`), which postgres.js
 * itself would send to the server as a setting.
 * @throws InputError when the URL is no PostgreSQL URL.
 */
export function openPool(url: string, options: PoolOptions = {}): Sql {
  const { address, host, port } = parseDatabaseUrl(url);
  const settings = {
    ...(host && { host, port }),
    max: options.connections ?? 4,
    max_pipeline: options.pipeline === false ? 0 : 100,
    idle_timeout: 0,
    ...(options.isPermanent && { max_lifetime: null }),
    connect_timeout: 10,
    fetch_types: true, // arrays need it, and without it reserve() on a new pool never returns
    types: TYPES,
    connection: {
      application_name: options.applicationName ?? 'marketd',
      statement_timeout: options.statementTimeoutMs ?? 600_000,
      TimeZone: 'UTC',
      DateStyle: 'ISO',
    },
    onnotice: () => {},
    onclose: options.onclose,
    onnotify: options.onnotify,
  };
  return postgres(
    address,
    settings as postgres.Options<Record<string, postgres.PostgresType>>,
  ) as unknown as Sql;
}

/** Splits the socket folder off a URL. @throws InputError */
export function parseDatabaseUrl(url: string): { address: string; host?: string; port?: number } {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new InputError(
      'DATABASE_URL is not a URL; it looks like postgres://user:password@host:5432/database',
      'DATABASE_URL',
    );
  }
  if (!/^postgres(ql)?:$/.test(parsed.protocol)) {
    throw new InputError('DATABASE_URL must begin with postgres:// or postgresql://');
  }
  const host = parsed.searchParams.get('host');
  if (!host?.startsWith('/')) return { address: url };
  const port = Number(parsed.searchParams.get('port') ?? (parsed.port || 5432));
  parsed.searchParams.delete('host');
  parsed.searchParams.delete('port');
  return { address: parsed.toString(), host, port };
}

/** Opens both pools; connects on first use. */
export function openDatabase(url: string, connections = 6): Database {
  const readers = Math.max(1, connections - 2);
  const read = openPool(url, {
    connections: readers,
    pipeline: false,
    applicationName: 'marketd read',
    statementTimeoutMs: 30_000,
  });
  const write = openPool(url, { connections: 2, applicationName: 'marketd write' });
  return {
    url,
    read,
    write,
    close: async () => {
      await Promise.all([read.end({ timeout: 5 }), write.end({ timeout: 5 })]);
    },
  };
}

const AWAY_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  '53300', // too many connections
  '57P01', // terminated by the administrator
  '57P02',
  '57P03', // starting up or shutting down
  '3D000', // database does not exist
  '28000',
  '28P01', // wrong password
]);

/** True when an error means that the database is away, not that a statement was wrong. */
export function isDatabaseAway(error: unknown): boolean {
  if (error instanceof DatabaseError) return true;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && AWAY_CODES.has(code);
}

/**
 * Asks the database for a sign of life. postgres.js never gives up on a server that closes the
 * connection while it starts up, hence the deadline of our own.
 * @throws DatabaseError that says what to do.
 */
export async function pingDatabase(sql: AnySql, timeoutMs = 5_000): Promise<void> {
  let timer: Timer | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DatabaseError(`the database did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    await Promise.race([sql`select 1`, deadline]);
  } catch (error) {
    if (error instanceof DatabaseError) throw error;
    const { code, message } = error as { code?: string; message: string };
    throw new DatabaseError(
      `cannot reach the database (${code ?? message}): is it running, and is DATABASE_URL right?`,
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * An instant (epoch microseconds, or an infinity) as an expression. Not as a parameter: postgres.js
 * makes a Date of those, which knows milliseconds only. Its function is immutable, so that chunks
 * are kept out when the statement is planned.
 */
export function toTimestamp(sql: AnySql, micros: number) {
  return (sql as Sql)`to_timestamp(${micros / 1_000_000}::float8)`;
}

/** What only one transaction at a time does, on a database. */
export type LockName = 'ingest' | 'trades' | 'symbols' | 'events' | 'jobs';

/** Waits for a lock; it is held until the transaction ends. */
export async function lockTransaction(tx: Transaction, name: LockName): Promise<void> {
  await tx`select pg_advisory_xact_lock(hashtext('marketd'), hashtext(${name}))`;
}

/** Runs `body` in a transaction, on a pool that may have some. */
export async function transact<T>(write: Sql, body: (tx: Transaction) => Promise<T>): Promise<T> {
  return (await write.begin((tx) => body(tx as unknown as Transaction))) as T;
}

/** Runs `body` in a transaction that holds a lock from its beginning. */
export function transactLocked<T>(
  write: Sql,
  name: LockName,
  body: (tx: Transaction) => Promise<T>,
): Promise<T> {
  return transact(write, async (tx) => {
    await lockTransaction(tx, name);
    return body(tx);
  });
}

interface CopyQuery {
  writable(): Promise<import('node:stream').Writable>;
  reject: (error: unknown) => void;
}

/**
 * COPY ... FROM STDIN that always settles. postgres.js 3.4.9 drops an error that the server sends
 * after end(), and the stream then never finishes. Call it inside a transaction only: on a pooled
 * connection another query may be sent into the running COPY.
 */
export async function copyIn(
  tx: Transaction,
  statement: string,
  chunks: Iterable<Uint8Array>,
): Promise<void> {
  const query = tx.unsafe(statement) as unknown as CopyQuery;
  const stream = await query.writable();
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  query.reject = fail;
  stream.on('error', fail);
  stream.on('close', () => {
    if (!stream.writableFinished) fail(new Error('the COPY stream closed early'));
  });
  try {
    for (const chunk of chunks) {
      if (!stream.write(chunk)) {
        await Promise.race([new Promise((resolve) => stream.once('drain', resolve)), failed]);
      }
    }
    stream.end();
    await Promise.race([new Promise((resolve) => stream.once('finish', resolve)), failed]);
  } catch (error) {
    if (!stream.destroyed && !stream.writableEnded) stream.destroy(error as Error);
    throw error;
  }
}

/** Milliseconds between the Unix epoch and PostgreSQL's (2000-01-01). */
const PG_EPOCH_MS = 946_684_800_000;
export const PG_EPOCH_DAY = PG_EPOCH_MS / 86_400_000;

/**
 * Rows in PostgreSQL's binary COPY format: no number is printed here and parsed there, which is
 * most of what COPY costs. Call `row`, then one method a column in the order of the statement.
 */
export class BinaryCopy {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;
  readonly #columns: number;
  readonly #full: Uint8Array[] = [];
  static readonly #chunkBytes = 1 << 17;
  static readonly #header = Uint8Array.from([
    ...new TextEncoder().encode('PGCOPY\n'),
    ...[0xff, 0x0d, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  ]);

  constructor(columns: number) {
    this.#columns = columns;
    this.#bytes = new Uint8Array(BinaryCopy.#chunkBytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#bytes.set(BinaryCopy.#header);
    this.#length = BinaryCopy.#header.length;
  }

  row(): void {
    // Room for any row of fixed-width columns and short texts.
    if (this.#length + 2 + this.#columns * 12 + 512 > this.#bytes.length) this.#flush();
    this.#view.setInt16(this.#length, this.#columns);
    this.#length += 2;
  }

  /** int4 and date (days since 2000-01-01). */
  int32(value: number): void {
    this.#view.setInt32(this.#length, 4);
    this.#view.setInt32(this.#length + 4, value);
    this.#length += 8;
  }

  int16(value: number): void {
    this.#view.setInt32(this.#length, 2);
    this.#view.setInt16(this.#length + 4, value);
    this.#length += 6;
  }

  /** int8, for whole numbers up to 2^53. */
  int64(value: number): void {
    this.#view.setInt32(this.#length, 8);
    this.#view.setInt32(this.#length + 4, Math.floor(value / 4_294_967_296));
    this.#view.setUint32(this.#length + 8, value >>> 0);
    this.#length += 12;
  }

  float64(value: number): void {
    this.#view.setInt32(this.#length, 8);
    this.#view.setFloat64(this.#length + 4, value);
    this.#length += 12;
  }

  /** timestamptz, from epoch milliseconds. */
  timestamp(ms: number): void {
    this.int64((ms - PG_EPOCH_MS) * 1000);
  }

  /** timestamptz, from epoch microseconds. */
  timestampMicros(micros: number): void {
    this.int64(micros - PG_EPOCH_MS * 1000);
  }

  boolean(value: boolean): void {
    this.#view.setInt32(this.#length, 1);
    this.#bytes[this.#length + 4] = value ? 1 : 0;
    this.#length += 5;
  }

  /** A short text as encoded bytes, at most 200. */
  text(value: Uint8Array): void {
    this.#view.setInt32(this.#length, value.length);
    this.#bytes.set(value, this.#length + 4);
    this.#length += 4 + value.length;
  }

  null(): void {
    this.#view.setInt32(this.#length, -1);
    this.#length += 4;
  }

  /** The whole stream, trailer included. */
  chunks(): Uint8Array[] {
    this.#view.setInt16(this.#length, -1);
    this.#length += 2;
    this.#flush();
    return this.#full;
  }

  #flush(): void {
    this.#full.push(this.#bytes.subarray(0, this.#length));
    this.#bytes = new Uint8Array(BinaryCopy.#chunkBytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = 0;
  }
}

/** Doubles of a `string_agg(float8send(x), '')`. */
export function decodeFloats(bytes: Uint8Array | null): Float64Array {
  if (bytes === null) return new Float64Array(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(bytes.byteLength / 8);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat64(i * 8);
  return values;
}

/** Integers of a `string_agg(int4send(x), '')`. */
export function decodeIntegers(bytes: Uint8Array | null): Int32Array {
  if (bytes === null) return new Int32Array(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Int32Array(bytes.byteLength / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getInt32(i * 4);
  return values;
}

/** Instants, as epoch ms, of a `string_agg(timestamptz_send(x), '')`. */
export function decodeInstants(bytes: Uint8Array | null): Float64Array {
  if (bytes === null) return new Float64Array(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(bytes.byteLength / 8);
  for (let i = 0; i < values.length; i++) {
    const micros = view.getInt32(i * 8) * 4_294_967_296 + view.getUint32(i * 8 + 4);
    values[i] = micros / 1000 + PG_EPOCH_MS;
  }
  return values;
}
