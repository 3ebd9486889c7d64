import { z } from 'zod';
import { ProviderError } from '../errors.ts';

/** What all answers of Yahoo have in common. */

const Envelope = z.object({
  result: z.array(z.unknown()).nullish(),
  error: z.object({ code: z.string(), description: z.string().nullish() }).nullish(),
});
const Answer = z.object({
  quoteResponse: Envelope.optional(),
  chart: Envelope.optional(),
  finance: Envelope.optional(),
});

/** @throws ProviderError when it is not what Yahoo answers, or is its own error. */
export function parseEnvelope(answer: unknown, key: 'quoteResponse' | 'chart'): unknown[] {
  const what = key === 'chart' ? 'chart' : 'quote';
  const { data } = Answer.safeParse(answer);
  // Some errors come under a name that is neither.
  const envelope = data?.[key] ?? data?.finance;
  if (envelope?.error) {
    const { code, description } = envelope.error;
    const kind = code === 'Not Found' ? 'not_found' : 'garbage';
    throw new ProviderError(`Yahoo ${what}: ${description ?? code}`, kind);
  }
  if (envelope?.result) return envelope.result;
  const body = JSON.stringify(answer).slice(0, 1_024);
  throw new ProviderError(`Yahoo ${what}: the answer is JSON, but not Yahoo's`, 'garbage', body);
}

/** A number, also as text that is nothing else; undefined: neither that nor null. */
export function parseNumber(value: unknown): number | null | undefined {
  if (value === null || value === undefined) return null;
  const isText = typeof value === 'string' && /^[-+]?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(value.trim());
  const number = isText ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

/** Rows of charts are single floats that were widened: 269.275 comes as 269.2749938964844. */
export function unwiden(price: number | null): number | null {
  if (price === null || Math.fround(price) !== price) return price;
  const texts = [6, 7, 8, 9].map((digits) => Number(price.toPrecision(digits)));
  return texts.find((short) => Math.fround(short) === price) ?? price;
}
