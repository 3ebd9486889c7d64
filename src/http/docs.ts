import { swagger } from '@elysiajs/swagger';
import { Elysia, NotFoundError } from 'elysia';
import icon from 'swagger-ui-dist/favicon-32x32.png' with { type: 'file' };
import style from 'swagger-ui-dist/swagger-ui.css' with { type: 'file' };
import script from 'swagger-ui-dist/swagger-ui-bundle.js' with { type: 'file' };
import { cleanDocument } from './openapi.ts';

/** Where the plugin puts its own page and raw document; served to nobody but us. */
const RAW_PATH = '/docs/_raw';

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>marketd API</title>
<link rel="icon" type="image/png" href="/docs/assets/icon.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
`;

const START = `SwaggerUIBundle({
  url: '/docs/json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
});
`;

const asset = (path: string) =>
  new Response(Bun.file(path), { headers: { 'cache-control': 'public, max-age=86400' } });

const text = (body: string, type: string) =>
  new Response(body, { headers: { 'content-type': type, 'cache-control': 'no-cache' } });

/**
 * `/docs` (Swagger UI, every asset from this program) and `/docs/json` (OpenAPI 3.0.3).
 * @param handle answers a request by the whole application.
 */
export function docsRoutes(version: string, handle: (request: Request) => Promise<Response>) {
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
            { name: 'service', description: 'The service itself' },
          ],
        },
      }),
    )
    .get('/docs', () => text(PAGE, 'text/html; charset=utf-8'), hidden)
    .get(
      '/docs/json',
      async () => {
        document ??= makeDocument();
        return text(await document, 'application/json');
      },
      hidden,
    )
    .get('/docs/assets/swagger-ui.js', () => asset(script), hidden)
    .get('/docs/assets/swagger-ui.css', () => asset(style), hidden)
    .get('/docs/assets/icon.png', () => asset(icon), hidden)
    .get('/docs/assets/start.js', () => text(START, 'text/javascript; charset=utf-8'), hidden);
}
