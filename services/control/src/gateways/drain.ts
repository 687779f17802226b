import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';

/** What is being committed when control is told to stop has so long; a COMMIT takes milliseconds. */
const DRAIN_MS_MAX = 5000;

/** So that nothing is committed whose sender is not told: it would be sent again for nothing. */
export function createDrain(clock: Clock) {
  const underway = new Set<Promise<unknown>>();
  let stopping = false;
  return {
    /** @throws BrinkError E_UNAVAILABLE where control is about to stop */
    check(): void {
      if (stopping) throw new BrinkError('E_UNAVAILABLE', 'control is stopping; send again');
    },
    through<T>(work: Promise<T>): Promise<T> {
      underway.add(work);
      const done = () => void underway.delete(work);
      work.then(done, done);
      return work;
    },
    begin(): void {
      stopping = false;
    },
    /** Takes nothing more; resolves when what was taken is done, and answered. */
    async end(): Promise<void> {
      stopping = true;
      let timer: ReturnType<Clock['setTimeout']> | undefined;
      const late = new Promise<void>((resolve) => {
        timer = clock.setTimeout(resolve, DRAIN_MS_MAX);
      });
      await Promise.race([Promise.allSettled(underway), late]);
      if (timer !== undefined) clock.clearTimeout(timer);
      // The answers are written in the turns that follow.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
export type Drain = ReturnType<typeof createDrain>;
