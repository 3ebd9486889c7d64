import type { ListState } from '../../views/list.tsx';
import { InputError } from '../errors.ts';

/** What a list shows, as its address says it. */

export interface ListRules {
  /** What it can be sorted by. */
  columns: readonly string[];
  /** How it is sorted when nothing is said. */
  sort: string;
  direction: 'asc' | 'desc';
}

const SEARCH_LENGTH_MAX = 100;
const PAGE_MAX = 1_000_000;

/**
 * Sorting, page and search of a query string (`sort`, `dir`, `page`, `q`).
 * @throws InputError for what the list does not know; it says what is allowed.
 */
export function parseListState(
  query: Readonly<Record<string, string | undefined>>,
  rules: ListRules,
): ListState {
  const { sort = rules.sort, dir = rules.direction, page = '1', q = '' } = query;
  if (!rules.columns.includes(sort)) {
    const allowed = rules.columns.join(', ');
    throw new InputError(`sort is ${JSON.stringify(sort.slice(0, 40))}: one of ${allowed}`, 'sort');
  }
  if (dir !== 'asc' && dir !== 'desc') {
    throw new InputError(`dir is ${JSON.stringify(dir.slice(0, 40))}: asc or desc`, 'dir');
  }
  const number = /^\d{1,7}$/.test(page) ? Number(page) : 0;
  if (number < 1 || number > PAGE_MAX) {
    const allowed = `a whole number from 1 to ${PAGE_MAX}`;
    throw new InputError(`page is ${JSON.stringify(page.slice(0, 40))}: ${allowed}`, 'page');
  }
  if (q.length > SEARCH_LENGTH_MAX || q.includes('\0')) {
    throw new InputError(`q must be text of at most ${SEARCH_LENGTH_MAX} characters`, 'q');
  }
  return { sort, direction: dir, page: number, q: q.trim() };
}

/** The rows of a page, and how many pages there are; a page beyond the last is the last. */
export function cutPage<T>(
  rows: readonly T[],
  page: number,
  size: number,
): { rows: T[]; page: number; pages: number } {
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const shown = Math.min(page, pages);
  return { rows: rows.slice((shown - 1) * size, shown * size), page: shown, pages };
}
