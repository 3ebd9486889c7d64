import { Html } from '@elysiajs/html';
import { type Children, count, plural } from './elements.tsx';
import { LiveLink } from './live.tsx';

/** Tables and lists that are sorted, filtered and paged by the server. */

export interface ListState {
  sort: string;
  direction: 'asc' | 'desc';
  /** From 1 on. */
  page: number;
  /** What is searched for; '' for all. */
  q: string;
}

/** A path with a query of what is given and not empty, in the order given. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') parameters.set(name, `${value}`);
  }
  const text = parameters.toString();
  return text === '' ? path : `${path}?${text}`;
}

export interface SortHeaderProps {
  label: string;
  column: string;
  state: Pick<ListState, 'sort' | 'direction'>;
  /** The page sorted otherwise, from its first page on. */
  href: (changes: { sort: string; direction: 'asc' | 'desc'; page: 1 }) => string;
  region: string;
  isNumber?: boolean;
  class?: string;
  /** What a first click does; numbers begin with the largest. */
  first?: 'asc' | 'desc';
}

const SORTED = { asc: 'ascending', desc: 'descending' } as const;
const ARROWS = { asc: '▲', desc: '▼' };

/** The head of a column that sorts by it, and the other way round when it does so already. */
export function SortHeader(props: SortHeaderProps): JSX.Element {
  const { label, column, state, href, region, isNumber } = props;
  const isSorted = state.sort === column;
  const first = props.first ?? (isNumber ? 'desc' : 'asc');
  const direction = isSorted ? (state.direction === 'asc' ? 'desc' : 'asc') : first;
  return (
    <th
      scope="col"
      class={isNumber ? 'number' : props.class}
      aria-sort={isSorted ? SORTED[state.direction] : undefined}
    >
      <LiveLink href={href({ sort: column, direction, page: 1 })} region={region} class="sort">
        <span safe>{label}</span>
        <span class="arrow" aria-hidden="true">
          {isSorted ? ARROWS[state.direction] : ''}
        </span>
      </LiveLink>
    </th>
  );
}

export interface PagerProps {
  page: number;
  /** At least 1. */
  pages: number;
  /** Of all pages. */
  total: number;
  /** Of what, e.g. 'symbol'. */
  noun: string;
  href: (page: number) => string;
  region: string;
}

/** How many there are, and the way to the rest of them. */
export function Pager({ page, pages, total, noun, href, region }: PagerProps): JSX.Element {
  const link = (to: number, text: string, label: string) =>
    to < 1 || to > pages || to === page ? (
      <span class="button off" aria-hidden="true" safe>
        {text}
      </span>
    ) : (
      <LiveLink href={href(to)} region={region} class="button" label={label}>
        <span safe>{text}</span>
      </LiveLink>
    );
  return (
    <nav class="pager" aria-label={`Pages of ${noun}s`}>
      <span safe>{plural(total, noun)}</span>
      {pages > 1 ? (
        <>
          {link(1, '«', 'First page')}
          {link(page - 1, '‹', 'Previous page')}
          <span aria-current="page" safe>{`page ${count(page)} of ${count(pages)}`}</span>
          {link(page + 1, '›', 'Next page')}
          {link(pages, '»', 'Last page')}
        </>
      ) : null}
    </nav>
  );
}

/** What a list says when it holds nothing: that it does, and what to do next. */
export function Empty(props: { title: string; children?: Children }): JSX.Element {
  return (
    <div class="empty">
      <p>
        <strong safe>{props.title}</strong>
      </p>
      {props.children}
    </div>
  );
}
