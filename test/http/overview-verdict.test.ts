import { describe, expect, test } from 'bun:test';
import { judgeOverview, type OverviewFacts } from '../../src/http/overview-verdict.ts';
import type { SymbolState } from '../../src/model/symbol-state.ts';
import type { JobRequest } from '../../src/store/job-requests.ts';
import type { Run } from '../../src/store/jobs.ts';

const makeRun = (change: Partial<Run>): Run => ({
  ...{ runId: 7, job: 'backfill', origin: 'schedule', state: 'succeeded' },
  ...{ scheduledFor: null, startedAt: new Date(0), finishedAt: new Date(1000), error: null },
  ...{ total: 9, done: 9, requests: 9, inserted: 5, changed: 0, unchanged: 0, rejected: 0 },
  ...change,
});

const request: JobRequest = {
  ...{ requestId: 3, kind: 'backfill', arguments: null, state: 'queued', actor: 'page' },
  ...{ requestedAt: new Date(0), startedAt: null, finishedAt: null, cancelRequestedAt: null },
  ...{ runId: null, message: null },
};

function makeFacts(change: {
  status?: Partial<OverviewFacts['status']>;
  states?: Partial<Record<SymbolState, number>>;
  runs?: Run[];
  requests?: JobRequest[];
  totals?: Partial<OverviewFacts['totals']>;
  facts?: Partial<OverviewFacts>;
}): OverviewFacts {
  const states = Object.entries(change.states ?? { good: 5 });
  return {
    status: {
      ...{ symbolsAvailable: 5, symbolsTracked: 5, records: 500, intradayRecords: 0, trades: 0 },
      ...{ validatedRecords: 500, excludedRecords: 0, gapsFlagged: 0, volumeAnomalies: 0 },
      ...{ latestSession: '2026-01-07', firstSession: '2025-01-02', isSynthetic: false },
      ...{ lastBackfillAt: null, lastBackfillState: null },
      ...change.status,
    },
    totals: {
      ...{ symbols: 5, tracked: 5, openFindings: 0, openGaps: 0 },
      states: states.map(([state, count]) => ({ state: state as SymbolState, count })),
      ...change.totals,
    },
    activity: { runs: change.runs ?? [makeRun({})], requests: change.requests ?? [] },
    ...{ sessionsBehind: 0, scheduler: 'running', isLed: true, hasProvider: true },
    ...change.facts,
  };
}

const NOTHING = { records: 0, symbolsAvailable: 0, latestSession: null };

describe('the sentence on top', () => {
  type Case = [string, Parameters<typeof makeFacts>[0], object];
  const cases: Case[] = [
    [
      'all is well',
      {},
      {
        ...{ condition: 'good', word: 'Healthy' },
        sentence: 'All is well: 5 symbols, complete to 2026-01-07.',
      },
    ],
    [
      'one session behind is well between the close and the night',
      { facts: { sessionsBehind: 1 } },
      { condition: 'good' },
    ],
    [
      'nothing is tracked',
      { status: { ...NOTHING, symbolsTracked: 0 }, states: {}, runs: [] },
      { word: 'Empty', link: { href: '/dashboard/symbols', label: 'Add symbols' } },
    ],
    [
      'nothing is loaded',
      { status: NOTHING, states: { no_bars: 5 }, runs: [] },
      {
        ...{ word: 'Empty', canBackfill: true },
        sentence: 'Tracking 5 symbols, but there are no bars yet. Load the history.',
      },
    ],
    [
      'a backfill runs',
      { runs: [makeRun({ state: 'running', total: 1200, done: 40 })] },
      {
        ...{ condition: 'busy' },
        sentence: 'A backfill is running: 40 of 1,200 requests are done.',
        link: { href: '/dashboard/backfill/runs/7', label: 'Watch it' },
      },
    ],
    [
      'minutes are collected, as all day',
      { runs: [makeRun({ job: 'backfill 1m', state: 'running' }), makeRun({})] },
      { condition: 'good' },
    ],
    [
      'minutes are loaded by hand',
      { runs: [makeRun({ job: 'backfill 1m', origin: 'command', state: 'running', total: null })] },
      { sentence: 'A backfill 1m is running: 9 requests are done.' },
    ],
    [
      'a backfill waits its turn',
      { requests: [request] },
      { condition: 'busy', sentence: 'A backfill is about to begin.' },
    ],
    [
      'a backfill was taken up and says what it waits for',
      { requests: [{ ...request, state: 'running', message: 'another run goes on' }] },
      { sentence: 'A backfill has been taken up (another run goes on).' },
    ],
    [
      'a backfill waits for nobody',
      { requests: [request], facts: { isLed: false } },
      {
        ...{ condition: 'bad', commands: ['SCHEDULER=on marketd serve'] },
        sentence: 'A backfill waits, and no process runs jobs now. Start one.',
      },
    ],
    [
      'the last backfill failed',
      { runs: [makeRun({ state: 'failed', error: 'the key was refused (401).' })] },
      {
        ...{ condition: 'bad', canBackfill: true, commands: ['marketd backfill --all'] },
        sentence:
          'The last backfill failed: the key was refused (401). When that is mended, run it again.',
        link: { href: '/dashboard/backfill/runs/7', label: 'What happened' },
      },
    ],
    [
      'the last backfill was interrupted',
      { runs: [makeRun({ state: 'interrupted' })] },
      { condition: 'attention', canBackfill: true },
    ],
    [
      'bars are old',
      { facts: { sessionsBehind: 2 }, states: { stale: 5 } },
      {
        ...{ condition: 'attention', canBackfill: true },
        sentence: 'Bars end at 2026-01-07, 2 sessions behind. Catch up.',
      },
    ],
    [
      'bars are old because nobody fetches them',
      { facts: { sessionsBehind: 1200, isLed: false, scheduler: 'stopped' } },
      {
        sentence:
          'Bars end at 2026-01-07, 1,200 sessions behind. The scheduler is stopped. Catch up.',
      },
    ],
    [
      'some could not be filled',
      { states: { failed: 2, good: 3 } },
      {
        ...{ canBackfill: true, link: { href: '/dashboard?state=failed', label: 'Show all 2' } },
        sentence: 'The last backfill could not fill 2 symbols. Try again.',
      },
    ],
    [
      'one is behind the others',
      { states: { stale: 1, good: 4 } },
      {
        sentence: 'Behind the others: 1 symbol. Catch up.',
        link: { href: '/dashboard?state=stale', label: 'Show it' },
      },
    ],
    [
      'the scheduler is stopped',
      { facts: { scheduler: 'stopped', isLed: false } },
      {
        sentence:
          'The scheduler is stopped, and nothing keeps bars up to date. ' +
          'Set POLYGON_API_KEY and SCHEDULER=on, then restart marketd.',
      },
    ],
    [
      'nobody leads',
      { facts: { scheduler: 'standby', isLed: false } },
      { sentence: 'No process leads at the moment: jobs wait until one does.' },
    ],
    ['another process leads', { facts: { scheduler: 'standby' } }, { condition: 'good' }],
    ['another process runs the schedule', { facts: { scheduler: 'stopped' } }, { word: 'Healthy' }],
    [
      'there is no provider',
      { facts: { scheduler: 'stopped', hasProvider: false } },
      {
        sentence:
          'There is no provider, and nothing keeps bars up to date. ' +
          'Set POLYGON_API_KEY, then restart marketd.',
      },
    ],
    [
      'bars are suspect',
      { states: { poor: 1, review: 2, good: 2 } },
      {
        sentence:
          'Fewer than 95 % of the bars of 3 symbols are validated. ' +
          'Look at their flags before you rely on them.',
        link: { href: '/dashboard?state=poor', label: 'Show it' },
      },
    ],
    [
      'history has holes',
      { states: { incomplete: 3, good: 2 } },
      {
        ...{ canBackfill: true, link: { href: '/dashboard?state=incomplete' } },
        sentence: 'Sessions are missing in the history of 3 symbols.',
      },
    ],
    [
      'another job failed',
      { runs: [makeRun({}), makeRun({ job: 'quotes', state: 'failed', error: 'no answer' })] },
      { sentence: 'The last quotes failed: no answer.', link: { label: 'What happened' } },
    ],
  ];
  for (const [name, change, verdict] of cases) {
    test(`when ${name}`, () => {
      expect(judgeOverview(makeFacts(change)).verdict).toMatchObject(verdict);
    });
  }
});

describe('what else wants attention', () => {
  const sentences = (change: Parameters<typeof makeFacts>[0]) =>
    judgeOverview(makeFacts(change)).attention.map(({ sentence }) => sentence);

  test('is nothing when all is well', () => {
    expect(sentences({})).toEqual([]);
  });

  test('is the rest of what is wrong, worst first, and what can wait', () => {
    const failed = makeRun({ state: 'failed', rejected: 4 });
    const found = sentences({
      runs: [makeRun({ state: 'running', runId: 8 }), failed],
      states: { failed: 1, review: 1, no_bars: 2, good: 1 },
      totals: { openFindings: 1234, openGaps: 1 },
    });
    expect(found).toEqual([
      'The last backfill could not fill 1 symbol. Try again.',
      'Fewer than 95 % of the bars of 1 symbol are validated. ' +
        'Look at their flags before you rely on them.',
      '1,234 findings to decide about, 1 gap among them.',
      'No bars yet of 2 symbols.',
    ]);
  });

  test('has the rejected rows of the last backfill, and where they are', () => {
    const { verdict, attention } = judgeOverview(makeFacts({ runs: [makeRun({ rejected: 4 })] }));
    expect(verdict.word).toBe('Healthy');
    expect(attention).toMatchObject([
      {
        sentence: '4 rows of the last backfill could not be read: kept apart, with the reason.',
        link: { href: '/dashboard/backfill/runs/7' },
      },
    ]);
  });
});
