import { Html } from '@elysiajs/html';
import type { Children } from '@kitajs/html';
import { Session } from './time.tsx';

/** What several pages are made of. */

/** What may stand inside an element of ours. */
export type { Children };

/** How something is, as a color; a word always stands beside it. */
export type Condition = 'good' | 'busy' | 'attention' | 'bad' | 'idle';

const NUMBER = new Intl.NumberFormat('en-US');
const PERCENT = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });

export const count = (value: number) => NUMBER.format(value);
export const rate = (value: number) => `${PERCENT.format(value)} %`;
export const plural = (value: number, noun: string) =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

export function Badge({ condition, word }: { condition: Condition; word: string }): JSX.Element {
  return (
    <span class={`badge ${condition}`} safe>
      {word}
    </span>
  );
}

export interface TileProps {
  label: string;
  value: JSX.Element;
  note?: JSX.Element;
}

export function Tile({ label, value, note }: TileProps): JSX.Element {
  return (
    <div class="tile">
      <dt safe>{label}</dt>
      <dd class="value">{value}</dd>
      {note ? <dd class="note">{note}</dd> : null}
    </div>
  );
}

/** How many sessions the newest bar lies behind the one that can be had. */
export function StalenessTile(props: {
  behind: number | null;
  published: string | null;
}): JSX.Element {
  const { behind, published } = props;
  return (
    <Tile
      label="Staleness"
      value={<Text text={behind === null ? 'None yet' : plural(behind, 'session')} />}
      note={
        published ? (
          <>
            published to <Session date={published} />
          </>
        ) : undefined
      }
    />
  );
}

/** Text that is not ours, made safe to stand anywhere. */
export function Text({ text }: { text: string }): JSX.Element {
  return <span safe>{text}</span>;
}

/** Text that is not ours as an attribute's value, of which only quotes are escaped otherwise. */
export const attributeText = (text: string) => text.replaceAll('&', '&amp;');

export const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

/** Where the page of a symbol is. */
export const symbolPath = (symbol: string) => `/dashboard/symbols/${encodeURIComponent(symbol)}`;

/** What came of an action, to be told once. */
export interface Notice {
  condition: Condition;
  text: string;
  /** Where it goes on. */
  link?: { href: string; label: string };
  /** Takes it back: a form of one button, sent to `action`. */
  undo?: { action: string; fields: Record<string, string>; region: string };
}

const NOTICE_WORDS: Record<Condition, string> = {
  good: 'Done',
  busy: 'Under way',
  attention: 'Attention',
  bad: 'Not done',
  idle: 'Note',
};

/** Begins with a capital, unless with a name of something: a file's, the program's. */
const sentence = (text: string) => (/^(?!marketd )[a-z]+ /.test(text) ? capital(text) : text);

export function NoticeText({ notice }: { notice: Notice }): JSX.Element {
  const { condition, text, link, undo } = notice;
  return (
    <div class={`notice ${condition}`}>
      <strong safe>{NOTICE_WORDS[condition]}</strong> <Text text={sentence(text)} />{' '}
      {link ? (
        <a href={link.href} safe>
          {link.label}
        </a>
      ) : null}
      {undo ? (
        <form
          method="post"
          action={undo.action}
          hx-post={undo.action}
          hx-target={`#${undo.region}`}
          hx-swap="outerMorph"
        >
          {Object.entries(undo.fields).map(([name, value]) => (
            <input type="hidden" name={name} value={attributeText(value)} />
          ))}
          <button type="submit" class="button">
            Undo
          </button>
        </form>
      ) : null}
    </div>
  );
}

/**
 * What may be wider than the page: it is scrolled sideways by itself, also by the keyboard.
 * @param labelledby id of the heading that says what it is; or `label`.
 */
export function Scroll(props: {
  labelledby?: string;
  label?: string;
  id?: string;
  children: Children;
}): JSX.Element {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for the fields of a form
    <div
      id={props.id}
      class="scroll"
      tabindex="0"
      role="group"
      aria-labelledby={props.labelledby}
      aria-label={props.label}
    >
      {props.children}
    </div>
  );
}
