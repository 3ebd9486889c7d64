import { Elysia, type ValidationError } from 'elysia';
import { errorMessage, InputError, ProviderError } from '../errors.ts';
import { isDatabaseAway } from '../store/database.ts';

/** An answer that is not 200 and not our fault. */
export class HttpError extends Error {
  override name = 'HttpError';
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
  ) {
    super(message);
  }
}

export interface ErrorBody {
  error: { code: string; message: string; field?: string };
  request_id: string;
}

const REQUEST_ID = /^[\w.-]{1,64}$/;

/** The caller's request id when it is a harmless one, else a new one. */
export function requestId(request: Request): string {
  const given = request.headers.get('x-request-id');
  return given !== null && REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

interface Problem {
  status: number;
  code: string;
  message: string;
  field?: string;
}

/** What a failed validation says: which parameter, and what is allowed. */
function describeValidation(error: ValidationError): Problem {
  const code = 'invalid_parameter';
  const [first] = error.all as { path?: string; message?: string; schema?: unknown }[];
  const field = first?.path?.replace(/^\//, '').replaceAll('/', '.') || undefined;
  const value = (error.value as Record<string, unknown> | undefined)?.[field ?? ''];
  const hint = (first?.schema as { description?: string } | undefined)?.description;
  const help = hint === undefined ? (first?.message ?? '') : hint;
  const message =
    value === undefined
      ? `${field ?? error.type} is missing: ${help}`
      : `${field} is ${JSON.stringify(String(value).slice(0, 80))}: ${help}`;
  return { status: 422, code, message, field };
}

function toProblem(code: string | number, error: unknown): Problem {
  if (error instanceof HttpError) return error;
  if (error instanceof InputError) {
    return { status: 422, code: 'invalid_parameter', message: error.message, field: error.field };
  }
  if (code === 'VALIDATION' && (error as ValidationError).type !== 'response') {
    return describeValidation(error as ValidationError);
  }
  if (code === 'NOT_FOUND') {
    return {
      status: 404,
      code: 'not_found',
      message: 'there is nothing at this address; see /docs',
    };
  }
  if (code === 'PARSE') return { status: 400, code: 'malformed', message: 'the body is malformed' };
  if (isDatabaseAway(error)) {
    const message = 'the database is away; marketd reconnects by itself, try again in a moment';
    return { status: 503, code: 'database_away', message };
  }
  if ((error as { code?: unknown } | null)?.code === '57014') {
    const message = 'the database took too long over this; try again, or ask for less';
    return { status: 503, code: 'too_slow', message };
  }
  if (error instanceof ProviderError) {
    return { status: 502, code: 'provider_failed', message: error.message };
  }
  return { status: 500, code: 'internal', message: 'an error of marketd itself; its log has it' };
}

/**
 * Every error in one shape, with the request's id. Nothing of the inside (stack, SQL, secret)
 * leaves: what is not known to be safe becomes "internal" and is logged instead.
 */
export function errorPlugin(log: (message: string, fields: object) => void) {
  return new Elysia({ name: 'errors' }).onError(
    { as: 'global' },
    ({ code, error, request, set }) => {
      const problem = toProblem(code, error);
      const id = requestId(request);
      // A database that is away is said once, by who listens to it, not for every request.
      if (problem.status >= 500 && problem.code !== 'database_away') {
        const { pathname } = new URL(request.url);
        const stack = problem.status === 500 && error instanceof Error ? error.stack : undefined;
        log(errorMessage(error), { request_id: id, path: pathname, stack });
      }
      const { status, message, field } = problem;
      const body: ErrorBody = {
        error: { code: problem.code, message, ...(field !== undefined && { field }) },
        request_id: id,
      };
      set.headers['x-request-id'] = id;
      if (status === 503) set.headers['retry-after'] = '2';
      return Response.json(body, {
        status,
        headers: { 'x-request-id': id, ...(status === 503 && { 'retry-after': '2' }) },
      });
    },
  );
}
