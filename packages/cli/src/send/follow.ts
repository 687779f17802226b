import type { Decision } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import type { Api } from '../api.ts';
import { followEvents } from '../follow.ts';

export interface Followed {
  /** So far. */
  readonly count: number;
  /**
   * Waits for the decisions of the last frame: until some of it have come and then none for a moment, or none at all for `waitMs`.
   * The last window may have ended in an earlier frame: then it takes that long.
   */
  settled(seq: number, waitMs: number, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

const LOOK_MS = 20;
const GRACE_MS = 400;

/**
 * Decisions on a device's stream as they are committed, from now on.
 * @param o.boot only those on frames of this one
 * @throws BrinkError E_UNAVAILABLE, E_UNAUTHORISED before it begins
 */
export async function followDecisions(
  api: Api,
  o: { device: string; stream: string; boot?: string; seen: (decision: Decision) => void; lost: () => void },
): Promise<Followed> {
  const { device, stream } = o;
  const newest = await api.get<{ items: Decision[] }>('/v1/decisions', { limit: 1 });
  const stop = new AbortController();
  let count = 0;
  let lastSeq = 0;
  let lastMs = 0;
  const following = followEvents(api, {
    path: `/v1/events?device=${device}&stream=${stream}`,
    // From the newest that there is: what is decided before this connection stands is told too.
    after: newest.items[0]?.n ?? 0,
    signal: stop.signal,
    seen({ decision }) {
      if (decision === undefined || (o.boot !== undefined && decision.frames.boot !== o.boot)) return;
      count += 1;
      lastSeq = Math.max(lastSeq, decision.frames.last);
      lastMs = performance.now();
      o.seen(decision);
    },
    lost: o.lost,
  });
  return {
    get count() {
      return count;
    },
    async settled(seq, waitMs, signal) {
      const startMs = performance.now();
      while (performance.now() < Math.max(startMs, lastMs) + waitMs && !signal.aborted) {
        if (lastSeq >= seq && performance.now() - lastMs > GRACE_MS) return;
        await wait(LOOK_MS, systemClock, signal).catch(() => {});
      }
    },
    async stop() {
      stop.abort();
      await following;
    },
  };
}
