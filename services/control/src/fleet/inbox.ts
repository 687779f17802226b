import { AckSchema, BrinkError, DeviceStatusSchema, type Topics } from '@brink/protocol';
import type { Logger, Mqtt } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { Metrics } from '../metrics.ts';
import type { Services } from './services.ts';

const PAYLOAD_BYTES_MAX = 64 * 1024;

/** Subscribes what devices and services say: status, acks, fleet. What is not as it should be is counted, never fatal. */
export function listenToFleet(
  o: { topics: Topics },
  d: {
    mqtt: Mqtt;
    logger: Logger;
    metrics: Metrics;
    ledger: Pick<Ledger, 'ack'>;
    online: { heard(device: string, state: 'online' | 'offline', retained: boolean): void };
    services: Services;
    onAck: (key: string) => void;
  },
): void {
  const take = (
    handle: (topic: ReturnType<Topics['parse']>, payload: Buffer, retained: boolean) => void,
    onBad?: () => void,
  ) => {
    return (message: { topic: string; payload: Buffer; retain: boolean }): void => {
      try {
        if (message.payload.length > PAYLOAD_BYTES_MAX) {
          throw new BrinkError('E_TOO_LARGE', `${message.payload.length} bytes; expected at most ${PAYLOAD_BYTES_MAX}`);
        }
        handle(o.topics.parse(message.topic), message.payload, message.retain);
      } catch (reason) {
        const error = BrinkError.from(reason, 'E_BAD_REQUEST');
        onBad?.();
        d.metrics.ignored.labels(error.code).inc();
        d.logger.debug({ topic: message.topic, code: error.code, detail: error.detail }, 'message ignored');
      }
    };
  };
  const failed = (what: string) => (error: unknown) => d.logger.warn({ err: error }, `${what} could not be recorded`);

  d.mqtt.subscribe(
    o.topics.filters.status,
    { qos: 1 },
    take((topic, payload, retained) => {
      // An empty payload deletes the retained status: it says nothing about the device.
      if (topic.kind !== 'status' || payload.length === 0) return;
      const { state } = DeviceStatusSchema.parse(json(payload));
      d.online.heard(topic.device, state, retained);
    }),
  );
  d.mqtt.subscribe(
    o.topics.filters.acks,
    { qos: 1 },
    take(
      (topic, payload) => {
        if (topic.kind !== 'acks') return;
        const ack = AckSchema.parse(json(payload));
        d.ledger.ack(topic.device, ack).then((outcome) => {
          d.metrics.acks.labels(outcome).inc();
          // A refused one ends its action, which is announced with its COMMIT.
          if (outcome === 'acked' || outcome === 'late') d.onAck(ack.key);
        }, failed('ack'));
      },
      () => d.metrics.acks.labels('malformed').inc(),
    ),
  );
  d.mqtt.subscribe(
    o.topics.filters.fleet,
    { qos: 1 },
    take((topic, payload) => {
      if (topic.kind === 'fleet') d.services.take(topic, payload);
    }),
  );
}

function json(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch (cause) {
    throw new BrinkError('E_BAD_REQUEST', 'the payload is no JSON', { cause });
  }
}
