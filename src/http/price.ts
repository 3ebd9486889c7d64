import { Elysia } from 'elysia';
import { formatMicros } from '../model/instant.ts';
import { selectLatestPrice, selectListedInstruments } from '../query/price.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-price.ts';
import { HttpError } from './errors.ts';
import { findSymbol } from './find-symbol.ts';
import { refuseRepeated } from './parameters.ts';

/** The latest price and the list of symbols, as the trade platform had them. */
export function priceRoutes(context: AppContext) {
  return new Elysia({ name: 'price' })
    .get(
      '/price/latest',
      ({ query, request }) => latestPrice(context, query.symbol, request),
      contract.priceLatest,
    )
    .get('/symbols', () => listInstruments(context), contract.instruments);
}

async function latestPrice(context: AppContext, text: string, request: Request) {
  refuseRepeated(request);
  const { instrumentId, symbol } = await findSymbol(context, text);
  const { database, calendar } = context;
  const nowMs = context.now();
  const latest = await selectLatestPrice(database.read, calendar, instrumentId, nowMs);
  if (!latest) {
    throw new HttpError(
      404,
      'no_price',
      `no price of ${symbol} is stored: no trade, no bar and no snapshot`,
      'symbol',
    );
  }
  const ageMs = Math.max(0, nowMs - latest.micros / 1000);
  return {
    symbol,
    price: latest.price,
    volume: latest.volume,
    timestamp: formatMicros(latest.micros),
    source: latest.source,
    timeframe: latest.timeframe,
    session: latest.session,
    provider: latest.provider,
    age_seconds: Math.round(ageMs) / 1000,
    synthetic: latest.isSynthetic,
  };
}

async function listInstruments({ database }: AppContext) {
  const listed = await selectListedInstruments(database.read);
  const symbols = listed.map(({ symbol, name, createdAt }) => {
    return { symbol, name, created_at: createdAt.toISOString() };
  });
  return { symbols, count: symbols.length };
}
