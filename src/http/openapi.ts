/**
 * Makes a valid OpenAPI 3.0.3 document of what @elysiajs/swagger emits: that copies TypeBox schemas
 * as they are (`const`, `examples`, a null type, coercing unions), which validators refuse.
 */

type Json = null | boolean | number | string | Json[] | JsonObject;
interface JsonObject {
  [key: string]: Json | undefined;
}

/** Keywords of TypeBox and JSON Schema that OpenAPI 3.0 does not know. */
const UNKNOWN_KEYS = new Set([
  '$id',
  '$schema',
  'elysiaMeta',
  'const',
  'examples',
  'error',
  'meaning',
]);
const CHILD_KEYS = new Set(['items', 'not', 'additionalProperties']);
const LIST_KEYS = new Set(['anyOf', 'oneOf', 'allOf']);
/** Formats with which Elysia marks the text half of a coercing union. */
const COERCIONS = new Set(['numeric', 'integer', 'boolean', 'ArrayString', 'ObjectString']);

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** One schema in OpenAPI 3.0 terms. */
export function cleanSchema(schema: Json | undefined): Json {
  if (!isObject(schema)) return schema ?? {};
  const clean: JsonObject = {};
  for (const [key, value] of Object.entries(schema)) {
    if (UNKNOWN_KEYS.has(key)) continue;
    if (key === 'patternProperties' && isObject(value)) {
      clean.additionalProperties = cleanSchema(Object.values(value)[0]);
    } else if (key === 'properties' && isObject(value)) {
      clean.properties = Object.fromEntries(
        Object.entries(value).map(([name, child]) => [name, cleanSchema(child)]),
      );
    } else if (CHILD_KEYS.has(key)) clean[key] = isObject(value) ? cleanSchema(value) : value;
    else if (LIST_KEYS.has(key) && Array.isArray(value)) clean[key] = value.map(cleanSchema);
    else clean[key] = value;
  }
  // Text that is parsed by the route itself, documented as what it stands for.
  if (schema.meaning !== undefined) clean.type = schema.meaning;
  if (Array.isArray(schema.examples)) clean.example ??= schema.examples[0];
  if (schema.const !== undefined) {
    clean.enum = [schema.const];
    clean.type ??= typeof schema.const;
  }
  return Array.isArray(clean.anyOf) ? cleanUnion(clean, clean.anyOf) : clean;
}

/** A union with null becomes nullable; one of text and what the text means becomes the latter. */
function cleanUnion(schema: JsonObject, members: Json[]): JsonObject {
  const { anyOf: _, ...rest } = schema;
  const kept = members.filter(isObject).filter((member) => member.type !== 'null');
  const nullable = kept.length < members.length ? { nullable: true } : {};
  const isCoercion = (member: JsonObject) =>
    member.type === 'string' && COERCIONS.has(String(member.format));
  const meant = kept.filter((member) => !isCoercion(member));
  const chosen = meant.length > 0 ? meant : kept;
  if (chosen.length === 1) return { ...chosen[0], ...rest, ...nullable };
  return { ...rest, anyOf: chosen, ...nullable };
}

function cleanParameter(parameter: JsonObject): JsonObject {
  const { examples, ...rest } = parameter;
  const schema = cleanSchema(parameter.schema ?? { type: 'string' }) as JsonObject;
  const { description, example, ...type } = schema;
  const given = Array.isArray(examples) ? examples[0] : example;
  return {
    ...rest,
    ...(description !== undefined && { description }),
    ...(given !== undefined && { example: given }),
    required: parameter.in === 'path' || (parameter.required === true && !('default' in type)),
    schema: type,
  };
}

function cleanResponse(response: Json | undefined): JsonObject {
  const given = isObject(response) ? response : {};
  const clean: JsonObject = { description: given.description ?? 'Response' };
  if (!isObject(given.content)) return clean;
  const content: JsonObject = {};
  for (const [type, body] of Object.entries(given.content)) {
    if (!isObject(body)) continue;
    content[type] = { ...body, schema: cleanSchema(body.schema) };
  }
  clean.content = content;
  return clean;
}

function cleanOperation(operation: JsonObject): JsonObject {
  const { requestBody, parameters, responses, ...rest } = operation;
  const list = Array.isArray(parameters) ? parameters.filter(isObject).map(cleanParameter) : [];
  const answers = isObject(responses) ? responses : { 200: {} };
  return {
    ...rest,
    ...(list.length > 0 && { parameters: list }),
    ...(isObject(requestBody) && { requestBody: cleanBody(requestBody) }),
    responses: Object.fromEntries(
      Object.entries(answers).map(([status, response]) => [status, cleanResponse(response)]),
    ),
  };
}

/** A request's body, which is JSON here and nothing else. */
function cleanBody({ required, content }: JsonObject): JsonObject {
  const type = 'application/json';
  const body = isObject(content) ? content[type] : undefined;
  const clean = isObject(body) ? { ...body, schema: cleanSchema(body.schema) } : {};
  return { required: required === true, content: { [type]: clean } };
}

/** The whole document. */
export function cleanDocument(document: unknown): JsonObject {
  // Through JSON first: schemas carry symbols and undefined values.
  const plain = JSON.parse(JSON.stringify(document)) as JsonObject;
  const paths: JsonObject = {};
  for (const [path, item] of Object.entries(isObject(plain.paths) ? plain.paths : {})) {
    if (!isObject(item)) continue;
    paths[path] = Object.fromEntries(
      Object.entries(item).map(([method, operation]) => [
        method,
        isObject(operation) ? cleanOperation(operation) : operation,
      ]),
    );
  }
  const { components: _, ...rest } = plain;
  return { ...rest, paths };
}
