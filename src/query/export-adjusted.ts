import {
  type Adjustment,
  type AdjustmentSteps,
  adjustmentSteps,
  type DividendMethod,
  findCloseBefore,
  findCloseOn,
  type PriceAction,
  type RawCloses,
  type SkippedAction,
} from '../model/adjustment.ts';
import { FAILURE_FLAGS } from '../model/quality.ts';
import { type Calendar, toDate, toDay } from '../model/session.ts';
import { lowerBound } from '../model/sorted.ts';
import { decodeFloats, decodeIntegers, type Sql, type Transaction } from '../store/database.ts';
import { selectPriceActions } from './corporate-actions.ts';
import { makeDerive } from './derived.ts';
import type { ExportTable } from './export-columns.ts';
import { IntradayReader } from './intraday.ts';
import { roundedPrice, roundedVolume } from './rounded.ts';

/** How the bars of a file are adjusted. */
export interface ExportAdjustment {
  adjustment: Exclude<Adjustment, 'raw'>;
  dividendMethod: DividendMethod;
  /** Events with a later ex-date are not known, days since 1970-01-01. */
  asofDay: number;
  calendar: Calendar;
  /** Of sessions that have closed by then a close is made of minutes, where it is missing. */
  nowMs: number;
}

/** What was done to the bars of a file. */
export interface AppliedAdjustments {
  /** Ex-dates of instruments whose splits and dividends were applied. */
  applied: number;
  skipped: number;
  /** The first of those that could not be applied. */
  actions: (SkippedAction & { symbol: string })[];
}

const SKIPPED_NAMED_MAX = 100;
const PRICES = ['open', 'high', 'low', 'close', 'vwap'];

/** Adjusts rows while the database prints them, by the factors of one instrument after another. */
export class ExportAdjuster {
  readonly applied: AppliedAdjustments = { applied: 0, skipped: 0, actions: [] };

  constructor(
    readonly tx: Transaction,
    readonly table: ExportTable,
    readonly adjustment: ExportAdjustment,
  ) {}

  /**
   * What a page reads instead of the table: the same columns, those of prices and volumes adjusted,
   * so that a condition over them is one over the columns of the file. Factors of an ex-date or
   * later come last and are 1: such rows stay as they are.
   * @param first the number of the first parameter that takes a value of `values`.
   */
  source(first: number): string {
    // A subquery without reference to a row is computed once, a cast of a parameter each time.
    const [days, prices, volumes] = ['date', 'float8', 'float8'].map(
      (type, i) => `(select $${first + i}::text::${type}[])`,
    );
    const step = `width_bucket(r.session, ${days}) + 1`;
    const columns = this.table.tableColumns.map(({ name }) => {
      if (PRICES.includes(name)) {
        const price = roundedPrice(`(r.${name} * f.price)`);
        return `case when f.price = 1 then r.${name} else ${price} end as ${name}`;
      }
      if (name !== 'volume') return `r.${name}`;
      const volume = roundedVolume('(r.volume * f.volume)');
      return `case when f.volume = 1 then r.volume else ${volume} end as volume`;
    });
    return `(
      select r.instrument_id, ${columns.join(', ')}
      from ${this.table.table} r
      cross join lateral (
        select ${prices}[${step}] as price, ${volumes}[${step}] as volume offset 0) as f)`;
  }

  /** The factors of an instrument, for the parameters of `source`. */
  async values(instrument: { instrumentId: number; symbol: string }): Promise<string[]> {
    const { exDay, price, volume, skipped } = await this.#steps(instrument.instrumentId);
    const { applied } = this;
    applied.applied += exDay.length;
    applied.skipped += skipped.length;
    for (const action of skipped) {
      if (applied.actions.length === SKIPPED_NAMED_MAX) break;
      applied.actions.push({ symbol: instrument.symbol, ...action });
    }
    const list = (values: Iterable<number | string>) => `{${[...values].join(',')}}`;
    return [list([...exDay].map(toDate)), list([...price, 1]), list([...volume, 1])];
  }

  async #steps(instrumentId: number): Promise<AdjustmentSteps> {
    const { adjustment, dividendMethod, asofDay, calendar } = this.adjustment;
    const actions = await selectPriceActions(this.tx, instrumentId);
    const dividends = actions.filter(
      (action) => action.kind === 'dividend' && action.exDay <= asofDay,
    );
    if (adjustment === 'split' || dividends.length === 0) {
      return adjustmentSteps(actions, adjustment, asofDay, () => undefined);
    }
    const closes = await this.#closes(instrumentId, dividends);
    const lacking: number[] = [];
    const closeBefore = (day: number) => {
      const close = findCloseBefore(closes, day, calendar);
      if (close === undefined) lacking.push(day);
      return close;
    };
    const closeOn =
      dividendMethod === 'ex_close' ? (day: number) => findCloseOn(closes, day) : undefined;
    const steps = adjustmentSteps(actions, adjustment, asofDay, closeBefore, closeOn);
    return { ...steps, skipped: [...steps.skipped, ...(await this.#skip(instrumentId, lacking))] };
  }

  /** Dividends of which no close is known, though there are rows that they would adjust. */
  async #skip(instrumentId: number, exDays: readonly number[]): Promise<SkippedAction[]> {
    if (exDays.length === 0) return [];
    const { tx, table } = this;
    const [row] = await tx<{ session: string }[]>`
      select session from ${tx(table.table)} where instrument_id = ${instrumentId}
      order by ${tx(table.key[0].name)} limit 1`;
    const first = toDay(row.session);
    return exDays
      .filter((day) => first < day)
      .map((day) => ({
        ex_date: toDate(day),
        kind: 'dividend' as const,
        reason: 'there is no good daily bar before it, of whose close it would be a part',
      }));
  }

  async #closes(instrumentId: number, dividends: readonly PriceAction[]): Promise<Closes> {
    const [row] = (await this.tx`
      select string_agg(int4send(session - date '1970-01-01'), '' order by session),
             string_agg(float8send(case when flags & ${FAILURE_FLAGS} = 0 then close
                                        else 'NaN' end), '' order by session)
      from bars_1d where instrument_id = ${instrumentId}`.values()) as unknown as Uint8Array[][];
    const held = new Closes(decodeIntegers(row[0]), decodeFloats(row[1]));
    const wanted = this.#missingDays(held, dividends);
    return wanted.length === 0 ? held : held.with(await this.#derive(instrumentId, wanted));
  }

  /** Sessions without a daily bar that decide about a dividend. */
  #missingDays(held: Closes, dividends: readonly PriceAction[]): number[] {
    const { calendar, dividendMethod } = this.adjustment;
    const days = new Set<number>();
    for (const { exDay } of dividends) {
      if (exDay <= calendar.firstDay || exDay > calendar.lastDay) continue;
      if (dividendMethod === 'ex_close' && !held.has(exDay)) days.add(exDay);
      const before = calendar.sessionsBefore(exDay);
      for (let i = before - 1; i >= Math.max(0, before - MISSING_DAYS_MAX); i--) {
        const day = calendar.sessionAt(i);
        if (held.has(day)) break;
        days.add(day);
      }
    }
    return [...days];
  }

  /** Closes made of minutes, as answers of daily bars make them. */
  async #derive(instrumentId: number, wanted: readonly number[]): Promise<Closes> {
    const { calendar, nowMs } = this.adjustment;
    const sql = this.tx as unknown as Sql;
    const derive = makeDerive(sql, new IntradayReader(sql, calendar, 0), calendar, () => nowMs);
    const others = calendar
      .sessions(calendar.firstDay, calendar.lastDay)
      .filter((day) => !wanted.includes(day));
    const { bars, flags } = await derive(instrumentId)(Int32Array.from(others));
    const close = Array.from({ length: bars.length }, (_, i) =>
      (flags[i] & FAILURE_FLAGS) === 0 ? bars.close[i] : Number.NaN,
    );
    return new Closes(bars.session.slice(0, bars.length), Float64Array.from(close));
  }
}

/** Sessions before an ex-date that are made of minutes, when none of them has a daily bar. */
const MISSING_DAYS_MAX = 5;

/** Raw closes of daily bars, by session; NaN of a bar that is none. */
class Closes implements RawCloses {
  constructor(
    readonly days: Int32Array,
    readonly close: Float64Array,
  ) {}

  has(day: number): boolean {
    return this.days[lowerBound(this.days, day)] === day;
  }

  readonly closeAt = (row: number): number | undefined =>
    Number.isNaN(this.close[row]) ? undefined : this.close[row];

  with(other: Closes): Closes {
    const all = new Map<number, number>();
    for (const { days, close } of [this, other]) {
      days.forEach((day, i) => {
        all.set(day, close[i]);
      });
    }
    const days = Int32Array.from(all.keys()).sort();
    return new Closes(
      days,
      Float64Array.from(days, (day) => all.get(day) ?? Number.NaN),
    );
  }
}
