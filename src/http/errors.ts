import { Elysia, type ValidationError } from 'elysia';
import { errorMessage, InputError, ProviderError } from '../errors.ts';
import { isDatabaseAway } from '../store/database.ts';
import { parseWeights } from './compress.ts';

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

/** An error as it leaves. */
export interface ShownProblem extends Problem {
  requestId: string;
}

/** What the plugin asks of the application around it. */
export interface ErrorSurroundings {
  /** The error as a page, for a browser. */
  page?: (problem: ShownProblem, request: Request) => Promise<Response>;
  /** Every route, once all of them are there. */
  routes?: () => readonly { method: string; path: string }[];
}

/**
 * Every error in one shape, with the request's id. Nothing of the inside (stack, SQL, secret)
 * leaves: what is not known to be safe becomes "internal" and is logged instead.
 */
export function errorPlugin(
  log: (message: string, fields: object) => void,
  { page, routes = () => [] }: ErrorSurroundings = {},
) {
  let methods: ((path: string) => string[]) | undefined;
  const methodsOf = (request: Request) => {
    methods ??= makeMethodLookup(routes());
    return methods(new URL(request.url).pathname);
  };
  return new Elysia({ name: 'errors' }).onError(
    { as: 'global' },
    async ({ code, error, request, set }) => {
      const allowed = code === 'NOT_FOUND' ? methodsOf(request) : [];
      const isMethod = allowed.length > 0 && !allowed.includes(request.method);
      const problem = isMethod ? methodProblem(request, allowed) : toProblem(code, error);
      const id = requestId(request);
      const { pathname } = new URL(request.url);
      // A database that is away is said once, by who listens to it, not for every request.
      if (problem.status >= 500 && problem.code !== 'database_away') {
        const stack = problem.status === 500 && error instanceof Error ? error.stack : undefined;
        log(errorMessage(error), { request_id: id, path: pathname, stack });
      }
      set.headers['x-request-id'] = id;
      if (isMethod) set.headers.allow = allowed.join(', ');
      if (page && wantsPage(request)) {
        const { status, message, field } = problem;
        const shown = { status, code: problem.code, message, field, requestId: id };
        try {
          return await page(shown, request);
        } catch (failure) {
          log(`the error page: ${errorMessage(failure)}`, { request_id: id, path: pathname });
        }
      }
      return jsonProblem(problem, id);
    },
  );
}

function jsonProblem({ status, code, message, field }: Problem, id: string): Response {
  const error = { code, message, ...(field !== undefined && { field }) };
  const body: ErrorBody = { error, request_id: id };
  return Response.json(body, {
    status,
    headers: {
      'x-request-id': id,
      vary: 'accept',
      ...(status === 503 && { 'retry-after': '2' }),
    },
  });
}

/**
 * Whether a browser opened this address, or sent a form to it: it asks for HTML first. Programs,
 * also those on pages, do not.
 */
function wantsPage(request: Request): boolean {
  const accepted = request.headers.get('accept');
  if (!accepted?.includes('text/html') || request.headers.has('hx-request')) return false;
  const weights = parseWeights(accepted);
  const html = weights.get('text/html') ?? 0;
  const json = weights.get('application/json') ?? 0;
  const isFirst = accepted.indexOf('text/html') < accepted.indexOf('application/json');
  return html > json || (html === json && html > 0 && isFirst);
}

function methodProblem({ method }: Request, allowed: readonly string[]): Problem {
  const message = `${method} is not possible at this address; ${allowed.join(', ')} is; see /docs`;
  return { status: 405, code: 'method_not_allowed', message };
}

/** Which methods an address has; none for one that does not exist. */
function makeMethodLookup(routes: readonly { method: string; path: string }[]) {
  const patterns = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  for (const { method, path } of routes) {
    if (path.startsWith('/docs/_')) continue; // nobody's but ours
    const known = patterns.get(path);
    const methods = known?.methods ?? new Set();
    for (const one of method === 'GET' ? ['GET', 'HEAD'] : [method]) methods.add(one);
    if (!known) patterns.set(path, { pattern: toPattern(path), methods });
  }
  return (address: string): string[] => {
    const found = [...patterns.values()].filter(({ pattern }) => pattern.test(address));
    return [...new Set(found.flatMap(({ methods }) => [...methods]))].sort();
  };
}

/** '/api/v1/findings/:id' -> a pattern; the router ignores a slash at the end. */
function toPattern(path: string): RegExp {
  const segments = path.split('/').map((segment) => {
    return segment.startsWith(':') ? '[^/]+' : segment.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  });
  return new RegExp(`^${segments.join('/').replace(/\/$/, '')}/?$`);
}
