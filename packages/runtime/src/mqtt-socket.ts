import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { lendBuffer } from './link/buffers.ts';

/** As much as one read may bring: some frames of 128×128×3. */
const READ_BYTES = 256 * 1024;
/** Smaller packets travel together, in a copy of what one read brought of them. */
const OWN_BYTES_MIN = 8 * 1024;
/** Larger packets are passed on as they come: what a header says of its length is no reason to allocate it. */
const OWN_BYTES_MAX = 32 * 1024 * 1024;
/** Bytes that may wait for the parser before the socket is read no further. */
const WAITING_BYTES_MAX = 512 * 1024;
/** Type and four bytes of length [MQTT-2.2.3]. */
const HEADER_BYTES_MAX = 5;

/**
 * MQTT bytes in, whole packets out. A large packet gets a buffer of its own, of exactly its length and nothing else in it; runs of
 * small ones share one. Nothing that is passed on is a view of what was pushed.
 */
export class PacketReader {
  readonly #onPackets: (bytes: Buffer) => void;
  /** The first bytes of a packet whose length is not here yet. */
  #head: Buffer = Buffer.alloc(0);
  #body: Buffer | undefined;
  #filled = 0;
  /** Bytes of a packet that is passed on in pieces. */
  #passing = 0;

  constructor(onPackets: (bytes: Buffer) => void) {
    this.#onPackets = onPackets;
  }

  push(chunk: Buffer): void {
    if (this.#head.length > 0) {
      chunk = Buffer.concat([this.#head, chunk]);
      this.#head = Buffer.alloc(0);
    }
    let at = 0;
    while (at < chunk.length) {
      if (this.#passing > 0) at = this.#pass(chunk, at);
      else if (this.#body !== undefined) at = this.#fill(this.#body, chunk, at);
      else at = this.#next(chunk, at);
    }
  }

  /** What lies from `at` on begins with a packet. @returns where what is done with ends */
  #next(chunk: Buffer, at: number): number {
    let end = at;
    let bytes = packetBytes(chunk, end);
    while (bytes !== undefined && bytes < OWN_BYTES_MIN && end + bytes <= chunk.length) {
      end += bytes;
      bytes = end < chunk.length ? packetBytes(chunk, end) : 0;
      if (bytes === 0) break;
    }
    if (end > at) {
      this.#onPackets(Buffer.from(chunk.subarray(at, end)));
      return end;
    }
    if (bytes === undefined) {
      this.#head = Buffer.from(chunk.subarray(at));
      return chunk.length;
    }
    if (bytes > OWN_BYTES_MAX) this.#passing = bytes;
    else this.#body = bytes < OWN_BYTES_MIN ? Buffer.allocUnsafe(bytes) : lendBuffer(bytes);
    this.#filled = 0;
    return at;
  }

  #fill(body: Buffer, chunk: Buffer, at: number): number {
    const count = Math.min(body.length - this.#filled, chunk.length - at);
    chunk.copy(body, this.#filled, at, at + count);
    this.#filled += count;
    if (this.#filled === body.length) {
      this.#body = undefined;
      this.#onPackets(body);
    }
    return at + count;
  }

  #pass(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#passing);
    this.#passing -= end - at;
    this.#onPackets(Buffer.from(chunk.subarray(at, end)));
    return end;
  }
}

/** @returns undefined where it takes more bytes to know; what cannot be a length is left to the parser, which says so */
function packetBytes(chunk: Buffer, at: number): number | undefined {
  let length = 0;
  for (let i = 1; i < HEADER_BYTES_MAX; i++) {
    const byte = chunk[at + i];
    if (byte === undefined) return undefined;
    length += (byte & 127) * 128 ** (i - 1);
    if (byte < 128) return 1 + i + length;
  }
  return chunk.length - at;
}

/**
 * A TCP connection to a broker that reads into one buffer, again and again, and hands whole packets to MQTT.js. Why: Node gives each
 * chunk 64 KiB of its own and MQTT.js copies what lies in two of them; V8 answers every 64 MiB of that with a full collection. With
 * frames of 49 KB this was more than half of the gateway's CPU.
 */
export function connectPackets(url: URL): Socket {
  const reader = new PacketReader((bytes) => deliver?.(bytes));
  let deliver: ((bytes: Buffer) => void) | undefined;
  const socket: Socket = new Socket({
    onread: {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback(bytes, buffer) {
        reader.push((buffer as Buffer).subarray(0, bytes));
        return true;
      },
    },
  });
  // How MQTT.js takes what comes. Node's own would pause the socket for each packet that is longer than 16 KiB.
  socket.pipe = <T extends NodeJS.WritableStream>(destination: T): T => {
    const parser = destination as unknown as Writable;
    deliver = (bytes) => {
      parser.write(bytes);
      if (parser.writableLength > WAITING_BYTES_MAX) socket.pause();
    };
    parser.on('drain', () => socket.resume());
    // Without it nobody would hear of the end.
    socket.resume();
    return destination;
  };
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return socket.connect({ host: host === '' ? 'localhost' : host, port: Number(url.port || 1883) });
}
