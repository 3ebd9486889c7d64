import { Html } from '@elysiajs/html';

/** Instants and dates, for people and machines. */

/** '2026-01-05 14:30 UTC' for people, the whole instant for machines. */
export function Time({ at, seconds }: { at: Date; seconds?: boolean }): JSX.Element {
  const iso = at.toISOString();
  const text = `${iso.slice(0, 10)} ${iso.slice(11, seconds ? 19 : 16)} UTC`;
  return (
    <time datetime={iso} safe>
      {text}
    </time>
  );
}

/** A session, 'YYYY-MM-DD'. */
export function Session({ date }: { date: string }): JSX.Element {
  return (
    <time datetime={date} safe>
      {date}
    </time>
  );
}
