import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  type DiagnosisView,
  type SettingView,
  SYSTEM_PATH,
  SystemFragment,
  SystemPage,
  type SystemView,
} from '../../views/system.tsx';
import { type ServerState, selectServerState } from '../query/server-state.ts';
import { type Sizes, selectSizes } from '../query/sizes.ts';
import { pingDatabase } from '../store/database.ts';
import type { AppContext } from './app.ts';
import { fragmentResponse, orAway, pageProps, pageResponse } from './page-response.tsx';

const HIDDEN = { detail: { hide: true } };
/**
 * How long an open page shows what takes 20 ms to find out: it asks more often than that changes.
 * Loading the page looks anew.
 */
const REMEMBER_MS = 30_000;
const DELAY_RESOLUTION_MS = 20;
const DELAY_WINDOW_MS = 60_000;
/** What changes all the time is rounded, for an open page to be told of changes that matter. */
const MEMORY_STEP_BYTES = 10 * 1024 ** 2;
const CACHE_STEP_BYTES = 1024 ** 2;
const DELAY_STEP_MS = 5;

/** How the program, its process and its database are: a page, and the part of it that is polled. */
export function systemPageRoutes(context: AppContext) {
  const examiner = new Examiner(context);
  const delay = new LoopDelay();
  const page = async (request: Request) => {
    await pingDatabase(context.database.read);
    const view = makeView(context, await examiner.examine(0), delay.longestMs());
    const props = { page: pageProps(context, request), settings: listSettings(context) };
    return pageResponse(request, <SystemPage {...props} view={view} />);
  };
  const fragment = async (request: Request) => {
    // With a deadline: a database that accepts and says nothing counts as away.
    await pingDatabase(context.database.read);
    const view = makeView(context, await examiner.examine(REMEMBER_MS), delay.longestMs());
    const { pollSeconds } = pageProps(context, request);
    return fragmentResponse(request, context.version, [view, pollSeconds], () => (
      <SystemFragment view={view} pollSeconds={pollSeconds} />
    ));
  };
  return new Elysia({ name: 'system-page' })
    .get(SYSTEM_PATH, ({ request }) => orAway(context, request, () => page(request)), HIDDEN)
    .get(`${SYSTEM_PATH}/status`, ({ request }) => fragment(request), HIDDEN);
}

/** Those that are set first. */
function listSettings({ operations }: AppContext): SettingView[] {
  const { settings, defaultSettings } = operations;
  const all = Object.entries(settings).map(([name, value]): SettingView => {
    const standard = defaultSettings[name];
    return { name, value, standard, isSet: value !== standard };
  });
  return [...all.filter(({ isSet }) => isSet), ...all.filter(({ isSet }) => !isSet)];
}

interface Examination {
  diagnoses: DiagnosisView[];
  server: ServerState;
  sizes: Sizes;
}

/** Examines the warehouse; one examination serves everybody who asks while it goes on. */
class Examiner {
  #known: { at: number; examination: Promise<Examination> } | undefined;

  constructor(readonly context: AppContext) {}

  /** What was found at most so long ago. */
  examine(ageMsMax: number): Promise<Examination> {
    const now = performance.now();
    if (this.#known && now - this.#known.at < ageMsMax) return this.#known.examination;
    const known = { at: now, examination: this.#examine() };
    this.#known = known;
    known.examination.catch(() => {
      if (this.#known === known) this.#known = undefined; // a failure is not remembered
    });
    return known.examination;
  }

  async #examine(): Promise<Examination> {
    const { read } = this.context.database;
    const [diagnoses, server, sizes] = await Promise.all([
      this.context.operations.diagnose(),
      selectServerState(read),
      selectSizes(read),
    ]);
    return { diagnoses: sortWorst(diagnoses), server, sizes };
  }
}

const STATES = ['problem', 'warning', 'ok'];

function sortWorst(diagnoses: readonly DiagnosisView[]): DiagnosisView[] {
  return [...diagnoses].sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state));
}

/** The longest that the event loop was held up, over the last one to two minutes. */
class LoopDelay {
  #histogram: ReturnType<typeof monitorEventLoopDelay> | undefined;
  #since = 0;
  #before = 0;

  /** Measures from the first call on: whoever never looks at the page pays nothing. */
  longestMs(): number {
    const now = performance.now();
    if (!this.#histogram) {
      this.#histogram = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
      this.#histogram.enable();
      this.#since = now;
    }
    const longest = this.#histogram.max / 1e6;
    if (now - this.#since > DELAY_WINDOW_MS) {
      this.#before = longest;
      this.#since = now;
      this.#histogram.reset();
    }
    return Math.max(longest, this.#before);
  }
}

const EDITIONS: Record<AppContext['edition'], string> = {
  plain: 'PostgreSQL',
  'timescale-apache': 'TimescaleDB (Apache)',
  'timescale-community': 'TimescaleDB (Community)',
};

const roundTo = (value: number, step: number) => Math.round(value / step) * step;

function makeView(
  context: AppContext,
  { diagnoses, server, sizes }: Examination,
  delayMs: number,
): SystemView {
  return {
    diagnoses,
    server,
    edition: EDITIONS[context.edition],
    databaseBytes: sizes.databaseBytes,
    tables: sizes.tables,
    process: {
      version: context.version,
      bun: Bun.version,
      startedAt: new Date(context.operations.startedAt),
      pid: process.pid,
      memoryBytes: roundTo(process.memoryUsage.rss(), MEMORY_STEP_BYTES),
      delayMs: roundTo(delayMs, DELAY_STEP_MS),
    },
    scheduler: context.scheduler(),
    caches: describeCaches(context),
  };
}

function describeCaches({ bars, intraday }: AppContext): SystemView['caches'] {
  const daily = bars.stats();
  const asked = daily.hits + daily.misses;
  const share = asked === 0 ? '' : `, ${Math.round((100 * daily.hits) / asked)} % found there`;
  const below = intraday.stats();
  const plural = (value: number, one: string, many: string) =>
    `${value.toLocaleString('en-US')} ${value === 1 ? one : many}`;
  return [
    {
      label: 'Daily bars in memory',
      bytes: roundTo(daily.bytes, CACHE_STEP_BYTES),
      bytesMax: bars.cacheBytes,
      note: `${plural(daily.blocks, 'history', 'histories')}${share}`,
    },
    {
      label: 'Minutes in memory',
      bytes: roundTo(below.bytes, CACHE_STEP_BYTES),
      bytesMax: intraday.cacheBytes,
      note: plural(below.months, 'month', 'months'),
    },
  ];
}
