import type { Topics } from '@brink/protocol';
import type { Numbers, Rejection } from './messages.ts';

/** What the gateway knows about the numbers of one boot. Both are committed. */
export interface Receipted {
  readonly boot: string;
  readonly committed: Numbers;
  readonly rejected: readonly Rejection[];
}

/**
 * Receipts, one per device, stream and boot and turn of the event loop. They are cumulative, so one that is lost (QoS 0) does no
 * harm: the frame that is sent again brings another.
 */
export function createReceipts(
  config: { topics: Topics },
  d: { publish(topic: string, payload: string): void; onSent(): void },
) {
  const due = new Map<string, { topic: string; of: Receipted; busyMs: number }>();

  function send(): void {
    for (const { topic, of, busyMs } of due.values()) {
      const { boot, committed, rejected } = of;
      d.publish(topic, JSON.stringify({ boot, through: committed.through, rejected, busy_ms: busyMs }));
      d.onSent();
    }
    due.clear();
  }

  return (device: string, stream: string, of: Receipted, busyMs = 0): void => {
    if (due.size === 0) setImmediate(send);
    const topic = config.topics.format({ kind: 'receipts', device, stream });
    due.set(`${topic}/${of.boot}`, { topic, of, busyMs });
  };
}

export type SendReceipt = ReturnType<typeof createReceipts>;
