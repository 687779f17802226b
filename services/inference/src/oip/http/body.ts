import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gunzip, inflate } from 'node:zlib';
import { BrinkError } from '@brink/protocol';

/** Reads bodies whole, within limits: of one, and of all that are held at a time. */
export interface BodyReader {
  /** Bytes of bodies that are held now. */
  readonly held: number;
  /** @throws BrinkError E_TOO_LARGE, E_BUSY, E_MEDIA_TYPE, E_BAD_REQUEST; E_CANCELLED where the client hung up */
  read(stream: Readable, headers: IncomingHttpHeaders): Promise<HeldBody>;
}

export interface HeldBody {
  readonly bytes: Buffer;
  /** It is used no more. */
  release(): void;
}

const UNPACK = { gzip: promisify(gunzip), deflate: promisify(inflate) } as const;

/** @param o heldBytesMax: what many clients together may make the service hold */
export function createBodyReader(
  o: { bodyBytesMax: number; heldBytesMax: number },
  d: { changed: (heldBytes: number) => void } = { changed: () => {} },
): BodyReader {
  let held = 0;

  function take(bytes: number): void {
    if (held + bytes > o.heldBytesMax) {
      throw new BrinkError('E_BUSY', `${o.heldBytesMax} bytes of requests are held already; no more may`);
    }
    held += bytes;
    d.changed(held);
  }

  /** By events: an async iterator destroys the stream at its end, and Fastify takes that for the end of the request. */
  function receive(stream: Readable, onBytes: (bytes: number) => void): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    return new Promise((resolve, reject) => {
      stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        try {
          if (bytes > o.bodyBytesMax) throw tooLarge(o.bodyBytesMax);
          onBytes(chunk.length);
          chunks.push(chunk);
        } catch (reason) {
          stream.pause();
          stream.removeAllListeners('data');
          reject(reason);
        }
      });
      stream.once('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes)));
      stream.once('error', reject);
      stream.once('close', () => reject(new Error('closed before its end')));
    });
  }

  return {
    get held() {
      return held;
    },
    async read(stream, headers) {
      if (Number(headers['content-length'] ?? 0) > o.bodyBytesMax) throw tooLarge(o.bodyBytesMax);
      const unpack = unpackerOf(headers['content-encoding'], o.bodyBytesMax);
      let own = 0;
      const count = (bytes: number) => {
        take(bytes);
        own += bytes;
      };
      const release = () => {
        held -= own;
        own = 0;
        d.changed(held);
      };
      try {
        const received = await receive(stream, count).catch(asBroken);
        if (unpack === undefined) return { bytes: received, release };
        const bytes = await unpack(received);
        count(bytes.length);
        return { bytes, release };
      } catch (reason) {
        release();
        throw reason;
      }
    },
  };
}

const tooLarge = (most: number) => new BrinkError('E_TOO_LARGE', `the body is longer than ${most} bytes`);

function asBroken(reason: unknown): never {
  if (reason instanceof BrinkError) throw reason;
  throw new BrinkError('E_CANCELLED', 'the client hung up in the middle of the body', { cause: reason });
}

/** tritonclient may send gzip or deflate (RFC 9110 §8.4.1: the latter is the zlib format). */
function unpackerOf(encoding: string | undefined, most: number): ((bytes: Buffer) => Promise<Buffer>) | undefined {
  const name = (encoding ?? '').trim().toLowerCase();
  if (name === '' || name === 'identity') return undefined;
  if (name !== 'gzip' && name !== 'deflate') {
    throw new BrinkError('E_MEDIA_TYPE', `Content-Encoding is "${name.slice(0, 40)}"; expected gzip, deflate or none`);
  }
  return (bytes) =>
    UNPACK[name](bytes, { maxOutputLength: most }).catch((reason: NodeJS.ErrnoException) => {
      if (reason.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(most);
      throw new BrinkError('E_BAD_REQUEST', `the body is not what Content-Encoding: ${name} says: ${reason.message}`);
    });
}

/** A body in its two parts. */
export interface SplitBody {
  readonly json: Buffer;
  /** undefined: all of it is JSON */
  readonly binary: Buffer | undefined;
}

/**
 * @returns undefined for a raw request: the whole body is the one input
 * @throws BrinkError E_BAD_REQUEST for a header length that is no number or does not go with the body
 */
export function splitBody(header: string | string[] | undefined, body: Buffer): SplitBody | undefined {
  if (header === undefined) return { json: body, binary: undefined };
  const text = String(header).trim();
  const length = /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  if (length === undefined) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `Inference-Header-Content-Length is "${text.slice(0, 40)}"; expected the bytes of the JSON header`,
    );
  }
  if (length > body.length) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `Inference-Header-Content-Length is ${length}; the whole body has ${body.length} bytes`,
    );
  }
  if (length === 0) return undefined;
  return { json: body.subarray(0, length), binary: body.subarray(length) };
}
