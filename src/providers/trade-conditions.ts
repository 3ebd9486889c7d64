import type { Calendar } from '../model/session.ts';
import { newYorkDay } from '../model/session.ts';
import { UPDATES } from '../model/trade.ts';

/**
 * Not every trade belongs in a bar: what each may change follows from its sale conditions. An
 * average price of the whole day is no price of this minute, and a market's official close is no
 * trade at all.
 */
export interface ConditionRule {
  /** Bits of UPDATES. */
  updates: number;
  /**
   * Reported as traded outside of regular hours. Outside of them such a trade makes the price like
   * any other; one that is reported within them is late, and counts as volume only.
   */
  isExtended: boolean;
}

const EVERYTHING: ConditionRule = { updates: UPDATES.all, isExtended: false };

// ------------------------------------------------------------- flags in hexadecimal

/** Flags of `sale_condition_hex` that matter, of QuantConnect's TradeConditionFlags. */
const FLAGS = {
  intermarketSweep: 0x20,
  derivativelyPriced: 0x200,
  extendedHours: 0x2000,
  stockOption: 0x4_0000,
  averagePrice: 0x10_0000,
  officialClose: 0x100_0000,
  officialOpen: 0x400_0000,
} as const;

/**
 * The rule that reproduces this source's own minute bars. Measured on IBM (2013-10-07 to 11), AIG,
 * BAC and SPY (2013-10-07), 490,519 trades: of 4,011 minutes 3,983 (99.3 %) agree in all of open,
 * high, low, close and volume; with every trade taken for everything 2,589 (64.5 %) do. Each flag
 * was tried by itself: no other choice agrees better, but for leaving the auctions' prints out of
 * the volume (11 minutes more), and they were traded; of stock-option trades there are too few to
 * tell. Of the 28 minutes that differ 26 are those of the auctions: the source opens the day with
 * the auction's price even when trades come before it, drops an auction that is late, moves the
 * closing one from 16:00 back to 15:59 and keeps only the first of its prints.
 * Here every trade stays where it was reported.
 *
 * Sweeps make no price in these bars although the consolidated tape lets them: taken in, 1,299
 * minutes more would differ.
 */
function flagRule(text: string): ConditionRule | undefined {
  if (!/^(0x)?[0-9a-f]{1,8}$/i.test(text)) return undefined;
  const flags = Number.parseInt(text, 16);
  const has = (mask: number) => (flags & mask) !== 0;
  if (has(FLAGS.officialClose | FLAGS.officialOpen)) return { updates: 0, isExtended: false };
  if (has(FLAGS.extendedHours)) return { updates: UPDATES.all, isExtended: true };
  const { intermarketSweep, derivativelyPriced, stockOption, averagePrice } = FLAGS;
  const isPriceless = has(intermarketSweep | derivativelyPriced | stockOption | averagePrice);
  return isPriceless ? { updates: UPDATES.volume, isExtended: false } : EVERYTHING;
}

// --------------------------------------------------------------------- numbered ones

const { highLow, volume } = UPDATES;

/**
 * Conditions as Polygon numbers them, those that may not change everything: its update rules for
 * the consolidated tape. 2, 5, 7 and 10 are as in the recorded answer of its conditions endpoint;
 * of the others none is recorded, they follow the plans of the tape.
 */
const NUMBERED: Record<number, number> = {
  2: volume, // average price
  5: highLow | volume, // bunched, sold
  7: volume, // cash sale
  10: highLow | volume, // derivatively priced
  15: 0, // a market's official close
  16: 0, // a market's official open
  20: volume, // next day
  21: volume, // price variation
  22: highLow | volume, // prior reference price
  29: volume, // seller
  32: highLow | volume, // sold, out of sequence
  33: highLow | volume, // the same, and stopped stock
  37: volume, // odd lot
  52: volume, // contingent
  53: volume, // qualified contingent
};
/** Form T, and the same out of sequence. */
const NUMBERED_EXTENDED = [12, 13];

function numberedRule(text: string): ConditionRule {
  const ids = text.match(/\d+/g)?.map(Number) ?? [];
  let updates: number = UPDATES.all;
  for (const id of ids) updates &= NUMBERED[id] ?? UPDATES.all;
  return { updates, isExtended: ids.some((id) => NUMBERED_EXTENDED.includes(id)) };
}

// ---------------------------------------------------------------------------- reading

/** `flags`: in hexadecimal; `numbers`: a list of Polygon's; `letters`: of the tape, not judged. */
export type ConditionKind = 'flags' | 'numbers' | 'letters';

/**
 * Judges trades by their conditions. What is not known to forbid something allows it.
 * @returns what the trade may change, bits of UPDATES; undefined when the conditions are malformed.
 */
export function makeConditionJudge(kind: ConditionKind, calendar: Calendar) {
  const known = new Map<string, ConditionRule | undefined>();
  const isRegular = makeRegularCheck(calendar);
  const ruleOf = (text: string) => {
    if (kind === 'letters' || text === '') return EVERYTHING;
    return kind === 'flags' ? flagRule(text) : numberedRule(text);
  };
  return (text: string, micros: number): number | undefined => {
    let rule = known.get(text);
    if (!rule) {
      rule = ruleOf(text);
      if (!rule) return undefined;
      known.set(Buffer.from(text).toString(), rule);
    }
    if (!rule.isExtended) return rule.updates;
    return isRegular(micros) ? rule.updates & UPDATES.volume : rule.updates;
  };
}

/** Whether an instant (epoch microseconds) lies within regular hours. Remembers the last day. */
function makeRegularCheck(calendar: Calendar): (micros: number) => boolean {
  let day = Number.NaN;
  let open = 0;
  let close = 0;
  return (micros) => {
    const ms = micros / 1000;
    const today = newYorkDay(ms);
    if (today !== day) {
      const isKnown = today >= calendar.firstDay && today <= calendar.lastDay;
      const isSession = isKnown && calendar.isSession(today);
      open = isSession ? calendar.openMs(today) : 0;
      close = isSession ? calendar.closeMs(today) : 0;
      day = today;
    }
    return ms >= open && ms < close;
  };
}
