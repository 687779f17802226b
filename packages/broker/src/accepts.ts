import type { Socket } from 'node:net';
import type { Clock, Timer } from '@brink/runtime';

// After a power cut every device of a site connects at once, and each CONNECT costs far more than a message does. So connections
// are taken up at a steady rate and the rest wait in the kernel's buffers, unread: at 100 per second a thousand are in within 10 s.
// Sources take turns, so that a storm from one address holds up nobody else's.

const WINDOW_MS = 1000;

export interface Accepts {
  /** Takes the socket now, or in its turn. It must have been accepted with `pauseOnConnect`. */
  offer(socket: Socket): void;
  /** Closes who waits. */
  stop(): void;
}

/** @param o.acceptsPerSMax in any window of one second, however it is laid */
export function createAccepts(
  o: { acceptsPerSMax: number },
  d: { clock: Clock; take: (socket: Socket) => void; delayed: () => void },
): Accepts {
  const waiting = new Map<string, Socket[]>();
  const window = createWindow(o.acceptsPerSMax, d.clock);
  let timer: Timer | undefined;

  function take(socket: Socket): void {
    window.take();
    d.take(socket);
  }

  /** The first of the source whose turn it is; the source goes to the end of the round. */
  function turn(): Socket | undefined {
    for (const [source, sockets] of waiting) {
      waiting.delete(source);
      const socket = sockets.shift();
      if (sockets.length > 0) waiting.set(source, sockets);
      if (socket !== undefined && !socket.destroyed) return socket;
    }
    return undefined;
  }

  function goOn(): void {
    timer = undefined;
    while (waiting.size > 0) {
      const ms = window.waitMs();
      if (ms > 0) {
        timer = d.clock.setTimeout(goOn, Math.ceil(ms));
        return;
      }
      const socket = turn();
      if (socket !== undefined) take(socket);
    }
  }

  return {
    offer(socket) {
      if (waiting.size === 0 && window.waitMs() <= 0) {
        take(socket);
        return;
      }
      // Nobody reads it yet; a peer that resets it must not end the process.
      socket.on('error', () => socket.destroy());
      const source = socket.remoteAddress ?? '';
      const before = waiting.get(source);
      if (before === undefined) waiting.set(source, [socket]);
      else before.push(socket);
      d.delayed();
      if (timer === undefined) goOn();
    },
    stop() {
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
      for (const sockets of waiting.values()) {
        for (const socket of sockets) socket.destroy();
      }
      waiting.clear();
    },
  };
}

function createWindow(perWindow: number, clock: Clock) {
  /** When the last `perWindow` were taken, oldest first from `next`. */
  const takenAtMs: number[] = [];
  let next = 0;
  return {
    /** Milliseconds until one more may be taken. */
    waitMs(): number {
      const oldest = takenAtMs.length < perWindow ? undefined : takenAtMs[next];
      return oldest === undefined ? 0 : oldest + WINDOW_MS - clock.monotonic();
    },
    take(): void {
      takenAtMs[next] = clock.monotonic();
      next = (next + 1) % perWindow;
    },
  };
}
