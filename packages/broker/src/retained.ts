import type { Gauge } from '@brink/runtime';

/** Counts what is retained, so that nobody fills the memory with it. */
export interface Retained {
  /** Is there room for this one? */
  fits(topic: string, bytes: number): boolean;
  stored(topic: string, bytes: number): void;
}

export function createRetained(
  limits: { retainedMessagesMax: number; retainedBytesMax: number },
  d: { gauge: Gauge },
): Retained {
  const bytesByTopic = new Map<string, number>();
  let total = 0;
  return {
    fits(topic, bytes) {
      // [MQTT-3.3.1-10] an empty payload takes the retained message away.
      if (bytes === 0) return true;
      const known = bytesByTopic.get(topic);
      if (known === undefined && bytesByTopic.size >= limits.retainedMessagesMax) return false;
      return total - (known ?? 0) + bytes <= limits.retainedBytesMax;
    },
    stored(topic, bytes) {
      total += bytes - (bytesByTopic.get(topic) ?? 0);
      if (bytes === 0) bytesByTopic.delete(topic);
      else bytesByTopic.set(topic, bytes);
      d.gauge.set(bytesByTopic.size);
    },
  };
}
