import { Html } from '@elysiajs/html';

export interface AssetPaths {
  icon: string;
  style: string;
  htmx: string;
  script: string;
}

export interface LayoutProps {
  title: string;
  version: string;
  assets: AssetPaths;
  /** When the page was made. */
  now: Date;
  /** Makes the browser load the page again after so many seconds, instead of polling parts. */
  reloadSeconds?: number;
  /** Where the page is; below it, at /status, the part of it that is polled. */
  path?: string;
  /** Set when nothing of the page changes. */
  isStill?: boolean;
  children: JSX.Element;
}

// Errors leave what is shown in place; a server that hangs is noticed after 15 s.
const HTMX_CONFIG = '{"noSwap":[204,304,"4xx","5xx"],"defaultTimeout":15000}';

/** '2026-01-05 14:30 UTC' for people, the whole instant for machines. */
export function Time({ at, seconds }: { at: Date; seconds?: boolean }): JSX.Element {
  const iso = at.toISOString();
  const text = `${iso.slice(0, 10)} ${iso.slice(11, seconds ? 19 : 16)} UTC`;
  return (
    <time datetime={iso} safe>
      {text}
    </time>
  );
}

/** A session, 'YYYY-MM-DD'. */
export function Session({ date }: { date: string }): JSX.Element {
  return (
    <time datetime={date} safe>
      {date}
    </time>
  );
}

interface RefreshProps {
  path: string;
  isPolled: boolean;
}

/** A link that works by itself; it fetches less where the page is polled. */
function Refresh({ path, isPolled }: RefreshProps): JSX.Element {
  if (!isPolled) {
    return (
      <a class="button primary" href={path}>
        Refresh
      </a>
    );
  }
  return (
    <a
      class="button primary"
      href={path}
      hx-get={`${path}/status`}
      hx-target="#status"
      hx-swap="innerMorph"
    >
      Refresh
    </a>
  );
}

/** The frame of every page: no inline script, no inline style, nothing from another host. */
export function Layout(props: LayoutProps): JSX.Element {
  const { title, version, assets, now, reloadSeconds, path = '/dashboard', children } = props;
  const isPolled = reloadSeconds === undefined && !props.isStill;
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="htmx-config" content={HTMX_CONFIG} />
        {reloadSeconds === undefined ? null : (
          <meta http-equiv="refresh" content={`${reloadSeconds}`} />
        )}
        <title safe>{title}</title>
        <link rel="icon" type="image/svg+xml" href={assets.icon} />
        <link rel="stylesheet" href={assets.style} />
        {isPolled ? (
          <>
            <script src={assets.htmx} defer></script>
            <script src={assets.script} defer></script>
          </>
        ) : null}
      </head>
      <body>
        <header class="top">
          <a class="brand" href="/dashboard">
            marketd
          </a>
          <span class="version" safe>
            {version}
          </span>
          <span id="checked" class="checked">
            Checked <Time at={now} seconds />
          </span>
          <nav class="actions" aria-label="Quick actions">
            <Refresh path={path} isPolled={isPolled} />
            <a class="button" href="/dashboard/reconciliation">
              Reconciliation
            </a>
            <a class="button" href="/docs">
              API docs
            </a>
            <a class="button" href="/health">
              Health check
            </a>
          </nav>
        </header>
        <p id="connection" class="notice bad" role="status" hidden></p>
        {children}
      </body>
    </html>
  );
}
