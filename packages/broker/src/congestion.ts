import type { Clock, Timer } from '@brink/runtime';
import type { Client } from 'aedes';
import type { Connection } from './connections.ts';
import type { Pace } from './pace.ts';
import { covers } from './rights.ts';

// aedes reads on from a sender while what it sent before is still on its way to a subscriber that does not read, and keeps it all in
// memory. Here a sender is not read while a service that its messages are for has too much waiting, so TCP slows it down
// and nothing is lost; the service either reads on, or is disconnected (serviceDrainTimeoutMs). A device that sends faster
// than it may (pace.ts) is slowed down in the same way.

interface Message {
  topic: string;
  bytes: number;
  pace: Pace | undefined;
}

interface Held {
  message: Message;
  levels: readonly string[];
  go: () => void;
}
interface Line {
  held: Held[];
  timer: Timer | undefined;
}

export interface Congestion {
  /** Too much waits for this service. */
  begin(service: Connection): void;
  /** Calls `go` at once, or when every service that the message is for has read on and its sender may send; in order for each sender. */
  pass(sender: Client, message: Message, go: () => void): void;
}

export function createCongestion(d: { clock: Clock; delayed: () => void }): Congestion {
  const congested = new Set<Connection>();
  const lines = new Map<Client, Line>();

  const blocked = (topic: readonly string[]) => {
    for (const { filters } of congested) {
      for (const filter of filters) {
        if (covers(filter.split('/'), topic)) return true;
      }
    }
    return false;
  };

  function advance(sender: Client, line: Line): void {
    if (line.timer !== undefined) d.clock.clearTimeout(line.timer);
    line.timer = undefined;
    for (let first = line.held[0]; first !== undefined; first = line.held[0]) {
      if (blocked(first.levels)) return;
      const waitMs = first.message.pace?.waitMs() ?? 0;
      if (waitMs > 0) {
        line.timer = d.clock.setTimeout(() => advance(sender, line), Math.ceil(waitMs));
        return;
      }
      line.held.shift();
      first.message.pace?.spend(first.message.bytes);
      first.go();
    }
    lines.delete(sender);
    reading(sender).resume();
  }

  return {
    begin(service) {
      if (congested.has(service)) return;
      congested.add(service);
      const over = () => {
        service.socket.removeListener('drain', over).removeListener('close', over);
        congested.delete(service);
        for (const [sender, line] of [...lines]) advance(sender, line);
      };
      service.socket.once('drain', over).once('close', over);
    },
    pass(sender, message, go) {
      const before = lines.get(sender);
      const waitMs = message.pace?.waitMs() ?? 0;
      if (waitMs > 0 || (before?.timer !== undefined && message.pace !== undefined)) d.delayed();
      if (before !== undefined) {
        before.held.push({ message, levels: message.topic.split('/'), go });
        return;
      }
      const levels = congested.size === 0 ? [] : message.topic.split('/');
      if (waitMs <= 0 && !blocked(levels)) {
        message.pace?.spend(message.bytes);
        go();
        return;
      }
      const line: Line = { held: [{ message, levels: message.topic.split('/'), go }], timer: undefined };
      lines.set(sender, line);
      reading(sender).pause();
      advance(sender, line);
    },
  };
}

/** Not in aedes' types: whether it reads from this client's socket. */
const reading = (client: Client) => client as unknown as { pause(): void; resume(): void };
