import { BrinkError, create, oip } from '@brink/protocol';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { OipEngine } from '../engine.ts';
import { type CallContext, infer, scan } from './calls.ts';

/** Requests as they came. */
type Stream = ServerDuplexStream<Uint8Array, oip.ModelStreamInferResponse>;

/** Of one stream; nothing more is read while so many are not answered. */
const IN_FLIGHT_MAX = 32;

/**
 * Requests of one stream run side by side and are answered in their order; what is wrong with one is in its answer, and the
 * stream goes on. (Triton, ModelStreamInfer)
 */
export function serveStream(engine: OipEngine, stream: Stream, context: CallContext): void {
  let inFlight = 0;
  let last: Promise<void> = Promise.resolve();

  async function answer(response: Promise<oip.ModelStreamInferResponse>): Promise<void> {
    const said = await response;
    if (context.signal.aborted) return;
    if (!stream.write(said)) await drained(stream, context.signal);
    inFlight -= 1;
    if (inFlight === IN_FLIGHT_MAX - 1) stream.resume();
  }

  stream.on('data', (message: Uint8Array) => {
    inFlight += 1;
    if (inFlight >= IN_FLIGHT_MAX) stream.pause();
    const scanned = scan(message);
    const response = infer(engine, message, scanned, context).then(
      (inferResponse) => create(oip.ModelStreamInferResponseSchema, { inferResponse }),
      (reason: unknown) =>
        create(oip.ModelStreamInferResponseSchema, {
          errorMessage: BrinkError.from(reason).message,
          inferResponse: { id: scanned.id },
        }),
    );
    last = last.then(() => answer(response));
  });
  stream.on('end', () => void last.then(() => stream.end()));
  // The caller gave up: its signal says so too.
  stream.on('error', () => {});
}

function drained(stream: Stream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    stream.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}
