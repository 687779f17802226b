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
export class Outbox {
  readonly #limits: { countMax: number; bytesMax: number };
  readonly #stats: { published: number; busy: number };
  readonly #sent = new Set<Entry>();
  #queue: Entry[] = [];
  #client: MqttClient | undefined;
  #unackedMax = 0;
  #unacked = 0;
  #bytes = 0;
  #onEmpty: (() => void)[] = [];

  constructor(limits: { countMax: number; bytesMax: number }, stats: { published: number; busy: number }) {
    this.#limits = limits;
    this.#stats = stats;
  }

  get waiting(): number {
    return this.#sent.size + this.#queue.length;
  }

  /** @param receiveMaximum of the CONNACK; absent in MQTT 3.1.1 and where the broker states none */
  open(client: MqttClient, receiveMaximum = 65_535): void {
    this.#client = client;
    this.#unackedMax = receiveMaximum;
  }

  /** Everything that was not acknowledged is rejected: it is its sender's again. */
  close(error: BrinkError): void {
    const entries = [...this.#sent, ...this.#queue];
    this.#client = undefined;
    this.#sent.clear();
    this.#queue = [];
    this.#bytes = 0;
    this.#unacked = 0;
    for (const entry of entries) entry.reject(error);
    this.#tellEmpty();
  }

  /** Resolves when nothing waits any more. */
  empty(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEmpty.push(resolve);
      this.#tellEmpty();
    });
  }

  #tellEmpty(): void {
    if (this.waiting > 0) return;
    for (const tell of this.#onEmpty.splice(0)) tell();
  }

  publish(topic: string, payload: Buffer, options: PublishOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const { countMax, bytesMax } = this.#limits;
      const count = this.waiting;
      if (count >= countMax || (count > 0 && this.#bytes + payload.byteLength > bytesMax)) {
        this.#stats.busy += 1;
        reject(new BrinkError('E_BUSY', `${count} messages (${this.#bytes} bytes) wait for the broker`));
        return;
      }
      this.#bytes += payload.byteLength;
      this.#queue.push({ topic, payload, options, resolve, reject });
      this.#pump();
    });
  }

  /** In order: what waits for an ack of others holds back what came after it. A callback may come back here in the middle. */
  #pump(): void {
    for (let entry = this.#queue[0]; entry !== undefined; entry = this.#queue[0]) {
      if (this.#client === undefined || (entry.options.qos === 1 && this.#unacked >= this.#unackedMax)) return;
      this.#queue.shift();
      this.#send(this.#client, entry);
    }
  }

  #send(client: MqttClient, entry: Entry): void {
    const { qos = 0, retain = false, properties } = entry.options;
    this.#sent.add(entry);
    this.#unacked += qos;
    const withProperties = properties !== undefined && client.options.protocolVersion === 5 ? { properties } : {};
    client.publish(entry.topic, entry.payload, { qos, retain, ...withProperties }, (error) => {
      if (!this.#sent.delete(entry)) return;
      this.#bytes -= entry.payload.byteLength;
      this.#unacked -= qos;
      if (error) {
        entry.reject(new BrinkError('E_BROKER', `${entry.topic}: ${error.message}`, { cause: error }));
      } else {
        this.#stats.published += 1;
        entry.resolve();
      }
      if (this.#queue.length > 0) this.#pump();
      else if (this.#onEmpty.length > 0) this.#tellEmpty();
    });
  }
}
