import { Elysia } from 'elysia';
import { toDate } from '../model/session.ts';
import { type Holding, selectInstrument } from '../query/symbols.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-instruments.ts';
import { findSymbol } from './find-symbol.ts';
import { parseDate, refuseRepeated } from './parameters.ts';

/** Who a symbol is, and was. */
export function instrumentRoutes(context: AppContext) {
  return new Elysia({ name: 'instruments' }).get(
    '/api/v1/instruments/:symbol',
    ({ params, query, request }) => describeInstrument(context, params.symbol, query.asof, request),
    contract.instruments,
  );
}

async function describeInstrument(
  context: AppContext,
  text: string,
  asof: string | undefined,
  request: Request,
) {
  refuseRepeated(request);
  const day = asof === undefined ? undefined : parseDate(asof, 'asof');
  const { instrumentId } = await findSymbol(context, text, { day });
  const { symbols } = context;
  const [detail, ranges] = await Promise.all([
    selectInstrument(context.database.read, instrumentId),
    symbols.symbolsOf(instrumentId),
  ]);
  const names = [...new Set(ranges.map(({ symbol }) => symbol))];
  const alike = await Promise.all(names.map((name) => symbols.meanings(name)));
  const others = alike
    .flat()
    .filter((one) => names.includes(one.symbol) && one.instrumentId !== instrumentId);
  return {
    instrument_id: instrumentId,
    symbol: ranges.at(-1)?.symbol ?? text,
    name: detail.name,
    exchange: detail.exchange,
    asset_type: detail.assetType,
    figi: detail.figi,
    listed_on: detail.listedOn,
    delisted_on: detail.delistedOn,
    tracked: detail.isTracked,
    timeframes: detail.timeframes,
    symbols: ranges.map(describeRange),
    provider_symbols: detail.providerSymbols,
    held: detail.held.map(({ timeframe, records, firstSession, latestSession }) => ({
      ...{ timeframe, records, first_session: firstSession, latest_session: latestSession },
    })),
    also_used_by: others.map((one) => ({
      ...{ instrument_id: one.instrumentId, name: one.name, ...describeRange(one) },
    })),
  };
}

/** Dates both inclusive; null where the range is open. */
function describeRange({ symbol, startDay, endDay, source }: Holding) {
  const date = (day: number) => (Number.isFinite(day) ? toDate(day) : null);
  return { symbol, start: date(startDay), end: date(endDay - 1), source };
}
