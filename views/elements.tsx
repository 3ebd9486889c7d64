import { Html } from '@elysiajs/html';
import { Session } from './layout.tsx';

/** What several pages are made of. */

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

export const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

/** Where the page of a symbol is. */
export const symbolPath = (symbol: string) => `/dashboard/symbols/${encodeURIComponent(symbol)}`;
