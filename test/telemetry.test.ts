import { describe, expect, test } from 'bun:test';
import { type Level, type LogOptions, makeLog } from '../src/telemetry.ts';

const LEVELS: Level[] = ['DEBUG', 'INFO', 'WARNING', 'ERROR'];

function record(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  return { lines, log: makeLog({ level: 'DEBUG', secrets: [], write, ...options }) };
}

describe('levels', () => {
  LEVELS.forEach((level, rank) => {
    test(`${level} lets through itself and what is worse`, () => {
      const { lines, log } = record({ level });
      for (const one of LEVELS) log(one, `a line of ${one}`);
      expect(lines.map((line) => line.split(' ')[1])).toEqual(LEVELS.slice(rank));
    });
  });
});

describe('a line', () => {
  test('begins with the instant and the level, and ends with the fields as JSON', () => {
    const { lines, log } = record();
    const before = new Date().toISOString();
    log('INFO', 'backfill done', { symbols: 15, seconds: 1.5 });
    log('WARNING', 'nothing more');
    log('ERROR', 'no fields', {});
    const [first, second, third] = lines;
    const instant = first!.slice(0, 24);
    expect(new Date(instant).toISOString()).toBe(instant);
    expect(instant >= before).toBe(true);
    expect(first!.slice(24)).toBe(' INFO    backfill done {"symbols":15,"seconds":1.5}\n');
    expect(second!.slice(24)).toBe(' WARNING nothing more\n');
    expect(third!.slice(24)).toBe(' ERROR   no fields\n');
  });

  test('is one line whatever is in it', () => {
    const { lines, log } = record();
    log('INFO', 'one\ntwo\r\n2026-01-01T00:00:00.000Z ERROR   forged\u2028x\u0085y', {
      stack: 'Error\n    at here\r',
      escape: '\u001b[2J',
    });
    log('INFO', 'to a terminal: \u001b]0;title\u0007 \u0000 \u007f \u009b2J, and a\ttab');
    for (const line of lines) {
      expect(line.endsWith('\n')).toBe(true);
      expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u0008\n-\u001f\u007f-\u009f\u2028\u2029]/);
    }
    expect(lines[0]).toContain('one\\ntwo\\u000d\\n2026');
    expect(lines[0]).toContain('"stack":"Error\\n    at here\\r"');
    expect(lines[1]).toContain('and a\ttab');
  });

  test('under systemd begins with the priority of the journal', () => {
    const { lines, log } = record({ isJournal: true });
    for (const level of LEVELS) log(level, 'text');
    expect(lines).toEqual(['<7>text\n', '<6>text\n', '<4>text\n', '<3>text\n']);
  });

  test('cannot get another priority from its text', () => {
    const { lines, log } = record({ isJournal: true });
    log('INFO', 'text\n<0>the machine is on fire');
    expect(lines).toEqual(['<6>text\\n<0>the machine is on fire\n']);
  });
});

describe('secrets', () => {
  test('appear in no message and no field', () => {
    const { lines, log } = record({ secrets: ['p4ssw0rd', 'the-key'] });
    log('ERROR', 'postgres://me:p4ssw0rd@host and ?apiKey=the-key&x=the-key', {
      url: 'https://host/?apiKey=the-key',
      nested: { list: ['p4ssw0rd'] },
    });
    expect(lines.join()).not.toMatch(/p4ssw0rd|the-key/);
    expect(lines[0]).toContain('me:********@host and ?apiKey=********&x=********');
  });

  test('appear in no other form either: of JSON, of a URL, over the end of a line', () => {
    const secret = 'a"b\\c d\n$&é';
    const { lines, log } = record({ secrets: [secret] });
    log('INFO', `plain ${secret} end`, { quoted: secret });
    log('INFO', `https://host/?key=${encodeURIComponent(secret)}`);
    expect(lines[0]).toEndWith('plain ******** end {"quoted":"********"}\n');
    expect(lines[1]).toEndWith('https://host/?key=********\n');
  });

  test('of which one begins with another are hidden whole', () => {
    const { lines, log } = record({ secrets: ['abcd', 'abcd-efgh'] });
    log('INFO', 'abcd-efgh abcd');
    expect(lines[0]).toEndWith('******** ********\n');
  });

  test('of less than four characters are not looked for: every line would be stars', () => {
    const { lines, log } = record({ secrets: ['a', ''] });
    log('INFO', 'a database');
    expect(lines[0]).toEndWith('a database\n');
  });
});
