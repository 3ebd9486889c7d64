import { Elysia } from 'elysia';
import { InputError } from '../errors.ts';
import { type ActionVersion, selectActionVersions } from '../query/corporate-actions.ts';
import type { AppContext } from './app.ts';
import * as contract from './contract-corporate-actions.ts';
import { findSymbol } from './find-symbol.ts';
import { parseChoice, parseDate, parseFlag, parseKnownAt, refuseRepeated } from './parameters.ts';

/** Splits and dividends, also what was said of them before. */
export function corporateActionRoutes(context: AppContext) {
  return new Elysia({ name: 'corporate-actions' }).get(
    '/api/v1/corporate-actions/:symbol',
    ({ params, query, request }) => listActions(context, params.symbol, query, request),
    contract.corporateActions,
  );
}

interface Parameters {
  kind?: string;
  start?: string;
  end?: string;
  known_at?: string;
  withdrawn?: string;
  asof?: string;
}

async function listActions(context: AppContext, text: string, query: Parameters, request: Request) {
  refuseRepeated(request);
  const { kind, start, end, known_at: known, asof, withdrawn = 'false' } = query;
  const startDay = start === undefined ? undefined : parseDate(start, 'start');
  const endDay = end === undefined ? undefined : parseDate(end, 'end');
  if (startDay !== undefined && endDay !== undefined && endDay < startDay) {
    throw new InputError(`end (${end}) lies before start (${start})`, 'end');
  }
  const knownMs = known === undefined ? undefined : parseKnownAt(known, context.now());
  const asked = {
    kind: kind === undefined ? undefined : parseChoice(kind, 'kind', ['split', 'dividend']),
    ...{ startDay, endDay },
    knownAt: knownMs === undefined ? undefined : new Date(knownMs),
    hasWithdrawn: parseFlag(withdrawn, 'withdrawn'),
  };
  const day = asof === undefined ? endDay : parseDate(asof, 'asof');
  const symbol = await findSymbol(context, text, { day });
  const { read } = context.database;
  const actions = await selectActionVersions(read, context.calendar, symbol, asked);
  return {
    symbol: symbol.symbol,
    kind: kind ?? null,
    start: start ?? null,
    end: end ?? null,
    known_at: asked.knownAt?.toISOString() ?? null,
    count: actions.length,
    actions: actions.map(describe),
  };
}

function describe(action: ActionVersion) {
  const { id, kind, subtype, provider, splitFrom, splitTo, skipped } = action;
  const ratio = splitFrom === null || splitTo === null ? null : splitTo / splitFrom;
  return {
    ...{ id, kind, subtype, ex_date: action.exDate },
    ...{ split_from: splitFrom, split_to: splitTo, ratio },
    ...{ cash_amount: action.cashAmount, currency: action.currency },
    ...{ declared_date: action.declaredDate, record_date: action.recordDate },
    ...{ pay_date: action.payDate, frequency: action.frequency, provider },
    received_at: action.receivedAt.toISOString(),
    withdrawn_at: action.withdrawnAt?.toISOString() ?? null,
    missing_since: action.missingAt?.toISOString() ?? null,
    replaced: action.isReplaced,
    applied: action.isApplied && skipped === null,
    price_factor: action.priceFactor,
    volume_factor: action.volumeFactor,
    skipped,
  };
}
