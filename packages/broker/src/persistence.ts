import { Readable } from 'node:stream';
import type { Subscription } from 'aedes';
import { bytesOf, type Packet } from './queue.ts';
import type { Retained } from './retained.ts';
import type { Sessions } from './sessions.ts';

interface ClientId {
  id: string;
}

/** The part of aedes' persistence that is replaced or watched here. */
export interface Persistence {
  addSubscriptions(client: ClientId, subs: Subscription[]): Promise<void>;
  cleanSubscriptions(client: ClientId): Promise<void>;
  storeRetained(packet: Packet): Promise<void>;
  outgoingEnqueue(sub: { clientId: string; qos?: number }, packet: Packet): Promise<void>;
  outgoingEnqueueCombi(subs: { clientId: string; qos?: number }[], packet: Packet): Promise<void>;
  outgoingUpdate(client: ClientId, packet: Packet): Promise<void>;
  outgoingClearMessageId(client: ClientId, packet: Packet): Promise<Packet | undefined>;
  outgoingStream(client: ClientId): Readable;
}

/**
 * aedes' memory persistence with bounded queues instead of its own.
 * @param d.maySubscribe aedes stores every subscription of a packet, also those it has just refused
 */
export function boundPersistence<P extends Persistence>(
  memory: P,
  d: { sessions: Sessions; retained: Retained; maySubscribe: (client: object, filter: string) => boolean },
): P {
  const { sessions, retained } = d;
  sessions.onForget = (id) => void memory.cleanSubscriptions({ id });
  const replaced: Persistence = {
    addSubscriptions: (client, subs) =>
      memory.addSubscriptions(
        client,
        subs.filter((sub) => d.maySubscribe(client, sub.topic)),
      ),
    async cleanSubscriptions(client) {
      sessions.forget(client.id);
      await memory.cleanSubscriptions(client);
    },
    async storeRetained(packet) {
      retained.stored(packet.topic ?? '', bytesOf(packet));
      await memory.storeRetained(packet);
    },
    async outgoingEnqueue(sub, packet) {
      sessions.enqueue(sub.clientId, packet, sub.qos ?? 2);
    },
    async outgoingEnqueueCombi(subs, packet) {
      // Heard by nobody (rights.ts), so nothing waits either.
      if (packet.topic?.startsWith('$') === true) return;
      for (const sub of subs) sessions.enqueue(sub.clientId, packet, sub.qos ?? 2);
    },
    async outgoingUpdate(client, packet) {
      sessions.update(client.id, packet);
    },
    outgoingClearMessageId: async (client, packet) => sessions.clear(client.id, packet.messageId),
    outgoingStream: (client) => Readable.from(sessions.resume(client.id)),
  };
  return Object.assign(Object.create(memory) as P, replaced);
}
