import { describe, expect, test } from 'bun:test';
import { InputError } from '../../src/errors.ts';
import { parseSymbolList } from '../../src/model/symbol-list.ts';

function refusal(run: () => unknown): InputError {
  try {
    run();
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('a list of symbols', () => {
  const both: [what: string, text: string, symbols: string[]][] = [
    ['one', 'AAPL', ['AAPL']],
    ['lines', 'AAPL\nBRK.B\r\nABRpD\rX:BTCUSD', ['AAPL', 'BRK.B', 'ABRpD', 'X:BTCUSD']],
    ['commas in one line', 'AAPL, MSFT,GOOG,', ['AAPL', 'MSFT', 'GOOG']],
    ['semicolons in one line', 'AAPL;MSFT', ['AAPL', 'MSFT']],
    ['tabs in one line', 'AAPL\tMSFT', ['AAPL', 'MSFT']],
    ['each once', 'AAPL\nMSFT\nAAPL', ['AAPL', 'MSFT']],
    ['comments and empty lines', '# mine\n\n AAPL \n  # more\nMSFT\n', ['AAPL', 'MSFT']],
    ['the mark that Windows puts first', '\uFEFFAAPL\nMSFT', ['AAPL', 'MSFT']],
    ['a column "symbol"', 'name,symbol\nFirst,TSLA\nSecond,NVDA\n', ['TSLA', 'NVDA']],
    ['a column "Ticker", capital', 'Ticker;Name\nTSLA;Tesla, Inc.\n', ['TSLA']],
    ['a column with tabs', 'Name\tSymbol\nTesla Inc\tTSLA\n', ['TSLA']],
    ['a column alone', 'symbol\nAAPL\nMSFT', ['AAPL', 'MSFT']],
    ['quoted cells', '"name","symbol"\n"Tesla, ""Inc.""","TSLA"\n', ['TSLA']],
    ['the mark and a column', '\uFEFF"symbol","name"\n"AAPL","Apple"', ['AAPL']],
  ];
  for (const [what, text, symbols] of both) {
    test(`is read: ${what}`, () => {
      expect(parseSymbolList(text, 'typed')).toEqual(symbols);
      expect(parseSymbolList(text, 'file')).toEqual(symbols);
    });
  }

  test('may be typed with anything between symbols', () => {
    const text = 'AAPL MSFT,  GOOG\nAMZN; NVDA\t TSLA';
    expect(parseSymbolList(text, 'typed')).toEqual([
      ...['AAPL', 'MSFT', 'GOOG', 'AMZN', 'NVDA', 'TSLA'],
    ]);
  });

  test('of a file has no several symbols in one of its lines: that could be anything', () => {
    const { message } = refusal(() => parseSymbolList('AAPL,123.4\nMSFT,56.7\n', 'file'));
    expect(message).toBe(
      'line 1: "AAPL,123.4", line 2: "MSFT,56.7" are not symbols: letters and digits, parts ' +
        'joined by one of . - / : (AAPL, BRK.B, ABRpD), at most 32 characters. Of a table, name ' +
        'the columns in its first line, one of them "symbol"',
    );
    expect(refusal(() => parseSymbolList('GOOD\nNOT GOOD\n', 'file')).message).toStartWith(
      'line 2: "NOT GOOD" is not a symbol: ',
    );
  });

  test('is refused as a whole, with each wrong line', () => {
    const { message, field } = refusal(() => {
      parseSymbolList(`# list\nAAPL\nA^B, MSFT\n${'A'.repeat(50)}\n<b>`, 'typed', 'list');
    });
    expect(message).toStartWith(
      `line 3: "A^B", line 4: "${'A'.repeat(40)}...", line 5: "<b>" are not symbols: `,
    );
    expect(field).toBe('list');
  });

  test('with many wrong lines names ten and counts the others', () => {
    const wrong = Array.from({ length: 1_012 }, (_, i) => `^${i}`).join('\n');
    const { message } = refusal(() => parseSymbolList(wrong, 'typed'));
    expect(message).toContain('line 10: "^9", and 1,002 more are not symbols');
    expect(message).not.toContain('"^10"');
  });

  test('of a table names the line of a row without a symbol', () => {
    const text = 'name,symbol\nApple,AAPL\nNobody\nNone,\n';
    expect(refusal(() => parseSymbolList(text, 'typed')).message).toStartWith(
      'line 3: "", line 4: "" are not symbols',
    );
  });

  test.each(['', '  \n\n', '# nothing', 'symbol', 'name,ticker\n', ', ;'])(
    '%j is empty',
    (text) => {
      expect(refusal(() => parseSymbolList(text, 'typed')).message).toBe(
        'there is no symbol in it',
      );
    },
  );

  test('of a megabyte is read at once', () => {
    const many = Array.from({ length: 100_000 }, (_, i) => `S${i}`);
    expect(parseSymbolList(`symbol,name\n${many.join(',Name\n')},Name`, 'file')).toEqual(many);
  });
});
