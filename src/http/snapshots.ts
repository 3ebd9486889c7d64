import { Elysia } from 'elysia';
import { type StoredSnapshot, selectLatestSnapshots } from '../query/snapshots.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-snapshots.ts';
import { findSymbols } from './find-symbol.ts';
import { refuseRepeated } from './parameters.ts';

/** What a provider showed last of each symbol. */
export function snapshotRoutes(context: AppContext) {
  return new Elysia({ name: 'snapshots' }).get(
    '/api/v1/snapshots',
    ({ query, request }) => listSnapshots(context, query.symbols, request),
    contract.snapshots,
  );
}

async function listSnapshots(context: AppContext, symbols: string | undefined, request: Request) {
  refuseRepeated(request);
  const found = symbols === undefined ? undefined : await findSymbols(context, symbols);
  const ids = found && [...found.keys()];
  const stored = await selectLatestSnapshots(context.database.read, ids);
  const nowMs = context.now();
  return { count: stored.length, snapshots: stored.map((one) => describe(one, nowMs)) };
}

function describe(snapshot: StoredSnapshot, nowMs: number) {
  const { symbol, ts, receivedAt, provider, price, open, volume, meta } = snapshot;
  return {
    symbol,
    timestamp: ts.toISOString(),
    age_seconds: Math.max(0, nowMs - ts.getTime()) / 1000,
    received_at: receivedAt.toISOString(),
    provider,
    price,
    open,
    day_high: snapshot.dayHigh,
    day_low: snapshot.dayLow,
    previous_close: snapshot.previousClose,
    volume,
    market_cap: snapshot.marketCap,
    pe_ratio: snapshot.peRatio,
    meta,
  };
}
