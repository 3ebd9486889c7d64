import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { InputError } from './errors.ts';

/** The symbols a new warehouse tracks. */
export const DEFAULT_SYMBOLS = [
  'AAPL',
  'MSFT',
  'GOOGL',
  'AMZN',
  'NVDA',
  'TSLA',
  'META',
  'NFLX',
  'AMD',
  'CRM',
  'SPY',
  'QQQ',
  'IWM',
  'EEM',
  'VTI',
];

const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const;

/** A number that is said to be wrong in one sentence, whatever is wrong with it. */
const number = (what: string, isAllowed: (value: number) => boolean) =>
  z
    .string()
    .transform((text) => (/^[-+.\deE]+$/.test(text) ? Number(text) : Number.NaN))
    .refine((value) => Number.isFinite(value) && isAllowed(value), `must be ${what}`);

const integer = (min: number, max: number) =>
  number(
    `a whole number from ${min} to ${max}`,
    (value) => Number.isInteger(value) && value >= min && value <= max,
  );
const fraction = number('a number from 0 to 1', (value) => value >= 0 && value <= 1);
const positive = number('a number above 0', (value) => value > 0);
const multiple = number('a number from 1 on', (value) => value >= 1);
const HOST_NAME = /^[a-z\d]([a-z\d.-]*[a-z\d])?$/;
const choice = <const T extends string>(...allowed: T[]) =>
  z.enum(allowed, `must be one of ${allowed.join(', ')}`);

/**
 * Every setting: key = environment variable, value = what is allowed and the default. Each secret
 * (`SECRETS`) may also come as NAME_FILE, a path to read it from (systemd LoadCredential).
 */
const Settings = z.object({
  DATABASE_URL: z.string().optional(),
  MARKETD_DATA_DIR: z.string().optional(),
  XDG_DATA_HOME: z.string().optional(),
  POLYGON_API_KEY: z.string().min(1).optional(),
  POLYGON_BASE_URL: z
    .url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' })
    .default('https://api.massive.com'),
  POLYGON_REQUESTS_PER_MINUTE: integer(1, 60_000).default(5),
  POLYGON_TIMEOUT_MS: integer(100, 600_000).default(30_000),
  API_HOST: z.string().default('127.0.0.1'),
  API_PORT: integer(0, 65_535).default(8000),
  ALLOWED_HOSTS: z
    .string()
    .transform((list) => [
      ...new Set(
        list
          .toLowerCase()
          .split(/[\s,]+/)
          .filter(Boolean),
      ),
    ])
    .refine(
      (list) => list.every((name) => HOST_NAME.test(name)),
      'must be host names with commas between them, without http:// and without a port',
    )
    .optional(),
  LOG_LEVEL: z
    .string()
    .toUpperCase()
    .transform((level) => (level === 'WARN' ? 'WARNING' : level))
    .pipe(choice(...LEVELS))
    .default('INFO'),
  BACKFILL_SCHEDULE_HOUR: integer(0, 23).default(2),
  BACKFILL_SCHEDULE_MINUTE: integer(0, 59).default(0),
  BACKFILL_YEARS: integer(1, 50).default(5),
  REVISION_SESSIONS: integer(0, 60).default(7),
  PUBLISH_DELAY_MINUTES: integer(0, 1440).default(60),
  SYMBOLS: z
    .string()
    .transform((list) => [...new Set(list.split(/[\s,]+/).filter(Boolean))])
    .refine((list) => list.length > 0, 'must name a symbol, or several with commas between them')
    .default(DEFAULT_SYMBOLS),
  JOURNAL_STREAM: z.string().optional(),
  SCHEDULER: choice('on', 'off').default('on'),
  AUTH: choice('on', 'off').default('on'),
  DEMO_SEED: integer(0, 2_147_483_647).default(20_260_101),
  CACHE_MEGABYTES: integer(0, 65_536).default(96),
  SYNTHETIC: choice('on', 'off').default('off'),
  INGESTION_INTERVAL_SECONDS: number(
    'a number from 0.1 to 3600',
    (v) => v >= 0.1 && v <= 3600,
  ).default(3),
  QUOTES: choice('off', 'yahoo').default('off'),
  QUOTES_INTERVAL_SECONDS: integer(5, 3600).default(60),
  YAHOO_BASE_URL: z
    .url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' })
    .default('https://query2.finance.yahoo.com'),
  YAHOO_REQUESTS_PER_MINUTE: integer(1, 6_000).default(60),
  RECONCILE: choice('off', 'yahoo').default('off'),
  RECONCILE_SAMPLE: integer(1, 500).default(5),
  INTRADAY_INTERVAL_SECONDS: integer(10, 3600).default(300),
  DEFAULT_DAYS: integer(1, 20_000).default(90),
  BATCH_COMMIT_SIZE: integer(1, 1_000_000).default(25_000),
  STREAM_RETENTION_HOURS: integer(1, 8760).default(24),
  STREAM_CLIENTS_MAX: integer(1, 100_000).default(1000),
  DATABASE_CONNECTIONS: integer(2, 200).default(6),
  QUALITY_GAP_FRACTION: fraction.default(0.1),
  QUALITY_EXTREME_MOVE: positive.default(5),
  QUALITY_SPIKE_MULTIPLE: multiple.default(10),
  QUALITY_NEWS_MULTIPLE: multiple.default(2),
  QUALITY_DROUGHT_FRACTION: fraction.default(0.1),
});

const SECRETS = ['DATABASE_URL', 'POLYGON_API_KEY'] as const;

export type Config = Readonly<z.infer<typeof Settings>>;

/**
 * The configuration from environment variables; empty values count as not set.
 * @throws InputError naming every variable that is wrong and what it may be.
 */
export function parseConfig(environment: Record<string, string | undefined>): Config {
  const values: Record<string, string> = {};
  for (const key of Object.keys(Settings.shape)) {
    const value = environment[key]?.trim();
    if (value) values[key] = value;
  }
  for (const key of SECRETS) {
    const path = environment[`${key}_FILE`];
    if (!path) continue;
    if (values[key]) throw new InputError(`set ${key} or ${key}_FILE, not both`, key);
    values[key] = readSecret(key, path);
  }
  const parsed = Settings.safeParse(values);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => {
    const key = path.join('.');
    // A secret is not repeated, not even a wrong one.
    const isSecret = (SECRETS as readonly string[]).includes(key);
    return isSecret ? `${key} ${message}` : `${key} is ${JSON.stringify(values[key])}: ${message}`;
  });
  throw new InputError(`configuration is wrong: ${problems.join('; ')}`);
}

function readSecret(key: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new InputError(`${key}_FILE: cannot read ${path} (${code})`, `${key}_FILE`);
  }
  if (!text) throw new InputError(`${key}_FILE: ${path} is empty`, `${key}_FILE`);
  return text;
}

/** The configuration of this process. The only place that reads the environment. */
export function loadConfig(): Config {
  return parseConfig(process.env);
}

/** Settings as lines to print, secrets masked. */
export function describeConfig(config: Config): Record<string, string> {
  const lines: Record<string, string> = {};
  for (const key of Object.keys(Settings.shape) as (keyof Config)[]) {
    const value = config[key];
    if (value === undefined) lines[key] = '(not set)';
    else if (key.endsWith('_URL')) lines[key] = maskUrl(String(value));
    else if ((SECRETS as readonly string[]).includes(key)) lines[key] = '********';
    else lines[key] = Array.isArray(value) ? value.join(',') : String(value);
  }
  return lines;
}

/** A URL without its password, and without a key among its parameters. */
export function maskUrl(url: string): string {
  return url
    .replace(/(:\/\/[^:/@]*:).*@/, '$1********@')
    .replace(/(password=|[?&](?:api_?key|access_token|token)=)[^&\s]*/gi, '$1********');
}
