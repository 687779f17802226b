import { Worker } from 'node:worker_threads';
import { systemClock } from '../clock.ts';
import type { LinkHandlers, LinkOptions, LinkPeer } from './messages.ts';
import { createLink } from './peer.ts';
import { createSocket } from './reading.ts';

/** The file descriptor of a child's link; `createChild` puts a socketpair there. */
export const LINK_FD = 3;

/**
 * In a child of `createChild`: the link to the parent, over fd 3. The process ends when the link does, so that nothing is left when
 * the parent was killed. A worker looks after that too, because a thread that hangs in native code hears no 'close'.
 * @param d.onEnd runs before the process ends with 0 because the parent has gone; it must not wait
 */
export async function serveParent(
  o: LinkOptions,
  d: { handlers: LinkHandlers; onEnd?: () => void; watchParent?: boolean },
): Promise<LinkPeer> {
  if (d.watchParent !== false) await watchParent();
  const socket = createSocket({ fd: LINK_FD, readable: true, writable: true });
  try {
    const peer = await createLink(socket, o, {
      handlers: d.handlers,
      clock: systemClock,
      onHandlerError: (error, kind) =>
        process.stderr.write(`handler ${kind} failed: ${error instanceof Error ? error.stack : String(error)}\n`),
    });
    void peer.closed.then(() => {
      d.onEnd?.();
      process.exit(0);
    });
    return peer;
  } catch (error) {
    process.stderr.write(`no link to the parent: ${String(error)}\n`);
    process.exit(70);
  }
}

const WATCH_MS = 500;

/**
 * Ends the process within about half a second of its parent's end, whatever its main thread does.
 * Resolves when the worker is there: its heap reserves half a gigabyte, which would count as the child's own if it came after the
 * hello, where `memoryBytesMax` begins.
 */
function watchParent(): Promise<void> {
  const code = `setInterval(() => { if (process.ppid !== ${process.ppid}) process.kill(process.pid, 'SIGKILL'); }, ${WATCH_MS})`;
  const worker = new Worker(code, {
    eval: true,
    name: 'parent',
    execArgv: [],
    stdout: false,
    stderr: false,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2 },
  });
  return new Promise((resolve) => {
    worker.once('online', () => {
      worker.unref();
      resolve();
    });
    worker.on('error', () => resolve());
  });
}
