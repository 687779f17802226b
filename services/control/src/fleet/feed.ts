import type { Topics } from '@brink/protocol';
import type { Mqtt } from '@brink/runtime';
import type { CommittedDecision } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

/**
 * Publishes each decision after its COMMIT on `brink/{device}/down/decisions/{stream}`. At most once, on purpose: after a
 * crash or while the broker is away nothing is repeated; HTTP with a cursor is the truth.
 */
export function createFeed(o: { topics: Topics }, d: { mqtt: Mqtt; metrics: Metrics }) {
  const published = d.metrics.feed.labels('published');
  const dropped = d.metrics.feed.labels('dropped');
  return {
    publish(decisions: readonly CommittedDecision[]): void {
      for (const { decision, json } of decisions) {
        if (!d.mqtt.connected) {
          dropped.inc();
          continue;
        }
        const topic = o.topics.format({ kind: 'decisions', device: decision.device, stream: decision.stream });
        d.mqtt.publish(topic, json, { qos: 0 }).then(
          () => published.inc(),
          () => dropped.inc(),
        );
      }
    },
  };
}
