import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import {
  AuditPage,
  AuditRegion,
  type AuditView,
  auditPath,
  ENTRIES_MAX,
} from '../../views/audit.tsx';
import { selectAuditStep, selectAuditSteps } from '../query/audit.ts';
import { pingDatabase } from '../store/database.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseWhole } from './parameters.ts';
import { tryUndo } from './quality-page.tsx';

const PATH = '/dashboard/quality/audit';
const HIDDEN = { detail: { hide: true } };
const STEPS_SHOWN = 50;

type Query = Readonly<Record<string, string | undefined>>;

/** The audit log, the part of it that is polled, and the undoing of a step. */
export function auditPageRoutes(context: AppContext) {
  return new Elysia({ name: 'audit-page' })
    .get(PATH, ({ query, request }) => page(context, query, request), HIDDEN)
    .get(`${PATH}/status`, ({ query, request }) => fragment(context, query, request), HIDDEN)
    .post(`${PATH}/undo`, ({ request, server }) => undo(context, request, server), HIDDEN);
}

function page(context: AppContext, query: Query, request: Request): Promise<Response> {
  return orAway(context, request, async () => {
    const view = await collect(context, query);
    return pageResponse(request, <AuditPage page={pageProps(context, request)} view={view} />);
  });
}

async function fragment(context: AppContext, query: Query, request: Request): Promise<Response> {
  const view = await collect(context, query);
  const { pollSeconds } = pageProps(context, request);
  return fragmentResponse(request, context.version, view, () => (
    <AuditRegion view={view} pollSeconds={pollSeconds} />
  ));
}

/** @throws InputError */
async function collect({ database }: AppContext, query: Query): Promise<AuditView> {
  const number = (name: 'after' | 'before' | 'step') => {
    const text = query[name] ?? '';
    return text === '' ? undefined : parseWhole(text, name, 1, Number.MAX_SAFE_INTEGER);
  };
  const [after, before, step] = [number('after'), number('before'), number('step')];
  const address = {
    after: before === undefined ? `${after ?? ''}` : '',
    before: `${before ?? ''}`,
    step: `${step ?? ''}`,
  };
  await pingDatabase(database.read);
  if (step !== undefined) {
    const entries = await selectAuditStep(database.read, { batchId: step, limit: ENTRIES_MAX });
    return { address, steps: [], previous: null, next: null, entries };
  }
  const [place, isBackward] = [before ?? after, before !== undefined];
  const found = await selectAuditSteps(database.read, { place, isBackward, limit: STEPS_SHOWN });
  if (!isBackward || found.previous !== null) return { address, ...found, entries: null };
  // Less than a page is later: that is the first page.
  const first = await selectAuditSteps(database.read, { limit: STEPS_SHOWN });
  return { address, ...first, entries: null };
}

async function undo(
  context: AppContext,
  request: Request,
  server: Parameters<typeof actorOf>[1],
): Promise<Response> {
  const form = await readForm(request);
  const { notice, status } = await tryUndo(context, form, actorOf(request, server));
  const step = form.get('batch') ?? '';
  const query = /^\d+$/.test(step) ? { step } : {};
  const props = pageProps(context, request);
  return actionResponse(request, {
    notice,
    status,
    location: auditPath({}),
    region: async () => {
      const view = await collect(context, query);
      return <AuditRegion view={view} pollSeconds={props.pollSeconds} />;
    },
    page: async () => {
      const view = await collect(context, query);
      return <AuditPage page={{ ...props, notice }} view={view} />;
    },
  });
}
