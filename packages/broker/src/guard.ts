import type { Socket } from 'node:net';

// aedes 1.x has no packet size limit: it collects whatever length a fixed header announces, before it knows who is speaking
// (four sockets announcing 200 MB each cost 640 MB). So the bytes are looked at before aedes sees them. Only fixed headers
// are read, in constant time per packet; bodies are skipped.

export interface PacketLimits {
  /** Of a CONNECT, the only packet of somebody unknown: client id, credentials, last will. */
  connectBytesMax: number;
  /** Of a PUBLISH: topic and payload. */
  publishBytesMax: number;
  /** Of anything else: subscriptions and acknowledgements. */
  controlBytesMax: number;
}

export type Violation = 'not_connect' | 'malformed' | 'packet_too_large' | 'memory_limit';

/** Shared by all connections: bytes of packets that have begun and not ended, which aedes holds until they do. */
export interface Budget {
  used: number;
  readonly max: number;
}

// [MQTT-2.2.1] Packet types; 0 and 15 are reserved, and some only ever go from broker to client.
const CONNECT = 1;
const PUBLISH = 3;
const FROM_CLIENTS = new Set([CONNECT, PUBLISH, 4, 5, 6, 7, 8, 10, 12, 14]);
// [MQTT-2.2.3] A remaining length takes one to four bytes, seven bits each.
const LENGTH_BYTES_MAX = 4;

/** Follows the packets of one connection across chunks. */
export interface Scanner {
  /** @returns what is wrong with the next chunk, if anything; after that the connection must be closed */
  scan(chunk: Uint8Array): Violation | undefined;
  /** Bytes of the packet that has begun and not ended. */
  readonly pending: number;
}

export function createScanner(limits: PacketLimits): Scanner {
  let bodyLeft = 0;
  let type: number | undefined;
  let length = 0;
  let lengthBytes = 0;
  let connected = false;

  const maxOf = (packet: number): number => {
    if (packet === CONNECT) return limits.connectBytesMax;
    return packet === PUBLISH ? limits.publishBytesMax : limits.controlBytesMax;
  };

  function header(byte: number): Violation | undefined {
    type = byte >> 4;
    length = 0;
    lengthBytes = 0;
    if (!connected && type !== CONNECT) return 'not_connect';
    if (!FROM_CLIENTS.has(type)) return 'malformed';
    connected = true;
    return undefined;
  }

  function lengthByte(byte: number, packet: number): Violation | undefined {
    length += (byte & 0x7f) << (7 * lengthBytes);
    lengthBytes += 1;
    const more = (byte & 0x80) !== 0;
    if (more && lengthBytes === LENGTH_BYTES_MAX) return 'malformed';
    if (length > maxOf(packet)) return 'packet_too_large';
    if (!more) {
      bodyLeft = length;
      type = undefined;
    }
    return undefined;
  }

  function scan(chunk: Uint8Array): Violation | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (bodyLeft > 0) {
        const skipped = Math.min(bodyLeft, chunk.length - at);
        bodyLeft -= skipped;
        at += skipped;
        continue;
      }
      const byte = chunk[at++] as number;
      const violation = type === undefined ? header(byte) : lengthByte(byte, type);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  return {
    scan,
    get pending() {
      return bodyLeft === 0 ? 0 : length - bodyLeft;
    },
  };
}

/**
 * Puts a scanner between a socket and aedes, which takes its bytes with `read()`. On a violation the socket is destroyed
 * and `onViolation` is called once.
 */
export function guard(
  socket: Socket,
  limits: PacketLimits,
  budget: Budget,
  onViolation: (violation: Violation) => void,
): void {
  const scanner = createScanner(limits);
  const read = socket.read.bind(socket);
  let held = 0;
  let closed = false;

  function hold(bytes: number): void {
    budget.used += bytes - held;
    held = bytes;
  }

  socket.once('close', () => {
    closed = true;
    hold(0);
  });
  socket.read = (size?: number) => {
    if (closed) return null;
    const chunk: Buffer | null = read(size);
    if (chunk === null) return null;
    let violation = scanner.scan(chunk);
    hold(scanner.pending);
    if (violation === undefined && held > 0 && budget.used > budget.max) violation = 'memory_limit';
    if (violation === undefined) return chunk;
    closed = true;
    onViolation(violation);
    socket.destroy();
    return null;
  };
}
