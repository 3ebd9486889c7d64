import type { IntradayBars } from '../model/intraday.ts';
import {
  FAILURE_FLAGS,
  FLAG,
  MEDIAN_SESSIONS,
  MEDIAN_SESSIONS_MIN,
  type QualityThresholds,
} from '../model/quality.ts';
import type { Calendar } from '../model/session.ts';
import { PART, partFinder } from '../model/session-part.ts';
import { cachedScore, failureFlags, isBeyond, VolumeWindow } from './validate.ts';

export interface IntradayScores {
  /** 0 to 1, in hundredths. */
  score: Float64Array;
  /** Bits of model/quality.ts. */
  flags: Int32Array;
  /** PART of model/session-part.ts. */
  part: Int32Array;
}

/**
 * Scores bars below a day of one instrument and says which part of their day they belong to.
 * `bars` are ascending by ts without duplicates, and hold every bar of each of their sessions: a
 * bar is judged by itself and by the bars of its own session before it, so a batch border between
 * sessions changes nothing.
 *
 * The rules of daily bars, less those that mean nothing here: the night between two sessions is no
 * gap (the daily bar judges it), and a day's volume is a U, so a minute far from the median is no
 * finding. A gap within a session is corroborated by twice the median volume of the up to 63 bars
 * before it. A bar of a closed day, or at an hour without trading, is `off_session`.
 * @param barMs length of a bar; one that overlaps the regular session counts as regular.
 */
export function validateIntraday(
  bars: IntradayBars,
  barMs: number,
  calendar: Calendar,
  limits: QualityThresholds,
  out: IntradayScores,
): void {
  const { session, ts, open, high, low, close, volume } = bars;
  const window = new VolumeWindow();
  let day = Number.NaN;
  let partOf = partFinder(calendar, day, barMs);
  let lastClose = 0;
  for (let i = 0; i < bars.length; i++) {
    if (session[i] !== day) {
      day = session[i];
      partOf = partFinder(calendar, day, barMs);
      window.clear();
      lastClose = 0;
    }
    const part = partOf(ts[i]);
    let flags = failureFlags(open[i], high[i], low[i], close[i], volume[i]);
    if (part === PART.closed) flags |= FLAG.offSession;
    if ((flags & FAILURE_FLAGS) === 0) {
      if (isBeyond(close[i], open[i], limits.extremeMove)) flags |= FLAG.extremeMove;
      window.expire(i - MEDIAN_SESSIONS);
      if (lastClose > 0 && isBeyond(open[i], lastClose, limits.gapFraction)) {
        const isKnown = window.size >= MEDIAN_SESSIONS_MIN;
        const isNews = isKnown && volume[i] >= limits.newsMultiple * window.median();
        flags |= FLAG.gap | (isNews ? FLAG.gapVolume : FLAG.gapUnexplained);
      }
      window.push(i, volume[i]);
      lastClose = close[i];
    }
    out.part[i] = part;
    out.flags[i] = flags;
    out.score[i] = cachedScore(flags);
  }
}
