import { Html } from '@elysiajs/html';
import { type Children, type Notice, NoticeText } from './elements.tsx';
import { Session, Time } from './time.tsx';

export { Session, Time };

/** Where the files of pages are; the addresses change with their content. */
export interface AssetPaths {
  icon: string;
  style: string;
  htmx: string;
  script: string;
  chartLibrary: string;
  chart: string;
}

/** What every page is told of the server. */
export interface PageProps {
  assets: AssetPaths;
  version: string;
  /** Where the page is, with its query. */
  url: string;
  /** When the page was made. */
  now: Date;
  /** How often an open page asks for what has changed. */
  pollSeconds: number;
  /** What came of the operator's last action, told once. */
  notice?: Notice;
}

/** The parts of the site, as the navigation has them. */
export type Section =
  | 'overview'
  | 'symbols'
  | 'backfill'
  | 'quality'
  | 'market'
  | 'system'
  | 'docs';

const SECTIONS: readonly { section: Section; href: string; label: string }[] = [
  { section: 'overview', href: '/dashboard', label: 'Overview' },
  { section: 'symbols', href: '/dashboard/symbols', label: 'Symbols' },
  { section: 'backfill', href: '/dashboard/backfill', label: 'Backfill' },
  { section: 'quality', href: '/dashboard/quality', label: 'Quality' },
  { section: 'market', href: '/dashboard/market', label: 'Market' },
  { section: 'system', href: '/dashboard/system', label: 'System' },
  { section: 'docs', href: '/docs', label: 'API docs' },
];

export interface LayoutProps {
  page: PageProps;
  /** What the page shows; the browser's title has the name of the program behind it. */
  title: string;
  /** Which part of the site is shown; undefined for none of them. */
  section?: Section;
  /** Further scripts of the page, by address. */
  scripts?: readonly string[];
  /** Makes the browser load the page again after so many seconds, instead of polling parts. */
  reloadSeconds?: number;
  /** What it shows has a `main` element of its own. */
  bringsMain?: boolean;
  children: Children;
}

// Errors leave what is shown in place; a server that hangs is noticed after 15 s.
const HTMX_CONFIG = '{"noSwap":[204,304,"4xx","5xx"],"defaultTimeout":15000,"history":false}';

/** The heading of a page, and short facts under it. */
export function PageTitle(props: { title: string; children?: Children }): JSX.Element {
  const { title, children } = props;
  const hasFacts = Boolean(children);
  return (
    <div class="title">
      <h1 safe>{title}</h1>
      {hasFacts ? <div class="facts">{children}</div> : null}
    </div>
  );
}

function Head({ page, title, scripts = [], reloadSeconds }: LayoutProps): JSX.Element {
  const { assets } = page;
  return (
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta name="color-scheme" content="light dark" />
      <meta name="htmx-config" content={HTMX_CONFIG} />
      {reloadSeconds === undefined ? null : (
        <meta http-equiv="refresh" content={`${reloadSeconds}`} />
      )}
      <title safe>{title === 'marketd' ? title : `${title} - marketd`}</title>
      <link rel="icon" type="image/svg+xml" href={assets.icon} />
      <link rel="stylesheet" href={assets.style} />
      {reloadSeconds === undefined ? (
        <>
          <script src={assets.htmx} defer></script>
          <script src={assets.script} defer></script>
          {scripts.map((src) => (
            <script src={src} defer></script>
          ))}
        </>
      ) : null}
    </head>
  );
}

function Navigation({ section }: { section?: Section }): JSX.Element {
  return (
    <nav aria-label="Pages">
      <ul>
        {SECTIONS.map((one) => (
          <li>
            <a href={one.href} aria-current={one.section === section ? 'page' : undefined} safe>
              {one.label}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** The frame of every page: no inline script, no inline style, nothing from another host. */
export function Layout(props: LayoutProps): JSX.Element {
  const { page, section, children } = props;
  return (
    <html lang="en">
      <Head {...props} />
      <body>
        <a class="skip" href="#main">
          Skip to the content
        </a>
        <header class="top">
          <a class="brand" href="/dashboard">
            marketd
          </a>
          <Navigation section={section} />
          <a class="button refresh" id="refresh" href={page.url}>
            Refresh
          </a>
        </header>
        <p id="connection" class="notice bad" role="status" hidden></p>
        <div id="notices" role="status">
          {page.notice ? <NoticeText notice={page.notice} /> : null}
        </div>
        {props.bringsMain ? (
          <div id="main" tabindex="-1">
            {children}
          </div>
        ) : (
          <main id="main" tabindex="-1">
            {children}
          </main>
        )}
        <footer class="foot">
          <span safe>{`marketd ${page.version}`}</span>
          <span id="checked">
            Checked <Time at={page.now} seconds />
          </span>
          <a href="/health">Health check</a>
          <noscript>Without JavaScript a page stays as it is until you press Refresh.</noscript>
        </footer>
      </body>
    </html>
  );
}
