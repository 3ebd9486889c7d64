import { Html } from '@elysiajs/html';
import { type Notice, NoticeText } from '../../views/elements.tsx';
import { AwayPage } from '../../views/error.tsx';
import type { PageProps } from '../../views/layout.tsx';
import { isDatabaseAway } from '../store/database.ts';
import type { AppContext } from './app.ts';
import { ASSET_PATHS } from './assets.ts';
import { compressed } from './compress.ts';

/** How pages, the parts of them that are polled, and what is sent by their forms are answered. */

const RELOAD_SECONDS = 5;
const POLL_SECONDS = 10;

// ------------------------------------------------------------------ notices that are told once

const FLASH = 'marketd_notice';
const FLASH_SECONDS = 60;
const FLASH_ATTRIBUTES = 'Path=/dashboard; HttpOnly; SameSite=Strict';
/** A cookie has 4,096 bytes with its name and attributes. */
const FLASH_LENGTH_MAX = 3_500;

function flashCookie(notice: Notice): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const { undo: _, ...rest } = notice;
  const whole = encode(notice);
  const value =
    whole.length <= FLASH_LENGTH_MAX
      ? whole
      : encode({ ...rest, text: `${rest.text.slice(0, 500)}...` });
  return `${FLASH}=${value}; Max-Age=${FLASH_SECONDS}; ${FLASH_ATTRIBUTES}`;
}

function readFlash(request: Request): Notice | undefined {
  const cookies = request.headers.get('cookie') ?? '';
  const value = new RegExp(`(?:^|;\\s*)${FLASH}=([\\w-]+)`).exec(cookies)?.[1];
  if (value === undefined) return undefined;
  try {
    const notice = JSON.parse(Buffer.from(value, 'base64url').toString()) as Notice;
    return isNotice(notice) ? notice : undefined;
  } catch {
    return undefined; // not ours: there is nothing to tell
  }
}

const OUR_PATH = /^\/dashboard\/[\w/-]+$/;
const CONDITIONS = ['good', 'busy', 'attention', 'bad', 'idle'];

function isNotice(notice: Notice | null): boolean {
  if (typeof notice?.text !== 'string' || !CONDITIONS.includes(notice.condition)) return false;
  const { link, undo } = notice;
  // A form and a link go to pages of ours alone, whoever wrote the cookie.
  return [link?.href, undo?.action].every((path) => path === undefined || OUR_PATH.test(path));
}

// ----------------------------------------------------------------------------------- answers

/** What every page is told of the server, and of the operator's last action. */
export function pageProps(context: AppContext, request: Request): PageProps {
  const { version, now, pollSeconds = POLL_SECONDS } = context;
  const notice = readFlash(request);
  const { pathname, search } = new URL(request.url);
  // A link to '//name' would lead to another host.
  const path = pathname.replace(/^\/+/, '/');
  return {
    // What was sent by a form is not sent again by loading the page.
    url: request.method === 'GET' ? path + search : '/dashboard',
    assets: ASSET_PATHS,
    version,
    now: new Date(now()),
    pollSeconds,
    ...(notice && { notice }),
  };
}

const HTML = 'text/html; charset=utf-8';

/** A whole page. A notice that it told is not told again. */
export async function pageResponse(
  request: Request,
  page: JSX.Element,
  status = 200,
  headers: Record<string, string> = {},
): Promise<Response> {
  const told = readFlash(request) && { 'set-cookie': `${FLASH}=; Max-Age=0; ${FLASH_ATTRIBUTES}` };
  return compressed(request, `<!doctype html>${await page}`, {
    status,
    headers: { 'content-type': HTML, 'cache-control': 'no-cache', ...told, ...headers },
  });
}

/** The page, or, while the database is away, one that says so and loads again by itself. */
export async function orAway(
  context: AppContext,
  request: Request,
  make: () => Promise<Response>,
): Promise<Response> {
  try {
    return await make();
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    const page = <AwayPage page={pageProps(context, request)} reloadSeconds={RELOAD_SECONDS} />;
    return pageResponse(request, page, 503, { 'retry-after': `${RELOAD_SECONDS}` });
  }
}

/**
 * A part of a page; 304 when nothing changed: the tag is of the data, before any of it is rendered.
 * @param data all that the part shows, or what tells one state of it from another.
 */
export async function fragmentResponse(
  request: Request,
  version: string,
  data: unknown,
  render: () => JSX.Element | Promise<JSX.Element>,
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
  return compressed(request, await render(), { headers: { 'content-type': HTML, ...headers } });
}

export interface ActionOutcome {
  notice: Notice;
  /** Where a browser without JavaScript goes on. */
  location: string;
  /** The part of the page that shows the outcome. */
  region: () => JSX.Element | Promise<JSX.Element>;
  /** The page with the notice, for what was refused. */
  page: (notice: Notice) => JSX.Element | Promise<JSX.Element>;
  /** Of what was refused. */
  status?: number;
}

/**
 * The answer to a form. htmx gets the part of the page and the notice, with 200 also for what was
 * refused, because errors are not shown in place. A browser without JavaScript is sent on when it
 * was done, and shown the page with the reason when not.
 */
export async function actionResponse(request: Request, outcome: ActionOutcome): Promise<Response> {
  const { notice, location, region, page, status = 422 } = outcome;
  if (request.headers.get('hx-request') === 'true') {
    const notices = (
      <div id="notices" hx-swap-oob="innerHTML">
        <NoticeText notice={notice} />
      </div>
    );
    const html = `${await region()}${await notices}`;
    const headers = {
      'content-type': HTML,
      'cache-control': 'no-store',
      'x-outcome': notice.condition,
    };
    return compressed(request, html, { headers });
  }
  if (notice.condition === 'bad') return pageResponse(request, await page(notice), status);
  return new Response(null, {
    status: 303,
    headers: { location, 'set-cookie': flashCookie(notice), 'cache-control': 'no-store' },
  });
}
