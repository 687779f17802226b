import { Transform, type TransformCallback } from 'node:stream';
import { BrinkError } from '@brink/protocol';
import type { FastifyReply, FastifyRequest, RequestPayload } from 'fastify';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its body is not held: it goes through, or to the disk. */
    readonly streams?: true;
  }
}

/** Of all requests that are being read or answered: many that send a little, slowly, must not take all memory together. */
const HELD_BYTES_MAX = 128 * 1024 * 1024;

/** How much of the bodies of all requests is in memory. */
export function createBodies(o: { readonly heldBytesMax?: number | undefined }) {
  const { heldBytesMax = HELD_BYTES_MAX } = o;
  const own = new WeakMap<FastifyRequest, number>();
  let held = 0;

  function take(request: FastifyRequest, bytes: number): void {
    if (held + bytes > heldBytesMax) {
      const detail = `${held} bytes of other requests are held already, and ${heldBytesMax} may be; try again`;
      throw new BrinkError('E_BUSY', detail, { retryAfterMs: 1000 });
    }
    held += bytes;
    own.set(request, (own.get(request) ?? 0) + bytes);
  }

  function release(request: FastifyRequest): void {
    held -= own.get(request) ?? 0;
    own.delete(request);
  }

  return {
    /** The same bytes, counted as they come. Fails with E_BUSY where there are too many. */
    counted(request: FastifyRequest, reply: FastifyReply, payload: RequestPayload): RequestPayload {
      const { headers, routeOptions } = request;
      const none = headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
      if (none || routeOptions.config.streams === true) return payload;
      // Answered, or gone.
      reply.raw.once('close', () => release(request));
      const through = Object.assign(
        new Transform({
          transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback) {
            try {
              take(request, chunk.length);
              through.receivedEncodedLength += chunk.length;
              done(null, chunk);
            } catch (reason) {
              done(reason as Error);
            }
          },
        }),
        { receivedEncodedLength: 0 },
      );
      payload.on('error', (reason) => through.destroy(reason));
      return payload.pipe(through);
    },
  };
}
