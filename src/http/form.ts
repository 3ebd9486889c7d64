import { readBody } from './body.ts';
import { HttpError } from './errors.ts';
import { refuseCrossSite } from './same-origin.ts';

/** Forms that pages send. */

const FORM_BYTES_MAX = 16_384;
const URL_ENCODED = 'application/x-www-form-urlencoded';

const typeOf = (request: Request) =>
  request.headers.get('content-type')?.split(';')[0].trim().toLowerCase();

/**
 * The fields of a form of ours.
 * @param bytesMax how large it may be.
 * @throws HttpError 403 from a page of another site, 415 or 413 for what is no form of ours.
 */
export async function readForm(
  request: Request,
  bytesMax = FORM_BYTES_MAX,
): Promise<URLSearchParams> {
  refuseCrossSite(request);
  if (typeOf(request) !== URL_ENCODED) {
    throw new HttpError(415, 'unsupported_type', 'send the form of the page');
  }
  return new URLSearchParams(new TextDecoder().decode(await readBody(request, bytesMax, 'form')));
}

/**
 * The fields of a form with a file.
 * @throws HttpError as `readForm`.
 */
export async function readMultipart(request: Request, bytesMax: number): Promise<FormData> {
  refuseCrossSite(request);
  const type = request.headers.get('content-type') ?? '';
  if (typeOf(request) !== 'multipart/form-data') {
    throw new HttpError(415, 'unsupported_type', 'send the form of the page');
  }
  const body = await readBody(request, bytesMax, 'form');
  try {
    return await new Response(body, { headers: { 'content-type': type } }).formData();
  } catch {
    throw new HttpError(400, 'malformed', 'the form is malformed: send the form of the page');
  }
}
