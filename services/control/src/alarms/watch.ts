import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

/** Often enough for alarms that look at minutes; a scrape never waits for the ledger. */
const EVERY_MS = 5000;

/** Looks at what nobody counts as it happens: how long the oldest open action has waited. */
export function createWatch(d: {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly read: () => Pick<LedgerReads, 'oldestOpenAction'>;
  /** Called each time. */
  readonly looked: () => void;
}): Part {
  let running = false;
  let timer: Timer | undefined;

  async function look(): Promise<void> {
    const created = await d.read().oldestOpenAction();
    d.metrics.outboxOldest.set(created === undefined ? 0 : Math.max(0, d.clock.now() - created) / 1000);
  }

  function again(): void {
    d.looked();
    look()
      .catch((error: unknown) => d.logger.debug({ err: error }, 'the watch could not look'))
      .finally(() => {
        if (running) timer = d.clock.setTimeout(again, EVERY_MS);
      });
  }

  return {
    start() {
      running = true;
      again();
      return Promise.resolve();
    },
    stop() {
      running = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      return Promise.resolve();
    },
  };
}
