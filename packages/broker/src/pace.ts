import type { Clock } from '@brink/runtime';

/** How fast one device may publish: a token bucket for messages and one for bytes, each as deep as one second fills it. */
export interface Pace {
  /** Milliseconds until the next message may go; 0 or less: now. */
  waitMs(): number;
  /** A message goes. It may overdraw: a frame larger than the bucket goes too, and the next one waits the longer. */
  spend(bytes: number): void;
}

export function createPace(limits: { publishesPerSMax: number; publishBytesPerSMax: number }, clock: Clock): Pace {
  const buckets = [
    createBucket(limits.publishesPerSMax, clock),
    createBucket(limits.publishBytesPerSMax, clock),
  ] as const;
  return {
    waitMs: () => Math.max(buckets[0].waitMs(), buckets[1].waitMs()),
    spend(bytes) {
      buckets[0].spend(1);
      buckets[1].spend(bytes);
    },
  };
}

function createBucket(perS: number, clock: Clock) {
  let tokens = perS;
  let atMs = clock.monotonic();

  function fill(): void {
    const nowMs = clock.monotonic();
    tokens = Math.min(perS, tokens + ((nowMs - atMs) * perS) / 1000);
    atMs = nowMs;
  }

  return {
    waitMs(): number {
      fill();
      return tokens > 0 ? 0 : (-tokens * 1000) / perS + 1;
    },
    spend(count: number): void {
      fill();
      tokens -= count;
    },
  };
}
