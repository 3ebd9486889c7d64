/** Log lines for a journal: one line each, level first, secrets masked. */

export type Level = 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR';
export type Log = (level: Level, message: string, fields?: object) => void;

const ORDER: Record<Level, number> = { DEBUG: 0, INFO: 1, WARNING: 2, ERROR: 3 };
/** Priorities that journald reads from the start of a line. */
const PRIORITY: Record<Level, number> = { DEBUG: 7, INFO: 6, WARNING: 4, ERROR: 3 };

export interface LogOptions {
  level: Level;
  /** Texts that never appear in a line: keys and passwords. */
  secrets: readonly string[];
  write: (line: string) => void;
  /** True under systemd: lines carry a priority instead of an instant. */
  isJournal?: boolean;
}

/** Would begin another line, or make a terminal do something. */
const CONTROL = /[\u0000-\u0008\n-\u001f\u007f-\u009f\u2028\u2029]/g;

function escapeControl(character: string): string {
  if (character === '\n') return '\\n';
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** The secrets in every form in which a line can have them, longest first: one may hold another. */
function hiddenTexts(secrets: readonly string[]): string[] {
  const forms = secrets
    .filter((secret) => secret.length >= 4)
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]);
  return [...new Set(forms)].sort((a, b) => b.length - a.length);
}

/** A logger. Fields are appended as JSON. */
export function makeLog({ level, secrets, write, isJournal = false }: LogOptions): Log {
  const hidden = hiddenTexts(secrets);
  return (lineLevel, message, fields) => {
    if (ORDER[lineLevel] < ORDER[level]) return;
    const details = fields && Object.keys(fields).length > 0 ? ` ${JSON.stringify(fields)}` : '';
    let text = `${message}${details}`;
    for (const secret of hidden) text = text.replaceAll(secret, '********');
    text = text.replace(CONTROL, escapeControl);
    const head = isJournal
      ? `<${PRIORITY[lineLevel]}>`
      : `${new Date().toISOString()} ${lineLevel.padEnd(7)} `;
    write(`${head}${text}\n`);
  };
}
