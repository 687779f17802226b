import type { Clock } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';

/** Actions whose first dispatch is waited for; what is beyond is not measured. */
const WAITING_MAX = 10_000;

type Outbox = Pick<Ledger, 'lease' | 'settle'>;

/**
 * The outbox, and how long it took from what led to an action until the action had left. Counted once for each, however often it is sent.
 * @param observe seconds
 */
export function timeDispatches(outbox: Outbox, d: { clock: Clock; observe: (seconds: number) => void }): Outbox {
  /** id → rule time: received_at of the decision, or when the timer was due; ms since 1970 */
  const waiting = new Map<string, number>();
  return {
    async lease(options) {
      const lease = await outbox.lease(options);
      for (const { id, attempt, at_ms } of lease.actions)
        if (attempt === 1 && waiting.size < WAITING_MAX) waiting.set(id, at_ms);
      return lease;
    },
    settle(outcomes) {
      const now = d.clock.now();
      for (const { id, result } of outcomes) {
        const since = waiting.get(id);
        if (since === undefined || result === 'failed') continue;
        waiting.delete(id);
        if (result !== 'dead') d.observe(Math.max(0, now - since) / 1000);
      }
      return outbox.settle(outcomes);
    },
  };
}
