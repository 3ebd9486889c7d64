import type { BackfillProgress } from './ingest/backfill.ts';

/** Where a command prints. Results go to `out`, everything said along the way to `err`. */
export interface Terminal {
  out: (text: string) => void;
  err: (text: string) => void;
  /** True when `err` is a terminal that a bar can be drawn on. */
  isInteractive: boolean;
  columns: number;
}

export function processTerminal(): Terminal {
  return {
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(text),
    isInteractive: process.stderr.isTTY === true,
    columns: process.stderr.columns ?? 80,
  };
}

const PLAIN_EVERY_MS = 5_000;
const BAR_EVERY_MS = 100;

export interface ProgressPrinter<T = BackfillProgress> {
  show(progress: T): void;
  end(): void;
}

/** What is said of progress: a whole line, or a few words beside the bar. */
export interface ProgressWords<T> {
  line(progress: T): string;
  beside(progress: T): string;
}

const group = (value: number) => value.toLocaleString('en-US');

const BACKFILL_WORDS: ProgressWords<BackfillProgress> = {
  line: ({ done, total, requests, inserted, current }) =>
    `backfill: ${group(done)} of ${group(total)} (${current}), ` +
    `${group(requests)} requests, ${group(inserted)} bars new`,
  beside: ({ inserted, current }) => `${group(inserted)} bars  ${current}`,
};

/** A backfill's progress; see `printProgress`. */
export function makeProgress(terminal: Terminal, now: () => number = Date.now): ProgressPrinter {
  return printProgress(terminal, BACKFILL_WORDS, now);
}

/** A bar that redraws itself on a terminal; elsewhere a plain line now and then. */
export function printProgress<T extends { done: number; total: number }>(
  terminal: Terminal,
  words: ProgressWords<T>,
  now: () => number = Date.now,
): ProgressPrinter<T> {
  let shownAt = Number.NEGATIVE_INFINITY;
  let isDrawn = false;
  return {
    show: (progress) => {
      const at = now();
      const isLast = progress.done >= progress.total;
      const every = terminal.isInteractive ? BAR_EVERY_MS : PLAIN_EVERY_MS;
      if (!isLast && at - shownAt < every) return;
      shownAt = at;
      if (terminal.isInteractive) {
        terminal.err(`\r\x1b[2K${drawBar(progress, words.beside(progress), terminal.columns)}`);
        isDrawn = true;
      } else terminal.err(`${words.line(progress)}\n`);
    },
    end: () => {
      if (isDrawn) terminal.err('\n');
      isDrawn = false;
    },
  };
}

function drawBar(progress: { done: number; total: number }, words: string, columns: number) {
  const { done, total } = progress;
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const text = ` ${Math.floor(share * 100)}% ${words}`;
  const width = Math.max(10, Math.min(40, columns - text.length - 4));
  const filled = Math.round(share * width);
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]${text}`.slice(0, columns - 1);
}

/** Rows as an aligned table: first column left, numbers right. */
export function formatTable(header: readonly string[], rows: readonly (string | number)[][]) {
  const cells = [header, ...rows].map((row) =>
    row.map((cell) => (typeof cell === 'number' ? group(cell) : cell)),
  );
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const isNumber = (column: number) => rows.length > 0 && typeof rows[0][column] === 'number';
  return cells
    .map((row) =>
      row
        .map((cell, i) => (isNumber(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
