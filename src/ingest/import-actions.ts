import type { RejectedRow } from '../model/bar.ts';
import type { CorporateAction } from '../model/corporate-action.ts';
import { toDay } from '../model/session.ts';
import {
  type ActionFile,
  type ActionFileOptions,
  readActionFile,
} from '../providers/action-file.ts';
import { type ArrivedActions, upsertCorporateActions } from '../store/corporate-actions.ts';
import { insertRejectedRows, withIngestLock } from '../store/upsert.ts';
import type { BackfillContext } from './backfill.ts';
import { rescoreActions } from './corporate-action.ts';
import { type ImportReport, ingestOptions, startReport } from './import.ts';
import { findHolders, type SymbolHolders } from './symbol-holder.ts';

export interface ActionImportOptions extends ActionFileOptions {
  /** Stored beside every event. */
  provider: string;
}

/**
 * Loads splits and dividends from CSV files and scores again the bars that they explain. A file
 * says nothing by what it lacks: nothing is withdrawn. All files are read before anything is
 * stored, so that a torn or malformed one changes nothing; importing them again changes nothing.
 * @throws InputError that names the file and what is wrong with it.
 */
export async function importActions(
  context: BackfillContext,
  paths: readonly string[],
  options: ActionImportOptions,
): Promise<ImportReport> {
  const report = startReport(paths, options.provider);
  const files: ActionFile[] = [];
  for (const path of paths) files.push(await readActionFile(path, options));
  const actions = files.flatMap((file) => file.actions);
  const { write } = context.database;
  const symbols = [...new Set(actions.map(({ symbol }) => symbol))];
  const { holders, added } = await findHolders(write, symbols);
  const { arrived, homeless } = assignActions(actions, holders);
  const rejected = [...files.flatMap((file) => file.rejected), ...homeless];
  const ingest = ingestOptions(context, options.provider);
  const names = new Map(arrived.map((one) => [one.instrumentId, one.actions[0].symbol]));
  const covers = [...names].map(([instrumentId, symbol]) => ({
    ...{ instrumentId, symbol, listedOn: null },
  }));
  const counts = await withIngestLock(write, async (tx) => {
    const rows = rejected.map((row) => ({ ...row, instrumentId: null }));
    await insertRejectedRows(tx, rows, options.provider, 'actions');
    const stored = await upsertCorporateActions(tx, ingest, arrived);
    await rescoreActions(tx, covers, stored.changed, ingest);
    return stored.counts;
  });
  report.rows = files.reduce((sum, { rows }) => sum + rows, 0);
  report.symbols = symbols.length;
  report.added = added;
  report.inserted = counts.inserted;
  report.unchanged = counts.unchanged;
  report.rejected = rejected.length;
  return report;
}

/** The events of each instrument by kind; those of days on which nobody had the symbol. */
function assignActions(
  actions: readonly CorporateAction[],
  holders: SymbolHolders,
): { arrived: ArrivedActions[]; homeless: RejectedRow[] } {
  const groups = new Map<string, ArrivedActions & { actions: CorporateAction[] }>();
  const homeless: RejectedRow[] = [];
  for (const action of actions) {
    const { symbol, exDate, kind } = action;
    const instrumentId = holders.on(symbol, toDay(exDate));
    if (instrumentId === undefined) {
      const reason = holders.problem(symbol, toDay(exDate));
      homeless.push({ symbol, session: exDate, reason, raw: JSON.stringify(action) });
      continue;
    }
    const key = `${instrumentId} ${kind}`;
    const group = groups.get(key);
    if (group) group.actions.push(action);
    else groups.set(key, { instrumentId, kind, actions: [action] });
  }
  return { arrived: [...groups.values()], homeless };
}
