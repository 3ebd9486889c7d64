import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import SwaggerParser from '@apidevtools/swagger-parser';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';
import { makeApp } from '../../src/http/app.ts';
import { cleanDocument, cleanSchema } from '../../src/http/openapi.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { describeEditions } from '../database.ts';
import { makeAppContext } from '../fixtures/app-context.ts';
import {
  FIRST,
  fillWarehouse,
  LAST,
  startServer,
  type TestServer,
} from '../fixtures/http-server.ts';
import { addInstrument, addSplit } from '../fixtures/warehouse.ts';

setDefaultTimeout(60_000);

interface Schema {
  [key: string]: unknown;
}

interface Parameter {
  name: string;
  in: string;
  required: boolean;
  description?: string;
  schema: Schema;
}

interface Operation {
  operationId: string;
  summary: string;
  tags: string[];
  parameters?: Parameter[];
  requestBody?: unknown;
  responses: Record<
    string,
    { description: string; content?: Record<string, { schema: Schema; example: unknown }> }
  >;
}

interface Document {
  openapi: string;
  info: Record<string, unknown>;
  paths: Record<string, Record<string, Operation>>;
}

/** Routes that are for people, or part of the documentation itself. */
const HIDDEN = /^\/(docs|dashboard|assets|favicon\.ico)(\/|$)/;
const DECISION_ERRORS = ['400', '403', '404', '409', '413', '415', '422', '500', '503'];
const CHANGE_ERRORS = ['400', '403', '404', '413', '415', '422', '500', '503'];
/** By path; by method and path where there are several of one path. */
const ERRORS_OF: Record<string, string[]> = {
  '/': ['500'],
  '/health': ['500', '503'],
  '/api/v1/status': ['500', '503'],
  '/api/v1/symbols': ['500', '503'],
  '/api/v1/symbols/detailed': ['500', '503'],
  '/api/v1/historical/{symbol}': ['404', '422', '500', '503'],
  '/api/v1/market/status': ['422', '500'],
  '/api/v1/calendar': ['422', '500'],
  '/api/v1/admin/calendar/overrides': ['422', '500', '503'],
  'PUT /api/v1/admin/calendar/overrides/{date}': [
    ...['400', '403', '413', '415', '422', '500', '503'],
  ],
  'DELETE /api/v1/admin/calendar/overrides/{date}': ['403', '404', '422', '500', '503'],
  '/price/latest': ['404', '422', '500', '503'],
  '/symbols': ['500', '503'],
  '/trades': ['404', '422', '500', '503'],
  '/candles': ['404', '422', '500', '503'],
  '/api/v1/findings': ['404', '422', '500', '503'],
  '/api/v1/findings/{id}': ['404', '422', '500', '503'],
  '/api/v1/admin/findings': DECISION_ERRORS,
  '/api/v1/admin/findings/{id}': DECISION_ERRORS,
  'GET /api/v1/admin/symbols': ['422', '500', '503'],
  'POST /api/v1/admin/symbols': ['400', '403', '413', '415', '422', '500', '503'],
  'GET /api/v1/admin/symbols/{symbol}': ['404', '422', '500', '503'],
  'PUT /api/v1/admin/symbols/{symbol}': CHANGE_ERRORS,
  'DELETE /api/v1/admin/symbols/{symbol}': ['403', '404', '422', '500', '503'],
  'PUT /api/v1/admin/symbols/{symbol}/timeframes': CHANGE_ERRORS,
  'GET /api/v1/admin/jobs': ['422', '500', '503'],
  'POST /api/v1/admin/jobs': ['400', '403', '413', '415', '422', '500', '503'],
  '/api/v1/admin/jobs/preview': ['400', '403', '409', '413', '415', '422', '500', '503'],
  'GET /api/v1/admin/jobs/{id}': ['404', '422', '500', '503'],
  'DELETE /api/v1/admin/jobs/{id}': ['403', '404', '409', '422', '500', '503'],
  '/api/v1/audit': ['404', '422', '500', '503'],
  '/api/v1/quality': ['404', '422', '500', '503'],
  '/api/v1/reconciliation': ['404', '422', '500', '503'],
  '/api/v1/revisions': ['404', '422', '500', '503'],
  '/api/v1/corporate-actions/{symbol}': ['404', '422', '500', '503'],
  '/api/v1/coverage/{symbol}': ['404', '422', '500', '503'],
  '/api/v1/instruments/{symbol}': ['404', '422', '500', '503'],
  '/api/v1/snapshots': ['404', '422', '500', '503'],
  '/api/v1/stream': ['404', '422', '500', '503'],
};

/** The schema with every object closed: a field that is not documented is an error. */
function close(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(close);
  if (typeof schema !== 'object' || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, value]) => [key, close(value)]);
  const closed = Object.fromEntries(entries) as Schema;
  if (closed.type === 'object' && !closed.additionalProperties) closed.additionalProperties = false;
  return closed;
}

const ajv = addFormats(new Ajv({ strict: false, allErrors: true }));

function violations(schema: unknown, value: unknown): unknown[] {
  const validate = ajv.compile(close(schema) as object);
  validate(value);
  return (validate.errors ?? []).map((error) => ({ at: error.instancePath, ...error }));
}

describeEditions('the OpenAPI document', (database) => {
  let server: TestServer;
  let document: Document;
  let pools: Database;

  beforeAll(async () => {
    await fillWarehouse(database().sql);
    const apple = await addInstrument(database().sql, 'AAPL');
    await addSplit(database().sql, apple, { exDate: '2023-06-01', splitFrom: 1, splitTo: 4 });
    server = await startServer(database().url);
    pools = openDatabase(database().url);
    document = (await (await server.get('/docs/json')).json()) as Document;
  });
  afterAll(async () => {
    await pools?.close();
    await server?.stop();
  });

  const operations = () =>
    Object.entries(document.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
    );

  test('passes two validators', async () => {
    expect(document.openapi).toStartWith('3.0');
    const { valid, errors } = await new Validator().validate(
      structuredClone(document) as unknown as Schema,
    );
    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
    const copy = structuredClone(document) as unknown as Parameters<
      typeof SwaggerParser.validate
    >[0];
    expect(await SwaggerParser.validate(copy)).toMatchObject({ info: { title: 'marketd' } });
  });

  test('is JSON that caches ask about again', async () => {
    const response = await server.get('/docs/json');
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    const version = (await (await server.get('/')).json()) as { version: string };
    expect(document.info.version).toBe(version.version);
  });

  test('has every route of the application that is not hidden, and no other', () => {
    const app = makeApp(makeAppContext(pools, database().edition));
    const routes = app.routes
      .filter(({ path }) => !HIDDEN.test(path))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
    const documented = operations().map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect(documented.sort()).toEqual(routes.sort());
    expect(documented.length).toBe(Object.keys(ERRORS_OF).length);
    const text = JSON.stringify(document.paths);
    expect(text).not.toMatch(/elysiaMeta|\$id|BooleanString|"meaning"|patternProperties/);
  });

  test('says of each operation what it is and which errors it can give', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, method, operation } of operations()) {
      const isAdmin = path.startsWith('/api/v1/admin/');
      if (!isAdmin) expect([path, method]).toEqual([path, 'get']);
      expect(operation.summary.length).toBeGreaterThan(10);
      expect(operation.tags).toHaveLength(1);
      const hasBody = operation.requestBody !== undefined;
      expect([path, method, hasBody]).toEqual([path, method, ['post', 'put'].includes(method)]);
      const errors = Object.keys(operation.responses).filter((status) => status >= '400');
      const name = `${method.toUpperCase()} ${path}`;
      expect([name, errors]).toEqual([name, (ERRORS_OF[name] ?? ERRORS_OF[path])!]);
    }
  });

  test('has every parameter, with what is allowed', () => {
    const { parameters } = document.paths['/api/v1/historical/{symbol}']!.get!;
    const listed = parameters!.map(({ name, in: place, required, schema }) => [
      name,
      place,
      required,
      schema.type,
    ]);
    expect(listed).toEqual([
      ['symbol', 'path', true, 'string'],
      ['start', 'query', true, 'string'],
      ['end', 'query', true, 'string'],
      ['timeframe', 'query', false, 'string'],
      ['session', 'query', false, 'string'],
      ['anchor', 'query', false, 'string'],
      ['closing_auction', 'query', false, 'boolean'],
      ['validated_only', 'query', false, 'boolean'],
      ['min_quality', 'query', false, 'number'],
      ['adjustment', 'query', false, 'string'],
      ['adjust_asof', 'query', false, 'string'],
      ['dividend_method', 'query', false, 'string'],
      ['known_at', 'query', false, 'string'],
      ['asof', 'query', false, 'string'],
      ['include_partial', 'query', false, 'boolean'],
      ['format', 'query', false, 'string'],
    ]);
    for (const { description } of parameters!) expect(description).toBeTruthy();
    const ofCandles = document.paths['/candles']!.get!.parameters!;
    expect(ofCandles.map(({ name }) => name)).toEqual([
      ...['symbol', 'start', 'end', 'asof', 'interval', 'limit'],
      ...['adjustment', 'adjust_asof', 'dividend_method', 'cursor'],
    ]);
    const described = (name: string, list: typeof ofCandles) =>
      list.find((parameter) => parameter.name === name)?.description;
    for (const name of ['adjustment', 'adjust_asof', 'dividend_method']) {
      expect(described(name, ofCandles)).toBe(described(name, parameters!));
    }
  });

  test('has an example for every answer, and each is one of its schema', () => {
    let examples = 0;
    for (const { path, operation } of operations()) {
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        expect(description).toBeTruthy();
        examples++;
        const body = content!['application/json'];
        // A stream of events has no schema; what it sends is shown.
        if (!body) expect(content!['text/event-stream']!.example).toBeString();
        else
          expect([path, status, violations(body.schema, body.example)]).toEqual([path, status, []]);
      }
    }
    expect(examples).toBe(operations().length + Object.values(ERRORS_OF).flat().length);
  });

  const range = `start=${FIRST}&end=${LAST}`;
  const historical = '/api/v1/historical/{symbol}';
  const asked: [path: string, status: number, actual: string][] = [
    ['/', 200, '/'],
    ['/health', 200, '/health'],
    ['/api/v1/status', 200, '/api/v1/status'],
    ['/api/v1/symbols', 200, '/api/v1/symbols'],
    ['/api/v1/symbols/detailed', 200, '/api/v1/symbols/detailed'],
    [historical, 200, `/api/v1/historical/AAPL?${range}`],
    [historical, 200, `/api/v1/historical/AAPL?${range}&validated_only=false`],
    [historical, 200, `/api/v1/historical/AAPL?${range}&min_quality=1&timeframe=1w`],
    [historical, 200, `/api/v1/historical/BTC%2FUSD?${range}&timeframe=1mo`],
    [historical, 200, `/api/v1/historical/BAD?${range}`],
    [historical, 200, `/api/v1/historical/EMPTY?${range}`],
    [historical, 200, `/api/v1/historical/REFUSED?${range}`],
    ['/symbols', 200, '/symbols'],
    ['/price/latest', 200, '/price/latest?symbol=AAPL'],
    ['/price/latest', 404, '/price/latest?symbol=NOPE'],
    ['/price/latest', 404, '/price/latest?symbol=UNASKED'],
    ['/price/latest', 422, '/price/latest'],
    [historical, 404, `/api/v1/historical/NOPE?${range}`],
    [historical, 422, '/api/v1/historical/AAPL?start=x&end=y'],
    [historical, 422, '/api/v1/historical/AAPL'],
    ['/candles', 200, '/candles?symbol=AAPL'],
    ['/candles', 200, '/candles?symbol=AAPL&adjustment=all'],
    ['/candles', 422, '/candles?symbol=AAPL&adjustment=x'],
    ['/api/v1/quality', 200, '/api/v1/quality'],
    ['/api/v1/quality', 404, '/api/v1/quality?symbol=NOPE'],
    ['/api/v1/revisions', 200, '/api/v1/revisions?reason=all'],
    ['/api/v1/revisions', 422, '/api/v1/revisions?limit=0'],
    ['/api/v1/market/status', 200, '/api/v1/market/status?at=2026-11-27T17:00:00Z'],
    ['/api/v1/market/status', 200, '/api/v1/market/status?at=2026-11-28T17:00:00Z'],
    ['/api/v1/market/status', 422, '/api/v1/market/status?at=2026-11-27'],
    ['/api/v1/calendar', 200, '/api/v1/calendar?start=2026-11-26&end=2026-11-27&closed=true'],
    ['/api/v1/instruments/{symbol}', 200, '/api/v1/instruments/AAPL?asof=2024-01-31'],
    ['/api/v1/instruments/{symbol}', 404, '/api/v1/instruments/NOPE'],
    ['/api/v1/instruments/{symbol}', 422, '/api/v1/instruments/AAPL?asof=x'],
    ['/api/v1/calendar', 422, '/api/v1/calendar?start=2026-11-26'],
    ['/api/v1/findings', 200, '/api/v1/findings?symbol=AAPL'],
    ['/api/v1/findings', 422, '/api/v1/findings?state=x'],
    ['/api/v1/findings/{id}', 200, '/api/v1/findings/1'],
    ['/api/v1/findings/{id}', 404, '/api/v1/findings/999999'],
    ['/api/v1/admin/symbols', 200, '/api/v1/admin/symbols'],
    ['/api/v1/admin/symbols', 422, '/api/v1/admin/symbols?tracked=x'],
    ['/api/v1/admin/symbols/{symbol}', 200, '/api/v1/admin/symbols/AAPL'],
    ['/api/v1/admin/symbols/{symbol}', 404, '/api/v1/admin/symbols/NOPE'],
    ['/api/v1/admin/calendar/overrides', 200, '/api/v1/admin/calendar/overrides'],
    ['/api/v1/admin/calendar/overrides', 422, '/api/v1/admin/calendar/overrides?a=1&a=2'],
    ['/api/v1/audit', 200, '/api/v1/audit'],
    ['/api/v1/corporate-actions/{symbol}', 200, '/api/v1/corporate-actions/AAPL?withdrawn=true'],
    ['/api/v1/corporate-actions/{symbol}', 422, '/api/v1/corporate-actions/AAPL?kind=x'],
    ['/api/v1/reconciliation', 200, '/api/v1/reconciliation'],
    ['/api/v1/reconciliation', 404, '/api/v1/reconciliation?symbol=NOPE'],
    ['/api/v1/reconciliation', 422, '/api/v1/reconciliation?limit=0'],
    ['/api/v1/coverage/{symbol}', 200, '/api/v1/coverage/AAPL?closures=true'],
    ['/api/v1/coverage/{symbol}', 200, '/api/v1/coverage/UNASKED?timeframe=1m'],
    ['/api/v1/coverage/{symbol}', 422, '/api/v1/coverage/AAPL?timeframe=5m'],
  ];
  for (const [path, status, actual] of asked) {
    test(`describes the answer to ${actual}`, async () => {
      const response = await server.get(actual);
      expect(response.status).toBe(status);
      const { content } = document.paths[path]!.get!.responses[String(status)]!;
      expect(violations(content!['application/json']!.schema, await response.json())).toEqual([]);
    });
  }

  const decisions: [path: string, status: number, actual: string, body: object][] = [
    ['/{id}', 200, '/1', { decision: 'annotate', note: 'x' }],
    ['/{id}', 409, '/1', { decision: 'accept' }],
    ['/{id}', 404, '/999999', { decision: 'accept' }],
    ['', 200, '', { ids: [1], decision: 'reject' }],
    ['', 422, '', { ids: [], decision: 'reject' }],
  ];
  for (const [path, status, actual, body] of decisions) {
    test(`describes the ${status} to ${JSON.stringify(body)}, and the body`, async () => {
      const operation = document.paths[`/api/v1/admin/findings${path}`]!.post!;
      const sent = operation.requestBody as { content: Record<string, { schema: Schema }> };
      expect(Object.keys(sent.content)).toEqual(['application/json']);
      expect(violations(sent.content['application/json']!.schema, body)).toEqual([]);
      const response = await server.get(`/api/v1/admin/findings${actual}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(response.status).toBe(status);
      const { content } = operation.responses[String(status)]!;
      expect(violations(content!['application/json']!.schema, await response.json())).toEqual([]);
    });
  }

  const changes: [method: string, path: string, status: number, actual: string, body?: object][] = [
    ['post', '', 200, '', { symbols: ['AAPL'], timeframes: ['1h'], backfill: true }],
    ['post', '', 422, '', { symbols: [] }],
    ['put', '/{symbol}', 200, '/MSFT', { tracked: true, timeframes: ['1h'] }],
    ['put', '/{symbol}', 404, '/NOPE', { tracked: true }],
    ['put', '/{symbol}/timeframes', 200, '/MSFT', { timeframes: [] }],
    ['put', '/{symbol}/timeframes', 422, '/MSFT', { timeframes: ['5m'] }],
    ['delete', '/{symbol}', 200, '/EMPTY'],
    ['delete', '/{symbol}', 404, '/NOPE'],
  ];
  for (const [method, path, status, actual, body] of changes) {
    test(`describes the ${status} to ${method} ${actual}${path.slice(9)}`, async () => {
      const operation = document.paths[`/api/v1/admin/symbols${path}`]![method]!;
      const sent = operation.requestBody as { content: Record<string, { schema: Schema }> };
      if (body) expect(violations(sent.content['application/json']!.schema, body)).toEqual([]);
      const address = `/api/v1/admin/symbols${actual}${path.slice('/{symbol}'.length)}`;
      const response = await server.get(address, {
        method: method.toUpperCase(),
        ...(body && {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        }),
      });
      expect(response.status).toBe(status);
      const { content } = operation.responses[String(status)]!;
      expect(violations(content!['application/json']!.schema, await response.json())).toEqual([]);
    });
  }

  const overrides: [method: string, status: number, actual: string, body?: object][] = [
    ['put', 200, '2027-05-05', { kind: 'session', close: '13:00', reason: 'Storm' }],
    ['put', 200, '2027-05-05?dry_run=true', { kind: 'closed', reason: 'Storm' }],
    ['put', 422, '2027-05-05', { kind: 'closed', reason: '' }],
    ['delete', 200, '2027-05-05'],
    ['delete', 404, '2027-05-05'],
  ];
  for (const [method, status, actual, body] of overrides) {
    test(`describes the ${status} to ${method} an override of ${actual}`, async () => {
      const operation = document.paths['/api/v1/admin/calendar/overrides/{date}']![method]!;
      const sent = operation.requestBody as { content: Record<string, { schema: Schema }> };
      if (body) expect(violations(sent.content['application/json']!.schema, body)).toEqual([]);
      const response = await server.get(`/api/v1/admin/calendar/overrides/${actual}`, {
        method: method.toUpperCase(),
        ...(body && {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        }),
      });
      expect(response.status).toBe(status);
      const { content } = operation.responses[String(status)]!;
      expect(violations(content!['application/json']!.schema, await response.json())).toEqual([]);
    });
  }

  test('describes the CSV as well', async () => {
    const { content } = document.paths[historical]!.get!.responses[200]!;
    const example = String(content!['text/csv']!.example);
    const response = await server.get(`/api/v1/historical/AAPL?${range}&format=csv`);
    const lines = (await response.text()).split('\n');
    expect(example.split('\n')[0]).toBe(lines[0]);
    expect(example.split('\n')[1]!.split(',')).toHaveLength(lines[1]!.split(',').length);
  });
});

describe('cleaning', () => {
  const cases: [what: string, given: Schema, clean: Schema][] = [
    ['const', { const: 'raw' }, { type: 'string', enum: ['raw'] }],
    ['const with a type', { const: 1, type: 'integer' }, { type: 'integer', enum: [1] }],
    ['examples', { type: 'string', examples: ['a', 'b'] }, { type: 'string', example: 'a' }],
    ['keys of TypeBox', { type: 'string', $id: 'x', elysiaMeta: 1 }, { type: 'string' }],
    ['what text means', { type: 'string', meaning: 'boolean' }, { type: 'boolean' }],
    [
      'a union with null',
      { anyOf: [{ type: 'string', format: 'date' }, { type: 'null' }], description: 'd' },
      { type: 'string', format: 'date', description: 'd', nullable: true },
    ],
    [
      'a number that is parsed from text',
      { anyOf: [{ type: 'string', format: 'numeric' }, { type: 'number' }] },
      { type: 'number' },
    ],
    [
      'a union of two things',
      { anyOf: [{ const: 'a' }, { const: 'b' }] },
      {
        anyOf: [
          { type: 'string', enum: ['a'] },
          { type: 'string', enum: ['b'] },
        ],
      },
    ],
    [
      'a record',
      { type: 'object', patternProperties: { '^.*$': { const: 'x' } } },
      { type: 'object', additionalProperties: { type: 'string', enum: ['x'] } },
    ],
    [
      'properties, also one with the name of a keyword',
      { type: 'object', properties: { const: { $id: 'y', type: 'array', items: { $id: 'z' } } } },
      { type: 'object', properties: { const: { type: 'array', items: {} } } },
    ],
  ];
  for (const [what, given, clean] of cases) {
    test(`of ${what}`, () => {
      expect(cleanSchema(given as never)).toEqual(clean as never);
    });
  }

  test('of a body keeps its JSON only', () => {
    const json = { schema: { const: 1 }, example: 1 };
    const post = {
      requestBody: { required: true, content: { 'application/json': json, 'text/plain': json } },
    };
    const { paths } = cleanDocument({ openapi: '3.0.3', paths: { '/x': { post } } });
    expect((paths as never)['/x']).toMatchObject({
      post: {
        requestBody: {
          required: true,
          content: {
            'application/json': { schema: { type: 'number', enum: [1] }, example: 1 },
          },
        },
      },
    } as never);
    expect(JSON.stringify(paths)).not.toContain('text/plain');
  });

  test('makes a document of nearly nothing', () => {
    const document = { openapi: '3.0.3', paths: { '/x': { get: {}, parameters: [] } } };
    expect(cleanDocument({ ...document, components: { schemas: {} } })).toEqual({
      openapi: '3.0.3',
      paths: { '/x': { get: { responses: { 200: { description: 'Response' } } }, parameters: [] } },
    });
  });
});
