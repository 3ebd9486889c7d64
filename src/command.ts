import { backfillCommand } from './command/backfill.ts';
import type { Command } from './command/context.ts';
import { doctorCommand, migrateCommand } from './command/doctor.ts';
import { exportCommand } from './command/export.ts';
import { findingsCommand } from './command/findings.ts';
import { importCommand } from './command/import.ts';
import { marketCommand } from './command/market.ts';
import { qualityCommand } from './command/quality.ts';
import { quotesCommand } from './command/quotes.ts';
import { reconcileCommand } from './command/reconcile.ts';
import { repairCommand } from './command/repair.ts';
import { serveCommand } from './command/serve.ts';
import { symbolsCommand } from './command/symbols.ts';

export type { Command, CommandContext } from './command/context.ts';

/** Every command, in the order of `marketd --help`. */
export const COMMANDS: readonly Command[] = [
  serveCommand,
  migrateCommand,
  doctorCommand,
  symbolsCommand,
  backfillCommand,
  repairCommand,
  importCommand,
  exportCommand,
  qualityCommand,
  reconcileCommand,
  findingsCommand,
  marketCommand,
  quotesCommand,
];
