import { execFileSync } from 'node:child_process';

/** What figures need of the benchmark that runs them, and how all of them are measured. */
export interface BenchRun {
  folder: string;
  /** A new database with the schema; its URL. */
  makeDatabase(): Promise<string>;
  /** What the executable printed. */
  marketd(url: string, ...args: string[]): string;
  environment(url: string): Record<string, string>;
  serve(url: string): Promise<{ url: string; stop(): Promise<void> }>;
  add(
    what: string,
    value: number,
    unit: string,
    target: [comparison: string, limit: number],
    detail: string,
  ): void;
}

export const median = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
export const seconds = (start: number) => (performance.now() - start) / 1000;

export function psql(url: string, ...commands: string[]): string {
  const args = commands.flatMap((command) => ['-c', command]);
  return execFileSync('psql', ['-q', '-At', '-X', url, ...args], { encoding: 'utf8' });
}
