import { Html } from '@elysiajs/html';
import type { SessionState } from '../src/model/absence.ts';
import { count, plural, Text } from './elements.tsx';
import { Session } from './time.tsx';

/** Which sessions of a symbol are held, year by year, and of the others why not. */

export interface CoverageView {
  timeframe: string;
  /** 'YYYY-MM-DD', both inclusive. */
  first: string;
  last: string;
  sessions: number;
  /** Only those that occur. */
  totals: { state: SessionState; sessions: number }[];
  /** Ascending. `message` says why a bar is not held. */
  ranges: CoverageRange[];
}

interface CoverageRange {
  start: string;
  end: string;
  state: SessionState;
  sessions: number;
  message: string | null;
}

/** What asking again may fill. */
const FILLABLE: readonly SessionState[] = ['missing', 'vendor_empty', 'unfetched', 'not_entitled'];
const RANGES_SHOWN = 5;
/** Of those that are shown when asked for. */
const RANGES_MAX = 100;
const words = (name: string) => name.replaceAll('_', ' ');

interface CoverageProps {
  coverage: CoverageView[];
  symbol: string;
  /** Which of several holders of the symbol is meant, for links to the API: '' or '&asof=...'. */
  suffix: string;
}

export function Coverage({ coverage, ...rest }: CoverageProps): JSX.Element {
  return (
    <section aria-labelledby="coverage">
      <h2 id="coverage">Coverage</h2>
      {coverage.map((one) => (
        <CoverageOf view={one} {...rest} />
      ))}
    </section>
  );
}

/** Where a backfill of the symbol is asked for. */
function fillPath(symbol: string, timeframe: string): string {
  const of = timeframe === '1d' ? '' : `&timeframe=${timeframe}`;
  return `/dashboard/backfill?symbols=${encodeURIComponent(symbol)}${of}`;
}

type OneProps = Omit<CoverageProps, 'coverage'> & { view: CoverageView };

function CoverageOf({ view, symbol, suffix }: OneProps): JSX.Element {
  const { timeframe, first, last, sessions, totals, ranges } = view;
  const fill = <a href={fillPath(symbol, timeframe)}>Fill gaps</a>;
  if (sessions === 0) {
    return (
      <p class="quiet">
        <Text text={`No session of ${timeframe} was asked for yet.`} /> {fill}
      </p>
    );
  }
  const absent = ranges.filter(({ state }) => state !== 'complete').reverse();
  const path = `/api/v1/coverage/${encodeURIComponent(symbol)}?timeframe=${timeframe}${suffix}`;
  return (
    <div class="coverage">
      <p class="range">
        <span>
          <strong safe>{timeframe}</strong> <Session date={first} /> to <Session date={last} />
        </span>
        {totals.some(({ state }) => FILLABLE.includes(state)) ? fill : null}
      </p>
      <Calendar view={view} />
      <ul class="legend">
        {totals.map(({ state, sessions: held }) => (
          <li>
            <span class={`swatch ${state}`}></span>
            <Text text={`${words(state)}: ${plural(held, 'session')}`} />
          </li>
        ))}
      </ul>
      <Reasons ranges={absent.slice(0, RANGES_SHOWN)} />
      {absent.length > RANGES_SHOWN ? (
        <details id={`absent-${timeframe}`}>
          <summary safe>{`${count(absent.length - RANGES_SHOWN)} earlier ranges`}</summary>
          <Reasons ranges={absent.slice(RANGES_SHOWN, RANGES_SHOWN + RANGES_MAX)} />
          <p class="quiet">
            All of them:{' '}
            <a href={path} safe>
              {path}
            </a>
          </p>
        </details>
      ) : null}
    </div>
  );
}

function Reasons({ ranges }: { ranges: CoverageRange[] }): JSX.Element {
  return (
    <ul class="reasons">
      {ranges.map(({ start, end, state, sessions, message }) => (
        <li>
          <strong safe>{start === end ? start : `${start} to ${end}`}</strong>{' '}
          <Text text={`${words(state)}, ${plural(sessions, 'session')}: ${message ?? ''}`} />
        </li>
      ))}
    </ul>
  );
}

// ------------------------------------------------------------------------- calendar

const MONTHS = ['J', 'F', 'M', 'A', 'M', 'J', 'J', 'A', 'S', 'O', 'N', 'D'];
const DAY_MS = 86_400_000;
/** Days that a row is wide; a leap year fits. */
const YEAR_DAYS = 366;
/** So narrow a hole is still seen. */
const HOLE_DAYS_MIN = 2;

/** Days from the first of January to a date of the same year. */
const dayOfYear = (date: string) =>
  (Date.parse(date) - Date.parse(`${date.slice(0, 4)}-01-01`)) / DAY_MS;

interface Piece {
  x: number;
  width: number;
  state: SessionState;
  title: string;
}

/** What is drawn of each year: ranges of one state in a row, cut at the turn of the year. */
function piecesByYear(ranges: readonly CoverageRange[]): Map<string, Piece[]> {
  const years = new Map<string, Piece[]>();
  for (const { start, end, state } of joinAlike(ranges)) {
    const title = `${start === end ? start : `${start} to ${end}`}: ${words(state)}`;
    for (let year = Number(start.slice(0, 4)); year <= Number(end.slice(0, 4)); year++) {
      const name = `${year}`;
      const from = start.startsWith(name) ? dayOfYear(start) : 0;
      const to = end.startsWith(name) ? dayOfYear(end) + 1 : YEAR_DAYS;
      const width = Math.max(to - from, state === 'complete' ? 1 : HOLE_DAYS_MIN);
      const piece = { x: Math.min(from, YEAR_DAYS - width), width, state, title };
      const pieces = years.get(name);
      if (pieces) pieces.push(piece);
      else years.set(name, [piece]);
    }
  }
  // Holes over what is held: they are drawn wider than they are.
  for (const pieces of years.values()) {
    pieces.sort((a, b) => Number(b.state === 'complete') - Number(a.state === 'complete'));
  }
  return years;
}

/** Runs that differ only in what is recorded beside their state are one. */
function joinAlike(
  ranges: readonly CoverageRange[],
): { start: string; end: string; state: SessionState }[] {
  const joined: { start: string; end: string; state: SessionState }[] = [];
  for (const { start, end, state } of ranges) {
    const last = joined.at(-1);
    if (last?.state === state) last.end = end;
    else joined.push({ start, end, state });
  }
  return joined;
}

/** A row of sessions for each year, the latest first; the lists below say the same in words. */
function Calendar({ view }: { view: CoverageView }): JSX.Element {
  const { ranges, timeframe, totals } = view;
  const years = [...piecesByYear(ranges)].reverse();
  const label = totals.map(({ state, sessions }) => `${sessions} ${words(state)}`).join(', ');
  return (
    <div class="calendar" role="img" aria-label={`Sessions of ${timeframe} by year: ${label}`}>
      <div class="months" aria-hidden="true">
        {MONTHS.map((month) => (
          <span safe>{month}</span>
        ))}
      </div>
      {years.map(([year, pieces]) => (
        <div class="year" aria-hidden="true">
          <span safe>{year}</span>
          <svg
            viewBox={`0 0 ${YEAR_DAYS} 10`}
            preserveAspectRatio="none"
            role="img"
            aria-label={year}
          >
            {pieces.map(({ x, width, state, title }) => (
              <rect class={state} x={`${x}`} y="0" width={`${width}`} height="10">
                <title safe>{title}</title>
              </rect>
            ))}
          </svg>
        </div>
      ))}
    </div>
  );
}
