/** A timer that a clock gave out; only good for its own `clearTimeout`. */
export type Timer = object;

/** Time, passed in: so that tests never sleep and a replay can run on recorded time. */
export interface Clock {
  /** ms since 1970; may jump. */
  now(): number;
  /** ms since some start, fractional; never goes back. For durations and limits. */
  monotonic(): number;
  setTimeout(fn: () => void, ms: number): Timer;
  clearTimeout(timer: Timer): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (fn, ms) => setTimeout(fn, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

/**
 * A clock that stands still until it is moved.
 * `advance(ms)` fires what is due in the order of its due time, and lets promises settle after each, so that a chain of
 * waits (a retry loop) runs through in one call.
 */
export function createTestClock(startMs = 1_700_000_000_000): Clock & { advance(ms: number): Promise<void> } {
  const timers = new Set<{ due: number; fn: () => void }>();
  let elapsed = 0;

  function next(until: number) {
    let first: { due: number; fn: () => void } | undefined;
    for (const timer of timers) {
      if (timer.due <= until && (first === undefined || timer.due < first.due)) first = timer;
    }
    return first;
  }

  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    setTimeout(fn, ms) {
      const timer = { due: elapsed + Math.max(0, ms), fn };
      timers.add(timer);
      return timer;
    },
    clearTimeout(timer) {
      timers.delete(timer as { due: number; fn: () => void });
    },
    async advance(ms) {
      const until = elapsed + ms;
      await settle();
      for (let timer = next(until); timer !== undefined; timer = next(until)) {
        timers.delete(timer);
        elapsed = Math.max(elapsed, timer.due);
        timer.fn();
        await settle();
      }
      elapsed = until;
    },
  };
}

/** One turn of the event loop: every promise that can settle without I/O has done so. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
