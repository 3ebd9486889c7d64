import { Html } from '@elysiajs/html';
import { AwayPage, ErrorPage } from '../../views/error.tsx';
import type { AppContext } from './app.ts';
import type { ShownProblem } from './errors.ts';
import { pageProps, pageResponse } from './page-response.tsx';

const RELOAD_SECONDS = 5;

/**
 * Errors as pages, for who opens an address or sends a form with a browser. The one for a database
 * that is away is loaded again by the browser, unless it was a form that was sent.
 */
export function errorPage(context: AppContext) {
  return (problem: ShownProblem, request: Request): Promise<Response> => {
    const { status, code, message, requestId } = problem;
    const page = pageProps(context, request);
    const headers: Record<string, string> = { 'x-request-id': requestId };
    if (code !== 'database_away') {
      if (status === 503) headers['retry-after'] = `${RELOAD_SECONDS}`;
      const shown = { status, message, requestId };
      return pageResponse(request, <ErrorPage page={page} {...shown} />, status, headers);
    }
    const canReload = request.method === 'GET' || request.method === 'HEAD';
    const reloadSeconds = canReload ? RELOAD_SECONDS : undefined;
    const away = <AwayPage page={page} reloadSeconds={reloadSeconds} />;
    return pageResponse(request, away, status, { ...headers, 'retry-after': `${RELOAD_SECONDS}` });
  };
}
