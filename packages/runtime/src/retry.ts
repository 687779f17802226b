import { BrinkError } from '@brink/protocol/link';
import type { Clock } from './clock.ts';

/**
 * Waits between attempts, in ms: each uniform in [0, min(cap, base · 2^n)).
 * "Full jitter" of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: after an outage the clients
 * do not come back in step. Never ends; make a new one after a success.
 * @param random uniform in [0, 1)
 */
export function* fullJitter(o: { baseMs: number; capMs: number }, random: () => number): Generator<number, never> {
  for (let ceiling = o.baseMs; ; ceiling = Math.min(o.capMs, ceiling * 2)) {
    yield random() * Math.min(o.capMs, ceiling);
  }
}

/** What was up for less was not really up: a peer that accepts and drops at once must not be hammered. */
const UP_MS_MIN = 1000;

/** The waits of something that is kept up. They begin again with the base after it was up for a second. */
export function createBackoff(o: { baseMs: number; capMs: number }, d: { clock: Clock; random: () => number }) {
  let waits = fullJitter(o, d.random);
  let upAt: number | undefined;
  return {
    up(): void {
      upAt = d.clock.monotonic();
    },
    /** ms to the next attempt */
    next(): number {
      if (upAt !== undefined && d.clock.monotonic() - upAt >= UP_MS_MIN) waits = fullJitter(o, d.random);
      upAt = undefined;
      return waits.next().value;
    },
  };
}

/** @throws BrinkError E_CANCELLED at once when the signal aborts */
export function wait(ms: number, clock: Clock, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(signal));
      return;
    }
    const onAbort = () => {
      clock.clearTimeout(timer);
      reject(cancelled(signal));
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** What a caller that gave up gets. A BrinkError that was the reason of the abort is handed on as it is. */
export function cancelled(signal?: AbortSignal): BrinkError {
  const reason: unknown = signal?.reason;
  if (reason instanceof BrinkError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') return BrinkError.from(reason);
  return new BrinkError('E_CANCELLED', 'the caller gave up', { cause: reason });
}
