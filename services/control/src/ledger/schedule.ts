import type { Clock, Timer } from '@brink/runtime';

const RETAIN_EVERY_MS = 60_000;
/** About 10 ms of work: what arrives meanwhile waits that long. */
const RETAIN_ROWS_AT_ONCE = 500;
/** Between two pieces of a long deletion, so that it takes a tenth of the writer's time. */
const RETAIN_AGAIN_MS = 100;
/** setTimeout takes 2^31 ms; a due time may lie further off. */
const TIMER_MS_MAX = 3_600_000;
/**
 * After a start the grace is so many times as long: the gateways connect again and bring what they hold. Silence that was
 * ours is not the devices'.
 */
const START_GRACES = 10;
/** After a tick that could not be committed. */
const TICK_AGAIN_MS = 1000;

/** Looks after the WAL and the ballast: the first one soon, since it makes the ballast; then at leisure, without room often. */
const LOOK_FIRST_MS = 1000;
const LOOK_EVERY_MS = 30_000;
const LOOK_AGAIN_MS = 1000;

/** What the ledger does by itself: ticks when a timer of a rule is due, deletion by age, looking after the disk. */
export function createSchedule(
  config: { graceMs: number },
  d: {
    clock: Clock;
    tick(dueMs: number): Promise<void>;
    retain(rows: number): Promise<{ deleted: number }>;
    look(): Promise<void>;
    /** The disk asks for another look soon: there is no room, or the WAL has grown. */
    pressed(): boolean;
  },
) {
  let ruleTimer: Timer | undefined;
  let retainTimer: Timer | undefined;
  let lookTimer: Timer | undefined;
  let running = false;
  let startedMs = Number.NEGATIVE_INFINITY;

  function nextTimer(dueMs: number | undefined, atLeastMs = 0): void {
    if (ruleTimer !== undefined) d.clock.clearTimeout(ruleTimer);
    ruleTimer = undefined;
    if (dueMs === undefined || !running) return;
    const listenMs = startedMs + START_GRACES * config.graceMs - d.clock.monotonic();
    const waitMs = Math.min(Math.max(atLeastMs, listenMs, dueMs + config.graceMs - d.clock.now()), TIMER_MS_MAX);
    ruleTimer = d.clock.setTimeout(() => {
      ruleTimer = undefined;
      d.tick(d.clock.now() - config.graceMs).catch(() => nextTimer(dueMs, TICK_AGAIN_MS));
    }, waitMs);
  }

  function nextRetain(waitMs: number): void {
    if (!running) return;
    retainTimer = d.clock.setTimeout(() => {
      d.retain(RETAIN_ROWS_AT_ONCE).then(
        ({ deleted }) => nextRetain(deleted === RETAIN_ROWS_AT_ONCE ? RETAIN_AGAIN_MS : RETAIN_EVERY_MS),
        () => nextRetain(RETAIN_EVERY_MS),
      );
    }, waitMs);
  }

  function nextLook(waitMs: number): void {
    if (!running) return;
    if (lookTimer !== undefined) d.clock.clearTimeout(lookTimer);
    lookTimer = d.clock.setTimeout(() => {
      lookTimer = undefined;
      const again = () => nextLook(d.pressed() ? LOOK_AGAIN_MS : LOOK_EVERY_MS);
      d.look().then(again, again);
    }, waitMs);
  }

  return {
    /** There is no room: the next look comes soon. */
    lookSoon: () => nextLook(LOOK_AGAIN_MS),
    start(dueMs: number | undefined): void {
      running = true;
      startedMs = d.clock.monotonic();
      nextLook(LOOK_FIRST_MS);
      nextTimer(dueMs);
      nextRetain(RETAIN_EVERY_MS);
    },
    nextTimer,
    stop(): void {
      running = false;
      for (const timer of [ruleTimer, retainTimer, lookTimer]) if (timer !== undefined) d.clock.clearTimeout(timer);
      ruleTimer = undefined;
      retainTimer = undefined;
      lookTimer = undefined;
    },
  };
}
export type Schedule = ReturnType<typeof createSchedule>;
