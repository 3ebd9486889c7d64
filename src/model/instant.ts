/** ISO 8601 with six digits, of epoch microseconds: 2024-01-31T20:59:58.123456Z. */
export function formatMicros(micros: number): string {
  const ms = Math.floor(micros / 1000);
  const rest = String(micros - ms * 1000).padStart(3, '0');
  return `${new Date(ms).toISOString().slice(0, -1)}${rest}Z`;
}

/** What a number of an instant may count since 1970. */
export type EpochUnit = 's' | 'ms' | 'us' | 'ns';

export const EPOCH_UNITS: Record<EpochUnit, { name: string; perSecond: number }> = {
  s: { name: 'seconds', perSecond: 1 },
  ms: { name: 'milliseconds', perSecond: 1e3 },
  us: { name: 'microseconds', perSecond: 1e6 },
  ns: { name: 'nanoseconds', perSecond: 1e9 },
};

/** 1974-01-01 and 2100-01-01, in seconds: no market was electronic before. */
const SECONDS_MIN = 126_230_400;
const SECONDS_MAX = 4_102_444_800;

/**
 * What a number counts when it is an instant from 1974 to 2100: the ranges of the units lie far
 * apart. Undefined when it is none in any unit.
 */
export function epochUnit(value: number): EpochUnit | undefined {
  const units = Object.keys(EPOCH_UNITS) as EpochUnit[];
  return units.find((unit) => {
    const seconds = value / EPOCH_UNITS[unit].perSecond;
    return seconds >= SECONDS_MIN && seconds < SECONDS_MAX;
  });
}
