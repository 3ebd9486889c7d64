import { describe, expect, test } from 'bun:test';
import { type Coding, chooseCoding, compressed, parseWeights } from '../../src/http/compress.ts';

describe('the coding that is chosen', () => {
  const FAST: Coding[] = ['zstd', 'gzip'];
  const cases: [accepted: string | null, offered: Coding[], chosen: Coding | null][] = [
    [null, FAST, null],
    ['', FAST, null],
    ['gzip', FAST, 'gzip'],
    ['GZIP', FAST, 'gzip'],
    ['gzip, deflate, br, zstd', FAST, 'zstd'],
    ['gzip, deflate, br, zstd', ['br', 'gzip'], 'br'],
    ['gzip, deflate', ['br', 'gzip'], 'gzip'],
    ['gzip;q=1, zstd;q=0.5', FAST, 'gzip'],
    ['gzip;q=0.2,zstd;q=0.8', FAST, 'zstd'],
    ['gzip; q = 0.2 , zstd ; q=0.8', FAST, 'zstd'],
    ['gzip;q=0, zstd;q=0.0', FAST, null],
    ['gzip;q=0', FAST, null],
    ['*', FAST, 'zstd'],
    ['*;q=0', FAST, null],
    ['gzip, *;q=0', FAST, 'gzip'],
    ['zstd;q=0, *', FAST, 'gzip'],
    ['identity', FAST, null],
    ['identity;q=1, gzip;q=0.5', FAST, null],
    ['identity;q=0.5, gzip', FAST, 'gzip'],
    ['deflate', FAST, null],
    ['xgzip, gzipped', FAST, null],
    ['gzip;q=nonsense', FAST, null],
    ['gzip;q=9', FAST, null],
    [',,;q=1, gzip', FAST, 'gzip'],
  ];
  for (const [accepted, offered, chosen] of cases) {
    test(`${JSON.stringify(accepted)} of ${offered} is ${chosen}`, () => {
      expect(chooseCoding(accepted, offered)).toBe(chosen);
      expect(chooseCoding(accepted, offered)).toBe(chosen); // remembered
    });
  }

  test('is remembered for few headers only', () => {
    for (let i = 0; i < 1_000; i++) chooseCoding(`gzip, x${i}`, FAST);
    expect(chooseCoding('gzip', FAST)).toBe('gzip');
  });
});

describe('weights', () => {
  test('of a browser that opens an address', () => {
    const header = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
    expect([...parseWeights(header)]).toEqual([
      ['text/html', 1],
      ['application/xhtml+xml', 1],
      ['application/xml', 0.9],
      ['*/*', 0.8],
    ]);
  });

  test('of what is named twice are the first', () => {
    expect([...parseWeights('a;q=0.1, a;q=0.9')]).toEqual([['a', 0.1]]);
  });
});

describe('an answer of text', () => {
  const ask = (accepted?: string) =>
    new Request('http://localhost/', accepted ? { headers: { 'accept-encoding': accepted } } : {});
  const HEADERS = { 'content-type': 'text/html' };
  const LONG = 'Größer als 4 kB. '.repeat(300);

  test('is compressed when it is long enough, and comes back as it was', async () => {
    for (const coding of ['gzip', 'zstd'] as const) {
      const response = compressed(ask(coding), LONG, { status: 404, headers: HEADERS });
      expect(response.status).toBe(404);
      expect(Object.fromEntries(response.headers)).toEqual({
        'content-type': 'text/html',
        'content-encoding': coding,
        vary: 'accept-encoding',
      });
      const bytes = await response.bytes();
      expect(bytes.length).toBeLessThan(LONG.length / 10);
      const plain = coding === 'gzip' ? Bun.gunzipSync(bytes) : Bun.zstdDecompressSync(bytes);
      expect(new TextDecoder().decode(plain)).toBe(LONG);
    }
  });

  test('stays as it is when it is short, or nobody asks', async () => {
    for (const [request, body] of [
      [ask('gzip'), 'short'],
      [ask(), LONG],
      [ask('gzip;q=0'), LONG],
    ] as const) {
      const response = compressed(request, body, { headers: { ...HEADERS, vary: 'cookie' } });
      expect(response.headers.get('content-encoding')).toBeNull();
      expect(response.headers.get('vary')).toBe('cookie, accept-encoding');
      expect(await response.text()).toBe(body);
    }
  });
});
