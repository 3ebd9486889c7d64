import type { FindingState } from '../src/model/finding.ts';
import type { Finding } from '../src/query/findings.ts';
import type { Condition } from './elements.tsx';

/** How findings are told, wherever they are shown. */

export const FINDING_STATES: Record<FindingState, { condition: Condition; word: string }> = {
  open: { condition: 'attention', word: 'Open' },
  accepted: { condition: 'good', word: 'Accepted' },
  rejected: { condition: 'bad', word: 'Rejected' },
  resolved: { condition: 'idle', word: 'Resolved' },
};

/** 'gap_unexplained' -> 'gap unexplained' */
export const words = (name: string) => name.replaceAll('_', ' ');

/** '{"ratio":4,"from":1}' -> 'ratio 4, from 1' */
export function describeDetail(detail: object): string {
  return Object.entries(detail)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${words(name)} ${describeValue(value)}`)
    .join(', ');
}

/** true -> 'yes', ['1d', '1m'] -> '1d, 1m', {"from":1} -> '(from 1)' */
function describeValue(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.map(describeValue).join(', ');
  if (typeof value === 'object' && value !== null) return `(${describeDetail(value)})`;
  return `${value}`;
}

/** '2023-05-11', or '2023-05-11 15:00 UTC' of a bar below a day. */
export const findingTime = ({ session, ts }: Pick<Finding, 'session' | 'ts'>): string =>
  ts === null ? session : `${ts.toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** 'AAPL 2023-05-11 gap unexplained', with the timeframe of a bar below a day. */
export function findingName(finding: Finding): string {
  const { symbol, timeframe, kind } = finding;
  const when = findingTime(finding);
  return `${symbol} ${timeframe === '1d' ? when : `${timeframe} ${when}`} ${words(kind)}`;
}
