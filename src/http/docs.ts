import { swagger } from '@elysiajs/swagger';
import { Elysia, NotFoundError } from 'elysia';
import { DocsPage } from '../../views/docs.tsx';
import type { AppContext } from './app.ts';
import { docsAssetPaths } from './assets.ts';
import { compressed } from './compress.ts';
import { cleanDocument } from './openapi.ts';
import { pageProps, pageResponse } from './page-response.tsx';

/** Where the plugin puts its own page and raw document; served to nobody but us. */
const RAW_PATH = '/docs/_raw';

const JSON_HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-cache' };

function page(context: AppContext, request: Request): Promise<Response> {
  const props = { page: pageProps(context, request), files: docsAssetPaths() };
  return pageResponse(request, DocsPage(props));
}

/**
 * `/docs` (Swagger UI, every asset from this program) and `/docs/json` (OpenAPI 3.0.3).
 * @param handle answers a request by the whole application.
 */
export function docsRoutes(context: AppContext, handle: (request: Request) => Promise<Response>) {
  const { version } = context;
  let document: Promise<string> | undefined;
  const own = new WeakSet<Request>();
  const makeDocument = async () => {
    const request = new Request(`http://localhost${RAW_PATH}`);
    own.add(request);
    const raw = await handle(request);
    return JSON.stringify(cleanDocument(await raw.json()));
  };
  const hidden = { detail: { hide: true } };
  return new Elysia({ name: 'docs' })
    .onRequest(({ request }) => {
      if (!request.url.includes('/docs/_') || own.has(request)) return;
      if (new URL(request.url).pathname.startsWith('/docs/_')) throw new NotFoundError();
    })
    .use(
      swagger({
        path: '/docs/_page',
        specPath: RAW_PATH,
        provider: 'swagger-ui',
        excludeStaticFile: false,
        exclude: [/^\/docs/, /^\/assets/, /^\/dashboard/, '/favicon.ico'],
        documentation: {
          info: {
            title: 'marketd',
            version,
            description:
              'A validated market-data warehouse: US bars from a minute to a month with quality ' +
              'scores, trades, candles, latest prices and a live stream.',
          },
          servers: [{ url: '/' }],
          tags: [
            { name: 'bars', description: 'Bars from a minute to a month' },
            { name: 'trades', description: 'Trades, candles made of them, the latest price' },
            { name: 'stream', description: 'What is committed, as it is' },
            { name: 'symbols', description: 'What is held' },
            { name: 'quality', description: 'How good it is, and what it said before' },
            { name: 'market', description: 'When the exchange is open' },
            { name: 'operation', description: 'What operators start and cancel' },
            { name: 'service', description: 'The service itself' },
          ],
        },
      }),
    )
    .get('/docs', ({ request }) => page(context, request), hidden)
    .get(
      '/docs/json',
      async ({ request }) => {
        document ??= makeDocument();
        return compressed(request, await document, { headers: JSON_HEADERS });
      },
      hidden,
    );
}
