/** Smaller frames cost less to allocate than to keep. */
const POOLED_BYTES_MIN = 8 * 1024;
/** What lies idle, of the whole process. */
const IDLE_BYTES_MAX = 32 * 1024 * 1024;

const idle = new Map<number, Buffer[]>();
let idleBytes = 0;

/** Steps that waste at most an eighth. */
function capacityFor(bytes: number): number {
  const step = Math.max(4096, 2 ** (Math.floor(Math.log2(bytes)) - 3));
  return Math.ceil(bytes / step) * step;
}

/**
 * A buffer for a frame, of exactly `bytes`; an `ArrayBuffer` of its own, so that typed arrays can be laid over it. Buffers that were
 * given back are used again: what is not allocated is not collected.
 */
export function takeBuffer(bytes: number): Buffer {
  if (bytes < POOLED_BYTES_MIN) return Buffer.allocUnsafeSlow(bytes);
  const capacity = capacityFor(bytes);
  const buffer = idle.get(capacity)?.pop();
  if (buffer === undefined) return Buffer.allocUnsafeSlow(capacity).subarray(0, bytes);
  idleBytes -= capacity;
  return buffer.subarray(0, bytes);
}

/** Nobody uses this buffer, nor a view of it, any more. Never needed: one that is not given back is collected. */
export function giveBuffer(buffer: Buffer): void {
  const { buffer: memory } = buffer;
  const capacity = memory.byteLength;
  if (buffer.byteLength < POOLED_BYTES_MIN || capacity > IDLE_BYTES_MAX) return;
  if (idleBytes + capacity > IDLE_BYTES_MAX) {
    // Sizes that are no longer in use must not keep out those that are.
    idle.clear();
    idleBytes = 0;
  }
  const list = idle.get(capacity);
  const whole = Buffer.from(memory, 0, capacity);
  if (list === undefined) idle.set(capacity, [whole]);
  else list.push(whole);
  idleBytes += capacity;
}

/** Memory that belongs to whoever has the one view of it. */
const lent = new WeakSet<ArrayBufferLike>();

/** As `takeBuffer`, for somebody who may say with `giveBack` that he is done with it. */
export function lendBuffer(bytes: number): Buffer {
  const buffer = takeBuffer(bytes);
  if (bytes >= POOLED_BYTES_MIN) lent.add(buffer.buffer);
  return buffer;
}

/**
 * Nobody uses these bytes any more, nor any other view of the same memory: it goes to the next frame. Does nothing for memory that
 * was not lent, nor the second time. Never needed.
 */
export function giveBack(bytes: Uint8Array): void {
  if (lent.delete(bytes.buffer)) giveBuffer(Buffer.from(bytes.buffer));
}
