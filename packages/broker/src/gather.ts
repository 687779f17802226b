import type { Socket } from 'node:net';

/**
 * aedes and mqtt-packet write each packet for itself, with `cork()` around its parts. What goes to one client within one turn of the
 * event loop goes in one system call instead: a batch of decisions costs one, not one each.
 */
export function gatherWrites(socket: Socket): void {
  const cork = socket.cork.bind(socket);
  let isGathering = false;
  socket.cork = () => {
    cork();
    if (isGathering) return;
    isGathering = true;
    cork();
    setImmediate(() => {
      isGathering = false;
      socket.uncork();
    });
  };
}
