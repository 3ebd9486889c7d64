import { Html } from '@elysiajs/html';
import { Layout, type PageProps, PageTitle } from './layout.tsx';

export interface DocsPageProps {
  page: PageProps;
  /** Addresses of what only this page needs. */
  files: { style: string; script: string; swaggerStyle: string; swaggerScript: string };
}

/** The API, to read and to try. */
export function DocsPage({ page, files }: DocsPageProps): JSX.Element {
  return (
    <Layout
      page={page}
      title="API"
      section="docs"
      scripts={[files.swaggerScript, files.script]}
      bringsMain
    >
      <link rel="stylesheet" href={files.swaggerStyle} />
      <link rel="stylesheet" href={files.style} />
      <section aria-label="About this page">
        <PageTitle title="API">
          <span>
            Press <strong>Execute</strong> to ask this warehouse. For programs: the{' '}
            <a href="/docs/json">OpenAPI document</a>
          </span>
        </PageTitle>
        <noscript>
          <p class="notice attention">
            <strong>No JavaScript</strong> Reading and trying the API here needs it; the document
            above does not.
          </p>
        </noscript>
        <h2>Operations</h2>
      </section>
      <div id="swagger-ui"></div>
    </Layout>
  );
}
