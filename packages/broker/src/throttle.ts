import type { Clock } from '@brink/runtime';

export interface ThrottleLimits {
  wrongPasswordsMax: number;
  throttleMs: number;
  throttledSourcesMax: number;
}

/** Who has tried too many passwords. */
export interface Throttle {
  isBlocked(source: string): boolean;
  failed(source: string): void;
  /** Passwords have changed: whoever was wrong may be right now. */
  reset(): void;
}

/**
 * After `wrongPasswordsMax` failures within `throttleMs` a source is blocked for `throttleMs`. A right password in between resets
 * nothing: who knows one may still guess others.
 */
export function createThrottle(limits: ThrottleLimits, d: { clock: Clock }): Throttle {
  const sources = new Map<string, { failures: number; sinceMs: number }>();

  function known(source: string) {
    const entry = sources.get(source);
    if (entry === undefined || d.clock.monotonic() - entry.sinceMs < limits.throttleMs) return entry;
    sources.delete(source);
    return undefined;
  }

  return {
    reset: () => sources.clear(),
    isBlocked: (source) => (known(source)?.failures ?? 0) >= limits.wrongPasswordsMax,
    failed(source) {
      const entry = known(source) ?? { failures: 0, sinceMs: d.clock.monotonic() };
      entry.failures += 1;
      // From the failure that blocks it.
      if (entry.failures === limits.wrongPasswordsMax) entry.sinceMs = d.clock.monotonic();
      // At the end of the line, so that the bound forgets whoever was longest without a failure.
      sources.delete(source);
      sources.set(source, entry);
      const oldest = sources.keys().next().value;
      if (sources.size > limits.throttledSourcesMax && oldest !== undefined) sources.delete(oldest);
    },
  };
}
