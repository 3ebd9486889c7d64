/** A job that follows the market's hours, as this process has it. */
export interface MarketJobView {
  name: string;
  /** From one run to the next while the market is open. */
  everySeconds: number;
  /** The last run of a session begins so long after the close. */
  lastRunDelaySeconds: number;
  /** 'standby' in a process that does not lead: another one runs it. */
  phase: 'running' | 'sleeping' | 'standby' | 'stopped';
  /** When it wakes to run next; null while it runs or is stopped. */
  wakesAt: Date | null;
  lastRun: { startedAt: Date; finishedAt: Date; isLast: boolean; hasFailed: boolean } | null;
  lastError: { at: Date; message: string } | null;
}
