import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';

/** After a look that failed. */
const AGAIN_MS = 1000;

/**
 * Looks when there is a reason to: one look at a time, a reason that comes meanwhile makes another one, and each look says
 * when the next is due.
 * @param look ms until it must look again; undefined: something will wake it
 */
export function createWaking(d: {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly look: () => Promise<number | undefined>;
}) {
  let running = false;
  let polling: Promise<void> | undefined;
  let again = false;
  let timer: Timer | undefined;

  function wake(): void {
    if (!running) return;
    again = true;
    polling ??= poll().finally(() => {
      polling = undefined;
      if (again) wake();
    });
  }

  async function poll(): Promise<void> {
    while (again && running) {
      again = false;
      const waitMs = await d.look().catch((reason: unknown) => {
        const { code, detail } = BrinkError.from(reason);
        if (running) d.logger.warn({ code, detail }, 'the dispatcher cannot read the outbox');
        return AGAIN_MS;
      });
      setTimer(waitMs);
    }
  }

  function setTimer(waitMs: number | undefined): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = waitMs === undefined || !running ? undefined : d.clock.setTimeout(wake, waitMs);
  }

  return {
    wake,
    start(): void {
      running = true;
      wake();
    },
    async stop(): Promise<void> {
      running = false;
      again = false;
      setTimer(undefined);
      await polling;
    },
  };
}
