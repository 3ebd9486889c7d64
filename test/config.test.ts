import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_SYMBOLS, describeConfig, maskUrl, parseConfig } from '../src/config.ts';
import { InputError } from '../src/errors.ts';

function refusal(environment: Record<string, string>): string {
  try {
    parseConfig(environment);
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  throw new Error(`it was accepted: ${JSON.stringify(environment)}`);
}

describe('defaults', () => {
  test('are those of the contract and the README', () => {
    expect(parseConfig({})).toEqual({
      POLYGON_BASE_URL: 'https://api.massive.com',
      POLYGON_REQUESTS_PER_MINUTE: 5,
      POLYGON_TIMEOUT_MS: 30_000,
      API_HOST: '127.0.0.1',
      API_PORT: 8000,
      LOG_LEVEL: 'INFO',
      BACKFILL_SCHEDULE_HOUR: 2,
      BACKFILL_SCHEDULE_MINUTE: 0,
      BACKFILL_YEARS: 5,
      REVISION_SESSIONS: 7,
      PUBLISH_DELAY_MINUTES: 60,
      SYMBOLS: DEFAULT_SYMBOLS,
      SCHEDULER: 'on',
      AUTH: 'on',
      DEMO_SEED: 20_260_101,
      CACHE_MEGABYTES: 96,
      SYNTHETIC: 'off',
      INGESTION_INTERVAL_SECONDS: 3,
      QUOTES: 'off',
      QUOTES_INTERVAL_SECONDS: 60,
      YAHOO_BASE_URL: 'https://query2.finance.yahoo.com',
      YAHOO_REQUESTS_PER_MINUTE: 60,
      RECONCILE: 'off',
      RECONCILE_SAMPLE: 5,
      INTRADAY_INTERVAL_SECONDS: 300,
      DEFAULT_DAYS: 90,
      BATCH_COMMIT_SIZE: 25_000,
      STREAM_RETENTION_HOURS: 24,
      STREAM_CLIENTS_MAX: 1000,
      DATABASE_CONNECTIONS: 6,
      QUALITY_GAP_FRACTION: 0.1,
      QUALITY_EXTREME_MOVE: 5,
      QUALITY_SPIKE_MULTIPLE: 10,
      QUALITY_NEWS_MULTIPLE: 2,
      QUALITY_DROUGHT_FRACTION: 0.1,
    });
    const symbols = 'AAPL MSFT GOOGL AMZN NVDA TSLA META NFLX AMD CRM SPY QQQ IWM EEM VTI';
    expect(DEFAULT_SYMBOLS.join(' ')).toBe(symbols);
  });

  test('hold for what is set to nothing', () => {
    expect(parseConfig({ API_PORT: '', LOG_LEVEL: '  ', SYMBOLS: '', API_HOST: '' })).toEqual(
      parseConfig({}),
    );
  });

  test('of variables that are not ours are not there', () => {
    expect(parseConfig({ HOME: '/', PATH: '/bin' })).toEqual(parseConfig({}));
  });
});

describe('values', () => {
  const good: [key: string, text: string, value: unknown][] = [
    ['LOG_LEVEL', 'WARN', 'WARNING'],
    ['LOG_LEVEL', 'warn', 'WARNING'],
    ['LOG_LEVEL', 'debug', 'DEBUG'],
    ['LOG_LEVEL', 'ERROR', 'ERROR'],
    ['API_PORT', '0', 0],
    ['API_PORT', ' 65535 ', 65_535],
    ['BACKFILL_SCHEDULE_HOUR', '23', 23],
    ['BACKFILL_SCHEDULE_MINUTE', '059', 59],
    ['QUALITY_GAP_FRACTION', '0.25', 0.25],
    ['QUALITY_GAP_FRACTION', '1e-1', 0.1],
    ['QUALITY_EXTREME_MOVE', '.5', 0.5],
    ['SYMBOLS', 'AAPL', ['AAPL']],
    ['SYMBOLS', 'AAPL,MSFT', ['AAPL', 'MSFT']],
    ['SYMBOLS', ' AAPL, MSFT\n BRK.B  ABRpD,', ['AAPL', 'MSFT', 'BRK.B', 'ABRpD']],
    ['SYMBOLS', 'AAPL AAPL', ['AAPL']],
    ['POLYGON_BASE_URL', 'http://127.0.0.1:9/x', 'http://127.0.0.1:9/x'],
    ['SCHEDULER', 'off', 'off'],
    ['AUTH', 'off', 'off'],
    ['JOURNAL_STREAM', '8:1', '8:1'],
    ['ALLOWED_HOSTS', 'market.example.com', ['market.example.com']],
    ['ALLOWED_HOSTS', ' Market.LAN, desk\tdesk-2 desk,', ['market.lan', 'desk', 'desk-2']],
  ];
  for (const [key, text, value] of good) {
    test(`${key}=${JSON.stringify(text)} is ${JSON.stringify(value)}`, () => {
      expect(parseConfig({ [key]: text })).toMatchObject({ [key]: value });
    });
  }

  const whole = (from: number, to: number) => `must be a whole number from ${from} to ${to}`;
  const bad: [key: string, allowed: string, texts: string[]][] = [
    ['API_PORT', whole(0, 65_535), ['x', '-1', '65536', '80.5', '0x50', 'NaN', '8 0', '1e']],
    ['BACKFILL_SCHEDULE_HOUR', whole(0, 23), ['24', '-1', '2:00', 'two']],
    ['BACKFILL_SCHEDULE_MINUTE', whole(0, 59), ['60']],
    ['BACKFILL_YEARS', whole(1, 50), ['0', '51']],
    ['REVISION_SESSIONS', whole(0, 60), ['61']],
    ['PUBLISH_DELAY_MINUTES', whole(0, 1440), ['1441']],
    ['POLYGON_REQUESTS_PER_MINUTE', whole(1, 60_000), ['0', 'Infinity']],
    ['POLYGON_TIMEOUT_MS', whole(100, 600_000), ['99']],
    ['DEMO_SEED', whole(0, 2_147_483_647), ['-1', '2147483648']],
    ['CACHE_MEGABYTES', whole(0, 65_536), ['-1']],
    ['DATABASE_CONNECTIONS', whole(2, 200), ['1', '201']],
    ['QUALITY_GAP_FRACTION', 'must be a number from 0 to 1', ['1.1', '-0.1', '10%']],
    ['QUALITY_DROUGHT_FRACTION', 'must be a number from 0 to 1', ['2']],
    ['QUALITY_EXTREME_MOVE', 'must be a number above 0', ['0', '-5', '1e999']],
    ['QUALITY_SPIKE_MULTIPLE', 'must be a number from 1 on', ['0.9']],
    ['QUALITY_NEWS_MULTIPLE', 'must be a number from 1 on', ['none']],
    ['LOG_LEVEL', 'must be one of DEBUG, INFO, WARNING, ERROR', ['loud', 'INFO,DEBUG']],
    ['SCHEDULER', 'must be one of on, off', ['yes', 'ON']],
    ['AUTH', 'must be one of on, off', ['none']],
    ['POLYGON_BASE_URL', 'http:// or https://', ['api.example.com', 'ftp://x', 'file:///x']],
    ['SYMBOLS', 'must name a symbol', [',', ', ,']],
    [
      'ALLOWED_HOSTS',
      'without http:// and without a port',
      ['http://a', 'a:8000', 'a/b', '*', 'ok,a_b', '-a', '.a', 'ä'],
    ],
  ];
  for (const [key, allowed, texts] of bad) {
    test(`of ${key} that are wrong are named with what is allowed`, () => {
      for (const text of texts) {
        const message = refusal({ [key]: text });
        expect(message).toStartWith(`configuration is wrong: ${key} is ${JSON.stringify(text)}`);
        expect(message).toContain(allowed);
        expect(message).not.toContain(';'); // one problem, one sentence
      }
    });
  }

  test('that are wrong are named all at once', () => {
    const message = refusal({ API_PORT: 'x', AUTH: 'maybe', BACKFILL_YEARS: '0' });
    for (const key of ['API_PORT', 'AUTH', 'BACKFILL_YEARS']) expect(message).toContain(key);
  });
});

describe('secrets in files', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'marketd-config-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const file = (content: string) => {
    const path = join(folder, `secret-${Bun.hash(content)}`);
    writeFileSync(path, content);
    return path;
  };

  for (const key of ['POLYGON_API_KEY', 'DATABASE_URL'] as const) {
    test(`${key}_FILE is read, without the end of its line`, () => {
      expect(parseConfig({ [`${key}_FILE`]: file('from-a-file\n') })[key]).toBe('from-a-file');
      const windows = file(' from-another\r\n');
      expect(parseConfig({ [`${key}_FILE`]: windows })[key]).toBe('from-another');
      expect(parseConfig({ [`${key}_FILE`]: '', [key]: 'plain' })[key]).toBe('plain');
      expect(parseConfig({ [`${key}_FILE`]: file('from-a-file\n'), [key]: ' ' })[key]).toBe(
        'from-a-file',
      );
    });

    test(`${key}_FILE that is missing, empty, a folder, or one of two is refused`, () => {
      const variable = `${key}_FILE`;
      const missing = join(folder, 'missing');
      expect(refusal({ [variable]: missing })).toBe(`${variable}: cannot read ${missing} (ENOENT)`);
      expect(refusal({ [variable]: folder })).toBe(`${variable}: cannot read ${folder} (EISDIR)`);
      const empty = file(' \n');
      expect(refusal({ [variable]: empty })).toBe(`${variable}: ${empty} is empty`);
      const both = refusal({ [variable]: file('from-a-file\n'), [key]: 'plain-secret' });
      expect(both).toBe(`set ${key} or ${variable}, not both`);
      expect(both).not.toContain('plain-secret');
    });
  }

  test('are not read for settings that are no secrets', () => {
    expect(parseConfig({ API_PORT_FILE: file('9000') }).API_PORT).toBe(8000);
  });
});

describe('describeConfig', () => {
  test('prints every setting, and no secret', () => {
    const config = parseConfig({
      POLYGON_API_KEY: 'polygon-secret',
      DATABASE_URL: 'postgres://me:pass-secret@db.example:5432/market?sslmode=require',
      SYMBOLS: 'AAPL,MSFT',
      YAHOO_BASE_URL: 'http://me:vendor-secret@proxy.example/',
    });
    const lines = describeConfig(config);
    expect(lines).toMatchObject({
      POLYGON_API_KEY: '********',
      DATABASE_URL: 'postgres://me:********@db.example:5432/market?sslmode=require',
      SYMBOLS: 'AAPL,MSFT',
      API_PORT: '8000',
      ALLOWED_HOSTS: '(not set)',
      YAHOO_BASE_URL: 'http://me:********@proxy.example/',
    });
    expect(JSON.stringify(lines)).not.toContain('secret');
    expect(Object.values(lines).every((value) => typeof value === 'string')).toBe(true);
    expect(describeConfig({ ...config, POLYGON_API_KEY: undefined }).POLYGON_API_KEY).toBe(
      '(not set)',
    );
  });

  const urls: [url: string, masked: string][] = [
    ['postgres://host/db', 'postgres://host/db'],
    ['postgres://me@host/db', 'postgres://me@host/db'],
    ['postgres://me:word@host/db', 'postgres://me:********@host/db'],
    ['postgres://:word@host/db', 'postgres://:********@host/db'],
    ['postgres://me:w@rd/x:y@host/db', 'postgres://me:********@host/db'],
    ['postgres://me:w%40rd@[::1]:5432/db', 'postgres://me:********@[::1]:5432/db'],
    [
      'https://data.example/v2?x=1&apiKey=word&y=2',
      'https://data.example/v2?x=1&apiKey=********&y=2',
    ],
    ['postgres:///db?password=word&host=/run', 'postgres:///db?password=********&host=/run'],
    ['postgres://host/db?PASSWORD=word', 'postgres://host/db?PASSWORD=********'],
  ];
  for (const [url, masked] of urls) {
    test(`masks ${url}`, () => {
      expect(maskUrl(url)).toBe(masked);
    });
  }
});
