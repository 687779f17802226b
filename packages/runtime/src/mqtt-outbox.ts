import { BrinkError } from '@brink/protocol';
import type { IClientPublishOptions, MqttClient } from 'mqtt';

export interface PublishOptions {
  /** default 0 */
  qos?: 0 | 1;
  retain?: boolean;
  /** MQTT 5 only; left out where the broker speaks 3.1.1 */
  properties?: NonNullable<IClientPublishOptions['properties']>;
}

interface Entry {
  topic: string;
  payload: Buffer;
  options: PublishOptions;
  resolve(): void;
  reject(error: BrinkError): void;
}

/**
 * What waits to go out over one connection: bounded in number and bytes, and at most as many QoS 1 messages un-acked as the broker
 * said it takes. (MQTT.js does not look at the broker's receive maximum; Mosquitto ends the connection of who exceeds it.)
 */
export function createOutbox(o: { countMax: number; bytesMax: number }, stats: { published: number; busy: number }) {
  let client: MqttClient | undefined;
  let unackedMax = 0;
  let unacked = 0;
  let bytes = 0;
  let queue: Entry[] = [];
  const sent = new Set<Entry>();

  function send(on: MqttClient, entry: Entry): void {
    const { qos = 0, retain = false, properties } = entry.options;
    sent.add(entry);
    if (qos === 1) unacked += 1;
    const withProperties = properties !== undefined && on.options.protocolVersion === 5 ? { properties } : {};
    on.publish(entry.topic, entry.payload, { qos, retain, ...withProperties }, (error) => {
      if (!sent.delete(entry)) return;
      bytes -= entry.payload.byteLength;
      if (qos === 1) unacked -= 1;
      if (error) {
        entry.reject(new BrinkError('E_BROKER', `${entry.topic}: ${error.message}`, { cause: error }));
      } else {
        stats.published += 1;
        entry.resolve();
      }
      if (queue.length > 0) pump();
    });
  }

  /** In order: what waits for an ack of others holds back what came after it. */
  function pump(): void {
    let count = 0;
    for (const entry of queue) {
      if (client === undefined || (entry.options.qos === 1 && unacked >= unackedMax)) break;
      count += 1;
      send(client, entry);
    }
    queue = queue.slice(count);
  }

  return {
    open(on: MqttClient, receiveMaximum = 65_535): void {
      client = on;
      unackedMax = Math.min(receiveMaximum, o.countMax);
    },
    close(error: BrinkError): void {
      client = undefined;
      const entries = [...sent, ...queue];
      sent.clear();
      queue = [];
      bytes = unacked = 0;
      for (const entry of entries) entry.reject(error);
    },
    publish(topic: string, payload: Buffer, options: PublishOptions): Promise<void> {
      return new Promise((resolve, reject) => {
        const count = sent.size + queue.length;
        if (count >= o.countMax || (count > 0 && bytes + payload.byteLength > o.bytesMax)) {
          stats.busy += 1;
          reject(new BrinkError('E_BUSY', `${count} messages (${bytes} bytes) wait for the broker`));
          return;
        }
        bytes += payload.byteLength;
        const entry: Entry = { topic, payload, options, resolve, reject };
        if (queue.length === 0 && client !== undefined && (options.qos !== 1 || unacked < unackedMax))
          send(client, entry);
        else queue.push(entry);
      });
    },
    get waiting() {
      return sent.size + queue.length;
    },
  };
}
