import type { Clock } from './clock.ts';
import { fullJitter } from './retry.ts';

export interface RestartPolicy {
  /** so many restarts within `withinMs`; one more and the child is given up */
  max: number;
  withinMs: number;
  baseMs: number;
  capMs: number;
}

/** The budget of restarts, and the waits before them. */
export function createRestarts(policy: RestartPolicy | 'never', d: { clock: Clock; random: () => number }) {
  if (policy === 'never') return { next: () => undefined };
  const schedule = () => fullJitter(policy, d.random);
  let waits = schedule();
  let ends: number[] = [];
  return {
    /** @returns ms to wait before the next start; undefined when the budget is spent */
    next(livedMs: number): number | undefined {
      const now = d.clock.monotonic();
      if (livedMs > policy.withinMs) waits = schedule();
      ends = ends.filter((at) => now - at < policy.withinMs);
      ends.push(now);
      return ends.length > policy.max ? undefined : waits.next().value;
    },
  };
}
