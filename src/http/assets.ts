import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { Elysia } from 'elysia';
import htmx from 'htmx.org/dist/htmx.min.js' with { type: 'file' };
import chartLibrary from 'lightweight-charts/standalone.js' with { type: 'file' };
import swaggerStyle from 'swagger-ui-dist/swagger-ui.css' with { type: 'file' };
import swaggerScript from 'swagger-ui-dist/swagger-ui-bundle.js' with { type: 'file' };
import style from '../../views/app.css' with { type: 'file' };
import script from '../../views/app.js' with { type: 'file' };
import chart from '../../views/chart.js' with { type: 'file' };
import docsStyle from '../../views/swagger.css' with { type: 'file' };
import docsScript from '../../views/swagger.js' with { type: 'file' };
import { chooseCoding } from './compress.ts';
import { HttpError } from './errors.ts';

/** Three bars of a chart, in a color that is seen on light and dark tabs. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="#2f81f7">
<rect x="1" y="8" width="3.5" height="7" rx="1"/>
<rect x="6.25" y="4" width="3.5" height="11" rx="1"/>
<rect x="11.5" y="1" width="3.5" height="14" rx="1"/>
</svg>
`;

type Bytes = Uint8Array<ArrayBuffer>;
/** Best first: a browser offers Brotli where the connection is private, gzip everywhere. */
const CODINGS = ['br', 'gzip'] as const;
/** A file that is larger is compressed less hard: 1.7 MB would take Brotli four seconds. */
const HARDEST_BYTES_MAX = 400_000;

const TYPES = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

/** A file of pages. Read, hashed and compressed when it is first needed, and kept. */
class Asset {
  #content: { body: Bytes; hash: string } | undefined;
  readonly #compressed = new Map<string, Promise<Bytes>>();

  constructor(
    readonly stem: string,
    readonly extension: keyof typeof TYPES,
    readonly read: () => Uint8Array,
  ) {}

  get type(): string {
    return TYPES[this.extension];
  }

  get content(): { body: Bytes; hash: string } {
    if (this.#content === undefined) {
      const body = new Uint8Array(this.read());
      const hash = new Bun.CryptoHasher('sha256').update(body).digest('hex').slice(0, 12);
      this.#content = { body, hash };
    }
    return this.#content;
  }

  /** With a hash of its content: what an address stands for never changes. */
  get path(): string {
    return `/assets/${this.stem}-${this.content.hash}.${this.extension}`;
  }

  /** Made once, on another thread. */
  compressed(coding: (typeof CODINGS)[number]): Promise<Bytes> {
    const known = this.#compressed.get(coding);
    if (known) return known;
    const made = compressHard(this.content.body, coding);
    this.#compressed.set(coding, made);
    return made;
  }
}

async function compressHard(body: Bytes, coding: (typeof CODINGS)[number]): Promise<Bytes> {
  if (coding === 'gzip') return new Uint8Array(await promisify(gzip)(body, { level: 9 }));
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: body.length > HARDEST_BYTES_MAX ? 9 : 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: body.length,
  };
  return new Uint8Array(await promisify(brotliCompress)(body, { params }));
}

const file = (stem: string, extension: keyof typeof TYPES, path: string) =>
  new Asset(stem, extension, () => readFileSync(path));

const ASSETS = {
  icon: new Asset('icon', 'svg', () => new TextEncoder().encode(ICON)),
  style: file('app', 'css', style),
  htmx: file('htmx', 'js', htmx),
  script: file('app', 'js', script),
  chartLibrary: file('lightweight-charts', 'js', chartLibrary),
  chart: file('chart', 'js', chart),
  docsStyle: file('swagger', 'css', docsStyle),
  docsScript: file('swagger', 'js', docsScript),
  swaggerStyle: file('swagger-ui', 'css', swaggerStyle),
  swaggerScript: file('swagger-ui', 'js', swaggerScript),
};

const BY_FILE = new Map(Object.values(ASSETS).map((one) => [`${one.stem}.${one.extension}`, one]));

/** Where a page finds its own files; the addresses change with their content. */
export const ASSET_PATHS = {
  icon: ASSETS.icon.path,
  style: ASSETS.style.path,
  htmx: ASSETS.htmx.path,
  script: ASSETS.script.path,
  chartLibrary: ASSETS.chartLibrary.path,
  chart: ASSETS.chart.path,
};

/** Where /docs finds what only it needs; 2 MB that are read when somebody asks for the page. */
export const docsAssetPaths = () => ({
  style: ASSETS.docsStyle.path,
  script: ASSETS.docsScript.path,
  swaggerStyle: ASSETS.swaggerStyle.path,
  swaggerScript: ASSETS.swaggerScript.path,
});

const IMMUTABLE = 'public, max-age=31536000, immutable';
const DAILY = 'public, max-age=86400';

/** The files of pages, and the icon at the address that browsers try without being told. */
export function assetRoutes() {
  const hidden = { detail: { hide: true } };
  return new Elysia({ name: 'assets' })
    .get(
      '/assets/:name',
      ({ params, request }) => send(findAsset(params.name), request, IMMUTABLE),
      hidden,
    )
    .get('/favicon.ico', ({ request }) => send(ASSETS.icon, request, DAILY), hidden);
}

/** @throws HttpError 404, also for a file of another version. */
function findAsset(name: string): Asset {
  const asset = BY_FILE.get(name.replace(/-[0-9a-f]{12}(?=\.\w+$)/, ''));
  if (asset?.path === `/assets/${name}`) return asset;
  throw new HttpError(404, 'not_found', 'there is no such file; load the page again');
}

async function send(asset: Asset, request: Request, caching: string): Promise<Response> {
  const coding = chooseCoding(request.headers.get('accept-encoding'), CODINGS);
  const { body, hash } = asset.content;
  const headers: Record<string, string> = {
    'cache-control': caching,
    etag: coding === null ? `"${hash}"` : `"${hash}-${coding}"`,
    vary: 'accept-encoding',
  };
  const known = request.headers.get('if-none-match');
  if (known?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === headers.etag)) {
    return new Response(null, { status: 304, headers });
  }
  headers['content-type'] = asset.type;
  if (coding === null) return new Response(body, { headers });
  headers['content-encoding'] = coding;
  return new Response(await asset.compressed(coding), { headers });
}
