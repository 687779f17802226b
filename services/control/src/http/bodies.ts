import { Transform, type TransformCallback } from 'node:stream';
import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { FastifyReply, FastifyRequest, RequestPayload } from 'fastify';
import { slowRequest } from './problems.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its body is not held: it goes through, or to the disk, and may take as long as that takes. */
    readonly streams?: true;
  }
}

/** Of all requests that are being read or answered: many that send a little, slowly, must not take all memory together. */
const HELD_BYTES_MAX = 128 * 1024 * 1024;

/** How much of the bodies of all requests is in memory, and how long each may take to arrive. */
export function createBodies(
  o: { readonly heldBytesMax?: number | undefined; readonly arrivalMsMax: number },
  d: { readonly clock: Clock },
) {
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
    /** The same bytes, counted as they come. Fails with E_BUSY where there are too many, with E_TIMEOUT where they are slow. */
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
      const timer = d.clock.setTimeout(() => through.destroy(slowRequest()), o.arrivalMsMax);
      // Whoever read it may have stopped: then there is nobody to tell.
      through.on('error', () => {});
      through.once('end', () => d.clock.clearTimeout(timer)).once('close', () => d.clock.clearTimeout(timer));
      payload.on('error', (reason) => through.destroy(reason));
      return payload.pipe(through);
    },
  };
}
