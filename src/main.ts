import { COMMANDS, type Command } from './command.ts';
import { loadConfig } from './config.ts';
import { errorMessage, InputError, ProviderError } from './errors.ts';
import { processTerminal } from './terminal.ts';
import { VERSION } from './version.ts';

/** 0 ok, 1 our fault, 2 bad usage, 3 the vendor's. */
function exitCode(error: unknown): number {
  if (error instanceof InputError) return 2;
  return error instanceof ProviderError ? 3 : 1;
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const lines = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `marketd ${VERSION}: a validated market-data warehouse

usage: marketd COMMAND [ARGUMENT...]

${lines.join('\n')}

\`marketd COMMAND --help\` explains one. Settings come from the environment: DATABASE_URL,
POLYGON_API_KEY, API_HOST, API_PORT, ...; \`marketd doctor --config\` lists them.
Exit codes: 0 ok, 1 our fault, 2 bad usage, 3 the data provider's fault.`;
}

function findCommand(name: string): Command {
  const command = COMMANDS.find((one) => one.name === name);
  if (command) return command;
  const names = COMMANDS.map((one) => one.name).join(', ');
  throw new InputError(`there is no command ${JSON.stringify(name)}; there are: ${names}`);
}

async function main(argv: readonly string[]): Promise<number> {
  const terminal = processTerminal();
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    terminal.out(overview());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === 'version') {
    terminal.out(VERSION);
    return 0;
  }
  try {
    const command = findCommand(name);
    if (rest.includes('--help') || rest.includes('-h')) {
      terminal.out(command.usage);
      return 0;
    }
    return await command.run(rest, { config: loadConfig(), terminal });
  } catch (error) {
    terminal.err(`marketd ${name}: ${errorMessage(error)}\n`);
    if (error instanceof InputError) terminal.err(`see \`marketd ${name} --help\`\n`);
    const code = exitCode(error);
    if (code === 1 && process.stderr.isTTY && error instanceof TypeError) {
      terminal.err(`${error.stack}\n`);
    }
    return code;
  }
}

const code = await main(process.argv.slice(2));
// A pipe takes 64 KB at once; what it has not taken yet would be lost with the process.
await new Promise<void>((resolve) => void process.stdout.end(() => resolve()));
process.exit(code);
