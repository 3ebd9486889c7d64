import { newYorkDay, toDate, yearsAgo } from '../model/session.ts';
import { enqueueJobRequest, JOB_SYMBOLS_MAX, type JobRequest } from '../store/job-requests.ts';
import {
  type AddedSymbols,
  type TrackingChange,
  trackSymbols,
  updateTracking,
} from '../store/symbols.ts';
import type { AppContext } from './app.ts';

/** What operators change of what is tracked, by the pages and by the API alike. */

type TrackingContext = Pick<
  AppContext,
  'database' | 'now' | 'operations' | 'overview' | 'symbols' | 'status'
>;

export interface Addition {
  symbols: readonly string[];
  /** What those are filled with that are new, or tracked again. */
  timeframes: readonly string[];
  /** Whether their history is to be loaded now. */
  isLoaded: boolean;
  actor: string;
}

export interface Added {
  fresh: string[];
  /** Known before, and tracked again. */
  again: string[];
  /** Tracked already: nothing was done about them. */
  known: string[];
  /** What is to be loaded, one for each timeframe. */
  requests: JobRequest[];
}

/**
 * Adds symbols to what is tracked and, when that is asked for, has their history loaded; all of it
 * or nothing.
 * @throws InputError for a symbol that is none or cannot be had, and for a timeframe that is none.
 */
export async function addSymbols(context: TrackingContext, addition: Addition): Promise<Added> {
  const { symbols, timeframes, isLoaded, actor } = addition;
  const atMs = context.now();
  const requests: JobRequest[] = [];
  const added = await trackSymbols(
    context.database.write,
    symbols,
    { isTracked: true, timeframes, by: { actor, atMs } },
    async (tx, changed) => {
      const names = namesOf(changed);
      if (!isLoaded || names.length === 0) return;
      for (const timeframe of new Set(['1d', ...timeframes])) {
        const job = { kind: 'backfill' as const, actor };
        const wanted = backfillArguments(context, names, timeframe);
        requests.push(await enqueueJobRequest(tx, { ...job, arguments: wanted }, atMs));
      }
    },
  );
  forget(context);
  const changed = new Set(namesOf(added));
  return {
    fresh: added.fresh.map(({ symbol }) => symbol),
    again: added.again.map(({ symbol }) => symbol).sort(),
    known: [...new Set(symbols)].filter((symbol) => !changed.has(symbol)),
    requests,
  };
}

const namesOf = ({ fresh, again }: AddedSymbols) =>
  [...fresh, ...again].map(({ symbol }) => symbol);

/** Of more than one request may name, all that is tracked is looked at; nothing is asked twice. */
function backfillArguments(context: TrackingContext, symbols: string[], timeframe: string) {
  return {
    symbols: symbols.length > JOB_SYMBOLS_MAX ? null : symbols,
    timeframe,
    firstSession: firstSession(context, timeframe),
    lastSession: null,
    retryEmpty: false,
  };
}

const YEARS_DEFAULT = 5;
const DAYS_DEFAULT = 90;

/** Where the history begins that is kept: of daily bars by years, below a day by days. */
export function firstSession({ operations, now }: TrackingContext, timeframe: string): string {
  const { BACKFILL_YEARS: years = YEARS_DEFAULT, DEFAULT_DAYS: days = DAYS_DEFAULT } =
    operations.settings;
  if (timeframe === '1d') return yearsAgo(Number(years), now());
  return toDate(newYorkDay(now()) - Number(days));
}

/**
 * Changes whether, and with what, known symbols are filled.
 * @returns the symbols of which each is new.
 * @throws InputError for a timeframe that is none.
 */
export async function changeTracking(
  context: TrackingContext,
  symbols: readonly string[],
  change: TrackingChange,
  actor: string,
) {
  const by = { actor, atMs: context.now() };
  const changed = await updateTracking(context.database.write, symbols, change, by);
  forget(context);
  return changed;
}

/** What this process has changed it knows before it is announced. */
function forget({ overview, symbols, status }: TrackingContext): void {
  overview.clear();
  symbols.clear();
  status.clear();
}
