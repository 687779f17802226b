import type { Clock, Timer } from '@brink/runtime';
import type { ScrubReply } from './integrity.ts';

const DAY_MS = 86_400_000;
/** What a start did not look at is looked at soon after it. */
const FIRST_MS = 600_000;
/** 2 MB, about 2 ms of the writer's time. */
const PAGES_AT_ONCE = 512;
const BETWEEN_MS = 250;

/** Reads every page of the ledger once a day, a piece at a time: a disk that forgets is noticed before a restart. */
export function createRounds(d: {
  clock: Clock;
  scrub(from: number, pages: number): Promise<ScrubReply>;
  onDamage(pages: number[]): void;
}) {
  let timer: Timer | undefined;
  let active = false;

  function next(waitMs: number, from: number): void {
    if (!active) return;
    timer = d.clock.setTimeout(() => {
      d.scrub(from, PAGES_AT_ONCE).then(
        (reply) => {
          if (reply.damaged.length > 0) d.onDamage(reply.damaged);
          else next(reply.next === 0 ? DAY_MS : BETWEEN_MS, reply.next === 0 ? 1 : reply.next);
        },
        () => next(FIRST_MS, from),
      );
    }, waitMs);
  }

  return {
    start(): void {
      active = true;
      next(FIRST_MS, 1);
    },
    stop(): void {
      active = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
    },
  };
}
