import { userInfo } from 'node:os';
import { InputError } from '../errors.ts';
import { describeFinding } from '../http/findings.ts';
import { parseChoice, parseWhole } from '../http/parameters.ts';
import { DECISIONS, type Decision, FINDING_KINDS, FINDING_STATES } from '../model/finding.ts';
import { type Finding, selectFindings, selectFindingsById } from '../query/findings.ts';
import { SymbolDirectory } from '../query/symbols.ts';
import { decideFindings, RefusedDecision } from '../store/decisions.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol } from '../store/symbols.ts';
import { formatTable, type Terminal } from '../terminal.ts';
import type { Warehouse } from '../warehouse.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';

/** The kinds, four to a line. */
function kindLines(): string[] {
  const lines: string[] = [];
  for (let i = 0; i < FINDING_KINDS.length; i += 4) {
    lines.push(FINDING_KINDS.slice(i, i + 4).join(', '));
  }
  return lines;
}

export const findingsCommand: Command = {
  name: 'findings',
  summary: 'list what somebody has to look at, and decide about it',
  usage: `usage: marketd findings [SYMBOL] [--kind KIND] [--state STATE] [--limit N] [--json]
       marketd findings accept ID... [--note TEXT] [--json]     it costs the bar nothing any more
       marketd findings reject ID... [--note TEXT] [--json]     the bar scores 0
       marketd findings annotate ID... --note TEXT [--json]     only keep the note
       marketd findings reopen ID... [--note TEXT] [--json]     undo

A decision holds as long as the values it is about: other values open the finding again. The same
decision again changes nothing. Every one is in the audit log, with who took it.

  --kind KIND    only this kind: ${kindLines().join(',\n                 ')}
  --state STATE  ${FINDING_STATES.join(', ')} or all (default open)
  --limit N      at most so many, of the newest sessions (default 100)
  --note TEXT    kept with the finding, at most 1000 characters
  --json         print JSON, as the API answers`,
  run: runFindings,
};

const LIMIT_MAX = 100_000;

async function runFindings(args: readonly string[], context: CommandContext): Promise<number> {
  const decision = DECISIONS.find((one) => one === args[0]);
  return decision ? runDecision(decision, args.slice(1), context) : runList(args, context);
}

const LIST_OPTIONS = {
  kind: { type: 'string' },
  state: { type: 'string', default: 'open' },
  limit: { type: 'string', default: '100' },
  json: { type: 'boolean' },
} as const;

async function runList(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parse(args, LIST_OPTIONS, true);
  if (positionals.length > 1) throw new InputError('name one symbol, or none for all of them');
  const symbol = positionals.length === 0 ? undefined : checkSymbol(positionals[0]);
  const { kind } = values;
  const state = parseChoice(values.state, '--state', [...FINDING_STATES, 'all']);
  const asked = {
    kind: kind === undefined ? undefined : parseChoice(kind, '--kind', FINDING_KINDS),
    state: state === 'all' ? undefined : state,
    limit: parseWhole(values.limit, '--limit', 1, LIMIT_MAX),
  };
  const { terminal } = context;
  return withWarehouse(context, commandLog(context, true), async ({ database }) => {
    await checkSchema(database.read);
    const instrumentId = symbol === undefined ? undefined : await findId(database.read, symbol);
    const page = await selectFindings(database.read, { ...asked, instrumentId });
    if (values.json) {
      terminal.out(JSON.stringify(page.findings.map(describeFinding), null, 2));
    } else if (page.findings.length === 0) terminal.out('no findings');
    else {
      terminal.out(describeTable(page.findings));
      if (page.next) terminal.err(`there are more: --limit says how many to show\n`);
    }
    return 0;
  });
}

async function findId(read: Warehouse['database']['read'], symbol: string): Promise<number> {
  const found = await new SymbolDirectory(read).find(symbol);
  if (found) return found.instrumentId;
  throw new InputError(`there is no symbol ${symbol} here; marketd symbols list has what there is`);
}

function describeTable(findings: readonly Finding[]): string {
  const header = ['id', 'symbol', 'timeframe', 'at', 'kind', 'state', 'note'];
  const rows = findings.map(({ findingId, symbol, timeframe, session, ts, kind, state, note }) => [
    ...[String(findingId), symbol, timeframe],
    ts === null ? session : `${ts.toISOString().slice(0, 19)}Z`,
    ...[kind, state, (note ?? '').replace(/\s+/g, ' ').slice(0, 60)],
  ]);
  return formatTable(header, rows);
}

const DECISION_OPTIONS = { note: { type: 'string' }, json: { type: 'boolean' } } as const;

async function runDecision(
  decision: Decision,
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { values, positionals } = parse(args, DECISION_OPTIONS, true);
  if (positionals.length === 0) throw new InputError(`name the findings to ${decision}: their ids`);
  const findingIds = positionals.map((id) => parseWhole(id, 'ID', 1, Number.MAX_SAFE_INTEGER));
  const request = { findingIds, decision, note: values.note, actor: `cli ${userName()}` };
  const { terminal } = context;
  return withWarehouse(context, commandLog(context, true), async ({ database }) => {
    await checkSchema(database.read);
    const { changed, unchanged } = await decide(database.write, request);
    const findings = await selectFindingsById(database.read, [...new Set(findingIds)]);
    if (values.json) {
      const counts = { changed: changed.length, unchanged: unchanged.length };
      const answer = { ...counts, findings: findings.map(describeFinding) };
      terminal.out(JSON.stringify(answer, null, 2));
    } else describeOutcome(terminal, findings, changed.length, unchanged.length);
    return 0;
  });
}

/** @throws InputError when a finding is not known or cannot be decided so. */
async function decide(
  write: Warehouse['database']['write'],
  request: Parameters<typeof decideFindings>[1],
) {
  try {
    return await decideFindings(write, request, Date.now());
  } catch (error) {
    if (error instanceof RefusedDecision) throw new InputError(error.message);
    throw error;
  }
}

/** Who runs the program; a number when the system has no name for it. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}

function describeOutcome(
  terminal: Terminal,
  findings: readonly Finding[],
  changed: number,
  unchanged: number,
): void {
  terminal.out(describeTable(findings));
  const rest = unchanged > 0 ? `, ${group(unchanged)} were so before` : '';
  terminal.out(`${group(changed)} changed${rest}`);
}
