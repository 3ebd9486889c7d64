// Draws the chart of a symbol. What to draw is said by the data attributes of its place, which the
// server writes and each answer to a poll renews; the bars and what is marked on them come from the
// API that everybody has. The drawing is in a shadow tree, so that answers leave it alone.

class SymbolChart {
  /** What each kind of mark looks like. */
  static looks = {
    finding: { position: 'aboveBar', shape: 'arrowDown', text: '!' },
    split: { position: 'belowBar', shape: 'square', text: 'S' },
    dividend: { position: 'belowBar', shape: 'circle', text: 'D' },
    revision: { position: 'belowBar', shape: 'arrowUp', text: 'R' },
  };
  /** Variables of the style that marks are colored by. */
  static markColors = {
    ...{ open: '--attention', accepted: '--good', rejected: '--bad' },
    ...{ split: '--busy', dividend: '--idle', revision: '--attention' },
  };
  static retryMs = 5_000;
  /** A page of bars for the keyboard. */
  static leap = 20;

  #place;
  #root;
  #chart;
  #prices;
  #volumes;
  #pins;
  /** The bars, ascending, each with its `seconds`. */
  #bars = [];
  /** What is marked, by position of the bar. */
  #marks = new Map();
  /** The position that is pointed at; undefined for none. */
  #at;
  /** What is drawn: the address of its bars, the version of them, and timeframe and range. */
  #drawn = {};
  #loading;
  #retry;
  #failure = '';
  /** What will be in sight with the next picture. */
  #goal;

  constructor(place) {
    this.#place = place;
    this.#root = place.shadowRoot ?? place.attachShadow({ mode: 'open' });
    // Until something is drawn, what the server made shows through.
    this.#root.replaceChildren(document.createElement('slot'));
    this.#observe();
    this.sync();
  }

  get place() {
    return this.#place;
  }

  #observe() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#paint());
    this.#place.addEventListener('keydown', (event) => this.#press(event));
    this.#place.addEventListener('focus', () => this.#setWheel(true));
    this.#place.addEventListener('blur', () => {
      this.#setWheel(false);
      this.#point(undefined);
    });
  }

  // --------------------------------------------------------------------------- loading

  /** Brings the drawing to what the page says now, and says on the page again what is drawn. */
  sync() {
    const { source, version } = this.#place.dataset;
    this.#say(this.#failure);
    if (source !== this.#drawn.source || version !== this.#drawn.version) {
      void this.#load(source, version);
    } else this.#publish();
  }

  async #load(source, version) {
    const wanted = `${source} ${version}`;
    if (this.#loading?.wanted === wanted) return;
    this.#loading?.controller.abort();
    clearTimeout(this.#retry);
    const controller = new AbortController();
    const loading = { wanted, controller };
    this.#loading = loading;
    const { findings, actions, revisions, span } = this.#place.dataset;
    try {
      const answers = await Promise.all(
        [source, findings, actions, revisions].map((path) => fetchJson(path, controller.signal)),
      );
      if (this.#loading !== loading) return;
      const isSameSpan = span === this.#drawn.span;
      this.#drawn = { source, version, span };
      this.#show(answers, isSameSpan);
      this.#say('');
    } catch (error) {
      if (this.#loading !== loading) return;
      this.#say(
        `The chart could not be loaded at ${new Date().toISOString().slice(11, 19)} UTC: ` +
          `${error.message}. It tries again.`,
      );
      this.#retry = setTimeout(() => this.sync(), SymbolChart.retryMs);
    }
    this.#loading = undefined;
  }

  #say(text) {
    this.#failure = text;
    const place = document.getElementById('chart-failure');
    if (!place) return;
    place.textContent = text;
    place.hidden = text === '';
  }

  #show([bars, { findings }, { actions }, { revisions }], isSameSpan) {
    const shown = this.#chart && this.#shownRange();
    const pointed = isSameSpan ? this.#bars[this.#at]?.seconds : undefined;
    this.#bars = bars.data.map((bar) => ({ ...bar, seconds: Date.parse(bar.time) / 1000 }));
    this.#mark(findings, actions, revisions);
    this.#chart ?? this.#create();
    this.#paint();
    // Another timeframe or range is shown whole; the same with newer bars, or otherwise adjusted,
    // where it was.
    if (shown && isSameSpan) this.#showRange(shown);
    else this.#chart.timeScale().fitContent();
    // Who goes from bar to bar stays where they are.
    const at = this.#bars.findIndex(({ seconds }) => seconds === pointed);
    if (at >= 0) this.#pointAndShow(at);
    else this.#point(undefined);
  }

  /** Which bars are in sight by their times, and whether that is all of them. */
  #shownRange() {
    const range = this.#inSight();
    if (!range) return undefined;
    const last = this.#bars.length - 1;
    if (range.from <= 0.5 && range.to >= last - 0.5) return { isWhole: true };
    const time = (position) => this.#bars[Math.min(last, Math.max(0, position))]?.seconds;
    const first = Math.round(range.from);
    return { from: time(first), offset: range.from - first, width: range.to - range.from };
  }

  #showRange({ isWhole, from, offset, width }) {
    const scale = this.#chart.timeScale();
    if (isWhole || from === undefined) {
      scale.fitContent();
      return;
    }
    const start = this.#positionAt(from) + offset;
    this.#goTo({ from: start, to: start + width });
  }

  // --------------------------------------------------------------------------- drawing

  #create() {
    const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries } =
      LightweightCharts;
    const canvas = document.createElement('div');
    canvas.style.height = '100%';
    this.#root.replaceChildren(canvas);
    this.#chart = createChart(canvas, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 12 },
      handleScroll: { mouseWheel: false, vertTouchDrag: false },
      handleScale: { mouseWheel: false },
      kineticScroll: { touch: !matchMedia('(prefers-reduced-motion: reduce)').matches },
      crosshair: { mode: LightweightCharts.CrosshairMode.Magnet },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.08 }, minimumWidth: 64 },
      timeScale: {
        minBarSpacing: 0.02, // thirty years on a telephone
        tickMarkFormatter: (time, type) => this.#tick(time, type),
      },
      localization: { locale: 'en-US', timeFormatter: (time) => this.#timeText(time) },
    });
    this.#prices = this.#chart.addSeries(CandlestickSeries, {});
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    const volume = { priceFormat: { type: 'volume' }, ...quiet };
    this.#volumes = this.#chart.addSeries(HistogramSeries, volume, 1);
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0 } });
    const [prices, volumes] = this.#chart.panes();
    prices.setStretchFactor(4);
    volumes.setStretchFactor(1);
    this.#pins = createSeriesMarkers(this.#prices, []);
    this.#chart.subscribeCrosshairMove(({ logical, sourceEvent }) => {
      // Only a mouse or a finger has an event; keys and code point by themselves.
      if (sourceEvent) this.#point(logical ?? undefined);
    });
    this.#chart.subscribeClick((click) => this.#click(click));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.#publish());
    this.#setWheel(document.activeElement === this.#place);
  }

  /** Puts bars and marks into the drawing, in the colors of the theme. */
  #paint() {
    if (!this.#chart) return;
    const style = getComputedStyle(this.#place);
    const color = (name) => style.getPropertyValue(name).trim();
    const [up, down, ground, grid] = [
      ...['--chart-up', '--chart-down', '--panel', '--chart-grid'].map(color),
    ];
    this.#chart.applyOptions({
      layout: {
        background: { color: ground },
        textColor: color('--quiet'),
        fontFamily: style.fontFamily,
        panes: { separatorColor: color('--line'), enableResize: false },
      },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: color('--line') },
      timeScale: { borderColor: color('--line'), timeVisible: this.#isIntraday },
    });
    // Rising bars are hollow: they are told from falling ones without their colors.
    this.#prices.applyOptions({
      ...{ upColor: ground, borderUpColor: up, wickUpColor: up },
      ...{ downColor: down, borderDownColor: down, wickDownColor: down },
      priceFormat: { type: 'price', ...precisionOf(this.#bars) },
    });
    this.#prices.setData(
      this.#bars.map(({ seconds, open, high, low, close }) => ({
        ...{ time: seconds, open, high, low, close },
      })),
    );
    const [risen, fallen] = ['--chart-up-volume', '--chart-down-volume'].map(color);
    this.#volumes.setData(
      this.#bars.map(({ seconds, volume, open, close }) => ({
        ...{ time: seconds, value: volume, color: close < open ? fallen : risen },
      })),
    );
    const pins = [...this.#marks].flatMap(([position, marks]) =>
      marks.map(({ row, kind, state }) => ({
        ...SymbolChart.looks[kind],
        ...{ id: row, time: this.#bars[position].seconds },
        color: color(SymbolChart.markColors[state ?? kind]),
      })),
    );
    this.#pins.setMarkers(pins.sort((a, b) => a.time - b.time));
  }

  get #isIntraday() {
    return this.#place.dataset.intraday !== undefined;
  }

  get #zone() {
    return this.#isIntraday ? 'America/New_York' : 'UTC';
  }

  /** '2024-03-01', or '2024-03-01 10:35 EST'. */
  #timeText(seconds) {
    const date = new Date(seconds * 1000);
    if (!this.#isIntraday) return date.toISOString().slice(0, 10);
    const parts = new Intl.DateTimeFormat('en-CA', {
      ...{ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit' },
      ...{ minute: '2-digit', hourCycle: 'h23', timeZoneName: 'short', timeZone: this.#zone },
    }).formatToParts(date);
    const part = (type) => parts.find((one) => one.type === type).value;
    const day = `${part('year')}-${part('month')}-${part('day')}`;
    return `${day} ${part('hour')}:${part('minute')} ${part('timeZoneName')}`;
  }

  /** What stands at the axis: a year, a month, a day or a time, in that order of `type`. */
  #tick(seconds, type) {
    const forms = [
      { year: 'numeric' },
      { month: 'short' },
      { day: 'numeric' },
      { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
    ];
    const form = { ...(forms[type] ?? forms[3]), timeZone: this.#zone };
    return new Intl.DateTimeFormat('en-US', form).format(new Date(seconds * 1000));
  }

  // ----------------------------------------------------------------------------- marks

  #mark(findings, actions, revisions) {
    this.#marks = new Map();
    for (const { id, state, kind, time, session, timeframe } of findings) {
      if (state === 'resolved' || !this.#isOfChart(timeframe)) continue;
      const text = `${kind.replaceAll('_', ' ')} (${state})`;
      this.#put(time, { row: `finding-${id}`, kind: 'finding', state, text, session });
    }
    for (const { kind, ex_date: session, split_from: from, split_to: to, cash_amount } of actions) {
      const text = kind === 'split' ? `split ${to} for ${from}` : `dividend ${cash_amount}`;
      this.#put(`${session}T00:00:00Z`, { row: `${kind}-${session}`, kind, text, session });
    }
    for (const { time, session, timeframe } of revisions) {
      if (!this.#isOfChart(timeframe)) continue;
      const row = `revision-${timeframe}-${session}`;
      this.#put(time, { row, kind: 'revision', text: 'restated', session });
    }
  }

  /** Whether what is said of stored bars of a timeframe is said of the bars of the chart. */
  #isOfChart(timeframe) {
    return (timeframe === '1d') !== this.#isIntraday;
  }

  /** Marks the bar that an instant falls in, or the first bar of a session. */
  #put(time, mark) {
    const seconds = Date.parse(time) / 1000;
    const isWhole = time.endsWith('T00:00:00Z');
    const next = this.#positionAt(seconds);
    // Below a day the first bar of a session comes after midnight; a week begins before its days.
    const isAfter = this.#isIntraday && isWhole;
    const position = isAfter || this.#bars[next]?.seconds === seconds ? next : next - 1;
    if (this.#bars[position] === undefined) return;
    const marks = this.#marks.get(position) ?? [];
    if (marks.some(({ row }) => row === mark.row)) return;
    this.#marks.set(position, [...marks, mark]);
  }

  /** The position of the first bar from an instant on. */
  #positionAt(seconds) {
    let [low, high] = [0, this.#bars.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#bars[middle].seconds < seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #click({ logical, hoveredInfo, hoveredObjectId }) {
    this.#place.focus({ preventScroll: true });
    const marks = this.#marks.get(logical) ?? [];
    const id = hoveredInfo?.objectId ?? hoveredObjectId;
    const hovered = [...this.#marks.values()].flat().find(({ row }) => row === id);
    const mark = hovered ?? marks[0];
    if (mark) this.#open(mark);
  }

  /** Goes to the row that a mark is about, on a page that has it. */
  #open({ row, session }) {
    const place = document.getElementById(row);
    if (!place) {
      const address = new URL(this.#place.dataset.page, location.href);
      address.searchParams.set('session', session);
      address.hash = row;
      location.assign(address);
      return;
    }
    const folded = place.closest('details');
    if (folded) folded.open = true;
    place.focus({ preventScroll: true });
    place.scrollIntoView({ block: 'center' });
  }

  // -------------------------------------------------------------------------- pointing

  #press(event) {
    const { key, ctrlKey, altKey, metaKey } = event;
    if (!this.#chart || this.#bars.length === 0 || ctrlKey || altKey || metaKey) return;
    const last = this.#bars.length - 1;
    const at = this.#at ?? last + 1;
    const { leap } = SymbolChart;
    const goals = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - leap, PageDown: at + leap };
    Object.assign(goals, { Home: 0, End: last });
    if (key in goals) this.#pointAndShow(Math.min(last, Math.max(0, goals[key])));
    else if (key === '+' || key === '=') this.#zoom(0.7);
    else if (key === '-') this.#zoom(1 / 0.7);
    else if (key === 'Escape') this.#point(undefined);
    else if (key === 'Enter' && this.#marks.has(this.#at)) this.#open(this.#marks.get(this.#at)[0]);
    else return;
    event.preventDefault();
  }

  #pointAndShow(position) {
    const { from, to } = this.#inSight();
    const by = position < from ? position - from : position > to ? position - to : 0;
    if (by !== 0) this.#goTo({ from: from + by, to: to + by });
    const { close, seconds } = this.#bars[position];
    this.#chart.setCrosshairPosition(close, seconds, this.#prices);
    this.#point(position);
  }

  #zoom(factor) {
    const { from, to } = this.#inSight();
    const middle = this.#at ?? (from + to) / 2;
    this.#goTo({ from: middle - (middle - from) * factor, to: middle + (to - middle) * factor });
  }

  /** The positions that are in sight, or will be once they are drawn. */
  #inSight() {
    return this.#goal ?? this.#chart.timeScale().getVisibleLogicalRange();
  }

  /** The library does so with the next picture: until then the next key must know. */
  #goTo(range) {
    this.#goal = range;
    this.#chart.timeScale().setVisibleLogicalRange(range);
    requestAnimationFrame(() => {
      if (this.#goal === range) this.#goal = undefined;
    });
  }

  /** A page that is scrolled by the wheel is not stopped by a chart that nobody has chosen. */
  #setWheel(isOn) {
    this.#chart?.applyOptions({ handleScale: { mouseWheel: isOn } });
  }

  /** Says in the legend what the bar at a position is; the newest one without a position. */
  #point(position) {
    this.#at = this.#bars[position] ? position : undefined;
    if (position === undefined) this.#chart?.clearCrosshairPosition();
    this.#publish();
  }

  // ------------------------------------------------------------------------ publishing

  /** Writes what is drawn where people, programs and tests can read it. */
  #publish() {
    const { dataset } = this.#place;
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    const last = this.#bars.length - 1;
    const shown = (position) => {
      const bar = this.#bars[Math.min(last, Math.max(0, Math.round(position)))];
      return bar ? bar.time : '';
    };
    dataset.bars = `${this.#prices.data().length}`;
    dataset.marks = `${[...this.#marks.values()].flat().length}`;
    dataset.firstClose = `${this.#prices.data().at(0)?.close ?? ''}`;
    dataset.lastClose = `${this.#prices.data().at(-1)?.close ?? ''}`;
    dataset.shownFrom = range ? shown(range.from) : '';
    dataset.shownTo = range ? shown(range.to) : '';
    this.#tell(this.#at ?? last);
  }

  #tell(position) {
    const legend = document.getElementById('chart-legend');
    const bar = this.#bars[position];
    if (!legend || !bar) return;
    legend.ariaLive = document.activeElement === this.#place ? 'polite' : 'off';
    const marks = this.#marks.get(position) ?? [];
    const said = [
      ...bar.flags.map((flag) => flag.replaceAll('_', ' ')),
      ...(bar.is_final ? [] : ['not final']),
      ...marks.filter(({ kind }) => kind !== 'finding').map(({ text }) => text),
    ];
    const values = {
      time: this.#timeText(bar.seconds),
      ...{ open: cell(bar.open), high: cell(bar.high), low: cell(bar.low), close: cell(bar.close) },
      volume: bar.volume.toLocaleString('en-US', { maximumFractionDigits: 3 }),
      change: changeOf(bar, this.#bars[position - 1]),
      score: `${bar.quality_score}`,
      flags: said.join(', '),
    };
    for (const [name, text] of Object.entries(values)) {
      const place = legend.querySelector(`[data-field=${name}]`);
      if (place && place.textContent !== text) place.textContent = text;
    }
  }
}

/** @throws Error with the sentence that the server says. */
async function fetchJson(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal, headers: { accept: 'application/json' } });
  } catch {
    throw new Error('marketd has not answered');
  }
  const body = await answer.json().catch(() => undefined);
  if (answer.ok && body) return body;
  throw new Error(body?.error?.message ?? `marketd has answered error ${answer.status}`);
}

/** As many digits as the price needs to be told from its neighbors. */
function precisionOf(bars) {
  const close = Math.abs(bars.at(-1)?.close ?? 1);
  const precision = close >= 1 ? 2 : close >= 0.01 ? 4 : 6;
  return { precision, minMove: 10 ** -precision };
}

/** The same as in the table of the bars. */
function cell(value) {
  const isSmall = Math.abs(value) < 1;
  const digits = isSmall ? { maximumSignificantDigits: 5 } : { maximumFractionDigits: 4 };
  return value.toLocaleString('en-US', { minimumFractionDigits: 2, ...digits });
}

/** Of the close, from that of the bar before; '' where there is none. */
function changeOf(bar, before) {
  if (!before || before.close === 0) return '';
  const percent = (bar.close / before.close - 1) * 100;
  const sign = percent > 0 ? '+' : percent < 0 ? '\u2212' : '±';
  const form = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return `${sign}${Math.abs(percent).toLocaleString('en-US', form)} %`;
}

let symbolChart;

/** The chart of the page, also in a place for it that an answer has brought. */
function startSymbolChart() {
  const place = document.getElementById('chart');
  if (place && symbolChart?.place !== place) symbolChart = new SymbolChart(place);
  else symbolChart?.sync();
}

document.addEventListener('htmx:after:swap', startSymbolChart);
startSymbolChart();
