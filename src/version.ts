import manifest from '../package.json' with { type: 'json' };

/** Set by scripts/build.ts. */
declare const MARKETD_COMMIT: string | undefined;

/** The version, and the commit it was built from: '0.1.0+1a2b3c4'. */
export const VERSION =
  typeof MARKETD_COMMIT === 'string' && MARKETD_COMMIT !== ''
    ? `${manifest.version}+${MARKETD_COMMIT}`
    : manifest.version;
