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
 * [MQTT-3.2.2-15] A broker ends the connection over a packet that is too large for it, and whoever keeps what was not acknowledged
 * would send it again with the next one, for ever. MQTT.js does not look.
 * @returns the length of the PUBLISH, never too small
 */
function packetBytesOf(topic: string, payload: Buffer, { properties = {} }: PublishOptions): number {
  // Type and lengths of packet, topic and properties, and the packet id.
  let bytes = 1 + 4 + 2 + 4 + 2 + Buffer.byteLength(topic) + payload.byteLength;
  for (const value of Object.values(properties)) {
    // [MQTT-2.2.2] An identifier, then at most four bytes, or text or binary data behind its length, or pairs of texts.
    if (typeof value === 'string' || Buffer.isBuffer(value)) bytes += 3 + Buffer.byteLength(value);
    else if (typeof value !== 'object') bytes += 5;
    else bytes += pairBytes(value);
  }
  return bytes;
}

function pairBytes(pairs: object): number {
  const all = Object.entries(pairs).flatMap(([key, values]) =>
    [values].flat().map((text) => [key, String(text)] as const),
  );
  return all.reduce((sum, [key, text]) => sum + 5 + Buffer.byteLength(key) + Buffer.byteLength(text), 0);
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
  #packetBytesMax = Number.POSITIVE_INFINITY;
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

  /** @param told in the CONNACK; absent in MQTT 3.1.1, and what the broker has no limit for */
  open(client: MqttClient, told: { receiveMaximum?: number; maximumPacketSize?: number } = {}): void {
    this.#client = client;
    this.#unackedMax = told.receiveMaximum ?? 65_535;
    this.#packetBytesMax = told.maximumPacketSize ?? Number.POSITIVE_INFINITY;
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
      const packetBytes = packetBytesOf(topic, payload, options);
      if (packetBytes > this.#packetBytesMax) {
        const limit = `the broker takes packets of at most ${this.#packetBytesMax} bytes`;
        reject(new BrinkError('E_TOO_LARGE', `${topic}: a packet of ${packetBytes} bytes; ${limit}`));
        return;
      }
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
