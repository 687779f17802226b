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
export const QUIET_MS = 1000;

/** When jobs of each rank came last. There are 20 ranks at most. */
export interface Arrivals {
  /** ms on the monotonic clock */
  readonly lastAt: number;
  add(job: Job): void;
  /** Of late. */
  hadHigher(rank: number): boolean;
}

export function createArrivals(clock: Clock): Arrivals {
  const lastOf = new Map<number, number>();
  let lastAt = Number.NEGATIVE_INFINITY;
  return {
    get lastAt() {
      return lastAt;
    },
    add(job) {
      lastAt = clock.monotonic();
      lastOf.set(rankOf(job), lastAt);
    },
    hadHigher(rank) {
      const since = clock.monotonic() - QUIET_MS;
      for (const [of, at] of lastOf) if (of > rank && at > since) return true;
      return false;
    },
  };
}
