import { Html } from '@elysiajs/html';
import type { Children } from './elements.tsx';
import { attributeText } from './elements.tsx';

/** Parts of pages that are polled, and the links and forms that change what they show. */

/** Where the part of a page is answered: '/page?q=a' -> '/page/status?q=a'. */
export function statusPath(path: string): string {
  const [page, query] = path.split('?', 2);
  return `${page}/status${query ? `?${query}` : ''}`;
}

export interface LiveProps {
  /** Also of the part that its path answers. */
  id: string;
  /** The page and its query: sorting, filter and page number travel in it. */
  path: string;
  pollSeconds: number;
  /** Something runs: asked for more often. */
  isBusy?: boolean;
  children: Children;
}

const BUSY_SECONDS = 2;

/**
 * A part of a page that is asked for again and again; the answer is this element anew. What was
 * typed, checked and opened in it stays, as long as each field and row has an id of its own.
 */
export function Live({ id, path, pollSeconds, isBusy, children }: LiveProps): JSX.Element {
  const seconds = isBusy ? Math.min(BUSY_SECONDS, pollSeconds) : pollSeconds;
  return (
    <div
      id={id}
      class="live"
      data-live
      hx-get={statusPath(path)}
      hx-trigger={`every ${seconds}s, refresh`}
      hx-swap="outerMorph"
      hx-sync="this:queue first"
    >
      <p id={`${id}-failure`} class="notice bad" role="status" data-failure hidden></p>
      {children}
    </div>
  );
}

export interface LiveLinkProps {
  /** The page with its new query. */
  href: string;
  /** Id of the part that shows it. */
  region: string;
  class?: string;
  label?: string;
  isCurrent?: boolean;
  children: Children;
}

/** A plain link; with JavaScript only the part of the page is fetched. */
export function LiveLink(props: LiveLinkProps): JSX.Element {
  return (
    <a
      class={props.class}
      href={props.href}
      aria-label={props.label}
      aria-current={props.isCurrent ? 'true' : undefined}
      hx-get={statusPath(props.href)}
      hx-target={`#${props.region}`}
      hx-swap="outerMorph"
      data-navigates
    >
      {props.children}
    </a>
  );
}

export interface FilterFormProps {
  /** For fields of the part it filters that belong to the form, as how it is sorted. */
  id?: string;
  /** The page. */
  action: string;
  region: string;
  /** What stays as it is: sorting, and filters that are links. */
  kept?: Readonly<Record<string, string | undefined>>;
  label: string;
  children: Children;
}

/** A search form that follows what is typed. It stands outside of the part that it filters. */
export function FilterForm(props: FilterFormProps): JSX.Element {
  const kept = Object.entries(props.kept ?? {}).filter(([, value]) => value);
  return (
    <search aria-label={props.label}>
      <form
        id={props.id}
        class="filter"
        method="get"
        action={props.action}
        autocomplete="off"
        hx-get={statusPath(props.action)}
        hx-trigger="submit, input delay:250ms"
        hx-target={`#${props.region}`}
        hx-swap="outerMorph"
        hx-sync="this:replace"
        data-navigates
      >
        {kept.map(([name, value]) => (
          <input type="hidden" name={name} value={attributeText(value ?? '')} />
        ))}
        {props.children}
        <button type="submit" class="button">
          Apply
        </button>
      </form>
    </search>
  );
}

export interface ActionFormProps {
  action: string;
  /** Id of the part that shows the outcome. */
  region: string;
  id?: string;
  class?: string;
  label?: string;
  /** With a file among the fields. */
  hasFile?: boolean;
  /** What goes with it unseen. */
  fields?: Readonly<Record<string, string | undefined>>;
  children: Children;
}

/**
 * A form that changes something; without JavaScript the page is loaded again with the outcome.
 * Sent twice, it is done once: buttons are not disabled meanwhile, which would take the focus away.
 */
export function ActionForm(props: ActionFormProps): JSX.Element {
  const fields = Object.entries(props.fields ?? {}).filter(([, value]) => value !== undefined);
  return (
    <form
      id={props.id}
      class={props.class}
      aria-label={props.label}
      method="post"
      action={props.action}
      enctype={props.hasFile ? 'multipart/form-data' : undefined}
      hx-post={props.action}
      hx-target={`#${props.region}`}
      hx-swap="outerMorph"
      hx-sync="this:drop"
    >
      {fields.map(([name, value]) => (
        <input type="hidden" name={name} value={attributeText(value ?? '')} />
      ))}
      {props.children}
    </form>
  );
}
