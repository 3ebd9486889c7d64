import { beforeAll, describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { FIRST_CONDITION_PARAMETER, readExport } from '../../src/query/export.ts';
import { exportTable } from '../../src/query/export-columns.ts';
import { type Condition, parseWhere } from '../../src/query/where.ts';
import { describeEditions } from '../database.ts';
import { type Bar, eventfulBars } from '../fixtures/bars.ts';
import { addTrades } from '../fixtures/price-rows.ts';
import { addInstrument, failureOf, ingest, selectStored } from '../fixtures/warehouse.ts';

const DAILY = exportTable('1d');
const parse = (text: string, table = DAILY): Condition => parseWhere(text, table, 1);

/** What a condition is refused with. */
function refusal(text: string, table = DAILY): string {
  try {
    parseWhere(text, table, 1);
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  throw new Error(`it was accepted: ${text}`);
}

describe('a condition', () => {
  test('is printed of our own words, its values are parameters', () => {
    expect(parse("close > 100 and Symbol IN ('AAPL', 'O''X')")).toEqual({
      sql: '(((b.close) > $1::text::float8) and (($1::text) in ($2::text, $3::text)))',
      values: ['100', 'AAPL', "O'X"],
    });
    expect(parseWhere('volume>=1e6', DAILY, 7)).toEqual({
      sql: '((b.volume) >= $7::text::float8)',
      values: ['1e6'],
    });
  });

  test('of every kind that is allowed is understood', () => {
    const texts = [
      "date >= '2024-01-02' and date < '2024-02-01'",
      "date between '2024-01-02' and '2024-01-31'",
      "date not in ('2024-01-02')",
      'not (close <> open or high != low)',
      'vwap is null or vwap is not null',
      'validated and not is_final',
      'validated = true or is_final is not false',
      "flags like '%gap%' and provider not ilike 'POLY%'",
      'abs(close / open - 1) > .05 and round(close, 1) = 10.5 and volume % 100 = 0',
      "lower(symbol) = 'aapl' and length(upper(provider)) = 7",
      '- close < -1 and + open > 0',
      '"open" > "close"',
      "'2024-01-02' < date and 5 < close",
      "ticker = 'AAPL' and unix_time > 1700000000 and sale > avg",
    ];
    for (const text of texts) expect({ text, sql: parse(text).sql }).not.toMatchObject({ sql: '' });
    const trades = exportTable('trades');
    expect(parse("ts >= '2024-03-10'", trades).values).toEqual(['2024-03-10T05:00:00.000Z']);
    const instant = '2024-03-11T09:30:00.5-04:00';
    expect(parse(`ts >= '${instant}'`, trades).values).toEqual([instant]);
    const snapshots = exportTable('snapshots');
    expect(parse("meta ->> 'source' = 'yahoo'", snapshots).values).toEqual(['source', 'yahoo']);
  });

  test('that makes no sense is refused at its place, with what is allowed', () => {
    const message = refusal('close > 1 and foo = 2');
    expect(message).toStartWith('where, at character 15 (close > 1 and >>> foo = 2): ');
    expect(message).toContain('there is no column foo');
    expect(message).toContain('columns: symbol, date, open,');
    const wrong: [string, string][] = [
      ['', 'there is no condition'],
      ['close', 'this is a number, not true or false'],
      ['close >', 'the end is not expected here'],
      ['close = null', '"null" is not expected here'],
      ["close > 'abc'", "'abc' is not a number"],
      ["date > '2024-02-30'", "'2024-02-30' is not a date, as '2024-01-02'"],
      ['date > 5', 'this is a number, not a date'],
      ['close + date > 5', 'this is a date, not a number'],
      ['1 < close < 5', 'comparisons are joined by and'],
      ['close > 1 open > 1', '"open" is not expected here'],
      ["close like '1%'", 'this is a number, not a text'],
      ['symbol like symbol', 'a pattern in quotes is expected'],
      ["symbol like 'A\\'", 'ends with a backslash'],
      ['close not 5', 'in, between, like or ilike is expected'],
      ['close is 5', 'null, true or false is expected'],
      ['close in ()', '")" is not expected here'],
      ['close in (1, 2', '")" is not expected here'.replace('")"', 'the end')],
      ['close between 1', 'and is expected'],
      ['(close > 1', 'the end is not expected here: ) is expected'],
      ["symbol = 'AAPL", 'its second quote is missing'],
      ['close > 1.2.3', 'the number does not end'],
      ['close > 12abc', 'the number does not end'],
      ['close > 1e999', 'the number is too large'],
      ["symbol = 'a\0b'", 'zero bytes'],
      ['abs(1, 2) > 1', 'abs takes one value'],
      ["meta ->> 'a' = 'b'", 'there is no column meta'],
    ];
    for (const [text, why] of wrong) expect(refusal(text)).toContain(why);
    const trades = exportTable('trades');
    expect(refusal("ts > '2024-01-02 09:30'", trades)).toContain("as '2024-01-02T14:30:00Z'");
    const snapshots = exportTable('snapshots');
    expect(refusal("meta = 'x'", snapshots)).toContain("ask for meta->>'key'");
  });

  test('that is an attack is refused, or is a value', () => {
    const attacks: [string, string][] = [
      ['1=1; drop table bars_1d', '";" is not allowed'],
      ['true) union select 1', '")" is not expected here'],
      ['true union select * from settings', '"union" is not expected here'],
      ['close > 1 -- and then', 'comments are not allowed'],
      ['close > 1 /* */', 'comments are not allowed'],
      ['pg_sleep(10) is null', 'there is no function pg_sleep'],
      ["pg_read_file('/etc/passwd') = ''", 'there is no function pg_read_file'],
      ['constructor(1) > 1', 'there is no function constructor'],
      ['close > (select 1)', 'there is no column select'],
      ['exists (select 1)', 'there is no function exists'],
      ['close::text = 1', '":" is not allowed'],
      ['close > $1', '"$" is not allowed'],
      ["symbol = E'\\x41'", 'there is no column e'],
      ["symbol = U&'A'", '"&" is not allowed'],
      ['symbol = $$A$$', '"$" is not allowed'],
      ['symbol = ‘A’', '‘ is no quote'],
      ['symbol = "A B"', '"\\"" is not allowed'],
      ['b.close > 1', '"." is not allowed'],
      ['instrument_id = 1', 'there is no column instrument_id'],
      ['close > 1\\', 'is not allowed'],
      ['close > 1\u00a0\u202e and', 'is not allowed'],
    ];
    for (const [text, why] of attacks) expect(refusal(text)).toContain(why);
    const evil = "'; drop table bars_1d; --";
    expect(parse(`symbol = '${evil.replaceAll("'", "''")}'`)).toEqual({
      sql: '(($1::text) = $1::text)',
      values: [evil],
    });
  });

  test('is bounded in length, words and depth', () => {
    expect(refusal('a'.repeat(10_001))).toContain('10001 characters long; 10000 are allowed');
    expect(refusal(`${'('.repeat(60)}true${')'.repeat(60)}`)).toContain('nested deeper than 50');
    expect(refusal(`${'not '.repeat(60)}true`)).toContain('nested deeper than 50');
    expect(refusal(`${'- '.repeat(60)}1 = 1`)).toContain('nested deeper than 50');
    expect(refusal(`${'abs('.repeat(60)}1${')'.repeat(60)} = 1`)).toContain('nested deeper');
    expect(refusal(`1${'+1'.repeat(1_500)} = 1`)).toContain('more than 2000 words and signs');
    expect(refusal(`close > ${'1'.repeat(5000)}`).length).toBeLessThan(700);
    expect(parse(`${'('.repeat(40)}true${')'.repeat(40)}`).sql).toBe('true');
  });
});

const DAILY_BARS = eventfulBars('2022-01-03', 400, 7);

describeEditions('rows by a condition', (database) => {
  let bars: (Bar & { score: number; flags: number })[] = [];
  beforeAll(async () => {
    const { sql } = database();
    const id = await addInstrument(sql, 'AAA');
    await ingest(sql, id, DAILY_BARS);
    bars = await selectStored(sql, id);
    await addTrades(sql, id, [
      { ts: '2024-03-11T13:30:00.123456Z', price: 10 },
      { ts: '2024-03-12T03:59:59.999999Z', price: 11 },
      { ts: '2024-03-12T04:00:00Z', price: 12 },
    ]);
  });

  async function select(where: string, table = DAILY): Promise<string[]> {
    const request = {
      ...{ table, layout: 'csv' as const, statementTimeoutMs: 10_000, pageRows: 50 },
      condition: parseWhere(where, table, FIRST_CONDITION_PARAMETER),
    };
    return readExport(database().sql, request, async ({ pages }) => {
      const lines: string[] = [];
      for await (const page of pages()) {
        lines.push(...new TextDecoder().decode(page.text).split('\n'));
      }
      return lines;
    });
  }

  test('are those for which it holds', async () => {
    const checks: [string, (bar: (typeof bars)[number]) => boolean][] = [
      ['close > open', (b) => b.close > b.open],
      ['close > open and not volume < 1e6', (b) => b.close > b.open && !(b.volume < 1e6)],
      ['1 - 2 - 3 = -4 and 8 / 4 / 2 = 1 and 2 + 3 * 4 = 14 and 7 % 4 * 2 = 6', () => true],
      ['vwap is null', (b) => b.vwap === undefined],
      ['trade_count / 2 * 2 = trade_count', (b) => b.tradeCount !== undefined],
      ['close / (open - open) is null', () => true],
      ["flags <> '' and flags not like '%gap%'", (b) => b.flags !== 0 && (b.flags & 64) === 0],
      ["flags ilike '%VOLUME_SPIKE%'", (b) => (b.flags & 2048) !== 0],
      ['validated', (b) => b.score >= 0.85],
      ['quality_score < .85', (b) => b.score < 0.85],
      ["date between '2022-03-01' and '2022-03-31'", (b) => b.session.startsWith('2022-03')],
      ['abs(close / open - 1) > 0.02', (b) => Math.abs(b.close / b.open - 1) > 0.02],
      ["symbol in ('AAA', 'BBB') and upper(lower(ticker)) = 'AAA'", () => true],
      ["symbol = 'BBB' or is_final is false", (b) => b.session > '2024'],
    ];
    for (const [text, holds] of checks) {
      const wanted = bars.filter(holds).map(({ session }) => session);
      const found = (await select(text)).map((line) => line.split(',')[1]);
      expect({ text, found }).toEqual({ text, found: wanted });
    }
  });

  test('of instants are cut to the microsecond, a date is midnight in New York', async () => {
    const trades = exportTable('trades');
    const prices = async (text: string) =>
      (await select(text, trades)).map((line) => Number(line.split(',')[3]));
    expect(await prices("ts > '2024-03-11T13:30:00.123455Z'")).toEqual([10, 11, 12]);
    expect(await prices("ts > '2024-03-11T09:30:00.123456-04:00'")).toEqual([11, 12]);
    expect(await prices("ts >= '2024-03-12'")).toEqual([12]);
  });

  test('that cannot be computed for a row say so', async () => {
    const failure = await failureOf(select('round(close, 1e300 * 1e300) = 1'));
    expect(failure).toContain('where cannot be computed');
  });

  test('a long but shallow condition is run', async () => {
    const text = Array.from({ length: 400 }, (_, i) => `close > ${i}`).join(' or ');
    expect(await select(text)).toHaveLength(bars.filter(({ close }) => close > 0).length);
    expect(await select(`0${' + 1'.repeat(900)} = 900`)).toHaveLength(bars.length);
  });
});
