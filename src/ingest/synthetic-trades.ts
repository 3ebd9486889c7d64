import { errorMessage, InputError } from '../errors.ts';
import { type Clock, systemClock } from '../providers/http.ts';
import {
  inventPrice,
  makeTradeWalk,
  TRADES_MAX,
  type TradeWalk,
} from '../providers/synthetic-trades.ts';
import { type Database, isDatabaseAway } from '../store/database.ts';
import { type Instrument, selectInstruments, upsertSymbols } from '../store/symbols.ts';
import { selectTradeStarts, type TradeStart } from '../store/synthetic-trades.ts';
import type { Log } from '../telemetry.ts';
import { ingestTrades, type TradeItem } from './trades.ts';

/** Whose trades are made up when nobody is tracked and none is named. */
export const SYNTHETIC_SYMBOLS = ['AAPL', 'GOOGL', 'MSFT', 'TSLA', 'AMZN'];

export interface SyntheticTradesOptions {
  database: Database;
  /** None: the symbols that are tracked, or SYNTHETIC_SYMBOLS when there is none. */
  symbols: readonly string[];
  seed: number;
  intervalMs: number;
  clock?: Clock;
  log: Log;
  /** Only while this is true anything is written: of several processes one makes trades up. */
  isLeader: () => boolean;
}

export interface SyntheticTradesState {
  /** failing: the last round was not stored; refused: ended, every symbol holds real data. */
  status: 'running' | 'standby' | 'failing' | 'refused' | 'stopped';
  /** Whose trades are made up. */
  symbols: string[];
  /** Those that hold real data, of which nothing is written. */
  refused: string[];
  rounds: number;
  trades: number;
  lastRoundAt: Date | null;
  /** Of the last round; null after a good one. */
  lastError: string | null;
}

export interface SyntheticTrades {
  state(): SyntheticTradesState;
  /** Resolves when the loop has ended, also by itself. */
  ended: Promise<void>;
  /** Lets the round that is under way finish, for some seconds at most. */
  stop(): Promise<void>;
}

/** Which symbols there are, and what is known of them, is read again this often. */
const READ_EVERY_MS = 3_600_000;
const STOP_MS = 5_000;

/**
 * Makes up trades of each symbol, one or more every interval, and stores them as any others, with
 * the provider `synthetic`. Goes on from the last price that is stored, wandering about the last
 * daily close. A round that the database did not take is kept and stored when it is back; until
 * then none is made up. A symbol that holds real data is left out, and named in the log.
 * @throws InputError when every symbol holds real data; what goes wrong later is logged.
 */
export async function startSyntheticTrades(
  options: SyntheticTradesOptions,
): Promise<SyntheticTrades> {
  const loop = new TradeLoop(options);
  await loop.check();
  const ended = loop.run();
  return { state: () => loop.state(), ended, stop: () => loop.stop(ended) };
}

interface Walker {
  instrumentId: number;
  symbol: string;
  walk: TradeWalk;
  /** Of the last trade, epoch microseconds. */
  lastMicros: number;
}

interface Known {
  instruments: Instrument[];
  starts: TradeStart[];
  missing: number;
}

class TradeLoop {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  /** Undefined when the warehouse must be looked at first. */
  #walkers: Walker[] | undefined;
  #readAt = 0;
  /** Made up, and not yet known to be stored. */
  #batch: TradeItem[] | undefined;
  #lost = 0;
  #missed = 0;
  #isRefused = false;
  readonly #state = {
    symbols: [] as string[],
    refused: [] as string[],
    rounds: 0,
    trades: 0,
    lastRoundAt: null as Date | null,
    lastError: null as string | null,
  };

  constructor(readonly options: SyntheticTradesOptions) {
    this.#clock = options.clock ?? systemClock;
  }

  state(): SyntheticTradesState {
    return { status: this.#status(), ...this.#state };
  }

  #status(): SyntheticTradesState['status'] {
    if (this.#isRefused) return 'refused';
    if (this.#abort.signal.aborted) return 'stopped';
    if (!this.options.isLeader()) return 'standby';
    return this.#state.lastError === null ? 'running' : 'failing';
  }

  /** @throws InputError when nothing may be written. A database that is away is asked later. */
  async check(): Promise<void> {
    try {
      const { starts, missing } = await this.#look(false);
      if (missing === 0 && starts.length > 0 && starts.every(({ hasReal }) => hasReal)) {
        throw new InputError(this.#refusal(), 'SYNTHETIC');
      }
    } catch (error) {
      if (!isDatabaseAway(error)) throw error;
      this.#fail(error);
    }
  }

  async run(): Promise<void> {
    await this.#beat();
    const lost = this.#lost + countTrades(this.#batch ?? []);
    if (lost > 0) this.options.log('WARNING', `${lost} made-up trades were never stored`);
  }

  async #beat(): Promise<void> {
    const { intervalMs, isLeader } = this.options;
    const { signal } = this.#abort;
    let beat = this.#clock.now();
    while (!signal.aborted && !this.#isRefused) {
      const now = this.#clock.now();
      // Beats that a long round (or a suspended machine) has missed are left out.
      if (now < beat - intervalMs) beat = now; // the clock was set back
      beat += Math.max(1, Math.ceil((now - beat) / intervalMs)) * intervalMs;
      try {
        await this.#clock.sleep(beat - now, signal);
      } catch {
        return; // told to stop
      }
      if (isLeader()) await this.#round();
      else this.#walkers = undefined; // another process goes on: what we know will be old
    }
  }

  async stop(ended: Promise<void>): Promise<void> {
    this.#abort.abort(new Error('marketd is stopping'));
    let timer: Timer | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STOP_MS);
    });
    await Promise.race([ended, deadline]);
    clearTimeout(timer);
  }

  async #round(): Promise<void> {
    const now = this.#clock.now();
    try {
      if (!this.#walkers || now - this.#readAt >= READ_EVERY_MS) await this.#read();
      if (this.#isRefused) return;
      if (!this.#batch?.length) this.#batch = this.#draw();
      const batch = this.#batch;
      if (batch.length === 0) return; // the clock was set back to before the last trades
      const { write } = this.options.database;
      const options = { provider: 'synthetic', isSynthetic: true, receivedAt: now };
      const counts = await ingestTrades(write, batch, options);
      this.#batch = undefined;
      const rejected = [...counts.values()].reduce((sum, count) => sum + count.rejected, 0);
      this.#lost += rejected;
      this.#succeed(countTrades(batch) - rejected);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The instruments and what is known of each, and how many symbols are none yet. */
  async #look(mayAdd: boolean): Promise<Known> {
    const { read, write } = this.options.database;
    let symbols = this.options.symbols;
    const filter = symbols.length > 0 ? { symbols } : { isCurrent: true };
    let instruments = await selectInstruments(read, filter);
    if (symbols.length === 0 && instruments.length === 0) {
      symbols = SYNTHETIC_SYMBOLS;
      instruments = await selectInstruments(read, { symbols });
    }
    let missing = symbols.length === 0 ? 0 : new Set(symbols).size - instruments.length;
    if (mayAdd && missing > 0) {
      // Not tracked: no provider is to be asked for what is only made up.
      await upsertSymbols(write, symbols, { isTracked: false });
      instruments = await selectInstruments(read, { symbols });
      missing = 0;
    }
    const ids = instruments.map(({ instrumentId }) => instrumentId);
    const starts = await selectTradeStarts(read, ids);
    const refused = instruments.filter((_, i) => starts[i].hasReal).map(({ symbol }) => symbol);
    const isNew = refused.join() !== this.#state.refused.join();
    this.#state.refused = refused;
    if (isNew && refused.length > 0 && refused.length < instruments.length + missing) {
      this.options.log('WARNING', this.#refusal());
    }
    return { instruments, starts, missing };
  }

  #refusal(): string {
    const { refused } = this.#state;
    const more = refused.length > 20 ? ` and ${refused.length - 20} more` : '';
    return (
      `${refused.slice(0, 20).join(', ')}${more}: real data is held, and made-up trades are not ` +
      'mixed with it; use another database, or set SYNTHETIC=off'
    );
  }

  async #read(): Promise<void> {
    const { seed, log } = this.options;
    const now = this.#clock.now();
    const { instruments, starts } = await this.#look(true);
    const walkers: Walker[] = [];
    const kept: TradeItem[] = [];
    instruments.forEach(({ instrumentId, symbol }, i) => {
      const { hasReal, lastPrice, lastMicros, lastClose } = starts[i];
      if (hasReal) return;
      const waiting = this.#batch?.find((item) => item.instrumentId === instrumentId);
      // What waits is still next, unless another process has gone on in the meantime.
      const isNext = waiting && isAfter(waiting, lastMicros);
      if (isNext) kept.push(waiting);
      const reference = lastClose ?? inventPrice(seed, symbol);
      const price = (isNext ? waiting.trades.price.at(-1) : lastPrice) ?? reference;
      const walk = makeTradeWalk({ seed, symbol, price, reference, startedAt: now });
      const last = (isNext ? waiting.trades.ts.at(-1) : lastMicros) ?? 0;
      if (last > now * 1000) log('WARNING', `${symbol}: its latest trade lies in the future`);
      walkers.push({ instrumentId, symbol, walk, lastMicros: last });
    });
    if (this.#batch) {
      this.#lost += countTrades(this.#batch) - countTrades(kept);
      this.#batch = kept.length > 0 ? kept : undefined;
    }
    this.#walkers = walkers;
    this.#readAt = now;
    this.#state.symbols = walkers.map(({ symbol }) => symbol);
    if (walkers.length > 0 || instruments.length === 0) return;
    this.#isRefused = true;
    this.#state.lastError = this.#refusal();
    log('ERROR', `no more trades are made up: ${this.#refusal()}`);
  }

  #draw(): TradeItem[] {
    const now = this.#clock.now() * 1000;
    const items: TradeItem[] = [];
    for (const walker of this.#walkers ?? []) {
      const from = Math.max(walker.lastMicros, now - this.options.intervalMs * 1000);
      if (now - from < TRADES_MAX) continue;
      const trades = walker.walk.next(from, now);
      walker.lastMicros = trades.ts[trades.length - 1];
      items.push({ instrumentId: walker.instrumentId, symbol: walker.symbol, trades });
    }
    return items;
  }

  #succeed(stored: number): void {
    const { log } = this.options;
    this.#state.rounds++;
    this.#state.trades += stored;
    this.#state.lastRoundAt = new Date(this.#clock.now());
    if (this.#missed > 0 || this.#lost > 0) {
      const lost = this.#lost === 0 ? 'none was lost' : `${this.#lost} were lost`;
      log('INFO', `made-up trades are stored again after ${this.#missed} failures: ${lost}`);
    }
    this.#state.lastError = null;
    this.#missed = 0;
    this.#lost = 0;
  }

  #fail(error: unknown): void {
    this.#missed++;
    this.#walkers = undefined;
    const message = errorMessage(error);
    if (isDatabaseAway(error)) {
      this.#note('WARNING', `made-up trades wait until the database is back: ${message}`);
      return;
    }
    // Would fail again: the next round is another.
    this.#lost += countTrades(this.#batch ?? []);
    this.#batch = undefined;
    this.#note('ERROR', `made-up trades cannot be stored: ${message}`);
  }

  /** Said once: it is tried again every few seconds, maybe for hours. */
  #note(level: 'WARNING' | 'ERROR', message: string): void {
    if (message !== this.#state.lastError) this.options.log(level, message);
    this.#state.lastError = message;
  }
}

/** True when nothing newer is stored, or it was stored itself before its answer was lost. */
function isAfter({ trades }: TradeItem, lastMicros: number | null): boolean {
  return lastMicros === null || trades.ts[0] > lastMicros || trades.ts.at(-1) === lastMicros;
}

function countTrades(items: readonly TradeItem[]): number {
  return items.reduce((sum, { trades }) => sum + trades.length, 0);
}
