import { Html } from '@elysiajs/html';
import type { Adjustment } from '../src/model/adjustment.ts';
import { ADJUSTMENTS } from '../src/model/adjustment.ts';
import {
  type ChartRange,
  type ChartTimeframe,
  isIntradayChart,
  RANGE_LABELS,
  rangeFor,
  rangesOf,
} from '../src/model/chart-range.ts';
import { formatClock } from '../src/model/market.ts';
import { VALIDATED_SCORE } from '../src/model/quality.ts';
import { count, plural, Scroll, symbolPath, Text } from './elements.tsx';
import { Empty, withQuery } from './list.tsx';
import { LiveLink } from './live.tsx';
import { Session } from './time.tsx';

/** The chart of a symbol with its switches, the table of its newest bars, the same as a call. */

/** A bar, as /api/v1/historical has it. */
export interface BarView {
  time: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  quality_score: number;
  is_final: boolean;
  flags: string[];
}

export interface ChartView {
  timeframe: ChartTimeframe;
  adjustment: Adjustment;
  range: ChartRange;
  /** All that are stored, or only those that are validated. */
  bars: 'all' | 'validated';
  /** Whoever had the symbol that day is meant; null: whoever has it. */
  asof: string | null;
  /** The date whose findings, actions and revisions are shown first; null for none. */
  session: string | null;
  /** What can be chosen. */
  timeframes: ChartTimeframe[];
  ranges: ChartRange[];
  /** The timeframe of a page that asks for none. */
  usual: ChartTimeframe;
  /** 'YYYY-MM-DD', both inclusive; null when nothing is held. */
  start: string | null;
  end: string | null;
  /** Of the request of bars that gives just this; null when nothing is held. */
  query: Record<string, string> | null;
  count: number;
  /** Bars that are left out for their score, or for their time is not over. */
  excluded: number;
  /** The newest bars, the newest first, and the one before them. */
  latest: BarView[];
  /** At most a few hundred of the closes, ascending. */
  closes: number[];
  /** It is another whenever the bars, or what is marked on them, may be. */
  version: string;
}

interface ChartProps {
  symbol: string;
  chart: ChartView;
}

const BARS_SHOWN = 20;

const ADJUSTMENT_LABELS: Record<Adjustment, { label: string; phrase: string }> = {
  raw: { label: 'Raw', phrase: 'prices as they were traded' },
  split: { label: 'Splits', phrase: 'adjusted for splits' },
  all: { label: 'Splits and dividends', phrase: 'adjusted for splits and dividends' },
};

const TIMEFRAME_NAMES: Record<ChartTimeframe, string> = {
  ...{ '1m': '1-minute', '5m': '5-minute', '15m': '15-minute', '30m': '30-minute' },
  ...{ '1h': 'hourly', '1d': 'daily', '1w': 'weekly', '1mo': 'monthly' },
};

// ------------------------------------------------------------------------- addresses

type Switches = Partial<
  Pick<ChartView, 'timeframe' | 'adjustment' | 'range' | 'bars' | 'session' | 'asof'>
>;

/** The switches that are not as usual, as the page's address and its forms have them. */
export function switchFields(chart: ChartView, changes: Switches = {}): Record<string, string> {
  const { timeframe, adjustment, range, bars, asof, session } = { ...chart, ...changes };
  const kept = rangesOf(timeframe).includes(range) ? range : rangeFor(timeframe);
  return {
    ...(timeframe !== chart.usual && { timeframe }),
    ...(adjustment !== 'split' && { adjustment }),
    ...(kept !== rangeFor(timeframe) && { range: kept }),
    ...(bars !== 'all' && { bars }),
    ...(asof !== null && { asof }),
    ...(session !== null && { session }),
  };
}

/** The page of a symbol, with other switches. */
export const switchPath = (symbol: string, chart: ChartView, changes: Switches = {}): string =>
  withQuery(symbolPath(symbol), switchFields(chart, changes));

/** Where the API answers the bars of the chart; '' when nothing is held. */
const barsPath = ({ symbol, chart }: ChartProps, format?: string): string =>
  chart.query === null
    ? ''
    : withQuery(`/api/v1/historical/${encodeURIComponent(symbol)}`, { ...chart.query, format });

/** What is marked on the bars: addresses of the API. */
function markPaths({ symbol, chart }: ChartProps) {
  const name = encodeURIComponent(symbol);
  const range = { start: chart.start ?? '', end: chart.end ?? '' };
  const asof = chart.asof ?? chart.query?.asof;
  const isIntraday = isIntradayChart(chart.timeframe);
  const of = { symbol, ...range, asof, limit: 1000, timeframe: isIntraday ? undefined : '1d' };
  return {
    findings: withQuery('/api/v1/findings', { ...of, state: 'all' }),
    revisions: withQuery('/api/v1/revisions', of),
    actions: withQuery(`/api/v1/corporate-actions/${name}`, { ...range, asof }),
  };
}

// -------------------------------------------------------------------------- switches

interface SwitchProps<T> {
  label: string;
  chosen: T;
  options: readonly { value: T; label: string }[];
  href: (value: T) => string;
}

function Switch<T extends string>({ label, chosen, options, href }: SwitchProps<T>): JSX.Element {
  return (
    <ul class="switch" aria-label={label}>
      {options.map((one) => (
        <li>
          <LiveLink href={href(one.value)} region="symbol" isCurrent={one.value === chosen}>
            <span safe>{one.label}</span>
          </LiveLink>
        </li>
      ))}
    </ul>
  );
}

function Switches({ symbol, chart }: ChartProps): JSX.Element {
  const to = (changes: Switches) => switchPath(symbol, chart, changes);
  return (
    <div class="switches">
      <Switch
        label="Timeframe"
        chosen={chart.timeframe}
        options={chart.timeframes.map((value) => ({ value, label: value }))}
        href={(timeframe) => to({ timeframe })}
      />
      <Switch
        label="Range"
        chosen={chart.range}
        options={chart.ranges.map((value) => ({ value, label: RANGE_LABELS[value] }))}
        href={(range) => to({ range })}
      />
      <Switch
        label="Adjustment"
        chosen={chart.adjustment}
        options={ADJUSTMENTS.map((value) => ({ value, label: ADJUSTMENT_LABELS[value].label }))}
        href={(adjustment) => to({ adjustment })}
      />
      <Switch
        label="Bars"
        chosen={chart.bars}
        options={[
          { value: 'all', label: 'All bars' },
          { value: 'validated', label: 'Validated' },
        ]}
        href={(bars) => to({ bars })}
      />
    </div>
  );
}

// ----------------------------------------------------------------------------- chart

export function Chart(props: ChartProps): JSX.Element {
  const { chart, symbol } = props;
  if (chart.query === null) {
    return (
      <section aria-labelledby="chart-title">
        <h2 id="chart-title">Chart</h2>
        <Empty title="No bars are held yet">
          <p>
            <a href={withQuery('/dashboard/backfill', { symbols: symbol })}>Start a backfill</a>
          </p>
        </Empty>
      </section>
    );
  }
  const { start, end, timeframe, adjustment, excluded } = chart;
  const what = `${TIMEFRAME_NAMES[timeframe]} bars of ${symbol} from ${start} to ${end}, ${
    ADJUSTMENT_LABELS[adjustment].phrase
  }`;
  return (
    <section aria-labelledby="chart-title">
      <h2 id="chart-title">
        Chart{' '}
        <span class="total" safe>
          {`${plural(chart.count, 'bar')}, ${start} to ${end}, ${
            ADJUSTMENT_LABELS[adjustment].phrase
          }${excluded > 0 ? `; ${count(excluded)} left out` : ''}`}
        </span>
      </h2>
      <Switches {...props} />
      <LegendOf bar={chart.latest[0]} before={chart.latest[1]} timeframe={timeframe} />
      <Drawing {...props} label={`Chart of the ${what}. The table of the bars has the same.`} />
      <p id="chart-failure" class="notice attention" role="status" hidden></p>
      {chart.count === 0 ? (
        <p class="notice attention">
          No bar is in this range: choose a longer one, or all bars instead of the validated ones.
        </p>
      ) : null}
      <p class="quiet chart-notes">
        <span class="key">
          Marks: <b>!</b> finding, <b>S</b> split, <b>D</b> dividend, <b>R</b> restated.
        </span>{' '}
        <span class="only-script">
          Click a mark to see it below. Click the chart, then: wheel, + and − zoom, drag moves,
          arrow keys go from bar to bar, Enter opens a mark.
        </span>{' '}
        <span>
          Drawn with TradingView Lightweight Charts™, Copyright (c) 2026 TradingView, Inc.,{' '}
          <a href="https://www.tradingview.com/" rel="noreferrer">
            www.tradingview.com
          </a>
        </span>
      </p>
    </section>
  );
}

/** What the script draws; a line of the closes where no script runs. */
function Drawing({ symbol, chart, label }: ChartProps & { label: string }): JSX.Element {
  const marks = markPaths({ symbol, chart });
  return (
    <div
      id="chart"
      class="chart"
      role="img"
      tabindex="0"
      aria-label={label}
      aria-describedby="chart-legend"
      data-source={barsPath({ symbol, chart })}
      data-findings={marks.findings}
      data-actions={marks.actions}
      data-revisions={marks.revisions}
      data-intraday={isIntradayChart(chart.timeframe) ? '' : undefined}
      data-span={`${chart.timeframe} ${chart.range}`}
      data-page={switchPath(symbol, chart, { session: null })}
      data-version={chart.version}
    >
      <ClosesLine closes={chart.closes} />
    </div>
  );
}

const LINE_WIDTH = 1000;
const LINE_HEIGHT = 300;

function ClosesLine({ closes }: { closes: readonly number[] }): JSX.Element | null {
  if (closes.length < 2) return null;
  const low = Math.min(...closes);
  const span = Math.max(...closes) - low || 1;
  const points = closes.map((close, i) => {
    const x = (i / (closes.length - 1)) * LINE_WIDTH;
    const y = LINE_HEIGHT - ((close - low) / span) * LINE_HEIGHT;
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg
      class="closes"
      viewBox={`0 -6 ${LINE_WIDTH} ${LINE_HEIGHT + 12}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <polyline points={points.join(' ')} fill="none" vector-effect="non-scaling-stroke" />
    </svg>
  );
}

// ------------------------------------------------------------------- legend and table

/** All digits that a price has. */
export const PRICE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 8 });
/** For columns of them: two digits at least, four at most where that shows the price. */
const CELL = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 4,
});
const SMALL_CELL = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumSignificantDigits: 5,
});
const cell = (value: number) => (Math.abs(value) < 1 ? SMALL_CELL : CELL).format(value);
const PERCENT = new Intl.NumberFormat('en-US', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const words = (name: string) => name.replaceAll('_', ' ');

/** '2024-03-01', or '2024-03-01 10:35 EST' of a bar below a day. */
function barTime(time: string, timeframe: ChartTimeframe): string {
  const date = time.slice(0, 10);
  return isIntradayChart(timeframe) ? `${date} ${formatClock(Date.parse(time))}` : date;
}

/** Of the close, from that of the bar before; '' where there is none. */
function changeOf(bar: BarView, before: BarView | undefined): string {
  if (before === undefined || before.close === 0) return '';
  const percent = (bar.close / before.close - 1) * 100;
  const sign = percent > 0 ? '+' : percent < 0 ? '\u2212' : '±';
  return `${sign}${PERCENT.format(Math.abs(percent))} %`;
}

const marksOf = (bar: BarView) =>
  [...bar.flags.map(words), ...(bar.is_final ? [] : ['not final'])].join(', ');

interface LegendProps {
  bar: BarView | undefined;
  before: BarView | undefined;
  timeframe: ChartTimeframe;
}

/** The numbers of one bar: the newest, and with a script the one that is pointed at. */
function LegendOf({ bar, before, timeframe }: LegendProps): JSX.Element {
  const fields: [name: string, label: string, value: string][] = bar
    ? [
        ['open', 'O', cell(bar.open)],
        ['high', 'H', cell(bar.high)],
        ['low', 'L', cell(bar.low)],
        ['close', 'C', cell(bar.close)],
        ['volume', 'V', count(bar.volume)],
        ['change', 'Change', changeOf(bar, before)],
        ['score', 'Score', `${bar.quality_score}`],
        ['flags', '', marksOf(bar)],
      ]
    : [];
  const time = bar === undefined ? 'No bar' : barTime(bar.time, timeframe);
  return (
    <p id="chart-legend" class="ohlc">
      <strong data-field="time" safe>
        {time}
      </strong>
      {fields.map(([name, label, value]) => (
        <span>
          {' '}
          <span class="label" safe>
            {label}
          </span>{' '}
          <span data-field={name} safe>
            {value}
          </span>
        </span>
      ))}
    </p>
  );
}

const COLUMNS = ['Open', 'High', 'Low', 'Close', 'Change', 'Volume', 'VWAP', 'Score'];

/** The newest bars of the chart, in words. */
export function Bars({ chart }: ChartProps): JSX.Element {
  const { timeframe, adjustment, latest } = chart;
  const shown = latest.slice(0, BARS_SHOWN);
  const { phrase } = ADJUSTMENT_LABELS[adjustment];
  return (
    <section aria-labelledby="bars">
      <h2 id="bars">
        <span safe>{`Latest ${TIMEFRAME_NAMES[timeframe]} bars`}</span>{' '}
        <span class="total" safe>
          {`${count(shown.length)} of ${count(chart.count)}, ${phrase}`}
        </span>
      </h2>
      {shown.length === 0 ? (
        <p class="quiet">None are held.</p>
      ) : (
        <Scroll labelledby="bars">
          <table>
            <thead>
              <tr>
                <th scope="col">{isIntradayChart(timeframe) ? 'Begins (New York)' : 'Session'}</th>
                {COLUMNS.map((name) => (
                  <th scope="col" class="number" safe>
                    {name}
                  </th>
                ))}
                <th scope="col">Flags</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((bar, i) => (
                <BarRow bar={bar} before={latest[i + 1]} timeframe={timeframe} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

function BarRow({ bar, before, timeframe }: LegendProps & { bar: BarView }): JSX.Element {
  const { open, high, low, close, volume, vwap, quality_score } = bar;
  return (
    <tr>
      <th scope="row">
        {isIntradayChart(timeframe) ? (
          <time datetime={bar.time} safe>
            {barTime(bar.time, timeframe)}
          </time>
        ) : (
          <Session date={bar.time.slice(0, 10)} />
        )}
      </th>
      {[open, high, low, close].map((value) => (
        <td class="number" safe>
          {cell(value)}
        </td>
      ))}
      <td class="number" safe>
        {changeOf(bar, before)}
      </td>
      <td class="number" safe>
        {count(volume)}
      </td>
      <td class="number" safe>
        {vwap === null ? '' : cell(vwap)}
      </td>
      <td class="number" safe>
        {`${quality_score}`}
      </td>
      <td safe>{marksOf(bar)}</td>
    </tr>
  );
}

// ------------------------------------------------------------------------------ calls

interface CallsProps extends ChartProps {
  /** Of this server, as the browser calls it: 'http://127.0.0.1:8000'. */
  origin: string;
}

/** Stored timeframes, which `marketd export` writes; others are made when they are asked for. */
const EXPORTED: readonly string[] = ['1d', '1h', '1m'];

/** The request, the command and the files that are just what the chart shows. */
export function Calls({ symbol, chart, origin }: CallsProps): JSX.Element {
  const path = barsPath({ symbol, chart });
  const { timeframe, adjustment, start, end } = chart;
  const isExported = EXPORTED.includes(timeframe) && chart.asof === null;
  const adjusted = adjustment === 'raw' ? '' : ` --adjustment ${adjustment}`;
  const only = chart.bars === 'all' ? '' : ` --where 'quality_score >= ${VALIDATED_SCORE}'`;
  const file = `${symbol.replaceAll(/[^\w.-]/g, '_')}-${timeframe}.parquet`;
  return (
    <section aria-labelledby="calls">
      <h2 id="calls">The same for programs</h2>
      {path === '' ? null : (
        <dl class="calls">
          <dt>This view</dt>
          <dd>
            <a id="call" href={path} safe>
              {path}
            </a>
          </dd>
          <dt>In a shell</dt>
          <dd>
            <code id="curl" class="command" tabindex="0" safe>
              {`curl -s '${origin}${path}'`}
            </code>
          </dd>
          <dt>Files</dt>
          <dd>
            <a
              href={barsPath({ symbol, chart }, 'csv')}
              download={file.replace('.parquet', '.csv')}
            >
              CSV
            </a>{' '}
            <a href={path} download={file.replace('.parquet', '.json')}>
              JSON
            </a>
          </dd>
          {isExported ? (
            <>
              <dt>Parquet</dt>
              <dd>
                <code id="export" class="command" tabindex="0" safe>
                  {`marketd export --symbols ${symbol} --timeframe ${timeframe} --from ${start} ` +
                    `--to ${end}${adjusted}${only} -o ${file}`}
                </code>
              </dd>
            </>
          ) : null}
        </dl>
      )}
      <MoreCalls symbol={symbol} asof={chart.asof} />
    </section>
  );
}

/** What is answered of those who have a symbol now. */
const NOW_ONLY = ['Quality', 'Reconciliation'];

function MoreCalls({ symbol, asof: day }: { symbol: string; asof: string | null }): JSX.Element {
  const name = encodeURIComponent(symbol);
  const asof = day ?? undefined;
  const calls: [what: string, path: string][] = [
    ['Quality', withQuery('/api/v1/quality', { symbol })],
    ['Coverage', withQuery(`/api/v1/coverage/${name}`, { asof })],
    ['Findings', withQuery('/api/v1/findings', { symbol, asof })],
    [
      'Splits and dividends',
      withQuery(`/api/v1/corporate-actions/${name}`, { withdrawn: 'true', asof }),
    ],
    ['Revisions', withQuery('/api/v1/revisions', { symbol, asof })],
    ['Reconciliation', withQuery('/api/v1/reconciliation', { symbol })],
    ['Identity', withQuery(`/api/v1/instruments/${name}`, { asof })],
  ];
  return (
    <dl class="calls">
      {calls
        .filter(([what]) => asof === undefined || !NOW_ONLY.includes(what))
        .map(([what, path]) => (
          <>
            <dt>
              <Text text={what} />
            </dt>
            <dd>
              <a href={path} safe>
                {path}
              </a>
            </dd>
          </>
        ))}
    </dl>
  );
}
