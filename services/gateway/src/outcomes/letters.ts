import type { DeadLetter } from '@brink/protocol';
import type { Outbox } from './outbox.ts';

interface Bucket {
  tokens: number;
  at: number;
}

/** Devices whose allowance is remembered. One that is forgotten starts with a full one, which is no harm. */
const DEVICES_MAX = 1000;

/**
 * Dead letters, so many per device: the first bad frames of a device are worth reading, the ten-thousandth is not. All of
 * them are counted in any case.
 */
export function createDeadLetters(
  config: { burst: number; perSecond: number },
  d: { outbox: Pick<Outbox, 'addLetter'>; onSuppressed(): void },
) {
  const buckets = new Map<string, Bucket>();

  function allowed(device: string, nowMs: number): boolean {
    const known = buckets.get(device);
    const tokens =
      known === undefined
        ? config.burst
        : Math.min(config.burst, known.tokens + ((nowMs - known.at) / 1000) * config.perSecond);
    buckets.delete(device);
    buckets.set(device, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: nowMs });
    if (buckets.size > DEVICES_MAX) {
      const oldest = buckets.keys().next().value;
      if (oldest !== undefined) buckets.delete(oldest);
    }
    return tokens >= 1;
  }

  return {
    /** @param write is called only where the letter goes out: a hash of every bad frame would be a gift to who floods */
    add(device: string, nowMs: number, write: () => DeadLetter): void {
      if (allowed(device, nowMs)) d.outbox.addLetter(JSON.stringify(write()));
      else d.onSuppressed();
    },
  };
}

export type DeadLetters = ReturnType<typeof createDeadLetters>;
