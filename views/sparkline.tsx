import { Html } from '@elysiajs/html';

export interface SparklineProps {
  /** Ascending in time; with fewer than two there is nothing to draw. */
  closes: readonly number[];
  /** In pixels. */
  width?: number;
  height?: number;
  /** What it says, in words; without it the drawing is an ornament beside words. */
  label?: string;
}

/** So far the line stays from the edges. */
const MARGIN = 1.5;

/** A line of closes without axes: which way a price went, at a glance. */
export function Sparkline(props: SparklineProps): JSX.Element {
  const { closes, width = 96, height = 24, label } = props;
  const way = closes.length < 2 || closes[closes.length - 1] >= closes[0] ? 'up' : 'down';
  return (
    <svg
      class={`spark ${way}`}
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role={label === undefined ? undefined : 'img'}
      aria-hidden={label === undefined ? 'true' : undefined}
      aria-label={label}
    >
      {closes.length < 2 ? null : (
        <polyline points={toPoints(closes, width, height)} fill="none" stroke-width="1.5" />
      )}
    </svg>
  );
}

function toPoints(closes: readonly number[], width: number, height: number): string {
  const low = Math.min(...closes);
  const range = Math.max(...closes) - low;
  const step = (width - 2 * MARGIN) / (closes.length - 1);
  const points = closes.map((close, i) => {
    // A price that never moves is a line in the middle.
    const share = range === 0 ? 0.5 : (close - low) / range;
    const y = height - MARGIN - share * (height - 2 * MARGIN);
    return `${(MARGIN + i * step).toFixed(1)},${y.toFixed(1)}`;
  });
  return points.join(' ');
}
