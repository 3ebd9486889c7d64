import { type FindingState, findingMessage } from './finding.ts';
import type { Reconciliation, ReconciliationVerdict } from './reconciliation.ts';

/** How good what is held of a symbol is, in a word and a sentence. */

/** Worst first; 'empty' is a symbol of which nothing is held. */
export const GRADES = ['poor', 'fair', 'empty', 'good'] as const;
export type Grade = (typeof GRADES)[number];

export interface Verdict {
  grade: Grade;
  /** A sentence without the grade: the most serious thing first. */
  verdict: string;
}

export interface FindingCount {
  kind: string;
  state: FindingState;
  count: number;
}

/** What came of a comparison with a second source. */
export interface Comparison {
  source: string;
  result: ReconciliationVerdict;
  /** Whose numbers are wrong where they differ; null when none do. */
  side: Reconciliation['side'];
}

/** What is known of one symbol, from counters. */
export interface QualityFacts {
  records: number;
  validationRatePct: number;
  /** 'YYYY-MM-DD'; null when nothing is held. */
  latestSession: string | null;
  isTracked: boolean;
  /** Published sessions after the latest; null when nothing is held. */
  sessionsBehind: number | null;
  /** Sessions by state. */
  coverage: { complete: number; missing: number; vendor_empty: number; unfetched: number };
  findings: readonly FindingCount[];
  /** The latest comparison with a second source; null when there was none. */
  comparison: Comparison | null;
}

/** With less of its bars validated (percent) a symbol is fair or poor. */
const FAIR_RATE_PCT = 95;
const POOR_RATE_PCT = 80;
/** Between a session and the night's run everything is one session behind. */
const FAIR_BEHIND = 2;
const POOR_BEHIND = 20;
/** From this share of its sessions without a bar on, holes make a symbol poor. */
const POOR_HOLES = 0.05;
/** Sessions on which a provider has nothing are normal, up to this share. */
const FAIR_EMPTY = 0.01;
/** What is decided about these changes every adjusted price before it. */
const SPLIT_KINDS = ['possible_split', 'unconfirmed_split'];

interface Problem {
  grade: 'poor' | 'fair';
  text: string;
}

const NUMBER = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
const shown = (value: number) => NUMBER.format(value);
const plural = (count: number, noun: string) =>
  `${shown(count)} ${count === 1 ? noun : `${noun}s`}`;

/** Judges one symbol. */
export function gradeSymbol(facts: QualityFacts): Verdict {
  if (facts.records === 0) return { grade: 'empty', verdict: 'no bars are held yet' };
  const problems = [
    ...rateProblems(facts),
    ...comparisonProblems(facts),
    ...holeProblems(facts),
    ...splitProblems(facts),
  ];
  const poor = problems.filter(({ grade }) => grade === 'poor');
  const fair = problems.filter(({ grade }) => grade === 'fair');
  const open = sumOpen(facts.findings);
  const note = open === 0 ? 'no finding is open' : `${plural(open, 'finding')} to look at`;
  if (problems.length === 0) {
    const rate = `${shown(facts.validationRatePct)} % of ${plural(facts.records, 'bar')} validated`;
    return { grade: 'good', verdict: `held to ${facts.latestSession}, ${rate}, ${note}` };
  }
  const texts = [...poor, ...fair].map(({ text }) => text);
  return { grade: poor.length > 0 ? 'poor' : 'fair', verdict: [...texts, note].join(', ') };
}

/** Findings that nobody has decided about. */
export function sumOpen(findings: readonly FindingCount[], kinds?: readonly string[]): number {
  return findings
    .filter(({ kind, state }) => state === 'open' && (kinds?.includes(kind) ?? true))
    .reduce((sum, { count }) => sum + count, 0);
}

function rateProblems({ validationRatePct }: QualityFacts): Problem[] {
  if (validationRatePct >= FAIR_RATE_PCT) return [];
  const grade = validationRatePct < POOR_RATE_PCT ? 'poor' : 'fair';
  return [{ grade, text: `only ${shown(validationRatePct)} % of its bars are validated` }];
}

function comparisonProblems({ comparison }: QualityFacts): Problem[] {
  // What is wrong with the other source is no fault of what is held.
  if (comparison === null || comparison.side === 'theirs') return [];
  const { result, source } = comparison;
  if (result === 'conflict') {
    return [{ grade: 'poor', text: `its prices conflict with those of ${source}` }];
  }
  if (result !== 'differ') return [];
  return [{ grade: 'fair', text: `its prices differ from those of ${source}` }];
}

function holeProblems({ coverage, sessionsBehind, isTracked }: QualityFacts): Problem[] {
  const { complete, missing, vendor_empty: empty, unfetched } = coverage;
  const behind = sessionsBehind ?? 0;
  const sessions = complete + missing + empty + unfetched;
  // The newest sessions may be both behind and not asked for yet: they count once.
  const holes = missing + Math.max(0, unfetched - behind);
  const problems: Problem[] = [];
  if (holes > 0) {
    const grade = holes > POOR_HOLES * sessions ? 'poor' : 'fair';
    const text = `${plural(holes, 'session')} of its history ${holes === 1 ? 'is' : 'are'} missing`;
    problems.push({ grade, text });
  }
  if (isTracked && behind >= FAIR_BEHIND) {
    const grade = behind > POOR_BEHIND ? 'poor' : 'fair';
    problems.push({ grade, text: `${plural(behind, 'session')} behind` });
  }
  if (empty > FAIR_EMPTY * sessions) {
    problems.push({ grade: 'fair', text: `${plural(empty, 'session')} the provider has not` });
  }
  return problems;
}

function splitProblems({ findings }: QualityFacts): Problem[] {
  return SPLIT_KINDS.flatMap((kind): Problem[] => {
    const count = sumOpen(findings, [kind]);
    if (count === 0) return [];
    const times = count === 1 ? '' : ` (${shown(count)} times)`;
    return [{ grade: 'fair', text: `${findingMessage(kind)}${times}` }];
  });
}

/** In total fair when any symbol is poor, or more than this share of them fair or empty; ... */
const FAIR_SHARE = 0.1;
/** ... and poor when more than this share of them is. */
const POOR_SHARE = 0.1;

/** Judges all symbols together. */
export function gradeTotal(
  grades: readonly Grade[],
  { records, validationRatePct }: { records: number; validationRatePct: number },
): Verdict {
  if (records === 0) return { grade: 'empty', verdict: 'no bars are held yet' };
  const counts = GRADES.map((grade) => ({
    grade,
    count: grades.filter((one) => one === grade).length,
  }));
  const [poor, fair, empty] = counts.map(({ count }) => count / grades.length);
  const isPoor = poor > POOR_SHARE || validationRatePct < POOR_RATE_PCT;
  const isFair = poor > 0 || fair + empty > FAIR_SHARE || validationRatePct < FAIR_RATE_PCT;
  const words = counts.filter(({ count }) => count > 0);
  const tally = words.map(({ grade, count }) => `${shown(count)} ${grade}`).join(', ');
  const rate = `${shown(validationRatePct)} % of ${plural(records, 'bar')} validated`;
  return {
    grade: isPoor ? 'poor' : isFair ? 'fair' : 'good',
    verdict: `${plural(grades.length, 'symbol')}: ${tally}; ${rate}`,
  };
}
