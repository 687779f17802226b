import type { IPublishPacket, MqttClient } from 'mqtt';

/** Not an error: MQTT.js sends no PUBACK for a message whose handler reports one, and goes on with the next packet. */
const LATER = new Error('acknowledged later');

interface Held {
  readonly messageId: number;
  acked: boolean;
}

/**
 * PUBACKs that are sent when somebody says so. This is the one file that reaches into MQTT.js (`handleMessage` is documented,
 * `_sendPacket` is not). Its contract, mqtt.testing.ts, is tried on the embedded broker (aedes) and on Mosquitto.
 *
 * - None is sent before `ack`; nothing waits for it meanwhile: PINGRESP, SUBACK and other messages go their way.
 * - They go out in the order in which the messages came [MQTT-4.6.0-2].
 * - They go out on the connection that the message came on or not at all: on another one the same packet id names another message.
 */
export class DeferredAcks {
  readonly #client: MqttClient;
  readonly #stream: MqttClient['stream'];
  #held: Held[] = [];
  #deferred: IPublishPacket | undefined;

  /** @param client one connection; it must not reconnect by itself */
  constructor(client: MqttClient) {
    this.#client = client;
    this.#stream = client.stream;
    // Called by MQTT.js right after it emitted the message.
    client.handleMessage = (packet, done) => (packet === this.#deferred ? done(LATER) : done());
  }

  /** To be called while the message is being emitted. @returns what sends its PUBACK, once */
  defer(packet: IPublishPacket): { ack(): void; abandon(): void } {
    const { messageId } = packet;
    if (packet.qos !== 1 || messageId === undefined) return { ack() {}, abandon() {} };
    this.#deferred = packet;
    const held: Held = { messageId, acked: false };
    this.#held.push(held);
    return {
      ack: () => {
        if (held.acked) return;
        held.acked = true;
        this.#send();
      },
      /** It stays un-acked, and holds up nothing: the broker sends it again at the next connection. */
      abandon: () => {
        if (held.acked) return;
        held.acked = true;
        this.#held = this.#held.filter((one) => one !== held);
        this.#send();
      },
    };
  }

  #send(): void {
    const ready = this.#held.findIndex((held) => !held.acked);
    const count = ready < 0 ? this.#held.length : ready;
    for (const { messageId } of this.#held.splice(0, count)) {
      if (!this.#client.connected || this.#client.stream !== this.#stream) continue;
      this.#client['_sendPacket']({ cmd: 'puback', messageId, reasonCode: 0 });
    }
  }
}
