import type { Client } from 'aedes';
import type { Connection } from './connections.ts';
import { covers } from './rights.ts';

// aedes reads on from a sender while what it sent before is still on its way to a subscriber that does not read, and keeps it all in
// memory. Here a sender is not read while a service that its messages are for has too much waiting, so TCP slows it down
// and nothing is lost; the service either reads on, or is disconnected (drainTimeoutMs).

interface Held {
  topic: readonly string[];
  go: () => void;
}

export interface Congestion {
  /** Too much waits for this service. */
  begin(service: Connection): void;
  /** Calls `go` at once, or when every service that the message is for has read on; in order for each sender. */
  pass(sender: Client, topic: string, go: () => void): void;
}

export function createCongestion(): Congestion {
  const congested = new Set<Connection>();
  const held = new Map<Client, Held[]>();

  const blocked = (topic: readonly string[]) => {
    for (const { filters } of congested) {
      for (const filter of filters) {
        if (covers(filter.split('/'), topic)) return true;
      }
    }
    return false;
  };

  function release(): void {
    for (const [sender, messages] of [...held]) {
      for (let first = messages[0]; first !== undefined && !blocked(first.topic); first = messages[0]) {
        messages.shift();
        first.go();
      }
      if (messages.length > 0) continue;
      held.delete(sender);
      reading(sender).resume();
    }
  }

  return {
    begin(service) {
      if (congested.has(service)) return;
      congested.add(service);
      const over = () => {
        service.socket.removeListener('drain', over).removeListener('close', over);
        congested.delete(service);
        release();
      };
      service.socket.once('drain', over).once('close', over);
    },
    pass(sender, topic, go) {
      const before = held.get(sender);
      if (before === undefined && congested.size === 0) {
        go();
        return;
      }
      const levels = topic.split('/');
      if (before !== undefined) {
        before.push({ topic: levels, go });
      } else if (blocked(levels)) {
        held.set(sender, [{ topic: levels, go }]);
        reading(sender).pause();
      } else {
        go();
      }
    },
  };
}

/** Not in aedes' types: whether it reads from this client's socket. */
const reading = (client: Client) => client as unknown as { pause(): void; resume(): void };
