import { InputError } from '../errors.ts';
import { toDate } from '../model/session.ts';
import {
  type QualityReport,
  type SymbolQuality,
  selectQuality,
  type TimeframeQuality,
} from '../query/quality.ts';
import { SymbolDirectory } from '../query/symbols.ts';
import { loadCalendar } from '../store/calendar.ts';
import { checkSchema } from '../store/migrate.ts';
import { checkSymbol } from '../store/symbols.ts';
import { formatTable } from '../terminal.ts';
import {
  type Command,
  type CommandContext,
  commandLog,
  group,
  parse,
  withWarehouse,
} from './context.ts';

export const qualityCommand: Command = {
  name: 'quality',
  summary: 'tell how good what is held is, per symbol and in total',
  usage: `usage: marketd quality [SYMBOL] [--json]

Validation rate, findings, coverage, staleness, revisions and the latest comparison with a second
source, the worst symbol first. All of it is read from counters: it takes milliseconds however many
bars are held.`,
  run: runQuality,
};

async function runQuality(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parse(args, { json: { type: 'boolean' } }, true);
  if (positionals.length > 1) throw new InputError('name one symbol, or none for all of them');
  const symbol = positionals.length === 0 ? undefined : checkSymbol(positionals[0]);
  const { config, terminal } = context;
  return withWarehouse(context, commandLog(context, true), async ({ database }) => {
    await checkSchema(database.read);
    const calendar = await loadCalendar(database.read);
    const instrumentIds = symbol === undefined ? undefined : [await findId(database.read, symbol)];
    const latestDay = calendar.latestSession(Date.now(), config.PUBLISH_DELAY_MINUTES * 60_000);
    const report = await selectQuality(database.read, calendar, { instrumentIds, latestDay });
    const published = latestDay < 0 ? null : toDate(latestDay);
    if (values.json) {
      terminal.out(JSON.stringify({ published_session: published, ...report }, null, 2));
    } else terminal.out(symbol === undefined ? describeAll(report) : describeOne(report));
    return 0;
  });
}

type Read = ConstructorParameters<typeof SymbolDirectory>[0];

async function findId(read: Read, symbol: string): Promise<number> {
  const found = await new SymbolDirectory(read).find(symbol);
  if (found) return found.instrumentId;
  throw new InputError(`there is no symbol ${symbol} here; marketd symbols list has what there is`);
}

/** A table of all symbols, and a sentence on all of them. */
function describeAll({ total, symbols }: QualityReport): string {
  const sentence = `${total.grade}: ${total.verdict}`;
  if (symbols.length === 0) return sentence;
  const header = [
    ...['symbol', 'grade', 'valid %', 'bars', 'latest', 'behind', 'holes', 'open', 'restated'],
    'verdict',
  ];
  const rows = symbols.map((one) => [
    ...[one.symbol, one.grade, one.validation_rate_pct.toFixed(2), one.records],
    ...[one.latest_session ?? '-', one.sessions_behind ?? 0],
    ...[one.coverage.missing + one.coverage.unfetched, one.findings.open, one.revisions],
    one.verdict,
  ]);
  return `${formatTable(header, rows)}\n\n${sentence}`;
}

/** All that is known of one symbol. */
function describeOne({ symbols }: QualityReport): string {
  const [one] = symbols;
  const title = one.name === null ? one.symbol : `${one.symbol} ${one.name}`;
  const lines = [title, `${one.grade}: ${one.verdict}`];
  if (one.synthetic) lines.push('SYNTHETIC DATA: its bars are made up');
  for (const timeframe of one.timeframes) lines.push('', ...describeTimeframe(timeframe));
  lines.push('', describeComparison(one), '', describeFindings(one));
  return lines.join('\n');
}

function describeTimeframe(one: TimeframeQuality): string[] {
  const { coverage } = one;
  const states = Object.entries(coverage).filter(([, sessions]) => sessions > 0);
  const covered = states.map(([state, sessions]) => `${group(sessions)} ${state}`).join(', ');
  const restated =
    one.last_revision_at === null
      ? 'never'
      : `${group(one.revisions)} times, last on ${one.last_revision_at.slice(0, 10)}`;
  const rate = `${one.validation_rate_pct.toFixed(2)} % of ${group(one.records)} bars`;
  return [
    `${one.timeframe}  ${one.first_session} to ${one.latest_session}`,
    `    validated  ${rate}, ${group(one.excluded_records)} excluded`,
    `    coverage   ${covered || 'no session was asked for'}`,
    `    behind     ${group(one.sessions_behind ?? 0)} sessions`,
    `    restated   ${restated}`,
  ];
}

function describeComparison({ reconciliation }: SymbolQuality): string {
  if (reconciliation === null) return 'compared with no second source';
  const { verdict, side, source, checked_at, start_session, end_session } = reconciliation;
  const whose = side === null ? '' : ` (wrong: ${side})`;
  const range = `${start_session} to ${end_session}`;
  return `compared with ${source} on ${checked_at.slice(0, 10)}, ${range}: ${verdict}${whose}`;
}

function describeFindings({ findings }: SymbolQuality): string {
  if (findings.by_kind.length === 0) return 'no findings';
  const rows = findings.by_kind.map(({ kind, state, count }) => [kind, state, count]);
  return formatTable(['finding', 'state', 'count'], rows);
}
