import type { Clock } from '@brink/runtime';

/** Failures in a row until a target is left alone. */
const FAILURES_MAX = 5;
/** How long it is left alone: twice as long each time, ± a fifth, so that targets on one machine are not tried in step. */
const OPEN_MS = { base: 5000, cap: 60_000, jitter: 0.2 };
/** The longest that a receiver can ask for with Retry-After. */
const ASKED_MS_MAX = 300_000;

export type Breaker = ReturnType<typeof createBreaker>;

/**
 * Whether a target is worth trying. After five failures in a row it is open: nothing is sent for a while, then one to see;
 * if that fails, it is open for twice as long.
 */
export function createBreaker(d: { readonly clock: Clock; readonly random: () => number }) {
  let failures = 0;
  let opened = 0;
  let openUntil: number | undefined;
  let goneAtMs: number | undefined;
  const waitMs = () => (openUntil === undefined ? 0 : Math.max(0, openUntil - d.clock.monotonic()));

  /** It answered, so it is there; whether it liked the message is another matter. */
  function answered(): void {
    failures = 0;
    opened = 0;
    openUntil = undefined;
  }

  return {
    answered,
    took(): void {
      answered();
      goneAtMs = undefined;
    },
    gone(): void {
      goneAtMs ??= d.clock.now();
    },
    failed(retryAfterMs = 0): void {
      failures += 1;
      const asked = Math.min(retryAfterMs, ASKED_MS_MAX);
      // Those that were on their way together when it opened are one reason to open it.
      if (asked === 0 && (failures < FAILURES_MAX || waitMs() > 0)) return;
      const wait = Math.min(OPEN_MS.cap, OPEN_MS.base * 2 ** Math.min(opened, 10));
      opened += 1;
      openUntil = d.clock.monotonic() + Math.max(asked, wait * (1 + OPEN_MS.jitter * (2 * d.random() - 1)));
    },
    waitMs,
    /** Open, or being tried. */
    get open() {
      return opened > 0;
    },
    get failures() {
      return failures;
    },
    /** When it answered 410, ms since 1970. */
    get goneAtMs() {
      return goneAtMs;
    },
  };
}
