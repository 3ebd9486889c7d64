import { readFileSync } from 'node:fs';
import htmx from 'htmx.org/dist/htmx.min.js' with { type: 'file' };
import style from '../../views/app.css' with { type: 'file' };
import script from '../../views/app.js' with { type: 'file' };

/** Three bars of a chart, in a color that is seen on light and dark tabs. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="#2f81f7">
<rect x="1" y="8" width="3.5" height="7" rx="1"/>
<rect x="6.25" y="4" width="3.5" height="11" rx="1"/>
<rect x="11.5" y="1" width="3.5" height="14" rx="1"/>
</svg>
`;

interface Asset {
  /** With a hash of its content: what a name stands for never changes. */
  name: string;
  type: string;
  body: Uint8Array<ArrayBuffer>;
}

function makeAsset(stem: string, extension: string, type: string, content: Uint8Array): Asset {
  const body = Uint8Array.from(content);
  const hash = new Bun.CryptoHasher('sha256').update(body).digest('hex').slice(0, 12);
  return { name: `${stem}-${hash}.${extension}`, type, body };
}

const JAVASCRIPT = 'text/javascript; charset=utf-8';
const ICON_ASSET = makeAsset('icon', 'svg', 'image/svg+xml', new TextEncoder().encode(ICON));
const STYLE = makeAsset('app', 'css', 'text/css; charset=utf-8', readFileSync(style));
const HTMX = makeAsset('htmx', 'js', JAVASCRIPT, readFileSync(htmx));
const SCRIPT = makeAsset('app', 'js', JAVASCRIPT, readFileSync(script));

const BY_NAME = new Map([ICON_ASSET, STYLE, HTMX, SCRIPT].map((asset) => [asset.name, asset]));

/** Where a page finds its own files; the addresses change with their content. */
export const ASSET_PATHS = {
  icon: `/assets/${ICON_ASSET.name}`,
  style: `/assets/${STYLE.name}`,
  htmx: `/assets/${HTMX.name}`,
  script: `/assets/${SCRIPT.name}`,
};

const IMMUTABLE = 'public, max-age=31536000, immutable';

/** An asset by its hashed name; undefined when there is none. */
export function assetResponse(name: string): Response | undefined {
  const asset = BY_NAME.get(name);
  if (!asset) return undefined;
  return new Response(asset.body, {
    headers: { 'content-type': asset.type, 'cache-control': IMMUTABLE },
  });
}

/** The icon at the address that browsers try without being told. */
export function iconResponse(): Response {
  return new Response(ICON_ASSET.body, {
    headers: { 'content-type': ICON_ASSET.type, 'cache-control': 'public, max-age=86400' },
  });
}
