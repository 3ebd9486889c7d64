import { QUALITY_RULES, VALIDATED_SCORE } from '../model/quality.ts';
import { SESSION_PARTS } from '../model/session-part.ts';

/** What can be exported, as `--timeframe` names it. */
export const EXPORT_DATASETS = ['1d', '1h', '1m', 'trades', 'snapshots'] as const;
export type ExportDataset = (typeof EXPORT_DATASETS)[number];

/**
 * - `name`: a text without quotes, commas and line breaks; `names`: such, joined by spaces
 * - `text`: any text
 * - `number`: a double; `integer`: a whole number
 * - `date`: a session; `second`, `micros`: an instant, printed with that precision
 */
export type ColumnType =
  | 'name'
  | 'names'
  | 'text'
  | 'number'
  | 'integer'
  | 'date'
  | 'second'
  | 'micros'
  | 'boolean'
  | 'json';

/** One column of an exported file. */
export interface ExportColumn {
  name: string;
  type: ColumnType;
  isNullable: boolean;
  /** Its value, of a row `b` of the table; $1 is the symbol. */
  sql: string;
}

/** One column of the table, as a script of INSERTs has it. */
export interface TableColumn {
  name: string;
  type: string;
  isNullable: boolean;
}

export interface ExportTable {
  dataset: ExportDataset;
  table: string;
  /** Under which its counters are kept in `instrument_status`. */
  timeframe: string;
  /** What is in it, for people. */
  noun: string;
  /** What orders the rows of an instrument: the first is a time, a second one is unique in it. */
  key: readonly { name: string; type: string }[];
  /** True when the first of the key is a date, not an instant. */
  isDaily: boolean;
  columns: readonly ExportColumn[];
  /** All columns of the table but the instrument's. */
  tableColumns: readonly TableColumn[];
}

const column = (
  name: string,
  type: ColumnType,
  sql = `b.${name}`,
  isNullable = false,
): ExportColumn => ({ name, type, isNullable, sql });

const nullable = (name: string, type: ColumnType): ExportColumn =>
  column(name, type, `b.${name}`, true);

const SYMBOL = column('symbol', 'name', '$1::text');

/** Names joined by a space. By the rules of this program, which each migration stores as well. */
const FLAG_NAMES = `case b.flags when 0 then '' else array_to_string(array[${QUALITY_RULES.map(
  ({ bit, name }) => `case when b.flags & ${bit} <> 0 then '${name}' end`,
).join(', ')}], ' ') end`;

const PART_NAME = `(array[${SESSION_PARTS.map((part) => `'${part}'`).join(', ')}])[b.part + 1]`;

const BAR_COLUMNS: readonly ExportColumn[] = [
  column('open', 'number'),
  column('high', 'number'),
  column('low', 'number'),
  column('close', 'number'),
  column('volume', 'number'),
  nullable('vwap', 'number'),
  nullable('trade_count', 'integer'),
  column('quality_score', 'number', 'b.score'),
  column('validated', 'boolean', `(b.score >= ${VALIDATED_SCORE})`),
  column('flags', 'names', FLAG_NAMES),
  column('is_final', 'boolean'),
  column('provider', 'text'),
];

const held = (name: string, type: string, isNullable = false): TableColumn => ({
  name,
  type,
  isNullable,
});

const PRICES = ['open', 'high', 'low', 'close', 'volume', 'score'].map((name) =>
  held(name, 'double precision'),
);

const BAR_TABLE: readonly TableColumn[] = [
  held('flags', 'integer'),
  ...PRICES,
  held('ts_received', 'timestamptz'),
  held('is_final', 'boolean'),
  held('provider', 'text'),
  held('trade_count', 'integer', true),
  held('vwap', 'double precision', true),
  held('ts_final', 'timestamptz', true),
];

const intraday = (dataset: '1h' | '1m', noun: string): ExportTable => ({
  ...{ dataset, table: `bars_${dataset}`, timeframe: dataset, noun, isDaily: false },
  key: [{ name: 'ts', type: 'timestamptz' }],
  columns: [
    SYMBOL,
    column('ts', 'second'),
    column('session', 'date'),
    column('part', 'name', PART_NAME),
    ...BAR_COLUMNS,
  ],
  tableColumns: [
    held('ts', 'timestamptz'),
    held('session', 'date'),
    held('part', 'smallint'),
    ...BAR_TABLE,
  ],
});

const TABLES: Record<ExportDataset, ExportTable> = {
  '1d': {
    ...{ dataset: '1d', table: 'bars_1d', timeframe: '1d', noun: 'daily bars', isDaily: true },
    key: [{ name: 'session', type: 'date' }],
    columns: [SYMBOL, column('date', 'date', 'b.session'), ...BAR_COLUMNS],
    tableColumns: [held('session', 'date'), ...BAR_TABLE],
  },
  '1h': intraday('1h', 'hourly bars'),
  '1m': intraday('1m', 'minute bars'),
  trades: {
    ...{ dataset: 'trades', table: 'trades', timeframe: 'trade', noun: 'trades', isDaily: false },
    key: [
      { name: 'ts', type: 'timestamptz' },
      { name: 'sequence', type: 'bigint' },
    ],
    columns: [
      SYMBOL,
      column('ts', 'micros'),
      column('sequence', 'integer'),
      column('price', 'number'),
      column('size', 'number'),
      nullable('exchange', 'text'),
      nullable('conditions', 'text'),
      column('updates', 'integer'),
      column('provider', 'text'),
    ],
    tableColumns: [
      held('ts', 'timestamptz'),
      held('sequence', 'bigint'),
      held('price', 'double precision'),
      held('size', 'double precision'),
      held('ts_received', 'timestamptz'),
      held('updates', 'smallint'),
      held('provider', 'text'),
      held('exchange', 'text', true),
      held('conditions', 'text', true),
    ],
  },
  snapshots: {
    ...{ dataset: 'snapshots', table: 'snapshots', timeframe: 'snapshot', noun: 'snapshots' },
    isDaily: false,
    key: [
      { name: 'ts', type: 'timestamptz' },
      { name: 'provider', type: 'text' },
    ],
    columns: [
      SYMBOL,
      column('ts', 'micros'),
      column('price', 'number'),
      nullable('open', 'number'),
      nullable('day_high', 'number'),
      nullable('day_low', 'number'),
      nullable('previous_close', 'number'),
      nullable('volume', 'number'),
      nullable('market_cap', 'number'),
      nullable('pe_ratio', 'number'),
      column('ts_received', 'micros'),
      column('provider', 'text'),
      column('meta', 'json'),
    ],
    tableColumns: [
      held('ts', 'timestamptz'),
      held('price', 'double precision'),
      ...['open', 'day_high', 'day_low', 'previous_close', 'volume', 'market_cap', 'pe_ratio'].map(
        (name) => held(name, 'double precision', true),
      ),
      held('ts_received', 'timestamptz'),
      held('provider', 'text'),
      held('meta', 'jsonb'),
    ],
  },
};

export const exportTable = (dataset: ExportDataset): ExportTable => TABLES[dataset];

/** Names by which the market-hours pipeline knew columns, and the tables here do. */
const OTHER_NAMES: Record<string, string> = {
  ticker: 'symbol',
  session: 'date',
  score: 'quality_score',
  avg: 'vwap',
  sale: 'close',
};

/** The column that a condition means, by its own or another name. */
export function findColumn(table: ExportTable, name: string): ExportColumn | undefined {
  const own = table.columns.find((one) => one.name === name);
  if (own) return own;
  if (name === 'unix_time') {
    const { key } = table;
    return column('unix_time', 'number', `extract(epoch from b.${key[0].name})::float8`);
  }
  const price = name === 'sale' && table.dataset === 'snapshots' ? 'price' : OTHER_NAMES[name];
  return table.columns.find((one) => one.name === price);
}
