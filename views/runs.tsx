import { Html } from '@elysiajs/html';
import type { Run } from '../src/store/jobs.ts';
import { Badge, type Condition, capital, count, Scroll, Text } from './elements.tsx';
import { Empty } from './list.tsx';
import { Time } from './time.tsx';

/** Runs of jobs, in a table and one by one. */

export const RUN_CONDITION: Record<Run['state'], Condition> = {
  running: 'busy',
  succeeded: 'good',
  failed: 'bad',
  interrupted: 'attention',
};

export const RUNS_PATH = '/dashboard/backfill/runs';

/** Where the page of a run is. */
export const runPath = (runId: number) => `${RUNS_PATH}/${runId}`;

/** 41_000 -> '41 s', 125_000 -> '2 min 5 s', 7_500_000 -> '2 h 5 min'. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${count(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

/** An estimate, no finer than it is good: 'about 50 s', 'about 12 min', 'about 7 h'. */
export function roughly(milliseconds: number): string {
  const minutes = milliseconds / 60_000;
  if (minutes < 1.5) return `about ${Math.max(1, Math.round(minutes * 60))} s`;
  return minutes < 90
    ? `about ${Math.round(minutes)} min`
    : `about ${count(Math.round(minutes / 60))} h`;
}

/** Before so much has been done, and has taken so long, the pace says nothing. */
const PACE_DONE_MIN = 5;
const PACE_MS_MIN = 10_000;

/**
 * How long a run still takes when the rest goes as what is done did, ms; undefined when that
 * cannot be told. Requests wait their turn at the provider's limit, so that they take alike.
 */
export function timeLeft(
  run: Pick<Run, 'state' | 'startedAt' | 'total' | 'done'>,
  now: Date,
): number | undefined {
  const { state, startedAt, total, done } = run;
  const elapsed = now.getTime() - startedAt.getTime();
  const isEarly = done < PACE_DONE_MIN || elapsed < PACE_MS_MIN;
  if (state !== 'running' || total === null || isEarly || done >= total) return undefined;
  return (elapsed * (total - done)) / done;
}

/** '41 s', of one that is under way up to now; '' while nobody says what time it is. */
export function tookText({ startedAt, finishedAt }: Run, now: Date | undefined): string {
  const end = finishedAt ?? now;
  return end ? duration(end.getTime() - startedAt.getTime()) : '';
}

/** What is done, as a bar and in words while the run is under way. */
export function RunProgress({ run, now }: { run: Run; now?: Date }): JSX.Element {
  const { runId, state, total, done } = run;
  const text = total === null ? count(done) : `${count(done)} of ${count(total)}`;
  const left = now && timeLeft(run, now);
  return (
    <>
      {state === 'running' && total !== null && total > 0 ? (
        <progress
          max={total}
          value={Math.min(done, total)}
          aria-label={`Requests of run ${runId}`}
        />
      ) : null}
      <Text text={text} />
      {left === undefined ? null : (
        <span class="left" safe>
          {`${roughly(left)} left`}
        </span>
      )}
    </>
  );
}

function RunRow({ run, now }: { run: Run; now?: Date }): JSX.Element {
  const { runId, state, job, origin, startedAt, inserted, changed, rejected, error } = run;
  return (
    <>
      <tr id={`run-${runId}`}>
        <td>
          <Badge condition={RUN_CONDITION[state]} word={capital(state)} />
        </td>
        <td>
          <a href={runPath(runId)} safe>
            {`${job} #${runId}`}
          </a>
        </td>
        <td>{origin}</td>
        <td>
          <Time at={startedAt} />
        </td>
        <td class="number" safe>
          {tookText(run, now)}
        </td>
        <td class="number progress">
          <RunProgress run={run} now={now} />
        </td>
        {/* No two cells are alike: a poll changes each where it is. */}
        <td class="number of-inserted" safe>
          {count(inserted)}
        </td>
        <td class="number of-changed" safe>
          {count(changed)}
        </td>
        <td class="number of-rejected" safe>
          {count(rejected)}
        </td>
      </tr>
      {error === null ? null : (
        <tr class="reason" id={`run-${runId}-error`}>
          <td colspan={9} safe>
            {error.length > 300 ? `${error.slice(0, 300)}...` : error}
          </td>
        </tr>
      )}
    </>
  );
}

export interface RunsTableProps {
  runs: readonly Run[];
  /** Id of the heading that names the table; a name of its own where there is none. */
  labelledby?: string;
  /** For how long runs have been under way. */
  now?: Date;
}

/** Runs, one a row, each with the way to its page. */
export function RunsTable({ runs, labelledby, now }: RunsTableProps): JSX.Element {
  return (
    <Scroll labelledby={labelledby} label={labelledby === undefined ? 'Runs' : undefined}>
      <table>
        <thead>
          <tr>
            <th scope="col">State</th>
            <th scope="col">Run</th>
            <th scope="col">Origin</th>
            <th scope="col">Started</th>
            <th scope="col" class="number">
              Took
            </th>
            <th scope="col" class="number">
              Requests
            </th>
            <th scope="col" class="number">
              New
            </th>
            <th scope="col" class="number">
              Changed
            </th>
            <th scope="col" class="number">
              Rejected
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <RunRow run={run} now={now} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

export interface RunsProps {
  /** Newest first. */
  runs: readonly Run[];
  title: string;
  now?: Date;
}

/** The latest runs as a part of a page, with the way to all of them. */
export function Runs({ runs, title, now }: RunsProps): JSX.Element {
  return (
    <section aria-labelledby="runs">
      <h2 id="runs" safe>
        {title}
      </h2>
      {runs.length === 0 ? (
        <Empty title="Nothing has run yet">
          <p>
            Fill the history from <a href="/dashboard/backfill">Backfill</a>; every run is kept
            here.
          </p>
        </Empty>
      ) : (
        <>
          <RunsTable runs={runs} labelledby="runs" now={now} />
          <p class="more">
            <a href={RUNS_PATH}>All runs</a>
          </p>
        </>
      )}
    </section>
  );
}
