import type { BarColumns } from './bar.ts';
import { MEDIAN_SESSIONS } from './quality.ts';
import type { Calendar } from './session.ts';

/**
 * Splits that nobody told of, and splits that nobody sees: a raw price that jumps by a ratio of
 * whole numbers looks like a split, and a split in the table whose jump is not in the prices is
 * doubted.
 *
 * A jump is weighed as odds, in natural logarithms that add up: how much likelier is what the bar
 * says if the shares were split in the ratio r, than if the price just moved that far over night?
 *   open      after a split it is as near to previous close / r as it is to the close before on
 *             other days; a real move ends anywhere, and one beyond x is as rare as the cube of
 *             volatility / x (Gopikrishnan et al., Physical Review E 60, 1999).
 *   price     who splits has a high price, and who consolidates shares a low one.
 *   turnover  is hardly touched by a split: news multiplies it. After a rise it is the shares that
 *             are counted: a reverse split leaves few, news makes many.
 *   range     of the day is the usual one after a split, and a wide one after news.
 * A bar is judged by itself and by the bars of the 63 sessions before it only. What comes of it on
 * recorded data says `scripts/split-accuracy.ts`.
 */

/** A bar that looks as if a split took effect, or as if one did not. */
export interface SplitFinding {
  /** Position of the bar in the columns. */
  row: number;
  kind: 'possible_split' | 'unconfirmed_split';
  /** Old shares: 1 of a 4-for-1 split. */
  splitFrom: number;
  /** New shares for them: 4 of a 4-for-1 split. */
  splitTo: number;
  /** splitTo / splitFrom */
  ratio: number;
  detail: SplitDetail;
}

/** The numbers that show why, rounded for people and JSON. */
export interface SplitDetail {
  /** The last good close, less the dividends that fell due since. */
  previous_close: number;
  /** Sessions from that close to this bar; 1 when none is missing. */
  sessions: number;
  /** Previous close / open and / close: as the price has it, how many shares one became. */
  open_ratio: number;
  close_ratio: number;
  /** What the price moves from a close to the next, a fraction; from the median of the past. */
  volatility: number;
  /** Turnover, volume and range of the day as multiples of their medians; null without a past. */
  turnover_multiple: number | null;
  volume_multiple: number | null;
  range_multiple: number | null;
  /** Natural logarithm of the odds of a split; null where the question is another. */
  log_odds: number | null;
}

/** The splits and dividends that are known, by ex-date in days since 1970-01-01. */
export interface SplitCauses {
  /** New shares for one old; several of a day multiplied. */
  splitRatio: ReadonlyMap<number, number>;
  /** Cash for one share, in raw prices; several of a day added. */
  dividendCash: ReadonlyMap<number, number>;
}

/** One ratio a split may have, and how usual it is among splits. */
interface Candidate {
  from: number;
  to: number;
  log: number;
  logWeight: number;
}

/** How usual ratios (new:old shares) are among forward and among reverse splits, roughly. */
const WEIGHTS: readonly { weight: number; ratios: readonly string[] }[] = [
  { weight: 0.5, ratios: ['2:1'] },
  { weight: 0.22, ratios: ['3:2'] },
  { weight: 0.2, ratios: ['1:10'] },
  { weight: 0.1, ratios: ['1:5'] },
  { weight: 0.06, ratios: ['3:1', '1:2', '1:3', '1:4', '1:8', '1:15', '1:20', '1:25'] },
  { weight: 0.04, ratios: ['4:1', '5:4'] },
  { weight: 0.02, ratios: ['5:1', '10:1', '4:3', '1:6', '1:7', '1:12', '1:30', '1:40', '1:50'] },
  { weight: 0.01, ratios: ['6:5', '5:3', '1:35', '1:100'] },
  { weight: 0.005, ratios: ['6:1', '7:1', '8:1', '20:1'] },
  { weight: 0.002, ratios: ['5:2', '15:1', '25:1', '50:1'] },
  { weight: 0.001, ratios: ['9:1', '12:1', '30:1', '40:1', '100:1'] },
];
/** Of any other reverse split; up to RATIO_MAX old shares for one they all happen. */
const RARE = 0.002;
const RATIO_MAX = 100;

const CANDIDATES: readonly Candidate[] = makeCandidates();

function makeCandidates(): Candidate[] {
  const weights = new Map<string, number>(
    Array.from({ length: RATIO_MAX - 1 }, (_, i) => [`1:${i + 2}`, RARE]),
  );
  for (const { weight, ratios } of WEIGHTS) for (const ratio of ratios) weights.set(ratio, weight);
  return [...weights].map(([ratio, weight]) => {
    const [to, from] = ratio.split(':').map(Number);
    return { from, to, log: Math.log(to / from), logWeight: Math.log(weight) };
  });
}

/** An opening within these multiples of the previous close needs no look: 6:5 is the least. */
const CALM_LOW = 0.88;
const CALM_HIGH = 1.14;
/** From these odds on a jump is called a split: e to this power, 4.5 to 1. */
const LOG_ODDS_MIN = 1.5;
/** A split in fifteen years of 252 sessions. */
const LOG_SPLIT_RATE = -Math.log(15 * 252);
/** P(real jump beyond x, one side) = this x (volatility / x)^3: 0.11 to 0.19 on the raw files. */
const JUMP_RATE = 0.15;
/** Where the past is too short to say, and the least that is believed. */
const VOLATILITY_UNKNOWN = 0.025;
const VOLATILITY_MIN = 0.01;
/** Bars that make a median. */
const PAST_MIN = 5;
/** Consolidated shares open roughly: 15 of 45 reverse splits more than 5 % off the ratio. */
const REVERSE_NOISE = 0.06;
/** As near to the ratio as a price in cents is, in logarithms. */
const EXACT = 0.002;
/** A price may be off by half a cent: much, for a share of ten cents. */
const PRICE_ERROR = 0.005;

/**
 * The bars that look as if a split took effect that `causes` do not have (`possible_split`), and
 * those that show nothing of one they do have (`unconfirmed_split`). Bars of closed days and bars
 * that contradict themselves are not judged and are no one's past.
 * @param bars raw daily bars of one instrument, ascending, without duplicates.
 * @param from first row to judge; up to 63 sessions before it are its past, not judged themselves.
 */
export function findSplits(
  bars: BarColumns,
  calendar: Calendar,
  causes: SplitCauses,
  from = 0,
): SplitFinding[] {
  const found: SplitFinding[] = [];
  const { session, open, close } = bars;
  const exDays = [...causes.splitRatio.keys()].sort((a, b) => a - b);
  let due = 0;
  let last = -1;
  for (let row = 0; row < bars.length; row++) {
    if (!isGood(bars, row) || !calendar.isSession(session[row])) continue;
    const firstDue = due;
    while (due < exDays.length && exDays[due] <= session[row]) due++;
    if (row >= from && last >= 0) {
      const jump = open[row] / close[last];
      if (due > firstDue || jump < CALM_LOW || jump > CALM_HIGH) {
        judge({ bars, calendar, causes, row, last }, found);
      }
    }
    last = row;
  }
  return found;
}

/** A bar that does not contradict itself; NaN is in no order with anything. */
function isGood({ open, high, low, close, volume }: BarColumns, row: number): boolean {
  const bottom = low[row];
  const top = high[row];
  return (
    bottom > 0 &&
    open[row] >= bottom &&
    close[row] >= bottom &&
    top >= open[row] &&
    top >= close[row] &&
    volume[row] >= 0
  );
}

/** A bar to judge. */
interface Question {
  bars: BarColumns;
  calendar: Calendar;
  causes: SplitCauses;
  row: number;
  /** The last good bar before it. */
  last: number;
}

/** What the bars before a bar say of it. */
interface Past {
  /** Of the logarithm of close / close before it, like a standard deviation. */
  volatility: number;
  /** Medians; 0 where there are too few. */
  turnover: number;
  volume: number;
  range: number;
  /** Whether half of the bars are of trades at all. */
  isTraded: boolean;
  /** Logarithms of open / previous close, to see a jump that this one takes back. */
  jumps: number[];
}

/** The jump, in logarithms of price ratios. */
interface Jump {
  /** The previous close less dividends. */
  expected: number;
  /** Sessions since it. */
  sessions: number;
  open: number;
  close: number;
}

/** Weighs the jump from the last good close to a bar, and adds what is to be said of it. */
function judge(question: Question, found: SplitFinding[]): void {
  const { bars, calendar, causes, row, last } = question;
  const index = calendar.sessionIndex(bars.session[row]);
  const sessions = index - calendar.sessionIndex(bars.session[last]);
  if (sessions > MEDIAN_SESSIONS) return;
  let known = 1;
  let cash = 0;
  // The session of the event itself may have no bar: all since the last good one count.
  const isDue = (day: number) => day > bars.session[last] && day <= bars.session[row];
  for (const [exDay, ratio] of causes.splitRatio) if (isDue(exDay)) known *= ratio;
  for (const [exDay, value] of causes.dividendCash) if (isDue(exDay)) cash += value;
  const expected = bars.close[last] - cash;
  if (!(expected > 0)) return;
  const open = Math.log(bars.open[row] / expected);
  const close = Math.log(bars.close[row] / expected);
  const jump: Jump = { expected, sessions, open, close };
  const past = readPast(question, index);
  const verdict = judgeKnown(known, jump, past, bars.open[row]);
  if (verdict === 'confirmed') return;
  const add = (kind: SplitFinding['kind'], from: number, to: number, logOdds: number | null) =>
    found.push(toFinding(kind, question, jump, past, { from, to, logOdds }));
  const split = verdict === 'missing' ? undefined : likeliestSplit(question, jump, past);
  const isFound = split !== undefined && split.logOdds >= LOG_ODDS_MIN;
  const isOther = isFound && Math.abs(split.log - Math.log(known)) > EXACT;
  if (verdict === 'missing' || (verdict === 'doubtful' && isOther)) {
    const [to, from] = toFraction(known);
    add('unconfirmed_split', from, to, null);
  }
  if (isOther) add('possible_split', split.from, split.to, split.logOdds);
}

/**
 * Whether open or close confirms the split that is known. One too small to be seen says nothing;
 * `doubtful` is a price that neither went there nor stayed.
 */
function judgeKnown(known: number, jump: Jump, past: Past, open: number) {
  if (known === 1) return 'none';
  const log = Math.log(known);
  const size = Math.abs(log);
  const noise = noiseOf(past, jump, open, log < 0);
  const allowed = Math.max(SURE_NOISES * noise, Math.min(size / 3, OTHER_RATIO));
  const off = Math.min(Math.abs(jump.open + log), Math.abs(jump.close + log));
  if (off < Math.min(allowed, size / 2)) return 'confirmed';
  if (size < SEEN_NOISES * noise) return 'none';
  const isStill = Math.abs(jump.open) < size / 3 && Math.abs(jump.close) < size / 3;
  return isStill ? 'missing' : 'doubtful';
}

/** An opening this many times the noise away from where a split puts it is not the split's. */
const SURE_NOISES = 3;
/** A split that moves the price by less than this many times the noise cannot be seen. */
const SEEN_NOISES = 5;
/** A jump this far from the known ratio has another one: 8:1 is not 10:1, in logarithms 0.22. */
const OTHER_RATIO = 0.2;

/** How far an opening is from the close before it on other days, in logarithms. */
function noiseOf(past: Past, jump: Jump, open: number, isReverse: boolean): number {
  const { volatility } = past;
  const rough = isReverse ? REVERSE_NOISE : 0;
  const cents = (PRICE_ERROR / jump.expected) ** 2 + (PRICE_ERROR / open) ** 2;
  return Math.sqrt(volatility ** 2 * jump.sessions + rough ** 2 + cents);
}

/** Reads the bars of the 63 sessions before the session at `index`. */
function readPast({ bars, calendar, last }: Question, index: number): Past {
  const { open, high, low, close, volume } = bars;
  const moves: number[] = [];
  const jumps: number[] = [];
  const turnovers: number[] = [];
  const volumes: number[] = [];
  const ranges: number[] = [];
  let traded = 0;
  let next = -1;
  for (let row = last; row >= 0; row--) {
    if (!isGood(bars, row)) continue;
    const at = calendar.sessionIndex(bars.session[row]);
    if (at < 0) continue;
    if (index - at > MEDIAN_SESSIONS) break;
    if (next >= 0) {
      moves.push(Math.abs(Math.log(close[next] / close[row])));
      jumps.push(Math.log(open[next] / close[row]));
    }
    turnovers.push(volume[row] * close[row]);
    volumes.push(volume[row]);
    ranges.push(Math.log(high[row] / low[row]));
    if (isTraded(bars, row)) traded++;
    next = row;
  }
  const isShort = moves.length < PAST_MIN;
  const volatility = isShort ? VOLATILITY_UNKNOWN : TO_DEVIATION * medianOf(moves);
  return {
    volatility: Math.max(volatility, VOLATILITY_MIN),
    turnover: isShort ? 0 : medianOf(turnovers),
    volume: isShort ? 0 : medianOf(volumes),
    range: isShort ? 0 : medianOf(ranges),
    isTraded: 2 * traded >= ranges.length,
    jumps,
  };
}

/** Whether a bar is of trades: without volume and range it is a price somebody wrote there. */
function isTraded({ high, low, volume }: BarColumns, row: number): boolean {
  return volume[row] > 0 || high[row] > low[row];
}

/** The median of what is normally distributed, without sign, times this is its deviation. */
const TO_DEVIATION = 1.4826;

function medianOf(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The split that explains the jump best, and how likely it is; undefined when none can. */
function likeliestSplit(question: Question, jump: Jump, past: Past) {
  const { bars, row } = question;
  if (!past.isTraded || isTakenBack(jump, past)) return undefined;
  // A price that nobody traded at is one the vendor made: it made it of the exact ratio.
  const isExact = !isTraded(bars, row);
  const noise = isExact ? EXACT : noiseOf(past, jump, bars.open[row], jump.open > 0);
  let best: Candidate | undefined;
  let bestLog = Number.NEGATIVE_INFINITY;
  for (const candidate of CANDIDATES) {
    const off = Math.abs(jump.open + candidate.log);
    // A close that is nearer to the old level than to the new says that nothing was split.
    if (Math.abs(jump.close + candidate.log) > Math.abs(candidate.log) / 2) continue;
    const log = candidate.logWeight + logStudent(off / noise) - Math.log(noise);
    if (log <= bestLog || (isExact && off > EXACT)) continue;
    bestLog = log;
    best = candidate;
  }
  if (best === undefined) return undefined;
  const { volatility } = past;
  const logReal = Math.log((3 * JUMP_RATE * volatility ** 3) / Math.abs(jump.open) ** 4);
  const logSplit = LOG_SPLIT_RATE + bestLog + logOddsOfPrice(jump);
  return { ...best, logOdds: logSplit - logReal + logOddsOfDay(question, jump, past) };
}

/** Whether the series jumped as far the other way: prices of something else came in between. */
function isTakenBack(jump: Jump, past: Past): boolean {
  return past.jumps.some((other) => Math.abs(other + jump.open) < Math.abs(jump.open) / 4);
}

/** Logarithm of the density of Student's t with 3 degrees of freedom. */
function logStudent(x: number): number {
  return Math.log(0.3676) - 2 * Math.log1p((x * x) / 3);
}

/**
 * What the price before says: a split brings it back to where shares are used to trade. Splits of
 * shares below 25 dollars are rare, and reverse ones are for those whose listing asks for a dollar.
 */
function logOddsOfPrice({ open, expected }: Jump): number {
  if (open < 0) return 1.5 * Math.min(Math.log(expected / 25), 0);
  return 1 - Math.log(Math.min(Math.max(expected, 0.25), 50));
}

/** What the turnover (or the volume, after a rise) and the range of the day say. */
function logOddsOfDay({ bars, row }: Question, jump: Jump, past: Past): number {
  const { high, low, close, volume } = bars;
  const isFall = jump.open < 0;
  let odds = 0;
  if (past.turnover > 0 && isFall) {
    const turnover = Math.log((volume[row] * close[row]) / past.turnover);
    const news = 1 + 2 * Math.min(-jump.open, 1); // the deeper the fall, the more is traded
    odds += turnover < TURNOVER_LEAST ? 0 : logRatio(turnover, [0.1, 0.8], [news, 0.9]);
  } else if (past.volume > 0 && !isFall) {
    const shares = Math.log(volume[row] / past.volume);
    odds += shares < VOLUME_LEAST ? 0 : logRatio(shares, [-0.5, 1.2], [4.2, 1.4]);
  }
  if (past.range > 0) {
    const range = Math.log(Math.log(high[row] / low[row]) / past.range);
    const [split, news] = isFall ? FALL_RANGES : RISE_RANGES;
    odds += range < RANGE_LEAST ? 0 : logRatio(range, split, news);
  }
  return odds;
}

/** Mean and deviation of a logarithm. */
type Normal = readonly [mean: number, deviation: number];

/** Range of the day over the median, in logarithms: after a split, and after news. */
const FALL_RANGES: readonly [Normal, Normal] = [
  [0.3, 0.6],
  [1.2, 0.7],
];
const RISE_RANGES: readonly [Normal, Normal] = [
  [0.8, 0.7],
  [1.5, 0.8],
];
/** Far below the usual (a fifth, a fiftieth, a third) a day says nothing: it may be another's. */
const TURNOVER_LEAST = Math.log(1 / 5);
const VOLUME_LEAST = Math.log(1 / 50);
const RANGE_LEAST = Math.log(1 / 3);

/** Logarithm of the ratio of two normal densities. Below the split's mean it stays what it is. */
function logRatio(value: number, [split, splitDeviation]: Normal, [news, newsDeviation]: Normal) {
  const x = Math.max(value, split);
  const a = (x - split) / splitDeviation;
  const b = (x - news) / newsDeviation;
  return (b * b - a * a) / 2 + Math.log(newsDeviation / splitDeviation);
}

function toFinding(
  kind: SplitFinding['kind'],
  { bars, row }: Question,
  jump: Jump,
  past: Past,
  { from: splitFrom, to: splitTo, logOdds }: { from: number; to: number; logOdds: number | null },
): SplitFinding {
  const { high, low, close, volume } = bars;
  const multiple = (value: number, median: number) => (median > 0 ? round(value / median) : null);
  return {
    ...{ row, kind, splitFrom, splitTo, ratio: splitTo / splitFrom },
    detail: {
      previous_close: jump.expected,
      sessions: jump.sessions,
      open_ratio: round(Math.exp(-jump.open)),
      close_ratio: round(Math.exp(-jump.close)),
      volatility: round(past.volatility),
      turnover_multiple: multiple(volume[row] * close[row], past.turnover),
      volume_multiple: multiple(volume[row], past.volume),
      range_multiple: multiple(Math.log(high[row] / low[row]), past.range),
      log_odds: logOdds === null ? null : round(logOdds),
    },
  };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** Whole numbers of a ratio, which vendors print as 7.00000700001 or 1.49999925000037. */
function toFraction(ratio: number): [to: number, from: number] {
  for (let from = 1; from <= RATIO_MAX; from++) {
    const to = Math.round(ratio * from);
    if (to > 0 && Math.abs(to / (ratio * from) - 1) < 2e-5) return [to, from];
  }
  return [ratio, 1];
}
