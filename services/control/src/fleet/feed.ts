import { newSpanId, nextTraceparent, type Topics } from '@brink/protocol';
import type { Mqtt, PublishOptions } from '@brink/runtime';
import type { CommittedDecision } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

const UNTRACED: PublishOptions = { qos: 0 };

/**
 * Publishes each decision after its COMMIT on `brink/{device}/down/decisions/{stream}`. At most once, on purpose: after a
 * crash or while the broker is away nothing is repeated; HTTP with a cursor is the truth. A traced one carries `traceparent` on, as a
 * user property: where the broker speaks MQTT 5.
 */
export function createFeed(o: { topics: Topics }, d: { mqtt: Mqtt; metrics: Metrics; random: () => number }) {
  const published = d.metrics.feed.labels('published');
  const dropped = d.metrics.feed.labels('dropped');
  function optionsOf(received: string | undefined): PublishOptions {
    const traceparent = nextTraceparent(received, () => newSpanId(d.random));
    return traceparent === undefined ? UNTRACED : { qos: 0, properties: { userProperties: { traceparent } } };
  }

  return {
    publish(decisions: readonly CommittedDecision[]): void {
      for (const { decision, json, traceparent } of decisions) {
        if (!d.mqtt.connected) {
          dropped.inc();
          continue;
        }
        const topic = o.topics.format({ kind: 'decisions', device: decision.device, stream: decision.stream });
        d.mqtt.publish(topic, json, optionsOf(traceparent)).then(
          () => published.inc(),
          () => dropped.inc(),
        );
      }
    },
  };
}
