import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import type { OverviewSymbol } from '../query/overview.ts';
import { selectInstrument } from '../query/symbols.ts';
import { checkSymbol } from '../store/symbols.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-admin-symbols.ts';
import { findSymbol } from './find-symbol.ts';
import { readJsonObject } from './json-body.ts';
import { parseFlag, refuseRepeated } from './parameters.ts';
import { refuseCrossSite } from './same-origin.ts';
import { addSymbols, changeTracking } from './tracking.ts';

/** A list of all that are listed in the United States is some 120 KB. */
const BODY_BYTES_MAX = 1_048_576;
const ONE = '/api/v1/admin/symbols/:symbol';

/** What is tracked, as programs see and change it. */
export function adminSymbolRoutes(context: AppContext) {
  return new Elysia({ name: 'admin-symbols' })
    .get(
      '/api/v1/admin/symbols',
      ({ query, request }) => listSymbols(context, query, request),
      contract.listSymbols,
    )
    .post(
      '/api/v1/admin/symbols',
      ({ request, server }) => add(context, request, actorOf(request, server, 'http')),
      contract.addSymbols,
    )
    .get(ONE, ({ params }) => showSymbol(context, params.symbol), contract.showSymbol)
    .put(
      ONE,
      ({ params, request, server }) =>
        change(context, params.symbol, request, actorOf(request, server, 'http')),
      contract.changeSymbol,
    )
    .delete(
      ONE,
      ({ params, request, server }) =>
        remove(context, params.symbol, request, actorOf(request, server, 'http')),
      contract.removeSymbol,
    )
    .put(
      `${ONE}/timeframes`,
      ({ params, request, server }) =>
        changeTimeframes(context, params.symbol, request, actorOf(request, server, 'http')),
      contract.changeTimeframes,
    );
}

// --------------------------------------------------------------------------- reading

async function listSymbols(
  { overview }: AppContext,
  query: { tracked?: string },
  request: Request,
) {
  refuseRepeated(request);
  const isTracked = query.tracked === undefined ? null : parseFlag(query.tracked, 'tracked');
  const { symbols } = await overview.select();
  const chosen = symbols.filter(({ tracked }) => isTracked === null || tracked === isTracked);
  return { count: chosen.length, symbols: chosen.map(describeSymbol) };
}

async function showSymbol(context: AppContext, text: string) {
  const { symbol, instrumentId } = await findSymbol(context, text);
  const { symbols } = await context.overview.select();
  const listed = symbols.find((one) => one.instrumentId === instrumentId);
  return listed ? describeSymbol(listed) : describeIdle(context, symbol, instrumentId);
}

function describeSymbol(one: OverviewSymbol) {
  return {
    symbol: one.symbol,
    name: one.name,
    exchange: one.exchange,
    asset_type: one.assetType,
    tracked: one.tracked,
    timeframes: [...one.timeframes],
    state: one.state as string,
    records: one.records,
    intraday_records: one.intradayRecords,
    validation_rate_pct: one.validation_rate_pct,
    start_date: one.start_date,
    end_date: one.end_date,
    sessions_behind: one.sessionsBehind,
    last_backfill: one.last_backfill,
    last_backfill_success: one.last_backfill_success,
  };
}

/** One that is neither tracked nor held, such as a symbol that was removed before it had bars. */
async function describeIdle({ database }: AppContext, symbol: string, instrumentId: number) {
  const { name, exchange, assetType, isTracked, timeframes } = await selectInstrument(
    database.read,
    instrumentId,
  );
  return {
    ...{ symbol, name, exchange, asset_type: assetType, tracked: isTracked, timeframes },
    ...{ state: 'no_bars', records: 0, intraday_records: 0, validation_rate_pct: 0 },
    ...{ start_date: null, end_date: null, sessions_behind: null },
    ...{ last_backfill: null, last_backfill_success: null },
  };
}

// -------------------------------------------------------------------------- changing

async function add(context: AppContext, request: Request, actor: string) {
  refuseCrossSite(request);
  const fields = ['symbol', 'symbols', 'timeframes', 'backfill'];
  const body = await readJsonObject(request, fields, BODY_BYTES_MAX);
  const added = await addSymbols(context, {
    symbols: parseSymbols(body),
    timeframes: parseTimeframes(body.timeframes ?? []),
    isLoaded: parseBoolean(body.backfill ?? false, 'backfill'),
    actor,
  });
  return {
    added: added.fresh,
    tracked_again: added.again,
    unchanged: added.known,
    job_ids: added.requests.map(({ requestId }) => requestId),
  };
}

/** @throws InputError */
function parseSymbols({ symbol, symbols }: Record<string, unknown>): string[] {
  if ((symbol === undefined) === (symbols === undefined)) {
    throw new InputError('say which: either symbol, a text, or symbols, a list of them', 'symbols');
  }
  if (typeof symbol === 'string') return [checkSymbol(symbol)];
  if (symbol !== undefined) throw new InputError('symbol must be a text', 'symbol');
  const isList = Array.isArray(symbols) && symbols.length > 0;
  if (!isList || !symbols.every((one) => typeof one === 'string')) {
    throw new InputError('symbols must be a list of texts, at least one', 'symbols');
  }
  return symbols.map((one) => checkSymbol(one, 'symbols'));
}

/** Which are stored is checked where they are. @throws InputError */
function parseTimeframes(value: unknown): string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  throw new InputError('timeframes must be a list of texts: 1d, 1h, 1m', 'timeframes');
}

/** @throws InputError */
function parseBoolean(value: unknown, field: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new InputError(`${field} must be true or false`, field);
}

async function change(context: AppContext, text: string, request: Request, actor: string) {
  refuseCrossSite(request);
  const body = await readJsonObject(request, ['tracked', 'timeframes']);
  if (body.tracked === undefined && body.timeframes === undefined) {
    throw new InputError('say what is to be otherwise: tracked, timeframes', 'tracked');
  }
  return changeOne(context, text, actor, {
    ...(body.tracked !== undefined && { isTracked: parseBoolean(body.tracked, 'tracked') }),
    ...(body.timeframes !== undefined && { timeframes: parseTimeframes(body.timeframes) }),
  });
}

async function changeTimeframes(
  context: AppContext,
  text: string,
  request: Request,
  actor: string,
) {
  refuseCrossSite(request);
  const { timeframes } = await readJsonObject(request, ['timeframes']);
  return changeOne(context, text, actor, { timeframes: parseTimeframes(timeframes) });
}

async function remove(context: AppContext, text: string, request: Request, actor: string) {
  refuseCrossSite(request);
  return changeOne(context, text, actor, { isTracked: false });
}

async function changeOne(
  context: AppContext,
  text: string,
  actor: string,
  wanted: Parameters<typeof changeTracking>[2],
) {
  const { symbol } = await findSymbol(context, text);
  const { tracked, timeframes } = await changeTracking(context, [symbol], wanted, actor);
  const changed = tracked.length + timeframes.length > 0;
  return { changed, symbol: await showSymbol(context, symbol) };
}
