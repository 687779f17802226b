import type { Clock } from '@brink/runtime';

/** Less than this is a clock that is being put right little by little. */
const JUMP_MS = 5000;

/**
 * Notices that the wall clock was set: it went on by something else than the time that passed.
 * Everything with a deadline is kept by the wall clock, so that it outlives a restart; what was set must be moved along.
 */
export function createClockWatch(clock: Clock, onSet: (shiftMs: number) => void) {
  let ahead = clock.now() - clock.monotonic();

  return {
    /** The time, and by how much it was set since it was asked for last, ms. */
    now(): { nowMs: number; shiftMs: number } {
      const nowMs = clock.now();
      const before = ahead;
      // Small steps add up to no jump.
      ahead = nowMs - clock.monotonic();
      const jumpMs = Math.round(ahead - before);
      if (Math.abs(jumpMs) < JUMP_MS) return { nowMs, shiftMs: 0 };
      onSet(jumpMs);
      return { nowMs, shiftMs: jumpMs };
    },
  };
}
