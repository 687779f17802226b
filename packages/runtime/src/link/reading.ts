import { Socket, type SocketConstructorOpts } from 'node:net';

/** Several frames of 128×128×3 in one read; about what a unix socket holds. */
const READ_BYTES = 256 * 1024;

/**
 * Options that make a socket read into one buffer of its own instead of a new one of 64 KiB for each chunk. Chunks come as 'data'
 * all the same, and are only good during that event. Why: V8 answers each 64 MiB of such buffers with a full collection, which
 * cost more than everything else the link does (49 KB requests: 50 µs of CPU, 13 without).
 * @param emit passes the chunk to the socket, which does not exist yet when its options are made
 */
function onread(emit: (chunk: Buffer) => void): NonNullable<SocketConstructorOpts['onread']> {
  return {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback(bytes, buffer) {
      emit((buffer as Buffer).subarray(0, bytes));
      return true;
    },
  };
}

/** A socket for `connect` or for a file descriptor, reading into one buffer. It comes paused. */
export function createSocket(options: SocketConstructorOpts): Socket {
  const socket: Socket = new Socket({ ...options, onread: onread((chunk) => socket.emit('data', chunk)) });
  // Such a socket has no buffer to keep what comes before somebody listens.
  return socket.pause();
}

/**
 * The same for a socket that Node made (accepted, or of a child's stdio), which it has not read from yet. There is no public way to
 * say `onread` for those: their handle is moved to a socket of ours. Without a handle of the known kind the socket stays as it is.
 * The old one emits 'close' at once.
 */
export function readingIntoOneBuffer(socket: Socket): Socket {
  const from = socket as unknown as { _handle: { useUserBuffer?: unknown; reading?: boolean } | null };
  const handle = from._handle;
  if (typeof handle?.useUserBuffer !== 'function' || handle.reading === true) return socket;
  from._handle = null;
  socket.destroy();
  return createSocket({ handle, readable: true, writable: true } as SocketConstructorOpts);
}
