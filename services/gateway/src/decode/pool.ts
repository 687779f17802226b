import type { PictureTarget } from '@brink/decode';
import { BrinkError } from '@brink/protocol';
import { type Part, startAll, stopAll } from '@brink/runtime';
import {
  createDecodeWorker,
  type DecodedFrame,
  type DecodeWorker,
  type DecodeWorkerConfig,
  type DecodeWorkerDeps,
  type Treatment,
} from './worker.ts';

export interface DecodePool extends Part {
  /** Whether a picture may be handed over now. */
  readonly hasRoom: boolean;
  readonly inFlight: number;
  readonly problem: string | undefined;
  /**
   * @param alone with nothing beside it in its child: for a picture that was there when a child ended
   * @param treatment what is done to the picture before any target is made of it; default nothing
   * @throws BrinkError what is wrong with the picture; E_CRASHED or E_TIMEOUT where the child ended: that is an attempt
   */
  decode(
    bytes: Uint8Array,
    targets: readonly PictureTarget[],
    alone: boolean,
    treatment?: Treatment,
  ): Promise<DecodedFrame>;
}

type DecodeJob = Parameters<DecodeWorker['decode']>;

interface Waiting {
  readonly job: DecodeJob;
  readonly done: PromiseWithResolvers<DecodedFrame>;
}

/**
 * In each child: one picture that is being decoded, the others already in its socket, so that several come and go with one system call
 * and one turn of the event loop. What ends a child costs each of them an attempt, after which it goes alone.
 */
const DEPTH = 4;

/** Children that decode. What kills one of them costs what was in it an attempt, and nobody else notices. */
export function createDecodePool(
  config: Omit<DecodeWorkerConfig, 'name'> & { children: number },
  d: DecodeWorkerDeps & {
    /** There may be room again. */
    onRoom(): void;
  },
): DecodePool {
  /** Only units on their way, which are few, come here; so it needs no bound of its own. */
  const alone: Waiting[] = [];
  /** What came while there was no room: a frame's second decode, when its mask is known. As few. */
  const next: Waiting[] = [];
  const workers = Array.from({ length: config.children }, (_, i) =>
    createDecodeWorker({ ...config, name: `decode-${i + 1}` }, { ...d, onUp: () => queueMicrotask(roomAgain) }),
  );

  /** The least busy child that is up and has room. While something waits to be alone, children run empty for it. */
  function freeWorker(limit: number): DecodeWorker | undefined {
    let best: DecodeWorker | undefined;
    for (const worker of workers) {
      if (!worker.up || worker.exclusive || worker.inFlight >= limit) continue;
      if (best === undefined || worker.inFlight < best.inFlight) best = worker;
    }
    return best;
  }

  function roomAgain(): void {
    while (alone.length > 0) {
      const worker = freeWorker(1);
      if (worker === undefined) return;
      const first = alone.shift() as Waiting;
      worker.exclusive = true;
      run(worker, first.job).then(first.done.resolve, first.done.reject);
    }
    while (next.length > 0) {
      const worker = freeWorker(DEPTH);
      if (worker === undefined) return;
      const first = next.shift() as Waiting;
      run(worker, first.job).then(first.done.resolve, first.done.reject);
    }
    d.onRoom();
  }

  async function run(worker: DecodeWorker, job: DecodeJob): Promise<DecodedFrame> {
    try {
      return await worker.decode(...job);
    } finally {
      worker.exclusive = false;
      queueMicrotask(roomAgain);
    }
  }

  return {
    get hasRoom() {
      return alone.length + next.length === 0 && freeWorker(DEPTH) !== undefined;
    },
    get inFlight() {
      return workers.reduce((sum, worker) => sum + worker.inFlight, alone.length + next.length);
    },
    get problem() {
      return workers.some((worker) => worker.up) ? undefined : 'no decode child is up';
    },
    decode(bytes, targets, isAlone, treatment) {
      const job: DecodeJob = [bytes, targets, treatment];
      const worker = isAlone || alone.length + next.length > 0 ? undefined : freeWorker(DEPTH);
      if (worker !== undefined) return run(worker, job);
      const done = Promise.withResolvers<DecodedFrame>();
      (isAlone ? alone : next).push({ job, done });
      roomAgain();
      return done.promise;
    },
    start: (signal) => startAll(workers, signal),
    async stop() {
      for (const waiting of [...alone.splice(0), ...next.splice(0)])
        waiting.done.reject(new BrinkError('E_CANCELLED', 'the gateway stops'));
      await stopAll(workers);
    },
  };
}
