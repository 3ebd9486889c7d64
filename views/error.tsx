import { Html } from '@elysiajs/html';
import { Text } from './elements.tsx';
import { Layout, type PageProps, PageTitle } from './layout.tsx';

/** What there is to show instead of a page. */

export interface AwayPageProps {
  page: PageProps;
  /** After so many seconds the browser asks for the page again; undefined: not by itself. */
  reloadSeconds?: number;
}

/** While the database is away. */
export function AwayPage({ page, reloadSeconds }: AwayPageProps): JSX.Element {
  return (
    <Layout page={page} title="The database is away" reloadSeconds={reloadSeconds}>
      <PageTitle title="The database is away" />
      <div class="notice bad">
        <strong>Unavailable</strong> The database does not answer. marketd reconnects by itself
        {reloadSeconds === undefined ? (
          <>; nothing was changed. Go back and send it again in a moment.</>
        ) : (
          <>
            , and this page loads again every <span safe>{`${reloadSeconds}`}</span> seconds.
          </>
        )}{' '}
        If it lasts, see whether PostgreSQL runs:
        <code class="command">marketd doctor</code>
      </div>
    </Layout>
  );
}

export interface ErrorPageProps {
  page: PageProps;
  status: number;
  /** What was wrong and what is allowed. */
  message: string;
  /** Under which the log has it. */
  requestId: string;
}

const TITLES: Record<number, string> = {
  400: 'Not understood',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Not possible here',
  409: 'Not possible now',
  413: 'Too large',
  415: 'Not understood',
  421: 'Unknown host',
  422: 'Not understood',
  429: 'Too many requests',
  500: 'An error of marketd itself',
  502: 'The data provider failed',
  503: 'Unavailable',
};

/** 'there is no symbol "X"' -> 'There is no symbol "X".' */
function toSentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:]$/.test(begun) ? begun : `${begun}.`;
}

function WhatNext({ status }: { status: number }): JSX.Element {
  if (status === 500) {
    return (
      <p class="next">
        The log of marketd says what happened, under the id below. Try it again, and see what{' '}
        <a href="/dashboard/system">the system page</a> says.
      </p>
    );
  }
  if (status === 421) return <p class="next">Nothing was shown or changed.</p>;
  return (
    <p class="next">
      Go back, or on to <a href="/dashboard">the overview</a>,{' '}
      <a href="/dashboard/symbols">the symbols</a> or <a href="/docs">the API</a>.
    </p>
  );
}

/** What was wrong with a request, for who sent it with a browser. */
export function ErrorPage({ page, status, message, requestId }: ErrorPageProps): JSX.Element {
  const title = TITLES[status] ?? 'It did not work';
  return (
    <Layout page={page} title={title}>
      <PageTitle title={title}>
        <span safe>{`Error ${status}`}</span>
      </PageTitle>
      <div class={`notice ${status >= 500 ? 'bad' : 'attention'}`}>
        <Text text={toSentence(message)} />
      </div>
      <WhatNext status={status} />
      <p class="quiet">
        Request <code safe>{requestId}</code>
      </p>
    </Layout>
  );
}
