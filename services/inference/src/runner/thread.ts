import { Worker } from 'node:worker_threads';
import { BrinkError, type ErrorCode } from '@brink/protocol/link';
import type { Head } from '../scheduler/job.ts';
import type { Providers } from './providers.ts';
import type { Fed } from './session.ts';
import { createStacks, type Stacked } from './stack.ts';

/** What the threads say to each other. Memory is handed over, never shared: ONNX Runtime refuses SharedArrayBuffer. */
export type Work =
  | { kind: 'load'; id: number; session: string; graph: Uint8Array; providers: Providers }
  | ({ kind: 'run'; id: number; session: string } & Stacked);

export type Finished =
  /** once, when ONNX Runtime is there */
  | { kind: 'ready' }
  | ({ kind: 'loaded'; id: number } & Loaded)
  | ({ kind: 'ran'; id: number; memory: ArrayBuffer } & Ran)
  | { kind: 'refused'; id: number; code: ErrorCode; detail: string; memory: ArrayBuffer | undefined };

interface Loaded {
  readonly inputs: readonly Head[];
  readonly outputs: readonly Head[];
  readonly provider: string;
  readonly fallback: string;
}

interface Ran {
  readonly outputs: readonly Fed[];
  readonly runMs: number;
}

export interface SessionThread {
  /** Takes the memory of `graph` away. @throws BrinkError as `createSession` */
  load(session: string, graph: Uint8Array, providers: Providers): Promise<Loaded>;
  /** Has copied the payloads when it returns. @throws BrinkError as `Stacks.join` and `Session.run` */
  run(session: string, batch: number, heads: readonly Head[], payloads: readonly Uint8Array[]): Promise<Ran>;
}

/**
 * The thread with the ONNX Runtime sessions, and the queue in front of it: it goes on with the next run while this thread reads and
 * writes the link. It is never terminated, which would abort the process during a run: the process ends with it inside.
 * @returns when the thread has what it needs: what the process holds then is what it takes without a model
 * @param d.lost the thread ended, or threw outside of any work
 */
export async function startSessionThread(d: { lost: (reason: unknown) => void }): Promise<SessionThread> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { name: 'session' });
  const waiting = new Map<number, PromiseWithResolvers<Finished>>();
  const stacks = createStacks();
  let count = 0;
  const ready = Promise.withResolvers<void>();
  worker.on('error', d.lost);
  worker.on('exit', (code) => d.lost(new Error(`the session thread ended with ${code}`)));
  worker.on('message', (finished: Finished) => {
    if (finished.kind === 'ready') {
      ready.resolve();
      return;
    }
    if (finished.kind !== 'loaded' && finished.memory !== undefined) stacks.giveBack(finished.memory);
    const asked = waiting.get(finished.id);
    waiting.delete(finished.id);
    if (finished.kind === 'refused') asked?.reject(new BrinkError(finished.code, finished.detail));
    else asked?.resolve(finished);
  });

  function ask(work: Work, transfer: ArrayBuffer): Promise<Finished> {
    const asked = Promise.withResolvers<Finished>();
    waiting.set(work.id, asked);
    worker.postMessage(work, [transfer]);
    return asked.promise;
  }

  await ready.promise;
  return {
    async load(session, graph, providers) {
      const id = ++count;
      const finished = await ask({ kind: 'load', id, session, graph, providers }, graph.buffer as ArrayBuffer);
      if (finished.kind !== 'loaded') throw new BrinkError('E_INTERNAL', `Load was answered with ${finished.kind}`);
      return finished;
    },
    async run(session, batch, heads, payloads) {
      const id = ++count;
      const stacked = stacks.join(batch, heads, payloads);
      const finished = await ask({ kind: 'run', id, session, ...stacked }, stacked.memory);
      if (finished.kind !== 'ran') throw new BrinkError('E_INTERNAL', `Run was answered with ${finished.kind}`);
      return finished;
    },
  };
}
