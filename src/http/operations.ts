import type { MarketJobView } from '../model/market-job.ts';
import type { BackfillArguments, BackfillPreview } from '../store/job-requests.ts';

/** A line of what `marketd doctor` finds. */
export interface Diagnosis {
  check: string;
  state: 'ok' | 'warning' | 'problem';
  /** What was found, and for what is not ok what mends it. */
  message: string;
}

/**
 * What pages show and requests ask for that needs the process around the application, or the way
 * in: handed in by `serve`, so that HTTP imports neither.
 */
export interface Operations {
  /**
   * What a backfill or a repair would cost, from the database alone; undefined when this process
   * has nobody to ask for data.
   * @throws InputError for what cannot be asked for.
   */
  preview?: (request: BackfillArguments, kind?: 'backfill' | 'repair') => Promise<BackfillPreview>;
  /** Whether there is a second source to compare with. */
  canReconcile: boolean;
  /** What `marketd doctor` would print. */
  diagnose: () => Promise<Diagnosis[]>;
  /** Every setting by its name, secrets masked. */
  settings: Readonly<Record<string, string>>;
  /** The same, as they are when nothing is set. */
  defaultSettings: Readonly<Record<string, string>>;
  /** When this process began to serve, epoch ms. */
  startedAt: number;
  /**
   * Takes the overrides of the exchange calendar that are committed by now; other processes are
   * told by themselves. Undefined in a process whose calendar stays as it is.
   */
  reloadCalendar?: () => Promise<void>;
  /** What runs while the market is open; undefined as none. */
  marketJobs?: () => MarketJobView[];
}
