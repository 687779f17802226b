import { DECODE_CHILD, type DecodedPicture, type PictureTarget } from '@brink/decode';
import { BrinkError } from '@brink/protocol';
import {
  type Child,
  type ChildMetrics,
  type Clock,
  createChild,
  type LinkMetrics,
  type LinkReply,
  type Logger,
  type Part,
  startAll,
  stopAll,
} from '@brink/runtime';

export interface DecodedFrame extends DecodedPicture {
  readonly decodeMs: number;
}

export interface DecodePool extends Part {
  /** Whether a picture may be handed over now. */
  readonly hasRoom: boolean;
  readonly inFlight: number;
  /** How many pictures the whole pool takes at once. */
  readonly depth: number;
  readonly problem: string | undefined;
  /**
   * @param alone with nothing beside it in its child: for a picture that was there when a child ended
   * @throws BrinkError what is wrong with the picture; E_CRASHED or E_TIMEOUT where the child ended: that is an attempt
   */
  decode(bytes: Uint8Array, targets: readonly PictureTarget[], alone: boolean): Promise<DecodedFrame>;
}

interface Worker {
  readonly child: Child;
  inFlight: number;
  exclusive: boolean;
}

interface Waiting {
  readonly bytes: Uint8Array;
  readonly targets: readonly PictureTarget[];
  readonly done: PromiseWithResolvers<DecodedFrame>;
}

/** In each child: one that is being decoded, one that is already in its socket. */
const DEPTH = 2;
const LINK_FRAME_BYTES_MAX = 64 * 1024 * 1024;

/** Children that decode. What kills one of them costs what was in it an attempt, and nobody else notices. */
export function createDecodePool(
  config: { children: number; deadlineMs: number; pixelsMax: number; instance: string },
  d: {
    logger: Logger;
    clock: Clock;
    random: () => number;
    childMetrics?: ChildMetrics;
    linkMetrics?: LinkMetrics;
    /** There may be room again. */
    onRoom(): void;
    /** For tests: another module in place of the decoder. */
    module?: string;
  },
): DecodePool {
  const alone: Waiting[] = [];
  const workers: Worker[] = Array.from({ length: config.children }, (_, i) => ({
    child: createChild(
      {
        name: `decode-${i + 1}`,
        module: d.module ?? DECODE_CHILD,
        env: { UV_THREADPOOL_SIZE: '1', VIPS_CONCURRENCY: '1' },
        stopMs: 1000,
        // Never given up for long: a device that sends poison must not take the cameras beside it down.
        restart: { max: 10_000, withinMs: 60_000, baseMs: 20, capMs: 2000 },
        link: { service: 'gateway', instance: config.instance, window: 4, frameBytesMax: LINK_FRAME_BYTES_MAX },
      },
      {
        logger: d.logger,
        clock: d.clock,
        random: d.random,
        ...(d.childMetrics === undefined ? {} : { metrics: d.childMetrics }),
        ...(d.linkMetrics === undefined ? {} : { linkMetrics: d.linkMetrics }),
        // Nothing else may be called before `start`; the queue is looked at when the child is up.
        onUp: () => queueMicrotask(roomAgain),
      },
    ),
    inFlight: 0,
    exclusive: false,
  }));

  /** The least busy child that is up and has room. While something waits to be alone, children run empty for it. */
  function freeWorker(limit: number): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of workers) {
      if (worker.child.peer === undefined || worker.exclusive || worker.inFlight >= limit) continue;
      if (best === undefined || worker.inFlight < best.inFlight) best = worker;
    }
    return best;
  }

  function roomAgain(): void {
    while (alone.length > 0) {
      const worker = freeWorker(1);
      if (worker === undefined) return;
      const next = alone.shift() as Waiting;
      worker.exclusive = true;
      run(worker, next.bytes, next.targets).then(next.done.resolve, next.done.reject);
    }
    d.onRoom();
  }

  async function run(worker: Worker, bytes: Uint8Array, targets: readonly PictureTarget[]): Promise<DecodedFrame> {
    worker.inFlight += 1;
    try {
      const { peer } = worker.child;
      if (peer === undefined) throw new BrinkError('E_LINK_CLOSED', 'the decode child is not up');
      const body = { case: 'decode' as const, value: { pixelsMax: config.pixelsMax, targets: [...targets] } };
      return decodedOf(await peer.request(body, [bytes], { timeoutMs: config.deadlineMs }));
    } catch (reason) {
      throw childError(worker, BrinkError.from(reason));
    } finally {
      worker.inFlight -= 1;
      worker.exclusive = false;
      queueMicrotask(roomAgain);
    }
  }

  function childError(worker: Worker, error: BrinkError): BrinkError {
    if (error.code === 'E_TIMEOUT') {
      worker.child.kill('deadline');
      return new BrinkError('E_TIMEOUT', `decoding took longer than ${config.deadlineMs} ms`, { cause: error });
    }
    if (error.code === 'E_LINK_CLOSED')
      return new BrinkError('E_CRASHED', 'the decode child ended during the decode', { cause: error });
    return error;
  }

  return {
    depth: config.children * DEPTH,
    get hasRoom() {
      return alone.length === 0 && freeWorker(DEPTH) !== undefined;
    },
    get inFlight() {
      return workers.reduce((sum, worker) => sum + worker.inFlight, alone.length);
    },
    get problem() {
      const down = workers.filter((worker) => worker.child.peer === undefined).length;
      return down === workers.length ? 'no decode child is up' : undefined;
    },
    decode(bytes, targets, isAlone) {
      const worker = isAlone || alone.length > 0 ? undefined : freeWorker(DEPTH);
      if (worker !== undefined) return run(worker, bytes, targets);
      const done = Promise.withResolvers<DecodedFrame>();
      alone.push({ bytes, targets, done });
      roomAgain();
      return done.promise;
    },
    start: (signal) =>
      startAll(
        workers.map((worker) => worker.child),
        signal,
      ),
    async stop() {
      for (const waiting of alone.splice(0)) waiting.done.reject(new BrinkError('E_CANCELLED', 'the gateway stops'));
      await stopAll(workers.map((worker) => worker.child));
    },
  };
}

function decodedOf({ body, payloads }: LinkReply): DecodedFrame {
  if (body.case !== 'decoded')
    throw new BrinkError('E_LINK_PROTOCOL', `the decode child answered "${body.case}"; expected "decoded"`);
  const { type, width, height, transforms, decodeMs } = body.value;
  return {
    type: type as DecodedFrame['type'],
    width,
    height,
    decodeMs,
    pictures: transforms.map((transform, i) => ({ pixels: payloads[i] as Uint8Array, transform })),
  };
}
