import { afterEach, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  misbehave,
  SHARED_DATA,
  startVendorServer,
  type VendorBar,
  type VendorOptions,
  type VendorServer,
} from '../vendor-server.ts';

type Json = Record<string, unknown> & { results: Record<string, unknown>[] };

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function serve(options: VendorOptions = {}): VendorServer {
  const server = startVendorServer(options);
  stops.push(server.stop);
  return server;
}

const recorded = (path: string) =>
  JSON.parse(readFileSync(join(SHARED_DATA, 'polygon', path), 'utf8')) as Json;

async function ask(server: VendorServer, path: string): Promise<[number, Json]> {
  const response = await fetch(server.url + path);
  return [response.status, (await response.json()) as Json];
}

const RECORDED = 'recorded_openbb/AAPL_day_2023-01-01_2023-01-10_asc.json';
const [{ o, h, l, c, v, vw, n }] = recorded(RECORDED).results as Record<string, number>[];
const FIRST: VendorBar = {
  session: '2023-01-03',
  open: o,
  high: h,
  low: l,
  close: c,
  volume: v,
  vwap: vw,
  tradeCount: n,
};
const SECOND: VendorBar = {
  session: '2023-01-04',
  open: 10,
  high: null,
  low: 9,
  close: 11,
  volume: 1_000.5,
};
const AAPL = new Map([['AAPL', [FIRST, SECOND]]]);
const RANGE = '/v2/aggs/ticker/AAPL/range/1/day/2023-01-03/2023-01-10';

describe('it answers as the vendor does', () => {
  test('byte for byte in a row, and with the fields of a page in their order', async () => {
    const text = readFileSync(join(SHARED_DATA, 'polygon', RECORDED), 'utf8');
    const response = await fetch(`${serve({ bars: AAPL }).url}${RANGE}?adjusted=true`);
    const ours = await response.text();
    const row = text.slice(text.indexOf('[{') + 1, text.indexOf('},{') + 1);
    expect(ours.slice(ours.indexOf('[{') + 1, ours.indexOf('},{') + 1)).toBe(row);
    expect(Object.keys(JSON.parse(ours))).toEqual(Object.keys(JSON.parse(text)));
    expect(ours).toContain('{"v":1000.5,"o":10,"c":11,"h":null,"l":9,"t":1672808400000}');
  });

  test('with pages that lead to each other without the key', async () => {
    const server = serve({ bars: AAPL, pageSize: 1, key: 'right' });
    const [, first] = await ask(server, `${RANGE}?adjusted=false&apiKey=right`);
    expect(first).toMatchObject({ resultsCount: 1, adjusted: false });
    expect(first.next_url).not.toContain('right');
    const next = String(first.next_url).slice(server.url.length);
    const [, second] = await ask(server, `${next}&apiKey=right`);
    expect(second).toMatchObject({ resultsCount: 1, adjusted: false });
    expect(second.results[0].t).toBe(1672808400000);
    expect(second.next_url).toBeUndefined();
    expect(server.requests).toEqual([
      `GET ${RANGE}?adjusted=false (key right)`,
      `GET ${next} (key right)`,
    ]);
  });

  test('without results for a symbol it does not know', async () => {
    const path = RANGE.replace('AAPL', 'NONE');
    const [status, body] = await ask(serve({ bars: AAPL }), path);
    expect(status).toBe(200);
    expect(body).toMatchObject({ ticker: 'NONE', resultsCount: 0, status: 'OK' });
    expect('results' in body).toBe(false);
  });

  test('with 16:00 New York time in a grouped answer', async () => {
    const path = '/v2/aggs/grouped/locale/us/market/stocks/2023-01-03';
    const [, body] = await ask(serve({ bars: AAPL }), path);
    expect(body.results).toHaveLength(1);
    expect(body.results[0]).toMatchObject({ T: 'AAPL', t: Date.parse('2023-01-03T21:00:00Z') });
  });

  test('with its refusals', async () => {
    const options: VendorOptions = { bars: AAPL, key: 'right' };
    const server = serve(options);
    const shape = (body: Json) => Object.keys(body);
    const refusals: [string, number, string][] = [
      [RANGE, 401, '401_ERROR_key_not_provided'],
      [`${RANGE}?apiKey=right`, 403, '403_NOT_AUTHORIZED_not_entitled'],
      ['/v3/reference/tickers/NONE?apiKey=right', 404, '404_NOT_FOUND_data_not_found'],
    ];
    options.entitledSince = '2024-01-01';
    for (const [path, code, file] of refusals) {
      const [status, body] = await ask(server, path);
      expect(status).toBe(code);
      expect(shape(body)).toEqual(shape(recorded(`errors/${file}.json`)));
    }
    options.entitledSince = undefined;
    options.publishedUntil = '2023-01-09';
    const [, early] = await ask(server, `${RANGE}?apiKey=right`);
    expect(early.message).toContain('before end of day');
    options.publishedUntil = undefined;
    options.today = '2023-01-09';
    expect((await ask(server, `${RANGE}?apiKey=right`))[0]).toBe(403);
    expect((await ask(server, `${RANGE}?apiKey=wrong`))[1].error).toBe('Unknown API Key');
  });
});

test('it misbehaves once for each time it is told to, in order', async () => {
  const server = serve({ bars: AAPL });
  server.respond((request) => (request.url.includes('NONE') ? undefined : Response.json({ n: 1 })));
  server.respond(misbehave.serverError(502));
  expect((await fetch(server.url + RANGE.replace('AAPL', 'NONE'))).status).toBe(502);
  expect((await ask(server, RANGE))[1]).toEqual({ n: 1 } as unknown as Json);
  expect((await ask(server, RANGE))[1]).toMatchObject({ ticker: 'AAPL' });
});

test('it shows other bars when it is given others', async () => {
  const bars = new Map(AAPL);
  const server = serve({ bars });
  expect((await ask(server, RANGE))[1].resultsCount).toBe(2);
  bars.set('AAPL', [{ ...FIRST, close: 126 }]);
  const [, body] = await ask(server, RANGE);
  expect(body.results.map((row) => row.c)).toEqual([126]);
});

test('it runs as a process of its own', async () => {
  const script = join(import.meta.dir, '../vendor-server.ts');
  const child = Bun.spawn([process.execPath, script, '--key', 'right'], { stdout: 'pipe' });
  const reader = child.stdout.getReader();
  const url = new TextDecoder().decode((await reader.read()).value).trim();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await fetch(url)).status).toBe(401);
  child.kill();
  await child.exited;
});
