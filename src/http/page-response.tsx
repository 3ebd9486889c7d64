import { Html } from '@elysiajs/html';
import { AwayPage } from '../../views/dashboard.tsx';
import { isDatabaseAway } from '../store/database.ts';
import type { AppContext } from './app.ts';
import { ASSET_PATHS } from './assets.ts';

/** How pages, and the parts of them that are polled, are answered. */

const RELOAD_SECONDS = 5;

/** What every page is told of the server. */
export function pageProps({ version, now }: AppContext) {
  return { assets: ASSET_PATHS, version, now: new Date(now()) };
}

/** A whole page. */
export async function pageResponse(
  page: JSX.Element,
  status = 200,
  headers: Record<string, string> = {},
): Promise<Response> {
  return new Response(`<!doctype html>${await page}`, {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      ...headers,
    },
  });
}

/**
 * The page, or, while the database is away, one that says so and loads again by itself.
 * @param path where the page is.
 */
export async function orAway(
  context: AppContext,
  path: string,
  make: () => Promise<Response>,
): Promise<Response> {
  try {
    return await make();
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    return pageResponse(
      <AwayPage {...pageProps(context)} path={path} reloadSeconds={RELOAD_SECONDS} />,
      503,
      { 'retry-after': `${RELOAD_SECONDS}` },
    );
  }
}

/**
 * A part of a page; 304 when nothing changed: the tag is of the data, before any of it is rendered.
 * @param data all that the part shows.
 */
export async function fragmentResponse(
  request: Request,
  version: string,
  data: unknown,
  render: () => JSX.Element,
  extra: Record<string, string> = {},
): Promise<Response> {
  const content = JSON.stringify([version, ASSET_PATHS, data]);
  // Weak: what is new each time, as the response time, is left out.
  const etag = `W/"${Bun.hash(content).toString(36)}"`;
  const headers = { etag, 'cache-control': 'no-cache', ...extra };
  const known = request.headers.get('if-none-match');
  if (known?.split(',').some((tag) => tag.trim() === etag)) {
    return new Response(null, { status: 304, headers });
  }
  return new Response(await render(), {
    headers: { 'content-type': 'text/html; charset=utf-8', ...headers },
  });
}
