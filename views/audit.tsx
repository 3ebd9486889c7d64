import { Html } from '@elysiajs/html';
import type { AuditRecord, AuditStep } from '../src/query/audit.ts';
import { count, plural, Scroll, symbolPath, Text } from './elements.tsx';
import { describeDetail, words } from './finding.tsx';
import { Layout, type PageProps, PageTitle, Time } from './layout.tsx';
import { Empty, withQuery } from './list.tsx';
import { ActionForm, Live, LiveLink } from './live.tsx';
import { QualityTabs } from './quality.tsx';

/** Who did what by hand, and when. */

const PATH = '/dashboard/quality/audit';
const REGION = 'audit';

/** Where the page begins or ends, as the address says it: numbers of entries, or of a step. */
export interface AuditAddress {
  after: string;
  before: string;
  step: string;
}

export const auditPath = (address: Partial<AuditAddress>): string => withQuery(PATH, address);

export interface AuditView {
  address: AuditAddress;
  /** The latest first; none where one step is shown. */
  steps: AuditStep[];
  previous: number | null;
  next: number | null;
  /** The entries of one step, where that is asked for. */
  entries: AuditRecord[] | null;
}

/** 'finding.accept' -> 'Finding: accept' */
function ActionText({ action }: { action: string }): JSX.Element {
  const [noun, ...verb] = action.split('.');
  return (
    <Text text={verb.length === 0 ? words(noun) : `${words(noun)} ${words(verb.join(' '))}`} />
  );
}

function SymbolLink({ symbol }: { symbol: string | null }): JSX.Element {
  if (symbol === null) return <Text text="" />;
  return (
    <a href={symbolPath(symbol)} safe>
      {symbol}
    </a>
  );
}

/** What operators need of an entry; numbers and what undoing takes are for programs. */
const HIDDEN = ['finding_id', 'before', 'state_before', 'state_after', 'score_before'];

function describeEntry({ detail }: AuditRecord): string {
  if (detail === null) return '';
  const { state_before: before, state_after: after, note } = detail;
  const shown = Object.entries(detail).filter(
    ([name]) => !HIDDEN.includes(name) && !['note', 'score_after'].includes(name),
  );
  const scores =
    detail.score_after === undefined || detail.score_after === detail.score_before
      ? []
      : [`score ${detail.score_before} to ${detail.score_after}`];
  return [
    ...(before === undefined || before === after ? [] : [`${before} to ${after ?? 'decided'}`]),
    ...scores,
    ...(typeof note === 'string' ? [`note: ${note}`] : []),
    ...(shown.length === 0 ? [] : [describeDetail(Object.fromEntries(shown))]),
  ].join('; ');
}

function StepRow({ step }: { step: AuditStep }): JSX.Element {
  const { batchId, entries } = step;
  const isFinding = step.action.startsWith('finding.');
  const path = auditPath({ step: `${batchId}` });
  return (
    <tr id={`step-${step.auditId}`}>
      <th scope="row">
        <Time at={step.at} seconds />
      </th>
      <td safe>{step.actor}</td>
      <td>
        <ActionText action={step.action} />
      </td>
      <td>{entries > 1 ? '' : <SymbolLink symbol={step.symbol} />}</td>
      <td class="changes">
        {entries > 1 ? (
          <a href={path} safe>
            {plural(entries, isFinding ? 'finding' : 'entry').replace('entrys', 'entries')}
          </a>
        ) : batchId !== null && isFinding ? (
          <a href={path} safe>
            {words(step.target)}
          </a>
        ) : (
          <Text text={step.target} />
        )}
      </td>
      <td class="changes" safe>
        {entries > 1 ? '' : describeEntry(step)}
      </td>
    </tr>
  );
}

const head = (...names: string[]) => (
  <thead>
    <tr>
      {names.map((name) => (
        <th scope="col" safe>
          {name}
        </th>
      ))}
    </tr>
  </thead>
);

function Steps({ view }: { view: AuditView }): JSX.Element {
  const { steps, previous, next, address } = view;
  if (steps.length === 0) {
    const isFirst = address.after === '' && address.before === '';
    return (
      <Empty title={isFirst ? 'Nothing was done by hand yet' : 'Nothing is older than this'}>
        {isFirst ? (
          <p>
            Decisions about findings are written here. <a href="/dashboard/quality">Review queue</a>
          </p>
        ) : (
          <p>
            <a href={PATH}>Back to the latest</a>
          </p>
        )}
      </Empty>
    );
  }
  const link = (text: string, href: string | null) =>
    href === null ? (
      <span class="button off" aria-hidden="true" safe>
        {text}
      </span>
    ) : (
      <LiveLink href={href} region={REGION} class="button">
        <span safe>{text}</span>
      </LiveLink>
    );
  return (
    <>
      <Scroll label="Audit log">
        <table class="audit-log">
          {head('When', 'Who', 'What', 'Symbol', 'About', 'Detail')}
          <tbody>
            {steps.map((step) => (
              <StepRow step={step} />
            ))}
          </tbody>
        </table>
      </Scroll>
      {previous === null && next === null ? null : (
        <nav class="pager" aria-label="Pages of the audit log">
          {link('« Latest', previous === null ? null : PATH)}
          {link('‹ Later', previous === null ? null : auditPath({ before: `${previous}` }))}
          {link('Earlier ›', next === null ? null : auditPath({ after: `${next}` }))}
        </nav>
      )}
    </>
  );
}

/** Entries of a step that are shown. */
export const ENTRIES_MAX = 1_000;

function Entries({ view }: { view: AuditView }): JSX.Element {
  const entries = view.entries ?? [];
  const [first] = entries;
  if (!first) {
    return (
      <Empty title="There is no such step">
        <p>
          <a href={PATH}>Back to the audit log</a>
        </p>
      </Empty>
    );
  }
  const isFinding = first.action.startsWith('finding.');
  return (
    <>
      <p class="facts">
        <a href={PATH}>Audit log</a>
        <ActionText action={first.action} />
        <Text text={`by ${first.actor}`} />
        <Time at={first.at} seconds />
      </p>
      {isFinding ? (
        <ActionForm
          id="undo-step"
          action={`${PATH}/undo`}
          region={REGION}
          class="buttons"
          label="Undo this step"
          fields={{ batch: view.address.step }}
        >
          <button type="submit" class="button">
            Undo
          </button>
          <span class="quiet" safe>
            {`${count(entries.length)} in this step; each says again what it said before.`}
          </span>
        </ActionForm>
      ) : null}
      <Scroll label="Entries of the step">
        <table class="audit-log">
          {head('Symbol', 'About', 'Detail')}
          <tbody>
            {entries.map((entry) => (
              <tr id={`entry-${entry.auditId}`}>
                <td>
                  <SymbolLink symbol={entry.symbol} />
                </td>
                <th scope="row" class="changes" safe>
                  {entry.target}
                </th>
                <td class="changes" safe>
                  {describeEntry(entry)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {entries.length < ENTRIES_MAX ? null : (
        <p class="quiet">The first 1,000 entries of the step. /api/v1/audit has all of them.</p>
      )}
    </>
  );
}

interface RegionProps {
  view: AuditView;
  pollSeconds: number;
}

/** The part of the page that is polled. */
export function AuditRegion({ view, pollSeconds }: RegionProps): JSX.Element {
  return (
    <Live id={REGION} path={auditPath({ ...view.address })} pollSeconds={pollSeconds}>
      {view.entries === null ? <Steps view={view} /> : <Entries view={view} />}
    </Live>
  );
}

/** The whole page; complete without JavaScript. */
export function AuditPage({ page, view }: { page: PageProps; view: AuditView }): JSX.Element {
  return (
    <Layout page={page} title="Audit log" section="quality">
      <PageTitle title="Audit log" />
      <QualityTabs current="audit" />
      <AuditRegion view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}
