import type { Clock, Timer } from '@brink/runtime';
import { type Job, rankOf } from './job.ts';

/** A batch that waits to fill. */
export interface Hold {
  /** Whether that time has not come yet; then it is said when it has. @param until ms on the monotonic clock */
  isOn(until: number): boolean;
  stop(): void;
}

export function createHold(clock: Clock, over: () => void): Hold {
  let timer: Timer | undefined;
  let set = 0;

  function stop(): void {
    if (timer !== undefined) clock.clearTimeout(timer);
    timer = undefined;
  }

  return {
    isOn(until) {
      const left = until - clock.monotonic();
      if (left <= 0) return false;
      if (timer !== undefined && set <= until) return true;
      stop();
      set = until;
      timer = clock.setTimeout(() => {
        timer = undefined;
        over();
      }, left);
      return true;
    },
    stop,
  };
}

/** So long it is remembered that something came: it may come again at any moment. */
const QUIET_MS = 1000;

/** When jobs of each rank came last. There are 20 ranks at most. */
export interface Arrivals {
  add(job: Job): void;
  /** Whether something of this rank or a higher one came of late. */
  hadAtLeast(rank: number): boolean;
}

export function createArrivals(clock: Clock): Arrivals {
  const lastOf = new Map<number, number>();
  return {
    add(job) {
      lastOf.set(rankOf(job), clock.monotonic());
    },
    hadAtLeast(rank) {
      const since = clock.monotonic() - QUIET_MS;
      for (const [of, at] of lastOf) if (of >= rank && at > since) return true;
      return false;
    },
  };
}
