import { readBody } from './body.ts';
import { HttpError } from './errors.ts';

const BODY_BYTES_MAX = 65_536;

/**
 * The object that a request's body holds, with only fields that are known.
 * @param bytesMax how large it may be.
 * @throws HttpError 415, 413 or 400 for a body that is none, 422 for a field nobody knows.
 */
export async function readJsonObject(
  request: Request,
  fields: readonly string[],
  bytesMax = BODY_BYTES_MAX,
): Promise<Record<string, unknown>> {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    throw new HttpError(415, 'unsupported_type', 'send JSON, with content-type: application/json');
  }
  const text = new TextDecoder().decode(await readBody(request, bytesMax, 'body'));
  const value = parseObject(text);
  if (!value) throw new HttpError(400, 'malformed', 'the body must be a JSON object');
  const unknown = Object.keys(value).find((name) => !fields.includes(name));
  if (unknown === undefined) return value;
  const field = unknown.slice(0, 40);
  throw new HttpError(
    422,
    'invalid_parameter',
    `${JSON.stringify(field)} is not known: the body may have ${fields.join(', ')}`,
    field,
  );
}

function parseObject(text: string): Record<string, unknown> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}
