/** How fast a queue goes down. */
export interface Pace {
  /** A run of so many rows ended now, of which the first had waited since `waitingSince`. All in ms on the monotonic clock. */
  ended(now: number, rows: number, waitingSince: number): void;
  /** How long so many rows take, with everything else that goes on; undefined while nothing is known. */
  msFor(rows: number): number | undefined;
}

/** Of each new measurement in the mean: the last ten runs or so count. */
const WEIGHT = 0.2;

/**
 * Measured at the end of runs while something waits: so it knows of several runners, of batches, of other models on the same slots,
 * and of what runs beside Brink, without being told.
 */
export function createPace(): Pace {
  let lastEnd = Number.NEGATIVE_INFINITY;
  let msPerRow: number | undefined;
  return {
    ended(now, rows, waitingSince) {
      const ms = (now - Math.max(lastEnd, waitingSince)) / Math.max(1, rows);
      msPerRow = msPerRow === undefined ? ms : msPerRow + WEIGHT * (ms - msPerRow);
      lastEnd = now;
    },
    msFor: (rows) => (msPerRow === undefined ? undefined : rows * msPerRow),
  };
}
