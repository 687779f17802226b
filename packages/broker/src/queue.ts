/** A packet as aedes hands it over; only what is looked at here. */
export interface Packet {
  cmd: string;
  brokerCounter: number;
  messageId?: number | undefined;
  topic?: string;
  payload?: Uint8Array | string;
  qos?: number;
  retain?: boolean;
  dup?: boolean;
}

export const bytesOf = (packet: Packet) => packet.payload?.length ?? 0;

/** Messages that wait for one stored session until it acknowledges them. */
export interface Queue {
  readonly size: number;
  readonly bytes: number;
  /** @returns false where it waits already, for another filter of the same client */
  push(packet: Packet, qosMax: number): boolean;
  /** A message got its packet id, or (QoS 2) its PUBREL takes its place. */
  update(packet: Packet): void;
  /** PUBACK or PUBCOMP arrived. @returns what was acknowledged, if it was known */
  clear(messageId: number | undefined): Packet | undefined;
  /** Of a message that waits: whether it was sent, on this connection or an earlier one. undefined: it does not wait. */
  isSent(brokerCounter: number): boolean | undefined;
  /** What waits, by its brokerCounter, in the order of arrival. */
  numbers(): number[];
  get(brokerCounter: number): Packet | undefined;
}

/** Look-ups by number instead of aedes' search through an array: a gateway that comes back may find thousands. */
export function createQueue(): Queue {
  const packets = new Map<number, Packet>();
  const byMessageId = new Map<number, number>();
  let bytes = 0;

  return {
    get size() {
      return packets.size;
    },
    get bytes() {
      return bytes;
    },
    push(packet, qosMax) {
      if (packets.has(packet.brokerCounter)) return false;
      const qos = Math.min(packet.qos ?? 0, qosMax);
      // [MQTT-3.3.1-9] not marked as retained: the subscription was there before the message.
      packets.set(packet.brokerCounter, { ...packet, messageId: undefined, retain: false, qos });
      bytes += bytesOf(packet);
      return true;
    },
    update(packet) {
      if (packet.messageId === undefined) return;
      const key = packet.cmd === 'pubrel' ? byMessageId.get(packet.messageId) : packet.brokerCounter;
      const waiting = key === undefined ? undefined : packets.get(key);
      // A message that was dropped is delivered all the same while its client is there; there is nothing to note then.
      if (key === undefined || waiting === undefined) return;
      if (packet.cmd === 'pubrel') {
        bytes -= bytesOf(waiting);
        packets.set(key, packet);
      } else {
        waiting.messageId = packet.messageId;
        // [MQTT-3.3.1-1] should it have to be sent again
        waiting.dup = true;
        byMessageId.set(packet.messageId, key);
      }
    },
    clear(messageId) {
      // aedes asks without a packet id where it decided not to forward.
      const key = messageId === undefined ? undefined : byMessageId.get(messageId);
      if (messageId === undefined || key === undefined) return undefined;
      const packet = packets.get(key);
      byMessageId.delete(messageId);
      packets.delete(key);
      if (packet !== undefined) bytes -= bytesOf(packet);
      return packet;
    },
    isSent(brokerCounter) {
      const packet = packets.get(brokerCounter);
      return packet === undefined ? undefined : packet.messageId !== undefined;
    },
    numbers: () => [...packets.keys()],
    get: (brokerCounter) => packets.get(brokerCounter),
  };
}
