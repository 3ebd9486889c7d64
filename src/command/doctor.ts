import { describeConfig } from '../config.ts';
import { diagnose } from '../doctor.ts';
import { DatabaseError } from '../errors.ts';
import { migrate } from '../store/migrate.ts';
import { type Command, type CommandContext, commandLog, parse, withWarehouse } from './context.ts';

export const migrateCommand: Command = {
  name: 'migrate',
  summary: "bring the database's schema up to date",
  usage: `usage: marketd migrate

Applies what is missing, under a lock; safe to run again and from many machines. Moves a database
up to TimescaleDB when the extension has become available.`,
  run: runMigrate,
};

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'look for what is wrong and say what mends it',
  usage: `usage: marketd doctor [--config] [--json]

Exit code 0 when nothing is a problem, else 1.

  --config    print the settings in force, secrets masked
  --json      print JSON`,
  run: runDoctor,
};

async function runMigrate(args: readonly string[], context: CommandContext): Promise<number> {
  parse(args, {});
  const log = commandLog(context, true);
  return withWarehouse(context, log, async ({ database }) => {
    const report = await migrate(database.write);
    for (const name of report.applied) context.terminal.out(`applied ${name}`);
    context.terminal.out(`schema version ${report.version}, edition ${report.edition}`);
    return 0;
  });
}

async function runDoctor(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parse(args, { config: { type: 'boolean' }, json: { type: 'boolean' } });
  const { config, terminal } = context;
  if (values.config) {
    const lines = describeConfig(config);
    if (values.json) terminal.out(JSON.stringify(lines, null, 2));
    else for (const [name, value] of Object.entries(lines)) terminal.out(`${name}=${value}`);
    return 0;
  }
  const findings = await withWarehouse(context, commandLog(context, true), (warehouse) =>
    diagnose(warehouse, config),
  ).catch((error) => {
    if (!(error instanceof DatabaseError)) throw error;
    return [{ check: 'database', state: 'problem' as const, message: error.message }];
  });
  const isSound = findings.every(({ state }) => state !== 'problem');
  if (values.json) terminal.out(JSON.stringify({ ok: isSound, findings }, null, 2));
  else {
    for (const { check, state, message } of findings) {
      terminal.out(`${state.padEnd(8)} ${check.padEnd(9)} ${message}`);
    }
  }
  return isSound ? 0 : 1;
}
