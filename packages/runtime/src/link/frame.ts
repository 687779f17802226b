import { BrinkError } from '@brink/protocol/link';
import { giveBuffer, takeBuffer } from './buffers.ts';

// One frame of the framed link, little-endian:
//   u32 length | u8 kind | u8 flags | u16 header_bytes | u64 request | header | payloads, each 64-byte aligned
// `length` counts what follows it. Alignment is counted from the first byte of `length`; no padding after the last payload.

export const KIND = { hello: 1, request: 2, reply: 3, error: 4, cancel: 5 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** length, kind, flags, header_bytes, request */
export const PREFIX_BYTES = 16;
const LENGTH_BYTES = 4;
export const HEADER_BYTES_MAX = 0xffff;
const PAYLOAD_ALIGNMENT = 64;
/** Bytes that are padding and short enough to be copied into the head: one write less for small frames. */
const INLINE_BYTES_MAX = 2048;
/** The first number of a request that does not fit 2^53. */
const REQUEST_HIGH_MAX = 0x20_0000;

const PADDING = Buffer.alloc(PAYLOAD_ALIGNMENT);
const EMPTY = Buffer.alloc(0);

const align = (offset: number) => (offset + PAYLOAD_ALIGNMENT - 1) & -PAYLOAD_ALIGNMENT;

/** Bytes of a whole frame, `length` included. May exceed 2^31, so that a limit can be checked against it. */
export function frameBytes(headerBytes: number, payloads: readonly Uint8Array[]): number {
  let end = PREFIX_BYTES + headerBytes;
  for (const payload of payloads) end = Math.ceil(end / PAYLOAD_ALIGNMENT) * PAYLOAD_ALIGNMENT + payload.byteLength;
  return end;
}

/**
 * A frame as a list of chunks to be written in order. Large payloads are in it as they are, not copied: they must not be
 * changed until they are written.
 * @param total what `frameBytes` said
 */
export function encodeFrame(
  kind: Kind,
  request: number,
  header: Uint8Array,
  payloads: readonly Uint8Array[],
  total: number,
): Uint8Array[] {
  const headerEnd = PREFIX_BYTES + header.byteLength;
  const inline = total <= INLINE_BYTES_MAX;
  const headEnd = payloads.length === 0 ? headerEnd : inline ? total : Math.min(total, align(headerEnd));
  const head = Buffer.allocUnsafe(headEnd);
  head.writeUInt32LE(total - LENGTH_BYTES, 0);
  head[4] = kind;
  head[5] = 0;
  head.writeUInt16LE(header.byteLength, 6);
  head.writeUInt32LE(request >>> 0, 8);
  head.writeUInt32LE(Math.floor(request / 0x1_0000_0000), 12);
  head.set(header, PREFIX_BYTES);
  if (headEnd > headerEnd) head.fill(0, headerEnd);
  const chunks: Uint8Array[] = [head];
  let end = headerEnd;
  for (const payload of payloads) {
    const start = align(end);
    if (inline) {
      head.set(payload, start);
    } else {
      if (start > end && end !== headerEnd) chunks.push(PADDING.subarray(0, start - end));
      if (payload.byteLength > 0) chunks.push(payload);
    }
    end = start + payload.byteLength;
  }
  return chunks;
}

/** A frame as it came in. With payloads `bytes` is a buffer of its own; without it may lie in the chunk: do not keep it. */
export interface Frame {
  kind: Kind;
  request: number;
  /** A view; do not keep. */
  header: Uint8Array;
  bytes: Buffer;
}

/**
 * Views of a frame's payloads, each at a multiple of 64 in the frame's own buffer, so that typed arrays can be laid over them.
 * @throws BrinkError E_LINK_PROTOCOL when the lengths do not add up to the frame
 */
export function payloadsOf(frame: Frame, lengths: readonly number[]): Buffer[] {
  const { bytes } = frame;
  let end = PREFIX_BYTES + frame.header.byteLength;
  const payloads: Buffer[] = new Array(lengths.length);
  for (let i = 0; i < lengths.length; i++) {
    const start = align(end);
    end = start + (lengths[i] as number);
    if (end > bytes.byteLength) break;
    // What is kept of a frame that was read in place may only be this: a buffer of nobody.
    payloads[i] = start === end ? EMPTY : bytes.subarray(start, end);
  }
  if (end !== bytes.byteLength) {
    throw protocolError(`payloads of ${lengths.length} lengths end at byte ${end} of a frame of ${bytes.byteLength}`);
  }
  return payloads;
}

/**
 * Gives the buffer of a frame back, once. Only the frame's own: what was read in place belongs to the socket.
 * @returns what the owner of the payloads may call when nobody uses them any more
 */
export function releaseOf(frame: Frame, payloads: readonly Buffer[]): () => void {
  let given = payloads.length === 0;
  return () => {
    if (!given) giveBuffer(frame.bytes);
    given = true;
  };
}

/**
 * Bytes in, frames out. A frame with payloads gets a buffer of its own, taken after its prefix has been checked; one without is read
 * where it lies, when it lies in one piece.
 */
export class FrameDecoder {
  /** Limit of `length`, from the next frame on. */
  frameBytesMax: number;
  readonly #onFrame: (frame: Frame) => boolean;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #body: Buffer | undefined;
  /** Bytes of the current frame that are here, prefix included. */
  #filled = 0;

  /** @param onFrame may throw, the error goes through `push`; returns false to stop (the link is closed) */
  constructor(frameBytesMax: number, onFrame: (frame: Frame) => boolean) {
    this.frameBytesMax = frameBytesMax;
    this.#onFrame = onFrame;
  }

  /** Whether the bytes so far end inside a frame. */
  get midFrame(): boolean {
    return this.#filled > 0;
  }

  /**
   * Takes bytes as they come and calls `onFrame` for each frame that is complete. The chunk is not kept.
   * @throws BrinkError E_LINK_PROTOCOL, before anything is allocated for the frame; the decoder is of no use afterwards
   */
  push(chunk: Buffer): void {
    let offset = 0;
    while (offset < chunk.byteLength) {
      const bytes = this.#inPlace(chunk, offset);
      if (bytes !== undefined) {
        offset += bytes.byteLength;
        if (!this.#onFrame(frameOf(bytes))) return;
        continue;
      }
      offset = this.#body === undefined ? this.#takePrefix(chunk, offset) : this.#takeBody(this.#body, chunk, offset);
      const body = this.#body;
      if (body === undefined || this.#filled < body.byteLength) continue;
      this.#body = undefined;
      this.#filled = 0;
      if (!this.#onFrame(frameOf(body))) return;
    }
  }

  /** The frame that begins at `offset`, if it ends in this chunk and has nothing that is kept: no copy then. */
  #inPlace(chunk: Buffer, offset: number): Buffer | undefined {
    if (this.#filled > 0 || chunk.byteLength - offset < PREFIX_BYTES) return undefined;
    const total = LENGTH_BYTES + chunk.readUInt32LE(offset);
    if (total !== PREFIX_BYTES + chunk.readUInt16LE(offset + 6) || offset + total > chunk.byteLength) return undefined;
    const bytes = chunk.subarray(offset, offset + total);
    checkedBytes(bytes, this.frameBytesMax);
    return bytes;
  }

  #takePrefix(chunk: Buffer, offset: number): number {
    const count = Math.min(PREFIX_BYTES - this.#filled, chunk.byteLength - offset);
    for (let i = 0; i < count; i++) this.#prefix[this.#filled + i] = chunk[offset + i] as number;
    this.#filled += count;
    if (this.#filled === PREFIX_BYTES) {
      const body = takeBuffer(checkedBytes(this.#prefix, this.frameBytesMax));
      for (let i = 0; i < PREFIX_BYTES; i++) body[i] = this.#prefix[i] as number;
      this.#body = body;
    }
    return offset + count;
  }

  #takeBody(body: Buffer, chunk: Buffer, offset: number): number {
    const count = Math.min(body.byteLength - this.#filled, chunk.byteLength - offset);
    const whole = offset === 0 && count === chunk.byteLength;
    body.set(whole ? chunk : chunk.subarray(offset, offset + count), this.#filled);
    this.#filled += count;
    return offset + count;
  }
}

function frameOf(bytes: Buffer): Frame {
  return {
    kind: bytes[4] as Kind,
    request: bytes.readUInt32LE(12) * 0x1_0000_0000 + bytes.readUInt32LE(8),
    header: bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + bytes.readUInt16LE(6)),
    bytes,
  };
}

/** Everything that the prefix alone can show to be wrong. Returns the bytes of the whole frame. */
function checkedBytes(prefix: Buffer, frameBytesMax: number): number {
  const length = prefix.readUInt32LE(0);
  const kind = prefix[4] as number;
  const headerBytes = prefix.readUInt16LE(6);
  if (kind < KIND.hello || kind > KIND.cancel) throw protocolError(`a frame of kind ${kind}; expected 1 to 5`);
  if (length > frameBytesMax) throw protocolError(`a frame of ${length} bytes; at most ${frameBytesMax} are taken`);
  if (length < PREFIX_BYTES - LENGTH_BYTES + headerBytes) {
    throw protocolError(`a frame of ${length} bytes with a header of ${headerBytes}`);
  }
  if (prefix[5] !== 0) throw protocolError(`a frame with flags ${prefix[5]}; expected 0`);
  if (prefix.readUInt32LE(12) >= REQUEST_HIGH_MAX) throw protocolError('a request number of 2^53 or more');
  return LENGTH_BYTES + length;
}

export const protocolError = (detail: string) => new BrinkError('E_LINK_PROTOCOL', detail);
