import type { StoredIntraday } from '../model/intraday.ts';
import { REVIEW_SCORE } from '../model/quality.ts';
import { type Calendar, newYorkInstant, toDay } from '../model/session.ts';
import { INTRADAY_TABLES } from '../store/bar-columns.ts';
import type { AnySql } from '../store/database.ts';

/** What a price is from. Of two of the same instant the one that stands first here is meant. */
const SOURCES = ['trade', 'bar', 'snapshot', 'daily_bar'] as const;
export type PriceSource = (typeof SOURCES)[number];

/** The newest price that is stored of an instrument: USD, as traded. */
export interface LatestPrice {
  source: PriceSource;
  /** Of a bar: '1m', '1h' or '1d'; null of anything else. */
  timeframe: string | null;
  /** The session of a daily bar, 'YYYY-MM-DD'; null of anything else. */
  session: string | null;
  /** When it was the price, epoch microseconds. */
  micros: number;
  price: number;
  /** Shares: of the trade or the bar, or of the day until the snapshot; null when it is unknown. */
  volume: number | null;
  provider: string;
  isSynthetic: boolean;
}

interface PriceRow {
  source: PriceSource;
  timeframe: string;
  session: string | null;
  /** Of a daily bar: when it was received. */
  micros: number;
  price: number;
  volume: number | null;
  provider: string;
  synthetic: boolean;
}

/**
 * Where a price is looked for first: what is live is there, and of a hypertable with hundreds of
 * chunks two or three are planned instead of all.
 */
const RECENT_MS = 10 * 86_400_000;
/** Before anything that is stored. */
const EVER = new Date('0001-01-01T00:00:00Z');
/** No bar that begins before the recent days ends later than this into them. */
const BAR_MS_MAX = 3_600_000;

/**
 * The newest of the last trade, the last bars and the last snapshot. A trade counts when its
 * conditions let it set a close (an odd lot's, say, may not); a bar counts unless its score
 * excludes it, from its end on, or from when it was received when that was before its end; a daily
 * bar's end is the close of its session. One round trip when any of them is recent.
 * @returns undefined when nothing with a price is stored.
 */
export async function selectLatestPrice(
  sql: AnySql,
  calendar: Calendar,
  instrumentId: number,
  nowMs: number,
): Promise<LatestPrice | undefined> {
  const since = new Date(nowMs - RECENT_MS);
  const recent = newest(await selectLatestOfEach(sql, instrumentId, since), calendar);
  if (recent && recent.micros >= (since.getTime() + BAR_MS_MAX) * 1000) return recent;
  return newest(await selectLatestOfEach(sql, instrumentId, EVER), calendar);
}

function newest(rows: readonly PriceRow[], calendar: Calendar): LatestPrice | undefined {
  const found = rows.map((row): LatestPrice => {
    const { source, timeframe, session, micros, price, volume, provider, synthetic } = row;
    const endMicros = session === null ? micros : sessionEndMs(calendar, toDay(session)) * 1000;
    return {
      source,
      timeframe: source === 'bar' || source === 'daily_bar' ? timeframe : null,
      session,
      micros: Math.min(micros, endMicros),
      price,
      volume,
      provider,
      isSynthetic: synthetic,
    };
  });
  const rank = ({ source }: LatestPrice) => SOURCES.indexOf(source);
  return found.sort((a, b) => b.micros - a.micros || rank(a) - rank(b))[0];
}

/** When a session's close is known: at its close, or 16:00 in New York on a day that had none. */
function sessionEndMs(calendar: Calendar, day: number): number {
  const isKnown = day >= calendar.firstDay && day <= calendar.lastDay;
  return isKnown && calendar.isSession(day) ? calendar.closeMs(day) : newYorkInstant(day, 16 * 60);
}

/**
 * At most one row a table, each by the end of its key: no more than a few blocks are read however
 * much is stored. Where the last 10,000 trades are all of a kind that sets no close, none counts.
 * The constants are part of the text, because of a statement with parameters PostgreSQL comes to
 * keep one plan for all, with every chunk of the hypertables in it (20 ms instead of 2).
 */
function selectLatestOfEach(sql: AnySql, instrumentId: number, since: Date): Promise<PriceRow[]> {
  const ofInstrument = `instrument_id = ${Math.trunc(instrumentId)}`;
  const recent = `${ofInstrument} and ts >= '${since.toISOString()}'`;
  const bar = (timeframe: StoredIntraday, length: string) => `
      (select 'bar', '${timeframe}', null,
              (extract(epoch from least(ts + interval '${length}', ts_received)) * 1000000)::bigint,
              close, volume, provider
       from ${INTRADAY_TABLES[timeframe]}
       where ${recent} and score >= ${REVIEW_SCORE}
       order by ts desc limit 1)`;
  return sql.unsafe<PriceRow[]>(`
    select p.*, p.provider = 'synthetic' or coalesce(s.is_synthetic, false) as synthetic
    from (
      (select 'trade' as source, 'trade' as timeframe, null::date as session,
              (extract(epoch from ts) * 1000000)::bigint as micros, price, size as volume, provider
       from (select * from trades where ${recent}
             order by ts desc, sequence desc limit 10000) newest
       where updates & 1 <> 0
       order by ts desc, sequence desc limit 1)
      union all
      ${bar('1m', '1 minute')}
      union all
      ${bar('1h', '1 hour')}
      union all
      (select 'snapshot', 'snapshot', null, (extract(epoch from ts) * 1000000)::bigint,
              price, volume, provider
       from snapshots where ${recent}
       order by ts desc, provider desc limit 1)
      union all
      (select 'daily_bar', '1d', session, (extract(epoch from ts_received) * 1000000)::bigint,
              close, volume, provider
       from bars_1d where ${ofInstrument} and score >= ${REVIEW_SCORE}
       order by session desc limit 1)) p
    left join instrument_status s
      on s.${ofInstrument} and s.timeframe = p.timeframe`);
}

/** A symbol as the trade platform lists it. */
export interface ListedInstrument {
  symbol: string;
  /** The symbol itself where no name is known. */
  name: string;
  createdAt: Date;
}

/** Instruments that are tracked, and those of which anything is held; by symbol. */
export async function selectListedInstruments(sql: AnySql): Promise<ListedInstrument[]> {
  const rows = await sql<{ symbol: string; name: string; created: Date }[]>`
    select r.symbol, coalesce(nullif(trim(i.name), ''), r.symbol) as name, i.ts_created as created
    from instruments i
    join symbol_ranges r on r.instrument_id = i.instrument_id and r.valid_to = 'infinity'
    where i.is_tracked
       or exists (select from instrument_status s
                  where s.instrument_id = i.instrument_id and s.records > 0)
       or exists (select from snapshots s where s.instrument_id = i.instrument_id)
    order by r.symbol collate "C"`;
  return rows.map(({ symbol, name, created }) => ({ symbol, name, createdAt: created }));
}

/** What came in last, as far back as the log of events is kept. */
export interface LatestIngestion {
  /** Of trades, bars or snapshots; null when the log is empty. */
  at: Date | null;
  /** Trades that the latest transaction with trades has announced. */
  tradeCount: number;
}

/** From what the ingesting transactions left: no trade and no bar is counted. */
export async function selectLatestIngestion(sql: AnySql): Promise<LatestIngestion> {
  const [row] = await sql<{ at: Date | null; count: number }[]>`
    select greatest(
             (select ts_committed from events order by event_id desc limit 1),
             (select split_part(value, ' ', 2)::timestamptz from settings
              where name = 'last_trades')) as at,
           coalesce((select split_part(value, ' ', 1)::float8 from settings
                     where name = 'last_trades'), 0) as count`;
  return { at: row.at, tradeCount: row.count };
}
